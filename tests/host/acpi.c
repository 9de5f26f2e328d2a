/*
 * Tests of acpi.c on tables made by hand, right ones and every kind of wrong one.
 *
 * Tables are handed over in blocks of malloc of exactly the stated size, so that the sanitizer sees a read behind.
 *
 * SOURCES: acpi.c
 */
#include <unistd.h>

#include "acpi.h"
#include "check.h"

#define MAX 512

/* A table under construction, and the exact copy of it that the functions get. */
static uint8_t table[MAX];
static size_t table_len;
static uint8_t *copy;

static void put(size_t at, uint64_t value, int size) {
	for (int i = 0; i < size; i++)
		table[at + (size_t)i] = (uint8_t)(value >> 8 * i);
}

/* Makes the sum of `len` bytes zero by means of the byte at `at`. */
static void seal(size_t at, size_t len) {
	uint8_t sum = 0;
	table[at] = 0;
	for (size_t i = 0; i < len; i++)
		sum += table[i];
	table[at] = (uint8_t)-sum;
}

static void begin(const char *signature, size_t len) {
	memset(table, 0, sizeof(table));
	memcpy(table, signature, 4);
	put(4, len, 4);
	table_len = len;
}

/* Returns the first `len` bytes in memory of exactly that size. */
static const uint8_t *exact(size_t len) {
	free(copy);
	copy = malloc(len + (len == 0));
	memcpy(copy, table, len);
	return copy;
}

static const uint8_t *sealed(void) {
	seal(9, table_len);
	return exact(table_len);
}

static void make_rsdp(int revision) {
	memset(table, 0, sizeof(table));
	memcpy(table, "RSD PTR ", 8);
	table[15] = (uint8_t)revision;
	put(16, 0x7FE1000, 4);
	put(20, 36, 4);
	put(24, 0x127FE20E8, 8);
	seal(8, 20);
	seal(32, 36);
}

TEST(rsdp) {
	struct acpi_rsdp rsdp;
	make_rsdp(2);
	CHECK(acpi_rsdp(exact(36), 36, &rsdp));
	CHECK_EQ(rsdp.revision, 2);
	CHECK_EQ(rsdp.root, 0x127FE20E8);
	for (size_t len = 0; len < 36; len++)
		CHECK(!acpi_rsdp(exact(len), len, &rsdp));
	for (size_t at = 0; at < 36; at++) {
		table[at] ^= 0x10;
		CHECK(!acpi_rsdp(exact(36), 36, &rsdp));
		table[at] ^= 0x10;
	}
	table[33] ^= 1; /* the second checksum alone */
	CHECK(!acpi_rsdp(exact(36), 36, &rsdp));

	memcpy(table, "RSD TPR ", 8); /* the checksums are right */
	seal(32, 36);
	CHECK(!acpi_rsdp(exact(36), 36, &rsdp));

	make_rsdp(2);
	put(24, 0, 8);
	seal(32, 36);
	CHECK(acpi_rsdp(exact(36), 36, &rsdp)); /* without XSDT: the RSDT */
	CHECK_EQ(rsdp.root, 0x7FE1000);
	put(16, 0, 4);
	seal(8, 20);
	seal(32, 36);
	CHECK(!acpi_rsdp(exact(36), 36, &rsdp)); /* without either */
	static const uint32_t lengths[] = {0, 35, 37, 0xFFFFFFFF};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		make_rsdp(2);
		put(20, lengths[i], 4);
		seal(32, 36);
		CHECK(!acpi_rsdp(exact(36), 36, &rsdp));
	}

	make_rsdp(0);
	memset(table + 20, 0xEE, 16); /* not there in revision 0 */
	for (size_t len = 0; len < 37; len += 4)
		CHECK_EQ(acpi_rsdp(exact(len), len, &rsdp), len >= 20);
	CHECK_EQ(rsdp.revision, 0);
	CHECK_EQ(rsdp.root, 0x7FE1000);
	put(16, 0, 4);
	seal(8, 20);
	CHECK(!acpi_rsdp(exact(36), 36, &rsdp));
}

TEST(headers) {
	begin("HPET", 56);
	CHECK(acpi_table_check(sealed(), 56, "HPET"));
	CHECK_EQ(acpi_table_length(copy, 56), 56);
	CHECK_EQ(acpi_table_length(copy, 36), 56);
	CHECK_EQ(acpi_table_length(copy, 35), 0);
	CHECK(!acpi_table_check(copy, 56, "HPEU"));
	CHECK(!acpi_table_check(copy, 56, "APIC"));
	for (size_t len = 0; len < 56; len++)
		CHECK(!acpi_table_check(exact(len), len, "HPET"));
	for (size_t at = 0; at < 56; at++) {
		seal(9, 56);
		table[at] ^= 1;
		CHECK(!acpi_table_check(exact(56), 56, "HPET"));
		table[at] ^= 1;
	}
	static const struct { uint32_t length, result; } cases[] = {{0, 0}, {35, 0}, {36, 36}, {37, 37},
		{0x100000, 0x100000}, {0x100001, 0}, {0xFFFFFFFF, 0}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put(4, cases[i].length, 4);
		CHECK_EQ(acpi_table_length(exact(36), 36), cases[i].result);
	}
	/* Bytes behind the table belong to nobody: neither to the checksum nor to the fields. */
	begin("HPET", 40);
	seal(9, 40);
	memset(table + 40, 0xEE, 16);
	CHECK(acpi_table_check(exact(56), 56, "HPET"));
}

TEST(root_entries) {
	begin("XSDT", 36 + 3 * 8 + 5);
	put(36, 0x1122334455667788, 8);
	put(44, 0x7FE0000, 8);
	put(52, 0x7FD0000, 8);
	memset(table + 60, 0xEE, 5);
	const uint8_t *root = sealed();
	CHECK_EQ(acpi_root_entry(root, table_len, 0), 0x1122334455667788);
	CHECK_EQ(acpi_root_entry(root, table_len, 1), 0x7FE0000);
	CHECK_EQ(acpi_root_entry(root, table_len, 2), 0x7FD0000);
	CHECK_EQ(acpi_root_entry(root, table_len, 3), 0);
	CHECK_EQ(acpi_root_entry(root, table_len, UINT32_MAX), 0);
	CHECK_EQ(acpi_root_entry(exact(60), 60, 0), 0); /* a table that was not given wholly */
	begin("RSDT", 36 + 2 * 4);
	put(36, 0xFEDCBA98, 4);
	put(40, 0x7FD0000, 4);
	root = sealed();
	CHECK_EQ(acpi_root_entry(root, table_len, 0), 0xFEDCBA98);
	CHECK_EQ(acpi_root_entry(root, table_len, 1), 0x7FD0000);
	CHECK_EQ(acpi_root_entry(root, table_len, 2), 0);
	begin("XSDT", 36);
	CHECK_EQ(acpi_root_entry(sealed(), 36, 0), 0);
}

static void put_gas(size_t at, int space, uint64_t address) {
	table[at] = (uint8_t)space;
	put(at + 4, address, 8);
}

/* The values of QEMU's q35 machine. */
static void make_fadt(size_t len) {
	begin("FACP", len);
	put(64, 0x604, 4);
	put(76, 0x608, 4);
	put(80, 0x620, 4); /* GPE0_BLK, the neighbour */
	table[91] = 4;
	put(112, 1 << 10, 4); /* RESET_REG_SUP, which is not of interest */
	put_gas(172, ACPI_SPACE_IO, 0x704);
	put_gas(208, ACPI_SPACE_IO, 0x708);
}

TEST(fadt) {
	struct acpi_fadt fadt;
	make_fadt(244);
	CHECK(acpi_fadt(sealed(), 244, &fadt));
	CHECK_EQ(fadt.pm_timer_port, 0x708);
	CHECK_EQ(fadt.pm1a_control_port, 0x704);
	CHECK(!fadt.pm_timer_32bit);

	put(112, 1 << 8, 4);
	CHECK(acpi_fadt(sealed(), 244, &fadt));
	CHECK(fadt.pm_timer_32bit);
	table[91] = 0;
	CHECK(acpi_fadt(sealed(), 244, &fadt) && fadt.pm_timer_port == 0);

	/* The extended fields count only when they are there, name ports, and are not empty. */
	make_fadt(219);
	CHECK(acpi_fadt(sealed(), 219, &fadt) && fadt.pm_timer_port == 0x608 && fadt.pm1a_control_port == 0x704);
	make_fadt(220);
	CHECK(acpi_fadt(sealed(), 220, &fadt) && fadt.pm_timer_port == 0x708);
	make_fadt(183);
	CHECK(acpi_fadt(sealed(), 183, &fadt) && fadt.pm1a_control_port == 0x604);
	make_fadt(244);
	put_gas(172, ACPI_SPACE_MEMORY, 0x704);
	put_gas(208, ACPI_SPACE_IO, 0);
	CHECK(acpi_fadt(sealed(), 244, &fadt) && fadt.pm_timer_port == 0x608 && fadt.pm1a_control_port == 0x604);
	put_gas(208, ACPI_SPACE_IO, 0xFFFF);
	CHECK(acpi_fadt(sealed(), 244, &fadt) && fadt.pm_timer_port == 0xFFFF);
	put_gas(208, ACPI_SPACE_IO, 0x10608); /* no port has this number */
	put(64, 0x10604, 4);
	CHECK(acpi_fadt(sealed(), 244, &fadt) && fadt.pm_timer_port == 0 && fadt.pm1a_control_port == 0);
	put_gas(208, ACPI_SPACE_IO, 0x3FC); /* COM1's */
	put(64, 0x60, 4);                   /* the keyboard's */
	CHECK(acpi_fadt(sealed(), 244, &fadt) && fadt.pm_timer_port == 0 && fadt.pm1a_control_port == 0);

	for (size_t len = 36; len < 250; len++) {
		make_fadt(len);
		CHECK_EQ(acpi_fadt(sealed(), len, &fadt), len >= 116);
		CHECK(!acpi_fadt(exact(len - 1), len - 1, &fadt));
	}
}

/* Two units: one with an end point and one behind two bridges, then reserved memory, then one for all the rest. */
static void make_dmar(void) {
	begin("DMAR", 48 + 16 + 8 + 12 + 24 + 16 + 8);
	table[36] = 38;
	table[37] = 1;
	put(48, 0, 2);
	put(50, 16 + 8 + 12, 2);
	put(48 + 6, 3, 2);
	put(48 + 8, 0x1FED91000, 8);
	memcpy(table + 64, "\1\x08\0\0\0\0\2\3", 8);
	memcpy(table + 72, "\2\x0C\0\0\7\5\x1C\4\0\1\0\2", 12);
	put(84, 1, 2);
	put(86, 24, 2);
	put(108, 0, 2);
	put(110, 16 + 8, 2);
	table[112] = 1;
	put(116, 0xFED90000, 8);
	memcpy(table + 124, "\3\x08\0\0\1\xFF\0\0", 8);
}

TEST(dmar) {
	bool remapping;
	struct acpi_drhd first, second, none;
	struct acpi_scope scope;
	make_dmar();
	const uint8_t *t = sealed();
	size_t len = table_len;
	CHECK(acpi_table_check(t, len, "DMAR"));
	CHECK(acpi_dmar(t, len, &remapping));
	CHECK(remapping);
	CHECK(acpi_drhd(t, len, 0, &first) && acpi_drhd(t, len, 1, &second) && !acpi_drhd(t, len, 2, &none));
	CHECK(!acpi_drhd(t, len, UINT32_MAX, &none));
	CHECK(first.base == 0x1FED91000 && first.segment == 3 && !first.all);
	CHECK(second.base == 0xFED90000 && second.segment == 0 && second.all);
	CHECK(acpi_scope(t, len, &first, 0, &scope));
	CHECK(scope.type == ACPI_SCOPE_ENDPOINT && scope.bus == 0 && scope.hops == 1 && scope.device == 2
		&& scope.function == 3);
	CHECK(acpi_scope(t, len, &first, 1, &scope));
	CHECK(scope.type == ACPI_SCOPE_BRIDGE && scope.bus == 5 && scope.hops == 3);
	CHECK(scope.device == 0x1C && scope.function == 4);
	CHECK(!acpi_scope(t, len, &first, 2, &scope));
	CHECK(acpi_scope(t, len, &second, 0, &scope));
	CHECK(scope.type == ACPI_SCOPE_IOAPIC && scope.bus == 0xFF);
	CHECK(!acpi_scope(t, len, &second, 1, &scope));
	CHECK(!acpi_scope(t, first.scopes_end - 1, &first, 0, &scope));
	table[37] = 2;
	CHECK(acpi_dmar(sealed(), len, &remapping) && !remapping);
}

/* The smallest structures: a unit without scopes, and one of another type that is only a header. */
TEST(dmar_smallest) {
	bool remapping;
	struct acpi_drhd drhd;
	struct acpi_scope scope;
	begin("DMAR", 48 + 16 + 4);
	put(50, 16, 2);
	put(56, 0xFED90000, 8);
	put(64, 4, 2);
	put(66, 4, 2);
	CHECK(acpi_dmar(sealed(), table_len, &remapping));
	CHECK(acpi_drhd(copy, table_len, 0, &drhd) && drhd.base == 0xFED90000 && !acpi_drhd(copy, table_len, 1, &drhd));
	CHECK(acpi_drhd(copy, table_len, 0, &drhd) && !acpi_scope(copy, table_len, &drhd, 0, &scope));
	begin("DMAR", 48);
	CHECK(acpi_dmar(sealed(), 48, &remapping) && !acpi_drhd(copy, 48, 0, &drhd)); /* no unit at all */
}

TEST(dmar_damaged) {
	bool remapping;
	struct acpi_drhd drhd;
	struct acpi_scope scope;
	static const struct { size_t at; uint16_t length; } lengths[] = {{50, 0}, {50, 3}, {50, 15}, {50, 0xFFFF},
		{86, 0}, {86, 3}, {86, 49}, {110, 15}, {110, 25}, {110, 23}};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		make_dmar();
		put(lengths[i].at, lengths[i].length, 2);
		CHECK(!acpi_dmar(sealed(), table_len, &remapping));
		/* The last of these units fits, only what is left behind it does not. */
		CHECK_EQ(acpi_drhd(copy, table_len, lengths[i].at == 50 ? 0 : 1, &drhd), lengths[i].length == 23);
	}
	static const uint8_t scope_lengths[] = {0, 2, 6, 7, 21, 255};
	for (size_t i = 0; i < sizeof(scope_lengths); i++) {
		make_dmar();
		table[65] = scope_lengths[i];
		CHECK(acpi_drhd(sealed(), table_len, 0, &drhd));
		CHECK(!acpi_scope(copy, table_len, &drhd, 0, &scope));
		CHECK(!acpi_scope(copy, table_len, &drhd, 5, &scope));
	}
	make_dmar();
	size_t whole = table_len;
	for (size_t len = 36; len < whole; len++) {
		put(4, len, 4);
		table_len = len;
		CHECK_EQ(acpi_dmar(sealed(), len, &remapping), len == 48 || len == 84 || len == 108);
	}
	for (size_t len = 0; len < 48; len++)
		CHECK(!acpi_dmar(exact(len), len, &remapping) && !acpi_drhd(copy, len, 0, &drhd));
}

/* Any bytes at all: the walks end and stay inside, which the sanitizer and the alarm watch. */
TEST(random_bytes) {
	uint64_t state = 88172645463325252u;
	int units = 0;
	alarm(120);
	for (int round = 0; round < 200000; round++) {
		struct acpi_rsdp rsdp;
		bool remapping;
		struct acpi_fadt fadt;
		struct acpi_drhd drhd;
		struct acpi_scope scope;
		make_dmar();
		for (int i = 0; i < round % 6; i++) {
			state ^= state << 13, state ^= state >> 7, state ^= state << 17;
			table[state % table_len] = (uint8_t)(state >> (state & (1ULL << 50) ? 32 : 61));
		}
		size_t len = round % 3 ? table_len : (state >> 20) % table_len;
		const uint8_t *t = exact(len);
		acpi_rsdp(t, len, &rsdp);
		acpi_fadt(t, len, &fadt);
		acpi_dmar(t, len, &remapping);
		for (uint32_t i = 0; acpi_drhd(t, len, i, &drhd); i++, units++)
			for (uint32_t j = 0; acpi_scope(t, len, &drhd, j, &scope); j++)
				CHECK(scope.hops >= 1);
		for (uint32_t i = 0; i < 20; i++)
			CHECK(acpi_root_entry(t, len, i) == 0 || i < (len - 36) / 4);
	}
	CHECK(units > 100000);
}

int main(void) {
	RUN(rsdp);
	RUN(headers);
	RUN(root_entries);
	RUN(fadt);
	RUN(dmar);
	RUN(dmar_smallest);
	RUN(dmar_damaged);
	RUN(random_bytes);
	free(copy);
	return check_result();
}
