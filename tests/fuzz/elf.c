/*
 * Fuzz target: whatever elf_check() accepts can be loaded, and nothing makes it read behind the file.
 *
 * SOURCES: elf.c
 * PLANT: !inside(header->phoff, (uint64_t)header->phnum * header->phentsize, 0, size)
 * INTO: 0
 */
#include "elf.h"
#include "fuzz.h"

#define LOW  0x200000
#define HIGH 0x400000

/* The bytes are the file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	if (elf_check(data, size, LOW, HIGH) != NULL) return 0;
	const struct elf_header *header = (const struct elf_header *)data;
	for (unsigned i = 0; i < header->phnum; i++) {
		const struct elf_program_header *segment = elf_program(data, i);
		if (segment->type != ELF_PT_LOAD) continue;
		touch(data + segment->offset, segment->filesz);
		REQUIRE(segment->filesz <= segment->memsz);
		REQUIRE(segment->paddr >= LOW && segment->paddr + segment->memsz <= HIGH);
	}
	REQUIRE(header->entry >= LOW && header->entry < HIGH);
	return 0;
}
