"""traps.py: the commands about what interrupted whom: trap frames, faults, backtraces.

The frames on kernel stacks are those that structures.h describes: struct trap_frame, which isr_common pushes, struct
syscall_frame, which syscall_entry pushes, and struct switch_frame, which context_switch leaves. Read next: devices.py.
"""

import gdb

import kernel
import pages
import symbols
import words

DEPTH = 32  # frames of a backtrace at most
VECTORS = 256


# ---- Which frame lies at the top of a kernel stack ----


def user_frame(number):
    """Returns ("trap" or "syscall", the frame) with which a shard last came into the kernel."""
    top = int(kernel.field(kernel.shard(number), "stack_top"))
    kind = kernel.structure("trap_frame")
    trap = kernel.at(top - kind.sizeof, "trap_frame")
    try:
        is_trap = (int(trap["cs"]) == kernel.layout_number("SEL_USER_CODE") and
                   int(trap["ss"]) == kernel.layout_number("SEL_USER_DATA") and int(trap["vector"]) < VECTORS)
    except gdb.MemoryError:
        kernel.fail("the kernel stack of shard %d is not mapped yet" % number)
    if is_trap:
        return "trap", trap
    return "syscall", kernel.at(top - kernel.structure("syscall_frame").sizeof, "syscall_frame")


def vector_name(vector):
    """Returns the kernel's own name of an exception, or what an interrupt is."""
    names = kernel.variable("exception_names", "fault.c")
    if vector < kernel.length(names):
        return kernel.text(names[vector])
    if vector == kernel.layout_number("VECTOR_PIC"):
        return "timer interrupt"
    if kernel.layout_number("VECTOR_MSI") <= vector < kernel.layout_number("VECTOR_STUBS"):
        return "message-signalled interrupt"
    return "interrupt"


def error_words(vector, error):
    if vector == words.PAGE_FAULT:
        return words.page_fault(error)
    return words.selector_error(error) if vector in (8, 10, 11, 12, 13) else "none"


def never_entered(number, frame):
    """Returns whether a trap frame is the one with which shard.c starts a shard."""
    return (not int(frame["vector"]) and int(frame["rip"]) == kernel.layout_number("COCONUT_CODE_BASE") and
            not int(kernel.shard(number)["usage"]["syscalls"]))


def place(address, before=0):
    """Returns an address as `function+offset (file:line)`. `before`: 1 for a return address, which may lie behind the
    end."""
    symbol = gdb.execute("info symbol 0x%x" % (address - before), to_string=True)
    name = "" if symbol.startswith("No symbol") else symbol.split(" in section")[0].split(" of ")[0].replace(" + ", "+")
    line = gdb.find_pc_line(address - before)
    where = " (%s:%d)" % (line.symtab.filename, line.line) if line.symtab and line.line else ""
    return "0x%x %s%s" % (address, name, where)


def trap_lines(frame):
    """Returns a trap frame in words."""
    vector, error, cs = int(frame["vector"]), int(frame["error"]), int(frame["cs"])
    lines = ["vector %d: %s, in ring %d at %s" % (vector, vector_name(vector), cs & 3, place(int(frame["rip"])))]
    lines.append("error code 0x%x: %s" % (error, error_words(vector, error)))
    lines.append("cs 0x%x  ss 0x%x  rflags 0x%x: %s" % (cs, int(frame["ss"]), int(frame["rflags"]),
                                                       words.flags(int(frame["rflags"]))))
    return lines + words.registers({name: int(frame[name]) for name in words.GENERAL})


def syscall_lines(number, frame):
    """Returns a system call's frame in words."""
    call = int(kernel.field(kernel.shard(number), "call"))
    arguments = ", ".join("0x%x" % int(frame[name]) for name in ("rdi", "rsi", "rdx", "r10", "r8"))
    return ["system call %d %s(%s)" % (call, words.call_name(call), arguments),
            "returns to %s" % place(int(frame["rip"]), 1), "user rsp 0x%x, rflags 0x%x: %s" %
            (int(frame["rsp"]), int(frame["rflags"]), words.flags(int(frame["rflags"])))]


def selected_trap_frame():
    """Returns the frame that a function of the stopped kernel was given, None when there is none."""
    at = gdb.newest_frame() if not kernel.in_ring3() else None
    for _ in range(DEPTH):
        if at is None or not at.is_valid():
            return None
        try:
            value = at.read_var("frame")
            if str(value.type) == "struct trap_frame *" and not value.is_optimized_out:
                return value.dereference()
        except (ValueError, RuntimeError, gdb.error):
            pass
        try:
            at = at.older()
        except gdb.error:
            return None
    return None


@kernel.command("trapframe", "trapframe [N]")
def trapframe(arguments):
    """Shows what the kernel saved of shard N when it came in last: by an exception, an interrupt or a system call.

Without N: the frame that the stopped kernel is working on, or else that of the current shard."""
    frame = None if arguments else selected_trap_frame()
    if frame is not None:
        return ["trap frame at 0x%x" % int(frame.address)] + trap_lines(frame)
    number = kernel.shard_number(arguments)
    kind, frame = user_frame(number)
    if kind == "trap" and never_entered(number, frame):
        return ["shard %d (%s) has never come in: this is the frame by which it starts" % (number,
                                                                                           kernel.name_of(number))] + (
            trap_lines(frame)[2:])
    head = "shard %d (%s) came in last by" % (number, kernel.name_of(number))
    if number == kernel.current() and kernel.in_ring3():
        head = "shard %d (%s) is in ring 3 now; before that it came in by" % (number, kernel.name_of(number))
    return [head] + (trap_lines(frame) if kind == "trap" else syscall_lines(number, frame))


# ---- The last fault ----


class Fault:
    """A fault as it was when the kernel began to handle it."""

    def __init__(self, frame):
        self.values = {name: int(frame[name]) for name in ("vector", "error", "rip", "cs", "rsp")}
        self.cr2, self.cr3 = kernel.register("cr2"), kernel.register("cr3")
        number = kernel.current()
        self.shard = None if number is None else "shard %d (%s)" % (number, kernel.name_of(number))
        self.elf = symbols.elf_of_running(number) if number is not None and self.values["cs"] & 3 else None
        self.walk = []
        if self.values["vector"] == words.PAGE_FAULT:
            self.walk = pages.Walk(kernel.read_table, self.cr3, self.cr2).lines()

    def lines(self):
        vector, ring = self.values["vector"], self.values["cs"] & 3
        if self.elf:
            symbols.load(self.elf)
        lines = ["%s in ring %d, vector %d: %s" % (self.shard or "the supervisor", ring, vector, vector_name(vector)),
                 "at %s, rsp 0x%x" % (place(self.values["rip"]), self.values["rsp"])]
        if vector == words.PAGE_FAULT:
            lines.append("address 0x%x (cr2)" % self.cr2)
        lines.append("error code 0x%x: %s" % (self.values["error"], error_words(vector, self.values["error"])))
        return lines + self.walk


class AtFault(gdb.Breakpoint):
    """Passes by a function that handles faults and remembers what it was given."""

    last = None

    def __init__(self, function):
        super().__init__("*0x%x" % kernel.address_of(function), type=gdb.BP_HARDWARE_BREAKPOINT, internal=True)

    def stop(self):
        try:
            AtFault.last = Fault(kernel.at(kernel.register("rdi"), "trap_frame"))
        except Exception as problem:  # whatever it is, the machine goes on
            print("fault: %s" % problem)
        return False


@kernel.command("fault")
def fault(_words):
    """Shows the last fault since gdb is attached, decoded: who, where, which address, the error code's bits, the page
    walk.

The kernel need not have stopped there: gdb looks at each fault in passing."""
    frame = selected_trap_frame()
    if frame is not None and int(frame["vector"]) < kernel.length(kernel.variable("exception_names", "fault.c")):
        return Fault(frame).lines()
    return AtFault.last.lines() if AtFault.last else ["no fault since gdb is attached"]


# ---- Backtraces ----


def is_text(address):
    return kernel.address_of("image_text") <= address < kernel.address_of("image_rodata")


def is_assembly(address):
    line = gdb.find_pc_line(address)
    return bool(line.symtab) and line.symtab.filename.endswith(".asm")


def word_at(address):
    try:
        return int(gdb.Value(address).cast(gdb.lookup_type("unsigned long").pointer()).dereference())
    except gdb.MemoryError:
        return 0


def below_assembly(number, pc, rsp):
    """Returns (lines, pc, rbp, rsp) behind a frame of boot.asm that has called C; the last three are None at the
    end."""
    name = kernel.function_at(pc - 1)
    if name.startswith("isr_") or pc == kernel.address_of("interrupt_return"):
        frame = kernel.at(rsp, "trap_frame")
        vector = int(frame["vector"])
        if int(frame["cs"]) & 3:
            return ["from ring 3: vector %d (%s) at %s" % (vector, vector_name(vector),
                                                           place(int(frame["rip"])))], None, None, None
        head = "vector %d (%s) interrupted the kernel:" % (vector, vector_name(vector))
        return [head], int(frame["rip"]), int(frame["rbp"]), int(frame["rsp"])
    if name == "syscall_entry" and number is not None:
        frame = kernel.at(rsp, "syscall_frame")
        call = int(kernel.field(kernel.shard(number), "call"))
        return ["from ring 3: call %d %s at %s" % (call, words.call_name(call),
                                                   place(int(frame["rip"]), 1))], None, None, None
    if name.startswith("context_switch"):
        while rsp % 4096 and not is_text(word_at(rsp)):
            rsp += 8
        return [], word_at(rsp), None, rsp + 8
    return [], None, None, None


def door(number):
    """Returns the lines of syscall_entry, when its frame is the first on the shard's stack; else none."""
    rsp = int(kernel.field(kernel.shard(number), "stack_top")) - kernel.structure("syscall_frame").sizeof
    pc = word_at(rsp - 8)
    if not is_text(pc) or kernel.function_at(pc - 1) != "syscall_entry":
        return []
    return ["  " + line for line in [place(pc, 1)] + below_assembly(number, pc, rsp)[0]]


def chain(number, pc, rbp, rsp):
    """Returns the lines of a backtrace along the frame pointers, from registers that lie saved. The chain may break off
    in the first or last instructions of a function; the door that the shard came through is found without it."""
    lines, before = [], 0
    for _ in range(DEPTH):
        if not pc or not is_text(pc):
            break
        lines.append("  " + place(pc, before))
        if is_assembly(pc - before) or pc == kernel.address_of("interrupt_return"):
            more, pc, saved, rsp = below_assembly(number, pc, rsp)
            lines += ["  " + line for line in more]
            rbp, before = rbp if saved is None else saved, 0 if more else 1
            if pc is None:
                break
            continue
        pc, rsp, rbp, before = word_at(rbp + 8), rbp + 16, word_at(rbp), 1
    ends_well = any("from ring 3" in line for line in lines)
    return lines if ends_well or number is None else lines + door(number)


def live_trace(number):
    """Returns the backtrace of the processor as it stands, in ring 0."""
    lines, frame, before = [], gdb.newest_frame(), 0
    for _ in range(DEPTH):
        if frame is None or not is_text(frame.pc()):
            break
        inlined, line = frame.type() == gdb.INLINE_FRAME, frame.find_sal()
        if is_assembly(frame.pc() - before) or frame.pc() == kernel.address_of("interrupt_return"):
            if not before:  # in the middle of boot.asm: what has been pushed so far is not known
                return ["  " + place(frame.pc()), "  (in boot.asm, which keeps no frame pointers: the rest is not "
                                                  "known here)"]
            return lines + chain(number, frame.pc(), None, int(frame.read_register("rsp")))
        where = "%s:%d" % (line.symtab.filename, line.line) if line.symtab else "?"
        lines.append("  0x%x %s (%s)%s" % (frame.pc(), frame.name(), where, " inlined" if inlined else ""))
        before = before if inlined else 1
        try:
            frame = frame.older()
        except gdb.error:
            break
    return lines


@kernel.command("kbt", "kbt [N]")
def kbt(arguments):
    """Shows the backtrace inside the kernel, down to what brought it there from ring 3.

Of the processor as it stands, or of shard N, which left the CPU in context_switch and waits to get it back."""
    number = kernel.current() if not arguments else kernel.shard_number(arguments)
    if number == kernel.current():
        if kernel.in_ring3():
            return ["ring 3 at %s: nothing is on the kernel's stack" % place(kernel.register("rip"))]
        return ["the processor, %s:" % ("the supervisor's thread" if number is None else "shard %d (%s)" %
                                        (number, kernel.name_of(number)))] + live_trace(number)
    shard = kernel.shard(number)
    if number not in kernel.used_shards() or kernel.enum_word(shard["state"], "SHARD_") in ("building", "ended"):
        kernel.fail("shard %d is not waiting for the CPU: its state is %s" % (number, shard["state"]))
    rsp = int(kernel.field(shard, "kernel_rsp"))
    saved = kernel.at(rsp, "switch_frame")
    head = ["shard %d (%s), %s:" % (number, kernel.name_of(number), kernel.enum_word(shard["state"], "SHARD_"))]
    return head + chain(number, int(saved["rip"]), int(saved["rbp"]), rsp + kernel.structure("switch_frame").sizeof)
