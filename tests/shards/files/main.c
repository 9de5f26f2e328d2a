/*
 * files: FS_OPEN, FS_READ, FS_STAT, FS_CLOSE.
 *
 * The ramdisk holds /big (numbers of eight digits, one after another, 50,000 of them), /empty, /sparse (1 MiB, of which
 * only the last 5 bytes, "sales", are stored), /a/b/c/deep ("deep\n"), /link (symbolic, to /big).
 */
#include "../expect.h"

#define BUF 0x200000UL
#define BUF_PAGES 32
#define BIG_SIZE 400000

static int64_t open(const char *path) { return coconut_fs_open(path, strlen(path)); }

static void paths(void) {
	REFUSED(NOENT, open("/missing"));
	REFUSED(NOENT, open("/a/missing/deep"));
	REFUSED(NOENT, open("/big/"));
	REFUSED(NOENT, open("/bi"));
	REFUSED(NOENT, open("/bigg"));
	REFUSED(NOTFILE, open("/"));
	REFUSED(NOTFILE, open("/a"));
	REFUSED(NOTFILE, open("/a/b"));
	REFUSED(NOTFILE, open("/link"));
	REFUSED(INVAL, open("big"));
	REFUSED(INVAL, open("a/b/c/deep"));
	REFUSED(INVAL, coconut_fs_open("/b\0g", 4));
	memset((void *)BUF, 'x', COCONUT_PATH_MAX);
	BYTES(BUF)[0] = '/';
	REFUSED(NOENT, coconut_fs_open((const char *)BUF, COCONUT_PATH_MAX));
	REFUSED(INVAL, coconut_fs_open((const char *)BUF, COCONUT_PATH_MAX + 1));
}

/* Descriptors: the lowest free one, eight of them, and numbers that name none. */
static void descriptors(void) {
	static const uint64_t wrong[] = {0, 7, 8, 255, 1UL << 32, 1UL << 63, ~0UL};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		REFUSED(BADHANDLE, coconut_fs_read(wrong[i], (void *)BUF, 1));
		REFUSED(BADHANDLE, coconut_fs_stat(wrong[i]));
		REFUSED(BADHANDLE, coconut_fs_close(wrong[i]));
		REFUSED(BADHANDLE, coconut_fs_map(wrong[i], COCONUT_LARGE_BASE));
	}
	for (int fd = 0; fd < COCONUT_FILES; fd++)
		CHECK_EQ(open("/big"), fd);
	REFUSED(FULL, open("/big"));
	CHECK_EQ(coconut_fs_close(3), 0);
	REFUSED(BADHANDLE, coconut_fs_close(3));
	REFUSED(BADHANDLE, coconut_fs_read(3, (void *)BUF, 1));
	CHECK_EQ(open("/empty"), 3);
	for (uint64_t fd = 0; fd < COCONUT_FILES; fd++)
		CHECK_EQ(coconut_fs_close(fd), 0);
}

/* Checks the digit at an offset of /big. */
static int right(uint64_t offset, uint8_t digit) {
	uint64_t number = offset / 8;

	for (uint64_t at = offset % 8; at < 7; at++)
		number /= 10;
	return digit == '0' + number % 10;
}

/* Reads the whole of /big in pieces of `piece` bytes to odd addresses, and checks every byte. */
static void read_all(uint64_t piece) {
	int64_t fd = open("/big"), got;
	uint64_t offset = 0;

	CHECK_EQ(coconut_fs_stat((uint64_t)fd), BIG_SIZE);
	while ((got = coconut_fs_read((uint64_t)fd, (void *)(BUF + 3), piece)) > 0) {
		uint64_t wanted = BIG_SIZE - offset < piece ? BIG_SIZE - offset : piece;
		CHECK_EQ(got, wanted);
		for (int64_t i = 0; i < got; i++)
			CHECK(right(offset + (uint64_t)i, BYTES(BUF + 3)[i]));
		offset += (uint64_t)got;
	}
	CHECK_EQ(got, 0);
	CHECK_EQ(offset, BIG_SIZE);
	CHECK_EQ(coconut_fs_read((uint64_t)fd, (void *)BUF, 1), 0);
	CHECK_EQ(coconut_fs_close((uint64_t)fd), 0);
}

/* Two descriptors of one file have an offset each. */
static void two_offsets(void) {
	int64_t a = open("/big"), b = open("/big");

	CHECK_EQ(coconut_fs_read((uint64_t)a, (void *)BUF, 8 * 1000 + 8), 8 * 1000 + 8);
	CHECK_EQ(coconut_fs_read((uint64_t)b, (void *)BUF, 8), 8);
	CHECK(!memcmp((void *)BUF, "00000000", 8));
	CHECK_EQ(coconut_fs_read((uint64_t)a, (void *)BUF, 8), 8);
	CHECK(!memcmp((void *)BUF, "00001001", 8));
	coconut_fs_close((uint64_t)a);
	coconut_fs_close((uint64_t)b);
}

static void small_files(void) {
	int64_t fd = open("/empty");

	CHECK_EQ(coconut_fs_stat((uint64_t)fd), 0);
	CHECK_EQ(coconut_fs_read((uint64_t)fd, (void *)BUF, 100), 0);
	coconut_fs_close((uint64_t)fd);
	fd = open("/a/b/c/deep");
	CHECK_EQ(coconut_fs_read((uint64_t)fd, (void *)BUF, 100), 5);
	CHECK(!memcmp((void *)BUF, "deep\n", 5));
	coconut_fs_close((uint64_t)fd);
}

/* Holes read as zeros, also into memory that was not zero before. */
static void sparse(void) {
	int64_t fd = open("/sparse"), got;
	uint64_t offset = 0, size = 1 << 20;

	CHECK_EQ(coconut_fs_stat((uint64_t)fd), size);
	for (;;) {
		memset((void *)BUF, 0xEE, BUF_PAGES * PAGE);
		got = coconut_fs_read((uint64_t)fd, (void *)BUF, BUF_PAGES * PAGE - 100);
		CHECK(got >= 0);
		if (got == 0) break;
		for (int64_t i = 0; i < got; i++)
			CHECK_EQ(BYTES(BUF)[i], offset + (uint64_t)i < size - 5 ? 0 : "sales"[offset + (uint64_t)i - (size - 5)]);
		CHECK_EQ(BYTES(BUF)[got], 0xEE);
		offset += (uint64_t)got;
	}
	CHECK_EQ(offset, size);
	coconut_fs_close((uint64_t)fd);
}

int main(void) {
	CHECK_EQ(coconut_mmap(BUF, BUF_PAGES), 0);
	paths();
	descriptors();
	read_all(1021);
	read_all(4096);
	read_all(100000);
	two_offsets();
	small_files();
	sparse();
	return 0;
}
