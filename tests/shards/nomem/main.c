/* nomem: memory until the machine has no more; every refusal must leave as much as there was. */
#include "../expect.h"

#define AT COCONUT_LARGE_BASE
#define TRIES 4

/* Maps as much as there is, in halves. Returns the number of pages. */
static uint64_t take_all(uint64_t at) {
	uint64_t pages = 0;

	for (uint64_t step = 1 << 20; step; step /= 2)
		while (coconut_mmap(at + pages * PAGE, step) == 0)
			pages += step;
	REFUSED(NOMEM, coconut_mmap(at + pages * PAGE, 1));
	return pages;
}

int main(void) {
	uint64_t first = take_all(AT);

	CHECK(first > 1000);
	REFUSED(NOMEM, coconut_mmap(0x4000000000, 1));
	for (int i = 0; i < TRIES; i++) {
		CHECK_EQ(coconut_munmap(AT, first), 0);
		REFUSED(NOMEM, coconut_mmap(AT, 1UL << 21));
		CHECK_EQ(take_all(AT), first);
	}
	CHECK_EQ(BYTES(AT)[0], 0);
	return 0;
}
