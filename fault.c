/*
 * fault.c: exceptions in words.
 *
 * A fault of a shard ends that shard and leaves two lines on the console: what happened and the likely cause.
 * A fault of the kernel ends the run as a panic does (panic.c), with the registers and, where an address is to blame,
 * its page walk.
 *
 * Read next: trap.c. SDM Vol. 3A 6.15 describes the exceptions.
 */
#include "kernel.h"

/* Error codes: of a page fault (SDM Vol. 3A 4.7), and of a fault about a selector or a gate (6.13). */
enum { PF_PRESENT = 0x1, PF_WRITE = 0x2, PF_USER = 0x4, PF_RESERVED = 0x8, PF_FETCH = 0x10, PF_PROTECTION_KEY = 0x20 };
enum { SELECTOR_IDT = 0x2, SELECTOR_LOCAL = 0x4 };

#define INSTRUCTION_MAX 15 /* bytes (SDM Vol. 2A 2.3.11) */
#define RED_ZONE 128 /* bytes below rsp that a function may use (System V ABI for AMD64, 3.2.2) */

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

/* True when the fault is about the shard's stack: in the page below its only one, or at or above an rsp that has gone
 * below it, to where nothing is mapped (an rsp in the heap is a stack that the shard made itself). */
static bool stack_overflowed(const struct trap_frame *frame, uint64_t address) {
	int64_t rsp = (int64_t)frame->rsp, at = (int64_t)address, bottom = STACK_PAGE;

	if (at >= bottom - (int64_t)PAGE_SIZE && at < bottom) return true;
	return rsp < bottom && at < bottom && at >= rsp - RED_ZONE &&
	       (frame->rsp >= USER_LIMIT || !space_lookup(current, frame->rsp));
}

/* What a shard most likely did where a page is mapped, and forbids it. */
static const char *forbidden_cause(uint64_t address, uint64_t error) {
	for (int level = 3; level >= 0; level--)
		if (!(paging_entry(current->cr3, address, level) & PTE_USER))
			return "the kernel has mapped that page for itself: a U bit is clear";
	return error & PF_FETCH && address < current->code_end && !in_page(GPU_CONFIG_VADDR, address, 1)
	     ? "the kernel has mapped that page of its program as not executable"
	     : error & PF_FETCH ? "a jump into data: the page is not executable"
	     : !(error & PF_WRITE) ? "its rights forbid it: pagewalk in gdb shows them"
	     : address >= COCONUT_LARGE_BASE ? "a write to a file mapping, which is read-only"
	     : address >= COCONUT_STACK_TOP ? "a write to the GPU's registers, which are shared and read-only"
	     : address >= COCONUT_HEAP_BASE ? "the kernel has mapped that page read-only"
	     : space_lookup(current, address) & PTE_NX ? "a write to its configuration page, which is read-only"
	     : address >= current->code_end ? "a write behind the code, in its last page: a shard has no .data or .bss"
	     : "a write to its code or constants, which are read-only";
}

/* What a shard most likely did where nothing is mapped. */
static const char *absent_cause(uint64_t address, uint64_t error) {
	return error & PF_FETCH ? "a jump to where nothing is mapped: a bad function pointer or return address"
	     : address < current->code_end ? "the kernel has not mapped that page of its program"
	     : error & PF_WRITE && address < COCONUT_HEAP_BASE ? "a write behind the code: a shard has no .data or .bss"
	     : in_page(GPU_CONFIG_VADDR, address, 1) || in_page(PIPELINE_CONFIG_VADDR, address, 1)
	     ? "a configuration page that the manifest gives to other shards, by a line `gpu` or `pipeline`"
	     : address < COCONUT_HEAP_BASE ? "a read behind the code: a shard has no .data or .bss"
	     : in_page(COCONUT_STACK_TOP, address, 1) ? "beyond the top of the stack: an array there was overrun"
	     : "nothing is mapped there: a stray pointer, or memory that was not asked for with MMAP";
}

/* What a shard most likely did to get a page fault at `address`. */
static const char *page_fault_cause(const struct trap_frame *frame, uint64_t address) {
	uint64_t error = frame->error;

	return error & PF_RESERVED ? "the kernel has set a reserved bit in a page-table entry"
	     : !(error & PF_USER) ? "the processor's own access, for a descriptor or a far return, met a wrong page"
	     : address + PAGE_SIZE < COCONUT_CODE_BASE + PAGE_SIZE /* or just below 0, which wraps: a negative index */
	     ? error & PF_FETCH ? "a call of a NULL function pointer" : "a NULL pointer, or a field or element of one"
	     : stack_overflowed(frame, address)
	     ? "the stack is one page, and it overflowed: put large objects into mmap'd memory"
	     : address >= HHDM_BASE ? error & PF_FETCH ? "a jump into the supervisor: `syscall` alone leads there"
	       : "the address belongs to the supervisor"
	     : address >= USER_LIMIT ? "no shard has memory beyond 512 GiB: a stray pointer"
	     : error & PF_PRESENT ? forbidden_cause(address, error) : absent_cause(address, error);
}

/* Returns the byte of the current shard's program at `address`, 0 where none is mapped. */
static uint8_t program_byte(uint64_t address) {
	uint64_t entry = address < USER_LIMIT ? space_lookup(current, address) : 0;

	return entry ? ((const uint8_t *)phys_to_virt(entry & PTE_ADDRESS))[address & PAGE_MASK] : 0;
}

/* Instructions that fault by themselves. A row fits an opcode from `first` to `last` (0F xx is written 0x0Fxx) whose
 * next byte (ModRM), masked by `mask`, equals `modrm` (SDM Vol. 2D appendix A). The first row that fits counts. */
#define RING0 ": only ring 0 may"
#define UMIP ": switched off for ring 3 (CR4.UMIP), since it tells where the kernel lies"
#define DISABLED ": the kernel does not enable "
#define PORTS "a port access: ring 3 has no ports (IOPL is 0, the TSS has no bit map)"
#define TSD "rdtsc or rdtscp: switched off for ring 3 (CR4.TSD), since a fine clock is a side channel; use TIME"
static const struct { uint16_t first, last; uint8_t mask, modrm; const char *cause; } instructions[] = {
	{0x62, 0x62, 0, 0, "AVX-512" DISABLED "(CR4.OSXSAVE)"}, {0x8E, 0x8E, 0, 0, "a selector that this segment cannot have"},
	{0x6C, 0x6F, 0, 0, PORTS}, {0xE4, 0xE7, 0, 0, PORTS}, {0xEC, 0xEF, 0, 0, PORTS},
	{0xC4, 0xC5, 0, 0, "AVX or AMX" DISABLED "(CR4.OSXSAVE): compile without -mavx and -march=native"},
	{0xCC, 0xCC, 0, 0, "a breakpoint instruction without a debugger"},
	{0xCD, 0xCD, 0, 0, "an `int` instruction: no gate of the IDT is for ring 3; use syscall"},
	{0xCE, 0xCE, 0, 0, "into: 64-bit mode does not have it"}, {0xF1, 0xF1, 0, 0, "icebp: a debug instruction"},
	{0xF4, 0xF4, 0, 0, "hlt" RING0 "; use YIELD"}, {0xFA, 0xFB, 0, 0, "cli or sti" RING0 " (IOPL is 0)"},
	{0x0F00, 0x0F00, 0x30, 0x00, "sldt or str" UMIP}, {0x0F00, 0x0F00, 0x30, 0x10, "lldt or ltr" RING0},
	{0x0F01, 0x0F01, 0xFC, 0xC8, "monitor, mwait, clac or stac" RING0}, {0x0F01, 0x0F01, 0xFF, 0xF8, "swapgs" RING0},
	{0x0F01, 0x0F01, 0xFE, 0xD0, "xgetbv or xsetbv" DISABLED "(CR4.OSXSAVE)"}, {0x0F01, 0x0F01, 0xFF, 0xF9, TSD},
	{0x0F01, 0x0F01, 0x38, 0x20, "smsw" UMIP}, {0x0F01, 0x0F01, 0x38, 0x30, "lmsw" RING0},
	{0x0F01, 0x0F01, 0xC0, 0xC0, "virtual machines, enclaves or protection keys" DISABLED "them"},
	{0x0F01, 0x0F01, 0x30, 0x00, "sgdt or sidt" UMIP}, {0x0F01, 0x0F01, 0x30, 0x10, "lgdt or lidt" RING0},
	{0x0F01, 0x0F01, 0x38, 0x38, "invlpg" RING0}, {0x0F06, 0x0F09, 0, 0, "clts, sysret, invd or wbinvd" RING0},
	{0x0F0B, 0x0F0B, 0, 0, "ud2: a trap, or a path that the compiler knows to be undefined"},
	{0x0F20, 0x0F23, 0, 0, "control and debug registers" RING0 " use"}, {0x0F30, 0x0F30, 0, 0, "wrmsr" RING0},
	{0x0F31, 0x0F31, 0, 0, TSD}, {0x0F32, 0x0F32, 0, 0, "rdmsr" RING0}, {0x0F33, 0x0F33, 0, 0, "rdpmc: CR4.PCE is 0"},
	{0x0F34, 0x0F35, 0, 0, "sysenter or sysexit: use syscall"}, {0x0FAA, 0x0FAA, 0, 0, "rsm: system management only"},
	{0x0FAE, 0x0FAE, 0xE0, 0xC0, "rdfsbase and its kin" DISABLED "(CR4.FSGSBASE)"},
	{0x0FAE, 0x0FAE, 0x38, 0x20, "xsave" DISABLED "(CR4.OSXSAVE)"},
};

/* What the instruction at `rip` does that ring 3 may not; NULL when it is none of these. */
static const char *instruction_cause(uint64_t rip) {
	static const uint8_t prefixes[] = {0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};
	uint64_t at = rip;
	uint32_t opcode, i;

	do {
		opcode = program_byte(at++);
		for (i = 0; i < sizeof(prefixes) && prefixes[i] != opcode; i++)
			;
	} while ((i < sizeof(prefixes) || opcode >> 4 == 4) && at <= rip + INSTRUCTION_MAX); /* 40 to 4F: REX */
	if (at > rip + INSTRUCTION_MAX) return "an instruction of more than 15 bytes";
	if (opcode == 0x0F) opcode = 0x0F00U | program_byte(at++);
	for (i = 0; i < ARRAY_LENGTH(instructions); i++)
		if (opcode >= instructions[i].first && opcode <= instructions[i].last &&
		    (program_byte(at) & instructions[i].mask) == instructions[i].modrm)
			return instructions[i].cause;
	return NULL;
}

/* What a shard most likely did, for the exceptions that are no page fault. It serves for the kernel's own, too. */
static const char *likely_cause(const struct trap_frame *frame) {
	static const char *const causes[EXCEPTIONS] = {
		[0] = "a division by zero, or a quotient that does not fit",
		[1] = "the trap flag was set, or a debug instruction ran",
		[3] = "a breakpoint instruction without a debugger",
		[6] = "an instruction that this CPU does not have or the kernel does not enable, or a jump into data",
		[7] = "an FPU instruction while the kernel has the FPU switched off",
		[11] = "a selector of a segment that is marked as not present",
		[12] = "a stack pointer outside the canonical addresses, or a bad stack selector",
		[13] = "a non-canonical address, or an SSE operand that is not aligned to 16 bytes",
		[16] = "an unmasked floating-point exception",
		[17] = "an unaligned access while the alignment check was on",
		[19] = "an unmasked floating-point exception",
	};
	bool may_decode = frame->vector == VECTOR_INVALID_OPCODE || frame->vector == VECTOR_GENERAL_PROTECTION;
	bool selector = frame->vector == VECTOR_GENERAL_PROTECTION && frame->error && !(frame->error & SELECTOR_IDT);
	const char *cause = may_decode && frame->cs & 3 && !selector ? instruction_cause(frame->rip) : NULL;

	if (selector)
		return frame->error & SELECTOR_LOCAL ? "a selector of a local descriptor table: there is none"
		     : "a selector that ring 3 may not use: ring 0's, a system segment, or beyond the GDT";
	return cause ? cause : causes[frame->vector] ? causes[frame->vector] : "unknown";
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
	uint64_t error = frame->error, address = read_cr2();

	if (frame->vector == VECTOR_PAGE_FAULT)
		tell("Shard %u (%s) killed: page fault (#PF, vector 14) at rip 0x%lx: %s 0x%lx, %s (error 0x%lx)\n"
		     "  Likely cause: %s\n", current->id, name, frame->rip, access_word(error), address,
		     violation_word(error), error, page_fault_cause(frame, address));
	else
		tell("Shard %u (%s) killed: %s, vector %lu, at rip 0x%lx (error 0x%lx)\n  Likely cause: %s\n", current->id,
		     name, exception_names[frame->vector], frame->vector, frame->rip, error, likely_cause(frame));
	run_on_stack(current->stack_top, end_shard, COCONUT_KILLED);
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
	     : frame->error & PF_RESERVED ? "the kernel has set a reserved bit in a page-table entry"
	     : address + PAGE_SIZE < 2 * PAGE_SIZE ? "a NULL pointer in the kernel"
	     : user && present && frame->error & PF_FETCH ? "the kernel jumped into a shard's memory (SMEP)"
	     : user && present ? "the kernel touched a shard's memory outside copy_from_user and copy_to_user (SMAP)"
	     : present && frame->error & PF_WRITE ? "a write to the kernel's text or rodata (WP)"
	     : present && frame->error & PF_FETCH ? "the kernel jumped into its data (NX)"
	     : "a stray pointer, or a device or a stack that is not mapped";
}

/* Ends the run because of an exception in ring 0, or one that is nobody's fault (machine check, double fault). */
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

