"""The commands and the machine: exit statuses, the loader's errors, memory sizes, options, paths, the default run.

Boots take the firmware-less entry, which is faster, except where the firmware or the loader is the point.

Read next: run.sh, scripts/watch.py.
"""

import contextlib
import os
import re
import shutil
import signal
import struct
import threading
import time

import harness

COMPLETED = "all shards completed."
SCREEN_LINES = 60
SCREEN_COLUMNS = 80
HELLO = "hello-c: hello from ring 3"


def ends_well(t, result, ends=COMPLETED):
    """Checks the two contract lines with which every run ends that is not cut short; `ends` is how the shards did."""
    last = [re.sub(r" v\d+\.\d+\.\d+:", " v0.0.0:", line) for line in result.text.split("\n")[-3:]]
    t.equal(last, ["coconutOS supervisor v0.0.0: " + ends, "Halting.", ""], "the last two lines")


# ---- The default run ----


def test_default_run(t):
    """The default run under UEFI: status 0, whole lines of text only, one screen, and the two contract lines last."""
    result = t.boot(uefi=True, timeout=600, expect=0)
    ends_well(t, result)
    strange = re.search(rb"[^\n\t\x20-\x7e]", result.raw)
    t.check(not strange, "the console has the byte %r" % (strange and strange.group(0)))
    t.check(result.text.startswith("[BOOT] "), "the first line is not the loader's: " + result.lines[0])
    # A line that is wider than the screen counts as often as it wraps.
    rows = sum(max(1, -(-len(line.expandtabs()) // SCREEN_COLUMNS)) for line in result.lines[:-1])
    t.check(rows <= SCREEN_LINES, "the run fills %d rows of a screen of %d" % (rows, SCREEN_LINES))
    t.equal(result.endings(), dict.fromkeys(["gpu-hal-0", "gpu-hal-1", "fs-reader", "hello-c", "story", "stage0",
                                               "stage1"], 0), "ends")
    known = re.compile(r"\[BOOT\] |coconutOS supervisor v|CPU protections: |fs-reader: |Welcome |Shard \d+ "
                       r"\(|hello-c: |"
                       r"Hello from |llama-(inference|pipeline): \d+ tokens in \d+ ms$|--- Shard Profiling Summary "
                       r"---$|"
                       r"ID  Syscalls| *\d+ +\d+ +\d+ +\d+ +\d+  [\w-]+$|Halting\.$|IOMMU|GPU|gpu|$")
    rest = [line for line in result.lines if not known.match(line)]
    t.check(rest and len(rest) % 2 == 0 and rest[:len(rest) // 2] == rest[len(rest) // 2:],
            "beside the known lines the console has something else than one story, twice: %s" % rest)


test_default_run.heavy = True


# ---- Exit statuses ----

PROVOKED = {"early_panic": (2, "the supervisor panicked"), "panic": (2, "the supervisor panicked"),
            "triple_fault": (3, "the machine was reset"), "silence": (3, "the machine was reset or switched off"),
            "hang": (124, "no end after 20 seconds")}


def provoked(t, name, **options):
    """Boots a kernel that fails in the given way, and checks the exit status and what run.sh says about it."""
    status, words = PROVOKED[name]
    result = t.boot(build=t.variant("provoke-" + name, PROVOKE="PROVOKE_" + name), expect=status, **options)
    t.check(words in result.stderr, "run.sh does not say: " + words)
    t.check("Halting." not in result.lines, "the console claims a good end")
    t.equal(sum(line.startswith("PANIC: ") for line in result.lines), int(status == 2), "lines that begin with PANIC:")
    return result


def test_panic(t):
    """A panic and one before traps are set up: status 2, with a decoded reason."""
    provoked(t, "early_panic")
    result = provoked(t, "panic")
    t.check("Backtrace:" in result.text, "the panic has no backtrace")


def test_triple_fault(t):
    """A triple fault, and a machine that switches itself off without a word: status 3."""
    provoked(t, "triple_fault")
    provoked(t, "silence")


def test_hang(t):
    """A kernel that hangs: status 124."""
    provoked(t, "hang", timeout=20)


def test_provoked_uefi(t):
    """A panic and a triple fault after a boot through the firmware."""
    for name in ("panic", "triple_fault"):
        result = provoked(t, name, uefi=True)
        t.check(result.text.startswith("[BOOT] "), "the first line is not the loader's")


def test_failed_shard(t):
    """Shards that fail and shards that are killed: status 1. What a shard prints about success does not count."""
    result = t.boot(shards=["tests/system/impostor", "shards/hello-c"], expect=1)
    ends_well(t, result, "1 of 2 shards completed, 1 failed, 0 killed, 0 could not start.")
    t.equal(result.endings(), {"impostor": 7, "hello-c": 0}, "ends")
    result = t.guest('shard dies /t/faults args="ud2"\nshard ok /t/ok', expect=1)
    ends_well(t, result, "1 of 2 shards completed, 0 failed, 1 killed, 0 could not start.")
    t.guest("shard ok /t/ok", expect=0)


def test_verdicts(t):
    """watch.py, with a script in QEMU's place: only the success code together with the last line is success."""
    good = "some text\\nHalting.\\n"
    cases = [(good, 33, 0), (good.replace("\\n", "\\r\\n"), 33, 0), ("", 33, 3), ("Halting.\\nmore\\n", 33, 3),
             ("not Halting.\\n", 33, 3), (good, 0, 3), (good, 1, 3), (good, 31, 3), (good, 35, 1), ("", 35, 1),
             (good, 37, 2), (good, 39, 2)]
    folder = os.path.join(t.scratch, "run")
    os.mkdir(folder)
    fake = t.file("fake-qemu", '#!/bin/bash\nprintf "$3" >"${2#file:}"\nexit "$4"\n')
    os.chmod(fake, 0o755)
    for text, status, expected in cases:
        done = t.sh(["python3", "scripts/watch.py", "--run", folder, "--build", "build", "--timeout", 100, "--",
                     fake, text, status])
        t.equal(done.returncode, expected, "status for %r and QEMU's status %d" % (text, status))
        t.equal(done.stdout, text.replace("\\n", "\n").replace("\\r", "\r"), "what is passed on")
    dies = t.file("dies", "#!/bin/bash\nkill -9 $$\n")
    os.chmod(dies, 0o755)
    killed = t.sh(["python3", "scripts/watch.py", "--run", folder, "--build", "build", "--", dies], expect=3)
    t.check("ended by signal 9" in killed.stderr, "what is said of a QEMU that is killed: " + killed.stderr)


def test_firmware_is_dropped(t):
    """watch.py passes nothing on before the loader's first line, however the bytes arrive."""
    folder = os.path.join(t.scratch, "run")
    os.mkdir(folder)
    fake = t.file("fake-qemu", "#!/bin/bash\nexec >\"${2#file:}\"\nprintf '\\e[2J\\e[01;01Hboot [BO'; sleep 0.3\n"
                  "printf 'Bds [BOO'; sleep 0.3; printf 'T] line\\nHalting.\\n'\nexit 33\n")
    os.chmod(fake, 0o755)
    done = t.sh(["python3", "scripts/watch.py", "--run", folder, "--build", "build", "--firmware", "--", fake],
                expect=0)
    t.equal(done.stdout, "[BOOT] line\nHalting.\n", "what is passed on")
    with open(os.path.join(folder, "firmware.log"), "rb") as log:
        t.equal(log.read(), b"\x1b[2J\x1b[01;01Hboot [BOBds ", "what is kept in firmware.log")


# ---- The loader ----


def volume(t, name):
    """Returns a copy of the build for boot(build=...), whose boot volume a test may spoil, and that volume."""
    folder = os.path.join(t.scratch, name)
    os.makedirs(folder)
    t.sh(["flock", "-s", "build/.lock", "cp", "-r", "build/esp", "build/stage", "build/supervisor.elf", folder],
         expect=0)
    return folder, os.path.join(folder, "esp")


def gives_up(t, words, build, options=()):
    """Boots through the firmware and checks that the loader gives up in one line that has the words in it."""
    result = t.boot(uefi=True, build=build, options=options, timeout=240, expect=2)
    errors = [line for line in result.lines if line.startswith("[BOOT] error: ")]
    t.check(len(errors) == 1 and result.lines[-2:] == errors + [""], "the last line is not the one error: %s" % errors)
    t.check(words in errors[0], "the loader does not say `%s` but: %s" % (words, errors[0]))
    t.check("the loader gave up" in result.stderr, "run.sh does not say that the loader gave up")


def test_loader_missing_files(t):
    """A boot volume without supervisor.elf, and one without ramdisk.img."""
    for name in ("supervisor.elf", "ramdisk.img"):
        build, esp = volume(t, name)
        os.remove(os.path.join(esp, name))
        gives_up(t, name + " is missing on the boot volume: run ./build.sh", build)


def patch(path, at, format_, *values):
    """Overwrites numbers in a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(struct.pack("<" + format_, *values))


def test_loader_bad_supervisor(t):
    """supervisor.elf that is no ELF file, truncated, or with an entry or a segment out of place (elf.c in tests/host
    has the rest of the ways)."""
    cases = [("is no ELF file", lambda path: patch(path, 0, "4s", b"MZ\0\0")),
             ("has a segment beyond its end: it is truncated", lambda path: os.truncate(path, 8192)),
             ("has its entry point outside of its segments", lambda path: patch(path, 24, "Q", 0x100000)),
             ("has a segment outside the memory that is reserved for it",
              lambda path: patch(path, 64 + 24, "Q", 0x700000))]
    if t.full:
        cases += [("is too short for an ELF header", lambda path: os.truncate(path, 0)),
                  ("is for another processor than x86-64", lambda path: patch(path, 18, "H", 183)),
                  ("has no program headers", lambda path: patch(path, 56, "H", 0)),
                  ("has program headers beyond its end", lambda path: patch(path, 32, "Q", 1 << 63))]
    for number, (words, spoil) in enumerate(cases):
        build, esp = volume(t, "volume%d" % number)
        spoil(os.path.join(esp, "supervisor.elf"))
        gives_up(t, "supervisor.elf " + words, build)


def test_loader_bad_ramdisk(t):
    """ramdisk.img that is too short, no ext2, or shorter than its superblock says."""
    cases = [("is too short for a file system", lambda path: os.truncate(path, 1500)),
             ("is no ext2 file system", lambda path: patch(path, 1024 + 56, "H", 0)),
             ("is truncated or damaged", lambda path: os.truncate(path, os.path.getsize(path) - 4096))]
    for number, (words, spoil) in enumerate(cases):
        build, esp = volume(t, "volume%d" % number)
        spoil(os.path.join(esp, "ramdisk.img"))
        gives_up(t, "ramdisk.img " + words, build)


def test_loader_little_memory(t):
    """A ramdisk that does not fit, a machine that is too small, and a command line that is too long."""
    build, esp = volume(t, "large")
    os.truncate(os.path.join(esp, "ramdisk.img"), 200 << 20)
    gives_up(t, "too little memory: 204800 KiB below 1 GiB are needed for ramdisk.img: give the machine more", build,
             ["-m", "128M"])
    gives_up(t, "give the machine more memory", build, ["-m", "44M"])  # OVMF then keeps its own data where we live
    build, esp = volume(t, "command-line")
    with open(os.path.join(esp, "cmdline.txt"), "w", encoding="ascii") as file:
        file.write("verbose " * 1000)
    gives_up(t, "cmdline.txt is longer than 4095 bytes", build)


def test_loader_taken_address(t):
    """An address of the memory map that the firmware uses itself."""
    gives_up(t, "address range 0x200000 to 0x2fffff (the supervisor's image) is taken: the firmware has runtime "
                "services "
             "data at 0x201000 to 0x201fff", t.variant("loader-taken", PROVOKE="PROVOKE_taken"))


def test_loader_5_level_paging(t):
    """Firmware that uses 5-level paging."""
    gives_up(t, "5-level paging (CR4.LA57)", t.variant("loader-la57", PROVOKE="PROVOKE_la57"))


def test_loader_stale_key(t):
    """A memory map that has changed at the last moment: the loader takes it again, and the system boots."""
    result = t.boot(shards=["shards/hello-c"], uefi=True,
                    build=t.variant("loader-stale-key", PROVOKE="PROVOKE_stale_key"),
                    timeout=240, expect=0)
    t.check(HELLO in result.lines, "hello-c did not run")


# ---- Memory sizes and machines ----

MEMORY = {"64M": 64, "128M": 128, "1G": 1024, "2G": 2048, "3G": 3072, "4G": 4096, "5G": 5120, "8G": 8192, "12G": 12288}
WITH_FIRMWARE = ("64M", "2G", "5G", "12G")
USED_UP = ("64M", "128M", "1G", "3G")  # sizes of which nearly all is used, all of them with --full: it takes a minute
OVERHEAD = 20  # MiB that firmware, supervisor, ramdisk and page tables may take
SPARE = 1024  # MiB of the host that tests of memory leave
_memory = threading.Condition()
_taken = []  # MiB that each such test which runs may use


def host_memory():
    """Returns the MiB that the host can give."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"MemAvailable: +(\d+) kB", file.read()).group(1)) // 1024


@contextlib.contextmanager
def host_memory_of(t, mib):
    """Holds so much of the host's memory: waits for other tests while there is too little beside theirs, and skips the
    test where there is too little without them."""
    with _memory:
        while host_memory() - sum(_taken) < mib + SPARE and _taken and not harness.stopping():
            _memory.wait(0.5)
        if host_memory() < mib + SPARE:
            t.skip("the host has only %d MiB left" % host_memory())
        _taken.append(mib)
    try:
        yield
    finally:
        with _memory:
            _taken.remove(mib)
            _memory.notify_all()


def memory_test(size):
    """Returns the test of one memory size."""
    mib = MEMORY[size]

    def test(t):
        used = mib - OVERHEAD if t.full or size in USED_UP else 32
        with host_memory_of(t, used):
            run_quota(t, size, used)

    test.__doc__ = "%s of memory%s: all of it is known, and a shard gets its quota of it, each page its own." % (
        size, " under UEFI" if size in WITH_FIRMWARE else "")
    test.heavy = size in USED_UP
    return test


def run_quota(t, size, used):
    """Boots with that much memory and a shard that takes `used` MiB."""
    binary = os.path.join(t.scratch, "quota.bin")
    t.sh(["scripts/build-shard.sh", "tests/system/quota", t.scratch, "quota"], expect=0)
    result = t.boot(manifest="shard quota /shards/quota frames=%d" % (used * 256), add={"/shards/quota": binary},
                    verbose=True, uefi=size in WITH_FIRMWARE, options=["-m", size], timeout=1800, expect=0)
    pages = re.search(r"^quota: (\d+) pages, then: the shard's memory quota is used up$", result.text, re.M)
    t.check(pages, "the shard did not reach its quota")
    # Page tables count, too: one page of 512, and a few.
    t.check(int(pages.group(1)) > used * 256 * 0.99 - 20, "the quota gave only %s pages" % pages.group(1))
    free = int(re.search(r"^Memory: (\d+) MiB free", result.text, re.M).group(1))
    t.check(MEMORY[size] - OVERHEAD <= free <= MEMORY[size], "%s of memory, but %d MiB are free" % (size, free))


for _size in MEMORY:
    globals()["test_memory_" + _size] = memory_test(_size)


def test_machine_other_iommu(t):
    """An IOMMU of another make than the one that the supervisor drives."""
    result = t.boot(shards=["shards/hello-c"], options=["-device", "virtio-iommu-pci"], expect=0)
    t.check(HELLO in result.lines, "hello-c did not run")


def test_machine_pc(t):
    """The machine `pc`, which has no IOMMU and another chip set, with and without firmware."""
    for uefi in (False, True):
        result = t.boot(shards=["shards/hello-c"], options=["-machine", "pc"], uefi=uefi, timeout=240, expect=0)
        t.check(HELLO in result.lines, "hello-c did not run")


# ---- Ramdisks and manifests ----


def test_bad_manifest(t):
    """A mistake in the manifest: the line is named, nothing starts, status 1."""
    good = "# a comment\nshard a /t/ok\nshard b /t/ok\n"
    cases = [("shrad c /t/ok", "a line begins with shard, channel, gpu or pipeline: shrad"),
             ("shard a /t/ok", "an earlier line declares a shard of this name: a"),
             ("shard c t/ok", "a path starts with a slash"),
             ('shard c /t/ok args="open', "the closing quote is missing"),
             ("channel a z", "no earlier line declares a shard of this name: z"),
             ("pipeline a b layers=0-1,2-3", "no earlier line declares a channel between the two shards"),
             ("shard \x1b[2J /t/ok", "the line contains a control byte")]
    for line, words in cases if t.full else cases[::2]:
        result = t.guest(good + line + "\nshard last /t/ok", expect=1)
        t.check(any(text.startswith("/etc/coconut.conf:4: " + words) for text in result.lines),
                "no line names line 4 and says: " + words)
        t.equal(result.endings(), {}, "shards that ran")
    result = t.boot(manifest=t.file("long.conf", "# " + "x" * 40000 + "\n"), expect=1)
    t.check("The ramdisk has no readable manifest /etc/coconut.conf" in result.text,
            "a manifest of 40,000 bytes is read")


def test_missing_program(t):
    """A shard whose program is missing, empty, too large or a folder is named; the others run; status 1."""
    lines = ["shard none /no/such", "shard empty /empty", "shard folder /t", "shard large /large", "shard good /t/ok"]
    result = t.guest("\n".join(lines), files={"/empty": b"", "/large": b"\x90" * (9 << 20)}, expect=1)
    for name in ("none", "empty", "folder", "large"):
        t.check(re.search(r"^Shard \d+ \(%s\) cannot start from /\S+: \w" % name, result.text, re.M),
                "nobody names " + name)
    t.equal(result.endings(), {"good": 0}, "ends")
    ends_well(t, result, "1 of 5 shards completed, 0 failed, 0 killed, 4 could not start.")


def test_bad_ramdisk(t):
    """Images that are no readable file system end in one clear line, never in a panic."""
    with open(os.path.join(t.root, "build", "esp", "ramdisk.img"), "rb") as file:
        good = file.read()
    inodes = struct.unpack_from("<I", good, 4096 + 8)[0] * 4096
    inode_size = struct.unpack_from("<H", good, 1024 + 88)[0]
    cases = {"truncated": good[:100000], "zeros": bytes(100000), "tiny": b"x" * 512,
             "root": good[:inodes + inode_size] + b"\xff" * inode_size + good[inodes + 2 * inode_size:],
             "table": good[:4096 + 8] + b"\xf0\xff\xff\xff" + good[4096 + 12:],
             "features": good[:1024 + 96] + b"\xff\xff\0\0" + good[1024 + 100:],
             "blocks": good[:1024 + 24] + b"\x28\0\0\0" + good[1024 + 28:]}
    path = os.path.join(t.scratch, "made")
    for options in ("-t ext4", "-t ext2 -b 65536", "-t ext2 -O meta_bg,^resize_inode",
                    "-t ext2 -O flex_bg,^resize_inode", "-t ext2 -O inline_data", "-t ext2 -O encrypt",
                    "-t ext2 -O casefold"):
        t.sh("%s -q -F %s %s 16M" % (harness.find_tool("mke2fs"), options, path), expect=0)
        result = t.boot(options=["-initrd", path], expect=1)
        advice = re.search(r"can be read here: make it with mke2fs (.*)$", result.text, re.M)
        t.check(advice, "nobody says what to do with an image of mke2fs %s: %s" % (options, result.text))
        t.sh("%s -q -F %s %s 16M" % (harness.find_tool("mke2fs"), advice.group(1), path), expect=0)
        result = t.boot(options=["-initrd", path], expect=1)
        t.check("The ramdisk has no readable manifest" in result.text, "the advice does not help: " + result.text)
    for name, content in cases.items():
        image = t.file(name + ".img", content)
        result = t.boot(options=["-initrd", image], expect=1)
        t.check("The ramdisk is no ext2 file system that can be read here" in result.text,
                "nobody says why " + name + " is bad")
        t.check("Nothing can be started." in result.lines, "something was started from " + name)
    result = t.boot(options=["-initrd", t.file("empty.img", b"")], expect=2)
    t.check("PANIC: there is no ramdisk" in result.text, "a missing ramdisk is not named")


# ---- Options ----


def test_shards_from_anywhere(t):
    """--shard takes folders inside and outside of the tree, relative to where the user is; --add puts a file
    anywhere."""
    folder = os.path.join(t.scratch, "my shards, all", "hello there")
    shutil.copytree(os.path.join(t.root, "shards", "hello-c"), folder)
    content = t.file("text,with: colon.txt", "Added from the host.\n")
    done = t.sh([os.path.join(t.root, "run.sh"), "--kernel", "--timeout", 120, "--shard", "hello there",
                 "--shard", os.path.join(t.root, "shards/hello-c"), "--shard", "../my shards, all/hello there",
                 "--add", content + ":/hello.txt"], cwd=os.path.dirname(folder), expect=0)
    lines = done.stdout.split("\n")
    t.equal(lines.count(HELLO), 3, "greetings")
    t.equal(lines.count("Added from the host."), 3, "lines from the added file")
    t.equal(sorted(re.findall(r"^Shard \d \((\S+)\) ended: code 0", done.stdout, re.M)),
            ["hello-c", "hello-there", "hello-there-2"], "names of the shards")


def test_manifest_option(t):
    """--manifest boots what it says, and nothing else."""
    result = t.boot(manifest="shard one /shards/hello-c\nshard two /shards/fs-reader after=one", expect=0)
    t.equal(result.endings(), {"one": 0, "two": 0}, "ends")
    ends_well(t, result)


def test_options_pass_through(t):
    """Options that run.sh does not know reach QEMU unchanged, in their order, after those of run.sh."""
    folder = os.path.join(t.scratch, "bin")
    os.mkdir(folder)
    fake = os.path.join(folder, "qemu-system-x86_64")
    with open(fake, "w", encoding="ascii") as file:
        file.write('#!/bin/bash\nprintf "%s\\n" "$@" >"$FAKE_WORDS"\n')
    os.chmod(fake, 0o755)
    words = os.path.join(t.scratch, "words")
    environment = dict(os.environ, PATH=folder + ":" + os.environ["PATH"], FAKE_WORDS=words)
    given = ["-s", "-S", "-machine", "pc,accel=tcg", "-m", "3G", "-d", "int,cpu_reset", "-append", "two words",
             "-global", ""]
    t.sh(["./run.sh", "--verbose"] + given[:4] + ["--timeout", 60] + given[4:], env=environment, expect=3)
    with open(words, encoding="utf-8") as file:
        got = file.read().split("\n")[:-1]
    t.equal(got[-len(given):], given, "the last options of QEMU")
    ours = got[:-len(given)]
    t.check("isa-debug-exit,iobase=0xf4,iosize=4" in ours, "our own options are missing")
    t.check(not any("iommu" in word for word in ours), "the machine pc got an IOMMU of q35")
    t.check("-accel" not in ours, "a second accelerator is chosen")
    t.check(not any(word in ("--verbose", "--timeout", "60") for word in got), "QEMU got options of run.sh")


def test_console_option(t):
    """--console sends what the guest says to a file, over what stood there, and nothing of it to stdout."""
    place = t.file("a,b", "left from before, and longer than what comes" * 100)
    result = t.boot(shards=["shards/hello-c"], options=["--console", place], expect=0)
    with open(place, encoding="utf-8") as file:
        said = file.read()
    t.check(said.startswith("coconutOS supervisor") and HELLO in said and said.endswith("Halting.\n"),
            "the file has: " + said[:200])
    t.equal(result.raw, b"", "stdout")


def test_silent_firmware(t):
    """A machine so small that its firmware resets it or hangs before the loader: never status 0, and a hint."""
    result = t.boot(uefi=True, options=["-m", "24M"], timeout=30)
    t.check(result.status in (3, 124), "exit status %d" % result.status)
    t.equal(result.text, "", "console")
    t.check("The firmware never started the loader" in result.stderr, "there is no hint")


def test_large_ramdisk(t):
    """Files beyond what QEMU's boot volume can hold: one line that says so, status 4."""
    large = t.file("large", b"")
    os.truncate(large, 600 << 20)
    done = t.sh(["./run.sh", "--shard", "shards/hello-c", "--add", large + ":/large"], expect=4)
    t.check("QEMU serves at most 500" in done.stderr, "the message is: " + done.stderr)


def test_stopped_start(t):
    """-S holds the guest before its first instruction until the debugger lets it go."""
    with t.guest_monitor() as monitor:
        boot = t.start(shards=["shards/hello-c"], options=["-S"] + monitor.options)
        t.equal(monitor.command("query-status")["status"], "prelaunch", "state of the machine")
        t.check(re.search(r"[ER]IP=0+fff0 ", monitor.hmp("info registers")),
                "the processor has left its first instruction")
        monitor.command("cont")
        t.check(HELLO in boot.wait().lines, "hello-c did not run")
        t.equal(boot.result.status, 0, "exit status")


def test_no_tpm(t):
    """The firmware finds at once that there is no TPM: its register reads as 0xFF. Behind a firmware that the user
    brings it reads as nothing does, for which EDK II waits."""
    image = t.sh("source scripts/tools.sh; first_file ${bios_images[@]}").stdout.strip()
    if not image:
        t.skip("the firmware here is a flash chip")
    for options, value in ([], "0xff"), (["-bios", image], "Cannot access memory"):
        with t.guest_monitor() as monitor:
            boot = t.start(shards=["shards/hello-c"], uefi=True, options=["-S", *options] + monitor.options)
            found = monitor.hmp("xp /1bx 0xfed40000").strip()
            t.equal(found, "00000000fed40000: " + value, "TPM_ACCESS_0")
            monitor.hmp("quit")
            boot.wait()


def test_bad_options(t):
    """Options that cannot be followed: one line on stderr, nothing on stdout, status 4."""
    empty = os.path.join(t.scratch, "empty")
    os.mkdir(empty)
    broken = os.path.dirname(t.file("broken/main.c", "int main(void) { return undeclared; }\n"))
    stateful = os.path.dirname(t.file("stateful/main.c", "int counter = 1;\nint main(void) { return ++counter; }\n"))
    cases = [(["--timeout", "soon"], "--timeout needs a number"), (["--timeout", "0"], "--timeout needs a number"),
             (["--shard"], "--shard needs a value"), (["--manifest", "/no/such"], "no readable file /no/such"),
             (["--console", "/no/such"], "cannot be written"),
             (["--add", "README"], "write it as FILE:/PATH"), (["--add", "run.sh:/../x"], "no path of a file"),
             (["--build", empty], "holds no build"), (["--shard", empty], "holds no .c, .asm, .S or .s file"),
             (["--shard", "/no/such"], "there is no folder"), (["--shard", broken], "undeclared"),
             (["--shard", stateful], "data"), (["--manifest", "run.sh", "--shard", "shards/hello-c"], "give one"),
             (["--manifest", "run.sh", "--prompt", "x"], "--prompt has no effect with --manifest"),
             (["--steps", "a b"], "--steps needs a number"), (["--prompt", "x" * 2000], "bytes too long"),
             (["--prompt", "a\nb"], "line break"), (["--model", "/no/such"], "no readable file")]
    for words, message in cases:
        done = t.sh(["./run.sh", "--kernel"] + words, expect=4)
        t.check(message in done.stderr, "`%s` is not in: %s" % (message, done.stderr))
        t.equal(done.stdout, "", "stdout")
    done = t.sh(["./run.sh", "--kernel"], env=dict(os.environ, ACCEL="warp"), expect=4)
    t.check("only tcg and kvm are known" in done.stderr, "ACCEL=warp is not refused")


# ---- Interruptions ----


def child_of(pid, patience=300):
    """Returns the process id of the QEMU that process `pid` has started, as soon as it runs."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        for entry in os.listdir("/proc"):
            if entry.isdigit() and process_state(int(entry))[:2] == ("qemu-system-x86", pid):
                return int(entry)
        time.sleep(0.1)
    raise harness.Failure("no QEMU was started")


def process_state(pid):
    """Returns the name, the parent and the state of a process; the state is Z when there is none."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
            name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
    except OSError:
        return "", 0, "Z"
    return name, int(rest.split()[1]), rest.split()[0]


def test_interrupt(t):
    """Ctrl-C, SIGTERM, SIGHUP, SIGKILL and a closed pipe end a run and leave no QEMU of it behind."""
    build = t.variant("provoke-hang", PROVOKE="PROVOKE_hang")
    for number, everyone, status in ((signal.SIGINT, True, 130), (signal.SIGINT, False, 130),
                                     (signal.SIGTERM, False, 143),
                                     (signal.SIGHUP, False, 129), (signal.SIGKILL, False, -9)):
        boot = t.start(build=build, timeout=600)
        qemu = child_of(boot.process.pid)
        read_until(boot.process.stdout, b"CPU protections")
        (os.killpg if everyone else os.kill)(boot.process.pid, number)
        t.equal(boot.wait().status, status, "exit status after signal %d" % number)
        await_end(t, qemu)
    # `./run.sh | head -1`: the reader goes away while the guest still talks.
    done = t.sh("./run.sh --kernel --timeout 300 | head -1; echo ${PIPESTATUS[0]}")
    t.check(done.stdout.startswith("coconutOS supervisor") and done.stdout.endswith("\n141\n"),
            "a reader that goes away: " + done.stdout)


def read_until(pipe, words):
    """Reads from the console until the words have come."""
    seen = b""
    while words not in seen:
        data = os.read(pipe.fileno(), 4096)
        if not data:
            raise harness.Failure("the console ended before: " + words.decode())
        seen += data


def await_end(t, pid):
    """Waits until a process has ended."""
    deadline = time.monotonic() + 300
    while process_state(pid)[2] != "Z":
        t.check(time.monotonic() < deadline, "QEMU still runs as process %d" % pid)
        time.sleep(0.1)


def test_interrupt_early(t):
    """An interruption before QEMU has started ends the run as well."""
    for delay in (0.05, 0.3, 0.6):
        process = harness.start(["./run.sh", "--shard", "shards/hello-c"], cwd=t.root, stdout=-1, stderr=-1)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        harness.finish(process, 120)
        # A shell that the signal reaches before its first line dies of it; one in a child of it reports 128 + 2.
        t.check(process.returncode in (130, -2), "status %d after an early Ctrl-C" % process.returncode)


# ---- A user's machine ----


def test_missing_tools(t):
    """Without a tool and without leave to install it, build.sh names the tool and says what to type."""
    tools = os.path.join(t.scratch, "bin")
    os.mkdir(tools)
    for name in os.listdir("/usr/bin"):
        if name not in ("nasm", "qemu-system-x86_64"):
            os.symlink("/usr/bin/" + name, os.path.join(tools, name))
    environment = dict(os.environ, PATH=tools, NO_INSTALL="1")
    for command in ("./build.sh", "./test.sh"):
        done = t.sh([command], env=environment, expect=1)
        for words in ("missing: nasm, version 2.15 or newer", "missing: qemu-system-x86_64, version",
                      "sudo apt-get update && sudo apt-get install -y --no-install-recommends nasm qemu-system-x86"):
            t.check(words in done.stderr, "%s does not say `%s`: %s" % (command, words, done.stderr))
    t.check("the build failed" in t.sh(["./run.sh"], env=environment, expect=4).stderr, "run.sh does not say that")


def test_clean_clone(t):
    """README's two commands in a new clone, in a folder with spaces and a comma, from elsewhere, and two runs at
    once."""
    if not os.path.isdir(os.path.join(t.root, ".git")) or not shutil.which("git"):
        t.skip("this tree is no git repository")
    clone = os.path.join(t.scratch, "a b,c", "coconut's OS")
    t.sh(["git", "clone", "-q", t.root, clone], expect=0)
    readme = os.path.join(clone, "README.md")
    if os.path.exists(readme):
        with open(readme, encoding="utf-8") as file:
            text = file.read()
        t.check("./build.sh" in text and "./run.sh" in text, "README.md does not show the two commands")
    done = t.sh('"%s/build.sh" && "%s/run.sh"' % (clone, clone), cwd="/", timeout=1200, expect=0)
    t.check(done.stdout.endswith("all shards completed.\nHalting.\n"), "the run does not end as it should")
    t.equal(done.stdout.count("Once upon a time"), 2, "stories")
    status = t.sh(["git", "status", "--porcelain"], cwd=clone, expect=0).stdout
    t.equal(status, "", "files that git does not ignore")
    two_at_once(t, clone)


def two_at_once(t, clone):
    """Starts two runs of a clone at the same time and checks that both end well, without building anything again."""
    runs = [harness.start([os.path.join(clone, "run.sh"), "--timeout", "300", "--shard", "shards/hello-c"], cwd=clone,
                          stdout=-1, stderr=-1) for _ in range(2)]
    for process in runs:
        out, err = harness.finish(process, 600)
        t.log(out.decode() + err.decode())
        t.equal(process.returncode, 0, "exit status of one of two runs")
        t.check(HELLO in out.decode().split("\n"), "hello-c did not run")
        t.check(b"compiling" not in err, "a later run compiled again")


test_clean_clone.heavy = True
