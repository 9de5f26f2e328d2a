/*
 * The shard of the tours. args: fault reads address 0; server answers one CALL on its channel; client makes it.
 *
 * Read next: ../../tours.py.
 */
#include "coconut.h"

int main(const char *args) {
	char buf[COCONUT_MESSAGE_MAX];

	if (args[0] == 'f') return *(volatile int *)0;
	if (args[0] == 's') { /* its buffer lies in two pages: so the message goes the long way, which the tour shows */
		char *message = (char *)COCONUT_HEAP_BASE + 4096 - sizeof(buf) / 2;

		if (coconut_mmap(COCONUT_HEAP_BASE, 2)) return 1;
		return coconut_channel_recv(0, message, sizeof(buf)) != 8 || coconut_channel_send(0, "answer", 6) != 0;
	}
	return coconut_channel_call(0, "question", 8, buf, sizeof(buf)) != 6;
}
