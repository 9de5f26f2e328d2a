#!/usr/bin/env python3
"""grade.py: grades a lab. grade.sh calls it; labs/README.md says how it is used.

The tree that is graded is copied to build/labs/NN-name/, where everything that judges (labs/, tests/, scripts/,
build.sh, run.sh) is this project's own: of the graded tree come the kernel, the shards, and the answers. What has not
changed since the last time is not compiled again. Then the copy of this script in there builds, boots and judges.

Exit status: 0 full marks, 1 fewer, 2 the lab could not be graded.
Read next: grading.py (points), machine.py (what a grader can see), any labs/NN-name/grader.py.
"""

import argparse
import fcntl
import filecmp
import os
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "scripts"))

import stdout  # noqa: E402 (the path must be set first)

OURS = {"labs", "tests", "scripts", "build.sh", "run.sh"}  # what judges
GRADED_FOLDERS = {"shards", "etc", "model", "rungs"}
GRADED_ENDINGS = (".c", ".h", ".asm", ".ld")
NOT_SEEDED = {"runs", "rungs", "tests", "variants", "labs", "bench", "last.log"}


def fail(text):
    print("grade.sh: " + text, file=sys.stderr)
    sys.exit(2)


def lab_names():
    return sorted(name for name in os.listdir(os.path.join(ROOT, "labs")) if name[:2].isdigit())


def find_lab(word):
    """Returns the name of the lab whose number or name is given."""
    found = [name for name in lab_names() if word in (name, name[:2], name[3:], name[:2].lstrip("0"))]
    if len(found) != 1:
        fail("there is no lab %s; ./grade.sh --list shows them" % word)
    return found[0]


# ---- The copy ----


def files_below(folder):
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            yield os.path.relpath(os.path.join(where, name), folder)


def graded_files(tree):
    """Returns the paths of the files of a tree that are graded: the kernel's, the shards', and what these read."""
    found = {name for name in os.listdir(tree) if name.endswith(GRADED_ENDINGS) and
             os.path.isfile(os.path.join(tree, name))}
    for folder in GRADED_FOLDERS:
        found |= {os.path.join(folder, name) for name in files_below(os.path.join(tree, folder))}
    return found


def put(source, target, keep_time):
    """Copies a file unless it is there already. A new content gets a new time, so that it is compiled."""
    if os.path.isfile(target) and filecmp.cmp(source, target, shallow=False):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    (shutil.copy2 if keep_time else shutil.copy)(source, target)


def seed(work):
    """Makes the copy from this project and what it has compiled, so that little is left to compile."""
    os.makedirs(work)
    for name in graded_files(ROOT):
        put(os.path.join(ROOT, name), os.path.join(work, name), True)
    built = os.path.join(ROOT, "build")
    if not os.path.exists(os.path.join(built, ".lock")):
        return
    with open(os.path.join(built, ".lock"), encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        shutil.copytree(built, os.path.join(work, "build"), symlinks=True,
                        ignore=lambda where, _: NOT_SEEDED if where == built else {".lock", "rungs"})


def refresh(work, tree, lab):
    """Brings the copy to the state of the tree, and what judges to this project's."""
    wanted = graded_files(tree)
    for name in graded_files(work) - wanted:
        os.remove(os.path.join(work, name))
    for name in wanted:
        put(os.path.join(tree, name), os.path.join(work, name), False)
    for name in OURS:
        source, target = os.path.join(ROOT, name), os.path.join(work, name)
        inside = list(files_below(source)) if os.path.isdir(source) else [""]
        for path in set(files_below(target)) - set(inside) if os.path.isdir(source) else ():
            os.remove(os.path.join(target, path))
        for path in inside:
            put(os.path.join(source, path).rstrip("/"), os.path.join(target, path).rstrip("/"), True)
    answers = os.path.join("labs", lab, "answers.txt")
    if os.path.isfile(os.path.join(tree, answers)):
        put(os.path.join(tree, answers), os.path.join(work, answers), False)


def prepare(lab, tree):
    """Makes or renews the copy. Returns its path; nobody else changes it as long as this process lives."""
    work = os.path.join(ROOT, "build", "labs", lab)
    os.makedirs(os.path.dirname(work), exist_ok=True)
    lock = os.open(work + ".lock", os.O_CREAT | os.O_WRONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    if not os.path.isfile(os.path.join(tree, "boot.asm")):
        fail("%s is no tree of coconutOS" % tree)
    if not os.path.isdir(work):
        seed(work)
    refresh(work, tree, lab)
    return work


# ---- The command line ----


def show_labs():
    for name in lab_names():
        with open(os.path.join(ROOT, "labs", name, "README.md"), encoding="utf-8") as handout:
            print("%s  %s" % (name[:2], handout.readline().lstrip("# ").strip().split(": ", 1)[-1]))


def parse_command_line():
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="grade.sh", description="Grades a lab of labs/.")
    parser.add_argument("lab", nargs="?", help="its number, as 04")
    parser.add_argument("--tree", help="the tree to grade; this one when not given")
    parser.add_argument("--list", action="store_true", help="show the labs")
    parser.add_argument("--hash", nargs=2, metavar=("KEY", "ANSWER"),
                        help="for teachers: how a grader holds this answer")
    parser.add_argument("--from", dest="caller", default=os.getcwd(), help=argparse.SUPPRESS)
    parser.add_argument("--prepared", action="store_true", help=argparse.SUPPRESS)
    parser.error = lambda text: fail(text + "; --help lists the options.")
    return parser.parse_args()


def interrupt(number, _frame):
    """Ends the grading. What is left of it, the leash of grade.sh ends; the next time completes a copy that is half
    made."""
    if "--prepared" not in sys.argv:
        print("grade.sh: interrupted", file=sys.stderr, flush=True)
    sys.exit(128 + number)


def main():
    options = parse_command_line()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    if not options.prepared:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads may go away
    if options.list or not options.lab:
        return show_labs()
    lab = find_lab(options.lab)
    if options.prepared or options.hash:
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import grading  # pylint: disable=import-outside-toplevel
        if options.hash:
            return print(grading.hash_of(lab, options.hash[0], options.hash[1]))
        sys.exit(grading.main(lab))
    tree = os.path.join(options.caller, options.tree) if options.tree else ROOT
    work = prepare(lab, os.path.realpath(tree))
    sys.exit(subprocess.call([sys.executable, "labs/lib/grade.py", lab, "--prepared"], cwd=work))


stdout.run("grade.sh", main)
