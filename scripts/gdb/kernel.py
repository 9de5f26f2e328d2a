"""kernel.py: how the commands reach the stopped machine: registers, physical memory, the kernel's variables.

Structures and variables come from the supervisor's debug information, by name; a name that is gone is an error that
says so. Nothing here changes the guest. Read next: symbols.py.
"""

import os
import struct

import gdb

import layout

RING_MASK = 3
TABLE = struct.Struct("<512Q")


def fail(text):
    """Ends the command with a message."""
    raise gdb.GdbError(text)


def command(name, usage=None, completer=gdb.COMPLETE_NONE):
    """Makes a function(words) the gdb command `name`. Its docstring is the help; what it returns is printed by
    lines."""
    def decorate(function):
        class Command(gdb.Command):
            def invoke(self, argument, _from_tty):
                for line in function(gdb.string_to_argv(argument)) or []:
                    print(line)

        Command.__doc__ = "%s\n\n%s" % (usage or name, function.__doc__.strip())
        Command(name, gdb.COMMAND_USER, completer)
        return function
    return decorate


# ---- The processor ----


def register(name):
    """Returns a register of the processor, as it is now, whatever frame is selected."""
    try:
        value = int(gdb.newest_frame().read_register(name))
    except (gdb.error, ValueError) as problem:
        fail("the machine is not stopped, or QEMU does not show %s (%s)" % (name, problem))
    return value & (1 << 64) - 1


def in_ring3():
    return register("cs") & RING_MASK == RING_MASK


def read_physical(phys, size):
    """Returns bytes of physical memory, without any page table: by QEMU's own extension of gdb's protocol."""
    inferior = gdb.selected_inferior()
    connection = inferior.connection
    if not hasattr(connection, "send_packet"):
        fail("not connected to a machine: target remote :1234")
    if connection.send_packet("Qqemu.PhyMemMode:1") != b"OK":
        fail("the debugged machine is no QEMU that shows physical memory")
    try:
        return bytes(inferior.read_memory(phys, size))
    except gdb.MemoryError:
        fail("there is no physical memory at 0x%x" % phys)
    finally:
        connection.send_packet("Qqemu.PhyMemMode:0")


def read_table(phys):
    """Returns the 512 entries of a page table."""
    return TABLE.unpack(read_physical(phys, TABLE.size))


# ---- The kernel's variables ----


def variable(name, file=None):
    """Returns a variable of the supervisor; `file` tells static ones of the same name apart."""
    if not gdb.selected_inferior().pid:
        fail("no machine is attached: target remote :1234")  # gdb would show the values that stand in the file
    try:
        value = gdb.parse_and_eval("'%s'::%s" % (file, name) if file else name)
        value.fetch_lazy() if value.type.sizeof <= 8 else None
        return value
    except gdb.MemoryError:
        fail("the supervisor is not running yet: its memory is not mapped")
    except gdb.error as problem:
        fail("the supervisor has no variable %s%s any more (%s)" % (name, " in " + file if file else "", problem))


def field(value, name):
    """Returns a field of a structure, which must still have it."""
    if name not in [f.name for f in value.type.strip_typedefs().fields()]:
        fail("%s has no field %s any more" % (value.type, name))
    return value[name]


def structure(name):
    """Returns the type `struct NAME`."""
    try:
        return gdb.lookup_type("struct " + name)
    except gdb.error:
        fail("the supervisor has no struct %s any more" % name)


def at(address, name):
    """Returns the `struct NAME` at an address of the kernel."""
    return gdb.Value(address).cast(structure(name).pointer()).dereference()


def length(array):
    """Returns the number of elements of an array."""
    low, high = array.type.strip_typedefs().range()
    return high - low + 1


def text(value):
    """Returns a C string, a pointer or an array; "" for NULL."""
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR and not int(value):
        return ""
    return value.string(errors="replace")


def enum_word(value, prefix):
    """Returns the name of an enumeration's value, without its prefix, in small letters."""
    return str(value).replace(prefix, "", 1).lower()


def address_of(function):
    """Returns the address of a function or label of the supervisor."""
    try:
        return int(gdb.parse_and_eval("(unsigned long)&'%s'" % function)) & (1 << 64) - 1
    except gdb.error:
        fail("the supervisor has no function %s any more" % function)


def function_at(address):
    """Returns the name of the function or global label of the supervisor that the address lies in, or ""."""
    name = gdb.execute("info symbol 0x%x" % address, to_string=True).split()[0].split(".")[0]
    return "" if name == "No" else name


# ---- Shards ----


def running():
    """Returns whether the supervisor has its final page tables, so that its variables mean something."""
    try:
        return bool(int(variable("kernel_cr3")))
    except gdb.GdbError:
        return False


def shard(number):
    """Returns `shards[number]`."""
    shards = variable("shards")
    if not 0 <= number < length(shards):
        fail("there is no shard %d: numbers are 0 to %d" % (number, length(shards) - 1))
    return shards[number]


def current():
    """Returns the number of the shard whose kernel stack is in use, None: the supervisor's own thread, or none yet."""
    if not running():
        return None
    pointer, shards = variable("current"), variable("shards")
    number = (int(pointer) - int(shards[0].address)) // shards[0].type.sizeof
    return number if 0 <= number < length(shards) else None


def shard_number(words):
    """Returns the number that a command names, by number or name, or else that of the current shard."""
    if not words:
        number = current()
        return number if number is not None else fail("no shard is current; give the number of one (see `shards`)")
    if words[0].isdigit():
        return int(shard(int(words[0]))["id"]) if int(words[0]) < length(variable("shards")) else shard(int(words[0]))
    for number in used_shards():
        if words[0] in (name_of(number), os.path.basename(program_of(number))):
            return number
    fail("no shard is named %s (see `shards`)" % words[0])


def used_shards():
    """Returns the numbers of the slots that are not free."""
    shards = variable("shards")
    return [i for i in range(length(shards)) if enum_word(shards[i]["state"], "SHARD_") != "free"]


def name_of(number):
    """Returns a shard's name in the manifest, or that of its program."""
    profile = field(shard(number), "profile")
    return text(field(profile.dereference(), "name")) if int(profile) else "?"


def program_of(number):
    """Returns the path of a shard's program in the ramdisk; of a spawned shard only its last part is known."""
    manifest = variable("manifest", "manifest.c")
    if number < int(field(manifest, "shard_count")):
        return text(field(field(manifest, "shard")[number], "path"))
    return name_of(number)


def shard_of_cr3(cr3):
    """Returns the shard that an address space belongs to, None: to no shard."""
    if not running():
        return None
    for number in used_shards():
        if int(shard(number)["cr3"]) == cr3 and cr3 != int(variable("kernel_cr3")):
            return number
    return None


def layout_number(name):
    """Returns a number of the headers."""
    try:
        return layout.number(name)
    except KeyError as problem:
        fail(str(problem))
