/*
 * cpu.c: the switches of the processor that protect the kernel from shards.
 *
 * Sets CR0, CR4 and EFER once, at boot, from what CPUID offers: setting a bit of CR4 that the processor does
 * not have is a #GP, which would end the run. It first checks that the processor has what the kernel cannot do
 * without, and panics with the name of what is missing.
 *
 * Read next: mm.c. SDM Vol. 3A 2.5 describes the control registers.
 */
#include "kernel.h"

/* The leaf of structured extended features, and bits of its EBX, ECX and EDX (SDM Vol. 2A, CPUID). */
enum { CPUID_FEATURES = 7, FEATURES_EBX_SMEP = 1 << 7, FEATURES_EBX_SMAP = 1 << 20, FEATURES_ECX_UMIP = 1 << 2 };
enum { FEATURES_EDX_IBPB = 1 << 26 };

/* Leaves that only some processors have: the highest of their kind; features; AMD's word for IBPB, a bit of EBX (APM
 * Vol. 3, E.4.7). */
enum { CPUID_HIGHEST = 0x80000000, CPUID_EXTENDED = 0x80000001, CPUID_AMD = 0x80000008, AMD_EBX_IBPB = 1 << 12 };

/* The selector that `sysenter` loads; 0: it is a #GP (SDM Vol. 3A 5.8.7). Bits of CR4 that give ring 3 what no shard
 * has: PCE, FSGSBASE, OSXSAVE. */
enum { MSR_SYSENTER_CS = 0x174, CR4_STAYS_OFF = 0x50100 };

bool cpu_has_smap, cpu_has_ibpb;

/* Ends the run on a processor that lacks what the kernel or compiled shards use without asking (bits of EDX). */
static void check_features(void) {
	static const struct {
		uint32_t leaf, bit;
		const char *name;
	} needed[] = {{1, 0, "FPU"}, {1, 4, "TSC"}, {1, 5, "MSR"}, {1, 9, "APIC"}, {1, 19, "CLFSH"}, {1, 24, "FXSR"},
		      {1, 25, "SSE"}, {1, 26, "SSE2"}, {CPUID_EXTENDED, 11, "SYSCALL"}, {CPUID_EXTENDED, 20, "NX"}};

	for (size_t i = 0; i < ARRAY_LENGTH(needed); i++)
		if (!(cpuid(needed[i].leaf, 0).edx >> needed[i].bit & 1))
			panic("this processor lacks %s (CPUID %xh, EDX bit %u), which coconutOS needs: try QEMU's -cpu max",
			      needed[i].name, needed[i].leaf, needed[i].bit);
}

/* Returns what a leaf says, or zeros when the processor has no such leaf; `first` is the leaf that names the
 * highest. */
static struct cpuid optional_leaf(uint32_t first, uint32_t leaf) {
	return cpuid(first, 0).eax >= leaf ? cpuid(leaf, 0) : (struct cpuid){0};
}

/* Returns the bits of CR4 for the protections that this processor offers and another one may not. */
static uint64_t optional_cr4(void) {
	struct cpuid features = optional_leaf(0, CPUID_FEATURES);
	uint64_t cr4 = 0;

	if (features.ebx & FEATURES_EBX_SMEP && !ABLATE(smep)) cr4 |= CR4_SMEP;
	if (features.ebx & FEATURES_EBX_SMAP && !ABLATE(smap)) cr4 |= CR4_SMAP;
	if (features.ecx & FEATURES_ECX_UMIP && !ABLATE(umip)) cr4 |= CR4_UMIP;
	return cr4;
}

/* Says on the console which protections are on, and which the processor lacks. */
static void cpu_report(void) {
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
	print_verbose("CPU: what its branch predictor has learnt is %s between shards\n",
		      cpu_has_ibpb ? "forgotten (IBPB)" : "kept (it offers no IBPB)");
}

/* Turns every protection on, and the caches, which firmware may have left off. Ring 3 may use the FPU at any time (no
 * lazy switching: CR0.TS and EM clear), and may turn alignment checks on for itself (CR0.AM; RFLAGS.AC). */
void cpu_init(void) {
	check_features();
	uint64_t cr0 = (read_cr0() & ~(uint64_t)(CR0_EM | CR0_TS | CR0_CD | CR0_NW)) | CR0_MP | CR0_NE | CR0_AM;
	uint64_t cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | optional_cr4() | (ABLATE(cr4) ? CR4_STAYS_OFF : 0);

	write_cr0(ABLATE(wp) ? cr0 & ~(uint64_t)CR0_WP : cr0 | CR0_WP);
	write_cr4(ABLATE(tsd) ? cr4 : cr4 | CR4_TSD);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE | EFER_SCE);
	wrmsr(MSR_SYSENTER_CS, ABLATE(sysenter) ? SEL_KERNEL_CODE : 0);
	cpu_has_smap = cr4 & CR4_SMAP;
	cpu_has_ibpb = optional_leaf(0, CPUID_FEATURES).edx & FEATURES_EDX_IBPB ||
		       optional_leaf(CPUID_HIGHEST, CPUID_AMD).ebx & AMD_EBX_IBPB;
	cpu_report();
}
