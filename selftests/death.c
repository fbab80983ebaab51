// SPDX-License-Identifier: GPL-2.0
/*
 * Processes and threads that end, at every stage of a message, and what that
 * means to those who live on.
 *
 * The C driver keeps the buffers of messages that an exiting thread had not
 * read, so tests of that look at the whole area with our driver only.
 */
#include <sys/epoll.h>

#include "memory.h"
#include "slow.h"

static void expect_dead_reply(struct peer *client)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
}

static void exit_thread(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_ioctl(p, BINDER_THREAD_EXIT, NULL));
	settle(p);
}

/* A thread that has been given a message it had no room to read. */
static void give(struct peer *thread, struct peer *sender, __u32 flags)
{
	struct __test_metadata *_metadata = this_test;

	thread->read_len = 4;
	start_receive(thread);
	bc_transaction(sender, BC_TRANSACTION, 1, flags, "unread", 6);
	if (flags & TF_ONE_WAY) {
		ASSERT_EQ(0, transact(sender));
		ASSERT_BR(sender, BR_TRANSACTION_COMPLETE);
	} else {
		start_transact(sender);
	}
	ASSERT_EQ(0, finish(thread));
	ASSERT_BR(thread);
	thread->read_len = sizeof(thread->read);
}

/* Frees, unread, what has been sent to P and not taken. */
static void drain(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	long ret;

	while (!(ret = receive_now(p))) {
		if (p->brs < 2)
			continue;
		ASSERT_BR(p, BR_TRANSACTION);
		free_buffer(p, message(p)->data.ptr.buffer);
		if (!(message(p)->flags & TF_ONE_WAY)) {
			reply(p, NULL, 0);
			ASSERT_EQ(0, transact(p));
			ASSERT_BR(p, BR_TRANSACTION_COMPLETE);
		}
		ASSERT_EQ(0, submit(p));
	}
	ASSERT_EQ(-EAGAIN, ret);
}

/* ---- the receiver's process ------------------------------------------------ */

TEST_F(ipc, server_before_delivery)
{
	struct peer *server = manager("server"), *client = member("client");

	call(client, 1, "x", 1);
	start_transact(client);
	kill_process(server);
	expect_dead_reply(client);
	await_no_manager(client);
	check_unharmed(client, manager("successor"));
}

TEST_F(ipc, server_before_reply)
{
	struct peer *server = manager("server"), *client = member("client");

	call(client, 1, "x", 1);
	start_transact(client);
	take_call(server);
	kill_process(server);
	expect_dead_reply(client);
	await_no_manager(client);
	check_unharmed(client, manager("successor"));
}

TEST_F(ipc, server_after_reply)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	call(client, 1, "x", 1);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	reply(server, "posthumous", 10);
	ASSERT_EQ(0, submit(server));
	kill_process(server);
	await_no_manager(new_thread(client, "sibling"));
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	tr = message(client);
	ASSERT_PAYLOAD(client, tr, "posthumous", 10);
	free_buffer(client, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(client));
	check_unharmed(client, manager("successor"));
}

/* In all stages at once, in several threads: everyone is told, once. */
TEST_F(ipc, server_with_many)
{
	struct peer *server = manager("server"), *threads[4], *clients[8], *successor;
	int i;

	for (i = 0; i < 4; i++) {
		threads[i] = new_thread(server, "thread");
		clients[i] = member("client");
		clients[i + 4] = new_thread(clients[i], "client's thread");
	}
	/* Calls that are handled, wait on a thread, and wait for a thread; one-way messages. */
	give(threads[3], clients[0], 0);
	for (i = 1; i < 8; i++) {
		call(clients[i], i, "x", 1);
		start_transact(clients[i]);
	}
	for (i = 0; i < 3; i++)
		take_call(threads[i]);
	kill_process(server);
	for (i = 0; i < 8; i++)
		expect_dead_reply(clients[i]);
	await_no_manager(clients[0]);
	successor = manager("successor");
	for (i = 0; i < 8; i++) {
		ASSERT_QUIET(clients[i]);
		check_unharmed(clients[i], successor);
	}
	ASSERT_QUIET(successor);
}

/* A new manager has nothing to do with what the old one was sent. */
TEST_F(ipc, server_with_oneways)
{
	struct peer *server = manager("server"), *client = member("client"), *successor;
	int i;

	for (i = 0; i < 10; i++)
		oneway(client, i, "old", 3);
	ASSERT_EQ(0, transact(client));
	take_call(server);
	kill_process(server);
	await_no_manager(client);
	successor = manager("successor");
	ASSERT_QUIET(successor);
	oneway(client, 77, "new", 3);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	EXPECT_EQ(77, take_call(successor)->code);
	free_buffer(successor, message(successor)->data.ptr.buffer);
	ASSERT_EQ(0, submit(successor));
	ASSERT_QUIET(successor);
	check_unharmed(client, successor);
}

/* Closing the file is as good as dying, also while a thread is in a read. */
TEST_F(ipc, server_closes)
{
	struct peer *server = manager("server"), *reader = new_thread(server, "reader");
	struct peer *client = member("client"), *idle = new_bare_thread(server, "idle");
	struct binder_transaction_data *tr;

	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	ASSERT_NE(NULL, tr);
	start_receive(reader);
	ASSERT_EQ(0, peer_syscall(idle, SYS_munmap, server->area, AREA_LEN));
	ASSERT_EQ(0, peer_syscall(idle, SYS_close, server->fd));
	ASSERT_EQ(0, finish(reader));
	ASSERT_BR(reader);
	expect_dead_reply(client);
	await_no_manager(client);
	check_unharmed(client, manager("successor"));
}

/* ---- the sender's process --------------------------------------------------- */

TEST_F(ipc, client_before_delivery)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *other = member("other");
	struct binder_transaction_data *tr;

	call(client, 5, "bequest", 7);
	start_transact(client);
	kill_process(client);
	/* It died before or after; either way the call is there, and its bytes are. */
	tr = take_call(server);
	EXPECT_EQ(5, tr->code);
	ASSERT_PAYLOAD(server, tr, "bequest", 7);
	/* There is nobody to reply to, which the replier does not see. */
	answer(server, tr, "too late", 8);
	ASSERT_QUIET(server);
	check_unharmed(other, server);
}

TEST_F(ipc, client_before_reply)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *other = member("other");
	struct binder_transaction_data *tr;

	call(client, 1, "x", 1);
	start_transact(client);
	tr = take_call(server);
	kill_process(client);
	answer(server, tr, "too late", 8);
	ASSERT_EXTENDED_ERROR(server, BR_OK, 0);
	ASSERT_QUIET(server);
	check_unharmed(other, server);
}

TEST_F(ipc, client_before_reading_reply)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *other = member("other");

	call(client, 1, "x", 1);
	ASSERT_EQ(0, submit(client));
	answer(server, take_call(server), "unread", 6);
	kill_process(client);
	ASSERT_QUIET(server);
	check_unharmed(other, server);
}

TEST_F(ipc, client_with_oneways)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *other = member("other");
	int i;

	for (i = 0; i < 5; i++)
		oneway(client, i, &i, sizeof(i));
	ASSERT_EQ(0, submit(client));
	kill_process(client);
	for (i = 0; i < 5; i++) {
		struct binder_transaction_data *tr = take_call(server);

		ASSERT_EQ(i, tr->code);
		ASSERT_PAYLOAD(server, tr, &i, sizeof(i));
		free_buffer(server, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(server));
	}
	check_unharmed(other, server);
}

/* ---- threads ------------------------------------------------------------------ */

/* What a call's handler owes is settled when it leaves; others go on. */
TEST_F(ipc, handler_exits)
{
	struct peer *server = manager("server"), *sibling = new_thread(server, "sibling");
	struct peer *one = member("one"), *two = member("two");
	struct binder_transaction_data *tr, *left;

	call(one, 1, "x", 1);
	start_transact(one);
	left = take_call(sibling);
	call(two, 2, "y", 1);
	start_transact(two);
	tr = take_call(server);
	exit_thread(sibling);
	expect_dead_reply(one);
	ASSERT_EXTENDED_ERROR(one, BR_OK, 0);
	EXPECT_TRUE(still_waits(two));

	/* It has no call to reply to any more. The message it read is still to be freed. */
	reply(sibling, NULL, 0);
	ASSERT_REFUSED(sibling, BR_FAILED_REPLY, -EPROTO);
	ASSERT_PAYLOAD(server, left, "x", 1);
	free_buffer(server, left->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	answer(server, tr, NULL, 0);
	take_reply(two, NULL, 0);
	check_unharmed(one, server);
	check_unharmed(two, sibling);
}

/* A thread that ends without a word is still there for the driver: only its process's end is its own. */
TEST_F(ipc, handler_ends_silently)
{
	struct peer *server = manager("server"), *thread = new_thread(server, "thread");
	struct peer *client = member("client");

	call(client, 1, "x", 1);
	start_transact(client);
	take_call(thread);
	end_thread(thread);
	ASSERT_QUIET(server);
	EXPECT_TRUE(still_waits(client));
	kill_process(server);
	expect_dead_reply(client);
	check_unharmed(client, manager("successor"));
}

/* A call that a thread was given and had not read is answered when it leaves. */
TEST_F(ipc, unread_call)
{
	struct peer *server = manager("server"), *thread = new_thread(server, "thread");
	struct peer *client = member("client");

	give(thread, client, 0);
	EXPECT_TRUE(still_waits(client));
	ASSERT_QUIET(server);
	exit_thread(thread);
	expect_dead_reply(client);
	ASSERT_QUIET(server);
	ASSERT_QUIET(thread);
	if (oracle())
		round_trip(client, server);
	else
		check_unharmed(client, server);
}

/*
 * A one-way message that a thread had not read goes to another one, and those
 * behind it follow. (With the C driver it is lost, and nothing follows.)
 */
TEST_F(ipc, unread_oneway)
{
	struct peer *server = manager("server"), *thread = new_thread(server, "thread");
	struct peer *client = member("client");
	struct binder_transaction_data *tr;

	require_rust_ipc();
	give(thread, client, TF_ONE_WAY);
	oneway(client, 2, "next", 4);
	ASSERT_EQ(0, transact(client));
	ASSERT_QUIET(server);
	start_receive(server);
	exit_thread(thread);
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server, BR_TRANSACTION);
	tr = message(server);
	ASSERT_PAYLOAD(server, tr, "unread", 6);
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	tr = take_call(server);
	ASSERT_PAYLOAD(server, tr, "next", 4);
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	check_unharmed(client, server);
}

/* The whole process ends with messages in that state. */
TEST_F(ipc, unread_at_process_end)
{
	struct peer *server = manager("server"), *thread = new_thread(server, "thread");
	struct peer *client = member("client"), *two = member("two");

	give(thread, client, 0);
	give(new_thread(server, "another"), two, TF_ONE_WAY);
	kill_process(server);
	expect_dead_reply(client);
	ASSERT_QUIET(two);
	check_unharmed(two, manager("successor"));
}

FIXTURE(caller) {
	struct peer *server, *client, *thread, *other;
};

/* A thread with a call out leaves. */
FIXTURE_SETUP(caller)
{
	this_test = _metadata;
	self->server = manager("server");
	self->client = member("client");
	self->thread = new_thread(self->client, "thread");
	self->other = member("other");
	call(self->thread, 1, "x", 1);
	ASSERT_EQ(0, submit(self->thread));
}

FIXTURE_TEARDOWN(caller)
{
	ipc_teardown(_metadata, NULL, NULL);
}

TEST_F(caller, exits_before_delivery)
{
	struct binder_transaction_data *tr;

	exit_thread(self->thread);
	tr = take_call(self->server);
	ASSERT_PAYLOAD(self->server, tr, "x", 1);
	EXPECT_EQ(0, tr->sender_pid);
	answer(self->server, tr, NULL, 0);
	ASSERT_QUIET(self->thread);
	ASSERT_QUIET(self->server);
	check_unharmed(self->thread, self->server);
	check_unharmed(self->client, self->server);
}

TEST_F(caller, exits_before_reply)
{
	struct binder_transaction_data *tr = take_call(self->server);

	exit_thread(self->thread);
	answer(self->server, tr, NULL, 0);
	ASSERT_EXTENDED_ERROR(self->server, BR_OK, 0);
	ASSERT_QUIET(self->thread);
	ASSERT_QUIET(self->server);
	check_unharmed(self->thread, self->server);
	check_unharmed(self->client, self->server);
}

TEST_F(caller, exits_before_reading_reply)
{
	answer(self->server, take_call(self->server), "unread", 6);
	exit_thread(self->thread);
	ASSERT_QUIET(self->thread);
	ASSERT_QUIET(self->server);
	if (oracle())
		round_trip(self->thread, self->server);
	else
		check_unharmed(self->thread, self->server);
}

TEST_F(caller, exits_before_reading_error)
{
	exit_thread(self->server);
	exit_thread(self->thread);
	/* The call was not given to a thread yet. */
	answer(self->server, take_call(self->server), NULL, 0);

	call(self->thread, 1, "x", 1);
	ASSERT_EQ(0, submit(self->thread));
	take_call(self->server);
	free_buffer(self->server, message(self->server)->data.ptr.buffer);
	ASSERT_EQ(0, submit(self->server));
	exit_thread(self->server);
	/* BR_DEAD_REPLY waits to be read. */
	exit_thread(self->thread);
	ASSERT_QUIET(self->thread);
	check_unharmed(self->thread, self->server);
}

TEST_F(caller, process_ends_with_it)
{
	answer(self->server, take_call(self->server), "x", 1);
	call(self->client, 2, "y", 1);
	ASSERT_EQ(0, submit(self->client));
	take_call(self->server);
	kill_process(self->client);
	free_buffer(self->server, message(self->server)->data.ptr.buffer);
	reply(self->server, NULL, 0);
	ASSERT_EQ(0, transact(self->server));
	ASSERT_BR(self->server, BR_TRANSACTION_COMPLETE);
	check_unharmed(self->other, self->server);
}

/* What a thread had not read about itself goes with it. */
TEST_F(ipc, exit_with_unread_returns)
{
	struct peer *server = manager("server"), *client = member("client");

	/* A completion. */
	oneway(client, 1, "x", 1);
	ASSERT_EQ(0, submit(client));
	exit_thread(client);
	ASSERT_QUIET(client);
	free_buffer(server, take_call(server)->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));

	/* A refusal. */
	call(client, 1, NULL, 0)->tr.target.handle = 99;
	ASSERT_EQ(0, submit(client));
	exit_thread(client);
	ASSERT_QUIET(client);
	ASSERT_EXTENDED_ERROR(client, BR_OK, 0);

	/* A flush that nobody has seen. */
	check_unharmed(client, server);

	/* A looper; one that was asked for. */
	bc(server, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(server));
	exit_thread(server);
	check_unharmed(client, server);
	/* Again and again. */
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, peer_ioctl(server, BINDER_THREAD_EXIT, NULL));
	}
	settle(server);
	check_unharmed(client, server);
}

/* A waiting sibling of a thread that leaves notices nothing. */
TEST_F(ipc, exit_beside_waiter)
{
	struct peer *server = manager("server"), *waiter = new_thread(server, "waiter");
	struct peer *client = member("client");

	start_receive(waiter);
	exit_thread(server);
	EXPECT_TRUE(still_waits(waiter));
	call_waiter(client, waiter);
}

/* ---- in the middle of a copy ----------------------------------------------------- */

FIXTURE(copying) {
	struct peer *server, *client, *helper, *other;
	struct slow slow;
};

FIXTURE_VARIANT(copying) {
	__u32 flags;
	size_t len;
};

FIXTURE_VARIANT_ADD(copying, call) { 0, 2 * BEFORE };
FIXTURE_VARIANT_ADD(copying, call_of_pages) { 0, PAGE + BEFORE };
FIXTURE_VARIANT_ADD(copying, oneway) { TF_ONE_WAY, 2 * BEFORE };

/* The client sends, and sleeps while its payload is being copied. */
FIXTURE_SETUP(copying)
{
	this_test = _metadata;
	self->server = manager("server");
	self->client = member("client");
	self->helper = new_thread(self->client, "helper");
	self->other = member("other");
	self->slow = make_slow(self->client);
	bc_message(self->client, BC_TRANSACTION, 9, variant->flags,
		   (void *)(uintptr_t)self->slow.start, variant->len);
	start_transact(self->client);
	ASSERT_QUIET(self->server);
}

FIXTURE_TEARDOWN(copying)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* Takes the message once it has come, and checks its bytes. */
static void take_slow(struct __test_metadata *_metadata, FIXTURE_DATA(copying) *self,
		      const FIXTURE_VARIANT(copying) *variant)
{
	struct binder_transaction_data *tr;
	const __u8 *seen;
	size_t i;

	ASSERT_EQ(0, receive(self->server));
	ASSERT_BR(self->server, BR_TRANSACTION);
	tr = message(self->server);
	ASSERT_EQ(variant->len, tr->data_size);
	seen = peer_memory(self->server, tr->data.ptr.buffer, variant->len);
	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0x5a, seen[0]);
	for (i = 1; i < BEFORE; i++) {
		ASSERT_EQ(0, seen[i]);
	}
	for (; i < variant->len; i++) {
		ASSERT_EQ(0x77, seen[i]);
	}
	if (variant->flags & TF_ONE_WAY) {
		free_buffer(self->server, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(self->server));
		ASSERT_EQ(0, finish(self->client));
		ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE);
	} else {
		answer(self->server, tr, NULL, 0);
		take_reply(self->client, NULL, 0);
	}
	check_unharmed(self->client, self->server);
}

/* Others do not wait meanwhile, and what has not arrived cannot be freed. */
TEST_F(copying, others_go_on)
{
	size_t i;

	round_trip(self->other, self->server);
	oneway(self->other, 1, NULL, 0);
	ASSERT_EQ(0, transact(self->other));
	free_buffer(self->server, take_call(self->server)->data.ptr.buffer);
	ASSERT_EQ(0, submit(self->server));
	for (i = 0; i < AREA_LEN; i += 8) {
		free_buffer(self->server, (uintptr_t)self->server->area + i);
		if (self->server->write_len + 12 > sizeof(self->server->write)) {
			ASSERT_EQ(0, submit(self->server));
		}
	}
	ASSERT_EQ(0, submit(self->server));
	EXPECT_TRUE(still_waits(self->client));
	fill_slow(self->helper, &self->slow);
	take_slow(_metadata, self, variant);
}

TEST_F(copying, pages_reclaimed)
{
	int i;

	round_trip(self->other, self->server);
	for (i = 0; i < 3; i++)
		drop_caches();
	fill_slow(self->helper, &self->slow);
	take_slow(_metadata, self, variant);
}

TEST_F(copying, server_dies)
{
	kill_process(self->server);
	/* Where the manager's end is known to others, it is to be known here. */
	await_no_manager(self->other);
	fill_slow(self->helper, &self->slow);
	ASSERT_EQ(0, finish(self->client));
	if (variant->flags & TF_ONE_WAY || self->client->brs == 2) {
		ASSERT_BR(self->client, BR_DEAD_REPLY);
	} else {
		ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	}
	ASSERT_QUIET(self->client);
	check_unharmed(self->client, manager("successor"));
}

TEST_F(copying, server_unmaps)
{
	struct peer *successor;

	ASSERT_EQ(0, peer_syscall(self->server, SYS_munmap, self->server->area, AREA_LEN));
	fill_slow(self->helper, &self->slow);
	if (oracle()) {
		/* The message comes through, though nobody can read it. */
		kill_process(self->server);
		ASSERT_EQ(0, finish(self->client));
		ASSERT_LE(2, self->client->brs);
	} else {
		/* As if it had been sent later. */
		ASSERT_EQ(0, finish(self->client));
		ASSERT_BR(self->client, BR_DEAD_REPLY);
		ASSERT_EXTENDED_ERROR(self->client, BR_DEAD_REPLY, -ESRCH);
		kill_process(self->server);
	}
	await_no_manager(self->client);
	successor = manager("successor");
	check_unharmed(self->client, successor);
	check_unharmed(self->other, successor);
}

/* Another mapping at the area's place: not a byte of the message gets there. */
TEST_F(copying, server_maps_over)
{
	const __u8 *seen;
	size_t i;

	ASSERT_EQ((long)self->server->area,
		  peer_mmap(self->server, self->server->area, AREA_LEN, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
	fill_slow(self->helper, &self->slow);
	if (variant->flags & TF_ONE_WAY) {
		ASSERT_EQ(0, finish(self->client));
	} else {
		/* Queued, it waits for the reply; nobody knows for sure when. */
		peer_sleeps(self->client);
	}
	seen = peer_memory(self->server, (uintptr_t)self->server->area, AREA_LEN);
	for (i = 0; i < AREA_LEN; i++) {
		ASSERT_EQ(0, seen[i]);
	}
	kill_process(self->server);
	if (!(variant->flags & TF_ONE_WAY)) {
		ASSERT_EQ(0, finish(self->client));
	}
	await_no_manager(self->client);
	check_unharmed(self->client, manager("successor"));
}

TEST_F(copying, client_dies)
{
	kill_process(self->client);
	ASSERT_QUIET(self->server);
	check_unharmed(self->other, self->server);
}

/* The payload goes away under the copy. */
TEST_F(copying, payload_unmapped)
{
	unmap_slow(self->helper, &self->slow);
	ASSERT_EQ(0, finish(self->client));
	ASSERT_BR(self->client, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(self->client, BR_FAILED_REPLY, -EFAULT);
	ASSERT_QUIET(self->server);
	check_unharmed(self->client, self->server);
}

/* A reply on its way when its receiver dies. */
TEST_F(ipc, client_dies_while_reply_is_copied)
{
	struct peer *server = manager("server"), *helper = new_thread(server, "helper");
	struct peer *client = member("client"), *other = member("other");
	struct slow slow = make_slow(server);

	call(client, 1, NULL, 0);
	start_transact(client);
	free_buffer(server, take_call(server)->data.ptr.buffer);
	bc_message(server, BC_REPLY, 0, 0, (void *)(uintptr_t)slow.start, 2 * BEFORE);
	start_transact(server);
	kill_process(client);
	round_trip(other, helper);
	fill_slow(helper, &slow);
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_QUIET(server);
	check_unharmed(other, server);
}

/* The one who replies dies while the reply is being copied. */
TEST_F(ipc, server_dies_while_reply_is_copied)
{
	struct peer *server = manager("server"), *client = member("client");
	struct slow slow = make_slow(server);

	call(client, 1, NULL, 0);
	start_transact(client);
	take_call(server);
	bc_message(server, BC_REPLY, 0, 0, (void *)(uintptr_t)slow.start, 2 * BEFORE);
	start_transact(server);
	kill_process(server);
	ASSERT_EQ(0, finish(client));
	/* The copy fails before the process is gone. */
	if (client->br[2].cmd == BR_FAILED_REPLY) {
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	} else {
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	}
	await_no_manager(client);
	check_unharmed(client, manager("successor"));
}

/* A message is just being read: until that is done it cannot be freed, and then it is whole. */
TEST_F(ipc, free_while_being_read)
{
	struct peer *server = manager("server"), *helper = new_thread(server, "helper");
	struct peer *client = member("client");
	struct slow slow = make_slow(server);
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	struct binder_transaction_data *tr = arena_alloc(sizeof(*tr));
	size_t i;

	call(client, 1, "whole", 5);
	start_transact(client);
	/* BR_NOOP and the start of the message fit before the point. */
	*bwr = (struct binder_write_read) {
		.read_size = 256, .read_buffer = slow.page - 30,
	};
	peer_start(server, do_write_read, bwr);
	ASSERT_TRUE(peer_sleeps(server));
	for (i = 0; i < 2 * PAGE; i += 8) {
		free_buffer(helper, (uintptr_t)server->area + i);
		if (helper->write_len + 12 > sizeof(helper->write)) {
			ASSERT_EQ(0, submit(helper));
		}
	}
	ASSERT_EQ(0, submit(helper));
	fill_slow(helper, &slow);
	ASSERT_EQ(0, peer_finish(server));
	ASSERT_EQ(4 + 68, bwr->read_consumed);
	memcpy(tr, peer_memory(server, slow.page - 30 + 8, sizeof(*tr)), sizeof(*tr));
	ASSERT_PAYLOAD(server, tr, "whole", 5);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_unharmed(client, server);
}

/* The reader dies, the sender dies, or the buffer does, while a message is being read. */
TEST_F(ipc, reader_dies_while_reading)
{
	struct peer *server = manager("server"), *client = member("client");
	struct slow slow = make_slow(server);
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));

	call(client, 1, "x", 1);
	start_transact(client);
	*bwr = (struct binder_write_read) { .read_size = 256, .read_buffer = slow.page - 30 };
	peer_start(server, do_write_read, bwr);
	ASSERT_TRUE(peer_sleeps(server));
	kill_process(server);
	ASSERT_EQ(0, finish(client));
	if (client->br[2].cmd == BR_FAILED_REPLY) {
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	} else {
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	}
	await_no_manager(client);
	check_unharmed(client, manager("successor"));
}

TEST_F(ipc, sender_dies_while_being_read)
{
	struct peer *server = manager("server"), *helper = new_thread(server, "helper");
	struct peer *client = member("client"), *other = member("other");
	struct slow slow = make_slow(server);
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	struct binder_transaction_data *tr = arena_alloc(sizeof(*tr));

	call(client, 1, "whole", 5);
	start_transact(client);
	*bwr = (struct binder_write_read) { .read_size = 256, .read_buffer = slow.page - 30 };
	peer_start(server, do_write_read, bwr);
	ASSERT_TRUE(peer_sleeps(server));
	kill_process(client);
	round_trip(other, helper);
	fill_slow(helper, &slow);
	ASSERT_EQ(0, peer_finish(server));
	memcpy(tr, peer_memory(server, slow.page - 30 + 8, sizeof(*tr)), sizeof(*tr));
	ASSERT_PAYLOAD(server, tr, "whole", 5);
	answer(server, tr, NULL, 0);
	ASSERT_QUIET(server);
	check_unharmed(other, server);
}

TEST_F(ipc, buffer_unmapped_while_reading)
{
	struct peer *server = manager("server"), *helper = new_thread(server, "helper");
	struct peer *client = member("client");
	struct slow slow = make_slow(server);
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));

	call(client, 1, "x", 1);
	start_transact(client);
	*bwr = (struct binder_write_read) { .read_size = 256, .read_buffer = slow.page - 30 };
	peer_start(server, do_write_read, bwr);
	ASSERT_TRUE(peer_sleeps(server));
	unmap_slow(helper, &slow);
	ASSERT_EQ(-EFAULT, peer_finish(server));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	reply(server, NULL, 0);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);
	if (oracle())
		round_trip(client, server);
	else
		check_unharmed(client, server);
}

/* ---- at any moment ----------------------------------------------------------------- */

#define RACE_ROUNDS 25

/* Calls until the server is gone. */
static long do_call_until_dead(struct peer *p, void *arg)
{
	struct pattern *question = arg;
	struct binder_transaction_data tr = {};
	__u64 n;
	long ret;

	for (n = 0;; n++) {
		bool oneway = n % 3 == 2;

		make_pattern(question, n * 77, 16 + n * 997 % 9000, 16 + n * 331 % 9000);
		bc_message(p, BC_TRANSACTION, 1, oneway ? TF_ONE_WAY : 0, question, question->len);
		ret = own_wait(p, &tr, oneway);
		if (ret == BR_DEAD_REPLY)
			return n;
		/* One-way messages may be too many for their half of the area. */
		if (oneway && (ret == BR_TRANSACTION_COMPLETE || ret == BR_FAILED_REPLY))
			continue;
		if (ret != BR_REPLY)
			return ret < 0 ? ret : -EPROTO;
		if (!check_pattern((void *)(uintptr_t)tr.data.ptr.buffer, ~question->seed,
				   question->reply_len))
			return -EILSEQ;
		free_buffer(p, tr.data.ptr.buffer);
	}
}

/* The server is killed in the middle of traffic, over and over. */
TEST_F(ipc, server_killed_in_traffic)
{
	struct peer *clients[4], *threads[3], *server;
	void *room[7];
	int round, i;

	for (i = 0; i < 7; i++)
		room[i] = arena_alloc(10000);
	for (i = 0; i < 4; i++)
		clients[i] = i % 2 ? new_thread(clients[i - 1], "client's thread") : member("client");
	for (round = 0; round < RACE_ROUNDS; round++) {
		step("round %d", round);
		server = manager("server");
		for (i = 0; i < 3; i++) {
			threads[i] = i ? new_thread(server, "thread") : server;
			if (i)
				peer_start(threads[i], do_serve, room[4 + i]);
		}
		peer_start(server, do_serve, room[4]);
		for (i = 0; i < 4; i++)
			peer_start(clients[i], do_call_until_dead, room[i]);
		usleep(500 + round * 400);
		for (i = 0; i < 3; i++) {
			ASSERT_FALSE(peer_done(threads[i]));
		}
		kill_process(server);
		for (i = 0; i < 4; i++) {
			ASSERT_LE(0, peer_finish(clients[i]));
		}
		await_no_manager(clients[0]);
		/* The arena is not made for so many peers. */
		arena.peer_count -= 3;
		arena.free = (__u8 *)server;
	}
	server = manager("successor");
	for (i = 0; i < 4; i++)
		check_unharmed(clients[i], server);
}

/* Clients are, and the server lives on with all of its area. */
TEST_F(ipc, clients_killed_in_traffic)
{
	struct peer *server = manager("server"), *thread = new_thread(server, "thread");
	struct peer *clients[4], *stopper = member("stopper");
	void *room[6];
	int round, i;

	for (i = 0; i < 6; i++)
		room[i] = arena_alloc(10000);
	peer_start(server, do_serve, room[4]);
	peer_start(thread, do_serve, room[5]);
	for (round = 0; round < RACE_ROUNDS; round++) {
		step("round %d", round);
		for (i = 0; i < 4; i++)
			clients[i] = i % 2 ? new_thread(clients[i - 1], "client's thread") :
				     member("client");
		for (i = 0; i < 4; i++)
			peer_start(clients[i], do_call_until_dead, room[i]);
		usleep(500 + round * 400);
		kill_process(clients[0]);
		kill_process(clients[2]);
		ASSERT_FALSE(peer_done(server));
		ASSERT_FALSE(peer_done(thread));
		arena.peer_count -= 4;
		arena.free = (__u8 *)clients[0];
	}
	for (i = 0; i < 2; i++) {
		make_pattern(room[0], 1, 100, 100);
		call_at(stopper, STOP, room[0], 100);
		ASSERT_EQ(0, transact(stopper));
		ASSERT_BR(stopper, BR_TRANSACTION_COMPLETE, BR_REPLY);
		free_buffer(stopper, message(stopper)->data.ptr.buffer);
		ASSERT_EQ(0, submit(stopper));
	}
	ASSERT_EQ(0, peer_finish(server));
	ASSERT_EQ(0, peer_finish(thread));
	/* What the last ones had sent. */
	drain(server);
	check_unharmed(stopper, server);
}

/* Serves without a look at the payload, until the file has no area any more. */
static long do_serve_blindly(struct peer *p, void *arg)
{
	static const char answer[16];
	struct binder_transaction_data tr = {};
	long ret;

	for (;;) {
		ret = own_wait(p, &tr, false);
		if (ret != BR_TRANSACTION)
			return ret;
		if (!(tr.flags & TF_ONE_WAY))
			bc_message(p, BC_REPLY, 0, 0, answer, sizeof(answer));
		free_buffer(p, tr.data.ptr.buffer);
	}
}

/* Calls until nothing arrives any more; nobody looks at what comes back. */
static long do_call_blindly(struct peer *p, void *arg)
{
	struct binder_transaction_data tr = {};
	__u64 n;
	long ret;

	for (n = 0;; n++) {
		bool oneway = n % 3 == 2;

		bc_message(p, BC_TRANSACTION, 1, oneway ? TF_ONE_WAY : 0, arg, 16 + n * 997 % 9000);
		ret = own_wait(p, &tr, oneway);
		if (ret == BR_DEAD_REPLY)
			return n;
		if (ret == BR_REPLY)
			free_buffer(p, tr.data.ptr.buffer);
		else if (ret != BR_TRANSACTION_COMPLETE && ret != BR_FAILED_REPLY)
			return ret < 0 ? ret : -EPROTO;
	}
}

/* The area is unmapped in the middle of traffic, and something else mapped there. */
TEST_F(ipc, server_unmaps_in_traffic)
{
	struct peer *clients[3], *server, *thread, *helper, *successor;
	void *room = arena_alloc(10000);
	int round, i;

	for (i = 0; i < 3; i++)
		clients[i] = i % 2 ? new_thread(clients[i - 1], "client's thread") : member("client");
	for (round = 0; round < RACE_ROUNDS; round++) {
		const __u8 *seen;
		size_t at;

		step("round %d", round);
		server = manager("server");
		thread = new_thread(server, "thread");
		helper = new_thread(server, "helper");
		peer_start(thread, do_serve_blindly, NULL);
		peer_start(server, do_serve_blindly, NULL);
		for (i = 0; i < 3; i++)
			peer_start(clients[i], do_call_blindly, room);
		usleep(500 + round * 300);
		ASSERT_EQ((long)server->area,
			  peer_mmap(helper, server->area, AREA_LEN, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
		for (i = 0; i < 3; i++) {
			ASSERT_LE(0, peer_finish(clients[i]));
		}
		seen = peer_memory(helper, (uintptr_t)server->area, AREA_LEN);
		for (at = 0; at < AREA_LEN; at++) {
			ASSERT_EQ(0, seen[at]);
		}
		kill_process(server);
		await_no_manager(clients[0]);
		arena.peer_count -= 3;
		arena.free = (__u8 *)server;
	}
	successor = manager("successor");
	for (i = 0; i < 3; i++)
		check_unharmed(clients[i], successor);
}

struct restless {
	int stop;
	long served, left;
	unsigned int random;
	char answer[32];
};

/* A server's thread that leaves at any moment, watched by an epoll now and then, and comes again. */
static long do_serve_restlessly(struct peer *p, void *arg)
{
	struct restless *r = arg;
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd pollfd = { p->fd, POLLIN };
	int epoll = -1;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		struct br br;
		size_t at = 0;
		long ret;

		r->random = r->random * 1103515245 + 12345;
		if (r->random % 7 == 0) {
			if (epoll >= 0)
				close(epoll);
			epoll = epoll_create1(EPOLL_CLOEXEC);
			if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, p->fd, &event))
				return -errno;
		}
		if ((r->random >> 8) % 3 == 0) {
			/* It frees what it has, and owes the reply. */
			p->bwr = (struct binder_write_read) {
				.write_size = p->write_len ? 4 + sizeof(__u64) : 0,
				.write_buffer = (uintptr_t)p->write,
			};
			p->write_len = 0;
			if (ioctl(p->fd, BINDER_WRITE_READ, &p->bwr) ||
			    ioctl(p->fd, BINDER_THREAD_EXIT, NULL))
				return -errno;
			r->left++;
		}
		if (epoll >= 0 && r->random % 2)
			ret = epoll_wait(epoll, &event, 1, 5);
		else
			ret = poll(&pollfd, 1, 5);
		if (ret < 0 && errno != EINTR)
			return -errno;
		ret = own_io(p);
		if (ret == -EAGAIN)
			continue;
		if (ret)
			return ret;
		while (next_return(p, &at, &br)) {
			if (br.cmd != BR_TRANSACTION)
				continue;
			free_buffer(p, br.tr.data.ptr.buffer);
			if (!(br.tr.flags & TF_ONE_WAY))
				bc_message(p, BC_REPLY, 0, 0, r->answer, sizeof(r->answer));
			r->served++;
		}
	}
	if (epoll >= 0)
		close(epoll);
	return 0;
}

/* Calls, and takes no for an answer. */
static long do_call_patiently(struct peer *p, void *arg)
{
	struct restless *r = arg;
	struct binder_transaction_data tr = {};
	long ret;
	__u64 n;

	for (n = 0; !__atomic_load_n(&r->stop, __ATOMIC_RELAXED); n++) {
		bool oneway = n % 4 == 3;

		bc_message(p, BC_TRANSACTION, 1, oneway ? TF_ONE_WAY : 0, r->answer, n % 32);
		ret = own_wait(p, &tr, oneway);
		if (ret == BR_REPLY) {
			r->served++;
			free_buffer(p, tr.data.ptr.buffer);
		} else if (ret == BR_DEAD_REPLY) {
			r->left++;
		} else if (ret != BR_TRANSACTION_COMPLETE && ret != BR_FAILED_REPLY) {
			return ret < 0 ? ret : -EPROTO;
		}
	}
	return 0;
}

/*
 * Threads come and go under load: each call ends, with a reply or without, and
 * nothing is lost on the way. (The C driver loses the buffers of what such
 * threads had not read, and one-way messages behind them.)
 */
TEST_F(ipc, threads_leave_in_traffic)
{
	struct peer *server = new_process("server"), *servers[3], *clients[6], *last;
	struct restless *r[9];
	long served = 0, dead = 0;
	int i;

	require_rust_ipc();
	ASSERT_LE(0, open_device(server, O_NONBLOCK));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	become_manager(server, NULL);
	for (i = 0; i < 9; i++) {
		r[i] = arena_alloc(sizeof(*r[i]));
		memset(r[i], 0, sizeof(*r[i]));
		r[i]->random = i * 7919;
	}
	for (i = 0; i < 3; i++)
		servers[i] = i ? new_thread(server, "server's thread") : server;
	for (i = 0; i < 6; i++)
		clients[i] = i % 2 ? new_thread(clients[i - 1], "client's thread") : member("client");
	last = member("last");
	for (i = 2; i >= 0; i--)
		peer_start(servers[i], do_serve_restlessly, r[i]);
	for (i = 5; i >= 0; i--)
		peer_start(clients[i], do_call_patiently, r[3 + i]);
	for (i = 0; i < 40; i++) {
		int j;

		usleep(100000);
		for (j = 0; j < 9; j++) {
			struct peer *p = j < 3 ? servers[j] : clients[j - 3];

			ASSERT_FALSE(peer_done(p)) {
				TH_LOG("%s ended with %ld", p->name, p->result);
			}
		}
	}
	/* The clients first: each of them still gets an answer. */
	for (i = 0; i < 6; i++)
		__atomic_store_n(&r[3 + i]->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 6; i++) {
		ASSERT_EQ(0, peer_finish(clients[i]));
		EXPECT_LT(0, r[3 + i]->served);
		served += r[3 + i]->served;
		dead += r[3 + i]->left;
	}
	for (i = 0; i < 3; i++)
		__atomic_store_n(&r[i]->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_finish(servers[i]));
		EXPECT_LT(0, r[i]->left);
	}
	TH_LOG("%ld calls with a reply, %ld without", served, dead);
	EXPECT_LT(0, dead);
	ASSERT_EQ(0, peer_syscall(server, SYS_fcntl, server->fd, F_SETFL, 0));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, submit(servers[i]));
		exit_thread(servers[i]);
	}
	drain(server);
	check_unharmed(last, server);
	for (i = 0; i < 6; i++) {
		ASSERT_EQ(0, submit(clients[i]));
	}
	for (i = 0; i < 6; i++)
		check_unharmed(clients[i], server);
}

TEST_HARNESS_MAIN
