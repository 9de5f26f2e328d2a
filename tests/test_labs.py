"""The labs: each starting state fails as its handout says, its solution gets full marks, plausible wrong ones do not.

A handout marks its blocks of commands: `<!-- broken` is run in the starting state, `<!-- solved` in that of the
solution, with `status:` and `expect: REGEX` lines as in tests/test_docs.py; a block after `<!-- output -->` is a
transcript (transcripts.py) of the block before.

The files of solutions/ are NN-name.patch, NN-name.wrong-REASON.patch, both against the starting state, and NN-name.gdb,
a session that finds the answers on the broken machine. One whose REASON begins with `prints` shows on the console what
the handout promises, and must not get full marks for it. In a students' copy there is no such folder, and these tests
are skipped.

Read next: labs/README.md, then labs/lib/grading.py.
"""

import glob
import os
import re
import shutil
import sys
import tempfile
import time

import harness
import transcripts

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "attacks"))

import gdbstub  # noqa: E402 (the path must be set first)

LABS = os.path.join(harness.ROOT, "labs")
SOLUTIONS = os.path.join(harness.ROOT, "solutions")
NAMES = sorted(name for name in os.listdir(LABS) if name[:2].isdigit())
BLOCK = re.compile(r"<!-- *((?:(?!-->).)*?) *-->\n```\w*\n(.*?)^```$", re.M | re.S)
POINTS = re.compile(r"^Points: (\d+) of (\d+)$", re.M)
SOURCES = ("*.c", "*.h", "*.asm", "*.ld")


class Student:
    """A tree of sources in which one lab is worked on, and what is said about it."""

    def __init__(self, t, name):
        self.t, self.name = t, name
        self.tree = os.path.join(t.scratch, "tree")
        self.work = os.path.join(t.root, "build", "labs", name)
        os.makedirs(self.tree)
        for pattern in SOURCES:
            for path in glob.glob(os.path.join(t.root, pattern)):
                shutil.copy(path, self.tree)
        for folder in ("shards", "etc", "model", "rungs", "labs/" + name):
            shutil.copytree(os.path.join(t.root, folder), os.path.join(self.tree, folder))

    def apply(self, patch, *options):
        """Applies a patch of this project to the tree."""
        path = os.path.relpath(patch, self.t.root)
        environment = dict(os.environ, GIT_CEILING_DIRECTORIES=self.t.scratch)
        done = self.t.sh(["git", "apply", *options, patch], cwd=self.tree, env=environment)
        self.t.check(done.returncode == 0,
                     "%s does not apply any more, because the tree has changed: renew it as labs/README.md says under "
                     "\"When the tree changes\" (%s)" % (path, " ".join(done.stderr.split())))

    def grade(self):
        """Grades the tree. Returns (status, points, all points, output)."""
        done = self.t.sh(["./grade.sh", self.name, "--tree", self.tree], timeout=600)
        points = POINTS.search(done.stdout)
        self.t.check(points, "grade.sh prints no points: " + (done.stderr or done.stdout)[-300:])
        return done.returncode, int(points.group(1)), int(points.group(2)), done.stdout

    def follow(self, kind):
        """Runs the handout's blocks of a kind in the copy that was graded last, and looks at what they print."""
        with open(os.path.join(LABS, self.name, "README.md"), encoding="utf-8") as handout:
            blocks = BLOCK.findall(handout.read())
        output, count = None, 0
        for comment, text in blocks:
            head, *fields = [line.strip() for line in comment.split("\n")]
            if head == kind:
                done = self.t.sh(text, cwd=self.work, timeout=300)
                output, count = done.stdout + done.stderr, count + 1
                self.expect(fields, done.returncode, output, text)
            elif head == "output" and output is not None:
                transcripts.check(self.t, "labs/%s/README.md" % self.name, text, output)
            elif head != "output":
                output = None
        return count

    def expect(self, fields, status, output, text):
        for key, value in (field.split(":", 1) for field in fields if ":" in field):
            if key == "status":
                self.t.equal(status, int(value), "exit status of `%s`" % text.strip())
            else:
                self.t.check(re.search(value.strip(), output, re.M),
                             "`%s` does not print `%s`" % (text.strip(), value.strip()))

    def diagnose(self, script):
        """Runs a gdb script on the graded machine, in the build for steps, which gdb has in the handouts too. The first
        line of the script names the options of run.sh. Returns {key: answer}."""
        with open(script, encoding="utf-8") as file:
            options = re.match(r"# run.sh (.*)", file.readline()).group(1)
        folder = tempfile.mkdtemp(prefix="coconut-")
        socket = os.path.join(folder, "gdb")
        command = "exec ./run.sh --debug %s --timeout 300 -S -gdb unix:%s,server=on,wait=off" % (options, socket)
        machine = harness.start(["bash", "-c", command], cwd=self.work, stdout=-1, stderr=-1)
        try:
            deadline = time.monotonic() + 300
            while not os.path.exists(socket) and machine.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            start = ["-iex", "set pagination off", "-iex", "set auto-load no",
                     "-iex", "python import sys; sys.path.insert(0, %r)" % SOLUTIONS, "-ex",
                     "set trust-readonly-sections on", "-ex", "file build/debug/supervisor.elf",
                     "-ex", "set architecture i386:x86-64", "-ex", "target remote " + socket]
            done = self.t.sh(["gdb", "-nx", "-q", "-batch", *start, "-x", script], cwd=self.work, timeout=120)
        finally:
            harness.end_group(machine, 15)
            harness.finish(machine, 60)
            shutil.rmtree(folder, ignore_errors=True)
        self.t.check("<optimized out>" not in done.stdout, "a variable is optimized out: " + script)
        return dict(re.findall(r"^answer (\w+): (.*)$", done.stdout, re.M))


def number(word):
    try:
        return int(word, 0)
    except ValueError:
        return word


def check_diagnosis(t, student, name):
    """The answers of the solution are what gdb shows on the broken machine."""
    patch = os.path.join(SOLUTIONS, name + ".patch")
    with open(patch, encoding="utf-8") as file:
        answers = dict(re.findall(r"^\+(\w+): (.*)$", file.read().split("answers.txt", 1)[-1], re.M))
    found = student.diagnose(os.path.join(SOLUTIONS, name + ".gdb"))
    for key, answer in answers.items():
        t.equal(number(found.get(key, "nothing")), number(answer), "%s.gdb about `%s`" % (name, key))
    t.check(answers, "the solution has no answers")


def make_test(name):
    """Returns the test of one lab."""
    def test(t):
        if not os.path.isdir(SOLUTIONS):
            t.skip("this is a students' copy: there are no solutions in it")
        for tool in "gdb", "git":
            if not shutil.which(tool):
                t.skip("there is no " + tool)
        student = Student(t, name)
        student.apply(os.path.join(LABS, name, "start.patch"))
        status, start, total, _ = student.grade()
        t.check(status == 1 and start < total, "the starting state has %d of %d points, status %d" % (start, total,
                                                                                                      status))
        t.check(student.follow("broken"), "the handout shows no failure of the starting state")
        if os.path.exists(os.path.join(t.root, student.tree, "labs", name, "answers.txt")):
            check_diagnosis(t, student, name)
        wrong = sorted(glob.glob(os.path.join(SOLUTIONS, name + ".wrong-*.patch")))
        t.check(wrong, "there is no wrong solution")
        best = 0
        for patch in wrong:
            reason = patch.split(".wrong-")[1][:-len(".patch")]
            student.apply(patch)
            status, points, _, _ = student.grade()
            t.check(status == 1 and points < total, "the wrong solution %s has %d of %d points" % (reason, points,
                                                                                                   total))
            if reason.startswith("prints"):
                t.check(student.follow("solved"), "the handout does not show what a solution prints")
            student.apply(patch, "-R")
            best = max(best, points)
        student.apply(os.path.join(SOLUTIONS, name + ".patch"))
        status, points, _, output = student.grade()
        lost = re.search(r"\[0/.*?(?=\n  \[|\nPoints)", output, re.S)
        t.check(status == 0 and points == total, "the solution has %d of %d points: %s" % (
            points, total, " ".join(lost.group(0).split()) if lost else ""))
        student.follow("solved")
        t.note("%d points: the starting state has %d, the best of %d wrong solutions %d" % (total, start, len(wrong),
                                                                                            best))

    with open(os.path.join(LABS, name, "README.md"), encoding="utf-8") as handout:
        test.__doc__ = handout.readline().lstrip("# ").strip() + "."
    test.heavy = True
    return test


for _name in NAMES:
    globals()["test_" + _name.replace("-", "_")] = make_test(_name)


def test_students_copy(t):
    """A students' copy has everything but the solutions; made for one lab, it is that lab's starting state."""
    if not os.path.isdir(SOLUTIONS):
        t.skip("this is a students' copy: there are no solutions in it")
    if not shutil.which("git"):
        t.skip("there is no git")
    whole, single = os.path.join(t.scratch, "whole"), os.path.join(t.scratch, "single")
    t.sh(["scripts/students-copy.sh", whole], expect=0)
    t.sh(["scripts/students-copy.sh", "--lab", NAMES[0][:2], single], expect=0)
    for copy in (whole, single):
        t.check(not os.path.exists(os.path.join(copy, "solutions")), "the solutions are in it")
        t.check(not os.path.exists(os.path.join(copy, "build")), "a build is in it")
        for path in ("grade.sh", "run.sh", "tests/harness.py", "labs/README.md", "labs/%s/grader.py" % NAMES[0]):
            t.check(os.path.exists(os.path.join(copy, path)), path + " is missing")
    patches = [len(glob.glob(os.path.join(copy, "labs", "*", "start.patch"))) for copy in (whole, single)]
    t.equal(patches, [len(NAMES), 0], "the numbers of start patches")
    student = Student(t, NAMES[0])
    student.apply(os.path.join(LABS, NAMES[0], "start.patch"))
    for path in glob.glob(os.path.join(student.tree, "*.*")):
        with open(path, "rb") as ours, open(os.path.join(single, os.path.basename(path)), "rb") as theirs:
            t.check(ours.read() == theirs.read(), os.path.basename(path) + " is not in its starting state")
    history = t.sh("git log --oneline && git status --short", cwd=single, expect=0).stdout
    t.equal(len(history.strip().split("\n")), 1, "the lines of the copy's history and status")


class LazyStub(gdbstub.GdbStub):
    """A stub whose machine, as on a busy host, ends every other single step before it has executed anything. It
    executes one instruction after the other, and stands before every tenth one, where the breakpoints are."""

    def __init__(self):
        super().__init__()
        self.at, self.steps = 10, 0

    def ask(self, text):
        if text == "g":
            return "%016x" % self.at
        if text == "s":
            self.steps += 1
            self.at += self.steps % 2 == 0
        elif text == "c":
            self.at = (self.at + 9) // 10 * 10  # at once, where it stands before a breakpoint
        return "T05"


def test_stops_are_counted_once(t):
    """A single step that executes nothing is not taken for one: no grader sees the same stop twice."""
    stub = LazyStub()
    try:
        for stop in range(20, 220, 10):
            stub.go_on()
            t.equal(stub.at, stop, "where the machine stands")
    finally:
        stub.close()
