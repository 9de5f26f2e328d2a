/*
 * turns: two shards that CALL each other. The manifest names them ask and answer, with a channel between them. args:
 * the role, and for how many rounds of a loop to compute after each message, 0 when it is left out.
 *
 *   ask     asks ROUNDS times, each time with one byte more, from 1 byte on
 *   answer  answers each question with 100 bytes more than it has; all questions but the first come out of a CALL
 *
 * Read next: tests/test_trace.py, which knows these lengths.
 */
#include "../expect.h"

#define ROUNDS 40

/* Checks the length of the message that has come, then computes for `work` rounds without a system call. */
static void came(int64_t len, uint64_t expected, uint64_t work) {
	CHECK_EQ(len, expected);
	for (uint64_t i = 0; i < work; i++)
		__asm__ volatile("");
}

int main(const char *args) {
	char buf[COCONUT_MESSAGE_MAX] = {0};
	struct text role, word, value;
	uint64_t work = 0;

	CHECK(args_next(&args, &role, &value));
	if (args_next(&args, &word, &value)) CHECK(text_to_u64(word, &work));
	if (text_equals(role, "ask")) {
		for (uint64_t len = 1; len <= ROUNDS; len++)
			came(coconut_channel_call(0, buf, len, buf, sizeof(buf)), len + 100, work);
		return 0;
	}
	came(coconut_channel_recv(0, buf, sizeof(buf)), 1, work);
	for (uint64_t len = 1; len < ROUNDS; len++)
		came(coconut_channel_call(0, buf, len + 100, buf, sizeof(buf)), len + 1, work);
	CHECK_EQ(coconut_channel_send(0, buf, ROUNDS + 100), 0);
	return 0;
}
