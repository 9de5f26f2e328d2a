"""pictures_book.py: the pictures of docs/book, drawn from machines that scripts/observe.py has looked into.

scripts/pictures.py calls draw_all(). Machines count instructions instead of time (-icount), so that every boot goes the
same way; what still depends on the compiler (the size of the image, addresses in it) is not drawn.
Read next: scripts/observe.py.
"""

import json
import os
import subprocess
import tempfile

import harness
from pictures import BLUE, GREEN, INK, PAPER, QUIET, RED, ROOT, WIDTH, Picture

STEADY = ["-icount", "shift=0,align=off,sleep=off"]
GOLD, VIOLET = "#8a6a10", "#6a4a9c"
LEVELS = ["PT", "PD", "PDPT", "PML4"]
RIGHTS = {1: "SEND", 2: "RECV", 4: "GRANT"}


# ---- Machines ----


def observe(test, scene, manifest, files, **options):
    """Boots, lets gdb play a scene, and returns what it saw."""
    with tempfile.TemporaryDirectory(prefix="coconut-") as folder:
        socket, out = os.path.join(folder, "gdb"), os.path.join(folder, "out.json")
        more = ["-S", "-gdb", "unix:%s,server=on,wait=off" % socket, "-m", "256M"]
        if manifest:
            with open(os.path.join(ROOT, manifest), encoding="utf-8") as file:
                boot = test.start_guest(file.read(), files, options=more + STEADY, **options)
        else:
            boot = test.start(options=more, **options)
        try:
            wait_for(boot, socket)
            environment = dict(os.environ, SCENE=scene, SOCKET=socket, OUT=out,
                               ELF=os.path.join(ROOT, "build/supervisor.elf"))
            done = subprocess.run(["gdb", "-nx", "-q", "-batch", "-x", os.path.join(ROOT, "scripts/observe.py")],
                                  env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=600)
            if not os.path.exists(out):
                raise SystemExit("pictures.py: the scene %s was not seen:\n%s" % (scene, done.stdout))
            with open(out, encoding="utf-8") as file:
                return json.load(file)
        finally:
            harness.end_group(boot.process, 15)
            harness.finish(boot.process, 60)


def wait_for(boot, path):
    """Waits until QEMU listens."""
    for _ in range(3000):
        if os.path.exists(path):
            return
        if boot.process.poll() is not None:
            raise SystemExit("pictures.py: the machine did not start")
        harness.time.sleep(0.1)


# ---- Chapters 1 to 4: memory ----


def size_words(size):
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return "%d %s" % (size >> shift, unit)
    return "%d bytes" % size


def draw_boot_memory(seen):
    """What the loader reports of the memory below 8 MiB."""
    kinds = {1: ("free", QUIET), 2: ("taken by the loader", BLUE), 3: ("ACPI tables", GOLD), 4: ("firmware", RED)}
    inside = {0x200000: "the supervisor's image, and from 0x300000 the boot stack",
              0x400000: "seven page tables of the trampoline"}
    rows = [region for region in seen["regions"] if region[0] < 8 << 20]
    picture = Picture("Low memory when the loader jumps to the supervisor", 100 + 42 * len(rows))
    picture.text(24, 34, "Physical memory below 8 MiB, as struct bootinfo describes it", weight="bold")
    for i, (base, size, kind) in enumerate(rows):
        name, color = kinds[kind]
        picture.text(120, 74 + 42 * i, "%#x" % base, QUIET, 13, "end")
        picture.box(136, 52 + 42 * i, 600, 34, color=color)
        picture.text(148, 74 + 42 * i, "%s: %s" % (name, inside.get(base, "")) if base in inside else name, color)
    picture.text(24, 76 + 42 * len(rows), "The ramdisk and the bootinfo itself lie higher up, below 1 GiB.", QUIET, 13)
    return picture


def draw_trampoline(seen):
    """The three ways through the boot tables."""
    tables = {int(at, 16): entries for at, entries in seen["boot"].items()}
    root = 0x400000
    used = [(i, e) for i, e in enumerate(tables[root]) if e & 1]
    names = {0: "one to one", 256: "HHDM", 511: "image"}
    picture = Picture("The page tables of the trampoline", 116 + 84 * len(used))
    picture.text(24, 34, "Seven tables map the first GiB three times, writable and executable", weight="bold")
    picture.box(24, 56, 120, 84 * len(used) - 22, ["PML4", "%#x" % root], BLUE)
    for row, (index, entry) in enumerate(used):
        y, pdpt = 56 + 84 * row, entry & ~0xFFF
        second, directory = [(i, e & ~0xFFF) for i, e in enumerate(tables[pdpt]) if e & 1][0]
        pages = [e for e in tables[directory] if e & 0x80]
        picture.text(150, y + 22, "entry %d" % index, QUIET, 12)
        picture.arrow([(144, y + 32), (224, y + 32)], BLUE)
        picture.box(224, y, 120, 62, ["PDPT", "%#x" % pdpt], BLUE)
        picture.text(350, y + 22, "entry %d" % second, QUIET, 12)
        picture.arrow([(344, y + 32), (424, y + 32)], BLUE)
        picture.box(424, y, 120, 62, ["PD", "%#x" % directory], BLUE)
        picture.arrow([(544, y + 32), (584, y + 32)], BLUE)
        start = index << 39 | second << 30 | (0xFFFF << 48 if index > 255 else 0)
        picture.box(584, y, 152, 62, [names[index], "%#x" % start, "%d pages of 2 MiB" % len(pages)], GREEN)
    picture.text(24, 84 * len(used) + 86, "Read from physical address %#x; nobody changes these tables later." % root,
                 QUIET, 13)
    return picture


def kernel_rows(seen):
    """Returns (address, rights, what) for the supervisor's half, in words that do not depend on the compiler."""
    image = seen["image"]
    rows = []
    hhdm = [r for r in seen["kernel"] if r["start"] < 0xFFFF808000000000]
    rows.append((hhdm[0]["start"], "R+W+NX", "HHDM: all of memory, mostly by pages of 2 MiB (%d)" % seen["large"]))
    sealed = [r for r in hhdm if r["start"] == 0xFFFF800000200000]
    rows += [(r["start"], r["rights"], "the supervisor's text and constants, sealed here too") for r in sealed]
    rows.append((None, "R+W+NX", "HHDM: the rest of memory"))
    names = [("image_text", "image: text"), ("image_rodata", "image: constants"), ("image_data", "image: data and bss")]
    for name, words in names:
        rights = [r["rights"] for r in seen["kernel"] if r["start"] <= image[name] < r["end"]][0]
        rows.append((image[name] if name == "image_text" else None, rights, words))
    stacks = [r for r in seen["kernel"] if 0xFFFFFFFFA0000000 <= r["start"] < 0xFFFFFFFFC0000000]
    rows.append((0xFFFFFFFFA0000000, stacks[0]["rights"], "%d kernel stacks of %s, each above an unmapped guard" %
                 (len(stacks), size_words(stacks[0]["end"] - stacks[0]["start"]))))
    devices = [r for r in seen["kernel"] if r["start"] >= 0xFFFFFFFFC0000000]
    rows.append((devices[0]["start"], devices[0]["rights"], "registers of devices, uncached"))
    return rows


def draw_supervisor_space(seen):
    """The upper half, region by region."""
    rows = kernel_rows(seen)
    picture = Picture("The supervisor's half of every address space", 96 + 40 * len(rows))
    picture.text(24, 34, "The upper half: the same in every address space, no page of it open to ring 3", weight="bold")
    for i, (address, rights, words) in enumerate(rows):
        y = 52 + 40 * i
        color = {"R+X": BLUE, "R+NX": GREEN}.get(rights, GOLD)
        picture.text(190, y + 22, "%#018x" % address if address else "", QUIET, 12, "end")
        picture.box(204, y, 432, 34, color=color)
        picture.text(216, y + 22, words, INK, 13)
        picture.text(648, y + 22, rights, color, 14, weight="bold")
    picture.text(24, 76 + 40 * len(rows), "Nothing is writable and executable. What lies between the rows is not "
                                          "mapped.", QUIET, 13)
    return picture


def draw_shard_tables(seen):
    """The tables of one shard, from PML4 to pages."""
    tables = sorted(seen["tables"], key=lambda t: (-t["level"], t["base"]))
    pages = seen["pages"]
    picture = Picture("The page tables of a shard", 118 + 66 * sum(t["level"] == 0 for t in tables) + 30)
    picture.text(24, 34, "The address space of the shard %s, from CR3 to its pages" % seen["name"], weight="bold")
    column, rows = {3: 24, 2: 154, 1: 284, 0: 414}, {}
    for table in tables:
        row = rows[table["level"]] = rows.get(table["level"], -1) + 1
        x, y = column[table["level"]], 56 + 66 * row
        used = ", ".join(map(str, table["used"][:3])) + (" ..." if len(table["used"]) > 3 else "")
        picture.box(x, y, 100, 50, [LEVELS[table["level"]], used], BLUE)
        picture.arrow([(x + 100, y + 25), (x + 130, y + 25)], BLUE)
    leaf_tables = [t for t in tables if t["level"] == 0]
    for row, table in enumerate(leaf_tables):
        inside = [p for p in pages if table["base"] <= p["at"] < table["base"] + (1 << 21)]
        for rights in sorted({p["rights"] for p in inside}):
            same = [p for p in inside if p["rights"] == rights]
            color = BLUE if rights == "R+X" else GOLD if "W" in rights else GREEN
            picture.box(544, 56 + 66 * row, 192, 50, ["%d page%s, %s" % (len(same), "s" * (len(same) > 1), rights),
                                                       "%#x to %#x" % (same[0]["at"], same[-1]["at"] + 4095)], color)
    bottom = 56 + 66 * max(2, len(leaf_tables))
    picture.text(24, bottom + 26, "Entries 256 and 511 of the PML4 lead to the supervisor's tables, which all shards "
                                  "share.", QUIET, 13)
    picture.text(24, bottom + 48, "Each table is a frame of 4 KiB and counts against the shard's quota: %d tables, %d "
                                  "pages."
                 % (len(tables), len(pages)), QUIET, 13)
    return picture


def draw_frames(seen):
    """Who has the first frames."""
    palette = {"map": (INK, "the frame map"), "tables": (BLUE, "the supervisor's page tables"),
               "stacks": (GREEN, "kernel stacks"), "other": (QUIET, "other: the IOMMU's tables above all"),
               "free": (PAPER, "free")}
    shard_colors = iter((RED, GOLD, VIOLET, "#c26a1b"))
    for name in seen["frames"]:
        if name not in palette:
            palette[name] = (next(shard_colors), "shard %s: its page tables and its pages" % name)
    used = [name for name in palette if name in seen["frames"]]
    picture = Picture("Who has the first frames", 60 + 8 * 26 + 26 * ((len(used) + 1) // 2) + 30)
    picture.text(24, 34, "The first %d frames from 0x800000 on, a row for each word of the map" % len(seen["frames"]),
                 weight="bold")
    for i, name in enumerate(seen["frames"]):
        picture.parts.append('<rect x="%d" y="%d" width="9" height="18" fill="%s" stroke="%s" stroke-width="0.5"/>'
                             % (24 + 11 * (i % 64), 50 + 24 * (i // 64), palette[name][0], QUIET))
    for i, name in enumerate(used):
        x, y = 24 + 360 * (i % 2), 272 + 26 * (i // 2)
        picture.parts.append('<rect x="%d" y="%d" width="14" height="14" fill="%s" stroke="%s"/>' % (x, y - 12,
                                                                                                     palette[name][0],
                                                                                                     QUIET))
        picture.text(x + 22, y, palette[name][1], INK, 13)
    return picture


# ---- Chapters 5 to 7: console, faults, calls ----


def draw_console(seen):
    """Who owns the line, and what waits."""
    console = seen["console"]
    picture = Picture("The console while a line is open", 120 + 56 * len(console["writers"]))
    picture.text(24, 34, "The console in the middle of a line", weight="bold")
    picture.box(560, 52, 176, 56 * len(console["writers"]) - 12, ["serial port", "one line at a time"], INK)
    for i, writer in enumerate(console["writers"]):
        y, owner = 52 + 56 * i, writer["name"] == console["owner"]
        picture.box(24, y, 110, 44, ["shard " + writer["name"]], GREEN if owner else QUIET)
        pending = "owns the line: goes straight through" if owner else \
            "waits: %r" % writer["text"] if writer["text"] else "has written nothing"
        picture.box(190, y, 310, 44, color=GREEN if owner else BLUE if writer["text"] else QUIET)
        picture.text(202, y + 27, pending, GREEN if owner else INK if writer["text"] else QUIET, 13)
        if owner or writer["text"]:
            picture.arrow([(134, y + 22), (190, y + 22)], GREEN if owner else BLUE)
        if owner:
            picture.arrow([(500, y + 22), (560, y + 22)], GREEN)
    picture.text(24, 84 + 56 * len(console["writers"]),
                 "When the owner ends its line, the others' text follows, whole.", QUIET, 13)
    return picture


def place_words(address):
    """Says in whose memory an address lies."""
    for first, words in ((0xFFFFFFFFA0000000, "a kernel stack"), (0xFFFFFFFF80000000, "the supervisor"),
                         (0x40000000, "large heap"), (0x7FF000, "the shard's stack"), (0x100000, "the shard's heap"),
                         (0x1000, "the shard's code")):
        if address >= first:
            return words
    return "%#x" % address


def draw_trap_frame(seen):
    """The frame that a NULL pointer leaves on the kernel stack."""
    frame = seen["frame"]
    groups = [("ss", "cpu"), ("rsp", "cpu"), ("rflags", "cpu"), ("cs", "cpu"), ("rip", "cpu"), ("error", "cpu"),
              ("vector", "stub"), ("rax .. rbp, r8 .. r15: 15 registers", "isr_common")]
    colors = {"cpu": BLUE, "stub": GOLD, "isr_common": GREEN}
    makers = {"cpu": "the processor", "stub": "the stub of the vector", "isr_common": "isr_common"}
    meaning = {"ss": "user data, ring 3", "cs": "user code, ring 3", "vector": "page fault",
               "error": "read, in ring 3, not mapped"}
    picture = Picture("A trap frame on a kernel stack", 118 + 36 * len(groups))
    picture.text(24, 34, "The kernel stack of the shard %s after it read address %#x" % (seen["killed"], seen["cr2"]),
                 weight="bold")
    picture.text(24, 62, "top of the stack: %#x" % seen["top"], QUIET, 12)
    for i, (name, maker) in enumerate(groups):
        y = 70 + 36 * i
        picture.box(140, y, 380, 30, color=colors[maker])
        picture.text(152, y + 20, name, colors[maker], 14, weight="bold")
        if name in frame:
            value = "%#x" % frame[name] if name in meaning or name == "rflags" else place_words(frame[name])
            picture.text(220, y + 20, "%s  %s" % (value, meaning.get(name, "")), INK, 13)
            offset = 0xA8 - 8 * i
            picture.text(128, y + 20, "+%#x" % offset, QUIET, 12, "end")
        if i == 0 or groups[i - 1][1] != maker:
            picture.text(534, y + 20, "pushed by " + makers[maker], colors[maker], 12)
    picture.text(24, 96 + 36 * len(groups), "C gets the address of r15: struct trap_frame in structures.h, %d bytes." %
                 (seen["top"] - seen["place"]), QUIET, 13)
    return picture


def draw_syscall(seen):
    """What syscall_entry has pushed when C begins."""
    stack = seen["stack"]
    names = ["user rsp", "r11: user rflags", "rcx: where to return", "r10: argument 4", "r9", "r8: argument 5",
             "rdx: argument 3", "rsi: argument 2", "rdi: argument 1"]
    picture = Picture("The kernel stack in a system call", 112 + 34 * len(names))
    picture.text(24, 34, "%s called SERIAL_WRITE: what syscall_entry has saved on its kernel stack" % stack["name"],
                 weight="bold")
    for i, (name, value) in enumerate(zip(names, reversed(stack["words"]))):
        y = 56 + 34 * i
        color = BLUE if i < 3 else GREEN if "argument" in name else QUIET
        picture.box(200, y, 440, 28, color=color)
        picture.text(212, y + 19, name, color, 13, weight="bold")
        shown = "%#x" % value if "rflags" in name else "%d bytes" % value if "argument 2" in name else \
            place_words(value)
        picture.text(380, y + 19, shown if color != QUIET and i not in (3, 5, 6) else "not used by this call",
                     INK if color != QUIET else QUIET, 13)
    picture.text(188, 75, "%#x" % (stack["top"] - 8), QUIET, 12, "end")
    picture.text(188, 75 + 34 * 8, "%#x" % (stack["top"] - 72), QUIET, 12, "end")
    picture.text(24, 92 + 34 * len(names), "rax held the call's number, %d. The instruction itself has put rip into "
                                           "rcx and rflags into r11."
                 % stack["number"], QUIET, 13)
    return picture


# ---- Chapters 9 to 11: scheduling, capabilities, channels ----


def draw_queues(seen):
    """Who runs, who is ready, who waits for what."""
    names = ["critical", "high", "normal", "low"]
    blocked = [s for s in seen["shards"] if s["state"] == "blocked"]
    picture = Picture("The ready queues and the blocked shards", 96 + 50 * 4 + 50 * len(blocked))
    picture.text(24, 34, "The scheduler at the moment when %s blocks" % blocked[0]["name"], weight="bold")
    for priority, names_here in enumerate(seen["queues"]):
        y = 52 + 50 * priority
        picture.text(24, y + 26, names[priority], QUIET, 13)
        for i, name in enumerate(names_here):
            picture.box(130 + 100 * i, y, 80, 40, ["", ""], BLUE)
            picture.text(170 + 100 * i, y + 25, name, BLUE, 14, "middle", "bold")
        if not names_here:
            picture.text(130, y + 26, "nobody is ready", QUIET, 13)
    running = seen["next"]
    picture.box(560, 52, 176, 62, [running, "runs next"], GREEN)
    for i, shard in enumerate(blocked):
        y = 262 + 50 * i
        what = {"send": "waits for room in an inbox", "recv": "waits for a message",
                "shard": "waits for the end of a shard"}[shard["wait"]]
        picture.box(130, y, 80, 40, color=RED)
        picture.text(170, y + 25, shard["name"], RED, 14, "middle", "bold")
        picture.text(226, y + 25, "%s (end %d)" % (what, shard["object"]), INK, 13)
    picture.text(24, 286, "blocked", QUIET, 13)
    return picture


def rights_words(rights):
    return "+".join(word for bit, word in RIGHTS.items() if rights & bit)


def draw_capabilities(seen):
    """The capability graph before a grant, after two grants, after a revoke."""
    stages = [("before", "before"), ("granted", "after two grants"), ("revoked", "after ann's revoke")]
    picture = Picture("Capabilities before and after two grants and a revoke", 40 + 3 * 216)
    for row, (key, words) in enumerate(stages):
        draw_graph(picture, 30 + 216 * row, words, seen[key])
    return picture


def draw_graph(picture, top, words, graph):
    """One state: a box for each capability below its holder, arrows from grantor to copy."""
    picture.text(24, top + 12, words, INK, 15, weight="bold")
    place, count = {}, {}
    for shard, name in graph["names"].items():
        picture.text(24 + 184 * int(shard), top + 38, "shard " + name, QUIET, 13)
    for cap in sorted(graph["caps"], key=lambda c: c["index"]):
        holder = cap["index"] // 16
        row = count[holder] = count.get(holder, -1) + 1
        place[cap["index"]] = (24 + 184 * holder, top + 48 + 52 * row)
        granted = cap["parent"] != 0xFFFF
        color = GREEN if granted else BLUE
        x, y = place[cap["index"]]
        picture.box(x, y, 160, 44, ["%d: channel to %s" % (cap["index"] % 16, cap["to"]), rights_words(cap["rights"])],
                    color)
    for cap in graph["caps"]:
        if cap["parent"] in place:
            (x, y), (to_x, to_y) = place[cap["parent"]], place[cap["index"]]
            picture.arrow([(x + 160, y + 22), (to_x, to_y + 22)], GREEN)


def draw_channel(seen):
    """The two ends of a channel whose inbox is full."""
    first, second = seen["ends"][0], seen["ends"][1]
    picture = Picture("A channel whose inbox is full", 250)
    picture.text(24, 34, "Channel 0: %s sends faster than %s reads" % (first["home"], second["home"]), weight="bold")
    for x, number, end in ((24, 0, first), (456, 1, second)):
        picture.box(x, 56, 280, 150, ["end %d, home: %s" % (number, end["home"])], BLUE)
        picture.text(x + 14, 104, "inbox", QUIET, 12)
        for slot in range(4):
            full = slot < len(end["inbox"])
            picture.box(x + 70 + 50 * slot, 88, 44, 30, color=GREEN if full else QUIET)
            if full:
                picture.text(x + 92 + 50 * slot, 108, str(end["inbox"][slot]), GREEN, 14, "middle", "bold")
        picture.text(x + 14, 146, "wait to receive from it: " + (", ".join(end["receivers"]) or "nobody"), INK, 13)
        picture.text(x + 14, 176, "wait for room in it: " + (", ".join(end["senders"]) or "nobody"),
                     RED if end["senders"] else INK, 13)
    picture.arrow([(304, 104), (456, 104)], GREEN, "%s's messages" % first["home"], (330, 94))
    picture.arrow([(456, 190), (304, 190)], QUIET, "%s's answers" % second["home"], (336, 182), dashed=True)
    picture.text(24, 234, "The number in a message is what it says. The next one has no room: its sender sleeps.",
                 QUIET, 13)
    return picture


# ---- Chapters 12 and 15: files and the pipeline ----


def stage_ranges(pages):
    """Returns the ranges of a stage's large region as (first, bytes, borrowed)."""
    ranges = []
    for page in sorted(pages, key=lambda p: p["at"]):
        if page["at"] < 0x40000000:
            continue
        if ranges and ranges[-1][0] + ranges[-1][1] == page["at"] and ranges[-1][2] == page["borrowed"]:
            ranges[-1][1] += 4096
        else:
            ranges.append([page["at"], 4096, page["borrowed"]])
    return ranges


def draw_file(seen):
    """Two shards that have mapped the same file."""
    (one, left), (two, right) = sorted(seen["stages"].items())
    frames = [{p["phys"] for p in pages if p["borrowed"]} for pages in (left, right)]
    both = frames[0] & frames[1]
    picture = Picture("A file that two shards have mapped", 300)
    picture.text(24, 34, "Two shards, one model: the same frames of the ramdisk in two address spaces", weight="bold")
    for y, name, pages in ((56, one, left), (186, two, right)):
        at = 24
        picture.text(24, y + 18, "shard %s, from 0x40000000" % name, BLUE, 13, weight="bold")
        for first, size, borrowed in stage_ranges(pages):
            width = max(72, min(260, size >> 13))
            picture.box(at, y + 28, width, 44, [size_words(size)], GREEN if borrowed else GOLD)
            picture.text(at + width // 2, y + 66, "R+NX" if borrowed else "R+W+NX", QUIET, 11, "middle")
            at += width + 4
        picture.arrow([(at + 4, y + 50), (540, 130 if y < 100 else 154)], GREEN)
    shared = "all of them in both" if both == frames[0] else "%d frames in both" % len(both)
    picture.box(540, 100, 196, 84, ["ramdisk", shared, "read-only, borrowed"], GREEN)
    picture.text(24, 284, "green: pages of files, copied nowhere; gold: memory of the shard's own.", QUIET, 13)
    return picture


def draw_timeline(seen):
    """Who of the two stages ran when, from one switch to the next."""
    rows = seen["switches"][1:]
    start, end = rows[0][2], rows[-1][2]
    place = lambda at: 110 + 2 * round((at - start) / (end - start) * 310)  # noqa: E731
    tracks = {"stage0": (70, BLUE), "stage1": (150, GREEN)}
    picture = Picture("Two stages of a pipeline take turns", 290)
    picture.text(24, 34, "The pipeline: who ran, from one switch to the next", weight="bold")
    for name, (y, color) in tracks.items():
        picture.text(24, y + 26, name, color, 14, weight="bold")
    for (leaver, comer, at, _), (_, _, until, _) in zip(rows, rows[1:]):
        y, color = tracks[comer]
        picture.box(place(at), y, place(until) - place(at), 40, color=color, fill=color)
    for leaver, comer, at, inbox in rows[1:-1]:
        (from_y, color), (to_y, _) = tracks[leaver], tracks[comer]
        ends = [(place(at), from_y + 40), (place(at), to_y)] if from_y < to_y else [(place(at), from_y),
                                                                                    (place(at), to_y + 40)]
        picture.arrow(ends, color)
    sizes = [max(inbox) for _, _, _, inbox in rows[1:3]]
    turns = [(b[2] - a[2]) / 1e6 for a, b in zip(rows, rows[1:])]
    picture.text(24, 222, "down: x, in messages of %d bytes, and the CALL that waits for the answer" % sizes[0], BLUE,
                 13)
    picture.text(24, 244, "up: the next token, a message of %d bytes" % sizes[1], GREEN, 13)
    picture.text(24, 266, "A turn takes about %.1f million instructions. There is one processor: when one stage "
                          "computes, the other sleeps."
                 % (sum(turns) / len(turns)), QUIET, 13)
    return picture


def draw_all(folder):
    test = harness.Test("pictures-book", False)
    binary = os.path.join(ROOT, "build/book")
    test.sh(["scripts/build-shard.sh", "docs/book/cast", binary], expect=0)
    cast = {"/shards/cast": os.path.join(binary, "cast.bin")}
    hello = {"/shards/hello-c": os.path.join(ROOT, "build/shards/hello-c.bin"),
             "/hello.txt": b"Hello from a file in the ramdisk.\n"}
    boot = observe(test, "boot", None, None, uefi=True)
    grant = observe(test, "grant", "docs/book/grant.conf", cast)
    mail = observe(test, "mail", "docs/book/mail.conf", dict(cast, **hello))
    talk = observe(test, "talk", "docs/book/talk.conf", cast)
    model = {"/model.bin": os.path.join(ROOT, "model/stories.bin"),
             "/tokenizer.bin": os.path.join(ROOT, "model/tokenizer.bin"),
             "/shards/llama-pipeline": os.path.join(ROOT, "build/shards/llama-pipeline.bin")}
    pipeline = observe(test, "pipeline", "docs/book/pipeline.conf", model)
    pictures = {"boot-memory": draw_boot_memory(boot), "trampoline": draw_trampoline(grant),
                "supervisor-space": draw_supervisor_space(grant), "shard-tables": draw_shard_tables(grant),
                "frames": draw_frames(grant), "console": draw_console(talk), "trap-frame": draw_trap_frame(talk),
                "syscall": draw_syscall(talk), "queues": draw_queues(mail), "capabilities": draw_capabilities(grant),
                "channel": draw_channel(mail), "file": draw_file(pipeline), "pipeline": draw_timeline(pipeline)}
    for name, picture in pictures.items():
        picture.save(os.path.join(folder, name + ".svg"))
