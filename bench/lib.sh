#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the module and the benchmark in the build root.

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../tools/lib.sh"

"$TOP/tools/build" module
mkdir -p "$TOP/build/bench"
in_root "$TOP" gcc -O2 -Wall -Wextra -Wno-unused-result -static -pthread -D_GNU_SOURCE \
	-isystem /opt/kernel/usr/include -o build/bench/bench \
	bench/{bench,binder,ways,cases,memory,pairs,output}.c
