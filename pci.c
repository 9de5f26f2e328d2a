/*
 * pci.c: enumerates PCI functions, sizes their base addresses, walks their capability lists.
 *
 * Invariants: each bus is scanned at most once, however the bridges are wired, and a capability list ends after as
 * many steps as configuration space has room for; a device decodes addresses after the scan exactly as before; the
 * status bits, which a write of 1 would clear, are never written.
 *
 * Offsets are those of the PCI Local Bus Specification 3.0, chapter 6, and for bridges of the PCI-to-PCI Bridge
 * Architecture Specification 1.2, chapter 3.
 *
 * Read next: gpu.c for a device that is used, iommu.c for one that watches the others.
 */
#include "pci.h"

/* Offsets of words in configuration space, and bits in them. */
#define PCI_VENDOR          0x00 /* device above it */
#define PCI_COMMAND         0x04 /* status above it */
#define PCI_STATUS_CAPABILITIES (1U << 20) /* bit 4 of status: there is a capability list */
#define PCI_CLASS           0x08 /* revision, interface, subclass, class, from the lowest byte up */
#define PCI_HEADER_TYPE     0x0C /* in bits 16 to 23 */
#define HEADER_MULTIFUNCTION 0x80
#define HEADER_DEVICE       0
#define HEADER_BRIDGE       1
#define PCI_BAR             0x10
#define PCI_BRIDGE_BUSES    0x18 /* primary, secondary, subordinate */
#define PCI_CAPABILITIES_FIRST 0x34
#define VENDOR_NONE         0xFFFF

/* Base address registers (6.2.5.1): the lowest bits say what kind they are, the rest is the address. */
#define BAR_IO              0x1
#define BAR_TYPE            0x6
#define BAR_TYPE_64         0x4
#define BAR_PREFETCHABLE    0x8
#define BAR_IO_FLAGS        0x3
#define BAR_MEMORY_FLAGS    0xF

/* Message control, in the upper half of the first word of the MSI capability (6.8.1.3). */
#define MSI_ENABLE          (1U << 16)
#define MSI_MESSAGES        (7U << 20) /* how many are enabled: 0 is one */
#define MSI_WIDE            (1U << 23) /* the address has 64 bits */
#define MSI_MASKS           (1U << 24) /* there is a mask register */

/* Limits that bound the loops. */
#define BUSES               256
#define SLOTS               32 /* of a bus */
#define FUNCTIONS           8  /* of a slot */
#define CAPABILITIES_START  0x40
#define CLASS_BRIDGE        0x06

/* Reads the word at `offset` of a function's configuration space. */
static uint32_t config_read(const struct pci_access *access, const struct pci_device *d, uint16_t offset) {
	return access->read(access->ctx, d->bus, d->dev, d->fn, offset);
}

/* Writes the word at `offset` of a function's configuration space. */
static void config_write(const struct pci_access *access, const struct pci_device *d, uint16_t offset, uint32_t value) {
	access->write(access->ctx, d->bus, d->dev, d->fn, offset, value);
}

/* The one place that writes the command register. */
uint16_t pci_command(const struct pci_access *access, const struct pci_device *device, uint16_t clear, uint16_t set) {
	uint16_t old = (uint16_t)config_read(access, device, PCI_COMMAND);
	/* Zeros in the upper half leave the status register alone. */
	config_write(access, device, PCI_COMMAND, (uint16_t)((old & ~clear) | set));
	return old;
}

/* Notes the capabilities of a function. Each begins with its identifier and the offset of the next one; an offset below
 * 0x40 ends the list. */
static void list_capabilities(const struct pci_access *access, struct pci_device *d) {
	uint8_t at = 0;
	if (config_read(access, d, PCI_COMMAND) & PCI_STATUS_CAPABILITIES)
		at = (uint8_t)config_read(access, d, PCI_CAPABILITIES_FIRST);
	for (int i = 0; i < PCI_CAPABILITIES && at >= CAPABILITIES_START; i++) {
		at &= 0xFC; /* the lower two bits are reserved */
		uint32_t word = config_read(access, d, at);
		d->capabilities[i] = (uint8_t)word;
		if ((uint8_t)word == PCI_CAP_MSI) d->msi = at;
		at = (uint8_t)(word >> 8);
	}
}

/* The capability has an address of 32 or 64 bits, which moves what lies behind it (6.8.1). */
void pci_msi_enable(const struct pci_access *access, const struct pci_device *device, uint32_t address, uint16_t data) {
	uint16_t at = device->msi;
	uint32_t control = config_read(access, device, at);
	config_write(access, device, at, control & ~(MSI_ENABLE | MSI_MESSAGES));
	config_write(access, device, at + 4, address);
	if ((control & MSI_WIDE) != 0)
		config_write(access, device, (at += 4) + 4, 0); /* the upper half */
	config_write(access, device, at + 8, data);
	if ((control & MSI_MASKS) != 0) config_write(access, device, at + 12, 0);
	config_write(access, device, device->msi, (control & ~MSI_MESSAGES) | MSI_ENABLE);
}

/* Returns which bits of a base address register can be set and cleared, and gives it back its value. A bit that is 1
 * for good is none of the address, so writing ones alone would not tell. */
static uint32_t probe(const struct pci_access *access, const struct pci_device *d, uint16_t offset, uint32_t value) {
	config_write(access, d, offset, 0xFFFFFFFF);
	uint32_t ones = config_read(access, d, offset);
	config_write(access, d, offset, 0);
	uint32_t zeros = config_read(access, d, offset);
	config_write(access, d, offset, value);
	return ones & ~zeros;
}

/* Sizes base address `index` of a device that decodes nothing at the moment. Returns the index of the next one. */
static int size_bar(const struct pci_access *access, struct pci_device *d, int index) {
	struct pci_bar *bar = &d->bars[index];
	uint16_t offset = (uint16_t)(PCI_BAR + index * 4);
	uint32_t value = config_read(access, d, offset);
	bar->io = (value & BAR_IO) != 0;
	bar->wide = !bar->io && (value & BAR_TYPE) == BAR_TYPE_64;
	bar->prefetchable = !bar->io && (value & BAR_PREFETCHABLE) != 0;
	uint32_t flags = bar->io ? BAR_IO_FLAGS : BAR_MEMORY_FLAGS;
	uint64_t mask = probe(access, d, offset, value) & ~flags;
	bar->base = value & ~flags;
	if (bar->wide && index + 1 < PCI_BARS) {
		uint32_t high = config_read(access, d, offset + 4);
		mask |= (uint64_t)probe(access, d, offset + 4, high) << 32;
		bar->base |= (uint64_t)high << 32;
	}
	/* The lowest address bit that can be set is the size: those below it are the device's own. */
	bar->size = mask & (~mask + 1);
	bool broken = bar->wide && index + 1 == PCI_BARS; /* its upper half would lie behind the last register */
	if (bar->size == 0 || broken) *bar = (struct pci_bar){0};
	return index + (bar->wide ? 2 : 1);
}

/* Fills in a device whose place and vendor are known. */
static void describe(const struct pci_access *access, struct pci_device *d) {
	uint32_t class = config_read(access, d, PCI_CLASS);
	d->class = (uint8_t)(class >> 24);
	d->subclass = (uint8_t)(class >> 16);
	d->header = (uint8_t)(config_read(access, d, PCI_HEADER_TYPE) >> 16) & (uint8_t)~HEADER_MULTIFUNCTION;
	list_capabilities(access, d);

	/* Bridges have fewer registers of this kind, nothing here uses them, and one that stops decoding takes what
	 * lies behind it (on a PC, the serial port) from the bus. */
	if (d->header != HEADER_DEVICE || d->class == CLASS_BRIDGE) return;
	uint16_t command = pci_command(access, d, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	for (int index = 0; index < PCI_BARS;)
		index = size_bar(access, d, index);
	pci_command(access, d, 0, command);
}

/* What is known while a scan runs. */
struct scan {
	const struct pci_access *access;
	struct pci_device *devices;
	uint32_t found, max;
	enum { BUS_UNKNOWN, BUS_REACHED, BUS_SCANNED } bus[BUSES];
};

/* Looks at one function, stores it if there is room, and notes the bus behind it if it is a bridge. Returns its header
 * type with HEADER_MULTIFUNCTION, or -1 when there is no such function. */
static int scan_function(struct scan *scan, uint8_t bus, uint8_t dev, uint8_t fn) {
	struct pci_device d = {.bus = bus, .dev = dev, .fn = fn};
	uint32_t id = config_read(scan->access, &d, PCI_VENDOR);
	d.vendor = (uint16_t)id;
	d.device = (uint16_t)(id >> 16);
	if (d.vendor == VENDOR_NONE) return -1;
	int header = (uint8_t)(config_read(scan->access, &d, PCI_HEADER_TYPE) >> 16);
	if ((header & ~HEADER_MULTIFUNCTION) == HEADER_BRIDGE) {
		uint8_t secondary = (uint8_t)(config_read(scan->access, &d, PCI_BRIDGE_BUSES) >> 8);
		if (scan->bus[secondary] == BUS_UNKNOWN) scan->bus[secondary] = BUS_REACHED;
	}
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
		if (header < 0 || (header & HEADER_MULTIFUNCTION) == 0) continue;
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
	} names[] = {
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
	if (device->vendor == 0x1234 && device->device == 0x11E8)
		return "edu DMA engine"; /* QEMU's, whose class is none */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].class == device->class
		    && (names[i].subclass == ANY || names[i].subclass == device->subclass))
			return names[i].name;
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
