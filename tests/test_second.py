"""The second processor: attacks, fault texts, FPU state and ablations under Bochs, which end as they end under QEMU.

QEMU's TCG is one reading of the manuals; what it does not raise, no test on it can see. Bochs is another reading, by
other people. So the unchanged tests of other files run on both, and all that the supervisor says of a shard's end is
compared: vector, address, likely cause, exit code. Where the two differ DIFFERENCES says so, and docs/security.md
explains why.

Read next: tests/bochs.py, tests/second/machine.py, docs/security.md ("A second processor").
"""

import collections
import re

import bochs
import figures
import harness
import test_ablations as ablations
import test_attacks as attacks
import test_faults as faults
import test_state as state

# What differs: a pattern of what the supervisor says under QEMU, one under Bochs (None: nothing, the attack has passed
# without harm), and the names of attacks and shards.
DIFFERENCES = {name: (here, there) for here, there, names in (
    (r"vector 13,", r"vector 6,", "A7.xsetbv xsetbv"),
    (r"vector 6,", r"vector 13,", "A18.sysenter A18.sysexit sysenter sysexit"),
    (r"vector 6,", r"vector 1,", "A24.icebp icebp"),
    (r"vector 13,", r"vector 12,", "A34.call A34.push non_canonical_push"),
    (r"rip 0x80000000[01]000$", r"rip 0x[0-9a-f]{4}$", "A35.jump A35.return run_non_canonical jump-800000000000"),
    (r"vector 14\)", r"vector 13,",
     "A36.far_return A36.kernel_stack A36.ring0 A36.ring0_user_stack A36.tss far_return iret_ring0"),
    (None, r"vector 19,", "A38.sse"), (None, r"vector 17,", "A39.unaligned"),
    (r"vector 14\)", None, " ".join("A41.call_%d" % selector for selector in attacks.OWN_CODE)),
) for name in names.split()}
# Attacks that set TF and call: see test_single_step().
TRAPS_IN_RING0 = ("A25.mov_ss", "B5.call")
# Rows that need what Bochs lacks.
ELSEWHERE = {
    "F2": "Bochs has no video memory that keeps what is written before a mode is set",
    "G7": "NMIs come from QEMU's monitor", "G8": "the live page tables are read through QEMU's monitor",
    "H2": "the parsers run on the host, without an emulator",
    "dma": "Bochs has no IOMMU and no DMA engine",
}


class Here(attacks.Recorder):
    """Stands in for the test under QEMU: takes the rows, and keeps what each boot has left behind."""

    def __init__(self, test):
        super().__init__(test)
        self.full = False  # as under Bochs
        self.results = []

    def start_guest(self, *arguments, **options):
        boot = self.test.start_guest(*arguments, **options)
        return bochs.Noted(boot, self.results)

    def guest(self, *arguments, **options):
        return self.start_guest(*arguments, **options).wait()


def told(result):
    """Returns what the supervisor tells of the ends of shards, as {name: set of texts}. Programs that a warden starts
    have the names of its steps. The error code and times are left out, and which slot a shard was in."""
    found, last, spawned = {}, None, []
    for line in result.lines:
        verdict = re.match(r"row (\S+) (?:ok|bad) [0-9a-f]{16}", line)
        end = re.match(r"Shard \d+ \((\S+)\) (killed: .*|ended: (?:code -?\d+|killed))", line)
        panic = re.match(r"PANIC: .*", line)
        if verdict:
            found.setdefault(verdict.group(1), set()).update(spawned)
            spawned = []
        elif end:
            last = spawned.append if end.group(1) == "attacker" else found.setdefault(end.group(1), set()).add
            last(re.sub(r" \(error 0x[0-9a-f]+\)$", "", end.group(2)))
        elif panic:
            last = found.setdefault("PANIC", set()).add
            last(re.sub(r" \(error 0x[0-9a-f]+\)$", "", panic.group(0)))
        elif last and line.startswith("  Likely cause: "):
            last(line.strip())
    return found


def merged(results):
    """Returns what several boots tell together."""
    found = {}
    for result in results:
        for name, texts in told(result).items():
            found.setdefault(name, set()).update(texts)
    return found


def difference(name, here, there):
    """Returns how what QEMU and Bochs tell of a shard differs otherwise than DIFFERENCES says, or None."""
    first, second = ("; ".join(sorted(texts)) for texts in (here, there))
    if name not in DIFFERENCES:
        return "%s: QEMU says: %s. Bochs says: %s" % (name, first, second) if first != second else None
    for emulator, texts, wanted in zip(("QEMU", "Bochs"), (here, there), DIFFERENCES[name]):
        if texts if wanted is None else not any(re.search(wanted, text) for text in texts):
            return "%s: %s says: %s; expected: %s" % (name, emulator, "; ".join(texts), wanted or "nothing")
    return None


def differences(here, there):
    """Returns {row: first difference} of what two lists of results tell."""
    here, there = merged(here), merged(there)
    found = {}
    for name in list(here) + [name for name in there if name not in here]:
        problem = difference(name, here.get(name, set()), there.get(name, set()))
        if problem:
            found.setdefault(attacks.row_of(name), problem)
    return found


def compared(function, rows, but=None, **options):
    """Returns a test that runs rows of the list on both processors, and reports each as a row of this group. `but`:
    attacks that it leaves out. `options`: what else the function needs to be told on Bochs."""
    common = {"but": but} if but else {}

    def test(t):
        there, here = bochs.machine(t), Here(t)
        function(there, **common, **options)
        function(here, **common)
        found = differences(here.results, there.results)
        for row in rows:
            problem = there.found.get("attacks." + row, "was not run") or found.get(row) or found.get("PANIC")
            t.row("second." + row, problem, None, attacks.ROWS.get(row))

    test.__doc__ = function.__doc__
    test.rows = ["second." + row for row in rows]
    return test


test_exceptions = compared(attacks.test_exceptions, attacks.numbers("A", 1, 41), but=TRAPS_IN_RING0, unraised={})
test_state = compared(attacks.test_state, ["B1", "B6", "B7", "B8", "B9", "B10"])
test_calls = compared(attacks.test_calls, attacks.numbers("C", 1, 15))
test_channels = compared(attacks.test_channels, ["D1", "D2", "D3", "D4", "D5", "D7", "E5", "F3"])
test_deadlock = compared(attacks.test_deadlock, ["D6"])
test_console = compared(attacks.test_console, ["D8"])
test_exhaustion = compared(attacks.test_exhaustion, ["E1", "E2", "E3", "E4", "E6", "E8"])
test_cycles = compared(attacks.test_cycles, ["E7"])
test_cycles.full_only = True
test_residue = compared(attacks.test_residue, ["F1", "F4", "F5"])
test_random = compared(attacks.test_random, ["H1"])
test_random.full_only = True
test_kernel = compared(attacks.test_kernel, attacks.numbers("G", 1, 6))


def test_comparison(t):
    """Another vector, address, cause or code is a difference; another slot, error code or time is none."""
    console = ("Shard 3 (a) killed: general protection fault (#GP), vector 13, at rip 0x1000 (error 0x0)\n"
               "  Likely cause: a stray pointer\n"
               "Shard 3 (a) ended: killed after 1 ms\nShard 4 (b) ended: code 0 after 1 ms\n")

    def compare(old, new):
        consoles = console, console.replace(old, new)
        return differences(*([harness.Result(0, text.encode(), "", None)] for text in consoles))

    for old, new in ("vector 13", "vector 6"), ("0x1000", "0x1002"), ("a stray", "another"), ("code 0", "code 7"):
        t.check(compare(old, new), "%s for %s is no difference" % (new, old))
    for old, new in ("Shard 3", "Shard 5"), ("error 0x0", "error 0x8"), ("1 ms", "2 ms"):
        t.equal(compare(old, new), {}, "differences by %s for %s" % (new, old))


# ---- Fault texts, registers, the FPU ----


def on_both(t, function, *arguments):
    """Runs a test of another file on both processors, which must tell the same of all ends. Returns Bochs's results."""
    there, here = bochs.machine(t), Here(t)
    for judge in there, here:
        function(judge, *arguments)
    found = differences(here.results, there.results)
    t.check(not found, "; ".join(found.values()))
    t.note("%d ends" % len(merged(there.results)))
    return there.results


def alike(function, *arguments):
    """Returns a test that runs a test of another file on both processors."""
    def test(t):
        on_both(t, function, *arguments)

    test.__doc__ = function.__doc__ or "The same as under QEMU."
    return test


test_fault_texts = alike(faults.test_exceptions)
test_fault_places = alike(faults.test_places)
test_fault_entries = alike(faults.test_entries)
test_elf_file = alike(faults.test_elf_file)
test_registers = alike(state.test_registers)
test_entry = alike(state.test_entry)
test_registers_flags = alike(state.test_flags, ("df", "ac", "nt", "iopl", "rsp"))
test_registers_flags.full_only = True


def test_fault_interrupts(t):
    """`int n` ends as under QEMU for each of the 256 values of n, and with the error code of the manuals, 8 n + 2: the
    gate, and that it is one of the IDT (SDM Vol. 3A 6.13)."""
    codes = {}
    for result in on_both(t, faults.test_interrupts):
        codes.update(re.findall(r"^Shard \d+ \(int-(\d+)\) killed: .*\(error (\w+)\)$", result.text, re.M))
    t.equal({n: int(code, 16) for n, code in codes.items()}, {str(n): 8 * n + 2 for n in range(256)}, "error codes")


test_fault_interrupts.full_only = True


def test_fpu(t):
    """XMM0-15, x87, MMX and MXCSR survive preemption, yield and blocking calls among siblings with other patterns."""
    result = state.fpu_boot(bochs.machine(t), {"s": 30, "y": 1500, "c": 800})
    t.equal(sorted(set(result.endings().values())), [0], "ends")
    switches = sum(row["switches"] for row in result.profile().values())
    t.check(switches > 5000, "only %d switches" % switches)
    t.note("%d switches" % switches)


def test_fpu_control(t):
    """The same battery fails on a kernel that does not save the FPU state at blocking calls."""
    state.test_fpu_control(bochs.machine(t))


# ---- Processors that lack protections ----

LACKING = {"tigerlake": [], "broadwell_ult": ["UMIP"], "corei7_haswell_4770": ["SMAP", "UMIP"],
           "core2_penryn_t9600": ["SMEP", "SMAP", "UMIP"], "athlon64_clawhammer": ["SMEP", "SMAP", "UMIP"]}


def test_models(t):
    """Processors without SMEP, SMAP or UMIP boot, say which they lack, and still end who builds segments of its own.
    The one that has them all has IBPB too."""
    cases = {"ldt_gate": "killed", "gs_ldt": "killed", "fine": 0}
    lines = ['shard %s /t/faults args="%s"' % (case, case) for case in cases]
    for model, missing in LACKING.items():
        result = bochs.machine(t, model).guest("\n".join(lines), verbose=True, expect=1)
        t.equal(re.findall(r"(\w+) not offered by this CPU", result.text), missing, model + ": what it lacks")
        t.equal("forgotten (IBPB)" in result.text, not missing, model + ": IBPB")
        t.equal(result.endings(), cases, model + ": ends")
    t.note(", ".join(LACKING))


def test_model_rows(t):
    """Exceptions and registers end as everywhere on processors that lack protections; without UMIP A16 stands open."""
    but = [name for name in attacks.attacks() if attacks.row_of(name) == "A16"] + list(TRAPS_IN_RING0)
    for model in "corei7_haswell_4770", "broadwell_ult":  # the others lack RDRAND, of which the herald makes its word
        machine = bochs.machine(t, model)
        attacks.test_exceptions(machine, unraised={}, but=but)
        attacks.test_state(machine)
        problems = ["%s: %s" % (row, problem) for row, problem in machine.found.items() if problem]
        t.check(len(machine.found) > 40 and not problems, "%s: %d of %d rows: %s" % (
            model, len(problems), len(machine.found), problems[:2]))


test_model_rows.full_only = True


# ---- What a handler finds in RFLAGS, seen by Bochs's debugger ----

STOPS = 1500
# A word of a kernel stack, as an expression of the debugger. What it follows has 32 bits: stacks lie in the last 4 GiB.
SLOT = "*(%#x)+0xffffffff00000000-%d"


def watched_flags(t, machine, build=None):
    """Runs the attacks on RFLAGS, looking at the handlers' entries. Returns what attacks.watch_flags() fills, and the
    battery."""
    symbols = attacks.kernel_symbols(t, build)
    options = [word for name in attacks.PLACES for word in ("--watch", name)] + ["--stops", str(STOPS)]
    for offset in (attacks.CALL_FLAGS, attacks.FRAME_FLAGS):
        options += ["--show", SLOT % (symbols["tss"] + attacks.TSS_RSP0, -offset)]
    battery = attacks.run_battery(machine, attacks.flags_plan(), build=build, machine_options=options)
    places = {symbols[name]: place for name, place in attacks.PLACES.items()}
    seen, problems = collections.Counter(), {}
    registers, word = r"^rip: (\w+)_(\w+)\n.*\neflags (\w+):.*\n", r"\[bochs\]:\n\w+ <.*>:\t(\w+)\n"
    for high, low, flags, of_call, of_frame in re.findall(registers + word + word, machine.said(), re.M):
        place = places.get(int(high + low, 16))
        if place:
            before = of_call if place == "a system call" else of_frame
            attacks.note_flags(place, int(before, 16), int(flags, 16), seen, problems)
    return seen, problems, battery


def test_flags(t):
    """Flags that a shard sets reach no handler, neither at a system call, DF included, nor at a preemption."""
    seen, problems, battery = watched_flags(t, bochs.machine(t))
    found = {verdict.label: verdict.problem for verdict in battery.verdicts}
    for row in ("B2", "B3", "B4"):
        problem = problems.get(row) or attacks.ending_problem(battery)
        for label in attacks.labels_of(attacks.flags_plan())[row]:
            problem = problem or found.get(label, label + " was not reached: " + harness.last_words(battery.result))
        if not problem and not attacks.enough_seen(seen):
            problem = "no handler was seen to be entered with the flag: %s" % dict(seen)
        t.row("second." + row, problem, None, attacks.ROWS[row])


test_flags.rows = ["second.B2", "second.B3", "second.B4"]


def test_single_step(t):
    """TF at `syscall`: Bochs traps behind it although the call has cleared TF, in ring 0, and the kernel panics. QEMU
    and processors look at the TF that is left: there these attacks end in ring 3."""
    machine = bochs.machine(t)
    at = attacks.kernel_symbols(t)["syscall_entry"]
    problem = None
    for name in TRAPS_IN_RING0:
        battery = attacks.run_battery(machine, ["run %s killed /a/attacker %s" % (name, name)])
        if "PANIC: debug exception (#DB), vector 1, in ring 0 at rip %#x " % at not in battery.result.text:
            problem = problem or "%s ends otherwise: %s" % (name, harness.last_words(battery.result))
    t.row("second.B5", problem, None, attacks.ROWS["B5"])


test_single_step.rows = ["second.B5"]


# ---- Ablations ----


def without(name, symptom=None):
    """Returns the test of an ablation on Bochs. `symptom`: where it is another one than QEMU's."""
    def test(t):
        machine = bochs.machine(t)
        ablations.ABLATIONS[name].run(machine, name)
        problem, found = ablations.judge(machine, name, symptom)
        t.row("second." + name, problem, None, "%s: %s" % (ablations.ABLATIONS[name].meaning, found))

    test.__doc__ = "Without %s: %s." % (name, ablations.ABLATIONS[name].meaning)
    test.rows = ["second." + name]
    return test


NOT_HERE = {  # ablations that make no sense under Bochs
    "ist": "NMIs come from QEMU's monitor", "nmi": "NMIs come from QEMU's monitor",
    "entry_stack": "the model has SMAP, and with it no attack gets this far",
    "upper": "the model has SMAP, and with it no attack gets this far",
    "sysenter": "QEMU is told to be of Intel's make for it, which the row A18 has here in any case",
}


def not_here(name):
    """Returns the test of an ablation that is skipped by name."""
    def test(t):
        t.row("second." + name, None, NOT_HERE[name], None)

    test.__doc__ = "Without %s: skipped, since %s." % (name, NOT_HERE[name])
    test.rows = ["second." + name]
    return test


test_sysret_rip = without("sysret_rip", r"^the run ended with status 2: PANIC: double fault \(#DF\), vector 8, in ring")
test_cr4 = without("cr4", dict(ablations.ABLATIONS["cr4"].symptom, A15=ablations.survives("A15.rdpmc")))
for _name in sorted(set(ablations.ABLATIONS) - {"sysret_rip", "cr4", "cld", "clac", "sfmask"}):
    globals()["test_" + _name] = not_here(_name) if _name in NOT_HERE else without(_name)
for _name in set(ablations.ABLATIONS) - {"sysret_rip"}:
    if "test_" + _name in globals():
        globals()["test_" + _name].full_only = True


def flags_without(name, row, symptom):
    """Returns the test of an ablation that lets a flag of a shard reach a handler."""
    def test(t):
        machine = bochs.machine(t)
        build = t.variant("ablation-" + name, ABLATION="ABLATION_" + name)
        problem = watched_flags(t, machine, build)[1].get(row, "nothing is seen of it")
        t.row("second." + name, None if re.search(symptom, problem) else "row %s: %s" % (row, problem), None, problem)

    test.__doc__ = "Without %s: %s." % (name, ablations.ABLATIONS[name].meaning)
    test.rows = ["second." + name]
    test.full_only = True
    return test


test_cld = flags_without("cld", "B2", r"^at an interrupt the handler finds RFLAGS 0x4[0-9a-f]{2}$")
test_clac = flags_without("clac", "B3", r"^at an interrupt the handler finds RFLAGS 0x400[0-9a-f]{2}$")
test_sfmask = flags_without("sfmask", "B2", r"^at a system call the handler finds RFLAGS 0x[0-9a-f]*[4-7][0-9a-f]{2}$")


# ---- What is not done here ----


def test_elsewhere(t):
    """Rows that need what Bochs lacks are skipped by name."""
    for row, reason in ELSEWHERE.items():
        t.row("second." + row, None, reason, None)


test_elsewhere.rows = ["second." + row for row in ELSEWHERE]


def test_complete(t):
    """Every row of the list of attacks and every ablation of test_ablations.py is run here, or skipped by name."""
    tests = [function for name, function in globals().items() if name.startswith("test_")]
    names = {name for function in tests for name in getattr(function, "rows", [])}
    wanted = list(attacks.ROWS) + list(ablations.ABLATIONS)
    t.equal([name for name in wanted if "second." + name not in names], [], "rows and ablations that are missing")
    figures.hold(t, {"second.list": len(attacks.ROWS), "second.rows": len(set(attacks.ROWS) - set(ELSEWHERE))})
