/*
 * fuzz: random system calls with random and boundary arguments. Whatever it asks for, the kernel must answer and nobody
 * else may come to harm.
 *
 * Args: `seed=S count=N`, and `from=I` to begin with call number I, `trace=1` to print each call before it is made.
 * Every call follows from the seed and its own number alone, so that a run can be repeated, or cut down to the part of
 * interest.
 *
 * Its peers (args `send`, `take`) keep it from waiting for ever: one sends to it, the other receives what it sends,
 * both at the other end of its channel. It spawns itself, with the args `child=1` beside a seed: a child also makes the
 * calls that would end the fun, EXIT and PLEDGE.
 *
 * Read next: tests/test_attacks.py, which writes the manifest.
 */
#include "tests/shards/expect.h"

#define ARENA 0x200000UL
#define ARENA_PAGES 8
#define CHILD_CALLS 40
#define PROGRAM "/a/fuzz"

struct fuzz {
	uint64_t seed, state;
	int child, trace;
};

static uint64_t any(struct fuzz *f) { return random_next(&f->state); }

static uint64_t below(struct fuzz *f, uint64_t limit) { return any(f) % limit; }

/* A number near one of the borders that the calls know. */
static uint64_t boundary(struct fuzz *f) {
	static const uint64_t border[] = {0, 1, 8, 15, 16, 64, 255, 256, 1023, 1024, 4095, 4096, 0x1000, 0x100000, 0x7FE000,
		0x7FF000,
		0x800000, 0x40000000, 1UL << 31, 1UL << 32, 1UL << 39, 1UL << 47, 1UL << 52, 1UL << 63, ~0UL,
		0xFFFF800000000000, 0xFFFFFFFF80200000, 0xFFFFFFFFA0000000, 0xFFFFFFFFC0000000};
	uint64_t number = border[below(f, sizeof(border) / sizeof(border[0]))];

	return number + below(f, 5) - 2;
}

/* An address that may be a buffer: mostly in the arena, which calls may unmap, never on our own stack. */
static uint64_t address(struct fuzz *f) {
	uint64_t kind = below(f, 16), at;

	if (kind < 9) return ARENA + below(f, ARENA_PAGES * PAGE);
	if (kind < 11) return ARENA + below(f, ARENA_PAGES + 2) * PAGE - below(f, 300);
	if (kind < 13) return ARENA + below(f, ARENA_PAGES + 2) * PAGE;
	if (kind < 14) return COCONUT_LARGE_BASE + below(f, 64) * PAGE;
	at = kind < 15 ? boundary(f) : any(f);
	return at - COCONUT_STACK_TOP + 2 * PAGE < 3 * PAGE ? 0 : at;
}

/* A small number mostly: a handle, a length, a number of pages. */
static uint64_t small(struct fuzz *f, uint64_t limit) { return below(f, 8) ? below(f, limit) : boundary(f); }

/* Writes the 19 bytes of args for a child. */
static void write_child_args(struct fuzz *f, char *args) {
	static const char text[] = "child=1 seed=";
	uint64_t number = below(f, 1000000);

	memcpy(args, text, sizeof(text) - 1);
	for (int i = 0; i < 6; i++, number /= 10)
		args[sizeof(text) - 1 + i] = (char)('0' + number % 10);
}

/* Makes one call. */
static void step(struct fuzz *f, uint64_t index) {
	static const uint8_t numbers[] = {1, 1, 11, 12, 13, 14, 21, 22, 23, 21, 22, 23, 30, 31, 32, 33, 40, 41, 42, 43, 43, 50,
		51, 52, 53,
		53, 54, 55, 55, 62, 0};
	char args[32];
	uint64_t number, a[5], path_len = strlen(PROGRAM);

	f->state = (f->seed + 1) * 0x9E3779B97F4A7C15 ^ (index + 1) * 0xD1B54A32D192ED03;
	f->state += f->state == 0;
	number = below(f, 20) ? numbers[below(f, sizeof(numbers))] : below(f, 3) ? below(f, 80) : any(f);
	if (!f->child && (number == SYS_EXIT || number == SYS_GPU_PLEDGE)) number = SYS_YIELD;
	a[0] = number == SYS_SERIAL_WRITE || number == SYS_FS_OPEN || number == SYS_SPAWN ? address(f)
		: small(f, below(f, 2) ? 3 : 17);
	a[1] = number == SYS_SERIAL_WRITE || number == SYS_FS_OPEN || number == SYS_SPAWN ? small(f, 300) :
	       number == SYS_CAP_GRANT ? small(f, 4) : address(f);
	a[2] = number == SYS_CAP_GRANT ? small(f, 64) : number == SYS_SPAWN ? address(f) : small(f, 300);
	a[3] = number == SYS_SPAWN ? small(f, 1100) : address(f);
	a[4] = small(f, 300);
	if (number == SYS_MMAP || number == SYS_MUNMAP) {
		a[0] = address(f) & (below(f, 8) ? ~(PAGE - 1UL) : ~0UL);
		a[1] = small(f, 12);
	} else if (number == SYS_CAP_RESTRICT) {
		a[0] += a[0] < 2 && below(f, 64) ? 2 : 0;
		a[1] = any(f);
	} else if (number == SYS_SPAWN && below(f, 4)) {
		write_child_args(f, args);
		a[0] = (uint64_t)PROGRAM;
		a[1] = path_len;
		a[2] = (uint64_t)args;
		a[3] = 19;
	} else if (number == SYS_CAP_REVOKE) {
		a[0] += a[0] < 2 && below(f, 64) ? 2 : 0; /* the channel and the right to spawn shall last for a while */
	} else if (number == SYS_FS_OPEN && below(f, 2)) {
		a[0] = (uint64_t)(below(f, 2) ? "/etc/coconut.conf" : PROGRAM);
		a[1] = strlen((const char *)a[0]);
	}
	if (f->trace) print("call %lu: %lu(%lx, %lx, %lx, %lx, %lx)\n", index, number, a[0], a[1], a[2], a[3], a[4]);
	coconut_syscall(number, a[0], a[1], a[2], a[3], a[4]);
}

/* Sends on the channel to the fuzzing shard until that has ended, and throws away what it has been granted. Handle 1
 * leads to the peer that receives at the same end, by a capability that it gets here. */
static void send_for_ever(void) {
	uint8_t message[COCONUT_MESSAGE_MAX] = {0};
	int64_t copy = coconut_cap_grant(0, 1, CAP_RIGHT_RECV);

	CHECK(copy >= 0);
	CHECK_EQ(coconut_channel_send(1, &copy, sizeof(copy)), 0);
	for (uint64_t round = 0; coconut_channel_send(0, message, 1 + round % COCONUT_MESSAGE_MAX) == 0; round++)
		for (uint64_t handle = 2; round % 64 == 0 && handle < COCONUT_CAP_SLOTS; handle++)
			if (coconut_cap_inspect(handle) >= 0) coconut_cap_revoke(handle);
}

static void take_for_ever(void) {
	uint8_t message[COCONUT_MESSAGE_MAX];
	uint64_t copy;

	CHECK_EQ(coconut_channel_recv(0, &copy, sizeof(copy)), sizeof(copy));
	while (coconut_channel_recv(copy, message, sizeof(message)) > 0)
		;
}

int main(const char *args) {
	struct fuzz f = {0};
	struct text key, value;
	uint64_t count = CHILD_CALLS, from = 0, number;

	while (args_next(&args, &key, &value)) {
		number = 0;
		if (value.start) text_to_u64(value, &number);
		if (text_equals(key, "seed"))
			f.seed = number;
		else if (text_equals(key, "count"))
			count = number;
		else if (text_equals(key, "from"))
			from = number;
		else if (text_equals(key, "trace"))
			f.trace = 1;
		else if (text_equals(key, "child"))
			f.child = 1;
		else if (text_equals(key, "send"))
			send_for_ever();
		else if (text_equals(key, "take"))
			take_for_ever();
		if (text_equals(key, "send") || text_equals(key, "take")) return 0;
	}
	coconut_mmap(ARENA, ARENA_PAGES);
	for (uint64_t index = from; index < from + count; index++)
		step(&f, index);
	return 0;
}
