/*
 * supervisor.c: the supervisor's own thread: it looks after the shards.
 *
 * It starts what the manifest asks for, frees the slots of shards that have ended, brings back those that are to be
 * restarted, starts those that waited for them, and ends the run after the last one. When nothing can run, and now and
 * then otherwise, it searches for shards that keep each other waiting for ever.
 *
 * Invariant: it never waits, and it lets others in between two pieces of long work, so that a shard that is ready runs
 * soon.
 *
 * Read next: pvh.c.
 */
#include "kernel.h"

/* Where each line of the manifest stands. Its slot does not say: a free one may not have begun yet, or be over. */
static enum { LIFE_WAITING, LIFE_RUNNING, LIFE_OVER } lives[MAX_SHARDS];
static uint32_t restarts[MAX_SHARDS];
static uint64_t free_frames_at_start;

/* ---- Starting and reaping ---- */

/* Starts a shard of the manifest. The life of one that cannot start is over, and its peers find its ends closed. */
static void start_shard(uint32_t id) {
	const struct manifest_shard *spec = &manifest.shard[id];
	struct profile *profile = profile_row(id, spec->name);
	struct ext2_file program;
	int missing = fs_find(spec->path, strlen(spec->path), &program);
	int error = shard_create(id, spec, missing ? NULL : &program, profile, NULL);

	lives[id] = error ? LIFE_OVER : LIFE_RUNNING;
	if (error) {
		profile->ending = ENDED_NOT_STARTED;
		print("Shard %u (%s) cannot start from %s: %s\n", id, spec->name, spec->path,
		      missing ? fs_reason(missing) : shards[id].refusal.reason);
		channels_close(&shards[id]);
		return;
	}
	channels_open(id);
	if (spec->gpu) gpu_allow(id);
	if (spec->spawn) cap_give_first(id, CAP_SHARD, CAP_RIGHT_CREATE | CAP_RIGHT_GRANT, id); /* it may SPAWN */
}

/* Frees one slot of a spawned shard that has ended and that nobody can wait for. Returns whether there was one. */
static bool reap_spawned(void) {
	for (uint32_t id = 0; id < MAX_SHARDS; id++) {
		struct shard *shard = &shards[id];
		if (shard->state == SHARD_ENDED && shard->parent && shard->parent_cap == CAP_NONE && !shard->children) {
			shard_free(shard);
			return true;
		}
	}
	return false;
}

/* Prints the profile and ends the run with the status that the shards have earned. */
static __attribute__((noreturn)) void finish(void) {
	quiet = false;
	console_flush_all();
	if (mm_free_frames() != free_frames_at_start)
		panic("%ld frames were lost over the run", (int64_t)(free_frames_at_start - mm_free_frames()));
	iommu_report();
	if (manifest.shard_count) profile_print();
	bool good = profile_print_ends();
	print("Halting.\n");
	debug_exit(good ? DEBUG_EXIT_OK : DEBUG_EXIT_FAILED);
}

/* Frees the slots of shards that have ended, brings back those that are to be restarted, starts those that waited for
 * them. Ends the run when all is over. */
static void reap(void) {
	bool all_over = true;

	while (reap_spawned())
		preempt_point();
	for (uint32_t id = 0; id < manifest.shard_count; id++) {
		struct shard *shard = &shards[id];
		if (shard->state != SHARD_ENDED || shard->children) continue;
		if (shard_free(shard) == -1 && restarts[id] < manifest.shard[id].restart) {
			print("Shard %u (%s) restarts: %u of %u\n", id, manifest.shard[id].name, ++restarts[id],
			      manifest.shard[id].restart);
			start_shard(id);
		} else {
			lives[id] = LIFE_OVER;
		}
	}
	/* A shard waits for an earlier one, so one that cannot start lets those behind it start in the same pass. */
	for (uint32_t id = 0; id < manifest.shard_count; id++) {
		int16_t after = manifest.shard[id].after;
		if (lives[id] == LIFE_WAITING && (after < 0 || lives[after] == LIFE_OVER)) start_shard(id);
		all_over &= lives[id] == LIFE_OVER;
	}
	if (all_over) finish();
}

/* ---- Deadlocks ---- */

/* A set of shards, one bit a slot. */
typedef uint64_t shard_set;

/* For each end, who holds it with the right to send there, and to receive there. */
static shard_set senders_at[2 * MAX_CHANNELS], receivers_at[2 * MAX_CHANNELS];

static void collect_holders(void) {
	memset(senders_at, 0, sizeof(senders_at));
	memset(receivers_at, 0, sizeof(receivers_at));
	for (uint32_t i = 0; i < ARRAY_LENGTH(caps.entry); i++) {
		const struct capability *cap = &caps.entry[i];
		shard_set holder = 1UL << i / COCONUT_CAP_SLOTS;
		if (cap->type != CAP_CHANNEL) continue;
		if (cap->rights & CAP_RIGHT_SEND) senders_at[cap->resource] |= holder;
		if (cap->rights & CAP_RIGHT_RECV) receivers_at[cap->resource] |= holder;
	}
}

/* Follows the chain of `after`s from shard `id` to the first shard that has started, or has nothing to wait for, and
 * returns it: its end lets the next one of the chain start. */
static uint32_t first_of_chain(uint32_t id) {
	while (lives[id] == LIFE_WAITING && manifest.shard[id].after >= 0)
		id = (uint32_t)manifest.shard[id].after;
	return id;
}

/* Returns the shards any of which could end the wait of a blocked shard: those that could send what it waits for
 * or make room for it, the home of the other end, which could close it, and the shard whose end lets a home that
 * has not started yet begin. Those count too from whom its capability comes, who could revoke it (one that is just
 * being revoked ends its wait for certain), and somebody who could kill it: its parent. */
static shard_set who_could_wake(const struct shard *shard) {
	const struct capability *cap = &caps.entry[shard->id * COCONUT_CAP_SLOTS + shard->wait_handle];

	uint32_t other = shard->wait_object ^ 1;
	shard_set set = 0;

	if (cap->revoked) return ~0UL;
	if (shard->wait == WAIT_SHARD) {
		set |= 1UL << shard->wait_object;
	} else {
		set |= shard->wait == WAIT_RECV ? senders_at[other] : receivers_at[other];
		if (channel_home(other) >= 0) set |= 1UL << first_of_chain((uint32_t)channel_home(other));
	}
	for (; cap->parent != CAP_NONE; cap = &caps.entry[cap->parent])
		set |= 1UL << cap->parent / COCONUT_CAP_SLOTS;
	if (shard->parent) set |= 1UL << shard->parent->id;
	return set & ~(1UL << shard->id);
}

/* Returns the shards on whose ends of waiting that of shard `id` hangs, itself included: whom it waits for, whom those
 * wait for, and so on. */
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

/* Returns a set of stuck shards that keep each other stuck: each waits for all the others, if only by way of others,
 * and for nobody else. The shards outside of it go on when these have ended. Whoever waits for fewer than the set found
 * so far leads to a smaller one. */
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

/* Searches for shards whose waits can never end, because everybody who could end them waits likewise. Names those that
 * keep each other waiting, and kills them, not those that only wait for one of them: their waits end now. Returns
 * whether there were any. Before that, a DMA engine that has not answered for too long ends the wait for it. */
static bool end_deadlocks(void) {
	shard_set stuck = 0, before;

	edu_watch();
	for (uint32_t i = 0; i < MAX_SHARDS; i++)
		if (shards[i].state == SHARD_BLOCKED && shards[i].wait != WAIT_DMA) /* an engine always answers, or edu_watch */
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

/* ---- The thread ---- */

/* Becomes the supervisor's own thread: the manifest is loaded, and what the kernel needs for itself it has. */
void supervisor_work(void) {
	free_frames_at_start = mm_free_frames();
	print_verbose("Manifest: %u shards, %u channels; %lu frames free\n", manifest.shard_count,
		      manifest.channel_count, free_frames_at_start);
	sched_loop(reap, end_deadlocks);
}
