#!/usr/bin/env python3
"""machine.py: boots the supervisor under Bochs, an x86-64 that others wrote than those of QEMU's TCG.

    tests/second/machine.py --ramdisk build/esp/ramdisk.img [--model NAME] [--words verbose]

makes a disk of the boot sector head.asm, the supervisor's image and the ramdisk, and starts Bochs on it. What the guest
says on its first serial port is printed at the end, and the exit status is that of run.sh: 0 every shard exited with 0,
1 one did not, 2 panic, 3 any other end, 4 Bochs could not be started, 124 time-out.

Bochs has no isa-debug-exit: its debugger stops at the instruction that writes to that port, and shows the value.
Read next: head.asm, tests/test_second.py.
"""

import argparse
import ctypes
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = os.path.join(ROOT, "tests", "second", "head.asm")
MODEL = "tigerlake"  # the newest that Debian's Bochs has
MEMORY = 256  # MiB
RAMDISK_BASE = 64 << 20
SECTOR = 512
CYLINDER = 16 * 63 * SECTOR  # Bochs wants a disk of whole cylinders
PT_LOAD = 1
PR_SET_PDEATHSIG = 1  # prctl(2)
LAST_LINE = "Halting.\n"
STARTED = "Next at t=0"  # what the debugger says first
OTHER_END, NOT_STARTED, TIMED_OUT = 3, 4, 124

# One guest instruction is 1 / SPEED seconds of guest time: the less, the sooner a wait is over.
SPEED = 20000000
CONFIGURATION = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model={model}, count=1, ips={speed}, reset_on_triple_fault=0, ignore_bad_msrs=0
megs: {memory}
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/vgabios/vgabios.bin
pci: enabled=1, chipset=i440fx
ata0-master: type=disk, path="{folder}/disk", mode=flat
boot: disk
com1: enabled=1, mode=file, dev="{folder}/console"
log: {folder}/log
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
sound: driver=dummy
speaker: enabled=0
clock: sync=none, time0=utc
"""


class Refused(Exception):
    """The machine cannot be started; says why."""


def output_of(command):
    """Returns what a command prints, as text."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise Refused("%s: %s" % (command[0], done.stderr.decode(errors="replace").strip()))
    return done.stdout.decode(errors="replace")


def read_image(elf):
    """Returns the supervisor as it lies in physical memory, and its physical address."""
    with open(elf, "rb") as file:
        data = file.read()
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQ", data, offset + i * size) for i in range(count)]
    parts = [header[2:] for header in headers if header[0] == PT_LOAD]  # offset, addresses, sizes in file and memory
    base = min(part[2] for part in parts)
    image = bytearray(max(part[2] + part[4] for part in parts) - base)
    for start, _, physical, length, _ in parts:
        image[physical - base:physical - base + length] = data[start:start + length]
    return bytes(image), base


def padded(data, unit):
    return data + bytes(-len(data) % unit)


def make_disk(path, elf, ramdisk, words):
    """Writes the disk that boots the supervisor with a ramdisk and the words of a command line."""
    image, base = read_image(elf)
    with open(ramdisk, "rb") as file:
        content = file.read()
    entry = int(re.search(r"^(\w+) \w pvh_start$", output_of(["nm", elf]), re.M).group(1), 16)
    values = {"ENTRY": entry, "IMAGE_BASE": base, "IMAGE_SECTORS": len(padded(image, SECTOR)) // SECTOR,
              "RAMDISK_BASE": RAMDISK_BASE, "RAMDISK_SECTORS": len(padded(content, SECTOR)) // SECTOR,
              "RAMDISK_SIZE": len(content), "WORDS": '"%s"' % words}
    output_of(["nasm", "-f", "bin", "-o", path + ".head", HEAD] + ["-D%s=%s" % item for item in values.items()])
    with open(path + ".head", "rb") as file:
        head = file.read()
    with open(path, "wb") as file:
        file.write(padded(head + padded(image, SECTOR) + content, CYLINDER))


def debug_exits(elf):
    """Returns the addresses of the instructions that write to the port of isa-debug-exit."""
    text = output_of(["objdump", "-d", "--no-show-raw-insn", elf])
    return [int(address, 16) for address in re.findall(r"^\s*([0-9a-f]+):\s+out +%e?a[xl],\$0xf4$", text, re.M)]


def debugger_commands(elf, options):
    """Returns what the debugger does: it looks at the stops that were asked for, and then runs the guest to its end."""
    exits = debug_exits(elf)
    symbols = dict(reversed(line.split()[::2]) for line in output_of(["nm", elf]).splitlines())
    commands = ["lb %#x" % address for address in exits] + ["lb 0x" + symbols[name] for name in options.watch]
    commands += (["c", "r"] + ["x /1gx " + expression for expression in options.show]) * options.stops
    commands += ["d %d" % (len(exits) + 1 + i) for i in range(len(options.watch))]
    return commands + ["c", "r", "q"]


def judge(said, console):
    """Returns the exit status of the run from what the debugger and the guest have said."""
    codes = {}
    with open(os.path.join(ROOT, "layout.h"), encoding="utf-8") as layout:
        for name, value in re.findall(r"^#define DEBUG_EXIT_(\w+)\s+(\w+)", layout.read(), re.M):
            codes[name] = int(value, 0)
    found = re.findall(r"^rax: \w+_(\w+)", said, re.M)
    status = {codes["OK"]: 0 if console.endswith(LAST_LINE) else OTHER_END, codes["FAILED"]: 1, codes["PANIC"]: 2}
    return status.get(int(found[-1], 16) & 0xFF, OTHER_END) if found else OTHER_END


def die_with(parent):
    """Makes the kernel end this process when its parent is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before that
        os._exit(1)


def run_bochs(folder, timeout):
    """Runs Bochs until the guest has ended. Returns whether it did so in time."""
    command = ["bochs", "-q", "-f", os.path.join(folder, "rc"), "-rc", os.path.join(folder, "commands")]
    parent = os.getpid()
    with open(os.path.join(folder, "said"), "wb") as said:
        try:
            bochs = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                                     preexec_fn=lambda: die_with(parent))
        except OSError as problem:
            raise Refused("%s: %s" % (command[0], problem.strerror)) from None
        try:
            bochs.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        finally:
            bochs.kill()
            bochs.wait()
    return True


def text_of(path):
    """Returns what a file holds, nothing when there is none."""
    if not os.path.exists(path):
        return ""
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


def run(options, folder):
    """Boots the supervisor, prints what it says and returns the exit status."""
    elf, disk = os.path.join(options.build, "supervisor.elf"), os.path.join(folder, "disk")
    make_disk(disk, elf, options.ramdisk, options.words)
    with open(os.path.join(folder, "rc"), "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(folder=folder, model=options.model, speed=SPEED, memory=MEMORY))
    with open(os.path.join(folder, "commands"), "w", encoding="utf-8") as file:
        file.write("\n".join(debugger_commands(elf, options)) + "\n")
    try:
        in_time = run_bochs(folder, options.timeout)
    finally:
        os.remove(disk)
    console, said = text_of(os.path.join(folder, "console")), text_of(os.path.join(folder, "said"))
    if STARTED not in said:
        raise Refused("Bochs does not start: " + (re.findall(r">>PANIC<< (.*)", said) or ["it gives no reason"])[-1])
    sys.stdout.buffer.write(console.encode())
    sys.stdout.flush()
    return judge(said, console) if in_time else TIMED_OUT


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Boots the supervisor under Bochs.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="the folder of the build")
    parser.add_argument("--ramdisk", required=True, help="the ramdisk's image")
    parser.add_argument("--words", default="", help="the command line of the supervisor")
    parser.add_argument("--model", default=MODEL, help="of the processor; `bochs --help cpu` lists them")
    parser.add_argument("--timeout", type=int, default=600, help="seconds until the run is given up")
    parser.add_argument("--watch", metavar="SYMBOL", action="append", default=[], help="stop where this begins")
    parser.add_argument("--stops", metavar="N", type=int, default=0, help="show so many stops, in FOLDER/said")
    parser.add_argument("--show", metavar="EXPRESSION", action="append", default=[], help="and this word of memory")
    parser.add_argument("--keep", metavar="FOLDER", help="where the logs of the run stay")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    folder = options.keep or tempfile.mkdtemp(prefix="coconut-bochs-")
    try:
        os.makedirs(folder, exist_ok=True)
        return run(options, folder)
    except Refused as problem:
        print("machine.py: %s" % problem, file=sys.stderr)
        return NOT_STARTED
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
