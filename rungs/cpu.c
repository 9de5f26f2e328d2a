/*
 * cpu.c, the rung: what cpu.c adds: the processor's protections are on, as far as it has them.
 *
 * supervisor_main has reported which; this shows the registers that say so.
 *
 * Read next: frames.c.
 */
#include "rungs.h"

void rung_show(const struct bootinfo *info) {
	(void)info;
	print("CPU: cr0 0x%lx, cr4 0x%lx, efer 0x%lx\n", read_cr0(), read_cr4(), rdmsr(MSR_EFER));
	rung_end();
}
