/*
 * capability.c: who may do what with which object: GRANT, REVOKE, RESTRICT, INSPECT.
 *
 * All capabilities are one set. What was granted from a capability is below it, and what was granted from that, too.
 *
 * Read next: channel.c.
 */
#include "spec.h"

/* The capability of that identity, NULL: there is none any more. */
struct cap *spec_cap(uint64_t id) {
	for EACH_CAP (cap)
		if (cap->id == id) return cap;
	return NULL;
}

/* True when a capability still means something: the one itself, not another with its handle. */
bool spec_held(uint64_t id) {
	const struct cap *cap = spec_cap(id);

	return cap && !cap->gone;
}

/* What a handle names for its holder, NULL: nothing. */
struct cap *spec_named(int holder, uint64_t handle) {
	for EACH_CAP (cap)
		if (cap->holder == holder && (uint64_t)cap->handle == handle && !cap->gone) return cap;
	return NULL;
}

/* Likewise for a call that needs one of a type (0: any) with these rights. */
struct cap *spec_use(const struct life *me, uint64_t handle, int type, uint64_t rights, int64_t *error) {
	struct cap *cap = spec_named(me->slot, handle);

	*error = !cap				? -COCONUT_E_BADHANDLE
		 : type && cap->type != type	? -COCONUT_E_TYPE
		 : rights & ~cap->rights	? -COCONUT_E_RIGHTS
						: 0;
	return *error ? NULL : cap;
}

/* The handle that a shard's next capability gets: the lowest free one. A gift finds none if half of the handles hold
 * gifts, or if only one is free: that one is for the shard's own calls. */
int64_t spec_place(int holder, bool gift) {
	bool used[HANDLES] = {false};
	int gifts = 0, free = HANDLES, lowest = 0;

	for EACH_CAP (cap) {
		if (cap->holder != holder) continue;
		used[cap->handle] = true;
		free--;
		gifts += cap->parent != 0;
	}
	if (free == 0 || (gift && (gifts >= GIFTS || free == 1))) return -COCONUT_E_FULL;
	while (used[lowest])
		lowest++;
	return lowest;
}

/* Adds a capability to the set. Returns its handle, or an error. */
int64_t spec_give(int holder, int type, int object, uint64_t rights, uint64_t parent) {
	int64_t handle = spec_place(holder, parent != 0);

	if (handle >= 0)
		world.cap[world.caps++] = (struct cap){.id = ++world.last_id, .parent = parent, .holder = holder,
			.handle = (int)handle, .type = type, .object = object, .rights = rights};
	return handle;
}

/* True when `cap` is the capability `id`, or below it. */
static bool below(const struct cap *cap, uint64_t id) {
	while (cap && cap->id != id)
		cap = spec_cap(cap->parent);
	return cap;
}

/* Takes a capability back with all below it, in one moment: none of them means anything any more. Their handles
 * become free one after the other (CHOICE: in which order, and when, but all before REVOKE returns). */
void spec_revoke(uint64_t id) {
	for EACH_CAP (cap)
		if (below(cap, id)) cap->gone = true;
}

/* The handle of a capability that is gone becomes free. Who sleeps in a call through it is told. */
const char *spec_release(int holder, uint64_t handle) {
	for EACH_CAP (cap) {
		if (cap->holder != holder || (uint64_t)cap->handle != handle) continue;
		if (!cap->gone) return "a handle becomes free whose capability nobody has revoked";
		for EACH_LIFE (life) {
			if (life->asleep && life->call.cap == cap->id && !life->call.told) life->call.told = -COCONUT_E_BADHANDLE;
			if (life->in_call && life->call.cap == cap->id && life->call.begun) spec_call_over(life->slot);
			if (life->ticket == cap->id) life->ticket = 0;
		}
		*cap = world.cap[--world.caps];
		return NULL;
	}
	return "a handle becomes free that is free";
}

/* GRANT: the shard at the other end of the channel gets a copy with some of the rights. */
int64_t look_grant(const struct life *me) {
	const struct cap *cap = spec_cap(me->call.cap), *way;
	uint64_t rights = me->call.arg[2];
	int64_t error;

	if (!(way = spec_use(me, me->call.arg[1], CAP_CHANNEL, CAP_RIGHT_SEND, &error))) return error;
	if (rights == 0) return -COCONUT_E_INVAL;
	if (rights & ~cap->rights) return -COCONUT_E_RIGHTS;
	if (world.end[way->object ^ 1].state != OPEN) return -COCONUT_E_CLOSED;
	if (world.end[way->object ^ 1].home == me->slot) return -COCONUT_E_INVAL;
	return spec_place(world.end[way->object ^ 1].home, true);
}

void act_grant(struct life *me, int64_t result) {
	const struct cap *cap = spec_cap(me->call.cap), *way = spec_named(me->slot, me->call.arg[1]);

	if (result >= 0) spec_give(world.end[way->object ^ 1].home, cap->type, cap->object, me->call.arg[2], cap->id);
}

/* REVOKE and RESTRICT need nothing but a capability. */
int64_t look_revoke(const struct life *me) { return (void)me, 0; }
int64_t look_restrict(const struct life *me) { return (void)me, 0; }
void act_revoke(struct life *me, int64_t result) { (void)result, spec_revoke(me->call.cap); }
void act_restrict(struct life *me, int64_t result) { (void)result, spec_cap(me->call.cap)->rights &= me->call.arg[1]; }

int64_t look_inspect(const struct life *me) {
	const struct cap *cap = spec_cap(me->call.cap);

	return (int64_t)((uint64_t)cap->type << 48 | (uint64_t)cap->object << 16 | cap->rights);
}

void act_inspect(struct life *me, int64_t result) { (void)me, (void)result; }
