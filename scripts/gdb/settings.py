"""settings.py: what the commands of this folder need of gdb's settings, whatever the user's own ~/.gdbinit says.

Reading this file makes them so. What is not named here is left to the user. Read next: start.py.
"""

import contextlib

import gdb

LASTING = "width 0"  # gdb takes its width back where output goes to a string
SETTINGS = (
    "architecture i386:x86-64",
    "backtrace limit unlimited",  # kbt
    "breakpoint pending auto",  # a function that is gone is an error, and no question
    "case-sensitive auto",
    "confirm off",
    "debuginfod enabled off",  # which would ask before the first symbols are read
    "filename-display relative",  # places are named as in the documents
    "input-radix 10",
    "language auto",
    "max-value-size unlimited",  # `shards` is large
    "multiple-symbols all",
    "non-stop off",  # QEMU stops as a whole
    "output-radix 10",
    "pagination off",  # a command that waits for Enter would keep a script waiting
    "print address on",
    "print elements 200",
    "print frame-info auto",
    "print max-depth 20",
    "python print-stack message",
    "schedule-multiple off",
    "scheduler-locking off",
    "trace-commands off",
    LASTING,
)


def apply(settings=SETTINGS):
    """Sets them; one that this gdb does not know needs no value."""
    for setting in settings:
        with contextlib.suppress(gdb.error):
            gdb.execute("set " + setting, to_string=setting != LASTING)


apply()
