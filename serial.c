/*
 * serial.c: the UART behind COM1, and formatted printing.
 *
 * Owns the port and nothing else: who may write when is console.c's business, except that a panic writes
 * straight through. The UART is polled; its receive side and its interrupts stay off. The loader uses this file too,
 * which is why nothing of the supervisor is called here.
 *
 * Read next: console.c. Registers: National Semiconductor PC16550D data sheet.
 */
#include "kernel.h"

#define COM1 0x3F8
#define UART_DATA 0 /* transmit holding register; low divisor byte while DLAB is set */
#define UART_IER 1  /* interrupt enable; high divisor byte while DLAB is set */
#define UART_FCR 2
#define UART_LCR 3
#define UART_MCR 4
#define UART_LSR 5
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define FCR_ENABLE_CLEAR 0x07
#define MCR_DTR_RTS 0x03
#define LSR_THR_EMPTY 0x20
#define DIVISOR_115200 1

/* Sets 115200 baud, 8 data bits, no parity, one stop bit. */
void serial_init(void) {
	outb(COM1 + UART_IER, 0);
	outb(COM1 + UART_LCR, LCR_DLAB);
	outb(COM1 + UART_DATA, DIVISOR_115200);
	outb(COM1 + UART_IER, 0);
	outb(COM1 + UART_LCR, LCR_8N1);
	outb(COM1 + UART_FCR, FCR_ENABLE_CLEAR);
	outb(COM1 + UART_MCR, MCR_DTR_RTS);
}

/* Sends `len` bytes, each after waiting until the UART can take it. A port without a UART reads as all ones, which ends
 * the wait. */
void serial_write(const char *text, size_t len) {
	for (size_t i = 0; i < len; i++) {
		while (!(inb(COM1 + UART_LSR) & LSR_THR_EMPTY))
			;
		outb(COM1 + UART_DATA, (uint8_t)text[i]);
	}
}

/* Where format() writes; `len` counts what would have been written without the limit. */
struct sink {
	char *out;
	size_t size, len;
};

static void sink_put(struct sink *sink, char c) {
	if (sink->len + 1 < sink->size) sink->out[sink->len] = c;
	sink->len++;
}

/* Writes `text`, padded with spaces to `width`, which is negative to align left. */
static void sink_text(struct sink *sink, const char *text, size_t len, int width) {
	int pad = (width < 0 ? -width : width) - (int)len;

	for (; width > 0 && pad > 0; pad--)
		sink_put(sink, ' ');
	for (size_t i = 0; i < len; i++)
		sink_put(sink, text[i]);
	for (; width < 0 && pad > 0; pad--)
		sink_put(sink, ' ');
}

/* Writes `value` in `base`, at least `width` wide, filled with zeros when `zeros`. */
static void sink_number(struct sink *sink, uint64_t value, unsigned base, bool negative, int width, bool zeros) {
	char digits[24];
	size_t at = sizeof(digits);
	int least = zeros ? width - negative : 1;

	do {
		digits[--at] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value || (int)(sizeof(digits) - at) < least);
	if (negative) digits[--at] = '-';
	sink_text(sink, digits + at, sizeof(digits) - at, zeros ? 0 : width);
}

/* Formats into `out` (at most `size` bytes, NUL included) and returns the length of the full text. Knows
 * %s %c %d %u %x %%, the prefix l, a width, and the flags - (left) and 0. */
size_t format(char *out, size_t size, const char *template, va_list args) {
	struct sink sink = {out, size, 0};

	for (const char *p = template; *p; p++) {
		if (*p != '%') {
			sink_put(&sink, *p);
			continue;
		}
		bool left = *++p == '-', zeros = *p == '0', is_long = false;
		int width = 0;
		p += left || zeros;
		while (*p >= '0' && *p <= '9')
			width = width * 10 + *p++ - '0';
		for (; *p == 'l'; p++)
			is_long = true;
		if (*p == 's') {
			const char *text = va_arg(args, const char *);
			sink_text(&sink, text, strlen(text), left ? -width : width);
		} else if (*p == 'd' || *p == 'u' || *p == 'x') {
			uint64_t value = is_long ? va_arg(args, uint64_t)
				       : *p == 'd' ? (uint64_t)va_arg(args, int) : va_arg(args, unsigned);
			bool negative = *p == 'd' && (int64_t)value < 0;
			sink_number(&sink, negative ? -value : value, *p == 'x' ? 16 : 10, negative, left ? -width : width, zeros);
		} else {
			sink_put(&sink, *p == 'c' ? (char)va_arg(args, int) : *p);
		}
	}
	if (size) out[sink.len < size ? sink.len : size - 1] = 0;
	return sink.len;
}
