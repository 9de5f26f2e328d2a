/*
 * memory.c: what a shard has mapped, and how much: MMAP, MUNMAP, quotas.
 *
 * A shard has its program, which it can read, a page of stack, and the pages that it has mapped. The frames of
 * physical memory that it uses for these, and for its page tables (CHOICE: how many), count against the quota of its
 * line of the manifest, together with those of all that it spawns.
 *
 * Read next: order.c.
 */
#include "spec.h"

#define PAGE_OF(address) ((address) / COCONUT_PAGE_SIZE)
#define STACK PAGE_OF(COCONUT_STACK_TOP - 1)
#define HEAP_END (STACK - 1)            /* the page below the stack stays unmapped */
#define SPACE_END 0x8000000000          /* addresses of shards are below 512 GiB */

/* True when the bytes lie in the address space. */
bool spec_inside(uint64_t address, uint64_t len) { return address < SPACE_END && len <= SPACE_END - address; }

static bool mapped(const struct life *me, uint64_t page) {
	for (int i = 0; i < me->pages; i++)
		if (me->page[i] == page) return true;
	return false;
}

/* True when a shard may write all of the bytes, at least one. */
bool spec_writable(const struct life *me, uint64_t address, uint64_t len) {
	if (!spec_inside(address, len)) return false;
	for (uint64_t page = PAGE_OF(address); page <= PAGE_OF(address + len - 1); page++)
		if (page != STACK && !mapped(me, page)) return false;
	return true;
}

bool spec_readable(const struct life *me, uint64_t address, uint64_t len) {
	if (!spec_inside(address, len)) return false;
	for (uint64_t page = PAGE_OF(address); page <= PAGE_OF(address + len - 1); page++) {
		bool program = page >= PAGE_OF(COCONUT_CODE_BASE) && page <= PAGE_OF(me->code_end - 1);
		if (page != STACK && !program && !mapped(me, page)) return false;
	}
	return true;
}

/* ---- Quotas ---- */

/* The frames of all that count against the quota of the same line. */
uint64_t spec_family_frames(int payer) {
	uint64_t frames = 0;

	for EACH_LIFE (life)
		if (life->state != NONE && life->payer == payer) frames += life->frames;
	return frames;
}

/* A shard gets a frame, or none because of its quota or of the machine's memory (CHOICE: when there is none). */
const char *spec_frame(struct life *owner, int64_t error) {
	uint64_t frames = spec_family_frames(owner->payer), quota = world.line[owner->payer].frames;

	if (error == -COCONUT_E_QUOTA) return frames < quota ? "a frame is refused that the quota allows" : NULL;
	if (error) return NULL;
	owner->frames++;
	return frames < quota ? NULL : "a shard has more frames than its quota allows";
}

/* ---- MMAP, MUNMAP ---- */

static bool outside_heaps(const struct life *me) {
	uint64_t address = me->call.arg[0], pages = me->call.arg[1], page = PAGE_OF(address);
	uint64_t end = address >= COCONUT_LARGE_BASE ? PAGE_OF(SPACE_END) : HEAP_END;

	if (address % COCONUT_PAGE_SIZE || pages == 0) return true;
	return address < COCONUT_HEAP_BASE || page >= end || pages > end - page;
}

/* As MMAP begins it is compared with the quota, tables left out; while it goes on, its family may use up what was
 * left. */
int64_t begin_mmap(const struct life *me) {
	if (outside_heaps(me)) return -COCONUT_E_INVAL;
	return me->call.arg[1] > world.line[me->payer].frames - spec_family_frames(me->payer) ? -COCONUT_E_QUOTA : 0;
}

/* MMAP: all of the pages or none. CHOICE: which page is refused first when one is mapped already and another has no
 * frame. */
int64_t look_mmap(const struct life *me) {
	if (me->call.outside) return me->call.outside; /* a frame was refused */
	for (uint64_t i = 0; i < me->call.arg[1]; i++)
		if (mapped(me, PAGE_OF(me->call.arg[0]) + i)) return -COCONUT_E_EXISTS;
	return 0;
}

void act_mmap(struct life *me, int64_t result) {
	for (uint64_t i = 0; result == 0 && i < me->call.arg[1] && me->pages < PAGES; i++)
		me->page[me->pages++] = PAGE_OF(me->call.arg[0]) + i;
}

/* MUNMAP: all of the pages must be mapped. */
int64_t look_munmap(const struct life *me) {
	if (outside_heaps(me)) return -COCONUT_E_INVAL;
	for (uint64_t i = 0; i < me->call.arg[1]; i++)
		if (!mapped(me, PAGE_OF(me->call.arg[0]) + i)) return -COCONUT_E_INVAL;
	return 0;
}

void act_munmap(struct life *me, int64_t result) {
	uint64_t first = PAGE_OF(me->call.arg[0]);

	for (int i = me->pages - 1; result == 0 && i >= 0; i--)
		if (me->page[i] - first < me->call.arg[1]) me->page[i] = me->page[--me->pages];
}
