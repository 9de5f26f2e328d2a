"""The book in docs/book: its shape, its gdb sessions, its pictures.

A chapter has a section "In the debugger" with a session: a block `sh` that starts the machine, then blocks `gdb` in
which lines that begin with `(gdb) ` are typed and the others are what gdb prints, or what the guest says until gdb has
stopped it. The test types the same; what follows a command is a transcript (transcripts.py) of what came then, the
guest's lines first. What depends on the compiler is `...` in the chapters: addresses in the supervisor's image, line
numbers, what gdb knows of the arguments of a function. A block anywhere else in a chapter would not be tried, and is a
failure.

Read next: transcripts.py; sessions.py, which keeps gdb and the console apart; then docs/book/01-firmware-and-loader.md.
"""

import filecmp
import glob
import os
import re
import shlex
import shutil
import time

import harness
import sessions
import test_docs
import transcripts

FOLDER = os.path.join("docs", "book")
CHAPTERS = sorted(glob.glob(os.path.join(harness.ROOT, FOLDER, "[0-9][0-9]-*.md")))
SESSION = "In the debugger"
PROMPT = "(gdb) "
GONE = "<optimized out>"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def parts(text):
    """Returns a chapter as {heading: text below it}; what stands above the first one has the heading ""."""
    pieces = re.split(r"^## (.*)\n", "\n" + text, flags=re.M)
    return dict(zip([""] + pieces[1::2], pieces[::2]))


def code_blocks(text):
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


# ---- Sessions ----


def read_session(blocks):
    """Returns what the blocks of a session say as [(command, transcript)]."""
    found = []
    for line in "".join(blocks).split("\n"):
        if line.startswith(PROMPT):
            found.append((line[len(PROMPT):], ""))
        elif line.startswith(">"):  # the body of a command of several lines
            found[-1] = (found[-1][0] + "\n" + line[1:], "")
        elif line.strip():
            found[-1] = (found[-1][0], found[-1][1] + line + "\n")
    return found


def run_by_script(t, machine, path):
    """Gives the commands to the gdb that `run.sh --gdb` starts. What gdb passes on from QEMU's monitor is on stderr."""
    return t.sh("exec < %s 2>&1\n%s" % (shlex.quote(path), machine)).stdout


def run_by_hand(t, machine, path, script):
    """Starts a machine that waits for gdb, and a gdb of our own."""
    socket = os.path.join(os.path.dirname(path), "gdb")
    with open(path, "w", encoding="utf-8") as file:
        file.write(script.replace(" :1234", " " + socket))
    command = machine.replace(" -s", " -gdb unix:%s,server=on,wait=off" % socket)
    process = harness.start(["bash", "-c", command], cwd=harness.ROOT, stdout=-1, stderr=-1)
    try:
        deadline = time.monotonic() + 300
        while not os.path.exists(socket) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return t.sh("gdb -nx -q -batch -x %s 2>&1" % shlex.quote(path)).stdout
    finally:
        harness.end_group(process, 15)
        harness.finish(process, 60)


def replay(t, where, machine, todo):
    """Runs a session and compares what it shows."""
    console = t.file("console", "")
    script = "set pagination off\nset width 0\nset confirm off\n"
    script += sessions.script([command for command, _ in todo], console) + "kill\nquit\n"
    machine = sessions.with_console(machine, console)
    if "--gdb" in machine:
        output = run_by_script(t, machine, t.file("commands", script))
    else:
        folder = os.path.dirname(harness.Monitor().path)  # a short path, for the socket
        try:
            output = run_by_hand(t, machine, os.path.join(folder, "commands"), script)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    t.check(GONE not in output, "%s: a variable is optimized out" % where)
    shown = sessions.steps(output, console)[1:-1]
    for step, (command, wanted) in zip(shown, todo):
        transcripts.check(t, "%s, after `%s`" % (where, command), wanted, step.shown())
    t.equal(len(shown), len(todo), "%s: how many commands gdb came to the end of (%s)" % (where, output[-200:]))


def make_session(path):
    """Returns the test of a chapter's session."""
    def test(t):
        if not shutil.which("gdb"):
            t.skip("there is no gdb")
        where = os.path.relpath(path, t.root)
        blocks = code_blocks(parts(read(path))[SESSION])
        machine = [text for language, text in blocks if language == "sh"]
        t.equal(len(machine), 1, where + ": machines of the session")
        todo = read_session([text for language, text in blocks if language == "gdb"])
        t.check(todo, where + ": the session types nothing")
        replay(t, where, machine[0], todo)

    test.__doc__ = "The gdb session of %s prints what the chapter shows." % os.path.relpath(path, harness.ROOT)
    return test


for _path in CHAPTERS:
    globals()["test_session_" + os.path.basename(_path)[:2]] = make_session(_path)


# ---- Shape ----


def test_chapters(t):
    """Every chapter has a picture, a session, three to five exercises and sources, and docs/README.md lists all of
    them."""
    listed = re.findall(r"\]\(book/(\d\d-[\w-]+\.md)\)", read(os.path.join(t.root, "docs", "README.md")))
    t.equal(listed, [os.path.basename(path) for path in CHAPTERS], "the chapters that docs/README.md lists")
    for path in CHAPTERS:
        name, text = os.path.basename(path), read(path)
        sections = parts(text)
        t.check(text.startswith("# %d. " % int(name[:2])), name + " has no title with its number")
        t.check(SESSION in sections and "Exercises" in sections, name + " lacks one of its two last sections")
        tried = len(code_blocks(sections[SESSION]))
        t.equal(len(code_blocks(text)), tried, name + ": blocks of code, and those that are tried")
        exercises = re.findall(r"^\d\. ", sections["Exercises"], re.M)
        t.check(3 <= len(exercises) <= 5, "%s has %d exercises" % (name, len(exercises)))
        pictures = re.findall(r"!\[[^\]]+\]\(\.\./pictures/([\w-]+\.svg)\)", text)
        t.check(pictures, name + " has no picture")
        for picture in pictures:
            t.check(os.path.exists(os.path.join(t.root, "docs", "pictures", picture)),
                    "%s: there is no %s" % (name, picture))
        t.check(len(test_docs.CITATION.findall(text)) >= 5, name + " cites too little")
    t.note("%d chapters" % len(CHAPTERS))


def test_whole_kernel(t):
    """Every source file of the supervisor is cited by some chapter, but those that only tests use."""
    text = "".join(map(read, CHAPTERS))
    cited = {path for path, _ in test_docs.CITATION.findall(text)}
    sources = {name for name in os.listdir(t.root) if name.endswith((".c", ".asm"))} - {"provoke.c"}
    t.equal(sorted(sources - cited), [], "files that no chapter cites")


def test_pictures(t):
    """The pictures in docs/pictures are what scripts/pictures.py draws of this system."""
    if not shutil.which("gdb"):
        t.skip("there is no gdb")
    t.sh(["python3", "scripts/pictures.py", t.scratch], expect=0)
    committed = os.path.join(t.root, "docs", "pictures")
    drawn = sorted(name for name in os.listdir(t.scratch) if name.endswith(".svg"))
    t.equal(sorted(os.listdir(committed)), drawn, "the pictures")
    for name in drawn:
        t.check(filecmp.cmp(os.path.join(committed, name), os.path.join(t.scratch, name), shallow=False),
                name + " is stale: run scripts/pictures.py")


test_pictures.heavy = True
