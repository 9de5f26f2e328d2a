/*
 * old-names: every name of the earlier implementation's header, and every way to fail that there is: each must give
 * COCONUT_ERROR. Two shards with a channel and a pipeline; the second one is who the first one talks to.
 *
 * The exit code is the line of the first check that is false. The ramdisk has /hello.txt with eleven bytes, and a
 * folder /t.
 */
#include "../../include/coconut.h"

#define KERNEL 0xFFFFFFFF80000000
#define HEAP   0x100000
#define STACK  0x7FF000

#define CHECK(condition)                                             \
	do {                                                         \
		if (!(condition)) {                                  \
			coconut_puts("old-names: " #condition "\n"); \
			coconut_exit(__LINE__);                      \
		}                                                    \
	} while (0)
#define FAILS(call) CHECK((call) == COCONUT_ERROR)

static void console(void) {
	char on_stack[] = "old-names: from the stack\n";

	CHECK(coconut_puts("old-names: from the code\n") == 0);
	CHECK(coconut_serial_write(on_stack, coconut_strlen(on_stack)) == 0);
	FAILS(coconut_puts(""));
	FAILS(coconut_serial_write("x", 0));
	FAILS(coconut_syscall2(SYS_SERIAL_WRITE, 0x1000, 4097));
	FAILS(coconut_syscall2(SYS_SERIAL_WRITE, 0, 1));
	FAILS(coconut_syscall2(SYS_SERIAL_WRITE, KERNEL, 1));
	FAILS(coconut_syscall2(SYS_SERIAL_WRITE, ~0ULL, 2));
}

static void files(void) {
	uint64_t fd = coconut_fs_open("/hello.txt", 10), more = fd;
	char buf[64];

	CHECK(fd != COCONUT_ERROR);
	CHECK(coconut_fs_stat(fd) == 11);
	FAILS(coconut_syscall3(SYS_FS_READ, fd, 0, 10));
	FAILS(coconut_fs_read(fd, (void *)0x1000, 10));
	CHECK(coconut_fs_read(fd, buf, 5) == 5 && buf[4] == 'o');
	CHECK(coconut_fs_read(fd, buf, sizeof(buf)) == 6 && buf[5] == '\n');
	CHECK(coconut_fs_read(fd, buf, sizeof(buf)) == 0);
	CHECK(coconut_fs_close(fd) == 0);
	FAILS(coconut_fs_close(fd));
	FAILS(coconut_fs_stat(fd));
	FAILS(coconut_fs_read(fd, buf, 1));
	FAILS(coconut_fs_open("/none", 5));
	FAILS(coconut_fs_open("/t", 2));
	FAILS(coconut_fs_open("/hello.txt", 0));
	FAILS(coconut_syscall2(SYS_FS_OPEN, 0, 5));
	for (int i = 0; i < 100 && more != COCONUT_ERROR; i++)
		more = coconut_fs_open("/hello.txt", 10);
	FAILS(more);
}

static void memory(void) {
	volatile uint32_t *word = (uint32_t *)HEAP;

	CHECK(coconut_mmap(HEAP, 4) == 0);
	CHECK(word[1023] == 0);
	word[4095] = 7;
	CHECK(word[4095] == 7);
	CHECK(coconut_mmap(HEAP + 4 * 4096, 1) == 0);
	FAILS(coconut_mmap(HEAP, 1));
	FAILS(coconut_mmap(HEAP + 1, 1));
	FAILS(coconut_mmap(HEAP + 0x100000, 0));
	FAILS(coconut_mmap(0x1000, 1));
	FAILS(coconut_mmap(STACK, 1));
	FAILS(coconut_mmap(0xFFFFFFFFF000, 2));
	FAILS(coconut_mmap(0x40000000, 1 << 16));
}

static void capabilities(uint64_t channel) {
	uint64_t found = coconut_syscall1(SYS_CAP_INSPECT, channel);

	CHECK(found != COCONUT_ERROR && found >> 48 == 1 && (found & 0xFFFF) == 7);
	FAILS(coconut_syscall1(SYS_CAP_INSPECT, 9));
	FAILS(coconut_syscall1(SYS_CAP_INSPECT, 999));
	FAILS(coconut_syscall1(SYS_CAP_REVOKE, 9));
	FAILS(coconut_syscall2(SYS_CAP_RESTRICT, 9, 0));
	FAILS(coconut_syscall3(SYS_CAP_GRANT, 9, channel, 7));
	FAILS(coconut_syscall3(SYS_CAP_GRANT, channel, 9, 7));
	FAILS(coconut_gpu_dma(0, 0, 64));
	FAILS(coconut_gpu_dma(channel, 0, 64));
	FAILS(coconut_gpu_unveil(0, 4096));
	FAILS(coconut_syscall0(9999));
	FAILS(coconut_syscall0(63));
}

/* Speaks first, so that the other one sees a message that is longer than its buffer, and one that is not. */
static void talk(uint64_t channel) {
	char buf[257];

	for (int i = 0; i < 257; i++)
		buf[i] = (char)i;
	FAILS(coconut_channel_send(9, buf, 4));
	FAILS(coconut_channel_send(channel, buf, 0));
	FAILS(coconut_channel_send(channel, buf, 257));
	FAILS(coconut_syscall3(SYS_CHANNEL_SEND, channel, 0, 4));
	FAILS(coconut_channel_recv(9, buf, 4));
	FAILS(coconut_channel_recv(channel, buf, 0));
	FAILS(coconut_syscall3(SYS_CHANNEL_RECV, channel, 0x1000, 4));
	CHECK(coconut_channel_send(channel, buf, 256) == 0);
	CHECK(coconut_channel_send(channel, "second", 6) == 0);
	CHECK(coconut_channel_recv(channel, buf, 16) == 4 && buf[0] == 'd');
	FAILS(coconut_channel_recv(channel, buf, 16)); /* the other one has ended */
	FAILS(coconut_channel_send(channel, buf, 16));
}

static void listen(uint64_t channel) {
	char buf[32] = { 0 };

	CHECK(coconut_channel_recv(channel, buf, 16) == 16);
	CHECK(buf[15] == 15 && buf[16] == 0);
	CHECK(coconut_channel_recv(channel, buf, sizeof(buf)) == 6 && buf[5] == 'd');
	CHECK(coconut_channel_send(channel, "done", 4) == 0);
}

static void pledges(void) {
	CHECK(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA | 1ULL << 40) == 0);
	CHECK(coconut_gpu_pledge(PLEDGE_SERIAL | 8) == 0);
	FAILS(coconut_fs_open("/hello.txt", 10));
	FAILS(coconut_channel_send(0, "x", 1));
	coconut_yield();
	CHECK(coconut_puts("old-names: all of them\n") == 0);
}

int main(void) {
	const struct pipeline_config *config = coconut_pipeline_config();

	CHECK(config && config->magic == PIPELINE_CONFIG_MAGIC && config->num_stages == 2);
	CHECK(config->layers_start == config->stage * 3 && config->layers_end == config->stage * 3 + 3);
	if (config->stage == 1) {
		listen(config->channel_id);
		return 0;
	}
	console();
	files();
	memory();
	capabilities(config->channel_id);
	talk(config->channel_id);
	pledges();
	return 0;
}
