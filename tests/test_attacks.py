"""Attacks: every row of the list in docs/security.md, A1 to H2, one line each.

A warden in the guest starts hostile programs one after the other, as a plan says, and judges how they end; see
tests/attacks/warden/main.c. A verdict is a line of the warden with a random word that nobody else knows, and the
run's exit status; no text that an attacker can print decides anything. For the rows that must kill, the supervisor's
own line is compared as well: vector, address of the instruction, likely cause.

Read next: docs/security.md, then tests/attacks/warden/main.c.
"""

import collections
import contextlib
import os
import re
import sys
import time

import bochs
import harness

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "attacks"))

import gdbstub  # noqa: E402 (the path must be set first)

ROWS = {
    "A1": "divide by zero", "A2": "idiv overflow", "A3": "ud2", "A4": "lock nop", "A5": "rdfsbase and its kin",
    "A6": "stac, clac", "A7": "monitor, mwait, xgetbv, xsetbv", "A8": "hlt", "A9": "cli, sti",
    "A10": "in, out, ins, outs", "A11": "control registers", "A12": "debug registers", "A13": "rdmsr, wrmsr",
    "A14": "rdtsc, rdtscp", "A15": "rdpmc", "A16": "sgdt, sidt, sldt, str, smsw",
    "A17": "lgdt, lidt, lldt, ltr, invlpg, invd, wbinvd", "A18": "swapgs, sysret, sysexit, sysenter",
    "A19": "a bad SS", "A20": "DS = TSS selector", "A21": "an over-long instruction", "A22": "int n for all 256 n",
    "A23": "int3", "A24": "icebp", "A25": "TF set", "A26": "NULL", "A27": "read the kernel", "A28": "write the kernel",
    "A29": "jump into the kernel", "A30": "execute stack and heap", "A31": "write own code",
    "A32": "overflow the stack", "A33": "non-canonical access",
    "A34": "non-canonical push", "A35": "jump to a non-canonical address", "A36": "iretq to ring 0", "A37": "x87 #MF",
    "A38": "SSE #XM", "A39": "#AC", "A40": "AVX, AVX-512, AMX", "A41": "far jump and call through every selector",
    "B1": "an endless loop", "B2": "DF", "B3": "AC", "B4": "NT", "B5": "TF", "B6": "popf with IOPL 3",
    "B7": "a lost stack pointer", "B8": "FPU state survives switches", "B9": "every register is defined",
    "B10": "registers of one shard are not seen by the next",
    "C1": "unknown call numbers", "C2": "NULL pointers", "C3": "kernel pointers", "C4": "non-canonical pointers",
    "C5": "pointer + length wraps", "C6": "a range that crosses into unmapped memory", "C7": "a hole between two mmaps",
    "C8": "a read-only page as buffer", "C9": "lengths 0, max + 1, 2^63",
    "C10": "handles and descriptors that are not ours",
    "C11": "mmap of what cannot be", "C12": "munmap of what is not there", "C13": "grants without the right",
    "C14": "revoke while the holder is blocked", "C15": "a peer fills at most half of the slots",
    "D1": "a peer that ends", "D2": "two sends without a receive", "D3": "both directions at once",
    "D4": "a buffer smaller than the message", "D5": "numbered messages under preemption", "D6": "deadlock",
    "D7": "two holders of one end", "D8": "the console",
    "E1": "frames", "E2": "page-table frames in the middle of an mmap", "E3": "capability slots", "E4": "descriptors",
    "E5": "messages", "E6": "shards", "E7": "create, fault, destroy, kill and restart cycles",
    "E8": "a spinner at high priority",
    "F1": "memory", "F2": "VRAM", "F3": "messages", "F4": "registers", "F5": "descriptors and capabilities",
    "G1": "write kernel text", "G2": "execute kernel data", "G3": "SMEP", "G4": "SMAP", "G5": "kernel stack overflow",
    "G6": "a non-canonical return address", "G7": "NMIs", "G8": "the live page tables",
    "H1": "random system calls", "H2": "random input to the parsers",
}
PROGRAMS = os.path.join("tests", "attacks")
VECTOR_CAUSES = {0: "division by zero", 1: "trap flag", 6: "does not have", 13: "", 14: "", 16: "floating-point",
                 12: "stack pointer"}
SURVIVED, HARMLESS = 99, 7
TIGHT = range(16, 33)  # quotas that end in every part of E2: the program and its stack just fit into the smallest
SHARDS = 64  # slots; those that the manifest does not name are for spawned shards


def rows(*names):
    """Marks a test that reports these rows of the list."""
    def mark(function):
        function.rows = ["attacks." + name for name in names]
        return function

    return mark


def numbers(letter, first, last):
    return ["%s%d" % (letter, number) for number in range(first, last + 1)]


def report(t, row, problem=None, skip=None):
    """Reports a row of the list, unless the test runs for another purpose (an ablation) and wants some rows only."""
    t.row("attacks." + row, problem, skip, ROWS.get(row))


# ---- Programs ----


def program(name):
    """Builds tests/attacks/NAME. Returns the path of the flat binary; the ELF file lies beside it."""
    return harness.build_shard(name, PROGRAMS, "attacks")


Fault = collections.namedtuple("Fault", "vectors address")  # address: None where it cannot be known


def attacks():
    """Returns the attacks of the program `attacker` as {name: Fault or None}, from its symbols."""
    symbols = harness.output_of(["nm", program("attacker").replace(".bin", ".elf")], "nm")
    found = {name: None for name in re.findall(r" [tT] attack\.(\S+)", symbols)}
    for address, kind, name, vectors in re.findall(r"([0-9a-f]+) [tT] (fault|elsewhere)\.(\S+)\.v([0-9_]+)\n", symbols):
        found[name] = Fault([int(v) for v in vectors.split("_")], int(address, 16) if kind == "fault" else None)
    return found


def by_number(name):
    """Sorts A2 before A10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def row_of(label):
    return label.split(".")[0]


# ---- A boot with a warden ----

Verdict = collections.namedtuple("Verdict", "label problem kills")  # kills: what the supervisor said meanwhile


class Battery:
    """What a warden said in one boot. The first line with a nonce is the herald's: nobody else ran before it had
    ended."""

    def __init__(self, result):
        nonce = next((line[6:] for line in result.lines if re.match(r"nonce [0-9a-f]{16}$", line)), "of nobody")
        self.result = result
        self.verdicts = []
        self.done = False
        kills = []
        for line in result.lines:
            kill = re.match(r"Shard \d+ \(attacker\) killed: (.*)$", line)
            verdict = re.match(r"row (\S+) (ok|bad) %s(?: (.*))?$" % nonce, line)
            if kill:
                kills.append(kill.group(1))
            elif verdict:
                problem = None if verdict.group(2) == "ok" else verdict.group(3)
                self.verdicts.append(Verdict(verdict.group(1), problem, kills))
                kills = []
            elif line == "plan done " + nonce:
                self.done = True


def start_battery(t, plan, programs=("attacker",), manifest="", files=None, frames=150, **options):
    """Starts a warden with a plan. `manifest`: further lines. Returns a function that waits and returns the Battery."""
    content = {"/plan": ("\n".join(plan) + "\n").encode()}
    for name in {"herald", "warden", "canary", *programs}:
        content["/a/" + name] = program(name)
    content.update(files or {})
    lines = ["shard herald /a/herald", "shard warden /a/warden spawn=yes frames=%d" % frames, "shard canary /a/canary",
             manifest]
    lines = "\n".join(lines).split("\n")
    others = [line + " after=herald" if line.startswith("shard ") else line for line in lines[1:]]
    boot = t.start_guest("\n".join(lines[:1] + others + ["channel warden canary", "channel herald warden"]),
                         files=content, timeout=3600 if t.full else 900, **options)
    return boot, lambda: Battery(boot.wait())


def run_battery(t, plan, **options):
    return start_battery(t, plan, **options)[1]()


def problem_with(verdict, fault):
    """Returns what is wrong with the outcome of an attack that had to be killed, or None."""
    if verdict.problem:
        return verdict.problem
    if len(verdict.kills) != 1:
        return "the supervisor reports %d kills" % len(verdict.kills)
    text = verdict.kills[0]
    vector, rip = re.search(r"vector (\d+)", text), re.search(r"rip 0x([0-9a-f]+)", text)
    if not vector or int(vector.group(1)) not in fault.vectors:
        return "killed otherwise: " + text
    if fault.address is not None and int(rip.group(1), 16) != fault.address:
        return "killed elsewhere than at %#x: %s" % (fault.address, text)
    return None


def judge(t, battery, wanted, faults=None, others=None):
    """Reports each wanted row from the verdicts of a battery; `wanted` maps rows to the labels of their steps.

    A row that failed comes with its step. When the run ended badly, the steps that were not reached have failed.
    `others` maps rows that do not fail here to what is reported of them all the same: a problem, and why they are
    skipped."""
    found = {verdict.label: verdict for verdict in battery.verdicts}
    for row, labels in wanted.items():
        problem = None
        for label in labels:
            verdict = found.get(label)
            if verdict is None:
                problem = "%s was not reached: %s" % (label, harness.last_words(battery.result))
            elif faults and faults.get(label):
                problem = problem_with(verdict, faults[label])
            else:
                problem = verdict.problem
            if problem:
                problem = problem if label in problem else label + ": " + problem
                break
        problem = problem or ending_problem(battery)
        if not problem and row in (others or {}):
            report(t, row, *others[row])
        else:
            report(t, row, problem)


def ending_problem(battery):
    """Returns why the end of a run speaks against all of its rows, or None."""
    if any(verdict.problem for verdict in battery.verdicts) and battery.result.status == 1:
        return None  # the row that failed says so itself
    if battery.result.status != 0 or not battery.done:
        return "the run ended with status %d: %s" % (battery.result.status, harness.last_words(battery.result))
    return None


def labels_of(plan):
    """Returns {row: labels of its steps}."""
    found = collections.OrderedDict()
    for line in plan:
        label = line.split()[1]
        found.setdefault(row_of(label), []).append(label)
    return found


# ---- A: exceptions ----

TCG_RAISES_NOT = {"A38": "TCG raises no #XM", "A39": "TCG raises no #AC"}
OWN_CODE = range(0x20, 0x24)  # selectors of a shard's own code segment: what goes there goes nowhere


def exception_plan(faults, wanted, unraised, but):
    """Returns the steps of the A rows without the attacks `but`, and the faults that they must end in. The processor
    may let those of the rows `unraised` pass."""
    plan, expected = [], {}
    for name in sorted(faults, key=by_number):
        if row_of(name) not in wanted or name in but:
            continue
        selector = re.match(r"A41\.\w+_(\d+)$", name)
        harmless = selector and int(selector.group(1)) in OWN_CODE
        expect = "killed|%d" % HARMLESS if harmless else "killed"  # QEMU pushes for a far call as ring 0: SMAP
        if row_of(name) in unraised:
            expect = "killed|%d" % HARMLESS
        elif not harmless:
            expected[name] = faults[name]
        plan.append("run %s %s /a/attacker %s" % (name, expect, name))
    return plan, expected


@rows(*numbers("A", 1, 41))
def test_exceptions(t, wanted=numbers("A", 1, 41), unraised=TCG_RAISES_NOT, but=(), **options):
    """Every exception that ring 3 can raise ends the shard that raised it, and nothing else. Those that QEMU does not
    raise are raised by a second processor, where it is installed."""
    plan, expected = exception_plan(attacks(), wanted, unraised, but)
    battery = run_battery(t, plan, **options)
    raised = {row_of(verdict.label) for verdict in battery.verdicts if verdict.kills}
    others = {row: (None, unraised[row] + ", and Bochs is not installed")
              for row in wanted if row in unraised and row not in raised}
    if others and bochs.installed():
        second = bochs.Bochs(t)
        test_exceptions(second, wanted=list(others), unraised={})
        others = {row: (second.found["attacks." + row], None) for row in others}
    judge(t, battery, labels_of(plan), expected, others)


# ---- B: flags and registers ----


@rows("B1", "B6", "B7", "B8", "B9", "B10")
def test_state(t, wanted=("B1", "B6", "B7", "B8", "B9", "B10"), **options):
    """What a shard has in its registers reaches neither the kernel nor another shard, and comes back to itself."""
    rounds = 25000 if t.full else 500
    plan = {
        "B1": ["start B1.spin /a/attacker B1.spin", "start B1.spin2 /a/attacker B1.spin", "rest B1.others 30",
               "stop B1.stop killed"],
        "B6": ["run B6.popf 7 /a/attacker B6.popf"],
        "B7": ["run %s 7|killed /a/attacker %s" % (name, name) for name in sorted(attacks()) if row_of(name) == "B7"],
        "B8": ["start B8.%d /a/canary %d" % (n, rounds + n) for n in range(4)] +
        ["rest B8.blocked 50", "join B8.join 0"],
        "B9": ["run B9.entry 0 /a/entry x", "run B9.calls 0 /a/calls B9"],
        "B10": ["start B10.yield /a/attacker B10.yield", "start B10.spin /a/attacker B10.spin"] +
               ["run B10.die%d killed /a/attacker B10.die" % n for n in range(3)] +
               ["cycle B10.entry 20 0 /a/entry x", "stop B10.stop killed"],
    }
    steps = [line for row in wanted for line in plan[row]]
    battery = run_battery(t, steps, programs=("attacker", "entry", "calls"), **options)
    judge(t, battery, labels_of(steps))


def lost_stack(t, wanted=("B7",), **options):
    """Row B7 without a warden, whose stack has no room for a kernel that uses it: beside a shard that has made a call,
    on a stack as it should be."""
    manifest = 'shard other /t/spin args="100"\nshard lost /a/attacker args="B7.kernel_text"'
    result = t.guest(manifest, files={"/a/attacker": program("attacker")}, timeout=300, **options)
    t.check("begins" in result.lines, "the other shard's call was not made")
    problem = None if result.endings().get("lost") == HARMLESS else "the run ended with status %d: %s" % (
        result.status, harness.last_words(result))
    report(t, wanted[0], problem)


# ---- C to F: shards of the manifest, each of which judges itself by its exit code ----


class Cast:
    """The lines of a manifest, and which shards must end with 0 for a row to pass. wanted: rows, of which alone the
    shards are in it."""

    def __init__(self, wanted=None):
        self.wanted = wanted
        self.names = []
        self.lines = []
        self.rows = collections.OrderedDict()

    def shard(self, row, name, program_name, args, options=""):
        if self.wanted and row not in self.wanted:
            return
        self.names.append(name)
        self.lines.append('shard %s /a/%s args="%s" %s' % (name, program_name, args, options))
        self.rows.setdefault(row, []).append(name)

    def channel(self, a, b):
        if a in self.names and b in self.names:
            self.lines.append("channel %s %s" % (a, b))


def run_cast(t, cast, programs, wanted=None, expect=0, **options):
    """Boots the shards of a cast and reports its rows. Returns the Result.

    The exit status of the run says that all codes were 0; which one was not, the supervisor's lines say."""
    files = {"/a/" + name: program(name) for name in programs}
    boot = t.start_guest("\n".join(cast.lines), files=files, timeout=3600 if t.full else 900, **options)
    result = boot.wait()
    endings = result.endings()
    for row, names in cast.rows.items():
        if wanted and row not in wanted:
            continue
        bad = [name for name in names if endings.get(name) != 0]
        problem = None
        if bad:
            problem = "; ".join("%s ended with %s: %s" % (name, endings.get(name), why(result, name, endings.get(name)))
                                for name in bad[:2])
        elif result.status != expect and all(code == 0 for code in endings.values()):
            problem = "the run ended with status %d: %s" % (result.status, harness.last_words(result))
        report(t, row, problem)
    return result


def why(result, name, code):
    """Returns the line that explains how a shard ended: its own, or the supervisor's."""
    for line in result.lines:
        if re.search(r"\.c:%s: " % code, line) or re.match(r"Shard \d+ \(%s\) killed" % re.escape(name), line):
            return line
        if code == "killed" and re.match(r"Deadlock: .*\b%s\b" % re.escape(name), line):
            return line
    return harness.last_words(result)


class Recorder:
    """Stands in for the test: takes the rows instead of reporting them."""

    def __init__(self, test):
        self.test = test
        self.found = {}
        self.rows_left = []

    def __getattr__(self, name):
        return getattr(self.test, name)

    def row(self, name, problem=None, skip=None, note=None):
        self.found[name] = problem or skip
        self.test.log("%s: %s" % (name, self.found[name]))


def calls_cast(wanted):
    cast = Cast()
    for row in wanted:
        cast.shard(row, row, "calls", row, "spawn=yes frames=120")
        cast.shard(row, row + ".peer", "calls", row + ".peer" if row in ("C13", "C14", "C15") else "peer")
        cast.channel(row, row + ".peer")
    if "C13" in wanted:
        cast.shard("C13", "C13.end", "calls", "end")
        cast.channel("C13", "C13.end")
        cast.shard("C13", "C13.third", "calls", "peer")
        cast.channel("C13", "C13.third")
    if "C14" in wanted:
        cast.shard("C14", "C14.third", "calls", "peer")
        cast.channel("C14", "C14.third")
    return cast


@rows(*numbers("C", 1, 15), "pledge")
def test_calls(t, wanted=(*numbers("C", 1, 15), "pledge"), **options):
    """Wrong arguments of every kind are refused by name, and nothing else happens."""
    run_cast(t, calls_cast(wanted), ["calls"], **options)


def pair(cast, row, name, first, second, options=""):
    """Adds two shards of the program talk with a channel between them."""
    cast.shard(row, name, "talk", first)
    cast.shard(row, name + ".peer", "talk", second, options)
    cast.channel(name, name + ".peer")


@rows("D1", "D2", "D3", "D4", "D5", "D7", "E5", "F3")
def test_channels(t, wanted=("D1", "D2", "D3", "D4", "D5", "D7", "E5", "F3"), **options):
    """Messages arrive once, whole and in order, whatever the other side does."""
    cast, messages = Cast(wanted), 1000000 if t.full else 3000
    pair(cast, "D1", "D1", "ends=30", "ends.peer", "restart=100")
    pair(cast, "D2", "D2", "two", "two.peer")
    pair(cast, "D3", "D3", "both", "both")
    pair(cast, "D4", "D4", "small", "small.peer")
    pair(cast, "D5", "D5", "numbered=%d" % messages, "numbered.peer=%d" % messages)
    pair(cast, "D5", "D5.b", "numbered=%d" % messages, "numbered.peer=%d" % messages)
    cast.shard("D5", "D5.spin", "talk", "spin=100")
    pair(cast, "D7", "D7", "holders", "holders.peer")
    cast.shard("D7", "D7.second", "talk", "holders.second")
    cast.channel("D7", "D7.second")
    cast.channel("D7", "D7.peer")
    pair(cast, "E5", "E5", "full", "full.peer")
    pair(cast, "F3", "F3", "residue", "residue.peer", "restart=1")
    run_cast(t, cast, ["talk"], **options)


def test_preempted(t):
    """Wrong arguments, channels, exhaustion, residue and registers once more, in a kernel that lets others run at every
    point where they may: what was checked before such a point must not be taken for true behind it."""
    build = t.variant("provoke-preempt", PROVOKE="PROVOKE_preempt")
    recorder = Recorder(t)
    for attack in test_calls, test_channels, test_exhaustion, test_residue, test_state:
        attack(recorder, build=build)
    problems = ["%s: %s" % (row, problem) for row, problem in recorder.found.items() if problem]
    t.check(len(recorder.found) > 30 and not problems,
            "%d of %d rows: %s" % (len(problems), len(recorder.found), problems[:2]))
    t.note("%d rows" % len(recorder.found))


test_preempted.heavy = True


@rows("D6")
def test_deadlock(t):
    """A circle of waiting shards is found and named, also while an unrelated shard runs."""
    names = ["D6.a", "D6.b", "D6.c"]
    cast = Cast()
    for name in names:
        cast.shard("D6", name, "talk", "circle=%d" % (name != "D6.a"))
    cast.shard("D6", "D6.busy", "talk", "spin=1500")
    for first, second in zip(names, names[1:] + names[:1]):
        cast.channel(first, second)
    boot = t.start_guest("\n".join(cast.lines), files={"/a/talk": program("talk")}, timeout=600)
    result = boot.wait()
    found = [i for i, line in enumerate(result.lines) if line.startswith("Deadlock: ")]
    problem = None
    if result.status != 1 or len(found) != 1:
        problem = "status %d, %d reports of a deadlock: %s" % (result.status, len(found), harness.last_words(result))
    else:
        line = result.lines[found[0]]
        busy = [i for i, text in enumerate(result.lines) if "(D6.busy) ended: code 0" in text]
        if not all(name in line for name in names) or not re.search(r"on channel \d", line):
            problem = "the circle is not named: " + line
        elif not busy or busy[0] < found[0]:
            problem = "the deadlock was not found while another shard ran"
        elif "D6.a" not in result.profile() or {result.endings().get(name) for name in names} != {"killed"}:
            problem = "the profile is missing, or somebody survived"
    report(t, "D6", problem)


@rows("D8")
def test_console(t, wanted=("D8",), **options):
    """No text of a shard deceives the exit status, drives the terminal, or swallows the lines of others."""
    cast = Cast()
    for part in ("forge", "flood", "endless", "lines"):
        cast.shard("D8", "D8." + part, "talk", part)
    result = t.start_guest("\n".join(cast.lines), files={"/a/talk": program("talk")}, timeout=600, **options).wait()
    problem = None
    controls = set(result.raw) - set(range(0x20, 0x7F)) - {9, 10}
    missing = [n for n in range(200) if result.lines.count("line %d of 200 is whole" % n) != 1]
    if result.status != 1:
        problem = "a forged end gave the run the status %d" % result.status
    elif controls:
        problem = "control bytes reached the terminal: %s" % sorted(controls)
    elif missing:
        problem = "%d lines of another shard are missing, the first is %d" % (len(missing), missing[0])
    report(t, "D8", problem)


# ---- E and F ----


@rows("E1", "E2", "E3", "E4", "E6", "E8")
def test_exhaustion(t, wanted=("E1", "E2", "E3", "E4", "E6", "E8"), **options):
    """What runs out is refused by name, nothing stays behind, and the kernel counts its frames at the end."""
    cast = Cast()
    if "E1" in wanted:
        cast.shard("E1", "E1", "calls", "E1", "frames=100")
    if "E2" in wanted:
        for frames in TIGHT:
            cast.shard("E2", "E2.%d" % frames, "calls", "E2", "spawn=yes frames=%d" % frames)
    if "E3" in wanted:
        after = " after=E2.%d" % TIGHT[-1] if "E2" in wanted else ""
        cast.shard("E3", "E3", "calls", "E3", "spawn=yes" + after)
        cast.shard("E3", "E3.peer", "calls", "peer", after)
        cast.channel("E3", "E3.peer")
    if "E4" in wanted:
        cast.shard("E4", "E4", "calls", "E4")
    if "E8" in wanted:
        cast.shard("E8", "E8.high", "talk", "spin=200", "priority=critical")
        cast.shard("E8", "E8.low", "talk", "spin=1", "priority=low")
    run_cast(t, cast, ["calls", "talk", "entry"], **options)
    if "E6" in wanted:
        shards_cast = Cast()
        for number in range(3):
            shards_cast.shard("E6", "E6.%d" % number, "calls", "E6=%d" % (SHARDS - 3),
                              "spawn=%d" % SHARDS + " after=E6.%d" % (number - 1) * (number > 0))
        run_cast(t, shards_cast, ["calls"], **options)


@rows("E7")
def test_cycles(t, wanted=("E7",), **options):
    """A thousand shards that fault, as many that end, and that are killed in the middle of anything, and many restarts
    of a shard that others wait for, leave every count as it was."""
    count = 1000 if t.full else 150
    cast = Cast()
    pair(cast, "E7", "E7", "ends=%d" % count, "ends.peer", "restart=%d" % (count + 1))
    plan = ["cycle E7.cycle 1000 killed /a/attacker A3.ud2", "cycle E7.start 1000 0 /a/calls end",
            "slay E7.slay 1000 killed /a/calls E7.busy"]
    battery = run_battery(t, plan, programs=("attacker", "calls", "talk"), manifest="\n".join(cast.lines), **options)
    judge(t, battery, labels_of(plan))


@rows("F1", "F4", "F5")
def test_residue(t, wanted=("F1", "F4", "F5"), **options):
    """Nothing of a dead shard can be read or used by a later one."""
    plan = {
        "F1": ["run F1.fill 0 /a/calls F1.fill", "run F1.look 0 /a/calls F1.look", "run F1.die killed /a/calls F1.die",
               "run F1.look2 0 /a/calls F1.look"],
        "F4": ["run F4.die killed /a/attacker B10.die", "run F4.look 0 /a/entry x"],
        "F5": ["run F5.fill 0 /a/calls F1.fill", "run F5.look 0 /a/calls F5.look"],
    }
    steps = [line for row in wanted for line in plan[row]]
    battery = run_battery(t, steps, programs=("attacker", "calls", "entry"), **options)
    judge(t, battery, labels_of(steps))


@rows("F2")
def test_video_memory(t, **options):
    """A driver shard never finds in its video memory what an earlier one has left there."""
    cast = Cast()
    cast.shard("F2", "F2.driver", "vram", "", "restart=2")
    cast.shard("F2", "F2", "talk", "vram")
    cast.channel("F2.driver", "F2")
    cast.lines.append("gpu F2.driver")
    run_cast(t, cast, ["vram", "talk"], **options)


# ---- B2 to B5: what a handler finds in RFLAGS ----

FLAGS = collections.OrderedDict([("B2", 0x400), ("B3", 0x40000), ("B4", 0x4000), ("B5", 0x100)])
CLEARED = 0x47700  # TF, IF, DF, IOPL, NT, AC
FRAME_FLAGS = 0x98 - 0xB0  # of the interrupted shard, in struct trap_frame, from the top of its kernel stack
CALL_FLAGS = -16  # of the calling shard (r11), likewise
TSS_RSP0 = 4  # in the task state: the top of the kernel stack in use (SDM Vol. 3A, "64-Bit TSS Format")
ENOUGH = 3  # observations of each flag at each place
PLACES = {"syscall_dispatch": "a system call", "sched_preempt": "an interrupt"}


def kernel_symbols(t, build=None):
    path = os.path.join(build or "build", "supervisor.elf")
    return {name: int(address, 16) for address, name in re.findall(r"([0-9a-f]+) \w (\S+)\n",
                                                                   t.sh(["nm", path], expect=0).stdout)}


def note_flags(place, before, now, seen, problems):
    """Notes one entry into a handler: RFLAGS of the shard, and what the handler finds."""
    for row, flag in FLAGS.items():
        if before & flag:
            seen[place, row] += 1
            if now & CLEARED:
                problems.setdefault(row, "at %s the handler finds RFLAGS %#x" % (place, now))


def enough_seen(seen):
    """Returns whether handlers were entered with each flag often enough, at both places; with TF none can be,
    unharmed."""
    return all(seen[place, row] >= ENOUGH for place in PLACES.values() for row in ("B2", "B3", "B4"))


def watch_flags(stub, symbols, stops, seen, problems):
    """Looks at RFLAGS in the handlers. Fills observations {(place, flag): count} and problems {flag: text}.

    Of interrupts it looks at those that arrive in ring 3: sched_preempt runs for no others."""
    places = {symbols[name]: place for name, place in PLACES.items()}
    for address in places:
        stub.breakpoint(address)
    for _ in range(stops):
        stub.go_on()
        now = stub.registers()
        place = places[now["rip"]]
        top = int.from_bytes(stub.memory(symbols["tss"] + TSS_RSP0, 8), "little")
        at = top + (CALL_FLAGS if place == "a system call" else FRAME_FLAGS)
        note_flags(place, int.from_bytes(stub.memory(at, 8), "little"), now["flags"], seen, problems)
        if enough_seen(seen):
            break
    for address in places:
        stub.breakpoint(address, False)


def flags_plan():
    """Returns the steps of the rows B2 to B4: shards that set flags and call, or are preempted."""
    names = [name for name in sorted(attacks()) if re.match(r"B[234]\.", name)]
    plan = ["start %s /a/attacker %s" % (name, name) for name in names]
    return plan + ["rest B2.others 10", "rest B3.others 10", "rest B4.others 10", "stop B4.stop killed"]


@rows("B2", "B3", "B4", "B5")
def test_flags(t, wanted=("B2", "B3", "B4", "B5"), build=None):
    """Flags that a shard sets reach no handler, neither at a system call nor at a preemption, and harm nobody.

    QEMU clears DF at every system call by itself: there the value of SFMASK is compared instead."""
    plan = flags_plan() + ["run B5.call killed /a/attacker B5.call"]
    stub = gdbstub.GdbStub()
    seen, problems = collections.Counter(), {}
    try:
        boot, wait = start_battery(t, plan, options=stub.options, build=build)
        try:
            stub.connect()
            watch_flags(stub, kernel_symbols(t, build), 6000, seen, problems)
            stub.detach()
        except (OSError, EOFError) as problem:
            t.log("gdb stub: %s" % problem)
        battery = wait()
    finally:
        stub.close()
    mask = re.search(r"\$0x47700\b", t.sh(["objdump", "-d", "--disassemble=syscall_init", os.path.join(
        build or "build", "supervisor.elf")], expect=0).stdout)
    steps = labels_of(plan)
    found = {verdict.label: verdict.problem for verdict in battery.verdicts}
    for row in wanted:
        problem = problems.get(row)
        for label in steps[row]:
            problem = problem or found.get(label, label + " was not reached: " + harness.last_words(battery.result))
        if not problem and row != "B5" and min(seen[place, row]
                                               for place in ("a system call", "an interrupt")) < ENOUGH:
            problem = "no handler was seen to be entered with the flag"
        if not problem and not mask:
            problem = "SFMASK is not 0x47700"
        report(t, row, problem or ending_problem(battery))


# ---- G: mistakes of the kernel itself ----

PROVOKED = {  # row: (mistake, what the panic must say)
    "G1": [("text_write", r"write to 0xffffffff8[0-9a-f]+: its page forbids it"),
           ("alias_write", r"write to 0xffff8000[0-9a-f]+: its page forbids it")],
    "G2": [("data_execute", r"instruction fetch from 0xffffffff8[0-9a-f]+: its page forbids it")],
    "G3": [("smep", r"instruction fetch from 0x1000: its page forbids it[^$]*SMEP")],
    "G4": [("smap", r"read of 0x1000: its page forbids it[^$]*SMAP")],
    "G5": [("stack", r"double fault[^$]*overflowed into its guard page[^$]*overflow_stack")],
}
STACKS_BASE, STACK_SLOT_SIZE = 0xFFFFFFFFA0000000, 0x4000  # layout.h


def provoked_boot(t, mistake, ablation=None, part="time"):
    """Boots a build that commits a mistake, with a shard that calls TIME. Returns the Result."""
    defines = {"PROVOKE": "PROVOKE_" + mistake}
    if ablation:
        defines["ABLATION"] = "ABLATION_" + ablation
    build = t.variant("provoke-%s%s" % (mistake, "-" + ablation if ablation else ""), **defines)
    return t.start_guest("shard caller /a/calls args=\"%s\"" % part, files={"/a/calls": program("calls")}, build=build,
                         timeout=300).wait()


def panic_problem(result, pattern):
    """Returns why the end of a run is not the panic that was expected, or None."""
    if result.status != 2:
        return "the run ended with status %d, not with a panic: %s" % (result.status, harness.last_words(result))
    if "PANIC: " not in result.text or "Backtrace:" not in result.text:
        return "the panic is not decoded: " + harness.last_words(result)
    if not re.search(pattern, result.text[result.text.index("PANIC: "):].replace("$", " "), re.S):
        return "the panic says something else: " + harness.last_words(result)
    return None


@rows("G1", "G2", "G3", "G4", "G5", "G6")
def test_kernel(t, wanted=("G1", "G2", "G3", "G4", "G5", "G6"), ablation=None):
    """A mistake of the kernel meets the protection against it, and a panic that names it."""
    for row in wanted:
        if row == "G6":
            report(t, "G6", bad_return_problem(provoked_boot(t, "bad_return", ablation)))
            continue
        problem = None
        for mistake, pattern in PROVOKED[row]:
            problem = problem or panic_problem(provoked_boot(t, mistake, ablation), pattern)
        if row == "G5" and not problem:
            problem = guard_problem(t)
        if row == "G4":  # and AC, set by the shard at the call, does not open its memory
            problem = problem or panic_problem(provoked_boot(t, "smap", ablation, "time_ac"), PROVOKED["G4"][0][1])
        report(t, row, problem)


def guard_problem(t):
    """Returns why the stack did not end at the guard of its own slot, the supervisor's, or None."""
    with open(os.path.join(harness.ROOT, "MEMORY_MAP.md"), encoding="utf-8") as page:
        slot = int(re.search(r"^\| (\d+) \| the supervisor's own thread", page.read(), re.M).group(1))
    with open(t.log_path, encoding="utf-8", errors="replace") as log:
        address = int(re.search(r"^Page walk of 0x([0-9a-f]+)", log.read(), re.M).group(1), 16)
    got = (address - STACKS_BASE) // STACK_SLOT_SIZE
    return None if got == slot else "the overflow was noticed in slot %d, not at the guard of slot %d" % (got, slot)


def bad_return_problem(result):
    """Returns why a non-canonical return address was not refused by the kernel itself, or None."""
    if result.status != 1 or "PANIC" in result.text:
        return "the run ended with status %d: %s" % (result.status, harness.last_words(result))
    if "return to 0x800000000000 refused" not in result.text:
        return "not the kernel refused it: " + harness.last_words(result)
    return None


# ---- G7, G8, H1: a busy machine, seen from outside ----

NMI_PATIENCE = 1800  # seconds
BUSY = ["start G.dirty /a/attacker B10.yield", "start G.flags /a/attacker B4.yield_all"]


def take_nmis(t):
    """Runs a busy battery to its end while NMIs strike. Returns (how many the machine took, what is wrong or None)."""
    rounds = 100000 if t.full else 2000
    plan = BUSY + ["start G7.%d /a/canary spin" % n for n in range(2)] + ["rest G7.talk %d" % rounds,
                                                                          "stop G7.stop killed"]
    log, sent = os.path.join(t.scratch, "interrupts.log"), 0
    with t.guest_monitor() as monitor:
        boot, wait = start_battery(t, plan, options=monitor.options + ["-d", "int", "-D", log])
        try:
            while "CPL=3" not in monitor.hmp("info registers"):
                time.sleep(0.05)  # there must be a kernel to take them
            while True:
                monitor.hmp("nmi")
                sent += 1
        except (harness.Failure, OSError) as end:
            t.log("after %d NMIs: %s" % (sent, end))  # the run is over
        battery = wait()
    with open(log, encoding="utf-8", errors="replace") as file:
        taken = sum(1 for line in file if re.match(r"\s*\d+: v=02 ", line))
    os.remove(log)
    bad = [verdict.label + ": " + verdict.problem for verdict in battery.verdicts if verdict.problem]
    return taken, ending_problem(battery) or (bad[0] if bad else None)


def nmi_at_entry(t, wanted=("G7",), build=None):
    """Row G7 at its worst moment alone: an NMI strikes at the first instruction of a system call, where rsp is still
    that of ring 3 and points into the kernel's text."""
    symbols, stub = kernel_symbols(t, build), gdbstub.GdbStub()
    try:
        with t.guest_monitor() as monitor:
            boot = t.start_guest('shard caller /a/attacker args="B7.kernel_text"', build=build, timeout=300,
                                 files={"/a/attacker": program("attacker")}, options=stub.options + monitor.options)
            stub.connect()
            stub.breakpoint(symbols["syscall_entry"])
            while not symbols["image_text"] <= stub.registers()["rsp"] < symbols["image_rodata"]:
                stub.go_on()
            monitor.hmp("nmi")
            stub.breakpoint(symbols["syscall_entry"], False)
            with contextlib.suppress(OSError, EOFError):
                stub.detach()  # a machine that has been reset meanwhile does not answer
            result = boot.wait()
    finally:
        stub.close()
    problem = None if result.endings().get("caller") == HARMLESS else "the run ended with status %d: %s" % (
        result.status, harness.last_words(result))
    report(t, wanted[0], problem)


@rows("G7")
def test_nmi(t):
    """NMIs that strike a loop of system calls at any instruction, and the first one of a call for certain, change
    nothing. How many strike in one boot is the host's choice: there are as many boots as it takes."""
    first = Recorder(t)
    nmi_at_entry(first)
    wanted, taken, problem = 10000 if t.full else 300, 0, first.found["attacks.G7"]
    deadline = time.monotonic() + NMI_PATIENCE
    while taken < wanted and not problem:
        more, problem = take_nmis(t)
        taken += more
        if not problem and time.monotonic() > deadline:
            problem = "only %d NMIs were taken within %d seconds" % (taken, NMI_PATIENCE)
    report(t, "G7", problem)


@rows("G8")
def test_tables(t):
    """In the page tables of a machine under attack no page is writable and executable, and U is where it belongs."""
    import test_memory_map as memory_map
    plan = BUSY + ["start G8.spin /a/attacker B1.spin", "rest G8.talk 100000"]
    problem, looks = None, 0
    with t.guest_monitor() as monitor:
        boot, _ = start_battery(t, plan, options=monitor.options)
        try:
            elf = memory_map.supervisor(t)
            deadline = time.monotonic() + 300
            while looks < (50 if t.full else 6):
                t.check(time.monotonic() < deadline, "the shards were not ready within 300 seconds")
                time.sleep(0.3)
                monitor.hmp("stop")
                looks += look_at_tables(t, memory_map, memory_map.Machine(t, monitor, elf))
                monitor.hmp("cont")
        except harness.Failure as failure:
            problem = str(failure)
        finally:
            boot.stop()
            boot.wait()
    report(t, "G8", problem)


def look_at_tables(t, memory_map, machine):
    """Checks every page of the supervisor and of all shards. Returns whether there were at least five shards."""
    kernel_cr3 = machine.variable("kernel_cr3")
    if not kernel_cr3:
        return False
    tables = {kernel_cr3} | {machine.shard_cr3(number) for number in range(64)} - {0}
    for cr3 in tables:
        leaves = memory_map.walk(machine, cr3)
        memory_map.check_rights(t, leaves)
        memory_map.check_sealed(t, machine, leaves)
        if cr3 == kernel_cr3:
            t.check(not [leaf for leaf in leaves if leaf.start < 1 << 47], "the supervisor's tables have a lower half")
    return len(tables) > 5


SEEDS = (1, 2, 3, 4, 5)


@rows("H1")
def test_random(t):
    """Random calls with random and boundary arguments harm neither the kernel nor a canary."""
    count = 1000000 if t.full else 20000
    cast = Cast()
    for seed in SEEDS:
        name = "H1.%d" % seed
        cast.shard("H1", name, "fuzz", "seed=%d count=%d" % (seed, count), "spawn=yes frames=300")
        cast.shard("H1", name + ".send", "fuzz", "send")
        cast.shard("H1", name + ".take", "fuzz", "take")
        cast.channel(name, name + ".send")
        cast.channel(name + ".send", name + ".take")
    plan = ["rest H1.%d %d" % (n, 2000 if t.full else 100) for n in range(20)]
    battery = run_battery(t, plan, programs=("fuzz",), manifest="\n".join(cast.lines))
    endings = battery.result.endings()
    bad = [name for name in cast.rows["H1"] if endings.get(name) != 0]
    problem = ending_problem(battery)
    if bad:
        problem = "%s ended with %s: %s" % (bad[0], endings.get(bad[0]), harness.last_words(battery.result))
    bad = [verdict.label + ": " + verdict.problem for verdict in battery.verdicts if verdict.problem]
    report(t, "H1", problem or (bad[0] if bad else None))


# ---- H2 ----


@rows("H2")
def test_parsers(t):
    """Random input to every parser of foreign bytes finds nothing. `./test.sh fuzz` does more, with planted
    mistakes."""
    import test_fuzz
    test_fuzz.need_clang(t)
    names = ("ext2", "elf", "acpi", "manifest", "checkpoint", "tokenizer")
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", FUZZ_IMAGE=test_fuzz.make_image(t))
    problem = None
    for name in names:
        target = os.path.join("tests", "fuzz", name + ".c")
        with open(os.path.join(t.root, target), encoding="utf-8") as file:
            source = test_fuzz.word(file.read(), "SOURCES")
        binary = os.path.join(t.scratch, name)
        t.sh(["clang"] + test_fuzz.FLAGS + ["-o", binary, target, source], expect=0)
        done = test_fuzz.run(t, binary, name, 2000, environment)
        if done.returncode:
            problem = problem or "%s: the fuzzer ended with status %d" % (name, done.returncode)
    report(t, "H2", problem)


def test_complete(t):
    """Every row of the list is reported by exactly one test of this file."""
    reported = [row[len("attacks."):] for function in globals().values() for row in getattr(function, "rows", [])]
    t.equal(sorted(set(reported) - {"pledge"}), sorted(ROWS), "the rows that are reported")
    t.equal(len(reported), len(set(reported)), "rows that are reported once")
