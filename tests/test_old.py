"""Shards of the earlier implementation: its header, its errors, its pipeline, its sources wherever they lie.

The shards are written here, from what that implementation's documents say of numbers, offsets and behaviour.

Read next: include/coconut.h, tests/shards/old-names/main.c, docs/from-rust.md.
"""

import os
import re
import shutil

import harness
import test_docs
import test_inference

TOKENS = 16  # as in tests/shards/old-pipeline
MODEL = (32, 64, 5, 4, 4, 32, 32)  # as there, but with more layers: what a wrong border leaves out or runs twice shows


def numbers(path):
    """Returns the names and numbers that a header defines."""
    with open(os.path.join(harness.ROOT, path), encoding="utf-8") as file:
        return {name: int(value, 0) for name, value in re.findall(r"^#define (\w+) +(0[xX]\w+?|\d+)(?:ULL)?\b",
                                                                  file.read(), re.M)}


def test_numbers(t):
    """Numbers and offsets of include/coconut.h are those of coconut.h, under the earlier names."""
    old, new = numbers("include/coconut.h"), numbers("coconut.h")
    t.check(len([name for name in old if name.startswith("SYS_")]) == 17, "the calls: %s" % sorted(old))
    t.equal({name: new.get(name) for name in old}, old, "the numbers")
    names = {"pipeline_config": {"stages": "num_stages", "channel": "channel_id", "first_layer": "layers_start",
                                 "end_layer": "layers_end", "magic": "magic", "stage": "stage"},
             "gpu_config": {"partition": "partition_id", "reserved": "_pad", "vram_size": "vram_size",
                            "cu_count": "cu_count", "vram_vaddr": "vram_vaddr", "mmio_vaddr": "mmio_vaddr",
                            "magic": "magic"}}
    places = []
    for header, side in (("coconut.h", 0), ("include/coconut.h", 1)):
        lines = ["#include <stdio.h>", '#include "%s"' % os.path.join(t.root, header), "int main(void) {"]
        for struct, fields in names.items():
            for pair in fields.items():
                lines.append('printf("%%zu %%zu ", offsetof(struct %s, %s), sizeof(((struct %s *)0)->%s));' % (
                    (struct, pair[side]) * 2))
            lines.append('printf("%%zu ", sizeof(struct %s));' % struct)
        source = t.file("places%d.c" % side, "\n".join(lines) + "\n}\n")
        t.sh(["gcc", "-Wall", "-Wextra", "-Werror", "-o", source[:-2], source], expect=0)
        places.append(t.sh([source[:-2]], expect=0).stdout)
    t.equal(places[0], places[1], "offsets and sizes")


def test_names(t):
    """A shard with every earlier name: each call works, and each of its errors is COCONUT_ERROR."""
    lines = ["shard x /t/ok", "shard s0 /t/old-names", "shard s1 /t/old-names", "channel x s0", "channel s0 s1",
             "pipeline s0 s1 layers=0-2,3-5"]
    result = t.guest("\n".join(lines), files={"/hello.txt": b"hello file\n"}, expect=0)
    for line in ("from the code", "from the stack", "all of them"):
        t.check("old-names: " + line in result.lines, "the console lacks: " + line)


def test_gpu(t):
    """A GPU driver with the earlier names finds its partition, unveils, pledges."""
    result = t.guest("shard g /t/old-gpu\ngpu g", expect=0)
    t.check("old-gpu: done" in result.lines, "the driver has not finished")


def host_tokens(t):
    """Returns the path of a model, and the tokens that the host computes with it."""
    model = os.path.join(t.scratch, "model")
    t.sh([test_inference.program(t, "random_model")] + list(MODEL) + [model, model + ".tok"], expect=0)
    tokens = t.sh([test_inference.program(t, "greedy"), model, TOKENS], expect=0).stdout.split()
    t.check(len(set(tokens)) > 3, "the model says too little: %s" % tokens)
    return model, tokens


def run_pipeline(t, program, cut, files, wanted):
    """Runs both stages, the layers cut after number `cut`, and compares the tokens that each prints."""
    lines = ["shard x /t/ok", "shard s0 " + program, "shard s1 " + program, "channel x s0", "channel s0 s1",
             "pipeline s0 s1 layers=0-%d,%d-4" % (cut, cut + 1)]
    result = t.guest("\n".join(lines), files=files, expect=0)
    for stage in "01":
        found = re.findall(r"^old-pipeline\[%s\]: \d\d -> (\d\d)$" % stage, result.text, re.M)
        t.equal([str(int(token)) for token in found], wanted, "tokens of stage %s, cut after layer %d" % (stage, cut))


def test_pipeline(t):
    """Two stages in the earlier style write the tokens that the host computes, wherever the layers are cut."""
    model, wanted = host_tokens(t)
    for cut in (0, 2, 3):
        run_pipeline(t, "/t/old-pipeline", cut, {"/model.bin": model}, wanted)


EARLIER_LAYOUT = """ENTRY(_start)
SECTIONS {
	. = 0x1000;
	.text : { *(.text.entry) *(.text .text.*) }
	.rodata : { *(.rodata .rodata.*) }
	/DISCARD/ : { *(.eh_frame) *(.note.*) *(.comment) }
}
"""


def test_binary(t):
    """The same as a binary that nothing of ours has made: a header that hands on what the kernel says, a layout of its
    own."""
    with open(os.path.join(t.root, "include", "coconut.h"), encoding="utf-8") as file:
        header = file.read()
    t.check(header.count("result < 0 ? COCONUT_ERROR : ") == 2,
            "the header turns errors into COCONUT_ERROR elsewhere too")
    t.file("include/coconut.h", header.replace("result < 0 ? COCONUT_ERROR : ", ""))
    shutil.copytree(os.path.join(t.root, "tests", "shards", "old-pipeline"),
                    os.path.join(t.scratch, "shards", "pipeline"))
    layout = t.file("shard.ld", EARLIER_LAYOUT)
    t.sh("gcc -ffreestanding -nostdlib -static -O2 -mno-red-zone -fno-stack-protector -fno-pic -no-pie "
         "-Wl,--build-id=none -Wl,-T%s "
         "-o shard.elf shards/pipeline/start.S shards/pipeline/main.c && "
         "objcopy -O binary shard.elf shard.bin" % layout,
         cwd=t.scratch, expect=0)
    model, wanted = host_tokens(t)
    run_pipeline(t, "/binary", 1, {"/model.bin": model, "/binary": os.path.join(t.scratch, "shard.bin")}, wanted)


def test_places(t):
    """The header is found from any folder: by its path, by a file that leads to it, and in a clone of the earlier
    tree."""
    source = ('#include "%s"\nint main(void) {\n\tif (coconut_fs_open("/none", 5) != COCONUT_ERROR) return 1;\n'
              '\treturn coconut_puts("%s\\n") != 0;\n}\n')
    cases = {"by-path": "../../include/coconut.h", "led": "coconut.h", "clone/shards/cloned": "../../include/coconut.h"}
    for name, header in cases.items():
        t.file(name + "/main.c", source % (header, os.path.basename(name)))
    t.file("led/coconut.h", '#include "../../include/coconut.h"\n')
    # What stands in such a clone knows one error and hands on what the kernel says.
    t.file("clone/include/coconut.h", "#ifndef COCONUT_H\n#define COCONUT_H\n#define COCONUT_ERROR (~0ULL)\n#error "
                                      "theirs\n#endif\n")
    result = t.boot(shards=[os.path.join(t.scratch, name) for name in cases], expect=0)
    t.equal(result.endings(), dict.fromkeys(["by-path", "led", "cloned"], 0), "ends")
    # A header of that name that is not the earlier one is the shard's own.
    t.file("mine/shards/owner/main.c", '#include "../../include/coconut.h"\nint main(void) { return MINE; }\n')
    t.file("mine/include/coconut.h", "#define MINE 0\n")
    t.boot(shards=[os.path.join(t.scratch, "mine/shards/owner")], expect=0)


# ---- Sources that are not C ----

GNU_ENTRY = """	.section .text.entry, "ax"
	.globl _start
_start:	mov $0x800000, %esp
	call main
	mov %rax, %rdi
	xor %eax, %eax
	syscall
"""


def test_assembler(t):
    """.S and .s files in a shard's folder are assembled, start.S is its entry, and NASM files work beside them."""
    folder = os.path.dirname(t.file("gnu/start.S", GNU_ENTRY))
    t.file("gnu/one.S", "#define ONE 1\n\t.globl one\none:\tmov $ONE, %eax\n\tret\n")
    t.file("gnu/two.s", "\t.globl two\ntwo:\tmov $2, %eax\n\tret\n")
    t.file("gnu/three.asm", "global three\nthree:\n\tmov eax, 3\n\tret\nsection .note.GNU-stack noalloc noexec "
                            "nowrite progbits\n")
    t.file("gnu/main.c", '#include "coconut.h"\nint one(void), two(void), three(void);\nint start(void);\n'
           'int start(void) { return 0; }\nint entry(void);\nint entry(void) { return start(); }\n'
           'int main(void) {\n\tif (one() != 1 || two() != 2 || three() != 3) return 1;\n'
           '\tcoconut_puts("gnu: six\\n");\n\treturn entry();\n}\n')
    result = t.boot(shards=[folder], expect=0)
    t.check("gnu: six" in result.lines, "the shard did not finish")
    t.check("warning" not in result.stderr, "a warning: " + result.stderr[-300:])
    with open(os.path.join(folder, "two.s"), "a", encoding="utf-8") as file:  # a changed file is assembled again
        file.write("\t.globl four\nfour:\tmov $4, %eax\n\tret\n")
    shutil.copy(os.path.join(folder, "main.c"), os.path.join(folder, "main.c.old"))
    t.file("gnu/main.c", "int four(void);\nint main(void) { return four() - 4; }\n")
    t.boot(shards=[folder], expect=0)
    late = GNU_ENTRY.replace(".text.entry", ".text")
    t.file("gnu/start.S", "\tnop\n" + late)
    done = t.sh(["./run.sh", "--build", "build", "--kernel", "--shard", folder], expect=4)
    t.check("_start is not the first byte" in done.stderr, "an entry in the middle: " + done.stderr[-300:])


def test_other_sources(t):
    """A source that no shard is made of is refused by name; one in a folder below is named."""
    for name in ("part.cpp", "part.cc", "part.rs", "part.nasm", "PART.ASM"):
        folder = os.path.dirname(t.file(name + ".d/main.c", "int main(void) { return 0; }\n"))
        t.file(name + ".d/" + name, "\n")
        done = t.sh(["./run.sh", "--build", "build", "--kernel", "--shard", folder], expect=4)
        t.check("%s/%s: a shard is made of" % (folder, name) in done.stderr, "%s: %s" % (name, done.stderr[-300:]))
    folder = os.path.dirname(t.file("below/main.c", "int main(void) { return 0; }\n"))
    t.file("below/more/part.c", "\n")
    result = t.boot(shards=[folder], expect=0)
    t.check("more/part.c does not become part of the shard" in result.stderr, "a folder below: " + result.stderr[-300:])


def test_folder_without_main(t):
    """A folder of shards/ that has no main.c is named at each build, and the others are built."""
    copy = test_docs.copy_of_tree(t)
    os.mkdir(os.path.join(copy, "shards", "only-asm"))
    with open(os.path.join(copy, "shards", "only-asm", "start.S"), "w", encoding="utf-8") as file:
        file.write(GNU_ENTRY)
    for _ in range(2):
        done = t.sh(["./build.sh"], cwd=copy, expect=0)
        t.equal(done.stderr.count("shards/only-asm has no main.c and is not built."), 1,
                "what build.sh says: " + done.stderr)
