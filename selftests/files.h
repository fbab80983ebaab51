/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The files that peers have open, and who else has them.
 */
#ifndef RUST_IPC_SELFTESTS_FILES_H
#define RUST_IPC_SELFTESTS_FILES_H

#include <dirent.h>
#include <linux/kcmp.h>
#include <sys/resource.h>

#include "objects.h"

/* The manager, who takes files. */
static inline struct peer *files_manager_with(const char *name, size_t len)
{
	struct flat_binder_object object = { .flags = FLAT_BINDER_FLAG_ACCEPTS_FDS };
	struct peer *p = member_with(name, len);

	become_manager(p, &object);
	return p;
}

static inline struct peer *files_manager(const char *name)
{
	return files_manager_with(name, AREA_LEN);
}

/* How many descriptors the thread has. */
static inline int open_files(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct dirent *entry;
	char path[64];
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/fd", p->pid, p->tid);
	dir = opendir(path);
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* P can have descriptors below LIMIT. */
static inline void set_file_limit(struct peer *p, rlim_t limit)
{
	struct __test_metadata *_metadata = this_test;
	struct rlimit rlimit;

	ASSERT_EQ(0, prlimit(p->pid, RLIMIT_NOFILE, NULL, &rlimit));
	rlimit.rlim_cur = limit;
	ASSERT_EQ(0, prlimit(p->pid, RLIMIT_NOFILE, &rlimit, NULL));
}

/* Whether two descriptors are of one open file. */
static inline bool same_file(struct peer *p, int fd, struct peer *q, int other)
{
	return !syscall(SYS_kcmp, p->tid, q->tid, KCMP_FILE, fd, other);
}

static inline bool is_open(struct peer *p, int fd)
{
	return peer_syscall(p, SYS_fcntl, fd, F_GETFD) >= 0;
}

static inline void close_fd(struct peer *p, int fd)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_syscall(p, SYS_close, fd));
}

/* A descriptor of this process becomes one of the peer's. */
static inline int give_fd(struct peer *p, int fd)
{
	struct __test_metadata *_metadata = this_test;
	long self = peer_syscall(p, SYS_pidfd_open, getpid(), 0), own;

	ASSERT_LE(0, self);
	own = peer_syscall(p, SYS_pidfd_getfd, self, fd, 0);
	ASSERT_LE(0, own);
	close_fd(p, self);
	return own;
}

/* A descriptor of OWNER's becomes one of P's, too. */
static inline int take_fd(struct peer *p, struct peer *owner, int fd)
{
	struct __test_metadata *_metadata = this_test;
	int pidfd = peer_syscall(p, SYS_pidfd_open, owner->pid, 0), own;

	ASSERT_LE(0, pidfd);
	own = peer_syscall(p, SYS_pidfd_getfd, pidfd, fd, 0);
	ASSERT_LE(0, own);
	close_fd(p, pidfd);
	return own;
}

/*
 * A file that shows whether it is still open anywhere: the end of a pipe that
 * this process holds the other end of.
 */
struct canary {
	int watch;
	int fd;		/* the peer's */
};

static inline struct canary new_canary(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct canary c;
	int ends[2];

	ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
	c.fd = give_fd(p, ends[1]);
	close(ends[1]);
	c.watch = ends[0];
	return c;
}

static inline bool is_gone(const struct canary *c)
{
	struct pollfd pollfd = { .fd = c->watch };

	return poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLHUP);
}

#define ASSERT_GONE(c) ASSERT_TRUE(eventually(is_gone(c)))
#define ASSERT_ALIVE(c) ASSERT_FALSE(is_gone(c))

#endif
