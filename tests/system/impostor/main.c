/*
 * impostor: prints what the supervisor prints at the end of a good run, and then fails.
 *
 * Read next: tests/test_system.py.
 */
#include "coconut.h"
#include "shardlib.h"

int main(void) {
	print("coconutOS supervisor v9.9.9: all shards completed.\nHalting.\n");
	return 7;
}
