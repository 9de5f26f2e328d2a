/*
 * sched.c: who runs.
 *
 * Four priorities, turns within each. The ready shards wait in one queue a priority, the running one in
 * none. A turn is as long as the time from one tick (the timer's interrupt, about each millisecond) to the next,
 * wherever between two ticks it begins: a tick ends it when little is left of it, and otherwise, if others wait, has
 * the APIC's timer interrupt at its end. The little that is left, or
 * overdrawn, is carried over to the next turn. So equals get equal time, and none waits much longer than a tick for
 * another one's turn. Who waits or yields gives up what is left; CALL hands it to the receiver.
 * Beside the shards there is one kernel thread, the supervisor's own: it runs before any shard when there
 * is work for it (a shard has ended, the periodic search for deadlocks) and when nothing else can run; then it
 * halts the CPU until the next interrupt.
 *
 * Invariants: `current` is in no queue and the only shard whose state is RUNNING, or the supervisor's thread. A blocked
 * shard is on exactly one list of waiters. Nothing is switched behind the back of kernel code: only a system call that
 * calls sched_wait, sys_yield or preempt_point, the fast path of CALL, an exit, and the return to ring 3, lose the
 * CPU.
 *
 * Read next: timer.c.
 */
#include "kernel.h"

_Static_assert(offsetof(struct shard, kernel_rsp) == SHARD_KERNEL_RSP, "boot.asm switches stacks");
_Static_assert(offsetof(struct shard, stack_top) == SHARD_STACK_TOP, "boot.asm switches stacks");
_Static_assert(offsetof(struct shard, cr3) == SHARD_CR3, "boot.asm switches address spaces");
_Static_assert(offsetof(struct shard, fpu) == SHARD_FPU, "boot.asm saves the FPU");

#define DEADLOCK_SEARCH_TICKS 256 /* from one search to the next, while other shards keep the CPU busy */
#define TICKS_AVERAGED 8          /* for the length of a turn */
#define TURN_PARTS 16             /* what is less than such a part of a turn is not worth an interrupt */

/* Bits of the ready mask: the supervisor's thread has work; the queue of a priority is not empty. */
#define READY_SUPERVISOR 1u
#define READY_QUEUE(priority) (2u << (priority))

struct shard shards[MAX_SHARDS];
struct shard supervisor_thread = {.id = CONSOLE_SUPERVISOR};
struct shard *current = &supervisor_thread;
bool need_resched;
uint32_t kernel_since, ready_mask;
void (*end_shard)(uint64_t code) __attribute__((noreturn));

static struct queue { struct shard *head, *tail; } ready[PRIORITIES];
static int64_t turn_length; /* from one tick to the next, on average, in units of the time stamp */
static uint32_t charged_until; /* low half of the time stamp up to which `current` was charged */
/* The time stamp of the last tick; the time between the first two ticks, and how far the APIC's timer counted in it
 * (before that: what it was started with). */
static uint64_t last_tick, sampled, sampled_counts = UINT32_MAX;
static uint32_t ticks; /* that sched_tick has seen; timer.c counts its own */
static bool search_due; /* for deadlocks */

static void enqueue(struct shard *shard) {
	struct queue *queue = shard->queue;

	if (queue->head)
		queue->tail->next = shard;
	else
		queue->head = shard;
	queue->tail = shard;
	ready_mask |= READY_QUEUE(shard->priority);
}

/* Puts a shard at the head of its queue: it goes on with the turn it has. */
static void enqueue_first(struct shard *shard) {
	struct queue *queue = shard->queue;

	shard->next = queue->head;
	queue->head = shard;
	if (!shard->next) queue->tail = shard;
	ready_mask |= READY_QUEUE(shard->priority);
}

/* Gives a shard its next turn, longer or shorter by what is left of the last one. */
static inline void begin_turn(struct shard *shard) {
	shard->turn_left += turn_length;
	if (shard->turn_left < 0) shard->turn_left = 0;
}

/* Has a shard lose what is left of its turn, but not what it has overdrawn. */
static inline void give_up_turn(struct shard *shard) {
	if (shard->turn_left > 0) shard->turn_left = 0;
}

/* Charges the current shard for the time since the last charge: `now` is the low half of the time stamp. */
static inline void charge(uint32_t now) {
	current->turn_left -= now - charged_until;
	charged_until = now;
}

/* Takes the next to run out of its queue and returns it: the supervisor's thread, which is in none, when it has work or
 * nobody else can run. Sets need_resched for the one that is next: only its own death can be urgent for it. */
static struct shard *pick(void) {
	uint32_t priority = (uint32_t)__builtin_ctz(ready_mask | READY_QUEUE(PRIORITIES)) - 1;

	/* The lowest bit is the supervisor's thread's, or that of a queue behind the last one. */
	if (priority >= PRIORITIES) return &supervisor_thread;
	struct shard *shard = ready[priority].head;
	need_resched = shard->killed || (ABLATE(turns) && need_resched);
	ready[priority].head = shard->next;
	if (!shard->next) ready_mask ^= READY_QUEUE(priority);
	shard->next = NULL;
	return shard;
}

/* Gives a shard its priority. It must stand in no queue. */
void sched_set_priority(struct shard *shard, uint8_t priority) {
	shard->priority = priority;
	shard->queue = &ready[priority];
	shard->betters = READY_QUEUE(priority) - 1;
}

/* True when somebody more urgent than the current shard wants to run: the supervisor's thread, or a ready shard of a
 * higher priority, which has a lower number. */
static inline bool more_urgent(void) { return ready_mask & current->betters; }

/* True when somebody more urgent or an equal does: the bits of these are `betters` and the next one. */
static inline bool others_first(void) { return ready_mask & (2 * current->betters + 1); }

/* True when the turn of the current shard is to end now. */
static inline bool turn_over(void) { return current->turn_left <= turn_length / TURN_PARTS; }

/* Puts the current shard back into its queue if its turn is over and others wait, or if somebody more urgent does.
 * Returns who is next to run, or NULL: the current shard goes on. */
static struct shard *relieve(void) {
	struct shard *self = current;

	charge(rdtsc_low());
	need_resched = self->killed || ABLATE(turns);
	bool over = turn_over() || ABLATE(turns);
	if (over) begin_turn(self);
	if (over ? !others_first() : !more_urgent()) return NULL;
	self->state = SHARD_READY;
	if (over)
		enqueue(self);
	else
		enqueue_first(self);
	return pick();
}

/* Makes a shard ready to run. If it is more urgent than the current one it preempts that one, at the latest at the next
 * return to ring 3. */
void sched_ready(struct shard *shard) {
	shard->state = SHARD_READY;
	give_up_turn(shard);
	begin_turn(shard);
	enqueue(shard);
	if (shard->priority < current->priority) need_resched = true;
}

/* Ends the turn of the current shard, which is about to stand in its queue again. */
static inline void end_turn(uint32_t now) {
	charge(now);
	give_up_turn(current);
	begin_turn(current);
	current->state = SHARD_READY;
}

/* YIELD: lets others of the same or a higher priority run first. */
int64_t sys_yield(void) {
	struct queue *queue = current->queue;
	struct shard *self = current, *equal = queue->head;
	uint32_t now = rdtsc_low();

	if (more_urgent()) {
		end_turn(now);
		enqueue(self);
		leave_call(current, pick(), now);
	} else if (equal) { /* what enqueue and pick would do */
		end_turn(now);
		queue->tail->next = self;
		queue->tail = self;
		queue->head = equal->next;
		equal->next = NULL;
		need_resched = equal->killed;
		leave_call(self, equal, now);
	} else {
		need_resched = self->killed; /* has syscall_dispatch attend to it at the end of the call */
	}
	return 0;
}

/* Called on the way back to ring 3 after an interrupt, when isr_common has saved the FPU. */
void sched_preempt(void) {
	struct shard *self = current, *next = need_resched ? relieve() : NULL;

	if (next) {
		kernel_since = rdtsc_low(); /* for the next, if it is inside a call */
		mark_running(next);
		context_switch(self, next);
	}
	if (self->killed) end_shard(COCONUT_KILLED);
}

/* Takes the current shard off the CPU, at the tail of a list of waiters, until it is woken. `kind` and `object`
 * say what it waits for. Returns what it was woken with, or COCONUT_KILLED (-1, which no wait ends with otherwise):
 * as after preempt_point, the call is then left at once. */
int64_t sched_wait(struct shard **list, enum wait_kind kind, uint16_t object) {
	struct shard *self = current;
	uint32_t now = rdtsc_low();

	ASSERT(!self->killed); /* or nobody would wake it a second time */
	self->wait_list = list;
	while (*list)
		list = &(*list)->next;
	*list = self;
	self->wait = kind;
	self->wait_object = object;
	self->state = SHARD_BLOCKED;
	charge(now);
	leave_call(self, pick(), now);
	interrupt_window(); /* many may have been woken together, and each wait again at once, with no other window */
	return self->killed ? (int64_t)COCONUT_KILLED : self->wait_result;
}

/* Takes a blocked shard, which is to find `result`, off its list of waiters. */
static void end_wait(struct shard *shard, int64_t result) {
	struct shard **link = shard->wait_list;

	ASSERT(shard->state == SHARD_BLOCKED);
	while (*link != shard)
		link = &(*link)->next;
	*link = shard->next;
	shard->next = NULL;
	shard->wait_result = result;
}

/* Ends the wait of one blocked shard, which finds `result`. */
void sched_wake(struct shard *shard, int64_t result) {
	end_wait(shard, result);
	sched_ready(shard);
}

/* Does the same, and hands the shard what is left of the current one's turn: it is the next of its priority to run. */
void sched_hand_over(struct shard *shard, int64_t result) {
	charge(rdtsc_low());
	end_wait(shard, result);
	shard->turn_left = current->turn_left;
	give_up_turn(current);
	shard->state = SHARD_READY;
	enqueue_first(shard);
	if (shard->priority < current->priority) need_resched = true;
}

/* Wakes all waiters of a list, first come first. */
void sched_wake_all(struct shard **list, int64_t result) {
	while (*list)
		sched_wake(*list, result);
}

/* Wants the supervisor's thread to run next: a shard has ended, or the search for deadlocks is due. */
void sched_supervise(void) {
	ready_mask |= READY_SUPERVISOR;
	need_resched = true;
}

/* Moves a shard to a priority at least as high as `priority`, wherever it is. */
void sched_raise(struct shard *shard, uint8_t priority) {
	struct shard **link = &shard->queue->head, *last = NULL;

	if (priority >= shard->priority) return;
	if (shard->state == SHARD_READY) {
		for (; *link != shard; link = &(*link)->next)
			last = *link;
		*link = shard->next;
		if (!shard->next) shard->queue->tail = last;
		shard->next = NULL;
		if (!shard->queue->head) ready_mask &= ~READY_QUEUE(shard->priority);
	}
	sched_set_priority(shard, priority);
	if (shard->state == SHARD_READY) enqueue(shard);
}

/* Leaves the CPU for good: a WAIT, or the supervisor's thread, finds the shard ended and frees its slot. */
void sched_exit(void) {
	struct shard *self = current;

	self->state = SHARD_ENDED;
	ready_mask |= READY_SUPERVISOR;
	context_switch(self, &supervisor_thread);
	panic("shard %u ran after its end", self->id);
}

/* Lets interrupts in, and nobody else: what was true of other shards is still true, but for those that waited for a
 * device, which may be ready now. */
void interrupt_point(void) {
	if (!ABLATE(looks)) interrupt_window();
}

/* Lets interrupts in, and other shards when their time has come. Long work calls it between its pieces. What was true
 * of other shards before, what a capability names included, need not be true after. Returns whether the current shard
 * has been killed: its call returns at once, whatever it has done so far, and syscall_dispatch ends the shard. */
bool preempt_point(void) {
	struct shard *next;

	interrupt_window();
	if (current == &supervisor_thread) return false;
	if (need_resched && (next = relieve())) leave_call(current, next, rdtsc_low());
	return current->killed && !ABLATE(leave);
}

/* Called when the APIC's timer has counted down. */
static void turn_ends(void *unused) {
	(void)unused;
	charge(rdtsc_low());
	if (turn_over()) need_resched = true;
}

/* Measures the APIC's timer, and a turn, between the first two ticks. (The first one is timer_init's single interrupt:
 * that turn can be too long.) Later the length of a turn follows that of the ticks slowly, so that a late one, or a
 * pause of the whole machine, does little. */
static inline void measure_turn(uint64_t now) {
	int64_t longer = (int64_t)(now - last_tick) - turn_length;

	last_tick = now;
	if (ticks > 1) {
		turn_length += (longer < turn_length ? longer : turn_length) / TICKS_AVERAGED;
	} else if (ticks) {
		turn_length = longer;
		sampled = (uint64_t)longer;
		sampled_counts -= apic_timer_now();
	} else {
		apic_timer_init(turn_ends);
		apic_timer_start(UINT32_MAX);
		turn_length = 0;
	}
}

/* Called at every tick: ends the turn of the current shard, or arranges for its end if an equal waits and it comes
 * before the next tick; wakes the supervisor's thread for the periodic search. */
void sched_tick(void) {
	uint64_t now = rdtsc();

	measure_turn(now);
	charge((uint32_t)now);
	if (turn_over())
		need_resched = true;
	else if (current->turn_left < turn_length && others_first() && !ABLATE(turns))
		apic_timer_start((uint32_t)((uint64_t)current->turn_left * sampled_counts / sampled));
	if (++ticks % DEADLOCK_SEARCH_TICKS) return;
	search_due = true;
	sched_supervise();
}

/* Switches to a shard. Returns when the supervisor's thread is wanted again; many others may have run by then. */
static void run_a_shard(void) {
	charged_until = kernel_since = rdtsc_low();
	struct shard *next = pick();
	mark_running(next);
	context_switch(&supervisor_thread, next);
}

/* The supervisor's own thread. In each round it calls `reap`, since a shard may have ended, and `end_deadlocks` when
 * nobody can run, or a search is due; that one returns whether it has ended any.
 * calls through reap: reap; calls through end_deadlocks: end_deadlocks */
void sched_loop(void (*reap)(void), bool (*end_deadlocks)(void)) {
	for (;;) {
		preempt_point(); /* lets interrupts in between two rounds */
		ready_mask &= ~READY_SUPERVISOR;
		reap();
		if (!ready_mask || search_due) {
			search_due = false;
			if (end_deadlocks()) continue;
		}
		if (ready_mask)
			run_a_shard();
		else
			wait_for_interrupt();
	}
}
