/*
 * cpu.h: instructions that C has no words for and that several files use, one inline function each, and the numbers of
 * exceptions.
 *
 * Read next: marks.h.
 */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "marks.h"

/* The exceptions that the kernel tells apart (SDM Vol. 3A table 6-1). */
enum {
	VECTOR_DEBUG = 1, VECTOR_NMI = 2, VECTOR_INVALID_OPCODE = 6, VECTOR_DOUBLE_FAULT = 8,
	VECTOR_GENERAL_PROTECTION = 13, VECTOR_PAGE_FAULT = 14, VECTOR_MACHINE_CHECK = 18,
	EXCEPTIONS = 32, /* how many vectors are the processor's */
};

/* inb() .. outl(): the I/O ports, by bytes, words and double words. */
#define PORT_ACCESS(suffix, type)                                                     \
	static inline type in##suffix(uint16_t port) {                                \
		type value;                                                           \
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(value) : "Nd"(port));  \
		return value;                                                         \
	}                                                                             \
	static inline void out##suffix(uint16_t port, type value) {                   \
		__asm__ volatile("out" #suffix " %0, %1" : : "a"(value), "Nd"(port)); \
	}

PORT_ACCESS(b, uint8_t)
PORT_ACCESS(w, uint16_t)
PORT_ACCESS(l, uint32_t)

static inline uint64_t rdmsr(uint32_t msr) {
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value) {
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline uint64_t rdtsc(void) {
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* Returns the low half of the time stamp, which tells how long something took that takes less than a second. */
static inline uint32_t rdtsc_low(void) {
	uint32_t low;
	__asm__ volatile("rdtsc" : "=a"(low) : : "edx"); /* of rdtsc(), gcc keeps the upper half, too: 3 instructions */
	return low;
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
	struct cpuid r;
	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

/* read_cr0() .. write_cr4(): the control registers (SDM Vol. 3A 2.5). */
#define CONTROL_REGISTER(name)                                                                                        \
	static inline uint64_t read_##name(void) {                                                                    \
		uint64_t value;                                                                                       \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value));                                                \
		return value;                                                                                         \
	}                                                                                                             \
	static inline void write_##name(uint64_t value) { __asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory"); }

CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr2)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)

static inline void invlpg(uint64_t address) { __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory"); }

/* Writes the cache lines of `bytes` bytes at `at` back to memory, before anything that follows. A line has 64 bytes on
 * every x86-64 processor so far (SDM Vol. 2A, CLFLUSH). */
static inline void cache_flush(const void *at, uint64_t bytes) {
	for (uint64_t line = (uint64_t)at & ~63UL; line < (uint64_t)at + bytes; line += 64)
		__asm__ volatile("clflush (%0)" : : "r"(line) : "memory");
	__asm__ volatile("mfence" : : : "memory");
}

/* Lets pending interrupts in: `sti` does so behind the instruction that follows it (SDM Vol. 2B, STI). */
MAY_INTERRUPT static inline void interrupt_window(void) { __asm__ volatile("sti; nop; cli" : : : "memory"); }

/* Waits for an interrupt, with no gap between enabling them and waiting (SDM Vol. 2B, STI). */
MAY_INTERRUPT static inline void wait_for_interrupt(void) { __asm__ volatile("sti; hlt; cli" : : : "memory"); }

static inline void __attribute__((noreturn)) halt_for_ever(void) {
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* The processor has SMAP, without which stac and clac are undefined instructions; it has IBPB, so it can forget what
 * its predictor of indirect branches has learnt. cpu.c sets both. */
extern bool cpu_has_smap, cpu_has_ibpb;

/* Lets ring 0 touch user pages until user_access_end (SDM Vol. 3A 4.6). */
static inline void user_access_begin(void) {
	if (cpu_has_smap) __asm__ volatile("stac" : : : "memory");
}

static inline void user_access_end(void) {
	if (cpu_has_smap) __asm__ volatile("clac" : : : "memory");
}

#endif
