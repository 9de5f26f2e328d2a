/*
 * hog: computes without leaving the CPU by itself. args: for how many milliseconds of 125,000 instructions (the grader
 * lets QEMU count them). Then it looks at what the two shards behind its channels have said meanwhile: each sends a
 * time when it has run, four of which fit into a queue. Exit code: 0, 1 neither has run, 2 the second has not, 3 the
 * first has not, 4 not often.
 *
 * Read next: ../meek/main.c, which waits for it.
 */
#include "../../../tests/shards/expect.h"

#define LOOPS_PER_MS 62500 /* two or three instructions each */

int main(const char *args) {
	struct text word, value;
	uint64_t ms = 0, first[2], fourth = 0;
	int64_t end;

	CHECK(args_next(&args, &word, &value) && text_to_u64(word, &ms));
	for (uint64_t i = 0; i < ms * LOOPS_PER_MS; i++)
		__asm__ volatile("");
	end = coconut_time();
	for (uint64_t handle = 0; handle < 2; handle++) {
		uint64_t stamp;
		CHECK_EQ(coconut_channel_recv(handle, &first[handle], 8), 8);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(coconut_channel_recv(handle, &stamp, 8), 8);
		fourth = stamp > fourth ? stamp : fourth;
	}
	for (uint64_t handle = 0; handle < 2; handle++)
		CHECK_EQ(coconut_channel_send(handle, &end, 8), 0);
	if ((int64_t)first[0] >= end || (int64_t)first[1] >= end)
		return (int64_t)first[0] < end ? 2 : (int64_t)first[1] < end ? 3 : 1;
	return (int64_t)fourth < end ? 0 : 4;
}
