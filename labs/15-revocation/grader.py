"""Grader of lab 15: a capability that is revoked is gone, wherever it has travelled, and nothing else is.

Read next: tests/shards/caps/main.c, which has the scenes.
"""

import test_ipc

REQUIREMENTS = {
    "copies": (3, "copies, and copies of copies, go with what they were made from; others stay"),
    "receivers": (2, "a shard that waits in RECV through a copy wakes up with E_BADHANDLE"),
    "callers": (2, "and one that waits in CALL"),
    "senders": (2, "and one that waits in SEND"),
    "slots": (1, "slots of revoked copies can be filled again"),
}
SCENES = {"copies": "revoke", "receivers": "recv", "callers": "call", "senders": "send", "slots": "half"}


def grade(lab):
    for key, scene in SCENES.items():
        lab.judge_good(key, lab.boot(test_ipc.four(scene)))
