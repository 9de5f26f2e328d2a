"""paragraphs.py: finds the paragraph of the book that explains a stop of a tour. Pure: no gdb.

A paragraph is named by a comment on the line before it: `<!-- tour: NAME -->`. Read next: tours.py.
"""

import glob
import os
import re

ANCHOR = re.compile(r"^<!-- *tour: *([a-z0-9-]+) *-->\n((?:.+\n)+)", re.M)


def load(folder):
    """Returns {name: (path, paragraph)} of all documents below a folder; raises ValueError when a name comes twice."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.md"), recursive=True)):
        with open(path, encoding="utf-8") as file:
            for name, text in ANCHOR.findall(file.read()):
                if name in found:
                    raise ValueError("two paragraphs are named %s: in %s and in %s" % (name, found[name][0], path))
                found[name] = (path, plain(text.strip()))
    return found


def plain(text):
    """Returns a paragraph as it reads in a terminal: links as their words, and no comments."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"\n<!--.*?-->", "", text, flags=re.S))
