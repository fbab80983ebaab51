// SPDX-License-Identifier: GPL-2.0
/*
 * What has gone wrong in Binder drivers before, as far as it is not tested where
 * it belongs. The other rows of that history, and where they are:
 *
 * - a thread that exits beside epoll: calls, epoll_thread_exit and epoll_close;
 *   death, threads_leave_in_traffic
 * - a buffer freed while it is in use: death, free_while_being_read; commands,
 *   free_buffer
 * - sizes, offsets, and failures in the middle: commands, sizes_refused;
 *   objects, bad_offsets and undo_call; gather, trees and undo
 * - a receiver that writes to its area: mapping, other_ways_in
 * - a sender that changes what is being sent: payload_changes_while_sent, in
 *   objects and in gather
 * - descriptors closed while they are used: gather, closed_while_used; files,
 *   devices_exchanged
 * - credentials that change: calls, sender_euid; ioctl, foreign_process
 * - areas that are unmapped, cut, and replaced: mapping; death, server_maps_over
 *   and server_unmaps_in_traffic
 * - the shrinker: reclaim; traffic, under_reclaim
 * - lists of death notifications: death_notices, killed_beside_requests and
 *   killed_beside_releases
 * - freeze notifications beside all else: freeze_notices, toggled_beside_requests,
 *   killed_beside_requests and dropped_beside_toggles
 * - empty arrays of files: gather, empty_arrays
 * - few large messages that are spam: spam, few_large
 * - devices that go while they are open: lifecycle, busy
 * - accounting of one-way messages: commands, free_buffer_accounting; spam,
 *   as_many_as_fit
 */
#include <sys/epoll.h>

#include "gather.h"
#include "slow.h"

/*
 * What a thread queues to itself is an event to its own epoll, which looks only
 * when it is woken (CVE-2024-26606).
 */
TEST_F(ipc, work_for_oneself_wakes_epoll)
{
	struct peer *server = manager("server"), *client = member("client");
	struct epoll_event *event = arena_alloc(sizeof(*event));
	long epoll = peer_syscall(client, SYS_epoll_create1, EPOLL_CLOEXEC);
	int i;

	ASSERT_LE(0, epoll);
	for (i = 0; i < 2; i++) {
		*event = (struct epoll_event) { .events = EPOLLIN | (i ? EPOLLET : 0) };
		ASSERT_EQ(0, peer_syscall(client, SYS_epoll_ctl, epoll,
					  i ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, client->fd, event));
		ASSERT_EQ(0, peer_syscall(client, SYS_epoll_wait, epoll, event, 1, 0));

		/* A completion. */
		oneway(client, 1, NULL, 0);
		ASSERT_EQ(0, submit(client));
		ASSERT_EQ(1, peer_syscall(client, SYS_epoll_wait, epoll, event, 1, 0));
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
		ASSERT_EQ(0, peer_syscall(client, SYS_epoll_wait, epoll, event, 1, 0));

		/* A refusal. */
		call(client, 1, NULL, 0)->tr.target.handle = 99;
		ASSERT_EQ(0, submit(client));
		ASSERT_EQ(1, peer_syscall(client, SYS_epoll_wait, epoll, event, 1, 0));
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_FAILED_REPLY);

		/* Counts of a node. */
		oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000 + i, 1));
		ASSERT_EQ(0, submit(client));
		ASSERT_EQ(1, peer_syscall(client, SYS_epoll_wait, epoll, event, 1, 0));
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	}
	ASSERT_QUIET(client);
	settle(server);
}

struct guess {
	int stop;
	__u64 start;
	size_t len;
	long rounds;
};

/* Frees whatever there may be. */
static long do_guess(struct peer *p, void *arg)
{
	struct guess *g = arg;
	size_t at;

	for (; !__atomic_load_n(&g->stop, __ATOMIC_RELAXED); g->rounds++) {
		for (at = 0; at < g->len; at += 8) {
			long ret;

			free_buffer(p, g->start + at);
			if (p->write_len + 12 <= sizeof(p->write) && at + 8 < g->len)
				continue;
			ret = own_submit(p);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/*
 * Serves without a look at the payload, which may be gone by then. Sometimes it
 * leaves instead, and comes back.
 */
static long do_serve_blindly(struct peer *p, void *arg)
{
	static const char answer[64];
	struct binder_transaction_data tr = {};
	long ret;

	do {
		ret = own_wait(p, &tr, false);
		if (ret != BR_TRANSACTION)
			return ret;
		free_buffer(p, tr.data.ptr.buffer);
		if (tr.code % 16 == 15) {
			if (ioctl(p->fd, BINDER_THREAD_EXIT, NULL))
				return -errno;
		} else if (!(tr.flags & TF_ONE_WAY)) {
			bc_message(p, BC_REPLY, 0, 0, answer, tr.code % sizeof(answer));
		}
	} while (tr.code != STOP);
	do {
		ret = own_io(p);
	} while (!ret && p->write_len);
	return ret;
}

struct calls {
	int stop;
	volatile long done;
	__u8 bytes[4096];
};

static long do_call(struct peer *p, void *arg)
{
	struct calls *c = arg;
	struct binder_transaction_data tr = {};
	long ret;
	__u32 n;

	for (n = 0; !__atomic_load_n(&c->stop, __ATOMIC_RELAXED); n++) {
		bool oneway = n % 3 == 2;

		bc_message(p, BC_TRANSACTION, n % 64, oneway ? TF_ONE_WAY : 0, c->bytes,
			   n * 37 % sizeof(c->bytes));
		ret = own_wait(p, &tr, oneway);
		if (ret == BR_REPLY) {
			if (tr.data_size != n % 64)
				return -EILSEQ;
			free_buffer(p, tr.data.ptr.buffer);
			c->done++;
		} else if (ret != BR_TRANSACTION_COMPLETE && ret != BR_FAILED_REPLY &&
			   ret != BR_DEAD_REPLY) {
			return ret < 0 ? ret : -EPROTO;
		}
	}
	/* The last buffer. */
	return p->write_len ? own_submit(p) : 0;
}

/*
 * A thread frees every address there is, all the time: only its own process
 * suffers, and only in what it is told of (CVE-2019-2213, CVE-2019-2025).
 */
TEST_F(ipc, guessed_frees)
{
	struct peer *server = manager("server"), *guesser = new_thread(server, "guesser");
	struct peer *thread = new_thread(server, "thread");
	struct peer *clients[3], *stopper = member("stopper");
	struct guess *g = arena_alloc(sizeof(*g));
	struct calls *calls[3];
	int i;

	*g = (struct guess) { 0, (uintptr_t)server->area, 32 << 10, 0 };
	for (i = 0; i < 3; i++) {
		clients[i] = member("client");
		calls[i] = arena_alloc(sizeof(*calls[i]));
		memset(calls[i], 0, sizeof(*calls[i]));
	}
	peer_start(guesser, do_guess, g);
	peer_start(thread, do_serve_blindly, NULL);
	peer_start(server, do_serve_blindly, NULL);
	for (i = 0; i < 3; i++)
		peer_start(clients[i], do_call, calls[i]);
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(eventually(calls[i]->done > 100));
		__atomic_store_n(&calls[i]->stop, 1, __ATOMIC_RELAXED);
	}
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, peer_finish(clients[i]));
	}
	__atomic_store_n(&g->stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(guesser));
	for (i = 0; i < 2; i++) {
		call(stopper, STOP, NULL, 0);
		ASSERT_EQ(0, transact(stopper));
		ASSERT_BR(stopper, BR_TRANSACTION_COMPLETE, BR_REPLY);
		free_message(stopper, message(stopper));
	}
	ASSERT_EQ(0, peer_finish(server));
	ASSERT_EQ(0, peer_finish(thread));
	/* One-way messages that came behind these calls. */
	while (!receive_now(server)) {
		ASSERT_BR(server, BR_TRANSACTION);
		free_message(server, message(server));
	}
	check_unharmed(stopper, server);
}

/*
 * The sender's last reference to the receiver goes while the message is being
 * copied, and so do sender and receiver themselves (CVE-2022-20421).
 */
FIXTURE(target) {
	struct peer *server, *owner, *client, *helper;
	struct slow slow;
	__u32 handle;
};

FIXTURE_VARIANT(target) {
	__u32 flags;
};

FIXTURE_VARIANT_ADD(target, call) { 0 };
FIXTURE_VARIANT_ADD(target, oneway) { TF_ONE_WAY };

FIXTURE_SETUP(target)
{
	__u32 handle;

	this_test = _metadata;
	self->server = manager("server");
	self->owner = member("owner");
	self->client = member("client");
	self->helper = new_thread(self->client, "helper");
	handle = offer(self->owner, self->server, 0x1000, 0x1001);
	self->handle = hand_over(self->server, self->client, handle);
	count(self->server, BC_RELEASE, handle);
	self->slow = make_slow(self->client);
	bc_message(self->client, BC_TRANSACTION, 9, variant->flags,
		   (void *)(uintptr_t)self->slow.start, 2 * BEFORE)->tr.target.handle = self->handle;
	start_transact(self->client);
	count(self->helper, BC_RELEASE, self->handle);
	ASSERT_QUIET(self->owner);
}

FIXTURE_TEARDOWN(target)
{
	ipc_teardown(_metadata, NULL, NULL);
}

TEST_F(target, handle_goes)
{
	struct binder_transaction_data *tr;

	fill_slow(self->helper, &self->slow);
	tr = take_call(self->owner);
	ASSERT_EQ(0x1000, tr->target.ptr);
	ASSERT_EQ(2 * BEFORE, tr->data_size);
	if (variant->flags) {
		free_message(self->owner, tr);
		ASSERT_EQ(0, finish(self->client));
		ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE);
	} else {
		answer(self->owner, tr, NULL, 0);
		take_reply(self->client, NULL, 0);
	}
	ASSERT_READS(self->owner, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(self->owner));
}

TEST_F(target, owner_dies)
{
	kill_process(self->owner);
	check_unharmed(self->helper, self->server);
	fill_slow(self->helper, &self->slow);
	ASSERT_EQ(0, finish(self->client));
	/* The copy may fail first, for the area is gone. */
	ASSERT_EQ(BR_DEAD_REPLY, self->client->br[self->client->brs - 1].cmd);
	ASSERT_QUIET(self->client);
	check_unharmed(self->client, self->server);
}

TEST_F(target, sender_dies)
{
	kill_process(self->client);
	ASSERT_READS(self->owner, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(self->owner));
	check_unharmed(self->owner, self->server);
}

/* ---- counts beside threads that leave ---------------------------------------- */

struct counts_race {
	int stop;
	volatile long rounds;
	int nodes;			/* whose addresses go round */
	int leaves;			/* now and then */
	struct parcel parcel;
};

/* Takes messages, and lets go of what is in them. */
static long do_forget(struct peer *p, void *arg)
{
	struct counts_race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		struct br br;
		size_t at = 0;
		long ret = own_io(p);

		if (ret == -EAGAIN)
			continue;
		if (ret)
			return ret;
		while (next_return(p, &at, &br)) {
			if (br.cmd == BR_TRANSACTION)
				free_buffer(p, br.tr.data.ptr.buffer);
			else if (br.cmd != BR_NOOP)
				return -EBADMSG;
		}
		r->rounds++;
	}
	return 0;
}

/*
 * Sends nodes, and may leave before it has heard of their counts; the last
 * counts go at the same time.
 */
static long do_send_nodes(struct peer *p, void *arg)
{
	struct counts_race *r = arg;
	struct flat_binder_object *o = (void *)r->parcel.data;
	struct binder_transaction_data tr = {
		.flags = TF_ONE_WAY,
		.data_size = r->parcel.len,
		.offsets_size = r->parcel.offsets_len,
		.data.ptr.buffer = (uintptr_t)r->parcel.data,
		.data.ptr.offsets = (uintptr_t)r->parcel.offsets,
	};
	__u32 n;
	long ret;

	for (n = 0; !__atomic_load_n(&r->stop, __ATOMIC_RELAXED); n++) {
		o->binder = 0x1000 + n % r->nodes * 8;
		bc(p, BC_TRANSACTION);
		put(p, &tr, sizeof(tr));
		ret = own_submit(p);
		if (ret)
			return ret;
		if (r->leaves && n % 4 == 3 && ioctl(p->fd, BINDER_THREAD_EXIT, NULL))
			return -errno;
		r->rounds++;
	}
	return 0;
}

/* Answers what it hears of counts. */
static long do_acknowledge(struct peer *p, void *arg)
{
	struct counts_race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		struct br br;
		size_t at = 0;
		long ret = own_io(p);

		r->rounds++;
		if (ret == -EAGAIN)
			continue;
		if (ret)
			return ret;
		while (next_return(p, &at, &br)) {
			if (br.cmd == BR_INCREFS)
				bc_node(p, BC_INCREFS_DONE, br.node.ptr, br.node.cookie);
			else if (br.cmd == BR_ACQUIRE)
				bc_node(p, BC_ACQUIRE_DONE, br.node.ptr, br.node.cookie);
		}
	}
	return 0;
}

/* Acknowledges what it may be told of or not. */
static long do_acknowledge_early(struct peer *p, void *arg)
{
	struct counts_race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		__u32 n;
		long ret;

		for (n = 0; n < 32; n++) {
			bc_node(p, n % 2 ? BC_INCREFS_DONE : BC_ACQUIRE_DONE,
				0x1000 + n / 2 % r->nodes * 8, 0x1000);
		}
		ret = own_submit(p);
		if (ret)
			return ret;
		r->rounds++;
	}
	return 0;
}

FIXTURE(counts) {
	struct peer *server, *owner;
};

FIXTURE_VARIANT(counts) {
	int nodes, leaves;
	long (*functions[2])(struct peer *, void *);	/* beside one that answers */
};

/*
 * Counts of nodes that a thread was to hear of, while it leaves and the last
 * reference goes (CVE-2020-0423). (The C driver loses what the thread was to
 * hear.)
 */
FIXTURE_VARIANT_ADD(counts, threads_leave) { 32, 1, { do_send_nodes, do_send_nodes } };

/* A node goes while it is being acknowledged, and another of its address comes. */
FIXTURE_VARIANT_ADD(counts, successors) { 1, 0, { do_send_nodes, do_acknowledge_early } };

FIXTURE_SETUP(counts)
{
	this_test = _metadata;
	self->server = manager("server");
	self->owner = member("owner");
}

FIXTURE_TEARDOWN(counts)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* Nothing is lost of them: in the end all nodes are gone. */
TEST_F(counts, race)
{
	struct peer *server = self->server, *owner = self->owner;
	struct peer *threads[4] = {
		server, owner, new_thread(owner, "thread"), new_thread(owner, "another thread"),
	};
	long (*functions[4])(struct peer *, void *) = {
		do_forget, do_acknowledge, variant->functions[0], variant->functions[1],
	};
	struct counts_race *r[4];
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, peer_syscall(threads[i], SYS_fcntl, threads[i]->fd, F_SETFL,
					  O_NONBLOCK));
	}
	for (i = 3; i >= 0; i--) {
		r[i] = arena_alloc(sizeof(*r[i]));
		memset(r[i], 0, sizeof(*r[i]));
		r[i]->nodes = variant->nodes;
		r[i]->leaves = variant->leaves;
		add_binder(&r[i]->parcel, 0, 0x1000);
		peer_start(threads[i], functions[i], r[i]);
	}
	/* What the owner hears of it all depends on who is faster. */
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(eventually(r[i]->rounds > (i == 1 ? 0 : 200))) {
			TH_LOG("%s: %ld rounds, %ld", threads[i]->name, r[i]->rounds,
			       peer_done(threads[i]) ? threads[i]->result : 0);
		}
	}
	for (i = 3; i >= 0; i--) {
		__atomic_store_n(&r[i]->stop, 1, __ATOMIC_RELAXED);
		ASSERT_EQ(0, peer_finish(threads[i])) {
			TH_LOG("%s", threads[i]->name);
		}
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, peer_syscall(threads[i], SYS_fcntl, threads[i]->fd, F_SETFL, 0));
		ASSERT_EQ(0, submit(threads[i]));
	}
	ASSERT_EQ(0, peer_ioctl(threads[2], BINDER_THREAD_EXIT, NULL));
	ASSERT_EQ(0, peer_ioctl(threads[3], BINDER_THREAD_EXIT, NULL));
	while (!receive_now(server)) {
		ASSERT_BR(server, BR_TRANSACTION);
		free_message(server, message(server));
	}
	/* So that not more comes at once than a peer keeps. */
	owner->read_len = 1024;
	while (!receive_now(owner)) {
		for (i = 0; i < owner->brs; i++)
			if (owner->br[i].cmd == BR_INCREFS || owner->br[i].cmd == BR_ACQUIRE)
				bc_node(owner, owner->br[i].cmd == BR_INCREFS ? BC_INCREFS_DONE :
					BC_ACQUIRE_DONE, owner->br[i].node.ptr,
					owner->br[i].node.cookie);
		ASSERT_EQ(0, submit(owner));
	}
	if (!oracle()) {
		ASSERT_EQ(0, node_count(owner));
	}
	check_unharmed(owner, server);
}

/* ---- everything in flight ------------------------------------------------------ */

/*
 * A message with an object of every kind, at every stage, when somebody dies:
 * what the others have is as it was before.
 */
enum { QUEUED, BEHIND, DELIVERED, HANDLED, REPLIED, STAGES };
enum { SENDER, RECEIVER, OWNER, VICTIMS };

FIXTURE(flight) {
	struct peer *server, *sender, *receiver, *owner;
	__u32 senders_receiver;		/* what the sender names the receiver's node */
	__u32 senders_owner;		/* and that of the owner, which only it has */
	struct canary canary, answered;
};

FIXTURE_VARIANT(flight) {
	int stage, victim;
};

#define STAGE(stage, name) \
	FIXTURE_VARIANT_ADD(flight, name##_sender) { stage, SENDER }; \
	FIXTURE_VARIANT_ADD(flight, name##_receiver) { stage, RECEIVER }; \
	FIXTURE_VARIANT_ADD(flight, name##_owner) { stage, OWNER }
STAGE(QUEUED, queued);
STAGE(BEHIND, behind);
STAGE(DELIVERED, delivered);
STAGE(HANDLED, handled);
STAGE(REPLIED, replied);

FIXTURE_SETUP(flight)
{
	__u32 handle;

	this_test = _metadata;
	self->server = manager("server");
	self->sender = member("sender");
	self->receiver = member("receiver");
	self->owner = member("owner");
	handle = offer(self->receiver, self->server, 0x1000, 0x1001);
	self->senders_receiver = hand_over(self->server, self->sender, handle);
	count(self->server, BC_RELEASE, handle);
	handle = offer(self->owner, self->server, 0x2000, 0x2001);
	self->senders_owner = hand_over(self->server, self->sender, handle);
	count(self->server, BC_RELEASE, handle);
	self->canary = new_canary(self->sender);
	self->answered = new_canary(self->receiver);
}

FIXTURE_TEARDOWN(flight)
{
	ipc_teardown(_metadata, NULL, NULL);
}

static struct parcel *everything(FIXTURE_DATA(flight) *self)
{
	struct parcel *m = new_parcel();

	add_binder(m, 0x3000, 0x3001);
	add_weak_binder(m, 0x4000, 0x4001);
	add_handle(m, self->senders_owner);
	add_weak_handle(m, self->senders_owner);
	/* The receiver's own. */
	add_handle(m, self->senders_receiver);
	add_weak_handle(m, self->senders_receiver);
	add_fd(m, self->canary.fd);
	/* Two buffers, one of which is in the other, and the same file in both. */
	add_root(m, new_numbers(24, 1, &self->canary.fd), 24);
	add_array(m, 1, 7, 0);
	add_child(m, new_numbers(8, 1, &self->canary.fd), 8, 7, 8);
	add_array(m, 1, 9, 0);
	return m;
}

/* What is answered: a file likewise, as an object and in a buffer. */
static struct parcel *everything_back(FIXTURE_DATA(flight) *self)
{
	struct parcel *m = new_parcel();

	add_binder(m, 0x5000, 0x5001);
	add_weak_binder(m, 0x1000, 0x1001);
	add_fd(m, self->answered.fd);
	add_root(m, new_numbers(8, 1, &self->answered.fd), 8);
	add_array(m, 1, 3, 0);
	return m;
}

/* Reads away what there is, and acknowledges counts. */
static void read_away(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	int i;

	while (!receive_now(p)) {
		for (i = 0; i < p->brs; i++) {
			if (p->br[i].cmd == BR_INCREFS)
				bc_node(p, BC_INCREFS_DONE, p->br[i].node.ptr, p->br[i].node.cookie);
			if (p->br[i].cmd == BR_ACQUIRE)
				bc_node(p, BC_ACQUIRE_DONE, p->br[i].node.ptr, p->br[i].node.cookie);
			if (p->br[i].cmd == BR_TRANSACTION || p->br[i].cmd == BR_REPLY)
				free_buffer(p, p->br[i].tr.data.ptr.buffer);
		}
		ASSERT_EQ(0, submit(p));
	}
}

TEST_F(flight, somebody_dies)
{
	struct peer *all[] = { self->sender, self->receiver, self->owner };
	struct peer *sender = self->sender, *receiver = self->receiver;
	__u32 flags = variant->stage <= BEHIND ? TF_ONE_WAY : 0;
	struct parcel *m = everything(self);
	struct binder_transaction_data *tr = NULL;
	bool dead[VICTIMS] = {};
	int i, fd;

	/* The receiver accepts files: its node has OBJECT_FLAGS, and so has the call. */
	for (i = 0; i < (variant->stage == BEHIND ? 2 : 1); i++) {
		bc_tree(sender, BC_TRANSACTION_SG, flags | TF_ACCEPT_FDS, m, room_for(m))
			->tr.target.handle = self->senders_receiver;
		ASSERT_EQ(0, submit(sender));
	}
	if (variant->stage != QUEUED) {
		ASSERT_EQ(0, receive(receiver));
		tr = message(receiver);
		ASSERT_EQ(m->count, tr->offsets_size / 8);
	}
	if (variant->stage == HANDLED || variant->stage == REPLIED)
		free_message(receiver, tr);
	if (variant->stage == REPLIED) {
		struct parcel *answer = everything_back(self);

		bc_tree(receiver, BC_REPLY_SG, 0, answer, room_for(answer));
		ASSERT_EQ(0, submit(receiver));
	}
	dead[variant->victim] = true;
	kill_process(all[variant->victim]);

	/* Everybody settles what is left to them. */
	if (!dead[RECEIVER]) {
		if (tr && variant->stage != HANDLED && variant->stage != REPLIED)
			free_message(receiver, tr);
		if (variant->stage == DELIVERED || variant->stage == HANDLED) {
			reply(receiver, NULL, 0);
			ASSERT_EQ(0, submit(receiver));
		}
		read_away(receiver);
	}
	if (!dead[SENDER]) {
		read_away(sender);
		bc_u32(sender, BC_RELEASE, self->senders_owner);
		bc_u32(sender, BC_RELEASE, self->senders_receiver);
		ASSERT_EQ(0, submit(sender));
	}
	/* Descriptors that were objects stay open, until they are closed. */
	for (i = SENDER; i <= RECEIVER; i++) {
		for (fd = all[i]->fd + 1; fd < 64 && !dead[i]; fd++)
			peer_syscall(all[i], SYS_close, fd);
	}
	ASSERT_GONE(&self->canary);
	ASSERT_GONE(&self->answered);
	for (i = 0; i < VICTIMS; i++) {
		struct peer *p = all[i];

		if (dead[i])
			continue;
		/* After a death, it is cleaned up in steps. */
		ASSERT_TRUE(eventually((read_away(p), !node_count(p)))) {
			TH_LOG("%s has %d nodes", p->name, node_count(p));
		}
		check_unharmed(p, self->server);
	}
}

TEST_HARNESS_MAIN
