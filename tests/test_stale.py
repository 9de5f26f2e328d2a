"""State that was looked up before others ran, or that outlives whom it belongs to: the bad moment is made certain, and
nothing comes of it. Each test has a twin without its protection, in which the damage is seen.

Read next: tests/shards/stale/main.c, which has the scenes; docs/security.md, "State that outlives a call", which names
them.
"""

import re

ICOUNT = ["-icount", "shift=0,align=off,sleep=off"]  # the same turns every time


def cast(scene, roles, channels, **words):
    """Returns the manifest of a scene: a shard a role, and the channels between roles. words: {role: more of its
    line}."""
    lines = ['shard %s /t/stale args="%s %s" %s' % (role, scene, role, words.get(role, "")) for role in roles.split()]
    return "\n".join(lines + ["channel " + pair for pair in channels.split(", ")])


def play(t, manifest, status=0, build=None):
    """Plays a scene. Returns the Result."""
    return t.guest(manifest, verbose=True, options=ICOUNT, build=build, expect=status)


def control(t, manifest, symptom, ablation, provoke=None):
    """Plays a scene without the protection: it must fail with the symptom."""
    defines = {"ABLATION": "ABLATION_" + ablation}
    if provoke:
        defines["PROVOKE"] = "PROVOKE_" + provoke
    build = t.variant("-".join(["stale", ablation] + ([provoke] if provoke else [])), **defines)
    result = t.guest(manifest, verbose=True, options=ICOUNT, build=build)
    t.check(re.search(symptom, result.text, re.M), "without the protection the scene ends otherwise than predicted")


def provoked(t, name):
    return t.variant("provoke-" + name, PROVOKE="PROVOKE_" + name)


CALLER = "owner borrower, owner server, owner server"


def test_half(t):
    """In the first half of a CALL the capability is revoked and its slot filled by a weaker one: the CALL ends."""
    scene = cast("half", "owner caller", "owner caller, owner caller")
    play(t, scene)
    control(t, scene, r"coconut_channel_call\(3, .*\) is 1 .*, expected -4", "serial")


def test_slot(t):
    """The slot of a shard and the handle that names it are used again before one who waits runs: it learns nothing of
    the new one's end."""
    scene = cast("slot", "parent first second", "parent first, parent second, first second", parent="spawn=yes",
                 first="spawn=yes priority=high")
    play(t, scene)
    control(t, scene, r"coconut_wait\(2\) is 22 .*, expected -4", "serial")
    control(t, scene, r"coconut_wait\(2\) is 22 .*, expected -4", "held")


def test_revoked_caller(t):
    """One that does not get to run loses the capability of its CALL: the end is free at once."""
    scene = cast("caller", "owner borrower server", CALLER, owner="priority=high", borrower="priority=low")
    play(t, scene)
    control(t, scene, r"coconut_channel_call\(1, .*\) is -8 .*, expected 1", "call_over")


def test_killed_caller(t):
    """One that does not get to run is killed in its CALL: the end is free at once."""
    scene = cast("caller", "killer borrower server", CALLER.replace("owner", "killer"), killer="priority=high",
                 borrower="priority=low")
    result = play(t, scene, status=1, build=provoked(t, "kill"))
    t.equal(result.endings(), {"killer": 0, "borrower": "killed", "server": 0}, "ends")
    control(t, scene, r"coconut_channel_call\(1, .*\) is -8 .*, expected 1", "call_over", "kill")


def test_restarted_home(t):
    """The home of the end restarts while somebody to whom it was lent is in a CALL there: the next life finds it
    free."""
    scene = cast("home", "owner borrower server", CALLER, owner="priority=high restart=1", borrower="priority=low")
    play(t, scene)
    control(t, scene, r"coconut_channel_call\(1, .*\) is -8 .*, expected 1", "call_over")


def test_restarted_peer(t):
    """The other side restarts while somebody is in a CALL to its last life: the end is free for a CALL to the next
    one."""
    scene = cast("peer", "owner server", "owner borrower, owner server, owner server", owner="priority=high",
                 server="priority=critical restart=1")
    scene = scene.replace("\nchannel", '\nshard borrower /t/stale args="home borrower" priority=low\nchannel', 1)
    play(t, scene)
    control(t, scene, r"coconut_channel_call\(1, .*\) is -8 .*, expected 1", "call_over")


def test_lost(t):
    """What a life has sent arrives although the shard has restarted twice, in order, and then the end does."""
    scene = cast("lost", "sender receiver", "sender receiver", sender="priority=high restart=2")
    result = play(t, scene, status=1)
    t.equal(result.endings()["receiver"], 0, "the end of the receiver")
    control(t, scene, r"coconut_channel_recv\(handle, message, sizeof\(message\)\) > 0", "lost")


def test_unborn(t):
    """A child that is killed before its first instruction has none."""
    scene = cast("unborn", "parent", "parent other", parent="spawn=yes").replace("\nchannel",
                                                                                 "\nshard other /t/ok\nchannel")
    t.check("an instruction after KILL" not in play(t, scene).text, "it ran")
    control(t, scene, "an instruction after KILL", "kill_first")


def test_dying(t):
    """KILL of a shard that is in its exit already raises it: who is less urgent than the killer does not keep it from
    dying."""
    scene = cast("dying", "parent spinner killer", "parent killer, parent spinner, spinner killer",
                 parent="priority=low spawn=yes frames=12100", killer="priority=high")
    ends = [name for name, _ in re.findall(r"^Shard \d+ \((\w+)\) (ended)", play(t, scene).text, re.M)]
    t.check(ends.index("killer") < ends.index("spinner"), "the killer waits for the spinner: " + " ".join(ends))
    control(t, scene, r"Shard \d+ \(spinner\) ended[^$]*Shard \d+ \(killer\) ended", "raise")


def test_revoking(t):
    """A message that is sent while a revocation is under way does not reach who is about to lose its capability."""
    scene = cast("revoking", "owner holder friend sender", "owner holder, owner sender, holder friend, sender owner")
    play(t, scene, build=provoked(t, "preempt"))
    control(t, scene, r"coconut_channel_recv\(3, &message, 1\) is 1 .*, expected -4", "fast_held", "preempt")


def test_rank(t):
    """CALL hands the CPU to a receiver only where nobody more urgent than that one is ready."""
    scene = cast("rank", "client server middle", "client server, client middle", client="priority=high",
                 server="priority=low")
    said = [line for line in play(t, scene).lines if line.startswith("the ")]
    t.equal(said, ["the one in the middle", "the server"], "the order in which they run")
    control(t, scene, r"^the server$[^$]*^the one in the middle$", "rank")


def test_unmapped(t):
    """A buffer that the last CALL offered is unmapped: the next one does not write there."""
    scene = cast("unmapped", "client server", "client server")
    play(t, scene)
    control(t, scene, r"coconut_channel_call\(0, .*\) is 1 .*, expected -2", "forget")


def test_create(t):
    """The right to start shards is taken back while the program is looked up: nothing starts."""
    scene = cast("create", "owner borrower", "owner borrower", owner="spawn=yes")
    play(t, scene, build=provoked(t, "preempt"))
    control(t, scene, r"coconut_spawn\(.*\) is 1 .*, expected -6", "held", "preempt")
