"""The life of shards: memory that is zeroed, restarts, order, priorities, and waits that can never end.

Read next: shard.c, spawn.c.
"""

import re

from test_calls import BIG


def test_zeroing(t):
    """What a shard leaves in memory, by exit or by death, is zeros for the next; no frame is lost."""
    quota = "frames=30000"
    lines = ['shard w1 /t/fill args="exit" ' + quota, 'shard r1 /t/fill args="zeros" after=w1 ' + quota,
             'shard w2 /t/fill args="die" after=r1 ' + quota, 'shard r2 /t/fill args="zeros" after=w2 ' + quota]
    result = t.guest("\n".join(lines), expect=1)
    t.equal(result.endings(), {"w1": 0, "r1": 0, "w2": "killed", "r2": 0}, "ends")


def test_zeroing_control(t):
    """The same battery fails on a kernel that does not zero what it frees."""
    build = t.variant("no-zeroing", ABLATION="ABLATION_zeroing")
    quota = "frames=30000"
    lines = ['shard w1 /t/fill args="exit" ' + quota, 'shard r1 /t/fill args="zeros" after=w1 ' + quota]
    result = t.guest("\n".join(lines), build=build)
    t.check(result.endings().get("r1") != 0, "the memory was zero although nobody had zeroed it")


def test_restart(t):
    """restart=3 gives a killed shard three more lives with a clean slate, and its peer's handle is good again."""
    lines = ['shard a /t/relive args="victim" restart=3', 'shard b /t/relive args="witness"', "channel a b"]
    result = t.guest("\n".join(lines), files={"/big": BIG}, expect=1)
    t.equal(result.endings(), {"a": "killed", "b": 0}, "ends")
    t.equal(re.findall(r"^Shard 0 \(a\) restarts: (\d of \d)$", result.text, re.M), ["1 of 3", "2 of 3", "3 of 3"],
            "lives")
    t.equal(result.text.count("Shard 0 (a) killed"), 4, "deaths")
    result = t.guest("\n".join(lines), files={"/big": BIG}, build=t.variant("ablation-drop", ABLATION="ABLATION_drop"))
    t.check(re.search(r"main\.c:\d+: coconut_cap_inspect\(0\) is ", result.text),
            "the control: capabilities that nobody has dropped are gone")


# A long call, how many pieces of it come before the kill, and to how many preemption points it may come after that: to
# the one at the end of each call, and SPAWN to those of giving back what the new shard has.
LEFT = [("fs_read", 0, 1), ("mmap", 5, 1), ("munmap", 0, 1), ("munmap", 9, 1), ("fs_map", 3, 1), ("serial_write", 2, 1),
        ("fs_open", 0, 1), ("spawn", 9, 16), ("gpu_dma", 4, 1)]
LEAVES = r"^Provoked: killed in call \d+, then at (\d+) more preemption points$"


def killed_in(t, call, pieces, *others):
    """Kills a shard in the middle of a call. Returns to how many preemption points the shard has come after that."""
    lines = ['shard killer /t/leave args="killer %d%s"' % (pieces, " gpu" * (call == "gpu_dma")),
             'shard victim /t/leave args="%s" spawn=yes frames=400' % call, "channel killer victim"]
    files = {"/d/%02d" % i: b"" for i in range(100)}
    files.update({"/big": BIG, "/large": b"\x90" * (200 << 12)})
    ablations = {"ABLATION": "ABLATION_" + others[0]} if others else {}
    build = t.variant("-".join(("provoke-kill",) + others), PROVOKE="PROVOKE_kill", **ablations)
    result = t.guest("\n".join(lines + ["gpu killer", "gpu victim"] * (call == "gpu_dma")), files=files, verbose=True,
                     build=build, options=["-machine", "pc"] * (call == "gpu_dma"))
    ends = result.endings()
    t.equal((ends["killer"], ends["victim"]), (0, "killed"), "ends in " + call)
    t.check("refused" not in result.text.split("Provoked")[0], "a refusal is printed for a shard that is killed")
    left = re.findall(LEAVES, result.text, re.M)
    t.check(left, "no death is told in " + call)
    return max(map(int, left))


def test_leaves_its_call(t):
    """A shard that is killed in the middle of a long call does not begin another piece of it; a SPAWN gives back what
    the new shard has. REVOKE is done to its end, as the death would have to do it."""
    for call, pieces, most in LEFT:
        more = killed_in(t, call, pieces)
        t.check(more <= most, "%s goes on to %d preemption points" % (call, more))
    t.check(killed_in(t, "revoke", 1) >= 4, "REVOKE stops half done")


def test_leaves_control(t):
    """Without that it does the whole call first."""
    for call, pieces, most in LEFT:
        more = killed_in(t, call, pieces, "leave")
        t.check(more > most + 20, "%s goes on to %d preemption points only" % (call, more))


def test_exit_with_minus_one(t):
    """EXIT(-1) is no death: the shard is not restarted, its code is shown as what it is, and WAIT tells it from a
    kill."""
    lines = ['shard a /t/minus args="exits" restart=3', 'shard b /t/minus args="dies" restart=1',
             'shard p /t/minus args="parent" spawn=yes']
    result = t.guest("\n".join(lines), expect=1)
    t.equal(result.endings(), {"a": -1, "b": "killed", "p": 0}, "ends")
    t.equal(re.findall(r"^Shard \d+ \((\w+)\) restarts", result.text, re.M), ["b"], "who is restarted")
    result = t.guest("\n".join(lines), build=t.variant("ablation-killed_flag", ABLATION="ABLATION_killed_flag"))
    t.equal(result.endings()["a"], "killed", "the end of `a` in the control, where the code alone says who was killed")
    t.check(re.search(r"^Shard 0 \(a\) restarts: 3 of 3$", result.text, re.M), "the control: EXIT(-1) costs no life")
    t.check(result.endings()["p"] != 0, "the control: WAIT tells EXIT(-1) from a kill")


def test_many_lives(t):
    """A shard that dies a thousand times (10,000 with --full) leaves nothing behind: the kernel counts its frames."""
    lives = 10000 if t.full else 1000
    result = t.guest('shard a /t/faults args="ud2" restart=%d\nshard b /t/ok' % (lives - 1), expect=1, timeout=1200)
    t.equal(result.text.count("Shard 0 (a) killed"), lives, "deaths")
    t.equal(result.endings(), {"a": "killed", "b": 0}, "ends")


def test_after(t):
    """after=NAME starts a shard when the named one has ended, whether it exits or is killed, and in chains."""
    lines = ['shard first /t/spin args="20"', 'shard second /t/spin args="1" after=first',
             'shard dies /t/faults args="ud2" after=second', 'shard last /t/spin args="1" after=dies',
             "shard none /t/missing after=last", "shard beyond /t/ok after=none"]
    lines[4] = "shard none /no/such/program after=last"
    result = t.guest("\n".join(lines), expect=1)
    order = re.findall(r"^Shard \d+ \((\w+)\) ended", result.text, re.M)
    t.equal(order, ["first", "second", "dies", "last", "beyond"], "order of the ends")
    words = [line for line in result.lines if line in ("begins", "ends")]
    t.equal(words, ["begins", "ends"] * 3, "order of the lines")
    t.check("Shard 4 (none) cannot start from /no/such/program" in result.text, "nobody says why `none` does not start")


def test_priorities(t):
    """Shards of a higher priority run first, whoever spins below them."""
    lines = ['shard low /t/spin args="10" priority=low', 'shard normal /t/spin args="10"',
             'shard high /t/spin args="10" priority=high', 'shard critical /t/spin args="10" priority=critical',
             'shard trigger /t/ok priority=critical', 'shard late /t/spin args="10" priority=high after=trigger']
    result = t.guest("\n".join(lines), expect=0)
    order = re.findall(r"^Shard \d+ \((\w+)\) ended", result.text, re.M)
    t.equal(order[-2:], ["normal", "low"], "the last two ends")
    t.check(order.index("critical") < order.index("high"), "high ended before critical")


def test_preemption(t):
    """A high shard that starts while a normal one spins without a system call is not kept waiting."""
    lines = ['shard spinner /t/spin args="2000"', 'shard peer /t/lock args="s0r0" priority=high',
             'shard other /t/lock args="r0s0" priority=high', "channel peer other"]
    result = t.guest("\n".join(lines), expect=0, timeout=400)
    order = re.findall(r"^Shard \d+ \((\w+)\) ended", result.text, re.M)
    t.equal(order[-1], "spinner", "last end")
    t.check(result.profile()["spinner"]["switches"] >= 1, "the spinner never ran")


def test_round_robin(t):
    """Equals take turns, although none of them makes a system call: all begin before the first one ends. Without
    preemption each ends before the next one begins."""
    lines = "\n".join('shard s%d /t/spin args="150"' % i for i in range(4))
    for build, wanted in (t.variant("ablation-preempt", ABLATION="ABLATION_preempt"), ["begins", "ends"] * 4), \
            (None, ["begins"] * 4 + ["ends"] * 4):
        result = t.guest(lines, expect=0, build=build)
        t.equal([line for line in result.lines if line in ("begins", "ends")], wanted, "order of the lines")
    for name, row in result.profile().items():
        t.check(row["switches"] >= 20, "%s was switched to only %d times" % (name, row["switches"]))


def test_many_shards(t):
    """64 shards live at once."""
    lines = ['shard s%d /t/lock args="w"' % i for i in range(64)]
    result = t.guest("\n".join(lines), verbose=True, expect=0)
    t.equal(len(result.endings()), 64, "ends")
    steps = re.findall(r"^Shard \d+ \(\w+\) (started|ended)", result.text, re.M)
    t.equal(steps, ["started"] * 64 + ["ended"] * 64, "order of starts and ends")


def deadlock(t, lines, killed, alive=(), timeout=300):
    """Boots a manifest of `lock` shards and checks who is named and killed, and who ends well."""
    result = t.guest("\n".join(lines), expect=1, timeout=timeout)
    named = [line for line in result.lines if line.startswith("Deadlock:")]
    t.check(named, "no deadlock is reported")
    for name in killed:
        t.check(any(re.search(r"\b%s\b" % name, line) for line in named), "%s is not named in: %s" % (name, named))
    expected = dict([(name, "killed") for name in killed] + [(name, 0) for name in alive])
    t.equal(result.endings(), expected, "ends")
    t.equal(set(result.profile()), set(expected), "rows of the profile")
    t.equal(result.text.split("\n")[-2:], ["Halting.", ""], "last line")
    return result


def test_deadlock_of_two(t):
    """Two that wait for each other: by receiving, by CALL and by sending into full queues."""
    for words in ("r0", "c0r0r0", "f0"):
        deadlock(t, ['shard ann /t/lock args="%s"' % words, 'shard bob /t/lock args="%s"' % words, "channel ann bob"],
                 ["ann", "bob"])


def test_deadlock_of_three(t):
    """Three in a circle, each of which would answer if it were sent something first."""
    lines = ['shard ann /t/lock args="r0s1"', 'shard bob /t/lock args="r1s0"', 'shard cid /t/lock args="r1s0"',
             "channel ann bob", "channel bob cid", "channel cid ann"]
    deadlock(t, lines, ["ann", "bob", "cid"])


def test_deadlock_beside_others(t):
    """Two that wait for each other while an unrelated shard works on, and a third that depends on them."""
    lines = ['shard ann /t/lock args="r0"', 'shard bob /t/lock args="r0"', 'shard worker /t/lock args="w"',
             'shard next /t/ok after=ann', "channel ann bob"]
    deadlock(t, lines, ["ann", "bob"], ["worker", "next"])


CLIENTS = ['shard early /t/lock args="c0"', 'shard ann /t/lock args="g0r2"', 'shard bob /t/lock args="r0"',
           'shard late /t/lock args="c0"',
           "channel early ann", "channel late ann", "channel ann bob"]


def test_deadlock_has_clients(t):
    """Two that wait for each other, and clients of theirs: only the two are killed, and the clients hear of it."""
    names = ["early", "late"]
    result = t.guest("\n".join(CLIENTS), expect=1)
    t.equal([result.endings()[name] for name in ("ann", "bob")], ["killed", "killed"], "the ends of the two")
    t.equal([result.endings()[name] for name in names], [7, 7], "the ends of the clients: E_CLOSED")
    t.equal(len([line for line in result.lines if line.startswith("Deadlock:")]), 1, "deadlocks that were found")
    build = t.variant("ablation-circle", ABLATION="ABLATION_circle")
    result = t.guest("\n".join(CLIENTS), expect=1, build=build)
    t.equal([result.endings()[name] for name in names], ["killed", "killed"],
            "the ends of the clients, when all who wait are killed")


def test_deadlock_ended_by_a_call(t):
    """Two that wait for each other are no deadlock as long as a third may begin a CALL at the end of one of them, which
    ends its wait with E_BUSY."""
    lines = ['shard ann /t/lock args="p2g0x"', 'shard cid /t/lock args="g1x"', 'shard bob /t/lock args="wwc1"',
             "channel ann cid", "channel ann cid", "channel ann bob"]
    result = t.guest("\n".join(lines), expect=1, options=["-icount", "shift=4,align=off,sleep=off"])
    t.equal([line for line in result.lines if line.startswith("Deadlock:")], [], "deadlocks that were found")
    ends = result.endings()
    t.equal((ends["ann"], ends["cid"]), (0, 0), "the ends of the two")
    t.check(ends["bob"] in (4, 7), "bob's CALL ended with %s, not with E_BADHANDLE or E_CLOSED" % ends["bob"])


def test_two_deadlocks(t):
    """Two circles at once, and one who waits for both: each circle is found, and nobody else is killed."""
    lines = ['shard %s /t/lock args="r0"' % name for name in ("ann", "bob", "cid", "dan")]
    lines += ['shard both /t/lock args="g0g1"', "channel ann bob", "channel cid dan", "channel both ann",
              "channel both cid"]
    result = t.guest("\n".join(lines), expect=1)
    t.equal(len([line for line in result.lines if line.startswith("Deadlock:")]), 2, "deadlocks that were found")
    t.equal(result.endings(), {"ann": "killed", "bob": "killed", "cid": "killed", "dan": "killed", "both": 0}, "ends")


def test_family(t):
    """A family has a quota of shards: who starts as many as it can leaves slots to others, and one that ends makes
    room."""
    for word, count in (("yes", 16), ("40", 40)):
        lines = ['shard hog /t/family args="hog=%d" spawn=%s' % (count, word),
                 'shard neighbour /t/family args=neighbour spawn=1',
                 "channel hog neighbour"]
        t.guest("\n".join(lines), expect=0)
    build = t.variant("ablation-quota", ABLATION="ABLATION_quota")
    result = t.guest("\n".join(lines), expect=1, build=build)
    t.check("tests/shards/family/main.c" in result.text, "without quotas both end well too")


def test_own_slots(t):
    """Others fill a shard's slots for capabilities only as far as one is left for its own calls."""
    for own, copies in ((2, 8), (10, 5), (15, 0)):
        lines = ['shard full /t/family args="full=%d" spawn=yes' % own,
                 'shard filler /t/family args="filler=%d"' % copies, "shard other /t/ok"]
        lines += ["channel full filler"] + ["channel full other"] * (own - 2)
        t.guest("\n".join(lines), expect=0)
    result = t.guest("\n".join(lines), expect=1, build=t.variant("ablation-slots", ABLATION="ABLATION_slots"))
    t.check(re.search(r"coconut_cap_grant\(0, 0, \w+\) is 15 .*, expected -12", result.text),
            "the control: the last slot stays free")


def test_no_deadlock(t):
    """Waits that somebody can still end are left alone, also over a long time and a shard that has yet to start."""
    lines = ['shard ann /t/lock args="r0"', 'shard worker /t/lock args="w"', 'shard bob /t/lock args="s0" after=worker',
             "channel ann bob"]
    result = t.guest("\n".join(lines), expect=0)
    t.check("Deadlock" not in result.text, "a deadlock is reported where there is none")


def test_deadlock_through_after(t):
    """A circle that leads through shards which start only after one of those that wait: nobody can ever go on."""
    lines = ['shard ann /t/lock args="r0"', "shard mid /t/ok after=ann", 'shard bob /t/lock args="s0" after=mid',
             "channel ann bob"]
    result = t.guest("\n".join(lines), timeout=40)
    t.equal(result.status, 1, "exit status (124 is a system that idles for ever)")
    t.check("Deadlock" in result.text, "no deadlock is reported")


def test_no_program(t):
    """A shard whose program is missing is refused by name, and nobody else's channels are closed for it."""
    lines = ['shard ann /t/lock args="ws0"', 'shard bob /t/lock args="r0"', "shard none /no/such/program",
             "channel ann bob"]
    result = t.guest("\n".join(lines), expect=1)
    t.check("Shard 2 (none) cannot start from /no/such/program: there is no such file" in result.lines,
            "the line is missing")
    t.equal(result.endings(), {"ann": 0, "bob": 0}, "how the others ended")


def closing(result):
    """Returns what the supervisor's last but one line says, and checks the last one."""
    words = re.fullmatch(r"coconutOS supervisor v\S+: (.*)", result.text.split("\n")[-3])
    return words and result.text.endswith("\nHalting.\n") and words.group(1)


def test_closing_line(t):
    """The last lines say what is true: how many completed, failed, were killed, could not start. A last life counts."""
    good, bad = "shard good /t/ok", 'shard fails /t/minus args="exits"'
    dies, none = 'shard dies /t/minus args="dies" restart=2', "shard none /no/such/program"
    for lines, status, words in (
            ([good], 0, "all shards completed."),
            ([bad], 1, "0 of 1 shards completed, 1 failed, 0 killed, 0 could not start."),
            ([good, bad, dies, none, "shard empty /empty", 'shard parent /t/minus args="parent" spawn=yes'], 1,
             "2 of 6 shards completed, 1 failed, 1 killed, 2 could not start."),
            (["# no shard"], 1, "there is nothing to start, the manifest names no shard.")):
        result = t.guest("\n".join(lines) + "\n", {"/empty": b""}, expect=status)
        t.equal(closing(result), words, "the closing line of %s" % lines)
        t.equal("Shard Profiling Summary" in result.text, lines[0].startswith("shard"), "whether there is a table")


def test_peer_cannot_start(t):
    """Whoever waits for a shard that turns out not to start gets an error, now or after its turn has come."""
    for after in ("", " after=other"):
        lines = ["shard other /t/ok", "shard bob /no/such/program" + after, 'shard ann /t/lock args="r0"',
                 "channel ann bob"]
        result = t.guest("\n".join(lines), timeout=40)
        t.equal(result.status, 1, "exit status (124 is a system that idles for ever)")
        t.check(result.endings().get("ann"), "ann ended well although bob never started")
