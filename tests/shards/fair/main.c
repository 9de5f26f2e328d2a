/*
 * fair: does one kind of work until some time, so that the test can see who gets how much of the CPU. args: the kind,
 * and the millisecond at which it ends; children get args of their own.
 *
 * Read next: tests/test_fair.py, which looks at the trace.
 */
#include "../expect.h"

#define MAPPING 0x50000000

/* Whether there is time left; the kinds differ in what they do between two looks. */
static int working(int64_t until) { return coconut_time() < until; }

static void compute(int64_t until) {
	while (working(until))
		for (int i = 0; i < 20000; i++)
			__asm__ volatile("");
}

static void calls(int64_t until) {
	while (working(until))
		for (int i = 0; i < 100; i++)
			__asm__ volatile("");
}

static void map(int64_t until) {
	uint64_t file = (uint64_t)coconut_fs_open("/big", 4), pages = ((uint64_t)coconut_fs_stat(file) + PAGE - 1) / PAGE;

	while (working(until)) {
		CHECK(coconut_fs_map(file, MAPPING) > 0);
		CHECK_EQ(coconut_munmap(MAPPING, pages), 0);
	}
}

static void read(int64_t until) {
	CHECK_EQ(coconut_mmap(COCONUT_LARGE_BASE, 64), 0);
	while (working(until)) {
		int64_t file = coconut_fs_open("/big", 4);
		CHECK(coconut_fs_read((uint64_t)file, (void *)COCONUT_LARGE_BASE, 64 * PAGE) > 0);
		coconut_fs_close((uint64_t)file);
	}
}

static void memory(int64_t until) {
	while (working(until)) {
		CHECK_EQ(coconut_mmap(MAPPING, 500), 0);
		CHECK_EQ(coconut_munmap(MAPPING, 500), 0);
	}
}

static void say(int64_t until) {
	while (working(until))
		coconut_puts("a line of a shard that prints, and prints, and prints again\n");
}

/* Prints more than it writes, at each second call: the kernel has held back the beginning of a euro sign. */
static void euros(int64_t until) {
	while (working(until)) {
		coconut_serial_write("\xE2\x82", 2);
		coconut_serial_write("\xAC is a euro sign", 15);
	}
}

static void spawn(int64_t until) {
	while (working(until)) {
		int64_t child = coconut_spawn("/t/fair", 7, "child", 5);
		CHECK(child >= 0);
		CHECK_EQ(coconut_wait((uint64_t)child), 0);
	}
}

/* Starts one child after the other, which exit at once, and computes until each has ended: its own WAIT never waits. */
static void parent(int64_t until) {
	while (working(until)) {
		int64_t child = coconut_spawn("/t/fair", 7, "child", 5);
		CHECK(child >= 0);
		compute(coconut_time() + 12);
		CHECK_EQ(coconut_wait((uint64_t)child), 0);
	}
}

/* Computes for a third of a tick, then lets others go first: what is left of the tick falls to somebody else. */
static void nap(int64_t until) {
	while (working(until)) {
		for (int i = 0; i < 56000; i++)
			__asm__ volatile("");
		coconut_yield();
	}
}

static void map_once(int64_t unused) {
	(void)unused;
	CHECK(coconut_fs_map((uint64_t)coconut_fs_open("/big", 4), MAPPING) > 0);
}

/* The two sides of a pair that CALLs for ever. */
static void ask(int64_t until) {
	char byte = 'm';

	while (working(until))
		CHECK_EQ(coconut_channel_call(0, &byte, 1, &byte, 1), 1);
}

static void answer(int64_t unused) {
	char byte;

	(void)unused;
	for (int64_t len = coconut_channel_recv(0, &byte, 1); len > 0;)
		len = coconut_channel_call(0, &byte, 1, &byte, 1);
}

int main(const char *args) {
	static const struct {
		const char *name;
		void (*work)(int64_t until);
	} kinds[] = {{"compute", compute}, {"calls", calls}, {"map", map}, {"read", read}, {"memory", memory}, {"say", say},
		     {"euros", euros},
		     {"spawn", spawn}, {"parent", parent}, {"nap", nap}, {"once", map_once}, {"ask", ask}, {"answer", answer}};
	struct text word, value;
	uint64_t end = 0;

	if (same(args, "child")) return 0;
	CHECK(args_next(&args, &word, &value));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (text_equals(word, kinds[i].name)) {
			CHECK(args_next(&args, &word, &value) && text_to_u64(word, &end));
			kinds[i].work((int64_t)end);
			return 0;
		}
	return 1;
}
