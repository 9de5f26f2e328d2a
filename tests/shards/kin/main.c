/*
 * kin: shards that are killed by somebody else than their parent, and parents that end before their children.
 *
 *   keeper   spawns children and grants the capabilities for two of them to the hunter; ends with a strange code
 *   hunter   kills one of them, which is ready and of a lower priority, and waits for another
 *   spin     computes for ever      brief    computes for a while
 *   file     runs the corners of paths and of what is missing
 */
#include "../expect.h"

#define SELF "/t/kin"
#define CHILDREN 5

static int64_t spawn(const char *args) { return coconut_spawn(SELF, strlen(SELF), args, strlen(args)); }

/* Handle 0 is the channel, handle 1 the right to spawn. */
static int keeper(void) {
	int64_t child[CHILDREN];
	char answer;

	for (int i = 0; i < CHILDREN; i++) {
		child[i] = spawn(i == 0 ? "brief" : "spin");
		CHECK(child[i] > 1);
	}
	coconut_yield();
	char handles[3];
	for (int i = 0; i < 3; i++) {
		int64_t there = coconut_cap_grant((uint64_t)child[i], 0, CAP_RIGHT_WAIT | CAP_RIGHT_KILL);
		CHECK(there >= 0);
		handles[i] = (char)there;
	}
	CHECK_EQ(coconut_channel_send(0, handles, sizeof(handles)), 0);
	/* Whoever waits last finds the capability gone. */
	coconut_wait((uint64_t)child[0]);
	CHECK_EQ(coconut_channel_recv(0, &answer, 1), 1);
	REFUSED(NOENT, coconut_spawn("/none", 5, "", 0));
	REFUSED(NOTFILE, coconut_spawn("/t", 2, "", 0));
	REFUSED(INVAL, coconut_spawn("none", 4, "", 0));
	return -5;
}

static int hunter(void) {
	char handles[3];

	CHECK_EQ(coconut_channel_recv(0, handles, sizeof(handles)), 3);
	CHECK_EQ(coconut_kill((uint64_t)handles[2]), 0);
	CHECK_EQ(coconut_kill((uint64_t)handles[1]), 0);
	CHECK_EQ(coconut_wait((uint64_t)handles[0]), 0);
	CHECK_EQ(coconut_channel_send(0, "d", 1), 0);
	return 0;
}

static int file(void) {
	char buf[3000];

	REFUSED(NODEV, coconut_gpu_unveil(0, 4096));
	REFUSED(NODEV, coconut_gpu_dma(0, 0, 1));
	CHECK(coconut_fs_open("//t///kin", 9) >= 0);
	REFUSED(NOTFILE, coconut_fs_open("/t/", 3));
	REFUSED(NOTFILE, coconut_fs_open("/", 1));
	REFUSED(NOENT, coconut_fs_open("/t/kin/", 7));
	int64_t fd = coconut_fs_open("/hole", 5);
	CHECK(fd >= 0);
	while (coconut_fs_read((uint64_t)fd, buf, sizeof(buf)) > 0)
		;
	return 0;
}

int main(const char *args) {
	if (same(args, "keeper")) return keeper();
	if (same(args, "hunter")) return hunter();
	if (same(args, "file")) return file();
	if (same(args, "brief")) busy_wait(200);
	while (same(args, "spin"))
		;
	return 0;
}
