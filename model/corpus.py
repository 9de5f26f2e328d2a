#!/usr/bin/env python3
"""Writes the training corpus: children's stories put together from plots.txt, one story a line.

Owns the notation of plots.txt and the rules of English that no template can know (a or an, capitals, pronouns).
The same seed gives the same bytes on every machine: randomness comes only from random.Random(seed).random().
Read next: plots.txt (what is told), tokenizer.py (how text becomes tokens).

    corpus.py STORIES SEED [TELLINGS] > corpus.txt

The notation inside a wording: {name} is a slot, [a|b|] one of the alternatives, {name:=text} expands text, prints it
and keeps it as {name} for the rest of the story. A slot is a character's name or pronoun, a stock or a phrase.
"""
import os
import random
import re
import sys

# Words in the longest story. No story of the corpora has more than 153 tokens: each ends well inside the model's 256.
LONGEST = 118
# How often a story is told with another cast. What changes between tellings can only be known from the story itself, so
# the model learns to look back instead of learning stories by heart.
TELLINGS = 5
PLOTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plots.txt")

# Subject, possessive, object and reflexive pronouns, and the nouns, of the two sexes.
FORMS = {
    "girl": {"he": "she", "his": "her", "him": "her", "self": "herself", "boy": "girl", "woman": "woman"},
    "boy": {"he": "he", "his": "his", "him": "him", "self": "himself", "boy": "boy", "woman": "man"},
}
ELDERS = {"girl": ["mom", "grandma", "aunt"], "boy": ["dad", "grandpa", "uncle"]}
# Slot prefix of each character's pronouns, and the slot that holds the name.
CHARACTERS = {"": "H", "f": "F", "a": "A", "p": "P", "q": "Q"}

# Who says what, before the quote or after it.
SAY = "said|asked|answered|whispered|cried|shouted|called|yelled"
SPEAKER = r"([A-Z]\w+|(?:[Hh]is|[Hh]er) (?:mom|dad|grandma|grandpa|aunt|uncle))"
QUOTE = r'"(?P<quote>[^"]*[^".,!?])(?P<mark>[.,!?])"'
CALLS = "(?:said|asked|answered|cried|shouted|called|yelled)"
AFTER_QUOTE = rf"{QUOTE} {CALLS} (?P<after>{SPEAKER})\b(?P<before>)"
BEFORE_QUOTE = rf'(?:^|(?<=[.!?] ))(?P<before>{SPEAKER})\b[^".!?]* {CALLS}, {QUOTE}$(?P<after>)'


class Book:
    """plots.txt, read: stocks and phrases are {name: [text]}, plots are {name: [(optional, [wording])]}."""

    def __init__(self, path=PLOTS):
        self.stocks, self.phrases, self.plots = {}, {}, {}
        self.adjectives = {}   # noun -> [adjective]
        with open(path, encoding="ascii") as file:
            for number, line in enumerate(file, 1):
                line = line.rstrip("\n")
                if line and not line.startswith("#"):
                    self._read(line, f"{path}:{number}")

    def _read(self, line, where):
        """Takes one line; every line belongs to the section that was opened last."""
        word, _, rest = line.partition(" ")
        if word == "adjectives":
            self.kind = word
        elif word in ("stock", "phrase", "plot"):
            self.kind = word
            self.section = {"stock": self.stocks, "phrase": self.phrases, "plot": self.plots}[word][rest] = []
        elif self.kind == "stock":
            self.section += [item.strip() for item in line.split(",") if item.strip()]
        elif self.kind == "adjectives":
            adjectives, _, nouns = line.partition(": ")
            for noun in nouns.split(", "):
                self.adjectives[noun] = adjectives.split(", ")
        elif self.kind == "phrase" and word == "|":
            self.section.append(rest)
        elif self.kind == "plot" and word in ("-", "?"):
            self.section.append((word == "?", [rest]))
        elif self.kind == "plot" and word == "|":
            self.section[-1][1].append(rest)
        else:
            sys.exit(f"{where}: expected a section, '-', '?' or '|', found: {line}")


def pick(rng, items):
    """One item, all equally likely. Uses random() alone, whose sequence Python guarantees between versions."""
    return items[int(rng.random() * len(items))]


class Teller:
    """Tells one story: keeps what the story has already decided, so that a slot always means the same thing."""

    def __init__(self, book, telling, casting):
        self.book = book
        self.telling = telling  # decides plot and wordings
        self.casting = casting  # decides who and what the story is about
        self.bound = {}       # slot -> text, fixed for this story
        self.told = ""        # the story so far, to see who has appeared
        self.last_draw = {}   # phrase -> its last wording, so that it is not used twice in a row
        for prefix, slot in CHARACTERS.items():
            self._cast(prefix, slot)

    def chance(self, share):
        """True in this share of the draws."""
        return self.telling.random() < share

    def _cast(self, prefix, slot):
        """Chooses sex and name of the character in this slot and binds its pronouns, plain and capitalised."""
        sex = pick(self.casting, ["girl", "boy"])
        if slot == "A":
            names = ELDERS[sex]
        elif slot in "PQ":
            names = self.book.stocks["she" * (sex == "girl") + "he" * (sex == "boy") + "beast"]
        else:
            names = self.book.stocks[sex]
        taken = set(self.bound.values())
        self.bound[slot] = pick(self.casting, [name for name in names if name not in taken])
        for form, word in FORMS[sex].items():
            self.bound[prefix + form] = word
            self.bound[(prefix + form).capitalize()] = word.capitalize()

    def _slot(self, name):
        """The text of a slot: bound already, a phrase drawn anew, or a stock word drawn now and kept."""
        if name in self.bound:
            return self.bound[name]
        if name in self.book.phrases:
            return self._phrase(name)
        if name == "to_place":
            return "to " + self._slot("place").split(" ", 1)[1]
        base = name.rstrip("2")
        if base not in self.book.stocks:
            raise KeyError(f"plots.txt has no slot, phrase or stock {{{name}}}")
        taken = {self.bound.get(base), self.bound.get(base + "2")}
        self.bound[name] = pick(self.casting, [item for item in self.book.stocks[base] if item not in taken])
        return self.bound[name]

    def _phrase(self, name):
        """A wording of this phrase, another one than last time (three tries: short phrases may have no other)."""
        for _ in range(3):
            text = self.expand(pick(self.telling, self.book.phrases[name]))
            if text != self.last_draw.get(name):
                break
        self.last_draw[name] = text
        return text

    def expand(self, text):
        """The wording with every slot and every bracket decided, innermost brackets only when their side is chosen."""
        out, at = [], 0
        while at < len(text):
            if text[at] not in "[{":
                out.append(text[at])
                at += 1
                continue
            end = closing(text, at)
            inner = text[at + 1:end]
            if text[at] == "[":
                out.append(self.expand(pick(self.telling, alternatives(inner))))
            elif ":=" in inner:
                name, _, value = inner.partition(":=")
                if name not in self.bound:
                    self.bound[name] = self.expand(value)
                out.append(self.bound[name])
            else:
                out.append(self._slot(inner))
            at = end + 1
        return "".join(out)

    def story(self, plot):
        """One whole story: the plot's sentences in order, joined by single spaces."""
        beats = self.book.plots[plot]
        sentences = []
        for place, (optional, wordings) in enumerate(beats):
            if optional and self.chance(0.5):
                continue
            wording = pick(self.telling, wordings)
            text = self.garnish(self.expand(self.name_names(wording)))
            if 2 <= place < len(beats) - 2 and self.chance(0.4):
                text = self.link(text)
            sentences.append(polish(text))
            self.told += sentences[-1]
        return " ".join(sentences)

    def name_names(self, wording):
        """Puts the name for three in four of the pronouns that begin a sentence."""
        def name(match):
            return match[1] + "{" + CHARACTERS[match[2].lower()] + "}" if self.chance(0.75) else match[0]
        return re.sub(r"(^|[.!?] )\{([fpFP]?)[Hh]e\}", name, wording)

    def garnish(self, text):
        """Adds what fits anywhere, so that two stories of one plot hardly ever share 30 tokens in a row: adjectives for
        nouns that stand bare after a determiner, names at the end of quotes, and ways of speaking."""
        text = re.sub(r"\b([Tt]he|[Aa]n?|[Hh]is|[Hh]er|some|two|three|four|five) ([a-z]+)\b", self._adjective, text)
        text = re.sub(BEFORE_QUOTE, self._address, re.sub(AFTER_QUOTE, self._address, text))
        text = re.sub(rf'" ({SAY}) (?:[A-Z]\w+|the \w+|(?:his|her) \w+)\.', self._manner, text)
        return re.sub(rf'" (?:he|she) ({SAY})\.', self._manner, text)

    def _adjective(self, match):
        """For a determiner and its noun: seven times in ten with an adjective between, where plots.txt has some."""
        determiner, noun = match[1], match[2]
        if noun not in self.book.adjectives or self.chance(0.3):
            return match[0]
        return f"{determiner} {pick(self.casting, self.book.adjectives[noun])} {noun}"

    def _address(self, match):
        """For a quote and its speaker: three times in five with the listener's name at the end. The friend and the
        grown-up speak to the hero, the second animal to the first; these answer only to somebody they have met."""
        quote, mark = match["quote"], match["mark"]
        speaker = match["after"] or match["before"]
        slot = next((slot for slot in "HFPQ" if self.bound[slot] == speaker), "A")
        listener = {"H": "F", "F": "H", "P": "Q", "Q": "P", "A": "H"}[slot]
        name = self.bound[listener]
        known = listener in "HP" or re.search(rf"\b{name}\b", self.told)
        if not known or name in quote or "," in quote or self.chance(0.4):
            return match[0]
        return match[0].replace(f'"{quote}{mark}"', f'"{quote}, {name}{mark}"')

    def _manner(self, match):
        """For a verb of speaking that ends its sentence: three times in four with the way it was said."""
        if self.chance(0.25):
            return match[0]
        loud = match[1] in ("cried", "shouted", "called", "yelled")
        return match[0][:-1] + " " + self.expand("{loud_manner}" if loud else "{manner}") + "."

    def link(self, text):
        """Ties a sentence to the one before with "Then" or the like, where it tells what somebody does next."""
        state = "and |was|were|had|did|could|never|always|lived|knew|learned"
        begin = re.match(rf"(?:([A-Z]\w+)(?: and [A-Z]\w+)?|he|she|they) (?!{state})", text)
        if not begin or begin[1] and begin[1] not in [self.bound[slot] for slot in "HFPQ"]:
            return text
        return self.expand("{link}") + " " + text


def closing(text, at):
    """Index of the bracket that closes the one at text[at]."""
    depth = 0
    for index in range(at, len(text)):
        depth += (text[index] in "[{") - (text[index] in "]}")
        if depth == 0:
            return index
    raise ValueError(f"plots.txt: unclosed bracket in: {text}")


def alternatives(text):
    """Splits at the bars that are not inside an inner bracket."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "[{") - (char in "]}")
        if char == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def polish(text):
    """A wording as print wants it: 'an' before a vowel, single spaces, capitals at the start of each sentence."""
    text = re.sub(r" +", " ", text).strip()
    text = re.sub(r"\b([Aa])n? (?=[a-zA-Z])", r"\1 ", text)
    text = re.sub(r"\b([Aa]) (?=[aeiouAEIOU]|hour)", r"\1n ", text)
    text = re.sub(r"^(\"?)([a-z])", lambda m: m[1] + m[2].upper(), text)
    return re.sub(r"([.!?] \"?)([a-z])", lambda m: m[1] + m[2].upper(), text)


def stories(count, seed, tellings=TELLINGS):
    """Yields count stories of at most LONGEST words; the same arguments always give the same texts. Each drawn story is
    told `tellings` times in the same words with other people and things. A telling that comes out too long is drawn
    again from the same plot, so that long plots are not rarer than short ones."""
    book = Book()
    plots = sorted(book.plots)
    casting = random.Random(seed)
    for number in range(count):
        telling = random.Random(seed * 1000000 + number // tellings)
        plot = pick(telling, plots)
        story = Teller(book, telling, casting).story(plot)
        while len(story.split()) > LONGEST:
            story = Teller(book, telling, casting).story(plot)
        yield story


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: corpus.py STORIES SEED [TELLINGS] > corpus.txt")
    for story in stories(*map(int, sys.argv[1:])):
        print(story)


if __name__ == "__main__":
    main()
