/*
 * call.c: how a call begins, and what it comes to; pledges.
 *
 * A call begins: what its handle names is looked up, once. Then the shard looks at its call (`look_...`): it finds a
 * result, an error, or that it has to sleep. Nothing changes by looking. What it finds happens in the same moment
 * (`act_...`). One that sleeps is woken and looks again. WHEN a shard looks is the scheduler's choice; the calls of
 * spec_decides_at_once look as they begin.
 *
 * Errors: the first that applies, in the order of the lines below, is the result.
 *
 * Read next: capability.c.
 */
#include "spec.h"

struct world world;

#define BIT(number) (1UL << (number))
#define CHANNEL_CALLS (BIT(SYS_CHANNEL_SEND) | BIT(SYS_CHANNEL_RECV) | BIT(SYS_CHANNEL_CALL))

/* ---- Pledges ---- */

static int64_t look_pledge(const struct life *me) {
	return me->call.arg[0] & ~(uint64_t)(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA) ? -COCONUT_E_INVAL : 0;
}

/* These calls are left after any pledge; the bits of the mask leave more. What is lost never comes back. */
static void act_pledge(struct life *me, int64_t result) {
	uint64_t left = BIT(SYS_EXIT) | BIT(SYS_YIELD) | BIT(SYS_GPU_PLEDGE) | BIT(SYS_GPU_UNVEIL);

	left |= BIT(SYS_MMAP) | BIT(SYS_MUNMAP);
	if (result < 0) return;
	if (me->call.arg[0] & PLEDGE_SERIAL) left |= BIT(SYS_SERIAL_WRITE);
	if (me->call.arg[0] & PLEDGE_CHANNEL) left |= CHANNEL_CALLS;
	if (me->call.arg[0] & PLEDGE_GPU_DMA) left |= BIT(SYS_GPU_DMA);
	me->calls &= left;
}

/* ---- The calls ---- */

static int64_t look_nothing(const struct life *me) { return (void)me, 0; }
static void act_nothing(struct life *me, int64_t result) { (void)me, (void)result; }

/* Of each call: whether it goes through a handle, its first argument, with the type and the rights that it needs; what
 * its shard finds when it looks; what happens then; whether it looks as it begins. Calls of files, the GPU, the console
 * and the clock are not described here. */
#define RULES(name) look_##name, act_##name
static const struct rule {
	bool handle;
	int type;
	uint64_t rights;
	int64_t (*look)(const struct life *me);
	void (*act)(struct life *me, int64_t result);
	bool at_once;
} rules[SYS_LIMIT] = {
	[SYS_EXIT] = {false, 0, 0, RULES(nothing), true}, /* spec_dies says what happens */
	[SYS_YIELD] = {false, 0, 0, RULES(nothing), true},
	[SYS_GPU_PLEDGE] = {false, 0, 0, RULES(pledge), true},
	[SYS_CAP_GRANT] = {true, 0, CAP_RIGHT_GRANT, RULES(grant), true},
	[SYS_CAP_REVOKE] = {true, 0, 0, RULES(revoke), true},
	[SYS_CAP_RESTRICT] = {true, 0, 0, RULES(restrict), true},
	[SYS_CAP_INSPECT] = {true, 0, 0, RULES(inspect), true},
	[SYS_CHANNEL_SEND] = {true, CAP_CHANNEL, CAP_RIGHT_SEND, RULES(send), false},
	[SYS_CHANNEL_RECV] = {true, CAP_CHANNEL, CAP_RIGHT_RECV, RULES(recv), false},
	[SYS_CHANNEL_CALL] = {true, CAP_CHANNEL, CAP_RIGHT_SEND | CAP_RIGHT_RECV, RULES(call), false},
	[SYS_SPAWN] = {false, 0, 0, RULES(spawn), false},
	[SYS_WAIT] = {true, CAP_SHARD, CAP_RIGHT_WAIT, RULES(wait), false},
	[SYS_KILL] = {true, CAP_SHARD, CAP_RIGHT_KILL, RULES(kill), true},
	[SYS_MMAP] = {false, 0, 0, RULES(mmap), false},
	[SYS_MUNMAP] = {false, 0, 0, RULES(munmap), false},
};

/* True when a call has this number. */
static bool exists(uint64_t number) {
	static const uint64_t others[] = {SYS_SERIAL_WRITE, SYS_FS_OPEN, SYS_FS_READ, SYS_FS_STAT, SYS_FS_CLOSE, SYS_FS_MAP,
		SYS_GPU_DMA, SYS_GPU_UNVEIL, SYS_TIME};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (others[i] == number) return true;
	return number < SYS_LIMIT && rules[number].look;
}

/* True when the call is described here; when its shard looks as it begins. */
bool spec_describes(uint64_t number) { return number < SYS_LIMIT && rules[number].look; }
bool spec_decides_at_once(uint64_t number) { return number < SYS_LIMIT && rules[number].at_once; }

/* A shard begins a call. */
void spec_begin(struct life *me, uint64_t number, const uint64_t *arg) {
	struct call *call = &me->call;

	*call = (struct call){.number = number, .arg = {arg[0], arg[1], arg[2], arg[3], arg[4]}};
	me->in_call = true;
	if (!exists(number))
		call->error = -COCONUT_E_NOSYS;
	else if (!(me->calls >> number & 1))
		call->error = -COCONUT_E_PLEDGE;
	else if (rules[number].handle) {
		const struct cap *cap = spec_use(me, arg[0], rules[number].type, rules[number].rights, &call->error);
		call->cap = cap ? cap->id : 0;
	} else if (number == SYS_SPAWN)
		call->error = begin_spawn(me);
	else if (number == SYS_MMAP)
		call->error = begin_mmap(me);
}

/* What a shard finds when it looks at its call. */
int64_t spec_look(const struct life *me) {
	const struct call *call = &me->call;

	if (call->error) return call->error;
	return rules[call->number].look ? rules[call->number].look(me) : 0;
}

/* It looks, and what it finds happens. */
int64_t spec_step(struct life *me) {
	int64_t result = spec_look(me);

	if (me->call.error || result == WAITS) return result;
	me->call.waiting = false;
	if (rules[me->call.number].act) rules[me->call.number].act(me, result);
	return result;
}
