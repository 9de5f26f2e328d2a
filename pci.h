/*
 * pci.h: finding PCI devices and reading what they say about themselves.
 *
 * The logic does not know how configuration space is reached: it is handed a pair of functions, ports 0xCF8 and
 * 0xCFC in the supervisor, an array in the host tests.
 *
 * Read next: pci.c. iommu.c watches the devices, edu.c and gpu.c look for theirs in the result.
 */
#ifndef PCI_H
#define PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Functions that the supervisor remembers; base addresses and capabilities of each: these take 4 bytes or more, between
 * 0x40 and 0x100. */
enum { PCI_DEVICES = 32, PCI_BARS = 6, PCI_CAPABILITIES = 48 };

/* A range of addresses that the device answers to: ports, or memory, whose addresses may be wide, of 64 bits. The upper
 * half of a wide one takes the next number, whose own entry is then empty. */
struct pci_bar {
	uint64_t base, size; /* bytes; size 0: there is none; base 0: the firmware has not placed it */
	bool io, wide, prefetchable;
};

/* One function of a device; a device has up to eight, at the same bus and number. */
struct pci_device {
	uint8_t bus, dev, fn;
	uint8_t header, class, subclass; /* header: 0 is a device, 1 a bridge */
	uint16_t vendor, device;
	uint8_t capabilities[PCI_CAPABILITIES]; /* their identifiers in the order of the list, then 0 */
	uint8_t msi; /* offset of the MSI capability, 0: there is none */
	struct pci_bar bars[PCI_BARS]; /* empty in bridges */
};

/* Access to the configuration space of the function at a device's bus, dev and fn, by aligned 32-bit words. Reading
 * from one that is absent gives 0xFFFFFFFF. */
struct pci_access { /* calls through read: config_read; calls through write: config_write */
	uint32_t (*read)(const struct pci_device *device, uint16_t offset);
	void (*write)(const struct pci_device *device, uint16_t offset, uint32_t value);
};

/* Bits of the command register (PCI 3.0, 6.2.2). */
enum { PCI_COMMAND_IO = 1, PCI_COMMAND_MEMORY = 2, PCI_COMMAND_BUS_MASTER = 4 };

/* The capability to raise interrupts by messages (PCI Code and ID Assignment, chapter 2). */
enum { PCI_CAP_MSI = 0x05 };

/* QEMU's `edu` device: its class says nothing, so it is known by its number alone. */
enum { EDU_VENDOR = 0x1234, EDU_DEVICE = 0x11E8 };

/* Finds all functions on bus 0 and on the buses behind bridges, and stores the first `max` of them in the order of
 * discovery. Returns how many there are, which may be more than `max`. None of them is a bus master afterwards. Base
 * addresses are sized, which needs decoding switched off for a moment: no other code may use the devices meanwhile. */
uint32_t pci_scan(const struct pci_access *access, struct pci_device *devices, uint32_t max);

/* Clears, then sets, bits of the command register. Returns what it was before. */
uint16_t pci_command(const struct pci_access *access, const struct pci_device *device, uint16_t clear, uint16_t set);

/* Has a device whose `msi` is not 0 interrupt by writing `data` to `address`: one message, enabled and unmasked. */
void pci_msi_enable(const struct pci_access *access, const struct pci_device *device, uint32_t address, uint16_t data);

/* Return in words what the device is, for the console, and what a capability with that identifier is. */
const char *pci_class_name(const struct pci_device *device);
const char *pci_capability_name(uint8_t id);

#endif
