"""Grader of lab 03: the processor knows the IDT, all of it, and what arrives is handled.

Read next: docs/book/06-traps.md for what a gate is, labs/lib/machine.py for how memory is read.
"""

import re
import struct

VECTORS, SPURIOUS, DOUBLE_FAULT = 64, 255, 8
GATE_SIZE, INTERRUPT_GATE, KERNEL_CODE = 16, 0x8E, 8

REQUIREMENTS = {
    "preempts": (3, "two shards that never leave the CPU both come to their end"),
    "faults": (2, "a shard that executes ud2 is killed, and the one beside it is not"),
    "register": (2, "the IDT register names a table with a gate for vectors 0 to 63 and 255"),
    "gates": (2, "each gate is an interrupt gate that ring 3 cannot call, and the double fault has a stack of its own"),
}
ANSWERS = {
    "limit": "f46716f54f3037a988bdc063",
    "gates": "8b3bdda5c7e8b237ec5b545c",
    "vector": "53e56bdb75cccc194425f53b",
}


def grade(lab):
    seen = {}

    def at_end(machine):
        match = re.search(r"IDT= *([0-9a-f]+) ([0-9a-f]+)", machine.monitor("info registers"))
        base, limit = (int(word, 16) for word in match.groups())
        seen["base"], seen["limit"] = base, limit
        size = min(256, (limit + 1) // GATE_SIZE) if base else 0
        seen["gates"] = [struct.unpack("<HHBBHII", machine.memory(base + i * GATE_SIZE, GATE_SIZE))
                         for i in range(size)]

    run = lab.boot_spinning(stops={"debug_exit": at_end})
    lab.judge_good("preempts", run)
    gates = seen.get("gates", [])
    present = {i for i, gate in enumerate(gates) if gate[3] & 0x80}
    wanted = set(range(VECTORS)) | {SPURIOUS}
    lab.judge("register", wanted <= present, "all of them present",
              "base %#x, limit %#x, %d gates present" % (seen.get("base", 0), seen.get("limit", 0), len(present)), run)
    bad = [i for i in present if gates[i][3] != INTERRUPT_GATE or gates[i][1] != KERNEL_CODE]
    lab.judge("gates", present and not bad and DOUBLE_FAULT in present and gates[DOUBLE_FAULT][2],
              "type 0x8e, selector 8, and an IST for vector 8", "others at vectors %s" % bad if bad else
              "no table" if not present else "vector 8 without an IST", run)
    run = lab.boot("shard bad /c/ud2\nshard fine /t/spin args=\"2\"")
    lab.judge_codes("faults", run, {"bad": "killed", "fine": 0})
