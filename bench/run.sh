#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh [ARGUMENT...]: build the benchmark in the build root and run it in the
# virtual machine, with this driver and the C driver loaded (or, on the kernel that
# has that, beside the kernel's own Rust driver), and with a clock that counts
# instructions. ICOUNT= (empty) lets the clock be a clock. The
# arguments are the benchmark's: -q for a quick look, names of cases. RESULTS
# says where the results go for programs to read (build/bench/results.json, or
# results-KERNEL_CONFIG.json there).

# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

build_bench
[ -n "${ICOUNT-1}" ] && export ICOUNT=1
results=${RESULTS:-$TOP/build/bench/results${KERNEL_CONFIG:+-$KERNEL_CONFIG}.json}
rm -f "$results"
# What follows the mark is the file.
mark="=== results"
"$TOP/tools/vm/run" ${other[@]+"${other[@]}"} --add "$TOP/build/bench/bench=/bin/bench" \
	--timeout "${TIMEOUT:-1800}" \
	--cmd "$bench ${ICOUNT:+-i} -j /tmp/results $* && echo '$mark' && cat /tmp/results" |
	awk -v mark="$mark" -v file="$results" '
		$0 == mark { writes = 1; next }
		writes { print >file; next }
		{ print; fflush() }'
[ -s "$results" ] || die "there are no results"
