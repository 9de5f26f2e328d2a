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
	X(frames, mm, "all free frames: how many, the sum of their numbers, and that none comes twice")             \
	X(threads, sched, "two threads that take turns: each adds to its number the other's")

/* The files of the device wing stand below those of the rung `shard`, which passes them by. */
#define RUNG_NUMBER(name, top, shows) RUNG_##name,
enum { RUNGS(RUNG_NUMBER) RUNG_full };
#ifndef RUNG
#define RUNG RUNG_full
#endif

/* True when this kernel has what the rung of that name adds. */
#define HAS(name) (RUNG >= RUNG_##name)

/* rungs/NAME.c: shows what the machine can do, and ends the run, maybe from another stack. */
void rung_show(const struct bootinfo *info) __attribute__((noreturn));

/* Ends a run that has come to its end: as the whole kernel does, so that run.sh has status 0. */
static inline void __attribute__((noreturn)) rung_end(void) {
	print("Halting.\n");
	debug_exit(DEBUG_EXIT_OK);
}

#endif
