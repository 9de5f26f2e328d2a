"""Grader of lab 18: matmul() is right for every shape, stays inside its arrays, and takes a third of the instructions.

Read next: labs/checks/matmul/main.c.
"""

import random

import machine

PARTS = 3  # it must take at most the plain loop's instructions divided by this
SHAPES = ((64, 64), (172, 64), (8, 4), (1, 1), (5, 3), (9, 7), (33, 65), (7, 130), (16, 31), (31, 16))
REQUIREMENTS = {
    "shapes": (4, "products of every shape, with numbers drawn anew, are right to the last bit"),
    "bounds": (2, "nothing is read behind the matrix, nothing written behind the result"),
    "cost": (4, "it takes at most a third of the instructions of the plain loop"),
}


def checksum(seed, rows, columns, rounds=1):
    """Returns what labs/checks/matmul computes from the products: see there."""
    total = 0
    for round_ in range(rounds):
        x = [value(seed + round_, j) for j in range(columns)]
        for i in range(rows):
            result = sum(value(seed, 1000 + i * columns + j) * x[j] for j in range(columns))
            total = (total * 31 + result) & 0x7FFFFFFF
    return total


def value(seed, i):
    """Returns a small whole number, so that sums of products are exact in any order."""
    return ((seed + i) * 2654435761 % (1 << 32) >> 24) % 17 - 8


def grade(lab):
    shapes = {"s%dx%d" % shape: shape for shape in SHAPES}
    seeds = {name: random.randrange(1, 1 << 20) for name in shapes}
    lines = ["shard %s /c/matmul args=\"once %d %d %d\"" % (name, seeds[name], *shape)
             for name, shape in shapes.items()]
    run = lab.boot("\n".join(lines))
    wrong = [name for name, shape in shapes.items() if run.codes.get(name) != checksum(seeds[name], *shape)]
    lab.judge("shapes", run.ended and not wrong, "the checksums of all products",
              "others for %s" % ", ".join(wrong) or run.words(), run)
    killed = [name for name in shapes if run.codes.get(name, "killed") == "killed"]
    beside = [name for name in shapes if run.codes.get(name) == 1 << 31]
    lab.judge("bounds", run.ended and not killed and not beside,
              "no shard is killed, and none finds something overwritten",
              "killed: %s; overwritten: %s" % (killed, beside), run)
    seed = random.randrange(1, 1 << 20)
    run = lab.boot("shard plain /c/matmul args=\"plain %d 172 64\"\nshard yours /c/matmul args=\"many %d 172 64\" "
                   "after=plain" % (
        seed, seed), options=machine.ICOUNT)
    right = checksum(seed, 172, 64, 40)
    plain, yours = (run.rows.get(name, {}).get("wall_ms", 0) for name in ("plain", "yours"))
    same = run.ended and run.codes.get("plain") == run.codes.get("yours") == right
    lab.judge("cost", same and 0 < plain and yours * PARTS <= plain,
              "the same sums in at most 1/%d of the time" % PARTS,
              "%d of %d ms of instructions%s" % (yours, plain, "" if same else ", and other sums"), run)
