/*
 * panic.c: the end of a run, and the words of one that ends badly.
 *
 * Whatever the kernel cannot go on with ends in panic(): a sentence, a backtrace with names, and an exit status that
 * says so. An exception in ring 0 ends in fault.c, which says more, in the same way.
 *
 * Invariant: where the kernel ends the run it does so by debug_exit, whose code run.sh turns into its exit status; only
 * a processor on which no C can run ends in boot.asm.
 *
 * Read next: cpu.c.
 */
#include "kernel.h"

#define BACKTRACE_MAX 16

void (*power_off)(void);

/* Ends the run with `code`, one of DEBUG_EXIT_.... On a machine without isa-debug-exit it powers off or, failing
 * that, halts for ever; the code is lost then. */
void debug_exit(uint32_t code) {
	serial_drain();
	outl(DEBUG_EXIT_PORT, code);
	if (power_off) power_off();
	halt_for_ever();
}

/* Prints a line of a backtrace: `address`, and as function+offset if it lies in one. */
static void print_caller(uint64_t address) {
	uint64_t offset = address - IMAGE_BASE;
	uint32_t behind = 0; /* the first function that begins behind the address */

	while (behind < kernel_symbol_count && kernel_symbols[behind].offset <= offset)
		behind++;
	if (!behind || address < (uint64_t)image_text || address >= (uint64_t)image_rodata)
		print("  0x%lx\n", address);
	else
		print("  0x%lx %s+0x%lx\n", address, kernel_symbol_names + kernel_symbols[behind - 1].name,
		      offset - kernel_symbols[behind - 1].offset);
}

/* True when a frame pointer leads to two words on the boot stack or on a kernel stack: in the upper part of its slot,
 * where it is mapped. */
static bool is_stack(uint64_t address) {
	uint64_t to_top = STACK_SLOT_SIZE - address % STACK_SLOT_SIZE;

	if (address & 7) return false;
	if (in_page(HHDM_BASE + PHYS_BOOT_STACK, address, 16)) return true;
	return address - STACKS_BASE < STACK_SLOTS * (uint64_t)STACK_SLOT_SIZE && to_top >= 16 && to_top <= STACK_SIZE;
}

/* Prints the function at `rip` and, from the frame pointer `rbp` up, who called whom, at most BACKTRACE_MAX calls. */
void print_backtrace(uint64_t rip, uint64_t rbp) {
	print("Backtrace:\n");
	print_caller(rip);
	for (int i = 0; i < BACKTRACE_MAX && is_stack(rbp); i++) {
		const uint64_t *frame = (const uint64_t *)rbp;
		print_caller(frame[1]);
		rbp = frame[0];
	}
}

/* Begins a panic: nothing else may hold the console back. A panic inside a panic gives up at once. */
void panic_begin(void) {
	static bool begun;

	if (begun) debug_exit(DEBUG_EXIT_PANIC);
	begun = true;
	quiet = false;
	console_cut(); /* nobody will end the open line any more */
}

/* Ends the run because the kernel found what cannot be, or lacks what it cannot do without. */
void panic(const char *template, ...) {
	char text[256];
	va_list args;

	panic_begin();
	va_start(args, template);
	format(text, sizeof(text), template, args);
	va_end(args);
	print("PANIC: %s\n", text);
	print_backtrace((uint64_t)__builtin_return_address(0), *(uint64_t *)__builtin_frame_address(0));
	debug_exit(DEBUG_EXIT_PANIC);
}
