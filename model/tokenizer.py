#!/usr/bin/env python3
"""Trains the tokenizer on the corpus and turns text into token numbers, exactly as llama2.c's encoder would.

Owns the file format of tokenizer.bin (little endian): i32 length of the longest token, then for each token
f32 score, i32 length, its bytes. Ids: 0 <unk>, 1 BOS (also the end of a story), 2 EOS, 3..258 the bytes,
then the merges, best first with score -rank, then the single characters of the corpus.
The first IN_PIECE merges stay inside a piece (a word with the space before it, or a run of punctuation). The rest join
neighbouring tokens of small words and punctuation, such as ", and": they make a story a fifth shorter, and every token
saved is one that the kernel need not compute. They rank after all the others, so encoding may do the pieces first.
Read next: train.c (what learns from the tokens).

    tokenizer.py train CORPUS TOKENIZER.BIN    make the tokenizer
    tokenizer.py encode TOKENIZER.BIN CORPUS TOKENS.BIN    write u16 tokens, each story as BOS story, one BOS at the end
"""
import array
import collections
import re
import struct
import sys

VOCABULARY = 2048
BOS = 1
LONGEST_STORY = 240  # tokens; the context has 256
IN_PIECE = 1600
SAMPLE_STORIES = 3000  # stories that the merges across pieces are learned from
FIRST_BYTE = 3
SPECIAL = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
# Words that may take part in a merge across pieces. Names and things stay tokens of their own, so that the model can
# look them up wherever they stood before.
SMALL = set("""a an the and but so then it was is were in on at by to of for with from that this said asked cried called
shouted yelled had did do not could you i my we can will let us he she they him all one day once upon time there who
named lived when into up out down as at last first""".split())
PIECE = re.compile(r" ?[A-Za-z]+| ?[^A-Za-z ]+| ")


def pieces(text):
    """The text's pieces, with the space that llama2.c's encoder puts in front of every text."""
    return PIECE.findall(" " + text)


def merge(parts, left, right):
    """parts with every adjacent (left, right) joined."""
    joined, at = [], 0
    while at < len(parts):
        if parts[at] == left and at + 1 < len(parts) and parts[at + 1] == right:
            joined.append(left + right)
            at += 2
        else:
            joined.append(parts[at])
            at += 1
    return joined


def learn_merges(counts, wanted):
    """The first `wanted` merges of byte-pair encoding; a tie goes to the pair first in the alphabet."""
    words = {piece: list(piece) for piece in counts}
    merges = []
    while len(merges) < wanted:
        pairs = collections.Counter()
        for piece, parts in words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[piece]
        if not pairs:
            sys.exit("tokenizer.py: the corpus is too small for this vocabulary")
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if left + right not in merges:
            merges.append(left + right)
        for piece, parts in words.items():
            if left + right in piece:
                words[piece] = merge(parts, left, right)
    return merges


class Known:
    """The merges inside pieces, applied in the encoder's order; remembers the pieces it has split."""

    def __init__(self, merges):
        self.rank = {token: number for number, token in enumerate(merges)}
        self.seen = {}

    def split(self, text):
        """The text as a list of token texts."""
        return [token for piece in pieces(text) for token in self._piece(piece)]

    def _piece(self, piece):
        if piece not in self.seen:
            self.seen[piece] = greedy(list(piece), lambda left, right: self.rank.get(left + right))
        return self.seen[piece]


def greedy(parts, rank):
    """Joins the leftmost pair of lowest rank until no pair has one: what llama2.c's encoder does."""
    parts = list(parts)
    while True:
        ranked = [(number, at) for at, pair in enumerate(zip(parts, parts[1:])) if (number := rank(*pair)) is not None]
        if not ranked:
            return parts
        at = min(ranked)[1]
        parts[at:at + 2] = [parts[at] + parts[at + 1]]


def may_join(token):
    """True for a token of nothing but small words and punctuation."""
    return all(word.lower() in SMALL for word in re.findall("[A-Za-z]+", token))


def learn_joins(lines, wanted):
    """The `wanted` best merges of neighbouring tokens that may_join, across pieces; lines are lists of token texts."""
    joins = []
    allowed = {}
    while len(joins) < wanted:
        pairs = collections.Counter()
        for parts in lines:
            pairs.update(zip(parts, parts[1:]))
        for left, right in pairs:
            for token in (left, right):
                allowed.setdefault(token, may_join(token))
        left, right = min((pair for pair in pairs if allowed[pair[0]] and allowed[pair[1]] and
                           re.match("[^a-z]", pair[0]) and re.match("[^A-Za-z]", pair[1])),
                          key=lambda pair: (-pairs[pair], pair))
        joins.append(left + right)
        lines = [merge(parts, left, right) if left in parts else parts for parts in lines]
    return joins


def train(corpus_path, tokenizer_path):
    """Counts the corpus' pieces, learns the merges and writes tokenizer.bin."""
    counts = collections.Counter()
    with open(corpus_path, encoding="ascii") as corpus:
        for story in corpus:
            counts.update(pieces(story.rstrip("\n")))
    characters = sorted(set("".join(counts)))
    merges = learn_merges(counts, IN_PIECE)
    known = Known(merges)
    with open(corpus_path, encoding="ascii") as corpus:
        lines = [known.split(story.rstrip("\n")) for story, _ in zip(corpus, range(SAMPLE_STORIES))]
    merges += learn_joins(lines, VOCABULARY - FIRST_BYTE - 256 - len(characters) - IN_PIECE)
    tokens = [(token, 0.0) for token in SPECIAL]
    tokens += [(b"<0x%02X>" % byte, 0.0) for byte in range(256)]
    tokens += [(token.encode(), -float(rank)) for rank, token in enumerate(merges + characters)]
    with open(tokenizer_path, "wb") as file:
        file.write(struct.pack("<i", max(len(token) for token, _ in tokens)))
        for token, score in tokens:
            file.write(struct.pack("<fi", score, len(token)) + token)


class Tokenizer:
    """tokenizer.bin, loaded; encode() and decode() follow llama2.c's run.c."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        self.tokens, self.scores, at = [], [], 4
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            self.tokens.append(data[at + 8:at + 8 + length])
            self.scores.append(score)
            at += 8 + length
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        self.known = {}  # piece -> its tokens, since words repeat

    def encode(self, text):
        """Tokens of the text, without BOS. Characters that the vocabulary lacks become bytes."""
        tokens = greedy([token for piece in pieces(text) for token in self._piece(piece)], self._rank)
        return [number for token in tokens for number in self._ids(token)]

    def _rank(self, left, right):
        number = self.ids.get((left + right).encode())
        return None if number is None else -self.scores[number]

    def _piece(self, piece):
        if piece not in self.known:
            self.known[piece] = greedy(list(piece), self._rank)
        return self.known[piece]

    def _ids(self, token):
        code = token.encode()
        return [self.ids[code]] if code in self.ids else [byte + FIRST_BYTE for byte in code]


def encode_corpus(tokenizer_path, corpus_path, tokens_path):
    """Writes the corpus as u16: BOS before every story and after the last one, so each story ends at a BOS. The few
    stories that would not end inside the model's context are left out."""
    tokenizer, out = Tokenizer(tokenizer_path), array.array("H", [BOS])
    with open(corpus_path, encoding="ascii") as corpus:
        for story in corpus:
            tokens = tokenizer.encode(story.rstrip("\n"))
            if len(tokens) <= LONGEST_STORY:
                out.extend(tokens + [BOS])
    if sys.byteorder == "big":
        out.byteswap()
    with open(tokens_path, "wb") as file:
        out.tofile(file)


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "train":
        train(*sys.argv[2:])
    elif len(sys.argv) == 5 and sys.argv[1] == "encode":
        encode_corpus(*sys.argv[2:])
    else:
        sys.exit((__doc__ or "usage: see the head of model/tokenizer.py").strip().split("\n\n")[-1])


if __name__ == "__main__":
    main()
