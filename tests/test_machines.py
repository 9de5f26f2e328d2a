"""Machines that lack something, or whose tables and devices do not say the truth: each ends in a run, or in a sentence.

Where the kernel cannot run it says what is missing and the exit status is 2, or run.sh says it and the status is 4. Never
silence, a hang, a page fault of the kernel, or a device touched that is not its own.

Read next: devices.c, cpu.c.
"""

import re

import test_gdb
import test_memory_map as memory_map

HELLO = "shard ok /t/ok"


def panics(t, words, options, **others):
    """Boots a machine on which the kernel stops with a sentence. Returns the Result."""
    result = t.guest(HELLO, options=options, expect=2, **others)
    said = [line for line in result.lines if line.startswith("PANIC: ")]
    t.check(len(said) == 1 and words in said[0], "with %s the console says %s, not: %s" % (" ".join(options), said, words))
    return result


# ---- Processors ----


def test_processors(t):
    """What the kernel needs of a processor and does not find is named, before it is used; what it can do without is not."""
    for feature, name in (("nx", "NX"), ("clflush", "CLFSH"), ("sse2", "SSE2"), ("fxsr", "FXSR"), ("syscall", "SYSCALL"),
                          ("tsc", "TSC")):
        panics(t, "this processor lacks %s (CPUID " % name, ["-cpu", "max,la57=off,-%s" % feature])
    for model in "qemu32", "n270", "max,-lm":
        panics(t, "this processor has no 64-bit mode", ["-cpu", model])
    for model in "qemu64", "kvm64", "Opteron_G1", "core2duo", "Haswell", "max,-pdpe1gb,-smap,-smep,-umip,-rdrand":
        t.guest(HELLO, options=["-cpu", model], expect=0)


def test_no_nx_uefi(t):
    """The same after a boot through the firmware, which itself needs 64 bits."""
    result = t.boot(shards=["shards/hello-c"], uefi=True, options=["-cpu", "max,la57=off,-nx"], timeout=300, expect=2)
    t.check("PANIC: this processor lacks NX " in result.text, "the console does not say that NX is missing")
    result = t.boot(shards=["shards/hello-c"], uefi=True, options=["-cpu", "qemu32"], timeout=30)
    t.check(result.status in (3, 124) and "a 64-bit processor?" in result.stderr, "run.sh does not ask for a 64-bit processor")


def test_control_registers(t):
    """CR0 while shards run: protection, write protection, alignment checks for whoever asks for them, caches on."""
    with t.guest_monitor() as monitor:
        boot = t.start_guest('shard spin /t/spin args="60000"', options=monitor.options)
        try:
            registers = ""
            while "CPL=3" not in registers:
                registers = monitor.hmp("info registers")
            cr0 = int(re.search(r"CR0=(\w+)", registers).group(1), 16)
        finally:
            boot.stop()
            boot.wait()
    t.equal(hex(cr0), "0x80050033", "CR0: PG, AM, WP, NE, ET, MP, PE; not CD, NW, TS, EM")


def barriers(t, build):
    """Runs two shards as if the processor, which QEMU's is not, had IBPB. Returns how often the CPU went to a shard, and how
    many barriers there were."""
    commands = ["tbreak sched_loop", "continue", "set var cpu_has_ibpb = 1",
                "break context_switch if $rsi != &supervisor_thread", "ignore 3 100000", "break *'context_switch.forget'",
                "ignore 4 100000", "break debug_exit", "continue", "info breakpoints", "continue"]
    session = test_gdb.Session(t, "--gdb", commands, "--kernel --build %s --shard shards/hello-c --shard shards/fs-reader" % build,
                               expect=0)
    hits = dict(re.findall(r"^(\d) .*(?:\n\tstop only.*)?(?:\n\tbreakpoint already hit (\d+) times?)?", session.said[-2], re.M))
    return int(hits["3"] or 0), int(hits["4"] or 0)


def test_predictor(t):
    """Where the processor has IBPB every switch to a shard issues it, and the shards run on; without the protection none does."""
    switches, forgotten = barriers(t, "build")
    t.check(switches >= 2, "there were only %d switches" % switches)
    t.equal(forgotten, switches, "barriers")
    switches, forgotten = barriers(t, t.variant("ablation-ibpb", ABLATION="ABLATION_ibpb"))
    t.equal((switches >= 2, forgotten), (True, 0), "switches, and barriers without the protection")


def test_predictor_of_qemu(t):
    """The processor says whether it has IBPB, and the console says what that means."""
    result = t.guest(HELLO, verbose=True, expect=0)
    if "is forgotten (IBPB) between shards" in result.text:
        return
    t.check("CPU: what its branch predictor has learnt is kept (it offers no IBPB) between shards" in result.lines, "nothing is said")
    t.skip("QEMU's processor has no IBPB: the instruction itself was not tried")


test_predictor.heavy = True
