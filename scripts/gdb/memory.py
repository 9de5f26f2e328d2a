"""memory.py: the commands about frames and page tables. Read next: traps.py."""

import gdb

import kernel
import pages
import words


def frame_map():
    """Returns (frames, free, free as counted in the bit map)."""
    table = kernel.variable("frame_map", "mm.c")
    frames = int(kernel.field(table, "frames"))
    bits = int(kernel.field(table, "free"))
    counted = 0
    if bits and frames:
        data = bytes(gdb.selected_inferior().read_memory(bits, frames // 8))
        counted = bin(int.from_bytes(data, "little")).count("1")
    return frames, int(kernel.field(table, "free_count")), counted


@kernel.command("frames")
def frames(_words):
    """Shows how many frames of physical memory are free, and how many each shard has.

`peak` is the most it has had, `family` counts its own and its children's frames against `quota`. The free frames are
counted again in the bit map, which must agree."""
    total, free, counted = frame_map()
    lines = ["%d frames below %s, %d free (%s)" % (total, words.size(total * 4096), free, words.size(free * 4096))]
    lines.append("the bit map has %d free frames: %s" % (counted, "it agrees" if counted == free else "IT DISAGREES"))
    rows = []
    for number in kernel.used_shards():
        shard = kernel.shard(number)
        payer = int(kernel.field(shard, "payer"))
        rows.append([number, kernel.name_of(number)] + [int(kernel.field(shard, name)) for name in
                                                        ("frames", "frames_peak", "family_frames", "frame_quota")] +
                    ["itself" if payer == int(shard.address) else "shard %d" % int(shard["payer"]["id"])])
    return lines + words.table(["id", "name", "frames", "peak", "family", "quota", "paid by"], rows)


def cr3_of(arguments):
    """Returns the tables that a command names: a shard's, `kernel`, or those in use."""
    if not arguments:
        return kernel.register("cr3") & pages.ADDRESS
    if arguments[0] == "kernel":
        return int(kernel.variable("kernel_cr3"))
    return int(kernel.shard(kernel.shard_number(arguments))["cr3"])


@kernel.command("pagewalk", "pagewalk ADDRESS [N | kernel]")
def pagewalk(arguments):
    """Shows how the processor translates ADDRESS: each level's entry, with its bits in words.

ADDRESS is any expression of gdb's. The tables are those in use, those of shard N, or the supervisor's own. The last
entry of the walk is *$entry from then on: `watch -l *$entry` stops where it is written."""
    if not arguments:
        kernel.fail("usage: pagewalk ADDRESS [N | kernel]")
    address = int(gdb.parse_and_eval("(unsigned long)(%s)" % arguments[0])) & (1 << 64) - 1
    walk = pages.Walk(kernel.read_table, cr3_of(arguments[1:]), address)
    gdb.set_convenience_variable("entry", gdb.Value(kernel.layout_number("HHDM_BASE") + walk.steps[-1][1]).cast(
        gdb.lookup_type("unsigned long").pointer()))
    return walk.lines()


@kernel.command("memmap", "memmap [N | kernel]")
def memmap(arguments):
    """Shows the live page tables as regions: address, size, where they lie in physical memory, rights.

The tables are those in use, those of shard N, or the supervisor's own. "scattered": the pages do not lie side by
side."""
    cr3 = cr3_of(arguments)
    cache = {}

    def read(phys):
        if phys not in cache:
            cache[phys] = kernel.read_table(phys)
        return cache[phys]

    rows = []
    for region in pages.fold(pages.regions(read, cr3)):
        notes = region.notes + (["%d times, every %s" % (region.times, words.size(region.stride))]
                                if region.times > 1 else [])
        rows.append(["0x%016x" % region.start, "0x%016x" % (region.end - 1), words.size(region.end - region.start),
                     "scattered" if region.phys is None else "0x%x" % region.phys, region.rights, ", ".join(notes)])
    return ["page tables at 0x%x" % cr3] + words.table(["from", "to", "size", "physical", "rights", ""], rows)
