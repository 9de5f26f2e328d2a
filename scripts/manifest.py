#!/usr/bin/env python3
"""manifest.py: writes the boot manifest of one run to stdout.

Fills in the placeholders of etc/coconut.conf, or lists the shards named with --shard instead. What the inference
shards get as args is `key=value` words with the prompt last (shards/lib/args.c). Arguments may hold any bytes, so
everything is handled as bytes. Read next: manifest.h, run.sh.
"""

import argparse
import os
import struct
import sys

ARGS_MAX = 1023  # COCONUT_ARGS_MAX without the final NUL
LAYERS_MAX = 65536  # MANIFEST_LAYER_MAX + 1
DEFAULTS = {"steps": "256", "temperature": "0.8", "topp": "0.9", "seed": "42", "prompt": "Once upon a time"}


def fail(text):
    sys.exit("run.sh: " + text)


def parse_command_line():
    """Returns the options; those of the model are None where they are not given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--template", help="fill in this manifest")
    parser.add_argument("--shard", action="append", default=[], help="list this shard, /shards/NAME (repeatable)")
    parser.add_argument("--model", help="the checkpoint that the run uses")
    for name in DEFAULTS:
        parser.add_argument("--" + name)
    return parser.parse_args()


def inference_args(options):
    """Returns the args string of the inference shards, unescaped."""
    words = []
    for name, default in DEFAULTS.items():
        value = getattr(options, name)
        value = os.fsencode(default if value is None else value)
        if name != "prompt" and (not value or any(byte <= 32 for byte in value)):
            fail(f"--{name} needs a number.")
        words.append(name.encode() + b"=" + value)
    args = b" ".join(words)
    if b"\n" in args:
        fail("a prompt cannot hold a line break: the manifest is read line by line.")
    if len(args) > ARGS_MAX:
        fail(f"the prompt is {len(args) - ARGS_MAX} bytes too long: a shard's args hold {ARGS_MAX} bytes in all.")
    return args


def quote(args):
    """Returns args as they stand between the quotation marks of args="..."."""
    return args.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def split_layers(model):
    """Returns the layers of a checkpoint in two halves, "0-2,3-4", or None when they cannot be split."""
    try:
        with open(model, "rb") as checkpoint:
            layers = struct.unpack("<7i", checkpoint.read(28))[2]
    except (OSError, struct.error):
        return None
    if not 2 <= layers <= LAYERS_MAX:
        return None
    half = (layers + 1) // 2
    return f"0-{half - 1},{half}-{layers - 1}".encode()


def fill_template(template, args, layers):
    """Returns the template with its placeholders replaced. Without layers to split, the two stages are left out."""
    lines = []
    for line in template.splitlines(keepends=True):
        if layers is None and (b"stage0" in line or b"stage1" in line):
            continue
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
    if options.shard:
        manifest = list_shards(options)
    else:
        layers = split_layers(options.model)
        if layers is None:
            print("run.sh: the model has no two layers to share out, so only one shard runs it.", file=sys.stderr)
        with open(options.template, "rb") as template:
            manifest = fill_template(template.read(), inference_args(options), layers)
    sys.stdout.buffer.write(manifest)


main()
