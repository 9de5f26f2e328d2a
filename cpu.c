/*
 * cpu.c: the switches of the processor that protect the kernel from shards.
 *
 * Sets CR0, CR4 and EFER once, at boot, from what CPUID offers: setting a bit of CR4 that the processor does
 * not have is an exception before there is anybody to handle it.
 *
 * Read next: mm.c. SDM Vol. 3A 2.5 describes the control registers.
 */
#include "kernel.h"

/* The leaf of structured extended features, and bits of its EBX and ECX (SDM Vol. 2A, CPUID). */
enum { CPUID_FEATURES = 7, FEATURES_EBX_SMEP = 1 << 7, FEATURES_EBX_SMAP = 1 << 20, FEATURES_ECX_UMIP = 1 << 2 };

bool cpu_has_smap;

/* Returns the bits of CR4 for the protections that this processor offers and another one may not. */
static uint64_t optional_cr4(void) {
	struct cpuid features = cpuid(0, 0).eax >= CPUID_FEATURES ? cpuid(CPUID_FEATURES, 0) : (struct cpuid){0};
	uint64_t cr4 = 0;

	if (features.ebx & FEATURES_EBX_SMEP && !ABLATE(smep)) cr4 |= CR4_SMEP;
	if (features.ebx & FEATURES_EBX_SMAP && !ABLATE(smap)) cr4 |= CR4_SMAP;
	if (features.ecx & FEATURES_ECX_UMIP && !ABLATE(umip)) cr4 |= CR4_UMIP;
	return cr4;
}

/* Turns every protection on. The FPU is left enabled for ring 3 (no lazy switching: CR0.TS and EM clear). */
void cpu_init(void) {
	uint64_t cr0 = (read_cr0() & ~(uint64_t)(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE;
	uint64_t cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | optional_cr4();

	write_cr0(ABLATE(wp) ? cr0 & ~(uint64_t)CR0_WP : cr0 | CR0_WP);
	write_cr4(ABLATE(tsd) ? cr4 : cr4 | CR4_TSD);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE | EFER_SCE);
	cpu_has_smap = cr4 & CR4_SMAP;
}

/* Says on the console which protections are on, and which the processor lacks. */
void cpu_report(void) {
	static const struct {
		const char *name;
		uint64_t bit;
	} cr4_bits[] = {{"OSFXSR", CR4_OSFXSR}, {"OSXMMEXCPT", CR4_OSXMMEXCPT}, {"TSD", CR4_TSD},
			{"SMEP", CR4_SMEP},     {"SMAP", CR4_SMAP},             {"UMIP", CR4_UMIP}};
	uint64_t cr4 = read_cr4();

	print("CPU protections:%s%s", read_cr0() & CR0_WP ? " WP" : "", rdmsr(MSR_EFER) & EFER_NXE ? " NXE" : "");
	for (size_t i = 0; i < ARRAY_LENGTH(cr4_bits); i++)
		if (cr4 & cr4_bits[i].bit) print(" %s", cr4_bits[i].name);
	print(" on");
	for (size_t i = 0; i < ARRAY_LENGTH(cr4_bits); i++)
		if (!(cr4 & cr4_bits[i].bit)) print(", %s not offered by this CPU", cr4_bits[i].name);
	print("\n");
}
