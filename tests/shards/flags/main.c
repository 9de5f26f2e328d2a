/*
 * flags: flags and stack pointers that a shard may set before it enters the kernel, by a call or by being preempted,
 * must do the kernel no harm and come back as they were.
 *
 * args: df, ac, nt, iopl: that flag at calls and while it is preempted. tf: a single step at a call kills the shard.
 * rsp: stack pointers that point nowhere, likewise.
 */
#include "../expect.h"

#define AT COCONUT_HEAP_BASE
#define KEPT 0x44400 /* AC, NT, DF */
#define RED_ZONE 128
#define SPINS 20000000

/* Makes a call with the flags set. Returns its result, and in `*after` the flags that it came back with. */
static int64_t call_with(uint64_t flags, uint64_t *after, uint64_t number, uint64_t a, uint64_t b, uint64_t c) {
	int64_t result;

	__asm__ volatile("lea -128(%%rsp), %%rsp; pushf; orq %[flags], (%%rsp); popf; syscall;"
			 "pushf; popq %[after]; pushf; andq %[mask], (%%rsp); popf; lea 128(%%rsp), %%rsp"
			 : "=a"(result), [after] "=&r"(*after)
			 : "a"(number), "D"(a), "S"(b), "d"(c), [flags] "r"(flags), [mask] "r"(~(uint64_t)KEPT)
			 : "rcx", "r11", "memory", "cc");
	return result;
}

/* Spins with the flags set, so that timer interrupts find them. Returns the flags afterwards. */
static uint64_t spin_with(uint64_t flags) {
	uint64_t after, spins = SPINS;

	__asm__ volatile("lea -128(%%rsp), %%rsp; pushf; orq %[flags], (%%rsp); popf; 1: dec %[spins]; jnz 1b;"
			 "pushf; popq %[after]; pushf; andq %[mask], (%%rsp); popf; lea 128(%%rsp), %%rsp"
			 : [after] "=&r"(after), [spins] "+r"(spins)
			 : [flags] "r"(flags), [mask] "r"(~(uint64_t)KEPT)
			 : "memory", "cc");
	return after;
}

/* Calls that move bytes forward inside the kernel, with a flag that would turn them round or open memory. */
static void calls_with(uint64_t flags, uint64_t kept) {
	uint64_t after;

	for (int round = 0; round < 50; round++) {
		int64_t fd = call_with(flags, &after, SYS_FS_OPEN, (uint64_t)"/big", 4, 0);
		CHECK_EQ(fd, 0);
		CHECK_EQ(after & KEPT, kept);
		CHECK_EQ(call_with(flags, &after, SYS_FS_READ, 0, AT + 64, 3000), 3000);
		CHECK_EQ(after & KEPT, kept);
		CHECK(!memcmp((void *)(AT + 64UL), "000000000000000100000002", 24));
		CHECK_EQ(BYTES(AT + 63)[0], 0);
		CHECK_EQ(BYTES(AT + 64 + 3000)[0], 0);
		CHECK_EQ(call_with(flags, &after, SYS_MMAP, AT + 16 * PAGE, 2, 0), 0);
		for (int i = 0; i < 2 * PAGE; i++)
			CHECK_EQ(BYTES(AT + 16 * PAGE)[i], 0);
		memset((void *)(AT + 16UL * PAGE), 0xEE, 2 * PAGE);
		CHECK_EQ(call_with(flags, &after, SYS_MUNMAP, AT + 16 * PAGE, 2, 0), 0);
		CHECK_EQ(call_with(flags, &after, SYS_FS_READ, 0, 0xFFFF800000200000, 8), -COCONUT_E_FAULT);
		CHECK_EQ(call_with(flags, &after, SYS_FS_CLOSE, 0, 0, 0), 0);
		CHECK_EQ(call_with(flags, &after, SYS_YIELD, 0, 0, 0), 0);
		CHECK_EQ(after & KEPT, kept);
	}
	for (int round = 0; round < 5; round++)
		CHECK_EQ(spin_with(flags) & KEPT, kept);
}

/* Yields and spins with the stack pointer at places where there is no stack. */
static void wild_stacks(void) {
	static const uint64_t places[] = {0, 8, 0x300000, 0x800000000000, 0xFFFF800000200000, 0xFFFFFFFF80200000, ~0UL};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t result = SYS_YIELD, spins = SPINS;
		__asm__ volatile("mov %%rsp, %%rbx; mov %[place], %%rsp; syscall; 1: dec %[spins]; jnz 1b; cmp %[place], %%rsp;"
				 "mov %%rbx, %%rsp; je 2f; ud2; 2:"
				 : "+a"(result), [spins] "+r"(spins)
				 : [place] "r"(places[i])
				 : "rbx", "rcx", "r11", "memory", "cc");
		CHECK_EQ(result, 0);
	}
}

int main(const char *args) {
	uint64_t after;

	CHECK_EQ(coconut_mmap(AT, 1), 0);
	if (same(args, "df"))
		calls_with(0x400, 0x400);
	else if (same(args, "ac"))
		calls_with(0x40000, 0x40000);
	else if (same(args, "nt"))
		calls_with(0x4000, 0x4000);
	else if (same(args, "iopl"))
		calls_with(0x3000, 0);
	else if (same(args, "rsp"))
		wild_stacks();
	else
		call_with(0x100, &after, SYS_YIELD, 0, 0, 0);
	CHECK_EQ(spin_with(0) & 0x3000, 0); /* popf has not changed the I/O privilege level */
	return 0;
}
