/*
 * files.c: whole files in memory, mapped where the file system allows it and read otherwise.
 *
 * Read next: fs.c for the kernel's side.
 */
#include "coconut.h"
#include "shardlib.h"

/* Reads a whole file of `size` bytes, at least one, into fresh pages at `address`. Returns the size or an error. */
static int64_t read_whole(uint64_t fd, int64_t size, uint64_t address) {
	uint64_t pages = ((uint64_t)size + COCONUT_PAGE_SIZE - 1) / COCONUT_PAGE_SIZE;
	int64_t result = coconut_mmap(address, pages);
	int64_t done = 0;

	while (result >= 0 && done < size) {
		result = coconut_fs_read(fd, (void *)(address + (uint64_t)done), (size_t)(size - done));
		if (result == 0)
			return -COCONUT_E_IO; /* the file ends before the size it is said to have */
		done += result;
	}
	return result < 0 ? result : size;
}

/* Makes the file's bytes appear at a page-aligned address at or above COCONUT_LARGE_BASE. Returns its size, or
 * the error of the call that failed. */
int64_t file_load(const char *path, size_t path_len, uint64_t address) {
	int64_t fd = coconut_fs_open(path, path_len);
	int64_t size;

	if (fd < 0) return fd;
	size = coconut_fs_stat((uint64_t)fd);
	if (size > 0) {
		int64_t mapped = coconut_fs_map((uint64_t)fd, address);
		size = mapped == -COCONUT_E_NOMAP ? read_whole((uint64_t)fd, size, address) : mapped;
	}
	coconut_fs_close((uint64_t)fd);
	return size;
}
