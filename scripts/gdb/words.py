"""words.py: numbers of the machine and of the kernel in words, and tables of words. Pure: no gdb.

Read next: pages.py.
"""

import os
import re

import layout

PAGE_FAULT = 14
PAGE_FAULT_BITS = [  # SDM Vol. 3A 4.7: the bit's meaning when it is set, when it is clear
    (0x01, "the page is mapped, its rights forbid it", "nothing is mapped there"),
    (0x02, "write", "read"),
    (0x04, "from ring 3", "from ring 0"),
    (0x08, "a reserved bit is set in an entry", None),
    (0x10, "instruction fetch", None),
    (0x20, "a protection key forbids it", None),
]
RFLAGS = [(0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF"),
          (14, "NT"),
          (16, "RF"), (18, "AC"), (21, "ID")]  # SDM Vol. 1 3.4.3
GENERAL = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15".split()


def table(head, rows):
    """Returns the lines of a table. Columns of numbers are aligned to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    right = [bool(rows) and all(row[i].isdigit() for row in rows) for i in range(len(head))]
    return ["  ".join(cell.rjust(width) if flush else cell.ljust(width)
                      for cell, width, flush in zip(row, widths, right)).rstrip() for row in [head] + rows]


def rights(bits, prefix):
    """Returns the names of set bits, as `SEND+RECV`; what has no name is shown as a number."""
    names = layout.names_of(prefix)
    parts = [name for value, name in sorted(names.items()) if bits & value]
    rest = bits & ~sum(names)
    return "+".join(parts + (["0x%x" % rest] if rest else [])) or "none"


def capability_type(number):
    """Returns the name of a type of capability."""
    return layout.names_of("CAP_", ("CAP_RIGHT_",)).get(number, "type %d" % number)


def call_name(number):
    """Returns the name of a system call."""
    return layout.names_of("SYS_", ("SYS_LIMIT",)).get(number, "call %d" % number)


def flags(value):
    """Returns the names of the set bits of rflags."""
    names = [name for bit, name in RFLAGS if value >> bit & 1]
    return " ".join(names + ["IOPL=%d" % (value >> 12 & 3)] if value >> 12 & 3 else names)


def page_fault(error):
    """Returns what a page-fault error code says, one phrase a bit."""
    phrases = [(on if error & bit else off) for bit, on, off in PAGE_FAULT_BITS]
    return ", ".join(phrase for phrase in phrases if phrase)


def selector_error(error):
    """Returns what the error code of another exception says (SDM Vol. 3A 6.13)."""
    if not error:
        return "no selector"
    if error & 2:
        # QEMU 7.2 puts 16 times the vector there in 64-bit mode, a processor 8 times.
        return "gate of vector %d in the IDT" % (error >> 3) + (", or under QEMU 7.2 of %d" % (error >> 4)
                                                                if not error & 8 else "")
    return "selector 0x%x in the %s" % (error & 0xFFF8, "LDT" if error & 4 else "GDT")


def registers(values):
    """Returns lines with the general registers of {name: number}, four a line."""
    known = [name for name in GENERAL if name in values]
    cells = ["%-3s %016x" % (name, values[name]) for name in known]
    return ["  ".join(cells[i:i + 4]) for i in range(0, len(cells), 4)]


def file_name(path):
    """Returns a path as one word of gdb's language, whatever is in it: from here on, since gdb does not take all names
    of folders."""
    return re.sub(r"([\\\"'\s])", r"\\\1", os.path.relpath(path))


def size(count):
    """Returns a number of bytes with its unit."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >> shift and not count & (1 << shift) - 1:
            return "%d %s" % (count >> shift, unit)
    return "%d bytes" % count
