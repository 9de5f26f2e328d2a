"""DMA between GPU partitions: what the engines copy, what the IOMMU refuses them, and what becomes of a copy whose shards die.

The attacks go around every check in software: an engine is sent where its domain does not let it. Each is repeated
in a build without the protection that is to stop it (ABLATION), where it must succeed."""

import re

FAULT = r"DMA fault: 00:0\d\.0 \(edu DMA engine\)"


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


def test_target_dies(t):
    """The target's owner dies in the middle of a copy: the copy ends, the engine is refused, its memory stays zero."""
    result = t.guest(pairs("dies", b="restart=1"), verbose=True, expect=0)
    t.check("b dies now" in result.text, "the shard has not died")
    t.check(re.search(FAULT + r", working for shard 0 \(a0\), may not (read 0x10000|write 0x20000)", result.text),
            "the engine was not stopped")


def test_source_dies(t):
    """The shard that copies is killed meanwhile: the engine is refused, and is free for its second life."""
    build = t.variant("provoke-dma-kill", PROVOKE="PROVOKE_dma_kill")
    result = t.guest(pairs("killed", a="restart=1"), verbose=True, expect=0, build=build)
    t.check("Shard 0 (a0) ended: killed" in result.text, "the shard was not killed")
    t.check(re.search(FAULT + r", working for shard 0 \(a0\), may not", result.text), "the engine was not stopped")


def test_source_is_read_only(t):
    """An engine cannot write to the source of its copy; in a build that maps it writable, it does."""
    build = t.variant("provoke-dma-source", PROVOKE="PROVOKE_dma_source")
    result = t.guest(pairs("refused"), verbose=True, expect=0, build=build)
    t.check(re.search(FAULT + r", working for shard 0 \(a0\), may not write 0x10000: .* for writing", result.text), "no fault")
    build = t.variant("provoke-dma-source-control", PROVOKE="PROVOKE_dma_source", ABLATION="ABLATION_dma_write")
    result = t.guest(pairs("refused"), verbose=True, expect=1, build=build)
    t.check(re.search(r"the copy ended with 0, \d{3,} bytes of the source changed", result.text), "the control holds too")


def stray(t, **defines):
    """Sends an engine astray in a build with the definitions. Returns [(result, what became of the memory)]."""
    name = "provoke-dma-stray" + "".join("-" + value.lower() for value in defines.values())
    build = t.variant(name, PROVOKE="PROVOKE_dma_stray", **defines)
    result = t.guest("shard ok /t/ok", verbose=True, expect=0, build=build)
    t.check("Provoked: a copy that is allowed: 0" in result.text, "the copy that is allowed")
    return result, [(int(code), words) for code, words in
                    re.findall(r"Provoked: .*: (-?\d+), the supervisor's memory (.*)", result.text)]


def test_stray(t):
    """An engine reaches nothing that is not mapped for it now: unmapped, the supervisor's, mapped for an earlier copy."""
    result, outcomes = stray(t)
    t.equal(outcomes, [(-16, "is intact")] * 5, "the outcomes")
    faults = re.findall(FAULT + r" may not (read|write) 0x([0-9a-f]+): its domain does not map that page", result.text)
    t.equal([kind for kind, _ in faults], ["read", "read", "write", "read", "write"], "the faults")
    t.equal([faults[0][1], faults[3][1], faults[4][1]], ["100000", "10000", "20000"], "the addresses")
    t.check("IOMMU: 5 DMA faults recorded, records lost 0 times" in result.text, "the count of faults")


def test_stray_controls(t):
    """Without translation everything is reached; without unmapping, or without the invalidation alone, what once was."""
    hit, miss = (0, "was overwritten"), (-16, "is intact")
    _, outcomes = stray(t, ABLATION="ABLATION_dma_translation")
    t.equal([code for code, _ in outcomes], [0] * 5, "the outcomes without translation")
    for name in "ABLATION_dma_unmap", "ABLATION_dma_invalidate":
        _, outcomes = stray(t, ABLATION=name)
        t.equal(outcomes, [miss, miss, miss, (0, "is intact"), hit], "the outcomes with " + name)


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


test_stray_controls.heavy = test_source_dies.heavy = test_source_is_read_only.heavy = True
