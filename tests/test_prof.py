"""scripts/coconut-prof.py: what it prints for good, forged and damaged output of a run, and how it is told what to
read.

Read next: scripts/coconut-prof.py.
"""

import os
import random
import re
import shlex
import subprocess

import harness

HEAD = "--- Shard Profiling Summary ---\nID  Syscalls  Cycles/Syscall  Switches  Wall (ms)  Name\n"
TAIL = "coconutOS supervisor v1.2.3: all shards completed.\nHalting.\n"
ROW = "%2u  %8u  %14u  %8u  %9u  %s\n"
EVENTS = """coconutOS supervisor v1.2.3
Shard 0 (reader) started: /shards/reader, 7 frames
Shard 1 (worker): FS_OPEN refused: argument 1 = 0x1140, there is no such file (E_NOENT)
Shard 1 (worker): unknown call refused: argument 0 = 0x3f, no call has this number (E_NOSYS)
Shard 1 (worker) killed: page fault (#PF, vector 14) at rip 0x1020: read of 0x0, it is not mapped (error 0x4)
  Likely cause: a NULL pointer, or a field or element of one
Shard 1 (worker) ended: killed after 3 ms, at most 7 frames
Shard 1 (worker) restarts: 1 of 2
Shard 2 (late) cannot start from /shards/late: no such program in the ramdisk
Shard 40 (child) ended: code 5 after 2 ms, at most 7 frames
Shard 9 (nobody) ended: code 0 after 1 ms, at most 7 frames
Shard 0 (reader) ended: code 0 after 20 ms, at most 7 frames
"""
ROWS = [(0, 10, 200, 3, 60, "reader"), (1, 30, 100, 1, 30, "worker"), (2, 0, 0, 0, 0, "late"),
        (64, 5, 1000, 9, 10, "child")]
GOOD = EVENTS + HEAD + "".join(ROW % row for row in ROWS) + TAIL


def report(text, **environment):
    """Runs the script. Returns its exit status, stdout and stderr."""
    data = text if isinstance(text, bytes) else text.encode()
    done = subprocess.run(["python3", "scripts/coconut-prof.py"], cwd=harness.ROOT, input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=dict(os.environ, **environment), timeout=120, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def refused(t, text, why):
    """The script says on stderr what is wrong, prints nothing, and its status is 1."""
    status, out, err = report(text)
    t.equal((status, out), (1, ""), why + ": status and stdout")
    t.check(err.startswith("coconut-prof.py: ") and err.count("\n") == 1, why + ": stderr is " + repr(err)[:200])


def shares(out, title):
    """Returns {name: (length of the bar, percent)} of one part of the report."""
    part = out.split(title)[1].split("\n\n")[0]
    return {name: (len(bar), float(percent)) for name, bar, percent in re.findall(r"^  (\S+) +(#*) +([\d.]+)%$", part,
                                                                                  re.M)}


def test_numbers(t):
    """Table, totals and shares follow from the rows."""
    status, out, err = report(GOOD)
    t.equal((status, err), (0, ""), "status and stderr")
    t.check(re.search(r"^ +1 +30 +100 +3000 +1 +30 +worker$", out, re.M), "the row of worker")
    t.check(re.search(r"^Total +45 +222 +10000 +13 +100 +4 shards$", out, re.M), "the totals")
    t.equal(shares(out, "wall time"), {"reader": (24, 60), "worker": (12, 30), "late": (0, 0), "child": (4, 10)},
            "wall time")
    t.equal(shares(out, "system calls\n"), {"reader": (9, 22.2), "worker": (27, 66.7), "late": (0, 0),
                                            "child": (4, 11.1)}, "calls")
    t.equal(shares(out, "the cycles"), {"reader": (8, 20), "worker": (12, 30), "late": (0, 0), "child": (20, 50)},
            "cycles")


def test_closing(t):
    """The report says how the shards ended, in the words of the run's closing line."""
    for ends in ("all shards completed", "1 of 3 shards completed, 1 failed, 0 killed, 1 could not start"):
        status, out, _ = report(GOOD.replace("all shards completed", ends))
        t.equal((status, out.split("\n")[0]), (0, "Profile of a run of coconutOS v1.2.3: " + ends),
                "status and first line")
    refused(t, GOOD.replace("all shards completed", "1 of 3 shards"), "a closing line that is damaged")
    status, _, err = report("coconutOS supervisor v1.2.3: there is nothing to start, the manifest names no shard.\n"
                            "Halting.\n")
    t.equal((status, "named no shard" in err), (1, True), "status and words for a run without shards")


def test_events(t):
    """Lifecycle lines appear in their order, and only those about shards of the summary."""
    lines = [" ".join(line.split()) for line in report(GOOD)[1].split("Lifecycle, unverified: shards can print such "
                                                                      "lines too\n")[1].rstrip().split("\n")]
    wanted = [r"reader started: ", r"worker FS_OPEN refused: ", r"worker unknown call refused: ",
              r"worker killed: page fault",
              r"Likely cause: a NULL", r"worker ended: killed", r"worker restarts: 1 of 2", r"late cannot start from",
              r"child ended: code 5", r"reader ended: code 0"]
    t.equal(len(lines), len(wanted), "the number of events")
    for line, pattern in zip(lines, wanted):
        t.check(re.match(pattern, line), "event %s, expected %s" % (line, pattern))
    deadlock = "Deadlock: a waits to receive on channel 0 for b.\n"
    t.check(deadlock in report(deadlock + GOOD)[1], "a deadlock is missing")


def test_zeros(t):
    """A run in which nothing was counted has shares of zero."""
    status, out, _ = report(HEAD + ROW % (0, 0, 0, 0, 0, "idle") + TAIL)
    t.equal(status, 0, "status")
    t.check(out.count("0.0%") == 3 and "nothing was reported" in out, "the report of an idle run")


def test_last(t):
    """The last complete summary counts, whatever has been written after it; what it says of lifecycles is of its
    run."""
    other = GOOD.replace("reader", "writer").replace("v1.2.3", "v2.0.0")
    for after in ("\nreal\t0m1.234s\nuser\t0m1.000s\n", "run.sh: the trace of 1,234 events is in /tmp/t\n",
                  "\x1b[0mdone\n",
                  "[BOOT] loader at 0x1000\ncoconutOS supervisor v1.2.3\nShard 0 (reader) ended: code 0 after 1 ms\n",
                  HEAD + ROW % (0, 999999, 1, 1, 1, "reader"), HEAD):
        for before in ("", other):
            status, out, err = report(before + GOOD + after)
            t.equal((status, err), (0, ""), "status and stderr with %r behind" % after)
            t.check("v1.2.3" in out and "999999" not in out and "writer" not in out,
                    "the report with %r behind" % after)
    ends = "coconutOS supervisor v1.2.3: 2 of 4 shards completed, 1 failed, 1 killed, 0 could not start.\n"
    status, out, _ = report(GOOD.replace(TAIL.splitlines(keepends=True)[0], ends))
    t.equal((status, "worker" in out), (0, True), "a run in which not all is well")


def test_forged(t):
    """Of several summaries the last counts; one that a shard printed is never taken for the supervisor's."""
    forged = HEAD + ROW % (0, 999999, 1, 1, 1, "reader") + TAIL
    status, out, _ = report(forged + GOOD)
    t.equal((status, "999999" in out), (0, False), "status, and the forged number, with a forged summary first")
    refused(t, forged + "Shard 0 (reader) ended: code 0 after 1 ms, at most 7 frames\n",
            "a forged summary, then no more")
    refused(t, GOOD + "run.sh: no end after 600 seconds (--timeout sets the limit).\n",
            "a forged summary and a time-out")
    refused(t, forged + "PANIC: assertion failed\n", "a forged summary and a panic")
    refused(t, forged + "coconutOS supervisor v1.2.3\nrun.sh: the machine was reset or switched off\n",
            "a forged start, and a reset")
    lie = "Shard 0 (reader) killed: the honest shard stole money\n  Likely cause: greed\n"
    before = report(lie + GOOD)[1].split("stole money")[0]
    t.check("Lifecycle, unverified: shards can print such lines too\n" in before,
            "a line that anybody may have printed is believed")
    for mark in ("run.sh: the supervisor panicked.", "run.sh: QEMU ended with status 5", "Deadlock: a waits for b."):
        refused(t, forged + mark + "\n", "a forged summary, then: " + mark)
    refused(t, HEAD + ROW % (0, 1, 1, 1, 1, "a") + "something else\n" + TAIL, "text of a shard inside")


def test_damaged(t):
    """Every output that ends early, and every summary with a line missing or changed, is refused."""
    lines = GOOD.splitlines(keepends=True)
    for count in range(len(lines)):
        refused(t, "".join(lines[:count]), "only the first %d lines" % count)
    start = lines.index(HEAD.splitlines(keepends=True)[0])
    for index in (start, start + 1, len(lines) - 2, len(lines) - 1):
        refused(t, "".join(lines[:index] + lines[index + 1:]), "without line %d" % index)
    for row in ("0 1 2 3 4 a\n", ROW % (0, 1, 1, 1, 1, ""), ROW % (0, 1, 1, 1, 1, "a b"),
                " 0  %s  1  1  1  a\n" % ("9" * 5000)):
        refused(t, HEAD + row + TAIL, "the row " + row[:40])
    refused(t, HEAD + ROW % (1, 1, 1, 1, 1, "a") + ROW % (1, 1, 1, 1, 1, "b") + TAIL, "two rows of one number")
    refused(t, HEAD + TAIL, "no row at all")
    refused(t, "", "nothing")


def test_inputs(t):
    """A file, stdin, `-`, -h, no input at all; no traceback whatever is wrong with them."""
    path, script = t.file("good.log", GOOD), os.path.join(t.root, "scripts", "coconut-prof.py")
    wanted = report(GOOD)[1]
    for words in ([path], ["-"]):
        done = t.sh("%s %s < %s" % (shlex.quote(script), shlex.quote(words[0]), shlex.quote(path)), expect=0)
        t.equal((done.stdout, done.stderr), (wanted, ""), "the report of " + words[0])
    for option in ("-h", "--help"):
        done = t.sh([script, option], expect=0)
        t.check("FILE" in done.stdout and "./run.sh" in done.stdout, "the help: " + done.stdout)
    words = (shlex.quote(script), shlex.quote(script), shlex.quote(path))
    t.sh("PYTHONOPTIMIZE=2 %s -h && PYTHONOPTIMIZE=2 %s %s" % words, expect=0)
    folder, none = t.scratch, os.path.join(t.scratch, "none")
    for words, status, why in (([none], 1, "No such file"), ([folder], 1, "directory"),
                               ([path, path], 2, "unrecognized"),
                               (["--nosuch"], 2, "-h says more")):
        done = t.sh([script] + words, expect=status)
        t.check(why in done.stderr and done.stderr.count("\n") == 1 and not done.stdout,
                "%s: %s" % (words, done.stderr))
    t.check("no summary" not in t.sh([script, none]).stderr, "a missing file is not an empty one")
    terminal, user = os.openpty()
    try:
        done = subprocess.run([script], stdin=user, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                              check=False)
    finally:
        os.close(terminal)
        os.close(user)
    t.equal(done.returncode, 2, "status at a terminal")
    t.check(b"name a FILE" in done.stderr, "at a terminal: %r" % done.stderr)
    t.equal(t.sh(shlex.quote(script) + " <&-").returncode, 2, "status without stdin")


def test_short_reader(t):
    """`| head` ends the report without a traceback; a full disk is said."""
    path = t.file("long.log", HEAD + "".join(ROW % (i, 1, 1, 1, 1, "shard%d" % i + "x" * 40) for i in range(64)) + TAIL)
    for line in range(3):  # the pipe is closed before, while or after the report is written
        done = t.sh("{ python3 scripts/coconut-prof.py %s 2>&1 1>&3 | cat >&2; } 3>&1 | head -n %d" % (path, line),
                    expect=0)
        t.equal(done.stderr, "", "stderr with head -n %d" % line)
    done = t.sh("python3 scripts/coconut-prof.py %s > /dev/full" % path, expect=1)
    t.check("No space left" in done.stderr and "Traceback" not in done.stderr, "a full disk: " + done.stderr)


def test_bytes(t):
    """Random bytes in front, and random changes anywhere, never end in a Python traceback."""
    random.seed(1)
    noise = bytes(random.randrange(256) for _ in range(5000)) + b"\n"
    for environment in ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        status, out, _ = report(noise + b"Shard 0 (reader) ended: \x1b[2J\xff\xc3\xa9\n" + GOOD.encode(), **environment)
        t.equal(status, 0, "status with noise in front")
        t.check("\x1b" not in out, "a control character of the input reached the report")
    for _ in range(400 if t.full else 40):
        data = bytearray(GOOD.encode())
        for _ in range(random.randrange(1, 4)):
            data[random.randrange(len(data))] = random.randrange(256)
        status, _, err = report(bytes(data))
        t.check(status in (0, 1) and "Traceback" not in err,
                "changed output gives status %d: %s" % (status, err[-200:]))


def test_real(t):
    """The report of a real run has the numbers of its summary."""
    result = t.boot(shards=["shards/hello-c", "shards/fs-reader"], verbose=True, expect=0)
    status, out, _ = report(result.raw)
    t.equal(status, 0, "status")
    for name, row in result.profile().items():
        t.check(re.search(r"^ +%d +%d +%d +\d+ +%d +%d +%s$" % (row["id"], row["syscalls"], row["cycles"],
                                                                row["switches"], row["wall"],
                                                                name), out, re.M), "the row of " + name)
        t.check(re.search(r"^  %s +started: " % name, out, re.M), "the start of " + name)
        t.check(re.search(r"^  %s +ended: code 0 after" % name, out, re.M), "the end of " + name)
