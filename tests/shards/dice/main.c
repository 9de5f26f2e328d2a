/*
 * dice: makes calls at random, until it dies. args: a seed, whose first letter says what else it does: B is busy, W
 * waits, L leads scenes that take several, O obeys mostly, H half of the time, D dies soon; a spawned one has a number.
 * tests/test_spec.py compares what the calls come to with the specification; nothing is checked here.
 *
 * Whoever starts it again, or from another place, gets other calls: the results and the clock are mixed into the
 * numbers.
 *
 * Read next: tests/test_spec.py, tests/replay/log.c.
 */
#include <stdbool.h>

#include "../expect.h"

#define SELF "/t/dice"
#define HEAP ((uint8_t *)COCONUT_HEAP_BASE)  /* pages that are mapped now and then */
#define HEAP_PAGES 8
#define LARGE ((uint8_t *)COCONUT_LARGE_BASE)
#define MESSAGE COCONUT_MESSAGE_MAX
#define OWN 4 /* handles of the manifest's, about */
#define ALL_RIGHTS (CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT)

/* What a message of two bytes asks of whoever takes it; the second is a handle of theirs. */
enum order { ORDER_KILL = 'K', ORDER_WAIT = 'W', ORDER_SERVE = 'S', ORDER_ASK = 'A', ORDER_FILL = 'F',
	ORDER_RETURN = 'R', ORDER_DROP = 'D' };

struct player {
	uint64_t random;
	const char *seed;
	bool empty[COCONUT_CAP_SLOTS]; /* handles that have named nothing */
	uint64_t child;                /* the handle of the one that it has spawned last */
	int64_t seat;                  /* a leader's: the handle of what it has lent to get it back */
	uint8_t own[MESSAGE];          /* a buffer on its stack */
};

static uint64_t any(struct player *me) { return random_next(&me->random); }
static uint64_t dice(struct player *me, uint64_t sides) { return (any(me) >> 16) % sides; }

/* The first handle from `low` on, in a circle, that may name something, counted from any of them; `low` when there
 * is none. */
static uint64_t filled(struct player *me, uint64_t low) {
	uint64_t first = dice(me, COCONUT_CAP_SLOTS);

	for (uint64_t i = 0; i < COCONUT_CAP_SLOTS; i++) {
		uint64_t h = (first + i) % COCONUT_CAP_SLOTS;
		if (h >= low && !me->empty[h]) return h;
	}
	return low;
}

/* A channel to give something away by. */
static uint64_t way(struct player *me) {
	uint64_t h = dice(me, OWN);

	return me->empty[h] ? dice(me, OWN) : h;
}

/* A handle: mostly one that may name something; now and then another, which may have been filled meanwhile, or
 * nonsense. */
static uint64_t handle(struct player *me) {
	switch (dice(me, 64)) {
	case 0: return any(me);
	case 1: return dice(me, 20);
	case 2 ... 12: return OWN - 1 + dice(me, 5);
	default: return filled(me, 0);
	}
}

/* Notes what came of a call that went through handle `h`. Returns it. */
static int64_t note(struct player *me, uint64_t h, int64_t result) {
	if (h < COCONUT_CAP_SLOTS) me->empty[h] = result == -COCONUT_E_BADHANDLE;
	return result;
}

/* A buffer: mostly the shard's own, on its stack; else in the heap, mapped or not, or where the shard may not write. */
static uint8_t *buffer(struct player *me, uint8_t *own) {
	switch (dice(me, 24)) {
	case 0: return HEAP + dice(me, HEAP_PAGES * PAGE);
	case 1: return HEAP + (dice(me, HEAP_PAGES) + 1) * PAGE - dice(me, 300); /* over the end of a page */
	case 2: return (uint8_t *)(COCONUT_CODE_BASE + dice(me, PAGE));
	case 3: return (uint8_t *)(dice(me, 2) ? dice(me, PAGE) : any(me));
	case 4 ... 7: return HEAP + dice(me, PAGE - MESSAGE); /* where the kernel lets others run when it looks the page up */
	default: return own;
	}
}

static uint64_t length(struct player *me) {
	switch (dice(me, 32)) {
	case 0: return 0;
	case 1: return MESSAGE + dice(me, 3);
	case 2: return dice(me, 2) ? MESSAGE : any(me);
	default: return 1 + dice(me, 16);
	}
}

static uint64_t room(struct player *me) { return dice(me, 16) ? MESSAGE : length(me); }

static uint64_t some_rights(struct player *me) { return dice(me, 8) ? dice(me, 2) ? 7 : dice(me, 64) : any(me); }

/* What it can give up: one that has arrived, and seldom its own: little would be left. */
static uint64_t spendable(struct player *me) { return filled(me, dice(me, 64) ? OWN : 0); }

/* ---- Orders ---- */

/* Does what the message that was taken through handle `h` asks for. */
static void obey(struct player *me, uint64_t h) {
	uint8_t what = me->own[0], which = me->own[1];
	uint64_t turns = 1 + dice(me, 6);
	int64_t result = 0;

	switch (what) {
	case ORDER_KILL: coconut_kill(which); break;
	case ORDER_WAIT: coconut_wait(which); break;
	case ORDER_RETURN: coconut_cap_grant(which, h, ALL_RIGHTS); break;
	case ORDER_DROP: note(me, which, coconut_cap_revoke(which)); break;
	case ORDER_FILL:
		while (turns-- && result >= 0)
			result = coconut_channel_send(which, me->own, 1);
		for (turns = 5; turns && result >= 0; turns--)
			result = coconut_channel_call(which, me->own, 1, me->own, MESSAGE);
		break;
	case ORDER_SERVE:
		coconut_mmap((uint64_t)HEAP, 1); /* where the kernel lets others run when it looks the page up */
		while (turns-- && result >= 0 && coconut_channel_recv(which, dice(me, 2) ? me->own : HEAP, MESSAGE) > 0)
			result = coconut_channel_send(which, dice(me, 2) ? me->own : HEAP, 1);
		break;
	case ORDER_ASK:
		while (turns-- && result >= 0)
			result = coconut_channel_call(h, me->own, 1, me->own, MESSAGE);
	}
}

/* Takes a message, and does what it asks for. */
static int64_t take(struct player *me, uint64_t h) {
	int64_t result = coconut_channel_recv(h, me->own, MESSAGE);

	if (result == 2) obey(me, h);
	return result;
}

/* Asks whoever takes the message at the other side to do something with a handle of theirs. */
static int64_t order(struct player *me, uint64_t h, enum order what, int64_t which) {
	if (which < 0) return which;
	me->own[0] = (uint8_t)what;
	me->own[1] = (uint8_t)which;
	return coconut_channel_send(h, me->own, 2);
}

static void yields(struct player *me, uint64_t most) {
	for (uint64_t turns = dice(me, most); turns; turns--)
		coconut_yield();
}

/* ---- Scenes of a leader: its handle 0 leads to somebody more urgent, 1 and 2 to equals; all of them obey ---- */

enum { URGENT, FIRST, SECOND };

/* Starts one that dies soon. Returns its handle. */
static int64_t start_mortal(struct player *me) {
	return coconut_spawn(SELF, sizeof(SELF) - 1, dice(me, 2) ? "D1" : "D2", 2);
}

/* Has somebody KILL a child that is dying, or has just died or not yet begun. */
static int64_t mourn(struct player *me) {
	int64_t child = start_mortal(me);

	if (child < 0) return child;
	int64_t there = coconut_cap_grant((uint64_t)child, URGENT, CAP_RIGHT_KILL);
	yields(me, 12);
	order(me, URGENT, ORDER_KILL, there);
	return dice(me, 2) ? coconut_wait((uint64_t)child) : coconut_cap_revoke((uint64_t)child);
}

/* Has others WAIT for a child, and then starts and lends another one, in the same slot and with the same handles. */
static int64_t vigil(struct player *me) {
	int64_t child = 0;

	for (uint64_t turns = 1 + dice(me, 3); turns && child >= 0; turns--) {
		child = start_mortal(me);
		if (child < 0) break;
		for (uint64_t to = FIRST; to <= SECOND; to++)
			order(me, to, ORDER_WAIT, coconut_cap_grant((uint64_t)child, to, CAP_RIGHT_WAIT));
		yields(me, 6);
		if (dice(me, 2)) coconut_kill((uint64_t)child);
		if (dice(me, 2) && coconut_wait((uint64_t)child) != -COCONUT_E_BADHANDLE) continue;
		yields(me, 6);
		coconut_cap_revoke((uint64_t)child);
	}
	return child;
}

/* A handle that can be revoked without the loss of its own handle for the same end: what was granted from it and came
 * back. When there is none it asks for one. */
static int64_t returned(struct player *me, uint64_t own) {
	int64_t what = coconut_cap_inspect(own);

	for (uint64_t h = OWN; what > 0 && h < 2 * OWN; h++)
		if (coconut_cap_inspect(h) == what) return (int64_t)h;
	me->seat = coconut_cap_grant(own, FIRST, ALL_RIGHTS);
	order(me, FIRST, ORDER_RETURN, me->seat);
	return -1;
}

/* Lends one an end at which it serves another one, and takes the end back in the middle of that. */
static int64_t lease(struct player *me) {
	int64_t lent = returned(me, SECOND);

	if (lent < 0) {
		coconut_yield();
		return 0;
	}
	order(me, FIRST, ORDER_SERVE, coconut_cap_grant((uint64_t)lent, FIRST, ALL_RIGHTS));
	for (uint64_t turns = 1 + dice(me, 3); turns; turns--) /* the newest are taken first */
		coconut_cap_grant((uint64_t)lent, 1 + dice(me, 2), ALL_RIGHTS);
	order(me, SECOND, ORDER_ASK, 0);
	yields(me, 8);
	coconut_cap_revoke((uint64_t)lent);
	return order(me, FIRST, ORDER_DROP, me->seat);
}

/* Lends one an end at which it goes to sleep, to receive or to send. Ends its sleep, but takes the end back before it
 * runs, and puts another one into the same place. */
static int64_t trade(struct player *me) {
	int64_t facing = coconut_cap_inspect(SECOND) ^ 1 << 16, lent = -1;
	bool fills = dice(me, 2);

	for (uint64_t h = OWN; h < 2 * OWN && lent < 0; h++)
		if (coconut_cap_inspect(h) == facing) lent = (int64_t)h;
	if (lent < 0) {
		order(me, SECOND, ORDER_RETURN, 0);
		coconut_yield();
		return 0;
	}
	order(me, FIRST, fills ? ORDER_FILL : ORDER_SERVE, coconut_cap_grant((uint64_t)lent, FIRST, ALL_RIGHTS));
	yields(me, 12);
	int64_t result = fills ? coconut_channel_recv(SECOND, me->own, MESSAGE) : coconut_channel_send(SECOND, me->own, 1);
	coconut_cap_revoke((uint64_t)lent);
	int64_t other = coconut_cap_grant(dice(me, 2) ? SECOND : FIRST, FIRST, dice(me, 2) ? ALL_RIGHTS : CAP_RIGHT_SEND);
	order(me, FIRST, ORDER_DROP, other);
	return result;
}

/* Takes answers into a buffer, and unmaps it while the one who answers waits for more. */
static int64_t pull_away(struct player *me) {
	coconut_mmap((uint64_t)HEAP, 1);
	order(me, FIRST, ORDER_SERVE, 0);
	for (uint64_t turns = 1 + dice(me, 3); turns; turns--)
		CALL(SYS_CHANNEL_CALL, FIRST, me->own, 8, HEAP, MESSAGE);
	coconut_munmap((uint64_t)HEAP, 1);
	return CALL(SYS_CHANNEL_CALL, FIRST, me->own, 8, HEAP, MESSAGE);
}

static int64_t lead(struct player *me) {
	switch (dice(me, 7)) {
	case 0: return mourn(me);
	case 1: return vigil(me);
	case 2: return pull_away(me);
	case 3 ... 4: return trade(me);
	default: return lease(me);
	}
}

/* ---- What one does alone ---- */

static int64_t start(struct player *me) {
	char args[24];
	int len = 0;

	for (uint64_t n = dice(me, 1000000000) + 1; n; n /= 10)
		args[len++] = (char)('0' + n % 10);
	if (dice(me, 8) == 0)
		return CALL(SYS_SPAWN, buffer(me, (uint8_t *)SELF), length(me), buffer(me, (uint8_t *)args), length(me));
	int64_t result = coconut_spawn(SELF, sizeof(SELF) - 1, args, (size_t)len);
	if (result < 0) return result;
	me->child = (uint64_t)note(me, (uint64_t)result, result);
	if (dice(me, 2)) coconut_cap_grant(me->child, way(me), CAP_RIGHT_KILL | (dice(me, 2) ? CAP_RIGHT_WAIT : 0));
	return result;
}

static int64_t map(struct player *me, uint64_t number) {
	uint64_t at = (uint64_t)HEAP + dice(me, HEAP_PAGES) * PAGE, pages = 1 + dice(me, 3);

	if (dice(me, 8) == 0) at = (uint64_t)LARGE + dice(me, 4) * (PAGE << 9);
	if (dice(me, 16) == 0) at = any(me);
	if (dice(me, 16) == 0) pages = dice(me, 2) ? dice(me, 200) : any(me);
	return CALL(number, at, pages);
}

/* Several CALLs over one channel, as a client and a server make them. */
static int64_t talk(struct player *me) {
	uint64_t h = way(me), turns = dice(me, 16);
	int64_t result = dice(me, 2) ? coconut_channel_recv(h, me->own, MESSAGE) : 0;

	while (turns-- && result >= 0)
		result = coconut_channel_call(h, me->own, 1 + dice(me, 8), me->own, MESSAGE);
	return result;
}

/* Gives away copies until nobody takes more, and takes them back: a deep tree, and slots that are filled anew. */
static int64_t lend(struct player *me) {
	uint64_t h = filled(me, 0), to = way(me);
	int64_t result = 0;

	for (uint64_t turns = dice(me, 12); turns && result >= 0; turns--)
		result = coconut_cap_grant(h, to, some_rights(me));
	return result;
}

/* A handle of its own for the other end of the channel whose end `h` names; another one when it has none. */
static uint64_t facing(struct player *me, uint64_t h) {
	uint64_t wanted = (uint64_t)coconut_cap_inspect(h) >> 16 ^ 1;

	for (uint64_t own = 0; own < OWN; own++)
		if ((uint64_t)coconut_cap_inspect(own) >> 16 == wanted) return own;
	return way(me);
}

/* Passes on what it was given, waits until others may use it, and wakes them; but takes it back before they run, and
 * gives something else into the same slots. */
static int64_t swap(struct player *me) {
	uint64_t h = OWN + dice(me, 3), to = way(me);

	for (uint64_t tries = 3; tries && note(me, h, coconut_cap_inspect(h)) < 0; tries--)
		h++;
	if (h >= COCONUT_CAP_SLOTS || me->empty[h]) return 0;
	uint64_t end = facing(me, h);
	for (uint64_t turns = 1 + dice(me, 3); turns; turns--)
		coconut_cap_grant(h, to, 7);
	for (uint64_t turns = dice(me, 8); turns; turns--)
		coconut_yield();
	note(me, end, coconut_channel_send(end, me->own, 1 + dice(me, 8)));
	note(me, h, coconut_cap_revoke(h));
	for (uint64_t turns = 1 + dice(me, 3); turns; turns--)
		coconut_cap_grant(filled(me, 0), to, dice(me, 4) ? 7 : 5);
	return 0;
}

/* Uses a buffer, unmaps it, and uses it again. */
static int64_t unmap(struct player *me) {
	uint64_t h = way(me);

	coconut_mmap((uint64_t)HEAP, 1);
	if (dice(me, 2))
		CALL(SYS_CHANNEL_SEND, h, HEAP, 8);
	else
		CALL(SYS_CHANNEL_CALL, h, me->own, 8, HEAP, MESSAGE);
	coconut_munmap((uint64_t)HEAP, 1);
	return dice(me, 2) ? CALL(SYS_CHANNEL_SEND, h, HEAP, 8) : CALL(SYS_CHANNEL_CALL, h, me->own, 8, HEAP, MESSAGE);
}

/* A shard of the manifest dies by a fault, after which it starts again; a spawned one, whose seed is a number, by
 * EXIT, too. */
static void die(struct player *me) {
	if ((*me->seed > '9' && *me->seed != 'D') || dice(me, 2)) __asm__ volatile("ud2");
	coconut_exit(dice(me, 2) ? COCONUT_KILLED : any(me));
}

/* A busy shard seldom waits for messages, but sends many, so that not all wait for each other all the time. */
static bool busy(struct player *me) { return *me->seed == 'B' && dice(me, 32); }

/* One that obeys takes messages by its first handle, which leads to who gives orders. */
static bool obeys(struct player *me) {
	return (*me->seed == 'O' && dice(me, 8)) || (*me->seed == 'H' && dice(me, 2));
}

static int64_t roll(struct player *me) {
	if (obeys(me)) return note(me, 0, take(me, 0));
	if (*me->seed == 'L' && dice(me, 4)) return lead(me);
	uint64_t h = handle(me), number = dice(me, 68);

	if (((number >= 13 && number < 30) || number >= 64) && busy(me)) number = dice(me, 64);
	if (*me->seed == 'W' && dice(me, 2)) { /* it waits by what it was given */
		h = OWN + dice(me, 2);
		number = 13 + dice(me, 14);
	}
	if (me->empty[filled(me, 0)] && dice(me, 4)) { /* it has nothing to call with */
		if (dice(me, 8) == 0) die(me);
		number = 52 + dice(me, 12);
	}
	switch (number) {
	case 0 ... 12: return note(me, h, CALL(SYS_CHANNEL_SEND, h, buffer(me, me->own), length(me)));
	case 13 ... 15: return note(me, h, CALL(SYS_CHANNEL_RECV, h, buffer(me, me->own), room(me)));
	case 16 ... 17: return note(me, h, take(me, h));
	case 18 ... 26:
		return note(me, h, CALL(SYS_CHANNEL_CALL, h, buffer(me, me->own), length(me), buffer(me, me->own), room(me)));
	case 27 ... 29:
		if (dice(me, 4)) h = me->child;
		return note(me, h, coconut_wait(h));
	case 30 ... 36: return note(me, h, coconut_cap_grant(h, dice(me, 8) ? way(me) : handle(me), some_rights(me)));
	case 37: return lend(me);
	case 38 ... 39: return swap(me);
	case 40 ... 42:
		h = spendable(me);
		return note(me, h, coconut_cap_revoke(h));
	case 43:
		h = spendable(me);
		return note(me, h, coconut_cap_restrict(h, any(me) | dice(me, 64)));
	case 44 ... 45: return note(me, h, coconut_cap_inspect(h));
	case 46 ... 48: return start(me);
	case 49 ... 51:
		h = dice(me, 2) ? me->child : OWN + dice(me, 4);
		return note(me, h, coconut_kill(h));
	case 52 ... 54: return map(me, SYS_MMAP);
	case 55: return map(me, SYS_MUNMAP);
	case 56: return unmap(me);
	case 57 ... 58: return coconut_yield();
	case 59: return coconut_time();
	case 60: return CALL(1 + dice(me, SYS_LIMIT + 4));
	case 61: return dice(me, 32) ? 0 : coconut_gpu_pledge(dice(me, 16));
	case 62 ... 63:
		for (uint64_t turns = dice(me, 10000); turns; turns--)
			__asm__ volatile("pause");
		return 0;
	default: return talk(me);
	}
}

#define LIFE 2000  /* calls, at most about twice as many */
#define PATIENCE 40 /* of three calls more than two are refused for so long: it has little left to call with */

int main(const char *args) {
	struct player player = {.random = 88172645463325252, .seed = args ? args : "0", .seat = -1}, *me = &player;

	for (const char *c = me->seed; *c; c++)
		me->random = (me->random + (uint64_t)*c) * 0x5851F42D4C957F2D + 1;
	me->random ^= (uint64_t)coconut_time() << 1;
	for (uint64_t h = OWN; h < COCONUT_CAP_SLOTS; h++)
		me->empty[h] = true;
	if (*me->seed == 'D') {
		yields(me, 4);
		die(me);
	}
	if (dice(me, 4)) coconut_mmap((uint64_t)HEAP, 1);
	for (int refused = 0; refused < PATIENCE && dice(me, LIFE);) {
		me->own[dice(me, MESSAGE)]++;
		int64_t result = roll(me);
		refused += result < 0 ? 1 : refused > 1 ? -2 : 0;
		me->random += (uint64_t)result * 2;
		if (!me->random) me->random = 1;
	}
	die(me);
	return 0;
}
