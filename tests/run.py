#!/usr/bin/env python3
"""run.py: finds the tests, runs them side by side, prints one line for each.

A test is a function test_xxx(t) in a file tests/test_NAME.py, with the name NAME.xxx, or one RUN(xxx) of a host program
tests/host/NAME.c, with the name host.NAME.xxx. Python tests get a Test object, which is all of the interface that they
need: see harness.py, which also says what makes a test fail.

The exit status is 0 only when at least one test passed and none failed; 2 when a word on the command line names no
test. Read next: harness.py.
"""

import argparse
import collections
import difflib
import glob
import importlib
import os
import signal
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.append(os.path.join(sys.path[0], "..", "scripts"))

import coverage  # noqa: E402 (the path must be set first)
import harness  # noqa: E402
import stdout  # noqa: E402


class Job:
    """Something that one worker runs: a Python test, or a host program with all of its tests."""

    def __init__(self, title, names, run, description, order=1, full_only=False, wants=(), about=""):
        self.title = title
        self.names = names  # of the tests that it reports
        self.group = names[0].split(".")[0]
        self.about = about  # the group, in a sentence
        self.run = run  # run(job, runner) reports each of them by runner.report
        self.description = description
        self.order = order  # lower ones start first
        self.full_only = full_only
        self.wants = wants  # titles of jobs: it looks at what their boots reach in the supervisor


def python_jobs():
    """Returns a job for every function test_xxx of the files tests/test_*.py."""
    jobs = []
    for path in sorted(glob.glob(os.path.join(harness.ROOT, "tests", "test_*.py"))):
        group = os.path.basename(path)[len("test_"):-len(".py")]
        try:
            module = importlib.import_module("test_" + group)
        except Exception as problem:  # which fails as a test, so that the other files still run
            jobs.append(python_job(group + ".import", broken(problem)))
            continue
        for key, function in vars(module).items():
            if key.startswith("test_") and callable(function):
                jobs.append(python_job(group + "." + key[len("test_"):], function, first_line(module)))
    return jobs


def broken(problem):
    """Returns a test function that fails with the problem."""

    def function(_test):
        raise problem

    function.__doc__ = "The file of this group can be read."
    return function


def first_line(described):
    """Returns the first line of the docstring of a function or a module."""
    return (described.__doc__ or "").strip().split("\n")[0]


def python_job(name, function, about=""):
    """Returns the job of one function. One with the attribute `rows`, a list of names, reports each of them by
    itself."""
    rows = getattr(function, "rows", None)

    def run(job, runner):
        if rows:
            runner.run_rows(name, function, rows)
        else:
            runner.run_function(name, function)

    order = 0 if getattr(function, "heavy", False) else 2 if getattr(function, "last", False) else 1
    return Job(name, rows or [name], run, first_line(function), order, getattr(function, "full_only", False),
               getattr(function, "wants", ()), about)


class RowTest(harness.Test):
    """A test that gives many verdicts, one a row."""

    def __init__(self, name, full, runner, rows):
        super().__init__(name, full)
        self.runner = runner
        self.rows_left = list(rows)

    def row(self, name, problem=None, skip=None, note=None):
        """Reports one row: passed unless there is a problem or a reason to skip it. `note` says what it is about."""
        self.rows_left.remove(name)
        verdict = "FAIL" if problem else "skip" if skip else "pass"
        self.log("row %s: %s %s" % (name, verdict, problem or skip or ""))
        self.runner.report(verdict, name, reason=problem or skip or note, log=self.log_path if problem else None)


def host_jobs():
    """Returns a job for every program tests/host/*.c."""
    jobs = []
    for path in sorted(glob.glob(os.path.join(harness.ROOT, "tests", "host", "*.c"))):
        program = harness.HostProgram(path)
        names = ["%s.%s" % (program.name, test) for test in program.tests]
        jobs.append(Job(program.name, names, program.run, program.purpose,
                        about="Pure parts of the kernel and of the shards' library, compiled for the host."))
    return jobs


def selected(job, words):
    """Returns whether one of the words is the name, the group or another beginning of a test of the job."""
    return not words or any(name.startswith(word) for word in words for name in job.names)


class Runner:
    """Runs jobs on several threads and counts what they report."""

    def __init__(self, jobs, words, full):
        self.jobs = sorted(jobs, key=lambda job: job.order)
        titles = {job.title for job in jobs}
        coverage.shared.expect({title for job in jobs for title in job.wants} & titles)
        self.words = words
        self.full = full
        self.lock = threading.Lock()
        self.counts = {"pass": 0, "FAIL": 0, "skip": 0}

    def report(self, verdict, name, seconds=None, reason=None, log=None):
        """Prints the line of one test and counts it. Tests that nobody asked for are left out."""
        if self.words and not any(name.startswith(word) for word in self.words):
            return
        line = "%s %s" % (verdict, name)
        if reason is not None:
            line += ": " + " ".join(reason.split())[:300]
        if log is not None:
            line += "; log: " + log
        if seconds is not None:
            line += " (%.1f s)" % seconds
        with self.lock:
            self.counts[verdict] += 1
            try:
                print(line, flush=True)
            except BrokenPipeError:  # nobody reads any more; the leash of test.sh ends what runs
                os._exit(128 + signal.SIGPIPE)
            except OSError as problem:  # likewise
                stdout.give_up("test.sh", problem)

    def noted(self, test):
        """Has the boots of a test noted, if another one wants that. Returns the test."""
        if test.name in coverage.shared.names:
            test.recorder = coverage.shared
        return test

    def run_function(self, name, function):
        """Runs one Python test and reports it."""
        test = self.noted(harness.Test(name, self.full))
        started = time.monotonic()
        try:
            function(test)
        except harness.Skip as skip:
            self.report("skip", name, reason=str(skip))
        except harness.Stopped:
            return
        except harness.Failure as failure:
            self.report("FAIL", name, reason=str(failure), log=test.log_path)
        except Exception as problem:  # a mistake in the test itself is a failure, not the end of the run
            test.log_exception()
            self.report("FAIL", name, reason="%s: %s" % (type(problem).__name__, problem), log=test.log_path)
        else:
            self.report("pass", name, seconds=time.monotonic() - started, reason=test.remark)

    def run_rows(self, name, function, rows):
        """Runs a Python test that reports its rows itself. Those that it does not reach have failed."""
        test = self.noted(RowTest(name, self.full, self, rows))
        reason = None
        try:
            function(test)
        except harness.Skip as skip:
            for row in list(test.rows_left):
                test.row(row, skip=str(skip))
        except harness.Stopped:
            return
        except harness.Failure as failure:
            reason = str(failure)
        except Exception as problem:  # see run_function
            test.log_exception()
            reason = "%s: %s" % (type(problem).__name__, problem)
        for row in list(test.rows_left):
            test.row(row, problem=reason or "the test did not come to this row")

    def work(self):
        """Takes one job after another until none is left. One thread."""
        while not harness.stopping():
            with self.lock:
                if not self.jobs:
                    return
                job = self.jobs.pop(0)
            try:
                job.run(job, self)
            except harness.Stopped:
                return
            finally:
                coverage.shared.ended(job.title)

    def run(self):
        """Runs all jobs. Returns the exit status."""
        # one waits at most times: for a guest's clock, a lock, a time-out that must pass
        workers = (os.cpu_count() or 1) + 1
        threads = [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)
        summary = "%d passed, %d failed" % (self.counts["pass"], self.counts["FAIL"])
        if self.counts["skip"]:
            summary += ", %d skipped" % self.counts["skip"]
        print(summary, flush=True)
        return 0 if self.counts["pass"] and not self.counts["FAIL"] else 1


def parse_command_line():
    parser = argparse.ArgumentParser(allow_abbrev=False, prog="test.sh", description="Builds coconutOS and tests it.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="run only tests whose names begin so (a group, say)")
    parser.add_argument("--full", action="store_true", help="with the full counts: takes much longer")
    parser.add_argument("--list", action="store_true",
                        help="show the groups, or with a NAME its tests, and run nothing")
    parser.error = lambda text: parser.exit(2, "test.sh: %s; --help lists the options.\n" % text)
    return parser.parse_args()


def refuse_unknown(words, jobs, full):
    """Ends the run with status 2 when one of the words names no test, or only tests that do not run without --full."""
    names = [name for job in jobs for name in job.names]
    for word in words:
        found = [job for job in jobs if selected(job, [word])]
        if found and (full or not all(job.full_only for job in found)):
            continue
        text = "no test has a name that begins so; --list shows the groups"
        near = difflib.get_close_matches(word, names + sorted({job.group for job in jobs}), 3)
        if found:
            text = "the tests of this name run with --full only"
        elif near:
            text += ". Did you mean %s?" % " or ".join(near)
        print("test.sh: %s: %s" % (word, text), file=sys.stderr)
        sys.exit(2)


def show(jobs, words):
    """Prints the groups and the number of tests in each; with words on the command line, the tests."""
    if words:
        for job in jobs:
            for name in job.names:
                if selected(job, words) and any(name.startswith(word) for word in words):
                    print("%s%s: %s" % (name, " (--full only)" if job.full_only else "", job.description))
        return
    groups = collections.OrderedDict()
    for job in jobs:
        count, about = groups.get(job.group, (0, job.about))
        groups[job.group] = (count + len(job.names), about)
    for group, (count, about) in groups.items():
        print("%-12s %3d  %s" % (group, count, about))
    print("./test.sh --list GROUP shows the tests of a group, ./test.sh GROUP runs them.")


class Interrupted(Exception):
    """A signal asks the run to end; `number` says which."""

    def __init__(self, number):
        super().__init__()
        self.number = number


def interrupt(number, _frame):
    raise Interrupted(number)


def main():
    # A shell that starts this in the background has it ignore SIGINT, and what is ignored stays so in every child.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    # The scripts find this interpreter at once, and not by way of a program that looks for one each time (pyenv's).
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    options = parse_command_line()
    jobs = host_jobs() + python_jobs()
    refuse_unknown(options.names, jobs, options.full or options.list)
    if options.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        return show(jobs, options.names)
    jobs = [job for job in jobs if selected(job, options.names) and (options.full or not job.full_only)]
    try:
        harness.build()
        return Runner(jobs, options.names, options.full).run()
    except harness.Failure as failure:
        print("FAIL build: %s" % failure, flush=True)
        print("0 passed, 1 failed", flush=True)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # once is enough
        harness.stop_everything()


try:
    stdout.run("test.sh", main)
except Interrupted as interrupted:
    print("test.sh: interrupted", file=sys.stderr)
    sys.exit(128 + interrupted.number)
