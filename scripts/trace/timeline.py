#!/usr/bin/env python3
"""timeline.py TRACE OUT.svg [--from MS] [--to MS]: draws a trace of run.sh --trace as one SVG, which needs nothing
else.

A lane for each track, nested slices inside of each other, messages as lines from sender to receiver. The picture brings
its own ground, so it reads the same on a white and on a dark page. Slices too narrow to be seen are drawn together.

Read next: read.py, which writes the trace.
"""

import argparse
import html
import json
import math
import sys

WIDTH, LEFT, RIGHT, TOP = 1200, 190, 20, 64
LANE, GAP, INSET = 26, 6, 4
THIN = 0.6  # pixels: narrower slices next to each other become one
LABEL = 6.2  # pixels of a character
GROUND, PAPER, INK, QUIET = "#f6f4ee", "#ffffff", "#22262b", "#5c6570"
COLORS = {"run": "#3a6ea5", "call": "#3f8f5f", "blocked": "#d9d3c3", "ready": "#e3b341", "interrupt": "#8a8f98",
          "fault": "#b3372f",
          "dma": "#7a4fa3"}
WORDS = {"run": "has the CPU", "call": "system call", "blocked": "blocked", "ready": "preempted",
         "interrupt": "interrupt", "dma": "DMA"}
MESSAGE, IDLE = "#b3372f", "#a9bfd6"


class Lane:
    """A track and where it is drawn."""

    def __init__(self, name, number):
        self.name, self.y, self.slices, self.marks = name, TOP + number * (LANE + GAP), [], []


def lanes_of(events):
    """Returns {tid: Lane}, in the order of the tracks."""
    used = {e["tid"] for e in events if e["ph"] in "Xi"}
    names = {e["tid"]: e["args"]["name"] for e in events if e.get("name") == "thread_name" and e["tid"] in used}
    lanes = {tid: Lane(names[tid], number) for number, tid in enumerate(sorted(names))}
    for event in events:
        if event["ph"] == "X":
            lanes[event["tid"]].slices.append(event)
        elif event["ph"] == "i":
            lanes[event["tid"]].marks.append(event)
    return lanes


def with_depth(slices):
    """Yields (slice, how many others it lies in)."""
    ends = []
    for piece in sorted(slices, key=lambda e: (e["ts"], -e["dur"])):
        start = round(piece["ts"] * 1000)  # nanoseconds, which are whole
        while ends and ends[-1] <= start:
            ends.pop()
        yield piece, len(ends)
        ends.append(start + round(piece["dur"] * 1000))


class Timeline:
    """The picture."""

    def __init__(self, trace, first, last):
        self.events = trace["traceEvents"]
        self.lost = trace.get("otherData", {}).get("lost", 0)
        times = [e["ts"] + e.get("dur", 0) for e in self.events if "ts" in e]
        self.first = first * 1000 if first is not None else 0
        self.last = max(self.first + 1, last * 1000 if last is not None else max(times, default=1))
        self.lanes, self.parts = lanes_of(self.events), []
        self.height = TOP + len(self.lanes) * (LANE + GAP) + 40

    def x(self, time):
        return LEFT + (time - self.first) * (WIDTH - LEFT - RIGHT) / (self.last - self.first)

    def visible(self, event):
        return event["ts"] <= self.last and event["ts"] + event.get("dur", 0) >= self.first

    def rect(self, x, y, width, height, color, title=""):
        hint = "<title>%s</title>" % html.escape(title) if title else ""
        self.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s">%s</rect>' % (x, y, width,
                                                                                                      height, color,
                                                                                                      hint))

    def text(self, x, y, words, color=INK, size=12, anchor="start"):
        self.parts.append('<text x="%.1f" y="%.1f" fill="%s" font-size="%d" text-anchor="%s">%s</text>'
                          % (x, y, color, size, anchor, html.escape(words)))

    def draw_axis(self):
        span = (self.last - self.first) / 1000  # ms
        step = 10 ** len(str(int(span / 10))) if span >= 10 else 1
        step = next(s for s in (step / 10, step / 5, step / 2, step, 2 * step) if span / s <= 12)
        bottom = self.height - 34
        at = self.first / 1000 // step * step
        while at * 1000 <= self.last:
            if at * 1000 >= self.first:
                x = self.x(at * 1000)
                self.parts.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#dcd7ca"/>' % (x, TOP - 8, x,
                                                                                                    bottom))
                self.text(x, TOP - 14, "%g ms" % round(at, 3), QUIET, 11, "middle")
            at += step

    def draw_lane(self, lane):
        self.text(LEFT - 10, lane.y + LANE / 2 + 4, lane.name, anchor="end")
        self.rect(LEFT, lane.y, WIDTH - LEFT - RIGHT, LANE, PAPER)
        pending = {}  # (depth, category): [x, end, count, title] of a narrow one that may grow
        for piece, depth in with_depth(e for e in lane.slices if self.visible(e)):
            x, end = max(LEFT, self.x(piece["ts"])), min(WIDTH - RIGHT, self.x(piece["ts"] + piece["dur"]))
            key, title = (depth, piece["cat"]), "%s, %.3f ms" % (piece["name"], piece["dur"] / 1000)
            if end - x < THIN:
                narrow = pending.get(key)
                if narrow and x - narrow[1] < THIN:
                    narrow[1], narrow[2] = max(narrow[1], end), narrow[2] + 1
                    continue
                self.flush(lane, key, narrow)
                pending[key] = [x, end, 1, title]
                continue
            self.draw_slice(lane, depth, piece["cat"], x, end, title, piece["name"])
        for key, narrow in pending.items():
            self.flush(lane, key, narrow)
        for mark in (e for e in lane.marks if self.visible(e) and e["cat"] == "fault"):
            x = self.x(mark["ts"])
            self.parts.append('<path d="M%.1f %d l6 -9 h-12 z" fill="%s"><title>%s</title></path>'
                              % (x, lane.y + 9, COLORS["fault"], html.escape(mark["name"])))

    def flush(self, lane, key, narrow):
        if narrow:
            x, end, count, title = narrow
            self.draw_slice(lane, key[0], key[1], x, max(end, x + THIN), title if count == 1 else "%d of these" % count,
                            "")

    def draw_slice(self, lane, depth, category, x, end, title, label):
        inset = min(depth * INSET, LANE - 8)
        self.rect(x, lane.y + inset, end - x, LANE - inset,
                  IDLE if label == "supervisor" else COLORS.get(category, QUIET), title)
        if label and end - x > LABEL * len(label) + 8 and (depth == 0 or category == "blocked"):
            light = category in ("blocked", "ready")
            self.text(x + 4, lane.y + LANE / 2 + 4 + inset / 2, label, INK if light else PAPER, 11)

    def draw_messages(self):
        sent = {e["id"]: e for e in self.events if e["ph"] == "s"}
        for event in (e for e in self.events if e["ph"] == "f" and e["id"] in sent):
            start = sent[event["id"]]
            if start["ts"] > self.last or event["ts"] < self.first:
                continue
            above, below = self.lanes[start["tid"]].y + LANE / 2, self.lanes[event["tid"]].y + LANE / 2
            self.parts.append('<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="0.8" '
                              'opacity="0.7"/>'
                              % (self.x(start["ts"]), above, self.x(event["ts"]), below, MESSAGE))

    def draw_legend(self):
        x, y = LEFT, self.height - 14
        for category, words in list(WORDS.items()) + [("message", "message from shard to shard")]:
            self.rect(x, y - 9, 11, 11, COLORS.get(category, MESSAGE))
            self.text(x + 16, y, words, INK, 12)
            x += 34 + LABEL * 1.1 * len(words)

    def draw(self):
        """Returns the text of the SVG."""
        title = "%.3f ms to %.3f ms" % (self.first / 1000, self.last / 1000)
        if self.lost:
            title += "; the ring has lost %d earlier events" % self.lost
        self.text(24, 28, "coconutOS: who did what, when", size=15)
        self.text(WIDTH - RIGHT, 28, title, QUIET, 12, "end")
        for lane in self.lanes.values():
            self.draw_lane(lane)
        self.draw_axis()
        self.draw_messages()
        self.draw_legend()
        return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" role="img">\n'
                '<title>%s</title>\n'
                '<rect width="%d" height="%d" rx="10" fill="%s"/>\n%s\n</svg>\n'
                % (WIDTH, self.height, html.escape("A timeline of coconutOS, " + title), WIDTH, self.height, GROUND,
                   "\n".join(self.parts)))


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Draws a trace of run.sh --trace as an SVG.")
    parser.add_argument("trace")
    parser.add_argument("out")
    parser.add_argument("--from", dest="first", type=float, metavar="MS", help="where the picture begins")
    parser.add_argument("--to", dest="last", type=float, metavar="MS", help="where it ends")
    parser.error = lambda text: parser.exit(2, "timeline.py: %s; -h says more\n" % text)
    options = parser.parse_args()
    if not all(map(math.isfinite, filter(None, (options.first, options.last)))):
        parser.error("--from and --to need numbers of milliseconds")
    try:
        with open(options.trace, encoding="utf-8") as file:
            picture = Timeline(json.load(file), options.first, options.last).draw()
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(picture)
    except OSError as problem:
        sys.exit("timeline.py: %s: %s" % (problem.filename or options.out, problem.strerror))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sys.exit("timeline.py: %s is no trace that run.sh --trace has written" % options.trace)


if __name__ == "__main__":
    main()
