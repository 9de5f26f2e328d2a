/*
 * turns: two shards that CALL each other. The manifest names them ask and answer, with a channel between them. args:
 * the role.
 *
 *   ask     asks ROUNDS times, each time with one byte more, from 1 byte on
 *   answer  answers each question with 100 bytes more than it has; all questions but the first come out of a CALL
 *
 * Read next: tests/test_trace.py, which knows these lengths.
 */
#include "../expect.h"

#define ROUNDS 40

int main(const char *args) {
	char buf[COCONUT_MESSAGE_MAX] = {0};

	if (same(args, "ask")) {
		for (uint64_t len = 1; len <= ROUNDS; len++)
			CHECK_EQ(coconut_channel_call(0, buf, len, buf, sizeof(buf)), (int64_t)len + 100);
		return 0;
	}
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 1);
	for (uint64_t len = 1; len < ROUNDS; len++)
		CHECK_EQ(coconut_channel_call(0, buf, len + 100, buf, sizeof(buf)), (int64_t)len + 1);
	CHECK_EQ(coconut_channel_send(0, buf, ROUNDS + 100), 0);
	return 0;
}
