/*
 * cast: the shards that the chapters on capabilities, channels and scheduling watch. Its args name the role.
 *
 *   ann, bob, cid, dan   ann lets bob use her channel to cid; bob lets dan; ann takes it back (grant.conf)
 *   eva, fay, gus, ivy   eva writes faster than fay reads; gus has work, ivy waits for him (mail.conf)
 *   kim, lea             kim takes two writes for a line, lea wants to write meanwhile (talk.conf)
 *   joe                  reads address 0 (talk.conf)
 *
 * Read next: docs/book/10-capabilities.md, 11-channels.md.
 */
#include "coconut.h"
#include "shardlib.h"

#define ANN_TO_BOB 0 /* handles count from 0 in the order of the manifest's channels */
#define ANN_TO_CID 1
#define BOB_TO_ANN 0
#define BOB_TO_DAN 1
#define WORK 200000

/* Sends one small number. */
static void tell(uint64_t channel, int64_t number) { coconut_channel_send(channel, &number, sizeof(number)); }

/* Waits for one small number. */
static int64_t hear(uint64_t channel) {
	int64_t number = -1;

	coconut_channel_recv(channel, &number, sizeof(number));
	return number;
}

static void ann(void) {
	int64_t handle = coconut_cap_grant(ANN_TO_CID, ANN_TO_BOB, CAP_RIGHT_SEND | CAP_RIGHT_GRANT);

	print("ann: bob has my channel to cid as his handle %ld\n", handle);
	tell(ANN_TO_BOB, handle);
	hear(ANN_TO_BOB);
	print("ann: revoke: %ld\n", coconut_cap_revoke(ANN_TO_CID));
	tell(ANN_TO_BOB, 0);
}

static void bob(void) {
	int64_t handle = hear(BOB_TO_ANN);

	print("bob: dan has it as his handle %ld\n", coconut_cap_grant((uint64_t)handle, BOB_TO_DAN, CAP_RIGHT_SEND));
	tell((uint64_t)handle, 1);
	tell(BOB_TO_ANN, 0);
	hear(BOB_TO_ANN);
	print("bob: send: %s\n", error_text(coconut_channel_send((uint64_t)handle, "x", 1)));
	tell(BOB_TO_DAN, 0);
}

static void cid(void) {
	print("cid: somebody sent me %ld\n", hear(0));
	hear(0); /* until ann ends: nobody has a way to cid any more */
}

static void dan(void) {
	hear(0);
	print("dan: inspect: %s\n", error_text(coconut_cap_inspect(1)));
}

static void eva(void) {
	for (int64_t number = 1; number <= 6; number++)
		tell(0, number);
}

static void fay(void) {
	for (volatile int i = 0; i < WORK; i++)
		;
	for (int64_t number = 0; number < 6;)
		number = hear(0);
}

static void gus(void) {
	for (volatile int i = 0; i < WORK; i++)
		;
	tell(0, 7);
}

static void ivy(void) { hear(0); }

static void kim(void) {
	print("kim: half of a line, ");
	coconut_yield();
	print("and the other half\n");
}

static void lea(void) { print("lea: a whole line\n"); }

static void joe(void) { (void)*(volatile char *)0; }

int main(const char *args) {
	static const struct {
		char name[4];
		void (*play)(void);
	} roles[] = { { "ann", ann }, { "bob", bob }, { "cid", cid }, { "dan", dan },
		      { "eva", eva }, { "fay", fay }, { "gus", gus }, { "ivy", ivy },
		      { "kim", kim }, { "lea", lea }, { "joe", joe } };

	for (size_t i = 0; args && i < sizeof(roles) / sizeof(roles[0]); i++) {
		if (strlen(args) == 3 && !memcmp(args, roles[i].name, 3)) {
			roles[i].play();
			return 0;
		}
	}
	print("cast: give it a role as args, ann to joe\n");
	return 1;
}
