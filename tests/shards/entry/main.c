/*
 * entry: the registers with which a shard begins: all of them are defined, none holds anything of the kernel or of an
 * earlier shard. Its manifest line has no args.
 */
#include "../expect.h"

struct registers {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax, rflags, ds, es, fs, gs, rsp;
};

int main(const struct registers *at_entry, const uint8_t *fxsave) {
	const uint64_t *value = (const uint64_t *)at_entry;

	for (int i = 0; i < 15; i++)
		CHECK_EQ(value[i], 0);
	CHECK_EQ(at_entry->rflags, 0x202);
	CHECK_EQ(at_entry->rsp, COCONUT_STACK_TOP);
	CHECK_EQ(at_entry->ds | at_entry->es | at_entry->fs | at_entry->gs, 0);
	CHECK_EQ(*(const uint16_t *)fxsave, 0x37F);
	CHECK_EQ(*(const uint16_t *)(fxsave + 2), 0);
	CHECK_EQ(fxsave[4], 0);
	CHECK_EQ(*(const uint32_t *)(fxsave + 24), 0x1F80);
	for (int i = 32; i < 416; i++)
		CHECK_EQ(fxsave[i], 0);
	for (uint64_t at = COCONUT_STACK_TOP - PAGE; at < (uint64_t)fxsave - 1024; at++)
		CHECK_EQ(*BYTES(at), 0);
	return 0;
}
