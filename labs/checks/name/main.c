/*
 * name: makes call 56 in every right and wrong way. args: what to try, and the name that the manifest gives this shard.
 *
 * Read next: labs/13-system-call/README.md.
 */
#include "../../../tests/shards/expect.h"

#define CALL_NAME 56
#define NAME(buf, max) CALL(CALL_NAME, buf, max)

static void names(const char *name, size_t len) {
	char buf[64];

	memset(buf, '~', sizeof(buf));
	CHECK_EQ(NAME(buf, sizeof(buf)), len);
	CHECK(!memcmp(buf, name, len));
	CHECK_EQ(buf[len], '~');
}

static void errors(const char *name, size_t len) {
	char buf[64];

	memset(buf, '~', sizeof(buf));
	REFUSED(INVAL, NAME(buf, 0));
	REFUSED(TOOSMALL, NAME(buf, 1));
	REFUSED(TOOSMALL, NAME(buf, len - 1));
	for (size_t i = 0; i < sizeof(buf); i++)
		CHECK_EQ(buf[i], '~');
	CHECK_EQ(NAME(buf, len), len);
	CHECK(!memcmp(buf, name, len));
}

static void pointers(void) {
	static const uint64_t wrong[] = {0, 8, 0x1000, 0x7FE000, 0x7FFFFF, 0x200000, 0x7FFFFFFFFF, 1UL << 47, 1UL << 63,
		0xFFFF800000200000, 0xFFFFFFFF80201000, ~0UL};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		REFUSED(FAULT, NAME(wrong[i], 64));
}

static void bounds(const char *name, size_t len) {
	uint64_t end = COCONUT_HEAP_BASE + PAGE;

	CHECK_EQ(coconut_mmap(COCONUT_HEAP_BASE, 1), 0);
	CHECK_EQ(NAME(end - len, 4096), len);
	CHECK(!memcmp((char *)end - len, name, len));
	CHECK_EQ(*BYTES(end - len - 1), 0);
	REFUSED(FAULT, NAME(end - len + 1, 4096));
}

static void pledge(void) {
	char buf[64];

	CHECK_EQ(coconut_gpu_pledge(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA), 0);
	REFUSED(PLEDGE, NAME(buf, sizeof(buf)));
}

int main(const char *args) {
	struct text what, name, value;

	CHECK(args_next(&args, &what, &value) && args_next(&args, &name, &value));
	if (text_equals(what, "names"))
		names(name.start, name.len);
	else if (text_equals(what, "errors"))
		errors(name.start, name.len);
	else if (text_equals(what, "pointers"))
		pointers();
	else if (text_equals(what, "bounds"))
		bounds(name.start, name.len);
	else
		pledge();
	return 0;
}
