/*
 * marks.h: where the CPU can be lost.
 *
 * To lose the CPU is to have other code run before the call returns: another shard, or an interrupt's handler. The
 * prototype of a function in which that can happen bears one of these marks. Between two calls of such functions
 * nothing else runs on this processor: what is true before a call without a mark, and not changed by it, is true after
 * it. The test marks.prototypes compares the marks with the compiler's graph of calls; static functions of the .c files
 * bear none, and are looked through.
 *
 * Read next: structures.h.
 */
#ifndef MARKS_H
#define MARKS_H

#define MAY_SWITCH    /* others may run before it returns; what they have changed is to be looked at anew */
#define MAY_INTERRUPT /* interrupts may come before it returns, and wake others, but nobody else runs */

#endif
