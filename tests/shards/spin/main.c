/* spin: computes for `args` million rounds without a system call, and says when it begins and ends. */
#include "../expect.h"

int main(const char *args) {
	struct text word, value;
	uint64_t millions = 0;

	CHECK(args_next(&args, &word, &value) && text_to_u64(word, &millions));
	print("begins\n");
	for (uint64_t i = 0; i < millions * 1000000; i++)
		__asm__ volatile("");
	print("ends\n");
	return 0;
}
