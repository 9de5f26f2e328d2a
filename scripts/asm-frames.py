#!/usr/bin/env python3
"""asm-frames.py OBJECT START: prints, as NASM source, where the code of boot.asm keeps the registers of whoever it has
interrupted or was called by (DWARF 4, 6.4 "Call Frame Information"). gdb's `up` and `finish` find their way by it: out
of a system call and out of an interrupt, into ring 3 as well. START is the label of the section .text in that source.

NASM does not write this, so the instructions are followed here: push, pop, and where a way begins. gdb takes a stack
that lies below that of its callee for a broken one, but for signal handlers. So a call of C has their mark (S), and a
frame that comes from ring 3 is said to lie where the shard's stack ends.
Read next: asm-lines.sh, which calls this; boot.asm.
"""

import re
import subprocess
import sys

REGISTERS = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip".split()
NUMBERS = {name: number for number, name in enumerate(REGISTERS)}
NUMBERS.update(rflags=49, cs=51, ss=52)  # System V ABI, AMD64 supplement, figure 3.36
USER_SELECTORS = {"cs": 0x23, "ss": 0x1B}  # layout.h: SEL_USER_CODE, SEL_USER_DATA
WITH_ERROR_CODE = {8, 10, 11, 12, 13, 14, 17, 21, 29, 30}  # vectors, as in boot.asm
WORD = 8
INTERRUPTED = ["ss", "rsp", "rflags", "cs", "rip"]  # words of a stack, from the top down; "": nobody's register
TRAP_FRAME = INTERRUPTED + ["", ""] + "rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15".split()
DEF_CFA, REGISTER, SAME, UNDEFINED, ADVANCE = 0x0C, 0x09, 0x08, 0x07, 0x04
DEF_CFA_EXPRESSION, PLACE, VALUE = 0x0F, 0x10, 0x16  # these have an expression
CONST1U, DEREF, RSP_PLUS = 0x08, 0x06, 0x70 + 7


class State:
    """What is known in front of an instruction: the words above rsp that have been pushed, and how the frame came to
    be: by a call; by a signal; as a syscall, whose way back is in rcx, at first on the shard's stack (entry)."""

    def __init__(self, words, kind):
        self.words, self.kind = list(words), kind

    def frame(self, places):
        """Returns the rule for the frame's address: where the one that called or was interrupted has its stack."""
        if "rsp" in places:
            return with_expression([DEF_CFA_EXPRESSION], [RSP_PLUS, *sleb(places["rsp"]), DEREF])
        return [DEF_CFA, NUMBERS["rsp"], *uleb(WORD * len(self.words))]

    def rules(self):
        """Returns the rules of a row: numbers, as DWARF has them."""
        places = {name: WORD * (len(self.words) - count) for count, name in enumerate(self.words, 1) if name}
        found = self.frame(places)
        for name, number in NUMBERS.items():
            if self.kind == "nobody" and name == "rip":
                found += [UNDEFINED, number]
            elif name == "rsp":
                continue  # the frame's address
            elif name in places:
                found += with_expression([PLACE, number], [RSP_PLUS, *sleb(places[name])])
            elif self.kind in ("entry", "syscall") and name == "rip":
                found += [REGISTER, number, NUMBERS["rcx"]]
            elif self.kind in ("entry", "syscall") and name in USER_SELECTORS:
                found += with_expression([VALUE, number], [CONST1U, USER_SELECTORS[name]])
            else:
                found += [SAME, number]
        return found


def with_expression(rule, expression):
    return rule + [len(expression)] + expression


def sleb(number):
    """Returns a number that is not negative as DWARF's signed LEB128."""
    return [number] if number < 64 else [number & 127 | 128] + sleb(number >> 7)


def uleb(number):
    """Returns a number as DWARF's unsigned LEB128."""
    return [number] if number < 128 else [number & 127 | 128] + uleb(number >> 7)


def state_at(label):
    """Returns the state at a label where a way begins, None: it is no such label."""
    stub = re.fullmatch(r"isr_(\d+)", label)
    if stub:
        return State(INTERRUPTED + [""] * (int(stub.group(1)) in WITH_ERROR_CODE), "signal")
    return {"isr_common": State(INTERRUPTED + ["", ""], "signal"), "interrupt_return": State(TRAP_FRAME, "signal"),
            "shard_start": State(TRAP_FRAME, "signal"), "syscall_entry": State([], "entry"),
            "context_switch": State(["rip"], "call"), "context_switch_fpu": State(["rip"], "call"),
            "higher_half": State([], "nobody"), "run_on_stack": State([], "nobody")}.get(label)


def behind(state, instruction):
    """Returns the state behind an instruction."""
    words = state.words
    pushed, moved = re.match(r"push +%?(\S+)", instruction), re.match(r"add +\$0x([0-9a-f]+),%rsp", instruction)
    if state.kind == "entry" and re.match(r"mov .*,%rsp", instruction):
        return State([], "syscall")  # from here on the stack is the kernel's
    if pushed:
        name = pushed.group(1) if pushed.group(1) in NUMBERS else ""
        if state.kind == "syscall":  # what the processor and its first push have kept of ring 3
            name = "rsp" if not words else {"r11": "rflags", "rcx": "rip"}.get(name, name)
        return State(words + [name], state.kind)
    if instruction.startswith("pop "):
        return State(words[:-1], state.kind)
    if moved:
        return State(words[:len(words) - int(moved.group(1), 16) // WORD], state.kind)
    return state


def instructions(path):
    """Yields (offset, label or None, instruction) of the object's section .text."""
    label = None
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "-j", ".text", path], stdout=subprocess.PIPE,
                          text=True, check=True).stdout
    for line in text.split("\n"):
        begins, found = re.match(r"[0-9a-f]+ <(.+)>:$", line), re.match(r" *([0-9a-f]+):\t(.*)", line)
        label = begins.group(1) if begins else label
        if found:
            yield int(found.group(1), 16), label, found.group(2)
            label = None


def frames(path):
    """Yields (head, [(offset, rules)]) of each stretch of code: it ends where the next begins. Whether a frame that
    has called another one has the mark, gdb sees at the last byte of the call and at the first one behind it."""
    state, rows, jumped, called = State([], "nobody"), [], {}, None
    for offset, label, instruction in instructions(path):
        begins = state_at(label) if label else None
        state = begins or jumped.get(offset, state)
        if called and called.kind in ("signal", "syscall") and state.kind == called.kind:
            yield "call", rows
            yield "signal", [(offset - 1, called.rules()), (offset, state.rules())]
            rows = [(offset + 1, state.rules())]
        elif begins and rows:
            yield "call", rows
            rows = []
        if not rows or state.rules() != rows[-1][1]:
            rows.append((offset, state.rules()))
        jump = re.match(r"j\w+ +([0-9a-f]+) <", instruction)
        if jump:
            jumped.setdefault(int(jump.group(1), 16), state)
        called = state if instruction.startswith("call") else None
        state = behind(state, instruction)
    yield "call", rows


def db(numbers):
    return "db " + ", ".join(map(str, numbers))


def describe(path, start):
    """Prints the section: two heads, and a description for each stretch of code."""
    print("section .debug_frame progbits noalloc noexec nowrite align=8")
    for name, augmentation in (("call", []), ("signal", [ord("S")])):
        print("its_%s:\ndd its_%s_end - $ - 4\ndd 0xFFFFFFFF" % (name, name))
        print(db([1] + augmentation + [0, 1, 0x78, NUMBERS["rip"]]) + "\nalign 8, db 0\nits_%s_end:" % name)
    found = list(frames(path))
    for number, (head, rows) in enumerate(found):
        end = found[number + 1][1][0][0] if number + 1 < len(found) else None
        length = "%d" % (end - rows[0][0]) if end is not None else "%s_size - %d" % (start, rows[0][0])
        print("dd its_frame%d_end - $ - 4\ndd its_%s\ndq %s + %d, %s" % (number, head, start, rows[0][0], length))
        at = rows[0][0]
        for offset, rules in rows:
            if offset != at:
                print("db %d\ndd %d" % (ADVANCE, offset - at))
            print(db(rules))
            at = offset
        print("align 8, db 0\nits_frame%d_end:" % number)


describe(*sys.argv[1:])
