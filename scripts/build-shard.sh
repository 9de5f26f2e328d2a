#!/usr/bin/env bash
# build-shard.sh [--debug] DIR OUTPUT-DIR [NAME]: builds the shard in DIR, a folder inside or outside the tree, as
# OUTPUT-DIR/NAME.elf and NAME.bin. NAME is the folder's name when it is not given. --debug: for steps in gdb.
# Read next: scripts/shards.sh.
set -euo pipefail
self=build-shard.sh
root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")

debug=
[[ ${1:-} != --debug ]] || { debug=1 && shift; }
(($# == 2 || $# == 3)) || { echo "usage: scripts/build-shard.sh [--debug] DIR OUTPUT-DIR [NAME]" >&2; exit 2; }
[[ -d $1 ]] || { echo "$self: there is no folder $1." >&2; exit 1; }
dir=$(realpath "$1")
mkdir -p "$2"
output=$(realpath "$2")

cd "$root"
out_dir=build${debug:+/debug}
source scripts/common.sh
source scripts/shards.sh
[[ ! $debug ]] || use_debug_shard_flags
announced=1 # one shard compiles at once
lock_build
name=${3:-$(basename "$dir")}
learn_all shards/* shards/lib/* coconut.h include/* "$out_dir"/shards/{,lib/}*.cmd "$output/$name"{.*,.objects/*}.cmd
build_shard_library
build_shard "$dir" "$output" "$name"
