/* guard.h: a system call that watches every register. Read next: guard.inc, which makes it. */
#ifndef GUARD_H
#define GUARD_H

#include "tests/shards/expect.h"

struct guard {
	uint64_t number, arguments[5];
	uint64_t seed;  /* what the registers are filled with; below 2^63 */
	int64_t result;
	uint64_t harm;  /* a bit for each register that changed, see guard.inc */
	uint64_t spin;  /* not 0: no call, but so many rounds of doing nothing */
	uint64_t temp;
};
_Static_assert(offsetof(struct guard, temp) == 80, "guard.inc knows the offsets");

void guarded(struct guard *guard);

/* Makes a system call between two looks at the registers. Adds what has changed to *harm. */
static inline int64_t guarded_call(uint64_t seed, uint64_t *harm, uint64_t number, uint64_t a, uint64_t b, uint64_t c,
				   uint64_t d, uint64_t e) {
	struct guard guard = {.number = number, .arguments = {a, b, c, d, e}, .seed = seed};

	guarded(&guard);
	*harm |= guard.harm;
	return guard.result;
}

/* Keeps the CPU for `rounds` rounds. Returns what has changed meanwhile. */
static inline uint64_t guarded_spin(uint64_t seed, uint64_t rounds) {
	struct guard guard = {.seed = seed, .spin = rounds};

	guarded(&guard);
	return guard.harm;
}

#endif
