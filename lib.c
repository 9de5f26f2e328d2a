/*
 * lib.c: the four functions of a C library that the compiler (all but strlen) and the parsers call.
 *
 * They use the instructions for strings; copies move quadwords first, then the odd bytes. These rely on DF being clear,
 * which every entry into the kernel sees to.
 *
 * Read next: serial.c.
 */
#include "kernel.h"

/* Fills `len` bytes at `to`. Returns `to`. */
void *memset(void *to, int byte, size_t len) {
	uint64_t pattern = 0x0101010101010101 * (uint8_t)byte;
	size_t words = len / 8, rest = len % 8;
	void *at = to;

	__asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(pattern) : "memory");
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(rest) : "a"(byte) : "memory");
	return to;
}

/* Copies `len` bytes between areas that do not overlap. Returns `to`. */
void *memcpy(void *to, const void *from, size_t len) {
	copy(to, from, len);
	return to;
}

/* Compares byte by byte. Returns 0 when equal, else a number of the sign of the first difference. */
int memcmp(const void *a, const void *b, size_t len) {
	const uint8_t *left = a, *right = b;

	if (len == 0) return 0;
	__asm__ volatile("repe cmpsb" : "+S"(left), "+D"(right), "+c"(len) : : "memory", "cc");
	return left[-1] - right[-1];
}

/* Returns the number of bytes before the NUL. */
size_t strlen(const char *s) {
	const char *end = s;
	size_t left = SIZE_MAX;

	__asm__ volatile("repne scasb" : "+D"(end), "+c"(left) : "a"(0) : "memory", "cc");
	return (size_t)(end - s) - 1;
}
