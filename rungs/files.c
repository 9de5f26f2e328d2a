/*
 * files.c, the rung: what ext2.c and fs.c add: the files of the ramdisk.
 *
 * Reads each file that the system brings, in pieces that are no whole blocks, and shows its size and a checksum.
 *
 * Read next: capabilities.c.
 */
#include "rungs.h"

enum { PIECE = 1000 };

static const char *const paths[] = {"/etc/motd", "/hello.txt", "/tokenizer.bin", "/model.bin", "/none"};

/* Returns the checksum of a file. */
static uint32_t sum_of(const struct ext2_file *file) {
	uint8_t piece[PIECE];
	uint32_t sum = 1;

	for (uint64_t at = 0; at < file->size;) {
		int64_t len = fs_load(file, at, piece, PIECE);
		if (len <= 0) panic("the file ends at %lu", at);
		sum = adler32(sum, piece, (uint64_t)len);
		at += (uint64_t)len;
	}
	return sum;
}

void rung_show(const struct bootinfo *info) {
	struct ext2_file file;

	(void)info;
	for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
		int error = fs_find(paths[i], strlen(paths[i]), &file);
		if (error)
			print("Files: %s: %s\n", paths[i], fs_reason(error));
		else
			print("Files: %s has %lu bytes, Adler-32 0x%08x\n", paths[i], file.size, sum_of(&file));
	}
	rung_end();
}
