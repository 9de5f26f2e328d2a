"""Grader of lab 12: FPU and SSE registers survive every way of losing the CPU, and do not leak.

Read next: labs/checks/sums/main.c, tests/shards/fpu/main.c and tests/shards/entry/main.c, which do the work.
"""

REQUIREMENTS = {
    "alone": (2, "floating-point work of one shard survives the ticks"),
    "preempted": (3, "XMM, x87 and MXCSR of shards that preempt each other survive"),
    "calls": (1, "and of shards that yield and wait in calls"),
    "entry": (2, "a new shard begins with clean registers, while others fill theirs"),
}
ANSWERS = {
    "member": "a2f37660ac73fb3e9d5acb74",
    "mxcsr": "c006e66a12642838713fb0fc",
    "instruction": "60c1364aa668dd0ebedf5809",
}


def grade(lab):
    lab.judge_good("alone", lab.boot("shard a /c/sums"))
    lines = ["shard s%d /t/fpu args=\"s 30 %d\"" % (i, 101 + i) for i in range(3)]
    lab.judge_good("preempted", lab.boot("\n".join(lines)))
    lines = ["shard y%d /t/fpu args=\"y 100 %d\"" % (i, 201 + i) for i in range(2)]
    lines += ["shard c /t/fpu args=\"c 100 301\"", "shard e /t/fpu args=\"e 99 302\"", "channel c e"]
    lab.judge_good("calls", lab.boot("\n".join(lines)))
    lines = ["shard f1 /t/fpu args=\"s 20 11\"", "shard f2 /t/fpu args=\"y 50 12\"", "shard f3 /t/fpu args=\"s 60 13\""]
    lines += ["shard e1 /t/entry after=f1", "shard e2 /t/entry after=f2"]
    lab.judge_good("entry", lab.boot("\n".join(lines)))
