#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# plots.sh [ARGUMENT...]: measure what is plotted, and write the plots to
# build/bench/*.svg. The arguments are the benchmark's, such as -q.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

"$TOP/tools/setup-plots"
export RESULTS=$TOP/build/bench/plots.json
"$TOP/bench/run.sh" -x "$@" calls cold buffers handles
# The program is for the shell in the root.
# shellcheck disable=SC2016
in_root "$TOP" bash -euo pipefail -c '
	python3 bench/plots.py "$1" build/bench |
		LD_LIBRARY_PATH=$2/usr/lib/x86_64-linux-gnu "$2/usr/bin/gnuplot-nox"
' plots "$RESULTS" "$(plots_folder)"
ls "$TOP"/build/bench/*.svg
