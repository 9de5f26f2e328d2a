/*
 * fpu: XMM0-15, MXCSR, the x87 registers (which MMX shares), its control and status words and its tag word survive
 * being preempted, yielding, and blocking in a CALL, while siblings load other patterns.
 *
 * args: "how rounds seed", how being s (spin), y (yield), c (CALL on handle 0), or e: echo what arrives on handle 0,
 * with patterns of its own around each call.
 */
#include "../expect.h"

#define LOADED 0x100000UL
#define STORED 0x100200UL
#define MESSAGE 0x100400UL
#define FXSAVE_USED 416 /* bytes that the processor defines (SDM Vol. 1 table 10-2) */
#define SPINS 150000

void step(const void *load, void *store, uint64_t how, uint64_t spins, void *message);

/* Makes a random state that can be loaded: every exception masked, everything else free. */
static void make_pattern(uint64_t *random) {
	uint8_t *image = (uint8_t *)LOADED;

	for (int i = 0; i < 512; i += 8)
		*(uint64_t *)(image + i) = random_next(random);
	*(uint16_t *)image = 0x037F ^ (random_next(random) & 0x0C00);                   /* FCW: rounding */
	*(uint16_t *)(image + 2) = (uint16_t)(random_next(random) & 0x7F3F & ~0x8080);  /* FSW: no pending exception */
	image[4] = (uint8_t)random_next(random);                                       /* FTW */
	*(uint16_t *)(image + 6) = 0;
	memset(image + 8, 0, 16);
	*(uint32_t *)(image + 24) = 0x1F80 | (random_next(random) & 0x603F);            /* MXCSR: rounding, flags */
	for (int i = 0; i < 8; i++)
		memset(image + 32 + 16 * i + 10, 0, 6);
}

static void check_pattern(void) {
	for (int i = 0; i < FXSAVE_USED; i++) {
		int defined = i < 5 || (i >= 24 && i < 28) || i >= 32;
		if (defined && BYTES(STORED)[i] != BYTES(LOADED)[i]) print("byte 0x%x of the FXSAVE image\n", i);
		CHECK(!defined || BYTES(STORED)[i] == BYTES(LOADED)[i]);
	}
}

int main(const char *args) {
	struct text word, value;
	uint64_t rounds = 0, seed = 0, how = 0;
	char kind = args[0];

	args_next(&args, &word, &value);
	CHECK(args_next(&args, &word, &value) && text_to_u64(word, &rounds));
	CHECK(args_next(&args, &word, &value) && text_to_u64(word, &seed) && seed);
	how = kind == 's' ? 0 : kind == 'y' ? 1 : 2;
	CHECK_EQ(coconut_mmap(0x100000, 1), 0);
	if (kind == 'e') CHECK_EQ(coconut_channel_recv(0, (void *)MESSAGE, 256), 8);
	for (uint64_t i = 0; i < rounds; i++) {
		make_pattern(&seed);
		*(uint64_t *)MESSAGE = i;
		step((void *)LOADED, (void *)STORED, how, SPINS, (void *)MESSAGE);
		check_pattern();
		if (kind == 'c') CHECK_EQ(*(uint64_t *)MESSAGE, i);
	}
	return 0;
}
