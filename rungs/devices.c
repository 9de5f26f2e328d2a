/*
 * devices.c, the rung: what acpi.c, pci.c and devices.c add: what the machine has.
 *
 * Shows the functions of PCI with the memory and the ports at which they answer, and that the time comes from the timer
 * that ACPI names: it goes on while no tick is let in.
 *
 * Read next: dma.c.
 */
#include "rungs.h"
#include "../pci.h"

enum { PAUSE_MS = 20, LOOKS = 1000000 };

/* Waits, without letting an interrupt in, until the time has gone on. Returns whether it has. */
static bool time_goes_on(void) {
	uint64_t start = timer_ms();

	for (uint32_t looks = 0; looks < LOOKS; looks++)
		if (timer_ms() - start >= PAUSE_MS) return true;
	return false;
}

void rung_show(const struct bootinfo *info) {
	const struct pci_device *device;

	(void)info;
	for (uint32_t i = 0; (device = device_at(i)); i++) {
		print("Devices: %02x:%02x.%u is %04x:%04x\n", device->bus, device->dev, device->fn, device->vendor, device->device);
		for (int bar = 0; bar < PCI_BARS; bar++)
			if (device->bars[bar].size)
				print("  BAR%d: %s at 0x%lx, 0x%lx bytes\n", bar, device->bars[bar].io ? "ports" : "memory",
				      device->bars[bar].base, device->bars[bar].size);
	}
	print("Devices: without a tick, the time goes on: %d\n", time_goes_on());
	rung_end();
}
