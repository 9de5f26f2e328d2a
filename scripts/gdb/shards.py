"""shards.py: the commands about shards, capabilities and channels. Read next: memory.py."""

import kernel
import words


def waits_for(shard):
    """Returns what a blocked shard waits for, in words."""
    kind = kernel.enum_word(shard["wait"], "WAIT_")
    thing = int(kernel.field(shard, "wait_object"))
    state = kernel.enum_word(shard["state"], "SHARD_")
    if state == "ended":
        return "ended with code %d" % int(shard["exit_code"]) if int(shard["exited"]) else "killed"
    if state != "blocked":
        return "killed" if int(shard["killed"]) else ""
    if kind == "shard":
        return "end of shard %d" % thing
    if kind in ("recv", "send"):
        return "%s on channel %d end %d" % (kind, thing // 2, thing % 2)
    return kind


@kernel.command("shards")
def shards(_words):
    """Shows all shards: state, priority, what each waits for, its frames, calls, address space, name and program.

The one marked * runs, or its kernel stack is in use."""
    rows = []
    current = kernel.current()
    priorities = {int(f.enumval): f.name.replace("PRIORITY_", "").lower() for f in priority_names()}
    for number in kernel.used_shards():
        shard = kernel.shard(number)
        profile = shard["profile"]
        rows.append(["*" if number == current else "", number, kernel.enum_word(shard["state"], "SHARD_"),
                     priorities.get(int(shard["priority"]), int(shard["priority"])), waits_for(shard),
                     int(kernel.field(shard, "frames")), int(kernel.field(shard, "frames_peak")),
                     int(shard["usage"]["syscalls"]), "0x%x" % int(shard["cr3"]), kernel.name_of(number),
                     kernel.program_of(number)])
    lines = words.table(["", "id", "state", "priority", "waits for", "frames", "peak", "calls", "cr3", "name",
                         "program"], rows)
    return lines + ([] if current is not None else ["no shard is current: the supervisor's own thread, or none yet"])


def priority_names():
    """Returns the values of the anonymous enumeration of priorities."""
    name = "PRIORITY_CRITICAL"
    symbol = kernel.gdb.lookup_static_symbol(name) or kernel.gdb.lookup_global_symbol(name)
    return symbol.type.fields() if symbol else []


# ---- Capabilities ----


def cap_slots():
    """Returns (the table of capabilities, slots a shard)."""
    entries = kernel.field(kernel.variable("caps"), "entry")
    return entries, kernel.length(entries) // kernel.length(kernel.variable("shards"))


def resource_words(kind, resource):
    """Returns what a capability names, in words."""
    if kind == "CHANNEL":
        return "channel %d end %d" % (resource // 2, resource % 2)
    return {"SHARD": "shard %d", "GPU_DMA": "GPU partition %d"}.get(kind, "%d") % resource


def capabilities(number):
    """Returns (handle, type, rights, resource, parent index or None) of all capabilities of a shard."""
    entries, slots = cap_slots()
    none = kernel.layout_number("CAP_NONE")
    found = []
    for handle in range(slots):
        cap = entries[number * slots + handle]
        if int(kernel.field(cap, "type")):
            parent = int(kernel.field(cap, "parent"))
            found.append((handle, words.capability_type(int(cap["type"])), int(cap["rights"]), int(cap["resource"]),
                          None if parent == none else parent))
    return found


@kernel.command("caps", "caps [N]")
def caps(arguments):
    """Shows the capabilities of shard N (number or name; the current one if not given).

For each: its handle, what it names, the rights, and from which capability of which shard it was granted."""
    number = kernel.shard_number(arguments)
    _, slots = cap_slots()
    rows = []
    for handle, kind, rights, resource, parent in capabilities(number):
        origin = "its own" if parent is None else "granted by shard %d from its handle %d" % (parent // slots,
                                                                                              parent % slots)
        rows.append([handle, kind, resource_words(kind, resource), words.rights(rights, "CAP_RIGHT_"), origin])
    head = ["capabilities of shard %d (%s): %d of %d slots" % (number, kernel.name_of(number), len(rows), slots)]
    return head + words.table(["handle", "type", "names", "rights", "from"], rows)


# ---- Channels ----


def waiting(pointer):
    """Returns the numbers of the shards on a list of waiters."""
    numbers = []
    while int(pointer) and len(numbers) < kernel.length(kernel.variable("shards")):
        numbers.append(str(int(pointer["id"])))
        pointer = pointer["next"]
    return " ".join(numbers)


@kernel.command("channels")
def channels(_words):
    """Shows both ends of every channel: state, home, messages in its inbox, who waits there.

`inbox` counts messages on their way to the home of that end. `receivers` wait for one, `senders` (at the other side)
for room, `caller` is inside a CALL and waits for the answer."""
    rows = []
    ends = kernel.variable("ends")
    for number in range(kernel.length(ends)):
        end = ends[number]
        state = kernel.enum_word(kernel.field(end, "state"), "END_")
        if state == "unused":
            continue
        home = int(kernel.field(end, "home"))
        caller = kernel.field(end, "caller")
        rows.append([number // 2, number % 2, state, "%d (%s)" % (home, kernel.name_of(home)),
                     int(kernel.field(end, "count")),
                     waiting(kernel.field(end, "receivers")), waiting(kernel.field(end, "senders")),
                     int(caller["id"]) if int(caller) else ""])
    return words.table(["channel", "end", "state", "home", "inbox", "receivers", "senders", "caller"], rows)
