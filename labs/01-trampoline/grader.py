"""Grader of lab 01: the trampoline's tables show the first GiB three ways, and the system runs.

Read next: labs/lib/machine.py, which walks page tables.
"""

PML4_PHYS = 0x400000  # PHYS_BOOT_TABLES
GIB = 1 << 30
WAYS = {"one to one": 0, "the HHDM": 0xFFFF800000000000, "the image": 0xFFFFFFFF80000000}

REQUIREMENTS = {
    "boots": (3, "the kernel boots and runs a shard to its end"),
    "tables": (3, "at supervisor_main the tables at 0x400000 map the first GiB three ways"),
}
ANSWERS = {
    "symbol": "32e0f1f89560434a785ef49f",
    "level": "4cbf11617844c492a3ffb1ee",
    "table": "b78f7c87ed5735952614e40c",
    "index": "db5ca3a2efd94cf8c784c73c",
}


def gap(leaves, base):
    """Returns the first address from base on that is not mapped to itself less base, or None: the GiB is whole."""
    at = base
    for address, size, phys, _ in sorted(leaves):
        if address == at and phys == at - base:
            at += size
    return None if at >= base + GIB else at


def grade(lab):
    gaps = {}

    def look(machine):
        leaves = list(machine.leaves(PML4_PHYS, {0, 256, 511}))
        for way, base in WAYS.items():
            gaps[way] = gap(leaves, base)

    run = lab.boot("shard ok /t/ok", stops={"supervisor_main": look})
    lab.judge_good("boots", run)
    seen = ", ".join("%s: %s" % (way, "whole" if at is None else "a gap at %#x" % at) for way, at in gaps.items())
    lab.judge("tables", gaps and not any(gaps.values()), "no gap in any of the three", seen or "never got there", run)
