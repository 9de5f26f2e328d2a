"""observe.py: what gdb sees in a machine that was stopped at an interesting moment, as JSON. Runs inside gdb.

scripts/pictures_book.py starts gdb with this file and the variables SCENE, SOCKET, ELF and OUT in its environment. Each
scene_... goes to its moments by hardware breakpoints and returns a dictionary of what the pictures of docs/book show.
Structures are read by the names that they have in the kernel; page tables are walked here, entry by entry, through the
HHDM, as the processor does. Read next: scripts/pictures_book.py.
"""

import json
import os
import re
import struct

import gdb

HHDM = 0xFFFF800000000000
STACKS, STACKS_END = 0xFFFFFFFFA0000000, 0xFFFFFFFFC0000000
ADDRESS = 0x000FFFFFFFFFF000
PRESENT, WRITE, USER, LARGE, BORROWED = 1, 2, 4, 0x80, 0x200
NX = 1 << 63
PAGE = 4096


def run(*commands):
    for command in commands:
        gdb.execute(command, to_string=True)


def go(where):
    """Lets the machine run to a place."""
    run("thbreak " + where, "continue")


def number(expression):
    return int(gdb.parse_and_eval(expression)) & 0xFFFFFFFFFFFFFFFF


def text(expression):
    return gdb.parse_and_eval(expression).string()


def words(address, count):
    return struct.unpack("<%dQ" % count, gdb.selected_inferior().read_memory(address, 8 * count))


# ---- Page tables ----


def walk(table, level=3, base=0, rights=(True, True, True)):
    """Yields (address, size, entry, writable, user, executable) for every leaf, and (None, level, address of the table)
    for every table."""
    yield None, level, table
    for index, entry in enumerate(words(HHDM + table, 512)):
        if not entry & PRESENT:
            continue
        start = base + (index << 12 + 9 * level)
        start |= 0xFFFF << 48 if level == 3 and index >= 256 else 0
        now = (rights[0] and bool(entry & WRITE), rights[1] and bool(entry & USER), rights[2] and not entry & NX)
        if level == 0 or entry & LARGE:
            yield (start, 1 << 12 + 9 * level, entry) + now
        else:
            yield from walk(entry & ADDRESS, level - 1, start, now)


def rights_name(writable, executable):
    return "R" + ("+W" if writable else "") + ("+X" if executable else "+NX")


def regions(cr3, first, last):
    """Returns the mapped ranges between two addresses, neighbours of the same rights as one."""
    found = []
    for leaf in walk(cr3):
        if leaf[0] is None or not first <= leaf[0] <= last:
            continue
        start, size, _, writable, user, executable = leaf
        rights = rights_name(writable, executable)
        if found and found[-1]["end"] == start and found[-1]["rights"] == rights:
            found[-1]["end"] += size
        else:
            found.append({"start": start, "end": start + size, "rights": rights, "user": user})
    return found


def shard_tables(cr3):
    """Returns the tables of a shard's lower half as [(level, first address, [used index])], and its pages."""
    tables, pages = [], []

    def descend(table, level, base):
        used = [(i, e) for i, e in enumerate(words(HHDM + table, 512)) if e & PRESENT]
        tables.append({"level": level, "base": base, "used": [i for i, _ in used]})
        for index, entry in used:
            start = base + (index << 12 + 9 * level)
            if level == 3 and index >= 256:
                continue
            if level == 0:
                rights = rights_name(entry & WRITE, not entry & NX)
                pages.append({"at": start, "rights": rights, "borrowed": bool(entry & BORROWED),
                              "phys": entry & ADDRESS})
            else:
                descend(entry & ADDRESS, level - 1, start)

    descend(cr3, 3, 0)
    return tables, pages


def shards():
    """Returns the shards that exist, as the scheduler sees them."""
    found = []
    for i in range(64):
        at = "shards[%d]." % i
        if number(at + "state"):
            state = str(gdb.parse_and_eval(at + "state")).replace("SHARD_", "").lower()
            wait = str(gdb.parse_and_eval(at + "wait")).replace("WAIT_", "").lower()
            found.append({"id": i, "name": text(at + "profile->name"), "state": state, "wait": wait,
                          "object": number(at + "wait_object"), "priority": number(at + "priority"),
                          "cr3": number(at + "cr3")})
    return found


# ---- Scenes ----


def scene_boot():
    """The firmware has left, the supervisor's first instruction comes next."""
    run("hbreak *_start", "continue")
    info = "((struct bootinfo *)$rdi)->"
    regions = number(info + "regions")
    count = number(info + "region_count")
    found = [struct.unpack("<QQII", gdb.selected_inferior().read_memory(regions + 24 * i, 24)) for i in range(count)]
    return {"regions": [r[:3] for r in found]}


def owners():
    """Returns who has each of the first frames, as far as page tables tell."""
    owner, kernel = {}, number("kernel_cr3")
    for leaf in walk(kernel):
        if leaf[0] is None:
            owner[leaf[2] // PAGE] = "tables"
        elif STACKS <= leaf[0] < STACKS_END:
            owner[(leaf[2] & ADDRESS) // PAGE] = "stacks"
    for shard in shards():
        for leaf in walk(shard["cr3"]):
            frame = (leaf[2] & ADDRESS) // PAGE
            if leaf[0] is None:
                owner.setdefault(frame, shard["name"])
            elif leaf[0] < 1 << 47 and not leaf[2] & BORROWED:
                owner[frame] = shard["name"]
    return owner


def frames(count):
    """Returns the owner of each of the first `count` frames that may be handed out; "free" ones too."""
    owner = owners()
    first = 0x800
    start = (number("(unsigned long)frame_map.free") - HHDM) // PAGE
    end = start + (number("frame_map.frames") // 64 * 2 + number("frame_map.frames") // 4096 + 1) * 8 // PAGE + 1
    found = []
    for frame in range(first, first + count):
        free = number("frame_map.free[%d]" % (frame // 64)) >> frame % 64 & 1
        inside = "map" if start <= frame < end else "other"
        found.append("free" if free else owner.get(frame, inside))
    return found


def scene_grant():
    """The boot tables, then the grants of docs/book/grant.conf."""
    go("supervisor_main")
    boot = {hex(at): list(words(HHDM + at, 512)) for at in range(0x400000, 0x407000, PAGE)}
    go("sys_cap_grant")
    kernel = regions(number("kernel_cr3"), HHDM, (1 << 64) - 1)
    large = sum(1 for leaf in walk(number("kernel_cr3")) if leaf[0] and leaf[0] < STACKS and leaf[1] > PAGE)
    tables, pages = shard_tables(number("current->cr3"))
    found = {"boot": boot, "kernel": kernel, "large": large, "tables": tables, "pages": pages, "frames": frames(512),
             "image": {name: number("(unsigned long)&" + name) for name in
                       ("image_text", "image_rodata", "image_data", "image_end")},
             "name": text("current->profile->name"), "before": capabilities()}
    go("sys_cap_revoke")
    found["granted"] = capabilities()
    run("finish")
    found["revoked"] = capabilities()
    return found


def capabilities():
    found = []
    for i in range(4 * 16):
        at = "caps.entry[%d]." % i
        if number(at + "type"):
            end = number(at + "resource")
            found.append({"index": i, "rights": number(at + "rights"), "end": end, "parent": number(at + "parent"),
                          "to": text("shards[ends[%d].home].profile->name" % (end ^ 1))})
    return {"caps": found, "names": {s["id"]: s["name"] for s in shards()}}


def scene_mail():
    """Eva blocks, because the inbox of fay is full."""
    go("context_switch_fpu if ((struct shard *)$rdi)->wait == WAIT_SEND")
    queues = []
    for priority in range(4):
        names, at = [], "ready[%d].head" % priority
        while number("ready_mask") >> priority + 1 & 1 and number("(unsigned long)" + at):
            names.append(text(at + "->profile->name"))
            at += "->next"
        queues.append(names)
    ends = []
    for end in range(4):
        at = "ends[%d]." % end
        inbox = [number("*(long *)%sinbox[(%sfirst + %d) %% 4].bytes" % (at, at, i))
                 for i in range(number(at + "count"))]
        ends.append({"home": text("shards[%shome].profile->name" % at), "inbox": inbox,
                     "senders": waiting(at + "senders"), "receivers": waiting(at + "receivers")})
    return {"shards": shards(), "queues": queues, "ends": ends, "next": text("((struct shard *)$rsi)->profile->name")}


def waiting(at):
    names = []
    while number("(unsigned long)" + at):
        names.append(text(at + "->profile->name"))
        at += "->next"
    return names


def scene_talk():
    """Lea has written while kim's line is open; then joe's fault."""
    go("syscall_dispatch if $r9 == 1")
    stack = {"top": number("tss.rsp[0]"), "words": words(number("tss.rsp[0]") - 72, 9),
             "name": text("current->profile->name"), "number": number("$r9")}
    go("syscall_entry if $rax == 1 && current->id == 0")
    pending = [{"name": text("shards[%d].profile->name" % i), "text": pending_text(i)} for i in range(2)]
    console = {"owner": text("shards[owner].profile->name"), "writers": pending}
    go("fault_kill")
    frame = {name: number("frame->" + name) for name in
             ("r15 r14 r13 r12 r11 r10 r9 r8 rbp rdi rsi rdx rcx rbx rax vector error rip cs rflags rsp ss").split()}
    return {"stack": stack, "console": console, "frame": frame, "cr2": number("$cr2"),
            "place": number("(unsigned long)frame"),
            "top": number("tss.rsp[0]"), "killed": text("current->profile->name")}


def pending_text(writer):
    return bytes(gdb.selected_inferior().read_memory(number("(unsigned long)writers[%d].pending" % writer),
                                                     number("writers[%d].pending_len" % writer))).decode()


def switches(count):
    """Returns the next switches as (who leaves, who comes, when the call began in which it leaves, the message that it
    has just sent). The time is the processor's time stamp, which counts instructions here; 0 outside of a call."""
    rows = []
    run("hbreak *context_switch")
    for _ in range(count):
        run("continue")
        names = []
        for register in ("$rdi", "$rsi"):
            at = "((struct shard *)%s)->" % register
            names.append(text(at + "profile->name") if number("(unsigned long)" + at + "profile") else "supervisor")
        inbox = [number("ends[%d].inbox[(ends[%d].first + ends[%d].count + 3) %% 4].len" % (e, e, e)) if
                 number("ends[%d].count" % e) else 0 for e in (0, 1)]
        if not any(inbox) and number("((struct shard *)$rdi)->wait_result >= 0 && ((struct shard *)$rsi)->wait_result "
                                     "> 0"):
            inbox[~number("((struct shard *)$rdi)->wait_object") & 1] = number("((struct shard *)$rsi)->wait_result")
        rows.append(names + [number("kernel_since"), inbox])
    run("delete")
    return rows


def scene_pipeline():
    """Two stages take turns; then both have mapped the same model, and the first of them is about to end."""
    go("sys_channel_call")
    found, timeline = {}, switches(12)
    go("handle_sys_exit")
    for shard in shards():
        if shard["cr3"] != number("kernel_cr3"):
            found[shard["name"]] = shard_tables(shard["cr3"])[1]
    return {"stages": found, "switches": timeline}


run("set pagination off", "set confirm off", "set architecture i386:x86-64",
    "file " + re.sub(r"([\\\"'\s])", r"\\\1", os.environ["ELF"]),
    "target remote " + os.environ["SOCKET"])
result = globals()["scene_" + os.environ["SCENE"]]()
with open(os.environ["OUT"], "w", encoding="utf-8") as out:
    json.dump(result, out)
run("kill", "quit")
