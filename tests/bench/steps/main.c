/*
 * steps: does each operation once between two marks, after some rounds that warm up what the kernel remembers, so that
 * scripts/bench_steps.py can count the instructions of each function in QEMU's trace.
 *
 * Its args say what it is: "lead" does the operations, "follow" answers it, "spin" is there to be preempted, and
 * "token ..." computes one token with the checkpoint that the rest names.
 *
 * Read next: ../../../scripts/bench_steps.py.
 */
#include "../bench.h"
#include "llama.h"

#define WARM 3
#define HEAP COCONUT_HEAP_BASE
#define POSITION 150 /* of the token: the middle of those that the benchmark takes the mean of */

enum operation { NULL_CALL, REJECT, YIELD, RTT8, RTT256, MMAP, MUNMAP, FSREAD, LIFE, FAULT, TICK, OPERATIONS };

/* Where the trace finds the beginning and the end of an operation: on a page that the victim, which has one, has
 * not. */
#define MARK static __attribute__((noinline, aligned(COCONUT_PAGE_SIZE)))
MARK void mark_begin(void) { __asm__ volatile("nop" : : : "memory"); }

MARK void mark_end(void) {
	__asm__ volatile("nop; nop" : : : "memory"); /* unlike mark_begin, or the compiler makes one of both */
}

/* Starts a program that only `args` tells from others. Returns its handle. */
static uint64_t spawn(const char *path, const char *args) {
	return (uint64_t)coconut_spawn(path, coconut_strlen(path), args, coconut_strlen(args));
}

/* Spins until the CPU was lost and is back: another shard that spins had it for a whole tick. */
static void lose_the_cpu(void) {
	for (uint64_t last = clock_now(), now = last; now - last < 5000; now = clock_now())
		last = now;
}

static void operation(enum operation which, int round, char *message) {
	uint64_t page = HEAP + (uint64_t)round * COCONUT_PAGE_SIZE;

	switch (which) {
	case NULL_CALL: coconut_cap_inspect(BENCH_CHANNEL); break;
	case REJECT: coconut_cap_inspect(99); break;
	case YIELD: coconut_yield(); break;
	case RTT8: coconut_channel_call(BENCH_CHANNEL, message, 8, message, COCONUT_MESSAGE_MAX); break;
	case RTT256: coconut_channel_call(BENCH_CHANNEL, message, COCONUT_MESSAGE_MAX, message, COCONUT_MESSAGE_MAX); break;
	case MMAP: coconut_mmap(page, 1); break;
	case MUNMAP: coconut_munmap(page, 1); break;
	case FSREAD: coconut_fs_read(0, (void *)HEAP, COCONUT_PAGE_SIZE); break;
	case LIFE: coconut_wait(spawn("/shards/victim", "")); break;
	case FAULT: coconut_wait(spawn("/shards/victim", "fault")); break;
	default: lose_the_cpu();
	}
}

/* Does every operation with a peer that follows. */
static void lead(void) {
	char message[COCONUT_MESSAGE_MAX] = {1};

	coconut_fs_open("/model.bin", 10);
	for (enum operation which = 0; which < OPERATIONS; which++) {
		uint64_t spinner = which == TICK ? spawn("/shards/steps", "spin") : 0;
		if (which == FSREAD) coconut_mmap(HEAP, 1);
		for (int round = 0; round < WARM; round++)
			operation(which, round, message);
		mark_begin();
		operation(which, WARM, message);
		mark_end();
		if (which == TICK) coconut_kill(spinner);
	}
}

/* Answers: first by yielding, as often as the lead does, then every message. */
static void follow(void) {
	char message[COCONUT_MESSAGE_MAX];

	for (int i = 0; i < 2 * WARM + 2; i++)
		coconut_yield();
	int64_t len = coconut_channel_recv(BENCH_CHANNEL, message, sizeof(message));
	while (len > 0)
		len = coconut_channel_call(BENCH_CHANNEL, message, (size_t)len, message, sizeof(message));
}

/* Computes one token. What the cache of the positions before contains does not change what it costs. */
static int token(const char *args) {
	struct llama l;

	if (!llama_load_model(&l, "steps", args) || !llama_start(&l, 0, l.model.n_layers - 1)) return 1;
	mark_begin();
	transformer_embed(&l.transformer, 1);
	transformer_layers(&l.transformer, POSITION);
	sampler_argmax(transformer_logits(&l.transformer), l.model.vocab_size);
	mark_end();
	return 0;
}

int main(const char *args) {
	if (args[0] == 't') return token(args + sizeof("token ") - 1);
	if (args[0] == 's')
		for (;;)
			clock_now();
	if (args[0] == 'l')
		lead();
	else
		follow();
	return 0;
}
