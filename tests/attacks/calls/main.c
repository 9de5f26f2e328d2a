/*
 * calls: hostile system calls, one row of the list for each life: the args name it. It ends with 0 when every call was
 * refused by its name and nothing else happened, or with the number of the line of the first surprise.
 *
 * Shards of the manifest that run it have a channel with handle 0 to a partner, which runs the same program with the
 * args `ROW.peer`, and after their channels a SHARD capability with the right CREATE where the manifest says spawn=yes.
 *
 * Read next: ../talk/main.c for what goes wrong between two shards, tests/test_attacks.py for the manifests.
 */
#include "../guard.h"

#define HEAP 0x100000UL
#define LARGE COCONUT_LARGE_BASE
#define KERNEL_TEXT 0xFFFFFFFF80201000UL
#define KERNEL_HHDM 0xFFFF800000400000UL
#define KERNEL_MMIO 0xFFFFFFFFC0000000UL
#define NON_CANONICAL 0x0000800000000000UL
#define PROGRAM "/a/calls"
#define FILE_PATH "/etc/coconut.conf"

static int64_t open_file(void) { return coconut_fs_open(FILE_PATH, strlen(FILE_PATH)); }

static int64_t spawn(const char *args) { return coconut_spawn(PROGRAM, strlen(PROGRAM), args, strlen(args)); }

/* Every call that takes a pointer refuses `bad`, a pointer to `len` bytes. */
static void refuse_pointer(uint64_t bad, uint64_t len) {
	uint64_t good = HEAP, fd = (uint64_t)open_file();
	uint64_t path_len = len < 255 ? len : 255, message = len < 256 ? len : 256;

	CHECK_EQ(fd, 0);
	REFUSED(FAULT, CALL(SYS_SERIAL_WRITE, bad, len));
	REFUSED(FAULT, CALL(SYS_FS_OPEN, bad, path_len));
	REFUSED(FAULT, CALL(SYS_FS_READ, fd, bad, len));
	REFUSED(FAULT, CALL(SYS_CHANNEL_SEND, 0, bad, message));
	REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, bad, len));
	REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, bad, message, good, 256));
	REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, good, 1, bad, len));
	REFUSED(FAULT, CALL(SYS_SPAWN, bad, path_len, good, 1));
	REFUSED(FAULT, CALL(SYS_SPAWN, good, 1, bad, len < 1023 ? len : 1023));
	CHECK_EQ(coconut_fs_close(fd), 0);
}

static void c1_numbers(void) {
	static const uint8_t known[] = {0, 1, 11, 12, 13, 14, 21, 22, 23, 30, 31, 32, 33, 40, 41, 42, 43, 50, 51, 52, 53, 54,
		55, 62};
	uint8_t is_known[256] = {0};

	for (size_t i = 0; i < sizeof(known); i++)
		is_known[known[i]] = 1;
	for (uint64_t n = 0; n < 256; n++) {
		if (!is_known[n]) REFUSED(NOSYS, CALL(n));
		REFUSED(NOSYS, CALL(n + (1UL << 32)));
		REFUSED(NOSYS, CALL(n | 1UL << 63));
	}
	REFUSED(NOSYS, CALL(~0UL));
}

static void c2_null(void) {
	refuse_pointer(0, 1);
	refuse_pointer(0xFFF, 1);
}

static void c3_kernel(void) {
	static const uint64_t bad[] = {KERNEL_TEXT, KERNEL_HHDM, KERNEL_MMIO, 0xFFFF800000000000, ~0xFFUL, 0x8000000000};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse_pointer(bad[i], 8);
}

static void c4_non_canonical(void) {
	refuse_pointer(NON_CANONICAL, 8);
	refuse_pointer(NON_CANONICAL - 4, 8);
	refuse_pointer(0xFFFF7FFFFFFFFFF8, 8);
}

static void c5_wraps(void) {
	uint64_t fd;

	refuse_pointer(~0UL, 2);
	refuse_pointer(-16UL, 32);
	fd = (uint64_t)open_file();
	REFUSED(FAULT, CALL(SYS_FS_READ, fd, HEAP, -HEAP));
	REFUSED(FAULT, CALL(SYS_FS_READ, fd, HEAP, -HEAP + 1));
	REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, HEAP, -HEAP + 8));
	REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, HEAP, 1, HEAP, -HEAP + 8));
}

static void c6_crosses(void) {
	CHECK_EQ(coconut_mmap(0x400000, 1), 0);
	refuse_pointer(0x400FFF, 2);
	refuse_pointer(0x401000 - 100, 200);
	refuse_pointer(0x3FFFFF, 2);
	refuse_pointer(0x7FFFF0, 32); /* the end of the stack */
	refuse_pointer(0x7FEFFF, 2);  /* the guard below it */
}

static void c7_hole(void) {
	CHECK_EQ(coconut_mmap(0x400000, 1), 0);
	CHECK_EQ(coconut_mmap(0x402000, 1), 0);
	BYTES(0x400FFF)[0] = 'x';
	refuse_pointer(0x400FFF, 255);
	REFUSED(FAULT, CALL(SYS_SERIAL_WRITE, 0x400FFF, 4096)); /* begins and ends in what is mapped, over the hole */
}

static void c8_read_only(void) {
	uint64_t fd = (uint64_t)open_file();

	CHECK(coconut_fs_map(fd, LARGE) > 0);
	for (int i = 0; i < 2; i++) {
		uint64_t page = i ? LARGE : COCONUT_CODE_BASE;
		uint8_t before = *BYTES(page);
		REFUSED(FAULT, CALL(SYS_FS_READ, fd, page, 16));
		REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, page, 16));
		REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, HEAP, 1, page, 16));
		CHECK_EQ(*BYTES(page), before);
	}
}

static void c9_lengths(void) {
	static const uint64_t wrong[] = {0, 1UL << 63, ~0UL, 1UL << 32};
	uint64_t fd = (uint64_t)open_file();

	REFUSED(INVAL, CALL(SYS_SERIAL_WRITE, HEAP, COCONUT_WRITE_MAX + 1));
	REFUSED(INVAL, CALL(SYS_FS_OPEN, HEAP, COCONUT_PATH_MAX + 1));
	REFUSED(INVAL, CALL(SYS_CHANNEL_SEND, 0, HEAP, COCONUT_MESSAGE_MAX + 1));
	REFUSED(INVAL, CALL(SYS_SPAWN, HEAP, COCONUT_PATH_MAX + 1, HEAP, 1));
	REFUSED(INVAL, CALL(SYS_SPAWN, HEAP, 1, HEAP, COCONUT_ARGS_MAX));
	for (size_t i = 0; i < 4; i++) {
		REFUSED(INVAL, CALL(SYS_SERIAL_WRITE, HEAP, wrong[i]));
		REFUSED(INVAL, CALL(SYS_FS_OPEN, HEAP, wrong[i]));
		REFUSED(INVAL, CALL(SYS_CHANNEL_SEND, 0, HEAP, wrong[i]));
		REFUSED(INVAL, CALL(SYS_CHANNEL_CALL, 0, HEAP, wrong[i], HEAP, 16));
		REFUSED(INVAL, CALL(SYS_SPAWN, HEAP, wrong[i], HEAP, 1));
		if (i) REFUSED(INVAL, CALL(SYS_SPAWN, HEAP, 1, HEAP, wrong[i]));
	}
	REFUSED(INVAL, CALL(SYS_CHANNEL_RECV, 0, HEAP, 0));
	REFUSED(INVAL, CALL(SYS_CHANNEL_CALL, 0, HEAP, 1, HEAP, 0));
	REFUSED(INVAL, CALL(SYS_FS_READ, fd, HEAP, 0));
	REFUSED(FAULT, CALL(SYS_FS_READ, fd, HEAP, 1UL << 63));
}

/* Every call on a capability refuses the handle with `error`, a negative number. */
static void refuse_handle(uint64_t handle, int64_t error) {
	CHECK_EQ(CALL(SYS_CAP_GRANT, handle, 0, 1), error);
	CHECK_EQ(CALL(SYS_CAP_GRANT, 0, handle, 1), error);
	CHECK_EQ(CALL(SYS_CAP_REVOKE, handle), error);
	CHECK_EQ(CALL(SYS_CAP_RESTRICT, handle, 0), error);
	CHECK_EQ(CALL(SYS_CAP_INSPECT, handle), error);
	CHECK_EQ(CALL(SYS_CHANNEL_SEND, handle, HEAP, 1), error);
	CHECK_EQ(CALL(SYS_CHANNEL_RECV, handle, HEAP, 256), error);
	CHECK_EQ(CALL(SYS_CHANNEL_CALL, handle, HEAP, 1, HEAP, 256), error);
	CHECK_EQ(CALL(SYS_WAIT, handle), error);
	CHECK_EQ(CALL(SYS_KILL, handle), error);
}

static void c10_handles(void) {
	static const uint64_t bad[] = {2, 15, 16, 17, 255, 256, 1UL << 16, 1UL << 32, 1UL << 63, ~0UL};
	int64_t child;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse_handle(bad[i], -COCONUT_E_BADHANDLE);
	for (uint64_t fd = 0; fd < 8; fd++)
		REFUSED(BADHANDLE, CALL(SYS_FS_READ, fd, HEAP, 1));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		REFUSED(BADHANDLE, CALL(SYS_FS_READ, bad[i], HEAP, 1));
		REFUSED(BADHANDLE, CALL(SYS_FS_STAT, bad[i]));
		REFUSED(BADHANDLE, CALL(SYS_FS_CLOSE, bad[i]));
		REFUSED(BADHANDLE, CALL(SYS_FS_MAP, bad[i], LARGE));
	}
	CHECK_EQ(open_file(), 0);
	CHECK_EQ(coconut_fs_close(0), 0);
	REFUSED(BADHANDLE, CALL(SYS_FS_CLOSE, 0));
	/* The wrong type; and the right to create is neither that to wait nor that to kill. */
	REFUSED(TYPE, CALL(SYS_CHANNEL_SEND, 1, HEAP, 1));
	REFUSED(TYPE, CALL(SYS_CHANNEL_RECV, 1, HEAP, 256));
	REFUSED(TYPE, CALL(SYS_CHANNEL_CALL, 1, HEAP, 1, HEAP, 256));
	REFUSED(TYPE, CALL(SYS_CAP_GRANT, 0, 1, 1));
	REFUSED(TYPE, CALL(SYS_WAIT, 0));
	REFUSED(TYPE, CALL(SYS_KILL, 0));
	REFUSED(RIGHTS, CALL(SYS_WAIT, 1));
	REFUSED(RIGHTS, CALL(SYS_KILL, 1));
	/* A child has none of its parent's; its handle is stale when it is gone. */
	child = spawn("C10.child");
	CHECK_EQ(child, 2);
	CHECK_EQ(coconut_wait(2), 0);
	refuse_handle(2, -COCONUT_E_BADHANDLE);
	CHECK_EQ(coconut_cap_revoke(0), 0);
	REFUSED(BADHANDLE, CALL(SYS_CHANNEL_SEND, 0, HEAP, 1));
}

static void c10_child(void) {
	for (uint64_t handle = 0; handle < COCONUT_CAP_SLOTS; handle++)
		refuse_handle(handle, -COCONUT_E_BADHANDLE);
	REFUSED(RIGHTS, CALL(SYS_SPAWN, HEAP, 1, HEAP, 1));
}

static void c11_mmap(void) {
	static const struct {
		uint64_t address, pages;
		int error;
	} wrong[] = {
		{0, 1, COCONUT_E_INVAL},                  {0x1000, 1, COCONUT_E_INVAL}, /* code */
		{HEAP + 1, 1, COCONUT_E_INVAL},           {HEAP + 0x200000, 0, COCONUT_E_INVAL},
		{HEAP + 0x200000, 1UL << 52, COCONUT_E_INVAL}, {HEAP + 0x200000, ~0UL, COCONUT_E_INVAL},
		{LARGE, 1UL << 52, COCONUT_E_INVAL},      {LARGE, (1UL << 52) + 1, COCONUT_E_INVAL},
		{0x4000, 1, COCONUT_E_INVAL},             {0x10000, 1, COCONUT_E_INVAL}, /* configuration pages */
		{0xFF000, 2, COCONUT_E_INVAL},            {0x7FF000, 1, COCONUT_E_INVAL}, /* the stack */
		{0x7FE000, 1, COCONUT_E_INVAL},           {0x7FD000, 2, COCONUT_E_INVAL}, /* its guard */
		{0x800000, 1, COCONUT_E_INVAL},           {0x3FFFF000, 2, COCONUT_E_INVAL}, /* BARs */
		{0x7FFFFFF000, 2, COCONUT_E_INVAL},       {0x8000000000, 1, COCONUT_E_INVAL},
		{NON_CANONICAL, 1, COCONUT_E_INVAL},      {KERNEL_HHDM, 1, COCONUT_E_INVAL},
		{KERNEL_TEXT, 1, COCONUT_E_INVAL},        {-4096UL, 1, COCONUT_E_INVAL},
		{HEAP, 1, COCONUT_E_EXISTS},              {HEAP - 0x1000, 1, COCONUT_E_INVAL},
		{LARGE, 1, COCONUT_E_EXISTS},             {LARGE + 0x1000, 100000, COCONUT_E_QUOTA},
	};
	uint64_t fd = (uint64_t)open_file();
	int64_t size = coconut_fs_map(fd, LARGE);

	CHECK(size > 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		CHECK_EQ(coconut_mmap(wrong[i].address, wrong[i].pages), -wrong[i].error);
		if (wrong[i].address & (PAGE - 1) || wrong[i].address < LARGE || wrong[i].address > 0x7FFFFFF000)
			CHECK(coconut_fs_map(fd, wrong[i].address) < 0);
	}
	/* All or nothing: the page before an occupied one is free again. */
	CHECK_EQ(coconut_mmap(0x300000, 1), 0);
	REFUSED(EXISTS, coconut_mmap(0x2FF000, 2));
	CHECK_EQ(coconut_mmap(0x2FF000, 1), 0);
}

static void c12_munmap(void) {
	static const uint64_t wrong[] = {0, 0x1000, 0x7FF000, 0x7FE000, 0x800000, 0x8000000000, NON_CANONICAL, KERNEL_HHDM,
		HEAP + 1};
	static const char *const touches[] = {"C12.read", "C12.write", "C12.half"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		REFUSED(INVAL, coconut_munmap(wrong[i], 1));
	REFUSED(INVAL, coconut_munmap(HEAP, 0));
	REFUSED(INVAL, coconut_munmap(HEAP, 2)); /* the second page is not mapped: the first stays */
	BYTES(HEAP)[0] = 1;
	REFUSED(INVAL, coconut_munmap(LARGE, 1UL << 40));
	REFUSED(INVAL, coconut_munmap(0x300000, 1));
	CHECK_EQ(coconut_mmap(0x300000, 4), 0);
	REFUSED(INVAL, CALL(SYS_FS_OPEN, 0x301000, 8)); /* a path of zeros; the kernel may remember the page ... */
	CHECK_EQ(coconut_munmap(0x301000, 2), 0);
	REFUSED(FAULT, CALL(SYS_FS_OPEN, 0x301000, 8)); /* ... but not that it was ours */
	REFUSED(INVAL, coconut_munmap(0x300000, 4));
	BYTES(0x300000)[0] = BYTES(0x303000)[0] = 1;
	CHECK_EQ(coconut_mmap(0x301000, 2), 0);
	CHECK_EQ(BYTES(0x301000)[0], 0);
	for (int i = 0; i < 3; i++) {
		int64_t child = spawn(touches[i]);
		CHECK(child >= 0);
		CHECK_EQ(coconut_wait((uint64_t)child), -1);
	}
}

/* Touches memory that it has used and given back. Ends with 99 when that goes well. */
static void c12_touch(const char *how) {
	uint8_t value;

	CHECK_EQ(coconut_mmap(0x300000, 4), 0);
	for (int i = 0; i < 4; i++)
		BYTES(0x300000)[i * PAGE] = 1;
	CHECK_EQ(coconut_munmap(0x301000, 2), 0);
	value = BYTES(0x300000)[0];
	if (same(how, "C12.read"))
		value = BYTES(0x301000)[0];
	else if (same(how, "C12.write"))
		BYTES(0x302000)[0] = 2;
	else
		value = BYTES(0x302FFF)[0];
	coconut_exit(99 + (value & 0));
}

/* ---- Rows that need a word with the partner ---- */

static uint64_t hear(void) {
	uint64_t word;

	CHECK_EQ(coconut_channel_recv(0, &word, sizeof(word)), sizeof(word));
	return word;
}

static void say(uint64_t word) { CHECK_EQ(coconut_channel_send(0, &word, sizeof(word)), 0); }

static uint64_t rights_of(uint64_t handle) {
	int64_t got = coconut_cap_inspect(handle);

	CHECK(got >= 0);
	return (uint64_t)got & 0xFFFF;
}

/* Handle 1 is a channel to a shard that ends at once, handle 2 one to a third shard, `C13.third`. */
static void c13_grant(void) {
	uint64_t copy;

	/* To somebody who has ended. */
	while (coconut_cap_grant(2, 1, 1) != -COCONUT_E_CLOSED)
		coconut_yield();
	/* More than there is, nothing at all, and a copy with less. */
	REFUSED(RIGHTS, coconut_cap_grant(2, 0, 8));
	REFUSED(RIGHTS, coconut_cap_grant(2, 0, ~0UL));
	REFUSED(INVAL, coconut_cap_grant(2, 0, 0));
	copy = (uint64_t)coconut_cap_grant(2, 0, CAP_RIGHT_SEND | CAP_RIGHT_GRANT);
	say(copy);
	CHECK_EQ(hear(), 1);
	/* Our own end, from which the partner cannot reach itself. */
	copy = (uint64_t)coconut_cap_grant(0, 0, CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT);
	say(copy);
	CHECK_EQ(hear(), 2);
	/* A capability that has lost GRANT; a channel that has lost SEND. Restricting never brings a right back. */
	CHECK_EQ(coconut_cap_restrict(2, CAP_RIGHT_SEND | CAP_RIGHT_RECV), 0);
	CHECK_EQ(coconut_cap_restrict(2, ~0UL), 0);
	CHECK_EQ(rights_of(2), CAP_RIGHT_SEND | CAP_RIGHT_RECV);
	REFUSED(RIGHTS, coconut_cap_grant(2, 0, CAP_RIGHT_SEND));
	CHECK_EQ(coconut_cap_restrict(2, CAP_RIGHT_RECV), 0);
	REFUSED(RIGHTS, coconut_channel_send(2, "x", 1));
	REFUSED(RIGHTS, CALL(SYS_CHANNEL_CALL, 2, HEAP, 1, HEAP, 16));
	CHECK_EQ(coconut_cap_restrict(0, CAP_RIGHT_RECV | CAP_RIGHT_GRANT), 0);
	REFUSED(RIGHTS, coconut_cap_grant(0, 0, CAP_RIGHT_RECV));
	REFUSED(RIGHTS, coconut_channel_send(0, "x", 1));
}

static void c13_peer(void) {
	uint64_t copy = hear();

	CHECK_EQ(rights_of(copy), CAP_RIGHT_SEND | CAP_RIGHT_GRANT);
	REFUSED(RIGHTS, CALL(SYS_CHANNEL_RECV, copy, HEAP, 256));
	REFUSED(RIGHTS, coconut_cap_grant(copy, 0, CAP_RIGHT_SEND | CAP_RIGHT_RECV));
	CHECK_EQ(coconut_cap_restrict(copy, CAP_RIGHT_SEND), 0);
	REFUSED(RIGHTS, coconut_cap_grant(copy, 0, CAP_RIGHT_SEND));
	CHECK_EQ(coconut_cap_revoke(copy), 0);
	say(1);
	copy = hear();
	REFUSED(INVAL, coconut_cap_grant(0, copy, CAP_RIGHT_SEND)); /* the other end of our partner's end is ours */
	say(2);
}

static void wait_for_the_end(void) {
	while (CALL(SYS_CHANNEL_RECV, 0, HEAP, 256) >= 0)
		;
}

/* Handle 1 leads to a third shard, which is silent; the partner waits there until we take its copy away. */
static void c14_revoke(void) {
	say((uint64_t)coconut_cap_grant(1, 0, CAP_RIGHT_SEND | CAP_RIGHT_RECV));
	busy_wait(5);
	CHECK_EQ(coconut_cap_revoke(1), 0);
	CHECK_EQ(hear(), 1);
}

static void c14_peer(void) {
	uint64_t copy = hear();

	REFUSED(BADHANDLE, CALL(SYS_CHANNEL_RECV, copy, HEAP, 256));
	REFUSED(BADHANDLE, CALL(SYS_CHANNEL_RECV, copy, HEAP, 256));
	say(1);
}

static void c15_fill(void) {
	for (int i = 0; i < COCONUT_CAP_SLOTS / 2; i++)
		CHECK(coconut_cap_grant(0, 0, CAP_RIGHT_SEND | CAP_RIGHT_RECV) >= 0);
	for (int i = 0; i < COCONUT_CAP_SLOTS; i++)
		REFUSED(FULL, coconut_cap_grant(0, 0, CAP_RIGHT_SEND));
	say(1);
	CHECK_EQ(hear(), 2);
	CHECK_EQ(coconut_cap_grant(0, 0, CAP_RIGHT_SEND), 3);
	REFUSED(FULL, coconut_cap_grant(0, 0, CAP_RIGHT_SEND));
}

static void c15_peer(void) {
	uint64_t used = 0;

	CHECK_EQ(hear(), 1);
	for (uint64_t handle = 0; handle < COCONUT_CAP_SLOTS; handle++)
		used += coconut_cap_inspect(handle) >= 0;
	CHECK_EQ(used, 1 + COCONUT_CAP_SLOTS / 2);
	CHECK_EQ(coconut_cap_revoke(3), 0); /* a granted one makes room for one */
	say(2);
	wait_for_the_end();
}

static void pledge(void) {
	CHECK_EQ(coconut_gpu_pledge(PLEDGE_CHANNEL), 0);
	REFUSED(PLEDGE, CALL(SYS_FS_OPEN, HEAP, 1));
	REFUSED(PLEDGE, CALL(SYS_SERIAL_WRITE, HEAP, 1));
	REFUSED(PLEDGE, CALL(SYS_TIME));
	CHECK_EQ(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL), 0);
	REFUSED(PLEDGE, CALL(SYS_SERIAL_WRITE, HEAP, 1));
}

/* ---- B9: registers after every call ---- */

static void b9_registers(void) {
	uint64_t harm = 0, random = 42;

	for (uint64_t number = 1; number < 70; number++) {
		for (int i = 0; i < 20; i++) {
			uint64_t a[5];
			for (int k = 0; k < 5; k++)
				a[k] = random_next(&random) >> (i % 4 * 16);
			if (number == SYS_GPU_PLEDGE) a[0] = 7 | 1UL << 40;
			guarded_call(random >> 1, &harm, number, a[0], a[1], a[2], a[3], a[4]);
			CHECK_EQ(harm, 0);
		}
	}
}

/* ---- E: exhaustion ---- */

static void e1_frames(void) {
	uint64_t most = 0;

	for (uint64_t step = 64; step; step /= 2) {
		int64_t got = coconut_mmap(LARGE + most * PAGE, step);
		if (got == 0)
			most += step;
		else
			CHECK_EQ(got, -COCONUT_E_QUOTA);
	}
	REFUSED(QUOTA, coconut_mmap(LARGE + most * PAGE, 1));
	REFUSED(QUOTA, coconut_mmap(LARGE + (1UL << 30), 1));
	CHECK_EQ(coconut_munmap(LARGE, most), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(coconut_mmap(LARGE, most), 0);
		CHECK_EQ(coconut_munmap(LARGE, most), 0);
	}
	REFUSED(QUOTA, coconut_mmap(LARGE, most + 1));
	CHECK(most >= 50 && most < 100);
}

/* Returns how many pages can be mapped behind the first one of the heap, where no table is missing. */
static uint64_t room_behind_heap(void) {
	uint64_t pages = 0;

	while (coconut_mmap(HEAP + (pages + 1) * PAGE, 1) == 0)
		pages++;
	if (pages) CHECK_EQ(coconut_munmap(HEAP + PAGE, pages), 0);
	return pages;
}

/* An mmap of three pages that needs tables of every level, in the middle of which the quota ends, for every place where
 * it can: the manifest gives each shard another quota. Whatever happens, it happens again, and nothing is left. */
static void e2_tables(void) {
	const uint64_t at = LARGE + (1UL << 30) - PAGE; /* the last page below a border of all tables */
	uint64_t room = room_behind_heap();
	int64_t first = coconut_mmap(at, 3);

	CHECK(first == 0 || first == -COCONUT_E_QUOTA);
	if (first) CHECK_EQ(room_behind_heap(), room);
	for (int i = 0; i < 4; i++) {
		if (first == 0)
			CHECK_EQ(coconut_munmap(at, 3), 0);
		else
			REFUSED(INVAL, coconut_munmap(at, 1));
		CHECK_EQ(coconut_mmap(at, 3), first);
	}
	int64_t child = coconut_spawn("/a/entry", 8, "x", 1);
	if (child >= 0)
		CHECK_EQ(coconut_wait((uint64_t)child), 0);
	else
		CHECK_EQ(child, -COCONUT_E_QUOTA);
	CHECK(coconut_mmap(at, 3) < 0); /* mapped already, or no quota for three more, or as before */
}

/* Starts children until no slot is left. Returns their number; their handles follow each other. */
static uint64_t spawn_all(uint64_t first) {
	uint64_t handle = first;
	int64_t got;

	while ((got = spawn("sleep")) >= 0) {
		CHECK_EQ(got, handle);
		handle++;
	}
	CHECK_EQ(got, -COCONUT_E_FULL);
	return handle - first;
}

static void end_all(uint64_t first, uint64_t count) {
	for (uint64_t handle = first; handle < first + count; handle++)
		CHECK_EQ(coconut_kill(handle), 0);
	for (uint64_t handle = first; handle < first + count; handle++)
		CHECK_EQ(coconut_wait(handle), -1);
}

static void e3_capabilities(void) {
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(spawn_all(2), COCONUT_CAP_SLOTS - 2);
		REFUSED(FULL, spawn("sleep"));
		end_all(2, COCONUT_CAP_SLOTS - 2);
	}
}

static void e4_descriptors(void) {
	for (int i = 0; i < 3; i++) {
		for (int fd = 0; fd < COCONUT_FILES; fd++)
			CHECK_EQ(open_file(), fd);
		REFUSED(FULL, open_file());
		CHECK_EQ(coconut_fs_close(5), 0);
		CHECK_EQ(open_file(), 5);
		for (uint64_t fd = 0; fd < COCONUT_FILES; fd++)
			CHECK_EQ(coconut_fs_close(fd), 0);
	}
}

/* Takes the last of the `slots` slots for shards; its own slots for capabilities do not run out. What it has started
 * ends with it, and the next shard of the manifest finds as many slots. */
static void e6_shards(uint64_t slots) {
	uint64_t first = (uint64_t)spawn("sleep"), count = 1;
	int64_t got;

	while ((got = spawn("sleep")) >= 0) {
		CHECK_EQ(coconut_cap_revoke((uint64_t)got), 0);
		count++;
	}
	CHECK_EQ(got, -COCONUT_E_FULL);
	CHECK_EQ(count, slots);
	REFUSED(BADHANDLE, coconut_cap_inspect(COCONUT_CAP_SLOTS - 1)); /* a free one */
	for (int i = 0; i < 3; i++) { /* one that ends makes room for one */
		CHECK_EQ(coconut_kill(first), 0);
		CHECK_EQ(coconut_wait(first), -1);
		CHECK_EQ(spawn("sleep"), first);
		REFUSED(FULL, spawn("sleep"));
	}
}

static void sleep_for_ever(void) {
	for (;;)
		coconut_yield();
}

/* ---- F: what a dead shard leaves ---- */

#define RESIDUE_PAGES 40

static void f1_fill(void) {
	CHECK_EQ(coconut_mmap(LARGE, RESIDUE_PAGES), 0);
	for (uint64_t i = 0; i < RESIDUE_PAGES * PAGE / 8; i++)
		((uint64_t *)LARGE)[i] = 0xDEADBEEFDEADBEEF;
	while (open_file() >= 0)
		;
}

static void f1_die(void) {
	f1_fill();
	__builtin_trap();
}

static void f1_look(void) {
	CHECK_EQ(coconut_mmap(LARGE, RESIDUE_PAGES + 10), 0);
	for (uint64_t i = 0; i < (RESIDUE_PAGES + 10) * PAGE / 8; i++)
		CHECK_EQ(((uint64_t *)LARGE)[i], 0);
	/* The same within one life. */
	for (uint64_t i = 0; i < RESIDUE_PAGES * PAGE / 8; i++)
		((uint64_t *)LARGE)[i] = 0xDEADBEEFDEADBEEF;
	CHECK_EQ(coconut_munmap(LARGE, RESIDUE_PAGES), 0);
	CHECK_EQ(coconut_mmap(LARGE, RESIDUE_PAGES), 0);
	for (uint64_t i = 0; i < RESIDUE_PAGES * PAGE / 8; i++)
		CHECK_EQ(((uint64_t *)LARGE)[i], 0);
}

/* Takes and gives back something of everything, for ever: to be killed at any instant. */
static void e7_busy(void) {
	for (uint64_t pages = 1;; pages = pages % 20 + 1) {
		CHECK_EQ(coconut_mmap(LARGE, pages), 0);
		BYTES(LARGE)[0] = 'x';
		for (uint64_t fd = 0; fd < 4; fd++)
			CHECK_EQ(open_file(), fd);
		CHECK(coconut_fs_map(0, LARGE + (1UL << 30)) > 0);
		coconut_serial_write(".", 1); /* a line that it does not end */
		coconut_yield();
		CHECK_EQ(coconut_munmap(LARGE + (1UL << 30), 1), 0);
		for (uint64_t fd = 0; fd < 4; fd++)
			CHECK_EQ(coconut_fs_close(fd), 0);
		CHECK_EQ(coconut_munmap(LARGE, pages), 0);
	}
}

static void f5_look(void) {
	c10_child();
	for (uint64_t fd = 0; fd < COCONUT_FILES; fd++) {
		REFUSED(BADHANDLE, CALL(SYS_FS_STAT, fd));
		REFUSED(BADHANDLE, CALL(SYS_FS_READ, fd, HEAP, 1));
	}
}

static void call_time(void) { coconut_time(); }

/* With AC set at the call, which would let the kernel touch this shard's memory if it were left so. */
static void call_time_ac(void) {
	__asm__ volatile("pushfq; orq $0x40000, (%%rsp); popfq" : : : "memory", "cc");
	coconut_time();
}

static const struct {
	const char *name;
	void (*run)(void);
} parts[] = {
	{"C1", c1_numbers}, {"C2", c2_null}, {"C3", c3_kernel}, {"C4", c4_non_canonical}, {"C5", c5_wraps},
	{"C6", c6_crosses}, {"C7", c7_hole}, {"C8", c8_read_only}, {"C9", c9_lengths}, {"C10", c10_handles},
	{"C10.child", c10_child}, {"C11", c11_mmap}, {"C12", c12_munmap}, {"C13", c13_grant}, {"C13.peer", c13_peer},
	{"C14", c14_revoke}, {"C14.peer", c14_peer}, {"C15", c15_fill}, {"C15.peer", c15_peer}, {"pledge", pledge},
	{"peer", wait_for_the_end}, {"B9", b9_registers}, {"E1", e1_frames}, {"E2", e2_tables}, {"E3", e3_capabilities},
	{"E4", e4_descriptors}, {"sleep", sleep_for_ever}, {"F1.fill", f1_fill}, {"F1.die", f1_die},
	{"F1.look", f1_look}, {"F5.look", f5_look}, {"E7.busy", e7_busy}, {"time", call_time}, {"time_ac", call_time_ac},
};

int main(const char *args) {
	struct text key, value;
	uint64_t number;

	CHECK(args);
	if (same(args, "end")) return 0;
	CHECK_EQ(coconut_mmap(HEAP, 1), 0);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (same(args, parts[i].name)) {
			parts[i].run();
			return 0;
		}
	}
	if (args[0] == 'C' && args[1] == '1' && args[2] == '2') c12_touch(args);
	if (args_next(&args, &key, &value) && text_equals(key, "E6") && text_to_u64(value, &number)) {
		e6_shards(number);
		return 0;
	}
	CHECK(!"a part of this name exists");
	return 1;
}
