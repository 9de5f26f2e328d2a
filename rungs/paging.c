/*
 * paging.c, the rung: what paging.c adds: the supervisor's own page tables.
 *
 * Counts all pages that they map, by their rights, and shows where paging_entry leads for some addresses. From here on
 * the supervisor has a stack of its own.
 *
 * Read next: gates.c.
 */
#include "rungs.h"

/* How many pages of each kind there are: none must be of the last two. */
static struct { uint64_t small, large, writable, executable, both, user; } count;

/* Counts the pages below an entry that leads to a table of the given level. */
static void count_pages(uint64_t entry, int level) {
	for (uint32_t i = 0; i < ENTRIES; i++) {
		uint64_t below = table_of(entry)[i];
		bool writable = below & PTE_WRITE, executable = !(below & PTE_NX);

		if (!(below & PTE_PRESENT)) continue;
		if (level > LEVEL_PT && !(below & PTE_LARGE)) {
			count_pages(below, level - 1);
			continue;
		}
		*(level > LEVEL_PT ? &count.large : &count.small) += 1;
		count.writable += writable;
		count.executable += executable;
		count.both += writable && executable;
		count.user += (below & PTE_USER) != 0;
	}
}

/* Prints where an address leads. */
static void print_way(const char *what, uint64_t address) {
	uint64_t entry = paging_entry(kernel_cr3, address, LEVEL_PT);
	uint64_t size = entry & PTE_LARGE ? LARGE_PAGE_SIZE : PAGE_SIZE;

	if (entry)
		print("Paging: %s, 0x%lx, is at physical 0x%lx\n", what, address,
		      (entry & PTE_ADDRESS & -size) + (address & (size - 1)));
	else
		print("Paging: %s, 0x%lx, is nowhere\n", what, address);
}

void rung_show(const struct bootinfo *info) {
	uint64_t top = stack_slot_top(STACK_SUPERVISOR);

	count_pages(kernel_cr3, LEVEL_PML4);
	print("Paging: %lu pages of 4 KiB, %lu of 2 MiB: %lu writable, %lu executable, %lu both, %lu for ring 3\n",
	      count.small, count.large, count.writable, count.executable, count.both, count.user);
	print_way("this function", (uint64_t)rung_show);
	print_way("a variable", (uint64_t)&count);
	print_way("its other address", HHDM_BASE + (uint64_t)&count - IMAGE_BASE);
	print_way("the ramdisk", (uint64_t)phys_to_virt(info->ramdisk));
	print_way("the stack", top - sizeof(top));
	print_way("the page below it", top - STACK_SIZE - PAGE_SIZE);
	print_way("the trampoline", PHYS_IMAGE);
	rung_end();
}
