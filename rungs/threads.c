/*
 * threads.c, the rung: what sched.c adds: threads that take turns.
 *
 * Two threads own a number each, and add the other's to it whenever it is their turn: from 0 and 1 on they come to 1
 * and 2, 3 and 5, 8 and 13, ... The numbers are Fibonacci's only if neither runs twice in a row. A third thread is more
 * urgent, and runs before both. They are shards that never enter ring 3: a stack, the supervisor's address space, a
 * place in the queue. No interrupt comes yet.
 *
 * Read next: timer.c.
 */
#include "thread.h"

enum { TURNS = 40, URGENT = 2, THREADS = 3, PIC1_DATA = 0x21, PIC2_DATA = 0xA1, PIC_MASK_ALL = 0xFF };

static uint64_t number[2] = {0, 1}; /* one for each of the two */
static uint32_t ran_first = THREADS;

/* What every thread does until it ends. */
static void thread_main(void) {
	uint32_t self = current->id;

	if (ran_first == THREADS) ran_first = self;
	for (int turn = 0; turn < TURNS && self != URGENT; turn++) {
		number[self] += number[!self];
		sys_yield();
	}
	sched_exit();
}

/* What the supervisor's thread does whenever one has ended: the last one ends the run. */
static void reap(void) {
	for (uint32_t id = 0; id < THREADS; id++)
		if (shards[id].state != SHARD_ENDED) return;
	for (uint32_t id = 0; id < THREADS; id++)
		print("Threads: thread %u came to run %lu times\n", id, shards[id].usage.switches);
	print("Threads: thread %u was the first; after %u turns each the numbers are %lu and %lu\n", ran_first, TURNS,
	      number[0], number[1]);
	rung_end();
}

void rung_show(const struct bootinfo *info) {
	(void)info;
	outb(PIC1_DATA, PIC_MASK_ALL); /* its vectors are still those of the firmware: timer.c moves them */
	outb(PIC2_DATA, PIC_MASK_ALL);
	make_thread(0, PRIORITY_NORMAL, thread_main);
	make_thread(1, PRIORITY_NORMAL, thread_main);
	make_thread(URGENT, PRIORITY_HIGH, thread_main);
	sched_loop(reap, none_is_stuck);
}
