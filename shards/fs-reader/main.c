/*
 * fs-reader: prints one file of the ramdisk, `path=/some/file` in its args, /etc/motd by default.
 *
 * It shows the whole life of a descriptor: open, stat, read to the end, close. The exit code is 1 when the
 * file cannot be read.
 *
 * Read next: coconut.h for the FS_ calls, fs.c for the kernel's side, lib/shardlib.h for print().
 */
#include "coconut.h"
#include "shardlib.h"

/* Prints what is left of the open file; its last line is ended if the file does not end it. Returns 0, or an error. */
static int64_t print_content(uint64_t fd) {
	char buf[512];
	char last = '\n';
	int64_t n;

	while ((n = coconut_fs_read(fd, buf, sizeof(buf))) > 0) {
		coconut_serial_write(buf, (size_t)n);
		last = buf[n - 1];
	}
	if (last != '\n') coconut_puts("\n");
	return n;
}

/* Returns the path that the args name. Returns 0 when they hold anything else. */
static int parse_args(const char *args, struct text *path) {
	struct text key, value;

	while (args_next(&args, &key, &value)) {
		if (!text_equals(key, "path") || value.len == 0) {
			print("fs-reader: unknown argument %.*s: use path=/some/file\n", (int)key.len, key.start);
			return 0;
		}
		*path = value;
	}
	return 1;
}

int main(const char *args) {
	struct text path = { "/etc/motd", 9 };
	int64_t fd, size, result;

	if (!parse_args(args, &path)) return 1;
	fd = coconut_fs_open(path.start, path.len);
	if (fd < 0) {
		print("fs-reader: %.*s: %s\n", (int)path.len, path.start, error_text(fd));
		return 1;
	}
	size = coconut_fs_stat((uint64_t)fd);
	result = size;
	if (size >= 0) {
		print("fs-reader: %.*s, %ld bytes\n", (int)path.len, path.start, size);
		result = print_content((uint64_t)fd);
	}
	if (result < 0) print("fs-reader: %.*s: %s\n", (int)path.len, path.start, error_text(result));
	coconut_fs_close((uint64_t)fd);
	return result < 0;
}
