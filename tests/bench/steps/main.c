/*
 * steps: does each operation once between two marks, after some rounds that warm up what the kernel remembers, so that
 * scripts/bench_steps.py can count the instructions of each function in QEMU's trace.
 *
 * Two of them run: args "lead" and "follow".
 *
 * Read next: ../../../scripts/bench_steps.py.
 */
#include "../bench.h"

#define WARM 3
#define HEAP COCONUT_HEAP_BASE

/* Where the trace finds the beginning and the end of an operation. */
static __attribute__((noinline)) void mark_begin(void) { __asm__ volatile("nop" : : : "memory"); }

static __attribute__((noinline)) void mark_end(void) {
	__asm__ volatile("nop; nop" : : : "memory"); /* unlike mark_begin, or the compiler makes one of both */
}

static void operation(int number, int round, char *message) {
	switch (number) {
	case 0:
		coconut_cap_inspect(BENCH_CHANNEL);
		break;
	case 1:
		coconut_cap_inspect(99);
		break;
	case 2:
		coconut_yield();
		break;
	case 3:
		coconut_channel_call(BENCH_CHANNEL, message, 8, message, COCONUT_MESSAGE_MAX);
		break;
	case 4:
		coconut_channel_call(BENCH_CHANNEL, message, COCONUT_MESSAGE_MAX, message, COCONUT_MESSAGE_MAX);
		break;
	case 5:
		coconut_mmap(HEAP + (uint64_t)round * COCONUT_PAGE_SIZE, 1);
		break;
	case 6:
		coconut_munmap(HEAP + (uint64_t)round * COCONUT_PAGE_SIZE, 1);
		break;
	default:
		coconut_fs_read(0, (void *)HEAP, COCONUT_PAGE_SIZE);
	}
}

int main(const char *args) {
	char message[COCONUT_MESSAGE_MAX] = {1};

	if (args && args[0] == 'f') {
		for (int i = 0; i < 2 * WARM + 2; i++)
			coconut_yield();
		int64_t len = coconut_channel_recv(BENCH_CHANNEL, message, sizeof(message));
		while (len > 0)
			len = coconut_channel_call(BENCH_CHANNEL, message, (size_t)len, message, sizeof(message));
		return 0;
	}
	coconut_fs_open("/model.bin", 10);
	for (int number = 0; number < 8; number++) {
		if (number == 7) coconut_mmap(HEAP, 1);
		for (int round = 0; round < WARM; round++)
			operation(number, round, message);
		mark_begin();
		operation(number, WARM, message);
		mark_end();
	}
	return 0;
}
