"""The figures of this system in the documents are those of docs/figures.txt, and those are what is found now.

Behind a paragraph, a table or a heading stands `<!-- figures: NAME ... -->`: each of these figures is written there,
exactly, in words up to twelve, or rounded to zeros at its end by less than ROUNDED. In the pages and sections of STRICT
every number of two digits or more is such a figure, or is named behind `; by hand:` as one that nobody measures.

Read next: figures.py, docs/figures.txt, docs/performance.md.
"""

import re

import figures
import test_docs

MARK = re.compile(r"^<!-- figures: *([^;>]*?)(?:; by\s+hand: *([^>]*?))? *-->$", re.M | re.S)
NUMBER = re.compile(r"(?<![\w.,-])\d{1,3}(?:,\d{3})+(?!\w|,\d)|(?<![\w.,-])\d+(?!\w|[.,]\d)")
WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
ROUNDED = 0.05
STRICT = {"docs/performance.md": None, "docs/security.md": "How long the kernel keeps interrupts off, and what a kill "
                                                           "costs"}


def plain(text):
    """Returns a document without code and citations, in which numbers are no figures."""
    return re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def numbers(text):
    return [int(word.replace(",", "")) for word in NUMBER.findall(text)]


def stands_for(number, value):
    """Returns whether a number in a document is a value, or the value rounded."""
    unit = 10 ** (len(str(number)) - len(str(number).rstrip("0"))) if number else 1
    return number == value or (number == round(value / unit) * unit and abs(number - value) < ROUNDED * value)


def stands_in(figure, block):
    """Returns whether a figure is written in a block."""
    word = figure.value <= 12 and re.search(r"\b%s\b" % WORDS[figure.value], block, re.I)
    return bool(word) or any(stands_for(number, figure.value) for number in numbers(block))


def spoilt(figure, block):
    """Returns a block in which every number that is the figure is a ninth larger, and no word is."""
    def change(match):
        number = numbers(match[0])[0]
        return str(number + number // 9 + 1) if stands_for(number, figure.value) else match[0]

    return re.sub(r"\b(?:%s)\b" % "|".join(WORDS), "many", NUMBER.sub(change, block), flags=re.I)


def marks(document):
    """Yields (block, names, what is counted by hand) for each mark of a document."""
    text = plain(test_docs.read(document))
    for match in MARK.finditer(text):
        block = text[:match.start()].rstrip("\n").split("\n\n")[-1]
        yield block.strip("\n"), match[1].split(), numbers(match[2] or "")


def test_documents(t):
    """Every figure that a document names stands there as docs/figures.txt has it, and is missed where the number is
    another."""
    known, used = figures.load(), set()
    for document in test_docs.documents():
        for block, names, _ in marks(document):
            for name in names:
                where = "%s, %s" % (document, block.split("\n")[0][:60])
                t.check(name in known, "%s: there is no figure %s" % (where, name))
                t.check(stands_in(known[name], block), "%s: %s is %d, which is not written there" % (where, name,
                                                                                                     known[name].value))
                t.check(not stands_in(known[name], spoilt(known[name], block)),
                        "%s: nobody would miss %s" % (where, name))
                used.add(name)
    t.equal(sorted(set(known) - used), [], "figures that no document names")
    t.note("%d figures" % len(used))


def unexplained(text, known):
    """Yields a sentence for each number that no mark explains, and for each that a mark names and is not there."""
    for block in re.split(r"\n\n+", text):
        mark = MARK.search(block)
        names, by_hand = (mark[1].split(), numbers(mark[2] or "")) if mark else ([], [])
        there = numbers(test_docs.COMMENT.sub("", block))
        for number in there:
            if number >= 10 and number not in by_hand and not any(stands_for(number, known[name].value)
                                                                  for name in names):
                yield "nobody says where %d comes from: %s" % (number, block[:80])
        for number in set(by_hand) - set(there):
            yield "%d is not there: %s" % (number, block[:80])


def test_by_hand(t):
    """In the pages about costs every number is a figure that is measured, or is said to be counted by hand."""
    known = figures.load()
    for document, heading in STRICT.items():
        text = plain(test_docs.read(document))
        text = test_docs.section(text, heading) if heading else text
        for problem in unexplained(text, known):
            t.check(False, "%s: %s" % (document, problem))
        for added in ("4,711 more", "<!-- figures: ; by hand: 4711 -->"):
            t.check(list(unexplained(text + "\n\n" + added, known)), "%s: nobody asks about %s" % (document, added))


def test_source(t):
    """The figures that the source says are what it says now."""
    known = figures.load()
    stated = [figure for figure in known.values() if ":/" in figure.how]
    t.check(len(stated) > 10, "only %d figures come from the source" % len(stated))
    for figure in stated:
        t.equal(figures.now(figure, known), figure.value, figure.name)
