/*
 * count: a known number of calls and known times. args:
 *
 *   calls N   N yields, nothing else                 wait    waits to receive on handle 0 until its peer speaks
 *   speak     lets 2,000 ms pass by its clock, then sends on handle 0
 *   die       ten yields, memory, a second or so of its own work, an exception
 *   spin      keeps the CPU busy until its peer on handle 0 has died, and a while longer
 */
#include "../expect.h"

/* Works without a system call. */
static void work(void) {
	for (uint64_t i = 0; i < 300000000; i++)
		__asm__ volatile("");
}

int main(const char *args) {
	struct text word, value;
	uint64_t calls = 0;
	char byte;

	if (args_next(&args, &word, &value) && text_equals(word, "calls")) {
		CHECK(args_next(&args, &word, &value) && text_to_u64(word, &calls));
		for (uint64_t i = 0; i < calls; i++)
			coconut_yield();
	} else if (text_equals(word, "wait")) {
		CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	} else if (text_equals(word, "speak")) {
		busy_wait(2000);
		CHECK_EQ(coconut_channel_send(0, "x", 1), 0);
	} else if (text_equals(word, "die")) {
		for (int i = 0; i < 9; i++)
			coconut_yield();
		CHECK_EQ(coconut_mmap(COCONUT_LARGE_BASE, 8000), 0);
		work();
		__asm__ volatile("ud2");
	} else {
		while (coconut_cap_grant(0, 0, CAP_RIGHT_SEND) != -COCONUT_E_CLOSED)
			for (int i = 0; i < 100000; i++)
				__asm__ volatile("");
		work();
	}
	return 0;
}
