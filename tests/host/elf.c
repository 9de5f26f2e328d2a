/*
 * elf.c (host): the checks of elf.c on a small valid executable and on every way to damage it.
 *
 * SOURCES: elf.c
 */
#include "../../elf.h"
#include "check.h"

#include <stddef.h>
#include <stdint.h>

#define LOW        0x200000
#define HIGH       0x300000
#define TEXT_AT    0x200000
#define DATA_AT    0x210000
#define TEXT_SIZE  0x100
#define DATA_SIZE  0x80
#define DATA_IN_MEMORY 0x2000

/* An executable with one segment of code and one of data with zeroed memory behind it. */
struct image {
	struct elf_header header;
	struct elf_program_header program[3];
	uint8_t text[TEXT_SIZE];
	uint8_t data[DATA_SIZE];
};

static struct image image;

static void make_image(void) {
	memset(&image, 0, sizeof(image));
	image.header = (struct elf_header){
		.ident = { 0x7F, 'E', 'L', 'F', 2, 1, 1 },
		.type = 2, .machine = 62, .version = 1, .entry = TEXT_AT + 16,
		.phoff = sizeof(struct elf_header), .phentsize = sizeof(struct elf_program_header), .phnum = 3,
	};
	image.program[0] = (struct elf_program_header){
		.type = ELF_PT_LOAD, .offset = offsetof(struct image, text), .vaddr = 0xFFFFFFFF80200000,
		.paddr = TEXT_AT, .filesz = TEXT_SIZE, .memsz = TEXT_SIZE,
	};
	image.program[1] = (struct elf_program_header){ .type = 4, .offset = UINT64_MAX, .filesz = UINT64_MAX };
	image.program[2] = (struct elf_program_header){
		.type = ELF_PT_LOAD, .offset = offsetof(struct image, data), .vaddr = 0xFFFFFFFF80210000,
		.paddr = DATA_AT, .filesz = DATA_SIZE, .memsz = DATA_IN_MEMORY,
	};
}

static const char *check(void) { return elf_check(&image, sizeof(image), LOW, HIGH); }

/* Checks that the image is refused with words that contain `text`, and makes it good again. */
#define REFUSED(text)                                                   \
	do {                                                            \
		const char *problem = check();                          \
		CHECK(problem && strstr(problem, text));                \
		make_image();                                           \
	} while (0)

TEST(good) {
	make_image();
	CHECK(check() == NULL);
	CHECK(elf_program(&image, 2)->paddr == DATA_AT);
}

TEST(kind) {
	make_image();
	image.header.ident[1] = 'e';
	REFUSED("no ELF");
	image.header.ident[4] = 1;
	REFUSED("64-bit");
	image.header.ident[5] = 2;
	REFUSED("little endian");
	image.header.machine = 183;
	REFUSED("x86-64");
	image.header.type = 3;
	REFUSED("executable");
}

TEST(program_table) {
	make_image();
	image.header.phnum = 0;
	REFUSED("no program headers");
	image.header.phnum = ELF_PROGRAM_MAX + 1;
	REFUSED("too many");
	image.header.phentsize = 32;
	REFUSED("unknown size");
	image.header.phoff = 65;
	REFUSED("misaligned");
	image.header.phoff = sizeof(image) - 56 * 3 + 8;
	REFUSED("beyond its end");
	image.header.phoff = UINT64_MAX - 7;
	REFUSED("beyond its end");
}

TEST(segments) {
	make_image();
	image.program[0].offset = sizeof(image) - TEXT_SIZE + 1;
	REFUSED("beyond its end");
	image.program[0].offset = UINT64_MAX - 8;
	REFUSED("beyond its end");
	image.program[2].memsz = DATA_SIZE - 1;
	REFUSED("larger in the file");
	image.program[0].paddr = LOW - 1;
	REFUSED("outside the memory");
	image.program[2].memsz = HIGH - DATA_AT + 1;
	REFUSED("outside the memory");
	image.program[2].memsz = UINT64_MAX;
	REFUSED("outside the memory");
	image.program[2].paddr = UINT64_MAX - 4;
	REFUSED("outside the memory");
	image.program[2].memsz = HIGH - DATA_AT;
	CHECK(check() == NULL);
}

TEST(overlap) {
	make_image();
	image.program[2].paddr = TEXT_AT + TEXT_SIZE - 1;
	REFUSED("same memory");
	image.program[2].paddr = TEXT_AT;
	REFUSED("same memory");
	image.program[2].paddr = TEXT_AT + TEXT_SIZE;
	CHECK(check() == NULL);
}

TEST(entry) {
	make_image();
	image.header.entry = TEXT_AT + TEXT_SIZE;
	REFUSED("entry point");
	image.header.entry = TEXT_AT - 1;
	REFUSED("entry point");
	image.header.entry = DATA_AT + DATA_SIZE;
	REFUSED("entry point");
	image.header.entry = 0xFFFFFFFF80200010;
	REFUSED("entry point");
}

TEST(every_length) {
	make_image();
	/* The copy has exactly `size` bytes, so that the sanitizer sees a read beyond them. */
	for (size_t size = 0; size < sizeof(image); size++) {
		void *copy = malloc(size ? size : 1);
		memcpy(copy, &image, size);
		CHECK(elf_check(copy, size, LOW, HIGH) != NULL);
		free(copy);
	}
}

TEST(every_byte) {
	/* Whatever one byte of the headers becomes, the check ends and accepts only what stays inside its memory. */
	for (size_t at = 0; at < offsetof(struct image, text); at++) {
		for (unsigned value = 0; value < 256; value++) {
			make_image();
			((uint8_t *)&image)[at] = (uint8_t)value;
			if (check()) continue;
			for (unsigned i = 0; i < image.header.phnum; i++) {
				const struct elf_program_header *p = elf_program(&image, i);
				if (p->type == ELF_PT_LOAD)
					CHECK(p->paddr >= LOW && p->paddr + p->memsz <= HIGH &&
					      p->offset + p->filesz <= sizeof(image));
			}
		}
	}
}

int main(void) {
	RUN(good);
	RUN(kind);
	RUN(program_table);
	RUN(segments);
	RUN(overlap);
	RUN(entry);
	RUN(every_length);
	RUN(every_byte);
	return check_result();
}
