/*
 * meek: a shard that others come before. args:
 *
 *   work    says four times on handle 0 at what time it ran, at most once in 10 ms, then computes; exit code 1 when its
 *           work was done before that of the hog at the other end
 *   wake    wakes the shard at the other end, which must run before this one goes on       sleep    is that shard
 *
 * Read next: labs/14-scheduling/grader.py.
 */
#include "../../../tests/shards/expect.h"

#define LOOPS 2500000 /* about 100 ms of instructions of 8 ns */
#define ROUNDS 5
#define AT_ONCE_MS 3

/* Sends a time stamp whenever more than 10 ms have passed since the last one. */
static int work(void) {
	int64_t now = coconut_time(), last = now, hog;
	int told = 1;

	CHECK_EQ(coconut_channel_send(0, &now, 8), 0);
	for (uint64_t i = 0; i < LOOPS; i++) {
		if (told < 4 && i % 1024 == 0 && (now = coconut_time()) > last + 10) {
			CHECK_EQ(coconut_channel_send(0, &now, 8), 0);
			told++;
		}
		last = i % 1024 == 0 ? now : last;
		__asm__ volatile("");
	}
	now = coconut_time();
	for (; told < 4; told++)
		CHECK_EQ(coconut_channel_send(0, &now, 8), 0);
	CHECK_EQ(coconut_channel_recv(0, &hog, 8), 8);
	return now < hog;
}

static int wake(void) {
	int64_t stamp, heard;

	for (int round = 0; round < ROUNDS; round++) {
		stamp = coconut_time();
		CHECK_EQ(coconut_channel_send(0, &stamp, 8), 0);
		for (uint64_t i = 0; i < LOOPS / 4; i++)
			__asm__ volatile("");
		CHECK_EQ(coconut_channel_recv(0, &heard, 8), 8);
		CHECK(heard - stamp <= AT_ONCE_MS);
	}
	return 0;
}

static int wait_for_wakes(void) {
	int64_t stamp;

	for (int round = 0; round < ROUNDS; round++) {
		CHECK_EQ(coconut_channel_recv(0, &stamp, 8), 8);
		stamp = coconut_time();
		CHECK_EQ(coconut_channel_send(0, &stamp, 8), 0);
	}
	return 0;
}

int main(const char *args) { return args[1] == 'o' ? work() : args[0] == 'w' ? wake() : wait_for_wakes(); }
