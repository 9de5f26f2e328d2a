#!/bin/sh
# Makes everything about the embedded model again, from the plots to the checked weights.
# Owns the order of the steps and every number that decides the result: stories, seeds, training steps, temperature.
# Needs gcc and python3 only; works in build/model (or $OUT). Read next: README.md, corpus.py.
#
#   ./make.sh            corpus, tokenizer, training (half an hour on one core), samples, check; replaces the two .bin files
#   ./make.sh check      samples 100 stories from the committed files and judges them, after the tests of the tools
#   ./make.sh samples N  prints the stories of seeds 1 to N
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/../build/model}
STORIES=8000        # more stories teach little and raise the chance that 30 tokens in a row have stood somewhere before
TRAIN_SEED=1
HELD_OUT=500
HELD_OUT_SEED=2
STEPS=4600
TEMPERATURE=0.8
TOPP=0.9            # llama2.c's default
SAMPLES=100
CFLAGS="-O3 -march=native -ffast-math -std=gnu11 -Wall -Wextra"

# Builds the trainer, and the same source in double precision for the gradient check.
build() {
    mkdir -p "$out"
    gcc $CFLAGS -o "$out/train" "$here/train.c" -lm
    gcc $CFLAGS -DREAL=double -o "$out/gradcheck" "$here/train.c" -lm
}

corpus() {
    python3 "$here/corpus.py" $STORIES $TRAIN_SEED > "$out/corpus.txt"
    python3 "$here/corpus.py" $HELD_OUT $HELD_OUT_SEED > "$out/held-out.txt"
}

# Finite differences prove the backward pass, planted faults prove the checker. Both take about 2 s.
test_tools() {
    "$out/gradcheck" gradcheck
    python3 "$here/check.py" --self-test "$here/tokenizer.bin"
}

tokens() {
    python3 "$here/tokenizer.py" train "$out/corpus.txt" "$here/tokenizer.bin"
    python3 "$here/tokenizer.py" encode "$here/tokenizer.bin" "$out/corpus.txt" "$out/corpus.bin"
    python3 "$here/tokenizer.py" encode "$here/tokenizer.bin" "$out/held-out.txt" "$out/held-out.bin"
}

# Prints the stories of seeds 1 to $1 from the model in this folder.
samples() {
    "$out/train" sample "$here/stories.bin" "$here/tokenizer.bin" $TEMPERATURE $TOPP 1 "$1"
}

check() {
    test_tools
    samples $SAMPLES > "$out/samples.txt"
    python3 "$here/check.py" "$out/corpus.txt" "$here/tokenizer.bin" "$out/samples.txt"
}

case ${1:-all} in
all)
    build
    corpus
    tokens
    "$out/train" train "$out/corpus.bin" "$out/held-out.bin" "$here/stories.bin" $STEPS
    check
    ;;
check)
    build
    corpus
    check
    ;;
samples)
    build
    samples "${2:-20}"
    ;;
*)
    echo "usage: make.sh [check | samples N]" >&2
    exit 2
    ;;
esac
