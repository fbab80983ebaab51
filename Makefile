# SPDX-License-Identifier: GPL-2.0
#
# 'make' alone is an ordinary out-of-tree build against KDIR. The other targets
# run in a build root of their own, which 'make setup' makes once and keeps
# outside the checkout, and in a virtual machine that boots a stock kernel.

KDIR ?= /lib/modules/$(shell uname -r)/build
KERNEL ?= 7.3
FILE ?= /bin/bash

export KERNEL KERNEL_CONFIG FILE CMD TESTS TEST_TIMEOUT MODULE_PARAMS RUST_IPC_KUNIT
export ACCEL ICOUNT CPUS MEMORY QEMU QEMU_ARGS DEBIAN_MIRROR RUST_IPC_ROOT

# Where KDIR's kernel can take the module, lint and documentation use it too;
# anywhere else they use the build root.
kbuild = $(MAKE) -C $(KDIR) M=$(CURDIR)

.DEFAULT_GOAL := modules
.PHONY: modules modules_install clean distclean help preflight setup build \
	selftests user check fmt symbols test test-kasan test-kcsan test-long \
	fuzz fuzz-host run bench bench-rust-binder bench-small bench-plots bench-pairs bench-guard bench-budget profile vm doc rust-analyzer

modules: preflight
	$(kbuild) modules

modules_install: preflight
	$(kbuild) modules_install

preflight:
	@tools/preflight $(KDIR)

clean:
	@if [ -e $(KDIR)/Makefile ]; then $(kbuild) clean; fi
	rm -rf build rust-project.json

setup:
	@tools/setup

build:
	@tools/build module

selftests user:
	@tools/build $@

check:
	@tools/check

fmt:
	@tools/check --fix-format

symbols: build
	@tools/in-root tools/check-symbols build/module --update

test:
	@tools/test

test-kasan test-kcsan:
	@KERNEL_CONFIG=$(@:test-%=%) tools/test

test-long:
	@tools/test-long

fuzz:
	@tools/fuzz "$(or $(FUZZ_SECONDS),600)" $(ARGS)

fuzz-host:
	@FUZZ_SECONDS="$(or $(FUZZ_SECONDS),600)" tools/in-root selftests/host/fuzz.sh

run:
	@tools/demo

# What is exported above is set, if to nothing: here that would say something else.
unset_icount = $(if $(filter environment command,$(origin ICOUNT)),,env -u ICOUNT )

bench:
	@$(unset_icount)bench/run.sh $(ARGS)

bench-plots:
	@$(unset_icount)bench/plots.sh $(ARGS)

bench-rust-binder bench-small:
	@KERNEL_CONFIG=$(@:bench-%=%) $(unset_icount)bench/run.sh $(ARGS)

bench-pairs:
	@bench/pairs.sh $(ARGS)

bench-guard:
	@bench/guard.sh

bench-budget:
	@bench/guard.sh --update

profile:
	@bench/profile.sh "$(CASE)" "$(or $(WAY),rust_ipc)"

vm:
	@tools/machine

doc:
	@tools/doc

rust-analyzer:
	@tools/rust-analyzer $(KDIR)

help:
	@echo 'The module, against an installed kernel:'
	@echo '  make                 build rust_ipc.ko against KDIR (the running kernel)'
	@echo '  make modules_install install it there (as root; then: depmod)'
	@echo '  make clean           remove everything that was built'
	@echo
	@echo 'In a build root of its own (made on first use, then kept in the cache):'
	@echo '  make setup           make the build root'
	@echo '  make build           build build/module/rust_ipc.ko'
	@echo '  make test            lint gate, host tests, the selftests in a virtual machine, costs,'
	@echo '                       and half of the selftests on a debug kernel'
	@echo '  make test-kasan      the selftests on a kernel that watches memory and locks'
	@echo '  make test-kcsan      some of them on a kernel that watches for data races'
	@echo '  make test-long       all three, about an hour and three quarters'
	@echo '  make fuzz            hostile processes on that kernel, for FUZZ_SECONDS=600'
	@echo '                       (ARGS="--seed 2": other choices)'
	@echo '  make fuzz-host       the parts that need no kernel, likewise'
	@echo '  make run             pass a file through the driver in a virtual machine'
	@echo '  make bench           what messages cost, beside the C driver, pipes and sockets'
	@echo '                       (ARGS=-q: a quick look), also in build/bench/results.json'
	@echo '  make bench-rust-binder'
	@echo '                       beside the Rust driver of the kernel, on a kernel that has that'
	@echo '  make bench-small     the same on a kernel with little else, beside the C driver'
	@echo '  make bench-plots     plots of what size, handles and buffers do: build/bench/*.svg'
	@echo '  make bench-pairs     wall-clock time of 1 to 8 pairs of processes (CPUS=8)'
	@echo '  make bench-guard     does it cost more than bench/budget says? (part of make test)'
	@echo '  make bench-budget    write bench/budget anew'
	@echo '  make profile CASE="call, 128 B" [WAY="C Binder"]'
	@echo '                       the instructions of a row of that, by function'
	@echo '  make vm              a shell in a virtual machine with module, tests and programs'
	@echo '  make check           the lint gate alone: format, clippy, scripts, licences'
	@echo '  make fmt             format the Rust sources'
	@echo '  make doc             rustdoc of the module, into build/doc'
	@echo '  make rust-analyzer   write rust-project.json'
	@echo '  make selftests user  build the tests, the user programs'
	@echo '  make symbols         write down which C symbols the module needs'
	@echo
	@echo 'Variables:'
	@echo '  KDIR=DIR             kernel build directory ($(KDIR))'
	@echo '  KERNEL=7.3           kernel series or release for the build root'
	@echo '  KERNEL_CONFIG=kasan  a kernel of our own instead of the stock one: kasan and kcsan, which'
	@echo '                       watch themselves, rust-binder and small, for make bench'
	@echo '  FILE=PATH            the file for make run ($(FILE))'
	@echo '  TESTS="NAME..."      only these test programs (make test)'
	@echo '  CMD="COMMAND"        run it in the machine instead of a shell (make vm)'
	@echo '  MODULE_PARAMS="K=V"  module parameters in the machine'
	@echo '  ACCEL=kvm ICOUNT=1 CPUS=2 MEMORY=2048 TEST_TIMEOUT=300 QEMU=... QEMU_ARGS=...'
	@echo '                       the machine (tools/vm/run --help says more)'
	@echo '  RUST_IPC_KUNIT=1     build the KUnit suites in'
