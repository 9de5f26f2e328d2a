/*
 * attacker: makes one attack of attacks.asm, the one that the args name. It ends with code 99 when it gets away with
 * it. It prints nothing: what it did shows in how it ends.
 *
 * Read next: attacks.asm, ../warden/main.c.
 */
#include "tests/shards/expect.h"

struct attack {
	const char *name;
	void (*run)(void);
};
extern const struct attack attack_table[];

#define UNKNOWN 98

int main(const char *args) {
	coconut_mmap(COCONUT_HEAP_BASE, 1);
	for (const struct attack *attack = attack_table; args && attack->name; attack++)
		if (same(attack->name, args)) attack->run();
	return UNKNOWN;
}
