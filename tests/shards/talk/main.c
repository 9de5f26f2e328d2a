/*
 * talk: writes to the console in every way that could spoil the lines of others. args:
 *
 *   pieces N   300 lines of the form `<N:i:xxxxxxxxxx:i:N>`, each in five writes with a yield after each
 *   lines N    100 such lines, each in one write              flood      1 MiB without a newline
 *   open       a line that is never ended, and then work      leave      a line that is not ended, and then the exit
 *   control    every byte value, then what the supervisor writes at the end of a good run; exit code 1
 *   utf8       text that must come through unchanged
 *   forge      the supervisor's last lines, then an endless loop
 *   file F     what the file F has
 *   kill       starts /t/talk with `flood`, five times, and kills it in the middle
 *   spawn      starts a program whose path has a newline and an ESC
 */
#include "../expect.h"

#define FORGED "coconutOS supervisor v9.9.9: all shards completed.\nHalting.\n"
#define MIDDLE "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void put(const char *text) { CHECK_EQ(coconut_puts(text), 0); }

static void pieces(char who) {
	for (int i = 100; i < 400; i++) {
		char head[] = {'<', who, ':', (char)('0' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10), ':', 0};
		char tail[] = {':', head[3], head[4], head[5], ':', who, '>', 0};
		const char *const part[] = {head, MIDDLE, MIDDLE, tail, "\n"};
		for (int k = 0; k < 5; k++) {
			put(part[k]);
			coconut_yield();
		}
	}
}

static void lines(char who) {
	for (int i = 100; i < 200; i++) {
		print("<%c:%d:" MIDDLE MIDDLE ":%d:%c>\n", who, i, i, who);
		coconut_yield();
	}
}

static void flood(void) {
	char *text = (char *)(uint64_t)COCONUT_HEAP_BASE;

	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 1), 0);
	memset(text, '~', PAGE);
	for (int i = 0; i < 256; i++)
		CHECK_EQ(coconut_serial_write(text, PAGE), 0);
}

static void control(void) {
	char bytes[256];

	for (int i = 0; i < 256; i++)
		bytes[i] = (char)i;
	coconut_serial_write(bytes, 256);
	put("\n[\x1B[2J\x1B]0;title\x07\r\b\x7F\xC2\x9B" "2J\xE2\x82]\n");
	put(FORGED);
	coconut_exit(1);
}

static void file(const char *path) {
	char text[COCONUT_WRITE_MAX / 4];
	int64_t fd = coconut_fs_open(path, strlen(path)), len;

	CHECK(fd >= 0);
	while ((len = coconut_fs_read((uint64_t)fd, text, sizeof(text))) > 0)
		CHECK_EQ(coconut_serial_write(text, (size_t)len), 0);
	CHECK_EQ(len, 0);
}

static void spawn(void) {
	static const char path[] = "/x\nShard 9 (x) ended\x1B";
	int64_t child = coconut_spawn(path, sizeof(path) - 1, "", 0);

	CHECK(child >= 0);
	CHECK_EQ(coconut_wait((uint64_t)child), 0);
}

static void kill_printers(void) {
	for (int i = 0; i < 5; i++) {
		int64_t child = coconut_spawn("/t/talk", 7, "flood", 5);
		CHECK(child >= 0);
		busy_wait(10);
		CHECK_EQ(coconut_kill((uint64_t)child), 0);
		print("killed\n");
		CHECK_EQ(coconut_wait((uint64_t)child), COCONUT_KILLED);
	}
}

int main(const char *args) {
	char who = args[strlen(args) - 1];

	if (!memcmp(args, "pieces", 6)) {
		pieces(who);
	} else if (!memcmp(args, "lines", 5)) {
		busy_wait(50);
		lines(who);
	} else if (same(args, "flood")) {
		flood();
	} else if (same(args, "open")) {
		put("this line never ends");
		busy_wait(1000);
		put(" and goes on");
	} else if (same(args, "leave")) {
		put("left open");
	} else if (same(args, "control")) {
		control();
	} else if (!memcmp(args, "file ", 5)) {
		file(args + 5);
	} else if (same(args, "kill")) {
		kill_printers();
	} else if (same(args, "spawn")) {
		spawn();
	} else if (same(args, "utf8")) {
		put("tab\there: \xC3\xA4\xC3\xB6 \xE2\x82\xAC \xF0\x9F\xA5\xA5 ~\n");
		for (const char *byte = "byte by byte: \xE2\x82\xAC\n"; *byte; byte++)
			CHECK_EQ(coconut_serial_write(byte, 1), 0);
	} else {
		put(FORGED);
		for (;;)
			;
	}
	return 0;
}
