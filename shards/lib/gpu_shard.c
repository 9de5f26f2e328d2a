/*
 * gpu_shard.c: the system calls with which a GPU shard begins. See gpu_shard.h.
 *
 * Read next: gpu-hal/main.c, gpu-pipeline/main.c.
 */
#include "gpu_shard.h"

#include "coconut.h"

/* Splits a size into a number and the largest unit that measures it without a rest. Returns the unit's name. */
const char *size_unit(uint64_t bytes, uint64_t *number) {
	int mebi = bytes % (1 << 20) == 0, kibi = bytes % 1024 == 0;

	*number = mebi ? bytes >> 20 : kibi ? bytes >> 10 : bytes;
	return mebi ? "MiB" : kibi ? "KiB" : "bytes";
}

/* Takes over the partition that the configuration page describes, and says what it is. Returns NULL on failure. */
struct gpu *gpu_open(const char *name, struct arena *arena) {
	const struct gpu_config *config = coconut_gpu_config();
	struct gpu *gpu = arena_take(arena, sizeof(*gpu));
	uint64_t size;
	const char *unit;

	if (!config || !gpu) {
		print("%s: %s\n", name, gpu ? "the configuration page is not one of a GPU" : "out of memory");
		return NULL;
	}
	gpu_init(gpu, (void *)config->vram_vaddr, config->vram_size, config->cu_count);
	unit = size_unit(config->vram_size, &size);
	print("%s: partition %u, %lu %s VRAM at 0x%lx, %u compute units (simulated)\n", name, config->partition, size,
	      unit, config->vram_vaddr, gpu->units);
	return gpu;
}

#define INSPECT_TYPE     (0xFFFFull << 48)
#define INSPECT_ALL      (~0xFFFFull) /* but the rights */

/* Finds the first handle whose capability is the wanted one in those bits of INSPECT's answer. A shard of the manifest
 * has its handles without gaps. */
static int find_handle(uint64_t wanted, uint64_t mask, uint64_t *handle) {
	for (*handle = 0; *handle < COCONUT_CAP_SLOTS; (*handle)++) {
		int64_t capability = coconut_cap_inspect(*handle);
		if (capability < 0) break;
		if (((uint64_t)capability & mask) == wanted) return 1;
	}
	return 0;
}

/* Finds the handle of the first channel. */
int gpu_find_channel(const char *name, uint64_t *handle) {
	if (find_handle((uint64_t)CAP_CHANNEL << 48, INSPECT_TYPE, handle)) return 1;
	print("%s: it needs a channel to another GPU shard\n", name);
	return 0;
}

/* Finds the handle of the capability for DMA to a partition. */
int gpu_find_partition(const char *name, uint64_t partition, uint64_t *handle) {
	if (partition <= 0xFFFF && find_handle((uint64_t)CAP_GPU_DMA << 48 | partition << 16, INSPECT_ALL, handle))
		return 1;
	print("%s: it has no capability for partition %lu\n", name, partition);
	return 0;
}

/* Gives up, for good, every call but those of messages, DMA and the console, and all DMA outside one range of the
 * partition: what other shards write there, and what this one may send from there. */
int gpu_confine(const char *name, uint64_t offset, uint64_t size) {
	int64_t result = coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA);

	if (result == 0) result = coconut_gpu_unveil(offset, size);
	if (result < 0) print("%s: pledge and unveil: %s\n", name, error_text(result));
	return result >= 0;
}
