"""Machines that lack something, or whose tables and devices do not say the truth: each ends in a run, or in a sentence.

Where the kernel cannot run it says what is missing and the exit status is 2, or run.sh says it and the status is 4.
Never silence, a hang, a page fault of the kernel, or a device touched that is not its own.

Read next: devices.c, cpu.c.
"""

import os
import re
import struct

import bochs
import test_gdb
import test_memory_map as memory_map

HELLO = "shard ok /t/ok"
SPIN = 'shard spin /t/spin args="60000"\n'
PC = ["-machine", "pc"]  # no IOMMU


def panics(t, words, options, manifest=HELLO):
    """Boots a machine on which the kernel stops with a sentence. Returns the Result."""
    result = t.guest(manifest, options=options, expect=2)
    said = [line for line in result.lines if line.startswith("PANIC: ")]
    t.check(len(said) == 1 and words in said[0],
            "with %s the console says %s, not: %s" % (" ".join(options), said, words))
    return result


# ---- Processors ----


def test_processors(t):
    """What the kernel needs of a processor and does not find is named, before it is used; what it can do without is
    not."""
    for feature, name in (("nx", "NX"), ("clflush", "CLFSH"), ("sse2", "SSE2"), ("fxsr", "FXSR"),
                          ("syscall", "SYSCALL"), ("tsc", "TSC")):
        panics(t, "this processor lacks %s (CPUID " % name, ["-cpu", "max,la57=off,-%s" % feature])
    for model in "qemu32", "n270", "max,-lm":
        panics(t, "this processor has no 64-bit mode", ["-cpu", model])
    for model in "qemu64", "kvm64", "Opteron_G1", "core2duo", "Haswell", "max,-pdpe1gb,-smap,-smep,-umip,-rdrand":
        t.guest(HELLO, options=["-cpu", model], expect=0)


def test_no_nx_uefi(t):
    """The same after a boot through the firmware, which itself needs 64 bits."""
    result = t.boot(shards=["shards/hello-c"], uefi=True, options=["-cpu", "max,la57=off,-nx"], timeout=300, expect=2)
    t.check("PANIC: this processor lacks NX " in result.text, "the console does not say that NX is missing")
    result = t.boot(shards=["shards/hello-c"], uefi=True, options=["-cpu", "qemu32"], timeout=30)
    t.check(result.status in (3, 124) and "a 64-bit processor?" in result.stderr,
            "run.sh does not ask for a 64-bit processor")


def test_control_registers(t):
    """CR0 while shards run: protection, write protection, alignment checks for whoever asks for them, caches on."""
    with t.guest_monitor() as monitor:
        boot = t.start_guest('shard spin /t/spin args="60000"', options=monitor.options)
        try:
            registers = ""
            while "CPL=3" not in registers:
                registers = monitor.hmp("info registers")
            cr0 = int(re.search(r"CR0=(\w+)", registers).group(1), 16)
        finally:
            boot.stop()
            boot.wait()
    t.equal(hex(cr0), "0x80050033", "CR0: PG, AM, WP, NE, ET, MP, PE; not CD, NW, TS, EM")


def barriers(t, build):
    """Runs two shards as if the processor, which QEMU's is not, had IBPB. Returns how many switches and barriers there
    were. A step over a breakpoint may execute nothing (QEMU looks at the APIC first), so that it is met twice: what is
    said twice in a row, by the same shards on the same stack, is one."""
    commands = ["tbreak sched_loop", "continue", "set var cpu_has_ibpb = 1",
                'dprintf context_switch,"switch %lx %lx %lx\\n",$rdi,$rsi,$rsp',
                "dprintf *'context_switch.forget',\"barrier %lx\\n\",$rsp", "break debug_exit", "continue", "continue"]
    session = test_gdb.Session(t, "--gdb", commands,
                               "--kernel --build %s --shard shards/hello-c --shard shards/fs-reader" % build,
                               expect=0)
    lines = re.findall(r"^(?:switch|barrier) .*", session.said[-2], re.M)
    lines = [line for line, before in zip(lines, [""] + lines) if line != before]
    return tuple(sum(line.startswith(word) for line in lines) for word in ("switch", "barrier"))


def test_predictor(t):
    """Where the processor has IBPB every switch issues it, and the shards run on; without the protection none does."""
    switches, forgotten = barriers(t, "build")
    t.check(switches >= 2, "there were only %d switches" % switches)
    t.equal(forgotten, switches, "barriers")
    switches, forgotten = barriers(t, t.variant("ablation-ibpb", ABLATION="ABLATION_ibpb"))
    t.equal((switches >= 2, forgotten), (True, 0), "switches, and barriers without the protection")


def test_predictor_offered(t):
    """The processor says whether it has IBPB, and the console says what that means. QEMU's has none; Bochs's has, and
    would raise #GP for an MSR that it does not know."""
    result = t.guest(HELLO, verbose=True, expect=0)
    if "is forgotten (IBPB) between shards" in result.text:
        return
    t.check("CPU: what its branch predictor has learnt is kept (it offers no IBPB) between shards" in result.lines,
            "nothing is said")
    machine, barrier = bochs.machine(t), "context_switch.forget"
    result = machine.guest("shard a /t/ok\nshard b /t/ok", verbose=True, expect=0,
                           machine_options=["--watch", barrier, "--stops", "1"])
    t.check("is forgotten (IBPB) between shards" in result.text,
            "Bochs's processor offers IBPB, and the kernel does not see it")
    address = re.search(r"^(\w+) \w %s$" % barrier, t.sh(["nm", "build/supervisor.elf"], expect=0).stdout,
                        re.M).group(1)
    t.check("rip: %s_%s\n" % (address[:8], address[8:]) in machine.said(), "no barrier was issued")


test_predictor.heavy = True


# ---- The tick ----


def test_no_tick(t):
    """Without the interval timer, or the controller that passes its interrupt on, the kernel stops before a shard
    runs."""
    for missing in "pit", "pic":
        panics(t, "no interrupt comes from the interval timer", ["-machine", missing + "=off"], manifest=SPIN)


# ---- ACPI tables ----


def table(t, signature, body):
    """Writes an ACPI table with a good checksum. Returns QEMU's options that add it to those of the machine."""
    head = struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), 1, 0, b"COCONU", b"COCONUTT", 1, b"    ", 1)
    data = bytearray(head + body)
    data[9] = -sum(data) % 256
    path = os.path.join(t.scratch, "%s%d" % (signature.decode(), len(os.listdir(t.scratch))))
    with open(path, "wb") as file:
        file.write(data)
    return ["-acpitable", "file=" + path]


def fadt(t, timer, control=0):
    """A FADT that names a port of a timer, and one of the power switch (offsets: ACPI 6.5, 5.2.9)."""
    body = bytearray(244 - 36)
    struct.pack_into("<I", body, 64 - 36, control)
    struct.pack_into("<I", body, 76 - 36, timer)
    body[91 - 36] = 4
    return table(t, b"FACP", bytes(body))


def dmar(t, *bases):
    """A DMAR with a remapping unit for all devices at each address (VT-d 8.3)."""
    units = b"".join(struct.pack("<HHBBHQ", 0, 16, 1, 0, 0, base) for base in bases)
    return table(t, b"DMAR", struct.pack("<BB10x", 38, 1) + units)


def test_second_tables(t):
    """Of two FADTs and of two DMARs the first that is usable counts, wherever the other leads."""
    for options in (fadt(t, 0x80), fadt(t, 0x5F8), fadt(t, 0x5F8, 0x5FC), dmar(t), dmar(t, 0xFFFFFFFFFFFFF000),
                    dmar(t, 0xFED90000)):
        result = t.guest("shard clock /t/clock", options=options, timeout=30, expect=0)
        t.check("IOMMU: VT-d 1.0, 3-level tables, translation and interrupt remapping on" in result.lines,
                "the IOMMU is not used")
        t.check("no timer that counts" not in result.text, "the timer is not used")


def test_dmar_that_lies(t):
    """An IOMMU at an address that does not exist, in RAM, in the middle of a page, or none: the table is damaged."""
    for bases in (), (0xFFFFFFFFFFFFF000,), (1 << 40,), (1 << 45,), (0x1000000,), (0x200000,), (0,), (0xFED90010,):
        result = t.guest(HELLO, options=PC + dmar(t, *bases), expect=0)
        t.check("IOMMU: none that can be used: the DMAR table is damaged; devices get no DMA" in result.lines,
                "the console does not say that the table is damaged, with units at %s" % [hex(base) for base in bases])
    # Addresses where nobody answers, and where somebody else does: QEMU's HPET.
    for base in 0xFED90000, 0xFED00000:
        result = t.guest(HELLO, options=PC + dmar(t, base), expect=0)
        t.check("IOMMU: none that can be used: it has no queue" in result.text,
                "the console does not say why it is not used")


def test_unusable_units(t):
    """Several IOMMUs, or one that cannot wait for DMA under way: the console says why it is not used, and the run goes
    on."""
    q35 = ["-machine", "q35,kernel-irqchip=split", "-device"]
    for options, words in ((PC + dmar(t, 0xFED90000, 0xFED91000),
                            "there are several units, and this kernel drives one"),
                           (q35 + ["intel-iommu,intremap=on,dma-drain=off"],
                            "it has no queue, no page-selective invalidation, "
                            "no draining, unusual tables or registers, or write buffers")):
        result = t.guest(HELLO, options=options, expect=0)
        t.check("IOMMU: none that can be used: %s; devices get no DMA" % words in result.lines,
                "the console lacks: " + words)
        t.check("DMA engines: none; copies between GPU partitions are made by the processor" in result.lines,
                "an engine is used")


def forged(t, function, place, value, times=1):
    """Boots with something changed in gdb at the n-th call of a function. Returns what the console says."""
    commands = ["tbreak *%s" % function, "continue"] * times + ["set var %s = %s" % (place, value), "continue"]
    session = test_gdb.Session(t, "--gdb", commands, "--kernel --shard shards/hello-c", expect=0)
    return session.console


def test_tables_out_of_reach(t):
    """A root pointer, a root table or another table where no memory can be, or only a bit of it: as if there were
    none."""
    ticks = "ACPI: no timer that counts; the time is counted in ticks, some of which get lost"
    for value in "0xfffffffffffff000", "0x8000000000", "0x7ffffffff0", "(1ul << 47)":
        said = forged(t, "devices_init", "((struct bootinfo *)$rdi)->rsdp", value)
        t.check(ticks in said and "there is no DMAR table" in said, "the root pointer at " + value)
    t.check(ticks in forged(t, "acpi_table", "$rdi", "0xfffffffffffff000"), "the root table")
    t.check("IOMMU: VT-d 1.0" in forged(t, "acpi_table", "$rdi", "0xfffffffffffff000", 2), "one table of several")


# ---- Devices ----

DISPLAY = "shard hal /shards/gpu-hal\ngpu hal\n"


def gpu_files(t):
    return {"/shards/gpu-hal": os.path.join(t.root, "build/shards/gpu-hal.bin")}


def test_unknown_cards(t):
    """A video card that is not known is named and not used, and a known one behind it is."""
    for card, number in (("qxl", "1b36:0100"), ("cirrus", "1013:00b8"), ("virtio", "1af4:1050"),
                         ("vmware", "15ad:0405")):
        line = "GPU: the video card 00:01.0 (%s) is not used: this kernel does not know it" % number
        result = t.guest(DISPLAY + HELLO, gpu_files(t), options=["-vga", card], expect=1)
        t.check(line in result.lines, "the console lacks: " + line)
        t.equal((result.endings(), "no VGA device with video memory" in result.text), ({"ok": 0}, True),
                "what runs, and a line")
    options = ["-vga", "qxl", "-device", "bochs-display"]
    result = t.guest(DISPLAY, gpu_files(t), options=options, expect=0)
    t.check("(1b36:0100) is not used" in result.text, "the console does not say that the first card is not used")
    t.check("gpu-hal: partition 0, 16 MiB VRAM" in result.text, "the second card is not used")
    result = t.guest(HELLO, options=["-vga", "qxl"], expect=0)
    t.check("GPU:" not in result.text, "a card is looked at that nobody has asked for")


def test_forgetful_card(t):
    """A known card whose memory does not keep what is written to it, here since nobody answers there, is named and not
    used."""
    commands = ["tbreak *gpu_init", "continue", "set var pci_devices[1].bars[0].base = 0xc0000000", "continue"]
    options = "--kernel --manifest " + t.file("card.conf", DISPLAY)
    said = test_gdb.Session(t, "--gdb", commands, options, expect=1).console
    words = "GPU: the video card 00:01.0 (1234:1111) is not used: its memory does not keep what is written to it"
    t.check(words in said, "the console does not say why the card is not used")
    t.check("GPU: no VGA device with video memory" in said, "the card is used")


def card_memory(t, manifest, expect=None):
    """Returns what the monitor finds in BAR0 of a qxl card while a shard runs, some words from here and there."""
    with t.guest_monitor() as monitor:
        boot = t.start_guest(manifest + SPIN, gpu_files(t), options=["-vga", "qxl"] + monitor.options)
        try:
            while "CPL=3" not in monitor.hmp("info registers"):
                pass
            base = int(re.search(r"BAR0: 32 bit memory at (0x\w+)",
                                 monitor.hmp("info pci").split("1b36:0100")[1]).group(1), 16)
            return [monitor.hmp("xp /4gx %#x" % (base + at)) for at in range(0, 64 << 20, 1 << 18)]
        finally:
            boot.stop()
            boot.wait()


def test_unknown_card_untouched(t):
    """What stands in the memory of such a card stays there, whether the manifest has gpu lines or not."""
    before = card_memory(t, "")
    t.check(any(re.search("0x0*[1-9a-f]", line.split(":")[1]) for line in before), "the card's memory is empty anyway")
    t.check(card_memory(t, DISPLAY) == before, "the card's memory has changed")


BUS_MASTER = 4  # bit of the command register


def bus_masters(t, manifest, options, files=None):
    """Boots and returns which functions of bus 0 are bus masters while a shard spins, as far as QEMU's ECAM shows
    (q35)."""
    with t.guest_monitor() as monitor:
        boot = t.start_guest(manifest, files, options=options + monitor.options)
        try:
            while "CPL=3" not in monitor.hmp("info registers"):
                pass
            found = {}
            for slot in range(32):
                for function in range(8):
                    words = monitor.hmp("xp /2wx %#x" % (0xB0000000 + (slot << 15) +
                                                         (function << 12))).split(":")[1].split()
                    if int(words[0], 16) != 0xFFFFFFFF:
                        found["%02x.%d" % (slot, function)] = bool(int(words[1], 16) & BUS_MASTER)
        finally:
            boot.stop()
            result = boot.wait()
    return found, result


def test_many_functions(t):
    """More functions than the kernel remembers: a line says how many, and none of them all is a bus master."""
    many = ["-device", "pci-testdev,addr=4.0,multifunction=on"]
    for i in range(1, 32):
        many += ["-device", "pci-testdev,addr=%d.%d,multifunction=on" % (4 + i // 8, i % 8)]
    many += ["-device", "edu,addr=1e.0"]
    found, result = bus_masters(t, SPIN, many)
    t.equal([name for name in found if found[name]], ["02.0", "03.0"], "bus masters: the two engines that are used")
    line = "PCI: of 40 functions the kernel keeps 32; the rest is not used and gets no DMA"
    t.check(len(found) == 40 and line in result.lines, "the console lacks: " + line)


# ---- Memory, ramdisk, command line ----


def needed(size):
    """Returns how many MiB run.sh asks for where the ramdisk has so many bytes."""
    return -(-size // (1 << 20)) + 9


def test_small_memory(t):
    """Memory that QEMU cannot put the ramdisk into: run.sh says how much is needed, and with that much the kernel
    starts."""
    big = os.path.join(t.scratch, "big")
    for size in 0, 59, 62:
        with open(big, "wb") as file:
            file.truncate(size << 20)
        files = {"/big": big} if size else {}
        for memory in [1, 8] if not size else [size - 1, size, size + 1, size + 8]:
            result = t.guest(HELLO, files, options=["-m", "%dM" % memory], expect=4)
            t.check("-m %dM is too little: the kernel and its ramdisk need " % memory in result.stderr, result.stderr)
        need = int(re.search(r"need (\d+) MiB", result.stderr).group(1))
        image = os.path.join(t.scratch, "ramdisk%d.img" % t.boots)
        t.equal(need, needed(os.path.getsize(image)), "the MiB that run.sh asks for")
        for memory, unit in (need - 1, "M"), (need * 1024 - 1, "k"):
            t.guest(HELLO, files, options=["-m", "%d%s" % (memory, unit)], expect=4)
        for memory in range(need, need + 3):
            result = t.guest(HELLO, files, options=["-m", memory])
            t.check(result.status in (0, 2), "status %d with %d MiB" % (result.status, memory))
            t.equal("PANIC: no " in result.text and "give the machine more memory" in result.text, result.status == 2,
                    "a sentence")
        t.equal(result.status, 0, "status with %d MiB" % memory)


def test_ramdisk_out_of_place(t):
    """The kernel without run.sh, the ramdisk where the boot tables are and higher: it finds no memory beside it, and
    says so."""
    t.guest(HELLO, {"/big": bytes(6 << 20)}, expect=0)
    image = os.path.join(t.scratch, "ramdisk1.img")
    size = os.path.getsize(image)
    # of the ramdisk; QEMU leaves 0x28000 bytes behind it for ACPI tables
    for start in range(0x300000, 0xC00000, 0x80000):
        memory = -(-(start + size + 0x28001) // 8192) * 8192
        done = t.sh(["timeout", "60", "qemu-system-x86_64", "-machine", "q35,kernel-irqchip=split", "-cpu",
                     "max,la57=off", "-m", "%dk" % (memory >> 10), "-display", "none", "-net", "none", "-no-reboot",
                     "-monitor", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-serial", "stdio",
                     "-kernel", "build/supervisor.elf", "-initrd", image])
        told = re.search(r"^PANIC: no .*: give the machine more memory$", done.stdout, re.M)
        t.check(told if done.returncode == 37 else done.returncode == 33 and start >= 0x800000,
                "status %d with the ramdisk at %#x: %s" % (done.returncode, start, done.stdout))


def test_large_ramdisk(t):
    """A ramdisk for which QEMU has no place below 4 GiB, however much memory there is."""
    path = os.path.join(t.scratch, "large")
    with open(path, "wb") as file:
        file.truncate(2100 << 20)
    result = t.boot(shards=["shards/hello-c"], options=["-initrd", path, "-m", "8G"], expect=4)
    t.check("the ramdisk is too large" in result.stderr, result.stderr)


def test_long_command_line(t):
    """A command line that QEMU would cut: run.sh says how long it may be; the longest arrives."""
    words = "verbose " + "x" * 5000
    result = t.boot(shards=["shards/hello-c"], options=["-append", words[:4096]], expect=4)
    t.check("-append: the command line has 4096 bytes, and QEMU passes 4095 on" in result.stderr, result.stderr)
    result = t.boot(shards=["shards/hello-c"], options=["-append", words[:4095]], expect=0)
    t.check("Paging: HHDM at" in result.text, "the word verbose has not arrived")


test_small_memory.heavy = True
