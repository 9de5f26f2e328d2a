/* callcost: the client makes round trips by CALL, then by SEND and RECV; its exit code is what the first cost in
 * percent of the second, or 2000 when an answer is wrong. The grader lets QEMU count instructions, so that time is a
 * count of them. Read next: labs/16-fast-path/grader.py. */
#include "../../../tests/shards/expect.h"

#define ROUNDS 4000
#define WRONG 2000

/* One round trip by each way. Returns whether the answer is the request plus one. */
static int by_call(uint64_t i) {
	uint64_t reply = 0;

	return coconut_channel_call(0, &i, 8, &reply, 8) == 8 && reply == i + 1;
}

static int by_pair(uint64_t i) {
	uint64_t reply = 0;

	return coconut_channel_send(0, &i, 8) == 0 && coconut_channel_recv(0, &reply, 8) == 8 && reply == i + 1;
}

static uint64_t measure(int (*round_trip)(uint64_t)) {
	int64_t start;

	coconut_yield();
	start = coconut_time();
	for (uint64_t i = 1; i <= ROUNDS; i++)
		if (!round_trip(i * 3)) coconut_exit(WRONG);
	return (uint64_t)(coconut_time() - start);
}

static int client(void) {
	uint64_t zero = 0, call, pair;

	call = measure(by_call);
	CHECK_EQ(coconut_channel_send(0, &zero, 8), 0); /* now by SEND and RECV */
	pair = measure(by_pair);
	return pair ? (int)(call * 100 / pair) : WRONG;
}

static int server(void) {
	uint64_t number, reply;

	CHECK_EQ(coconut_channel_recv(0, &number, 8), 8);
	while (number) {
		reply = number + 1;
		CHECK_EQ(coconut_channel_call(0, &reply, 8, &number, 8), 8);
	}
	while (coconut_channel_recv(0, &number, 8) == 8) {
		reply = number + 1;
		CHECK_EQ(coconut_channel_send(0, &reply, 8), 0);
	}
	return 0;
}

int main(const char *args) { return args[0] == 'c' ? client() : server(); }
