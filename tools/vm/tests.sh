# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by init: run the selftests one after another and judge each by its
# TAP results, its exit status, what it leaves behind and the kernel log.

passed=0 failed=0 skipped=0

now()
{
	# Hundredths of a second since boot.
	read -r now_up _ </proc/uptime
	echo "${now_up%.*}${now_up#*.}"
}

# case_lines: read TAP (or what a Rust test program prints), print "ok NAME", "not NAME" or "skip NAME" for each
# test case and "plan N" for the plan.
case_lines()
{
	awk '
		/^1\.\.[0-9]+/ { plan = substr($1, 4); print "plan", plan; next }
		/^(not )?ok [0-9]+/ {
			kind = $1 == "not" ? "not" : "ok"
			sub(/^(not )?ok [0-9]+ *-? */, "")
			if ($0 ~ /# *(SKIP|XFAIL)/) kind = "skip"
			print kind, $0
			next
		}
		# What the programs of user/ print, which are no TAP.
		/^running [0-9]+ tests?$/ { print "plan", $2; next }
		/^test .* \.\.\. (ok|FAILED|ignored)/ {
			kind = $NF == "ok" ? "ok" : $NF == "FAILED" ? "not" : "skip"
			print kind, substr($0, 6)
		}'
}

# judge NAME STATUS HUNDREDTHS: count what is in /tmp/.cases and say so.
# /tmp/.trouble has one line for each failure that is not a test case's own.
judge()
{
	ok=$(grep -c '^ok ' /tmp/.cases)
	not=$(grep -c '^not ' /tmp/.cases)
	skip=$(grep -c '^skip ' /tmp/.cases)
	trouble=$(grep -c . /tmp/.trouble)
	bad=$((not + trouble))
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
	# The last of these counts, also when the machine goes no further.
	echo "total $passed $failed $skipped" >/dev/ttyS2

	text="$ok passed"
	[ $bad -gt 0 ] && text="$text, $bad failed"
	[ "$skip" -gt 0 ] && text="$text, $skip skipped"
	word=ok
	[ $bad -gt 0 ] && word=FAIL
	printf '%-4s %-32s %s (%d.%02d s)\n' $word "$1" "$text" $(($2 / 100)) $(($2 % 100))
	sed -n 's/^skip /       skipped: /p' /tmp/.cases
	[ $bad -gt 0 ] || return 0
	sed -n 's/^not /       failed: /p' /tmp/.cases
	sed 's/^/       /' /tmp/.trouble
	if [ -s /tmp/.output ]; then
		echo "       all that it printed:"
		sed 's/^/       | /' /tmp/.output
	fi
	if [ -s /tmp/.log ]; then
		echo "       in the kernel log:"
		sed 's/^/       | /' /tmp/.log
	fi
}

# check_memory BEFORE: what Rust code has allocated must be what it was before.
# What waits for a grace period of RCU may take its time; what is freed so is also
# gathered, per CPU, until it is worth it, or the cache is shrunk.
check_memory()
{
	tries=0
	while now_left=$(rust_memory); [ "$now_left" != "$1" ] && [ $tries -lt 10 ]; do
		for cache in /sys/kernel/slab/kmalloc-*/shrink; do
			echo 1 >"$cache"
		done
		tries=$((tries + 1))
		sleep 1
	done
	[ "$now_left" = "$1" ] || echo "memory is not as before: $now_left, and it was $1" >>/tmp/.trouble
}

# check_leaks: add what the module allocated and nobody points to any more to
# what was printed. Only a debug kernel can tell. What is younger than five
# seconds is not reported, and neither is what changed since the last scan.
kmemleak=/sys/kernel/debug/kmemleak
check_leaks()
{
	[ -e $kmemleak ] || return 0
	echo scan >$kmemleak
	awk '/^unreferenced object/ { n++ } { object[n] = object[n] $0 "\n" }
		object[n] ~ /backtrace/ && /\[rust_ipc\]|[^+]0x[0-9a-f]+$/ { leaked[n] }
		END { for (i in leaked) printf "%s", object[i] }' $kmemleak >/tmp/.leaks
	echo clear >$kmemleak
	[ -s /tmp/.leaks ] || return 0
	echo "memory leaked" >>/tmp/.trouble
	cat /tmp/.leaks >>/tmp/.output
}

check_log()
{
	bad_log >/tmp/.log
	[ -s /tmp/.log ] && echo "the kernel log has what it should not have" >>/tmp/.trouble
}

# run_test PROGRAM
run_test()
{
	mark_log
	: >/tmp/.trouble
	echo "begin $1" >/dev/ttyS2
	start=$(now)

	# A control group of its own, so that nothing outlives the test.
	group=/sys/fs/cgroup/selftest
	mkdir $group
	{
		(
			cd /selftests || exit
			echo 0 >$group/cgroup.procs
			exec timeout -k 5 "$TEST_TIMEOUT" "./$1" >/tmp/.output 2>&1
		)
		status=$?
	} 2>/dev/null
	took=$(($(now) - start))

	echo 1 >$group/cgroup.kill
	tries=0
	while grep -q 'populated 1' $group/cgroup.events && [ $tries -lt 100 ]; do
		tries=$((tries + 1))
		sleep 0.1
	done
	if ! rmdir $group 2>/dev/null && [ $tries = 100 ]; then
		echo "it left processes that cannot be killed" >>/tmp/.trouble
		echo w >/proc/sysrq-trigger
	fi

	case_lines </tmp/.output >/tmp/.cases
	[ ! -d /sys/module/rust_ipc ] || check_memory "${memory_loaded-}"
	plan=$(sed -n 's/^plan //p' /tmp/.cases | tail -n 1)
	ran=$(grep -c -v '^plan ' /tmp/.cases)
	failures=$(grep -c '^not ' /tmp/.cases)
	if [ $took -ge $((TEST_TIMEOUT * 100)) ]; then
		echo "no end after $TEST_TIMEOUT s" >>/tmp/.trouble
	elif [ -z "$plan" ] && [ "$ran" = 0 ]; then
		# No TAP: the exit status is the one result.
		case $status in
		0) echo "ok $1" ;;
		4) echo "skip $1" ;;
		*) echo "not $1 (exit status $status)" ;;
		esac >>/tmp/.cases
	else
		[ "$ran" = "${plan:-none}" ] ||
			echo "it planned ${plan:-no} test cases and ran $ran" >>/tmp/.trouble
		if [ "$ran" = 0 ] && [ $status != 4 ]; then
			echo "it had nothing to run" >>/tmp/.trouble
		fi
		if [ "$failures" = 0 ] && [ $status != 0 ] && [ $status != 4 ] && [ ! -s /tmp/.trouble ]; then
			echo "exit status $status, though no test case failed" >>/tmp/.trouble
		fi
	fi
	if [ -e /lib/rust_ipc.ko ] && [ -z "$load_failed" ] && [ ! -d /sys/module/rust_ipc ]; then
		echo "it left the module unloaded" >>/tmp/.trouble
		load_module
	fi
	check_log
	judge "$1" $took
}

# module_case NAME CMD...: a result of the harness's own.
module_case()
{
	name=$1
	shift
	: >/tmp/.trouble
	start=$(now)
	if "$@" >/tmp/.output 2>&1; then
		echo "ok $name" >/tmp/.cases
	else
		echo "not $name" >/tmp/.cases
	fi
	check_log
	judge "$name" $(($(now) - start))
}

# unload: look for leaks while the module is there, whose functions have names
# then, and again when it is gone, and with it what it points to.
unload()
{
	if [ -e $kmemleak ]; then
		sleep 5
		echo scan >$kmemleak
	fi
	check_leaks
	rmmod rust_ipc || return
	check_memory "${memory_unloaded-}"
	check_leaks
}

# kunit_suites: count what the module's KUnit suites found when it was loaded.
kunit_suites()
{
	for suite in /sys/kernel/debug/kunit/*; do
		: >/tmp/.trouble
		: >/tmp/.log
		# Results are indented below those of the suite.
		sed -n 's/^    //p' "$suite/results" >/tmp/.output
		case_lines </tmp/.output >/tmp/.cases
		[ "$(sed -n 's/^plan //p' /tmp/.cases)" = "$(grep -c -v '^plan ' /tmp/.cases)" ] ||
			echo "it did not run all that it planned, or there is no suite" >>/tmp/.trouble
		judge "kunit-${suite##*/}" 0
	done
	# Once is enough: tests load the module again and again.
	echo none >/sys/module/kunit/parameters/filter_glob
}

if [ -e /lib/rust_ipc.ko ]; then
	module_case "module-load" test -z "$load_failed" -a -d /sys/module/rust_ipc
	[ ! -d /sys/kernel/debug/kunit ] || kunit_suites
fi

# end_group: a group of programs ends with the module's unloading.
end_group()
{
	[ -e /lib/rust_ipc.ko ] && [ -z "$load_failed" ] || return
	mark_log
	module_case "module-unload" unload
}

# Programs of one kind are a group: what has no prefix, user-, client-.
kind=
while read -r program; do
	case $program in
	*-*) this=${program%%-*} ;;
	*) this=selftests ;;
	esac
	if [ -n "$kind" ] && [ "$this" != "$kind" ]; then
		end_group && module_case "module-load" load_module
	fi
	kind=$this
	run_test "$program"
done </etc/vm-tests
end_group

races=$(dmesg | grep -c 'BUG: KCSAN:')
[ "$races" = 0 ] || echo "(KCSAN saw $races races. Those that do not name this module count for nothing.)"

[ $failed = 0 ] && finish 0
finish 1
