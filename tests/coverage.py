"""coverage.py: which basic blocks the supervisor's .text has, and which of them QEMU has translated in a boot.

A block begins at a function, at the target of a jump or a call, and behind every jump, call and return; one of nothing
but padding does not count. With `-d in_asm` QEMU writes down each piece of code when it translates it, which it does
right before it runs it for the first time. So a block is reached when its first instruction stands in that log. The
trampoline, .text.boot, is 32-bit code in part and left out: a boot that prints anything has run through it.

Read next: test_coverage.py, coverage_unreached.txt.
"""

import collections
import functools
import os
import re
import threading

import harness

JUMP = re.compile(r"(?:notrack |bnd )?(j\w+|loop\w*|call|ret|iretq?|sysretq?|syscall|hlt|ud2)\b")
PADDING = re.compile(r"(data16 |cs |ds )*(nop[wl]?|int3|xchg +%ax,%ax)\b")
TARGET = re.compile(r"\b(?:j\w+|call|loop\w*) +([0-9a-f]+) <")
INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(.*)$")


class Image:
    """The blocks of a supervisor."""

    def __init__(self, elf):
        listing = harness.output_of(["objdump", "-d", "-j", ".text", "--no-show-raw-insn", elf], "objdump")
        symbols = harness.output_of(["nm", "-n", elf], "nm")
        functions = [(int(address, 16), name) for address, name in re.findall(r"^(\w+) [tT] (\S+)$", symbols, re.M)]
        code = [(int(m.group(1), 16), m.group(2)) for m in map(INSTRUCTION.match, listing.split("\n")) if m]
        self.first, self.last = code[0][0], code[-1][0] + 15
        self.functions = self.owners(functions, code)
        self.code = collections.defaultdict(list)  # {function: [(address, name of the instruction)]}
        for address, text in code:
            self.code[self.functions[address]].append((address, text.split()[0]))
        self.blocks = self.leaders(code, {address for address, _ in functions})

    @staticmethod
    def owners(functions, code):
        """Returns {address of an instruction: name of its function}. A part that GCC or NASM names FUNCTION.PART is
        the function's; so is a loop of boot.asm."""
        result, place, name = {}, 0, "?"
        for address, _ in code:
            while place < len(functions) and functions[place][0] <= address:
                if not functions[place][1].startswith("image_"):
                    name = functions[place][1].split(".")[0]
                place += 1
            result[address] = name
        return result

    @staticmethod
    def leaders(code, starts):
        """Returns the addresses of the first instructions of all blocks; padding in front is passed over."""
        found = set(starts)
        for _, text in code:
            target = TARGET.search(text)
            if target:
                found.add(int(target.group(1), 16))
        begins, blocks = True, []
        for address, text in code:
            begins |= address in found
            if begins and not PADDING.match(text):
                blocks.append(address)
                begins = False
            begins |= bool(JUMP.match(text))
        return blocks

    def options(self, log):
        """Returns the options of QEMU that make it write what it translates of .text into a file."""
        return ["-d", "in_asm", "-dfilter", "0x%x..0x%x" % (self.first, self.last), "-D", log]

    def translate(self, addresses, other):
        """Returns where addresses of another image are in this one: those of functions that have the same instructions
        in both. A build that makes a mistake on purpose differs in the mistake, and in where everything lies."""
        result = set()
        for function, code in other.code.items():
            mine = self.code.get(function, [])
            if [word for _, word in mine] == [word for _, word in code]:
                result |= {here for (here, _), (there, _) in zip(mine, code) if there in addresses}
        return result

    def unreached(self, addresses):
        """Returns {function: [blocks]} for the blocks that are not among the addresses."""
        found = collections.OrderedDict()
        for block in self.blocks:
            if block not in addresses:
                found.setdefault(self.functions[block], []).append(block)
        return found


@functools.lru_cache(maxsize=None)
def image_of(build):
    """Returns the Image of a build, which must be finished."""
    return Image(os.path.join(harness.ROOT, build, "supervisor.elf"))


def translated(log):
    """Returns the addresses of all instructions in a log of QEMU."""
    with open(log, "rb") as file:
        return {int(address, 16) for address in re.findall(rb"^0x([0-9a-f]+):  ", file.read(), re.M)}


class Recorder:
    """Notes what the boots of tests reach: of which tests, run.py says by `names`."""

    def __init__(self, build="build"):
        self.build = build
        self.reached = set()
        self.names = set()  # of tests whose boots are noted
        self.left = set()  # those of them that have not ended
        self.changed = threading.Condition()

    def expect(self, names):
        """Says which tests will run with this recorder."""
        self.names, self.left = set(names), set(names)

    def ended(self, name):
        """Says that a test has ended."""
        with self.changed:
            self.left.discard(name)
            self.changed.notify_all()

    def wait(self):
        """Waits until all of them have ended."""
        with self.changed:
            while self.left and not harness.stopping():
                self.changed.wait(0.5)

    def watch(self, test, build):
        """Returns options for a boot of a test, and what is to be called at its end. A boot of a variant counts where
        its functions are those of the build."""
        log = os.path.join(test.scratch, "in_asm%d" % test.boots)
        image = image_of(build or self.build)

        def end():
            if os.path.exists(log):
                found = translated(log)
                os.remove(log)
                if image is not image_of(self.build):
                    found = image_of(self.build).translate(found, image)
                with self.changed:
                    self.reached |= found

        return image.options(log), end


class CoveredTest(harness.Test):
    """A test that is run by another one, for the sake of what its boots reach."""

    def __init__(self, t, name, recorder):
        super().__init__(os.path.join(t.name, name), t.full)
        self.recorder = recorder
        self.rows_left = []
        self.problems = []

    def row(self, name, problem=None, *_, **__):
        """The rows of such a test are reported elsewhere, but one that fails here makes what it reached doubtful."""
        if problem:
            self.problems.append("%s: %s" % (name, problem))
            self.log("failed: %s: %s" % (name, problem))


shared = Recorder()  # of the whole run of test.sh
