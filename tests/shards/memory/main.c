/* memory: MMAP and MUNMAP: what they give, and how they refuse, but for a machine without memory (nomem). Its line of
 * the manifest says frames=200. */
#include "../expect.h"

#define QUOTA 200
#define SMALL COCONUT_HEAP_BASE
#define LARGE 0x40000000UL
#define SMALL_END (COCONUT_STACK_TOP - 2 * PAGE)
#define LARGE_END 0x8000000000UL
#define FILE_AT 0x50000000UL

/* Ranges that no heap contains. */
static void outside(void) {
	static const uint64_t bad[][2] = {
		{0, 1}, {COCONUT_CODE_BASE, 1}, {GPU_CONFIG_VADDR, 1}, {PIPELINE_CONFIG_VADDR, 1},
		{SMALL - PAGE, 1}, {SMALL - PAGE, 2}, {SMALL_END, 1}, {SMALL_END - PAGE, 2},
		{COCONUT_STACK_TOP - PAGE, 1}, {COCONUT_STACK_TOP, 1}, {0x10000000, 1}, {LARGE - PAGE, 1},
		{LARGE - PAGE, 2}, {LARGE_END - PAGE, 2}, {LARGE_END, 1}, {0x7FFFFFFFF000, 1}, {0x800000000000, 1},
		{0xFFFF800000000000, 1}, {0xFFFFFFFF80200000, 1}, {0xFFFFFFFFC0000000, 1}, {0xFFFFFFFFFFFFF000, 1},
		{0xFFFFFFFFFFFFF000, 2}, {SMALL, 1UL << 52}, {LARGE, 1UL << 52}, {SMALL, 1UL << 63}, {LARGE, ~0UL},
		{LARGE, (1UL << 52) - (LARGE >> 12)}, {SMALL, (1UL << 52) - (SMALL >> 12) + 1},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		REFUSED(INVAL, coconut_mmap(bad[i][0], bad[i][1]));
		REFUSED(INVAL, coconut_munmap(bad[i][0], bad[i][1]));
	}
	for (uint64_t offset = 1; offset < PAGE; offset <<= 1) {
		REFUSED(INVAL, coconut_mmap(SMALL + offset, 1));
		REFUSED(INVAL, coconut_munmap(SMALL + offset, 1));
	}
	REFUSED(INVAL, coconut_mmap(SMALL, 0));
	REFUSED(INVAL, coconut_munmap(SMALL, 0));
}

/* Fresh pages are zero, keep what is written, and are zero again when they come back. */
static void zeroed(uint64_t address) {
	for (int round = 0; round < 3; round++) {
		CHECK_EQ(coconut_mmap(address, 3), 0);
		for (uint64_t i = 0; i < 3 * PAGE; i++)
			CHECK_EQ(BYTES(address)[i], 0);
		memset((void *)address, 0xAB, 3 * PAGE);
		REFUSED(EXISTS, coconut_mmap(address, 1));
		REFUSED(EXISTS, coconut_mmap(address + 2 * PAGE, 1));
		CHECK_EQ(BYTES(address)[3 * PAGE - 1], 0xAB);
		CHECK_EQ(coconut_munmap(address, 3), 0);
		REFUSED(INVAL, coconut_munmap(address, 1));
	}
}

/* A range that is taken in part is refused as a whole, for mapping and for unmapping. */
static void all_or_nothing(void) {
	CHECK_EQ(coconut_mmap(SMALL + 4 * PAGE, 1), 0);
	BYTES(SMALL + 4 * PAGE)[0] = 77;
	REFUSED(EXISTS, coconut_mmap(SMALL, 5));
	REFUSED(EXISTS, coconut_mmap(SMALL, 8));
	REFUSED(INVAL, coconut_munmap(SMALL + 3 * PAGE, 2));
	REFUSED(INVAL, coconut_munmap(SMALL + 4 * PAGE, 2));
	CHECK_EQ(BYTES(SMALL + 4 * PAGE)[0], 77);
	CHECK_EQ(coconut_mmap(SMALL, 4), 0); /* so the refused calls have left nothing behind */
	CHECK_EQ(coconut_mmap(SMALL + 5 * PAGE, 3), 0);
	CHECK_EQ(coconut_munmap(SMALL + PAGE, 6), 0);
	REFUSED(INVAL, coconut_munmap(SMALL, 8));
	CHECK_EQ(coconut_munmap(SMALL, 1), 0);
	CHECK_EQ(coconut_munmap(SMALL + 7 * PAGE, 1), 0);
}

/* Returns how many pages the quota still allows, by asking for them. */
static uint64_t room(void) {
	uint64_t pages = QUOTA;

	while (pages && coconut_mmap(LARGE, pages))
		pages--;
	if (pages) CHECK_EQ(coconut_munmap(LARGE, pages), 0);
	return pages;
}

/* The quota is exact, and refused calls do not use it up. */
static void quota(void) {
	uint64_t pages = room();

	CHECK(pages > QUOTA / 2 && pages < QUOTA);
	REFUSED(QUOTA, coconut_mmap(LARGE, QUOTA + 1));
	REFUSED(QUOTA, coconut_mmap(LARGE, 1UL << 20));
	CHECK_EQ(coconut_mmap(LARGE, pages), 0);
	REFUSED(QUOTA, coconut_mmap(LARGE + pages * PAGE, 1));
	REFUSED(QUOTA, coconut_mmap(LARGE + 0x40000000, 1)); /* needs page tables, for which no frame is left */
	REFUSED(QUOTA, coconut_mmap(SMALL, 1));
	CHECK_EQ(coconut_munmap(LARGE, 2), 0);
	REFUSED(QUOTA, coconut_mmap(LARGE + 0x40000000, 1)); /* two frames are too few for a page and two tables ... */
	CHECK_EQ(coconut_munmap(LARGE + 2 * PAGE, 1), 0);
	CHECK_EQ(coconut_mmap(LARGE + 0x40000000, 1), 0); /* ... and three are enough */
	CHECK_EQ(coconut_munmap(LARGE + 0x40000000, 1), 0);
	CHECK_EQ(coconut_munmap(LARGE + 3 * PAGE, pages - 3), 0);
	for (int i = 0; i < 50; i++) {
		REFUSED(QUOTA, coconut_mmap(LARGE, pages + 1));
		CHECK_EQ(coconut_mmap(LARGE + (uint64_t)i * 0x40000000, 1), 0);
		CHECK_EQ(coconut_munmap(LARGE + (uint64_t)i * 0x40000000, 1), 0);
	}
	CHECK_EQ(room(), pages);
}

/* File mappings: in the large region only, never over something or under it, and unmapped like memory. */
static void file_mappings(void) {
	int64_t fd = coconut_fs_open("/big", 4), size = coconut_fs_stat((uint64_t)fd);
	uint64_t pages = ((uint64_t)size + PAGE - 1) / PAGE, before = room();

	CHECK_EQ(coconut_fs_map((uint64_t)fd, FILE_AT), size);
	REFUSED(EXISTS, coconut_mmap(FILE_AT, 1));
	REFUSED(EXISTS, coconut_mmap(FILE_AT - PAGE, 2));
	REFUSED(EXISTS, coconut_mmap(FILE_AT + (pages - 1) * PAGE, 1));
	REFUSED(EXISTS, coconut_fs_map((uint64_t)fd, FILE_AT));
	REFUSED(EXISTS, coconut_fs_map((uint64_t)fd, FILE_AT - PAGE));
	CHECK(before - room() <= 3); /* page tables, and none of the file's frames */
	CHECK_EQ(coconut_munmap(FILE_AT, pages), 0);
	CHECK_EQ(coconut_mmap(FILE_AT + PAGE, 1), 0);
	REFUSED(EXISTS, coconut_fs_map((uint64_t)fd, FILE_AT));
	CHECK_EQ(coconut_munmap(FILE_AT + PAGE, 1), 0);
	CHECK_EQ(coconut_fs_map((uint64_t)fd, FILE_AT), size);
	CHECK_EQ(coconut_munmap(FILE_AT, pages), 0);
	CHECK_EQ(room(), before);
	CHECK_EQ(coconut_fs_close((uint64_t)fd), 0);
}

int main(void) {
	outside();
	zeroed(SMALL);
	zeroed(SMALL_END - 3 * PAGE);
	zeroed(LARGE);
	zeroed(LARGE_END - 3 * PAGE);
	all_or_nothing();
	quota();
	file_mappings();
	return 0;
}
