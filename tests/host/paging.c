/*
 * Tests of pte_make in paging.c: the one place where the rights of a page are put together.
 *
 * The rest of paging.c talks to the machine and is not called here, so what it refers to may stay unresolved.
 *
 * SOURCES: paging.c
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include "kernel.h"
#include "check.h"

/* Every set of rights that can be asked for. */
static const uint64_t bits[] = {PTE_WRITE, PTE_USER, PTE_PWT, PTE_PCD, PTE_LARGE, PTE_BORROWED, PTE_NX};
#define SETS (1u << ARRAY_LENGTH(bits))

static uint64_t rights_of(unsigned set) {
	uint64_t rights = 0;

	for (size_t i = 0; i < ARRAY_LENGTH(bits); i++)
		rights |= set >> i & 1 ? bits[i] : 0;
	return rights;
}

TEST(never_writable_and_executable) {
	for (unsigned set = 0; set < SETS; set++) {
		uint64_t entry = pte_make(0x12345000, rights_of(set));
		CHECK(!(entry & PTE_WRITE) || entry & PTE_NX);
		CHECK_EQ(entry == 0, rights_of(set) & PTE_WRITE && !(rights_of(set) & PTE_NX));
	}
}

TEST(keeps_address_and_rights) {
	static const uint64_t addresses[] = {0, 0x1000, 0x200000, 0xFFFFFFFFF000, PTE_ADDRESS};

	for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++)
		for (unsigned set = 0; set < SETS; set++) {
			uint64_t entry = pte_make(addresses[i], rights_of(set));
			if (!entry) continue;
			CHECK_EQ(entry & PTE_ADDRESS, addresses[i]);
			CHECK_EQ(entry & ~PTE_ADDRESS, rights_of(set) | PTE_PRESENT);
		}
}

int main(void) {
	RUN(never_writable_and_executable);
	RUN(keeps_address_and_rights);
	return check_result();
}
