/*
 * canary: a shard that wants nothing but to live. With no args it answers each message on its channel with its
 * complement, and looks at all its registers around each call; it ends with 0 when its partner has ended. With the args
 * `spin` it spins and yields for ever, with a number as its args so many rounds; it ends with 1 when a register or its
 * page of memory has changed.
 *
 * Read next: ../warden/main.c.
 */
#include "../guard.h"

#define WATCHED 0x300000
#define SEED 0x1F83D9ABFB41BD6B

static int page_unharmed(void) {
	for (uint64_t i = 0; i < PAGE / 8; i++)
		if (((uint64_t *)WATCHED)[i] != SEED + i) return 0;
	return 1;
}

static void spin(uint64_t rounds) {
	uint64_t harm = 0;

	for (uint64_t seed = SEED + rounds * 977; rounds--; seed += 12345) {
		harm |= guarded_spin(seed & ~(1UL << 63), 10000);
		guarded_call(seed & ~(1UL << 63), &harm, SYS_YIELD, 0, 0, 0, 0, 0);
		if (harm || !page_unharmed()) coconut_exit(1);
	}
}

int main(const char *args) {
	uint8_t message[COCONUT_MESSAGE_MAX];
	uint64_t harm = 0, rounds;
	int64_t len;

	CHECK_EQ(coconut_mmap(WATCHED, 1), 0);
	for (uint64_t i = 0; i < PAGE / 8; i++)
		((uint64_t *)WATCHED)[i] = SEED + i;
	if (args) {
		spin(text_to_u64((struct text){args, strlen(args)}, &rounds) ? rounds : UINT64_MAX);
		return 0;
	}
	len = coconut_channel_recv(0, message, sizeof(message));
	while (len > 0) {
		for (int64_t i = 0; i < len; i++)
			message[i] = (uint8_t)~message[i];
		len = guarded_call(SEED, &harm, SYS_CHANNEL_CALL, 0, (uint64_t)message, (uint64_t)len, (uint64_t)message,
				   sizeof(message));
		CHECK(!harm && page_unharmed());
	}
	REFUSED(CLOSED, len);
	return 0;
}
