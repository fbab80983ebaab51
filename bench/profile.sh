#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# profile.sh ROW [WAY]: the instructions that a step of a row of the benchmark
# takes, by function of kernel and module; the locks that it takes, and its
# locked instructions. WAY is "rust_ipc", "C Binder", "SEQPACKET" or "pipes", and
# on the kernel that has that "Rust Binder". Two runs differ in the number of steps
# alone; what they differ in besides is the steps'. STEPS= says how many: a step of
# "one-way" is 500 messages.

# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

row=${1:-} way=${2:-rust_ipc} steps=${STEPS:-1000}
[ -n "$row" ] || die "which row of 'make bench'? make profile CASE=\"call, 128 B\" [WAY=\"C Binder\"]"

build_bench
in_root "$TOP" gcc -O2 -Wall -Wextra -shared -fPIC -o build/bench/insn_profile.so bench/insn_profile.c

work=$(mktemp -d /tmp/rust_ipc-profile.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cp "$TOP/build/bench/insn_profile.so" "$work/"

# run STEPS OUT: its blocks go to OUT, and the symbols to symbols.
run()
{
	ICOUNT=1 QEMU_ARGS="-plugin $work/insn_profile.so,out=$work/$2" \
		"$TOP/tools/vm/run" ${other[@]+"${other[@]}"} --add "$TOP/build/bench/bench=/bin/bench" \
		--append "nokaslr noreplace-smp" --timeout "${TIMEOUT:-1800}" \
		--cmd "cat /proc/kallsyms; $bench -p $1 -w '$way' '$row'" >"$work/output" ||
		{ grep -v '^[0-9a-f]\{16\} ' "$work/output" >&2; exit 1; }
	grep '^[0-9a-f]\{16\} ' "$work/output" >"$work/symbols"
}

few=$((steps / 5)) many=$((steps / 5 + steps))
step "a run of $few steps"
run $few few
step "a run of $many steps"
run $many many
in_root "$work" python3 "$TOP/bench/report.py" "$steps" symbols few many
