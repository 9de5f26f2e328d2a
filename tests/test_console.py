"""The console: lines stay whole whoever writes meanwhile, and no shard drives the terminal or fools run.sh.

Read next: console.c.
"""

import os
import re
import sys
import unicodedata

import harness

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
    result = t.guest('shard o /t/talk args="open"\nshard a /t/talk args="lines a"\nshard b /t/talk args="lines b"',
                     expect=0)
    check_lines(t, result, "ab", 100, 100)
    t.check("this line never ends [cut]" in result.lines, "the open line was not cut visibly")
    t.check(" and goes on" in result.lines, "the rest of the cut line is missing")


def test_flood(t):
    """A shard that floods the console without ever ending a line does not spoil the lines of others."""
    result = t.guest('shard f /t/talk args="flood"\nshard a /t/talk args="lines a"\nshard b /t/talk args="pieces b"',
                     expect=0)
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


def test_killed(t):
    """Who is killed in the middle of SERIAL_WRITE writes no more of it: it would wait for a slow wire."""
    result = t.guest('shard k /t/talk args="kill" spawn=yes', options=["-icount", "shift=3,align=off,sleep=off"],
                     expect=0)
    floods = [len(line) for line in re.findall(r"~+", result.text.replace(" [cut]\n", ""))]
    t.equal(len(floods), 5, "children that printed")
    t.check(any(flood % 4096 for flood in floods), "all wrote whole pages after their death: %r" % floods)


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


# Text that UTF-8 allows and a terminal should not see, or UTF-8 forbids; and text beside it that has to pass.
STRICT = {"overlong ESC": ["e0809b", "f080809b"], "overlong CSI": ["e0829b", "c29b"],
          "overlong newline": ["e0808a", "f080808a"],
          "surrogate": ["eda080", "edbfbf"], "beyond": ["f4908080", "f48fbfbf"],
          "bidi": ["e280ae", "e281a6", "e2808e", "d89c"],
          "line": ["e280a8", "e280a9", "c285"], "hidden": ["efbbbf", "e2808b", "f3a08181"],
          "nothing": ["efbfbf", "efb790"]}
GOOD = {"joined": "e2808d", "accent": "c3a9", "cocoa": "f09fa5a5", "hebrew": "d790"}


def strict_lines(t, **options):
    """Has a shard print all these. Returns the lines between the quotes, by name."""
    words = {"%s %d" % (name, i): code for name, codes in STRICT.items() for i, code in enumerate(codes)}
    words.update(GOOD)
    content = b"".join(name.encode() + b"<" + bytes.fromhex(code) + b">\n" for name, code in words.items())
    result = t.guest('shard c /t/talk args="file /text"', files={"/text": content}, expect=0, **options)
    return dict(re.findall(rb"^([\w ]+)<(.*)>$", result.raw, re.M)), result


def test_strict_utf8(t):
    """Overlong forms, surrogates, what turns the direction of writing or ends a line: replaced; other text passes."""
    seen, result = strict_lines(t)
    for name, codes in STRICT.items():
        for i, code in enumerate(codes):
            got = seen.get(b"%s %d" % (name.encode(), i), b"missing")
            t.check(set(got) == {ord("?")}, "%s, %s: the console has %r" % (name, code, got))
    for name, code in GOOD.items():
        t.equal(seen.get(name.encode()), bytes.fromhex(code), name)
    t.check(not set(result.raw) & (set(range(32)) - {9, 10}), "a control character reached the console")
    seen, _ = strict_lines(t, build=t.variant("ablation-utf8", ABLATION="ABLATION_utf8"))
    t.equal(seen.get(b"overlong ESC 0"), bytes.fromhex("e0809b"), "an overlong ESC on a kernel without the check")


def test_unicode(t):
    """Of all code points the console replaces those that Python's table of characters says are no text to be seen."""
    program = os.path.join(t.scratch, "program")
    t.sh(["gcc"] + harness.HostProgram.FLAGS +
         ["-no-pie", "-Wl,--unresolved-symbols=ignore-all", "-o", program, "tests/host/console.c",
                                                "console.c"], expect=0)
    ranges = t.sh([program, "ranges"], expect=0).stdout.split()
    replaced = {code for words in ranges for first, last in [words.split("-")]
                for code in range(int(first, 16), int(last, 16) + 1)}
    # seen, or scripts need them
    joiners = {0xAD, 0x200C, 0x200D} | {0x600 + i for i in range(6)} | {0x6DD, 0x70F, 0x890, 0x891, 0x8E2}
    for code in range(32, sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        nothing = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
        no_text = category in ("Cc", "Cs", "Zl", "Zp") or nothing or (category == "Cf" and code < 0x10000 and
                                                                      code not in joiners)
        planes = 0xE0000 <= code <= 0xE0FFF or code in (0x2065, 0xFFF0)  # tags, and what is reserved beside them
        if not planes and code < 0xFFF0 or code > 0xFFFB:
            t.equal(code in replaced, no_text or planes, "whether U+%04X (%s) is replaced" % (code, category))


def test_words_of_strangers(t):
    """What the supervisor prints of the manifest, of paths and of names is cleaned as a shard's text, and cut
    visibly."""
    name = b"/x/\xc2\x9b31m\x9b2J\xe2\x80\xaered"
    cases = {b"shard a " + name: b"Shard 0 (a) cannot start from /x/?31m?2J?red: there is no such file",
             b"sh\x9brd a /x": b"/etc/coconut.conf:1: a line begins with shard, channel, gpu or pipeline: sh?rd",
             b"shard a\xc2\x9b /x": b"/etc/coconut.conf:1: a name has 1 to 23 letters, digits, points, hyphens or "
                                    b"underscores: a?",
             b"gpu \xe0\x80\x9b": b"/etc/coconut.conf:1: no earlier line declares a shard of this name: ?"}
    for text, wanted in cases.items():
        result = t.guest("# a manifest", {"/etc/manifest": text + b"\n"}, expect=1,
                         edits=["rm /etc/coconut.conf", "ln /etc/manifest /etc/coconut.conf"])
        t.check(wanted in result.raw.split(b"\n"), "%r is missing" % wanted)
        t.check(not set(result.raw) - set(range(32, 127)) - {9, 10}, "a byte of the manifest reached the console")
    path = "/" + "a" * 254
    result = t.guest("shard abcdefghijklmnopqrstuvw %s\nshard other /t/ok\nshard %s" % (path, "b" * 400), expect=1)
    t.check(any(line.startswith("/etc/coconut.conf:3: ") and line.endswith("b [cut]") for line in result.lines),
            "the long word is not cut")
    result = t.guest("shard abcdefghijklmnopqrstuvw %s\nshard other /t/ok" % path, expect=1)
    t.check("Shard 0 (abcdefghijklmnopqrstuvw) cannot start from %s: there is no such file" % path in result.lines,
            "the long line is not whole")
    result = t.guest('shard s /t/talk args="spawn" spawn=yes', {"/x\nShard 9 (x) ended\x1b": t.shard("ok")},
                     verbose=True, expect=0)
    t.check("started: /x?Shard 9 (x) ended?, " in result.text, "the path of a spawned program is not cleaned")
