"""The rungs of the ladder: the lower parts of the kernel boot, and what each shows is what an outside view says.

An outside view is QEMU's monitor, QEMU's log, the raw memory of the machine, or the same thing computed here. Each has
twins: the rung with a mistake in one of its files, of which the same view must tell.

Read next: rungs/rungs.h.
"""

import contextlib
import os
import re
import shutil
import socket
import struct
import zlib

import harness
import rungs
import test_docs
import test_ladder
import test_memory_map

PAGE = 4096
_built = set()


def built(t, name):
    """Builds a rung, once for all tests. Returns its folder."""
    folder = os.path.join("build", "rungs", name)
    with harness.locked(os.path.join(t.root, "build", "rungs", ".lock." + name)):
        if name not in _built:
            t.sh(["./build.sh", "--rung", name], expect=0)
            _built.add(name)
    return folder


def objects_of(name, instead=None):
    """Returns the objects of a rung, as build.sh links them. `instead`: {file: path of another object}."""
    rung = next(rung for rung in rungs.rungs() if rung.name == name)
    folder = {"main.c": "build/rungs/" + name}
    paths = {file: "%s/%s.o" % (folder.get(file, "build"), file.split(".")[0]) for file in rung.files}
    paths.update(instead or {})
    return list(paths.values()) + ["build/rungs/absent.o", "build/rungs/%s.o" % name]


def twin_of(t, name, file, old, new):
    """Returns the kernel of a rung with a mistake: in one of its files, `old` is `new`."""
    text = test_docs.read(file)
    t.equal(text.count(old), 1, "how often %s has the line of a twin: %s" % (file, old))
    path = os.path.join(t.scratch, "twin.elf")
    t.sh(["ld", "-nostdlib", "-z", "max-page-size=4096", "-T", "supervisor.ld", "-o", path] +
         objects_of(name, {file: test_ladder.compiled(t, file, text.replace(old, new))}) +
         ["build/rungs/%s/symbols/symbols.o" % name], expect=0)
    return path


class Machine:
    """A rung that can be booted: the one that build.sh makes, or a twin of it."""

    def __init__(self, t, name, kernel=None):
        self.t, self.name, self.build = t, name, os.path.join("build", "rungs", name)
        self.options = ["-kernel", kernel] if kernel else []
        self.elf = test_memory_map.Elf(os.path.join(t.root, kernel or os.path.join(self.build, "supervisor.elf")))

    def boot(self, *options, expect=0, **others):
        return self.t.boot(build=self.build, options=self.options + list(options), expect=expect, **others)

    @contextlib.contextmanager
    def stopped(self, *symbols, options=(), **others):
        """Boots, and stops at each of the symbols in turn; those of the trampoline have physical addresses. Yields a
        function that goes on to the next one, QEMU's monitor, and the run, whose result can be asked for at the end."""
        with self.t.guest_monitor() as monitor:
            path = os.path.join(monitor.folder, "gdb")
            boot = self.t.start(build=self.build, expect=0, options=self.options + monitor.options + list(options) +
                                ["-S", "-gdb", "unix:%s,server=on,wait=off" % path], **others)
            monitor.connect()
            with Debugger(path) as debugger:
                stops = iter(symbols)
                yield lambda: debugger.go_to(self.elf.symbols[next(stops)]), monitor, boot
                debugger.detach()
            boot.wait()


class Debugger:
    """QEMU's stub for gdb, as far as one needs it to stop somewhere (gdb's manual, "Remote Protocol")."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(300)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rwb", buffering=0)

    def ask(self, text):
        """Sends a packet and returns the answer."""
        self.stream.write(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF))
        return self.answer()

    def answer(self):
        byte = self.stream.read(1)
        while byte != b"$":  # acknowledgements
            if not byte:
                raise harness.Failure("QEMU ended before the machine came to where it was to stop")
            byte = self.stream.read(1)
        text = b""
        while (byte := self.stream.read(1)) != b"#":
            text += byte
        self.stream.read(2)
        self.stream.write(b"+")
        return text.decode()

    def go_to(self, address):
        for packet in ("Z1,%x,1" % address, "c", "z1,%x,1" % address):
            said = self.ask(packet)
            if said not in ("OK",) and not said.startswith("T05"):
                raise harness.Failure("QEMU's stub for gdb says %s to %s" % (said or "nothing", packet))

    def detach(self):
        """Lets the machine go. It may end before it has said that it understood."""
        with contextlib.suppress(OSError, harness.Failure):
            self.ask("D")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()


def judge(t, name, look, *twins):
    """Checks a rung by look(Machine), and that each twin (file, old, new, what is said of it) fails there."""
    built(t, name)
    look(Machine(t, name))
    for file, old, new, reason in twins:
        twin = Machine(t, name, twin_of(t, name, file, old, new))
        try:
            look(twin)
        except harness.Failure as failure:
            t.check(re.search(reason, str(failure)), "the twin of %s fails for another reason: %s" % (file, failure))
        else:
            t.check(False, "with `%s` in %s, nothing is noticed" % (new, file))


def numbers(t, result, pattern):
    """Returns the numbers in the one line of the console that a pattern matches."""
    found = re.findall("^%s$" % pattern, result.text, re.M)
    t.equal(len(found), 1, "lines that read: " + pattern)
    groups = found[0] if isinstance(found[0], tuple) else (found[0],)
    return [int(group, 0) for group in groups]


# ---- The rungs, from the bottom up ----


def look_at_console(machine):
    t = machine.t
    result = machine.boot()
    wanted = re.findall(r'^\t"  (writer \d: .*)\\n",$', test_docs.read("rungs/console.c"), re.M)
    t.check(len(wanted) == 3, "the lines of rungs/console.c could not be read")
    t.equal([line.strip() for line in result.lines if "writer " in line[:10]], wanted, "the lines of the three writers")
    with open(os.path.join(t.root, machine.build, "ramdisk.img"), "rb") as file:
        ramdisk = file.read()
    t.equal(numbers(t, result, r"Console: the ramdisk has (\d+) bytes, Adler-32 (0x\w+)"),
            [len(ramdisk), zlib.adler32(ramdisk)], "size and checksum of the ramdisk")
    # A return address stands behind the call of the function in the line above.
    frames = re.findall(r"^  (0x\w+) (\w+)\+0x\w+$", result.text, re.M)
    t.check([name for _, name in frames[:4]] == ["go_down"] * 3 + ["rung_show"] and len(frames) >= 6,
            "the backtrace is %s" % frames)
    called = "go_down"
    for address, function in frames:
        code = t.sh(["objdump", "-d", "--no-show-raw-insn", "--start-address=%#x" % (int(address, 0) - 5),
                     "--stop-address=" + address, os.path.join(machine.build, "supervisor.elf")], expect=0).stdout
        t.check(re.search(r"\tcall +\w+ <%s>" % called, code), "%s is no return address of %s" % (address, called))
        called = function


def test_console(t):
    """console: lines come out whole, the ramdisk's checksum is that of the file, return addresses follow calls."""
    judge(t, "console", look_at_console,
          ("console.c", "if (owner == NOBODY || owner == number) {", "if (true) {", "lines of the three writers"),
          ("pvh.c", "? module->size : 0", "? module->size - 1 : 0", "checksum of the ramdisk"),
          ("panic.c", "print_caller(frame[1]);", "print_caller(frame[1] - 1);", "is no return address of"))


def memory_map(t, machine, monitor):
    """Returns the usable pages and those of the ramdisk that QEMU's firmware names: the numbers of frames, as sets."""
    ebx = int(re.search(r"\b[ER]BX=(\w+)", monitor.hmp("info registers")).group(1), 16)
    path = os.path.join(t.scratch, "memory.bin")

    def memory(address, size):
        monitor.hmp('pmemsave %#x %d "%s"' % (address, size, path))
        with open(path, "rb") as file:
            return file.read()

    # Xen's public/arch-x86/hvm/start_info.h
    magic, _, _, modules, modules_at, _, _, regions_at, regions, _ = struct.unpack("<IIIIQQQQII", memory(ebx, 56))
    t.check(magic == 0x336EC578 and modules >= 1 and regions >= 2, "there is no start info at %#x" % ebx)
    usable = set()
    for i in range(regions):
        base, size, kind, _ = struct.unpack("<QQII", memory(regions_at + 24 * i, 24))
        if kind == 1:
            usable |= set(range((base + PAGE - 1) // PAGE, (base + size) // PAGE))
    base, size, _, _ = struct.unpack("<QQQQ", memory(modules_at, 32))
    total = sum(end - start for start, end in test_memory_map.Machine(t, monitor, machine.elf).ram)
    t.check(0.95 * total < len(usable) * PAGE <= total, "%d pages of %d bytes of RAM are usable" % (len(usable), total))
    return usable, set(range(base // PAGE, (base + size + PAGE - 1) // PAGE))


def look_at_frames(machine):
    t = machine.t
    with machine.stopped("pvh_start", options=["-m", "77M"], verbose=True) as (go_on, monitor, boot):
        go_on()
        usable, ramdisk = memory_map(t, machine, monitor)
    result = boot.wait()
    _, kib, at = numbers(t, result, r"Memory: (\d+) MiB free, frame map of (\d+) KiB at (0x\w+)")
    own = set(range(at // PAGE, (at + kib * 1024) // PAGE))
    t.check(own <= usable and not own & ramdisk, "the frame map does not lie in usable memory")
    free = {frame for frame in usable - ramdisk - own if frame * PAGE >= test_memory_map.constants(t)["PHYS_FRAMES"]}
    t.equal(numbers(t, result, r"Frames: (\d+) free"), [len(free)], "free frames")
    t.equal(numbers(t, result, r"Frames: (\d+) handed out, the sum of their numbers is (\d+), (\d+) came twice, "
                               r"(\d+) left"), [len(free), sum(free), 0, 0], "frames that were handed out")
    clear, spoilt = numbers(t, result, r"Frames: (\d+) of (\d+) that were used are clear when they come again")
    t.check(clear == spoilt == 64, "%d of %d frames were cleared" % (clear, spoilt))


def test_frames(t):
    """frames: those that are free are those that the firmware's memory map leaves, each once, and cleared."""
    ramdisk = "frame_map_reserve(&frame_map, info->ramdisk / PAGE_SIZE, (info->ramdisk_size + PAGE_MASK) / PAGE_SIZE);"
    judge(t, "frames", look_at_frames,
          ("mm.c", ramdisk, "", "free frames"),
          ("mm.c", "map->free[word] = free ^ bit;", "map->free[word] = free & (free - 1) & ~2UL;", "were handed out"),
          ("mm.c", "if (!ABLATE(zeroing)) clear_page(phys);", "", "0 of 64 frames were cleared"))


def look_at_threads(machine):
    t = machine.t
    result = machine.boot()
    a, b = 0, 1
    for _ in range(40):
        a = a + b
        b = a + b
    t.equal(numbers(t, result, r"Threads: thread (\d) was the first; after (\d+) turns each the numbers are (\d+) and "
                               r"(\d+)"), [2, 40, a, b], "who was first, turns, and the numbers")
    for thread, times in enumerate([41, 41, 1]):  # a turn each time, and the last time to end
        t.equal(numbers(t, result, r"Threads: thread %d came to run (\d+) times" % thread), [times],
                "how often thread %d ran" % thread)


def test_threads(t):
    """threads: the numbers of two that take turns are Fibonacci's, and the urgent one runs first."""
    judge(t, "threads", look_at_threads,
          ("sched.c", "} else if (equal) {", "} else if (0) {", "who was first.*got .2, 40, 40, "),
          ("sched.c", "__builtin_ctz(ready_mask | READY_QUEUE(PRIORITIES))", "(31 - __builtin_clz(ready_mask | 1))",
           "who was first.*got .0, "))


# ---- All of them ----


def test_list(t):
    """README.md has the table of `--rung list`: each rung with its files, lines and hours; lines only grow."""
    listed = t.sh(["./run.sh", "--rung", "list"], expect=0).stdout
    rows = rungs.rows()
    t.equal([re.sub(" +", " ", line).strip() for line in listed.split("\n")[1:-1]], [" ".join(row) for row in rows],
            "what --rung list prints")
    t.check(rungs.table() in test_docs.read("README.md"), "README.md's table of the rungs is not that of --rung list: "
            "`scripts/rungs.py --table` prints it")
    sources = {name[:-2] for name in os.listdir(os.path.join(t.root, "rungs")) if name.endswith(".c")}
    t.equal(sorted(sources - {"absent"}), sorted(row[0] for row in rows[:-1]), "the files of rungs/")
    tests = {name for name in globals() if name.startswith("test_")}
    missing = [row[0] for row in rows[:-1] if "test_" + row[0] not in tests]
    t.check(not missing, "rungs without a test: %s" % missing)


def test_links(t):
    """What a rung names of the files above it is missing when it is linked; the whole kernel has no weak symbol."""
    built(t, "frames")
    stray = test_docs.read("lib.c") + "\nuint64_t stray(void);\nuint64_t stray(void) { return timer_ms(); }\n"
    objects = objects_of("frames", {"lib.c": test_ladder.compiled(t, "lib.c", stray)})
    command = ["ld", "-nostdlib", "-T", "supervisor.ld", "-o", os.path.join(t.scratch, "linked")]
    symbols = ["build/rungs/frames/symbols/symbols.o"]
    t.sh(command + objects_of("frames") + symbols, expect=0)
    done = t.sh(command + objects + symbols)
    t.check(done.returncode and "undefined reference to `timer_ms'" in done.stderr, "lib.c could call timer_ms")
    listing = t.sh(["nm", "build/supervisor.elf"], expect=0).stdout
    for symbol in re.findall(r" [%s] (\S+)$" % test_ladder.TYPES_WEAK, listing, re.M) + \
            re.findall(r" (rung_\w+)$", listing, re.M):
        t.check(False, "the whole kernel has the symbol %s" % symbol)
    t.check(" T supervisor_main" in listing, "nm says nothing")


def test_usage(t):
    """A rung that does not exist costs one line, names those that do, and starts nothing."""
    for options, said in ((["--rung", "attic"], "there are the rungs console "), (["--rung="], "needs a value"),
                          (["--rung", "frames", "--tour", "boot"], "leave --trace, --tour and --build out")):
        done = t.sh(["./run.sh", "--kernel"] + options)
        t.equal((done.returncode, done.stdout, len(done.stderr.strip().split("\n"))), (4, "", 1), "status and words")
        t.check(said in done.stderr, "the sentence does not help: " + done.stderr)


def test_command(t):
    """`./run.sh --rung NAME` boots the rung through the firmware too, whose memory it counts."""
    done = t.sh("./run.sh --timeout 300 --rung frames", expect=0)
    mib = int(re.search(r"^\[BOOT\] memory: (\d+) MiB usable", done.stdout, re.M).group(1))
    free = int(re.search(r"^Frames: (\d+) free", done.stdout, re.M).group(1))
    t.check(0.9 * mib < free * PAGE >> 20 <= mib, "of %d MiB, %d frames are free" % (mib, free))
    t.check(done.stdout.endswith("Halting.\n"), "the last line is another one")


def test_gdb(t):
    """`./run.sh --rung NAME --gdb` stops in main, knows the rung's symbols, and runs to its end."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    commands = "tbreak frame_alloc_raw\ncontinue\nbacktrace 2\ninfo symbol timer_init\ncontinue\nquit\n"
    done = t.sh("./run.sh --timeout 300 --kernel --rung frames --gdb < %s 2>&1" % t.file("commands", commands))
    for pattern in (r"supervisor_main \(bootinfo_phys=", r"#0 +frame_alloc_raw ", r"#1 .* in rung_show ",
                    r'No symbol "timer_init" in current context', r"Frames: \d+ handed out"):
        t.check(re.search(pattern, done.stdout), "gdb's session lacks: " + pattern)
