"""System calls: what each one does, and every way in which it refuses. The checks are made by shards; see tests/shards.

Read next: syscall.c, tests/shards/pointers/main.c.
"""

import os
import re

BIG = "".join("%08d" % number for number in range(50000)).encode()


def files(t):
    """Returns the files that the shards `files` and `filemap` describe."""
    sparse = os.path.join(t.scratch, "sparse")
    with open(sparse, "wb") as file:
        file.truncate((1 << 20) - 5)
        file.seek(0, 2)
        file.write(b"sales")
    link = os.path.join(t.scratch, "link")
    if not os.path.lexists(link):
        os.symlink("/big", link)
    return {"/big": BIG, "/empty": b"", "/sparse": sparse, "/a/b/c/deep": b"deep\n", "/link": link}


def test_numbers(t):
    """Unknown numbers are refused, and so are known ones with bits above."""
    t.guest("shard a /t/numbers", expect=0)


def test_pointers(t):
    """No call takes a buffer that is not wholly the shard's."""
    t.guest('shard a /t/pointers args="attacker"\nshard b /t/pointers args="peer"\nchannel a b', files={"/big": BIG},
            expect=0)


def test_memory(t):
    """MMAP and MUNMAP: zeros, quotas, all or nothing, and every range that is no heap."""
    result = t.guest("shard a /t/memory frames=200", files={"/big": BIG}, expect=0)
    t.check("at most 200 frames" in result.text, "it used more frames than its quota has, or could not use all")


def test_files(t):
    """Files on a ramdisk with blocks of 1, 2 and 4 KiB."""
    for block_size in (1024, 2048, 4096):
        t.guest("shard a /t/files", files=files(t), block_size=block_size, expect=0)


def test_file_mappings(t):
    """FS_MAP maps where it can and says so where it cannot."""
    t.guest('shard a /t/filemap args="pages"', files=files(t), expect=0)
    t.guest('shard a /t/filemap args="blocks"', files=files(t), block_size=1024, expect=0)


def test_damaged_files(t):
    """Files and directories whose blocks lie outside the ramdisk give E_IO, and nothing is mapped."""
    t.guest('shard a /t/filemap args="damaged"', files=files(t), expect=0,
            edits=["sif /big block[1] 0x7FFFFFFF", "sif /a/b block[0] 0x7FFFFFFF"])


def test_pledges(t):
    """After each of the eight pledges exactly the pledged calls are left."""
    lines = []
    for mask in range(8):
        lines += ['shard s%d /t/pledge args="%d"' % (mask, mask), 'shard p%d /t/pledge args="peer"' % mask,
                  "channel s%d p%d" % (mask, mask)]
    t.guest("\n".join(lines), files={"/big": BIG}, expect=0)


def test_nomem(t):
    """A quota larger than the machine ends in E_NOMEM, and the pages that were mapped on the way are free again."""
    t.guest("shard a /t/nomem frames=4000000", expect=0)


def test_spawn(t):
    """SPAWN has an error and a reason for each way to fail: the file, the quota, the machine, the tables."""
    content = {"/empty": b"", "/large": b"\x90" * (1 << 20), "/elf": t.shard("spawner")[:-len(".bin")] + ".elf",
               "/damaged": BIG, "/t/ok": t.shard("ok")}
    result = t.guest('shard s /t/spawner args="refused" spawn=yes frames=150', files=content, verbose=True, expect=0,
                     edits=["sif /damaged block[1] 0x7FFFFFFF"])
    for words in ("there is no such file (E_NOENT)", "it is not a regular file (E_NOTFILE)", "the path is not absolute",
                  "the program is empty (E_NOEXEC)", "it is an ELF file: give the flat binary that objcopy -O binary "
                                                     "makes of it (E_NOEXEC)",
                  "the program reaches into the heap (E_NOEXEC)", "its file is damaged (E_IO)",
                  "the quota of frames does not hold it (E_QUOTA)",
                  "no capability slot is free for the new shard (E_FULL)"):
        t.check(re.search(r"^Shard 0 \(s\): SPAWN refused: .*" + re.escape(words), result.text, re.M),
                "not said: " + words)
    result = t.guest('shard s /t/spawner args="nomem" spawn=yes frames=4000000', verbose=True, expect=0)
    t.check("SPAWN refused: the machine has not enough free frames for it (E_NOMEM)" in result.text,
            "E_NOMEM has another reason")
    result = t.guest("shard a /empty\nshard b /large\nshard c /etc\nshard d /damaged\nshard e /t/ok frames=3",
                     files=content, expect=1, edits=["sif /damaged block[1] 0x7FFFFFFF"])
    reasons = re.findall(r"^Shard \d \((\w)\) cannot start from /\S+: (.*)$", result.text, re.M)
    t.equal(dict(reasons), {"a": "the program is empty", "b": "the program reaches into the heap",
                            "c": "it is not a regular file",
                            "d": "its file is damaged", "e": "the quota of frames does not hold it"}, "reasons")
