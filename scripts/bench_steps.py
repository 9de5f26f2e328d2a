"""bench_steps.py: which function spends how many instructions on each operation of tests/bench/steps, and on the boot.

QEMU writes down every instruction that it executes (-singlestep -d exec); this file reads the trace while it is written
and counts by function. Run by `./bench.sh --steps`.

Read next: bench.py.
"""
import bisect
import collections
import json
import os
import re
import subprocess
import sys
import threading

from bench import OUT, ROOT, VARIANT, write_checkpoint

NAMES = ["null", "reject", "yield", "rtt8", "rtt256", "mmap", "munmap", "fsread4k", "life", "fault", "tick"]
PAIR = """shard lead /shards/steps spawn=yes args="lead"
shard follow /shards/steps args="follow"
channel lead follow
"""
TOKEN = 'shard token /shards/steps args="token model=/checkpoint"\n'
FIRST = "shard first /shards/first\n"
CODE = 0x100000 # shards' code lies below, the trampoline's above
DIGITS = 16  # of an address in QEMU's trace


def symbols(path):
    """Returns (addresses, names) of the functions in an ELF file, sorted. What gcc calls NAME.part.0 and the like is a
    piece or a copy of the function NAME; NASM's local labels NAME.label begin no function."""
    text = subprocess.run(["nm", "-n", path], capture_output=True, text=True, check=True).stdout
    found = [(int(a, 16), n.split(".")[0]) for a, kind, n in re.findall(r"^([0-9a-f]+) (\w) (\S+)$", text, re.M)
             if kind in "tT" and not n.startswith("image_") and
             re.search(r"^[^.]*$|\.(constprop|isra|part|cold)\b", n)]
    return [a for a, _ in found], [n for _, n in found]


class Counter:
    """Counts instructions by function. Those of ring 3 count as `ring 3`, or by function too."""

    def __init__(self, ring3_too):
        self.kernel, self.shard = symbols(ROOT / VARIANT / "supervisor.elf"), symbols(OUT / "steps.elf")
        self.ring3_too = ring3_too

    def name(self, pc):
        """Returns the function at an address."""
        if pc < CODE and not self.ring3_too:
            return "ring 3"
        addresses, names = self.shard if pc < CODE else self.kernel
        return names[bisect.bisect_right(addresses, pc) - 1]

    def by_function(self, counts):
        """Returns the counts of addresses, which are digits, as counts of functions."""
        found = collections.Counter()
        for digits, count in counts.items():
            found[self.name(int(digits, 16))] += count
        return found

    @staticmethod
    def addresses(trace):
        """Yields the address of every instruction, as the digits that QEMU writes: they are millions, of some thousand
        addresses."""
        for line in trace:  # Trace 0: PLACE [CS-BASE/ADDRESS/FLAGS...
            if line.startswith(b"Trace"):
                at = line.index(b"/") + 1
                yield line[at:at + DIGITS]

    def marked(self, trace):
        """Returns a count for each pair of marks."""
        marks = {name: b"%0*x" % (DIGITS, address) for address, name in zip(*self.shard)}
        begin, end = marks["mark_begin"], marks["mark_end"]
        result, now = [], None
        for pc in self.addresses(trace):
            if pc == begin:
                now = collections.defaultdict(int)
            elif pc == end and now is not None:
                result.append(self.by_function(now))
                now = None
            elif now is not None:
                now[pc] += 1
        return result

    def until_ring3(self, trace):
        """Returns a list of one count: from the entry to the first instruction of a shard."""
        now, first = collections.defaultdict(int), b"%0*x" % (DIGITS, CODE)
        addresses = self.addresses(trace)
        for pc in addresses:
            if pc < first:
                break
            now[pc] += 1
        for _ in addresses:  # to the end, so that QEMU can write it
            pass
        return [self.by_function(now)]


def run(manifest, programs, count, *options):
    """Boots with a manifest; returns what `count` makes of the trace."""
    pipe, found = OUT / "trace.pipe", []
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    path = OUT / "steps.manifest"
    path.write_text(manifest)

    def read():
        with open(pipe, "rb") as trace:
            found.extend(count(trace))

    reader = threading.Thread(target=read, daemon=True)  # it waits for ever for a QEMU that was not started
    reader.start()
    command = ["./run.sh", "--kernel", "--build", VARIANT, "--manifest", str(path), "-m", "128M",
               "-icount", "shift=0,align=off,sleep=off", "-singlestep", "-d", "exec,nochain", "-D", str(pipe),
               "-dfilter", "0xffffffff80200000+0x20000,0x200000+0x1000,0x1000+0xf000", *options]
    for name in programs:
        command += ["--add", f"{OUT}/{name}.bin:/shards/{name}"]
    status = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False).returncode
    if status:
        sys.exit(f"bench.sh: the steps ended with status {status}; see build/last.log")
    reader.join()
    pipe.unlink()
    return found


def print_steps():
    """Runs everything and prints the counts. bench.py has built what runs."""
    counts = run(PAIR, ["steps", "victim"], Counter(False).marked, "--quiet")
    if len(counts) != len(NAMES):
        sys.exit(f"bench.sh: {len(counts)} operations were traced, not {len(NAMES)}")
    found = dict(zip(NAMES, counts))
    found["boot"], = run(FIRST, ["first"], Counter(False).until_ring3)
    write_checkpoint(OUT / "checkpoint")
    found["token"], = run(TOKEN, ["steps"], Counter(True).marked, "--quiet", "--add", f"{OUT}/checkpoint:/checkpoint")
    for name, functions in found.items():
        print(f"{name}: {sum(functions.values())}")
        for function, instructions in functions.most_common():
            print(f"    {instructions:6} {function}")
    (ROOT / "build" / "bench_steps.json").write_text(json.dumps(found, indent=1) + "\n")
