"""How long the supervisor keeps interrupts off, in instructions, for every call at its worst, and what a death costs.

QEMU writes down every instruction of the supervisor that it runs. Interrupts are off from the entry into the supervisor
to the return from it, but for the windows between `sti` and `cli`: a stretch is what lies between two of these points.
Each is counted for the call (or exception) that the supervisor is busy with, one of the timer's interrupt for that, and
one that goes on in another shard's call for "switch".

Read next: shards/latency/main.c, which makes the calls; sched.c:preempt_point, which cuts long work into stretches.
"""

import contextlib
import os
import re
import threading

import figures

LIMIT = 5000    # instructions: no stretch is longer, whatever the arguments and however many shards there are
SHARDS = 64     # that there can be
DIGITS = 16     # of an address in QEMU's log
NAME, PATH = 23, 255  # bytes of the longest name of a shard, and of a path
# a death: at most so many instructions for each frame, to find it, to clear it and to let others in between
PER_FRAME = 700
FIXED = 12000   # and so many beside, for a shard that holds little else

CAUSE = re.compile(r"(handle_)?sys_|"
                   r"(timer_interrupt|apic_interrupt|fault_kill|end_deadlocks|reap|shard_create)$")
PROGRAM = "/t/latency"

# Which calls each scene must have seen: all that there are, somewhere.
SEEN = {
    "calls": ["serial_write", "mmap", "munmap", "fs_open", "fs_read", "fs_stat", "fs_close", "fs_map", "time", "yield",
              "pledge", "cap_restrict", "cap_inspect"],
    "tree": ["cap_revoke", "cap_grant", "channel_call", "channel_send", "channel_recv"],
    "full": ["kill", "wait", "spawn"],
    "gpu": ["gpu_dma", "gpu_unveil"],
}


def symbols(t, elf):
    """Returns {address: name} of the supervisor's functions, and the addresses of its `sti` and `cli`."""
    functions = {}
    for line in t.sh(["nm", "-n", elf], expect=0).stdout.split("\n"):
        words = line.split()
        if len(words) == 3 and words[1] in "tT" and words[0].startswith("ffffffff8") and "." not in words[2]:
            functions[int(words[0], 16)] = words[2]
    listing = t.sh("objdump -d --no-show-raw-insn %s | grep -wE 'sti|cli'" % elf, expect=0).stdout
    return functions, {int(line.split(":")[0], 16) for line in listing.strip().split("\n")}


class Trace:
    """Reads QEMU's log from a pipe. Keeps the longest stretch of each cause, and how long each death took."""

    def __init__(self, path, functions, windows):
        self.path, self.functions, self.windows = path, functions, windows
        self.longest = {}
        self.deaths = []
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def events(self):
        """Returns {address: what happens there}: ("begin",), ("stretch",), ("cause", name), ("switch",), ("dead",)."""
        found = {address: ("cause", name) for address, name in self.functions.items() if CAUSE.match(name)}
        found.update({address: ("stretch",) for address, name in self.functions.items()
                      if name in ("syscall_entry", "isr_common")})
        found.update({address: ("switch",) for address, name in self.functions.items()
                      if name.startswith("context_switch")})
        found.update({address: ("dead",) for address, name in self.functions.items() if name == "sched_exit"})
        found.update({address: ("stretch",) for address in self.windows})
        found.update({address: ("begin",) for address, name in self.functions.items() if name == "sched_loop"})
        return found

    def read(self):
        events = {b"%0*x" % (DIGITS, address): event for address, event in self.events().items()}
        running, count, began, died, cause, busy_with = False, 0, 0, 0, "start", "start"
        with open(self.path, "rb") as log:
            for line in log:
                if not line.startswith(b"Trace"):
                    continue
                at = line.index(b"/") + 1
                event = events.get(line[at:at + DIGITS])
                count += 1
                if not event:
                    continue
                if event[0] in ("stretch", "switch") and running and count - began > self.longest.get(cause, 0):
                    self.longest[cause] = count - began
                if event[0] == "stretch":
                    began, cause = count, busy_with
                elif event[0] == "begin":  # the boot is over: until then nobody waits
                    running, began = True, count
                elif event[0] == "switch":
                    cause = busy_with = "switch"
                elif event[0] == "dead":
                    self.deaths.append(count - died)
                else:
                    cause = event[1]
                    busy_with = busy_with if cause.endswith("_interrupt") else cause
                    died = count if cause == "handle_sys_exit" else died


def measure(t, manifest, status=0, options=(), control=False, **others):
    """Boots a scene. Returns its Trace. No stretch may exceed the limit, unless it is a control."""
    elf = os.path.join(t.root, others.get("build", "build"), "supervisor.elf")
    functions, windows = symbols(t, elf)
    pipe = os.path.join(t.scratch, "trace%d" % (t.boots + 1))
    os.mkfifo(pipe)
    trace = Trace(pipe, functions, windows)
    text = [address for address, name in functions.items() if not name.startswith("image_")]
    try:
        result = t.guest("\n".join(manifest), timeout=400, options=[
            "-singlestep", "-d", "exec,nochain", "-dfilter", "0x%x..0x%x" % (min(text), max(text) + 4096), "-D", pipe,
            "-icount", "shift=4,align=off,sleep=off", *options], **others)
    finally:
        with contextlib.suppress(OSError):  # a boot that never began has left the reader waiting for a writer
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        trace.thread.join(60)
    t.equal(result.status, status, "exit status")
    for cause in sorted(trace.longest):
        t.log("%-24s %6d" % (cause, trace.longest[cause]))
        t.check(control or trace.longest[cause] <= LIMIT, "%s keeps interrupts off for %d instructions" % (cause,
                                                                                                trace.longest[cause]))
    return trace


def shard(name, part, options=""):
    return 'shard %s %s args="%s" %s' % (name, PROGRAM, part, options)


def check_seen(t, trace, scene):
    """Fails when a scene has not made one of its calls, or nobody has died in it."""
    for name in ["sys_" + call for call in SEEN[scene]] + ["handle_sys_exit"]:
        t.check(name in trace.longest, "%s was not seen" % name)


def note(t, *traces):
    """Shows the longest stretch of a scene in the line of its test, and holds its figures against docs/figures.txt."""
    longest = {}
    for trace in traces:
        for cause, length in trace.longest.items():
            longest[cause] = max(length, longest.get(cause, 0))
    figures.hold(t, {"stretch." + cause: length for cause, length in longest.items()})
    worst = max(longest, key=longest.get)
    t.note("longest: %s, %d instructions" % (worst, longest[worst]))


def compare(t, small, large, causes):
    """Fails when the larger arguments of the second scene made a stretch of one of the causes longer."""
    for cause in causes:
        t.check(cause in large.longest, "%s was not seen" % cause)
        t.check(large.longest[cause] <= small.longest[cause] * 1.25 + 200,
                "%s: three times the work takes %d instructions "
                "instead of %d" % (cause, large.longest[cause], small.longest[cause]))


def call_scene(t, pages):
    return measure(t, [shard("caller", "calls=%d" % pages), shard("peer", "peer"), "channel caller peer"],
                   files={"/big": b"b" * (pages * 4096)})


def test_calls(t):
    """The arguments of a call, however large, make no stretch longer."""
    small, large = call_scene(t, 32), call_scene(t, 96)
    check_seen(t, large, "calls")
    compare(t, small, large, ("sys_serial_write", "sys_mmap", "sys_munmap", "handle_sys_exit", "sys_fs_read",
                              "sys_fs_map"))
    note(t, small, large)


def tree_scene(t, **others):
    holders = SHARDS - 2
    lines = [shard("tree", "tree=%d" % SHARDS), shard("bell", "bell", "restart=1")]
    lines += [shard("h%d" % i, "holder" if i < holders - 1 else "last") for i in range(holders)]
    lines += ["channel tree bell", "channel tree h0"] + ["channel h%d h%d" % (i, i + 1) for i in range(holders - 1)]
    return measure(t, lines, **others)


def test_tree(t):
    """Revoking what every shard has copies of and waits through, and waking all of them at once."""
    trace = tree_scene(t)
    check_seen(t, trace, "tree")
    note(t, trace)


def test_full(t):
    """The end of a shard that has all capabilities, descriptors, channels and children there can be, and of one that
    many wait for."""
    lines = [shard("full", "full=100", "spawn=64")]
    lines += [shard("p%d" % i, "sender" if i % 2 else "waiter") for i in range(12)]
    lines += ["channel full p%d" % i for i in range(12)]
    trace = measure(t, lines)
    check_seen(t, trace, "full")
    note(t, trace)


def test_ring(t):
    """The search for a deadlock when all shards wait in a row for the last one, and when they wait in a circle."""
    lines = [shard("r0", "ring=0")] + [shard("r%d" % i, "ring=1") for i in range(1, SHARDS - 1)]
    lines += [shard("r%d" % (SHARDS - 1), "ringlast=300")]
    lines += ["channel r%d r%d" % (i, (i + 1) % SHARDS) for i in range(SHARDS)]
    trace = measure(t, lines, status=1)
    t.check("end_deadlocks" in trace.longest, "no search was seen")
    note(t, trace)


def path_scene(t, entries):
    program = t.shard("latency")
    long_name = "x" * 40
    files = {"/d/%s%04d" % (long_name, i): b"" for i in range(entries)}
    files.update({"/p/the-same-for-so-long-%02d" % i: program for i in range(33)})
    path = "/d/.." * 36 + "/d/%s%04d" % (long_name, entries)
    files["/d/%s%04d" % (long_name, entries)] = program
    return measure(t, [shard("paths", path, "spawn=yes")], files=files)


def test_paths(t):
    """Opening and starting files through long directories again and again, with names that differ at their end only."""
    small, large = path_scene(t, 100), path_scene(t, 300)
    compare(t, small, large, ("sys_fs_open", "sys_spawn"))
    note(t, small, large)


def test_lines(t):
    """Text of many writers that waits for the end of a line is not sent all at once."""
    lines = [shard("open", "open=40")] + [shard("w%d" % i, "lines=900") for i in range(12)]
    trace = measure(t, lines)
    t.check("timer_interrupt" in trace.longest, "no tick was seen")
    note(t, trace)


def words_scene(t, **others):
    lines = ['shard %s %s args="stray"' % (("%02d" % i).ljust(NAME, "n"), PROGRAM) for i in range(4)]
    lines.append("shard %s %s" % ("missing".ljust(NAME, "n"), "/none".ljust(PATH, "p")))
    return measure(t, lines, status=1, **others)


def test_words(t):
    """The longest that the supervisor says of a shard. Where it does not look at the interrupts between two pieces of
    that, or while it marks what is revoked, the same scenes exceed the limit."""
    trace = words_scene(t)
    t.check("fault_kill" in trace.longest, "no fault was seen")
    note(t, trace)
    build = t.variant("looks", ABLATION="ABLATION_looks")
    for scene, cause in (words_scene, "handle_sys_exit"), (tree_scene, "sys_cap_revoke"):
        longest = scene(t, build=build, control=True).longest[cause]
        t.check(longest > LIMIT, "the control: %s takes %d instructions" % (cause, longest))


def gpu_scene(t, size, *options):
    lines = [shard("a", "gpu=%d" % size), shard("b", "listener"), "gpu a", "gpu b", "channel a b"]
    return measure(t, lines, options=["-global", "VGA.vgamem_mb=1", *options])


def test_gpu(t):
    """Copies between partitions, by an engine and by the processor, and the end of their owners."""
    small, large = gpu_scene(t, 4000), gpu_scene(t, 2 * 4095)  # an engine's buffer once, and twice
    by_processor = [gpu_scene(t, size, "-machine", "pc") for size in (0x10000, 0x30000)]
    check_seen(t, large, "gpu")
    compare(t, small, large, ("sys_gpu_dma", "sys_gpu_unveil"))
    compare(t, *by_processor, ("sys_gpu_dma",))
    t.check("apic_interrupt" in large.longest, "no engine has ended a transfer")
    note(t, small, large, *by_processor)


def test_deaths(t):
    """What a kill costs: something for each frame, and a fixed part. docs/security.md states both."""
    step = 100
    trace = measure(t, [shard("parent", "deaths=%d" % step, "spawn=yes")])
    t.equal(len(trace.deaths), 4, "deaths")
    first, second, third = trace.deaths[:3]
    per_frame = (third - first) / (2 * step)
    fixed = first - per_frame * step
    t.check(abs((second - first) / step - per_frame) < 0.05 * per_frame,
            "the cost does not grow evenly: %s" % trace.deaths)
    t.check(0 < per_frame <= PER_FRAME, "%.0f instructions a frame" % per_frame)
    t.check(0 < fixed <= FIXED, "%.0f instructions beside the frames" % fixed)
    figures.hold(t, {"death.frame": round(per_frame), "death.fixed": round(fixed)})
    t.note("%.0f instructions a frame, %.0f beside" % (per_frame, fixed))


def test_complete(t):
    """Every call of the kernel's table is measured in one of the scenes, and docs/security.md names the bound."""
    with open(os.path.join(t.root, "syscall.c"), encoding="utf-8") as file:
        table = set(re.findall(r"\bX\([A-Z_]+, (\w+)\)", file.read()))
    measured = ["sys_" + call for scene in SEEN.values() for call in scene]
    t.equal(set(measured) | {"sys_exit"}, table, "the calls")
    with open(os.path.join(t.root, "docs", "security.md"), encoding="utf-8") as file:
        t.check(re.search(r"(?<![\d,]){:,} instructions".format(LIMIT), file.read()),
                "docs/security.md does not name the bound")


for _test in (test_calls, test_tree, test_full, test_ring, test_paths, test_lines, test_words, test_gpu,
              test_deaths):
    _test.heavy = True
