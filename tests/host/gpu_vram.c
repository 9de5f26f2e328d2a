/*
 * Tests of the VRAM allocator: types, alignment, bounds, zeroing, W^X, and random operations against a model that
 * keeps, for each byte of the partition, which allocation it belongs to.
 *
 * SOURCES: shards/lib/vram.c
 */
#include "gpu_error.h"
#include "vram.h"
#include "check.h"

#include <stdint.h>

#define SIZE 4096
#define LIMIT 24

static unsigned char memory[SIZE] __attribute__((aligned(64)));
static struct vram_region regions[LIMIT];
static struct vram vram;

/* Begins with an empty partition full of garbage. */
static void start(void) {
	memset(memory, 0xA5, SIZE);
	vram_init(&vram, memory, SIZE, regions, LIMIT);
}

static int64_t take(enum vram_type type, uint64_t size) { return vram_alloc(&vram, type, size, 1); }

/* Returns whether all of a range has one value. */
static int filled(uint64_t offset, uint64_t size, int value) {
	for (uint64_t i = 0; i < size; i++)
		if (memory[offset + i] != value) return 0;
	return 1;
}

static int reach(uint64_t offset, uint64_t size, unsigned access) {
	void *where = NULL;
	int error = vram_reach(&vram, offset, size, access, &where);

	CHECK(error ? where == NULL : where == memory + offset);
	return error;
}

TEST(wrong_requests) {
	static const uint64_t odd_alignments[] = { 0, 3, 6, 12, 4095, UINT64_MAX };

	start();
	CHECK_EQ(take(VRAM_FREE, 1), -GPU_E_TYPE);
	CHECK_EQ(take(VRAM_TYPES, 1), -GPU_E_TYPE);
	CHECK_EQ(take((enum vram_type)255, 1), -GPU_E_TYPE);
	CHECK_EQ(take(VRAM_SCRATCH, 0), -GPU_E_SIZE);
	CHECK_EQ(take(VRAM_SCRATCH, SIZE + 1), -GPU_E_SIZE);
	CHECK_EQ(take(VRAM_SCRATCH, UINT64_MAX), -GPU_E_SIZE);
	for (size_t i = 0; i < sizeof(odd_alignments) / sizeof(*odd_alignments); i++)
		CHECK_EQ(vram_alloc(&vram, VRAM_SCRATCH, 1, odd_alignments[i]), -GPU_E_ALIGN);
	CHECK_EQ(vram_free(&vram, 0), -GPU_E_REGION);
	CHECK_EQ(vram_free(&vram, UINT64_MAX), -GPU_E_REGION);
	CHECK_EQ(vram_seal(&vram, 0), -GPU_E_REGION);
	CHECK_EQ(vram.count, 1);
	CHECK(filled(0, SIZE, 0xA5));
}

TEST(a_whole_partition) {
	start();
	CHECK_EQ(take(VRAM_WEIGHTS, SIZE), 0);
	CHECK_EQ(take(VRAM_SCRATCH, 1), -GPU_E_SPACE);
	CHECK_EQ(vram_free(&vram, 1), -GPU_E_REGION);
	CHECK_EQ(vram_free(&vram, 0), 0);
	CHECK_EQ(vram_free(&vram, 0), -GPU_E_REGION);
	CHECK_EQ(take(VRAM_SCRATCH, SIZE), 0);
}

TEST(alignment) {
	start();
	CHECK_EQ(take(VRAM_SCRATCH, 1), 0);
	for (uint64_t alignment = 1; alignment <= SIZE / 2; alignment *= 2) {
		int64_t offset = vram_alloc(&vram, VRAM_SCRATCH, 1, alignment);
		CHECK(offset > 0 && offset % (int64_t)alignment == 0);
		CHECK_EQ(vram_free(&vram, (uint64_t)offset), 0);
	}
	CHECK_EQ(vram_alloc(&vram, VRAM_SCRATCH, 1, SIZE), -GPU_E_SPACE);
	CHECK_EQ(vram_alloc(&vram, VRAM_SCRATCH, 1, 1ull << 63), -GPU_E_SPACE);
	CHECK_EQ(vram_alloc(&vram, VRAM_SCRATCH, SIZE / 2, SIZE / 2), SIZE / 2);
	CHECK_EQ(vram_alloc(&vram, VRAM_SCRATCH, 1, SIZE / 2), -GPU_E_SPACE);
}

TEST(the_smallest_hole_that_fits) {
	start();
	CHECK_EQ(take(VRAM_SCRATCH, 300), 0);
	CHECK_EQ(take(VRAM_SCRATCH, 10), 300);
	CHECK_EQ(take(VRAM_SCRATCH, 100), 310);
	CHECK_EQ(take(VRAM_SCRATCH, 10), 410);
	CHECK_EQ(take(VRAM_SCRATCH, 100), 420);
	CHECK_EQ(take(VRAM_SCRATCH, 10), 520);
	vram_free(&vram, 0);
	vram_free(&vram, 310);
	vram_free(&vram, 420);
	CHECK_EQ(take(VRAM_SCRATCH, 90), 310);
	CHECK_EQ(take(VRAM_SCRATCH, 90), 420);
	CHECK_EQ(take(VRAM_SCRATCH, 90), 0);
	CHECK_EQ(take(VRAM_SCRATCH, 3000), 530);
}

TEST(free_neighbours_merge) {
	static const int orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++) {
		start();
		for (int j = 0; j < 3; j++)
			CHECK_EQ(take(VRAM_KV_CACHE, 1000), 1000 * j);
		for (int j = 0; j < 3; j++)
			CHECK_EQ(vram_free(&vram, (uint64_t)(1000 * orders[i][j])), 0);
		CHECK_EQ(vram.count, 1);
		CHECK_EQ(take(VRAM_KV_CACHE, SIZE), 0);
	}
}

TEST(a_full_table_changes_nothing) {
	start();
	for (int i = 0; i < LIMIT - 1; i++)
		CHECK_EQ(take(VRAM_SCRATCH, 1), i);
	CHECK_EQ(vram.count, LIMIT);
	CHECK_EQ(take(VRAM_SCRATCH, 1), -GPU_E_TABLE);
	CHECK_EQ(vram_alloc(&vram, VRAM_SCRATCH, 1, 64), -GPU_E_TABLE);
	CHECK_EQ(take(VRAM_SCRATCH, SIZE - (LIMIT - 1)), LIMIT - 1);
	CHECK_EQ(vram_free(&vram, 3), 0);
	CHECK_EQ(take(VRAM_SCRATCH, 1), 3);
}

TEST(freed_memory_is_zero) {
	for (enum vram_type type = VRAM_WEIGHTS; type < VRAM_TYPES; type++) {
		start();
		CHECK_EQ(take(VRAM_SCRATCH, 64), 0);
		CHECK_EQ(take(type, 200), 64);
		CHECK_EQ(take(VRAM_SCRATCH, 64), 264);
		memset(memory, 0x77, SIZE);
		CHECK_EQ(vram_free(&vram, 64), 0);
		CHECK(filled(64, 200, 0));
		CHECK(filled(0, 64, 0x77) && filled(264, 64, 0x77));
	}
}

TEST(activations_begin_with_zeros) {
	start();
	CHECK_EQ(take(VRAM_ACTIVATIONS, 100), 0);
	CHECK(filled(0, 100, 0) && filled(100, SIZE - 100, 0xA5));
}

TEST(ranges_end_where_regions_end) {
	start();
	CHECK_EQ(take(VRAM_SCRATCH, 100), 0);
	CHECK_EQ(take(VRAM_SCRATCH, 100), 100);
	CHECK_EQ(reach(0, 100, VRAM_READ), 0);
	CHECK_EQ(reach(99, 1, VRAM_READ), 0);
	CHECK_EQ(reach(0, 0, VRAM_READ), -GPU_E_SIZE);
	CHECK_EQ(reach(0, 101, VRAM_READ), -GPU_E_RANGE);
	CHECK_EQ(reach(99, 2, VRAM_READ), -GPU_E_RANGE);
	CHECK_EQ(reach(100, 100, VRAM_READ), 0);
	CHECK_EQ(reach(200, 1, VRAM_READ), -GPU_E_RANGE);
	CHECK_EQ(reach(SIZE - 1, 1, VRAM_READ), -GPU_E_RANGE);
	CHECK_EQ(reach(SIZE, 1, VRAM_READ), -GPU_E_RANGE);
	CHECK_EQ(reach(UINT64_MAX, 1, VRAM_READ), -GPU_E_RANGE);
	CHECK_EQ(reach(1, UINT64_MAX, VRAM_READ), -GPU_E_RANGE);
	CHECK_EQ(reach(UINT64_MAX, UINT64_MAX, VRAM_READ), -GPU_E_RANGE);
}

/* Returns the accesses that a region allows, one bit each. */
static unsigned accesses(uint64_t offset) {
	unsigned allowed = 0;

	for (unsigned access = 1; access <= VRAM_UPLOAD; access *= 2)
		allowed |= reach(offset, 1, access) ? 0 : access;
	return allowed;
}

TEST(never_writable_and_executable) {
	for (enum vram_type type = VRAM_WEIGHTS; type < VRAM_TYPES; type++) {
		start();
		CHECK_EQ(take(type, 64), 0);
		CHECK(!(accesses(0) & VRAM_EXECUTE));
		CHECK_EQ(!(accesses(0) & VRAM_WRITE), type == VRAM_WEIGHTS || type == VRAM_COMMANDS);
		CHECK_EQ(vram_seal(&vram, 0), type == VRAM_COMMANDS ? 0 : -GPU_E_ACCESS);
		CHECK_EQ(accesses(0) == VRAM_EXECUTE, type == VRAM_COMMANDS);
	}
}

TEST(sealed_until_freed) {
	start();
	CHECK_EQ(take(VRAM_COMMANDS, 64), 0);
	CHECK_EQ(reach(0, 64, VRAM_EXECUTE), -GPU_E_UNSEALED);
	CHECK_EQ(vram_upload(&vram, 0, "command", 8), 0);
	CHECK_EQ(vram_seal(&vram, 1), -GPU_E_REGION);
	CHECK_EQ(vram_seal(&vram, 0), 0);
	CHECK_EQ(vram_seal(&vram, 0), -GPU_E_SEALED);
	CHECK_EQ(vram_upload(&vram, 0, "another", 8), -GPU_E_SEALED);
	CHECK(!strcmp((char *)memory, "command"));
	CHECK_EQ(reach(0, 64, VRAM_EXECUTE), 0);
	CHECK_EQ(reach(0, 64, VRAM_READ), -GPU_E_ACCESS);
	CHECK_EQ(reach(0, 64, VRAM_WRITE), -GPU_E_ACCESS);
	CHECK_EQ(vram_free(&vram, 0), 0);
	CHECK_EQ(reach(0, 64, VRAM_EXECUTE), -GPU_E_RANGE);
	CHECK_EQ(take(VRAM_COMMANDS, 64), 0);
	CHECK_EQ(vram_upload(&vram, 0, "another", 8), 0);
}

/* ---- Random operations against the model ---- */

static int owner[SIZE]; /* of each byte: the serial number of its allocation, 0 when it is free */
static struct {
	uint64_t offset, size;
	enum vram_type type;
	int live, sealed;
} allocation[100000];
static int allocations;

/* Returns the number of free bytes from `offset` on. */
static uint64_t free_run(uint64_t offset) {
	uint64_t length = 0;

	while (offset + length < SIZE && !owner[offset + length])
		length++;
	return length;
}

/* Returns where the allocator has to put an allocation, or -1. Goes through all holes byte by byte. */
static int64_t model_place(uint64_t size, uint64_t alignment) {
	uint64_t best_hole = UINT64_MAX;
	int64_t best = -1;

	for (uint64_t hole = 0; hole < SIZE; hole++) {
		uint64_t length = free_run(hole), at = hole;
		if (!length) continue;
		while (at % alignment)
			at++;
		if (at + size <= hole + length && length < best_hole) {
			best_hole = length;
			best = (int64_t)at;
		}
		hole += length;
	}
	return best;
}

static void random_alloc(void) {
	enum vram_type type = 1 + (enum vram_type)(rand() % (VRAM_TYPES - 1));
	uint64_t size = 1 + (uint64_t)rand() % (rand() % 4 ? 200 : 1500), alignment = 1ull << rand() % 9;
	int64_t wanted = model_place(size, alignment), got = vram_alloc(&vram, type, size, alignment);

	if (got == -GPU_E_TABLE) {
		CHECK(wanted >= 0 && vram.count + 2 > LIMIT);
		return;
	}
	CHECK_EQ(got, wanted < 0 ? -GPU_E_SPACE : wanted);
	if (got < 0 || got != wanted) return;
	CHECK(type != VRAM_ACTIVATIONS || filled((uint64_t)got, size, 0));
	allocations++;
	for (uint64_t i = 0; i < size; i++)
		owner[(uint64_t)got + i] = allocations;
	memset(memory + got, 1 + allocations % 255, size);
	allocation[allocations].offset = (uint64_t)got;
	allocation[allocations].size = size;
	allocation[allocations].type = type;
	allocation[allocations].live = 1;
	allocation[allocations].sealed = 0;
}

static void random_free(void) {
	uint64_t offset = (uint64_t)rand() % SIZE;
	int number = owner[offset];

	if (rand() % 8 && number) /* mostly the start of a region */
		offset = allocation[number].offset;
	if (!number || allocation[number].offset != offset) {
		CHECK_EQ(vram_free(&vram, offset), -GPU_E_REGION);
		return;
	}
	CHECK(filled(offset, allocation[number].size, 1 + number % 255)); /* nobody else has touched it */
	CHECK_EQ(vram_free(&vram, offset), 0);
	CHECK(filled(offset, allocation[number].size, 0));
	for (uint64_t i = 0; i < allocation[number].size; i++)
		owner[offset + i] = 0;
	allocation[number].live = 0;
}

static void random_seal(void) {
	uint64_t offset = (uint64_t)rand() % SIZE;
	int number = owner[offset], wanted = -GPU_E_REGION;

	if (number) {
		offset = allocation[number].offset;
		wanted = allocation[number].sealed ? -GPU_E_SEALED : 0;
		if (allocation[number].type != VRAM_COMMANDS) wanted = -GPU_E_ACCESS;
	}
	CHECK_EQ(vram_seal(&vram, offset), wanted);
	if (!wanted) allocation[number].sealed = 1;
}

/* Asks for a random range, and compares only whether it may be reached. */
static void random_reach(void) {
	static const unsigned allowed[VRAM_TYPES] = { 0, VRAM_READ | VRAM_UPLOAD, VRAM_READ | VRAM_WRITE | VRAM_UPLOAD,
		VRAM_READ | VRAM_WRITE | VRAM_UPLOAD, VRAM_READ | VRAM_WRITE | VRAM_UPLOAD, VRAM_UPLOAD };
	uint64_t offset = (uint64_t)rand() % SIZE, size = 1 + (uint64_t)rand() % 64;
	unsigned access = 1u << rand() % 4, may;
	int number = owner[offset];

	may = allocation[number].sealed ? VRAM_EXECUTE : allowed[allocation[number].type];
	CHECK_EQ(!reach(offset, size, access),
		 number && offset + size <= allocation[number].offset + allocation[number].size && (may & access));
}

/* Compares the table of regions with the model byte by byte. */
static void compare(void) {
	uint64_t at = 0;

	for (uint32_t i = 0; i < vram.count; i++) {
		const struct vram_region *region = &vram.regions[i];
		CHECK_EQ(region->offset, at);
		CHECK(region->size > 0);
		CHECK(i == 0 || region->type != VRAM_FREE || region[-1].type != VRAM_FREE);
		for (uint64_t j = 0; j < region->size && at + j < SIZE; j++)
			CHECK_EQ(owner[at + j] != 0, region->type != VRAM_FREE);
		at += region->size;
	}
	CHECK_EQ(at, SIZE);
}

TEST(random_operations) {
	int steps = getenv("TEST_FULL") && *getenv("TEST_FULL") ? 100000 : 20000;

	for (int seed = 1; seed <= 3; seed++) {
		srand((unsigned)seed);
		start();
		memset(owner, 0, sizeof(owner));
		memset(allocation, 0, sizeof(allocation));
		allocations = 0;
		for (int i = 0; i < steps && !check_failures; i++) {
			int kind = rand() % 10;
			if (kind < 4)
				random_alloc();
			else if (kind < 7)
				random_free();
			else if (kind < 8)
				random_seal();
			else
				random_reach();
			if (i % 16 == 0) compare();
		}
	}
}

int main(void) {
	RUN(wrong_requests);
	RUN(a_whole_partition);
	RUN(alignment);
	RUN(the_smallest_hole_that_fits);
	RUN(free_neighbours_merge);
	RUN(a_full_table_changes_nothing);
	RUN(freed_memory_is_zero);
	RUN(activations_begin_with_zeros);
	RUN(ranges_end_where_regions_end);
	RUN(never_writable_and_executable);
	RUN(sealed_until_freed);
	RUN(random_operations);
	return check_result();
}
