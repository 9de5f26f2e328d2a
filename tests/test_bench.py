"""The benchmark figures: none may differ by more than 3 % from the one that is committed with the compiler it was made with.

Read next: bench.sh, docs/performance.md.
"""

import json
import os
import subprocess

import harness

TOLERANCE = 0.03


def test_figures(t):
    """Every figure of bench.sh is within 3 % of scripts/bench_committed.json; a new one is committed with its reason."""
    with open(os.path.join(t.root, "scripts", "bench_committed.json"), encoding="utf-8") as file:
        committed = json.load(file)
    version = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    if version != committed["compiler"]:
        raise harness.Skip("the figures were made with %s, this is %s" % (committed["compiler"], version))
    t.sh(["./bench.sh"], expect=0)
    with open(os.path.join(t.root, "build", "bench.json"), encoding="utf-8") as file:
        found = json.load(file)["figures"]
    t.equal(set(found), set(committed["figures"]), "the names of the figures")
    wrong = ["%s: %d, committed %d" % (name, found[name], value) for name, value in committed["figures"].items()
             if abs(found[name] - value) > TOLERANCE * value]
    t.check(not wrong, "; ".join(wrong))
    t.note("%d figures" % len(found))


test_figures.heavy = True
