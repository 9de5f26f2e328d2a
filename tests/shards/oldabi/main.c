/*
 * oldabi: the two stages of a pipeline as the earlier implementation had them, with its header: the channel's handle comes from
 * the configuration page, no call fails, and 2^64-1 would be the only error.
 */
#include "old.h"

__asm__(".globl pipeline_shard\n.set pipeline_shard, 1");

static void require(int condition) {
	if (!condition) sys_exit(1);
}

static void first_stage(u64 channel) {
	volatile u32 *heap = (u32 *)0x100000;
	char buf[64];
	u64 fd = sys_fs_open("/big", 4), size = sys_fs_stat(fd);

	require(fd != ERROR && size == 400000);
	require(sys_fs_read(fd, buf, 16) == 16 && buf[15] == '1');
	require(sys_fs_close(fd) != ERROR);
	require(sys_mmap(0x100000, 16) != ERROR);
	for (u32 i = 0; i < 16384; i++)
		heap[i] = i;
	for (u32 i = 0; i < 16384; i += 64)
		require(sys_channel_send(channel, (void *)(heap + i), 256) != ERROR);
	require(sys_channel_recv(channel, buf, sizeof(buf)) == 4);
	require(*(u32 *)buf == 16383U * 16384 / 2);
	require(sys_serial_write("old stage 0: done\n", 18) == 18);
}

static void second_stage(u64 channel) {
	u32 buf[64], sum = 0;

	for (u32 i = 0; i < 16384; i += 64) {
		require(sys_channel_recv(channel, buf, sizeof(buf)) == 256);
		for (u32 k = 0; k < 64; k++)
			sum += buf[k];
		sys_yield();
	}
	require(sys_channel_send(channel, &sum, 4) != ERROR);
}

int main(void) {
	const volatile struct old_pipeline_config *config = (void *)0x10000;

	require(config->magic == 0x50495045 && config->stages == 2);
	require(config->first_layer == config->stage * 3 && config->last_layer == config->stage * 3 + 2);
	if (config->stage == 0)
		first_stage(config->channel);
	else
		second_stage(config->channel);
	return 0;
}
