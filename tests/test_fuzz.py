"""The parsers that read what others have written, fuzzed on the host with libFuzzer, ASan and UBSan (row H2).

Each target is one file of tests/fuzz. It runs as it is, which must find nothing, and then once more with one check
removed from a copy of the source under test, which must be found: otherwise the first result would say nothing.

Read next: tests/fuzz/fuzz.h.
"""

import glob
import os
import pathlib
import re
import shlex
import shutil

FLAGS = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined", "-I.", "-Ishards/lib",
         "-Itests/fuzz"]
SHORT, FULL = 20000, 1000000
PLANTED_RUNS = 2000000  # by far enough for each of the planted mistakes
NEEDED = ("sudo apt-get install -y --no-install-recommends clang libclang-rt-14-dev "
          "(or the libclang-rt of another version)")


def word(text, key):
    """Returns what stands behind `key:` in the head of a target."""
    return re.search(r"^ \* %s: *(.*)$" % key, text, re.M).group(1).strip()


def need_clang(t):
    """Skips the test where clang or its libFuzzer is missing."""
    if not shutil.which("clang"):
        t.skip("there is no clang; " + NEEDED)
    source = t.file("probe.c", "int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { (void)d, (void)n; return "
                               "0; }\n")
    if t.sh(["clang", "-fsanitize=fuzzer,address", "-o", os.path.join(t.scratch, "probe"), source]).returncode:
        t.skip("clang has no libFuzzer; " + NEEDED)


def make_image(t):
    """Makes the file system that the target ext2 changes; the places of its parts are written in ext2.c there."""
    tree = os.path.join(t.scratch, "tree")
    os.makedirs(os.path.join(tree, "dir"))
    pathlib.Path(tree, "file").write_bytes(b"content")
    pathlib.Path(tree, "dir", "inner").write_bytes(b"i" * 1500)
    pathlib.Path(tree, "large").write_bytes(b"l" * 14000)
    with open(os.path.join(tree, "sparse"), "wb") as file:
        file.seek((12 + 256 + 300) * 1024)
        file.write(b"end")
    os.symlink("file", os.path.join(tree, "link"))
    image = os.path.join(t.scratch, "image")
    t.sh("PATH=$PATH:/usr/sbin mke2fs -q -t ext2 -b 1024 -I 128 -N 24 -m 0 -O none,filetype,sparse_super -d %s %s 64k"
         % (shlex.quote(tree), shlex.quote(image)), expect=0)
    return image


def run(t, program, name, runs, environment):
    """Fuzzes for at most that many runs. Returns how it ended."""
    folder = os.path.join(t.scratch, os.path.basename(program) + ".corpus")
    shutil.copytree(os.path.join(t.root, "tests", "fuzz", "corpus", name), folder)
    return t.sh([program, "-runs=%d" % runs, "-seed=1", "-max_len=1024", "-timeout=120", "-rss_limit_mb=2048",
                 "-close_fd_mask=1", "-print_final_stats=1", "-artifact_prefix=%s/" % t.scratch,
                 folder], env=environment, timeout=7200)


def fuzz(t, name):
    """Fuzzes one target, whole and with the planted mistake."""
    need_clang(t)
    target = os.path.join("tests", "fuzz", name + ".c")
    text = pathlib.Path(t.root, target).read_text()
    source = word(text, "SOURCES")
    # Of a path with a quotation mark llvm-symbolizer waits for the end for ever.
    symbols = "0" if '"' in t.scratch else "1"
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:symbolize=" + symbols)
    if name == "ext2":
        environment["FUZZ_IMAGE"] = make_image(t)

    whole = os.path.join(t.scratch, "whole")
    t.sh(["clang"] + FLAGS + ["-o", whole, target, source], expect=0)
    result = run(t, whole, name, FULL if t.full else SHORT, environment)
    t.equal(result.returncode, 0, "status of the fuzzer, which says what it found in the log")
    done = int(re.search(r"number_of_executed_units: *(\d+)", result.stderr).group(1))
    t.check(done >= (FULL if t.full else SHORT), "it ended after %d runs" % done)
    features = re.findall(r"cov: (\d+)", result.stderr)[-1]

    plant, into = word(text, "PLANT"), word(text, "INTO")
    original = pathlib.Path(t.root, source).read_text()
    t.equal(original.count(plant), 1, "occurrences in %s of the check to be removed, `%s`" % (source, plant))
    damaged = t.file(os.path.basename(source), original.replace(plant, into))
    planted = os.path.join(t.scratch, "planted")
    t.sh(["clang"] + FLAGS + ["-o", planted, target, damaged], expect=0)
    result = run(t, planted, name, PLANTED_RUNS, environment)
    found = re.search(r"ERROR: AddressSanitizer: (\S+)|(runtime error): |(\S+ is false)", result.stderr)
    t.check(result.returncode != 0 and found, "the planted mistake was not found (%s)" % result.stderr[-200:])
    runs = re.search(r"number_of_executed_units: *(\d+)", result.stderr)
    t.note("%d runs, %s edges reached, nothing found; the planted mistake after %s runs: %s"
           % (done, features, runs.group(1) if runs else "few", next(filter(None, found.groups()))))


def make(name):
    """Returns the test of one target."""
    def test(t):
        fuzz(t, name)
    test.__doc__ = "%s: nothing is found by fuzzing, and a removed check is." % name
    return test


for _path in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "fuzz", "*.c"))):
    _name = os.path.basename(_path)[:-len(".c")]
    globals()["test_" + _name] = make(_name)
