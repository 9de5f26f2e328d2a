#!/usr/bin/env python3
"""qcow2.py FILE: makes an empty disk image in QEMU's format qcow2, in which QEMU can keep snapshots of a machine, as
qemu-img would; that is a package of its own. The format: docs/interop/qcow2.txt of QEMU, version 3.

Four clusters: the header; the table of reference counts, with one block; that block, which counts these four; the L1
table, which is empty. Read next: qemu.sh, which records with it.
"""

import struct
import sys

CLUSTER_BITS, SIZE = 16, 1 << 20  # of the disk, which nobody reads
HEADER, COUNTS, BLOCK, L1 = range(4)
VERSION, COUNT_ORDER = 3, 4  # a count has 1 << 4 bits


def image():
    """Returns the bytes of the image."""
    cluster = 1 << CLUSTER_BITS
    data = bytearray(4 * cluster)
    fields = (b"QFI\xfb", VERSION, 0, 0, CLUSTER_BITS, SIZE, 0, 1, L1 * cluster, COUNTS * cluster, 1, 0, 0, 0, 0, 0,
              COUNT_ORDER)
    header = struct.pack(">4sIQIIQIIQQIIQQQQI", *fields)
    data[:len(header) + 4] = header + struct.pack(">I", len(header) + 4)
    struct.pack_into(">Q", data, COUNTS * cluster, BLOCK * cluster)
    struct.pack_into(">4H", data, BLOCK * cluster, 1, 1, 1, 1)
    return data


with open(sys.argv[1], "wb") as out:
    out.write(image())
