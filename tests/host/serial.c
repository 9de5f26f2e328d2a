/*
 * Tests of format() in serial.c, against expected texts and against libc's snprintf.
 *
 * Output goes to blocks of malloc of exactly the size handed over, so that the sanitizer sees a byte too many. The port
 * is never touched, and the console is not linked, so what serial.c refers to may stay unresolved.
 *
 * SOURCES: serial.c
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include "kernel.h"
#include "check.h"

static char *out;

/* Formats into a block of `size` bytes. Returns what format() returns. */
static size_t run(size_t size, const char *template, ...) {
	va_list args;
	size_t len;

	free(out);
	out = malloc(size ? size : 1);
	memset(out, 'Z', size ? size : 1);
	va_start(args, template);
	len = format(out, size, template, args);
	va_end(args);
	return len;
}

/* Checks one template and its arguments against libc, in blocks of all sizes around the right one. */
#define SAME(...)                                                                               \
	do {                                                                                    \
		char wanted[256], shorter[256];                                                 \
		int len = snprintf(wanted, sizeof(wanted), __VA_ARGS__);                        \
		CHECK_EQ(run(sizeof(wanted), __VA_ARGS__), len);                                \
		CHECK(!strcmp(out, wanted));                                                    \
		for (int size = 1; size < len + 3; size++) {                                    \
			snprintf(shorter, (size_t)size, "%s", wanted);                          \
			CHECK_EQ(run((size_t)size, __VA_ARGS__), len);                          \
			CHECK(!strcmp(out, shorter));                                           \
		}                                                                               \
	} while (0)

TEST(plain_text) {
	SAME("%s", "");
	SAME("nothing to replace\n");
	SAME("100%% %c%c", 'o', 'k');
}

TEST(strings) {
	SAME("%s|%s", "one", "two");
	SAME("%s%s", "", "two");
}

TEST(numbers) {
	static const uint64_t values[] = {0, 1, 9, 10, 15, 16, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1UL << 32,
					  0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF};

	for (size_t i = 0; i < ARRAY_LENGTH(values); i++) {
		uint64_t v = values[i];
		SAME("%lu %lx %ld", v, v, (long)v);
		SAME("%u %x %d", (unsigned)v, (unsigned)v, (int)v);
		SAME("%4lu|%20lu|%14lu", v, v, v);
		SAME("%016lx %04x %02x", v, (unsigned)v & 0xFFFF, (unsigned)v & 0xFF);
		SAME("%06d|%6d", (int)v, (int)v);
	}
}

TEST(no_room_at_all) {
	CHECK_EQ(run(0, "abc %u", 12u), 6);
	CHECK_EQ(run(1, "abc"), 3);
	CHECK_EQ(out[0], 0);
}

TEST(random_values) {
	srand(1);
	for (int i = 0; i < 2000; i++) {
		uint64_t a = (uint64_t)rand() << 33 ^ (uint64_t)rand() << 11 ^ (uint64_t)rand();
		a >>= rand() % 64;
		SAME("Shard %u (%s): 0x%lx, %ld of %8lu (%d)", (unsigned)a, "name", a, (long)~a, a, (int)a);
	}
}

int main(void) {
	RUN(plain_text);
	RUN(strings);
	RUN(numbers);
	RUN(no_room_at_all);
	RUN(random_values);
	return check_result();
}
