"""Capabilities and channels: who may speak where, and that every message arrives once, whole and in order.

Read next: tests/shards/channels/main.c and tests/shards/caps/main.c, which have the scenes.
"""

import re

SCENES = ("order", "full", "small", "both", "call", "exit", "death", "late", "stuffed", "stuck", "asked",
          "nothing")
CAP_SCENES = ("alone", "speak", "subset", "revoke", "recv", "call", "send", "half", "busy", "elder")


def pairs(scenes):
    """Returns the manifest for scenes of tests/shards/channels, each played by a pair of shards."""
    lines = []
    for scene in scenes:
        lines += ['shard %s-%s /t/channels args="%s %s"' % (scene, side, scene, side) for side in "ab"]
        lines.append("channel %s-a %s-b" % (scene, scene))
    return "\n".join(lines)


def four(scene):
    """Returns the manifest for a scene of tests/shards/caps, played by four shards."""
    lines = ['shard %s /t/caps args="%s %s"' % (who, scene, who) for who in "abcd"]
    return "\n".join(lines + ["channel a b", "channel b c", "channel c d", "channel a c"])


def test_channels(t):
    """Order, full queues, small buffers, both directions, CALL, and a peer that goes away: twelve pairs at once."""
    result = t.guest(pairs(SCENES))
    wanted = {"%s-%s" % (scene, side): 0 for scene in SCENES for side in "ab"}
    wanted["death-a"] = "killed"
    t.equal(result.status, 1, "exit status of run.sh")
    for name, code in wanted.items():
        t.equal(result.endings().get(name), code, "end of " + name)


def test_capabilities(t):
    """Grant, subset, restrict, revoke with copies of copies, revoke under a blocked holder, half of the slots, busy,
    and a wait that somebody can end who is not waiting."""
    for scene in CAP_SCENES:
        t.guest(four(scene), expect=0)


def test_integrity(t):
    """Numbered messages of random sizes under preemption, both directions: none is lost, doubled, reordered or
    altered."""
    count = 1000000 if t.full else 20000
    lines = []
    for pair, roles in (("x", ("out", "in")), ("y", ("in", "out")), ("z", ("duplex", "duplex"))):
        for side, role in zip("ab", roles):
            lines.append('shard %s%s /t/stream args="%s %d %d"' % (pair, side, role, count, ord(pair)))
        lines.append("channel %sa %sb" % (pair, pair))
    result = t.guest("\n".join(lines), expect=0, timeout=3600 if t.full else 400)
    profile = result.profile()
    t.check(profile["xa"]["syscalls"] >= count, "the sender made fewer calls than messages")


test_integrity.heavy = True


def test_fast_path(t):
    """The same random calls have the same results, errors, messages and capabilities with the fast path of CALL and
    without, and with what is known of a shard's memory and without."""
    manifest = 'shard ask /t/mix args="ask"\nshard answer /t/mix args="answer"\nchannel ask answer'
    found = [re.findall(r"^mix: (\w+) ([0-9a-f]+)$", t.guest(manifest, expect=0, build=build).text, re.M)
             for build in (None, t.variant("plain", PLAIN="1"))]
    t.equal(len(found[0]), 2, "shards that printed their result")
    t.equal(sorted(found[0]), sorted(found[1]), "results with and without the fast path")
