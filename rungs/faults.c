/*
 * faults.c, the rung: what fault.c and trap.c add: programs in ring 3, and their faults in words.
 *
 * A program here is a few bytes of machine code, in an address space with that page and a stack. Each does what it may
 * not; the processor comes to fault.c, which says what happened and ends the shard, and the supervisor's thread starts
 * the next. The clock ticks meanwhile. No system call is there yet, so a fault is the only way out of ring 3.
 *
 * Read next: files.c.
 */
#include "thread.h"

static const struct { const char *name; uint8_t code[12]; uint64_t len; } programs[] = {
	{"write to 0", {0x89, 0x04, 0x25, 0, 0, 0, 0}, 7},                         /* mov [0], eax */
	{"own code", {0x89, 0x04, 0x25, 0x00, 0x10, 0, 0}, 7},                     /* mov [0x1000], eax */
	{"the kernel", {0x48, 0xA1, 0, 0, 0, 0, 0, 0x80, 0xFF, 0xFF}, 10},         /* mov rax, [0xFFFF800000000000] */
	{"run the stack", {0xB8, 0x00, 0xF0, 0x7F, 0x00, 0xFF, 0xE0}, 7},          /* mov eax, 0x7FF000; jmp rax */
	{"no instruction", {0x0F, 0x0B}, 2},                                       /* ud2 */
	{"halt", {0xF4}, 1},                                                       /* hlt */
	{"divide by 0", {0x31, 0xC0, 0xF7, 0xF0}, 4},                              /* xor eax, eax; div eax */
	{"breakpoint", {0xCC}, 1},                                                 /* int3 */
	{"count first", {0xB9, 0, 0, 64, 0, 0xFF, 0xC9, 0x75, 0xFC, 0xCC}, 10},  /* count 1 << 22 down; int3 */
};

static struct profile profile;
static uint32_t started;

/* The door of boot.asm to shard.c: a new program is about to begin. */
void shard_begin(void) {}

/* The door of sched.c to shard.c: the current program is over. */
static __attribute__((noreturn)) void end(uint64_t code) {
	(void)code;
	space_destroy(current);
	sched_exit();
}

/* Starts the next program. */
static void start(void) {
	struct shard *shard = make_thread(0, PRIORITY_NORMAL, shard_start);
	struct trap_frame *frame = (struct trap_frame *)shard->stack_top - 1;
	int error;

	memcpy(profile.name, programs[started].name, strlen(programs[started].name) + 1);
	forget(shard);
	shard->profile = &profile;
	shard->code_end = COCONUT_CODE_BASE + programs[started].len;
	shard->kernel_rsp = (uint64_t)((struct switch_frame *)frame - 1);
	*(struct switch_frame *)shard->kernel_rsp = (struct switch_frame){.rip = (uint64_t)shard_start};
	*frame = (struct trap_frame){.rip = COCONUT_CODE_BASE, .cs = SEL_USER_CODE, .rsp = COCONUT_STACK_TOP,
		.ss = SEL_USER_DATA, .rflags = RFLAGS_RESERVED | RFLAGS_IF};
	uint8_t *code = space_create(shard) ? NULL : map_page(shard, COCONUT_CODE_BASE, 0, &error);
	if (!code || !map_page(shard, STACK_PAGE, PTE_WRITE | PTE_NX, &error)) panic("no memory for a program");
	memcpy(code, programs[started++].code, sizeof(programs[0].code));
}

/* What the supervisor's thread does whenever a program has ended, and at first. */
static void reap(void) {
	if (started && shards[0].state != SHARD_ENDED) return;
	if (started == ARRAY_LENGTH(programs)) {
		print("Faults: %u programs have ended, %lu frames are free\n", started, mm_free_frames());
		rung_end();
	}
	start();
}

void rung_show(const struct bootinfo *info) {
	(void)info;
	end_shard = end;
	print("Faults: %lu frames are free\n", mm_free_frames());
	sched_loop(reap, none_is_stuck);
}
