/*
 * main.c: the order of things.
 *
 * supervisor_main runs once, on the boot stack, until the final page tables exist; supervisor_run goes on from
 * there on a stack with a guard page, reads the manifest and becomes the supervisor's own thread (supervisor_work).
 *
 * Read next: shards/hello-c/main.c.
 */
#include "kernel.h"
#include "rungs/rungs.h"

#define MANIFEST_PATH "/etc/coconut.conf"
#define MANIFEST_MAX 32768 /* bytes */

static char manifest_text[MANIFEST_MAX + 1];

/* Returns whether the space-separated `line` contains `word`. */
static bool has_word(const char *line, const char *word) {
	size_t len = strlen(word);

	for (const char *at = line; *at; at++)
		if ((at == line || at[-1] == ' ') && !memcmp(at, word, len) && (at[len] == ' ' || !at[len]))
			return true;
	return false;
}

/* Returns the boot information, whoever started us. Panics where it is none. */
static const struct bootinfo *take_bootinfo(const void *start) {
	const struct bootinfo *info = pvh_bootinfo(start);

	if (info->magic != BOOTINFO_MAGIC || info->version != BOOTINFO_VERSION)
		panic("the boot information has magic 0x%x and version %u, expected 0x%x and %u: build loader and "
		      "supervisor together", info->magic, info->version, BOOTINFO_MAGIC, BOOTINFO_VERSION);
	if (!info->ramdisk_size) panic("there is no ramdisk: pass one with -initrd");
	return info;
}

/* ---- The manifest ---- */

/* Reads and parses the manifest, and makes its channels. Ends the run if there is none, or one with a mistake; under
 * `quiet` it does not say which. */
static void manifest_load(void) {
	struct manifest_error error;
	struct ext2_file file;
	int64_t len = -1;

	if (!fs_find(MANIFEST_PATH, sizeof(MANIFEST_PATH) - 1, &file) && file.size <= MANIFEST_MAX)
		len = fs_load(&file, 0, manifest_text, MANIFEST_MAX);
	if (len < 0) {
		print("The ramdisk has no readable manifest %s of at most %u bytes\n", MANIFEST_PATH, MANIFEST_MAX);
	} else if (manifest_parse(manifest_text, (size_t)len, &manifest, &error)) {
		print("%s:%u: %s%s%s\n", MANIFEST_PATH, error.line, error.reason, error.word ? ": " : "",
		      error.word ? error.word : "");
	} else {
		for (uint32_t i = 0; i < manifest.channel_count; i++)
			channel_create(i, manifest.channel[i].shard[0], manifest.channel[i].shard[1]);
		return;
	}
	print("Nothing can be started.\n");
	debug_exit(DEBUG_EXIT_FAILED);
}

/* ---- Start and end ---- */

/* Continues supervisor_main, on the supervisor's own stack where there are stacks. HAS(...) is true in the whole
 * kernel; a lab's build, a "rung", has only the parts up to its own (rungs/rungs.h). */
static void supervisor_run(uint64_t argument) {
	const struct bootinfo *info = (const struct bootinfo *)argument;

	if (HAS(threads)) supervisor_thread.cr3 = kernel_cr3;
	if (HAS(channels)) cap_gone[CAP_CHANNEL] = channel_cap_gone;
	if (HAS(dma)) cap_gone[CAP_GPU_DMA] = edu_cap_gone;
	if (HAS(shard)) cap_gone[CAP_SHARD] = spawn_cap_gone;
	if (HAS(shard)) end_shard = handle_sys_exit;
	if (HAS(threads)) apic_init();
	if (HAS(timer)) timer_init();
	if (HAS(devices)) devices_init(info);
	if (HAS(dma)) iommu_init();
	if (HAS(dma)) edu_init(); /* until here no device may do DMA; now the IOMMU watches the engines */
	if (HAS(shard)) syscall_init();
	if (HAS(files)) fs_init(info);
	if (HAS(shard)) manifest_load();
	if (!HAS(full)) rung_show(info);
	gpu_init();
	supervisor_work(end_deadlocks);
}

/* The first C function of the kernel. boot.asm calls it in the higher half, on the boot stack, with interrupts
 * off. Its arguments: the physical address of what the loader passed on, and the time stamp (`clock`) of boot.asm's
 * first instruction. */
void supervisor_main(uint64_t bootinfo_phys, uint64_t clock) {
	serial_init();
	const struct bootinfo *info = take_bootinfo(phys_to_virt(bootinfo_phys));
	const char *command_line = info->command_line ? phys_to_virt(info->command_line) : "";
	verbose = has_word(command_line, "verbose");
	quiet = has_word(command_line, "quiet");
	print("coconutOS supervisor v%s\n", COCONUT_VERSION);
	print_verbose("Entered at time stamp %lu\n", clock);
	if (HAS(gates)) idt_init();
	if (HAS(cpu)) cpu_init();
	if (HAS(frames)) mm_init(info);
	if (!HAS(paging)) supervisor_run((uint64_t)info);
	paging_init(info);
	run_on_stack(stack_slot_top(STACK_SUPERVISOR), supervisor_run, (uint64_t)info);
}
