#!/usr/bin/env bash
# bench.sh: prints the benchmark table: what each operation costs in guest instructions. bench.sh --steps prints instead
# how the instructions of one operation are spread over the kernel's functions.
#
# The benchmark build differs from the product in one bit: ring 3 may read the time stamp counter (CR4.TSD is off).
# Read next: scripts/bench.py, tests/bench/bench/main.c.
set -euo pipefail
case ${1:-} in
'' | --steps) ;;
-h | --help)
	echo "usage: ./bench.sh [--steps]: prints what operations cost in guest instructions, or how one spreads over the kernel"
	exit 0
	;;
*)
	echo "bench.sh: unknown option $1; --help lists what there is." >&2
	exit 1
	;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")"
./build.sh
./build.sh --out build/variants/bench --define ABLATION=ABLATION_tsd
for shard in bench peer crowd victim first token; do
	scripts/build-shard.sh "tests/bench/$shard" build/bench "$shard"
done
scripts/build-shard.sh tests/bench/steps build/bench steps
[[ ${1:-} != --steps ]] || exec python3 scripts/bench_steps.py
exec python3 scripts/bench.py
