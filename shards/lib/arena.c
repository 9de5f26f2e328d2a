/*
 * arena.c: memory from SYS_MMAP, handed out from low to high addresses and never given back.
 *
 * Pieces are 16-byte aligned and zeroed, since the kernel's pages are. The arena maps pages only as they are
 * needed, so it may start anywhere with free addresses above.
 *
 * Read next: coconut.h for the address space of a shard.
 */
#include "coconut.h"
#include "shardlib.h"

/* Starts an arena at a page-aligned address. Nothing is mapped yet. */
void arena_init(struct arena *arena, uint64_t address) {
	arena->next = address;
	arena->end = address;
}

/* Returns `bytes` zeroed bytes, or NULL when the kernel refuses the pages. */
void *arena_take(struct arena *arena, size_t bytes) {
	uint64_t start = arena->next, next;

	if (__builtin_add_overflow(start, bytes, &next) || next > UINT64_MAX - COCONUT_PAGE_SIZE) return NULL;
	next = (next + 15) & ~15ull;
	if (next > arena->end) {
		uint64_t pages = (next - arena->end + COCONUT_PAGE_SIZE - 1) / COCONUT_PAGE_SIZE;
		if (coconut_mmap(arena->end, pages) < 0) return NULL;
		arena->end += pages * COCONUT_PAGE_SIZE;
	}
	arena->next = next;
	return (void *)start;
}
