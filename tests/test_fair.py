"""Who gets how much of the CPU: equals get equal time, whatever they do, and a CALL waits for no equal.

The trace of a run (run.sh --trace) says who ran from when to when. Time is counted in instructions (-icount), so that a
figure is the same at each run and on each host.

Read next: tests/shards/fair/main.c, which does the work; sched.c.
"""

import fcntl
import json
import os
import time

# of -icount: 2 ns an instruction, so that a tick has about 500,000, and what a turn overruns by is little of it
SHIFT = 1
MIDDLE, COARSE = 3, 6  # where the trace would be too long: 8 and 64 ns an instruction
TICK = 1.0  # ms


def trace(t, lines, build=None, shift=SHIFT, pause=0):
    """Runs a manifest. Returns [(name, start, end)] of the turns on the CPU, in ms, and the events of the trace.
    `pause`: see read_slowly."""
    out = os.path.join(t.scratch, "trace%d.json" % (t.boots + 1))
    boot = t.start(manifest="\n".join(lines),
                   add={"/t/fair": t.shard("fair"), "/big": t.file("big", b"x" * (4 << 20))},
                   options=["--trace", out] + (["--build", build] if build else []) +
                   ["-icount", "shift=%d,align=off,sleep=off" % shift], expect=0, timeout=600)
    if pause:
        read_slowly(boot, pause)
    boot.wait()
    with open(out, encoding="utf-8") as file:
        found = json.load(file)
    t.equal(found["otherData"]["lost"], 0, "events that the trace has lost")
    events = found["traceEvents"]
    cpu = next(e["tid"] for e in events if e["name"] == "thread_name" and e["args"]["name"] == "CPU: who runs")
    turns = [(e["name"], e["ts"] / 1000, (e["ts"] + e["dur"]) / 1000)
             for e in events if e["ph"] == "X" and e["tid"] == cpu]
    return sorted(turns, key=lambda turn: turn[1]), events


def cpu_time(parent):
    """Returns for how many seconds the child of a process has run, 0 when none runs."""
    try:
        with open("/proc/%d/task/%d/children" % (parent, parent), encoding="ascii") as file:
            child = file.read().split()[0]
        with open("/proc/%s/stat" % child, encoding="ascii", errors="replace") as file:
            state, *words = file.read().rsplit(")", 1)[1].split()
        used = sum(int(ticks) for ticks in words[10:12]) / os.sysconf("SC_CLK_TCK")  # proc(5): utime, stime
        return used if state != "Z" else 0
    except (OSError, IndexError):
        return 0


def read_slowly(boot, pause):
    """Reads what a boot prints, at most 4 KiB whenever QEMU has run for `pause` seconds. So it is equally slow for the
    guest on every host."""
    fcntl.fcntl(boot.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    while boot.more():
        end = cpu_time(boot.process.pid) + pause
        while pause < end > cpu_time(boot.process.pid) > 0:
            time.sleep(0.01)


def shares(turns, start, end):
    """Returns {name: ms on the CPU} in a window."""
    found = {}
    for name, begin, stop in turns:
        time = min(stop, end) - max(begin, start)
        if time > 0:
            found[name] = found.get(name, 0) + time
    return found


# Shares are those of a window of 200 ms; a shard works until then, and a little longer.
START, END, UNTIL = 50, 250, 260


def line(name, kind, until, more=""):
    """Returns the line of a shard in a manifest; kinds that start children may."""
    more += " spawn=yes" if kind in ("spawn", "parent") else ""
    return 'shard %s /t/fair args="%s %d" frames=2000 %s' % (name, kind, until, more)


def check_equal(t, found, names, what):
    """The named shards have the same share, within one tick."""
    mean = sum(found.get(name, 0) for name in names) / len(names)
    for name in names:
        t.log("%s: %s has %.2f of %.2f ms" % (what, name, found.get(name, 0), mean))
    wrong = ["%s %.1f" % (name, found.get(name, 0)) for name in names if abs(found.get(name, 0) - mean) > TICK]
    t.check(not wrong, "%s: %s of a mean of %.1f ms" % (what, ", ".join(wrong), mean))
    return max(abs(found.get(name, 0) - mean) for name in names)


def mixes():
    """Yields the kinds of N equals that run together: each kind beside each other."""
    yield [("compute", "map"), ("calls", "read"), ("memory", "say"), ("map", "map"), ("compute", "compute"),
           ("parent", "map")], 2
    yield [("compute", "calls", "map"), ("read", "memory", "say"), ("map", "parent", "compute")], 3
    yield [("compute", "calls", "map", "read", "memory"), ("say", "map", "parent", "compute", "read")], 5
    yield [("compute", "calls", "map", "read", "memory", "say", "parent", "map")], 8


def test_equals(t):
    """2, 3, 5 and 8 equals that compute, make short and long calls, print, or start children that exit: each has its
    share over 200 ticks within one."""
    worst = 0
    for groups, count in mixes():
        for kinds in groups:
            names = ["s%d" % i for i in range(count)]
            turns, _ = trace(t, [line(name, kind, UNTIL) for name, kind in zip(names, kinds)])
            worst = max(worst, check_equal(t, shares(turns, START, END), names, " ".join(kinds)))
    names = ["compute", "map"]
    build = t.variant("trace-turns", TRACE=4096, ABLATION="ABLATION_turns")
    turns, _ = trace(t, [line(name, name, UNTIL) for name in names], build=build)
    found = shares(turns, START, END)
    apart = abs(found["compute"] - found["map"]) / 2
    t.check(apart > 10 * TICK, "the control: without turns two are %.2f ms from the mean" % apart)
    t.note("at most %.2f ms from the mean, and %.0f without turns" % (worst, apart))


def test_disturbed(t):
    """Equals keep their shares beside one that starts children, which exit, and one that yields in the middle of its
    turn."""
    for others in (["spawn"], ["nap"], ["spawn", "nap", "nap"]):
        names = ["s%d" % i for i in range(3)]
        lines = [line(name, kind, UNTIL) for name, kind in zip(names, ("compute", "map", "calls"))]
        lines += [line("other%d" % i, kind, UNTIL) for i, kind in enumerate(others)]
        turns, _ = trace(t, lines)
        check_equal(t, shares(turns, START, END), names, "beside " + " ".join(others))


def test_slow_reader(t):
    """A reader that takes its time, be it a terminal or the wire, costs whoever prints its own turns, and nobody
    else's. Where others wait for the UART with it they do not have their share."""
    worst = 0
    for printer, build in ("say", None), ("euros", None), ("say", t.variant("trace-uart", TRACE=4096,
                                                                            ABLATION="ABLATION_uart")):
        kinds = ["compute", printer, "calls"]
        turns, events = trace(t, [line(kind, kind, 750) for kind in kinds], build=build, shift=MIDDLE, pause=0.05)
        found = shares(turns, 500, 700)  # the pipes to the reader are full by then
        if build:
            apart = found["say"] - sum(found.values()) / 3
            t.check(apart > 10 * TICK, "the control: the one that prints has %.2f ms more than the mean" % apart)
        else:
            worst = max(worst, check_equal(t, found, kinds, "one prints for a slow reader"))
            longest = max(durations(events, "SERIAL_WRITE")) / 1000
            t.check(longest > 10 * TICK, "the reader was never slow: no call took longer than %.2f ms" % longest)
    t.note("at most %.2f ms from the mean, %.0f where others wait with it" % (worst, apart))


def test_newcomer(t):
    """A shard that begins in the middle of a tick has its share from its first turn on."""
    lines = [line("old", "compute", 400), line("first", "nap", 133), line("new", "map", 400, "after=first")]
    turns, _ = trace(t, lines)
    start = next(begin for name, begin, _ in turns if name == "new")
    for ticks in (2, 10, 50, 200):
        found = shares(turns, start, start + ticks * TICK)
        check_equal(t, found, ["old", "new"], "the first %d ticks" % ticks)


def durations(events, call):
    """Returns how long each call of that name took, in us."""
    return [e["dur"] for e in events if e["ph"] == "X" and e.get("cat") == "call" and e["name"].startswith(call)]


def test_long_call(t):
    """A long call beside a spinner takes at most 2.2 times as long as alone; or much longer, where a shard that goes on
    inside a call finds the last tick still to be attended to."""
    both = [line("one", "once", 0), line("spinner", "compute", 200)]
    alone, beside = (durations(trace(t, lines, shift=COARSE)[1], "FS_MAP")[0] for lines in (both[:1], both))
    t.note("%.1f ms alone, %.1f beside a spinner" % (alone / 1000, beside / 1000))
    t.check(beside <= 2.2 * alone, "FS_MAP takes %.0f us alone, and %.0f beside a spinner" % (alone, beside))
    beside = durations(trace(t, both, build=t.variant("trace-turns", TRACE=4096, ABLATION="ABLATION_turns"),
                             shift=COARSE)[1], "FS_MAP")[0]
    t.check(beside > 4 * alone, "the control: %.0f us" % beside)


def longest_wait(turns, name, start, end):
    """Returns the longest time in ms between two turns of a shard inside a window."""
    mine = [(begin, stop) for who, begin, stop in turns if who == name and start <= begin <= end]
    return max(second[0] - first[1] for first, second in zip(mine, mine[1:]))


PAIR = [line("ask", "ask", 120), line("answer", "answer", 120), "channel ask answer"]


def test_pair(t):
    """Two that CALL each other hand the CPU over past an equal, share a turn, and the tick ends it as any other."""
    turns, _ = trace(t, [line("equal", "compute", 120)] + PAIR, shift=MIDDLE)
    found = shares(turns, 20, 110)
    check_equal(t, {"equal": found["equal"], "pair": found["ask"] + found["answer"]}, ["equal", "pair"],
                "an equal and a pair")
    wait = longest_wait(turns, "equal", 20, 110)
    t.check(wait <= TICK * 1.1, "the equal waits for %.2f ms, more than a tick" % wait)
    switches = [name for name, begin, _ in turns if 20 < begin < 110]
    t.check(switches.count("equal") < switches.count("ask") / 10, "the pair does not go past the equal")


def longest_run(turns, names, start, end):
    """Returns the longest time in ms for which only the named shards have run without a pause."""
    longest = began = 0
    for name, begin, stop in turns:
        began = began or begin if name in names else 0
        if began and start <= began <= end:
            longest = max(longest, stop - began)
    return longest


def test_turns(t):
    """Nobody waits longer than a tick for another one's turn, wherever between two ticks that begins: beside one that
    yields in the middle of its turns a pair, and an equal, run for a tick at a time. Without the timer for the rest of
    a turn they do not."""
    lines = [line("equal", "compute", 250), line("nap", "nap", 250)] + [text.replace("120", "250") for text in PAIR]
    for build in None, t.variant("trace-turns", TRACE=4096, ABLATION="ABLATION_turns"):
        turns, _ = trace(t, lines, build=build, shift=MIDDLE)
        runs = [longest_run(turns, names, 20, 240) for names in (["ask", "answer"], ["equal"])]
        t.log("%s: the pair runs for at most %.2f ms at a time, the equal for %.2f" % (build, *runs))
        if build:
            t.check(max(runs) > TICK * 1.2, "the control: a turn takes at most %.2f ms" % max(runs))
        else:
            t.check(max(runs) <= TICK * 1.1, "a turn takes %.2f ms" % max(runs))
            t.note("at most %.2f ms at a time" % max(runs))


def test_pairs(t):
    """Pairs among each other take turns: each has its share within one tick, or two where one of a pair has just
    begun."""
    lines = []
    for i in range(4):
        lines += [line("ask%d" % i, "ask", UNTIL), line("answer%d" % i, "answer", UNTIL),
                  "channel ask%d answer%d" % (i, i)]
    turns, _ = trace(t, lines, shift=COARSE)
    found = shares(turns, START, END)
    sums = {"pair%d" % i: found["ask%d" % i] + found["answer%d" % i] for i in range(4)}
    check_equal(t, sums, list(sums), "pairs")


def test_inversion(t):
    """What docs/security.md says of priorities along CALL: an urgent client waits for a server of low priority as long
    as one of middle priority computes; nobody lends the server its priority."""
    lines = [line("client", "ask", 100, "priority=high"), line("server", "answer", 0, "priority=low"),
             line("middle", "compute", 200),
             "channel client server"]
    turns, _ = trace(t, lines)
    found = shares(turns, 20, 190)
    t.equal(set(found) - {"supervisor"}, {"middle"}, "who runs while the one of middle priority computes")


test_equals.heavy = test_disturbed.heavy = True


def test_stories(t):
    """Of 2, 3 and 8 equal inference shards the slowest and the fastest differ by less than 5 % in wall time and in time
    on the CPU."""
    differences = []
    for count in (2, 3, 8):
        lines = ['shard s%d /shards/llama-inference args="steps=60 prompt=Once"' % i for i in range(count)]
        result = t.boot(manifest="\n".join(lines), options=["-icount", "shift=3,align=off,sleep=off"], expect=0,
                        timeout=600)
        walls = [row["wall"] for row in result.profile().values()]
        differences.append((max(walls) - min(walls)) / max(walls))
        t.log("%d: %s" % (count, walls))
        t.check(differences[-1] < 0.05, "of %d equals the wall times are %s ms" % (count, walls))
    t.note("%s %% between the slowest and the fastest" % ", ".join("%.1f" % (100 * d) for d in differences))
