/*
 * acpi.c: checks the firmware's tables and picks the fields that the supervisor needs.
 *
 * Invariants: pure functions of the bytes that they are given; a field is read only after its end was compared with
 * the length of the table, which in turn was compared with the number of bytes; every walk advances by at least the
 * size of one header. AML, the byte code in the DSDT, is not interpreted.
 *
 * Offsets are those of the ACPI specification 6.5 (chapter 5) and of Intel's "Virtualization Technology for Directed
 * I/O" (VT-d, chapter 8), under the names they have there.
 *
 * The contracts of the functions that others call stand in acpi.h; here stands above each what makes it right.
 *
 * Read next: pci.h, the other source of facts. devices.c:acpi_init has the order in which the tables are mapped.
 */
#include "acpi.h"

int memcmp(const void *a, const void *b, size_t len); /* the supervisor's own; libc's in the host tests */

/* RSDP, 5.2.5.3. That of ACPI 1.0 ends where the length, the first of the later fields, stands. */
enum { RSDP_REVISION = 15, RSDP_RSDT_ADDRESS = 16, RSDP_LENGTH = 20, RSDP_XSDT_ADDRESS = 24, RSDP_V1_SIZE = 20 };

/* Header of every table, 5.2.6. No table that is read here comes near TABLE_MAX: a larger length is damage. */
enum { TABLE_LENGTH = 4, TABLE_MAX = 0x100000 };

/* FADT, 5.2.9. A later revision only appends, so the length says which fields exist; those with X_ replace older ones.
 * FLAG_TMR_VAL_EXT: the timer has 32 bits, not 24. PM_TIMER_BYTES is the PM_TMR_LEN of every timer that exists. */
enum {
	PM1A_CNT_BLK = 64, PM_TMR_BLK = 76, PM_TMR_LEN = 91, FADT_FLAGS = 112, X_PM1A_CNT_BLK = 172, X_PM_TMR_BLK = 208,
	FADT_V1_SIZE = 116, FLAG_TMR_VAL_EXT = 1 << 8, PM_TIMER_BYTES = 4,
};

/* Generic address structure, 5.2.3.2: an address, and the space (ACPI_SPACE_...) that it is one of. */
enum { GAS_SPACE = 0, GAS_ADDRESS = 4, GAS_SIZE = 12 };

/* DMAR, VT-d 8.1: a head, then structures of several types, one behind the other (8.2). One of type DRHD is a remapping
 * unit (8.3) and ends in device scopes (8.3.1), and each of these in a path, pairs of device and function. */
enum { DMAR_FLAGS = 37, DMAR_FLAG_INTR_REMAP = 1, DMAR_STRUCTURES = 48 };
enum { STRUCTURE_TYPE = 0, STRUCTURE_LENGTH = 2, STRUCTURE_HEADER = 4, TYPE_DRHD = 0 };
enum { DRHD_FLAGS = 4, DRHD_FLAG_INCLUDE_PCI_ALL = 1, DRHD_SEGMENT = 6, DRHD_BASE = 8, DRHD_SCOPES = 16 };
enum { SCOPE_TYPE = 0, SCOPE_LENGTH = 1, SCOPE_START_BUS = 5, SCOPE_PATH = 6 };

/* Returns the little-endian number of `size` bytes at `p`. */
static uint64_t le(const uint8_t *p, uint32_t size) {
	uint64_t value = 0;
	while (size-- > 0)
		value = value << 8 | p[size];
	return value;
}

/* Returns whether the bytes add up to 0, as the firmware arranges for every table. */
static bool checksum_good(const uint8_t *bytes, size_t len) {
	uint8_t sum = 0;
	for (size_t i = 0; i < len; i++)
		sum += bytes[i];
	return sum == 0;
}

/* The structure grew with ACPI 2.0, and so did its checksum: what is checked depends on what it says it is. */
bool acpi_rsdp(const uint8_t *bytes, size_t len, struct acpi_rsdp *rsdp) {
	if (len < RSDP_V1_SIZE || memcmp(bytes, "RSD PTR ", 8) || !checksum_good(bytes, RSDP_V1_SIZE)) return false;
	rsdp->revision = bytes[RSDP_REVISION];
	rsdp->root = le(bytes + RSDP_RSDT_ADDRESS, 4);
	if (rsdp->revision < 2) return rsdp->root != 0;

	/* From revision 2 on a second checksum covers the longer structure, and the XSDT replaces the RSDT. */
	if (len < ACPI_RSDP_SIZE) return false;
	uint64_t length = le(bytes + RSDP_LENGTH, 4), xsdt = le(bytes + RSDP_XSDT_ADDRESS, 8);
	if (length < ACPI_RSDP_SIZE || length > len || !checksum_good(bytes, length)) return false;
	if (xsdt != 0) rsdp->root = xsdt;
	return rsdp->root != 0;
}

/* The one place in which a length from a table is believed, within bounds that no real table exceeds. */
uint32_t acpi_table_length(const uint8_t *bytes, size_t len) {
	uint32_t length = len < ACPI_HEADER_SIZE ? 0 : (uint32_t)le(bytes + TABLE_LENGTH, 4);
	return length >= ACPI_HEADER_SIZE && length <= TABLE_MAX ? length : 0;
}

/* Returns how many bytes of the table can be read: those that it claims, as far as they were given. */
static uint32_t readable(const uint8_t *table, size_t len) {
	uint32_t length = acpi_table_length(table, len);
	return length <= len ? length : 0;
}

/* The signature alone proves little: a stale pointer may lead to the middle of something. Hence the checksum. */
bool acpi_table_check(const uint8_t *table, size_t len, const char signature[4]) {
	uint32_t length = readable(table, len);
	return length != 0 && memcmp(table, signature, 4) == 0 && checksum_good(table, length);
}

/* Entries follow the header without padding, so those of 8 bytes are not aligned. */
uint64_t acpi_root_entry(const uint8_t *root, size_t len, uint32_t index) {
	uint32_t length = readable(root, len);
	uint32_t size = length != 0 && root[0] == 'X' ? 8 : 4; /* XSDT or RSDT */
	if (length == 0 || index >= (length - ACPI_HEADER_SIZE) / size) return 0;
	return le(root + ACPI_HEADER_SIZE + (size_t)index * size, size);
}

/* Ports below belong to the devices that every PC has, and to ISA cards (they decode 10 bits): none is a register
 * block's, and reading one could take a byte from its owner. */
enum { ISA_PORTS = 0x400 };

/* Returns the port of a register block, which stands at offset `extended` if the table is long enough for that field
 * and it names a port, otherwise at offset `old`. 0 means that there is none. */
static uint16_t port_of(const uint8_t *table, uint32_t length, uint32_t old, uint32_t extended) {
	uint64_t port = le(table + old, 4);
	const uint8_t *gas = table + extended;
	if (length >= extended + GAS_SIZE && gas[GAS_SPACE] == ACPI_SPACE_IO && le(gas + GAS_ADDRESS, 8) != 0)
		port = le(gas + GAS_ADDRESS, 8);
	return port >= ISA_PORTS && port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* A PM_TMR_LEN of 0 says that the timer is not there, whatever the port fields hold. */
bool acpi_fadt(const uint8_t *table, size_t len, struct acpi_fadt *fadt) {
	uint32_t length = readable(table, len);
	if (length < FADT_V1_SIZE) return false;
	bool timer = table[PM_TMR_LEN] == PM_TIMER_BYTES;
	fadt->pm_timer_port = timer ? port_of(table, length, PM_TMR_BLK, X_PM_TMR_BLK) : 0;
	fadt->pm_timer_32bit = le(table + FADT_FLAGS, 4) & FLAG_TMR_VAL_EXT;
	fadt->pm1a_control_port = port_of(table, length, PM1A_CNT_BLK, X_PM1A_CNT_BLK);
	return true;
}

/* Returns the length of the remapping structure at `at`, or 0 when it does not fit between there and `end`. */
static uint32_t structure_length(const uint8_t *table, uint32_t at, uint32_t end) {
	if (end - at < STRUCTURE_HEADER) return 0;
	uint32_t length = (uint32_t)le(table + at + STRUCTURE_LENGTH, 2);
	uint32_t min = le(table + at + STRUCTURE_TYPE, 2) == TYPE_DRHD ? DRHD_SCOPES : STRUCTURE_HEADER;
	return length >= min && length <= end - at ? length : 0;
}

/* Walks all structures once, so that acpi_drhd() cannot stop early without anybody noticing. */
bool acpi_dmar(const uint8_t *table, size_t len, bool *interrupt_remapping) {
	uint32_t end = readable(table, len);
	if (end < DMAR_STRUCTURES) return false;
	*interrupt_remapping = table[DMAR_FLAGS] & DMAR_FLAG_INTR_REMAP;
	for (uint32_t at = DMAR_STRUCTURES; at < end; at += structure_length(table, at, end))
		if (structure_length(table, at, end) == 0) return false;
	return true;
}

/* Skips the structures of other types: reserved memory, root port capabilities, affinity. */
bool acpi_drhd(const uint8_t *table, size_t len, uint32_t index, struct acpi_drhd *drhd) {
	uint32_t end = readable(table, len);
	for (uint32_t at = DMAR_STRUCTURES, length; at < end; at += length) {
		length = structure_length(table, at, end);
		if (length == 0) return false;
		if (le(table + at + STRUCTURE_TYPE, 2) != TYPE_DRHD || index-- > 0) continue;
		*drhd = (struct acpi_drhd){
			.base = le(table + at + DRHD_BASE, 8), .segment = (uint16_t)le(table + at + DRHD_SEGMENT, 2),
			.all = table[at + DRHD_FLAGS] & DRHD_FLAG_INCLUDE_PCI_ALL,
			.scopes_at = at + DRHD_SCOPES, .scopes_end = at + length,
		};
		return true;
	}
	return false;
}

/* The length of a scope counts: one whose path leads through more bridges is longer. One without a path names no
 * device. */
bool acpi_scope(const uint8_t *table, size_t len, const struct acpi_drhd *unit, uint32_t index,
	struct acpi_scope *scope) {
	uint32_t end = unit->scopes_end;
	if (end > readable(table, len)) return false;
	for (uint32_t at = unit->scopes_at, length; at < end; at += length) {
		const uint8_t *bytes = table + at;
		length = end - at < SCOPE_PATH + 2 ? 0 : bytes[SCOPE_LENGTH];
		if (length < SCOPE_PATH + 2 || length > end - at) return false;
		if (index-- > 0) continue;
		*scope = (struct acpi_scope){
			.type = bytes[SCOPE_TYPE], .bus = bytes[SCOPE_START_BUS], .device = bytes[SCOPE_PATH],
			.function = bytes[SCOPE_PATH + 1], .hops = (uint8_t)((length - SCOPE_PATH) / 2),
		};
		return true;
	}
	return false;
}
