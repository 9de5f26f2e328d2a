/*
 * Tests of iommu.c: tables of 3 and 4 levels, walked as the hardware would; what is mapped when memory runs out; the
 * descriptors of the invalidation queue; fault records in words.
 *
 * The file is included, so that physical memory can be an array: HHDM_BASE becomes its address. Nothing plays the
 * hardware's part, so every invalidation ends in the panic that says so, and from there the test goes on.
 *
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include <setjmp.h>

#include "layout.h"

#define FRAMES 64
static unsigned char arena[FRAMES * 4096] __attribute__((aligned(4096)));
#undef HHDM_BASE
#define HHDM_BASE ((uint64_t)arena)

#include "../../iommu.c"

#include "check.h"

/* ---- What iommu.c calls ---- */

static bool taken[FRAMES];
static int frames_left; /* until frame_alloc fails */
static jmp_buf unanswered;
static uint32_t fake_registers[1024];

int frame_alloc(struct shard *owner, uint64_t *phys) {
	(void)owner;
	if (frames_left-- <= 0) return -COCONUT_E_NOMEM;
	for (int i = 1; i < FRAMES; i++)
		if (!taken[i]) {
			taken[i] = true;
			*phys = (uint64_t)i * PAGE_SIZE;
			memset(arena + *phys, 0, PAGE_SIZE);
			return 0;
		}
	return -COCONUT_E_NOMEM;
}

void frame_free(struct shard *owner, uint64_t phys) {
	(void)owner;
	CHECK(taken[phys / PAGE_SIZE]);
	taken[phys / PAGE_SIZE] = false;
}

void panic(const char *template, ...) {
	CHECK(strstr(template, "does not carry out invalidations") != NULL);
	longjmp(unanswered, 1);
}

/* ---- Helpers ---- */

static struct pci_device device = {.bus = 0, .dev = 3, .fn = 1};

/* Starts over: one empty domain, number 0, with tables of that many levels, and an empty queue. */
static void reset(int table_levels) {
	uint64_t phys;

	memset(taken, 0, sizeof(taken));
	memset(fake_registers, 0, sizeof(fake_registers));
	registers = (volatile uint8_t *)fake_registers;
	frames_left = 1000;
	levels = table_levels;
	cap = CAP_3_LEVELS | CAP_4_LEVELS | 47UL << 16; /* 48-bit addresses */
	ecap = 0;
	queue_tail = 0;
	queue = new_table(&phys);
	new_table(&domains[0].root);
	domains[0].device = &device;
}

/* Unmaps page by page; no invalidation is answered. */
static void unmap(uint64_t iova, uint64_t pages) {
	for (volatile uint64_t i = 0; i < pages; i++)
		if (!setjmp(unanswered)) iommu_unmap(0, iova + i * PAGE_SIZE, 1);
}

/* Maps; when that fails, what was mapped before is taken away, which needs an invalidation too. Returns its result. */
static int map(uint64_t iova, uint64_t phys, uint64_t pages, bool read, bool write) {
	return setjmp(unanswered) ? -COCONUT_E_NOMEM : iommu_map(0, iova, phys, pages, read, write);
}

/* Translates as the hardware does (3.7). Returns the last entry, 0 when the walk ends before. */
static uint64_t walk(uint64_t iova) {
	uint64_t entry = domains[0].root | 3;

	for (int shift = levels == 3 ? 30 : 39; shift >= 12; shift -= 9) {
		if (!(entry & 3)) return 0;
		memcpy(&entry, arena + (entry & ~0xFFFUL) + (iova >> shift & 511) * 8, 8);
	}
	return entry & 3 ? entry : 0;
}

/* ---- The tests ---- */

TEST(mapping) {
	static const uint64_t places[] = {0, 0x10000, 0x1FF000, 0x200000, 0x3FFFF000, 0x7FFFFFF000};

	for (int table_levels = 3; table_levels <= 4; table_levels++) {
		reset(table_levels);
		for (size_t i = 0; i < ARRAY_LENGTH(places); i++)
			CHECK_EQ(map(places[i], 0xFD000000 + i * 0x5000, 1, i & 1, !(i & 1)), 0);
		for (size_t i = 0; i < ARRAY_LENGTH(places); i++)
			CHECK_EQ(walk(places[i]), (0xFD000000 + i * 0x5000) | (i & 1 ? 1 : 2));
		CHECK_EQ(walk(0x1000), 0);
		CHECK_EQ(walk(0x11000), 0);
		unmap(0x10000, 1);
		CHECK_EQ(walk(0x10000), 0);
		CHECK_EQ(walk(0) & ~3UL, 0xFD000000);
		CHECK_EQ(map(0x10000, 0x7000, 1, true, true), 0);
		CHECK_EQ(walk(0x10000), 0x7003);
	}
}

/* Random mappings of several pages, compared page by page with a plain list of what should be there. */
TEST(mapping_random) {
	enum { PAGES = 1200 };
	static uint64_t model[PAGES];
	uint64_t state = 88172645463325252u;

	for (int table_levels = 3; table_levels <= 4; table_levels++) {
		uint64_t base = 0x3FFF0000000 & ((1UL << 38) - 1);
		reset(table_levels);
		memset(model, 0, sizeof(model));
		for (int round = 0; round < 400; round++) {
			state ^= state << 13, state ^= state >> 7, state ^= state << 17;
			uint64_t page = state % (PAGES - 20), count = state >> 20 & 15, phys = state >> 30 & 0xFFFFF000;
			bool busy = false;
			for (uint64_t i = 0; i < count; i++)
				busy |= model[page + i] != 0;
			if (busy) {
				unmap(base + page * PAGE_SIZE, count);
				memset(&model[page], 0, count * sizeof(model[0]));
				continue;
			}
			CHECK_EQ(map(base + page * PAGE_SIZE, phys, count, true, state >> 63), 0);
			for (uint64_t i = 0; i < count; i++)
				model[page + i] = (phys + i * PAGE_SIZE) | 1 | (state >> 63 ? 2 : 0);
		}
		for (uint64_t i = 0; i < PAGES; i++)
			CHECK_EQ(walk(base + i * PAGE_SIZE), model[i]);
	}
}

TEST(mapping_refused) {
	for (int table_levels = 3; table_levels <= 4; table_levels++) {
		uint64_t limit = table_levels == 3 ? 1UL << 39 : 1UL << 48;
		reset(table_levels);
		CHECK_EQ(map(limit, 0x1000, 1, true, true), -COCONUT_E_INVAL);
		CHECK_EQ(map(limit - PAGE_SIZE, 0x1000, 2, true, true), -COCONUT_E_INVAL);
		CHECK_EQ(map(limit - PAGE_SIZE, 0x1000, 1, true, true), 0);
		CHECK_EQ(map(0, 0x1000, 1UL << 52, true, true), -COCONUT_E_INVAL);
		CHECK_EQ(map(0x123, 0x1000, 1, true, true), -COCONUT_E_INVAL);
		/* A write to these addresses is an interrupt, whatever the tables say. */
		CHECK_EQ(map(0xFEE00000, 0x1000, 1, true, true), -COCONUT_E_INVAL);
		CHECK_EQ(map(0xFEEFF000, 0x1000, 1, true, true), -COCONUT_E_INVAL);
		CHECK_EQ(map(0xFEDFF000, 0x1000, 2, true, true), -COCONUT_E_INVAL);
		CHECK_EQ(map(0xFEDFF000, 0x1000, 1, true, true), 0);
		CHECK_EQ(map(0xFEF00000, 0x1000, 1, true, true), 0);
		CHECK_EQ(walk(0xFEE00000), 0);
	}
	cap = 29UL << 16; /* a unit whose devices send 30 bits only */
	CHECK_EQ(map(1UL << 30, 0x1000, 1, true, true), -COCONUT_E_INVAL);
}

/* With memory for any number of tables that is too small, nothing stays mapped, and what was there stays. */
TEST(no_memory) {
	uint64_t at = 0x3FFFF000; /* two pages that share no table but the topmost */

	for (int have = 0; have < 4; have++) {
		reset(3);
		CHECK_EQ(map(0x5000, 0x9000, 1, true, false), 0);
		frames_left = have;
		CHECK_EQ(map(at, 0x1000, 2, true, true), have < 3 ? -COCONUT_E_NOMEM : 0);
		CHECK_EQ(walk(at), have < 3 ? 0 : 0x1003);
		CHECK_EQ(walk(at + PAGE_SIZE), have < 3 ? 0 : 0x2003);
		CHECK_EQ(walk(0x5000), 0x9001);
	}
	reset(3);
	CHECK_EQ(map(0x5000, 0x9000, 1, true, false), 0);
	frames_left = 0;
	CHECK_EQ(iommu_map(0, 0x6000, 0x1000, 1, true, true), 0); /* the table is there */
	CHECK_EQ(iommu_map(0, 0x5000, 0x1000, 1, true, true), -COCONUT_E_EXISTS);
	CHECK_EQ(walk(0x5000), 0x9001);

	/* Mapping without rights makes the tables and fills no entry in them. */
	frames_left = 1;
	CHECK_EQ(iommu_map(0, at - PAGE_SIZE, 0, 2, false, false), 0);
	CHECK_EQ(frames_left, 0);
	CHECK_EQ(iommu_map(0, at - PAGE_SIZE, 0x7000, 2, true, false), 0);
	CHECK_EQ(walk(at), 0x8001);
}

TEST(descriptors) {
	reset(3);
	CHECK_EQ(map(0x12345000, 0x9000, 1, true, true), 0);
	unmap(0x12345000, 1);
	CHECK_EQ(queue[0], 2 | 3 << 4 | 3 << 6 | 1UL << 16); /* IOTLB, one page, with draining, domain 1 (6.5.2.3) */
	CHECK_EQ(queue[1], 0x12345000);
	CHECK_EQ(queue[2], 5 | 1 << 5 | 1UL << 32); /* wait, write 1 (6.5.2.8) */
	CHECK_EQ(queue[3] + IMAGE_BASE, (uint64_t)&queue_done);
	CHECK_EQ(fake_registers[REG_QUEUE_TAIL / 4], 2 * 16);
	unmap(0x12345000, 1); /* nothing there: nothing to forget */
	CHECK_EQ(fake_registers[REG_QUEUE_TAIL / 4], 2 * 16);

	if (!setjmp(unanswered)) invalidate_domain(0);
	CHECK_EQ(queue[4], 1 | 3 << 4 | 1UL << 16 | 0x19UL << 32); /* context of the device 00:03.1 (6.5.2.1) */
	if (!setjmp(unanswered)) invalidate_translations(DROP_DOMAIN, 0, 0);
	CHECK_EQ(queue[8], 2 | 2 << 4 | 3 << 6 | 1UL << 16); /* IOTLB, the whole domain */

	for (int i = 0; i < 300; i++) { /* the tail wraps */
		CHECK_EQ(map(0x10000, 0x9000, 1, true, true), 0);
		unmap(0x10000, 1);
		CHECK(fake_registers[REG_QUEUE_TAIL / 4] < 4096);
	}
}

TEST(faults) {
	struct fault fault = decode_fault(0x20000123, 1UL << 63 | 5UL << 32 | 0x0018);

	CHECK_EQ(fault.source, 0x18);
	CHECK_EQ(fault.reason, 5);
	CHECK_EQ(fault.read, false);
	CHECK_EQ(fault.address, 0x20000000);
	CHECK(strstr(fault_reason(5), "for writing") != NULL);

	fault = decode_fault(0xFFFFFFFFFFFFF000, 1UL << 63 | 1UL << 62 | 6UL << 32 | 0xFFFF);
	CHECK_EQ(fault.source, 0xFFFF);
	CHECK_EQ(fault.read, true);
	CHECK_EQ(fault.address, 0xFFFFFFFFFFFFF000);

	fault = decode_fault(0x0031UL << 48, 1UL << 63 | 0x26UL << 32 | 0x10); /* an interrupt */
	CHECK_EQ(fault.address, 0x31);
	for (int reason = 0; reason < 256; reason++)
		CHECK(strlen(fault_reason((uint8_t)reason)) > 0);
	CHECK(strcmp(fault_reason(0x26), fault_reason(0xC)) != 0);
}

int main(void) {
	RUN(mapping);
	RUN(mapping_random);
	RUN(mapping_refused);
	RUN(no_memory);
	RUN(descriptors);
	RUN(faults);
	return check_result();
}
