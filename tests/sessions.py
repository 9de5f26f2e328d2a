"""sessions.py: gdb sessions of tests: what gdb printed for each command, and what the guest's console said meanwhile.

At a reader's terminal both come mixed, and either may tear a line of the other. A test sends the console to a file
(run.sh --console), which QEMU writes itself: at a stop it holds all that the guest has said. A mark in front of each
command tells how long the file was then, so that every word of the console belongs to the command that led to it.
Warnings of QEMU, which come at any moment and belong to no command, are left out.

Read next: scripts/watch.py, which knows --console.
"""

import os
import re
import shlex


class Step:
    """One command: what gdb printed, and what the guest's console said."""

    def __init__(self, printed, console):
        self.printed, self.console = printed, console

    def shown(self):
        """Returns both: gdb says that the guest goes on, the guest speaks while it runs, and gdb again when it has
        stopped."""
        goes_on, stopped = re.match(r"((?:Continuing\.\n)?)(.*)", self.printed, re.S).groups()
        return goes_on + self.console + "\n" + stopped


def with_console(command, console):
    """Returns the command that starts a machine for gdb, with its console in a file."""
    return re.sub(r"(\./(?:scripts/qemu-)?run\.sh)(?= .*(?:--gdb|--tour|-s -S)\b)",
                  lambda found: found.group(1) + " --console " + shlex.quote(console), command)


def script(commands, console):
    """Returns gdb's commands with a mark in front of each and behind the last."""
    mark = "python import os; gdb.write('@@%%d %%d@@\\n' %% (%d, os.path.getsize(%r)))\n"
    return "".join(mark % (i, console) + command.rstrip("\n") + "\n" for i, command in enumerate(commands)) + \
        mark % (len(commands), console)


def steps(output, console):
    """Returns as Steps: what came before the first command, each command, and what came behind the last. They are as
    many as marks were reached, and one."""
    with open(console, "rb") as file:
        said = file.read()
    output = re.sub(r"^qemu-system-x86_64: warning: .*\n", "", output, flags=re.M)
    pieces = re.split(r"@@\d+ (\d+)@@\n", output)
    ends = [0] + [int(size) for size in pieces[1::2]] + [len(said)]
    return [Step(printed.replace("(gdb) ", ""), said[start:end].decode(errors="replace"))
            for printed, start, end in zip(pieces[::2], ends, ends[1:])]
