"""Grader of lab 05: every shard enters, and an address that sysret must not see never reaches it.

Read next: docs/book/07-system-calls.md for why sysret must not see it, labs/lib/machine.py.
"""

CANONICAL_END = 1 << 47
CODE, HEAP = 0x1000, 0x100000
GENERAL_PROTECTION = 13

REQUIREMENTS = {
    "enter": (3, "three shards enter ring 3 and come to their end"),
    "refuse": (3, "a system call whose return address is not canonical ends its shard, and nobody else"),
    "before": (2, "it is refused in the kernel: no general protection fault arises on the way back"),
}
ANSWERS = {
    "vector": "6984086344cc460e400a45d6",
    "rip": "93c6baf3574aab4fe5cadc8e",
    "ring": "70638c9f4851b23f554c14a8",
    "instruction": "2bc2f5b6fa7e7513dce1b6e1",
}


def grade(lab):
    run = lab.boot("\n".join("shard s%d /t/ok" % i for i in range(3)))
    lab.judge_good("enter", run)
    changed, faults = [], []

    def at_call(machine):
        """Changes the saved return address of the first call: the highest word on the stack that points into the
        code."""
        if changed:
            return
        top = machine.number("tss.rsp[0]")
        for at in range(top - 8, top - 96, -8):
            if CODE <= int.from_bytes(machine.memory(at, 8), "little") < HEAP:
                machine.write(at, CANONICAL_END.to_bytes(8, "little"))
                changed.append(at)
                return

    def at_interrupt(machine):
        frame = machine.trap_frame()
        if frame["vector"] == GENERAL_PROTECTION:
            faults.append(frame["cs"] & 3)

    run = lab.boot("shard a /t/spin args=\"1\"\nshard b /t/spin args=\"1\" after=a",
                   stops={"syscall_dispatch": at_call, "interrupt_dispatch": at_interrupt})
    lab.judge_codes("refuse", run, {"a": "killed", "b": 0})
    lab.judge("before", changed and run.ended and run.codes.get("a") == "killed" and not faults,
              "no fault, and the shard killed",
              "a general protection fault in ring %d" % faults[0] if faults else run.words(), run)
