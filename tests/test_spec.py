"""spec: what the calls mean, as tests/spec defines it, against what machines do.

Shards make calls at random, a log of all that they do is kept, and the specification plays it: it must agree with every
event. It must not agree any more when one of its rules is changed, nor with a kernel that lacks a protection.

Read next: tests/spec/README.md.
"""

import glob
import os
import pathlib
import re
import struct

import figures
import harness
import test_image
import test_stale

SEEDS, CALLS = range(1, 1 + 10), 100000  # of --full: in each of the kernels below
SHORT = {"product": 60000, "preempt": 20000, "plain": 20000}  # calls in the ordinary run, with one seed
KERNELS = {"product": {}, "preempt": {"PROVOKE": "PROVOKE_preempt"}, "plain": {"PLAIN": "1"}}
TRIED = "GRANT REVOKE RESTRICT INSPECT SEND RECV CALL PLEDGE MMAP MUNMAP SPAWN WAIT KILL YIELD".split()
LINES = 800  # of the specification, neither blank nor comment
RUN = ["--quiet", "-icount", "shift=4,align=off,sleep=off", "-m", "512M"]  # the same turns every time
MEMORY = "memory-backend-file,id=ram,share=on,size=512M,mem-path="
FIRST = re.compile(r"DIFFERENCE in event (\d+), call (\d+); what led to it:\n")
SPEC = sorted(os.path.relpath(path, harness.ROOT)
              for path in glob.glob(os.path.join(harness.ROOT, "tests", "spec", "*.c")))
CAST = """\
shard a /t/dice args="a SEED" priority=high restart=1000000 spawn=6 frames=120
shard b /t/dice args="B b SEED" restart=1000000 spawn=3 frames=80
shard c /t/dice args="B c SEED" restart=1000000
shard d /t/dice args="W d SEED" restart=1000000 spawn=2 frames=60
shard e /t/dice args="W e SEED" restart=1000000
shard f /t/dice args="H f SEED" priority=critical restart=1000000
shard g /t/dice args="g SEED" restart=3
shard h /t/dice args="h SEED" after=g
shard i /t/dice args="L i SEED" restart=1000000 spawn=3 frames=80
shard j /t/dice args="O j SEED" restart=1000000
shard k /t/dice args="O k SEED" restart=1000000
""" + "".join("channel %s %s\n" % tuple(pair) for pair in "fi ij ik jk ab ac bc cd de ef af be gh cg ad cf ce".split())


class Log:
    """The log of a run: the memory of the machine, where in it the log lies, what was booted, and how the run has
    ended. `good`: how many calls of each name have succeeded."""

    def __init__(self, t, seed, calls, defines, timeout=1800, cast=CAST, run=RUN):
        name = "-".join(["spec", str(calls)] + [re.sub("^[A-Z]+_", "", value) for value in defines.values()])
        build = t.variant(name, SPEC_LOG=calls, **defines)
        symbols = t.sh(["nm", os.path.join(build, "supervisor.elf")], expect=0).stdout
        base = re.search(r"^#define IMAGE_BASE +(\w+)", pathlib.Path(t.root, "layout.h").read_text(), re.M).group(1)
        self.place = int(re.search(r"^(\w+) \w spec_log$", symbols, re.M).group(1), 16) - int(base, 0)
        self.manifest = t.file("cast%d.conf" % seed, cast.replace("SEED", str(seed)))
        self.memory, self.test, self.good, self.seed = os.path.join(t.scratch, "memory"), t, {}, seed
        self.result = t.guest(cast.replace("SEED", str(seed)), build=build, timeout=timeout,
                              options=run + ["-object", MEMORY + self.memory, "-machine", "memory-backend=ram"])

    def play(self, program, *events):
        """Plays the log, or so many events of it, on a specification. Returns what the program says of the difference,
        or nothing, and how many calls."""
        played = self.test.sh([program, self.memory, self.place, self.manifest, *events], timeout=1800)
        self.test.check(played.returncode in (0, 1),
                        "the replay ended with status %d: %s" % (played.returncode, played.stderr[-200:]))
        calls = int(re.search(r"(?:call |^)(\d+)(?: calls|;)", played.stdout, re.M).group(1))
        self.good = {name: int(count) for name, count in re.findall(r"^(\w+): (\d+) good", played.stdout, re.M)}
        return played.stdout.strip() if played.returncode else "", calls

    def difference(self, story):
        """Returns a story in one line: the seed, the shortest prefix of the log that shows the difference, what was
        expected and what was seen."""
        events, calls = FIRST.match(story).groups()
        return "seed %d, the first %s events, %s calls: %s" % (self.seed, events, calls, " / ".join(
            story.split("\n")[-2:]))

    def remove(self):
        """Gives its place on the disk back: the next machine begins with empty memory."""
        os.remove(self.memory)


def compiled(t):
    """Compiles the program that plays logs. Returns its path."""
    program = os.path.join(t.scratch, "replay")
    t.sh(["gcc"] + harness.HostProgram.FLAGS + ["-o", program, "tests/replay/replay.c", "manifest.c"] + SPEC, expect=0)
    return program


def check_story(t, log, program, story):
    """A story has the events that led to the difference, in order, up to that which shows it, and what was expected and
    seen. It takes the shortest prefix of the log: one event less agrees, and the prefix alone tells the same."""
    match = re.match(FIRST.pattern + r"((?: +\d+  .*\n)+)expected: .+\nseen: .+$", story)
    t.check(match, "the story has another form: " + story)
    numbers = [int(number) for number in re.findall(r"^ +(\d+)  ", match.group(3), re.M)]
    t.equal(numbers, sorted(set(numbers)), "the order of the events")
    t.equal(numbers[-1], int(match.group(1)), "the last event of the story")
    t.equal(log.play(program, numbers[-1])[0], story, "the story of the prefix alone")
    t.equal(log.play(program, numbers[-1] - 1)[0], "", "the story of one event less")


def agree(t, kernel, others=()):
    """Runs shards on a kernel; the specification must agree with all that they do. The `others`, programs that play a
    log on one of which a rule was changed, must not."""
    program, total = compiled(t), 0
    for seed in SEEDS if t.full else SEEDS[:1]:
        wanted = CALLS if t.full else SHORT[kernel]
        log = Log(t, seed, wanted, KERNELS[kernel])
        story, calls = log.play(program)
        t.check(not story, story and log.difference(story))
        t.equal(log.result.status, 0, "the status of the run with seed %d" % seed)
        t.equal(calls, wanted, "calls of seed %d" % seed)
        t.equal([name for name in TRIED if not log.good[name]], [], "calls that seed %d has never seen succeed" % seed)
        for number, other in enumerate(others):
            story = log.play(other)[0]
            t.check(story, "seed %d agrees with the changed rule %d, too" % (seed, SEEN_IN_LOGS[number]))
            check_story(t, log, other, story)
        log.remove()
        total += calls
    t.note("%d calls, no difference" % total)


def test_product(t):
    """The kernel as it is does what the specification says, in all calls that shards make at random; a changed rule is
    noticed."""
    agree(t, "product", [changed(t, number, ["tests/replay/replay.c", "manifest.c"]) for number in SEEN_IN_LOGS])


def test_preempt(t):
    """So does one that lets others run wherever it may."""
    agree(t, "preempt")


def test_plain(t):
    """So does one without the fast path of CALL and without what is known of a shard's memory."""
    agree(t, "plain")


# Each of a priority of its own: who runs depends on what the calls do, never on when a tick comes. And time passes so
# slowly that the search for deadlocks runs only when nobody else can.
RANKED = """\
shard a /t/mix args="ask" priority=critical
shard b /t/mix args="answer" priority=low
shard c /t/mix args="ask" priority=high
shard d /t/mix args="answer" priority=normal
channel a b
channel c d
"""
SLOW_TIME = ["--quiet", "-icount", "shift=0,align=off,sleep=off", "-m", "512M"]
HAPPENED = "BEGINS RETURNS KILLS DIES ENDED FREES MAKES OPENS CLOSES GIVES REVOKES RAISES".split()


def happened(log):
    """Returns what happened in a run, in order: calls with their arguments and results, lives, ends, capabilities; and
    how many messages went by the fast path."""
    with open(os.path.join(log.test.root, "tests", "replay", "log.h"), encoding="utf-8") as header:
        kinds = re.findall(r"\bX\((\w+), ", header.read().split("#define LOG_EVENTS")[1])
    wanted = {1 + kinds.index(name) for name in HAPPENED}
    with open(log.memory, "rb") as memory:
        memory.seek(log.place)
        _, page, written = struct.unpack("<3Q", memory.read(24))
        events = []
        while len(events) < written:
            memory.seek(page)
            piece = memory.read(4096)
            page = struct.unpack_from("<Q", piece)[0]
            events += struct.iter_unpack("<8B6Q", piece[8:8 + (4096 - 8) // 56 * 56])
    fast = sum(event[0] == 1 + kinds.index("SENT_FAST") for event in events[:written])
    return [event for event in events[:written] if event[0] in wanted], fast


def same(t, cast, calls, *kernels):
    """Runs shards on kernels. Returns of each what happened, and how many messages went by the fast path."""
    found = []
    for defines in kernels:
        log = Log(t, SEEDS[0], calls, defines, cast=cast, run=SLOW_TIME)
        t.equal(log.result.status, 0, "the status of the run")
        found.append(happened(log))
        log.remove()
    return found


def test_same(t):
    """Under the same schedule the kernel gives the same results with what stands apart for speed and without: where
    priorities alone say who runs, the same random calls are made in the same order, and find the same. In a scene where
    a kernel would pass by who is more urgent than the receiver of a CALL, that one does not."""
    calls, plain = 40000 if t.full else 8000, {"PLAIN": "1"}
    (first, fast), (second, none) = same(t, RANKED, calls, {}, plain)
    t.check(fast > calls // 20 and not none, "%d messages by the fast path, and %d without it" % (fast, none))
    at = next((i for i, pair in enumerate(zip(first, second)) if pair[0] != pair[1]), -1)
    t.check(first == second, "event %d: %s, plain: %s" % (at, first[at], second[at]))
    t.check(len(first) > calls, "only %d events were found" % len(first))
    scene = test_stale.cast("rank", "client server middle", "client server, client middle", client="priority=high",
                            server="priority=low")
    (product, _), (other, _), (ablated, _) = same(t, scene, calls, {}, plain, {"ABLATION": "ABLATION_rank"})
    t.equal(product, other, "what happens in the scene")
    t.check(ablated != product, "a kernel without the protection rank does the same")
    t.note("%d events are the same, %d messages by the fast path" % (len(first), fast))


test_same.heavy = True


test_product.heavy = True


def test_table(t):
    """tests/spec/README.md names each kernel that the replay must notice."""
    with open(os.path.join(t.root, "tests", "spec", "README.md"), encoding="utf-8") as page:
        rows = re.findall(r"^\| (`.*`) \| ", page.read().split("## What it finds")[1], re.M)
    t.equal({name for row in rows for name in re.findall(r"`(\w+)`", row)}, set(WITHOUT), "kernels of the table")


def test_size(t):
    """The specification is small."""
    lines = sum(test_image.code_lines(os.path.join(t.root, path)) for path in SPEC + ["tests/spec/spec.h"])
    t.check(lines < LINES, "%d lines, fewer than %d wanted" % (lines, LINES))
    figures.hold(t, {"spec.kernels": len(WITHOUT), "spec.rules": len(CHANGED), "spec.seen": len(SEEN_IN_LOGS)})
    t.note("%d lines" % lines)


# ---- A kernel without a protection ----

FEW = 20000  # calls of such a kernel, with each of SEEDS until one differs: most do in the first thousand
HANGS = 100  # seconds: some are never through with them; what they have done until then is in the log

# The protection: whether it takes a kernel that lets others run wherever it may.
WITHOUT = {"serial": False, "circle": False, "call_over": False, "raise": True, "kill_first": False,
           "killed_flag": False, "lost": False, "held": False,
           "fast_held": True, "forget": False, "quota": False, "pledge": False, "grant": False,
           "endpoint": False}


def without(t, name, seed, provoke=False):
    """Returns the log of a kernel without a protection."""
    defines = {"ABLATION": "ABLATION_" + name}
    return Log(t, seed, FEW, dict(defines, PROVOKE="PROVOKE_preempt") if provoke else defines, HANGS)


def make(name, provoke):
    """Returns the test of one kernel."""
    def test(t):
        program = compiled(t)
        for seed in SEEDS:
            log = without(t, name, seed, provoke)
            story = log.play(program)[0]
            log.remove()
            if story:
                t.note(log.difference(story))
                return
        t.check(False, "no difference in %d calls" % (len(SEEDS) * FEW))
    test.__doc__ = "The specification does not agree with a kernel without the protection %s." % name
    test.full_only = True
    return test


for _name, _provoke in WITHOUT.items():
    globals()["test_without_" + _name] = make(_name, _provoke)


def test_story(t):
    """A difference between a machine and the specification is told as a story, with the seed and the shortest prefix of
    the log that shows it; the same seed tells it again."""
    program, stories = compiled(t), []
    for _ in range(2):
        log = without(t, "killed_flag", SEEDS[0])
        stories.append(log.play(program)[0])
        check_story(t, log, program, stories[-1])
        log.remove()
    t.equal(stories[1], stories[0], "the story of the second run")
    told = log.difference(stories[0])
    t.check(re.match(r"seed 1, the first \d+ events, \d+ calls: expected: that the rules are kept / "
                     r"seen: a shard dies that has no reason to$", told), told)
    t.note(told)


# ---- A rule that is changed ----

# File, what stands there, what is put in its place.
CHANGED = [
    ("capability", "gifts >= GIFTS", "gifts > GIFTS"),
    ("capability", "|| free == 1", ""),
    ("capability", "if (below(cap, id)) cap->gone", "if (cap->id == id) cap->gone"),
    ("capability", "rights & ~cap->rights) return -COCONUT_E_RIGHTS;\n\tif (world",
     "0) return -COCONUT_E_RIGHTS;\n\tif (world"),
    ("channel", "mine->caller != NOBODY && mine->caller != me->slot", "false"),
    ("channel", "other->queued == QUEUE", "other->queued == QUEUE - 1"),
    ("channel", "closing->queued = 0;", ""),
    ("channel", "call->told = -COCONUT_E_BUSY", "call->told = 0"),
    ("channel", "mine->queue[i] = mine->queue[i + 1]", "mine->queue[i] = mine->queue[i]"),
    ("life", "(int64_t)(uint32_t)other->code : -1", "(int64_t)other->code : -1"),
    ("life", "line->restarts < line->restart", "true"),
    ("memory", "frames < quota ? NULL", "frames <= quota ? NULL"),
    ("memory", "page != STACK && !mapped", "page != STACK && page != STACK - 1 && !mapped"),
    ("call", "me->calls &= left", "me->calls = left"),
    ("order", "life->priority < me->priority", "life->priority < me->priority - 1"),
    ("order", "return spec_cap(life->call.cap) ? NULL :", "return true ? NULL :"),
    ("order", "if (spec_waits_for(life->slot) != set)", "if (0)"),
]


SEEN_IN_LOGS = (2, 5, 9)  # some of these, by their place


def changed(t, number, sources, options=()):
    """Compiles a program with one rule changed. Returns its path."""
    name, old, new = CHANGED[number]
    path = os.path.join("tests", "spec", name + ".c")
    source = pathlib.Path(t.root, path).read_text()
    t.equal(source.count(old), 1, "occurrences of `%s` in %s" % (old, path))
    copy = t.file("%d/%s.c" % (number, name), source.replace(old, new).replace('"spec.h"', '"tests/spec/spec.h"'))
    program = os.path.join(t.scratch, "changed%d" % number)
    t.sh(["gcc", "-O0", "-I.", "-Ishards/lib", "-Itests/host", *options, "-o", program, *sources, copy] +
         [other for other in SPEC if other != path], expect=0)
    return program


def test_rules(t):
    """The scenes of tests/host/spec.c notice each rule that is changed."""
    text = pathlib.Path(t.root, "tests", "host", "spec.c").read_text()
    options = re.search(r"OPTIONS: *(.*)", text).group(1).split()
    for number, (name, _, new) in enumerate(CHANGED):
        program = changed(t, number, ["tests/host/spec.c", "cap.c"], options)
        t.check(t.sh([program]).returncode == 1, "nothing fails with `%s` in %s.c" % (new, name))
    t.note("%d rules" % len(CHANGED))
