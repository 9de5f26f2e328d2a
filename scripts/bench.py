#!/usr/bin/env python3
"""bench.py: builds the benchmark shards, runs them under -icount and prints the table. bench.sh starts it.

The benchmark build differs from the product in one bit: ring 3 may read the time stamp counter (CR4.TSD is off).

Every figure but the sizes is a number of guest instructions: QEMU counts them exactly, so two runs give the same
figures on any machine that has the same compiler and QEMU. The figures go to stdout, as `BENCH name value` lines and
as a table beside those of other systems (scripts/bench_peers.json says how they were measured), and to
build/bench.json.

Read next: tests/bench/bench/main.c for what is measured.
"""
import argparse
import glob
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys

import stdout

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
VARIANT = "build/variants/bench"
SHARDS = ["bench", "peer", "crowd", "victim", "first", "token", "steps"]
ICOUNT = ["-icount", "shift=0,align=off,sleep=off"]
MEMORY = 128 # MiB
ORDER = ["null", "reject", "yield", "rtt8", "rtt8_2pairs", "rtt8_30pairs", "rtt8_yielder", "rtt8_requests",
         "rtt8_replies", "rtt256", "mmap1", "fsread4k", "fault", "life", "tick", "boot", "token"]
# The shape of the checkpoint that `token` runs: dim, hidden, layers, heads, KV heads, vocabulary, context.
SHAPE = (64, 172, 5, 8, 4, 512, 256)


def command(*words):
    """Runs a command whose failure ends the benchmark."""
    status = subprocess.run(words, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(f"bench.sh: {words[0]} failed with status {status}")


def build():
    """Builds the system, the benchmark build and its shards."""
    command("./build.sh")
    command("./build.sh", "--out", VARIANT, "--define", "ABLATION=ABLATION_tsd")
    for name in SHARDS:
        command("scripts/build-shard.sh", f"tests/bench/{name}", OUT, name)


def boot(manifest, programs, *options, memory=MEMORY):
    """Boots the benchmark build with a manifest and programs of build/bench/; returns the console's text."""
    path = OUT / "manifest"
    path.write_text(manifest)
    words = ["./run.sh", "--kernel", "--build", VARIANT, "--manifest", str(path), "--timeout", "600"]
    for name in programs:
        words += ["--add", f"{OUT}/{name}.bin:/shards/{name}"]
    result = subprocess.run(words + list(options) + ICOUNT + ["-m", f"{memory}M"], cwd=ROOT, stdout=subprocess.PIPE,
                            check=False)
    if result.returncode != 0:
        sys.exit(f"bench.sh: the run failed with status {result.returncode}; its log is build/last.log")
    return result.stdout.decode(errors="replace")


def figures(text):
    """Returns the figures that a benchmark shard printed."""
    return {name: int(value) for name, value in re.findall(r"^BENCH (\w+) (\d+)$", text, re.MULTILINE)}


def write_checkpoint(path):
    """Writes a checkpoint of SHAPE with random weights from a fixed seed."""
    dim, hidden, layers, heads, kv_heads, vocab, seq = SHAPE
    kv_dim = dim * kv_heads // heads
    layer = 2 * dim + 2 * dim * dim + 2 * dim * kv_dim + 3 * dim * hidden
    count = vocab * dim + layers * layer + dim
    state, values = 1, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 40) / 2**24 * 0.2 - 0.1)
    rope = [1.0] * (seq * dim // heads // 2) + [0.0] * (seq * dim // heads // 2)
    path.write_bytes(struct.pack("<7i", *SHAPE) + struct.pack(f"<{count + len(rope)}f", *values, *rope))


def boot_pair(others):
    """Boots the two shards that measure, and others of a lower priority, which wait until these are done."""
    pair = "shard bench /shards/bench spawn=yes\nshard peer /shards/peer\nchannel bench peer\n"
    idle = "".join(f"shard idle{i} /shards/first priority=low\n" for i in range(others))
    return boot(pair + idle, ["bench", "peer", "victim", "first"], "--quiet")


def boot_loaded(pairs=0, yielders=0):
    """Returns the cost of a round trip beside other pairs that make them, and shards that yield, all of one
    priority."""
    lines = ["shard bench /shards/bench args=loaded", "shard peer /shards/peer", "channel bench peer"]
    for i in range(pairs):
        lines += [f"shard {side}{i} /shards/crowd args={side}"
                  for side in ("ask", "answer")] + [f"channel ask{i} answer{i}"]
    lines += [f"shard yield{i} /shards/crowd args=yield" for i in range(yielders)]
    text = boot("\n".join(lines) + "\n", ["bench", "peer", "crowd"], "--quiet")
    return figures(text)["rtt8_loaded"]


def boot_cost(memory=MEMORY):
    """Returns the instructions from the entry to the first of a shard."""
    default = "shard first /shards/first\n"
    first = figures(boot(default, ["first"], memory=memory))["first"]
    entered = re.search(r"^Entered at time stamp (\d+)$", boot(default, ["first"], "--verbose", memory=memory),
                        re.MULTILINE)
    return first - int(entered.group(1))


def measure():
    """Runs everything; returns the figures by name, and the tables of how they grow."""
    text = boot_pair(0)
    found = figures(text)
    growth = [f"{what} of {size}: {cost}" for what, size, cost in re.findall(r"^GROWTH (\w+) (\d+) (\d+)$", text,
                                                                             re.MULTILINE)]
    for shards in (16, 64):
        crowd = figures(boot_pair(shards - 3))
        growth += [f"{name} with {shards} shards: {crowd[name]} (with 2: {found[name]})"
                   for name in ("yield", "rtt8", "life")]
    found["rtt8_2pairs"], found["rtt8_30pairs"] = boot_loaded(pairs=2), boot_loaded(pairs=30)
    found["rtt8_yielder"] = boot_loaded(yielders=1)
    found["boot"] = boot_cost()
    growth += [f"boot with {memory} MiB: {boot_cost(memory)} (with {MEMORY}: {found['boot']})"
               for memory in (512, 2048)]
    write_checkpoint(OUT / "checkpoint")
    token = 'shard token /shards/token args="model=/checkpoint"\n'
    found.update(figures(boot(token, ["token"], "--quiet", "--add", f"{OUT}/checkpoint:/checkpoint")))
    return found, growth


def sizes():
    """Returns the bytes of code of the supervisor, and the lines of its source that are neither blank nor comment."""
    sys.path.insert(0, str(ROOT / "tests"))
    from test_image import code_lines
    table = subprocess.run(["size", "-A", "build/supervisor.elf"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout
    text = int(re.search(r"^\.text +(\d+)", table, re.MULTILINE).group(1))
    files = sorted(path for kind in ("c", "h", "asm") for path in glob.glob(os.path.join(ROOT, "*." + kind)))
    return text, sum(code_lines(path) for path in files)


def compiler():
    """Returns the name and version of the compiler: another one makes other figures."""
    return subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


def ratio(value, peer):
    """Returns how our figure compares with a peer's, as text."""
    return f"{peer:,} ({value / peer:.2f}x)" if peer else "-"


def interrupt(number, _frame):
    """Ends the benchmark; what it has started, the leash of bench.sh ends."""
    print("bench.sh: interrupted", file=sys.stderr, flush=True)
    os._exit(128 + number)


def print_table():
    """Measures everything and prints it."""
    found, growth = measure()
    missing = [name for name in ORDER if name not in found]
    if missing:
        sys.exit(f"bench.sh: no figure for {', '.join(missing)}; see build/last.log")
    peers = json.loads((ROOT / "scripts" / "bench_peers.json").read_text())
    for name in ORDER:
        print(f"BENCH {name} {found[name]}")
    print(f"\n{'operation':12} {'coconutOS':>10} {'goal':>9}", *(f"{peer:>18}" for peer in peers["systems"]))
    for name in ORDER:
        row = peers["rows"][name]
        cells = [ratio(found[name], row.get(peer)) for peer in peers["systems"]]
        print(f"{name:12} {found[name]:10,} {row['goal']:9,}", *(f"{cell:>18}" for cell in cells))
    print("\nHow the costs grow, in instructions:", *growth, sep="\n  ")
    text, lines = sizes()
    print(f"\nsupervisor: {text:,} bytes of code (goal 57,344), {lines:,} lines of source at the top level (goal "
          f"5,500)")
    result = {"compiler": compiler(), "figures": found, "growth": growth, "text": text, "lines": lines}
    (ROOT / "build" / "bench.json").write_text(json.dumps(result, indent=1) + "\n")


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads may go away
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="bench.sh",
                                     description="Prints what each operation costs, in guest instructions.")
    parser.add_argument("--steps", action="store_true",
                        help="print which function of the kernel spends how many of them")
    parser.error = lambda text: parser.exit(2, f"bench.sh: {text}; --help lists the options.\n")
    options = parser.parse_args()
    build()
    if options.steps:
        import bench_steps  # pylint: disable=import-outside-toplevel
        bench_steps.print_steps()
    else:
        print_table()


if __name__ == "__main__":
    stdout.run("bench.sh", main)
