#!/usr/bin/env bash
# grade.sh: grades one lab, or shows the labs. Read next: labs/README.md, then labs/lib/grade.py, which does all of it.
set -euo pipefail
self=grade.sh
caller_dir=$PWD
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
source scripts/common.sh
source scripts/tools.sh
require_tools
command -v gdb >/dev/null || die "the labs need gdb: sudo apt-get install -y --no-install-recommends gdb"
leash
exec python3 labs/lib/grade.py --from "$caller_dir" "$@"
