"""DMA between GPU partitions: what the engines copy, what the IOMMU refuses them, and what becomes of a copy whose
shards die.

The attacks go around every check in software: an engine is sent where its domain does not let it. Each is repeated
in a build without the protection that is to stop it (ABLATION), where it must succeed.

Read next: tests/shards/dma/main.c, which makes the copies; iommu.c.
"""

import re

FAULT = r"DMA fault: 00:0\d\.0 \(edu DMA engine\)"
WORKING = FAULT + r", working for shard 0 \(a0\),"
ICOUNT = ["-icount", "shift=5,align=off,sleep=off"]  # time is the count of instructions, 32 ns each


def pairs(scene, count=1, **words):
    """Returns a manifest with that many pairs of the shard `dma`, in which side a copies to side b."""
    lines = []
    for i in range(count):
        for side in "ab":
            lines.append('shard %s%d /t/dma args="%s %s" %s' % (side, i, scene, side, words.get(side, "")))
            lines.append("gpu %s%d" % (side, i))
        lines.append("channel a%d b%d" % (i, i))
    return "\n".join(lines)


def check_no_fault(t, result):
    t.check("IOMMU: 0 DMA faults recorded, records lost 0 times" in result.text, "there were DMA faults")


def test_sizes(t):
    """Copies of all sizes, from and to any offset, arrive whole and change nothing else; others run meanwhile."""
    result = t.guest(pairs("sizes", a="priority=high") + "\nshard other /t/dma args=\"idle\" priority=low\ngpu other\n",
                     verbose=True, expect=0)
    check_no_fault(t, result)
    ends = re.findall(r"Shard \d+ \((\w+)\) ended", result.text)
    t.equal(ends[0], "other", "the shard that ends first")


def test_crowd(t):
    """Four pairs share two engines, each copy arrives where it belongs."""
    check_no_fault(t, t.guest(pairs("crowd", 4), verbose=True, expect=0))


def test_four_levels(t):
    """The same with tables of four levels."""
    result = t.guest(pairs("crowd"), verbose=True, expect=0, options=[
        "-device", "intel-iommu,intremap=on,aw-bits=48"])
    t.check("4-level tables" in result.text, "the tables have not four levels")
    check_no_fault(t, result)


# ---- Shards that die ----


def test_target_dies(t):
    """The target's owner dies in the middle of a copy: the copy ends, the engine is refused in silence, its memory
    stays zero."""
    result = t.guest(pairs("dies", b="restart=1"), verbose=True, expect=0)
    t.check("b dies now" in result.text, "the shard has not died")
    check_no_fault(t, result)
    build = t.variant("ablation-dma_orphan", ABLATION="ABLATION_dma_orphan")
    result = t.guest(pairs("dies", b="restart=1"), verbose=True, expect=0, build=build)
    t.check(re.search(FAULT + r".* may not (read 0x10000|write 0x20000)", result.text),
            "the control: the engine was not refused")


def orphans(t, build=None):
    """Two shards copy to one that dies again and again, while a third copies to a fourth, which concerns nobody else.
    Returns the Result."""
    lines = ['shard prey /t/dma args="prey" priority=high restart=8', 'shard one /t/dma args="hunter" priority=high',
             'shard two /t/dma args="hunter" priority=high', 'shard victim /t/dma args="bystander" priority=high',
             'shard target /t/dma args="target" priority=high', 'shard beat /t/stale args="beat"']
    lines += ["gpu " + name for name in ("prey", "one", "two", "victim", "target")]
    lines += ["channel beat one", "channel beat two", "channel beat prey", "channel victim target"]
    return t.guest("\n".join(lines), verbose=True, build=build, options=ICOUNT + ["-device", "edu"])


def test_orphans(t):
    """Engines whose copies were ended early are refused in silence: they cannot fill the fault record and make the
    copies of others fail."""
    result = orphans(t)
    t.equal(result.endings()["victim"], 0, "the end of the one that has nothing to do with it")
    check_no_fault(t, result)
    result = orphans(t, t.variant("ablation-dma_orphan", ABLATION="ABLATION_dma_orphan"))
    t.check("there were more than the IOMMU can record" in result.text and result.endings()["victim"] != 0,
            "the control: all copies of the victim arrive")


def killed(t, name, scene, message, **words):
    """Has the kernel kill a shard while an engine writes; without unmapping, the engine goes on and writes after its
    death.

    Time is counted in instructions, so that the write comes after the kill on a busy host as well."""
    provoke = "PROVOKE_" + name
    build = t.variant(name, PROVOKE=provoke)
    result = t.guest(pairs(scene, **words), verbose=True, expect=0, build=build, options=ICOUNT)
    t.check(re.search(r"^Shard \d \(%s0\) ended: killed" % list(words)[0], result.text, re.M),
            "the shard was not killed")
    check_no_fault(t, result)
    build = t.variant(name + "-control", PROVOKE=provoke, ABLATION="ABLATION_dma_unmap")
    result = t.guest(pairs(scene, **words), verbose=True, expect=1, build=build, options=ICOUNT)
    t.check(re.search(message, result.text), "the control holds too")


def test_source_dies(t):
    """The shard that copies is killed while the engine writes: nothing arrives, the engine is free for its second
    life."""
    killed(t, "dma_kill", "killed", r"VRAM\[0x8\w{3}\] is 0xee, expected 0", a="restart=1")


def test_target_is_killed(t):
    """The target's owner is killed while the engine writes: its next life finds zeros, and they stay."""
    killed(t, "dma_kill_target", "shot", r"VRAM\[0x\w+\] is 0xee, expected 0", b="restart=1")


def test_early(t):
    """Nobody copies to a partition before its owner has opened it, by engine or by processor, in any of its lives."""
    build = t.variant("ablation-dma_early", ABLATION="ABLATION_dma_early")
    for options in [], ["-machine", "pc"]:
        result = t.guest(pairs("early", b="restart=1"), verbose=False, expect=0, options=options)
        t.check("restarts: 1 of 1" in result.text, "there was no second life")
        result = t.guest(pairs("early", b="restart=1"), expect=1, build=build, options=options)
        t.check(re.search(r"VRAM\[0x\w+\] is 0xee, expected 0", result.text), "the control holds too")


def test_owner_changes(t):
    """The target's owner dies in the middle of a copy by the processor, and its next life opens the partition: nothing
    of that copy arrives there."""
    lines = pairs("change", b="priority=high restart=1").replace(
        "\nchannel", '\nshard nudge /t/stale args="nudge"\nchannel') + "\nchannel nudge b0"
    result = t.guest(lines, options=ICOUNT + ["-machine", "pc"], expect=0)
    t.check("restarts: 1 of 1" in result.text, "there was no second life")
    build = t.variant("ablation-owners", ABLATION="ABLATION_owners")
    result = t.guest(lines, options=ICOUNT + ["-machine", "pc"], expect=1, build=build)
    t.check(re.search(r"VRAM\[0x\w+\] is 0xee, expected 0", result.text), "the control holds too")


def test_taken_back(t):
    """The capability for a copy is taken back in the middle of it: the copy ends; or else it goes on to its end."""
    result = t.guest(pairs("lent"), verbose=True, expect=0)
    t.check("the copy ended with -4" in result.lines, "the copy did not end with E_BADHANDLE")
    build = t.variant("ablation-dma_revoke", ABLATION="ABLATION_dma_revoke")
    result = t.guest(pairs("lent"), verbose=True, expect=1, build=build)
    t.check("the copy ended with 0" in result.lines, "the control holds too")


# ---- Attacks that go through the call ----

PIERCE = ("outside its own range", "outside the target's range", "without the capability", "from the supervisor")


def pierce(t, **defines):
    """Plays the scene in a build with the definitions. Returns (the answers to the attempts, how much arrived,
    Result)."""
    probe = t.guest("shard ok /t/ok", verbose=True, expect=0)
    base = int(re.search(r"1234:1111.*\n +BAR0 memory (0x\w+)", probe.text).group(1), 16)
    build = t.variant("-".join(defines.values()).lower(), **defines) if defines else None
    result = t.guest(pairs("pierce").replace("pierce a", "vram=%d" % base), verbose=True, expect=0, build=build)
    answers = [int(re.search("^%s: (-?\\d+)$" % words, result.text, re.M).group(1)) for words in PIERCE]
    return answers, [int(n) for n in re.search(r"^arrived: (.*)$", result.text, re.M).group(1).split()], result


def test_pierce(t):
    """A copy that its shard has no right to: software refuses it before an engine moves."""
    answers, arrived, result = pierce(t)
    t.equal(answers, [-20, -20, -4, -3], "the answers: E_VEILED, E_VEILED, E_BADHANDLE, E_INVAL")
    t.equal(arrived, [0] * 4, "the bytes that arrived")
    check_no_fault(t, result)


def test_pierce_unchecked(t):
    """The same without any check in software: the IOMMU alone refuses all of it, and says who, what and where."""
    answers, arrived, result = pierce(t, ABLATION="ABLATION_dma_check")
    t.equal(answers, [-16] * 4, "the answers: E_IO")
    t.equal(arrived, [0] * 4, "the bytes that arrived")
    found = re.findall(WORKING + r" may not (\w+) (0x\w+): its domain does not map that page for \w+ing "
                       r"\(VT-d reason (0x\d)\)", result.text)
    read, write = ("read", "0x10000", "0x6"), ("write", "0x20000", "0x5")
    t.equal(found, [read, write, write, read], "the faults")


def test_pierce_control(t):
    """The same when the engine's domain maps what is asked for, not what is allowed: everything is copied."""
    answers, arrived, _ = pierce(t, ABLATION="ABLATION_dma_check", ABLATION_ALSO="ABLATION_dma_extent")
    t.equal(answers, [0] * 4, "the answers")
    t.equal(arrived[:3], [64] * 3, "the bytes that arrived")
    t.check(arrived[3] > 16, "of the supervisor %d bytes arrived" % arrived[3])


# ---- Attacks by the kernel itself, which no check sees ----


def test_source_is_read_only(t):
    """An engine cannot write to the source of its copy; in a build that maps it writable, it does."""
    build = t.variant("dma_source", PROVOKE="PROVOKE_dma_source")
    result = t.guest(pairs("refused"), verbose=True, expect=0, build=build)
    t.check(re.search(WORKING + r" may not write 0x10000: .* for writing", result.text), "no fault")
    build = t.variant("dma_source-control", PROVOKE="PROVOKE_dma_source", ABLATION="ABLATION_dma_write")
    result = t.guest(pairs("refused"), verbose=True, expect=1, build=build)
    t.check(re.search(r"the copy ended with 0, \d{3,} bytes of the source changed", result.text),
            "the control holds too")


def astray(t, name, expect=0, options=(), **defines):
    """Boots a build in which the kernel does wrong while a shard asks for the time. Returns the Result."""
    build = t.variant("-".join([name] + [value.lower() for value in defines.values()]), PROVOKE="PROVOKE_" + name,
                      **defines)
    return t.guest(pairs("astray"), verbose=True, expect=expect, build=build, options=options)


def stray_outcomes(result):
    """Returns [(result, what became of the memory)] of the transfers that went astray."""
    return [(int(code), words) for code, words in re.findall(r"Provoked: .*: (-?\d+), the memory (.*)", result.text)]


def test_stray(t):
    """An engine reaches nothing that is not mapped for it now: unmapped, the supervisor's, a shard's, of an earlier
    copy."""
    result = astray(t, "dma_stray")
    t.check("Provoked: a copy that is allowed: 0" in result.text, "the copy that is allowed")
    t.equal(stray_outcomes(result), [(-16, "is intact")] * 7, "the outcomes")
    faults = re.findall(WORKING + r" may not (read|write) 0x([0-9a-f]+): its domain does not map that page",
                        result.text)
    t.equal([kind for kind, _ in faults], ["read", "read", "write", "write", "read", "read", "write"], "the faults")
    t.equal([faults[i][1] for i in (0, 5, 6)], ["100000", "10000", "20000"], "the addresses")
    t.equal(faults[3][1], faults[4][1], "the address of the shard's frame")
    t.check("IOMMU: 7 DMA faults recorded, records lost 0 times" in result.text, "the count of faults")


def test_stray_controls(t):
    """Without translation everything is reached; without unmapping, or without the invalidation alone, what once
    was."""
    hit, miss = (0, "was overwritten"), (-16, "is intact")
    result = astray(t, "dma_stray", ABLATION="ABLATION_dma_translation", expect=1)
    outcomes = stray_outcomes(result)
    t.equal([code for code, _ in outcomes], [0] * 7, "the outcomes without translation")
    t.equal([outcomes[i] for i in (2, 3)], [hit, hit], "the supervisor's memory and the shard's without translation")
    t.check("tests/shards/dma/main.c:" in result.text, "the shard does not see that its memory was overwritten")
    for name in "ABLATION_dma_unmap", "ABLATION_dma_invalidate":
        outcomes = stray_outcomes(astray(t, "dma_stray", ABLATION=name))
        t.equal(outcomes, [miss] * 5 + [(0, "is intact"), hit], "the outcomes with " + name)


def test_overflow(t):
    """Two engines go astray at once, one record is lost: both transfers count as refused, and records are taken
    again."""
    lost = "there were more than the IOMMU can record"
    for defines, wanted, told, faults in (({}, "-16 and -16", True, 2),
                                          ({"ABLATION": "ABLATION_dma_overflow"}, "-16 and 0", False, 1)):
        result = astray(t, "dma_overflow", **defines)
        t.check("Provoked: two reads at once: " + wanted in result.text, "the results are not %s" % wanted)
        t.equal(lost in result.text, told, "the console says that records were lost")
        t.equal(len(re.findall("^" + FAULT, result.text, re.M)), faults, "faults on the console")
        t.equal("IOMMU: 2 DMA faults recorded, records lost 1 times" in result.text, told, "the counts")


def test_forged_interrupt(t):
    """An engine that sends the message of another one interrupts nobody; with unchecked source ids it does."""
    for defines, first in ({}, 0), ({"ABLATION": "ABLATION_interrupt_source"}, 1):
        result = astray(t, "interrupt_forged", **defines)
        line = "Provoked: an interrupt of the second engine, raised by the first: %d, by itself: 1" % first
        t.check(line in result.lines, "the console lacks: " + line)
        # QEMU 7.2 records no faults of interrupts; it says so itself.
        t.equal("invalid IRTE SID" in result.stderr or "may not raise interrupt" in result.text, not first, "a fault")


def test_silent_engine(t):
    """An engine that does not answer is retired: its copy fails in words, the next one is made by another engine."""
    build = t.variant("dma_silence", PROVOKE="PROVOKE_dma_silence")
    result = t.guest(pairs("silent"), verbose=True, expect=0, build=build, options=ICOUNT)
    t.check("DMA engine 00:02.0 has not answered for 30 s: it is retired" in result.lines, "the line about the engine")
    t.check("the engine could not make the transfer (E_IO)" in result.text, "the refusal")
    check_no_fault(t, result)


def test_flood(t):
    """Each shard has lines of its own for its DMA faults: one that causes many does not hide those of another."""
    build = t.variant("ablation-dma_check", ABLATION="ABLATION_dma_check")
    manifest = pairs("flood", 2).replace('shard a1 /t/dma args="flood a"', 'shard a1 /t/dma args="flood a" after=a0')
    result = t.guest(manifest, expect=0, build=build, options=ICOUNT)
    for shard in ("0 (a0)", "2 (a1)"):
        lines = [line for line in result.lines if line.startswith("DMA fault: ") and "working for shard " +
                 shard in line]
        t.equal(len(lines), 16, "the faults of shard %s on the console" % shard)
    t.equal(result.text.count("DMA fault: any more of these are not shown without --verbose"), 2,
            "the lines that say so")
    build = t.variant("ablation-dma_check-flood", ABLATION="ABLATION_dma_check", ABLATION_ALSO="ABLATION_flood")
    result = t.guest(manifest, expect=0, build=build, options=ICOUNT)
    shown = len(re.findall(r"^DMA fault: \d", result.text, re.M))
    t.equal(shown, 16, "the faults of both on the console, where all have the same lines")


# ---- Machines ----


def test_machines(t):
    """Without IOMMU, with another one, with two video cards, with fewer rights for interrupts: the boot goes on."""
    q35 = ["-machine", "q35,kernel-irqchip=split"]
    none = r"IOMMU: none that can be used: there is no DMAR table; devices get no DMA\nDMA engines: none; "
    for options, line in (
            (["-machine", "pc"], none),
            (["-device", "amd-iommu"], none),
            (q35 + ["-device", "intel-iommu,intremap=off"], r"IOMMU: VT-d 1.0, 3-level tables, translation on\n"),
            (q35 + ["-device", "intel-iommu,intremap=on,caching-mode=on"], r"and interrupt remapping on\n"),
            (["-vga", "none"], r"and interrupt remapping on\n"),
            (["-device", "secondary-vga"], r"and interrupt remapping on\n")):
        result = t.guest("shard ok /t/ok", options=options, expect=0)
        t.check(re.search(line, result.text), "the line about the IOMMU with " + " ".join(options))


test_stray_controls.heavy = test_source_dies.heavy = test_target_is_killed.heavy = test_source_is_read_only.heavy = True
