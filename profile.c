/*
 * profile.c: what ran, how much of it, and how it ended.
 *
 * One row a shard of the manifest, kept over its restarts, so that the summary is complete when every slot is
 * free again. Cycles count only the time that calls spent in the kernel, never time blocked.
 *
 * Read next: shard.c. scripts/coconut-prof.py reads what profile_print writes.
 */
#include "kernel.h"

static struct profile rows[MAX_SHARDS];

/* Returns the row of shard number `id`, named `name`. */
struct profile *profile_row(uint32_t id, const char *name)
{
	struct profile *row = &rows[id];

	if (!row->used) {
		row->used = true;
		memcpy(row->name, name, strlen(name) + 1);
	}
	return row;
}

/* Prints the summary. The shape is a contract with scripts/coconut-prof.py. */
void profile_print(void)
{
	print("--- Shard Profiling Summary ---\n");
	print("ID  Syscalls  Cycles/Syscall  Switches  Wall (ms)  Name\n");
	for (uint32_t id = 0; id < MAX_SHARDS; id++) {
		const struct profile *row = &rows[id];
		if (row->used)
			print("%2u  %8lu  %14lu  %8lu  %9lu  %s\n", id, row->syscalls,
			      row->syscalls ? row->cycles / row->syscalls : 0, row->switches, row->wall_ms, row->name);
	}
}

/* True when the last life of every shard ended with code 0. */
bool profile_all_good(void)
{
	for (uint32_t id = 0; id < MAX_SHARDS; id++)
		if (rows[id].used && rows[id].exit_code)
			return false;
	return true;
}
