/*
 * pledge: what a shard may still do after each pledge. args: the mask in decimal; "peer" is the other end of its
 * channel.
 *
 * Calls that the pledge takes away are made with good arguments, so that only the pledge can refuse them.
 */
#include "../expect.h"

#define HEAP COCONUT_HEAP_BASE

/* Calls that every pledge takes away. */
static void always_denied(void) {
	REFUSED(PLEDGE, CALL(SYS_FS_OPEN, "/big", 4));
	REFUSED(PLEDGE, CALL(SYS_FS_READ, 0, HEAP, 1));
	REFUSED(PLEDGE, CALL(SYS_FS_STAT, 0));
	REFUSED(PLEDGE, CALL(SYS_FS_CLOSE, 0));
	REFUSED(PLEDGE, CALL(SYS_FS_MAP, 0, COCONUT_LARGE_BASE));
	REFUSED(PLEDGE, CALL(SYS_CAP_GRANT, 0, 0, 1));
	REFUSED(PLEDGE, CALL(SYS_CAP_REVOKE, 0));
	REFUSED(PLEDGE, CALL(SYS_CAP_RESTRICT, 0, 0));
	REFUSED(PLEDGE, CALL(SYS_CAP_INSPECT, 0));
	REFUSED(PLEDGE, CALL(SYS_TIME));
	REFUSED(PLEDGE, CALL(SYS_SPAWN, "/t/ok", 5, HEAP, 0));
	REFUSED(PLEDGE, CALL(SYS_WAIT, 0));
	REFUSED(PLEDGE, CALL(SYS_KILL, 0));
}

static void always_allowed(void) {
	CHECK_EQ(coconut_yield(), 0);
	CHECK_EQ(coconut_mmap(HEAP + 16 * PAGE, 1), 0);
	CHECK_EQ(coconut_munmap(HEAP + 16 * PAGE, 1), 0);
	REFUSED(NODEV, CALL(SYS_GPU_UNVEIL, 0, 4096));
	REFUSED(NOSYS, CALL(2));
}

/* What is left after pledging `mask`. A print is only allowed when the serial bit is in it, so a failed check of a
 * shard without it shows in its exit code alone. */
static void check(uint64_t mask) {
	int64_t serial = mask & PLEDGE_SERIAL ? 0 : -COCONUT_E_PLEDGE;
	int64_t channel = mask & PLEDGE_CHANNEL ? 0 : -COCONUT_E_PLEDGE;

	CHECK_EQ(CALL(SYS_SERIAL_WRITE, "\n", 1), serial);
	CHECK_EQ(CALL(SYS_CHANNEL_SEND, 0, "m", 1), channel);
	CHECK_EQ(CALL(SYS_CHANNEL_RECV, 0, HEAP, 256), channel ? channel : 1);
	CHECK_EQ(CALL(SYS_CHANNEL_CALL, 0, "m", 1, HEAP, 256), channel ? channel : 1);
	CHECK_EQ(CALL(SYS_GPU_DMA, 0, 0, 0), mask & PLEDGE_GPU_DMA ? -COCONUT_E_NODEV : -COCONUT_E_PLEDGE);
	always_denied();
	always_allowed();
}

/* Answers every message until the other end closes. */
static int be_peer(void) {
	char buf[COCONUT_MESSAGE_MAX];
	int64_t got;

	while ((got = coconut_channel_recv(0, buf, sizeof(buf))) > 0 && coconut_channel_send(0, buf, (size_t)got) == 0)
		;
	return got != -COCONUT_E_CLOSED;
}

int main(const char *args) {
	if (same(args, "peer")) return be_peer();
	uint64_t mask = (uint64_t)args[0] - '0';
	CHECK_EQ(coconut_mmap(HEAP, 1), 0);
	CHECK_EQ(coconut_fs_open("/big", 4), 0);
	for (int bit = 3; bit < 64; bit++)
		REFUSED(INVAL, coconut_gpu_pledge(1UL << bit | mask));
	CHECK(coconut_time() >= 0); /* the refused pledges have taken nothing away */
	CHECK_EQ(coconut_gpu_pledge(mask), 0);
	check(mask);
	CHECK_EQ(coconut_gpu_pledge(7), 0); /* which gives nothing back */
	check(mask);
	CHECK_EQ(coconut_gpu_pledge(0), 0);
	check(0);
	return 0;
}
