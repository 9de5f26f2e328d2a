/*
 * print.c: formatted output to the console.
 *
 * One print() is one SERIAL_WRITE unless its text is longer than the buffer. The stack of a shard is one page,
 * so the buffer is small.
 *
 * Read next: shardlib.h for the conversions, serial.c for what the kernel does with the bytes.
 */
#include "coconut.h"
#include "shardlib.h"

/* Appends one character and flushes when the buffer is full. */
static void put_char(struct print_buffer *buffer, char c) {
	buffer->bytes[buffer->used++] = c;
	if (buffer->used == buffer->size) buffer->flush(buffer);
}

/* Appends at most `max` characters of a string. */
static void put_string(struct print_buffer *buffer, const char *s, size_t max) {
	for (size_t i = 0; i < max && s[i]; i++)
		put_char(buffer, s[i]);
}

/* Appends a number in base 10 or 16. */
static void put_number(struct print_buffer *buffer, uint64_t number, unsigned base) {
	char digits[20]; /* 2^64 - 1 has 20 digits */
	size_t n = 0;

	do {
		digits[n++] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number);
	while (n)
		put_char(buffer, digits[--n]);
}

/* Appends a signed number in base 10. */
static void put_signed(struct print_buffer *buffer, int64_t number) {
	if (number < 0) put_char(buffer, '-');
	put_number(buffer, number < 0 ? -(uint64_t)number : (uint64_t)number, 10);
}

/* Formats into the buffer. A conversion that is not understood is printed as it stands. */
void print_into(struct print_buffer *buffer, const char *format, va_list values) {
	for (const char *f = format; *f; f++) {
		if (*f != '%') {
			put_char(buffer, *f);
			continue;
		}
		int is_long = f[1] == 'l';
		f += 1 + is_long;
		if (*f == 's') {
			put_string(buffer, va_arg(values, const char *), SIZE_MAX);
		} else if (*f == '.' && f[1] == '*' && f[2] == 's') {
			int max = va_arg(values, int);
			put_string(buffer, va_arg(values, const char *), max < 0 ? SIZE_MAX : (size_t)max);
			f += 2;
		} else if (*f == 'c') {
			put_char(buffer, (char)va_arg(values, int));
		} else if (*f == 'd') {
			put_signed(buffer, is_long ? va_arg(values, long) : va_arg(values, int));
		} else if (*f == 'u' || *f == 'x') {
			uint64_t number = is_long ? va_arg(values, unsigned long) : va_arg(values, unsigned);
			put_number(buffer, number, *f == 'u' ? 10 : 16);
		} else {
			put_char(buffer, '%');
			f -= *f != '%';
		}
	}
}

/* Writes what the buffer holds to the console. */
static void flush_to_console(struct print_buffer *buffer) {
	if (buffer->used) coconut_serial_write(buffer->bytes, buffer->used);
	buffer->used = 0;
}

/* Prints formatted text. */
void print(const char *format, ...) {
	char bytes[128];
	struct print_buffer buffer = { .bytes = bytes, .size = sizeof(bytes), .flush = flush_to_console };
	va_list values;

	va_start(values, format);
	print_into(&buffer, format, values);
	va_end(values);
	flush_to_console(&buffer);
}
