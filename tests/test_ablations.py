"""Ablations: every protection is left out once, in a build of its own, and the attack on it must then succeed.

An attack that is repelled proves little unless it is known that it would have done harm. So the unchanged tests of
tests/test_attacks.py run here on a kernel that lacks one protection, and must fail with the symptom that is predicted
below; a build that does not boot is no such symptom. Each line says what happened and how many protections are done.

Read next: layout.h (the list ABLATION_), docs/security.md.
"""

import collections
import glob
import os
import re
import threading

import harness
import test_attacks as attacks

# run: which rows of the list are attacked, and how. symptom: what each of them must say, in one pattern without
# alternatives, or in one for each row.
Ablation = collections.namedtuple("Ablation", "run rows symptom meaning")


def on_variant(function, *rows):
    """Runs rows of a test on a build without the protection."""
    def run(t, name):
        function(t, wanted=rows, build=t.variant("ablation-" + name, ABLATION="ABLATION_" + name))

    return run, rows


def provoked(*rows):
    """Runs rows of attacks.kernel on a build that lacks the protection and makes the mistake that it guards against."""
    def run(t, name):
        attacks.test_kernel(t, wanted=rows, ablation=name)

    return run, rows


def ablation(how, symptom, meaning):
    return Ablation(how[0], how[1], symptom, meaning)


def check_line(text):
    """Returns the number of the first line of the program `calls` that contains the text: its exit code when that check
    fails."""
    with open(os.path.join(harness.ROOT, attacks.PROGRAMS, "calls", "main.c"), encoding="utf-8") as source:
        return next(number for number, line in enumerate(source, 1) if text in line)


ABLATIONS = {
    "cld": ablation(on_variant(attacks.test_flags, "B2"), r"^at an interrupt the handler finds RFLAGS 0x4[0-9a-f]{2}$",
                    "the direction flag of a shard reaches handlers of interrupts, whose copies then run backwards"),
    "clac": ablation(on_variant(attacks.test_flags, "B3"), r"^at an interrupt the handler finds RFLAGS 0x400[0-9a-f]{2}$",
                     "the AC flag of a shard opens user memory to the handler of an interrupt"),
    "fxsave": ablation(on_variant(attacks.test_state, "B8"),
                       r"^B8\.0: the canary answered wrongly or not at all \(\d+, registers [1-7]?[048c]000\)$",  # FPU's only
                       "shards overwrite each other's FPU registers"),
    "selectors": ablation(on_variant(attacks.test_state, "B10"), r"^B10\.entry: the program ended otherwise \(16, registers 0\)$",
                          "a new shard finds DS as another one left it"),
    "sysret_rip": ablation(provoked("G6"), r"^not the kernel refused it: Shard 0 \(caller\) killed: general protection fault "
                           r"\(#GP\), vector 13, at rip 0x800000000000 ",
                           "a non-canonical address reaches sysret; QEMU faults in ring 3, some processors in ring 0"),
    "nx": ablation(on_variant(attacks.test_exceptions, "A30"), r"^A30\.heap: the program ended otherwise \(99, registers 0\)$",
                   "a shard executes its stack and heap"),
    "wp": ablation(provoked("G1"), r"^the run ended with status 0, not with a panic",
                   "the kernel writes its own text and nothing stops it"),
    "smep": ablation(provoked("G3"), r"^the panic says something else: PANIC: page fault \(#PF\), vector 14, in ring 0 at rip "
                     r"0x[0-9a-f]{4} ", "the kernel executes a shard's code, until that makes a mistake"),
    "smap": ablation(provoked("G4"), r"^the run ended with status 0, not with a panic", "the kernel reads a shard's memory by mistake"),
    "umip": ablation(on_variant(attacks.test_exceptions, "A16"), r"^A16\.sgdt: the program ended otherwise \(99, registers 0\)$",
                     "a shard reads the kernel's addresses"),
    "tsd": ablation(on_variant(attacks.test_exceptions, "A14"), r"^A14\.rdtsc: the program ended otherwise \(99, registers 0\)$",
                    "a shard has a fine clock"),
    "sfmask": ablation(on_variant(attacks.test_flags, "B3", "B4"),
                       {"B3": r"^at a system call the handler finds RFLAGS 0x400[0-9a-f]{2}$",
                        "B4": r"^at a system call the handler finds RFLAGS 0x4[0-9a-f]{3}$"},
                       "flags of a shard reach handlers of system calls, where NT turns the next iretq into a fault"),
    "user_check": ablation(on_variant(attacks.test_calls, "C3"),
                           r"^C3 ended with \d+: .*coconut_syscall\(1, \(uint64_t\)\(bad\), .* is 0 \(0x0\), expected -2",
                           "the kernel writes its own text to the console when a shard's pointer says so"),
    "guard": ablation(provoked("G5"), r"^the overflow was noticed in slot -1, not at the guard of slot \d+$",
                      "a stack that overflows runs through all of its neighbours"),
    "ist": ablation(provoked("G5"), r"^the run ended with status 3, not with a panic", "a double fault finds no stack: the machine resets"),
    "zeroing": ablation(on_variant(attacks.test_residue, "F1"), r"^F1\.look: the program ended otherwise \(%d, registers 0\)$"
                        % check_line("CHECK_EQ(((uint64_t *)LARGE)[i], 0)"), "a shard reads what a dead one has left in memory"),
    "grant": ablation(on_variant(attacks.test_calls, "C13"),
                      r"C13\.peer ended with \d+: .*coconut_cap_grant\(copy, 0, \w+\) is \d+ \(0x\d+\), expected -6",
                      "who was given a capability to use gives it away"),
    "endpoint": ablation(on_variant(attacks.test_calls, "C13"), r"^C13 ended with killed: Deadlock: C13 waits to receive on channel "
                         r"\d+ from C13\.peer, which waits to receive on channel \d+ from C13\.",
                         "a shard waits for messages where it may only send"),
    "invlpg": ablation(on_variant(attacks.test_calls, "C12"),
                       r"^C12 ended with \d+: .*coconut_wait\(\(uint64_t\)child\) is 99 \(0x63\), expected -1",
                       "memory that was given back stays readable"),
    "quota": ablation(on_variant(attacks.test_exhaustion, "E1"),
                      r"^E1 ended with \d+: .*coconut_mmap\(\w+ \+ most \* 4096, 1\) is 0 \(0x0\), expected -11",
                      "a shard takes all memory"),
    "pledge": ablation(on_variant(attacks.test_calls, "pledge"),
                       r"^pledge ended with \d+: .*coconut_syscall\(30, .* is -3 \(0x\w+\), expected -19",
                       "a shard that has promised not to opens files"),
}

_done = []
_done_lock = threading.Lock()


def judge(recorder, name):
    """Returns (problem, symptom): what is wrong with the outcome of an ablation, or how the attack succeeded."""
    rows = ABLATIONS[name].rows
    for row in rows:
        outcome = recorder.found.get("attacks." + row, "was not run")
        if not outcome:
            return "row %s passes without the protection" % row, None
        symptom = ABLATIONS[name].symptom
        if not re.search(symptom[row] if isinstance(symptom, dict) else symptom, outcome):
            return "row %s fails otherwise than predicted: %s" % (row, outcome), None
    return None, recorder.found["attacks." + rows[0]]


def make(name):
    """Returns the test of one ablation."""
    def test(t):
        recorder = attacks.Recorder(t)
        ABLATIONS[name].run(recorder, name)
        problem, symptom = judge(recorder, name)
        with _done_lock:
            _done.extend([name] if not problem else [])
            note = "%s: %s (%d of %d)" % (ABLATIONS[name].meaning, symptom, len(_done), len(ABLATIONS))
        t.row("ablations." + name, problem, None, note)

    test.__doc__ = "Without %s: %s." % (name, ABLATIONS[name].meaning)
    test.rows = ["ablations." + name]
    return test


for _name in ABLATIONS:
    globals()["test_" + _name] = make(_name)


ELSEWHERE = dict({"dma_" + name: "dma" for name in ("check", "extent", "unmap", "invalidate", "translation", "write", "overflow", "early", "orphan", "revoke")},
                 interrupt_source="dma", vram_zeroing="gpu", owners="dma", ipc_fast="ipc", recheck="ipc", circle="life", turns="fair", utf8="console", ibpb="machines",
                 **{name: "stale" for name in ("serial", "call_over", "kill_first", "raise", "forget", "fast_held")})


def test_complete(t):
    """Every ablation that layout.h lists is tested, here or as the control of another test."""
    with open(os.path.join(harness.ROOT, "layout.h"), encoding="utf-8") as layout:
        lines = re.findall(r"^(?:#define |\t)(ABLATION_.*)", layout.read(), re.M)
    listed = {name for line in lines for name in re.findall(r"\bABLATION_(\w+)", line)} - {"none"}
    t.equal(set(ABLATIONS) | set(ELSEWHERE), listed, "the ablations")
    for name, group in ELSEWHERE.items():
        with open(os.path.join(harness.ROOT, "tests", "test_%s.py" % group), encoding="utf-8") as test:
            t.check(name in test.read(), "no test of the group %s leaves out %s" % (group, name))


def test_shared_objects(t):
    """What a variant takes from build/ is what its definition would have made: the code of sources that do not look at it."""
    flags = "-std=gnu11 -O0 -S -ffreestanding -fno-pic -mgeneral-regs-only -mcmodel=kernel -mno-red-zone -o -".split()
    for define, looks in ("ABLATION=ABLATION_wp", "ABLATE(wp)"), ("PROVOKE=PROVOKE_panic", "PROVOKE"):
        count = 0
        for path in sorted(glob.glob(os.path.join(harness.ROOT, "*.c"))):
            with open(path, encoding="utf-8") as source:
                if looks in source.read() or path.endswith("efi_loader.c"):
                    continue
            made = [t.sh(["gcc", *flags, *more, path], expect=0).stdout for more in ([], ["-D" + define])]
            t.check(made[0] == made[1], "-D%s changes %s, which does not look at it" % (define, os.path.basename(path)))
            count += 1
        t.check(count > 10, "%s: only %d sources do not look at it" % (define, count))
    changed = [t.sh(["gcc", *flags, *more, "paging.c"], expect=0).stdout for more in ([], ["-DABLATION=ABLATION_nx"])]
    t.check(changed[0] != changed[1], "the control: ABLATION_nx changes nothing in paging.c")
