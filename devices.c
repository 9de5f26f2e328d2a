/*
 * devices.c: what the machine has: ACPI tables and PCI devices.
 *
 * The parsers (acpi.c, pci.c) are pure; this file reaches the tables and the configuration space for them,
 * takes from the results what the kernel uses, and prints the rest under `verbose`.
 *
 * Invariant: what stands here is complete after devices_init and never changes: nothing is plugged in while the kernel
 * runs.
 *
 * Read next: iommu.c, which watches what was found.
 */
#include "acpi.h"
#include "kernel.h"
#include "pci.h"

/* The two ports of configuration space, and the bit of the first one that opens the second (PCI Local Bus 3.0,
 * 3.2.2.3.2). */
enum { PCI_CONFIG_ADDRESS = 0xCF8, PCI_CONFIG_DATA = 0xCFC, PCI_CONFIG_ENABLE = 0x80000000 };

/* Bit of the PM1 control register (ACPI 6.5, 4.8.3.2.1): go to sleep. Which sleep stands beside it: 0, which is
 * soft-off on QEMU's machines. Elsewhere the DSDT would have to be interpreted to know. */
enum { PM1_SLEEP_ENABLE = 1 << 13 };

static struct pci_device pci_devices[PCI_DEVICES];
static uint32_t pci_count;
static struct acpi_fadt fadt; /* zeros, which name no port, unless the firmware has such a table */
static bool timed;            /* by the timer that it names */
static const uint8_t *dmar;   /* the table about IOMMUs, NULL: there is none */

/* ---- ACPI ---- */

/* Maps the table at `phys` and checks it. Returns NULL when it is damaged, and its length in `*len`. */
static const uint8_t *acpi_table(uint64_t phys, uint32_t *len) {
	const uint8_t *table = paging_map_table(phys, ACPI_HEADER_SIZE);

	*len = table ? acpi_table_length(table, ACPI_HEADER_SIZE) : 0;
	table = *len ? paging_map_table(phys, *len) : NULL;
	/* Whatever signature it has. */
	return table && acpi_table_check(table, *len, (const char *)table) ? table : NULL;
}

/* Takes the ports from a FADT. Of several it is the first whose timer counts, or the first one. */
static void use_fadt(const uint8_t *table, uint32_t len) {
	struct acpi_fadt found;

	if (timed || !acpi_fadt(table, len, &found)) return;
	timed = found.pm_timer_port && timer_use_acpi(found.pm_timer_port, found.pm_timer_32bit);
	if (timed || !fadt.pm1a_control_port) fadt = found;
}

/* Returns whether a DMAR table is whole, and its first unit where one can be: in a page, VT-d 8.3. */
bool dmar_unit(const uint8_t *table, uint32_t len, struct acpi_drhd *unit) {
	bool remaps;

	return acpi_dmar(table, len, &remaps) && acpi_drhd(table, len, 0, unit) && !(unit->base & PAGE_MASK) &&
	       paging_device_fits(unit->base, PAGE_SIZE);
}

/* Takes the two tables that the kernel uses from those that the root table names: of several the first that is
 * usable. */
static void acpi_init(uint64_t rsdp_phys) {
	const uint8_t *bytes = rsdp_phys ? paging_map_table(rsdp_phys, ACPI_RSDP_SIZE) : NULL, *root;
	struct acpi_drhd unit;
	struct acpi_rsdp rsdp;
	uint32_t root_len, len;

	if (!bytes || !acpi_rsdp(bytes, ACPI_RSDP_SIZE, &rsdp) || !(root = acpi_table(rsdp.root, &root_len))) return;
	print_verbose("ACPI: revision %u, tables:", rsdp.revision);
	for (uint32_t i = 0; acpi_root_entry(root, root_len, i); i++) {
		const uint8_t *table = acpi_table(acpi_root_entry(root, root_len, i), &len);
		if (!table) continue;
		print_verbose(" %c%c%c%c", table[0], table[1], table[2], table[3]);
		if (!memcmp(table, "FACP", 4)) use_fadt(table, len);
		if (memcmp(table, "DMAR", 4)) continue;
		if (!dmar || !dmar_unit(dmar, acpi_table_length(dmar, ACPI_HEADER_SIZE), &unit)) dmar = table;
	}
	print_verbose("\n");
}

/* Returns the table that describes the IOMMU, NULL: there is none, and its length in `*len`. */
const uint8_t *device_dmar(uint32_t *len) {
	*len = dmar ? acpi_table_length(dmar, ACPI_HEADER_SIZE) : 0;
	return dmar;
}

/* Switches the machine off. Returns where ACPI names no port for that, or nothing comes of it. */
static void acpi_power_off(void) {
	if (fadt.pm1a_control_port) outw(fadt.pm1a_control_port, PM1_SLEEP_ENABLE);
}

/* ---- PCI ---- */

/* Says which word of configuration space the data port stands for from now on. */
static void select_register(const struct pci_device *d, uint16_t offset) {
	outl(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | d->bus << 16 | d->dev << 11 | d->fn << 8 | offset);
}

static uint32_t config_read(const struct pci_device *d, uint16_t offset) {
	select_register(d, offset);
	return inl(PCI_CONFIG_DATA);
}

static void config_write(const struct pci_device *d, uint16_t offset, uint32_t value) {
	select_register(d, offset);
	outl(PCI_CONFIG_DATA, value);
}

/* How pci.c reaches configuration space on this machine. */
const struct pci_access pci_ports = {config_read, config_write};

/* Prints a row of the table of devices: who it is, what it can do, where it answers. */
static void print_device(const struct pci_device *d) {
	print("  %02x:%02x.%u  %04x:%04x  %s", d->bus, d->dev, d->fn, d->vendor, d->device, pci_class_name(d));
	for (int i = 0; i < PCI_CAPABILITIES && d->capabilities[i]; i++)
		print("%s%s", i ? ", " : "; capabilities: ", pci_capability_name(d->capabilities[i]));
	print("\n");
	for (int i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &d->bars[i];
		if (!bar->size) continue;
		print("           BAR%d %s 0x%lx, %lu bytes%s%s\n", i, bar->io ? "ports" : "memory", bar->base,
		      bar->size, bar->wide ? ", 64-bit" : "", bar->prefetchable ? ", prefetchable" : "");
	}
}

/* Returns PCI function number `index` in the order in which they were found, NULL behind the last. */
const struct pci_device *device_at(uint32_t index) { return index < pci_count ? &pci_devices[index] : NULL; }

/* Finds out what there is, which takes all devices their DMA. */
void devices_init(const struct bootinfo *info) {
	acpi_init(info->rsdp);
	power_off = acpi_power_off;
	if (!timed) print("ACPI: no timer that counts; the time is counted in ticks, some of which get lost\n");
	uint32_t count = pci_scan(&pci_ports, pci_devices, PCI_DEVICES);
	print_verbose("PCI: %u functions\n", count);
	if (count > PCI_DEVICES)
		print("PCI: of %u functions the kernel keeps %u; the rest is not used and gets no DMA\n", count, PCI_DEVICES);
	pci_count = count < PCI_DEVICES ? count : PCI_DEVICES;
	for (uint32_t i = 0; verbose && i < pci_count; i++)
		print_device(&pci_devices[i]);
}
