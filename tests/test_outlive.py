"""The table in docs/security.md of the state that outlives a call: it has every field of the structures, and no other,
and the tests that it names exist.

Read next: docs/security.md, "State that outlives a call"; tests/test_stale.py.
"""

import os
import re

import harness
import test_docs

FILES = ["structures.h", "kernel.h", "sched.c", "channel.c", "cap.c", "spawn.c", "fs.c", "profile.c", "edu.c", "gpu.c",
         "iommu.c", "console.c"]
COMMENT = re.compile(r"/\*.*?\*/", re.S)
STRUCTURE = re.compile(r"^(?:static )?struct (\w+) \{(.*?)\}", re.M | re.S)

# What lives no longer than a call, or holds nothing that depends on who lives.
LEFT_OUT = {
    "trap_frame": "on a kernel stack", "syscall_frame": "on a kernel stack", "switch_frame": "on a kernel stack",
    "frame_map": "the frames of the machine: no shard's", "symbol": "constant", "fault": "a local variable",
    "extent": "a part of struct dma and struct partition, whose rows say more",
}


def declared(body):
    """Returns the names that the declarations of a structure declare."""
    names = []
    for declaration in COMMENT.sub("", body).split(";"):
        words = re.sub(r"\[[^\]]*\]|__attribute__\(\(.*?\)\)\)?", "", declaration).strip()
        if words:
            names += [re.search(r"(\w+)\s*\)*$", part.strip()).group(1) for part in words.split(",")]
    return names


def structures(root):
    """Returns {structure: [field]} of the kernel."""
    found = {}
    for name in FILES:
        with open(os.path.join(root, name), encoding="utf-8") as file:
            for structure, body in STRUCTURE.findall(COMMENT.sub("", file.read())):
                found[structure] = declared(body)
    return found


def table():
    """Returns the rows of the table without its head."""
    found = test_docs.rows(test_docs.section(test_docs.read("docs/security.md"), "State that outlives a call"))
    return [row for row in found if row[0] != "fields"]


def test_fields(t):
    """The table has each field of the kernel's structures once, and no field that there is not."""
    found = structures(t.root)
    t.equal(sorted(set(LEFT_OUT) - set(found)), [], "structures that are left out and do not exist")
    wanted = {"%s.%s" % (name, field) for name, fields in found.items() if name not in LEFT_OUT for field in fields}
    t.check({"end.caller", "shard.fpu", "shard.wait_list", "capability.serial", "dma.len", "queue.tail",
             "writer.held"} <= wanted,
            "the structures could not be read")
    listed = [name for row in table() for name in re.findall(r"`([^`]+)`", row[0])]
    t.equal(sorted(wanted - set(listed)), [], "fields without a row in docs/security.md")
    t.equal(sorted(set(listed) - wanted), [], "rows for fields that do not exist")
    t.equal(sorted({name for name in listed if listed.count(name) > 1}), [], "fields with two rows")
    t.note("%d fields in %d rows" % (len(listed), len(table())))


def test_tests(t):
    """Each row of the table names a test, or an assertion by its line, and these exist."""
    count = 0
    for row in table():
        t.equal(len(row), 5, "cells of the row of " + row[0])
        named = re.findall(r"`([^`]+)`", row[4])
        t.check(named, "the row of %s names no test" % row[0])
        for name in named:
            if ":/" in name:
                continue  # a citation, which docs.citations looks up
            group, _, test = name.partition(".")
            path = os.path.join(harness.ROOT, "tests", "test_%s.py" % group)
            t.check(os.path.exists(path), "%s: there is no group of tests %s" % (row[0], group))
            with open(path, encoding="utf-8") as file:
                t.check(re.search(r"^def test_%s\(" % re.escape(test), file.read(), re.M),
                        "%s: there is no test %s" % (row[0], name))
            count += 1
    t.note("%d tests" % count)
