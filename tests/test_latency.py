"""How long the supervisor keeps interrupts off, in instructions, for every call, and that no argument makes it longer.

QEMU writes down every instruction of the supervisor that it runs. Interrupts are off from the entry into the supervisor
to the return from it, but for the windows between `sti` and `cli`: a stretch is what lies between two of these points.
Each is counted for the call (or exception) that the supervisor is busy with, one of the timer's interrupt for that.

Read next: sched.c:preempt_point, which cuts long work into stretches.
"""

import bisect
import os
import re
import threading

LIMIT = 20000  # instructions: no stretch is longer, whatever the arguments
PAGES = 32     # of the smaller run; the larger one has three times as many


def symbols(t, elf):
    """Returns the addresses and the names of the supervisor's functions, and the addresses of its `sti` and `cli`."""
    table = []
    for line in t.sh(["nm", "-n", elf], expect=0).stdout.split("\n"):
        words = line.split()
        if len(words) == 3 and words[1] in "tT" and words[0].startswith("ffffffff8") and "." not in words[2]:
            table.append((int(words[0], 16), words[2]))
    listing = t.sh(["objdump", "-d", "--no-show-raw-insn", elf], expect=0).stdout
    windows = {int(found, 16) for found in re.findall(r"^(ffffffff\w+):\t(?:sti|cli)\b", listing, re.MULTILINE)}
    return [address for address, _ in table], [name for _, name in table], windows


class Trace:
    """Reads QEMU's log from a pipe and keeps the longest stretch of each cause."""

    def __init__(self, path, addresses, names, windows):
        self.path, self.addresses, self.names, self.windows = path, addresses, names, windows
        self.longest = {}
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        entry = {name: address for address, name in zip(self.addresses, self.names)}
        starts = {entry["syscall_entry"], entry["isr_common"]}
        causes = {address: name for address, name in zip(self.addresses, self.names)
                  if re.match(r"(handle_)?sys_|timer_interrupt$|fault_kill$|channel_deadlocks$|manifest_reap$", name)}
        length, cause, busy_with, running = 0, "start", "start", False
        with open(self.path, "rb") as log:
            for line in log:
                at = line.find(b"/")
                if not line.startswith(b"Trace") or at < 0:
                    continue
                address = int(line[at + 1:at + 17], 16)
                if address in starts or address in self.windows:
                    if running and length > self.longest.get(cause, 0):
                        self.longest[cause] = length
                    length, cause = 0, busy_with
                    running = running or address in starts
                if address in causes:
                    cause = causes[address]
                    if cause != "timer_interrupt":
                        busy_with = cause
                length += 1


def measure(t, pages):
    """Boots the latency shards with the given size of their work. Returns the longest stretch of each cause."""
    elf = os.path.join(t.root, "build", "supervisor.elf")
    addresses, names, windows = symbols(t, elf)
    pipe = os.path.join(t.scratch, "trace%d" % pages)
    os.mkfifo(pipe)
    trace = Trace(pipe, addresses, names, windows)
    first, last = addresses[0], addresses[-1] + 4096
    try:
        result = t.guest("shard latency /t/latency spawn=yes args=\"%d\"\nshard peer /t/latency args=\"peer\"\nchannel latency peer"
                         % (pages // 32), files={"/big": b"b" * (pages * 4096)}, timeout=300,
                         options=["--quiet", "-singlestep", "-d", "exec,nochain", "-dfilter", "0x%x..0x%x" % (first, last),
                                  "-D", pipe, "-icount", "shift=4,align=off,sleep=off"])
    finally:
        trace.thread.join(60)
    t.equal(result.status, 0, "exit status")
    return trace.longest


def test_interrupts_off(t):
    """No call, fault or interrupt keeps interrupts off for long, and its arguments do not matter."""
    small, large = measure(t, PAGES), measure(t, 3 * PAGES)
    for cause in sorted(large):
        t.log("%-24s %6d %6d" % (cause, small.get(cause, 0), large[cause]))
        t.check(large[cause] <= LIMIT, "%s keeps interrupts off for %d instructions" % (cause, large[cause]))
    for cause in ("sys_serial_write", "sys_mmap", "sys_munmap", "handle_sys_exit", "sys_fs_read", "sys_fs_map"):
        t.check(cause in large, "%s was not seen" % cause)
        t.check(large[cause] <= small[cause] * 1.25 + 200, "%s: three times the work takes %d instructions instead of %d"
                % (cause, large[cause], small[cause]))
    worst = max(large, key=large.get)
    t.note("longest: %s, %d instructions" % (worst, large[worst]))


test_interrupts_off.heavy = True
