/*
 * fault.c: exceptions and panics in words.
 *
 * A fault of a shard ends that shard and leaves two lines on the console: what happened and the likely cause.
 * A fault of the kernel, or a broken assertion, ends the run: everything known is printed, with the page walk
 * of the address and a backtrace with names, and the exit status says that it was a panic.
 *
 * Read next: apic.c. SDM Vol. 3A 6.15 describes the exceptions.
 */
#include "kernel.h"

#define BACKTRACE_MAX 16

/* Page-fault error code (SDM Vol. 3A 4.7). */
enum { PF_PRESENT = 0x01, PF_WRITE = 0x02, PF_RESERVED = 0x08, PF_FETCH = 0x10, PF_PROTECTION_KEY = 0x20 };

/* By vector (SDM Vol. 3A table 6-1; 28 to 30 are AMD's, APM Vol. 2 8.2). */
static const char *const exception_names[EXCEPTIONS] = {
	"divide error (#DE)", "debug exception (#DB)", "non-maskable interrupt", "breakpoint (#BP)", "overflow (#OF)",
	"bound range exceeded (#BR)", "invalid opcode (#UD)", "FPU not available (#NM)", "double fault (#DF)",
	"coprocessor overrun", "invalid TSS (#TS)", "segment not present (#NP)", "stack-segment fault (#SS)",
	"general protection fault (#GP)", "page fault (#PF)", "reserved exception", "x87 floating-point error (#MF)",
	"alignment check (#AC)", "machine check (#MC)", "SIMD floating-point exception (#XM)",
	"virtualization exception (#VE)", "control protection exception (#CP)", [22 ... 27] = "reserved exception",
	"hypervisor injection (#HV)", "VMM communication (#VC)", "security exception (#SX)", "reserved exception",
};

/* What a shard most likely did to get a page fault at `address`. */
static const char *page_fault_cause(uint64_t address, uint64_t error) {
	return address < COCONUT_CODE_BASE ? "a NULL pointer, or a field or element of one"
	     : address >= USER_LIMIT ? "the address belongs to the supervisor"
	     : address >= STACK_PAGE - PAGE_SIZE && address < STACK_PAGE
	     ? "the stack is one page, and it overflowed: put large objects into mmap'd memory"
	     : error & PF_PRESENT && error & PF_FETCH ? "a jump into data: the page is not executable"
	     : error & PF_PRESENT && error & PF_WRITE ? "a write to code or to a read-only mapping"
	     : address < COCONUT_HEAP_BASE && error & PF_WRITE ? "a write behind the code: a shard has no .data or .bss"
	     : "nothing is mapped there: a stray pointer, or memory that was not asked for with MMAP";
}

/* What a shard most likely did, for the exceptions that are no page fault. */
static const char *likely_cause(const struct trap_frame *frame) {
	static const char *const causes[EXCEPTIONS] = {
		[0] = "a division by zero, or a quotient that does not fit",
		[1] = "the trap flag was set, or a debug instruction ran",
		[3] = "a breakpoint instruction without a debugger",
		[6] = "an instruction that this CPU does not have or the kernel does not enable (AVX, FSGSBASE), "
		      "or a jump into data",
		[7] = "an FPU instruction while the kernel has the FPU switched off",
		[12] = "a stack pointer outside the canonical addresses, or a bad stack selector",
		[13] = "a privileged instruction, or a non-canonical address",
		[16] = "an unmasked floating-point exception",
		[17] = "an unaligned access while the alignment check was on",
		[19] = "an unmasked floating-point exception",
	};

	if (frame->vector == VECTOR_GENERAL_PROTECTION && frame->error)
		return "a selector or an interrupt number that ring 3 may not use";
	return causes[frame->vector] ? causes[frame->vector] : "unknown";
}

/* Says what the access that faulted was to do. */
static const char *access_word(uint64_t error) {
	return error & PF_FETCH ? "instruction fetch from" : error & PF_WRITE ? "write to" : "read of";
}

/* Says why the page tables did not let it. */
static const char *violation_word(uint64_t error) {
	return error & PF_RESERVED ? "a reserved bit is set in its page-table entry"
	     : error & PF_PROTECTION_KEY ? "its protection key forbids it"
	     : error & PF_PRESENT ? "its page forbids it" : "it is not mapped";
}

/* Says what the current shard did, and ends it on a fresh kernel stack: the frame may lie on a stack that
 * belongs to all shards (IST). */
void fault_kill(struct trap_frame *frame) {
	const char *name = current->profile->name;
	bool page_fault = frame->vector == VECTOR_PAGE_FAULT;
	uint64_t error = frame->error, address = page_fault ? read_cr2() : 0;

	if (page_fault)
		print("Shard %u (%s) killed: page fault (#PF, vector 14) at rip 0x%lx: %s 0x%lx, %s (error 0x%lx)\n",
		      current->id, name, frame->rip, access_word(error), address, violation_word(error), error);
	else
		print("Shard %u (%s) killed: %s, vector %lu, at rip 0x%lx (error 0x%lx)\n", current->id, name,
		      exception_names[frame->vector], frame->vector, frame->rip, error);
	print("  Likely cause: %s\n", page_fault ? page_fault_cause(address, error) : likely_cause(frame));
	run_on_stack(current->stack_top, handle_sys_exit, COCONUT_KILLED);
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

/* True when a frame pointer leads to two words that can be read, on the boot stack or a mapped kernel stack. */
static bool is_stack(uint64_t address) {
	if (address & 7) return false;
	if (in_page(HHDM_BASE + PHYS_BOOT_STACK, address, 16)) return true;
	return kernel_cr3 && address - STACKS_BASE < STACK_SLOTS * (uint64_t)STACK_SLOT_SIZE - 8 &&
	       paging_entry(kernel_cr3, address, 0) && paging_entry(kernel_cr3, address + 8, 0);
}

/* Prints who called whom, from the frame pointer up. */
static void print_backtrace(uint64_t rip, uint64_t rbp) {
	print("Backtrace:\n");
	print_caller(rip);
	for (int i = 0; i < BACKTRACE_MAX && is_stack(rbp); i++) {
		const uint64_t *frame = (const uint64_t *)rbp;
		print_caller(frame[1]);
		rbp = frame[0];
	}
}

/* Prints the entries that the processor walks for `address`, with their bits in words. A large page ends the walk:
 * paging_entry names it again for the levels below. */
static void print_walk(uint64_t address) {
	static const char *const level_name[] = {"PT", "PD", "PDPT", "PML4"};
	uint64_t previous = 0;

	print("Page walk of 0x%lx, cr3 0x%lx:\n", address, read_cr3());
	for (int level = 3; level >= 0; level--) {
		uint64_t entry = paging_entry(read_cr3() & PTE_ADDRESS, address, level);
		if (!entry) print("  %s: not present\n", level_name[level]);
		if (!entry || entry == previous) return;
		print("  %s: 0x%lx%s%s%s%s\n", level_name[level], entry, entry & PTE_WRITE ? " writable" : " read-only",
		      entry & PTE_USER ? " user" : " supervisor", entry & PTE_NX ? " no-execute" : " executable",
		      entry & PTE_LARGE && level ? " large" : "");
		previous = entry;
	}
}

/* Prints the registers of the frame, and those of the processor that say where it stands. */
static void print_registers(const struct trap_frame *f) {
	print("rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", f->rax, f->rbx, f->rcx, f->rdx);
	print("rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n", f->rsi, f->rdi, f->rbp, f->rsp);
	print("r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
	print("r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
	print("cr0 %016lx cr2 %016lx cr3 %016lx cr4 %016lx\n", read_cr0(), read_cr2(), read_cr3(), read_cr4());
	print("cs %lx ss %lx rflags %lx, current shard: %s\n", f->cs, f->ss, f->rflags,
	      current && current->profile ? current->profile->name : "none");
}

/* What the kernel most likely did. */
static const char *kernel_cause(const struct trap_frame *frame, uint64_t address) {
	bool user = address < USER_LIMIT, present = frame->error & PF_PRESENT;

	return frame->vector == VECTOR_DOUBLE_FAULT
	     ? "the kernel stack overflowed into its guard page, or the IDT, GDT or TSS is damaged"
	     : frame->vector != VECTOR_PAGE_FAULT ? likely_cause(frame)
	     : address < PAGE_SIZE ? "a NULL pointer in the kernel"
	     : user && frame->error & PF_FETCH ? "the kernel jumped into a shard's memory (SMEP)"
	     : user && present ? "the kernel touched a shard's memory outside copy_from_user and copy_to_user (SMAP)"
	     : present && frame->error & PF_WRITE ? "a write to the kernel's text or rodata (WP)"
	     : present && frame->error & PF_FETCH ? "the kernel jumped into its data (NX)"
	     : "a stray pointer, or a device or a stack that is not mapped";
}

/* Begins a panic: nothing else may hold the console back. A panic inside a panic gives up at once. */
static void panic_begin(void) {
	static bool begun;

	if (begun) debug_exit(DEBUG_EXIT_PANIC);
	begun = true;
	quiet = false;
	console_panic();
}

/* Ends the run because of an exception in ring 0, or one that is nobody's fault (machine check). */
void fault_panic(struct trap_frame *frame) {
	panic_begin();
	uint64_t address = read_cr2();
	print("PANIC: %s, vector %lu, in ring %lu at rip 0x%lx (error 0x%lx)\n", exception_names[frame->vector],
	      frame->vector, frame->cs & 3, frame->rip, frame->error);
	if (frame->vector == VECTOR_PAGE_FAULT)
		print("  %s 0x%lx: %s\n", access_word(frame->error), address, violation_word(frame->error));
	print("  Likely cause: %s\n", kernel_cause(frame, address));
	print_registers(frame);
	if (kernel_cr3 && (frame->vector == VECTOR_PAGE_FAULT || frame->vector == VECTOR_DOUBLE_FAULT))
		print_walk(address);
	print_backtrace(frame->rip, frame->rbp);
	debug_exit(DEBUG_EXIT_PANIC);
}

/* Ends the run because the kernel found something that cannot be. */
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
