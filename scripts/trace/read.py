#!/usr/bin/env python3
"""read.py RAM ELF OUT: turns the ring that trace.c has left in a machine's memory into a file for Perfetto or
chrome://tracing.

RAM is the file that was the machine's memory, ELF its supervisor with symbols. OUT gets Chrome's trace-event format:
one track for the CPU, one for interrupts, one for each shard, one for each window that the IOMMU opens to a device. A
message is an arrow between two instants, in the call that sent it and in the call that received it. What the ring has
lost is said on stderr and in OUT.

Read next: timeline.py, which draws OUT.
"""

import argparse
import gc
import json
import math
import os
import re
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MAGIC = 0x3143525454434F43
HEADER = struct.Struct("<5Q")  # struct trace_ring: magic, pages, event_size, per_page, written
EVENT = struct.Struct("<QBBHI3Q")  # struct trace_event
KINDS = ("", "switch", "call", "return", "interrupt", "resume", "fault", "send", "receive", "copy", "copied", "map",
         "unmap",
         "start", "end")  # enum trace_kind
STATES = ("free", "building", "ready", "running", "blocked", "ended")  # enum shard_state
WAITS = ("recv", "send", "shard", "dma")  # enum wait_kind
WAYS = ("inbox", "fast path")  # of a message
CPU, INTERRUPTS, FIRST_SHARD, FIRST_WINDOW = 1, 2, 10, 1000  # tracks
PAGE = 4096


class Problem(Exception):
    """The trace cannot be read; says why."""


class Event:
    """An entry of the ring."""

    def __init__(self, fields):
        self.time, kind, self.shard, self.detail, _, *self.values = fields
        self.kind = KINDS[kind] if kind < len(KINDS) else "?"


# ---- Reading ----


def numbers(name):
    """Returns {name: number} of the plain defines of a header."""
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return {key: int(value, 0) for key, value in re.findall(r"^#define[ \t]+(\w+)[ \t]+(0[xX][0-9A-Fa-f]+|\d+)\b",
                                                                file.read(), re.M)}


def symbol(path, wanted):
    """Returns the address of a symbol of an ELF file."""
    with open(path, "rb") as file:
        data = file.read()
    shoff, = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * size) for i in range(count)]
    for header in (h for h in headers if h[1] == 2):  # SHT_SYMTAB
        names = headers[header[6]][4]
        for at in range(header[4], header[4] + header[5], 24):
            name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            if data[names + name:data.index(b"\0", names + name)] == wanted.encode():
                return value
    raise Problem("%s has no %s: it was not built with --define TRACE=PAGES" % (path, wanted))


class Ring:
    """What trace.c has left: `events`, oldest first; `written`, how many there were; `names` of the slots' last
    shards."""

    def __init__(self, ram, elf):
        layout = numbers("layout.h")
        shards, name_size = numbers("manifest.h")["MANIFEST_SHARDS"], numbers("manifest.h")["MANIFEST_NAME_MAX"] + 1
        with open(ram, "rb") as memory:
            at = symbol(elf, "trace_ring") - layout["IMAGE_BASE"]
            memory.seek(at)
            magic, pages, event_size, per_page, self.written = HEADER.unpack(memory.read(HEADER.size))
            if magic != MAGIC:
                raise Problem("the supervisor had not yet made its ring when the machine ended")
            if event_size != EVENT.size or per_page != PAGE // EVENT.size:
                raise Problem("trace.c and read.py do not know the same struct trace_event")
            names = memory.read(shards * name_size)
            self.names = [names[i:i + name_size].rstrip(b"\0").decode(errors="replace")
                          for i in range(0, len(names), name_size)]
            places = struct.unpack("<%dQ" % pages, memory.read(8 * pages))
            self.events = list(self.read_events(memory, places, per_page))
        self.lost = self.written - len(self.events)

    def read_events(self, memory, places, per_page):
        number = max(0, self.written - len(places) * per_page)
        while number < self.written:
            count = min(per_page - number % per_page, self.written - number)  # of those that stand in one page
            memory.seek(places[number // per_page % len(places)] + number % per_page * EVENT.size)
            yield from map(Event, EVENT.iter_unpack(memory.read(count * EVENT.size)))
            number += count


# ---- Time ----


class Clock:
    """Time stamps in microseconds since the first event. The ticks carry milliseconds, which says how fast the counter
    is."""

    def __init__(self, events):
        ticks = [(e.time, e.values[2]) for e in events if e.kind == "interrupt" and e.values[2]]
        self.start = events[0].time if events else 0
        self.known = len(ticks) > 1 and ticks[-1][1] - ticks[0][1] >= 10
        self.per_us = (ticks[-1][0] - ticks[0][0]) / (ticks[-1][1] - ticks[0][1]) / 1000 if self.known else 1000.0

    def us(self, time):
        """Returns whole nanoseconds, in microseconds, so that differences are exact in the file as well."""
        return microseconds((time - self.start) / self.per_us * 1000)


def microseconds(nanoseconds):
    """Returns whole nanoseconds as a number of microseconds that stays what it is for a reader who cuts off what is
    behind the nanosecond, as Perfetto does, and not only for one who rounds: slices that are neighbours would overlap
    for the former."""
    whole = round(nanoseconds)
    return whole / 1000 if int(whole / 1000 * 1000) == whole else math.nextafter(whole / 1000, math.inf)


# ---- Tracks ----


class Track:
    """A row of nested slices."""

    def __init__(self, out, tid):
        self.out, self.tid, self.open = out, tid, []

    def begin(self, at, name, category, **args):
        self.open.append((at, name, category, args))

    def end(self, at, lost=None, **more):
        """Ends the innermost slice. `lost`: (name, category) of one whose beginning the ring may have lost; it begins
        with the trace, and what is on the track already lies inside of it."""
        if lost and not self.open:
            self.begin(0, *lost, began="before the trace")
        if self.open:
            start, name, category, args = self.open.pop()
            self.out.append({"ph": "X", "pid": 1, "tid": self.tid, "ts": start,
                             "dur": microseconds((at - start) * 1000), "name": name,
                             "cat": category, "args": dict(args, **more)})

    def inside(self, category):
        """Returns whether the innermost slice is of this category."""
        return bool(self.open) and self.open[-1][2] == category

    def end_all(self, at, **more):
        while self.open:
            self.end(at, **more)

    def instant(self, at, name, category, **args):
        self.out.append({"ph": "i", "s": "t", "pid": 1, "tid": self.tid, "ts": at, "name": name, "cat": category,
                         "args": args})


class Converter:
    """Goes through the events in their order and writes trace events."""

    def __init__(self, ring):
        self.ring, self.clock, self.out = ring, Clock(ring.events), []
        self.calls = {number: name[4:] for name, number in numbers("coconut.h").items() if name.startswith("SYS_")}
        self.supervisor = numbers("manifest.h")["MANIFEST_SHARDS"]
        self.tracks, self.messages, self.flows = {}, {}, 0
        self.slots = dict(enumerate(ring.names))  # whose they are now
        self.lives, self.windows = {}, {}  # tracks of (slot, name) and of (domain, device address)
        self.cpu, self.interrupts = self.track(CPU, "CPU: who runs"), self.track(INTERRUPTS, "interrupts")

    def track(self, tid, name):
        if tid not in self.tracks:
            self.tracks[tid] = Track(self.out, tid)
            self.out.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": name}})
            self.out.append({"ph": "M", "pid": 1, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}})
        return self.tracks[tid]

    def name(self, slot):
        return "supervisor" if slot == self.supervisor else self.slots.get(slot) or "shard %d" % slot

    def of(self, slot):
        """Returns the track of a shard: one for each slot and name, since slots are used again."""
        if slot == self.supervisor:
            return self.track(FIRST_SHARD - 1, "supervisor's thread")
        key = (slot, self.name(slot))
        tid = self.lives.setdefault(key, FIRST_SHARD + len(self.lives))
        return self.track(tid, "shard %d: %s" % key)

    def window(self, event, rights=0):
        """Returns the track of what a domain maps at a device address."""
        key = (event.detail, event.values[0])
        tid = self.windows.setdefault(key, FIRST_WINDOW + len(self.windows))
        return self.track(tid, "DMA engine %d %s" % (event.detail, ("", "reads", "writes", "reads, writes")[rights]))

    def convert(self):
        """Returns all trace events."""
        self.out.append({"ph": "M", "pid": 1, "name": "process_name", "args": {"name": "coconutOS"}})
        at = 0
        for event in self.ring.events:
            at = self.clock.us(event.time)
            handler = getattr(self, "on_" + event.kind, None)
            if handler:
                handler(event, at)
        # what began with the last event has a length; chrome://tracing sees no less than 1 us
        end = microseconds((at + 1) * 1000)
        for track in list(self.tracks.values()):
            track.end_all(end, open="until the end of the trace")
        if self.ring.lost:
            self.cpu.instant(0, "%d earlier events were overwritten" % self.ring.lost, "ring")
        return self.out

    # -- one method a kind --

    def on_switch(self, event, at):
        state, wait, what = event.values
        left = self.of(event.shard)
        if STATES[state] == "blocked" and event.shard != self.supervisor:
            thing = "shard %d" % what if wait == 2 else "channel %d" % (what // 2) if wait in (0, 1) else ""
            left.begin(at, "blocked: %s %s" % (WAITS[wait], thing), "blocked")
        elif STATES[state] == "ready":
            left.begin(at, "preempted", "ready")
        self.cpu.end_all(at)
        self.cpu.begin(at, self.name(event.detail), "run", shard=event.detail)
        came = self.of(event.detail)
        if came.inside("blocked") or came.inside("ready"):
            came.end(at)

    def on_call(self, event, at):
        arguments = {"argument %d" % (i + 1): "0x%x" % value for i, value in enumerate(event.values)}
        self.of(event.shard).begin(at, self.calls.get(event.detail, "call %d" % event.detail), "call", **arguments)

    def on_return(self, event, at):
        result = event.values[0] - (1 << 64) if event.values[0] >> 63 else event.values[0]
        self.of(event.shard).end(at, (self.calls.get(event.detail, "call %d" % event.detail), "call"), result=result)

    def on_interrupt(self, event, at):
        self.interrupts.end_all(at)
        name = {32: "timer"}.get(event.detail, "vector %d" % event.detail)
        self.interrupts.begin(at, name, "interrupt", rip="0x%x" % event.values[0], ring=event.values[1],
                              interrupted=self.name(event.shard))

    def on_resume(self, _event, at):
        self.interrupts.end_all(at)

    def on_fault(self, event, at):
        rip, error, address = event.values
        args = {"vector": event.detail, "rip": "0x%x" % rip, "error": "0x%x" % error}
        if event.detail == 14:
            args["cr2"] = "0x%x" % address
        self.of(event.shard).instant(at, "fault: vector %d" % event.detail, "fault", **args)

    def on_send(self, event, at):
        self.flows += 1
        self.of(event.shard).instant(at, "message sent", "message", bytes=event.values[1], way=WAYS[event.detail])
        self.messages[event.values[0]] = self.flow(event, at, "s", self.flows)

    def on_receive(self, event, at):
        self.of(event.shard).instant(at, "message received", "message", bytes=event.values[1], way=WAYS[event.detail])
        sent = self.messages.pop(event.values[0], None)
        if sent:  # else the ring has lost the sending
            sent["kept"] = True
            self.flow(event, at, "f", sent["id"])["kept"] = True

    def flow(self, event, at, phase, number):
        """Appends an end of an arrow. An instant must stand before it: Perfetto ties an arrow to what began last on the
        track, and lets it go from the end that began first, which would be the call of a receiver who was waiting
        already."""
        arrow = {"ph": phase, "pid": 1, "tid": self.of(event.shard).tid, "ts": at, "id": number, "name": "message",
                 "cat": "message"}
        if phase == "f":
            arrow["bp"] = "e"
        self.out.append(arrow)
        return arrow

    def on_copy(self, event, at):
        self.of(event.shard).begin(at, "DMA copy", "dma", bytes=event.values[2], source="0x%x" % event.values[0],
                                   target="0x%x" % event.values[1])

    def on_copied(self, event, at):
        self.of(event.shard).end(at, ("DMA copy", "dma"), result=event.values[0])

    def on_map(self, event, at):
        rights = event.values[2] & 3
        self.window(event, rights).begin(at, "mapped", "dma", physical="0x%x" % event.values[1],
                                         pages=event.values[2] >> 2)

    def on_unmap(self, event, at):
        first, pages, _ = event.values
        for (domain, address), tid in self.windows.items():
            if domain == event.detail and first <= address < first + pages * PAGE:
                self.tracks[tid].end_all(at)

    def on_start(self, event, at):
        self.slots[event.detail] = struct.pack("<3Q", *event.values).rstrip(b"\0").decode(errors="replace")
        self.of(event.detail).instant(at, "start", "life")

    def on_end(self, event, at):
        track = self.of(event.shard)
        track.instant(at, "end", "life", code="killed" if event.values[1] else event.values[0])
        track.end_all(at)


def document(ring):
    """Returns what the file holds: arrows only where both ends are known; by time, and what begins together from the
    outside to the inside, since Perfetto drops a slice that reaches out of an earlier one."""
    converter = Converter(ring)
    events = [event for event in converter.convert() if event["ph"] not in "sf" or event.pop("kept", False)]
    events.sort(key=lambda event: (event.get("ts", -1), -event.get("dur", 0)))
    unit = "microseconds" if converter.clock.known else \
        "1000 steps of the time stamp counter: the trace is too short to know its rate"
    return {"traceEvents": events, "displayTimeUnit": "ms",
            "otherData": {"events": len(ring.events), "lost": ring.lost, "unit of ts": unit}}


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False,
                                     description="Turns what the recorder has left in a machine's memory into a trace.")
    for name in ("ram", "elf", "out"):
        parser.add_argument(name)
    options = parser.parse_args()
    gc.disable()  # nothing that is made here goes away before the end; to look for it is a quarter of the time
    try:
        ring = Ring(options.ram, options.elf)
    except struct.error:
        sys.exit("trace: there is none: the machine had no memory yet when it ended")
    except (Problem, OSError) as problem:
        sys.exit("trace: there is none: %s" % problem)
    try:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(json.dumps(document(ring)))  # json.dump() would write piece by piece, and take thrice the time
    except OSError as problem:
        sys.exit("trace: %s cannot be written: %s" % (options.out, problem.strerror))
    said = "trace: %d events in %s" % (len(ring.events), options.out)
    if ring.lost:
        said += "; the ring is full: the %d oldest were overwritten " % ring.lost + \
            "(build.sh --define TRACE=PAGES makes a larger one)"
    print(said, file=sys.stderr)


if __name__ == "__main__":
    main()
