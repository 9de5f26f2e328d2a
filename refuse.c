/*
 * refuse.c: a call that is refused says why.
 *
 * A refusal is remembered in its shard, for gdb and for the tests, and the first few of each shard are printed.
 *
 * Read next: space.c.
 */
#include "kernel.h"

const char *const *call_names;

/* Prints the refusal that the current shard has just met, unless it has been killed and only leaves its call. Returns
 * `error`, a negative COCONUT_E_ number. */
static __attribute__((noinline)) int64_t print_refusal(int error) {
	static const char *const error_names[] = {
		"", "E_NOSYS", "E_FAULT", "E_INVAL", "E_BADHANDLE", "E_TYPE", "E_RIGHTS", "E_CLOSED", "E_BUSY", "E_TOOSMALL",
		"E_NOMEM", "E_QUOTA", "E_FULL", "E_EXISTS", "E_NOENT", "E_NOTFILE", "E_IO", "E_NOMAP", "E_NODEV", "E_PLEDGE",
		"E_VEILED", "E_NOEXEC"};
	struct shard *self = current;
	const struct refusal *refusal = &self->refusal;
	const char *name = refusal->call < SYS_LIMIT ? call_names[refusal->call] : NULL;

	if (self->killed) return error;
	if (!name) name = "unknown call";
	if (refusal->argument)
		tell("Shard %u (%s): %s refused: argument %d = 0x%lx, %s (%s)\n", self->id, self->profile->name, name,
		     refusal->argument, refusal->value, refusal->reason, error_names[-error]);
	else
		tell("Shard %u (%s): %s refused: %s (%s)\n", self->id, self->profile->name, name, refusal->reason,
		     error_names[-error]);
	self->refusals_left--;
	return error;
}

/* Remembers and, for the first few of a shard, prints why a call of the current shard is refused. `argument`
 * counts from 1; 0 when no single argument is to blame. Returns `error`, a negative COCONUT_E_ number. */
int64_t refuse(int error, int argument, uint64_t value, const char *reason) {
	struct shard *self = current;

	self->refusal = (struct refusal){self->call, argument, value, reason};
	return self->refusals_left ? print_refusal(error) : error;
}
