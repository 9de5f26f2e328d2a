"""Where the CPU can be lost: MAY_SWITCH and MAY_INTERRUPT on the prototypes, against the compiler's graph of calls; and
how much of a kernel stack the deepest way through that graph takes.

Read next: callgraph.py; marks.h, which says what the marks mean.
"""

import re

import callgraph
import figures
import test_docs

PLAIN = ("-O0", "-fno-inline")  # every call stands in the graph
HEADERS = ("cpu.h", "acpi.h", "pci.h", "ext2.h", "manifest.h", "kernel.h")
SWITCH = "context_switch"  # of boot.asm: whoever reaches it lets others run
MARKS = {"MAY_SWITCH": 2, "MAY_INTERRUPT": 1, None: 0}
WORDS = {2: "lets others run", 1: "lets interrupts in", 0: "does neither"}
PROTOTYPE = re.compile(r"^(?:(MAY_SWITCH|MAY_INTERRUPT) )?(?!typedef|return|extern)((?:[a-z]\w* )+[ *]*)"
                       r"(?:__attribute__\(\(\w+\)\) )?(?!__attribute__)(\w+)\(", re.M)
STACK_LIMIT = 6 * 1024  # bytes of the 8 KiB that a kernel stack has
DEBUG_MARGIN = 512  # bytes that are left where nothing is optimized

# Ways into the kernel at the top of a stack of 8 KiB. boot.asm begins another stack in run_on_stack.
ENTRIES = ("syscall_entry", "isr_stub", "shard_start", "handle_sys_exit", "main.c:supervisor_run")
PROCESSOR = 5 * 8 + 8  # what an interrupt pushes, and the gap that it leaves to align the stack (SDM Vol. 3A 6.14.2)
RECURSION = {"space.c:free_table": 3}  # calls within one another, as many as tables have levels below the PML4
FROM_RING_3 = ("sched_preempt", "fault_kill")  # interrupt_dispatch calls these only where the stack was empty


def code_of(text):
    """Returns a header without comments and definitions of macros."""
    text = re.sub(r"/\*.*?\*/", lambda match: "\n" * match.group(0).count("\n"), text, flags=re.S)
    return re.sub(r"^#.*(?:\\\n.*)*$", "", text, flags=re.M)


def marks_of(texts):
    """Returns {function: (mark, header)} of the prototypes and inline functions of the headers."""
    return {name: (mark or None, header) for header in HEADERS
            for mark, _, name in PROTOTYPE.findall(code_of(texts[header]))}


def costs(graph):
    """Returns {function: 2, 1 or 0}: whether a way leads from it to a switch, or to where interrupts come in."""
    switches = graph.callers_of({SWITCH})
    windows = graph.callers_of({name for name, function in graph.functions.items() if function.window})
    return {name: 2 if name in switches else 1 if name in windows else 0 for name in graph.functions}


def problems(graph, marks):
    """Returns what is wrong with the marks, a sentence each."""
    cost, found = costs(graph), list(graph.problems)
    outside = {}
    for name in graph.functions:
        outside.setdefault(name.split(":")[-1], []).append(name)
    for name, (mark, header) in sorted(marks.items()):
        if name not in outside:
            found.append("%s: there is no %s" % (header, name))
        for full in outside.get(name, []):
            if cost[full] != MARKS[mark]:
                found.append("%s: %s is marked %s, and %s%s" % (header, name, mark or "nothing", WORDS[cost[full]],
                                                                 way_down(graph, full, cost)))
                break
    for name, function in sorted(graph.functions.items()):
        if ":" not in name and name not in marks and function.file != "boot.asm":
            found.append("%s: %s has no prototype in a header of the ladder" % (function.file, name))
    return found


def way_down(graph, name, cost):
    """Returns by whom a function loses the CPU, in words."""
    way = [name]
    while cost[way[-1]]:
        below = [one for one in sorted(graph.functions[way[-1]].calls)
                 if cost.get(one) == cost[name] and one not in way]
        if not below:
            break
        way.append(below[0])
    return ": " + ", ".join(way) if len(way) > 1 else ""


_plain = {}


def plain(t):
    """Returns the graph without inlining, once for all tests of this file that are run one after the other."""
    if "graph" not in _plain:
        _plain["graph"] = callgraph.Graph(t, PLAIN)
    return _plain["graph"]


def test_prototypes(t):
    """Every function is marked as the graph of calls says; each call through a pointer says where it leads to, and each
    function whose address is taken is reached by one."""
    graph = plain(t)
    marks = marks_of(graph.texts)
    found = problems(graph, marks)
    t.check(not found, "%d problems:\n%s" % (len(found), "\n".join(found)))
    count = {mark: sum(mark == one for one, _ in marks.values()) for mark in MARKS}
    t.check(count["MAY_SWITCH"] > 20 and count["MAY_INTERRUPT"] > 2 and count[None] > 100, "the marks are not read")
    t.note("%d functions in a graph of %d may switch, %d take interrupts, %d do neither; %d calls through pointers" % (
        count["MAY_SWITCH"], len(graph.functions), count["MAY_INTERRUPT"], count[None], len(graph.sites)))


def test_twin_marks(t):
    """Each mark that is taken away, and each that is added, is found, and nothing else."""
    graph = plain(t)
    marks = marks_of(graph.texts)
    for name, (mark, header) in marks.items():
        for other in set(MARKS) - {mark}:
            found = problems(graph, dict(marks, **{name: (other, header)}))
            t.check(len(found) == 1 and " %s is marked %s" % (name, other or "nothing") in found[0],
                    "%s with %s: %s" % (name, other, found))
    t.note("%d functions" % len(marks))


def test_twin_pointers(t):
    """A call through a pointer that is not declared is found; so is a declaration that is missing, or misses one
    function."""
    source = test_docs.read("lib.c") + "\nvoid (*stray)(void);\nstatic void call_stray(void) { stray(); }\n" \
        "void (*keep)(void) = call_stray;\n"
    found = callgraph.Graph(t, PLAIN, {"lib.c": source}).problems
    t.equal(len(found), 2, "problems: " + "\n".join(found))
    t.check("lib.c:call_stray calls through a pointer" in found[0] and
            "the address of lib.c:call_stray is taken" in found[1], "\n".join(found))
    for file, old, new, words in (
            ("kernel.h", "calls through cap_gone:", "through cap_gone:",
             ["cap_revoke_index calls through", "edu_cap_gone is taken", "channel_cap_gone is taken",
              "spawn_cap_gone is taken"]),
            ("kernel.h", ", edu_cap_gone */", " */", ["the address of edu_cap_gone is taken"]),
            ("boot.asm", "; calls through rsi: supervisor_run,", "; calls through rsi:",
             ["the address of main.c:supervisor_run is taken"]),
            ("syscall.c", "calls through handlers: sys_*", "calls through handlers: sys_cap_*", ["sys_mmap is taken"])):
        graph = plain(t).redeclared({file: test_docs.read(file).replace(old, new)})
        for word in words:
            t.check(any(word in problem for problem in graph.problems),
                    "with %s for %s: %s" % (new, old, graph.problems))


def test_twin_check(t):
    """A check of a buffer that lets others run, as it once did, is found at all that check one."""
    text = test_docs.read("user.c")
    place = "space_lookup(current,"
    t.check(place in text, "there is no place for the change")
    graph = callgraph.Graph(t, PLAIN, {"user.c": text.replace(place, "space_lookup(preempt_point() ? NULL : current,")})
    found = problems(graph, marks_of(graph.texts))
    named = set(re.findall(r": (\w+) is marked (?:nothing|MAY_INTERRUPT), and lets others run", "\n".join(found)))
    t.check({"user_readable", "user_writable", "user_path"} <= named, "found: " + "\n".join(found))


# ---- Stacks ----


def depths(graph):
    """Returns (bytes, words): the most that a kernel stack can hold: the deepest way from an entry, an interrupt on top
    of it, and a panic on top of that."""
    good = new_stacks(graph) | {"panic", "fault_panic"}
    from_kernel = good | {("interrupt_dispatch", name) for name in FROM_RING_3}
    entry = max(graph.deepest(name, RECURSION, good) for name in ENTRIES)
    interrupt = graph.deepest("isr_stub", RECURSION, from_kernel)
    exception = graph.deepest("isr_stub", RECURSION, from_kernel - {"panic", "fault_panic"})
    parts = [("a call", entry[0]), ("an interrupt", PROCESSOR + interrupt[0]), ("a panic", PROCESSOR + exception[0])]
    ways = [", ".join(way) for _, way in (entry, interrupt, exception)]
    words = "%s; the way: %s" % (", ".join("%s %d" % part for part in parts), "; then ".join(ways))
    return sum(size for _, size in parts), words


def new_stacks(graph):
    """Returns the calls that boot.asm makes on another stack."""
    return {("run_on_stack", name) for name in graph.functions["run_on_stack"].calls}


def test_stack(t):
    """The deepest way through the kernel as it is built leaves a quarter of a kernel stack free."""
    graph = callgraph.Graph(t)
    t.equal(graph.problems, [], "problems")
    t.equal(graph.circles(), {frozenset({name}) for name in RECURSION}, "functions that call themselves")
    t.equal([name for name, function in graph.functions.items() if function.dynamic], [], "stacks of unknown size")
    size, words = depths(graph)
    t.log(words)
    t.check(size < STACK_LIMIT, "%d bytes: %s" % (size, words))
    boot, way = graph.deepest("supervisor_main", RECURSION, new_stacks(graph))
    t.check(boot < STACK_LIMIT // 2, "%d bytes of the boot stack, which has a page: %s" % (boot, way))
    figures.hold(t, {"stack.deepest": size})
    t.note("%d bytes of %d: %s" % (size, 8192, words.split(";")[0]))


def test_stack_debug(t):
    """So does the deepest way through the build for steps, where nothing is optimized, leave something free."""
    size, words = depths(callgraph.Graph(t, ["-O0"]))
    t.log(words)
    t.check(size < 8192 - DEBUG_MARGIN, "%d bytes: %s" % (size, words))
    t.note("%d bytes of %d: %s" % (size, 8192, words.split(";")[0]))


def test_twin_stack(t):
    """A large local variable, and a function that calls itself, are found."""
    text = test_docs.read("refuse.c")
    place = "	struct shard *self = current;\n\n	self->refusal ="
    t.equal(text.count(place), 1, "places for the change")
    graph = callgraph.Graph(t, (), {"refuse.c": text.replace(
        place, "	volatile char room[4096];\n	room[error] = 0;\n" + place)})
    t.check(depths(graph)[0] >= STACK_LIMIT, "4 KiB more are not found: %d" % depths(graph)[0])
    graph = callgraph.Graph(t, (), {"refuse.c": text.replace(place, place.replace(
        "\n\n", "\n\n	if (argument > 5) return refuse(error, argument - 1, value, reason) + 1;\n"))})
    t.check(frozenset({"refuse"}) in graph.circles(), "a function that calls itself is not found")
