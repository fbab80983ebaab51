// SPDX-License-Identifier: GPL-2.0
/*
 * Frozen processes: what reaches them and what does not, and when a process can
 * be frozen.
 */
#include "freeze.h"

/* ---- while frozen -------------------------------------------------------- */

/* Calls are refused, without a trace but for the bit; then all is as before. */
TEST_F(ipc, calls_are_refused)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *freezer = member("freezer");

	ASSERT_FROZEN_INFO(freezer, server, 0, 0);
	ASSERT_EQ(0, freeze(freezer, server));
	ASSERT_FROZEN_INFO(freezer, server, 0, 0);
	call(client, 1, "x", 1);
	ASSERT_REFUSED(client, BR_FROZEN_REPLY, 0);
	ASSERT_FROZEN_INFO(freezer, server, REFUSED, 0);
	call(client, 2, "x", 1);
	ASSERT_REFUSED(client, BR_FROZEN_REPLY, 0);
	ASSERT_FROZEN_INFO(freezer, server, REFUSED, 0);
	ASSERT_QUIET(client);
	ASSERT_QUIET(server);

	/* Freezing anew forgets it, and thawing does. */
	ASSERT_EQ(0, freeze(freezer, server));
	ASSERT_FROZEN_INFO(freezer, server, 0, 0);
	call(client, 3, "x", 1);
	ASSERT_REFUSED(client, BR_FROZEN_REPLY, 0);
	ASSERT_EQ(0, thaw(freezer, server));
	ASSERT_FROZEN_INFO(freezer, server, 0, 0);
	check_unharmed(client, server);
	ASSERT_FROZEN_INFO(freezer, server, 0, 0);
}

/* A refused call is the end of what is carried out, as any failed message is. */
TEST_F(ipc, refusal_stops_commands)
{
	struct peer *server = manager("server"), *client = member("client");

	ASSERT_EQ(0, freeze(client, server));
	call(client, 1, "x", 1);
	oneway(client, 2, "y", 1);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_FROZEN_REPLY);
	ASSERT_EQ(4 + sizeof(struct binder_transaction_data), client->bwr.write_consumed);
	ASSERT_FROZEN_INFO(client, server, REFUSED, 0);
	ASSERT_QUIET(server);
}

/* Everything else that is wrong with a call is seen before that. */
TEST_F(ipc, other_errors_come_first)
{
	struct peer *server = manager("server"), *client = member("client");

	ASSERT_EQ(0, freeze(client, server));
	call(client, 1, NULL, 0)->tr.target.handle = 99;
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	call_at(client, 1, (void *)8, 100);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EFAULT);
	call_at(client, 1, arena_alloc(AREA_LEN + 8), AREA_LEN + 8);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	call_with(client, 0, one_object(BINDER_TYPE_HANDLE, 99, 0));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	ASSERT_FROZEN_INFO(client, server, 0, 0);
	ASSERT_EQ(0, thaw(client, server));
	check_unharmed(client, server);
}

/* What is in a refused call goes back to where it came from. */
TEST_F(ipc, objects_of_refused_call)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct parcel *m = new_parcel();

	ASSERT_EQ(0, freeze(client, server));
	add_binder(m, 0x1000, 0x1001);
	add_weak_binder(m, 0x2000, 0x2001);
	add_fd(m, canary.fd);
	call_with(client, 0, m);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_FROZEN_REPLY);
	close_fd(client, canary.fd);
	ASSERT_GONE(&canary);
	ASSERT_EQ(0, node_count(client));
	ASSERT_NO_HANDLE(server, 1);
	ASSERT_QUIET(client);
	ASSERT_EQ(0, thaw(client, server));
	check_unharmed(client, server);
}

/*
 * One-way messages are taken, and the sender is told that they wait. What
 * follows in its write buffer is carried out. (It is the cgroup freezer that
 * stops a frozen process's threads; one that is not stopped gets them.)
 */
TEST_F(ipc, oneways_are_queued)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *freezer = member("freezer");
	int i;

	ASSERT_EQ(0, freeze(freezer, server));
	for (i = 0; i < 5; i++)
		oneway(client, i, &i, sizeof(i));
	ASSERT_EQ(0, transact(client));
	ASSERT_EQ(5 * (4 + sizeof(struct binder_transaction_data)), client->bwr.write_consumed);
	ASSERT_BR(client, BR_TRANSACTION_PENDING_FROZEN, BR_TRANSACTION_PENDING_FROZEN,
		  BR_TRANSACTION_PENDING_FROZEN, BR_TRANSACTION_PENDING_FROZEN,
		  BR_TRANSACTION_PENDING_FROZEN);
	ASSERT_EXTENDED_ERROR(client, BR_OK, 0);
	ASSERT_FROZEN_INFO(freezer, server, PENDING, 1);
	call(client, 1, NULL, 0);
	ASSERT_REFUSED(client, BR_FROZEN_REPLY, 0);
	ASSERT_FROZEN_INFO(freezer, server, PENDING | REFUSED, 1);

	ASSERT_EQ(0, thaw(freezer, server));
	ASSERT_FROZEN_INFO(freezer, server, PENDING, 0);
	ASSERT_EQ(0, transact((oneway(client, 5, &i, sizeof(i)), client)));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	for (i = 0; i < 6; i++) {
		struct binder_transaction_data *tr = take_call(server);

		ASSERT_EQ(i, tr->code);
		ASSERT_PAYLOAD(server, tr, &i, sizeof(i));
		free_message(server, tr);
	}
	ASSERT_FROZEN_INFO(freezer, server, 0, 0);
	check_unharmed(client, server);
}

TEST_F(ipc, oneways_wake_readers)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *waiter = new_thread(server, "waiter");
	struct pollfd *pollfd = arena_copy(&(struct pollfd) { server->fd, POLLIN }, sizeof(*pollfd));

	start_receive(waiter);
	ASSERT_EQ(0, freeze(client, server));
	ASSERT_TRUE(still_waits(waiter));
	send_pending(client, 0, 7, 0, "x", 1);
	ASSERT_EQ(0, finish(waiter));
	ASSERT_BR(waiter, BR_TRANSACTION);
	ASSERT_EQ(7, message(waiter)->code);
	free_message(waiter, message(waiter));
	/* Nor does it change what a poller sees. */
	peer_start_syscall(server, SYS_poll, pollfd, 1, LONG_MS);
	ASSERT_TRUE(peer_sleeps(server));
	send_pending(client, 0, 8, 0, "x", 1);
	ASSERT_EQ(1, peer_finish(server));
	take_oneway(server, 8);
	ASSERT_EQ(0, thaw(client, server));
	check_unharmed(client, server);
}

/* A reply from a frozen process, a call by it, and the reply to that, all pass. */
TEST_F(ipc, frozen_process_calls)
{
	struct peer *server = manager("server"), *frozen = member("frozen");
	struct peer *freezer = member("freezer");

	ASSERT_EQ(0, freeze(freezer, frozen));
	call(frozen, 1, "by a frozen one", 15);
	start_transact(frozen);
	ASSERT_FROZEN_INFO(freezer, frozen, PENDING, 0);
	answer(server, take_call(server), "to a frozen one", 15);
	take_reply(frozen, "to a frozen one", 15);
	oneway(frozen, 2, NULL, 0);
	ASSERT_EQ(0, transact(frozen));
	ASSERT_BR(frozen, BR_TRANSACTION_COMPLETE);
	take_oneway(server, 2);
	ASSERT_FROZEN_INFO(freezer, frozen, 0, 0);
	ASSERT_EQ(0, thaw(freezer, frozen));
	check_unharmed(frozen, server);
}

/* Back into a frozen process that waits for the reply: refused, too. */
TEST_F(ipc, call_back_is_refused)
{
	struct peer *server = manager("server"), *frozen = member("frozen");
	struct peer *freezer = member("freezer");
	struct binder_transaction_data *tr;
	__u32 handle = offer(frozen, server, 0x1000, 0x1001);

	ASSERT_EQ(0, freeze(freezer, frozen));
	call(frozen, 1, NULL, 0);
	start_transact(frozen);
	tr = take_call(server);
	call_with(server, handle, NULL);
	ASSERT_REFUSED(server, BR_FROZEN_REPLY, 0);
	ASSERT_TRUE(still_waits(frozen));
	/* One-way it waits for the thread. */
	send_pending(server, handle, 2, 0, NULL, 0);
	answer(server, tr, NULL, 0);
	take_reply(frozen, NULL, 0);
	take_oneway(frozen, 2);
	ASSERT_EQ(0, thaw(freezer, frozen));
	reaches(server, handle, frozen, 0x1000, 0x1001);
}

/* ---- whom ------------------------------------------------------------------ */

TEST_F(ipc, bad_arguments)
{
	struct peer *server = manager("server"), *freezer = member("freezer");
	struct peer *thread = new_thread(server, "thread"), *stranger = new_process("stranger");
	struct binder_freeze_info *on = freeze_info(server->pid, 0x100, 0);
	struct binder_frozen_status_info *info = arena_alloc(sizeof(*info));
	__u64 at;

	/* Nobody, somebody without the device, a thread that is not the first, one who was. */
	ASSERT_NOT_FREEZABLE(freezer, 0);
	ASSERT_NOT_FREEZABLE(freezer, -1);
	ASSERT_NOT_FREEZABLE(freezer, stranger->pid);
	ASSERT_NOT_FREEZABLE(freezer, thread->tid);
	kill_process(stranger);
	ASSERT_NOT_FREEZABLE(freezer, stranger->pid);

	ASSERT_EQ(-EFAULT, peer_ioctl(freezer, BINDER_FREEZE, NULL));
	ASSERT_EQ(-EFAULT, peer_ioctl(freezer, BINDER_GET_FROZEN_INFO, NULL));
	at = before_hole(freezer, on, sizeof(*on) - 4);
	ASSERT_EQ(-EFAULT, peer_ioctl(freezer, BINDER_FREEZE, at));
	info->pid = server->pid;
	at = before_hole(freezer, info, sizeof(*info) - 4);
	ASSERT_EQ(-EFAULT, peer_ioctl(freezer, BINDER_GET_FROZEN_INFO, at));
	at = before_hole(freezer, info, sizeof(*info));
	ASSERT_EQ(0, peer_ioctl(freezer, BINDER_GET_FROZEN_INFO, at));
	ASSERT_EQ(0, peer_syscall(freezer, SYS_mprotect, at & ~(PAGE - 1), PAGE, PROT_READ));
	ASSERT_EQ(-EFAULT, peer_ioctl(freezer, BINDER_GET_FROZEN_INFO, at));
	round_trip(freezer, server);

	/* Freezing writes nothing back, and anything but 0 is "on". */
	at = before_hole(freezer, on, sizeof(*on));
	ASSERT_EQ(0, peer_syscall(freezer, SYS_mprotect, at & ~(PAGE - 1), PAGE, PROT_READ));
	ASSERT_EQ(0, peer_ioctl(freezer, BINDER_FREEZE, at));
	call(freezer, 1, NULL, 0);
	ASSERT_REFUSED(freezer, BR_FROZEN_REPLY, 0);
	ASSERT_EQ(0, thaw(freezer, server));
	/* Thawing who is not frozen is nothing. */
	ASSERT_EQ(0, thaw(freezer, server));
	check_unharmed(freezer, server);
}

/* Both take the pid of the first pid namespace, wherever the caller is; anybody may. */
TEST_F(ipc, pid_is_global)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *inside = new_process_with("in a namespace", CLONE_NEWPID);
	struct binder_frozen_status_info *info;

	ASSERT_LE(0, open_device(inside, 0));
	ASSERT_EQ(0, map_area(inside, AREA_LEN));
	settle(inside);
	ASSERT_EQ(0, peer_syscall(inside, SYS_setresuid, 4711, 4711, 4711));
	ASSERT_EQ(1, peer_syscall(inside, SYS_getpid));
	/* Its own pid there is somebody else's. */
	ASSERT_EQ(-EINVAL, frozen_info(inside, 1, &info));
	ASSERT_FROZEN_INFO(inside, inside, 0, 0);
	ASSERT_EQ(0, freeze(inside, inside));
	ASSERT_EQ(0, freeze(inside, server));
	call(client, 1, NULL, 0);
	ASSERT_REFUSED(client, BR_FROZEN_REPLY, 0);
	ASSERT_FROZEN_INFO(client, server, REFUSED, 0);
	ASSERT_EQ(0, thaw(inside, server));
	check_unharmed(client, server);
	check_unharmed(inside, server);
}

/* A process may freeze itself. */
TEST_F(ipc, oneself)
{
	struct peer *server = manager("server"), *thread = new_thread(server, "thread");
	struct peer *client = member("client");
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, freeze(server, server));
	call(client, 1, NULL, 0);
	ASSERT_REFUSED(client, BR_FROZEN_REPLY, 0);
	send_pending(client, 0, 2, 0, NULL, 0);
	ASSERT_FROZEN_INFO(server, server, PENDING | REFUSED, 1);
	ASSERT_EQ(0, thaw(thread, server));
	take_oneway(server, 2);

	/* Not from within a call. */
	call(client, 3, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	ASSERT_EQ(-EAGAIN, freeze(server, server));
	ASSERT_EQ(-EAGAIN, freeze_within(server, server, SHORT_MS));
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	ASSERT_EQ(0, freeze(server, server));
	ASSERT_EQ(0, thaw(server, server));
	check_unharmed(client, server);
}

/* Opens the device once more in the process of P, with an area, for a thread of its own. */
static struct peer *another_file(struct peer *p, const char *name)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *thread = new_bare_thread(p, name);

	ASSERT_LE(0, open_device(thread, 0));
	ASSERT_EQ(0, map_area(thread, AREA_LEN));
	settle(thread);
	return thread;
}

/* All that a process has open is frozen, and none of what it opens later. */
TEST_F(ipc, several_files)
{
	struct peer *server = manager("server"), *one = member("one");
	struct peer *two = another_file(one, "two"), *three;
	struct peer *freezer = member("freezer");
	__u32 first = offer(one, server, 0x1000, 0x1001);
	__u32 second = offer(two, server, 0x1000, 0x1001), third;

	ASSERT_NE(first, second);
	ASSERT_EQ(0, freeze(freezer, one));
	call_with(server, second, NULL);
	ASSERT_REFUSED(server, BR_FROZEN_REPLY, 0);
	ASSERT_FROZEN_INFO(freezer, one, REFUSED, 0);
	send_pending(server, first, 1, 0, NULL, 0);
	ASSERT_FROZEN_INFO(freezer, one, REFUSED | PENDING, 1);
	take_oneway(one, 1);
	call_with(server, first, NULL);
	ASSERT_REFUSED(server, BR_FROZEN_REPLY, 0);

	three = another_file(one, "three");
	third = offer(three, server, 0x1000, 0x1001);
	reaches(server, third, three, 0x1000, 0x1001);
	call_with(server, second, NULL);
	ASSERT_REFUSED(server, BR_FROZEN_REPLY, 0);
	ASSERT_EQ(0, thaw(freezer, two));
	ASSERT_FROZEN_INFO(freezer, one, 0, 0);
	reaches(server, first, one, 0x1000, 0x1001);
	reaches(server, second, two, 0x1000, 0x1001);

	/* One that is closed is no obstacle. */
	ASSERT_EQ(0, peer_syscall(two, SYS_munmap, two->area, two->area_len));
	close_fd(two, two->fd);
	await_dead_oneway(server, second);
	ASSERT_EQ(0, freeze(freezer, one));
	call_with(server, third, NULL);
	ASSERT_REFUSED(server, BR_FROZEN_REPLY, 0);
}

/*
 * If one of a process's files is busy, none is frozen. (The C driver leaves
 * those frozen that it came to before.)
 */
TEST_F(ipc, several_files_one_busy)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *files[3], *busy;
	__u32 handles[3];
	int i, j;

	for (i = 0; i < 3; i++) {
		files[i] = i ? another_file(files[0], "another") : member("first");
		handles[i] = offer(files[i], server, 0x1000, 0x1001);
	}
	for (i = 0; i < 3; i++) {
		busy = new_thread(server, "busy");
		call_with(busy, handles[i], NULL);
		start_transact(busy);
		ASSERT_EQ(-EAGAIN, freeze(client, files[0]));
		ASSERT_FROZEN_INFO(client, files[0], PENDING, 0);
		answer(files[i], take_call(files[i]), NULL, 0);
		take_reply(busy, NULL, 0);
		for (j = 0; j < 3; j++) {
			oneway_with(server, handles[j], NULL);
			ASSERT_EQ(0, transact(server));
			/* The newest one is the first that C comes to. */
			if (oracle() && j > i) {
				ASSERT_BR(server, BR_TRANSACTION_PENDING_FROZEN);
			} else {
				ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
			}
			take_oneway(files[j], 0);
		}
		ASSERT_EQ(0, thaw(client, files[0]));
	}
}

/* ---- when ------------------------------------------------------------------ */

/* CLIENT and its node, which SERVER can call; HELPER is a thread of the server's that is free. */
FIXTURE(busy) {
	struct peer *server, *helper, *client, *freezer, *other;
	struct peer *thread;
	struct binder_transaction_data *tr;
	__u32 handle;
};

FIXTURE_VARIANT(busy) {
	void (*enter)(FIXTURE_DATA(busy) *self);
	void (*leave)(FIXTURE_DATA(busy) *self);
	bool client;		/* it is the client that is busy, not the server */
	bool calls;		/* with a call of its own, whose end is not waited for */
	bool no_wait;		/* and there is nothing else to wait for */
	bool leaks;		/* the C driver does not give the buffer back */
	bool unnoticed;		/* the C driver goes on waiting when it is over */
};

static void enter_queued(FIXTURE_DATA(busy) *self)
{
	call(self->other, 1, "x", 1);
	start_transact(self->other);
}

static void leave_queued(FIXTURE_DATA(busy) *self)
{
	answer(self->server, take_call(self->server), "x", 1);
	take_reply(self->other, "x", 1);
}

FIXTURE_VARIANT_ADD(busy, queued_call) { enter_queued, leave_queued };

/* A thread has been given the call, and no room to read it. */
static void enter_given(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;

	self->thread->read_len = 4;
	start_receive(self->thread);
	enter_queued(self);
	ASSERT_EQ(0, finish(self->thread));
	ASSERT_BR(self->thread);
	self->thread->read_len = sizeof(self->thread->read);
}

static void leave_given(FIXTURE_DATA(busy) *self)
{
	answer(self->thread, take_call(self->thread), "x", 1);
	take_reply(self->other, "x", 1);
}

FIXTURE_VARIANT_ADD(busy, given_call) { enter_given, leave_given };

static void enter_handled(FIXTURE_DATA(busy) *self)
{
	enter_queued(self);
	self->tr = take_call(self->server);
}

static void leave_handled(FIXTURE_DATA(busy) *self)
{
	answer(self->server, self->tr, "x", 1);
	take_reply(self->other, "x", 1);
}

FIXTURE_VARIANT_ADD(busy, handled_call) { enter_handled, leave_handled };

/* It is to be answered all the same. */
static void enter_orphaned(FIXTURE_DATA(busy) *self)
{
	enter_handled(self);
	kill_process(self->other);
}

static void leave_orphaned(FIXTURE_DATA(busy) *self)
{
	answer(self->server, self->tr, NULL, 0);
}

FIXTURE_VARIANT_ADD(busy, orphaned_call) { enter_orphaned, leave_orphaned };

/* The thread that handles it leaves. */
static void leave_exit(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_ioctl(self->server, BINDER_THREAD_EXIT, NULL));
	settle(self->server);
	ASSERT_EQ(0, finish(self->other));
	ASSERT_BR(self->other, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	free_message(self->server, self->tr);
}

FIXTURE_VARIANT_ADD(busy, thread_leaves) { enter_handled, leave_exit, .unnoticed = true };

/* The call is answered with what cannot be sent. */
static void leave_failing(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;

	free_buffer(self->server, self->tr->data.ptr.buffer);
	bc_message(self->server, BC_REPLY, 0, 0, (void *)8, 8);
	ASSERT_EQ(0, transact(self->server));
	ASSERT_BR(self->server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(self->other));
	ASSERT_BR(self->other, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
}

FIXTURE_VARIANT_ADD(busy, failing_reply) { enter_handled, leave_failing };

/* The call cannot be returned to whom it is given. */
static void leave_fault(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_write_read bwr = {
		.read_size = 256, .read_buffer = before_hole(self->server, "noop", 4),
	};

	ASSERT_EQ(-EFAULT, peer_ioctl(self->server, BINDER_WRITE_READ,
				      arena_copy(&bwr, sizeof(bwr))));
	ASSERT_EQ(0, finish(self->other));
	ASSERT_BR(self->other, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
}

FIXTURE_VARIANT_ADD(busy, read_fault) { enter_queued, leave_fault, .leaks = true };

static void enter_oneway(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;

	oneway(self->other, 1, "x", 1);
	ASSERT_EQ(0, transact(self->other));
	ASSERT_BR(self->other, BR_TRANSACTION_COMPLETE);
}

static void leave_oneway(FIXTURE_DATA(busy) *self)
{
	take_oneway(self->server, 1);
}

FIXTURE_VARIANT_ADD(busy, queued_oneway) { enter_oneway, leave_oneway };

/* One that waits for another that is not freed yet. */
static void enter_oneway_behind(FIXTURE_DATA(busy) *self)
{
	enter_oneway(self);
	self->tr = take_call(self->server);
	enter_oneway(self);
}

static void leave_oneway_behind(FIXTURE_DATA(busy) *self)
{
	free_message(self->server, self->tr);
	take_oneway(self->server, 1);
}

FIXTURE_VARIANT_ADD(busy, oneway_behind) { enter_oneway_behind, leave_oneway_behind };

static void enter_reply(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;

	call(self->client, 1, "x", 1);
	ASSERT_EQ(0, submit(self->client));
	answer(self->server, take_call(self->server), "y", 1);
}

static void leave_reply(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, receive(self->client));
	ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	free_message(self->client, message(self->client));
}

FIXTURE_VARIANT_ADD(busy, queued_reply) { enter_reply, leave_reply, .client = true };

/* A call of its own that has not been answered. */
static void enter_calling(FIXTURE_DATA(busy) *self)
{
	call(self->client, 1, "x", 1);
	start_transact(self->client);
}

static void leave_calling(FIXTURE_DATA(busy) *self)
{
	answer(self->server, take_call(self->server), "y", 1);
	take_reply(self->client, "y", 1);
}

FIXTURE_VARIANT_ADD(busy, calling) {
	enter_calling, leave_calling, .client = true, .calls = true, .no_wait = true
};

/* Called back while it waits for a reply. */
static void enter_nested(FIXTURE_DATA(busy) *self)
{
	enter_calling(self);
	self->tr = take_call(self->server);
	call_with(self->server, self->handle, NULL);
	start_transact(self->server);
}

static void leave_nested(FIXTURE_DATA(busy) *self)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, finish(self->client));
	ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE, BR_TRANSACTION);
	free_buffer(self->client, message(self->client)->data.ptr.buffer);
	reply(self->client, "z", 1);
	ASSERT_EQ(0, submit(self->client));
	take_reply(self->server, "z", 1);
	answer(self->server, self->tr, "y", 1);
	ASSERT_READS(self->client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	free_message(self->client, message(self->client));
}

FIXTURE_VARIANT_ADD(busy, called_back) {
	enter_nested, leave_nested, .client = true, .calls = true
};

FIXTURE_SETUP(busy)
{
	this_test = _metadata;
	self->server = manager("server");
	self->helper = new_thread(self->server, "helper");
	self->thread = new_thread(self->server, "thread");
	self->client = member("client");
	self->freezer = member("freezer");
	self->other = member("other");
	self->handle = offer(self->client, self->server, 0x1000, 0x1001);
	variant->enter(self);
}

FIXTURE_TEARDOWN(busy)
{
	ipc_teardown(_metadata, NULL, NULL);
}

static struct peer *target_of(FIXTURE_DATA(busy) *self, const FIXTURE_VARIANT(busy) *variant)
{
	return variant->client ? self->client : self->server;
}

/* Somebody whom the state does not concern, and what the target is to them. */
static struct peer *prober_of(FIXTURE_DATA(busy) *self, const FIXTURE_VARIANT(busy) *variant)
{
	return variant->client ? self->helper : self->freezer;
}

static __u32 probe_of(FIXTURE_DATA(busy) *self, const FIXTURE_VARIANT(busy) *variant)
{
	return variant->client ? self->handle : 0;
}

/* For a wait that is to end before. */
static __u32 in_time_ms(const FIXTURE_VARIANT(busy) *variant)
{
	return oracle() && variant->unnoticed ? ORACLE_MS : LONG_MS;
}

static void check_all_works(FIXTURE_DATA(busy) *self, const FIXTURE_VARIANT(busy) *variant)
{
	if (variant->leaks && oracle())
		round_trip(self->freezer, self->server);
	else
		check_unharmed(self->freezer, self->server);
	reaches(self->server, self->handle, self->client, 0x1000, 0x1001);
}

/* It is as if nobody had tried to freeze it, in that state and after it. */
static void check_thawed(FIXTURE_DATA(busy) *self, const FIXTURE_VARIANT(busy) *variant)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *prober = prober_of(self, variant), *target = target_of(self, variant);
	__u32 handle = probe_of(self, variant);

	ASSERT_FROZEN_INFO(prober, target, PENDING, 0);
	bc_transaction(prober, BC_TRANSACTION, 77, TF_ONE_WAY, NULL, 0)->tr.target.handle = handle;
	ASSERT_EQ(0, transact(prober));
	ASSERT_BR(prober, BR_TRANSACTION_COMPLETE);
	variant->leave(self);
	take_oneway(target, 77);
	ASSERT_FROZEN_INFO(prober, target, 0, 0);
	check_all_works(self, variant);
}

TEST_F(busy, cannot_be_frozen)
{
	struct peer *target = target_of(self, variant);

	ASSERT_FROZEN_INFO(self->freezer, target, PENDING, 0);
	ASSERT_EQ(-EAGAIN, freeze(self->freezer, target));
	check_thawed(self, variant);
	ASSERT_EQ(0, freeze(self->freezer, target));
}

/* Freezing waits for it. Meanwhile the target is frozen to everybody else. */
TEST_F(busy, in_time)
{
	struct peer *prober = prober_of(self, variant), *target = target_of(self, variant);
	__u32 handle = probe_of(self, variant);
	long result;

	if (variant->no_wait) {
		ASSERT_EQ(-EAGAIN, freeze_within(self->freezer, target, LONG_MS));
		check_thawed(self, variant);
		return;
	}
	if (!variant->client)
		prober = self->client;
	start_freeze(self->freezer, target, in_time_ms(variant));
	call_with(prober, handle, NULL);
	ASSERT_REFUSED(prober, BR_FROZEN_REPLY, 0);
	ASSERT_FROZEN_INFO(prober, target, PENDING | REFUSED, 0);
	ASSERT_TRUE(still_waits(self->freezer));
	variant->leave(self);
	result = peer_finish(self->freezer);
	/* The freezer may see its own call, or come too late for that. */
	ASSERT_TRUE(result == 0 || (variant->calls && result == -EAGAIN)) {
		TH_LOG("result %ld", result);
	}
	ASSERT_FROZEN_INFO(prober, target, REFUSED, 0);
	if (!result) {
		call_with(prober, handle, NULL);
		ASSERT_REFUSED(prober, BR_FROZEN_REPLY, 0);
		ASSERT_EQ(0, thaw(self->freezer, target));
	}
	check_all_works(self, variant);
}

TEST_F(busy, too_late)
{
	struct peer *target = target_of(self, variant);
	__u64 start = now_ns();

	ASSERT_EQ(-EAGAIN, freeze_within(self->freezer, target, SHORT_MS));
	/* The kernel's ticks may be late, so that it seems early. */
	if (!variant->no_wait) {
		ASSERT_LE(SHORT_MS / 4 * 1000000ULL, now_ns() - start);
	}
	check_thawed(self, variant);
}

/* A signal ends the wait. */
TEST_F(busy, interrupted)
{
	struct peer *target = target_of(self, variant);

	if (variant->no_wait)
		return;
	start_freeze(self->freezer, target, LONG_MS);
	ASSERT_EQ(0, interrupt(self->freezer));
	ASSERT_EQ(-EINTR, peer_finish(self->freezer));
	check_thawed(self, variant);
}

/* The target ends: there is nothing to wait for. (The C driver waits for the time to pass.) */
TEST_F(busy, target_dies)
{
	struct peer *target = target_of(self, variant);

	if (variant->no_wait)
		return;
	start_freeze(self->freezer, target, oracle() ? ORACLE_MS : LONG_MS);
	kill_process(target);
	ASSERT_EQ(0, peer_finish(self->freezer));
	ASSERT_TRUE(eventually(({
		struct binder_frozen_status_info *info;

		frozen_info(self->freezer, target->pid, &info) == -EINVAL;
	})));
	ASSERT_NOT_FREEZABLE(self->freezer, target->pid);
}

/*
 * Somebody else thaws the target: then it is not going to be frozen. (The C
 * driver waits all the same, and reports success in the end.)
 */
TEST_F(busy, thawed_meanwhile)
{
	struct peer *target = target_of(self, variant);

	if (variant->no_wait)
		return;
	start_freeze(self->freezer, target, oracle() ? ORACLE_MS : LONG_MS);
	ASSERT_EQ(0, thaw(self->thread, target));
	if (!oracle()) {
		ASSERT_EQ(-EAGAIN, peer_finish(self->freezer));
		check_thawed(self, variant);
		return;
	}
	variant->leave(self);
	peer_finish(self->freezer);
	check_all_works(self, variant);
}

static int restarts;

static void count_signal(int signal_number)
{
	restarts++;
}

static long do_handle_restarting(struct peer *p, void *arg)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = SA_RESTART };

	return sigaction(SIGUSR2, &action, NULL) ? -errno : 0;
}

/* Which signals wait to be delivered to the thread. */
static long signals_pending(struct peer *p)
{
	char path[64], text[4096], *at;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", p->pid, p->tid);
	if (read_text(path, text, sizeof(text)) <= 0)
		return -1;
	at = strstr(text, "SigPnd:");
	return at ? strtol(at + 7, NULL, 16) : -1;
}

static long do_count_signals(struct peer *p, void *arg)
{
	return restarts;
}

/* With SA_RESTART the wait goes on. */
TEST_F(ipc, restarted)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *freezer = member("freezer");
	struct binder_transaction_data *tr;

	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	ASSERT_EQ(0, peer_run(freezer, do_handle_restarting, NULL));
	start_freeze(freezer, server, LONG_MS);
	ASSERT_EQ(0, syscall(SYS_tgkill, freezer->pid, freezer->tid, SIGUSR2));
	ASSERT_TRUE(eventually(!signals_pending(freezer) && still_waits(freezer)));
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	ASSERT_EQ(0, peer_finish(freezer));
	ASSERT_EQ(1, peer_run(freezer, do_count_signals, NULL));
	ASSERT_EQ(0, thaw(freezer, server));
	check_unharmed(client, server);
}

/* Who freezes dies: that is a signal, too. Another one waits beside it, and has it. */
TEST_F(ipc, two_freezers)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *freezers[2] = { member("freezer"), member("another") };
	struct binder_transaction_data *tr;
	int i;

	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	for (i = 0; i < 2; i++)
		start_freeze(freezers[i], server, LONG_MS);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, peer_finish(freezers[i]));
	}
	ASSERT_EQ(0, thaw(freezers[1], server));

	call(client, 1, NULL, 0);
	start_transact(client);
	tr = take_call(server);
	start_freeze(freezers[0], server, LONG_MS);
	kill_process(freezers[0]);
	ASSERT_FROZEN_INFO(freezers[1], server, PENDING, 0);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	check_unharmed(client, server);
}

/* Delivered and not freed, or answered and not freed, a message is no obstacle. */
TEST_F(ipc, delivered_is_done)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *freezer = member("freezer");
	struct binder_transaction_data *tr, *call_tr;

	oneway(client, 1, NULL, 0);
	ASSERT_EQ(0, transact(client));
	tr = take_call(server);
	call(client, 2, NULL, 0);
	start_transact(client);
	call_tr = take_call(server);
	reply(server, NULL, 0);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_FROZEN_INFO(freezer, server, 0, 0);
	take_reply(client, NULL, 0);
	ASSERT_EQ(0, freeze(freezer, server));
	free_message(server, tr);
	free_message(server, call_tr);
	ASSERT_EQ(0, thaw(freezer, server));
	check_unharmed(client, server);
}

/* A process that was frozen, and cannot be once more for what it has got since, is thawed. */
TEST_F(ipc, frozen_again)
{
	struct peer *server = manager("server"), *client = member("client");

	ASSERT_EQ(0, freeze(client, server));
	send_pending(client, 0, 1, 0, NULL, 0);
	ASSERT_EQ(-EAGAIN, freeze(client, server));
	ASSERT_FROZEN_INFO(client, server, PENDING, 0);
	oneway(client, 2, NULL, 0);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	take_oneway(server, 1);
	take_oneway(server, 2);
	check_unharmed(client, server);
}

/* ---- the end of frozen ones ------------------------------------------------ */

static bool is_known(struct peer *by, struct peer *of)
{
	struct binder_frozen_status_info *info;

	return !frozen_info(by, of->pid, &info);
}

/* It dies like any other, with what waits for it. */
TEST_F(ipc, frozen_dies)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *frozen = member("frozen");
	__u32 handle = offer(frozen, server, 0x1000, 0x1001);

	ASSERT_EQ(0, freeze(client, frozen));
	call_with(server, handle, NULL);
	ASSERT_REFUSED(server, BR_FROZEN_REPLY, 0);
	send_pending(server, handle, 1, 0, NULL, 0);
	send_pending(server, handle, 2, 0, NULL, 0);
	kill_process(frozen);
	await_dead(server, handle);
	ASSERT_EXTENDED_ERROR(server, BR_DEAD_REPLY, -EINVAL);
	ASSERT_TRUE(eventually(!is_known(client, frozen)));
	ASSERT_NOT_FREEZABLE(client, frozen->pid);
	check_unharmed(client, server);
}

/* The manager, frozen, dies: the next one is not frozen. */
TEST_F(ipc, frozen_manager_dies)
{
	struct peer *server = manager("server"), *client = member("client");

	ASSERT_EQ(0, freeze(client, server));
	send_pending(client, 0, 1, 0, NULL, 0);
	kill_process(server);
	await_no_manager(client);
	server = manager("successor");
	ASSERT_FROZEN_INFO(client, server, 0, 0);
	ASSERT_QUIET(server);
	check_unharmed(client, server);
}

TEST_F(ipc, frozen_closes)
{
	struct peer *server = manager("server"), *frozen = member("frozen");
	__u32 handle = offer(frozen, server, 0x1000, 0x1001);

	ASSERT_EQ(0, freeze(server, frozen));
	send_pending(server, handle, 1, 0, NULL, 0);
	ASSERT_EQ(0, peer_syscall(frozen, SYS_munmap, frozen->area, frozen->area_len));
	close_fd(frozen, frozen->fd);
	await_dead(server, handle);
	ASSERT_TRUE(eventually(!is_known(server, frozen)));
	/* What it opens next is not frozen. */
	ASSERT_LE(0, open_device(frozen, 0));
	ASSERT_EQ(0, map_area(frozen, AREA_LEN));
	settle(frozen);
	ASSERT_FROZEN_INFO(server, frozen, 0, 0);
	handle = offer(frozen, server, 0x1000, 0x1001);
	reaches(server, handle, frozen, 0x1000, 0x1001);
}

/* A thread of it leaves, with a call of its own out. */
TEST_F(ipc, frozen_thread_leaves)
{
	struct peer *server = manager("server"), *frozen = member("frozen");
	struct peer *thread = new_thread(frozen, "thread");
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, freeze(server, frozen));
	call(thread, 1, NULL, 0);
	ASSERT_EQ(0, submit(thread));
	ASSERT_FROZEN_INFO(server, frozen, PENDING, 0);
	tr = take_call(server);
	ASSERT_EQ(0, peer_ioctl(thread, BINDER_THREAD_EXIT, NULL));
	ASSERT_FROZEN_INFO(server, frozen, 0, 0);
	answer(server, tr, NULL, 0);
	ASSERT_FROZEN_INFO(server, frozen, 0, 0);
	ASSERT_EQ(0, freeze(server, frozen));
	ASSERT_EQ(0, thaw(server, frozen));
	check_unharmed(frozen, server);
}

/* With the old program's files goes all that was frozen. */
TEST_F(ipc, frozen_execs)
{
	static const char path[] = "/bin/sleep", seconds[] = "1000";
	struct peer *server = manager("server"), *frozen = member("frozen");
	__u32 handle = offer(frozen, server, 0x1000, 0x1001);
	const char *program = arena_copy(path, sizeof(path));
	const char *argv[] = { program, arena_copy(seconds, sizeof(seconds)), NULL };

	ASSERT_EQ(0, freeze(server, frozen));
	peer_start_syscall(frozen, SYS_execve, program, arena_copy(argv, sizeof(argv)), NULL);
	await_dead(server, handle);
	ASSERT_TRUE(eventually(!is_known(server, frozen)));
	ASSERT_NOT_FREEZABLE(server, frozen->pid);
	ASSERT_FALSE(peer_done(frozen));
	kill_process(frozen);
}

/* Its file outlives the process that opened it, and so does its being frozen, under that pid. */
TEST_F(ipc, file_outlives_frozen)
{
	struct peer *server = manager("server"), *frozen = member("frozen");
	struct peer *heir = new_process("heir");
	__u32 handle = offer(frozen, server, 0x1000, 0x1001);
	long pidfd = peer_syscall(heir, SYS_pidfd_open, frozen->pid, 0);

	ASSERT_EQ(0, freeze(server, frozen));
	heir->fd = peer_syscall(heir, SYS_pidfd_getfd, pidfd, frozen->fd, 0);
	ASSERT_LE(0, heir->fd);
	kill_process(frozen);
	call_with(server, handle, NULL);
	ASSERT_REFUSED(server, BR_DEAD_REPLY, -ESRCH);
	ASSERT_FROZEN_INFO(server, frozen, 0, 0);
	ASSERT_EQ(0, thaw(server, frozen));
	ASSERT_EQ(0, freeze(heir, frozen));
	close_fd(heir, heir->fd);
	await_dead(server, handle);
	ASSERT_TRUE(eventually(!is_known(server, frozen)));
	ASSERT_NOT_FREEZABLE(server, frozen->pid);
}

/* ---- messages that replace one another -------------------------------------- */

#define UPDATE (TF_ONE_WAY | TF_UPDATE_TXN)

FIXTURE(update) {
	struct peer *server, *client, *other;
	__u32 handle;
};

/*
 * The server is frozen. A message is on its way to it, which nothing replaces:
 * the others wait behind it.
 */
FIXTURE_SETUP(update)
{
	this_test = _metadata;
	self->server = files_manager("server");
	self->client = member("client");
	self->other = member("other");
	ASSERT_EQ(0, freeze(self->other, self->server));
	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "first", 5);
}

FIXTURE_TEARDOWN(update)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* After thawing, exactly these messages arrive: a code and a letter each. */
static void arrive(FIXTURE_DATA(update) *self, const char *messages)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;

	ASSERT_EQ(0, thaw(self->other, self->server));
	tr = take_call(self->server);
	ASSERT_PAYLOAD(self->server, tr, "first", 5);
	free_message(self->server, tr);
	for (; *messages; messages += 2) {
		tr = take_call(self->server);
		ASSERT_EQ(messages[0] - '0', tr->code) {
			TH_LOG("up to %s", messages);
		}
		ASSERT_PAYLOAD(self->server, tr, messages + 1, 1);
		free_message(self->server, tr);
	}
	ASSERT_QUIET(self->server);
	ASSERT_FROZEN_INFO(self->other, self->server, 0, 0);
	check_unharmed(self->client, self->server);
	ASSERT_EQ(0, freeze(self->other, self->server));
}

/* The newer one comes last, whenever the older one was sent. */
TEST_F(update, supersedes)
{
	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "a", 1);
	send_pending(self->client, 0, 2, TF_UPDATE_TXN, "b", 1);
	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "c", 1);
	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "d", 1);
	send_pending(self->client, 0, 3, TF_UPDATE_TXN, "e", 1);
	ASSERT_FROZEN_INFO(self->other, self->server, PENDING, 1);
	arrive(self, "2b1d3e");
}

/* Code, flags, sender: each is compared, and both have to be updates. */
TEST_F(update, what_is_compared)
{
	struct peer *thread = new_thread(self->client, "thread");

	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "a", 1);
	send_pending(self->client, 0, 2, TF_UPDATE_TXN, "b", 1);
	send_pending(self->client, 0, 1, TF_UPDATE_TXN | TF_CLEAR_BUF, "c", 1);
	send_pending(self->client, 0, 1, TF_UPDATE_TXN | 0x1000, "d", 1);
	send_pending(self->client, 0, 1, 0, "e", 1);
	send_pending(self->client, 0, 1, 0, "f", 1);
	send_pending(self->other, 0, 1, TF_UPDATE_TXN, "g", 1);
	/* Another thread is the same sender. */
	send_pending(thread, 0, 1, TF_UPDATE_TXN | TF_CLEAR_BUF, "h", 1);
	arrive(self, "1a2b1d1e1f1g1h");
}

/* As the sender counts who sends: another file of the process is the same, too. */
TEST_F(update, another_file)
{
	struct peer *file = another_file(self->client, "another file");

	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "a", 1);
	send_pending(file, 0, 1, TF_UPDATE_TXN, "b", 1);
	arrive(self, "1b");
}

/* Each node has its own messages. */
TEST_F(update, another_node)
{
	struct binder_transaction_data *tr;
	struct peer *client = self->client;
	__u32 handle;

	ASSERT_EQ(0, thaw(self->other, self->server));
	tr = take_call(self->server);
	free_message(self->server, tr);
	handle = lend(self->server, client, 0x1000, 0x1001);
	ASSERT_EQ(0, freeze(self->other, self->server));
	send_pending(client, 0, 1, TF_UPDATE_TXN, "first", 5);
	send_pending(client, handle, 1, TF_UPDATE_TXN, "a", 1);
	send_pending(client, handle, 1, TF_UPDATE_TXN, "b", 1);
	send_pending(client, 0, 1, TF_UPDATE_TXN, "c", 1);
	ASSERT_EQ(0, thaw(self->other, self->server));
	tr = take_call(self->server);
	ASSERT_PAYLOAD(self->server, tr, "first", 5);
	free_message(self->server, tr);
	/* First among its own, so not replaced. */
	tr = take_call(self->server);
	ASSERT_PAYLOAD(self->server, tr, "a", 1);
	free_message(self->server, tr);
	tr = take_call(self->server);
	ASSERT_PAYLOAD(self->server, tr, "c", 1);
	free_message(self->server, tr);
	tr = take_call(self->server);
	ASSERT_PAYLOAD(self->server, tr, "b", 1);
	free_message(self->server, tr);
	ASSERT_QUIET(self->server);
}

/* To a process that is not frozen, every message is sent. */
TEST_F(update, not_frozen)
{
	int i;

	ASSERT_EQ(0, thaw(self->other, self->server));
	for (i = 0; i < 3; i++) {
		bc_transaction(self->client, BC_TRANSACTION, 1, UPDATE, "abc" + i, 1);
		ASSERT_EQ(0, transact(self->client));
		ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE);
	}
	arrive(self, "1a1b1c");
}

/*
 * Those that were sent before are there, more than one alike: a newer one
 * replaces one of them, the oldest. The process counts as frozen as soon as
 * somebody waits for it to be.
 */
TEST_F(update, one_for_one)
{
	struct peer *freezer = member("freezer");
	int i;

	ASSERT_EQ(0, thaw(self->other, self->server));
	for (i = 0; i < 3; i++) {
		bc_transaction(self->client, BC_TRANSACTION, 1, UPDATE, "abc" + i, 1);
		ASSERT_EQ(0, transact(self->client));
	}
	start_freeze(freezer, self->server, LONG_MS);
	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "d", 1);
	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "e", 1);
	/* All that is left is waited for. */
	take_oneway(self->server, 1);
	for (i = 0; i < 3; i++) {
		struct binder_transaction_data *tr;

		ASSERT_TRUE(still_waits(freezer));
		tr = take_call(self->server);
		ASSERT_PAYLOAD(self->server, tr, "cde" + i, 1);
		free_message(self->server, tr);
	}
	ASSERT_EQ(0, peer_finish(freezer));
	ASSERT_EQ(0, thaw(self->other, self->server));
	check_unharmed(self->client, self->server);
}

/* The buffer of what was replaced can be used again: for many, large ones. */
TEST_F(update, buffer_is_freed)
{
	size_t len = AREA_LEN / 2 / 3;
	__u8 *bytes = arena_alloc(len);
	struct binder_transaction_data *tr;
	int i;

	for (i = 0; i < 20; i++) {
		memset(bytes, i, len);
		bc_message(self->client, BC_TRANSACTION, 1, UPDATE, bytes, len);
		ASSERT_EQ(0, transact(self->client));
		ASSERT_BR(self->client, BR_TRANSACTION_PENDING_FROZEN);
	}
	ASSERT_EQ(0, thaw(self->other, self->server));
	take_oneway(self->server, 1);
	tr = take_call(self->server);
	ASSERT_PAYLOAD(self->server, tr, bytes, len);
	free_message(self->server, tr);
	ASSERT_QUIET(self->server);
	check_unharmed(self->client, self->server);
}

/* The objects in what was replaced go back, and its files are closed. */
TEST_F(update, objects_are_released)
{
	struct canary canary = new_canary(self->client);
	struct parcel *m = new_parcel();

	add_binder(m, 0x1000, 0x1001);
	add_weak_binder(m, 0x2000, 0x2001);
	add_fd(m, canary.fd);
	bc_parcel(self->client, BC_TRANSACTION, 0, UPDATE, m)->tr.code = 1;
	ASSERT_EQ(0, transact(self->client));
	ASSERT_BR(self->client, BR_INCREFS, BR_ACQUIRE, BR_INCREFS, BR_TRANSACTION_PENDING_FROZEN);
	acknowledge(self->client, 0x1000, 0x1001);
	bc_node(self->client, BC_INCREFS_DONE, 0x2000, 0x2001);
	ASSERT_EQ(0, submit(self->client));
	close_fd(self->client, canary.fd);
	ASSERT_ALIVE(&canary);
	ASSERT_EQ(TOLD_BOTH, node_told(self->client, 0x1000));

	bc_transaction(self->client, BC_TRANSACTION, 1, UPDATE, "a", 1);
	ASSERT_EQ(0, submit(self->client));
	ASSERT_GONE(&canary);
	ASSERT_READS(self->client, BR_TRANSACTION_PENDING_FROZEN, BR_RELEASE, BR_DECREFS,
		     BR_DECREFS);
	ASSERT_EQ(0, node_count(self->client));
	ASSERT_NO_HANDLE(self->server, 1);
	arrive(self, "1a");
}

/* Who sent what was replaced may be gone by then. */
TEST_F(update, sender_dies)
{
	struct peer *heir = new_process("heir");
	long pidfd = peer_syscall(heir, SYS_pidfd_open, self->client->pid, 0);

	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "a", 1);
	ASSERT_LE(0, pidfd);
	kill_process(self->client);
	self->client = member("newcomer");
	send_pending(self->client, 0, 1, TF_UPDATE_TXN, "b", 1);
	arrive(self, "1a1b");
}

/* Replaced, freed, thawed and frozen, and then the receiver dies. */
TEST_F(update, receiver_dies)
{
	struct canary canary = new_canary(self->client);
	int i;

	for (i = 0; i < 3; i++) {
		struct parcel *m = new_parcel();

		add_fd(m, canary.fd);
		bc_parcel(self->client, BC_TRANSACTION, 0, UPDATE, m);
		ASSERT_EQ(0, transact(self->client));
		ASSERT_BR(self->client, BR_TRANSACTION_PENDING_FROZEN);
	}
	close_fd(self->client, canary.fd);
	ASSERT_ALIVE(&canary);
	kill_process(self->server);
	ASSERT_GONE(&canary);
	await_no_manager(self->client);
	check_unharmed(self->client, manager("successor"));
}

/* ---- at any moment ------------------------------------------------------------ */

/* In the payload of each message; the reply holds the complement of it. */
struct note {
	__u32 sender, number;
};

#define SENDERS 4

/* What all that take part have in common. */
struct traffic {
	int stop;
	long received[SENDERS];		/* one-way messages */
	long sent[SENDERS];
	volatile long answered[SENDERS], refused[SENDERS], kept[SENDERS];
	volatile long frozen, busy;
};

struct sender {
	struct traffic *traffic;
	__u32 number;
	struct note note;
};

/* Runs what is left in the write buffer. */
static long own_io_write(struct peer *p)
{
	long ret = 0;

	while (!ret && p->write_len) {
		p->bwr = (struct binder_write_read) {
			.write_size = p->write_len, .write_buffer = (uintptr_t)p->write,
		};
		ret = ioctl(p->fd, BINDER_WRITE_READ, &p->bwr) ? -errno : 0;
		p->write_len -= p->bwr.write_consumed;
		memmove(p->write, p->write + p->bwr.write_consumed, p->write_len);
	}
	return ret;
}

/*
 * Calls and sends one-way, in turn, until told to stop or the receiver is gone:
 * each call has one outcome, and what was taken one-way is numbered in order.
 */
static long do_send(struct peer *p, void *arg)
{
	struct sender *s = arg;
	struct traffic *t = s->traffic;
	struct binder_transaction_data tr = {};
	const struct note *answer;
	long ret;
	__u32 n;

	for (n = 0; !__atomic_load_n(&t->stop, __ATOMIC_RELAXED); n++) {
		if (n % 2) {
			s->note = (struct note) { s->number, t->sent[s->number] };
			bc_message(p, BC_TRANSACTION, 1, TF_ONE_WAY, &s->note, sizeof(s->note));
			ret = own_wait(p, &tr, true);
			if (ret == BR_TRANSACTION_COMPLETE || ret == BR_TRANSACTION_PENDING_FROZEN)
				__atomic_add_fetch(&t->sent[s->number], 1, __ATOMIC_SEQ_CST);
			t->kept[s->number] += ret == BR_TRANSACTION_PENDING_FROZEN;
			/* Not too many for their half of the area, if it can be helped. */
			if (ret != BR_TRANSACTION_COMPLETE)
				pause_briefly();
		} else {
			s->note = (struct note) { s->number, n };
			bc_message(p, BC_TRANSACTION, 1, 0, &s->note, sizeof(s->note));
			ret = own_wait(p, &tr, false);
			if (ret == BR_TRANSACTION_COMPLETE || ret == BR_TRANSACTION_PENDING_FROZEN ||
			    ret == BR_FAILED_REPLY)
				return -EPROTO;
			if (ret == BR_REPLY) {
				answer = (void *)(uintptr_t)tr.data.ptr.buffer;
				if (answer->sender != ~s->number || answer->number != ~n)
					return -EILSEQ;
				free_buffer(p, tr.data.ptr.buffer);
				t->answered[s->number]++;
			}
			t->refused[s->number] += ret == BR_FROZEN_REPLY;
			if (ret == BR_FROZEN_REPLY)
				pause_briefly();
		}
		if (ret == BR_DEAD_REPLY)
			break;
		if (ret < 0)
			return ret;
	}
	return own_io_write(p);
}

struct receiver {
	struct traffic *traffic;
	struct note answer;
};

/* Takes messages until a call of code STOP comes. */
static long do_receive(struct peer *p, void *arg)
{
	struct receiver *r = arg;
	struct traffic *t = r->traffic;
	struct binder_transaction_data tr;
	const struct note *note;
	long ret;

	do {
		ret = own_wait(p, &tr, false);
		if (ret != BR_TRANSACTION)
			return ret < 0 ? ret : -EPROTO;
		note = (void *)(uintptr_t)tr.data.ptr.buffer;
		if (tr.code == STOP) {
			bc_message(p, BC_REPLY, 0, 0, NULL, 0);
		} else if (tr.flags & TF_ONE_WAY) {
			if (note->number != t->received[note->sender])
				return -EILSEQ;
			__atomic_add_fetch(&t->received[note->sender], 1, __ATOMIC_SEQ_CST);
		} else {
			r->answer = (struct note) { ~note->sender, ~note->number };
			bc_message(p, BC_REPLY, 0, 0, &r->answer, sizeof(r->answer));
		}
		free_buffer(p, tr.data.ptr.buffer);
	} while (tr.code != STOP);
	do {
		ret = own_io(p);
	} while (!ret && p->write_len);
	return ret;
}

struct toggler {
	struct traffic *traffic;
	pid_t pid;
};

/* Freezes and thaws, until told to stop or the process is gone. Leaves it thawed. */
static long do_toggle(struct peer *p, void *arg)
{
	struct toggler *toggler = arg;
	struct traffic *t = toggler->traffic;
	__u32 n;

	for (n = 0; !__atomic_load_n(&t->stop, __ATOMIC_RELAXED); n++) {
		struct binder_freeze_info info = { toggler->pid, 1, n % 4 * 30 };

		if (!ioctl(p->fd, BINDER_FREEZE, &info)) {
			t->frozen++;
			usleep(n % 3 * 1000);
		} else if (errno == EAGAIN) {
			t->busy++;
		} else {
			return errno == EINVAL ? 0 : -errno;
		}
		info.enable = 0;
		if (ioctl(p->fd, BINDER_FREEZE, &info))
			return errno == EINVAL ? 0 : -errno;
		usleep(n % 5 * 1000);
	}
	return 0;
}

/* Everybody has had everything happen to them. */
static bool has_seen_all(struct traffic *t)
{
	int i;

	for (i = 0; i < SENDERS; i++)
		if (t->answered[i] < 20 || t->refused[i] < 20 || t->kept[i] < 20)
			return false;
	return t->frozen >= 10 && t->busy >= 3;
}

/*
 * Under constant freezing and thawing, each call is answered or refused, once,
 * and all one-way messages arrive in order.
 */
TEST_F(ipc, toggled_in_traffic)
{
	struct peer *server = manager("server"), *threads[3], *senders[SENDERS];
	struct peer *togglers[2] = { member("toggler"), member("toggler") };
	struct traffic *t = arena_alloc(sizeof(*t));
	struct peer *stopper = member("stopper");
	long answered = 0, refused = 0, kept = 0;
	int i;

	memset(t, 0, sizeof(*t));
	for (i = 0; i < 3; i++) {
		struct receiver receiver = { t };

		threads[i] = i ? new_thread(server, "server's thread") : server;
		if (i)
			peer_start(threads[i], do_receive, arena_copy(&receiver, sizeof(receiver)));
	}
	for (i = 0; i < SENDERS; i++)
		senders[i] = i % 2 ? new_thread(senders[i - 1], "sender's thread") : member("sender");
	peer_start(server, do_receive, arena_copy(&(struct receiver) { t }, sizeof(struct receiver)));
	for (i = 0; i < SENDERS; i++) {
		struct sender sender = { t, i };

		peer_start(senders[SENDERS - 1 - i], do_send, arena_copy(&sender, sizeof(sender)));
	}
	for (i = 0; i < 2; i++) {
		struct toggler toggler = { t, server->pid };

		peer_start(togglers[i], do_toggle, arena_copy(&toggler, sizeof(toggler)));
	}
	ASSERT_TRUE(eventually(has_seen_all(t)));
	__atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, peer_finish(togglers[i]));
	}
	for (i = 0; i < SENDERS; i++) {
		ASSERT_EQ(0, peer_finish(senders[i]));
	}
	for (i = 0; i < SENDERS; i++) {
		ASSERT_TRUE(eventually(__atomic_load_n(&t->received[i], __ATOMIC_SEQ_CST) ==
				       t->sent[i])) {
			TH_LOG("sender %d: %ld of %ld", i, t->received[i], t->sent[i]);
		}
		answered += t->answered[i];
		refused += t->refused[i];
		kept += t->kept[i];
	}
	TH_LOG("%ld times frozen, %ld times not; %ld calls answered, %ld refused, %ld messages kept",
	       t->frozen, t->busy, answered, refused, kept);
	for (i = 0; i < 3; i++) {
		call(stopper, STOP, NULL, 0);
		ASSERT_EQ(0, transact(stopper));
		ASSERT_BR(stopper, BR_TRANSACTION_COMPLETE, BR_REPLY);
		free_message(stopper, message(stopper));
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_finish(threads[i]));
	}
	ASSERT_FROZEN_INFO(stopper, server, 0, 0);
	check_unharmed(stopper, server);
	check_unharmed(senders[0], server);
}

/* The one who is frozen and thawed dies. */
TEST_F(ipc, killed_while_toggled)
{
	struct peer *toggler = member("toggler"), *senders[2], *server, *thread;
	struct traffic *t = arena_alloc(sizeof(*t));
	int round, i;

	for (i = 0; i < 2; i++)
		senders[i] = member("sender");
	for (round = 0; round < 20; round++) {
		__u8 *scratch = arena.free;

		step("round %d", round);
		memset(t, 0, sizeof(*t));
		server = manager("server");
		thread = new_thread(server, "server's thread");
		for (i = 0; i < 2; i++)
			peer_start(i ? thread : server, do_receive,
				   arena_copy(&(struct receiver) { t }, sizeof(struct receiver)));
		for (i = 0; i < 2; i++)
			peer_start(senders[i], do_send,
				   arena_copy(&(struct sender) { t, i }, sizeof(struct sender)));
		peer_start(toggler, do_toggle,
			   arena_copy(&(struct toggler) { t, server->pid }, sizeof(struct toggler)));
		usleep(3000 + round * 700);
		kill_process(server);
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, peer_finish(senders[i]));
		}
		ASSERT_EQ(0, peer_finish(toggler));
		await_no_manager(senders[0]);
		arena.peer_count -= 2;
		arena.free = scratch;
	}
	server = manager("successor");
	for (i = 0; i < 2; i++)
		check_unharmed(senders[i], server);
}

TEST_HARNESS_MAIN
