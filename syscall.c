/*
 * syscall.c: the door between the rings: MSRs, dispatch, pledges, refusals, and the checks of user buffers.
 *
 * A call arrives from syscall_entry in boot.asm on the shard's own kernel stack, is looked up in the table
 * below and charged to the shard's profile. Handlers are named sys_... and live in the file that owns what
 * they change; each returns 0 or more, or passes its refusal through refuse(); WAIT alone has a -1 that is no refusal.
 *
 * Invariant: no handler touches user memory before user_readable or user_writable has said yes. Only the
 * shard itself can change its mappings, so what was checked stays true until the shard unmaps something, which
 * makes it forget.
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

#define CHECK_STEP 0x10000 /* bytes of a buffer that are checked between two looks at the interrupts */

#define TURNS_TO_END_LINE 8 /* before a full buffer cuts another shard's line */

/* The calls that a pledge leaves: always, and for each bit. */
#define BIT(name) (1UL << SYS_##name)
#define CALLS_ALWAYS (BIT(EXIT) | BIT(YIELD) | BIT(GPU_PLEDGE) | BIT(GPU_UNVEIL) | BIT(MMAP) | BIT(MUNMAP))
#define CALLS_CHANNEL (BIT(CHANNEL_SEND) | BIT(CHANNEL_RECV) | BIT(CHANNEL_CALL))

void syscall_entry(void);

/* GPU_PLEDGE: gives up, for good, every call that `mask` does not name and that is not always left. */
static int64_t sys_pledge(uint64_t mask) {
	uint64_t left = CALLS_ALWAYS;

	if (mask & ~(uint64_t)(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA))
		return refuse(COCONUT_E_INVAL, 1, mask, "unknown pledge bits");
	left |= mask & PLEDGE_SERIAL ? BIT(SERIAL_WRITE) : 0;
	left |= mask & PLEDGE_CHANNEL ? CALLS_CHANNEL : 0;
	left |= mask & PLEDGE_GPU_DMA ? BIT(GPU_DMA) : 0;
	if (!ABLATE(pledge)) current->allowed &= left;
	return 0;
}

/* SERIAL_WRITE: writes `len` bytes to the console. */
static int64_t sys_serial_write(uint64_t buf, uint64_t len) {
	char piece[SERIAL_FIFO];

	if (len == 0 || len > COCONUT_WRITE_MAX)
		return refuse(COCONUT_E_INVAL, 2, len, "the length is not 1 to 4,096 bytes");
	if (!user_readable(buf, len)) return refuse(COCONUT_E_FAULT, 1, buf, "the buffer is not wholly mapped");
	for (uint64_t done = 0, part; done < len; done += part) {
		int room, turns = 0;
		/* Others run while the UART is busy, and whoever is in the middle of a line gets a few turns to end it. */
		while ((room = console_room(current->id)) <= 0 && turns < TURNS_TO_END_LINE) {
			preempt_point();
			if (room < 0) sched_yield();
			turns += room < 0 && serial_room();
		}
		part = room > 0 ? (uint64_t)room : SERIAL_FIFO;
		if (part > len - done) part = len - done;
		copy_from_user(piece, buf + done, part);
		console_write(current->id, piece, part);
		preempt_point();
	}
	return 0;
}

/* TIME: returns milliseconds since boot. */
static int64_t sys_time(void) {
	return (int64_t)timer_ms();
}

/* YIELD: lets others of the same priority run first. */
static int64_t sys_yield(void) {
	sched_yield();
	return 0;
}

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
static const call_handler handlers[SYS_LIMIT] = {CALLS(HANDLER_OF)};
static const char *const call_names[SYS_LIMIT] = {CALLS(NAME_OF)};
const uint64_t calls_all = 0 CALLS(OR_BIT_OF);

/* Programs the MSRs of SYSCALL and SYSRET. */
void syscall_init(void) {
	uint64_t user_base = SEL_USER_DATA - 8;

	wrmsr(MSR_STAR, user_base << STAR_USER_SHIFT | (uint64_t)SEL_KERNEL_CODE << STAR_KERNEL_SHIFT);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
	wrmsr(MSR_SFMASK, ABLATE(sfmask) ? RFLAGS_IF : ENTRY_FLAGS_CLEARED);
}

/* Prints the refusal that the current shard has just met. Returns -error. */
static __attribute__((noinline)) int64_t print_refusal(int error) {
	static const char *const error_names[] = {
		"", "E_NOSYS", "E_FAULT", "E_INVAL", "E_BADHANDLE", "E_TYPE", "E_RIGHTS", "E_CLOSED", "E_BUSY", "E_TOOSMALL",
		"E_NOMEM", "E_QUOTA", "E_FULL", "E_EXISTS", "E_NOENT", "E_NOTFILE", "E_IO", "E_NOMAP", "E_NODEV", "E_PLEDGE",
		"E_VEILED", "E_NOEXEC"};
	struct shard *self = current;
	const struct refusal *refusal = &self->refusal;
	const char *name = refusal->call < SYS_LIMIT ? call_names[refusal->call] : NULL;

	print("Shard %u (%s): %s refused: ", self->id, self->profile->name, name ? name : "unknown call");
	if (refusal->argument) print("argument %d = 0x%lx, ", refusal->argument, refusal->value);
	print("%s (%s)\n", refusal->reason, error_names[error]);
	self->refusals_left--;
	return -error;
}

/* Remembers and, for the first few of a shard, prints why a call of the current shard is refused. `argument`
 * counts from 1; 0 when no single argument is to blame. Returns -error. */
int64_t refuse(int error, int argument, uint64_t value, const char *reason) {
	struct shard *self = current;

	self->refusal = (struct refusal){self->call, argument, value, reason};
	return self->refusals_left ? print_refusal(error) : -error;
}

/* Refuses a call that does not exist or that the shard has pledged not to make. */
static __attribute__((noinline)) int64_t deny(uint64_t number) {
	if (number >= SYS_LIMIT || !handlers[number])
		return refuse(COCONUT_E_NOSYS, 0, number, "no call has the number in rax");
	return refuse(COCONUT_E_PLEDGE, 0, number, "the shard has pledged not to");
}

/* Does what has come up during a call: others are to run first, or the shard has been killed. Returns `result`. */
static __attribute__((noinline)) int64_t attend(int64_t result) {
	preempt_point();
	if (current->killed) handle_sys_exit(COCONUT_KILLED);
	return result;
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
	current->usage.cycles += (uint32_t)rdtsc() - kernel_since;
	return result;
}

/* Called by syscall_entry when the return address would fault on its way back. */
void syscall_bad_return(const struct syscall_frame *frame) {
	print("Shard %u (%s) killed: system call from a non-canonical address, return to 0x%lx refused\n", current->id,
	      current->profile->name, frame->rip);
	handle_sys_exit(COCONUT_KILLED);
}

/* ---- User memory ---- */

/* Returns the entry of the last page of the range when every page of it is mapped with all the given bits, else 0. */
static __attribute__((noinline)) uint64_t user_mapped(uint64_t address, uint64_t len, uint64_t bits) {
	uint64_t entry = 0;

	if (!user_range(address, len)) return 0;
	for (uint64_t page = address & ~PAGE_MASK; page < address + len; page += PAGE_SIZE) {
		entry = space_lookup(current, page);
		if ((entry & bits) != bits) return 0;
		if (page % CHECK_STEP == 0) preempt_point();
	}
	return entry;
}

/* The rest of user_readable and of user_writable: looks the pages up, and remembers the last one. */
static __attribute__((noinline)) bool look_up_readable(uint64_t address, uint64_t len) {
	if (!user_mapped(address, len, PTE_PRESENT | PTE_USER)) return false;
	current->readable_page = (address + len - 1) & ~PAGE_MASK;
	return true;
}

static __attribute__((noinline)) bool look_up_writable(uint64_t address, uint64_t len) {
	uint64_t entry = user_mapped(address, len, PTE_PRESENT | PTE_USER | PTE_WRITE);

	if (entry && !(entry & PTE_BORROWED)) { /* the kernel may have no view of another page */
		current->writable_page = (address + len - 1) & ~PAGE_MASK;
		current->writable_view = phys_to_virt(entry & PTE_ADDRESS);
	}
	return entry;
}

/* True when the current shard may read all `len` bytes at `address`, at least one. */
bool user_readable(uint64_t address, uint64_t len) {
	return ABLATE(user_check) || in_page(current->readable_page, address, len) || look_up_readable(address, len);
}

/* True when the current shard may write all `len` bytes at `address`, at least one. */
bool user_writable(uint64_t address, uint64_t len) {
	return ABLATE(user_check) || in_page(current->writable_page, address, len) || look_up_writable(address, len);
}

/* Copies the path of a call, its first two arguments, with a NUL behind it. Returns 0 or the refusal. */
int64_t user_path(uint64_t path, uint64_t len, char *copy) {
	if (len == 0 || len > COCONUT_PATH_MAX)
		return refuse(COCONUT_E_INVAL, 2, len, "the length is not 1 to 255 bytes");
	if (!user_readable(path, len)) return refuse(COCONUT_E_FAULT, 1, path, "the path is not wholly mapped");
	copy_from_user(copy, path, len);
	copy[len] = 0;
	return 0;
}

/* Copies from the current shard; user_readable has said yes. */
void copy_from_user(void *to, uint64_t from, uint64_t len) {
	user_access_begin();
	copy(to, (const void *)from, len);
	user_access_end();
}

/* Copies to the current shard; user_writable has said yes. */
void copy_to_user(uint64_t to, const void *from, uint64_t len) {
	user_access_begin();
	copy((void *)to, from, len);
	user_access_end();
}
