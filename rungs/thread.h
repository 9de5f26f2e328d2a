/*
 * thread.h: a thread that never enters ring 3, for rungs that show what several of them do.
 *
 * It is a shard as sched.c sees one: a stack, an address space, a place in the queue. Read next: threads.c.
 */
#ifndef THREAD_H
#define THREAD_H

#include "rungs.h"

/* Makes a thread that begins in `function` as soon as it is its turn, in the supervisor's address space. */
static inline struct shard *make_thread(uint8_t id, uint8_t priority, void (*function)(void)) {
	struct shard *thread = &shards[id];
	/* The word above stands for the return address that `function` would have: it never returns. */
	struct switch_frame *frame = (struct switch_frame *)(stack_slot_top(id) - sizeof(uint64_t)) - 1;

	*thread = (struct shard){
		.id = id, .cr3 = kernel_cr3, .stack_top = stack_slot_top(id), .kernel_rsp = (uint64_t)frame, .payer = thread,
		.frame_quota = UINT32_MAX,
	};
	*frame = (struct switch_frame){.rip = (uint64_t)function};
	sched_set_priority(thread, priority);
	sched_ready(thread);
	return thread;
}

static inline bool none_is_stuck(void) { return false; }

#endif
