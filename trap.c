/*
 * trap.c: what arrives through the IDT: exceptions, interrupts, and then the way back.
 *
 * isr_common in boot.asm has saved all registers and calls interrupt_dispatch, which calls the right handler. Before
 * ring 3 goes on, the scheduler is asked whether it may.
 *
 * Invariant: an exception of ring 3 ends its shard, unless it is nobody's fault (machine check, double fault); any
 * other exception ends the run. An NMI does neither: it is ignored.
 *
 * Read next: profile.c.
 */
#include "kernel.h"

_Static_assert(offsetof(struct trap_frame, cs) == TRAP_FRAME_CS, "boot.asm tests cs in the frame");
_Static_assert(sizeof(struct trap_frame) == TRAP_FRAME_SIZE, "boot.asm builds the frame");

/* Called by isr_common with interrupts off. Returns to resume what was interrupted. */
void interrupt_dispatch(struct trap_frame *frame) {
	bool from_shard = frame->cs & 3, kills = from_shard && !ABLATE(fault);

	/* Nothing here raises an NMI; a stray one shall do no harm. */
	if (frame->vector == VECTOR_NMI && !ABLATE(nmi)) return;
	if (frame->vector < EXCEPTIONS) {
		if (kills && frame->vector != VECTOR_DOUBLE_FAULT && frame->vector != VECTOR_MACHINE_CHECK)
			fault_kill(frame);
		fault_panic(frame);
	}
	if (frame->vector == VECTOR_PIC) timer_interrupt();
	if (frame->vector >= VECTOR_MSI && frame->vector < VECTOR_STUBS) apic_interrupt(frame->vector);
	if (from_shard && !ABLATE(preempt)) sched_preempt();
}
