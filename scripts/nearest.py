#!/usr/bin/env python3
"""nearest.py WORD: prints `: did you mean --NAME?` for the option in the help text on stdin that WORD is most like, or
nothing.

Read next: scripts/qemu.sh.
"""

import difflib
import re
import sys

known = sorted(set(re.findall(r"(?<!\S)--[a-z]+", sys.stdin.read())))
found = difflib.get_close_matches("--" + sys.argv[1].lstrip("-"), known, 1, 0.75)
print(f": did you mean {found[0]}?" if found else "", end="")
