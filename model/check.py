#!/usr/bin/env python3
"""Decides, sample by sample, whether the model wrote a proper story, and exits 1 when fewer than 95 % are.

Owns the rules below, each a function that returns a reason to fail or None. The facts about names, words and wordings
come from the training corpus, so a wrong name or an invented word is found by its absence there.
Read next: rules(); corpus.py, which promises what is checked here.

    check.py CORPUS TOKENIZER SAMPLES    SAMPLES as `train sample` prints them: "== seed N, ended" (or cut), then text
    check.py --held-out CORPUS TOKENIZER HELD_OUT    the same rules on a corpus of another seed, one story a line
    check.py --self-test TOKENIZER    plants a bad story for each rule and sees that just that rule refuses it
"""
import array
import re
import sys

from corpus import Book, stories
from tokenizer import Tokenizer

COPY_TOKENS = 30      # a run this long that stands in the training corpus counts as copied
PASS_SHARE = 0.95
MOST_NAMED = 2        # plots.txt names at most two characters in one story

WORD = re.compile(r"[A-Za-z]+")
SHE = {"she", "her", "herself", "girl"}
HE = {"he", "his", "him", "himself", "boy"}
# Whoever may be meant by a pronoun without having a name.
FEMALE = {"mom", "grandma", "aunt", "mother", "woman", "lady", "sister", "teacher"}
MALE = {"dad", "grandpa", "uncle", "father", "man", "guard", "brother", "king", "keeper"}
ELDERS = {"mom", "dad", "grandma", "grandpa", "aunt", "uncle"}
# A name stands right after one of these, or right before "was a ...", when its bearer is introduced.
INTRODUCED_AFTER = re.compile(r"(\b(named|friend|neighbor|cousin|friend was)|(?<!\")(?<!\" [Hh]e)(?<!\" [Ss]he) "
                              r"called) $")
INTRODUCED_BEFORE = re.compile(r"^ was an? ")


class Facts:
    """What the rules need to know: the names by sex, the words of the corpus, and the tokenizer."""

    def __init__(self, corpus, tokenizer_path):
        stocks = Book().stocks
        self.girls = set(stocks["girl"] + stocks["shebeast"])
        self.boys = set(stocks["boy"] + stocks["hebeast"])
        self.corpus = corpus
        self.words = set()
        for story in corpus:
            self.words.update(WORD.findall(story))
        self.tokenizer = Tokenizer(tokenizer_path)


def check_end(text, ended, _):
    """The model stopped by itself, at the end of a sentence."""
    if not ended:
        return "the story does not end"
    if not re.search(r"[.!?]\"?$", text):
        return "the last sentence has no end: ..." + text[-20:]
    return None


def check_punctuation(text, _ended, _facts):
    """Every sentence begins with a capital, and marks stand where print puts them."""
    if not re.match(r"\"?[A-Z]", text):
        return "the first letter is no capital"
    wrong = re.search(r"[.!?] \"?[a-z]|[,;:] ?[.,;:!?]|[.!?][.!?,]| [.,!?]|  |[,.!?][A-Za-z]", text)
    return f"punctuation: {excerpt(text, wrong.start())}" if wrong else None


def check_quotes(text, _ended, _facts):
    """Quotation marks come in pairs; an opening one follows a space, a closing one a punctuation mark."""
    marks = [match.start() for match in re.finditer('"', text)]
    if len(marks) % 2:
        return "quotation marks are not paired"
    for opening, end in zip(marks[::2], marks[1::2]):
        well_opened = opening == 0 or text[opening - 1] == " "
        well_closed = text[end - 1] in ".,!?" and text[end + 1:end + 2] in ("", " ")
        if not (well_opened and well_closed and end > opening + 2):
            return f"quotation marks: {excerpt(text, opening)}"
    return None


def check_words(text, _ended, facts):
    """Every word stands in the training corpus, spelled so."""
    unknown = [word for word in WORD.findall(text) if word not in facts.words and word.lower() not in facts.words]
    return f"not a word of the corpus: {unknown[0]}" if unknown else None


def check_names(text, _ended, facts):
    """Every named character is introduced where it first appears, once, and at most MOST_NAMED have names; of the
    family's grown-ups a story knows one."""
    met = []
    for match in WORD.finditer(text):
        name = match[0]
        if name not in facts.girls | facts.boys:
            continue
        introduced = INTRODUCED_AFTER.search(text[:match.start()]) or (
            not met and INTRODUCED_BEFORE.search(text[match.end():]))
        if name not in met and not introduced:
            return f"{name} was not introduced"
        if name in met and INTRODUCED_AFTER.search(text[:match.start()]):
            return f"{name} is introduced again"
        if name not in met:
            met.append(name)
    if not met:
        return "nobody has a name"
    elders = sorted(ELDERS & set(WORD.findall(text)))
    if len(elders) > 1:
        return f"the grown-up changes: {', '.join(elders)}"
    return f"too many named characters: {', '.join(met)}" if len(met) > MOST_NAMED else None


def check_pronouns(text, _ended, facts):
    """He and she (and boy and girl) only where somebody of that sex has appeared, and "girl named" only before a
    girl."""
    wrong = [pair for pair in re.findall(r"\b(girl|boy) (?:named|called) (\w+)", text)
             if pair[1] in (facts.boys if pair[0] == "girl" else facts.girls)]
    if wrong:
        return f"a {wrong[0][0]} named {wrong[0][1]}"
    words = WORD.findall(text)
    for kind, persons, pronouns in (("girl or woman", facts.girls | FEMALE, SHE),
                                    ("boy or man", facts.boys | MALE, HE)):
        person = next((at for at, word in enumerate(words) if word in persons), len(words))
        pronoun = next((at for at, word in enumerate(words) if word.lower() in pronouns), len(words))
        # "There was a girl named Mia", "In her house, Mia": a pronoun may come a little before its name.
        if person > pronoun + 8:
            return f"'{words[pronoun]}', but no {kind}"
    return None


def check_loops(text, _ended, _facts):
    """No word or group of words follows itself in a sentence, and no sentence of five words or more stands twice."""
    loop = re.search(r"\b(\w+) \1\b|\b(\w+[ ,]+\w+(?:[ ,]+\w+)*)[ ,]+\2\b", text)
    if loop:
        return f"repetition: {excerpt(text, loop.start())}"
    sentences = [s for s in re.split(r"(?<=[.!?])\"? ", text) if len(s.split()) >= 5]
    twice = [s for s in sentences if sentences.count(s) > 1]
    return f"a sentence stands twice: {twice[0]}" if twice else None


def rules():
    """The rules in the order they are tried; a story that breaks several is reported for the first."""
    return [check_end, check_punctuation, check_quotes, check_words, check_names, check_pronouns, check_loops]


def excerpt(text, at):
    """A few words around a place in the text."""
    return "..." + text[max(0, at - 15):at + 25] + "..."


def copied(texts, facts):
    """Maps the index of each text that shares COPY_TOKENS tokens in a row with the corpus to those words."""
    windows = {}
    for number, text in enumerate(texts):
        for window in token_windows(facts.tokenizer, text):
            windows.setdefault(window, []).append(number)
    found = {}
    for story in facts.corpus:
        for window in token_windows(facts.tokenizer, story):
            for number in windows.get(window, []):
                ids = array.array("H", window)
                found.setdefault(number, b"".join(facts.tokenizer.tokens[i] for i in ids).decode())
    return found


def token_windows(tokenizer, text):
    """Every run of COPY_TOKENS tokens of the text, as bytes, which Python hashes and compares fast."""
    ids = array.array("H", tokenizer.encode(text)).tobytes()
    return (ids[at:at + 2 * COPY_TOKENS] for at in range(0, len(ids) - 2 * COPY_TOKENS + 1, 2))


def judge(samples, facts):
    """For each sample (label, text, ended) the reason why it fails, or None."""
    copies = copied([text for _, text, _ in samples], facts)
    verdicts = []
    for number, (_, text, ended) in enumerate(samples):
        reasons = (rule(text, ended, facts) for rule in rules())
        reason = next((reason for reason in reasons if reason), None)
        if reason is None and number in copies:
            reason = f"{COPY_TOKENS} tokens copied: {copies[number]}"
        verdicts.append(reason)
    return verdicts


def report(samples, facts):
    """Prints each failure and the summary; returns the exit status."""
    if not samples:
        sys.exit("check.py: no samples")
    verdicts = judge(samples, facts)
    for (label, _, _), reason in zip(samples, verdicts):
        if reason:
            print(f"{label}: {reason}")
    passed = verdicts.count(None)
    print(f"{passed} of {len(samples)} samples pass")
    return 0 if passed >= PASS_SHARE * len(samples) else 1


def read_samples(path):
    """The (label, text, ended) of each sample in the output of `train sample`."""
    with open(path, encoding="utf-8", errors="replace") as file:
        parts = re.split(r"^== (seed \d+), (ended|cut)\n", file.read(), flags=re.M)[1:]
    return [(label, text.rstrip("\n"), ending == "ended") for label, ending, text in zip(*[iter(parts)] * 3)]


def read_lines(path):
    """The stories of a corpus file."""
    with open(path, encoding="ascii") as file:
        return file.read().splitlines()


GOOD = ("Once upon a time, there was a small girl named Mia who lived with her mom. One day, she met a boy called Tom. "
        "\"Can we play?\" asked Mia. \"Yes, please!\" said Tom and smiled. They played until the sun went down.")

# Faults: what is replaced in the good story, by what, and the words that must stand in the reason.
PLANTED = [
    ("went down.", "went down", "has no end"),
    ("One day", "one day", "punctuation"),
    ("asked Mia.", "asked Mia..", "punctuation"),
    ("please!\" said Tom and smiled", "please! Tom smiled", "not paired"),
    ("\"Can we", "Can\" we", "quotation marks:"),
    ("smiled", "smilund", "not a word"),
    ("They played", "Anna played", "Anna was not introduced"),
    ("said Tom", "said her friend Tom", "introduced again"),
    ("They played", "Her friend Anna played", "too many"),
    ("a small girl named Mia who", "a small girl who", "Mia was not introduced"),
    ("girl named Mia", "boy named Mia", "a boy named Mia"),
    ("she met a boy called Tom. \"Can we play?\" asked Mia. \"Yes, please!\" said Tom and",
     "he went out. \"Can we play?\" asked Mia and", "no boy or man"),
    ("They played", "Her dad and grandma came. They played", "the grown-up changes"),
    ("They played until", "They played the sun the sun until", "repetition"),
    ("They played", "They played until the sun went down. They played", "twice"),
]


def planted_samples(corpus):
    """The good story, one sample for each fault, a cut one, and one that is copied; each with its expected reason."""
    yield ("good", GOOD, True), None
    yield ("cut", GOOD, False), "does not end"
    for old, new, reason in PLANTED:
        yield (f"{old} -> {new}", GOOD.replace(old, new), True), reason
    yield ("copy", corpus[7], True), "copied"


def self_test(tokenizer_path):
    """Checks that the good story passes and that each planted fault is refused, for the right reason."""
    corpus = list(stories(2000, 1))
    facts = Facts(corpus, tokenizer_path)
    facts.words.update(WORD.findall(GOOD))
    samples, expected = zip(*planted_samples(corpus))
    wrong = 0
    for (label, _, _), reason, words in zip(samples, judge(samples, facts), expected):
        if (reason is None) != (words is None) or words and words not in reason:
            print(f"self-test: {label}: expected {words}, found {reason}")
            wrong += 1
    print(f"self-test: {len(samples) - wrong} of {len(samples)} verdicts right")
    return 1 if wrong else 0


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--self-test":
        sys.exit(self_test(sys.argv[2]))
    if len(sys.argv) == 5 and sys.argv[1] == "--held-out":
        samples = [(f"line {n}", text, True) for n, text in enumerate(read_lines(sys.argv[4]), 1)]
        sys.exit(report(samples, Facts(read_lines(sys.argv[2]), sys.argv[3])))
    if len(sys.argv) == 4:
        sys.exit(report(read_samples(sys.argv[3]), Facts(read_lines(sys.argv[1]), sys.argv[2])))
    sys.exit((__doc__ or "usage: see the head of model/check.py").strip().split("\n\n")[-1])


if __name__ == "__main__":
    main()
