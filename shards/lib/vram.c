/*
 * vram.c: the allocator of a partition of video memory, and the check that every access to it passes.
 *
 * Best fit: an allocation goes into the smallest free region that can hold it, the lowest of several. What is left
 * before and behind it stays free; a region that is freed merges with free neighbours.
 *
 * Invariants: those of struct vram; a function that fails has changed nothing.
 *
 * Read next: ring.h.
 */
#include "vram.h"
#include "gpu_error.h"
#include "shardlib.h"

/* Starts with one free region, the whole partition of `size` bytes mapped at `memory`. The table has room for `limit`
 * regions, at least one. */
void vram_init(struct vram *vram, void *memory, uint64_t size, struct vram_region *regions, uint32_t limit) {
	*vram = (struct vram){ .memory = memory, .size = size, .regions = regions, .count = 1, .limit = limit };
	regions[0] = (struct vram_region){ .offset = 0, .size = size };
}

/* ---- Finding ---- */

/* Returns the index of the region that holds the byte at `offset`, which is inside the partition. */
static uint32_t region_at(const struct vram *vram, uint64_t offset) {
	uint32_t low = 0, high = vram->count;

	while (high - low > 1) {
		uint32_t middle = (low + high) / 2;
		if (vram->regions[middle].offset <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Returns the region that begins at `offset` and is in use, or NULL. */
static struct vram_region *region_named(const struct vram *vram, uint64_t offset) {
	struct vram_region *region = &vram->regions[region_at(vram, offset)];

	return region->offset == offset && region->type != VRAM_FREE ? region : NULL;
}

/* Returns how many bytes of a free region lie before the first aligned one. */
static uint64_t bytes_before_aligned(const struct vram_region *region, uint64_t alignment) {
	return -region->offset & (alignment - 1);
}

/* Returns the smallest free region that has room for `size` aligned bytes, or NULL. */
static struct vram_region *best_fit(const struct vram *vram, uint64_t size, uint64_t alignment) {
	struct vram_region *best = NULL;

	for (uint32_t i = 0; i < vram->count; i++) {
		struct vram_region *region = &vram->regions[i];
		uint64_t before = bytes_before_aligned(region, alignment);
		if (region->type == VRAM_FREE && before <= region->size && size <= region->size - before &&
		    (!best || region->size < best->size))
			best = region;
	}
	return best;
}

/* ---- Allocating and freeing ---- */

/* Cuts the region into its first `size` bytes and a region of the same kind with the rest. Returns that one. The table
 * has room. */
static struct vram_region *split(struct vram *vram, struct vram_region *region, uint64_t size) {
	struct vram_region *rest = region + 1;

	memmove(rest, region, (size_t)(vram->regions + vram->count - region) * sizeof(*region));
	vram->count++;
	region->size = size;
	rest->offset += size;
	rest->size -= size;
	return rest;
}

/* Adds the region behind `region` to it. */
static void merge_next(struct vram *vram, struct vram_region *region) {
	struct vram_region *next = region + 1;

	region->size += next->size;
	vram->count--;
	memmove(next, next + 1, (size_t)(vram->regions + vram->count - next) * sizeof(*next));
}

/* Allocates `size` bytes for one purpose at a multiple of `alignment`, a power of two. Returns their offset, or an
 * error. */
int64_t vram_alloc(struct vram *vram, enum vram_type type, uint64_t size, uint64_t alignment) {
	struct vram_region *region;
	uint64_t before;

	if (type <= VRAM_FREE || type >= VRAM_TYPES) return -GPU_E_TYPE;
	if (size == 0 || size > vram->size) return -GPU_E_SIZE;
	if (alignment == 0 || (alignment & (alignment - 1))) return -GPU_E_ALIGN;
	region = best_fit(vram, size, alignment);
	if (!region) return -GPU_E_SPACE;
	before = bytes_before_aligned(region, alignment);
	if (vram->count + (before > 0) + (region->size - before > size) > vram->limit) return -GPU_E_TABLE;
	if (before) region = split(vram, region, before);
	if (region->size > size) split(vram, region, size);
	region->type = (uint8_t)type;
	/* What is free has been zeroed, but DMA may have written it since. Activations are read before all of them are
	 * written; whoever takes another type fills it first. */
	if (type == VRAM_ACTIVATIONS) memset(vram->memory + region->offset, 0, size);
	return (int64_t)region->offset;
}

/* Frees and zeroes the region that begins at `offset`. Commands of it that wait in a ring end with an error fence. */
int vram_free(struct vram *vram, uint64_t offset) {
	struct vram_region *region = region_named(vram, offset);

	if (!region) return -GPU_E_REGION;
	memset(vram->memory + offset, 0, region->size);
	region->type = VRAM_FREE;
	region->sealed = 0;
	if (region + 1 < vram->regions + vram->count && region[1].type == VRAM_FREE) merge_next(vram, region);
	if (region > vram->regions && region[-1].type == VRAM_FREE) merge_next(vram, region - 1);
	return 0;
}

/* ---- Access ---- */

/* Makes the command buffer at `offset` executable, and unwritable for the rest of its life. */
int vram_seal(struct vram *vram, uint64_t offset) {
	struct vram_region *region = region_named(vram, offset);

	if (!region) return -GPU_E_REGION;
	if (region->type != VRAM_COMMANDS) return -GPU_E_ACCESS;
	if (region->sealed) return -GPU_E_SEALED;
	region->sealed = 1;
	return 0;
}

/* Returns what may be done with a region. Nothing that may be executed may be written: this is the W^X of VRAM. */
static unsigned allowed_access(const struct vram_region *region) {
	switch (region->type) {
	case VRAM_WEIGHTS:
		return VRAM_READ | VRAM_UPLOAD;
	case VRAM_ACTIVATIONS:
	case VRAM_KV_CACHE:
	case VRAM_SCRATCH:
		return VRAM_READ | VRAM_WRITE | VRAM_UPLOAD;
	case VRAM_COMMANDS:
		return region->sealed ? VRAM_EXECUTE : VRAM_UPLOAD;
	default:
		return 0;
	}
}

/* Returns the error for an access that the region does not allow. */
static int access_error(const struct vram_region *region, unsigned access) {
	if (region->type == VRAM_COMMANDS && region->sealed && access == VRAM_UPLOAD) return -GPU_E_SEALED;
	if (region->type == VRAM_COMMANDS && !region->sealed && access == VRAM_EXECUTE) return -GPU_E_UNSEALED;
	return -GPU_E_ACCESS;
}

/* Checks that `size` bytes at `offset` lie in one region which allows all of `access`, and says where in memory they
 * are. Returns 0 or an error. Every offset that comes from elsewhere goes through here before it becomes a pointer. */
int vram_reach(const struct vram *vram, uint64_t offset, uint64_t size, unsigned access, void **memory) {
	const struct vram_region *region;

	if (size == 0) return -GPU_E_SIZE;
	if (offset >= vram->size) return -GPU_E_RANGE;
	region = &vram->regions[region_at(vram, offset)];
	if (region->type == VRAM_FREE || size > region->size - (offset - region->offset)) return -GPU_E_RANGE;
	if (access & ~allowed_access(region)) return access_error(region, access);
	*memory = vram->memory + offset;
	return 0;
}

/* Copies the shard's own data into VRAM: weights, inputs, or commands before they are sealed. Returns 0 or an error. */
int vram_upload(const struct vram *vram, uint64_t offset, const void *data, uint64_t size) {
	void *memory;
	int error = vram_reach(vram, offset, size, VRAM_UPLOAD, &memory);

	if (!error) memcpy(memory, data, size);
	return error;
}
