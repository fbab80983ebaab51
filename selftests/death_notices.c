// SPDX-License-Identifier: GPL-2.0
/*
 * Death notifications: hearing of it when the owner of a handle's node ends.
 */
#include "notices.h"

#define request(p, handle, cookie) \
	submit_handle_cookie(p, BC_REQUEST_DEATH_NOTIFICATION, handle, cookie)
#define clear(p, handle, cookie) \
	submit_handle_cookie(p, BC_CLEAR_DEATH_NOTIFICATION, handle, cookie)
#define done(p, cookie) submit_cookie(p, BC_DEAD_BINDER_DONE, cookie)

#define ASSERT_DEAD(p, its_cookie) ASSERT_NOTICE(p, BR_DEAD_BINDER, its_cookie)
#define ASSERT_CLEARED(p, its_cookie) \
	ASSERT_NOTICE(p, BR_CLEAR_DEATH_NOTIFICATION_DONE, its_cookie)

FIXTURE(notice) {
	struct peer *server, *owner, *other;
	__u32 handle;
};

/* The server listens; the owner of what it has a handle of ends. */
FIXTURE_SETUP(notice)
{
	this_test = _metadata;
	self->server = manager("server");
	self->owner = member("owner");
	self->other = member("other");
	self->handle = offer(self->owner, self->server, 0x1000, 0x1001);
}

FIXTURE_TEARDOWN(notice)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* It comes when the owner dies, once, and stays with the handle until it is cleared. */
TEST_F(notice, plain)
{
	struct peer *server = self->server;

	request(server, self->handle, COOKIE);
	ASSERT_QUIET(server);
	kill_process(self->owner);
	ASSERT_DEAD(server, COOKIE);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_QUIET(server);
	/* Spent, it is still the handle's only one. */
	request(server, self->handle, COOKIE + 1);
	ASSERT_QUIET(server);
	clear(server, self->handle, COOKIE + 1);
	ASSERT_QUIET(server);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_QUIET(server);
	/* Then there can be another, of one who is dead already. */
	request(server, self->handle, COOKIE + 2);
	ASSERT_DEAD(server, COOKIE + 2);
	ASSERT_QUIET(server);
	round_trip(self->other, server);
}

/* Closing is as good as dying. */
TEST_F(notice, owner_closes)
{
	request(self->server, self->handle, COOKIE);
	ASSERT_EQ(0, peer_syscall(self->owner, SYS_munmap, self->owner->area, AREA_LEN));
	ASSERT_EQ(0, peer_syscall(self->owner, SYS_close, self->owner->fd));
	ASSERT_DEAD(self->server, COOKIE);
}

/* It wakes who waits and who polls. */
TEST_F(notice, wakes)
{
	struct peer *server = self->server, *waiter = new_thread(server, "waiter");
	struct pollfd *pollfd = arena_copy(&(struct pollfd) { server->fd, POLLIN }, sizeof(*pollfd));
	__u32 others = offer(self->other, server, 0x1000, 0x1001);

	request(server, self->handle, 1);
	request(server, others, 2);
	start_receive(waiter);
	kill_process(self->owner);
	ASSERT_EQ(0, finish(waiter));
	ASSERT_BR(waiter, BR_DEAD_BINDER);
	ASSERT_EQ(1, waiter->br[1].cookie);
	peer_start_syscall(waiter, SYS_poll, pollfd, 1, -1);
	ASSERT_TRUE(peer_sleeps(waiter));
	kill_process(self->other);
	ASSERT_EQ(1, peer_finish(waiter));
	ASSERT_DEAD(waiter, 2);
}

/* A read ends with it, so that several take several reads; each handle has its own. */
TEST_F(notice, several_handles)
{
	struct peer *server = self->server;
	__u32 handles[4];
	int seen = 0, i;

	for (i = 0; i < 4; i++) {
		handles[i] = offer(self->owner, server, 0x2000 + 8 * i, 0x2001);
		request(server, handles[i], i);
	}
	clear(server, handles[1], 1);
	ASSERT_CLEARED(server, 1);
	kill_process(self->owner);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, receive(server));
		ASSERT_BR(server, BR_DEAD_BINDER);
		seen |= 1 << server->br[1].cookie;
	}
	ASSERT_EQ(0xd, seen);
	ASSERT_QUIET(server);
	for (i = 0; i < 4; i++)
		clear(server, handles[i], i);
	/* Those were not answered; the end comes with the answer. */
	ASSERT_QUIET(server);
	for (i = 3; i >= 0; i--)
		done(server, i);
	ASSERT_READS(server, BR_CLEAR_DEATH_NOTIFICATION_DONE, BR_CLEAR_DEATH_NOTIFICATION_DONE,
		     BR_CLEAR_DEATH_NOTIFICATION_DONE);
}

/* The same cookie twice: answers go in the order in which they were returned. */
TEST_F(notice, same_cookie)
{
	struct peer *server = self->server;
	__u32 second = offer(self->owner, server, 0x2000, 0x2001);

	request(server, self->handle, COOKIE);
	request(server, second, COOKIE);
	kill_process(self->owner);
	ASSERT_DEAD(server, COOKIE);
	ASSERT_DEAD(server, COOKIE);
	clear(server, self->handle, COOKIE);
	clear(server, second, COOKIE);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	done(server, COOKIE);
	ASSERT_QUIET(server);
}

/* What is wrong changes nothing, and nobody is told. */
TEST_F(notice, mistakes)
{
	struct peer *server = self->server;

	request(server, 99, COOKIE);
	clear(server, 99, COOKIE);
	clear(server, self->handle, COOKIE);
	done(server, COOKIE);
	request(server, self->handle, COOKIE);
	request(server, self->handle, COOKIE);
	request(server, self->handle, COOKIE + 1);
	clear(server, self->handle, COOKIE + 1);
	done(server, COOKIE);
	ASSERT_QUIET(server);
	kill_process(self->owner);
	ASSERT_DEAD(server, COOKIE);
	ASSERT_QUIET(server);
	done(self->other, COOKIE);
	clear(server, self->handle, COOKIE + 1);
	done(server, COOKIE + 1);
	ASSERT_QUIET(server);
	done(server, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
}

/* On its way, or returned and not answered: death comes first, and the end with the answer. */
TEST_F(notice, clear_on_the_way)
{
	struct peer *server = self->server;

	request(server, self->handle, COOKIE);
	kill_process(self->owner);
	await_dead_oneway(server, self->handle);
	clear(server, self->handle, COOKIE);
	ASSERT_DEAD(server, COOKIE);
	ASSERT_QUIET(server);
	/* The handle is free for another one meanwhile. */
	request(server, self->handle, COOKIE + 1);
	ASSERT_DEAD(server, COOKIE + 1);
	clear(server, self->handle, COOKIE + 1);
	ASSERT_QUIET(server);
	done(server, COOKIE + 1);
	ASSERT_CLEARED(server, COOKIE + 1);
	done(server, COOKIE);
	ASSERT_CLEARED(server, COOKIE);
	done(server, COOKIE);
	ASSERT_QUIET(server);
}

/* The end is told to the thread that clears, if it is a looper, and else to any. */
TEST_F(notice, who_is_told)
{
	struct peer *server = self->server, *looper = new_thread(server, "looper");

	bc(looper, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(looper));
	request(server, self->handle, COOKIE);
	clear(looper, self->handle, COOKIE);
	ASSERT_QUIET(server);
	ASSERT_CLEARED(looper, COOKIE);
	request(looper, self->handle, COOKIE);
	clear(server, self->handle, COOKIE);
	ASSERT_CLEARED(looper, COOKIE);
	ASSERT_QUIET(server);
}

/* With the handle goes the notification, in every state, without a word. */
TEST_F(notice, handle_goes)
{
	struct peer *server = self->server;
	int state;

	for (state = 0; state < 5; state++) {
		struct peer *owner = member("passing");
		__u32 handle = offer(owner, server, 0x1000, 0x1001);

		step("state %d", state);
		request(server, handle, COOKIE);
		if (state >= 1) {
			kill_process(owner);
			await_dead_oneway(server, handle);
		}
		if (state >= 2) {
			ASSERT_DEAD(server, COOKIE);
		}
		if (state == 3)
			done(server, COOKIE);
		if (state == 4)
			clear(server, handle, COOKIE);
		count(server, BC_RELEASE, handle);
		if (!state) {
			ASSERT_READS(owner, BR_RELEASE, BR_DECREFS);
			kill_process(owner);
		}
		ASSERT_QUIET(server);
		done(server, COOKIE);
		/* What was cleared before is told to its end. */
		if (state == 4) {
			ASSERT_CLEARED(server, COOKIE);
		}
		ASSERT_QUIET(server);
	}
	/* Nothing is left that another handle of that number would hear. */
	request(server, self->handle, COOKIE);
	kill_process(self->owner);
	ASSERT_DEAD(server, COOKIE);
	ASSERT_QUIET(server);
}

/* A listener that ends with notifications in every state leaves no trace. */
TEST_F(notice, listener_dies)
{
	struct peer *listener = member("listener"), *server = self->server;
	__u32 handles[4], dying[2];
	int i;

	for (i = 0; i < 4; i++) {
		__u32 handle = offer(i < 2 ? self->owner : self->other, server, 0x2000 + i * 8, 1);

		handles[i] = hand_over(server, listener, handle);
		request(listener, handles[i], i);
		dying[i % 2] = handle;
	}
	kill_process(self->other);
	ASSERT_EQ(0, receive(listener));
	ASSERT_BR(listener, BR_DEAD_BINDER);
	clear(listener, handles[0], 0);
	kill_process(listener);
	await_dead_oneway(server, dying[0]);
	/* Who is listened to no longer dies. */
	request(server, self->handle, COOKIE);
	kill_process(self->owner);
	ASSERT_DEAD(server, COOKIE);
	ASSERT_QUIET(server);
	round_trip(new_thread(server, "thread") ? member("newcomer") : NULL, server);
}

/* ---- at any moment ------------------------------------------------------------ */

#define NODES 16

struct race {
	__u32 handles[NODES];
	int rounds;
	long told;
};

/*
 * Requests, clears and answers as it comes until the owner's end has been heard
 * on each handle, and nothing is left: each answer is due, and nothing comes
 * twice.
 */
static long do_listen(struct peer *p, void *arg)
{
	enum { IDLE, LISTENING, CLEARING } state[NODES] = {};
	bool dead[NODES] = {}, unanswered[NODES] = {};
	struct race *r = arg;
	unsigned int random = p->tid;
	int i, left;

	do {
		struct br br;
		size_t at = 0;
		long ret;

		for (i = 0; i < NODES; i++) {
			random = random * 1103515245 + 12345;
			if (state[i] == IDLE && !dead[i]) {
				put_handle_cookie(p, BC_REQUEST_DEATH_NOTIFICATION, r->handles[i], i);
				state[i] = LISTENING;
			} else if (state[i] == LISTENING && (dead[i] || (random >> 16) % 4 == 0)) {
				put_handle_cookie(p, BC_CLEAR_DEATH_NOTIFICATION, r->handles[i], i);
				state[i] = CLEARING;
			}
			if (unanswered[i] && (random >> 20) % 2) {
				bc_u64(p, BC_DEAD_BINDER_DONE, i);
				unanswered[i] = false;
			}
		}
		ret = own_io(p);
		r->rounds++;
		if (ret && ret != -EAGAIN)
			return ret;
		while (!ret && next_return(p, &at, &br)) {
			i = br.cookie;
			if (br.cmd == BR_NOOP)
				continue;
			if (i >= NODES)
				return -EBADMSG;
			if (br.cmd == BR_DEAD_BINDER) {
				if (state[i] == IDLE || unanswered[i])
					return -EPROTO;
				dead[i] = unanswered[i] = true;
				r->told++;
			} else if (br.cmd == BR_CLEAR_DEATH_NOTIFICATION_DONE) {
				if (state[i] != CLEARING || unanswered[i])
					return -EALREADY;
				state[i] = IDLE;
			} else {
				return -EBADMSG;
			}
		}
		for (i = left = 0; i < NODES; i++)
			left += state[i] != IDLE || !dead[i] || unanswered[i];
	} while (left);
	return 0;
}

/* The owner dies while two processes, neither of them loopers, are at it. */
TEST_F(notice, killed_beside_requests)
{
	struct peer *listeners[2];
	int round, i, j;

	for (i = 0; i < 2; i++)
		listeners[i] = member("listener");
	for (round = 0; round < 12; round++) {
		struct race *races = arena_alloc(2 * sizeof(*races));
		__u32 handles[NODES];
		__u8 *scratch = arena.free;
		struct peer *owner = member("owner");

		step("round %d", round);
		memset(races, 0, 2 * sizeof(*races));
		for (j = 0; j < NODES; j++) {
			handles[j] = offer(owner, self->server, 0x2000 + j * 8, 1);
			for (i = 0; i < 2; i++)
				races[i].handles[j] = hand_over(self->server, listeners[i], handles[j]);
		}
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, peer_syscall(listeners[i], SYS_fcntl, listeners[i]->fd, F_SETFL,
						  O_NONBLOCK));
			peer_start(listeners[i], do_listen, &races[i]);
		}
		for (i = 0; i < 2; i++) {
			ASSERT_TRUE(eventually(__atomic_load_n(&races[i].rounds, __ATOMIC_RELAXED) >
					       round * 3));
		}
		kill_process(owner);
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, peer_finish(listeners[i]));
			ASSERT_EQ(NODES, races[i].told);
			ASSERT_EQ(0, peer_syscall(listeners[i], SYS_fcntl, listeners[i]->fd, F_SETFL, 0));
			ASSERT_QUIET(listeners[i]);
			for (j = 0; j < NODES; j++)
				bc_u32(listeners[i], BC_RELEASE, races[i].handles[j]);
			ASSERT_EQ(0, submit(listeners[i]));
		}
		for (j = 0; j < NODES; j++)
			bc_u32(self->server, BC_RELEASE, handles[j]);
		ASSERT_EQ(0, submit(self->server));
		arena.peer_count--;
		arena.free = scratch;
	}
	ASSERT_QUIET(self->server);
	reaches(self->server, self->handle, self->owner, 0x1000, 0x1001);
}

struct releases {
	__u32 handles[NODES];
	int quiet;	/* nothing new will come */
	long told, cleared;
};

/* Clears some, and drops all. */
static long do_release(struct peer *p, void *arg)
{
	struct releases *r = arg;
	int i;

	for (i = 0; i < NODES; i++) {
		long ret;

		if (i % 3 == 0)
			put_handle_cookie(p, BC_CLEAR_DEATH_NOTIFICATION, r->handles[i], i);
		bc_u32(p, BC_RELEASE, r->handles[i]);
		ret = own_submit(p);
		if (ret)
			return ret;
		sched_yield();
	}
	return 0;
}

/* Hears and answers: nothing twice, and the end of what was cleared. */
static long do_hear(struct peer *p, void *arg)
{
	bool told[NODES] = {}, cleared[NODES] = {};
	struct releases *r = arg;
	struct br br;
	long ret;

	for (;;) {
		bool quiet = __atomic_load_n(&r->quiet, __ATOMIC_RELAXED);
		size_t at = 0;

		ret = own_io(p);
		if (ret == -EAGAIN && quiet)
			return 0;
		if (ret && ret != -EAGAIN)
			return ret;
		while (!ret && next_return(p, &at, &br)) {
			bool *seen = br.cmd == BR_DEAD_BINDER ? told : cleared;

			if (br.cmd == BR_NOOP)
				continue;
			if (br.cmd != BR_DEAD_BINDER && br.cmd != BR_CLEAR_DEATH_NOTIFICATION_DONE)
				return -EBADMSG;
			if (br.cookie >= NODES || seen[br.cookie] || cleared[br.cookie])
				return -EPROTO;
			seen[br.cookie] = true;
			if (br.cmd == BR_DEAD_BINDER) {
				bc_u64(p, BC_DEAD_BINDER_DONE, br.cookie);
				r->told++;
			} else {
				r->cleared++;
			}
		}
	}
}

/* The owner dies while the handles to it go, and one thread hears what another one drops. */
TEST_F_TIMEOUT(notice, killed_beside_releases, 60)
{
	struct peer *listener = member("listener"), *hearer = new_thread(listener, "hearer");
	struct releases *r = arena_alloc(sizeof(*r));
	__u8 *scratch = arena.free;
	long told = 0;
	int round, i;

	for (round = 0; round < 12; round++) {
		struct peer *owner = member("owner");
		__u32 handle;

		step("round %d", round);
		*r = (struct releases) {};
		for (i = 0; i < NODES; i++) {
			handle = offer(owner, self->server, 0x2000 + i * 8, 1);
			r->handles[i] = hand_over(self->server, listener, handle);
			count(self->server, BC_RELEASE, handle);
			put_handle_cookie(listener, BC_REQUEST_DEATH_NOTIFICATION, r->handles[i], i);
			ASSERT_EQ(0, submit(listener));
		}
		ASSERT_EQ(0, peer_syscall(listener, SYS_fcntl, listener->fd, F_SETFL, O_NONBLOCK));
		peer_start(hearer, do_hear, r);
		/* Sooner and later. */
		if (round % 2)
			ASSERT_EQ(0, kill(owner->pid, SIGKILL));
		peer_start(listener, do_release, r);
		if (round % 4 == 0)
			usleep(1000);
		kill_process(owner);
		ASSERT_EQ(0, peer_finish(listener));
		__atomic_store_n(&r->quiet, 1, __ATOMIC_RELAXED);
		ASSERT_EQ(0, peer_finish(hearer));
		/* What was cleared is told of to its end, whoever was first. */
		ASSERT_EQ((NODES + 2) / 3, r->cleared);
		told += r->told;
		ASSERT_EQ(0, peer_syscall(listener, SYS_fcntl, listener->fd, F_SETFL, 0));
		ASSERT_QUIET(listener);
		arena.peer_count--;
		arena.free = scratch;
	}
	TH_LOG("told of %ld of %d", told, round * NODES);
	reaches(self->server, self->handle, self->owner, 0x1000, 0x1001);
}

TEST_HARNESS_MAIN
