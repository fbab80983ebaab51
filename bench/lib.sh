# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts in this folder share that boot the machine themselves: building
# the benchmark, and which driver is beside this one in the kernel of KERNEL_CONFIG.

# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

# Arguments of tools/vm/run, and the benchmark's command there. (Used where this is
# sourced.)
# shellcheck disable=SC2034
case $KERNEL_CONFIG in
rust-binder)
	other=()
	bench="mkdir /dev/binderfs && mount -t binder binder /dev/binderfs &&
		bench -o 'Rust Binder' -c /dev/binderfs/binder"
	;;
small) other=(--oracle=binder) bench="bench -k" ;;
*) other=(--oracle=binder) bench=bench ;;
esac

# Build the module and the benchmark in the build root.
build_bench()
{
	"$TOP/tools/build" module
	mkdir -p "$TOP/build/bench"
	in_root "$TOP" gcc -O2 -Wall -Wextra -Wno-unused-result -static -pthread -D_GNU_SOURCE \
		-isystem /opt/kernel/usr/include -o build/bench/bench \
		bench/{bench,binder,ways,cases,memory,pairs,output}.c
}
