/*
 * ring: a driver shard's command ring, on real video memory. args: "b", or "a": the neighbour, which writes into a
 * sealed command of b by DMA. Handle 0 of both is their channel, 1 the other's partition.
 *
 * The same library is tested on the host (tests/host/gpu_ring.c), in more cases; this is what a shard of the machine
 * gets.
 */
#include "../expect.h"
#include "gpu_shard.h"

__asm__(".globl gpu_shard\n.set gpu_shard, 1"); /* shard.ld leaves the page of the configuration free */

#define SIDE 200 /* rows and columns of a product of 13 x 13 tiles: five times round the ring */
#define INNER 8
#define GARBAGE 0xDEADBEEF
#define NUMBERS 16 /* of the targets of single commands */

static float *numbers(const struct gpu *gpu, uint64_t offset) { return (float *)(gpu->vram.memory + offset); }

static uint64_t allocate(struct gpu *gpu, enum vram_type type, uint64_t size) {
	int64_t offset = vram_alloc(&gpu->vram, type, size, COCONUT_PAGE_SIZE);

	CHECK(offset >= 0);
	return (uint64_t)offset;
}

/* Fills all of a target with a number. */
static struct gpu_command fill(uint64_t target, float value) {
	struct gpu_command command = {.operation = GPU_FILL, .value = value, .target = target, .rows = 1, .columns = NUMBERS,
				      .tile_rows = 1, .tile_columns = NUMBERS};

	command.checksum = gpu_checksum(&command);
	return command;
}

/* Returns the offset of a sealed buffer with one command. */
static uint64_t sealed(struct gpu *gpu, struct gpu_command command) {
	uint64_t buffer = allocate(gpu, VRAM_COMMANDS, sizeof(command));

	CHECK_EQ(vram_upload(&gpu->vram, buffer, &command, sizeof(command)), 0);
	CHECK_EQ(vram_seal(&gpu->vram, buffer), 0);
	return buffer;
}

/* Submits a command, lets a unit take it, and returns the result of its fence. */
static int64_t run(struct gpu *gpu, uint64_t buffer) {
	int64_t fence = gpu_submit(gpu, buffer);

	CHECK(fence > 0);
	CHECK_EQ(ring_result(&gpu->ring, (uint64_t)fence), RING_PENDING);
	CHECK_EQ(gpu_step(gpu), 1);
	return ring_result(&gpu->ring, (uint64_t)fence);
}

/* A command that has to complete with an error fence, and leave the target as it is. */
static void fails(struct gpu *gpu, struct gpu_command command, uint64_t target, int error) {
	command.checksum = gpu_checksum(&command);
	CHECK_EQ(run(gpu, sealed(gpu, command)), -error);
	CHECK(numbers(gpu, target)[0] == 1);
}

/* Commands that no unit may carry out, and one behind them that it may: an error does not stop the ring. */
static void refusals(struct gpu *gpu) {
	uint64_t target = allocate(gpu, VRAM_SCRATCH, NUMBERS * sizeof(float)), weights = allocate(gpu, VRAM_WEIGHTS, 4096);
	struct gpu_command good = fill(target, 1), bad = fill(target, 2);
	uint64_t draft = allocate(gpu, VRAM_COMMANDS, sizeof(good));

	CHECK_EQ(run(gpu, sealed(gpu, good)), 0);
	CHECK(numbers(gpu, target)[0] == 1 && numbers(gpu, target)[NUMBERS - 1] == 1);
	bad.checksum ^= 1;
	CHECK_EQ(run(gpu, sealed(gpu, bad)), -GPU_E_CHECKSUM);
	CHECK(numbers(gpu, target)[0] == 1);
	fails(gpu, (bad = fill(target, 2), bad.operation = 77, bad), target, GPU_E_OPERATION);
	fails(gpu, (bad = fill(target, 2), bad.rows = bad.tile_rows = 4096, bad), target, GPU_E_RANGE);
	fails(gpu, fill(gpu->vram.size, 2), target, GPU_E_RANGE);
	fails(gpu, fill(UINT64_MAX - 3, 2), target, GPU_E_RANGE);
	fails(gpu, fill(weights, 2), target, GPU_E_ACCESS);
	fails(gpu, (bad = fill(target, 2), bad.tile_column = 1, bad), target, GPU_E_SHAPE);
	/* What is not sealed, not a command buffer, or not in the partition is not even taken. */
	CHECK_EQ(vram_upload(&gpu->vram, draft, &good, sizeof(good)), 0);
	CHECK_EQ(gpu_submit(gpu, draft), -GPU_E_UNSEALED);
	CHECK_EQ(gpu_submit(gpu, target), -GPU_E_ACCESS);
	CHECK_EQ(gpu_submit(gpu, gpu->vram.size - 1), -GPU_E_RANGE);
	CHECK_EQ(vram_seal(&gpu->vram, draft), 0);
	CHECK_EQ(vram_upload(&gpu->vram, draft, &bad, sizeof(bad)), -GPU_E_SEALED);
	CHECK_EQ(run(gpu, draft), 0);
}

/* A full ring takes no more, and forgets nothing; then it takes one again for each that completes. */
static void pressure(struct gpu *gpu) {
	uint64_t target = allocate(gpu, VRAM_SCRATCH, NUMBERS * sizeof(float));
	uint64_t ones = sealed(gpu, fill(target, 1)), twos = sealed(gpu, fill(target, 2));
	int64_t first = gpu_submit(gpu, ones);

	for (int i = 1; i < GPU_RING; i++)
		CHECK_EQ(gpu_submit(gpu, ones), first + i);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gpu_submit(gpu, twos), -GPU_E_FULL);
	CHECK_EQ(gpu_step(gpu), 1);
	CHECK_EQ(gpu_submit(gpu, twos), first + GPU_RING);
	CHECK_EQ(gpu_submit(gpu, twos), -GPU_E_FULL);
	CHECK_EQ(ring_result(&gpu->ring, (uint64_t)first), -GPU_E_FENCE); /* its slot has been used again */
	for (int i = 1; i < GPU_RING; i++)
		CHECK_EQ(gpu_step(gpu), 1);
	CHECK(numbers(gpu, target)[0] == 1);
	CHECK_EQ(gpu_step(gpu), 1);
	CHECK(numbers(gpu, target)[0] == 2);
	CHECK_EQ(gpu_step(gpu), 0);
	CHECK_EQ(ring_result(&gpu->ring, (uint64_t)first + GPU_RING), 0);
}

/* A product of more tiles than the ring has entries. */
static void wrap_around(struct gpu *gpu) {
	uint64_t left = allocate(gpu, VRAM_WEIGHTS, SIDE * INNER * 4);
	uint64_t right = allocate(gpu, VRAM_ACTIVATIONS, SIDE * INNER * 4);
	uint64_t product = allocate(gpu, VRAM_ACTIVATIONS, SIDE * SIDE * 4), before = gpu->ring.submitted;
	struct gpu_command whole = {.operation = GPU_MATMUL, .target = product, .left = left, .right = right,
				    .rows = SIDE, .inner = INNER, .columns = SIDE};

	for (uint32_t i = 0; i < SIDE * INNER; i++) {
		numbers(gpu, left)[i] = (float)(i % 13) - 6;
		numbers(gpu, right)[i] = (float)(i % 7) - 3;
	}
	CHECK_EQ(gpu_run(gpu, &whole), 0);
	CHECK_EQ(gpu->ring.submitted - before, 169);
	for (uint32_t row = 0; row < SIDE; row++)
		for (uint32_t column = 0; column < SIDE; column++) {
			float sum = 0;
			for (uint32_t i = 0; i < INNER; i++)
				sum += numbers(gpu, left)[row * INNER + i] * numbers(gpu, right)[i * SIDE + column];
			CHECK(numbers(gpu, product)[row * SIDE + column] == sum);
		}
}

/* A sealed command that a neighbour has written into by DMA completes with an error fence. */
static void corruption(struct gpu *gpu) {
	uint64_t target = allocate(gpu, VRAM_SCRATCH, NUMBERS * sizeof(float)), buffer = sealed(gpu, fill(target, 1));
	char byte;

	CHECK_EQ(run(gpu, buffer), 0);
	numbers(gpu, target)[0] = 5;
	CHECK_EQ(coconut_channel_call(0, &buffer, sizeof(buffer), &byte, 1), 1);
	CHECK_EQ(((volatile struct gpu_command *)(gpu->vram.memory + buffer))->rows, GARBAGE);
	CHECK_EQ(run(gpu, buffer), -GPU_E_CHECKSUM);
	CHECK(numbers(gpu, target)[0] == 5);
}

static void neighbour(const struct gpu *gpu) {
	uint64_t buffer;

	*(volatile uint32_t *)gpu->vram.memory = GARBAGE;
	CHECK_EQ(coconut_channel_recv(0, &buffer, sizeof(buffer)), sizeof(buffer));
	buffer += offsetof(struct gpu_command, rows);
	CHECK_EQ(coconut_gpu_dma(1, 0, buffer << 32 | sizeof(uint32_t)), 0);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
}

int main(const char *args) {
	struct arena arena;
	struct gpu *gpu;

	arena_init(&arena, COCONUT_HEAP_BASE);
	gpu = gpu_open("ring", &arena);
	CHECK(gpu);
	if (same(args, "a")) {
		neighbour(gpu);
		return 0;
	}
	CHECK_EQ(coconut_gpu_unveil(0, coconut_gpu_config()->vram_size), 0);
	refusals(gpu);
	pressure(gpu);
	wrap_around(gpu);
	corruption(gpu);
	return 0;
}
