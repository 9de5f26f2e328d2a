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
    "trust-readonly-sections off",  # memory is what counts; but see code_from_file
    LASTING,
)


def apply(settings=SETTINGS):
    """Sets them; one that this gdb does not know needs no value."""
    for setting in settings:
        with contextlib.suppress(gdb.error):
            gdb.execute("set " + setting, to_string=setting != LASTING)


TRUST = "set trust-readonly-sections "
BREAKING = ("break", "tbreak", "hbreak", "thbreak", "advance", "until")


@contextlib.contextmanager
def code_from_file():
    """While this lasts gdb reads code in the file and not in memory. A breakpoint on a function belongs behind the
    instructions that put its arguments into their places, and is often set before the code is in memory."""
    gdb.execute(TRUST + "on")
    try:
        yield
    finally:
        gdb.execute(TRUST + "off")


def help_breaking():
    """Lets the commands that set breakpoints read code in the file."""
    for name in BREAKING:
        gdb.execute("define hook-%s\n%son\nend" % (name, TRUST), to_string=True)
        gdb.execute("define hookpost-%s\n%soff\nend" % (name, TRUST), to_string=True)


apply()
help_breaking()
