// SPDX-License-Identifier: GPL-2.0
/*
 * Freeze notifications: hearing of it when the owner of a handle's node is
 * frozen and thawed.
 */
#include "freeze.h"
#include "notices.h"

#define request(p, handle, cookie) \
	submit_handle_cookie(p, BC_REQUEST_FREEZE_NOTIFICATION, handle, cookie)
#define clear(p, handle, cookie) \
	submit_handle_cookie(p, BC_CLEAR_FREEZE_NOTIFICATION, handle, cookie)
#define done(p, cookie) submit_cookie(p, BC_FREEZE_NOTIFICATION_DONE, cookie)

/* The commands gathered are refused as a mistake of the program: the ioctl fails. */
#define ASSERT_INVALID(p) do { \
	ASSERT_EQ(-EINVAL, submit(p)); \
	ASSERT_EQ(0, (p)->bwr.write_consumed); \
} while (0)

#define ASSERT_REQUEST_INVALID(p, handle, cookie) do { \
	put_handle_cookie(p, BC_REQUEST_FREEZE_NOTIFICATION, handle, cookie); \
	ASSERT_INVALID(p); \
} while (0)

#define ASSERT_CLEAR_INVALID(p, handle, cookie) do { \
	put_handle_cookie(p, BC_CLEAR_FREEZE_NOTIFICATION, handle, cookie); \
	ASSERT_INVALID(p); \
} while (0)

#define ASSERT_DONE_INVALID(p, cookie) do { \
	bc_u64(p, BC_FREEZE_NOTIFICATION_DONE, cookie); \
	ASSERT_INVALID(p); \
} while (0)

/* Reads one notice, and nothing else. */
#define ASSERT_TOLD(p, told_cookie, frozen_or_not) do { \
	ASSERT_EQ(0, receive(p)); \
	ASSERT_BR(p, BR_FROZEN_BINDER); \
	ASSERT_EQ(told_cookie, (p)->br[1].frozen.cookie); \
	ASSERT_EQ(frozen_or_not, (p)->br[1].frozen.is_frozen); \
	ASSERT_EQ(0, (p)->br[1].frozen.reserved); \
} while (0)

#define ASSERT_CLEARED(p, its_cookie) \
	ASSERT_NOTICE(p, BR_CLEAR_FREEZE_NOTIFICATION_DONE, its_cookie)

FIXTURE(notice) {
	struct peer *server, *owner, *freezer;
	__u32 handle;
};

/* The server listens; the owner of what it has a handle of is frozen and thawed. */
FIXTURE_SETUP(notice)
{
	this_test = _metadata;
	self->server = manager("server");
	self->owner = member("owner");
	self->freezer = member("freezer");
	self->handle = offer(self->owner, self->server, 0x1000, 0x1001);
}

FIXTURE_TEARDOWN(notice)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* Requests, reads what comes at once, and acknowledges it. */
static void listen_to(struct peer *p, __u32 handle, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;

	request(p, handle, cookie);
	ASSERT_TOLD(p, cookie, 0);
	done(p, cookie);
	ASSERT_QUIET(p);
}

/* Listening is as it was at first: it can be requested, heard, and cleared. */
static void check_listening(struct peer *p, __u32 handle, struct peer *owner, struct peer *freezer)
{
	struct __test_metadata *_metadata = this_test;

	listen_to(p, handle, 0xabc);
	ASSERT_EQ(0, freeze(freezer, owner));
	ASSERT_TOLD(p, 0xabc, 1);
	done(p, 0xabc);
	ASSERT_EQ(0, thaw(freezer, owner));
	ASSERT_TOLD(p, 0xabc, 0);
	done(p, 0xabc);
	clear(p, handle, 0xabc);
	ASSERT_CLEARED(p, 0xabc);
	ASSERT_QUIET(p);
	reaches(p, handle, owner, 0x1000, 0x1001);
}

/* ---- the plain course of things --------------------------------------------- */

TEST_F(notice, state_at_once)
{
	struct peer *server = self->server;

	request(server, self->handle, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_QUIET(server);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);

	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_QUIET(server);
	request(server, self->handle, COOKIE);
	ASSERT_TOLD(server, COOKIE, 1);
	done(server, COOKIE);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 0);
	done(server, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	check_listening(server, self->handle, self->owner, self->freezer);
}

/* Each time, for as long as it is not cleared. */
TEST_F(notice, again_and_again)
{
	int i;

	listen_to(self->server, self->handle, COOKIE);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, freeze(self->freezer, self->owner));
		ASSERT_TOLD(self->server, COOKIE, 1);
		done(self->server, COOKIE);
		ASSERT_EQ(0, thaw(self->freezer, self->owner));
		ASSERT_TOLD(self->server, COOKIE, 0);
		done(self->server, COOKIE);
		ASSERT_QUIET(self->server);
	}
	ASSERT_QUIET(self->owner);
	ASSERT_QUIET(self->freezer);
}

/* It is work of the process: it wakes who waits and who polls, and is the last return of a read. */
TEST_F(notice, how_it_comes)
{
	struct peer *server = self->server, *waiter = new_thread(server, "waiter");
	struct pollfd *pollfd = arena_copy(&(struct pollfd) { server->fd, POLLIN }, sizeof(*pollfd));
	__u32 second = offer(self->owner, server, 0x2000, 0x2001);

	start_receive(waiter);
	request(server, self->handle, 1);
	ASSERT_EQ(0, finish(waiter));
	ASSERT_BR(waiter, BR_FROZEN_BINDER);
	ASSERT_EQ(1, waiter->br[1].frozen.cookie);
	/* Any thread may answer. */
	done(server, 1);
	peer_start_syscall(waiter, SYS_poll, pollfd, 1, LONG_MS);
	ASSERT_TRUE(peer_sleeps(waiter));
	request(server, second, 2);
	ASSERT_EQ(1, peer_finish(waiter));
	ASSERT_TOLD(waiter, 2, 0);
	done(waiter, 2);

	start_receive(waiter);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_EQ(0, finish(waiter));
	ASSERT_BR(waiter, BR_FROZEN_BINDER);
	ASSERT_EQ(0, receive(waiter));
	ASSERT_BR(waiter, BR_FROZEN_BINDER);
	ASSERT_QUIET(waiter);
	/* The ends of both are gathered. */
	done(server, 1);
	done(server, 2);
	put_handle_cookie(server, BC_CLEAR_FREEZE_NOTIFICATION, self->handle, 1);
	put_handle_cookie(server, BC_CLEAR_FREEZE_NOTIFICATION, second, 2);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_CLEAR_FREEZE_NOTIFICATION_DONE, BR_CLEAR_FREEZE_NOTIFICATION_DONE);
	ASSERT_EQ(1, server->br[1].cookie);
	ASSERT_EQ(2, server->br[2].cookie);
}

/* A weak handle will do, and handle 0 where there is one. */
TEST_F(notice, kinds_of_handles)
{
	struct peer *server = self->server, *owner = self->owner;
	struct parcel *m = one_object(BINDER_TYPE_WEAK_BINDER, 0x2000, 0x2001);
	struct binder_transaction_data *tr;
	__u32 weak;

	oneway_with(owner, 0, m);
	ASSERT_EQ(0, transact(owner));
	tr = take_call(server);
	weak = object_of(server, tr, 0)->handle;
	bc_u32(server, BC_INCREFS, weak);
	free_message(server, tr);
	listen_to(server, weak, 1);
	ASSERT_REQUEST_INVALID(owner, 0, 2);
	count(owner, BC_INCREFS, 0);
	listen_to(owner, 0, 2);
	ASSERT_EQ(0, freeze(self->freezer, owner));
	ASSERT_TOLD(server, 1, 1);
	ASSERT_EQ(0, freeze(self->freezer, server));
	ASSERT_TOLD(owner, 2, 1);
	ASSERT_QUIET(server);
}

/* Who freezes itself hears of its own handles' owners only. */
TEST_F(notice, everybody_who_asked)
{
	struct peer *server = self->server, *owner = self->owner;
	struct peer *listeners[4];
	__u32 handles[4];
	int i;

	for (i = 0; i < 4; i++) {
		listeners[i] = member("listener");
		handles[i] = hand_over(server, listeners[i], self->handle);
		/* Cookies are each process's own. */
		listen_to(listeners[i], handles[i], COOKIE);
	}
	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(owner, owner));
	for (i = 0; i < 4; i++) {
		ASSERT_TOLD(listeners[i], COOKIE, 1);
		if (i % 2)
			done(listeners[i], COOKIE);
	}
	ASSERT_TOLD(server, COOKIE, 1);
	kill_process(listeners[1]);
	kill_process(listeners[0]);
	ASSERT_EQ(0, thaw(owner, owner));
	ASSERT_QUIET(listeners[2]);
	done(listeners[2], COOKIE);
	ASSERT_TOLD(listeners[2], COOKIE, 0);
	ASSERT_TOLD(listeners[3], COOKIE, 0);
	done(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_QUIET(owner);
}

/* One notification for each handle, also of one owner; the same cookie for several. */
TEST_F(notice, same_cookie)
{
	struct peer *server = self->server;
	__u32 second = offer(self->owner, server, 0x2000, 0x2001);

	request(server, self->handle, COOKIE);
	request(server, second, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	done(server, COOKIE);
	ASSERT_DONE_INVALID(server, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	/* Whichever it is that is answered: one is still to be told, and the other is told anew. */
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	done(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_TOLD(server, COOKIE, 0);
	done(server, COOKIE);
	done(server, COOKIE);
	ASSERT_QUIET(server);
	clear(server, self->handle, COOKIE);
	clear(server, second, COOKIE);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_CLEAR_FREEZE_NOTIFICATION_DONE, BR_CLEAR_FREEZE_NOTIFICATION_DONE);
	check_listening(server, self->handle, self->owner, self->freezer);
}

/* ---- what is refused ----------------------------------------------------------- */

TEST_F(notice, invalid)
{
	struct peer *server = self->server;
	__u32 handle = self->handle;

	ASSERT_REQUEST_INVALID(server, 99, COOKIE);
	ASSERT_CLEAR_INVALID(server, 99, COOKIE);
	ASSERT_CLEAR_INVALID(server, handle, COOKIE);
	ASSERT_DONE_INVALID(server, COOKIE);

	request(server, handle, COOKIE);
	/* There is one for a handle, whatever its cookie. */
	ASSERT_REQUEST_INVALID(server, handle, COOKIE);
	ASSERT_REQUEST_INVALID(server, handle, COOKIE + 1);
	ASSERT_CLEAR_INVALID(server, handle, COOKIE + 1);
	/* Not told yet. */
	ASSERT_DONE_INVALID(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_REQUEST_INVALID(server, handle, COOKIE);
	ASSERT_CLEAR_INVALID(server, handle, COOKIE + 1);
	ASSERT_DONE_INVALID(server, COOKIE + 1);
	ASSERT_DONE_INVALID(self->freezer, COOKIE);
	done(server, COOKIE);
	ASSERT_DONE_INVALID(server, COOKIE);
	ASSERT_CLEAR_INVALID(server, handle, COOKIE + 1);
	clear(server, handle, COOKIE);
	ASSERT_CLEAR_INVALID(server, handle, COOKIE);
	ASSERT_DONE_INVALID(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_DONE_INVALID(server, COOKIE);
	ASSERT_QUIET(server);
	check_listening(server, handle, self->owner, self->freezer);
}

/* What comes before a mistake is carried out, and what comes behind it is not. */
TEST_F(notice, invalid_in_the_middle)
{
	struct peer *server = self->server;

	put_handle_cookie(server, BC_REQUEST_FREEZE_NOTIFICATION, self->handle, 1);
	put_handle_cookie(server, BC_REQUEST_FREEZE_NOTIFICATION, self->handle, 2);
	put_handle_cookie(server, BC_CLEAR_FREEZE_NOTIFICATION, self->handle, 1);
	ASSERT_EQ(-EINVAL, transact(server));
	ASSERT_EQ(16, server->bwr.write_consumed);
	ASSERT_NO_BR(server);
	ASSERT_TOLD(server, 1, 0);
	ASSERT_QUIET(server);
}

/* ---- while something else is on its way --------------------------------------- */

/* What was not read yet is brought up to date: one notice, of how it is now. */
TEST_F(notice, changes_while_queued)
{
	struct peer *server = self->server;

	request(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	done(server, COOKIE);
	ASSERT_QUIET(server);

	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 0);
	done(server, COOKIE);
	ASSERT_QUIET(server);
}

/* What changes until the answer comes is told after that, once. */
TEST_F(notice, changes_while_told)
{
	struct peer *server = self->server;

	request(server, self->handle, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 1);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	done(server, COOKIE);
	ASSERT_QUIET(server);
	ASSERT_DONE_INVALID(server, COOKIE);
}

/* There and back again is told, too: the listener may have missed calls meanwhile. */
TEST_F(notice, back_while_told)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	done(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 1);
	done(server, COOKIE);
	ASSERT_QUIET(server);
}

/* Frozen while frozen, thawed while thawed: told once more if idle, and not if it waits for an answer. */
TEST_F(notice, no_change)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	done(server, COOKIE);
	ASSERT_QUIET(server);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	done(server, COOKIE);
	ASSERT_QUIET(server);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
}

/* An attempt that fails is not heard of. */
TEST_F(notice, failed_attempt)
{
	struct peer *server = self->server, *helper = new_thread(server, "helper");

	listen_to(server, self->handle, COOKIE);
	call_with(helper, self->handle, NULL);
	start_transact(helper);
	ASSERT_EQ(-EAGAIN, freeze(self->freezer, self->owner));
	ASSERT_QUIET(server);
	/* Nor one that has not come to an end. */
	start_freeze(self->freezer, self->owner, LONG_MS);
	ASSERT_QUIET(server);
	answer(self->owner, take_call(self->owner), NULL, 0);
	take_reply(helper, NULL, 0);
	ASSERT_EQ(0, peer_finish(self->freezer));
	ASSERT_TOLD(server, COOKIE, 1);
	done(server, COOKIE);
	ASSERT_QUIET(server);
}

/*
 * Who asks while somebody waits for a process to be frozen hears that it is not,
 * and when it is. (The C driver says that it is, and nothing more if it cannot
 * be frozen in the end.)
 */
TEST_F(notice, request_while_freezing)
{
	struct peer *server = self->server, *helper = new_thread(server, "helper");

	call_with(helper, self->handle, NULL);
	start_transact(helper);
	start_freeze(self->freezer, self->owner, LONG_MS);
	request(server, self->handle, COOKIE);
	ASSERT_TOLD(server, COOKIE, oracle() ? 1 : 0);
	done(server, COOKIE);
	ASSERT_EQ(0, interrupt(self->freezer));
	ASSERT_EQ(-EINTR, peer_finish(self->freezer));
	ASSERT_QUIET(server);

	start_freeze(self->freezer, self->owner, LONG_MS);
	answer(self->owner, take_call(self->owner), NULL, 0);
	take_reply(helper, NULL, 0);
	ASSERT_EQ(0, peer_finish(self->freezer));
	ASSERT_TOLD(server, COOKIE, 1);
	done(server, COOKIE);
	ASSERT_QUIET(server);
}

/*
 * One that fails for a process that was frozen thaws it, and this is told. (The
 * C driver lets listeners believe that it is still frozen.)
 */
TEST_F(notice, failed_again)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	done(server, COOKIE);
	send_pending(server, self->handle, 1, 0, NULL, 0);
	ASSERT_EQ(-EAGAIN, freeze(self->freezer, self->owner));
	if (!oracle()) {
		ASSERT_TOLD(server, COOKIE, 0);
		done(server, COOKIE);
	}
	ASSERT_QUIET(server);
	take_oneway(self->owner, 1);
	reaches(server, self->handle, self->owner, 0x1000, 0x1001);
}

/* ---- clearing ------------------------------------------------------------------- */

/* While it was not read yet: the end takes its place. */
TEST_F(notice, clear_queued)
{
	struct peer *server = self->server;

	request(server, self->handle, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_QUIET(server);
	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	clear(server, self->handle, COOKIE);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_QUIET(server);
	check_listening(server, self->handle, self->owner, self->freezer);
}

/* While the answer is awaited: after that. */
TEST_F(notice, clear_told)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	clear(server, self->handle, COOKIE);
	ASSERT_QUIET(server);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_DONE_INVALID(server, COOKIE);
	ASSERT_QUIET(server);
	check_listening(server, self->handle, self->owner, self->freezer);
}

/* While the answer is awaited, and there is news. */
TEST_F(notice, clear_told_and_changed)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	clear(server, self->handle, COOKIE);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_QUIET(server);
	check_listening(server, self->handle, self->owner, self->freezer);
}

/* A new one can be requested before the end of the old one is read, even with its cookie. */
TEST_F(notice, request_while_clearing)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	clear(server, self->handle, COOKIE);
	request(server, self->handle, COOKIE);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_CLEAR_FREEZE_NOTIFICATION_DONE, BR_FROZEN_BINDER);
	ASSERT_EQ(COOKIE, server->br[1].cookie);
	ASSERT_EQ(COOKIE, server->br[2].frozen.cookie);

	/* The old one was told and not answered, the new one, too: answers go in that order. */
	clear(server, self->handle, COOKIE);
	request(server, self->handle, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 1);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	done(server, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	done(server, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	check_listening(server, self->handle, self->owner, self->freezer);
}

/* ---- handles that go --------------------------------------------------------------- */

/* With the handle goes its notification, in every state, without a word. */
TEST_F(notice, handle_goes)
{
	struct peer *server = self->server, *owner = self->owner;
	struct peer *second = member("second");
	__u32 handle, state;

	for (state = 0; state < 5; state++) {
		step("state %u", state);
		handle = offer(second, server, 0x1000, 0x1001);
		request(server, handle, COOKIE);
		if (state >= 1) {
			ASSERT_TOLD(server, COOKIE, 0);
		}
		if (state == 2)
			done(server, COOKIE);
		if (state == 3) {
			ASSERT_EQ(0, freeze(owner, second));
		}
		if (state == 4) {
			done(server, COOKIE);
			ASSERT_EQ(0, freeze(owner, second));
		}
		count(server, BC_RELEASE, handle);
		ASSERT_EQ(0, thaw(owner, second));
		ASSERT_QUIET(server);
		ASSERT_DONE_INVALID(server, COOKIE);
		ASSERT_CLEAR_INVALID(server, handle, COOKIE);
		ASSERT_READS(second, BR_RELEASE, BR_DECREFS);
		ASSERT_EQ(0, node_count(second));
	}
	check_listening(server, self->handle, owner, self->freezer);
}

/* But what was cleared before is told to its end. */
TEST_F(notice, handle_goes_after_clearing)
{
	struct peer *server = self->server;

	request(server, self->handle, COOKIE);
	ASSERT_TOLD(server, COOKIE, 0);
	clear(server, self->handle, COOKIE);
	count(server, BC_RELEASE, self->handle);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);

	self->handle = offer(self->freezer, server, 0x1000, 0x1001);
	request(server, self->handle, COOKIE);
	clear(server, self->handle, COOKIE);
	count(server, BC_RELEASE, self->handle);
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_QUIET(server);
}

/* A handle that still has a count keeps it. */
TEST_F(notice, handle_stays)
{
	listen_to(self->server, self->handle, COOKIE);
	count(self->server, BC_INCREFS, self->handle);
	count(self->server, BC_RELEASE, self->handle);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(self->server, COOKIE, 1);
}

/* ---- owners and listeners that go ---------------------------------------------------- */

/* Nothing is heard of an owner that is gone, but for what was already on its way. */
TEST_F(notice, owner_dies)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	kill_process(self->owner);
	await_dead_oneway(server, self->handle);
	ASSERT_TOLD(server, COOKIE, 1);
	ASSERT_QUIET(server);
	ASSERT_REQUEST_INVALID(server, self->handle, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);

	/* One may ask, and never hears; clearing says so. */
	request(server, self->handle, COOKIE);
	ASSERT_QUIET(server);
	ASSERT_REQUEST_INVALID(server, self->handle, COOKIE);
	ASSERT_DONE_INVALID(server, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	request(server, self->handle, COOKIE);
	count(server, BC_RELEASE, self->handle);
	ASSERT_QUIET(server);
}

/* Beside a death notification of the same handle, neither touches the other. */
TEST_F(notice, beside_death)
{
	struct peer *server = self->server;

	listen_to(server, self->handle, COOKIE);
	put_handle_cookie(server, BC_REQUEST_DEATH_NOTIFICATION, self->handle, COOKIE);
	ASSERT_EQ(0, submit(server));
	ASSERT_QUIET(server);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_TOLD(server, COOKIE, 1);
	bc_u64(server, BC_DEAD_BINDER_DONE, COOKIE);
	ASSERT_EQ(0, submit(server));
	kill_process(self->owner);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_DEAD_BINDER);
	bc_u64(server, BC_DEAD_BINDER_DONE, COOKIE);
	put_handle_cookie(server, BC_CLEAR_DEATH_NOTIFICATION, self->handle, COOKIE);
	ASSERT_EQ(0, submit(server));
	ASSERT_READS(server, BR_CLEAR_DEATH_NOTIFICATION_DONE);
	done(server, COOKIE);
	ASSERT_QUIET(server);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
}

/* A listener that ends with notices in every state leaves no trace. */
TEST_F(notice, listener_dies)
{
	struct peer *listener = member("listener"), *server = self->server;
	__u32 handles[5];
	int i;

	for (i = 0; i < 5; i++) {
		__u32 handle = offer(self->owner, server, 0x2000 + i * 8, 0x2001);

		handles[i] = hand_over(server, listener, handle);
		count(server, BC_RELEASE, handle);
		request(listener, handles[i], i);
		ASSERT_TOLD(listener, i, 0);
	}
	done(listener, 0);
	clear(listener, handles[0], 0);
	done(listener, 1);
	clear(listener, handles[2], 2);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	kill_process(listener);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	ASSERT_TRUE(eventually(node_count(self->owner) == 1 || (receive_now(self->owner), false)));
	ASSERT_QUIET(server);
	check_listening(server, self->handle, self->owner, self->freezer);
}

/* The thread that has read a notice leaves: any other one may answer. */
TEST_F(notice, thread_leaves)
{
	struct peer *server = self->server, *thread = new_thread(server, "thread");

	request(thread, self->handle, COOKIE);
	ASSERT_TOLD(thread, COOKIE, 0);
	ASSERT_EQ(0, peer_ioctl(thread, BINDER_THREAD_EXIT, NULL));
	settle(thread);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_EQ(0, freeze(self->freezer, self->owner));
	ASSERT_EQ(0, peer_ioctl(thread, BINDER_THREAD_EXIT, NULL));
	ASSERT_TOLD(server, COOKIE, 1);
}

/* Of a process with several files, the handles to each are told of. */
TEST_F(notice, several_files)
{
	struct peer *two = new_bare_thread(self->owner, "two"), *server = self->server;
	__u32 second;

	ASSERT_LE(0, open_device(two, 0));
	ASSERT_EQ(0, map_area(two, AREA_LEN));
	settle(two);
	second = offer(two, server, 0x2000, 0x2001);
	listen_to(server, self->handle, 1);
	listen_to(server, second, 2);
	ASSERT_EQ(0, freeze(self->freezer, two));
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_FROZEN_BINDER);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_FROZEN_BINDER);
	ASSERT_QUIET(server);
	done(server, 1);
	done(server, 2);
}

/* ---- at any moment ----------------------------------------------------------------------- */

#define NODES 8

struct race {
	int stop;
	pid_t pid;
	__u32 handles[NODES];
	volatile long told, cleared;
};

static long do_toggle(struct peer *p, void *arg)
{
	struct race *r = arg;
	long n;

	for (n = 0; !__atomic_load_n(&r->stop, __ATOMIC_RELAXED); n++) {
		struct binder_freeze_info info = { r->pid, n % 2, 0 };

		if (ioctl(p->fd, BINDER_FREEZE, &info))
			return errno == EINVAL ? n : -errno;
	}
	return n;
}

/*
 * Requests, answers and clears as it comes, and drops handles never: every
 * request is told of at least once, or cleared, and nothing comes that was not
 * asked for.
 */
static long do_listen(struct peer *p, void *arg)
{
	enum { NONE, ASKED, TOLD, CLEARING } state[NODES] = {};
	struct race *r = arg;
	unsigned int random = p->tid;
	bool unanswered[NODES] = {};
	int i, busy;

	for (;;) {
		bool stop = __atomic_load_n(&r->stop, __ATOMIC_RELAXED);
		struct br br;
		size_t at = 0;
		long ret;

		for (i = 0; i < NODES; i++) {
			random = random * 1103515245 + 12345;
			if (state[i] == NONE && !stop) {
				put_handle_cookie(p, BC_REQUEST_FREEZE_NOTIFICATION, r->handles[i], i);
				state[i] = ASKED;
			} else if (state[i] == TOLD && (stop || (random >> 16) % 4 == 0)) {
				put_handle_cookie(p, BC_CLEAR_FREEZE_NOTIFICATION, r->handles[i], i);
				state[i] = CLEARING;
			}
			if (unanswered[i] && (random >> 20) % 2) {
				bc_u64(p, BC_FREEZE_NOTIFICATION_DONE, i);
				unanswered[i] = false;
			}
		}
		for (i = busy = 0; i < NODES; i++)
			busy += state[i] != NONE;
		if (!busy)
			return 0;
		ret = own_io(p);
		/* Nothing to read now: time to ask and answer something else. */
		if (ret == -EAGAIN)
			continue;
		if (ret)
			return ret;
		while (next_return(p, &at, &br)) {
			switch (br.cmd) {
			case BR_FROZEN_BINDER:
				i = br.frozen.cookie;
				if (i >= NODES || unanswered[i] || state[i] == NONE ||
				    br.frozen.is_frozen > 1)
					return -EBADMSG;
				if (state[i] == ASKED)
					state[i] = TOLD;
				unanswered[i] = true;
				r->told++;
				break;
			case BR_CLEAR_FREEZE_NOTIFICATION_DONE:
				i = br.cookie;
				if (i >= NODES || unanswered[i] || state[i] != CLEARING)
					return -EPROTO;
				state[i] = NONE;
				r->cleared++;
				break;
			case BR_NOOP:
				break;
			default:
				return -EBADMSG;
			}
		}
	}
}

static void start_race(FIXTURE_DATA(notice) *self, struct peer **listeners, struct race **races,
		       struct peer **togglers)
{
	struct __test_metadata *_metadata = this_test;
	int i, j;

	for (i = 0; i < 3; i++) {
		races[i] = arena_alloc(sizeof(*races[i]));
		memset(races[i], 0, sizeof(*races[i]));
		races[i]->pid = self->owner->pid;
		listeners[i] = member("listener");
	}
	for (j = 0; j < NODES; j++) {
		__u32 handle = offer(self->owner, self->server, 0x2000 + j * 8, 0x2001);

		for (i = 0; i < 3; i++)
			races[i]->handles[j] = hand_over(self->server, listeners[i], handle);
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_syscall(listeners[i], SYS_fcntl, listeners[i]->fd, F_SETFL,
					  O_NONBLOCK));
	}
	for (i = 0; i < 2; i++) {
		togglers[i] = member("toggler");
		peer_start(togglers[i], do_toggle, races[i]);
	}
	for (i = 0; i < 3; i++)
		peer_start(listeners[i], do_listen, races[i]);
}

TEST_F(notice, toggled_beside_requests)
{
	struct peer *listeners[3], *togglers[2];
	struct race *races[3];
	int i;

	start_race(self, listeners, races, togglers);
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(eventually(races[i]->told > 50 && races[i]->cleared > 20));
	}
	for (i = 0; i < 3; i++)
		__atomic_store_n(&races[i]->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_finish(listeners[i]));
		ASSERT_QUIET(listeners[i]);
	}
	for (i = 0; i < 2; i++) {
		ASSERT_LT(0, peer_finish(togglers[i]));
	}
	TH_LOG("%ld and %ld times frozen or thawed, told %ld times, cleared %ld times",
	       togglers[0]->result, togglers[1]->result, races[0]->told, races[0]->cleared);
	ASSERT_EQ(0, thaw(self->freezer, self->owner));
	check_listening(self->server, self->handle, self->owner, self->freezer);
}

struct dropping {
	struct race race;
	int quiet;	/* nothing new will come */
	__u64 rounds;	/* cookies up to that have been used */
	volatile long told, ended, forgotten;
	__u32 to;
	struct parcel wrong;
};

/*
 * Takes a handle to the manager, asks, and drops the handle, with the
 * notification in whatever state it is in then.
 */
static long do_drop(struct peer *p, void *arg)
{
	struct dropping *d = arg;
	unsigned int random = p->tid, i;
	long ret;

	while (!__atomic_load_n(&d->race.stop, __ATOMIC_RELAXED)) {
		__u64 cookie = __atomic_add_fetch(&d->rounds, 1, __ATOMIC_RELAXED);

		random = random * 1103515245 + 12345;
		bc_u32(p, BC_INCREFS, 0);
		put_handle_cookie(p, BC_REQUEST_FREEZE_NOTIFICATION, 0, cookie);
		ret = own_submit(p);
		if (ret)
			return ret;
		for (i = (random >> 16) % 8; i; i--)
			sched_yield();
		if ((random >> 20) % 4 == 0)
			put_handle_cookie(p, BC_CLEAR_FREEZE_NOTIFICATION, 0, cookie);
		bc_u32(p, BC_DECREFS, 0);
		ret = own_submit(p);
		if (ret)
			return ret;
	}
	return 0;
}

/* Hears and answers. What is answered may be gone by then. */
static long do_hear(struct peer *p, void *arg)
{
	struct dropping *d = arg;
	struct br br;
	long ret;

	for (;;) {
		bool quiet = __atomic_load_n(&d->quiet, __ATOMIC_RELAXED);
		size_t at = 0;

		ret = own_io(p);
		if (ret == -EINVAL && p->write_len >= 12) {
			p->write_len -= 12;
			memmove(p->write, p->write + 12, p->write_len);
			d->forgotten++;
			continue;
		}
		if (ret == -EAGAIN && quiet)
			return 0;
		if (ret == -EAGAIN)
			continue;
		if (ret)
			return ret;
		while (next_return(p, &at, &br)) {
			__u64 rounds = __atomic_load_n(&d->rounds, __ATOMIC_RELAXED);

			if (br.cmd == BR_FROZEN_BINDER) {
				if (!br.frozen.cookie || br.frozen.cookie > rounds ||
				    br.frozen.is_frozen > 1)
					return -EBADMSG;
				bc_u64(p, BC_FREEZE_NOTIFICATION_DONE, br.frozen.cookie);
				d->told++;
			} else if (br.cmd == BR_CLEAR_FREEZE_NOTIFICATION_DONE) {
				if (!br.cookie || br.cookie > rounds)
					return -EPROTO;
				d->ended++;
			} else if (br.cmd != BR_NOOP) {
				return -EBADMSG;
			}
		}
	}
}

/* Makes nodes that go at once: in each message there is something wrong behind one. */
static long do_make_nodes(struct peer *p, void *arg)
{
	struct dropping *d = arg;
	struct binder_transaction_data tr;
	long ret;
	__u64 n;

	for (n = 0; !__atomic_load_n(&d->race.stop, __ATOMIC_RELAXED); n++) {
		((struct flat_binder_object *)d->wrong.data)->binder = 0x10000 + n % 64 * 8;
		oneway_with(p, d->to, &d->wrong);
		ret = own_wait(p, &tr, true);
		if (ret != BR_FAILED_REPLY)
			return ret < 0 ? ret : -EPROTO;
	}
	return n;
}

/*
 * A handle goes while its node's owner is frozen and thawed, gets and loses other
 * nodes, and a thread is told.
 */
TEST_F_TIMEOUT(notice, dropped_beside_toggles, 60)
{
	struct dropping *d = arena_alloc(sizeof(*d));
	struct peer *dropper = member("dropper"), *hearer = new_thread(dropper, "hearer");
	struct peer *toggler = member("toggler"), *maker = new_thread(self->server, "maker");

	memset(d, 0, sizeof(*d));
	d->race.pid = self->server->pid;
	d->to = self->handle;
	add_binder(&d->wrong, 0, 1);
	add_handle(&d->wrong, 99);
	ASSERT_EQ(0, peer_syscall(dropper, SYS_fcntl, dropper->fd, F_SETFL, O_NONBLOCK));
	peer_start(hearer, do_hear, d);
	peer_start(dropper, do_drop, d);
	peer_start(toggler, do_toggle, &d->race);
	peer_start(maker, do_make_nodes, d);
	ASSERT_TRUE(eventually(d->told > 20 && d->ended > 20 && d->rounds > 200)) {
		TH_LOG("%llu rounds, told %ld times, ended %ld times", d->rounds, d->told, d->ended);
	}
	__atomic_store_n(&d->race.stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(dropper));
	ASSERT_LT(0, peer_finish(toggler));
	ASSERT_LT(0, peer_finish(maker));
	__atomic_store_n(&d->quiet, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(hearer));
	TH_LOG("%llu rounds, told %ld times, ended %ld times, forgotten %ld times", d->rounds, d->told,
	       d->ended, d->forgotten);
	ASSERT_EQ(0, peer_syscall(dropper, SYS_fcntl, dropper->fd, F_SETFL, 0));
	ASSERT_EQ(0, thaw(self->freezer, self->server));
	ASSERT_QUIET(dropper);
	ASSERT_REQUEST_INVALID(dropper, 0, 1);
	count(dropper, BC_INCREFS, 0);
	listen_to(dropper, 0, COOKIE);
	check_listening(self->server, self->handle, self->owner, self->freezer);
}

/* Listeners die in the middle of it, then the owner. */
TEST_F(notice, killed_beside_requests)
{
	struct peer *listeners[3], *togglers[2];
	struct race *races[3];
	int round;

	for (round = 0; round < 8; round++) {
		__u8 *scratch = arena.free;
		int count = arena.peer_count;

		step("round %d", round);
		start_race(self, listeners, races, togglers);
		usleep(20000 + round * 5000);
		kill_process(listeners[0]);
		kill_process(togglers[1]);
		kill_process(listeners[1]);
		ASSERT_FALSE(peer_done(togglers[0]));
		kill_process(self->owner);
		ASSERT_LT(0, peer_finish(togglers[0]));
		/* What it was promised before, the last one is still told. */
		ASSERT_FALSE(peer_done(listeners[2]));
		kill_process(listeners[2]);
		kill_process(togglers[0]);
		await_dead_oneway(self->server, self->handle);
		arena.peer_count = count;
		arena.free = scratch;
		self->owner = member("successor");
		self->handle = offer(self->owner, self->server, 0x1000, 0x1001);
	}
	check_listening(self->server, self->handle, self->owner, self->freezer);
}

TEST_HARNESS_MAIN
