/*
 * apic.c: the local APIC: the way in for the legacy controller's interrupts, and for message-signalled ones.
 *
 * The timer's interrupt comes from the 8259 through the APIC's LINT0 pin ("virtual wire"), and the firmware may have
 * left the APIC's own timer running: both are set here rather than assumed. That timer interrupts once, when the
 * scheduler asks for it, between two ticks. Devices raise theirs by messages, which carry a vector: iommu.c.
 *
 * Invariant: a vector belongs to one handler for ever; handlers run with interrupts off and must not wait.
 *
 * Read next: sched.c. SDM Vol. 3A, "Advanced Programmable Interrupt Controller (APIC)", has the sections named here.
 */
#include "kernel.h"

/* Where the registers are, and in which mode ("Local APIC Status and Location"). */
#define MSR_APIC_BASE 0x1B
#define APIC_BASE_ENABLE (1UL << 11)
#define APIC_BASE_X2APIC (1UL << 10)

/* Offsets and bits of registers ("Local APIC Register Address Map"): identity, task priority, end of interrupt,
 * spurious vector, and the local vector table's entries for the timer and for the two pins. */
enum { APIC_SIZE = 0x1000, APIC_ID = 0x20, APIC_ID_SHIFT = 24, APIC_TPR = 0x80, APIC_EOI = 0xB0 };
enum { APIC_SVR = 0xF0, SVR_ENABLE = 0x100, LVT_MASKED = 0x10000, LVT_EXTINT = 0x700, LVT_NMI = 0x400 };
enum { APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360 };

/* The APIC's own timer ("APIC Timer"): it counts down from what is written, interrupts at 0 and stops; 0 stops it at
 * once. */
enum { APIC_TIMER_START = 0x380, APIC_TIMER_NOW = 0x390, APIC_TIMER_DIVIDE = 0x3E0, TIMER_DIVIDE_BY_1 = 0xB };

static volatile uint8_t *registers;

/* Whose interrupt each vector from VECTOR_MSI on is, a device's message or the APIC's timer, in the order in which they
 * were asked for. */
static struct handler {
	void (*function)(void *); /* calls through function: turn_ends, collect_faults, engine_interrupt */
	void *argument;
} handlers[VECTOR_STUBS - VECTOR_MSI];
static uint32_t handler_count;

static void apic_write(uint32_t offset, uint32_t value) { *(volatile uint32_t *)(registers + offset) = value; }

/* Enables the local APIC with its timer masked and the 8259 wired through LINT0. */
void apic_init(void) {
	uint64_t base = (rdmsr(MSR_APIC_BASE) & ~APIC_BASE_X2APIC) | APIC_BASE_ENABLE;

	/* From x2APIC mode, in which some firmware leaves it, the way leads through the APIC switched off (11.12.5). */
	if (rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC) wrmsr(MSR_APIC_BASE, base & ~APIC_BASE_ENABLE);
	wrmsr(MSR_APIC_BASE, base);
	registers = paging_map_device(base & PTE_ADDRESS, APIC_SIZE);
	if (!registers) panic("the local APIC cannot be at 0x%lx (IA32_APIC_BASE)", base & PTE_ADDRESS);
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	apic_write(APIC_LVT_LINT1, LVT_NMI);
}

/* Returns the number by which messages address this processor. */
uint8_t apic_id(void) { return (uint8_t)(*(volatile uint32_t *)(registers + APIC_ID) >> APIC_ID_SHIFT); }

/* Returns a vector whose interrupts call `handler` with `argument` from now on, or -COCONUT_E_FULL. */
int apic_handle(void (*handler)(void *), void *argument) {
	if (handler_count == ARRAY_LENGTH(handlers)) return -COCONUT_E_FULL;
	handlers[handler_count] = (struct handler){handler, argument};
	return VECTOR_MSI + (int)handler_count++;
}

/* Calls the handler of a vector from VECTOR_MSI on, if it has one, and lets the next interrupt come. */
void apic_interrupt(uint64_t vector) {
	if (vector - VECTOR_MSI < handler_count)
		handlers[vector - VECTOR_MSI].function(handlers[vector - VECTOR_MSI].argument);
	apic_write(APIC_EOI, 0);
}

/* Has the timer call `handler` whenever it has counted down. */
void apic_timer_init(void (*handler)(void *)) {
	int vector = apic_handle(handler, NULL);

	apic_write(APIC_TIMER_DIVIDE, TIMER_DIVIDE_BY_1);
	if (vector > 0) apic_write(APIC_LVT_TIMER, (uint32_t)vector);
}

/* Has the timer count down from `count`, 0 stops it. How long a count is differs between machines: sched.c measures. */
void apic_timer_start(uint32_t count) { apic_write(APIC_TIMER_START, count); }

/* Returns where the timer is on its way to 0. */
uint32_t apic_timer_now(void) { return *(volatile uint32_t *)(registers + APIC_TIMER_NOW); }
