"""The ladder: the supervisor's files stand in one order, and each uses files before it only, but for the doors.

Order and doors stand in kernel.h; what a file uses, its object says.

Read next: kernel.h, its head and "The doors".
"""

import json
import os
import re
import shlex

import rungs
import test_docs

TYPES_WEAK = "wWvV"


def doors_of(index):
    """Returns the symbols that kernel.h lists as doors: what boot.asm uses, and the variables through which something
    was handed down."""
    text = re.search(r"^/\* ---- The doors -.*?\*/", index, re.M | re.S).group(0)
    return tuple({name for names in re.findall(r"^ \*   (\w+(?:, \w+)*)   +\w", part, re.M)
                  for name in names.split(", ")} for part in text.split("through a variable of its own"))


class Objects:
    """What the objects of a build define and use. `instead`: {file: path of another object}."""

    def __init__(self, t, order, instead=None):
        self.t, self.paths = t, {}
        self.owner, self.used, self.variables = {}, {}, set()
        for file in order:
            path = (instead or {}).get(file) or "build/%s.o" % file.split(".")[0]
            self.paths[file] = path
            self.used[file] = set()
            for kind, name in re.findall(r"([A-Za-z]) (\S+)$", t.sh(["nm", path], expect=0).stdout, re.M):
                t.check(kind not in TYPES_WEAK, "%s has the weak symbol %s: it may be missing unnoticed" % (file, name))
                if kind == "U":
                    self.used[file].add(name)
                elif kind.isupper():
                    t.check(name not in self.owner, "%s is defined twice" % name)
                    self.owner[name] = file
                    self.variables |= {name} if kind in "BD" else set()

    def functions_that_use(self, file, symbol):
        """Returns the functions of a file that use a symbol, as words."""
        found, function = set(), None
        listing = self.t.sh(["objdump", "-dr", "--no-show-raw-insn", self.paths[file]], expect=0).stdout
        for line in listing.split("\n"):
            head = re.match(r"[0-9a-f]+ <(\w+)[.\w]*>:$", line)
            function = head.group(1) if head else function
            if re.search(r"\bR_X86_64_\w+\s+%s(?:[+-]|$)" % re.escape(symbol), line):
                found.add(function)
        return ", ".join(sorted(found)) or "a table"


def problems(order, doors, objects, given):
    """Returns what is wrong with the ladder, a sentence each. `given`: symbols that no file of it defines."""
    found = []
    rank = {file: i for i, file in enumerate(order)}
    up = set()
    for user in order:
        for symbol in sorted(objects.used[user]):
            if symbol not in objects.owner:
                if symbol not in given:
                    found.append("%s uses %s, which no file of the ladder defines" % (user, symbol))
            elif rank[objects.owner[symbol]] > rank[user]:
                up.add((user, symbol))
    entries, handed = doors
    through = {(user, symbol) for user, symbol in up if user == "boot.asm" and symbol in entries}
    for user, symbol in sorted(up - through):
        found.append("%s: %s uses %s of %s, which stands above it: move one of them, or hand it over at start" %
                     (user, objects.functions_that_use(user, symbol), symbol, objects.owner[symbol]))
    for symbol in sorted(entries - {symbol for _, symbol in through}):
        found.append("boot.asm does not go through the door %s: take it out of kernel.h" % symbol)
    for symbol in sorted(handed):
        if symbol not in objects.variables or not any(symbol in objects.used[user] for user in
                                                      order[rank[objects.owner[symbol]] + 1:]):
            found.append("nobody above hands down the door %s: it is no variable, or not used there" % symbol)
    return found


def given_symbols(t):
    """Returns the symbols that supervisor.ld and the generated table of names define."""
    names = t.sh(["nm", "build/symbols/symbols.o"], expect=0).stdout
    return set(re.findall(r"^\s*(\w+) = ", test_docs.read("supervisor.ld"), re.M)) | \
        set(re.findall(r" [A-Z] (\S+)$", names, re.M))


def test_arrows(t):
    """No file uses what a file above it defines, but through the doors."""
    index = test_docs.read("kernel.h")
    order, doors = rungs.order_of_files(index), doors_of(index)
    loader = re.search(r"^loader_sources=\((.*)\)$", test_docs.read("build.sh"), re.M).group(1).split()
    there = {name for name in os.listdir(t.root) if name.endswith((".c", ".asm"))} - set(loader)
    t.equal(sorted(order), sorted(there), "the files of the ladder in kernel.h")
    objects = Objects(t, order)
    t.check(len(objects.owner) > 150, "only %d symbols were found" % len(objects.owner))
    found = problems(order, doors, objects, given_symbols(t))
    t.check(not found, "%d problems:\n%s" % (len(found), "\n".join(found)))
    t.note("%d files, %d symbols, %d doors" % (len(order), len(objects.owner), sum(map(len, doors))))


def test_read_next(t):
    """Each file of the ladder names the next one first under "Read next", or its header, which then names the file."""
    order = rungs.order_of_files(test_docs.read("kernel.h"))[1:]
    for file, following in zip(["kernel.h"] + order, order):
        header = following[:-1] + "h"
        wanted = header if os.path.exists(os.path.join(t.root, header)) and following != "cpu.c" else following
        for name, goal in ((file, wanted), (wanted, following)):
            first = re.search(r"^ \* Read next: ([\w.]+\.[ch])\b", test_docs.read(name), re.M)
            t.check(name == goal or (first and first.group(1) == goal),
                    "%s leads to %s, not to %s" % (name, first and first.group(1), goal))


# ---- The twins: ladders with a fault ----


def compiled(t, name, text):
    """Compiles a changed file of the supervisor as build.sh does. Returns the path of the object."""
    with open(os.path.join(t.root, "build", "compile_commands.json"), encoding="utf-8") as file:
        command = next(entry["command"] for entry in json.load(file) if entry["file"] == name)
    words = shlex.split(command)
    flags = words[:words.index("-MMD")]  # what follows says where the build puts things
    out = os.path.join(t.scratch, name + ".o")
    t.sh(flags + ["-I", t.root, "-c", "-o", out, t.file(name, text)], expect=0)
    return out


def test_twin_call(t):
    """A call upwards that is added to a copy of a file is found, and named with its function."""
    index = test_docs.read("kernel.h")
    order = rungs.order_of_files(index)
    text = test_docs.read("lib.c") + "\nuint64_t stray(void);\nuint64_t stray(void) { return timer_ms(); }\n"
    objects = Objects(t, order, {"lib.c": compiled(t, "lib.c", text)})
    found = problems(order, doors_of(index), objects, given_symbols(t))
    t.equal(len(found), 1, "problems: " + "\n".join(found))
    t.check(found[0].startswith("lib.c: stray uses timer_ms of timer.c, "), found[0])


def test_twin_move(t):
    """A function that is moved up, away from whoever calls it, is found at each of its callers."""
    index = test_docs.read("kernel.h")
    order = rungs.order_of_files(index)
    moved = re.search(r"^uint64_t stack_slot_top\(.*\}\n", test_docs.read("paging.c"), re.M).group(0)
    instead = {"paging.c": compiled(t, "paging.c", test_docs.read("paging.c").replace(moved, "")),
               "timer.c": compiled(t, "timer.c", test_docs.read("timer.c") + moved)}
    found = problems(order, doors_of(index), Objects(t, order, instead), given_symbols(t))
    named = [re.match(r"(\S+): \w+ uses (\w+) of (\S+),", line) for line in sorted(found)]
    t.equal([match and match.groups() for match in named],
            [(user, "stack_slot_top", "timer.c") for user in ("idt.c", "paging.c")], "problems")


def test_twin_doors(t):
    """A door that is taken off the list is found, so is one that nobody uses, and one that is no variable."""
    index = test_docs.read("kernel.h")
    order, doors = rungs.order_of_files(index), doors_of(index)
    objects, given = Objects(t, order), given_symbols(t)
    entries, handed = doors
    t.check({"supervisor_main", "current"} <= entries and {"power_off", "end_shard"} <= handed,
            "the doors could not be read")
    for what, changed in [("does not go through the door memset", (entries | {"memset"}, handed)),
                          ("hands down the door memset", (entries, handed | {"memset"}))] + \
                         [("boot.asm: ", (entries - {one}, handed)) for one in entries]:
        found = problems(order, changed, objects, given)
        t.check(len(found) == 1 and what in found[0], "instead of %s: %s" % (what, found))
