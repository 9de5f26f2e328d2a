/* layout: maps a page of heap and the file /file, reads and writes them, and exits. A shard that starts later finds the
 * file unchanged. Read next: labs/lib/rights.py, which looks at its tables. */
#include "../../../tests/shards/expect.h"

#define FILE_ADDRESS COCONUT_LARGE_BASE

int main(void) {
	int64_t fd = coconut_fs_open("/file", 5), size;

	CHECK(fd >= 0);
	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 1), 0);
	*BYTES(COCONUT_HEAP_BASE) = 1;
	size = coconut_fs_map((uint64_t)fd, FILE_ADDRESS);
	CHECK_EQ(size, 256 * 24);
	for (int64_t i = 0; i < size; i++)
		CHECK_EQ(BYTES(FILE_ADDRESS)[i], i & 255);
	return 0;
}
