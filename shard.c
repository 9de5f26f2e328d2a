/*
 * shard.c: the life of a shard: create, exit.
 *
 * A shard is built from its line of the manifest, or from what SPAWN was told: an address space, its code from the
 * ramdisk, one page of stack with the args string on top, a configuration page if it is a pipeline stage or has a
 * partition of the GPU.
 * It dies in its own context, on its own kernel stack: first everything that others can see (channel ends,
 * capabilities, files), then its memory, in pieces between which others run. Its slot is freed last, by another
 * thread: that of whoever WAITs for it, or the supervisor's.
 *
 * Invariants: slot i belongs to line i of the manifest, the slots behind them to spawned shards. What a shard owns
 * is counted in frames; at its end the count is zero. The slot of a shard is not free before those of the shards
 * that it has spawned are.
 *
 * Read next: spawn.c.
 */
#include "kernel.h"

#define FPU_CONTROL_DEFAULT 0x37F         /* FCW: all exceptions masked, 64-bit precision (SDM Vol. 1 8.1.5) */
#define MXCSR_DEFAULT 0x1F80              /* all exceptions masked, round to nearest (SDM Vol. 1 10.2.3) */
#define FXSAVE_MXCSR 24                   /* offset in the FXSAVE image (SDM Vol. 1 table 10-2) */

#define REFUSALS_SHOWN 3                  /* lines a shard may cause; `verbose` shows all */

uint64_t calls_all;

/* Notes why the shard that is being built cannot be: `reason`, or, if that is NULL, that it got no frame. Returns the
 * error. */
static int fail(struct shard *shard, int error, const char *reason) {
	shard->refusal.reason = reason ? reason : error == -COCONUT_E_QUOTA ? "the quota of frames does not hold it"
			      : "the machine has not enough free frames for it";
	return error;
}

/* True when the program of a GPU shard is empty (zeros) where its configuration page will be; shards/shard.ld links
 * it so. */
static bool leaves_page(const struct ext2_file *program) {
	uint64_t offset = GPU_CONFIG_VADDR - COCONUT_CODE_BASE, end = offset + PAGE_SIZE, word = 0;

	for (; offset < end && !word && fs_load(program, offset, &word, sizeof(word)) > 0; offset += sizeof(word))
		preempt_point();
	return !word;
}

/* Copies the program from the ramdisk to COCONUT_CODE_BASE. Returns 0, or an error with its reason noted. */
static int load_code(struct shard *shard, const struct manifest_shard *spec, const struct ext2_file *program) {
	uint64_t limit = spec->pipeline >= 0 ? PIPELINE_CONFIG_VADDR : COCONUT_HEAP_BASE;
	char magic[4] = "";
	int error;

	if (!program) return fail(shard, -COCONUT_E_NOENT, "it has no program");
	if (program->size == 0) return fail(shard, -COCONUT_E_NOEXEC, "the program is empty");
	shard->code_end = COCONUT_CODE_BASE + program->size;
	if (fs_load(program, 0, magic, sizeof(magic)) >= 0 && !memcmp(magic, "\177ELF", sizeof(magic)))
		return fail(shard, -COCONUT_E_NOEXEC, "it is an ELF file: give the flat binary that objcopy -O binary makes of it");
	if (program->size > limit - COCONUT_CODE_BASE && spec->pipeline < 0)
		return fail(shard, -COCONUT_E_NOEXEC, "the program reaches into the heap");
	if (program->size > limit - COCONUT_CODE_BASE || (spec->gpu && !leaves_page(program)))
		return fail(shard, -COCONUT_E_NOEXEC, "the program reaches into its configuration page");
	for (uint64_t offset = 0; offset < program->size; offset += PAGE_SIZE) {
		/* A GPU shard's program has a hole there, for the configuration page. */
		if (spec->gpu && COCONUT_CODE_BASE + offset == GPU_CONFIG_VADDR) continue;
		void *page = map_page(shard, COCONUT_CODE_BASE + offset, 0, &error);
		if (!page) return fail(shard, error, NULL);
		if (fs_load(program, offset, page, PAGE_SIZE) < 0) return fail(shard, -COCONUT_E_IO, "its file is damaged");
		if (preempt_point()) return fail(shard, -COCONUT_E_IO, "whoever starts it has been killed");
	}
	return 0;
}

/* Gives a pipeline stage its configuration page. Returns 0, or an error with its reason noted, as those below do. */
static int map_pipeline_config(struct shard *shard, const struct manifest_shard *spec) {
	int error;

	if (spec->pipeline < 0) return 0;
	const struct manifest_pipeline *pipeline = &manifest.pipeline[spec->pipeline];
	uint32_t stage = pipeline->shard[1] == shard->id;
	struct pipeline_config *config = map_page(shard, PIPELINE_CONFIG_VADDR, PTE_NX, &error);
	if (!config) return fail(shard, error, NULL);
	*config = (struct pipeline_config){
		.magic = PIPELINE_CONFIG_MAGIC, .stage = stage, .stages = 2,
		.channel = channel_handle(shard->id, pipeline->channel),
		.first_layer = pipeline->first[stage], .end_layer = pipeline->last[stage] + 1,
	};
	return 0;
}

/* Gives a GPU shard its partition and its configuration page. */
static int map_gpu(struct shard *shard, const struct manifest_shard *spec) {
	int error;

	if (!spec->gpu) return 0;
	struct gpu_config *config = map_page(shard, GPU_CONFIG_VADDR, PTE_NX, &error);
	if (!config) return fail(shard, error, NULL);
	error = gpu_attach(shard, config);
	return error ? fail(shard, error, error == -COCONUT_E_NODEV ? "there is no GPU partition for it" : NULL) : 0;
}

/* Prepares the kernel stack so that the first switch to the shard enters it through shard_start, with every register
 * defined. */
static void prepare_entry(struct shard *shard, uint64_t rsp, uint64_t args) {
	struct trap_frame *frame = (struct trap_frame *)shard->stack_top - 1;
	struct switch_frame *saved = (struct switch_frame *)frame - 1;

	*saved = (struct switch_frame){.rip = (uint64_t)shard_start};
	*frame = (struct trap_frame){
		.rip = COCONUT_CODE_BASE, .cs = SEL_USER_CODE, .rsp = rsp, .ss = SEL_USER_DATA, .rdi = args,
		.rflags = RFLAGS_RESERVED | RFLAGS_IF | (ABLATE(iopl) ? RFLAGS_IOPL : 0), .rbx = ABLATE(entry) ? frame->rbx : 0,
	};
	shard->kernel_rsp = (uint64_t)saved;
	memset(shard->fpu, 0, sizeof(shard->fpu));
	*(uint16_t *)shard->fpu = FPU_CONTROL_DEFAULT;
	*(uint32_t *)(shard->fpu + FXSAVE_MXCSR) = MXCSR_DEFAULT;
}

/* Maps the stack page, with the args string at its top, and prepares the entry with that. */
static int map_stack(struct shard *shard, const struct manifest_shard *spec) {
	uint64_t len = strlen(spec->args) + 1, rsp = COCONUT_STACK_TOP, args = 0;
	int error;
	char *page = map_page(shard, STACK_PAGE, PTE_WRITE | PTE_NX, &error);

	if (!page) return fail(shard, error, NULL);
	if (len > 1) {
		memcpy(page + PAGE_SIZE - len, spec->args, len);
		args = COCONUT_STACK_TOP - len;
		rsp = args & ~15UL;
	}
	prepare_entry(shard, rsp, args);
	return 0;
}

/* Builds everything that a shard needs to run. Returns 0, or an error with its reason noted; no frame is left in use
 * then. */
static int build(struct shard *shard, const struct manifest_shard *spec, const struct ext2_file *program) {
	preempt_point();
	int error = space_create(shard);
	if (error) return fail(shard, error, NULL);
	if ((error = load_code(shard, spec, program)) || (error = map_pipeline_config(shard, spec)) ||
	    (error = map_gpu(shard, spec)) || (error = map_stack(shard, spec))) {
		space_destroy(shard);
		gpu_release(shard);
	}
	return error;
}

/* Builds a shard in the free slot `id` from the file that is its program, NULL if there is none, and makes it ready.
 * `parent` is the shard that spawns it, NULL for one of the manifest. Returns 0, or an error: nothing is left behind
 * then but the reason, in its `refusal`. */
int shard_create(uint32_t id, const struct manifest_shard *spec, const struct ext2_file *program,
	struct profile *profile, struct shard *parent) {
	struct shard *shard = &shards[id];

	ASSERT(shard->state == SHARD_FREE);
	*shard = (struct shard){
		.id = (uint8_t)id, .state = SHARD_BUILDING, .started_ms = timer_ms(), .stack_top = stack_slot_top(id),
		.parent = parent, .parent_cap = CAP_NONE, .payer = parent ? parent->payer : shard, .frame_quota = spec->frames,
		.children_quota = spec->children, .caps = &caps.entry[id * COCONUT_CAP_SLOTS], .profile = profile,
		.held = &caps.entry[id * COCONUT_CAP_SLOTS], .allowed = calls_all,
		.refusals_left = verbose ? UINT32_MAX : REFUSALS_SHOWN,
	};
	forget(shard);
	sched_set_priority(shard, spec->priority);
	shard->payer->family_children += parent != NULL; /* before others run: two of a family may start shards at once */
	int error = build(shard, spec, program);
	if (error) {
		shard->payer->family_children -= parent != NULL;
		shard->state = SHARD_FREE;
		return error;
	}
	if (parent) parent->children++;
	if (verbose) tell("Shard %u (%s) started: %s, %u frames\n", id, spec->name, spec->path, shard->frames);
	sched_ready(shard);
	return 0;
}

/* Says how a shard ended. One that was spawned is its parent's business, unless the user wants to see everything. */
static void print_end(const struct shard *shard, uint64_t wall_ms) {
	if (shard->parent && !verbose) return;
	if (shard->exited)
		tell("Shard %u (%s) ended: code %ld after %lu ms, at most %u frames\n", shard->id, shard->profile->name,
		     shard->exit_code, wall_ms, shard->frames_peak);
	else
		tell("Shard %u (%s) ended: killed after %lu ms, at most %u frames\n", shard->id, shard->profile->name,
		     wall_ms, shard->frames_peak);
}

/* Kills what the shard has spawned. */
static void kill_children(const struct shard *parent) {
	for (uint32_t id = 0; id < MAX_SHARDS; id++) {
		if (shards[id].parent == parent && shards[id].state != SHARD_FREE)
			shard_kill(&shards[id], parent->priority);
		preempt_point();
	}
}

/* EXIT: ends the current shard with a code of its own. */
void sys_exit(uint64_t code) {
	current->exited = code != COCONUT_KILLED || !ABLATE(killed_flag);
	handle_sys_exit(code);
}

/* The end of every shard, despite its name: ends the current one with `code`, by its own EXIT, or on its behalf after a
 * fault or a KILL. Lets others run meanwhile, and does not return. */
void handle_sys_exit(uint64_t code) {
	struct shard *self = current;
	uint64_t wall_ms = timer_ms() - self->started_ms;

	self->dying = true;
	/* It is on its way, and nothing may end it a second time: a KILL that came before is forgotten here, and one that
	 * comes while the functions below let others run finds `dying` (shard_kill). */
	self->killed = false;
	kernel_since = rdtsc_low();
	self->exit_code = self->profile->exit_code = code;
	self->profile->ending = self->exited ? ENDED_BY_EXIT : ENDED_KILLED;
	self->profile->wall_ms += wall_ms;
	/* console_end may send all that the shard has waiting: not before there is room. */
	while (!console_room(self->id))
		preempt_point();
	console_end(self->id);
	preempt_point();
	kill_children(self);
	channels_close(self);
	if (!ABLATE(drop)) caps_drop_all(self);
	files_close_all(self);
	space_destroy(self);
	gpu_release(self);
	ASSERT(self->frames == 0);
	print_end(self, wall_ms);
	sched_wake_all(&self->waiters, 0);
	self->profile->syscalls += self->usage.syscalls;
	self->profile->cycles += self->usage.cycles;
	self->profile->switches += self->usage.switches;
	sched_exit();
}

/* Called by shard_start on the way to the first instruction of a new shard: who was killed before it has none. */
void shard_begin(void) {
	if (current->killed && !ABLATE(kill_first)) handle_sys_exit(COCONUT_KILLED);
}

/* Returns whether `ancestor` has spawned the shard, directly or not, or is the shard itself. */
static bool descends(const struct shard *shard, const struct shard *ancestor) {
	while (shard && shard != ancestor)
		shard = shard->parent;
	return shard;
}

/* Raises a shard, and those of its descendants that are dying. */
static void raise_family(const struct shard *shard, uint8_t priority) {
	for (uint32_t id = 0; id < MAX_SHARDS; id++) {
		struct shard *member = &shards[id];
		bool going = member == shard || member->killed || member->dying;
		if (member->state >= SHARD_READY && going && descends(member, shard)) sched_raise(member, priority);
	}
}

/* Ends another shard with all that it has spawned: it runs handle_sys_exit itself as soon as it is scheduled, at
 * a priority at least as high as `priority`, so that nobody can keep it from dying who could not keep its killer
 * from running. One that is dying already is raised too, and so are those that it has killed, since its slot is freed
 * after theirs. A slot that is free or being built is left alone. */
void shard_kill(struct shard *shard, uint8_t priority) {
	if (shard->state < SHARD_READY) return;
	if (!shard->dying || !ABLATE(raise)) raise_family(shard, priority);
	if (shard->state == SHARD_ENDED || shard->dying) return;
	shard->killed = true;
	channel_call_over(shard);
	if (shard->state == SHARD_BLOCKED) sched_wake(shard, 0);
}

/* Frees the slot of a shard that has ended. Returns what WAIT tells of its end: the low 32 bits of its code, or -1 when
 * it was killed. Revoking lets others run, who may take the slot. */
int64_t shard_free(struct shard *shard) {
	int64_t end = shard->exited ? (int64_t)(uint32_t)shard->exit_code : -1;

	ASSERT(shard->state == SHARD_ENDED && shard->children == 0);
	if (shard->parent) {
		shard->payer->family_children--;
		if (--shard->parent->children == 0) sched_wake_all(&shard->parent->waiters, 0);
	}
	shard->state = SHARD_FREE;
	if (shard->parent_cap != CAP_NONE) cap_revoke_index(shard->parent_cap);
	return end;
}
