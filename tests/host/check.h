/*
 * check.h: the smallest harness that host unit tests need.
 *
 * A test program names the sources it compiles with in a line `SOURCES: ext2.c ...` (paths from the root),
 * defines functions with TEST(name), lists them in main() with RUN(name) and returns check_result().
 * Every test prints one line, `pass name` or `FAIL name`; a failed CHECK prints where and what.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures; /* failed checks of the test that runs now */
static int check_failed_tests;

#define TEST(name) static void test_##name(void)

#define CHECK(condition)                                                                    \
	do {                                                                                \
		if (!(condition)) {                                                         \
			printf("  %s:%d: %s is false\n", __FILE__, __LINE__, #condition);   \
			check_failures++;                                                   \
		}                                                                           \
	} while (0)

#define CHECK_EQ(got, expected)                                                             \
	do {                                                                                \
		long long check_got = (long long)(got), check_expected = (long long)(expected); \
		if (check_got != check_expected) {                                          \
			printf("  %s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #got, check_got, check_expected); \
			check_failures++;                                                   \
		}                                                                           \
	} while (0)

#define RUN(name)                                                                           \
	do {                                                                                \
		check_failures = 0;                                                         \
		test_##name();                                                              \
		printf("%s %s\n", check_failures ? "FAIL" : "pass", #name);                 \
		fflush(stdout);                                                             \
		check_failed_tests += check_failures != 0;                                  \
	} while (0)

/* Returns what main() returns: 0 when every test passed. */
static inline int check_result(void) { return check_failed_tests ? EXIT_FAILURE : EXIT_SUCCESS; }

#endif
