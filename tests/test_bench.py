"""The benchmark figures: the same at each run, and none more than 3 % from what docs/figures.txt says, where it was
made with this compiler.

Read next: bench.sh, figures.py, docs/performance.md.
"""

import os
import re

import figures

# A page that is not the known one is looked up, and the fast path of CALL goes on: without that, more than a thousand.
BOUNDS = {"rtt8_requests": 450, "rtt8_replies": 450}


def run(t):
    """Runs bench.sh. Returns (what it printed, what it wrote to build/bench.json)."""
    printed = t.sh(["./bench.sh"], expect=0).stdout
    with open(os.path.join(t.root, "build", "bench.json"), encoding="utf-8") as file:
        return printed, file.read()


def compare(t, row, *kinds):
    """Reports whether the figures of these kinds are what was measured just now."""
    if not figures.same_compiler():
        t.row(row, skip="docs/figures.txt was made with another compiler than %s" % figures.compiler())
        return
    known = figures.load()
    mine = [figure for figure in known.values() if figure.how.split()[0] in kinds]
    found = {figure.name: figures.now(figure, known) for figure in mine}
    wrong = ["%s: %d, docs/figures.txt says %d" % (figure.name, found[figure.name], figure.value) for figure in mine
             if figures.differs(figure, found[figure.name])]
    blind = [figure.name for figure in mine  # the twin: a figure that is a tenth larger would be found
             if not figures.differs(figures.Figure(figure.name, figure.value * 11 // 10 + 1, "", ""),
                                    found[figure.name])]
    wrong += ["nobody would notice another " + name for name in blind]
    t.row(row, problem="; ".join(wrong), note="%d figures" % len(mine))


def test_bench(t):
    """bench.sh says the same twice, byte for byte; its figures, and how they spread over functions, are those of
    docs/figures.txt; new ones are committed with their reason (tests/figures.py --commit)."""
    first, second = run(t), run(t)
    named = "its figures are missing" if "BENCH null " not in first[0] else None
    differ = [what for what, one, other in zip(("stdout", "bench.json"), first, second) if one != other]
    t.row("bench.twice", problem=named or ("differs between two runs: " + ", ".join(differ) if differ else None))
    compare(t, "bench.figures", "bench", "growth")
    over = ["%s: %s, at most %d" % (name, cost, BOUNDS[name]) for name, cost in
            re.findall(r"^BENCH (\w+) (\d+)$", first[0], re.M) if int(cost) > BOUNDS.get(name, int(cost))]
    missing = [name for name in BOUNDS if "BENCH %s " % name not in first[0]]
    t.row("bench.bounds", problem="; ".join(over + missing), note="%d bounds" % len(BOUNDS))
    t.sh(["./bench.sh", "--steps"], expect=0)
    compare(t, "bench.steps", "steps")


test_bench.rows = ["bench.twice", "bench.figures", "bench.bounds", "bench.steps"]
test_bench.heavy = True
