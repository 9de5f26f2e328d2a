/*
 * Fuzz target: no damage to a file system makes ext2.c read outside of its image, and every search ends.
 *
 * Random bytes are hardly ever a file system, and whole images are a large corpus. So the bytes are a list of changes
 * to an image that mke2fs made, which the environment variable FUZZ_IMAGE names; a change is 8 bytes: the area, how
 * many bytes are written, where, and what.
 *
 * SOURCES: ext2.c
 * PLANT: return block < fs->blocks ? (int64_t)block << fs->block_shift : -COCONUT_E_IO;
 * INTO: return (int64_t)block << fs->block_shift;
 */
#include "ext2.h"
#define COCONUT_NO_CALLS
#include "coconut.h"
#include "fuzz.h"

#define BUFFER 3000 /* not a multiple of a block */

/* The areas of an image with blocks of 1 KiB and 24 inodes of 128 bytes, as test_fuzz.py makes it. */
static const struct { uint32_t start, size; } areas[] = {
	{1024, 256},     /* superblock */
	{2048, 32},      /* group descriptor */
	{5120, 3072},    /* inodes */
	{8192, 256},     /* root directory */
	{0, 65536},      /* anything */
};
#define AREAS (sizeof(areas) / sizeof(areas[0]))

static const char *const paths[] = {"/file", "/dir/inner", "/sparse", "/large", "/dir", "/none", "/lost+found/x",
	"/link"};

static uint8_t *image;
static size_t image_size;

int LLVMFuzzerInitialize(int *argc, char ***argv);
bool preempt_point(void);

/* Nobody else runs here. */
bool preempt_point(void) { return false; }

/* Loads the image once. */
int LLVMFuzzerInitialize(int *argc, char ***argv) {
	(void)argc, (void)argv;
	const char *name = getenv("FUZZ_IMAGE");
	FILE *file = name ? fopen(name, "rb") : NULL;
	if (!file) {
		fprintf(stderr, "FUZZ_IMAGE names no image of 64 KiB\n");
		exit(2);
	}
	image = malloc(1 << 20);
	image_size = fread(image, 1, 1 << 20, file);
	fclose(file);
	return 0;
}

/* Returns a changed copy of the image in a block of exactly *size bytes: an area behind the last one cuts it short. */
static uint8_t *change(const uint8_t *data, size_t len, size_t *size) {
	*size = image_size;
	for (size_t i = 0; i + 8 <= len; i += 8)
		if (data[i] % (AREAS + 1) == AREAS) *size = (data[i + 2] | (size_t)data[i + 3] << 8) % image_size;
	uint8_t *copy = malloc(*size + (*size == 0));
	memcpy(copy, image, *size);
	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint32_t area = data[i] % (AREAS + 1);
		if (area == AREAS) continue;
		size_t at = areas[area].start + (data[i + 2] | (uint32_t)data[i + 3] << 8) % areas[area].size;
		for (size_t byte = 0; byte <= data[i + 1] % 4u && at + byte < *size; byte++)
			copy[at + byte] = data[i + 4 + byte];
	}
	return copy;
}

/* Reads a file at its beginning, at its end and at the borders of the tree of pointers. */
static void read_file(const struct ext2 *fs, const struct ext2_file *file) {
	static uint8_t buf[BUFFER];
	const uint64_t pointers = fs->block_size / 4;
	const uint64_t blocks[] = {0, 11, 12 + pointers - 1, 12 + pointers + pointers * pointers - 1,
		12 + pointers + pointers * pointers};
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		int64_t at = ext2_block(fs, file, blocks[i]);
		REQUIRE(at == -COCONUT_E_IO || (at >= 0 && (uint64_t)at + fs->block_size <= fs->size));
		int64_t got = ext2_read(fs, file, blocks[i] * fs->block_size + i, buf, BUFFER);
		REQUIRE(got == -COCONUT_E_IO || (got >= 0 && got <= BUFFER));
	}
	REQUIRE(ext2_read(fs, file, file->size, buf, BUFFER) == 0);
	ext2_read(fs, file, file->size - (file->size > 10 ? 10 : 0), buf, BUFFER);
}

/* The bytes are changes to the image. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct ext2 fs;
	struct ext2_file file;
	size_t size;
	uint8_t *copy = change(data, len, &size);

	if (ext2_mount(&fs, copy, size) == 0)
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
			int error = ext2_lookup(&fs, paths[i], strlen(paths[i]), &file);
			REQUIRE(error == 0 || error == -COCONUT_E_NOENT || error == -COCONUT_E_NOTFILE || error == -COCONUT_E_IO);
			if (error == 0) read_file(&fs, &file);
		}
	free(copy);
	return 0;
}
