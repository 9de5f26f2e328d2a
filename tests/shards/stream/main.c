/*
 * stream: numbered messages of random sizes and content. args: "role count seed", both sides with the same count and
 * seed.
 *
 *   out   sends `count` messages, then hears how many arrived       in    receives and checks them
 *   duplex  sends and receives at the same time, up to four messages ahead of the other side
 *
 * A message carries its number, its length and random bytes that both sides can compute, so that one that is lost,
 * doubled, reordered, cut or altered is seen by the receiver.
 */
#include "../expect.h"

#define HEADER 12 /* number, length */
#define WINDOW 4

/* Makes message number `i` of a stream. Returns its length. */
static size_t make(uint8_t *bytes, uint64_t i, uint64_t seed) {
	uint64_t random = (i + 1) * 0x9E3779B97F4A7C15 ^ seed;
	uint32_t len = HEADER + (uint32_t)(random_next(&random) % (COCONUT_MESSAGE_MAX - HEADER + 1));

	memcpy(bytes, &i, 8);
	memcpy(bytes + 8, &len, 4);
	for (uint32_t at = HEADER; at < len; at++)
		bytes[at] = (uint8_t)(random_next(&random) >> 56);
	return len;
}

static void send(uint64_t i, uint64_t seed) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];
	size_t len = make(bytes, i, seed);

	CHECK_EQ(coconut_channel_send(0, bytes, len), 0);
}

static void receive(uint64_t i, uint64_t seed) {
	uint8_t bytes[COCONUT_MESSAGE_MAX], wanted[COCONUT_MESSAGE_MAX];
	size_t len = make(wanted, i, seed);

	CHECK_EQ(coconut_channel_recv(0, bytes, sizeof(bytes)), len);
	CHECK(!memcmp(bytes, wanted, len));
}

/* Sends in bursts of random length, each side of its own, never more than the other side's queue and reading allow. */
static void duplex(uint64_t count, uint64_t seed) {
	for (uint64_t i = 0; i < count;) {
		uint64_t random = (i + 1) * seed, burst = 1 + random_next(&random) % WINDOW;
		if (burst > count - i) burst = count - i;
		for (uint64_t k = 0; k < burst; k++)
			send(i + k, seed);
		for (uint64_t k = 0; k < burst; k++)
			receive(i + k, seed);
		i += burst;
	}
}

int main(const char *args) {
	struct text role, word, value;
	uint64_t count = 0, seed = 0, arrived = 0;

	CHECK(args_next(&args, &role, &value));
	CHECK(args_next(&args, &word, &value) && text_to_u64(word, &count));
	CHECK(args_next(&args, &word, &value) && text_to_u64(word, &seed) && seed);
	if (text_equals(role, "duplex")) {
		duplex(count, seed);
	} else if (text_equals(role, "out")) {
		for (uint64_t i = 0; i < count; i++)
			send(i, seed);
		CHECK_EQ(coconut_channel_recv(0, &arrived, sizeof(arrived)), 8);
		CHECK_EQ(arrived, count);
	} else {
		uint8_t byte;
		for (; arrived < count; arrived++)
			receive(arrived, seed);
		CHECK_EQ(coconut_channel_send(0, &arrived, sizeof(arrived)), 0);
		REFUSED(CLOSED, coconut_channel_recv(0, &byte, 1)); /* nothing beyond the last message */
	}
	return 0;
}
