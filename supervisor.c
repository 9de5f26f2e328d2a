/*
 * supervisor.c: the supervisor's own thread: it looks after the shards.
 *
 * It starts what the manifest asks for, frees the slots of shards that have ended, brings back those that are to be
 * restarted, starts those that waited for them, and ends the run after the last one. When nothing can run, and now and
 * then otherwise, it searches for deadlocks, by a function of deadlock.c that main.c passes to it.
 *
 * Invariant: it is never blocked, and it lets interrupts in between two pieces of long work. No shard runs meanwhile.
 *
 * Read next: deadlock.c.
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

	preempt_point();
	int missing = fs_find(spec->path, strlen(spec->path), &program);
	int error = shard_create(id, spec, missing ? NULL : &program, profile, NULL);

	lives[id] = error ? LIFE_OVER : LIFE_RUNNING;
	if (error) {
		profile->ending = ENDED_NOT_STARTED;
		tell("Shard %u (%s) cannot start from %s: %s\n", id, spec->name, spec->path,
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

/* Frees the slots of shards that have ended, brings back those that were killed and may restart, starts those that
 * waited for the end of others or for nothing. Ends the run when all is over. */
static void reap(void) {
	bool all_over = true;

	while (reap_spawned())
		preempt_point();
	for (uint32_t id = 0; id < manifest.shard_count; id++) {
		struct shard *shard = &shards[id];
		if (shard->state != SHARD_ENDED || shard->children) continue;
		if (shard_free(shard) == -1 && restarts[id] < manifest.shard[id].restart) {
			tell("Shard %u (%s) restarts: %u of %u\n", id, manifest.shard[id].name, ++restarts[id],
			     manifest.shard[id].restart);
			start_shard(id);
		} else {
			lives[id] = LIFE_OVER;
		}
	}
	/* A shard waits for an earlier one, so if one cannot start, those on later lines still can in the same pass. */
	for (uint32_t id = 0; id < manifest.shard_count; id++) {
		int16_t after = manifest.shard[id].after;
		if (lives[id] == LIFE_WAITING && (after < 0 || lives[after] == LIFE_OVER)) start_shard(id);
		all_over &= lives[id] == LIFE_OVER;
	}
	if (all_over) finish();
}

/* Follows the chain of `after`s from shard `id` to the first shard that no longer waits to start, or has nothing to
 * wait for, and returns it: its end lets the next one of the chain start. */
uint32_t first_of_chain(uint32_t id) {
	while (lives[id] == LIFE_WAITING && manifest.shard[id].after >= 0)
		id = (uint32_t)manifest.shard[id].after;
	return id;
}

/* ---- The thread ---- */

/* Becomes the supervisor's own thread: the manifest is loaded, and the kernel has all that it needs.
 * `search` ends waits that nobody else can end, and returns whether there were any (deadlock.c). */
void supervisor_work(bool (*search)(void)) {
	free_frames_at_start = mm_free_frames();
	print_verbose("Manifest: %u shards, %u channels; %lu frames free\n", manifest.shard_count,
		      manifest.channel_count, free_frames_at_start);
	sched_loop(reap, search);
}
