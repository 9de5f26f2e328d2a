"""GPU partitions: what their shards are given, what they may do, and what the machine says where something is missing.

What the DMA engines and the IOMMU do underneath stands in test_dma.py.

Read next: tests/shards/gpu/main.c.
"""

import os
import re
import time

import test_memory_map as memory_map

SIZES = (1, 4095, 4096, 4097, 10001)
VRAM = 16 << 20  # bytes of QEMU's video card


def hal_pair(t, words, more=""):
    """Returns the manifest and the files for t.guest: two gpu-hal shards, the source with these args beside its
    role."""
    manifest = ('shard source /shards/gpu-hal args="role=source peer=1 %s"\nshard target /shards/gpu-hal '
                'args="role=target peer=0"\n'
                "gpu source\ngpu target\nchannel source target\n" % words)
    return manifest + more, {"/shards/gpu-hal": os.path.join(t.root, "build/shards/gpu-hal.bin")}


def scenes(*names):
    """Returns a manifest of GPU shards that play the scenes of tests/shards/gpu, named s0, s1, ..."""
    return "".join('shard s%d /t/gpu args="%s"\ngpu s%d\n' % (i, name, i) for i, name in enumerate(names))


def shown(result):
    """Returns what the shards of the scene `show` print: {partition: (bytes, VRAM address, register address,
    units)}."""
    found = re.findall(r"^partition (\d+): (\d+) bytes at (0x\w+), registers at (0x\w+), (\d+) units$", result.text,
                       re.M)
    return {int(row[0]): (int(row[1]), int(row[2], 16), int(row[3], 16), int(row[4])) for row in found}


def source_constant(t, name):
    """Returns the value of a constant of gpu.c."""
    with open(os.path.join(t.root, "gpu.c"), encoding="utf-8") as file:
        return int(re.search(r"\b%s = (0x[0-9A-Fa-f]+|\d+)" % name, file.read()).group(1), 0)


# ---- The driver shards ----


def test_pair(t):
    """Two driver shards: what is not allowed is refused, the copy is verified, and the IOMMU sees no fault."""
    result = t.guest(*hal_pair(t, "bytes=4095 attack=dma"), verbose=True, expect=0)
    for words in ("from outside the own range: refused", "to outside the target's range: refused",
                  "to a partition without a capability for it: refused"):
        t.check("gpu-hal: DMA " + words in result.text, "the console lacks: " + words)
    t.equal(result.text.count(": GPU_DMA refused: "), 3, "the supervisor's lines about refusals")
    computed = "gpu-hal: product of 40x24 and 24x56 floats by 12 sealed commands: verified"
    t.equal(result.lines.count(computed), 2, "the drivers that say what they have computed")
    t.check("gpu-hal: 4095 bytes from partition 0 to partition 1: verified" in result.lines, "no copy")
    t.check("DMA engines: 2, each in a domain of its own" in result.text, "no engines")
    t.check("IOMMU: 0 DMA faults recorded" in result.text, "there were DMA faults")


def test_no_room_for_the_page(t):
    """A program with code where its configuration page belongs is refused by name; one that only passes over it is
    not."""
    manifest = "shard blunt /blunt\nshard fine /t/dma args=idle\ngpu blunt\ngpu fine"
    result = t.guest(manifest, files={"/blunt": b"\x90" * 20000}, expect=1)
    t.check("Shard 0 (blunt) cannot start from /blunt: the program reaches into its configuration page" in result.lines,
            "no such line")
    t.equal(result.endings(), {"fine": 0}, "how the other one ended")


def test_pair_unchecked(t):
    """Without the supervisor's checks the IOMMU alone refuses the same attacks; without its part too the first one
    works."""
    attacked = hal_pair(t, "bytes=4095 attack=dma")
    result = t.guest(*attacked, build=t.variant("ablation-dma_check", ABLATION="ABLATION_dma_check"), verbose=True,
                     expect=0)
    t.equal(result.text.count(": refused, input or output failed"), 3, "the attacks that are refused")
    t.equal(result.text.count("working for shard 0 (source), may not "), 3, "the faults")
    t.check("gpu-hal: 4095 bytes from partition 0 to partition 1: verified" in result.lines, "no copy")
    build = t.variant("ablation-dma_check-extent", ABLATION="ABLATION_dma_check", ABLATION_ALSO="ABLATION_dma_extent")
    result = t.guest(*attacked, build=build, expect=1)
    t.check("gpu-hal: DMA from outside the own range: NOT REFUSED" in result.text, "the control holds too")


def test_sizes(t):
    """Copies of 1, 4,095, 4,096, 4,097 and 10,001 bytes arrive whole: by engines, and by the processor."""
    for options in [], ["-machine", "pc"]:
        for size in SIZES:
            result = t.guest(*hal_pair(t, "bytes=%d" % size), options=options, expect=0)
            t.check("%d %s from partition 0 to partition 1: verified" % ((size, "bytes") if size % 1024 else
                    (size // 1024, "KiB")) in result.text, "no copy of %d bytes" % size)


def test_ring(t):
    """A driver shard's ring: corrupt and forbidden commands end in error fences, a full ring refuses, fences wrap
    around."""
    t.guest('shard b /t/ring args="b"\nshard a /t/ring args="a"\ngpu b\ngpu a\nchannel a b\n', expect=0)


def hals(t, args, channels):
    """Returns the manifest and files of gpu-hal shards s0, s1, ... with these args, and channels between their
    numbers."""
    lines = ['shard s%d /shards/gpu-hal args="%s"' % row for row in enumerate(args)]
    lines += ["gpu s%d" % i for i in range(len(args))] + ["channel s%d s%d" % pair for pair in channels]
    return "\n".join(lines), hal_pair(t, "")[1]


def test_pairing(t):
    """With three and four partitions each copy goes to the partition that the args name; another partner is refused."""
    result = t.guest(*hals(t, ("role=source peer=2 bytes=5000", "", "role=target peer=0"), [(0, 2)]), expect=0)
    t.check("gpu-hal: 5000 bytes from partition 0 to partition 2: verified" in result.lines, "no copy past partition 1")
    result = t.guest(*hals(t, ("role=source peer=3 bytes=5000", "role=target peer=2", "role=source peer=1 bytes=4096",
                               "role=target peer=0"), [(0, 3), (2, 1)]), expect=0)
    for words in "5000 bytes from partition 0 to partition 3", "4 KiB from partition 2 to partition 1":
        t.check("gpu-hal: %s: verified" % words in result.lines, "the console lacks: " + words)
    for peer, words in ((1, "offer of the target: it is not the partition that peer= names"),
                        (0, "it has no capability for partition 0")):
        result = t.guest(*hals(t, ("role=source peer=%d" % peer, "", "role=target peer=0"), [(0, 2)]), expect=1)
        t.check("gpu-hal: " + words in result.lines, "with the wrong peer the console lacks: " + words)


def test_first_copy(t):
    """The first copy of a run may cross from one page to the next at both ends."""
    t.guest(scenes("first a", "first b") + "channel s0 s1\n", expect=0)


def test_others_run(t):
    """A shard of the lowest priority runs and ends while two of the highest wait for their copy."""
    manifest, files = hal_pair(t, "bytes=8192", "shard other /t/ok priority=low\n")
    manifest = manifest.replace("/shards/gpu-hal ", "/shards/gpu-hal priority=critical ")
    result = t.guest(manifest, files, expect=0)
    t.equal(re.findall(r"Shard \d+ \((\w+)\) ended", result.text)[0], "other", "the shard that ends first")


# ---- Partitions ----


def test_partitions(t):
    """1, 2, 3 and 8 partitions: equal shares, the configuration pages tell the truth; a ninth is refused."""
    for count in 1, 2, 3, 8:
        result = t.guest(scenes(*["show"] * count), expect=0)
        rows = shown(result)
        t.equal(sorted(rows), list(range(count)), "the partitions")
        share = VRAM // count // 4096 * 4096
        t.equal({(row[0], row[3]) for row in rows.values()}, {(share, 8 // count)}, "bytes and units of %d" % count)
    result = t.guest(scenes(*["show"] * 9), expect=1)
    t.check("GPU: more gpu lines than partitions; the shards" in result.text, "nine partitions are not refused")
    refused = result.text.count("cannot start from /t/gpu: there is no GPU partition for it")
    t.equal(refused, 9, "the shards that cannot start")


def test_addresses(t):
    """BARs lie at page-aligned places that nobody can foretell: at least 16 bits, spread over all of the range."""
    floor, ceiling = source_constant(t, "BAR_FLOOR"), source_constant(t, "BAR_CEILING")
    t.equal((floor, ceiling), (0x800000, 0x3F000000), "the range in gpu.c")
    for size in 4096, VRAM // 8, VRAM // 2, VRAM:
        t.check((ceiling - floor - size) // 4096 >= 1 << 16, "fewer than 2^16 places for %d bytes" % size)
    boots, pages = 16, []
    for first in range(0, boots, 4):
        running = [t.start_guest(scenes(*["show"] * 8), expect=0) for _ in range(4)]
        for boot in running:
            rows = shown(boot.wait())
            t.equal(sorted(rows), list(range(8)), "the partitions")
            pages += [(row[i] - floor) // 4096 for row in rows.values() for i in (1, 2)]
    total, count = (ceiling - floor) // 4096, len(pages)
    t.equal(count, 16 * boots, "the addresses")
    # 256 of 250,000 places: 0.1 pairs are equal on average; five or more with a chance of 10^-6.
    t.check(len(set(pages)) >= count - 4, "%d addresses repeat" % (count - len(set(pages))))
    slots = [page * 16 // total for page in pages]
    # 16 in each sixteenth of the range; none or more than 44 in one are less likely than 10^-6.
    t.check(all(1 <= slots.count(i) <= 44 for i in range(16)), "badly spread: %s" % [slots.count(i) for i in range(16)])
    # Each of the 16 low bits, and whether any two of them are equal, is even: within six standard deviations.
    bits = [[page >> bit & 1 for page in pages] for bit in range(16)]
    for one in range(16):
        for other in range(one + 1):
            ones = sum(bits[one]) if one == other else sum(a ^ b for a, b in zip(bits[one], bits[other]))
            t.check(abs(ones - count / 2) < 6 * (count / 4) ** 0.5,
                    "bits %d and %d: %d ones of %d" % (one, other, ones, count))
    t.note("%d of %d addresses differ" % (len(set(pages)), count))


def test_rdrand(t):
    """The addresses come from RDRAND: without it, on a machine that counts its time in instructions, each boot has the
    same."""
    options = ["-icount", "shift=5,align=off,sleep=off", "-rtc", "clock=vm", "-cpu"]
    for cpu, different in ("max,la57=off", True), ("max,la57=off,-rdrand", False):
        boots = [shown(t.guest(scenes("show", "show"), options=options + [cpu], expect=0)) for _ in range(2)]
        t.equal(boots[0] != boots[1], different, "whether two boots differ with -cpu " + cpu)


def test_rights(t):
    """Registers and configuration page are read-only, VRAM does not execute, and there is nothing beside it."""
    names = ["write registers", "write config", "execute vram", "read behind", "read before", "mmap over"]
    result = t.guest(scenes(*names), expect=1)
    wanted = {"s%d" % i: "killed" for i in range(5)}
    t.equal(result.endings(), dict(wanted, s5=0), "ends")
    for number, words in ((0, "write"), (1, "write"), (2, "execut|fetch"), (3, "not mapped|not present"), (4, "")):
        told = re.search(r"^Shard %d \(s%d\) killed: page fault.*(\n.*){0,3}" % (number, number), result.text, re.M)
        t.check(told and re.search(words, told.group(0)), "what the console says about \"%s\"" % names[number])


def wait_for_copy(t, monitor):
    """Stops the machine while the first engine has something mapped. Returns the machine."""
    deadline = time.monotonic() + 300
    while True:
        t.check(time.monotonic() < deadline, "no copy was seen")
        monitor.hmp("stop")
        machine = memory_map.Machine(t, monitor, memory_map.supervisor(t))
        root = int(monitor.hmp("xp /1gx 0xfed90020").split(": ")[1], 16) & memory_map.ADDRESS
        context = machine.entries(root)[0] & memory_map.ADDRESS if root else 0
        table = machine.entries(context)[32] & memory_map.ADDRESS if context else 0  # device 2: entry 16 of two words
        for _ in range(2):
            table = machine.entries(table)[0] & memory_map.ADDRESS if table else 0
        mapped = {i: entry for i, entry in enumerate(machine.entries(table)) if entry & 3} if table else {}
        if {16, 32} <= set(mapped):
            return machine, mapped
        monitor.hmp("cont")
        time.sleep(0.02)


def test_tables(t):
    """During a copy: the page tables of both shards, and the engine's domain, map exactly what MEMORY_MAP.md says."""
    manifest, files = hal_pair(t, "bytes=65536")
    with t.guest_monitor() as monitor:
        boot = t.start_guest(manifest, files, options=monitor.options)
        try:
            machine, mapped = wait_for_copy(t, monitor)
            functions = monitor.hmp("info pci").split("1234:1111")[1]
            base = int(re.search(r"BAR0: 32 bit prefetchable memory at (0x\w+)", functions).group(1), 16)
            registers = int(re.search(r"BAR2: 32 bit memory at (0x\w+)", functions).group(1), 16)
            for number in 0, 1:
                check_space(t, machine, number, base, registers)
            for first, partition, right in (16, 0, 1), (32, 1, 2):
                pages = [mapped.pop(i) for i in (first, first + 1) if i in mapped]
                for entry in pages:
                    t.equal((((entry & memory_map.ADDRESS) - base) // (VRAM // 2), entry & 3), (partition, right),
                            "partition and right of the page %#x" % entry)
            t.equal(mapped, {}, "what else the engine's domain maps")
        finally:
            boot.stop()
            boot.wait()


def check_space(t, machine, number, base, registers):
    """Checks the pages of a GPU shard between code and large heap against the table of MEMORY_MAP.md."""
    rows = {row[0]: row for row in memory_map.table(t, "A GPU shard")}
    leaves = [leaf for leaf in memory_map.walk(machine, machine.shard_cr3(number)) if leaf.start < 0x40000000]
    config = [leaf for leaf in leaves if leaf.start == 0x4000][0]
    page = machine.page(config.phys)
    vram, size, mmio = (int.from_bytes(page[at:at + 8], "little") for at in (0x18, 0x8, 0x20))
    uncached = memory_map.PCD | memory_map.PWT
    t.equal(config.rights, rows["configuration page"][2], "rights of the configuration page")
    devices = {leaf.start: leaf for leaf in leaves if leaf.start >= 0x800000}
    part, rights = base + number * VRAM // 2, rows["its partition of the VRAM"][2]
    wanted = {vram + at: (part + at, rights) for at in range(0, size, 4096)}
    wanted[mmio] = (registers, rows["one page of registers, the same for all"][2])
    got = {start: (leaf.phys, leaf.rights) for start, leaf in devices.items()}
    t.check(got == wanted, "shard %d maps something else as its VRAM and registers" % number)
    t.check(all(leaf.entry & uncached == uncached for leaf in devices.values()), "VRAM or registers are cached")
    t.check(all(leaf.entry & memory_map.BORROWED for leaf in devices.values()), "pages of a device would be freed")


# ---- Pledge and unveil ----

ENDS = scenes("ends a", "ends b", "show") + "channel s0 s1\n"


def test_ends(t):
    """GPU_DMA needs the capability, its right, the pledge, and what both ends have unveiled; all of it says why not."""
    result = t.guest(ENDS, verbose=True, expect=0)
    for call, words in (("GPU_DMA", "the range is not wholly inside what the target's owner has unveiled (E_VEILED)"),
                        ("GPU_DMA", "the range is not wholly inside what the shard has unveiled (E_VEILED)"),
                        ("GPU_DMA", "the range is not wholly inside the partition (E_INVAL)"),
                        ("GPU_DMA", "the capability lacks the right SEND (E_RIGHTS)"),
                        ("GPU_DMA", "the capability is not for a GPU partition (E_TYPE)"),
                        ("GPU_DMA", "(E_BADHANDLE)"), ("GPU_DMA", "(E_PLEDGE)"),
                        ("GPU_DMA", "nobody owns the target partition (E_CLOSED)"),
                        ("GPU_UNVEIL", "the shard has unveiled its range already (E_EXISTS)")):
        t.check([line for line in result.lines if line.startswith("Shard 0 (s0): %s refused: " % call) and
                 line.endswith(words)], "no line about %s: %s" % (call, words))


def test_ends_controls(t):
    """The same fails without the checks of DMA, and without those of pledges."""
    for name in "dma_check", "pledge":
        result = t.guest(ENDS, build=t.variant("ablation-" + name, ABLATION="ABLATION_" + name), expect=1)
        t.check("tests/shards/gpu/main.c:" in result.text, "the build without %s fails otherwise" % name)


def test_no_partition(t):
    """A shard without a partition gets E_NODEV."""
    t.guest('shard none /t/gpu args="none"', expect=0)


# ---- Residue ----


def test_residue(t):
    """Every life of a GPU shard finds its VRAM zero; without zeroing the second one finds what the first left."""
    manifest = 'shard s /t/gpu args="residue" restart=2\ngpu s\nshard beside /t/gpu args="show"\ngpu beside\n'
    result = t.guest(manifest, expect=1)
    t.equal(re.findall(r"residue: (\d+) bytes", result.text), ["0"] * 3, "what the lives found")
    t.equal(result.endings(), {"s": "killed", "beside": 0}, "ends")
    result = t.guest(manifest, expect=1, build=t.variant("ablation-vram_zeroing", ABLATION="ABLATION_vram_zeroing"))
    t.equal(re.findall(r"residue: (\d+) bytes", result.text), ["0", str(VRAM // 2)],
            "what the lives found without zeroing")


# ---- Machines that lack something ----


def check_goes_on(t, options, lines, copies=True):
    """Boots the default pair beside another shard on a machine; the console has the lines, and the rest goes on."""
    manifest, files = hal_pair(t, "bytes=5000", "shard ok /t/ok\n")
    result = t.guest(manifest, files, options=options, expect=0 if copies else 1)
    for line in lines:
        t.check(line in result.lines, "the console lacks \"%s\" with %s" % (line, " ".join(options)))
    t.equal(result.text.count("5000 bytes from partition 0 to partition 1: verified"), int(copies), "copies")
    t.equal(result.endings()["ok"], 0, "the end of the other shard")


def test_no_iommu(t):
    """Without an IOMMU no device gets DMA: the processor copies, and the console says so."""
    lines = ["IOMMU: none that can be used: there is no DMAR table; devices get no DMA",
             "DMA engines: none; copies between GPU partitions are made by the processor",
             "GPU: no DMA engine behind an IOMMU; copies between partitions are simulated by the CPU"]
    check_goes_on(t, ["-machine", "pc"], lines)
    check_goes_on(t, ["-device", "amd-iommu"], lines)


def test_no_edu(t):
    """An IOMMU without a DMA engine, or with one behind a bridge, which may speak for it: the same."""
    manifest, files = hal_pair(t, "bytes=5000")
    t.guest(manifest, files, expect=0)  # it makes the ramdisk that the machines without engines of their own boot from
    for bridged in [], ["-device", "pcie-root-port,id=rp,chassis=1", "-device", "edu,bus=rp"]:
        done = t.sh(["timeout", "120", "qemu-system-x86_64", "-machine", "q35,kernel-irqchip=split", "-cpu",
                     "max,la57=off", "-m", "256", "-device", "intel-iommu,intremap=on", "-vga", "std", "-display",
                     "none", "-net", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial",
                     "stdio", "-monitor", "none", "-kernel", "build/supervisor.elf", "-append", "verbose", "-initrd",
                     os.path.join(t.scratch, "ramdisk1.img")] + bridged, expect=33)
        t.equal("01:00.0  1234:11e8  edu DMA engine" in done.stdout, bool(bridged), "an engine on bus 1")
        for words in ("IOMMU: VT-d 1.0", "DMA engines: none; copies between GPU partitions are made by the processor",
                      "GPU: no DMA engine behind an IOMMU; copies between partitions are simulated by the CPU",
                      "5000 bytes from partition 0 to partition 1: verified"):
            t.check(words in done.stdout, "the console lacks: " + words)


def test_no_vga(t):
    """Without a video card no GPU shard starts, the others run, and the exit status is 1."""
    lines = ["GPU: no VGA device with video memory; the shards of the manifest's gpu lines cannot start",
             "Shard 0 (source) cannot start from /shards/gpu-hal: there is no GPU partition for it"]
    check_goes_on(t, ["-vga", "none"], lines, copies=False)


def test_two_vga(t):
    """With two video cards the first one is used."""
    check_goes_on(t, ["-device", "secondary-vga"], [])


def test_small_vram(t):
    """A video card with other amounts of memory: the shares are of these."""
    result = t.guest(scenes("show", "show"), options=["-global", "VGA.vgamem_mb=32"], expect=0)
    t.equal({row[0] for row in shown(result).values()}, {16 << 20}, "bytes of the partitions")


# ---- The table of devices ----


def test_table(t):
    """The table of devices under --verbose names the functions and the memory BARs that QEMU's `info pci` shows."""
    with t.guest_monitor() as monitor:
        boot = t.start_guest('shard spin /t/spin args="60000"', verbose=True, options=monitor.options + ["-S"])
        try:
            monitor.connect()
            functions = re.findall(r"Bus +(\d+), device +(\d+), function (\d+):\r?\n[^\n]*PCI device (\w{4}:\w{4})",
                                   monitor.hmp("info pci"))
        finally:
            boot.stop()
            boot.wait()
    result = t.guest("shard ok /t/ok", verbose=True, expect=0)
    told = re.findall(r"^  (\w\w):(\w\w)\.(\w)  (\w{4}:\w{4})  ", result.text, re.M)
    t.check(len(functions) >= 7, "the monitor shows too few devices")
    t.equal([(int(b, 16), int(d, 16), int(f, 16), name) for b, d, f, name in told],
            [(int(b), int(d), int(f), name) for b, d, f, name in functions], "the functions")
    for line in ("  00:02.0  1234:11e8  edu DMA engine; capabilities: MSI",
                 "  00:1f.2  8086:2922  SATA controller; capabilities: MSI, SATA"):
        t.check(line in result.lines, "the table lacks: " + line)


def test_wide_bar(t):
    """A 64-bit base address, above 4 GiB, has its place and size in the table of devices."""
    result = t.guest("shard ok /t/ok", verbose=True, options=["-device", "virtio-gpu-pci,disable-legacy=on"], expect=0)
    found = re.search(r"1af4:1050  .*capabilities: .*vendor's own.*\n(?: +BAR.*\n)*? +BAR\d memory (0x\w+), (\d+) "
                      r"bytes, 64-bit", result.text)
    t.check(found, "no 64-bit BAR in the table")
    t.check(int(found.group(1), 16) % int(found.group(2)) == 0, "the BAR is not aligned to its size")


# ---- The transformer over two partitions ----


def pipeline_manifest(t):
    with open(os.path.join(t.root, "etc/gpu-pipeline.conf"), encoding="utf-8") as file:
        return file.read()


def test_pipeline(t):
    """Text and logits of etc/gpu-pipeline.conf are those of one shard that runs all layers, and so the default's
    beginning."""
    manifest = pipeline_manifest(t).replace('args="steps=12 ', 'args="logits=1 steps=12 ')
    args = set(re.findall(r'args="(.*?)"', manifest))
    t.equal(len(args), 1, "the args of both stages")
    manifest += 'shard one /shards/llama-inference after=stage1 args="%s"\n' % args.copy().pop()
    for options in [], ["-machine", "pc"]:
        result = t.boot(manifest=manifest, options=options, verbose=True, timeout=600, expect=0)
        found = [re.search(r"^(.*)\n%s: 12 tokens.*\n(?:Shard .*\n)*%s: logits (\w+)$" % (name, name), result.text,
                           re.M)
                 for name in ("gpu-pipeline", "llama-inference")]
        t.check(all(found), "a text or its logits are missing")
        t.equal(found[0].groups(), found[1].groups(), "text and logits")
        t.check(found[0].group(1).startswith("Once upon a time, "), "the text is none")
        t.check(options or "IOMMU: 0 DMA faults recorded" in result.text, "there were DMA faults")
    made = t.sh(["python3", "scripts/manifest.py", "--template", "etc/coconut.conf", "--model", "model/stories.bin"],
                expect=0)
    default = re.search(r'^shard story .*args="(.*?)"', made.stdout, re.M).group(1)
    same = {re.sub(r"(logits=1 )?steps=\d+ ?", "", words) for words in args | {default}}
    t.equal(len(same), 1, "the args of the stages and of the default manifest's story, without their length")


def test_pipeline_among_others(t):
    """The two stages find each other among four partitions, in the other order, and write the same text."""
    text = pipeline_manifest(t)
    plain = t.boot(manifest=text, timeout=600, expect=0)
    stages = [line for line in text.split("\n") if line.startswith("shard ")]
    rest = [line for line in text.split("\n") if re.match("(gpu|channel|pipeline) ", line)]
    others = ["shard other%d /shards/gpu-hal" % i for i in (0, 1)]
    lines = [others[0], stages[1], others[1], stages[0], "gpu other0", "gpu other1"] + rest
    result = t.boot(manifest="\n".join(lines), timeout=600, expect=0)
    for number, stage in (1, 1), (3, 0):
        t.check("gpu-pipeline: stage %d: partition %d, 4 MiB VRAM" % (stage, number) in result.text,
                "stage %d is not on partition %d" % (stage, number))
    texts = [re.search(r"^(.*)\ngpu-pipeline: 12 tokens", done.text, re.M).group(1) for done in (plain, result)]
    t.equal(texts[1], texts[0], "the text")


test_addresses.heavy = test_pipeline.heavy = test_ends_controls.heavy = test_pair_unchecked.heavy = True
