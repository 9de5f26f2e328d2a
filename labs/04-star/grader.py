"""Grader of lab 04: system calls go in and out with the selectors of the GDT.

Read next: labs/lib/machine.py.
"""

REQUIREMENTS = {
    "preempts": (3, "two shards that make system calls and are preempted come to their end"),
    "user": (3, "ring 3 has cs 0x23 and ss 0x1b whenever it is interrupted"),
    "kernel": (1, "a system call arrives with cs 0x8 and ss 0x10"),
}
ANSWERS = {
    "cs_before": "4adc695fef1f8ca1a63eafb0",
    "cs_after": "8f50d3f4728905952c27d10a",
    "error": "fe588761384fb02a7d57e4ab",
    "descriptor": "611b486220de1b6a615d90d0",
}


def grade(lab):
    user, kernel = set(), set()

    def at_interrupt(machine):
        frame = machine.trap_frame()
        if frame["cs"] & 3:
            user.add((frame["cs"], frame["ss"]))

    def at_call(machine):
        kernel.add(machine.selectors())

    run = lab.boot_spinning(stops={"interrupt_dispatch": at_interrupt, "syscall_dispatch": at_call})
    lab.judge_good("preempts", run)
    lab.judge("user", user == {(0x23, 0x1B)}, "always 0x23 and 0x1b", shown(user), run)
    lab.judge("kernel", kernel == {(0x8, 0x10)}, "always 0x8 and 0x10", shown(kernel), run)


def shown(pairs):
    return ", ".join("cs %#x ss %#x" % pair for pair in sorted(pairs)) or "nothing"
