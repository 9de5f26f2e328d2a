/*
 * vram: a driver shard that fills all video memory of its partition and dies, when its partner says so. In each of its
 * lives it must find the memory full of zeros. Handle 0 is the channel to the partner, which runs ../talk with `vram`.
 *
 * Read next: ../talk/main.c.
 */
#include "tests/shards/expect.h"

__asm__(".globl gpu_shard\n.set gpu_shard, 1"); /* shard.ld leaves the page of the configuration free */

int main(void) {
	const struct gpu_config *config = coconut_gpu_config();
	char word[16];

	CHECK(config);
	volatile uint64_t *vram = (volatile uint64_t *)config->vram_vaddr;
	for (uint64_t i = 0; i < config->vram_size / 8; i++)
		CHECK_EQ(vram[i], 0);
	CHECK(coconut_channel_recv(0, word, sizeof(word)) > 0);
	if (same(word, "end")) return 0;
	for (uint64_t i = 0; i < config->vram_size / 8; i++)
		vram[i] = 0xDEADBEEFDEADBEEF;
	__builtin_trap();
}
