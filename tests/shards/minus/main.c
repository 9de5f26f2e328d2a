/*
 * minus: a shard that exits with -1, which is the code that the kernel keeps for those that were killed.
 *
 *   exits    exits so      dies     is killed by an exception
 *   parent   starts both, and one that it kills, and tells them apart by what WAIT returns
 */
#include "../expect.h"

#define SELF "/t/minus"

static int64_t spawn(const char *args) { return coconut_spawn(SELF, strlen(SELF), args, strlen(args)); }

int main(const char *args) {
	if (same(args, "exits")) return -1;
	if (same(args, "dies")) __builtin_trap();
	if (same(args, "spins"))
		for (;;)
			coconut_yield();

	CHECK_EQ(coconut_wait((uint64_t)spawn("exits")), 0xFFFFFFFF);
	CHECK_EQ(coconut_wait((uint64_t)spawn("dies")), -1);
	int64_t victim = spawn("spins");
	CHECK_EQ(coconut_kill((uint64_t)victim), 0);
	CHECK_EQ(coconut_wait((uint64_t)victim), -1);
	return 0;
}
