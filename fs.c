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
 * Read next: manifest.h.
 */
#include "kernel.h"

static struct ext2 ramdisk;
static uint64_t ramdisk_phys; /* where it lies; 0: there is none that can be read */

/* Mounts the ramdisk. Without one there is nothing to run: nothing is found in it then. */
void fs_init(const struct bootinfo *info) {
	if (ext2_mount(&ramdisk, phys_to_virt(info->ramdisk), info->ramdisk_size)) {
		print("The ramdisk is no ext2 file system that can be read here: "
		      "make it with mke2fs -t ext2 -b 4096 -O none,filetype\n");
		return;
	}
	ramdisk_phys = info->ramdisk;
	print_verbose("Ramdisk: ext2, %lu KiB at 0x%lx, blocks of %u bytes\n", info->ramdisk_size / 1024, ramdisk_phys,
		      ramdisk.block_size);
}

/* Finds a regular file by its path. Returns 0 or an error of ext2_lookup. */
int fs_find(const char *path, size_t len, struct ext2_file *file) {
	return ramdisk_phys ? ext2_lookup(&ramdisk, path, len, file) : -COCONUT_E_IO;
}

/* Copies up to `len` bytes of a file to kernel memory. Returns their number or -COCONUT_E_IO. */
int64_t fs_load(const struct ext2_file *file, uint64_t offset, void *to, size_t len) {
	return ext2_read(&ramdisk, file, offset, to, len);
}

/* Frees the descriptors of a dying shard. */
void files_close_all(struct shard *shard) { memset(shard->files, 0, sizeof(shard->files)); }

/* Returns the open file that a descriptor of the current shard names, or NULL. */
static inline struct open_file *file_of(uint64_t fd) {
	return fd < COCONUT_FILES && current->files[fd].used ? &current->files[fd] : NULL;
}

/* Refuses a call whose descriptor, its first argument, names nothing. */
static int64_t no_file(uint64_t fd) { return refuse(-COCONUT_E_BADHANDLE, 1, fd, "the descriptor names no open file"); }

/* Returns what an error of fs_find means, in words. */
const char *fs_reason(int error) {
	static const char *const reasons[] = {[COCONUT_E_INVAL] = "the path is not absolute or contains a NUL",
		[COCONUT_E_NOENT] = "there is no such file", [COCONUT_E_NOTFILE] = "it is not a regular file",
		[COCONUT_E_IO] = "the file system is damaged there"};

	return reasons[-error];
}

/* FS_OPEN: opens the regular file at an absolute path. Returns the lowest free descriptor. */
int64_t sys_fs_open(uint64_t path, uint64_t len) {
	char name[COCONUT_PATH_MAX + 1];
	int64_t bad = user_path(path, len, name);
	struct ext2_file file;
	uint64_t fd = 0;

	if (bad) return bad;
	while (fd < COCONUT_FILES && current->files[fd].used)
		fd++;
	if (fd == COCONUT_FILES && !ABLATE(descriptors)) return refuse(-COCONUT_E_FULL, 1, path, "all descriptors are in use");
	int error = fs_find(name, len, &file);
	if (error) return refuse(error, 1, path, fs_reason(error));
	current->files[fd] = (struct open_file){.used = true, .file = file};
	return (int64_t)fd;
}

/* FS_READ: reads up to `max` bytes from where the last read ended, a block at a time. Returns their number, 0 at the
 * end. It ends before a block that cannot be read, or not to there, and refuses when that is the first one. */
int64_t sys_fs_read(uint64_t fd, uint64_t buf, uint64_t max) {
	struct open_file *open = file_of(fd);

	if (!open) return no_file(fd);
	if (max == 0) return refuse(-COCONUT_E_INVAL, 3, max, "there is nothing to do for no bytes");
	if (!user_range(buf, max)) return refuse(-COCONUT_E_FAULT, 2, buf, "the buffer is not wholly mapped and writable");
	uint64_t done = 0, len = min(open->file.size - open->offset, max);
	while (done < len) {
		size_t part = len - done;
		const uint8_t *piece = ext2_piece(&ramdisk, &open->file, open->offset, &part);
		bool fits = user_writable(buf + done, part);
		if (done && (!piece || !fits)) break; /* the next call says so */
		if (!piece) return refuse(-COCONUT_E_IO, 1, fd, "the file system is damaged there");
		if (!fits) return refuse(-COCONUT_E_FAULT, 2, buf, "the buffer is not wholly mapped and writable");
		copy_to_user(buf + done, piece, part);
		open->offset += part;
		done += part;
		if (done < len && preempt_point()) break;
	}
	return (int64_t)done;
}

/* FS_STAT: returns the size of an open file in bytes. */
int64_t sys_fs_stat(uint64_t fd) {
	struct open_file *open = file_of(fd);

	return open ? (int64_t)open->file.size : no_file(fd);
}

/* FS_CLOSE: frees the descriptor. Mappings of the file stay. */
int64_t sys_fs_close(uint64_t fd) {
	struct open_file *open = file_of(fd);

	if (!open) return no_file(fd);
	*open = (struct open_file){0};
	return 0;
}

/* FS_MAP: maps the whole file read-only at `address`, its last page filled up with what follows in its block. It works
 * only where a block is a page, so that page n of the file is its block n. Either all of it or nothing. Returns its
 * size in bytes. */
int64_t sys_fs_map(uint64_t fd, uint64_t address) {
	struct open_file *open = file_of(fd);
	int error = 0;

	if (!open) return no_file(fd);
	uint64_t pages = (open->file.size + PAGE_MASK) / PAGE_SIZE, done = 0;
	if (address & PAGE_MASK) return refuse(-COCONUT_E_INVAL, 2, address, "the address is not page aligned");
	if (address < COCONUT_LARGE_BASE || address >= USER_LIMIT || pages > (USER_LIMIT - address) / PAGE_SIZE)
		return refuse(-COCONUT_E_INVAL, 2, address, "the file does not fit into the large region from there");
	if (ramdisk.block_size != PAGE_SIZE || ramdisk_phys & PAGE_MASK || pages == 0)
		return refuse(-COCONUT_E_NOMAP, 1, fd, "the file's blocks are not pages; read it instead");
	for (; done < pages; done++) {
		int64_t block = ext2_block(&ramdisk, &open->file, done);
		uint64_t page = address + done * PAGE_SIZE, phys = ramdisk_phys + (uint64_t)block;
		error = block > 0 ? space_map(current, page, phys, PTE_NX | PTE_BORROWED) : -COCONUT_E_NOMAP;
		if (error) break;
		if (preempt_point()) return COCONUT_KILLED;
	}
	if (!error) return (int64_t)open->file.size;
	if (done) sys_munmap(address, done);
	return refuse(error, 2, address,
		      error == -COCONUT_E_NOMAP    ? "the file has holes or damaged blocks; read it instead"
		      : error == -COCONUT_E_EXISTS ? "something is mapped there already"
						   : "no frame is left for its page tables");
}
