/*
 * ring.h: a ring of submitted commands, and the fences that say how far they have come.
 *
 *                completed            submitted
 *                    v                    v
 *     | old results  |  waiting commands  |  free |      entry of fence f: entries[f % size]
 *
 * Each submission gets a fence, a number one higher than the last: 1, 2, 3, ... Commands complete in that order, so
 * fence f has been reached when `completed` is at least f. An error fence is one whose command failed: its entry keeps
 * the reason until the slot is used again. Counters of 64 bits do not wrap; only the slots do.
 *
 * Read next: ring.c, then gpu_command.h for what is submitted.
 */
#ifndef RING_H
#define RING_H

#include <stdint.h>

#define RING_PENDING 1 /* the result of a command that waits */

struct ring_entry {
	uint64_t command; /* VRAM offset of the command */
	int64_t result;   /* RING_PENDING, 0, or the reason why it failed, -GPU_E_... */
};

struct ring {
	struct ring_entry *entries; /* in the caller's memory: DMA cannot reach it there */
	uint32_t size;
	uint64_t submitted; /* the producer's: the newest fence */
	uint64_t completed; /* the consumer's: the newest fence that has been reached */
};

void ring_init(struct ring *ring, struct ring_entry *entries, uint32_t size);
int64_t ring_submit(struct ring *ring, uint64_t command);
int ring_next(const struct ring *ring, uint64_t *command);
void ring_complete(struct ring *ring, int64_t result);
int64_t ring_result(const struct ring *ring, uint64_t fence);

#endif
