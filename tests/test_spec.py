"""spec: what the calls mean, as tests/spec defines it: its size, and that its scenes notice each rule that is changed.

Read next: tests/spec/README.md.
"""

import glob
import os
import pathlib
import re

import harness
import test_image

LINES = 800  # of the specification, neither blank nor comment
SPEC = sorted(os.path.relpath(path, harness.ROOT) for path in glob.glob(os.path.join(harness.ROOT, "tests", "spec", "*.c")))


def test_size(t):
    """The specification is small."""
    lines = sum(test_image.code_lines(os.path.join(t.root, path)) for path in SPEC + ["tests/spec/spec.h"])
    t.check(lines < LINES, "%d lines, fewer than %d wanted" % (lines, LINES))
    t.note("%d lines" % lines)


# ---- A rule that is changed ----

# File, what stands there, what is put in its place.
CHANGED = [
    ("capability", "gifts >= GIFTS", "gifts > GIFTS"),
    ("capability", "|| free == 1", ""),
    ("capability", "if (below(cap, id)) cap->gone", "if (cap->id == id) cap->gone"),
    ("capability", "rights & ~cap->rights) return -COCONUT_E_RIGHTS;\n\tif (world", "0) return -COCONUT_E_RIGHTS;\n\tif (world"),
    ("channel", "mine->caller != NOBODY && mine->caller != me->slot", "false"),
    ("channel", "other->queued == QUEUE", "other->queued == QUEUE - 1"),
    ("channel", "closing->queued = 0;", ""),
    ("channel", "call->told = -COCONUT_E_BUSY", "call->told = 0"),
    ("channel", "mine->queue[i] = mine->queue[i + 1]", "mine->queue[i] = mine->queue[i]"),
    ("life", "(int64_t)(uint32_t)other->code : -1", "(int64_t)other->code : -1"),
    ("life", "line->restarts < line->restart", "true"),
    ("memory", "frames < quota ? NULL", "frames <= quota ? NULL"),
    ("memory", "page != STACK && !mapped", "page != STACK && page != STACK - 1 && !mapped"),
    ("call", "me->calls &= left", "me->calls = left"),
    ("order", "life->priority < me->priority", "life->priority < me->priority - 1"),
    ("order", "if (!spec_cap(life->call.cap)) return", "if (0) return"),
    ("order", "if (spec_waits_for(life->slot) != set)", "if (0)"),
]


def test_rules(t):
    """The scenes of tests/host/spec.c notice each rule that is changed."""
    text = pathlib.Path(t.root, "tests", "host", "spec.c").read_text()
    options = re.search(r"OPTIONS: *(.*)", text).group(1).split()
    for number, (name, old, new) in enumerate(CHANGED):
        path = os.path.join("tests", "spec", name + ".c")
        source = pathlib.Path(t.root, path).read_text()
        t.equal(source.count(old), 1, "occurrences of `%s` in %s" % (old, path))
        changed = t.file("%d/%s.c" % (number, name), source.replace(old, new).replace('"spec.h"', '"tests/spec/spec.h"'))
        program = os.path.join(t.scratch, "changed%d" % number)
        t.sh(["gcc", "-O0", "-I.", "-Ishards/lib", "-Itests/host"] + options + ["-o", program, "tests/host/spec.c", "cap.c", changed] +
             [other for other in SPEC if other != path], expect=0)
        t.check(t.sh([program]).returncode == 1, "nothing fails with `%s` instead of `%s` in %s" % (new, old, path))
    t.note("%d rules" % len(CHANGED))
