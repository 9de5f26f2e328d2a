/*
 * Tests of space.c: what the processor is told to forget, and when.
 *
 * A processor keeps entries of tables in caches of its own, and may look at any table that it can reach at any time
 * (SDM Vol. 3A 4.10.3). QEMU has no such caches, so the order is looked at here: space.c runs on tables in memory of
 * this program, with `invlpg` replaced by a function that takes a picture of all tables. What is still changed
 * afterwards could be remembered as it was before.
 */
#include <sys/mman.h>

#include "layout.h"
#undef HHDM_BASE
#define HHDM_BASE 0x700000000000 /* where this program has its frames */
#include "cpu.h"

static void take_picture(void);
#define invlpg(address) take_picture()
#include "../../paging.c"
#include "../../space.c"
#include "check.h"

enum { FRAMES = 64 };

static bool used[FRAMES];
static uint64_t *const memory = (uint64_t *)HHDM_BASE;
static uint64_t picture[FRAMES * PAGE_SIZE / 8];
static int pictures, frames_left;

static void take_picture(void) {
	memcpy(picture, memory, sizeof(picture));
	pictures++;
}

/* ---- What they call ---- */

struct shard *current;
char image_text[1], image_rodata[1], image_data[1], image_end[1];
bool verbose;

void panic(const char *template, ...) { printf("  panic: %s\n", template), abort(); }
void print(const char *template, ...) { (void)template; }
bool preempt_point(void) { return false; }
uint64_t mm_free_frames(void) { return (uint64_t)frames_left; }

int64_t refuse(int error, int argument, uint64_t value, const char *reason) {
	(void)argument, (void)value, (void)reason;
	return error;
}

int frame_alloc_raw(uint64_t *phys) { return frame_alloc(NULL, phys); }
void frame_free_clean(struct shard *owner, uint64_t phys) { (void)owner, used[phys / PAGE_SIZE] = false; }

void frame_free(struct shard *owner, uint64_t phys) { frame_free_clean(owner, phys); }

int frame_alloc(struct shard *owner, uint64_t *phys) {
	(void)owner;
	for (uint64_t i = 1; i < FRAMES && frames_left > 0; i++)
		if (!used[i]) {
			used[i] = true;
			frames_left--;
			*phys = i * PAGE_SIZE;
			return 0;
		}
	return -COCONUT_E_NOMEM;
}

/* ---- The tests ---- */

static struct shard shard;

/* Makes an empty address space. */
static void begin(void) {
	memset(memory, 0, sizeof(picture));
	memset(used, 0, sizeof(used));
	frames_left = FRAMES;
	shard = (struct shard){0};
	forget(&shard);
	CHECK(!frame_alloc(NULL, &kernel_cr3) && !space_create(&shard));
	pictures = 0;
}

/* Checks that the processor was told to forget, after the last change of a table. */
static void check_forgotten(void) {
	CHECK(pictures > 0);
	CHECK(!memcmp(picture, memory, sizeof(picture)));
	pictures = 0;
}

static void map(uint64_t address) {
	uint64_t phys;

	CHECK(!frame_alloc(&shard, &phys) && !space_map(&shard, address, phys, PTE_WRITE | PTE_NX));
}

/* Two pages of one table, one of another directory, one far away: each of them may leave none, one, two or three tables
 * empty behind it. */
TEST(unmapped_after_the_last_change) {
	static const uint64_t pages[] = {0x100000, 0x101000, 0x400000, 0x40000000, 0x7FC0000000};

	begin();
	for (int last = 0; last < (int)ARRAY_LENGTH(pages); last++) {
		for (size_t i = 0; i < ARRAY_LENGTH(pages); i++)
			map(pages[i]);
		for (size_t i = 0; i < ARRAY_LENGTH(pages); i++) {
			space_unmap(&shard, pages[(i + last) % ARRAY_LENGTH(pages)]);
			check_forgotten();
		}
		CHECK_EQ(table_of(shard.cr3)[0], 0);
		frames_left = FRAMES;
	}
}

/* Tables that were made for a page which then does not come: the processor may have seen them. */
TEST(no_memory_for_the_way) {
	for (int left = 1; left <= 2; left++) {
		begin();
		frames_left = left;
		CHECK_EQ(space_map(&shard, 0x40000000, 0, PTE_NX), -COCONUT_E_NOMEM);
		check_forgotten();
		CHECK_EQ(table_of(shard.cr3)[0], 0);
	}
}

int main(void) {
	void *at = mmap(memory, sizeof(picture), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		0);

	if (at != memory) return EXIT_FAILURE;
	RUN(unmapped_after_the_last_change);
	RUN(no_memory_for_the_way);
	return check_result();
}
