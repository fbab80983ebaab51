// SPDX-License-Identifier: GPL-2.0
/*
 * Calls, one-way messages and replies: what arrives, where, in which order,
 * and what everybody is told when something goes wrong.
 */
#include <sys/epoll.h>
#include <sys/resource.h>

#include "ipc.h"

/* What the driver says of a call, field by field. */
TEST_F(ipc, call_fields)
{
	struct flat_binder_object object = { .binder = 0x1000, .cookie = 0x2000 };
	struct peer *server = member("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct unaligned_transaction *t;

	become_manager(server, &object);
	t = bc_transaction(client, BC_TRANSACTION, 0x89abcdef, TF_ACCEPT_FDS | 0xabcd0000,
			   "twelve bytes", 12);
	/* Not for the sender to say. */
	t->tr.cookie = 0x4444;
	t->tr.sender_pid = 4711;
	t->tr.sender_euid = 4712;
	start_transact(client);

	tr = take_call(server);
	EXPECT_EQ(0x1000, tr->target.ptr);
	EXPECT_EQ(0x2000, tr->cookie);
	EXPECT_EQ(0x89abcdef, tr->code);
	EXPECT_EQ(TF_ACCEPT_FDS | 0xabcd0000, tr->flags);
	EXPECT_EQ(client->pid, tr->sender_pid);
	EXPECT_EQ(0, tr->sender_euid);
	EXPECT_EQ(12, tr->data_size);
	EXPECT_EQ(0, tr->offsets_size);
	EXPECT_EQ(tr->data.ptr.buffer + 16, tr->data.ptr.offsets);
	EXPECT_LE((uintptr_t)server->area, tr->data.ptr.buffer);
	EXPECT_LE(tr->data.ptr.offsets, (uintptr_t)server->area + server->area_len);
	ASSERT_PAYLOAD(server, tr, "twelve bytes", 12);

	free_buffer(server, tr->data.ptr.buffer);
	t = bc_transaction(server, BC_REPLY, 0x11223344, TF_STATUS_CODE | 0x80000000, "seven b", 7);
	t->tr.target.handle = 0x7777;	/* ignored */
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);

	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	tr = message(client);
	EXPECT_EQ(0, tr->target.ptr);
	EXPECT_EQ(0, tr->cookie);
	EXPECT_EQ(0x11223344, tr->code);
	EXPECT_EQ(TF_STATUS_CODE | 0x80000000, tr->flags);
	EXPECT_EQ(0, tr->sender_pid);
	EXPECT_EQ(0, tr->sender_euid);
	EXPECT_EQ(0, tr->offsets_size);
	EXPECT_EQ(tr->data.ptr.buffer + 8, tr->data.ptr.offsets);
	EXPECT_LE((uintptr_t)client->area, tr->data.ptr.buffer);
	EXPECT_LE(tr->data.ptr.offsets, (uintptr_t)client->area + client->area_len);
	ASSERT_PAYLOAD(client, tr, "seven b", 7);
	ASSERT_QUIET(client);
	ASSERT_QUIET(server);
}

TEST_F(ipc, oneway_fields)
{
	struct flat_binder_object object = { .binder = 0x1000, .cookie = 0x2000 };
	struct peer *server = member("server"), *client = member("client");
	struct binder_transaction_data *tr;

	become_manager(server, &object);
	bc_transaction(client, BC_TRANSACTION, 3, TF_ONE_WAY | TF_ROOT_OBJECT, "a", 1);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	tr = take_call(server);
	EXPECT_EQ(0x1000, tr->target.ptr);
	EXPECT_EQ(0x2000, tr->cookie);
	EXPECT_EQ(3, tr->code);
	EXPECT_EQ(TF_ONE_WAY | TF_ROOT_OBJECT, tr->flags);
	EXPECT_EQ(0, tr->sender_pid);
	EXPECT_EQ(0, tr->sender_euid);
	ASSERT_PAYLOAD(server, tr, "a", 1);

	/* Nobody waits for an answer. */
	reply(server, NULL, 0);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	round_trip(client, server);
}

/* The effective uid is that of the moment, not of the opening; a thread's, not the process's. */
TEST_F(ipc, sender_euid)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, peer_syscall(client, SYS_setresuid, -1, 12345, -1));
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(12345, tr->sender_euid);
	EXPECT_EQ(client->pid, tr->sender_pid);
	oneway(sibling, 1, NULL, 0);
	ASSERT_EQ(0, submit(sibling));
	ASSERT_EQ(0, peer_syscall(server, SYS_setresuid, -1, 23456, -1));
	answer(server, tr, NULL, 0);
	ASSERT_EQ(0, finish(client));
	EXPECT_EQ(23456, message(client)->sender_euid);
	EXPECT_EQ(0, take_call(server)->sender_euid);
}

/* A sender in a pid namespace of its own is seen from outside; one outside is not seen within. */
TEST_F(ipc, pid_namespace)
{
	struct peer *server = manager("server"), *client;
	struct binder_transaction_data *tr;

	client = new_process_with("in a namespace", CLONE_NEWPID);
	ASSERT_EQ(1, peer_syscall(client, SYS_getpid));
	ASSERT_LE(0, open_device(client, 0));
	ASSERT_EQ(0, map_area(client, AREA_LEN));
	settle(client);
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(client->pid, tr->sender_pid);
	EXPECT_NE(1, tr->sender_pid);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);

	kill_process(server);
	server = client;
	become_manager(server, NULL);
	client = member("outside");
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(0, tr->sender_pid);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
}

/* The uid, too, is the receiver's word for it; -1 if it has none. */
TEST_F(ipc, user_namespace)
{
	struct peer *server = member("server"), *client = member("client");
	struct binder_transaction_data *tr;
	char path[64];

	become_manager(server, NULL);
	ASSERT_EQ(0, peer_syscall(server, SYS_unshare, CLONE_NEWUSER));
	snprintf(path, sizeof(path), "/proc/%d/uid_map", server->pid);
	ASSERT_EQ(0, write_text(path, "7 5000 10\n"));

	ASSERT_EQ(0, peer_syscall(client, SYS_setresuid, -1, 5003, -1));
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(10, tr->sender_euid);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);

	ASSERT_EQ(0, peer_syscall(client, SYS_setresuid, -1, 0, -1));
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(-1U, tr->sender_euid);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
}

/* The thread that began to wait last is the first to be woken. */
TEST_F(ipc, last_waiter_first)
{
	struct peer *a = manager("a"), *b = new_thread(a, "b"), *c = new_thread(a, "c");
	struct peer *client = member("client"), *sibling = new_thread(client, "sibling");

	start_receive(b);
	start_receive(a);
	start_receive(c);
	call(client, 1, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, finish(c));
	ASSERT_BR(c, BR_TRANSACTION);
	EXPECT_TRUE(still_waits(a));
	EXPECT_TRUE(still_waits(b));

	/* It is the same for one-way messages. */
	oneway(sibling, 2, NULL, 0);
	ASSERT_EQ(0, submit(sibling));
	ASSERT_EQ(0, finish(a));
	ASSERT_BR(a, BR_TRANSACTION);
	EXPECT_EQ(2, message(a)->code);
	EXPECT_TRUE(still_waits(b));
	answer(c, message(c), NULL, 0);
	take_reply(client, NULL, 0);

	/* Back again: now C is the latest. */
	start_receive(c);
	call(client, 3, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, finish(c));
	ASSERT_BR(c, BR_TRANSACTION);
	EXPECT_TRUE(still_waits(b));
	answer(c, message(c), NULL, 0);
	take_reply(client, NULL, 0);
}

/* Threads that have waited, last or not, are still told when a command of theirs fails. */
TEST_F(ipc, errors_after_waiting)
{
	struct peer *threads[3] = { manager("a") }, *client = member("client");
	int round, i;

	threads[1] = new_thread(threads[0], "b");
	threads[2] = new_thread(threads[0], "c");
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 3; i++)
			start_receive(threads[i]);
		/* The last one first. */
		for (i = 2; i >= 0; i--) {
			struct peer *p = threads[i];

			call_waiter(client, p);
			/* A process cannot call itself: as often as it tries. */
			call(p, 2, NULL, 0);
			ASSERT_EQ(0, transact(p));
			ASSERT_BR(p, BR_FAILED_REPLY);
			call(p, 3, NULL, 0);
			ASSERT_EQ(0, transact(p));
			ASSERT_BR(p, BR_FAILED_REPLY);
			ASSERT_QUIET(p);
		}
		/* One that is not the last, and gets a signal. */
		start_receive(threads[0]);
		start_receive(threads[1]);
		ASSERT_EQ(0, interrupt(threads[0]));
		ASSERT_EQ(-EINTR, finish(threads[0]));
		call(threads[0], 4, NULL, 0);
		ASSERT_EQ(0, transact(threads[0]));
		ASSERT_BR(threads[0], BR_FAILED_REPLY);
		ASSERT_EQ(0, interrupt(threads[1]));
		ASSERT_EQ(-EINTR, finish(threads[1]));
	}
}

/* A thread that handles a call is given no other; its siblings are. */
TEST_F(ipc, busy_thread)
{
	struct peer *server = manager("server"), *sibling = new_thread(server, "sibling");
	struct peer *one = member("one"), *two = member("two"), *three = member("three");
	struct binder_transaction_data *first, *second;

	call(one, 1, NULL, 0);
	start_transact(one);
	first = take_call(server);
	call(two, 2, NULL, 0);
	start_transact(two);
	oneway(three, 3, NULL, 0);
	ASSERT_EQ(0, submit(three));

	ASSERT_QUIET(server);
	second = take_call(sibling);
	EXPECT_EQ(2, second->code);
	ASSERT_QUIET(sibling);
	answer(server, first, NULL, 0);
	take_reply(one, NULL, 0);
	EXPECT_EQ(3, take_call(server)->code);
	answer(sibling, second, NULL, 0);
	take_reply(two, NULL, 0);
}

/* Several processes, each with several threads. */
static void make_clients(struct peer **clients, int count, int threads)
{
	int i;

	for (i = 0; i < count; i++)
		clients[i] = i % threads ? new_thread(clients[i - 1]->leader, "client's thread") :
			     member("client");
}

/* Without a waiting thread calls queue up, and are handled in their order. */
TEST_F(ipc, queue_order)
{
	struct peer *server = manager("server"), *clients[12];
	struct binder_transaction_data *tr;
	size_t i;

	make_clients(clients, ARRAY_SIZE(clients), 3);
	for (i = 0; i < ARRAY_SIZE(clients); i++) {
		call(clients[i], i, &i, sizeof(i));
		start_transact(clients[i]);
	}
	for (i = 0; i < ARRAY_SIZE(clients); i++) {
		tr = take_call(server);
		ASSERT_EQ(i, tr->code);
		ASSERT_EQ(clients[i]->pid, tr->sender_pid);
		ASSERT_PAYLOAD(server, tr, &i, sizeof(i));
		answer(server, tr, &i, sizeof(i));
		take_reply(clients[i], &i, sizeof(i));
	}
}

/* Replies may come in any order; each goes to whom it is for. */
TEST_F(ipc, replies_out_of_order)
{
	struct peer *server = manager("server"), *threads[4], *clients[4];
	struct binder_transaction_data *tr[4];
	static const int order[] = { 2, 0, 3, 1 };
	int i;

	make_clients(clients, 4, 2);
	for (i = 0; i < 4; i++) {
		threads[i] = i ? new_thread(server, "thread") : server;
		call(clients[i], i, &i, sizeof(i));
		start_transact(clients[i]);
		tr[i] = take_call(threads[i]);
		ASSERT_EQ(i, tr[i]->code);
	}
	for (i = 0; i < 4; i++) {
		int who = order[i];

		answer(threads[who], tr[who], &who, sizeof(who));
		take_reply(clients[who], &who, sizeof(who));
	}
}

/* The reply alone wakes the caller: nothing else that its process gets. */
TEST_F(ipc, caller_waits_for_reply_only)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	struct binder_transaction_data *tr;

	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	/* Commands of a sibling do not end the wait. */
	oneway(sibling, 2, NULL, 0);
	ASSERT_EQ(0, transact(sibling));
	ASSERT_BR(sibling, BR_TRANSACTION_COMPLETE);
	EXPECT_TRUE(still_waits(client));
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
}

/* BR_TRANSACTION_COMPLETE of a call comes with the reply, in one read. */
TEST_F(ipc, completion_is_deferred)
{
	struct peer *server = manager("server"), *client = member("client");

	call(client, 1, NULL, 0);
	ASSERT_EQ(0, submit(client));
	ASSERT_QUIET(client);
	answer(server, take_call(server), "r", 1);
	ASSERT_EQ(0, receive_now(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
}

/* While a call is out, no other can be made by the thread; a one-way message can. */
TEST_F(ipc, second_call)
{
	struct peer *server = manager("server"), *client = member("client");

	call(client, 1, NULL, 0);
	ASSERT_EQ(0, submit(client));
	call(client, 2, NULL, 0);
	ASSERT_EQ(0, submit(client));
	/* With the first call's completion, which had waited. */
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -EPROTO);
	oneway(client, 3, NULL, 0);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	reply(client, NULL, 0);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPROTO);

	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION);
	EXPECT_EQ(1, message(server)->code);
	answer(server, message(server), "one", 3);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_REPLY);
	ASSERT_PAYLOAD(client, message(client), "one", 3);
	EXPECT_EQ(3, take_call(server)->code);
}

/* A reply that has come, and was not read yet, comes first. */
TEST_F(ipc, call_before_reading_reply)
{
	struct peer *server = manager("server"), *client = member("client");

	/* Room for the completion, and not for the reply behind it. */
	client->read_len = 80;
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), "one", 3);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);

	call(client, 2, NULL, 0);
	ASSERT_EQ(0, submit(client));
	oneway(client, 3, NULL, 0);
	ASSERT_EQ(0, submit(client));
	EXPECT_EQ(0, client->bwr.write_consumed);
	client->read_len = sizeof(client->read);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_REPLY);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -EPROTO);
	ASSERT_QUIET(server);
	round_trip(client, server);
}

/* Of two calls that fail before anything is read, one error is told. (The C driver warns then.) */
TEST_F(ipc, two_calls_fail_unread)
{
	struct peer *server = manager("server"), *client = member("client");
	int i;

	require_rust_ipc();
	for (i = 0; i < 2; i++) {
		call(client, i, NULL, 0);
		ASSERT_EQ(0, submit(client));
		EXPECT_EQ(client->bwr.write_size, client->bwr.write_consumed);
		EXPECT_EQ(i, take_call(server)->code);
		kill_process(server);
		server = manager("successor");
	}
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY, BR_TRANSACTION_COMPLETE);
	ASSERT_QUIET(client);
	round_trip(client, server);
}

TEST_F(ipc, reply_without_call)
{
	struct peer *server = manager("server"), *sibling = new_thread(server, "sibling");
	struct peer *client = member("client");
	struct binder_transaction_data *tr;

	reply(server, "x", 1);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);
	reply(client, "x", 1);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPROTO);

	/* Only the thread that was given the call can reply, and only once. */
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	reply(sibling, "x", 1);
	ASSERT_REFUSED(sibling, BR_FAILED_REPLY, -EPROTO);
	EXPECT_TRUE(still_waits(client));
	answer(server, tr, "y", 1);
	take_reply(client, "y", 1);
	reply(server, "z", 1);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);
	ASSERT_QUIET(client);
	round_trip(client, server);
}

/*
 * A reply that cannot be delivered: the replier has done its part, and the
 * caller gets the error, with its reason.
 */
TEST_F(ipc, failing_reply)
{
	struct peer *server = manager("server"), *client = member_with("client", 4 * PAGE);
	char *bytes = arena_alloc(8 * PAGE);
	static const struct {
		__u64 address, len, offsets_len;
		int error;
	} cases[] = {
		{ 0, 4 * PAGE + 8, 0, -ENOSPC },
		{ 0, ~0ULL, 0, -EINVAL },
		{ 8, 16, 0, -EFAULT },
		{ 0, 16, 4, -EINVAL },
		{ 0, 16, 8, -EINVAL },
	};
	struct unaligned_transaction *t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		step("case %zu", i);
		call(client, 1, NULL, 0);
		start_transact(client);
		free_buffer(server, take_call(server)->data.ptr.buffer);
		t = reply(server, NULL, 0);
		t->tr.data.ptr.buffer = cases[i].address ?: (uintptr_t)bytes;
		t->tr.data.ptr.offsets = (uintptr_t)bytes;
		t->tr.data_size = cases[i].len;
		t->tr.offsets_size = cases[i].offsets_len;
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		ASSERT_EXTENDED_ERROR(server, BR_OK, 0);
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
		ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, cases[i].error);
		/* There is no call any more. */
		reply(server, NULL, 0);
		ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);
	}
	/* All of the client's area is free. */
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), bytes, 4 * PAGE);
	take_reply(client, bytes, 4 * PAGE);
}

TEST_F(ipc, no_manager)
{
	struct peer *client = member("client"), *server;

	await_no_manager(client);
	call(client, 0, NULL, 0);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -EINVAL);
	oneway(client, 0, NULL, 0);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -EINVAL);
	ASSERT_QUIET(client);
	server = manager("server");
	round_trip(client, server);
}

/* Nobody of the manager's process can call it: that goes by the process, not by the file. */
TEST_F(ipc, manager_calls_itself)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(server, "sibling");

	call(server, 0, NULL, 0);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EINVAL);
	oneway(server, 0, NULL, 0);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EINVAL);

	ASSERT_LE(0, open_device(sibling, 0));
	ASSERT_EQ(0, map_area(sibling, AREA_LEN));
	settle(sibling);
	call(sibling, 0, NULL, 0);
	ASSERT_REFUSED(sibling, BR_FAILED_REPLY, -EINVAL);
	ASSERT_QUIET(server);
	round_trip(client, server);
}

/* Two files of one process are two participants. */
TEST_F(ipc, two_files)
{
	struct peer *server = manager("server"), *one = member("one");
	struct peer *two = new_bare_thread(one, "two");
	struct binder_transaction_data *tr;

	ASSERT_LE(0, open_device(two, 0));
	ASSERT_NE(one->fd, two->fd);
	ASSERT_EQ(0, map_area(two, AREA_LEN));
	settle(two);
	call(one, 1, "1", 1);
	start_transact(one);
	tr = take_call(server);
	EXPECT_EQ(one->pid, tr->sender_pid);
	answer(server, tr, "eins", 4);
	call(two, 2, "2", 1);
	start_transact(two);
	answer(server, take_call(server), "zwei", 4);
	take_reply(two, "zwei", 4);
	take_reply(one, "eins", 4);
	EXPECT_EQ(0, peer_syscall(two, SYS_close, two->fd));
	round_trip(one, server);
}

/* ---- one-way messages -------------------------------------------------- */

/* One at a time: the next is delivered when the buffer of the one before is freed. */
TEST_F(ipc, oneway_order)
{
	struct peer *server = manager("server"), *sibling = new_thread(server, "sibling");
	struct peer *one = member("one"), *two = member("two");
	struct binder_transaction_data *tr;
	int i;

	for (i = 0; i < 8; i++) {
		struct peer *client = i % 2 ? two : one;

		oneway(client, i, &i, sizeof(i));
		ASSERT_EQ(0, transact(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	}
	/* Calls do not wait behind them. */
	call(one, 100, NULL, 0);
	start_transact(one);
	for (i = 0; i < 8; i++) {
		tr = take_call(i % 3 ? server : sibling);
		ASSERT_EQ(i, tr->code);
		if (!i) {
			struct binder_transaction_data *call = take_call(server);

			EXPECT_EQ(100, call->code);
			answer(server, call, NULL, 0);
			take_reply(one, NULL, 0);
		}
		ASSERT_QUIET(server);
		ASSERT_QUIET(sibling);
		ASSERT_PAYLOAD(server, tr, &i, sizeof(i));
		/* Any thread may free it. */
		free_buffer(i % 2 ? server : sibling, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(i % 2 ? server : sibling));
	}
	ASSERT_QUIET(server);
}

/* The free that lets the next one through wakes a thread that waits. */
TEST_F(ipc, oneway_wakes_next)
{
	struct peer *server = manager("server"), *sibling = new_thread(server, "sibling");
	struct peer *client = member("client");

	oneway(client, 1, NULL, 0);
	oneway(client, 2, NULL, 0);
	ASSERT_EQ(0, submit(client));
	EXPECT_EQ(1, take_call(server)->code);
	start_receive(sibling);
	free_buffer(server, message(server)->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, finish(sibling));
	ASSERT_BR(sibling, BR_TRANSACTION);
	EXPECT_EQ(2, message(sibling)->code);

	/* In one ioctl: free, and wait for the next. */
	oneway(client, 3, NULL, 0);
	ASSERT_EQ(0, submit(client));
	free_buffer(sibling, message(sibling)->data.ptr.buffer);
	ASSERT_EQ(0, transact(sibling));
	ASSERT_BR(sibling, BR_TRANSACTION);
	EXPECT_EQ(3, message(sibling)->code);
}

/* They may take up half of the area, and never what calls need. */
TEST_F(ipc, oneway_half)
{
	struct peer *server = manager_with("server", 16 * PAGE), *client = member("client");
	char *bytes = arena_alloc(16 * PAGE);
	struct binder_transaction_data *tr, *half;
	int i;

	memset(bytes, 0x42, 16 * PAGE);
	oneway(client, 1, bytes, 8 * PAGE + 8);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	oneway(client, 1, bytes, 8 * PAGE);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	/* The least there is is 8 bytes. */
	oneway(client, 2, NULL, 0);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	half = take_call(server);
	oneway(client, 2, NULL, 0);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);

	/* The other half is there for a call, and no more than that. */
	call(client, 3, bytes, 8 * PAGE + 8);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	call(client, 3, bytes, 8 * PAGE);
	start_transact(client);
	tr = take_call(server);
	ASSERT_PAYLOAD(server, tr, bytes, 8 * PAGE);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);

	/* What is freed counts again. Many small ones, in pieces of 8 bytes. */
	free_buffer(server, half->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	for (i = 0; i < 8; i++) {
		oneway(client, 10 + i, bytes, PAGE - 7);
		ASSERT_EQ(0, transact(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	}
	oneway(client, 2, NULL, 0);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	for (i = 0; i < 8; i++) {
		tr = take_call(server);
		ASSERT_EQ(10 + i, tr->code);
		ASSERT_PAYLOAD(server, tr, bytes, PAGE - 7);
		free_buffer(server, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(server));
	}
	/* And calls may have it all. */
	call(client, 3, bytes, 16 * PAGE);
	start_transact(client);
	answer(server, take_call(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/* ---- buffers ----------------------------------------------------------- */

/* Unfreed replies fill an area; freed ones make room again, and join with their neighbours. */
TEST_F(ipc, many_buffers)
{
	struct peer *server = manager("server"), *client = member_with("client", 16 * PAGE);
	struct binder_transaction_data *held[16];
	__u8 *bytes = arena_alloc(16 * PAGE);
	int i, j;

	for (i = 0; i < 16; i++) {
		memset(bytes, 0x10 + i, PAGE);
		call(client, 1, NULL, 0);
		start_transact(client);
		answer(server, take_call(server), bytes, PAGE);
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
		held[i] = message(client);
		for (j = 0; j < i; j++) {
			ASSERT_NE(held[j]->data.ptr.buffer, held[i]->data.ptr.buffer);
		}
	}
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), NULL, 0);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -ENOSPC);

	/* Every other page is free: one fits there, two do not. */
	for (i = 0; i < 16; i++)
		if ((held[i]->data.ptr.buffer - (uintptr_t)client->area) / PAGE % 2)
			free_buffer(client, held[i]->data.ptr.buffer);
	ASSERT_EQ(0, submit(client));
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), bytes, PAGE + 1);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	memset(bytes, 0x99, PAGE);
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), bytes, PAGE);
	take_reply(client, bytes, PAGE);

	/* Those that are left have kept their bytes. */
	for (i = 0; i < 16; i++) {
		if ((held[i]->data.ptr.buffer - (uintptr_t)client->area) / PAGE % 2)
			continue;
		memset(bytes, 0x10 + i, PAGE);
		ASSERT_PAYLOAD(client, held[i], bytes, PAGE);
		free_buffer(client, held[i]->data.ptr.buffer);
	}
	ASSERT_EQ(0, submit(client));
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), bytes, 16 * PAGE);
	take_reply(client, bytes, 16 * PAGE);
}

/* Odd sizes, freed in a scrambled order, a few hundred times: the area comes back whole. */
TEST_F(ipc, fragmentation)
{
	struct peer *server = manager("server"), *client = member_with("client", 16 * PAGE);
	struct binder_transaction_data *held[24] = {};
	__u8 fill[24] = {}, *bytes = arena_alloc(16 * PAGE);
	unsigned int random = 12345, round;

	for (round = 0; round < 300; round++) {
		unsigned int slot, len;

		random = random * 1103515245 + 12345;
		slot = (random >> 16) % 24;
		len = (random >> 8) % 2600;
		step("round %u", round);
		if (held[slot]) {
			memset(bytes, fill[slot], held[slot]->data_size);
			ASSERT_PAYLOAD(client, held[slot], bytes, held[slot]->data_size);
			free_buffer(client, held[slot]->data.ptr.buffer);
			held[slot] = NULL;
		}
		fill[slot] = round;
		memset(bytes, round, len);
		call(client, 1, NULL, 0);
		start_transact(client);
		answer(server, take_call(server), bytes, len);
		ASSERT_EQ(0, finish(client));
		ASSERT_EQ(3, client->brs);
		if (client->br[2].cmd == BR_REPLY)
			held[slot] = message(client);
		else
			ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	}
	for (round = 0; round < 24; round++)
		if (held[round])
			free_buffer(client, held[round]->data.ptr.buffer);
	ASSERT_EQ(0, submit(client));
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), bytes, 16 * PAGE);
	take_reply(client, bytes, 16 * PAGE);
}

/* TF_CLEAR_BUF: the bytes are gone when the buffer is freed, of calls as of replies. */
TEST_F(ipc, clear_buffer)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling"), *more = new_thread(server, "more");
	struct binder_transaction_data *tr, *neighbour;
	char secret[300], zeros[300] = {};
	const char *seen;
	int flags;

	memset(secret, 's', sizeof(secret));
	for (flags = 0; flags <= TF_ONE_WAY; flags++) {
		/* A live neighbour keeps the page where it is. */
		call(sibling, 1, "neighbour", 9);
		start_transact(sibling);
		neighbour = take_call(more);
		bc_transaction(client, BC_TRANSACTION, 2, TF_CLEAR_BUF | flags, secret,
			       sizeof(secret));
		if (flags) {
			ASSERT_EQ(0, submit(client));
		} else {
			start_transact(client);
		}
		tr = take_call(server);
		ASSERT_PAYLOAD(server, tr, secret, sizeof(secret));
		free_buffer(server, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(server));
		seen = peer_memory(server, tr->data.ptr.buffer, sizeof(secret));
		ASSERT_NE(NULL, seen);
		EXPECT_EQ(0, memcmp(seen, zeros, sizeof(secret)));
		ASSERT_PAYLOAD(more, neighbour, "neighbour", 9);
		if (flags) {
			ASSERT_EQ(0, receive(client));
		} else {
			bc_transaction(server, BC_REPLY, 0, TF_CLEAR_BUF, secret, sizeof(secret));
			ASSERT_EQ(0, transact(server));
			ASSERT_EQ(0, finish(client));
			tr = message(client);
			answer(more, neighbour, "stays", 5);
			ASSERT_EQ(0, finish(sibling));
			ASSERT_PAYLOAD(client, tr, secret, sizeof(secret));
			free_buffer(client, tr->data.ptr.buffer);
			ASSERT_EQ(0, submit(client));
			seen = peer_memory(client, tr->data.ptr.buffer, sizeof(secret));
			ASSERT_NE(NULL, seen);
			EXPECT_EQ(0, memcmp(seen, zeros, sizeof(secret)));
			ASSERT_PAYLOAD(sibling, message(sibling), "stays", 5);
		}
	}
}

/* ---- waiting ----------------------------------------------------------- */

TEST_F(ipc, nonblock)
{
	struct peer *server = new_process("server"), *client = member("client");

	ASSERT_LE(0, open_device(server, O_NONBLOCK));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	become_manager(server, NULL);
	EXPECT_EQ(-EAGAIN, receive(server));
	ASSERT_NO_BR(server);
	call(client, 1, NULL, 0);
	start_transact(client);
	answer(server, take_call(server), NULL, 0);
	take_reply(client, NULL, 0);
	EXPECT_EQ(-EAGAIN, receive(server));

	/* The write half is done, and stays done. */
	bc(server, BC_ENTER_LOOPER);
	EXPECT_EQ(-EAGAIN, transact(server));
	EXPECT_EQ(4, server->bwr.write_consumed);
	ASSERT_NO_BR(server);
}

/* Waits end with EINTR, not with a restart; nothing is lost by that. */
TEST_F(ipc, signals)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	start_receive(server);
	ASSERT_EQ(0, interrupt(server));
	EXPECT_EQ(-EINTR, finish(server));
	ASSERT_NO_BR(server);

	/* A caller: its call is out, and its next read goes on waiting. */
	call(client, 1, "once", 4);
	start_transact(client);
	ASSERT_EQ(0, interrupt(client));
	EXPECT_EQ(-EINTR, finish(client));
	EXPECT_EQ(68, client->bwr.write_consumed);
	ASSERT_NO_BR(client);
	start_receive(client);
	ASSERT_EQ(0, interrupt(client));
	EXPECT_EQ(-EINTR, finish(client));

	tr = take_call(server);
	ASSERT_PAYLOAD(server, tr, "once", 4);
	answer(server, tr, "reply", 5);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	ASSERT_PAYLOAD(client, message(client), "reply", 5);
	ASSERT_QUIET(server);
}

static long do_signal_storm(struct peer *p, void *arg)
{
	struct peer *target = ((struct peer **)arg)[0];
	struct peer *until = ((struct peer **)arg)[1];
	long n;

	for (n = 0; !peer_done(until); n++) {
		interrupt(target);
		/* On a slow kernel, too, the target comes a little further. */
		usleep(200);
	}
	return n;
}

#define STORM_ROUNDS 200

/* Calls under a rain of signals. Every call is answered once, with its own reply. */
static long do_storm_client(struct peer *p, void *arg)
{
	struct pattern *question = arg;
	struct binder_transaction_data tr = {};
	__u32 round;
	long ret;

	for (round = 0; round <= STORM_ROUNDS; round++) {
		make_pattern(question, round, 100, 200);
		bc_message(p, BC_TRANSACTION, round < STORM_ROUNDS ? round : STOP, 0, question, 100);
		ret = own_wait(p, &tr, false);
		if (ret != BR_REPLY)
			return ret;
		if (!check_pattern((void *)(uintptr_t)tr.data.ptr.buffer, ~(__u64)round, 200))
			return -EILSEQ;
		free_buffer(p, tr.data.ptr.buffer);
	}
	return 0;
}

TEST_F(ipc, signal_storm)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *rain[2] = { new_process("rain on the client"), new_process("rain on the server") };
	struct peer *args[2][2] = { { client, client }, { server, client } };

	peer_start(server, do_serve, arena_alloc(PAGE));
	peer_start(client, do_storm_client, arena_alloc(PAGE));
	peer_start(rain[0], do_signal_storm, arena_copy(args[0], sizeof(args[0])));
	peer_start(rain[1], do_signal_storm, arena_copy(args[1], sizeof(args[1])));
	ASSERT_EQ(0, peer_finish(client));
	EXPECT_LT(0, peer_finish(rain[0]));
	EXPECT_LT(0, peer_finish(rain[1]));
	ASSERT_EQ(0, peer_finish(server));
	round_trip(client, server);
}

/* All tasks are frozen, as for a suspend, and go on: who waits in a read does not notice. */
TEST_F(ipc, suspend)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(server, "sibling");
	struct binder_transaction_data *tr;

	if (write_text("/sys/power/pm_test", "freezer"))
		SKIP(return, "the kernel cannot freeze tasks for a test");
	write_text("/sys/module/suspend/parameters/pm_test_delay", "0");
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	start_receive(sibling);
	EXPECT_EQ(0, write_text("/sys/power/state", "freeze"));
	EXPECT_EQ(0, write_text("/sys/power/pm_test", "none"));
	EXPECT_TRUE(still_waits(client));
	EXPECT_TRUE(still_waits(sibling));
	answer(server, tr, "back", 4);
	take_reply(client, "back", 4);
	oneway(client, 2, NULL, 0);
	ASSERT_EQ(0, transact(client));
	ASSERT_EQ(0, finish(sibling));
	ASSERT_BR(sibling, BR_TRANSACTION);
}

/* Closing a duplicate sends all threads back from their reads, with nothing. */
TEST_F(ipc, flush)
{
	struct peer *server = manager("server"), *sibling = new_thread(server, "sibling");
	struct peer *busy = new_thread(server, "busy"), *client = member("client");
	long duplicate;

	duplicate = peer_syscall(busy, SYS_dup, server->fd);
	ASSERT_LE(0, duplicate);
	start_receive(server);
	start_receive(sibling);
	ASSERT_EQ(0, peer_syscall(busy, SYS_close, duplicate));
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server);
	ASSERT_EQ(0, finish(sibling));
	ASSERT_BR(sibling);
	/* Once. */
	ASSERT_QUIET(server);
	ASSERT_QUIET(sibling);

	/* Also one that was not there to be woken. */
	duplicate = peer_syscall(sibling, SYS_dup, server->fd);
	start_receive(server);
	ASSERT_EQ(0, peer_syscall(sibling, SYS_close, duplicate));
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server);
	round_trip(client, server);
}

/* So it does with a caller. Its call is still out: it reads again. */
TEST_F(ipc, flush_caller)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	struct binder_transaction_data *tr;
	long duplicate = peer_syscall(sibling, SYS_dup, client->fd);

	ASSERT_LE(0, duplicate);
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	ASSERT_EQ(0, peer_syscall(sibling, SYS_close, duplicate));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	start_receive(client);
	answer(server, tr, "r", 1);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_REPLY);
	ASSERT_PAYLOAD(client, message(client), "r", 1);
}

/* ---- loopers ----------------------------------------------------------- */

/* Sends a one-way message for the next read to have something. */
static void send_one(struct peer *client)
{
	struct __test_metadata *_metadata = this_test;

	oneway(client, 1, NULL, 0);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
}

/* Frees what was read last. */
static void free_last(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;

	free_buffer(p, message(p)->data.ptr.buffer);
	ASSERT_EQ(0, submit(p));
}

/* BR_SPAWN_LOOPER: one at a time, up to the maximum, when nobody else waits. */
TEST_F(ipc, spawn_looper)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *two = new_thread(server, "two"), *three = new_thread(server, "three");

	set_max_threads(server, 2);

	/* Not from a thread that is no looper. */
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION);
	free_last(server);

	bc(server, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(server));
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR_SPAWN(server, BR_TRANSACTION);
	free_last(server);

	/* Not again before that one has registered. */
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION);
	free_last(server);

	/* The registration itself asks for the second, as nobody waits. */
	bc(two, BC_REGISTER_LOOPER);
	ASSERT_EQ(0, submit(two));
	send_one(client);
	ASSERT_EQ(0, receive(two));
	ASSERT_BR_SPAWN(two, BR_TRANSACTION);
	free_last(two);
	bc(three, BC_REGISTER_LOOPER);
	ASSERT_EQ(0, submit(three));

	/* Two have started: that is the maximum, also when they have left. */
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION);
	free_last(server);
	ASSERT_EQ(0, peer_ioctl(two, BINDER_THREAD_EXIT, NULL));
	ASSERT_EQ(0, peer_ioctl(three, BINDER_THREAD_EXIT, NULL));
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION);
	free_last(server);

	/* A higher maximum counts at once. */
	set_max_threads(server, 3);
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR_SPAWN(server, BR_TRANSACTION);
}

TEST_F(ipc, spawn_looper_not_while_others_wait)
{
	struct peer *server = manager("server"), *waiter = new_thread(server, "waiter");
	struct peer *client = member("client");

	set_max_threads(server, 5);
	bc(server, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(server));
	start_receive(waiter);
	start_receive(server);
	send_one(client);
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server, BR_TRANSACTION);
	free_last(server);
	start_receive(server);
	send_one(client);
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server, BR_TRANSACTION);

	/* A waiting thread that is no looper counts as waiting; once it is gone, none does. */
	ASSERT_EQ(0, interrupt(waiter));
	ASSERT_EQ(-EINTR, finish(waiter));
	free_last(server);
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR_SPAWN(server, BR_TRANSACTION);
}

/* A call's handler is a looper, too; and a registration without request changes no count. */
TEST_F(ipc, spawn_looper_unasked)
{
	struct peer *server = manager("server"), *unasked = new_thread(server, "unasked");
	struct peer *client = member("client");
	struct binder_transaction_data *tr;

	bc(unasked, BC_REGISTER_LOOPER);
	ASSERT_EQ(0, submit(unasked));
	set_max_threads(server, 1);
	call(client, 1, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, receive(unasked));
	ASSERT_BR_SPAWN(unasked, BR_TRANSACTION);
	tr = message(unasked);
	/* The thread that was asked for has not come: no second request. */
	answer(unasked, tr, NULL, 0);
	take_reply(client, NULL, 0);
}

/* A read that fails or finds nothing asks for nothing. */
TEST_F(ipc, spawn_looper_not_on_error)
{
	struct peer *server = manager("server"), *client = member("client");

	set_max_threads(server, 1);
	bc(server, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(server));
	ASSERT_QUIET(server);
	start_receive(server);
	ASSERT_EQ(0, interrupt(server));
	ASSERT_EQ(-EINTR, finish(server));
	send_one(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR_SPAWN(server, BR_TRANSACTION);
}

/* ---- poll -------------------------------------------------------------- */

/* poll() by P: the events, or -errno. */
static long poll_now(struct peer *p, int events)
{
	struct __test_metadata *_metadata = this_test;
	struct pollfd *pollfd = arena_alloc(sizeof(*pollfd));
	long ret;

	*pollfd = (struct pollfd) { .fd = p->fd, .events = events };
	ret = peer_syscall(p, SYS_poll, pollfd, 1, 0);
	ASSERT_EQ(ret, !!pollfd->revents);
	return pollfd->revents;
}

#define ALL_EVENTS (POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM)

TEST_F(ipc, poll)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	EXPECT_EQ(0, poll_now(server, ALL_EVENTS));
	EXPECT_EQ(0, poll_now(client, ALL_EVENTS));
	call(client, 1, NULL, 0);
	ASSERT_EQ(0, submit(client));
	EXPECT_EQ(0, poll_now(client, ALL_EVENTS));
	EXPECT_EQ(POLLIN, poll_now(server, ALL_EVENTS) & POLLIN);
	EXPECT_EQ(0, poll_now(server, POLLOUT));
	/* As long as it is not read. */
	EXPECT_EQ(POLLIN, poll_now(server, POLLIN));

	tr = take_call(server);
	EXPECT_EQ(0, poll_now(server, POLLIN));
	free_buffer(server, tr->data.ptr.buffer);
	reply(server, NULL, 0);
	ASSERT_EQ(0, submit(server));
	/* The completion of the reply; the reply. */
	EXPECT_EQ(POLLIN, poll_now(server, POLLIN));
	EXPECT_EQ(POLLIN, poll_now(client, POLLIN));
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	EXPECT_EQ(0, poll_now(server, POLLIN));
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	EXPECT_EQ(0, poll_now(client, POLLIN));

	/* An error at once is something to read as well. */
	call(client, 1, NULL, 0)->tr.target.handle = 99;
	ASSERT_EQ(0, submit(client));
	EXPECT_EQ(POLLIN, poll_now(client, POLLIN));
}

/* A thread that handles a call is not told of work that it could not have. */
TEST_F(ipc, poll_busy)
{
	struct peer *server = manager("server"), *one = member("one"), *two = member("two");
	struct binder_transaction_data *tr;

	call(one, 1, NULL, 0);
	start_transact(one);
	tr = take_call(server);
	call(two, 2, NULL, 0);
	start_transact(two);
	EXPECT_EQ(0, poll_now(server, POLLIN));
	answer(server, tr, NULL, 0);
	EXPECT_EQ(POLLIN, poll_now(server, POLLIN));
	take_reply(one, NULL, 0);
	answer(server, take_call(server), NULL, 0);
	take_reply(two, NULL, 0);
}

/* Work ends a poll that waits; a thread that waits in a read gets it, if there is one. */
TEST_F(ipc, poll_waits)
{
	struct peer *server = manager("server"), *reader = new_thread(server, "reader");
	struct peer *client = member("client"), *other = member("other");
	struct pollfd *pollfd = arena_alloc(sizeof(*pollfd));

	*pollfd = (struct pollfd) { .fd = server->fd, .events = POLLIN };
	peer_start_syscall(server, SYS_poll, pollfd, 1, -1);
	ASSERT_TRUE(peer_sleeps(server));
	start_receive(reader);
	call(client, 1, NULL, 0);
	start_transact(client);
	ASSERT_EQ(0, finish(reader));
	ASSERT_BR(reader, BR_TRANSACTION);
	EXPECT_TRUE(still_waits(server));

	oneway(other, 2, NULL, 0);
	ASSERT_EQ(0, submit(other));
	ASSERT_EQ(1, peer_finish(server));
	EXPECT_EQ(POLLIN, pollfd->revents);
	EXPECT_EQ(2, take_call(server)->code);
	answer(reader, message(reader), NULL, 0);
	take_reply(client, NULL, 0);
}

TEST_F(ipc, epoll)
{
	struct peer *server = manager("server"), *client = member("client");
	struct epoll_event *event = arena_alloc(sizeof(*event));
	long epoll = peer_syscall(server, SYS_epoll_create1, EPOLL_CLOEXEC);

	ASSERT_LE(0, epoll);
	*event = (struct epoll_event) { .events = EPOLLIN | EPOLLET, .data.u64 = 77 };
	ASSERT_EQ(0, peer_syscall(server, SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, server->fd, event));
	memset(event, 0, sizeof(*event));
	EXPECT_EQ(0, peer_syscall(server, SYS_epoll_wait, epoll, event, 1, 0));
	peer_start_syscall(server, SYS_epoll_wait, epoll, event, 1, -1);
	ASSERT_TRUE(peer_sleeps(server));
	call(client, 1, NULL, 0);
	start_transact(client);
	ASSERT_EQ(1, peer_finish(server));
	EXPECT_EQ(EPOLLIN, event->events);
	EXPECT_EQ(77, event->data.u64);
	/* Edge-triggered: nothing new. */
	EXPECT_EQ(0, peer_syscall(server, SYS_epoll_wait, epoll, event, 1, 0));
	answer(server, take_call(server), NULL, 0);
	take_reply(client, NULL, 0);
	peer_start_syscall(server, SYS_epoll_wait, epoll, event, 1, -1);
	call(client, 1, NULL, 0);
	start_transact(client);
	ASSERT_EQ(1, peer_finish(server));
	answer(server, take_call(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/* The thread that is polled leaves while an epoll watches it; then the epoll goes. */
TEST_F(ipc, epoll_thread_exit)
{
	struct peer *server = manager("server"), *client = member("client");
	struct epoll_event *event = arena_alloc(sizeof(*event));
	int round;

	for (round = 0; round < 10; round++) {
		long epoll = peer_syscall(server, SYS_epoll_create1, EPOLL_CLOEXEC);

		ASSERT_LE(0, epoll);
		*event = (struct epoll_event) { .events = EPOLLIN };
		ASSERT_EQ(0, peer_syscall(server, SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, server->fd,
					  event));
		ASSERT_EQ(0, peer_ioctl(server, BINDER_THREAD_EXIT, NULL));
		if (round % 3 == 0) {
			ASSERT_EQ(0, peer_syscall(server, SYS_epoll_ctl, epoll, EPOLL_CTL_DEL,
						  server->fd, NULL));
		}
		if (round % 3 == 1)
			peer_syscall(server, SYS_epoll_wait, epoll, event, 1, 0);
		settle(server);
		if (round % 2)
			round_trip(client, server);
		ASSERT_EQ(0, peer_syscall(server, SYS_close, epoll));
	}
	round_trip(client, server);
}

/* The file is closed while an epoll watches it. */
TEST_F(ipc, epoll_close)
{
	struct peer *client = member("client"), *watcher = new_process("watcher"), *server;
	struct epoll_event *event = arena_alloc(sizeof(*event));
	long epoll, fd;

	ASSERT_LE(0, (fd = open_device(watcher, 0)));
	epoll = peer_syscall(watcher, SYS_epoll_create1, EPOLL_CLOEXEC);
	*event = (struct epoll_event) { .events = EPOLLIN };
	ASSERT_EQ(0, peer_syscall(watcher, SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fd, event));
	ASSERT_EQ(0, peer_syscall(watcher, SYS_close, fd));
	EXPECT_EQ(0, peer_syscall(watcher, SYS_epoll_wait, epoll, event, 1, 0));
	ASSERT_EQ(0, peer_syscall(watcher, SYS_close, epoll));
	server = manager("server");
	round_trip(client, server);
}

/* ---- nice -------------------------------------------------------------- */

FIXTURE(nice) {
};

FIXTURE_VARIANT(nice) {
	int node, client;
	bool oneway;
	int handler;		/* the server's while it handles the message */
};

/* The server itself, and its default, is at 10. */
FIXTURE_VARIANT_ADD(nice, plain_node) { 0, 5, false, 0 };
FIXTURE_VARIANT_ADD(nice, plain_node_better_client) { 0, -5, false, -5 };
FIXTURE_VARIANT_ADD(nice, node_worse_than_client) { 8, 4, false, 4 };
FIXTURE_VARIANT_ADD(nice, node_better_than_client) { 4, 8, false, 4 };
FIXTURE_VARIANT_ADD(nice, node_worse_than_all) { 15, 19, false, 15 };
/* The node's value is unsigned: these are 249 and 100, which no thread can have. */
FIXTURE_VARIANT_ADD(nice, negative_node) { -7, 3, false, 3 };
FIXTURE_VARIANT_ADD(nice, impossible_node) { 100, 3, false, 3 };
FIXTURE_VARIANT_ADD(nice, oneway_better_node) { 4, -5, true, 4 };
FIXTURE_VARIANT_ADD(nice, oneway_worse_node) { 15, -5, true, 10 };
FIXTURE_VARIANT_ADD(nice, oneway_plain_node) { 0, 19, true, 0 };

FIXTURE_SETUP(nice)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(nice)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* A handler runs at the caller's nice value, or the node's if that is better; and then again at its own. */
TEST_F(nice, inherited)
{
	struct peer *server = new_process("server"), *client = member("client");
	struct flat_binder_object object = { .flags = variant->node & 0xff };
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, setpriority(PRIO_PROCESS, server->tid, 10));
	ASSERT_LE(0, open_device(server, 0));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	become_manager(server, &object);
	ASSERT_EQ(0, setpriority(PRIO_PROCESS, client->tid, variant->client));

	bc_transaction(client, BC_TRANSACTION, 1, variant->oneway ? TF_ONE_WAY : 0, NULL, 0);
	if (variant->oneway) {
		ASSERT_EQ(0, submit(client));
	} else {
		start_transact(client);
	}
	tr = take_call(server);
	EXPECT_EQ(variant->handler, getpriority(PRIO_PROCESS, server->tid));
	if (variant->oneway) {
		free_buffer(server, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(server));
	} else {
		answer(server, tr, NULL, 0);
		take_reply(client, NULL, 0);
		EXPECT_EQ(10, getpriority(PRIO_PROCESS, server->tid));
	}
	EXPECT_EQ(variant->client, getpriority(PRIO_PROCESS, client->tid));
	/* Before it waits for new work, at the latest. */
	ASSERT_QUIET(server);
	EXPECT_EQ(10, getpriority(PRIO_PROCESS, server->tid));
}

/* What was not allowed to have a better value does not get it this way. */
TEST_F(ipc, nice_limit)
{
	struct peer *server = new_process("server"), *client = member("client");
	struct rlimit limit = { 20 - 5, 20 - 5 };	/* nice 5 at the best */
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, setpriority(PRIO_PROCESS, server->tid, 10));
	ASSERT_LE(0, open_device(server, 0));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	become_manager(server, NULL);
	ASSERT_EQ(0, peer_syscall(server, SYS_prlimit64, 0, RLIMIT_NICE,
				  arena_copy(&limit, sizeof(limit)), NULL));
	ASSERT_EQ(0, peer_syscall(server, SYS_setresuid, 65534, 65534, 65534));
	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(5, getpriority(PRIO_PROCESS, server->tid));
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	EXPECT_EQ(10, getpriority(PRIO_PROCESS, server->tid));
}

/* ---- security context ---------------------------------------------------- */

/*
 * A node may ask for the sender's security context. Where no security module
 * has one to give, such calls fail.
 */
TEST_F(ipc, security_context)
{
	struct flat_binder_object object = {
		.binder = 0x1000, .flags = FLAT_BINDER_FLAG_TXN_SECURITY_CTX,
	};
	struct peer *server = member("server"), *client = member("client");
	struct binder_transaction_data_secctx *sec;
	struct binder_extended_error error;
	struct binder_transaction_data *tr;
	char path[64], label[256];
	const char *seen;
	long len;

	become_manager(server, &object);
	call(client, 1, "0123456789", 10);
	start_io(client, true);
	if (!peer_sleeps(client)) {
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_FAILED_REPLY);
		error = extended_error(client);
		EXPECT_EQ(BR_FAILED_REPLY, error.command);
		EXPECT_TRUE(error.param == -EINVAL || error.param == -EOPNOTSUPP);
		/* SELinux has one, also without a policy. */
		EXPECT_NE(0, access("/sys/fs/selinux", F_OK));
		ASSERT_QUIET(server);
		return;
	}
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION_SEC_CTX);
	tr = message(server);
	sec = &server->br[1].sec;
	ASSERT_PAYLOAD(server, tr, "0123456789", 10);
	EXPECT_EQ(10, tr->data_size);
	EXPECT_EQ(0x1000, tr->target.ptr);
	/* Behind the data, in the buffer. */
	EXPECT_LE(tr->data.ptr.buffer + 16, sec->secctx);
	EXPECT_EQ(0, sec->secctx % 8);

	snprintf(path, sizeof(path), "/proc/%d/attr/current", client->pid);
	len = read_text(path, label, sizeof(label));
	ASSERT_LT(0, len);
	if (label[len - 1] == '\n')
		label[--len] = 0;
	seen = peer_memory(server, sec->secctx, len + 1);
	ASSERT_NE(NULL, seen);
	EXPECT_EQ(0, memcmp(label, seen, len));
	answer(server, tr, "r", 1);
	take_reply(client, "r", 1);
}

TEST_HARNESS_MAIN
