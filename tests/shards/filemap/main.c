/*
 * filemap: FS_MAP. args "pages": the ramdisk has blocks of 4 KiB; args "blocks": smaller ones, where nothing can be
 * mapped; args "damaged": the second block of /big and the first of the directory /a/b lie nowhere. The files are those
 * of the shard `files`.
 */
#include "../expect.h"

#define AT 0x50000000UL
#define BIG_SIZE 400000

static uint64_t open(const char *path) {
	int64_t fd = coconut_fs_open(path, strlen(path));

	CHECK(fd >= 0);
	return (uint64_t)fd;
}

static void addresses(uint64_t fd) {
	static const uint64_t bad[] = {0, COCONUT_CODE_BASE, COCONUT_HEAP_BASE, COCONUT_STACK_TOP - PAGE, COCONUT_STACK_TOP,
				       COCONUT_LARGE_BASE - PAGE, AT + 1, AT + 8, AT + PAGE - 1, 0x8000000000 - PAGE,
				       0x8000000000, 0x7FFFFFFFF000, 0x800000000000, 0xFFFF800000000000,
				       0xFFFFFFFF80200000, 0xFFFFFFFFC0000000, 0xFFFFFFFFFFFFF000, ~0UL};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		REFUSED(INVAL, coconut_fs_map(fd, bad[i]));
}

/* A mapping shows the file, several times over, and outlives the descriptor. */
static void mapped(uint64_t fd) {
	CHECK_EQ(coconut_fs_map(fd, AT), BIG_SIZE);
	CHECK_EQ(coconut_fs_map(fd, AT + 0x10000000), BIG_SIZE);
	CHECK_EQ(coconut_fs_map(fd, 0x8000000000 - 98 * PAGE), BIG_SIZE);
	CHECK_EQ(coconut_fs_close(fd), 0);
	for (uint64_t number = 0; number < BIG_SIZE / 8; number++) {
		uint64_t value = 0;
		for (uint64_t i = 0; i < 8; i++)
			value = value * 10 + BYTES(AT)[number * 8 + i] - '0';
		CHECK_EQ(value, number);
	}
	CHECK(!memcmp((void *)AT, (void *)(AT + 0x10000000), BIG_SIZE));
	CHECK(!memcmp((void *)AT, (void *)(0x8000000000 - 98 * PAGE), BIG_SIZE));
	for (uint64_t i = BIG_SIZE; i < 98 * PAGE; i++)
		CHECK_EQ(BYTES(AT)[i], 0); /* the rest of the last block */
}

/* What is whole can still be read; what is not gives an error each time and moves nothing. */
static void damaged(uint64_t fd) {
	char buf[16];

	REFUSED(IO, coconut_fs_open("/a/b/c/deep", 11));
	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 2), 0);
	CHECK_EQ(coconut_fs_stat(fd), BIG_SIZE);
	CHECK_EQ(coconut_fs_read(fd, buf, sizeof(buf)), 16);
	CHECK(!memcmp(buf, "0000000000000001", 16));
	CHECK_EQ(coconut_fs_read(fd, (void *)(uint64_t)COCONUT_HEAP_BASE, 2 * PAGE), PAGE - 16);
	for (int i = 0; i < 2; i++)
		REFUSED(IO, coconut_fs_read(fd, (void *)(uint64_t)COCONUT_HEAP_BASE, 2 * PAGE));
	REFUSED(NOMAP, coconut_fs_map(fd, AT));
	CHECK_EQ(coconut_mmap(AT, 98), 0);
}

int main(const char *args) {
	uint64_t big = open("/big");

	if (same(args, "damaged")) {
		damaged(big);
		return 0;
	}
	addresses(big);
	if (same(args, "pages"))
		mapped(big);
	else
		REFUSED(NOMAP, coconut_fs_map(big, AT));
	REFUSED(NOMAP, coconut_fs_map(open("/empty"), AT + 0x20000000));
	REFUSED(NOMAP, coconut_fs_map(open("/sparse"), AT + 0x20000000));
	CHECK_EQ(coconut_mmap(AT + 0x20000000, 256), 0); /* nothing of the refused mapping has stayed */
	return 0;
}
