"""Grader of lab 10: the rights of a shard's pages. Read next: labs/lib/rights.py."""

from rights import REQUIREMENTS, grade  # noqa: F401 pylint: disable=unused-import (grading.py looks for them here)

ANSWERS = {
    "address": "dbeafc20957ded86086f071e",
    "error": "c755149a1acbeed6311a9b44",
    "bit": "409f083edc58b4339b9397e2",
    "level": "fe760771410a0b7c839e3baf",
}
