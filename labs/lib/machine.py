"""machine.py: boots the graded kernel and looks into it, so that no verdict hangs on what somebody has printed.

A run stops at the kernel's debug_exit, and at any other function that the grader names. There a grader reads memory,
registers and page tables through QEMU's gdb stub. At the end each shard's exit code is read from the kernel's profile.
Read next: any labs/NN-name/grader.py.
"""

import os
import re
import struct
import sys
import time

import harness

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "attacks"))

import gdbstub  # noqa: E402 (the path must be set first)

ELF = os.path.join("build", "supervisor.elf")
EXIT_OK, EXIT_FAILED = 0x10, 0x11  # as in layout.h, which the student can change
ADDRESS = 0x000FFFFFFFFFF000
PRESENT, WRITE, USER, LARGE, NX = 1, 2, 4, 0x80, 1 << 63
PML4, PDPT, PD, PT = 3, 2, 1, 0
PIECE = 1024  # bytes that one packet of the stub carries
ICOUNT = ["-icount", "shift=3,align=off,sleep=off"]  # 8 ns an instruction: the same run every time
CONTROL = 17 * 8 + 4 + 6 * 4 + 3 * 8  # where cr0 cr2 cr3 cr4 cr8 efer stand among the registers
SEGMENTS = 17 * 8 + 4
TRAP = 0x78  # in struct trap_frame: what lies above the general registers


class Image:
    """The graded kernel's ELF file: where its functions and variables lie."""

    def __init__(self):
        self.known = {}

    def values(self, *expressions):
        """Evaluates C expressions on the file's types and addresses, by gdb. Returns numbers."""
        missing = [text for text in expressions if text not in self.known]
        if missing:
            command = ["gdb", "-nx", "-q", "-batch", "-iex", "set auto-load no"]
            for text in missing:
                command += ["-ex", "printf \"%%lu\\n\", (unsigned long)(%s)" % text]
            lines = harness.output_of(command + [ELF], "gdb").split("\n")[:len(missing)]
            for text, line in zip(missing, lines):
                if line.isdigit():
                    self.known[text] = int(line)
        for text in expressions:
            if text not in self.known:
                raise harness.Failure("the kernel has no `%s` any more: the grader needs it" % text)
        return [self.known[text] for text in expressions]

    def value(self, expression):
        return self.values(expression)[0]


class Machine(gdbstub.GdbStub):
    """The running machine, stopped. All addresses are virtual unless a name says otherwise."""

    image = Image()  # of all machines, since a lab builds one kernel, before it boots any

    def number(self, expression, size=8):
        """Returns the unsigned number in memory at a C lvalue, as `kernel_cr3` or `shards[2].cr3`."""
        return int.from_bytes(self.memory(self.image.value("&" + expression), size), "little")

    def phys(self, address, size):
        """Reads physical memory."""
        self.ask("Qqemu.PhyMemMode:1")
        data = b"".join(self.memory(at, min(PIECE, address + size - at))
                        for at in range(address, address + size, PIECE))
        self.ask("Qqemu.PhyMemMode:0")
        return data

    def control(self):
        """Returns cr0 cr2 cr3 cr4 cr8 efer."""
        raw = bytes.fromhex(self.ask("g"))
        return dict(zip(("cr0", "cr2", "cr3", "cr4", "cr8", "efer"), struct.unpack_from("<6Q", raw, CONTROL)))

    def selectors(self):
        """Returns cs and ss."""
        return struct.unpack_from("<2I", bytes.fromhex(self.ask("g")), SEGMENTS)

    def trap_frame(self):
        """Returns vector, error, rip, cs, rflags, rsp and ss of the trap frame that rdi points to, as in
        interrupt_dispatch."""
        raw = self.memory(self.registers()["rdi"] + TRAP, 7 * 8)
        return dict(zip(("vector", "error", "rip", "cs", "rflags", "rsp", "ss"), struct.unpack("<7Q", raw)))

    def monitor(self, command):
        """Runs a command of QEMU's monitor. Returns what it prints."""
        text, answer = "", self.ask("qRcmd," + command.encode().hex())
        while answer != "OK":
            if answer[:1] != "O":
                raise OSError("QEMU's monitor does not answer")
            text += bytes.fromhex(answer[1:]).decode(errors="replace")
            answer = self.answer()
        return text

    def write(self, address, data):
        if self.ask("M%x,%x:%s" % (address, len(data), data.hex())) != "OK":
            raise OSError("QEMU does not write to %#x" % address)

    # -- page tables --

    def table(self, phys):
        """Returns the 512 entries of a table."""
        return struct.unpack("<512Q", self.phys(phys & ADDRESS, 4096))

    def walk(self, cr3, address):
        """Returns the entries that the processor walks for an address, the PML4's first, up to the leaf or the gap."""
        entries, at = [], cr3
        for level in (PML4, PDPT, PD, PT):
            entry = struct.unpack("<Q", self.phys((at & ADDRESS) + (address >> (12 + 9 * level) & 511) * 8, 8))[0]
            entries.append(entry)
            if not entry & PRESENT or (level in (PDPT, PD) and entry & LARGE):
                break
            at = entry
        return entries

    def leaf(self, cr3, address):
        """Returns (physical address of the page's first byte, rights) of an address, or None: it is not mapped. Rights
        are those of the whole walk: W and U when every entry has them, X when none has NX."""
        entries = self.walk(cr3, address)
        last = entries[-1]
        if not last & PRESENT:
            return None
        offset = (1 << (12 + 9 * (4 - len(entries)))) - 1 & ~0xFFF
        rights = "".join(letter for letter, bit in (("W", WRITE), ("U", USER)) if all(entry & bit for entry in entries))
        rights += "" if any(entry & NX for entry in entries) else "X"
        return (last & ADDRESS & ~offset) + (address & offset), rights

    def leaves(self, cr3, indices):
        """Yields (address, size, physical address, rights) of every leaf under the given entries of the PML4; rights as
        in leaf()."""
        def below(phys, level, base, rights):
            for index, entry in enumerate(self.table(phys)):
                address = base | index << (12 + 9 * level)
                if level == PML4 and (index not in indices or not entry & PRESENT):
                    continue
                if not entry & PRESENT:
                    continue
                left = rights & entry & (WRITE | USER) | (rights | entry) & NX
                if level == PML4 and index >= 256:
                    address |= 0xFFFF << 48
                if level == PT or entry & LARGE and level != PML4:
                    size = 1 << (12 + 9 * level)
                    letters = (("W", left & WRITE), ("U", left & USER), ("X", not left & NX))
                    yield address, size, entry & ADDRESS & -size, "".join(letter for letter, on in letters if on)
                else:
                    yield from below(entry, level - 1, address, left)
        return below(cr3, PML4, 0, WRITE | USER)


class Run:
    """How a run ended."""

    def __init__(self):
        self.code = None  # what the kernel passed to debug_exit; None: it never got there
        self.codes = {}  # {name: exit code, or "killed"}
        self.rows = {}  # {name: {"switches", "wall_ms", "syscalls"}}
        self.status = None  # of run.sh
        self.result = None
        self.log = self.replay = ""

    @property
    def ended(self):
        """Whether all shards came to an end, good or bad."""
        return self.code in (EXIT_OK, EXIT_FAILED) and self.status in (0, 1)

    @property
    def good(self):
        return self.code == EXIT_OK and self.status == 0 and not any(self.codes.values())

    def words(self):
        """Says how it ended."""
        if self.ended:
            bad = ", ".join("%s: %s" % (name, code) for name, code in self.codes.items() if code)
            return "status %d; exit codes that are not 0: %s" % (self.status, bad or "none")
        return "status %d: %s" % (self.status, harness.last_words(self.result))

    def read_profile(self, machine):
        """Reads each shard's row of the kernel's profile."""
        fields = ("switches", "wall_ms", "syscalls", "exit_code")
        rows, count, size, used, ending, *places = machine.image.values(
            "&'profile.c'::rows", "sizeof('profile.c'::rows) / sizeof(struct profile)", "sizeof(struct profile)",
            "&((struct profile *)0)->used", "&((struct profile *)0)->ending",
            *("&((struct profile *)0)->" + name for name in fields))
        for at in range(rows, rows + count * size, size):
            if not machine.memory(at + used, 1)[0]:
                continue
            name = machine.memory(at, 32).split(b"\0")[0].decode(errors="replace")
            row = {key: int.from_bytes(machine.memory(at + place, 8), "little") for key, place in zip(fields, places)}
            by_exit = machine.memory(at + ending, 1)[0] == 0  # ENDED_BY_EXIT
            self.codes[name] = row["exit_code"] if by_exit else "killed"
            self.rows[name] = row


class Enough(Exception):
    """A grader has seen what it wanted; the machine may be ended."""


def build_check(name):
    """Builds labs/checks/NAME, a shard of the grader. Returns its flat binary."""
    return harness.build_shard(name, "labs/checks", "checks")


def follow(machine, stops, run):
    """Runs the machine to its end, calling stops[function](machine) whenever it gets to that function."""
    places = dict(zip(machine.image.values(*stops, "debug_exit"), list(stops) + ["debug_exit"]))
    for address in places:
        machine.breakpoint(address)
    while True:
        machine.go_on()
        registers = machine.registers()
        name = places.get(registers["rip"])
        if name == "debug_exit":
            run.code = registers["rdi"] & 0xFFFFFFFF
            run.read_profile(machine)
        if name in stops:
            stops[name](machine)
        if name == "debug_exit":
            return


def boot(test, manifest, files=None, stops=None, options=(), timeout=150):
    """Boots with a manifest, in which /c/NAME is the shard labs/checks/NAME and /t/NAME is tests/shards/NAME. stops:
    see follow(). Returns a Run."""
    content = dict(files or {})
    for name in set(re.findall(r"/c/([A-Za-z0-9_-]+)", manifest)):
        content["/c/" + name] = build_check(name)
    machine, run = Machine(), Run()
    started = test.start_guest(manifest, content, options=machine.options + list(options), timeout=timeout)
    words = [word for word in started.process.args if word not in machine.options]
    run.replay = harness.describe(words)
    try:
        connect(machine, started, timeout)
        follow(machine, stops or {}, run)
        machine.detach()
    except Enough:
        started.stop()
    except (EOFError, OSError) as problem:
        test.log("the machine was left: %r" % problem)
    finally:
        machine.close()
    run.result = started.wait()
    run.status, run.log = run.result.status, run.result.log_path
    return run


def connect(machine, started, timeout):
    """Connects as soon as QEMU listens."""
    deadline = time.monotonic() + timeout
    while not os.path.exists(machine.path):
        if started.process.poll() is not None or time.monotonic() > deadline:
            raise EOFError("QEMU was not started")
        time.sleep(0.02)
    machine.connect(timeout + harness.SPARE_TIME)
