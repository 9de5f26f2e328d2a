"""stdout.py: ends a script in one line where stdout takes no more, on a full disk for example.

Read next: tests/run.py, which uses it.
"""

import errno
import os
import sys

FULL = 2  # the exit status


def give_up(name, problem):
    """Ends the process at once: what stdout still keeps cannot be written."""
    sys.stderr.write("%s: stdout: %s\n" % (name, problem.strerror))
    sys.stderr.flush()
    os._exit(FULL)


def run(name, main):
    """Runs main and ends the process with what it returns, or exits with, when all that it printed is written."""
    try:
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        give_up(name, problem)
    sys.exit(status)
