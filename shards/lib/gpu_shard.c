/*
 * gpu_shard.c: the system calls with which a GPU shard begins. See gpu_shard.h.
 *
 * Read next: gpu-hal/main.c, gpu-pipeline/main.c.
 */
#include "gpu_shard.h"

#include "coconut.h"

/* Splits a size into a number and the largest unit that measures it without a rest. Returns the unit's name. */
const char *size_unit(uint64_t bytes, uint64_t *number)
{
	int mebi = bytes % (1 << 20) == 0, kibi = bytes % 1024 == 0;

	*number = mebi ? bytes >> 20 : kibi ? bytes >> 10 : bytes;
	return mebi ? "MiB" : kibi ? "KiB" : "bytes";
}

/* Takes over the partition that the configuration page describes, and says what it is. Returns NULL on failure. */
struct gpu *gpu_open(const char *name, struct arena *arena)
{
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

/* Finds the first handle with a capability of a type: channels come first, then the partitions of the others. */
int gpu_find_handle(const char *name, unsigned type, uint64_t *handle)
{
	for (*handle = 0; *handle < COCONUT_CAP_SLOTS; (*handle)++) {
		int64_t capability = coconut_cap_inspect(*handle);
		if (capability < 0)
			break;
		if ((uint64_t)capability >> 48 == type)
			return 1;
	}
	print("%s: it needs a channel to another GPU shard, and a capability for its partition\n", name);
	return 0;
}

/* Gives up, for good, every call but those of messages, DMA and the console, and all DMA outside one range of the
 * partition: what other shards write there, and what this one may send from there. */
int gpu_confine(const char *name, uint64_t offset, uint64_t size)
{
	int64_t result = coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA);

	if (result == 0)
		result = coconut_gpu_unveil(offset, size);
	if (result < 0)
		print("%s: pledge and unveil: %s\n", name, error_text(result));
	return result >= 0;
}
