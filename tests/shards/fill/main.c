/*
 * fill: memory that one shard leaves behind must not be seen by the next. args:
 *
 *   exit, die  take all the memory that the quota allows, fill it with a pattern, then exit or fault
 *   zeros      take as much and find nothing but zeros
 */
#include "../expect.h"

#define AT COCONUT_LARGE_BASE
#define PATTERN 0x5EC2E75EC2E75EC2

/* Maps as many pages as there are. Returns their number. */
static uint64_t take_all(void) {
	uint64_t pages = 0;

	for (uint64_t step = 1 << 16; step; step /= 2)
		while (coconut_mmap(AT + pages * PAGE, step) == 0)
			pages += step;
	return pages;
}

int main(const char *args) {
	uint64_t words = take_all() * PAGE / 8, *memory = (uint64_t *)AT;

	CHECK(words > 512 * 1000);
	if (same(args, "zeros")) {
		for (uint64_t i = 0; i < words; i++)
			CHECK_EQ(memory[i], 0);
		for (uint64_t at = COCONUT_STACK_TOP - PAGE; at < (uint64_t)&words - 1024; at++)
			CHECK_EQ(*BYTES(at), 0);
		return 0;
	}
	for (uint64_t i = 0; i < words; i++)
		memory[i] = PATTERN;
	if (same(args, "die")) __asm__ volatile("ud2");
	return 0;
}
