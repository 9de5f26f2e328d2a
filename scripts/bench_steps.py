"""bench_steps.py: which function of the kernel spends how many instructions on each operation of tests/bench/steps.

QEMU writes down every instruction that it executes (-singlestep -d exec); this file reads the trace while it is written
and counts by function. Run by `./bench.sh --steps`.

Read next: bench.py.
"""
import bisect
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "bench"
NAMES = ["null", "reject", "yield", "rtt8", "rtt256", "mmap", "munmap", "fsread4k"]
MANIFEST = """shard lead /shards/steps args="lead"
shard follow /shards/steps args="follow"
channel lead follow
"""


def symbols(path):
    """Returns (addresses, names) of the functions in an ELF file, sorted."""
    text = subprocess.run(["nm", "-n", path], capture_output=True, text=True, check=True).stdout
    found = [(int(a, 16), n.split(".")[0]) for a, kind, n in re.findall(r"^([0-9a-f]+) (\w) (\S+)$", text, re.M)
             if kind in "tT" and not n.startswith("image_") and "." not in n.split("syscall_entry")[0].split("isr_common")[0]]
    return [a for a, _ in found], [n for _, n in found]


def count(trace, build):
    """Returns {operation: {function: instructions}}. Instructions of shards count as `ring 3`."""
    kernel, names = symbols(ROOT / build / "supervisor.elf")
    shard = dict(zip(*reversed(symbols(OUT / "steps.elf"))))
    begin, end = shard["mark_begin"], shard["mark_end"]
    result, now = {}, None
    for line in trace:
        match = re.match(r"Trace \d+: \S+ \[\w+/(\w+)/", line)
        if not match:
            continue
        pc = int(match.group(1), 16)
        if pc == begin:
            now = collections.Counter()
        elif pc == end and now is not None:
            result[NAMES[len(result)]] = now
            now = None
        elif now is not None:
            now[names[bisect.bisect_right(kernel, pc) - 1] if pc >= kernel[0] and pc >= 1 << 63 else "ring 3"] += 1
    return result


def steps(build):
    """Boots the steps and returns their counts."""
    pipe, found = OUT / "trace.pipe", {}
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    manifest = OUT / "steps.manifest"
    manifest.write_text(MANIFEST)
    reader = threading.Thread(target=lambda: found.update(count(open(pipe, errors="replace"), build)))
    reader.start()
    command = ["./run.sh", "--kernel", "--build", build, "--quiet", "--manifest", str(manifest), "--add",
               f"{OUT}/steps.bin:/shards/steps", "-m", "128M", "-icount", "shift=0,align=off,sleep=off", "-singlestep",
               "-d", "exec,nochain", "-D", str(pipe), "-dfilter", "0xffffffff80200000+0x20000,0x1000+0x1000"]
    status = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False).returncode
    reader.join()
    pipe.unlink()
    if status or list(found) != NAMES:
        sys.exit(f"bench: the steps ended with status {status} after {list(found)}")
    return found


def main():
    found = steps("build/variants/bench")
    for name, functions in found.items():
        print(f"{name}: {sum(functions.values())}")
        for function, instructions in functions.most_common():
            print(f"    {instructions:5} {function}")
    (ROOT / "build" / "bench_steps.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
