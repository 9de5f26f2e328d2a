/*
 * peer: the other side of the benchmarks that take two shards. It does what bench orders.
 *
 * Read next: ../bench/main.c.
 */
#include "../bench.h"

/* Answers every request with a message of the same size until the order changes. Returns the new order. */
static int answer(char *message, int64_t len) {
	while (message[0] == ORDER_ANSWER) {
		len = coconut_channel_call(BENCH_CHANNEL, message, (size_t)len, message, COCONUT_MESSAGE_MAX);
		if (len < 0) return ORDER_END;
	}
	return message[0];
}

int main(void) {
	char message[COCONUT_MESSAGE_MAX];
	uint64_t gap[TICKS][2];

	for (;;) {
		int64_t len = coconut_channel_recv(BENCH_CHANNEL, message, sizeof(message));
		int order = len > 0 ? message[0] : ORDER_END;

		if (order == ORDER_ANSWER) order = answer(message, len);
		if (order == ORDER_YIELD)
			for (int i = 0; i < ROUNDS + 10; i++)
				coconut_yield();
		else if (order == ORDER_SPIN) {
			spin(gap);
			coconut_channel_send(BENCH_CHANNEL, gap, sizeof(gap));
		} else if (order == ORDER_END)
			return 0;
	}
}
