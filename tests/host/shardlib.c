/*
 * Tests of the small library in shards/lib. The sources that make system calls are compiled into this file with calls
 * that are played here.
 *
 * SOURCES: shards/lib/args.c
 */
#include <math.h>
#include <stdarg.h>

#include "check.h"

#define COCONUT_NO_CALLS
#include "coconut.h"

/* ---- The played kernel: one file, and pages that are mapped in rising order ---- */

static char console[4096]; /* what has been written */
static int writes;         /* by how many calls */
static char *pages;        /* stands for the address 0x40000000 */
static uint64_t pages_mapped, pages_limit;
static const char *file_bytes;
static int64_t file_size, file_at, map_result;

static int64_t coconut_serial_write(const void *buf, size_t len) {
	CHECK(len >= 1 && len <= COCONUT_WRITE_MAX);
	strncat(console, buf, len);
	writes++;
	return 0;
}

static int64_t coconut_mmap(uint64_t address, uint64_t count) {
	CHECK_EQ(address, (uint64_t)pages + pages_mapped * COCONUT_PAGE_SIZE);
	if (count == 0) return -COCONUT_E_INVAL;
	if (pages_mapped + count > pages_limit) return -COCONUT_E_QUOTA;
	memset((void *)address, 0, count * COCONUT_PAGE_SIZE);
	pages_mapped += count;
	return 0;
}

static int64_t coconut_fs_open(const char *path, size_t len) {
	file_at = 0;
	return len == 2 && !memcmp(path, "/f", 2) ? 3 : -COCONUT_E_NOENT;
}

static int64_t coconut_fs_stat(uint64_t fd) { return fd == 3 ? file_size : -COCONUT_E_BADHANDLE; }

static int64_t coconut_fs_map(uint64_t fd, uint64_t address) {
	(void)fd;
	(void)address;
	return map_result;
}

static int64_t coconut_fs_read(uint64_t fd, void *buf, size_t max) {
	size_t left = strlen(file_bytes) - (size_t)file_at, n = left < max ? left : max;

	(void)fd;
	n = n > 1000 ? 1000 : n;
	memcpy(buf, file_bytes + file_at, n);
	file_at += (int64_t)n;
	return (int64_t)n;
}

static int64_t coconut_fs_close(uint64_t fd) {
	CHECK_EQ(fd, 3);
	return 0;
}

#include "../../shards/lib/arena.c"
#include "../../shards/lib/errors.c"
#include "../../shards/lib/files.c"
#include "../../shards/lib/print.c"

/* The memory functions under other names, since the C library's are needed as well. */
#define memcpy shard_memcpy
#define memmove shard_memmove
#define memset shard_memset
#define memcmp shard_memcmp
#define strlen shard_strlen
void *memcpy(void *dest, const void *src, size_t n);
void *memmove(void *dest, const void *src, size_t n);
void *memset(void *dest, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
#include "../../shards/lib/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen

/* Begins a test with an empty console and `limit` free pages. */
static void reset(uint64_t limit) {
	console[0] = 0;
	writes = 0;
	free(pages);
	pages = aligned_alloc(COCONUT_PAGE_SIZE, (limit + 1) * COCONUT_PAGE_SIZE);
	pages_mapped = 0;
	pages_limit = limit;
}

TEST(prints_every_conversion) {
	char expected[256];

	reset(0);
	print("%s|%c|%d|%d|%u|%x|%%|%.*s", "text", 'c', -7, INT32_MIN, UINT32_MAX, 0xBEEFu, 3, "abcdef");
	snprintf(expected, sizeof(expected), "%s|%c|%d|%d|%u|%x|%%|%.*s", "text", 'c', -7, INT32_MIN, UINT32_MAX, 0xBEEFu,
		 3, "abcdef");
	CHECK(!strcmp(console, expected));
	CHECK_EQ(writes, 1);
	reset(0);
	print("%ld %ld %lu %lx 0=%u", (long)INT64_MIN, (long)INT64_MAX, (unsigned long)UINT64_MAX, 0x123456789ABCDEFul, 0u);
	CHECK(!strcmp(console, "-9223372036854775808 9223372036854775807 18446744073709551615 123456789abcdef 0=0"));
	reset(0);
	print("%s", "");
	CHECK_EQ(writes, 0);
}

TEST(prints_long_text_in_pieces) {
	char text[301];

	reset(0);
	memset(text, 'x', 300);
	text[300] = 0;
	print("%s", text);
	CHECK(!strcmp(console, text));
	CHECK_EQ(writes, 3);
}

TEST(splits_args_into_words) {
	const char *args = "  a=1 flag  b= prompt= x y=z";
	struct text key, value;

	CHECK(args_next(&args, &key, &value) && text_equals(key, "a") && text_equals(value, "1"));
	CHECK(args_next(&args, &key, &value) && text_equals(key, "flag") && !value.start);
	CHECK(args_next(&args, &key, &value) && text_equals(key, "b") && value.start && value.len == 0);
	CHECK(args_next(&args, &key, &value) && text_equals(key, "prompt") && text_equals(value, " x y=z"));
	CHECK(!args_next(&args, &key, &value));
	args = NULL;
	CHECK(!args_next(&args, &key, &value));
}

TEST(reads_numbers) {
	uint64_t number;

	CHECK(text_to_u64((struct text){ "18446744073709551615", 20 }, &number) && number == UINT64_MAX);
	CHECK(!text_to_u64((struct text){ "18446744073709551616", 20 }, &number));
	CHECK(!text_to_u64((struct text){ "", 0 }, &number));
	CHECK(!text_to_u64((struct text){ NULL, 0 }, &number));
	CHECK(!text_to_u64((struct text){ "1 ", 2 }, &number));
}

/* text_to_float() is (float)atof() wherever it takes the number. */
TEST(reads_decimals_like_atof) {
	for (unsigned i = 0; i < 200000; i++) {
		char string[32];
		float got = -1;
		int len = sprintf(string, "%u.%0*u", i % 13, 1 + (int)(i % 9), i * 2654435761u % 1000000000u);
		while (len > 15)
			string[--len] = 0;
		CHECK(text_to_float((struct text){ string, (size_t)len }, &got));
		CHECK(got == (float)atof(string));
	}
}

TEST(moves_memory) {
	char expected[64], got[64];

	for (int n = 0; n <= 40; n++) {
		for (int from = 0; from <= 20; from += 5) {
			for (int i = 0; i < 64; i++)
				expected[i] = got[i] = (char)(i * 7);
			memmove(expected + 10, expected + from, (size_t)n);
			CHECK(shard_memmove(got + 10, got + from, (size_t)n) == got + 10);
			CHECK(!memcmp(expected, got, 64));
		}
		memset(got, 1, 64);
		shard_memset(got + 3, 0x1AB, (size_t)n);
		for (int i = 0; i < 64; i++)
			CHECK_EQ((unsigned char)got[i], i >= 3 && i < 3 + n ? 0xAB : 1);
		shard_memcpy(got + 5, expected, (size_t)n);
		CHECK(!memcmp(got + 5, expected, (size_t)n));
	}
	CHECK(shard_memcmp("abc", "abd", 3) < 0 && shard_memcmp("\xFF", "a", 1) > 0 && shard_memcmp("ab", "ac", 1) == 0);
	CHECK_EQ(shard_strlen("four"), 4);
}

TEST(arena_maps_what_is_taken) {
	struct arena arena;
	char *a, *b;

	reset(3);
	arena_init(&arena, (uint64_t)pages);
	a = arena_take(&arena, 10);
	b = arena_take(&arena, 4090);
	CHECK(a == pages && b == pages + 16);
	CHECK_EQ(pages_mapped, 2);
	CHECK(arena_take(&arena, 2 * COCONUT_PAGE_SIZE) == NULL);
	CHECK(arena_take(&arena, SIZE_MAX) == NULL);
	CHECK(arena_take(&arena, SIZE_MAX - (uint64_t)pages - 100) == NULL);
	CHECK(arena_take(&arena, COCONUT_PAGE_SIZE) != NULL);
	CHECK_EQ(pages_mapped, 3);
}

TEST(loads_files_mapped_or_read) {
	char text[2501];

	memset(text, 'f', 2500);
	text[2500] = 0;
	file_bytes = text;
	file_size = 2500;
	map_result = 2500;
	reset(2);
	CHECK_EQ(file_load("/f", 2, (uint64_t)pages), 2500);
	CHECK_EQ(pages_mapped, 0);
	map_result = -COCONUT_E_NOMAP;
	CHECK_EQ(file_load("/f", 2, (uint64_t)pages), 2500);
	CHECK_EQ(pages_mapped, 1);
	CHECK(!memcmp(pages, text, 2500));
	reset(2);
	file_size = 2600; /* the file ends too early */
	CHECK_EQ(file_load("/f", 2, (uint64_t)pages), -COCONUT_E_IO);
	reset(0);
	CHECK_EQ(file_load("/f", 2, (uint64_t)pages), -COCONUT_E_QUOTA);
	map_result = -COCONUT_E_EXISTS;
	CHECK_EQ(file_load("/f", 2, (uint64_t)pages), -COCONUT_E_EXISTS);
	file_size = 0;
	CHECK_EQ(file_load("/f", 2, (uint64_t)pages), 0);
	CHECK_EQ(file_load("/g", 2, (uint64_t)pages), -COCONUT_E_NOENT);
}

TEST(every_error_has_its_words) {
	for (int error = 1; error <= COCONUT_E_NOEXEC; error++)
		CHECK(strcmp(error_text(-error), "unknown error"));
	CHECK(!strcmp(error_text(-COCONUT_E_NOENT), "no such file"));
	CHECK(!strcmp(error_text(-4000), "unknown error"));
}

int main(void) {
	RUN(prints_every_conversion);
	RUN(prints_long_text_in_pieces);
	RUN(splits_args_into_words);
	RUN(reads_numbers);
	RUN(reads_decimals_like_atof);
	RUN(moves_memory);
	RUN(arena_maps_what_is_taken);
	RUN(loads_files_mapped_or_read);
	RUN(every_error_has_its_words);
	free(pages);
	return check_result();
}
