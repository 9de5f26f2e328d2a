/*
 * coconut.h: the system-call ABI of coconutOS, and the only header a shard needs.
 *
 * A shard is a flat binary that runs in ring 3. It enters the supervisor with the `syscall` instruction:
 *
 *     rax = call number      rdi, rsi, rdx, r10, r8 = arguments      rax = result
 *
 * The supervisor preserves every other register (XMM, x87 and MXCSR too) except rcx and r11, which the instruction
 * itself overwrites, and the selectors in ds, es, fs and gs, which may be 0 afterwards. A result of zero or more is
 * success; a negative result is -COCONUT_E_..., but for the -1 by which WAIT tells of a killed shard.
 *
 * Read next: shards/hello-c/main.c for a first shard, syscall.c for the other side of the door.
 */
#ifndef COCONUT_H
#define COCONUT_H

#include <stddef.h>
#include <stdint.h>

/* Call numbers. Gaps are numbers of the earlier implementation that are not in use. */
#define SYS_EXIT          0
#define SYS_SERIAL_WRITE  1
#define SYS_CAP_GRANT    11
#define SYS_CAP_REVOKE   12
#define SYS_CAP_RESTRICT 13
#define SYS_CAP_INSPECT  14
#define SYS_CHANNEL_SEND 21
#define SYS_CHANNEL_RECV 22
#define SYS_CHANNEL_CALL 23
#define SYS_FS_OPEN      30
#define SYS_FS_READ      31
#define SYS_FS_STAT      32
#define SYS_FS_CLOSE     33
#define SYS_GPU_DMA      40
#define SYS_GPU_PLEDGE   41
#define SYS_GPU_UNVEIL   42
#define SYS_MMAP         43
#define SYS_FS_MAP       50
#define SYS_TIME         51
#define SYS_SPAWN        52
#define SYS_WAIT         53
#define SYS_KILL         54
#define SYS_MUNMAP       55
#define SYS_YIELD        62
#define SYS_LIMIT        64 /* numbers at or above this one do not exist */

/* Errors, returned negated. */
#define COCONUT_E_NOSYS      1 /* no call has this number */
#define COCONUT_E_FAULT      2 /* a buffer is not wholly mapped, or not writable where it must be */
#define COCONUT_E_INVAL      3 /* an argument is out of its range */
#define COCONUT_E_BADHANDLE  4 /* the handle or descriptor names nothing */
#define COCONUT_E_TYPE       5 /* the capability is of another type */
#define COCONUT_E_RIGHTS     6 /* the capability lacks the right */
#define COCONUT_E_CLOSED     7 /* nobody is at the channel's other end, or has the partition: no more, or not yet */
#define COCONUT_E_BUSY       8 /* another holder of this end is waiting in a CALL */
#define COCONUT_E_TOOSMALL   9 /* the message is larger than the buffer; it stays queued */
#define COCONUT_E_NOMEM     10 /* the machine has no free frame */
#define COCONUT_E_QUOTA     11 /* the quota of frames is used up, or that of children */
#define COCONUT_E_FULL      12 /* a table (capabilities, descriptors, shards) has no free slot */
#define COCONUT_E_EXISTS    13 /* part of the range is mapped already; UNVEIL has been called before */
#define COCONUT_E_NOENT     14 /* no file has this path */
#define COCONUT_E_NOTFILE   15 /* the path names a directory or something else that is no regular file */
#define COCONUT_E_IO        16 /* the file system is damaged there, or a DMA transfer was refused */
#define COCONUT_E_NOMAP     17 /* the file cannot be mapped: blocks that are no pages, or holes; read it */
#define COCONUT_E_NODEV     18 /* there is no such device */
#define COCONUT_E_PLEDGE    19 /* the shard has pledged not to make this call */
#define COCONUT_E_VEILED    20 /* GPU memory that its owner has not unveiled */
#define COCONUT_E_NOEXEC    21 /* the file is no program: empty, an ELF file, or too large for a shard */

/* The code that the kernel keeps for a shard that did not exit by itself: it was killed by an exception or by KILL. A
 * shard may exit with the same number, and counts as one that exited: the kernel tells the two apart by a flag, WAIT by
 * its result. */
#define COCONUT_KILLED       0xFFFFFFFFFFFFFFFF

/* Sizes that the calls check. */
#define COCONUT_PAGE_SIZE      4096
#define COCONUT_WRITE_MAX      4096 /* bytes of one SERIAL_WRITE */
#define COCONUT_MESSAGE_MAX     256 /* bytes of one message */
#define COCONUT_PATH_MAX        255 /* bytes of a path */
#define COCONUT_ARGS_MAX       1024 /* bytes of an args string, its final NUL included */
#define COCONUT_CAP_SLOTS        16 /* capabilities of one shard */
#define COCONUT_FILES             8 /* descriptors of one shard */

/* Capability types and rights; INSPECT returns type << 48 | resource << 16 | rights. */
#define CAP_CHANNEL 1
#define CAP_SHARD   2
#define CAP_MEMORY  3
#define CAP_GPU_DMA 4
#define CAP_RIGHT_SEND   1
#define CAP_RIGHT_RECV   2
#define CAP_RIGHT_GRANT  4
#define CAP_RIGHT_CREATE 8  /* on the SHARD capability that spawn= of the manifest gives, or a granted copy: SPAWN */
#define CAP_RIGHT_WAIT   16 /* on the SHARD capability that SPAWN returned */
#define CAP_RIGHT_KILL   32 /* likewise */

/* Pledge bits: what a shard that has pledged may still do, beside what is always allowed. */
#define PLEDGE_SERIAL  1
#define PLEDGE_CHANNEL 2
#define PLEDGE_GPU_DMA 4

/* The address space of a shard. */
#define COCONUT_CODE_BASE  0x1000
#define COCONUT_HEAP_BASE  0x100000   /* small heap: up to the guard page below the stack */
#define COCONUT_STACK_TOP  0x800000   /* one page, 0x7FF000..0x7FFFFF */
#define COCONUT_LARGE_BASE 0x40000000 /* large heap and file mappings */

/* Configuration page of a GPU driver shard. */
#define GPU_CONFIG_VADDR 0x4000
#define GPU_CONFIG_MAGIC 0x47504346
struct gpu_config {
	uint32_t magic;      /* @0x00 GPU_CONFIG_MAGIC */
	uint32_t partition;  /* @0x04 */
	uint64_t vram_size;  /* @0x08 bytes */
	uint32_t cu_count;   /* @0x10 compute units */
	uint32_t reserved;   /* @0x14 */
	uint64_t vram_vaddr; /* @0x18 */
	uint64_t mmio_vaddr; /* @0x20 */
};

/* Configuration page of a pipeline stage. */
#define PIPELINE_CONFIG_VADDR 0x10000
#define PIPELINE_CONFIG_MAGIC 0x50495045
struct pipeline_config {
	uint32_t magic;       /* @0x00 PIPELINE_CONFIG_MAGIC */
	uint32_t stage;       /* @0x04 this stage, from 0 */
	uint32_t stages;      /* @0x08 */
	uint32_t channel;     /* @0x0C handle of the channel to the other stage */
	uint32_t first_layer; /* @0x10 */
	uint32_t end_layer;   /* @0x14 the layer after the last one */
};

#ifndef COCONUT_NO_CALLS /* the supervisor includes this header for the numbers only */

/* Enters the supervisor with a call number and its arguments, each behind the letter of its register: "D" is rdi, "S"
 * is rsi, "d" is rdx. Its value is the result. Programs use the typed functions below. */
#define COCONUT_SYSCALL(number, ...) ({                                                                               \
	int64_t result;                                                                                               \
	__asm__ volatile("syscall" : "=a"(result) : "a"((uint64_t)(number)), ##__VA_ARGS__ : "rcx", "r11", "memory"); \
	result;                                                                                                       \
})

/* Defines the function `name` with these parameters, which is one system call: number and arguments as above. */
#define COCONUT_CALL(name, parameters, ...) \
	static inline int64_t name parameters { return COCONUT_SYSCALL(__VA_ARGS__); }

/* Any call with five arguments. No letter stands for r10 and r8, so variables are bound to them. */
static inline int64_t coconut_syscall(uint64_t number, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
	uint64_t a4) {
	register uint64_t r10 __asm__("r10") = a3;
	register uint64_t r8 __asm__("r8") = a4;
	return COCONUT_SYSCALL(number, "D"(a0), "S"(a1), "d"(a2), "r"(r10), "r"(r8));
}

/* Ends this shard with an exit code. Does not return. */
static inline void __attribute__((noreturn)) coconut_exit(uint64_t code) {
	COCONUT_SYSCALL(SYS_EXIT, "D"(code));
	__builtin_unreachable();
}

/* Writes 1 to COCONUT_WRITE_MAX bytes to the console. Returns 0. Text in UTF-8 passes; control characters other than
 * newline and tab, malformed bytes, what turns the direction of writing and what cannot be seen are replaced. */
COCONUT_CALL(coconut_serial_write, (const void *buf, size_t len), SYS_SERIAL_WRITE, "D"(buf), "S"(len))

/* Gives the shard at the other end of `channel` a copy of capability `handle` with a subset of its rights.
 * Needs GRANT on `handle` and SEND on `channel`. Returns the handle that the copy has there. */
COCONUT_CALL(coconut_cap_grant, (uint64_t handle, uint64_t channel, uint64_t rights),
	SYS_CAP_GRANT, "D"(handle), "S"(channel), "d"(rights))

/* Gives up capability `handle` and takes back every copy that was granted from it. Returns 0. */
COCONUT_CALL(coconut_cap_revoke, (uint64_t handle), SYS_CAP_REVOKE, "D"(handle))

/* Reduces the rights of `handle` to its intersection with `rights`, for good. Returns 0. */
COCONUT_CALL(coconut_cap_restrict, (uint64_t handle, uint64_t rights), SYS_CAP_RESTRICT, "D"(handle), "S"(rights))

/* Returns type << 48 | resource << 16 | rights of `handle`. */
COCONUT_CALL(coconut_cap_inspect, (uint64_t handle), SYS_CAP_INSPECT, "D"(handle))

/* Messages and the end of a shard. What a shard has sent stays to be received, in order, when it has ended and when it
 * has started again. What was sent to it and not received is gone: its next life finds an empty queue. While its end is
 * closed, SEND and CALL to it fail with E_CLOSED, and RECV does once nothing of what it sent is left; who waits at that
 * moment is woken with the same error. With the next life the channel is open again by the same handles; nothing marks
 * in the queue where one life's messages end and the next one's begin. Messages to a shard that has yet to start wait
 * for it. */

/* Queues a message of 1 to COCONUT_MESSAGE_MAX bytes; waits while the queue is full. Returns 0. */
COCONUT_CALL(coconut_channel_send, (uint64_t handle, const void *buf, size_t len),
	SYS_CHANNEL_SEND, "D"(handle), "S"(buf), "d"(len))

/* Waits for a message and takes it. Returns its length in bytes. E_CLOSED: the other end is or was closed, and nothing
 * that was sent before is left. */
COCONUT_CALL(coconut_channel_recv, (uint64_t handle, void *buf, size_t max),
	SYS_CHANNEL_RECV, "D"(handle), "S"(buf), "d"(max))

/* Sends, then waits at the same end for the answer: a client's request, or a server's reply followed by
 * its wait for the next request. The receiver goes on with what is left of the caller's turn. Returns the length of the
 * answer in bytes. An error does not say that nothing was sent: E_TOOSMALL, E_CLOSED and E_BADHANDLE may come after
 * that. */
static inline int64_t coconut_channel_call(uint64_t handle, const void *buf, size_t len, void *reply, size_t max) {
	return coconut_syscall(SYS_CHANNEL_CALL, handle, (uint64_t)buf, len, (uint64_t)reply, max);
}

/* Opens the regular file at an absolute path of `len` bytes (no NUL needed). Returns a descriptor. */
COCONUT_CALL(coconut_fs_open, (const char *path, size_t len), SYS_FS_OPEN, "D"(path), "S"(len))

/* Reads up to `max` bytes and advances. Returns the number of bytes, 0 at the end of the file. A read ends early before
 * a block that is damaged, or for which the buffer is not mapped and writable: the next call returns E_IO or E_FAULT
 * and reads nothing. */
COCONUT_CALL(coconut_fs_read, (uint64_t fd, void *buf, size_t max), SYS_FS_READ, "D"(fd), "S"(buf), "d"(max))

/* Returns the size of the open file in bytes. */
COCONUT_CALL(coconut_fs_stat, (uint64_t fd), SYS_FS_STAT, "D"(fd))

/* Closes the descriptor. Returns 0. */
COCONUT_CALL(coconut_fs_close, (uint64_t fd), SYS_FS_CLOSE, "D"(fd))

/* Maps the whole file read-only at a page-aligned address at or above COCONUT_LARGE_BASE, without copying.
 * Returns the size of the file in bytes. The descriptor may be closed afterwards. */
COCONUT_CALL(coconut_fs_map, (uint64_t fd, uint64_t address), SYS_FS_MAP, "D"(fd), "S"(address))

/* Maps `pages` zeroed pages, readable and writable, at a page-aligned address. Returns 0. */
COCONUT_CALL(coconut_mmap, (uint64_t address, uint64_t pages), SYS_MMAP, "D"(address), "S"(pages))

/* Unmaps `pages` pages of the heap or of a file mapping. Returns 0. */
COCONUT_CALL(coconut_munmap, (uint64_t address, uint64_t pages), SYS_MUNMAP, "D"(address), "S"(pages))

/* Returns milliseconds since boot. Coarse on purpose: a fine clock is a side channel. It counts on while shards wait;
 * but where the machine's ACPI timer has 24 bits, and the host stops the machine for longer than 4.687 s, whole turns
 * of that timer, 4.687 s each, go unseen and are missing. */
COCONUT_CALL(coconut_time, (void), SYS_TIME)

/* Promises to make from now on only the calls of the PLEDGE_ bits in `mask`. Promises cannot be taken back. */
COCONUT_CALL(coconut_gpu_pledge, (uint64_t mask), SYS_GPU_PLEDGE, "D"(mask))

/* Opens `size` bytes of this shard's partition, from `offset`, to the DMA of others; until then none of it is open to
 * them, and from then on nothing else. This shard itself may copy from all of its partition until then, and from the
 * range alone afterwards. Once. Returns 0. */
COCONUT_CALL(coconut_gpu_unveil, (uint64_t offset, uint64_t size), SYS_GPU_UNVEIL, "D"(offset), "S"(size))

/* Copies from this shard's VRAM at `source` to the partition that capability `target` names. Returns 0 when all is
 * there. E_CLOSED: nobody owns that partition, or its owner has ended; E_VEILED: it is not open there, or the source is
 * not. After E_CLOSED, E_BADHANDLE and E_IO part of it may have been copied. */
COCONUT_CALL(coconut_gpu_dma, (uint64_t target, uint64_t source, uint64_t destination_and_length),
	SYS_GPU_DMA, "D"(target), "S"(source), "d"(destination_and_length))

/* Starts the program at `path` as a shard of the caller's priority, whose frames count against the caller's quota
 * and which ends when the caller does. Needs a SHARD capability with the right CREATE. `args_len` counts no NUL
 * and may be 0. Returns the handle of a SHARD capability for the new shard. E_RIGHTS: no such capability; E_FULL: no
 * slot for the shard, or none for its capability; E_QUOTA: the caller has as many children as its line of the manifest
 * allows, or not the frames for one more; E_NOMEM: the machine has not; E_NOENT, E_NOTFILE, E_IO: there is no such
 * file, it is no regular one, or damaged; E_NOEXEC: it is no program.
 * The new shard has no channel and no capability, and as it has no channel, nobody can grant it one: what it is to know
 * stands in its args and in files, and its answer is its exit code. */
static inline int64_t coconut_spawn(const char *path, size_t path_len, const char *args, size_t args_len) {
	return coconut_syscall(SYS_SPAWN, (uint64_t)path, path_len, (uint64_t)args, args_len, 0);
}

/* Waits until the shard has ended, frees its slot and the capability. Returns the low 32 bits of the code that it gave
 * to EXIT, 0xFFFFFFFF for -1, or -1 when it was killed (no error of this call has that number). */
COCONUT_CALL(coconut_wait, (uint64_t handle), SYS_WAIT, "D"(handle))

/* Makes another shard end as killed, unless it is in its EXIT already, with all that it has spawned: their programs
 * execute no instruction any more. It ends at a priority at least as high as the caller's; WAIT tells when it has.
 * Returns 0, also when it has ended already. */
COCONUT_CALL(coconut_kill, (uint64_t handle), SYS_KILL, "D"(handle))

/* Lets other shards of the same priority, and more urgent ones, run first. Returns 0. */
COCONUT_CALL(coconut_yield, (void), SYS_YIELD)

static inline size_t coconut_strlen(const char *s) {
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

/* Writes a NUL-terminated string of at most COCONUT_WRITE_MAX bytes. Returns 0. Writing nothing is no error here. */
static inline int64_t coconut_puts(const char *s) {
	size_t len = coconut_strlen(s);
	return len ? coconut_serial_write(s, len) : 0;
}

/* Returns the pipeline configuration page. Reading it faults in a shard that has none. */
static inline const struct pipeline_config *coconut_pipeline_config(void) {
	const struct pipeline_config *config = (const struct pipeline_config *)PIPELINE_CONFIG_VADDR;
	return config->magic == PIPELINE_CONFIG_MAGIC ? config : NULL;
}

/* Returns the GPU configuration page. Reading it faults in a shard that has none. */
static inline const struct gpu_config *coconut_gpu_config(void) {
	const struct gpu_config *config = (const struct gpu_config *)GPU_CONFIG_VADDR;
	return config->magic == GPU_CONFIG_MAGIC ? config : NULL;
}

#endif /* COCONUT_NO_CALLS */
#endif /* COCONUT_H */
