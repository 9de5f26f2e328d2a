/*
 * main.c: the order of things.
 *
 * supervisor_main runs once, on the boot stack, until the final page tables exist; supervisor_run goes on from
 * there on a stack with a guard page, starts what the manifest asks for and becomes the supervisor's own
 * thread (sched_loop). When the last shard has ended, supervisor_finish prints the profile and ends the run.
 *
 * Read next: shards/hello-c/main.c.
 */
#include "kernel.h"

#define MANIFEST_PATH "/etc/coconut.conf"
#define MANIFEST_MAX 32768 /* bytes */

static char manifest_text[MANIFEST_MAX + 1];

/* Where each line of the manifest stands. Its slot does not say: a free one may not have begun yet, or be over. */
static enum { LIFE_WAITING, LIFE_RUNNING, LIFE_OVER } lives[MAX_SHARDS];
static uint32_t restarts[MAX_SHARDS];
static uint64_t free_frames_at_start;

/* Returns whether the space-separated `line` contains `word`. */
static bool has_word(const char *line, const char *word) {
	size_t len = strlen(word);

	for (const char *at = line; *at; at++)
		if ((at == line || at[-1] == ' ') && !memcmp(at, word, len) && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

/* Returns the boot information, whoever started us, once it is certain that it is some. */
static const struct bootinfo *take_bootinfo(const void *start) {
	const struct bootinfo *info = pvh_bootinfo(start);

	if (info->magic != BOOTINFO_MAGIC || info->version != BOOTINFO_VERSION)
		panic("the boot information has magic 0x%x and version %u, expected 0x%x and %u: build loader and "
		      "supervisor together", info->magic, info->version, BOOTINFO_MAGIC, BOOTINFO_VERSION);
	if (!info->ramdisk_size) panic("there is no ramdisk: pass one with -initrd");
	return info;
}

/* ---- The manifest ---- */

/* Reads and parses the manifest. Returns whether there is one without errors. */
static bool manifest_load(void) {
	struct manifest_error error;
	struct ext2_file file;
	int64_t len = -1;

	if (!fs_find(MANIFEST_PATH, sizeof(MANIFEST_PATH) - 1, &file) && file.size <= MANIFEST_MAX)
		len = fs_load(&file, 0, manifest_text, MANIFEST_MAX);
	if (len < 0) {
		print("The ramdisk has no readable manifest %s of at most %u bytes\n", MANIFEST_PATH, MANIFEST_MAX);
		return false;
	}
	if (manifest_parse(manifest_text, (size_t)len, &manifest, &error)) {
		print("%s:%u: %s%s%s\n", MANIFEST_PATH, error.line, error.reason, error.word ? ": " : "",
		      error.word ? error.word : "");
		return false;
	}
	return true;
}

/* Follows the chain of `after`s from shard `id` to the first shard that has started, or has nothing to wait for, and
 * returns it: its end lets the next one of the chain start. */
uint32_t manifest_waits_for(uint32_t id) {
	while (lives[id] == LIFE_WAITING && manifest.shard[id].after >= 0)
		id = (uint32_t)manifest.shard[id].after;
	return id;
}

/* Starts a shard of the manifest. The life of one that cannot start is over, and its peers find its ends closed. */
static void start_shard(uint32_t id) {
	const struct manifest_shard *spec = &manifest.shard[id];
	struct profile *profile = profile_row(id, spec->name);
	struct ext2_file program;
	int missing = fs_find(spec->path, strlen(spec->path), &program);
	int error = shard_create(id, spec, missing ? NULL : &program, profile, NULL);

	lives[id] = error ? LIFE_OVER : LIFE_RUNNING;
	if (error) {
		profile->ending = ENDED_NOT_STARTED;
		print("Shard %u (%s) cannot start from %s: %s\n", id, spec->name, spec->path,
		      missing ? fs_reason(missing) : shards[id].refusal.reason);
		channels_close(&shards[id]);
		return;
	}
	channels_open(id);
	if (spec->gpu) gpu_allow(id);
	if (spec->spawn) cap_give_first(id, CAP_SHARD, CAP_RIGHT_CREATE | CAP_RIGHT_GRANT, id); /* it may SPAWN */
}

/* Frees the slots of shards that have ended, brings back those that are to be restarted, starts those that
 * waited for them. Returns true when all is over. Called by the supervisor's thread. */
bool manifest_reap(void) {
	bool all_over = true;

	while (spawn_reap())
		preempt_point();
	for (uint32_t id = 0; id < manifest.shard_count; id++) {
		struct shard *shard = &shards[id];
		if (shard->state != SHARD_ENDED || shard->children) continue;
		if (shard_free(shard) == -1 && restarts[id] < manifest.shard[id].restart) {
			print("Shard %u (%s) restarts: %u of %u\n", id, manifest.shard[id].name, ++restarts[id],
			      manifest.shard[id].restart);
			start_shard(id);
		} else {
			lives[id] = LIFE_OVER;
		}
	}
	/* A shard waits for an earlier one, so one that cannot start lets those behind it start in the same pass. */
	for (uint32_t id = 0; id < manifest.shard_count; id++) {
		int16_t after = manifest.shard[id].after;
		if (lives[id] == LIFE_WAITING && (after < 0 || lives[after] == LIFE_OVER)) start_shard(id);
		all_over &= lives[id] == LIFE_OVER;
	}
	return all_over;
}

/* ---- Start and end ---- */

/* Prints the profile and ends the run with the status that the shards have earned. */
void supervisor_finish(void) {
	quiet = false;
	console_flush_all();
	if (mm_free_frames() != free_frames_at_start)
		panic("%ld frames were lost over the run", (int64_t)(free_frames_at_start - mm_free_frames()));
	iommu_report();
	if (manifest.shard_count) profile_print();
	bool good = profile_print_ends();
	print("Halting.\n");
	debug_exit(good ? DEBUG_EXIT_OK : DEBUG_EXIT_FAILED);
}

/* Continues supervisor_main on the supervisor's own stack. */
static void supervisor_run(uint64_t argument) {
	const struct bootinfo *info = (const struct bootinfo *)argument;

	apic_init();
	timer_init();
	devices_init(info);
	syscall_init();
	fs_init(info);
	if (PROVOKE) provoke(false);
	if (!manifest_load()) {
		print("Nothing can be started.\n");
		debug_exit(DEBUG_EXIT_FAILED);
	}
	for (uint32_t i = 0; i < manifest.channel_count; i++)
		channel_create(i, manifest.channel[i].shard[0], manifest.channel[i].shard[1]);
	gpu_init();
	free_frames_at_start = mm_free_frames();
	print_verbose("Manifest: %u shards, %u channels; %lu frames free\n", manifest.shard_count,
		      manifest.channel_count, free_frames_at_start);
	sched_loop();
}

/* The first C function of the kernel. boot.asm calls it in the higher half, on the boot stack, with interrupts
 * off, the physical address of what the loader passed on, and the time stamp of its own first instruction. */
void supervisor_main(uint64_t bootinfo_phys, uint64_t clock) {
	serial_init();
	if (PROVOKE) provoke(true);
	const struct bootinfo *info = take_bootinfo(phys_to_virt(bootinfo_phys));
	const char *command_line = info->command_line ? phys_to_virt(info->command_line) : "";
	verbose = has_word(command_line, "verbose");
	quiet = has_word(command_line, "quiet");
	print("coconutOS supervisor v%s\n", COCONUT_VERSION);
	print_verbose("Entered at time stamp %lu\n", clock);
	idt_init();
	cpu_init();
	cpu_report();
	mm_init(info);
	paging_init(info);
	run_on_stack(stack_slot_top(STACK_SUPERVISOR), supervisor_run, (uint64_t)info);
}
