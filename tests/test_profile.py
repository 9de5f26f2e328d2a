"""The numbers of the profile, as the supervisor prints them.

Read next: profile.c, tests/shards/count/main.c.
"""

# time is the count of instructions, 32 ns each: no host with other work shows
ICOUNT = ["-icount", "shift=5,align=off,sleep=off"]

# A call that is charged with a wait of two seconds costs this much at least on any clock of 1 GHz or more; the kernel's
# own time is far below, also on a host with other work.
TWO_SECONDS = 2000000000


def total_cycles(row):
    return row["cycles"] * row["syscalls"]


def test_calls(t):
    """A shard that makes N calls shows N, and its EXIT."""
    counts = [1, 10, 1000, 100000]
    result = t.guest("\n".join('shard s%d /t/count args="calls %d"' % (n, n) for n in counts) + "\nshard none /t/ok",
                     expect=0)
    profile = result.profile()
    for n in counts:
        t.equal(profile["s%d" % n]["syscalls"], n + 1, "calls of the shard that makes %d" % n)
    t.equal(profile["none"]["syscalls"], 1, "calls of the shard that makes none")
    t.equal([row["id"] for row in profile.values()], [0, 1, 2, 3, 4], "IDs")


def test_waiting(t):
    """Time that a shard is blocked is in its wall time and not in its cycles."""
    lines = ['shard w /t/count args="wait"', 'shard s /t/count args="speak"', "channel w s"]
    row = t.guest("\n".join(lines), expect=0, options=ICOUNT).profile()["w"]
    t.equal(row["syscalls"], 2, "calls")
    t.check(row["wall"] >= 2000, "wall time of %d ms, expected 2,000 or more" % row["wall"])
    t.check(total_cycles(row) < TWO_SECONDS // 2, "%d cycles for two calls, one of which waited" % total_cycles(row))


def test_death(t):
    """What a shard computes before it is killed is not charged to its calls."""
    lines = ['shard d /t/count args="die"', 'shard s /t/count args="spin"', "channel d s"]
    row = t.guest("\n".join(lines), expect=1, options=ICOUNT).profile()["d"]
    t.equal(row["syscalls"], 10, "calls")
    t.check(row["wall"] >= 100, "wall time of %d ms for a long computation" % row["wall"])
    share = total_cycles(row) / (row["wall"] * 1000000)  # about 1 on a clock of 1 GHz if all of it were charged
    t.check(share < 0.2, "%d cycles for ten short calls within %d ms" % (total_cycles(row), row["wall"]))


