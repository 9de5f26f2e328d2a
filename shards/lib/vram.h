/*
 * vram.h: who uses which part of a partition of video memory, and for what.
 *
 * A partition is cut into regions, each of one type. The table of regions lives in the caller's memory, never in VRAM:
 * others may write VRAM by DMA, so nothing in it is believed. Offsets count from the start of the partition.
 *
 *     type          commands may         zeroed on allocation
 *     weights       read
 *     activations   read and write       yes
 *     KV cache      read and write
 *     scratch       read and write
 *     commands      be executed from it, once it is sealed
 *
 * Every region is zeroed when it is freed. No region is ever both writable and executable (W^X): a command buffer is
 * filled, then sealed, and stays sealed until it is freed.
 *
 * Read next: vram.c, then ring.h.
 */
#ifndef VRAM_H
#define VRAM_H

#include <stdint.h>

enum vram_type { VRAM_FREE, VRAM_WEIGHTS, VRAM_ACTIVATIONS, VRAM_KV_CACHE, VRAM_SCRATCH, VRAM_COMMANDS, VRAM_TYPES };

/* What somebody wants to do with a range. */
#define VRAM_READ    1 /* a command reads it */
#define VRAM_WRITE   2 /* a command writes it */
#define VRAM_EXECUTE 4 /* a compute unit fetches a command from it */
#define VRAM_UPLOAD  8 /* the shard itself fills it */

struct vram_region {
	uint64_t offset;
	uint64_t size;
	uint8_t type;   /* VRAM_FREE, or what it was allocated as */
	uint8_t sealed; /* only a command buffer ever is */
};

/* The regions are sorted by offset and cover the partition without gaps; no two neighbours are both free. */
struct vram {
	unsigned char *memory; /* where the partition is mapped */
	uint64_t size;
	struct vram_region *regions;
	uint32_t count, limit;
};

void vram_init(struct vram *vram, void *memory, uint64_t size, struct vram_region *regions, uint32_t limit);
int64_t vram_alloc(struct vram *vram, enum vram_type type, uint64_t size, uint64_t alignment);
int vram_free(struct vram *vram, uint64_t offset);
int vram_seal(struct vram *vram, uint64_t offset);
int vram_reach(const struct vram *vram, uint64_t offset, uint64_t size, unsigned access, void **memory);
int vram_upload(const struct vram *vram, uint64_t offset, const void *data, uint64_t size);

#endif
