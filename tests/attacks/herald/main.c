/*
 * herald: runs before any other shard of its manifest has been started, makes up a random word, says it on the console,
 * sends it to the warden (handle 0), and ends. So the word is known to the console and to the warden, and to nobody who
 * could have read it anywhere or said it first.
 *
 * Read next: ../warden/main.c, whose verdicts carry the word.
 */
#include "tests/shards/expect.h"

int main(void) {
	char word[17] = "";
	uint64_t number;
	uint8_t good;

	do
		__asm__ volatile("rdrand %0; setc %1" : "=r"(number), "=q"(good));
	while (!good);
	for (int i = 0; i < 16; i++)
		word[i] = "0123456789abcdef"[number >> 4 * i & 15];
	print("nonce %s\n", word);
	CHECK_EQ(coconut_channel_send(0, word, sizeof(word)), 0);
	return 0;
}
