/*
 * first: a shard that reports the clock of its first instructions: what `boot` ends with.
 *
 * Read next: ../bench/main.c.
 */
#include "../bench.h"

int main(void) {
	uint64_t now = clock_now();

	print("BENCH first %lu\n", now);
	return 0;
}
