/*
 * pci.c: enumerates PCI functions, sizes their base addresses, walks their capability lists.
 *
 * Invariants: each bus is scanned at most once, however the bridges are wired, and a capability list ends after as
 * many steps as configuration space has room for; a device decodes addresses after the scan exactly as before, but none
 * is a bus master any more, remembered or not; the status bits, which a write of 1 would clear, are never written.
 *
 * Offsets are those of the PCI Local Bus Specification 3.0, chapter 6, and for bridges of the PCI-to-PCI Bridge
 * Architecture Specification 1.2, chapter 3.
 *
 * Read next: devices.c.
 */
#include "pci.h"

/* Words of configuration space (6.1, bridges: 3.2): vendor and device; command and status; revision, interface,
 * subclass and class; header type in the third byte; base addresses; in a bridge the buses before, behind and farthest
 * behind it; where the list of capabilities begins. What is named first is in the lowest byte. */
enum {
	PCI_VENDOR = 0x00, PCI_COMMAND = 0x04, PCI_CLASS = 0x08, PCI_HEADER_TYPE = 0x0C, PCI_BAR = 0x10,
	PCI_BRIDGE_BUSES = 0x18, PCI_CAPABILITIES_FIRST = 0x34,
};

/* What is found there (6.2.1 to 6.2.3): the vendor where no function is, bit 4 of status for one that lists
 * capabilities, the class of bridges; header types, and beside them a flag: there are functions 1 to 7 as well. */
enum { VENDOR_NONE = 0xFFFF, PCI_STATUS_CAPABILITIES = 1 << (16 + 4), CLASS_BRIDGE = 0x06 };
enum { HEADER_DEVICE = 0, HEADER_BRIDGE = 1, HEADER_MULTIFUNCTION = 0x80 };

/* Base address registers (6.2.5.1): the lowest bits say what kind they are, the rest is the address. */
enum { BAR_IO = 1, BAR_TYPE = 6, BAR_TYPE_64 = 4, BAR_PREFETCHABLE = 8, BAR_IO_FLAGS = 3, BAR_MEMORY_FLAGS = 15 };

/* Message control, in the upper half of the first word of the MSI capability (6.8.1.3): on; how many messages are
 * enabled, 0 is one; the address has 64 bits; there is a mask register. */
enum { MSI_ENABLE = 1 << 16, MSI_MESSAGES = 7 << 20, MSI_WIDE = 1 << 23, MSI_MASKS = 1 << 24 };

/* Limits that bound the loops: buses, slots of a bus, functions of a slot; no capability begins below the start. */
enum { BUSES = 256, SLOTS = 32, FUNCTIONS = 8, CAPABILITIES_START = 0x40 };

/* The one place that writes the command register. */
uint16_t pci_command(const struct pci_access *access, const struct pci_device *device, uint16_t clear, uint16_t set) {
	uint16_t old = (uint16_t)access->read(device, PCI_COMMAND);
	/* Zeros in the upper half leave the status register alone. */
	access->write(device, PCI_COMMAND, (uint16_t)((old & ~clear) | set));
	return old;
}

/* Notes the capabilities of a function. Each begins with its identifier and the offset of the next one; an offset below
 * 0x40 ends the list. */
static void list_capabilities(const struct pci_access *access, struct pci_device *d) {
	uint8_t at = 0;
	if (access->read(d, PCI_COMMAND) & PCI_STATUS_CAPABILITIES)
		at = (uint8_t)access->read(d, PCI_CAPABILITIES_FIRST);
	for (int i = 0; i < PCI_CAPABILITIES && at >= CAPABILITIES_START; i++) {
		at &= 0xFC; /* the lower two bits are reserved */
		uint32_t word = access->read(d, at);
		d->capabilities[i] = (uint8_t)word;
		if ((uint8_t)word == PCI_CAP_MSI) d->msi = at;
		at = (uint8_t)(word >> 8);
	}
}

/* The capability is control, address, data and mask, a word each, but two for an address of 64 bits (6.8.1). It is
 * switched off while it is written, so that no half of a message is ever sent. */
void pci_msi_enable(const struct pci_access *access, const struct pci_device *device, uint32_t address, uint16_t data) {
	uint32_t at = device->msi, control = access->read(device, at) & ~(MSI_ENABLE | MSI_MESSAGES);
	uint32_t data_at = at + (control & MSI_WIDE ? 12 : 8);
	access->write(device, at, control);
	access->write(device, at + 4, address);
	if (control & MSI_WIDE) access->write(device, at + 8, 0);
	access->write(device, data_at, data);
	if (control & MSI_MASKS) access->write(device, data_at + 4, 0);
	access->write(device, at, control | MSI_ENABLE);
}

/* Returns which bits of a base address register can be set and cleared, and gives it back its value. A bit that is 1
 * for good is none of the address, so writing ones alone would not tell. */
static uint32_t probe(const struct pci_access *access, const struct pci_device *d, uint16_t offset, uint32_t value) {
	access->write(d, offset, 0xFFFFFFFF);
	uint32_t ones = access->read(d, offset);
	access->write(d, offset, 0);
	uint32_t zeros = access->read(d, offset);
	access->write(d, offset, value);
	return ones & ~zeros;
}

/* Sizes base address `index` of a device that decodes nothing at the moment. Returns the index of the next one. */
static int size_bar(const struct pci_access *access, struct pci_device *d, int index) {
	struct pci_bar *bar = &d->bars[index];
	uint16_t offset = (uint16_t)(PCI_BAR + index * 4);
	uint32_t value = access->read(d, offset);
	bar->io = value & BAR_IO;
	bar->wide = !bar->io && (value & BAR_TYPE) == BAR_TYPE_64;
	bar->prefetchable = !bar->io && value & BAR_PREFETCHABLE;
	uint32_t flags = bar->io ? BAR_IO_FLAGS : BAR_MEMORY_FLAGS;
	uint64_t mask = probe(access, d, offset, value) & ~flags;
	bar->base = value & ~flags;
	int next = index + (bar->wide ? 2 : 1);
	if (bar->wide && next <= PCI_BARS) {
		uint32_t high = access->read(d, offset + 4);
		mask |= (uint64_t)probe(access, d, offset + 4, high) << 32;
		bar->base |= (uint64_t)high << 32;
	}
	/* The lowest address bit that can be set is the size: those below it are the device's own. */
	bar->size = mask & (~mask + 1);
	/* The upper half of a wide one cannot lie behind the last register: such a device is broken. */
	if (bar->size == 0 || next > PCI_BARS) *bar = (struct pci_bar){0};
	return next;
}

/* Fills in what is not known yet of a device: everything but its place, numbers and header. */
static void describe(const struct pci_access *access, struct pci_device *d) {
	uint32_t class = access->read(d, PCI_CLASS);
	d->class = (uint8_t)(class >> 24);
	d->subclass = (uint8_t)(class >> 16);
	list_capabilities(access, d);

	/* Bridges have fewer registers of this kind, nothing here uses them, and one that stops decoding takes what
	 * lies behind it (on a PC, the serial port) from the bus. */
	if (d->header != HEADER_DEVICE || d->class == CLASS_BRIDGE) return;
	uint16_t command = pci_command(access, d, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	for (int index = 0; index < PCI_BARS;)
		index = size_bar(access, d, index);
	pci_command(access, d, 0, command);
}

/* What is known while a scan runs. A bus is reached when a bridge leads to it. */
struct scan {
	const struct pci_access *access;
	struct pci_device *devices;
	uint32_t found, max;
	enum { BUS_UNKNOWN, BUS_REACHED, BUS_SCANNED } bus[BUSES];
};

/* Looks at one function, takes it its DMA, stores it if there is room, and notes the bus behind a bridge. Returns its
 * header type with HEADER_MULTIFUNCTION, or -1 when there is no such function. */
static int scan_function(struct scan *scan, uint8_t bus, uint8_t dev, uint8_t fn) {
	struct pci_device d = {.bus = bus, .dev = dev, .fn = fn};
	uint32_t id = scan->access->read(&d, PCI_VENDOR);
	d.vendor = (uint16_t)id;
	d.device = (uint16_t)(id >> 16);
	if (d.vendor == VENDOR_NONE) return -1;
	int header = (uint8_t)(scan->access->read(&d, PCI_HEADER_TYPE) >> 16);
	d.header = (uint8_t)(header & ~HEADER_MULTIFUNCTION);
	if (d.header == HEADER_BRIDGE) {
		uint8_t secondary = (uint8_t)(scan->access->read(&d, PCI_BRIDGE_BUSES) >> 8);
		if (scan->bus[secondary] == BUS_UNKNOWN) scan->bus[secondary] = BUS_REACHED;
	}
	pci_command(scan->access, &d, PCI_COMMAND_BUS_MASTER, 0);
	if (scan->found++ < scan->max) {
		describe(scan->access, &d);
		scan->devices[scan->found - 1] = d;
	}
	return header;
}

/* Scans the 32 slots of one bus. */
static void scan_bus(struct scan *scan, uint8_t bus) {
	for (uint8_t dev = 0; dev < SLOTS; dev++) {
		int header = scan_function(scan, bus, dev, 0);
		/* A slot without function 0 is empty, and one without the flag answers for all eight. */
		if (header < 0 || !(header & HEADER_MULTIFUNCTION)) continue;
		for (uint8_t fn = 1; fn < FUNCTIONS; fn++)
			scan_function(scan, bus, dev, fn);
	}
}

/* Empty slots cost one read each, so a machine with one bus and a few devices is scanned in some hundred reads. */
uint32_t pci_scan(const struct pci_access *access, struct pci_device *devices, uint32_t max) {
	struct scan scan = {.access = access, .devices = devices, .max = max, .bus = {BUS_REACHED}};
	for (uint32_t bus = 0; bus < BUSES; bus++)
		if (scan.bus[bus] == BUS_REACHED) {
			scan.bus[bus] = BUS_SCANNED;
			scan_bus(&scan, (uint8_t)bus);
			bus = 0; /* a bridge may lead to a bus of a smaller number; bus 0 itself has been scanned */
		}
	return scan.found;
}

/* The table has what QEMU can offer and what a reader is likely to meet on a desk. */
const char *pci_class_name(const struct pci_device *device) {
	/* PCI Code and ID Assignment, chapter 1; the entry for a subclass comes before the one for its class. */
	enum { ANY = 0x100 }; /* no 8-bit subclass */
	static const struct {
		uint16_t class, subclass;
		const char *name;
	} rows[] = {
		{0x01, 0x01, "IDE controller"}, {0x01, 0x06, "SATA controller"}, {0x01, 0x08, "NVMe controller"},
		{0x01, ANY, "storage controller"}, {0x02, 0x00, "Ethernet controller"},
		{0x02, ANY, "network controller"}, {0x03, 0x00, "VGA controller"}, {0x03, 0x02, "3D controller"},
		{0x03, ANY, "display controller"}, {0x04, ANY, "multimedia device"}, {0x05, ANY, "memory controller"},
		{0x06, 0x00, "host bridge"}, {0x06, 0x01, "ISA bridge"}, {0x06, 0x04, "PCI bridge"},
		{0x06, ANY, "bridge"}, {0x07, 0x00, "serial port"}, {0x07, ANY, "communication controller"},
		{0x08, 0x06, "IOMMU"}, {0x08, ANY, "system device"}, {0x09, ANY, "input device"},
		{0x0C, 0x03, "USB controller"}, {0x0C, 0x05, "SMBus"}, {0x0C, ANY, "serial bus"},
		{0x12, ANY, "accelerator"}, {0xFF, ANY, "unclassified device"},
	};
	if (device->vendor == EDU_VENDOR && device->device == EDU_DEVICE) return "edu DMA engine";
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].class == device->class && (rows[i].subclass == ANY || rows[i].subclass == device->subclass))
			return rows[i].name;
	return "unknown device";
}

/* Those that QEMU's devices and common cards have (PCI Code and ID Assignment, chapter 2). */
const char *pci_capability_name(uint8_t id) {
	static const char *const names[] = {
		[0x01] = "power management", [PCI_CAP_MSI] = "MSI", [0x09] = "vendor's own", [0x0D] = "subsystem",
		[0x10] = "PCI Express", [0x11] = "MSI-X", [0x12] = "SATA", [0x13] = "advanced features",
	};
	return id < sizeof(names) / sizeof(names[0]) && names[id] ? names[id] : "another";
}
