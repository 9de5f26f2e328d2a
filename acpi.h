/*
 * acpi.h: the few facts that the supervisor takes from the firmware's tables, as plain numbers.
 *
 * Every function works on bytes that the caller has mapped: it is told how many there are and reads no other. A
 * table is mapped in two steps: ACPI_HEADER_SIZE bytes first, then as many as acpi_table_length() says.
 *
 * Read next: acpi.c, then timer.c and iommu.c, which use the results.
 */
#ifndef ACPI_H
#define ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes to map at the RSDP, of which revision 0 uses the first 20 only, and bytes that every table begins with. */
enum { ACPI_RSDP_SIZE = 36, ACPI_HEADER_SIZE = 36 };

/* Address spaces of a generic address structure (ACPI 6.5, table 5.1). */
enum { ACPI_SPACE_MEMORY, ACPI_SPACE_IO };

/* The root pointer, with which everything begins. */
struct acpi_rsdp {
	uint8_t revision; /* 0: ACPI 1.0, 2: everything later */
	uint64_t root;    /* physical address of the XSDT, or of the RSDT where there is no XSDT */
};

/* Fixed ACPI description table: the ports of a timer and of the power switch, 0: there is none that is reached by
 * ports. The timer counts 3.579545 MHz in 32 bits, otherwise in 24. */
struct acpi_fadt {
	uint16_t pm_timer_port, pm1a_control_port;
	bool pm_timer_32bit;
};

/* One remapping unit (VT-d calls the structure DRHD) of the table about IOMMUs, which is called DMAR. */
struct acpi_drhd {
	uint64_t base;    /* physical address of its registers */
	uint16_t segment; /* PCI segment whose devices it translates */
	bool all;         /* INCLUDE_PCI_ALL: all devices of the segment that no other unit lists */
	uint32_t scopes_at, scopes_end; /* offsets of its device scopes in the table, for acpi_scope() */
};

/* Types of a device scope (VT-d 8.3.1); only an end point is a device that starts DMA under its own number. */
enum { ACPI_SCOPE_ENDPOINT = 1, ACPI_SCOPE_BRIDGE, ACPI_SCOPE_IOAPIC };

/* One device of a remapping unit. */
struct acpi_scope {
	uint8_t type;             /* ACPI_SCOPE_... */
	uint8_t bus;              /* where the path starts */
	uint8_t hops;             /* 1: the device lies on that bus; more: behind hops - 1 bridges */
	uint8_t device, function; /* of the first hop */
};

/* Checks the root pointer in `len` bytes: signature, checksums, revision. Returns whether it is good. */
bool acpi_rsdp(const uint8_t *bytes, size_t len, struct acpi_rsdp *rsdp);

/* Returns how many bytes the table is long of which the first `len` are at `bytes`, or 0 when that is no table: it is
 * shorter than its header, or longer than 1 MiB, or ACPI_HEADER_SIZE bytes were not given. */
uint32_t acpi_table_length(const uint8_t *bytes, size_t len);

/* Returns whether the `len` bytes begin with a whole table of that signature whose checksum is right. The functions
 * below expect a table that passed. */
bool acpi_table_check(const uint8_t *table, size_t len, const char signature[4]);

/* Returns the physical address of the table that entry `index` of an XSDT or RSDT names, 0 behind the last entry. */
uint64_t acpi_root_entry(const uint8_t *root, size_t len, uint32_t index);

/* Reads the FADT (signature "FACP"). Returns false when it is too short for ACPI 1.0. */
bool acpi_fadt(const uint8_t *table, size_t len, struct acpi_fadt *fadt);

/* Checks the DMAR table and tells whether the platform supports the remapping of interrupts. Returns false when the
 * table is too short or one of its structures does not fit: then nothing in it can be trusted. */
bool acpi_dmar(const uint8_t *table, size_t len, bool *interrupt_remapping);

/* Finds remapping unit number `index`, from 0. Returns false when there are not so many. */
bool acpi_drhd(const uint8_t *table, size_t len, uint32_t index, struct acpi_drhd *drhd);

/* Finds device scope number `index`, from 0, of a unit of the same table. Returns false when there are not so many,
 * or when one up to there is damaged. */
bool acpi_scope(const uint8_t *table, size_t len, const struct acpi_drhd *unit, uint32_t index,
	struct acpi_scope *scope);

#endif
