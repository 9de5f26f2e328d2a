/*
 * ext2.h: reading an ext2 file system that lies wholly in memory.
 *
 * The image is never written, nothing is cached and nothing is allocated: a mounted file system is a handful of
 * numbers taken from the superblock, an open file a copy of what its inode says. Every number that comes from the
 * image is checked before it is used, so an image of arbitrary bytes gives errors and nothing worse.
 *
 * Read next: ext2.c. fs.c puts descriptors and file mappings on top.
 */
#ifndef EXT2_H
#define EXT2_H

#include <stddef.h>
#include <stdint.h>

#include "marks.h"

/* The pointers in an inode: 12 direct ones, then the single, the double and the triple indirect one. */
enum { EXT2_NDIR_BLOCKS = 12, EXT2_N_BLOCKS = 15 };

struct ext2 {
	const uint8_t *image;
	uint64_t size;                    /* bytes: blocks << block_shift, all of which lie in the image */
	uint32_t block_size, block_shift; /* 1,024, 2,048 or 4,096 bytes: 1 << block_shift */
	uint32_t blocks, inodes;          /* s_blocks_count, s_inodes_count */
	uint32_t inodes_per_group;        /* never 0 */
	uint32_t inode_size;              /* bytes from one inode to the next */
	uint64_t groups_offset;           /* byte offset of the group descriptors, which lie wholly in the image */
	uint32_t groups;                  /* their number */
	uint32_t revision;                /* s_rev_level: 0 or 1 */
};

struct ext2_file {
	uint32_t inode, type;           /* its number, and what i_mode says it is: of an open file, a regular one */
	uint64_t size;                  /* bytes; never more than the block pointers can reach */
	uint32_t blocks[EXT2_N_BLOCKS]; /* i_block, not yet checked: ext2_block does that */
};

/* Reads the superblock of `size` bytes at `image` and fills in `fs`, which borrows the image. Returns 0, or
 * -COCONUT_E_IO when this is no ext2 file system, a damaged or truncated one, or one with features unknown here. */
int ext2_mount(struct ext2 *fs, const void *image, uint64_t size);

/* Finds the regular file at the absolute path of `len` bytes (no NUL needed) and fills in `file`. Repeated slashes
 * count as one; "." and ".." are looked up like other names; symbolic links are not followed. Returns 0, or
 *   -COCONUT_E_INVAL    the path is empty, not absolute, contains a NUL or is longer than COCONUT_PATH_MAX
 *   -COCONUT_E_NOENT    there is no such name, or a regular file is followed by a slash
 *   -COCONUT_E_NOTFILE  the path leads to a directory, or to or through a symbolic link or a device
 *   -COCONUT_E_IO       an inode or a directory on the way is damaged, or the shard that asks has been killed */
MAY_SWITCH int ext2_lookup(const struct ext2 *fs, const char *path, size_t len, struct ext2_file *file);

/* Returns the byte offset in the image of the file's block number `index`, of which all block_size bytes lie in the
 * image; 0 when the block is a hole, which reads as zeros; -COCONUT_E_IO when a pointer on the way leads out of
 * the file system. The caller compares `index` with the size of the file. */
int64_t ext2_block(const struct ext2 *fs, const struct ext2_file *file, uint64_t index);

/* What a hole is read from: zeros, as many as the largest block has. */
extern const uint8_t ext2_zeros[];

/* Returns where the bytes of a file from offset `at` on lie, which is inside of it, and makes `*len` smaller when not
 * so many lie there in one piece; NULL when the block is damaged. Whoever copies a file does it piece by piece, since
 * neighbours in the file need not be neighbours in the image. It stands here because FS_READ, which copies to a shard,
 * has no instruction to spare for a call. */
static inline const uint8_t *ext2_piece(const struct ext2 *fs, const struct ext2_file *file, uint64_t at, size_t *len) {
	uint64_t within = at & (fs->block_size - 1);
	int64_t block = ext2_block(fs, file, at >> fs->block_shift);

	if (*len > fs->block_size - within) *len = fs->block_size - within;
	if (block <= 0) return block == 0 ? ext2_zeros : NULL;
	return fs->image + block + within;
}

/* Copies up to `len` bytes from `offset` to `buf`. Returns their number, which is smaller only at the end of the
 * file, and 0 from there on; -COCONUT_E_IO when any of the blocks is damaged, and then `buf` is in part written. */
int64_t ext2_read(const struct ext2 *fs, const struct ext2_file *file, uint64_t offset, void *buf, size_t len);

#endif
