/*
 * fuzz.h: what the targets share.
 *
 * A target is one file. libFuzzer calls its LLVMFuzzerTestOneInput() again and again with bytes that it changes at
 * random, keeps those that reach new code, and stops at the first report of a sanitizer. Its bytes lie in a block of
 * exactly their size, so that a read of one byte too many is seen. A target checks results too: REQUIRE() ends the
 * run like a sanitizer does.
 *
 * A target names the sources that it is linked with in a line `SOURCES: ...` and, for the test of the harness itself,
 * one check of them whose removal must be found: `PLANT: the text` becomes `INTO: the other text`.
 *
 * Read next: elf.c, the shortest target, and tests/test_fuzz.py, which compiles and runs them.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                   \
	do {                                                                                 \
		if (!(condition)) {                                                          \
			fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
			abort();                                                             \
		}                                                                            \
	} while (0)

/* Reads both ends of `size` bytes at `start`, so that the sanitizer sees memory that is not there. */
static inline void touch(const void *start, size_t size) {
	volatile const uint8_t *bytes = start;
	if (size != 0) {
		(void)bytes[0];
		(void)bytes[size - 1];
	}
}

#endif
