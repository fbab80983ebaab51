/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of rust_ipc share: processes and threads that do what the
 * test tells them, and a little Binder on top of that.
 *
 * A test is a straight script. It makes "peers", each a thread of a process of
 * its own or of another peer's process, and has them run functions: to
 * completion, or started, seen asleep in the kernel, and finished later. So
 * every interleaving is spelt out and nothing depends on a sleep. All memory
 * that the test and the peers share is in one arena, mapped at the same address
 * everywhere; a pointer into it means the same in all of them.
 */
#ifndef RUST_IPC_SELFTESTS_IPC_H
#define RUST_IPC_SELFTESTS_IPC_H

#include <errno.h>
#include <fcntl.h>
#include <linux/android/binder.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"

_Static_assert(sizeof(struct binder_handle_cookie) == 12,
	       "the UAPI headers must be sanitised ones (make headers)");

/* Nothing takes this long, on the slowest debug kernel and a busy host, but in tests that change it. */
static int patience_s = 60;
/* Nor does any test, but for those that say so themselves. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 150
#define AREA_LEN (128UL << 10)
#define ARENA_LEN (64UL << 20)
#define PAGE ((size_t)4096)

static inline const char *device_path(void)
{
	return getenv("RUST_IPC_DEV") ?: "/dev/rust_ipc";
}

/*
 * RUST_IPC_ORACLE=1: RUST_IPC_DEV is a node of the C driver, which is the
 * reference for all that these tests do not declare to be ours.
 */
static inline bool oracle(void)
{
	const char *value = getenv("RUST_IPC_ORACLE");

	return value && !strcmp(value, "1");
}

/* First thing in a test of what the C driver does not do, or does otherwise. */
#define require_rust_ipc() do { \
	if (oracle()) \
		SKIP(return, "the C driver differs"); \
} while (0)

/* ---- peers ------------------------------------------------------------ */

enum { PEER_IDLE, PEER_ASKED, PEER_DONE };

struct br {
	__u32 cmd;
	union {
		struct binder_transaction_data tr;
		struct binder_transaction_data_secctx sec;
		struct binder_ptr_cookie node;
		struct binder_frozen_state_info frozen;
		__u64 cookie;
		__s32 error;
	};
};

struct peer {
	const char *name;
	struct peer *leader;		/* the first thread of its process */
	pid_t pid, tid;			/* as the test sees them */
	bool gone;
	int state;			/* futex */
	long (*fn)(struct peer *p, void *arg);
	void *arg;
	long result;

	int fd;
	__u8 *area;
	size_t area_len;

	struct binder_write_read bwr;
	__u8 write[4096];
	size_t write_len;
	__u8 read[4096];
	size_t read_len;		/* how much of it the driver may use */
	struct br br[64];
	int brs;
};

static struct __test_metadata *this_test;

/* The test, and peers that are made from now on, run on one CPU. */
static inline void use_one_cpu(void)
{
	struct __test_metadata *_metadata = this_test;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
}

static char this_step[128];

/* Says where in its tables a test is, should it fail. */
static inline void __attribute__((format(printf, 1, 2))) step(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(this_step, sizeof(this_step), format, arguments);
	va_end(arguments);
}

static struct {
	__u8 *start, *free;
	struct peer *peers[64];
	int peer_count;
} arena;

static inline void *arena_alloc(size_t len)
{
	struct __test_metadata *_metadata = this_test;
	void *p;

	if (!arena.start) {
		arena.start = mmap(NULL, ARENA_LEN, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		ASSERT_NE(MAP_FAILED, (void *)arena.start);
		arena.free = arena.start;
	}
	p = arena.free;
	arena.free += (len + 63) & ~63UL;
	ASSERT_LE(arena.free, arena.start + ARENA_LEN) {
		TH_LOG("the arena is full");
	}
	return p;
}

static inline void *arena_copy(const void *data, size_t len)
{
	void *p = arena_alloc(len);

	if (len)
		memcpy(p, data, len);
	return p;
}

static inline long futex(int *word, int op, int value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

static inline void peer_set(struct peer *p, int state)
{
	__atomic_store_n(&p->state, state, __ATOMIC_SEQ_CST);
	futex(&p->state, FUTEX_WAKE, INT32_MAX, NULL);
}

static inline int peer_state(struct peer *p)
{
	return __atomic_load_n(&p->state, __ATOMIC_SEQ_CST);
}

static inline __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* For what can only be polled. */
static inline void pause_briefly(void)
{
	usleep(300);
}

/* Evaluates CONDITION until it holds, or the deadline passes; says which. */
#define eventually(condition) ({ \
	__u64 __end = now_ns() + patience_s * 1000000000ULL; \
	bool __holds; \
	while (!(__holds = (condition)) && now_ns() < __end) \
		pause_briefly(); \
	__holds; \
})

static __thread sigjmp_buf *volatile on_fault;

static inline void fault_handler(int signal_number, siginfo_t *info, void *context)
{
	if (!on_fault) {
		signal(signal_number, SIG_DFL);
		return;
	}
	siglongjmp(*on_fault, signal_number);
}

/* Runs STATEMENT; the signal that it raised (SIGSEGV, SIGBUS), or 0. */
#define catch_fault(statement) ({ \
	sigjmp_buf __jump; \
	int __signal = sigsetjmp(__jump, 1); \
	if (!__signal) { \
		on_fault = &__jump; \
		asm volatile("" ::: "memory"); \
		statement; \
		asm volatile("" ::: "memory"); \
	} \
	on_fault = NULL; \
	__signal; \
})

static inline void ignore_signal(int signal_number)
{
}

/* SIGUSR1 interrupts a system call and does nothing else. */
static inline void peer_signals(void)
{
	struct sigaction fault = { .sa_sigaction = fault_handler, .sa_flags = SA_SIGINFO };
	struct sigaction nothing = { .sa_handler = ignore_signal };

	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGUSR1, &nothing, NULL);
}

/* Interrupts the system call that P is in. */
static inline long interrupt(struct peer *p)
{
	return syscall(SYS_tgkill, p->pid, p->tid, SIGUSR1);
}

static inline long peer_leave(struct peer *p, void *arg)
{
	return 0;
}

static inline void peer_loop(struct peer *p)
{
	bool leave;
	int state;

	do {
		while ((state = peer_state(p)) != PEER_ASKED)
			futex(&p->state, FUTEX_WAIT, state, NULL);
		leave = p->fn == peer_leave;
		p->result = p->fn(p, p->arg);
		peer_set(p, PEER_DONE);
	} while (!leave);
}

static inline struct peer *peer_new(const char *name, struct peer *leader)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *p = arena_alloc(sizeof(*p));

	memset(p, 0, sizeof(*p));
	p->name = name;
	p->leader = leader ?: p;
	p->fd = -1;
	p->read_len = sizeof(p->read);
	ASSERT_LT(arena.peer_count, ARRAY_SIZE(arena.peers));
	arena.peers[arena.peer_count++] = p;
	return p;
}

/* Lets P run FN. The function must not use the harness's assertions. */
static inline void peer_start(struct peer *p, long (*fn)(struct peer *, void *), void *arg)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_NE(PEER_ASKED, peer_state(p)) {
		TH_LOG("%s is still at work", p->name);
	}
	ASSERT_FALSE(p->gone);
	p->fn = fn;
	p->arg = arg;
	peer_set(p, PEER_ASKED);
}

/* Waits for what was started, and gives its result. */
static inline long peer_finish(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct timespec second = { .tv_sec = 1 };
	__u64 end = now_ns() + patience_s * 1000000000ULL;

	while (peer_state(p) == PEER_ASKED && now_ns() < end)
		futex(&p->state, FUTEX_WAIT, PEER_ASKED, &second);
	ASSERT_EQ(PEER_DONE, peer_state(p)) {
		TH_LOG("%s does not come to an end", p->name);
	}
	return p->result;
}

static inline long peer_run(struct peer *p, long (*fn)(struct peer *, void *), void *arg)
{
	peer_start(p, fn, arg);
	return peer_finish(p);
}

static inline bool peer_done(struct peer *p)
{
	return peer_state(p) == PEER_DONE;
}

/* Reads a file of /proc or /sys into TEXT; its length, or -errno. */
static inline long read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
		len += n;
	n = n < 0 ? -errno : (ssize_t)len;
	text[len] = 0;
	close(fd);
	return n;
}

static inline long write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

static inline bool peer_in_syscall(struct peer *p)
{
	char path[64], text[1024], *state;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", p->pid, p->tid);
	if (read_text(path, text, sizeof(text)) <= 0)
		return false;
	state = strrchr(text, ')');
	if (!state || state[2] != 'S')
		return false;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", p->pid, p->tid);
	if (read_text(path, text, sizeof(text)) <= 0)
		return false;
	/* An idle peer sleeps in futex(). */
	return text[0] >= '0' && text[0] <= '9' && atoi(text) != SYS_futex;
}

/* Waits until what was started sleeps in a system call; false if it has ended. */
static inline bool peer_sleeps(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_TRUE(eventually(peer_done(p) || peer_in_syscall(p))) {
		TH_LOG("%s neither sleeps nor ends", p->name);
	}
	return !peer_done(p);
}

/* A new process, of one thread, that has nothing open; FLAGS are CLONE_NEW*. */
static inline struct peer *new_process_with(const char *name, unsigned long flags)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *p = peer_new(name, NULL);
	pid_t pid = flags ? syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0) : fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		peer_signals();
		peer_loop(p);
		_exit(0);
	}
	p->pid = p->tid = pid;
	return p;
}

static inline struct peer *new_process(const char *name)
{
	return new_process_with(name, 0);
}

static inline void *peer_thread(void *arg)
{
	struct peer *p = arg;

	p->tid = gettid();
	peer_loop(p);
	return NULL;
}

static inline long do_thread(struct peer *p, void *arg)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attributes, peer_thread, arg);
	pthread_attr_destroy(&attributes);
	return -error;
}

/* One more thread in the process of P, for the same open file and area. */
static inline struct peer *new_bare_thread(struct peer *p, const char *name)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *thread = peer_new(name, p->leader);

	thread->pid = p->pid;
	thread->fd = p->fd;
	thread->area = p->area;
	thread->area_len = p->area_len;
	ASSERT_EQ(0, peer_run(p->leader, do_thread, thread));
	ASSERT_TRUE(eventually(__atomic_load_n(&thread->tid, __ATOMIC_SEQ_CST)));
	return thread;
}

/* Waits until the process of P has ended of itself: its exit status, or minus the signal. */
static inline int await_exit(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	int i, status;

	ASSERT_TRUE(eventually(waitpid(p->pid, &status, WNOHANG) == p->pid));
	for (i = 0; i < arena.peer_count; i++)
		if (arena.peers[i]->leader == p->leader)
			arena.peers[i]->gone = true;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Ends the whole process of P, whatever it does, and waits for that. */
static inline void kill_process(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	if (p->leader->gone)
		return;
	ASSERT_EQ(0, kill(p->pid, SIGKILL));
	ASSERT_EQ(-SIGKILL, await_exit(p));
}

/* Ends one thread (not the first) as a return from its function does. */
static inline void end_thread(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	char path[64];

	peer_run(p, peer_leave, NULL);
	p->gone = true;
	snprintf(path, sizeof(path), "/proc/%d/task/%d", p->pid, p->tid);
	ASSERT_TRUE(eventually(access(path, F_OK) && errno == ENOENT));
}

struct syscall_args {
	long number, a[6];
};

static inline long do_syscall(struct peer *p, void *arg)
{
	struct syscall_args *s = arg;
	long ret = syscall(s->number, s->a[0], s->a[1], s->a[2], s->a[3], s->a[4], s->a[5]);

	return ret == -1 ? -errno : ret;
}

static inline struct syscall_args *syscall_args(long number, long a, long b, long c, long d,
						long e, long f)
{
	struct syscall_args s = { number, { a, b, c, d, e, f } };

	return arena_copy(&s, sizeof(s));
}

/* A system call, done by the peer: its result, or -errno. */
#define __SYSCALL(p, nr, a, b, c, d, e, f, ...) \
	peer_run(p, do_syscall, syscall_args(nr, (long)(a), (long)(b), (long)(c), (long)(d), \
					     (long)(e), (long)(f)))
#define peer_syscall(p, ...) __SYSCALL(p, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define __START_SYSCALL(p, nr, a, b, c, d, e, f, ...) \
	peer_start(p, do_syscall, syscall_args(nr, (long)(a), (long)(b), (long)(c), (long)(d), \
					       (long)(e), (long)(f)))
#define peer_start_syscall(p, ...) __START_SYSCALL(p, __VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* ioctl on the peer's device file. */
#define peer_ioctl(p, request, argument) \
	peer_syscall(p, SYS_ioctl, (p)->fd, (unsigned int)(request), argument)

static inline long peer_mmap(struct peer *p, void *at, size_t len, int prot, int flags, int fd)
{
	return peer_syscall(p, SYS_mmap, at, len, prot, flags, fd, 0);
}

struct copy_args {
	void *to;
	const void *from;
	size_t len;
};

static inline long do_copy(struct peer *p, void *arg)
{
	struct copy_args *c = arg;

	return catch_fault(memcpy(c->to, c->from, c->len));
}

/* Copies memory of the peer to the arena: NULL if it cannot read it. */
static inline const void *peer_memory(struct peer *p, __u64 address, size_t len)
{
	struct copy_args c = { arena_alloc(len), (void *)(uintptr_t)address, len };

	return peer_run(p, do_copy, arena_copy(&c, sizeof(c))) ? NULL : c.to;
}

static inline long do_compare(struct peer *p, void *arg)
{
	struct copy_args *c = arg;
	volatile int differ = 1;

	return catch_fault(differ = memcmp(c->to, c->from, c->len)) ?: differ;
}

static inline long do_touch(struct peer *p, void *arg)
{
	return catch_fault((void)*(volatile __u8 *)arg);
}

static inline long do_scribble(struct peer *p, void *arg)
{
	return catch_fault(*(volatile __u8 *)arg = 0x5a);
}

/* Reads a byte; the signal that this raises, or 0. */
static inline int peer_touch(struct peer *p, __u64 address)
{
	return peer_run(p, do_touch, (void *)(uintptr_t)address);
}

static inline int peer_scribble(struct peer *p, __u64 address)
{
	return peer_run(p, do_scribble, (void *)(uintptr_t)address);
}

/* ---- Binder ----------------------------------------------------------- */

static inline long open_path(struct peer *p, const char *path, int flags)
{
	p->fd = peer_syscall(p, SYS_openat, AT_FDCWD, arena_copy(path, strlen(path) + 1),
			     O_RDWR | O_CLOEXEC | flags);
	return p->fd;
}

static inline long open_device(struct peer *p, int flags)
{
	return open_path(p, device_path(), flags);
}

static inline long map_area(struct peer *p, size_t len)
{
	long at = peer_mmap(p, NULL, len, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, p->fd);

	if (at < 0 && at > -4096)
		return at;
	p->area = (void *)at;
	p->area_len = len;
	return 0;
}

static inline void set_max_threads(struct peer *p, __u32 max)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_ioctl(p, BINDER_SET_MAX_THREADS, arena_copy(&max, sizeof(max))));
}

/* Turns the "returns at once" of a thread's first read off, as any ioctl does. */
static inline void settle(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_ioctl(p, BINDER_VERSION, arena_alloc(sizeof(struct binder_version))));
}

/* A process that has the device open and LEN bytes mapped. */
static inline struct peer *member_with(const char *name, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *p = new_process(name);

	ASSERT_LE(0, open_device(p, 0)) {
		TH_LOG("%s: %s", device_path(), strerror(-p->fd));
	}
	ASSERT_EQ(0, map_area(p, len));
	settle(p);
	return p;
}

static inline struct peer *member(const char *name)
{
	return member_with(name, AREA_LEN);
}

static inline struct peer *new_thread(struct peer *p, const char *name)
{
	struct peer *thread = new_bare_thread(p, name);

	settle(thread);
	return thread;
}

/*
 * Becomes the context manager. The one of the test before may still be on its
 * way out: a process that dies is cleaned up after it.
 */
static inline void become_manager(struct peer *p, const struct flat_binder_object *object)
{
	struct __test_metadata *_metadata = this_test;
	void *argument = object ? arena_copy(object, sizeof(*object)) : NULL;
	long ret;

	ASSERT_TRUE(eventually((ret = peer_ioctl(p, object ? BINDER_SET_CONTEXT_MGR_EXT :
						 BINDER_SET_CONTEXT_MGR, argument)) != -EBUSY));
	ASSERT_EQ(0, ret);
}

static inline struct peer *manager_with(const char *name, size_t len)
{
	struct peer *p = member_with(name, len);

	become_manager(p, NULL);
	return p;
}

static inline struct peer *manager(const char *name)
{
	return manager_with(name, AREA_LEN);
}

/* Commands gather in the peer's write buffer until one of the functions below runs them. */

static inline void put(struct peer *p, const void *bytes, size_t len)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_LE(p->write_len + len, sizeof(p->write));
	memcpy(p->write + p->write_len, bytes, len);
	p->write_len += len;
}

static inline void bc(struct peer *p, __u32 command)
{
	put(p, &command, sizeof(command));
}

static inline void bc_u32(struct peer *p, __u32 command, __u32 value)
{
	bc(p, command);
	put(p, &value, sizeof(value));
}

static inline void bc_u64(struct peer *p, __u32 command, __u64 value)
{
	bc(p, command);
	put(p, &value, sizeof(value));
}

static inline void bc_node(struct peer *p, __u32 command, __u64 ptr, __u64 cookie)
{
	struct binder_ptr_cookie node = { ptr, cookie };

	bc(p, command);
	put(p, &node, sizeof(node));
}

/* As it stands in the write buffer; a test may still change fields. Unaligned. */
struct unaligned_transaction {
	struct binder_transaction_data tr;
} __attribute__((packed, aligned(4)));

/* A message of the LEN bytes at DATA, which stay where they are. */
static inline struct unaligned_transaction *bc_message(struct peer *p, __u32 command, __u32 code,
						       __u32 flags, const void *data, size_t len)
{
	struct binder_transaction_data tr = {
		.code = code,
		.flags = flags,
		.data_size = len,
		.data.ptr.buffer = (uintptr_t)data,
	};

	bc(p, command);
	put(p, &tr, sizeof(tr));
	return (void *)(p->write + p->write_len - sizeof(tr));
}

/* The same; the data is copied at once to where the peer can read it. */
static inline struct unaligned_transaction *bc_transaction(struct peer *p, __u32 command,
							   __u32 code, __u32 flags,
							   const void *data, size_t len)
{
	return bc_message(p, command, code, flags, arena_copy(data, len), len);
}

/* To handle 0. DATA is copied at once. */
static inline struct unaligned_transaction *call(struct peer *p, __u32 code, const void *data,
						 size_t len)
{
	return bc_transaction(p, BC_TRANSACTION, code, 0, data, len);
}

static inline struct unaligned_transaction *oneway(struct peer *p, __u32 code, const void *data,
						   size_t len)
{
	return bc_transaction(p, BC_TRANSACTION, code, TF_ONE_WAY, data, len);
}

static inline struct unaligned_transaction *reply(struct peer *p, const void *data, size_t len)
{
	return bc_transaction(p, BC_REPLY, 0, 0, data, len);
}

static inline void free_buffer(struct peer *p, __u64 address)
{
	bc_u64(p, BC_FREE_BUFFER, address);
}

static inline const char *br_name(__u32 cmd)
{
	switch (cmd) {
	case BR_ERROR: return "ERROR";
	case BR_OK: return "OK";
	case BR_TRANSACTION_SEC_CTX: return "TRANSACTION_SEC_CTX";
	case BR_TRANSACTION: return "TRANSACTION";
	case BR_REPLY: return "REPLY";
	case BR_DEAD_REPLY: return "DEAD_REPLY";
	case BR_TRANSACTION_COMPLETE: return "TRANSACTION_COMPLETE";
	case BR_INCREFS: return "INCREFS";
	case BR_ACQUIRE: return "ACQUIRE";
	case BR_RELEASE: return "RELEASE";
	case BR_DECREFS: return "DECREFS";
	case BR_NOOP: return "NOOP";
	case BR_SPAWN_LOOPER: return "SPAWN_LOOPER";
	case BR_DEAD_BINDER: return "DEAD_BINDER";
	case BR_CLEAR_DEATH_NOTIFICATION_DONE: return "CLEAR_DEATH_NOTIFICATION_DONE";
	case BR_FAILED_REPLY: return "FAILED_REPLY";
	case BR_FROZEN_REPLY: return "FROZEN_REPLY";
	case BR_ONEWAY_SPAM_SUSPECT: return "ONEWAY_SPAM_SUSPECT";
	case BR_TRANSACTION_PENDING_FROZEN: return "TRANSACTION_PENDING_FROZEN";
	case BR_FROZEN_BINDER: return "FROZEN_BINDER";
	case BR_CLEAR_FREEZE_NOTIFICATION_DONE: return "CLEAR_FREEZE_NOTIFICATION_DONE";
	default: return "(unknown)";
	}
}

/* Takes one return off the last read, at *AT: false at its end. */
static inline bool next_return(struct peer *p, size_t *at, struct br *br)
{
	size_t len;

	if (*at + 4 > p->bwr.read_consumed)
		return false;
	memset(br, 0, sizeof(*br));
	memcpy(&br->cmd, p->read + *at, 4);
	/* This one comes without the argument that its code speaks of. */
	len = br->cmd == BR_ERROR ? 0 : _IOC_SIZE(br->cmd);
	if (len > sizeof(br->sec) || *at + 4 + len > p->bwr.read_consumed)
		return false;
	memcpy(&br->sec, p->read + *at + 4, len);
	*at += 4 + len;
	return true;
}

/* Takes the returns of the last read apart. */
static inline void parse_returns(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	size_t at = 0;

	ASSERT_LE(p->bwr.read_consumed, p->read_len);
	for (p->brs = 0; next_return(p, &at, &p->br[p->brs]); p->brs++) {
		ASSERT_LT(p->brs + 1, ARRAY_SIZE(p->br));
		ASSERT_STRNE("(unknown)", br_name(p->br[p->brs].cmd)) {
			TH_LOG("return 0x%x before %zu", p->br[p->brs].cmd, at);
		}
	}
	ASSERT_EQ(p->bwr.read_consumed, at);
}

static inline long do_write_read(struct peer *p, void *arg)
{
	return ioctl(p->fd, BINDER_WRITE_READ, arg) ? -errno : 0;
}

/* A BINDER_WRITE_READ of what was gathered, and of a read if asked, that can be done now. */
static inline void prepare_io(struct peer *p, bool reads)
{
	p->bwr = (struct binder_write_read) {
		.write_size = p->write_len,
		.write_buffer = (uintptr_t)p->write,
		.read_size = reads ? p->read_len : 0,
		.read_buffer = (uintptr_t)p->read,
	};
	p->write_len = 0;
	memset(p->read, 0xa5, sizeof(p->read));
}

static inline void start_io(struct peer *p, bool reads)
{
	prepare_io(p, reads);
	peer_start(p, do_write_read, &p->bwr);
}

static inline long finish(struct peer *p)
{
	long ret = peer_finish(p);

	parse_returns(p);
	return ret;
}

/* Runs the commands, without a read. */
static inline long submit(struct peer *p)
{
	start_io(p, false);
	return finish(p);
}

/* Runs the commands, then reads; waits until there is something. */
static inline long transact(struct peer *p)
{
	start_io(p, true);
	return finish(p);
}

static inline long receive(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, p->write_len) {
		TH_LOG("%s has commands left to run", p->name);
	}
	return transact(p);
}

static inline bool check_returns(struct peer *p, const __u32 *want, int count)
{
	struct __test_metadata *_metadata = this_test;
	char seen[512] = "", wanted[512] = "";
	bool same = count == p->brs;
	int i;

	for (i = 0; i < p->brs; i++) {
		same = same && p->br[i].cmd == want[i];
		snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), " %s",
			 br_name(p->br[i].cmd));
	}
	for (i = 0; i < count; i++)
		snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), " %s",
			 br_name(want[i]));
	if (!same)
		TH_LOG("%s read%s and should have read%s", p->name, seen, wanted);
	return same;
}

/* Starts it, and returns when it sleeps in the kernel. */
static inline void start_transact(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	bool sleeps;

	start_io(p, true);
	sleeps = peer_sleeps(p);
	if (!sleeps) {
		finish(p);
		check_returns(p, NULL, 0);
	}
	ASSERT_TRUE(sleeps) {
		TH_LOG("%s does not wait: result %ld", p->name, p->result);
	}
}

static inline void start_receive(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, p->write_len);
	start_transact(p);
}

/* True if P still waits in the read that was started. */
static inline bool still_waits(struct peer *p)
{
	return !peer_done(p) && peer_in_syscall(p);
}

/* A read that does not wait: -EAGAIN if there is nothing for this thread. */
static inline long receive_now(struct peer *p)
{
	long flags = peer_syscall(p, SYS_fcntl, p->fd, F_GETFL), ret;

	peer_syscall(p, SYS_fcntl, p->fd, F_SETFL, flags | O_NONBLOCK);
	ret = receive(p);
	peer_syscall(p, SYS_fcntl, p->fd, F_SETFL, flags);
	return ret;
}

/* The whole of the last read: BR_NOOP, and then exactly these. */
#define ASSERT_BR(p, ...) do { \
	const __u32 __want[] = { BR_NOOP, ##__VA_ARGS__ }; \
	ASSERT_TRUE(check_returns(p, __want, ARRAY_SIZE(__want))); \
} while (0)

/* The same where a BR_SPAWN_LOOPER has taken the place of BR_NOOP. */
#define ASSERT_BR_SPAWN(p, ...) do { \
	const __u32 __want[] = { BR_SPAWN_LOOPER, ##__VA_ARGS__ }; \
	ASSERT_TRUE(check_returns(p, __want, ARRAY_SIZE(__want))); \
} while (0)

/* Nothing at all was read, not even BR_NOOP. */
#define ASSERT_NO_BR(p) ASSERT_EQ(0, (p)->bwr.read_consumed)

/* Nothing is to be had for this thread. */
#define ASSERT_QUIET(p) do { \
	long __result = receive_now(p); \
	if (!__result) \
		check_returns(p, NULL, 0); \
	ASSERT_EQ(-EAGAIN, __result); \
} while (0)

/* The call or reply among what was read last. */
static inline struct binder_transaction_data *message(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	int i;

	for (i = 0; i < p->brs; i++)
		if (p->br[i].cmd == BR_TRANSACTION || p->br[i].cmd == BR_REPLY ||
		    p->br[i].cmd == BR_TRANSACTION_SEC_CTX)
			return arena_copy(&p->br[i].tr, sizeof(p->br[i].tr));
	ASSERT_TRUE(false) {
		TH_LOG("%s has read no message", p->name);
	}
	return NULL;
}

static inline bool in_arena(const void *p)
{
	return (__u8 *)p >= arena.start && (__u8 *)p < arena.start + ARENA_LEN;
}

/* True if the message holds exactly these bytes, as the peer sees it. */
static inline bool payload_is(struct peer *p, const struct binder_transaction_data *tr,
			      const void *data, size_t len)
{
	__u8 *scratch = arena.free;
	struct copy_args c = { (void *)(uintptr_t)tr->data.ptr.buffer, data, len };
	bool same;

	if (!in_arena(data))
		c.from = arena_copy(data, len);
	same = tr->data_size == len && !peer_run(p, do_compare, arena_copy(&c, sizeof(c)));
	arena.free = scratch;
	return same;
}

#define ASSERT_PAYLOAD(p, tr, data, len) ASSERT_TRUE(payload_is(p, tr, data, len))

/* Reads one call, and nothing else. */
static inline struct binder_transaction_data *take_call(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, receive(p));
	ASSERT_BR(p, BR_TRANSACTION);
	return message(p);
}

/* Frees the call, replies, and reads the completion of that. */
static inline void answer(struct peer *p, const struct binder_transaction_data *tr,
			  const void *data, size_t len)
{
	struct __test_metadata *_metadata = this_test;

	free_buffer(p, tr->data.ptr.buffer);
	reply(p, data, len);
	ASSERT_EQ(0, transact(p));
	ASSERT_BR(p, BR_TRANSACTION_COMPLETE);
}

/* After start_transact() of a call: the reply has come, with these bytes. Frees it. */
static inline void take_reply(struct peer *p, const void *data, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, finish(p));
	ASSERT_BR(p, BR_TRANSACTION_COMPLETE, BR_REPLY);
	tr = message(p);
	ASSERT_PAYLOAD(p, tr, data, len);
	free_buffer(p, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(p));
}

/* A call of LEN bytes at BYTES, which are in the arena and are not copied. */
static inline void call_at(struct peer *p, __u32 code, const void *bytes, size_t len)
{
	bc_message(p, BC_TRANSACTION, code, 0, bytes, len);
}

/* As large a call arrives whole, and so does its reply, the first REPLY_LEN bytes of it. */
static inline void exchange(struct peer *client, struct peer *server, const void *bytes,
			    size_t len, size_t reply_len)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;

	call_at(client, len, bytes, len);
	start_transact(client);
	tr = take_call(server);
	ASSERT_EQ(0, tr->offsets_size);
	ASSERT_EQ(tr->data.ptr.buffer + ((len + 7) & ~7ULL), tr->data.ptr.offsets);
	ASSERT_EQ(0, tr->data.ptr.buffer % 8);
	ASSERT_LE((uintptr_t)server->area, tr->data.ptr.buffer);
	ASSERT_LE(tr->data.ptr.buffer + len, (uintptr_t)server->area + server->area_len);
	ASSERT_PAYLOAD(server, tr, bytes, len);

	free_buffer(server, tr->data.ptr.buffer);
	bc_message(server, BC_REPLY, 0, 0, bytes, reply_len);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	take_reply(client, bytes, reply_len);
}

/* A call and its reply work between the two, with nothing before them or left over. */
static inline void round_trip(struct peer *client, struct peer *server)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;

	call(client, 7, "there", 5);
	start_transact(client);
	tr = take_call(server);
	ASSERT_EQ(7, tr->code);
	ASSERT_PAYLOAD(server, tr, "there", 5);
	answer(server, tr, "back again", 10);
	take_reply(client, "back again", 10);
}

/* CLIENT calls, and WAITER, whose read has been started, answers. */
static inline void call_waiter(struct peer *client, struct peer *waiter)
{
	struct __test_metadata *_metadata = this_test;

	call(client, 1, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, finish(waiter));
	ASSERT_BR(waiter, BR_TRANSACTION);
	answer(waiter, message(waiter), NULL, 0);
	take_reply(client, NULL, 0);
}

/* Nothing is left of what happened: calls work, and all of the server's area is free. */
static inline void check_unharmed(struct peer *client, struct peer *server)
{
	__u8 *scratch = arena.free, *bytes = arena_alloc(AREA_LEN);

	round_trip(client, server);
	memset(bytes, 0x6b, AREA_LEN);
	exchange(client, server, bytes, AREA_LEN, AREA_LEN);
	arena.free = scratch;
}

/* The manager is gone, and its device knows: a call to handle 0 is refused at once. */
static inline void await_no_manager(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_TRUE(eventually(({
		call(p, 0, NULL, 0);
		ASSERT_EQ(0, transact(p));
		p->brs == 2 && p->br[1].cmd == BR_DEAD_REPLY;
	})));
}

/* The thread's extended error, which reading resets. */
static inline struct binder_extended_error extended_error(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_extended_error *error = arena_alloc(sizeof(*error));

	memset(error, 0xcc, sizeof(*error));
	ASSERT_EQ(0, peer_ioctl(p, BINDER_GET_EXTENDED_ERROR, error));
	return *error;
}

#define ASSERT_EXTENDED_ERROR(p, br, error_number) do { \
	struct binder_extended_error __error = extended_error(p); \
	ASSERT_EQ(br, __error.command) { \
		TH_LOG("extended error %s %d", br_name(__error.command), __error.param); \
	} \
	ASSERT_EQ(error_number, __error.param); \
} while (0)

/* Runs the commands: the driver refuses the call at once, with BR and the extended error. */
#define ASSERT_REFUSED(p, br, error_number) do { \
	ASSERT_EQ(0, transact(p)); \
	ASSERT_BR(p, br); \
	ASSERT_EXTENDED_ERROR(p, br, error_number); \
} while (0)

/* ---- peers left to themselves ----------------------------------------- */

/*
 * What follows runs in a peer, in a function that goes on by itself. The
 * payload of these messages has a head that says what the rest must be.
 */
struct pattern {
	__u64 seed;
	__u32 len;		/* of all of it */
	__u32 reply_len;	/* of the answer, whose seed is the complement */
	__u8 bytes[];
};

static inline __u64 pattern_word(__u64 seed, size_t i)
{
	return (seed + i) * 0x9e3779b97f4a7c15ULL;
}

static inline void make_pattern(struct pattern *pattern, __u64 seed, __u32 len, __u32 reply_len)
{
	size_t n = len - sizeof(*pattern), i;

	*pattern = (struct pattern) { seed, len, reply_len };
	for (i = 0; i < n; i += 8) {
		__u64 word = pattern_word(seed, i);

		memcpy(pattern->bytes + i, &word, n - i < 8 ? n - i : 8);
	}
}

/* Every byte of it is what it should be. */
static inline bool check_pattern(const struct pattern *pattern, __u64 seed, size_t len)
{
	size_t n = len - sizeof(*pattern), i;

	if (len < sizeof(*pattern) || pattern->seed != seed || pattern->len != len)
		return false;
	for (i = 0; i < n; i += 8) {
		__u64 word = pattern_word(seed, i);

		if (memcmp(pattern->bytes + i, &word, n - i < 8 ? n - i : 8))
			return false;
	}
	return true;
}

/*
 * Runs what was gathered, and reads; starts again after signals. 0, or -errno.
 * What a failed message held up stays for the next time.
 */
static inline long own_io(struct peer *p)
{
	long ret;

	p->bwr = (struct binder_write_read) {
		.write_size = p->write_len,
		.write_buffer = (uintptr_t)p->write,
		.read_size = sizeof(p->read),
		.read_buffer = (uintptr_t)p->read,
	};
	do {
		ret = ioctl(p->fd, BINDER_WRITE_READ, &p->bwr) ? -errno : 0;
	} while (ret == -EINTR);
	p->write_len -= p->bwr.write_consumed;
	memmove(p->write, p->write + p->bwr.write_consumed, p->write_len);
	return ret;
}

/* Runs what was gathered, without a read. 0, or -errno. */
static inline long own_submit(struct peer *p)
{
	p->bwr = (struct binder_write_read) {
		.write_size = p->write_len,
		.write_buffer = (uintptr_t)p->write,
	};
	p->write_len = 0;
	return do_write_read(p, &p->bwr);
}

/*
 * Runs what was gathered and reads until one of the returns says how the last
 * message fared, or what has come: that return, or -errno.
 */
static inline long own_wait(struct peer *p, struct binder_transaction_data *tr, bool oneway)
{
	struct br br;
	long ret;

	for (;;) {
		size_t at = 0;
		__u32 seen = 0;

		ret = own_io(p);
		if (ret)
			return ret;
		while (next_return(p, &at, &br)) {
			switch (br.cmd) {
			case BR_TRANSACTION:
			case BR_REPLY:
				*tr = br.tr;
				seen = br.cmd;
				break;
			case BR_TRANSACTION_COMPLETE:
			case BR_TRANSACTION_PENDING_FROZEN:
				if (oneway)
					seen = br.cmd;
				break;
			case BR_DEAD_REPLY:
			case BR_FAILED_REPLY:
			case BR_FROZEN_REPLY:
				seen = br.cmd;
				break;
			case BR_NOOP:
			case BR_SPAWN_LOOPER:
				break;
			default:
				return -EBADMSG;
			}
		}
		if (seen)
			return seen;
	}
}

/* Serves calls and one-way messages until one of code STOP comes. 0, or what went wrong. */
#define STOP 0xdead

static inline long do_serve(struct peer *p, void *arg)
{
	struct pattern *answer = arg;	/* room for the longest */
	struct binder_transaction_data tr;
	long ret;

	for (;;) {
		const struct pattern *question;

		ret = own_wait(p, &tr, false);
		if (ret != BR_TRANSACTION)
			return ret;
		question = (const void *)(uintptr_t)tr.data.ptr.buffer;
		if (!check_pattern(question, question->seed, tr.data_size))
			return -EILSEQ;
		if (!(tr.flags & TF_ONE_WAY)) {
			make_pattern(answer, ~question->seed, question->reply_len, 0);
			bc_message(p, BC_REPLY, 0, 0, answer, answer->len);
		}
		free_buffer(p, tr.data.ptr.buffer);
		if (tr.code == STOP) {
			do {
				ret = own_io(p);
			} while (!ret && p->write_len);
			return ret;
		}
	}
}

FIXTURE(ipc) {
};

static void __attribute__((unused)) ipc_setup(struct __test_metadata *, FIXTURE_DATA(ipc) *,
					      const FIXTURE_VARIANT(ipc) *);

FIXTURE_SETUP(ipc)
{
	this_test = _metadata;
}

/* What else is to be undone, once all peers are gone. */
static void (*at_teardown)(void);

/* Everybody is gone, and the device closed, when the next test begins. */
FIXTURE_TEARDOWN(ipc)
{
	int i;

	if (_metadata->exit_code == KSFT_FAIL && this_step[0])
		TH_LOG("at the last: %s", this_step);
	for (i = 0; i < arena.peer_count; i++) {
		struct peer *p = arena.peers[i];

		if (p->leader != p || p->gone)
			continue;
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
	}
	arena.peer_count = 0;
	if (at_teardown)
		at_teardown();
}

#endif
