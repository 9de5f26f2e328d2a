"""tours: every tour of run.sh --tour reaches each of its stops, and the book explains each of them.

Read next: scripts/gdb/tours.py.
"""

import importlib
import os
import pty
import re
import select
import shutil
import sys
import time

import harness
import sessions

sys.path.append(os.path.join(harness.ROOT, "scripts", "gdb"))

LENGTHS = {"boot": 10, "syscall": 7, "fault": 6, "ipc": 7, "dma": 6}  # stops


def walk(t, name, options, expect):
    """Takes a tour without anybody who types. Returns what it printed, without the guest's console."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    command = "./run.sh --timeout 300 --tour %s %s < /dev/null" % (name, options)
    done = t.sh(sessions.with_console(command, t.file("console", "")))
    t.equal(done.returncode, expect, "exit status (%s)" % "".join(re.findall(r"^tour: .*", done.stdout, re.M)[:1]))
    return done.stdout


def check_tour(t, name, options="", expect=0):
    """Takes a tour and compares each stop with the book."""
    said = walk(t, name, options, expect)
    t.check("<optimized out>" not in said, "a variable is optimized out")
    book = importlib.import_module("paragraphs").load(os.path.join(t.root, "docs"))
    stops = re.split(r"^Stop (\d+) of (\d+) in the tour of %s: " % name, said, flags=re.M)
    t.equal([int(number) for number in stops[1::3]], list(range(1, LENGTHS[name] + 1)), "the stops")
    for text in stops[3::3]:
        anchor = text.split("\n")[0]
        t.check(anchor in book and book[anchor][1] in text, "%s is not explained" % anchor)
        t.check(re.search(r"^\d+\t", text, re.M) or "?? ()" in text, "%s shows no source" % anchor)
    t.check("The tour of %s ends: %d stops." % (name, LENGTHS[name]) in said, "the tour does not end")


def test_boot(t):
    """The tour of the boot, without firmware."""
    check_tour(t, "boot", "--kernel")


def test_boot_firmware(t):
    """The tour of the boot, from the firmware on."""
    check_tour(t, "boot")


def test_syscall(t):
    """The tour of a system call."""
    check_tour(t, "syscall")


def test_fault(t):
    """The tour of a fault, which its shard does not survive."""
    check_tour(t, "fault", expect=1)


def test_ipc(t):
    """The tour of a message."""
    check_tour(t, "ipc")


def test_dma(t):
    """The tour of a copy by DMA."""
    check_tour(t, "dma")


def test_keys(t):
    """At a terminal each stop waits: Enter goes on, g leaves the visitor in gdb, q ends."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    try:
        os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
    except OSError as problem:
        t.skip("there are no pseudo-terminals: %s" % problem)
    command = sessions.with_console("./run.sh --tour fault", t.file("console", ""))
    asked = "q ends: "
    ends = [(asked, ""), (asked, "q")]
    leaves = [(asked, ""), (asked, "g"), ("(gdb) ", "shards"), ("(gdb) ", "kill"), ("(gdb) ", "quit")]
    for dialogue, wanted in ((leaves, "wrong  /shards/tour"), (ends, "")):
        said = at_terminal(t, command, dialogue)
        t.check("Stop 2 of 6" in said and "Stop 3 of 6" not in said and wanted in said,
                "after %s: %s" % (dialogue[1], said[-300:]))
        t.equal(said.count(asked), 2, "how often it asked")
        t.check("GDBstub" not in said, "QEMU says farewell in the middle of gdb's prompt: " + said[-300:])


def at_terminal(t, command, dialogue):
    """Runs a command at a terminal of its own, where somebody waits for a prompt, types a line, and so on through the
    dialogue. Returns what was shown.

    gdb writes its prompt a character at a time: a word of QEMU's would tear it. The terminal is dumb, so that readline
    shows a prompt once, and without control sequences."""
    ours, theirs = pty.openpty()
    process = harness.start(["bash", "-c", command], cwd=t.root, stdin=theirs, stdout=theirs, stderr=theirs,
                            env=dict(os.environ, TERM="dumb"))
    os.close(theirs)
    shown, looked_at, left, open_there = "", 0, list(dialogue), True
    deadline = time.monotonic() + 300
    try:
        while open_there and time.monotonic() < deadline:
            if left and left[0][0] in shown[looked_at:]:
                looked_at = len(shown)
                os.write(ours, left.pop(0)[1].encode() + b"\n")
            elif select.select([ours], [], [], 1)[0]:
                try:
                    shown += os.read(ours, 65536).decode(errors="replace")
                except OSError:  # no process has the other side open any more
                    open_there = False
    finally:
        if open_there:
            harness.end_group(process, 15)
        harness.finish(process, 60)
        os.close(ours)
    t.log(shown)
    t.equal((left, process.returncode), ([], 3), "what was left to type, and the status (shown: %r)" % shown[-200:])
    return shown


def test_lost(t):
    """A tour whose stop is not reached fails and names it: on a machine without an IOMMU nothing is mapped."""
    said = walk(t, "dma", "-machine pc", 3)
    t.check("tour: dma-map was not reached" in said, "the tour does not say so")
    done = t.sh("./run.sh --tour nowhere", expect=4)
    t.check("boot dma fault ipc syscall" in done.stderr, "the message does not name the tours: " + done.stderr)


def test_paragraphs(t):
    """Paragraphs are found by their names; one that comes twice is an error; no other is named than the tours need."""
    paragraphs = importlib.import_module("paragraphs")
    t.file("book/a.md", "# A\n\n<!-- tour: one -->\nFirst [line](b.md)\nand second.\n<!-- a comment -->\n\nNot this.\n")
    t.equal(paragraphs.load(os.path.join(t.scratch, "book"))["one"][1], "First line\nand second.", "the paragraph")
    t.file("book/b.md", "<!-- tour: one -->\nAgain.\n")
    try:
        paragraphs.load(os.path.join(t.scratch, "book"))
        t.check(False, "a name that comes twice is accepted")
    except ValueError as problem:
        t.check("one" in str(problem), str(problem))
    named = set(paragraphs.load(os.path.join(t.root, "docs")))
    with open(os.path.join(t.root, "scripts", "gdb", "tours.py"), encoding="utf-8") as file:
        needed = set(re.findall(r'Stop\("([a-z0-9-]+)"', file.read()))
    t.equal(named, needed, "the paragraphs that are named and those that the tours need")
    t.equal(len(needed), sum(LENGTHS.values()), "the stops of all tours")


test_boot_firmware.heavy = True
