#!/usr/bin/env python3
"""manifest.py: writes the boot manifest of one run to stdout.

Fills in the placeholders of etc/coconut.conf, or of a user's manifest, or lists the shards named with --shard instead.
What the inference shards get as args is `key=value` words with the prompt last (shards/lib/args.c). Arguments may hold
any bytes, so everything is handled as bytes.

With --check it writes nothing, and says what the shards would find wrong with the options of the model, before anything
is built. Read next: manifest.h, run.sh.
"""

import argparse
import os
import re
import struct
import sys

ARGS_MAX = 1023  # COCONUT_ARGS_MAX without the final NUL
LAYERS_MAX = 65536  # MANIFEST_LAYER_MAX + 1
U64_MAX = (1 << 64) - 1
MAGIC = b"24ka"  # of llama2.c's checkpoints from version 1 on: 0x616b3432
HEADER = struct.Struct("<7i")  # of version 0: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
VOCABULARY = 5  # which of them may be negative
LARGEST = 1 << 24  # of any of them, as in shards/lib/checkpoint.c
FIRST_BYTE_TOKEN = 3  # of 256 that stand for single bytes, as in shards/lib/tokenizer.c
WHOLE, FRACTION = rb"[0-9]+", rb"(?=(?:\.?[0-9]){1,15}\.?$)[0-9]*\.?[0-9]*"
DEFAULTS = {"steps": "256", "temperature": "0.8", "topp": "0.9", "seed": "42", "prompt": "Once upon a time"}


def say(text):
    sys.stderr.reconfigure(errors="backslashreplace")  # a terminal may not be able to show what was typed
    print("run.sh: " + text, file=sys.stderr)


def fail(text):
    say(text)
    sys.exit(1)


def parse_command_line():
    """Returns the options; those of the model are None where they are not given."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description="Writes the boot manifest of one run.")
    parser.add_argument("--template", help="fill in this manifest")
    parser.add_argument("--shard", action="append", default=[], help="list this shard, /shards/NAME (repeatable)")
    parser.add_argument("--model", help="the checkpoint that the run uses")
    parser.add_argument("--check", action="store_true", help="only look at the options of the model")
    parser.add_argument("--tokenizer", help="what --check compares the prompt with")
    for name in DEFAULTS:
        parser.add_argument("--" + name)
    return parser.parse_args()


def inference_args(options):
    """Returns the args string of the inference shards, unescaped."""
    words = []
    for name, default in DEFAULTS.items():
        value = getattr(options, name)
        value = os.fsencode(default if value is None else value)
        words.append(name.encode() + b"=" + value)
    args = b" ".join(words)
    if b"\n" in args:
        fail("a prompt cannot hold a line break: the manifest is read line by line.")
    if len(args) > ARGS_MAX:
        fail(f"the prompt is {len(args) - ARGS_MAX} bytes too long: a shard's args hold {ARGS_MAX} bytes in all.")
    return args


def check_numbers(options):
    """Gives up at the first number that the shards would refuse (shards/lib/llama_options.c)."""
    rules = (("steps", WHOLE, lambda n: n <= U64_MAX, "a whole one; 0 is the whole context"),
             ("temperature", FRACTION, lambda n: True, "such as 0.8; 0 is greedy"),
             ("topp", FRACTION, lambda n: n <= 1, "from 0 to 1"),
             ("seed", WHOLE, lambda n: 0 < n <= U64_MAX, "a whole one above 0"))
    for name, form, allowed, words in rules:
        given = getattr(options, name)
        value = os.fsencode(given or "")
        kind = int if form is WHOLE else float
        if given is not None and not (re.fullmatch(form, value) and allowed(kind(value))):
            fail(f"--{name} needs a number, {words}; this is none: {shown(value)}")


def shown(text):
    """Returns bytes as a part of one line."""
    return "".join(c if c.isprintable() else "?" for c in text.decode(errors="replace"))


def read_vocabulary(path):
    """Returns the tokens of a tokenizer, None: the shards will say what is wrong with it."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        tokens, at = [], 4
        while at < len(data):
            length, = struct.unpack_from("<i", data, at + 4)
            if length < 1:
                return None
            tokens.append(data[at + 8:at + 8 + length])
            at += 8 + length
        return tokens if at == len(data) else None
    except (OSError, struct.error):
        return None


def check_prompt(prompt, tokens, must_fit=True):
    """Names the characters of a prompt that have no token. Where single bytes have tokens the model gets those, and the
    console shows none of them; where they have none the prompt is refused, unless it need not fit."""
    known = set(tokens)
    missing = []
    for character in re.findall(rb"[^\x80-\xbf][\x80-\xbf]{0,3}|[\x80-\xbf]{1,4}", prompt, re.S):
        printed = re.fullmatch(rb"[\t-\r -~]", character) and FIRST_BYTE_TOKEN + character[0] < len(tokens)
        if character not in known and not printed and character not in missing:
            missing.append(character)
    if not missing:
        return
    names = ", ".join(shown(character) for character in missing)
    if must_fit and any(FIRST_BYTE_TOKEN + byte >= len(tokens) for character in missing for byte in character):
        fail(f"--prompt: the tokenizer has no token for these characters: {names}")
    say(f"the tokenizer has no token for these characters of a prompt: {names}; the model gets their bytes, which are "
        f"not printed.")


def check_args(manifest, tokenizer):
    """Names the same characters in the prompts that stand in a manifest, for shards that bring no tokenizer of their
    own."""
    tokens = read_vocabulary(tokenizer) if tokenizer else None
    for args in re.findall(rb'^[^#\n]*\bargs="((?:[^"\\\n]|\\.)*)"', manifest, re.M) if tokens else ():
        words, _, prompt = args.partition(b"prompt=")
        if b"tokenizer=" not in words:
            check_prompt(re.sub(rb"\\(.)", rb"\1", prompt), tokens, must_fit=False)


def check_model(path, tokens):
    """Gives up where the shards do not run a checkpoint, as its header tells, or where it is not one for these
    tokens."""
    try:
        with open(path, "rb") as file:
            header = file.read(HEADER.size)
        numbers = HEADER.unpack(header)
    except OSError:
        return  # a tree without a model
    except struct.error:
        fail(f"--model: {path} is shorter than the header of a checkpoint.")
    if header.startswith(MAGIC):
        version = numbers[1]
        fail(f"--model: {path} is a checkpoint of llama2.c's version {version}; export it as version 0 (export.py "
             f"--version 0).")
    vocabulary = abs(numbers[VOCABULARY])
    if not all(0 < number <= LARGEST for number in numbers[:VOCABULARY] + (vocabulary, numbers[-1])):
        fail(f"--model: {path} is no checkpoint of llama2.c.")
    if tokens and len(tokens) != vocabulary:
        fail(f"the model's vocabulary has {vocabulary} tokens, and the tokenizer {len(tokens)}: --tokenizer names "
             f"another.")


def check(options):
    """Looks at the options of the model."""
    check_numbers(options)
    inference_args(options)
    tokens = read_vocabulary(options.tokenizer)
    check_model(options.model, tokens)
    if tokens and options.prompt is not None:
        check_prompt(os.fsencode(options.prompt), tokens)


def quote(args):
    """Returns args as they stand between the quotation marks of args="..."."""
    return args.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def split_layers(model):
    """Returns the layers of a checkpoint in two halves, "0-2,3-4", or None when they cannot be split."""
    try:
        with open(model, "rb") as checkpoint:
            layers = HEADER.unpack(checkpoint.read(HEADER.size))[2]
    except (OSError, struct.error):
        return None
    if not 2 <= layers <= LAYERS_MAX:
        return None
    half = (layers + 1) // 2
    return f"0-{half - 1},{half}-{layers - 1}".encode()


def fill_template(template, args, layers):
    """Returns the template with its placeholders replaced. Without layers to split, lines about stages are made
    comments."""
    lines = []
    for line in template.splitlines(keepends=True):
        if layers is None and (b"stage0" in line or b"stage1" in line):
            line = b"# " + line
        if not line.startswith(b"#"):
            line = line.replace(b"@LAYERS@", layers or b"").replace(b"@ARGS@", quote(args))
        lines.append(line)
    return b"".join(lines)


def list_shards(options):
    """Returns a manifest of the shards of --shard. They get args only when an option of the model was given."""
    given = any(getattr(options, name) is not None for name in DEFAULTS)
    args = b' args="%s"' % quote(inference_args(options)) if given else b""
    return b"".join(b"shard %s /shards/%s%s\n" % (os.fsencode(name), os.fsencode(name), args) for name in options.shard)


def main():
    options = parse_command_line()
    if options.check:
        check(options)
        return
    if options.shard:
        manifest = list_shards(options)
    else:
        with open(options.template, "rb") as file:
            template = file.read()
        shared = re.search(rb"^[^#\n]*@LAYERS@", template, re.M)
        layers = split_layers(options.model) if shared else b""
        if layers is None:
            say("the model has no two layers to share out, so only one shard runs it.")
        check_args(template, options.tokenizer)
        manifest = fill_template(template, inference_args(options), layers)
    try:
        sys.stdout.buffer.write(manifest)
        sys.stdout.flush()
    except OSError as problem:
        say("the manifest cannot be written: " + problem.strerror)
        os._exit(1)  # what stdout still holds cannot be written either


main()
