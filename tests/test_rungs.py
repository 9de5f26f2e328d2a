"""The rungs of the ladder: the lower parts of the kernel boot, and what each shows is what an outside view says.

An outside view is QEMU's monitor, QEMU's log, the raw memory of the machine, or the same thing computed here. Each has
twins: the rung with a mistake in one of its files, of which the same view must tell.

Read next: rungs/rungs.h.
"""

import contextlib
import os
import re
import select
import shutil
import struct
import sys
import zlib

import harness
import rungs
import test_docs
import test_ladder
import test_memory_map

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "attacks"))

import gdbstub  # noqa: E402 (the path must be set first)

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
    def debugged(self, options=(), **others):
        """Boots up to the first instruction. Yields a GdbStub, QEMU's monitor, and the run, which goes on to its end
        afterwards: ask for its result then."""
        stub = gdbstub.GdbStub()
        try:
            with self.t.guest_monitor() as monitor:
                boot = self.t.start(build=self.build, expect=0, options=self.options + monitor.options + stub.options +
                                    list(options), **others)
                stub.connect()
                try:
                    yield stub, monitor, boot
                finally:
                    with contextlib.suppress(OSError, EOFError):  # it may have ended
                        stub.detach()
                boot.wait()
        finally:
            stub.close()

    @contextlib.contextmanager
    def stopped(self, symbol, **others):
        """Boots up to a symbol; one of the trampoline has a physical address. Yields QEMU's monitor and the run."""
        with self.debugged(**others) as (stub, monitor, boot):
            stub.breakpoint(self.elf.symbols[symbol])
            stub.go_on()
            stub.breakpoint(self.elf.symbols[symbol], False)
            yield monitor, boot


def console_of(boot):
    """Returns what the console of a stopped machine has said, up to the last line that its UART has taken."""
    text = b""
    while not text.endswith(b"\n") or b"supervisor v" not in text or select.select([boot.process.stdout], [], [], 1)[0]:
        text += boot.more()
    return text.decode()


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
    """console: lines come out whole, the ramdisk's checksum is the file's, return addresses stand behind calls."""
    judge(t, "console", look_at_console,
          ("console.c", "? NOBODY : number;", "? NOBODY : NOBODY;", "lines of the three writers"),
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


def look_at_cpu(machine):
    t = machine.t
    with machine.stopped("debug_exit") as (monitor, boot):
        said = monitor.hmp("info registers")
    result = boot.wait()
    cr0, cr4, efer = (int(re.search(r"\b%s=(\w+)" % name, said).group(1), 16) for name in ("CR0", "CR4", "EFER"))
    t.equal(numbers(t, result, r"CPU: cr0 (0x\w+), cr4 (0x\w+), efer (0x\w+)"), [cr0, cr4, efer], "the registers")
    # SDM Vol. 3A 2.5 and 2.2.1
    bits = {"WP": cr0 >> 16, "NXE": efer >> 11, "OSFXSR": cr4 >> 9, "OSXMMEXCPT": cr4 >> 10, "TSD": cr4 >> 2,
            "SMEP": cr4 >> 20, "SMAP": cr4 >> 21, "UMIP": cr4 >> 11}
    on = [name for name, bit in bits.items() if bit & 1]
    t.check("CPU protections: %s on" % " ".join(on) in result.text, "the report is not: %s on" % " ".join(on))
    t.equal(on, list(bits), "the protections that are on")


def test_cpu(t):
    """cpu: the protections that are reported are those in the processor's registers, and that is all of them."""
    judge(t, "cpu", look_at_cpu,
          ("cpu.c", "if (features.ebx & FEATURES_EBX_SMAP && !ABLATE(smap)) cr4 |= CR4_SMAP;", "",
           "the protections that are on"),
          ("cpu.c", "write_cr4(ABLATE(tsd) ? cr4 : cr4 | CR4_TSD);", "write_cr4(cr4);", "the protections that are on"),
          ("cpu.c", "read_cr0() & CR0_WP ?", "0 ?", "the report is not"))


def look_at_frames(machine):
    t = machine.t
    with machine.stopped("pvh_start", options=["-m", "77M"], verbose=True) as (monitor, boot):
        usable, ramdisk = memory_map(t, machine, monitor)
    result = boot.wait()
    _, kib, at = numbers(t, result, r"Memory: (\d+) MiB free, frame map of (\d+) KiB at (0x\w+)")
    own = set(range(at // PAGE, (at + kib * 1024) // PAGE))
    t.check(own <= usable and not own & ramdisk, "the frame map does not lie in usable memory")
    lowest = test_memory_map.constants(t)["PHYS_FRAMES"] // PAGE
    free = {frame for frame in usable - ramdisk - own if frame >= lowest}
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


def look_at_paging(machine):
    t = machine.t
    with machine.stopped("debug_exit") as (monitor, boot):
        pages = re.findall(r"^[0-9a-f]{16}: [0-9a-f]{16} (\S{9})\r?$", monitor.hmp("info tlb"), re.M)
        ways = {}
        for address in re.findall(r"^Paging: .*?, (0x\w+), is ", console_of(boot), re.M):
            ways[int(address, 0)] = monitor.hmp("gva2gpa " + address).strip()
    result = boot.wait()
    small, large, writable, executable, both, user = numbers(
        t, result, r"Paging: (\d+) pages of 4 KiB, (\d+) of 2 MiB: (\d+) writable, (\d+) executable, (\d+) both, "
                   r"(\d+) for ring 3")
    flags = [sum(flag in page for page in pages) for flag in "PWXU"]  # large, writable, not executable, for ring 3
    t.check(len(pages) > 500, "`info tlb` shows %d pages" % len(pages))
    t.equal([large, writable, small + large - executable, user], flags, "pages by kind, beside QEMU's")
    t.equal(small + large, len(pages), "pages that are mapped, beside QEMU's")
    symbols = machine.elf.symbols
    t.equal((executable, both), ((symbols["image_rodata"] - symbols["image_text"]) // PAGE, 0),
            "executable pages, and those that are writable too")
    printed = re.findall(r"^Paging: .*?, (0x\w+), is (?:at physical (0x\w+)|nowhere)$", result.text, re.M)
    t.equal(len(printed), 7, "addresses that are looked up")
    for address, phys in printed:
        t.equal(("gpa: " + phys) if phys else "Unmapped", ways[int(address, 0)], "where %s leads" % address)


def test_paging(t):
    """paging: the pages that are mapped are those that QEMU's monitor sees, with their rights, and lead there."""
    judge(t, "paging", look_at_paging,
          ("paging.c", "for (int at = LEVEL_PML4; at >= level &&", "for (int at = LEVEL_PML4; at > level &&",
           "where 0x\\w+ leads"),
          ("paging.c", "map_image(image_rodata, image_data, PTE_NX);", "map_image(image_rodata, image_data, 0);",
           "executable pages"))


def interrupts(t, path):
    """Returns what QEMU's log (-d int) says of interrupts that our code met: numbers (vector, error, raised by an
    instruction, ring, rip, cr2)."""
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.findall(r"^ *\d+: v=(\w+) e=(\w+) i=(\d) cpl=(\d) IP=(\w+):(\w+) .*?(?: CR2=(\w+))?$", file.read(),
                           re.M)
    ours = [(v, e, i, cpl, ip, cr2 or "0") for v, e, i, cpl, segment, ip, cr2 in found if segment in ("0008", "0023")
            and (cpl == "3" or int(ip, 16) >> 63)]
    t.check(ours, "QEMU's log has no interrupt of ours")
    return [tuple(int(number, 16) for number in one) for one in ours]


def look_at_gates(machine):
    t = machine.t
    log = os.path.join(t.scratch, "int.log")
    result = machine.boot("-d", "int", "-D", log)
    met = interrupts(t, log)
    came = re.search(r"^Gates: (\d+) came: ([\d ]+)$", result.text, re.M)
    t.equal([int(word) for word in came.group(2).split()], [one[0] for one in met if one[0] != 14],
            "the vectors that came, in order")
    # SDM Vol. 3A table 6-1: a vector for which the processor pushes an error code is no instruction's
    with_error = {8, 10, 11, 12, 13, 14, 17, 21, 29, 30}
    t.equal({one[0] for one in met}, set(range(64)) - with_error | {255, 14}, "the vectors that were raised")
    t.check(re.search(r"^Gates: on a stack of their own: 1 2 18$", result.text, re.M), "other vectors have a stack")
    fault = [(one[5], one[1]) for one in met if one[0] == 14]
    t.equal([tuple(numbers(t, result, r"Gates: page fault at (0x\w+), error (0x\w+)"))], fault, "the page fault")


def test_gates(t):
    """gates: what QEMU's log says was raised arrives at its vector; three vectors have stacks of their own."""
    judge(t, "gates", look_at_gates,
          ("idt.c", "set_gate(vector, isr_table[vector], ", "set_gate(vector, isr_table[vector ^ (vector == 40)], ",
           "the vectors that came"),
          ("idt.c", "[VECTOR_NMI] = IST_NMI,", "", "other vectors have a stack"))


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


def look_at_timer(machine):
    t = machine.t
    log = os.path.join(t.scratch, "int.log")
    result = machine.boot("-icount", "shift=0,align=off,sleep=off", "-d", "int", "-D", log)
    ticks, units, ms = numbers(t, result, r"Timer: (\d+) ticks in (\d+) units of the time stamp, (\d+) ms")
    # With this -icount, an instruction takes 1 ns, which is also the unit of the time stamp.
    t.check(abs(units / ticks / 1e6 - 1) < 0.001, "a tick takes %.4f ms" % (units / ticks / 1e6))
    t.check(abs(units / 1e6 - ms) <= 1, "%d ms have passed, and the timer says %d" % (units // 10**6, ms))
    t.equal(numbers(t, result, r"Timer: (\d+) ticks in all"), [sum(one[0] == 0x20 for one in interrupts(t, log))],
            "ticks in all, beside the interrupts in QEMU's log")


def test_timer(t):
    """timer: with a clock of one instruction a nanosecond, ticks and milliseconds are what QEMU has counted."""
    judge(t, "timer", look_at_timer,
          ("timer.c", "TICK_HZ = 1000,", "TICK_HZ = 990,", "a tick takes 1.0"),
          ("timer.c", "return ticks * 1000 / TICK_HZ;", "return ticks * 1200 / TICK_HZ;", "ms have passed"))


def look_at_memory(machine):
    t = machine.t
    with machine.stopped("space_destroy") as (monitor, boot):
        text = console_of(boot)
        seen = test_memory_map.Machine(t, monitor, machine.elf)
        cr3 = int(re.search(r"\bCR3=(\w+)", monitor.hmp("info registers")).group(1), 16)
        counts = []
        leaves = {leaf.start: leaf for leaf in test_memory_map.walk(seen, cr3, counts=counts) if leaf.start < 1 << 47}
        ways = {address: monitor.hmp("gva2gpa " + address).strip()
                for address in re.findall(r"^Memory: (0x\w+) is at ", text, re.M)}
    result = boot.wait()
    rows = re.findall(r"^Memory: (0x\w+) is at (0x\w+), readable: (\d), writable: (\d)$", result.text, re.M)
    t.equal(len(rows), 6, "pages that are looked up")
    for address, phys, readable, writable in rows:
        leaf = leaves.get(int(address, 0))
        t.equal((phys if int(phys, 0) else None, readable == "1", writable == "1"),
                (hex(leaf.phys) if leaf else None, bool(leaf and all(leaf.user)), bool(leaf and leaf.write)),
                "where %s leads, and what may be done there" % address)
        t.equal("gpa: " + phys if leaf else "Unmapped", ways[address], "where %s leads, beside QEMU" % address)
    t.equal(sorted(leaves), sorted(int(row[0], 0) for row in rows if int(row[1], 0)), "the pages of the space")
    t.equal(numbers(t, result, r"Memory: the space takes (\d+) frames, and (\d+) are missing"),
            [len(leaves) + len(counts) + 1] * 2, "frames, beside pages and tables in memory")
    t.equal(numbers(t, result, r"Memory: without it, (\d+) are missing"), [0], "frames that are lost")
    t.equal(numbers(t, result, r"Memory: 3 bytes at the end of a page come back: (\d); over its end: (\d)"), [1, 0],
            "what comes back")
    t.equal(numbers(t, result, r"Memory: MMAP over what is there returns (-\d+)"), [-13], "MMAP's error (E_EXISTS)")


def test_memory(t):
    """memory: a space's pages, rights and tables are those that the machine's raw memory and QEMU's monitor show."""
    judge(t, "memory", look_at_memory,
          ("user.c", "PTE_USER | PTE_WRITE, &current", "PTE_USER, &current", "what may be done there"),
          ("space.c", "if (!ABLATE(leak)) frame_free_clean(shard, entry & PTE_ADDRESS);", "", "frames that are lost"))


def look_at_faults(machine):
    t = machine.t
    log = os.path.join(t.scratch, "int.log")
    result = machine.boot("-d", "int", "-D", log)
    met = [one for one in interrupts(t, log) if one[3] == 3 and one[0] < 32 and
           not one[2]]  # an `int` of ring 3 is one of those that fault
    said = re.findall(r"^Shard 0 \((.*?)\) killed: (.*)$", result.text, re.M)
    t.equal((len(said), len(met)), (9, 9), "faults that are said, and those in QEMU's log")
    for (name, words), (vector, error, _, _, rip, cr2) in zip(said, met):
        wanted = r".*, vector %d, at rip %#x \(error %#x\)" % (vector, rip, error)
        if vector == 14:  # SDM Vol. 3A 4.7
            access = "instruction fetch from" if error & 16 else "write to" if error & 2 else "read of"
            wanted = r"page fault \(#PF, vector 14\) at rip %#x: %s (0x0|%#x), %s \(error %#x\)" % (
                rip, access, cr2, "its page forbids it" if error & 1 else "it is not mapped", error)
        t.check(re.fullmatch(wanted, words), "%s: said is `%s`, and QEMU met vector %d, error %#x, rip %#x, cr2 %#x" %
                (name, words, vector, error, rip, cr2))
    free = numbers(t, result, r"Faults: (\d+) frames are free")
    t.equal(numbers(t, result, r"Faults: (\d+) programs have ended, (\d+) frames are free"), [9] + free,
            "programs that have ended, and frames that are free")


def test_faults(t):
    """faults: each fault of ring 3 is told as QEMU's log has it: vector, error code, rip, address, and in words."""
    judge(t, "faults", look_at_faults,
          ("fault.c", "error & PF_WRITE ? \"write to\" : \"read of\"", "error & PF_WRITE ? \"read of\" : \"write to\"",
           "write to 0: said is"),
          ("fault.c", ", address = read_cr2();", ", address = frame->rip;", "said is"))


FILES = {"/etc/motd": b"", "/hello.txt": b"a small file\n", "/tokenizer.bin": bytes(range(256)) * 300,
         "/model.bin": b"".join(struct.pack("<Q", i * i) for i in range(100_000))}


def look_at_files(machine):
    t = machine.t
    # With blocks of 1 KiB, the largest file has pointers to pointers to blocks.
    image = t.guest_ramdisk("# nothing", files=FILES, block_size=1024)
    result = machine.boot("-initrd", image)
    for path, content in FILES.items():
        t.equal(numbers(t, result, r"Files: %s has (\d+) bytes, Adler-32 (0x\w+)" % path),
                [len(content), zlib.adler32(content)], path)
    t.check("Files: /none: there is no such file" in result.text, "/none was found")


def test_files(t):
    """files: sizes and checksums of files in the ramdisk are those of the files that mke2fs has put there."""
    judge(t, "files", look_at_files,
          ("fs.c", "return ext2_read(&ramdisk, file, offset, to, len);",
           "return ext2_read(&ramdisk, file, offset & ~511UL, to, len);", "/tokenizer.bin"))


class Table:
    """A model of cap.c: who holds what, and from whom."""

    def __init__(self, slots):
        self.slots = slots  # of each shard
        self.held = {}  # index: (rights, resource, index it was granted from or None)
        self.given = self.granted = self.refused = self.revoked = 0

    def put(self, shard, rights, resource, parent):
        slots = range(shard * self.slots, (shard + 1) * self.slots)
        free = [index for index in slots if index not in self.held]
        from_others = sum(1 for index in slots if index in self.held and self.held[index][2] is not None)
        if not free or (parent is not None and (from_others >= self.slots // 2 or len(free) == 1)):
            self.refused += 1
            return False
        self.held[free[0]] = (rights, resource, parent)
        return True

    def revoke(self, top):
        gone = {top}
        while more := {index for index, entry in self.held.items() if entry[2] in gone} - gone:
            gone |= more
        self.held = {index: entry for index, entry in self.held.items() if index not in gone}
        self.revoked += 1


def random_numbers(state=1):
    """The generator of rungs/rungs.h."""
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def look_at_capabilities(machine):
    t = machine.t
    result = machine.boot()
    text = test_docs.read("rungs/capabilities.c")
    steps, holders, kinds, revokes, gives = (
        int(re.search(r"\b%s = (\d+)" % name, text).group(1))
        for name in ("STEPS", "HOLDERS", "KINDS", "REVOKES", "GIVES"))
    table, numbers_left = Table(test_memory_map.constants(t)["COCONUT_CAP_SLOTS"]), random_numbers()
    for _ in range(steps):
        kind, shard, index, rights = (next(numbers_left) for _ in range(4))
        kind, shard, index, rights = kind % kinds, shard % holders, index % (holders * table.slots), rights % 256
        if revokes <= kind < revokes + gives:
            table.given += table.put(shard, rights, index, None)
        elif index in table.held and kind < revokes:
            table.revoke(index)
        elif index in table.held:
            table.granted += table.put(shard, table.held[index][0] & rights, table.held[index][1], index)
    t.check(min(table.given, table.granted, table.revoked, table.refused) > 20, "the steps are too much alike")
    t.equal(numbers(t, result, r"Capabilities: (\d+) given, (\d+) granted, (\d+) refused, (\d+) revoked with all their "
                               r"copies"), [table.given, table.granted, table.refused, table.revoked], "steps by kind")
    total = 0
    for index, (rights, resource, _) in sorted(table.held.items()):
        total = (total * 31 + (index * 65536 + resource) * 256 + rights) % 2**64
    t.equal(numbers(t, result, r"Capabilities: (\d+) are left, checksum (0x\w+)"), [len(table.held), total],
            "what is left")


def test_capabilities(t):
    """capabilities: after a thousand grants and revokes, what is left is what a model in Python has left."""
    judge(t, "capabilities", look_at_capabilities,
          ("cap.c", "copy.rights &= rights;", "", "what is left"),
          ("cap.c", "from_others >= GRANTED_MAX", "from_others > GRANTED_MAX", "steps by kind"))


def look_at_channels(machine):
    t = machine.t
    result = machine.boot()
    total, numbers_left = 0, random_numbers()
    for _ in range(20):
        total = (total * 31 + next(numbers_left)) % 2**64
    t.equal(numbers(t, result, r"Channels: (\d+) numbers sent, checksum (0x\w+), received (0x\w+)"), [20, total, total],
            "what was sent and received")
    number, steps, highest = 27, 0, 27
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        steps, highest = steps + 1, max(highest, number)
    t.equal(numbers(t, result, r"Channels: from 27 to 1 in (\d+) steps, by way of (\d+)"), [steps, highest],
            "steps, and the highest number")


def test_channels(t):
    """channels: messages arrive whole and in order, by the fast path of CALL too: Collatz's sequence from 27 on."""
    judge(t, "channels", look_at_channels,
          ("channel.c", "other->inbox[(other->first + other->count++) % INBOX]",
           "other->inbox[(other->first + INBOX - 1 - other->count++) % INBOX]",
           "what was sent and received|CHANNEL_RECV returned"),
          ("channel.c", "copy_to_user(buf, message->bytes, len);", "copy_to_user(buf, message->bytes, len - 5);",
           "what was sent and received"),
          ("call.c", "copy_across(peer->known.receive_at, buf, len);", "copy_across(peer->known.receive_at, buf, 1);",
           "steps, and the highest number"))


def look_at_devices(machine):
    t = machine.t
    with machine.stopped("debug_exit") as (monitor, boot):
        said = monitor.hmp("info pci").replace("\r", "")
    result = boot.wait()
    wanted = []
    for bus, dev, fn, text in re.findall(r"^  Bus +(\d+), device +(\d+), function (\d+):\n((?:    .*\n)+)", said, re.M):
        vendor, device = re.search(r"PCI device (\w{4}):(\w{4})", text).groups()
        wanted.append("Devices: %02x:%02x.%s is %s:%s" % (int(bus), int(dev), fn, vendor, device))
        for bar, kind, start, end in re.findall(r"BAR(\d): (.*?) at (0x\w+) \[(0x\w+)\]", text):
            if bar == "6":  # a ROM
                continue
            wanted.append("BAR%s: %s at %#x, %#x bytes" % (bar, "ports" if "I/O" in kind else "memory", int(start, 16),
                                                           int(end, 16) - int(start, 16) + 1))
    t.check(len(wanted) > 10, "`info pci` shows %d devices and base addresses" % len(wanted))
    t.equal([line.strip() for line in result.lines if re.match(r"Devices: ..:|  BAR", line)], wanted, "PCI functions")
    t.equal(numbers(t, result, r"Devices: without a tick, the time goes on: (\d)"), [1], "the time goes on")


def test_devices(t):
    """devices: the functions of PCI, and where they answer, are those that QEMU's monitor names."""
    judge(t, "devices", look_at_devices,
          ("devices.c", "timed = found.pm_timer_port && timer_use_acpi(found.pm_timer_port, found.pm_timer_32bit);",
           "timed = true;", "the time goes on"))


def look_at_dma(machine):
    t = machine.t
    path = os.path.join(t.scratch, "frames.bin")

    def memory(monitor, address, size):
        monitor.hmp('pmemsave %#x %d "%s"' % (address, size, path))
        with open(path, "rb") as file:
            return file.read()

    with machine.stopped("debug_exit") as (monitor, boot):
        text = console_of(boot)
        copied = re.search(r"^DMA: (\d+) bytes from (0x\w+) to (0x\w+): (-?\d+)$", text, re.M)
        refused = re.search(r"^DMA: to (0x\w+), where it may not write: (-?\d+)$", text, re.M)
        t.check(copied and refused, "nothing was copied: %s" % text[-300:])
        size, target, forbidden = int(copied.group(1)), int(copied.group(3), 0), int(refused.group(1), 0)
        arrived = memory(monitor, target & -PAGE, 2 * PAGE)
        untouched = memory(monitor, forbidden & -PAGE, 2 * PAGE)
    boot.wait()
    pattern, bytes_left = bytearray(), random_numbers()
    while len(pattern) < 2 * PAGE:
        pattern.append(next(bytes_left) & 0xFF)
    start, to = int(copied.group(2), 0) % PAGE, target % PAGE
    t.equal(int(copied.group(4)), 0, "what the copy returned")
    t.check(arrived == bytes(to) + bytes(pattern[start:start + size]) + bytes(2 * PAGE - to - size),
            "the target's frames hold something else than the copy, or more than that")
    t.equal((int(refused.group(2)), any(untouched)), (-16, False), "the forbidden copy: E_IO, and bytes that changed")


def test_dma(t):
    """dma: what an engine has copied lies in the machine's memory; where it may not write, there are zeros."""
    judge(t, "dma", look_at_dma,
          ("edu.c", "iova + from - (phys & ~PAGE_MASK), from,", "iova + from - (phys & ~PAGE_MASK), from & ~PAGE_SIZE,",
           "hold something else"),
          ("edu.c", "if (!ABLATE(dma_extent)) {", "if (false) {", "the forbidden copy"))


def look_at_shard(machine):
    t = machine.t
    calls = 0
    with machine.debugged() as (stub, _, boot), contextlib.suppress(EOFError):
        stub.breakpoint(machine.elf.symbols["syscall_entry"])
        while True:
            stub.go_on()
            calls += 1
    result = boot.wait()
    with open(os.path.join(t.root, machine.build, "stage", "etc", "motd"), encoding="utf-8") as file:
        t.check(file.read() in result.text, "the shard has not printed /etc/motd")
    t.check(calls > 5, "%d calls were met" % calls)
    t.equal(numbers(t, result, r"Shard: code (\d+), (\d+) calls, (\d+) frames are missing"), [0, calls, 0],
            "code, calls beside those that came by, frames that are lost")


def test_shard(t):
    """shard: a program of the ramdisk runs and prints a file; its calls are as many as came to syscall_entry."""
    judge(t, "shard", look_at_shard,
          ("syscall.c", "self->usage.syscalls++;", "self->usage.syscalls += number != SYS_FS_OPEN;", "code, calls"),
          ("shard.c", "\tspace_destroy(self);\n\tgpu_release(self);\n\tASSERT(self->frames == 0);\n", "", "lost"))


# ---- All of them ----


def test_list(t):
    """README.md has the table of `--rung list`; each rung has a source, a test, and a chapter of the book."""
    listed = t.sh(["./run.sh", "--rung", "list"], expect=0).stdout
    rows = rungs.rows()
    t.equal([re.sub(" +", " ", line).strip() for line in listed.split("\n")[1:-1]], [" ".join(row) for row in rows],
            "what --rung list prints")
    t.check(rungs.table() in test_docs.read("README.md"), "README.md's table of the rungs is not that of --rung list: "
            "`scripts/rungs.py --update` writes it")
    chapters = re.findall(r"^\| \[\d+\].*\| ([^|]*) \|$", test_docs.read("docs/README.md"), re.M)
    t.equal(sorted(re.findall(r"`(\w+)`", " ".join(chapters))), sorted(row[0] for row in rows[:-1]),
            "the rungs of the book's chapters")
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
                          (["--rung", "console cpu"], "there are the rungs console "),
                          (["--rung", "frames", "--tour", "boot"], "leave --trace, --tour and --build out")):
        done = t.sh(["./run.sh", "--kernel"] + options)
        t.equal((done.returncode, done.stdout, len(done.stderr.strip().split("\n"))), (4, "", 1), "status and words")
        t.check(said in done.stderr, "the sentence does not help: " + done.stderr)
    done = t.sh(["./build.sh", "--rung", "attic"])
    t.check(done.returncode == 1 and "--rung list shows them" in done.stderr, "build.sh says: " + done.stderr)


def test_command(t):
    """`./run.sh --rung NAME` boots the rung through the firmware too, whose memory it counts."""
    done = t.sh("./run.sh --timeout 300 --rung frames", expect=0)
    mib = int(re.search(r"^\[BOOT\] memory: (\d+) MiB usable", done.stdout, re.M).group(1))
    free = int(re.search(r"^Frames: (\d+) free", done.stdout, re.M).group(1))
    t.check(0.9 * mib < free * PAGE >> 20 <= mib, "of %d MiB, %d frames are free" % (mib, free))
    t.check(done.stdout.endswith("Halting.\n"), "the last line is another one")


def test_debug(t):
    """Where nothing is optimized, main.c still needs nothing of what a rung has not."""
    for name, said in (("console", "Adler-32"), ("shard", "Shard: code 0, ")):
        done = t.sh(["./run.sh", "--timeout", "120", "--kernel", "--debug", "--rung", name], expect=0)
        t.check(said in done.stdout, "the rung %s shows nothing" % name)


def test_gdb(t):
    """`./run.sh --rung NAME --gdb` stops in main, knows the rung's symbols, and runs to its end."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    commands = "tbreak frame_alloc_raw\ncontinue\nbacktrace 2\ninfo symbol timer_init\ncontinue\nquit\n"
    done = t.sh("./run.sh --timeout 300 --kernel --rung frames --gdb < %s 2>&1" % t.file("commands", commands))
    for pattern in (r"supervisor_main \(bootinfo_phys=", r"#0 +frame_alloc_raw ", r"#1 .* in rung_show ",
                    r'No symbol "timer_init" in current context', r"Frames: \d+ handed out"):
        t.check(re.search(pattern, done.stdout), "gdb's session lacks: " + pattern)
