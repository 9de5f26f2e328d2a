"""gdb: the commands of scripts/gdb against what the kernel, QEMU's monitor and the console say about the same thing.

Read next: scripts/gdb/kernel.py.
"""

import importlib
import json
import os
import re
import shlex
import shutil
import sys
import time

import harness
import sessions

sys.path.append(os.path.join(harness.ROOT, "scripts", "gdb"))

MANIFEST = """shard faulty /t/debugged args="faulty" priority=high
shard giver /t/debugged args="giver"
shard taker /t/debugged args="taker" priority=low
channel giver taker
"""
GPU = """shard source /shards/gpu-hal args="role=source peer=1 bytes=8192"
shard target /shards/gpu-hal args="role=target peer=0" priority=high
gpu source
gpu target
channel source target
"""


class Session:
    """A run of run.sh --gdb with commands. `said[i]` is what gdb printed for the i-th, `start` what it printed before;
    `console` is what the guest said."""

    def __init__(self, t, where, commands, options, expect=3):
        if not shutil.which("gdb"):
            t.skip("there is no gdb")
        console = t.file("console", "")
        path = t.file("commands", sessions.script(commands, console))
        machine = sessions.with_console("./run.sh --timeout 300 %s %s" % (where, options), console)
        # what gdb passes on from QEMU's monitor is on stderr
        done = t.sh("%s < %s 2>&1" % (machine, shlex.quote(path)))
        steps = sessions.steps(done.stdout, console)
        t.equal(len(steps), len(commands) + 2, "the beginning, the commands, and the end that gdb came to")
        t.equal(done.returncode, expect, "exit status of run.sh")
        self.start, self.said = steps[0].printed, [step.printed for step in steps[1:-1]]
        self.console_at_start, self.console = steps[0].console, "".join(step.console for step in steps)
        t.check(not re.search(r"Python Exception|Traceback|^(?:fault|symbols): ", done.stdout, re.M),
                "a command broke: see the log")
        gone = re.findall(r"^.* any more.*$", done.stdout, re.M)
        t.check(not gone, "a name is gone: " + "".join(gone[:1]))


def start(t, where, commands, options="", **others):
    """Runs a session with the three shards of tests/shards/debugged."""
    manifest, probe = shlex.quote(t.file("debugged.conf", MANIFEST)), shlex.quote(t.shard("debugged"))
    return Session(t, where, commands, "--kernel --verbose --manifest %s --add %s:/t/debugged %s" % (manifest, probe,
                                                                                                     options),
                   **others)


def rows(text):
    """Returns the rows of a table as lists of words, the head left out."""
    return [line.split() for line in text.strip().split("\n")[1:]]


# ---- Where a session begins ----


def test_main(t):
    """--gdb stops in supervisor_main, with source, before anything is printed."""
    session = Session(t, "--gdb", ["info registers rip cs", "info symbol $pc", "kill"], "--kernel")
    t.check(re.search(r"^\d+\tvoid supervisor_main\(", session.start, re.M), "the source is not shown")
    t.check("supervisor_main" in session.said[1], "gdb stands elsewhere: " + session.said[1])
    t.check("0x8" in session.said[0], "not in ring 0")
    t.equal(session.console_at_start, "", "what the supervisor has already said")


def test_boot(t):
    """--gdb=boot stops at the first instruction of the trampoline, with and without firmware; the loader's place is
    known."""
    plain = Session(t, "--gdb=boot", ["info registers rip cr0", "info symbol $pc", "kill"], "--kernel")
    t.check(re.match(r"pvh_start in section", plain.said[1]), "gdb stands elsewhere: " + plain.said[1])
    t.check("pvh_start:" in plain.start, "the source is not shown")
    commands = ["info symbol $pc", "loader", "print/x (unsigned long)&efi_main", "x/8xb efi_main", "kill"]
    firmware = Session(t, "--gdb=boot", commands, "")
    t.check(re.match(r"_start in section", firmware.said[0]), "gdb stands elsewhere: " + firmware.said[0])
    told = re.search(r"\[BOOT\] loader at (0x[0-9a-f]+)", firmware.console).group(1)
    t.check(told in firmware.said[1], "the console says that the loader is at %s, gdb: %s" % (told, firmware.said[1]))
    nm = t.sh(["nm", "build/debug/efi_loader.so"], expect=0).stdout
    offset = int(re.search(r"^([0-9a-f]+) T efi_main$", nm, re.M).group(1), 16)
    t.check("%#x" % (int(told, 16) + offset) in firmware.said[2], "efi_main is elsewhere: " + firmware.said[2])
    dump = t.sh("objdump -d --start-address=%#x build/debug/efi_loader.so | grep -m1 -A3 '<efi_main>:' | cut -f 2" %
                offset).stdout
    code = "".join(dump.split("\n")[1:]).split()
    memory = re.findall(r"0x([0-9a-f]{2})\b",
                        "".join(line.split(":", 1)[1] for line in firmware.said[3].strip().split("\n")))
    t.check(len(code) >= 4 and memory[:len(code)][:8] == code[:8],
            "memory at efi_main holds %s, the file %s" % (memory, code))


def test_shard(t):
    """--gdb=SHARD stops at that shard's main in ring 3, and nowhere else; a wrong name is told at once."""
    session = Session(t, "--gdb=hello-c", ["info registers cs", "info symbol $pc", "print shards[0].profile->name",
                                           "kill"],
                      "--kernel --shard shards/fs-reader --shard shards/hello-c")
    t.check("0x23" in session.said[0], "not in ring 3")
    t.check(re.match(r"main( \+ \d+)? in section .text of .*hello-c.elf", session.said[1]),
            "gdb stands elsewhere: " + session.said[1])
    t.check("hello-c/main.c" in session.start, "the source is not shown")
    done = t.sh("./run.sh --gdb=nobody --kernel --shard shards/hello-c", expect=4)
    t.check("it has: hello-c" in done.stderr, "the message does not name the shards: " + done.stderr)


# ---- The commands, at a known moment ----

HELP = "shards caps channels frames pagewalk memmap trapframe fault iommu kbt shard loader ring3".split()


def test_commands(t):
    """shards, caps, channels, frames, pagewalk, memmap, trapframe, fault, kbt agree with the manifest, the monitor and
    the console."""
    names = ["shards", "caps giver", "caps 2", "channels", "frames", "fault", "trapframe giver", "kbt giver", "memmap",
             "monitor info mem", "pagewalk $pc", "monitor gva2gpa {pc}", "info symbol $pc", "memmap giver"]
    session = start(t, "--gdb=taker", ["ring3 taker at_rest", "continue"] +
                    [name.format(pc="0x1020") for name in names] + [
        "pagewalk 0x1020", "delete", "thbreak sys_serial_write", "continue", "trapframe", "kbt", "continue"], expect=1)
    said = dict(zip(names, session.said[2:]))
    check_shards(t, said)
    check_fault(t, said["fault"], session.console)
    check_memory(t, said, session)
    at_call = session.said[-3:-1]
    t.check(re.search(r"system call 1 SERIAL_WRITE\(0x[0-9a-f]+, 0xf,", at_call[0]), "trapframe: " + at_call[0])
    for name in ("sys_serial_write", "syscall_dispatch", "syscall_entry", "from ring 3: call 1 SERIAL_WRITE",
                 "at_rest"):
        t.check(name in at_call[1], "kbt lacks %s: %s" % (name, at_call[1]))
    t.check(re.search(r": \d of \d shards completed, 0 failed, 1 killed, 0 could not start\.\nHalting",
                      session.console), "the guest did not go on as if nothing had been")
    free = re.search(r"(\d+) frames free", session.console).group(1)
    t.check(int(free) > int(re.search(r"(\d+) free", said["frames"]).group(1)), "frames in use are not counted")


def check_shards(t, said):
    """The shards' states, capabilities and channels are those that tests/shards/debugged makes."""
    table = {row[-2]: row for row in rows(said["shards"])}
    t.equal(sorted(table), ["giver", "taker"], "the shards")
    t.check("blocked" in table["giver"] and "recv on channel 0 end 0" in " ".join(table["giver"]),
            "giver: %s" % table["giver"])
    t.check(table["taker"][0] == "*" and "running" in table["taker"] and "low" in table["taker"],
            "taker: %s" % table["taker"])
    t.check(re.search(r"^ *0 +CHANNEL +channel 0 end 0 +SEND\+RECV\+GRANT +its own$", said["caps giver"], re.M),
            said["caps giver"])
    t.check(re.search(r"^ *0 +CHANNEL +channel 0 end 1 +SEND\+RECV\+GRANT +its own$", said["caps 2"], re.M),
            said["caps 2"])
    t.check(re.search(r"^ *1 +CHANNEL +channel 0 end 0 +SEND +granted by shard 1 from its handle 0$", said["caps 2"],
                      re.M),
            said["caps 2"])
    ends = rows(said["channels"])
    t.check(ends[0][:6] == ["0", "0", "open", "1", "(giver)", "0"] and ends[0][6] == "1", "end 0: %s" % ends[0])
    t.check(ends[1][:6] == ["0", "1", "open", "2", "(taker)", "2"], "end 1: %s" % ends[1])
    t.check("system call 22 CHANNEL_RECV(0x0," in said["trapframe giver"], said["trapframe giver"])
    for name in ("context_switch_fpu", "sched_wait", "syscall_dispatch", "from ring 3: call 22 CHANNEL_RECV"):
        t.check(name in said["kbt giver"], "kbt lacks %s: %s" % (name, said["kbt giver"]))


def check_fault(t, said, console):
    """The fault is the one that the console tells of."""
    told = re.search(r"Shard 0 \(faulty\) killed: page fault .* at rip (0x\w+): read of (0x\w+), .*\(error (0x\w+)\)",
                     console)
    t.check(told, "the console tells of no fault")
    for text in ("shard 0 (faulty) in ring 3, vector 14", "at %s main" % told.group(1), "address %s " % told.group(2),
                 "error code %s: nothing is mapped there, read, from ring 3" % told.group(3),
                 "not mapped: the walk ends in the PT"):
        t.check(text in said, "fault lacks `%s`: %s" % (text, said))


def expand(text):
    """Returns the lines of memmap as (first, last, rights)."""
    found = []
    for line in text.split("\n"):
        region = re.match(r"0x(\w{16})  0x(\w{16})  .*?  (R\S*) (user|supervisor)(?:.* (\d+) times, every (\d+) KiB)?",
                          line)
        if region:
            first, last = int(region.group(1), 16), int(region.group(2), 16)
            for i in range(int(region.group(5) or 1)):
                step = i * int(region.group(6) or 0) << 10
                found.append((first + step, last + step, region.group(3), region.group(4)))
    return found


def check_memory(t, said, session):
    """memmap agrees with the monitor's `info mem`, which knows no NX; pagewalk with gva2gpa; frames with the peaks
    told."""
    mine = []
    for first, last, rights, who in expand(said["memmap"]):
        kind = ("u" if who == "user" else "-") + "r" + ("w" if "+W" in rights else "-")
        if mine and mine[-1][1] + 1 == first and mine[-1][2] == kind:
            mine[-1][1] = last
        else:
            mine.append([first, last, kind])
    monitor = [[int(a, 16), int(b, 16) - 1, kind]
               for a, b, kind in re.findall(r"^(\w{16})-(\w{16}) \w{16} (\S+)", said["monitor info mem"], re.M)]
    t.check(len(monitor) > 5, "the monitor shows no map")
    t.equal(mine, monitor, "the regions")
    t.check(all(not ("+W" in rights and "+X" in rights) for _, _, rights, _ in expand(said["memmap"])), "W and X")
    heap = [region for region in expand(said["memmap giver"]) if region[0] == 0x100000]
    t.equal(heap, [(0x100000, 0x101FFF, "R+W+NX", "user")], "the heap of giver")
    physical = re.search(r"gpa: (0x\w+)", said["monitor gva2gpa {pc}"]).group(1)
    walk = session.said[2 + 14]
    t.check("physical %s, R+X user" % physical in walk and len(re.findall(r"^  P\S+ ", walk, re.M)) == 4,
            "pagewalk: " + walk)
    t.check(said["info symbol $pc"].startswith("at_rest"), "at_rest was not reached: " + said["info symbol $pc"])
    t.check("it agrees" in said["frames"], said["frames"])
    table = {row[1]: row for row in rows("\n".join(said["frames"].split("\n")[2:]))}
    for name in ("giver", "taker"):
        told = re.search(r"\(%s\) ended: code 0 after \d+ ms, at most (\d+) frames" % name, session.console).group(1)
        t.equal(table[name][3], told, "the peak of " + name)


def test_panic(t):
    """trapframe, fault and kbt show at a panic what the panic itself prints."""
    build = t.variant("provoke-panic-debug", debug=True, PROVOKE="PROVOKE_panic")
    session = Session(t, "--gdb --build %s" % build,
                      ["hbreak fault_panic", "continue", "trapframe", "kbt", "fault", "continue"],
                      "--kernel", expect=2)
    told = session.console[session.console.index("PANIC:"):]
    rip = re.search(r"at rip (0x\w+)", told).group(1)
    t.check("vector 14: page fault (#PF), in ring 0 at %s provoke" % rip in session.said[2], session.said[2])
    rax = re.search(r"rax (\w{16})", told).group(1)
    t.check("rax %s" % rax in session.said[2], "rax differs")
    t.check("write" in session.said[4] and "not mapped: the walk ends in the PML4" in session.said[4], session.said[4])
    functions = re.findall(r"^  0x\w+ (\w+)\+", told[told.index("Backtrace:"):], re.M)
    t.check(len(functions) >= 2, "the panic printed no backtrace")
    mine = session.said[3].split("interrupted the kernel:")[1]
    places = re.findall(r"^  0x(\w+) (\w+)", mine, re.M)
    t.equal([name for _, name in places], functions, "kbt and the panic's backtrace")


def test_iommu(t):
    """iommu shows during a copy exactly the two pages of a piece, each with one right, in the two partitions."""
    manifest = t.file("gpu.conf", GPU)
    session = Session(t, "--gdb", ["thbreak engine_interrupt", "continue", "iommu", "fault", "delete", "continue"],
                      "--kernel --verbose --manifest " + shlex.quote(manifest), expect=0)
    said = session.said[2]
    t.check("works for shard 0 (source)" in said, said)
    pages = re.findall(r"^ +(0x\w+) +(0x\w+) +(read|write)$", said, re.M)
    bar = int(re.search(r"VGA controller\n +BAR0 memory (0x\w+)", session.console).group(1), 16)
    share = int(re.search(r"partitions of (\d+) KiB", session.console).group(1)) << 10
    t.check(1 <= len(pages) <= 4, "the mapped pages: %s" % pages)
    for _, phys, right in pages:
        t.equal((int(phys, 16) - bar) // share, 0 if right == "read" else 1, "the partition of the page to %s" % right)
    t.equal({right for _, _, right in pages}, {"read", "write"}, "the rights")
    t.check("no fault" in session.said[3], session.said[3])


def test_help(t):
    """Each command has help that begins with its name; without a machine each says so in words."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    harness.build("--debug")
    script = "file build/debug/supervisor.elf\nsource scripts/gdb/start.py\n"
    for name in HELP:
        script += "echo @@%s\\n\nhelp %s\n" % (name, name)
    done = t.sh(["gdb", "-nx", "-q", "-batch", "-x", t.file("script", script)], expect=0)
    for name in HELP:
        text = done.stdout.split("@@%s\n" % name)[1].split("@@")[0]
        t.check(text.startswith(name) and len(text) > 60, "help %s: %s" % (name, text))
    for name in ("shards", "caps 1", "channels", "frames", "pagewalk 0", "memmap", "trapframe", "iommu", "kbt"):
        done = t.sh(["gdb", "-nx", "-q", "-batch", "-x", t.file("script", script), "-ex", name])
        last = done.stderr.strip().split("\n")[-1]
        t.check("attached" in last or "stopped" in last or "connected" in last,
                "%s without a machine: %s" % (name, last))


# ---- Other front ends ----


class MachineInterface:
    """gdb as VS Code's cppdbg drives it: by MI commands on a pipe."""

    def __init__(self, t):
        self.t = t
        self.process = harness.start(["gdb", "-nx", "--interpreter=mi2"], cwd=t.root, stdout=-1, stderr=-2, stdin=-1)
        self.number = 0

    def send(self, command, wait=None):
        """Sends a command. Returns all lines up to its result, or up to the stop that it leads to (wait="stop")."""
        self.number += 1
        self.process.stdin.write(("%d%s\n" % (self.number, command)).encode())
        self.process.stdin.flush()
        lines = []
        end = r"\*stopped" if wait == "stop" else r"%d\^" % self.number
        while True:
            line = self.process.stdout.readline().decode(errors="replace")
            self.t.log(line)
            self.t.check(line, "gdb ended in " + command)
            lines.append(line)
            self.t.check(not line.startswith("%d^error" % self.number), "%s: %s" % (command, line))
            if re.match(end, line):
                return "".join(lines)

    def console(self, command):
        return self.send('-interpreter-exec console "%s"' % command.replace('"', '\\"'))


class Front:
    """A machine as a task of VS Code starts it, and a gdb as an extension of VS Code starts it; both end with the
    `with`."""

    def __init__(self, t, command):
        self.t = t
        self.place = os.path.join(harness.tempfile.mkdtemp(prefix="coconut-"), "gdb")
        self.machine = harness.start(["bash", "-c",
                                      command.replace(" -s -S", " -S -gdb unix:%s,server=on,wait=off" % self.place)],
                                     cwd=t.root, stdout=-1, stderr=-2)
        self.mi = MachineInterface(t)

    def __enter__(self):
        return self.mi

    def __exit__(self, *_):
        harness.end_group(self.mi.process, 9)
        harness.end_group(self.machine, 15)
        harness.finish(self.machine, 60)
        harness.finish(self.mi.process, 60)
        shutil.rmtree(os.path.dirname(self.place))

    def connect(self):
        wait_for(self.t, self.place, self.machine)
        self.mi.send("-target-select remote " + self.place)


def test_vscode(t):
    """.vscode/launch.json: its commands, in the order of cppdbg, through gdb's MI: breakpoints, a shard's symbols,
    commands."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    configuration, tasks = read_vscode(t, "cppdbg")
    front = Front(t, tasks[configuration["preLaunchTask"]]["command"])
    with front as mi:
        for setup in configuration["setupCommands"]:
            mi.console(setup["text"])
        mi.send("-file-exec-and-symbols " + configuration["program"])
        front.connect()
        for later in configuration["postRemoteConnectCommands"]:
            mi.console(later["text"])
        go_through(t, mi)
    t.note("VS Code itself was not run")


def test_vscode_cdt(t):
    """The same for the extension of Eclipse CDT, in the order of its cdt-gdb-adapter; the task at the end ends the
    machine."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    configuration, tasks = read_vscode(t, "gdbtarget")
    place = "%(host)s:%(port)s" % configuration["target"]
    front = Front(t, tasks[configuration["preLaunchTask"]]["command"])
    with front as mi:
        mi.send("-file-exec-and-symbols " + configuration["program"])
        for command in configuration["preConnectCommands"]:
            mi.console(command)
        front.connect()
        for command in configuration["initCommands"]:
            mi.console(command)
        go_through(t, mi)
        mi.console("disconnect")
        t.check(front.machine.poll() is None, "the machine has ended by itself")
        last = tasks[configuration["postDebugTask"]]["command"]
        t.check(place in last, "the task at the end looks for another machine: " + last)
        t.sh(last.replace(place, front.place), expect=0)
        t.equal(front.machine.wait(60), 3, "exit status of run.sh after the task at the end")
    t.note("VS Code itself was not run")


def go_through(t, mi):
    """From the start to a system call, and on to a shard's main."""
    mi.send("-break-insert -f sys_fs_open")
    t.check('func="supervisor_main"' in mi.send("-exec-continue", "stop"), "supervisor_main was not reached")
    t.check('func="sys_fs_open"' in mi.send("-exec-continue", "stop"), "the breakpoint was not hit")
    t.check("fs-reader" in mi.console("shards") and 'name="rip"' not in mi.send("-stack-list-frames"), "no shard runs")
    t.check("from ring 3: call 30 FS_OPEN" in mi.console("kbt"), "kbt does not work through MI")
    mi.send("-break-delete")
    mi.console("ring3 hello-c main")
    mi.send("-exec-continue", "stop")
    t.check("hello-c/main.c" in mi.send("-stack-list-frames"), "the shard's symbols were not loaded")


def read_vscode(t, kind):
    """Returns (the first configuration of launch.json for an extension, the tasks by their labels), this folder's name
    put in."""
    with open(os.path.join(t.root, ".vscode", "launch.json"), encoding="utf-8") as file:
        configurations = json.loads(file.read().replace("${workspaceFolder}",
                                                        json.dumps(t.root)[1:-1]))["configurations"]
    with open(os.path.join(t.root, ".vscode", "tasks.json"), encoding="utf-8") as file:
        tasks = {task["label"]: task for task in json.load(file)["tasks"]}
    for each in configurations:
        task = tasks.get(each["preLaunchTask"])
        t.check(task and task["isBackground"] and " -s -S" in task["command"],
                "no task starts the machine of " + each["name"])
        said = re.search(r"echo '([^']*)'", task["command"]).group(1)
        t.check(said.endswith(task["problemMatcher"]["background"]["endsPattern"]),
                "VS Code would wait for ever for " + each["name"])
        t.check(each.get("postDebugTask") in (None, *tasks), "no task ends the machine of " + each["name"])
    return next(each for each in configurations if each["type"] == kind), tasks


def wait_for(t, place, machine):
    """Waits until a machine listens on a socket."""
    deadline = time.monotonic() + 300
    while not os.path.exists(place):
        t.check(machine.poll() is None and time.monotonic() < deadline, "the machine did not start")
        time.sleep(0.2)


# ---- The pure rooms ----


def test_words(t):
    """Numbers become the right words."""
    words = importlib.import_module("words")
    t.equal(words.page_fault(0x4), "nothing is mapped there, read, from ring 3", "error 4")
    t.equal(words.page_fault(0x17), "the page is mapped, its rights forbid it, write, from ring 3, instruction fetch",
            "error 0x17")
    t.equal(words.flags(0x246), "PF ZF IF", "rflags")
    t.equal(words.flags(0x3002), "IOPL=3", "rflags")
    t.equal(words.rights(7, "CAP_RIGHT_"), "SEND+RECV+GRANT", "rights")
    t.equal(words.rights(0x80, "CAP_RIGHT_"), "0x80", "a right without a name")
    t.equal(words.capability_type(4), "GPU_DMA", "a type")
    t.equal(words.call_name(23), "CHANNEL_CALL", "a call")
    t.equal(words.selector_error(0x402), "gate of vector 128 in the IDT, or under QEMU 7.2 of 64",
            "the error code of int 0x40 there")
    t.equal(words.selector_error(0x1A), "gate of vector 3 in the IDT", "the error code of int3 on a processor")
    t.equal(words.table(["a", "bb"], [[1, "x"], [10, "y"]]), [" a  bb", " 1  x", "10  y"], "a table")
    t.equal([words.size(n) for n in (4096, 3 << 20, 1 << 30, 5000)], ["4 KiB", "3 MiB", "1 GiB", "5000 bytes"], "sizes")


def test_pages(t):
    """A walk and the regions of tables that are made here."""
    pages = importlib.import_module("pages")
    tables = {at: [0] * 512 for at in (0x1000, 0x2000, 0x3000, 0x4000)}
    tables[0x1000][0] = 0x2007
    tables[0x2000][0] = 0x3007
    tables[0x3000][0] = 0x4007
    tables[0x3000][1] = 0x8000000000600083 | 0
    tables[0x4000][1] = 0x5005
    tables[0x4000][2] = 0x6005
    tables[0x4000][4] = 0x8000000000009007
    walk = pages.Walk(tables.get, 0x1000, 0x1234)
    t.equal((walk.phys, walk.rights(), len(walk.steps)), (0x5234, "R+X user", 4), "a page")
    large = pages.Walk(tables.get, 0x1000, 0x212345)
    t.equal((large.phys, large.rights()), (0x612345, "R+W+NX supervisor"), "a large page")
    nothing = pages.Walk(tables.get, 0x1000, 0x8000000000)
    t.check(nothing.phys is None and "ends in the PML4" in nothing.lines()[-1], "a page that is not there")
    found = [(r.start, r.end, r.phys, r.rights) for r in pages.regions(tables.get, 0x1000)]
    t.equal(found, [(0x1000, 0x3000, 0x5000, "R+X user"), (0x4000, 0x5000, 0x9000, "R+W+NX user"),
                    (0x200000, 0x400000, 0x600000, "R+W+NX supervisor")], "the regions")
    same = [pages.Region(0x10000 + i * 0x4000, 0x2000, 0, "R+W+NX supervisor", []) for i in range(5)]
    folded = pages.fold(same + [pages.Region(0x90000, 0x1000, 0, "R+X user", [])])
    t.equal([(r.start, r.times, r.stride) for r in folded], [(0x10000, 5, 0x4000), (0x90000, 1, 0)], "folded regions")


test_commands.heavy = test_boot.heavy = test_iommu.heavy = True
