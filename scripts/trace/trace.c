/*
 * trace.c: records what happens, and when, in a ring in memory: the guest's part of `run.sh --trace`.
 *
 * Only a build with `--define TRACE=PAGES` contains this file, and no other file of the supervisor knows of it. The
 * linker leads calls of the functions that are wrapped here from one file of the supervisor to another (and from
 * boot.asm) to __wrap_NAME, which takes a note and goes on to __real_NAME (ld, --wrap; build.sh takes the names from
 * this file). So there is nothing to leave out of the default build. A function that is gone is an error when the
 * variant is linked.
 *
 * Invariants: an event is written whole before anything else runs, since the kernel has interrupts off; the newest
 * events are kept and `written` counts all. The ring lies in frames of the supervisor. Nobody reads it here: run.sh
 * keeps the machine's memory in a file and reads it there when QEMU has ended, however it has ended.
 *
 * Read next: scripts/trace/read.py, which knows the same layout.
 */
#include "../../kernel.h"

#define TRACE_MAGIC 0x3143525454434F43 /* "COCTTRC1" */

enum trace_kind {
	TRACE_SWITCH = 1, /* detail: who runs now; values: why the other left: its state, its wait_kind, its wait_object */
	TRACE_CALL,       /* detail: number; values: the first three arguments */
	TRACE_RETURN,     /* detail: number; values: result */
	TRACE_INTERRUPT,  /* detail: vector; values: rip, ring, milliseconds at a tick */
	TRACE_RESUME,     /* the interrupt's work is done */
	TRACE_FAULT,      /* detail: vector; values: rip, error, cr2 */
	TRACE_SEND,       /* detail: 1 by the fast path of CALL; values: where the message lies in the kernel, bytes */
	TRACE_RECEIVE,    /* the same */
	TRACE_COPY,       /* values: source, target, bytes */
	TRACE_COPIED,     /* values: result */
	/* detail: domain; values: device address, physical address, pages << 2 | may write << 1 | may read */
	TRACE_MAP,
	TRACE_UNMAP,      /* detail: domain; values: device address, pages */
	TRACE_START,      /* detail: slot of the shard; values: its name */
	TRACE_END,        /* values: exit code; whether it was killed */
};

struct trace_event {
	uint64_t time; /* time stamp counter */
	uint8_t kind;  /* TRACE_... */
	uint8_t shard; /* whose kernel stack is in use, MAX_SHARDS: the supervisor's thread */
	uint16_t detail;
	uint32_t reserved;
	uint64_t value[3];
};

#define PER_PAGE (PAGE_SIZE / sizeof(struct trace_event))

/* What read.py looks for. The names are those of the slots' last shards, for a ring that has lost their starts. */
struct trace_ring {
	uint64_t magic, pages, event_size, per_page;
	uint64_t written;
	char name[MAX_SHARDS][MANIFEST_NAME_MAX + 1];
	uint64_t page[TRACE]; /* physical */
} trace_ring;

_Static_assert(MANIFEST_NAME_MAX + 1 == sizeof(((struct trace_event *)0)->value), "an event holds a name");

static void record(enum trace_kind kind, uint64_t detail, uint64_t a, uint64_t b, uint64_t c) {
	if (!trace_ring.magic) return;
	uint64_t number = trace_ring.written++;
	struct trace_event *page = phys_to_virt(trace_ring.page[number / PER_PAGE % TRACE]);

	page[number % PER_PAGE] = (struct trace_event){
		.time = rdtsc(), .kind = (uint8_t)kind, .shard = current->id, .detail = (uint16_t)detail, .value = {a, b, c}};
}

/* Declares what the linker calls a function and its wrapper, both of the function's type: a wrapper that no longer fits
 * does not compile. */
#define WRAPPED(name) __typeof__(name) __real_##name, __wrap_##name

WRAPPED(paging_init);
WRAPPED(syscall_dispatch);
WRAPPED(interrupt_dispatch);
WRAPPED(sched_preempt);
WRAPPED(fault_kill);
WRAPPED(fault_panic);
WRAPPED(context_switch);
WRAPPED(context_switch_fpu);
WRAPPED(copy_from_user);
WRAPPED(copy_to_user);
WRAPPED(edu_copy);
WRAPPED(iommu_map);
WRAPPED(iommu_unmap);
WRAPPED(shard_create);
WRAPPED(sched_exit);

/* As soon as frames can be reached for good, the ring is made. */
void __wrap_paging_init(const struct bootinfo *info) {
	__real_paging_init(info);
	for (uint64_t i = 0; i < TRACE; i++)
		if (frame_alloc(NULL, &trace_ring.page[i]))
			panic("no memory for the trace: give the machine more memory");
	trace_ring.pages = TRACE;
	trace_ring.event_size = sizeof(struct trace_event);
	trace_ring.per_page = PER_PAGE;
	trace_ring.magic = TRACE_MAGIC;
}

/* ---- Calls and interrupts ---- */

int64_t __wrap_syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t number) {
	record(TRACE_CALL, number < SYS_LIMIT ? number : SYS_LIMIT, a0, a1, a2);
	int64_t result = __real_syscall_dispatch(a0, a1, a2, a3, a4, number);
	record(TRACE_RETURN, number < SYS_LIMIT ? number : SYS_LIMIT, (uint64_t)result, 0, 0);
	return result;
}

/* An exception is recorded as a fault, when it is known whose it is. */
void __wrap_interrupt_dispatch(struct trap_frame *frame) {
	if (frame->vector >= VECTOR_PIC)
		record(TRACE_INTERRUPT, frame->vector, frame->rip, frame->cs & 3, frame->vector == VECTOR_PIC ? timer_ms() : 0);
	__real_interrupt_dispatch(frame);
	if (!(frame->cs & 3)) record(TRACE_RESUME, 0, 0, 0, 0);
}

/* The last that an interrupt of a shard does: others may run before the shard goes on. */
void __wrap_sched_preempt(void) {
	record(TRACE_RESUME, 0, 0, 0, 0);
	__real_sched_preempt();
}

void __wrap_fault_kill(struct trap_frame *frame) {
	record(TRACE_FAULT, frame->vector, frame->rip, frame->error, read_cr2());
	__real_fault_kill(frame);
}

void __wrap_fault_panic(struct trap_frame *frame) {
	record(TRACE_FAULT, frame->vector, frame->rip, frame->error, read_cr2());
	__real_fault_panic(frame);
}

/* ---- Switches ---- */

static bool left_to_receive[MAX_SHARDS + 1]; /* who has left the CPU last to wait for a message */

void __wrap_context_switch(struct shard *from, struct shard *to) {
	left_to_receive[from->id] = false;
	record(TRACE_SWITCH, to->id, from->state, from->wait, from->wait_object);
	__real_context_switch(from, to);
}

/* The fast path of CALL copies from shard to shard, with none of the functions below. Its message is seen here: only
 * that path ends a wait for a message with a length, and it switches at once. */
void __wrap_context_switch_fpu(struct shard *from, struct shard *to) {
	bool receives = from->state == SHARD_BLOCKED && from->wait == WAIT_RECV;

	left_to_receive[from->id] = receives;
	if (receives && left_to_receive[to->id] && to->wait == WAIT_RECV && to->wait_result > 0)
		record(TRACE_SEND, 1, (uint64_t)to->known.receive_at, (uint64_t)to->wait_result, 0);
	record(TRACE_SWITCH, to->id, from->state, from->wait, from->wait_object);
	__real_context_switch_fpu(from, to);
	if (receives && from->wait_result > 0)
		record(TRACE_RECEIVE, 1, (uint64_t)from->known.receive_at, (uint64_t)from->wait_result, 0);
}

/* ---- Messages: what a channel call copies from and to its shard is the message ---- */

void __wrap_copy_from_user(void *to, uint64_t from, uint64_t len) {
	__real_copy_from_user(to, from, len);
	if (current->call == SYS_CHANNEL_SEND || current->call == SYS_CHANNEL_CALL)
		record(TRACE_SEND, 0, (uint64_t)to, len, 0);
}

void __wrap_copy_to_user(uint64_t to, const void *from, uint64_t len) {
	__real_copy_to_user(to, from, len);
	if (current->call == SYS_CHANNEL_RECV || current->call == SYS_CHANNEL_CALL)
		record(TRACE_RECEIVE, 0, (uint64_t)from, len, 0);
}

/* ---- DMA ---- */

int64_t __wrap_edu_copy(const struct dma *wanted) {
	record(TRACE_COPY, 0, wanted->source, wanted->target, wanted->len);
	int64_t result = __real_edu_copy(wanted);
	record(TRACE_COPIED, 0, (uint64_t)result, 0, 0);
	return result;
}

/* Mapping without rights only makes tables. */
int __wrap_iommu_map(uint32_t domain, uint64_t iova, uint64_t phys, uint64_t pages, bool read, bool write) {
	int error = __real_iommu_map(domain, iova, phys, pages, read, write);

	if (!error && (read || write)) record(TRACE_MAP, domain, iova, phys, pages << 2 | (uint64_t)write << 1 | read);
	return error;
}

void __wrap_iommu_unmap(uint32_t domain, uint64_t iova, uint64_t pages) {
	__real_iommu_unmap(domain, iova, pages);
	record(TRACE_UNMAP, domain, iova, pages, 0);
}

/* ---- Lives ---- */

int __wrap_shard_create(uint32_t id, const struct manifest_shard *spec, const struct ext2_file *program,
	struct profile *profile, struct shard *parent) {
	int error = __real_shard_create(id, spec, program, profile, parent);
	uint64_t name[3];

	if (error) return error;
	memcpy(name, profile->name, sizeof(name));
	memcpy(trace_ring.name[id], name, sizeof(name));
	record(TRACE_START, id, name[0], name[1], name[2]);
	return 0;
}

void __wrap_sched_exit(void) {
	record(TRACE_END, 0, current->exit_code, !current->exited, 0);
	__real_sched_exit();
}
