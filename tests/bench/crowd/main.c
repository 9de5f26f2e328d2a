/*
 * crowd: equals of the pair that bench measures, for rtt8_2pairs and its kin. args: "ask" and "answer", the two sides
 * of a pair that makes round trips on handle 0; "yield" does nothing else.
 *
 * Read next: ../bench/main.c, bench_loaded.
 */
#include "../bench.h"

int main(const char *args) {
	char message[8] = {0};

	if (args[0] == 'y') {
		while (clock_now() < LOADED_UNTIL)
			coconut_yield();
		return 0;
	}
	if (args[1] == 'n') coconut_channel_recv(BENCH_CHANNEL, message, sizeof(message));
	while (clock_now() < LOADED_UNTIL)
		if (coconut_channel_call(BENCH_CHANNEL, message, sizeof(message), message, sizeof(message)) < 0) break;
	return 0;
}
