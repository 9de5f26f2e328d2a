/*
 * mix: random calls on a channel between two shards, "ask" and "answer", whose results do not depend on who is
 * preempted when: each waits for the other before it goes on. Prints one number that all results and all messages went
 * into, so that two kernels can be compared: one with the fast path of CALL and one without.
 *
 * Read next: ../../test_ipc.py.
 */
#include "../expect.h"

#define ROUNDS 4000
#define END 0xFF
#define REVOKE 0xFE /* the first byte of a request after which the other side gives up what was granted to it */
/* Two pages, so that buffers lie across their border now and then. */
#define ROOM ((uint8_t *)(uint64_t)COCONUT_HEAP_BASE)
#define NOWHERE ((void *)0x60000000UL)

struct side {
	uint64_t random, digest;
};

static void take_in(struct side *side, const void *data, int64_t len) {
	const uint8_t *bytes = data;

	for (int64_t i = 0; i < len; i++)
		side->digest = (side->digest ^ bytes[i]) * 0x100000001B3UL;
}

/* Takes in a result and, when it is the length of a message, the message. */
static int64_t result(struct side *side, int64_t value, const void *message) {
	take_in(side, &value, sizeof(value));
	take_in(side, message, message ? value : 0);
	return value;
}

/* A place for a message: mostly the same, sometimes across a page border, sometimes in the next page. */
static uint8_t *place(struct side *side, uint64_t base) {
	uint64_t where = (random_next(&side->random) >> 8) % 8;

	return ROOM + (where == 0 ? PAGE - 100 : where == 1 ? PAGE + base : base);
}

static uint8_t *fill(struct side *side, uint64_t *len) {
	uint8_t *message = place(side, 0);

	*len = (random_next(&side->random) >> 8) % 3 ? 2 + (random_next(&side->random) >> 8) % 30
						     : 2 + (random_next(&side->random) >> 8) % 255;
	for (uint64_t i = 0; i < *len; i++)
		message[i] = (uint8_t)((random_next(&side->random) >> 8) % REVOKE);
	return message;
}

/* Calls that must all be refused and change nothing. */
static void wrong_calls(struct side *side) {
	uint8_t *good = ROOM;

	result(side, coconut_channel_call(0, good, 0, good, 256), NULL);
	result(side, coconut_channel_call(0, good, 257, good, 256), NULL);
	result(side, coconut_channel_call(0, NOWHERE, 8, good, 256), NULL);
	result(side, coconut_channel_call(0, good, 8, NOWHERE, 256), NULL);
	result(side, coconut_channel_call(0, good, 8, good, 0), NULL);
	result(side, coconut_channel_call(0, good, 8, good, ~0UL), NULL);
	result(side, coconut_channel_call(3, good, 8, good, 256), NULL);
	result(side, coconut_channel_call(~0UL, good, 8, good, 256), NULL);
	result(side, coconut_channel_call(0, (void *)COCONUT_CODE_BASE, 8, (void *)COCONUT_CODE_BASE, 256), NULL);
}

static void ask(struct side *side) {
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t len, kind = (random_next(&side->random) >> 8) % 16;
		uint8_t *message = fill(side, &len), *reply = place(side, 2048);

		if (kind == 0) {
			wrong_calls(side);
		} else if (kind == 1) {
			result(side, coconut_cap_grant(0, 0, CAP_RIGHT_SEND | CAP_RIGHT_RECV), NULL);
			message[0] = REVOKE;
			result(side, coconut_channel_call(0, message, len, reply, 256), reply);
		} else if (kind == 2) { /* the answer is larger than the buffer, and stays */
			result(side, coconut_channel_call(0, message, len, reply, 1), NULL);
			result(side, coconut_channel_recv(0, reply, 256), reply);
		} else if (kind < 5) {
			result(side, coconut_channel_send(0, message, len), NULL);
			if (kind == 4) coconut_yield();
			result(side, coconut_channel_recv(0, reply, 256), reply);
		} else {
			result(side, coconut_channel_call(0, message, len, reply, 256), reply);
		}
	}
	ROOM[0] = END;
	result(side, coconut_channel_send(0, ROOM, 1), NULL);
}

static void answer(struct side *side) {
	uint8_t *request = place(side, 1024);

	result(side, coconut_channel_recv(0, request, 256), request);
	while (request[0] != END) {
		uint64_t len;
		uint8_t *message = fill(side, &len);

		if (request[0] == REVOKE) {
			result(side, coconut_cap_inspect(1), NULL);
			result(side, coconut_cap_revoke(1), NULL);
		}
		request = place(side, 1024);
		if ((random_next(&side->random) >> 8) % 4) {
			result(side, coconut_channel_call(0, message, len, request, 256), request);
		} else {
			result(side, coconut_channel_send(0, message, len), NULL);
			result(side, coconut_channel_recv(0, request, 256), request);
		}
	}
}

int main(const char *args) {
	struct side side = {.random = (uint64_t)args[1], .digest = 0xCBF29CE484222325};

	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 2), 0);
	if (same(args, "ask"))
		ask(&side);
	else
		answer(&side);
	print("mix: %s %lx\n", args, side.digest);
	return 0;
}
