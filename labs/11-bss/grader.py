"""Grader of lab 11: the counter counts, without writable code, and the linker refuses the next such shard.

Read next: labs/checks/adder/main.c, which sends the numbers.
"""

import os
import random

import harness

HEAP = 0x100000

REQUIREMENTS = {
    "counts": (3, "/shards/counter adds up whatever it is sent"),
    "code": (3, "its code is not writable"),
    "linker": (2, "a shard with a variable in .bss is refused when it is linked, one without is not"),
}
ANSWERS = {
    "error": "58c1e73d5116747cfb5729bc",
    "page": "437fe49c33313ee1638c06f3",
    "variable": "4a7e95ec868f7e0e78dfd4f5",
    "section": "3e0979b23fc68e147896098d",
}


def links(lab, name, text):
    """Returns whether a shard with this source is built."""
    lab.test.file(name + "/main.c", text)
    done = lab.test.sh(["scripts/build-shard.sh", os.path.join(lab.test.scratch, name),
                        os.path.join(lab.test.scratch, "out")])
    return done.returncode == 0


def grade(lab):
    rights = []

    def at_exit(machine):
        rights.append({letters for at, _, _, letters in machine.leaves(machine.control()["cr3"], {0}) if at < HEAP})

    numbers = " ".join(str(random.randrange(1 << 40)) for _ in range(40))
    counter = os.path.join(harness.ROOT, "build", "shards", "counter.bin")
    run = lab.boot("shard counter /p/counter\nshard adder /c/adder args=\"%s\"\nchannel counter adder" % numbers,
                   files={"/p/counter": counter}, stops={"handle_sys_exit": at_exit})
    lab.judge_good("counts", run)
    lab.judge("code", run.good and rights and all(letters == {"UX"} for letters in rights),
              "rights UX only, and the sums right",
              "%s; %s" % (rights, run.words()), run)
    bad = links(lab, "bad", "int count;\nint main(void) { return count++; }\n")
    good = links(lab, "good", "int main(void) { return 0; }\n")
    lab.judge("linker", good and not bad, "refused, and not refused",
              "%s, and %s" % tuple("not refused" if linked else "refused" for linked in (bad, good)))
