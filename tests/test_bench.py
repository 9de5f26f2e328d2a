"""The benchmark figures: the same at each run, and none more than 3 % from the one that is committed with the compiler
it was made with.

Read next: bench.sh, docs/performance.md.
"""

import json
import os
import subprocess

TOLERANCE = 0.03


def run(t):
    """Runs bench.sh. Returns (what it printed, what it wrote to build/bench.json)."""
    printed = t.sh(["./bench.sh"], expect=0).stdout
    with open(os.path.join(t.root, "build", "bench.json"), encoding="utf-8") as file:
        return printed, file.read()


def test_bench(t):
    """bench.sh says the same twice, byte for byte; its figures are within 3 % of scripts/bench_committed.json; a new
    one is committed with its reason."""
    first, second = run(t), run(t)
    named = "its figures are missing" if "BENCH null " not in first[0] else None
    differ = [what for what, one, other in zip(("stdout", "bench.json"), first, second) if one != other]
    t.row("bench.twice", problem=named or ("differs between two runs: " + ", ".join(differ) if differ else None))
    with open(os.path.join(t.root, "scripts", "bench_committed.json"), encoding="utf-8") as file:
        committed = json.load(file)
    version = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    if version != committed["compiler"]:
        t.row("bench.figures", skip="the figures were made with %s, this is %s" % (committed["compiler"], version))
        return
    found = json.loads(first[1])["figures"]
    t.equal(set(found), set(committed["figures"]), "the names of the figures")
    wrong = ["%s: %d, committed %d" % (name, found[name], value) for name, value in committed["figures"].items()
             if abs(found[name] - value) > TOLERANCE * value]
    t.row("bench.figures", problem="; ".join(wrong), note="%d figures" % len(found))


test_bench.rows = ["bench.twice", "bench.figures"]
test_bench.heavy = True
