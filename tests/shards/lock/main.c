/*
 * lock: waits that may never end. args: what to do on the handles, in order:
 *
 *   r0 s1  receive on handle 0, send on handle 1      f0  send until the queue is full and beyond
 *   w      work for 700 ms
 *   c0     CALL on handle 0, exit with the error      x   exit with 0 at once
 *   g0     receive on handle 0, whatever comes of it         p2  give handle 0 to whoever is at handle 2
 */
#include "../expect.h"

int main(const char *args) {
	char buf[COCONUT_MESSAGE_MAX];
	int64_t outcome = 0;

	for (; *args; args++) {
		uint64_t handle = (uint64_t)(args[1] - '0');
		if (*args == 'r')
			CHECK(coconut_channel_recv(handle, buf, sizeof(buf)) > 0);
		else if (*args == 's')
			CHECK_EQ(coconut_channel_send(handle, "m", 1), 0);
		else if (*args == 'c')
			outcome = coconut_channel_call(handle, "m", 1, buf, sizeof(buf));
		else if (*args == 'g')
			coconut_channel_recv(handle, buf, sizeof(buf));
		else if (*args == 'p')
			CHECK(coconut_cap_grant(0, handle, CAP_RIGHT_SEND | CAP_RIGHT_RECV) >= 0);
		else if (*args == 'w')
			busy_wait(700);
		else if (*args == 'x')
			return 0;
		if (outcome < 0) return (int)-outcome;
		while (*args == 'f')
			CHECK_EQ(coconut_channel_send(handle, "m", 1), 0);
	}
	return 0;
}
