"""How much of the supervisor's code the boots of the tests run through, in basic blocks.

The boots are those of other tests, which run with QEMU's log of translated code switched on, and some of inputs
that are here for the sake of a path that is rarely taken. What none of them reaches has its reason in
coverage_unreached.txt; a function that is not listed there must be reached in all of its blocks. The tests whose boots
count are left out of no run of this one: those that nobody has asked for are run by it.

Read next: coverage.py.
"""

import fnmatch
import glob
import importlib
import os
import re
import socket
import threading
import time

import coverage
import harness

NMI = 0x400  # the delivery mode, in the data of a message
LEAST = 90  # percent
REASONS = os.path.join("tests", "coverage_unreached.txt")

# Tests whose boots reach the most, for their time.
BORROWED = ["dma.target_dies", "dma.source_dies", "dma.stray", "dma.four_levels", "gpu.pair", "gpu.rights",
            "gpu.partitions", "gpu.no_iommu", "system.default_run", "system.panic", "attacks.calls", "attacks.channels",
            "attacks.console",
            "attacks.exhaustion", "attacks.state", "attacks.deadlock", "ipc.channels", "calls.memory", "calls.files",
            "calls.file_mappings", "calls.damaged_files", "calls.pledges", "calls.nomem", "life.restart", "life.after",
            "life.many_shards", "life.deadlock_of_two", "life.deadlock_of_three", "life.deadlock_through_after",
            "life.peer_cannot_start", "old.pipeline", "old.names", "faults.exceptions", "console.pieces",
            "console.open_line", "console.utf8",
            "system.missing_program", "system.bad_ramdisk", "system.bad_manifest", "gpu.residue", "gpu.ends",
            "ipc.capabilities", "system.triple_fault"]
BORROWED_FULL = ["attacks.kernel", "attacks.residue", "attacks.exceptions", "attacks.cycles",
                 "state.flags", "state.fpu", "ipc.integrity", "dma.machines", "dma.crowd", "gpu.no_edu",
                 "gpu.small_vram", "console.flood", "system.machine_pc", "system.provoked_uefi", "profile.death"]

# Every kind of mistake that a manifest can have, each in a boot of its own; the first ones differ in code most.
MISTAKES = [
    'shard a /t/ok frames=0', 'shard a /t/ok priority=top', 'shard a /t/ok after=z', "shard a /t/ok spawn=no",
    'shard a /t/ok args="x"y', 'shard a /t/ok args="\\n"', 'shard a /t/ok args="open',
    "shard a /t/ok frames=1 frames=2",
    "shard a /t/ok color=red", "shard a /t/ok word", "shard a%b /t/ok", "shard a t/ok", "shard a /t/ok\nshard a /t/ok",
    "shard a", "shard a /t/ok frames=9x", "shard a /t/ok restart=", "shard a /t/ok frames=99999999999", "#", "",
    "gpu a b", "gpu z", "shard a /t/ok\ngpu a\ngpu a", "shard a /t/ok\nchannel a a", "sard a /t/ok",
    "shard a /t/ok " + " ".join("y" for _ in range(20)), "shard a /t/ok \x01",
    'shard a /t/ok args="%s"' % ("x" * 4096), "shard a /" + "x" * 300,
]
PIPELINES = ["layers=0-1,2-3 ", "layer=0-1,2-3", "layers=0-1,3-3", "layers=1-0,1-3", "layers=0-,1-3",
             "layers=0-99999,1-3"]


def test_mistakes(t):
    """A mistake in the manifest, of every kind, ends in words and a status of 1 or 0."""
    pair = "shard a /t/ok\nshard b /t/ok\n"
    cases = MISTAKES + [pair + "pipeline a b " + layers for layers in PIPELINES]
    cases += [pair + "shard c /t/ok\nchannel a b\npipeline a b layers=0-1,2-3\npipeline b c layers=0-1,2-3",
              pair + "shard c /t/ok\n" + "channel a b\n" * 10 + "channel b c\n" * 7 + "channel c b",
              pair + "channel a b\n" * 17,
              "\n".join("shard s%d /t/ok" % i for i in range(65)), "shard a /t/ok # " + "x" * 30000]
    for case in cases:
        status = t.guest(case).status
        t.check(status in (0, 1), "status %d after the manifest %s" % (status, case[:100]))


def test_words(t):
    """Every word of the manifest, in a form that is right, and a command line that begins with blanks, make a run that
    ends."""
    t.guest(
        '# a comment\r\n\tshard a /t/ok frames=99 restart=2 spawn=yes priority=low args="a \\"b\\" \\\\ # c" # d\n'
        'gpu a\nshard b /t/ok after=a restart=12\ngpu b\nshard c /t/ok\nshard d /t/ok\n\nchannel a c\nchannel b a\n'
        'pipeline a b layers=0-12,13-65535\nchannel d c\npipeline c d layers=7-7,8-8\n',
        options=["-append", "  a quiet verbose"], expect=0)


def test_machines(t):
    """Machines and processors with more and with less than ours, and with as little memory as will do."""
    t.guest("shard a /t/ok", options=["-cpu", "qemu64"], verbose=True, expect=0)
    t.guest('shard a /t/spin args="20"', options=["-no-acpi"], verbose=True)
    bridge = ["-device", "pci-bridge,id=b,chassis_nr=1,addr=9", "-device", "pci-testdev,bus=b,addr=1", "-device",
              "nec-usb-xhci", "-device", "ich9-usb-ehci1,multifunction=on,addr=1d.7", "-device",
              "ich9-usb-uhci1,multifunction=on,addr=1d.0"]
    t.guest("shard a /t/ok", options=bridge, verbose=True, expect=0)
    t.guest("shard a /t/ok", options=["-machine", "pc"], expect=0)
    t.guest("shard a /t/ok", options=["-m", "11M"], expect=0)


def test_kin(t):
    """Shards that are killed by others than their parents, a program with a hole, and files that are damaged."""
    hole = os.path.join(t.scratch, "hole")
    with open(t.shard("ok"), "rb") as program, open(hole, "wb") as file:
        file.write(program.read())
        file.truncate(30000)
        file.seek(0, 2)
        file.write(b"end")
    lines = ['shard keeper /t/kin args="keeper" spawn=yes priority=low',
             'shard hunter /t/kin args="hunter" priority=high',
             'shard file /t/kin args="file"', "shard hole /hole", "shard directory /t", "shard damaged /damaged",
             "channel keeper hunter"]
    t.guest("\n".join(lines), files={"/hole": hole, "/damaged": b"d" * 9000},
            edits=["sif /damaged block[1] 0x7FFFFFFF"],
            verbose=True, expect=1)


def test_urgent(t):
    """A message to a shard that is more urgent takes the CPU from its sender, who is alone in its queue, in the middle
    of a turn."""
    result = t.guest('shard low /t/lock args="s0" priority=low\nshard high /t/lock args="r0" priority=high\nchannel '
                     'low high\n', expect=0)
    t.equal(list(result.endings()), ["high", "low"], "who ended first")


def inject(t, messages):
    """Sends interrupts to a shard that computes, each as the data of a message to the local APIC, through QEMU's port
    for device tests, and ends the machine."""
    with t.guest_monitor() as monitor:
        path = os.path.join(monitor.folder, "qtest")
        boot = t.start_guest('shard a /t/spin args="1000000"', options=monitor.options + [
            "-qtest", "unix:%s,server=on,wait=off" % path, "-qtest-log", "/dev/null"])
        monitor.connect()
        deadline = time.monotonic() + 300
        while "CPL=3" not in monitor.hmp("info registers"):
            t.check(time.monotonic() < deadline, "the shard did not run within 300 seconds")
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX) as port:
            port.settimeout(60)
            port.connect(path)
            for message in messages:
                port.sendall(b"writel 0xfee00000 0x%x\n" % message)
                port.recv(100)
                time.sleep(0.02)
        try:
            monitor.hmp("quit")
        except (harness.Failure, OSError):
            pass  # it was quick
        t.check("PANIC" not in boot.wait().text, "the supervisor panicked")


def test_stray(t):
    """Interrupts that nobody has asked for, of every vector and a non-maskable one. The supervisor does not acknowledge
    them, so that each keeps out those of its sixteen that come later."""
    for number in range(16):
        inject(t, [0x20 + number, 0x30 + number] if number else [NMI, 0x30, 0xFF])


def test_provoked(t):
    """Mistakes of the kernel: functions that are the same in these builds count."""
    attacks = importlib.import_module("test_attacks")
    for mistake in ("stack", "data_execute", "smap", "bad_return"):
        attacks.provoked_boot(t, mistake)


OWN = ["coverage." + name for name in ("mistakes", "words", "machines", "kin", "urgent", "stray", "provoked")]


def function_of(name):
    """Returns the function of a test, by its name on the command line of test.sh."""
    group, function = name.split(".")
    return getattr(importlib.import_module("test_" + group), "test_" + function)


def run_here(t, names):
    """Runs tests that are no part of this run of test.sh, two at a time. Returns what failed in them."""
    left, failures, lock = list(names), [], threading.Lock()

    def work():
        while True:
            with lock:
                if not left or harness.stopping():
                    return
                name = left.pop(0)
            scene = coverage.CoveredTest(t, name, coverage.shared)
            started = time.monotonic()
            try:
                function_of(name)(scene)
            except harness.Stopped:
                return
            except Exception as problem:
                scene.problems.append("%s: %s" % (name, problem))
            with lock:
                failures.extend(scene.problems)
                t.log("%s: %d boots, %.1f s" % (name, scene.boots, time.monotonic() - started))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if harness.stopping():
        raise harness.Stopped
    return failures


def reasons(t):
    """Returns [(pattern of functions, reason)] from the committed list."""
    found, source = [], ""
    for path in glob.glob(os.path.join(t.root, "*.c")) + [os.path.join(t.root, "boot.asm")]:
        with open(path, encoding="utf-8") as file:
            source += file.read()
    with open(os.path.join(t.root, REASONS), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                pattern, _, reason = line.partition(":")
                t.check(reason.strip(), "%s gives no reason for %s" % (REASONS, pattern))
                t.check("*" in pattern or re.search(r"\b%s\b" % re.escape(pattern.strip()), source),
                        "%s speaks of %s, which is no function" % (REASONS, pattern))
                found.append((pattern.strip(), reason.strip()))
    return found


def test_blocks(t):
    """At least 90 % of the supervisor's basic blocks are reached, and the others have a reason."""
    image = coverage.image_of("build")
    wanted = OWN + BORROWED + (BORROWED_FULL if t.full else [])
    failures = run_here(t, [name for name in wanted if name not in coverage.shared.names])
    coverage.shared.wait()
    missing = image.unreached(coverage.shared.reached)
    count = len(image.blocks) - sum(map(len, missing.values()))
    percent = 100 * count / len(image.blocks)
    known = reasons(t)
    lost = []
    for function, blocks in missing.items():
        reason = next((reason for pattern, reason in known if fnmatch.fnmatch(function, pattern)), None)
        total = sum(image.functions[block] == function for block in image.blocks)
        if not reason:
            lost.append("%s (%d of %d)" % (function, len(blocks), total))
        t.log("%-24s %3d of %3d unreached (%s): %s" % (function, len(blocks), total, reason or "no reason is given",
                                                       " ".join("%x" % block for block in blocks)))
    t.note("reached %d of %d blocks (%.1f %%)" % (count, len(image.blocks), percent))
    t.log(t.remark)
    t.check(percent >= LEAST, "%s, less than %d %%" % (t.remark, LEAST))
    t.check(not lost, "%s; %s gives no reason for blocks of %s" % (t.remark, REASONS, ", ".join(lost)))
    t.check(not failures, "%d borrowed tests failed, the first is %s" % (len(failures), failures[:1]))


test_blocks.last = True
test_blocks.wants = OWN + BORROWED + BORROWED_FULL
