/*
 * timer.c, the rung: what timer.c adds: a tick a thousand times a second, and the time.
 *
 * Behind the door interrupt_dispatch stands as much of trap.c as this rung needs. It counts the ticks, and the loop
 * below looks at the time stamp at the first of them and at the last. It does not halt: while the processor is halted,
 * QEMU counts no instructions.
 *
 * Read next: memory.c.
 */
#include "rungs.h"

enum { TICKS = 20 };

static volatile uint64_t came;

void interrupt_dispatch(struct trap_frame *frame) {
	if (frame->vector == VECTOR_PIC) {
		came++;
		timer_interrupt();
	} else if (frame->vector >= VECTOR_MSI) {
		apic_interrupt(frame->vector);
	}
}

/* Lets interrupts in until so many ticks have come in all. Returns the time stamp then. */
static uint64_t wait_until(uint64_t ticks) {
	while (came < ticks)
		interrupt_window();
	return rdtsc();
}

void rung_show(const struct bootinfo *info) {
	uint64_t first = came + 1, start = wait_until(first), start_ms = timer_ms();
	uint64_t units = wait_until(first + TICKS) - start, ms = timer_ms() - start_ms;

	(void)info;
	print("Timer: %u ticks in %lu units of the time stamp, %lu ms\n", TICKS, units, ms);
	print("Timer: %lu ticks in all\n", came);
	rung_end();
}
