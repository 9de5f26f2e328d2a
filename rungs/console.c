/*
 * console.c, the rung: what one can do with lib.c, serial.c, console.c and panic.c.
 *
 * Shows that lines of several writers come out whole, whatever pieces they are written in; that all of the ramdisk is
 * in memory; and that a backtrace names who called whom. There is no IDT yet: a fault here resets the machine.
 *
 * Read next: cpu.c.
 */
#include "rungs.h"

static const char *const lines[] = {
	"  writer 0: one character at a time, in turns with the others\n",
	"  writer 1: whoever begins a line owns the console\n",
	"  writer 2: until the line ends\n",
};

/* Has three writers write a character each, in turns, until all have written their line. */
static void write_in_turns(void) {
	bool wrote = true;

	for (size_t at = 0; wrote; at++) {
		wrote = false;
		for (uint32_t writer = 0; writer < ARRAY_LENGTH(lines); writer++)
			if (at < strlen(lines[writer])) {
				console_write(writer, lines[writer] + at, 1);
				wrote = true;
			}
	}
	console_flush_all();
}

/* Calls itself, so often, and then prints who has called whom. The empty instruction keeps the call a call. */
static __attribute__((noinline)) void go_down(int calls) {
	if (calls)
		go_down(calls - 1);
	else
		print_backtrace((uint64_t)__builtin_return_address(0), *(uint64_t *)__builtin_frame_address(0));
	__asm__ volatile("");
}

void rung_show(const struct bootinfo *info) {
	print("Console: three writers, a character each in turns:\n");
	write_in_turns();
	print("Console: the ramdisk has %lu bytes, Adler-32 0x%08x\n", info->ramdisk_size,
	      adler32(1, phys_to_virt(info->ramdisk), info->ramdisk_size));
	go_down(3);
	rung_end();
}
