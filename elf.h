/*
 * elf.h: the part of the ELF64 format that the loader reads, and the checks on it.
 *
 * Read next: elf.c. supervisor.ld says how such a file is made.
 */
#ifndef ELF_H
#define ELF_H

#include <stdint.h>

/* ELF header and program header (System V ABI, generic part, "Object Files" and "Program Loading"). */
struct elf_header {
	uint8_t ident[16];                    /* @0x00 magic, class, byte order, version */
	uint16_t type, machine;               /* @0x10 */
	uint32_t version;                     /* @0x14 */
	uint64_t entry;                       /* @0x18 */
	uint64_t phoff, shoff;                /* @0x20 places of program headers and section headers in the file */
	uint32_t flags;                       /* @0x30 */
	uint16_t ehsize;                      /* @0x34 size of this header */
	uint16_t phentsize, phnum;            /* @0x36 size of one program header, and their number */
	uint16_t shentsize, shnum, shstrndx;  /* @0x3A the same of sections, and which of them has their names */
};

struct elf_program_header {
	uint32_t type, flags;   /* @0x00 */
	uint64_t offset;        /* @0x08 place in the file */
	uint64_t vaddr, paddr;  /* @0x10 addresses; the loader goes by the second one, the physical */
	uint64_t filesz, memsz; /* @0x20 bytes in the file and in memory; those beyond filesz are zero */
	uint64_t align;         /* @0x30 */
};

_Static_assert(sizeof(struct elf_header) == 64, "ELF64 header");
_Static_assert(sizeof(struct elf_program_header) == 56, "ELF64 program header");

/* The type of a segment that is to be loaded; more program headers than any supervisor needs. */
enum { ELF_PT_LOAD = 1, ELF_PROGRAM_MAX = 32 };

/* Checks an executable of `size` bytes, 8-byte aligned, whose segments must lie in [low, high) of physical memory.
 * Returns NULL when it can be loaded, otherwise what is wrong with it, as the end of a sentence about the file. */
const char *elf_check(const void *file, uint64_t size, uint64_t low, uint64_t high);

/* Returns program header `index` of a checked file; there are elf_header.phnum of them. */
const struct elf_program_header *elf_program(const void *file, unsigned index);

#endif
