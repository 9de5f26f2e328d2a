/*
 * efi_loader.c: the UEFI application that brings the supervisor into memory and jumps to it.
 *
 *   1. reserve the fixed addresses of layout.h        4. describe it all in struct bootinfo
 *   2. load and check supervisor.elf                  5. leave the firmware with its final memory map
 *   3. load and check ramdisk.img, cmdline.txt        6. jump to the ELF's entry point
 *
 * What the supervisor gets lies below 1 GiB, which is what its trampoline maps, but for the ACPI tables. Messages are
 * whole lines that begin with [BOOT] and go to COM1 directly: OVMF copies its own console there too, so using both
 * would print twice. Whatever fails is said in one line, with what to do, and ends the machine: with DEBUG_EXIT_LOADER
 * where QEMU listens.
 *
 * Built with gnu-efi: GNU_EFI_USE_MS_ABI makes the compiler call the firmware with its calling convention; efi_main
 * itself is called by gnu-efi's crt0 with ours. There is no library behind this file but serial.c and lib.c, which it
 * shares with the supervisor.
 *
 * Section numbers are those of the UEFI specification 2.10.
 * Read next: bootinfo.h (the result), elf.c (the checks), boot.asm (where the jump goes).
 */
#include <efi.h>

#include "elf.h"
#include "kernel.h"

#define LINE_MAX 512 /* bytes of a message */

/* Memory map entries that may come into being between two calls, and how often the map may change under our hands. */
enum { MAP_SLACK = 32, MAP_TRIES = 16 };

/* Where ext2 has its superblock; the numbers of some 32-bit words in it; what the lower half of MAGIC_WORD is, and the
 * largest LOG_BLOCK_SIZE, for 64 KiB (kernel.org, ext4 documentation, "Super Block"). */
enum { EXT2_SUPER = 1024, EXT2_SUPER_END = 2048 };
enum { EXT2_BLOCKS_COUNT = 1, EXT2_LOG_BLOCK_SIZE = 6, EXT2_MAGIC_WORD = 14 };
enum { EXT2_MAGIC = 0xEF53, EXT2_LOG_BLOCK_MAX = 6 };

/* A file in memory. */
struct file {
	uint8_t *data; /* page aligned, NULL if there is no such file */
	uint64_t size;
};

static EFI_BOOT_SERVICES *boot_services;
static EFI_RUNTIME_SERVICES *runtime_services;

/* ---------------------------------------------------------------------------------------------------------- */
/* Messages */

/* Prints one line of the loader. */
static void __attribute__((format(printf, 1, 2))) say(const char *template, ...) {
	char text[LINE_MAX];
	va_list args;

	va_start(args, template);
	format(text, sizeof(text), template, args);
	va_end(args);
	serial_write("[BOOT] ", strlen("[BOOT] "));
	serial_write(text, strlen(text));
	serial_write("\n", 1);
	serial_drain();
}

/* Prints what is wrong and what to do, and ends the machine. */
#define give_up(...) (say("error: " __VA_ARGS__), end_machine())

/* Ends the machine as one that did not start: by QEMU's isa-debug-exit, else by switching it off. */
static void __attribute__((noreturn)) end_machine(void) {
	serial_drain();
	outb(DEBUG_EXIT_PORT, DEBUG_EXIT_LOADER);
	runtime_services->ResetSystem(EfiResetShutdown, EFI_ABORTED, 0, NULL);
	halt_for_ever();
}

/* ---------------------------------------------------------------------------------------------------------- */
/* Memory of the firmware */

/* Returns how many pages `size` bytes take. */
static uint64_t pages_of(uint64_t size) { return (size + PAGE_SIZE - 1) / PAGE_SIZE; }

/* Returns `size` bytes, page aligned and below 1 GiB, for something that the supervisor is to find. */
static void *allocate(uint64_t size, const char *what) {
	EFI_PHYSICAL_ADDRESS address = PHYS_TRAMPOLINE_TOP - 1;

	if (boot_services->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages_of(size), &address) != EFI_SUCCESS)
		give_up("too little memory: %lu KiB below 1 GiB are needed for %s: give the machine more, for example "
			"./run.sh -m 256M", size / 1024, what);
	return (void *)address;
}

/* The firmware's memory map as it was read last. */
static struct {
	EFI_MEMORY_DESCRIPTOR *entries;
	UINTN capacity, size, stride; /* bytes that there is room for, bytes of the map, bytes of one entry */
	UINTN key;                    /* tells the firmware which map we have seen */
} map;

/* Reads the map. Fails when there is too little room for it, and says then how much it needs. */
static EFI_STATUS read_map(void) {
	UINT32 version;

	map.size = map.capacity;
	return boot_services->GetMemoryMap(&map.size, map.entries, &map.key, &map.stride, &version);
}

/* Makes room for the map, of which the first attempt to read it tells the size, and for what it grows by meanwhile:
 * this allocation alone may add entries. */
static void allocate_map(void) {
	read_map();
	map.capacity = map.size + MAP_SLACK * map.stride;
	map.entries = allocate(map.capacity, "the memory map");
}

/* Returns entry `i`, of which there are size / stride: firmware may have more to say in an entry than we know. */
static const EFI_MEMORY_DESCRIPTOR *map_entry(UINTN i) { return (void *)((uint8_t *)map.entries + i * map.stride); }

/* What the firmware uses memory of each type for (7.2.1, "EFI_MEMORY_TYPE"), and what the supervisor is told: the
 * BOOT_MEM_ kind, or with 0 nothing, since it is no RAM that anybody could use. */
#define TYPE_UNKNOWN (EfiPalCode + 1)
static const struct {
	const char *name;
	uint32_t kind;
} memory_types[] = {
	[EfiReservedMemoryType] = {"reserved memory", 0}, [EfiUnusableMemory] = {"broken memory", 0},
	[EfiMemoryMappedIO] = {"device memory", 0}, [EfiMemoryMappedIOPortSpace] = {"device port space", 0},
	[EfiLoaderCode] = {"a loader's code", BOOT_MEM_LOADER}, [EfiLoaderData] = {"a loader's data", BOOT_MEM_LOADER},
	[EfiConventionalMemory] = {"free memory", BOOT_MEM_USABLE},
	[EfiBootServicesCode] = {"boot services code", BOOT_MEM_USABLE},
	[EfiBootServicesData] = {"boot services data", BOOT_MEM_USABLE},
	[EfiACPIReclaimMemory] = {"ACPI tables", BOOT_MEM_ACPI},
	[EfiACPIMemoryNVS] = {"ACPI non-volatile storage", BOOT_MEM_ACPI},
	[EfiRuntimeServicesCode] = {"runtime services code", BOOT_MEM_FIRMWARE},
	[EfiRuntimeServicesData] = {"runtime services data", BOOT_MEM_FIRMWARE},
	[EfiPalCode] = {"processor firmware", BOOT_MEM_FIRMWARE}, [TYPE_UNKNOWN] = {"memory of an unknown type", 0},
};

/* Returns the index in memory_types of a type, which may be newer than the table. */
static uint32_t known_type(uint32_t type) { return type < TYPE_UNKNOWN ? type : TYPE_UNKNOWN; }

/* Gives up because [base, base + size) cannot be had; says what the firmware keeps there. */
static void __attribute__((noreturn)) give_up_range(uint64_t base, uint64_t size, const char *what) {
	allocate_map();
	read_map();
	for (UINTN i = 0; i < map.size / map.stride; i++) {
		const EFI_MEMORY_DESCRIPTOR *entry = map_entry(i);
		uint64_t end = entry->PhysicalStart + entry->NumberOfPages * PAGE_SIZE;
		if (entry->Type != EfiConventionalMemory && entry->PhysicalStart < base + size && base < end)
			give_up("address range 0x%lx to 0x%lx (%s) is taken: the firmware has %s at 0x%lx to 0x%lx: give the machine "
				"more memory (./run.sh -m 256M), or use Debian's OVMF, which leaves it free", base, base + size - 1, what,
				memory_types[known_type(entry->Type)].name, entry->PhysicalStart, end - 1);
	}
	give_up("address range 0x%lx to 0x%lx (%s) is taken: there is no memory: give the machine at least 64 MiB, "
		"for example ./run.sh -m 256M", base, base + size - 1, what);
}

/* Asks the firmware for exactly [base, base + size). */
static void reserve(uint64_t base, uint64_t size, EFI_MEMORY_TYPE type, const char *what) {
	EFI_PHYSICAL_ADDRESS address = base;

	if (boot_services->AllocatePages(AllocateAddress, type, pages_of(size), &address) != EFI_SUCCESS)
		give_up_range(base, size, what);
}

/* Reserves the three ranges that are used before mm.c hands out frames. The image is to be executed, and some firmware
 * forbids that for loader data. */
static void reserve_fixed_ranges(void) {
	if (PROVOKE == PROVOKE_taken)
		reserve(PHYS_IMAGE + PAGE_SIZE, PAGE_SIZE, EfiRuntimeServicesData, "provoked by a test");
	reserve(PHYS_IMAGE, PHYS_IMAGE_LIMIT - PHYS_IMAGE, EfiLoaderCode, "the supervisor's image");
	reserve(PHYS_BOOT_STACK, PAGE_SIZE, EfiLoaderData, "the boot stack");
	reserve(PHYS_BOOT_TABLES, PHYS_BOOT_TABLE_PAGES * PAGE_SIZE, EfiLoaderData, "the boot page tables");
}

/* ---------------------------------------------------------------------------------------------------------- */
/* Files */

/* Opens the root folder of the volume that this program was loaded from; *base becomes this program's address. */
static EFI_FILE_HANDLE open_volume(EFI_HANDLE self, uint64_t *base) {
	EFI_GUID loaded_image_id = LOADED_IMAGE_PROTOCOL, volume_id = SIMPLE_FILE_SYSTEM_PROTOCOL;
	EFI_LOADED_IMAGE *loaded;
	EFI_FILE_IO_INTERFACE *volume;
	EFI_FILE_HANDLE root;

	if (boot_services->HandleProtocol(self, &loaded_image_id, (void **)&loaded) != EFI_SUCCESS)
		give_up("the firmware does not say where this loader came from: use UEFI 2 firmware such as OVMF");
	*base = (uint64_t)loaded->ImageBase;
	if (boot_services->HandleProtocol(loaded->DeviceHandle, &volume_id, (void **)&volume) != EFI_SUCCESS ||
	    volume->OpenVolume(volume, &root) != EFI_SUCCESS)
		give_up("the volume this loader came from cannot be read: start it from a FAT volume");
	return root;
}

/* Reads a whole file into memory below 1 GiB, with at least one zero byte behind it. If the volume has none of this
 * name, the file is {NULL, 0} when it is `optional`. */
static struct file read_file(EFI_FILE_HANDLE root, CHAR16 *name, const char *label, bool optional) {
	EFI_FILE_HANDLE handle;
	struct file file = {NULL, 0};
	EFI_STATUS status = root->Open(root, &handle, name, EFI_FILE_MODE_READ, 0);

	if (status == EFI_NOT_FOUND && optional) return file;
	if (status == EFI_NOT_FOUND) give_up("%s is missing on the boot volume: run ./build.sh again", label);
	if (status != EFI_SUCCESS) give_up("%s cannot be opened: run ./build.sh again", label);
	/* The highest position stands for the end (13.5, "EFI_FILE_PROTOCOL.SetPosition()"); a folder has none. */
	if (handle->SetPosition(handle, UINT64_MAX) != EFI_SUCCESS ||
	    handle->GetPosition(handle, &file.size) != EFI_SUCCESS || handle->SetPosition(handle, 0) != EFI_SUCCESS)
		give_up("%s cannot be read: run ./build.sh again", label);
	if (file.size >= PHYS_TRAMPOLINE_TOP)
		give_up("%s has %lu MiB: everything must fit below 1 GiB: use a smaller model", label, file.size >> 20);
	file.data = allocate(file.size + 1, label);
	for (uint64_t done = 0; done < file.size;) {
		UINTN size = file.size - done;
		if (handle->Read(handle, &size, file.data + done) != EFI_SUCCESS || size == 0)
			give_up("%s cannot be read to its end: run ./build.sh again", label);
		done += size;
	}
	file.data[file.size] = 0;
	handle->Close(handle);
	return file;
}

/* Reads the command line and cuts it at the end of its first line. Returns NULL if there is none. */
static char *read_command_line(EFI_FILE_HANDLE root) {
	struct file file = read_file(root, u"\\cmdline.txt", "cmdline.txt", true);
	uint64_t length = 0;

	if (!file.data) return NULL;
	if (file.size >= PAGE_SIZE) give_up("cmdline.txt is longer than %lu bytes: shorten it", PAGE_SIZE - 1);
	while (file.data[length] && file.data[length] != '\r' && file.data[length] != '\n')
		length++;
	file.data[length] = 0;
	return (char *)file.data;
}

/* ---------------------------------------------------------------------------------------------------------- */
/* Supervisor and ramdisk */

/* Loads the segments of the supervisor to their physical addresses. Returns its entry point. */
static uint64_t load_supervisor(EFI_FILE_HANDLE root) {
	struct file file = read_file(root, u"\\supervisor.elf", "supervisor.elf", false);
	const struct elf_header *header = (const struct elf_header *)file.data;
	const char *problem = elf_check(file.data, file.size, PHYS_IMAGE, PHYS_IMAGE_LIMIT);

	if (problem) give_up("supervisor.elf %s: run ./build.sh again", problem);
	for (unsigned i = 0; i < header->phnum; i++) {
		const struct elf_program_header *segment = elf_program(file.data, i);
		if (segment->type != ELF_PT_LOAD) continue;
		memcpy((void *)segment->paddr, file.data + segment->offset, segment->filesz);
		memset((void *)(segment->paddr + segment->filesz), 0, segment->memsz - segment->filesz);
	}
	uint64_t entry = header->entry;
	boot_services->FreePages((EFI_PHYSICAL_ADDRESS)file.data, pages_of(file.size + 1));
	return entry;
}

/* Loads the ramdisk and checks that it is an ext2 file system that is all there. */
static struct file load_ramdisk(EFI_FILE_HANDLE root) {
	struct file file = read_file(root, u"\\ramdisk.img", "ramdisk.img", false);
	const uint32_t *super = (const uint32_t *)(file.data + EXT2_SUPER);

	if (file.size < EXT2_SUPER_END) give_up("ramdisk.img is too short for a file system: run ./build.sh again");
	if ((uint16_t)super[EXT2_MAGIC_WORD] != EXT2_MAGIC)
		give_up("ramdisk.img is no ext2 file system: make it with ./build.sh or mke2fs -t ext2");
	uint64_t blocks = super[EXT2_BLOCKS_COUNT], log_block = super[EXT2_LOG_BLOCK_SIZE];
	if (log_block > EXT2_LOG_BLOCK_MAX || blocks == 0 || blocks << (10 + log_block) > file.size)
		give_up("ramdisk.img is truncated or damaged: it has %lu KiB, its superblock says %lu KiB: "
			"run ./build.sh again", file.size / 1024, log_block > EXT2_LOG_BLOCK_MAX ? 0 : blocks << log_block);
	return file;
}

/* ---------------------------------------------------------------------------------------------------------- */
/* The last steps */

/* Returns the address of the ACPI RSDP, that of ACPI 2.0 if there is one, or 0 (4.6, "Configuration Table"). */
static uint64_t find_rsdp(const EFI_SYSTEM_TABLE *system) {
	EFI_GUID acpi_2 = ACPI_20_TABLE_GUID, acpi_1 = ACPI_TABLE_GUID;
	uint64_t old = 0;

	for (UINTN i = 0; i < system->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *table = &system->ConfigurationTable[i];
		if (!memcmp(&table->VendorGuid, &acpi_2, sizeof(acpi_2))) return (uint64_t)table->VendorTable;
		if (!memcmp(&table->VendorGuid, &acpi_1, sizeof(acpi_1))) old = (uint64_t)table->VendorTable;
	}
	return old;
}

/* Gives up under 5-level paging: the trampoline builds four levels, and a processor in long mode cannot change over. */
static void check_paging(void) {
	if (read_cr4() & CR4_LA57 || PROVOKE == PROVOKE_la57)
		give_up("the firmware uses 5-level paging (CR4.LA57), the supervisor has 4 levels: "
			"run with ./run.sh -cpu max,la57=off");
}

/* Ends boot services. The key says which map we saw; if anything was allocated since, it is stale and we look again.
 * Of boot services only those for memory are allowed once the first attempt has been made (7.4.6). */
static void exit_boot_services(EFI_HANDLE self) {
	for (unsigned i = 0; i < MAP_TRIES; i++) {
		if (read_map() != EFI_SUCCESS) give_up("the firmware's memory map grew too fast: restart the machine");
		if (PROVOKE == PROVOKE_stale_key && i == 0) map.key++;
		if (boot_services->ExitBootServices(self, map.key) == EFI_SUCCESS) return;
	}
	give_up("the firmware does not let go (ExitBootServices failed %u times): restart the machine", MAP_TRIES);
}

/* Puts a region in its place among the first `count`, which are sorted by base. */
static void insert_region(struct boot_region *regions, uint64_t count, uint64_t base, uint64_t size, uint32_t kind) {
	uint64_t at = count;

	for (; at > 0 && regions[at - 1].base > base; at--)
		regions[at] = regions[at - 1];
	regions[at] = (struct boot_region){.base = base, .size = size, .kind = kind};
}

/* Turns the firmware's map into regions, sorted and with neighbours of one kind merged. Returns their number. */
static uint64_t convert_map(struct boot_region *regions) {
	uint64_t count = 0, merged = 0;

	for (UINTN i = 0; i < map.size / map.stride; i++) {
		const EFI_MEMORY_DESCRIPTOR *entry = map_entry(i);
		uint32_t kind = memory_types[known_type(entry->Type)].kind;
		if (kind && entry->NumberOfPages)
			insert_region(regions, count++, entry->PhysicalStart, entry->NumberOfPages * PAGE_SIZE, kind);
	}
	for (uint64_t i = 0; i < count; i++) {
		struct boot_region *last = merged ? &regions[merged - 1] : NULL;
		if (last && last->kind == regions[i].kind && last->base + last->size == regions[i].base)
			last->size += regions[i].size;
		else
			regions[merged++] = regions[i];
	}
	return merged;
}

/* Prints how much memory the regions leave to the supervisor. */
static void say_memory(const struct bootinfo *info) {
	const struct boot_region *regions = (const struct boot_region *)info->regions;
	uint64_t usable = 0;

	for (uint64_t i = 0; i < info->region_count; i++)
		if (regions[i].kind == BOOT_MEM_USABLE) usable += regions[i].size;
	say("memory: %lu MiB usable in %lu regions, ACPI tables at 0x%lx", usable >> 20, info->region_count, info->rsdp);
}

/* Takes the six steps. gnu-efi's crt0 calls it with the handle of this program and the firmware's tables. */
EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system) {
	boot_services = system->BootServices;
	runtime_services = system->RuntimeServices;
	serial_init();
	check_paging();
	reserve_fixed_ranges();

	uint64_t base;
	EFI_FILE_HANDLE root = open_volume(self, &base);
	uint64_t entry = load_supervisor(root);
	struct file ramdisk = load_ramdisk(root);
	struct bootinfo *info = allocate(sizeof(*info), "the boot information");
	*info = (struct bootinfo){
		.magic = BOOTINFO_MAGIC, .version = BOOTINFO_VERSION, .loader = base, .rsdp = find_rsdp(system),
		.ramdisk = (uint64_t)ramdisk.data, .ramdisk_size = ramdisk.size,
		.command_line = (uint64_t)read_command_line(root),
	};
	say("loader at 0x%lx: supervisor.elf and ramdisk.img (%lu KiB) loaded", base, ramdisk.size / 1024);

	allocate_map();
	struct boot_region *regions = allocate(map.capacity / map.stride * sizeof(*regions), "the list of memory regions");
	exit_boot_services(self);
	info->regions = (uint64_t)regions;
	info->region_count = convert_map(regions);
	say_memory(info);
	say("jumping to the supervisor at 0x%lx", entry);
	/* The supervisor still finds the firmware's identity map. */
	__asm__ volatile("cli; jmp *%0" : : "r"(entry), "D"(info) : "memory");
	__builtin_unreachable();
}
