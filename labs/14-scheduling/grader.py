"""Grader of lab 14: nobody waits for ever, and priorities still mean something. Time is counted in instructions.

Read next: labs/checks/hog/main.c and labs/checks/meek/main.c.
"""

import machine

REQUIREMENTS = {
    "ages": (4, "while a shard of high priority computes, shards of normal and of low priority run for the first time"),
    "often": (2, "and run again and again"),
    "priority": (3, "but they get only a small part of the processor"),
    "wakes": (2, "a shard of high priority still runs at once when it is woken"),
}
HOG_MS = 300


def grade(lab):
    lines = ["shard hog /c/hog priority=high args=\"%d\"" % HOG_MS]
    lines += ["shard %s /c/meek priority=%s args=\"work\"" % (name, name) for name in ("normal", "low")]
    lines += ["channel hog normal", "channel hog low"]
    run = lab.boot("\n".join(lines), options=machine.ICOUNT)
    code = run.codes.get("hog")
    lab.judge("ages", run.ended and code in (0, 4), "both have run before the hog ends",
              {1: "neither has", 2: "low has not", 3: "normal has not"}.get(code, run.words()), run)
    lab.judge("often", run.ended and code == 0, "each has run four times and more",
              "fewer times" if code == 4 else run.words(), run)
    late = {name: run.codes.get(name) for name in ("normal", "low")}
    lab.judge("priority", run.ended and not any(late.values()) and None not in late.values(),
              "100 ms of their work take longer than the hog's %d" % HOG_MS,
              "done before: %s" % [name for name, code in late.items() if code], run)
    lines = ["shard sleeper /c/meek priority=high args=\"sleep\"", "shard waker /c/meek priority=low args=\"wake\"",
             "channel sleeper waker"]
    lab.judge_good("wakes", lab.boot("\n".join(lines), options=machine.ICOUNT))
