#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# pairs.sh: wall-clock time of 1, 2, 4 and 8 pairs of processes on as many
# virtual CPUs. Where the host has fewer, the CPUs take turns, and all ways get
# slower alike: the ratios stay.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

export RESULTS=$TOP/build/bench/pairs.json CPUS=${CPUS:-8} ICOUNT=
step "$CPUS virtual CPUs on $(nproc) of the host's"
"$TOP/bench/run.sh" "$@" pairs
