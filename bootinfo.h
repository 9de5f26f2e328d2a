/*
 * bootinfo.h: what the loader tells the supervisor.
 *
 * Owner: efi_loader.c fills it in, main.c checks magic and version before it believes anything else.
 * All addresses are physical, page aligned and below 1 GiB, which is what the trampoline maps.
 * pvh.c makes the same structure when QEMU's -kernel starts the supervisor without firmware.
 *
 * Read next: efi_loader.c (the writer), boot.asm (the jump between them), main.c (the reader).
 */
#ifndef BOOTINFO_H
#define BOOTINFO_H

#include <stdint.h>

#define BOOTINFO_MAGIC   0x544E434F /* "OCNT" in memory order */
#define BOOTINFO_VERSION 1

/* What a region of physical memory is. Device memory and holes are not listed. */
#define BOOT_MEM_USABLE   1 /* free once boot services have ended */
#define BOOT_MEM_LOADER   2 /* supervisor image, ramdisk, bootinfo, memory map: RAM in use */
#define BOOT_MEM_ACPI     3 /* ACPI tables and non-volatile storage: read, never handed out */
#define BOOT_MEM_FIRMWARE 4 /* runtime services and firmware data: RAM, never handed out */

struct boot_region {
	uint64_t base; /* page aligned */
	uint64_t size; /* bytes, a multiple of the page size */
	uint32_t kind; /* BOOT_MEM_... */
	uint32_t reserved;
};

struct bootinfo {
	uint32_t magic;        /* BOOTINFO_MAGIC */
	uint32_t version;      /* BOOTINFO_VERSION */
	uint64_t regions;      /* physical address of struct boot_region[region_count], sorted by base */
	uint64_t region_count;
	uint64_t ramdisk;      /* physical address of the ext2 image */
	uint64_t ramdisk_size; /* bytes */
	uint64_t rsdp;         /* physical address of the ACPI RSDP (may lie above 1 GiB), 0 if there is none */
	uint64_t command_line; /* physical address of a NUL-terminated string, 0 if there is none */
	uint64_t loader;       /* where the firmware put the loader, for a debugger's symbols, 0 if there was none */
};

#endif
