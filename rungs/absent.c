/*
 * absent.c: what stands behind the doors of the ladder as long as nobody else does.
 *
 * boot.asm calls up, to files that a rung may not have yet. The linker takes a definition of theirs, or of
 * rungs/NAME.c, rather than these, which are weak. The whole kernel is linked without this file and has no weak symbol.
 *
 * Read next: console.c.
 */
#include "rungs.h"

#define ABSENT(door) panic("nobody is behind the door %s yet", door)

__attribute__((weak)) void interrupt_dispatch(struct trap_frame *frame) {
	ABSENT("interrupt_dispatch");
	(void)frame;
}

__attribute__((weak)) void shard_begin(void) { ABSENT("shard_begin"); }

__attribute__((weak)) int64_t syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
	uint64_t number) {
	ABSENT("syscall_dispatch");
	(void)a0, (void)a1, (void)a2, (void)a3, (void)a4, (void)number;
}

__attribute__((weak)) void syscall_bad_return(const struct syscall_frame *frame) {
	ABSENT("syscall_bad_return");
	(void)frame;
}

/* The rung `shard` passes the devices by. The end of a shard gives back what it has of them, which is nothing; a call
 * for them finds none. */
__attribute__((weak)) void gpu_release(struct shard *shard) { (void)shard; }

__attribute__((weak)) int gpu_attach(struct shard *shard, struct gpu_config *config) {
	(void)shard, (void)config;
	return -COCONUT_E_NODEV;
}

__attribute__((weak)) int64_t sys_gpu_unveil(uint64_t offset, uint64_t size) {
	(void)offset, (void)size;
	return -COCONUT_E_NODEV;
}

__attribute__((weak)) int64_t sys_gpu_dma(uint64_t handle, uint64_t source, uint64_t target_and_len) {
	(void)handle, (void)source, (void)target_and_len;
	return -COCONUT_E_NODEV;
}

/* What boot.asm looks at, or keeps there. */
__attribute__((weak)) struct shard *current;
__attribute__((weak)) uint8_t tss[8];
__attribute__((weak)) uint32_t kernel_since;
__attribute__((weak)) bool cpu_has_smap, cpu_has_ibpb;
