/*
 * registers: what a system call may change of the general registers: rax, rcx and r11. No kernel address may appear in
 * any.
 *
 * args "a" makes most calls as they should be made, and each that can be refused so that it is, with random values in
 * all registers that are no arguments; args "b" is the other end of its channel, so that some of the calls block.
 */
#include "../expect.h"

#define IN ((uint64_t *)0x100000)
#define OUT ((uint64_t *)0x100100)
#define BUF 0x101000UL
#define FLAGS_KEPT 0xCD5 /* CF PF AF ZF SF DF OF */

enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, REGISTERS };

void call_with_registers(void);
extern char returned_here[];

/* Makes the call and checks every register. Returns the result. */
static int64_t call(uint64_t *random, uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
	uint64_t a4) {
	for (int i = 0; i < REGISTERS; i++)
		IN[i] = random_next(random);
	IN[RAX] = number;
	IN[RDI] = a0;
	IN[RSI] = a1;
	IN[RDX] = a2;
	IN[R10] = a3;
	IN[R8] = a4;
	call_with_registers();
	for (int i = 0; i < REGISTERS; i++)
		if (i != RAX && i != RCX && i != R11) CHECK_EQ(OUT[i], IN[i]);
	CHECK_EQ(OUT[RCX], (uint64_t)returned_here);
	CHECK_EQ(OUT[R11] & ~(uint64_t)FLAGS_KEPT, 0x202); /* rflags of the shard: IF and the bit that is always set */
	int64_t result = (int64_t)OUT[RAX];
	CHECK(result >= -COCONUT_E_NOEXEC && result < 1L << 52);
	return result;
}

static void good_calls(uint64_t *random) {
	CHECK_EQ(call(random, SYS_SERIAL_WRITE, (uint64_t)"\n", 1, 0, 0, 0), 0);
	CHECK_EQ(call(random, SYS_CHANNEL_SEND, 0, BUF, 100, 0, 0), 0);
	CHECK_EQ(call(random, SYS_CHANNEL_RECV, 0, BUF, 256, 0, 0), 100);
	CHECK_EQ(call(random, SYS_CHANNEL_CALL, 0, BUF, 9, BUF, 256), 9);
	CHECK_EQ(call(random, SYS_FS_OPEN, (uint64_t)"/big", 4, 0, 0, 0), 0);
	CHECK_EQ(call(random, SYS_FS_READ, 0, BUF, 10, 0, 0), 10);
	CHECK(call(random, SYS_FS_STAT, 0, 0, 0, 0, 0) > 0);
	CHECK(call(random, SYS_FS_MAP, 0, COCONUT_LARGE_BASE, 0, 0, 0) > 0);
	CHECK_EQ(call(random, SYS_MUNMAP, COCONUT_LARGE_BASE, 1, 0, 0, 0), 0);
	CHECK_EQ(call(random, SYS_MUNMAP, COCONUT_LARGE_BASE + PAGE, 97, 0, 0, 0), 0);
	CHECK_EQ(call(random, SYS_FS_CLOSE, 0, 0, 0, 0, 0), 0);
	CHECK_EQ(call(random, SYS_MMAP, 0x300000, 4, 0, 0, 0), 0);
	CHECK_EQ(call(random, SYS_MUNMAP, 0x300000, 4, 0, 0, 0), 0);
	CHECK(call(random, SYS_TIME, 0, 0, 0, 0, 0) >= 0);
	CHECK_EQ(call(random, SYS_YIELD, 0, 0, 0, 0, 0), 0);
	CHECK(call(random, SYS_CAP_INSPECT, 0, 0, 0, 0, 0) > 0);
	CHECK_EQ(call(random, SYS_CAP_RESTRICT, 0, 7, 0, 0, 0), 0);
	CHECK(call(random, SYS_CAP_GRANT, 1, 0, 1, 0, 0) >= 0);
	CHECK_EQ(call(random, SYS_GPU_PLEDGE, ~0UL, 0, 0, 0, 0), -COCONUT_E_INVAL);
}

int main(const char *args) {
	uint64_t random = 0x1234567;

	CHECK_EQ(coconut_mmap(0x100000, 2), 0);
	if (same(args, "b")) {
		int64_t got;
		while ((got = coconut_channel_recv(0, (void *)BUF, 256)) > 0 &&
			coconut_channel_send(0, (void *)BUF, (size_t)got) == 0)
			;
		return got != -COCONUT_E_CLOSED;
	}
	for (int round = 0; round < 5; round++)
		good_calls(&random);
	for (uint64_t number = 1; number < 3 * SYS_LIMIT; number++) {
		uint64_t wild = random_next(&random) | 1UL << 62;
		if (number != SYS_GPU_PLEDGE && number != SYS_TIME && number != SYS_YIELD)
			CHECK(call(&random, number, wild, wild, wild, wild, wild) < 0);
	}
	return 0;
}
