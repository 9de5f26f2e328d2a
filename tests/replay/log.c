/*
 * log.c: writes down what calls do, in the order in which it happens: the guest's part of `./test.sh spec`.
 *
 * Only a build with `--define SPEC_LOG=CALLS` contains this file, and no other file knows of it: as in
 * scripts/trace/trace.c, the linker leads calls of the functions that are wrapped here, from one file of the
 * supervisor to another, to __wrap_NAME. The run ends when that many calls have begun, the log is full, or nothing
 * happens any more. The log lies in frames of the supervisor; the test keeps the machine's memory in a file and reads
 * it there.
 *
 * Read next: replay.c.
 */
#include "../../kernel.h"
#include "log.h"

#define EVENTS_PER_CALL 12 /* more than there are, on average */
#define IDLE_TICKS 2000    /* without an event: the search for deadlocks has been there several times */
#define LOG_PAGES (SPEC_LOG * EVENTS_PER_CALL / LOG_PER_PAGE + 1)

struct log_head spec_log;

static struct log_page *page; /* the one that is being filled */

_Static_assert(LOG_SUPERVISOR == CONSOLE_SUPERVISOR, "the supervisor's thread has this number");
_Static_assert(LOG_PAGE == PAGE_SIZE, "a page of the log is a frame");

/* Ends the run: the log has all that was wanted, or all that will ever be. */
static void end_run(void) {
	quiet = false;
	console_flush_all();
	print("Halting.\n");
	debug_exit(DEBUG_EXIT_OK);
}

static void record(enum log_kind kind, uint64_t a, const uint64_t *v) {
	uint64_t number = spec_log.written % LOG_PER_PAGE;

	if (!spec_log.magic) return;
	page->event[number] = (struct log_event){.kind = (uint8_t)kind, .who = current->id, .a = (uint8_t)a,
		.v = {v[0], v[1], v[2], v[3], v[4], v[5]}};
	spec_log.written++;
	if (number + 1 < LOG_PER_PAGE) return;
	if (!page->next) end_run();
	page = phys_to_virt(page->next);
}

#define RECORD(kind, a, ...) record(LOG_##kind, a, (const uint64_t[6]){__VA_ARGS__})

/* A number that stands for the bytes (FNV-1a). */
static uint64_t content(const uint8_t *bytes, uint64_t len) {
	uint64_t number = 0xCBF29CE484222325;

	while (len--)
		number = (number ^ *bytes++) * 0x100000001B3;
	return number;
}

/* What the linker calls a function and its wrapper. */
#define WRAPPED(name) __typeof__(name) __real_##name, __wrap_##name

WRAPPED(paging_init);
WRAPPED(syscall_dispatch);
WRAPPED(refuse);
WRAPPED(copy_from_user);
WRAPPED(copy_to_user);
WRAPPED(context_switch);
WRAPPED(context_switch_fpu);
WRAPPED(sched_wake);
WRAPPED(sched_wake_all);
WRAPPED(sched_hand_over);
WRAPPED(sched_raise);
WRAPPED(sched_tick);
WRAPPED(sched_ready);
WRAPPED(sched_exit);
WRAPPED(channels_open);
WRAPPED(channels_close);
WRAPPED(channel_call_over);
WRAPPED(console_end);
WRAPPED(channel_cap_gone);
WRAPPED(spawn_cap_gone);
WRAPPED(cap_revoke_index);
WRAPPED(cap_give);
WRAPPED(shard_create);
WRAPPED(shard_free);
WRAPPED(fs_find);
WRAPPED(frame_alloc);
WRAPPED(frame_free);
WRAPPED(frame_free_clean);

/* As soon as frames can be reached for good, the log is made. */
void __wrap_paging_init(const struct bootinfo *info) {
	uint64_t *link = &spec_log.first;

	__real_paging_init(info);
	for (uint64_t i = 0; i < LOG_PAGES; i++) {
		if (__real_frame_alloc(NULL, link)) panic("no memory for the log: give the machine more memory");
		link = &((struct log_page *)phys_to_virt(*link))->next;
	}
	page = phys_to_virt(spec_log.first);
	spec_log.magic = LOG_MAGIC;
}

/* ---- Calls ---- */

int64_t __wrap_syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t number) {
	if (spec_log.calls == SPEC_LOG) end_run();
	spec_log.calls++;
	RECORD(BEGINS, current->id, number, a0, a1, a2, a3, a4);
	int64_t result = __real_syscall_dispatch(a0, a1, a2, a3, a4, number);
	RECORD(RETURNS, current->id, number, (uint64_t)result);
	return result;
}

int64_t __wrap_refuse(int error, int argument, uint64_t value, const char *reason) {
	if (!current->killed) RECORD(REFUSED, current->id, (uint64_t)-error); /* such a one only leaves its call */
	return __real_refuse(error, argument, value, reason);
}

/* ---- Messages: what a channel call copies from and to its shard is the message ---- */

void __wrap_copy_from_user(void *to, uint64_t from, uint64_t len) {
	__real_copy_from_user(to, from, len);
	if (current->call == SYS_CHANNEL_SEND || current->call == SYS_CHANNEL_CALL)
		RECORD(SENT, current->id, len, content(to, len));
}

void __wrap_copy_to_user(uint64_t to, const void *from, uint64_t len) {
	__real_copy_to_user(to, from, len);
	if (current->call != SYS_CHANNEL_RECV && current->call != SYS_CHANNEL_CALL) return;
	user_access_begin();
	uint64_t arrived = content((const uint8_t *)to, len);
	user_access_end();
	RECORD(TOOK, current->id, len, arrived);
}

/* ---- Switches ---- */

static void record_switch(const struct shard *from, const struct shard *to) {
	RECORD(SWITCHES, to->id, from->state == SHARD_BLOCKED, from->wait, from->wait_object);
}

static bool left_to_receive[MAX_SHARDS + 1]; /* who has left the CPU last to wait for a message */

void __wrap_context_switch(struct shard *from, struct shard *to) {
	left_to_receive[from->id] = false;
	record_switch(from, to);
	__real_context_switch(from, to);
}

/* The fast path of CALL copies from shard to shard. Its message is seen here: only that path ends a wait for a
 * message with a length, and it switches at once. */
void __wrap_context_switch_fpu(struct shard *from, struct shard *to) {
	bool receives = from->state == SHARD_BLOCKED && from->wait == WAIT_RECV;

	left_to_receive[from->id] = receives;
	if (receives && left_to_receive[to->id] && to->wait == WAIT_RECV && to->wait_result > 0)
		RECORD(SENT_FAST, to->id, (uint64_t)to->wait_result, content(to->known.receive_at, (uint64_t)to->wait_result));
	record_switch(from, to);
	__real_context_switch_fpu(from, to);
}

void __wrap_sched_wake(struct shard *shard, int64_t result) {
	RECORD(WAKES, shard->id, (uint64_t)result);
	__real_sched_wake(shard, result);
}

void __wrap_sched_hand_over(struct shard *shard, int64_t result) {
	RECORD(WAKES, shard->id, (uint64_t)result);
	__real_sched_hand_over(shard, result);
}

/* Ends the run where all sleep for good, as they may in a kernel that is not as it should be. */
void __wrap_sched_tick(void) {
	static uint64_t seen, ticks;

	ticks = spec_log.written == seen ? ticks + 1 : 0;
	seen = spec_log.written;
	if (ticks == IDLE_TICKS && seen) end_run();
	__real_sched_tick();
}

/* ---- Channels ---- */

/* By `current`: lists that it has woken since it began to close a shard's ends, and whose ends these are. */
static int closing[MAX_SHARDS + 1];
static const struct shard *closes[MAX_SHARDS + 1];

void __wrap_channels_open(uint32_t home) {
	RECORD(OPENS, home);
	__real_channels_open(home);
}

/* Returns the n-th end of a shard. */
static uint32_t end_number(uint32_t home, uint32_t n) {
	uint32_t e = 0;

	for (;; e++)
		if (manifest.channel[e / 2].shard[e % 2] == home && n-- == 0) return e;
}

void __wrap_channels_close(struct shard *shard) {
	closing[current->id] = 0;
	closes[current->id] = shard;
	__real_channels_close(shard);
	closes[current->id] = NULL;
}

/* For each end that channels_close closes it wakes three lists. */
void __wrap_sched_wake_all(struct shard **list, int64_t result) {
	const struct shard *home = closes[current->id];

	if (home && closing[current->id]++ % 3 == 0)
		RECORD(CLOSES, end_number(home->id, (uint32_t)closing[current->id] / 3));
	for (const struct shard *shard = *list; shard; shard = shard->next)
		RECORD(WAKES, shard->id, (uint64_t)result);
	__real_sched_wake_all(list, result);
}

/* ---- Capabilities ---- */

int __wrap_cap_give(uint32_t id, uint8_t type, uint8_t rights, uint32_t resource) {
	int handle = __real_cap_give(id, type, rights, resource);

	if (handle >= 0) RECORD(GIVES, id, (uint64_t)handle, type, rights, resource);
	return handle;
}

void __wrap_cap_revoke_index(uint32_t index) {
	RECORD(REVOKES, index / COCONUT_CAP_SLOTS, index % COCONUT_CAP_SLOTS);
	__real_cap_revoke_index(index);
}

void __wrap_channel_cap_gone(struct shard *holder, const struct capability *cap) {
	RECORD(RELEASES, holder->id, (uint64_t)(cap - holder->caps));
	__real_channel_cap_gone(holder, cap);
}

void __wrap_spawn_cap_gone(struct shard *holder, const struct capability *cap) {
	RECORD(RELEASES, holder->id, (uint64_t)(cap - holder->caps));
	__real_spawn_cap_gone(holder, cap);
}

/* ---- Lives ---- */

/* Called by KILL for its victim. */
void __wrap_channel_call_over(const struct shard *shard) {
	RECORD(KILLS, shard->id);
	__real_channel_call_over(shard);
}

/* Called by a shard that begins to die. */
void __wrap_console_end(uint32_t writer) {
	RECORD(DIES, writer, current->exited, current->exit_code);
	__real_console_end(writer);
}

void __wrap_sched_raise(struct shard *shard, uint8_t priority) {
	if (priority < shard->priority) RECORD(RAISES, shard->id, priority);
	__real_sched_raise(shard, priority);
}

int __wrap_shard_create(uint32_t id, const struct manifest_shard *spec, const struct ext2_file *program,
	struct profile *profile, struct shard *parent) {
	RECORD(MAKES, id, parent ? parent->id : LOG_SUPERVISOR);
	int error = __real_shard_create(id, spec, program, profile, parent);
	if (error) RECORD(FAILS, id, (uint64_t)error);
	return error;
}

void __wrap_sched_ready(struct shard *shard) {
	RECORD(BORN, shard->id, shard->code_end);
	__real_sched_ready(shard);
}

void __wrap_sched_exit(void) {
	RECORD(ENDED, current->id);
	__real_sched_exit();
}

int64_t __wrap_shard_free(struct shard *shard) {
	RECORD(FREES, shard->id);
	return __real_shard_free(shard);
}

/* ---- What the machine answers ---- */

int __wrap_fs_find(const char *path, size_t len, struct ext2_file *file) {
	int error = __real_fs_find(path, len, file);

	RECORD(FOUND, current->id, (uint64_t)error);
	return error;
}

int __wrap_frame_alloc(struct shard *owner, uint64_t *phys) {
	int error = __real_frame_alloc(owner, phys);

	if (owner) RECORD(FRAME, owner->id, error ? (uint64_t)error : 1);
	return error;
}

void __wrap_frame_free(struct shard *owner, uint64_t phys) {
	if (owner) RECORD(FRAME, owner->id, -1UL);
	__real_frame_free(owner, phys);
}

void __wrap_frame_free_clean(struct shard *owner, uint64_t phys) {
	if (owner) RECORD(FRAME, owner->id, -1UL);
	__real_frame_free_clean(owner, phys);
}
