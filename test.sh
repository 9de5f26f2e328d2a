#!/usr/bin/env bash
# test.sh: builds, runs the tests, prints one line a test and last `N passed, N failed`.
#
# The tools are looked for, and installed where possible, by the same code that build.sh uses; what runs is chosen and
# judged by tests/run.py. Read next: tests/run.py, tests/harness.py.
set -euo pipefail
self=test.sh
cd "$(dirname "$(realpath "${BASH_SOURCE[0]}")")"
source scripts/common.sh
source scripts/tools.sh
case " $* " in
*" --list "* | *" --help "* | *" -h "*) command -v python3 >/dev/null || require_tools ;; # which need nothing else
*)
	require_tools
	install_for_tests
	leash
	;;
esac
exec python3 tests/run.py "$@"
