"""grading.py: points: what a lab asks for, what was expected, what was seen.

A lab is a folder labs/NN-name/ with

    README.md     the handout
    start.patch   makes the starting state from the real tree
    answers.txt   the questions of the diagnosis, as `key:` lines that the student completes (not in every lab)
    grader.py     REQUIREMENTS = {key: (points, what is required)}, ANSWERS = {key: hash} and grade(lab), which calls
                  lab.judge() for each requirement; one that it does not reach has failed

Verdicts come from what no shard can print: the exit status of the run, and the machine's memory and registers, which
machine.py reads through QEMU. Answers are held as salted hashes, so that the grader does not give them away.
Read next: machine.py, any grader.py.
"""

import hashlib
import importlib.util
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests"))

import harness  # noqa: E402 (the path must be set first)
import machine  # noqa: E402

ANSWER_POINTS = 1
ROUNDS = 50000  # of hashing: trying all answers takes a while


def normal(answer):
    """Returns an answer in one spelling: numbers in any base, words in any case."""
    words = " ".join(answer.lower().replace("()", "").split())
    try:
        return "%#x" % (int(words, 0) & (1 << 64) - 1)
    except ValueError:
        return words


def hash_of(lab, key, answer):
    salt = ("%s:%s" % (lab, key)).encode()
    return hashlib.pbkdf2_hmac("sha256", normal(answer).encode(), salt, ROUNDS).hex()[:24]


class Lab:
    """What the function grade() of a lab gets."""

    def __init__(self, name, module):
        self.name = name
        self.folder = os.path.join("labs", name)
        self.test = harness.Test("lab-" + name, False)
        self.requirements = dict(module.REQUIREMENTS)  # with the answers, later
        self.answers = getattr(module, "ANSWERS", {})
        self.verdicts = {}  # key: (passed, expected, seen, run)

    # -- for graders --

    def boot(self, manifest, **options):
        """Boots the graded kernel. See machine.boot()."""
        return machine.boot(self.test, manifest, **options)

    def boot_spinning(self, **options):
        """Boots two shards that compute for long without a system call: only the tick takes the CPU from them."""
        return self.boot("\n".join("shard %s /t/spin args=\"20\"" % name for name in "ab"), **options)

    def judge(self, key, passed, expected, seen, run=None):
        """Gives the verdict on one requirement. `run` is what it was seen in."""
        self.verdicts[key] = (bool(passed), expected, seen, run)

    def judge_good(self, key, run):
        """Requires that a run ends with every shard content."""
        self.judge(key, run.good, "every shard exits with 0, and the run's status is 0", run.words(), run)

    def judge_codes(self, key, run, codes):
        """Requires the exit codes {name: code, or "killed"} of a run."""
        seen = {name: run.codes.get(name, "did not end") for name in codes}
        self.judge(key, run.ended and seen == codes, "exit codes %s" % codes,
                   "%s%s" % (seen, "" if run.ended else "; " + run.words()), run)

    # -- the result --

    def read_answers(self):
        """Judges answers.txt."""
        given = {}
        path = os.path.join(self.folder, "answers.txt")
        with open(path, encoding="utf-8") as file:
            for line in file:
                match = re.match(r"(\w+):(.*)", line)
                if match:
                    given[match.group(1)] = match.group(2).strip()
        for key, right in self.answers.items():
            answer = given.get(key, "")
            self.requirements["answer " + key] = (ANSWER_POINTS, "%s: `%s`" % (path, key))
            self.judge("answer " + key, answer and hash_of(self.name, key, answer) == right,
                       "the right answer (the handout says how to find it)", "`%s`" % answer if answer else "no answer")

    def report(self):
        """Prints the points. Returns whether they are all."""
        got = total = 0
        for key, (points, title) in self.requirements.items():
            passed, expected, seen, run = self.verdicts[key]
            got += points * passed
            total += points
            print("  [%d/%d] %s" % (points * passed, points, title))
            if not passed:
                print("        expected: %s\n        seen:     %s" % (expected, seen))
                if run:
                    print("        log:      %s\n        replay:   %s" % (run.log, run.replay))
        print("Points: %d of %d" % (got, total))
        return got == total


def load(name):
    """Returns the module labs/NAME/grader.py."""
    spec = importlib.util.spec_from_file_location("grader", os.path.join("labs", name, "grader.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grade(lab, module):
    """Builds and grades; what goes wrong on the way is what was seen of all that was not judged."""
    try:
        harness.build()
        module.grade(lab)
        problem = "the grader did not get so far"
    except harness.Failure as failure:
        problem = str(failure)
    for key in lab.requirements:
        if key not in lab.verdicts:
            lab.judge(key, False, "a kernel that can be built and watched", problem)


def main(name):
    """Grades the lab. The working folder is the copy that grade.py has made. Returns the exit status."""
    module = load(name)
    lab = Lab(name, module)
    with open(os.path.join(lab.folder, "README.md"), encoding="utf-8") as handout:
        print(handout.readline().lstrip("# ").strip())
    try:
        if lab.answers:
            lab.read_answers()
        grade(lab, module)
    finally:
        harness.stop_everything()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads the report may go away
    return 0 if lab.report() else 1
