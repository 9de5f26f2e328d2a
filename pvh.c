/*
 * pvh.c: starting without firmware.
 *
 * QEMU's -kernel finds the ELF note in boot.asm, loads the image and passes a start-info structure instead of
 * a bootinfo. This file makes the one out of the other. It serves benchmarks and test batteries, for which four
 * seconds of firmware a boot are too many; the UEFI loader stays the product.
 *
 * Read next: main.c. The structures are Xen's (public/arch-x86/hvm/start_info.h).
 */
#include "kernel.h"

/* The first word of a start-info; how many regions are kept; the memory types of interest (ACPI 6.5, 15,
 * "Address Range Types"). */
enum { PVH_MAGIC = 0x336EC578, PVH_REGIONS = 64, PVH_RAM = 1, PVH_ACPI = 3 };

struct pvh_module { uint64_t base, size, command_line, reserved; };

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

/* Adds the whole pages of one region, if it is RAM or holds ACPI tables. Those beyond PVH_REGIONS are left out. */
static void add_region(const struct pvh_region *region) {
	uint64_t base = (region->base + PAGE_MASK) & ~PAGE_MASK, end = (region->base + region->size) & ~PAGE_MASK;
	uint32_t kind = region->type == PVH_RAM ? BOOT_MEM_USABLE : region->type == PVH_ACPI ? BOOT_MEM_ACPI : 0;

	if (kind && base < end && bootinfo.region_count < PVH_REGIONS)
		regions[bootinfo.region_count++] = (struct boot_region){.base = base, .size = end - base, .kind = kind};
}

/* Returns what the supervisor was started with, if that is our loader's bootinfo. If it is the start-info of QEMU's
 * -kernel, returns a bootinfo that says the same. The ramdisk is the first module (-initrd). */
const struct bootinfo *pvh_bootinfo(const void *start) {
	const struct pvh_start_info *info = start;

	if (info->magic != PVH_MAGIC) return start;
	const struct pvh_module *module = phys_to_virt(info->modules);
	const struct pvh_region *region = phys_to_virt(info->regions);
	bootinfo = (struct bootinfo){
		.magic = BOOTINFO_MAGIC, .version = BOOTINFO_VERSION,
		.regions = (uint64_t)regions - IMAGE_BASE, .rsdp = info->rsdp, .command_line = info->command_line,
		.ramdisk = info->module_count ? module->base : 0, .ramdisk_size = info->module_count ? module->size : 0,
	};
	for (uint32_t i = 0; info->version >= 1 && i < info->region_count; i++)
		add_region(&region[i]);
	return &bootinfo;
}
