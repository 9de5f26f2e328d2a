/*
 * mm.c: physical frames.
 *
 * Owns the frame map: one bit a frame for "free", one for "clean" (known to contain zeros), and a summary with
 * a bit for each word of the first, so that a free frame is found without looking at all of them.
 *
 * Invariants: a frame below PHYS_FRAMES, of the ramdisk or of the map itself is never free. A frame from
 * frame_alloc contains zeros: one that was used before was cleared when it was freed, one that the firmware
 * left is cleared when it is first handed out. What a shard owns is counted against the quota of its payer:
 * itself, or the shard of the manifest from which it descends.
 *
 * Read next: paging.c.
 */
#include "kernel.h"

#define BITS 64 /* of a word of the map */

/* ---- The map itself: plain C over plain arrays, tested on the host ---- */

/* Returns how many words frame_map_init needs for `frames` frames (a multiple of 64). */
static size_t frame_map_words(uint64_t frames) {
	uint64_t words = frames / BITS;

	return 2 * words + (words + BITS - 1) / BITS;
}

/* Makes a map of `frames` frames, a multiple of 64, none of them free, in frame_map_words(frames) words. */
static void frame_map_init(struct frame_map *map, uint64_t *words, uint64_t frames) {
	memset(words, 0, frame_map_words(frames) * sizeof(*words));
	*map = (struct frame_map){
		.free = words, .clean = words + frames / BITS, .summary = words + 2 * (frames / BITS),
		.frames = frames, .summary_words = (frames / BITS + BITS - 1) / BITS};
}

/* Marks one frame free, which must not be free already. This function or frame_map_take runs for every page that is
 * allocated or freed: so both are inline. */
static inline void frame_map_give(struct frame_map *map, uint64_t frame) {
	uint64_t word = frame / BITS;

	map->free[word] |= 1UL << frame % BITS;
	map->summary[word / BITS] |= 1UL << word % BITS;
	if (map->hint > word / BITS) map->hint = word / BITS;
	map->free_count++;
}

/* Returns how many bits are set: adds neighbours in pairs, fours and eights, then the eight bytes at once. */
static uint64_t count_bits(uint64_t word) {
	if (word == ~0UL) return BITS; /* most of what the firmware hands over comes in whole words */
	word -= word >> 1 & 0x5555555555555555;
	word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
	word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0F;
	return word * 0x0101010101010101 >> 56;
}

/* Frees or takes `count` frames, the first of them `frame`, as far as the map reaches, a word of 64 at a time. */
static void set_range(struct frame_map *map, uint64_t frame, uint64_t count, bool free) {
	uint64_t room = frame < map->frames ? map->frames - frame : 0;
	uint64_t end = frame + (count < room ? count : room);

	while (frame < end) {
		uint64_t word = frame / BITS, first = frame % BITS;
		uint64_t here = end - frame < BITS - first ? end - frame : BITS - first;
		uint64_t mask = ~0UL >> (BITS - here) << first;
		uint64_t changed = mask & (free ? ~map->free[word] : map->free[word]);
		uint64_t after = map->free[word] ^= changed;
		uint64_t *summary = &map->summary[word / BITS], bit = 1UL << word % BITS;

		map->free_count += free ? count_bits(changed) : -count_bits(changed);
		*summary = after ? *summary | bit : *summary & ~bit;
		if (after && map->hint > word / BITS) map->hint = word / BITS;
		frame += here;
	}
}

/* Frees `count` frames, the first of them `at`, as far as the map reaches. Those that are free stay so. */
static void frame_map_release(struct frame_map *map, uint64_t at, uint64_t count) { set_range(map, at, count, true); }

/* Likewise takes them, free or not. */
static void frame_map_reserve(struct frame_map *map, uint64_t at, uint64_t count) { set_range(map, at, count, false); }

/* Takes the lowest free frame. Returns its number, or -1 when there is none; `*clean` says whether it is known
 * to contain zeros. It counts as clean from now on, because whoever frees it sees to that. */
static inline int64_t frame_map_take(struct frame_map *map, bool *clean) {
	while (map->hint < map->summary_words && !map->summary[map->hint])
		map->hint++;
	if (map->hint == map->summary_words) return -1;

	uint64_t word = map->hint * BITS + __builtin_ctzl(map->summary[map->hint]);
	uint64_t free = map->free[word], clean_bits = map->clean[word], bit = free & -free;

	*clean = clean_bits & bit;
	map->clean[word] = clean_bits | bit;
	map->free[word] = free ^ bit;
	if (free == bit) map->summary[map->hint] &= ~(1UL << word % BITS);
	map->free_count--;
	return (int64_t)(word * BITS + __builtin_ctzl(bit));
}

/* ---- The machine's frames ---- */

static struct frame_map frame_map;

/* Fills a frame with zeros. Inline, with no call of memset: it is most of what a fresh page costs. */
static inline void clear_page(uint64_t phys) {
	void *at = phys_to_virt(phys);
	uint64_t words = PAGE_SIZE / 8;

	__asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(0UL) : "memory");
}

/* Returns the physical address of `bytes` bytes for the map: usable, above PHYS_FRAMES, inside what the trampoline
 * maps, not in the ramdisk. Panics where there is no such place. */
static uint64_t place_for_map(const struct bootinfo *info, uint64_t bytes) {
	const struct boot_region *region = phys_to_virt(info->regions);
	uint64_t ramdisk_end = (info->ramdisk + info->ramdisk_size + PAGE_MASK) & ~PAGE_MASK;

	for (uint64_t i = 0; i < info->region_count; i++) {
		uint64_t end = region[i].base + region[i].size, start = region[i].base < PHYS_FRAMES ? PHYS_FRAMES : region[i].base;

		if (region[i].kind != BOOT_MEM_USABLE) continue;
		if (start < ramdisk_end && start + bytes > info->ramdisk) start = ramdisk_end;
		if (start + bytes <= end && start + bytes <= PHYS_TRAMPOLINE_TOP) return start;
	}
	panic("no room below 1 GiB for the frame map of %lu KiB: give the machine more memory", bytes / 1024);
}

/* Takes over the usable memory that the loader reports, in regions of whole pages. */
void mm_init(const struct bootinfo *info) {
	const struct boot_region *region = phys_to_virt(info->regions);
	uint64_t frames = 0;

	for (uint64_t i = 0; i < info->region_count; i++)
		if (region[i].kind == BOOT_MEM_USABLE && region[i].base + region[i].size > frames * PAGE_SIZE)
			frames = (region[i].base + region[i].size) / PAGE_SIZE;
	frames = (frames + BITS - 1) / BITS * BITS;

	uint64_t bytes = (frame_map_words(frames) * sizeof(uint64_t) + PAGE_MASK) & ~PAGE_MASK;
	uint64_t place = place_for_map(info, bytes);

	frame_map_init(&frame_map, phys_to_virt(place), frames);
	for (uint64_t i = 0; i < info->region_count; i++)
		if (region[i].kind == BOOT_MEM_USABLE)
			frame_map_release(&frame_map, region[i].base / PAGE_SIZE, region[i].size / PAGE_SIZE);
	frame_map_reserve(&frame_map, 0, PHYS_FRAMES / PAGE_SIZE);
	frame_map_reserve(&frame_map, place / PAGE_SIZE, bytes / PAGE_SIZE);
	frame_map_reserve(&frame_map, info->ramdisk / PAGE_SIZE, (info->ramdisk_size + PAGE_MASK) / PAGE_SIZE);
	print_verbose("Memory: %lu MiB free, frame map of %lu KiB at 0x%lx\n", frame_map.free_count * PAGE_SIZE >> 20,
		      bytes / 1024, place);
}

/* Hands out one frame of zeros and charges it to `owner` (NULL: the supervisor). Returns 0 and its physical
 * address in `*phys`, or -COCONUT_E_QUOTA or -COCONUT_E_NOMEM. */
int frame_alloc(struct shard *owner, uint64_t *phys) {
	bool clean;

	if (owner && owner->payer->family_frames >= owner->payer->frame_quota && !ABLATE(quota))
		return -COCONUT_E_QUOTA;
	int64_t frame = frame_map_take(&frame_map, &clean);
	if (frame < 0) return -COCONUT_E_NOMEM;
	*phys = (uint64_t)frame * PAGE_SIZE;
	if (!clean) clear_page(*phys);
	if (owner) {
		owner->payer->family_frames++;
		if (++owner->frames > owner->frames_peak) owner->frames_peak = owner->frames;
	}
	return 0;
}

/* Hands out one frame of whatever contents, to the supervisor, which will fill it and never give it back. Returns 0 or
 * -COCONUT_E_NOMEM; `*phys` means nothing then. */
int frame_alloc_raw(uint64_t *phys) {
	bool clean;
	int64_t frame = frame_map_take(&frame_map, &clean);

	*phys = (uint64_t)frame * PAGE_SIZE;
	return frame < 0 ? -COCONUT_E_NOMEM : 0;
}

/* Takes back a frame of `owner` (NULL: the supervisor) that is clean: the caller vouches that it contains zeros, and
 * nothing is cleared here. */
void frame_free_clean(struct shard *owner, uint64_t phys) {
	if (owner) {
		owner->payer->family_frames--;
		owner->frames--;
	}
	frame_map_give(&frame_map, phys / PAGE_SIZE);
}

/* Clears a frame and takes it back, so that nothing of its owner outlives it. */
void frame_free(struct shard *owner, uint64_t phys) {
	if (!ABLATE(zeroing)) clear_page(phys);
	frame_free_clean(owner, phys);
}

/* Returns the number of free frames. */
uint64_t mm_free_frames(void) { return frame_map.free_count; }
