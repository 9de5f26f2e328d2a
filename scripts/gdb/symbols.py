"""symbols.py: which symbols are loaded: the supervisor's always, the loader's once it is known where the firmware put
it, and those of one shard at a time, since all shards are linked at the same address.

At every stop the symbols of the shard whose address space is loaded replace those of another. A symbol file is taken
only when its code is what lies in that shard's memory. Read next: shards.py.
"""

import os

import gdb

import kernel
import pages
import settings
import words

USER_HALF = 1 << 47
COMPARED = 4096  # bytes of a shard's code, at most


class Settings:
    """Where symbol files are looked for. start.py fills it in."""

    run = None  # the folder of this run, None: another front end has started gdb
    build = None  # the folder of the build, None: that of the supervisor whose symbols gdb has


class Loaded:
    """What is loaded now."""

    elf = None  # of a shard
    pinned = False  # asked for by the user: stays until a shard stops in ring 3
    loader = None  # address of the loader
    found = None  # the same, as soon as it is known


def build_folder():
    """Returns the folder of the build that runs."""
    return Settings.build or os.path.dirname(gdb.current_progspace().filename or "")


def candidates(program):
    """Yields the ELF files that may be those of a program of the ramdisk."""
    folders = [Settings.run and os.path.join(Settings.run, "shards"), os.path.join(build_folder(), "shards")]
    if Settings.run and os.path.exists(os.path.join(Settings.run, "elves")):
        with open(os.path.join(Settings.run, "elves"), encoding="utf-8") as file:
            for line in file:
                guest, host = line.rstrip("\n").split("\t")
                if program in (guest, os.path.basename(guest)):
                    yield host
    for folder in filter(None, folders):
        path = os.path.join(folder, os.path.basename(program) + ".elf")
        if os.path.exists(path):
            yield path


def fits(elf, number):
    """Returns whether a shard's memory holds the code of an ELF file. The flat binary of that code lies beside it."""
    base = kernel.layout_number("COCONUT_CODE_BASE")
    walk = pages.Walk(kernel.read_table, int(kernel.shard(number)["cr3"]), base)
    if walk.phys is None:
        return False
    try:
        with open(os.path.splitext(elf)[0] + ".bin", "rb") as file:
            code = file.read(COMPARED)
    except OSError:
        return False
    return kernel.read_physical(walk.phys, len(code)) == code


def load(elf):
    """Replaces the symbols of a shard by those of another."""
    if Loaded.elf == elf:
        return
    unload()
    with settings.code_from_file():
        gdb.execute("add-symbol-file " + words.file_name(elf), to_string=True)
    Loaded.elf = elf


def unload():
    """Takes the symbols of a shard away."""
    if Loaded.elf:
        Loaded.elf = None
        with settings.code_from_file():
            gdb.execute("remove-symbol-file -a 0x%x" % kernel.layout_number("COCONUT_CODE_BASE"), to_string=True)


def follow_current():
    """Loads the symbols of the shard whose address space is in use. Returns whether that changed anything."""
    if not kernel.running() or (Loaded.pinned and not kernel.in_ring3()):
        return False
    number = kernel.shard_of_cr3(kernel.register("cr3") & pages.ADDRESS)
    if number is None:
        return False
    Loaded.pinned = False
    before = Loaded.elf
    elf = elf_of_running(number)
    load(elf) if elf else unload()
    return Loaded.elf != before


def elf_of_running(number):
    """Returns the ELF file whose code lies in a shard's memory, None: no such file is known."""
    for elf in candidates(kernel.program_of(number)):
        if fits(elf, number):
            return elf
    return None


def on_stop(_event):
    """At every stop; what goes wrong here must not keep the user from looking around."""
    try:
        if Loaded.found:
            load_loader(Loaded.found)
        if follow_current() and kernel.in_ring3():
            gdb.execute("frame")
    except Exception as problem:
        print("symbols: %s" % problem)


# ---- The loader ----


def load_loader(base):
    """Loads the loader's symbols for the address where the firmware put it."""
    elf = os.path.join(build_folder(), "efi_loader.so")
    if Loaded.loader == base or not os.path.exists(elf):
        return
    gdb.execute("add-symbol-file %s -o 0x%x" % (words.file_name(elf), base), to_string=True)
    Loaded.loader = base


class AtEntry(gdb.Breakpoint):
    """Passes by the supervisor's entry point, where rdi is the physical address of what the loader left."""

    def __init__(self):
        super().__init__("*0x%x" % kernel.address_of("_start"), type=gdb.BP_HARDWARE_BREAKPOINT, internal=True)

    def stop(self):
        try:
            kind = kernel.structure("bootinfo")
            info = gdb.Value(kernel.read_physical(kernel.register("rdi"), kind.sizeof), kind)
            if int(kernel.field(info, "magic")) == kernel.layout_number("BOOTINFO_MAGIC"):
                Loaded.found = int(kernel.field(info, "loader"))
        except Exception as problem:  # whatever it is, the machine goes on
            print("symbols: the loader's address is not known: %s" % problem)
        return False  # symbols must not be loaded here: on_stop does it


# ---- Breakpoints in a shard ----


def elf_of(name):
    """Returns the ELF file of a shard, by its name in the manifest of this run, or by its program's."""
    programs = [path for shard, path in manifest_lines() if shard == name] or [name]
    found = [elf for program in programs for elf in candidates(program)]
    return found[0] if found else kernel.fail("no symbols for %s: looked for %s.elf" % (name,
                                                                                        os.path.basename(programs[0])))


def manifest_lines():
    """Returns (name, program) of every shard of this run's manifest."""
    path = os.path.join(Settings.run or "", "manifest")
    if not Settings.run or not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        lines = [line.split("#")[0].split() for line in file]
    return [(line[1], line[2]) for line in lines if len(line) > 2 and line[0] == "shard"]


def is_named(number, name):
    return number is not None and name in (kernel.name_of(number), os.path.basename(kernel.program_of(number)))


class InShard(gdb.Breakpoint):
    """Stops at a place in ring 3, in one shard only: all shards have code there.

    A lasting one is set by address: a name would mean another place as soon as another shard's symbols are loaded."""

    def __init__(self, name, location, temporary=False):
        self.shard = name
        with settings.code_from_file():
            super().__init__(location, type=gdb.BP_HARDWARE_BREAKPOINT, temporary=temporary)

    def stop(self):
        return kernel.in_ring3() and is_named(kernel.current(), self.shard)


def break_in_shard(name, location):
    """Sets a lasting breakpoint in a shard that need not have started yet. Returns it."""
    load(elf_of(name))
    Loaded.pinned = True
    with settings.code_from_file():
        places = [place for place in gdb.decode_line(location)[1] or [] if place.pc < USER_HALF]
    if not places:
        kernel.fail("%s has no %s" % (name, location))
    return InShard(name, "*0x%x" % places[0].pc)


@kernel.command("ring3", "ring3 NAME [LOCATION]")
def ring3(arguments):
    """Stops when shard NAME (as in the manifest, or its program) comes to LOCATION in ring 3, `main` if not given.

It need not have started yet. Example: ring3 hello-c main.c:25"""
    if len(arguments) not in (1, 2):
        kernel.fail("usage: ring3 NAME [LOCATION]")
    point = break_in_shard(arguments[0], arguments[1] if len(arguments) == 2 else "main")
    return ["Breakpoint %d in shard %s at %s" % (point.number, arguments[0], point.location)]


@kernel.command("shard", "shard NAME")
def shard(arguments):
    """Loads the symbols of shard NAME now (as in the manifest, or its program), in place of another shard's.

At a stop in ring 3 the symbols of the shard that runs are loaded anyway."""
    if len(arguments) != 1:
        kernel.fail("usage: shard NAME")
    load(elf_of(arguments[0]))
    Loaded.pinned = True
    return ["Symbols of %s: %s" % (arguments[0], Loaded.elf)]


@kernel.command("loader", "loader [ADDRESS]")
def loader(arguments):
    """Says where the firmware put the UEFI loader; with ADDRESS, loads its symbols for there.

Under run.sh --gdb this happens by itself when the supervisor is entered. The loader's first line on the console says
where it lies."""
    if arguments:
        load_loader(int(arguments[0], 0))
    if not Loaded.loader:
        return ["The loader's address is not known: the supervisor has not been entered from firmware since gdb is "
                "attached."]
    return ["The loader lies at 0x%x" % Loaded.loader]
