/*
 * devices.c: what the machine has: ACPI tables and PCI devices.
 *
 * The parsers (acpi.c, pci.c) are pure; this file reaches the tables and the configuration space for them,
 * takes from the results what the kernel uses, and prints the rest under `verbose`.
 *
 * Read next: main.c again, to see it all put together.
 */
#include "acpi.h"
#include "kernel.h"
#include "pci.h"

#define PCI_CONFIG_ADDRESS 0xCF8 /* PCI Local Bus 3.0, 3.2.2.3.2 */
#define PCI_CONFIG_DATA 0xCFC
#define PCI_CONFIG_ENABLE 0x80000000

#define PM1_SLEEP_ENABLE 0x2000 /* ACPI 6.4, 4.8.3.2.1; sleep type 0 is soft-off on QEMU's machines */

static struct pci_device pci_devices[PCI_DEVICES];
static uint32_t pci_count;
static uint16_t pm1a_port;
static const uint8_t *dmar; /* NULL: there is none */
static uint32_t dmar_len;

/* ---- ACPI ---- */

/* Maps the table at `phys` and checks it. Returns NULL when it is damaged or no such table. */
static const uint8_t *acpi_table(uint64_t phys, const char *signature, uint32_t *len) {
	const uint8_t *table = paging_map_table(phys, ACPI_HEADER_SIZE);

	*len = acpi_table_length(table, ACPI_HEADER_SIZE);
	if (!*len) return NULL;
	table = paging_map_table(phys, *len);
	return acpi_table_check(table, *len, signature ? signature : (const char *)table) ? table : NULL;
}

static void use_fadt(const uint8_t *table, uint32_t len) {
	struct acpi_fadt fadt;

	if (!acpi_fadt(table, len, &fadt)) return;
	pm1a_port = fadt.pm1a_control_port;
	if (fadt.pm_timer_port) timer_use_acpi(fadt.pm_timer_port, fadt.pm_timer_32bit);
}

/* Walks the tables that the root table names. */
static void acpi_init(uint64_t rsdp_phys) {
	struct acpi_rsdp rsdp;
	const uint8_t *root;
	uint32_t root_len, len;

	if (!rsdp_phys || !acpi_rsdp(paging_map_table(rsdp_phys, ACPI_RSDP_SIZE), ACPI_RSDP_SIZE, &rsdp) ||
	    !(root = acpi_table(rsdp.root, NULL, &root_len))) {
		print("ACPI: no usable tables; the time is counted in ticks, some of which get lost\n");
		return;
	}
	print_verbose("ACPI: revision %u, tables:", rsdp.revision);
	for (uint32_t i = 0; acpi_root_entry(root, root_len, i); i++) {
		const uint8_t *table = acpi_table(acpi_root_entry(root, root_len, i), NULL, &len);
		if (!table) continue;
		print_verbose(" %c%c%c%c", table[0], table[1], table[2], table[3]);
		if (!memcmp(table, "FACP", 4)) use_fadt(table, len);
		if (!memcmp(table, "DMAR", 4)) {
			dmar = table;
			dmar_len = len;
		}
	}
	print_verbose("\n");
}

/* Returns the table that describes the IOMMU and its length, or NULL. */
const uint8_t *device_dmar(uint32_t *len) {
	*len = dmar_len;
	return dmar;
}

/* Ends the machine's power. Returns where there is no ACPI to do so. */
void power_off(void) {
	if (pm1a_port) outw(pm1a_port, PM1_SLEEP_ENABLE);
}

/* ---- PCI ---- */

static void select_register(uint8_t bus, uint8_t dev, uint8_t fn, uint16_t offset) {
	outl(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | (uint32_t)bus << 16 | (uint32_t)dev << 11 | (uint32_t)fn << 8 | offset);
}

static uint32_t config_read(void *ctx, uint8_t bus, uint8_t dev, uint8_t fn, uint16_t offset) {
	(void)ctx;
	select_register(bus, dev, fn, offset);
	return inl(PCI_CONFIG_DATA);
}

static void config_write(void *ctx, uint8_t bus, uint8_t dev, uint8_t fn, uint16_t offset, uint32_t value) {
	(void)ctx;
	select_register(bus, dev, fn, offset);
	outl(PCI_CONFIG_DATA, value);
}

const struct pci_access pci_ports = {config_read, config_write, NULL};

static void print_device(const struct pci_device *d) {
	print_verbose("  %02x:%02x.%u  %04x:%04x  %s", d->bus, d->dev, d->fn, d->vendor, d->device, pci_class_name(d));
	for (int i = 0; i < PCI_CAPABILITIES && d->capabilities[i]; i++)
		print_verbose("%s%s", i ? ", " : "; capabilities: ", pci_capability_name(d->capabilities[i]));
	print_verbose("\n");
	for (int i = 0; i < PCI_BARS; i++)
		if (d->bars[i].size)
			print_verbose("           BAR%d %s 0x%lx, %lu bytes%s%s\n", i, d->bars[i].io ? "ports" : "memory",
				      d->bars[i].base, d->bars[i].size, d->bars[i].wide ? ", 64-bit" : "",
				      d->bars[i].prefetchable ? ", prefetchable" : "");
}

static void devices_scan(void) {
	uint32_t count = pci_scan(&pci_ports, pci_devices, PCI_DEVICES);

	print_verbose("PCI: %u functions\n", count);
	pci_count = count < PCI_DEVICES ? count : PCI_DEVICES;
	for (uint32_t i = 0; i < pci_count; i++)
		print_device(&pci_devices[i]);
}

/* Returns PCI function number `index`, NULL behind the last. */
const struct pci_device *device_at(uint32_t index) { return index < pci_count ? &pci_devices[index] : NULL; }

/* Finds out what there is. */
void devices_init(const struct bootinfo *info) {
	acpi_init(info->rsdp);
	devices_scan();
	iommu_init();
	edu_init();
}
