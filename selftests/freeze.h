/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Freezing processes, and asking what came of it.
 */
#ifndef RUST_IPC_SELFTESTS_FREEZE_H
#define RUST_IPC_SELFTESTS_FREEZE_H

#include "files.h"

/* Longer than anything that a freeze has to wait for, and less than the deadline of a test. */
#define LONG_MS 15000
/* For what will not come in time. */
#define SHORT_MS 400
/* Where the C driver waits for no reason, and the test does something meanwhile. */
#define ORACLE_MS 2000

static inline struct binder_freeze_info *freeze_info(__u32 pid, __u32 enable, __u32 timeout_ms)
{
	struct binder_freeze_info info = { pid, enable, timeout_ms };

	return arena_copy(&info, sizeof(info));
}

/* BY freezes the process of OF, and waits up to TIMEOUT_MS for what it is busy with. 0, or -errno. */
static inline long freeze_within(struct peer *by, struct peer *of, __u32 timeout_ms)
{
	return peer_ioctl(by, BINDER_FREEZE, freeze_info(of->pid, 1, timeout_ms));
}

static inline long freeze(struct peer *by, struct peer *of)
{
	return freeze_within(by, of, 0);
}

static inline long thaw(struct peer *by, struct peer *of)
{
	return peer_ioctl(by, BINDER_FREEZE, freeze_info(of->pid, 0, 0));
}

/* Starts to freeze, and returns when BY sleeps for that. */
static inline void start_freeze(struct peer *by, struct peer *of, __u32 timeout_ms)
{
	struct __test_metadata *_metadata = this_test;

	peer_start_syscall(by, SYS_ioctl, by->fd, BINDER_FREEZE,
			   freeze_info(of->pid, 1, timeout_ms));
	ASSERT_TRUE(peer_sleeps(by)) {
		TH_LOG("does not wait: result %ld", by->result);
	}
}

/* What BINDER_GET_FROZEN_INFO says of calls. */
#define REFUSED 1
#define PENDING 2

static inline long frozen_info(struct peer *by, __u32 pid, struct binder_frozen_status_info **out)
{
	struct binder_frozen_status_info info = { pid, 0xcccc, 0xcccc };

	*out = arena_copy(&info, sizeof(info));
	return peer_ioctl(by, BINDER_GET_FROZEN_INFO, *out);
}

#define ASSERT_FROZEN_INFO(p, of, sync, async) do { \
	struct binder_frozen_status_info *__info; \
	ASSERT_EQ(0, frozen_info(p, (of)->pid, &__info)); \
	ASSERT_EQ((of)->pid, __info->pid); \
	ASSERT_EQ(sync, __info->sync_recv); \
	ASSERT_EQ(async, __info->async_recv); \
} while (0)

/* Nobody has the device open under this pid. */
#define ASSERT_NOT_FREEZABLE(p, of_pid) do { \
	struct binder_frozen_status_info *__info; \
	ASSERT_EQ(-EINVAL, peer_ioctl(p, BINDER_FREEZE, freeze_info(of_pid, 1, 0))); \
	ASSERT_EQ(-EINVAL, peer_ioctl(p, BINDER_FREEZE, freeze_info(of_pid, 0, 0))); \
	ASSERT_EQ(-EINVAL, frozen_info(p, of_pid, &__info)); \
	ASSERT_EQ(0xcccc, __info->sync_recv); \
	ASSERT_EQ(0xcccc, __info->async_recv); \
} while (0)

/* Sends one-way to a frozen process, which gets it later. */
static inline void send_pending(struct peer *p, __u32 handle, __u32 code, __u32 flags,
				const void *data, size_t len)
{
	struct __test_metadata *_metadata = this_test;

	bc_transaction(p, BC_TRANSACTION, code, TF_ONE_WAY | flags, data, len)->tr.target.handle =
		handle;
	ASSERT_EQ(0, transact(p));
	ASSERT_BR(p, BR_TRANSACTION_PENDING_FROZEN);
}

/* Reads one one-way message of this code, and nothing else, and frees it. */
static inline void take_oneway(struct peer *p, __u32 code)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr = take_call(p);

	ASSERT_EQ(TF_ONE_WAY, tr->flags & TF_ONE_WAY);
	ASSERT_EQ(code, tr->code);
	free_message(p, tr);
}

#endif
