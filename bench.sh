#!/usr/bin/env bash
# bench.sh: prints the benchmark table: what each operation costs in guest instructions. bench.sh --steps prints instead
# how the instructions of one operation are spread over the kernel's functions.
# Read next: scripts/bench.py, which does all of it.
set -euo pipefail
self=bench.sh
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
source scripts/common.sh
leash
exec python3 scripts/bench.py "$@"
