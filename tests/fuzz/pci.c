/*
 * Fuzz target: a bus of any devices is scanned to its end, and leaves the devices as they were.
 *
 * The bytes are up to MAX functions, each a place (bus, slot and function, a byte each) and FUNCTION_SIZE bytes of
 * configuration space; behind these it holds zeros. Base addresses keep the bits that the function's own last bytes
 * name, as a real one keeps those above its size.
 *
 * SOURCES: pci.c
 * PLANT: if (scan->found++ < scan->max) {
 * INTO: if (scan->found++ < 1000) {
 */
#include "pci.h"
#include "fuzz.h"

#define MAX           12
#define STORED        4    /* fewer than there can be */
#define FUNCTION_SIZE 72
#define SPACE_WORDS   64
#define READS_MAX     1000000
#define BAR_FIRST     4    /* words of the base addresses */
#define BAR_LAST      9

#define COMMAND_WORD 1 /* of the words of a function: its command and status registers */

struct function {
	uint8_t bus, dev, fn;
	uint32_t word[SPACE_WORDS], before[SPACE_WORDS];
	uint32_t mask; /* bits of a base address that can be changed */
};

static struct machine {
	struct function function[MAX];
	size_t count;
	uint32_t reads;
} machine;

/* Returns the word of configuration space, or NULL where no function is. */
static uint32_t *find_word(const struct pci_device *d, uint16_t offset, struct function **found) {
	REQUIRE(offset % 4 == 0 && offset / 4 < SPACE_WORDS && d->dev < 32 && d->fn < 8);
	for (size_t i = 0; i < machine.count; i++) {
		*found = &machine.function[i];
		if ((*found)->bus == d->bus && (*found)->dev == d->dev && (*found)->fn == d->fn)
			return &(*found)->word[offset / 4];
	}
	return NULL;
}

static uint32_t read_word(const struct pci_device *d, uint16_t offset) {
	struct function *function;
	uint32_t *word = find_word(d, offset, &function);
	REQUIRE(machine.reads++ < READS_MAX);
	return word ? *word : 0xFFFFFFFF;
}

static void write_word(const struct pci_device *d, uint16_t offset, uint32_t value) {
	struct function *function;
	uint32_t *word = find_word(d, offset, &function);
	uint32_t mask = 0x7FFF; /* of the command register: its status bits are never written */
	REQUIRE(word && (offset == 4 || (offset / 4 >= BAR_FIRST && offset / 4 <= BAR_LAST)));
	if (offset == 4)
		REQUIRE(value >> 16 == 0);
	else
		mask = function->mask;
	*word = (*word & ~mask) | (value & mask);
}

/* Takes the functions out of the bytes. */
static void build(const uint8_t *data, size_t size) {
	memset(&machine, 0, sizeof(machine));
	for (; size >= 3 + FUNCTION_SIZE && machine.count < MAX; machine.count++) {
		struct function *function = &machine.function[machine.count];
		function->bus = data[0] % 8;
		function->dev = data[1] % 32;
		function->fn = data[2] % 8;
		memcpy(function->word, data + 3, FUNCTION_SIZE);
		memcpy(&function->mask, data + 3 + FUNCTION_SIZE - 4, 4);
		memcpy(function->before, function->word, sizeof(function->word));
		data += 3 + FUNCTION_SIZE;
		size -= 3 + FUNCTION_SIZE;
	}
}

/* The bytes are a machine. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	const struct pci_access access = {read_word, write_word};
	struct pci_device *devices = malloc(STORED * sizeof(*devices));

	build(data, size);
	uint32_t found = pci_scan(&access, devices, STORED);
	REQUIRE(found <= machine.count);
	for (uint32_t i = 0; i < found && i < STORED; i++) {
		pci_class_name(&devices[i]);
		for (size_t j = 0; j < PCI_CAPABILITIES && devices[i].capabilities[j]; j++)
			REQUIRE(pci_capability_name(devices[i].capabilities[j]));
	}
	for (size_t i = 0; i < machine.count; i++) {
		struct function *function = &machine.function[i];
		/* The scan takes bus mastering from whatever it reaches, and leaves all else as it was. */
		REQUIRE(!(function->word[COMMAND_WORD] & ~function->before[COMMAND_WORD]));
		function->word[COMMAND_WORD] |= function->before[COMMAND_WORD] & PCI_COMMAND_BUS_MASTER;
		REQUIRE(memcmp(function->word, function->before, sizeof(function->word)) == 0);
	}
	free(devices);
	return 0;
}
