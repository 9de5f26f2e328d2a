#!/usr/bin/env python3
"""corpus.py: makes the seeds of the fuzz targets, tests/fuzz/corpus/TARGET/NAME: small inputs that are nearly right.

Run it after a change here; its result is committed. Read next: the targets, which say what their bytes mean.
"""

import os
import shutil
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def seal(table, at, size=None):
    """Returns the table with the byte at `at` set so that the first `size` bytes add up to 0."""
    table = bytearray(table)
    table[at] = 0
    table[at] = -sum(table[:size or len(table)]) & 0xFF
    return bytes(table)


def elf():
    """A supervisor of two segments."""
    body = b"\x90" * 16
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    start = 64 + 2 * 56
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x200004, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 1, 5, start, 0x200000, 0x200000, 16, 16, 4096)
    segments += struct.pack("<IIQQQQQQ", 1, 6, start, 0x201000, 0x201000, 8, 0x3000, 4096)
    yield "two-segments", header + segments + body


def table(signature, body, size=None):
    """Returns an ACPI table with a right checksum."""
    size = size or 36 + len(body)
    return seal((signature + struct.pack("<IBB6s8sI4sI", size, 1, 0, b"COCONU", b"FUZZ    ", 1, b"FUZZ", 1) + body), 9)


def acpi():
    """One table of each kind."""
    rsdp = b"RSD PTR " + b"\0" + b"FUZZER" + b"\x02" + struct.pack("<IIQB3x", 0x7FE1000, 36, 0x7FE2000, 0)
    yield "rsdp", seal(seal(rsdp, 8, 20), 32)
    yield "rsdt", table(b"RSDT", struct.pack("<II", 0x7FE0000, 0x7FD0000))
    yield "xsdt", table(b"XSDT", struct.pack("<QQ", 0x7FE0000, 0x7FD0000))
    fadt = bytearray(244 - 36)
    struct.pack_into("<I", fadt, 64 - 36, 0x604)
    struct.pack_into("<I", fadt, 76 - 36, 0x608)
    fadt[91 - 36] = 4
    struct.pack_into("<I", fadt, 112 - 36, 1 << 10)
    struct.pack_into("<BBBBQB", fadt, 116 - 36, 1, 8, 0, 1, 0xCF9, 0x0F)
    struct.pack_into("<BBBBQ", fadt, 208 - 36, 1, 32, 0, 3, 0x608)
    yield "facp", table(b"FACP", bytes(fadt))
    scopes = struct.pack("<BBHBBBB", 1, 8, 0, 0, 0, 2, 0) + struct.pack("<BBHBBBBBB", 2, 10, 0, 0, 0, 3, 0, 1, 0)
    unit = struct.pack("<HHBBHQ", 0, 16 + len(scopes), 0, 0, 0, 0xFED90000) + scopes
    other = struct.pack("<HHBBH", 2, 8, 1, 0, 0)
    yield "dmar", table(b"DMAR", bytes([38, 1]) + bytes(10) + unit + other +
                        struct.pack("<HHBBHQ", 0, 16, 1, 0, 0, 0xFED91000))


def manifest():
    """Every statement, and every option."""
    yield "all", (b"# comment\nshard a /a priority=high frames=9 restart=3 spawn=yes args=\"x \\\"y\\\" #z\"\n"
                  b"shard b /b after=a priority=low\r\n\tchannel a b\ngpu a\npipeline a b layers=0-2,3-5\n")


def checkpoint():
    """The smallest model, with the classifier in its embedding and beside it."""
    for name, vocab in (("tied", 3), ("separate", -3)):
        dim, hidden, layers, seq = 4, 3, 1, 2
        floats = abs(vocab) * dim * (1 if vocab > 0 else 2) + layers * (2 * dim + 2 * dim * dim + 2 * 2 * dim +
                                                                        3 * hidden * dim)
        floats += dim + 2 * seq
        yield name, struct.pack("<7i", dim, hidden, layers, 2, 1, vocab, seq) + bytes(4 * floats)


def tokenizer():
    """A vocabulary of a few tokens and a prompt that uses them."""
    tokens = [b"<unk>", b"<s>", b"</s>", b"<0x0A>", b" ", b"a", b"b", b"ab", b" ab", b"\xc3\xa9"]
    file = struct.pack("<i", 6) + b"".join(struct.pack("<fi", i, len(t)) + t for i, t in enumerate(tokens))
    yield "ten", bytes([len(tokens) - 1]) + b"ab a\xc3\xa9\0" + file


def pci():
    """A host bridge, a bridge to bus 1, and a device of eight functions with a capability behind it."""
    def function(bus, dev, fn, ident, kind, header, bars=(), status=0, capability=0):
        words = [ident, status << 16 | 7, kind << 8, header << 16] + list(bars) + [0] * (6 - len(bars))
        words += [0] * 3 + [capability] + [0] * 3 + [0xFFFFF000]
        return bytes([bus, dev, fn]) + struct.pack("<18I", *words)
    yield "bus", (function(0, 0, 0, 0x29C08086, 0x060000, 0) +
                  function(0, 1, 0, 0x12348086, 0x060400, 1, (0, 0, 0x000100))
                  + function(1, 2, 0, 0x11E81234, 0xFF0000, 0x80, (0xFE000004, 1, 0xC001), 0x10, 0x40)
                  + function(1, 2, 7, 0x11111234, 0x030000, 0x80, (0xFD000008,)))


def ext2():
    """No change, and one in each area."""
    yield "none", bytes(8)
    yield "some", b"".join(struct.pack("<BBHI", area, 0, 40, 16) for area in range(5))


for name, seeds in (("elf", elf), ("acpi", acpi), ("manifest", manifest), ("checkpoint", checkpoint),
                    ("tokenizer", tokenizer), ("pci", pci), ("ext2", ext2)):
    folder = os.path.join(HERE, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for seed, content in seeds():
        with open(os.path.join(folder, seed), "wb") as file:
            file.write(content)
