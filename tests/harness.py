"""harness.py: what a test may use: boot the system, run commands, check, skip.

A test file looks like this:

    def test_hello(t):
        '''hello-c greets and exits with 0.'''
        result = t.boot(shards=["shards/hello-c"], expect=0)
        t.check("hello from ring 3" in result.text, "the greeting is missing")

Its names are `group.hello` on the command line of test.sh. A check that fails ends the test. Attributes of the
function: `heavy = True` starts it among the first, `last = True` as the last one, `full_only = True` leaves it out
unless --full is given.

Every process that a test starts lives in a process group of its own, which stop_everything() ends.
Read next: any tests/test_*.py.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRATCH = os.path.join(ROOT, "build", "tests")
VARIANTS = os.path.join("build", "variants")
SPARE_TIME = 120  # seconds beyond the guest's own time-out: building, and a host with other work


class Failure(Exception):
    """A check failed."""


class Skip(Exception):
    """The test cannot run here."""


class Stopped(Exception):
    """The whole run is being ended."""


# ---- Processes ----

_processes = set()
_processes_lock = threading.Lock()
_stopping = threading.Event()


def stopping():
    """Returns whether the run is being ended."""
    return _stopping.is_set()


def start(command, **options):
    """Starts a command in a process group of its own, which stop_everything() will end."""
    with _processes_lock:
        if stopping():
            raise Stopped
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(command, start_new_session=True, **options)
        _processes.add(process)
    return process


def finish(process, timeout):
    """Waits for a process. Returns its output, stdout and stderr, as bytes; raises Failure when it takes too long."""
    try:
        output = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end_group(process, signal.SIGTERM)
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            end_group(process, signal.SIGKILL)
            process.communicate()
        raise Failure("no end after %d seconds: %s" % (timeout, describe(process.args))) from None
    finally:
        with _processes_lock:
            _processes.discard(process)
    if stopping():
        raise Stopped
    return output


def end_group(process, number):
    """Sends a signal to a process of ours and to all that it has started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def stop_everything():
    """Ends all processes that tests have started and that still run."""
    _stopping.set()
    with _processes_lock:
        left = list(_processes)
    for number, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        for process in left:
            end_group(process, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(process.poll() is None for process in left):
            time.sleep(0.1)


def describe(command):
    return command if isinstance(command, str) else " ".join(shlex.quote(str(word)) for word in command)


def output_of(command, what, **options):
    """Runs a command to its end. Returns its stdout as text; raises Failure with its last line when it fails."""
    process = start(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    out, err = finish(process, 600)
    if process.returncode:
        text = (err or out).decode(errors="replace").strip()
        raise Failure("%s failed with status %d: %s" % (what, process.returncode, text[-1000:]))
    return out.decode(errors="replace")


@contextlib.contextmanager
def locked(path):
    """Holds an exclusive lock on a file: among threads, and among several runs of test.sh."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---- Things that are built once ----


def build(*options):
    """Builds the system itself, or with `--debug` the one for steps in gdb, showing what build.sh says."""
    process = start(["./build.sh", *options], cwd=ROOT, stdout=2, stderr=subprocess.PIPE)
    _, err = finish(process, 600)
    if process.returncode:
        raise Failure("./build.sh: " + err.decode(errors="replace")[-1000:])


_built_shards = set()
_built_variants = {}  # name: definitions


def build_shard(name, source, place):
    """Builds the folder SOURCE/NAME of this project, once for all tests, into PLACE of the scratch folder. Returns the
    path of the flat binary; the ELF file lies beside it."""
    source, folder = os.path.join(source, name), os.path.join(SCRATCH, place)
    with locked(os.path.join(folder, ".lock." + name)):
        if source not in _built_shards:
            output_of(["scripts/build-shard.sh", source, folder, name], "building the shard " + name)
            _built_shards.add(source)
    return os.path.join(folder, name + ".bin")


def build_test_shard(name):
    """Builds tests/shards/NAME. Returns the path of the flat binary."""
    return build_shard(name, "tests/shards", "shards")


def find_tool(name):
    """Returns the path of a tool that may lie in a folder that only root has in PATH."""
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin") or name


def make_ramdisk(image, folder, block_size=4096, space=1 << 20):
    """Makes an ext2 image of a folder, with `space` bytes for what the file system itself needs."""
    size = space
    for where, _, files in os.walk(folder):
        size += 8192 + sum(2 * 4096 + os.lstat(os.path.join(where, name)).st_size for name in files)
    output_of([find_tool("mke2fs"), "-q", "-t", "ext2", "-b", str(block_size), "-m", "0", "-O", "^resize_inode",
               "-d", folder, image, "%dk" % (size // 1024)], "mke2fs")


# ---- What a boot leaves behind ----


class Result:
    """How a run of run.sh ended: its exit status, and what it wrote."""

    def __init__(self, status, raw, stderr, log_path):
        self.status = status
        self.raw = raw  # the serial console, bytes
        self.text = raw.decode(errors="replace")
        self.lines = self.text.split("\n")
        self.stderr = stderr
        self.log_path = log_path

    def profile(self):
        """Returns the profile as {name: {"id", "syscalls", "cycles", "switches", "wall"}}."""
        rows = {}
        for row in re.finditer(r"^ *(\d+) +(\d+) +(\d+) +(\d+) +(\d+)  (\S+)$", self.text, re.M):
            number, calls, cycles, switches, wall, name = row.groups()
            rows[name] = {"id": int(number), "syscalls": int(calls), "cycles": int(cycles),
                          "switches": int(switches), "wall": int(wall)}
        return rows

    def endings(self):
        """Returns how each shard ended last, as {name: exit code, or "killed"}, in the supervisor's own words."""
        found = {}
        for line in self.lines:
            match = re.match(r"Shard \d+ \((\S+)\) ended: (?:code (-?\d+)|(killed)) after \d+ ms", line)
            if match:
                found[match.group(1)] = match.group(3) or int(match.group(2))
        return found


class Boot:
    """A run of run.sh that goes on. wait() returns its Result, and calls `at_end` first."""

    def __init__(self, test, process, timeout, expect, number, at_end=None):
        self.test = test
        self.process = process
        self.timeout = timeout
        self.expect = expect
        self.number = number
        self.at_end = at_end
        self.read = b""
        self.result = None

    def more(self):
        """Returns what the console says next, waiting for it; nothing when it has ended. It is part of the result
        too."""
        data = os.read(self.process.stdout.fileno(), 65536)
        self.read += data
        return data

    def wait(self):
        if self.result is None:
            try:
                out, err = finish(self.process, self.timeout + SPARE_TIME)
            finally:
                if self.at_end:
                    self.at_end()
            out = self.read + out
            path = os.path.join(self.test.scratch, "serial%d.log" % self.number)
            with open(path, "wb") as log:
                log.write(out)
            err = err.decode(errors="replace")
            self.result = Result(self.process.returncode, out, err, path)
            self.test.log("status %d; console in %s; stderr:\n%s" % (self.result.status, path, err))
            self.test.log_path = path
            if self.expect is not None:
                self.test.equal(self.result.status, self.expect,
                                "exit status of the run (%s)" % last_words(self.result))
        return self.result

    def stop(self):
        """Ends the run as Ctrl-C would."""
        end_group(self.process, signal.SIGINT)


def last_words(result):
    """Returns what explains an unexpected end best."""
    for pattern in (r"PANIC", r"\S+\.c:\d+: ", r"Shard .* (killed|cannot start)", r"Deadlock"):
        for line in result.lines:
            if re.match(pattern, line):
                return line
    tail = [line for line in result.stderr.split("\n") + result.lines if line.strip()]
    return tail[-1] if tail else "no output"


class Monitor:
    """QEMU's monitor over a socket. Pass `options` to the boot, then use hmp() while it runs."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="coconut-")  # a short path: that of a socket has 107 bytes at most
        self.path = os.path.join(self.folder, "qmp")
        self.options = ["-qmp", "unix:%s,server=on,wait=off" % self.path]
        self.stream = None

    def connect(self, timeout=300):
        """Connects as soon as QEMU listens."""
        deadline = time.monotonic() + timeout
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.path)
                break
            except OSError:
                connection.close()
                if time.monotonic() > deadline:
                    raise Failure("QEMU's monitor does not answer") from None
                time.sleep(0.1)
        connection.settimeout(timeout)
        self.stream = connection.makefile("rw")
        connection.close()
        self.stream.readline()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        """Runs a QMP command and returns what it returns."""
        if self.stream is None:
            self.connect()
        self.stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            line = self.stream.readline()
            if not line:
                raise Failure("QEMU ended before it answered the monitor command %s" % name)
            answer = json.loads(line)
            if "error" in answer:
                raise Failure("monitor command %s: %s" % (name, answer["error"].get("desc")))
            if "return" in answer:
                return answer["return"]

    def hmp(self, text):
        """Runs a command of the human monitor and returns what it prints."""
        return self.command("human-monitor-command", **{"command-line": text})

    def close(self):
        if self.stream:
            with contextlib.suppress(OSError):
                self.stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- The interface of tests ----


class Test:
    """What a test function gets: see the head of this file."""

    recorder = None  # a coverage.Recorder that notes what its boots reach

    def __init__(self, name, full):
        self.name = name
        self.full = full
        self.root = ROOT
        self.scratch = os.path.join(SCRATCH, name)
        shutil.rmtree(self.scratch, ignore_errors=True)
        os.makedirs(self.scratch)
        self.own_log = os.path.join(self.scratch, "test.log")
        self.log_path = self.own_log  # of what the test looked at last
        self.boots = 0
        self.remark = None
        self.log("test " + name)

    def log(self, text):
        with open(self.own_log, "a", encoding="utf-8", errors="replace") as log:
            log.write(text.rstrip("\n") + "\n")

    def log_exception(self):
        self.log(traceback.format_exc())
        self.log_path = self.own_log

    # -- verdicts --

    def check(self, condition, message):
        """Fails the test with the message unless the condition is true."""
        if not condition:
            self.log("failed: " + message)
            raise Failure(message)

    def equal(self, got, expected, message):
        """Fails the test unless both are equal."""
        self.check(got == expected, "%s: got %s, expected %s" % (message, repr(got)[:100], repr(expected)[:100]))

    def note(self, text):
        """Shows a figure in the line of the test when it passes."""
        self.remark = text

    def skip(self, reason):
        """Ends the test: it cannot run here."""
        raise Skip(reason)

    # -- commands --

    def sh(self, command, cwd=None, env=None, timeout=600, expect=None):
        """Runs a command (a string goes through bash). Returns status, stdout, stderr as a CompletedProcess of text."""
        words = ["bash", "-c", command] if isinstance(command, str) else [str(word) for word in command]
        self.log("$ " + describe(command))
        process = start(words, cwd=cwd or ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = finish(process, timeout)
        done = subprocess.CompletedProcess(words, process.returncode, out.decode(errors="replace"),
                                           err.decode(errors="replace"))
        self.log("status %d\n%s%s" % (done.returncode, done.stdout, done.stderr))
        if expect is not None:
            self.equal(done.returncode, expect, "status of `%s` (%s)" % (describe(command), done.stderr.strip()[-200:]))
        return done

    def file(self, name, content):
        """Writes a file into the scratch folder and returns its path."""
        path = os.path.join(self.scratch, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return path

    def variant(self, name, debug=False, **defines):
        """Builds the system with other definitions, once for all tests; debug: for steps in gdb. Returns the folder for
        boot(build=...)."""
        out = os.path.join(VARIANTS, name)
        command = ["./build.sh", "--out", out] + ["--debug"] * debug
        for key, value in defines.items():
            command += ["--define", "%s=%s" % (key, value)]
        with locked(os.path.join(ROOT, VARIANTS, ".lock." + name)):
            if _built_variants.get(name) != defines:
                output_of(command, "building the variant " + name)
                _built_variants[name] = defines
        return out

    def shard(self, name):
        """Builds the test shard tests/shards/NAME. Returns the path of its flat binary; the ELF file lies beside it."""
        return build_test_shard(name)

    # -- booting --

    def start(self, shards=None, manifest=None, add=None, options=(), verbose=False, uefi=False, build=None,
              timeout=120, expect=None):
        """Starts run.sh and returns a Boot. shards: folders for --shard. manifest: its text (more than one line or a
        shard line), or the path of a file. add: {path in the guest: path on the host}. options: further options of
        run.sh and QEMU. uefi: boot through the firmware. build: a variant. expect: fail on another exit status."""
        self.boots += 1
        command = ["./run.sh", "--timeout", str(timeout)]
        command += [] if uefi else ["--kernel"]
        # which test.sh has made: run.sh need not look whether it is up to date
        command += ["--build", str(build or "build")]
        command += ["--verbose"] if verbose else []
        for folder in shards or []:
            command += ["--shard", str(folder)]
        if isinstance(manifest, str) and ("\n" in manifest or manifest.startswith("shard ")):
            manifest = self.file("manifest%d.conf" % self.boots, manifest.rstrip("\n") + "\n")
        command += ["--manifest", str(manifest)] if manifest is not None else []
        for guest, host in (add or {}).items():
            command += ["--add", "%s:%s" % (host, guest)]
        noting, at_end = self.recorder.watch(self, build) if self.recorder else ([], None)
        command += [str(option) for option in list(options) + noting]
        self.log("$ " + describe(command))
        process = start(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return Boot(self, process, timeout, expect, self.boots, at_end)

    def boot(self, *arguments, **options):
        """Runs run.sh to its end and returns its Result. The parameters are those of start()."""
        return self.start(*arguments, **options).wait()

    def guest_ramdisk(self, manifest, files=None, block_size=4096, edits=()):
        """Makes the small ramdisk of the next boot. Returns the image's path: see start_guest()."""
        number = self.boots + 1
        stage = os.path.join(self.scratch, "stage%d" % number)
        content = dict(files or {})
        content["/etc/coconut.conf"] = (manifest.rstrip("\n") + "\n").encode()
        for name in set(re.findall(r"/t/([A-Za-z0-9_-]+)", manifest)):
            content["/t/" + name] = build_test_shard(name)
        for path, source in content.items():
            to = stage + path
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if isinstance(source, bytes):
                pathlib.Path(to).write_bytes(source)
            else:
                output_of(["cp", "-P", "--sparse=always", source, to], "cp")
        image = os.path.join(self.scratch, "ramdisk%d.img" % number)
        make_ramdisk(image, stage, block_size)
        shutil.rmtree(stage)
        for edit in edits:
            self.sh([find_tool("debugfs"), "-w", "-R", edit, image], expect=0)
        self.log(manifest)
        return image

    def start_guest(self, manifest, files=None, block_size=4096, edits=(), options=(), **others):
        """Starts the kernel with a small ramdisk of its own: the manifest, the files {path: bytes, or path on the
        host}, and every test shard that the manifest names as /t/NAME, which is built from tests/shards/NAME. edits:
        commands of debugfs that change the finished image."""
        image = self.guest_ramdisk(manifest, files, block_size, edits)
        return self.start(options=["-initrd", image] + list(options), **others)

    def guest(self, *arguments, **options):
        """Runs the kernel as start_guest() does to its end and returns its Result."""
        return self.start_guest(*arguments, **options).wait()

    @contextlib.contextmanager
    def guest_monitor(self):
        """QEMU's monitor: `with t.guest_monitor() as monitor: boot = t.start(options=monitor.options);
        monitor.hmp(...)`."""
        monitor = Monitor()
        try:
            yield monitor
        finally:
            monitor.close()


# ---- Host programs ----


class HostProgram:
    """A C program under tests/host that prints `pass x` or `FAIL x` for each of its tests."""

    FLAGS = ["-g", "-O1", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
             "-I.", "-Ishards/lib", "-Itests/host"]

    def __init__(self, path):
        self.path = os.path.relpath(path, ROOT)
        self.name = "host." + os.path.basename(path)[:-len(".c")]
        with open(path, encoding="utf-8") as source:
            text = source.read()
        self.tests = re.findall(r"^\s*RUN\((\w+)\);", text, re.M)
        self.sources = self.words(text, "SOURCES")
        self.options = self.words(text, "OPTIONS")  # for the compiler
        purpose = re.search(r"/\*\n? ?\*? ?(.*?)\n", text)
        self.purpose = purpose.group(1).strip() if purpose else ""

    @staticmethod
    def words(text, key):
        line = re.search(r"%s: *(.*)" % key, text)
        return line.group(1).replace("*/", "").split() if line else []

    def run(self, _job, runner):
        """Compiles and runs the program, and reports each of its tests; what it did not reach has failed."""
        test = Test(self.name, runner.full)
        binary = os.path.join(test.scratch, "program")
        environment = dict(os.environ, TEST_FULL="1" if runner.full else "")
        started = time.monotonic()
        try:
            test.sh(["gcc"] + self.FLAGS + self.options + ["-o", binary, self.path] + self.sources + ["-lm"], expect=0)
            output = test.sh([binary, test.scratch], env=environment, timeout=1800)
        except Failure as failure:
            for name in self.tests:
                runner.report("FAIL", "%s.%s" % (self.name, name), reason=str(failure), log=test.log_path)
            return
        seconds = (time.monotonic() - started) / max(1, len(self.tests))
        self.judge(runner, output, test.log_path, seconds)

    def judge(self, runner, output, log, seconds):
        """Reports each test. A program that ends badly without naming a test has failed in the last one."""
        verdicts = dict((name, verdict) for verdict, name in re.findall(r"^(pass|FAIL) (\w+)$", output.stdout, re.M))
        names = self.tests + [name for name in verdicts if name not in self.tests]
        if output.returncode and all(verdicts.get(name) == "pass" for name in names):
            verdicts[names[-1]] = "ended badly"
        for name in names:
            full_name = "%s.%s" % (self.name, name)
            if verdicts.get(name) == "pass":
                runner.report("pass", full_name, seconds=seconds)
            else:
                problem = re.search(r"^.*(ERROR: AddressSanitizer|runtime error).*$", output.stderr, re.M)
                reason = "the program ended with status %d" % output.returncode
                if verdicts.get(name) == "FAIL":
                    reason = "a check is false"
                runner.report("FAIL", full_name, reason=problem.group(0) if problem else reason, log=log)
