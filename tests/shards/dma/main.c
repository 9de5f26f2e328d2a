/*
 * dma: copies between GPU partitions, one scene a pair. args: the scene and the side, "sizes a" say. Both sides are GPU
 * shards; side a stands before its b in the manifest and has one channel, handle 0, so that handle 1 + partition names
 * the partition of b.
 */
#include "../expect.h"

#define CONFIG ((const struct gpu_config *)GPU_CONFIG_VADDR)
#define LONG 65536 /* bytes of a copy that is under way for seconds */

/* What a tells b to look for: `bytes` bytes of the pattern at `offset`, zeros around them. Zero bytes: that was all. */
struct order {
	uint64_t offset, bytes, seed;
};

static unsigned char *vram(void)
{
	return (unsigned char *)CONFIG->vram_vaddr;
}

static unsigned char pattern(uint64_t seed, uint64_t i)
{
	return (unsigned char)((i * 31 + (i >> 8) + seed) | 1); /* never zero */
}

static void check_zero(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		if (vram()[i]) {
			print("VRAM[0x%lx] is 0x%x, expected 0\n", i, vram()[i]);
			coconut_exit(1);
		}
}

static int64_t dma(uint64_t source, uint64_t target, uint64_t bytes)
{
	return CALL(SYS_GPU_DMA, 1 + CONFIG->partition, source, target << 32 | bytes);
}

/* ---- sizes: any size from and to any offset arrives whole, and nothing else is written ---- */

static void copy(uint64_t source, uint64_t target, uint64_t bytes)
{
	struct order order = {target, bytes, source};
	char verdict;

	for (uint64_t i = 0; i < bytes; i++)
		vram()[source + i] = pattern(source, i);
	CHECK_EQ(dma(source, target, bytes), 0);
	for (uint64_t i = 0; i < bytes; i++)
		CHECK_EQ(vram()[source + i], pattern(source, i));
	CHECK_EQ(coconut_channel_call(0, &order, sizeof(order), &verdict, 1), 1);
}

static void sizes_a(void)
{
	uint64_t end = CONFIG->vram_size;

	copy(4095, 8191, 2);
	copy(0, 0, 1);
	copy(100, 4096, 4096);
	copy(0x10FFF, 0x20FFF, 4095);
	copy(0x30123, end - 9001, 9001);
	copy(end - 4096, 0x7777, 4096);
	CHECK_EQ(coconut_channel_send(0, &(struct order){0}, sizeof(struct order)), 0);
}

static void sizes_b(void)
{
	struct order order;

	check_zero(0, CONFIG->vram_size);
	for (;;) {
		CHECK_EQ(coconut_channel_recv(0, &order, sizeof(order)), sizeof(order));
		if (!order.bytes)
			return;
		check_zero(0, order.offset);
		for (uint64_t i = 0; i < order.bytes; i++)
			CHECK_EQ(vram()[order.offset + i], pattern(order.seed, i));
		check_zero(order.offset + order.bytes, CONFIG->vram_size);
		memset(vram() + order.offset, 0, order.bytes);
		CHECK_EQ(coconut_channel_send(0, "", 1), 0);
	}
}

/* ---- crowd: more pairs than engines, several copies each ---- */

static void crowd_a(void)
{
	for (uint64_t i = 1; i <= 4; i++)
		copy(CONFIG->partition * 64 + i, i * 5000, 1000 * i);
	CHECK_EQ(coconut_channel_send(0, &(struct order){0}, sizeof(struct order)), 0);
}

/* ---- dies: b dies in the middle of a copy to it; in its second life it finds zeros, and they stay ---- */

static void dies_a(void)
{
	memset(vram(), 0xEE, LONG);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
	REFUSED(CLOSED, dma(0, 0, LONG));
}

static void dies_b(void)
{
	char byte;

	check_zero(0, CONFIG->vram_size);
	/* In its second life nobody is there who sends anything. */
	if (coconut_channel_recv(0, &byte, 1) != 1) {
		busy_wait(500);
		check_zero(0, CONFIG->vram_size);
		return;
	}
	while (!((volatile unsigned char *)vram())[0])
		coconut_yield();
	print("b dies now\n");
	__asm__ volatile("ud2");
}

/* ---- killed: a is killed in the middle of a copy, by the kernel (PROVOKE_dma_kill); its second life copies again ---- */

static void killed_a(void)
{
	memset(vram(), 0xEE, LONG);
	if (!coconut_channel_send(0, "", 1))
		CHECK_EQ(dma(0, 0, 10000), 0);
}

static void killed_b(void)
{
	int lives = 0;
	char byte;

	while (lives < 2)
		if (coconut_channel_recv(0, &byte, 1) == 1)
			lives++;
		else
			coconut_yield();
	CHECK(coconut_channel_recv(0, &byte, 1) < 0); /* it has ended */
	CHECK_EQ(vram()[9999], 0xEE);
	check_zero(10000, CONFIG->vram_size);
}

/* ---- refused: the one copy of a ends in an error of the device; not a byte of a's own memory changes ---- */

static void refused_a(void)
{
	memset(vram(), 0xEE, LONG);
	int64_t result = dma(100, 0, 1000);
	uint64_t changed = 0;

	for (uint64_t i = 0; i < LONG; i++)
		changed += vram()[i] != 0xEE;
	print("the copy ended with %ld, %lu bytes of the source changed\n", result, changed);
	CHECK(changed == 0 && result == -COCONUT_E_IO);
}

/* Keeps its partition until the other side has ended. */
static void refused_b(void)
{
	char byte;

	REFUSED(CLOSED, coconut_channel_recv(0, &byte, 1));
	check_zero(0, CONFIG->vram_size);
}

int main(const char *args)
{
	static const struct {
		const char *name;
		void (*function)(void);
	} scenes[] = {
		{"sizes a", sizes_a},   {"sizes b", sizes_b},	{"crowd a", crowd_a}, {"crowd b", sizes_b},
		{"dies a", dies_a},     {"dies b", dies_b},	{"killed a", killed_a}, {"killed b", killed_b},
		{"refused a", refused_a}, {"refused b", refused_b},
	};

	CHECK_EQ(CONFIG->magic, GPU_CONFIG_MAGIC);
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		if (same(args, scenes[i].name)) {
			scenes[i].function();
			return 0;
		}
	return same(args, "idle") ? 0 : 1;
}
