"""transcripts.py: compares what a document shows with what was printed. One rule for all documents:

A transcript is a piece of the output. Its lines are there, one after the other; what came before the first and after
the last is not shown. `...` in a line stands for any text, and a line that is only `...` for any lines that are left
out. All else is compared letter by letter, blanks too. Three things are not, which nobody sees: empty lines, blanks at
the end of a line, and how many blanks a column has beside `...`. A tabulator is shown as the blanks that a terminal
makes of it.

Read next: the transcripts: docs/book/02-trampoline.md, "In the debugger".
"""

import functools
import re

GAP = "..."
GAP_IN_LINE = re.compile(r"( {2,})?\.\.\.( {2,})?")


def visible(text):
    """Returns the lines that a reader sees."""
    lines = [line.expandtabs().rstrip() for line in text.replace("\r", "").split("\n")]
    return [line for line in lines if line]


@functools.lru_cache(maxsize=4096)
def fits(line, shown):
    """Returns whether a line of a transcript stands for a line of the output."""
    text, blanks_before, blanks_after = [GAP_IN_LINE.split(line)[i::3] for i in range(3)]
    gaps = [" +" * bool(before) + ".*" + " +" * bool(after)
            for before, after in zip(blanks_before, blanks_after)] + [""]
    return re.fullmatch("".join(re.escape(words) + gap for words, gap in zip(text, gaps)), shown) is not None


def missing(transcript, output):
    """Returns the first line of the transcript with which it is no piece of the output any more, or None. Each run of
    lines between two gaps is looked for behind the one before; if it is there, the first place is as good as any
    other."""
    shown, at = visible(output), 0
    for run in re.split(r"^%s$" % re.escape(GAP), "\n".join(visible(transcript)), flags=re.M):
        run, furthest = visible(run), 0
        for start in range(at, len(shown) - len(run) + 1):
            count = next((i for i, line in enumerate(run) if not fits(line, shown[start + i])), len(run))
            furthest = max(furthest, count)
            if count == len(run):
                at = start + count
                break
        else:
            return run[furthest]
    return None


def changes(transcript):
    """Yields the transcript again and again, each time with another one of its characters changed: every one that is
    compared."""
    for match in re.finditer(r"\.\.\.|\S", transcript):
        if match.group() != GAP:
            other = "#" if match.group() != "#" else "%"
            yield transcript[:match.start()] + other + transcript[match.end():]


def check(t, where, transcript, output):
    """Fails the test unless the transcript is a piece of the output, and is none with one character of a line
    changed."""
    line = missing(transcript, output)
    t.check(line is None, "%s: the transcript does not go on like this: %s" % (where, line))
    for line in transcript.split("\n"):
        twin = next(changes(line), None)
        t.check(twin is None or missing(transcript.replace(line, twin, 1), output),
                "%s: nothing compares: %s" % (where, line))
