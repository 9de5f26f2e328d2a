#!/bin/sh
# Makes everything about the embedded model again, from the plots to the checked weights.
# Owns the order of the steps and every number that decides the result: stories, seeds, training steps, temperature.
# Needs gcc and python3 only; works in build/model (or $OUT). Read next: README.md, corpus.py.
#
#   ./make.sh            corpora, tokenizer, training (an hour on one core), samples, check; replaces the two .bin files
#   ./make.sh check      samples 100 stories from the committed files and judges them, after the tests of the tools
#   ./make.sh samples N  prints the stories of seeds 1 to N
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/../build/model}
STORIES=40000       # the first corpus: 8,000 stories, each told five times with other names and things
TRAIN_SEED=1
TELLINGS=5
MORE_STORIES=60000  # the second corpus: 30,000 other stories, each told twice, so that no wording is learned by heart
MORE_SEED=3
MORE_TELLINGS=2
HELD_OUT=500
HELD_OUT_SEED=2
STEPS=8500
RATE=3e-3
MORE_STEPS=6000
MORE_RATE=2e-3
TEMPERATURE=0.8
TOPP=0.9            # llama2.c's default
SAMPLES=100
CFLAGS="-O3 -march=native -ffast-math -std=gnu11 -Wall -Wextra"

# Builds the trainer, and the same source in double precision for the gradient check.
build() {
    mkdir -p "$out"
    # shellcheck disable=SC2086 # several options
    gcc $CFLAGS -o "$out/train" "$here/train.c" -lm
    # shellcheck disable=SC2086 # several options
    gcc $CFLAGS -DREAL=double -o "$out/gradcheck" "$here/train.c" -lm
}

corpus() {
    python3 "$here/corpus.py" $STORIES $TRAIN_SEED $TELLINGS > "$out/corpus1.txt"
    python3 "$here/corpus.py" $MORE_STORIES $MORE_SEED $MORE_TELLINGS > "$out/corpus2.txt"
    cat "$out/corpus1.txt" "$out/corpus2.txt" > "$out/corpus.txt"
    python3 "$here/corpus.py" $HELD_OUT $HELD_OUT_SEED > "$out/held-out.txt"
}

# Finite differences prove the backward pass, planted faults prove the checker. Both take about 2 s.
test_tools() {
    "$out/gradcheck" gradcheck
    python3 "$here/check.py" --self-test "$here/tokenizer.bin"
}

tokens() {
    python3 "$here/tokenizer.py" train "$out/corpus1.txt" "$here/tokenizer.bin"
    for text in corpus1 corpus2 held-out; do
        python3 "$here/tokenizer.py" encode "$here/tokenizer.bin" "$out/$text.txt" "$out/$text.bin"
    done
}

learn() {
    "$out/train" train "$out/corpus1.bin" "$out/held-out.bin" "$out/first.bin" $STEPS $RATE
    "$out/train" train "$out/corpus2.bin" "$out/held-out.bin" "$here/stories.bin" \
        $MORE_STEPS $MORE_RATE "$out/first.bin"
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
    learn
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
