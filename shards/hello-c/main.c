/*
 * hello-c: the shard to read first. It uses nothing but coconut.h.
 *
 * It greets, prints the file /hello.txt, and exits with 0. A shard is an ordinary C program with three
 * differences: there is no C library, no writable static memory, and the stack is one page.
 *
 * Read next: coconut.h for the system calls, start.asm for what runs before main(), fs-reader/main.c.
 */
#include "coconut.h"

int main(const char *args) {
	static const char path[] = "/hello.txt";
	char buf[256];
	int64_t fd, n;

	(void)args;
	coconut_puts("hello-c: hello from ring 3\n");

	/* A descriptor is a small number, an error is a negative one: see COCONUT_E_ in coconut.h. */
	fd = coconut_fs_open(path, sizeof(path) - 1);
	if (fd < 0) {
		coconut_puts("hello-c: cannot open /hello.txt\n");
		return 1;
	}
	while ((n = coconut_fs_read((uint64_t)fd, buf, sizeof(buf))) > 0)
		coconut_serial_write(buf, (size_t)n);
	coconut_fs_close((uint64_t)fd);
	return n < 0;
}
