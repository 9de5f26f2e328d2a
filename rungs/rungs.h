/*
 * rungs.h: how far up the ladder a kernel goes.
 *
 * The files of a rung are those of the ladder up to one of them (kernel.h), and pvh.c and main.c, which start all of
 * them. They need nothing above, so they run: `./run.sh --rung NAME` links them with rungs/NAME.c, whose rung_show
 * prints what the machine can do by now, as a result that can be computed in another way (tests/test_rungs.py). It is
 * no second kernel but the same files, cut: main.c leaves out what HAS() denies, and absent.c stands behind those doors
 * that nobody has come to yet.
 *
 * Read next: absent.c, then console.c, the first rung.
 */
#ifndef RUNGS_H
#define RUNGS_H

#include "../kernel.h"

/* From the bottom up: the rung, the last of its files, and what its machine shows. scripts/rungs.py reads this too. */
#define RUNGS(X)                                                                                                     \
	X(console, panic, "lines of three writers, a checksum of the ramdisk, a backtrace with names")              \
	X(cpu, cpu, "which protections of the processor are on")                                                    \
	X(frames, mm, "all free frames: how many, the sum of their numbers, and that none comes twice")             \
	X(paging, paging, "how many pages are mapped with which rights, and where some addresses lead")             \
	X(gates, idt, "every interrupt that an instruction can raise, and a page fault, arrive at their vector")    \
	X(threads, sched, "two threads that take turns: each adds to its number the other's")                       \
	X(timer, timer, "ticks and milliseconds beside the time stamp")                                             \
	X(memory, user, "an address space of a shard: where its pages lie, what may be read and written")           \
	X(faults, trap, "a program in ring 3 that does what it may not, in words, over and over")                   \
	X(files, fs, "checksums of files of the ramdisk")                                                           \
	X(capabilities, cap, "a thousand grants and revokes at random, and what is left of them")                   \
	X(channels, call, "two threads that send each other the numbers of a sequence")                             \
	X(devices, devices, "the PCI functions, and the time by the timer that ACPI names")                         \
	X(dma, gpu, "a copy by a DMA engine, and one that the IOMMU refuses")                                       \
	X(shard, syscall, "a shard of the manifest, from its first instruction to its exit; no device is there")
#define RUNG_NUMBER(name, top, shows) RUNG_##name,
enum { RUNGS(RUNG_NUMBER) RUNG_full };

/* The device wing, which `shard` passes by: its files are not there, and absent.c answers for them. */
#define WING_FIRST RUNG_devices
#define WING_LAST RUNG_dma

/* True when this kernel has what the rung of that name adds. */
#define HAS(name) (RUNG >= RUNG_##name && (RUNG != RUNG_shard || RUNG_##name < WING_FIRST || RUNG_##name > WING_LAST))
#ifndef RUNG
#define RUNG RUNG_full
#endif

/* rungs/NAME.c: shows what the machine can do, and ends the run, maybe from another stack. */
void rung_show(const struct bootinfo *info) __attribute__((noreturn));

/* Ends a run that has come to its end: as the whole kernel does, so that run.sh has status 0. */
static inline void __attribute__((noreturn)) rung_end(void) {
	print("Halting.\n");
	debug_exit(DEBUG_EXIT_OK);
}

/* The checksum of zlib (RFC 1950, 8.2): returns that of what `sum` is the checksum of, 1: nothing, with `len` bytes
 * behind it. */
static inline uint32_t adler32(uint32_t sum, const uint8_t *bytes, uint64_t len) {
	enum { MODULUS = 65521 };
	uint32_t a = sum & 0xFFFF, b = sum >> 16;

	for (uint64_t i = 0; i < len; i++) {
		a = (a + bytes[i]) % MODULUS;
		b = (b + a) % MODULUS;
	}
	return b << 16 | a;
}

/* Numbers that look random, the same in each run: returns the next one, of 31 bits (Knuth, MMIX). */
static inline uint32_t next_random(uint64_t *state) {
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(*state >> 33);
}

#endif
