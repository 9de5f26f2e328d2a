/*
 * gates.c, the rung: what idt.c adds: gates through which the processor finds the kernel.
 *
 * The door interrupt_dispatch opens to this file here, and notes what comes. Every vector is raised by an instruction,
 * but for those where the processor itself would push an error code; then a page below a stack is touched, and the
 * handler steps over the instruction that did.
 *
 * Read next: threads.c.
 */
#include "rungs.h"

enum { NOTES = 80 };

static struct { uint8_t vector, stack; } came[NOTES]; /* in this order, and on which kernel stack */
static uint32_t came_count;
static uint64_t resume, fault_address, fault_error;

void interrupt_dispatch(struct trap_frame *frame) {
	if (frame->vector == VECTOR_PAGE_FAULT) {
		fault_address = read_cr2();
		fault_error = frame->error;
		frame->rip = resume;
	} else if (came_count < NOTES) {
		came[came_count].vector = (uint8_t)frame->vector;
		came[came_count++].stack = (uint8_t)(((uint64_t)frame - STACKS_BASE) / STACK_SLOT_SIZE);
	}
}

#define RAISE(vector) __asm__ volatile("int %0" : : "i"(vector) : "memory")
#define RAISE_4(first) RAISE(first); RAISE((first) + 1); RAISE((first) + 2); RAISE((first) + 3)
#define RAISE_16(first) RAISE_4(first); RAISE_4((first) + 4); RAISE_4((first) + 8); RAISE_4((first) + 12)

/* Raises what an instruction can raise. */
static void raise_all(void) {
	RAISE_4(0);
	RAISE_4(4);
	RAISE(9);
	RAISE(15);
	RAISE(16);
	RAISE(18);
	RAISE(19);
	RAISE(20);
	RAISE_4(22);
	RAISE(26);
	RAISE(27);
	RAISE(28);
	RAISE(31);
	RAISE_16(VECTOR_PIC);
	RAISE_16(VECTOR_MSI);
	RAISE(VECTOR_SPURIOUS);
}

/* Writes to an address where nothing is, and goes on behind that. */
static void write_to(uint64_t address) {
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; movb $0, (%1); 1:" : "=m"(resume) : "r"(address)
			 : "rax", "memory");
}

void rung_show(const struct bootinfo *info) {
	uint32_t here = STACK_SUPERVISOR;

	(void)info;
	raise_all();
	print("Gates: %u came:", came_count);
	for (uint32_t i = 0; i < came_count; i++)
		print(" %u", came[i].vector);
	print("\nGates: on a stack of their own:");
	for (uint32_t i = 0; i < came_count; i++)
		if (came[i].stack != here) print(" %u", came[i].vector);
	write_to(stack_slot_top(here) - STACK_SLOT_SIZE);
	print("\nGates: page fault at 0x%lx, error 0x%lx\n", fault_address, fault_error);
	rung_end();
}
