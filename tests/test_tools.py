"""The scripts: what a build makes of damage, of clocks, of a full disk and of a signal, and how the commands answer.

Read next: scripts/common.sh (steps, and the leash), build.sh, tests/run.py.
"""

import contextlib
import filecmp
import glob
import json
import os
import re
import shlex
import shutil
import signal
import time

import harness

BOOTED = ("esp/supervisor.elf", "esp/EFI/BOOT/BOOTX64.EFI", "esp/ramdisk.img")  # all that a run takes from a build
BUILDING = re.compile(r"docs/|solutions/|\.github/|tests/(?!provoke\.c|experiments\.h)|labs/")  # no part of a build
MARK = "COCONUT_TEST"  # in the environment of what a test starts, and of nothing else
END = 300  # seconds until something that has to end is held to hang


# ---- Copies of the tree ----


def sources(t):
    """Returns the paths of the files that belong to the tree."""
    if os.path.isdir(os.path.join(t.root, ".git")) and shutil.which("git"):
        listed = t.sh(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], expect=0).stdout
        return [path for path in listed.split("\0") if path and os.path.isfile(os.path.join(t.root, path))]
    found = []
    for where, folders, names in os.walk(t.root):
        folders[:] = [name for name in folders if name not in ("build", ".git", "__pycache__")]
        found += [os.path.relpath(os.path.join(where, name), t.root) for name in names]
    return found


def copy_tree(t, name, whole=False, built=True):
    """Makes a copy of the tree with what a build needs, or of the whole; with what is built, unless told otherwise."""
    target = os.path.join(t.scratch, name)
    for path in sources(t):
        if whole or not BUILDING.match(path):
            to = os.path.join(target, path)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy(os.path.join(t.root, path), to, follow_symlinks=False)
    if built:
        copy_build(t, target)
    return target


def copy_build(t, target):
    """Copies what build.sh has made, and nothing that tests have made."""
    names = "esp stage loader symbols shards $(cd build && find . -maxdepth 1 -type f)"
    t.sh("mkdir -p '%s/build' && flock -s build/.lock sh -c 'cd build && tar -c %s' | tar -x -C '%s/build'" %
         (target, names.replace("cd build && ", ""), target), expect=0)


def build(t, tree, expect=0, words=(), **environment):
    """Runs build.sh of a tree and returns how it ended."""
    command, environment = [os.path.join(tree, "build.sh"), *words], dict(os.environ, **environment)
    return t.sh(command, cwd=tree, env=environment, expect=expect, timeout=1800)


def same_as_ours(t, tree, what):
    """Checks that a tree has built what this tree has."""
    for name in BOOTED:
        t.check(filecmp.cmp(os.path.join(tree, "build", name), os.path.join(t.root, "build", name), shallow=False),
                "%s: build/%s is another one" % (what, name))


# A compiler for tests that build often and change no C file: copies what this tree has compiled, and compiles the rest.
QUICK_GCC = """#!/bin/bash
for ((i = 1; i < $#; i++)); do
	[[ ${!i} != -o ]] || { ((i++)) && out=${!i}; }
done
[[ $out != build/* || ! -e %(root)s/$out.d ]] || exec cp %(root)s/"$out"{,.d} "${out%%/*}/"
exec %(gcc)s "$@"
"""


def quick_compiler(t):
    """Returns a PATH with that compiler in front."""
    path = t.file("quick/gcc", QUICK_GCC % {"root": shlex.quote(t.root), "gcc": shutil.which("gcc")})
    os.chmod(path, 0o755)
    return "%s:%s" % (os.path.dirname(path), os.environ["PATH"])


# ---- Builds ----


def test_twice(t):
    """Two builds of one commit, at other times, under other umasks, are the same; another folder boots the same."""
    tree, kept = copy_tree(t, "another, longer folder", built=False), os.path.join(t.scratch, "kept")
    elf = os.path.join("build", "supervisor.elf")
    t.equal(build(t, tree).stdout, "", "what a build prints")
    same_as_ours(t, tree, "another folder")
    t.check(not filecmp.cmp(os.path.join(tree, elf), os.path.join(t.root, elf), shallow=False),
            "supervisor.elf, whose debugging information names the folder, is the same: was it built at all?")
    os.rename(os.path.join(tree, "build"), kept)
    t.sh("umask 077 && exec ./build.sh", cwd=tree, timeout=1800, expect=0)
    for name in ("supervisor.elf", "efi_loader.efi", "ramdisk.img", "shards/hello-c.elf"):
        t.check(filecmp.cmp(os.path.join(tree, "build", name), os.path.join(kept, name), shallow=False),
                "a second build makes another " + name)


test_twice.heavy = True

DAMAGES = {
    "an object of one byte": lambda build: cut(build + "/cap.o", 1),
    "an empty list of headers": lambda build: cut(build + "/mm.o.d", 0),
    "an empty record": lambda build: cut(build + "/mm.o.cmd", 0),
    "half a record": lambda build: cut(build + "/fs.o.cmd", os.path.getsize(build + "/fs.o.cmd") // 2),
    "no stage": lambda build: shutil.rmtree(build + "/stage"),
    "a stage without the model": lambda build: os.remove(build + "/stage/model.bin"),
    "half a ramdisk": lambda build: cut(build + "/ramdisk.img", 1 << 20),
    "an archive that is none": lambda build: cut(build + "/shards/lib.a", 7),
    "a shard with other bytes": lambda build: flip(build + "/shards/hello-c.bin", 64),
    "numbers for NASM that are cut off": lambda build: cut(build + "/layout.inc", 100),
    "a loader with other bytes": lambda build: flip(build + "/efi_loader.efi", 2048),
    "a boot volume without a supervisor": lambda build: os.remove(build + "/esp/supervisor.elf"),
    "no boot volume": lambda build: shutil.rmtree(build + "/esp"),
    "an empty lock": lambda build: cut(build + "/.lock", 0),
    "a folder in the place of an object": lambda build: (os.remove(build + "/pci.o"), os.mkdir(build + "/pci.o")),
    "a file in the place of the stage": lambda build: (shutil.rmtree(build + "/stage"), cut(build + "/stage", 0)),
    "no symbols": lambda build: shutil.rmtree(build + "/symbols"),
}


def cut(path, size):
    """Cuts a file off, which may have to be made first."""
    with open(path, "ab") as file:
        file.truncate(size)


def flip(path, at):
    """Changes a byte and leaves the time of the file as it was."""
    times = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0xFF]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_damage(t):
    """Whatever is damaged or missing in build/, the next build mends it."""
    tree = copy_tree(t, "tree")
    path = quick_compiler(t)
    for what, damage in DAMAGES.items():
        damage(os.path.join(tree, "build"))
        build(t, tree, PATH=path)
        same_as_ours(t, tree, what)
        for name in ("stage/model.bin", "shards/hello-c.bin", "efi_loader.efi", "layout.inc", "symbols/first.elf.cmd"):
            t.check(os.path.getsize(os.path.join(tree, "build", name)), "%s: build/%s is empty" % (what, name))
    t.equal(build(t, tree).stderr, "", "what a build says that has nothing to do")


def test_clocks(t):
    """A source that is edited is built, whatever time it has, and whatever time the files in build/ have."""
    tree = copy_tree(t, "tree")
    source, header, image = (os.path.join(tree, name) for name in ("lib.c", "kernel.h", "build/esp/supervisor.elf"))
    version = re.search(r'COCONUT_VERSION "(.*?)"', read(header)).group(1)
    t.sh("find '%s/build' -exec touch -h -d '+1 day' {} +" % tree, expect=0)  # as by a clock that was a day ahead
    edit(header, '"%s"' % version, '"7.7.7"')
    build(t, tree)
    t.check(b"7.7.7" in read_bytes(image), "an edited header was not built: the stamps in build/ come from a later day")
    edit(header, '"7.7.7"', '"8.8.8"')
    os.utime(header, (0, 0))  # an older file that is put back
    os.utime(source, (1 << 31, 1 << 31))
    build(t, tree)
    t.check(b"8.8.8" in read_bytes(image), "an edited header was not built: its own time is of 1970")
    t.equal(build(t, tree).stderr, "", "what a build says for which nothing has changed but a time")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def edit(path, old, new):
    """Replaces one text in a file."""
    text = read(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new, 1))


# Tools that the steps of a build run, and a source whose change lets a step with the tool run again.
FAILING = {"gcc": "cap.c", "nasm": "boot.asm", "ld": "cap.c", "nm": "cap.c", "objcopy": "cap.c", "readelf": "cap.c",
           "objdump": "elf.c", "awk": "cap.c", "mke2fs": "etc/motd", "debugfs": "etc/motd", "cp": "etc/motd",
           "python3": "etc/motd", "find": "etc/motd", "touch": "etc/motd", "chmod": "etc/motd", "mv": "cap.c",
           "ar": "shards/lib/print.c", "sed": "boot.asm", "sort": "cap.c"}
SILENT = {"sort"}  # used where its failure changes nothing


def test_failed_tools(t):
    """A tool that fails, in whatever step, fails the build; the next build does the step again."""
    tree = copy_tree(t, "tree")
    for tool, source in FAILING.items():
        real = harness.find_tool(tool)
        # It does its work, and then fails: what it leaves looks finished.
        broken = t.file("broken-%s/%s" % (tool, tool), "#!/bin/bash\n%s \"$@\"\nexit 9\n" % real)
        if tool == "debugfs":  # which has no other status than 0
            broken = t.file("broken-debugfs/debugfs", "#!/bin/bash\ncat >/dev/null\necho no inode >&2\n")
        os.chmod(broken, 0o755)
        with open(os.path.join(tree, source), "a", encoding="utf-8") as file:
            text = "\nextern const char by_@[];\nconst char by_@[] = \"\";\n" if source.endswith(".c") else "\n"
            file.write(text.replace("@", tool))
        done = build(t, tree, expect=None, PATH="%s:%s" % (os.path.dirname(broken), os.environ["PATH"]))
        if tool not in SILENT:
            t.equal(done.returncode, 1, "the status of a build in which %s fails" % tool)
            t.check("build.sh: could not" in done.stderr, "no sentence for a %s that fails: %s" % (tool, done.stderr))
        done = build(t, tree)
        t.check(tool in SILENT or "compiling" in done.stderr, "the step in which %s failed counts as finished" % tool)
    for name in ("cap.o", "layout.inc", "ramdisk.img"):
        t.check(os.path.getsize(os.path.join(tree, "build", name)), "build/%s is empty" % name)


def test_failed_run(t):
    """A tool that fails while run.sh makes its ramdisk ends the run with status 4, before anything boots."""
    for tool in ("mke2fs", "debugfs", "cp", "awk", "find", "touch", "chmod", "mv"):
        words = '%s "$@"; exit 9' % harness.find_tool(tool)
        if tool == "debugfs":
            words = "cat >/dev/null; echo no inode >&2"
        broken = t.file("broken-%s/%s" % (tool, tool), "#!/bin/bash\n%s\n" % words)
        os.chmod(broken, 0o755)
        environment = dict(os.environ, PATH="%s:%s" % (os.path.dirname(broken), os.environ["PATH"]))
        command = ["./run.sh", "--kernel", "--build", "build", "--add", "README.md:/readme"]
        t.equal(t.sh(command, env=environment, expect=4).stdout, "", "what boots when %s fails" % tool)


FILLING = """set -e
	mount -t tmpfs -o size=4k tmpfs build
	for size in $1; do
		mount -o remount,size="$size"k build
		status=0
		./build.sh 2>said || status=$?
		echo "size $size status $status"
		cat said
	done
	mount -o remount,size=200m build
	./build.sh
	for file in %s; do cmp "build/$file" "$2/build/$file"; done""" % " ".join(BOOTED)


def test_full_disk(t):
    """A disk that is full at any moment of a build (20 sizes): status 1, a sentence, and the next build mends it. Each
    size goes on with what the one before has left, so that it is full at a later moment."""
    probe = t.sh(["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "tmpfs", t.scratch])
    if probe.returncode:
        t.skip("no file system can be mounted here: " + probe.stderr.strip())
    tree = copy_tree(t, "tree", built=False)
    os.mkdir(os.path.join(tree, "build"))
    # The sizes reach from nothing to as much as a build takes.
    used = t.sh("du -sk --total build/{esp,stage,loader,symbols,shards} build/*.* | tail -n 1 | cut -f 1", expect=0)
    used = int(used.stdout)
    sizes = [max(4, used * step // 17) for step in range(20)]
    done = t.sh(["unshare", "--mount", "--map-root-user", "bash", "-c", FILLING, "full", " ".join(map(str, sizes)),
                 t.root], cwd=tree, env=dict(os.environ, PATH=quick_compiler(t)), expect=0)
    found = re.findall(r"^size (\d+) status (\d+)\n((?:(?!size ).*\n)*)", done.stdout, re.M)
    t.equal([int(size) for size, _, _ in found], sizes, "the sizes that were tried")
    failures = 0
    for size, status, said in found:
        t.check(status in "01", "a disk of %s KiB: status %s" % (size, status))
        if status == "1":
            failures += 1
            t.check("KiB left, and" in said, "a disk of %s KiB: no sentence: %s" % (size, said))
        t.check(not re.search("Traceback|core dumped", said), "a disk of %s KiB: %s" % (size, said))
    t.check(10 < failures < 20, "%d of 20 sizes were too small, of %d KiB" % (failures, used))
    t.note("%d of 20 sizes were too small" % failures)


def test_small_files(t):
    """Files that may not grow (ulimit -f, 20 sizes): status 1, a sentence, and the next build mends it. Each size goes
    on with what the one before has left, so that another file is too large for it."""
    tree = copy_tree(t, "tree", built=False)
    path = quick_compiler(t)
    largest = os.path.getsize(os.path.join(t.root, "build", "ramdisk.img")) // 1024
    sizes = sorted({0, 1, 2, 3, 5, 8, 13, 20, 30, 50, 80, 130, 200, 300, 500, 800, 1300, 2000, 3000, largest - 1})
    for size in sizes:
        done = t.sh("ulimit -f %d && ./build.sh" % size, cwd=tree, env=dict(os.environ, PATH=path), expect=1)
        sentence = "no file may be larger than %d KiB" % size
        t.check(sentence in done.stderr, "files of %d KiB: no sentence: %s" % (size, done.stderr))
        t.check(not re.search("Traceback|core dumped", done.stderr), "files of %d KiB: %s" % (size, done.stderr))
    build(t, tree, PATH=path)
    same_as_ours(t, tree, "after files that may not grow")


def test_missing_functions(t):
    """A shard without main, or with functions that nobody defines, is refused with a sentence on what a shard has."""
    main = "begins with: int main(const char *args)"
    missing = "a shard has no C library. coconut.h and shards/lib/shardlib.h"
    start = "int main(const char *args) {\n\t(void)args;\n\treturn "
    cases = [("nothing", "int other(void) { return 0; }\n", [main], ["start.asm", missing]),
             ("printf", "int printf(const char *, ...);\n" + start + 'printf("x");\n}\n',
              ["main.c:4", "nothing defines printf: " + missing], [main]),
             ("good", start + "0;\n}\n", [], [main, missing])]
    for name, text, wanted, unwanted in cases:
        folder = os.path.dirname(t.file(name + "/main.c", text))
        done = t.sh(["scripts/build-shard.sh", folder, os.path.join(t.scratch, "out")], expect=1 if wanted else 0)
        for words in wanted:
            t.check(words in done.stderr, "%s: `%s` is not in: %s" % (name, words, done.stderr))
        for words in unwanted + ["//"]:
            t.check(words not in done.stderr, "%s: `%s` is in: %s" % (name, words, done.stderr))


test_failed_tools.heavy = test_full_disk.heavy = test_small_files.heavy = True


# ---- What git and editors make of the tree ----


def test_autocrlf(t):
    """A clone by a git that turns line ends into CRLF (core.autocrlf=true) builds, and each file in it is the same."""
    if not os.path.isdir(os.path.join(t.root, ".git")) or not shutil.which("git"):
        t.skip("this tree is no git repository")
    paths = sources(t)
    origin, clone = (os.path.join(t.scratch, name) for name in ("origin", "clone"))
    copy = copy_tree(t, "origin", whole=True, built=False)
    git = "git -c user.name=x -c user.email=x@localhost -c commit.gpgsign=false -c gc.auto=0"
    t.sh("git init -q -b main . && %s add -A && %s commit -q -m x" % (git, git), cwd=copy, expect=0)
    t.sh(["git", "-c", "core.autocrlf=true", "clone", "-q", origin, clone], expect=0)
    for path in paths:
        same = filecmp.cmp(os.path.join(t.root, path), os.path.join(clone, path), shallow=False)
        t.check(same, path + " is another one in the clone")
    copy_build(t, clone)
    build(t, clone)
    same_as_ours(t, clone, "a clone with core.autocrlf")
    # The control: without the attributes, git does what it was told to.
    os.remove(os.path.join(copy, ".gitattributes"))
    t.sh("%s commit -q -a -m y" % git, cwd=copy, expect=0)
    shutil.rmtree(clone)
    t.sh(["git", "-c", "core.autocrlf=true", "clone", "-q", origin, clone], expect=0)
    t.check(b"\r\n" in read_bytes(os.path.join(clone, "build.sh")), "git turns no line end, so this proves nothing")


def test_layout(t):
    """layout.h may have CRLF at its line ends; a line of it that NASM could not read is refused by its number."""
    tree = copy_tree(t, "tree")
    path, numbers = os.path.join(tree, "layout.h"), os.path.join(tree, "build", "layout.inc")
    text, before = read(path), read(numbers)
    with open(path, "w", encoding="utf-8", newline="\r\n") as file:
        file.write(text)
    build(t, tree, PATH=quick_compiler(t))
    t.equal(read(numbers), before, "the numbers for NASM")
    same_as_ours(t, tree, "layout.h with CRLF")
    for value in ("8192 bytes", "2 * 4096", "(8192)", "8192UL"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(re.sub("#define STACK_SIZE .*", "#define STACK_SIZE " + value, text))
        done = build(t, tree, expect=1)
        t.check(re.search(r"layout\.h:\d+: .*STACK_SIZE", done.stderr), "%s is not refused: %s" % (value, done.stderr))


def compile_commands(t):
    """Returns {file: words of the command} of build/compile_commands.json."""
    with open(os.path.join(t.root, "build", "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    for entry in entries:
        t.equal(entry["directory"], t.root, "the folder of " + entry["file"])
    return {entry["file"]: shlex.split(entry["command"]) for entry in entries}


def test_compile_commands(t):
    """build/compile_commands.json has every C file, compiled as the build does it; clangd finds no error in them."""
    commands = compile_commands(t)
    others = ("labs/", "model/", "tests/reference/")  # students' work, and programs of the host
    wanted = [path for path in sources(t) if path.endswith(".c") and not path.startswith(others)]
    t.equal(sorted(set(wanted) - set(commands)), [], "C files that are missing")
    for path in ("cap.c", "serial.c", "efi_loader.c", "shards/lib/llama.c", "shards/hello-c/main.c"):
        words = [os.path.join(t.scratch, "x") if word.startswith("build/") else word for word in commands[path]]
        t.sh(words, expect=0)
    t.check("-mcmodel=kernel" in commands["serial.c"], "serial.c has other options than the supervisor's")
    t.check("-DGNU_EFI_USE_MS_ABI" in commands["efi_loader.c"], "efi_loader.c has other options than the loader's")
    if not shutil.which("clangd"):
        t.skip("clangd is not installed: only the file itself was looked at")
    some = ("cap.c", "efi_loader.c", "shards/lib/llama.c", "tests/shards/ok/main.c", "tests/provoke.c",
            "tests/host/mm.c", "tests/fuzz/elf.c")
    for path in wanted if t.full else some:
        done = t.sh(["clangd", "--check=" + path])
        errors = [line for line in done.stderr.split("\n") if line.startswith("E[") and "tweak:" not in line]
        t.check(not errors, "clangd on %s: %s" % (path, errors[:1]))


def test_warnings(t):
    """No variant of a source warns: of every ablation and every mistake that is provoked, and of the recorder."""
    commands = compile_commands(t)
    experiments = read(os.path.join(t.root, "tests", "experiments.h"))
    names = set(re.findall(r"\bPROVOKE_(\w+)", experiments)) - {"none", "name"}
    jobs = [("tests/provoke.c", "PROVOKE", name) for name in sorted(names)] + [("scripts/trace/trace.c", "TRACE", "16")]
    for path in sorted(glob.glob("*.c", root_dir=t.root)):
        text = read(os.path.join(t.root, path))
        jobs += [(path, "ABLATION", name) for name in sorted(set(re.findall(r"\bABLATE\((\w+)\)", text)))]
        jobs += [(path, "PROVOKE", name) for name in sorted(set(re.findall(r"\bPROVOKE_(\w+)", text)))]
        if re.search(r"\bPROVOKE\b", text):
            jobs.append((path, "PROVOKE", "panic"))
    t.check(len(jobs) > 80, "only %d variants were found" % len(jobs))
    for path, kind, name in jobs:
        words = [word for word in commands[path] if not word.startswith(("-DPROVOKE", "-DTRACE"))]
        words = words[:words.index("-MMD")] if "-MMD" in words else words[:words.index("-c")]
        value = name if kind == "TRACE" else "%s_%s" % (kind, name)
        t.sh(words + ["-Werror", "-D%s=%s" % (kind, value), "-c", "-o", os.path.join(t.scratch, "x.o"), path], expect=0)
    for name in sorted(set(re.findall(r"^\s*PROTECT (\w+),", read(os.path.join(t.root, "boot.asm")), re.M))):
        words = ["nasm", "-f", "elf64", "-Werror", "-DABLATION=ABLATION_" + name, "-I", "build/"]
        t.sh(words + ["-o", os.path.join(t.scratch, "x.o"), "boot.asm"], expect=0)
    t.note("%d variants of sources" % len(jobs))


# ---- What scripts are made of ----


def test_shellcheck(t):
    """shellcheck passes for every shell script, with the reason beside each exception."""
    shells = (b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash")
    scripts = [path for path in sources(t)
               if path.endswith(".sh") or read_bytes(os.path.join(t.root, path))[:20].startswith(shells)]
    t.check(len(scripts) >= 15, "only %d scripts were found" % len(scripts))
    for path in scripts:
        for line in re.findall(r"^.*shellcheck .*disable=.*$", read(os.path.join(t.root, path)), re.M):
            t.check(re.search(r"disable=[\w,]+ # \w", line), "%s: an exception without a reason: %s" % (path, line))
    if not shutil.which("shellcheck"):
        t.skip("shellcheck is not installed")
    done = t.sh(["shellcheck", "--format=gcc"] + scripts)
    t.equal(done.stdout, "", "what shellcheck says")
    # The control: what stands behind `||` goes on after a failure, and shellcheck is asked about that.
    wrong = t.file("wrong.sh", "#!/usr/bin/env bash\nset -e\nwork() {\n\tfalse\n\techo went on\n}\nwork || exit 1\n")
    shutil.copy(os.path.join(t.root, ".shellcheckrc"), t.scratch)
    done = t.sh(["shellcheck", "--format=gcc", wrong], cwd=t.scratch)
    t.check("SC2310" in done.stdout, "shellcheck does not ask about set -e")


# ---- test.sh ----


def test_list(t):
    """test.sh --list shows a line for each group, --list GROUP its tests; they and --help install nothing."""
    bare = os.path.join(t.scratch, "bin")  # nothing that a build needs
    os.mkdir(bare)
    for name in ("bash", "dirname", "realpath", "nproc", "python3", "env"):
        os.symlink(shutil.which(name), os.path.join(bare, name))
    environment = dict(os.environ, PATH=bare, NO_INSTALL="1")
    link = os.path.join(t.scratch, "link")
    os.symlink(os.path.join(t.root, "test.sh"), link)
    done = t.sh([link, "--list"], cwd="/", env=environment, expect=0)
    groups = dict(re.findall(r"^(\w+) +(\d+)  \S", done.stdout, re.M))
    files = [path[len("test_"):-len(".py")] for path in glob.glob("test_*.py", root_dir=os.path.join(t.root, "tests"))]
    t.equal(sorted(groups), sorted(files + ["host"]), "the groups")
    t.check(len(done.stdout.split("\n")) < len(groups) + 4, "there is more than a line for a group")
    done = t.sh([link, "--list", "tools"], cwd="/", env=environment, expect=0)
    lines = [line for line in done.stdout.split("\n") if line]
    t.equal(len(lines), int(groups["tools"]), "lines of the group tools")
    t.check(all(line.startswith("tools.") for line in lines), "there are lines of other groups")
    done = t.sh([link, "--help"], cwd="/", env=environment, expect=0)
    t.check("--full" in done.stdout, "--help does not name --full")


def test_unknown_name(t):
    """A word that names no test is an error, whatever the others are: it is named, and nothing runs."""
    for words, wrong, near in ((["docs.links", "nosuch"], "nosuch", ""), (["dosc"], "dosc", "docs"),
                               (["--list", "imgae"], "imgae", "image"), (["tools.lisst"], "tools.lisst", "tools.list")):
        done = t.sh(["./test.sh"] + words, expect=2)
        t.equal(done.stdout, "", "stdout of test.sh " + " ".join(words))
        t.check("test.sh: %s: " % wrong in done.stderr and near in done.stderr, "the word is not named: " + done.stderr)
    t.check("--stesp" in t.sh(["./bench.sh", "--stesp"], expect=2).stderr, "bench.sh takes an unknown option")


def test_closed_pipe(t):
    """Whoever reads may go away: `./test.sh --list | head -1` and the like end without a traceback."""
    for command in ("./test.sh --list", "./test.sh tools.unknown_name image.segments", "./grade.sh --list",
                    "./bench.sh --help"):
        done = t.sh("{ sleep 1; %s; echo status $? >&2; } | true" % command)
        t.check("Traceback" not in done.stderr and "Exception" not in done.stderr, "%s: %s" % (command, done.stderr))
        t.check("status 141" in done.stderr, "%s ends otherwise than by SIGPIPE: %s" % (command, done.stderr))


def test_full_stdout(t):
    """What is printed to a full disk costs one line and status 2, not a traceback, whichever script prints."""
    for command in "./test.sh --list", "./test.sh host.elf", "./grade.sh --list":
        done = t.sh(command + " > /dev/full")
        t.equal((done.returncode, done.stderr.strip().split("\n")[-1]),
                (2, "%s: stdout: No space left on device" % command[2:].split()[0]), command)
        t.check("Traceback" not in done.stderr, "%s: %s" % (command, done.stderr))
    done = t.sh("./build.sh --help > /dev/full", expect=1)
    t.check(done.stderr.count("\n") <= 2, "build.sh --help: " + done.stderr)


def test_links(t):
    """Each script of the top level works through a symbolic link, from elsewhere."""
    for script, words in (("test.sh", "--list"), ("bench.sh", "--help"), ("grade.sh", "--list"), ("build.sh", "--help"),
                          ("run.sh", "--help")):
        link = os.path.join(t.scratch, "link-to-" + script)
        os.symlink(os.path.join(t.root, script), link)
        t.check(t.sh([link, words], cwd="/", expect=0).stdout, script + " prints nothing")


# ---- The end of what was started ----


def marked(mark):
    """Returns the processes, {pid: command}, that carry a mark in their environment: all that was started, and runs."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as file:
                if ("%s=%s" % (MARK, mark)).encode() in file.read().split(b"\0"):
                    found[int(pid)] = read_bytes("/proc/%s/cmdline" % pid).replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended, or is another user's
            continue
    return found


def start_marked(t, words, cwd, mark, **environment):
    """Starts a command whose descendants can be found, with its output in a file."""
    with open(os.path.join(t.scratch, "output"), "ab") as output:
        environment = dict(os.environ, **{MARK: mark}, **environment)
        return harness.start(words, cwd=cwd, stdout=output, stderr=output, env=environment)


def kill_all(processes):
    """Ends processes that may have ended."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def await_none(t, mark, what):
    """Waits until no process carries the mark. Ends those that are left before it fails."""
    deadline = time.monotonic() + END
    while marked(mark):
        if time.monotonic() > deadline:
            left = marked(mark)
            kill_all(left)
            t.check(False, "%s left behind: %s" % (what, left))
        time.sleep(0.05)


def await_process(t, process, mark, pattern):
    """Waits until a descendant runs whose command matches, or the command itself has ended."""
    deadline = time.monotonic() + END
    while process.poll() is None and not any(re.search(pattern, command) for command in marked(mark).values()):
        t.check(time.monotonic() < deadline, "no process %s was started" % pattern)
        time.sleep(0.01)


EARLY = ("^", "tests/run.py", "grade.py")  # moments at which Python may not have come to its handlers
# Signal, to the whole group (as Ctrl-C is), the status that is right.
SIGNALS = ((signal.SIGINT, True, 130), (signal.SIGINT, False, 130), (signal.SIGTERM, False, 143),
           (signal.SIGKILL, False, -9))
# Whom a signal interrupts, and what runs then. `^`: any process, the script has only begun. `stuck`: a tool that never
# ends.
MOMENTS = {
    "build.sh": (["./build.sh"], ["^", "cc1", "nasm|asm-lines", "mke2fs|debugfs", "stuck"]),
    "test.sh": (["./test.sh", "system.machine_pc", "system.memory_64M", "host.elf"],
                ["^", "tests/run.py", "cc1", "qemu-system", "stuck"]),
    "grade.sh": (["./grade.sh", "04"], ["^", "grade.py", "qemu-system", "stuck"]),
    "bench.sh": (["./bench.sh"], ["^", "build-shard", "qemu-system", "stuck"]),
}


def stuck(t, script):
    """Returns a PATH with a tool that never ends: in a build the compiler, else the emulator."""
    tool = "gcc" if script == "build.sh" else "qemu-system-x86_64"
    path = t.file("stuck/" + tool, "#!/bin/bash\nexec -a stuck sleep 1000000\n")
    os.chmod(path, 0o755)
    return "%s:%s" % (os.path.dirname(path), os.environ["PATH"])


def interrupted(script):
    """Returns the test of one script."""
    words, moments = MOMENTS[script]

    def test(t):
        tree = copy_tree(t, "tree", whole=script != "build.sh")
        hits = 0
        for number, group, status in SIGNALS:
            for moment in moments:
                if script == "build.sh":  # something to do
                    for name in ("cap.o", "layout.inc", "stage.cmd", "ramdisk.img"):
                        shutil.rmtree(os.path.join(tree, "build", name), ignore_errors=True)
                        with open(os.path.join(tree, "build", name), "wb"):
                            pass
                    edit(os.path.join(tree, "shards/lib/print.c"), "\n", "\n\n")
                mark = "%s %d" % (script, time.monotonic_ns())
                path = stuck(t, script) if moment == "stuck" else os.environ["PATH"]
                process = start_marked(t, words, tree, mark, PATH=path)
                await_process(t, process, mark, r"^stuck\b" if moment == "stuck" else moment)
                with contextlib.suppress(ProcessLookupError):  # it had come to its end
                    (os.killpg if group else os.kill)(process.pid, number)
                harness.finish(process, END)
                t.log("signal %d at %s: status %d" % (number, moment, process.returncode))
                # What had ended by then keeps its status; a shell that has not come to its traps dies of the signal.
                allowed = (status, 0, 1) + ((-number,) if moment in EARLY else ())
                t.check(process.returncode in allowed,
                        "status %d after signal %d at %s" % (process.returncode, number, moment))
                hits += process.returncode in (status, -number)
                await_none(t, mark, "%s, signal %d at %s," % (script, number, moment))
        t.check(hits >= len(SIGNALS), "only %d signals came before the end" % hits)
        for where, _, names in os.walk(tree):
            for name in names:
                size = os.lstat(os.path.join(where, name)).st_blocks * 512
                t.check(size < 32 << 20, "%s of %d MiB was left" % (os.path.join(where, name), size >> 20))
        if script == "build.sh":
            build(t, tree)
            for name in BOOTED:
                t.check(os.path.getsize(os.path.join(tree, "build", name)), "build/%s is empty" % name)

    test.__doc__ = "%s ends with all that it has started, whatever signal ends it whenever: SIGKILL, too." % script
    test.heavy = True
    return test


for _script in MOMENTS:
    globals()["test_interrupted_" + _script.replace(".sh", "")] = interrupted(_script)

LEASHED = """source scripts/common.sh
leash
sleep 1000 &
setsid bash -c "trap '' TERM; sleep 1000; sleep 1000" &
(setsid sleep 1000 &)
echo started
kill -KILL $$
"""


def test_leash(t):
    """The leash ends all that a script has started, in whatever session it is; without it, that goes on."""
    for leashed in (True, False):
        script = LEASHED if leashed else LEASHED.replace("leash\n", "\n", 1)
        mark = "leash %s" % leashed
        process = start_marked(t, ["bash", "-c", "self=test; " + script], t.root, mark)
        harness.finish(process, END)
        t.equal(process.returncode, -9, "the script's own end")
        if leashed:
            await_none(t, mark, "the leash")
            continue
        time.sleep(8)  # longer than the leash waits before it makes them
        left = marked(mark)
        kill_all(left)
        t.check(len(left) >= 3, "without a leash only these go on: %s" % left)


test_leash.heavy = test_warnings.heavy = True
