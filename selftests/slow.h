/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that keeps the driver waiting in the middle of a copy.
 */
#ifndef RUST_IPC_SELFTESTS_SLOW_H
#define RUST_IPC_SELFTESTS_SLOW_H

#include <linux/userfaultfd.h>

#include "ipc.h"

/*
 * Memory that can be read up to a point, where whoever reads on, the kernel
 * included, sleeps until it is filled.
 */
struct slow {
	__u64 start;		/* what comes before the point */
	__u64 page;		/* the point */
	long uffd;
};

#define BEFORE 100

static inline struct slow make_slow(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register region = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	long at = peer_mmap(p, NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1);
	struct slow slow = { at + PAGE - BEFORE, at + PAGE };

	ASSERT_LT(0, at);
	slow.uffd = peer_syscall(p, SYS_userfaultfd, O_CLOEXEC);
	ASSERT_LE(0, slow.uffd);
	ASSERT_EQ(0, peer_syscall(p, SYS_ioctl, slow.uffd, UFFDIO_API, arena_copy(&api, sizeof(api))));
	region.range.start = slow.page;
	region.range.len = PAGE;
	ASSERT_EQ(0, peer_scribble(p, slow.start));
	ASSERT_EQ(0, peer_syscall(p, SYS_ioctl, slow.uffd, UFFDIO_REGISTER,
				  arena_copy(&region, sizeof(region))));
	return slow;
}

/*
 * Fills the rest with these bytes, by way of another thread of the same process,
 * or of another process with that descriptor.
 */
static inline void fill_slow_with(struct peer *p, const struct slow *slow, const void *bytes,
				  size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct uffdio_copy copy = { .dst = slow->page, .len = PAGE };
	__u8 *page = arena_alloc(2 * PAGE);

	page += -(uintptr_t)page & (PAGE - 1);
	memset(page, 0, PAGE);
	memcpy(page, bytes, len);
	copy.src = (uintptr_t)page;
	ASSERT_EQ(0, peer_syscall(p, SYS_ioctl, slow->uffd, UFFDIO_COPY,
				  arena_copy(&copy, sizeof(copy))));
}

static inline void fill_slow(struct peer *p, const struct slow *slow)
{
	__u8 bytes[PAGE];

	memset(bytes, 0x77, PAGE);
	fill_slow_with(p, slow, bytes, PAGE);
}

/* Whoever waits for the rest looks for it again. */
static inline void wake_slow(struct peer *p, const struct slow *slow)
{
	struct __test_metadata *_metadata = this_test;
	struct uffdio_range range = { slow->page, PAGE };

	ASSERT_EQ(0, peer_syscall(p, SYS_ioctl, slow->uffd, UFFDIO_WAKE,
				  arena_copy(&range, sizeof(range))));
}

/* Takes the rest away. */
static inline void unmap_slow(struct peer *p, const struct slow *slow)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_syscall(p, SYS_munmap, slow->page, PAGE));
	wake_slow(p, slow);
}

#endif
