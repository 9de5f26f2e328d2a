/*
 * shardlib.h: the small library for shards. build.sh archives shards/lib/ as build/shards/lib.a, and a shard
 * gets only the files that it uses. A shard may as well use coconut.h alone, as hello-c does.
 *
 * Everything works without writable static memory: state lives in the caller's variables.
 *
 * Read next: fs-reader/main.c for a user of it, print.c, args.c, arena.c, files.c.
 */
#ifndef SHARDLIB_H
#define SHARDLIB_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* string.c: GCC may call the first four by itself. */
void *memcpy(void *dest, const void *src, size_t n);
void *memmove(void *dest, const void *src, size_t n);
void *memset(void *dest, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

/* A piece of a longer string: not terminated. */
struct text {
	const char *start;
	size_t len;
};

/* print.c: formatted output. %s %c %d %ld %u %lu %x %lx %% and %.*s (int, const char *) are understood. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Collects formatted text and hands it to `flush` whenever the buffer is full. */
struct print_buffer {
	char *bytes;
	size_t used, size;
	void (*flush)(struct print_buffer *buffer);
};
void print_into(struct print_buffer *buffer, const char *format, va_list values);

/* args.c: the words of the args string, and numbers in them. */
int args_next(const char **args, struct text *key, struct text *value);
int text_equals(struct text text, const char *string);
int text_to_u64(struct text text, uint64_t *number);
int text_to_float(struct text text, float *number);

/* errors.c: what a result of a system call says, in words. */
const char *error_text(int64_t result);

/* arena.c: memory that is taken piece by piece and never given back. */
struct arena {
	uint64_t next; /* address of the next free byte, 16-byte aligned */
	uint64_t end;  /* first address that is not mapped yet, page aligned */
};
void arena_init(struct arena *arena, uint64_t address);
void *arena_take(struct arena *arena, size_t bytes);

/* files.c: whole files in memory. */
int64_t file_load(const char *path, size_t path_len, uint64_t address);

#endif
