/*
 * relive: a shard that is killed in each of its lives, and checks at the beginning of each that nothing of the last one
 * is left. A check that fails makes it exit, and a shard that exits is not restarted.
 *
 * args "victim" has a channel to args "witness", which talks to each of the lives.
 */
#include "../expect.h"

#define LIVES 4 /* the manifest says restart=3 */
#define PATIENCE 100000 /* yields until a giver that is about to die is dead */

static int victim(void) {
	char buf[8];

	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 4), 0);
	for (int i = 0; i < 4 * PAGE; i++)
		CHECK_EQ(BYTES(COCONUT_HEAP_BASE)[i], 0);
	memset((void *)(uint64_t)COCONUT_HEAP_BASE, 0xCC, 4 * PAGE);
	CHECK_EQ(coconut_fs_open("/big", 4), 0);
	CHECK_EQ(coconut_fs_open("/big", 4), 1);
	CHECK_EQ(coconut_fs_map(0, COCONUT_LARGE_BASE), coconut_fs_stat(0));
	CHECK_EQ(coconut_cap_inspect(0), 1UL << 48 | 7); /* end 0 with all rights, though the last life gave some up */
	for (uint64_t handle = 1; handle < COCONUT_CAP_SLOTS; handle++)
		REFUSED(BADHANDLE, coconut_cap_inspect(handle));
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 1);
	CHECK_EQ(buf[0], 'h');
	CHECK_EQ(coconut_cap_grant(0, 0, CAP_RIGHT_SEND), 1);
	CHECK_EQ(coconut_channel_send(0, "first", 5), 0);
	CHECK_EQ(coconut_channel_send(0, "second", 6), 0);
	CHECK_EQ(coconut_cap_restrict(0, CAP_RIGHT_RECV), 0);
	CHECK_EQ(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL), 0);
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 1); /* the witness has read what it wanted */
	__asm__ volatile("ud2");
	return 1;
}

/* Greets each life. Between two lives the end is closed; what a life has sent stays to be received after its death. */
static int witness(void) {
	char buf[8];
	int64_t result;

	for (int life = 0; life < LIVES; life++) {
		int64_t give_up = coconut_time() + 60000;
		while ((result = coconut_channel_send(0, "h", 1)) == -COCONUT_E_CLOSED && coconut_time() < give_up)
			coconut_yield();
		CHECK_EQ(result, 0);
		if (life) CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 6); /* "second", of the life before */
		CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 5);
		CHECK_EQ(coconut_cap_inspect(1), 1UL << 48 | CAP_RIGHT_SEND); /* what this life has granted */
		for (int64_t copy = 1; copy <= COCONUT_CAP_SLOTS / 2; copy++)
			CHECK_EQ(coconut_cap_grant(0, 0, CAP_RIGHT_SEND), copy); /* for the next life not to have */
		CHECK_EQ(coconut_channel_send(0, "x", 1), 0);
		for (int i = 0; i < PATIENCE && coconut_cap_inspect(1) >= 0; i++)
			coconut_yield();
		REFUSED(BADHANDLE, coconut_cap_inspect(1)); /* it goes with its giver */
	}
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 6);
	REFUSED(CLOSED, coconut_channel_recv(0, buf, sizeof(buf)));
	return 0;
}

int main(const char *args) { return same(args, "victim") ? victim() : witness(); }
