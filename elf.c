/*
 * elf.c: checks an ELF64 executable before anything of it is believed.
 *
 * Pure: it reads nothing but the bytes it is given, so that tests/host/elf.c can run it on the host.
 * No field is used before it has been compared with the size of the file; sums are formed so that they cannot wrap.
 *
 * Read next: efi_loader.c.
 */
#include "elf.h"

#include <stdbool.h>
#include <stddef.h>

int memcmp(const void *a, const void *b, size_t len); /* lib.c; libc's in the host tests */

/* Two bytes of elf_header.ident, and the values of fields of the header that this machine takes (System V ABI, generic
 * part, "ELF Header"; AMD64 supplement 4.1). */
enum { IDENT_CLASS = 4, IDENT_DATA = 5, CLASS_64 = 2, DATA_LITTLE = 1, TYPE_EXEC = 2, MACHINE_X86_64 = 62 };

/* Tells whether [start, start + size) lies in [low, high). */
static bool inside(uint64_t start, uint64_t size, uint64_t low, uint64_t high) {
	return start >= low && start <= high && size <= high - start;
}

/* Checks what kind of file this is and that its program headers lie in it. Returns NULL or what is wrong. */
static const char *check_header(const struct elf_header *header, uint64_t size) {
	return size < sizeof(*header) ? "is too short for an ELF header"
	     : memcmp(header->ident, "\x7F" "ELF", 4) != 0 ? "is no ELF file"
	     : header->ident[IDENT_CLASS] != CLASS_64 ? "is no 64-bit ELF file"
	     : header->ident[IDENT_DATA] != DATA_LITTLE ? "is not little endian"
	     : header->machine != MACHINE_X86_64 ? "is for another processor than x86-64"
	     : header->type != TYPE_EXEC ? "is no executable with fixed addresses"
	     : header->phnum == 0 ? "has no program headers"
	     : header->phnum > ELF_PROGRAM_MAX ? "has too many program headers"
	     : header->phentsize != sizeof(struct elf_program_header) ? "has program headers of an unknown size"
	     : header->phoff % _Alignof(struct elf_program_header) != 0 ? "has misaligned program headers"
	     : !inside(header->phoff, (uint64_t)header->phnum * header->phentsize, 0, size)
	     ? "has program headers beyond its end: it is truncated or damaged"
	     : NULL;
}

/* Checks one segment by itself. Returns NULL or what is wrong. */
static const char *check_segment(const struct elf_program_header *segment, uint64_t size, uint64_t low, uint64_t high) {
	return !inside(segment->offset, segment->filesz, 0, size)
	     ? "has a segment beyond its end: it is truncated or damaged"
	     : segment->filesz > segment->memsz ? "has a segment that is larger in the file than in memory"
	     : !inside(segment->paddr, segment->memsz, low, high)
	     ? "has a segment outside the memory that is reserved for it"
	     : NULL;
}

/* Tells whether the memory of two checked segments overlaps. */
static bool overlap(const struct elf_program_header *a, const struct elf_program_header *b) {
	return a->memsz && b->memsz && a->paddr < b->paddr + b->memsz && b->paddr < a->paddr + a->memsz;
}

const struct elf_program_header *elf_program(const void *file, unsigned index) {
	const struct elf_header *header = file;

	return (const struct elf_program_header *)((const uint8_t *)file + header->phoff) + index;
}

const char *elf_check(const void *file, uint64_t size, uint64_t low, uint64_t high) {
	const struct elf_header *header = file;
	const char *problem = check_header(header, size);
	bool entry_loaded = false;

	for (unsigned i = 0; !problem && i < header->phnum; i++) {
		const struct elf_program_header *segment = elf_program(file, i);
		if (segment->type != ELF_PT_LOAD) continue;
		problem = check_segment(segment, size, low, high);
		for (unsigned j = 0; !problem && j < i; j++)
			if (elf_program(file, j)->type == ELF_PT_LOAD && overlap(elf_program(file, j), segment))
				problem = "has two segments for the same memory";
		/* The entry must be code that came from the file, so the zeroed rest of a segment does not count. */
		entry_loaded |= header->entry >= segment->paddr && header->entry - segment->paddr < segment->filesz;
	}
	return problem || entry_loaded ? problem : "has its entry point outside of its segments";
}
