/*
 * turns: who runs when a client of high priority calls a server of low priority while a shard in the middle is ready?
 * The middle, then the server. The client has the handles 0 to the middle, 1 to the server, 2 to the starter, who runs
 * when the others wait.
 *
 * And what does a CALL return while a message is waiting already? That message: "late" calls when "early" has sent one,
 * and "early" never answers.
 *
 * Read next: labs/16-fast-path/grader.py.
 */
#include "../../../tests/shards/expect.h"

#define ROUNDS 10
#define LOOPS 400000 /* some ms of instructions */

static void client(void) {
	int64_t middle, server;
	char byte = 'c';

	for (int round = 0; round < ROUNDS; round++) {
		CHECK_EQ(coconut_channel_recv(2, &byte, 1), 1);
		CHECK_EQ(coconut_channel_send(0, &byte, 1), 0);
		CHECK_EQ(coconut_channel_call(1, &byte, 1, &server, 8), 8);
		CHECK_EQ(coconut_channel_recv(0, &middle, 8), 8);
		CHECK(middle <= server);
	}
}

static void middle(void) {
	int64_t now;
	char byte;

	for (int round = 0; round < ROUNDS; round++) {
		CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
		for (uint64_t i = 0; i < LOOPS; i++)
			__asm__ volatile("");
		now = coconut_time();
		CHECK_EQ(coconut_channel_send(0, &now, 8), 0);
	}
}

static void server(void) {
	int64_t now;
	char byte;

	for (int round = 0; round < ROUNDS; round++) {
		CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
		now = coconut_time();
		CHECK_EQ(coconut_channel_send(0, &now, 8), 0);
	}
}

static void starter(void) {
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < 10; i++)
			coconut_yield();
		CHECK_EQ(coconut_channel_send(0, "g", 1), 0);
	}
}

static void early(void) {
	char byte;

	CHECK_EQ(coconut_channel_send(0, "e", 1), 0);
	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
}

static void late(void) {
	char byte = 'l';

	coconut_yield();
	CHECK_EQ(coconut_channel_call(0, &byte, 1, &byte, 1), 1);
	CHECK_EQ(byte, 'e');
}

int main(const char *args) {
	if (args[0] == 'e' || args[0] == 'l') {
		args[0] == 'e' ? early() : late();
		return 0;
	}
	args[0] == 'c' ? client() : args[0] == 'm' ? middle() : args[0] == 's' ? server() : starter();
	return 0;
}
