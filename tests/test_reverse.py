"""reverse: run.sh --record and --replay: a run comes once more, word for word, and gdb goes backwards in it.

Read next: scripts/qemu.sh, which asks QEMU for it; sessions.py.
"""

import os
import re
import shlex
import shutil

import sessions

COMMANDS = ["hbreak fault_kill", "continue", "pagewalk $cr2", "watch -l *$entry", "reverse-continue", "reverse-stepi",
            "x/i $pc", "print/x *$entry", "stepi", "print/x *$entry", "backtrace", "kill"]
PRESENT, WRITE = 1, 2
ENDLESS = '#include "coconut.h"\nint main(const char *args) { (void)args; for (;;) ; }\n'


def record(t, shard="tests/shards/scribbler"):
    """Records a run of a shard that is killed. Returns the recording and the run."""
    path = os.path.join(t.scratch, "run")
    done = t.sh(["./run.sh", "--timeout", "300", "--record", path, "--shard", shard], expect=1)
    t.check(done.stdout.endswith("Halting.\n"), "the recorded run did not end: " + done.stdout[-200:])
    return path, done


def session(t, path, commands):
    """Runs a session of gdb in a recorded run. Returns what each command printed."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    console = t.file("console", "")
    script = t.file("commands", sessions.script(commands, console))
    machine = sessions.with_console("./run.sh --timeout 300 --replay %s --gdb" % shlex.quote(path), console)
    steps = sessions.steps(t.sh("%s < %s 2>&1" % (machine, shlex.quote(script)), expect=3).stdout, console)
    t.equal(len(steps), len(commands) + 2, "the beginning, the commands, and the end that gdb came to")
    return [step.printed for step in steps[1:-1]]


def test_replay(t):
    """A replay says what the recorded run said and ends as it did, whatever has become of the build meanwhile."""
    path, first = record(t)
    again = t.sh(["./run.sh", "--timeout", "300", "--replay", path], expect=1)
    t.equal(again.stdout, first.stdout, "what the replay says")
    for option in (["--kernel", "--verbose"], ["--shard", "shards/hello-c"], ["--build", "build"]):
        refused = t.sh(["./run.sh", "--replay", path, *option], expect=4)
        t.check("--replay boots what was recorded" in refused.stderr, "%s: %s" % (option, refused.stderr))
    refused = t.sh(["./run.sh", "--replay", "README.md"], expect=4)
    t.check("was not written by --record" in refused.stderr, "a file that is no recording: " + refused.stderr)


def test_ended_from_outside(t):
    """A run that its time-out ends is recorded until then, and the replay says that it ends there."""
    path = os.path.join(t.scratch, "run")
    endless = os.path.dirname(t.file("endless/main.c", ENDLESS))
    first = t.sh(["./run.sh", "--timeout", "5", "--record", path, "--shard", endless], expect=124)
    again = t.sh(["./run.sh", "--timeout", "300", "--replay", path], expect=3)
    t.check("terminating on signal" not in first.stderr, "QEMU's farewell is shown: " + first.stderr)
    t.check("the recording ends here" in again.stderr, "the replay does not say why it ends: " + again.stderr)
    t.equal(again.stdout, first.stdout, "what the replay says")


def test_who_wrote(t):
    """A shard writes to its code and is killed; reverse-continue goes back to the instruction that has written the
    entry of the page table, and reverse-stepi to before it. Forwards nobody writes there: the twin."""
    path, _ = record(t)
    _, _, walk, _, back, _, instruction, before, _, after, callers, _ = session(t, path, COMMANDS)
    t.check("PT   [  1]" in walk and "R+X user" in walk, "the shard did not fault at its code: " + walk)
    t.check("space_map (" in back, "reverse-continue goes elsewhere: " + back)
    t.check(re.search(r"=> 0x\w+ <space_map\+\d+>:\s+mov +%\w+,\(%\w+\)", instruction),
            "the instruction that writes is not " + instruction)
    before, after = [int(re.search(r"= 0x(\w+)", said).group(1), 16) for said in (before, after)]
    t.check(not before & PRESENT and after & PRESENT and not after & WRITE,
            "the instruction makes %#x of the entry %#x" % (after, before))
    t.check("load_code (" in callers, "nobody called it: " + callers)
    forwards = session(t, path, COMMANDS[:4] + ["continue", "kill"])
    t.check("space_map (" not in forwards[4], "forwards leads there as well: " + forwards[4])
