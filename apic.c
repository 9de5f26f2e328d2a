/*
 * apic.c: the local APIC, as far as the legacy interrupt controller needs it.
 *
 * The timer's interrupt comes from the 8259 through the APIC's LINT0 pin ("virtual wire"), and the firmware may
 * have left the APIC's own timer running: both are set here rather than assumed.
 *
 * Read next: timer.c. SDM Vol. 3A chapter 10.
 */
#include "kernel.h"

#define MSR_APIC_BASE 0x1B
#define APIC_BASE_ENABLE (1UL << 11)
#define APIC_BASE_X2APIC (1UL << 10)
#define APIC_SIZE 0x1000
#define APIC_TPR 0x80
#define APIC_SVR 0xF0
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define SVR_ENABLE 0x100
#define LVT_MASKED 0x10000
#define LVT_EXTINT 0x700
#define LVT_NMI 0x400

static volatile uint8_t *registers;

static void apic_write(uint32_t offset, uint32_t value)
{
	*(volatile uint32_t *)(registers + offset) = value;
}

/* Enables the local APIC with its timer masked and the 8259 wired through LINT0. */
void apic_init(void)
{
	uint64_t base = (rdmsr(MSR_APIC_BASE) & ~APIC_BASE_X2APIC) | APIC_BASE_ENABLE;

	wrmsr(MSR_APIC_BASE, base);
	registers = paging_map_device(base & PTE_ADDRESS, APIC_SIZE);
	apic_write(APIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_LVT_LINT0, LVT_EXTINT);
	apic_write(APIC_LVT_LINT1, LVT_NMI);
}
