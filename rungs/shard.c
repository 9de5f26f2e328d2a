/*
 * shard.c, the rung: what shard.c, spawn.c and syscall.c add: a program of the ramdisk runs in ring 3, and calls.
 *
 * Starts the first shard of the manifest that has no GPU, and ends the run when it has ended; `--shard DIR` brings
 * another one. The files of the devices are not there: shards need them for their video memory only, and absent.c says
 * that there is none. What the rest of the manifest asks for is supervisor.c's business.
 *
 * Read next: ../supervisor.c.
 */
#include "thread.h"

static uint32_t id;
static uint64_t free_frames;

/* What the supervisor's thread does: frees the shard's slot, and ends the run with the status that it has earned. */
static void reap(void) {
	const struct shard *shard = &shards[id];

	if (shard->state != SHARD_ENDED) return;
	print("Shard: code %ld, %lu calls, %lu frames are missing\n", shard_free(&shards[id]), shard->profile->syscalls,
	      free_frames - mm_free_frames());
	if (shard->exited && !shard->exit_code) rung_end();
	debug_exit(DEBUG_EXIT_FAILED);
}

void rung_show(const struct bootinfo *info) {
	const struct manifest_shard *spec = manifest.shard;
	struct ext2_file program;

	(void)info;
	while (id < manifest.shard_count && spec->gpu) {
		spec++;
		id++;
	}
	if (id == manifest.shard_count) panic("the manifest has no shard without a GPU");
	free_frames = mm_free_frames();
	int missing = fs_find(spec->path, strlen(spec->path), &program);
	if (missing || shard_create(id, spec, &program, profile_row(id, spec->name), NULL))
		panic("%s cannot start: %s", spec->name, missing ? fs_reason(missing) : shards[id].refusal.reason);
	channels_open(id);
	sched_loop(reap, none_is_stuck);
}
