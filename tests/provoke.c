/*
 * provoke.c: failing on purpose. A part of the supervisor in builds that define PROVOKE, and in no other.
 *
 * No other file knows of it: the linker leads calls of the functions that are wrapped here, from one file of the
 * supervisor to another, to __wrap_NAME, as it does for scripts/trace/trace.c. Some are wrapped in recorders too, which
 * then have them: such a build makes the mistakes that need no shard only.
 *
 * A build made with `--define PROVOKE=PROVOKE_name` commits one mistake of the kernel's own, so that tests see
 * what becomes of it: a decoded panic and the right exit status, or, when the protection against it is left out
 * as well (ABLATION), the damage.
 *
 * Read next: experiments.h lists the names.
 */
#include "../kernel.h"
#include "../pci.h"

/* What the linker calls a function and its wrapper. */
#define WRAPPED(name) __typeof__(name) __real_##name, __wrap_##name

WRAPPED(serial_init);
WRAPPED(fs_init);
WRAPPED(preempt_point);
WRAPPED(handle_sys_exit);
WRAPPED(syscall_dispatch);
WRAPPED(msi_allocate);
WRAPPED(iommu_map);
WRAPPED(iommu_set_owner);
WRAPPED(edu_watch);

static const uint64_t sealed = 1; /* lies in rodata */
static uint8_t return_instruction[] = {0xC3};

static __attribute__((noinline)) uint64_t overflow_stack(uint64_t depth) {
	volatile uint8_t room[256];

	room[0] = (uint8_t)depth;
	return depth == UINT64_MAX ? room[0] : overflow_stack(depth + 1) + room[0];
}

/* ---- DMA ---- */

/* Two edu devices, programmed behind the back of edu.c. Their domains have the numbers 0 and 1. */
#define EDU_DEVICE 0x11E8
#define EDU_RAISE 0x60 /* a write raises an interrupt at once */
#define EDU_SOURCE 0x80
#define EDU_TARGET 0x88
#define EDU_COUNT 0x90
#define EDU_COMMAND 0x98
#define COMMAND_START 1UL
#define COMMAND_TO_MEMORY 2UL

static struct {
	const struct pci_device *device;
	volatile uint8_t *registers;
	int owner; /* slot of the shard that it works for, -1: none */
} engines[2];

/* Finds the two engines. Called before anybody counts frames: mapping their registers may take some. */
static void find_engines(void) {
	const struct pci_device *device;

	for (uint32_t i = 0, found = 0; (device = device_at(i)) && found < 2; i++)
		if (device->device == EDU_DEVICE) {
			engines[found].device = device;
			engines[found++].registers = paging_map_device(device->bars[0].base, PAGE_SIZE);
		}
	ASSERT(engines[1].device);
}

static volatile uint64_t *engine_register(uint32_t engine, uint32_t offset) {
	return (volatile uint64_t *)(engines[engine].registers + offset);
}

/* Has an engine begin to move bytes between its buffer and a device address. */
static void begin_long(uint32_t engine, uint64_t source, uint64_t target, uint64_t bytes) {
	iommu_faulted(engine); /* forgets what was before */
	iommu_set_owner(engine, current->id);
	*engine_register(engine, EDU_SOURCE) = source;
	*engine_register(engine, EDU_TARGET) = target;
	*engine_register(engine, EDU_COUNT) = bytes;
	*engine_register(engine, EDU_COMMAND) = COMMAND_START | (source == EDU_BUFFER ? COMMAND_TO_MEMORY : 0);
}

static void begin(uint32_t engine, uint64_t source, uint64_t target) { begin_long(engine, source, target, 64); }

/* Waits until an engine has ended, with interrupts off. */
static void await_end(uint32_t engine) {
	while (*engine_register(engine, EDU_COMMAND) & COMMAND_START)
		;
}

/* Returns how the transfer of an engine has ended. */
static int64_t result(uint32_t engine) { return iommu_faulted(engine) ? -COCONUT_E_IO : 0; }

/* Sends a DMA engine to places that are not mapped for it, and prints what became of each transfer. The frame is that
 * of the first page in the heap of the shard behind the caller. */
static void stray_dma(void) {
	static uint8_t secret[64] = "the supervisor's own", prey[64];
	uint64_t secret_phys = (uint64_t)secret - IMAGE_BASE, prey_phys = (uint64_t)prey - IMAGE_BASE;
	uint64_t frame = space_lookup(current + 1, COCONUT_HEAP_BASE) & PTE_ADDRESS;
	uint8_t *page = phys_to_virt(frame), before[64];
	struct extent secret_extent = {secret_phys, 64}, prey_extent = {prey_phys, 64};
	const struct {
		const char *what;
		uint64_t source, target;
	} transfers[] = {
		{"a read of what was never mapped", 0x100000, EDU_BUFFER},
		{"a read of the supervisor", secret_phys, EDU_BUFFER},
		{"a write to the supervisor", EDU_BUFFER, prey_phys},
		{"a write to another shard's frame", EDU_BUFFER, frame},
		{"a read of another shard's frame", frame, EDU_BUFFER},
		{"a read of the source of an earlier copy", EDU_SOURCE_IOVA + (secret_phys & PAGE_MASK), EDU_BUFFER},
		{"a write to the target of an earlier copy", EDU_BUFFER, EDU_TARGET_IOVA + (prey_phys & PAGE_MASK)},
	};

	print("Provoked: a copy that is allowed: %ld\n",
	      edu_copy(&(struct dma){secret_phys, prey_phys, 64, secret_extent, prey_extent}));
	memcpy(before, page, 64);
	for (size_t i = 0; i < ARRAY_LENGTH(transfers); i++) {
		memset(prey, 0, sizeof(prey));
		begin(0, transfers[i].source, transfers[i].target);
		await_end(0);
		int64_t ended = result(0);
		bool hit = !memcmp(secret, prey, sizeof(secret)) || memcmp(page, before, 64);
		print("Provoked: %s: %ld, the memory %s\n", transfers[i].what, ended, hit ? "was overwritten" : "is intact");
	}
}

/* Sends two engines astray at once, with interrupts off until both have ended: one record has to hold two faults. */
static void overflow_faults(void) {
	begin(0, 0x100000, EDU_BUFFER);
	begin(1, 0x200000, EDU_BUFFER);
	await_end(0);
	await_end(1);
	int64_t first = result(0), second = result(1);
	print("Provoked: two reads at once: %ld and %ld\n", first, second);
	begin(0, 0x300000, EDU_BUFFER);
	await_end(0);
	print("Provoked: a read after them: %ld\n", result(0));
}

static void count_interrupt(void *count) { ++*(uint32_t *)count; }

/* Has two engines in turn raise the interrupt that belongs to the second one, and prints how often it arrived. */
static void forge_interrupt(void) {
	static uint32_t count; /* of interrupts */
	uint32_t address, data, seen[2];

	iommu_route(engines[1].device, (uint8_t)apic_handle(count_interrupt, &count), &address, &data);
	for (uint32_t i = 0; i < 2; i++) {
		pci_msi_enable(&pci_ports, engines[i].device, address, (uint16_t)data);
		count = 0;
		*(volatile uint32_t *)(engines[i].registers + EDU_RAISE) = 1;
		for (int window = 0; window < 1000; window++)
			interrupt_window();
		seen[i] = count;
	}
	print("Provoked: an interrupt of the second engine, raised by the first: %u, by itself: %u\n", seen[0], seen[1]);
}

void __wrap_iommu_set_owner(uint32_t domain, int shard_id) {
	if (domain < ARRAY_LENGTH(engines)) engines[domain].owner = shard_id;
	__real_iommu_set_owner(domain, shard_id);
}

/* Kills a shard while an engine writes for it, or the one behind it. Once. */
void __wrap_edu_watch(void) {
	static bool done;

	__real_edu_watch();
	if (PROVOKE != PROVOKE_dma_kill && PROVOKE != PROVOKE_dma_kill_target) return;
	for (uint32_t i = 0; i < ARRAY_LENGTH(engines) && !done; i++) {
		uint64_t writes = COMMAND_START | COMMAND_TO_MEMORY;
		if (engines[i].owner < 0 || (*engine_register(i, EDU_COMMAND) & writes) != writes) continue;
		done = true;
		shard_kill(&shards[engines[i].owner + (PROVOKE == PROVOKE_dma_kill_target)], PRIORITY_CRITICAL);
	}
}

static void ignore_interrupt(void *engine) { (void)engine; }

/* Has the interrupts of the first engine do nothing. */
int __wrap_msi_allocate(const struct pci_device *device, void (*handler)(void *), void *argument) {
	static bool done;
	bool first = PROVOKE == PROVOKE_dma_silence && !done;

	done = true;
	return __real_msi_allocate(device, first ? ignore_interrupt : handler, argument);
}

#ifndef TRACE
/* When a piece has been mapped, its target last, sends the engine to write to the source. */
int __wrap_iommu_map(uint32_t domain, uint64_t iova, uint64_t phys, uint64_t pages, bool read, bool write) {
	int error = __real_iommu_map(domain, iova, phys, pages, read, write);

	if (PROVOKE != PROVOKE_dma_source || error || !write || iova != EDU_TARGET_IOVA) return error;
	begin_long(domain, EDU_BUFFER, EDU_SOURCE_IOVA, PAGE_SIZE - 1);
	await_end(domain);
	return (int)result(domain);
}
#endif

/* ---- The hooks ---- */

/* At the very start of the kernel. */
void __wrap_serial_init(void) {
	__real_serial_init();
	if (PROVOKE == PROVOKE_early_panic) panic("provoked before memory and traps were set up");
}

/* Commits the mistakes that need no shard. */
static __attribute__((noinline)) void provoke(void) {
	switch (PROVOKE) {
	case PROVOKE_panic:
		*(volatile uint64_t *)(HHDM_BASE + (1UL << 46)) = 0; /* far beyond all RAM */
		break;
	case PROVOKE_triple_fault:
		__asm__ volatile("lidt %0; int3" : : "m"((uint64_t[2]){0}));
		break;
	case PROVOKE_hang:
		halt_for_ever();
		break;
	case PROVOKE_silence:
		power_off();
		break;
	case PROVOKE_stack:
		overflow_stack(0);
		break;
	case PROVOKE_text_write:
		*(volatile uint64_t *)&sealed = 2;
		break;
	case PROVOKE_alias_write:
		*(volatile uint64_t *)phys_to_virt((uint64_t)&supervisor_main - IMAGE_BASE) = 0;
		break;
	case PROVOKE_data_execute:
		((void (*)(void))return_instruction)();
		break;
	case PROVOKE_dma_stray:
	case PROVOKE_dma_overflow:
	case PROVOKE_dma_source:
	case PROVOKE_dma_kill:
	case PROVOKE_dma_kill_target:
		find_engines();
		break;
	case PROVOKE_interrupt_forged:
		find_engines();
		forge_interrupt();
		break;
	default: /* the other mistakes are committed elsewhere */
		break;
	}
}

/* When everything is initialised. */
void __wrap_fs_init(const struct bootinfo *info) {
	__real_fs_init(info);
	provoke();
}

/* Turns over those bits in the entry of the current shard's first file mapping that are set in the first word of its
 * heap. */
static void damage_entry(void) {
	uint64_t heap = space_lookup(current, COCONUT_HEAP_BASE), mapping = space_lookup(current, COCONUT_LARGE_BASE);
	uint64_t table = paging_entry(current->cr3, COCONUT_LARGE_BASE, 1);

	if (!heap || !mapping) return;
	*(uint64_t *)phys_to_virt(table & PTE_ADDRESS) ^= *(uint64_t *)phys_to_virt(heap & PTE_ADDRESS);
	__asm__ volatile("invlpg (%0)" : : "r"(COCONUT_LARGE_BASE) : "memory");
}

static uint32_t points[MAX_SHARDS]; /* that a shard has come to after it was killed */

/* Lets others run at every point where it could, whether their time has come or not. */
bool __wrap_preempt_point(void) {
	if ((PROVOKE != PROVOKE_preempt && PROVOKE != PROVOKE_kill) || current == &supervisor_thread)
		return __real_preempt_point();
	points[current->id] += current->killed;
	interrupt_window();
	sys_yield();
	return current->killed && !ABLATE(leave);
}

/* Says how long a shard has gone on with its call after it was killed. */
void __wrap_handle_sys_exit(uint64_t code) {
	if (PROVOKE == PROVOKE_kill && current->killed)
		print("Provoked: killed in call %lu, then at %u more preemption points\n", current->call, points[current->id]);
	points[current->id] = 0;
	__real_handle_sys_exit(code);
}

/* Commits the mistakes that need a shard. Unused beside a recorder. */
static __attribute__((unused)) void provoke_in_call(void) {
	switch (PROVOKE) {
	case PROVOKE_smap:
		(void)*(volatile uint8_t *)COCONUT_CODE_BASE;
		break;
	case PROVOKE_smep:
		((void (*)(void))COCONUT_CODE_BASE)();
		break;
	case PROVOKE_entry:
		damage_entry();
		break;
	case PROVOKE_dma_stray:
		stray_dma();
		break;
	case PROVOKE_dma_overflow:
		overflow_faults();
		break;
	case PROVOKE_kill:
		shard_kill(current + 1, (current + 1)->priority);
		break;
	case PROVOKE_bad_return:
		((uint64_t *)current->stack_top)[-3] = 1UL << 47; /* rcx in struct syscall_frame */
		break;
	default: /* see provoke */
		break;
	}
}

#if !defined(SPEC_LOG) && !defined(TRACE)
/* A shard asks for such a mistake by TIME. */
int64_t __wrap_syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t number) {
	if (number == SYS_TIME) provoke_in_call();
	return __real_syscall_dispatch(a0, a1, a2, a3, a4, number);
}
#endif
