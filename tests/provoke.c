/*
 * provoke.c: failing on purpose. A part of the supervisor in builds that define PROVOKE, and in no other.
 *
 * A build made with `--define PROVOKE=PROVOKE_name` commits one mistake of the kernel's own, so that tests see
 * what becomes of it: a decoded panic and the right exit status, or, when the protection against it is left out
 * as well (ABLATION), the damage.
 *
 * Read next: layout.h lists the names.
 */
#include "../kernel.h"

static const uint64_t sealed = 1; /* lies in rodata */
static uint8_t return_instruction[] = {0xC3};

static __attribute__((noinline)) uint64_t overflow_stack(uint64_t depth)
{
	volatile uint8_t room[256];

	room[0] = (uint8_t)depth;
	return depth == UINT64_MAX ? room[0] : overflow_stack(depth + 1) + room[0];
}

/* Sends a DMA engine to places that are not mapped for it, and prints what became of each transfer. */
static void stray_dma(void)
{
	static uint8_t secret[64] = "the supervisor's own", prey[64];
	uint64_t secret_phys = (uint64_t)secret - IMAGE_BASE, prey_phys = (uint64_t)prey - IMAGE_BASE;
	const struct {
		const char *what;
		uint64_t source, target;
	} transfers[] = {
		{"a read of what was never mapped", 0x100000, EDU_NOWHERE},
		{"a read of the supervisor", secret_phys, EDU_NOWHERE},
		{"a write to the supervisor", EDU_NOWHERE, prey_phys},
		{"a read of the source of an earlier copy", EDU_SOURCE_IOVA + (secret_phys & PAGE_MASK), EDU_NOWHERE},
		{"a write to the target of an earlier copy", EDU_NOWHERE, EDU_TARGET_IOVA + (prey_phys & PAGE_MASK)},
	};

	print("Provoked: a copy that is allowed: %ld\n", edu_copy(secret_phys, prey_phys, sizeof(secret)));
	for (size_t i = 0; i < ARRAY_LENGTH(transfers); i++) {
		memset(prey, 0, sizeof(prey));
		int64_t result = edu_transfer_raw(0, transfers[i].source, transfers[i].target, sizeof(secret));
		print("Provoked: %s: %ld, the supervisor's memory %s\n", transfers[i].what, result,
		      memcmp(secret, prey, sizeof(secret)) ? "is intact" : "was overwritten");
	}
}

/* Commits the mistakes that need no shard. Called twice: at the very start of the kernel and when everything is
 * initialised; `early` tells which. */
void provoke(bool early)
{
	if (early != (PROVOKE == PROVOKE_early_panic))
		return;
	switch (PROVOKE) {
	case PROVOKE_early_panic:
		panic("provoked before memory and traps were set up");
	case PROVOKE_panic:
		*(volatile uint64_t *)(HHDM_BASE + (1UL << 46)) = 0; /* far beyond all RAM */
		break;
	case PROVOKE_triple_fault:
		__asm__ volatile("lidt %0; int3" : : "m"((uint64_t[2]){0}));
		break;
	case PROVOKE_hang:
		halt_for_ever();
		break;
	case PROVOKE_silence:
		power_off();
		break;
	case PROVOKE_stack:
		overflow_stack(0);
		break;
	case PROVOKE_text_write:
		*(volatile uint64_t *)&sealed = 2;
		break;
	case PROVOKE_alias_write:
		*(volatile uint64_t *)phys_to_virt((uint64_t)&supervisor_main - IMAGE_BASE) = 0;
		break;
	case PROVOKE_data_execute:
		((void (*)(void))return_instruction)();
		break;
	case PROVOKE_dma_stray:
		stray_dma();
		break;
	}
}

/* Commits the mistakes that need the memory of a shard. Called inside TIME. */
void provoke_in_call(void)
{
	switch (PROVOKE) {
	case PROVOKE_smap:
		(void)*(volatile uint8_t *)COCONUT_CODE_BASE;
		break;
	case PROVOKE_smep:
		((void (*)(void))COCONUT_CODE_BASE)();
		break;
	case PROVOKE_bad_return:
		((uint64_t *)current->stack_top)[-3] = 1UL << 47; /* rcx in struct syscall_frame */
		break;
	}
}
