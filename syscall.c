/*
 * syscall.c: the door between the rings: MSRs, dispatch, pledges, and the shortest calls.
 *
 * A call arrives from syscall_entry in boot.asm on the shard's own kernel stack, is looked up in the table
 * below and charged to the shard's usage. Handlers are named sys_... and live in the file that owns what
 * they change; each returns 0 or more, or passes its refusal through refuse(). There are two -1 that are no refusal:
 * WAIT's for a shard that was killed, and COCONUT_KILLED, which its shard does not live to see.
 *
 * Invariant: a handler runs only if its call exists and its shard has not pledged it away.
 *
 * Read next: supervisor.c. SDM Vol. 3A 5.8.8 describes SYSCALL and SYSRET.
 */
#include "kernel.h"

/* SDM Vol. 4 table 2-2. In STAR, SYSRET takes SS from the user base + 8 and CS from it + 16. */
enum { MSR_STAR = 0xC0000081, MSR_LSTAR = 0xC0000082, MSR_SFMASK = 0xC0000084 };
enum { STAR_KERNEL_SHIFT = 32, STAR_USER_SHIFT = 48 };

/* Flags that must not survive into the kernel: single steps, interrupts, backward strings, I/O privilege,
 * nested tasks, and AC, which would open user memory under SMAP. */
#define ENTRY_FLAGS_CLEARED (RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC)

/* How many times a shard whose buffer is full yields before it cuts another's line: to one and the same owner, and to
 * all owners together. */
enum { TURNS_TO_END_LINE = 8, TURNS_TO_END_LINES = 64 };

/* The calls that a pledge leaves: always, and for each bit. */
#define BIT(name) (1UL << SYS_##name)
#define CALLS_ALWAYS (BIT(EXIT) | BIT(YIELD) | BIT(GPU_PLEDGE) | BIT(GPU_UNVEIL) | BIT(MMAP) | BIT(MUNMAP))
#define CALLS_CHANNEL (BIT(CHANNEL_SEND) | BIT(CHANNEL_RECV) | BIT(CHANNEL_CALL))

void syscall_entry(void);

/* GPU_PLEDGE: gives up, for good, every call that `mask` does not name and that is not always left. */
static int64_t sys_pledge(uint64_t mask) {
	uint64_t left = CALLS_ALWAYS;

	if (mask & ~(uint64_t)(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA))
		return refuse(-COCONUT_E_INVAL, 1, mask, "unknown pledge bits");
	left |= mask & PLEDGE_SERIAL ? BIT(SERIAL_WRITE) : 0;
	left |= mask & PLEDGE_CHANNEL ? CALLS_CHANNEL : 0;
	left |= mask & PLEDGE_GPU_DMA ? BIT(GPU_DMA) : 0;
	if (!ABLATE(pledge)) current->allowed &= left;
	return 0;
}

/* Does what has come up during a call: others are to run first, or the shard has been killed. Returns `result`. */
static __attribute__((noinline)) int64_t attend(int64_t result) {
	preempt_point();
	if (current->killed) handle_sys_exit(COCONUT_KILLED);
	return result;
}

/* SERIAL_WRITE: writes `len` bytes to the console. Waits, in turns of its own, for room in front of the UART, and
 * behind another's open line; who is killed meanwhile writes no more. */
static int64_t sys_serial_write(uint64_t buf, uint64_t len) {
	char piece[CONSOLE_PIECE];
	int line = 0, turns = 0, all = 0; /* behind whose line it waits, for how many turns, and behind all lines */

	if (len == 0 || len > COCONUT_WRITE_MAX)
		return refuse(-COCONUT_E_INVAL, 2, len, "the length is not 1 to 4,096 bytes");
	if (!user_readable(buf, len)) return refuse(-COCONUT_E_FAULT, 1, buf, "the buffer is not wholly mapped");
	for (uint64_t done = 0, part; done < len; done += part) {
		int room = console_room(current->id);
		part = room > 0 ? min(len - done, sizeof(piece)) : 0;
		copy_from_user(piece, buf + done, part);
		console_write(current->id, piece, part);
		if (room > 0) line = all = 0;
		if (room < 0) { /* whoever is in the middle of a line gets a few turns to end it */
			turns = room == line ? turns + 1 : 1;
			line = room;
			if (turns > TURNS_TO_END_LINE || ++all > TURNS_TO_END_LINES) console_cut();
			else sys_yield();
		}
		if (preempt_point()) break; /* others may run while the UART is busy */
	}
	return 0;
}

/* TIME: returns milliseconds since boot. */
static int64_t sys_time(void) { return (int64_t)timer_ms(); }

/* Every call that exists. A handler takes as many of the five arguments as it needs, and by the calling convention does
 * not notice the others: so all can stand in one table, and all are called alike. */
#define CALLS(X)                                                                                                    \
	X(EXIT, sys_exit) X(SERIAL_WRITE, sys_serial_write)                                                         \
	X(CAP_GRANT, sys_cap_grant) X(CAP_REVOKE, sys_cap_revoke)                                                   \
	X(CAP_RESTRICT, sys_cap_restrict) X(CAP_INSPECT, sys_cap_inspect)                                           \
	X(CHANNEL_SEND, sys_channel_send) X(CHANNEL_RECV, sys_channel_recv) X(CHANNEL_CALL, sys_channel_call)       \
	X(FS_OPEN, sys_fs_open) X(FS_READ, sys_fs_read) X(FS_STAT, sys_fs_stat) X(FS_CLOSE, sys_fs_close)           \
	X(FS_MAP, sys_fs_map) X(MMAP, sys_mmap) X(MUNMAP, sys_munmap)                                               \
	X(GPU_DMA, sys_gpu_dma) X(GPU_PLEDGE, sys_pledge) X(GPU_UNVEIL, sys_gpu_unveil)                             \
	X(SPAWN, sys_spawn) X(WAIT, sys_wait) X(KILL, sys_kill) X(TIME, sys_time) X(YIELD, sys_yield)

typedef int64_t (*call_handler)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
typedef void (*any_handler)(void); /* which C lets one cast from and to without a warning */

#define HANDLER_OF(name, handler) [SYS_##name] = (call_handler)(any_handler)(handler),
#define NAME_OF(name, handler) [SYS_##name] = #name,
#define OR_BIT_OF(name, handler) | BIT(name)
static const call_handler handlers[SYS_LIMIT] = {CALLS(HANDLER_OF)}; /* calls through handlers: sys_* */
static const char *const names[SYS_LIMIT] = {CALLS(NAME_OF)};

/* Programs the MSRs of SYSCALL and SYSRET, and tells refuse.c and shard.c which calls there are. */
void syscall_init(void) {
	uint64_t user_base = SEL_USER_DATA - 8;

	call_names = names;
	calls_all = 0 CALLS(OR_BIT_OF);
	wrmsr(MSR_STAR, user_base << STAR_USER_SHIFT | (uint64_t)SEL_KERNEL_CODE << STAR_KERNEL_SHIFT);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
	wrmsr(MSR_SFMASK, ABLATE(sfmask) ? RFLAGS_IF : ENTRY_FLAGS_CLEARED);
}

/* Refuses a call that does not exist or that the shard has pledged not to make. */
static __attribute__((noinline)) int64_t deny(uint64_t number) {
	if (number >= SYS_LIMIT || !handlers[number])
		return refuse(-COCONUT_E_NOSYS, 0, number, "no call has the number in rax");
	return refuse(-COCONUT_E_PLEDGE, 0, number, "the shard has pledged not to");
}

/* Called by syscall_entry, which has set kernel_since: the arguments, then the number. Returns what the shard finds in
 * rax. */
int64_t syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t number) {
	struct shard *self = current;
	int64_t result;

	self->call = number;
	self->usage.syscalls++;
	if (ABLATE(numbers) || (number < SYS_LIMIT && self->allowed >> number & 1))
		result = handlers[number](a0, a1, a2, a3, a4);
	else
		result = deny(number);
	if (need_resched) result = attend(result);
	current->usage.cycles += rdtsc_low() - kernel_since;
	return result;
}

/* Called by syscall_entry when the return address would fault on its way back. */
void syscall_bad_return(const struct syscall_frame *frame) {
	tell("Shard %u (%s) killed: system call from a non-canonical address, return to 0x%lx refused\n", current->id,
	     current->profile->name, frame->rip);
	handle_sys_exit(COCONUT_KILLED);
}
