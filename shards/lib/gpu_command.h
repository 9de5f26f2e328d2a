/*
 * gpu_command.h: what the simulated compute units can do.
 *
 * A command computes one tile of a target matrix of 4-byte numbers, (rows, columns), stored row by row:
 *
 *     FILL      target = value
 *     COPY      target = left (rows, columns)
 *     MATMUL    target = left (rows, inner) * right (inner, columns)
 *
 * Matrices are named by their offsets in VRAM and by nothing else: there is no address in a command. It is read from a
 * sealed command buffer into the unit's own memory first, and everything in it is checked there, so that what is
 * checked is what is executed.
 *
 * Read next: gpu_command.c, then gpu_partition.h for how a large product becomes many commands.
 */
#ifndef GPU_COMMAND_H
#define GPU_COMMAND_H

#include "vram.h"

enum gpu_operation { GPU_FILL = 1, GPU_COPY, GPU_MATMUL };

#define GPU_DIMENSION_MAX 1048576 /* rows, columns, inner: the bytes of a matrix then fit in 64 bits */

struct gpu_command {
	uint32_t operation;               /* @0x00 */
	float value;                      /* @0x04 of FILL */
	uint64_t target;                  /* @0x08 offsets in VRAM, multiples of 4 */
	uint64_t left;                    /* @0x10 */
	uint64_t right;                   /* @0x18 */
	uint32_t rows, columns, inner;    /* @0x20 */
	uint32_t tile_row, tile_column;   /* @0x2C where the tile begins in the target */
	uint32_t tile_rows, tile_columns; /* @0x34 its size, at least 1 x 1 */
	uint32_t checksum;                /* @0x3C gpu_checksum() of all before */
};

uint32_t gpu_checksum(const struct gpu_command *command);
int gpu_execute(const struct vram *vram, const struct gpu_command *command);

#endif
