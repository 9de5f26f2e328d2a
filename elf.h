/*
 * elf.h: the part of the ELF64 format that the loader reads, and the checks on it.
 *
 * Read next: elf.c for the checks, efi_loader.c for their user, supervisor.ld for how such a file is made.
 */
#ifndef ELF_H
#define ELF_H

#include <stdint.h>

/* ELF header and program header (System V ABI, generic part, "Object Files" and "Program Loading"). */
struct elf_header {
	uint8_t ident[16];    /* @0x00 magic, class, byte order, version */
	uint16_t type;        /* @0x10 */
	uint16_t machine;     /* @0x12 */
	uint32_t version;     /* @0x14 */
	uint64_t entry;       /* @0x18 */
	uint64_t phoff;       /* @0x20 place of the program headers in the file */
	uint64_t shoff;       /* @0x28 */
	uint32_t flags;       /* @0x30 */
	uint16_t ehsize;      /* @0x34 */
	uint16_t phentsize;   /* @0x36 size of one program header */
	uint16_t phnum;       /* @0x38 number of program headers */
	uint16_t shentsize;   /* @0x3A */
	uint16_t shnum;       /* @0x3C */
	uint16_t shstrndx;    /* @0x3E */
};

struct elf_program_header {
	uint32_t type;   /* @0x00 */
	uint32_t flags;  /* @0x04 */
	uint64_t offset; /* @0x08 place in the file */
	uint64_t vaddr;  /* @0x10 */
	uint64_t paddr;  /* @0x18 physical address, which is what the loader goes by */
	uint64_t filesz; /* @0x20 bytes in the file */
	uint64_t memsz;  /* @0x28 bytes in memory; those beyond filesz are zero */
	uint64_t align;  /* @0x30 */
};

_Static_assert(sizeof(struct elf_header) == 64, "ELF64 header");
_Static_assert(sizeof(struct elf_program_header) == 56, "ELF64 program header");

#define ELF_PT_LOAD     1
#define ELF_PROGRAM_MAX 32 /* more program headers than any supervisor needs */

/* Checks an executable of `size` bytes, 8-byte aligned, whose segments must lie in [low, high) of physical memory.
 * Returns NULL when it can be loaded, otherwise what is wrong with it, as the end of a sentence about the file. */
const char *elf_check(const void *file, uint64_t size, uint64_t low, uint64_t high);

/* Returns program header `index` of a checked file; there are elf_header.phnum of them. */
const struct elf_program_header *elf_program(const void *file, unsigned index);

#endif
