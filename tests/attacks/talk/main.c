/*
 * talk: shards that talk to each other, and what may go wrong then: one part for each life, which the args name,
 * optionally with a number, `NAME=COUNT`. It ends with 0, or with the number of the line of the first surprise.
 *
 * Handle 0 is the channel to the partner everywhere; tests/test_attacks.py writes the manifests.
 *
 * Read next: tests/test_attacks.py.
 */
#include "tests/shards/expect.h"

#define BUFFER 0x100000UL
#define SECRET "a secret of the first life"

static void send_text(uint64_t handle, const char *text) {
	CHECK_EQ(coconut_channel_send(handle, text, strlen(text) + 1), 0);
}

static void hear_text(uint64_t handle, const char *text) {
	char got[COCONUT_MESSAGE_MAX];

	CHECK_EQ(coconut_channel_recv(handle, got, sizeof(got)), strlen(text) + 1);
	CHECK(same(got, text));
}

/* Sends a command to a partner that dies and comes back, as soon as it is back. */
static void command(const char *text) {
	int tries = 1000000; /* a partner that has no life left does not come back */
	int64_t got;

	while ((got = coconut_channel_send(0, text, strlen(text) + 1)) == -COCONUT_E_CLOSED && tries--)
		coconut_yield();
	CHECK_EQ(got, 0);
}

/* ---- D1, E7, F3: a partner that ends ---- */

/* Makes the partner die while this shard receives, calls, and waits for room; each wait ends with E_CLOSED. */
static void ends(uint64_t cycles) {
	char answer[COCONUT_MESSAGE_MAX];

	for (uint64_t i = 0; i < cycles; i++) {
		int64_t got = 0;
		switch (i % 3) {
		case 0:
			command("fault late"); /* late enough for this shard to be waiting by then */
			REFUSED(CLOSED, coconut_channel_recv(0, answer, sizeof(answer)));
			break;
		case 1:
			command("more"); /* it lives: the next word reaches it */
			REFUSED(CLOSED, coconut_channel_call(0, "fault", 6, answer, sizeof(answer)));
			break;
		default:
			command("fault late");
			/* Its death is seen unless its next life has begun between two of these calls. */
			for (int sent = 0; got == 0 && sent < 50; sent++)
				got = coconut_channel_send(0, "more", 5);
			CHECK(got == 0 || got == -COCONUT_E_CLOSED);
		}
	}
	command("end");
	do {
		cycles = (uint64_t)coconut_channel_recv(0, answer, sizeof(answer));
	} while ((int64_t)cycles >= 0);
	REFUSED(CLOSED, (int64_t)cycles);
	REFUSED(CLOSED, coconut_channel_send(0, "x", 1));
	REFUSED(CLOSED, coconut_channel_call(0, "x", 1, answer, sizeof(answer)));
}

static void ends_peer(void) {
	char word[COCONUT_MESSAGE_MAX];

	for (;;) {
		CHECK(coconut_channel_recv(0, word, sizeof(word)) > 0);
		if (same(word, "end")) return;
		if (same(word, "fault late")) busy_wait(30);
		if (word[0] == 'f') __builtin_trap();
		CHECK(same(word, "more"));
	}
}

/* What was sent to the first life of the partner does not reach the second, and no message shows more than itself. */
static void residue(void) {
	char answer[16];

	send_text(0, "fault later");
	for (int i = 0; i < 3; i++)
		send_text(0, SECRET);
	REFUSED(CLOSED, coconut_channel_recv(0, answer, sizeof(answer)));
	command("short");
	command("end");
	REFUSED(CLOSED, coconut_channel_recv(0, answer, sizeof(answer)));
}

/* Lets the driver ../vram dirty its video memory and die, twice. */
static void vram(void) {
	char answer[16];

	for (int i = 0; i < 2; i++) {
		command("dirty");
		REFUSED(CLOSED, coconut_channel_recv(0, answer, sizeof(answer)));
	}
	command("end");
	REFUSED(CLOSED, coconut_channel_recv(0, answer, sizeof(answer)));
}

static void residue_peer(void) {
	char word[COCONUT_MESSAGE_MAX];

	for (;;) {
		memset(word, 0, sizeof(word));
		int64_t len = coconut_channel_recv(0, word, sizeof(word));
		CHECK(len > 0);
		for (size_t i = (size_t)len; i < sizeof(word); i++)
			CHECK_EQ(word[i], 0);
		if (same(word, "end")) return;
		if (same(word, "fault later")) {
			busy_wait(500); /* until the secrets are in the queue */
			__builtin_trap();
		}
		CHECK(same(word, "short"));
	}
}

/* ---- D2 to D5, D7, E5: messages ---- */

static void two_sends(void) {
	send_text(0, "first");
	send_text(0, "second");
	hear_text(0, "thanks");
}

static void two_sends_peer(void) {
	busy_wait(3);
	hear_text(0, "first");
	hear_text(0, "second");
	send_text(0, "thanks");
}

static void both_ways(void) {
	for (int round = 0; round < 50; round++) {
		for (char number = 0; number < 4; number++)
			CHECK_EQ(coconut_channel_send(0, &number, 1), 0);
		for (char number = 0; number < 4; number++) {
			char got = 99;
			CHECK_EQ(coconut_channel_recv(0, &got, 1), 1);
			CHECK_EQ(got, number);
		}
	}
}

static void small_buffer(void) {
	char answer[COCONUT_MESSAGE_MAX];

	for (size_t size = 1; size < 6; size++)
		REFUSED(TOOSMALL, coconut_channel_recv(0, answer, size));
	hear_text(0, "large");
	REFUSED(TOOSMALL, coconut_channel_call(0, "answer me", 10, answer, 3));
	hear_text(0, "an answer");
}

static void small_buffer_peer(void) {
	send_text(0, "large");
	hear_text(0, "answer me");
	send_text(0, "an answer");
}

/* Message number n: its length and its bytes follow from n. */
static size_t make_message(uint64_t n, uint8_t *bytes) {
	uint64_t state = n * 2 + 1;
	size_t len = 8 + random_next(&state) % (COCONUT_MESSAGE_MAX - 8 + 1);

	memcpy(bytes, &n, 8);
	for (size_t i = 8; i < len; i++)
		bytes[i] = (uint8_t)(n + i * 13);
	return len;
}

static void numbered(uint64_t count) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];

	for (uint64_t n = 0; n < count; n++)
		CHECK_EQ(coconut_channel_send(0, bytes, make_message(n, bytes)), 0);
}

static void numbered_peer(uint64_t count) {
	uint8_t bytes[COCONUT_MESSAGE_MAX], wanted[COCONUT_MESSAGE_MAX];

	for (uint64_t n = 0; n < count; n++) {
		size_t len = make_message(n, wanted);
		CHECK_EQ(coconut_channel_recv(0, bytes, sizeof(bytes)), len);
		CHECK(!memcmp(bytes, wanted, len));
	}
	REFUSED(CLOSED, coconut_channel_recv(0, bytes, sizeof(bytes)));
}

/* Keeps the others busy with preemptions until they have ended. */
static void spin(uint64_t rounds) {
	for (uint64_t i = 0; i < rounds; i++)
		busy_wait(1);
}

/* Handle 1 leads to a second holder of our end, handle 2 once more to the partner. */
static void two_holders(void) {
	char answer[16];
	uint64_t copy = (uint64_t)coconut_cap_grant(0, 1, CAP_RIGHT_SEND | CAP_RIGHT_RECV);

	CHECK_EQ(coconut_channel_send(1, &copy, sizeof(copy)), 0);
	hear_text(2, "asked"); /* the other holder is in its CALL now */
	for (int i = 0; i < 3; i++) {
		REFUSED(BUSY, coconut_channel_recv(0, answer, sizeof(answer)));
		REFUSED(BUSY, coconut_channel_call(0, "x", 1, answer, sizeof(answer)));
	}
	send_text(2, "answer it");
	hear_text(1, "answered");
	send_text(0, "again");
	hear_text(0, "once more");
}

static void two_holders_second(void) {
	char answer[16];
	uint64_t copy;

	CHECK_EQ(coconut_channel_recv(0, &copy, sizeof(copy)), sizeof(copy));
	CHECK_EQ(coconut_channel_call(copy, "question", 9, answer, sizeof(answer)), 7);
	CHECK(same(answer, "answer"));
	send_text(0, "answered");
	REFUSED(CLOSED, coconut_channel_recv(0, answer, sizeof(answer)));
}

static void two_holders_peer(void) {
	hear_text(0, "question");
	send_text(1, "asked");
	hear_text(1, "answer it");
	send_text(0, "answer");
	hear_text(0, "again");
	send_text(0, "once more");
}

/* More messages than a queue holds: the sender waits, nothing is overwritten. */
static void full_queue(void) {
	for (uint64_t n = 0; n < 40; n++)
		CHECK_EQ(coconut_channel_send(0, &n, sizeof(n)), 0);
}

static void full_queue_peer(void) {
	uint64_t got;

	for (uint64_t n = 0; n < 40; n++) {
		if (n % 10 == 0) busy_wait(30);
		CHECK_EQ(coconut_channel_recv(0, &got, sizeof(got)), sizeof(got));
		CHECK_EQ(got, n);
	}
}

/* ---- D6 ---- */

/* Waits at `handle` for a word that never comes: everybody in the circle does. */
static void circle(uint64_t handle) {
	char word[16];

	coconut_channel_recv(handle, word, sizeof(word));
}

/* ---- D8: the console ---- */

static void forge(void) {
	print("PANIC: this is a lie\n");
	print("Shard 0 (D8.forge) ended: code 0 after 1 ms, at most 1 frames\n");
	print("--- Shard Profiling Summary ---\n");
	print("\033[2J\033[31m\r\b\a\177 \xC2\x9B" "31m \x9B" "31m \xFF\xFE \xE2\x82 %c end\n", 0);
	print("coconutOS supervisor v0.6.1: all shards completed.\nHalting.\n");
	coconut_exit(3);
}

static void flood(void) {
	for (int i = 0; i < 300; i++)
		coconut_puts("flood flood flood flood flood flood flood flood flood ");
}

/* One line that nobody ends, and then silence for a while. */
static void endless_line(void) {
	for (int i = 0; i < 2000; i++)
		coconut_puts("x");
	busy_wait(30);
}

static void lines(void) {
	for (int i = 0; i < 200; i++)
		print("line %d of 200 is whole\n", i);
}

int main(const char *args) {
	struct text key, value;
	uint64_t count = 1;
	const struct {
		const char *name;
		void (*run)(void);
		void (*run_counted)(uint64_t count);
	} parts[] = {
		{"ends", NULL, ends}, {"ends.peer", ends_peer, NULL}, {"residue", residue, NULL}, {"vram", vram, NULL},
		{"residue.peer", residue_peer, NULL}, {"two", two_sends, NULL}, {"two.peer", two_sends_peer, NULL},
		{"both", both_ways, NULL}, {"small", small_buffer, NULL}, {"small.peer", small_buffer_peer, NULL},
		{"numbered", NULL, numbered}, {"numbered.peer", NULL, numbered_peer}, {"spin", NULL, spin},
		{"holders", two_holders, NULL}, {"holders.second", two_holders_second, NULL},
		{"holders.peer", two_holders_peer, NULL}, {"full", full_queue, NULL}, {"full.peer", full_queue_peer, NULL},
		{"circle", NULL, circle}, {"forge", forge, NULL}, {"flood", flood, NULL}, {"endless", endless_line, NULL},
		{"lines", lines, NULL},
	};

	CHECK(args_next(&args, &key, &value));
	if (value.start) CHECK(text_to_u64(value, &count));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!text_equals(key, parts[i].name)) continue;
		if (parts[i].run)
			parts[i].run();
		else
			parts[i].run_counted(count);
		return 0;
	}
	CHECK(!"a part of this name exists");
	return 1;
}
