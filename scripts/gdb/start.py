"""start.py: what gdb reads first: brings the commands, follows the symbols, and goes to where a session begins.

run.sh --gdb writes a script that imports this file and calls begin(). Another front end says `source
scripts/gdb/start.py`, loads build/debug/supervisor.elf, and says `python watch()` once it is attached;
.vscode/launch.json does.

The rooms: layout.py, words.py, pages.py and paragraphs.py know nothing of gdb and are tested by themselves; settings.py
sets what all rely on; kernel.py reaches the machine; symbols.py, shards.py, memory.py, traps.py, devices.py and
tours.py are the commands. Read next: layout.py. """

import contextlib
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import gdb  # noqa: E402 (the path must be set first)

import settings  # noqa: E402
import kernel  # noqa: E402
import words  # noqa: E402
import symbols  # noqa: E402
import shards  # noqa: E402,F401 (the rooms register their commands)
import memory  # noqa: E402,F401
import traps  # noqa: E402
import devices  # noqa: E402,F401
import tours  # noqa: E402

ENTRIES = ("_start", "pvh_start")  # of the trampoline: from the loader, and from QEMU's -kernel
WIDTH = 10  # lines of source


def watch():
    """Looks from now on at what passes by: the address that the loader leaves, and faults. Needs a machine."""
    symbols.AtEntry()
    for function in ("fault_kill", "fault_panic"):
        if gdb.lookup_global_symbol(function):  # which the lower rungs of the ladder do not have
            traps.AtFault(function)


def show_source():
    """Prints the lines around the place where the machine stands; of a function that begins with what is inlined from
    another file, its own."""
    frame = gdb.newest_frame()
    line, function = frame.find_sal(), frame.function()
    symtab, number = line.symtab, line.line
    if function and symtab and function.symtab.filename != symtab.filename:
        symtab, number = function.symtab, function.line + 2
    if symtab and number and os.path.exists(symtab.fullname()):
        with open(symtab.fullname(), encoding="utf-8", errors="replace") as file:
            lines = list(enumerate(file.read().split("\n"), 1))
        for at, text in lines[max(0, number - 1 - WIDTH // 2):number + WIDTH // 2]:
            print("%d\t%s" % (at, text))


def begin(socket, where, run=None, build=None):
    """Begins a session: attaches and runs to the supervisor's main, to the trampoline (`boot`), or to a shard's main;
    or leads through a tour (`tour:NAME`)."""
    symbols.Settings.run = run
    symbols.Settings.build = build
    if run:
        gdb.execute("file " + words.file_name(os.path.join(run, "supervisor.elf")))
    gdb.execute("target remote " + socket, to_string=True)
    if run:  # the socket has done its work, and a killed session would leave it behind
        with contextlib.suppress(OSError):
            os.unlink(socket)
            os.rmdir(os.path.dirname(socket))
    watch()
    if where.startswith("tour:") and where != "tour:boot":
        tours.lead(where[5:], show_source)
        return
    if where in ("boot", "tour:boot"):
        for name in ENTRIES:
            gdb.Breakpoint("*0x%x" % kernel.address_of(name), type=gdb.BP_HARDWARE_BREAKPOINT, temporary=True)
    elif where == "main":
        with settings.code_from_file():
            gdb.Breakpoint("supervisor_main", type=gdb.BP_HARDWARE_BREAKPOINT, temporary=True)
    else:
        symbols.load(symbols.elf_of(where))
        # by its name, so that gdb shows main and not what is inlined there
        symbols.InShard(where, "main", temporary=True)
    names = {"boot": "the trampoline", "tour:boot": "the trampoline", "main": "supervisor_main"}
    print("Running to %s ..." % names.get(where, "main of shard " + where))
    sys.stdout.flush()
    gdb.execute("continue")
    if where == "tour:boot":
        tours.lead("boot", show_source)
    elif gdb.selected_inferior().pid:
        show_source()


gdb.events.stop.connect(symbols.on_stop)
