/*
 * idt.c: the tables through which the processor finds the kernel: GDT, TSS, IDT.
 *
 * Invariants: every gate is an interrupt gate with DPL 0, so interrupts stay off and no `int n` of ring 3
 * passes. Double fault, NMI, machine check and debug run on stacks of their own (IST), since they can strike
 * while rsp is not to be trusted.
 *
 * Read next: apic.c. SDM Vol. 3A chapters 3, 6 and 8.
 */
#include "kernel.h"

#define GDT_TSS_PRESENT 0x89UL /* 64-bit TSS, available, present (SDM Vol. 3A table 3-2) */
#define GATE_INTERRUPT (ABLATE(gates) ? 0xEE00 : 0x8E00) /* interrupt gate, present, DPL 0 (SDM Vol. 3A 6.14.1) */

/* SDM Vol. 3A, "64-Bit TSS Format". */
struct __attribute__((packed)) task_state {
	uint32_t reserved0;
	uint64_t rsp[3]; /* boot.asm writes rsp[0] at every switch */
	uint64_t reserved1;
	uint64_t ist[7]; /* ist[0] is IST1 */
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map; /* beyond the limit: ring 3 has no ports */
};

/* SDM Vol. 3A figure 6-8; flags: which interrupt stack, type, DPL, present. */
struct gate {
	uint16_t offset_low, selector, flags, offset_middle;
	uint32_t offset_high, reserved;
};

/* What lgdt and lidt take (SDM Vol. 3A 2.4). */
struct __attribute__((packed)) table_register {
	uint16_t limit;
	uint64_t base;
};

_Static_assert(offsetof(struct task_state, rsp) == 4, "boot.asm writes rsp0");
_Static_assert(offsetof(struct syscall_frame, rdx) == SYSCALL_FRAME_RDX, "boot.asm reads rdx in the frame");
_Static_assert(offsetof(struct syscall_frame, rip) + 4 == SYSCALL_FRAME_RIP_HIGH, "boot.asm compares rip in the frame");
_Static_assert(sizeof(struct gate) == 16, "the processor reads gates");

struct task_state tss;
extern const uint64_t isr_table[VECTOR_STUBS + 1]; /* boot.asm: the stubs' addresses, VECTOR_SPURIOUS's last */

/* Segment descriptors (SDM Vol. 3A 3.4.5), all present: code is for long mode (L), data is writable, those of ring 3
 * have DPL 3. load_tables adds that of the TSS, which takes two entries. */
static uint64_t gdt[SEL_TSS / 8 + 2] = {
	[SEL_KERNEL_CODE / 8] = 0x00AF9B000000FFFF, [SEL_KERNEL_DATA / 8] = 0x00CF93000000FFFF,
	[SEL_USER_CODE / 8] = 0x00AFFB000000FFFF, [SEL_USER_DATA / 8] = 0x00CFF3000000FFFF,
};
static struct gate idt[256];

/* Points a vector at its stub. `ist` 0: no stack of its own; from ring 3 the processor takes rsp[0] of the TSS, in
 * ring 0 it stays on the stack in use. */
static void set_gate(uint32_t vector, uint64_t handler, uint32_t ist) {
	idt[vector] = (struct gate){
		.offset_low = handler & 0xFFFF, .offset_middle = handler >> 16 & 0xFFFF, .offset_high = handler >> 32,
		.selector = SEL_KERNEL_CODE, .flags = (uint16_t)(GATE_INTERRUPT | (ABLATE(ist) ? 0 : ist)),
	};
}

/* Completes the GDT with the TSS and makes the processor use all three tables. */
static void load_tables(void) {
	uint64_t base = (uint64_t)&tss;
	struct table_register gdtr = {sizeof(gdt) - 1, (uint64_t)gdt};
	struct table_register idtr = {sizeof(idt) - 1, (uint64_t)idt};

	gdt[SEL_TSS / 8] = (sizeof(tss) - 1) | (base & 0xFFFFFF) << 16 | GDT_TSS_PRESENT << 40 | (base >> 24 & 0xFF) << 56;
	gdt[SEL_TSS / 8 + 1] = base >> 32;
	__asm__ volatile("lgdt %0" : : "m"(gdtr));
	__asm__ volatile("lidt %0" : : "m"(idtr));
	if (!ABLATE(lldt)) __asm__ volatile("lldt %w0" : : "r"(0)); /* a reset leaves an LDT at 0, where shards are */
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
}

/* Loads GDT, TSS and IDT. The stacks that the TSS names are mapped by paging_init: until then only faults on
 * the current stack can be reported. */
void idt_init(void) {
	static const uint8_t stack_of[VECTOR_STUBS] = {[VECTOR_DOUBLE_FAULT] = IST_DOUBLE_FAULT, [VECTOR_NMI] = IST_NMI,
		[VECTOR_MACHINE_CHECK] = IST_MACHINE_CHECK, [VECTOR_DEBUG] = IST_DEBUG};

	for (uint32_t vector = 0; vector < VECTOR_STUBS; vector++)
		set_gate(vector, isr_table[vector], stack_of[vector]);
	set_gate(VECTOR_SPURIOUS, isr_table[VECTOR_STUBS], 0);
	for (uint32_t ist = 1; ist < IST_LIMIT; ist++)
		tss.ist[ist - 1] = stack_slot_top(STACK_IST + ist);
	tss.io_map = ABLATE(io_map) ? 0 : sizeof(tss);
	load_tables();
}
