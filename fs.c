/*
 * fs.c: files: the ramdisk, descriptors, and mappings.
 *
 * The ramdisk is an ext2 image in memory that nobody ever writes. ext2.c says where a block of a file lies in
 * it; this file copies blocks to shards, or maps them, which copies nothing: a model that two shards read is
 * in memory once.
 *
 * Invariant: frames of the ramdisk are mapped read-only and marked as borrowed, so that unmapping them never
 * frees them.
 *
 * Read next: acpi.c, pci.c, devices.c.
 */
#include "kernel.h"

static struct ext2 ramdisk;
static uint64_t ramdisk_phys;
static bool mounted;
static const uint8_t hole[PAGE_SIZE]; /* what a block that a file lacks reads as */

/* Mounts the ramdisk. Without one there is nothing to run. */
void fs_init(const struct bootinfo *info) {
	ramdisk_phys = info->ramdisk;
	if (ext2_mount(&ramdisk, phys_to_virt(info->ramdisk), info->ramdisk_size)) {
		print("The ramdisk is no ext2 file system that can be read here: make it with mke2fs -t ext2\n");
		return;
	}
	mounted = true;
	print_verbose("Ramdisk: ext2, %lu KiB at 0x%lx, blocks of %u bytes\n", info->ramdisk_size / 1024, ramdisk_phys,
		      ramdisk.block_size);
}

/* Finds a regular file by its path. Returns 0 or an error of ext2_lookup. */
int fs_find(const char *path, size_t len, struct ext2_file *file) {
	return mounted ? ext2_lookup(&ramdisk, path, len, file) : -COCONUT_E_IO;
}

/* Copies up to `len` bytes of a file to kernel memory. Returns their number or -COCONUT_E_IO. */
int64_t fs_load(const struct ext2_file *file, uint64_t offset, void *to, size_t len) {
	return ext2_read(&ramdisk, file, offset, to, len);
}

/* Frees the descriptors of a dying shard. */
void files_close_all(struct shard *shard) { memset(shard->files, 0, sizeof(shard->files)); }

static inline struct open_file *file_of(uint64_t fd) {
	if (fd >= COCONUT_FILES || !current->files[fd].used) return NULL;
	return &current->files[fd];
}

/* FS_OPEN: opens the regular file at an absolute path. Returns the lowest free descriptor. */
int64_t sys_fs_open(uint64_t path, uint64_t len) {
	static const char *const reasons[] = {[COCONUT_E_INVAL] = "the path is not absolute or contains a NUL",
					      [COCONUT_E_NOENT] = "there is no such file",
					      [COCONUT_E_NOTFILE] = "it is not a regular file",
					      [COCONUT_E_IO] = "the file system is damaged there"};
	char name[COCONUT_PATH_MAX + 1];
	struct ext2_file file;
	uint64_t fd = 0;
	int64_t bad;
	int error;

	if ((bad = user_path(path, len, name))) return bad;
	while (fd < COCONUT_FILES && current->files[fd].used)
		fd++;
	if (fd == COCONUT_FILES) return refuse(COCONUT_E_FULL, 1, path, "all descriptors are in use");
	error = fs_find(name, len, &file);
	if (error) return refuse(-error, 1, path, reasons[-error]);
	current->files[fd] = (struct open_file){.used = true, .file = file};
	return (int64_t)fd;
}

/* FS_READ: reads up to `max` bytes from where the last read ended. Returns their number, 0 at the end. */
int64_t sys_fs_read(uint64_t fd, uint64_t buf, uint64_t max) {
	struct open_file *open = file_of(fd);
	uint64_t len, left, at, part;

	if (!open) return refuse(COCONUT_E_BADHANDLE, 1, fd, "the descriptor names no open file");
	if (max == 0) return refuse(COCONUT_E_INVAL, 3, max, "there is nothing to do for no bytes");
	left = len = open->file.size - open->offset < max ? open->file.size - open->offset : max;
	if (!user_range(buf, max) || (len && !user_writable(buf, len)))
		return refuse(COCONUT_E_FAULT, 2, buf, "the buffer is not wholly mapped and writable");
	for (at = open->offset; left;) {
		uint64_t within = at & (ramdisk.block_size - 1);
		int64_t block = ext2_block(&ramdisk, &open->file, at >> ramdisk.block_shift);
		if (block < 0) return refuse(COCONUT_E_IO, 1, fd, "the file system is damaged there");
		part = ramdisk.block_size - within < left ? ramdisk.block_size - within : left;
		copy_to_user(buf, block ? ramdisk.image + block + within : hole, part);
		at += part;
		buf += part;
		left -= part;
		if (left) preempt_point();
	}
	open->offset += len;
	return (int64_t)len;
}

/* FS_STAT: returns the size of an open file in bytes. */
int64_t sys_fs_stat(uint64_t fd) {
	struct open_file *open = file_of(fd);

	if (!open) return refuse(COCONUT_E_BADHANDLE, 1, fd, "the descriptor names no open file");
	return (int64_t)open->file.size;
}

/* FS_CLOSE: frees the descriptor. Mappings of the file stay. */
int64_t sys_fs_close(uint64_t fd) {
	struct open_file *open = file_of(fd);

	if (!open) return refuse(COCONUT_E_BADHANDLE, 1, fd, "the descriptor names no open file");
	*open = (struct open_file){0};
	return 0;
}

/* Returns the physical address of page `index` of a file, or 0 when it cannot be mapped. */
static uint64_t page_of(const struct ext2_file *file, uint64_t index) {
	int64_t block = ext2_block(&ramdisk, file, index);

	return block > 0 ? ramdisk_phys + (uint64_t)block : 0;
}

/* FS_MAP: maps the whole file read-only at `address`, its last page filled up with what follows in its block.
 * Either all of it or nothing. Returns its size in bytes. */
int64_t sys_fs_map(uint64_t fd, uint64_t address) {
	struct open_file *open = file_of(fd);
	uint64_t pages, done;
	int error = 0;

	if (!open) return refuse(COCONUT_E_BADHANDLE, 1, fd, "the descriptor names no open file");
	pages = (open->file.size + PAGE_MASK) / PAGE_SIZE;
	if (address & PAGE_MASK) return refuse(COCONUT_E_INVAL, 2, address, "the address is not page aligned");
	if (address < COCONUT_LARGE_BASE || address >= USER_LIMIT || pages > (USER_LIMIT - address) / PAGE_SIZE)
		return refuse(COCONUT_E_INVAL, 2, address, "the file does not fit into the large region from there");
	if (ramdisk.block_size != PAGE_SIZE || ramdisk_phys & PAGE_MASK || pages == 0)
		return refuse(COCONUT_E_NOMAP, 1, fd, "the file's blocks are not pages; read it instead");
	for (done = 0; done < pages && !error; done++) {
		uint64_t phys = page_of(&open->file, done);
		error = phys ? space_map(current, address + done * PAGE_SIZE, phys, PTE_NX | PTE_BORROWED) : -COCONUT_E_NOMAP;
		preempt_point();
	}
	if (!error) return (int64_t)open->file.size;
	for (done--; done--;) {
		space_unmap(current, address + done * PAGE_SIZE);
		preempt_point();
	}
	return refuse(-error, 2, address,
		      error == -COCONUT_E_NOMAP    ? "the file has holes or damaged blocks; read it instead"
		      : error == -COCONUT_E_EXISTS ? "something is mapped there already"
						   : "no frame is left for its page tables");
}
