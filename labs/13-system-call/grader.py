"""Grader of lab 13: call 56 gives a shard its name, and refuses everything that is wrong.

Read next: labs/checks/name/main.c, which makes the calls.
"""

import random

REQUIREMENTS = {
    "names": (3, "three shards with names drawn anew get their own names and the right lengths"),
    "errors": (2, "no room is E_INVAL, too little is E_TOOSMALL, and nothing is written then"),
    "pointers": (4, "a buffer that the shard may not write is E_FAULT, and the kernel lives on"),
    "bounds": (1, "only the bytes of the name are written, and only they need to be writable"),
    "pledge": (1, "a shard that has pledged anything can no longer make the call"),
}


def nonce():
    return "".join(random.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(random.randrange(3, 20)))


def grade(lab):
    names = {nonce() for _ in range(3)}
    run = lab.boot("\n".join("shard %s /c/name args=\"names %s\"" % (name, name) for name in names))
    lab.judge_good("names", run)
    name = nonce()
    for key in ("errors", "pointers", "bounds", "pledge"):
        run = lab.boot("shard %s /c/name args=\"%s %s\"\nshard other /t/ok after=%s" % (name, key, name, name))
        lab.judge_good(key, run)
