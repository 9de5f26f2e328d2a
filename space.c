/*
 * space.c: address spaces of shards.
 *
 * Maps and unmaps the pages of shards in the lower half of their page tables, and does so for them in MMAP and MUNMAP.
 * The upper half is the supervisor's (paging.c), in every one of them.
 *
 * Invariants: no leaf is writable and executable. An entry that points to a table counts the used entries of that table
 * in its bits 61..52, which the hardware ignores there: an empty table is found without a search.
 *
 * Read next: user.c.
 */
#include "kernel.h"

#define COUNT_SHIFT 52 /* the count of used entries, in an entry that points to a table */
#define COUNT_ONE (1UL << COUNT_SHIFT)

#define LOOK_STEP 0x10000 /* bytes whose pages are looked up between two looks at the interrupts */

#define HEAP_END (STACK_PAGE - PAGE_SIZE) /* the page below the stack stays unmapped */

/* Returns how many entries of the table that an entry points to are used. */
static inline uint64_t count_of(uint64_t entry) { return entry >> COUNT_SHIFT & 0x3FF; }

/* Forgets what is known of a shard's memory: whoever takes a page or a table from it, or a right to a page, calls this.
 * Checks begin anew at the stack page, which is mapped whenever the shard makes calls. */
void forget(struct shard *shard) {
	shard->known.region = NO_REGION;
	shard->known.readable_page = shard->known.writable_page = STACK_PAGE;
	if (!ABLATE(forget)) shard->known.receive_max = 0;
}

/* Gives a shard an address space: an empty lower half, the supervisor's upper half. Returns 0 or an error. */
int space_create(struct shard *shard) {
	int error = frame_alloc(shard, &shard->cr3);

	if (error) return error;
	table_of(shard->cr3)[PML4_HHDM] = table_of(kernel_cr3)[PML4_HHDM];
	table_of(shard->cr3)[PML4_IMAGE] = table_of(kernel_cr3)[PML4_IMAGE];
	return 0;
}

/* Frees those of the tables on the way to `address` that are empty: goes down as far as there are entries, and up again
 * as long as the entry above says that nothing is left below it. What the processor remembers of the page and of all
 * tables is forgotten (invlpg) after the last change, not before: it may look at tables, and remember them, at any time
 * (SDM Vol. 3A 4.10.4). */
static void prune(struct shard *shard, uint64_t address) {
	uint64_t *path[LEVEL_PML4 + 1], *table = table_of(shard->cr3);
	int level = LEVEL_PML4;

	forget(shard);
	for (; level > LEVEL_PT; level--) {
		path[level] = &table[entry_index(address, level)];
		if (!*path[level]) break;
		table = table_of(*path[level]);
	}
	for (level++; level <= LEVEL_PML4 && !count_of(*path[level]); level++) {
		frame_free_clean(shard, *path[level] & PTE_ADDRESS);
		*path[level] = 0;
		if (level < LEVEL_PML4) *path[level + 1] -= COUNT_ONE;
	}
	if (!ABLATE(invlpg)) invlpg(address);
}

/* Makes the tables on the way to `address` that are missing. Returns 0 or an error, and has then made none. It is kept
 * out of space_map, which seldom needs it and maps every page. */
static __attribute__((noinline)) int walk_create(struct shard *shard, uint64_t address) {
	uint64_t *table = table_of(shard->cr3), *above = NULL;

	for (int level = LEVEL_PML4; level > LEVEL_PT; level--) {
		uint64_t *entry = &table[entry_index(address, level)];
		if (!*entry) {
			uint64_t phys;
			int error = frame_alloc(shard, &phys);
			if (error) {
				if (!ABLATE(walk)) prune(shard, address);
				return error;
			}
			*entry = phys | PTE_PRESENT | PTE_WRITE | PTE_USER;
			if (above) *above += COUNT_ONE;
		}
		above = entry;
		table = table_of(*entry);
	}
	return 0;
}

/* Maps one page of a shard; `rights` are PTE bits beside P and U. Returns 0, -COCONUT_E_EXISTS when something is
 * mapped there, or what frame_alloc says when a table is needed. */
int space_map(struct shard *shard, uint64_t address, uint64_t phys, uint64_t rights) {
	uint64_t leaf = pte_make(phys, rights | PTE_USER), *place = leaf_of(shard, address);

	ASSERT(leaf && address < USER_LIMIT && !(address & PAGE_MASK));
	if (!place) {
		int error = walk_create(shard, address);
		if (error) return error;
		place = leaf_of(shard, address);
	}
	if (*place) return -COCONUT_E_EXISTS;
	*place = leaf | (ABLATE(code) ? PTE_WRITE : 0);
	*shard->known.entry += COUNT_ONE; /* leaf_of has left it at this address's table */
	return 0;
}

/* Maps one fresh page of zeros and returns the kernel's view of it, or NULL with the error in `*error`. */
void *map_page(struct shard *shard, uint64_t address, uint64_t rights, int *error) {
	uint64_t phys;

	if ((*error = frame_alloc(shard, &phys))) return NULL;
	if (!(*error = space_map(shard, address, phys, rights))) return phys_to_virt(phys);
	frame_free_clean(shard, phys);
	return NULL;
}

/* Unmaps one page that is mapped, and frees its frame unless it is borrowed (a file's, a BAR's). */
static void space_unmap(struct shard *shard, uint64_t address) {
	uint64_t *place = leaf_of(shard, address), leaf = *place;

	ASSERT(leaf & PTE_PRESENT);
	*place = 0;
	*shard->known.entry -= COUNT_ONE;
	if (!count_of(*shard->known.entry))
		prune(shard, address);
	else if (!ABLATE(invlpg))
		invlpg(address);
	if (!(leaf & PTE_BORROWED)) frame_free(shard, leaf & PTE_ADDRESS);
}

/* Returns how many of `pages` pages from `address` on are mapped without a hole. If the shard is killed meanwhile, it
 * stops early. */
static uint64_t space_mapped(struct shard *shard, uint64_t address, uint64_t pages) {
	uint64_t done = 0, *place;

	for (; done < pages && (place = leaf_of(shard, address)) && *place; done++, address += PAGE_SIZE)
		if (address % LOOK_STEP == 0 && preempt_point()) break;
	return done;
}

/* Empties the table that `entry` points to, of the given level, with all that is below it, and frees it. Stops as soon
 * as the entry's count says that nothing is left. Recursion is as deep as there are levels: three calls. */
static void free_table(struct shard *shard, uint64_t entry, int level) {
	uint64_t *table = table_of(entry), left = count_of(entry);

	for (; left; left--) {
		while (!*table)
			table++;
		uint64_t child = *table;
		*table = 0;
		if (level > LEVEL_PT)
			free_table(shard, child, level - 1);
		else if (!(child & PTE_BORROWED))
			frame_free(shard, child & PTE_ADDRESS);
		preempt_point();
	}
	if (!ABLATE(leak)) frame_free_clean(shard, entry & PTE_ADDRESS);
}

/* Frees a shard's address space and every frame it owned, in pieces: others may run after each frame.
 * The shard may be the current one; it goes on in the supervisor's address space. */
void space_destroy(struct shard *shard) {
	uint64_t *pml4 = table_of(shard->cr3), lower = pml4[0], phys = shard->cr3;

	forget(shard);
	shard->cr3 = kernel_cr3;
	if (shard == current) write_cr3(kernel_cr3);
	if (lower) free_table(shard, lower, LEVEL_PML4 - 1);
	pml4[0] = pml4[PML4_HHDM] = pml4[PML4_IMAGE] = 0;
	frame_free_clean(shard, phys);
}

/* ---- MMAP and MUNMAP ---- */

/* Checks that all pages lie in the small or in the large heap. Returns 0 or the refusal. */
static inline int64_t check_heap(uint64_t address, uint64_t pages) {
	uint64_t end = address >= COCONUT_LARGE_BASE ? USER_LIMIT : HEAP_END;

	if (address & PAGE_MASK) return refuse(-COCONUT_E_INVAL, 1, address, "the address is not page aligned");
	if (pages == 0) return refuse(-COCONUT_E_INVAL, 2, pages, "there is nothing to do for no pages");
	if ((address < COCONUT_HEAP_BASE || address >= end || pages > (end - address) / PAGE_SIZE) && !ABLATE(heap))
		return refuse(-COCONUT_E_INVAL, 1, address, "the range is not wholly inside a heap");
	return 0;
}

/* Unmaps `pages` pages of the current shard that are mapped. Others may run between two; if the shard is killed, the
 * rest stays mapped. */
static void unmap_pages(uint64_t address, uint64_t pages) {
	forget(current);
	for (; pages; address += PAGE_SIZE) {
		space_unmap(current, address);
		if (--pages && preempt_point()) return;
	}
}

/* MMAP: maps `pages` pages of zeros at `address`. Either all of them or none. */
int64_t sys_mmap(uint64_t address, uint64_t pages) {
	int64_t bad = check_heap(address, pages);

	if (bad) return bad;
	if (pages > current->payer->frame_quota - current->payer->family_frames && !ABLATE(quota))
		return refuse(-COCONUT_E_QUOTA, 2, pages, "the shard's quota of frames does not allow it");
	if (pages > mm_free_frames())
		return refuse(-COCONUT_E_NOMEM, 2, pages, "the machine has not so many free frames");
	for (uint64_t done = 0;;) {
		int error;
		if (!map_page(current, address + done * PAGE_SIZE, PTE_WRITE | PTE_NX, &error)) {
			unmap_pages(address, done);
			return refuse(error, 1, address + done * PAGE_SIZE, error == -COCONUT_E_EXISTS ?
				      "that page is mapped already" : "no frame is left for that page");
		}
		if (++done == pages) return 0;
		if (preempt_point()) return COCONUT_KILLED;
	}
}

/* MUNMAP: unmaps `pages` pages of the heap or of a file mapping, all of which must be mapped. */
int64_t sys_munmap(uint64_t address, uint64_t pages) {
	int64_t bad = check_heap(address, pages);

	if (bad) return bad;
	uint64_t mapped = space_mapped(current, address, pages);
	if (mapped < pages) return refuse(-COCONUT_E_INVAL, 1, address + mapped * PAGE_SIZE, "that page is not mapped");
	unmap_pages(address, pages);
	return 0;
}
