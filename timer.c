/*
 * timer.c: the legacy interrupt controller, the tick, and the time.
 *
 * The PIT interrupts about a thousand times a second, which preempts shards. Ticks are no clock, though: on a
 * busy host some are lost. The time comes from the ACPI power-management timer, which counts at 3.579545 MHz
 * whatever happens; one of 24 bits wraps after 4.7 s, so every tick folds it into a 64-bit sum. Without ACPI the ticks
 * have to do. Without a tick there is no run: a shard that makes no call would keep the CPU for ever.
 *
 * Read next: refuse.c.
 */
#include "kernel.h"

/* The two interrupt controllers, of which the second one hangs on a line of the first, and their command words (8259A
 * data sheet, "Programming the 8259A"). Initialisation takes four words: ICW1 says that ICW4 comes too, then the first
 * vector, the line between the two, and ICW4. */
enum { PIC1_COMMAND = 0x20, PIC1_DATA = 0x21, PIC2_COMMAND = 0xA0, PIC2_DATA = 0xA1 };
enum { PIC_ICW1_INIT_ICW4 = 0x11, PIC_ICW4_8086 = 0x01, PIC_CASCADE_LINE = 2, PIC_EOI = 0x20 };
enum { PIC_MASK_ALL = 0xFF, PIC_MASK_ALL_BUT_TIMER = 0xFE };

/* The interval timer (8254 data sheet, "Control Word Format"); the words are for channel 0, low byte then high byte,
 * mode 2: an interrupt whenever it has counted down from the divisor; mode 0: one only. */
enum { PIT_CHANNEL0 = 0x40, PIT_COMMAND = 0x43, PIT_RATE_GENERATOR = 0x34, PIT_ONE_SHOT = 0x30 };
enum { PIT_HZ = 1193182, TICK_HZ = 1000, PIT_DIVISOR = PIT_HZ / TICK_HZ };

enum { PM_TIMER_HZ = 3579545, PM_TIMER_NARROW = 0xFFFFFF }; /* ACPI 6.5, 4.8.2.1 and 4.8.3.3 */

/* How often a timer is looked at before it counts as dead. A look is an access to a port, of some hundred nanoseconds
 * or more: so TICK_LOOKS are seconds, for an interrupt that is due in two microseconds, and PM_LOOKS are some hundred
 * counts of the ACPI timer. */
enum { TICK_LOOKS = 4000000, PM_LOOKS = 1000 };

static uint64_t ticks;
static uint16_t pm_port; /* 0: no ACPI timer */
static uint32_t pm_mask, pm_last; /* the bits that it has, and what it said last */
static uint64_t pm_sum; /* its counts since the boot, those before it was found made up from the ticks */

/* Moves the 16 legacy lines to VECTOR_PIC and lets only the timer through. */
static void pic_init(void) {
	outb(PIC1_COMMAND, PIC_ICW1_INIT_ICW4);
	outb(PIC2_COMMAND, PIC_ICW1_INIT_ICW4);
	outb(PIC1_DATA, VECTOR_PIC);
	outb(PIC2_DATA, VECTOR_PIC + 8);
	outb(PIC1_DATA, 1 << PIC_CASCADE_LINE);
	outb(PIC2_DATA, PIC_CASCADE_LINE);
	outb(PIC1_DATA, PIC_ICW4_8086);
	outb(PIC2_DATA, PIC_ICW4_8086);
	outb(PIC1_DATA, PIC_MASK_ALL_BUT_TIMER);
	outb(PIC2_DATA, PIC_MASK_ALL);
}

/* Has the interval timer count down from `count`, at least 1, in the given mode. */
static void pit_start(uint8_t mode, uint16_t count) {
	outb(PIT_COMMAND, mode);
	outb(PIT_CHANNEL0, (uint8_t)count);
	outb(PIT_CHANNEL0, (uint8_t)(count >> 8));
}

/* Asks for one interrupt, as soon as the timer can, and waits until it has come all the way; panics when none comes.
 * Then starts the tick. */
void timer_init(void) {
	pic_init();
	pit_start(PIT_ONE_SHOT, 1);
	for (uint32_t looks = 0; !ticks; looks++) {
		if (looks == TICK_LOOKS)
			panic("no interrupt comes from the interval timer (8254) through the 8259: this machine has no tick, "
			      "without which a shard could keep the CPU for ever");
		inb(PIT_CHANNEL0);
		interrupt_window();
	}
	pit_start(PIT_RATE_GENERATOR, PIT_DIVISOR);
}

/* Takes the time from the ACPI timer at `port` from now on, if something counts there; `wide` when it has 32 bits
 * rather than 24. The sum begins with what the ticks say, so that the time does not go back. Returns whether it
 * counts. */
bool timer_use_acpi(uint16_t port, bool wide) {
	uint32_t first = inl(port), looks = 0;

	while (inl(port) == first)
		if (looks++ == PM_LOOKS) return false;
	pm_port = port;
	pm_mask = wide ? UINT32_MAX : PM_TIMER_NARROW;
	pm_last = inl(port) & pm_mask;
	pm_sum = ticks * PM_TIMER_HZ / TICK_HZ;
	return true;
}

/* Folds the ACPI timer into the sum. Must happen at least every four seconds. */
static void pm_update(void) {
	uint32_t now = inl(pm_port) & pm_mask;

	pm_sum += (now - pm_last) & pm_mask;
	pm_last = now;
}

/* The tick: keeps the time, gives waiting console text its turn, lets the scheduler act. The APIC wants no
 * acknowledgement of what comes from the PIC (SDM Vol. 3A, "Signaling Interrupt Servicing Completion"). */
void timer_interrupt(void) {
	outb(PIC1_COMMAND, PIC_EOI);
	ticks++;
	if (pm_port) pm_update();
	console_poll();
	sched_tick();
}

/* Returns milliseconds since boot. */
uint64_t timer_ms(void) {
	if (!pm_port) return ticks * 1000 / TICK_HZ;
	pm_update();
	return pm_sum * 1000 / PM_TIMER_HZ;
}
