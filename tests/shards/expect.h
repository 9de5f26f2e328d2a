/*
 * expect.h: checks for test shards. Included as "../expect.h".
 *
 * A shard's exit code is its verdict: 0 when every check held, else the number of the line of the first that did not,
 * which is also printed with what was found. Nothing after it runs.
 */
#ifndef EXPECT_H
#define EXPECT_H

#include "coconut.h"
#include "shardlib.h"

#define CHECK(condition)                                                           \
	do {                                                                       \
		if (!(condition)) {                                                \
			print("%s:%d: %s is false\n", __FILE__, __LINE__, #condition); \
			coconut_exit(__LINE__);                                    \
		}                                                                  \
	} while (0)

#define CHECK_EQ(got, expected)                                                                     \
	do {                                                                                        \
		int64_t check_got = (int64_t)(got), check_expected = (int64_t)(expected);           \
		if (check_got != check_expected) {                                                  \
			print("%s:%d: %s is %ld (0x%lx), expected %ld\n", __FILE__, __LINE__, #got, check_got, \
			      (uint64_t)check_got, check_expected);                                 \
			coconut_exit(__LINE__);                                                     \
		}                                                                                   \
	} while (0)

/* A call that must be refused with COCONUT_E_`error`. */
#define REFUSED(error, call) CHECK_EQ(call, -COCONUT_E_##error)

/* Any system call, with the arguments that are not given 0. */
#define CALL5(number, a, b, c, d, e, ...) \
	coconut_syscall(number, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d), (uint64_t)(e))
#define CALL(...) CALL5(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* Whether two strings are equal. */
static inline int same(const char *a, const char *b) {
	size_t n = strlen(a);
	return n == strlen(b) && !memcmp(a, b, n);
}

/* The next of a sequence of random numbers, from a state that is not 0 (xorshift64*). */
static inline uint64_t random_next(uint64_t *state) {
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545F4914F6CDD1D;
}

/* Passes `milliseconds` without leaving the CPU by itself. */
static inline void busy_wait(int64_t milliseconds) {
	int64_t end = coconut_time() + milliseconds;

	while (coconut_time() < end)
		for (int i = 0; i < 1000; i++)
			__asm__ volatile("pause");
}

#define BYTES(address) ((volatile uint8_t *)(uint64_t)(address))
#define PAGE COCONUT_PAGE_SIZE

#endif
