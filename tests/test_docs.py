"""What the documents say: their links, their citations of the source, their commands, and what these print.

A document carries its expectations in HTML comments, which a reader does not see. In front of a code block stands one
of

    <!-- try                 run the block, as bash commands in the project's folder
    status: 1                exit status of the last command, 0 when not given
    expect: REGEX            some line of the output matches; `expect: !REGEX`: none does
    -->
    <!-- try as: NAME -->    start the block in the background; it waits for gdb
    <!-- try in: NAME        give the block to that gdb; `expect:` looks at what the block prints
    <!-- output -->          a transcript (transcripts.py) of the block before
    <!-- file: PATH -->      write the block into a file

Paths under /tmp are moved to a folder of the test, and `-s` with `:1234` to a socket there, so that tests can run side
by side. Where gdb is used, the console gets a file of its own (sessions.py), and `expect:` looks at what gdb prints. A
block in a document without such a comment is a failure: it would not be tried.

Read next: transcripts.py, sessions.py, then docs/debugging.md, the page with the most blocks.
"""

import glob
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time

import harness
import sessions
import transcripts

DOCUMENTS = ["README.md", "docs/debugging.md", "docs/gpu.md", "docs/from-rust.md"]  # those with commands
UNTRIED = "CONTRIBUTING.md"  # it says so: its commands need a container
COMMENT = re.compile(r"<!-- *(.*?) *-->", re.S)
# Behind a word that is a group of tests too: kinds of files, and the fields of struct profile and of struct dma.
FIELDS_AND_FILES = ["c", "h", "py", "sh", "md", "rs", "name", "used", "syscalls", "cycles", "switches", "wall_ms",
                    "exit_code", "ending", "source", "target", "len", "readable", "writable"]
CITATION = re.compile(r"`([\w./-]+):/(.+?)/`")


def read(path):
    with open(os.path.join(harness.ROOT, path), encoding="utf-8") as file:
        return file.read()


def documents():
    """Returns the paths of all Markdown files of the project."""
    found = []
    for where, folders, files in os.walk(harness.ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and
                      os.path.join(where, name) != os.path.join(harness.ROOT, "build")]
        found += [os.path.relpath(os.path.join(where, name), harness.ROOT) for name in files if name.endswith(".md")]
    return sorted(found)


def without_code(text):
    """Returns a document without code blocks and comments."""
    return COMMENT.sub("", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def section(text, heading):
    """Returns the part of a document below a heading."""
    return re.search(r"^##+ %s\n(.*?)(?=^## |\Z)" % re.escape(heading), text, re.M | re.S).group(1)


def rows(text):
    """Returns the cells of all table rows, heads and rulers left out."""
    found = re.findall(r"^\|(?!---)(.*)\|\n(?!\|---)", text + "\n", re.M)
    return [[cell.strip() for cell in row.split(" | ")] for row in found]


# ---- Blocks of code ----


class Block:
    """A code block with the comment in front of it."""

    def __init__(self, line, language, text, comment):
        self.line, self.language, self.text = line, language, text
        fields = [field.split(":", 1) for field in comment.split("\n")]
        self.kind = fields[0][0].strip()  # try, try as, try in, output, file
        self.name = fields[0][1].strip() if len(fields[0]) > 1 else ""
        self.status = 0
        self.expectations = []
        for key, value in (field for field in fields[1:] if len(field) == 2):
            if key.strip() == "status":
                self.status = int(value)
            else:
                self.expectations.append(value.strip())


def blocks(document):
    """Returns the blocks of a document as {heading: [Block]}, by the headings of the second level."""
    result, heading = {}, ""
    text = read(document)
    pattern = re.compile(r"^## ([^\n]*)$|(?:^<!-- *((?:(?!-->).)*?) *-->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
    for match in pattern.finditer(text):
        if match.group(1):
            heading = match.group(1)
            continue
        line = text.count("\n", 0, match.start()) + 1
        result.setdefault(heading, []).append(Block(line, match.group(3), match.group(4), match.group(2) or ""))
    return result


class Reader:
    """Somebody who types what a section says, and looks at what comes."""

    def __init__(self, t, document):
        self.t, self.document = t, document
        self.folder = tempfile.mkdtemp(prefix="coconut-")
        self.console = os.path.join(self.folder, "console")
        self.output = ""
        self.sessions = {}

    def place(self, text):
        return sessions.with_console(text.replace("/tmp/", self.folder + "/"), self.console)

    def follow(self, section_blocks):
        for block in section_blocks:
            where = "%s:%d: " % (self.document, block.line)
            if block.kind == "try":
                self.run(block, where)
            elif block.kind == "output":
                transcripts.check(self.t, where.rstrip(": "), block.text, self.output)
            elif block.kind == "file":
                path = self.place(block.name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(block.text)
            elif block.kind == "try as":
                self.sessions[block.name] = [block]
            elif block.kind == "try in":
                self.sessions[block.name].append(block)
            else:
                self.t.check(False, where + "this block has no comment that says how to try it")
        for starter, *commands in self.sessions.values():
            self.debug(starter, commands)

    def run(self, block, where):
        done = self.t.sh(self.place(block.text))
        self.output = done.stdout + done.stderr
        self.t.equal(done.returncode, block.status, where + "exit status")
        self.expect(block, self.output, where)

    def expect(self, block, output, where):
        for wanted in block.expectations:
            found = re.search(wanted.lstrip("!"), output, re.M)
            self.t.check(bool(found) != wanted.startswith("!"), where + "the output does not fit `%s`" % wanted)

    def debug(self, starter, commands):
        """Runs a machine and gdb with the blocks of a session."""
        script = sessions.script([self.place(block.text) for block in commands], self.console)
        if "--gdb" in starter.text:
            output = self.debug_by_run(starter, script)
        else:
            output = self.debug_by_hand(starter, script)
        shown = sessions.steps(output, self.console)[1:]
        for i, block in enumerate(commands):
            where = "%s:%d: " % (self.document, block.line)
            self.t.check(i < len(shown), where + "gdb did not get here")
            self.expect(block, shown[i].printed, where)

    def debug_by_run(self, starter, script):
        path = self.t.file("commands", script)
        return self.t.sh("exec < %s 2>&1\n%s" % (shlex.quote(path), self.place(starter.text))).stdout

    def debug_by_hand(self, starter, script):
        socket = os.path.join(self.folder, "gdb")
        command = self.place(starter.text).replace(" -s", " -gdb unix:%s,server=on,wait=off" % socket)
        path = self.t.file("commands", script.replace(" :1234", " " + socket))
        machine = harness.start(["bash", "-c", command], cwd=harness.ROOT, stdout=-1, stderr=-1)
        try:
            deadline = time.monotonic() + 300
            while not os.path.exists(socket) and machine.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            done = self.t.sh(["gdb", "-nx", "-q", "-batch", "-iex", "set pagination off", "-x", path], timeout=300)
        finally:
            harness.end_group(machine, 15)
            harness.finish(machine, 60)
        return done.stdout + done.stderr

    def leave(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def make_test(document, heading, section_blocks):
    """Returns a test that tries the commands of a section."""
    def test(t):
        if any("gdb" in block.text and block.kind.startswith("try")
               for block in section_blocks) and not shutil.which("gdb"):
            t.skip("there is no gdb")
        reader = Reader(t, document)
        try:
            reader.follow(section_blocks)
        finally:
            reader.leave()

    test.__doc__ = "The commands of %s, \"%s\", do what it says." % (document, heading)
    test.heavy = True
    return test


for _document in DOCUMENTS:
    for _heading, _blocks in blocks(_document).items():
        _name = re.sub(r"\W+", "_", os.path.basename(_document)[:-len(".md")] + "_" + _heading)
        globals()["test_" + _name.lower()] = make_test(_document, _heading, _blocks)


# ---- Transcripts ----


def transcripts_of(document):
    """Returns the transcripts that a document shows: what stands after `<!-- output -->`, and what gdb answers."""
    text = read(document)
    found = re.findall(r"^<!-- output -->\n```\w*\n(.*?)^```$", text, re.M | re.S)
    for block in re.findall(r"^```gdb\n(.*?)^```$", text, re.M | re.S):
        found += re.split(r"^(?:\(gdb\) |>).*\n", block, flags=re.M)[1:]
    return [transcript for transcript in found if transcript.strip()]


def test_transcripts(t):
    """In every transcript of every document each character is compared: with any one changed, it is no piece of its
    output."""
    count = 0
    for document in documents():
        tried = document in DOCUMENTS or re.match(r"(docs/book|labs/\d\d-.*)/", document)
        t.check(tried or document == UNTRIED or "```" not in read(document), document + " has code that no test tries")
        for transcript in transcripts_of(document):
            output = "before\n" + transcript.replace(transcripts.GAP, "any text") + "after\n"
            t.equal(transcripts.missing(transcript, output), None,
                    document + ": what is missing of a transcript in itself")
            for changed in transcripts.changes(transcript):
                t.check(transcripts.missing(changed, output),
                        "%s: this is taken for what it shows: %s" % (document, changed))
                count += 1
            lines = transcript.rstrip("\n").split("\n")
            for i in range(1, len(lines) - 1):
                shorter = "\n".join(lines[:i] + lines[i + 1:])
                t.check(transcripts.GAP in lines[i - 1:i + 2] or transcripts.missing(shorter, output),
                        "%s: nobody misses the line %s" % (document, lines[i]))
    t.check(count > 5000, "only %d characters are compared" % count)
    t.note("%d characters" % count)


# ---- Links and citations ----


def anchor(heading):
    """Returns the name by which a heading can be linked to."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


LINE = 120  # characters


def test_lines(t):
    """A line of prose in a document has at most 120 characters. Tables, pictures, and blocks, which show what is typed
    and printed, may be wider."""
    count = 0
    for document in documents():
        for line in without_code(read(document)).split("\n"):
            t.check(len(line) <= LINE or line.startswith(("|", "![", "    ")), "%s: %s" % (document, line))
            count += 1
    t.check(count > 1000, "only %d lines were found" % count)


def test_links(t):
    """Every relative link of every document leads to a file, and to a heading in it."""
    count = 0
    for document in documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(read(document))):
            if re.match(r"\w+:", target):
                continue
            path, _, fragment = target.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
            t.check(os.path.exists(os.path.join(t.root, path)), "%s links to %s" % (document, target))
            headings = re.findall(r"^#+ (.*)$", without_code(read(path)), re.M) if fragment else []
            t.check(not fragment or fragment in map(anchor, headings), "%s links to %s" % (document, target))
            count += 1
    t.check(count > 3, "no links were found")


def test_citations(t):
    """Every citation `file:/regex/` matches exactly one line of its file."""
    count = 0
    for document in documents():
        for path, pattern in CITATION.findall(COMMENT.sub("", read(document))):
            if path == "file":
                continue  # an explanation of what citations look like
            where = "%s cites %s:/%s/" % (document, path, pattern)
            t.check(os.path.isfile(os.path.join(t.root, path)), where + ", but there is no such file")
            matches = len(re.findall("^.*(?:%s).*$" % pattern if not pattern.startswith("^") else pattern, read(path),
                                     re.M))
            t.equal(matches, 1, where + ": matching lines")
            count += 1
    t.check(count > 30, "no citations were found")


def test_names_of_tests(t):
    """Every test that a document names, `group.name` or behind `./test.sh`, is one that there is, or begins so."""
    listed = re.findall(r"^(\w+) +\d+  ", t.sh(["./test.sh", "--list"], expect=0).stdout, re.M)
    there = set(re.findall(r"^\w+\.[\w.]+", t.sh(["./test.sh", "--list", *listed], expect=0).stdout, re.M))
    # a function that reports several tests is named too
    for path in glob.glob(os.path.join(t.root, "tests", "test_*.py")):
        group = os.path.basename(path)[len("test_"):-len(".py")]
        there |= {"%s.%s" % (group, name) for name in re.findall(r"^def test_(\w+)", read(path), re.M)}
    groups = "|".join(sorted({name.split(".")[0] for name in there}))
    count = 0
    for document in documents():
        for code in re.findall(r"`([^`\n]+)`", COMMENT.sub("", read(document))):
            command = re.match(r"\./test\.sh ([a-z][\w. ]*)$", code)
            name = re.match(r"(?:%s)\.(?!(?:%s)$)\w+$" % (groups, "|".join(FIELDS_AND_FILES)), code)
            for word in command.group(1).split() if command else [code] if name else []:
                t.check(any(test.startswith(word) for test in there), "%s names the test %s" % (document, word))
                count += 1
    t.check(count > 50, "only %d names were found" % count)


# ---- README.md against the system ----


def test_readme_options(t):
    """README.md lists exactly the options of `run.sh --help`, and its exit statuses."""
    shown = t.sh(["./run.sh", "--help"], expect=0).stdout
    described = section(read("README.md"), "Options of run.sh")
    own = {word for row in rows(described) for word in re.findall(r"`(--\w+)", row[0])}
    t.equal(own, set(re.findall(r"--[a-z]\w+", shown.split("Everything else")[0])) - {"--out"}, "the options")
    statuses = {number for row in rows(described) if row[0][0].isdigit() for number in row[0].split(", ")}
    listed = shown.split("exit status:")[1].replace("exited 0", "").replace("non-zero", "")
    t.equal(statuses, set(re.findall(r"\b\d+\b", listed)), "the exit statuses")


# Calls that any pledge gives up. Of a new call it has to be said whether some pledge keeps it: in syscall.c, or here.
GIVEN_UP = {"CAP_GRANT", "CAP_REVOKE", "CAP_RESTRICT", "CAP_INSPECT", "FS_OPEN", "FS_READ", "FS_STAT", "FS_CLOSE",
            "FS_MAP", "TIME", "SPAWN", "WAIT", "KILL"}


def test_readme_calls(t):
    """The calls of coconut.h, each with a function for shards, are those of README.md, of the table in syscall.c and of
    kernel.h, whose prototypes stand under the handlers' files; and each is kept by a pledge or known to be given up."""
    numbers, functions = read("coconut.h").split("#ifndef COCONUT_NO_CALLS")
    numbers = {name: int(number) for name, number in re.findall(r"^#define SYS_(\w+) +(\d+)", numbers, re.M)}
    numbers.pop("LIMIT")
    listed = {row[1]: (int(row[0]), row[2]) for row in rows(section(read("README.md"), "System calls"))
              if row[0].isdigit()}
    t.equal({name: number for name, (number, _) in listed.items()}, numbers, "the system calls that README.md lists")
    t.equal(set(re.findall(r"\bSYS_(\w+)", functions)), set(numbers),
            "the system calls that coconut.h has functions for")
    calls = read("syscall.c")
    handlers = dict(re.findall(r"\bX\((\w+), (\w+)\)", calls))
    t.equal(set(handlers), set(numbers), "the system calls in the table of syscall.c")
    groups = re.split(r"^/\* ---- (\w+\.c)\b.*", read("kernel.h"), flags=re.M)
    prototypes = {path: set(re.findall(r"\b(sys_\w+)\(", text)) for path, text in zip(groups[1::2], groups[2::2])}
    for name, (_, where) in listed.items():
        path = where.strip("`").split(":")[0]
        t.check(" " + handlers[name] + "\\(" in where,
                "%s is handled by %s, README.md says %s" % (name, handlers[name], where))
        t.check(path == "syscall.c" or handlers[name] in prototypes.get(path, ()),
                "kernel.h has no prototype of %s under %s" % (handlers[name], path))
    kept = set(re.findall(r"BIT\((\w+)\)", calls)) & set(numbers)
    t.equal((kept & GIVEN_UP, kept | GIVEN_UP), (set(), set(numbers)),
            "calls that a pledge keeps and gives up; all calls")


def test_readme_tour(t):
    """The tour of README.md names every source file of the top level, in the order of kernel.h."""
    tour = rows(section(read("README.md"), "A tour in reading order"))
    named = [name for row in tour for name in re.findall(r"`(\S+)`", row[0])]
    there = {name for name in os.listdir(t.root) if name.endswith((".c", ".h", ".asm", ".ld"))}
    t.equal(set(named), there, "the files")
    heads = re.findall(r"^/\* ---- (.*)", read("kernel.h"), re.M)
    groups = [name for line in heads for name in re.findall(r"\w+\.c\b", line)]
    t.equal([name for name in named if name in groups], groups, "the order of kernel.h")


# ---- docs/ways.md, tests/README.md, scripts/README.md ----

SCREEN = 50  # lines of a page that is read at a glance


def labs_of_files(root):
    """Returns {file: numbers of the labs in which it is broken or built}."""
    found = {}
    for path in glob.glob(root + "/labs/*/start.patch") + glob.glob(root + "/solutions/*.patch"):
        if ".wrong-" not in path:
            number = re.search(r"(\d\d)-[^/]*(/start)?\.patch$", path).group(1)
            for name in re.findall(r"^\+\+\+ b/(\w+\.\w+)$", read(path), re.M):
                found.setdefault(name, set()).add(number)
    return found


def programs_of_files(root):
    """Returns {file: tests on the host that compile it}."""
    found = {}
    for path in sorted(glob.glob(os.path.join(root, "tests/host/*.c"))):
        program = harness.HostProgram(path)
        for name in program.sources + re.findall(r'#include "\.\./\.\./(\w+\.c)"', read(path)):
            found.setdefault(name, set()).add(program.name)
    for path in glob.glob(os.path.join(root, "tests/fuzz/*.c")):
        name = os.path.basename(path)
        found.setdefault(name, set()).add("fuzz." + name[:-len(".c")])
    return found


def wrong_ways(t, text):
    """Returns what is wrong with the table of docs/ways.md."""
    table, wrong = [re.findall(r"`(\S+)`", row[0]) + row[1:] for row in rows(text)], []
    labs, programs = labs_of_files(t.root), programs_of_files(t.root)
    chapters = {name: set(re.findall(r"\[(\d+)\]", row[0])) for row in rows(read("docs/README.md"))
                for name in re.findall(r"`(\w+\.\w+)`", row[2])}
    commands = {name for path in glob.glob(os.path.join(t.root, "scripts/gdb/*.py"))
                for name in re.findall(r'^@kernel\.command\("(\w+)"', read(path), re.M)}
    groups = {os.path.basename(path)[len("test_"):-len(".py")] for path in glob.glob(t.root + "/tests/test_*.py")}
    tour = rows(section(read("README.md"), "A tour in reading order"))
    wanted = [name for row in tour for name in re.findall(r"`(\S+\.(?:c|asm))`", row[0])]
    if [row[0] for row in table] != wanted:
        wrong.append("the files are not those of the tour in README.md, in its order")
    for name, tests, chapter, lab, command in table:
        tests, command = re.findall(r"`(\S+)`", tests), re.findall(r"`(\S+)`", command)
        if {test for test in tests if "." in test} != programs.get(name, set()):
            wrong.append("%s: the programs that compile it are %s" % (name, sorted(programs.get(name, ()))))
        if not {test for test in tests if "." not in test} or not {x for x in tests if "." not in x} <= groups:
            wrong.append("%s: a group that there is not, or none" % name)
        if set(re.findall(r"\[(\d+)\]", chapter)) != chapters.get(name, set()):
            wrong.append("%s: the chapter that explains it" % name)
        if set(re.findall(r"\[(\d+)\]", lab)) != labs.get(name, set()):
            wrong.append("%s: its labs are %s" % (name, sorted(labs.get(name, ()))))
        if not set(command) <= commands:
            wrong.append("%s: a command that gdb does not have" % name)
    return wrong


def test_ways(t):
    """docs/ways.md leads from each file to the programs that compile it, its chapter and its labs, and names groups of
    tests and commands of gdb that exist. A cell with something else in it would be noticed."""
    text = read("docs/ways.md")
    t.equal(wrong_ways(t, text), [], "docs/ways.md")
    for old, new in (("`host.elf` ", ""), ("[15](../labs/15-revocation/README.md)", ""), ("`frames`", "`frame`"),
                     ("`fair` `life`", "`fare` `life`"), ("[9](book/09-scheduling.md)", "[8](book/08-shards.md)"),
                     ("| `lib.c`", "| `libc.c`")):
        t.check(old in text, "docs/ways.md has no %s" % old)
        t.check(wrong_ways(t, text.replace(old, new, 1)), "%s became %s, and nobody noticed" % (old, new or "nothing"))


def test_screens(t):
    """tests/README.md and scripts/README.md fit on a screen, and name what is in their folders, and all groups."""
    groups = {os.path.basename(path)[len("test_"):-len(".py")] for path in glob.glob(t.root + "/tests/test_*.py")}
    for folder, more in (("tests", groups), ("scripts", set())):
        text = read(folder + "/README.md")
        there = {name for name in os.listdir(os.path.join(t.root, folder)) if name[0] not in "._"} - {"README.md"}
        wanted = {name for name in there if not name.startswith("test_")} | more
        t.equal(wanted - set(re.findall(r"`(\S+?)/?`", text)), set(), "not named in %s/README.md" % folder)
        t.check(text.count("\n") <= SCREEN, "%s/README.md has %d lines" % (folder, text.count("\n")))


# ---- docs/from-rust.md ----


def copy_of_tree(t):
    """Returns the path of a copy of the project, with what has been built and without what runs and tests have left."""
    copy = os.path.join(t.scratch, "copy")
    os.makedirs(copy)
    t.sh("tar -c --exclude=./.git --exclude=./build/runs --exclude=./build/tests --exclude=./build/variants . | tar "
         "-x -C %s" % shlex.quote(copy),
         expect=0)
    return copy


def with_machine(t, copy, command):
    """Runs a gdb command that goes to port 1234, and there to a machine that waits; gdb gets its commands from
    stdin."""
    folder = tempfile.mkdtemp(prefix="coconut-")  # a short path for the socket
    machine = harness.start(["scripts/qemu-run.sh", "-S", "-gdb", "unix:%s/gdb,server=on,wait=off" % folder], cwd=copy,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not os.path.exists(folder + "/gdb") and machine.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        return t.sh("printf 'info registers rip\\nkill\\n' | " + command.replace(":1234", folder + "/gdb"), cwd=copy,
                    timeout=300)
    finally:
        harness.end_group(machine, 15)
        harness.finish(machine, 60)
        shutil.rmtree(folder, ignore_errors=True)


# What a command of that page prints, by the first word here that is in it. The others print nothing.
SHOWN = {"coconut-prof.py": "Share of wall time", "qemu-run.sh": r"^Halting\.$", ":1234": "rip +0xfff0",
         "text.boot": "<pvh_start>:",
         "objdump": r"\bsyscall|sysret|lea ", "readelf": "Section Headers:"}


def test_from_rust_commands(t):
    """Each command of the table in docs/from-rust.md does something, in a copy of the tree, from first to last."""
    copy = copy_of_tree(t)
    listed = rows(section(read("docs/from-rust.md"), "Commands"))
    t.check(len(listed) >= 10, "the table has only %d rows" % len(listed))
    for _, here in listed:
        command = here.strip("`").replace("\\|", "|")
        if ":1234" in command and not shutil.which("gdb"):
            continue
        done = with_machine(t, copy, command) if ":1234" in command else t.sh("set -o pipefail\n" + command, cwd=copy,
                                                                              expect=0)
        pattern = next((pattern for word, pattern in SHOWN.items() if word in command), "^$")
        t.check(re.search(pattern, done.stdout, re.M), "%s does not show %s" % (command, pattern))
    t.check(not os.path.exists(os.path.join(copy, "build")), "what the last row removes is still there")


test_from_rust_commands.heavy = True


def test_from_rust_files(t):
    """Each file that docs/from-rust.md names on our side is there, and so is scripts/qemu-run.sh from anywhere."""
    for _, here in rows(section(read("docs/from-rust.md"), "Files")):
        for path in re.findall(r"`([^`]+)`", here):
            t.check(os.path.exists(os.path.join(t.root, path)), "docs/from-rust.md names " + path)
    link = os.path.join(t.scratch, "a link")
    os.symlink(os.path.join(t.root, "scripts", "qemu-run.sh"), link)
    wanted = t.sh(["./run.sh", "--help"], expect=0).stdout
    t.equal(t.sh([link, "--help"], cwd="/", expect=0).stdout, wanted, "the help through a link, from elsewhere")
    t.sh([link, "--timeout", "none"], cwd="/", expect=4)


def test_from_rust_calls(t):
    """docs/from-rust.md names the calls that are new, and no other."""
    row = [here for what, *_, here in rows(section(read("docs/from-rust.md"), "Calls")) if what == "calls that are new"]
    names = [set(re.findall(r"^#define SYS_(\w+) +\d+", read(header), re.M))
             for header in ("coconut.h", "include/coconut.h")]
    t.equal(set(re.findall(r"[A-Z_]{4,}", row[0].split("(")[0])), names[0] - names[1] - {"LIMIT"}, "the new calls")
