/*
 * efi_loader.c: the UEFI application that brings the supervisor into memory and jumps to it.
 *
 *   1. reserve the fixed addresses of layout.h        4. describe it all in struct bootinfo
 *   2. load and check supervisor.elf                  5. leave the firmware with its final memory map
 *   3. load and check ramdisk.img, cmdline.txt        6. jump to the ELF's entry point
 *
 * Everything the supervisor gets lies below 1 GiB, which is what its trampoline maps. Messages are whole lines that
 * begin with [BOOT] and go to COM1 directly: OVMF copies its own console there too, so using both would print twice.
 * Whatever fails is said in one line, with what to do, and ends the machine with DEBUG_EXIT_LOADER.
 *
 * Built with gnu-efi: GNU_EFI_USE_MS_ABI makes the compiler call the firmware with its calling convention; efi_main
 * itself is called by gnu-efi's crt0 with ours. There is no library behind this file.
 *
 * Section numbers are those of the UEFI specification 2.10.
 * Read next: bootinfo.h (the result), elf.c (the checks), boot.asm (where the jump goes).
 */
#include <efi.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "bootinfo.h"
#include "elf.h"
#include "layout.h"

#define PAGE_SIZE 4096

/* The 16550 UART of COM1 (data sheet of the PC16550D, "Registers"). */
#define UART_DATA          0x3F8
#define UART_INTERRUPTS    0x3F9
#define UART_LINE_CONTROL  0x3FB
#define UART_LINE_STATUS   0x3FD
#define UART_8N1           0x03
#define UART_DIVISOR_LATCH 0x80
#define UART_CAN_SEND      0x20
#define UART_PATIENCE      1000000 /* polls until a UART that is not there is given up */

/* ext2: the superblock lies at 1024 (kernel.org, ext4 documentation, "Super Block"). */
#define EXT2_BLOCKS_COUNT  (1024 + 4)
#define EXT2_LOG_BLOCK     (1024 + 24)
#define EXT2_MAGIC_AT      (1024 + 56)
#define EXT2_MAGIC         0xEF53
#define EXT2_SUPER_END     2048
#define EXT2_LOG_BLOCK_MAX 6 /* 64 KiB */

#define MAP_SLACK 32 /* memory map entries that may come into being between two calls */
#define MAP_TRIES 16 /* times that the map may change under our hands */

/* A file in memory. */
struct file {
	uint8_t *data; /* page aligned, NULL if there is no such file */
	uint64_t size;
};

static EFI_BOOT_SERVICES *boot_services;
static EFI_RUNTIME_SERVICES *runtime_services;

/* ---------------------------------------------------------------------------------------------------------- */
/* Messages */

static void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* Sets COM1 to 115200 baud, 8 data bits, no parity, 1 stop bit, without interrupts. */
static void serial_init(void)
{
	out8(UART_INTERRUPTS, 0);
	out8(UART_LINE_CONTROL, UART_DIVISOR_LATCH);
	out8(UART_DATA, 1);
	out8(UART_INTERRUPTS, 0);
	out8(UART_LINE_CONTROL, UART_8N1);
}

/* Sends one byte when the UART has room for it. */
static void put_char(char c)
{
	for (int i = 0; i < UART_PATIENCE && !(in8(UART_LINE_STATUS) & UART_CAN_SEND); i++)
		;
	out8(UART_DATA, (uint8_t)c);
}

/* Prints a number in the given base, without leading zeros. */
static void put_number(uint64_t number, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number);
	while (count)
		put_char(digits[--count]);
}

/* Prints text in which %s is a string, %u a uint64_t in decimal and %x one in hexadecimal with 0x. */
static void put_formatted(const char *format, va_list values)
{
	for (; *format; format++) {
		if (*format != '%') {
			put_char(*format);
			continue;
		}
		switch (*++format) {
		case 's':
			for (const char *s = va_arg(values, const char *); *s; s++)
				put_char(*s);
			break;
		case 'u':
			put_number(va_arg(values, uint64_t), 10);
			break;
		case 'x':
			put_char('0');
			put_char('x');
			put_number(va_arg(values, uint64_t), 16);
			break;
		}
	}
}

/* Prints one line of the loader. */
static void say(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	put_formatted("[BOOT] ", values);
	put_formatted(format, values);
	put_char('\n');
	va_end(values);
}

/* Prints what is wrong and what to do, and ends the machine: by QEMU's isa-debug-exit, else by switching it off. */
static void __attribute__((noreturn)) give_up(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	put_formatted("[BOOT] error: ", values);
	put_formatted(format, values);
	put_char('\n');
	va_end(values);
	out8(DEBUG_EXIT_PORT, DEBUG_EXIT_LOADER);
	runtime_services->ResetSystem(EfiResetShutdown, EFI_ABORTED, 0, NULL);
	for (;;)
		__asm__ volatile("hlt");
}

/* ---------------------------------------------------------------------------------------------------------- */
/* Memory of the firmware */

static uint64_t pages_of(uint64_t size)
{
	return (size + PAGE_SIZE - 1) / PAGE_SIZE;
}

static void zero(void *memory, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		((volatile uint8_t *)memory)[i] = 0;
}

/* Returns `size` bytes, page aligned and below 1 GiB, for something that the supervisor is to find. */
static void *allocate(uint64_t size, const char *what)
{
	EFI_PHYSICAL_ADDRESS address = PHYS_TRAMPOLINE_TOP - 1;

	if (boot_services->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages_of(size), &address) != EFI_SUCCESS)
		give_up("too little memory: %u KiB below 1 GiB are needed for %s: give the machine more, for example "
			"./run.sh -m 256M", size / 1024, what);
	return (void *)address;
}

/* Returns the firmware's memory map in memory with some room to spare; *size becomes the size of its buffer. */
static EFI_MEMORY_DESCRIPTOR *allocate_map(UINTN *size, UINTN *stride)
{
	UINTN key;
	UINT32 version;

	*size = 0;
	boot_services->GetMemoryMap(size, NULL, &key, stride, &version);
	*size += MAP_SLACK * *stride;
	return allocate(*size, "the memory map");
}

/* Says what the firmware uses memory of this type for (7.2.1, "EFI_MEMORY_TYPE"). */
static const char *memory_type_name(uint32_t type)
{
	static const char *const names[] = {
		"reserved memory", "a loader's code", "a loader's data", "boot services code", "boot services data",
		"runtime services code", "runtime services data", "free memory", "broken memory", "ACPI tables",
		"ACPI non-volatile storage", "device memory", "device port space", "processor firmware",
	};
	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "memory of an unknown type";
}

/* Gives up because [base, base + size) cannot be had; says what the firmware keeps there. */
static void __attribute__((noreturn)) give_up_range(uint64_t base, uint64_t size, const char *what)
{
	UINTN map_size, stride, key;
	UINT32 version;
	EFI_MEMORY_DESCRIPTOR *map = allocate_map(&map_size, &stride);

	boot_services->GetMemoryMap(&map_size, map, &key, &stride, &version);
	for (UINTN at = 0; at + stride <= map_size; at += stride) {
		const EFI_MEMORY_DESCRIPTOR *entry = (const void *)((uint8_t *)map + at);
		uint64_t end = entry->PhysicalStart + entry->NumberOfPages * PAGE_SIZE;
		if (entry->Type != EfiConventionalMemory && entry->PhysicalStart < base + size && base < end)
			give_up("address range %x to %x (%s) is taken: the firmware has %s at %x to %x: give the machine "
				"more memory (./run.sh -m 256M), or use Debian's OVMF, which leaves it free", base, base + size - 1, what,
				memory_type_name(entry->Type), entry->PhysicalStart, end - 1);
	}
	give_up("address range %x to %x (%s) is taken: there is no memory: give the machine at least 64 MiB, "
		"for example ./run.sh -m 256M", base, base + size - 1, what);
}

/* Asks the firmware for exactly [base, base + size). */
static void reserve(uint64_t base, uint64_t size, EFI_MEMORY_TYPE type, const char *what)
{
	EFI_PHYSICAL_ADDRESS address = base;

	if (boot_services->AllocatePages(AllocateAddress, type, pages_of(size), &address) != EFI_SUCCESS)
		give_up_range(base, size, what);
}

/* Reserves the fixed addresses. The image is to be executed, and some firmware forbids that for loader data. */
static void reserve_fixed_ranges(void)
{
#ifdef PROVOKE_TAKEN
	reserve(PHYS_IMAGE + PAGE_SIZE, PAGE_SIZE, EfiRuntimeServicesData, "provoked by a test");
#endif
	reserve(PHYS_IMAGE, PHYS_IMAGE_LIMIT - PHYS_IMAGE, EfiLoaderCode, "the supervisor's image");
	reserve(PHYS_BOOT_STACK, PAGE_SIZE, EfiLoaderData, "the boot stack");
	reserve(PHYS_BOOT_TABLES, PHYS_BOOT_TABLE_PAGES * PAGE_SIZE, EfiLoaderData, "the boot page tables");
}

/* ---------------------------------------------------------------------------------------------------------- */
/* Files */

/* Opens the root folder of the volume that this program was loaded from; *base becomes this program's address. */
static EFI_FILE_HANDLE open_volume(EFI_HANDLE self, uint64_t *base)
{
	EFI_GUID loaded_image_id = LOADED_IMAGE_PROTOCOL, volume_id = SIMPLE_FILE_SYSTEM_PROTOCOL;
	EFI_LOADED_IMAGE *loaded;
	EFI_FILE_IO_INTERFACE *volume;
	EFI_FILE_HANDLE root;

	if (boot_services->HandleProtocol(self, &loaded_image_id, (void **)&loaded) == EFI_SUCCESS)
		*base = (uint64_t)loaded->ImageBase;
	else
		give_up("the firmware does not say where this loader came from: use UEFI 2 firmware such as OVMF");
	if (boot_services->HandleProtocol(loaded->DeviceHandle, &volume_id, (void **)&volume) != EFI_SUCCESS ||
	    volume->OpenVolume(volume, &root) != EFI_SUCCESS)
		give_up("the volume this loader came from cannot be read: start it from a FAT volume");
	return root;
}

/* Returns the size of an open file, or 0 if it is a folder. */
static uint64_t file_size(EFI_FILE_HANDLE file, const char *label)
{
	EFI_GUID info_id = EFI_FILE_INFO_ID;
	union {
		EFI_FILE_INFO info;
		uint8_t space[sizeof(EFI_FILE_INFO) + 256 * sizeof(CHAR16)]; /* the file's name follows the structure */
	} buffer;
	UINTN size = sizeof(buffer);

	if (file->GetInfo(file, &info_id, &size, &buffer) != EFI_SUCCESS)
		give_up("%s cannot be read: run ./build.sh again", label);
	return buffer.info.Attribute & EFI_FILE_DIRECTORY ? 0 : buffer.info.FileSize;
}

/* Reads a whole file into memory below 1 GiB, with at least one zero byte behind it. The file is {NULL, 0} if the
 * volume has none of this name. */
static struct file read_file(EFI_FILE_HANDLE root, CHAR16 *name, const char *label)
{
	EFI_FILE_HANDLE handle;
	struct file file = { NULL, 0 };
	EFI_STATUS status = root->Open(root, &handle, name, EFI_FILE_MODE_READ, 0);

	if (status == EFI_NOT_FOUND)
		return file;
	if (status != EFI_SUCCESS)
		give_up("%s cannot be opened: run ./build.sh again", label);
	file.size = file_size(handle, label);
	if (file.size >= PHYS_TRAMPOLINE_TOP)
		give_up("%s has %u MiB: everything must fit below 1 GiB: use a smaller model", label, file.size >> 20);
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

/* Reads a file that must be there. */
static struct file read_required_file(EFI_FILE_HANDLE root, CHAR16 *name, const char *label)
{
	struct file file = read_file(root, name, label);

	if (!file.data)
		give_up("%s is missing on the boot volume: run ./build.sh again", label);
	return file;
}

/* Reads the command line and cuts it at the end of its first line. Returns NULL if there is none. */
static char *read_command_line(EFI_FILE_HANDLE root)
{
	struct file file = read_file(root, u"\\cmdline.txt", "cmdline.txt");
	uint64_t length = 0;

	if (!file.data)
		return NULL;
	if (file.size >= PAGE_SIZE)
		give_up("cmdline.txt is longer than %u bytes: shorten it", (uint64_t)PAGE_SIZE - 1);
	while (file.data[length] && file.data[length] != '\r' && file.data[length] != '\n')
		length++;
	file.data[length] = 0;
	return (char *)file.data;
}

/* ---------------------------------------------------------------------------------------------------------- */
/* Supervisor and ramdisk */

/* Loads the segments of the supervisor to their physical addresses. Returns its entry point. */
static uint64_t load_supervisor(EFI_FILE_HANDLE root)
{
	struct file file = read_required_file(root, u"\\supervisor.elf", "supervisor.elf");
	const struct elf_header *header = (const struct elf_header *)file.data;
	const char *problem = elf_check(file.data, file.size, PHYS_IMAGE, PHYS_IMAGE_LIMIT);
	uint64_t entry;

	if (problem)
		give_up("supervisor.elf %s: run ./build.sh again", problem);
	for (unsigned i = 0; i < header->phnum; i++) {
		const struct elf_program_header *segment = elf_program(file.data, i);
		if (segment->type != ELF_PT_LOAD)
			continue;
		boot_services->CopyMem((void *)segment->paddr, file.data + segment->offset, segment->filesz);
		zero((void *)(segment->paddr + segment->filesz), segment->memsz - segment->filesz);
	}
	entry = header->entry;
	boot_services->FreePages((EFI_PHYSICAL_ADDRESS)file.data, pages_of(file.size + 1));
	return entry;
}

/* Returns the little-endian number at any address. */
static uint32_t read32(const uint8_t *bytes)
{
	return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* Loads the ramdisk and checks that it is an ext2 file system that is all there. */
static struct file load_ramdisk(EFI_FILE_HANDLE root)
{
	struct file file = read_required_file(root, u"\\ramdisk.img", "ramdisk.img");
	uint64_t blocks, log_block;

	if (file.size < EXT2_SUPER_END)
		give_up("ramdisk.img is too short for a file system: run ./build.sh again");
	if ((read32(file.data + EXT2_MAGIC_AT) & 0xFFFF) != EXT2_MAGIC)
		give_up("ramdisk.img is no ext2 file system: make it with ./build.sh or mke2fs -t ext2");
	blocks = read32(file.data + EXT2_BLOCKS_COUNT);
	log_block = read32(file.data + EXT2_LOG_BLOCK);
	if (log_block > EXT2_LOG_BLOCK_MAX || blocks == 0 || blocks << (10 + log_block) > file.size)
		give_up("ramdisk.img is truncated or damaged: it has %u KiB, its superblock says %u KiB: "
			"run ./build.sh again", file.size / 1024, log_block > EXT2_LOG_BLOCK_MAX ? 0 : blocks << log_block);
	return file;
}

/* ---------------------------------------------------------------------------------------------------------- */
/* The last steps */

static bool same_guid(const EFI_GUID *a, const EFI_GUID *b)
{
	const uint8_t *left = (const uint8_t *)a, *right = (const uint8_t *)b;

	for (unsigned i = 0; i < sizeof(*a); i++)
		if (left[i] != right[i])
			return false;
	return true;
}

/* Returns the address of the ACPI RSDP, that of ACPI 2.0 if there is one, or 0 (4.6, "Configuration Table"). */
static uint64_t find_rsdp(const EFI_SYSTEM_TABLE *system)
{
	EFI_GUID acpi_2 = ACPI_20_TABLE_GUID, acpi_1 = ACPI_TABLE_GUID;
	uint64_t old = 0;

	for (UINTN i = 0; i < system->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *table = &system->ConfigurationTable[i];
		if (same_guid(&table->VendorGuid, &acpi_2))
			return (uint64_t)table->VendorTable;
		if (same_guid(&table->VendorGuid, &acpi_1))
			old = (uint64_t)table->VendorTable;
	}
	return old;
}

/* Gives up under 5-level paging: the trampoline builds four levels, and a processor in long mode cannot change over. */
static void check_paging(void)
{
	uint64_t cr4;

	__asm__("mov %%cr4, %0" : "=r"(cr4));
#ifdef PROVOKE_LA57
	cr4 |= CR4_LA57;
#endif
	if (cr4 & CR4_LA57)
		give_up("the firmware uses 5-level paging (CR4.LA57), the supervisor has 4 levels: "
			"run with ./run.sh -cpu max,la57=off");
}

/* Ends boot services. The key says which map we saw; if anything was allocated since, it is stale and we look again.
 * Nothing but these two calls is allowed once the first attempt has failed (7.4.6). Returns the final map's size. */
static UINTN exit_boot_services(EFI_HANDLE self, EFI_MEMORY_DESCRIPTOR *map, UINTN capacity, UINTN *stride)
{
	for (unsigned i = 0; i < MAP_TRIES; i++) {
		UINTN size = capacity, key;
		UINT32 version;
		if (boot_services->GetMemoryMap(&size, map, &key, stride, &version) != EFI_SUCCESS)
			give_up("the firmware's memory map grew too fast: restart the machine");
#ifdef PROVOKE_STALE_KEY
		key += i == 0;
#endif
		if (boot_services->ExitBootServices(self, key) == EFI_SUCCESS)
			return size;
	}
	give_up("the firmware does not let go (ExitBootServices failed %u times): restart the machine", (uint64_t)MAP_TRIES);
}

/* Returns the BOOT_MEM_ kind of a memory type, or 0 for what is no memory of ours to know. */
static uint32_t region_kind(uint32_t type)
{
	switch (type) {
	case EfiConventionalMemory:
	case EfiBootServicesCode:
	case EfiBootServicesData:
		return BOOT_MEM_USABLE;
	case EfiLoaderCode:
	case EfiLoaderData:
		return BOOT_MEM_LOADER;
	case EfiACPIReclaimMemory:
	case EfiACPIMemoryNVS:
		return BOOT_MEM_ACPI;
	case EfiRuntimeServicesCode:
	case EfiRuntimeServicesData:
	case EfiPalCode:
		return BOOT_MEM_FIRMWARE;
	default:
		return 0;
	}
}

/* Adds a region to the sorted ones in front of it. */
static void insert_region(struct boot_region *regions, uint64_t count, uint64_t base, uint64_t size, uint32_t kind)
{
	uint64_t at = count;

	for (; at > 0 && regions[at - 1].base > base; at--)
		regions[at] = regions[at - 1];
	regions[at] = (struct boot_region){ .base = base, .size = size, .kind = kind };
}

/* Turns the firmware's map into regions, sorted and with neighbours of one kind merged. Returns their number. */
static uint64_t convert_map(const EFI_MEMORY_DESCRIPTOR *map, UINTN size, UINTN stride, struct boot_region *regions)
{
	uint64_t count = 0, merged = 0;

	for (UINTN at = 0; at + stride <= size; at += stride) {
		const EFI_MEMORY_DESCRIPTOR *entry = (const void *)((const uint8_t *)map + at);
		uint32_t kind = region_kind(entry->Type);
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
static void say_memory(const struct bootinfo *info)
{
	const struct boot_region *regions = (const struct boot_region *)info->regions;
	uint64_t usable = 0;

	for (uint64_t i = 0; i < info->region_count; i++)
		if (regions[i].kind == BOOT_MEM_USABLE)
			usable += regions[i].size;
	say("memory: %u MiB usable in %u regions, ACPI tables at %x", usable >> 20, info->region_count, info->rsdp);
}

/* Jumps to the supervisor, which still finds the firmware's identity map. */
static void __attribute__((noreturn)) jump(uint64_t entry, const struct bootinfo *info)
{
	__asm__ volatile("cli\n\tjmp *%0" : : "r"(entry), "D"(info) : "memory");
	__builtin_unreachable();
}

EFI_STATUS efi_main(EFI_HANDLE self, EFI_SYSTEM_TABLE *system)
{
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
		.magic = BOOTINFO_MAGIC,
		.version = BOOTINFO_VERSION,
		.ramdisk = (uint64_t)ramdisk.data,
		.ramdisk_size = ramdisk.size,
		.rsdp = find_rsdp(system),
		.command_line = (uint64_t)read_command_line(root),
		.loader = base,
	};
	say("loader at %x: supervisor.elf and ramdisk.img (%u KiB) loaded", base, ramdisk.size / 1024);

	UINTN capacity, stride;
	EFI_MEMORY_DESCRIPTOR *map = allocate_map(&capacity, &stride);
	struct boot_region *regions = allocate(capacity / stride * sizeof(*regions), "the list of memory regions");
	UINTN size = exit_boot_services(self, map, capacity, &stride);
	info->regions = (uint64_t)regions;
	info->region_count = convert_map(map, size, stride, regions);
	say_memory(info);
	say("jumping to the supervisor at %x", entry);
	jump(entry, info);
}
