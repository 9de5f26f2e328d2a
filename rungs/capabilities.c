/*
 * capabilities.c, the rung: what cap.c adds: a table of capabilities, and a tree of grants.
 *
 * A thousand times something happens at random: a shard is given a capability, one is granted to another shard with
 * fewer rights, or one is revoked with all that was granted from it. What is left depends on every step. Nobody runs:
 * the shards are their slots of the table only.
 *
 * Read next: channels.c.
 */
#include "rungs.h"

enum { STEPS = 1000, HOLDERS = 8, KINDS = 16, REVOKES = 3, GIVES = 5 }; /* of so many kinds of steps; the rest grants */

static uint32_t given, granted, refused, revoked;

/* Does one step. */
static void step(uint64_t *state) {
	uint32_t kind = next_random(state) % KINDS, shard = next_random(state) % HOLDERS;
	uint32_t index = next_random(state) % (HOLDERS * COCONUT_CAP_SLOTS);
	uint8_t rights = (uint8_t)next_random(state);
	int result;

	if (kind >= REVOKES && kind < REVOKES + GIVES) {
		result = cap_give(shard, CAP_MEMORY, rights, index);
		given += result >= 0;
	} else if (!caps.entry[index].type) {
		return; /* there is nothing to grant or to revoke */
	} else if (kind < REVOKES) {
		cap_revoke_index(index);
		revoked++;
		return;
	} else {
		result = cap_copy(&caps, index, shard, rights);
		granted += result >= 0;
	}
	refused += result < 0;
}

void rung_show(const struct bootinfo *info) {
	uint64_t state = 1, sum = 0;
	uint32_t left = 0;

	(void)info;
	for (int i = 0; i < STEPS; i++)
		step(&state);
	for (uint32_t i = 0; i < HOLDERS * COCONUT_CAP_SLOTS; i++) {
		const struct capability *cap = &caps.entry[i];
		if (!cap->type) continue;
		left++;
		sum = sum * 31 + (i * 65536UL + cap->resource) * 256 + cap->rights;
	}
	print("Capabilities: %u given, %u granted, %u refused, %u revoked with all their copies\n", given, granted, refused,
	      revoked);
	print("Capabilities: %u are left, checksum 0x%016lx\n", left, sum);
	rung_end();
}
