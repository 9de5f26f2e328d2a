/*
 * gpu: what a GPU shard is given, and what it may do with it. args: the scene.
 *
 * The scenes that end in a and b are two GPU shards with a channel between them, a before b: handle 0 of a is the
 * channel, 1 the partition of b. "ends a" needs a third GPU shard behind them, handle 2.
 */
#include "../expect.h"

#define CONFIG ((const struct gpu_config *)GPU_CONFIG_VADDR)
#define FLOOR 0x800000 /* BARs lie between these two */
#define CEILING 0x3F000000
#define ID_REGISTER 0x500

static volatile uint8_t *vram(void) { return BYTES(CONFIG->vram_vaddr); }

static uint64_t used(uint64_t from, uint64_t to) {
	uint64_t count = 0;

	for (uint64_t i = from; i < to; i++)
		count += vram()[i] != 0;
	return count;
}

/* ---- show: what the configuration page says, and that it is true ---- */

static void show(void) {
	uint64_t end = CONFIG->vram_vaddr + CONFIG->vram_size;

	CHECK_EQ(CONFIG->magic, GPU_CONFIG_MAGIC);
	CHECK(CONFIG->vram_vaddr % PAGE == 0 && CONFIG->mmio_vaddr % PAGE == 0);
	CHECK(CONFIG->vram_vaddr >= FLOOR && end <= CEILING);
	CHECK(CONFIG->mmio_vaddr >= FLOOR && CONFIG->mmio_vaddr + PAGE <= CEILING);
	CHECK(CONFIG->mmio_vaddr > end || CONFIG->mmio_vaddr + PAGE < CONFIG->vram_vaddr);
	for (uint64_t i = 5 * 8; i < PAGE; i++)
		CHECK_EQ(BYTES(GPU_CONFIG_VADDR)[i], 0); /* nothing of the kernel's behind it */
	CHECK_EQ(*(volatile uint16_t *)(CONFIG->mmio_vaddr + ID_REGISTER) & 0xFFF0, 0xB0C0);
	CHECK_EQ(used(0, CONFIG->vram_size), 0);
	vram()[0] = 1;
	vram()[CONFIG->vram_size - 1] = 2;
	CHECK(vram()[0] == 1 && vram()[CONFIG->vram_size - 1] == 2);
	print("partition %u: %lu bytes at 0x%lx, registers at 0x%lx, %u units\n", CONFIG->partition, CONFIG->vram_size,
	      CONFIG->vram_vaddr, CONFIG->mmio_vaddr, CONFIG->cu_count);
}

/* ---- Each of these must kill its shard ---- */

static void write_registers(void) { *(volatile uint16_t *)(CONFIG->mmio_vaddr + ID_REGISTER) = 0xB0C4; }

static void write_config(void) {
	*BYTES(GPU_CONFIG_VADDR + 4) = 1; /* the number of the partition */
}

static void execute_vram(void) {
	vram()[0] = 0xC3; /* ret */
	((void (*)(void))CONFIG->vram_vaddr)();
}

static void read_behind(void) { vram()[CONFIG->vram_size]; }

static void read_before(void) { *BYTES(CONFIG->vram_vaddr - 1); }

/* ---- residue: each life finds zeros, leaves its mark everywhere, and dies ---- */

static void residue(void) {
	uint64_t left = used(0, CONFIG->vram_size);

	print("residue: %lu bytes\n", left);
	if (left) coconut_exit(1);
	for (uint64_t i = 0; i < CONFIG->vram_size; i++)
		vram()[i] = 0x5A;
	__asm__ volatile("ud2");
}

/* ---- mapping over what the kernel has mapped ---- */

static void mmap_over(void) {
	CHECK(coconut_mmap(GPU_CONFIG_VADDR, 1) < 0);
	CHECK(coconut_munmap(GPU_CONFIG_VADDR, 1) < 0);
	CHECK(coconut_mmap(CONFIG->vram_vaddr, 1) < 0);
	CHECK(coconut_munmap(CONFIG->vram_vaddr, 1) < 0);
	CHECK(coconut_munmap(CONFIG->mmio_vaddr, 1) < 0);
	CHECK_EQ(CONFIG->magic, GPU_CONFIG_MAGIC);
	CHECK_EQ(vram()[0], 0);
}

/* ---- ends: who may copy what to where ---- */

#define OPEN 0x2000 /* b unveils one page from here */

static int64_t dma(uint64_t handle, uint64_t source, uint64_t target, uint64_t bytes) {
	return CALL(SYS_GPU_DMA, handle, source, target << 32 | bytes);
}

static void ends_a(void) {
	uint64_t end = CONFIG->vram_size;
	char byte;

	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	vram()[0] = vram()[PAGE - 1] = vram()[PAGE] = 0x77;
	/* The range of the other end. */
	REFUSED(VEILED, dma(1, 0, OPEN - 1, 2));
	REFUSED(VEILED, dma(1, 0, OPEN + PAGE - 1, 2));
	REFUSED(VEILED, dma(1, 0, 0, 1));
	REFUSED(INVAL, dma(1, 0, end, 1));
	REFUSED(INVAL, dma(1, 0, 0xFFFFFFFF, 0xFFFFFFFF));
	/* The caller's own partition. */
	REFUSED(INVAL, dma(1, end, OPEN, 1));
	REFUSED(INVAL, dma(1, end - 1, OPEN, 2));
	REFUSED(INVAL, dma(1, UINT64_MAX, OPEN, 2));
	REFUSED(INVAL, dma(1, 0, OPEN, 0));
	/* The capability. */
	REFUSED(TYPE, dma(0, 0, OPEN, 1));
	REFUSED(BADHANDLE, dma(3, 0, OPEN, 1));
	REFUSED(BADHANDLE, dma(UINT64_MAX, 0, OPEN, 1));
	/* All of the range is allowed, and nothing is left of what was refused. */
	CHECK_EQ(dma(1, 0, OPEN, PAGE), 0);
	/* One's own range: once, for good. */
	REFUSED(INVAL, coconut_gpu_unveil(end, 1));
	REFUSED(INVAL, coconut_gpu_unveil(1, end));
	REFUSED(INVAL, coconut_gpu_unveil(UINT64_MAX, 2));
	CHECK_EQ(coconut_gpu_unveil(PAGE, 8), 0);
	REFUSED(EXISTS, coconut_gpu_unveil(0, end));
	REFUSED(VEILED, dma(1, 0, OPEN, 1));
	REFUSED(VEILED, dma(1, PAGE - 1, OPEN, 1));
	REFUSED(VEILED, dma(1, PAGE + 8, OPEN, 1));
	REFUSED(VEILED, dma(1, PAGE + 7, OPEN, 2));
	CHECK_EQ(dma(1, PAGE, OPEN + 1, 8), 0);
	/* A partition whose owner has ended. */
	int64_t result;
	while ((result = dma(2, PAGE, 0, 8)) == -COCONUT_E_VEILED)
		;
	CHECK_EQ(result, -COCONUT_E_CLOSED);
	/* A capability without its right. */
	CHECK_EQ(coconut_cap_restrict(2, CAP_RIGHT_GRANT), 0);
	REFUSED(RIGHTS, dma(2, PAGE, 0, 8));
	/* A pledge, which nothing gives back. */
	CHECK_EQ(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA), 0);
	CHECK_EQ(dma(1, PAGE, OPEN + 1, 8), 0);
	CHECK_EQ(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL), 0);
	REFUSED(PLEDGE, dma(1, PAGE, OPEN + 1, 8));
	CHECK_EQ(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA), 0);
	REFUSED(PLEDGE, dma(1, PAGE, OPEN + 1, 8));
	REFUSED(EXISTS, coconut_gpu_unveil(0, end));
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
}

static void ends_b(void) {
	char byte;

	CHECK_EQ(coconut_gpu_unveil(OPEN, PAGE), 0);
	CHECK_EQ(coconut_channel_call(0, "", 1, &byte, 1), 1);
	CHECK_EQ(vram()[OPEN], 0x77);
	CHECK_EQ(vram()[OPEN + 1], 0x77);
	CHECK_EQ(vram()[OPEN + PAGE - 1], 0x77);
	CHECK_EQ(used(0, OPEN) + used(OPEN + 2, OPEN + PAGE - 1) + used(OPEN + PAGE, CONFIG->vram_size), 0);
}

/* ---- first: the first copy of all may cross a page at both ends ---- */

static void first_a(void) {
	char byte;

	CHECK_EQ(coconut_channel_recv(0, &byte, 1), 1);
	vram()[PAGE - 1] = vram()[PAGE] = 0x77;
	CHECK_EQ(dma(1, PAGE - 1, 2 * PAGE - 1, 2), 0);
	CHECK_EQ(coconut_channel_send(0, "", 1), 0);
}

static void first_b(void) {
	char byte;

	CHECK_EQ(coconut_gpu_unveil(PAGE, 2 * PAGE), 0);
	CHECK_EQ(coconut_channel_call(0, "", 1, &byte, 1), 1);
	CHECK(vram()[2 * PAGE - 1] == 0x77 && vram()[2 * PAGE] == 0x77);
}

/* ---- none: a shard that has no partition ---- */

static void none(void) {
	REFUSED(NODEV, dma(0, 0, 0, 1));
	REFUSED(NODEV, coconut_gpu_unveil(0, 0));
}

int main(const char *args) {
	static const struct {
		const char *name;
		void (*function)(void);
	} scenes[] = {
		{"show", show},
		{"write registers", write_registers},
		{"write config", write_config},
		{"execute vram", execute_vram},
		{"read behind", read_behind},
		{"read before", read_before},
		{"residue", residue},
		{"mmap over", mmap_over},
		{"ends a", ends_a},
		{"ends b", ends_b},
		{"first a", first_a},
		{"first b", first_b},
		{"none", none},
	};

	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		if (same(args, scenes[i].name)) {
			scenes[i].function();
			return 0;
		}
	return 1;
}
