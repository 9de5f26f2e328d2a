/*
 * gpu.c: the GPU's memory, cut into partitions, and copies between them.
 *
 * Each `gpu` line of the manifest makes a partition: an equal share of the video memory (BAR0 of the first VGA device
 * that is known) and of the compute units (simulated: QEMU's VGA has none). Its shard gets the share mapped
 * read-write, the registers that all partitions share read-only, both uncached and at random addresses, and a
 * configuration page that says where. Copies from one partition to another are DMA by an engine behind the IOMMU
 * (edu.c); where there is none, the processor makes them.
 *
 * Invariants: no two partitions overlap. Video memory is zero whenever its partition gets an owner. A transfer ends
 * before the partition at either end changes hands.
 *
 * Read next: shard.c; shards/gpu-hal/main.c, a driver that uses its partition.
 */
#include "kernel.h"
#include "pci.h"

/* How many partitions there can be, and the compute units that they share: simulated ones. */
enum { PARTITIONS = 8, COMPUTE_UNITS = 8 };

/* Video cards: their PCI class. The ones that are known, QEMU's `VGA`, `secondary-vga` and `bochs-display`, and which
 * of their base addresses are memory and registers. Others are not touched: what is memory here may be registers
 * there. */
enum { VGA_CLASS = 0x03, VGA_VENDOR = 0x1234, VGA_DEVICE = 0x1111, VRAM_BAR = 0, REGISTER_BAR = 2 };

/* Which arguments of GPU_DMA name the two ranges; bytes of video memory cleared between two looks at the interrupts. */
enum { ARGUMENT_SOURCE = 2, ARGUMENT_TARGET = 3, CLEAR_STEP = 0x4000 };

/* The processor's random numbers: the bit of CPUID leaf 1, ECX, and how often to try (SDM Vol. 1 7.3.17.1). */
enum { CPUID_1_ECX_RDRAND = 1 << 30, RDRAND_TRIES = 10 };

/* Shards find their BARs between these two addresses. */
enum { BAR_FLOOR = 0x800000, BAR_CEILING = 0x3F000000 };

struct partition {
	struct shard *owner;   /* NULL: nobody, and the memory is zero, or being cleared */
	uint32_t owners;       /* how many it has had: tells one life of a shard from the next */
	uint64_t offset, size; /* bytes of video memory */
	bool veiled;           /* UNVEIL has been called: nothing opens any more */
	struct extent open;    /* to others' DMA: nothing, until UNVEIL says what; physical memory */
};

static struct partition partitions[PARTITIONS];
static uint32_t partition_count;
static uint64_t vram_phys, register_phys, register_size;
static uint8_t *vram; /* the kernel's own view, for clearing */

/* ---- Set-up ---- */

/* Clears a range of video memory in pieces. */
static void clear_vram(uint64_t offset, uint64_t size) {
	for (uint64_t end = offset + size; offset < end; offset += CLEAR_STEP) {
		memset(vram + offset, 0, min(end - offset, CLEAR_STEP));
		preempt_point();
	}
}

/* Returns whether video memory keeps what is written: every page gets a word of its own, and the words are looked at
 * when all are there, since a base address may be larger than the memory behind it, which then appears twice. */
static bool keeps(uint64_t size) {
	bool good = true;

	for (uint64_t pass = 0, at; pass < 2; pass++)
		for (at = 0; at < size; at += PAGE_SIZE) {
			volatile uint64_t *word = (volatile uint64_t *)(vram + at);
			good &= !pass || *word == ~at;
			*word = pass ? 0 : ~at;
			if (at % CLEAR_STEP == 0) preempt_point();
		}
	return good;
}

/* Maps the video memory of a card. Returns NULL, or in words why the card is not used. */
static const char *map_vram(const struct pci_device *card) {
	const struct pci_bar *memory = &card->bars[VRAM_BAR];

	if (card->vendor != VGA_VENDOR || card->device != VGA_DEVICE) return "this kernel does not know it";
	pci_command(&pci_ports, card, 0, PCI_COMMAND_MEMORY);
	if (memory->io || !memory->base || !(vram = paging_map_device(memory->base, memory->size)))
		return "its memory is not where memory can be";
	return keeps(memory->size) ? NULL : "its memory does not keep what is written to it";
}

/* Returns the first video card that can be used, or NULL, and says why others before it cannot. */
static const struct pci_device *find_vga(void) {
	const struct pci_device *card;

	for (uint32_t i = 0; (card = device_at(i)); i++) {
		const char *problem = card->class == VGA_CLASS ? map_vram(card) : NULL;
		if (problem)
			print("GPU: the video card %02x:%02x.%u (%04x:%04x) is not used: %s\n", card->bus, card->dev, card->fn,
			      card->vendor, card->device, problem);
		else if (card->class == VGA_CLASS)
			return card;
	}
	return NULL;
}

/* Returns how many shards of the manifest before `id` have a partition: the number of the one that `id` is to have. */
static uint32_t partition_of(uint32_t id) {
	uint32_t number = 0;

	for (uint32_t i = 0; i < id; i++)
		number += manifest.shard[i].gpu;
	return number;
}

/* Cuts the video memory of the first VGA device into one partition a gpu line of the manifest. */
void gpu_init(void) {
	uint32_t count = partition_of(manifest.shard_count);

	if (!count) return;
	const struct pci_device *vga = find_vga();
	if (!vga || count > PARTITIONS) {
		print("GPU: %s; the shards of the manifest's gpu lines cannot start\n",
		      vga ? "more gpu lines than partitions" : "no VGA device with video memory");
		return;
	}
	vram_phys = vga->bars[VRAM_BAR].base;
	const struct pci_bar *shared = &vga->bars[REGISTER_BAR];
	register_phys = shared->base;
	register_size = !shared->io && shared->base && paging_device_fits(shared->base, shared->size) ? shared->size : 0;
	uint64_t share = vga->bars[VRAM_BAR].size / count & ~PAGE_MASK;
	for (uint32_t i = 0; i < count; i++)
		partitions[i] = (struct partition){.offset = i * share, .size = share};
	partition_count = count;
	clear_vram(0, share * count);
	print_verbose("GPU: %u partitions of %lu KiB video memory, %u compute units each (simulated)\n", count,
		      share / 1024, COMPUTE_UNITS / count);
}

/* ---- A shard's partition ---- */

/* Returns the partition that a shard has, or NULL. */
static struct partition *owned_by(const struct shard *shard) {
	for (uint32_t i = 0; i < partition_count; i++)
		if (partitions[i].owner == shard) return &partitions[i];
	return NULL;
}

/* Returns a random number: the processor's, or the time stamp counter where it has none. */
static uint64_t random_number(void) {
	uint64_t value;
	bool good;

	if (cpuid(1, 0).ecx & CPUID_1_ECX_RDRAND)
		for (int i = 0; i < RDRAND_TRIES; i++) {
			__asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(good));
			if (good) return value;
		}
	return rdtsc() * 0x9E3779B97F4A7C15; /* Knuth's multiplicative hash: spreads the low bits upwards */
}

/* Returns a random page-aligned place for `size` bytes among the BAR addresses, away from the `len` bytes at `taken`
 * and not even side by side with them: who runs over the end of the one range shall not arrive in the other. */
static uint64_t random_place(uint64_t size, uint64_t taken, uint64_t len) {
	uint64_t places = (BAR_CEILING - BAR_FLOOR - size) / PAGE_SIZE, at;

	do {
		at = BAR_FLOOR + (random_number() >> 16) % places * PAGE_SIZE;
	} while (at <= taken + len && taken <= at + size);
	return at;
}

/* Maps device memory for a shard: uncached, not to be executed, and not its own to free. Returns 0 or an error. */
static int map_range(struct shard *shard, uint64_t address, uint64_t phys, uint64_t size, uint64_t rights) {
	rights |= PTE_NX | PTE_PCD | PTE_PWT | PTE_BORROWED;
	for (uint64_t done = 0; done < size; done += PAGE_SIZE) {
		int error = space_map(shard, address + done, phys + done, rights);
		if (error) return error;
		preempt_point();
	}
	return 0;
}

/* Gives a shard of the manifest its partition and fills in its configuration page. Returns 0 or an error: then the
 * caller destroys the address space, and calls gpu_release. */
int gpu_attach(struct shard *shard, struct gpu_config *config) {
	uint32_t number = partition_of(shard->id);
	struct partition *part = &partitions[number];

	if (number >= partition_count) return -COCONUT_E_NODEV;
	ASSERT(!part->owner);
	part->owner = shard;
	part->owners++;
	part->veiled = false;
	part->open = (struct extent){vram_phys + part->offset, ABLATE(dma_early) ? part->size : 0};
	uint64_t address = random_place(part->size, 0, 0), registers = random_place(register_size, address, part->size);
	int error = map_range(shard, address, vram_phys + part->offset, part->size, PTE_WRITE);
	if (!error) error = map_range(shard, registers, register_phys, register_size, 0);
	*config = (struct gpu_config){
		.magic = GPU_CONFIG_MAGIC, .partition = number, .vram_size = part->size, .vram_vaddr = address,
		.cu_count = COMPUTE_UNITS / partition_count, .mmio_vaddr = register_size ? registers : 0,
	};
	return error;
}

/* Gives a GPU shard the capabilities for the partitions of the others, in order of their numbers. */
void gpu_allow(uint32_t id) {
	for (uint32_t i = 0; i < partition_count; i++)
		if (i != partition_of(id)) cap_give_first(id, CAP_GPU_DMA, CAP_RIGHT_SEND | CAP_RIGHT_GRANT, i);
}

/* Takes a dying shard's partition back: transfers out of it and into it end, then its memory is cleared. Its pages
 * are unmapped already. */
void gpu_release(struct shard *shard) {
	struct partition *part = owned_by(shard);

	edu_abandon(shard);
	if (!part) return;
	part->owner = NULL; /* no copy to it begins from now on; the next owner comes when this shard's slot is free */
	edu_revoke(vram_phys + part->offset, part->size);
	if (!ABLATE(vram_zeroing)) clear_vram(part->offset, part->size);
}

/* ---- The calls ---- */

/* GPU_UNVEIL: opens a range of the caller's partition to the DMA of others. From now on its own stays in there too:
 * until then it may copy from all of it. */
int64_t sys_gpu_unveil(uint64_t offset, uint64_t size) {
	struct partition *part = owned_by(current);

	if (!part) return refuse(-COCONUT_E_NODEV, 0, 0, "the shard has no GPU partition");
	if (part->veiled) return refuse(-COCONUT_E_EXISTS, 1, offset, "the shard has unveiled its range already");
	if (offset > part->size || size > part->size - offset)
		return refuse(-COCONUT_E_INVAL, 2, size, "the range is not wholly inside the partition");
	part->veiled = true;
	part->open = (struct extent){vram_phys + part->offset + offset, size};
	return 0;
}

/* Returns what of a partition the current shard's DMA may touch. */
static struct extent open_here(const struct partition *part) {
	if (part->owner == current && !part->veiled) return (struct extent){vram_phys + part->offset, part->size};
	return part->open;
}

/* Returns 0 when DMA may touch the range that begins in the given argument of GPU_DMA, or refuses the call. */
static int64_t check_range(const struct partition *part, int argument, uint64_t offset, uint64_t len) {
	if (ABLATE(dma_check)) return 0;
	if (offset > part->size || len > part->size - offset)
		return refuse(-COCONUT_E_INVAL, argument, offset, "the range is not wholly inside the partition");
	struct extent open = open_here(part);
	uint64_t at = vram_phys + part->offset + offset;
	if (at >= open.start && at + len <= open.start + open.size) return 0;
	return refuse(-COCONUT_E_VEILED, argument, offset, argument == ARGUMENT_SOURCE ?
		"the range is not wholly inside what the shard has unveiled" :
		"the range is not wholly inside what the target's owner has unveiled");
}

/* Copies without an engine, which no IOMMU sees. Ends with -COCONUT_E_CLOSED when the target loses its owner, or the
 * capability for it is gone. */
static int64_t copy_by_cpu(const struct partition *to, const struct dma *copy) {
	static bool said;
	uint32_t owners = to->owners;

	if (!said) print("GPU: no DMA engine behind an IOMMU; copies between partitions are simulated by the CPU\n");
	said = true;
	for (uint64_t done = 0; done < copy->len; done += PAGE_SIZE) {
		bool same_owner = to->owner && (to->owners == owners || ABLATE(owners));
		if (!same_owner || !(ABLATE(dma_check) || cap_held())) return -COCONUT_E_CLOSED;
		memcpy(vram + (copy->target - vram_phys) + done, vram + (copy->source - vram_phys) + done,
		       min(copy->len - done, PAGE_SIZE));
		if (preempt_point()) return -COCONUT_E_CLOSED;
	}
	return 0;
}

/* GPU_DMA: copies `len` bytes at `source` of the caller's partition to another one. Returns when they are there. Where
 * the checks are left out by ABLATE, the handle itself chooses a target, which nothing is open of: the IOMMU has to
 * refuse. */
int64_t sys_gpu_dma(uint64_t handle, uint64_t source, uint64_t target_and_len) {
	struct partition *from = owned_by(current);
	uint64_t target = target_and_len >> 32, len = (uint32_t)target_and_len;
	int64_t error;

	if (!from) return refuse(-COCONUT_E_NODEV, 0, 0, "the shard has no GPU partition");
	const struct capability *cap = cap_use(1, handle, CAP_GPU_DMA, CAP_RIGHT_SEND, &error);
	if (!cap && !ABLATE(dma_check)) return error;
	const struct partition *to = &partitions[cap ? cap->resource : handle % partition_count];
	if (len == 0) return refuse(-COCONUT_E_INVAL, 3, target_and_len, "there is nothing to do for no bytes");
	if ((error = check_range(from, ARGUMENT_SOURCE, source, len))) return error;
	if (!to->owner) return refuse(-COCONUT_E_CLOSED, 1, handle, "nobody owns the target partition");
	if ((error = check_range(to, ARGUMENT_TARGET, target, len))) return error;
	struct dma copy = {vram_phys + from->offset + source, vram_phys + to->offset + target, len, open_here(from),
		cap ? open_here(to) : (struct extent){0, 0}};
	if ((error = edu_copy(&copy)) == -COCONUT_E_NODEV) error = copy_by_cpu(to, &copy);
	if (!error) return 0;
	if (error == -COCONUT_E_CLOSED && !cap_held())
		return refuse(-COCONUT_E_BADHANDLE, 1, handle, "the capability was taken away during the transfer");
	return refuse((int)error, 1, handle, error == -COCONUT_E_CLOSED ?
		"the target's owner ended during the transfer" :
		"the engine could not make the transfer");
}
