/*
 * late: takes a capability away from a shard that is inside a call on it, but does not wait yet. args: "lender",
 * "other", or "borrower" with its call: r(ecv), s(end) or c(all). Only in a build in which every preemption point lets
 * others run (PROVOKE_preempt) the two take turns as they must for that: the borrower's buffer begins at a multiple of
 * 64 KiB, where the kernel looks up while it checks the buffer.
 *
 * Read next: ../../../channel.c.
 */
#include "../expect.h"

#define BUFFER ((char *)0x200000)

/* Lends its end of channel 1, has the borrower begin its call, and takes the end back. */
static int lender(void) {
	int64_t there = coconut_cap_grant(1, 0, CAP_RIGHT_SEND | CAP_RIGHT_RECV);
	char handle = (char)there, answer;

	CHECK(there >= 0);
	CHECK_EQ(coconut_channel_send(0, &handle, 1), 0);
	CHECK_EQ(coconut_yield(), 0);
	CHECK_EQ(coconut_cap_revoke(1), 0);
	CHECK_EQ(coconut_channel_recv(0, &answer, 1), 1);
	return 0;
}

static int borrower(char call) {
	char handle;

	CHECK_EQ(coconut_mmap((uint64_t)BUFFER, 1), 0);
	CHECK_EQ(coconut_channel_recv(0, &handle, 1), 1);
	if (call == 'r')
		REFUSED(BADHANDLE, coconut_channel_recv((uint64_t)handle, BUFFER, 256));
	else if (call == 's')
		REFUSED(BADHANDLE, coconut_channel_send((uint64_t)handle, BUFFER, 256));
	else
		REFUSED(BADHANDLE, coconut_channel_call((uint64_t)handle, BUFFER, 256, BUFFER, 256));
	CHECK_EQ(coconut_channel_send(0, "d", 1), 0);
	return 0;
}

/* Has the other end of what is lent, and keeps it open to the end. */
static int other(void) {
	char message;

	REFUSED(CLOSED, coconut_channel_recv(0, &message, 1));
	return 0;
}

int main(const char *args) {
	return args[0] == 'l' ? lender() : args[0] == 'o' ? other() : borrower(args[sizeof("borrower ") - 1]);
}
