/*
 * channels.c, the rung: what channel.c and call.c add: messages.
 *
 * Thread 0 first sends numbers without waiting for an answer, more than a channel queues, so that it has to wait for
 * room. Then the two work together: thread 0 calls with a number, thread 1 answers with the next of Collatz's sequence,
 * half of an even one and three times an odd one plus one, until it is 1. An answer waits for the next call in the same
 * step. Both make the calls that shards make, from ring 0, with buffers in address spaces of their own.
 *
 * Read next: devices.c.
 */
#include "thread.h"

enum { NUMBERS = 20, FIRST = 27, STEPS_MAX = 1000 };

static struct profile profile = {.name = "thread"};
static const char *const names[SYS_LIMIT] = {[SYS_CHANNEL_SEND] = "CHANNEL_SEND", [SYS_CHANNEL_RECV] = "CHANNEL_RECV",
	[SYS_CHANNEL_CALL] = "CHANNEL_CALL"};
static uint64_t sum_sent, sum_received, steps, highest = FIRST;

/* Sends a number. */
static void send(uint64_t number) {
	if (user_writable(STACK_PAGE, sizeof(number))) copy_to_user(STACK_PAGE, &number, sizeof(number));
	int64_t error = sys_channel_send(0, STACK_PAGE, sizeof(number));
	if (error) panic("CHANNEL_SEND returned %ld", error);
}

/* Waits for a number and returns it. */
static uint64_t receive(void) {
	uint64_t number = 0;
	int64_t len = sys_channel_recv(0, STACK_PAGE, sizeof(number));

	if (len != sizeof(number)) panic("CHANNEL_RECV returned %ld", len);
	copy_from_user(&number, STACK_PAGE, sizeof(number));
	return number;
}

/* Sends a number and returns the one that comes back. */
static uint64_t call(uint64_t number) {
	if (user_writable(STACK_PAGE, sizeof(number))) copy_to_user(STACK_PAGE, &number, sizeof(number));
	int64_t len = sys_channel_call(0, STACK_PAGE, sizeof(number), STACK_PAGE, sizeof(number));

	if (len != sizeof(number)) panic("CHANNEL_CALL returned %ld", len);
	copy_from_user(&number, STACK_PAGE, sizeof(number));
	return number;
}

static void first_thread(void) {
	uint64_t state = 1, number = FIRST;

	for (int i = 0; i < NUMBERS; i++) {
		uint64_t next = next_random(&state);
		sum_sent = sum_sent * 31 + next;
		send(next);
	}
	for (; number != 1 && steps < STEPS_MAX; steps++) {
		number = call(number);
		if (number > highest) highest = number;
	}
	sched_exit();
}

static void second_thread(void) {
	for (int i = 0; i < NUMBERS; i++)
		sum_received = sum_received * 31 + receive();
	for (uint64_t number = receive();;)
		number = call(number % 2 ? 3 * number + 1 : number / 2);
}

/* Makes a thread with memory of its own and its end of the channel. */
static void make(uint8_t id, void (*function)(void)) {
	struct shard *thread = make_thread(id, PRIORITY_NORMAL, function);
	int error;

	thread->profile = &profile;
	thread->refusals_left = UINT32_MAX;
	thread->caps = &caps.entry[id * COCONUT_CAP_SLOTS];
	thread->held = thread->caps;
	forget(thread);
	if (space_create(thread) || !map_page(thread, STACK_PAGE, PTE_WRITE | PTE_NX, &error))
		panic("no memory for a thread");
	channels_open(id);
}

/* What the supervisor's thread does: the end of the first thread is that of the run. */
static void reap(void) {
	if (shards[0].state != SHARD_ENDED) return;
	print("Channels: %u numbers sent, checksum 0x%016lx, received 0x%016lx\n", NUMBERS, sum_sent, sum_received);
	print("Channels: from %u to 1 in %lu steps, by way of %lu\n", FIRST, steps, highest);
	rung_end();
}

void rung_show(const struct bootinfo *info) {
	(void)info;
	call_names = names;
	manifest.channel_count = 1;
	channel_create(0, 0, 1);
	make(0, first_thread);
	make(1, second_thread);
	sched_loop(reap, none_is_stuck);
}
