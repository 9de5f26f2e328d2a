/*
 * stale: what was looked up before others ran, or outlives whom it belongs to. args: the scene and the role. The
 * manifests stand in tests/test_stale.py, where the handles are numbered too.
 */
#include "../expect.h"

#define ALL (CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT)
#define TALK (CAP_RIGHT_SEND | CAP_RIGHT_RECV)
#define SELF "/t/stale"

static void get(uint64_t handle) {
	char message[COCONUT_MESSAGE_MAX];

	CHECK(coconut_channel_recv(handle, message, sizeof(message)) > 0);
}

static void put(uint64_t handle) { CHECK_EQ(coconut_channel_send(handle, "m", 1), 0); }

static void pause_for(int turns) {
	while (turns--)
		coconut_yield();
}

/* Lends the shard at the other end of handle 0, which helps by borrow(), a copy of handle 1 that can be taken back
 * without the loss of handle 1. Returns the handle to revoke for that. */
static uint64_t lend(uint64_t rights) {
	char mine;

	CHECK(coconut_cap_grant(1, 0, ALL) >= 0);
	put(0);
	CHECK_EQ(coconut_channel_recv(0, &mine, 1), 1);
	CHECK(coconut_cap_grant((uint64_t)mine, 0, rights) >= 0);
	put(0);
	return (uint64_t)mine;
}

/* The other side: `first` is where the copy arrives. What can be taken back arrives in the slot behind it. */
static void borrow(uint64_t first) {
	char back;

	get(0);
	back = (char)coconut_cap_grant(first, 0, ALL);
	CHECK(back >= 0);
	CHECK_EQ(coconut_channel_send(0, &back, 1), 0);
	get(0);
}

/* ---- half: in the first half of a CALL the capability is revoked, and its slot filled by one without RECV ---- */

static void half_owner(void) {
	uint64_t lent;

	get(0);
	lent = lend(TALK);
	pause_for(50); /* the other one fills the queue, and waits in its CALL */
	get(2);        /* its own end of the same channel: now there is room */
	CHECK_EQ(coconut_cap_revoke(lent), 0);
	CHECK_EQ(coconut_cap_grant(1, 0, CAP_RIGHT_SEND), 3); /* the same slot */
	put(2); /* what only who may receive there is to see */
	pause_for(50);
}

static void half_caller(void) {
	char reply[8];

	CHECK_EQ(coconut_cap_grant(1, 0, TALK), 2); /* the owner empties the queue by it */
	put(0);
	borrow(2);
	for (int i = 0; i < 4; i++)
		put(3);
	REFUSED(BADHANDLE, coconut_channel_call(3, "m", 1, reply, sizeof(reply)));
	REFUSED(RIGHTS, coconut_channel_recv(3, reply, sizeof(reply)));
}

/* ---- slot: two wait for one child; who comes first frees its slot, and fills it and the other's handle anew ---- */

static void slot_parent(void) {
	int64_t child = coconut_spawn(SELF, 8, "slot child 11", 13);

	CHECK(child >= 0);
	CHECK(coconut_cap_grant((uint64_t)child, 0, CAP_RIGHT_WAIT) == 3 &&
		coconut_cap_grant((uint64_t)child, 1, CAP_RIGHT_WAIT) == 2);
	put(0);
	put(1);
	get(0);
}

static void slot_first(void) {
	get(0);
	CHECK_EQ(coconut_wait(3), 11);
	int64_t child = coconut_spawn(SELF, 8, "slot child 22", 13);
	CHECK_EQ(coconut_cap_grant((uint64_t)child, 1, CAP_RIGHT_WAIT), 2);
	get(1);
	CHECK_EQ(coconut_wait((uint64_t)child), 22);
	put(0);
}

static void slot_second(void) {
	get(0);
	REFUSED(BADHANDLE, coconut_wait(2));
	put(1);
}

/* ---- caller: one that does not get to run is in a CALL at a lent end; it loses its capability, or its life, and the
 * end is free at once ---- */

static void caller_owner(int dies) {
	char answer;
	uint64_t lent = lend(TALK);

	get(2); /* the server says: somebody is in a CALL */
	if (dies)
		coconut_time(); /* the kernel kills the borrower (PROVOKE_kill) */
	else
		CHECK_EQ(coconut_cap_revoke(lent), 0);
	CHECK_EQ(coconut_channel_call(1, "m", 1, &answer, 1), 1);
}

static void caller_borrower(void) {
	char answer;

	borrow(1);
	REFUSED(BADHANDLE, coconut_channel_call(2, "m", 1, &answer, 1));
}

/* Handle 0: the end at which the two call; handle 1: to the owner. */
static void caller_server(void) {
	get(0);
	put(1);
	get(0);
	put(0);
}

/* ---- home: the home of the lent end dies meanwhile, and comes back; peer: the home of the other end does ---- */

static void home_owner(void) {
	char answer;

	if (coconut_channel_send(2, "first life?", 11) == 0 && coconut_channel_recv(2, &answer, 1) == 1 && answer == 'y') {
		lend(TALK);
		get(2);
		__asm__ volatile("ud2");
	}
	CHECK_EQ(coconut_channel_call(1, "m", 1, &answer, 1), 1);
}

static void home_borrower(void) {
	char answer;

	borrow(1);
	int64_t result = coconut_channel_call(2, "m", 1, &answer, 1);
	CHECK(result == -COCONUT_E_BADHANDLE || result == -COCONUT_E_CLOSED);
}

static void home_server(void) {
	char question[16];

	get(1);
	CHECK_EQ(coconut_channel_send(1, "y", 1), 0);
	get(0);
	put(1);
	while (coconut_channel_recv(1, question, sizeof(question)) == -COCONUT_E_CLOSED) /* until the next life asks */
		;
	CHECK_EQ(coconut_channel_send(1, "n", 1), 0);
	get(0);
	put(0);
}

/* The peer tells the owner by handle 1 that it is there, then that somebody is in a CALL. In its first life it dies
 * then. */
static void peer_server(void) {
	char request;

	put(1);
	get(0);
	put(1);
	if (coconut_channel_recv(1, &request, 1) == 1 && request == 'f') __asm__ volatile("ud2");
	put(0);
}

static void peer_owner(void) {
	char answer;

	get(2);
	lend(TALK);
	get(2);
	CHECK_EQ(coconut_channel_send(2, "f", 1), 0);
	while (coconut_channel_recv(2, &answer, 1) == -COCONUT_E_CLOSED)
		;
	CHECK_EQ(coconut_channel_send(2, "s", 1), 0);
	CHECK_EQ(coconut_channel_call(1, "m", 1, &answer, 1), 1);
}

/* ---- lost: each life sends three messages and dies; all of them arrive, then the end does ---- */

static void lost_sender(void) {
	for (int i = 0; i < 3; i++)
		put(0);
	__asm__ volatile("ud2");
}

static void lost_receiver(void) {
	for (int i = 0; i < 9; i++)
		get(0);
	char message;
	REFUSED(CLOSED, coconut_channel_recv(0, &message, 1));
	REFUSED(CLOSED, coconut_channel_send(0, "m", 1));
}

/* ---- unborn: a child that is killed before its first instruction has none ---- */

static void unborn_parent(void) {
	for (int i = 0; i < 3; i++) {
		int64_t child = coconut_spawn(SELF, 8, "unborn child", 12);
		CHECK(child >= 0);
		CHECK_EQ(coconut_kill((uint64_t)child), 0);
		CHECK_EQ(coconut_wait((uint64_t)child), -1);
	}
}

static void unborn_child(void) {
	coconut_puts("an instruction after KILL\n");
	for (;;)
		coconut_time();
}

/* ---- dying: a shard of low priority is killed while it gives back much memory; a spinner of middle priority is in the
 * way. The child has a child of its own, in the same state ---- */

static void dying_parent(void) {
	int64_t child = coconut_spawn(SELF, 8, "dying child", 11);

	CHECK_EQ(coconut_cap_grant((uint64_t)child, 0, CAP_RIGHT_WAIT | CAP_RIGHT_KILL), 2);
	while (coconut_mmap(0x50000000, 1000) == 0) { /* until the child has its frames */
		coconut_munmap(0x50000000, 1000);
		coconut_yield();
	}
	while (coconut_mmap(0x50000000, 1000)) /* until it gives them back */
		coconut_yield();
	put(1);
	coconut_wait((uint64_t)child);
}

static void dying_child(void) {
	while (coconut_mmap(COCONUT_LARGE_BASE, 12000)) /* its parent tries how much is left */
		coconut_yield();
	for (int turn = 0; turn < 20; turn++) /* until its parent has seen it */
		coconut_yield();
}

static void dying_spinner(void) {
	get(0);
	put(1);
	busy_wait(100);
}

static void dying_killer(void) {
	get(1);
	CHECK_EQ(coconut_kill(2), 0);
	CHECK_EQ(coconut_wait(2), 0); /* it had ended by itself */
	coconut_puts("the killer goes on\n");
}

/* ---- revoking: a message that is sent while a revocation is under way does not reach who has lost the right ---- */

static void revoking_owner(void) { /* 0: holder, 1: the end, 2: sender */
	uint64_t lent = lend(ALL);

	get(0); /* the holder's friend has a copy, and the holder is about to receive */
	pause_for(20);
	put(2);
	CHECK_EQ(coconut_cap_revoke(lent), 0);
	get(1); /* it is the owner's, now as ever */
	put(1);
}

static void revoking_holder(void) { /* 0: owner, 1: friend, 2 and 3: the end */
	char message;

	borrow(2);
	CHECK_EQ(coconut_cap_grant(3, 1, CAP_RIGHT_RECV), 1);
	put(0);
	REFUSED(BADHANDLE, coconut_channel_recv(3, &message, 1));
}

static void revoking_friend(void) {
	char message;

	coconut_channel_recv(0, &message, 1); /* until the holder has ended */
}

static void revoking_sender(void) { /* 0: the other end, 1: owner */
	char request = 'm', answer; /* on the stack: the fast path takes them */

	get(1);
	CHECK_EQ(coconut_channel_call(0, &request, 1, &answer, 1), 1);
}

/* ---- unmapped: the buffer that was offered for a message is unmapped before the next one ---- */

static void unmapped_client(void) {
	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 1), 0);
	char *reply = (char *)COCONUT_HEAP_BASE, request = 'm';
	for (int i = 0; i < 3; i++)
		CHECK_EQ(coconut_channel_call(0, &request, 1, reply, 8), 1);
	CHECK_EQ(coconut_munmap(COCONUT_HEAP_BASE, 1), 0);
	REFUSED(FAULT, coconut_channel_call(0, &request, 1, reply, 8));
}

static void unmapped_server(void) {
	char message[8];

	int64_t len = coconut_channel_recv(0, message, sizeof(message));
	while (len > 0)
		len = coconut_channel_call(0, message, (size_t)len, message, sizeof(message));
}

/* ---- create: the right to start shards is taken back while the kernel looks the program up ---- */

static void create_owner(void) { /* 0: borrower, 1: the right */
	CHECK_EQ(coconut_cap_grant(1, 0, CAP_RIGHT_CREATE), 1);
	put(0);
	coconut_yield();
	CHECK_EQ(coconut_cap_revoke(1), 0);
}

static void create_borrower(void) {
	get(0);
	REFUSED(RIGHTS, coconut_spawn(SELF, 8, "nudge", 5));
}

/* ---- nudge: sends 0 on handle 0 after a while, and 1 after another ---- */

static void nudge(void) {
	for (char i = 0; i < 2; i++) {
		busy_wait(200);
		coconut_channel_send(0, &i, 1);
	}
}

/* ---- rank: an urgent client wakes one of middle priority, then CALLs a server of low priority, which waits
 * already ---- */

static void rank_client(void) { /* 0: server, 1: middle */
	char request = 'm', answer;

	CHECK_EQ(coconut_channel_call(0, &request, 1, &answer, 1), 1);
	CHECK_EQ(coconut_channel_send(1, &request, 1), 0); /* from the stack, where the fast path takes messages from next */
	CHECK_EQ(coconut_channel_call(0, &request, 1, &answer, 1), 1);
}

static void rank_server(void) {
	char message;

	get(0);
	message = 'a';
	CHECK_EQ(coconut_channel_call(0, &message, 1, &message, 1), 1);
	coconut_puts("the server\n");
	put(0);
}

static void rank_middle(void) {
	get(0);
	coconut_puts("the one in the middle\n");
}

/* ---- beat: two others begin at the same time (handles 0 and 1), a third dies soon after (2), again and again ---- */

static void beat(void) {
	for (int i = 0; i < 6; i++) {
		busy_wait(60);
		coconut_channel_send(0, "m", 1);
		coconut_channel_send(1, "m", 1);
		busy_wait(50);
		coconut_channel_send(2, "m", 1);
		busy_wait(150);
	}
}

static void caller_loses(void) { caller_owner(0); }
static void caller_dies(void) { caller_owner(1); }

int main(const char *args) {
	static const struct {
		const char *name;
		void (*function)(void);
	} scenes[] = {
		{"half owner", half_owner}, {"half caller", half_caller},
		{"slot parent", slot_parent}, {"slot first", slot_first}, {"slot second", slot_second},
		{"caller owner", caller_loses}, {"caller killer", caller_dies}, {"caller borrower", caller_borrower},
		{"caller server", caller_server},
		{"home owner", home_owner}, {"home borrower", home_borrower}, {"home server", home_server},
		{"peer owner", peer_owner}, {"peer server", peer_server},
		{"lost sender", lost_sender}, {"lost receiver", lost_receiver},
		{"unborn parent", unborn_parent}, {"unborn child", unborn_child},
		{"dying parent", dying_parent}, {"dying child", dying_child}, {"dying spinner", dying_spinner},
		{"dying killer", dying_killer},
		{"revoking owner", revoking_owner}, {"revoking holder", revoking_holder}, {"revoking friend", revoking_friend},
		{"revoking sender", revoking_sender},
		{"unmapped client", unmapped_client}, {"unmapped server", unmapped_server},
		{"create owner", create_owner}, {"create borrower", create_borrower},
		{"nudge", nudge}, {"beat", beat},
		{"rank client", rank_client}, {"rank server", rank_server}, {"rank middle", rank_middle},
	};

	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		if (same(args, scenes[i].name)) {
			scenes[i].function();
			return 0;
		}
	if (!memcmp(args, "slot child ", 11)) {
		pause_for(args[11] == '1' ? 20 : 0);
		return args[11] == '1' ? 11 : 22;
	}
	CHECK(!"a scene");
	return 0;
}
