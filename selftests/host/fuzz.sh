#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the module's pure parts (the same files) with LLVM's coverage and
# AddressSanitizer, and drives them for FUZZ_SECONDS (8).

set -euo pipefail
cd "$(dirname "$0")"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Debian's rustc has no runtime of AddressSanitizer's; GCC's does as well. What is
# built is no test program, but has the tests' models.
RUSTC_BOOTSTRAP=1 "${RUSTC:-rustc}" --edition 2021 --crate-name rust_ipc_fuzz \
	--cfg rust_ipc_host --cfg rust_ipc_fuzz --cfg test -A explicit_builtin_cfgs_in_flags \
	-C opt-level=2 -C codegen-units=1 -C debug-assertions=on -C overflow-checks=on \
	-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=3 \
	-C llvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Z sanitizer=address -Z external-clangrt \
	-C link-args='-Wl,--push-state,--no-as-needed,-Bdynamic -lasan -Wl,--pop-state' \
	-D warnings -o "$out/rust_ipc_fuzz" fuzz.rs
# It has to be the first library, and rustc puts what it is told to link last.
LD_PRELOAD=$(gcc -print-file-name=libasan.so) "$out/rust_ipc_fuzz"
