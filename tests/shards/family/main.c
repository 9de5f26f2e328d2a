/*
 * family: shards that start shards, and what others can take from them. args:
 *
 *   hog=N        starts as many as it can, which must be N, then lets its peer on handle 0 try; ends when that has
 *   neighbour    starts a few when its peer says so
 *   full=N       has N capabilities of its own; starts a shard when its peer on handle 0 has filled what it can
 *   filler=N     grants to its peer on handle 0 what it can, which must be N copies
 *   child        waits for its end
 */
#include "../expect.h"

static int64_t start(void) { return coconut_spawn("/t/family", 9, "child", 5); }

static void hog(uint64_t wanted) {
	uint64_t count = 0;
	int64_t got;
	char byte;

	while ((got = start()) >= 0) {
		CHECK_EQ(coconut_cap_revoke((uint64_t)got), 0); /* it lives on */
		count++;
		if (count < wanted) continue;
		REFUSED(QUOTA, start());
		break;
	}
	CHECK_EQ(count, wanted);
	CHECK_EQ(coconut_channel_send(0, "m", 1), 0);
	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
}

static void neighbour(void) {
	char byte;

	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	for (int i = 0; i < 3; i++) {
		int64_t child = start();
		CHECK(child >= 0);
		REFUSED(QUOTA, start()); /* spawn=1 */
		CHECK_EQ(coconut_kill((uint64_t)child), 0);
		CHECK_EQ(coconut_wait((uint64_t)child), -1);
	}
	CHECK_EQ(coconut_channel_send(0, "m", 1), 0);
}

static void full(uint64_t own) {
	char byte;

	CHECK(coconut_cap_inspect(own - 1) >= 0);
	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	int64_t child = start();
	CHECK(child >= 0);
	CHECK_EQ(coconut_kill((uint64_t)child), 0);
	CHECK_EQ(coconut_wait((uint64_t)child), -1);
}

static void filler(uint64_t wanted) {
	for (uint64_t i = 0; i < wanted; i++)
		CHECK(coconut_cap_grant(0, 0, CAP_RIGHT_SEND) >= 0);
	REFUSED(FULL, coconut_cap_grant(0, 0, CAP_RIGHT_SEND));
	CHECK_EQ(coconut_channel_send(0, "m", 1), 0);
	char byte;
	REFUSED(CLOSED, coconut_channel_recv(0, &byte, 1));
}

int main(const char *args) {
	struct text word, value;
	uint64_t number = 0;

	CHECK(args_next(&args, &word, &value));
	if (value.len) CHECK(text_to_u64(value, &number));
	if (text_equals(word, "hog"))
		hog(number);
	else if (text_equals(word, "neighbour"))
		neighbour();
	else if (text_equals(word, "full"))
		full(number);
	else if (text_equals(word, "filler"))
		filler(number);
	else
		for (;;)
			coconut_yield();
	return 0;
}
