/*
 * sums: adds up the same numbers again and again, rounding down, and exits with 1 when a sum differs from the first
 * one.
 *
 * Read next: labs/12-fxsave/grader.py.
 */
#include <emmintrin.h>

#include "coconut.h"

#define ROUNDS 30000

static float sum(void) {
	float total = 0;

	for (int i = 1; i <= 200; i++)
		total += 1.0f / (float)i;
	return total;
}

int main(void) {
	volatile float first;

	_mm_setcsr(0x3F80); /* all exceptions masked, round down */
	first = sum();
	for (int round = 0; round < ROUNDS; round++)
		if (sum() != first) return 1;
	return _mm_getcsr() >> 13 != 1;
}
