/*
 * Tests of cpu.c: what it makes of a processor, for processors that QEMU does not have.
 *
 * The instructions are replaced by functions of this program: CPUID answers from a table, control registers are
 * variables.
 */
#include "cpu.h"

static struct cpuid fake_cpuid(uint32_t leaf, uint32_t subleaf);
static uint64_t register_0, register_4, efer, sysenter_cs;
#define cpuid(leaf, subleaf) fake_cpuid(leaf, subleaf)
#define read_cr0() register_0
#define read_cr4() register_4
#define write_cr0(value) (register_0 = (value))
#define write_cr4(value) (register_4 = (value))
#define rdmsr(msr) efer
#define wrmsr(msr, value) (*((msr) == MSR_EFER ? &efer : &sysenter_cs) = (value))
#include "../../cpu.c"
#include "check.h"

#include <setjmp.h>

enum { BASIC_LEAVES = 8, EXTENDED_LEAVES = 9 };

static struct cpuid basic[BASIC_LEAVES], extended[EXTENDED_LEAVES];
static jmp_buf stopped;
static char said[256];

bool verbose;

/* Answers for a leaf; one beyond the highest answers as the highest does, which is what Intel's processors do. */
static struct cpuid fake_cpuid(uint32_t leaf, uint32_t subleaf) {
	(void)subleaf;
	struct cpuid *leaves = leaf & CPUID_HIGHEST ? extended : basic;
	uint32_t highest = leaves[0].eax & ~(uint32_t)CPUID_HIGHEST;

	leaf &= ~(uint32_t)CPUID_HIGHEST;
	return leaves[leaf < highest ? leaf : highest];
}

void print(const char *template, ...) { (void)template; }

void panic(const char *template, ...) {
	va_list args;

	va_start(args, template);
	vsnprintf(said, sizeof(said), template, args);
	va_end(args);
	longjmp(stopped, 1);
}

/* Makes a processor that has everything but the IBPB, as after a reset: caches off (SDM Vol. 3A table 10-1), but with
 * an entry for `sysenter` that somebody has left. */
static void begin(void) {
	memset(basic, 0, sizeof(basic));
	memset(extended, 0, sizeof(extended));
	basic[0].eax = BASIC_LEAVES - 1;
	basic[1].edx = extended[1].edx = ~0u;
	basic[7].ebx = basic[7].ecx = ~0u;
	extended[0].eax = CPUID_HIGHEST + EXTENDED_LEAVES - 1;
	register_0 = 0xE0000011;
	register_4 = CR4_PAE;
	sysenter_cs = SEL_KERNEL_CODE;
	said[0] = 0;
}

static void init(void) {
	if (!setjmp(stopped)) cpu_init();
}

TEST(control_registers) {
	begin();
	init();
	CHECK_EQ(register_0, CR0_PG | CR0_AM | CR0_WP | CR0_NE | 0x10 | CR0_MP | CR0_PE);
	CHECK_EQ(register_4, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_TSD | CR4_SMEP | CR4_SMAP | CR4_UMIP);
	CHECK(cpu_has_smap);
	CHECK_EQ(efer, EFER_NXE | EFER_SCE);
	CHECK_EQ(sysenter_cs, 0);
	basic[0].eax = 6; /* without leaf 7, whatever leaf 6 says */
	basic[6].ebx = basic[6].ecx = basic[6].edx = ~0u;
	init();
	CHECK_EQ(register_4, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_TSD);
	CHECK(!cpu_has_smap && !cpu_has_ibpb);
}

TEST(missing_feature) {
	static const struct {
		struct cpuid *leaf;
		uint32_t bit;
		const char *name;
	} cases[] = {{&basic[1], 0, "FPU"},    {&basic[1], 4, "TSC"},   {&basic[1], 5, "MSR"},
		     {&basic[1], 9, "APIC"},   {&basic[1], 19, "CLFSH"}, {&basic[1], 24, "FXSR"},
		     {&basic[1], 25, "SSE"},   {&basic[1], 26, "SSE2"}, {&extended[1], 11, "SYSCALL"},
		     {&extended[1], 20, "NX"}};

	for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
		char words[64];
		begin();
		cases[i].leaf->edx &= ~(1u << cases[i].bit);
		init();
		snprintf(words, sizeof(words), "this processor lacks %s (", cases[i].name);
		CHECK(!strncmp(said, words, strlen(words)));
		CHECK_EQ(register_0, 0xE0000011); /* nothing was turned on yet */
	}
}

/* Intel's bit and AMD's, each alone; a leaf that is not there says nothing. */
TEST(branch_predictor) {
	begin();
	init();
	CHECK(!cpu_has_ibpb);
	basic[7].edx = 1 << 26;
	init();
	CHECK(cpu_has_ibpb);
	basic[7].edx = ~(1u << 26);
	init();
	CHECK(!cpu_has_ibpb);
	extended[8].ebx = 1 << 12;
	init();
	CHECK(cpu_has_ibpb);
	extended[0].eax = CPUID_HIGHEST + 7;
	extended[7].ebx = ~0u;
	init();
	CHECK(!cpu_has_ibpb);
}

int main(void) {
	RUN(control_registers);
	RUN(missing_feature);
	RUN(branch_predictor);
	return check_result();
}
