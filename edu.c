/*
 * edu.c: the DMA engines: QEMU's `edu` devices, each behind the IOMMU in a domain of its own.
 *
 * An engine copies through a buffer of its own: memory to buffer, interrupt, buffer to memory, interrupt, about 100 ms
 * each way. A long copy goes in pieces of at most 4,095 bytes; for each piece an engine is taken, exactly the pages of
 * the piece are mapped, and the engine is given back. The shard that copies sleeps meanwhile.
 *
 * Invariants: an engine reaches memory only while it works on a piece: the source to be read, the target to be written,
 * and of both no page that the caller's extents leave out: what is mapped follows from rights, not from the request.
 * An engine has one owner or none; one that runs without an owner (its shard died, or the copy was ended) reaches
 * nothing any more, and becomes free at its interrupt; that the IOMMU refuses it is no news, and takes no other
 * domain's place in the fault record. What is in the buffer goes to the target of the piece that it
 * came from, or nowhere. Shards never see an engine's registers.
 *
 * Read next: gpu.c, whose memory is copied. docs/specs/edu.txt in the sources of QEMU 7.2 (edu.rst in newer ones)
 * describes the device.
 */
#include "kernel.h"
#include "pci.h"

/* Registers in BAR0, of which EDU_REGISTERS bytes are mapped; those from 0x80 on have 64 bits. */
enum {
	EDU_INTERRUPTS = 0x24, EDU_ACKNOWLEDGE = 0x64, EDU_SOURCE = 0x80, EDU_TARGET = 0x88, EDU_COUNT = 0x90,
	EDU_COMMAND = 0x98, EDU_REGISTERS = 0xA0,
};

/* Bits of a command: begin; to memory, else to the buffer; interrupt at the end. */
enum { COMMAND_START = 1, COMMAND_TO_MEMORY = 2, COMMAND_INTERRUPT = 4 };

/* Bytes of a piece: QEMU aborts when a transfer fills all 4,096 of the buffer. Pages that a piece lies in, at most, at
 * each end. Engines that are used, and milliseconds after which one that does not answer counts as broken. */
enum { PIECE_MAX = 4095, PIECE_PAGES = 2, ENGINES = 8, ANSWER_MS = 30000 };

/* An engine without an owner is free, unless it runs or is broken. */
struct engine {
	const struct pci_device *device;
	volatile uint8_t *registers;
	uint32_t domain;
	struct shard *owner;  /* NULL: none */
	struct shard *waiter; /* a list of one: its owner, while it runs */
	bool running;
	bool failed; /* the last transfer was refused by the IOMMU, or never ended */
	bool broken; /* it did not answer: nobody gets it again */
	uint64_t started_ms;
};

static struct engine engines[ENGINES];
static uint32_t engine_count;
static struct shard *queue; /* shards that wait for an engine */

/* The copy that each shard is in. Length 0: none, or it has been ended. */
static struct dma copies[MAX_SHARDS];

#define REG32(engine, offset) (*(volatile uint32_t *)((engine)->registers + (offset)))
#define REG64(engine, offset) (*(volatile uint64_t *)((engine)->registers + (offset)))

/* ---- Who has which engine ---- */

/* Notes whose an engine is, here and for the reports of the IOMMU. */
static void set_owner(struct engine *engine, struct shard *owner) {
	engine->owner = owner;
	iommu_set_owner(engine->domain, owner ? owner->id : -1);
}

/* Gives an engine that does not run to whoever has waited longest, or makes it free. */
static void pass_on(struct engine *engine) {
	set_owner(engine, engine->broken ? NULL : queue);
	if (engine->owner) sched_wake(engine->owner, engine - engines);
}

/* Takes an engine for the current shard, waiting for one if need be. Returns its number, or -COCONUT_E_NODEV when none
 * works, or -COCONUT_E_CLOSED when the copy is ended meanwhile. */
static int64_t take_engine(void) {
	bool any = false;

	for (uint32_t i = 0; i < engine_count; i++) {
		if (!engines[i].owner && !engines[i].running && !engines[i].broken) {
			set_owner(&engines[i], current);
			return i;
		}
		any |= !engines[i].broken;
	}
	return any ? sched_wait(&queue, WAIT_DMA, 0) : -COCONUT_E_NODEV;
}

/* Takes away what is mapped for an engine. */
static void unmap_piece(struct engine *engine) {
	iommu_unmap(engine->domain, EDU_SOURCE_IOVA, PIECE_PAGES);
	iommu_unmap(engine->domain, EDU_TARGET_IOVA, PIECE_PAGES);
}

/* ---- Transfers ---- */

/* The engine's interrupt: a transfer has ended. Its shard goes on, or, where that has died, the engine is free now. */
static void engine_interrupt(void *argument) {
	struct engine *engine = argument;

	REG32(engine, EDU_ACKNOWLEDGE) = REG32(engine, EDU_INTERRUPTS);
	if (!engine->running) return;
	engine->running = false;
	engine->failed = iommu_faulted(engine->domain);
	if (engine->waiter) {
		sched_wake(engine->waiter, 0);
	} else if (!engine->owner) {
		iommu_report_faults(engine->domain, true);
		pass_on(engine);
	}
}

/* Has the current shard's engine move bytes from one device address to another, of which one is its buffer, and waits
 * for the end. Returns 0, -COCONUT_E_IO, or -COCONUT_E_CLOSED when the copy has been ended, or the shard killed. */
static int64_t transfer(struct engine *engine, uint64_t source, uint64_t target, uint64_t len) {
	ASSERT(len > 0 && len <= PIECE_MAX && engine->owner == current && !engine->running);
	iommu_faulted(engine->domain); /* forgets what was before */
	engine->running = true;
	engine->started_ms = timer_ms();
	REG64(engine, EDU_SOURCE) = source;
	REG64(engine, EDU_TARGET) = target;
	REG64(engine, EDU_COUNT) = len;
	REG64(engine, EDU_COMMAND) = COMMAND_INTERRUPT | COMMAND_START | (source == EDU_BUFFER ? COMMAND_TO_MEMORY : 0);
	if (sched_wait(&engine->waiter, WAIT_DMA, 0) < 0 || !copies[current->id].len) return -COCONUT_E_CLOSED;
	return engine->failed ? -COCONUT_E_IO : 0;
}

/* Maps the pages that hold `len` bytes at `phys`, but only those of them that hold bytes of `allowed`. Where software
 * has checked the copy they are the same; where it has not, the IOMMU refuses the rest. Returns 0 or an error. */
static int map_piece(struct engine *engine, uint64_t iova, uint64_t phys, uint64_t len, struct extent allowed,
	bool write) {
	uint64_t from = phys, end = phys + len;

	if (!ABLATE(dma_extent)) {
		from = from > allowed.start ? from : allowed.start;
		end = min(end, allowed.start + allowed.size);
	}
	if (from >= end) return 0;
	from &= ~PAGE_MASK;
	return iommu_map(engine->domain, iova + from - (phys & ~PAGE_MASK), from, (end - from + PAGE_MASK) / PAGE_SIZE,
			 !write || ABLATE(dma_write), write || ABLATE(dma_write));
}

/* Copies `len` bytes, at most PIECE_MAX, from `done` on. What could not be read is not written: the engine's buffer may
 * hold what an earlier copy left. Returns 0 or an error. */
static int64_t copy_piece(const struct dma *copy, uint64_t done, uint64_t len) {
	uint64_t source = copy->source + done, target = copy->target + done;
	uint64_t from = EDU_SOURCE_IOVA + (source & PAGE_MASK), to = EDU_TARGET_IOVA + (target & PAGE_MASK);
	int64_t number = take_engine();

	if (!copy->len) return -COCONUT_E_CLOSED;
	if (number < 0) return number;
	struct engine *engine = &engines[number];
	int64_t error = map_piece(engine, EDU_SOURCE_IOVA, source, len, copy->readable, false);
	if (!error) error = map_piece(engine, EDU_TARGET_IOVA, target, len, copy->writable, true);
	if (!error) error = transfer(engine, from, EDU_BUFFER, len);
	if (!error) error = transfer(engine, EDU_BUFFER, to, len);
	if (error == -COCONUT_E_CLOSED) return error; /* whoever ended the copy takes the engine, and unmaps all */
	unmap_piece(engine);
	pass_on(engine);
	return error;
}

/* Makes a copy by DMA, for as long as the current shard has the capability of its call; it sleeps until all is there.
 * Returns 0, -COCONUT_E_NODEV without an engine behind an IOMMU, -COCONUT_E_IO when an engine was refused something or
 * does not answer, -COCONUT_E_CLOSED when the copy was ended by edu_revoke or edu_cap_gone. After an error some of the
 * bytes may be there. */
int64_t edu_copy(const struct dma *wanted) {
	struct dma *copy = &copies[current->id];
	int64_t error = 0;

	*copy = *wanted;
	for (uint64_t done = 0; done < wanted->len && !error; done += PIECE_MAX)
		error = copy_piece(copy, done, min(wanted->len - done, PIECE_MAX));
	if (current->killed) edu_abandon(current);
	copy->len = 0;
	return error;
}

/* ---- The end of a copy before its time ---- */

/* Ends the copy that a shard is in, if any: when this returns, nothing is mapped for it. An engine that still runs for
 * it is refused whatever it does, and is free after its interrupt. The shard itself is about to die, or to be woken. */
void edu_abandon(struct shard *shard) {
	copies[shard->id].len = 0;
	for (struct engine *engine = engines; engine < engines + engine_count; engine++) {
		if (engine->owner != shard) continue;
		if (engine->running && !ABLATE(dma_orphan)) iommu_report_faults(engine->domain, false);
		unmap_piece(engine);
		engine->owner = NULL;
		if (!engine->running) pass_on(engine);
	}
}

/* Returns whether the ranges of `a_len` bytes at `a` and of `b_len` at `b` have a byte in common. */
static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len) { return a < b + b_len && b < a + a_len; }

/* Ends the copy that a shard is in, and has it go on with -COCONUT_E_CLOSED. */
static void end_copy(struct shard *shard) {
	edu_abandon(shard);
	if (shard->state == SHARD_BLOCKED && shard->wait == WAIT_DMA) sched_wake(shard, -COCONUT_E_CLOSED);
}

/* A capability of a shard is gone: what it copies by it ends, at whatever piece it is. */
void edu_cap_gone(struct shard *holder, const struct capability *cap) {
	if (copies[holder->id].len && cap_is_of_call(cap, holder) && !ABLATE(dma_revoke)) end_copy(holder);
}

/* Ends every copy from or to the given memory, whose owner is dying. Its shards get -COCONUT_E_CLOSED. */
void edu_revoke(uint64_t phys, uint64_t size) {
	for (uint32_t id = 0; id < MAX_SHARDS; id++) {
		const struct dma *copy = &copies[id];
		uint64_t len = copy->len;
		if (!len) continue;
		if (!overlap(copy->source, len, phys, size) && !overlap(copy->target, len, phys, size)) continue;
		end_copy(&shards[id]);
	}
}

/* Takes an engine that does not answer out of service, for good. Its shard gets -COCONUT_E_IO. */
static void retire(struct engine *engine) {
	const struct pci_device *device = engine->device;

	print("DMA engine %02x:%02x.%u has not answered for %u s: it is retired\n", device->bus, device->dev,
	      device->fn, ANSWER_MS / 1000);
	pci_command(&pci_ports, device, PCI_COMMAND_BUS_MASTER, 0);
	engine->broken = engine->failed = true;
	engine->running = false;
	sched_wake_all(&engine->waiter, 0);
}

/* Gives up on engines that have not answered for long. The supervisor's thread calls it now and then. */
void edu_watch(void) {
	bool any = false;

	for (struct engine *engine = engines; engine < engines + engine_count; engine++) {
		if (engine->running && timer_ms() - engine->started_ms > ANSWER_MS) retire(engine);
		any |= !engine->broken;
	}
	if (!any) sched_wake_all(&queue, -COCONUT_E_NODEV);
}

/* ---- Set-up ---- */

/* Takes a device into service, if it is an engine. Returns whether it can be used. */
static bool add_engine(const struct pci_device *device) {
	struct engine *engine = &engines[engine_count];

	if (device->vendor != EDU_VENDOR || device->device != EDU_DEVICE || !device->bars[0].base) return false;
	if (!paging_device_fits(device->bars[0].base, EDU_REGISTERS)) return false;
	if (iommu_attach(device, &engine->domain)) return false;
	engine->device = device;
	pci_command(&pci_ports, device, 0, PCI_COMMAND_MEMORY);
	engine->registers = paging_map_device(device->bars[0].base, EDU_REGISTERS);
	/* Mapping without rights makes the tables: no copy can fail for want of memory. */
	return msi_allocate(device, engine_interrupt, engine) > 0 &&
	       !iommu_map(engine->domain, EDU_SOURCE_IOVA, 0, PIECE_PAGES, false, false) &&
	       !iommu_map(engine->domain, EDU_TARGET_IOVA, 0, PIECE_PAGES, false, false);
}

/* Takes the edu devices that the IOMMU watches into service, the first ENGINES of them. */
void edu_init(void) {
	for (uint32_t i = 0; device_at(i) && engine_count < ENGINES; i++)
		engine_count += add_engine(device_at(i));
	if (engine_count)
		print_verbose("DMA engines: %u, each in a domain of its own\n", engine_count);
	else
		print("DMA engines: none; copies between GPU partitions are made by the processor\n");
}
