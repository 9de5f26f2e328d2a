/*
 * ext2.c: finds files in an ext2 image in memory and says where their blocks are.
 *
 * Invariants: no byte outside the image is ever read, whatever the image holds; every loop is bounded by a number
 * that was itself checked against the size of the image; the image is never written. A block number becomes an
 * address in one place only, block_offset(), and an inode number in one place only, load_inode().
 *
 * The image, with blocks of 1 KiB (larger blocks put the superblock into block 0, and all that follows one earlier):
 *
 *     block 0     1           2              then, in each block group
 *     | unused | superblock | descriptors | ... block bitmap | inode bitmap | inode table | files and directories ...
 *                                  |                                               ^
 *                                  +--- bg_inode_table of each group --------------+
 *
 * The numbers below are offsets and values of "The Second Extended File System: Internal Layout" (D. Poirier), under
 * the names they have there. All fields are little endian and may lie at any address, so they are read by bytes.
 *
 * Read next: fs.c.
 */
#include "ext2.h"

#include <stdbool.h>

#define COCONUT_NO_CALLS
#include "coconut.h"

void *memcpy(void *to, const void *from, size_t len); /* the supervisor's own; libc's in the host tests */
int memcmp(const void *a, const void *b, size_t len);
MAY_SWITCH bool preempt_point(void); /* lets interrupts in; nothing in the host tests */

/* Superblock (3.1): 1,024 bytes, 1,024 bytes from the start whatever the block size is. S_FIRST_DATA_BLOCK is its own
 * block; the block size is 1,024 << S_LOG_BLOCK_SIZE. S_MAGIC and S_INODE_SIZE have 16 bits. */
enum { SUPERBLOCK_OFFSET = 1024, SUPERBLOCK_SIZE = 1024, S_INODES_COUNT = 0, S_BLOCKS_COUNT = 4,
	S_FIRST_DATA_BLOCK = 20, S_LOG_BLOCK_SIZE = 24, S_BLOCKS_PER_GROUP = 32, S_INODES_PER_GROUP = 40, S_MAGIC = 56,
	S_REV_LEVEL = 76, S_INODE_SIZE = 88, S_FEATURE_INCOMPAT = 96 };

/* Values in it. Revision 0 has inodes of 128 bytes and none of the feature fields. FILETYPE: directory entries carry a
 * type byte, which is not used here. The largest block is a page. */
enum { EXT2_SUPER_MAGIC = 0xEF53, EXT2_GOOD_OLD_REV = 0, EXT2_DYNAMIC_REV = 1, EXT2_GOOD_OLD_INODE_SIZE = 128 };
enum { EXT2_FEATURE_INCOMPAT_FILETYPE = 0x2, MIN_BLOCK_SHIFT = 10, MAX_BLOCK_SHIFT = 12 };

/* Block group descriptor (3.2): the table of them begins in the block after the superblock's. BG_INODE_TABLE is the
 * first block of the group's inodes. */
enum { BG_INODE_TABLE = 8, GROUP_DESC_SIZE = 32 };

/* Inode (3.4, 3.5). I_MODE has 16 bits: the type of the file, then permissions, which are not used here. I_LINKS_COUNT,
 * of 16 bits, is 0 in an inode that is free. I_BLOCK are EXT2_N_BLOCKS pointers of 32 bits. I_DIR_ACL of a regular file
 * is the upper half of its size, from revision 1 on. */
enum { I_MODE = 0, I_SIZE = 4, I_LINKS_COUNT = 26, I_BLOCK = 40, I_DIR_ACL = 108 };
enum { EXT2_ROOT_INO = 2, EXT2_S_IFMT = 0xF000, EXT2_S_IFDIR = 0x4000, EXT2_S_IFREG = 0x8000 };

/* Directory entry (4.1). DIRENT_INODE is 0 in an entry that is free. DIRENT_REC_LEN, of 16 bits, are the bytes to the
 * next entry; the last one of a block ends with the block. DIRENT_NAME_LEN is read as a byte: revision 0 has 16 bits
 * there, whose upper byte is 0 since names end at 255. */
enum { DIRENT_INODE = 0, DIRENT_REC_LEN = 4, DIRENT_NAME_LEN = 6, DIRENT_NAME = 8 };

const uint8_t ext2_zeros[1 << MAX_BLOCK_SHIFT];

/* Returns the 16-bit number at p. */
static uint32_t le16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }

/* Returns the 32-bit number at p. */
static uint32_t le32(const uint8_t *p) { return le16(p) | le16(p + 2) << 16; }

/* Returns the byte offset of a block, 0 for number 0 (a hole), or -COCONUT_E_IO for one outside the file system. */
static int64_t block_offset(const struct ext2 *fs, uint32_t block) {
	return block < fs->blocks ? (int64_t)block << fs->block_shift : -COCONUT_E_IO;
}

/* The calls of one file, in order, mostly end in the first lines or read one pointer: copying a file costs little
 * more than copying its bytes. */
int64_t ext2_block(const struct ext2 *fs, const struct ext2_file *file, uint64_t index) {
	if (index < EXT2_NDIR_BLOCKS) return block_offset(fs, file->blocks[index]);
	index -= EXT2_NDIR_BLOCKS;

	/* A block holds 1 << width pointers, so a tree of n levels reaches 1 << width * n blocks. The
	 * tree of one level begins behind the direct pointers, each larger one behind the one before. */
	uint32_t width = fs->block_shift - 2, level = 1;
	while (index >> width * level != 0) {
		index -= 1ULL << width * level;
		if (++level > EXT2_N_BLOCKS - EXT2_NDIR_BLOCKS) return -COCONUT_E_IO;
	}
	/* A zero on the way down stands for a whole subtree of holes: 0 is then the answer, as for a single one. */
	int64_t at = block_offset(fs, file->blocks[EXT2_NDIR_BLOCKS + level - 1]);
	while (at > 0 && level-- > 0) {
		uint64_t slot = index >> width * level & ((1U << width) - 1);
		at = block_offset(fs, le32(fs->image + at + slot * 4));
	}
	return at;
}

/* The memory is the supervisor's; FS_READ, which fills a shard's, has the same loop in sys_fs_read. */
int64_t ext2_read(const struct ext2 *fs, const struct ext2_file *file, uint64_t offset, void *buf, size_t len) {
	if (offset >= file->size) return 0;
	if (len > file->size - offset) len = file->size - offset;
	for (size_t done = 0, part; done < len; done += part) {
		part = len - done;
		const uint8_t *piece = ext2_piece(fs, file, offset + done, &part);
		if (!piece) return -COCONUT_E_IO;
		memcpy((uint8_t *)buf + done, piece, part);
	}
	return (int64_t)len;
}

/* Returns whether a file of its type can be as large as it says. A regular one ends where an inode's pointers do. A
 * directory has no holes, so that it is made of whole blocks and cannot be larger than the file system; that bounds
 * every search, also in a directory whose pointers all lead to the same block. Other types are not read. */
static bool size_possible(const struct ext2 *fs, const struct ext2_file *file) {
	uint32_t width = fs->block_shift - 2;
	uint64_t reach = EXT2_NDIR_BLOCKS + (1ULL << width) + (1ULL << 2 * width) + (1ULL << 3 * width);
	if (file->type == EXT2_S_IFREG) return file->size <= reach << fs->block_shift;
	return file->type != EXT2_S_IFDIR || (file->size <= fs->size && file->size % fs->block_size == 0);
}

/* Reads inode `number` into `file`. Returns 0, or -COCONUT_E_IO when there is no such inode, it is not in use, or its
 * size is impossible. */
static int load_inode(const struct ext2 *fs, uint32_t number, struct ext2_file *file) {
	if (number == 0 || number > fs->inodes) return -COCONUT_E_IO;
	uint32_t group = (number - 1) / fs->inodes_per_group, slot = (number - 1) % fs->inodes_per_group;
	if (group >= fs->groups) return -COCONUT_E_IO;

	/* The inode need not lie in the table's first block, so it is its end that has to lie in the file system. */
	const uint8_t *descriptor = fs->image + fs->groups_offset + (uint64_t)group * GROUP_DESC_SIZE;
	int64_t table = block_offset(fs, le32(descriptor + BG_INODE_TABLE));
	uint64_t start = (uint64_t)slot * fs->inode_size;
	if (table <= 0 || start + fs->inode_size > fs->size - (uint64_t)table) return -COCONUT_E_IO;

	const uint8_t *inode = fs->image + table + start;
	file->inode = number;
	file->type = le16(inode + I_MODE) & EXT2_S_IFMT;
	file->size = le32(inode + I_SIZE);
	if (file->type == EXT2_S_IFREG && fs->revision >= EXT2_DYNAMIC_REV)
		file->size |= (uint64_t)le32(inode + I_DIR_ACL) << 32;
	for (int i = 0; i < EXT2_N_BLOCKS; i++)
		file->blocks[i] = le32(inode + I_BLOCK + i * 4);
	return le16(inode + I_LINKS_COUNT) != 0 && size_possible(fs, file) ? 0 : -COCONUT_E_IO;
}

/* Looks for a name in one block of a directory. Returns its inode number, 0 when it is not there, or -COCONUT_E_IO
 * when an entry does not fit. The blocks of a directory's hash index look like unused entries and are passed over. */
static int64_t find_in_block(const uint8_t *block, uint32_t block_size, const char *name, size_t len) {
	for (uint32_t at = 0, rec_len; at < block_size; at += rec_len) {
		if (block_size - at < DIRENT_NAME) return -COCONUT_E_IO;
		const uint8_t *entry = block + at;
		uint32_t name_len = entry[DIRENT_NAME_LEN];
		rec_len = le16(entry + DIRENT_REC_LEN);
		if (rec_len < DIRENT_NAME + name_len || rec_len % 4 || rec_len > block_size - at) return -COCONUT_E_IO;
		uint32_t inode = le32(entry + DIRENT_INODE);
		if (inode == 0 || name_len != len) continue;
		if (memcmp(entry + DIRENT_NAME, name, len) == 0) return inode;
		if (preempt_point()) return -COCONUT_E_IO;
	}
	return 0;
}

/* Looks for a name in a directory. Returns its inode number, 0 when it is not there, or -COCONUT_E_IO. */
static int64_t find_entry(const struct ext2 *fs, const struct ext2_file *directory, const char *name, size_t len) {
	for (uint64_t index = 0; index < directory->size >> fs->block_shift; index++) {
		int64_t at = ext2_block(fs, directory, index);
		if (at <= 0) return -COCONUT_E_IO;
		int64_t inode = find_in_block(fs->image + at, fs->block_size, name, len);
		if (inode != 0) return inode;
		if (preempt_point()) return -COCONUT_E_IO;
	}
	return 0;
}

/* Returns whether these bytes are a path at all; which one is found out by walking it. */
static bool path_valid(const char *path, size_t len) {
	if (len == 0 || len > COCONUT_PATH_MAX || path[0] != '/') return false;
	for (size_t i = 0; i < len; i++)
		if (path[i] == '\0') return false;
	return true;
}

/* Walks the path from the root: each turn loads one inode, and looks for the next name in it unless the path ends. */
int ext2_lookup(const struct ext2 *fs, const char *path, size_t len, struct ext2_file *file) {
	if (!path_valid(path, len)) return -COCONUT_E_INVAL;
	/* The path itself bounds the walk, so links that lead in circles need no attention. */
	int64_t inode = EXT2_ROOT_INO;
	for (size_t at = 0;;) {
		int error = load_inode(fs, (uint32_t)inode, file);
		if (error != 0) return error;
		bool regular = file->type == EXT2_S_IFREG;
		if (at == len) return regular ? 0 : -COCONUT_E_NOTFILE;
		if (file->type != EXT2_S_IFDIR) return regular ? -COCONUT_E_NOENT : -COCONUT_E_NOTFILE;

		while (at < len && path[at] == '/')
			at++;
		if (at == len) return -COCONUT_E_NOTFILE;
		size_t start = at;
		while (at < len && path[at] != '/')
			at++;
		inode = find_entry(fs, file, path + start, at - start);
		if (inode <= 0) return inode < 0 ? (int)inode : -COCONUT_E_NOENT;
	}
}

/* Fills in what `fs` knows from the superblock. Returns whether these are numbers that this file understands; where
 * they lead is not yet checked. */
static bool read_superblock(struct ext2 *fs, const uint8_t *image) {
	const uint8_t *super = image + SUPERBLOCK_OFFSET;
	uint32_t revision = le32(super + S_REV_LEVEL), log_block_size = le32(super + S_LOG_BLOCK_SIZE);
	if (le16(super + S_MAGIC) != EXT2_SUPER_MAGIC || revision > EXT2_DYNAMIC_REV
	    || log_block_size > MAX_BLOCK_SHIFT - MIN_BLOCK_SHIFT)
		return false;
	*fs = (struct ext2){
		.image = image, .revision = revision, .block_shift = MIN_BLOCK_SHIFT + log_block_size,
		.block_size = 1U << (MIN_BLOCK_SHIFT + log_block_size), .blocks = le32(super + S_BLOCKS_COUNT),
		.inodes = le32(super + S_INODES_COUNT), .inodes_per_group = le32(super + S_INODES_PER_GROUP),
		.inode_size = revision == EXT2_GOOD_OLD_REV ? EXT2_GOOD_OLD_INODE_SIZE : le16(super + S_INODE_SIZE)};
	fs->size = (uint64_t)fs->blocks << fs->block_shift;

	/* An incompatible feature changes what the other fields mean: extents, a journal to be replayed, compression.
	 * The compatible ones do not, and those that only forbid writing do not matter to a reader. */
	uint32_t incompatible = le32(super + S_FEATURE_INCOMPAT) & ~(uint32_t)EXT2_FEATURE_INCOMPAT_FILETYPE;
	return (revision == EXT2_GOOD_OLD_REV || incompatible == 0)
	    && fs->inode_size >= EXT2_GOOD_OLD_INODE_SIZE && fs->inode_size <= fs->block_size
	    && (fs->inode_size & (fs->inode_size - 1)) == 0;
}

/* Checks what the superblock promises against the size of the image, once, so that lookups can rely on it. */
int ext2_mount(struct ext2 *fs, const void *image, uint64_t size) {
	if (size < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE || !read_superblock(fs, image)) return -COCONUT_E_IO;

	/* The superblock lies in block 1 when blocks are 1 KiB, in block 0 when they are larger. From the comparison
	 * with `size` on, every block number below fs->blocks is one that can be read. */
	const uint8_t *super = fs->image + SUPERBLOCK_OFFSET;
	uint32_t own_block = le32(super + S_FIRST_DATA_BLOCK), blocks_per_group = le32(super + S_BLOCKS_PER_GROUP);
	if (own_block != (fs->block_shift == MIN_BLOCK_SHIFT ? 1 : 0) || fs->blocks <= own_block || fs->size > size
	    || blocks_per_group == 0 || fs->inodes_per_group == 0)
		return -COCONUT_E_IO;
	fs->groups = (fs->blocks - own_block - 1) / blocks_per_group + 1;
	fs->groups_offset = (uint64_t)(own_block + 1) << fs->block_shift;
	if (fs->groups_offset + (uint64_t)fs->groups * GROUP_DESC_SIZE > fs->size) return -COCONUT_E_IO;

	struct ext2_file root;
	return load_inode(fs, EXT2_ROOT_INO, &root) == 0 && root.type == EXT2_S_IFDIR ? 0 : -COCONUT_E_IO;
}
