/*
 * gpu_shard.h: what every shard with a GPU partition does first: open it, find its capabilities, give up the rest.
 *
 * Each function that can fail prints one line that begins with `name`, and returns 0.
 *
 * Read next: gpu_shard.c, then gpu-hal/main.c.
 */
#ifndef GPU_SHARD_H
#define GPU_SHARD_H

#include "gpu_partition.h"
#include "shardlib.h"

struct gpu *gpu_open(const char *name, struct arena *arena);
int gpu_find_channel(const char *name, uint64_t *handle);
int gpu_find_partition(const char *name, uint64_t partition, uint64_t *handle);
int gpu_confine(const char *name, uint64_t offset, uint64_t size);
const char *size_unit(uint64_t bytes, uint64_t *number);

#endif
