/*
 * bootinfo.h: what the loader tells the supervisor.
 *
 * efi_loader.c fills it in, or pvh.c when QEMU's -kernel starts the supervisor without firmware. main.c checks magic
 * and version before it believes anything else. All addresses are physical. What they name lies below 1 GiB, which is
 * what the trampoline maps; only ACPI tables may lie anywhere. The ramdisk begins at a page boundary, so that its files
 * can be mapped.
 *
 * Read next: elf.h.
 */
#ifndef BOOTINFO_H
#define BOOTINFO_H

#include <stdint.h>

#define BOOTINFO_MAGIC   0x544E434F /* "OCNT" in memory order */
#define BOOTINFO_VERSION 1

/* What a region of physical memory is; device memory, what firmware calls reserved or broken, and holes are not listed.
 * USABLE: free once boot services have ended; without firmware, image and ramdisk lie in there too, and mm.c keeps them
 * out. LOADER: what the loader has put there: image, ramdisk, bootinfo. ACPI: tables and non-volatile storage, read and
 * never handed out. FIRMWARE: what it keeps at run time, never handed out. */
enum { BOOT_MEM_USABLE = 1, BOOT_MEM_LOADER, BOOT_MEM_ACPI, BOOT_MEM_FIRMWARE };

struct boot_region {
	uint64_t base, size; /* bytes, whole pages */
	uint32_t kind, reserved; /* BOOT_MEM_... */
};

struct bootinfo {
	uint32_t magic, version;        /* BOOTINFO_MAGIC, BOOTINFO_VERSION */
	uint64_t regions, region_count; /* struct boot_region[region_count], sorted by base */
	uint64_t ramdisk, ramdisk_size; /* the ext2 image, and its bytes */
	uint64_t rsdp;                  /* the ACPI RSDP (it may lie above 1 GiB), 0 if there is none */
	uint64_t command_line;          /* a NUL-terminated string, 0 if there is none */
	uint64_t loader; /* where the firmware put the loader, for a debugger's symbols, 0 if there was none */
};

#endif
