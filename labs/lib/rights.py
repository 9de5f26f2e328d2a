"""rights.py: what a shard's address space must look like, for the graders of the labs about page-table entries.

The shard labs/checks/layout maps a page of heap and a file, and exits; there its tables are compared with
MEMORY_MAP.md. Read next: machine.py.
"""

PAGE = 0x1000
CODE, HEAP, STACK, FILE = 0x1000, 0x100000, 0x7FF000, 0x40000000
CONTENT = bytes(range(256)) * 24  # of the file: a page and a half
LOWER, UPPER = set(range(256)), {256, 511}

REQUIREMENTS = {
    "runs": (3, "a shard with code, stack, heap and a mapped file runs to its end"),
    "lower": (3, "its pages have exactly the rights they need"),
    "upper": (2, "nothing of the supervisor's half is for ring 3, and nothing anywhere is writable and executable"),
}


def place_of(address):
    """Returns what lies at an address of a shard, and the rights it must have."""
    if CODE <= address < HEAP:
        return "code", "UX"
    if address == STACK:
        return "stack", "WU"
    return ("heap", "WU") if HEAP <= address < STACK else ("file", "U")


def grade(lab, manifest="shard a /c/layout", files=None):
    """Judges "runs", "lower" and "upper". Returns the run."""
    seen = {}

    def at_exit(machine):
        cr3 = machine.control()["cr3"]
        seen["lower"] = list(machine.leaves(cr3, LOWER))
        seen["upper"] = list(machine.leaves(cr3, UPPER))

    run = lab.boot(manifest, files={"/file": CONTENT, **(files or {})}, stops={"handle_sys_exit": at_exit})
    lab.judge_good("runs", run)
    lower, upper = seen.get("lower", []), seen.get("upper", [])
    wrong = ["%s at %#x: %s" % (place_of(at)[0], at, rights or "R")
             for at, _, _, rights in lower if rights != place_of(at)[1]]
    places = {place_of(at)[0] for at, *_ in lower}
    missing = {"code", "stack", "heap", "file"} - places
    lab.judge("lower", lower and not wrong and not missing, "code UX, stack and heap WU, file U",
              "; ".join(wrong[:3] + ["no %s" % name for name in sorted(missing)]) or "never got there", run)
    wrong = ["%#x: %s" % (at, rights) for at, _, _, rights in upper if "U" in rights]
    wrong += ["%#x: %s" % (at, rights) for at, _, _, rights in lower + upper if "W" in rights and "X" in rights]
    lab.judge("upper", upper and not wrong and not any(run.codes.values()),
              "no U above, no W with X, and the run above",
              "; ".join(wrong[:3]) or run.words(), run)
    return run
