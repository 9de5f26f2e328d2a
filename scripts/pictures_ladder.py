"""pictures_ladder.py: draws the ladder of the supervisor's files, from the objects in build/.

Order, headings and doors are those of kernel.h; how many files below a file uses, its object says; at which file a
rung ends, rungs.py knows. Read next: kernel.h, "The doors"; tests/test_ladder.py, which finds what does not stand where
it should.
"""

import os
import re

import harness
import pictures
import rungs
import test_image

RUNG = 22       # points from one file to the next
FILES = 150     # where their names begin
RUNGS, USES, LINES = 590, 656, 736  # where these columns end
DOOR = 11       # points between the ways of two doors


def read(name):
    with open(os.path.join(harness.ROOT, name), encoding="utf-8") as file:
        return file.read()


def objects(order):
    """Returns {symbol: file that defines it} and {file: symbols that it uses}."""
    owner, used = {}, {}
    for file in order:
        path = os.path.join("build", file.split(".")[0] + ".o")
        symbols = re.findall(r"([A-Z]) (\S+)$", harness.output_of(["nm", path], "nm"), re.M)
        owner.update({name: file for kind, name in symbols if kind != "U"})
        used[file] = {name for kind, name in symbols if kind == "U"}
    return owner, used


def doors(index, owner):
    """Returns (from, to) of the ways up: from boot.asm to whom it calls; from a file to those that its door names."""
    text = re.search(r"^/\* ---- The doors -.*?\*/", index, re.M | re.S).group(0)
    called, _, rest = text.partition("It knows its way")
    ways = {("boot.asm", owner[name]) for name in re.findall(r"^ \*   (\w+)   +\w", called, re.M)}
    for file, sentence in re.findall(r"^ \*   \w+   +(\w+\.c): (.*)$", rest, re.M):
        ways |= {(file, target) for target in re.findall(r"\w+\.c\b", sentence)}
    return ways


def draw(folder):
    index = read("kernel.h")
    headings = dict([("boot.asm", "the trampoline, and the ways between the rings")] +
                    re.findall(r"^/\* ---- (\w+\.c)(?:: )?(.*?) -+ \*/$", index, re.M))
    order = list(headings)
    owner, used = objects(order)
    height = 60 + RUNG * len(order)
    picture = pictures.Picture("The ladder of the supervisor's files: each uses files below it", height)
    picture.text(24, 30, "doors", pictures.RED, 13)
    picture.text(FILES + 10, 30, "file", weight="bold")
    picture.text(RUNGS, 30, "rung", pictures.GREEN, 12, "end")
    picture.text(USES, 30, "uses below", pictures.QUIET, 12, "end")
    picture.text(LINES, 30, "lines of code", pictures.QUIET, 12, "end")
    tops = {rung.top: rung.name for rung in rungs.rungs()}
    y = {file: height - 24 - RUNG * i for i, file in enumerate(order)}
    for file in order:
        below = {owner[name] for name in used[file] if name in owner} - {file}
        below = {other for other in below if order.index(other) < order.index(file)}
        picture.text(FILES + 10, y[file], file, pictures.BLUE, 13, weight="bold")
        picture.text(FILES + 120, y[file], headings[file], pictures.INK, 12)
        picture.text(RUNGS, y[file], tops.get(file, ""), pictures.GREEN, 12, "end")
        picture.text(USES, y[file], str(len(below)), pictures.QUIET, 12, "end")
        lines = test_image.code_lines(os.path.join(harness.ROOT, file))
        picture.text(LINES, y[file], str(lines), pictures.QUIET, 12, "end")
    ways = sorted(doors(index, owner), key=lambda way: (order.index(way[0]), order.index(way[1])))
    for i, (start, end) in enumerate(ways):
        x = FILES - 4 - DOOR * (len(ways) - i)
        picture.arrow([(FILES, y[start] - 4), (x, y[start] - 4), (x, y[end] - 4), (FILES, y[end] - 4)], pictures.RED)
    picture.save(os.path.join(folder, "ladder.svg"))
