// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls: each one's effect, its errors, and what a failed one leaves.
 */
#include "ipc.h"

/* Two pages of which only the first can be used, in the arena's place of all peers. */
static __u8 *page_before_hole(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	long at = peer_mmap(p, NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1);

	ASSERT_LT(0, at);
	ASSERT_EQ(0, peer_syscall(p, SYS_munmap, at + PAGE, PAGE));
	return (__u8 *)at;
}

static long do_fill(struct peer *p, void *arg)
{
	struct copy_args *c = arg;

	return catch_fault(memcpy(c->to, c->from, c->len));
}

/* Writes into memory that only the peer has. */
static void poke(struct peer *p, void *to, const void *from, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct copy_args c = { to, arena_copy(from, len), len };

	ASSERT_EQ(0, peer_run(p, do_fill, arena_copy(&c, sizeof(c))));
}

/* A BINDER_WRITE_READ whose struct the test has filled in itself. */
static long write_read(struct peer *p, struct binder_write_read *bwr)
{
	return peer_run(p, do_write_read, bwr);
}

#define BAD_POINTER 8UL

TEST_F(ipc, version)
{
	struct peer *p = member("process");
	struct binder_version *version = arena_alloc(sizeof(*version));
	long read_only = peer_mmap(p, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	ASSERT_EQ(0, peer_ioctl(p, BINDER_VERSION, version));
	EXPECT_EQ(8, version->protocol_version);

	/* Sic, not EFAULT. */
	EXPECT_EQ(-EINVAL, peer_ioctl(p, BINDER_VERSION, NULL));
	EXPECT_EQ(-EINVAL, peer_ioctl(p, BINDER_VERSION, BAD_POINTER));
	EXPECT_EQ(-EINVAL, peer_ioctl(p, BINDER_VERSION, read_only));
	EXPECT_EQ(-EINVAL, peer_ioctl(p, BINDER_VERSION, -1L));
}

/* What has no meaning, or lost it, and the numbers around what has. */
TEST_F(ipc, unknown)
{
	static const unsigned int unknown[] = {
		0, ~0U, _IO('b', 1), _IOWR('b', 1, __u64), _IOR('b', 1, struct binder_write_read),
		_IOWR('a', 1, struct binder_write_read), _IOWR('b', 0, __u32),
		_IOW('b', 2, __u32), BINDER_SET_IDLE_TIMEOUT, _IOW('b', 4, __u32),
		_IOW('b', 5, __u64), BINDER_SET_IDLE_PRIORITY, _IO('b', 7), _IO('b', 8),
		_IOR('b', 9, __u32), _IOW('b', 10, __u32), _IOWR('b', 17, __u64),
		_IOW('b', 18, __u32), _IOW('b', 99, __u32), _IOW('b', 255, __u32),
	};
	struct peer *server = manager("server"), *client = member("client");
	__u64 *argument = arena_alloc(4096);
	size_t i;

	memset(argument, 0, 4096);
	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		EXPECT_EQ(-EINVAL, peer_ioctl(server, unknown[i], argument)) {
			TH_LOG("ioctl 0x%x", unknown[i]);
		}
		EXPECT_EQ(-EINVAL, peer_ioctl(server, unknown[i], NULL));
	}
	round_trip(client, server);
}

TEST_F(ipc, set_max_threads)
{
	struct peer *server = manager("server"), *client = member("client");
	__u32 *max = arena_alloc(sizeof(*max));

	*max = 1;
	ASSERT_EQ(0, peer_ioctl(server, BINDER_SET_MAX_THREADS, max));
	/* Sic, not EFAULT; and the number stays. */
	EXPECT_EQ(-EINVAL, peer_ioctl(server, BINDER_SET_MAX_THREADS, NULL));
	EXPECT_EQ(-EINVAL, peer_ioctl(server, BINDER_SET_MAX_THREADS, BAD_POINTER));

	bc(server, BC_ENTER_LOOPER);
	oneway(client, 1, NULL, 0);
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR_SPAWN(server, BR_TRANSACTION);

	*max = 0xffffffff;
	EXPECT_EQ(0, peer_ioctl(server, BINDER_SET_MAX_THREADS, max));
	*max = 0;
	EXPECT_EQ(0, peer_ioctl(server, BINDER_SET_MAX_THREADS, max));
}

TEST_F(ipc, set_context_mgr)
{
	struct peer *server = manager("server"), *other = member("other");
	struct peer *client = member("client");

	EXPECT_EQ(-EBUSY, peer_ioctl(server, BINDER_SET_CONTEXT_MGR, NULL));
	EXPECT_EQ(-EBUSY, peer_ioctl(other, BINDER_SET_CONTEXT_MGR, NULL));
	round_trip(client, server);

	/* When it is gone another one may take over, and only then. */
	kill_process(server);
	become_manager(other, NULL);
	EXPECT_EQ(-EBUSY, peer_ioctl(client, BINDER_SET_CONTEXT_MGR, NULL));
	round_trip(client, other);
}

/* The device keeps the uid of its first manager for good. */
TEST_F(ipc, set_context_mgr_uid)
{
	struct peer *server = manager("server"), *other = member("other");
	struct peer *client = member("client");
	long ret;

	ASSERT_EQ(0, peer_syscall(other, SYS_setresuid, -1, 65534, -1));
	EXPECT_EQ(-EBUSY, peer_ioctl(other, BINDER_SET_CONTEXT_MGR, NULL));
	kill_process(server);
	ASSERT_TRUE(eventually((ret = peer_ioctl(other, BINDER_SET_CONTEXT_MGR, NULL)) != -EBUSY));
	EXPECT_EQ(-EPERM, ret);

	call(client, 0, NULL, 0);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -EINVAL);

	ASSERT_EQ(0, peer_syscall(other, SYS_setresuid, -1, 0, -1));
	ASSERT_EQ(0, peer_ioctl(other, BINDER_SET_CONTEXT_MGR, NULL));
	round_trip(client, other);
}

TEST_F(ipc, set_context_mgr_ext)
{
	struct peer *server = member("server"), *client = member("client");
	struct flat_binder_object object = {
		.hdr.type = 0x12345678,		/* nobody looks at it */
		.binder = 0x123456789abcdef0,
		.cookie = 0xfedcba9876543210,
	};
	struct binder_transaction_data *tr;
	long ret;

	/* A manager of the test before may be on its way out; nobody looks at the argument then. */
	ASSERT_TRUE(eventually((ret = peer_ioctl(server, BINDER_SET_CONTEXT_MGR_EXT, NULL)) != -EBUSY));
	EXPECT_EQ(-EINVAL, ret);
	EXPECT_EQ(-EINVAL, peer_ioctl(server, BINDER_SET_CONTEXT_MGR_EXT, BAD_POINTER));
	become_manager(server, &object);
	EXPECT_EQ(-EBUSY, peer_ioctl(server, BINDER_SET_CONTEXT_MGR_EXT,
				     arena_copy(&object, sizeof(object))));
	EXPECT_EQ(-EBUSY, peer_ioctl(client, BINDER_SET_CONTEXT_MGR, NULL));

	call(client, 5, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(object.binder, tr->target.ptr);
	EXPECT_EQ(object.cookie, tr->cookie);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
}

/* A thread that has left is forgotten: its next ioctl makes a new one. */
TEST_F(ipc, thread_exit)
{
	struct peer *server = manager("server"), *client = member("client");

	call(client, 0, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION);

	EXPECT_EQ(0, peer_ioctl(server, BINDER_THREAD_EXIT, NULL));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);

	/* The new thread has no call to reply to, and returns at once from its first read. */
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server);
	reply(server, NULL, 0);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);
	round_trip(client, server);

	EXPECT_EQ(0, peer_ioctl(server, BINDER_THREAD_EXIT, NULL));
	EXPECT_EQ(0, peer_ioctl(server, BINDER_THREAD_EXIT, BAD_POINTER));
	settle(server);
	round_trip(client, server);
}

/* A thread's first read returns at once, whatever the thread's other first ioctl. */
TEST_F(ipc, first_read)
{
	struct peer *p = member("process");
	struct peer *fresh = new_bare_thread(p, "fresh"), *polled = new_bare_thread(p, "polled");
	struct pollfd *pollfd = arena_alloc(sizeof(*pollfd));

	ASSERT_EQ(0, receive(fresh));
	ASSERT_BR(fresh);
	ASSERT_QUIET(fresh);

	*pollfd = (struct pollfd) { polled->fd, POLLIN };
	EXPECT_EQ(1, peer_syscall(polled, SYS_poll, pollfd, 1, 0));
	EXPECT_EQ(POLLIN, pollfd->revents);
	ASSERT_EQ(0, receive_now(polled));
	ASSERT_BR(polled);
	EXPECT_EQ(0, peer_syscall(polled, SYS_poll, pollfd, 1, 0));
	ASSERT_QUIET(polled);

	/* A failed ioctl is an ioctl. */
	fresh = new_bare_thread(p, "failing");
	EXPECT_EQ(-EINVAL, peer_ioctl(fresh, 0, NULL));
	ASSERT_QUIET(fresh);
}

TEST_F(ipc, write_read_pointer)
{
	struct peer *server = manager("server"), *client = member("client");
	__u8 *page = page_before_hole(client);
	struct binder_write_read bwr;
	struct binder_transaction_data *tr;

	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_WRITE_READ, NULL));
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_WRITE_READ, BAD_POINTER));
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_WRITE_READ, -1L));
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_WRITE_READ, page + PAGE));
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_WRITE_READ, page + PAGE - sizeof(bwr) + 1));
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_WRITE_READ, page + PAGE - sizeof(bwr) + 40));
	ASSERT_QUIET(server);

	/* Where the struct can be read only, the commands are carried out all the same. */
	oneway(client, 77, NULL, 0);
	bwr = (struct binder_write_read) {
		.write_buffer = (uintptr_t)client->write,
		.write_size = client->write_len,
	};
	client->write_len = 0;
	poke(client, page, &bwr, sizeof(bwr));
	ASSERT_EQ(0, peer_syscall(client, SYS_mprotect, page, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_WRITE_READ, page));
	tr = take_call(server);
	EXPECT_EQ(77, tr->code);
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, receive_now(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	round_trip(client, server);
}

TEST_F(ipc, nothing_to_do)
{
	struct peer *p = member("process");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr)), before;

	*bwr = (struct binder_write_read) {
		.write_consumed = 0x1111, .write_buffer = BAD_POINTER,
		.read_consumed = 0x2222, .read_buffer = BAD_POINTER,
	};
	before = *bwr;
	EXPECT_EQ(0, write_read(p, bwr));
	EXPECT_EQ(0, memcmp(&before, bwr, sizeof(before)));
}

TEST_F(ipc, write_buffer)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	__u8 *page = page_before_hole(client);
	__u32 enter = BC_ENTER_LOOPER;
	size_t lens[] = { 1, 2, 4, 5, 36, 64, 67 }, i;

	*bwr = (struct binder_write_read) { .write_size = 4, .write_buffer = BAD_POINTER,
		.read_size = sizeof(client->read), .read_buffer = (uintptr_t)client->read,
		.read_consumed = 0x2222 };
	EXPECT_EQ(-EFAULT, write_read(client, bwr));
	EXPECT_EQ(0, bwr->write_consumed);
	EXPECT_EQ(0, bwr->read_consumed);
	bwr->write_buffer = 0;
	EXPECT_EQ(-EFAULT, write_read(client, bwr));
	EXPECT_EQ(0, bwr->write_consumed);
	bwr->write_buffer = ~0ULL - 15;
	EXPECT_EQ(-EFAULT, write_read(client, bwr));
	EXPECT_EQ(0, bwr->write_consumed);

	/* A command before the hole counts, one that reaches into it does not. */
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		__u8 *start = page + PAGE - 4 - lens[i];

		client->write_len = 0;
		oneway(client, 3, "x", 1);
		poke(client, start, &enter, sizeof(enter));
		poke(client, start + 4, client->write, lens[i]);
		*bwr = (struct binder_write_read) {
			.write_size = 4 + 68, .write_buffer = (uintptr_t)start,
			.read_size = sizeof(client->read), .read_buffer = (uintptr_t)client->read,
		};
		EXPECT_EQ(-EFAULT, write_read(client, bwr));
		EXPECT_EQ(4, bwr->write_consumed) {
			TH_LOG("%zu bytes before the hole", lens[i]);
		}
		EXPECT_EQ(0, bwr->read_consumed);
	}
	client->write_len = 0;
	ASSERT_QUIET(server);
	ASSERT_QUIET(client);

	/* A whole command just before it is fine. */
	oneway(client, 4, "x", 1);
	poke(client, page + PAGE - 68, client->write, 68);
	client->write_len = 0;
	*bwr = (struct binder_write_read) {
		.write_size = 68, .write_buffer = (uintptr_t)page + PAGE - 68,
	};
	EXPECT_EQ(0, write_read(client, bwr));
	EXPECT_EQ(68, bwr->write_consumed);
	EXPECT_EQ(4, take_call(server)->code);
	ASSERT_EQ(0, receive_now(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	round_trip(client, server);
}

/* Writing goes on at write_consumed, and does nothing if that is not before the end. */
TEST_F(ipc, write_consumed)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));

	bc(client, 0xdeadbeef);
	oneway(client, 9, NULL, 0);
	*bwr = (struct binder_write_read) {
		.write_size = client->write_len, .write_buffer = (uintptr_t)client->write,
		.write_consumed = 4,
	};
	client->write_len = 0;
	EXPECT_EQ(0, write_read(client, bwr));
	EXPECT_EQ(bwr->write_size, bwr->write_consumed);
	EXPECT_EQ(9, take_call(server)->code);

	EXPECT_EQ(0, write_read(client, bwr));
	EXPECT_EQ(bwr->write_size, bwr->write_consumed);
	bwr->write_consumed = bwr->write_size + 100;
	EXPECT_EQ(0, write_read(client, bwr));
	EXPECT_EQ(bwr->write_size + 100, bwr->write_consumed);
	ASSERT_QUIET(server);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
}

/* The first thing written is BR_NOOP: where that cannot be, nothing is lost. */
TEST_F(ipc, read_buffer_fault)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	long read_only = peer_mmap(server, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	unsigned long bad[] = { 0, BAD_POINTER, read_only, ~0UL - 255 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		*bwr = (struct binder_write_read) { .read_size = 256, .read_buffer = bad[i] };
		EXPECT_EQ(-EFAULT, write_read(server, bwr));
		EXPECT_EQ(0, bwr->read_consumed);
	}
	call(client, 6, NULL, 0);
	start_transact(client);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		*bwr = (struct binder_write_read) { .read_size = 256, .read_buffer = bad[i] };
		EXPECT_EQ(-EFAULT, write_read(server, bwr));
		EXPECT_EQ(0, bwr->read_consumed);
	}
	EXPECT_TRUE(still_waits(client));
	answer(server, take_call(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/* The buffer ends where a message is just being written: its sender learns that it failed. */
TEST_F(ipc, read_fault_in_message)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	__u8 *page = page_before_hole(server);
	size_t room[] = { 4, 8, 20, 71 }, i;

	for (i = 0; i < ARRAY_SIZE(room); i++) {
		call(client, 1, "payload", 7);
		start_transact(client);
		*bwr = (struct binder_write_read) {
			.read_size = 256, .read_buffer = (uintptr_t)page + PAGE - room[i],
		};
		EXPECT_EQ(-EFAULT, write_read(server, bwr));
		EXPECT_EQ(0, bwr->read_consumed);
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
		/* The server has nothing to reply to. */
		reply(server, NULL, 0);
		ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);
	}
	round_trip(client, server);
}

/* A read that fails has asked for no thread: the next one does. */
TEST_F(ipc, read_fault_of_looper)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	__u8 *page = page_before_hole(server);

	set_max_threads(server, 1);
	bc(server, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(server));
	call(client, 1, NULL, 0);
	start_transact(client);
	*bwr = (struct binder_write_read) {
		.read_size = 256, .read_buffer = (uintptr_t)page + PAGE - 4,
	};
	EXPECT_EQ(-EFAULT, write_read(server, bwr));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	call(client, 2, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR_SPAWN(server, BR_TRANSACTION);
	answer(server, message(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/* A buffer without room for any return there is waits for work, and leaves that for later. */
FIXTURE(small_read) {
};

FIXTURE_VARIANT(small_read) {
	size_t len;
	bool fits;
};

FIXTURE_VARIANT_ADD(small_read, noop_only) { .len = 4 };
FIXTURE_VARIANT_ADD(small_read, odd) { .len = 5 };
FIXTURE_VARIANT_ADD(small_read, one_word_more) { .len = 8 };
FIXTURE_VARIANT_ADD(small_read, message_without_context) { .len = 72 };
FIXTURE_VARIANT_ADD(small_read, almost) { .len = 79 };
FIXTURE_VARIANT_ADD(small_read, least) { .len = 80, .fits = true };

FIXTURE_SETUP(small_read)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(small_read)
{
	ipc_teardown(_metadata, NULL, NULL);
}

TEST_F(small_read, call)
{
	struct peer *server = manager("server"), *client = member("client");
	size_t i;

	server->read_len = variant->len;
	start_receive(server);
	call(client, 5, "abc", 3);
	start_transact(client);
	ASSERT_EQ(0, finish(server));
	if (variant->fits) {
		ASSERT_BR(server, BR_TRANSACTION);
	} else {
		ASSERT_BR(server);
	}
	for (i = server->bwr.read_consumed; i < sizeof(server->read); i++) {
		ASSERT_EQ(0xa5, server->read[i]);
	}

	server->read_len = sizeof(server->read);
	if (!variant->fits) {
		ASSERT_EQ(0, receive(server));
		ASSERT_BR(server, BR_TRANSACTION);
	}
	answer(server, message(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/*
 * Too small for BR_NOOP: nothing is written, and nothing lost. (The C driver
 * writes BR_NOOP past the end of the buffer.)
 */
TEST_F(ipc, tiny_read)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	static const __u64 consumed[] = { 1, 4, 1000 };
	size_t len, i, j;

	require_rust_ipc();
	set_max_threads(server, 1);
	bc(server, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(server));
	call(client, 5, "abc", 3);
	start_transact(client);
	for (len = 1; len < 4; len++) {
		server->read_len = len;
		EXPECT_EQ(-EINVAL, receive(server));
		ASSERT_NO_BR(server);
		for (i = 0; i < sizeof(server->read); i++) {
			ASSERT_EQ(0xa5, server->read[i]);
		}
		for (j = 0; j < ARRAY_SIZE(consumed); j++) {
			*bwr = (struct binder_write_read) {
				.read_size = len, .read_buffer = (uintptr_t)server->read,
				.read_consumed = consumed[j],
			};
			EXPECT_EQ(-EINVAL, write_read(server, bwr));
			EXPECT_EQ(consumed[j], bwr->read_consumed);
			for (i = 0; i < sizeof(server->read); i++) {
				ASSERT_EQ(0xa5, server->read[i]);
			}
		}
	}
	server->read_len = sizeof(server->read);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR_SPAWN(server, BR_TRANSACTION);
	answer(server, message(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/* A read that goes on where another one ended: no BR_NOOP. */
TEST_F(ipc, read_consumed)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	struct binder_transaction_data *tr = arena_alloc(sizeof(*tr));
	__u32 cmd;

	call(client, 5, "abc", 3);
	start_transact(client);
	memset(server->read, 0xa5, sizeof(server->read));
	*bwr = (struct binder_write_read) {
		.read_size = 8 + 76, .read_buffer = (uintptr_t)server->read, .read_consumed = 8,
	};
	ASSERT_EQ(0, write_read(server, bwr));
	ASSERT_EQ(8 + 68, bwr->read_consumed);
	EXPECT_EQ(0xa5, server->read[0]);
	EXPECT_EQ(0xa5, server->read[7]);
	memcpy(&cmd, server->read + 8, 4);
	memcpy(tr, server->read + 12, sizeof(*tr));
	ASSERT_EQ(BR_TRANSACTION, cmd);
	EXPECT_EQ(0xa5, server->read[8 + 68]);
	ASSERT_PAYLOAD(server, tr, "abc", 3);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
}

/*
 * read_consumed at or past the end: nothing is written there and nothing lost.
 * (The C driver writes past the end if it is past it.)
 */
TEST_F(ipc, read_consumed_past_end)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	__u64 past[] = { 256, 257, 1000, 1ULL << 32, ~0ULL, ~0ULL - 300 };
	size_t i, j;

	require_rust_ipc();
	oneway(client, 5, "abc", 3);
	ASSERT_EQ(0, submit(client));
	memset(server->read, 0xa5, sizeof(server->read));
	for (i = 0; i < ARRAY_SIZE(past); i++) {
		*bwr = (struct binder_write_read) {
			.read_size = 256, .read_buffer = (uintptr_t)server->read,
			.read_consumed = past[i],
		};
		write_read(server, bwr);
		EXPECT_EQ(past[i], bwr->read_consumed);
		for (j = 0; j < sizeof(server->read); j++) {
			ASSERT_EQ(0xa5, server->read[j]);
		}
	}
	ASSERT_PAYLOAD(server, take_call(server), "abc", 3);
}

TEST_F(ipc, extended_error)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_extended_error error;
	__u32 id;

	error = extended_error(client);
	EXPECT_EQ(0, error.id);
	EXPECT_EQ(BR_OK, error.command);
	EXPECT_EQ(0, error.param);

	/* Each transaction sets it, a good one to BR_OK. */
	oneway(client, 1, NULL, 0);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	error = extended_error(client);
	EXPECT_NE(0, error.id);
	EXPECT_EQ(BR_OK, error.command);
	EXPECT_EQ(0, error.param);
	id = error.id;

	call(client, 1, NULL, 0)->tr.target.handle = 1234;
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_FAILED_REPLY);
	error = extended_error(client);
	EXPECT_NE(0, error.id);
	EXPECT_NE(id, error.id);
	if (!oracle()) {
		/* The C driver counts what all processes do. */
		EXPECT_EQ(1, id);
		EXPECT_EQ(2, error.id);
	}
	EXPECT_EQ(BR_FAILED_REPLY, error.command);
	EXPECT_EQ(-EINVAL, error.param);

	/* Reading resets it. */
	error = extended_error(client);
	EXPECT_EQ(0, error.id);
	EXPECT_EQ(BR_OK, error.command);
	EXPECT_EQ(0, error.param);

	/* So does an attempt to read it; and it is the thread's own. */
	call(client, 1, NULL, 0)->tr.target.handle = 1234;
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_FAILED_REPLY);
	error = extended_error(new_thread(client, "sibling"));
	EXPECT_EQ(BR_OK, error.command);
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_GET_EXTENDED_ERROR, NULL));
	error = extended_error(client);
	EXPECT_EQ(0, error.id);
	EXPECT_EQ(BR_OK, error.command);

	/* A good transaction after a failed one. */
	call(client, 1, NULL, 0)->tr.target.handle = 1234;
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_FAILED_REPLY);
	oneway(client, 1, NULL, 0);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	ASSERT_EXTENDED_ERROR(client, BR_OK, 0);
	settle(server);
}

TEST_F(ipc, node_debug_info)
{
	struct peer *server = member("server"), *client = member("client");
	struct flat_binder_object object = { .binder = 0x1000, .cookie = 0x2000 };
	struct binder_node_debug_info *info = arena_alloc(sizeof(*info)), none = {};

	become_manager(server, &object);
	*info = none;
	ASSERT_EQ(0, peer_ioctl(server, BINDER_GET_NODE_DEBUG_INFO, info));
	EXPECT_EQ(0x1000, info->ptr);
	EXPECT_EQ(0x2000, info->cookie);
	EXPECT_EQ(1, info->has_strong_ref);
	EXPECT_EQ(1, info->has_weak_ref);

	/* The first one above the given address; zeros if there is none. */
	info->ptr = 0xfff;
	ASSERT_EQ(0, peer_ioctl(server, BINDER_GET_NODE_DEBUG_INFO, info));
	EXPECT_EQ(0x1000, info->ptr);
	memset(info, 0xcc, sizeof(*info));
	info->ptr = 0x1000;
	ASSERT_EQ(0, peer_ioctl(server, BINDER_GET_NODE_DEBUG_INFO, info));
	EXPECT_EQ(0, memcmp(&none, info, sizeof(none)));

	/* Others' nodes are not shown. */
	*info = none;
	ASSERT_EQ(0, peer_ioctl(client, BINDER_GET_NODE_DEBUG_INFO, info));
	EXPECT_EQ(0, memcmp(&none, info, sizeof(none)));
	EXPECT_EQ(-EFAULT, peer_ioctl(server, BINDER_GET_NODE_DEBUG_INFO, NULL));
	EXPECT_EQ(-EFAULT, peer_ioctl(server, BINDER_GET_NODE_DEBUG_INFO, BAD_POINTER));
}

TEST_F(ipc, node_info_for_ref)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_node_info_for_ref *info = arena_alloc(sizeof(*info));
	int field;

	for (field = 1; field <= 5; field++) {
		memset(info, 0, sizeof(*info));
		((__u32 *)info)[field] = 1;
		EXPECT_EQ(-EINVAL, peer_ioctl(server, BINDER_GET_NODE_INFO_FOR_REF, info));
		/* That comes before the question who asks. */
		EXPECT_EQ(-EINVAL, peer_ioctl(client, BINDER_GET_NODE_INFO_FOR_REF, info));
	}
	memset(info, 0, sizeof(*info));
	EXPECT_EQ(-EINVAL, peer_ioctl(server, BINDER_GET_NODE_INFO_FOR_REF, info));
	EXPECT_EQ(-EPERM, peer_ioctl(client, BINDER_GET_NODE_INFO_FOR_REF, info));
	info->handle = 4711;
	EXPECT_EQ(-EINVAL, peer_ioctl(server, BINDER_GET_NODE_INFO_FOR_REF, info));
	EXPECT_EQ(-EPERM, peer_ioctl(client, BINDER_GET_NODE_INFO_FOR_REF, info));
	EXPECT_EQ(-EFAULT, peer_ioctl(server, BINDER_GET_NODE_INFO_FOR_REF, NULL));
	EXPECT_EQ(-EFAULT, peer_ioctl(client, BINDER_GET_NODE_INFO_FOR_REF, BAD_POINTER));
	EXPECT_EQ(0, info->strong_count);
	round_trip(client, server);
}

/* The file in another process's hands: its ioctls work on the opener's behalf. */
TEST_F(ipc, foreign_process)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *foreign = new_process("foreign");
	struct binder_transaction_data *tr;
	long pidfd = peer_syscall(foreign, SYS_pidfd_open, client->pid, 0);

	ASSERT_LE(0, pidfd);
	foreign->fd = peer_syscall(foreign, SYS_pidfd_getfd, pidfd, client->fd, 0);
	ASSERT_LE(0, foreign->fd);
	settle(foreign);
	call(foreign, 3, "proxy", 5);
	start_transact(foreign);
	tr = take_call(server);
	ASSERT_PAYLOAD(server, tr, "proxy", 5);
	EXPECT_EQ(client->pid, tr->sender_pid);
	answer(server, tr, "answer", 6);
	ASSERT_EQ(0, finish(foreign));
	ASSERT_BR(foreign, BR_TRANSACTION_COMPLETE, BR_REPLY);
	/* The reply lies where the opener has its area. */
	tr = message(foreign);
	ASSERT_PAYLOAD(client, tr, "answer", 6);
	free_buffer(client, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(client));
	round_trip(client, server);
}

#ifdef __x86_64__
struct compat_args {
	int fd;
	unsigned int request;
	void *argument;
	long result;
};

/* The ioctl of 32-bit programs; the argument must lie below 4 GiB. */
static long do_compat_ioctl(struct peer *p, void *arg)
{
	struct compat_args *c = arg;
	long result = 54;

	asm volatile("int $0x80" : "+a"(result)
		     : "b"((long)c->fd), "c"((long)c->request), "d"(c->argument) : "memory", "r8",
		     "r9", "r10", "r11");
	return (int)result;
}

static long compat_ioctl(struct peer *p, unsigned int request, void *argument)
{
	struct compat_args c = { p->fd, request, argument };

	return peer_run(p, do_compat_ioctl, arena_copy(&c, sizeof(c)));
}

/* The layouts are the same for 32-bit programs. */
TEST_F(ipc, compat)
{
	struct peer *server = manager("server"), *client = member("client");
	long low = peer_mmap(client, NULL, PAGE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1);
	struct binder_write_read bwr = {};
	struct binder_version version;

	ASSERT_LT(0, low);
	ASSERT_EQ(0, compat_ioctl(client, BINDER_VERSION, (void *)low));
	memcpy(&version, peer_memory(client, low, sizeof(version)), sizeof(version));
	EXPECT_EQ(8, version.protocol_version);

	oneway(client, 32, "low", 3);
	bwr.write_size = client->write_len;
	bwr.write_buffer = (uintptr_t)client->write;
	client->write_len = 0;
	poke(client, (void *)low, &bwr, sizeof(bwr));
	ASSERT_EQ(0, compat_ioctl(client, BINDER_WRITE_READ, (void *)low));
	memcpy(&bwr, peer_memory(client, low, sizeof(bwr)), sizeof(bwr));
	EXPECT_EQ(bwr.write_size, bwr.write_consumed);
	ASSERT_PAYLOAD(server, take_call(server), "low", 3);
	EXPECT_EQ(-EINVAL, compat_ioctl(client, 0, (void *)low));
	EXPECT_EQ(-EFAULT, compat_ioctl(client, BINDER_WRITE_READ, NULL));
}
#endif

TEST_HARNESS_MAIN
