/*
 * Tests of the capability table of cap.c: slots, copies, trees, and random operations against a model that knows
 * nothing of trees: it keeps, for each capability, the number of the one that it was copied from.
 *
 * The calls at the end of cap.c need the rest of the kernel and are not made here, so what they refer to may stay
 * unresolved.
 *
 * SOURCES: cap.c
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include "kernel.h"
#include "check.h"

void interrupt_point(void) {}

#define SLOTS COCONUT_CAP_SLOTS
#define ALL (CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT)
#define ENTRIES (MAX_SHARDS * SLOTS)

static struct cap_table table;

static void clear(void) { memset(&table, 0, sizeof(table)); }

/* Gives a shard a capability of its own. */
static int own(uint32_t shard, uint16_t resource, uint8_t rights) {
	return cap_insert(&table, shard, (struct capability){.type = CAP_CHANNEL, .rights = rights, .resource = resource},
			  false);
}

/* Removes entry `top` and all its copies. Returns how many that were; the order is checked by the random test. */
static int revoke(uint32_t top) {
	int count = 0;

	cap_mark(&table, top);
	while (table.entry[top].revoked && count <= ENTRIES) {
		cap_remove(&table, cap_leaf(&table, top));
		count++;
	}
	return count;
}

static uint32_t entry(uint32_t shard, int handle) { return shard * SLOTS + (uint32_t)handle; }

TEST(handles_count_from_zero) {
	clear();
	for (int i = 0; i < SLOTS; i++)
		CHECK_EQ(own(5, (uint16_t)i, ALL), i);
	CHECK_EQ(own(5, 99, ALL), -COCONUT_E_FULL);
	CHECK_EQ(own(4, 99, ALL), 0);
	CHECK_EQ(own(6, 99, ALL), 0);
	CHECK_EQ(cap_find(&table.entry[5 * SLOTS], 7)->resource, 7);
	CHECK_EQ(revoke(entry(5, 7)), 1);
	CHECK(!cap_find(&table.entry[5 * SLOTS], 7));
	CHECK_EQ(own(5, 100, ALL), 7);
}

TEST(handles_that_name_nothing) {
	static const uint64_t wrong[] = {1, 15, 16, 17, 64, 255, 256, 1UL << 32, 1UL << 63, ~0UL};

	clear();
	own(0, 1, ALL);
	own(1, 1, ALL);
	for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++)
		CHECK(!cap_find(&table.entry[0 * SLOTS], wrong[i]));
	CHECK(cap_find(&table.entry[0 * SLOTS], 0));
	CHECK(!cap_find(&table.entry[(MAX_SHARDS - 1) * SLOTS], SLOTS - 1));
	CHECK(!cap_find(&table.entry[(MAX_SHARDS - 1) * SLOTS], SLOTS));
}

TEST(others_fill_at_most_half) {
	clear();
	own(0, 1, ALL);
	for (int i = 0; i < SLOTS / 2; i++)
		CHECK_EQ(cap_copy(&table, entry(0, 0), 1, ALL), i);
	CHECK_EQ(cap_copy(&table, entry(0, 0), 1, ALL), -COCONUT_E_FULL);
	for (int i = SLOTS / 2; i < SLOTS; i++)
		CHECK_EQ(own(1, 1, ALL), i);
	CHECK_EQ(own(1, 1, ALL), -COCONUT_E_FULL);
	CHECK_EQ(revoke(entry(1, 3)), 1);
	CHECK_EQ(cap_copy(&table, entry(0, 0), 1, ALL), -COCONUT_E_FULL); /* the last one is for its own calls */
	CHECK_EQ(revoke(entry(1, 12)), 1);
	CHECK_EQ(cap_copy(&table, entry(0, 0), 1, ALL), 3);
	CHECK_EQ(cap_copy(&table, entry(0, 0), 1, ALL), -COCONUT_E_FULL);
	CHECK_EQ(own(1, 1, ALL), 12);
}

TEST(own_slots_leave_room_for_fewer_grants) {
	clear();
	own(0, 1, ALL);
	for (int i = 0; i < SLOTS - 2; i++)
		own(1, 2, ALL);
	CHECK_EQ(cap_copy(&table, entry(0, 0), 1, ALL), SLOTS - 2);
	CHECK_EQ(cap_copy(&table, entry(0, 0), 1, ALL), -COCONUT_E_FULL);
	CHECK_EQ(own(1, 2, ALL), SLOTS - 1);
}

TEST(rights_never_grow) {
	for (unsigned held = 0; held < 256; held++)
		for (unsigned asked = 0; asked < 256; asked += 5) {
			clear();
			own(0, 1, (uint8_t)held);
			int handle = cap_copy(&table, entry(0, 0), 1, (uint8_t)asked);
			CHECK_EQ(cap_find(&table.entry[1 * SLOTS], (uint64_t)handle)->rights, held & asked);
		}
}

TEST(revoke_takes_copies_of_copies) {
	clear();
	own(0, 1, ALL);
	own(0, 2, ALL);
	int b = cap_copy(&table, entry(0, 0), 1, ALL);
	int c = cap_copy(&table, entry(1, b), 2, ALL);
	int d = cap_copy(&table, entry(2, c), 3, ALL);
	int back = cap_copy(&table, entry(3, d), 0, ALL);
	int other = cap_copy(&table, entry(0, 1), 2, ALL);
	CHECK_EQ(revoke(entry(1, b)), 4);
	CHECK(!cap_find(&table.entry[1 * SLOTS], (uint64_t)b));
	CHECK(!cap_find(&table.entry[2 * SLOTS], (uint64_t)c));
	CHECK(!cap_find(&table.entry[3 * SLOTS], (uint64_t)d));
	CHECK(!cap_find(&table.entry[0 * SLOTS], (uint64_t)back));
	CHECK(cap_find(&table.entry[0 * SLOTS], 0));
	CHECK(cap_find(&table.entry[2 * SLOTS], (uint64_t)other));
	CHECK_EQ(revoke(entry(0, 1)), 2);
	CHECK_EQ(revoke(entry(0, 0)), 1);
}

/* Between two pieces of a revocation nobody can use what it takes away, nor its slots, and others may remove part of
 * it. */
TEST(revoked_before_removed) {
	clear();
	own(0, 1, ALL);
	int b = cap_copy(&table, entry(0, 0), 1, ALL);
	int c = cap_copy(&table, entry(1, b), 2, ALL);
	int d = cap_copy(&table, entry(1, b), 3, ALL);
	cap_mark(&table, entry(0, 0));
	CHECK(!cap_find(&table.entry[0 * SLOTS], 0));
	CHECK(!cap_find(&table.entry[1 * SLOTS], (uint64_t)b));
	CHECK(!cap_find(&table.entry[2 * SLOTS], (uint64_t)c));
	CHECK(!cap_find(&table.entry[3 * SLOTS], (uint64_t)d));
	CHECK_EQ(own(1, 7, ALL), b + 1);
	CHECK_EQ(table.entry[entry(2, c)].revoked, CAP_CHANNEL);
	CHECK_EQ(revoke(entry(1, b)), 3); /* by its holder, who dies meanwhile */
	CHECK_EQ(own(1, 8, ALL), b);
	CHECK_EQ(cap_leaf(&table, entry(0, 0)), entry(0, 0));
	CHECK_EQ(revoke(entry(0, 0)), 1);
	CHECK_EQ(cap_find(&table.entry[1 * SLOTS], (uint64_t)b)->resource, 8);
}

TEST(longest_chain) {
	clear();
	own(0, 1, ALL);
	uint32_t at = entry(0, 0);
	int length = 1;
	for (uint32_t round = 0; round < SLOTS / 2; round++)
		for (uint32_t shard = 1; shard < MAX_SHARDS; shard++) {
			int handle = cap_copy(&table, at, shard, ALL);
			CHECK(handle >= 0);
			at = entry(shard, handle);
			length++;
		}
	CHECK_EQ(revoke(entry(0, 0)), length);
	for (uint32_t i = 0; i < ENTRIES; i++)
		CHECK_EQ(table.entry[i].type, 0);
}

/* ---- Random operations against the model ---- */

/* What the model knows of each entry. Serial numbers start at 1; 0 means none. */
static struct {
	int serial, parent;
	uint8_t rights;
	bool granted;
} model[ENTRIES];
static int next_serial;

static int model_free_slot(uint32_t shard, bool granted) {
	int from_others = 0, free_slot = -COCONUT_E_FULL, free_slots = 0;

	for (int h = SLOTS - 1; h >= 0; h--) {
		if (!model[entry(shard, h)].serial)
			free_slot = h, free_slots++;
		else
			from_others += model[entry(shard, h)].granted;
	}
	return granted && (from_others >= SLOTS / 2 || free_slots < 2) ? -COCONUT_E_FULL : free_slot;
}

static void model_insert(uint32_t at, int parent, uint8_t rights, bool granted) {
	model[at].serial = ++next_serial;
	model[at].parent = parent;
	model[at].rights = rights;
	model[at].granted = granted;
}

/* Removes what descends from `serial`. Returns how many entries that were. */
static int model_revoke(int serial) {
	int count = 0;

	for (uint32_t i = 0; i < ENTRIES; i++) {
		if (model[i].serial && model[i].parent == serial) count += model_revoke(model[i].serial);
		if (model[i].serial == serial) {
			model[i].serial = 0;
			count++;
		}
	}
	return count;
}

static void compare(void) {
	for (uint32_t i = 0; i < ENTRIES; i++) {
		const struct capability *cap = cap_find(&table.entry[i / SLOTS * SLOTS], i % SLOTS);
		CHECK_EQ(cap != NULL, model[i].serial != 0);
		if (!cap || !model[i].serial) continue;
		CHECK_EQ(cap->rights, model[i].rights);
		CHECK_EQ(cap->granted, model[i].granted);
		CHECK_EQ(cap->parent == CAP_NONE, model[i].parent == 0);
		if (cap->parent != CAP_NONE) CHECK_EQ(model[cap->parent].serial, model[i].parent);
	}
}

/* One random operation among the first few shards, so that their slots do run out. */
static void step(void) {
	uint32_t shard = (uint32_t)rand() % 5, from = (uint32_t)rand() % (5 * SLOTS);
	uint8_t rights = (uint8_t)(rand() & ALL);
	int operation = rand() % 8, wanted;

	if (operation == 0) {
		wanted = model_free_slot(shard, false);
		CHECK_EQ(own(shard, 7, rights), wanted);
		if (wanted >= 0) model_insert(entry(shard, wanted), 0, rights, false);
	} else if (operation < 6 && model[from].serial) {
		wanted = model_free_slot(shard, true);
		CHECK_EQ(cap_copy(&table, from, shard, rights), wanted);
		if (wanted >= 0)
			model_insert(entry(shard, wanted), model[from].serial, rights & model[from].rights, true);
	} else if (operation >= 6 && model[from].serial) {
		CHECK_EQ(revoke(from), model_revoke(model[from].serial));
	}
}

TEST(random_operations) {
	int steps = getenv("TEST_FULL") && *getenv("TEST_FULL") ? 200000 : 10000;

	for (int seed = 1; seed <= 5; seed++) {
		srand((unsigned)seed);
		clear();
		memset(model, 0, sizeof(model));
		next_serial = 0;
		for (int i = 0; i < steps && !check_failures; i++) {
			step();
			if (i % 16 == 0) compare();
		}
	}
}

int main(void) {
	RUN(handles_count_from_zero);
	RUN(handles_that_name_nothing);
	RUN(others_fill_at_most_half);
	RUN(own_slots_leave_room_for_fewer_grants);
	RUN(rights_never_grow);
	RUN(revoke_takes_copies_of_copies);
	RUN(revoked_before_removed);
	RUN(longest_chain);
	RUN(random_operations);
	return check_result();
}
