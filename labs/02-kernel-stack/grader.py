"""Grader of lab 02: every kernel stack is mapped, each above its guard, and the supervisor uses its own.

Read next: docs/book/06-traps.md for what the stacks are for, labs/lib/machine.py for how they are looked at.
"""

BASE, SLOT, SIZE, PAGE = 0xFFFFFFFFA0000000, 0x4000, 0x2000, 0x1000

REQUIREMENTS = {
    "boots": (3, "the kernel boots and runs shards to their end"),
    "stacks": (3, "of each stack slot the upper 8 KiB are mapped, writable and not executable, and nothing else is"),
    "own": (2, "the supervisor initialises its devices on its own stack"),
}
ANSWERS = {
    "vector": "0b022f67aa2c9e6c9f5d5ae6",
    "first_vector": "a13baa5e7a9194c7aaf156f2",
    "slot": "a4d7f9b95ab38f81d76435bc",
    "ist": "a786489743d5ee579a6e83d3",
}


def grade(lab):
    seen = {}

    def at_devices(machine):
        seen["rsp"] = machine.registers()["rsp"]

    def at_end(machine):
        seen["slots"] = machine.image.value("STACK_IST") + machine.image.value("IST_LIMIT") + 1
        end = BASE + seen["slots"] * SLOT
        seen["pages"] = [leaf for leaf in machine.leaves(machine.number("kernel_cr3"), {511}) if BASE <= leaf[0] < end]

    run = lab.boot("shard a /t/ok\nshard b /t/ok after=a", stops={"devices_init": at_devices, "debug_exit": at_end})
    lab.judge_good("boots", run)
    slots, pages = seen.get("slots", 0), seen.get("pages", [])
    wanted = {BASE + slot * SLOT + offset for slot in range(slots) for offset in range(SLOT - SIZE, SLOT, PAGE)}
    found = {address for address, size, _, rights in pages if size == PAGE and rights == "W"}
    whole = slots and found == wanted and len(pages) == len({phys for _, _, phys, _ in pages}) == len(wanted)
    wrong = min(found ^ wanted, default=None)
    lab.judge("stacks", whole, "%d pages, each with a frame of its own" % len(wanted),
              "%d pages%s" % (len(pages), "" if wrong is None else ", the first difference at %#x" % wrong), run)
    own = BASE + slots * SLOT
    lab.judge("own", slots and own - SIZE <= seen.get("rsp", 0) < own, "rsp in the highest slot, below %#x" % own,
              "rsp %#x" % seen.get("rsp", 0), run)
