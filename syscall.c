/*
 * syscall.c: the door between the rings: MSRs, dispatch, pledges, refusals, and the checks of user buffers.
 *
 * A call arrives from syscall_entry in boot.asm on the shard's own kernel stack, is looked up in the table
 * below and charged to the shard's profile. Handlers are named sys_... and live in the file that owns what
 * they change; each returns 0 or more, or passes its refusal through refuse().
 *
 * Invariant: no handler touches user memory before user_readable or user_writable has said yes. Only the
 * shard itself can change its mappings, so what was checked stays true until the shard unmaps something, which
 * makes it forget.
 *
 * Read next: sched.c. SDM Vol. 3A 5.8.8 describes SYSCALL and SYSRET.
 */
#include "kernel.h"

#define MSR_STAR 0xC0000081
#define MSR_LSTAR 0xC0000082
#define MSR_SFMASK 0xC0000084
#define STAR_KERNEL_SHIFT 32
#define STAR_USER_SHIFT 48 /* SYSRET takes SS from this + 8 and CS from this + 16 */

/* Flags that must not survive into the kernel: single steps, interrupts, backward strings, I/O privilege,
 * nested tasks, and AC, which would open user memory under SMAP. */
#define ENTRY_FLAGS_CLEARED (RFLAGS_TF | RFLAGS_IF | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_NT | RFLAGS_AC)

#define CHECK_STEP 0x10000 /* bytes of a buffer that are checked between two looks at the interrupts */

#define PLEDGE_ALWAYS 0 /* a call that no pledge takes away */
#define PLEDGE_NEVER (1UL << 63) /* a call that every pledge takes away */
#define TURNS_TO_END_LINE 8 /* before a full buffer cuts another shard's line */
#define REFUSALS_SHOWN 3 /* lines a shard may cause; `verbose` shows all */

/* A handler takes as many of the five arguments as it needs, and by the calling convention does not notice the others:
 * so all can stand in one table, and all are called alike. */
typedef int64_t (*call_handler)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
typedef void (*any_handler)(void);

struct call {
	any_handler handler;
	const char *name;
	uint64_t pledge; /* the pledge bit that still allows it */
};

void syscall_entry(void);

/* GPU_PLEDGE: gives up every call that `mask` does not name, for good. */
static int64_t sys_pledge(uint64_t mask)
{
	if (mask & ~(uint64_t)(PLEDGE_SERIAL | PLEDGE_CHANNEL | PLEDGE_GPU_DMA))
		return refuse(COCONUT_E_INVAL, 1, mask, "unknown pledge bits");
	current->pledge &= mask;
	return 0;
}

static int64_t sys_serial_write(uint64_t buf, uint64_t len)
{
	char piece[64]; /* the console is fed in pieces, so that interrupts never wait for a long write */

	if (len == 0 || len > COCONUT_WRITE_MAX)
		return refuse(COCONUT_E_INVAL, 2, len, "the length is not 1 to 4,096 bytes");
	if (!user_readable(buf, len))
		return refuse(COCONUT_E_FAULT, 1, buf, "the buffer is not wholly mapped");
	for (uint64_t done = 0; done < len;) {
		uint64_t part = len - done < sizeof(piece) ? len - done : sizeof(piece);
		/* Whoever is in the middle of a line gets a few turns to end it. */
		for (int turn = 0; turn < TURNS_TO_END_LINE && console_would_cut(current->id, part); turn++)
			sched_yield();
		copy_from_user(piece, buf + done, part);
		console_write(current->id, piece, part);
		done += part;
		preempt_point();
	}
	return (int64_t)len;
}

static int64_t sys_time(void)
{
	if (PROVOKE)
		provoke_in_call();
	return (int64_t)timer_ms();
}

static int64_t sys_yield(void)
{
	sched_yield();
	return 0;
}

#define CALL(function, name, pledge) {(any_handler)(function), name, pledge}

static const struct call calls[SYS_LIMIT] = {
	[SYS_EXIT] = CALL(handle_sys_exit, "EXIT", PLEDGE_ALWAYS),
	[SYS_SERIAL_WRITE] = CALL(sys_serial_write, "SERIAL_WRITE", PLEDGE_SERIAL),
	[SYS_CAP_GRANT] = CALL(sys_cap_grant, "CAP_GRANT", PLEDGE_NEVER),
	[SYS_CAP_REVOKE] = CALL(sys_cap_revoke, "CAP_REVOKE", PLEDGE_NEVER),
	[SYS_CAP_RESTRICT] = CALL(sys_cap_restrict, "CAP_RESTRICT", PLEDGE_NEVER),
	[SYS_CAP_INSPECT] = CALL(sys_cap_inspect, "CAP_INSPECT", PLEDGE_NEVER),
	[SYS_CHANNEL_SEND] = CALL(sys_channel_send, "CHANNEL_SEND", PLEDGE_CHANNEL),
	[SYS_CHANNEL_RECV] = CALL(sys_channel_recv, "CHANNEL_RECV", PLEDGE_CHANNEL),
	[SYS_CHANNEL_CALL] = CALL(sys_channel_call, "CHANNEL_CALL", PLEDGE_CHANNEL),
	[SYS_FS_OPEN] = CALL(sys_fs_open, "FS_OPEN", PLEDGE_NEVER),
	[SYS_FS_READ] = CALL(sys_fs_read, "FS_READ", PLEDGE_NEVER),
	[SYS_FS_STAT] = CALL(sys_fs_stat, "FS_STAT", PLEDGE_NEVER),
	[SYS_FS_CLOSE] = CALL(sys_fs_close, "FS_CLOSE", PLEDGE_NEVER),
	[SYS_FS_MAP] = CALL(sys_fs_map, "FS_MAP", PLEDGE_NEVER),
	[SYS_GPU_DMA] = CALL(sys_gpu_dma, "GPU_DMA", PLEDGE_GPU_DMA),
	[SYS_GPU_PLEDGE] = CALL(sys_pledge, "GPU_PLEDGE", PLEDGE_ALWAYS),
	[SYS_GPU_UNVEIL] = CALL(sys_gpu_unveil, "GPU_UNVEIL", PLEDGE_ALWAYS),
	[SYS_MMAP] = CALL(sys_mmap, "MMAP", PLEDGE_ALWAYS),
	[SYS_MUNMAP] = CALL(sys_munmap, "MUNMAP", PLEDGE_ALWAYS),
	[SYS_SPAWN] = CALL(sys_spawn, "SPAWN", PLEDGE_NEVER),
	[SYS_WAIT] = CALL(sys_wait, "WAIT", PLEDGE_NEVER),
	[SYS_KILL] = CALL(sys_kill, "KILL", PLEDGE_NEVER),
	[SYS_TIME] = CALL(sys_time, "TIME", PLEDGE_NEVER),
	[SYS_YIELD] = CALL(sys_yield, "YIELD", PLEDGE_ALWAYS),
};

/* Programs the MSRs of SYSCALL and SYSRET. */
void syscall_init(void)
{
	uint64_t user_base = SEL_USER_DATA - 8;

	wrmsr(MSR_STAR, user_base << STAR_USER_SHIFT | (uint64_t)SEL_KERNEL_CODE << STAR_KERNEL_SHIFT);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
	wrmsr(MSR_SFMASK, ABLATE(sfmask) ? RFLAGS_IF : ENTRY_FLAGS_CLEARED);
}

/* Prints the refusal that the current shard has just met. */
static __attribute__((noinline)) void print_refusal(int error)
{
	static const char *const error_names[] = {
		"",         "E_NOSYS", "E_FAULT", "E_INVAL", "E_BADHANDLE", "E_TYPE",    "E_RIGHTS",
		"E_CLOSED", "E_BUSY",  "E_TOOSMALL", "E_NOMEM", "E_QUOTA",  "E_FULL",    "E_EXISTS",
		"E_NOENT",  "E_NOTFILE", "E_IO",  "E_NOMAP", "E_NODEV",     "E_PLEDGE",
		"E_VEILED"};
	const struct shard *self = current;
	const struct refusal *refusal = &self->refusal;
	const char *name = refusal->call < SYS_LIMIT ? calls[refusal->call].name : NULL;

	print("Shard %u (%s): %s refused: ", self->id, self->profile->name, name ? name : "unknown call");
	if (refusal->argument)
		print("argument %d = 0x%lx, ", refusal->argument, refusal->value);
	print("%s (%s)\n", refusal->reason, error_names[error]);
}

/* Remembers and, for the first few of a shard, prints why a call of the current shard is refused. `argument`
 * counts from 1; 0 when no single argument is to blame. Returns -error. */
int64_t refuse(int error, int argument, uint64_t value, const char *reason)
{
	struct shard *self = current;

	self->refusal = (struct refusal){self->call, argument, value, reason};
	if (self->refusals++ < REFUSALS_SHOWN || verbose)
		print_refusal(error);
	return -error;
}

/* Runs the handler of call `number`, or says why not. */
static int64_t invoke(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t number)
{
	if (number >= SYS_LIMIT || !calls[number].handler)
		return refuse(COCONUT_E_NOSYS, 0, number, "no call has the number in rax");
	if (~current->pledge & calls[number].pledge && !ABLATE(pledge))
		return refuse(COCONUT_E_PLEDGE, 0, number, "the shard has pledged not to");
	return ((call_handler)calls[number].handler)(a0, a1, a2, a3, a4);
}

/* Does what has come up during a call: others are to run first, or the shard has been killed. */
static __attribute__((noinline)) void attend(void)
{
	preempt_point();
	if (current->killed)
		handle_sys_exit(COCONUT_KILLED);
}

/* Called by syscall_entry: the arguments, then the number. Returns what the shard finds in rax. */
int64_t syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t number)
{
	struct shard *self = current;

	self->kernel_since = (uint32_t)rdtsc();
	self->call = number;
	self->profile->syscalls++;
	int64_t result = invoke(a0, a1, a2, a3, a4, number);
	if (need_resched)
		attend();
	self->profile->cycles += (uint32_t)rdtsc() - self->kernel_since;
	return result;
}

/* Called by syscall_entry when the return address would fault on its way back. */
void syscall_bad_return(const struct syscall_frame *frame)
{
	print("Shard %u (%s) killed: system call from a non-canonical address, return to 0x%lx refused\n", current->id,
	      current->profile->name, frame->rip);
	handle_sys_exit(COCONUT_KILLED);
}

/* ---- User memory ---- */

/* True when [address, address + len) lies in the half of the address space that belongs to shards. */
bool user_range(uint64_t address, uint64_t len)
{
	return address < USER_LIMIT && len <= USER_LIMIT - address;
}

/* True when every page of the range is mapped with all the given PTE bits. Remembers the last page in `*seen`. */
static __attribute__((noinline)) bool user_mapped(uint64_t address, uint64_t len, uint64_t bits, uint64_t *seen)
{
	uint64_t page = address & ~PAGE_MASK;

	if (!user_range(address, len))
		return false;
	for (; page < address + len; page += PAGE_SIZE) {
		if ((space_lookup(current, page) & bits) != bits)
			return false;
		if (page % CHECK_STEP == 0)
			preempt_point();
	}
	*seen = page - PAGE_SIZE;
	return true;
}

/* True when the range lies in the one page that is known to be good already. */
static inline bool in_page(uint64_t page, uint64_t address, uint64_t len)
{
	return page == (address & ~PAGE_MASK) && len <= PAGE_SIZE - (address & PAGE_MASK);
}

/* True when the current shard may read all `len` bytes at `address`. */
bool user_readable(uint64_t address, uint64_t len)
{
	return ABLATE(user_check) || in_page(current->readable_page, address, len) ||
	       user_mapped(address, len, PTE_PRESENT | PTE_USER, &current->readable_page);
}

/* True when the current shard may write all `len` bytes at `address`. */
bool user_writable(uint64_t address, uint64_t len)
{
	return ABLATE(user_check) || in_page(current->writable_page, address, len) ||
	       user_mapped(address, len, PTE_PRESENT | PTE_USER | PTE_WRITE, &current->writable_page);
}

/* Copies from the current shard; user_readable has said yes. */
void copy_from_user(void *to, uint64_t from, uint64_t len)
{
	user_access_begin();
	memcpy(to, (const void *)from, len);
	user_access_end();
}

/* Copies to the current shard; user_writable has said yes. */
void copy_to_user(uint64_t to, const void *from, uint64_t len)
{
	user_access_begin();
	memcpy((void *)to, from, len);
	user_access_end();
}

/* Clears memory of the current shard; user_writable has said yes. */
void zero_user(uint64_t to, uint64_t len)
{
	user_access_begin();
	memset((void *)to, 0, len);
	user_access_end();
}
