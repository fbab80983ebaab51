#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run.sh [ARGUMENT...]: build the benchmark in the build root and run it in the
# virtual machine, with this driver and the C driver loaded, and with a clock
# that counts instructions. ICOUNT= (empty) lets the clock be a clock. The
# arguments are the benchmark's: -q for a quick look, names of cases.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

"$TOP/bench/build.sh"
[ -n "${ICOUNT-1}" ] && export ICOUNT=1
"$TOP/tools/vm/run" --oracle=binder --add "$TOP/build/bench/bench=/bin/bench" \
	--timeout "${TIMEOUT:-1800}" --cmd "exec bench $*"
