/*
 * dma: copies between GPU partitions, one scene a pair. args: the scene and the side, "sizes a" say. Both sides are GPU
 * shards; side a stands before its b in the manifest and has one channel, handle 0, so that handle 1 + partition names
 * the partition of b.
 */
#include "../expect.h"

__asm__(".globl gpu_shard\n.set gpu_shard, 1"); /* shard.ld leaves the page of the configuration free */

#define CONFIG ((const struct gpu_config *)GPU_CONFIG_VADDR)
#define LONG 65536 /* bytes of a copy that is under way for seconds */

/* What a tells b to look for: `bytes` bytes of the pattern at `offset`, zeros around them. Zero bytes: that was all. */
struct order {
	uint64_t offset, bytes, seed;
};

static unsigned char *vram(void) { return (unsigned char *)CONFIG->vram_vaddr; }

static unsigned char pattern(uint64_t seed, uint64_t i) {
	return (unsigned char)((i * 31 + (i >> 8) + seed) | 1); /* never zero */
}

static void check_zero(uint64_t from, uint64_t to) {
	for (uint64_t i = from; i < to; i++)
		if (vram()[i]) {
			print("VRAM[0x%lx] is 0x%x, expected 0\n", i, vram()[i]);
			coconut_exit(1);
		}
}

/* Side b opens all of its partition to the other side, and says so. In a later life nobody may be left to hear it. */
static void open_all(void) {
	CHECK_EQ(coconut_gpu_unveil(0, CONFIG->vram_size), 0);
	coconut_channel_send(0, "o", 1);
}

/* Side a waits until it has. */
static void await_open(void) {
	char byte;

	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	CHECK_EQ(byte, 'o');
}

static int64_t dma(uint64_t source, uint64_t target, uint64_t bytes) {
	return CALL(SYS_GPU_DMA, 1 + CONFIG->partition, source, target << 32 | bytes);
}

/* ---- sizes: any size from and to any offset arrives whole, and nothing else is written ---- */

static void copy(uint64_t source, uint64_t target, uint64_t bytes) {
	struct order order = {target, bytes, source};
	char verdict;

	for (uint64_t i = 0; i < bytes; i++)
		vram()[source + i] = pattern(source, i);
	CHECK_EQ(dma(source, target, bytes), 0);
	for (uint64_t i = 0; i < bytes; i++)
		CHECK_EQ(vram()[source + i], pattern(source, i));
	CHECK_EQ(coconut_channel_call(0, &order, sizeof(order), &verdict, 1), 1);
}

static void sizes_a(void) {
	uint64_t end = CONFIG->vram_size;

	await_open();
	copy(4095, 8191, 2);
	copy(0, 0, 1);
	copy(100, 4096, 4096);
	copy(0x10FFF, 0x20FFF, 4095);
	copy(0x30123, end - 9001, 9001);
	copy(end - 4096, 0x7777, 4096);
	CHECK_EQ(coconut_channel_send(0, &(struct order){0}, sizeof(struct order)), 0);
}

static void sizes_b(void) {
	struct order order;

	check_zero(0, CONFIG->vram_size);
	open_all();
	for (;;) {
		CHECK_EQ(coconut_channel_recv(0, &order, sizeof(order)), sizeof(order));
		if (!order.bytes) return;
		check_zero(0, order.offset);
		for (uint64_t i = 0; i < order.bytes; i++)
			CHECK_EQ(vram()[order.offset + i], pattern(order.seed, i));
		check_zero(order.offset + order.bytes, CONFIG->vram_size);
		memset(vram() + order.offset, 0, order.bytes);
		CHECK_EQ(coconut_channel_send(0, "", 1), 0);
	}
}

/* ---- crowd: more pairs than engines, several copies each ---- */

static void crowd_a(void) {
	await_open();
	for (uint64_t i = 1; i <= 4; i++)
		copy(CONFIG->partition * 64 + i, i * 5000, 1000 * i);
	CHECK_EQ(coconut_channel_send(0, &(struct order){0}, sizeof(struct order)), 0);
}

#define KILLED_BY_KERNEL 1

/* ---- dies: b dies in the middle of a copy to it; in its second life it finds zeros, and they stay ---- */

static void dies_a(void) {
	memset(vram(), 0xEE, LONG);
	await_open();
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
	REFUSED(CLOSED, dma(0, 0, LONG));
}

static void dies_b(void) {
	char byte;

	check_zero(0, CONFIG->vram_size);
	open_all();
	/* In its second life nobody is there who sends anything. */
	if (coconut_channel_recv(0, &byte, 1) != 1) {
		busy_wait(500);
		check_zero(0, CONFIG->vram_size);
		return;
	}
	while (byte == KILLED_BY_KERNEL || !((volatile unsigned char *)vram())[0])
		coconut_yield();
	print("b dies now\n");
	__asm__ volatile("ud2");
}

/* The same, but the kernel kills b while the engine writes to it (PROVOKE_dma_kill_target). */
static void shot_a(void) {
	char byte = KILLED_BY_KERNEL;

	memset(vram(), 0xEE, LONG);
	await_open();
	CHECK_EQ(coconut_channel_send(0, &byte, 1), 0);
	REFUSED(CLOSED, dma(0, 0, LONG));
}

/* ---- early: a tries all the time to copy to b, which opens its partition late in its first life, and never in its
 * second one: nothing arrives before, nothing at all then ---- */

static void early_a(void) {
	int64_t end = INT64_MAX, result; /* some time after the first copy that arrives */
	uint64_t arrived = 0;

	memset(vram(), 0xEE, PAGE);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0); /* for the first life alone: what it has read, the second does not find */
	while (coconut_time() < end)
		if ((result = dma(0, CONFIG->vram_size - 64, 64)) == 0) {
			if (!arrived++) end = coconut_time() + 500;
		} else
			CHECK(result == -COCONUT_E_VEILED || result == -COCONUT_E_CLOSED);
	print("copies that arrived: %lu\n", arrived);
	CHECK(arrived);
}

static void early_b(void) {
	char byte;

	check_zero(0, CONFIG->vram_size);
	busy_wait(200);
	check_zero(0, CONFIG->vram_size);
	if (coconut_channel_recv(0, &byte, 1) != 1) { /* the second life: a has ended by now */
		check_zero(0, CONFIG->vram_size);
		return;
	}
	CHECK_EQ(coconut_gpu_unveil(CONFIG->vram_size - PAGE, PAGE), 0);
	while (!((volatile unsigned char *)vram())[CONFIG->vram_size - 1])
		coconut_yield();
	__asm__ volatile("ud2");
}

/* ---- orphans: prey dies while one and two copy to it; a bystander copies to its target. Handle 0 is a channel, and
 * those behind it name the other partitions in order ---- */

static void prey(void) {
	char byte;

	CHECK_EQ(coconut_gpu_unveil(0, PAGE), 0);
	if (coconut_channel_recv(0, &byte, 1) == 1) __asm__ volatile("ud2");
}

static void hunter(void) {
	char byte;

	while (coconut_channel_recv(0, &byte, 1) == 1)
		CALL(SYS_GPU_DMA, 1, 0, 4095);
}

static void bystander(void) {
	await_open();
	for (int i = 0; i < 8; i++)
		CHECK_EQ(CALL(SYS_GPU_DMA, 4, 0, 4095), 0);
}

static void target(void) {
	char byte;

	open_all();
	REFUSED(CLOSED, coconut_channel_recv(0, &byte, 1));
}

/* ---- change: without engines; b dies in the middle of a long copy to it, and opens its partition in its second life;
 * what a's copy has left is not for that one ---- */

static void change_a(void) {
	int64_t result;

	memset(vram(), 0xEE, CONFIG->vram_size);
	await_open();
	while (!(result = dma(0, 0, CONFIG->vram_size)))
		;
	CHECK_EQ(result, -COCONUT_E_CLOSED);
}

static void change_b(void) { /* handle 1: to the one who says when */
	char byte;

	open_all();
	CHECK_EQ(coconut_channel_recv(1, &byte, 1), 1);
	if (byte == 0) __asm__ volatile("ud2"); /* the first life */
	check_zero(0, CONFIG->vram_size);
}

/* ---- lent: a lends b its capability for b's own partition, and takes it back while b copies by it; the copy
 * ends ---- */

#define LENT_TARGET 0x100000

static void lent_a(void) {
	uint64_t handle = 1 + CONFIG->partition;
	int64_t there = coconut_cap_grant(handle, 0, CAP_RIGHT_SEND);
	char byte = (char)there;

	CHECK(there >= 0);
	CHECK_EQ(coconut_channel_send(0, &byte, 1), 0);
	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1); /* b begins */
	busy_wait(500);
	CHECK_EQ(coconut_cap_revoke(handle), 0);
	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
}

static void lent_b(void) {
	char handle;

	memset(vram(), 0xEE, LONG);
	CHECK_EQ(coconut_channel_recv(0, &handle, 1), 1);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
	print("the copy ended with %ld\n", CALL(SYS_GPU_DMA, handle, 0, (uint64_t)LENT_TARGET << 32 | LONG));
	busy_wait(300);
	check_zero(LENT_TARGET + LONG - PAGE, LENT_TARGET + LONG);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
}

/* ---- killed: the kernel kills a while the engine writes for it (PROVOKE_dma_kill); its second life copies elsewhere.
 * Nothing of the copy of its first life arrives. ---- */

#define FIRST_TARGET 0x8000

static void killed_a(void) {
	char life;

	memset(vram(), 0xEE, LONG);
	CHECK_EQ(coconut_channel_call(0, "", 1, &life, 1), 1);
	CHECK_EQ(dma(0, life == 1 ? FIRST_TARGET : 0, 10000), 0);
}

static void killed_b(void) {
	char lives = 0, byte;

	CHECK_EQ(coconut_gpu_unveil(0, CONFIG->vram_size), 0);
	while (lives < 2)
		if (coconut_channel_recv(0, &byte, 1) == 1)
			lives++, coconut_channel_send(0, &lives, 1);
		else
			coconut_yield();
	CHECK(coconut_channel_recv(0, &byte, 1) < 0); /* it has ended */
	check_zero(FIRST_TARGET, CONFIG->vram_size);
	CHECK_EQ(vram()[9999], 0xEE);
	check_zero(10000, CONFIG->vram_size);
}

/* ---- refused: the one copy of a ends in an error of the device; not a byte of a's own memory changes ---- */

static void refused_a(void) {
	for (uint64_t i = 0; i < LONG; i++)
		vram()[i] = pattern(1, i);
	await_open();
	int64_t result = dma(100, 0, 1000);
	uint64_t changed = 0;

	for (uint64_t i = 0; i < LONG; i++)
		changed += vram()[i] != pattern(1, i);
	print("the copy ended with %ld, %lu bytes of the source changed\n", result, changed);
	CHECK(changed == 0 && result == -COCONUT_E_IO);
}

/* Keeps its partition until the other side has ended. */
static void refused_b(void) {
	char byte;

	open_all();
	REFUSED(CLOSED, coconut_channel_recv(0, &byte, 1));
	check_zero(0, CONFIG->vram_size);
}

/* ---- flood: a copies again and again to where the IOMMU does not let it (the checks before are left out) ---- */

static void flood_a(void) {
	for (int i = 0; i < 20; i++)
		REFUSED(IO, dma(0, 0, 64));
}

static void flood_b(void) {
	char byte;

	REFUSED(CLOSED, coconut_channel_recv(0, &byte, 1));
	check_zero(0, PAGE);
}

/* ---- silent: the first engine never answers (PROVOKE_dma_silence); the copy fails, the next one has another
 * engine ---- */

static void silent_a(void) {
	memset(vram(), 0xEE, LONG);
	await_open();
	REFUSED(IO, dma(0, 0, 1000));
	CHECK_EQ(dma(0, 0x1000, 1000), 0);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
}

static void silent_b(void) {
	char byte;

	open_all();
	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	check_zero(0, 0x1000);
	CHECK_EQ(vram()[0x1000 + 999], 0xEE);
}

/* ---- astray: the kernel sends an engine, or two, astray while a asks for the time; b has memory of its own to
 * lose ---- */

static void astray_a(void) {
	char byte;

	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	coconut_time();
}

static void astray_b(void) {
	volatile unsigned char *page = BYTES(COCONUT_HEAP_BASE);
	char byte;

	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 1), 0);
	for (uint64_t i = 0; i < PAGE; i++)
		page[i] = pattern(2, i);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
	REFUSED(CLOSED, coconut_channel_recv(0, &byte, 1));
	for (uint64_t i = 0; i < PAGE; i++)
		CHECK_EQ(page[i], pattern(2, i));
}

/* ---- pierce: what a must not copy. It prints each answer, and b how much has arrived. ---- */

#define OWN 0x8000 /* a unveils a page here, b one there */
#define THERE 0x20000UL
#define PIERCED 64 /* bytes of an attempt; the next one aims that much further */

static void pierce_a(const char *args) {
	uint64_t vram_phys = 0, supervisor = 0x200000;
	struct text key, value;
	char byte;

	while (args_next(&args, &key, &value))
		if (text_equals(key, "vram")) CHECK(text_to_u64(value, &vram_phys));
	memset(vram(), 0x77, LONG);
	memset(vram() + 2 * LONG, 0x77, PAGE);
	CHECK_EQ(coconut_gpu_unveil(OWN, PAGE), 0);
	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	print("outside its own range: %ld\n", dma(2 * LONG, THERE, PIERCED));
	print("outside the target's range: %ld\n", dma(OWN, THERE + 2 * PAGE, PIERCED));
	print("without the capability: %ld\n", CALL(SYS_GPU_DMA, 15, OWN, (THERE + 2 * PIERCED) << 32 | PIERCED));
	print("from the supervisor: %ld\n", dma(supervisor - vram_phys, THERE + 3 * PIERCED, PIERCED));
	CHECK_EQ(dma(OWN, THERE + 4 * PIERCED, PIERCED), 0);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
}

static uint64_t arrived(uint64_t offset) {
	uint64_t count = 0;

	for (uint64_t i = 0; i < PIERCED; i++)
		count += vram()[offset + i] != 0;
	return count;
}

static void pierce_b(void) {
	char byte;

	CHECK_EQ(coconut_gpu_unveil(THERE, PAGE), 0);
	CHECK_EQ(coconut_channel_call(0, "", 1, &byte, 1), 1);
	print("arrived: %lu %lu %lu %lu\n", arrived(THERE), arrived(THERE + 2 * PAGE), arrived(THERE + 2 * PIERCED),
	      arrived(THERE + 3 * PIERCED));
	CHECK_EQ(arrived(THERE + 4 * PIERCED), PIERCED); /* what is allowed */
}

int main(const char *args) {
	static const struct {
		const char *name;
		void (*function)(void);
	} scenes[] = {
		{"sizes a", sizes_a},   {"sizes b", sizes_b},	{"crowd a", crowd_a}, {"crowd b", sizes_b},
		{"dies a", dies_a},     {"dies b", dies_b},	{"killed a", killed_a}, {"killed b", killed_b},
		{"refused a", refused_a}, {"refused b", refused_b}, {"shot a", shot_a}, {"shot b", dies_b},
		{"flood a", flood_a}, {"flood b", flood_b}, {"prey", prey}, {"hunter", hunter}, {"bystander", bystander},
		{"target", target},
		{"change a", change_a}, {"change b", change_b},
		{"early a", early_a}, {"early b", early_b},
		{"lent a", lent_a}, {"lent b", lent_b},
		{"silent a", silent_a}, {"silent b", silent_b}, {"astray a", astray_a}, {"astray b", astray_b},
		{"pierce b", pierce_b},
	};

	CHECK_EQ(CONFIG->magic, GPU_CONFIG_MAGIC);
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		if (same(args, scenes[i].name)) {
			scenes[i].function();
			return 0;
		}
	if (!memcmp(args, "vram=", 5))
		pierce_a(args);
	else
		CHECK(same(args, "idle"));
	return 0;
}
