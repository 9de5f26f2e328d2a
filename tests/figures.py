#!/usr/bin/env python3
"""figures.py: the figures of this system that documents name: docs/figures.txt has one a line: its name, its value, the
unit, and how it is found:

    FILE:/REGEX/            the group of the regex, in the one line of the file that it matches
    bench                   ./bench.sh measures it, under this name
    growth WHAT N of M      what ./bench.sh says under "How the costs grow": how much more it costs for each more from M
                            to N; behind `per K` for each K more
    steps OPERATION/N: F G  ./bench.sh --steps: what these functions take for the operation, divided by N; `rest` stands
                            for all functions that the other lines of the operation do not name
    ./test.sh NAME          that test measures it, under this name, and leaves it in build/figures/NAME.json

Tests hold each against what is found now. What is measured may differ by TOLERANCE, and is compared only where the
compiler is the one that docs/figures.txt was made with. `tests/figures.py --commit` writes into docs/figures.txt what
was measured last.

Read next: test_figures.py, which looks for the figures in the documents.
"""

import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE = os.path.join(ROOT, "docs", "figures.txt")
MEASURED = os.path.join(ROOT, "build", "figures")
TOLERANCE = 0.03
LINE = re.compile(r"^(\S+) +(\d+) +(\S+) +(.*)$", re.M)


class Figure:
    """A line of docs/figures.txt."""

    def __init__(self, name, value, unit, how):
        self.name, self.value, self.unit, self.how = name, int(value), unit, how


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def load():
    """Returns the figures by name."""
    return {fields[0]: Figure(*fields) for fields in LINE.findall(read(FILE))}


def compiler():
    """Returns the name and version of the compiler: another one makes other figures."""
    return subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


def same_compiler():
    """Returns whether docs/figures.txt was made with this compiler."""
    return re.search(r"^# compiler: (.*)$", read(FILE), re.M).group(1) == compiler()


def differs(figure, value):
    """Returns whether a measured value is another one than the figure's."""
    return abs(value - figure.value) > TOLERANCE * figure.value


def hold(t, found):
    """Fails the test unless what it has found is what docs/figures.txt says that it finds."""
    os.makedirs(MEASURED, exist_ok=True)
    with open(os.path.join(MEASURED, t.name + ".json"), "w", encoding="utf-8") as file:
        json.dump(found, file, indent=1)
    if not same_compiler():
        return
    for figure in load().values():
        value = found.get(figure.name, 0)
        here = figure.how == "./test.sh " + t.name
        t.check(not differs(figure, value) if here else value <= figure.value * (1 + TOLERANCE) or
                figure.name not in found,
                "%s is %d, docs/figures.txt says %d" % (figure.name, value, figure.value))


# ---- What documents say is found now ----


def in_source(citation):
    """Returns the number in the group of the regex of FILE:/REGEX/, in the one line of the file that it matches."""
    path, pattern = re.fullmatch(r"([\w./-]+):/(.+)/", citation).groups()
    found = re.findall(pattern, read(path), re.M)
    if len(found) != 1:
        raise ValueError("%s matches %d lines" % (citation, len(found)))
    return int(found[0])


def in_steps(name, how, figures):
    """Returns the sum of what the functions of a line take for its operation, by build/bench_steps.json."""
    operation, divisor, functions = re.fullmatch(r"steps (\w+)/?(\d*): (.*)", how).groups()
    counts = json.loads(read("build/bench_steps.json"))[operation]
    wanted = functions.split()
    if wanted == ["rest"]:
        others = [figure.how for figure in figures.values() if re.match(r"steps %s\b" % operation, figure.how) and
                  figure.name != name]
        named = {word for how in others for word in how.split(": ")[1].split()}
        wanted = [function for function in counts if function not in named]
    return sum(counts.get(function, 0) for function in wanted) // int(divisor or 1)


def in_growth(how):
    """Returns what an operation costs more for each more of what grows, by build/bench.json."""
    what, size, start, unit = re.fullmatch(r"growth (\w+) (\d+) of (\d+)(?: per (\d+))?", how).groups()
    bench = json.loads(read("build/bench.json"))
    costs = {}
    for line in bench["growth"]:
        match = re.fullmatch(r"(\w+) \w+ (\d+)(?: \w+)?: (\d+)(?: \(with (\d+): (\d+)\))?", line)
        costs[match[1], int(match[2])] = int(match[3])
        if match[4]:
            costs[match[1], int(match[4])] = int(match[5])
    return round((costs[what, int(size)] - costs[what, int(start)]) * int(unit or 1) / (int(size) - int(start)))


def now(figure, figures):
    """Returns what is found now, or None where nobody has measured it."""
    try:
        if ":/" in figure.how:
            return in_source(figure.how)
        if figure.how == "bench":
            return json.loads(read("build/bench.json"))["figures"][figure.name]
        if figure.how.startswith("growth "):
            return in_growth(figure.how)
        if figure.how.startswith("steps "):
            return in_steps(figure.name, figure.how, figures)
        return json.loads(read("build/figures/%s.json" % figure.how.split()[1]))[figure.name]
    except FileNotFoundError:
        return None


def commit():
    """Writes what is found now into docs/figures.txt."""
    figures, text = load(), read(FILE)

    def line(match):
        value = now(figures[match[1]], figures)
        return "%-24s %6d %-12s %s" % (match[1], figures[match[1]].value if value is None else value, match[3],
                                       match[4])

    text = LINE.sub(line, re.sub(r"^# compiler: .*$", "# compiler: " + compiler(), text, flags=re.M))
    with open(FILE, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    if sys.argv[1:] != ["--commit"]:
        sys.exit("figures.py: say --commit to write what was measured last into docs/figures.txt")
    commit()
