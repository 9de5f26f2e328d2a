/*
 * map-probe: a shard that has one of everything in its address space, for tests/test_memory_map.py.
 *
 * It maps the first and the last page of the small heap, some of the large heap, and a file. When all that is done it
 * writes a mark into its heap, where the test looks for it, and stays alive without ever blocking.
 *
 * Read next: MEMORY_MAP.md, tests/test_memory_map.py.
 */
#include "coconut.h"

#define LAST_HEAP_PAGE (COCONUT_STACK_TOP - 3 * COCONUT_PAGE_SIZE)
#define LARGE_HEAP     (COCONUT_LARGE_BASE + 0x200000)
#define FILE_MAPPING   (COCONUT_LARGE_BASE + 0x10000000)
#define MARK           0x6465707061706D21 /* "!mapped" and a letter, found by the test */

int main(const char *args) {
	static const char path[] = "/hello.txt";
	int64_t fd = coconut_fs_open(path, sizeof(path) - 1);

	(void)args;
	if (fd < 0 || coconut_fs_map((uint64_t)fd, FILE_MAPPING) < 0) return 1;
	if (coconut_mmap(COCONUT_HEAP_BASE, 2) || coconut_mmap(LAST_HEAP_PAGE, 1) || coconut_mmap(LARGE_HEAP, 3))
		return 2;
	*(volatile uint64_t *)COCONUT_HEAP_BASE = MARK;
	for (;;)
		coconut_yield();
}
