/*
 * old-gpu: a driver of a GPU partition that is written with the names of the earlier implementation's header: the
 * configuration page, video memory, UNVEIL and PLEDGE. The exit code is the line of the first check that is false.
 */
#include "../../include/coconut.h"

#define CHECK(condition)                                 \
	do {                                             \
		if (!(condition)) coconut_exit(__LINE__); \
	} while (0)

int main(void) {
	const struct gpu_config *config = coconut_gpu_config();
	volatile uint64_t *memory;

	CHECK(config && (uint64_t)config == GPU_CONFIG_VADDR && config->magic == GPU_CONFIG_MAGIC);
	CHECK(config->partition_id == 0 && config->vram_size >= 1 << 20 && config->cu_count > 0 && config->_pad == 0);
	CHECK(config->vram_vaddr && config->mmio_vaddr);
	memory = (volatile uint64_t *)config->vram_vaddr;
	memory[config->vram_size / 8 - 1] = 7;
	CHECK(memory[config->vram_size / 8 - 1] == 7);
	CHECK(coconut_gpu_unveil(config->vram_size, 4096) == COCONUT_ERROR);
	CHECK(coconut_gpu_unveil(0, 4096) == 0);
	CHECK(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_GPU_DMA) == 0);
	CHECK(coconut_gpu_dma(0, 0, 64) == COCONUT_ERROR);
	CHECK(coconut_puts("old-gpu: done\n") == 0);
	return 0;
}
