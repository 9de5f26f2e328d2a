/*
 * pvh.c: starting without firmware.
 *
 * QEMU's -kernel finds the ELF note in boot.asm, loads the image and passes a start-info structure instead of
 * a bootinfo. This file makes the one out of the other. It serves benchmarks and test batteries, for which four
 * seconds of firmware a boot are too many; the UEFI loader stays the product.
 *
 * Read next: serial.c. The structures are Xen's (public/arch-x86/hvm/start_info.h).
 */
#include "kernel.h"

#define PVH_MAGIC 0x336EC578
#define PVH_REGIONS 64
#define PVH_RAM 1  /* memory types are E820's (ACPI 6.4, table 15-374) */
#define PVH_ACPI 3

struct pvh_module {
	uint64_t base, size, command_line, reserved;
};

struct pvh_region {
	uint64_t base, size;
	uint32_t type, reserved;
};

struct pvh_start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, command_line, rsdp; /* physical addresses */
	uint64_t regions;                     /* from version 1 on */
	uint32_t region_count, reserved;
};

static struct boot_region regions[PVH_REGIONS];
static struct bootinfo bootinfo;

/* Adds the whole pages of one region. Only RAM is of interest. */
static void add_region(const struct pvh_region *region) {
	uint64_t base = (region->base + PAGE_MASK) & ~PAGE_MASK;
	uint64_t end = (region->base + region->size) & ~PAGE_MASK;

	if ((region->type != PVH_RAM && region->type != PVH_ACPI) || base >= end || bootinfo.region_count == PVH_REGIONS)
		return;
	regions[bootinfo.region_count++] = (struct boot_region){
		.base = base,
		.size = end - base,
		.kind = region->type == PVH_RAM ? BOOT_MEM_USABLE : BOOT_MEM_ACPI,
	};
}

/* Returns what the supervisor was started with, if that is our loader's bootinfo. If it is the start-info of QEMU's
 * -kernel, returns a bootinfo that says the same. The ramdisk is the first module (-initrd). */
const struct bootinfo *pvh_bootinfo(const void *start) {
	const struct pvh_start_info *info = start;

	if (info->magic != PVH_MAGIC) return start;
	const struct pvh_module *module = phys_to_virt(info->modules);
	const struct pvh_region *region = phys_to_virt(info->regions);
	bootinfo = (struct bootinfo){
		.magic = BOOTINFO_MAGIC,
		.version = BOOTINFO_VERSION,
		.regions = (uint64_t)regions - IMAGE_BASE,
		.ramdisk = info->module_count ? module->base : 0,
		.ramdisk_size = info->module_count ? module->size : 0,
		.rsdp = info->rsdp,
		.command_line = info->command_line,
	};
	for (uint32_t i = 0; info->version >= 1 && i < info->region_count; i++)
		add_region(&region[i]);
	return &bootinfo;
}
