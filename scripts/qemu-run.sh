#!/usr/bin/env bash
# qemu-run.sh [OPTION...]: run.sh, under the name that it has in the earlier implementation.
# Read next: docs/from-rust.md.
exec "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")/run.sh" "$@"
