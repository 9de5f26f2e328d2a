"""trace: what run.sh --trace writes, against what the kernel itself counts; and that the default build knows nothing of
it.

Read next: scripts/trace/trace.c.
"""

import glob
import json
import os
import re
import xml.etree.ElementTree as xml

import browser

MANIFEST = """shard faulty /t/debugged args="faulty" priority=high
shard giver /t/debugged args="giver"
shard taker /t/debugged args="taker" priority=low
shard source /shards/gpu-hal args="role=source peer=1 bytes=8192" after=taker
shard target /shards/gpu-hal args="role=target peer=0" priority=high after=taker
gpu source
gpu target
channel giver taker
channel source target
"""


def run(t, manifest, build, expect):
    """Runs the system with a trace. Returns (the Result, the trace)."""
    out = os.path.join(t.scratch, "trace.json")
    options = ["--trace", out] + (["--build", build] if build else [])
    result = t.boot(manifest=manifest, add={"/t/debugged": t.shard("debugged")} if manifest else None, options=options,
                    expect=expect)
    with open(out, encoding="utf-8") as file:
        return result, json.load(file)


def ns(microseconds):
    return round(microseconds * 1000)


def tracks(events):
    """Returns {name: tid}."""
    return {e["args"]["name"]: e["tid"] for e in events if e["name"] == "thread_name"}


def slices(events, tid, category=None):
    return [e for e in events if e["ph"] == "X" and e["tid"] == tid and category in (None, e["cat"])]


def check_nesting(t, events):
    """On each track two slices lie apart or one in the other."""
    for name, tid in tracks(events).items():
        ends = []
        for piece in sorted(slices(events, tid), key=lambda e: (e["ts"], -e["dur"])):
            start, end = ns(piece["ts"]), ns(piece["ts"]) + ns(piece["dur"])
            t.check(end >= start, "a slice of %s ends before it begins" % name)
            while ends and ends[-1] <= start:
                ends.pop()
            t.check(not ends or end <= ends[-1], "%s: %s begins in another slice and ends outside" % (name, piece))
            ends.append(end)


def check_flows(t, events):
    """Each arrow has one beginning and one end, in calls of different shards, and time goes forward. Returns their
    number."""
    begins = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}
    t.equal(len([e for e in events if e["ph"] in "sf"]), len(begins) + len(ends), "arrows with a number of their own")
    t.equal(set(begins), set(ends), "the arrows' ends")
    for number, begin in begins.items():
        end = ends[number]
        t.check(begin["ts"] <= end["ts"] and begin["tid"] != end["tid"],
                "arrow %d goes from %s to %s" % (number, begin, end))
        for arrow in (begin, end):
            around = [e for e in slices(events, arrow["tid"], "call") if "CHANNEL" in e["name"] and
                      ns(e["ts"]) <= ns(arrow["ts"]) <= ns(e["ts"]) + ns(e["dur"])]
            t.check(around, "an end of arrow %d lies in no call: %s" % (number, arrow))
    return len(begins)


def check_perfetto(t, events):
    """By the rules of Perfetto's importer (its slice_tracker.cc and flow_tracker.cc): it cuts times off behind the
    nanosecond; it drops a slice that reaches out of one before; it ties an arrow to the newest slice of the track,
    which may have ended, and takes the end whose slice began first for the sender. So no slice may be lost, and no
    arrow may stand on its head."""
    stacks, sent = {}, {}
    for event in sorted((e for e in events if e["ph"] in "Xisf"), key=lambda e: int(e["ts"] * 1000)):
        start, length = int(event["ts"] * 1000), int(event.get("dur", 0) * 1000)
        t.equal((start, length), (ns(event["ts"]), ns(event.get("dur", 0))), "the times of %s, cut off" % event)
        stack = stacks.setdefault(event["tid"], [])
        if event["ph"] in "Xi":
            while stack and (stack[-1][1] < start or stack[-1][1] == start and
                             not stack[-1][0] == stack[-1][1] == start + length):
                stack.pop()
            t.check(not stack or start + length <= stack[-1][1], "Perfetto drops %s" % event)
            stack.append((start, start + length, event["name"]))
        elif event["ph"] == "s":
            t.equal(stack[-1], (start, start, "message sent"), "what arrow %d begins at" % event["id"])
            sent[event["id"]] = start
        else:
            t.equal(stack[-1], (start, start, "message received"), "what arrow %d ends at" % event["id"])
            t.check(sent[event["id"]] <= start, "Perfetto turns arrow %d round" % event["id"])


def check_counts(t, result, events):
    """The calls and the turns on the CPU are as many as the profile has counted."""
    known = tracks(events)
    for name, row in result.profile().items():
        t.check("shard %d: %s" % (row["id"], name) in known, "%s has no track" % name)
        t.equal(len(slices(events, known["shard %d: %s" % (row["id"], name)], "call")), row["syscalls"],
                "the calls of " + name)
        turns = [e for e in slices(events, known["CPU: who runs"]) if e["name"] == name]
        t.equal(len(turns), row["switches"], "the turns of " + name)


def test_run(t):
    """The trace of a run: calls and turns as in the profile, messages as arrows, the fault, the DMA; and its
    picture."""
    result, trace = run(t, MANIFEST, None, 1)
    events, known = trace["traceEvents"], tracks(trace["traceEvents"])
    t.equal(trace["otherData"]["lost"], 0, "events lost")
    t.equal(trace["otherData"]["unit of ts"], "microseconds", "the unit of time")
    check_nesting(t, events)
    check_perfetto(t, events)
    check_counts(t, result, events)
    arrows = check_flows(t, events)
    taker = [e for e in events if e["name"] == "message received" and e["tid"] == known["shard 2: taker"]]
    t.equal([e["args"]["bytes"] for e in taker], [3, 5], "the messages to taker")
    t.check(arrows > 3, "only %d messages" % arrows)
    faults = [e for e in events if e.get("cat") == "fault"]
    t.equal([(e["tid"], e["args"]["vector"], e["args"]["cr2"]) for e in faults],
            [(known["shard 0: faulty"], 14, "0x8")], "the faults")
    for what in ("reads", "writes"):
        t.equal(len(slices(events, known["DMA engine 0 " + what])), 3,
                "windows of the engine: 8192 bytes in pieces of 4095")
    t.check([e for e in slices(events, known["interrupts"]) if e["name"] == "timer"], "no tick")
    t.equal([e["name"] for e in slices(events, known["shard 1: giver"], "blocked")], ["blocked: recv channel 0"],
            "giver's waits")
    check_picture(t, os.path.join(t.scratch, "trace.json"), known)
    t.note("%d events, %d arrows" % (trace["otherData"]["events"], arrows))


def check_picture(t, trace, known):
    """The SVG is whole, needs nothing else, names each track, and brings its own ground."""
    out = os.path.join(t.scratch, "trace.svg")
    t.sh(["scripts/trace/timeline.py", trace, out], expect=0)
    with open(out, encoding="utf-8") as file:
        text = file.read()
    root = xml.fromstring(text)
    t.check(not re.search(r"href|url\(|<image|<script|@import", text), "the picture needs something else")
    parts = list(root)
    t.check(parts[1].tag.endswith("rect") and parts[1].get("width") == root.get("viewBox").split()[2],
            "the picture has no ground")
    words = " ".join(root.itertext())
    for name in known:
        t.check(name in words or name == "supervisor's thread", "the picture lacks the lane of " + name)
    for color in {part.get("fill") for part in parts if part.tag.endswith("text")} - {"#ffffff"}:
        t.check(contrast(color, parts[1].get("fill")) >= 4.5, "text in %s cannot be read" % color)
    t.sh(["scripts/trace/timeline.py", trace, out, "--from", "1", "--to", "2"], expect=0)


def contrast(one, other):
    """Returns the contrast of two colours (WCAG 2.1, relative luminance)."""
    def luminance(color):
        parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


# ---- Trace Viewer ----

# What chrome://tracing is made of, without the browser around it. Debian's chromium has no chrome://tracing, but the
# sources of Go have the Trace Viewer, since `go tool trace` shows it: golang-1.19-src in Debian 12; newer versions keep
# it elsewhere.
VIEWERS = ("/usr/share/go-*/src/cmd/trace/static", "/usr/share/go-*/src/internal/trace/traceviewer/static")
PAGE = """<!doctype html>
<script src="%(folder)s/webcomponents.min.js"></script>
<link rel="import" href="%(folder)s/trace_viewer_full.html">
<style>html, body, #viewer { margin: 0; width: 100%%; height: 100%%; overflow: hidden }</style>
<body><script>
document.addEventListener('WebComponentsReady', () => {
  window.viewer = document.createElement('tr-ui-timeline-view');
  viewer.track_view_container = document.createElement('track-view-container');
  viewer.track_view_container.id = 'track_view_container';
  viewer.id = 'viewer';
  Polymer.dom(viewer).appendChild(viewer.track_view_container);
  Polymer.dom(document.body).appendChild(viewer);
});
async function show(text) {
  const model = new tr.Model();
  await new tr.importer.Import(model, new tr.importer.ImportOptions()).importTracesWithProgressDialog([text]);
  viewer.model = model;
  const thread = slice => slice && slice.parentContainer.tid;
  return {
    warnings: model.importWarnings.map(warning => warning.message),
    processes: model.getAllProcesses().map(process => process.name),
    threads: model.getAllThreads().map(thread => [thread.tid, thread.name, thread.sliceGroup.length,
                                                  thread.sliceGroup.topLevelSlices.length]),
    arrows: model.flowEvents.map(flow => [flow.start, flow.start + flow.duration, thread(flow.startSlice),
                                          thread(flow.endSlice), flow.startSlice.title, flow.endSlice.title]),
  };
}
</script>
"""


def test_viewer(t):
    """The Trace Viewer of chrome://tracing reads a trace without a warning, and has its tracks, slices and arrows."""
    folders = [folder for pattern in VIEWERS for folder in sorted(glob.glob(pattern)) if os.listdir(folder)]
    if not folders:
        t.skip("there is no Trace Viewer: Debian has it in golang-1.19-src")
    with browser.Browser(t) as page:
        _, trace = run(t, MANIFEST, None, 1)
        page.open("file://" + t.file("viewer.html", PAGE % {"folder": folders[-1]}))
        page.wait("typeof viewer == 'object'")
        model = page.js("show(%s)" % json.dumps(json.dumps(trace)))
        page.picture(os.path.join(t.scratch, "viewer.png"))
    check_model(t, model, trace["traceEvents"])
    t.note("%d tracks, %d slices, %d arrows; Perfetto itself was not run" % (
        len(model["threads"]), sum(row[2] for row in model["threads"]), len(model["arrows"])))


def check_model(t, model, events):
    """The viewer's model is what the file says."""
    t.equal(model["warnings"], [], "the viewer's warnings")
    t.equal(model["processes"], ["coconutOS"], "the processes")
    rows = [[tid, name, len([e for e in events if e["ph"] in "Xi" and e["tid"] == tid])]
            for name, tid in tracks(events).items()]
    t.equal(sorted(row[:3] for row in model["threads"]), sorted(row for row in rows if row[2]),
            "the tracks: number, name, slices")
    for tid, name, count, outer in model["threads"]:
        if name in ("CPU: who runs", "interrupts"):  # the viewer sees no less than a microsecond
            lasting = [e for e in slices(events, tid) if e["dur"] >= 1]
            t.check(len(lasting) <= outer, "%d of %d slices of %s lie in others" % (count - outer, count, name))
    ends = {phase: {e["id"]: e for e in events if e["ph"] == phase} for phase in "sf"}
    arrows = [[ns(ends[phase][number]["ts"]) for phase in "sf"] + [ends[phase][number]["tid"] for phase in "sf"]
              for number in ends["s"]]
    mine = [[round(start * 1e6), round(end * 1e6), sender, receiver]
            for start, end, sender, receiver, *_ in model["arrows"]]
    t.equal(sorted(mine), sorted(arrows), "the arrows: from when, to when, from whom, to whom")
    t.equal({tuple(arrow[4:]) for arrow in model["arrows"]}, {("message sent", "message received")},
            "what the arrows tie")


# ---- Other traces ----


def test_overflow(t):
    """A ring that is too small keeps the newest events, says how many are lost, and still knows the shards' names."""
    result, trace = run(t, MANIFEST, t.variant("trace-small", TRACE="1"), 1)
    lost, kept = trace["otherData"]["lost"], trace["otherData"]["events"]
    t.check(lost > 0 and kept == 4096 // 40, "%d lost, %d kept" % (lost, kept))
    t.check("%d oldest were overwritten" % lost in result.stderr, "nobody is told: " + result.stderr)
    events = trace["traceEvents"]
    t.check([e for e in events if e["ph"] == "i" and e["name"] == "%d earlier events were overwritten" % lost],
            "the trace does not say it")
    check_nesting(t, events)
    check_perfetto(t, events)
    check_flows(t, events)
    shards = [name for name in tracks(events) if name.startswith("shard ")]
    t.check("shard 3: source" in shards and all(name.split(": ")[1] in MANIFEST for name in shards),
            "the tracks: %s" % shards)


def test_panic(t):
    """A trace of a run that panics is written too, and ends with the fault."""
    _, trace = run(t, None, t.variant("trace-panic", TRACE="16", PROVOKE="PROVOKE_panic"), 2)
    faults = [e for e in trace["traceEvents"] if e.get("cat") == "fault"]
    t.equal([(e["args"]["vector"], e["args"]["cr2"]) for e in faults], [(14, "0xffffc00000000000")], "the faults")


def test_default_build(t):
    """The supervisor's own objects are the same code with and without the recorder, and the default image has none of
    it."""
    variant = t.variant("trace-small", TRACE="1")
    with open(os.path.join(t.root, variant, "symbols/first.elf.cmd"), encoding="utf-8") as file:
        words = file.readline().split()  # link_kernel OUT OBJECT...
    objects = [word for word in words[2:] if word.endswith(".o") and not word.endswith("/trace.o")]
    own = [word for word in words[2:] if word.startswith(variant + "/")]
    t.equal([os.path.relpath(word, variant) for word in own], ["trace.o"], "objects that it does not share")
    out = os.path.join(t.scratch, "supervisor.elf")
    t.sh(["ld", "-nostdlib", "-z", "max-page-size=4096", "-T", "supervisor.ld", "-o", out] + objects, expect=0)
    t.equal(text_of(t, out), text_of(t, "build/symbols/first.elf"), "the .text of both")
    t.check(text_of(t, os.path.join(variant, "supervisor.elf")) != text_of(t, out), "the variant has no recorder")
    symbols = t.sh(["nm", "build/supervisor.elf"], expect=0).stdout
    t.check("trace_ring" not in symbols and "__wrap" not in symbols, "the default image knows of the recorder")


def text_of(t, path):
    """Returns the instructions of an ELF file, sections .text and .text.boot, as bytes."""
    out = os.path.join(t.scratch, "text.bin")
    data = b""
    for section in (".text", ".text.boot"):
        t.sh(["objcopy", "-O", "binary", "-j", section, path, out], expect=0)
        with open(out, "rb") as file:
            data += file.read()
    return data


def turns(t, lines, work, options=()):
    """Runs the two shards of tests/shards/turns, which compute for `work` rounds after each message, and beside them
    what the lines of a manifest say. Returns the trace's events."""
    out = os.path.join(t.scratch, "trace.json")
    manifest = ['shard %s /t/turns args="%s %d"' % (role, role, work) for role in ("ask", "answer")]
    t.boot(manifest="\n".join(manifest + ["channel ask answer"] + lines),
           add={"/t/" + name: t.shard(name) for name in ("turns", "stream")}, options=["--trace", out, *options],
           expect=0)
    with open(out, encoding="utf-8") as file:
        trace = json.load(file)
    t.equal(trace["otherData"]["lost"], 0, "events lost")
    check_flows(t, trace["traceEvents"])
    return trace["traceEvents"]


def test_fast_path(t):
    """Two shards that CALL each other 40 times: each message is an arrow from its sender to its receiver, on the fast
    path too."""
    events = turns(t, [], 0)
    known, ends = tracks(events), {e["id"]: e for e in events if e["ph"] == "f"}
    said = {(e["tid"], e["ts"]): e["args"] for e in events if e["ph"] == "i" and e["cat"] == "message"}
    for sender, receiver, lengths in (("0: ask", "1: answer", range(1, 41)), ("1: answer", "0: ask", range(101, 141))):
        begins = [e for e in events if e["ph"] == "s" and e["tid"] == known["shard " + sender]]
        t.equal([said[e["tid"], e["ts"]]["bytes"] for e in begins], list(lengths), "the messages that %s sent" % sender)
        arrived = [(end["tid"], said[end["tid"], end["ts"]]["bytes"]) for end in (ends[e["id"]] for e in begins)]
        t.equal(arrived, [(known["shard " + receiver], length) for length in lengths],
                "where those of %s arrived" % sender)
        fast = [e for e in begins if said[e["tid"], e["ts"]]["way"] == "fast path"]
        t.check(len(fast) >= 30, "only %d of the messages of %s took the fast path: this test has hardly seen it" %
                (len(fast), sender))


# Of the test below. Time is the count of instructions, 32 ns each: a tick has about 31,000, and each run is the
# same.
ICOUNT = ["-icount", "shift=5,align=off,sleep=off"]
WORK = 10000  # rounds of the loop, three instructions each: about a tick
DUPLEX = 100  # messages that each of two shards sends to the other one, by SEND


def test_preempted(t):
    """A shard that received by the fast path, and that a tick has preempted since, does not count as one that waits for
    a message: when another one falls asleep to receive and the CPU goes back to it, nothing is sent. So the trace has
    as many messages as the shards send."""
    pair = ['shard %s /t/stream args="duplex %d 1"' % (name, DUPLEX) for name in ("left", "right")]
    events = turns(t, pair + ["channel left right"], WORK, ICOUNT)
    known = {name.split(": ")[1]: tid for name, tid in tracks(events).items() if name.startswith("shard ")}
    for what, asked, answered in (("message sent", 1, 101), ("message received", 101, 1)):
        bytes_of = {name: [e["args"]["bytes"] for e in events if e["name"] == what and e["tid"] == tid]
                    for name, tid in known.items()}
        t.equal(bytes_of["ask"], list(range(asked, asked + 40)), "ask: the bytes of each " + what)
        t.equal(bytes_of["answer"], list(range(answered, answered + 40)), "answer: the bytes of each " + what)
        t.equal([len(bytes_of[name]) for name in ("left", "right")], 2 * [DUPLEX], "left, right: how often " + what)
    seen = sum(back_by_sleep(events, known[name]) for name in ("ask", "answer"))
    t.check(seen >= 10, "the CPU went back so only %d times: this test has hardly seen it" % seen)
    t.note("the CPU went back so %d times" % seen)


def back_by_sleep(events, tid):
    """Returns how often a shard that was preempted outside of a call, and whose last message had come by the fast path,
    got the CPU back because another one fell asleep to receive."""
    count, asleep = 0, {ns(e["ts"]) for e in events if e["name"].startswith("blocked: recv") and e["tid"] != tid}
    messages = [e for e in events if e["ph"] == "i" and e["cat"] == "message" and e["tid"] == tid]
    calls = slices(events, tid, "call")
    for piece in slices(events, tid, "ready"):
        last = [e for e in messages if e["ts"] < piece["ts"]][-1:]
        received = last and (last[0]["name"], last[0]["args"]["way"]) == ("message received", "fast path")
        in_call = [e for e in calls if ns(e["ts"]) <= ns(piece["ts"]) < ns(e["ts"]) + ns(e["dur"])]
        count += bool(received and not in_call and ns(piece["ts"]) + ns(piece["dur"]) in asleep)
    return count


test_run.heavy = True
