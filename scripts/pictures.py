#!/usr/bin/env python3
"""pictures.py: draws docs/pictures/*.svg from what a running machine reports.

    scripts/pictures.py [FOLDER]    into docs/pictures, or into FOLDER

Boots two gpu-hal shards with --verbose, stops the machine while a DMA engine copies, and reads the tables of the IOMMU
through QEMU's monitor as the unit itself does: root table, context table, second-level tables. What differs from boot
to boot (random addresses, where a table lies) is not drawn, so the same system always gives the same pictures. They
have a ground of their own, so that they can be read on white and on dark pages. scripts/pictures_book.py draws those
of docs/book, scripts/pictures_ladder.py that of README.md. Read next: docs/gpu.md.
"""

import html
import os
import re
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "scripts")]
import harness  # noqa: E402

MANIFEST = """shard gpu-hal-0 /shards/gpu-hal args="role=source peer=1 bytes=65536"
shard gpu-hal-1 /shards/gpu-hal args="role=target peer=0"
gpu gpu-hal-0
gpu gpu-hal-1
channel gpu-hal-0 gpu-hal-1
"""
UNIT = 0xFED90000  # registers of the IOMMU
ROOT_REGISTER = 0x20
ENGINE = 2 << 3  # the device and function of the first engine
PAGE = 4096
ADDRESS = 0x000FFFFFFFFFF000
WIDTH = 760
INK, QUIET, GROUND, PAPER = "#1d2733", "#5b6775", "#f4f1ea", "#ffffff"
BLUE, GREEN, RED = "#2b5f9e", "#2d7a46", "#a8322d"


# ---- What the machine says ----


class Machine:
    """A stopped machine, in the middle of a copy."""

    def __init__(self, monitor):
        self.monitor = monitor

    def word(self, phys):
        answer = self.monitor.hmp("xp /1gx %#x" % phys)
        return int(answer.split(": ")[1], 16)

    def walk(self):
        """Returns (domain, levels, {device address: entry}) of the first engine, or None while nothing is mapped."""
        root = self.word(UNIT + ROOT_REGISTER) & ADDRESS
        context = self.word(root) if root else 0
        if not context & 1:
            return None
        low, high = (self.word((context & ADDRESS) + 16 * ENGINE + 8 * i) for i in (0, 1))
        if not low & 1:
            return None
        levels = (high & 7) + 2
        leaves = {}
        for iova in (0x10000, 0x20000):
            table = low & ADDRESS
            for level in range(levels - 1, -1, -1):
                entry = self.word(table + 8 * (iova >> (12 + 9 * level) & 511))
                # neither read nor write: the running machine has not made the table yet, or has unmapped the page
                if not entry & 3:
                    return None
                table = entry & ADDRESS
            leaves[iova] = entry
        return (high >> 8 & 0xFFFF, levels, leaves) if all(leaves.values()) else None


def observe():
    """Boots, stops the machine during a copy, and returns (what it printed, the walk of the IOMMU's tables)."""
    test = harness.Test("pictures", False)
    monitor = harness.Monitor()
    try:
        boot = test.start_guest(MANIFEST, {"/shards/gpu-hal": os.path.join(ROOT, "build/shards/gpu-hal.bin")},
                                verbose=True, options=monitor.options, expect=0)
        machine, found, deadline = Machine(monitor), None, time.monotonic() + 120
        while not found and time.monotonic() < deadline:
            found = machine.walk()  # the entries of the running machine say when it is worth stopping it
            if found:
                monitor.command("stop")
                found = machine.walk()
                monitor.command("cont")
        if not found:
            sys.exit("pictures.py: no copy was seen.")
        return boot.wait().text, found
    finally:
        monitor.close()


def functions(text):
    """Returns the PCI functions of the table as (where, id, name, [BAR])."""
    found = []
    for line in text.split("\n"):
        function = re.match(r"  (\w\w:\w\w\.\w)  (\w{4}:\w{4})  (.*)", line)
        bar = re.match(r" +(BAR\d) memory (0x\w+), (\d+) bytes", line)
        if function:
            found.append(function.groups() + ([],))
        elif bar:
            found[-1][3].append(bar.groups())
    return found


# ---- Drawing ----


class Picture:
    """An SVG of boxes, lines and words."""

    def __init__(self, title, height):
        self.title, self.height, self.parts = title, height, []

    def text(self, x, y, words, color=INK, size=14, anchor="start", weight="normal"):
        self.parts.append('<text x="%d" y="%d" fill="%s" font-size="%d" text-anchor="%s" font-weight="%s">%s</text>'
                          % (x, y, color, size, anchor, weight, html.escape(words)))

    def box(self, x, y, width, height, words=(), color=INK, fill=PAPER):
        self.parts.append('<rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="%s" stroke-width="2"/>'
                          % (x, y, width, height, fill, color))
        for i, line in enumerate(words):
            self.text(x + width // 2, y + 22 + 18 * i, line, color if i == 0 else QUIET, 14 if i == 0 else 12, "middle",
                      "bold" if i == 0 else "normal")

    def arrow(self, points, color=INK, words="", at=None, dashed=False):
        self.parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s marker-end="url(#%s)"/>'
                          % (" ".join("%d,%d" % point for point in points), color,
                             ' stroke-dasharray="6 4"' if dashed else "", color[1:]))
        if words:
            self.text(at[0], at[1], words, color, 12)

    def save(self, path):
        heads = "".join('<marker id="%s" markerWidth="9" markerHeight="9" refX="8" refY="4.5" orient="auto" '
                        'markerUnits='
                        '"userSpaceOnUse"><path d="M0 0 9 4.5 0 9z" fill="%s"/></marker>' % (color[1:], color)
                        for color in (INK, QUIET, BLUE, GREEN, RED))
        with open(path, "w", encoding="utf-8") as file:
            file.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" '
                       'role="img">\n'
                       '<title>%s</title>\n<defs>%s</defs>\n<rect width="%d" height="%d" rx="10" fill="%s"/>\n%s\n'
                       '</svg>\n'
                       % (WIDTH, self.height, html.escape(self.title), heads, WIDTH, self.height, GROUND,
                          "\n".join(self.parts)))


def size_words(size):
    return "%d MiB" % (size >> 20) if size >= 1 << 20 else "%d KiB" % (size >> 10)


def draw_machine(text, found):
    """Who is on the bus, and who gets past the IOMMU."""
    rows = functions(text)
    picture = Picture("The PCI functions of the machine, the IOMMU, and the memory behind it", 120 + 44 * len(rows))
    picture.text(24, 34, "PCI functions", weight="bold")
    picture.text(736, 34, "memory", weight="bold", anchor="end")
    bottom = 50 + 44 * len(rows)
    picture.box(470, 50, 110, bottom - 60, ["IOMMU", "%d-level tables" % found[1]], BLUE)
    picture.box(636, 50, 100, bottom - 60, ["RAM, VRAM"], INK)
    for i, (where, name, what, bars) in enumerate(rows):
        y, engine = 50 + 44 * i, "edu" in what
        picture.box(24, y, 400, 34, color=GREEN if engine else QUIET)
        picture.text(34, y + 22, "%s  %s  %s" % (where, name, what.split(";")[0]), GREEN if engine else INK, 13)
        ranges = ", ".join("%s %s" % (bar, size_words(int(size))) for bar, _, size in bars)
        picture.text(416, y + 22, ranges, QUIET, 12, "end")
        picture.arrow([(424, y + 17), (470, y + 17)], GREEN if engine else RED, dashed=not engine)
        if engine:
            picture.arrow([(580, y + 17), (636, y + 17)], GREEN)
    picture.text(24, bottom + 24, "green: has a domain, reaches what is mapped in it", GREEN, 13)
    picture.text(24, bottom + 46, "red, dashed: has no domain, and is no bus master; all its DMA is refused", RED, 13)
    return picture


def draw_partitions(text):
    """The video memory in shares, and the shards that have them."""
    count, share, units = map(int, re.search(r"GPU: (\d+) partitions of (\d+) KiB video memory, (\d+)", text).groups())
    owners = re.findall(r"^Shard \d+ \((\S+)\) started: ", text, re.M)
    picture = Picture("The video memory in partitions, one for each driver shard", 330)
    width = (WIDTH - 48) // count
    picture.text(24, 34, "VRAM, BAR0 of the video card: %s" % size_words(count * share << 10), weight="bold")
    picture.text(24, 316, "Shared registers, BAR2: every driver shard reads them, none writes them.", QUIET, 13)
    for i in range(count):
        x = 24 + i * width
        color = (BLUE, GREEN)[i % 2]
        place = "%s at offset %#x" % (size_words(share << 10), i * share << 10)
        picture.box(x + 4, 50, width - 8, 66, ["partition %d" % i, place, "%d compute units, simulated" % units], color)
        picture.arrow([(x + width // 2, 180), (x + width // 2, 116)], color, "R+W+NX", (x + width // 2 + 10, 152))
        picture.box(x + 40, 180, width - 80, 102, [owners[i], "configuration page 0x4000, R+NX",
                                                   "VRAM at a random address, R+W+NX", "registers at a random "
                                                                                       "address, R+NX",
                                                   "nothing of the other partition"], color)
    return picture


def draw_copy(text, found):
    """What the IOMMU's tables hold while an engine copies."""
    domain, levels, leaves = found
    base = int(re.search(r"VGA controller\n +BAR0 memory (0x\w+)", text).group(1), 16)
    share = int(re.search(r"partitions of (\d+) KiB", text).group(1)) << 10
    picture = Picture("What the tables of the IOMMU hold while an engine copies", 372)
    where = "00:02.0"
    picture.box(24, 60, 150, 62, ["engine " + where, "sends its number", "with every request"], GREEN)
    picture.box(214, 60, 150, 62, ["root table", "entry 0: bus 0"], BLUE)
    picture.box(404, 60, 150, 62, ["context table", "entry %d: %s" % (ENGINE, where), "domain %d" % domain], BLUE)
    picture.box(594, 60, 142, 62, ["domain %d" % domain, "%d levels of tables" % levels], BLUE)
    for x in (174, 364, 554):
        picture.arrow([(x, 90), (x + 40, 90)], BLUE)
    picture.text(24, 34, "One piece of a copy is under way", weight="bold")
    picture.text(24, 160, "device address", QUIET, 13)
    picture.text(300, 160, "rights", QUIET, 13)
    picture.text(430, 160, "memory", QUIET, 13)
    for i, (iova, entry) in enumerate(sorted(leaves.items())):
        y = 172 + 50 * i
        rights = {1: "read", 2: "write", 3: "read, write"}[entry & 3]
        number = ((entry & ADDRESS) - base) // share
        picture.box(24, y, 250, 38, color=INK)
        picture.text(36, y + 24, "%#x  (the %s)" % (iova, "source" if iova == min(leaves) else "target"))
        picture.text(300, y + 24, rights, GREEN, weight="bold")
        picture.box(430, y, 306, 38, color=INK)
        picture.text(442, y + 24, "a page of partition %d (%s)" % (number, "gpu-hal-%d" % number))
        picture.arrow([(380, y + 19), (430, y + 19)], GREEN)
    picture.box(24, 282, 250, 38, color=RED)
    picture.text(36, 306, "every other device address")
    picture.text(300, 306, "none", RED, weight="bold")
    picture.box(430, 282, 306, 38, color=RED)
    picture.text(442, 306, "refused, and recorded as a fault")
    picture.arrow([(380, 301), (430, 301)], RED, dashed=True)
    picture.text(24, 352, "After the piece both entries are zero again, and what the unit has cached of them is "
                          "invalidated.",
                 QUIET, 13)
    return picture


def main():
    if sys.argv[1:] and (len(sys.argv) > 2 or sys.argv[1].startswith("-")):
        sys.exit("usage: scripts/pictures.py [FOLDER]")
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "docs/pictures")
    os.makedirs(folder, exist_ok=True)
    text, found = observe()
    draw_machine(text, found).save(os.path.join(folder, "machine.svg"))
    draw_partitions(text).save(os.path.join(folder, "partitions.svg"))
    draw_copy(text, found).save(os.path.join(folder, "copy.svg"))
    pictures_book.draw_all(folder)
    pictures_ladder.draw(folder)


if __name__ == "__main__":
    import pictures_book
    import pictures_ladder

    try:
        main()
    finally:
        harness.stop_everything()
