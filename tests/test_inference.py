"""The inference shards: their text and logits against the host's, pipelines, bad files, memory, text as it is made.

The host's text comes from tests/reference/generate.c, which is written independently of the shards, the host's logits
from tests/reference/host_llama.c, which is the shards' own transformer. Many shards run in one boot, one after the
other, so that each one's text stands between the lines of its neighbours.

Read next: tests/reference/generate.c.
"""

import os
import re
import struct
import threading

import harness

STORIES = "model/stories.bin"
TOKENIZER = "model/tokenizer.bin"
STRICT = ["-O3", "-std=gnu11", "-ffp-contract=off", "-I.", "-Ishards/lib", "-Itests/reference"]

# dim, hidden, layers, heads, KV heads, vocabulary (negative: a classifier of its own), context
SHAPES = {"rows": (128, 352, 2, 8, 8, 105, 64), "hidden": (64, 172, 3, 4, 4, 512, 64),
          "shared": (96, 200, 2, 6, 2, 300, 64),
          "one-kv": (64, 128, 2, 8, 1, 320, 64), "classifier": (48, 130, 2, 4, 2, -400, 64),
          "wide": (288, 768, 3, 6, 6, 512, 48)}

_programs_lock = threading.Lock()
_programs = set()  # those that this run of test.sh has compiled


# ---- The host's side ----


def program(t, name):
    """Returns the path of a host program of tests/reference or tests/system, compiled once in a run of test.sh."""
    binary = os.path.join(harness.SCRATCH, "programs", name)
    with _programs_lock:
        if name not in _programs:
            compile_program(t, name, binary)
            _programs.add(name)
    return binary


def compile_program(t, name, binary):
    """Compiles a program with the sources that its head lists, at the optimisation that llama2.c is compared with."""
    source = "tests/reference/%s.c" % name
    if not os.path.exists(os.path.join(t.root, source)):
        source = "tests/system/%s.c" % name
    with open(os.path.join(t.root, source), encoding="utf-8") as file:
        sources = re.search(r"SOURCES: (.*)", file.read())
    sources = sources.group(1).split() if sources else ["tests/reference/naive_llama.c"]
    os.makedirs(os.path.dirname(binary), exist_ok=True)
    new = "%s.%d" % (binary, os.getpid())  # another run of test.sh may be using the program
    t.sh(["gcc"] + STRICT + ["-o", new, source] + sources + ["-lm"], expect=0)
    os.replace(new, binary)


def model(t, name):
    """Returns the paths of a random model of SHAPES and of its tokenizer."""
    paths = [os.path.join(t.scratch, name + kind) for kind in (".bin", ".tok")]
    if not os.path.exists(paths[0]):
        t.sh([program(t, "random_model")] + list(SHAPES[name]) + paths, expect=0)
    return paths


def host_text(t, files, args, name="generate"):
    """Returns what a host program prints for the args of a shard, whose files are {guest path: host path}."""
    words = []
    for word in args.split(" "):
        key, _, value = word.partition("=")
        words.append("%s=%s" % (key, files[value]) if key in ("model", "tokenizer") else word)
    if "model=" not in args:
        words = ["model=" + os.path.join(t.root, STORIES), "tokenizer=" + os.path.join(t.root, TOKENIZER)] + words
    process = harness.start([program(t, name)] + [word.encode() for word in words], cwd=t.root, stdout=-1, stderr=-1)
    out, err = harness.finish(process, 600)
    t.equal(process.returncode, 0, "status of %s (%s)" % (name, err.decode(errors="replace")))
    return out


def on_console(text):
    """Returns bytes of a shard as the console shows them: control characters other than newline and tab are
    replaced."""
    return re.sub(rb"[\x00-\x08\x0b-\x1f\x7f]", b"?", text)


# ---- The guest's side ----


def quoted(args):
    """Returns args as they stand between the quotation marks of a manifest."""
    return args.replace("\\", "\\\\").replace('"', '\\"')


def chain(jobs):
    """Returns manifest lines that run the jobs one after the other: {name: args} of llama-inference, or of
    llama-pipeline where the args are a triple (of stage 0, of stage 1, layers)."""
    lines, last = [], ""
    for name, args in jobs.items():
        if isinstance(args, str):
            lines.append('shard %s /shards/llama-inference%s args="%s"' % (name, last, quoted(args)))
        else:
            lines += ['shard %s-a /shards/llama-pipeline%s args="%s"' % (name, last, quoted(args[0])),
                      'shard %s /shards/llama-pipeline%s args="%s"' % (name, last, quoted(args[1])),
                      "channel %s-a %s" % (name, name), "pipeline %s-a %s layers=%s" % (name, name, args[2])]
        last = " after=" + name
    return "\n".join(lines)


def start_jobs(t, jobs, files=None, extra="", **options):
    """Starts a guest that runs the jobs: the default ramdisk, and the files {path in the guest: path on the host}."""
    return t.start(manifest=chain(jobs) + extra + "\n", add=files, timeout=options.pop("timeout", 900), **options)


def texts(t, result, jobs):
    """Returns {name: (text, logits hash or "")} of what each job printed."""
    # A first stage may end before or after the second one has said that it ends.
    raw = re.sub(rb"^Shard \d+ \(\S+-a\) ended: .*\n", b"", result.raw, flags=re.M)
    found = {}
    for name in jobs:
        # The text begins behind the last line of a shard or of the supervisor, and ends before the shard's summary.
        end = re.search(rb"^Shard \d+ \(%s\) ended: " % re.escape(name.encode()), raw, re.M)
        t.check(end, "%s did not end" % name)
        block = re.split(rb"^(?:Shard \d+ \(.*|CPU protections: .*|IOMMU: .*)\n", raw[:end.start()], flags=re.M)[-1]
        parts = re.match(rb"(?s)(.*\n)llama-\w+: \d+ tokens in \d+ ms\n(?:llama-\w+: logits (\w+)\n)?$", block)
        t.check(parts, "%s did not finish its text: %r" % (name, block[-200:]))
        found[name] = (parts.group(1), (parts.group(2) or b"").decode())
    return found


def run_jobs(t, jobs, files=None, **options):
    """Runs the jobs to the end. Returns what texts() does."""
    return texts(t, start_jobs(t, jobs, files, expect=0, **options).wait(), jobs)


def compare(t, jobs, files=None, logits=True):
    """Runs the jobs, all of llama-inference, and compares each text and hash with the host's."""
    found = run_jobs(t, {name: ("logits=1 " if logits else "") + args for name, args in jobs.items()}, files)
    for name, args in jobs.items():
        expected = on_console(host_text(t, files or {}, args))
        t.check(expected == found[name][0], "%s: the guest wrote %r, the host %r" % (name, found[name][0], expected))
        t.check(len(expected) > 1 or "steps=1 " in args, name + ": no text")
        if logits:
            ours = host_text(t, files or {}, "logits=1 " + args, "host_llama").decode(errors="replace")
            t.equal(found[name][1], ours.rstrip("\n").split(" ")[-1], name + ": hash of the logits, guest and host")
    return found


# ---- The text ----


def test_greedy_story(t):
    """The greedy story equals the host's byte for byte, and so do all its logits."""
    compare(t, {"greedy": "temperature=0 prompt=Once upon a time"})


def test_prompts_and_sampling(t):
    """Prompts, temperatures, top-p, seeds and lengths: the text is the host's, byte for byte."""
    jobs = {"utf8": "steps=30 prompt=Zoë’s 猫 sat", "quotes": 'steps=40 prompt=She said "Hello \\ there!"',
            "empty": "steps=40",
            "blank": "steps=30 prompt= ", "word": "steps=40 prompt=A", "end": "steps=60 prompt=The end.",
            "warm": "steps=40 temperature=1 topp=1 seed=1",
            "top-p": "steps=40 temperature=0.8 topp=0.5 seed=7 prompt=One day",
            "hot": "steps=40 temperature=2.5 topp=0.95 seed=18446744073709551615 prompt=Tom",
            "one": "steps=1 prompt=Once",
            "seed": "steps=40 temperature=0.8 topp=0.9 seed=43 prompt=Once upon a time",
            "tiny-p": "steps=30 temperature=1 topp=0.0001"}
    found = compare(t, jobs)
    t.check(found["warm"][0] != found["top-p"][0] != found["hot"][0], "different options give the same text")


def test_full_context(t):
    """A text that fills the whole context, whatever number of steps is asked for."""
    jobs = {"zero": "steps=0 temperature=1.2 topp=1 seed=5", "many": "steps=99999 temperature=1.2 topp=1 seed=5"}
    found = compare(t, jobs, logits=False)
    t.equal(found["zero"][0], found["many"][0], "texts")


def test_shapes(t):
    """Checkpoints of the shapes in the wild: odd rows, shared KV heads, a separate classifier, small vocabularies."""
    jobs, files = {}, {}
    for name in SHAPES:
        files["/" + name], files["/%s.tok" % name] = model(t, name)
        args = "model=/%s tokenizer=/%s.tok steps=20" % (name, name)
        jobs[name] = args + " prompt=abc de"
        jobs[name + "-warm"] = args + " temperature=0.9 seed=%d prompt=cab" % len(name)
    compare(t, jobs, files)


def test_options_of_run(t):
    """What run.sh's options say reaches both inference shards as it is: quotes, backslashes, UTF-8, an empty prompt."""
    for prompt in ('The "big" \\ dog & the $HOME of é; `x` # not a comment', ""):
        result = t.boot(options=["--prompt", prompt, "--steps", "45", "--temperature", "0.7", "--topp", "0.8", "--seed",
                                 "99"],
                        timeout=600, expect=0)
        text = on_console(host_text(t, {}, "steps=45 temperature=0.7 topp=0.8 seed=99 prompt=" + prompt))
        t.equal(result.raw.count(b"\n" + text), 2, "times that the host's text stands on the console")


def test_models_of_run(t):
    """--model and --tokenizer: both shards run the given model, with the layers shared out."""
    checkpoint, tokenizer = model(t, "hidden")
    result = t.boot(options=["--model", checkpoint, "--tokenizer", tokenizer, "--prompt", "abc", "--temperature", "0",
                             "--steps", "20"], timeout=600, expect=0)
    text = on_console(host_text(t, {"m": checkpoint, "k": tokenizer},
                                "model=m tokenizer=k steps=20 temperature=0 prompt=abc"))
    t.equal(result.raw.count(b"\n" + text + b"llama-"), 2, "times that the host's text stands on the console")


def test_block_sizes(t):
    """A ramdisk of 1 KiB or 2 KiB blocks cannot be mapped: the model is read instead, and the text is the same."""
    size = os.path.getsize(os.path.join(t.root, STORIES))
    args = "steps=30 prompt=Once upon a time"
    jobs = {"single": args, "pipe": (args, args, halves(t))}
    text = host_text(t, {}, args)
    content = {"/shards/" + name: os.path.join(t.root, "build", "shards", name + ".bin")
               for name in ("llama-inference", "llama-pipeline")}
    content.update({"/model.bin": os.path.join(t.root, STORIES), "/tokenizer.bin": os.path.join(t.root, TOKENIZER)})
    for block_size in (1024, 2048, 4096):
        result = t.guest(chain(jobs), files=content, block_size=block_size, timeout=900, expect=0)
        found = texts(t, result, jobs)
        t.equal([found["single"][0], found["pipe"][0]], [text, text], "texts with blocks of %d bytes" % block_size)
        copied = frames(t, result, "single") * 4096 > size
        t.equal(copied, block_size != 4096,
                "whether the shard holds a copy of the model, blocks of %d bytes" % block_size)


# ---- The pipeline ----


def test_pipeline_splits(t):
    """Two stages write what one shard writes, wherever the layers are cut."""
    args = "logits=1 steps=40 temperature=0.8 seed=3 prompt=One day"
    last = numbers_of(os.path.join(t.root, STORIES))[2] - 1
    splits = ["0-%d,%d-%d" % (cut, cut + 1, last) for cut in range(last)]
    jobs = {"single": args}
    jobs.update(("cut%d" % cut, (args, args, split)) for cut, split in enumerate(splits))
    found = run_jobs(t, jobs)
    t.check(found["single"][0] == host_text(t, {}, args.replace("logits=1 ", "")),
            "the single shard's text is not the host's")
    for name in jobs:
        t.equal(found[name], found["single"], "text and logits of " + name)


def test_pipeline_shapes(t):
    """The same for random models, one of them so wide that its activations take five messages."""
    jobs, files = {}, {}
    for name in ("wide", "hidden", "classifier"):
        files["/" + name], files["/%s.tok" % name] = model(t, name)
        args = "logits=1 model=/%s tokenizer=/%s.tok steps=15 prompt=bad cafe" % (name, name)
        last = SHAPES[name][2] - 1
        jobs[name] = args
        jobs[name + "-2"] = (args, args, "0-0,1-%d" % last)
    found = run_jobs(t, jobs, files)
    for name in ("wide", "hidden", "classifier"):
        t.equal(found[name + "-2"], found[name], "text and logits of the pipeline, " + name)


def numbers_of(path):
    """Returns the seven numbers of a checkpoint's header."""
    with open(path, "rb") as file:
        return struct.unpack("<7i", file.read(28))


def halves(t):
    """Returns the default model's layers, cut in two, as a manifest has them."""
    layers = numbers_of(os.path.join(t.root, STORIES))[2]
    return "0-%d,%d-%d" % (layers // 2 - 1, layers // 2, layers - 1)


def zero_layers(path, first, last):
    """Returns a llama2.c checkpoint with the weights of layers first..last set to zero."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    dim, hidden, layers, heads, kv_heads, vocabulary, _ = struct.unpack_from("<7i", data)
    kv_dim = dim // heads * kv_heads
    at = 28 + abs(vocabulary) * dim * 4
    for size in (dim, dim * dim, kv_dim * dim, kv_dim * dim, dim * dim, dim, hidden * dim, dim * hidden, hidden * dim):
        data[at + first * size * 4:at + (last + 1) * size * 4] = bytes((last + 1 - first) * size * 4)
        at += layers * size * 4
    return bytes(data)


def test_pipeline_own_layers(t):
    """A stage uses its own layers only: zeroing the other's in its model changes nothing, zeroing its own the text."""
    stories = os.path.join(t.root, STORIES)
    layers = numbers_of(stories)[2]
    files = {"/no-low": t.file("no-low", zero_layers(stories, 0, layers // 2 - 1)),
             "/no-high": t.file("no-high", zero_layers(stories, layers // 2, layers - 1))}
    args = "logits=1 steps=30 temperature=0 prompt=Once upon a time"
    low, high = "model=/no-high " + args, "model=/no-low " + args
    split = halves(t)
    jobs = {"single": args, "other": (low, high, split), "first": (high, args, split), "second": (args, low, split),
            "both": (high, low, split)}
    found = run_jobs(t, jobs, files)
    t.equal(found["other"], found["single"], "text and logits when each stage lacks the other's layers")
    for name in ("first", "second", "both"):
        t.check(found[name] != found["single"], "the text is the same without the stage's own layers: " + name)
    t.check(found["first"][0] != found["single"][0], "the first stage's layers do not matter for the text")
    t.check(found["second"][0] != found["single"][0], "the second stage's layers do not matter for the text")


# ---- What can be wrong ----


def header(*numbers):
    """Returns the header of a checkpoint."""
    return struct.pack("<7i", *numbers)


def cut_token(tokenizer):
    """Returns the tokenizer up to a token's score and length, without the token's bytes that these promise."""
    at = 4  # behind the length of the longest token
    for _ in range(500):
        at += 8 + struct.unpack_from("<i", tokenizer, at + 4)[0]
    return tokenizer[:at + 8]


def bad_jobs(t):
    """Returns {name: (args, words of the message)} of shards that must give up, and the files that they name."""
    with open(os.path.join(t.root, STORIES), "rb") as file:
        data = file.read()
    with open(os.path.join(t.root, TOKENIZER), "rb") as file:
        tokenizer = file.read()
    contents = {"/cut": data[:-4], "/page": data[:4096], "/long": data + bytes(4), "/empty": b"", "/short": data[:20],
                "/text": b"This is no checkpoint, it is a text.\n" * 300, "/zero": bytes(8192),
                "/first": struct.pack("<2i", 0x616b3432, 1) + bytes(8192),
                "/second": struct.pack("<2i", 0x616b3432, 2) + bytes(8192),
                "/absurd": header(64, 172, 5, 4, 4, 1024, 2147483647) + bytes(8192),
                "/huge": header(65536, 65536, 1024, 4, 4, 16777216, 1048576) + bytes(8192),
                "/heads": header(64, 172, 5, 5, 5, 1024, 256) + bytes(8192),
                "/minimum": header(64, 172, 5, 4, 4, -2147483648, 256) + bytes(8192), "/half.tok": cut_token(tokenizer)}
    files = {path: t.file("bad" + path, content) for path, content in contents.items()}
    files["/other"], files["/other.tok"] = model(t, "hidden")
    jobs = {"cut": ("model=/cut", "/cut: the file is truncated"),
            "page": ("model=/page", "/page: the file is truncated"),
            "long": ("model=/long", "longer than its header says"),
            "empty": ("model=/empty", "shorter than a checkpoint's header"),
            "short": ("model=/short", "shorter than a checkpoint's header"), "text": ("model=/text", "is not between"),
            "first": ("model=/first", "of version 1 of llama2.c's format"),
            "second": ("model=/second", "version 2 of llama2.c's"),
            "absurd": ("model=/absurd", "seq_len is not between"), "huge": ("model=/huge", "the file is truncated"),
            "zero": ("model=/zero", "dim is not between"), "heads": ("model=/heads", "dim is no multiple of n_heads"),
            "minimum": ("model=/minimum", "vocab_size is not between"), "none": ("model=/none", "/none: no such file"),
            "folder": ("model=/shards", "not a regular file"), "no-tok": ("tokenizer=/none", "/none: no such file"),
            "few": ("tokenizer=/other.tok", "fewer tokens than the model's vocabulary"),
            "more": ("model=/other tokenizer=/tokenizer.bin", "more tokens than the model's vocabulary"),
            "half": ("tokenizer=/half.tok", "reaches past the end of the file"),
            "prompt": ("prompt=" + "q7 " * 200, "but the model's context holds"),
            "steps": ("steps=ten", "steps= wants a whole number"), "minus": ("steps=-1", "steps= wants a whole number"),
            "temp": ("temperature=-1", "temperature= wants a number"),
            "nan": ("temperature=nan", "temperature= wants a number"),
            "topp": ("topp=1.5", "topp= wants a number from 0 to 1"),
            "seed": ("seed=0", "seed= wants a whole number above 0"),
            "what": ("colour=blue", "unknown argument")}
    return jobs, files


def test_bad_input(t):
    """Bad checkpoints, tokenizers, prompts and numbers: one clear line and exit code 1 each; others finish with 0."""
    jobs, files = bad_jobs(t)
    manifest = {name: args for name, (args, _) in jobs.items()}
    extra = '\nshard good /shards/llama-inference args="steps=20 prompt=Once"' + \
            '\nshard after /shards/llama-inference after=what args="steps=20 prompt=Once"'
    result = start_jobs(t, manifest, files, extra=extra, expect=1).wait()
    endings = result.endings()
    t.equal(endings.pop("good", None), 0, "end of a shard that runs beside them")
    t.equal(endings.pop("after", None), 0, "end of a shard that runs after them")
    t.equal(endings, {name: 1 for name in jobs}, "ends")
    messages = [line for line in result.lines if line.startswith("llama-inference: ") and " tokens in " not in line]
    t.equal(len(messages), len(jobs), "messages")
    # Lines of different shards that wait while another has an open line may change places; the longest words find
    # theirs first.
    for name, (_, words) in sorted(jobs.items(), key=lambda job: -len(job[1][1])):
        line = next((line for line in messages if words in line), None)
        t.check(line, "%s: `%s` is in none of: %s" % (name, words, messages))
        messages.remove(line)
    t.check("PANIC" not in result.text and " 0 killed, " in result.text, "something was killed")


def test_bad_pipelines(t):
    """Stages that do not fit the model or each other: every stage says so and exits with 1; another shard finishes."""
    files = {}
    files["/other"], files["/other.tok"] = model(t, "hidden")
    args = "steps=20 prompt=Once"
    other = "model=/other tokenizer=/other.tok steps=20"
    layers, good = numbers_of(os.path.join(t.root, STORIES))[2], halves(t)
    jobs = {"beyond": (args, args, "0-2,3-%d" % layers), "few": (args, args, "0-0,1-%d" % (layers - 2)),
            "late": (args, args, "1-2,3-%d" % (layers - 1)), "models": (args, other, "0-0,1-2"),
            "mixed": (other, args, good),
            "prompt": (args, "prompt=" + "q7 " * 200, good), "file": ("model=/none", args, good)}
    extra = '\nshard good /shards/llama-inference args="steps=20 prompt=Once"'
    result = start_jobs(t, jobs, files, extra=extra, expect=1).wait()
    endings = result.endings()
    t.equal(endings.pop("good", None), 0, "end of a shard that runs beside them")
    t.equal(endings, dict([(name + "-a", 1) for name in jobs] + [(name, 1) for name in jobs]), "ends")
    for name in jobs:
        number = re.search(r"Shard (\d+) \(%s\) ended" % name, result.text)
        t.check(number, name + " did not end")
    messages = [line for line in result.lines if line.startswith("llama-pipeline: stage ")]
    t.check(len(messages) == 2 * len(jobs), "%d messages of %d stages" % (len(messages), 2 * len(jobs)))


# ---- Memory, and text as it is made ----


def frames(t, result, name):
    """Returns how many frames a shard had at most."""
    found = re.search(r"^Shard \d+ \(%s\) ended: .*, at most (\d+) frames$" % re.escape(name), result.text, re.M)
    t.check(found, "no line says how many frames %s had" % name)
    return int(found.group(1))


def large_model(t):
    """Returns the paths of a model of 16 MB and of its tokenizer."""
    paths = [os.path.join(t.scratch, name) for name in ("large.bin", "large.tok")]
    t.sh([program(t, "random_model"), 288, 768, 4, 6, 6, 512, 64] + paths, expect=0)
    return paths


def test_model_in_memory_once(t):
    """Three shards with a model of 16 MB run at the same time in 64 MiB: its pages are mapped, not copied."""
    checkpoint, tokenizer = large_model(t)
    size = os.path.getsize(checkpoint)
    t.check(size > 15 << 20, "the model has only %d bytes" % size)
    args = "model=/large tokenizer=/large.tok steps=12 prompt=abc"
    jobs = {"pipe": (args, args, "0-1,2-3")}
    extra = '\nshard beside /shards/llama-inference args="%s"' % args
    boot = start_jobs(t, jobs, {"/large": checkpoint, "/large.tok": tokenizer}, extra=extra, expect=0, verbose=True,
                      options=["-m", "64M"])
    result = boot.wait()
    t.equal(result.endings(), {"pipe-a": 0, "pipe": 0, "beside": 0}, "ends")
    text = host_text(t, {"/large": checkpoint, "/large.tok": tokenizer}, args)
    t.check(all(line.encode() in result.raw for line in text.decode().split("\n")), "the text is not the host's")
    for name in jobs.keys() | {"pipe-a", "beside"}:
        used = frames(t, result, name) * 4096
        t.check(used < size / 8, "%s held %d bytes of its own, the model has %d" % (name, used, size))
    free = int(re.search(r"; (\d+) frames free$", result.text, re.M).group(1)) * 4096
    t.check(free < 3 * size, "the machine is so large that three copies would fit: %d bytes" % free)


def test_token_by_token(t):
    """The text reaches the user piece by piece, while it is being made; each token is a call of its own."""
    checkpoint, tokenizer = large_model(t)
    args = "model=/large tokenizer=/large.tok steps=40 temperature=1 topp=1 prompt=a"
    boot = start_jobs(t, {"slow": args}, {"/large": checkpoint, "/large.tok": tokenizer})
    seen, lengths = b"", set()
    while b"tokens in" not in seen:
        data = boot.more()
        t.check(data, "the console ended too early")
        seen += data
        text = seen.rpartition(b" on\n")[2]  # the supervisor's last line before the text
        if text and b"\n" not in text:
            lengths.add(len(text))
    result = boot.wait()
    t.equal(result.status, 0, "exit status")
    t.check(len(lengths) >= 5, "the text came in only %d pieces" % len(lengths))
    written = int(re.search(r"(\d+) tokens in", result.text).group(1))
    calls = result.profile()["slow"]["syscalls"]
    t.check(calls >= written, "%d tokens were printed with %d calls" % (written, calls))
