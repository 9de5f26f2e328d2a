"""Grader of lab 08: the rights of a shard's pages; see labs/lib/rights.py."""

import rights

REQUIREMENTS = dict(rights.REQUIREMENTS)
ANSWERS = {
    "address": "22043e810790f6dd1245a996",
    "error": "771d6ec1d23e627bc048994e",
    "leaf": "51fd71a0ce84bf6602839971",
    "missing": "8d88536cb0683ebd1e45f707",
}


def grade(lab):
    rights.grade(lab)
