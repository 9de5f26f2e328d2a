"""What users do wrong, and what they meet: mistyped command lines, odd places, their own settings, full disks, killed
runs.

Whatever a user does wrong costs one line to read, and the exit status tells it from a run that went wrong.

Read next: run.sh, scripts/qemu.sh, scripts/manifest.py.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import struct
import time

import harness
import sessions
import test_system

HELLO = "hello-c: hello from ring 3"
QUOTES = "we said \"it's\" für uns"  # a folder's name

# What is typed, the exit status, and the one line on stderr; `...` stands for any end. Nothing of it starts a build.
LINES = [
    ("./run.sh --promt x", 4,
     "--promt is not an option of run.sh: did you mean --prompt?; QEMU said: --promt: invalid option"),
    ("./run.sh --promt=x", 4,
     "--promt=x is not an option of run.sh: did you mean --prompt?; QEMU said: --promt=x: invalid option"),
    ("./run.sh -prompt x", 4,
     "-prompt is not an option of run.sh: did you mean --prompt?; QEMU said: -prompt: invalid option"),
    ("./run.sh --shards shards/hello-c", 4,
     "--shards is not an option of run.sh: did you mean --shard?; QEMU said: ..."),
    ("./run.sh --tempreature 0", 4,
     "--tempreature is not an option of run.sh: did you mean --temperature?; QEMU said: ..."),
    ("./run.sh --kernal", 4,
     "--kernal is not an option of run.sh: did you mean --kernel?; QEMU said: --kernal: invalid option"),
    ("./run.sh --gdbb", 4,
     "--gdbb is not an option of run.sh: did you mean --gdb?; QEMU said: --gdbb: invalid option"),
    ("./run.sh --zzz", 4, "--zzz is not an option of run.sh; QEMU said: --zzz: invalid option"),
    ("./run.sh -x", 4, "-x is not an option of run.sh; QEMU said: -x: invalid option"),
    ("./run.sh nonsense", 4, "nonsense is not an option of run.sh, and no file that QEMU could take as a disk"),
    ("./run.sh verbose", 4,
     "verbose is not an option of run.sh, and no file that QEMU could take as a disk: did you mean --verbose?"),
    ("./run.sh --verbose shards/hello-d", 4,
     "shards/hello-d is not an option of run.sh, and no file that QEMU could take as a disk"),
    ("./run.sh --gdb hello-c", 4, "hello-c is not an option of run.sh: did you mean --gdb=hello-c?"),
    ("./run.sh ''", 4, "an argument is empty; --help lists the options."),
    ("./run.sh -m", 4, "-m is an option of QEMU, which said: -m: requires an argument"),
    ("./run.sh -s -S -d", 4, "-d is an option of QEMU, which said: -d: requires an argument"),
    ("./run.sh --steps ten", 4, "--steps needs a number, a whole one; 0 is the whole context; this is none: ten"),
    ("./run.sh --steps -1", 4, "--steps needs a number, a whole one; 0 is the whole context; this is none: -1"),
    ("./run.sh --steps 1.5", 4, "--steps needs a number, a whole one; 0 is the whole context; this is none: 1.5"),
    ("./run.sh --steps 99999999999999999999", 4,
     "--steps needs a number, a whole one; 0 is the whole context; this is none: 9..."),
    ("./run.sh --steps ''", 4, "--steps needs a number, a whole one; 0 is the whole context; this is none: "),
    ("./run.sh --temperature abc", 4, "--temperature needs a number, such as 0.8; 0 is greedy; this is none: abc"),
    ("./run.sh --temperature -1", 4, "--temperature needs a number, such as 0.8; 0 is greedy; this is none: -1"),
    ("./run.sh --temperature 0,8", 4, "--temperature needs a number, such as 0.8; 0 is greedy; this is none: 0,8"),
    ("./run.sh --temperature 1e3", 4, "--temperature needs a number, such as 0.8; 0 is greedy; this is none: 1e3"),
    ("./run.sh --temperature 0.1234567890123456", 4,
     "--temperature needs a number, such as 0.8; 0 is greedy; this is none: 0.1..."),
    ("./run.sh --topp 7", 4, "--topp needs a number, from 0 to 1; this is none: 7"),
    ("./run.sh --topp=1.01", 4, "--topp needs a number, from 0 to 1; this is none: 1.01"),
    ("./run.sh --topp .", 4, "--topp needs a number, from 0 to 1; this is none: ."),
    ("./run.sh --seed x", 4, "--seed needs a number, a whole one above 0; this is none: x"),
    ("./run.sh --seed 0", 4, "--seed needs a number, a whole one above 0; this is none: 0"),
    ("./run.sh --prompt", 4, "--prompt needs a value; --help lists the options."),
    ("./run.sh --prompt $'a\\nb'", 4, "a prompt cannot hold a line break: the manifest is read line by line."),
    ("./run.sh --timeout soon", 4, "--timeout needs a number of seconds, a whole one above 0."),
    ("./run.sh --timeout 0", 4, "--timeout needs a number of seconds, a whole one above 0."),
    ("./run.sh --timeout -5", 4, "--timeout needs a number of seconds, a whole one above 0."),
    ("./run.sh --timeout 10s", 4, "--timeout needs a number of seconds, a whole one above 0."),
    ("./run.sh --timeout=99999999999999999999", 4, "--timeout needs a number of seconds, a whole one above 0."),
    ("./run.sh --shard", 4, "--shard needs a value; --help lists the options."),
    ("./run.sh --shard=", 4, "--shard needs a value; --help lists the options."),
    ("./run.sh --shard shards/hello-d", 4, "--shard shards/hello-d: there is no folder of this name."),
    ("./run.sh --shard shards/hello-c/main.c", 4, "--shard shards/hello-c/main.c: there is no folder of this name."),
    ("./run.sh --shard --kernel", 4, "--shard --kernel: there is no folder of this name."),
    ("./run.sh --manifest none.conf", 4, "--manifest: there is no readable file none.conf."),
    ("./run.sh --manifest etc", 4, "--manifest: there is no readable file etc."),
    ("./run.sh --manifest run.sh --shard shards/hello-c", 4, "--manifest and --shard both say what boots; give one."),
    ("./run.sh --manifest scripts/gdb/tour/ipc.conf --prompt x", 4,
     "--prompt has no effect with --manifest; write it into the args..."),
    ("./run.sh --add run.sh", 4, "--add run.sh: write it as FILE:/PATH."),
    ("./run.sh --add run.sh:x", 4, "--add run.sh:x: write it as FILE:/PATH."),
    ("./run.sh --add :/x", 4, "--add :/x: write it as FILE:/PATH."),
    ("./run.sh --add none:/x", 4, "--add: there is no readable file none."),
    ("./run.sh --add run.sh:/../x", 4, "--add run.sh:/../x: /../x is no path of a file."),
    ("./run.sh --add run.sh:/", 4, "--add run.sh:/: / is no path of a file."),
    ("./run.sh --add run.sh:/etc/coconut.conf", 4,
     "--add run.sh:/etc/coconut.conf: this is the manifest, which --manifest sets."),
    ("./run.sh --add run.sh://etc/./coconut.conf", 4,
     "--add run.sh://etc/./coconut.conf: this is the manifest, which --manifest sets."),
    ("./run.sh --add run.sh:/x --add build.sh:/x", 4, "--add build.sh:/x: an earlier --add has put a file there."),
    ("./run.sh --model run.sh", 4, "--model: ..."),
    ("./run.sh --model layout.h --tokenizer layout.h", 4, "--model: ..."),
    ("./run.sh --model etc/motd", 4, "--model: ..."),
    ("./run.sh --model none.bin", 4, "--model: there is no readable file none.bin."),
    ("./run.sh --tokenizer model", 4, "--tokenizer: there is no readable file model."),
    ("./run.sh --console /nosuch/x", 4, "--console /nosuch/x: this cannot be written to."),
    ("./run.sh --console etc", 4, "--console etc: this cannot be written to."),
    ("./run.sh --trace /nosuch/x", 4, "--trace /nosuch/x: this cannot be written to."),
    ("./run.sh --trace run.sh/x", 4, "--trace run.sh/x: this cannot be written to."),
    ("./run.sh --build etc", 4, "etc holds no build; make one with: ./build.sh --out DIR"),
    ("./run.sh --tour nowhere", 4, "--tour nowhere: there are tours of boot dma fault ipc syscall."),
    ("./run.sh --tour", 4, "--tour needs a value; --help lists the options."),
    ("./run.sh --tour boot --gdb", 4, "--gdb and --tour start gdb, which they can do once; give one."),
    ("./run.sh --gdb=boot --tour dma", 4, "--gdb and --tour start gdb, which they can do once; give one."),
    ("./run.sh --record /tmp/run --gdb", 4,
     "--record only records: leave --gdb, --tour, --trace and --replay out; gdb comes with --replay."),
    ("./run.sh --tour boot --tour dma", 4, "--gdb and --tour start gdb, which they can do once; give one."),
    ("./run.sh --tour ipc --add run.sh:/shards/tour", 4, "--add: /shards/tour is the shard of the tours."),
    ("./run.sh --model run.sh --add run.sh:/model.bin", 4,
     "--add and --model both put a file at /model.bin; give one."),
    ("./run.sh -daemonize", 4, "-daemonize: QEMU would outlive run.sh, which says how the run ended."),
    ("sh ./run.sh --promt x", 4,
     "--promt is not an option of run.sh: did you mean --prompt?; QEMU said: --promt: invalid option"),
    ("./run.sh --tour boot --shard shards/hello-c", 4,
     "--tour chooses what boots: leave --manifest and --shard out."),
    ("./run.sh --tour boot --steps 5", 4, "--steps has no effect with --tour."),
    ("ACCEL=warp ./run.sh", 4, "ACCEL=warp: only tcg and kvm are known."),
    ("./run.sh >&-", 4, "stdout is closed; --console FILE sends what the guest says elsewhere."),
    ("./run.sh --help >/dev/full", 4, "..."),
    ("./scripts/qemu-run.sh --promt x", 4,
     "--promt is not an option of run.sh: did you mean --prompt?; QEMU said: ..."),
    ("./scripts/qemu-run.sh -serial", 4, "-serial is an option of QEMU, which said: -serial: requires an argument"),
    ("./build.sh --nosuch", 1, "unknown option --nosuch; --help lists what there is."),
    ("./build.sh nonsense", 1, "unknown option nonsense; --help lists what there is."),
    ("./build.sh --out", 1, "--out needs a folder."),
    ("./build.sh --define", 1, "--define needs NAME or NAME=VALUE."),
    ("./build.sh --define 1x", 1, "--define needs NAME or NAME=VALUE."),
    ("./grade.sh 99", 2, "there is no lab 99; ./grade.sh --list shows them"),
    ("./grade.sh first", 2, "there is no lab first; ./grade.sh --list shows them"),
    ("./grade.sh --tree /nosuch 01", 2, "/nosuch is no tree of coconutOS"),
    ("./grade.sh --nosuch", 2, "unrecognized arguments: --nosuch; --help lists the options."),
    ("./grade.sh 01 02", 2, "unrecognized arguments: 02; --help lists the options."),
    ("./test.sh --nosuch", 2, "unrecognized arguments: --nosuch; --help lists the options."),
    ("./bench.sh --step", 2, "unrecognized arguments: --step; --help lists the options."),
    ("./bench.sh --steps 5", 2, "unrecognized arguments: 5; --help lists the options."),
    ("./bench.sh nonsense", 2, "unrecognized arguments: nonsense; --help lists the options."),
]

HELPS = ["./run.sh -h", "./run.sh --help", "./run.sh -help", "./run.sh help", "./run.sh -\\?", "./run.sh --kernel -h",
         "./scripts/qemu-run.sh help", "./build.sh -h", "./bench.sh -h", "./grade.sh -h", "./test.sh -h"]


def tree_without_build(t):
    """Returns a copy of what run.sh needs, in a folder with quotes in its name, whose build.sh fails the test."""
    tree = os.path.join(t.scratch, QUOTES)
    os.makedirs(tree)
    shutil.copy(os.path.join(t.root, "run.sh"), tree)
    shutil.copytree(os.path.join(t.root, "scripts"), os.path.join(tree, "scripts"))
    for name in ("etc", "model", "shards", "layout.h"):
        os.symlink(os.path.join(t.root, name), os.path.join(tree, name))
    with open(os.path.join(tree, "build.sh"), "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho a build was started >&2\nexit 1\n")
    os.chmod(os.path.join(tree, "build.sh"), 0o755)
    return tree


def type_line(t, tree, line):
    """Types a command line: run.sh through a symbolic link and with Python's docstrings left out, the others in this
    tree. Returns what came of it."""
    mine = re.search(r"run\.sh", line)
    if mine:
        os.makedirs(os.path.join(tree, "link"), exist_ok=True)
        for name in ("run.sh", "scripts/qemu-run.sh"):
            link = os.path.join(tree, "link", os.path.basename(name))
            if not os.path.islink(link):
                os.symlink(os.path.join(tree, name), link)
        line = re.sub(r"\./(?:scripts/)?(\S*run\.sh)", r"link/\1", line, count=1)
    return t.sh(line, cwd=tree if mine else t.root, env=dict(os.environ, PYTHONOPTIMIZE="2"), timeout=300)


def test_lines(t):
    """Command lines that users mistype: the one line that each gets, its exit status, and no build, in a path with
    quotes."""
    t.check(len(LINES) >= 40, "there are only %d command lines" % len(LINES))
    tree = tree_without_build(t)
    for line, status, words in LINES:
        done = type_line(t, tree, line)
        t.equal((done.returncode, done.stdout), (status, ""), "status and stdout of `%s` (%s)" % (line, done.stderr))
        script = re.search(r"[\w-]+\.sh", line).group(0).replace("qemu-run", "run")
        wanted = script + ": " + words
        said = done.stderr
        t.check(said.count("\n") == 1 and said.endswith("\n"), "`%s` costs more than a line: %s" % (line, said))
        if words == "...":
            continue
        fits = said.startswith(wanted[:-3]) if words.endswith("...") else said == wanted + "\n"
        t.check(fits, "`%s` says: %s" % (line, said))
    t.note("%d command lines" % len(LINES))


def test_help(t):
    """Whoever asks for help gets ours, on stdout, with status 0; what QEMU is asked, it answers."""
    tree = tree_without_build(t)
    for line in HELPS:
        done = type_line(t, tree, line)
        t.equal((done.returncode, done.stderr), (0, ""), "status and stderr of `%s`" % line)
        script = re.search(r"[\w-]+\.sh", line).group(0).replace("qemu-run", "run")
        t.check(re.match(r"(usage: (\./)?%s|$)" % re.escape(script), done.stdout),
                "`%s` says: %s" % (line, done.stdout[:80]))
    text = type_line(t, tree, "./run.sh --help").stdout
    t.check("0: the whole context" in text, "the help does not say what --steps 0 is")
    for line, words in (("-version", "QEMU emulator version"), ("-machine help", "q35"),
                        ("-device edu,help", "dma_mask")):
        done = type_line(t, tree, "./run.sh " + line)
        t.check(done.returncode == 0 and words in done.stdout, "`%s` says: %s" % (line, done.stdout[:80] + done.stderr))


# ---- What QEMU refuses ----


def test_refused(t):
    """Values that only QEMU can judge: its reason in one line, status 4, with a debugger as well."""
    cases = [("-m abc", "-m abc: Parameter 'size' expects"), ("-device foo", "'foo' is not a valid device"),
             ("-machine foo", "unsupported machine type"), ("-S nonsense", "nonsense"),
             ("-hdb /nosuch/disk", "/nosuch/disk"),
             ("--gdb -device foo", "'foo' is not a valid device")]
    for options, words in cases:
        if "--gdb" in options and not shutil.which("gdb"):
            continue
        done = t.sh("./run.sh --build build --kernel --shard shards/hello-c %s </dev/null" % options, expect=4)
        wanted = r"run\.sh: QEMU did not start: .*%s.*\n" % re.escape(words)
        t.check(re.fullmatch(wanted, done.stderr), "%s: %s" % (options, done.stderr))
        t.equal(done.stdout, "", "stdout")


def fake(t, text):
    """Returns the words of watch.py, with a script in QEMU's place; "$PORT" in it is where the guest speaks."""
    path = t.file("fake-qemu", "#!/bin/bash\nwhile [[ $1 != -serial ]]; do shift; done\nPORT=${2#file:}\n" + text)
    os.chmod(path, 0o755)
    folder = os.path.join(t.scratch, "run")
    os.makedirs(folder, exist_ok=True)
    return ["python3", "scripts/watch.py", "--run", folder, "--build", "build", "--timeout", "300"], ["--", path]


def test_remarks(t):
    """What QEMU says on stderr is passed on, once, however it ends; only its refusal is put in our words."""
    cases = [("echo early >&2; echo x >$PORT; echo late >&2; exit 35", 1, ["early", "late"]),
             ("echo odd: problem >&2; exit 1", 4, ["run.sh: QEMU did not start: problem"]),
             ("echo fake: warning: w >&2; echo fake: reason >&2; echo more >&2; exit 1", 4,
              ["run.sh: QEMU did not start: reason"]),
             ("echo x >$PORT; echo y >&2; exit 1", 3, ["y", "run.sh: QEMU ended with status 1, which..."]),
             ("exit 1", 3, ["run.sh: QEMU ended with status 1, which..."]),
             ("echo remark >&2; kill -BUS $$", 3, ["remark", "run.sh: QEMU was ended by signal 7 (Bus error)..."]),
             ("sleep 3; echo late >&2; exit 1", 3, ["late", "run.sh: QEMU ended with status 1, which..."])]
    for text, status, wanted in cases:
        watch, command = fake(t, text)
        done = t.sh(watch + command, expect=status)
        lines = done.stderr.rstrip("\n").split("\n")
        t.check(len(lines) == len(wanted) and all(line.startswith(words.rstrip("."))
                                                  for line, words in zip(lines, wanted)),
                "`%s` led to: %s" % (text, done.stderr))


# ---- Where output cannot go ----


def test_stdout(t):
    """A full or a closed stdout: one line and status 3 or 4, never a traceback; a closed stdin or stderr is fine."""
    run = "./run.sh --build build --kernel --shard shards/hello-c "
    done = t.sh(run + ">/dev/full", expect=3)
    t.equal(done.stderr, "run.sh: stdout cannot be written: No space left on device. The run was ended.\n", "stderr")
    place = t.file("console", "")
    t.equal(t.sh(run + "--console %s >&-" % shlex.quote(place), expect=0).stderr, "", "stderr with --console")
    with open(place, encoding="utf-8") as file:
        t.check(HELLO in file.read(), "the console has not gone to the file")
    t.check(HELLO in t.sh(run + "<&-", expect=0).stdout, "without stdin hello-c did not run")
    t.check(HELLO in t.sh(run + "2>&-", expect=0).stdout, "without stderr hello-c did not run")
    t.equal(t.sh("./run.sh --promt x 2>&-").returncode, 4, "status where nothing can be said")
    t.equal(t.sh("./run.sh --timeout x 2>/dev/full").returncode, 4, "status where stderr is full")


def test_full_disk(t):
    """Logs that cannot grow during a run, and a folder that cannot be written: one line, status 3 and 4."""
    watch, command = fake(t, "head -c 100000 /dev/zero >$PORT; exec sleep 300\n")
    log = os.path.join(t.scratch, "run", "serial.log")
    limited = "ulimit -f 8; exec %s | wc -c; exit ${PIPESTATUS[0]}"
    done = t.sh(limited % " ".join(shlex.quote(word) for word in watch + command), expect=3)
    t.equal(done.stderr, "run.sh: %s cannot be written: File too large. The run was ended.\n" % log, "stderr")
    watch[3] = "/nosuch"
    done = t.sh(watch + command, expect=4)
    t.equal(done.stderr, "run.sh: the run could not be started: No such file or directory: /nosuch/serial.log\n",
            "stderr")
    done = t.sh("scripts/manifest.py --template etc/coconut.conf --model model/stories.bin >/dev/full", expect=1)
    t.equal(done.stderr, "run.sh: the manifest cannot be written: No space left on device\n", "stderr")
    done = t.sh("ulimit -f 4000; ./run.sh --build build --shard shards/hello-c --add run.sh:/x", expect=4)
    t.check("Traceback" not in done.stderr and done.stdout == "", "without room for the ramdisk: " + done.stderr)


def test_no_room(t):
    """A disk that fills under the run's folder, its ramdisk, or a traced machine's memory: one line, status 4 or 3."""
    if t.sh("unshare -m mount -t tmpfs -o size=1m none build/runs").returncode:
        t.skip("this user may not mount a small disk")
    # which of the last two meets the end of the disk first is chance: the machine's memory, or the console's copy
    cases = [("100k", "", 4, "cp: error writing "), ("9m", "", 4, "could not make the ramdisk: "),
             ("14m", "--trace %s" % shlex.quote(os.path.join(t.scratch, "out")), 3,
              r"QEMU was ended by signal 7 \(Bus error\)\. |build/runs/\S+/serial\.log cannot be written: ")]
    for size, options, status, words in cases:
        inside = "mount -t tmpfs -o size=%s none build/runs && exec ./run.sh --kernel --shard shards/hello-c %s"
        done = t.sh(["unshare", "-m", "bash", "-c", inside % (size, options)], expect=status)
        lines = [line for line in done.stderr.rstrip("\n").split("\n")
                 if not line.startswith(("trace: there is none: ", "build.sh: compiling"))]
        t.check(len(lines) == 1 and re.match("run.sh: (%s)" % words, lines[0]),
                "with %s of disk: %s" % (size, done.stderr))


# ---- Traces ----


def test_trace(t):
    """A trace that cannot be had leaves the run its own status, and one line says so; timeline.py reads no other
    files."""
    for text, status in (("echo PANIC: x >$PORT; exit 37", 2), ("echo x >$PORT; exit 35", 1), ("exit 0", 3),
                         ("printf 'x\\nHalting.\\n' >$PORT; exit 33", 0)):
        watch, command = fake(t, text)
        done = t.sh(watch + ["--trace", os.path.join(t.scratch, "out"), "--memory", "64M"] + command, expect=status)
        t.equal(len(re.findall(r"^trace: there is none: ", done.stderr, re.M)), 1, "lines about the trace")
        t.check("Traceback" not in done.stderr, "a traceback: " + done.stderr)
    t.check(not os.path.exists(os.path.join(t.scratch, "run", "ram")), "the machine's memory is left behind")
    for content in ("", "{}", "[]", "[1]", '{"traceEvents": [1]}', '{"traceEvents": [{"ph": "X"}]}', "\udcff\udcfe"):
        path = t.file("bad.json", content.encode("utf-8", "surrogateescape"))
        done = t.sh(["scripts/trace/timeline.py", path, os.path.join(t.scratch, "out.svg")], expect=1)
        t.equal(done.stderr, "timeline.py: %s is no trace that run.sh --trace has written\n" % path,
                "stderr for %r" % content)
    good = t.file("good.json", '{"traceEvents": []}')
    for words, why in ((["/nosuch", "x.svg"], "/nosuch: No such file or directory"),
                       ([good, "/dev/full"], "/dev/full: No space left on device"),
                       ([good, "/nosuch/x"], "/nosuch/x: No such file or directory")):
        done = t.sh(["scripts/trace/timeline.py"] + words, expect=1)
        t.equal(done.stderr, "timeline.py: %s\n" % why, "stderr of timeline.py")


# ---- What is left behind ----


def children(pid):
    """Returns the process ids of the children of a process."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and
            test_system.process_state(int(entry))[1] == pid]


def wait_for(t, what, found):
    """Waits until a function returns something, and returns that."""
    deadline = time.monotonic() + 300
    while True:
        value = found()
        if value:
            return value
        t.check(time.monotonic() < deadline, "in vain waited for " + what)
        time.sleep(0.1)


def large_files(folder):
    """Returns the files of a folder that are as large as a ramdisk."""
    return [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names
            if os.path.getsize(os.path.join(where, name)) > 2 << 20]


def test_killed(t):
    """SIGKILL of run.sh under gdb and with a trace: gdb and QEMU end too, and the next start removes what is large."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    runs = os.path.join(t.root, "build", "runs")
    for options in (["--gdb"], ["--trace", os.path.join(t.scratch, "trace.json"), "-S"]):
        command = ["./run.sh", "--kernel", "--shard", "shards/hello-c"] + options
        # The pipe keeps gdb at its prompt; nothing is ever typed.
        process = harness.start(command, cwd=t.root, stdin=-1, stdout=-1, stderr=-2)
        wanted = {"gdb", "qemu-system-x86"} if "--gdb" in options else {"qemu-system-x86"}
        wait_for(t, "gdb and QEMU", lambda: wanted <= {test_system.process_state(pid)[0]
                                                       for pid in children(process.pid)})
        if "--gdb" in options:
            test_system.read_until(process.stdout, b"(gdb) ")
        started = children(process.pid)
        folder = os.path.join(runs, next(name for name in os.listdir(runs) if name.endswith("-%d" % process.pid)))
        t.check(not os.path.exists(os.path.join(folder, "ram")), "the machine's memory has a name")
        t.check(large_files(folder), "this test does not see the ramdisk")
        script = os.path.join(folder, "gdb.txt")
        sockets = []
        if "--gdb" in options:
            with open(script, encoding="ascii") as file:
                sockets = re.findall(r"begin\('([^']*)'", file.read())
        os.kill(process.pid, signal.SIGKILL)
        for pid in started:  # while its input is still open
            test_system.await_end(t, pid)
        harness.finish(process, 60)
        t.boot(shards=["shards/hello-c"], expect=0)
        t.equal(large_files(folder), [], "what is left of the run that was killed")
        t.check(not any(os.path.exists(os.path.dirname(path)) for path in sockets), "the socket is left behind")


# ---- The user's gdb ----

GDBINIT = """set disassembly-flavor intel
set non-stop on
set pagination on
set height 4
set confirm on
set width 20
set listsize 1
set print pretty on
set print elements 3
set print max-depth 0
set print address off
set print frame-info short-location
set output-radix 16
set input-radix 16
set filename-display basename
set max-value-size 64
set backtrace limit 1
set multiple-symbols ask
set breakpoint pending off
set scheduler-locking on
set trace-commands on
set python print-stack full
set language pascal
set architecture i386
"""


def test_gdbinit(t):
    """The user's own ~/.gdbinit changes nothing that the commands and the tours rely on."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    home = os.path.dirname(t.file("home/.gdbinit", GDBINIT))
    environment = dict(os.environ, HOME=home, PYTHONOPTIMIZE="2")
    t.check("intel" in t.sh("gdb -q -batch -ex 'show disassembly-flavor'", env=environment).stdout,
            "gdb does not read the file")
    said = walk(t, "--tour syscall --kernel", environment, t.root)
    t.check("The tour of syscall ends: 7 stops." in said, "the tour: " + said[-300:])
    check_commands(t, environment, t.root)


def walk(t, options, environment, tree):
    """Takes a tour without anybody who types. Returns what it printed."""
    command = sessions.with_console("./run.sh --timeout 300 %s < /dev/null" % options, t.file("console", ""))
    return t.sh(command, env=environment, cwd=tree, expect=0).stdout


def check_commands(t, environment, tree):
    """gdb's commands show what they show to everybody."""
    console = t.file("console", "")
    commands = ["shards", "kbt", "break sys_fs_read", "continue", "kbt", "trapframe", "help shards", "kill"]
    path = t.file("commands", sessions.script(commands, console))
    machine = sessions.with_console("./run.sh --timeout 300 --gdb=hello-c --kernel --shard shards/hello-c", console)
    steps = sessions.steps(t.sh("%s < %s 2>&1" % (machine, shlex.quote(path)), env=environment, cwd=tree,
                                expect=3).stdout, console)
    said = [step.printed for step in steps]
    t.check(re.search(r"^\d+\t.*coconut_puts", said[0], re.M), "no source: " + said[0][-300:])
    t.check(re.search(r"^Temporary breakpoint .*hello-c/main\.c:\d+$", said[0], re.M),
            "a line is torn: " + said[0][-300:])
    t.check(re.search(r"^\* +0 +running .*hello-c", said[1], re.M), "shards: " + said[1])
    for name in ("sys_fs_read", "syscall_dispatch", "syscall_entry", "from ring 3: call 31 FS_READ", "coconut.h:"):
        t.check(name in said[5], "kbt lacks %s: %s" % (name, said[5]))
    t.check("system call 31 FS_READ" in said[6], "trapframe: " + said[6])
    t.check(len(said[7].strip().split("\n")) > 2, "help: " + said[7])


def test_quotes(t):
    """A tree in a path with quotes and spaces: a tour, a session and a shard from such a folder."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    tree = os.path.join(t.scratch, QUOTES)
    os.makedirs(tree)
    left_out = " ".join("--exclude=./" + name for name in ("build/tests", "build/runs", "build/variants", ".git"))
    t.sh("tar -C %s %s -c . | tar -C %s -x" % (shlex.quote(t.root), left_out, shlex.quote(tree)), expect=0)
    said = walk(t, "--tour syscall --kernel", None, tree)
    t.check("The tour of syscall ends: 7 stops." in said, "the tour: " + said[-300:])
    check_commands(t, None, tree)


# ---- What boots ----


def test_names(t):
    """--add next to --shard: a file is never overwritten without a word; an option of the model that no shard knows is
    refused."""
    cases = [("--shard shards/hello-c --add run.sh:/shards/hello-c",
              "--add has put a file at /shards/hello-c, where the"),
             ("--shard shards/hello-c --add run.sh:/hello.txt/x", "--add %s/run.sh:/hello.txt/x: " % t.root),
             ("--shard shards/hello-c --add run.sh:/etc", "--add %s/run.sh:/etc: " % t.root),
             ("--shard shards/hello-c --prompt x", "--prompt: no shard of --shard knows this word"),
             ("--shard shards/hello-c --shard tests/shards/ok --steps 5",
              "--steps: no shard of --shard knows this word")]
    for options, words in cases:
        done = t.sh("./run.sh --build build --kernel " + options, expect=4)
        t.check(done.stderr.startswith("run.sh: " + words) and done.stderr.count("\n") == 1,
                "`%s`: %s" % (options, done.stderr))
    t.boot(shards=["shards/llama-inference", "shards/hello-c"], options=["--prompt=Once", "--steps=4"], expect=0)


def test_locale(t):
    """A locale that is not installed, as ssh may bring one along, costs the one line of the first bash, and not one of
    each bash that builds something."""
    done = t.sh(["./run.sh", "--build", "build", "--kernel", "--shard", "tests/shards/ok"], env={**os.environ,
                "LC_ALL": "xx_YY"}, expect=0)
    t.check(done.stderr.count("\n") <= 1, "%d lines: %s" % (done.stderr.count("\n"), done.stderr[:300]))


def test_folders(t):
    """Paths in QEMU's options are those of whoever calls run.sh, wherever that is; a shard's folder has any name."""
    folder = os.path.join(t.scratch, "a, 'b")
    shard = os.path.join(os.fsencode(folder), b"\xff\xfe")
    os.makedirs(shard)
    with open(os.path.join(shard, b"main.c"), "wb") as file:
        file.write(b"int main(void) { return 0; }\n")
    image = t.guest_ramdisk("shard other /t/ok")
    os.rename(image, os.path.join(folder, "own.img"))
    run = "cd \"%s\" && %s/run.sh --build %s/build --kernel " % (folder, t.root, t.root)
    t.check("  other\n" in t.sh(run + "-initrd own.img", expect=0).stdout, "-initrd took another ramdisk")
    t.check("  shard\n" in t.sh(run + "--shard $'\\xff\\xfe' -D said.log -d int", expect=0).stdout, "no name")
    t.check(os.path.exists(os.path.join(folder, "said.log")), "-D wrote somewhere else")


def test_template(t):
    """A copy of etc/coconut.conf with --manifest is filled in as the original, whether or not layers can be shared."""
    def manifest(template, *options):
        return t.sh(["scripts/manifest.py", "--template", template] + list(options), expect=0).stdout

    default = os.path.join(t.root, "etc", "coconut.conf")
    with open(default, encoding="utf-8") as file:
        text = file.read()
    model = os.path.join(t.root, "model", "stories.bin")
    filled = manifest(t.file("copy.conf", text), "--model", model, "--prompt", 'a "b"')
    t.equal(filled, manifest(default, "--model", model, "--prompt", 'a "b"'), "the copy")
    t.equal(filled.count('prompt=a \\"b\\""'), 3, "lines with the prompt")
    t.check("@LAYERS@" not in re.sub(r"#.*", "", filled), "a placeholder is left")
    alone = manifest(default, "--model", "/nosuch")
    t.equal(alone.count("\n"), text.count("\n"), "lines, by which a mistake is named")
    t.check(not re.search(r"^[^#]*stage", alone, re.M), "stages without layers")
    own = "shard stage0 /shards/hello-c\n# @LAYERS@\n"
    t.equal(manifest(t.file("own.conf", own), "--model", "/nosuch"), own, "a manifest without placeholders")
    lines = [line for line in text.split("\n") if re.match(r"shard (story|stage[01]) ", line) or
             "stage0 stage1" in line]
    lines[0] = lines[0].replace(" after=hello-c", "")
    conf = t.file("story.conf", "\n".join(lines) + "\n")
    result = t.boot(manifest=conf, options=["--steps", "6", "--prompt", "Once"], expect=0)
    t.equal(result.endings(), {"story": 0, "stage0": 0, "stage1": 0}, "ends")
    conf = t.file("bad.conf", "# a comment\nshrad a /shards/hello-c\n")
    result = t.boot(manifest=conf, expect=1)
    t.check("/etc/coconut.conf:2: " in result.text, "the mistake: " + result.text)
    t.equal(result.stderr, "run.sh: /etc/coconut.conf is %s, line by line.\n" % conf, "whose file it is")


def test_prompt(t):
    """Characters of a prompt without a token of their own are named before the boot; without tokens for bytes they are
    refused."""
    def check(prompt, *options):
        return t.sh(["scripts/manifest.py", "--check", "--model", "model/stories.bin", "--prompt", prompt] +
                    list(options or ["--tokenizer", "model/tokenizer.bin"]), env=dict(os.environ, PYTHONUTF8="1"))

    done = check("Grüße, Grüße ☺")
    t.equal((done.returncode, done.stderr),
            (0, "run.sh: the tokenizer has no token for these characters of a prompt: ü, ß, ☺; the model gets "
                "their bytes, which are not printed.\n"), "what is said of three characters")
    for prompt in ("Once upon a time", "tab\tand ~!@# \\", ""):
        done = check(prompt)
        t.equal((done.returncode, done.stderr), (0, ""), "what is said of %r" % prompt)
    letters = [b"<unk>", b"<s>", b"</s>", b" ", b"a", b"b"]
    small = t.file("small.bin", b"\0\0\0\0" +
                   b"".join(bytes(4) + len(token).to_bytes(4, "little") + token for token in letters))
    model = t.file("small", struct.pack("<7i", 64, 172, 5, 4, 4, len(letters), 256) + bytes(100))
    done = check("a cab", "--tokenizer", small, "--model", model)
    t.equal((done.returncode, done.stderr),
            (1, "run.sh: --prompt: the tokenizer has no token for these characters: c\n"), "refused")
    done = check("ab", "--tokenizer", "model/tokenizer.bin", "--model", model)
    t.equal(done.stderr, "run.sh: the model's vocabulary has 6 tokens, and the tokenizer 2048: --tokenizer names "
                         "another.\n", "words")
    done = check("ab", "--tokenizer", t.file("damaged.bin", b"\0\0\0\0" + b"\xff" * 9))
    t.equal((done.returncode, done.stderr), (0, ""), "a damaged tokenizer, which the shards judge")
    own = t.file("own.conf", 'shard a /shards/hello-c args="steps=1 prompt=ja \\\\ \\"ü\\""\n'
                 'shard b /shards/hello-c args="tokenizer=/x prompt=ß"\n')
    done = t.sh(["scripts/manifest.py", "--template", own, "--tokenizer", "model/tokenizer.bin"], expect=0)
    t.check("of a prompt: ü; the" in done.stderr and done.stderr.count("\n") == 1,
            "a prompt in a manifest: " + done.stderr)
    done = t.sh(["./run.sh", "--model", t.file("ak42", b"24ka" + (1).to_bytes(4, "little") + bytes(300))], expect=4)
    t.check(done.stderr.count("\n") == 1, done.stderr)
    t.check("llama2.c's version 1; export it as version 0" in done.stderr and done.stderr.count("\n") == 1, done.stderr)
