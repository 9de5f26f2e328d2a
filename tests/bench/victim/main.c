/*
 * victim: a shard of one page that ends at once: args "fault" make it fault, others make it exit with the clock of
 * its first instructions, low 31 bits.
 *
 * Read next: ../bench/main.c.
 */
#include "../bench.h"

int main(const char *args) {
	uint64_t now = clock_now();

	if (args && args[0] == 'f') *(volatile int *)0 = 0;
	return (int)(now & 0x7FFFFFFF);
}
