/*
 * deadlock.c: shards that keep each other waiting for ever.
 *
 * A shard is stuck when everybody who could end its wait is stuck too. Of the stuck ones those die that wait for each
 * other; whoever only waits for one of them goes on.
 *
 * Invariant: the search lets interrupts in between two pieces, but no shard. An interrupt wakes only those that wait
 * for DMA, which are not looked at: what was found stays true.
 *
 * Read next: pvh.c.
 */
#include "kernel.h"

/* A set of shards, one bit a slot. */
typedef uint64_t shard_set;

/* For each end, who holds it with the right to send there, to receive there, and with both, as CALL needs them. */
static struct { shard_set senders, receivers, callers; } at_end[2 * MAX_CHANNELS];

/* Fills the two tables from all capabilities that are not revoked. */
static void collect_holders(void) {
	memset(at_end, 0, sizeof(at_end));
	for (uint32_t i = 0; i < ARRAY_LENGTH(caps.entry); i++) {
		const struct capability *cap = &caps.entry[i];
		shard_set holder = 1UL << i / COCONUT_CAP_SLOTS;
		if (i % COCONUT_CAP_SLOTS == 0) preempt_point();
		if (cap->type != CAP_CHANNEL) continue;
		if (cap->rights & CAP_RIGHT_SEND) at_end[cap->resource].senders |= holder;
		if (cap->rights & CAP_RIGHT_RECV) at_end[cap->resource].receivers |= holder;
		if (cap->rights & CAP_RIGHT_SEND && cap->rights & CAP_RIGHT_RECV) at_end[cap->resource].callers |= holder;
	}
}

/* Returns the shards any of which could end the wait of a blocked shard. In a WAIT, that is the shard that it waits
 * for. At a channel: those that could send what it waits for, or make room; those that could begin a CALL where it
 * receives (unless it is in one itself); the home of the other end, which could
 * close it; or, if that has not started yet, the shard that it waits for to start. In both: those who granted the
 * capability that it waits through, since they could revoke it; and its parent, who could kill it. If that capability
 * is just being revoked, the wait ends for certain, which counts as anybody. */
static shard_set who_could_wake(const struct shard *shard) {
	const struct capability *cap = shard->held;
	uint32_t other = shard->wait_object ^ 1;
	shard_set set = 0;

	if (cap->revoked) return ~0UL;
	if (shard->wait == WAIT_SHARD) {
		set |= 1UL << shard->wait_object;
	} else {
		set |= shard->wait == WAIT_RECV ? at_end[other].senders : at_end[other].receivers;
		if (shard->wait == WAIT_RECV && ends[shard->wait_object].caller != shard) set |= at_end[other ^ 1].callers;
		if (channel_home(other) >= 0) set |= 1UL << first_of_chain((uint32_t)channel_home(other));
	}
	for (; cap->parent != CAP_NONE; cap = &caps.entry[cap->parent])
		set |= 1UL << cap->parent / COCONUT_CAP_SLOTS;
	if (shard->parent) set |= 1UL << shard->parent->id;
	return set & ~(1UL << shard->id);
}

/* Returns the shards that shard `id` waits for, directly or not, and itself: whom it waits for, whom those wait for,
 * and so on. */
static shard_set waits_for_all(uint32_t id) {
	shard_set found = 1UL << id, seen = 0, left;

	while ((left = found & ~seen)) {
		uint32_t next = (uint32_t)__builtin_ctzl(left);
		seen |= 1UL << next;
		found |= who_could_wake(&shards[next]);
		preempt_point();
	}
	return found;
}

/* Returns a set of stuck shards that keep each other stuck: each of them waits, directly or not, for all the rest of
 * the set and for nobody else. Stuck shards outside of it go on when these have ended. Begins with all that one shard
 * waits for; as long as one of the set waits for fewer, those are the next, smaller set. */
static shard_set circle_among(shard_set stuck) {
	shard_set circle = waits_for_all((uint32_t)__builtin_ctzl(stuck)), left = circle;

	while (left) {
		shard_set set = waits_for_all((uint32_t)__builtin_ctzl(left));
		left &= left - 1;
		if (set != circle) left = circle = set;
	}
	return circle;
}

/* Prints who waits for whom, from one shard of the circle on until it closes. */
static void print_circle(shard_set stuck) {
	uint32_t at = (uint32_t)__builtin_ctzl(stuck);
	shard_set seen = 0;

	print("Deadlock: %s", shards[at].profile->name);
	while (!(seen >> at & 1)) {
		const struct shard *shard = &shards[at];
		shard_set next = who_could_wake(shard) & stuck;

		print("%s waits ", seen ? ", which" : "");
		if (shard->wait == WAIT_SHARD)
			print("for the end of ");
		else
			print("to %s on channel %u ", shard->wait == WAIT_RECV ? "receive" : "send", shard->wait_object / 2);
		if (!next) {
			print("and nobody is left to answer");
			break;
		}
		seen |= 1UL << at;
		at = (uint32_t)__builtin_ctzl(next);
		print("%s%s", shard->wait == WAIT_RECV ? "from " : shard->wait == WAIT_SEND ? "to " : "", shards[at].profile->name);
		preempt_point();
	}
	print(". They are killed.\n");
}

/* Searches for shards whose waits can never end, because everybody who could end them waits likewise. Names those of
 * one circle and kills them, not those that only wait for one of these: the waits of such end now. Returns
 * whether there were any. Before that, edu_watch ends waits for a DMA engine that hangs. */
bool end_deadlocks(void) {
	shard_set stuck = 0, before;

	edu_watch();
	for (uint32_t i = 0; i < MAX_SHARDS; i++)
		if (shards[i].state == SHARD_BLOCKED && shards[i].wait != WAIT_DMA) /* edu_watch ends those */
			stuck |= 1UL << i;
	if (!stuck) return false;
	collect_holders();
	do {
		before = stuck;
		for (shard_set left = stuck; left; left &= left - 1) {
			uint32_t i = (uint32_t)__builtin_ctzl(left);
			if (who_could_wake(&shards[i]) & ~stuck) stuck &= ~(1UL << i);
			preempt_point();
		}
	} while (stuck != before);
	if (!stuck) return false;
	shard_set circle = ABLATE(circle) ? stuck : circle_among(stuck);
	print_circle(circle);
	for (shard_set left = circle; left; left &= left - 1) {
		shard_kill(&shards[__builtin_ctzl(left)], PRIORITY_CRITICAL);
		preempt_point();
	}
	return true;
}
