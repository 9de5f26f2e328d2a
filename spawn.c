/*
 * spawn.c: shards that start shards: SPAWN, WAIT and KILL.
 *
 * A shard that holds a SHARD capability with the right CREATE (the manifest's spawn=yes gives it one that names
 * itself) may start programs of the ramdisk. What it starts shares its quota and its priority, has no channel and so no
 * way to get a capability, and dies with it: the shards of a run form trees whose roots stand in the manifest.
 *
 * Invariants: the capability that SPAWN returned exists as long as the new shard's slot is in use, unless its
 * holder gave it up; nobody can wait any more then, and the slot is freed as soon as the shard ends.
 *
 * Read next: syscall.c.
 */
#include "kernel.h"

/* A capability for a shard is removed: if SPAWN had returned it, nobody will wait for the shard any more. */
void spawn_cap_gone(struct shard *holder, const struct capability *cap) {
	struct shard *shard = &shards[cap->resource];

	(void)holder;
	if (shard->state == SHARD_FREE || shard->parent_cap != cap - caps.entry) return;
	shard->parent_cap = CAP_NONE;
	sched_supervise();
}

/* Returns 0 when the current shard holds the right to start others, its own or a granted one, or refuses. */
static int64_t check_create(void) {
	for (uint64_t handle = 0; handle < COCONUT_CAP_SLOTS; handle++) {
		const struct capability *cap = cap_find(current->caps, handle);
		if (cap && cap->type == CAP_SHARD && cap->rights & CAP_RIGHT_CREATE) return 0;
	}
	return refuse(-COCONUT_E_RIGHTS, 0, 0, "the shard holds no SHARD capability with the right CREATE");
}

/* Starts a program in slot `id`. Returns the handle of its capability, or an error with nothing left behind but, maybe,
 * a row of the profile. */
static int64_t launch(uint32_t id, const char *path, const struct ext2_file *program, const char *args) {
	struct manifest_shard spec = {.path = path, .args = args, .priority = current->priority, .after = -1, .pipeline = -1};
	struct profile *profile = profile_row_for_program(path);
	int handle = cap_give(current->id, CAP_SHARD, CAP_RIGHT_WAIT | CAP_RIGHT_KILL | CAP_RIGHT_GRANT, id);
	uint32_t index = current->id * COCONUT_CAP_SLOTS + (uint32_t)handle;

	if (handle < 0) return refuse(handle, 0, 0, "no capability slot is free for the new shard");
	spec.name = profile->name;
	int error = shard_create(id, &spec, program, profile, current);
	if (error) {
		const char *reason = shards[id].refusal.reason; /* until others run, in whose hands the slot may come */
		cap_revoke_index(index);
		return refuse(error, 0, 0, reason);
	}
	shards[id].parent_cap = index;
	return handle;
}

/* SPAWN: starts the program at `path`. Returns the handle of its SHARD capability. */
int64_t sys_spawn(uint64_t path, uint64_t path_len, uint64_t args, uint64_t args_len) {
	char path_copy[COCONUT_PATH_MAX + 1], args_copy[COCONUT_ARGS_MAX];
	struct ext2_file program;
	int64_t bad = check_create();

	if (bad) return bad;
	if (args_len >= COCONUT_ARGS_MAX)
		return refuse(-COCONUT_E_INVAL, 4, args_len, "the args are longer than 1,023 bytes");
	if ((bad = user_path(path, path_len, path_copy))) return bad;
	if (args_len && !user_readable(args, args_len))
		return refuse(-COCONUT_E_FAULT, 3, args, "the args are not wholly mapped");
	if (args_len) copy_from_user(args_copy, args, args_len);
	args_copy[args_len] = 0;
	int error = fs_find(path_copy, path_len, &program);
	if (error) return refuse(error, 1, path, fs_reason(error));
	/* Others ran while the path was looked up: what they have taken away by now must start nothing. */
	if (!ABLATE(held) && (bad = check_create())) return bad;
	if (current->payer->family_children >= current->payer->children_quota && !ABLATE(quota))
		return refuse(-COCONUT_E_QUOTA, 0, 0,
			"the shard and its children have started as many as spawn= of the manifest allows");
	uint32_t slot = manifest.shard_count; /* a free one that no line of the manifest owns */
	while (slot < MAX_SHARDS && shards[slot].state != SHARD_FREE)
		slot++;
	if (slot == MAX_SHARDS) return refuse(-COCONUT_E_FULL, 0, 0, "all slots for shards are in use");
	return launch(slot, path_copy, &program, args_copy);
}

/* WAIT: waits until a shard has ended and frees its slot. Returns what shard_free says of its end. */
int64_t sys_wait(uint64_t handle) {
	int64_t error;
	const struct capability *cap = cap_use(1, handle, CAP_SHARD, CAP_RIGHT_WAIT, &error);

	if (!cap) return error;
	struct shard *shard = &shards[cap->resource];
	while (shard->state != SHARD_ENDED || shard->children) {
		error = sched_wait(&shard->waiters, WAIT_SHARD, shard->id);
		if (error || !cap_held())
			return refuse(-COCONUT_E_BADHANDLE, 1, handle, "the capability was taken away while waiting");
	}
	return shard_free(shard);
}

/* KILL: ends another shard. */
int64_t sys_kill(uint64_t handle) {
	int64_t error;
	const struct capability *cap = cap_use(1, handle, CAP_SHARD, CAP_RIGHT_KILL, &error);

	if (!cap) return error;
	struct shard *shard = &shards[cap->resource];
	if (shard == current) return refuse(-COCONUT_E_INVAL, 1, handle, "a shard ends itself by EXIT");
	shard_kill(shard, current->priority);
	return 0;
}
