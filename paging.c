/*
 * paging.c: page tables.
 *
 * Owns the kernel's half of the address space, which all page tables share by sharing entries 256 and 511 of
 * the PML4. The lower half is the shards': space.c.
 *
 * Invariants: no leaf is writable and executable; no leaf of the upper half has U; the lower half of the
 * supervisor's own tables is empty (all this from paging_init on).
 *
 * Read next: idt.c. MEMORY_MAP.md shows the result; SDM Vol. 3A 4.5 describes the format.
 */
#include "kernel.h"

uint64_t kernel_cr3; /* physical address of the supervisor's own PML4 */

#define HHDM_SIZE 0x8000000000UL /* one entry of the PML4 */

#define CPUID_ADDRESSES 0x80000008 /* how wide a physical address is, in the lowest byte of eax (SDM Vol. 3A 4.1.4) */

static uint64_t mmio_next = MMIO_BASE; /* where the next device will be mapped */

/* Builds a leaf entry. Returns 0, which no caller accepts, for a page that would be writable and executable. */
uint64_t pte_make(uint64_t phys, uint64_t rights) {
	if (ABLATE(nx)) return phys | (rights & ~PTE_NX) | PTE_PRESENT;
	if (rights & PTE_WRITE && !(rights & PTE_NX)) return 0;
	return phys | rights | PTE_PRESENT | (ABLATE(upper) ? PTE_USER : 0);
}

/* Returns the table below `*entry`, made when there is none. Boot only: running out of memory is fatal. */
static uint64_t *kernel_table(uint64_t *entry) {
	uint64_t phys;

	if (!(*entry & PTE_PRESENT)) {
		if (frame_alloc(NULL, &phys)) panic("no memory for page tables: give the machine more memory");
		*entry = phys | PTE_PRESENT | PTE_WRITE | (ABLATE(upper) ? PTE_USER : 0);
	}
	return table_of(*entry);
}

/* Maps `size` bytes at `address` to `phys`, all page aligned, with 2 MiB pages where they fit. Each round of the loop
 * walks the tables once and fills neighbouring entries of the last one, up to its end. Panics without memory. */
static void kernel_map(uint64_t address, uint64_t phys, uint64_t size, uint64_t rights) {
	while (size) {
		bool large = size >= LARGE_PAGE_SIZE && (address | phys) % LARGE_PAGE_SIZE == 0;
		uint64_t step = large ? LARGE_PAGE_SIZE : PAGE_SIZE, leaf = pte_make(phys, large ? rights | PTE_LARGE : rights);
		ASSERT(leaf);
		uint64_t to_table_end = step * ENTRIES - (address & (step * ENTRIES - 1)), run = min(size & -step, to_table_end);
		uint64_t *pdpt = kernel_table(&table_of(kernel_cr3)[entry_index(address, LEVEL_PML4)]);
		uint64_t *entry = &kernel_table(&pdpt[entry_index(address, LEVEL_PDPT)])[entry_index(address, LEVEL_PD)];

		if (!large) entry = &kernel_table(entry)[entry_index(address, LEVEL_PT)];
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

/* Maps all RAM that the loader reports, of every kind, joining neighbours (regions are sorted by base) so that large
 * pages fit across the firmware's small regions. */
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
 * them in the HHDM, which maps RAM and the firmware's tables. 2 MiB without a table are skipped in one step. */
bool paging_device_fits(uint64_t phys, uint64_t size) {
	if (!addressable(phys, size)) return false;
	for (uint64_t at = phys & ~PAGE_MASK; at < phys + size && at < HHDM_SIZE;) {
		bool mapped = paging_entry(kernel_cr3, HHDM_BASE + at, LEVEL_PD);
		if (mapped && paging_entry(kernel_cr3, HHDM_BASE + at, LEVEL_PT)) return false;
		at += mapped ? PAGE_SIZE : LARGE_PAGE_SIZE - at % LARGE_PAGE_SIZE;
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

/* Makes a table of the firmware's (ACPI, not a page table) readable, which may lie outside the reported RAM, and
 * returns its address, or NULL when there can be none. */
const void *paging_map_table(uint64_t phys, uint64_t size) {
	uint64_t end = (phys + size + PAGE_MASK) & ~PAGE_MASK;

	if (!addressable(phys, size) || end > HHDM_SIZE) return NULL;
	for (uint64_t page = phys & ~PAGE_MASK; page < end; page += PAGE_SIZE)
		if (!(paging_entry(kernel_cr3, HHDM_BASE + page, LEVEL_PT) & PTE_PRESENT))
			kernel_map(HHDM_BASE + page, page, PAGE_SIZE, PTE_NX);
	return phys_to_virt(phys);
}

/* Returns the entry of the given level for `address` in the tables at `cr3`: LEVEL_PML4 to
 * LEVEL_PT. A large page answers for the levels below its own. Returns 0 when the walk ends before that level. */
uint64_t paging_entry(uint64_t cr3, uint64_t address, int level) {
	uint64_t entry = cr3 | PTE_PRESENT;

	for (int at = LEVEL_PML4; at >= level && (entry & (PTE_PRESENT | PTE_LARGE)) == PTE_PRESENT; at--)
		entry = table_of(entry)[entry_index(address, at)];
	return entry & PTE_PRESENT ? entry : 0;
}
