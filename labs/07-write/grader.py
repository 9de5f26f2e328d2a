"""Grader of lab 07: the rights of a shard's pages. Read next: labs/lib/rights.py."""

from rights import REQUIREMENTS, grade  # noqa: F401 pylint: disable=unused-import (grading.py looks for them here)

ANSWERS = {
    "address": "72ea0bc906d4761b1a51c07d",
    "error": "9d00c72517afd7287970910b",
    "instruction": "6c9607637622538fa1cedec2",
    "level": "6dab77527666919df0c502c6",
}
