"""layout.py: the plain numbers of layout.h and coconut.h, by their names. Pure: no gdb.

The compiler forgets the names of macros, so these are read from the headers themselves: one source, as for NASM. What
is a structure or a variable comes from debug information instead. Read next: kernel.py, which asks for that.
"""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADERS = ("layout.h", "coconut.h", "bootinfo.h", "structures.h", "kernel.h")
DEFINE = re.compile(r"^#define[ \t]+(\w+)[ \t]+(0[xX][0-9A-Fa-f]+|\d+)\b", re.M)


def parse(text):
    """Returns {name: number} of the lines `#define NAME number`."""
    return {name: int(number, 0) for name, number in DEFINE.findall(text)}


def load(root=ROOT):
    """Returns the numbers of all headers."""
    numbers = {}
    for header in HEADERS:
        with open(os.path.join(root, header), encoding="utf-8") as file:
            numbers.update(parse(file.read()))
    return numbers


NUMBERS = load()


def number(name):
    """Returns one number; raises KeyError with words when no header defines it."""
    if name not in NUMBERS:
        raise KeyError("%s is defined in none of %s any more" % (name, ", ".join(HEADERS)))
    return NUMBERS[name]


def names_of(prefix, leave_out=()):
    """Returns {number: the rest of the name} of all names that begin with `prefix`."""
    return {value: name[len(prefix):] for name, value in NUMBERS.items()
            if name.startswith(prefix) and not any(name.startswith(other) for other in leave_out)}
