/*
 * debugged: three shards in a state that tests/test_gdb.py knows. The manifest names them faulty, giver and taker, in
 * this order, with a channel between the last two. args: the role.
 *
 *   faulty  reads address 8 and is killed
 *   giver   maps two pages, sends two messages, grants the other its end of the channel with SEND, waits for an answer
 *   taker   stops in at_rest(), which gdb waits for; then answers, and hears the two messages
 */
#include "../expect.h"

static __attribute__((noinline)) int at_rest(void) { return coconut_serial_write("taker: at rest\n", 15) == 0; }

int main(const char *args) {
	char buf[COCONUT_MESSAGE_MAX];

	if (same(args, "faulty")) return *(volatile int *)8;
	if (same(args, "giver")) {
		CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 2), 0);
		CHECK_EQ(coconut_channel_send(0, "one", 3), 0);
		CHECK_EQ(coconut_channel_send(0, "three", 5), 0);
		CHECK_EQ(coconut_cap_grant(0, 0, CAP_RIGHT_SEND), 1);
		CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 2);
		return 0;
	}
	CHECK(at_rest());
	CHECK_EQ(coconut_channel_send(0, "ok", 2), 0);
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 3);
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 5);
	return 0;
}
