/*
 * pointers: every call that takes a buffer but SPAWN, with every kind of buffer that is not wholly the shard's. What is
 * wrong for SPAWN stands in tests/attacks/calls.
 *
 * args "attacker" tries; args "peer" holds the other end of its channel: it sends one message, which every refused
 * receive must leave alone, and must get exactly one, the last.
 */
#include "../expect.h"

#define LOWER 0x200000UL /* a mapped page, a hole of one page, a mapped page, nothing */
#define FILE_AT 0x50000000UL
#define MESSAGE "the one message"

static const char path[] = "/big";

/* Addresses at which not even one byte may be read or written. */
static const uint64_t nowhere[] = {
	0, 1, 0xFFF,                             /* NULL and around */
	COCONUT_HEAP_BASE, LOWER - 1, LOWER + PAGE, LOWER + 3 * PAGE, /* holes */
	COCONUT_STACK_TOP - 2 * PAGE, COCONUT_STACK_TOP - PAGE - 1, COCONUT_STACK_TOP,
	0x200000000, 0x7FFFFFFFFF, 0x8000000000, 0x7FFFFFFFFFFF, /* far up in the lower half */
	0x800000000000, 0x123456789ABCDEF0, 0xFFFF7FFFFFFFFFFF,  /* not canonical */
	0xFFFF800000000000, 0xFFFF800000200000, 0xFFFF800000400000, 0xFFFF800000800000, /* HHDM */
	0xFFFFFFFF80000000, 0xFFFFFFFF80200000, 0xFFFFFFFF80201000, 0xFFFFFFFFA0003FF0, /* the image, a stack */
	0xFFFFFFFFC0000000, 0xFFFFFFFFFEE00000, 0xFFFFFFFFFFFFF000, 0xFFFFFFFFFFFFFFFF, /* devices, the end */
	0x8000000000000000,
};

/* Tries one buffer of `len` bytes that can be neither read nor written. */
static void both_refused(uint64_t address, uint64_t len, uint64_t fd) {
	char reply[COCONUT_MESSAGE_MAX];
	uint64_t good = LOWER;

	REFUSED(FAULT, CALL(SYS_SERIAL_WRITE, address, len));
	REFUSED(FAULT, CALL(SYS_CHANNEL_SEND, 0, address, len));
	REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, address, len, reply, sizeof(reply)));
	REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, good, 1, address, len));
	REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, address, len));
	REFUSED(FAULT, CALL(SYS_FS_OPEN, address, len < COCONUT_PATH_MAX ? len : COCONUT_PATH_MAX));
	REFUSED(FAULT, CALL(SYS_FS_READ, fd, address, len));
}

/* Tries memory that may be read but not written as a buffer to receive into. */
static void write_refused(uint64_t address, uint64_t fd) {
	REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, address, 1));
	REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, address, COCONUT_MESSAGE_MAX));
	REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, LOWER, 1, address, COCONUT_MESSAGE_MAX));
	REFUSED(FAULT, CALL(SYS_FS_READ, fd, address, 1));
}

/* Buffers that begin in mapped memory and leave it. */
static void crossings(uint64_t fd) {
	static const uint64_t ends[] = {LOWER + PAGE, LOWER + 3 * PAGE, COCONUT_STACK_TOP};

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		for (uint64_t inside = 1; inside < 256; inside += 17)
			both_refused(ends[i] - inside, inside + 1, fd);
	/* Both ends are mapped, the page between them is not. */
	REFUSED(FAULT, CALL(SYS_FS_READ, fd, LOWER + PAGE - 1, PAGE + 2));
	REFUSED(FAULT, CALL(SYS_SERIAL_WRITE, LOWER + 1, PAGE));
}

/* Lengths that no call accepts, with a good buffer, and lengths that lead round the end of the address space. */
static void lengths(uint64_t fd) {
	static const uint64_t huge[] = {1UL << 32, 1UL << 47, 1UL << 63, ~0UL, -LOWER, 1 - LOWER};

	REFUSED(INVAL, CALL(SYS_SERIAL_WRITE, LOWER, 0));
	REFUSED(INVAL, CALL(SYS_SERIAL_WRITE, LOWER, COCONUT_WRITE_MAX + 1));
	REFUSED(INVAL, CALL(SYS_CHANNEL_SEND, 0, LOWER, 0));
	REFUSED(INVAL, CALL(SYS_CHANNEL_SEND, 0, LOWER, COCONUT_MESSAGE_MAX + 1));
	REFUSED(INVAL, CALL(SYS_CHANNEL_RECV, 0, LOWER, 0));
	REFUSED(INVAL, CALL(SYS_CHANNEL_CALL, 0, LOWER, 0, LOWER, 1));
	REFUSED(INVAL, CALL(SYS_CHANNEL_CALL, 0, LOWER, COCONUT_MESSAGE_MAX + 1, LOWER, 1));
	REFUSED(INVAL, CALL(SYS_CHANNEL_CALL, 0, LOWER, 1, LOWER, 0));
	REFUSED(INVAL, CALL(SYS_FS_OPEN, path, 0));
	REFUSED(INVAL, CALL(SYS_FS_OPEN, LOWER, COCONUT_PATH_MAX + 1));
	REFUSED(INVAL, CALL(SYS_FS_READ, fd, LOWER, 0));
	for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		REFUSED(INVAL, CALL(SYS_SERIAL_WRITE, LOWER, huge[i]));
		REFUSED(INVAL, CALL(SYS_CHANNEL_SEND, 0, LOWER, huge[i]));
		REFUSED(INVAL, CALL(SYS_FS_OPEN, LOWER, huge[i]));
		if (huge[i] >= 1UL << 39) REFUSED(FAULT, CALL(SYS_FS_READ, fd, LOWER, huge[i])); /* the shard's half ends there */
	}
	/* A receive buffer may be called larger than any message, but not larger than the shard's half. */
	REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, LOWER, 1UL << 63));
	REFUSED(FAULT, CALL(SYS_CHANNEL_RECV, 0, LOWER, ~0UL));
	REFUSED(FAULT, CALL(SYS_CHANNEL_CALL, 0, LOWER, 1, LOWER, -LOWER));
}

static int attack(void) {
	char buf[COCONUT_MESSAGE_MAX];
	int64_t fd = coconut_fs_open(path, sizeof(path) - 1);

	CHECK(fd >= 0);
	CHECK_EQ(coconut_mmap(LOWER, 1), 0);
	CHECK_EQ(coconut_mmap(LOWER + 2 * PAGE, 1), 0);
	CHECK(coconut_fs_map((uint64_t)fd, FILE_AT) > 3 * PAGE);
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		both_refused(nowhere[i], 1, (uint64_t)fd);
		both_refused(nowhere[i], COCONUT_MESSAGE_MAX, (uint64_t)fd);
	}
	crossings((uint64_t)fd);
	lengths((uint64_t)fd);
	write_refused(COCONUT_CODE_BASE, (uint64_t)fd);
	write_refused((uint64_t)path, (uint64_t)fd);
	write_refused(FILE_AT, (uint64_t)fd);
	for (uint64_t i = 0; i < PAGE; i++)
		CHECK(BYTES(LOWER)[i] == 0 && BYTES(LOWER + 2 * PAGE)[i] == 0);
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), sizeof(MESSAGE));
	CHECK(same(buf, MESSAGE));
	CHECK_EQ(coconut_fs_read((uint64_t)fd, buf, 4), 4); /* the offset has not moved either */
	CHECK(!memcmp(buf, "0000", 4));
	/* A longer read ends before the first block that the buffer does not take, and says how far it has come. */
	CHECK_EQ(coconut_fs_read((uint64_t)fd, (void *)LOWER, 3 * PAGE), PAGE - 4);
	REFUSED(FAULT, coconut_fs_read((uint64_t)fd, (void *)(LOWER + PAGE - 4), 3 * PAGE));
	for (uint64_t i = 0; i < PAGE; i++)
		CHECK(BYTES(LOWER + 2 * PAGE)[i] == 0 && (i < PAGE - 4) == (BYTES(LOWER)[i] != 0));
	CHECK_EQ(coconut_fs_read((uint64_t)fd, buf, 8), 8);
	CHECK(!memcmp(buf, "00000512", 8));
	CHECK_EQ(coconut_channel_send(0, "end", 4), 0);
	return 0;
}

static int be_peer(void) {
	char buf[COCONUT_MESSAGE_MAX];

	CHECK_EQ(coconut_channel_send(0, MESSAGE, sizeof(MESSAGE)), 0);
	CHECK_EQ(coconut_channel_recv(0, buf, sizeof(buf)), 4);
	CHECK(same(buf, "end"));
	REFUSED(CLOSED, coconut_channel_recv(0, buf, sizeof(buf)));
	return 0;
}

int main(const char *args) { return same(args, "attacker") ? attack() : be_peer(); }
