/*
 * Tests of pci.c on a configuration space made of arrays, which behaves like the real one where it matters: address
 * registers keep only the bits that the device decodes, status bits clear when they are written as 1, absent
 * functions read as ones, and a register that changes while the device decodes it is counted as a mistake.
 *
 * SOURCES: pci.c
 */
#include "pci.h"
#include "check.h"

#define FUNCTIONS 80

struct function {
	uint8_t bus, dev, fn;
	uint32_t word[64];
	uint32_t writable[64]; /* which bits of each word a write changes */
};

static struct function functions[FUNCTIONS];
static int function_count;
static int reads, mistakes;

static struct function *find(uint8_t bus, uint8_t dev, uint8_t fn) {
	for (int i = 0; i < function_count; i++)
		if (functions[i].bus == bus && functions[i].dev == dev && functions[i].fn == fn) return &functions[i];
	return NULL;
}

static uint32_t fake_read(const struct pci_device *d, uint16_t offset) {
	const struct function *f = find(d->bus, d->dev, d->fn);
	mistakes += offset % 4 != 0 || offset >= 256 || d->dev >= 32 || d->fn >= 8;
	reads++;
	return f != NULL ? f->word[offset / 4 % 64] : 0xFFFFFFFF;
}

static void fake_write(const struct pci_device *d, uint16_t offset, uint32_t value) {
	struct function *f = find(d->bus, d->dev, d->fn);
	mistakes += offset % 4 != 0 || offset >= 256 || f == NULL;
	if (f == NULL) return;
	uint32_t *word = &f->word[offset / 4 % 64];
	if (offset == 0x04) {
		mistakes += value >> 16 != 0; /* would clear status bits */
		*word = (*word & 0xFFFF0000 & ~value) | (value & 0x0407);
		return;
	}
	if (offset >= 0x40 && f->writable[offset / 4]) { /* a capability that a test has made writable */
		*word = (*word & ~f->writable[offset / 4]) | (value & f->writable[offset / 4]);
		return;
	}
	/* Only address registers are written, those of devices only, and only while the device does not decode them. */
	mistakes += offset < 0x10 || offset >= 0x28 || (f->word[3] & 0x7F0000) != 0 || (f->word[1] & 3) != 0;
	*word = (*word & ~f->writable[offset / 4]) | (value & f->writable[offset / 4]);
}

static const struct pci_access access = {fake_read, fake_write};

/* Adds a function; class is class << 16 | subclass << 8 | interface. */
static struct function *add(int bus, int dev, int fn, uint16_t vendor, uint16_t device, uint32_t class, int header) {
	struct function *f = &functions[function_count++];
	*f = (struct function){.bus = (uint8_t)bus, .dev = (uint8_t)dev, .fn = (uint8_t)fn};
	f->word[0] = (uint32_t)device << 16 | vendor;
	f->word[1] = 0xA0000003; /* decodes both; error bits in status that must survive */
	f->word[2] = class << 8 | 0x02;
	f->word[3] = (uint32_t)header << 16 | 0x4010;
	return f;
}

/* Gives a function a base address register of a size with the given flags in its lowest bits. */
static void add_bar(struct function *f, int index, uint64_t base, uint64_t size, uint32_t flags) {
	uint64_t writable = ~(size - 1) & ~(uint64_t)(flags & 1 ? 3 : 15);
	f->word[4 + index] = (uint32_t)base | flags;
	f->writable[4 + index] = (uint32_t)writable;
	if ((flags & 7) == 4) {
		f->word[5 + index] = (uint32_t)(base >> 32);
		f->writable[5 + index] = (uint32_t)(writable >> 32);
	}
}

static void add_bridge(int bus, int dev, int secondary) {
	struct function *f = add(bus, dev, 0, 0x1B36, 0x0001, 0x060400, 1);
	f->word[6] = (uint32_t)bus | (uint32_t)secondary << 8 | 0xFF0000;
	f->writable[4] = f->writable[5] = 0xFFFFF000;
}

static void reset(void) {
	function_count = 0;
	reads = mistakes = 0;
}

static struct pci_device devices[PCI_DEVICES];

static const struct pci_device *seen(int bus, int dev, int fn, uint32_t found) {
	static const struct pci_device nothing;
	for (uint32_t i = 0; i < found && i < PCI_DEVICES; i++)
		if (devices[i].bus == bus && devices[i].dev == dev && devices[i].fn == fn) return &devices[i];
	CHECK(!"the device is found");
	return &nothing;
}

static void check_bar(const struct pci_bar *bar, uint64_t base, uint64_t size, bool io, bool wide, bool prefetchable) {
	CHECK_EQ(bar->base, base);
	CHECK_EQ(bar->size, size);
	CHECK(bar->io == io && bar->wide == wide && bar->prefetchable == prefetchable);
}

TEST(empty_machine) {
	reset();
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 0);
	CHECK_EQ(reads, 32); /* one for each slot of bus 0 */
	CHECK_EQ(mistakes, 0);
}

/* The devices of a q35 machine. */
TEST(q35) {
	reset();
	add_bar(add(0, 0, 0, 0x8086, 0x29C0, 0x060000, 0), 0, 0xFE000000, 4096, 0);
	struct function *vga = add(0, 1, 0, 0x1234, 0x1111, 0x030000, 0);
	add_bar(vga, 0, 0xFD000000, 16 << 20, 8);
	add_bar(vga, 2, 0xFEBF0000, 4096, 0);
	struct function *virtio = add(0, 2, 0, 0x1AF4, 0x1050, 0x038000, 0);
	add_bar(virtio, 1, 0xFEBF1000, 4096, 0);
	add_bar(virtio, 4, 0x8000004000, 16384, 12);
	struct function *edu = add(0, 3, 0, 0x1234, 0x11E8, 0xFF0000, 0);
	add_bar(edu, 0, 0xFEA00000, 1 << 20, 0);
	edu->word[1] |= PCI_COMMAND_BUS_MASTER;
	struct function *net = add(0, 4, 0, 0x8086, 0x100E, 0x020000, 0);
	add_bar(net, 1, 0xC040, 64, 1);
	net->writable[5] = 0xFFC0; /* ports need 16 bits only */
	add(0, 31, 0, 0x8086, 0x2918, 0x060100, 0x80);
	struct function *sata = add(0, 31, 2, 0x8086, 0x2922, 0x010601, 0x80);
	add_bar(sata, 4, 0xC080, 32, 1);
	add_bar(sata, 5, 0xFEBF2000, 4096, 0);
	add(0, 31, 3, 0x8086, 0x2930, 0x0C0500, 0x80);
	add(0, 5, 1, 0xDEAD, 0xBEEF, 0x020000, 0); /* function 0 is absent, so this one is not looked for */
	add(0, 1, 1, 0xDEAD, 0xBEEF, 0x020000, 0); /* nor this one: function 0 does not say that there are more */
	struct function before[FUNCTIONS];
	memcpy(before, functions, sizeof(before));

	uint32_t found = pci_scan(&access, devices, PCI_DEVICES);
	CHECK_EQ(found, 8);
	CHECK_EQ(mistakes, 0);
	for (int i = 0; i < 8; i++)
		before[i].word[1] &= ~(uint32_t)PCI_COMMAND_BUS_MASTER;
	CHECK(memcmp(before, functions, sizeof(before)) == 0); /* everything else is as it was */
	CHECK(reads < 300);

	CHECK_EQ(seen(0, 0, 0, found)->bars[0].size, 0); /* a bridge is left alone */
	const struct pci_device *d = seen(0, 1, 0, found);
	CHECK(d->vendor == 0x1234 && d->device == 0x1111 && d->class == 3 && d->subclass == 0 && d->header == 0);
	CHECK(d->msi == 0 && d->capabilities[0] == 0);
	check_bar(&d->bars[0], 0xFD000000, 16 << 20, false, false, true);
	check_bar(&d->bars[1], 0, 0, false, false, false);
	check_bar(&d->bars[2], 0xFEBF0000, 4096, false, false, false);
	d = seen(0, 2, 0, found);
	check_bar(&d->bars[1], 0xFEBF1000, 4096, false, false, false);
	check_bar(&d->bars[4], 0x8000004000, 16384, false, true, true);
	check_bar(&d->bars[5], 0, 0, false, false, false);
	check_bar(&seen(0, 3, 0, found)->bars[0], 0xFEA00000, 1 << 20, false, false, false);
	check_bar(&seen(0, 4, 0, found)->bars[1], 0xC040, 64, true, false, false);
	d = seen(0, 31, 2, found);
	CHECK(d->fn == 2 && d->header == 0);
	check_bar(&d->bars[4], 0xC080, 32, true, false, false);
	check_bar(&d->bars[5], 0xFEBF2000, 4096, false, false, false);
}

TEST(base_addresses) {
	reset();
	struct function *f = add(0, 7, 0, 1, 2, 0x038000, 0);
	add_bar(f, 0, 0x4000000000, 8ULL << 30, 4);    /* larger than 32 bits can say */
	add_bar(f, 2, 0, 1 << 20, 0);                  /* not placed by the firmware */
	add_bar(f, 5, 0xFEB00000, 4096, 4);            /* a 64-bit register without a second half */
	struct function *g = add(0, 8, 0, 1, 2, 0x038000, 0);
	add_bar(g, 0, 0xFEC00000, 16, 0);              /* the smallest of each kind */
	add_bar(g, 1, 0xC000, 4, 1);
	g->word[6] = 0xFEB00000;                       /* read-only: not an address register at all */
	uint32_t last_bar = f->word[9];
	uint32_t found = pci_scan(&access, devices, PCI_DEVICES);
	CHECK_EQ(found, 2);
	CHECK_EQ(mistakes, 0);
	const struct pci_device *d = seen(0, 7, 0, found);
	check_bar(&d->bars[0], 0x4000000000, 8ULL << 30, false, true, false);
	check_bar(&d->bars[1], 0, 0, false, false, false);
	check_bar(&d->bars[2], 0, 1 << 20, false, false, false);
	check_bar(&d->bars[5], 0, 0, false, false, false);
	CHECK_EQ(f->word[9], last_bar);
	d = seen(0, 8, 0, found);
	check_bar(&d->bars[0], 0xFEC00000, 16, false, false, false);
	check_bar(&d->bars[1], 0xC000, 4, true, false, false);
	check_bar(&d->bars[2], 0, 0, false, false, false);
}

TEST(bridges) {
	reset();
	add_bridge(0, 1, 5);
	add_bridge(5, 0, 2);  /* leads to a smaller number */
	add_bridge(2, 31, 255);
	add(2, 3, 0, 0x1234, 0x0002, 0x030000, 0);
	add_bar(add(2, 4, 0, 0x1234, 0x0003, 0x0B4000, 2), 0, 0xFE000000, 4096, 0); /* another type of header */
	add(255, 31, 0, 0x1234, 0x00FF, 0x020000, 0x80);
	add(255, 31, 7, 0x1234, 0x00FE, 0x020000, 0);
	add(9, 0, 0, 0xDEAD, 0xBEEF, 0x020000, 0); /* no bridge leads to bus 9 */
	uint32_t found = pci_scan(&access, devices, PCI_DEVICES);
	CHECK_EQ(found, 7);
	CHECK_EQ(mistakes, 0);
	CHECK_EQ(seen(2, 4, 0, found)->bars[0].size, 0);
	CHECK_EQ(seen(2, 3, 0, found)->device, 2);
	CHECK_EQ(seen(255, 31, 7, found)->device, 0xFE);
	CHECK_EQ(seen(0, 1, 0, found)->header, 1);
	CHECK_EQ(seen(0, 1, 0, found)->bars[0].size, 0);
	CHECK(reads < 300);
}

/* Bridges that lead to each other, to themselves, or twice to the same bus: every bus is scanned once. */
TEST(bridge_cycles) {
	reset();
	add_bridge(0, 1, 0);
	add_bridge(0, 2, 1);
	add_bridge(0, 3, 1);
	add_bridge(1, 1, 0);
	add_bridge(1, 2, 1);
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 5);
	CHECK_EQ(mistakes, 0);
	CHECK(reads < 200);
}

TEST(too_many_devices) {
	reset();
	for (int i = 0; i < 40; i++)
		add(0, i / 8, i % 8, 0x1234, (uint16_t)i, 0x030000, 0x80)->word[1] |= PCI_COMMAND_BUS_MASTER;
	memset(devices, 0, sizeof(devices));
	CHECK_EQ(pci_scan(&access, devices, 3), 40);
	CHECK_EQ(devices[2].device, 2);
	CHECK_EQ(devices[3].vendor, 0);
	for (int i = 0; i < 40; i++)
		CHECK(!(functions[i].word[1] & PCI_COMMAND_BUS_MASTER)); /* nor of those that there was no room for */
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 40);
	CHECK_EQ(devices[31].device, 31);
	CHECK_EQ(pci_scan(&access, NULL, 0), 40);
}

TEST(capabilities) {
	reset();
	struct function *f = add(0, 2, 0, 0x1AF4, 0x1050, 0x038000, 0);
	f->word[1] |= 1 << 20;
	f->word[0x34 / 4] = 0x99;            /* the reserved bits are set */
	f->word[0x98 / 4] = 0x0003A411;      /* MSI-X */
	f->word[0xA4 / 4] = 0x00004009;      /* vendor */
	f->word[0x40 / 4] = 0x0000FF09;      /* vendor again, next one with reserved bits */
	f->word[0xFC / 4] = 0x00000005;      /* MSI, the last */
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 1);
	CHECK(!memcmp(devices[0].capabilities, "\x11\x09\x09\x05\0", 6)); /* the order of the list, then nothing */
	CHECK_EQ(devices[0].msi, 0xFC);
	CHECK(!strcmp(pci_capability_name(0x11), "MSI-X") && !strcmp(pci_capability_name(0xFE), "another"));

	f->word[0x40 / 4] = 0x00009809;      /* a circle without MSI ends all the same */
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 1);
	CHECK_EQ(devices[0].msi, 0);
	CHECK_EQ(devices[0].capabilities[PCI_CAPABILITIES - 1], 0x09);
	f->word[0x40 / 4] = 0x00003C09;      /* a pointer into the header ends the list */
	f->word[0x3C / 4] = 0x00000005;
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 1);
	CHECK(devices[0].msi == 0 && devices[0].capabilities[2] == 0x09 && devices[0].capabilities[3] == 0);
	for (uint32_t at = 0x40; at < 0x100; at += 4)
		f->word[at / 4] = (at + 4) << 8 | (at == 0xFC ? PCI_CAP_MSI : 0x09);
	f->word[0x34 / 4] = 0x40;            /* as many as there is room for */
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 1);
	CHECK(devices[0].msi == 0xFC && devices[0].capabilities[PCI_CAPABILITIES - 1] == PCI_CAP_MSI);
	f->word[1] &= ~(1U << 20);           /* no list at all, whatever the pointer says */
	CHECK_EQ(pci_scan(&access, devices, PCI_DEVICES), 1);
	CHECK(devices[0].msi == 0 && devices[0].capabilities[0] == 0);
	CHECK_EQ(mistakes, 0);
}

/* The message goes where the capability's kind has it: 32-bit or 64-bit address, with or without masks. */
TEST(msi) {
	static const struct {
		uint32_t control;
		int data, mask; /* words of the capability, 0: none */
	} kinds[] = {{0x0000, 2, 0}, {0x0080, 3, 0}, {0x0100, 2, 3}, {0x0180, 3, 4}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		reset();
		struct function *f = add(0, 2, 0, 0x1234, 0x11E8, 0x00FF00, 0);
		struct pci_device d = {.dev = 2, .msi = 0x40};
		f->word[16] = (kinds[i].control | 0x0073) << 16 | 0x4805; /* on, with 8 messages of 8 */
		f->writable[16] = 0x00710000;
		for (int word = 17; word < 22; word++) {
			f->word[word] = 0xFFFFFFFF;
			f->writable[word] = 0xFFFFFFFF;
		}
		pci_msi_enable(&access, &d, 0xFEE00010, 0x1234);
		CHECK_EQ(f->word[16], (kinds[i].control | 0x0003) << 16 | 0x4805); /* on, with one */
		CHECK_EQ(f->word[17], 0xFEE00010);
		CHECK_EQ(f->word[16 + kinds[i].data], 0x1234);
		if (kinds[i].data == 3) CHECK_EQ(f->word[18], 0);
		if (kinds[i].mask) CHECK_EQ(f->word[16 + kinds[i].mask], 0);
		CHECK_EQ(f->word[21], 0xFFFFFFFF); /* what lies behind stays */
		CHECK_EQ(mistakes, 0);
	}
}

TEST(command) {
	reset();
	struct function *f = add(0, 2, 0, 1, 2, 0x030000, 0);
	struct pci_device d = {.dev = 2};
	CHECK_EQ(pci_command(&access, &d, PCI_COMMAND_IO, PCI_COMMAND_BUS_MASTER | 0x400), 3);
	CHECK_EQ(f->word[1], 0xA0000406);
	CHECK_EQ(pci_command(&access, &d, 0, 0), 0x406);
	CHECK_EQ(mistakes, 0);
}

TEST(class_names) {
	static const struct { uint8_t class, subclass; const char *name; } cases[] = {
		{3, 0, "VGA controller"}, {3, 0x80, "display controller"}, {6, 0, "host bridge"}, {6, 4, "PCI bridge"},
		{6, 0x80, "bridge"}, {1, 6, "SATA controller"}, {1, 0, "storage controller"},
		{2, 0, "Ethernet controller"},
		{1, 1, "IDE controller"}, {1, 8, "NVMe controller"}, {2, 0x80, "network controller"},
		{3, 2, "3D controller"},
		{4, 3, "multimedia device"}, {5, 0, "memory controller"}, {6, 1, "ISA bridge"}, {7, 0, "serial port"},
		{7, 0x80, "communication controller"}, {8, 6, "IOMMU"}, {8, 0x80, "system device"},
		{9, 0, "input device"},
		{0x0C, 3, "USB controller"}, {0x0C, 5, "SMBus"}, {0x0C, 0, "serial bus"}, {0x12, 0, "accelerator"},
		{0xFF, 0, "unclassified device"}, {0x42, 0, "unknown device"}, {0, 0, "unknown device"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pci_device d = {.class = cases[i].class, .subclass = cases[i].subclass};
		CHECK(strcmp(pci_class_name(&d), cases[i].name) == 0);
	}
}

/* A configuration space full of arbitrary words: the scan ends, in bounded time, and restores what it touched. */
TEST(random_configuration) {
	uint64_t state = 88172645463325252u;
	for (int round = 0; round < 300; round++) {
		reset();
		for (int i = 0; i < FUNCTIONS; i++) {
			state ^= state << 13, state ^= state >> 7, state ^= state << 17;
			struct function *f = add(i < 40 ? 0 : (int)(state >> 8) & 3, i % 32, (int)(state >> 16) & 1,
				1, 2, 0, 0);
			for (int word = 1; word < 64; word++) {
				state ^= state << 13, state ^= state >> 7, state ^= state << 17;
				f->word[word] = (uint32_t)(state >> 20);
				f->writable[word] = (uint32_t)(state >> 8);
			}
			f->word[1] &= 0xFFFF0407; /* the bits of the command register that the fake keeps */
			if (i % 3 == 0) f->word[3] = f->word[3] & 0xFF00FFFF, f->word[3] |= i % 2 ? 0x810000 : 0x010000;
		}
		struct function before[FUNCTIONS];
		memcpy(before, functions, sizeof(before));
		CHECK(pci_scan(&access, devices, PCI_DEVICES) <= FUNCTIONS);
		for (int i = 0; i < FUNCTIONS; i++)
			before[i].word[1] &= ~PCI_COMMAND_BUS_MASTER | functions[i].word[1]; /* some are never found */
		CHECK(memcmp(before, functions, sizeof(before)) == 0);
		CHECK_EQ(mistakes, 0);
		CHECK(reads < 256 * 32 * 8 + FUNCTIONS * 200);
	}
}

int main(void) {
	RUN(empty_machine);
	RUN(q35);
	RUN(base_addresses);
	RUN(bridges);
	RUN(bridge_cycles);
	RUN(too_many_devices);
	RUN(capabilities);
	RUN(msi);
	RUN(command);
	RUN(class_names);
	RUN(random_configuration);
	return check_result();
}
