"""diagnosis.py: what the gdb scripts of this folder share: numbers, and the walk of an address.

tests/test_labs.py puts this folder on gdb's Python path; by hand: `python import sys; sys.path.insert(0, "solutions")`.

Read next: 06-not-present.gdb, a session that uses it.
"""

import gdb  # pylint: disable=import-error

HHDM = 0xFFFF800000000000
PRESENT, WRITE, USER, NX = 1, 2, 4, 1 << 63
LEVELS = (("PML4", 39), ("PDPT", 30), ("PD", 21), ("PT", 12))


def number(expression):
    return int(gdb.parse_and_eval("(unsigned long)(%s)" % expression))


def walk(address):
    """Returns [(name of the table, entry)] of an address in the live tables, down to the leaf or the first gap."""
    table, steps = number("$cr3") & 0xFFFFFFFFFF000, []
    for name, shift in LEVELS:
        at = HHDM + table + (address >> shift & 511) * 8
        entry = int.from_bytes(gdb.selected_inferior().read_memory(at, 8).tobytes(), "little")
        steps.append((name, entry))
        if not entry & PRESENT:
            break
        table = entry & 0xFFFFFFFFFF000
    return steps


def answer(key, value):
    print("answer %s: %s" % (key, value if isinstance(value, str) else "%#x" % value))


def stop_at_fault():
    """Goes on to where the kernel ends a shard for a fault. Returns the walk of the address."""
    gdb.execute("hbreak fault_kill")
    gdb.execute("continue")
    answer("error", number("frame->error"))
    answer("address", number("$cr2"))
    return walk(number("$cr2"))
