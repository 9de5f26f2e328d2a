/*
 * cap.c: capabilities: who may do what with which object.
 *
 * Owns one table for all shards. A shard names a capability by its handle, the number of its entry in the shard's own
 * part of the table ("slot" in this file), and cannot name any other's. A granted copy is a child, so that revoking
 * takes back every copy, however far it has travelled.
 *
 * Invariants: the rights of a child never exceed those its parent had when it was granted; others fill at most half of
 * a shard's slots, and never the last free one, which is for its own calls; indices in parent, child and sibling point
 * at used slots; what is below a revoked entry is revoked.
 *
 * Read next: channel.c.
 */
#include "kernel.h"

#define GRANTED_MAX (COCONUT_CAP_SLOTS / 2)

/* ---- The table itself: plain C over a plain array, tested on the host ---- */

/* Puts `cap` into the lowest free slot of a shard, without parent or children. `granted`: another shard does so.
 * Returns its handle, or -COCONUT_E_FULL when no slot is free, or none that others may fill. */
int cap_insert(struct cap_table *table, uint32_t shard, struct capability cap, bool granted) {
	struct capability *slots = &table->entry[shard * COCONUT_CAP_SLOTS];
	int free_slot = -1, left = 0, from_others = 0;

	for (int i = COCONUT_CAP_SLOTS - 1; i >= 0; i--) {
		if (!slots[i].type && !slots[i].revoked)
			free_slot = i, left++;
		else
			from_others += slots[i].granted;
	}
	if (!ABLATE(slots) && (!left || (granted && (from_others >= GRANTED_MAX || left == 1)))) return -COCONUT_E_FULL;
	cap.granted = granted;
	cap.serial = ++table->last_serial;
	cap.parent = cap.child = cap.sibling = CAP_NONE;
	slots[free_slot] = cap;
	return free_slot;
}

/* Gives `shard` a copy of entry `from`, with those of the given rights that it has itself, as its child. Returns the
 * handle or -COCONUT_E_FULL. */
int cap_copy(struct cap_table *table, uint32_t from, uint32_t shard, uint8_t rights) {
	struct capability *parent = &table->entry[from], copy = *parent;

	copy.rights &= rights;
	int handle = cap_insert(table, shard, copy, true);
	if (handle < 0) return handle;

	uint16_t index = (uint16_t)(shard * COCONUT_CAP_SLOTS + (uint32_t)handle);
	table->entry[index].parent = (uint16_t)from;
	table->entry[index].sibling = parent->child;
	parent->child = index;
	return handle;
}

/* Makes entry `top` and every copy below it void, before anybody else runs: none can be used or copied any more.
 * They are still to be removed. */
void cap_mark(struct cap_table *table, uint32_t top) {
	for (uint32_t at = top;; interrupt_point()) {
		struct capability *cap = &table->entry[at];
		if (cap->type) cap->revoked = cap->type;
		cap->type = 0;
		if (cap->child != CAP_NONE) {
			at = cap->child;
			continue;
		}
		while (at != top && table->entry[at].sibling == CAP_NONE)
			at = table->entry[at].parent;
		if (at == top) return;
		at = table->entry[at].sibling;
	}
}

/* Returns an entry without children below `top`, or `top` itself when nothing is left below it. */
uint32_t cap_leaf(const struct cap_table *table, uint32_t top) {
	while (table->entry[top].child != CAP_NONE)
		top = table->entry[top].child;
	return top;
}

/* Takes entry `index`, which has no children, out of its parent's list and frees its slot. */
void cap_remove(struct cap_table *table, uint32_t index) {
	struct capability *cap = &table->entry[index];

	if (cap->parent != CAP_NONE) {
		uint16_t *link = &table->entry[cap->parent].child;
		while (*link != index)
			link = &table->entry[*link].sibling;
		*link = cap->sibling;
	}
	*cap = (struct capability){0};
}

/* Returns the capability that `handle` names among the slots of a shard, NULL when there is none. */
const struct capability *cap_find(const struct capability *slots, uint64_t handle) {
	if (handle >= COCONUT_CAP_SLOTS && !ABLATE(handles)) return NULL;
	return slots[handle].type ? &slots[handle] : NULL;
}

/* ---- The calls ---- */

struct cap_table caps;
void (*cap_gone[CAP_GPU_DMA + 1])(struct shard *holder, const struct capability *cap);

static uint32_t index_of(const struct capability *cap) { return (uint32_t)(cap - caps.entry); }

/* Gives shard `id` a capability that comes from the kernel, not from another shard. Returns its handle or
 * -COCONUT_E_FULL. */
int cap_give(uint32_t id, uint8_t type, uint8_t rights, uint32_t resource) {
	struct capability cap = {.type = type, .rights = rights, .resource = (uint16_t)resource};

	return cap_insert(&caps, id, cap, false);
}

/* Likewise for those that the manifest gives the shard at its start, before it has any others: there is room for them
 * (manifest.c checks), so it cannot fail. */
void cap_give_first(uint32_t id, uint8_t type, uint8_t rights, uint32_t resource) {
	int handle = cap_give(id, type, rights, resource);

	ASSERT(handle >= 0);
}

/* Removes a capability and all its copies, and ends the waits that went through any of them. From the first moment on
 * nobody can use them, so that the tree can only shrink while others run between two pieces: each removes one leaf,
 * which it looks for from the top, since the place of the last leaf may be another capability's by now. */
void cap_revoke_index(uint32_t top) {
	cap_mark(&caps, top);
	while (caps.entry[top].revoked) {
		uint32_t leaf = cap_leaf(&caps, top);
		const struct capability *cap = &caps.entry[leaf];
		struct shard *holder = &shards[leaf / COCONUT_CAP_SLOTS];

		if (cap_gone[cap->revoked]) cap_gone[cap->revoked](holder, cap);
		cap_remove(&caps, leaf);
		if (holder->state == SHARD_BLOCKED && holder->held == cap && holder->wait != WAIT_DMA)
			sched_wake(holder, -COCONUT_E_BADHANDLE); /* edu_cap_gone has ended a copy by DMA */
		preempt_point();
	}
}

/* Removes everything a dying shard holds, even what somebody else is just revoking, with the copies it has granted. */
void caps_drop_all(struct shard *shard) {
	uint32_t first = shard->id * COCONUT_CAP_SLOTS;

	for (uint32_t i = first; i < first + COCONUT_CAP_SLOTS; i++)
		if (caps.entry[i].type || caps.entry[i].revoked) cap_revoke_index(i);
}

/* Returns the capability that argument number `argument` of a call names, when it is of the given type (0: any) and has
 * the given rights, and notes it as the one that the call goes through (`held`); otherwise NULL, with the refusal in
 * `*error`. */
const struct capability *cap_use(int argument, uint64_t handle, uint8_t type, uint8_t rights, int64_t *error) {
	static const char *const wrong_type[] = {
		[CAP_CHANNEL] = "the capability is not for a channel", [CAP_SHARD] = "the capability is not for a shard",
		[CAP_MEMORY] = "the capability is not for memory", [CAP_GPU_DMA] = "the capability is not for a GPU partition"};
	static const char *const no_right[] = {
		"the capability lacks the right SEND", "the capability lacks the right RECV",
		"the capability lacks the right GRANT", "the capability lacks the right CREATE",
		"the capability lacks the right WAIT", "the capability lacks the right KILL"};
	const struct capability *cap = cap_find(current->caps, handle);

	if (!cap)
		*error = refuse(-COCONUT_E_BADHANDLE, argument, handle, "the handle names no capability");
	else if (type && cap->type != type)
		*error = refuse(-COCONUT_E_TYPE, argument, handle, wrong_type[type]);
	else if (rights & ~cap->rights)
		*error = refuse(-COCONUT_E_RIGHTS, argument, handle, no_right[__builtin_ctz(rights & ~cap->rights)]);
	else {
		current->held = cap;
		current->held_serial = cap->serial;
		return cap;
	}
	return NULL;
}

/* True when `cap`, in whose slot there may have been others, is the one that the call of `shard` goes through. */
bool cap_is_of_call(const struct capability *cap, const struct shard *shard) {
	return cap == shard->held && (cap->serial == shard->held_serial || ABLATE(serial));
}

/* True when the current shard still holds the capability that its call has looked up by cap_use. A call asks when
 * others have run since then. Nobody but the holder, who is in this call, changes the rights of a capability: it has
 * all that it had. */
bool cap_held(void) {
	return (current->held->type && cap_is_of_call(current->held, current)) || ABLATE(held);
}

/* CAP_REVOKE: gives up the capability and takes back every copy that was granted from it. */
int64_t sys_cap_revoke(uint64_t handle) {
	int64_t error = 0;
	const struct capability *cap = cap_use(1, handle, 0, 0, &error);

	if (cap) cap_revoke_index(index_of(cap));
	return error;
}

/* CAP_RESTRICT: keeps only those of the capability's rights that `rights` names. */
int64_t sys_cap_restrict(uint64_t handle, uint64_t rights) {
	int64_t error = 0;
	const struct capability *cap = cap_use(1, handle, 0, 0, &error);

	if (cap) caps.entry[index_of(cap)].rights &= (uint8_t)rights;
	return error;
}

/* CAP_INSPECT: returns type << 48 | resource << 16 | rights. */
int64_t sys_cap_inspect(uint64_t handle) {
	const struct capability *cap = cap_find(current->caps, handle);

	if (!cap) return refuse(-COCONUT_E_BADHANDLE, 1, handle, "the handle names no capability");
	return (int64_t)((uint64_t)cap->type << 48 | (uint64_t)cap->resource << 16 | cap->rights);
}
