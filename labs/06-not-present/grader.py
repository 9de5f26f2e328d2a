"""Grader of lab 06: a shard gets as many pages of code as its file needs, with the file in them.

Read next: labs/lib/machine.py.
"""

import os

import harness

PAGE, CODE, HEAP = 0x1000, 0x1000, 0x100000
SIZES = {"short": 1000, "page": PAGE, "more": PAGE + 1, "long": 3 * PAGE + 77}

REQUIREMENTS = {
    "runs": (3, "programs of every size run to their end"),
    "pages": (3, "each has exactly the pages that its file needs"),
    "content": (2, "they hold the file, and zeros behind its end"),
}
ANSWERS = {
    "address": "cbf44412c278fcc2215d85b0",
    "error": "3b385ed112d181459c284e20",
    "level": "f39272ce8340eed175fb1f27",
    "access": "854b22ef614e469313b580a6",
}


def grade(lab):
    with open(harness.build_test_shard("ok"), "rb") as file:
        code = file.read()
    files = {"/p/" + name: code + os.urandom(size - len(code)) for name, size in SIZES.items()}
    seen = []  # (pages, their content) of each shard, in the order of their ends

    def at_exit(machine):
        cr3 = machine.control()["cr3"]
        pages = [leaf for leaf in machine.leaves(cr3, {0}) if leaf[0] < HEAP]
        seen.append(([at for at, *_ in pages], b"".join(machine.phys(phys, PAGE) for _, _, phys, _ in pages)))

    lines = ["shard %s /p/%s%s" % (name, name, " after=%s" % before if before else "")
             for name, before in zip(SIZES, [None, *SIZES])]
    run = lab.boot("\n".join(lines), files=files, stops={"handle_sys_exit": at_exit})
    lab.judge_good("runs", run)
    counts = [len(pages) for pages, _ in seen]
    wanted = [(size + PAGE - 1) // PAGE for size in SIZES.values()]
    right = counts == wanted and all(pages == list(range(CODE, CODE + len(pages) * PAGE, PAGE)) for pages, _ in seen)
    lab.judge("pages", right, "%s pages for files of %s bytes" % (wanted, list(SIZES.values())), "%s pages" % counts,
              run)
    same = [content == files["/p/" + name].ljust(len(content), b"\0") for (_, content), name in zip(seen, SIZES)]
    lab.judge("content", len(same) == len(SIZES) and all(same) and right, "the same bytes in all four", "%s" % same,
              run)
