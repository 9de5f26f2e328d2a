/* adder: has /shards/counter add the numbers of its args, and checks each sum. Read next: labs/11-bss/README.md. */
#include "../../../tests/shards/expect.h"

int main(const char *args) {
	struct text word, value;
	uint64_t number = 0, sum = 0, total = 0;
	int count = 0;

	for (; args_next(&args, &word, &value); count++) {
		CHECK(text_to_u64(word, &number));
		sum += number;
		CHECK_EQ(coconut_channel_call(0, &number, sizeof(number), &total, sizeof(total)), sizeof(total));
		CHECK_EQ(total, sum);
	}
	CHECK(count > 0);
	return 0;
}
