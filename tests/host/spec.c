/*
 * Tests of the specification, tests/spec: small scenes that are played on it alone, and its set of capabilities
 * against the table of cap.c, over random operations.
 *
 * The calls at the end of cap.c need the rest of the kernel and are not made here, so what they refer to may stay
 * unresolved.
 *
 * Read next: tests/replay/replay.c.
 *
 * SOURCES: cap.c tests/spec/call.c tests/spec/capability.c tests/spec/channel.c tests/spec/life.c tests/spec/memory.c tests/spec/order.c
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#define end kernel_end /* both have a struct of that name */
#include "kernel.h"
#undef end
#include "tests/spec/spec.h"
#include "check.h"

void interrupt_point(void) {}

#define ALL (CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT)
#define BUFFER STACK_PAGE
#define CHILD 5 /* a slot behind the lines */

enum { ANN, BOB, CID, DAN, SHARDS };

/* Four shards, each alive. Channels: ann and bob, bob and cid, ann and cid. So ann has handle 0 to bob and 1 to cid,
 * bob 0 to ann and 1 to cid, cid 0 to bob and 1 to ann. Ann may SPAWN, by her handle 2. Dan has no channel. */
static void begin(void) {
	static const int homes[] = {ANN, BOB, BOB, CID, ANN, CID};

	memset(&world, 0, sizeof(world));
	for EACH_LIFE (life)
		life->slot = (int)(life - world.life);
	world.lines = SHARDS;
	world.ends = ARRAY_LENGTH(homes);
	for (int e = 0; e < world.ends; e++)
		world.end[e] = (struct end){.home = homes[e], .caller = NOBODY};
	for (int i = 0; i < SHARDS; i++)
		world.line[i] = (struct line){.priority = 2, .after = NOBODY, .spawn = i == ANN, .frames = 10, .children = 1,
			.restart = 1};
	for (int i = 0; i < SHARDS; i++) {
		CHECK(!spec_make(i, NOBODY) && !spec_born(i, COCONUT_CODE_BASE + 1));
		spec_open(i);
	}
}

/* A shard looks at its call. */
static int64_t look(int slot) {
	int64_t result = spec_step(&world.life[slot]);

	if (result == HALFWAY) result = spec_step(&world.life[slot]);
	if (result == WAITS)
		CHECK(!spec_sleeps(&world.life[slot]));
	else
		world.life[slot].in_call = false;
	return result;
}

static int64_t call(int slot, uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e) {
	spec_begin(&world.life[slot], number, (uint64_t[]){a, b, c, d, e});
	return look(slot);
}

/* True when somebody sleeps whose call could go on. */
static bool somebody_oversleeps(void) {
	for EACH_LIFE (life)
		if (spec_oversleeps(life)) return true;
	return false;
}

/* A sleeper is woken and looks again. */
static int64_t wake(int slot) {
	CHECK(world.life[slot].asleep);
	world.life[slot].asleep = false;
	return look(slot);
}

static int64_t grant(int slot, uint64_t handle, uint64_t channel, uint64_t rights) {
	return call(slot, SYS_CAP_GRANT, handle, channel, rights, 0, 0);
}

static int64_t send(int slot, uint64_t handle, uint64_t len) {
	return call(slot, SYS_CHANNEL_SEND, handle, BUFFER, len, 0, 0);
}

static int64_t receive(int slot, uint64_t handle, uint64_t max) {
	return call(slot, SYS_CHANNEL_RECV, handle, BUFFER, max, 0, 0);
}

static int64_t ask(int slot, uint64_t handle, uint64_t len) {
	return call(slot, SYS_CHANNEL_CALL, handle, BUFFER, len, BUFFER, 256);
}

/* Frees all handles whose capabilities are gone, as the end of a REVOKE does. */
static void release_all(void) {
	for (int i = world.caps - 1; i >= 0; i--)
		if (world.cap[i].gone) CHECK(!spec_release(world.cap[i].holder, (uint64_t)world.cap[i].handle));
}

static int64_t revoke(int slot, uint64_t handle) {
	int64_t result = call(slot, SYS_CAP_REVOKE, handle, 0, 0, 0, 0);

	release_all();
	return result;
}

/* A shard dies: by EXIT with that code, or of a fault when it is below zero. */
static void die(int slot, int64_t code) {
	struct life *me = &world.life[slot];

	if (code >= 0) spec_begin(me, SYS_EXIT, (uint64_t[]){(uint64_t)code, 0, 0, 0, 0});
	CHECK(!spec_dies(me, code >= 0, (uint64_t)code));
	for (int e = 0; e < world.ends; e++)
		if (world.end[e].home == slot) spec_close(e);
	for EACH_CAP (cap)
		if (cap->holder == slot) spec_revoke(cap->id);
	release_all();
	me->frames = 0;
	CHECK(!spec_ended(me));
}

static int64_t spawn(void) {
	struct life *me = &world.life[ANN];

	spec_begin(me, SYS_SPAWN, (uint64_t[]){BUFFER, 1, 0, 0, 0});
	int64_t result = spec_step(me);
	me->in_call = false;
	if (result != HALFWAY) return result;
	spec_named(ANN, (uint64_t)me->call.handle)->object = CHILD;
	CHECK(!spec_make(CHILD, ANN));
	world.life[CHILD].ticket = spec_named(ANN, (uint64_t)me->call.handle)->id;
	CHECK(!spec_born(CHILD, COCONUT_CODE_BASE + 1));
	return spec_look(me);
}

TEST(rights_only_shrink) {
	begin();
	CHECK_EQ(grant(ANN, 1, 0, CAP_RIGHT_SEND | CAP_RIGHT_GRANT), 2);
	int64_t copy = (int64_t)CAP_CHANNEL << 48 | 4 << 16 | CAP_RIGHT_SEND | CAP_RIGHT_GRANT;
	CHECK_EQ(call(BOB, SYS_CAP_INSPECT, 2, 0, 0, 0, 0), copy);
	CHECK_EQ(receive(BOB, 2, 8), -COCONUT_E_RIGHTS);
	CHECK_EQ(grant(BOB, 2, 1, ALL), -COCONUT_E_RIGHTS);
	CHECK_EQ(grant(BOB, 2, 1, 0), -COCONUT_E_INVAL);
	CHECK_EQ(call(BOB, SYS_CAP_RESTRICT, 2, CAP_RIGHT_SEND, 0, 0, 0), 0);
	CHECK_EQ(grant(BOB, 2, 1, CAP_RIGHT_SEND), -COCONUT_E_RIGHTS);
	CHECK_EQ(send(BOB, 2, 8), 0);
	CHECK_EQ(grant(ANN, 2, 0, CAP_RIGHT_CREATE), 3);
	CHECK_EQ(send(ANN, 2, 8), -COCONUT_E_TYPE);
	CHECK_EQ(send(ANN, 7, 8), -COCONUT_E_BADHANDLE);
}

TEST(others_fill_half) {
	begin();
	for (int i = 0; i < GIFTS; i++)
		CHECK_EQ(grant(ANN, 0, 0, ALL), 2 + i);
	CHECK_EQ(grant(ANN, 0, 0, ALL), -COCONUT_E_FULL);
	for (int i = 0; i < HANDLES - 2 - GIFTS; i++)
		CHECK_EQ(spec_give(BOB, CAP_SHARD, DAN, 0, 0), 2 + GIFTS + i);
	CHECK_EQ(spec_give(BOB, CAP_SHARD, DAN, 0, 0), -COCONUT_E_FULL);
	CHECK_EQ(revoke(BOB, 5), 0);
	CHECK_EQ(grant(ANN, 0, 0, ALL), -COCONUT_E_FULL); /* the last one is for its own calls */
	CHECK_EQ(revoke(BOB, 15), 0);
	CHECK_EQ(grant(ANN, 0, 0, ALL), 5);
}

TEST(revoke_takes_all_below) {
	begin();
	CHECK_EQ(grant(ANN, 1, 0, ALL), 2); /* to bob */
	CHECK_EQ(grant(BOB, 2, 1, ALL), 2); /* to cid */
	CHECK_EQ(grant(CID, 2, 1, ALL), 3); /* and back to ann */
	CHECK_EQ(grant(ANN, 1, 0, ALL), 3); /* another one to bob */
	CHECK_EQ(call(BOB, SYS_CAP_REVOKE, 2, 0, 0, 0, 0), 0);
	CHECK_EQ(send(CID, 2, 8), -COCONUT_E_BADHANDLE);
	CHECK_EQ(grant(ANN, 0, 0, ALL), 4); /* the handles are not free yet */
	release_all();
	CHECK_EQ(send(ANN, 3, 8), -COCONUT_E_BADHANDLE);
	CHECK_EQ(send(BOB, 3, 8), 0);
	CHECK_EQ(grant(ANN, 0, 0, ALL), 2);
}

TEST(messages_keep_their_order) {
	begin();
	for (uint64_t len = 1; len <= QUEUE; len++)
		CHECK_EQ(send(ANN, 0, len), 0);
	CHECK(send(ANN, 0, 5) == WAITS);
	CHECK(!somebody_oversleeps());
	CHECK_EQ(receive(BOB, 0, 256), 1);
	CHECK(somebody_oversleeps()); /* ann's message has room now */
	CHECK_EQ(wake(ANN), 0);
	CHECK_EQ(receive(BOB, 0, 1), -COCONUT_E_TOOSMALL);
	for (int64_t len = 2; len <= QUEUE + 1; len++)
		CHECK_EQ(receive(BOB, 0, 256), len);
	CHECK(receive(BOB, 0, 256) == WAITS);
}

TEST(buffers) {
	begin();
	CHECK_EQ(send(ANN, 0, 0), -COCONUT_E_INVAL);
	CHECK_EQ(send(ANN, 0, 257), -COCONUT_E_INVAL);
	CHECK_EQ(receive(ANN, 0, 0), -COCONUT_E_INVAL);
	CHECK_EQ(call(ANN, SYS_CHANNEL_SEND, 0, COCONUT_CODE_BASE, 8, 0, 0), 0);
	CHECK_EQ(call(ANN, SYS_CHANNEL_RECV, 0, COCONUT_CODE_BASE, 8, 0, 0), -COCONUT_E_FAULT);
	CHECK_EQ(call(ANN, SYS_CHANNEL_SEND, 0, BUFFER - 1, 8, 0, 0), -COCONUT_E_FAULT);
	CHECK_EQ(call(ANN, SYS_CHANNEL_RECV, 0, BUFFER - 1, 8, 0, 0), -COCONUT_E_FAULT);
	CHECK_EQ(call(ANN, SYS_CHANNEL_SEND, 0, BUFFER + PAGE_SIZE - 1, 8, 0, 0), -COCONUT_E_FAULT);
	CHECK_EQ(call(ANN, SYS_CHANNEL_SEND, 0, -8UL, 16, 0, 0), -COCONUT_E_FAULT);
	CHECK(receive(ANN, 0, USER_LIMIT - BUFFER) == WAITS); /* no message is so large */
}

TEST(a_call_keeps_its_end) {
	begin();
	CHECK_EQ(grant(ANN, 0, 1, ALL), 2); /* cid holds ann's end, too */
	CHECK(receive(CID, 2, 256) == WAITS);
	CHECK(ask(ANN, 0, 7) == WAITS);
	CHECK_EQ(wake(CID), -COCONUT_E_BUSY);
	CHECK_EQ(receive(CID, 2, 256), -COCONUT_E_BUSY);
	CHECK_EQ(ask(CID, 2, 7), -COCONUT_E_BUSY);
	CHECK_EQ(receive(BOB, 0, 256), 7);
	CHECK_EQ(send(BOB, 0, 9), 0);
	CHECK_EQ(receive(CID, 2, 256), -COCONUT_E_BUSY);
	CHECK_EQ(wake(ANN), 9);
	CHECK(ask(CID, 2, 7) == WAITS);
	begin();
	CHECK_EQ(grant(ANN, 0, 1, ALL), 2);
	CHECK(receive(CID, 2, 256) == WAITS && ask(ANN, 0, 7) == WAITS);
	CHECK_EQ(send(BOB, 0, 9), 0);
	CHECK_EQ(wake(ANN), 9);
	CHECK_EQ(wake(CID), -COCONUT_E_BUSY); /* though the end is free by now */
}

TEST(a_call_without_its_capability) {
	begin();
	CHECK_EQ(grant(ANN, 0, 1, ALL), 2);
	CHECK(ask(CID, 2, 7) == WAITS);
	CHECK_EQ(call(ANN, SYS_CAP_REVOKE, 0, 0, 0, 0, 0), 0);
	CHECK(!somebody_oversleeps()); /* until its handle is free */
	release_all();
	CHECK(somebody_oversleeps());
	CHECK_EQ(world.end[0].caller, NOBODY);
	spec_give(CID, CAP_CHANNEL, 0, ALL, 0);
	CHECK_EQ(wake(CID), -COCONUT_E_BADHANDLE); /* though the handle names another one */
}

TEST(the_other_side_ends) {
	begin();
	CHECK_EQ(send(BOB, 0, 3), 0);
	CHECK_EQ(send(ANN, 0, 4), 0);
	CHECK(receive(CID, 0, 256) == WAITS);
	die(BOB, -1);
	CHECK_EQ(wake(CID), -COCONUT_E_CLOSED);
	CHECK_EQ(receive(ANN, 0, 256), 3);
	CHECK_EQ(receive(ANN, 0, 256), -COCONUT_E_CLOSED);
	CHECK_EQ(send(ANN, 0, 4), -COCONUT_E_CLOSED);
	CHECK_EQ(grant(ANN, 1, 0, ALL), -COCONUT_E_CLOSED);
	CHECK(!spec_free(BOB) && !spec_make(BOB, NOBODY) && !spec_born(BOB, COCONUT_CODE_BASE + 1));
	spec_open(BOB);
	CHECK_EQ(send(ANN, 0, 5), 0);
	CHECK_EQ(receive(BOB, 0, 256), 5); /* and not the 4 bytes that were sent to its last life */
	die(BOB, -1);
	CHECK(!spec_free(BOB));
	CHECK(spec_make(BOB, NOBODY) != NULL); /* restart=1 */
}

TEST(a_call_to_who_ends) {
	begin();
	CHECK(ask(ANN, 0, 7) == WAITS);
	die(BOB, 0);
	CHECK_EQ(world.end[0].caller, NOBODY);
	CHECK_EQ(wake(ANN), -COCONUT_E_CLOSED);
	begin();
	CHECK(ask(ANN, 0, 7) == WAITS);
	CHECK_EQ(send(BOB, 0, 9), 0);
	world.life[ANN].asleep = false; /* it does not get to run before bob's end */
	die(BOB, 0);
	CHECK_EQ(look(ANN), 9);
}

TEST(children) {
	begin();
	CHECK_EQ(spawn(), 3);
	CHECK_EQ(spawn(), -COCONUT_E_QUOTA);
	CHECK(call(ANN, SYS_WAIT, 3, 0, 0, 0, 0) == WAITS);
	die(CHILD, 0x100000007);
	CHECK_EQ(wake(ANN), 7);
	release_all();
	CHECK_EQ(call(ANN, SYS_WAIT, 3, 0, 0, 0, 0), -COCONUT_E_BADHANDLE);
	CHECK_EQ(spawn(), 3);
	CHECK_EQ(call(ANN, SYS_KILL, 3, 0, 0, 0, 0), 0);
	CHECK(spec_may_return(&world.life[CHILD]) != NULL);
	CHECK(call(ANN, SYS_WAIT, 3, 0, 0, 0, 0) == WAITS);
	die(CHILD, -1);
	CHECK_EQ(wake(ANN), -1);
	CHECK_EQ(call(BOB, SYS_SPAWN, BUFFER, 1, 0, 0, 0), -COCONUT_E_RIGHTS);
	CHECK_EQ(call(ANN, SYS_KILL, 2, 0, 0, 0, 0), -COCONUT_E_RIGHTS);
}

TEST(memory_and_quotas) {
	begin();
	struct life *ann = &world.life[ANN];
	ann->frames = 6;
	CHECK_EQ(call(ANN, SYS_MMAP, COCONUT_HEAP_BASE, 5, 0, 0, 0), -COCONUT_E_QUOTA);
	CHECK_EQ(call(ANN, SYS_MMAP, COCONUT_HEAP_BASE, 2, 0, 0, 0), 0);
	CHECK_EQ(call(ANN, SYS_MMAP, COCONUT_HEAP_BASE + PAGE_SIZE, 2, 0, 0, 0), -COCONUT_E_EXISTS);
	CHECK_EQ(call(ANN, SYS_CHANNEL_SEND, 0, COCONUT_HEAP_BASE + PAGE_SIZE - 8, 16, 0, 0), 0);
	CHECK_EQ(call(ANN, SYS_MUNMAP, COCONUT_HEAP_BASE + PAGE_SIZE, 2, 0, 0, 0), -COCONUT_E_INVAL);
	CHECK_EQ(call(ANN, SYS_MUNMAP, COCONUT_HEAP_BASE + PAGE_SIZE, 1, 0, 0, 0), 0);
	CHECK_EQ(call(ANN, SYS_CHANNEL_SEND, 0, COCONUT_HEAP_BASE + PAGE_SIZE - 8, 16, 0, 0), -COCONUT_E_FAULT);
	CHECK_EQ(call(ANN, SYS_MMAP, BUFFER - PAGE_SIZE, 1, 0, 0, 0), -COCONUT_E_INVAL);
	CHECK_EQ(call(ANN, SYS_MMAP, COCONUT_HEAP_BASE, 0, 0, 0, 0), -COCONUT_E_INVAL);
	CHECK_EQ(call(ANN, SYS_MMAP, USER_LIMIT, 1, 0, 0, 0), -COCONUT_E_INVAL);
	for (int i = 0; i < 4; i++)
		CHECK(!spec_frame(ann, 0));
	CHECK(spec_frame(ann, 0) != NULL);
}

TEST(pledges) {
	begin();
	CHECK_EQ(call(ANN, SYS_GPU_PLEDGE, 8, 0, 0, 0, 0), -COCONUT_E_INVAL);
	CHECK_EQ(call(ANN, SYS_GPU_PLEDGE, PLEDGE_CHANNEL, 0, 0, 0, 0), 0);
	CHECK_EQ(send(ANN, 0, 8), 0);
	CHECK_EQ(grant(ANN, 0, 0, ALL), -COCONUT_E_PLEDGE);
	CHECK_EQ(call(ANN, SYS_GPU_PLEDGE, PLEDGE_SERIAL, 0, 0, 0, 0), 0);
	CHECK_EQ(call(ANN, SYS_GPU_PLEDGE, PLEDGE_CHANNEL, 0, 0, 0, 0), 0);
	CHECK_EQ(send(ANN, 0, 8), -COCONUT_E_PLEDGE);
	CHECK_EQ(call(ANN, SYS_YIELD, 0, 0, 0, 0, 0), 0);
	CHECK_EQ(call(ANN, 63, 0, 0, 0, 0, 0), -COCONUT_E_NOSYS);
	CHECK_EQ(call(ANN, 64, 0, 0, 0, 0, 0), -COCONUT_E_NOSYS);
}

TEST(priorities) {
	begin();
	world.life[BOB].priority = 1;
	CHECK(spec_may_run(ANN) != NULL);
	CHECK(!spec_may_run(BOB));
	CHECK(receive(BOB, 0, 8) == WAITS);
	CHECK(spec_may_run(BOB) != NULL);
	CHECK(!spec_may_run(ANN));
	CHECK(!spec_killed_with(ANN, 2));
	CHECK(spec_killed_with(ANN, 1) != NULL);
}

TEST(deadlocks) {
	begin();
	CHECK(receive(ANN, 0, 8) == WAITS);
	CHECK(spec_deadlock(1 << ANN | 1 << BOB) != NULL);
	CHECK(receive(BOB, 0, 8) == WAITS);
	CHECK(!spec_deadlock(1 << ANN | 1 << BOB));
	CHECK(receive(CID, 0, 8) == WAITS); /* it waits for one of them, and goes on when they have ended */
	CHECK(spec_deadlock(1 << ANN | 1 << BOB | 1 << CID) != NULL);
	begin();
	CHECK_EQ(grant(BOB, 0, 1, ALL), 2); /* cid could answer ann, too */
	CHECK(receive(ANN, 0, 8) == WAITS && receive(BOB, 0, 8) == WAITS);
	CHECK(spec_deadlock(1 << ANN | 1 << BOB) != NULL);
	begin();
	CHECK_EQ(spawn(), 3);
	CHECK(call(ANN, SYS_WAIT, 3, 0, 0, 0, 0) == WAITS && receive(BOB, 0, 8) == WAITS);
	CHECK(spec_deadlock(spec_waits_for(BOB)) != NULL); /* ann's child may end */
}

/* ---- Against the kernel's table ---- */

static struct cap_table table;

static void same_tables(void) {
	for (uint32_t i = 0; i < SHARDS * HANDLES; i++) {
		const struct capability *theirs = cap_find(&table.entry[i / HANDLES * HANDLES], i % HANDLES);
		const struct cap *ours = spec_named((int)(i / HANDLES), i % HANDLES);
		CHECK_EQ(theirs != NULL, ours != NULL);
		if (!theirs || !ours) continue;
		CHECK_EQ(theirs->type, ours->type);
		CHECK_EQ(theirs->resource, ours->object);
		CHECK_EQ(theirs->rights, ours->rights);
		CHECK_EQ(theirs->granted, ours->parent != 0);
	}
}

/* Does the same to both: gives a capability, copies one, takes one back, or frees one handle of what was taken back. */
static void random_step(void) {
	uint32_t shard = (uint32_t)rand() % SHARDS, from = (uint32_t)rand() % (SHARDS * HANDLES);
	uint8_t rights = (uint8_t)(rand() & ALL);
	struct cap *ours = spec_named((int)(from / HANDLES), from % HANDLES);
	int operation = rand() % 16;

	if (operation < 2) {
		struct capability cap = {.type = CAP_CHANNEL, .rights = rights, .resource = (uint16_t)from};
		CHECK_EQ(cap_insert(&table, shard, cap, false), spec_give((int)shard, CAP_CHANNEL, (int)from, rights, 0));
	} else if (operation < 13 && ours) {
		rights &= (uint8_t)ours->rights;
		CHECK_EQ(cap_copy(&table, from, shard, rights), spec_give((int)shard, ours->type, ours->object, rights, ours->id));
	} else if (operation >= 14 && ours) {
		uint64_t before = (uint64_t)world.caps;
		cap_mark(&table, from);
		spec_revoke(ours->id);
		while (table.entry[from].revoked && before--) {
			uint32_t leaf = cap_leaf(&table, from);
			CHECK(!spec_release((int)(leaf / HANDLES), leaf % HANDLES));
			cap_remove(&table, leaf);
			if (rand() % 4 == 0) same_tables();
		}
		for EACH_CAP (cap)
			CHECK(!cap->gone);
	}
}

TEST(same_as_the_kernels_table) {
	int steps = getenv("TEST_FULL") && *getenv("TEST_FULL") ? 200000 : 20000;

	for (int seed = 1; seed <= 5; seed++) {
		srand((unsigned)seed);
		memset(&table, 0, sizeof(table));
		memset(&world, 0, sizeof(world));
		for (int i = 0; i < steps && !check_failures; i++) {
			random_step();
			if (i % 16 == 0) same_tables();
		}
	}
}

int main(void) {
	RUN(rights_only_shrink);
	RUN(others_fill_half);
	RUN(revoke_takes_all_below);
	RUN(messages_keep_their_order);
	RUN(buffers);
	RUN(a_call_keeps_its_end);
	RUN(a_call_without_its_capability);
	RUN(the_other_side_ends);
	RUN(a_call_to_who_ends);
	RUN(children);
	RUN(memory_and_quotas);
	RUN(pledges);
	RUN(priorities);
	RUN(deadlocks);
	RUN(same_as_the_kernels_table);
	return check_result();
}
