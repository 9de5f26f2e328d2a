/*
 * quota: takes memory until the quota of its manifest line is used up, and checks that every page of it is its own.
 *
 * Read next: tests/test_system.py.
 */
#include "coconut.h"
#include "shardlib.h"

#define AT   COCONUT_LARGE_BASE
#define WORDS (COCONUT_PAGE_SIZE / sizeof(uint64_t))

/* Maps pages from AT on until a call is refused. Returns their number, and the last refusal in *refusal. */
static uint64_t take_all(int64_t *refusal) {
	uint64_t pages = 0;

	for (uint64_t step = 1 << 18; step; step /= 2)
		while ((*refusal = coconut_mmap(AT + pages * COCONUT_PAGE_SIZE, step)) == 0)
			pages += step;
	return pages;
}

int main(void) {
	volatile uint64_t *memory = (volatile uint64_t *)AT;
	int64_t refusal;
	uint64_t pages = take_all(&refusal);

	for (uint64_t i = 0; i < pages; i++) {
		if (memory[i * WORDS] || memory[(i + 1) * WORDS - 1]) return 2;
		memory[i * WORDS] = memory[(i + 1) * WORDS - 1] = i + 1;
	}
	for (uint64_t i = 0; i < pages; i++)
		if (memory[i * WORDS] != i + 1 || memory[(i + 1) * WORDS - 1] != i + 1) return 3;
	print("quota: %lu pages, then: %s\n", pages, error_text(refusal));
	return refusal == -COCONUT_E_QUOTA ? 0 : 1;
}
