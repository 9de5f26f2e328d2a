/*
 * Writes to its own first page, which is code: a page fault, for tests of gdb that ask who made that page read-only.
 * Read next: tests/test_reverse.py.
 */
#include "coconut.h"

int main(const char *args) {
	(void)args;
	*(volatile int *)COCONUT_CODE_BASE = 1;
	return 0;
}
