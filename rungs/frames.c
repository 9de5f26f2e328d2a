/*
 * frames.c, the rung: what mm.c adds: the frames that are free, handed out one by one.
 *
 * Shows how many they are and the sum of their numbers, which whoever knows the memory map can compute, and that no
 * frame comes twice: the numbers only go up. Those that are handed out last are cleared, and contain zeros.
 *
 * Read next: paging.c.
 */
#include "rungs.h"

#define CLEARED 64 /* frames that are looked into */

/* Returns whether a frame contains zeros only. */
static bool is_clear(uint64_t phys) {
	const uint64_t *words = phys_to_virt(phys);

	for (size_t i = 0; i < PAGE_SIZE / sizeof(*words); i++)
		if (words[i]) return false;
	return true;
}

/* Spoils some frames, gives them back, and counts how many are clear when they come again. */
static uint32_t count_clear(void) {
	uint64_t frames[CLEARED];
	uint32_t clear = 0;

	for (uint32_t i = 0; i < CLEARED; i++) {
		if (frame_alloc(NULL, &frames[i])) panic("no frame is left");
		memset(phys_to_virt(frames[i]), 0xA5, PAGE_SIZE);
	}
	for (uint32_t i = 0; i < CLEARED; i++)
		frame_free(NULL, frames[i]);
	for (uint32_t i = 0; i < CLEARED; i++) {
		if (frame_alloc(NULL, &frames[i])) panic("no frame is left");
		clear += is_clear(frames[i]);
	}
	for (uint32_t i = 0; i < CLEARED; i++)
		frame_free(NULL, frames[i]);
	return clear;
}

void rung_show(const struct bootinfo *info) {
	uint64_t phys, last = 0, count = 0, sum = 0, twice = 0;

	(void)info;
	print("Frames: %u of %u that were used are clear when they come again\n", count_clear(), CLEARED);
	print("Frames: %lu free\n", mm_free_frames());
	for (; !frame_alloc_raw(&phys); last = phys) {
		twice += phys <= last;
		count++;
		sum += phys / PAGE_SIZE;
	}
	print("Frames: %lu handed out, the sum of their numbers is %lu, %lu came twice, %lu left\n", count, sum, twice,
	      mm_free_frames());
	rung_end();
}
