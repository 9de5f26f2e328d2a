"""pages.py: page tables: the walk of one address, and all regions of an address space. Pure: no gdb.

`read(phys)` is given by the caller and returns the 512 entries of the table at a physical address. The levels are
numbered as in kernel.h: 3 the PML4, 0 the page table. SDM Vol. 3A 4.5 describes the format. Read next: kernel.py.
"""

import layout

LEVELS = ["PT", "PD", "PDPT", "PML4"]
ENTRIES = 512
ADDRESS = 0x000FFFFFFFFFF000  # bits 51..12
PRESENT, WRITE, USER, WRITE_THROUGH, UNCACHED, ACCESSED, DIRTY, LARGE, NX = 1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 1 << 63
BORROWED = layout.number("PTE_BORROWED")  # a bit that the processor leaves to the kernel
STACK_SLOT = layout.number("STACK_SLOT_SIZE")  # the stacks are what is worth folding
COUNT_SHIFT, COUNT_MASK = 52, 0x3FF  # space.c counts the used entries of a shard's tables here


def index_of(address, level):
    return address >> (12 + 9 * level) & ENTRIES - 1


def canonical(address):
    """Returns a 48-bit address with its sign extended."""
    return address | 0xFFFF << 48 if address >> 47 & 1 else address


def is_leaf(entry, level):
    return level == 0 or bool(entry & LARGE and level < 3)


class Walk:
    """The entries that the processor reads for an address, topmost first."""

    def __init__(self, read, cr3, address):
        self.address, self.cr3 = address, cr3
        self.steps = []  # (level, physical address of the entry, entry)
        self.phys = None  # where the address lies, None: not mapped
        table = cr3 & ADDRESS
        for level in (3, 2, 1, 0):
            index = index_of(address, level)
            entry = read(table)[index]
            self.steps.append((level, table + 8 * index, entry))
            if not entry & PRESENT:
                return
            if is_leaf(entry, level):
                size = 1 << 12 + 9 * level
                self.phys = (entry & ADDRESS & -size) | (address & size - 1)
                return
            table = entry & ADDRESS

    def rights(self):
        """Returns the rights that result from all levels."""
        entries = [entry for _, _, entry in self.steps]
        return rights_word(all(e & WRITE for e in entries), any(e & NX for e in entries),
                           all(e & USER for e in entries))

    def lines(self):
        """Returns the walk as lines of text."""
        text = ["page walk of 0x%x, cr3 0x%x" % (self.address, self.cr3)]
        for level, place, entry in self.steps:
            text.append("  %-4s [%3d] at 0x%x: 0x%016x  %s" % (LEVELS[level], index_of(self.address, level), place,
                                                               entry, entry_words(entry, level, self.address)))
        if self.phys is None:
            return text + ["  not mapped: the walk ends in the %s" % LEVELS[self.steps[-1][0]]]
        return text + ["  physical 0x%x, %s" % (self.phys, self.rights())]


def rights_word(write, no_execute, user):
    return "R%s+%s %s" % ("+W" if write else "", "NX" if no_execute else "X", "user" if user else "supervisor")


def entry_words(entry, level, address):
    """Returns the bits of an entry in words."""
    if not entry & PRESENT:
        return "not present" + (" (but not zero)" if entry else "")
    words = ["writable" if entry & WRITE else "read-only", "user" if entry & USER else "supervisor"]
    words.append("no-execute" if entry & NX else "executable")
    words += [word for bit, word in ((WRITE_THROUGH, "write-through"), (UNCACHED, "uncached"), (ACCESSED, "accessed"))
              if entry & bit]
    if is_leaf(entry, level):
        words += ["dirty"] if entry & DIRTY else []
        words += ["page of %s" % ("4 KiB", "2 MiB", "1 GiB")[level]]
        words += ["borrowed (not the shard's to free)"] if entry & BORROWED else []
    elif address < 1 << 47 and level < 4:
        words.append("%d entries used below" % (entry >> COUNT_SHIFT & COUNT_MASK))
    return ", ".join(words)


class Region:
    """Neighbouring pages with the same rights. `phys` is where it begins, None when it does not lie in one piece.

    Regions of one size at equal distances can be folded into one that says how often it comes, and at which stride."""

    def __init__(self, start, size, phys, rights, notes):
        self.start, self.end, self.phys, self.rights, self.notes = start, start + size, phys, rights, notes
        self.times, self.stride = 1, 0

    def joins(self, other):
        return self.end == other.start and self.rights == other.rights and self.notes == other.notes

    def join(self, other):
        if self.phys is not None and self.phys + self.end - self.start != other.phys:
            self.phys = None
        self.end = other.end


def leaves(read, cr3, level=3, base=0, path=()):
    """Yields a Region for every page, in the order of addresses."""
    for index, entry in enumerate(read(cr3 & ADDRESS)):
        if not entry & PRESENT:
            continue
        start = canonical(base + (index << 12 + 9 * level))
        entries = path + (entry,)
        if is_leaf(entry, level):
            size = 1 << 12 + 9 * level
            rights = rights_word(all(e & WRITE for e in entries), any(e & NX for e in entries),
                                 all(e & USER for e in entries))
            notes = (["uncached"] if entry & UNCACHED else []) + (["borrowed"] if entry & BORROWED else [])
            yield Region(start, size, entry & ADDRESS & -size, rights, notes)
        else:
            yield from leaves(read, entry, level - 1, start, entries)


def fold(found):
    """Returns the Regions with those of one size, one kind and equal distances, three or more in a row, put
    together."""
    folded = []
    for region in found:
        last = folded[-1] if folded else None
        alike = last and (region.end - region.start, region.rights, region.notes) == (last.end - last.start,
                                                                                      last.rights, last.notes)
        if alike and last.times > 1 and region.start == last.start + last.times * last.stride:
            last.times, last.phys = last.times + 1, None
        elif alike and last.times == 1 and region.start - last.start < 2 * STACK_SLOT:
            last.times, last.stride, last.phys = 2, region.start - last.start, None
        else:
            folded.append(region)
    return folded


def regions(read, cr3):
    """Returns all Regions of an address space, as large as possible."""
    found = []
    for leaf in leaves(read, cr3):
        if found and found[-1].joins(leaf):
            found[-1].join(leaf)
        else:
            found.append(leaf)
    return found
