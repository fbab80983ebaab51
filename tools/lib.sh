# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts in this folder share: where things are, how progress is
# shown, how a command is run in the build root.

set -euo pipefail
# chroot and mount are no programs of an ordinary user.
PATH=$PATH:/usr/sbin:/sbin

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/rust_ipc

# A kernel series ("7.3": its newest release on offer) or one release ("7.3.4").
KERNEL=${KERNEL:-7.3}

# A kernel of our own in the stock kernel's place: the name of a .config of tools/own-kernel.
KERNEL_CONFIG=${KERNEL_CONFIG:-}

# root_path: where the build root of KERNEL_CONFIG is. Its name changes whenever
# what goes into it does.
root_path()
{
	local parts=("$TOP"/tools/setup{,-kernel}) key

	[ -z "$KERNEL_CONFIG" ] ||
		parts+=("$TOP/tools/setup-own-kernel"
			"$TOP/tools/own-kernel/"{build,machine.config,checks.config,"$KERNEL_CONFIG.config"})
	key=$(cat "${parts[@]}" | sha256sum | cut -c1-12)
	echo "$CACHE/root-$KERNEL${KERNEL_CONFIG:+-$KERNEL_CONFIG}-$key"
}

# Where the root has what tools/setup-clients puts there.
clients_folder()
{
	echo "/opt/clients-$(sha256sum <"$TOP/tools/setup-clients" | cut -c1-12)"
}

# The same for tools/setup-plots.
plots_folder()
{
	echo "/opt/plots-$(sha256sum <"$TOP/tools/setup-plots" | cut -c1-12)"
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

[ -z "$KERNEL_CONFIG" ] || [ -e "$TOP/tools/own-kernel/$KERNEL_CONFIG.config" ] ||
	die "KERNEL_CONFIG=$KERNEL_CONFIG is no kernel that there is a configuration for: kasan, kcsan, rust-binder and small are"
ROOT=${RUST_IPC_ROOT:-$(root_path)}
# A module fits one kernel. (Used where this is sourced.)
# shellcheck disable=SC2034
MODULE=$TOP/build/module${KERNEL_CONFIG:+-$KERNEL_CONFIG}

# step TEXT: one line of progress, with the seconds since the script started.
step()
{
	printf '[%4d s] %s\n' "$SECONDS" "$*" >&2
}

# as_root CMD...: run CMD as root; for an ordinary user, as root of a user
# namespace in which that user is root and the subordinate ids are the others.
as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		unshare --user --map-root-user --map-auto "$@"
	fi
}

# in_root DIR CMD...: run CMD in DIR inside the build root. The checkout, the
# current directory, /tmp and the directories listed in BIND (separated by
# colons) are there under their own names. With EXEC=1 it takes the place of the
# calling shell; killing that with SIGKILL then ends all of it.
in_root()
{
	local dir=$1
	shift

	# Already inside: nothing to enter.
	if [ -e /opt/kernel/release ]; then
		(cd "$dir" && "$@")
		return
	fi
	local new=(unshare --mount --pid --fork --kill-child)
	[ "$(id -u)" = 0 ] || new+=(--user --map-root-user --map-auto)
	# The single-quoted program is for the shell in the new namespace.
	# shellcheck disable=SC2016
	${EXEC:+exec} "${new[@]}" bash -c '
		set -euo pipefail
		root=$1 dir=$2 cargo=$3 binds=$4
		shift 4
		mount --make-rprivate /
		mount -t proc proc "$root/proc"
		mount -t tmpfs -o mode=755 tmpfs "$root/dev"
		for node in null zero full random urandom tty kvm; do
			[ -e "/dev/$node" ] || continue
			: >"$root/dev/$node"
			mount --bind "/dev/$node" "$root/dev/$node"
		done
		ln -s /proc/self/fd "$root/dev/fd"
		ln -s fd/0 "$root/dev/stdin"
		ln -s fd/1 "$root/dev/stdout"
		ln -s fd/2 "$root/dev/stderr"
		mkdir "$root/dev/shm"
		mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
		IFS=:
		for path in $binds; do
			[ -d "$path" ] && [ "$path" != / ] || continue
			mkdir -p "$root$path"
			mount --rbind "$path" "$root$path"
		done
		# For cargo: the network as this machine has it, and its downloads
		# where they outlive the root.
		mkdir -p "$cargo" "$root/var/cache/cargo"
		mount --bind "$cargo" "$root/var/cache/cargo"
		: >>"$root/etc/resolv.conf"
		mount --bind "$(readlink -f /etc/resolv.conf)" "$root/etc/resolv.conf"
		certificates=/etc/ssl/certs/ca-certificates.crt
		[ ! -e $certificates ] || mount --bind "$(readlink -f $certificates)" "$root$certificates"
		# Two namespaces have the same pids, which make calls its files in /tmp by.
		exec chroot "$root" env -i GNUMAKEFLAGS=--jobserver-style=pipe \
			PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
			CARGO_HOME=/var/cache/cargo MAKEFLAGS= \
			${http_proxy:+http_proxy="$http_proxy"} \
			${https_proxy:+https_proxy="$https_proxy"} \
			${no_proxy:+no_proxy="$no_proxy"} \
			sh -c "cd \"\$1\" && shift && \"\$@\"; exit" in-root "$dir" "$@"
	' in-root "$ROOT" "$dir" "$CACHE/cargo" "/tmp:$TOP:$dir:${BIND:-}" "$@"
}

# need PROGRAM PACKAGE...: have PROGRAM, or install the packages it comes in.
need()
{
	local program=$1
	shift
	command -v "$program" >/dev/null && return
	if [ "$(id -u)" != 0 ]; then
		die "$program is missing: as root, run 'apt-get install $*'"
	fi
	step "installing $*"
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
		"$@" >/dev/null </dev/null ||
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq \
			install -y --no-install-recommends "$@" >/dev/null </dev/null; } ||
		die "apt-get could not install $*"
	command -v "$program" >/dev/null || die "$* is installed, yet there is no $program"
}

# machine OPTION...: boot with everything built here on board.
machine()
{
	local add=()
	local program

	[ ! -d "$TOP/build/selftests/install" ] ||
		add=(--add "$TOP/build/selftests/install=/selftests")
	for program in "$TOP"/build/user-tests/vm/*; do
		[ ! -e "$program" ] || add+=(--add "$program=/selftests/${program##*/}")
	done
	for program in "$TOP"/build/bin/*; do
		[ ! -e "$program" ] || add+=(--add "$program=/bin/${program##*/}")
	done
	[ ! -d "$TOP/build/clients" ] || add+=(--add "$TOP/build/clients=/")
	"$TOP/tools/vm/run" ${add[@]+"${add[@]}"} "$@"
}
