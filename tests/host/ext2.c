/*
 * Tests of ext2.c against images that mke2fs really made, whole and damaged.
 *
 * The oracle is the host: a tree of files is written in the scratch directory, mke2fs -d packs it, and what ext2_read
 * returns is compared with what pread returns. Images lie in blocks of malloc of exactly their size, so that the
 * sanitizer sees a read of one byte too many.
 *
 * SOURCES: ext2.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define COCONUT_NO_CALLS
#include "coconut.h"
#include "ext2.h"
#include "check.h"

#define MANY 700 /* entries of /many: several blocks of directory at every block size */

static uint8_t *image;
static size_t image_size;
static char long_path[256]; /* 255 bytes, the longest that is allowed */

bool preempt_point(void);

/* Nobody else runs here. */
bool preempt_point(void) { return false; }

/* Runs a shell command and fails the test when the command fails. */
static void run(const char *command) {
	if (system(command) != 0) {
		printf("  failed: %s\n", command);
		check_failures++;
	}
}

/* Replaces `image` by the bytes of a file. */
static void load_image(const char *name) {
	struct stat st = {0};
	int fd = open(name, O_RDONLY);
	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	free(image);
	image_size = (size_t)st.st_size;
	image = malloc(image_size + (image_size == 0));
	CHECK(read(fd, image, image_size) == (ssize_t)image_size);
	close(fd);
}

/* Writes `len` bytes of a pattern, different at each offset, at `offset` of a file. */
static void write_pattern(const char *name, uint64_t offset, size_t len) {
	int fd = open(name, O_WRONLY | O_CREAT, 0644);
	uint8_t *buf = malloc(len + 1);
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(((offset + i) * 2654435761u >> 13) | 1);
	CHECK(fd >= 0 && pwrite(fd, buf, len, (off_t)offset) == (ssize_t)len);
	free(buf);
	close(fd);
}

/* Returns block numbers at every boundary of the pointer tree for that block size; *count is their number. */
static const uint64_t *boundaries(uint64_t block_size, int *count) {
	static uint64_t list[16];
	uint64_t p = block_size / 4, n = 0;
	list[n++] = 0;
	list[n++] = 5;
	list[n++] = 11;
	list[n++] = 12;
	list[n++] = 12 + p - 1;
	list[n++] = 12 + p;
	list[n++] = 12 + p + p * 3 + 2;
	list[n++] = 12 + p + p * p - 1;
	list[n++] = 12 + p + p * p;
	list[n++] = 12 + p + p * p + p + 1;
	list[n++] = 12 + p + p * p + p * p * 2 + p * 3 + 4;
	*count = (int)n;
	return list;
}

/* Makes the directory `tree` with everything that the tests look for. */
static void make_tree(uint64_t block_size) {
	int count;
	const uint64_t *at = boundaries(block_size, &count);
	run("rm -rf tree && mkdir -p tree/etc tree/a/b/c/d tree/many tree/empty-dir && printf hello > tree/hello.txt"
	    " && : > tree/empty && ln -s hello.txt tree/link && ln -s a tree/dirlink && mkfifo tree/fifo"
	    " && printf deep > tree/a/b/c/d/deep.txt && printf manifest > tree/etc/coconut.conf");
	write_pattern("tree/dense", 0, (size_t)((12 + block_size / 4 + 40) * block_size + 123));
	for (int i = 0; i < count; i++)
		write_pattern("tree/sparse", at[i] * block_size + 50, 100);
	write_pattern("tree/half", 0, (size_t)block_size);
	CHECK(truncate("tree/half", (off_t)((12 + block_size) * block_size + 7)) == 0);
	for (int i = 0; i < MANY; i++) {
		char name[64];
		snprintf(name, sizeof(name), "tree/many/entry-number-%d", i);
		write_pattern(name, (uint64_t)i, 4);
	}
	char name[300];
	snprintf(name, sizeof(name), "tree%s", long_path);
	write_pattern(name, 0, 10);
}

/* Makes `tree` and an image of it, loads and mounts it. */
static struct ext2 make_image(int block_size, const char *options) {
	char command[300];
	struct ext2 fs = {0};
	make_tree((uint64_t)block_size);
	snprintf(command, sizeof(command),
		"rm -f img && mke2fs -q -t ext2 -b %d -N 1500 %s -d tree img 24M > mke2fs.log 2>&1",
		block_size, options);
	run(command);
	load_image("img");
	CHECK_EQ(ext2_mount(&fs, image, image_size), 0);
	CHECK_EQ(fs.block_size, block_size);
	return fs;
}

static int lookup(const struct ext2 *fs, const char *path) {
	struct ext2_file file;
	return ext2_lookup(fs, path, strlen(path), &file);
}

/* Compares `len` bytes from `offset` of a file with the host's copy, read in pieces of `piece` bytes. */
static void compare(const struct ext2 *fs, const char *path, uint64_t offset, uint64_t len, size_t piece) {
	char name[300];
	struct stat st;
	struct ext2_file file = {0};
	snprintf(name, sizeof(name), "tree%s", path);
	int fd = open(name, O_RDONLY);
	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	CHECK_EQ(ext2_lookup(fs, path, strlen(path), &file), 0);
	CHECK_EQ(file.size, st.st_size);
	uint8_t *got = malloc(piece), *expected = malloc(piece);
	for (uint64_t done = 0; done < len; done += piece) {
		memset(got, 0xEE, piece);
		int64_t n = ext2_read(fs, &file, offset + done, got, piece);
		CHECK_EQ(n, pread(fd, expected, piece, (off_t)(offset + done)));
		if (n <= 0 || check_failures) break;
		CHECK(memcmp(got, expected, (size_t)n) == 0);
	}
	free(got);
	free(expected);
	close(fd);
}

/* Every kind of path, every depth of pointers, holes, sizes. */
static void check_whole_tree(const struct ext2 *fs) {
	uint64_t bs = fs->block_size;
	static const char *const small[] = {"/hello.txt", "//hello.txt", "/./a/../hello.txt", "/empty",
		"/etc/coconut.conf", "/a/b/c/d/deep.txt", "/a//b///c/d/./deep.txt"};
	for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++)
		compare(fs, small[i], 0, 20, 20);
	CHECK_EQ(lookup(fs, "/../../hello.txt"), 0); /* ".." of the root is the root */
	compare(fs, long_path, 0, 20, 3);
	for (int i = 0; i < MANY; i++) {
		char path[64];
		snprintf(path, sizeof(path), "/many/entry-number-%d", i);
		compare(fs, path, 0, 1000, 1000);
	}
	compare(fs, "/dense", 0, (12 + bs / 4 + 50) * bs, 1000);
	compare(fs, "/dense", 0, (12 + bs / 4 + 50) * bs, 3 * bs);
	compare(fs, "/dense", bs - 3, 400, 1);
	compare(fs, "/half", 0, (12 + bs) * bs + 7, 16 * bs);

	struct ext2_file file;
	int count;
	const uint64_t *at = boundaries(bs, &count);
	for (int i = 0; i < count; i++)
		compare(fs, "/sparse", at[i] * bs - (at[i] ? 100 : 0), 400, 77);
	CHECK_EQ(lookup(fs, "/sparse"), 0);
	ext2_lookup(fs, "/sparse", 7, &file);
	for (int i = 0; i < count; i++) {
		int64_t block = ext2_block(fs, &file, at[i]);
		CHECK(block > 0 && block % (int64_t)bs == 0 && (uint64_t)block + bs <= image_size);
		CHECK(ext2_block(fs, &file, at[i] + 1) == 0 || (i + 1 < count && at[i + 1] == at[i] + 1));
	}
	CHECK_EQ(ext2_block(fs, &file, 12 + bs / 4 + bs / 4), 0);
	CHECK_EQ(ext2_block(fs, &file, 12 + bs / 4 + bs / 4 * (bs / 4) + bs / 4 * (bs / 4)), 0);

	uint8_t byte = 0xEE;
	CHECK_EQ(ext2_read(fs, &file, file.size, &byte, 1), 0);
	CHECK_EQ(ext2_read(fs, &file, UINT64_MAX, &byte, 1), 0);
	CHECK_EQ(ext2_read(fs, &file, 0, &byte, 0), 0);
	CHECK_EQ(byte, 0xEE);
	uint64_t p = bs / 4;
	CHECK_EQ(ext2_block(fs, &file, 12 + p + p * p + p * p * p), -COCONUT_E_IO);
	CHECK_EQ(ext2_block(fs, &file, UINT64_MAX), -COCONUT_E_IO);
}

static void check_refusals(const struct ext2 *fs) {
	static const struct { int error; const char *paths[11]; } cases[] = {
		{COCONUT_E_NOENT, {"/nothing", "/hello.tx", "/hello.txt2", "/nothing/hello.txt", "/hello.txt/",
		"/hello.txt/.",
			"/hello.txt/x", "/empty-dir/x", "/many/entry-number-700"}},
		{COCONUT_E_NOTFILE, {"/", "/etc", "/etc/", "/.", "/a/..", "/fifo", "/link", "/dirlink",
			"/dirlink/b/c/d/deep.txt", "/fifo/x"}},
		{COCONUT_E_INVAL, {"", "hello.txt", "./hello.txt"}},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int j = 0; cases[i].paths[j] != NULL; j++)
			CHECK_EQ(lookup(fs, cases[i].paths[j]), -cases[i].error);

	struct ext2_file file;
	char longer[300];
	CHECK_EQ(ext2_lookup(fs, "/hello.txt\0", 11, &file), -COCONUT_E_INVAL);
	CHECK_EQ(ext2_lookup(fs, "/hello.txtX", 10, &file), 0);
	snprintf(longer, sizeof(longer), "/%s", long_path);
	CHECK_EQ(strlen(longer), COCONUT_PATH_MAX + 1);
	CHECK_EQ(lookup(fs, longer), -COCONUT_E_INVAL);
	memset(longer, '/', 255);
	longer[255] = '\0';
	CHECK_EQ(lookup(fs, longer), -COCONUT_E_NOTFILE);
}

static void check_block_size(int block_size, const char *options) {
	struct ext2 fs = make_image(block_size, options);
	check_whole_tree(&fs);
	check_refusals(&fs);
}

TEST(blocks_of_1k) { check_block_size(1024, ""); }
TEST(blocks_of_2k) { check_block_size(2048, ""); }
TEST(blocks_of_4k) { check_block_size(4096, ""); }
TEST(small_inodes_and_groups) { check_block_size(1024, "-I 128 -g 1024"); }
TEST(no_file_types) { check_block_size(1024, "-I 256 -O ^filetype,^dir_index,^resize_inode"); }
TEST(revision_0) { check_block_size(1024, "-r 0 -O none"); }
TEST(journal_present) { check_block_size(1024, "-j"); }

/* e2fsck -D turns the large directory into a hash-indexed one, which has to read as a plain one. */
TEST(indexed_directory) {
	make_image(1024, "");
	run("e2fsck -fyD img > e2fsck.log 2>&1; test $? -le 1"
	    " && debugfs -R 'htree_dump /many' img 2>&1 | grep -q 'Root node'");
	load_image("img");
	struct ext2 fs;
	CHECK_EQ(ext2_mount(&fs, image, image_size), 0);
	check_whole_tree(&fs);
	check_refusals(&fs);
}

/* What changes the meaning of the fields is refused, one feature after the other; what does not is accepted. */
TEST(features) {
	struct ext2 fs = make_image(1024, "");
	for (int bit = 0; bit < 32; bit++) {
		uint8_t *byte = image + 1024 + 96 + bit / 8, saved = *byte;
		*byte |= (uint8_t)(1 << bit % 8);
		CHECK_EQ(ext2_mount(&fs, image, image_size), bit == 1 ? 0 : -COCONUT_E_IO);
		*byte = saved;
	}
	memset(image + 1024 + 92, 0xFF, 4);
	memset(image + 1024 + 100, 0xFF, 4);
	CHECK_EQ(ext2_mount(&fs, image, image_size), 0);
	static const char *const refused[] = {"-t ext4", "-t ext2 -O meta_bg,^resize_inode",
		"-t ext2 -b 4096 -O inline_data -I 256",
		"-t ext2 -b 8192 -F"};
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char command[200];
		snprintf(command, sizeof(command), "rm -f img && mke2fs -q %s img 8M > mke2fs.log 2>&1", refused[i]);
		run(command);
		load_image("img");
		CHECK_EQ(ext2_mount(&fs, image, image_size), -COCONUT_E_IO);
	}
}

/* A small image, so that every byte of it can be damaged. */
static void make_small_image(const char *options) {
	char command[200];
	run("rm -rf tree && mkdir -p tree/d/e && printf 0123456789 > tree/hello.txt && printf x > tree/d/e/deep"
	    " && ln -s hello.txt tree/link");
	write_pattern("tree/sparse", 0, 100);
	write_pattern("tree/sparse", 13 << 10, 100);
	write_pattern("tree/sparse", (12 + 256 + 3) << 10, 100);
	write_pattern("tree/sparse", (12 + 256 + 65536 + 5) << 10, 100);
	write_pattern("tree/long-enough-a-name-to-fill-the-directory-somewhat", 0, 3000);
	snprintf(command, sizeof(command),
		"rm -f img && mke2fs -q -t ext2 -b 1024 -m 0 -N 24 %s -d tree img 70 > mke2fs.log 2>&1",
		options);
	run(command);
	load_image("img");
}

static const char *const damaged_paths[] = {"/hello.txt", "/sparse", "/d/e/deep", "/d/e/../../d/./e/deep", "/link",
	"/d/none",
	"/long-enough-a-name-to-fill-the-directory-somewhat", "/lost+found/x"};

/* Uses everything on an image of unknown contents. Returns how many calls gave an error. Reading out of the image is
 * caught by the sanitizer, an endless loop by the alarm that main() sets. */
static int exercise(void) {
	static const uint64_t probes[] = {0, 1, 11, 12, 13, 267, 268, 271, 523, 524, 65803, 65804, 65809, 131340,
		16843020};
	struct ext2 fs;
	uint8_t buf[100];
	int errors = 0, error = ext2_mount(&fs, image, image_size);
	if (error != 0) {
		CHECK_EQ(error, -COCONUT_E_IO);
		return 1;
	}
	CHECK(((uint64_t)fs.blocks << fs.block_shift) <= image_size);
	for (size_t i = 0; i < sizeof(damaged_paths) / sizeof(damaged_paths[0]); i++) {
		struct ext2_file file;
		error = ext2_lookup(&fs, damaged_paths[i], strlen(damaged_paths[i]), &file);
		CHECK(error == 0 || error == -COCONUT_E_NOENT || error == -COCONUT_E_NOTFILE || error == -COCONUT_E_IO);
		errors += error != 0;
		if (error != 0) continue;
		for (size_t j = 0; j < sizeof(probes) / sizeof(probes[0]); j++) {
			int64_t at = ext2_block(&fs, &file, probes[j]);
			CHECK(at == -COCONUT_E_IO || (at >= 0 && at % fs.block_size == 0
			      && (uint64_t)at + fs.block_size <= image_size));
			errors += at < 0;
			int64_t got = ext2_read(&fs, &file, probes[j] * fs.block_size - (j & 1) * 50, buf, sizeof(buf));
			CHECK(got == -COCONUT_E_IO || (got >= 0 && got <= 100));
			errors += got < 0;
		}
	}
	return errors;
}

/* Every byte of the image takes several wrong values, one after the other. */
static void damage_every_byte(const char *options) {
	make_small_image(options);
	int undamaged = exercise(), noticed = 0;
	CHECK_EQ(undamaged, 3 + 5); /* /link, /d/none, /lost+found/x; the last probe in each of the five files */
	clock_t start = clock();
	for (size_t at = 0; at < image_size; at++) {
		uint8_t saved = image[at], values[] = {0, 0xFF, 0x80, saved ^ 1, saved ^ 4, (uint8_t)(saved + 0x11)};
		for (size_t i = 0; i < sizeof(values); i++) {
			image[at] = values[i];
			if (values[i] != saved) noticed += exercise() != undamaged;
		}
		image[at] = saved;
	}
	CHECK(noticed > 500);
	CHECK_EQ(exercise(), undamaged);
	CHECK((clock() - start) / CLOCKS_PER_SEC < 60);
}

TEST(damaged_bytes) { damage_every_byte("-O ^resize_inode"); }
TEST(damaged_bytes_revision_0) { damage_every_byte("-r 0 -O none"); }

/* Every aligned 32-bit word becomes a number that means something else: a huge one, a metadata block, a cycle. */
TEST(damaged_words) {
	make_small_image("-O ^resize_inode");
	static const uint32_t values[] = {0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 1, 2, 3, 5, 11, 12, 20, 30, 69, 70, 71,
		0x10000};
	for (size_t at = 0; at + 4 <= image_size; at += 4) {
		uint8_t saved[4];
		memcpy(saved, image + at, 4);
		for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
			memcpy(image + at, &values[i], 4);
			exercise();
		}
		memcpy(image + at, saved, 4);
	}
}

/* Many bytes at once, by a generator with a fixed seed, mostly in the blocks that hold metadata. */
TEST(damaged_at_random) {
	make_small_image("-O ^resize_inode");
	uint8_t *whole = malloc(image_size);
	memcpy(whole, image, image_size);
	uint64_t state = 88172645463325252u;
	for (int round = 0; round < 60000; round++) {
		memcpy(image, whole, image_size);
		for (int i = 0; i < 1 + round % 40; i++) {
			state ^= state << 13, state ^= state >> 7, state ^= state << 17;
			size_t limit = round % 3 == 0 ? image_size : image_size / 4;
			/* The superblock is spared in most rounds, or nothing would get past the mount. */
			size_t at = round % 8 == 0 ? state % limit : 2048 + state % (limit - 2048);
			image[at] = (uint8_t)(state >> (round & 1 ? 32 : 40));
		}
		exercise();
	}
	free(whole);
}

/* Returns the byte offset of the inode that has this number, for pointed damage. */
static uint8_t *inode_of(const struct ext2 *fs, uint32_t number) {
	uint32_t table;
	memcpy(&table, image + fs->groups_offset + 8, 4);
	return image + (size_t)table * fs->block_size + (size_t)(number - 1) * fs->inode_size;
}

/* Damage whose effect is known exactly. */
TEST(pointed_damage) {
	make_small_image("-O ^resize_inode");
	struct ext2 fs;
	struct ext2_file file;
	uint8_t byte;
	CHECK_EQ(ext2_mount(&fs, image, image_size), 0);
	CHECK_EQ(ext2_lookup(&fs, "/hello.txt", 10, &file), 0);
	uint8_t *inode = inode_of(&fs, file.inode), *root = inode_of(&fs, 2), saved[256];

#define WITH_INODE(which, offset, bytes, ...)                      \
	do {                                                       \
		memcpy(saved, which, sizeof(saved));               \
		memcpy((which) + (offset), bytes, sizeof(bytes) - 1); \
		__VA_ARGS__;                                       \
		memcpy(which, saved, sizeof(saved));               \
	} while (0)
	/* i_block[0] behind the last block: the lookup works, reading does not. */
	WITH_INODE(inode, 40, "\x46\0\0\0", CHECK_EQ(lookup(&fs, "/hello.txt"), 0);
		ext2_lookup(&fs, "/hello.txt", 10, &file); CHECK_EQ(ext2_read(&fs, &file, 0, &byte, 1), -COCONUT_E_IO));
	WITH_INODE(inode, 26, "\0\0", CHECK_EQ(lookup(&fs, "/hello.txt"), -COCONUT_E_IO)); /* i_links_count 0 */
	/* i_dir_acl: a file larger than its pointers can reach. */
	WITH_INODE(inode, 108, "\xFF\0\0\0", CHECK_EQ(lookup(&fs, "/hello.txt"), -COCONUT_E_IO));
	/* The root directory has a hole, has no whole number of blocks, is larger than the image, is a file. */
	WITH_INODE(root, 40, "\0\0\0\0", CHECK_EQ(lookup(&fs, "/hello.txt"), -COCONUT_E_IO));
	WITH_INODE(root, 4, "\x01\x04\0\0", CHECK_EQ(lookup(&fs, "/hello.txt"), -COCONUT_E_IO));
	WITH_INODE(root, 4, "\0\0\0\x80", CHECK_EQ(lookup(&fs, "/zzz"), -COCONUT_E_IO));
	WITH_INODE(root, 0, "\xA4\x81", CHECK_EQ(ext2_mount(&fs, image, image_size), -COCONUT_E_IO));
	CHECK_EQ(ext2_mount(&fs, image, image_size), 0);

	/* The first entry of the root: rec_len 0, not a multiple of 4, shorter than the name, longer than the block. */
	ext2_lookup(&fs, "/hello.txt", 10, &file);
	uint32_t root_block;
	memcpy(&root_block, root + 40, 4);
	uint8_t *entry = image + (size_t)root_block * 1024;
	static const uint16_t rec_lens[] = {0, 4, 8, 13, 1028, 0xFFFC};
	for (size_t i = 0; i < sizeof(rec_lens) / sizeof(rec_lens[0]); i++) {
		memcpy(saved, entry, 8);
		memcpy(entry + 4, &rec_lens[i], 2);
		CHECK_EQ(lookup(&fs, "/hello.txt"), -COCONUT_E_IO);
		memcpy(entry, saved, 8);
	}
	memcpy(entry + 4, "\xFC\x03", 2); /* 1,020: the next entry has no room for its header */
	CHECK_EQ(lookup(&fs, "/hello.txt"), -COCONUT_E_IO);
	memcpy(entry, saved, 8);
	memcpy(entry, "\xE8\x03\0\0", 4); /* "." leads to inode 1,000, which does not exist */
	CHECK_EQ(lookup(&fs, "/./hello.txt"), -COCONUT_E_IO);
	memcpy(entry, saved, 8);
	CHECK_EQ(lookup(&fs, "/./hello.txt"), 0);

	/* The last inode of all is good, when something is in it; "." becomes another name of the file. */
	memcpy(inode_of(&fs, fs.inodes), inode, fs.inode_size);
	memcpy(entry, &fs.inodes, 4);
	CHECK_EQ(lookup(&fs, "/."), 0);
}

/* A single indirect block that points to itself as data, and a directory in which ".." leads down again, end. */
TEST(cycles) {
	make_small_image("-O ^resize_inode");
	struct ext2 fs;
	struct ext2_file file;
	uint8_t buf[64];
	CHECK_EQ(ext2_mount(&fs, image, image_size), 0);
	CHECK_EQ(ext2_lookup(&fs, "/sparse", 7, &file), 0);
	for (int level = 12; level < 15; level++) {
		uint8_t *block = image + (size_t)file.blocks[level] * 1024;
		for (int i = 0; i < 1024; i += 4)
			memcpy(block + i, &file.blocks[level], 4);
	}
	for (uint64_t index = 12; index < 70000; index += 7)
		CHECK(ext2_block(&fs, &file, index) > 0);
	CHECK_EQ(ext2_read(&fs, &file, 13 << 10, buf, sizeof(buf)), 64);

	/* The entry "e" of /d leads to /d itself. */
	struct ext2_file e;
	CHECK_EQ(ext2_lookup(&fs, "/d/e/deep", 9, &e), 0);
	uint8_t *d = NULL;
	for (size_t at = 0; at + 12 < image_size; at += 4)
		if (memcmp(image + at + 4, "\x0C\0\1\2.\0\0\0", 8) == 0 && memcmp(image + at + 12 + 8, "..", 2) == 0
		    && memcmp(image + at + 24 + 8, "e\0\0\0", 4) == 0)
			d = image + at;
	CHECK(d != NULL);
	if (d == NULL) return;
	memcpy(d + 24, d, 4);
	CHECK_EQ(lookup(&fs, "/d/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e/e"), -COCONUT_E_NOTFILE);
	CHECK_EQ(lookup(&fs, "/d/e/e/e/deep"), -COCONUT_E_NOENT);
}

/* An image that ends early is refused at the mount, wherever it ends. */
TEST(truncated) {
	make_small_image("-O ^resize_inode");
	struct ext2 fs;
	for (size_t len = 0; len < image_size; len += len < 2200 ? 1 : 97) {
		uint8_t *copy = malloc(len + (len == 0));
		memcpy(copy, image, len);
		CHECK_EQ(ext2_mount(&fs, copy, len), -COCONUT_E_IO);
		free(copy);
	}
	CHECK_EQ(ext2_mount(&fs, image, image_size - 1), -COCONUT_E_IO);
	CHECK_EQ(ext2_mount(&fs, image, image_size), 0);
}

int main(int argc, char **argv) {
	if (argc < 2 || chdir(argv[1]) != 0) return EXIT_FAILURE;
	alarm(600);
	long_path[0] = '/';
	memset(long_path + 1, 'n', 254);
	RUN(blocks_of_1k);
	RUN(blocks_of_2k);
	RUN(blocks_of_4k);
	RUN(small_inodes_and_groups);
	RUN(no_file_types);
	RUN(revision_0);
	RUN(journal_present);
	RUN(indexed_directory);
	RUN(features);
	RUN(damaged_bytes);
	RUN(damaged_bytes_revision_0);
	RUN(damaged_words);
	RUN(damaged_at_random);
	RUN(pointed_damage);
	RUN(cycles);
	RUN(truncated);
	free(image);
	return check_result();
}
