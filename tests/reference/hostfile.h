/*
 * hostfile.h: reads a file on the host, for the programs of this folder.
 *
 * Read next: host_llama.c, generate.c.
 */
#ifndef HOSTFILE_H
#define HOSTFILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shardlib.h"

/* Ends the program with one line. */
static inline void die(const char *what, const char *why) {
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

/* Returns zeroed memory. */
static inline void *host_memory(size_t bytes) {
	void *memory = calloc(1, bytes ? bytes : 1);

	if (!memory) die("memory", "not enough");
	return memory;
}

/* Returns the bytes of the file at `path`, 16-byte aligned as malloc gives them, and their number in *size. */
static inline void *host_file(struct text path, size_t *size) {
	char name[4096];
	FILE *file;
	void *bytes;

	snprintf(name, sizeof(name), "%.*s", (int)path.len, path.start);
	file = fopen(name, "rb");
	if (!file) die(name, "cannot be opened");
	fseek(file, 0, SEEK_END);
	*size = (size_t)ftell(file);
	rewind(file);
	bytes = host_memory(*size);
	if (fread(bytes, 1, *size, file) != *size) die(name, "cannot be read");
	fclose(file);
	return bytes;
}

/* Returns the arguments of main() joined by spaces: the args string of a shard. */
static inline char *join_arguments(int argc, char **argv) {
	size_t len = 1;
	char *args;

	for (int i = 1; i < argc; i++)
		len += strlen(argv[i]) + 1;
	args = host_memory(len);
	for (int i = 1; i < argc; i++) {
		strcat(args, argv[i]);
		if (i + 1 < argc) strcat(args, " ");
	}
	return args;
}

#endif
