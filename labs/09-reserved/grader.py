"""Grader of lab 09: files can be mapped, by one shard after the other, and stay as they are.

Read next: labs/lib/rights.py, then labs/checks/layout/main.c, which maps the file.
"""

import rights

REQUIREMENTS = {**rights.REQUIREMENTS,
                "again": (2, "three shards, one after the other, map the file, and find it whole")}
ANSWERS = {
    "error": "16cce4c0a58036de53c5f206",
    "bit": "5370a21674932b9746a34c4a",
    "level": "5cb4d73eeab445edece0b37a",
    "present": "c43f4c9644121f2b9d13d6cd",
}


def grade(lab):
    rights.grade(lab)
    lines = ["shard a /c/layout", "shard b /c/layout after=a", "shard c /c/layout after=b"]
    lab.judge_good("again", lab.boot("\n".join(lines), files={"/file": rights.CONTENT}))
