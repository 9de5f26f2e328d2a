/*
 * memory.c, the rung: what space.c and user.c add: an address space for a shard, and the ways to its memory.
 *
 * Makes one, maps pages as the calls do, shows where they lead and what may be read and written, copies through them,
 * and takes the space down again. No instruction of ring 3 has run yet.
 *
 * Read next: faults.c.
 */
#include "rungs.h"

enum { QUOTA = 64, PAGES = 3 };

static const char *const names[SYS_LIMIT] = {[SYS_MMAP] = "MMAP", [SYS_MUNMAP] = "MUNMAP"};
static struct profile profile = {.name = "memory"};

/* As much of trap.c as this rung needs: the clock ticks. */
void interrupt_dispatch(struct trap_frame *frame) {
	if (frame->vector == VECTOR_PIC) timer_interrupt();
	if (frame->vector >= VECTOR_MSI) apic_interrupt(frame->vector);
}

/* Makes an address space with a page of code and a page of stack, and enters it. */
static void begin(struct shard *self) {
	int error;

	*self = (struct shard){.payer = self, .frame_quota = QUOTA, .profile = &profile,
		.refusals_left = UINT32_MAX, .call = SYS_MMAP};
	forget(self);
	if (space_create(self) || !map_page(self, COCONUT_CODE_BASE, 0, &error) ||
	    !map_page(self, STACK_PAGE, PTE_WRITE | PTE_NX, &error))
		panic("no memory for an address space");
	current = self;
	write_cr3(self->cr3);
}

/* Prints where an address of the current shard leads, and what a call may do there. */
static void print_page(uint64_t address) {
	print("Memory: 0x%lx is at 0x%lx, readable: %d, writable: %d\n", address,
	      space_lookup(current, address) & PTE_ADDRESS, user_readable(address, 1), user_writable(address, 1));
}

/* Writes `len` bytes at an address and reads them again. Returns whether they are the same. */
static bool comes_back(uint64_t address, uint64_t len) {
	uint8_t out[2 * PAGES], in[2 * PAGES];

	for (uint64_t i = 0; i < len; i++)
		out[i] = (uint8_t)(address + i * i);
	if (!user_writable(address, len)) return false;
	copy_to_user(address, out, len);
	copy_from_user(in, address, len);
	return !memcmp(out, in, len);
}

void rung_show(const struct bootinfo *info) {
	struct shard *self = &shards[0];
	uint64_t free = mm_free_frames();

	(void)info;
	call_names = names;
	begin(self);
	print("Memory: MMAP returns %ld\n", sys_mmap(COCONUT_HEAP_BASE, PAGES));
	print("Memory: MMAP in the large heap returns %ld\n", sys_mmap(COCONUT_LARGE_BASE, 1));
	print("Memory: MMAP over what is there returns %ld\n", sys_mmap(COCONUT_HEAP_BASE + PAGE_SIZE, 1));
	print("Memory: MUNMAP returns %ld\n", sys_munmap(COCONUT_HEAP_BASE + PAGE_SIZE, 1));
	print_page(COCONUT_CODE_BASE);
	print_page(COCONUT_HEAP_BASE);
	print_page(COCONUT_HEAP_BASE + PAGE_SIZE);
	print_page(COCONUT_HEAP_BASE + 2 * PAGE_SIZE);
	print_page(STACK_PAGE);
	print_page(COCONUT_LARGE_BASE);
	print("Memory: %u bytes at the end of a page come back: %d; over its end: %d\n", PAGES,
	      comes_back(COCONUT_HEAP_BASE + PAGE_SIZE - PAGES, PAGES),
	      comes_back(COCONUT_HEAP_BASE + PAGE_SIZE - PAGES, 2 * PAGES));
	print("Memory: the space takes %u frames, and %lu are missing\n", self->frames, free - mm_free_frames());
	space_destroy(self);
	current = &supervisor_thread;
	print("Memory: without it, %lu are missing\n", free - mm_free_frames());
	rung_end();
}
