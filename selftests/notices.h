/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Asking to be told of somebody's death or freezing, under a handle and a
 * cookie, and answering.
 */
#ifndef RUST_IPC_SELFTESTS_NOTICES_H
#define RUST_IPC_SELFTESTS_NOTICES_H

#include "objects.h"

#define COOKIE 0xfedcba9876543210ULL

static inline void put_handle_cookie(struct peer *p, __u32 command, __u32 handle, __u64 cookie)
{
	struct binder_handle_cookie argument = { handle, cookie };

	bc(p, command);
	put(p, &argument, sizeof(argument));
}

/* Requests or clears. It is carried out, whatever comes of it. */
static inline void submit_handle_cookie(struct peer *p, __u32 command, __u32 handle, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;

	put_handle_cookie(p, command, handle, cookie);
	ASSERT_EQ(0, submit(p));
	ASSERT_EQ(16, p->bwr.write_consumed);
}

/* Answers. */
static inline void submit_cookie(struct peer *p, __u32 command, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;

	bc_u64(p, command, cookie);
	ASSERT_EQ(0, submit(p));
	ASSERT_EQ(12, p->bwr.write_consumed);
}

/* Reads this one return with this cookie, and nothing else. */
#define ASSERT_NOTICE(p, command, its_cookie) do { \
	ASSERT_EQ(0, receive(p)); \
	ASSERT_BR(p, command); \
	ASSERT_EQ(its_cookie, (p)->br[1].cookie); \
} while (0)

#endif
