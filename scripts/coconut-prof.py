#!/usr/bin/env python3
"""coconut-prof.py: turns the profile that ends a run into a report.

    ./run.sh 2>&1 | python3 scripts/coconut-prof.py
    python3 scripts/coconut-prof.py build/last.log

Reads the output of a run, from FILE or from stdin. The supervisor prints its summary right before the two lines that
end every complete run. The last summary that is complete counts: of several runs the last one, and not what a shard
printed before, since nothing of a shard comes after the supervisor's last word. What others write then (a trace,
`time`) does no harm; a line that says that the run went on, or failed, does. Without a summary this script says why,
with status 1.

A shard can print a whole line of any content. So what is said of lifecycles is unverified, and a log that ends with a
summary may be that of a run which hung afterwards: only the exit status of run.sh can be forged by nobody.

Read next: profile.c (profile_print writes what is read here), supervisor.c (finish), docs/debugging.md.
"""

import argparse
import os
import re
import signal
import sys

TITLE = "--- Shard Profiling Summary ---"
HEADER = "ID  Syscalls  Cycles/Syscall  Switches  Wall (ms)  Name"
ROW = re.compile(r" {0,1}(\d{1,2})  +(\d{1,20})  +(\d{1,20})  +(\d{1,20})  +(\d{1,20})  (\S{1,64})")
CLOSING = re.compile(r"coconutOS supervisor v(\S{1,32}): (all shards completed|\d{1,2} of \d{1,2} shards completed, "
                     r"\d{1,2} failed, "
                     r"\d{1,2} killed, \d{1,2} could not start)\.")
NOTHING = re.compile(r"coconutOS supervisor v\S{1,32}: there is nothing to start, .*")
LAST_LINE = "Halting."
BANNER = re.compile(r"\[BOOT\] .*|coconutOS supervisor v\S{1,32}")  # a run begins
FAILED = re.compile(r"PANIC: .*|run\.sh: (no end after|the (supervisor|loader|machine|guest) |gdb ended|QEMU ).*")
EVENT = re.compile(r"Shard (\d{1,2}) \((\S{1,64})\)((?:: | )(?:started|ended|killed|restarts|cannot start|[\w ]{1,20} "
                   r"refused)\b.*)")
CAUSE = re.compile(r"  Likely cause: .*")
DEADLOCK = re.compile(r"Deadlock: .*")

BAR_WIDTH = 40
SPAWNED = 64  # rows from this number on stand for programs that shards have started (MANIFEST_SHARDS in manifest.h)


class NoSummary(Exception):
    """The input has no summary that can be believed; the text says what is wrong."""


class Row:
    """What the summary says about one shard."""

    def __init__(self, match):
        self.id, self.syscalls, self.average, self.switches, self.wall = (int(match[i]) for i in range(1, 6))
        self.name = match[6]
        self.cycles = self.syscalls * self.average


def read_lines(data):
    """Returns the lines of the input as text that any terminal can show: what is not printable becomes '?'."""
    text = data.decode("utf-8", "replace").replace("\r", "")
    lines = ["".join(c if c.isprintable() else " " if c == "\t" else "?" for c in line) for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def parse_summary(lines):
    """Returns the supervisor's version, how the shards ended, the rows and the number of lines of the summary whose
    title stands before `lines`."""
    if not lines or lines[0] != HEADER:
        raise NoSummary("the summary is damaged: its first lines are missing")
    rows = []
    for match in map(ROW.fullmatch, lines[1:]):
        if not match:
            break
        rows.append(Row(match))
    end = len(rows) + 1
    closing = CLOSING.fullmatch(lines[end]) if end < len(lines) else None
    if end < len(lines) and not closing:
        raise NoSummary(f"the summary is damaged: this is no row of it: {lines[end][:80]}")
    if not rows or not closing or lines[end + 1:end + 2] != [LAST_LINE]:
        raise NoSummary(f"the summary does not end with \"{LAST_LINE}\": the run did not reach its end")
    if any(a.id >= b.id for a, b in zip(rows, rows[1:])):
        raise NoSummary("the summary is damaged: its rows are out of order")
    return closing[1], closing[2], rows, end + 2


def check_rest(lines):
    """Looks at what follows the summary: a run that went on, or failed, has not printed it."""
    for line in filter(FAILED.fullmatch, lines):
        raise NoSummary(f"the run did not reach its end: {line[:80]}")
    for line in lines:
        if BANNER.fullmatch(line):
            return
        if EVENT.fullmatch(line) or DEADLOCK.fullmatch(line):
            raise NoSummary(f"the run went on after this summary, so a shard has printed it: {line[:80]}")


def run_start(lines, start):
    """Returns where the run begins whose summary begins at `start`: after the end of the run before it."""
    return max((i + 1 for i, line in enumerate(lines[:start]) if line == LAST_LINE), default=0)


def find_summary(lines):
    """Returns the supervisor's version, how the shards ended, the rows of the last summary that is complete, and the
    lines of its run before it."""
    if lines[-1:] == [LAST_LINE] and len(lines) > 1 and NOTHING.fullmatch(lines[-2]):
        raise NoSummary("there is nothing to report: the manifest of this run named no shard")
    starts = [i for i, line in enumerate(lines) if line == TITLE]
    problem = NoSummary("there is no summary in this output: the run did not reach its end")
    for start in reversed(starts):
        try:
            version, ends, rows, length = parse_summary(lines[start + 1:])
        except NoSummary as why:
            problem = problem if start != starts[-1] else why
            continue
        check_rest(lines[start + 1 + length:])
        return version, ends, rows, lines[run_start(lines, start):start]
    raise problem


def find_events(lines, rows):
    """Returns (name, text) for every lifecycle line about a shard of the summary, in their order."""
    known = {(row.id, row.name) for row in rows if row.id < SPAWNED}
    spawned = {row.name for row in rows if row.id >= SPAWNED}
    events = []
    in_kill = False
    for line in lines:
        match = EVENT.fullmatch(line)
        if match and ((int(match[1]), match[2]) in known or match[2] in spawned):
            events.append((match[2], match[3].lstrip(": ")))
        elif in_kill and CAUSE.fullmatch(line):
            events.append(("", line.strip()))
        elif DEADLOCK.fullmatch(line):
            events.append(("", line))
        in_kill = bool(match) and match[3].startswith(" killed")
    return events


def print_table(rows):
    """Prints the rows, each with the cycles of all its calls, and their totals."""
    form = "{:>5}  {:>10}  {:>14}  {:>16}  {:>9}  {:>9}  {}"
    print(form.format("ID", "Syscalls", "Cycles/Syscall", "Cycles", "Switches", "Wall (ms)", "Name"))
    for row in rows:
        print(form.format(row.id, row.syscalls, row.average, row.cycles, row.switches, row.wall, row.name))
    calls, cycles = sum(row.syscalls for row in rows), sum(row.cycles for row in rows)
    print(form.format("Total", calls, cycles // calls if calls else 0, cycles, sum(row.switches for row in rows),
                      sum(row.wall for row in rows), f"{len(rows)} shard{'s' if len(rows) != 1 else ''}"))


def print_shares(title, rows, values):
    """Prints each shard's part of the sum of `values` as a bar and in percent."""
    total = sum(values)
    width = max(len(row.name) for row in rows)
    print(f"\n{title}")
    for row, value in zip(rows, values):
        length = (value * BAR_WIDTH + total // 2) // total if total else 0
        tenths = (value * 1000 + total // 2) // total if total else 0
        print(f"  {row.name:<{width}}  {'#' * length:<{BAR_WIDTH}} {tenths // 10:>3}.{tenths % 10}%")


def print_events(events):
    """Prints what happened to the shards."""
    width = max((len(name) for name, _ in events), default=0)
    print("\nLifecycle, unverified: shards can print such lines too")
    for name, text in events:
        print(f"  {name:<{width}}  {text}")
    if not events:
        print("  nothing was reported")


def print_report(version, ends, rows, before):
    """Prints all parts."""
    print(f"Profile of a run of coconutOS v{version}: {ends}\n")
    print_table(rows)
    print_shares("Share of wall time (the lives of shards overlap)", rows, [row.wall for row in rows])
    print_shares("Share of system calls", rows, [row.syscalls for row in rows])
    print_shares("Share of the cycles spent in system calls", rows, [row.cycles for row in rows])
    print_events(find_events(before, rows))


def read_input():
    """Returns the bytes of the file that the command line names, or of stdin."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="coconut-prof.py",
        description="Turns the profile that ends a run of coconutOS into a report.",
        epilog="./run.sh 2>&1 | python3 scripts/coconut-prof.py, or python3 scripts/coconut-prof.py build/last.log")
    parser.add_argument("file", metavar="FILE", nargs="?", default="-",
                        help="the output of a run; stdin when not given")
    parser.error = lambda text: parser.exit(2, f"coconut-prof.py: {text}; -h says more\n")
    path = parser.parse_args().file
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            parser.error("there is no input: name a FILE, or pipe the output of ./run.sh here")
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` wants no more
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
    try:
        print_report(*find_summary(read_lines(read_input())))
        sys.stdout.flush()
    except (NoSummary, OSError) as problem:
        sys.stderr.write(f"coconut-prof.py: {problem}\n")
        sys.stderr.flush()
        os._exit(1)  # what stdout still holds cannot be written


main()
