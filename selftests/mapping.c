// SPDX-License-Identifier: GPL-2.0
/*
 * The receive area: who may map it and how, what may be done to the mapping
 * afterwards, and what others see of its pages.
 */
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "memory.h"

/* What the driver uses of a mapping at the most, unless told otherwise. */
#define MAX_AREA (4UL << 20)

static struct peer *opener(const char *name)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *p = new_process(name);

	ASSERT_LE(0, open_device(p, 0));
	settle(p);
	return p;
}

/* The same open file, in another process. */
static void share_file(struct peer *owner, struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	long pidfd = peer_syscall(p, SYS_pidfd_open, owner->pid, 0);

	p->fd = peer_syscall(p, SYS_pidfd_getfd, pidfd, owner->fd, 0);
	ASSERT_LE(0, p->fd);
	peer_syscall(p, SYS_close, pidfd);
}

/* SERVER's area is as large as LEN, to the byte. */
static void check_capacity(struct peer *client, struct peer *server, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	__u8 *scratch = arena.free, *bytes = arena_alloc(len + 8);

	memset(bytes, len >> 12, len + 8);
	call_at(client, 1, bytes, len + 8);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	exchange(client, server, bytes, len, 8);
	arena.free = scratch;
}

/* The area is as it was: messages arrive and can be read. */
static void check_works(struct peer *client, struct peer *server)
{
	round_trip(client, server);
	check_capacity(client, server, server->area_len < MAX_AREA ? server->area_len : MAX_AREA);
}

/* The area is gone for good: nothing arrives any more. */
static void check_dead(struct peer *client, struct peer *server)
{
	struct __test_metadata *_metadata = this_test;

	call(client, 1, "x", 1);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -ESRCH);
	oneway(client, 1, "x", 1);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -ESRCH);
	EXPECT_EQ(-EBUSY, map_area(server, AREA_LEN));
	ASSERT_QUIET(server);
}

/* ---- who may map -------------------------------------------------------- */

TEST_F(ipc, writable)
{
	struct peer *server = opener("server"), *client = member("client");
	static const int prot[] = { PROT_WRITE, PROT_READ | PROT_WRITE };
	static const int flags[] = { MAP_SHARED, MAP_PRIVATE };
	int i;

	for (i = 0; i < 4; i++) {
		EXPECT_EQ(-EPERM, peer_mmap(server, NULL, AREA_LEN, prot[i % 2], flags[i / 2],
					    server->fd));
	}
	/* A refused mapping leaves nothing behind. */
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	become_manager(server, NULL);
	check_works(client, server);
}

TEST_F(ipc, foreign_process)
{
	struct peer *server = opener("server"), *foreign = new_process("foreign");
	struct peer *client = member("client");

	share_file(server, foreign);
	EXPECT_EQ(-EINVAL, map_area(foreign, AREA_LEN));
	/* That comes first. */
	EXPECT_EQ(-EINVAL, peer_mmap(foreign, NULL, AREA_LEN, PROT_READ | PROT_WRITE, MAP_SHARED,
				     foreign->fd));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	EXPECT_EQ(-EINVAL, map_area(foreign, AREA_LEN));
	become_manager(server, NULL);
	check_works(client, server);
}

/* Runs FN in a forked child of the peer; its result, or -1000 minus the signal that ended it. */
struct child_args {
	long (*fn)(struct peer *p, void *arg);
	void *arg;
	long result;
};

static long do_in_child(struct peer *p, void *arg)
{
	struct child_args *c = arg;
	/* With the same files, so that its end closes none: that would send readers back. */
	pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	int status;

	if (child < 0)
		return -errno;
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		c->result = c->fn(p, c->arg);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		return -errno;
	return WIFSIGNALED(status) ? -1000 - WTERMSIG(status) : c->result;
}

static long in_child(struct peer *p, long (*fn)(struct peer *, void *), void *arg)
{
	struct child_args c = { fn, arg };

	return peer_run(p, do_in_child, arena_copy(&c, sizeof(c)));
}

static long do_map(struct peer *p, void *arg)
{
	void *at = mmap(NULL, AREA_LEN, PROT_READ, MAP_PRIVATE, p->fd, 0);

	return at == MAP_FAILED ? -errno : 0;
}

static long do_peek(struct peer *p, void *arg)
{
	return *(volatile __u8 *)arg;
}

TEST_F(ipc, forked_child)
{
	struct peer *server = opener("server"), *client = member("client");

	EXPECT_EQ(-EINVAL, in_child(server, do_map, NULL));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	EXPECT_EQ(-EINVAL, in_child(server, do_map, NULL));
	become_manager(server, NULL);
	check_works(client, server);
}

/* The process a program turns into by exec: see main(). */
static long do_exec(struct peer *p, void *arg)
{
	char fd[16];

	fcntl(p->fd, F_SETFD, 0);
	snprintf(fd, sizeof(fd), "%d", p->fd);
	execl("/proc/self/exe", "mapping", "--after-exec", arg, fd, NULL);
	return -errno;
}

static int after_exec(const char *what, const char *fd)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!strcmp(what, "map")) {
		void *at = mmap(NULL, AREA_LEN, PROT_READ, MAP_PRIVATE, atoi(fd), 0);

		return at == MAP_FAILED ? errno : 0;
	}
	for (;;)
		pause();
}

TEST_F(ipc, after_exec)
{
	struct peer *server = opener("server");

	peer_start(server, do_exec, "map");
	EXPECT_EQ(EINVAL, await_exit(server));

	server = member("server");
	peer_start(server, do_exec, "map");
	EXPECT_EQ(EINVAL, await_exit(server));
}

/* The area went with the old program. The open file is still there, and nothing can be sent to it. */
TEST_F(ipc, exec_of_receiver)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *other = member("other");

	round_trip(client, server);
	call(other, 1, NULL, 0);
	start_transact(other);
	peer_start(server, do_exec, "wait");
	ASSERT_TRUE(eventually(({
		oneway(client, 1, NULL, 0);
		ASSERT_EQ(0, transact(client));
		client->br[1].cmd == BR_DEAD_REPLY;
	})));
	ASSERT_EXTENDED_ERROR(client, BR_DEAD_REPLY, -ESRCH);
	/* Nor will what was sent before be read. (With the C driver one waits for the end.) */
	if (oracle()) {
		EXPECT_TRUE(still_waits(other));
	} else {
		ASSERT_EQ(0, finish(other));
	}
	kill_process(server);
	if (oracle()) {
		ASSERT_EQ(0, finish(other));
	}
	ASSERT_BR(other, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	server = manager("successor");
	round_trip(client, server);
	round_trip(other, server);
}

TEST_F(ipc, map_twice)
{
	struct peer *server = manager("server"), *client = member("client");
	__u8 *area = server->area;

	EXPECT_EQ(-EBUSY, peer_mmap(server, NULL, AREA_LEN, PROT_READ, MAP_PRIVATE, server->fd));
	EXPECT_EQ(-EBUSY, peer_mmap(server, NULL, PAGE, PROT_READ, MAP_SHARED, server->fd));
	EXPECT_EQ(-EPERM, peer_mmap(server, NULL, PAGE, PROT_WRITE, MAP_SHARED, server->fd));
	check_works(client, server);

	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, area, AREA_LEN));
	EXPECT_EQ(-EBUSY, peer_mmap(server, NULL, AREA_LEN, PROT_READ, MAP_PRIVATE, server->fd));
	EXPECT_EQ(-EBUSY, peer_mmap(server, area, AREA_LEN, PROT_READ,
				    MAP_PRIVATE | MAP_FIXED_NOREPLACE, server->fd));
	check_dead(client, server);
}

struct race {
	int ready, go, threads, rounds;
	int *fds;
	long *results;		/* [rounds][threads] */
};

static long do_race(struct peer *p, void *arg)
{
	struct race *race = arg;
	int me = __atomic_fetch_add(&race->ready, 1, __ATOMIC_SEQ_CST), round;

	for (round = 0; round < race->rounds; round++) {
		long at;

		__atomic_fetch_add(&race->go, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&race->go, __ATOMIC_SEQ_CST) < (round + 1) * race->threads)
			sched_yield();
		at = syscall(SYS_mmap, NULL, AREA_LEN, PROT_READ, MAP_PRIVATE, race->fds[round], 0);
		race->results[round * race->threads + me] = at == -1 ? -errno : at;
	}
	return 0;
}

/* Of threads that map at once exactly one gets the area, and that one works. */
TEST_F(ipc, map_race)
{
	struct peer *server = new_process("server"), *client = member("client"), *threads[4];
	struct race *race = arena_alloc(sizeof(*race));
	int i, round;

	*race = (struct race) { .threads = 4, .rounds = 40 };
	race->fds = arena_alloc(race->rounds * sizeof(int));
	race->results = arena_alloc(race->rounds * race->threads * sizeof(long));
	for (i = 0; i < race->rounds; i++)
		race->fds[i] = open_device(server, 0);
	for (i = 0; i < 4; i++) {
		threads[i] = i ? new_bare_thread(server, "racer") : server;
		if (i)
			peer_start(threads[i], do_race, race);
	}
	peer_start(server, do_race, race);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, peer_finish(threads[i]));
	}
	for (round = 0; round < race->rounds; round++) {
		long *results = &race->results[round * 4], at = 0;
		int winners = 0;

		step("round %d", round);
		for (i = 0; i < 4; i++) {
			if (results[i] > 0) {
				winners++;
				at = results[i];
			} else {
				ASSERT_EQ(-EBUSY, results[i]);
			}
		}
		ASSERT_EQ(1, winners);
		server->area = (__u8 *)at;
	}
	server->area_len = AREA_LEN;
	/* The last one's file and area, and the losers' attempts have done no harm to it. */
	server->fd = race->fds[race->rounds - 1];
	settle(server);
	become_manager(server, NULL);
	check_works(client, server);
}

/* ---- how ------------------------------------------------------------------ */

FIXTURE(size) {
};

FIXTURE_VARIANT(size) {
	size_t len, usable;
	int flags;
};

FIXTURE_VARIANT_ADD(size, one_page) { PAGE, PAGE, MAP_PRIVATE };
FIXTURE_VARIANT_ADD(size, two_pages_shared) { 2 * PAGE, 2 * PAGE, MAP_SHARED };
FIXTURE_VARIANT_ADD(size, not_whole_pages) { 2 * PAGE - 100, 2 * PAGE, MAP_PRIVATE };
FIXTURE_VARIANT_ADD(size, megabyte) { 1 << 20, 1 << 20, MAP_PRIVATE };
FIXTURE_VARIANT_ADD(size, least_page_under) { MAX_AREA - PAGE, MAX_AREA - PAGE, MAP_PRIVATE };
FIXTURE_VARIANT_ADD(size, most) { MAX_AREA, MAX_AREA, MAP_SHARED };
FIXTURE_VARIANT_ADD(size, page_more) { MAX_AREA + PAGE, MAX_AREA, MAP_PRIVATE };
FIXTURE_VARIANT_ADD(size, twice) { 2 * MAX_AREA, MAX_AREA, MAP_PRIVATE };
FIXTURE_VARIANT_ADD(size, gigabyte) { 1UL << 30, MAX_AREA, MAP_PRIVATE | MAP_NORESERVE };
FIXTURE_VARIANT_ADD(size, populated) { AREA_LEN, AREA_LEN, MAP_PRIVATE | MAP_POPULATE };
FIXTURE_VARIANT_ADD(size, locked) { AREA_LEN, AREA_LEN, MAP_PRIVATE | MAP_LOCKED };
FIXTURE_VARIANT_ADD(size, low) { AREA_LEN, AREA_LEN, MAP_PRIVATE | MAP_32BIT };

FIXTURE_SETUP(size)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(size)
{
	ipc_teardown(_metadata, NULL, NULL);
}

TEST_F(size, usable)
{
	struct peer *server = opener("server"), *client = member("client");
	long at = peer_mmap(server, NULL, variant->len, PROT_READ, variant->flags, server->fd);

	ASSERT_LT(0, at);
	server->area = (__u8 *)at;
	server->area_len = variant->usable;
	become_manager(server, NULL);
	check_capacity(client, server, variant->usable);
	round_trip(client, server);
	if (variant->len > variant->usable) {
		/* The rest of the mapping stays empty. */
		EXPECT_EQ(SIGBUS, peer_touch(server, at + variant->usable));
		EXPECT_EQ(SIGBUS, peer_touch(server, at + variant->len - 1));
	}
	/* It can be unmapped as a whole. */
	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, at, variant->len));
	check_dead(client, server);
}

TEST_F(ipc, offset_and_length)
{
	struct peer *server = opener("server"), *client = member("client");
	long at;

	EXPECT_EQ(-EINVAL, peer_mmap(server, NULL, 0, PROT_READ, MAP_PRIVATE, server->fd));
	EXPECT_EQ(-ENOMEM, peer_mmap(server, NULL, 1UL << 47, PROT_READ, MAP_PRIVATE, server->fd));
	/* Where in the "file" it begins has no meaning. */
	at = peer_syscall(server, SYS_mmap, NULL, AREA_LEN, PROT_READ, MAP_PRIVATE, server->fd,
			  5 * PAGE);
	ASSERT_LT(0, at);
	server->area = (__u8 *)at;
	server->area_len = AREA_LEN;
	become_manager(server, NULL);
	check_works(client, server);
}

TEST_F(ipc, never_mapped)
{
	struct peer *server = opener("server"), *client = opener("client");
	struct peer *other = member("other");

	become_manager(server, NULL);
	call(client, 1, NULL, 0);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -ESRCH);
	oneway(client, 1, NULL, 0);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -ESRCH);

	/* It is never too late. */
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	check_works(other, server);

	/* Nor can a reply reach who has nothing mapped. */
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), NULL, 0);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_DEAD_REPLY, -ESRCH);
	oneway(client, 1, NULL, 0);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	free_buffer(server, take_call(server)->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, map_area(client, AREA_LEN));
	check_works(client, server);
}

/* ---- what is there ---------------------------------------------------------- */

TEST_F(ipc, absent_pages)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	__u64 area = (uintptr_t)server->area, at;
	__u8 *bytes = arena_alloc(PAGE);

	EXPECT_EQ(SIGBUS, peer_touch(server, area));
	EXPECT_EQ(SIGBUS, peer_touch(server, area + AREA_LEN - 1));
	EXPECT_EQ(SIGSEGV, peer_scribble(server, area));

	call(client, 1, "there", 5);
	start_transact(client);
	tr = take_call(server);
	at = tr->data.ptr.buffer;
	EXPECT_EQ(0, peer_touch(server, at));
	EXPECT_EQ(SIGSEGV, peer_scribble(server, at));
	EXPECT_EQ(SIGBUS, peer_touch(server, (at - area + AREA_LEN / 2) % AREA_LEN + area));
	/* What nobody wrote is zero. */
	memset(bytes, 0, PAGE);
	memcpy(bytes, "there", 5);
	ASSERT_EQ(area, at) {
		TH_LOG("the first message is not at the start of the area");
	}
	EXPECT_EQ(0, memcmp(bytes, peer_memory(server, at, PAGE), PAGE));
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_works(client, server);
}

/* System calls that read the area are told by EFAULT. */
TEST_F(ipc, absent_pages_syscalls)
{
	struct peer *server = manager("server"), *client = member("client");
	int *pipes = arena_alloc(2 * sizeof(int));
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, peer_syscall(server, SYS_pipe2, pipes, O_CLOEXEC | O_NONBLOCK));
	EXPECT_EQ(-EFAULT, peer_syscall(server, SYS_write, pipes[1], server->area, 16));
	/* As a sender's payload as well. */
	call(client, 1, "x", 1);
	start_transact(client);
	tr = take_call(server);
	ASSERT_EQ(1, peer_syscall(server, SYS_write, pipes[1], tr->data.ptr.buffer, 1));
	reply(server, NULL, 0)->tr.data.ptr.buffer = (uintptr_t)server->area + AREA_LEN / 2;
	((struct unaligned_transaction *)(server->write + 4))->tr.data_size = 8;
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -EFAULT);
	/* The kernel does not write there, not even for the process itself. */
	EXPECT_EQ(-EFAULT, peer_syscall(server, SYS_read, pipes[0], tr->data.ptr.buffer, 1));
	EXPECT_EQ(-EFAULT, peer_ioctl(server, BINDER_GET_EXTENDED_ERROR, tr->data.ptr.buffer));
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	round_trip(client, server);
}

/* The flags that the mapping has, and those it must not have. */
TEST_F(ipc, vm_flags)
{
	struct peer *server = member("server");
	const char *flags = area_flags(server);

	EXPECT_NE(NULL, strstr(flags, " rd"));
	EXPECT_NE(NULL, strstr(flags, " mm"));
	EXPECT_NE(NULL, strstr(flags, " dc"));
	EXPECT_EQ(NULL, strstr(flags, " wr"));
	EXPECT_EQ(NULL, strstr(flags, " mw"));
	/* The C driver's areas are part of core dumps. */
	EXPECT_EQ(oracle(), !strstr(flags, " dd"));
	if (!oracle()) {
		EXPECT_NE(NULL, strstr(flags, " de"));
	}
}

/* ---- what may be done to it -------------------------------------------------- */

TEST_F(ipc, mprotect)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	__u8 *area = server->area;

	EXPECT_EQ(-EACCES, peer_syscall(server, SYS_mprotect, area, AREA_LEN,
					PROT_READ | PROT_WRITE));
	EXPECT_EQ(-EACCES, peer_syscall(server, SYS_mprotect, area, AREA_LEN, PROT_WRITE));
	EXPECT_EQ(0, peer_syscall(server, SYS_mprotect, area, AREA_LEN, PROT_READ));
	check_works(client, server);

	/* A process may lock itself out; messages come all the same. */
	ASSERT_EQ(0, peer_syscall(server, SYS_mprotect, area, AREA_LEN, PROT_NONE));
	call(client, 1, "behind the door", 15);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(SIGSEGV, peer_touch(server, tr->data.ptr.buffer));
	EXPECT_EQ(-EACCES, peer_syscall(server, SYS_mprotect, area, AREA_LEN, PROT_WRITE));
	ASSERT_EQ(0, peer_syscall(server, SYS_mprotect, area, AREA_LEN, PROT_READ));
	ASSERT_PAYLOAD(server, tr, "behind the door", 15);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_works(client, server);
}

TEST_F(ipc, munmap)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *waiting = member("waiting"), *next;
	struct binder_transaction_data *tr;

	call(client, 1, "x", 1);
	start_transact(client);
	tr = take_call(server);
	oneway(waiting, 2, "y", 1);
	ASSERT_EQ(0, transact(waiting));
	call(waiting, 3, "z", 1);
	start_transact(waiting);
	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, server->area, AREA_LEN));
	EXPECT_EQ(SIGSEGV, peer_touch(server, tr->data.ptr.buffer));

	/* What was delivered before takes its course, bytes aside. */
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	if (!oracle()) {
		/* What was not delivered has nowhere to be. */
		ASSERT_EQ(0, finish(waiting));
		ASSERT_BR(waiting, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
		ASSERT_QUIET(server);
	} else {
		tr = take_call(server);
		EXPECT_EQ(2, tr->code);
		free_buffer(server, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(server));
		answer(server, take_call(server), NULL, 0);
		take_reply(waiting, NULL, 0);
	}
	check_dead(client, server);

	/* Its own calls have nowhere to be answered to. */
	next = member("next");
	kill_process(server);
	become_manager(next, NULL);
	ASSERT_EQ(0, peer_syscall(client, SYS_munmap, client->area, AREA_LEN));
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(next, take_call(next), NULL, 0);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	round_trip(waiting, next);
}

/* A reply that was not read when its receiver unmaps its area. */
TEST_F(ipc, munmap_before_reply_is_read)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");

	require_rust_ipc();
	call(client, 1, NULL, 0);
	ASSERT_EQ(0, submit(client));
	answer(server, take_call(server), "x", 1);
	ASSERT_EQ(0, peer_syscall(sibling, SYS_munmap, client->area, AREA_LEN));
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	ASSERT_QUIET(client);
	round_trip(member("another"), server);
}

/* The mapping keeps the open file; without both it is gone. */
TEST_F(ipc, close_before_munmap)
{
	struct peer *server = manager("server"), *client = member("client");

	call(client, 1, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, peer_syscall(server, SYS_close, server->fd));
	EXPECT_TRUE(still_waits(client));
	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, server->area, AREA_LEN));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	await_no_manager(client);
	round_trip(client, manager("successor"));
}

/*
 * The area is whole or gone: it cannot be cut, resized or moved. (With the C
 * driver it can, and nothing arrives there afterwards.)
 */
FIXTURE(refused) {
	struct peer *server, *client;
	struct binder_transaction_data *tr;
};

FIXTURE_VARIANT(refused) {
	long number, a[5];	/* a system call; addresses count from the area's start */
	int error;
};

#define MID (AREA_LEN / 2)

FIXTURE_VARIANT_ADD(refused, munmap_head) {
	SYS_munmap, { 0, PAGE }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, munmap_tail) {
	SYS_munmap, { AREA_LEN - PAGE, PAGE }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, munmap_middle) {
	SYS_munmap, { MID, PAGE }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, munmap_across_end) {
	SYS_munmap, { MID, AREA_LEN }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mprotect_head) {
	SYS_mprotect, { 0, PAGE, PROT_NONE }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mprotect_tail) {
	SYS_mprotect, { AREA_LEN - PAGE, PAGE, PROT_NONE }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mprotect_part_writable) {
	SYS_mprotect, { MID, PAGE, PROT_READ | PROT_WRITE }, -EACCES };
FIXTURE_VARIANT_ADD(refused, madvise_part) {
	SYS_madvise, { MID, PAGE, MADV_RANDOM }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, map_over_part) {
	SYS_mmap, { MID, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1 }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mremap_shrink) {
	SYS_mremap, { 0, AREA_LEN, PAGE }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mremap_grow) {
	SYS_mremap, { 0, AREA_LEN, 2 * AREA_LEN }, -EFAULT };
FIXTURE_VARIANT_ADD(refused, mremap_grow_and_move) {
	SYS_mremap, { 0, AREA_LEN, 2 * AREA_LEN, MREMAP_MAYMOVE }, -EFAULT };
FIXTURE_VARIANT_ADD(refused, mremap_move) {
	SYS_mremap, { 0, AREA_LEN, AREA_LEN, MREMAP_MAYMOVE | MREMAP_FIXED, 0x10000000 }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mremap_move_part) {
	SYS_mremap, { MID, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, 0x10000000 }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mremap_dontunmap) {
	SYS_mremap, { 0, AREA_LEN, AREA_LEN, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0x10000000 }, -EINVAL };
FIXTURE_VARIANT_ADD(refused, mremap_duplicate) {
	SYS_mremap, { 0, 0, AREA_LEN, MREMAP_MAYMOVE }, -EFAULT };

FIXTURE_SETUP(refused)
{
	this_test = _metadata;
	require_rust_ipc();
	self->server = new_process("server");
	ASSERT_LE(0, open_device(self->server, 0));
	/* Pages of its own around it, so that what goes past its end meets something mapped. */
	self->server->area = (__u8 *)peer_mmap(self->server, NULL, 3 * AREA_LEN, PROT_READ,
					       MAP_PRIVATE | MAP_ANONYMOUS, -1) + AREA_LEN;
	ASSERT_EQ((long)self->server->area,
		  peer_mmap(self->server, self->server->area, AREA_LEN, PROT_READ,
			    MAP_SHARED | MAP_FIXED, self->server->fd));
	self->server->area_len = AREA_LEN;
	settle(self->server);
	become_manager(self->server, NULL);
	self->client = member("client");
	call(self->client, 1, "still here", 10);
	start_transact(self->client);
	self->tr = take_call(self->server);
}

FIXTURE_TEARDOWN(refused)
{
	ipc_teardown(_metadata, NULL, NULL);
}

TEST_F(refused, and_unharmed)
{
	const long *a = variant->a;

	EXPECT_EQ(variant->error, peer_syscall(self->server, variant->number,
					       self->server->area + a[0], a[1], a[2], a[3], a[4]));
	ASSERT_PAYLOAD(self->server, self->tr, "still here", 10);
	answer(self->server, self->tr, NULL, 0);
	take_reply(self->client, NULL, 0);
	check_works(self->client, self->server);
}

/* Another mapping over all of it takes its place, as a munmap would. */
TEST_F(ipc, mapped_over)
{
	struct peer *server = manager("server"), *client = member("client");
	__u8 *area = server->area;
	struct binder_transaction_data *tr;
	char zeros[64] = {};

	call(client, 1, "covered", 7);
	start_transact(client);
	tr = take_call(server);
	ASSERT_EQ((long)area, peer_mmap(server, area, AREA_LEN, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
	ASSERT_EQ(0, memcmp(zeros, peer_memory(server, tr->data.ptr.buffer, 64), 64));
	ASSERT_EQ(0, peer_scribble(server, tr->data.ptr.buffer));
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_dead(client, server);
	/* What is there now is not the driver's business. */
	ASSERT_EQ(0x5a, *(const __u8 *)peer_memory(server, tr->data.ptr.buffer, 1));
}

TEST_F(ipc, mremapped_over)
{
	struct peer *server = manager("server"), *client = member("client");
	__u8 *area = server->area;
	long other = peer_mmap(server, NULL, AREA_LEN, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1);

	round_trip(client, server);
	ASSERT_EQ((long)area, peer_syscall(server, SYS_mremap, other, AREA_LEN, AREA_LEN,
					   MREMAP_MAYMOVE | MREMAP_FIXED, area));
	ASSERT_EQ(0, peer_scribble(server, (uintptr_t)area));
	check_dead(client, server);
}

/* ---- fork ---------------------------------------------------------------------- */

TEST_F(ipc, not_inherited)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	call(client, 1, "mine", 4);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ('m', peer_run(server, do_peek, (void *)(uintptr_t)tr->data.ptr.buffer));
	EXPECT_EQ(-1000 - SIGSEGV, in_child(server, do_peek, (void *)(uintptr_t)tr->data.ptr.buffer));
	ASSERT_PAYLOAD(server, tr, "mine", 4);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_works(client, server);
}

/* It cannot be made to be inherited, either. */
TEST_F(ipc, dofork)
{
	struct peer *server = manager("server"), *client = member("client");

	EXPECT_EQ(-EINVAL, peer_syscall(server, SYS_madvise, server->area, AREA_LEN, MADV_DOFORK));
	EXPECT_EQ(-1000 - SIGSEGV, in_child(server, do_peek, server->area));
	check_works(client, server);
}

/* ---- advice and locks -------------------------------------------------------------- */

/* No advice makes a message show anything but its own bytes. */
TEST_F(ipc, madvise)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
		MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK, MADV_MERGEABLE,
		MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP,
		MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, 24 /* MADV_DONTNEED_LOCKED */, 25 /* MADV_COLLAPSE */,
		102 /* MADV_GUARD_INSTALL */,
	};
	struct binder_transaction_data *tr;
	char bytes[100];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advice); i++) {
		struct peer *server = manager("server"), *client = member("client");
		const char *seen;

		step("advice %d", advice[i]);
		memset(bytes, 'a' + i, sizeof(bytes));
		call(client, 1, bytes, sizeof(bytes));
		start_transact(client);
		tr = take_call(server);
		peer_syscall(server, SYS_madvise, server->area, AREA_LEN, advice[i]);
		/* The process may have thrown its view of the page away, and gets SIGBUS then. */
		seen = peer_memory(server, tr->data.ptr.buffer, sizeof(bytes));
		if (seen) {
			EXPECT_EQ(0, memcmp(seen, bytes, sizeof(bytes)));
		}
		answer(server, tr, NULL, 0);
		take_reply(client, NULL, 0);
		/* Nor does it keep messages from coming. */
		call(client, 2, bytes, sizeof(bytes));
		start_transact(client);
		tr = take_call(server);
		seen = peer_memory(server, tr->data.ptr.buffer, sizeof(bytes));
		if (seen) {
			EXPECT_EQ(0, memcmp(seen, bytes, sizeof(bytes)));
		}
		answer(server, tr, NULL, 0);
		take_reply(client, NULL, 0);
		kill_process(server);
		kill_process(client);
	}
}

TEST_F(ipc, mlock)
{
	struct peer *server = manager("server"), *client = member("client");

	peer_syscall(server, SYS_mlock, server->area, AREA_LEN);
	check_works(client, server);
	peer_syscall(server, SYS_munlock, server->area, AREA_LEN);
	peer_syscall(server, SYS_mlockall, 3 /* MCL_CURRENT | MCL_FUTURE */);
	check_works(client, server);
	peer_syscall(server, SYS_munlockall);
	check_works(client, server);

	/* A mapping made under MCL_FUTURE. */
	kill_process(server);
	server = opener("server");
	ASSERT_EQ(0, peer_syscall(server, SYS_mlockall, 2 /* MCL_FUTURE */));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	become_manager(server, NULL);
	check_works(client, server);
}

/* ---- what was there before ------------------------------------------------------------ */

#define DIRT 0xd7

/* Leaves the system's free memory full of bytes that are nobody's business. */
static long do_dirty(struct peer *p, void *arg)
{
	size_t len = 64UL << 20;
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (at == MAP_FAILED)
		return -errno;
	memset(at, DIRT, len);
	return munmap(at, len) ? -errno : 0;
}

/* Looks at all that can be seen of the peer's area: how many bytes are neither zero nor ARG. */
static long do_scan(struct peer *p, void *arg)
{
	volatile long found = 0;
	volatile size_t at;
	size_t i;

	for (at = 0; at < p->area_len; at += PAGE) {
		catch_fault(({
			for (i = at; i < at + PAGE; i++)
				if (p->area[i] && p->area[i] != (__u8)(uintptr_t)arg)
					found++;
		}));
	}
	return found;
}

/* How many pages of it are there. */
static long do_count(struct peer *p, void *arg)
{
	volatile long pages = 0;
	volatile size_t at;

	for (at = 0; at < p->area_len; at += PAGE)
		catch_fault(({
			(void)*(volatile __u8 *)(p->area + at);
			pages++;
		}));
	return pages;
}

/*
 * A receiver sees what was sent, and zeros: not what its pages held before,
 * whatever the size of a message, and also where one fails half-way.
 */
TEST_F(ipc, old_bytes)
{
	static const size_t lens[] = {
		1, 8, PAGE - 8, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 3, 2 * PAGE, 3 * PAGE + 100,
		8 * PAGE, 8 * PAGE + 5,
	};
	struct peer *server, *client = member("client"), *dirty = new_process("dirty");
	__u8 *bytes = arena_alloc(16 * PAGE);
	__u64 map = peer_mmap(client, NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct copy_args fill = { (void *)(uintptr_t)map, bytes, 9 * PAGE };
	size_t i, faulty;

	memset(bytes, 0x11, 16 * PAGE);
	ASSERT_EQ(0, peer_run(client, do_copy, arena_copy(&fill, sizeof(fill))));
	ASSERT_EQ(0, peer_syscall(client, SYS_munmap, map + 9 * PAGE, PAGE));
	for (faulty = 0; faulty < 2; faulty++)
		for (i = 0; i < ARRAY_SIZE(lens); i++) {
			step("%zu bytes%s", lens[i], faulty ? " and more than there are" : "");
			server = manager("server");
			ASSERT_EQ(0, peer_run(dirty, do_dirty, NULL));
			bc_message(client, BC_TRANSACTION, 1, 0,
				   (void *)(uintptr_t)(faulty ? map + 9 * PAGE - lens[i] : map),
				   lens[i] + (faulty ? 2 * PAGE : 0));
			if (faulty) {
				ASSERT_REFUSED(client, BR_FAILED_REPLY, -EFAULT);
				ASSERT_EQ(0, peer_run(server, do_scan, (void *)0x11));
			} else {
				start_transact(client);
				take_call(server);
				ASSERT_EQ((long)(lens[i] + PAGE - 1) / (long)PAGE,
					  peer_run(server, do_count, NULL));
				ASSERT_EQ(0, peer_run(server, do_scan, (void *)0x11));
			}
			kill_process(server);
			if (!faulty) {
				ASSERT_EQ(0, finish(client));
			}
			await_no_manager(client);
		}
}

/* Parts of a message's buffer that nobody writes to: room for embedded buffers. */
TEST_F(ipc, old_bytes_in_gaps)
{
	static const struct {
		size_t len, room;
	} cases[] = {
		{ 0, PAGE }, { 10, 4 * PAGE }, { PAGE - 16, 4 * PAGE + 8 }, { PAGE, 3 * PAGE },
		{ 2 * PAGE + 1, 5 * PAGE - 8 },
	};
	struct peer *server, *client = member("client"), *dirty = new_process("dirty");
	__u8 *bytes = arena_alloc(3 * PAGE);
	size_t i;

	memset(bytes, 0x11, 3 * PAGE);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct binder_transaction_data_sg sg = {
			.transaction_data = {
				.data_size = cases[i].len,
				.data.ptr.buffer = (uintptr_t)bytes,
			},
			.buffers_size = cases[i].room,
		};

		step("case %zu", i);
		server = manager("server");
		ASSERT_EQ(0, peer_run(dirty, do_dirty, NULL));
		bc(client, BC_TRANSACTION_SG);
		put(client, &sg, sizeof(sg));
		start_transact(client);
		ASSERT_PAYLOAD(server, take_call(server), bytes, cases[i].len);
		ASSERT_LE((long)(cases[i].room / PAGE), peer_run(server, do_count, NULL));
		ASSERT_EQ(0, peer_run(server, do_scan, (void *)0x11));
		kill_process(server);
		ASSERT_EQ(0, finish(client));
		await_no_manager(client);
	}
}

/* ---- through others' eyes ------------------------------------------------------------ */

TEST_F(ipc, other_ways_in)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	char path[64], bytes[16] = "0123456789abcde", seen[16] = {};
	struct iovec local = { seen, 16 }, remote;
	long word;
	int mem, status;

	call(client, 1, bytes, 16);
	start_transact(client);
	tr = take_call(server);
	snprintf(path, sizeof(path), "/proc/%d/mem", server->pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);

	/* Reading works where a page is, ... */
	EXPECT_EQ(16, pread(mem, seen, 16, tr->data.ptr.buffer));
	EXPECT_EQ(0, memcmp(bytes, seen, 16));
	memset(seen, 0, 16);
	remote = (struct iovec) { (void *)(uintptr_t)tr->data.ptr.buffer, 16 };
	EXPECT_EQ(16, process_vm_readv(server->pid, &local, 1, &remote, 1, 0));
	EXPECT_EQ(0, memcmp(bytes, seen, 16));
	remote.iov_base = server->area + AREA_LEN / 2;
	EXPECT_EQ(-1, process_vm_readv(server->pid, &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(mem, seen, 16, (uintptr_t)server->area + AREA_LEN / 2));
	EXPECT_EQ(EIO, errno);

	/* ... and writing nowhere, not even by force. */
	EXPECT_EQ(-1, pwrite(mem, "x", 1, tr->data.ptr.buffer));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(mem, "x", 1, (uintptr_t)server->area + AREA_LEN / 2));
	EXPECT_EQ(EIO, errno);
	remote.iov_base = (void *)(uintptr_t)tr->data.ptr.buffer;
	EXPECT_EQ(-1, process_vm_writev(server->pid, &local, 1, &remote, 1, 0));
	EXPECT_EQ(EFAULT, errno);

	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, server->pid, NULL, NULL));
	ASSERT_EQ(server->pid, waitpid(server->pid, &status, __WALL));
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, server->pid, tr->data.ptr.buffer, NULL);
	EXPECT_EQ(0, errno);
	EXPECT_EQ(0, memcmp(&word, bytes, sizeof(word)));
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, server->pid, tr->data.ptr.buffer, 0L));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, server->pid, NULL, NULL));
	close(mem);

	ASSERT_PAYLOAD(server, tr, bytes, 16);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_works(client, server);
}

/* True if BYTES holds nothing but A, B, or zeros. */
static bool only(const __u8 *bytes, size_t len, __u8 a, __u8 b)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (bytes[i] && bytes[i] != a && bytes[i] != b)
			return false;
	return true;
}

#define HELD_PAGES 8

/*
 * Pages of a message stay in a pipe while the message is freed, its pages are
 * reclaimed, and memory is used again by others: what comes out of the pipe is
 * from that process's own messages.
 */
TEST_F(ipc, vmsplice)
{
	struct peer *server = manager("server"), *client = member("client"), *other;
	int *pipes = arena_alloc(2 * sizeof(int)), round;
	struct iovec *iov = arena_alloc(sizeof(*iov));
	__u8 *bytes = arena_alloc(HELD_PAGES * PAGE), *seen = arena_alloc(HELD_PAGES * PAGE);
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, peer_syscall(server, SYS_pipe2, pipes, O_CLOEXEC));
	for (round = 0; round < 4; round++) {
		memset(bytes, 'A', HELD_PAGES * PAGE);
		call(client, 1, bytes, HELD_PAGES * PAGE);
		start_transact(client);
		tr = take_call(server);
		*iov = (struct iovec) { (void *)(uintptr_t)tr->data.ptr.buffer, HELD_PAGES * PAGE };
		ASSERT_EQ(HELD_PAGES * PAGE, peer_syscall(server, SYS_vmsplice, pipes[1], iov, 1, 0));
		answer(server, tr, NULL, 0);
		take_reply(client, NULL, 0);
		if (round & 1)
			drop_caches();

		/* Others' traffic, in others' areas. */
		memset(bytes, 'B', HELD_PAGES * PAGE);
		other = member("other");
		call(other, 1, NULL, 0);
		start_transact(other);
		answer(server, take_call(server), bytes, HELD_PAGES * PAGE);
		take_reply(other, bytes, HELD_PAGES * PAGE);
		kill_process(other);
		if (round & 2) {
			/* The area is used again, by the same process. */
			memset(bytes, 'C', HELD_PAGES * PAGE);
			exchange(client, server, bytes, HELD_PAGES * PAGE, 1);
		}
		memset(seen, 0, HELD_PAGES * PAGE);
		ASSERT_EQ(HELD_PAGES * PAGE, peer_syscall(server, SYS_read, pipes[0], seen,
							  HELD_PAGES * PAGE));
		ASSERT_TRUE(only(seen, HELD_PAGES * PAGE, 'A', 'C'));
	}
	check_works(client, server);
}

/* The same when the holder's process has long died. */
TEST_F(ipc, vmsplice_survives_process)
{
	struct peer *server = manager("server"), *client = member("client"), *next;
	int pipes[2], round;
	long pidfd, fd;
	struct iovec *iov = arena_alloc(sizeof(*iov));
	__u8 *bytes = arena_alloc(HELD_PAGES * PAGE), *seen = arena_alloc(HELD_PAGES * PAGE);
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	pidfd = peer_syscall(server, SYS_pidfd_open, getpid(), 0);
	fd = peer_syscall(server, SYS_pidfd_getfd, pidfd, pipes[1], 0);
	ASSERT_LE(0, fd);
	memset(bytes, 'A', HELD_PAGES * PAGE);
	call(client, 1, bytes, HELD_PAGES * PAGE);
	start_transact(client);
	tr = take_call(server);
	*iov = (struct iovec) { (void *)(uintptr_t)tr->data.ptr.buffer, HELD_PAGES * PAGE };
	ASSERT_EQ(HELD_PAGES * PAGE, peer_syscall(server, SYS_vmsplice, fd, iov, 1, 0));
	kill_process(server);
	ASSERT_EQ(0, finish(client));

	memset(bytes, 'B', HELD_PAGES * PAGE);
	for (round = 0; round < 4; round++) {
		next = manager("next");
		exchange(client, next, bytes, HELD_PAGES * PAGE, HELD_PAGES * PAGE);
		drop_caches();
		exchange(client, next, bytes, HELD_PAGES * PAGE, HELD_PAGES * PAGE);
		kill_process(next);
	}
	ASSERT_EQ(HELD_PAGES * PAGE, read(pipes[0], seen, HELD_PAGES * PAGE));
	memset(bytes, 'A', HELD_PAGES * PAGE);
	ASSERT_EQ(0, memcmp(bytes, seen, HELD_PAGES * PAGE));
}

/* Long-term pins are for memory that may be written, and this may not. */
TEST_F(ipc, io_uring_buffers)
{
	struct peer *server = manager("server"), *client = member("client");
	struct iovec *iov = arena_alloc(sizeof(*iov));
	__u32 *params = arena_alloc(120);
	struct binder_transaction_data *tr;
	long ring;

	call(client, 1, "pinned?", 7);
	start_transact(client);
	tr = take_call(server);
	memset(params, 0, 120);
	ring = peer_syscall(server, SYS_io_uring_setup, 4, params);
	if (ring == -ENOSYS)
		SKIP(return, "the kernel has no io_uring");
	ASSERT_LE(0, ring);
	*iov = (struct iovec) { (void *)(uintptr_t)(tr->data.ptr.buffer & -PAGE), PAGE };
	EXPECT_EQ(-EFAULT, peer_syscall(server, SYS_io_uring_register, ring,
					0 /* IORING_REGISTER_BUFFERS */, iov, 1));
	ASSERT_PAYLOAD(server, tr, "pinned?", 7);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_works(client, server);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--after-exec"))
		return after_exec(argv[2], argv[3]);
	return test_harness_run(argc, argv);
}
