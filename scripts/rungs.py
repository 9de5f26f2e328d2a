#!/usr/bin/env python3
"""rungs.py: the ladder of the supervisor's files and its rungs: the lowest files, which run without those above.

    rungs.py --list          each rung: how far up, how many files and lines, the hours to read them, what it shows
    rungs.py --table         the same, as README.md has it
    rungs.py --update        writes that there
    rungs.py --names         their names, in a line
    rungs.py --files NAME    the C files that are linked for a rung

The order of the files is that of the groups in kernel.h, where a rung ends stands in rungs/rungs.h; nothing of either
is repeated here. Read next: rungs/rungs.h.
"""

import collections
import os
import re
import signal
import sys

import stdout

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START = ["pvh.c", "main.c"]  # which start every rung
FULL = "full"  # the whole kernel: the ladder up to its end
LINES_AN_HOUR = 250  # as one reads a kernel

Rung = collections.namedtuple("Rung", "name top shows files")


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def order_of_files(index):
    """Returns the files of the ladder from the bottom up: boot.asm, and those of the groups in kernel.h, given its
    text."""
    return ["boot.asm"] + re.findall(r"^/\* ---- (\w+\.c)\b", index, re.M)


def rungs():
    """Returns all rungs from the bottom up, the whole kernel last."""
    order = order_of_files(read("kernel.h"))
    header = read("rungs/rungs.h")
    wing = re.findall(r"^#define WING_\w+ RUNG_(\w+)$", header, re.M)
    found = []
    for name, top, shows in re.findall(r'^\tX\((\w+), (\w+), "(.*?)"\)', header, re.M):
        files = order[:order.index(top + ".c") + 1]
        if wing[1] in [rung.name for rung in found]:  # above the wing one passes it by
            first, last = (index_of(found, name) for name in wing)
            devices = set(found[last].files) - set(found[first - 1].files)
            files = [file for file in files if file not in devices]
        found.append(Rung(name, top + ".c", shows, files + START))
    return found + [Rung(FULL, order[-1], "the whole system, as without --rung", order)]


def index_of(found, name):
    """Returns which of the rungs has a name."""
    return [rung.name for rung in found].index(name)


def lines_of(rung):
    """Returns the lines of code of a rung's files, headers apart."""
    sys.path.append(os.path.join(ROOT, "tests"))
    import test_image  # the judge of what a line of code is

    return sum(test_image.code_lines(os.path.join(ROOT, file)) for file in rung.files)


def rows():
    """Returns for each rung what --list says of it, as texts."""
    found = []
    for rung in rungs():
        lines = lines_of(rung)
        found.append((rung.name, rung.top, str(len(rung.files)), "{:,}".format(lines),
                      "%.1f" % (lines / LINES_AN_HOUR), rung.shows))
    return found


def table():
    """Returns the table as README.md has it."""
    head = ["| rung | up to | files | lines | hours | what its machine shows |", "|---|---|---|---|---|---|"]
    return "\n".join(head + ["| `%s` | `%s` | %s | %s | %s | %s |" % row for row in rows()])


def main(arguments):
    names = {rung.name: rung for rung in rungs()}
    if arguments == ["--list"]:
        print("rung          up to         files  lines  hours  what its machine shows")
        for row in rows():
            print("%-13s %-13s %5s  %5s  %5s  %s" % row)
    elif arguments == ["--table"]:
        print(table())
    elif arguments == ["--update"]:
        place = re.compile(r"^(<!-- rungs: .*-->\n)(\|.*\n)*", re.M)
        text = place.sub(lambda found: found[1] + table() + "\n", read("README.md"))
        with open(os.path.join(ROOT, "README.md"), "w", encoding="utf-8") as file:
            file.write(text)
    elif arguments == ["--names"]:
        print(" ".join(names))
    elif len(arguments) == 2 and arguments[0] == "--files" and arguments[1] in names:
        print("\n".join(file for file in names[arguments[1]].files if file.endswith(".c")))
        if arguments[1] != FULL:
            print("rungs/absent.c\nrungs/%s.c" % arguments[1])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever reads may go away
    stdout.run("rungs.py", lambda: main(sys.argv[1:]))
