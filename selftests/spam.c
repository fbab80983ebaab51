// SPDX-License-Identifier: GPL-2.0
/*
 * One-way spam: being told of having sent more than a receiver takes away.
 *
 * One-way messages may take up half of an area together. When they are left less
 * than a tenth of the area, a sender is suspected that has more than 50 of them
 * or more than a quarter of the area.
 */
#include "freeze.h"

#define HALF (AREA_LEN / 2)
#define LOW (AREA_LEN / 10)
#define LARGE ((size_t)16 << 10)

static void set_detection(struct peer *p, __u32 enable)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_ioctl(p, BINDER_ENABLE_ONEWAY_SPAM_DETECTION,
				arena_copy(&enable, sizeof(enable))));
}

/* Sends LEN bytes one-way: what is returned. */
static __u32 send(struct peer *p, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	static __u8 *bytes;

	if (!bytes)
		bytes = arena_alloc(AREA_LEN);
	bc_message(p, BC_TRANSACTION, len, TF_ONE_WAY, bytes, len);
	ASSERT_EQ(0, transact(p));
	ASSERT_EQ(2, p->brs);
	return p->br[1].cmd;
}

/* Fills the half but for less than a tenth, in large messages. The last is suspect. */
#define FILL { LARGE, LARGE, LARGE, LARGE / 2 }

static void fill(struct peer *p, __u32 last)
{
	const size_t lens[] = FILL;
	struct __test_metadata *_metadata = this_test;
	int i;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		ASSERT_EQ(i == 3 ? last : BR_TRANSACTION_COMPLETE, send(p, lens[i]));
	}
}

static void take_away(struct peer *server, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr = take_call(server);

	ASSERT_EQ(len, tr->data_size);
	free_message(server, tr);
}

static void take_fill(struct peer *server)
{
	const size_t lens[] = FILL;
	int i;

	for (i = 0; i < ARRAY_SIZE(lens); i++)
		take_away(server, lens[i]);
}

FIXTURE(spam) {
	struct peer *server, *client, *other;
};

/* The client wants to know. */
FIXTURE_SETUP(spam)
{
	this_test = _metadata;
	self->server = manager("server");
	self->client = member("client");
	self->other = member("other");
	set_detection(self->client, 1);
}

FIXTURE_TEARDOWN(spam)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* It is a sign, and no more: the message arrives. */
TEST_F(spam, few_large)
{
	fill(self->client, BR_ONEWAY_SPAM_SUSPECT);
	ASSERT_EXTENDED_ERROR(self->client, BR_OK, 0);
	ASSERT_EQ(BR_FAILED_REPLY, send(self->client, LARGE));
	take_fill(self->server);
	ASSERT_QUIET(self->server);
	ASSERT_QUIET(self->client);
	check_unharmed(self->client, self->server);
}

/* What follows in the write buffer is carried out. */
TEST_F(spam, goes_on)
{
	const size_t lens[] = FILL;
	__u8 *bytes = arena_alloc(LARGE);
	int i;

	for (i = 0; i < ARRAY_SIZE(lens); i++)
		bc_message(self->client, BC_TRANSACTION, 1, TF_ONE_WAY, bytes, lens[i]);
	oneway(self->client, 1, NULL, 0);
	ASSERT_EQ(0, transact(self->client));
	ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE, BR_TRANSACTION_COMPLETE,
		  BR_TRANSACTION_COMPLETE, BR_ONEWAY_SPAM_SUSPECT, BR_TRANSACTION_COMPLETE);
	take_fill(self->server);
	take_away(self->server, 0);
	check_unharmed(self->client, self->server);
}

/* Said once, and again only after a message for which there was room. */
TEST_F(spam, once)
{
	fill(self->client, BR_ONEWAY_SPAM_SUSPECT);
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
	/* There is room, which the next message takes up at once. */
	take_away(self->server, LARGE);
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, LARGE));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
	/* There is room, and after the next message as well. */
	take_away(self->server, LARGE);
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
	ASSERT_EQ(BR_ONEWAY_SPAM_SUSPECT, send(self->client, LARGE));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
}

/* Time and again. */
TEST_F(spam, again)
{
	int i;

	for (i = 0; i < 5; i++) {
		fill(self->client, BR_ONEWAY_SPAM_SUSPECT);
		take_fill(self->server);
		check_unharmed(self->client, self->server);
	}
}

/* More than 50, however small; somebody else takes up the room, without being suspected for it. */
TEST_F(spam, many_small)
{
	int i;

	set_detection(self->other, 1);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->other, LARGE));
	}
	/* The 52nd is the one that leaves too little, and 51 are there. */
	ASSERT_GT(LOW, HALF - 3 * LARGE - 52 * 64);
	ASSERT_LE(LOW, HALF - 3 * LARGE - 51 * 64);
	for (i = 1; i < 52; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 64));
	}
	ASSERT_EQ(BR_ONEWAY_SPAM_SUSPECT, send(self->client, 64));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 64));
	/* Said of one, it is not said of another. */
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->other, 64));
}

/* Little room, and neither many nor much of the sender's: it is not its doing. */
TEST_F(spam, somebody_elses_doing)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->other, LARGE));
	}
	for (i = 0; i < 40; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 96));
	}
	/* Whose doing it is, is told, if it wants to know. */
	set_detection(self->other, 1);
	ASSERT_EQ(BR_ONEWAY_SPAM_SUSPECT, send(self->other, 8));
}

/* Delivered and not freed, messages are still there; freed, they are not. */
TEST_F(spam, what_counts)
{
	struct binder_transaction_data *tr;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, LARGE));
	}
	tr = take_call(self->server);
	ASSERT_EQ(BR_ONEWAY_SPAM_SUSPECT, send(self->client, LARGE / 2));
	free_message(self->server, tr);
	for (i = 0; i < 2; i++)
		take_away(self->server, LARGE);
	take_away(self->server, LARGE / 2);
	/* As many again, and taken away each time: never suspect. */
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, LARGE));
		take_away(self->server, LARGE);
	}
	check_unharmed(self->client, self->server);
}

/* Calls and replies neither count nor are suspected. */
TEST_F(spam, calls_do_not_count)
{
	struct peer *helper = new_thread(self->server, "helper");
	struct binder_transaction_data *tr;
	__u8 *bytes = arena_alloc(LARGE);
	int i;

	/* What is answered and not freed. */
	for (i = 0; i < 3; i++) {
		bc_message(self->client, BC_TRANSACTION, 1, 0, bytes, LARGE);
		start_transact(self->client);
		take_call(self->server);
		reply(self->server, NULL, 0);
		ASSERT_EQ(0, transact(self->server));
		take_reply(self->client, NULL, 0);
	}
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, LARGE - 64));
	}
	/* There is little room, and one-way the client has a quarter, not more. */
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->other, LARGE + LARGE / 2));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
	bc_message(self->client, BC_TRANSACTION, 1, 0, bytes, 8);
	start_transact(self->client);
	tr = take_call(helper);
	ASSERT_EQ(LARGE - 64, tr->data_size);
	/* Two more one-way messages wait behind that one, and a call does not. */
	tr = take_call(helper);
	ASSERT_EQ(8, tr->data_size);
	answer(helper, tr, NULL, 0);
	take_reply(self->client, NULL, 0);
}

/* A sender is a process, with all its threads and files; who wants to know is a file. */
TEST_F(spam, who_counts)
{
	struct peer *thread = new_thread(self->client, "thread");
	struct peer *file = new_bare_thread(self->client, "file");

	ASSERT_LE(0, open_device(file, 0));
	ASSERT_EQ(0, map_area(file, AREA_LEN));
	settle(file);
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, LARGE));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(thread, LARGE));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(file, LARGE));
	ASSERT_EQ(BR_ONEWAY_SPAM_SUSPECT, send(thread, LARGE / 2));
	take_away(self->server, LARGE);
	take_away(self->server, LARGE);
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, LARGE));
	/* It is said to nobody, and that is that. */
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(file, LARGE));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
}

/* Whether it is said is decided when it is read. */
TEST_F(spam, detection)
{
	const __u32 on[] = { 1, 2, 0x80000000 };
	int i;

	ASSERT_EQ(-EFAULT, peer_ioctl(self->other, BINDER_ENABLE_ONEWAY_SPAM_DETECTION, NULL));
	fill(self->other, BR_TRANSACTION_COMPLETE);
	take_fill(self->server);
	for (i = 0; i < ARRAY_SIZE(on); i++) {
		set_detection(self->other, on[i]);
		fill(self->other, BR_ONEWAY_SPAM_SUSPECT);
		take_fill(self->server);
	}
	set_detection(self->other, 0);
	fill(self->other, BR_TRANSACTION_COMPLETE);
	take_fill(self->server);

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->other, LARGE));
	}
	bc_message(self->other, BC_TRANSACTION, 1, TF_ONE_WAY, arena_alloc(LARGE), LARGE / 2);
	ASSERT_EQ(0, submit(self->other));
	set_detection(self->other, 1);
	ASSERT_EQ(0, receive(self->other));
	ASSERT_BR(self->other, BR_ONEWAY_SPAM_SUSPECT);
	take_fill(self->server);
	check_unharmed(self->other, self->server);
}

/* To a frozen process, that it is frozen is what is said. */
TEST_F(spam, frozen)
{
	const size_t lens[] = FILL;
	int i;

	ASSERT_EQ(0, freeze(self->other, self->server));
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		ASSERT_EQ(BR_TRANSACTION_PENDING_FROZEN, send(self->client, lens[i]));
	}
	ASSERT_EQ(0, thaw(self->other, self->server));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, send(self->client, 8));
	take_fill(self->server);
	take_away(self->server, 8);
	fill(self->client, BR_ONEWAY_SPAM_SUSPECT);
	take_fill(self->server);
	check_unharmed(self->client, self->server);
}

/* As many as there is room for: thousands of the smallest. The half is all they get. */
TEST_F(spam, as_many_as_fit)
{
	int suspected = 0, sent = 0, failed = 0;

	while (!failed) {
		int i;

		for (i = 0; i < 40; i++)
			oneway(self->client, 1, NULL, 0);
		ASSERT_EQ(0, transact(self->client));
		for (i = 1; i < self->client->brs; i++) {
			sent += self->client->br[i].cmd != BR_FAILED_REPLY;
			suspected += self->client->br[i].cmd == BR_ONEWAY_SPAM_SUSPECT;
			failed += self->client->br[i].cmd == BR_FAILED_REPLY;
		}
	}
	ASSERT_EQ(HALF / 8, sent);
	ASSERT_EQ(1, suspected);
	ASSERT_EXTENDED_ERROR(self->client, BR_FAILED_REPLY, -ENOSPC);
}

TEST_HARNESS_MAIN
