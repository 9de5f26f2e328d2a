/*
 * pci.h: finding PCI devices and reading what they say about themselves.
 *
 * The logic does not know how configuration space is reached: it is handed a pair of functions, ports 0xCF8 and
 * 0xCFC in the supervisor, an array in the host tests.
 *
 * Read next: pci.c, then gpu.c and iommu.c, which look for their devices in the result.
 */
#ifndef PCI_H
#define PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCI_DEVICES 32 /* functions that the supervisor remembers */
#define PCI_BARS    6
#define PCI_CAPABILITIES 48 /* 4 bytes each between 0x40 and 0x100 */

/* Access to configuration space, by aligned 32-bit words. Reading a function that is absent gives 0xFFFFFFFF. */
struct pci_access {
	uint32_t (*read)(void *ctx, uint8_t bus, uint8_t dev, uint8_t fn, uint16_t offset);
	void (*write)(void *ctx, uint8_t bus, uint8_t dev, uint8_t fn, uint16_t offset, uint32_t value);
	void *ctx;
};

/* A range of addresses that the device answers to. The upper half of a wide one takes the next number, whose own
 * entry is then empty. */
struct pci_bar {
	uint64_t base, size; /* bytes; size 0: there is none; base 0: the firmware has not placed it */
	bool io;             /* ports, not memory */
	bool wide;           /* 64-bit address */
	bool prefetchable;
};

struct pci_device {
	uint8_t bus, dev, fn;
	uint8_t header;                    /* type of its header: 0 device, 1 bridge */
	uint16_t vendor, device;
	uint8_t class, subclass;
	uint8_t capabilities[PCI_CAPABILITIES]; /* their identifiers in the order of the list, then 0 */
	uint8_t msi;                       /* offset of the MSI capability, 0: there is none */
	struct pci_bar bars[PCI_BARS];     /* empty in bridges */
};

/* Bits of the command register (PCI 3.0, 6.2.2). */
#define PCI_COMMAND_IO          0x001
#define PCI_COMMAND_MEMORY      0x002
#define PCI_COMMAND_BUS_MASTER  0x004

#define PCI_CAP_MSI 0x05 /* PCI Code and ID Assignment, chapter 2 */

/* Finds all functions on bus 0 and on the buses behind bridges, and stores the first `max` of them in the order of
 * discovery. Returns how many there are, which may be more than `max`. Base addresses are sized, which needs decoding
 * switched off for a moment: no other code may use the devices meanwhile. */
uint32_t pci_scan(const struct pci_access *access, struct pci_device *devices, uint32_t max);

/* Clears, then sets, bits of the command register. Returns its former value. */
uint16_t pci_command(const struct pci_access *access, const struct pci_device *device, uint16_t clear, uint16_t set);

/* Has a device whose `msi` is not 0 interrupt by writing `data` to `address`: one message, enabled and unmasked. */
void pci_msi_enable(const struct pci_access *access, const struct pci_device *device, uint32_t address, uint16_t data);

/* Return in words what the device is, and what a capability with that identifier is, for the table of --verbose. */
const char *pci_class_name(const struct pci_device *device);
const char *pci_capability_name(uint8_t id);

#endif
