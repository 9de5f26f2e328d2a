"""stepping: in the build for steps, `step`, `next`, `finish` and `up` do what a student expects, through a system call,
a fault, an interrupt and a switch, from ring 3 to ring 3; and whatever has a name has a value.

Read next: scripts/asm-frames.py, by which gdb finds its way through boot.asm; test_gdb.py, where Session is.
"""

import re

import test_gdb

GONE = "<optimized out>"
HELLO = "--kernel --shard shards/hello-c"
BETWEEN_THE_RINGS = "<signal handler called>"


def session(t, where, options, commands):
    """Runs a session. Returns what gdb printed for each command but the last, which kills the machine."""
    return test_gdb.Session(t, where, commands + ["kill"], options).said[:-1]


def functions(backtrace):
    """Returns the names in a backtrace, the innermost first."""
    return re.findall(r"^#\d+ +(?:0x\w+ in )?(<signal handler called>|\w+)", backtrace, re.M)


def test_into_a_call(t):
    """`step` goes from a shard through the door into the kernel, a line of boot.asm at a time; `up` from there leads
    back to the shard, and `finish` out of each frame, with the result, into ring 3; `next` steps over the call."""
    said = session(t, "--gdb=hello-c", HELLO, [
        "tbreak coconut_fs_read", "continue", "step", "backtrace", "step", "step", "step", "backtrace",
        "tbreak sys_fs_read", "continue", "backtrace", "up 4", "print n", "frame 0", "finish", "finish", "finish",
        "info registers cs", "next", "next", "info registers cs"])
    t.check("syscall_entry () at boot.asm" in said[2], "step does not go into the kernel: " + said[2])
    for backtrace in (said[3], said[7]):
        t.equal(functions(backtrace), ["syscall_entry", "coconut_fs_read", "main"], "who called")
    t.check(re.search(r"^31\d\s+PUSH ", said[6], re.M), "step does not go from line to line: " + "".join(said[4:7]))
    t.equal(functions(said[10]), ["sys_fs_read", "syscall_dispatch", BETWEEN_THE_RINGS, "coconut_fs_read", "main"],
            "who called the handler")
    t.check("main.c" in said[11] and re.search(r"^\$\d+ = 0$", said[12], re.M),
            "the caller in ring 3 has no variables: " + said[11] + said[12])
    t.check("in syscall_dispatch (" in said[14] and re.search(r"^Value returned is \$\d+ = 34$", said[14], re.M),
            "finish of the handler: " + said[14])
    t.check("in coconut_fs_read (" in said[16], "finish does not lead to ring 3: " + said[16])
    for registers in (said[17], said[20]):
        t.check("0x23" in registers, "not in ring 3: " + registers)
    t.check("main (" in said[18] and "main.c" in said[18] and re.search(r"^\d+\t", said[19], re.M),
            "next: " + said[18] + said[19])


def test_from_a_fault(t):
    """At a fault, `up` leads to the line of the shard that did it."""
    said = session(t, "--gdb", "--kernel --shard tests/shards/scribbler",
                   ["thbreak fault_kill", "continue", "backtrace", "up 3"])
    t.equal(functions(said[2]), ["fault_kill", "interrupt_dispatch", BETWEEN_THE_RINGS, "main"], "who is at fault")
    t.check(re.search(r"^9\t\t\*\(volatile int \*\)COCONUT_CODE_BASE = 1;$", said[3], re.M), "the line: " + said[3])


def test_from_an_interrupt(t):
    """In an interrupt, `up` leads to what it has interrupted, in ring 3 and in the kernel, and `finish` goes back
    there."""
    said = session(t, "--gdb=llama-inference", "--kernel --shard shards/llama-inference --steps 4",
                   ["thbreak interrupt_dispatch if frame->cs == 0x23", "continue", "backtrace", "finish", "backtrace"])
    callers = functions(said[2])
    t.equal((callers[:2], callers[-1]), (["interrupt_dispatch", BETWEEN_THE_RINGS], "main"), "who was interrupted")
    t.equal(functions(said[4]), callers[1:], "where finish leads")
    said = session(t, "--gdb", HELLO, ["thbreak interrupt_dispatch if frame->cs == 8", "continue", "backtrace"])
    callers = functions(said[2])
    t.equal(callers[:2], ["interrupt_dispatch", BETWEEN_THE_RINGS], "an interrupt of the kernel")
    t.check("sched_loop" in callers or "supervisor_run" in callers, "who was interrupted: %s" % callers)


def test_through_a_switch(t):
    """`finish` of a call that waits comes back when that call is done, and not when another shard is in the same
    function."""
    said = session(t, "--gdb", "--kernel --manifest docs/book/pipeline.conf -icount shift=0,align=off,sleep=off",
                   ["thbreak sys_channel_call", "continue", "print (char *)current->profile->name", "finish",
                    "print (char *)current->profile->name", "backtrace"])
    t.check("stage0" in said[2] and "stage0" in said[4], "who called, and who came back: " + said[2] + said[4])
    t.check(re.search(r"^Value returned is \$\d+ = 4$", said[3], re.M), "the answer's length: " + said[3])
    t.check(functions(said[5])[-1] == "main", "the way down: " + said[5])


def test_which_build(t):
    """--debug boots build/debug; a run has one build, so --build beside it is refused."""
    done = t.sh("./run.sh --timeout 300 --debug " + HELLO, expect=0)
    t.check("hello from ring 3" in done.stdout, "it does not run: " + done.stdout)
    refused = t.sh("./run.sh --debug --build build " + HELLO, expect=4)
    t.check("--debug and --build both choose the build" in refused.stderr, refused.stderr)
    debug, product = [t.sh("readelf --debug-dump=info %s/supervisor.elf | grep -o ' -O[0-9sg]' | sort -u" % build
                           ).stdout.strip() for build in ("build/debug", "build")]
    t.check(debug == "-O0" and "-O0" not in product, "how they are optimized: %s, %s" % (debug, product))


STOPS = ("paging_init", "frame_alloc", "shard_create", "space_map", "sched_ready", "sys_serial_write", "sys_fs_read")


def variables(t, options):
    """Returns what gdb says of all variables in the functions of STOPS, some lines on, and in their callers."""
    commands = []
    for name in STOPS:
        commands += ["thbreak " + name, "continue", "next", "next", "next", "info args", "info locals", "up",
                     "info args", "info locals"]
    return "".join(session(t, "--gdb", HELLO + options, commands))


def test_variables(t):
    """No variable is optimized out, in functions where the book and the tours stop, some lines on, and in their
    callers. In the build that is optimized, the twin, some are."""
    said = variables(t, "")
    t.check(len(re.findall(r"^\w+ = ", said, re.M)) > 60, "gdb names few variables: " + said[-300:])
    t.equal(said.count(GONE), 0, "variables that are optimized out")
    twin = variables(t, " --build build").count(GONE)
    t.check(twin > 5, "in the product too few are optimized out for this test to mean much: %d" % twin)
    t.note("%d are optimized out in the product" % twin)
