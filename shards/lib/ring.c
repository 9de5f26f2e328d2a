/*
 * ring.c: the command ring: back-pressure on one side, fences on the other. See ring.h for its picture.
 *
 * Invariant: completed <= submitted <= completed + size.
 *
 * Read next: gpu_command.h.
 */
#include "ring.h"
#include "gpu_error.h"

/* Starts an empty ring over `size` entries, at least one. */
void ring_init(struct ring *ring, struct ring_entry *entries, uint32_t size) {
	*ring = (struct ring){ .entries = entries, .size = size };
}

/* Queues the command at a VRAM offset. Returns its fence, or an error when the ring is full: nothing is overwritten,
 * the caller has to let commands complete first. */
int64_t ring_submit(struct ring *ring, uint64_t command) {
	if (ring->submitted - ring->completed == ring->size) return -GPU_E_FULL;
	ring->submitted++;
	ring->entries[ring->submitted % ring->size] = (struct ring_entry){ command, RING_PENDING };
	return (int64_t)ring->submitted;
}

/* Looks at the oldest command that waits. Returns 0 when there is none. */
int ring_next(const struct ring *ring, uint64_t *command) {
	if (ring->completed == ring->submitted) return 0;
	*command = ring->entries[(ring->completed + 1) % ring->size].command;
	return 1;
}

/* Completes the oldest command that waits (there is one): with 0, or with the reason why it failed. */
void ring_complete(struct ring *ring, int64_t result) {
	ring->completed++;
	ring->entries[ring->completed % ring->size].result = result;
}

/* Returns RING_PENDING, 0, or the error of the command behind a fence. A fence whose slot has been used again, or that
 * was never given out, is an error itself. */
int64_t ring_result(const struct ring *ring, uint64_t fence) {
	if (fence == 0 || fence > ring->submitted || ring->submitted - fence >= ring->size) return -GPU_E_FENCE;
	return ring->entries[fence % ring->size].result;
}
