// SPDX-License-Identifier: GPL-2.0

#include <linux/build_bug.h>
#include <uapi/linux/android/binder.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "events.h"

#define CHECK(number, name) static_assert(_IOC_NR(name) == number);
RUST_IPC_COMMANDS(CHECK)
RUST_IPC_RETURNS(CHECK)
