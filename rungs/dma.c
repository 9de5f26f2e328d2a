/*
 * dma.c, the rung: what iommu.c, edu.c and gpu.c add: devices that copy, and reach nothing but what they are to.
 *
 * A thread has a DMA engine copy bytes from one frame to another, over its end by a few. It may read and write just
 * these bytes. Then it asks for the same copy into a frame of which it may write nothing: the IOMMU refuses, and the
 * frame keeps its zeros. Between frames nothing is special about the memory of a GPU, with which gpu.c does this.
 *
 * Read next: shard.c.
 */
#include "thread.h"

enum { BYTES = 5000, FROM = 3, TO = 77, FRAMES = 3 }; /* in a piece of 4,095 and another one */

static struct profile profile = {.name = "thread"};
static uint64_t source, target, forbidden;
static int64_t copied, refused;

/* Returns two frames side by side. */
static uint64_t two_frames(void) {
	uint64_t first, second;

	if (frame_alloc(NULL, &first)) panic("no frame is left");
	do {
		if (frame_alloc(NULL, &second)) panic("no frame is left");
		if (second == first + PAGE_SIZE) return first;
		first = second;
	} while (true);
}

static void thread_main(void) {
	struct extent readable = {source + FROM, BYTES}, writable = {target + TO, BYTES}, none = {forbidden, 0};

	copied = edu_copy(&(struct dma){source + FROM, target + TO, BYTES, readable, writable});
	refused = edu_copy(&(struct dma){source + FROM, forbidden + TO, BYTES, readable, none});
	sched_exit();
}

static void reap(void) {
	if (shards[0].state != SHARD_ENDED) return;
	iommu_report();
	print("DMA: %u bytes from 0x%lx to 0x%lx: %ld\n", BYTES, source + FROM, target + TO, copied);
	print("DMA: to 0x%lx, where it may not write: %ld\n", forbidden + TO, refused);
	rung_end();
}

void rung_show(const struct bootinfo *info) {
	uint64_t state = 1;

	(void)info;
	source = two_frames();
	target = two_frames();
	forbidden = two_frames();
	for (uint8_t *at = phys_to_virt(source), *end = at + 2 * PAGE_SIZE; at < end; at++)
		*at = (uint8_t)next_random(&state);
	make_thread(0, PRIORITY_NORMAL, thread_main)->profile = &profile;
	sched_loop(reap, none_is_stuck);
}
