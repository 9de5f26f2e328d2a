/*
 * bench: measures the system calls in guest instructions and checks that the work was done.
 *
 * Each figure is the mean over a loop, the loop itself included, and is printed as one line `BENCH name value`.
 * Wrong results end the shard with code 1, so that no figure of broken work is ever reported.
 *
 * Read next: ../../../bench.sh runs it, docs/performance.md explains the figures.
 */
#include "../bench.h"

#define HEAP COCONUT_HEAP_BASE
#define PAGES 64
#define LIVES 20
#define BLOCKS 33
#define BLOCK_ROUNDS 64

static void fail(const char *what) {
	print("bench: %s does not work\n", what);
	coconut_exit(1);
}

static void report(const char *name, uint64_t total, uint64_t count) {
	print("BENCH %s %lu\n", name, (total + count / 2) / count);
}

/* null and reject: a round trip that looks up a capability, and one that finds none. */
static void bench_inspect(void) {
	int64_t expected = coconut_cap_inspect(BENCH_CHANNEL), sum = 0;
	uint64_t start = clock_now();

	for (int i = 0; i < ROUNDS; i++)
		sum += coconut_cap_inspect(BENCH_CHANNEL);
	report("null", clock_now() - start, ROUNDS);
	if (expected < 0 || sum != expected * ROUNDS) fail("CAP_INSPECT");

	for (int i = 0; i < 4; i++)
		coconut_cap_inspect(99); /* the first few refusals are printed */
	start = clock_now();
	for (int i = sum = 0; i < ROUNDS; i++)
		sum += coconut_cap_inspect(99);
	report("reject", clock_now() - start, ROUNDS);
	if (sum != -COCONUT_E_BADHANDLE * ROUNDS) fail("refusing a handle");
}

/* yield: two shards yield to each other; each round is two switches. */
static void bench_yield(void) {
	char order = ORDER_YIELD;

	coconut_channel_send(BENCH_CHANNEL, &order, 1);
	coconut_yield();
	uint64_t start = clock_now();
	for (int i = 0; i < ROUNDS; i++)
		coconut_yield();
	report("yield", clock_now() - start, 2 * ROUNDS);
	for (int i = 0; i < 20; i++)
		coconut_yield();
}

/* rtt8 and rtt256: a request and its answer, CALL on both sides. */
static void bench_round_trip(const char *name, size_t len) {
	char request[COCONUT_MESSAGE_MAX], reply[COCONUT_MESSAGE_MAX];

	for (size_t i = 0; i < len; i++)
		request[i] = i ? (char)(i * 7) : ORDER_ANSWER;
	coconut_channel_call(BENCH_CHANNEL, request, len, reply, sizeof(reply));
	memset(reply, 0, sizeof(reply));
	uint64_t start = clock_now();
	for (int i = 0; i < ROUNDS; i++)
		coconut_channel_call(BENCH_CHANNEL, request, len, reply, sizeof(reply));
	report(name, clock_now() - start, ROUNDS);
	if (memcmp(request, reply, len)) fail("CHANNEL_CALL");
}

/* rtt8_requests and rtt8_replies: round trips whose requests, or whose answers, lie in two pages in turn. */
static void bench_two_pages(const char *name, char *request, char *reply, char *other_request, char *other_reply) {
	coconut_mmap(HEAP, 2);
	*request = *other_request = ORDER_ANSWER;
	uint64_t start = clock_now();
	for (int i = 0; i < ROUNDS / 2; i++) {
		coconut_channel_call(BENCH_CHANNEL, request, 8, reply, 8);
		coconut_channel_call(BENCH_CHANNEL, other_request, 8, other_reply, 8);
	}
	report(name, clock_now() - start, ROUNDS);
	if (*reply != ORDER_ANSWER || *other_reply != ORDER_ANSWER) fail("CHANNEL_CALL");
	coconut_munmap(HEAP, 2);
}

/* mmap1: one page, zeroed, with its share of MUNMAP. */
static void bench_mmap(void) {
	uint64_t total = 0;

	for (int round = 0; round < 4; round++) {
		uint64_t start = clock_now();
		for (uint64_t i = 0; i < PAGES; i++)
			coconut_mmap(HEAP + i * COCONUT_PAGE_SIZE, 1);
		total += clock_now() - start;
		for (uint64_t i = 0; i < PAGES; i++) {
			volatile uint64_t *word = (volatile uint64_t *)(HEAP + i * COCONUT_PAGE_SIZE);
			if (word[0] | word[511]) fail("MMAP");
			word[0] = word[511] = ~0UL;
		}
		start = clock_now();
		coconut_munmap(HEAP, PAGES);
		total += clock_now() - start;
	}
	report("mmap1", total, 4 * PAGES);
}

/* fsread4k: 4 KiB from an open file, page aligned. */
static void bench_read(void) {
	int64_t fd = coconut_fs_open("/model.bin", 10);
	uint64_t total = 0;

	coconut_mmap(HEAP, 1);
	for (int i = 0; i < PAGES; i++) {
		uint64_t start = clock_now();
		int64_t got = coconut_fs_read((uint64_t)fd, (void *)HEAP, COCONUT_PAGE_SIZE);
		total += clock_now() - start;
		if (got != COCONUT_PAGE_SIZE) fail("FS_READ");
	}
	report("fsread4k", total, PAGES);
	coconut_fs_close((uint64_t)fd);
	coconut_munmap(HEAP, 1);
}

/* How MMAP with MUNMAP grows with the pages, and FS_READ with the bytes. */
static void bench_growth(void) {
	for (uint64_t pages = 1; pages <= PAGES; pages *= 4) {
		uint64_t start = clock_now();
		coconut_mmap(HEAP, pages);
		coconut_munmap(HEAP, pages);
		print("GROWTH mmap %lu %lu\n", pages, clock_now() - start);
	}
	coconut_mmap(HEAP, 4);
	for (uint64_t bytes = 256; bytes <= 4 * COCONUT_PAGE_SIZE; bytes *= 4) {
		int64_t fd = coconut_fs_open("/model.bin", 10);
		uint64_t start = clock_now();
		coconut_fs_read((uint64_t)fd, (void *)HEAP, bytes);
		print("GROWTH fs_read %lu %lu\n", bytes, clock_now() - start);
		coconut_fs_close((uint64_t)fd);
	}
	coconut_munmap(HEAP, 4);
}

static int64_t run_victim(const char *args) {
	int64_t handle = coconut_spawn("/shards/victim", 14, args, 5);

	return handle < 0 ? handle : coconut_wait((uint64_t)handle);
}

/* life and fault: a shard from SPAWN to WAIT, and from its fault to its slot being free: the whole life of one that
 * faults, less the time up to its first instruction, which the one that exits reports. */
static void bench_life(void) {
	uint64_t life = 0, birth = 0, fault_life = 0;

	run_victim("exits");
	for (int i = 0; i < LIVES; i++) {
		uint64_t start = clock_now();
		int64_t first = run_victim("exits");
		life += clock_now() - start;
		birth += (uint64_t)(first - (int64_t)start) & 0x7FFFFFFF;
		start = clock_now();
		if (run_victim("fault") != -1) fail("a fault");
		fault_life += clock_now() - start;
	}
	report("life", life, LIVES);
	report("fault", fault_life - birth, LIVES);
}

/* tick: two shards that spin; what passes between the last reading of one and the first of the other. */
static void bench_tick(void) {
	uint64_t mine[TICKS][2], other[TICKS][2], total = 0, count = 0;
	char order = ORDER_SPIN;

	coconut_channel_send(BENCH_CHANNEL, &order, 1);
	spin(mine);
	if (coconut_channel_recv(BENCH_CHANNEL, other, sizeof(other)) != sizeof(other)) fail("the peer");
	for (int i = 1; i < TICKS - 1; i++) {
		for (int j = 0; j < TICKS; j++) {
			if (other[j][1] > mine[i][0] && other[j][1] < mine[i][1]) {
				total += other[j][1] - mine[i][0];
				count++;
			}
		}
	}
	if (count < TICKS / 2) fail("preemption");
	report("tick", total, count);
}

/* rtt8_2pairs and its kin: the median of many short blocks of round trips. The tick takes the CPU away in few of
 * them. */
static void bench_loaded(void) {
	char request[8] = {ORDER_ANSWER}, reply[8];
	uint64_t blocks[BLOCKS];

	while (clock_now() < LOADED_FROM)
		coconut_yield();
	coconut_channel_call(BENCH_CHANNEL, request, sizeof(request), reply, sizeof(reply));
	for (int block = 0; block < BLOCKS; block++) {
		uint64_t start = clock_now(), at = 0;
		for (int i = 0; i < BLOCK_ROUNDS; i++)
			coconut_channel_call(BENCH_CHANNEL, request, sizeof(request), reply, sizeof(reply));
		uint64_t cost = clock_now() - start;
		for (at = (uint64_t)block; at && blocks[at - 1] > cost; at--)
			blocks[at] = blocks[at - 1];
		blocks[at] = cost;
	}
	if (reply[0] != ORDER_ANSWER) fail("CHANNEL_CALL");
	report("rtt8_loaded", blocks[BLOCKS / 2], BLOCK_ROUNDS);
}

int main(const char *args) {
	char order = ORDER_END, here[8] = {0}, *page = (char *)HEAP, *other_page = page + COCONUT_PAGE_SIZE;

	if (args) {
		bench_loaded();
		coconut_channel_send(BENCH_CHANNEL, &order, 1);
		return 0;
	}
	bench_inspect();
	bench_yield();
	bench_round_trip("rtt8", 8);
	bench_round_trip("rtt256", 256);
	bench_two_pages("rtt8_requests", page, here, other_page, here);
	bench_two_pages("rtt8_replies", here, page, here, other_page);
	/* The peer stands in a CALL that waits for the next request: the next order ends its answering. */
	bench_tick();
	bench_mmap();
	bench_read();
	bench_growth();
	bench_life();
	coconut_channel_send(BENCH_CHANNEL, &order, 1);
	return 0;
}
