#!/usr/bin/env bash
# students-copy.sh [--lab NN] OUT: makes the folder OUT, a copy of this project for students: without solutions/,
# without what was built, and with a history of one commit. With --lab it is the starting state of that lab, and no
# start.patch is in it, since that would give the fault away.
# Read next: labs/README.md.
set -euo pipefail
self=students-copy.sh
caller_dir=$PWD
cd "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")"
source scripts/common.sh

lab=
if [[ ${1:-} == --lab && ${2:-} ]]; then
	lab=$(compgen -G "labs/$2-*/start.patch") || die "there is no lab $2; ./grade.sh --list shows them."
	shift 2
fi
(($# == 1)) && [[ $1 != -* ]] || die "usage: scripts/students-copy.sh [--lab NN] OUT"
out=$(cd "$caller_dir" && realpath -m -- "$1")
[[ ! -e $out ]] || die "$1 exists already."

# What is half made never has the name that was asked for.
final=$out
out=$final.half
rm -rf "$out"
trap 'rm -rf "$out"' EXIT
mkdir -p "$out"
tar -c --exclude=./build --exclude=./solutions --exclude=./.git --exclude=__pycache__ . | tar -x -C "$out"
cd "$out"
git init -q -b main .
if [[ $lab ]]; then
	git apply "$lab" || die "$lab does not apply any more; see labs/README.md."
	rm labs/*/start.patch
fi
git add -A
git -c gc.auto=0 -c user.name=coconutOS -c user.email=labs@localhost -c commit.gpgsign=false \
	commit -q -m "The state that was handed out"
mv -T "$out" "$final"
say "made $final; students begin with labs/README.md there."
