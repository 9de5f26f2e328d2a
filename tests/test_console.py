"""The console: lines stay whole whoever writes meanwhile, and no shard drives the terminal or fools run.sh.

Read next: console.c.
"""

import re

MIDDLE = "x" * 80


def shard_lines(result, who, first, count):
    """Returns which of the numbered lines of a shard did not arrive whole, once, and in order."""
    got = [line for line in result.lines if line.startswith("<%s:" % who)]
    wanted = ["<%s:%d:%s:%d:%s>" % (who, i, MIDDLE, i, who) for i in range(first, first + count)]
    return [line for line, right in zip(got + [None] * count, wanted) if line != right] if got != wanted else []


def check_lines(t, result, writers, first, count):
    for who in writers:
        wrong = shard_lines(result, who, first, count)
        t.check(not wrong, "%d lines of shard %s are not whole: %r" % (len(wrong), who, wrong[:1]))


def test_pieces(t):
    """Lines that four shards write piece by piece at the same time come out whole."""
    result = t.guest("\n".join('shard s%s /t/talk args="pieces %s"' % (who, who) for who in "abcd"), expect=0)
    check_lines(t, result, "abcd", 100, 300)
    t.check("[cut]" not in result.text, "a line was cut")


def test_open_line(t):
    """A line that is never ended holds nobody up: it is cut visibly, and the lines of others come out whole."""
    result = t.guest('shard o /t/talk args="open"\nshard a /t/talk args="lines a"\nshard b /t/talk args="lines b"', expect=0)
    check_lines(t, result, "ab", 100, 100)
    t.check("this line never ends [cut]" in result.lines, "the open line was not cut visibly")
    t.check(" and goes on" in result.lines, "the rest of the cut line is missing")


def test_flood(t):
    """A shard that floods the console without ever ending a line does not spoil the lines of others."""
    result = t.guest('shard f /t/talk args="flood"\nshard a /t/talk args="lines a"\nshard b /t/talk args="pieces b"', expect=0)
    check_lines(t, result, "a", 100, 100)
    text = re.sub(r" \[cut\]\n", "", result.text)
    t.equal(text.count("~"), 1 << 20, "bytes of the flood")
    numbers = re.findall(r"<b:(\d+):", result.text)
    t.equal(numbers, [str(i) for i in range(100, 400)], "lines of b")


def test_left_open(t):
    """The open line of a shard that ends is ended with it."""
    result = t.guest('shard l /t/talk args="leave"\nshard a /t/talk args="lines a"', expect=0)
    t.check("left open" in result.lines, "the line is missing or joined to another")
    check_lines(t, result, "a", 100, 100)


def test_control_characters(t):
    """No control character of a shard reaches the terminal, and its exit code is not covered up by a forged end."""
    result = t.guest('shard c /t/talk args="control"', expect=1)
    bad = set(result.raw) - set(range(32, 127)) - {9, 10}
    t.check(not bad, "bytes %s of a shard reached the console" % sorted(bad))
    t.check("[?[2J?]0;title?????2J?]" in result.lines, "the control characters were not replaced one by one")
    t.equal(result.endings(), {"c": 1}, "end")


def test_forged_end(t):
    """The supervisor's last lines in the mouth of a shard that never ends: the run times out."""
    result = t.guest('shard f /t/talk args="forge"', timeout=8)
    t.equal(result.status, 124, "exit status")


def test_utf8(t):
    """UTF-8 text comes through unchanged, also byte by byte."""
    result = t.guest('shard u /t/talk args="utf8"', expect=0)
    t.check("tab\there: äö € 🥥 ~" in result.lines, "the line has changed")
    t.check("byte by byte: €" in result.lines, "the line written byte by byte has changed")
