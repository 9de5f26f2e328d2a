"""Grader of lab 17: copies by DMA arrive, and an engine reaches the pages of its copy, each in one way, for as long as
it runs.

Read next: tests/shards/dma/main.c, which makes the copies.
"""

import struct

import machine

READ, WRITE, PRESENT, ADDRESS = 1, 2, 1, 0x000FFFFFFFFFF000
REQUIREMENTS = {
    "arrives": (3, "copies of all sizes, from and to any offset, arrive whole and change nothing else"),
    "engine": (2, "an engine makes them: while one runs its domain maps a source and a target, in the video memory"),
    "rights": (3, "the source can be read and not written, the target written and not read"),
    "after": (1, "after the last copy nothing is mapped"),
    "shared": (1, "four pairs of shards share the engines"),
}
PAIR = "shard %sa /t/dma args=\"%s a\"\ngpu %sa\nshard %sb /t/dma args=\"%s b\"\ngpu %sb\nchannel %sa %sb\n"


def manifest(scene, count):
    return "".join(PAIR % (name, scene, name, name, scene, name, name, name) for name in "pqrs"[:count])


def entries(guest, phys):
    return struct.unpack("<512Q", guest.phys(phys & ADDRESS, 4096))


def mappings(guest):
    """Returns the leaves of all domains, as (device address, physical address, rights), from the tables that the unit
    reads."""
    def below(table, level, base):
        for index, entry in enumerate(entries(guest, table)):
            address = base | index << (12 + 9 * level)
            if entry and level:
                yield from below(entry, level - 1, address)
            elif entry & (READ | WRITE):
                yield address, entry & ADDRESS, entry & (READ | WRITE)

    found = []
    root = guest.number("'iommu.c'::root_table")
    for bus in range(256):
        low = int.from_bytes(guest.memory(root + 16 * bus, 8), "little")
        if not low & PRESENT:
            continue
        context = entries(guest, low)
        for low, high in zip(context[::2], context[1::2]):
            if low & PRESENT:
                found += below(low, (high & 7) + 1, 0)
    return found


def grade(lab):
    during, after, video = [], [], []

    def at_wait(guest):
        if guest.registers()["rsi"] & 0xFFFFFFFF != guest.image.value("WAIT_DMA") or len(during) >= 6:
            return
        video[:] = [guest.number("'gpu.c'::vram_phys")]
        during.append(mappings(guest))

    def at_end(guest):
        after.append(mappings(guest))

    run = lab.boot(manifest("sizes", 1), stops={"sched_wait": at_wait, "debug_exit": at_end}, options=machine.ICOUNT)
    lab.judge_good("arrives", run)
    inside = [all(video[0] <= phys < video[0] + (16 << 20) for _, phys, _ in leaves) and len(leaves) >= 2
              for leaves in during]
    lab.judge("engine", inside and all(inside), "mappings of video memory during each of the copies",
              "during %d copies: %s" % (len(during), [len(leaves) for leaves in during]), run)
    kinds = {rights for leaves in during for *_, rights in leaves}
    lab.judge("rights", kinds == {READ, WRITE}, "some pages to be read, others to be written, none for both",
              "rights (1 read, 2 write) %s" % sorted(kinds), run)
    lab.judge("after", during and after == [[]] and all(during), "mappings during the copies, and none at the end",
              "%d mappings at the end" % len(after[0]) if after else run.words(), run)
    lab.judge_good("shared", lab.boot(manifest("crowd", 4), options=machine.ICOUNT))
