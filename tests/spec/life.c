/*
 * life.c: how shards begin and end: SPAWN, WAIT, KILL, EXIT, faults, restart.
 *
 * A shard of the manifest has the slot of its line, a spawned one a slot behind all lines (CHOICE: which). It is
 * being made, lives, dies, has ended; then its slot is freed. Dying takes time, in which others run. When it has
 * ended, its ends are closed, its handles are free, with all that was granted from them, its memory is given back,
 * and its children are dead or dying.
 *
 * Read next: memory.c.
 */
#include "spec.h"

/* True when `ancestor` is the shard, or has spawned it, directly or not. */
bool spec_descends(const struct life *life, int ancestor) {
	while (life->slot != ancestor && life->parent != NOBODY)
		life = &world.life[life->parent];
	return life->slot == ancestor;
}

/* How many shards whose slots are not free yet a shard has spawned; and all that count against the same quotas. */
uint64_t spec_children(int slot) {
	uint64_t count = 0;

	for EACH_LIFE (life)
		count += (life->state == ALIVE || life->state == ENDED) && life->parent == slot;
	return count;
}

uint64_t spec_family(int payer) {
	uint64_t count = 0;

	for EACH_LIFE (life)
		count += life->state != NONE && life->parent != NOBODY && life->payer == payer;
	return count;
}

/* ---- Beginning ---- */

/* A line's shard may start when that of its `after` is over, and the line has a life left. */
bool spec_may_start(const struct line *line) {
	return line->progress == TO_START && (line->after == NOBODY || world.line[line->after].progress == OVER);
}

/* A shard is being made: for a line of the manifest (parent: NOBODY), or for a SPAWN. */
const char *spec_make(int slot, int parent) {
	struct life *life = &world.life[slot], *by = parent == NOBODY ? NULL : &world.life[parent];

	if (life->state != NONE) return "a shard is made in a slot that is in use";
	if (!by && (slot >= world.lines || !spec_may_start(&world.line[slot])))
		return "a line of the manifest starts that has to wait, or is over";
	if (by && slot < world.lines) return "a spawned shard gets the slot of a line of the manifest";
	*life = (struct life){.state = MAKING, .slot = slot, .parent = parent, .payer = by ? by->payer : slot, .calls = ~0UL,
		.priority = by ? by->priority : world.line[slot].priority};
	if (!by) world.line[slot].progress = STARTED;
	return NULL;
}

/* It cannot be made: what it had is given back. */
void spec_unmake(int slot) {
	world.life[slot].state = NONE;
	if (slot < world.lines) world.line[slot].progress = OVER;
}

/* It is made, and ready to run its first instruction. */
const char *spec_born(int slot, uint64_t code_end) {
	if (world.life[slot].state != MAKING) return "a shard is born that nobody has made";
	world.life[slot].state = ALIVE;
	world.life[slot].code_end = code_end;
	return NULL;
}

/* SPAWN: needs a capability with CREATE, as it begins and when the shard is made. */
static bool may_create(int holder) {
	for EACH_CAP (cap)
		if (cap->holder == holder && cap->type == CAP_SHARD && cap->rights & CAP_RIGHT_CREATE && !cap->gone) return true;
	return false;
}

static bool slot_free(void) {
	for (int slot = world.lines; slot < SLOTS; slot++)
		if (world.life[slot].state == NONE) return true;
	return false;
}

int64_t begin_spawn(const struct life *me) { return may_create(me->slot) ? 0 : -COCONUT_E_RIGHTS; }

int64_t look_spawn(const struct life *me) {
	const struct call *call = &me->call;
	uint64_t path = call->arg[0], path_len = call->arg[1], args = call->arg[2], args_len = call->arg[3];

	if (call->halfway) return call->outside ? call->outside : call->handle;
	if (!may_create(me->slot)) return -COCONUT_E_RIGHTS;
	if (args_len >= COCONUT_ARGS_MAX) return -COCONUT_E_INVAL;
	if (path_len == 0 || path_len > COCONUT_PATH_MAX) return -COCONUT_E_INVAL;
	if (!spec_readable(me, path, path_len)) return -COCONUT_E_FAULT;
	if (args_len && !spec_readable(me, args, args_len)) return -COCONUT_E_FAULT;
	if (call->outside) return call->outside; /* the file */
	if (spec_family(me->payer) >= world.line[me->payer].children) return -COCONUT_E_QUOTA;
	if (!slot_free()) return -COCONUT_E_FULL;
	int64_t handle = spec_place(me->slot, false);
	return handle < 0 ? handle : HALFWAY;
}

/* The caller gets the capability; then the shard is made (spec_make), which may fail: then the capability is
 * revoked. */
void act_spawn(struct life *me, int64_t result) {
	if (result != HALFWAY) return;
	me->call.halfway = true;
	me->call.handle = spec_give(me->slot, CAP_SHARD, NOBODY, CAP_RIGHT_WAIT | CAP_RIGHT_KILL | CAP_RIGHT_GRANT, 0);
}

/* ---- Ending ---- */

/* KILL: the shard executes no instruction any more: it dies when it next gets to run. A call that it is in may still do
 * what it would have done, or part of it (CHOICE: how much), but does not begin to sleep (spec_sleeps). It gets to run
 * at a priority at least as high as the killer's (spec_killed_with). A shard that is dying has nothing more to lose. */
void spec_kill(int slot) {
	struct life *life = &world.life[slot];

	if (life->state != ALIVE || life->dying) return;
	life->killed = true;
	spec_call_over(slot);
}

int64_t look_kill(const struct life *me) { return spec_cap(me->call.cap)->object == me->slot ? -COCONUT_E_INVAL : 0; }

void act_kill(struct life *me, int64_t result) {
	if (result == 0) spec_kill(spec_cap(me->call.cap)->object);
}

/* A shard begins to die: by EXIT, because it was killed, or by a fault in ring 3. */
const char *spec_dies(struct life *me, bool exits, uint64_t code) {
	bool in_exit = me->in_call && me->call.number == SYS_EXIT;

	if (me->dying) return "a shard dies a second time";
	if (exits ? !in_exit : me->in_call && !me->killed) return "a shard dies that has no reason to";
	if (exits && code != me->call.arg[0]) return "the code is another one than EXIT was given";
	me->dying = true;
	me->exited = exits;
	me->code = code;
	me->in_call = me->call.waiting = false;
	spec_call_over(me->slot);
	return NULL;
}

/* A shard has ended. */
const char *spec_ended(struct life *me) {
	if (!me->dying) return "a shard has ended that was not dying";
	me->state = ENDED;
	for (int e = 0; e < world.ends; e++)
		if (world.end[e].home == me->slot && world.end[e].state != CLOSED)
			return "it has ended, and its end of a channel is not closed";
	for EACH_CAP (cap)
		if (cap->holder == me->slot) return "it has ended, and holds a capability";
	for EACH_LIFE (life) {
		if (life->state != ALIVE || life->parent != me->slot) continue;
		if (!life->killed && !life->dying) return "it has ended, and its child lives on";
		if (life->priority > me->priority) return "it has ended, and its child is less urgent than it is";
	}
	return me->frames ? "it has ended, and has memory" : NULL;
}

/* The slot of a shard that has ended is freed, with all capabilities for it: in a WAIT for it; or, when nobody can
 * WAIT for it, by the supervisor (CHOICE: when). It is not freed before those of its children are. A line whose
 * shard was killed starts it again, as often as it says. */
const char *spec_free(int slot) {
	struct life *life = &world.life[slot];

	if (life->state != ENDED || spec_children(slot)) return "a slot is freed whose shard has not ended, or has children";
	life->state = NONE;
	if (life->ticket) spec_revoke(life->ticket);
	if (slot >= world.lines) return NULL;
	struct line *line = &world.line[slot];
	bool again = !life->exited && line->restarts < line->restart;
	line->restarts += again;
	line->progress = again ? TO_START : OVER;
	return NULL;
}

/* WAIT: the low 32 bits of the code, or -1 for one that did not EXIT. */
int64_t look_wait(const struct life *me) {
	const struct call *call = &me->call;

	if (call->told) return call->told;
	if (!spec_held(call->cap)) return -COCONUT_E_BADHANDLE;
	const struct life *other = &world.life[spec_cap(call->cap)->object];
	if (other->state != ENDED || spec_children(other->slot)) return WAITS;
	return other->exited ? (int64_t)(uint32_t)other->code : -1;
}

void act_wait(struct life *me, int64_t result) {
	if (spec_held(me->call.cap) && result >= -1) spec_free(spec_cap(me->call.cap)->object);
}
