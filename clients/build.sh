#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# build.sh PACKAGES INTO: inside the build root, whose folder PACKAGES has what
# tools/setup-clients fetched, make INTO what is laid over the virtual machine's
# root for the tests with Binder programs of others.

set -euo pipefail

packages=$1 into=$2
cd "$(dirname "$0")"

# --- rsbinder: static programs

# What was built of others' crates is the same for each checkout.
target=x86_64-unknown-linux-gnu
export CARGO_TARGET_DIR=$packages/target CARGO_INCREMENTAL=0
export RUSTFLAGS="-C target-feature=+crt-static"
export PATH=$packages/usr/bin:$PATH LD_LIBRARY_PATH=$packages/usr/lib/x86_64-linux-gnu
exec 9>"$packages/lock"
flock 9

# test_program NAME CARGO-OPTION...: build the one test program that they select.
test_program()
{
	local name=$1
	shift

	cargo test --quiet --locked --target $target --no-run --message-format=json "$@" |
		../../tools/test-programs |
		while read -r _ _ path; do
			cp "$path" "$into/$name"
		done
}

mkdir -p "$into/bin"
cp -a selftests "$into/"
cp demo "$into/bin/clients-demo"
(
	cd rsbinder
	cargo build --quiet --locked --target $target -p rsbinder-digest -p rsbinder-tools --bins
	for program in rsbinder-digest rsb_hub rsb_service; do
		cp "$CARGO_TARGET_DIR/$target/debug/$program" "$into/bin/"
	done
	test_program selftests/client-rsbinder --test rsbinder
	# rsbinder's own unit tests, with the lock file that it comes with.
	manifest=$(cargo metadata --locked --format-version 1 --filter-platform $target | python3 -c '
import json, sys

packages = json.load(sys.stdin)["packages"]
print(*[package["manifest_path"] for package in packages if package["name"] == "rsbinder"])')
	CARGO_PROFILE_DEV_DEBUG=0 test_program bin/rsbinder-units --manifest-path "$manifest" --lib
)

# --- libgbinder and Waydroid: from packages, with what they need of the root

usr=$into/usr
python=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
libraries=lib/$(gcc -print-multiarch)
mkdir -p "$usr"/{bin,"$libraries"} "$into/etc"
cp gbinder.conf "$into/etc/"
cp /usr/bin/python3 "$usr/bin/"
[ ! -e "$packages/usr/bin/binder-list" ] || cp "$packages"/usr/bin/binder-{call,list,ping} "$usr/bin/"
# Without compiled code, a Python program takes seconds to start there.
python3 -m compileall -q "$packages/usr/lib/$python" "$packages"/usr/lib/{python3,waydroid} || true
for from in /usr "$packages/usr"; do
	for folder in "lib/$python" lib/python3 lib/waydroid "$libraries/girepository-1.0"; do
		[ ! -d "$from/$folder" ] || tar -C "$from" --exclude={test,idlelib,ensurepip,pydoc_data,turtledemo,sqlite3,'_sqlite3.*'} -ch "$folder"
	done | tar -C "$usr" -ix
done
# Dynamic linkers look here without being told.
find "$usr" -type f \( -path "$usr/bin/*" -o -name '*.so' \) -exec ldd {} + |
	sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | sort -u | while read -r library; do
	cp -L "$library" "$usr/$libraries/"
done
