"""What the files are made of: the supervisor's instructions, segments and size, the shards' sections, the lines of
source.

Read next: CONTRIBUTING.md for the promises that these tests keep; supervisor.ld.
"""

import glob
import json
import os
import re
import shlex

ELF = "build/supervisor.elf"
LINES = 5500  # of all sources at the top level, the loader's too, neither blank nor comment
FILE_LINES = 400
FUNCTION_LINES = 40
EVENING_LINES = 2600  # of the files that a newcomer reads in an evening: the ladder without these
LATER = "boot.asm profile.c ext2.c fs.c manifest.c spawn.c acpi.c pci.c devices.c iommu.c edu.c gpu.c".split()
TEXT = 56 * 1024  # bytes of the supervisor's code
IMAGE_SIZE = 1 << 20
FPU = re.compile(r"%(?:[xyz]?mm\d+|st\b|k\d)|"
                 r"^(?:f(?!x(?:save|rstor))\w+|v[a-z]{3,}\w*|emms|ldmxcsr|stmxcsr|xsave\w*|xrstor\w*)$")


def instructions(t, elf):
    """Yields (mnemonic, operands) of every instruction in the file."""
    for line in t.sh(["objdump", "-d", "--no-show-raw-insn", elf], expect=0).stdout.split("\n"):
        match = re.match(r"^\s*[0-9a-f]+:\t(\S+)\s*(.*)$", line)
        if match:
            yield match.groups()


def test_general_registers_only(t):
    """The supervisor has no SSE, x87 or MMX instruction but FXSAVE and FXRSTOR."""
    count, saves, wrong = 0, 0, []
    for mnemonic, operands in instructions(t, ELF):
        count += 1
        saves += mnemonic in ("fxsave64", "fxrstor64")
        if FPU.search(mnemonic) or FPU.search(operands):
            wrong.append(mnemonic + " " + operands)
    t.check(count > 3000 and saves >= 4, "only %d instructions and %d saves found: the test is blind" % (count, saves))
    t.check(not wrong, "%d instructions, the first of them: %s" % (len(wrong), wrong[:1]))


def compiled_functions(t, elf):
    """Returns {name: its instructions as text, in order} of the C functions in the file."""
    found, assembly = {}, set(re.findall(r" [tT] (\S+)", t.sh(["nm", "build/boot.o"], expect=0).stdout))
    for line in t.sh(["objdump", "-d", "--no-show-raw-insn", elf], expect=0).stdout.split("\n"):
        head = re.match(r"[0-9a-f]+ <([\w.]+)>:$", line)
        if head:
            code = found.setdefault(head.group(1), [])
        elif re.match(r"\s*[0-9a-f]+:\t", line):
            code.append(line.split("\t")[-1])
    return {name: code for name, code in found.items() if name not in assembly | {"image_text"}}


def without_frame(code_of):
    """Returns the functions that call without a frame, or jump where they should call: a backtrace would leave one out.
    What gcc has put aside, name.cold, has the frame of its function."""
    found = []
    for name, code in code_of.items():
        words = [line.split()[0] for line in code]
        calls = words.index("call") if "call" in words else 0
        framed = not calls or name.endswith(".cold") or any(line.split()[:2] == ["push", "%rbp"]
                                                            for line in code[:calls])
        goals = [re.match(r"j\w+ +(?:\S+ <(\w+)|\*(%))", line) for line in code]
        if not framed or any(goal and goal.group(1) != name.split(".")[0] for goal in goals):
            found.append(name)
    return found


def test_frames(t):
    """Each function that calls another has a frame, and a call is no jump: a backtrace shows every caller. The twins, a
    file without frames and one whose last calls are jumps, fail."""
    code_of = compiled_functions(t, ELF)
    t.check(len(code_of) > 200, "only %d functions were found" % len(code_of))
    t.equal(without_frame(code_of), [], "functions that are missing in a backtrace, or hide their caller")
    with open(os.path.join(t.root, "build", "compile_commands.json"), encoding="utf-8") as file:
        command = next(entry["command"] for entry in json.load(file) if entry["file"] == "cap.c")
    words = shlex.split(command)
    for flag in ("-fomit-frame-pointer", "-foptimize-sibling-calls"):
        out = os.path.join(t.scratch, "cap.o")
        t.sh(words[:words.index("-MMD")] + ["-O2", flag, "-c", "-o", out, "cap.c"], expect=0)
        others = [path for path in glob.glob(os.path.join(t.root, "build", "*.o")) if not path.endswith("/cap.o")]
        linked = os.path.join(t.scratch, "supervisor.elf")
        objects = [out, "build/symbols/symbols.o"] + others
        t.sh(["ld", "-nostdlib", "-T", "supervisor.ld", "-o", linked] + objects, expect=0)
        t.check("sys_cap_inspect" in without_frame(compiled_functions(t, linked)), "cap.c with %s passes" % flag)
    t.note("%d functions" % len(code_of))


def test_segments(t):
    """No segment of the supervisor is writable and executable, and the image ends before the boot stack."""
    table = t.sh(["readelf", "-lW", ELF], expect=0).stdout
    loads = re.findall(r"^\s+LOAD\s+\S+\s+(\S+)\s+(\S+)\s+\S+\s+(\S+)\s+(.*?)\s+0x\S+$", table, re.M)
    t.check(len(loads) >= 4, "only %d segments found" % len(loads))
    end = 0
    for _virtual, physical, size, flags in loads:
        t.check(not ("W" in flags and "E" in flags), "a segment with the flags " + flags)
        t.check(int(physical, 16) >= 0x200000, "a segment at " + physical)
        end = max(end, int(physical, 16) + int(size, 16))
    t.check(end - 0x200000 < IMAGE_SIZE, "the image has %d bytes" % (end - 0x200000))
    t.note("%d KiB" % ((end - 0x200000) // 1024))


def test_shards_are_flat(t):
    """No shard of the system has writable static data, and all begin at 0x1000."""
    elves = glob.glob(os.path.join(t.root, "build", "shards", "*.elf"))
    t.check(len(elves) >= 3, "only %d shards found" % len(elves))
    for elf in elves:
        table = t.sh(["readelf", "-SW", elf], expect=0).stdout
        for name, size in re.findall(r"\] \.(data|bss|got)\s+\S+\s+\S+\s+\S+\s+(\S+)", table):
            t.equal(int(size, 16), 0, "size of .%s of %s" % (name, elf))
        t.check(re.search(r"\] \.text\s+PROGBITS\s+0*1000 ", table), "%s does not begin at 0x1000" % elf)


def test_data_in_a_shard(t):
    """A shard with .data or .bss is refused when it is linked, in words that say what to do."""
    for name, line in (("data", "int x = 1;"), ("bss", "int x;")):
        folder = os.path.join(t.scratch, name)
        t.file(name + "/main.c", "%s\nint main(void) { return x++; }\n" % line)
        done = t.sh(["scripts/build-shard.sh", folder, os.path.join(t.scratch, "out")])
        t.check(done.returncode != 0, "a shard with .%s was linked" % name)
        t.check("coconut_mmap" in done.stderr and "." + name in done.stderr,
                "the message does not help: " + done.stderr)


LINE = 120  # characters; a tab is one


def test_lines_of_source(t):
    """No line of C, assembler, Python or shell has more than 120 characters, but those that list a test's sources."""
    count = 0
    for where, folders, files in os.walk(t.root):
        folders[:] = [name for name in folders if not name.startswith(".") and
                      os.path.join(where, name) != os.path.join(t.root, "build")]
        for name in files:
            if not name.endswith((".c", ".h", ".asm", ".inc", ".S", ".py", ".sh", ".conf")):
                continue
            with open(os.path.join(where, name), encoding="utf-8") as file:
                for number, line in enumerate(file.read().split("\n"), 1):
                    t.check(len(line) <= LINE or " SOURCES: " in line, "%s:%d: %d characters" %
                            (os.path.relpath(file.name, t.root), number, len(line)))
                    count += 1
    t.check(count > 20000, "only %d lines were found" % count)


def without_comments(text):
    """Returns the text of a C file without what stands in comments; each line keeps its place."""
    keep_strings = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*'
    return re.sub(keep_strings, lambda m: m.group(0)
                  if m.group(0)[0] in "\"'" else re.sub(r"[^\n]", "", m.group(0)), text, flags=re.S)


def code_lines(path):
    """Returns the number of lines of a C or assembler file that are neither blank nor comment. The functions in
    coconut.h are for shards only, so they do not count."""
    with open(path, encoding="utf-8") as file:
        text = file.read().split("#ifndef COCONUT_NO_CALLS")[0]
    text = re.sub(r";.*", "", text) if path.endswith(".asm") else without_comments(text)
    return sum(1 for line in text.split("\n") if line.strip())


def functions(text):
    """Yields the head of each function of a C file, and its lines of code, head and braces included."""
    for match in re.finditer(r"^([a-z_][^\n;={}]*\([^;{}]*\)) \{\n.*?^\}$", without_comments(text), re.M | re.S):
        yield match.group(1), sum(1 for line in match.group(0).split("\n") if line.strip())


def test_size_of_source(t):
    """The source at the top level stays small, and so does each file of it and the code that it becomes."""
    total = 0
    for path in sorted(glob.glob(os.path.join(t.root, "*.[ch]")) + glob.glob(os.path.join(t.root, "*.asm"))):
        name, lines = os.path.basename(path), code_lines(path)
        t.log("%5d %s" % (lines, name))
        t.check(lines < FILE_LINES, "%s has %d lines of code" % (name, lines))
        total += lines
    t.check(total < LINES, "the top level has %d lines of code" % total)
    size = int(re.search(r"^\.text +(\d+)", t.sh(["size", "-A", ELF], expect=0).stdout, re.M).group(1))
    t.check(size < TEXT, "the supervisor has %d bytes of code" % size)
    t.note("%d lines of code, which become %d bytes" % (total, size))


def too_long(text):
    """Returns the functions of a C file that have too many lines, and how many there are of all."""
    found = dict(functions(text))
    return {name: lines for name, lines in found.items() if lines >= FUNCTION_LINES}, len(found)


def test_size_of_functions(t):
    """No function of the top level is long."""
    count, text = 0, ""
    for path in sorted(glob.glob(os.path.join(t.root, "*.c"))):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        long, some = too_long(text)
        t.equal(long, {}, "long functions of " + os.path.basename(path))
        count += some
    t.check(count > 350, "only %d functions were found: the test is blind" % count)
    t.check(too_long(text + "void f(int a,\n\tint b) {\n%s}\n" % ("\ta += b;\n" * FUNCTION_LINES))[0],
            "a long function was not noticed")
    t.note("%d functions" % count)


def test_evening(t):
    """What a newcomer reads in an evening stays short."""
    with open(os.path.join(t.root, "kernel.h"), encoding="utf-8") as index:
        ladder = re.findall(r"^/\* ---- (\w+\.c)\b", index.read(), re.M)
    t.equal(set(LATER) - set(ladder), {"boot.asm"}, "files that are left out and are not there")
    lines = sum(code_lines(os.path.join(t.root, name)) for name in ladder if name not in LATER)
    t.check(lines < EVENING_LINES, "%d lines, fewer than %d wanted" % (lines, EVENING_LINES))
    t.note("%d lines" % lines)
