#!/usr/bin/env python3
"""Trains the tokenizer on the corpus and turns text into token numbers, exactly as llama2.c's encoder would.

Owns the file format of tokenizer.bin (little endian): i32 length of the longest token, then for each token
f32 score, i32 length, its bytes. Ids: 0 <unk>, 1 BOS (also the end of a story), 2 EOS, 3..258 the bytes,
then the merges, best first with score -rank, then the single characters of the corpus.
Merges stay inside a piece (a word with the space before it, or a run of punctuation), so no token crosses a word
border and a text may be encoded piece by piece. Read next: train.c (what learns from the tokens).

    tokenizer.py train CORPUS TOKENIZER.BIN    make the tokenizer
    tokenizer.py encode TOKENIZER.BIN CORPUS TOKENS.BIN    write u16 tokens, each story as BOS story, one BOS at the end
"""
import array
import collections
import re
import struct
import sys

VOCABULARY = 1024
BOS = 1
LONGEST_STORY = 240  # tokens; the context has 256
FIRST_BYTE = 3
SPECIAL = [b"<unk>", b"\n<s>\n", b"\n</s>\n"]
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


def train(corpus_path, tokenizer_path):
    """Counts the corpus' pieces, learns the merges and writes tokenizer.bin."""
    counts = collections.Counter()
    with open(corpus_path, encoding="ascii") as corpus:
        for story in corpus:
            counts.update(pieces(story.rstrip("\n")))
    characters = sorted(set("".join(counts)))
    merges = learn_merges(counts, VOCABULARY - FIRST_BYTE - 256 - len(characters))
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
        """Tokens of the text, without BOS."""
        out = []
        for piece in pieces(text):
            if piece not in self.known:
                self.known[piece] = self._encode_piece(piece)
            out += self.known[piece]
        return out

    def _encode_piece(self, piece):
        """Characters first (bytes where the vocabulary lacks one), then the best merge until none is left."""
        ids = []
        for char in piece:
            code = char.encode()
            ids += [self.ids[code]] if code in self.ids else [byte + FIRST_BYTE for byte in code]
        while True:
            best = None
            for at, (left, right) in enumerate(zip(ids, ids[1:])):
                joined = self.ids.get(self.tokens[left] + self.tokens[right])
                if joined is not None and (best is None or self.scores[joined] > self.scores[best[1]]):
                    best = (at, joined)
            if best is None:
                return ids
            ids[best[0]:best[0] + 2] = [best[1]]


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
        sys.exit(__doc__.strip().split("\n\n")[-1])


if __name__ == "__main__":
    main()
