/*
 * gpu_partition.h: a GPU partition as its shard sees it: video memory, a command ring, compute units.
 *
 *     gpu_run() --- tiles ---> sealed command buffer in VRAM --- offsets ---> ring ---> units, in turns ---> fences
 *
 * The compute units are simulated: QEMU's VGA has memory but cannot compute, so gpu_step() does a unit's work on the
 * CPU. Everything around it is as it would be with units of silicon, which is the point.
 *
 * Nothing here makes a system call or allocates: struct gpu holds all tables and lies in the shard's own memory.
 *
 * Read next: gpu_partition.c, then gpu-hal/main.c.
 */
#ifndef GPU_PARTITION_H
#define GPU_PARTITION_H

#include "gpu_command.h"
#include "gpu_error.h"
#include "ring.h"
#include "vram.h"

#define GPU_REGIONS 128 /* regions of one partition, free ones included */
#define GPU_RING     32 /* commands that may wait */
#define GPU_UNITS     8 /* compute units at most */
#define GPU_TILE     16 /* rows and columns of the target that one command computes */

struct gpu {
	struct vram vram;
	struct ring ring;
	uint32_t units;
	uint32_t next_unit;           /* whose turn it is */
	uint64_t executed[GPU_UNITS]; /* commands that each unit has taken */
	struct vram_region regions[GPU_REGIONS];
	struct ring_entry entries[GPU_RING];
};

void gpu_init(struct gpu *gpu, void *memory, uint64_t size, uint32_t units);
int64_t gpu_submit(struct gpu *gpu, uint64_t offset);
int gpu_step(struct gpu *gpu);
int64_t gpu_run(struct gpu *gpu, const struct gpu_command *whole);

#endif
