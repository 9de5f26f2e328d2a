"""Grader of lab 08: the rights of a shard's pages. Read next: labs/lib/rights.py."""

from rights import REQUIREMENTS, grade  # noqa: F401 pylint: disable=unused-import (grading.py looks for them here)

ANSWERS = {
    "address": "22043e810790f6dd1245a996",
    "error": "771d6ec1d23e627bc048994e",
    "leaf": "51fd71a0ce84bf6602839971",
    "missing": "8d88536cb0683ebd1e45f707",
}
