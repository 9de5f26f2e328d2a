"""MEMORY_MAP.md against layout.h, against the ELF file, and against the page tables of a running machine.

The tables of MEMORY_MAP.md are the expectation: nothing of them is repeated here. The page tables are walked in this
file, from the physical memory that QEMU's monitor hands out; QEMU's own walk (`info mem`) has to agree.

Read next: MEMORY_MAP.md.
"""

import os
import re
import struct
import time

import harness

PRESENT, WRITE, USER, PWT, PCD, LARGE, BORROWED = 1, 2, 4, 8, 16, 0x80, 0x200
NX = 1 << 63
ADDRESS = 0x000FFFFFFFFFF000
PAGE = 4096
MARK = struct.pack("<Q", 0x6465707061706D21)  # what map-probe writes to the first page of its heap
FILE_MAPPING = 0x50000000  # where map-probe maps /hello.txt
KEPT_BY_FIRMWARE = 256  # pages of RAM at most
FILE = b"mapped, not copied\n" * 300

MANIFEST = """shard probe0 /t/map-probe
shard probe1 /t/map-probe args="something on the stack"
channel probe0 probe1
pipeline probe0 probe1 layers=0-1,2-3
"""


# ---- The document ----


def read(t, name):
    with open(os.path.join(t.root, name), encoding="utf-8") as file:
        return file.read()


def table(t, heading):
    """Returns the rows of the first table under a heading of MEMORY_MAP.md, each a list of its cells."""
    text = read(t, "MEMORY_MAP.md")
    t.check(re.search(r"^##+ %s$" % re.escape(heading), text, re.M), "MEMORY_MAP.md has no section " + heading)
    section = re.split(r"^##+ ", re.split(r"^##+ %s$" % re.escape(heading), text, flags=re.M)[1], flags=re.M)[0]
    block = re.search(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", section, re.M)
    t.check(block, "MEMORY_MAP.md has no table under " + heading)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in block.group(1).strip().split("\n")]


def constants(t):
    """Returns {name: value} of the plain numbers that layout.h and coconut.h define."""
    found = re.findall(r"^#define[ \t]+(\w+)[ \t]+(0[xX][0-9A-Fa-f]+|\d+)\b",
                       read(t, "layout.h") + read(t, "coconut.h"), re.M)
    return {name: int(value, 0) for name, value in found}


def evaluate(t, cell, names):
    """Returns the value of a cell like `HHDM_BASE + 0x1000 - 1`."""
    total, sign = 0, 1
    for word in cell.strip("`").split():
        if word in "+-":
            sign = 1 if word == "+" else -1
        else:
            t.check(word[0].isdigit() or word in names, "MEMORY_MAP.md uses an unknown name: " + word)
            total += sign * (int(word, 0) if word[0].isdigit() else names[word])
    return total


def regions(t, heading, names):
    """Returns the rows under a heading as (first, last, set of rights), after checking that they are in order."""
    rows = [(evaluate(t, row[0], names), evaluate(t, row[1], names), set(row[2].split(" or ")))
            for row in table(t, heading)]
    for before, after in zip(rows, rows[1:]):
        t.check(before[0] <= before[1] < after[0] <= after[1], "rows out of order under %s: %#x" % (heading, after[0]))
    return rows


# ---- The ELF file ----


class Elf:
    """Sections, segments and symbols of the supervisor."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        (self.entry, phoff, shoff) = struct.unpack_from("<QQQ", data, 24)
        phsize, phnum, shsize, shnum, names_at = struct.unpack_from("<HHHHH", data, 54)
        headers = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * shsize) for i in range(shnum)]
        text = self.strings(data, headers[names_at])
        self.sections = {text(h[0]): h for h in headers}
        self.segments = [struct.unpack_from("<IIQQQQQQ", data, phoff + i * phsize) for i in range(phnum)]
        self.symbols, self.sizes = {}, {}
        symtab = self.sections[".symtab"]
        name_of = self.strings(data, headers[symtab[6]])
        for at in range(symtab[4], symtab[4] + symtab[5], 24):
            name, _, _, _, value, size = struct.unpack_from("<IBBHQQ", data, at)
            self.symbols[name_of(name)], self.sizes[name_of(name)] = value, size

    @staticmethod
    def strings(data, header):
        return lambda at: data[header[4] + at:data.index(b"\0", header[4] + at)].decode()

    def rights_at(self, address):
        """Returns the rights of the segment that holds an address."""
        for kind, flags, _, start, _, _, size, _ in self.segments:
            if kind == 1 and start <= address < start + size:
                return rights_name(flags & 2, not flags & 1)
        return "none"


def rights_name(write, no_execute):
    return "R" + ("+W" if write else "") + ("+NX" if no_execute else "+X")


def supervisor(t, build=None):
    return Elf(os.path.join(t.root, build or "build", "supervisor.elf"))


# ---- The running machine ----


class Machine:
    """A stopped machine, seen through QEMU's monitor."""

    def __init__(self, t, monitor, elf):
        self.t, self.monitor, self.elf = t, monitor, elf
        self.names = dict(constants(t), **elf.symbols)
        self.pages = {}
        self.ram = self.read_ram_ranges()
        self.names["RAM_END"] = max(end for _, end in self.ram)

    def read_ram_ranges(self):
        """Returns the machine's main memory as (start, end), from QEMU's map of the system address space."""
        for view in self.monitor.hmp("info mtree -f").split("FlatView #"):
            if re.search(r'^ AS "memory"', view, re.M):
                found = re.findall(r"^  ([0-9a-f]+)-([0-9a-f]+) \(prio \d+, ram\): pc\.ram(?: @\S+)?(?: KVM)?\s*$",
                                   view, re.M)
                return [(int(start, 16), int(end, 16) + 1) for start, end in found]
        raise harness.Failure("QEMU shows no address space named memory")

    def is_ram(self, phys, size):
        return any(start <= phys and phys + size <= end for start, end in self.ram)

    def page(self, phys):
        """Returns a page of physical memory."""
        if phys not in self.pages:
            path = os.path.join(self.t.scratch, "page.bin")
            self.monitor.hmp('pmemsave %#x %d "%s"' % (phys, PAGE, path))
            with open(path, "rb") as file:
                self.pages[phys] = file.read()
        return self.pages[phys]

    def entries(self, phys):
        return struct.unpack("<512Q", self.page(phys))

    def variable(self, symbol, offset=0, size=8):
        """Returns a number from a variable of the supervisor."""
        phys = self.elf.symbols[symbol] + offset - self.names["IMAGE_BASE"]
        return int.from_bytes(self.page(phys & -PAGE)[phys % PAGE:phys % PAGE + size], "little")

    def shard_cr3(self, number):
        stride = self.elf.sizes["shards"] // 64
        return self.variable("shards", number * stride + self.names["SHARD_CR3"])


class Leaf:
    """A page, with the rights that result from all levels."""

    def __init__(self, start, size, entry, path):
        self.start, self.size, self.entry = start, size, entry
        self.phys = entry & ADDRESS & -size
        self.write = all(e & WRITE for e in path)
        self.user = [bool(e & USER) for e in path]
        self.no_execute = any(e & NX for e in path)

    @property
    def rights(self):
        return rights_name(self.write, self.no_execute)

    def __str__(self):
        return "page %#x (physical %#x, %s)" % (self.start, self.phys, self.rights)


def walk(machine, cr3, level=3, base=0, path=(), counts=None):
    """Returns the leaves below a table, sorted by address. Appends (entry, used entries below) to `counts`."""
    leaves = []
    for index, entry in enumerate(machine.entries(cr3 & ADDRESS)):
        start = base + (index << 12 + 9 * level)
        if level == 3 and index >= 256:
            start |= 0xFFFF << 48
        if not entry & PRESENT:
            machine.t.equal(entry, 0, "an entry for %#x that is not present" % start)
        elif level == 0 or entry & LARGE:
            leaves.append(Leaf(start, 1 << 12 + 9 * level, entry, path + (entry,)))
        else:
            if counts is not None and start < 1 << 47:
                counts.append((entry, sum(1 for e in machine.entries(entry & ADDRESS) if e)))
            leaves += walk(machine, entry, level - 1, start, path + (entry,), counts)
    return leaves


def start_machine(t, monitor, **options):
    """Boots two shards that have one of everything, waits until they have it, and stops the machine."""
    probe = harness.build_test_shard("map-probe")
    boot = t.start(manifest=MANIFEST, add={"/t/map-probe": probe, "/hello.txt": t.file("hello.txt", FILE)},
                   options=monitor.options + options.pop("more", []), **options)
    elf = supervisor(t, options.get("build"))
    deadline = time.monotonic() + 300
    while True:
        t.check(time.monotonic() < deadline, "the two shards were not ready within 300 seconds")
        monitor.hmp("stop")
        machine = Machine(t, monitor, elf)
        if all(is_ready(machine, number) for number in (0, 1)):
            return boot, machine
        monitor.hmp("cont")
        time.sleep(0.5)


def is_ready(machine, number):
    """Returns whether a probe has mapped all it wants to."""
    if not machine.variable("kernel_cr3"):
        return False
    cr3 = machine.shard_cr3(number)
    if not cr3 or cr3 == machine.variable("kernel_cr3"):
        return False
    for level in (3, 2, 1, 0):
        entry = machine.entries(cr3 & ADDRESS)[machine.names["COCONUT_HEAP_BASE"] >> 12 + 9 * level & 511]
        if not entry & PRESENT:
            return False
        cr3 = entry
    return machine.page(cr3 & ADDRESS).startswith(MARK)


# ---- Checks of the running machine ----


def check_rows(t, rows, leaves):
    """Every page lies in a row and has one of its rights."""
    for leaf in leaves:
        row = [r for r in rows if r[0] <= leaf.start and leaf.start + leaf.size - 1 <= r[1]]
        t.check(row, "%s crosses the border of a row of MEMORY_MAP.md, or is outside of all" % leaf)
        t.check(leaf.rights in row[0][2], "%s: MEMORY_MAP.md says %s" % (leaf, row[0][2]))


def check_rights(t, leaves):
    """No page is writable and executable; U is set in the lower half only, at every level, and always."""
    for leaf in leaves:
        t.check(not leaf.write or leaf.no_execute, "%s is writable and executable" % leaf)
        wanted = leaf.start < 1 << 47
        t.check(all(user == wanted for user in leaf.user), "%s: the U bits are %s" % (leaf, leaf.user))


def check_sealed(t, machine, leaves):
    """No page that can be written shows the supervisor's trampoline, text or rodata."""
    end = machine.names["image_data"] - machine.names["IMAGE_BASE"]
    for leaf in leaves:
        overlaps = leaf.phys < end and leaf.phys + leaf.size > machine.names["PHYS_IMAGE"]
        t.check(not (overlaps and leaf.write), "%s is a writable alias of the supervisor's text or rodata" % leaf)


def check_hhdm(t, machine, leaves):
    """The HHDM shows each address at its place, RAM writable and nothing else so, and all RAM above 1 MiB.

    Of RAM, what the firmware keeps for itself without naming its purpose is missing; ACPI tables are read-only."""
    base, mapped, read_only = machine.names["HHDM_BASE"], set(), 0
    for leaf in leaves:
        if base <= leaf.start < base + (1 << 39):
            t.equal(leaf.start, base + leaf.phys, "the place of a page of the HHDM")
            t.check(not leaf.write or machine.is_ram(leaf.phys, leaf.size), "%s is writable and no RAM" % leaf)
            mapped.update(range(leaf.phys // PAGE, (leaf.phys + leaf.size) // PAGE))
            read_only += not leaf.write and leaf.phys >= machine.names["PHYS_IMAGE_LIMIT"]
    missing = [page for start, end in machine.ram for page in range(start // PAGE, end // PAGE)
               if page >= 256 and page not in mapped]
    t.check(len(missing) <= KEPT_BY_FIRMWARE, "the HHDM lacks %d pages of RAM, the first at %#x" %
            (len(missing), missing[0] * PAGE if missing else 0))
    t.check(read_only <= KEPT_BY_FIRMWARE, "%d pages of the HHDM are read-only" % read_only)


def check_stacks(t, machine, leaves):
    """Each slot is mapped exactly where MEMORY_MAP.md says, and the processor's own stacks are the named slots."""
    size, base = machine.names["STACK_SLOT_SIZE"], machine.names["STACKS_BASE"]
    wanted = {base + slot * size + offset for slot in slot_numbers(t)
              for first, last, rights in regions(t, "Kernel stacks", {}) if rights != {"none"}
              for offset in range(first, last, PAGE)}
    got = {leaf.start for leaf in leaves if base <= leaf.start < machine.names["MMIO_BASE"]}
    t.equal(got, wanted, "the mapped pages of kernel stacks")
    for slot, ist in re.findall(r"^\| (\d+) \|.*\(IST (\d)\)", read(t, "MEMORY_MAP.md"), re.M):
        top = machine.variable("tss", 36 + 8 * (int(ist) - 1))
        t.equal(top, base + (int(slot) + 1) * size, "the top of the stack of IST %s" % ist)


def slot_numbers(t):
    """Returns the numbers of all slots that the table of slots lists."""
    numbers = []
    rows = read(t, "MEMORY_MAP.md").split("| slots |")[1].split("\n\n")[0]
    for first, last in re.findall(r"^\| (\d+)(?: \.\. (\d+))? \|", rows, re.M):
        numbers += range(int(first), int(last or first) + 1)
    t.equal(numbers, list(range(len(numbers))), "the slots that MEMORY_MAP.md lists")
    return numbers


def check_image_and_devices(t, machine, leaves):
    """The image is mapped wholly, each page to its own; device pages are uncached and no RAM."""
    at = {leaf.start: leaf for leaf in leaves}
    for page in range(machine.names["image_text"], machine.names["image_end"], PAGE):
        t.check(page in at and at[page].phys == page - machine.names["IMAGE_BASE"],
                "page %#x of the image is not mapped" % page)
    devices = [leaf for leaf in leaves if leaf.start >= machine.names["MMIO_BASE"]]
    t.check(devices and devices[0].phys == 0xFEE00000, "the first device page is not the local APIC")
    for leaf in devices:
        t.check(leaf.entry & PCD and leaf.entry & PWT, "%s is cached" % leaf)
        t.check(not machine.is_ram(leaf.phys, leaf.size), "%s is RAM" % leaf)


def check_boot_tables(t, machine):
    """The trampoline's tables are still there, as MEMORY_MAP.md draws them."""
    bits = ADDRESS | PRESENT | WRITE | LARGE | NX
    rows = table(t, "Virtual memory while the trampoline runs")
    tables = [(row[0], int(row[1].strip("`"), 0), row[2]) for row in rows]
    pml4 = [entry & bits for entry in machine.entries(tables[0][1])]
    wanted = {int(index): phys for kind, phys, index in tables if kind == "PDPT"}
    t.equal({i: e for i, e in enumerate(pml4) if e}, {i: p | PRESENT | WRITE for i, p in wanted.items()},
            "the boot PML4")
    directories = {int(index): phys for kind, phys, index in tables if kind == "PD"}
    for index, phys in wanted.items():
        pdpt = {i: e & bits for i, e in enumerate(machine.entries(phys)) if e}
        t.equal(pdpt, {510 if index == 511 else 0: directories[index] | PRESENT | WRITE},
                "the boot PDPT of entry %d" % index)
        pages = [e & bits for e in machine.entries(directories[index])]
        t.equal(pages, [i << 21 | PRESENT | WRITE | LARGE for i in range(512)], "the boot PD of entry %d" % index)


def check_monitor_agrees(t, machine):
    """QEMU's own walk of the current tables finds the same ranges with the same rights."""
    cr3 = int(re.search(r"CR3=([0-9a-f]+)", machine.monitor.hmp("info registers")).group(1), 16)
    merged = []
    for leaf in walk(machine, cr3):
        kind = ("u" if all(leaf.user) else "-") + "r" + ("w" if leaf.write else "-")
        if merged and merged[-1][1] == leaf.start and merged[-1][2] == kind:
            merged[-1][1] += leaf.size
        else:
            merged.append([leaf.start, leaf.start + leaf.size, kind])
    mine = ["%016x-%016x %016x %s" % (start, end, end - start, kind) for start, end, kind in merged]
    t.equal(machine.monitor.hmp("info mem").split("\r\n")[:-1], mine, "the ranges of `info mem`")


def check_supervisor(t, machine):
    leaves = walk(machine, machine.variable("kernel_cr3"))
    rows = regions(t, "Virtual memory of the supervisor", machine.names)
    t.check(rows[0][0] == 0 and rows[-1][1] == (1 << 64) - 1, "MEMORY_MAP.md does not cover the whole address space")
    check_rows(t, rows, leaves)
    check_rights(t, leaves)
    t.check(not [leaf for leaf in leaves if leaf.start < 1 << 47], "the supervisor's tables have a lower half")
    check_sealed(t, machine, leaves)
    check_hhdm(t, machine, leaves)
    check_stacks(t, machine, leaves)
    check_image_and_devices(t, machine, leaves)
    check_boot_tables(t, machine)


def check_shard(t, machine, number):
    counts = []
    leaves = [leaf for leaf in walk(machine, machine.shard_cr3(number), counts=counts) if leaf.start < 1 << 47]
    rows = regions(t, "Virtual memory of a shard", machine.names)
    check_rows(t, rows, leaves)
    check_rights(t, leaves)
    check_sealed(t, machine, leaves)
    for first, last, rights in rows:
        inside = [leaf for leaf in leaves if first <= leaf.start <= last]
        t.check(inside or rights == {"none"} or first == 0x11000, "the probe has no page at %#x" % first)
    for leaf in leaves:
        is_file = FILE_MAPPING <= leaf.start < FILE_MAPPING + len(FILE)
        t.check(bool(leaf.entry & BORROWED) == is_file, "%s: the bit PTE_BORROWED is wrong" % leaf)
        t.check(not is_file or leaf.rights == "R+NX", "%s belongs to a file" % leaf)
    t.check(machine.page([leaf for leaf in leaves if leaf.start == FILE_MAPPING][0].phys) == FILE[:PAGE],
            "the file's page")
    for entry, used in counts:
        t.equal(entry >> 52 & 0x3FF, used, "the count in entry %#x" % entry)
    mine, supervisors = machine.entries(machine.shard_cr3(number)), machine.entries(machine.variable("kernel_cr3"))
    t.equal(mine[1:], supervisors[1:], "the entries of the PML4 beside the first")
    check_configuration(t, machine, number, [leaf for leaf in leaves if leaf.start == 0x10000][0])


def check_configuration(t, machine, number, leaf):
    """The configuration page holds what the manifest says, at the offsets of MEMORY_MAP.md."""
    t.equal(leaf.rights, "R+NX", "rights of the configuration page")
    fields = {}
    for row in table(t, "Configuration pages"):
        if row[0] == "`pipeline_config`":
            at = int(row[2].strip("`"), 0)
            fields[row[1].split("`")[1]] = int.from_bytes(machine.page(leaf.phys)[at:at + int(row[3])], "little")
    t.equal(fields, {"magic": 0x50495045, "stage": number, "stages": 2, "channel": 0, "first_layer": 2 * number,
                     "end_layer": 2 * number + 2}, "the configuration page of stage %d" % number)


def check_machine(t, **options):
    with t.guest_monitor() as monitor:
        boot, machine = start_machine(t, monitor, **options)
        try:
            check_supervisor(t, machine)
            check_shard(t, machine, 0)
            check_shard(t, machine, 1)
            check_monitor_agrees(t, machine)
        finally:
            boot.stop()
            boot.wait()


# ---- The tests ----


def test_constants(t):
    """MEMORY_MAP.md lists every address of layout.h and coconut.h with its value, and every PTE bit."""
    names = constants(t)
    listed = {row[0].strip("`"): int(row[1].strip("`"), 0) for row in table(t, "Constants")}
    addresses = {name for name in names if re.match(r"(PHYS|HHDM|IMAGE|STACKS|MMIO|STACK)_", name) or
                 re.fullmatch(r"COCONUT_(CODE_BASE|HEAP_BASE|STACK_TOP|LARGE_BASE)|\w+_CONFIG_VADDR", name)}
    t.equal(listed, {name: names[name] for name in addresses}, "the constants")
    bits = {row[1].strip("`"): row[0] for row in table(t, "Bits of a page-table entry") if row[1].startswith("`")}
    t.equal({name: 1 << int(bit) for name, bit in bits.items()},
            {name: value for name, value in names.items() if name.startswith("PTE_")}, "the bits of a page-table entry")


def test_physical(t):
    """The physical regions are in order and begin where layout.h says."""
    names = dict(constants(t), RAM_END=1 << 32)
    rows = [(evaluate(t, row[0], names), evaluate(t, row[1], names)) for row in table(t, "Physical memory")]
    t.check(all(a[0] <= a[1] < b[0] for a, b in zip(rows, rows[1:])), "the physical regions are out of order")
    t.equal([row[0] for row in rows[1:]], [names[name] for name in (
        "PHYS_IMAGE", "PHYS_BOOT_STACK", "PHYS_PVH_TABLES", "PHYS_BOOT_TABLES", "PHYS_FRAMES")],
        "the starts of regions")
    t.equal(rows[1][1] + 1, names["PHYS_IMAGE_LIMIT"], "the end of the image's region")
    t.equal(rows[4][1] + 1, names["PHYS_BOOT_TABLES"] + names["PHYS_BOOT_TABLE_PAGES"] * PAGE,
            "the end of the boot tables")


def test_elf(t):
    """Sections and segments of the supervisor lie where MEMORY_MAP.md says, with the rights it says."""
    elf = supervisor(t)
    names = dict(constants(t), **elf.symbols)
    loaded = {name for name, header in elf.sections.items() if header[2] & 2}
    rows = table(t, "The ELF file")
    t.equal({row[0].strip("`") for row in rows}, loaded, "the sections in memory")
    for name, rights, first, last in rows:
        start, size = elf.sections[name.strip("`")][3], elf.sections[name.strip("`")][5]
        t.check(evaluate(t, first, names) <= start and start + size <= evaluate(t, last, names), "the place of " + name)
        t.equal(elf.rights_at(start), rights, "the rights of " + name)
    for kind, _, _, virtual, physical, _, size, _ in elf.segments:
        if kind == 1:
            t.check(virtual in (physical, physical + names["IMAGE_BASE"]), "a segment at %#x" % virtual)
            t.check(names["PHYS_IMAGE"] <= physical and physical + size <= names["PHYS_IMAGE_LIMIT"],
                    "its place in memory")
    t.check(names["PHYS_IMAGE"] <= elf.entry < names["PHYS_IMAGE"] + PAGE, "the entry point lies in the trampoline")


def test_structures(t):
    """The configuration pages have the fields, offsets and sizes that MEMORY_MAP.md says."""
    lines = ["#define COCONUT_NO_CALLS", '#include "coconut.h"']
    for structure, field, offset, size in table(t, "Configuration pages"):
        member = "struct %s" % structure.strip("`"), field.split("`")[1]
        lines.append('_Static_assert(offsetof(%s, %s) == %s, "offset");' % (member + (offset.strip("`"),)))
        lines.append('_Static_assert(sizeof(((%s *)0)->%s) == %s, "size");' % (member + (size,)))
        if "=" in field:
            name = structure.strip("`").upper() + "_MAGIC"
            lines.append('_Static_assert(%s == %s, "magic");' % (name, field.split("`")[3]))
    source = t.file("structures.c", "\n".join(lines) + "\n")
    t.sh(["gcc", "-I", t.root, "-c", "-o", os.path.join(t.scratch, "structures.o"), source], expect=0)


def test_running(t):
    """The page tables of a machine started without firmware are what MEMORY_MAP.md says."""
    check_machine(t)


def test_running_uefi(t):
    """The page tables of a machine started by the loader are what MEMORY_MAP.md says."""
    check_machine(t, uefi=True)


def test_running_with_hole(t):
    """The same with more memory than fits below the hole under 4 GiB."""
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 4 << 30:
        t.skip("this machine has less than 4 GiB")
    check_machine(t, more=["-m", "4G"])


def test_controls(t):
    """In builds without no-execute pages, or without guard pages, the same checks fail."""
    for name, complaint in (("nx", r"W\+X|R\+X"), ("guard", "stacks")):
        build = t.variant("ablation-" + name, ABLATION="ABLATION_" + name)
        try:
            check_machine(t, build=build)
        except harness.Failure as failure:
            t.check(re.search(complaint, str(failure)), "the build without %s fails otherwise: %s" % (name, failure))
        else:
            t.check(False, "the build without %s passes" % name)
