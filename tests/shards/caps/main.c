/*
 * caps: capabilities among four shards. The manifest names a, b, c, d and the channels a-b (0), b-c (1), c-d (2), a-c
 * (3), in this order, so that the handles are
 *
 *     a: 0 to b, 1 to c     b: 0 to a, 1 to c     c: 0 to b, 1 to d, 2 to a     d: 0 to c
 *
 * args: the scene and the shard, "revoke a" say. Shards that a scene does not need end at once.
 */
#include "../expect.h"

#define ALL (CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT)
#define SR (CAP_RIGHT_SEND | CAP_RIGHT_RECV)

/* Sends one byte. */
static void tell(uint64_t handle, char byte) { CHECK_EQ(coconut_channel_send(handle, &byte, 1), 0); }

/* Receives exactly the byte. */
static void hear(uint64_t handle, char byte) {
	char buf[COCONUT_MESSAGE_MAX];

	CHECK_EQ(coconut_channel_recv(handle, buf, sizeof(buf)), 1);
	CHECK_EQ(buf[0], byte);
}

/* Checks that a handle names end `end` with the rights. */
static void holds(uint64_t handle, uint64_t end, uint64_t rights) {
	CHECK_EQ(coconut_cap_inspect(handle), (uint64_t)CAP_CHANNEL << 48 | end << 16 | rights);
}

/* Checks that no call accepts the handle. */
static void gone(uint64_t handle) {
	char buf[8];

	REFUSED(BADHANDLE, coconut_cap_inspect(handle));
	REFUSED(BADHANDLE, coconut_cap_restrict(handle, ALL));
	REFUSED(BADHANDLE, coconut_cap_revoke(handle));
	REFUSED(BADHANDLE, coconut_cap_grant(handle, 0, 1));
	REFUSED(BADHANDLE, coconut_cap_grant(0, handle, 1));
	REFUSED(BADHANDLE, coconut_channel_send(handle, buf, 1));
	REFUSED(BADHANDLE, coconut_channel_recv(handle, buf, 8));
	REFUSED(BADHANDLE, coconut_channel_call(handle, buf, 1, buf, 8));
}

/* ---- alone: errors that one shard sees without anybody's help ---- */

static void alone_a(void) {
	static const uint64_t wrong[] = {2, 3, 15, 16, 17, 64, 255, 256, 1UL << 16, 1UL << 32, 1UL << 63, ~0UL};
	char buf[8];

	holds(0, 0, ALL);
	holds(1, 6, ALL);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		gone(wrong[i]);
	REFUSED(INVAL, coconut_cap_grant(0, 1, 0));
	for (int bit = 3; bit < 64; bit++)
		REFUSED(RIGHTS, coconut_cap_grant(0, 1, 1UL << bit));
	/* Rights only ever shrink. */
	CHECK_EQ(coconut_cap_restrict(0, ~0UL), 0);
	holds(0, 0, ALL);
	CHECK_EQ(coconut_cap_restrict(0, SR), 0);
	holds(0, 0, SR);
	REFUSED(RIGHTS, coconut_cap_grant(0, 1, CAP_RIGHT_SEND)); /* without GRANT on what is granted */
	CHECK_EQ(coconut_cap_restrict(0, CAP_RIGHT_RECV | CAP_RIGHT_GRANT), 0);
	holds(0, 0, CAP_RIGHT_RECV);
	REFUSED(RIGHTS, coconut_channel_send(0, buf, 1));
	REFUSED(RIGHTS, coconut_channel_call(0, buf, 1, buf, 8));
	REFUSED(RIGHTS, coconut_cap_grant(1, 0, CAP_RIGHT_RECV)); /* without SEND on the way */
	CHECK_EQ(coconut_cap_restrict(0, 0), 0);
	holds(0, 0, 0);
	REFUSED(RIGHTS, coconut_channel_recv(0, buf, 8));
	CHECK_EQ(coconut_cap_restrict(0, ALL), 0);
	holds(0, 0, 0);
	CHECK_EQ(coconut_cap_revoke(0), 0);
	gone(0);
	holds(1, 6, ALL);
	CHECK_EQ(coconut_cap_restrict(1, CAP_RIGHT_SEND), 0);
	REFUSED(RIGHTS, coconut_channel_recv(1, buf, 8));
	REFUSED(RIGHTS, coconut_channel_call(1, buf, 1, buf, 8));
	tell(1, 'x');
}

static void alone_c(void) { hear(2, 'x'); }

/* ---- speak: whoever holds a granted end speaks at that end, and hears what arrives there ---- */

static void speak_a(void) {
	/* b gets a's end of the channel to c: what b sends there arrives at c as if a had sent it. */
	CHECK_EQ(coconut_cap_grant(1, 0, SR), 2);
	tell(0, 'g');
	hear(0, 'd'); /* b is done */
}

static void speak_b(void) {
	hear(0, 'g');
	holds(2, 6, SR);
	REFUSED(RIGHTS, coconut_cap_grant(2, 1, CAP_RIGHT_SEND)); /* it was granted without GRANT */
	tell(2, 'b');
	hear(2, 'c');
	tell(0, 'd');
}

static void speak_c(void) {
	hear(2, 'b');
	tell(2, 'c');
}

/* ---- subset: the copy has the rights that were named, its copies have no more ---- */

static void subset_a(void) {
	CHECK_EQ(coconut_cap_grant(1, 0, CAP_RIGHT_SEND | CAP_RIGHT_GRANT), 2);
	tell(0, 'g');
	hear(0, 'd');
	holds(1, 6, ALL);
}

static void subset_b(void) {
	char buf[8];

	hear(0, 'g');
	holds(2, 6, CAP_RIGHT_SEND | CAP_RIGHT_GRANT);
	REFUSED(RIGHTS, coconut_channel_recv(2, buf, 8));
	REFUSED(RIGHTS, coconut_channel_call(2, buf, 1, buf, 8));
	REFUSED(RIGHTS, coconut_cap_grant(2, 1, CAP_RIGHT_RECV));
	REFUSED(RIGHTS, coconut_cap_grant(2, 1, ALL));
	CHECK_EQ(coconut_cap_grant(2, 1, CAP_RIGHT_SEND), 3); /* the copy for c: its fourth handle */
	tell(1, 'g');
	hear(1, 'd');
	tell(0, 'd');
}

static void subset_c(void) {
	char buf[8];

	hear(0, 'g');
	holds(3, 6, CAP_RIGHT_SEND); /* a's end of a-c, held by c, who is at the other end as well */
	REFUSED(RIGHTS, coconut_channel_recv(3, buf, 8));
	REFUSED(INVAL, coconut_cap_grant(1, 3, CAP_RIGHT_SEND)); /* through it: a grant to c itself */
	tell(3, 's');
	hear(2, 's');
	tell(0, 'd');
}

/* ---- revoke: copies of copies go with what they were made from, and nothing else goes ---- */

static void revoke_a(void) {
	CHECK_EQ(coconut_cap_grant(1, 0, ALL), 2); /* a-c to b */
	CHECK_EQ(coconut_cap_grant(1, 0, ALL), 3); /* once more */
	tell(0, 'g');
	hear(0, 'r'); /* b, c and d hold copies */
	CHECK_EQ(coconut_cap_revoke(1), 0);
	gone(1);
	holds(0, 0, ALL);
	tell(0, 'x');
	hear(0, 'd');
}

static void revoke_b(void) {
	hear(0, 'g');
	CHECK_EQ(coconut_cap_grant(2, 1, ALL), 3);
	tell(1, 'g');
	hear(1, 'r');
	holds(2, 6, ALL);
	holds(3, 6, ALL);
	CHECK_EQ(coconut_cap_revoke(3), 0); /* its own copy of its own free will: c's stays */
	gone(3);
	tell(1, 'k');
	hear(1, 'k');
	tell(0, 'r');
	hear(0, 'x');
	gone(2);
	gone(3);
	holds(0, 1, ALL);
	holds(1, 2, ALL);
	tell(1, 'x');
	hear(1, 'd');
	tell(0, 'd');
}

static void revoke_c(void) {
	hear(0, 'g');
	holds(3, 6, ALL);
	CHECK_EQ(coconut_cap_grant(3, 1, ALL), 1);
	tell(1, 'g');
	hear(1, 'r');
	tell(0, 'r');
	hear(0, 'k');
	holds(3, 6, ALL);
	tell(0, 'k');
	hear(0, 'x');
	gone(3);
	tell(1, 'x');
	hear(1, 'd');
	tell(0, 'd');
}

static void revoke_d(void) {
	hear(0, 'g');
	holds(1, 6, ALL);
	tell(0, 'r');
	hear(0, 'x');
	gone(1);
	holds(0, 5, ALL);
	tell(0, 'd');
}

/* ---- recv, call, send: the capability is taken away while its holder is blocked in that call ---- */

static void taken_a(void) {
	CHECK_EQ(coconut_cap_grant(0, 1, ALL), 3); /* to c, who will wait on it */
	tell(1, 'g');
	hear(1, 'b');
	busy_wait(40); /* c is about to wait, and has time to */
	CHECK_EQ(coconut_cap_revoke(0), 0);
	hear(1, 'r');
}

/* Neither sends nor receives on the channel to a, so that c waits until the capability goes. */
static void taken_b(void) { hear(1, 'e'); }

static void taken_c(const char *how) {
	char buf[COCONUT_MESSAGE_MAX];
	int64_t start, result = 0;

	hear(2, 'g');
	holds(3, 0, ALL);
	start = coconut_time();
	tell(2, 'b');
	if (how[0] == 'r')
		result = coconut_channel_recv(3, buf, sizeof(buf));
	else if (how[0] == 'c')
		result = coconut_channel_call(3, "q", 1, buf, sizeof(buf));
	else
		while (result == 0)
			result = coconut_channel_send(3, "m", 1);
	CHECK_EQ(result, -COCONUT_E_BADHANDLE);
	CHECK(coconut_time() >= start + 40); /* so it was blocked */
	gone(3);
	tell(2, 'r');
	tell(0, 'e');
}

/* ---- half: others fill at most half of the slots ---- */

static void half_a(void) {
	for (int i = 0; i < COCONUT_CAP_SLOTS / 2; i++)
		CHECK_EQ(coconut_cap_grant(1, 0, CAP_RIGHT_SEND), 2 + i);
	REFUSED(FULL, coconut_cap_grant(1, 0, CAP_RIGHT_SEND));
	REFUSED(FULL, coconut_cap_grant(0, 0, CAP_RIGHT_SEND));
	tell(0, 'f');
	hear(0, 'm'); /* b has made room for one */
	CHECK_EQ(coconut_cap_grant(1, 0, CAP_RIGHT_SEND), 5);
	REFUSED(FULL, coconut_cap_grant(1, 0, CAP_RIGHT_SEND));
	CHECK_EQ(coconut_cap_revoke(1), 0);
	tell(0, 'e');
	hear(0, 'd');
}

static void half_b(void) {
	hear(0, 'f');
	CHECK_EQ(coconut_cap_revoke(5), 0);
	tell(0, 'm');
	hear(0, 'e');
	for (uint64_t handle = 2; handle < COCONUT_CAP_SLOTS; handle++)
		gone(handle);
	tell(0, 'd');
}

/* ---- busy: two holders of one end, one of them in a CALL ---- */

static void busy_a(void) {
	char buf[8];

	CHECK_EQ(coconut_cap_grant(0, 1, ALL), 3); /* c speaks at a's end of a-b as well */
	tell(1, 'g');
	hear(1, 'w');
	busy_wait(30); /* c waits to receive at that end */
	CHECK_EQ(coconut_channel_call(0, "q", 1, buf, sizeof(buf)), 1); /* which ends c's wait with E_BUSY */
	CHECK_EQ(buf[0], 'a');
	tell(1, 'z');
	hear(1, 'z');
}

static void busy_b(void) {
	hear(0, 'q');
	busy_wait(60);
	tell(1, 'o'); /* c may try now, while a still waits */
	hear(1, 'o');
	tell(0, 'a');
}

static void busy_c(void) {
	char buf[8];

	hear(2, 'g');
	tell(2, 'w');
	REFUSED(BUSY, coconut_channel_recv(3, buf, sizeof(buf)));
	hear(0, 'o');
	REFUSED(BUSY, coconut_channel_recv(3, buf, sizeof(buf)));
	REFUSED(BUSY, coconut_channel_call(3, "q", 1, buf, sizeof(buf)));
	tell(0, 'o');
	hear(2, 'z');
	tell(2, 'z');
}

/* ---- elder: c waits through a copy of a copy, for b, who waits for c: no deadlock as long as a, from whom it comes,
 * can take it back ---- */

static void elder_a(void) {
	CHECK_EQ(coconut_cap_grant(0, 0, ALL), 2);
	tell(0, 'g');
	busy_wait(700); /* long enough for a search */
	CHECK_EQ(coconut_cap_revoke(0), 0);
}

static void elder_b(void) {
	hear(0, 'g');
	CHECK_EQ(coconut_cap_grant(2, 1, SR), 3);
	tell(1, 'g');
	hear(1, 'd');
}

static void elder_c(void) {
	char buf[8];

	hear(0, 'g');
	REFUSED(BADHANDLE, coconut_channel_recv(3, buf, sizeof(buf)));
	tell(0, 'd');
}

static void run(const char *scene, char who) {
	if (same(scene, "alone"))
		who == 'a' ? alone_a() : who == 'c' ? alone_c() : (void)0;
	else if (same(scene, "speak"))
		who == 'a' ? speak_a() : who == 'b' ? speak_b() : who == 'c' ? speak_c() : (void)0;
	else if (same(scene, "subset"))
		who == 'a' ? subset_a() : who == 'b' ? subset_b() : who == 'c' ? subset_c() : (void)0;
	else if (same(scene, "revoke"))
		who == 'a' ? revoke_a() : who == 'b' ? revoke_b() : who == 'c' ? revoke_c() : revoke_d();
	else if (same(scene, "recv") || same(scene, "call") || same(scene, "send"))
		who == 'a' ? taken_a() : who == 'b' ? taken_b() : who == 'c' ? taken_c(scene) : (void)0;
	else if (same(scene, "half"))
		who == 'a' ? half_a() : who == 'b' ? half_b() : (void)0;
	else if (same(scene, "elder"))
		who == 'a' ? elder_a() : who == 'b' ? elder_b() : who == 'c' ? elder_c() : (void)0;
	else if (same(scene, "busy"))
		who == 'a' ? busy_a() : who == 'b' ? busy_b() : who == 'c' ? busy_c() : (void)0;
	else
		coconut_exit(1);
}

int main(const char *args) {
	char scene[16] = {0};
	size_t n = strlen(args);

	CHECK(n > 2 && n < sizeof(scene));
	memcpy(scene, args, n - 2);
	run(scene, args[n - 1]);
	return 0;
}
