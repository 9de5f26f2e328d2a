#!/usr/bin/env python3
"""watch.py: runs QEMU for run.sh, passes the guest's console on, and judges how the run ended.

The guest's first serial port is a pipe that this script reads: what arrives goes to stdout and to serial.log at once,
byte for byte. With --firmware everything before the loader's first `[BOOT]` goes to firmware.log instead, because
UEFI firmware draws menus and clears screens on the serial port.

With --console FILE stdout gets nothing of it: QEMU itself writes all that the guest says to FILE, the firmware's
pictures too. So whenever gdb has stopped the machine, FILE holds everything that was said until then, and nothing of
what comes later.

What QEMU itself says on stderr is passed on too; only its first words wait until it is clear that it has started,
because one line says why it has not, and under gdb all of them wait until gdb has ended: gdb writes its prompt a
character at a time, and any other word would tear it. Nothing outlives this script, whatever ends it: QEMU and gdb end
with it, and the memory of a traced machine is a file without a name.

Exit status, as run.sh documents it: 0 1 2 3 4 124, and 128 + number for a signal. Read next: layout.h (DEBUG_EXIT_...).
"""

import argparse
import contextlib
import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

PATIENCE = 5  # seconds without a word from the guest until we say what we wait for
GRACE = 120  # seconds that QEMU gets to end after its console has closed, on a busy machine too
STARTING = 2  # seconds after which a QEMU that still runs has started
LAST_LINE = b"Halting."
MANIFEST_MISTAKE = re.compile(rb"^/etc/coconut\.conf:\d+: ", re.M)
LOADER_MARK = b"[BOOT]"
FAREWELL = re.compile(rb"^.*: (?:QEMU: Terminated via GDBstub|terminating on signal 15 from pid %d .*)\n" % os.getpid(),
                      re.M)  # to whoever has just said `kill`, and to us
NO_LOADER = ("The firmware never started the loader: does the machine have at least 64 MiB (-m 64M), "
             "and a 64-bit processor?")
TIMED_OUT = 124
OTHER_END = 3
NOT_STARTED = 4
QEMU_REFUSES = 1  # QEMU's status when it cannot follow its options
PR_SET_PDEATHSIG = 1  # prctl(2)


def say(text):
    with contextlib.suppress(OSError):  # where nothing can be said the exit status still can
        print("run.sh: " + text, file=sys.stderr, flush=True)


class Interrupted(Exception):
    """A signal asks the run to end; `number` says which."""

    def __init__(self, number):
        self.number = number


class TimedOut(Exception):
    """The guest has used up its time."""


class Unwritable(Exception):
    """What the guest says cannot be written any more; says where and why."""


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
        self.spoken = False  # the machine has said something, be it its firmware

    def feed(self, data):
        self.spoken = True
        if self.waiting:
            data = self.skip_firmware(data)
        if data:
            write_all(self.log.fileno(), data, self.log.name)
            self.tail = (self.tail + data)[-4096:]
            if self.shown:
                write_all(sys.stdout.fileno(), data, "stdout")

    def skip_firmware(self, data):
        """Returns the part of data from LOADER_MARK on."""
        data = self.pending + data
        start = data.find(LOADER_MARK)
        self.waiting = start < 0
        if self.waiting:
            start = max(0, len(data) - len(LOADER_MARK) + 1)
        write_all(self.firmware_log.fileno(), data[:start], self.firmware_log.name)
        self.pending = data[start:] if self.waiting else b""
        return b"" if self.waiting else data[start:]

    def halted(self):
        lines = self.tail.replace(b"\r", b"").rstrip(b"\n").split(b"\n")
        return lines[-1] == LAST_LINE


def write_all(fd, data, name):
    """Writes all of data, also to a descriptor that another program has made non-blocking. Raises BrokenPipeError when
    the reader has gone away, Unwritable when there is no room."""
    while data:
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:
            select.select([], [fd], [])
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise Unwritable(f"{name} cannot be written: {problem.strerror}") from None


class Remarks:
    """What QEMU says on stderr: passed on, once it has started."""

    def __init__(self, fd):
        self.fd = fd
        self.kept = b""
        self.passed = False
        self.ended = False

    def read(self, running):
        """Takes what there is; `running`: QEMU has started."""
        data = os.read(self.fd, 65536)
        self.ended = not data
        self.kept += data
        if running or self.passed:
            self.pass_on()

    def pass_on(self):
        self.passed = True
        with contextlib.suppress(OSError, Unwritable):  # the run is worth more than a remark
            write_all(sys.stderr.fileno(), FAREWELL.sub(b"", self.kept), "stderr")
        self.kept = b""

    def drain(self, seconds):
        """Takes what QEMU says until it has ended."""
        deadline = time.monotonic() + seconds
        while not self.ended and select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
            self.read(False)

    def reason(self):
        """Returns why QEMU has not started, in its words, None: it has given no reason."""
        lines = [line.strip() for line in self.kept.decode(errors="replace").split("\n")]
        lines = [line for line in lines if line and ": warning: " not in line and "do you want to install" not in line]
        return lines[0].split(": ", 1)[-1] if lines else None


def read_debug_exit_codes():
    """Returns {name: status of QEMU} for the DEBUG_EXIT_ values that the guest writes."""
    codes = {}
    with open("layout.h", encoding="utf-8") as layout:
        for line in layout:
            words = line.split()
            if len(words) > 2 and words[0] == "#define" and words[1].startswith("DEBUG_EXIT_"):
                codes[words[1][len("DEBUG_EXIT_"):]] = int(words[2], 0) * 2 + 1
    return codes


def follow(console, pipe, remarks, deadline, debugger):
    """Passes the console on until QEMU closes it, or until the debugger ends."""
    started = time.monotonic()
    spoken = False
    while True:
        now = time.monotonic()
        if deadline and now >= deadline:
            raise TimedOut
        if console.waiting and not (spoken or debugger) and now - started >= PATIENCE:
            say("waiting for the firmware; it takes some seconds ...")
            spoken = True
        has_started = console.spoken or now - started >= STARTING
        if has_started and remarks.kept and not debugger:
            remarks.pass_on()
        ready = select.select([pipe] if remarks.ended else [pipe, remarks.fd], [], [], 0.5)[0]
        if remarks.fd in ready:
            remarks.read(has_started and not debugger)
        if pipe in ready:
            data = os.read(pipe, 65536)
            if not data:
                return
            console.feed(data)
        if debugger and debugger.poll() is not None:
            return


def die_with(parent):
    """Makes the kernel end this process when the script is killed, so that nothing is left behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before that
        os._exit(1)


def memory_options(size, fd):
    """Returns QEMU's options for a machine whose memory is an open file."""
    return ["-object", f"memory-backend-file,id=ram,share=on,size={size},mem-path=/dev/fd/{fd}", "-machine",
            "memory-backend=ram"]


def nameless_file(folder):
    """Returns a new file in a folder, open to read and write, that is gone with the last process that has it open."""
    path = os.path.join(folder, "ram")
    file = open(path, "w+b")
    os.unlink(path)
    return file


def private_folder():
    """Returns a new folder with a short path: that of a socket has 107 bytes at most."""
    import tempfile  # not at the top: it is a tenth of the time that a run without gdb takes to start

    return tempfile.mkdtemp(prefix="coconut-")


def start_qemu(command, folder, socket, copy, inherited):
    """Starts QEMU in a folder, with a pipe as its first serial port, and one as its stderr. Returns the process and the
    pipes' reading ends. `copy` may name a file to which QEMU writes what the guest says; `inherited`: files that it
    gets.

    Under gdb it gets a session of its own, so that Ctrl-C reaches gdb only."""
    parent = os.getpid()
    reader, writer = os.pipe()
    remarks, stderr = os.pipe()
    port = ["-serial", f"file:/dev/fd/{writer}"]
    if copy:
        device = f"file,id=coconut-console,path=/dev/fd/{writer},logfile=" + copy.replace(",", ",,")
        port = ["-chardev", device, "-serial", "chardev:coconut-console"]
    command = [command[0]] + port + command[1:]
    if socket:
        command += ["-S", "-gdb", f"unix:{socket},server=on,wait=off"]
    qemu = subprocess.Popen(command, pass_fds=[writer] + inherited, preexec_fn=lambda: die_with(parent), stderr=stderr,
                            cwd=folder if os.path.isdir(folder) else None, start_new_session=bool(socket),
                            stdin=subprocess.DEVNULL if socket else None)
    os.close(writer)
    os.close(stderr)
    return qemu, reader, Remarks(remarks)


def start_gdb(folder, build, where, socket, qemu):
    """Writes the gdb script of this run and starts gdb with it. Returns the process, None: there is no QEMU to attach
    to."""
    parent = os.getpid()

    def prepare():
        die_with(parent)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    script = os.path.join(folder, "gdb.txt")
    with open(script, "w", encoding="utf-8") as out:
        out.write(GDB_SCRIPT.format(run=os.path.abspath(folder), build=os.path.abspath(build), where=where,
                                    socket=socket,
                                    rooms=os.path.abspath("scripts/gdb")))
    while not os.path.exists(socket):
        if qemu.poll() is not None:
            return None
        time.sleep(0.1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The commands of scripts/gdb take their help from what PYTHONOPTIMIZE=2 leaves out.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"}
    return subprocess.Popen(["gdb", "-q", "-x", script], preexec_fn=prepare, env=environment)


# All of the session is scripts/gdb/start.py.
GDB_SCRIPT = """\
python import sys; sys.path.insert(0, {rooms!a}); import start
python start.begin({socket!a}, {where!a}, {run!a}, {build!a})
"""


def judge(status, console, remarks, codes, log, under_gdb, traced, replayed):
    """Returns the exit status of the run from QEMU's status, and says what happened where that is not plain."""
    if status == QEMU_REFUSES and not console.spoken and not remarks.passed and remarks.reason():
        say("QEMU did not start: " + remarks.reason())
        remarks.kept = b""
        return NOT_STARTED
    remarks.pass_on()
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
    elif status == 0 and replayed:
        end = "the recording ends here: the recorded run was ended from outside."
    elif status == 0:
        end = "the machine was reset or switched off before the guest reported a result (a triple fault resets it)."
    elif status < 0:
        end = f"QEMU was ended by signal {-status} ({signal.strsignal(-status)})."
        if status == -signal.SIGBUS and traced:
            end += " The memory of a traced machine is a file: is the disk full?"
    else:
        end = f"QEMU ended with status {status}, which the guest never reports."
    if console.waiting:
        end += " " + NO_LOADER
        log = log.replace("serial.log", "firmware.log")
    say(f"{end} The log is {log}")
    return OTHER_END


def write_trace(ram, folder, out):
    """Turns what the machine's memory holds into the trace file; read.py says what came of it."""
    command = [sys.executable, "scripts/trace/read.py", f"/dev/fd/{ram.fileno()}",
               os.path.join(folder, "supervisor.elf"), out]
    subprocess.run(command, pass_fds=[ram.fileno()], check=False)


RECORDED = ("supervisor.elf", "manifest", "elves", "shards", "esp/ramdisk.img", "esp/command", "esp/events",
            "esp/snapshot")  # of the run's folder


def write_recording(folder, build, out):
    """Puts what a replay needs into one file: what booted, what QEMU has recorded, and the symbols."""
    import tarfile  # not at the top: it is slow to load, and seldom needed

    with tarfile.open(out, "w") as archive:
        for name in RECORDED:
            if os.path.exists(os.path.join(folder, name)):
                archive.add(os.path.join(folder, name), name)
        for name in sorted(os.listdir(os.path.join(build, "shards"))):
            if name.endswith((".elf", ".bin")):
                archive.add(os.path.join(build, "shards", name), "build/shards/" + name)


def end_recording(qemu):
    """Lets a QEMU that still runs write the end of its recording."""
    if qemu.poll() is None:
        qemu.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            qemu.wait(STARTING)


def stop(process):
    """Ends a process of ours that may still run."""
    if process and process.poll() is None:
        process.kill()
        process.wait()


def run(options, command):
    """Runs QEMU to its end and returns the exit status."""
    log = os.path.join(options.run, "serial.log")
    console = Console(options.run, options.firmware, not options.console)
    private = private_folder() if options.gdb else None
    socket = os.path.join(private, "gdb") if private else None
    ram = nameless_file(options.run) if options.trace else None
    if ram:
        command = command[:1] + memory_options(options.memory, ram.fileno()) + command[1:]
    qemu = gdb = remarks = None
    status = NOT_STARTED
    try:
        qemu, pipe, remarks = start_qemu(command, options.folder, socket, options.console,
                                         [ram.fileno()] if ram else [])
        if options.gdb:
            gdb = start_gdb(options.run, options.build, options.gdb, socket, qemu)
        follow(console, pipe, remarks, options.timeout and time.monotonic() + options.timeout, gdb)
        if gdb:
            gdb.wait()
            stop(qemu)
        remarks.drain(GRACE)
        status = judge(qemu.wait(GRACE), console, remarks, read_debug_exit_codes(), log, options.gdb, options.trace,
                       options.replayed)
        if status == 1 and options.manifest and MANIFEST_MISTAKE.search(console.tail):
            say(f"/etc/coconut.conf is {options.manifest}, line by line.")
        if gdb and gdb.returncode > 0:  # a tour that has lost its way
            status = OTHER_END
    except (TimedOut, subprocess.TimeoutExpired):
        say(f"no end after {options.timeout} seconds (--timeout sets the limit). The log is {log}")
        if console.waiting:
            say(NO_LOADER)
        status = TIMED_OUT
    except Unwritable as problem:
        say(f"{problem}. The run was ended.")
        status = OTHER_END
    except (Interrupted, BrokenPipeError) as stopped:
        status = 128 + getattr(stopped, "number", signal.SIGPIPE)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        stop(gdb)
        if options.record and qemu:
            end_recording(qemu)
        stop(qemu)
        if options.record and status != NOT_STARTED:
            write_recording(options.run, options.build, options.record)
        if remarks:
            remarks.drain(1)
            remarks.pass_on()
        if private:
            shutil.rmtree(private, ignore_errors=True)
        # as large as the ramdisk, and of no use any more
        shutil.rmtree(os.path.join(options.run, "esp"), ignore_errors=True)
        with contextlib.suppress(OSError):
            os.remove(os.path.join(options.run, "firmware.fd"))
    if ram and status != NOT_STARTED:
        write_trace(ram, options.run, options.trace)
    return status


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Runs QEMU for run.sh.")
    parser.add_argument("--run", required=True, help="the folder of this run")
    parser.add_argument("--build", required=True, help="the folder of the build, for symbols")
    parser.add_argument("--folder", default=".", help="where QEMU looks for files that its options name")
    parser.add_argument("--firmware", action="store_true", help="drop what comes before the loader's first line")
    parser.add_argument("--timeout", type=int, help="seconds until the run is given up")
    parser.add_argument("--gdb", metavar="WHERE", help="start gdb, attached, and run to WHERE: main, boot, or a shard")
    parser.add_argument("--console", metavar="FILE", help="where what the guest says goes instead of stdout")
    parser.add_argument("--trace", metavar="FILE", help="write what the recorder in the guest has left in its memory")
    parser.add_argument("--record", metavar="FILE", help="keep what a replay needs")
    parser.add_argument("--replayed", action="store_true", help="the machine repeats a recorded run")
    parser.add_argument("--manifest", metavar="FILE", help="the user's file that became the manifest")
    parser.add_argument("--memory", metavar="SIZE", help="of the machine, which --trace needs to know")
    parser.add_argument("command", nargs="+", help="QEMU and its options, after --")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        return run(options, options.command)
    except OSError as problem:
        say(f"the run could not be started: {problem.strerror}" + (f": {problem.filename}" if problem.filename else ""))
        return NOT_STARTED


sys.exit(main())
