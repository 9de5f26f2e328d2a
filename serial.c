/*
 * serial.c: the UART behind COM1, and formatted printing.
 *
 * Owns the port, and a queue in front of it: who may write when is console.c's business. The UART is polled, by whoever
 * writes and at each tick, and takes bursts of 16 bytes; nobody reads what it receives, and its interrupts stay off.
 * The loader uses this file too, which is why nothing of the supervisor is called here.
 *
 * Invariant: bytes leave the port in the order in which serial_write took them.
 *
 * Read next: console.c.
 */
#include "kernel.h"

#define COM1 0x3F8

/* Registers (PC16550D data sheet, 8.0), by their distance from the port: data; interrupt enable; control of the FIFOs,
 * of the line and of the modem's signals; line status. While the line control has DLAB set, the first two are the low
 * and the high byte of the divisor of 115,200 baud. */
enum { UART_DATA, UART_IER, UART_FCR, UART_LCR, UART_MCR, UART_LSR };
enum { DIVISOR_115200 = 1, FCR_ENABLE_CLEAR = 0x07, LCR_8N1 = 0x03, LCR_DLAB = 0x80 };
enum { FIFO_BYTES = 16, MCR_DTR_RTS = 0x03, LSR_THR_EMPTY = 0x20, LSR_ALL_SENT = 0x40 };

/* How often serial_drain looks whether the UART has sent the last bytes that it has taken, 17 at most, which takes
 * 1.5 ms. One that hangs then loses them; one that hangs with the queue not empty holds the kernel for ever. */
enum { DRAIN_LOOKS = 1000000 };

/* What the UART has not taken yet. */
static char queue[2048];
static size_t first; /* where it begins */
size_t serial_queued;

/* Sets 115200 baud, 8 data bits, no parity, one stop bit; turns the FIFO on. */
void serial_init(void) {
	outb(COM1 + UART_IER, 0);
	outb(COM1 + UART_LCR, LCR_DLAB);
	outb(COM1 + UART_DATA, DIVISOR_115200);
	outb(COM1 + UART_IER, 0);
	outb(COM1 + UART_LCR, LCR_8N1);
	outb(COM1 + UART_FCR, FCR_ENABLE_CLEAR);
	outb(COM1 + UART_MCR, MCR_DTR_RTS);
}

/* Sends the UART at most `bursts` bursts of the queue, without waiting: a slow one accepts one and is not ready for a
 * second. Returns how many bytes there is room for in the queue then. A port without a UART reads as all ones, which
 * looks like a UART that is always ready. */
int serial_room(int bursts) {
	for (; bursts && serial_queued && inb(COM1 + UART_LSR) & LSR_THR_EMPTY; bursts--)
		for (int room = FIFO_BYTES; room && serial_queued; room--, serial_queued--)
			outb(COM1 + UART_DATA, (uint8_t)queue[first++]);
	if (!serial_queued) first = 0;
	return (int)(sizeof(queue) - first - serial_queued);
}

/* Puts `len` bytes, at most sizeof(queue), into the queue. Waits for the UART as long as there is no room. */
void serial_write(const char *text, size_t len) {
	while (first + serial_queued + len > sizeof(queue))
		serial_room(SERIAL_BURSTS);
	memcpy(queue + first + serial_queued, text, len);
	serial_queued += len;
}

/* Sends the queue, however long the UART takes for it, and then waits, but not for ever, until the last byte has left:
 * whoever switches the machine off calls it. */
void serial_drain(void) {
	while (serial_queued)
		serial_room(SERIAL_BURSTS);
	for (uint32_t looks = 0; looks < DRAIN_LOOKS && !(inb(COM1 + UART_LSR) & LSR_ALL_SENT); looks++)
		;
}

/* Where format() writes; `len` counts what would have been written without the limit. */
struct sink {
	char *out;
	size_t size, len;
};

/* Appends `len` bytes. Returns how many of them fit, with room for the NUL. */
static size_t sink_put(struct sink *sink, const char *text, size_t len) {
	size_t fit = sink->len + 1 < sink->size ? min(len, sink->size - 1 - sink->len) : 0;

	memcpy(sink->out + sink->len, text, fit);
	sink->len += len;
	return fit;
}

/* Appends a word. It may come from a stranger: a control character in it becomes '?', so that it ends no line. */
static void sink_word(struct sink *sink, const char *word) {
	char *at = sink->out + sink->len, *end = at + sink_put(sink, word, strlen(word));

	for (; at < end; at++)
		if ((uint8_t)*at < ' ') *at = '?';
}

/* Appends `value` in `base`, filled to a width of at most 24: with zeros, behind the sign, or with spaces before it. */
static void sink_number(struct sink *sink, uint64_t value, unsigned base, bool negative, int width, bool zeros) {
	char digits[24], *end = digits + sizeof(digits), *at = end; /* the longest numbers have 20, or 19 and a sign */

	do {
		*--at = "0123456789abcdef"[value % base];
		value /= base;
	} while (value || (zeros && end - at < width - negative));
	if (negative) *--at = '-';
	while (end - at < width)
		*--at = ' ';
	sink_put(sink, at, (size_t)(end - at));
}

/* Formats into `out` (at most `size` bytes, NUL included) and returns the length of the full text. Knows
 * %s %c %d %u %x %%, and of a number the prefix l, a width, and the flag 0. */
size_t format(char *out, size_t size, const char *template, va_list args) {
	struct sink sink = {out, size, 0};

	for (const char *p = template, *run = p;; run = ++p) {
		while (*p && *p != '%')
			p++;
		sink_put(&sink, run, (size_t)(p - run));
		if (!*p) break;
		bool zeros = *++p == '0', is_long = false;
		int width = 0;
		while (*p >= '0' && *p <= '9')
			width = width * 10 + *p++ - '0';
		for (; *p == 'l'; p++)
			is_long = true;
		if (*p == 's') {
			sink_word(&sink, va_arg(args, const char *));
		} else if (*p == 'd' || *p == 'u' || *p == 'x') {
			uint64_t value = is_long ? va_arg(args, uint64_t)
				       : *p == 'd' ? (uint64_t)va_arg(args, int) : va_arg(args, unsigned);
			bool negative = *p == 'd' && (int64_t)value < 0;
			sink_number(&sink, negative ? -value : value, *p == 'x' ? 16 : 10, negative, width, zeros);
		} else {
			char c = *p == 'c' ? (char)va_arg(args, int) : *p;
			sink_put(&sink, &c, 1);
		}
	}
	if (size) out[sink.len < size ? sink.len : size - 1] = 0;
	return sink.len;
}
