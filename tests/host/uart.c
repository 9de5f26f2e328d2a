/*
 * Tests of serial.c, console.c and panic.c on a UART that takes its time: what was written has been sent when the
 * machine is off, and the supervisor looks at the interrupts while it waits.
 *
 * QEMU's UART has sent a byte before anybody can look. This one has a FIFO of 16 bytes and a shift register, as the
 * PC16550D's data sheet says, and sends a byte every so many looks at any port. The machine is off at the first write
 * to the port of isa-debug-exit.
 *
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include "cpu.h"

static uint8_t fake_in(uint16_t port);
static void fake_out(uint16_t port, uint32_t value);
#define inb(port) fake_in(port)
#define outb(port, value) fake_out(port, value)
#define outl(port, value) fake_out(port, value)
#define interrupt_window() look()
static void look(void);
#include "../../serial.c"
#include "../../console.c"
#include "../../panic.c"
#include "check.h"

#include <setjmp.h>

enum { FIFO = 16, SLOW = 50, STUCK = 0 };

static char sent[4096];
static uint8_t fifo[FIFO];
static uint32_t sent_len, fifo_len, off_code;
static uint64_t looks, byte_time; /* in looks; STUCK: no byte is ever sent */
static bool shifting;             /* a byte is on its way, which is `fifo[0]` no more */
static uint8_t shift;
static jmp_buf off;
static uint32_t bytes, most_bytes; /* handed over since the last look at the interrupts; the most between two */

static void pass_time(void) {
	looks++;
	if (byte_time == STUCK || looks % byte_time) return;
	if (shifting) sent[sent_len++] = (char)shift;
	shifting = fifo_len > 0;
	if (!shifting) return;
	shift = fifo[0];
	memmove(fifo, fifo + 1, --fifo_len);
}

static uint8_t fake_in(uint16_t port) {
	pass_time();
	if (port != COM1 + UART_LSR) return 0xFF;
	return (fifo_len ? 0 : LSR_THR_EMPTY) | (fifo_len || shifting ? 0 : LSR_ALL_SENT);
}

static void fake_out(uint16_t port, uint32_t value) {
	pass_time();
	if (port == COM1 + UART_DATA && ++bytes > most_bytes) most_bytes = bytes;
	if (port == COM1 + UART_DATA && fifo_len < FIFO) fifo[fifo_len++] = (uint8_t)value;
	if (port != DEBUG_EXIT_PORT) return;
	off_code = value;
	longjmp(off, 1);
}

static void look(void) { bytes = 0; }

/* Begins a run on a UART that sends a byte every `time` looks. */
static void begin(uint64_t time) {
	sent_len = fifo_len = bytes = most_bytes = 0;
	shifting = false;
	byte_time = time;
	looks = 0;
}

/* Writes a text and ends the run. */
static void end_with(const char *text, uint64_t time) {
	begin(time);
	if (setjmp(off)) return;
	serial_write(text, strlen(text));
	debug_exit(DEBUG_EXIT_OK);
}

TEST(all_is_sent) {
	static const char *const texts[] = {"", "x", "Halting.\n", "a text that is longer than the FIFO of any UART\n"};

	for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
		for (uint64_t time = 1; time <= SLOW; time++) {
			end_with(texts[i], time);
			CHECK_EQ(sent_len, strlen(texts[i]));
			CHECK(!memcmp(sent, texts[i], sent_len));
			CHECK_EQ(off_code, DEBUG_EXIT_OK);
		}
}

/* One that never sends keeps nobody from switching the machine off. */
TEST(stuck) {
	end_with("x", STUCK);
	CHECK_EQ(sent_len, 0);
	CHECK_EQ(off_code, DEBUG_EXIT_OK);
}

/* Fills the queue, has the supervisor say something, and checks that all of it comes. Returns how many bytes the UART
 * was handed at most between two looks at the interrupts. */
static uint32_t bytes_of(void (*speak)(const char *template, ...)) {
	static char text[sizeof(queue) - 2];

	memset(text, 'q', sizeof(text));
	text[sizeof(text) - 1] = '\n';
	begin(SLOW);
	serial_write(text, sizeof(text));
	speak("%s%d\n", "words ", 1);
	uint32_t most = most_bytes;
	if (!setjmp(off)) debug_exit(DEBUG_EXIT_OK);
	CHECK_EQ(sent_len, sizeof(text) + 8);
	CHECK(!memcmp(sent, text, sizeof(text)) && !memcmp(sent + sizeof(text), "words 1\n", 8));
	return most;
}

TEST(a_look_between_two_bursts) {
	CHECK_EQ(bytes_of(tell), FIFO);
	CHECK(bytes_of(print) > FIFO); /* the control */
}

int main(void) {
	RUN(all_is_sent);
	RUN(stuck);
	RUN(a_look_between_two_bursts);
	return check_result();
}
