"""Ablations: every protection of tests/experiments.h is left out, in a build of its own; the attack must then succeed.

An attack that is repelled proves little unless it is known that it would have done harm. So the unchanged tests of
tests/test_attacks.py run here on a kernel that lacks one protection, and must fail with the symptom that is predicted
below; a build that does not boot is no such symptom. Each line says what happened and how many protections are done.
Those of ELSEWHERE are left out by other tests, beside what shows them at work.

Read next: tests/experiments.h (the list ABLATIONS), docs/security.md.
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


def on_variant(function, *rows, **options):
    """Runs rows of a test on a build without the protection."""
    def run(t, name):
        function(t, wanted=rows, build=t.variant("ablation-" + name, ABLATION="ABLATION_" + name), **options)

    return run, rows


def both(first, second):
    """Runs rows of one test, then rows of another one."""
    def run(t, name):
        first[0](t, name)
        second[0](t, name)

    return run, first[1] + second[1]


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
    "clac": ablation(on_variant(attacks.test_flags, "B3"),
                     r"^at an interrupt the handler finds RFLAGS 0x400[0-9a-f]{2}$",
                     "the AC flag of a shard opens user memory to the handler of an interrupt"),
    "fxsave": ablation(on_variant(attacks.test_state, "B8"),
                       # FPU's only
                       r"^B8\.0: the canary answered wrongly or not at all \(\d+, registers [1-7]?[048c]000\)$",
                       "shards overwrite each other's FPU registers"),
    "selectors": ablation(on_variant(attacks.test_state, "B10"),
                          r"^B10\.entry: the program ended otherwise \(16, registers 0\)$",
                          "a new shard finds DS as another one left it"),
    "sysret_rip": ablation(provoked("G6"), r"^not the kernel refused it: Shard 0 \(caller\) killed: general "
                                           r"protection fault "
                           r"\(#GP\), vector 13, at rip 0x800000000000 ",
                           "a non-canonical address reaches sysret; QEMU faults in ring 3, some processors in ring 0"),
    "nx": ablation(on_variant(attacks.test_exceptions, "A30"),
                   r"^A30\.heap: the program ended otherwise \(99, registers 0\)$",
                   "a shard executes its stack and heap"),
    "wp": ablation(provoked("G1"), r"^the run ended with status 0, not with a panic",
                   "the kernel writes its own text and nothing stops it"),
    "smep": ablation(provoked("G3"), r"^the panic says something else: PANIC: page fault \(#PF\), vector 14, in ring "
                                     r"0 at rip "
                     r"0x[0-9a-f]{4} ", "the kernel executes a shard's code, until that makes a mistake"),
    "smap": ablation(provoked("G4"), r"^the run ended with status 0, not with a panic",
                     "the kernel reads a shard's memory by mistake"),
    "umip": ablation(on_variant(attacks.test_exceptions, "A16"),
                     r"^A16\.sgdt: the program ended otherwise \(99, registers 0\)$",
                     "a shard reads the kernel's addresses"),
    "tsd": ablation(on_variant(attacks.test_exceptions, "A14"),
                    r"^A14\.rdtsc: the program ended otherwise \(99, registers 0\)$",
                    "a shard has a fine clock"),
    "sfmask": ablation(on_variant(attacks.test_flags, "B3", "B4"),
                       # One of B4's shards sets AC beside NT, and whether it is the first to call is chance.
                       {"B3": r"^at a system call the handler finds RFLAGS 0x4[04]0[0-9a-f]{2}$",
                        "B4": r"^at a system call the handler finds RFLAGS 0x4?4[0-9a-f]{3}$"},
                       "flags of a shard reach handlers of system calls, where NT turns the next iretq into a fault"),
    "user_check": ablation(on_variant(attacks.test_calls, "C3"),
                           r"^C3 ended with \d+: .*coconut_syscall\(1, \(uint64_t\)\(bad\), .* is 0 \(0x0\), expected "
                           r"-2", "the kernel writes its own text to the console when a shard's pointer says so"),
    "guard": ablation(provoked("G5"), r"^the overflow was noticed in slot -1, not at the guard of slot \d+$",
                      "a stack that overflows runs through all of its neighbours"),
    "ist": ablation(both(provoked("G5"), on_variant(attacks.nmi_at_entry, "G7")),
                    {"G5": r"^the run ended with status 3, not with a panic", "G7": r"^the run ended with status 3: "},
                    "a double fault and an NMI find no stack: the machine resets"),
    "zeroing": ablation(both(on_variant(attacks.test_residue, "F1"), on_variant(attacks.test_channels, "F3")),
                        {"F1": r"^F1\.look: the program ended otherwise \(%d, registers 0\)$"
                         % check_line("CHECK_EQ(((uint64_t *)LARGE)[i], 0)"), "F3": r"\bF3\.peer ended with \d+: "},
                        "a shard reads what a dead one has left in memory"),
    "grant": ablation(on_variant(attacks.test_calls, "C13"),
                      r"C13\.peer ended with \d+: .*coconut_cap_grant\(copy, 0, \w+\) is \d+ \(0x\d+\), expected -6",
                      "who was given a capability to use gives it away"),
    "endpoint": ablation(on_variant(attacks.test_calls, "C13"),
                         r"^C13 ended with killed: Deadlock: C13 waits to receive on channel "
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

INTEL = ["-cpu", "max,la57=off,vendor=GenuineIntel"]  # AMD's processors have no sysenter in 64-bit mode
NO_SMAP = ["-cpu", "max,la57=off,smep=off,smap=off"]  # with which the kernel could not touch what it shares with ring 3


def survives(label):
    """Returns the pattern for an attack that gets past the instruction which must not succeed."""
    return r"^%s: the program ended otherwise \(%d, registers 0\)$" % (re.escape(label), attacks.SURVIVED)


def surprise(name, call, got, expected):
    """Returns the pattern for a shard that ended because a call had another result."""
    return r"%s ended with \d+: .*%s is %s, expected %s" % (name, call, got, expected)


ABLATIONS.update({
    "fault": ablation(on_variant(attacks.test_exceptions, "A1"), r"^A1\.div was not reached: PANIC: divide error",
                      "the fault of a shard ends the run"),
    "cr4": ablation(on_variant(attacks.test_exceptions, "A5", "A7", "A15", "A40"),
                    {"A5": survives("A5.rdfsbase"), "A7": survives("A7.xgetbv"),
                     "A15": r"^A15\.rdpmc: killed otherwise: .* vector 6",  # which is all that TCG has behind the check
                     "A40": r"^A40\.xrstor: killed otherwise: general protection fault"},
                    "a shard executes what only these bits of CR4 forbid"),
    "io_map": ablation(on_variant(attacks.test_exceptions, "A10"), survives("A10.in_keyboard"),
                       "a shard has ports, and ends the run by one"),
    "iopl": ablation(both(on_variant(attacks.test_exceptions, "A9", "A10"), on_variant(attacks.test_state, "B6")),
                     {"A9": survives("A9.cli"), "A10": survives("A10.in_keyboard"), "B6": survives("B6.popf")},
                     "a shard turns interrupts off"),
    "sysenter": ablation(on_variant(attacks.test_exceptions, "A18", options=INTEL),
                         r"^A18\.sysenter was not reached: PANIC: double fault .* in ring 0 at rip 0x0\b",
                         "a shard enters the kernel where nobody has put an entry"),
    "lldt": ablation(on_variant(attacks.test_exceptions, "A19", "A20", "A41"),
                     {"A19": r"^A19\.local: killed otherwise: page fault",
                      "A20": r"^A20\.local: killed otherwise: page fault",
                      "A41": r"^A41\.call_4: killed otherwise: page fault"},
                     "the processor looks for descriptors in a shard's memory"),
    "gates": ablation(on_variant(attacks.test_exceptions, "A22"), r"^A22\.0: killed otherwise: divide error",
                      "a shard calls the handler of any vector"),
    "heap": ablation(both(on_variant(attacks.test_exceptions, "A26", "A32"), on_variant(attacks.test_calls, "C11")),
                     {"A26": survives("A26.taken"), "A32": survives("A32.taken"),
                      "C11": surprise("^C11", r"coconut_mmap\(.*\)", r"0 \(0x0\)", "-3")},
                     "a shard maps page 0, and the page below its stack"),
    "upper": ablation(on_variant(attacks.test_exceptions, "A27", "A28", options=NO_SMAP),
                      {"A27": survives("A27.hhdm"), "A28": survives("A28.hhdm")},
                      "a shard reads and writes all memory"),
    "code": ablation(on_variant(attacks.test_exceptions, "A31"), survives("A31.code"), "a shard writes its own code"),
    "entry_stack": ablation(on_variant(attacks.lost_stack, "B7", options=NO_SMAP),
                            r"^the run ended with status 2: PANIC: double fault",
                            "the kernel pushes to where a shard's stack pointer leads"),
    "entry": ablation(on_variant(attacks.test_residue, "F4"),
                      r"^F4\.look: the program ended otherwise \(3, registers 0\)$",  # the third check of ../entry
                      "a new shard finds what a dead one had in rbx"),
    "numbers": ablation(on_variant(attacks.test_calls, "C1"),
                        r"^C1 ended with None: PANIC: page fault \(#PF\), vector 14, in ring 0 at rip 0xf",
                        "the kernel looks for a handler far behind its table"),
    "lengths": ablation(on_variant(attacks.test_calls, "C9"),
                        surprise("^C9", r"coconut_syscall\(21, .*\)", r"0 \(0x0\)", "-3"),
                        "a message is longer than its place"),
    "handles": ablation(on_variant(attacks.test_calls, "C10"),
                        surprise("^C10", r"CALL\(SYS_CAP_GRANT, .*\)", r"1 \(0x1\)", "-4"),
                        "a shard grants the capability of another one"),
    "slots": ablation(both(on_variant(attacks.test_calls, "C15"), on_variant(attacks.test_exhaustion, "E3")),
                      {"C15": surprise("^C15", r"coconut_cap_grant\(.*\)", r"9 \(0x9\)", "-12"),
                       "E3": surprise("^E3", "got", r"-1 \(0xf+\)", "-12")},
                      "grants fill all slots of a shard, and what has no slot is written before the first one"),
    "close_wakes": ablation(on_variant(attacks.test_channels, "D1"),
                            r"^D1 ended with killed: Deadlock: D1 waits to receive on channel",
                            "whoever waits for a shard that has ended waits for ever"),
    "room": ablation(on_variant(attacks.test_channels, "D2", "D3", "D5", "E5"),
                     {"D2": surprise(r"D2\.peer", r"coconut_channel_recv\(.*\)", r"7 \(0x7\)", "6"),
                      "D3": surprise(r"^D3", "got", r"\d \(0x\d\)", r"\d"),
                      "D5": r"D5\.peer ended with \d+: ", "E5": surprise(r"E5\.peer", "got", r"\d+ \(0x\w+\)", r"\d+")},
                     "a message that nobody has read is overwritten by the next one"),
    "fits": ablation(on_variant(attacks.test_channels, "D4"),
                     surprise("^D4", r"coconut_channel_recv\(.*\)", r"6 \(0x6\)", "-9"),
                     "a message runs over the end of its buffer"),
    "claim": ablation(on_variant(attacks.test_channels, "D7"), r"^D7 ended with killed: Deadlock: ",
                      "a second holder of the end waits for the answer to another's CALL"),
    "clean": ablation(on_variant(attacks.test_console, "D8"),
                      r"^control bytes reached the terminal: \[0, 7, 8, 13, 27, 127", "a shard drives the terminal"),
    "walk": ablation(on_variant(attacks.test_exhaustion, "E2"),
                     surprise(r"^E2\.\d+", r"room_behind_heap\(\)", r"\d+ \(0x\w+\)", r"\d+"),
                     "a call that fails keeps frames"),
    "descriptors": ablation(on_variant(attacks.test_exhaustion, "E4"),
                            surprise("^E4", r"open_file\(\)", r"8 \(0x8\)", "-12"),
                            "a ninth file is opened, in the next shard's structure"),
    "leak": ablation(on_variant(attacks.test_cycles, "E7"),
                     r"^E7\.cycle was not reached: PANIC: assertion failed: self->frames == 0 ",
                     "a shard that ends leaves frames behind; the kernel notices"),
    "nmi": ablation(on_variant(attacks.nmi_at_entry, "G7"),
                    r"^the run ended with status 2: PANIC: .*, vector 2, in ring 0",
                    "an NMI ends the run"),
})

_done = []
_done_lock = threading.Lock()


def judge(recorder, name, symptom=None):
    """Returns (problem, symptom): what is wrong with the outcome of an ablation, or how the attack succeeded.
    `symptom`: another one than that of the table."""
    symptom = symptom or ABLATIONS[name].symptom
    rows = ABLATIONS[name].rows
    for row in rows:
        outcome = recorder.found.get("attacks." + row, "was not run")
        if not outcome:
            return "row %s passes without the protection" % row, None
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


ELSEWHERE = dict({"dma_" + name: "dma" for name in ("check", "extent", "unmap", "invalidate", "translation", "write",
                                                    "overflow", "early", "orphan", "revoke")},
                 interrupt_source="dma", vram_zeroing="gpu", owners="dma", circle="life",
                 turns="fair", uart="fair", utf8="console", ibpb="machines", looks="latency",
                 **{name: "stale" for name in ("serial", "call_over", "kill_first", "raise", "forget", "fast_held",
                                           "held")},
                 leave="life")
ELSEWHERE.update(preempt="life", drop="life", killed_flag="life", lost="stale", rank="stale", flood="dma")


def test_complete(t):
    """Every ablation that tests/experiments.h lists is tested, here or as the control of another test."""
    with open(os.path.join(harness.ROOT, "tests", "experiments.h"), encoding="utf-8") as layout:
        listed = set(re.findall(r"\bX\((\w+)\)", layout.read()))
    t.equal(set(ABLATIONS) | set(ELSEWHERE), listed, "the ablations")
    for name, group in ELSEWHERE.items():
        with open(os.path.join(harness.ROOT, "tests", "test_%s.py" % group), encoding="utf-8") as test:
            t.check(name in test.read(), "no test of the group %s leaves out %s" % (group, name))
    for path in sorted(glob.glob(os.path.join(harness.ROOT, "*.h"))):  # build.sh, find_lookers: only sources look
        with open(path, encoding="utf-8") as header:
            t.check(not re.search(r"\bABLATE\(\w", header.read()), "ABLATE in %s is left out of no variant" % path)


SHARED = {"ABLATION_wp": "cpu.c", "ABLATION_cld": "boot.asm", "PROVOKE_taken": "efi_loader.c"}  # and who looks at it


def code_of(t, path, define=()):
    """Returns the code of a source of the supervisor, without what depends on the place of lines."""
    if path.endswith(".asm"):
        out = os.path.join(t.scratch, "boot.o")
        t.sh(["nasm", "-f", "elf64", "-I", "build/", *define, "-o", out, path], expect=0)
        with open(out, "rb") as file:
            return file.read()
    flags = "-std=gnu11 -O0 -S -ffreestanding -mgeneral-regs-only -mno-red-zone -o -"
    if path == "efi_loader.c":
        flags += " -fpic -fshort-wchar -DGNU_EFI_USE_MS_ABI -I/usr/include/efi -I/usr/include/efi/x86_64"
    else:
        flags += " -fno-pic -mcmodel=kernel"
    return t.sh(["gcc", *flags.split(), *define, path], expect=0).stdout


def test_shared_objects(t):
    """What a variant takes from build/ is what its definition would have made: the code of sources that do not look at
    it."""
    sources = [os.path.basename(path) for path in sorted(glob.glob(os.path.join(harness.ROOT, "*.c")))]
    sources.append("boot.asm")
    usual = {source: code_of(t, source) for source in sources}
    for value, looks in SHARED.items():
        key, define = value.split("_")[0], ["-D%s=%s" % (value.split("_")[0], value)]
        build = os.path.join(t.root, t.variant("shared-" + value, **{key: value}))
        own = [os.path.basename(path) for path in glob.glob(build + "/*.o") + glob.glob(build + "/loader/*.o")]
        shared = [name for name in sources if name.split(".")[0] + ".o" not in own]
        t.check(len(shared) > 20 and looks not in shared, "%s: the variant shares %s" % (value, shared))
        for source in shared:
            t.check(code_of(t, source, define) == usual[source], "%s changes %s, which is shared" % (value, source))
        t.check(code_of(t, looks, define) != usual[looks], "the control: %s changes nothing in %s" % (value, looks))


WORDS = {"the processor's", "those above", "planted mistakes", "not defended"}  # docs/security.md explains them


def test_rows(t):
    """Each row of docs/security.md names the protections that can be left out, or says in a word why there are none;
    each one that is left out here stands in a row."""
    with open(os.path.join(harness.ROOT, "docs", "security.md"), encoding="utf-8") as page:
        text = page.read().split("\n## Two judges")[0]
    cells = dict(re.findall(r"^\| ([A-H]\d+) \| .* \| *(.*?) *\|$", text, re.M))
    t.equal(set(cells), set(attacks.ROWS), "the rows of docs/security.md")
    names = {row: re.findall(r"`(\w+)`", cell) for row, cell in cells.items()}
    for row, cell in cells.items():
        good = names[row] and cell == ", ".join("`%s`" % name for name in names[row])
        t.check(good or cell in WORDS, "row %s has neither names of protections nor one of the words: %r" % (row, cell))
    for word in WORDS:
        t.check(word in cells.values() and "\n- *%s*: " % word in text, "docs/security.md does not explain `%s`" % word)
    named, tested = {name for row in names.values() for name in row}, set(ABLATIONS) | set(ELSEWHERE)
    t.check(named <= tested, "no test leaves out %s" % (named - tested))
    t.equal(set(ABLATIONS) - named, {"pledge"}, "the protections that no row names")  # it stands beside the list
