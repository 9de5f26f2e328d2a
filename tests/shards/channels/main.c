/*
 * channels: SEND, RECV and CALL between two shards, one scene a pair. args: the scene and the side, "order a" say.
 * Side a's handle 0 is its end of the only channel that the pair has.
 */
#include "../expect.h"

#define QUEUE 4 /* messages that a direction holds at least */

/* Sends a message of `len` bytes that all have the value `value`. */
static int64_t send(uint8_t value, size_t len) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];

	memset(bytes, value, sizeof(bytes));
	return coconut_channel_send(0, bytes, len);
}

/* Receives a message and checks that it has `len` bytes, all of the value `value`, and that nothing else was
 * written. */
static void expect(uint8_t value, int64_t len) {
	uint8_t bytes[COCONUT_MESSAGE_MAX + 16];

	memset(bytes, 0x5A, sizeof(bytes));
	CHECK_EQ(coconut_channel_recv(0, bytes, COCONUT_MESSAGE_MAX), len);
	for (int64_t i = 0; i < (int64_t)sizeof(bytes); i++)
		CHECK_EQ(bytes[i], i < len ? value : 0x5A);
}

/* ---- order: a queues messages of all sizes before b looks, b gets them in order and whole ---- */

static void order_a(void) {
	for (int i = 0; i < QUEUE; i++)
		CHECK_EQ(send((uint8_t)(i + 1), (size_t)(1 + i * 85)), 0);
	expect(99, 1);
	for (size_t len = 1; len <= COCONUT_MESSAGE_MAX; len++)
		CHECK_EQ(send((uint8_t)len, len), 0);
}

static void order_b(void) {
	busy_wait(30);
	for (int i = 0; i < QUEUE; i++)
		expect((uint8_t)(i + 1), 1 + i * 85);
	CHECK_EQ(send(99, 1), 0);
	for (int64_t len = 1; len <= COCONUT_MESSAGE_MAX; len++)
		expect((uint8_t)len, len);
}

/* ---- full: a sends more than the queue holds while b sleeps: a waits, and nothing is overwritten ---- */

static void full_a(void) {
	int64_t start = coconut_time();

	for (int i = 0; i < 10 * QUEUE; i++)
		CHECK_EQ(send((uint8_t)i, 8), 0);
	CHECK(coconut_time() - start >= 100); /* so it has waited for b */
}

static void full_b(void) {
	expect(0, 8);
	busy_wait(150);
	for (int i = 1; i < 10 * QUEUE; i++)
		expect((uint8_t)i, 8);
}

/* ---- small: a buffer that is too small for the message ---- */

static void small_a(void) {
	CHECK_EQ(send(1, 200), 0);
	CHECK_EQ(send(2, 256), 0);
	expect(3, 1);
	CHECK_EQ(send(4, 100), 0);
	expect(5, 1);
}

static void small_b(void) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];

	memset(bytes, 0x5A, sizeof(bytes));
	for (size_t max = 1; max < 200; max += 11)
		REFUSED(TOOSMALL, coconut_channel_recv(0, bytes, max));
	REFUSED(TOOSMALL, coconut_channel_recv(0, bytes, 199));
	for (size_t i = 0; i < sizeof(bytes); i++)
		CHECK_EQ(bytes[i], 0x5A);
	CHECK_EQ(coconut_channel_recv(0, bytes, 200), 200);
	REFUSED(TOOSMALL, coconut_channel_recv(0, bytes, 255));
	CHECK_EQ(coconut_channel_recv(0, bytes, 256), 256);
	/* In a CALL: the request goes out, the answer does not fit and stays. */
	REFUSED(TOOSMALL, coconut_channel_call(0, "\3", 1, bytes, 99));
	expect(4, 100);
	CHECK_EQ(send(5, 1), 0);
}

/* ---- both: both sides fill both directions at the same time; neither disturbs the other ---- */

static void both(uint8_t mine, uint8_t other) {
	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < QUEUE; i++)
			CHECK_EQ(send((uint8_t)(mine + i), (size_t)(mine + i)), 0);
		for (int i = 0; i < QUEUE; i++)
			expect((uint8_t)(other + i), other + i);
	}
}

/* ---- call: a client and a server that both use CALL only, after the first receive ---- */

#define CALLS 500

static void call_a(void) {
	uint32_t request[4], answer[4];

	for (uint32_t i = 0; i < CALLS; i++) {
		request[0] = i;
		CHECK_EQ(coconut_channel_call(0, request, 4, answer, sizeof(answer)), 8);
		CHECK_EQ(answer[0], i);
		CHECK_EQ(answer[1], i * i);
	}
}

static void call_b(void) {
	uint32_t request[2], answer[2];
	int64_t got = coconut_channel_recv(0, request, sizeof(request));

	for (uint32_t i = 0; i < CALLS; i++) {
		CHECK_EQ(got, 4);
		CHECK_EQ(request[0], i);
		answer[0] = i;
		answer[1] = i * i;
		got = coconut_channel_call(0, answer, 8, request, sizeof(request));
	}
	CHECK_EQ(got, -COCONUT_E_CLOSED); /* a has ended: nobody asks again */
}

/* ---- exit, death: b waits to receive when a goes away; what a had sent before still arrives ---- */

static void leave(void) {
	CHECK_EQ(send(7, 7), 0);
	busy_wait(30);
}

static void die(void) {
	leave();
	__asm__ volatile("ud2");
}

static void survive(void) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];

	busy_wait(10);
	expect(7, 7);
	REFUSED(CLOSED, coconut_channel_recv(0, bytes, sizeof(bytes)));
	REFUSED(CLOSED, coconut_channel_recv(0, bytes, sizeof(bytes)));
	REFUSED(CLOSED, send(1, 1));
	REFUSED(CLOSED, coconut_channel_call(0, "x", 1, bytes, sizeof(bytes)));
	REFUSED(CLOSED, coconut_cap_grant(0, 0, CAP_RIGHT_SEND));
	CHECK(coconut_cap_inspect(0) > 0); /* the handle itself stays */
}

/* ---- late: a has ended before b looks for the first time ---- */

static void late_b(void) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];

	busy_wait(200);
	expect(7, 7);
	REFUSED(CLOSED, coconut_channel_recv(0, bytes, sizeof(bytes)));
}

/* ---- stuffed: b is blocked in a SEND, and then in the first half of a CALL, when a goes away ---- */

static void stuffed_a(void) {
	while (coconut_cap_inspect(1) < 0) /* b grants something when it has filled the queue */
		coconut_yield();
	busy_wait(50);
}

static void stuffed_b(int call) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];

	for (int i = 0; i < QUEUE; i++)
		CHECK_EQ(send(1, 256), 0);
	CHECK_EQ(coconut_cap_grant(0, 0, CAP_RIGHT_SEND), 1);
	if (call)
		REFUSED(CLOSED, coconut_channel_call(0, "x", 1, bytes, sizeof(bytes)));
	else
		REFUSED(CLOSED, send(2, 256));
}

/* ---- asked: b waits for the answer of a CALL when a goes away ---- */

static void asked_a(void) {
	expect(1, 1);
	busy_wait(30);
}

static void asked_b(void) {
	uint8_t bytes[COCONUT_MESSAGE_MAX];

	REFUSED(CLOSED, coconut_channel_call(0, "\1", 1, bytes, sizeof(bytes)));
}

/* ---- nothing: a CALLs without room for an answer while b waits: nothing is sent, whatever was offered before ---- */

static void nothing_a(void) {
	char byte;

	busy_wait(30);
	REFUSED(INVAL, CALL(SYS_CHANNEL_CALL, 0, "\x63", 1, 0, 0)); /* it has never offered a buffer */
	CHECK_EQ(coconut_channel_call(0, "\1", 1, &byte, 1), 1);
	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 1), 0);
	CHECK_EQ(coconut_munmap(COCONUT_HEAP_BASE, 1), 0); /* which forgets what was offered, but for its address */
	busy_wait(30);
	REFUSED(INVAL, coconut_channel_call(0, "\x63", 1, &byte, 0));
	CHECK_EQ(send(2, 1), 0);
}

static void nothing_b(void) {
	expect(1, 1);
	CHECK_EQ(send(3, 1), 0);
	expect(2, 1);
}

int main(const char *args) {
	if (same(args, "order a"))
		order_a();
	else if (same(args, "order b"))
		order_b();
	else if (same(args, "full a"))
		full_a();
	else if (same(args, "full b"))
		full_b();
	else if (same(args, "small a"))
		small_a();
	else if (same(args, "small b"))
		small_b();
	else if (same(args, "both a"))
		both(10, 50);
	else if (same(args, "both b"))
		both(50, 10);
	else if (same(args, "call a"))
		call_a();
	else if (same(args, "call b"))
		call_b();
	else if (same(args, "exit a") || same(args, "late a"))
		leave();
	else if (same(args, "death a"))
		die();
	else if (same(args, "exit b") || same(args, "death b"))
		survive();
	else if (same(args, "late b"))
		late_b();
	else if (same(args, "stuffed a") || same(args, "stuck a"))
		stuffed_a();
	else if (same(args, "stuffed b"))
		stuffed_b(0);
	else if (same(args, "stuck b"))
		stuffed_b(1);
	else if (same(args, "asked a"))
		asked_a();
	else if (same(args, "asked b"))
		asked_b();
	else if (same(args, "nothing a"))
		nothing_a();
	else if (same(args, "nothing b"))
		nothing_b();
	else
		return 1;
	return 0;
}
