/*
 * latency: makes the longest calls there are, one after the other, for tests/test_latency.py to measure how long
 * each keeps interrupts off. With args "peer" it is the other side of the channel.
 *
 * Read next: ../../test_latency.py.
 */
#include "coconut.h"
#include "shardlib.h"

#define HEAP COCONUT_HEAP_BASE
#define FAR COCONUT_LARGE_BASE

/* Fills the peer's queue and its table of capabilities, asks it, and ends it by closing. */
static void talk(void)
{
	char message[COCONUT_MESSAGE_MAX];

	memset(message, 'm', sizeof(message));
	for (int i = 0; i < 6; i++)
		coconut_channel_send(0, message, sizeof(message));
	coconut_channel_call(0, message, sizeof(message), message, sizeof(message));
	coconut_cap_grant(0, 0, CAP_RIGHT_SEND);
	coconut_cap_restrict(0, CAP_RIGHT_SEND | CAP_RIGHT_RECV);
	coconut_cap_inspect(0);
	coconut_cap_inspect(99);
	coconut_cap_revoke(0);
}

static int serve(void)
{
	char message[COCONUT_MESSAGE_MAX];

	for (int i = 0; i < 7; i++)
		coconut_channel_recv(0, message, sizeof(message));
	coconut_channel_send(0, message, sizeof(message));
	return coconut_channel_recv(0, message, sizeof(message)) == -COCONUT_E_CLOSED ? 0 : 1;
}

int main(const char *args)
{
	uint64_t pages;
	int64_t fd, child;

	if (args && args[0] == 'p')
		return serve();
	if (args && args[0] == 's')
		return 0;
	pages = args ? (uint64_t)(args[0] - '0') * 32 : 32;
	coconut_time();
	coconut_yield();
	if (coconut_mmap(HEAP, pages) || coconut_mmap(HEAP, pages) != -COCONUT_E_EXISTS)
		return 1;
	memset((void *)HEAP, 'x', COCONUT_WRITE_MAX);
	for (int i = 63; i < COCONUT_WRITE_MAX; i += 64)
		((char *)HEAP)[i] = '\n';
	if (coconut_serial_write((void *)HEAP, COCONUT_WRITE_MAX) != COCONUT_WRITE_MAX)
		return 1;
	fd = coconut_fs_open("/big", 4);
	if (coconut_fs_stat((uint64_t)fd) < (int64_t)(pages * COCONUT_PAGE_SIZE) ||
	    coconut_fs_read((uint64_t)fd, (void *)HEAP, pages * COCONUT_PAGE_SIZE) != (int64_t)(pages * COCONUT_PAGE_SIZE) ||
	    coconut_fs_map((uint64_t)fd, FAR) < 0 || coconut_fs_close((uint64_t)fd))
		return 1;
	if (coconut_munmap(HEAP, pages) || coconut_mmap(HEAP, pages))
		return 1;
	child = coconut_spawn("/t/latency", 10, "s", 1);
	if (coconut_wait((uint64_t)child))
		return 1;
	child = coconut_spawn("/t/latency", 10, "s", 1);
	coconut_kill((uint64_t)child);
	coconut_wait((uint64_t)child);
	talk();
	coconut_gpu_pledge(PLEDGE_SERIAL);
	coconut_cap_inspect(0);
	return 0;
}
