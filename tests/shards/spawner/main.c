/*
 * spawner: SPAWN answers each failure with an error of its own, and each leaves nothing behind.
 *
 *   refused   what is wrong with a file, the quota of frames, the table of capabilities; `frames` has to be 100
 *   nomem     the machine has no frame left; `frames` has to be more than it has
 *   sleep     a child that does not end
 */
#include "../expect.h"

#define SELF "/t/spawner"
#define AT COCONUT_LARGE_BASE
#define FRAMES 150 /* the manifest's */

static int64_t spawn(const char *path) { return coconut_spawn(path, strlen(path), "sleep", 5); }

/* Maps what a quota or the machine allows, in halves. Returns the number of pages. */
static uint64_t take_all(void) {
	uint64_t pages = 0;

	for (uint64_t step = 1 << 20; step; step /= 2)
		while (coconut_mmap(AT + pages * PAGE, step) == 0)
			pages += step;
	return pages;
}

/* With every page fewer that the shard has, SPAWN gets one step further, and its error stays `error` until it succeeds.
 * The child dies at once. */
static void give_back(uint64_t pages, int64_t error) {
	int64_t child = error;
	uint64_t left = pages;

	for (; left && child == error; left--) {
		child = spawn(SELF);
		CHECK_EQ(coconut_munmap(AT + (left - 1) * PAGE, 1), 0);
	}
	CHECK(child >= 0 && pages - left > 5);
	CHECK_EQ(coconut_kill((uint64_t)child), 0);
	CHECK_EQ(coconut_wait((uint64_t)child), -1);
	CHECK_EQ(coconut_munmap(AT, left), 0);
}

static int refused(void) {
	REFUSED(NOENT, spawn("/none"));
	REFUSED(NOTFILE, spawn("/t"));
	REFUSED(INVAL, spawn("none"));
	REFUSED(NOEXEC, spawn("/empty"));
	REFUSED(NOEXEC, spawn("/elf"));
	REFUSED(NOEXEC, spawn("/large"));
	REFUSED(IO, spawn("/damaged"));
	uint64_t pages = take_all();
	CHECK(pages > 10 && pages < FRAMES);
	give_back(pages, -COCONUT_E_QUOTA);
	/* Of all slots for capabilities the first has the right to SPAWN. */
	for (uint64_t handle = 1; handle < COCONUT_CAP_SLOTS; handle++)
		CHECK_EQ(spawn("/t/ok"), handle);
	REFUSED(FULL, spawn("/t/ok"));
	for (uint64_t handle = 1; handle < COCONUT_CAP_SLOTS; handle++)
		CHECK_EQ(coconut_wait(handle), 0);
	return 0;
}

int main(const char *args) {
	if (same(args, "sleep"))
		for (;;)
			coconut_yield();
	if (same(args, "refused")) return refused();
	give_back(take_all(), -COCONUT_E_NOMEM);
	return 0;
}
