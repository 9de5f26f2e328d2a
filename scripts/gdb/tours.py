"""tours.py: `run.sh --tour NAME`: walks through the machine, stop by stop, with the paragraph of the book that explains
each.

A tour is a list of stops in the order in which the machine comes to them; a stop that is not reached, or that the book
does not explain, ends the tour with an error. Enter goes on; where nobody types, the tour goes on by itself.

Read next: docs/book/02-trampoline.md, where the first tour begins; paragraphs.py, which finds its text.
"""

import contextlib
import os
import re
import subprocess
import sys

import gdb

import kernel
import layout
import paragraphs
import settings
import symbols
import traps
import words


SETTINGS = ("disassembly-flavor att",)  # instructions are read as the book shows them


class Stop:
    """A place: `where` returns its address when the stop before has been reached; `when` says whether the machine is
    right."""

    def __init__(self, anchor, where, look=(), when=None):
        self.anchor, self.where, self.look, self.when = anchor, where, look, when


class Lost(Exception):
    """A stop was not reached, or cannot be found; says why."""


class At(gdb.Breakpoint):
    """The breakpoint of a stop."""

    def __init__(self, location, when):
        self.when = when
        with settings.code_from_file():
            super().__init__(location, type=gdb.BP_HARDWARE_BREAKPOINT, temporary=True)

    def stop(self):
        return self.when is None or bool(self.when())


# ---- Places ----


def here():
    """The place where the session stands already."""


def label(name):
    """Returns a place by its address: a name of boot.asm."""
    return lambda: "*0x%x" % kernel.address_of(name)


def instruction(mnemonic, first, last, which=0):
    """Returns the place of an instruction between two labels: the `which`-th with this mnemonic."""
    def find():
        start, end = kernel.address_of(first), kernel.address_of(last)
        found = [line["addr"] for line in gdb.selected_inferior().architecture().disassemble(start, end)
                 if line["asm"].startswith(mnemonic)]
        if not found:
            raise Lost("there is no %s between %s and %s" % (mnemonic, first, last))
        return "*0x%x" % found[which]
    return find


def in_program(function, pattern):
    """Returns the place of the first instruction that fits the pattern in a function of the tour's first shard. It is
    looked up in the ELF file: the shard need not be in memory yet."""
    def find():
        elf = symbols.elf_of(symbols.manifest_lines()[0][0])
        done = subprocess.run(["objdump", "-d", "--no-show-raw-insn", elf], stdout=subprocess.PIPE, text=True)
        body = re.search(r"<%s>:\n((?:.+\n)+)" % function, done.stdout)
        found = re.search(r"^ *([0-9a-f]+):\t(?:%s)" % pattern, body.group(1), re.M) if body else None
        if not found:
            raise Lost("%s of %s has no instruction %s" % (function, elf, pattern))
        symbols.load(elf)
        return "*0x" + found.group(1)
    return find


def behind_call(shard):
    """Returns where a shard will go on after the call that it is in."""
    def find():
        kind, frame = traps.user_frame(kernel.shard_number([shard]))
        if kind != "syscall":
            raise Lost("shard %s is in no call" % shard)
        return "*0x%x" % int(frame["rip"])
    return find


def in_shard(name):
    """Returns a condition: this shard is current."""
    return lambda: symbols.is_named(kernel.current(), name)


def ring3(name=None):
    """Returns a condition: in ring 3, in this shard."""
    return lambda: kernel.in_ring3() and (name is None or symbols.is_named(kernel.current(), name))


def at_page_fault():
    """A condition at interrupt_dispatch: the exception that the tour is about, not an interrupt before it."""
    return int(kernel.at(kernel.register("rdi"), "trap_frame")["vector"]) == words.PAGE_FAULT


# ---- The tours ----

TOURS = {
    "boot": [
        Stop("boot-entry", here, ["info registers rip cs cr0"]),
        Stop("boot-tables", instruction("mov    %rax,%cr3", "_start", "boot_gdt"), ["info registers rax cr3"]),
        Stop("boot-higher-half", label("higher_half"), ["info registers rip cs cr3"]),
        Stop("boot-main", lambda: "supervisor_main", ["memmap"]),
        Stop("boot-idt", lambda: "idt_init"),
        Stop("boot-frames", lambda: "mm_init"),
        Stop("boot-paging", lambda: "paging_init", ["print frame_map.free_count"]),
        Stop("boot-manifest", lambda: "manifest_load", ["info registers cr3"]),
        Stop("boot-shard", lambda: "shard_create", ["print *spec"]),
        Stop("boot-ring3", lambda: "*0x%x" % layout.number("COCONUT_CODE_BASE"),
             ["info registers rip cs cr3", "shards"], ring3()),
    ],
    "syscall": [
        Stop("syscall-shard", in_program("coconut_serial_write", "syscall"),
             ["info registers rax rdi rsi cs", "x/i $pc"], ring3()),
        Stop("syscall-entry", label("syscall_entry"), ["info registers rcx r11 rsp cs"]),
        Stop("syscall-dispatch", lambda: "syscall_dispatch", ["print number", "print call_names[number]"]),
        Stop("syscall-handler", lambda: "sys_serial_write", ["kbt"]),
        Stop("syscall-copy", lambda: "copy_from_user", ["pagewalk 0x1000"]),
        Stop("syscall-return", instruction("sysret", "syscall_entry", "context_switch"),
             ["info registers rax rcx r11 rsp"]),
        Stop("syscall-back", lambda: "*0x%x" % kernel.register("rcx"), ["info registers rax cs"], ring3()),
    ],
    "fault": [
        Stop("fault-shard", in_program("main", r"mov +\(%rax\),"), ["x/i $pc", "pagewalk 0"], ring3()),
        Stop("fault-stub", label("isr_14"), ["info registers rsp cs cr2", "x/6gx $rsp"]),
        Stop("fault-dispatch", lambda: "interrupt_dispatch", ["trapframe"], at_page_fault),
        Stop("fault-words", lambda: "fault_kill", ["fault"]),
        Stop("fault-exit", lambda: "handle_sys_exit", ["kbt"]),
        Stop("fault-free", lambda: "shard_free", ["shards"]),
    ],
    "ipc": [
        Stop("ipc-wait", lambda: "sched_wait", ["kbt"], in_shard("server")),
        Stop("ipc-call", lambda: "sys_channel_call", ["channels", "trapframe"], in_shard("client")),
        Stop("ipc-capability", lambda: "cap_find", ["caps client"], in_shard("client")),
        Stop("ipc-copy", lambda: "copy_from_user", ["kbt"], in_shard("client")),
        Stop("ipc-switch", label("context_switch"), ["shards", "info registers rsp cr3"], in_shard("client")),
        Stop("ipc-receive", lambda: "copy_to_user", ["kbt", "info registers cr3"], in_shard("server")),
        Stop("ipc-reply", behind_call("client"), ["info registers rax cs"], ring3("client")),
    ],
    "dma": [
        Stop("dma-call", lambda: "sys_gpu_dma", ["trapframe", "caps source"]),
        Stop("dma-piece", lambda: "copy_piece", ["iommu"]),
        Stop("dma-map", lambda: "iommu_map", ["kbt"]),
        Stop("dma-start", lambda: "transfer", ["iommu"]),
        Stop("dma-interrupt", lambda: "engine_interrupt", ["shards", "kbt"]),
        Stop("dma-unmap", lambda: "iommu_unmap", ["iommu", "kbt"]),
    ],
}


# ---- Walking ----


class Guide:
    """Leads through one tour."""

    def __init__(self, name, show_source):
        self.name, self.show_source = name, show_source
        self.book = paragraphs.load(os.path.join(layout.ROOT, "docs"))
        self.typed = sys.stdin.isatty()

    def walk(self):
        """Goes through all stops; raises Lost."""
        stops = TOURS[self.name]
        for number, stop in enumerate(stops, 1):
            if stop.anchor not in self.book:
                raise Lost("no paragraph of the book is named %s" % stop.anchor)
            self.go_to(stop)
            self.tell(stop, number, len(stops))
            if not self.wait():
                return
        print("The tour of %s ends: %d stops. The machine runs to its end." % (self.name, len(stops)))
        sys.stdout.flush()
        gdb.execute("delete")
        with contextlib.suppress(gdb.error):  # QEMU ends with the guest, and gdb calls that an error
            gdb.execute("continue")

    def go_to(self, stop):
        """Lets the machine run to a stop."""
        location = stop.where()
        if location is None:
            return
        try:
            point = At(location, stop.when)
        except gdb.error as problem:
            raise Lost("%s: %s" % (stop.anchor, problem))
        if point.pending:
            raise Lost("%s: the supervisor has no %s any more" % (stop.anchor, location))
        with contextlib.suppress(gdb.error):
            gdb.execute("continue", to_string=True)
        if not gdb.selected_inferior().pid or point.is_valid():
            raise Lost("%s was not reached (%s)" % (stop.anchor, location))

    def tell(self, stop, number, count):
        """Shows a stop: where, the source, what to look at, the paragraph."""
        path, text = self.book[stop.anchor]
        print("\nStop %d of %d in the tour of %s: %s" % (number, count, self.name, stop.anchor))
        self.show_source()
        for command in stop.look:
            print("(gdb) " + command)
            gdb.execute(command)
        print("\n%s\n    (%s)\n" % (text, os.path.relpath(path, layout.ROOT)))
        sys.stdout.flush()

    def wait(self):
        """Waits for Enter. Returns whether to go on."""
        if not self.typed:
            return True
        try:
            answer = input("Enter goes on, g leaves you in gdb here, q ends: ").strip()
        except EOFError:
            return True
        if answer == "q":
            with contextlib.suppress(gdb.error):  # QEMU may have ended before gdb could acknowledge its answer
                gdb.execute("kill")
            gdb.execute("quit")
        return answer != "g"


def lead(name, show_source):
    """Leads through a tour, from a machine that waits before its first instruction."""
    settings.apply(SETTINGS)
    try:
        Guide(name, show_source).walk()
    except (Lost, ValueError, gdb.error) as problem:
        print("tour: %s" % problem)
        sys.stdout.flush()
        if not sys.stdin.isatty():
            gdb.execute("quit 1")
