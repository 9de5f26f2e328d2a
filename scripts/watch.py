#!/usr/bin/env python3
"""watch.py: runs QEMU for run.sh, passes the guest's console on, and judges how the run ended.

The guest's first serial port is a pipe that this script reads: what arrives goes to stdout and to serial.log at once,
byte for byte. With --firmware everything before the loader's first `[BOOT]` goes to firmware.log instead, because
UEFI firmware draws menus and clears screens on the serial port.

With --console FILE stdout gets nothing of it: QEMU itself writes all that the guest says to FILE, the firmware's pictures too.
So whenever gdb has stopped the machine, FILE holds everything that was said until then, and nothing of what comes later.

Exit status, as run.sh documents it: 0 1 2 3 124, and 128 + number for a signal. Read next: layout.h (DEBUG_EXIT_...).
"""

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 5  # seconds without a word from the guest until we say what we wait for
GRACE = 10  # seconds that QEMU gets to end after its console has closed
LAST_LINE = b"Halting."
LOADER_MARK = b"[BOOT]"
NO_LOADER = "The firmware never started the loader: does the machine have at least 64 MiB (-m 64M), and a 64-bit processor?"
TIMED_OUT = 124
OTHER_END = 3
NOT_STARTED = 4
PR_SET_PDEATHSIG = 1  # prctl(2)


def say(text):
    print("run.sh: " + text, file=sys.stderr, flush=True)


class Interrupted(Exception):
    """A signal asks the run to end; `number` says which."""

    def __init__(self, number):
        self.number = number


class TimedOut(Exception):
    """The guest has used up its time."""


def interrupt(number, _frame):
    raise Interrupted(number)


class Console:
    """What the guest has said: passes it to stdout and the logs, and remembers how the last line reads."""

    def __init__(self, folder, has_firmware, shown):
        self.shown = shown  # on stdout
        self.log = open(os.path.join(folder, "serial.log"), "wb", buffering=0)
        self.firmware_log = open(os.path.join(folder, "firmware.log"), "wb", buffering=0) if has_firmware else None
        self.waiting = has_firmware  # for the loader's first line
        self.pending = b""  # end of the firmware's output, which may be the beginning of LOADER_MARK
        self.tail = b""

    def feed(self, data):
        if self.waiting:
            data = self.skip_firmware(data)
        if data:
            self.log.write(data)
            self.tail = (self.tail + data)[-4096:]
            if self.shown:
                write_all(sys.stdout.fileno(), data)

    def skip_firmware(self, data):
        """Returns the part of data from LOADER_MARK on."""
        data = self.pending + data
        start = data.find(LOADER_MARK)
        self.waiting = start < 0
        if self.waiting:
            start = max(0, len(data) - len(LOADER_MARK) + 1)
        self.firmware_log.write(data[:start])
        self.pending = data[start:] if self.waiting else b""
        return b"" if self.waiting else data[start:]

    def halted(self):
        lines = self.tail.replace(b"\r", b"").rstrip(b"\n").split(b"\n")
        return lines[-1] == LAST_LINE


def write_all(fd, data):
    """Writes all of data, also to a descriptor that another program has made non-blocking."""
    while data:
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:
            select.select([], [fd], [])


def read_debug_exit_codes():
    """Returns {name: status of QEMU} for the DEBUG_EXIT_ values that the guest writes."""
    codes = {}
    with open("layout.h", encoding="utf-8") as layout:
        for line in layout:
            words = line.split()
            if len(words) > 2 and words[0] == "#define" and words[1].startswith("DEBUG_EXIT_"):
                codes[words[1][len("DEBUG_EXIT_"):]] = int(words[2], 0) * 2 + 1
    return codes


def follow(console, pipe, deadline, debugger):
    """Passes the console on until QEMU closes it, or until the debugger ends."""
    started = time.monotonic()
    spoken = False
    while True:
        now = time.monotonic()
        if deadline and now >= deadline:
            raise TimedOut
        if console.waiting and not (spoken or debugger) and now - started >= PATIENCE:
            say("waiting for the firmware; it takes about 4 seconds on an idle machine ...")
            spoken = True
        if select.select([pipe], [], [], 0.5)[0]:
            data = os.read(pipe, 65536)
            if not data:
                return
            console.feed(data)
        if debugger and debugger.poll() is not None:
            return


def die_with_parent():
    """Makes the kernel end this process when the script is killed, so that no QEMU is left behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start_qemu(command, socket, copy):
    """Starts QEMU with a pipe as its first serial port. Returns the process and the pipe's reading end. `copy` may name a file
    to which QEMU writes the same.

    Under gdb it gets a session of its own, so that Ctrl-C reaches gdb only."""
    reader, writer = os.pipe()
    port = ["-serial", f"file:/dev/fd/{writer}"]
    if copy:
        device = f"file,id=coconut-console,path=/dev/fd/{writer},logfile=" + copy.replace(",", ",,")
        port = ["-chardev", device, "-serial", "chardev:coconut-console"]
    command = [command[0]] + port + command[1:]
    if socket:
        command += ["-S", "-gdb", f"unix:{socket},server=on,wait=off"]
    qemu = subprocess.Popen(command, pass_fds=[writer], preexec_fn=die_with_parent, start_new_session=bool(socket),
                            stdin=subprocess.DEVNULL if socket else None)
    os.close(writer)
    return qemu, reader


def start_gdb(folder, build, where, socket):
    """Writes the gdb script of this run and starts gdb with it. Returns the process."""
    script = os.path.join(folder, "gdb.txt")
    with open(script, "w", encoding="utf-8") as out:
        out.write(GDB_SCRIPT.format(run=os.path.abspath(folder), build=os.path.abspath(build), where=where, socket=socket,
                                    rooms=os.path.abspath("scripts/gdb")))
    for _ in range(100):
        if os.path.exists(socket):
            break
        time.sleep(0.1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return subprocess.Popen(["gdb", "-q", "-x", script], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


# The rest of the session is scripts/gdb/start.py. The supervisor's symbols come from the run's own copy.
GDB_SCRIPT = """\
set confirm off
set width 0
set architecture i386:x86-64
file "{run}/supervisor.elf"
python import sys; sys.path.insert(0, {rooms!r}); import start
python start.begin({socket!r}, {where!r}, {run!r}, {build!r})
"""


def judge(status, console, codes, log, under_gdb):
    """Returns the exit status of the run from QEMU's status, and says what happened where that is not plain."""
    if status == codes["OK"] and console.halted():
        return 0
    if status == codes["FAILED"]:
        return 1
    if status == codes["PANIC"]:
        say(f"the supervisor panicked. The log is {log}")
        return 2
    if status == codes["LOADER"]:
        say(f"the loader gave up. The log is {log}")
        return 2
    if status == codes["OK"]:
        end = f"the guest reported success, but its last line is not {LAST_LINE.decode()}"
    elif under_gdb and status <= 0:
        end = "gdb ended before the guest had reported a result."
    elif status == 0:
        end = "the machine was reset or switched off before the guest reported a result (a triple fault resets it)."
    elif status < 0:
        end = f"QEMU was ended by signal {-status} ({signal.strsignal(-status)})."
    else:
        end = f"QEMU ended with status {status}, which the guest never reports."
    if console.waiting:
        end += " " + NO_LOADER
        log = log.replace("serial.log", "firmware.log")
    say(f"{end} The log is {log}")
    return OTHER_END


def write_trace(folder, out):
    """Turns what the machine's memory holds into the trace file. Returns whether that worked."""
    ram = os.path.join(folder, "ram")
    done = subprocess.run([sys.executable, "scripts/trace/read.py", ram, os.path.join(folder, "supervisor.elf"), out])
    with contextlib.suppress(OSError):
        os.unlink(ram)
    return done.returncode == 0


def stop(process):
    """Ends a process of ours that may still run."""
    if process and process.poll() is None:
        process.kill()
        process.wait()


def run(options, command):
    """Runs QEMU to its end and returns the exit status."""
    log = os.path.join(options.run, "serial.log")
    console = Console(options.run, options.firmware, not options.console)
    private = tempfile.mkdtemp(prefix="coconut-") if options.gdb else None
    socket = os.path.join(private, "gdb") if private else None
    qemu = gdb = None
    try:
        qemu, pipe = start_qemu(command, socket, options.console)
        if options.gdb:
            gdb = start_gdb(options.run, options.build, options.gdb, socket)
        follow(console, pipe, options.timeout and time.monotonic() + options.timeout, gdb)
        if gdb:
            gdb.wait()
            stop(qemu)
        status = judge(qemu.wait(GRACE), console, read_debug_exit_codes(), log, options.gdb)
        if gdb and gdb.returncode > 0:  # a tour that has lost its way
            status = OTHER_END
    except (TimedOut, subprocess.TimeoutExpired):
        say(f"no end after {options.timeout} seconds (--timeout sets the limit). The log is {log}")
        if console.waiting:
            say(NO_LOADER)
        status = TIMED_OUT
    except (Interrupted, BrokenPipeError) as stopped:
        status = 128 + getattr(stopped, "number", signal.SIGPIPE)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stop(gdb)
        stop(qemu)
        if private:
            shutil.rmtree(private)
    if options.trace and not write_trace(options.run, options.trace):
        status = NOT_STARTED
    return status


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="the folder of this run")
    parser.add_argument("--build", required=True, help="the folder of the build, for symbols")
    parser.add_argument("--firmware", action="store_true", help="drop what comes before the loader's first line")
    parser.add_argument("--timeout", type=int, help="seconds until the run is given up")
    parser.add_argument("--gdb", metavar="WHERE", help="start gdb, attached, and run to WHERE: main, boot, or a shard")
    parser.add_argument("--console", metavar="FILE", help="where what the guest says goes instead of stdout")
    parser.add_argument("--trace", metavar="FILE", help="write what the recorder in the guest has left in its memory")
    parser.add_argument("command", nargs="+", help="QEMU and its options, after --")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    sys.exit(run(options, options.command))


main()
