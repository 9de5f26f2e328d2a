/*
 * paging.c: page tables.
 *
 * Owns the kernel's half of the address space, which all page tables share by sharing entries 256 and 511 of
 * the PML4, and the walk that maps and unmaps the pages of shards in the lower half.
 *
 * Invariants: no leaf is writable and executable; no leaf of the upper half has U; the lower half of the
 * supervisor's own tables is empty (all this from paging_init on). An entry that points to a table of a shard counts
 * the used entries of that table in its bits 61..52, which the hardware ignores there: an empty table is found without
 * a search.
 *
 * Read next: idt.c. MEMORY_MAP.md shows the result; SDM Vol. 3A 4.5 describes the format.
 */
#include "kernel.h"

/* The walk: a table of each level has 512 entries, and 9 bits of the address choose one (SDM Vol. 3A 4.5.4). */
enum { LEVEL_PT, LEVEL_PD, LEVEL_PDPT, LEVEL_PML4, ENTRIES = 512, PML4_HHDM = 256, PML4_IMAGE = 511 };

#define COUNT_SHIFT 52 /* the count of used entries, in an entry that points to a table */
#define COUNT_ONE (1UL << COUNT_SHIFT)

#define LOOK_STEP 0x10000 /* bytes whose pages are looked up between two looks at the interrupts */

uint64_t kernel_cr3; /* physical address of the supervisor's own PML4 */

#define HHDM_SIZE 0x8000000000UL /* one entry of the PML4 */

#define CPUID_ADDRESSES 0x80000008 /* how wide a physical address is, in the lowest byte of eax (SDM Vol. 3A 4.1.4) */

static uint64_t mmio_next = MMIO_BASE; /* where the next device will be mapped */

/* Returns which entry of the table of the given level `address` goes through. */
static inline uint32_t index_of(uint64_t address, int level) { return address >> (12 + 9 * level) & (ENTRIES - 1); }

/* Returns the table that an entry points to. A value of cr3 serves as an entry too: its address is in the same bits. */
static inline uint64_t *table_of(uint64_t entry) { return phys_to_virt(entry & PTE_ADDRESS); }

/* Returns how many entries of the table that an entry points to are used. */
static inline uint64_t count_of(uint64_t entry) { return entry >> COUNT_SHIFT & 0x3FF; }

/* Builds a leaf entry. Returns 0, which no caller accepts, for a page that would be writable and executable. */
uint64_t pte_make(uint64_t phys, uint64_t rights) {
	if (ABLATE(nx)) return phys | (rights & ~PTE_NX) | PTE_PRESENT;
	if (rights & PTE_WRITE && !(rights & PTE_NX)) return 0;
	return phys | rights | PTE_PRESENT | (ABLATE(upper) ? PTE_USER : 0);
}

/* ---- The supervisor's half ---- */

/* Returns the table below `*entry`, made when there is none. Boot only: running out of memory is fatal. */
static uint64_t *kernel_table(uint64_t *entry) {
	uint64_t phys;

	if (!(*entry & PTE_PRESENT)) {
		if (frame_alloc(NULL, &phys)) panic("no memory for page tables: give the machine more memory");
		*entry = phys | PTE_PRESENT | PTE_WRITE | (ABLATE(upper) ? PTE_USER : 0);
	}
	return table_of(*entry);
}

/* Maps `size` bytes at `address` to `phys`, all page aligned, with 2 MiB pages where they fit. Each turn walks the
 * tables once and fills neighbouring entries of the last one, up to its end. */
static void kernel_map(uint64_t address, uint64_t phys, uint64_t size, uint64_t rights) {
	while (size) {
		bool large = size >= LARGE_PAGE_SIZE && (address | phys) % LARGE_PAGE_SIZE == 0;
		uint64_t step = large ? LARGE_PAGE_SIZE : PAGE_SIZE, leaf = pte_make(phys, large ? rights | PTE_LARGE : rights);
		ASSERT(leaf);
		uint64_t run = min(size & -step, step * ENTRIES - (address & (step * ENTRIES - 1)));
		uint64_t *pdpt = kernel_table(&table_of(kernel_cr3)[index_of(address, LEVEL_PML4)]);
		uint64_t *entry = &kernel_table(&pdpt[index_of(address, LEVEL_PDPT)])[index_of(address, LEVEL_PD)];

		if (!large) entry = &kernel_table(entry)[index_of(address, LEVEL_PT)];
		for (uint64_t done = 0; done < run; done += step)
			*entry++ = leaf + done;
		address += run;
		phys += run;
		size -= run;
	}
}

/* Maps RAM [base, end) into the HHDM: writable, but the supervisor's text and rodata read-only there too. */
static void map_hhdm(uint64_t base, uint64_t end) {
	const uint64_t border[] = {PHYS_IMAGE, (uint64_t)image_data - IMAGE_BASE, end};
	const uint64_t rights[] = {PTE_WRITE | PTE_NX, PTE_NX, PTE_WRITE | PTE_NX};

	for (size_t i = 0; i < ARRAY_LENGTH(border); i++) {
		uint64_t stop = border[i] < end ? border[i] : end;
		if (base < stop) {
			kernel_map(HHDM_BASE + base, base, stop - base, rights[i]);
			base = stop;
		}
	}
}

/* Maps all RAM, joining neighbours so that large pages fit across the firmware's small regions. */
static void map_ram(const struct bootinfo *info) {
	const struct boot_region *region = phys_to_virt(info->regions);
	uint64_t base = 0, end = 0;

	for (uint64_t i = 0; i < info->region_count; i++) {
		if (region[i].base != end) {
			map_hhdm(base, end);
			base = region[i].base;
		}
		end = region[i].base + region[i].size;
	}
	map_hhdm(base, end);
}

/* Maps the section between two borders of the image where it was linked. */
static void map_image(char *from, char *to, uint64_t rights) {
	kernel_map((uint64_t)from, (uint64_t)from - IMAGE_BASE, (uint64_t)(to - from), rights);
}

/* Returns the address one past the top of a kernel stack. */
uint64_t stack_slot_top(uint32_t slot) { return STACKS_BASE + (slot + 1) * (uint64_t)STACK_SLOT_SIZE; }

/* Maps the stacks. The lower half of each slot stays unmapped: running over the end of a stack is a page
 * fault there, which becomes a double fault, which has a stack of its own. */
static void map_stacks(void) {
	uint64_t mapped = ABLATE(guard) ? STACK_SLOT_SIZE : STACK_SIZE;

	for (uint32_t slot = 0; slot < STACK_SLOTS; slot++) {
		for (uint64_t offset = mapped; offset; offset -= PAGE_SIZE) {
			uint64_t phys;
			if (frame_alloc_raw(&phys)) panic("no memory for kernel stacks: give the machine more memory");
			kernel_map(stack_slot_top(slot) - offset, phys, PAGE_SIZE, PTE_WRITE | PTE_NX);
		}
	}
}

/* Replaces the trampoline's tables by ones in which every page has the rights it needs. The boot stack is mapped in
 * both; the trampoline's mapping of low addresses to themselves is gone. */
void paging_init(const struct bootinfo *info) {
	if (frame_alloc(NULL, &kernel_cr3)) panic("no memory for page tables: give the machine more memory");
	map_ram(info);
	map_image(image_text, image_rodata, 0);
	map_image(image_rodata, image_data, PTE_NX);
	map_image(image_data, image_end, PTE_WRITE | PTE_NX);
	map_stacks();
	supervisor_thread.cr3 = kernel_cr3;
	write_cr3(kernel_cr3);
	print_verbose("Paging: HHDM at 0x%lx, image at 0x%lx, %u kernel stacks with guard pages\n", HHDM_BASE,
		      (uint64_t)image_text, STACK_SLOTS);
}

/* Returns whether `size` bytes at `phys`, at least one, have addresses that the processor can send out. */
static bool addressable(uint64_t phys, uint64_t size) {
	uint64_t limit = 1UL << (cpuid(CPUID_ADDRESSES, 0).eax & 0xFF);

	return size && phys < limit && size <= limit - phys;
}

/* Returns whether a device can be where the firmware says: at addresses that the processor can send out, and none of
 * them RAM, which the HHDM maps. Where it has no table for 2 MiB, all of them are passed at once. */
bool paging_device_fits(uint64_t phys, uint64_t size) {
	if (!addressable(phys, size)) return false;
	for (uint64_t at = phys & ~PAGE_MASK; at < phys + size && at < HHDM_SIZE;) {
		bool table = paging_entry(kernel_cr3, HHDM_BASE + at, LEVEL_PD);
		if (table && paging_entry(kernel_cr3, HHDM_BASE + at, LEVEL_PT)) return false;
		at += table ? PAGE_SIZE : LARGE_PAGE_SIZE - at % LARGE_PAGE_SIZE;
	}
	return true;
}

/* Maps device registers uncached (PCD and PWT: SDM Vol. 3A 4.9.2) and returns their address, or NULL when no device can
 * be there or no addresses are left for it. `phys` and `size` need no alignment. */
void *paging_map_device(uint64_t phys, uint64_t size) {
	if (!paging_device_fits(phys, size)) return NULL;
	uint64_t offset = phys & PAGE_MASK, bytes = (offset + size + PAGE_MASK) & ~PAGE_MASK;
	uint64_t align = bytes < LARGE_PAGE_SIZE ? PAGE_SIZE : LARGE_PAGE_SIZE; /* so that large pages fit */
	uint64_t address = (mmio_next + align - 1) & -align;

	if (bytes > -address) return NULL; /* the rest of the address space is too small for it */
	kernel_map(address, phys - offset, bytes, PTE_WRITE | PTE_NX | PTE_PCD | PTE_PWT);
	mmio_next = address + bytes;
	return (void *)(address + offset);
}

/* Makes firmware tables readable that may lie outside the reported RAM, and returns their address, or NULL when there
 * can be none. */
const void *paging_map_table(uint64_t phys, uint64_t size) {
	uint64_t end = (phys + size + PAGE_MASK) & ~PAGE_MASK;

	if (!addressable(phys, size) || end > HHDM_SIZE) return NULL;
	for (uint64_t page = phys & ~PAGE_MASK; page < end; page += PAGE_SIZE)
		if (!(paging_entry(kernel_cr3, HHDM_BASE + page, LEVEL_PT) & PTE_PRESENT))
			kernel_map(HHDM_BASE + page, page, PAGE_SIZE, PTE_NX);
	return phys_to_virt(phys);
}

/* Returns the entry of the given level for `address` in the tables at `cr3`: 3 the PML4's, 0 the leaf. A large
 * page is the leaf at every level below its own; 0 when the walk ends before. */
uint64_t paging_entry(uint64_t cr3, uint64_t address, int level) {
	uint64_t entry = cr3 | PTE_PRESENT;

	for (int at = LEVEL_PML4; at >= level && (entry & (PTE_PRESENT | PTE_LARGE)) == PTE_PRESENT; at--)
		entry = table_of(entry)[index_of(address, at)];
	return entry & PTE_PRESENT ? entry : 0;
}

/* ---- The shards' half ---- */

/* Gives a shard an address space: an empty lower half, the supervisor's upper half. Returns 0 or an error. */
int space_create(struct shard *shard) {
	int error = frame_alloc(shard, &shard->cr3);

	if (error) return error;
	table_of(shard->cr3)[PML4_HHDM] = table_of(kernel_cr3)[PML4_HHDM];
	table_of(shard->cr3)[PML4_IMAGE] = table_of(kernel_cr3)[PML4_IMAGE];
	return 0;
}

/* Returns where the leaf of `address` stands; NULL when there is no table for it. The shard remembers the last table.
 * Entry 0 is the only one of the PML4 that a shard uses: `address` is below USER_LIMIT. */
static inline uint64_t *leaf_of(struct shard *shard, uint64_t address) {
	if (shard->walk_region != address / LARGE_PAGE_SIZE) {
		uint64_t pdpt = table_of(shard->cr3)[0];
		uint64_t pd = pdpt ? table_of(pdpt)[index_of(address, LEVEL_PDPT)] : 0;
		uint64_t *entry = pd ? &table_of(pd)[index_of(address, LEVEL_PD)] : NULL;
		if (!entry || !*entry) return NULL;
		shard->walk_region = address / LARGE_PAGE_SIZE;
		shard->walk_entry = entry;
		shard->walk_table = table_of(*entry);
	}
	return &shard->walk_table[index_of(address, LEVEL_PT)];
}

/* Frees those of the tables on the way to `address` that are empty: goes down as far as there are entries, and up again
 * as long as the entry above says that nothing is left below it. What the processor remembers of the page and of all
 * tables is forgotten behind the last change, not before: it may look at tables, and remember them, at any time (SDM
 * Vol. 3A 4.10.4). */
static void prune(struct shard *shard, uint64_t address) {
	uint64_t *path[LEVEL_PML4 + 1], *table = table_of(shard->cr3);
	int level = LEVEL_PML4;

	shard->walk_region = NO_REGION;
	for (; level > LEVEL_PT; level--) {
		path[level] = &table[index_of(address, level)];
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
__attribute__((noinline))
static int walk_create(struct shard *shard, uint64_t address) {
	uint64_t *table = table_of(shard->cr3), *above = NULL;

	for (int level = LEVEL_PML4; level > LEVEL_PT; level--) {
		uint64_t *entry = &table[index_of(address, level)];
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
	*shard->walk_entry += COUNT_ONE;
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

/* Unmaps one page that is mapped, and frees its frame unless it is borrowed (a file's, a BAR's). Whatever the shard
 * remembers of a buffer may have been this page: the checks start anew, from the stack page, which is always mapped. */
void space_unmap(struct shard *shard, uint64_t address) {
	uint64_t *place = leaf_of(shard, address), leaf = *place;

	ASSERT(leaf & PTE_PRESENT);
	*place = 0;
	*shard->walk_entry -= COUNT_ONE;
	shard->readable_page = shard->writable_page = STACK_PAGE;
	shard->writable_view = shard->stack_view;
	if (!ABLATE(forget)) shard->receive_max = 0;
	if (!count_of(*shard->walk_entry))
		prune(shard, address);
	else if (!ABLATE(invlpg))
		invlpg(address);
	if (!(leaf & PTE_BORROWED)) frame_free(shard, leaf & PTE_ADDRESS);
}

/* Returns the leaf entry of a page of the shard, 0 when nothing is mapped there. `address` < USER_LIMIT. */
uint64_t space_lookup(struct shard *shard, uint64_t address) {
	const uint64_t *place = leaf_of(shard, address);

	return place ? *place : 0;
}

/* Returns how many of `pages` pages from `address` on are mapped without a hole. */
uint64_t space_mapped(struct shard *shard, uint64_t address, uint64_t pages) {
	uint64_t done = 0, *place;

	for (; done < pages && (place = leaf_of(shard, address)) && *place; done++, address += PAGE_SIZE)
		if (address % LOOK_STEP == 0) preempt_point();
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

/* Frees a shard's address space and every frame it owned, in pieces: interrupts are let in after each frame.
 * The shard may be the current one; it goes on in the supervisor's address space. */
void space_destroy(struct shard *shard) {
	uint64_t *pml4 = table_of(shard->cr3), lower = pml4[0], phys = shard->cr3;

	shard->cr3 = kernel_cr3;
	if (shard == current) write_cr3(kernel_cr3);
	if (lower) free_table(shard, lower, LEVEL_PML4 - 1);
	pml4[0] = pml4[PML4_HHDM] = pml4[PML4_IMAGE] = 0;
	frame_free_clean(shard, phys);
}
