#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the module's pure parts (the same files) with their tests for the host
# and runs them, and then fuzz.sh. With arguments, which go to the test program,
# only that.

set -euo pipefail
cd "$(dirname "$0")"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"${RUSTC:-rustc}" --edition 2021 --test --cfg rust_ipc_host --crate-name rust_ipc_pure \
	-C opt-level=1 -C debug-assertions=on -C overflow-checks=on \
	-D warnings -D unsafe_code -o "$out/rust_ipc_pure" pure.rs
"$out/rust_ipc_pure" "$@"
[ $# -gt 0 ] || ./fuzz.sh
