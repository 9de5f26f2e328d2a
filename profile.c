/*
 * profile.c: what ran, how much of it, and how it ended.
 *
 * One row a shard of the manifest, kept over its restarts, and one a program that was spawned, so that the summary
 * is complete when every slot is free again. Cycles count only the time that calls spent in the kernel, never time
 * blocked.
 *
 * Read next: ext2.h. scripts/coconut-prof.py reads what profile_print writes.
 */
#include "kernel.h"

#define SPAWNED_ROWS 32 /* programs that are told apart; the last row takes all others */

static struct profile rows[MAX_SHARDS + SPAWNED_ROWS];

/* Returns row `id` (of a manifest's shard, its number), which gets its name when it is used for the first time. */
struct profile *profile_row(uint32_t id, const char *name) {
	struct profile *row = &rows[id];

	if (!row->used) {
		row->used = true;
		memcpy(row->name, name, strlen(name) + 1);
	}
	return row;
}

/* Returns the row that all spawned shards share whose paths have the same last part, after which it is named. When only
 * one row is left it takes those of all other names. */
struct profile *profile_row_for_program(const char *path) {
	char name[MANIFEST_NAME_MAX + 1] = {0};
	const char *last = path;
	uint32_t id = MAX_SHARDS;

	for (; *path; path++)
		if (*path == '/' && path[1]) last = path + 1;
	for (size_t i = 0; i < MANIFEST_NAME_MAX && last[i]; i++)
		name[i] = last[i] > ' ' && last[i] < 0x7F ? last[i] : '?';
	for (; id < MAX_SHARDS + SPAWNED_ROWS - 1 && rows[id].used && memcmp(rows[id].name, name, sizeof(name)); id++)
		interrupt_point();
	return profile_row(id, name);
}

/* Prints the summary. The shape is a contract with scripts/coconut-prof.py. */
void profile_print(void) {
	print("--- Shard Profiling Summary ---\nID  Syscalls  Cycles/Syscall  Switches  Wall (ms)  Name\n");
	for (uint32_t id = 0; id < ARRAY_LENGTH(rows); id++) {
		const struct profile *row = &rows[id];
		if (row->used)
			print("%2u  %8lu  %14lu  %8lu  %9lu  %s\n", id, row->syscalls,
			      row->syscalls ? row->cycles / row->syscalls : 0, row->switches, row->wall_ms, row->name);
	}
}

/* Prints how the last lives of the manifest's shards have ended, where all is over. Returns whether there are some, and
 * all of them exited with code 0. How a spawned shard ended is for its parent to judge. */
bool profile_print_ends(void) {
	uint32_t all = 0, good = 0, by[ENDED_NOT_STARTED + 1] = {0};

	for (uint32_t id = 0; id < MAX_SHARDS; id++) {
		if (!rows[id].used) continue;
		all++;
		by[rows[id].ending]++;
		good += rows[id].ending == ENDED_BY_EXIT && !rows[id].exit_code;
	}
	print("coconutOS supervisor v%s: ", COCONUT_VERSION);
	if (!all)
		print("there is nothing to start, the manifest names no shard.\n");
	else if (good == all)
		print("all shards completed.\n");
	else
		print("%u of %u shards completed, %u failed, %u killed, %u could not start.\n", good, all,
		      by[ENDED_BY_EXIT] - good, by[ENDED_KILLED], by[ENDED_NOT_STARTED]);
	return all && good == all;
}
