"""Grader of lab 16: a CALL costs clearly less than SEND and RECV, and means the same.

Read next: labs/checks/callcost/main.c for the cost, labs/checks/turns/main.c for the order.
"""

import machine
import test_ipc

PERCENT = 80
SCENES = ("order", "full", "small", "both", "call", "exit", "late", "stuffed", "stuck", "asked")

REQUIREMENTS = {
    "cost": (4, "in instructions, a round trip by CALL costs at most %d %% of one by SEND and RECV" % PERCENT),
    "meaning": (3, "messages arrive once, whole and in order, also with full queues and peers that go away"),
    "priority": (3, "a shard that comes before the peer runs before it"),
    "holders": (1, "a second holder of an end is refused while a CALL waits there"),
}


def grade(lab):
    run = lab.boot("shard client /c/callcost args=\"client\"\nshard server /c/callcost args=\"server\"\nchannel "
                   "client server", options=machine.ICOUNT)
    percent = run.codes.get("client")
    measured = run.ended and isinstance(percent, int) and 1 <= percent <= 1000
    lab.judge("cost", measured and percent <= PERCENT, "at most %d %%" % PERCENT,
              "%d %%" % percent if measured else run.words(), run)
    lines = [test_ipc.pairs(SCENES), "shard early /c/turns priority=high args=\"early\"",
             "shard late-one /c/turns priority=low args=\"late\"",
             "channel early late-one"]
    lab.judge_good("meaning", lab.boot("\n".join(lines)))
    lines = ["shard client /c/turns priority=high args=\"client\"", "shard middle /c/turns args=\"middle\"",
             "shard server /c/turns priority=low args=\"server\"", "shard starter /c/turns priority=low args=\"go\"",
             "channel client middle", "channel client server", "channel client starter"]
    lab.judge_good("priority", lab.boot("\n".join(lines), options=machine.ICOUNT))
    lab.judge_good("holders", lab.boot(test_ipc.four("busy")))
