/*
 * structures.h: what the kernel remembers: of its stacks, of frames, capabilities, files and shards.
 *
 * The fields of a shard are grouped under the file that they belong to. tests/test_outlive.py has a row for each field
 * that is kept from one system call to the next.
 *
 * Read next: kernel.h.
 */
#ifndef STRUCTURES_H
#define STRUCTURES_H

#include "ext2.h"
#include "manifest.h"

#define MAX_SHARDS MANIFEST_SHARDS
#define MAX_CHANNELS MANIFEST_CHANNELS
#define PRIORITIES 4

/* The slots of kernel stacks: one for each shard, then those of the interrupts that need a stack they can trust
 * (IST_...: indices of the interrupt stack table, from 1, so that slot STACK_IST itself is nobody's), then the
 * supervisor's own. */
enum { STACK_IST = MAX_SHARDS, IST_DOUBLE_FAULT = 1, IST_NMI, IST_MACHINE_CHECK, IST_DEBUG, IST_LIMIT,
	STACK_SUPERVISOR = STACK_IST + IST_LIMIT, STACK_SLOTS };

/* What an exception or an interrupt leaves on the kernel stack (boot.asm, isr_common), lowest address first. Offsets
 * are hexadecimal. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8; /* 00 .. 38 */
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;    /* 40 .. 70 */
	uint64_t vector;                               /* 78 pushed by the stub */
	uint64_t error;                                /* 80 by the CPU, or 0 by the stub */
	uint64_t rip, cs, rflags, rsp, ss;             /* 88 .. a8 by the CPU */
};

/* What syscall_entry and what context_switch leave on the kernel stack, lowest address first. */
struct syscall_frame { uint64_t rdi, rsi, rdx, r8, r9, r10, rip, rflags, rsp; };
struct switch_frame { uint64_t r15, r14, r13, r12, rbp, rbx, rip; };

/* Frames of physical memory: a bit that is set if it is free, a bit that is set if it is clean, and a summary. */
struct frame_map {
	uint64_t *free, *clean; /* bit f: frame f may be handed out; it is known to contain zeros, if it is free */
	uint64_t *summary;      /* bit w set: free[w] is not zero */
	uint64_t frames;        /* frames covered, a multiple of 64 */
	uint64_t summary_words, free_count;
	uint64_t hint; /* no summary word below this one is non-zero */
};

/* One capability. The tree of grants is kept in indices: a copy is a child of what it was granted from. */
#define CAP_NONE 0xFFFF
struct capability {
	uint8_t type, rights; /* CAP_..., 0: the slot names nothing; CAP_RIGHT_... */
	bool granted;         /* put here by another shard */
	uint8_t revoked;      /* the type that it had, until its slot is free: nobody can use it any more; else 0 */
	uint16_t resource; /* by type: a channel end, a shard's slot, a partition of the GPU */
	uint16_t parent, child, sibling; /* indices into the table, or CAP_NONE */
	uint32_t serial;                 /* another one whenever the slot is filled anew */
};

/* The capabilities of all shards: slot h of shard s is entry s * COCONUT_CAP_SLOTS + h. */
struct cap_table {
	struct capability entry[MAX_SHARDS * COCONUT_CAP_SLOTS];
	uint32_t last_serial; /* it would come again after 2^32 capabilities */
};

struct open_file {
	bool used;
	uint64_t offset; /* of the next read, in bytes */
	struct ext2_file file;
};

/* What a shard has used: its calls, the kernel's time for them, and how often it came to run. */
struct usage { uint64_t syscalls, cycles, switches; };

/* How a life ended: by its own EXIT, by a fault or a KILL, or before it began. A code says nothing about that: EXIT
 * takes any. */
enum __attribute__((packed)) ending { ENDED_BY_EXIT, ENDED_KILLED, ENDED_NOT_STARTED };

/* A row of the profile: one per manifest line, kept over restarts, and one per name of spawned programs. */
struct profile {
	char name[MANIFEST_NAME_MAX + 1];
	uint64_t syscalls, cycles, switches, wall_ms; /* of the lives that are over */
	uint64_t exit_code;                           /* of the last one, if `ending` says that it has one */
	enum ending ending;
	bool used;
};

/* Why a call was refused last, for gdb, for the tests and for the console. */
struct refusal {
	uint64_t call;
	int argument; /* from 1; 0: no single one */
	uint64_t value;
	const char *reason;
};

enum __attribute__((packed)) shard_state { SHARD_FREE, SHARD_BUILDING, SHARD_READY, SHARD_RUNNING, SHARD_BLOCKED,
	SHARD_ENDED };

/* What a blocked shard waits for. */
enum __attribute__((packed)) wait_kind { WAIT_RECV, WAIT_SEND, WAIT_SHARD, WAIT_DMA };

/* What the kernel knows of a shard's memory, so as not to look it up again: forget() forgets all of it. */
struct known {
	uint64_t region; /* the address of the last walk, divided by 2 MiB; */
	uint64_t *entry; /* where these 2 MiB stand in the page directory, */
	uint64_t *table; /* and the table that it leads to */
	uint64_t readable_page, writable_page; /* where the last check of a buffer said yes; at first the stack page */
	uint64_t receive_buf, receive_max; /* the last buffer for a message that it has offered, and its size, 0: none */
	uint8_t *receive_at;               /* the same buffer as the kernel sees it */
};

/* The state of a channel's end. Its home is the shard that the manifest put there. Pending: the home has not started
 * yet, and messages to it wait. Closed: the home has ended, or could not start. */
enum __attribute__((packed)) end_state { END_UNUSED, END_PENDING, END_OPEN, END_CLOSED };

struct end {
	enum end_state state;
	uint8_t home, first, count; /* its home's slot; the inbox's first message, and how many there are */
	uint32_t closings;       /* how often it has closed: a wait must not outlast one */
	struct shard *receivers; /* blocked until the inbox has a message, first come first */
	struct shard *senders;   /* blocked until the inbox has room */
	struct shard *caller;    /* inside a CALL that waits for its answer here */
	struct message *inbox;   /* see channel.c */
} __attribute__((aligned(64))); /* a power of two: see other_end */

struct shard {
	/* boot.asm: the offsets stand in layout.h */
	uint64_t kernel_rsp, stack_top, cr3, reserved;
	uint8_t fpu[512] __attribute__((aligned(16)));

	/* shard.c */
	uint8_t id, priority; /* its slot, for ever; PRIORITY_... */
	bool killed, dying;   /* it ends as soon as it is safe to; it is ending */
	bool exited;          /* by EXIT: the code is its own. Whoever ends otherwise was killed */
	uint64_t exit_code, started_ms;
	uint64_t code_end;     /* the first address behind its program */
	struct shard *parent;  /* who spawned it, NULL: the manifest */
	struct shard *waiters; /* shards inside a WAIT for it */
	uint32_t children;     /* spawned shards whose slots are not free yet */
	uint32_t parent_cap;   /* table index of the capability that SPAWN returned; CAP_NONE: it is gone */

	/* sched.c */
	enum shard_state state;
	enum wait_kind wait;
	uint16_t wait_object; /* its own channel end, at which it waits; or the slot of the shard that it waits for */
	struct queue *queue; /* of the ready shards of its priority */
	uint32_t betters;    /* bits of ready_mask: all that is more urgent, the supervisor's thread included */
	int64_t turn_left;   /* of its turn, in units of the time stamp; below 0: overdrawn */
	struct shard *next;  /* behind it in its ready queue or in a list of waiters; else NULL */
	struct shard **wait_list; /* the list that it is on while it is blocked */
	int64_t wait_result; /* what it was woken with */
	struct usage usage;
	struct profile *profile;

	/* mm.c */
	uint32_t frames, frames_peak;
	uint32_t family_frames, frame_quota; /* of a payer (see below): frames of it and of all its descendants */
	/* of a payer: shards that it and its descendants have spawned, whose slots are in use */
	uint32_t family_children, children_quota;
	struct shard *payer;                 /* who is charged for it: itself, or its parent's payer */

	/* syscall.c */
	uint64_t call; /* number of the call in progress */
	uint64_t allowed; /* a bit for each call that exists and that it has not pledged away */

	/* refuse.c */
	uint32_t refusals_left;                /* to be printed */
	struct refusal refusal;                /* the last one */

	/* space.c */
	struct known known;

	/* cap.c */
	struct capability *caps; /* its part of the table */
	/* The capability that its call has looked up last, and waits through if it waits: its place in the table, and
	 * its serial, since another one may stand in that place later. */
	const struct capability *held;
	uint32_t held_serial;

	/* channel.c */
	/* How often the other end had closed when the wait began; the fast path of CALL does not set it. */
	uint32_t wait_closings;

	/* fs.c */
	struct open_file files[COCONUT_FILES];
};

#endif
