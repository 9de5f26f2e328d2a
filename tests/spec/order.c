/*
 * order.c: who runs, who sleeps, and who waits for ever: priorities, wake-ups, deadlocks.
 *
 * CHOICE: who runs next among equals, and for how long. The rules below hold whenever the CPU passes from one to
 * another.
 *
 * Read next: tests/host/spec.c, which plays scenes on all of this.
 */
#include "spec.h"

static bool ready(const struct life *life) { return life->state == ALIVE && !life->asleep; }

/* True when somebody more urgent than the shard is ready. */
static bool somebody_first(const struct life *me) {
	for EACH_LIFE (life)
		if (ready(life) && life->priority < me->priority) return true;
	return false;
}

/* A shard gets the CPU. */
const char *spec_may_run(int slot) {
	if (!ready(&world.life[slot])) return "a shard runs that is not ready";
	if (somebody_first(&world.life[slot])) return "a shard runs although a more urgent one is ready";
	return NULL;
}

/* A shard goes on behind its call. */
const char *spec_may_return(const struct life *me) {
	if (me->killed) return "a shard goes on that was killed";
	if (somebody_first(me)) return "a shard goes on although a more urgent one is ready";
	return NULL;
}

/* A shard falls asleep in its call. */
const char *spec_sleeps(struct life *me) {
	if (me->killed) return "a shard falls asleep that was killed";
	if (!me->in_call || spec_look(me) != WAITS) return "a shard falls asleep whose call could go on";
	if (me->call.number == SYS_CHANNEL_CALL) spec_call_begin(me);
	me->asleep = me->call.waiting = true;
	me->call.closed = false;
	return NULL;
}

/* Nobody sleeps whose call could go on. Being woken promises nothing: one may be woken and find that it has to sleep
 * again. One whose capability is gone is woken when its handle becomes free. */
const char *spec_oversleeps(const struct life *life) {
	if (life->state != ALIVE || !life->asleep) return NULL;
	if (life->killed) return "a shard that was killed sleeps on";
	if (spec_held(life->call.cap) && spec_look(life) != WAITS) return "a shard sleeps on whose call could go on";
	return spec_cap(life->call.cap) ? NULL : "a shard sleeps on whose capability is gone";
}

/* After a KILL by a killer of that priority, nobody of the victim's family who is on the way out is less urgent. */
const char *spec_killed_with(int victim, int killer_priority) {
	for EACH_LIFE (life) {
		bool going = life->slot == victim || life->killed || life->dying;
		if (life->state == ALIVE && going && spec_descends(life, victim) && life->priority > killer_priority)
			return "a killed shard, or one of its family on the way out, is less urgent than its killer";
	}
	return NULL;
}

/* ---- Deadlocks ---- */

#define BIT(slot) (1UL << (slot))

/* Whose end lets the shard at home at a pending end start. */
static int starts_by(int slot) {
	while (world.line[slot].progress == TO_START && world.line[slot].after != NOBODY)
		slot = world.line[slot].after;
	return slot;
}

/* The shards any of which could end the wait of one that sleeps. It is one of the manifest: a spawned one holds
 * nothing to wait by. */
static uint64_t could_end(const struct life *me) {
	const struct cap *mine = spec_cap(me->call.cap);
	bool sends = me->call.number == SYS_CHANNEL_SEND || (me->call.number == SYS_CHANNEL_CALL && !me->call.halfway);
	uint64_t set = 0;

	if (mine->gone) return ~0UL; /* it ends for certain */
	for (const struct cap *cap = spec_cap(mine->parent); cap; cap = spec_cap(cap->parent))
		set |= BIT(cap->holder); /* who could revoke */
	if (mine->type == CAP_SHARD) return set | BIT(mine->object);
	const struct end *other = &world.end[mine->object ^ 1];
	for EACH_CAP (cap) /* who could receive, or send, at the other end */
		if (cap->type == CAP_CHANNEL && cap->object == (mine->object ^ 1) && !cap->gone &&
		    cap->rights & (sends ? CAP_RIGHT_RECV : CAP_RIGHT_SEND))
			set |= BIT(cap->holder);
	for EACH_CAP (cap) /* who could begin a CALL where it receives */
		if (me->call.number == SYS_CHANNEL_RECV && cap->type == CAP_CHANNEL && cap->object == mine->object && !cap->gone &&
		    cap->rights & CAP_RIGHT_SEND && cap->rights & CAP_RIGHT_RECV)
			set |= BIT(cap->holder);
	if (other->state == OPEN) set |= BIT(other->home); /* who could close it */
	if (other->state == PENDING) set |= BIT(starts_by(other->home));
	return set & ~BIT(me->slot);
}

/* Whose sleep hangs on whom: the shard, who could end its wait, who could end theirs, and so on. */
uint64_t spec_waits_for(int slot) {
	uint64_t set = BIT(slot), before = 0;

	while (set != before) {
		before = set;
		for EACH_LIFE (life)
			if (before & BIT(life->slot) && life->asleep) set |= could_end(life);
	}
	return set;
}

/* A deadlock is a set of shards that sleep, and whose waits nobody outside of the set could end; and no part of it
 * is one. The supervisor kills such a set, and no other (CHOICE: when). */
const char *spec_deadlock(uint64_t set) {
	for EACH_LIFE (life) {
		if (!(set & BIT(life->slot))) continue;
		if (life->state != ALIVE || !life->asleep) return "shards are killed as deadlocked whose waits somebody could end";
		if (spec_waits_for(life->slot) != set)
			return "shards are killed as deadlocked that do not all keep each other waiting";
	}
	return NULL;
}
