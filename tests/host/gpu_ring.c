/*
 * Tests of the command ring, of the commands and of what runs them: fences and back-pressure, refusals that change
 * nothing, products of matrices of many shapes beside a naive one.
 *
 * SOURCES: shards/lib/ring.c shards/lib/vram.c shards/lib/gpu_partition.c shards/lib/gpu_command.c
 */
#include "gpu_partition.h"
#include "check.h"

#include <math.h>

#define SIZE (1 << 20)
#define UNITS 3

static unsigned char memory[SIZE] __attribute__((aligned(64)));
static unsigned char before[SIZE];
static struct gpu gpu;

static int full(void) { return getenv("TEST_FULL") && *getenv("TEST_FULL"); }

static void start(void) {
	memset(memory, 0, SIZE);
	gpu_init(&gpu, memory, SIZE, UNITS);
}

/* Allocates a matrix of random numbers. Returns its offset. */
static uint64_t matrix(enum vram_type type, uint32_t rows, uint32_t columns) {
	int64_t offset = vram_alloc(&gpu.vram, type, (uint64_t)rows * columns * 4, 4);

	CHECK(offset >= 0);
	for (uint64_t i = 0; i < (uint64_t)rows * columns; i++)
		((float *)(memory + offset))[i] = (float)rand() / (float)RAND_MAX - 0.5f;
	return (uint64_t)offset;
}

/* ---- The ring alone ---- */

TEST(fences_count_up) {
	struct ring_entry entries[4];
	struct ring ring;
	uint64_t command;

	ring_init(&ring, entries, 4);
	CHECK(!ring_next(&ring, &command));
	CHECK_EQ(ring_result(&ring, 0), -GPU_E_FENCE);
	CHECK_EQ(ring_result(&ring, 1), -GPU_E_FENCE);
	CHECK_EQ(ring_submit(&ring, 100), 1);
	CHECK_EQ(ring_submit(&ring, 200), 2);
	CHECK_EQ(ring_result(&ring, 1), RING_PENDING);
	CHECK(ring_next(&ring, &command) && command == 100);
	CHECK(ring_next(&ring, &command) && command == 100);
	ring_complete(&ring, -GPU_E_SHAPE);
	CHECK_EQ(ring_result(&ring, 1), -GPU_E_SHAPE);
	CHECK_EQ(ring_result(&ring, 2), RING_PENDING);
	CHECK(ring_next(&ring, &command) && command == 200);
	ring_complete(&ring, 0);
	CHECK_EQ(ring_result(&ring, 2), 0);
	CHECK_EQ(ring.completed, 2);
	CHECK(!ring_next(&ring, &command));
}

TEST(a_full_ring_refuses) {
	struct ring_entry entries[4];
	struct ring ring;
	uint64_t command;

	ring_init(&ring, entries, 4);
	for (uint64_t i = 1; i <= 4; i++)
		CHECK_EQ(ring_submit(&ring, i), (long long)i);
	CHECK_EQ(ring_submit(&ring, 5), -GPU_E_FULL);
	CHECK_EQ(ring.submitted, 4);
	CHECK(ring_next(&ring, &command) && command == 1);
	ring_complete(&ring, 0);
	CHECK_EQ(ring_submit(&ring, 5), 5);
	CHECK_EQ(ring_submit(&ring, 6), -GPU_E_FULL);
	CHECK_EQ(ring_result(&ring, 1), -GPU_E_FENCE);
	CHECK_EQ(ring_result(&ring, 2), RING_PENDING);
}

TEST(a_ring_of_one) {
	struct ring_entry entry;
	struct ring ring;
	uint64_t command;

	ring_init(&ring, &entry, 1);
	for (uint64_t i = 1; i <= 5; i++) {
		CHECK_EQ(ring_submit(&ring, i * 10), (long long)i);
		CHECK_EQ(ring_submit(&ring, 1), -GPU_E_FULL);
		CHECK(ring_next(&ring, &command) && command == i * 10);
		ring_complete(&ring, 0);
		CHECK_EQ(ring_result(&ring, i), 0);
	}
}

/* Random submissions and completions beside a model that remembers everything. */
TEST(random_ring) {
	static int64_t results[200001];
	struct ring_entry entries[7];
	struct ring ring;
	uint64_t submitted = 0, completed = 0, command;
	int steps = full() ? 200000 : 40000;

	srand(4);
	ring_init(&ring, entries, 7);
	for (int i = 0; i < steps && !check_failures; i++) {
		uint64_t fence = (uint64_t)rand() % (submitted + 3);
		if (rand() % 2) {
			int64_t wanted = submitted - completed == 7 ? -GPU_E_FULL : (int64_t)submitted + 1;
			CHECK_EQ(ring_submit(&ring, (submitted + 1) * 3), wanted);
			if (wanted > 0) results[++submitted] = RING_PENDING;
		} else {
			CHECK_EQ(ring_next(&ring, &command), completed < submitted);
			if (completed < submitted) {
				CHECK_EQ(command, (completed + 1) * 3);
				results[++completed] = -(rand() % 5);
				ring_complete(&ring, results[completed]);
			}
		}
		CHECK_EQ(ring.submitted, submitted);
		CHECK_EQ(ring.completed, completed);
		if (fence >= 1 && fence <= submitted && fence + 7 > submitted)
			CHECK_EQ(ring_result(&ring, fence), results[fence]);
		else
			CHECK_EQ(ring_result(&ring, fence), -GPU_E_FENCE);
	}
}

/* ---- Single commands ---- */

/* Puts a command with a right checksum into a sealed buffer. Returns the buffer's offset. */
static uint64_t sealed(struct gpu_command command) {
	int64_t buffer = vram_alloc(&gpu.vram, VRAM_COMMANDS, sizeof(command), 64);

	command.checksum = gpu_checksum(&command);
	CHECK(buffer >= 0);
	CHECK_EQ(vram_upload(&gpu.vram, (uint64_t)buffer, &command, sizeof(command)), 0);
	CHECK_EQ(vram_seal(&gpu.vram, (uint64_t)buffer), 0);
	return (uint64_t)buffer;
}

/* Submits what is in a buffer and lets a unit take it. Returns the result of its fence. */
static int64_t run_buffer(uint64_t buffer) {
	int64_t fence = gpu_submit(&gpu, buffer);

	CHECK(fence > 0);
	CHECK_EQ(gpu_step(&gpu), 1);
	CHECK_EQ(gpu.ring.completed, fence);
	return ring_result(&gpu.ring, (uint64_t)fence);
}

/* Runs one command that has to be refused, and checks that it has changed nothing at all in VRAM. */
static void refused(struct gpu_command command, int error) {
	uint64_t buffer = sealed(command);

	memcpy(before, memory, SIZE);
	CHECK_EQ(run_buffer(buffer), -error);
	CHECK(!memcmp(before, memory, SIZE));
	CHECK_EQ(vram_free(&gpu.vram, buffer), 0);
}

/* Returns a command over the whole of its target. */
static struct gpu_command whole(enum gpu_operation operation, uint64_t target, uint64_t left, uint64_t right,
				uint32_t rows, uint32_t inner, uint32_t columns) {
	return (struct gpu_command){ .operation = operation, .value = 2.5f, .target = target, .left = left,
		.right = right, .rows = rows, .columns = columns, .inner = inner,
		.tile_rows = rows, .tile_columns = columns };
}

TEST(fill_and_copy_a_tile) {
	uint64_t a, b;
	struct gpu_command command;

	start();
	a = matrix(VRAM_SCRATCH, 5, 7);
	b = matrix(VRAM_KV_CACHE, 5, 7);
	memcpy(before, memory, SIZE);
	command = whole(GPU_FILL, a, 0, 0, 5, 0, 7);
	command.tile_row = 1, command.tile_rows = 3, command.tile_column = 2, command.tile_columns = 4;
	CHECK_EQ(run_buffer(sealed(command)), 0);
	command.operation = GPU_COPY, command.target = b, command.left = a;
	CHECK_EQ(run_buffer(sealed(command)), 0);
	for (int row = 0; row < 5; row++)
		for (int column = 0; column < 7; column++) {
			int inside = row >= 1 && row < 4 && column >= 2 && column < 6, at = row * 7 + column;
			CHECK(((float *)(memory + a))[at] == (inside ? 2.5f : ((float *)(before + a))[at]));
			CHECK(((float *)(memory + b))[at] == (inside ? 2.5f : ((float *)(before + b))[at]));
		}
}

TEST(every_flipped_bit_is_noticed) {
	uint64_t target, buffer;
	struct gpu_command command;

	start();
	target = matrix(VRAM_SCRATCH, 4, 4);
	command = whole(GPU_FILL, target, 0, 0, 4, 0, 4);
	buffer = sealed(command);
	for (unsigned bit = 0; bit < 8 * sizeof(command); bit++) {
		memory[buffer + bit / 8] ^= (unsigned char)(1 << bit % 8);
		memcpy(before, memory, SIZE);
		CHECK_EQ(run_buffer(buffer), -GPU_E_CHECKSUM);
		CHECK(!memcmp(before, memory, SIZE));
		memory[buffer + bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	CHECK_EQ(run_buffer(buffer), 0);
}

TEST(zeros_and_garbage_are_no_commands) {
	int64_t buffer;
	uint64_t garbage[8];

	start();
	buffer = vram_alloc(&gpu.vram, VRAM_COMMANDS, 128, 64);
	srand(9);
	for (int i = 0; i < 8; i++)
		garbage[i] = (uint64_t)rand() << 32 | (uint64_t)rand();
	vram_upload(&gpu.vram, (uint64_t)buffer + 64, garbage, 64);
	vram_seal(&gpu.vram, (uint64_t)buffer);
	CHECK_EQ(run_buffer((uint64_t)buffer), -GPU_E_CHECKSUM);
	CHECK_EQ(run_buffer((uint64_t)buffer + 64), -GPU_E_CHECKSUM);
	CHECK_EQ(run_buffer((uint64_t)buffer + 32), -GPU_E_CHECKSUM);
}

TEST(impossible_shapes) {
	static const uint32_t big[] = { GPU_DIMENSION_MAX + 1, 0x40000000, 0x80000000, UINT32_MAX };
	uint64_t a, b, c;
	struct gpu_command good, bad;

	start();
	a = matrix(VRAM_SCRATCH, 4, 4), b = matrix(VRAM_SCRATCH, 4, 4), c = matrix(VRAM_SCRATCH, 4, 4);
	good = whole(GPU_MATMUL, c, a, b, 4, 4, 4);
	CHECK_EQ(run_buffer(sealed(good)), 0);
	refused((bad = good, bad.operation = 0, bad), GPU_E_OPERATION);
	refused((bad = good, bad.operation = GPU_MATMUL + 1, bad), GPU_E_OPERATION);
	refused((bad = good, bad.rows = 0, bad), GPU_E_SHAPE);
	refused((bad = good, bad.columns = 0, bad), GPU_E_SHAPE);
	refused((bad = good, bad.inner = 0, bad), GPU_E_SHAPE);
	for (size_t i = 0; i < sizeof(big) / sizeof(*big); i++) {
		refused((bad = good, bad.rows = big[i], bad), GPU_E_SHAPE);
		refused((bad = good, bad.columns = big[i], bad), GPU_E_SHAPE);
		refused((bad = good, bad.inner = big[i], bad), GPU_E_SHAPE);
		refused((bad = good, bad.tile_row = big[i], bad), GPU_E_SHAPE);
		refused((bad = good, bad.tile_column = big[i], bad), GPU_E_SHAPE);
		refused((bad = good, bad.tile_rows = big[i], bad), GPU_E_SHAPE);
		refused((bad = good, bad.tile_columns = big[i], bad), GPU_E_SHAPE);
	}
	refused((bad = good, bad.tile_rows = 0, bad), GPU_E_SHAPE);
	refused((bad = good, bad.tile_columns = 0, bad), GPU_E_SHAPE);
	refused((bad = good, bad.tile_row = 1, bad), GPU_E_SHAPE);
	refused((bad = good, bad.tile_row = 1, bad.tile_rows = UINT32_MAX, bad), GPU_E_SHAPE);
	refused((bad = good, bad.tile_column = 2, bad.tile_columns = UINT32_MAX - 1, bad), GPU_E_SHAPE);
	refused((bad = good, bad.tile_column = 4, bad), GPU_E_SHAPE);
	refused((bad = good, bad.rows = bad.columns = bad.inner = GPU_DIMENSION_MAX, bad), GPU_E_RANGE);
}

TEST(operands_out_of_bounds) {
	static const uint64_t offsets[] = { SIZE, SIZE - 4, 1ull << 32, 1ull << 63, UINT64_MAX - 3 };
	uint64_t a, b, c;
	struct gpu_command good, bad;

	start();
	a = matrix(VRAM_SCRATCH, 4, 4), b = matrix(VRAM_SCRATCH, 4, 4), c = matrix(VRAM_SCRATCH, 4, 4);
	good = whole(GPU_MATMUL, c, a, b, 4, 4, 4);
	for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		refused((bad = good, bad.target = offsets[i], bad), GPU_E_RANGE);
		refused((bad = good, bad.left = offsets[i], bad), GPU_E_RANGE);
		refused((bad = good, bad.right = offsets[i], bad), GPU_E_RANGE);
	}
	/* One number beyond its own region, where the next one begins. */
	refused((bad = good, bad.left = a + 4, bad), GPU_E_RANGE);
	refused((bad = good, bad.target = b + 4, bad), GPU_E_RANGE);
	refused((bad = good, bad.inner = 5, bad), GPU_E_RANGE);
	/* The left matrix fits with an inner dimension of 8, the right one does not. */
	refused(whole(GPU_MATMUL, c, a, b, 2, 8, 4), GPU_E_RANGE);
	refused((bad = good, bad.target = c + 1, bad), GPU_E_ALIGN);
	refused((bad = good, bad.left = a + 2, bad), GPU_E_ALIGN);
	refused((bad = good, bad.right = b + 3, bad), GPU_E_ALIGN);
	refused((bad = good, bad.target = a, bad), GPU_E_OVERLAP);
	refused((bad = good, bad.target = b, bad), GPU_E_OVERLAP);
	bad = whole(GPU_COPY, a + 4, a, 0, 3, 0, 4);
	refused(bad, GPU_E_OVERLAP);
	CHECK_EQ(run_buffer(sealed((bad = good, bad.right = a, bad))), 0); /* both sources may be the same */
}

TEST(types_of_operands) {
	for (enum vram_type type = VRAM_WEIGHTS; type < VRAM_TYPES; type++) {
		int may_read = type != VRAM_COMMANDS, may_write = may_read && type != VRAM_WEIGHTS;
		uint64_t other, mine;
		start();
		other = matrix(VRAM_SCRATCH, 4, 4), mine = matrix(type, 4, 4);
		if (may_read)
			CHECK_EQ(run_buffer(sealed(whole(GPU_COPY, other, mine, 0, 4, 0, 4))), 0);
		else
			refused(whole(GPU_COPY, other, mine, 0, 4, 0, 4), GPU_E_ACCESS);
		if (may_write)
			CHECK_EQ(run_buffer(sealed(whole(GPU_COPY, mine, other, 0, 4, 0, 4))), 0);
		else
			refused(whole(GPU_COPY, mine, other, 0, 4, 0, 4), GPU_E_ACCESS);
	}
}

TEST(a_command_cannot_write_commands) {
	uint64_t target, buffer;

	start();
	target = matrix(VRAM_SCRATCH, 4, 4);
	buffer = sealed(whole(GPU_FILL, target, 0, 0, 4, 0, 4));
	refused(whole(GPU_FILL, buffer, 0, 0, 4, 0, 4), GPU_E_ACCESS);
	CHECK_EQ(run_buffer(buffer), 0);
}

TEST(only_sealed_buffers_are_submitted) {
	struct gpu_command command;
	int64_t buffer, fence;
	uint64_t target;

	start();
	target = matrix(VRAM_SCRATCH, 1, 1);
	command = whole(GPU_FILL, target, 0, 0, 1, 0, 1);
	command.checksum = gpu_checksum(&command);
	buffer = vram_alloc(&gpu.vram, VRAM_COMMANDS, 64, 64);
	vram_upload(&gpu.vram, (uint64_t)buffer, &command, 64);
	CHECK_EQ(gpu_submit(&gpu, (uint64_t)buffer), -GPU_E_UNSEALED);
	CHECK_EQ(gpu_submit(&gpu, target), -GPU_E_RANGE);
	CHECK_EQ(gpu_submit(&gpu, SIZE), -GPU_E_RANGE);
	CHECK_EQ(gpu.ring.submitted, 0);
	vram_seal(&gpu.vram, (uint64_t)buffer);
	CHECK_EQ(gpu_submit(&gpu, (uint64_t)buffer + 1), -GPU_E_RANGE);
	fence = gpu_submit(&gpu, (uint64_t)buffer);
	CHECK_EQ(fence, 1);
	CHECK_EQ(vram_free(&gpu.vram, (uint64_t)buffer), 0);
	CHECK_EQ(gpu_step(&gpu), 1);
	CHECK_EQ(ring_result(&gpu.ring, 1), -GPU_E_RANGE);
	CHECK_EQ(gpu_step(&gpu), 0);
}

TEST(a_full_ring_of_commands) {
	struct gpu_command command;
	uint64_t target, buffer;

	start();
	target = matrix(VRAM_SCRATCH, 1, 1);
	command = whole(GPU_FILL, target, 0, 0, 1, 0, 1);
	buffer = sealed(command);
	for (int i = 1; i <= GPU_RING; i++)
		CHECK_EQ(gpu_submit(&gpu, buffer), i);
	CHECK_EQ(gpu_submit(&gpu, buffer), -GPU_E_FULL);
	CHECK_EQ(gpu_run(&gpu, &command), 0);
	CHECK_EQ(gpu.ring.completed, GPU_RING + 1);
	for (int i = 0; i < UNITS; i++)
		CHECK(gpu.executed[i] == GPU_RING / UNITS || gpu.executed[i] == GPU_RING / UNITS + 1);
}

/* ---- Whole matrices ---- */

/* Multiplies two random matrices on the units and checks every number. */
static void multiply(uint32_t rows, uint32_t inner, uint32_t columns) {
	uint64_t a, b, c, tiles = ((rows + GPU_TILE - 1) / GPU_TILE) * (uint64_t)((columns + GPU_TILE - 1) / GPU_TILE);
	const float *left, *right, *product;
	struct gpu_command command;

	start();
	a = matrix(VRAM_WEIGHTS, rows, inner), b = matrix(VRAM_ACTIVATIONS, inner, columns);
	c = matrix(VRAM_ACTIVATIONS, rows, columns);
	left = (float *)(memory + a), right = (float *)(memory + b), product = (float *)(memory + c);
	command = whole(GPU_MATMUL, c, a, b, rows, inner, columns);
	CHECK_EQ(gpu_run(&gpu, &command), 0);
	CHECK_EQ(gpu.ring.completed, tiles);
	for (uint32_t i = 0; i < rows; i++)
		for (uint32_t j = 0; j < columns; j++) {
			double sum = 0;
			for (uint32_t k = 0; k < inner; k++)
				sum += (double)left[i * inner + k] * right[k * columns + j];
			if (fabs(sum - product[i * columns + j]) > 1e-4) {
				CHECK(!"a number of the product is wrong");
				return;
			}
		}
	CHECK_EQ(gpu.vram.count, 3 + (gpu.vram.regions[3].type == VRAM_FREE)); /* no command buffer is left behind */
}

TEST(products_of_all_shapes) {
	static const uint32_t sizes[] = { 1, 2, 15, 16, 17, 31, 33, 64 };
	size_t n = sizeof(sizes) / sizeof(*sizes);

	srand(5);
	for (size_t i = 0; i < n * n * n; i++)
		multiply(sizes[i % n], sizes[i / n % n], sizes[i / n / n]);
	multiply(200, 3, 190); /* more tiles than the ring holds */
	multiply(1, 500, 1);
	multiply(128, 128, 1);
	for (int i = 0; i < (full() ? 200 : 20); i++)
		multiply(1 + (uint32_t)rand() % 150, 1 + (uint32_t)rand() % 150, 1 + (uint32_t)rand() % 150);
}

TEST(units_share_the_work) {
	uint64_t total = 0;

	multiply(160, 4, 96); /* 60 tiles */
	for (int i = 0; i < UNITS; i++) {
		CHECK_EQ(gpu.executed[i], 60 / UNITS);
		total += gpu.executed[i];
	}
	CHECK_EQ(total, 60);
}

TEST(large_commands_fail_whole) {
	static const uint32_t sizes[] = { 0, UINT32_MAX, GPU_DIMENSION_MAX, GPU_DIMENSION_MAX + 1 };
	struct gpu_command command;
	uint64_t c;

	start();
	c = matrix(VRAM_WEIGHTS, 40, 40);
	command = whole(GPU_FILL, c, 0, 0, 40, 0, 40);
	memcpy(before, memory, SIZE);
	CHECK_EQ(gpu_run(&gpu, &command), -GPU_E_ACCESS);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (int which = 0; which < 2; which++) {
			struct gpu_command bad = command;
			*(which ? &bad.rows : &bad.columns) = sizes[i];
			CHECK(gpu_run(&gpu, &bad) < 0);
			CHECK(gpu.ring.completed < 1000);
		}
	CHECK_EQ(gpu.ring.completed, gpu.ring.submitted);
	CHECK(!memcmp(before, memory, SIZE));
	CHECK_EQ(gpu.vram.count, 2);
}

TEST(no_room_for_commands) {
	struct gpu_command command;
	uint64_t c;

	start();
	c = (uint64_t)vram_alloc(&gpu.vram, VRAM_SCRATCH, SIZE, 1);
	command = whole(GPU_FILL, c, 0, 0, 4, 0, 4);
	CHECK_EQ(gpu_run(&gpu, &command), -GPU_E_SPACE);
	CHECK_EQ(gpu.ring.submitted, 0);
}

int main(void) {
	RUN(fences_count_up);
	RUN(a_full_ring_refuses);
	RUN(a_ring_of_one);
	RUN(random_ring);
	RUN(fill_and_copy_a_tile);
	RUN(every_flipped_bit_is_noticed);
	RUN(zeros_and_garbage_are_no_commands);
	RUN(impossible_shapes);
	RUN(operands_out_of_bounds);
	RUN(types_of_operands);
	RUN(a_command_cannot_write_commands);
	RUN(only_sealed_buffers_are_submitted);
	RUN(a_full_ring_of_commands);
	RUN(products_of_all_shapes);
	RUN(units_share_the_work);
	RUN(large_commands_fail_whole);
	RUN(no_room_for_commands);
	return check_result();
}
