/*
 * gpu_partition.c: submits commands, lets the simulated units take them in turns, and cuts large commands into tiles.
 *
 * Read next: gpu-hal/main.c.
 */
#include "gpu_partition.h"
#include "shardlib.h"

/* Starts with a partition of `size` bytes, mapped at `memory`, all of it free. Units beyond GPU_UNITS are not used. */
void gpu_init(struct gpu *gpu, void *memory, uint64_t size, uint32_t units) {
	memset(gpu, 0, sizeof(*gpu));
	gpu->units = units == 0 ? 1 : units > GPU_UNITS ? GPU_UNITS : units;
	vram_init(&gpu->vram, memory, size, gpu->regions, GPU_REGIONS);
	ring_init(&gpu->ring, gpu->entries, GPU_RING);
}

/* Submits the command at an offset in VRAM, in a sealed command buffer. Returns its fence, or an error. */
int64_t gpu_submit(struct gpu *gpu, uint64_t offset) {
	void *memory;
	int error = vram_reach(&gpu->vram, offset, sizeof(struct gpu_command), VRAM_EXECUTE, &memory);

	return error ? error : ring_submit(&gpu->ring, offset);
}

/* Fetches the command at an offset and executes it. The buffer was sealed when it was submitted, but may have been
 * freed since. */
static int fetch_and_execute(const struct gpu *gpu, uint64_t offset) {
	struct gpu_command command;
	void *memory;
	int error = vram_reach(&gpu->vram, offset, sizeof(command), VRAM_EXECUTE, &memory);

	if (error) return error;
	/* The copy is what counts from here on: it cannot change between the check and the use. */
	memcpy(&command, memory, sizeof(command));
	return gpu_execute(&gpu->vram, &command);
}

/* Lets one unit take the oldest command and complete its fence. Returns 0 when no command waits. */
int gpu_step(struct gpu *gpu) {
	uint64_t command;

	if (!ring_next(&gpu->ring, &command)) return 0;
	gpu->executed[gpu->next_unit]++;
	gpu->next_unit = (gpu->next_unit + 1) % gpu->units;
	ring_complete(&gpu->ring, fetch_and_execute(gpu, command));
	return 1;
}

/* ---- Large commands ---- */

/* Returns how many tiles lie along one dimension. A matrix without numbers has one too: the unit refuses it. */
static uint64_t tiles_along(uint32_t dimension) {
	return dimension == 0 ? 1 : ((uint64_t)dimension + GPU_TILE - 1) / GPU_TILE;
}

/* Returns the size of the tile that begins at `start`. */
static uint32_t tile_size(uint32_t dimension, uint32_t start) {
	return dimension - start < GPU_TILE ? dimension - start : GPU_TILE;
}

/* Returns the command for one tile. */
static struct gpu_command make_tile(const struct gpu_command *whole, uint64_t number) {
	struct gpu_command tile = *whole;
	uint64_t tiles_across = tiles_along(whole->columns);

	tile.tile_row = (uint32_t)(number / tiles_across * GPU_TILE);
	tile.tile_column = (uint32_t)(number % tiles_across * GPU_TILE);
	tile.tile_rows = tile_size(whole->rows, tile.tile_row);
	tile.tile_columns = tile_size(whole->columns, tile.tile_column);
	tile.checksum = gpu_checksum(&tile);
	return tile;
}

/* Submits `count` commands and lets the units work until all of them are complete. Returns 0, or the first error. The
 * ring remembers all the results, since `count` is at most its size. */
static int64_t submit_and_wait(struct gpu *gpu, uint64_t buffer, uint64_t count) {
	int64_t fence = 0, result = 0;

	for (uint64_t i = 0; i < count; i++) {
		while ((fence = gpu_submit(gpu, buffer + i * sizeof(struct gpu_command))) == -GPU_E_FULL)
			gpu_step(gpu);
		if (fence < 0) return fence;
	}
	while (gpu->ring.completed < (uint64_t)fence)
		gpu_step(gpu);
	for (uint64_t i = count; i > 0 && !result; i--)
		result = ring_result(&gpu->ring, (uint64_t)fence - (i - 1));
	return result;
}

/* Fills a command buffer with `count` tiles from number `first` on, and seals it. Returns 0 or an error. */
static int64_t write_tiles(struct gpu *gpu, const struct gpu_command *whole, uint64_t first, uint64_t count,
			   uint64_t buffer) {
	for (uint64_t i = 0; i < count; i++) {
		struct gpu_command tile = make_tile(whole, first + i);
		int error = vram_upload(&gpu->vram, buffer + i * sizeof(tile), &tile, sizeof(tile));
		if (error) return error;
	}
	return vram_seal(&gpu->vram, buffer);
}

/* Runs `count` tiles from number `first` on, in a command buffer of their own. Returns 0 or an error. */
static int64_t run_tiles(struct gpu *gpu, const struct gpu_command *whole, uint64_t first, uint64_t count) {
	int64_t buffer = vram_alloc(&gpu->vram, VRAM_COMMANDS, count * sizeof(*whole), sizeof(*whole));
	int64_t result;

	if (buffer < 0) return buffer;
	result = write_tiles(gpu, whole, first, count, (uint64_t)buffer);
	if (!result) result = submit_and_wait(gpu, (uint64_t)buffer, count);
	vram_free(&gpu->vram, (uint64_t)buffer);
	return result;
}

/* Runs a command over its whole target, whatever its size: tile, sealed buffer, ring, units. The tile and the checksum
 * of `whole` are not looked at. Returns 0, or the reason of the first error fence. */
int64_t gpu_run(struct gpu *gpu, const struct gpu_command *whole) {
	uint64_t tiles = tiles_along(whole->rows) * tiles_along(whole->columns);
	int64_t result = 0;

	for (uint64_t first = 0; first < tiles && !result; first += GPU_RING)
		result = run_tiles(gpu, whole, first, tiles - first < GPU_RING ? tiles - first : GPU_RING);
	return result;
}
