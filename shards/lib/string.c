/*
 * string.c: the memory functions that GCC may call even in freestanding code, and a few for strings.
 *
 * All are weak, so that a shard with its own memset or memcpy still links. They are written with string
 * instructions because GCC would turn a plain copying loop back into a call of memcpy, that is, of itself.
 * The direction flag is clear at entry of every function (System V ABI).
 *
 * Read next: shardlib.h, print.c.
 */
#include "shardlib.h"

/* Copies n bytes; the ranges must not overlap. Returns dest. */
__attribute__((weak)) void *memcpy(void *dest, const void *src, size_t n) {
	void *to = dest;
	size_t words = n / 8, bytes = n % 8;

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(src), "+c"(words) : : "memory");
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(bytes) : : "memory");
	return dest;
}

/* Copies n bytes between ranges that may overlap. Returns dest. */
__attribute__((weak)) void *memmove(void *dest, const void *src, size_t n) {
	unsigned char *to = dest;
	const unsigned char *from = src;

	if ((uintptr_t)to - (uintptr_t)from < n) {
		/* The destination begins inside the source: copy from the end, or bytes would be overwritten
		 * before they are read. */
		to += n - 1;
		from += n - 1;
		__asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(to), "+S"(from), "+c"(n) : : "memory", "cc");
		return dest;
	}
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return dest;
}

/* Sets n bytes to the low byte of `value`. Returns dest. */
__attribute__((weak)) void *memset(void *dest, int value, size_t n) {
	void *to = dest;
	uint64_t pattern = (unsigned char)value * 0x0101010101010101ull;
	size_t words = n / 8, bytes = n % 8;

	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(pattern) : "memory");
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(pattern) : "memory");
	return dest;
}

/* Returns a negative, zero or positive number as `a` sorts before, with or after `b`, byte by byte. */
__attribute__((weak)) int memcmp(const void *a, const void *b, size_t n) {
	const unsigned char *left = a, *right = b;

	for (size_t i = 0; i < n; i++) {
		if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
	}
	return 0;
}

/* Returns the number of bytes before the NUL. */
__attribute__((weak)) size_t strlen(const char *s) {
	size_t n = 0;

	/* The barrier keeps GCC from recognising this loop as strlen. */
	while (s[n]) {
		n++;
		__asm__ volatile("");
	}
	return n;
}
