/*
 * Tests of gpu.c: how it finds out whether video memory keeps what is written to it.
 *
 * The card is memory of this program: all of it, or less than the base address promises, so that it appears twice, in
 * whole or for one page.
 *
 * OPTIONS: -D_GNU_SOURCE -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include <sys/mman.h>
#include <unistd.h>

#include "../../gpu.c"
#include "check.h"

enum { PAGES = 64 };

bool preempt_point(void) { return false; }

/* Maps PAGES pages of which page i is page `of(i)` of the card, all of them written to before. */
static void map_card(uint64_t (*of)(uint64_t)) {
	int memory = memfd_create("card", 0);

	CHECK(memory >= 0 && !ftruncate(memory, PAGES * PAGE_SIZE));
	vram = mmap(NULL, PAGES * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (uint64_t i = 0; i < PAGES; i++)
		CHECK(mmap(vram + i * PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory,
			   (off_t)(of(i) * PAGE_SIZE)) != MAP_FAILED);
	close(memory);
	memset(vram, 0xAA, PAGES * PAGE_SIZE);
}

static uint64_t all(uint64_t i) { return i; }
static uint64_t half(uint64_t i) { return i % (PAGES / 2); }
static uint64_t one_twice(uint64_t i) { return i == PAGES - 1 ? 7 : i; }

TEST(memory_that_keeps) {
	map_card(all);
	CHECK(keeps(PAGES * PAGE_SIZE));
	for (uint64_t i = 0; i < PAGES; i++)
		CHECK_EQ(*(uint64_t *)(vram + i * PAGE_SIZE), 0); /* no mark is left */
	munmap(vram, PAGES * PAGE_SIZE);
}

TEST(memory_that_appears_twice) {
	map_card(half);
	CHECK(!keeps(PAGES * PAGE_SIZE));
	munmap(vram, PAGES * PAGE_SIZE);
	map_card(one_twice);
	CHECK(!keeps(PAGES * PAGE_SIZE));
	munmap(vram, PAGES * PAGE_SIZE);
}

int main(void) {
	RUN(memory_that_keeps);
	RUN(memory_that_appears_twice);
	return check_result();
}
