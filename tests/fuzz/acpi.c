/*
 * Fuzz target: no table of the firmware makes acpi.c read behind it, and every walk through one ends.
 *
 * The bytes are one table, RSDP included. Right checksums are rare among random bytes, so the table is tried as it is
 * and once more with its checksum set right.
 *
 * SOURCES: acpi.c
 * PLANT: return length <= len ? length : 0;
 * INTO: return length;
 */
#include "acpi.h"
#include "fuzz.h"

#define WALK_MAX 100000 /* more entries than any table of libFuzzer's length has */

/* Sets the byte at `at` so that the first `len` bytes add up to 0. */
static void seal(uint8_t *bytes, size_t at, size_t len) {
	uint8_t sum = 0;
	bytes[at] = 0;
	for (size_t i = 0; i < len; i++)
		sum += bytes[i];
	bytes[at] = (uint8_t)-sum;
}

/* Walks all units of a DMAR table and all of their devices. */
static void walk_dmar(const uint8_t *table, size_t size) {
	bool remapping;
	struct acpi_drhd unit;
	struct acpi_scope scope;
	uint32_t units = 0, scopes = 0;

	if (!acpi_dmar(table, size, &remapping)) return;
	for (; acpi_drhd(table, size, units, &unit); units++) {
		REQUIRE(unit.scopes_at <= unit.scopes_end && unit.scopes_end <= size);
		for (scopes = 0; acpi_scope(table, size, &unit, scopes, &scope); scopes++)
			REQUIRE(scope.hops > 0 && scopes < WALK_MAX);
		REQUIRE(units < WALK_MAX);
	}
}

/* Hands the bytes to every function that reads such a table. */
static void read_table(const uint8_t *table, size_t size) {
	struct acpi_rsdp rsdp;
	struct acpi_fadt fadt;

	if (acpi_rsdp(table, size, &rsdp)) REQUIRE(rsdp.root != 0);
	if (acpi_table_check(table, size, "FACP")) acpi_fadt(table, size, &fadt);
	if (acpi_table_check(table, size, "XSDT") || acpi_table_check(table, size, "RSDT"))
		for (uint32_t i = 0; i <= size / 4; i++)
			acpi_root_entry(table, size, i);
	if (acpi_table_check(table, size, "DMAR")) walk_dmar(table, size);
}

/* The bytes are a table. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	uint8_t *copy = malloc(size + (size == 0));

	read_table(data, size);
	memcpy(copy, data, size);
	if (size >= 8 && memcmp(copy, "RSD PTR ", 8) == 0 && size >= 20) {
		seal(copy, 8, 20);
		if (size >= 36) seal(copy, 32, size);
	} else if (size >= ACPI_HEADER_SIZE) {
		seal(copy, 9, size);
	}
	read_table(copy, size);
	free(copy);
	return 0;
}
