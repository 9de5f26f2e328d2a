/*
 * leave: a shard is killed in the middle of a long call. args: "killer" and how many pieces of the call come first, and
 * "gpu" if it opens its partition; or the call. Only in a build in which every preemption point lets others run and
 * TIME kills (PROVOKE_kill). Channel 0 joins the two; the killer stands in the manifest before its victim, and has
 * handle 1 of it in "revoke".
 *
 * Read next: tests/test_life.py, test_leaves_its_call.
 */
#include "../expect.h"

__asm__(".globl gpu_shard\n.set gpu_shard, 1"); /* shard.ld leaves the page of the configuration free */

#define PAGES 64 /* of a call: one piece each, but for SERIAL_WRITE, which writes 64 bytes in one */
#define HEAP ((void *)(uint64_t)COCONUT_HEAP_BASE)
#define COPIES 7 /* that REVOKE takes back */

static int killer(uint64_t pieces, int unveils) {
	char word;

	if (unveils) CHECK_EQ(coconut_gpu_unveil(0, PAGES * COCONUT_PAGE_SIZE), 0);
	CHECK_EQ(coconut_channel_recv(0, &word, 1), 1);
	while (pieces--)
		coconut_yield();
	coconut_time(); /* the kernel kills the victim */
	REFUSED(CLOSED, coconut_channel_recv(0, &word, 1));
	for (uint64_t handle = 1; handle <= COPIES && !unveils; handle++) /* what REVOKE has taken back */
		REFUSED(BADHANDLE, coconut_cap_inspect(handle));
	return 0;
}

/* Opens /big, a file of more pages than PAGES. */
static uint64_t big(void) {
	int64_t fd = coconut_fs_open("/big", 4);

	CHECK(fd >= 0);
	return (uint64_t)fd;
}

int main(const char *args) {
	struct text name, value;
	uint64_t pieces = 0, fd = 0;

	if (args_next(&args, &name, &value) && text_equals(name, "killer")) {
		CHECK(args_next(&args, &name, &value) && text_to_u64(name, &pieces));
		return killer(pieces, args_next(&args, &name, &value));
	}
	int reads = text_equals(name, "fs_read"), maps = text_equals(name, "fs_map");
	if (reads || text_equals(name, "munmap")) CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, PAGES), 0);
	if (reads || maps) fd = big();
	if (text_equals(name, "serial_write")) {
		CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 1), 0);
		memset(HEAP, 'x', COCONUT_WRITE_MAX);
	}
	for (int i = 0; text_equals(name, "revoke") && i < COPIES; i++)
		CHECK_EQ(coconut_cap_grant(0, 0, CAP_RIGHT_SEND), 1 + i);
	CHECK_EQ(coconut_channel_send(0, "g", 1), 0);
	if (reads) coconut_fs_read(fd, HEAP, PAGES * COCONUT_PAGE_SIZE);
	if (maps) coconut_fs_map(fd, COCONUT_LARGE_BASE);
	if (text_equals(name, "mmap")) coconut_mmap(COCONUT_HEAP_BASE, PAGES);
	if (text_equals(name, "munmap")) coconut_munmap(COCONUT_HEAP_BASE, PAGES);
	if (text_equals(name, "serial_write")) coconut_serial_write(HEAP, COCONUT_WRITE_MAX);
	if (text_equals(name, "fs_open")) coconut_fs_open("/d/99", 5);
	if (text_equals(name, "spawn")) coconut_spawn("/large", 6, "", 0);
	if (text_equals(name, "gpu_dma")) coconut_gpu_dma(1, 0, PAGES * COCONUT_PAGE_SIZE);
	if (text_equals(name, "revoke")) coconut_cap_revoke(0);
	CHECK(!"it was killed");
	return 0;
}
