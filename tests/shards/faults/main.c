/*
 * faults: one shard for each exception. args name the instruction to run; the symbol fault_NAME is its address, which
 * the test compares with the rip on the console. A shard that is still alive afterwards exits with 1.
 *
 * args "int N" raises interrupt N; "array_N" has an array of N KiB on the stack; "read X", "write X" and "jump X" do so
 * at the address X, in hexadecimal. "bits X Y" first has a kernel with PROVOKE_entry turn over the bits X in the entry
 * of a file mapping; then Y, which is r, w or x, is the access. "registers" writes to those of a GPU shard. args "fine"
 * makes no mistake.
 */
#include "../expect.h"

#define HEAP COCONUT_HEAP_BASE
#define STR(x) #x

/* Runs the code when args name it. The label stands before `instruction`, which is the one that faults. */
#define FAULT(name, before, instruction)                                                                     \
	if (same(args, #name))                                                                               \
		__asm__ volatile(before "\n.globl fault_" #name "\nfault_" #name ":\n" instruction           \
				 : : "a"(HEAP) : "rbx", "rcx", "rdx", "rdi", "rsi", "r8", "memory", "cc")

static __attribute__((noinline)) void arithmetic(const char *args) {
	FAULT(divide, "xor %%ecx, %%ecx; mov $1, %%eax; xor %%edx, %%edx", "div %%ecx");
	FAULT(idiv_overflow, "mov $0x80000000, %%eax; cdq; mov $-1, %%ecx", "idiv %%ecx");
	FAULT(x87, "fninit; movl $0x37B, (%%rax); fldcw (%%rax); fldz; fld1; fdiv %%st(1), %%st", "fwait");
	FAULT(unaligned, "", "movaps 8(%%rax), %%xmm0");
	FAULT(unaligned_sum, "", "addps 8(%%rax), %%xmm0");
	FAULT(single_step, "pushf; orl $0x100, (%%rsp); popf; nop", "nop");
}

static __attribute__((noinline)) void undefined(const char *args) {
	FAULT(ud2, "", "ud2");
	FAULT(lock_nop, "", ".byte 0xF0, 0x90");
	FAULT(rdfsbase, "", "rdfsbase %%rcx");
	FAULT(wrgsbase, "", "wrgsbase %%rcx");
	FAULT(stac, "", "stac");
	FAULT(clac, "", "clac");
	FAULT(monitor, "xor %%ecx, %%ecx; xor %%edx, %%edx", "monitor");
	FAULT(mwait, "xor %%ecx, %%ecx", "mwait");
	FAULT(xgetbv, "xor %%ecx, %%ecx", "xgetbv");
	FAULT(xsetbv, "xor %%ecx, %%ecx", "xsetbv");
	FAULT(xsave, "", "xsave (%%rax)");
	FAULT(rdpkru, "xor %%ecx, %%ecx", ".byte 0x0F, 0x01, 0xEE");
	FAULT(vmcall, "", "vmcall");
	FAULT(vmmcall, "", "vmmcall");
	FAULT(vmrun, "", "vmrun");
	FAULT(clgi, "", "clgi");
	FAULT(rsm, "", "rsm");
	FAULT(into, "", ".byte 0xCE");
	FAULT(avx, "", "vaddps %%ymm0, %%ymm0, %%ymm0");
	FAULT(avx512, "", "vaddps %%zmm0, %%zmm0, %%zmm0");
	FAULT(amx, "", ".byte 0xC4, 0xE2, 0x78, 0x49, 0xC0"); /* tilerelease */
	FAULT(icebp, "", ".byte 0xF1");
}

static __attribute__((noinline)) void privileged(const char *args) {
	FAULT(hlt, "", "hlt");
	FAULT(cli, "", "cli");
	FAULT(sti, "", "sti");
	FAULT(in, "mov $0x3F8, %%edx", "in %%dx, %%al");
	FAULT(out, "mov $0xF4, %%edx", "out %%eax, %%dx");
	FAULT(outs, "mov $0xF4, %%edx; mov %%rax, %%rsi", "outsl");
	FAULT(read_cr0, "", "mov %%cr0, %%rcx");
	FAULT(read_cr2, "", "mov %%cr2, %%rcx");
	FAULT(read_cr3, "", "mov %%cr3, %%rcx");
	FAULT(write_cr0, "", "mov %%rax, %%cr0");
	FAULT(write_cr3, "", "mov %%rax, %%cr3");
	FAULT(write_cr4, "", "mov %%rax, %%cr4");
	FAULT(write_cr8, "", "mov %%rax, %%cr8");
	FAULT(read_dr0, "", "mov %%db0, %%rcx");
	FAULT(write_dr7, "", "mov %%rax, %%db7");
	FAULT(rdmsr, "mov $0xC0000080, %%ecx", "rdmsr");
	FAULT(wrmsr, "mov $0xC0000082, %%ecx", "wrmsr");
	FAULT(rdtsc, "", "rdtsc");
	FAULT(rdtscp, "", "rdtscp");
	FAULT(rdpmc, "xor %%ecx, %%ecx", "rdpmc");
	FAULT(sgdt, "", "sgdt (%%rax)");
	FAULT(sidt, "", "sidt (%%rax)");
	FAULT(sldt, "", "sldt (%%rax)");
	FAULT(str, "", "str (%%rax)");
	FAULT(smsw, "", "smsw (%%rax)");
	FAULT(lgdt, "", "lgdt (%%rax)");
	FAULT(lidt, "", "lidt (%%rax)");
	FAULT(lldt, "", "lldt (%%rax)");
	FAULT(ltr, "", "ltr (%%rax)");
	FAULT(lmsw, "", "lmsw (%%rax)");
	FAULT(clts, "", "clts");
	FAULT(invlpg, "", "invlpg (%%rax)");
	FAULT(invd, "", "invd");
	FAULT(wbinvd, "", "wbinvd");
	FAULT(swapgs, "", "swapgs");
	FAULT(sysret, "mov %%rax, %%rcx", "sysretq");
	FAULT(sysexit, "mov %%rax, %%rcx", "sysexitq");
	FAULT(sysenter, "", "sysenter");
	FAULT(int3, "", "int3");
}

static __attribute__((noinline)) void segments(const char *args) {
	FAULT(far_jump_null, "movl $0x1000, (%%rax); movw $0, 4(%%rax)", "ljmp *(%%rax)");
	FAULT(far_jump_local, "movl $0x1000, (%%rax); movw $0x0F, 4(%%rax)", "ljmp *(%%rax)");
	FAULT(ss_kernel, "mov $0x10, %%ecx", "mov %%ecx, %%ss");
	FAULT(ss_null, "xor %%ecx, %%ecx", "mov %%ecx, %%ss");
	FAULT(ss_beyond, "mov $0xFFF8, %%ecx", "mov %%ecx, %%ss");
	FAULT(ds_tss, "mov $0x28, %%ecx", "mov %%ecx, %%ds");
	FAULT(ds_kernel, "mov $0x10, %%ecx", "mov %%ecx, %%ds");
	FAULT(es_beyond, "mov $0x1000, %%ecx", "mov %%ecx, %%es");
	FAULT(gs_ldt, "mov $0x0F, %%ecx", "mov %%ecx, %%gs");
	FAULT(iret_ring0, "push $0x10; push %%rsp; push $0x202; push $0x8; lea fault_iret_ring0(%%rip), %%rcx; push %%rcx",
		"iretq");
	FAULT(far_return, "push $0x8; lea fault_far_return(%%rip), %%rcx; push %%rcx", "lretq");
	FAULT(far_jump_08, "movl $0x1000, (%%rax); movw $0x08, 4(%%rax)", "ljmp *(%%rax)");
	FAULT(far_jump_10, "movl $0x1000, (%%rax); movw $0x10, 4(%%rax)", "ljmp *(%%rax)");
	FAULT(far_jump_1b, "movl $0x1000, (%%rax); movw $0x1B, 4(%%rax)", "ljmp *(%%rax)");
	FAULT(far_jump_28, "movl $0x1000, (%%rax); movw $0x28, 4(%%rax)", "ljmp *(%%rax)");
	FAULT(far_jump_30, "movl $0x1000, (%%rax); movw $0x30, 4(%%rax)", "ljmp *(%%rax)");
	FAULT(far_call_08, "movl $0x1000, (%%rax); movw $0x08, 4(%%rax)", "lcall *(%%rax)");
	FAULT(far_call_28, "movl $0x1000, (%%rax); movw $0x28, 4(%%rax)", "lcall *(%%rax)");
}

static __attribute__((noinline)) void memory(const char *args) {
	FAULT(read_null, "xor %%ecx, %%ecx", "mov (%%rcx), %%ecx");
	FAULT(write_null, "xor %%ecx, %%ecx", "mov %%ecx, 8(%%rcx)");
	FAULT(read_kernel, "mov $0xFFFFFFFF80200000, %%rcx", "mov (%%rcx), %%ecx");
	FAULT(write_kernel, "mov $0xFFFFFFFF80200000, %%rcx", "mov %%ecx, (%%rcx)");
	FAULT(read_hhdm, "movabs $0xFFFF800000200000, %%rcx", "mov (%%rcx), %%ecx");
	FAULT(read_device, "mov $0xFFFFFFFFC0000000, %%rcx", "mov (%%rcx), %%ecx");
	FAULT(write_code, "mov $0x1000, %%ecx", "mov %%ecx, (%%rcx)");
	FAULT(read_unmapped, "mov $0x300000, %%ecx", "mov (%%rcx), %%ecx");
	FAULT(overflow, "1: push %%rcx; lea -8(%%rsp), %%rdx; test $0xFF8, %%edx; jnz 1b; push %%rcx", "push %%rcx");
	FAULT(non_canonical_read, "movabs $0x800000000000, %%rcx", "mov (%%rcx), %%ecx");
	FAULT(non_canonical_push, "movabs $0x800000000010, %%rsp", "push %%rcx");
	FAULT(write_bss_small, "lea shard_end(%%rip), %%rcx; or $0xFFF, %%rcx", "movb $1, (%%rcx)");
	FAULT(own_stack, "lea 0x800(%%rax), %%rsp; mov $0x700000, %%ecx", "mov (%%rcx), %%ecx");
	FAULT(rsp_low, "mov $0x700000, %%esp", "push %%rcx");
	FAULT(overlong, "", ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90");
}

/* Arrays that the only page of the stack does not hold. */
#define ARRAY(kib)                                                        \
	static __attribute__((noinline)) int array_##kib(int from) {      \
		volatile char array[kib * 1024];                          \
		array[0] = (char)from;                                    \
		return array[0];                                          \
	}
#define ARRAYS(X) X(4) X(5) X(8) X(16) X(32) X(64) X(9000)
ARRAYS(ARRAY)

static __attribute__((noinline)) void arrays(const char *args) {
#define ARRAY_CASE(kib) \
	if (same(args, "array_" #kib)) array_##kib(1);
	ARRAYS(ARRAY_CASE)
}

/* Returns the hexadecimal number at *text and moves *text behind it and a blank. */
static uint64_t hexadecimal(const char **text) {
	uint64_t number = 0;

	for (; **text && **text != ' '; (*text)++)
		number = number * 16 + (uint64_t)(**text <= '9' ? **text - '0' : **text - 'a' + 10);
	*text += **text == ' ';
	return number;
}

/* Touches an address as the letter says: r, w or x. */
static __attribute__((noinline)) void touch(uint64_t address, char how) {
	volatile uint8_t *at = (volatile uint8_t *)address;

	if (how == 'r') (void)*at;
	if (how == 'w') *at = 1;
	if (how == 'x') __asm__ volatile("jmp *%0" : : "r"(at));
}

/* Maps this program's own file, and does what args say. */
static __attribute__((noinline)) void places(const char *args) {
	static const char *const words[] = {"read ", "write ", "jump "}, path[] = "/t/faults";
	const char *number;
	int64_t file = coconut_fs_open(path, sizeof(path) - 1);

	CHECK(file >= 0 && coconut_fs_map((uint64_t)file, COCONUT_LARGE_BASE) > 0);
	for (int i = 0; i < 3; i++) {
		number = args + strlen(words[i]);
		if (!memcmp(args, words[i], strlen(words[i]))) touch(hexadecimal(&number), "rwx"[i]);
	}
	if (same(args, "registers")) touch(coconut_gpu_config()->mmio_vaddr, 'w');
	number = args + 5;
	if (memcmp(args, "bits ", 5)) return;
	*(volatile uint64_t *)HEAP = hexadecimal(&number);
	coconut_time();
	touch(COCONUT_LARGE_BASE, *number);
}

/* A call gate to ring 0, made by the shard in its own code, where a table of descriptors at address 0 would reach
 * it. */
static const struct {
	uint16_t offset_low, selector, type, offset_middle;
	uint32_t offset_high, reserved;
} __attribute__((aligned(16))) gate = {0x1000, 0x08, 0xEC00, 0, 0, 0};

static __attribute__((noinline)) void local_table(const char *args) {
	uint16_t *target = (uint16_t *)HEAP;

	target[2] = (uint16_t)((uint64_t)&gate | 7); /* TI: the descriptor stands in the local table */
	FAULT(ldt_gate, "", "lcall *(%%rax)");
}

/* Jumps: the rip on the console is the target. */
static __attribute__((noinline)) void jumps(const char *args) {
	if (same(args, "run_heap")) __asm__ volatile("movb $0xC3, (%0); jmp *%0" : : "r"((uint64_t)HEAP) : "memory");
	if (same(args, "run_stack")) __asm__ volatile("jmp *%0" : : "r"(COCONUT_STACK_TOP - 4096UL));
	if (same(args, "run_kernel")) __asm__ volatile("jmp *%0" : : "r"(0xFFFFFFFF80201000UL));
	if (same(args, "run_nothing")) __asm__ volatile("jmp *%0" : : "r"(0x600000UL));
	if (same(args, "run_null")) __asm__ volatile("jmp *%0" : : "r"(0UL));
	FAULT(run_non_canonical, "movabs $0x800000000000, %%rcx", "jmp *%%rcx");
}

/* One `int n` for each n, 4 bytes apart. */
__asm__(".globl interrupts\n.balign 4\ninterrupts:\n.set n, 0\n.rept 256\n"
	".byte 0xCD, n, 0x0F, 0x0B\n.set n, n + 1\n.endr");
void interrupts(void);

static __attribute__((noinline)) void interrupt(const char *args) {
	unsigned n = 0;

	if (memcmp(args, "int ", 4)) return;
	for (args += 4; *args; args++)
		n = n * 10 + (unsigned)*args - '0';
	((void (*)(void))((uint64_t)interrupts + 4 * n))();
}

int main(const char *args) {
	CHECK_EQ(coconut_mmap(HEAP, 1), 0);
	if (same(args, "fine")) {
		busy_wait(300);
		return 0;
	}
	arithmetic(args);
	undefined(args);
	privileged(args);
	segments(args);
	memory(args);
	jumps(args);
	local_table(args);
	arrays(args);
	if (strlen(args) > 4) {
		interrupt(args);
		places(args);
	}
	return 1;
}
