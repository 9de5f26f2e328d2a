"""callgraph.py: who calls whom in the supervisor, as the compiler and boot.asm say, and how much stack each call takes.

A call through a pointer is a site of its own. Where the pointer is declared a comment says what it leads to:

    calls through NAME, NAME: TARGET, TARGET

in the file of the site, or in kernel.h or the file's own header. sys_* stands for all functions that begin so.

Read next: test_marks.py.
"""

import copy
import json
import os
import re
import shlex

import rungs
import test_docs

WINDOW = re.compile(r"\bsti\b")  # lets interrupts in
RETURN_ADDRESS = 8
DECLARED = re.compile(r"calls through (\w+(?:, \w+)*): (\w+\*?(?:, \w+\*?)*)")


def plain(text):
    """Returns a text in which comments of several lines read as one."""
    return re.sub(r"\s*\n\s*(?:\*(?!/)|;)?\s*", " ", text)


def declarations(texts, file):
    """Returns {pointer: {targets}} of what a file's own text, its header and kernel.h declare."""
    found = {}
    for name in (file, file.split(".")[0] + ".h", "kernel.h"):
        for pointers, targets in DECLARED.findall(plain(texts.get(name, ""))):
            for pointer in pointers.split(", "):
                found.setdefault(pointer, set()).update(targets.split(", "))
    return found


class Function:
    """A function: its bytes of stack, the return address included, whom it calls, and whether it lets interrupts in."""

    def __init__(self, file, name):
        self.file, self.name, self.stack, self.calls, self.window, self.dynamic = file, name, 0, set(), False, False


class Graph:
    """The functions of the supervisor by their names; static ones are called FILE:NAME. `flags`: what is added to those
    of the build. `instead`: {file: another text of it}. `problems`: what is not declared, or not right."""

    def __init__(self, t, flags=(), instead=None):
        self.t, self.functions, self.problems, self.sites, self.taken = t, {}, [], [], {}
        self.order = rungs.order_of_files(test_docs.read("kernel.h"))
        self.texts = {name: (instead or {}).get(name) or test_docs.read(name)
                      for name in sorted(os.listdir(t.root)) if name.endswith((".c", ".h", ".asm"))}
        with open(os.path.join(t.root, "build", "compile_commands.json"), encoding="utf-8") as file:
            self.commands = {entry["file"]: shlex.split(entry["command"]) for entry in json.load(file)}
        for file in self.order[1:]:
            self.compile(file, list(flags), instead or {})
        self.assembly()
        self.direct = {name: set(function.calls) for name, function in self.functions.items()}
        self.resolve()

    def redeclared(self, texts):
        """Returns this graph with other declarations: the same calls, but {file: other text}."""
        other = copy.copy(self)
        other.functions, other.texts, other.problems = copy.deepcopy(self.functions), dict(self.texts, **texts), []
        other.sites = [(other.functions[function.name], label) for function, label in self.sites]
        for name, calls in other.direct.items():
            other.functions[name].calls = set(calls)
        other.resolve()
        return other

    # ---- C ----

    def compile(self, file, flags, instead):
        """Compiles a file, and reads what the compiler says of its calls."""
        words = self.commands[file]
        words = words[:words.index("-MMD")] + flags + ["-fcallgraph-info=su", "-ffunction-sections", "-g0"]
        out = os.path.join(self.t.scratch, file[:-2])
        source = self.t.file(file, instead[file]) if file in instead else file
        self.t.sh(words + ["-I", self.t.root, "-c", "-o", out + ".o", source], expect=0)
        with open(out + ".ci", encoding="utf-8") as text:
            self.read(file, text.read())
        self.read_object(file, out + ".o")

    def full(self, file, title):
        """Returns how a function is called here, from the compiler's name for it."""
        title = title.split("/")[-1].split(".constprop")[0].split(".part")[0].split(".isra")[0]
        return "%s:%s" % (file, title.split(":")[-1]) if ":" in title else title

    def read(self, file, text):
        for title, label in re.findall(r'^node: \{ title: "([^"]+)" label: "([^"]+)"', text, re.M):
            stack = re.search(r"\\n(\d+) bytes \((\w+(?:,\w+)*)\)", label)
            if stack:
                name = self.full(file, title)
                function = self.functions.setdefault(name, Function(file, name))
                function.stack = max(function.stack, int(stack.group(1)))
                function.dynamic |= stack.group(2) == "dynamic"
        for source, target, label in re.findall(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"(?: label: '
                                                r'"([^"]+)")?', text, re.M):
            function = self.functions[self.full(file, source)]
            if target == "__indirect_call":
                self.sites.append((function, label.split("/")[-1]))
            else:
                function.calls.add(self.full(file, target))

    def read_object(self, file, path):
        """Notes which functions let interrupts in, and of which ones somebody takes the address."""
        section, mnemonic = "", ""
        for line in self.t.sh(["objdump", "-dr", "--no-show-raw-insn", path], expect=0).stdout.split("\n"):
            head = re.match(r"[0-9a-f]+ <([\w.]+)>:$", line)
            relocation = re.search(r"\bR_X86_64_\w+\s+(?:\.text\.)?(\w+)", line)
            if head:
                section = head.group(1)
            elif relocation:
                if not mnemonic.startswith(("call", "j")):
                    self.take(file, relocation.group(1), section)
            else:
                mnemonic = line.split("\t")[1].split(" ")[0] if "\t" in line else ""
                if WINDOW.match(mnemonic):
                    self.functions[self.known(file, section.split(".")[0])].window = True
        data = self.t.sh(["objdump", "-r", path], expect=0).stdout
        for name, records in re.findall(r"^RELOCATION RECORDS FOR \[(\.(?:ro)?data[^\]]*)\]:\n(.*?)\n\n", data + "\n\n",
                                        re.M | re.S):
            for target in re.findall(r"R_X86_64_64\s+(?:\.text\.)?(\w+)$", records, re.M):
                self.take(file, target, name)

    def known(self, file, name):
        """Returns the full name of a function as a file sees it."""
        return "%s:%s" % (file, name) if "%s:%s" % (file, name) in self.functions else name

    def take(self, file, name, where):
        self.taken.setdefault(self.known(file, name), "%s, %s" % (file, where))

    # ---- boot.asm ----

    def assembly(self):
        """Reads boot.asm: a function begins with a label that is not local, and goes on into the next one, if it does
        not jump or return before that."""
        function, falls = None, False
        for line in self.texts["boot.asm"].split("\n"):
            code = line.split(";")[0]
            label = re.match(r"(\w+|isr_%1):", code)
            words = code.split(None, 1)
            if label:
                name = label.group(1).replace("isr_%1", "isr_stub")
                if function and falls:
                    function.calls.add(name)
                function = self.functions.setdefault(name, Function("boot.asm", name))
                function.stack = RETURN_ADDRESS
            elif function and words:
                self.instruction(function, words[0], words[1] if len(words) > 1 else "", line)
                falls = words[0] not in ("jmp", "ret", "iretq", "ud2", "sysret", "o64")

    def instruction(self, function, mnemonic, operands, line):
        if mnemonic == "PROTECT":
            mnemonic, operands = (operands.split(",", 1)[1].split(None, 1) + [""])[:2]
        if mnemonic in ("push", "PUSH"):
            function.stack += 8 * len(operands.split(","))
        if WINDOW.match(mnemonic):
            function.window = True
        if mnemonic in ("call", "jmp") or (mnemonic.startswith("j") and not operands.startswith(".")):
            target = operands.strip()
            if re.match(r"r\w\w?$|\[", target):
                self.sites.append((function, "boot.asm:%d" % (self.texts["boot.asm"].split("\n").index(line) + 1)))
            elif not target.startswith("."):
                function.calls.add(target)

    # ---- Pointers ----

    def resolve(self):
        """Gives each call through a pointer its targets, and each function whose address is taken a declaration."""
        reached, used = set(), set()
        bare = {}
        for name in self.functions:
            bare.setdefault(name.split(":")[-1], set()).add(name)
        for function, label in self.sites:
            file, line = label.split(":")[:2]
            declared = declarations(self.texts, file)
            text = self.texts[file].split("\n")[int(line) - 1]
            pointers = [name for name in declared if re.search(r"\b%s\b" % name, text)]
            if not pointers:
                self.problems.append("%s:%s: %s calls through a pointer, and nothing says where to: %s" % (
                    file, line, function.name, text.strip()))
            for pointer in pointers:
                used.add(pointer)
                for target in declared[pointer]:
                    names = {name for word in bare if re.fullmatch(target.replace("*", r"\w*"), word)
                             for name in bare[word]}
                    if not names or ("*" not in target and len(names) > 1):
                        self.problems.append("%s is to be called through %s, and there is no such function, or more" %
                                             (target, pointer))
                    function.calls |= names
                    reached |= names
        for file in self.order:
            for pointer in set(declarations({file: self.texts[file]}, file)) - used:
                self.problems.append("%s: nobody calls through %s" % (file, pointer))
        for name, where in sorted(self.taken.items()):
            if name in self.functions and name not in reached and self.functions[name].file != "boot.asm":
                self.problems.append("%s: the address of %s is taken, and no call through a pointer leads there" % (
                    where, name))

    # ---- Questions ----

    def callers_of(self, names):
        """Returns the functions from which a way leads to one of those names, these included."""
        found = set(names)
        while True:
            more = {name for name, function in self.functions.items() if function.calls & found} - found
            if not more:
                return found
            found |= more

    def circles(self):
        """Returns the sets of functions that call each other in a circle, or themselves."""
        reach = {}
        for name in self.functions:
            seen, left = set(), list(self.functions[name].calls)
            while left:
                one = left.pop()
                if one not in seen and one in self.functions:
                    seen.add(one)
                    left += self.functions[one].calls
            reach[name] = seen
        return {frozenset(other for other in reach[name] if name in reach[other])
                for name in reach if name in reach[name]}

    def deepest(self, name, times, without=(), memory=None):
        """Returns (bytes, [functions]) of the deepest way down from a function. A function of a circle counts as often
        as `times` says; `without`: functions that are not entered, and calls (caller, callee) that are not made."""
        memory = {} if memory is None else memory
        if name not in memory:
            memory[name] = (0, ["..."])  # the way back in a circle
            function = self.functions[name]
            below = max((self.deepest(callee, times, without, memory) for callee in sorted(function.calls)
                         if callee in self.functions and not {callee, (name, callee)} & set(without)), default=(0, []))
            memory[name] = (function.stack * times.get(name, 1) + below[0], [name] + below[1])
        return memory[name]
