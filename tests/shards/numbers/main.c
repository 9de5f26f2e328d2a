/* numbers: system-call numbers that do not exist, whatever the arguments, and calls that answer without anything to act
 * on. */
#include "../expect.h"

/* Numbers below SYS_LIMIT that no call has and that the ABI does not promise to a later one. */
static const uint8_t gaps[] = {2, 3, 9, 10, 15, 20, 24, 29, 34, 39, 44, 49};

static const uint8_t known[] = {SYS_EXIT, SYS_SERIAL_WRITE, SYS_CAP_GRANT, SYS_CAP_REVOKE, SYS_CAP_RESTRICT,
				SYS_CAP_INSPECT, SYS_CHANNEL_SEND, SYS_CHANNEL_RECV, SYS_CHANNEL_CALL, SYS_FS_OPEN,
				SYS_FS_READ, SYS_FS_STAT, SYS_FS_CLOSE, SYS_GPU_DMA, SYS_GPU_PLEDGE, SYS_GPU_UNVEIL,
				SYS_MMAP, SYS_FS_MAP, SYS_TIME, SYS_MUNMAP, SYS_YIELD};

/* Makes the call with harmless and with wild arguments. */
static void refused(uint64_t number) {
	static const uint64_t values[] = {0, 1, 0x1000, 0x100000, 1UL << 63, ~0UL};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		REFUSED(NOSYS, CALL(number, values[i], values[i], values[i], values[i], values[i]));
}

int main(void) {
	for (size_t i = 0; i < sizeof(gaps); i++)
		refused(gaps[i]);
	for (uint64_t number = SYS_LIMIT; number < 1024; number++)
		REFUSED(NOSYS, CALL(number));
	for (int bit = 10; bit < 64; bit++)
		refused(1UL << bit);
	refused(~0UL);
	refused(SYS_LIMIT);
	for (size_t i = 0; i < sizeof(known); i++) {
		refused(known[i] + (1UL << 32));
		refused(known[i] + (1UL << 63));
		refused(known[i] - 64UL);
	}
	REFUSED(NODEV, CALL(SYS_GPU_DMA, 0, 0, 0));
	REFUSED(NODEV, CALL(SYS_GPU_UNVEIL, 0, 4096));
	CHECK_EQ(coconut_yield(), 0);
	int64_t before = coconut_time();
	busy_wait(20);
	CHECK(coconut_time() >= before + 20);
	return 0;
}
