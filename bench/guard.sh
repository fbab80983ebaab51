#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# guard.sh [--update]: does any row cost more than bench/budget has for it? With
# --update that file is written anew. The machine's clock counts instructions, so
# that it does not matter what else the host does.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

export RESULTS=$TOP/build/bench/guard.json
log=$TOP/build/bench/guard.log
mkdir -p "$TOP/build/bench"
ICOUNT=1 "$TOP/bench/run.sh" -g >"$log" 2>&1 || {
	cat "$log" >&2
	die "the benchmark did not run"
}
in_root "$TOP" python3 bench/budget.py "$RESULTS" bench/budget "$@"
