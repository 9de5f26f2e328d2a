/*
 * latency: makes the longest calls there are, for tests/test_latency.py to measure how long each keeps interrupts off.
 * The args name the part of this shard in a scene, and how large the scene is: "calls=32". Which handle is what follows
 * from the order of the manifest's channels, which is written there.
 *
 * Read next: ../../test_latency.py.
 */
#include "../expect.h"

#define HEAP COCONUT_HEAP_BASE
#define FAR COCONUT_LARGE_BASE
#define PROGRAM "/t/latency"
#define COPIES (COCONUT_CAP_SLOTS / 2) /* of one capability, for one shard */
#define CONFIG ((const struct gpu_config *)GPU_CONFIG_VADDR)

static int64_t spawn(const char *args) { return coconut_spawn(PROGRAM, strlen(PROGRAM), args, strlen(args)); }

static void yield(uint64_t times) {
	while (times--)
		coconut_yield();
}

static void say(uint64_t handle, uint64_t word) { CHECK_EQ(coconut_channel_send(handle, &word, sizeof(word)), 0); }

static uint64_t hear(uint64_t handle) {
	uint64_t word;

	CHECK_EQ(coconut_channel_recv(handle, &word, sizeof(word)), sizeof(word));
	return word;
}

/* ---- calls: each call, with arguments as large as `pages` says ---- */

/* Fills the peer's queue, asks it, and ends it by closing. */
static void talk(void) {
	char message[COCONUT_MESSAGE_MAX];

	memset(message, 'm', sizeof(message));
	for (int i = 0; i < 6; i++)
		coconut_channel_send(0, message, sizeof(message));
	coconut_channel_call(0, message, sizeof(message), message, sizeof(message));
	coconut_cap_grant(0, 0, CAP_RIGHT_SEND);
	coconut_cap_restrict(0, CAP_RIGHT_SEND | CAP_RIGHT_RECV);
	coconut_cap_inspect(0);
	REFUSED(BADHANDLE, coconut_cap_inspect(99));
	coconut_cap_revoke(0);
}

static void peer(void) {
	char message[COCONUT_MESSAGE_MAX];

	for (int i = 0; i < 7; i++)
		coconut_channel_recv(0, message, sizeof(message));
	coconut_channel_send(0, message, sizeof(message));
	REFUSED(CLOSED, coconut_channel_recv(0, message, sizeof(message)));
}

static void calls(uint64_t pages) {
	uint64_t bytes = pages * PAGE, fd;

	coconut_time();
	coconut_yield();
	CHECK_EQ(coconut_mmap(HEAP, pages), 0);
	REFUSED(EXISTS, coconut_mmap(HEAP, pages));
	CHECK_EQ(coconut_mmap(FAR + bytes - PAGE, 1), 0); /* in the way of the next: all but one of its pages are taken back */
	REFUSED(EXISTS, coconut_mmap(FAR, pages));
	memset((void *)HEAP, 'x', COCONUT_WRITE_MAX);
	for (int i = 63; i < COCONUT_WRITE_MAX; i += 64)
		((char *)HEAP)[i] = '\n';
	CHECK_EQ(coconut_serial_write((void *)HEAP, COCONUT_WRITE_MAX), 0);
	fd = (uint64_t)coconut_fs_open("/big", 4);
	CHECK_EQ(coconut_fs_stat(fd), bytes);
	CHECK_EQ(coconut_fs_read(fd, (void *)HEAP, bytes), bytes);
	REFUSED(EXISTS, coconut_fs_map(fd, FAR));
	CHECK_EQ(coconut_munmap(FAR + bytes - PAGE, 1), 0);
	CHECK_EQ(coconut_fs_map(fd, FAR), bytes);
	CHECK_EQ(coconut_fs_close(fd), 0);
	CHECK_EQ(coconut_munmap(FAR, pages), 0);
	CHECK_EQ(coconut_munmap(HEAP, pages), 0);
	CHECK_EQ(coconut_mmap(HEAP, pages), 0);
	talk();
	coconut_gpu_pledge(PLEDGE_SERIAL);
	REFUSED(PLEDGE, coconut_cap_inspect(0));
}

/* ---- tree: every shard holds copies of one capability, and waits through one of them ---- */

/* Handle 0: the channel whose end all wait at; its other end is the bell's. Handle 1: to the first holder. */
static void tree(uint64_t shards) {
	char answer[COCONUT_MESSAGE_MAX];
	uint64_t copy = 0;

	for (int i = 0; i < COPIES; i++)
		copy = (uint64_t)coconut_cap_grant(0, 1, CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT);
	say(1, copy);
	hear(1); /* everybody has copies */
	yield(4 * shards);
	CHECK_EQ(coconut_channel_send(0, "once", 4), 0);
	yield(4 * shards);
	CHECK_EQ(coconut_channel_call(0, "ring", 4, answer, sizeof(answer)), 4);
	yield(8 * shards); /* the bell has died and is back, and all wait for it again */
	CHECK_EQ(coconut_cap_revoke(0), 0);
}

/* Waits through a copy until it is taken back, whatever else happens. */
static void wait_through(uint64_t copy) {
	char message[COCONUT_MESSAGE_MAX];

	while (coconut_channel_recv(copy, message, sizeof(message)) != -COCONUT_E_BADHANDLE)
		coconut_yield();
}

/* Handle 0: the holder before, handle 1: the next. */
static void holder(void) {
	uint64_t copy = hear(0), next = 0;

	for (int i = 0; i < COPIES; i++)
		next = (uint64_t)coconut_cap_grant(copy, 1, CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT);
	say(1, next);
	hear(1);
	say(0, 0);
	wait_through(copy);
}

static void last_holder(void) {
	uint64_t copy = hear(0);

	say(0, 0);
	wait_through(copy);
}

/* Wakes all who wait: by a message, by an answer, by its death. Comes back once. */
static void bell(void) {
	char message[COCONUT_MESSAGE_MAX];

	if (coconut_channel_recv(0, message, sizeof(message)) != 4) return;
	CHECK_EQ(coconut_channel_send(0, message, 1), 0);
	CHECK_EQ(coconut_channel_recv(0, message, sizeof(message)), 4);
	CHECK_EQ(coconut_channel_send(0, message, 4), 0);
	yield(100);
	__builtin_trap();
}

/* ---- full: the end of a shard that has everything ---- */

#define PEERS 12

/* Handles 0 to PEERS - 1: channels to the peers. Ends with all slots, descriptors, channels, children and waiters. */
static void full(uint64_t pages) {
	int64_t victim = spawn("sleep"), child;

	CHECK_EQ(victim, PEERS + 1);
	CHECK_EQ(spawn("sleep"), PEERS + 2);
	for (uint64_t i = 0; i < PEERS; i += 2)
		say(i, (uint64_t)coconut_cap_grant((uint64_t)victim, i, CAP_RIGHT_WAIT));
	CHECK_EQ(coconut_mmap(FAR, pages), 0);
	while (coconut_fs_open("/etc/coconut.conf", 17) >= 0)
		;
	while ((child = spawn("sleep")) >= 0)
		CHECK_EQ(coconut_cap_revoke((uint64_t)child), 0); /* it lives on, and its slot can hold the next */
	CHECK_EQ(child, -COCONUT_E_FULL);
	yield(10);
	CHECK_EQ(coconut_kill((uint64_t)victim), 0); /* for which half of the peers wait, and it stands in a long queue */
	coconut_wait((uint64_t)victim);
	coconut_serial_write("a line that nobody ends", 23);
}

/* Half of the peers wait for the end of a shard, and then for a message. */
static void waiter(void) {
	uint64_t word;
	int64_t got = coconut_wait(hear(0));

	CHECK(got == -1 || got == -COCONUT_E_BADHANDLE);
	REFUSED(CLOSED, coconut_channel_recv(0, &word, sizeof(word)));
}

/* The others wait for room. */
static void sender(void) {
	char message[COCONUT_MESSAGE_MAX] = "";
	int64_t got;

	do
		got = coconut_channel_send(0, message, sizeof(message));
	while (got == 0);
	CHECK_EQ(got, -COCONUT_E_CLOSED);
}

static void sleep_for_ever(void) {
	for (;;)
		coconut_yield();
}

/* ---- ring: all wait for each other, the one that is waited for by a chain of all others at last ---- */

static void ring(uint64_t handle) {
	char message[16];

	coconut_channel_recv(handle, message, sizeof(message));
}

static void ring_last(uint64_t milliseconds) {
	busy_wait((int64_t)milliseconds);
	ring(1);
}

/* ---- paths: files behind long paths through long directories ---- */

/* `at` is the address of the args, which go on with the path of a program, of at most 255 bytes. */
static void paths(const char *path) {
	char args[COCONUT_ARGS_MAX - 1], name[] = "/p/the-same-for-so-long-00";
	size_t len = strlen(path);
	int64_t fd, child;

	fd = coconut_fs_open(path, len);
	CHECK(fd >= 0 && coconut_fs_stat((uint64_t)fd) > 0);
	REFUSED(NOENT, coconut_fs_open(path, len - 1));
	memset(args, 'a', sizeof(args));
	child = coconut_spawn(path, len, args, sizeof(args));
	CHECK_EQ(coconut_wait((uint64_t)child), 0);
	for (int i = 0; i < 33; i++) { /* more programs than the profile tells apart */
		name[sizeof(name) - 3] = (char)('0' + i / 10);
		name[sizeof(name) - 2] = (char)('0' + i % 10);
		child = coconut_spawn(name, sizeof(name) - 1, args, sizeof(args));
		CHECK_EQ(coconut_wait((uint64_t)child), 0);
	}
}

/* ---- lines: many writers whose text waits for the end of another's line ---- */

static void open_line(uint64_t milliseconds) {
	coconut_serial_write("this line is open ", 18);
	busy_wait((int64_t)milliseconds);
	coconut_serial_write("and ends\n", 9);
	busy_wait((int64_t)milliseconds);
	coconut_serial_write("again ", 6);
	busy_wait((int64_t)milliseconds);
}

static void many_lines(uint64_t bytes) {
	char *text = (char *)HEAP;

	CHECK_EQ(coconut_mmap(HEAP, 1), 0);
	for (uint64_t i = 0; i < bytes; i++)
		text[i] = i % 50 == 49 ? '\n' : 'l';
	for (int i = 0; i < 3; i++) {
		yield(2);
		coconut_serial_write(text, bytes);
		busy_wait(40);
	}
}

/* ---- words: the longest that the supervisor says of a shard ---- */

static void stray(void) {
	REFUSED(BADHANDLE, coconut_channel_recv(~0UL, "", 1));
	coconut_serial_write("a line that nobody ends", 23);
	(void)*(volatile char *)PIPELINE_CONFIG_VADDR;
}

/* ---- gpu: handle 1 is the partition of the other, who waits at handle 0 ---- */

static void gpu(uint64_t bytes) {
	char message[16];

	CHECK_EQ(coconut_channel_recv(0, message, sizeof(message)), 1);
	CHECK_EQ(coconut_gpu_dma(1, 0, bytes), 0);
	CHECK_EQ(coconut_gpu_unveil(0, PAGE), 0);
	REFUSED(VEILED, coconut_gpu_dma(1, PAGE, bytes));
}

static void listener(void) {
	char message[16];

	/* it has a partition: the other one copies to it */
	if (coconut_gpu_unveil(0, 64 * PAGE) == 0) coconut_channel_send(0, "", 1);
	REFUSED(CLOSED, coconut_channel_recv(0, message, sizeof(message)));
}

/* ---- deaths: children that own so many pages are killed ---- */

static void deaths(uint64_t pages) {
	char args[] = "hold=000";

	for (uint64_t i = 1; i <= 3; i++) {
		uint64_t number = pages * i;
		for (int digit = 7; digit > 4; digit--, number /= 10)
			args[digit] = (char)('0' + number % 10);
		int64_t child = spawn(args);
		yield(60); /* it has its pages by then */
		CHECK_EQ(coconut_kill((uint64_t)child), 0);
		CHECK_EQ(coconut_wait((uint64_t)child), -1);
	}
}

static void hold(uint64_t pages) {
	CHECK_EQ(coconut_mmap(FAR, pages), 0);
	sleep_for_ever();
}

int main(const char *args) {
	static const struct {
		const char *name;
		void (*run)(uint64_t number);
		void (*run_alone)(void);
	} parts[] = {
		{"calls", calls, NULL}, {"peer", NULL, peer}, {"tree", tree, NULL}, {"holder", NULL, holder},
		{"last", NULL, last_holder}, {"bell", NULL, bell}, {"full", full, NULL}, {"waiter", NULL, waiter},
		{"sender", NULL, sender}, {"sleep", NULL, sleep_for_ever}, {"ring", ring, NULL}, {"ringlast", ring_last, NULL},
		{"open", open_line, NULL}, {"lines", many_lines, NULL}, {"gpu", gpu, NULL}, {"listener", NULL, listener},
		{"deaths", deaths, NULL}, {"hold", hold, NULL}, {"stray", NULL, stray},
	};
	struct text key, value;
	uint64_t number = 0;

	if (args[0] == 'a')
		return 0; /* a program that `paths` starts */
	if (args[0] == '/') {
		paths(args);
		return 0;
	}
	CHECK(args_next(&args, &key, &value));
	if (value.start) CHECK(text_to_u64(value, &number));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (!text_equals(key, parts[i].name)) continue;
		if (parts[i].run)
			parts[i].run(number);
		else
			parts[i].run_alone();
		return 0;
	}
	CHECK(!"a part of this name exists");
	return 1;
}
