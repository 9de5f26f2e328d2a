/*
 * bench.h: what the benchmark shards share: the clock, and the orders that bench gives its peer.
 *
 * The clock is rdtsc, which only the benchmark build of the supervisor lets ring 3 read; under -icount shift=0 it
 * counts guest instructions.
 *
 * Read next: bench/main.c.
 */
#ifndef BENCH_H
#define BENCH_H

#include "coconut.h"
#include "shardlib.h"

#define BENCH_CHANNEL 0 /* handle of the channel between bench and peer, in both */
#define ROUNDS 1000     /* of the cheap operations */

/* What the peer shall do next: the first byte of a message to it. */
enum order { ORDER_ANSWER = 1, ORDER_YIELD, ORDER_SPIN, ORDER_END };

/* The times, by the clock, from when on all others of a loaded machine are at work, and until when. */
#define LOADED_FROM 20000000UL
#define LOADED_UNTIL 60000000UL

#define TICKS 16 /* preemptions that the two spinning shards record */

static inline uint64_t clock_now(void) {
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* Spins until it has lost the CPU `TICKS` times. gap[i] holds the clock before and after each loss. The loop takes
 * about ten instructions a round, so a longer step of the clock is a loss. */
static inline void spin(uint64_t gap[TICKS][2]) {
	uint64_t last = clock_now();
	for (int seen = 0; seen < TICKS;) {
		uint64_t now = clock_now();
		if (now - last > 5000) {
			gap[seen][0] = last;
			gap[seen++][1] = now;
		}
		last = now;
	}
}

#endif
