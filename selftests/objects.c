// SPDX-License-Identifier: GPL-2.0
/*
 * Objects in messages: what becomes of them on the way, the counts that they
 * hold, and what the owner of a node is told of those.
 */
#include "objects.h"

/* ---- translation ------------------------------------------------------- */

FIXTURE(kind) {
};

FIXTURE_VARIANT(kind) {
	__u32 binder, handle;
	bool strong;
	int told;
};

FIXTURE_VARIANT_ADD(kind, strong) {
	BINDER_TYPE_BINDER, BINDER_TYPE_HANDLE, true, TOLD_BOTH,
};
FIXTURE_VARIANT_ADD(kind, weak) {
	BINDER_TYPE_WEAK_BINDER, BINDER_TYPE_WEAK_HANDLE, false, TOLD_WEAK,
};

FIXTURE_SETUP(kind)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(kind)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* The owner learns of the counts before it learns that its message is sent. */
static void check_first_counts(struct peer *owner, bool strong, __u64 ptr, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_NODE_BR(owner, 1, BR_INCREFS, ptr, cookie);
	if (strong) {
		ASSERT_NODE_BR(owner, 2, BR_ACQUIRE, ptr, cookie);
	}
	bc_node(owner, BC_INCREFS_DONE, ptr, cookie);
	if (strong)
		bc_node(owner, BC_ACQUIRE_DONE, ptr, cookie);
	ASSERT_EQ(0, submit(owner));
}

/* And of their end, when nobody has a handle any more. */
static void check_last_counts(struct peer *owner, bool strong, __u64 ptr, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;
	int i = 1;

	ASSERT_EQ(0, receive(owner));
	if (strong) {
		ASSERT_BR(owner, BR_RELEASE, BR_DECREFS);
		ASSERT_NODE_BR(owner, i++, BR_RELEASE, ptr, cookie);
	} else {
		ASSERT_BR(owner, BR_DECREFS);
	}
	ASSERT_NODE_BR(owner, i, BR_DECREFS, ptr, cookie);
	ASSERT_EQ(NO_NODE, node_told(owner, ptr));
	ASSERT_QUIET(owner);
}

/* A node goes out and arrives as a handle, whatever carries it. */
TEST_F(kind, node_becomes_handle_oneway)
{
	struct peer *server = manager("server"), *client = member("client");
	struct parcel *m = new_parcel();
	struct binder_transaction_data *tr;

	add_bytes(m, "before  ", 8);
	add_object(m, variant->binder, 0xfedcba98, 0xffff888812345678, 0x1234567890abcdef);
	add_bytes(m, "after", 5);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, transact(client));
	if (variant->strong) {
		ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	} else {
		ASSERT_BR(client, BR_INCREFS, BR_TRANSACTION_COMPLETE);
	}
	check_first_counts(client, variant->strong, 0xffff888812345678, 0x1234567890abcdef);
	EXPECT_EQ(variant->told, node_told(client, 0xffff888812345678));
	ASSERT_QUIET(client);

	tr = take_call(server);
	EXPECT_EQ(8 + 24 + 5, tr->data_size);
	EXPECT_EQ(8, tr->offsets_size);
	EXPECT_EQ(tr->data.ptr.buffer + 40, tr->data.ptr.offsets);
	EXPECT_EQ(8, *(const __u64 *)peer_memory(server, tr->data.ptr.offsets, 8));
	/* Nothing of the sender's addresses gets through. */
	ASSERT_TRUE(object_is(server, tr, 0, variant->handle, 0xfedcba98, 1, 0));
	EXPECT_EQ(0, memcmp("before  ", peer_memory(server, tr->data.ptr.buffer, 8), 8));
	EXPECT_EQ(0, memcmp("after", peer_memory(server, tr->data.ptr.buffer + 32, 5), 5));

	/* Nobody asked for the handle to stay. */
	ASSERT_TRUE(variant->strong == !node_counts(server, 1, &(struct counts) {}));
	free_message(server, tr);
	ASSERT_NO_HANDLE(server, 1);
	check_last_counts(client, variant->strong, 0xffff888812345678, 0x1234567890abcdef);
}

/* In a call, the counts come with what the caller waits for. */
TEST_F(kind, node_becomes_handle_call)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	call_with(client, 0, one_object(variant->binder, 0x1000, 0x2000));
	ASSERT_EQ(0, submit(client));
	ASSERT_QUIET(client);
	tr = take_call(server);
	ASSERT_OBJECT(server, tr, 0, variant->handle, 1, 0);
	EXPECT_EQ(0, node_told(client, 0x1000));
	ASSERT_QUIET(client);
	answer(server, tr, "r", 1);

	ASSERT_EQ(0, receive(client));
	/* The buffer was freed before: there is nothing left to tell. */
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	ASSERT_EQ(NO_NODE, node_told(client, 0x1000));
	free_message(client, message(client));

	call_with(client, 0, one_object(variant->binder, 0x1000, 0x2000));
	start_transact(client);
	tr = take_call(server);
	reply(server, "r", 1);
	ASSERT_EQ(0, transact(server));
	ASSERT_EQ(0, finish(client));
	if (variant->strong) {
		ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE, BR_REPLY);
	} else {
		ASSERT_BR(client, BR_INCREFS, BR_TRANSACTION_COMPLETE, BR_REPLY);
	}
	check_first_counts(client, variant->strong, 0x1000, 0x2000);
	free_message(server, tr);
	check_last_counts(client, variant->strong, 0x1000, 0x2000);
}

TEST_F(kind, node_becomes_handle_reply)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	tr = ask_for(client, server, one_object(variant->binder, 0x1000, 0x2000));
	if (variant->strong) {
		ASSERT_BR(server, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	} else {
		ASSERT_BR(server, BR_INCREFS, BR_TRANSACTION_COMPLETE);
	}
	check_first_counts(server, variant->strong, 0x1000, 0x2000);
	ASSERT_OBJECT(client, tr, 0, variant->handle, 1, 0);
	ASSERT_QUIET(server);
	free_message(client, tr);
	check_last_counts(server, variant->strong, 0x1000, 0x2000);
}

/* Sent on, a handle names the same node in the receiver's own numbers; the owner is not involved. */
TEST_F(kind, handle_becomes_handle)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();

	ASSERT_EQ(1, offer(client, server, 0x1000, 0x1001));
	ASSERT_EQ(2, offer(client, server, 0x2000, 0x2001));
	ASSERT_EQ(3, offer(client, server, 0x3000, 0x3001));

	add_object(m, variant->handle, 0xfedcba98, 3, 0);
	/* What is above the number, and the cookie, means nothing. */
	add_object(m, variant->handle, 0, 0xdeadbeef00000002, ~0ULL);
	tr = ask_for(third, server, m);
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_TRUE(object_is(third, tr, 0, variant->handle, 0xfedcba98, 1, 0));
	ASSERT_TRUE(object_is(third, tr, 1, variant->handle, 0, 2, 0));
	ASSERT_QUIET(client);
	ASSERT_COUNTS(server, 3, 1 + variant->strong, 0);
	ASSERT_COUNTS(server, 2, 1 + variant->strong, 0);
	ASSERT_COUNTS(server, 1, 1, 0);

	if (variant->strong) {
		reaches(third, 1, client, 0x3000, 0x3001);
		reaches(third, 2, client, 0x2000, 0x2001);
	} else {
		call_with(third, 1, NULL);
		ASSERT_REFUSED(third, BR_FAILED_REPLY, -EINVAL);
		oneway_with(third, 2, NULL);
		ASSERT_REFUSED(third, BR_FAILED_REPLY, -EINVAL);
	}
	free_message(third, tr);
	ASSERT_COUNTS(server, 3, 1, 0);
	ASSERT_COUNTS(server, 2, 1, 0);
	call_with(third, 1, NULL);
	ASSERT_REFUSED(third, BR_FAILED_REPLY, -EINVAL);
	ASSERT_QUIET(client);
}

/* It becomes the node again where that is at home; the driver holds that as long as the message. */
TEST_F(kind, handle_becomes_node)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u64 ptr = 0xffff888812345678, cookie = 0x1234567890abcdef;

	ASSERT_EQ(1, offer(client, server, ptr, cookie));
	add_object(m, variant->handle, 0x12345678, 0xdeadbeef00000001, 4711);
	add_object(m, variant->handle, 0, 1, 0);
	tr = ask_for(client, server, m);
	ASSERT_TRUE(object_is(client, tr, 0, variant->binder, 0x12345678, ptr, cookie));
	ASSERT_TRUE(object_is(client, tr, 1, variant->binder, 0, ptr, cookie));
	ASSERT_COUNTS(server, 1, 1 + 2 * variant->strong, 2 * !variant->strong);

	/* The handle may go in the meantime. */
	count(server, BC_RELEASE, 1);
	ASSERT_NO_HANDLE(server, 1);
	if (variant->strong) {
		ASSERT_QUIET(client);
	} else {
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_RELEASE);
		ASSERT_QUIET(client);
	}
	ASSERT_EQ(variant->told, node_told(client, ptr));
	free_message(client, tr);
	check_last_counts(client, variant->strong, ptr, cookie);
}

/* A message takes as many counts as it has objects of a node, and gives as many back. */
TEST_F(kind, same_node_several_times)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	int i;

	for (i = 0; i < 20; i++)
		add_object(m, variant->binder, OBJECT_FLAGS, 0x1000, 0x2000);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, transact(client));
	if (variant->strong) {
		ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	} else {
		ASSERT_BR(client, BR_INCREFS, BR_TRANSACTION_COMPLETE);
	}
	check_first_counts(client, variant->strong, 0x1000, 0x2000);
	tr = take_call(server);
	for (i = 0; i < 20; i++) {
		ASSERT_OBJECT(server, tr, i, variant->handle, 1, 0);
	}
	/* It counts handles, not their counts. */
	if (variant->strong) {
		ASSERT_COUNTS(server, 1, 1, 0);
	}
	for (i = 0; i < 19; i++)
		bc_u32(server, variant->strong ? BC_RELEASE : BC_DECREFS, 1);
	ASSERT_EQ(0, submit(server));
	ASSERT_QUIET(client);
	bc_u32(server, variant->strong ? BC_ACQUIRE : BC_INCREFS, 1);
	bc_u32(server, variant->strong ? BC_RELEASE : BC_DECREFS, 1);
	bc_u32(server, variant->strong ? BC_RELEASE : BC_DECREFS, 1);
	ASSERT_EQ(0, submit(server));
	check_last_counts(client, variant->strong, 0x1000, 0x2000);
	/* Now the buffer has nothing left to give back; nor would anybody be told. */
	free_message(server, tr);
	ASSERT_QUIET(client);
	ASSERT_NO_HANDLE(server, 1);
}

/* Zero is an address like any other, and so is the highest. */
TEST_F(kind, odd_addresses)
{
	static const struct {
		__u64 ptr, cookie;
	} nodes[] = {
		{ 0, 0 }, { 1, 0 }, { ~0ULL, ~0ULL }, { 1ULL << 63, 1 }, { 0xffffffff, 0 },
		{ 0x100000000, 0 },
	};
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(nodes); i++)
		add_object(m, variant->binder, OBJECT_FLAGS, nodes[i].ptr, nodes[i].cookie);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, transact(client));
	ASSERT_EQ(2 + ARRAY_SIZE(nodes) * (1 + variant->strong), client->brs);
	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		int at = 1 + i * (1 + variant->strong);

		ASSERT_NODE_BR(client, at, BR_INCREFS, nodes[i].ptr, nodes[i].cookie);
		if (variant->strong) {
			ASSERT_NODE_BR(client, at + 1, BR_ACQUIRE, nodes[i].ptr, nodes[i].cookie);
		}
	}
	tr = take_call(server);
	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		ASSERT_OBJECT(server, tr, i, variant->handle, i + 1, 0);
	}
}

/* An object can be anywhere at a multiple of 4. */
TEST_F(kind, unaligned_object)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();

	add_bytes(m, "four", 4);
	add_object(m, variant->binder, OBJECT_FLAGS, 0x1000, 0x2000);
	add_bytes(m, "twelve bytes", 12);
	add_object(m, variant->binder, OBJECT_FLAGS, 0x3000, 0x4000);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_EQ(m->len, tr->data_size);
	ASSERT_OBJECT(server, tr, 0, variant->handle, 1, 0);
	ASSERT_OBJECT(server, tr, 1, variant->handle, 2, 0);
	EXPECT_EQ(0, memcmp("four", peer_memory(server, tr->data.ptr.buffer, 4), 4));
	EXPECT_EQ(0, memcmp("twelve bytes",
			    peer_memory(server, tr->data.ptr.buffer + 28, 12), 12));
}

/* Neither the receiver's memory nor the sender's own are changed beyond that. */
TEST_F(kind, sender_memory_is_left_alone)
{
	struct peer *server = manager("server"), *client = member("client");
	struct parcel *m = new_parcel(), *copy;

	add_object(m, variant->binder, 1, 0x1000, 0x2000);
	add_object(m, variant->binder, 2, 0x1000, 0x2000);
	copy = arena_copy(m, sizeof(*m));
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	EXPECT_EQ(0, memcmp(m, copy, sizeof(*m)));
	free_message(server, take_call(server));
}

/* All the kinds in one message, and more objects than any table has room for at first. */
TEST_F(ipc, many_objects)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u32 lent, thirds;
	int i;

	ASSERT_EQ(1, offer(third, server, 0x7000, 0x7001));
	lent = lend(server, client, 0x5000, 0x5001);
	thirds = hand_over(server, client, 1);
	for (i = 0; i < 20; i++) {
		add_binder(m, 0x10000 + i, i);
		add_handle(m, lent);
		add_weak_binder(m, 0x20000 + i, i);
		add_weak_handle(m, thirds);
		add_weak_handle(m, lent);
		add_handle(m, thirds);
	}
	client->read_len = 16;
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	client->read_len = sizeof(client->read);
	tr = take_call(server);
	for (i = 0; i < 20; i++) {
		ASSERT_HANDLE(server, tr, 6 * i, 2 + 2 * i);
		ASSERT_OBJECT(server, tr, 6 * i + 1, BINDER_TYPE_BINDER, 0x5000, 0x5001);
		ASSERT_WEAK_HANDLE(server, tr, 6 * i + 2, 3 + 2 * i);
		ASSERT_WEAK_HANDLE(server, tr, 6 * i + 3, 1);
		ASSERT_OBJECT(server, tr, 6 * i + 4, BINDER_TYPE_WEAK_BINDER, 0x5000, 0x5001);
		ASSERT_HANDLE(server, tr, 6 * i + 5, 1);
	}
	ASSERT_EQ(40, node_count(client));
	free_message(server, tr);
	ASSERT_QUIET(server);
	ASSERT_COUNTS(server, 1, 2, 0);
	/* The owner has read nothing so far; now there is nothing but the end of sending. */
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, node_count(client));
	count(client, BC_RELEASE, lent);
	check_last_counts(server, true, 0x5000, 0x5001);
}

/* ---- handles ----------------------------------------------------------- */

/* The lowest number that is free; 0 is the manager's. */
TEST_F(ipc, lowest_handle)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m;
	int i;

	for (i = 1; i <= 8; i++) {
		ASSERT_EQ(i, offer(client, server, 0x1000 * i, i));
	}
	bc_u32(server, BC_RELEASE, 6);
	bc_u32(server, BC_RELEASE, 3);
	bc_u32(server, BC_RELEASE, 1);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_RELEASE, BR_DECREFS, BR_RELEASE, BR_DECREFS, BR_RELEASE, BR_DECREFS);
	EXPECT_EQ(0x6000, client->br[1].node.ptr);
	EXPECT_EQ(0x3000, client->br[3].node.ptr);
	EXPECT_EQ(0x1000, client->br[5].node.ptr);

	m = new_parcel();
	for (i = 11; i <= 15; i++)
		add_binder(m, 0x1000 * i, i);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 1);
	ASSERT_HANDLE(server, tr, 1, 3);
	ASSERT_HANDLE(server, tr, 2, 6);
	ASSERT_HANDLE(server, tr, 3, 9);
	ASSERT_HANDLE(server, tr, 4, 10);
}

/* The same node, the same handle, as long as there is one. */
TEST_F(ipc, one_handle_for_a_node)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr[3];
	__u32 handle = offer(client, server, 0x1000, 0x1001);
	int i;

	ASSERT_EQ(2, offer(client, server, 0x2000, 0x2001));
	for (i = 0; i < 3; i++) {
		oneway_with(client, 0, one_object(i == 1 ? BINDER_TYPE_WEAK_BINDER :
						  BINDER_TYPE_BINDER, 0x1000, 0x1001));
		ASSERT_EQ(0, transact(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
		tr[i] = take_call(server);
		ASSERT_OBJECT(server, tr[i], 0, i == 1 ? BINDER_TYPE_WEAK_HANDLE :
			      BINDER_TYPE_HANDLE, handle, 0);
		/* One at a time: free it. The handle stays, because the server has acquired it. */
		free_message(server, tr[i]);
	}
	ASSERT_COUNTS(server, handle, 1, 0);
	reaches(member("caller"), 0, server, 0, 0);
	count(server, BC_RELEASE, handle);
	check_last_counts(client, true, 0x1000, 0x1001);

	/* There it is another one, but now the old number is free for it. */
	ASSERT_EQ(handle, offer(client, server, 0x3000, 0x3001));
	ASSERT_EQ(3, offer(client, server, 0x1000, 0x1001));
}

/* The same address in two processes is two nodes. */
TEST_F(ipc, same_address_elsewhere)
{
	struct peer *server = manager("server"), *one = member("one"), *two = member("two");
	struct peer *third = member("third");

	ASSERT_EQ(1, offer(one, server, 0x1000, 1));
	ASSERT_EQ(2, offer(two, server, 0x1000, 2));
	ASSERT_EQ(1, hand_over(server, third, 2));
	ASSERT_EQ(2, hand_over(server, third, 1));
	reaches(third, 2, one, 0x1000, 1);
	reaches(third, 1, two, 0x1000, 2);
	count(server, BC_RELEASE, 1);
	count(third, BC_RELEASE, 2);
	check_last_counts(one, true, 0x1000, 1);
	ASSERT_QUIET(two);
	reaches(third, 1, two, 0x1000, 2);
}

/* Numbers are handed out without end, and come back without gaps. */
TEST_F(ipc, many_handles)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	int round, batch, i, n;

	for (round = 0; round < 2; round++) {
		for (batch = 0, n = 0; batch < 6; batch++) {
			struct parcel *m = new_parcel();

			step("round %d, batch %d", round, batch);
			for (i = 0; i < 100; i++, n++)
				add_binder(m, 0x1000 + n, round);
			oneway_with(client, 0, m);
			ASSERT_EQ(0, submit(client));
			tr = take_call(server);
			n -= 100;
			for (i = 0; i < 100; i++, n++) {
				if (i % 33 == 0) {
					ASSERT_HANDLE(server, tr, i, n + 1);
				}
				bc_u32(server, BC_ACQUIRE, n + 1);
			}
			free_message(server, tr);
		}
		ASSERT_EQ(600, node_count(client));
		ASSERT_COUNTS(server, 600, 1, 0);
		ASSERT_NO_HANDLE(server, 601);
		/* From the middle, to both ends. */
		for (i = 300; i > 0; i--) {
			bc_u32(server, BC_RELEASE, i);
			bc_u32(server, BC_RELEASE, 601 - i);
			if (i % 100 == 1) {
				ASSERT_EQ(0, submit(server));
			}
		}
		ASSERT_NO_HANDLE(server, 1);
		ASSERT_NO_HANDLE(server, 600);
		/* The owner had read nothing: all is as if it had not been. */
		ASSERT_EQ(0, node_count(client));
	}
	ASSERT_EQ(0, receive(client));
	ASSERT_EQ(1 + 12, client->brs);
	ASSERT_QUIET(client);
}

/* What is not there, or not strong, cannot be sent on. */
TEST_F(ipc, sending_what_one_has_not)
{
	static const __u32 handles[] = { 0, 2, 3, 1000, 0x7fffffff, 0x80000000, 0xffffffff };
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	__u32 lent = lend(server, client, 0x5000, 0x5001);
	size_t i;

	ASSERT_EQ(1, lent);
	ASSERT_EQ(1, offer(third, server, 0x1000, 0x1001));
	for (i = 0; i < ARRAY_SIZE(handles); i++) {
		step("handle %u", handles[i]);
		oneway_with(client, 0, one_object(BINDER_TYPE_HANDLE, handles[i], 0));
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
		call_with(client, 0, one_object(BINDER_TYPE_WEAK_HANDLE, handles[i], 0));
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	}
	/* The server has such a handle; that is no help to the client. */
	count(client, BC_RELEASE, lent);
	check_last_counts(server, true, 0x5000, 0x5001);
	oneway_with(client, 0, one_object(BINDER_TYPE_HANDLE, 1, 0));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	ASSERT_QUIET(server);
	ASSERT_COUNTS(server, 1, 1, 0);
}

/* A weak handle is good for being counted and passed on, and for nothing else. */
TEST_F(ipc, weak_handle)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct binder_transaction_data *tr;

	oneway_with(client, 0, one_object(BINDER_TYPE_WEAK_BINDER, 0x1000, 0x1001));
	ASSERT_EQ(0, transact(client));
	check_first_counts(client, false, 0x1000, 0x1001);
	tr = take_call(server);
	ASSERT_WEAK_HANDLE(server, tr, 0, 1);
	bc_u32(server, BC_INCREFS, 1);
	free_message(server, tr);
	ASSERT_QUIET(client);

	/* Not what it takes to call it, nor to make it strong, nor to hear of it. */
	call_with(server, 1, NULL);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EINVAL);
	oneway_with(server, 1, NULL);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EINVAL);
	count(server, BC_ACQUIRE, 1);
	ASSERT_NO_HANDLE(server, 1);
	call_with(server, 1, NULL);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EINVAL);
	count(server, BC_RELEASE, 1);
	ASSERT_QUIET(server);
	ASSERT_QUIET(client);
	ASSERT_EQ(TOLD_WEAK, node_told(client, 0x1000));

	/* Weakly it can be sent, also home; strongly it cannot. */
	tr = ask_for(third, server, one_object(BINDER_TYPE_WEAK_HANDLE, 1, 0));
	ASSERT_WEAK_HANDLE(third, tr, 0, 1);
	count(third, BC_ACQUIRE, 1);
	call_with(third, 1, NULL);
	ASSERT_REFUSED(third, BR_FAILED_REPLY, -EINVAL);
	free_message(third, tr);
	tr = ask_for(client, server, one_object(BINDER_TYPE_WEAK_HANDLE, 1, 0));
	ASSERT_OBJECT(client, tr, 0, BINDER_TYPE_WEAK_BINDER, 0x1000, 0x1001);
	free_message(client, tr);
	ASSERT_QUIET(client);

	call_with(third, 0, NULL);
	start_transact(third);
	free_message(server, take_call(server));
	reply_with(server, one_object(BINDER_TYPE_HANDLE, 1, 0));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(third));
	ASSERT_BR(third, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(third, BR_FAILED_REPLY, -EINVAL);
	ASSERT_QUIET(client);
	ASSERT_EQ(TOLD_WEAK, node_told(client, 0x1000));

	count(server, BC_DECREFS, 1);
	check_last_counts(client, false, 0x1000, 0x1001);
}

/* The owner can make it strong, by sending the node; and anybody who has it so. */
TEST_F(ipc, weak_handle_becomes_strong)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct binder_transaction_data *tr, *weak, *strong;

	oneway_with(client, 0, one_object(BINDER_TYPE_WEAK_BINDER, 0x1000, 0x1001));
	ASSERT_EQ(0, transact(client));
	check_first_counts(client, false, 0x1000, 0x1001);
	tr = take_call(server);
	bc_u32(server, BC_INCREFS, 1);
	free_message(server, tr);

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 0x1001));
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	ASSERT_NODE_BR(client, 1, BR_ACQUIRE, 0x1000, 0x1001);
	bc_node(client, BC_ACQUIRE_DONE, 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 1);
	ASSERT_COUNTS(server, 1, 1, 0);

	/* A third process has it weakly, then from the server strongly. */
	weak = ask_for(third, server, one_object(BINDER_TYPE_WEAK_HANDLE, 1, 0));
	ASSERT_COUNTS(server, 1, 1, 0);
	count(third, BC_ACQUIRE, 1);
	ASSERT_COUNTS(server, 1, 1, 0);
	strong = ask_for(third, server, one_object(BINDER_TYPE_HANDLE, 1, 0));
	ASSERT_HANDLE(third, strong, 0, 1);
	ASSERT_COUNTS(server, 1, 2, 0);
	reaches(third, 1, client, 0x1000, 0x1001);
	free_message(third, strong);
	ASSERT_COUNTS(server, 1, 1, 0);
	call_with(third, 1, NULL);
	ASSERT_REFUSED(third, BR_FAILED_REPLY, -EINVAL);
	free_message(third, weak);

	free_message(server, tr);
	ASSERT_NO_HANDLE(server, 1);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_RELEASE);
	ASSERT_EQ(TOLD_WEAK, node_told(client, 0x1000));
	count(server, BC_DECREFS, 1);
	check_last_counts(client, false, 0x1000, 0x1001);
}

/*
 * A long walk over one handle's counts and those of its node, against a model
 * of them: what the owner is told is exactly how they differ from what it was
 * told before.
 */
TEST_F(ipc, counts_follow_the_model)
{
	struct peer *server = manager("server"), *client = member("client");
	unsigned int random = 20240117, round, strong = 0, weak = 0, told = 0;
	struct binder_transaction_data *tr;

	for (round = 0; round < 400; round++) {
		unsigned int op, had = told, i = 1;

		random = random * 1103515245 + 12345;
		op = (random >> 16) % 11;
		step("round %u: operation %u at %u strong, %u weak", round, op, strong, weak);
		if (op < 2) {
			bool is_strong = op == 0;

			/* The receiver keeps it, and one count of its own. */
			oneway_with(client, 0, one_object(is_strong ? BINDER_TYPE_BINDER :
							  BINDER_TYPE_WEAK_BINDER, 0x1000, 0x1001));
			ASSERT_EQ(0, submit(client));
			tr = take_call(server);
			ASSERT_OBJECT(server, tr, 0, is_strong ? BINDER_TYPE_HANDLE :
				      BINDER_TYPE_WEAK_HANDLE, 1, 0);
			bc_u32(server, is_strong ? BC_ACQUIRE : BC_INCREFS, 1);
			free_message(server, tr);
			*(is_strong ? &strong : &weak) += 1;
		} else if (op < 4) {
			count(server, BC_ACQUIRE, 1);
			strong += !!strong;
		} else if (op < 6) {
			count(server, BC_INCREFS, 1);
			weak += strong || weak;
		} else if (op < 9) {
			count(server, BC_RELEASE, 1);
			strong -= !!strong;
		} else {
			count(server, BC_DECREFS, 1);
			weak -= !!weak;
		}

		told = (strong ? TOLD_STRONG : 0) | (strong || weak ? TOLD_WEAK : 0);
		client->brs = 1;
		if (told != had || op < 2) {
			ASSERT_EQ(0, receive(client));
		}
		if (told & ~had & TOLD_WEAK) {
			ASSERT_NODE_BR(client, i++, BR_INCREFS, 0x1000, 0x1001);
			bc_node(client, BC_INCREFS_DONE, 0x1000, 0x1001);
		}
		if (told & ~had & TOLD_STRONG) {
			ASSERT_NODE_BR(client, i++, BR_ACQUIRE, 0x1000, 0x1001);
			bc_node(client, BC_ACQUIRE_DONE, 0x1000, 0x1001);
		}
		if (had & ~told & TOLD_STRONG) {
			ASSERT_NODE_BR(client, i++, BR_RELEASE, 0x1000, 0x1001);
		}
		if (had & ~told & TOLD_WEAK) {
			ASSERT_NODE_BR(client, i++, BR_DECREFS, 0x1000, 0x1001);
		}
		if (op < 2) {
			ASSERT_EQ(BR_TRANSACTION_COMPLETE, client->br[i++].cmd);
		}
		ASSERT_EQ(i, client->brs);
		ASSERT_EQ(0, submit(client));
		ASSERT_QUIET(client);
		ASSERT_EQ(told ?: NO_NODE, node_told(client, 0x1000));
		if (strong) {
			ASSERT_COUNTS(server, 1, 1, 0);
		} else {
			ASSERT_NO_HANDLE(server, 1);
		}
	}
}

/* ---- what the owner is told --------------------------------------------- */

/* As the driver counts: what was told and not acknowledged is held. */
TEST_F(ipc, counts_until_acknowledged)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 0x1001));
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_COUNTS(server, 1, 1, 0);
	EXPECT_EQ(0, node_told(client, 0x1000));
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	ASSERT_COUNTS(server, 1, 2, 1);
	EXPECT_EQ(TOLD_BOTH, node_told(client, 0x1000));
	bc_node(client, BC_ACQUIRE_DONE, 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	ASSERT_COUNTS(server, 1, 1, 1);
	bc_node(client, BC_INCREFS_DONE, 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	ASSERT_COUNTS(server, 1, 1, 0);
	EXPECT_EQ(TOLD_BOTH, node_told(client, 0x1000));

	/* A message to it, from when it is sent until it is freed. */
	oneway_with(server, 1, NULL);
	ASSERT_EQ(0, submit(server));
	ASSERT_COUNTS(server, 1, 2, 0);
	oneway_with(server, 1, NULL);
	ASSERT_EQ(0, submit(server));
	ASSERT_COUNTS(server, 1, 3, 0);
	take_call(client);
	ASSERT_COUNTS(server, 1, 3, 0);
	free_message(client, message(client));
	ASSERT_COUNTS(server, 1, 2, 0);
	free_message(client, take_call(client));
	ASSERT_COUNTS(server, 1, 1, 0);
	free_message(server, tr);
}

FIXTURE(late_done) {
};

FIXTURE_VARIANT(late_done) {
	__u32 first, second;
	int returns_after_first;
};

FIXTURE_VARIANT_ADD(late_done, acquire_first) { BC_ACQUIRE_DONE, BC_INCREFS_DONE, 1 };
FIXTURE_VARIANT_ADD(late_done, increfs_first) { BC_INCREFS_DONE, BC_ACQUIRE_DONE, 0 };

FIXTURE_SETUP(late_done)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(late_done)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* Before the owner has acknowledged it is not told that it is over. */
TEST_F(late_done, release_waits)
{
	struct peer *server = manager("server"), *client = member("client");

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 0x1001));
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	free_message(server, take_call(server));
	ASSERT_NO_HANDLE(server, 1);
	ASSERT_QUIET(client);
	ASSERT_EQ(TOLD_BOTH, node_told(client, 0x1000));

	bc_node(client, variant->first, 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	if (variant->returns_after_first) {
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_RELEASE);
		ASSERT_NODE_BR(client, 1, BR_RELEASE, 0x1000, 0x1001);
	}
	ASSERT_QUIET(client);
	/* A second time does not help. */
	bc_node(client, variant->first, 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	ASSERT_QUIET(client);
	ASSERT_EQ(variant->returns_after_first ? TOLD_WEAK : TOLD_BOTH, node_told(client, 0x1000));

	bc_node(client, variant->second, 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(0, receive(client));
	if (variant->returns_after_first) {
		ASSERT_BR(client, BR_DECREFS);
	} else {
		ASSERT_BR(client, BR_RELEASE, BR_DECREFS);
	}
	ASSERT_EQ(NO_NODE, node_told(client, 0x1000));
	bc_node(client, variant->second, 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	ASSERT_QUIET(client);
}

/* Acknowledged in the same ioctl that then reads: it hears of the end at once. */
TEST_F(ipc, done_and_read)
{
	struct peer *server = manager("server"), *client = member("client");

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 0x1001));
	ASSERT_EQ(0, transact(client));
	free_message(server, take_call(server));
	bc_node(client, BC_INCREFS_DONE, 0x1000, 0x1001);
	bc_node(client, BC_ACQUIRE_DONE, 0x1000, 0x1001);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_RELEASE, BR_DECREFS);
	ASSERT_QUIET(client);
}

/* An acknowledgement of something else, by somebody else, of nothing. */
TEST_F(ipc, done_for_nothing)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	static const __u32 commands[] = { BC_INCREFS_DONE, BC_ACQUIRE_DONE };
	struct binder_transaction_data *tr;
	int i;

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 0x1001));
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	/* Before it was told. */
	for (i = 0; i < 2; i++)
		bc_node(client, commands[i], 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	ASSERT_COUNTS(server, 1, 1, 0);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	ASSERT_COUNTS(server, 1, 2, 1);

	for (i = 0; i < 2; i++) {
		bc_node(client, commands[i], 0x1000, 0x1002);
		bc_node(client, commands[i], 0x1001, 0x1001);
		bc_node(client, commands[i], 0xfff, 0x1001);
		bc_node(client, commands[i], 0, 0);
		bc_node(client, commands[i], 0x1001, 0x1000);
		bc_node(client, commands[i], 0x100001000, 0x1001);
		bc_node(client, commands[i], ~0ULL, ~0ULL);
		bc_node(server, commands[i], 0x1000, 0x1001);
	}
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(client->bwr.write_size, client->bwr.write_consumed);
	ASSERT_EQ(0, submit(server));
	ASSERT_COUNTS(server, 1, 2, 1);

	/* Any thread can do it. */
	for (i = 0; i < 2; i++)
		bc_node(sibling, commands[i], 0x1000, 0x1001);
	ASSERT_EQ(0, submit(sibling));
	ASSERT_COUNTS(server, 1, 1, 0);
	/* And nothing goes below that. */
	for (i = 0; i < 20; i++)
		bc_node(client, commands[i % 2], 0x1000, 0x1001);
	ASSERT_EQ(0, submit(client));
	ASSERT_COUNTS(server, 1, 1, 0);
	ASSERT_QUIET(client);
	free_message(server, tr);
	check_last_counts(client, true, 0x1000, 0x1001);
}

/* In the order of the objects; then that the message is sent. */
TEST_F(ipc, order_of_counts)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();

	add_binder(m, 0x3000, 3);
	add_weak_binder(m, 0x2000, 2);
	add_binder(m, 0x3000, 3);
	add_binder(m, 0x1000, 1);
	add_weak_binder(m, 0x3000, 3);
	add_weak_binder(m, 0x4000, 4);
	call_with(client, 0, m);
	start_transact(client);
	tr = take_call(server);
	reply(server, NULL, 0);
	ASSERT_EQ(0, transact(server));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_INCREFS, BR_INCREFS, BR_ACQUIRE, BR_INCREFS,
		  BR_TRANSACTION_COMPLETE, BR_REPLY);
	ASSERT_NODE_BR(client, 1, BR_INCREFS, 0x3000, 3);
	ASSERT_NODE_BR(client, 2, BR_ACQUIRE, 0x3000, 3);
	ASSERT_NODE_BR(client, 3, BR_INCREFS, 0x2000, 2);
	ASSERT_NODE_BR(client, 4, BR_INCREFS, 0x1000, 1);
	ASSERT_NODE_BR(client, 5, BR_ACQUIRE, 0x1000, 1);
	ASSERT_NODE_BR(client, 6, BR_INCREFS, 0x4000, 4);
	ASSERT_HANDLE(server, tr, 0, 1);
	ASSERT_WEAK_HANDLE(server, tr, 1, 2);
	ASSERT_HANDLE(server, tr, 2, 1);
	ASSERT_HANDLE(server, tr, 3, 3);
	ASSERT_WEAK_HANDLE(server, tr, 4, 1);
	ASSERT_WEAK_HANDLE(server, tr, 5, 4);
}

/* First seen weakly, then strongly, in one message: told once, of both. */
TEST_F(ipc, weak_then_strong)
{
	struct peer *server = manager("server"), *client = member("client");
	struct parcel *m = new_parcel();

	add_weak_binder(m, 0x1000, 1);
	add_binder(m, 0x2000, 2);
	add_binder(m, 0x1000, 1);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	/* What became strong last is told last. */
	ASSERT_NODE_BR(client, 1, BR_INCREFS, 0x2000, 2);
	ASSERT_NODE_BR(client, 3, BR_INCREFS, 0x1000, 1);
	free_message(server, take_call(server));
	ASSERT_QUIET(client);
}

/* A thread that makes a node strong is the one that is told, before its message counts as sent. */
TEST_F(ipc, counts_go_to_the_sending_thread)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling"), *waiter = new_thread(client, "waiter");

	start_receive(waiter);
	oneway_with(client, 0, one_object(BINDER_TYPE_WEAK_BINDER, 0x1000, 1));
	ASSERT_EQ(0, submit(client));
	EXPECT_TRUE(still_waits(waiter));
	oneway_with(sibling, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1));
	ASSERT_EQ(0, transact(sibling));
	ASSERT_BR(sibling, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	EXPECT_TRUE(still_waits(waiter));
	acknowledge(sibling, 0x1000, 1);

	/* The end is for anybody. */
	free_message(server, take_call(server));
	EXPECT_TRUE(still_waits(waiter));
	free_message(server, take_call(server));
	ASSERT_EQ(0, finish(waiter));
	ASSERT_EQ(BR_RELEASE, waiter->br[1].cmd);
}

/* Not from a thread that waits for its reply: a sibling is told. */
TEST_F(ipc, end_while_calling)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	struct binder_transaction_data *tr;
	__u32 handle = offer(client, server, 0x1000, 1);

	call_with(client, 0, NULL);
	start_transact(client);
	tr = take_call(server);
	count(server, BC_RELEASE, handle);
	EXPECT_TRUE(still_waits(client));
	ASSERT_EQ(0, receive(sibling));
	ASSERT_BR(sibling, BR_RELEASE, BR_DECREFS);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	ASSERT_QUIET(client);
}

/* Sent again before the owner has heard that it was over: then it is not. */
TEST_F(ipc, sent_again_before_release)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	__u32 handle = offer(client, server, 0x1000, 1);

	count(server, BC_RELEASE, handle);
	ASSERT_NO_HANDLE(server, handle);
	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1));
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	ASSERT_QUIET(client);
	ASSERT_EQ(TOLD_BOTH, node_told(client, 0x1000));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, handle);
	free_message(server, tr);
	check_last_counts(client, true, 0x1000, 1);
}

/* Sent weakly: the strong ones are over, the weak ones are not. */
TEST_F(ipc, sent_again_weakly_before_release)
{
	struct peer *server = manager("server"), *client = member("client");
	__u32 handle = offer(client, server, 0x1000, 1);

	count(server, BC_RELEASE, handle);
	oneway_with(client, 0, one_object(BINDER_TYPE_WEAK_BINDER, 0x1000, 1));
	ASSERT_EQ(0, submit(client));
	ASSERT_READS(client, BR_TRANSACTION_COMPLETE, BR_RELEASE);
	ASSERT_QUIET(client);
	ASSERT_EQ(TOLD_WEAK, node_told(client, 0x1000));
	free_message(server, take_call(server));
	check_last_counts(client, false, 0x1000, 1);
}

/* Between the two: it is acquired anew, and only that. */
TEST_F(ipc, sent_again_after_release)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	__u32 handle = offer(client, server, 0x1000, 1);

	count(server, BC_INCREFS, handle);
	count(server, BC_RELEASE, handle);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_RELEASE);
	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1));
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	bc_node(client, BC_ACQUIRE_DONE, 0x1000, 1);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, handle);
	count(server, BC_DECREFS, handle);
	ASSERT_QUIET(client);
	free_message(server, tr);
	check_last_counts(client, true, 0x1000, 1);
}

/* After the end the address is free for another object. */
TEST_F(ipc, address_used_again)
{
	struct peer *server = manager("server"), *client = member("client");
	int i;

	for (i = 1; i < 5; i++) {
		ASSERT_EQ(1, offer(client, server, 0x1000, i));
		reaches(member("caller"), 0, server, 0, 0);
		call_with(server, 1, NULL);
		start_transact(server);
		EXPECT_EQ(i, take_call(client)->cookie);
		answer(client, message(client), NULL, 0);
		take_reply(server, NULL, 0);
		count(server, BC_RELEASE, 1);
		check_last_counts(client, true, 0x1000, i);
	}
}

/* A node keeps its cookie. Another one is refused, and leaves things as they are. */
TEST_F(ipc, cookie_mismatch)
{
	struct peer *server = manager("server"), *client = member("client");
	static const __u64 wrong[] = { 0, 1, 0x1002, 0x100001001, ~0ULL };
	struct parcel *m = new_parcel();
	__u32 handle = offer(client, server, 0x1000, 0x1001);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, wrong[i]));
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
		call_with(client, 0, one_object(BINDER_TYPE_WEAK_BINDER, 0x1000, wrong[i]));
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	}
	ASSERT_COUNTS(server, handle, 1, 0);
	ASSERT_QUIET(server);
	ASSERT_QUIET(client);
	send_oneway(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 0x1001));
	free_message(server, take_call(server));

	/* Within one message, too; then neither comes to be. */
	add_binder(m, 0x2000, 1);
	add_binder(m, 0x2000, 2);
	oneway_with(client, 0, m);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	ASSERT_EQ(NO_NODE, node_told(client, 0x2000));
	ASSERT_EQ(2, offer(client, server, 0x2000, 2));
}

/* The manager's node is the same: it has an address and a cookie. */
TEST_F(ipc, managers_node_cookie)
{
	struct peer *server = manager("server"), *client = member("client");

	call_with(client, 0, NULL);
	start_transact(client);
	free_message(server, take_call(server));
	reply_with(server, one_object(BINDER_TYPE_BINDER, 0, 1));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -EINVAL);
	round_trip(client, server);
}

/* ---- the manager's handle ------------------------------------------------ */

/* It has the number 0, also for who did not ask for it by that; and its owner is never told. */
TEST_F(ipc, managers_node_sent)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();

	ASSERT_FALSE(has_handle(client, 0, BINDER_TYPE_WEAK_HANDLE, 0));
	add_binder(m, 0, 0);
	tr = ask_for(client, server, m);
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_HANDLE(client, tr, 0, 0);
	ASSERT_TRUE(has_handle(client, 0, BINDER_TYPE_HANDLE, 0));
	free_message(client, tr);
	ASSERT_FALSE(has_handle(client, 0, BINDER_TYPE_WEAK_HANDLE, 0));
	ASSERT_QUIET(server);

	/* With another before it, after it, and weakly. */
	m = new_parcel();
	add_binder(m, 0x5000, 5);
	add_weak_binder(m, 0, 0);
	add_binder(m, 0, 0);
	add_binder(m, 0x6000, 6);
	tr = ask_for(third, server, m);
	ASSERT_HANDLE(third, tr, 0, 1);
	ASSERT_WEAK_HANDLE(third, tr, 1, 0);
	ASSERT_HANDLE(third, tr, 2, 0);
	ASSERT_HANDLE(third, tr, 3, 2);
	round_trip(client, server);
}

/* Handle 0 can be sent on when it is held, and only then, though it can be called at any time. */
TEST_F(ipc, managers_handle_sent)
{
	struct flat_binder_object object = { .binder = 0x7000, .cookie = 0x7001 };
	struct peer *server = member("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct peer *third = member("third");
	__u32 thirds;

	become_manager(server, &object);
	oneway_with(client, 0, one_object(BINDER_TYPE_HANDLE, 0, 0));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	count(client, BC_INCREFS, 0);
	oneway_with(client, 0, one_object(BINDER_TYPE_HANDLE, 0, 0));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	send_oneway(client, 0, one_object(BINDER_TYPE_WEAK_HANDLE, 0, 0));
	tr = take_call(server);
	ASSERT_OBJECT(server, tr, 0, BINDER_TYPE_WEAK_BINDER, 0x7000, 0x7001);
	free_message(server, tr);

	count(client, BC_ACQUIRE, 0);
	send_oneway(client, 0, one_object(BINDER_TYPE_HANDLE, 0, 0));
	tr = take_call(server);
	ASSERT_OBJECT(server, tr, 0, BINDER_TYPE_BINDER, 0x7000, 0x7001);
	free_message(server, tr);

	/* To a third process: 0 as well. */
	ASSERT_EQ(1, offer(third, server, 0x1000, 1));
	thirds = hand_over(server, client, 1);
	send_oneway(client, thirds, one_object(BINDER_TYPE_HANDLE, 0, 0));
	tr = take_call(third);
	ASSERT_EQ(0x1000, tr->target.ptr);
	ASSERT_HANDLE(third, tr, 0, 0);
	ASSERT_TRUE(has_handle(third, 0, BINDER_TYPE_HANDLE, 0));
	free_message(third, tr);
	ASSERT_FALSE(has_handle(third, 0, BINDER_TYPE_HANDLE, 0));

	bc_u32(client, BC_RELEASE, 0);
	bc_u32(client, BC_DECREFS, 0);
	ASSERT_EQ(0, submit(client));
	ASSERT_FALSE(has_handle(client, 0, BINDER_TYPE_WEAK_HANDLE, 0));
	ASSERT_QUIET(server);
	round_trip(client, server);
}

/*
 * Who still holds the number for a manager that is gone names that one by it,
 * where the number names a handle; calls to 0 go to whoever is manager now.
 */
TEST_F(ipc, managers_handle_outlives_it)
{
	struct peer *old = manager("old"), *client = member("client"), *server;
	struct peer *third = member("third");
	struct binder_transaction_data *tr;

	count(client, BC_ACQUIRE, 0);
	kill_process(old);
	await_no_manager(client);
	server = manager("server");
	round_trip(client, server);

	/* To the old one. */
	oneway_with(client, 0, one_object(BINDER_TYPE_HANDLE, 0, 0));
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 1);
	call_with(server, 1, NULL);
	ASSERT_REFUSED(server, BR_DEAD_REPLY, -EINVAL);
	free_message(server, tr);

	/* The new one gets the next number. */
	count(client, BC_ACQUIRE, 0);
	reaches(client, 1, server, 0, 0);
	round_trip(client, server);
	ASSERT_QUIET(server);
	/* What is given back at 0 is the old one's. */
	count(client, BC_RELEASE, 0);
	ASSERT_FALSE(has_handle(client, 0, BINDER_TYPE_WEAK_HANDLE, 0));
	reaches(client, 1, server, 0, 0);
	/* Increments at 0 are the new one's still, wherever that is. */
	count(client, BC_ACQUIRE, 0);
	ASSERT_FALSE(has_handle(client, 0, BINDER_TYPE_WEAK_HANDLE, 0));
	count(client, BC_RELEASE, 1);
	reaches(client, 1, server, 0, 0);
	count(client, BC_RELEASE, 1);
	ASSERT_FALSE(has_handle(client, 0, BINDER_TYPE_WEAK_HANDLE, 1));
	count(client, BC_ACQUIRE, 0);
	ASSERT_TRUE(has_handle(client, 0, BINDER_TYPE_HANDLE, 0));
	round_trip(third, server);
}

/* ---- calls between others ----------------------------------------------- */

/* A handle is for calling whom it names, with all that a call has. */
TEST_F(ipc, call_by_handle)
{
	struct peer *server = manager("server"), *owner = member("owner");
	struct peer *client = member("client");
	struct binder_transaction_data *tr;
	struct unaligned_transaction *t;
	__u32 handle;

	ASSERT_EQ(1, offer(client, server, 0x9000, 9));
	offer(owner, server, 0x1000, 0x1001);
	ASSERT_EQ(3, offer(owner, server, 0x2000, 0x2001));
	handle = hand_over(server, client, 3);
	ASSERT_EQ(1, handle);

	t = bc_transaction(client, BC_TRANSACTION, 77, 0, "payload", 7);
	t->tr.target.handle = handle;
	t->tr.cookie = 1234;
	start_transact(client);
	tr = take_call(owner);
	EXPECT_EQ(0x2000, tr->target.ptr);
	EXPECT_EQ(0x2001, tr->cookie);
	EXPECT_EQ(77, tr->code);
	EXPECT_EQ(client->pid, tr->sender_pid);
	ASSERT_PAYLOAD(owner, tr, "payload", 7);
	answer(owner, tr, "answer", 6);
	take_reply(client, "answer", 6);
	ASSERT_QUIET(server);
	/* The other one has the number 2 there, and none here. */
	call_with(client, 2, NULL);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	/* Without the handle: refused as if it never was. */
	count(client, BC_RELEASE, handle);
	call_with(client, handle, NULL);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	ASSERT_QUIET(owner);
}

/* Objects go both ways in one call, and change sides. */
TEST_F(ipc, objects_in_call_and_reply)
{
	struct peer *server = manager("server"), *owner = member("owner");
	struct peer *client = member("client");
	struct binder_transaction_data *tr, *tr_reply;
	struct parcel *m = new_parcel();
	__u32 handle;

	handle = hand_over(server, client, offer(owner, server, 0x1000, 0x1001));
	/* To the owner: a callback of one's own, the owner's node, and the manager's. */
	count(client, BC_ACQUIRE, 0);
	add_binder(m, 0xc000, 0xc001);
	add_handle(m, handle);
	add_handle(m, 0);
	call_with(client, handle, m);
	start_transact(client);
	tr = take_call(owner);
	ASSERT_HANDLE(owner, tr, 0, 1);
	ASSERT_OBJECT(owner, tr, 1, BINDER_TYPE_BINDER, 0x1000, 0x1001);
	ASSERT_HANDLE(owner, tr, 2, 0);

	m = new_parcel();
	add_handle(m, 1);
	add_binder(m, 0x2000, 0x2001);
	add_weak_binder(m, 0x1000, 0x1001);
	add_handle(m, 0);
	reply_with(owner, m);
	ASSERT_EQ(0, transact(owner));
	ASSERT_BR(owner, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	ASSERT_NODE_BR(owner, 1, BR_INCREFS, 0x2000, 0x2001);
	acknowledge(owner, 0x2000, 0x2001);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE, BR_REPLY);
	tr_reply = message(client);
	acknowledge(client, 0xc000, 0xc001);
	ASSERT_OBJECT(client, tr_reply, 0, BINDER_TYPE_BINDER, 0xc000, 0xc001);
	ASSERT_HANDLE(client, tr_reply, 1, 2);
	ASSERT_WEAK_HANDLE(client, tr_reply, 2, handle);
	ASSERT_HANDLE(client, tr_reply, 3, 0);
	reaches(client, 2, owner, 0x2000, 0x2001);
	reaches(owner, 1, client, 0xc000, 0xc001);

	free_message(owner, tr);
	ASSERT_QUIET(client);
	free_message(client, tr_reply);
	/* Both are given up now: the callback, which the reply still held, and what the reply brought. */
	ASSERT_READS(client, BR_RELEASE, BR_DECREFS);
	ASSERT_READS(owner, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(client));
	ASSERT_EQ(1, node_count(owner));
	reaches(client, handle, owner, 0x1000, 0x1001);
}

/* A call back to a thread that waits reaches that thread, whoever else is there. */
TEST_F(ipc, call_back)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	struct binder_transaction_data *out, *back;

	start_receive(sibling);
	call_with(client, 0, one_object(BINDER_TYPE_BINDER, 0xc000, 0xc001));
	start_transact(client);
	out = take_call(server);
	call_with(server, 1, NULL)->tr.code = 5;
	start_transact(server);
	ASSERT_EQ(0, finish(client));
	/* Its own counts and completion come first. */
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE, BR_TRANSACTION);
	back = message(client);
	EXPECT_EQ(0xc000, back->target.ptr);
	EXPECT_EQ(5, back->code);
	acknowledge(client, 0xc000, 0xc001);
	EXPECT_TRUE(still_waits(sibling));
	answer(client, back, "inner", 5);
	take_reply(server, "inner", 5);

	/* Once more, now for the other way of reading. */
	call_with(server, 1, NULL)->tr.code = 6;
	start_transact(server);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION);
	EXPECT_EQ(6, message(client)->code);
	EXPECT_TRUE(still_waits(sibling));
	answer(client, message(client), "again", 5);
	take_reply(server, "again", 5);

	/* One-way ones are no part of that. */
	oneway_with(server, 1, NULL);
	ASSERT_EQ(0, transact(server));
	ASSERT_EQ(0, finish(sibling));
	ASSERT_BR(sibling, BR_TRANSACTION);
	answer(server, out, "outer", 5);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_REPLY);
	ASSERT_PAYLOAD(client, message(client), "outer", 5);
}

#define DEPTH 12

/* To and fro, each call made while the one before is handled; replies in the opposite order. */
TEST_F(ipc, nested_calls)
{
	struct peer *server = manager("server"), *client = member("client"), *side[2];
	struct binder_transaction_data *tr[DEPTH];
	__u32 handles[2] = { 0 };
	int i;

	handles[1] = offer(client, server, 0xc000, 0xc001);
	side[0] = client;
	side[1] = server;
	for (i = 0; i < DEPTH; i++) {
		struct peer *from = side[i % 2], *to = side[(i + 1) % 2];

		step("depth %d", i);
		call_with(from, handles[i % 2], NULL)->tr.code = i;
		start_transact(from);
		ASSERT_EQ(0, i < 1 ? receive(to) : finish(to));
		tr[i] = message(to);
		ASSERT_EQ(i, tr[i]->code);
		ASSERT_EQ(from->pid, tr[i]->sender_pid);
	}
	for (i = DEPTH - 1; i >= 0; i--) {
		struct peer *from = side[i % 2], *to = side[(i + 1) % 2];

		step("reply %d", i);
		free_buffer(to, tr[i]->data.ptr.buffer);
		reply(to, &i, sizeof(i));
		ASSERT_EQ(0, transact(to));
		ASSERT_BR(to, BR_TRANSACTION_COMPLETE);
		ASSERT_EQ(0, i == DEPTH - 1 ? finish(from) : receive(from));
		ASSERT_PAYLOAD(from, message(from), &i, sizeof(i));
		free_message(from, message(from));
	}
	round_trip(client, server);
}

/* Around by a third process: back to the thread that the chain began with. */
TEST_F(ipc, call_back_by_another)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling"), *middle = member("middle");
	struct peer *stranger = member("stranger");
	struct binder_transaction_data *tr[3];
	__u32 clients, to_middle, strangers;

	offer(middle, server, 0xb000, 0xb001);
	offer(client, server, 0xc000, 0xc001);
	to_middle = 1;
	clients = hand_over(server, middle, 2);
	strangers = hand_over(server, stranger, 2);
	start_receive(sibling);

	call_with(client, 0, NULL);
	start_transact(client);
	tr[0] = take_call(server);
	call_with(server, to_middle, NULL);
	start_transact(server);
	tr[1] = take_call(middle);
	call_with(middle, clients, NULL);
	start_transact(middle);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_TRANSACTION);
	tr[2] = message(client);
	EXPECT_EQ(0xc000, tr[2]->target.ptr);
	EXPECT_EQ(middle->pid, tr[2]->sender_pid);

	/* A call out of this chain is for anybody else. */
	call_with(stranger, strangers, NULL);
	start_transact(stranger);
	ASSERT_EQ(0, finish(sibling));
	ASSERT_BR(sibling, BR_TRANSACTION);
	answer(sibling, message(sibling), "s", 1);
	take_reply(stranger, "s", 1);

	answer(client, tr[2], "2", 1);
	take_reply(middle, "2", 1);
	answer(middle, tr[1], "1", 1);
	take_reply(server, "1", 1);
	answer(server, tr[0], "0", 1);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_REPLY);
	ASSERT_PAYLOAD(client, message(client), "0", 1);
}

/* A message can be sent on from where it lies: in the area, with its offsets. */
TEST_F(ipc, forwarded_from_the_area)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct binder_transaction_data *tr, *last;
	struct unaligned_transaction *t;
	struct parcel *m = new_parcel();

	ASSERT_EQ(1, offer(third, server, 0x3000, 3));
	add_bytes(m, "some text\0\0", 12);
	add_binder(m, 0x1000, 1);
	add_weak_binder(m, 0x2000, 2);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_INCREFS, BR_TRANSACTION_COMPLETE);
	acknowledge(client, 0x1000, 1);
	bc_node(client, BC_INCREFS_DONE, 0x2000, 2);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 2);
	t = oneway_with(server, 1, NULL);
	t->tr.data_size = tr->data_size;
	t->tr.offsets_size = tr->offsets_size;
	t->tr.data.ptr.buffer = tr->data.ptr.buffer;
	t->tr.data.ptr.offsets = tr->data.ptr.offsets;
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	last = take_call(third);
	ASSERT_HANDLE(third, last, 0, 1);
	ASSERT_WEAK_HANDLE(third, last, 1, 2);
	EXPECT_EQ(0, memcmp("some text", peer_memory(third, last->data.ptr.buffer, 9), 9));
	ASSERT_NO_HANDLE(server, 2);
	reaches(third, 1, client, 0x1000, 1);
	free_message(third, last);
	ASSERT_READS(client, BR_RELEASE, BR_DECREFS, BR_DECREFS);
}

/* TF_CLEAR_BUF is no obstacle to giving back what the buffer says that it holds. */
TEST_F(ipc, cleared_buffer)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	static const __u8 zeros[24];
	const void *seen;

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1))->tr.flags |= TF_CLEAR_BUF;
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	acknowledge(client, 0x1000, 1);
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 1);
	free_message(server, tr);
	seen = peer_memory(server, tr->data.ptr.buffer, sizeof(zeros));
	/* If the page is there at all. */
	ASSERT_TRUE(!seen || !memcmp(seen, zeros, sizeof(zeros)));
	ASSERT_NO_HANDLE(server, 1);
	check_last_counts(client, true, 0x1000, 1);
}

/* One-way messages take turns for each node, not for each process. */
TEST_F(ipc, oneway_per_node)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr[3];
	__u32 one = offer(client, server, 0x1000, 1), two = offer(client, server, 0x2000, 2);
	int i;

	for (i = 0; i < 6; i++) {
		oneway_with(server, i % 2 ? two : one, NULL)->tr.code = i;
		ASSERT_EQ(0, submit(server));
	}
	tr[0] = take_call(client);
	tr[1] = take_call(client);
	ASSERT_EQ(0, tr[0]->code);
	ASSERT_EQ(1, tr[1]->code);
	ASSERT_QUIET(client);
	free_message(client, tr[1]);
	tr[1] = take_call(client);
	ASSERT_EQ(3, tr[1]->code);
	ASSERT_EQ(0x2000, tr[1]->target.ptr);
	ASSERT_QUIET(client);
	free_message(client, tr[0]);
	tr[0] = take_call(client);
	ASSERT_EQ(2, tr[0]->code);
	ASSERT_QUIET(client);
	free_message(client, tr[0]);
	free_message(client, tr[1]);
	ASSERT_EQ(4, take_call(client)->code);
	ASSERT_EQ(5, take_call(client)->code);
	ASSERT_QUIET(client);
}

/* While a message is under way to a node, the node stays, even if its last handle goes. */
TEST_F(ipc, message_outlives_handle)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	__u32 handle = offer(client, server, 0x1000, 0x1001);

	oneway_with(server, handle, NULL);
	bc_u32(server, BC_RELEASE, handle);
	ASSERT_EQ(0, submit(server));
	ASSERT_NO_HANDLE(server, handle);
	tr = take_call(client);
	EXPECT_EQ(0x1000, tr->target.ptr);
	EXPECT_EQ(0x1001, tr->cookie);
	ASSERT_QUIET(client);
	free_message(client, tr);
	check_last_counts(client, true, 0x1000, 0x1001);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);

	/* A call likewise, and until its buffer is freed, whether replied to or not. */
	ASSERT_EQ(handle, offer(client, server, 0x1000, 0x1001));
	call_with(server, handle, NULL);
	bc_u32(server, BC_RELEASE, handle);
	start_transact(server);
	tr = take_call(client);
	reply(client, NULL, 0);
	ASSERT_EQ(0, transact(client));
	take_reply(server, NULL, 0);
	ASSERT_QUIET(client);
	ASSERT_EQ(TOLD_BOTH, node_told(client, 0x1000));
	free_message(client, tr);
	check_last_counts(client, true, 0x1000, 0x1001);
}

/* One's own node comes home as a node. There is no handle to it, and so no call to oneself. */
TEST_F(ipc, no_handle_to_oneself)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	__u32 handle = offer(client, server, 0x1000, 0x1001), i;

	tr = ask_for(client, server, one_object(BINDER_TYPE_HANDLE, handle, 0));
	ASSERT_OBJECT(client, tr, 0, BINDER_TYPE_BINDER, 0x1000, 0x1001);
	for (i = 1; i < 5; i++) {
		call_with(client, i, NULL);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
		oneway_with(client, i, NULL);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	}
	free_message(client, tr);
	ASSERT_QUIET(client);
}

/* Two open files in one process are two of a kind: they can call one another. */
TEST_F(ipc, two_files_in_a_process)
{
	struct peer *server = manager("server"), *one = member("one");
	struct peer *two = new_bare_thread(one, "two");
	struct binder_transaction_data *tr;
	__u32 handle;

	ASSERT_LE(0, open_device(two, 0));
	ASSERT_NE(one->fd, two->fd);
	ASSERT_EQ(0, map_area(two, AREA_LEN));
	settle(two);
	handle = hand_over(server, two, offer(one, server, 0x1000, 0x1001));
	reaches(two, handle, one, 0x1000, 0x1001);

	/* And the object is not at home in the other file. */
	send_oneway(two, handle, one_object(BINDER_TYPE_HANDLE, handle, 0));
	tr = take_call(one);
	ASSERT_OBJECT(one, tr, 0, BINDER_TYPE_BINDER, 0x1000, 0x1001);
	free_message(one, tr);
	oneway_with(two, handle, one_object(BINDER_TYPE_BINDER, 0x1000, 0x2222));
	ASSERT_EQ(0, transact(two));
	ASSERT_BR(two, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	tr = take_call(one);
	ASSERT_HANDLE(one, tr, 0, 1);
	reaches(one, 1, two, 0x1000, 0x2222);
	free_message(one, tr);
}

/* ---- what is refused ----------------------------------------------------- */

/* 256 bytes with good objects at 0, 32 and 64, and room for more. */
static struct parcel *three_objects(void)
{
	struct parcel *m = new_parcel();
	static const __u8 filler[8] = { 'f', 'i', 'l', 'l', 'e', 'r', '!', '!' };
	int i;

	for (i = 0; i < 3; i++) {
		add_binder(m, 0x1000 * (i + 1), i);
		add_bytes(m, filler, sizeof(filler));
	}
	while (m->len < 256)
		add_bytes(m, filler, sizeof(filler));
	m->count = m->offsets_len = 0;
	return m;
}

/*
 * Offsets: at multiples of 4, one behind the other, each with a whole object
 * within the data. EFAULT is for those where there would be nothing between
 * the object before and this one to be copied, or too much.
 */
TEST_F(ipc, bad_offsets)
{
	static const struct {
		int count;
		__u64 offsets[4];
		int error;
		__u64 len;
	} cases[] = {
		/* In the data, but there is no object: not aligned, of no known type. */
		{ 1, { 1 }, -EINVAL },
		{ 1, { 2 }, -EINVAL },
		{ 1, { 34 }, -EINVAL },
		{ 1, { 4 }, -EINVAL },
		{ 1, { 24 }, -EINVAL },
		{ 1, { 100 }, -EINVAL },
		{ 2, { 0, 33 }, -EINVAL },
		{ 2, { 0, 36 }, -EINVAL },
		{ 3, { 0, 32, 60 }, -EINVAL },
		{ 4, { 0, 32, 64, 88 }, -EINVAL },
		/* Twice, backwards, within one another. */
		{ 2, { 0, 0 }, -EFAULT },
		{ 2, { 32, 0 }, -EFAULT },
		{ 2, { 32, 32 }, -EFAULT },
		{ 3, { 0, 64, 32 }, -EFAULT },
		{ 3, { 32, 64, 0 }, -EFAULT },
		{ 2, { 0, 4 }, -EFAULT },
		{ 2, { 0, 20 }, -EFAULT },
		{ 2, { 0, 23 }, -EFAULT },
		{ 3, { 0, 32, 32 }, -EFAULT },
		/* At the end of the data, behind it, far behind it. */
		{ 1, { 256 }, -EINVAL },
		{ 1, { 254 }, -EINVAL },
		{ 1, { 252 }, -EINVAL },
		{ 1, { 236 }, -EINVAL },
		{ 1, { 260 }, -EFAULT },
		{ 1, { 257 }, -EFAULT },
		{ 1, { 4096 }, -EFAULT },
		{ 1, { 1ULL << 31 }, -EFAULT },
		{ 1, { 1ULL << 32 }, -EFAULT },
		{ 1, { (1ULL << 32) + 32 }, -EFAULT },
		{ 1, { 1ULL << 63 }, -EFAULT },
		{ 1, { (1ULL << 63) + 32 }, -EFAULT },
		{ 1, { -24ULL }, -EFAULT },
		{ 1, { -4ULL }, -EFAULT },
		{ 1, { ~0ULL }, -EFAULT },
		{ 2, { 0, 256 }, -EINVAL },
		{ 2, { 0, 260 }, -EFAULT },
		{ 2, { 0, 1ULL << 32 }, -EFAULT },
		{ 2, { 0, (1ULL << 32) + 32 }, -EFAULT },
		{ 2, { 0, 1ULL << 63 }, -EFAULT },
		{ 2, { 32, -32ULL }, -EFAULT },
		{ 2, { 0, ~0ULL }, -EFAULT },
		{ 3, { 0, 32, ~0ULL - 3 }, -EFAULT },
		/* An object that the data ends in. */
		{ 1, { 0 }, -EINVAL, 23 },
		{ 1, { 0 }, -EINVAL, 20 },
		{ 1, { 0 }, -EINVAL, 4 },
		{ 1, { 0 }, -EINVAL, 3 },
		{ 1, { 0 }, -EINVAL, 1 },
		{ 2, { 0, 32 }, -EINVAL, 55 },
		{ 2, { 0, 32 }, -EINVAL, 36 },
		{ 2, { 0, 32 }, -EINVAL, 32 },
		{ 2, { 0, 32 }, -EFAULT, 31 },
		{ 3, { 0, 32, 64 }, -EINVAL, 87 },
	};
	struct peer *server = manager_with("server", 4 * PAGE), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m;
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		step("case %zu", i);
		m = three_objects();
		for (j = 0; j < cases[i].count; j++)
			add_offset(m, cases[i].offsets[j]);
		if (cases[i].len)
			m->len = cases[i].len;
		if (i % 2)
			oneway_with(client, 0, m);
		else
			call_with(client, 0, m);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, cases[i].error);
		ASSERT_QUIET(server);
		/* What was good of it has left no trace. */
		ASSERT_EQ(0, node_count(client));
		ASSERT_NO_HANDLE(server, 1);
	}

	/* To the byte. */
	m = three_objects();
	add_offset(m, 0);
	add_offset(m, 32);
	add_offset(m, 64);
	m->len = 88;
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 1);
	ASSERT_HANDLE(server, tr, 1, 2);
	ASSERT_HANDLE(server, tr, 2, 3);
	free_message(server, tr);
	/* All of the area is free again: nothing of the refused ones is left there. */
	call(client, 1, arena_alloc(4 * PAGE), 4 * PAGE);
	ASSERT_EQ(0, submit(client));
	answer(server, take_call(server), NULL, 0);
}

/* Sizes of the offsets that are none; nothing is translated before that is seen. */
TEST_F(ipc, bad_offsets_size)
{
	static const size_t sizes[] = { 1, 4, 7, 9, 12, 15, 17, 20, 23 };
	struct peer *server = manager("server"), *client = member("client");
	struct parcel *m = three_objects();
	size_t i;

	add_offset(m, 0);
	add_offset(m, 32);
	add_offset(m, 64);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		step("%zu bytes", sizes[i]);
		m->offsets_len = sizes[i];
		oneway_with(client, 0, m);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
		ASSERT_EQ(0, node_count(client));
		ASSERT_QUIET(server);
	}
	/* Fewer than there are is no error: what is not listed is no object. */
	m->offsets_len = 8;
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(1, node_count(client));
	ASSERT_HANDLE(server, take_call(server), 0, 1);
	ASSERT_EQ(0, memcmp(m->data + 24,
			    peer_memory(server, message(server)->data.ptr.buffer + 24, 232), 232));
}

/* Words that are no type. */
TEST_F(ipc, bad_type)
{
	static const __u32 types[] = {
		0, 1, ~0U, BINDER_TYPE_BINDER + 1, BINDER_TYPE_BINDER ^ 0x80,
		0x2a627300, 0x73622a85 ^ 0xff, BR_TRANSACTION,
		B_PACK_CHARS('s', 'b', '*', 0), B_PACK_CHARS('x', 'x', '*', B_TYPE_LARGE),
	};
	struct peer *server = manager("server"), *client = member("client");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		struct parcel *m = new_parcel();

		step("type 0x%x", types[i]);
		add_binder(m, 0x1000, 1);
		add_object(m, types[i], OBJECT_FLAGS, 0x2000, 2);
		add_binder(m, 0x3000, 3);
		oneway_with(client, 0, m);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
		ASSERT_EQ(0, node_count(client));
		ASSERT_QUIET(server);
		/* If nobody says that it is an object, it is only bytes. */
		m->offsets[1] = m->offsets[2];
		m->offsets_len = 16;
		oneway_with(client, 0, m);
		ASSERT_EQ(0, submit(client));
		ASSERT_EQ(2, node_count(client));
		free_message(server, take_call(server));
		ASSERT_EQ(0, node_count(client));
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	}
}

/* Memory that cannot be read: offsets, what is before an object, the object, what is behind it. */
TEST_F(ipc, unreadable)
{
	/* How much of the payload can be read: objects at 0 and 64, 128 bytes in all. */
	static const struct {
		size_t readable;
		int error;
	} cases[] = {
		/* There is no object. */
		{ 0, -EINVAL }, { 3, -EINVAL }, { 4, -EINVAL }, { 20, -EINVAL }, { 23, -EINVAL },
		/* The gap. */
		{ 40, -EFAULT }, { 63, -EFAULT },
		/* The second object. */
		{ 64, -EINVAL }, { 67, -EINVAL }, { 68, -EINVAL }, { 87, -EINVAL },
		/* What is behind that. */
		{ 104, -EFAULT }, { 120, -EFAULT }, { 127, -EFAULT },
		/*
		 * Close behind an object. The C driver reads as much as the
		 * largest kind has, and finds none if that cannot be read.
		 */
		{ 24, 0 }, { 39, 0 }, { 88, 0 }, { 103, 0 },
	};
	struct peer *server = manager("server"), *client = member("client");
	struct parcel *m = new_parcel();
	struct unaligned_transaction *t;
	__u64 offsets[7];
	size_t i;

	add_binder(m, 0x1000, 1);
	while (m->len < 64)
		add_bytes(m, "fill", 4);
	add_binder(m, 0x2000, 2);
	while (m->len < 128)
		add_bytes(m, "fill", 4);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		step("case %zu", i);
		t = oneway_with(client, 0, m);
		t->tr.data.ptr.buffer = before_hole(client, m->data, cases[i].readable);
		ASSERT_EQ(0, transact(client));
		ASSERT_BR(client, BR_FAILED_REPLY);
		if (cases[i].error || oracle()) {
			ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, cases[i].error ?: -EINVAL);
		} else {
			int error = extended_error(client).param;

			ASSERT_TRUE(error == -EINVAL || error == -EFAULT);
		}
		ASSERT_EQ(0, node_count(client));
		ASSERT_NO_HANDLE(server, 1);
		ASSERT_QUIET(server);
	}

	offsets[0] = 0;
	offsets[1] = 8;
	for (i = 0; i < 4; i++)
		offsets[2 + i] = before_hole(client, m->offsets, i * 5);
	offsets[6] = ~0ULL - 15;
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		step("offsets %zu", i);
		oneway_with(client, 0, m)->tr.data.ptr.offsets = offsets[i];
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EFAULT);
		ASSERT_EQ(0, node_count(client));
		ASSERT_QUIET(server);
	}
	/* With the last byte at the end of what can be read it is fine. */
	t = oneway_with(client, 0, m);
	t->tr.data.ptr.buffer = before_hole(client, m->data, m->len);
	t->tr.data.ptr.offsets = before_hole(client, m->offsets, 16);
	ASSERT_EQ(0, submit(client));
	ASSERT_HANDLE(server, take_call(server), 1, 2);
}

/* ---- undoing --------------------------------------------------------------- */

enum failure {
	FAIL_COOKIE, FAIL_HANDLE, FAIL_WEAK_AS_STRONG, FAIL_FD, FAIL_TYPE, FAIL_OVERLAP, FAIL_END,
	FAIL_TAIL, FAILURES
};

static const int failure_errors[FAILURES] = {
	-EINVAL, -EINVAL, -EINVAL, -EPERM, -EINVAL, -EFAULT, -EINVAL, -EFAULT,
};

struct undo {
	struct peer *server, *client, *third;
	__u32 known;		/* the server's: a node of the client */
	__u32 lent;		/* the client's: a node of the server */
	__u32 thirds;		/* the client's: a node of the third, which the server has as well */
	__u32 servers_thirds;	/* the same, of the server */
	__u32 fresh;		/* the client's: another one, which the server has not */
	__u32 weak;		/* the client's: a weak one, of the third */
};

#define UNDO_OBJECTS 10

static void undo_object(struct undo *u, struct parcel *m, int i)
{
	switch (i) {
	case 0: return add_binder(m, 0xa000, 1);
	case 1: return add_weak_binder(m, 0xb000, 2);
	case 2: return add_binder(m, 0xc000, 3);	/* known */
	case 3: return add_handle(m, u->lent);
	case 4: return add_weak_handle(m, u->lent);
	case 5: return add_handle(m, u->thirds);
	case 6: return add_handle(m, u->fresh);
	case 7: return add_weak_handle(m, u->weak);
	case 8: return add_weak_binder(m, 0xc000, 3);
	case 9: return add_binder(m, 0xb000, 2);	/* now strong */
	}
}

static void undo_failure(struct undo *u, struct parcel *m, enum failure failure)
{
	switch (failure) {
	case FAIL_COOKIE:
		return add_binder(m, 0xc000, 4);
	case FAIL_HANDLE:
		return add_handle(m, 4711);
	case FAIL_WEAK_AS_STRONG:
		return add_handle(m, u->weak);
	case FAIL_FD:
		return add_fd(m, 0);
	case FAIL_TYPE:
		add_object(m, BINDER_TYPE_BINDER ^ 1, OBJECT_FLAGS, 0xa000, 1);
		return;
	case FAIL_OVERLAP:
		/* The object before once more; where there is none, behind everything. */
		return add_offset(m, m->count ? m->offsets[m->count - 1] : 4096);
	case FAIL_END:
		add_binder(m, 0xd000, 5);
		m->len--;
		return;
	case FAIL_TAIL:
		/* All objects are good; see undo_send(). */
		add_bytes(m, "some bytes more.", 16);
		return;
	default:
		return;
	}
}

/* Nothing is there that was not there before. */
static void undo_check(struct undo *u, __u32 count_of_known)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(1, node_count(u->client));
	ASSERT_EQ(TOLD_BOTH, node_told(u->client, 0xc000));
	ASSERT_EQ(1, node_count(u->server));
	ASSERT_COUNTS(u->server, u->known, count_of_known, 0);
	ASSERT_COUNTS(u->server, u->servers_thirds, 2, 0);
	ASSERT_NO_HANDLE(u->server, 3);
	ASSERT_QUIET(u->third);
}

static void undo_setup(struct undo *u)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *server, *client, *third;
	struct binder_transaction_data *tr;
	__u32 fresh, weak;

	u->server = server = manager("server");
	u->client = client = member("client");
	u->third = third = member("third");
	u->known = offer(client, server, 0xc000, 3);
	u->servers_thirds = offer(third, server, 0x1000, 0x1001);
	ASSERT_EQ(1, u->known);
	ASSERT_EQ(2, u->servers_thirds);
	u->lent = lend(server, client, 0x5000, 0x5001);
	u->thirds = hand_over(server, client, u->servers_thirds);

	fresh = offer(third, server, 0x2000, 0x2001);
	u->fresh = hand_over(server, client, fresh);
	count(server, BC_RELEASE, fresh);
	weak = offer(third, server, 0x3000, 0x3001);
	tr = ask_for(client, server, one_object(BINDER_TYPE_WEAK_HANDLE, weak, 0));
	u->weak = object_of(client, tr, 0)->handle;
	bc_u32(client, BC_INCREFS, u->weak);
	free_message(client, tr);
	count(server, BC_RELEASE, weak);
	ASSERT_EQ(0, receive(third));
	ASSERT_BR(third, BR_RELEASE);
	undo_check(u, 1);
}

/* At last everything can be had, with the lowest numbers, and given back to the last count. */
static void undo_finish(struct undo *u)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	int i;

	for (i = 0; i < UNDO_OBJECTS; i++)
		undo_object(u, m, i);
	oneway_with(u->client, 0, m);
	ASSERT_EQ(0, transact(u->client));
	ASSERT_BR(u->client, BR_INCREFS, BR_ACQUIRE, BR_INCREFS, BR_ACQUIRE,
		  BR_TRANSACTION_COMPLETE);
	acknowledge(u->client, 0xa000, 1);
	acknowledge(u->client, 0xb000, 2);
	tr = take_call(u->server);
	ASSERT_HANDLE(u->server, tr, 0, 3);
	ASSERT_WEAK_HANDLE(u->server, tr, 1, 4);
	ASSERT_HANDLE(u->server, tr, 2, u->known);
	ASSERT_OBJECT(u->server, tr, 3, BINDER_TYPE_BINDER, 0x5000, 0x5001);
	ASSERT_OBJECT(u->server, tr, 4, BINDER_TYPE_WEAK_BINDER, 0x5000, 0x5001);
	ASSERT_HANDLE(u->server, tr, 5, u->servers_thirds);
	ASSERT_HANDLE(u->server, tr, 6, 5);
	ASSERT_WEAK_HANDLE(u->server, tr, 7, 6);
	ASSERT_WEAK_HANDLE(u->server, tr, 8, u->known);
	ASSERT_HANDLE(u->server, tr, 9, 4);
	free_message(u->server, tr);
	ASSERT_READS(u->client, BR_RELEASE, BR_DECREFS, BR_RELEASE, BR_DECREFS);

	bc_u32(u->client, BC_RELEASE, u->lent);
	bc_u32(u->client, BC_RELEASE, u->thirds);
	bc_u32(u->client, BC_RELEASE, u->fresh);
	bc_u32(u->client, BC_DECREFS, u->weak);
	bc_u32(u->server, BC_RELEASE, u->known);
	bc_u32(u->server, BC_RELEASE, u->servers_thirds);
	ASSERT_EQ(0, submit(u->client));
	ASSERT_EQ(0, submit(u->server));
	check_last_counts(u->server, true, 0x5000, 0x5001);
	check_last_counts(u->client, true, 0xc000, 3);
	ASSERT_EQ(0, receive(u->third));
	ASSERT_BR(u->third, BR_RELEASE, BR_DECREFS, BR_DECREFS, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(u->third));
}

/* Sends it to handle 0, or as the reply. */
static void undo_send(struct peer *p, __u32 command, __u32 flags, const struct parcel *m,
		      enum failure failure)
{
	struct unaligned_transaction *t = bc_parcel(p, command, 0, flags, m);

	if (failure == FAIL_TAIL) {
		/* The data goes on where there is nothing to be read. */
		t->tr.data.ptr.buffer = before_hole(p, m->data, m->len);
		t->tr.data_size = m->len + 8;
	}
}

/* Whatever fails, at whichever object: what was done for those before it is undone. */
TEST_F(ipc, undo_call)
{
	int failure, k, i;
	struct undo u;

	undo_setup(&u);
	for (failure = 0; failure < FAILURES; failure++)
		for (k = 0; k <= UNDO_OBJECTS; k++) {
			struct parcel *m = new_parcel();

			step("failure %d behind %d objects", failure, k);
			for (i = 0; i < k; i++)
				undo_object(&u, m, i);
			undo_failure(&u, m, failure);
			undo_send(u.client, BC_TRANSACTION, (k + failure) % 2 ? TF_ONE_WAY : 0, m,
				  failure);
			ASSERT_REFUSED(u.client, BR_FAILED_REPLY, failure_errors[failure]);
			undo_check(&u, 1);
			ASSERT_QUIET(u.client);
			ASSERT_QUIET(u.server);
		}
	undo_finish(&u);
}

/* The same in replies; there the caller gets the error, and the replier hears of nothing. */
TEST_F(ipc, undo_reply)
{
	int failure, k;
	struct undo u;

	undo_setup(&u);
	for (failure = 0; failure < FAILURES; failure++)
		for (k = 0; k <= 6; k++) {
			struct parcel *m = new_parcel();

			step("failure %d behind %d objects", failure, k);
			if (k > 0)
				add_binder(m, 0x5100, 1);
			if (k > 1)
				add_weak_binder(m, 0x5200, 2);
			if (k > 2)
				add_handle(m, u.known);
			if (k > 3)
				add_weak_handle(m, u.known);
			if (k > 4)
				add_handle(m, u.servers_thirds);
			if (k > 5)
				add_binder(m, 0x5000, 0x5001);
			switch (failure) {
			case FAIL_COOKIE:
				add_binder(m, 0x5000, 0x5002);
				break;
			case FAIL_WEAK_AS_STRONG:
				add_binder(m, 0x5200, 3);
				/* Where it is new there is no mismatch. */
				if (k < 2)
					add_handle(m, 4711);
				break;
			default:
				undo_failure(&u, m, failure);
			}
			bc_parcel(u.client, BC_TRANSACTION, 0, 0, NULL);
			start_transact(u.client);
			free_message(u.server, take_call(u.server));
			undo_send(u.server, BC_REPLY, 0, m, failure);
			ASSERT_EQ(0, transact(u.server));
			ASSERT_BR(u.server, BR_TRANSACTION_COMPLETE);
			ASSERT_EQ(0, finish(u.client));
			ASSERT_BR(u.client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
			ASSERT_EXTENDED_ERROR(u.client, BR_FAILED_REPLY, failure_errors[failure]);
			undo_check(&u, 1);
			ASSERT_QUIET(u.client);
			ASSERT_QUIET(u.server);
		}
	undo_finish(&u);
}

/* There was no room for the message: no object of it was looked at. */
TEST_F(ipc, no_room)
{
	struct peer *server = manager_with("server", PAGE), *client = member("client");
	struct parcel *m = new_parcel();

	add_binder(m, 0x1000, 1);
	while (m->len < 4096)
		add_bytes(m, "12345678", 8);
	oneway_with(client, 0, m);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	call_with(client, 0, m);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	ASSERT_EQ(0, node_count(client));
	ASSERT_EQ(1, offer(client, server, 0x1000, 2));
}

/* ---- death ----------------------------------------------------------------- */

FIXTURE(receiver_dies) {
};

FIXTURE_VARIANT(receiver_dies) {
	bool two, delivered, freed, oneway;
};

FIXTURE_VARIANT_ADD(receiver_dies, undelivered_call) { };
FIXTURE_VARIANT_ADD(receiver_dies, delivered_call) { .delivered = true };
FIXTURE_VARIANT_ADD(receiver_dies, freed_call) { .delivered = true, .freed = true };
FIXTURE_VARIANT_ADD(receiver_dies, undelivered_oneway) { .oneway = true };
FIXTURE_VARIANT_ADD(receiver_dies, delivered_oneway) { .oneway = true, .delivered = true };
FIXTURE_VARIANT_ADD(receiver_dies, waiting_oneway) { .oneway = true, .two = true };
FIXTURE_VARIANT_ADD(receiver_dies, waiting_oneway_behind_delivered) {
	.oneway = true, .two = true, .delivered = true,
};

FIXTURE_SETUP(receiver_dies)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(receiver_dies)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* The receiver dies: what its messages held is let go, in whichever state they were. */
TEST_F(receiver_dies, objects_are_released)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct parcel *m = new_parcel();
	__u32 thirds;

	thirds = hand_over(server, client, offer(third, server, 0x1000, 0x1001));
	count(server, BC_RELEASE, 1);
	add_binder(m, 0xc000, 1);
	add_handle(m, thirds);
	add_weak_handle(m, thirds);
	add_weak_binder(m, 0xb000, 1);
	if (variant->two)
		send_oneway(client, 0, NULL);
	bc_parcel(client, BC_TRANSACTION, 0, variant->oneway ? TF_ONE_WAY : 0, m);
	if (variant->oneway) {
		ASSERT_EQ(0, transact(client));
		ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_INCREFS, BR_TRANSACTION_COMPLETE);
		bc_node(client, BC_INCREFS_DONE, 0xc000, 1);
		bc_node(client, BC_ACQUIRE_DONE, 0xc000, 1);
		bc_node(client, BC_INCREFS_DONE, 0xb000, 1);
		ASSERT_EQ(0, submit(client));
	} else {
		ASSERT_EQ(0, submit(client));
	}
	if (variant->delivered)
		take_call(server);
	if (variant->freed) {
		/* But it has acquired what it got. */
		bc_u32(server, BC_ACQUIRE, 1);
		bc_u32(server, BC_INCREFS, 3);
		free_message(server, message(server));
	}
	ASSERT_EQ(2, node_count(client));
	kill_process(server);

	if (variant->oneway) {
		ASSERT_READS(client, BR_RELEASE, BR_DECREFS, BR_DECREFS);
	} else {
		/* It had not read of the counts, and need not. */
		ASSERT_TRUE(eventually(!node_count(client)));
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	}
	ASSERT_EQ(0, node_count(client));
	/* The third's node is the client's alone again; then nobody's. */
	ASSERT_EQ(TOLD_BOTH, node_told(third, 0x1000));
	await_no_manager(client);
	reaches(client, thirds, third, 0x1000, 0x1001);
	count(client, BC_RELEASE, thirds);
	ASSERT_READS(third, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(third));
	server = manager("server");
	round_trip(client, server);
}

/*
 * The caller waits when that happens, and so may hear of counts while they are
 * being taken back: of each that it hears of, it hears the end.
 */
TEST_F(ipc, receiver_dies_while_caller_waits)
{
	struct peer *server, *client = member("client");
	struct parcel *m = new_parcel();
	int round, i, strong, weak, answers;

	add_binder(m, 0x1000, 1);
	add_weak_binder(m, 0x2000, 2);
	add_binder(m, 0x3000, 3);
	for (round = 0; round < 5; round++) {
		step("round %d", round);
		server = manager("server");
		call_with(client, 0, m);
		start_transact(client);
		if (round % 2)
			take_call(server);
		kill_process(server);
		strong = weak = answers = 0;
		ASSERT_EQ(0, finish(client));
		do {
			for (i = 0; i < client->brs; i++) {
				__u32 cmd = client->br[i].cmd;

				strong += (cmd == BR_ACQUIRE) - (cmd == BR_RELEASE);
				weak += (cmd == BR_INCREFS) - (cmd == BR_DECREFS);
				answers += cmd == BR_DEAD_REPLY;
				ASSERT_LE(0, strong);
				ASSERT_LE(strong, weak);
				if (cmd == BR_INCREFS || cmd == BR_ACQUIRE)
					bc_node(client, cmd == BR_INCREFS ? BC_INCREFS_DONE :
						BC_ACQUIRE_DONE, client->br[i].node.ptr,
						client->br[i].node.cookie);
			}
			ASSERT_EQ(0, submit(client));
			if (!weak)
				ASSERT_TRUE(eventually(!node_count(client)));
		} while (weak && !receive(client));
		ASSERT_EQ(1, answers);
		ASSERT_EQ(0, strong);
		ASSERT_QUIET(client);
	}
}

/* Not yet told of: then there is nothing to tell. */
TEST_F(ipc, receiver_dies_before_counts_are_read)
{
	struct peer *server = manager("server"), *client = member("client");

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1));
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(0, node_told(client, 0x1000));
	kill_process(server);
	ASSERT_TRUE(eventually(node_count(client) == 0));
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	ASSERT_QUIET(client);
}

/* The sender dies: its message arrives all the same, with handles to what is no more. */
TEST_F(ipc, sender_dies)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u32 lent, thirds;

	ASSERT_EQ(1, offer(third, server, 0x1000, 0x1001));
	lent = lend(server, client, 0x5000, 0x5001);
	thirds = hand_over(server, client, 1);
	count(server, BC_RELEASE, 1);
	add_binder(m, 0xc000, 1);
	add_handle(m, thirds);
	add_handle(m, lent);
	add_weak_binder(m, 0xb000, 1);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	kill_process(client);

	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 1);
	ASSERT_HANDLE(server, tr, 1, 2);
	ASSERT_OBJECT(server, tr, 2, BINDER_TYPE_BINDER, 0x5000, 0x5001);
	ASSERT_WEAK_HANDLE(server, tr, 3, 3);
	await_dead(server, 1);
	reaches(server, 2, third, 0x1000, 0x1001);
	ASSERT_QUIET(server);

	/* They are counted like others. */
	ASSERT_COUNTS(server, 1, 1, 0);
	bc_u32(server, BC_ACQUIRE, 1);
	bc_u32(server, BC_INCREFS, 1);
	bc_u32(server, BC_RELEASE, 1);
	bc_u32(server, BC_DECREFS, 1);
	free_message(server, tr);
	ASSERT_NO_HANDLE(server, 1);
	ASSERT_NO_HANDLE(server, 2);
	ASSERT_READS(server, BR_RELEASE, BR_DECREFS);
	ASSERT_READS(third, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(1, offer(third, server, 0x2000, 2));
	ASSERT_EQ(2, offer(third, server, 0x3000, 2));
	ASSERT_EQ(3, offer(third, server, 0x4000, 2));
}

/* The owner dies: calls are answered that it is dead, and its handles stay what they are. */
TEST_F(ipc, owner_dies)
{
	struct peer *server = manager("server"), *owner = member("owner");
	struct peer *client = member("client"), *third = member("third");
	struct binder_transaction_data *tr;
	__u32 handle, strong, thirds;

	handle = offer(owner, server, 0x1000, 0x1001);
	strong = hand_over(server, client, handle);
	kill_process(owner);
	await_dead(server, handle);
	call_with(server, handle, NULL);
	ASSERT_REFUSED(server, BR_DEAD_REPLY, -EINVAL);
	oneway_with(server, handle, NULL);
	ASSERT_REFUSED(server, BR_DEAD_REPLY, -EINVAL);
	call_with(client, strong, one_object(BINDER_TYPE_BINDER, 0xc000, 1));
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -EINVAL);
	ASSERT_EQ(0, node_count(client));
	ASSERT_COUNTS(server, handle, 2, 0);

	/* It can still be sent on: a third process learns the same of it. */
	thirds = hand_over(server, third, handle);
	ASSERT_COUNTS(server, handle, 3, 0);
	call_with(third, thirds, NULL);
	ASSERT_REFUSED(third, BR_DEAD_REPLY, -EINVAL);
	tr = ask_for(third, server, one_object(BINDER_TYPE_WEAK_HANDLE, handle, 0));
	ASSERT_WEAK_HANDLE(third, tr, 0, thirds);
	count(third, BC_RELEASE, thirds);
	ASSERT_COUNTS(server, handle, 2, 0);
	free_message(third, tr);

	bc_u32(server, BC_INCREFS, handle);
	bc_u32(server, BC_RELEASE, handle);
	ASSERT_EQ(0, submit(server));
	ASSERT_NO_HANDLE(server, handle);
	call_with(server, handle, NULL);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EINVAL);
	/* Now there is only one weak and one strong handle to it. */
	count(server, BC_ACQUIRE, handle);
	ASSERT_NO_HANDLE(server, handle);
	count(server, BC_DECREFS, handle);
	count(client, BC_RELEASE, strong);
	call_with(client, strong, NULL);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	round_trip(client, server);
}

/* Messages that the owner had not read or answered: senders are told, and objects released. */
TEST_F(ipc, owner_dies_with_calls)
{
	struct peer *server = manager("server"), *owner = member("owner");
	struct peer *reader = member("reader"), *waiter = member("waiter");
	__u32 handle, readers, waiters;

	handle = offer(owner, server, 0x1000, 0x1001);
	readers = hand_over(server, reader, handle);
	waiters = hand_over(server, waiter, handle);
	call_with(reader, readers, NULL);
	start_transact(reader);
	take_call(owner);
	call_with(waiter, waiters, NULL);
	start_transact(waiter);
	oneway_with(server, handle, one_object(BINDER_TYPE_BINDER, 0x5000, 1));
	oneway_with(server, handle, one_object(BINDER_TYPE_BINDER, 0x6000, 1));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE, BR_INCREFS, BR_ACQUIRE,
		  BR_TRANSACTION_COMPLETE);
	acknowledge(server, 0x5000, 1);
	acknowledge(server, 0x6000, 1);
	ASSERT_COUNTS(server, handle, 7, 0);
	kill_process(owner);
	ASSERT_EQ(0, finish(reader));
	ASSERT_BR(reader, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	ASSERT_EQ(0, finish(waiter));
	ASSERT_BR(waiter, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	ASSERT_READS(server, BR_RELEASE, BR_DECREFS, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(server));
	call_with(reader, readers, NULL);
	ASSERT_REFUSED(reader, BR_DEAD_REPLY, -EINVAL);
	round_trip(reader, server);
}

/* The caller is gone when its reply, with objects, is to be sent: nobody is told of them. */
TEST_F(ipc, reply_to_the_dead)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	__u32 handle = offer(client, server, 0x1000, 0x1001);

	call_with(client, 0, NULL);
	start_transact(client);
	free_message(server, take_call(server));
	kill_process(client);
	/* Not to be seen from its call, which waits for the reply. */
	await_dead_oneway(server, handle);
	reply_with(server, one_object(BINDER_TYPE_BINDER, 0x5000, 1));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, node_count(server));
	ASSERT_QUIET(server);
	round_trip(third, server);
}

/* The caller dies before it has read the reply. */
TEST_F(ipc, unread_reply)
{
	struct peer *server = manager("server"), *client = member("client");

	call_with(client, 0, NULL);
	ASSERT_EQ(0, submit(client));
	free_message(server, take_call(server));
	reply_with(server, one_object(BINDER_TYPE_BINDER, 0x5000, 1));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	acknowledge(server, 0x5000, 1);
	ASSERT_QUIET(server);
	kill_process(client);
	ASSERT_READS(server, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(server));
}

/* The handles of a process end with it, however many, and whoever they name. */
TEST_F(ipc, holder_dies)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	int i;

	for (i = 1; i <= 3; i++)
		offer(client, server, 0x1000 * i, i);
	hand_over(server, third, 2);
	count(server, BC_INCREFS, 3);
	kill_process(server);
	ASSERT_READS(client, BR_RELEASE, BR_DECREFS, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(1, node_count(client));
	reaches(third, 1, client, 0x2000, 2);
	kill_process(third);
	ASSERT_READS(client, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(client));
}

/* The file closed, and the process alive: that is the same. */
TEST_F(ipc, holder_closes)
{
	struct peer *server = manager("server"), *client = member("client");
	__u32 handle = lend(server, client, 0x5000, 0x5001);

	offer(client, server, 0xc000, 1);
	ASSERT_EQ(0, peer_syscall(client, SYS_munmap, client->area, client->area_len));
	ASSERT_EQ(0, peer_syscall(client, SYS_close, client->fd));
	ASSERT_READS(server, BR_RELEASE, BR_DECREFS);
	await_dead(server, 1);
	/* What it opens next knows nothing of that. */
	ASSERT_LE(0, open_device(client, 0));
	ASSERT_EQ(0, map_area(client, AREA_LEN));
	settle(client);
	ASSERT_EQ(0, node_count(client));
	call_with(client, handle, NULL);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	round_trip(client, server);
}

/* ---- threads that leave --------------------------------------------------- */

/*
 * What a thread was to be told of nodes is told to another one, if it leaves.
 * (The C driver forgets it, and the owner never learns of the references.)
 */
TEST_F(ipc, thread_leaves_with_counts)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");

	require_rust_ipc();
	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1));
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(0, peer_ioctl(client, BINDER_THREAD_EXIT, NULL));
	ASSERT_EQ(0, receive(sibling));
	ASSERT_BR(sibling, BR_INCREFS, BR_ACQUIRE);
	acknowledge(sibling, 0x1000, 1);
	free_message(server, take_call(server));
	check_last_counts(sibling, true, 0x1000, 1);
}

/* The same where the references end before anybody read of them. */
TEST_F(ipc, thread_leaves_with_counts_that_end)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");

	oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1));
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(0, peer_ioctl(client, BINDER_THREAD_EXIT, NULL));
	free_message(server, take_call(server));
	ASSERT_EQ(0, node_count(client));
	ASSERT_QUIET(sibling);
	ASSERT_EQ(1, offer(sibling, server, 0x1000, 2));
}

/*
 * A reply that the thread has not read goes with it, and with the reply what
 * it holds. (The C driver keeps that until the process ends.)
 */
TEST_F(ipc, thread_leaves_with_reply)
{
	struct peer *server = manager("server"), *client = member("client");

	require_rust_ipc();
	call_with(client, 0, NULL);
	ASSERT_EQ(0, submit(client));
	free_message(server, take_call(server));
	reply_with(server, one_object(BINDER_TYPE_BINDER, 0x5000, 1));
	ASSERT_EQ(0, transact(server));
	acknowledge(server, 0x5000, 1);
	ASSERT_QUIET(server);
	ASSERT_EQ(0, peer_ioctl(client, BINDER_THREAD_EXIT, NULL));
	check_last_counts(server, true, 0x5000, 1);
	settle(client);
	round_trip(client, server);
}

/* The same with a call that a thread was to handle, and had not read: its sender is told. */
TEST_F(ipc, thread_leaves_with_call)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_thread(server, "sibling");

	call_with(client, 0, one_object(BINDER_TYPE_BINDER, 0xc000, 1));
	ASSERT_EQ(0, submit(client));
	take_call(server);
	/* For the very thread that waits for the server. */
	call_with(server, 1, one_object(BINDER_TYPE_BINDER, 0x5000, 1));
	start_transact(server);
	ASSERT_EQ(0, node_told(sibling, 0x5000));
	ASSERT_EQ(0, peer_ioctl(client, BINDER_THREAD_EXIT, NULL));
	ASSERT_EQ(0, finish(server));
	if (!oracle()) {
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
		ASSERT_EQ(0, node_count(sibling));
	} else {
		/* The C driver keeps the buffer, and what it holds, until the process ends. */
		ASSERT_BR(server, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	}
	/* Nobody waits for the answer to the first call any more. */
	reply(server, NULL, 0);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	settle(client);
	round_trip(client, server);
}

/* ---- while the sender's memory changes -------------------------------------- */

#define FLICKER_ROUNDS 400

struct flicker {
	struct flat_binder_object *object;
	__u32 handle;
	bool stop;
};

static void linger(void)
{
	volatile int i;

	for (i = 0; i < 200; i++)
		;
}

/* Makes the object one thing and another, as fast as it can, by way of things that it cannot be. */
static long do_flicker(struct peer *p, void *arg)
{
	struct flicker *f = arg;
	volatile struct flat_binder_object *object = f->object;
	long n;

	for (n = 0; !__atomic_load_n(&f->stop, __ATOMIC_RELAXED); n++) {
		object->hdr.type = BINDER_TYPE_HANDLE;
		object->binder = f->handle;
		object->cookie = 0;
		linger();
		object->hdr.type = BINDER_TYPE_WEAK_HANDLE;
		linger();
		object->hdr.type = BINDER_TYPE_BINDER;
		object->binder = 0xc000;
		object->cookie = 1;
		linger();
		object->hdr.type = BINDER_TYPE_WEAK_BINDER;
		object->binder = 0xb000;
		linger();
		if (n % 16 == 0) {
			object->hdr.type = 0;
			linger();
			object->hdr.type = BINDER_TYPE_FD;
		}
	}
	return n;
}

/* Acknowledges all counts that were in the last read; the last of its returns. */
static __u32 acknowledge_all(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	__u32 last = p->br[p->brs - 1].cmd;
	int i;

	for (i = 0; i < p->brs; i++)
		if (p->br[i].cmd == BR_INCREFS || p->br[i].cmd == BR_ACQUIRE)
			bc_node(p, p->br[i].cmd == BR_INCREFS ? BC_INCREFS_DONE : BC_ACQUIRE_DONE,
				p->br[i].node.ptr, p->br[i].node.cookie);
	ASSERT_EQ(0, submit(p));
	return last;
}

/*
 * Whatever a thread does to the payload while another one sends it: it arrives
 * as one of the things that it can arrive as, or not at all, and no count goes
 * astray.
 */
TEST_F(ipc, payload_changes_while_sent)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *sibling = new_bare_thread(client, "sibling");
	struct flicker *f = arena_alloc(sizeof(*f));
	const struct flat_binder_object *o;
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u32 lent = lend(server, client, 0x5000, 0x5001);
	int i, handles = 0, nodes = 0;

	ASSERT_EQ(1, offer(client, server, 0xc000, 1));
	ASSERT_EQ(2, offer(client, server, 0xb000, 1));
	f->object = add_object(m, BINDER_TYPE_BINDER, OBJECT_FLAGS, 0xc000, 1);
	f->handle = lent;
	f->stop = false;
	add_binder(m, 0xc000, 1);
	peer_start(sibling, do_flicker, f);
	for (i = 0; i < FLICKER_ROUNDS; i++) {
		__u32 last;

		step("round %d", i);
		oneway_with(client, 0, m);
		ASSERT_EQ(0, transact(client));
		last = acknowledge_all(client);
		if (last == BR_FAILED_REPLY)
			continue;
		tr = take_call(server);
		o = object_of(server, tr, 0);
		switch (o->hdr.type) {
		case BINDER_TYPE_HANDLE:
		case BINDER_TYPE_WEAK_HANDLE:
			/* A node half this and half that is a node, too: the third. */
			ASSERT_LE(1, o->binder);
			ASSERT_LE(o->binder, 3);
			ASSERT_EQ(0, o->cookie);
			handles++;
			break;
		case BINDER_TYPE_BINDER:
		case BINDER_TYPE_WEAK_BINDER:
			ASSERT_EQ(0x5000, o->binder);
			ASSERT_EQ(0x5001, o->cookie);
			nodes++;
			break;
		default:
			ASSERT_TRUE(false) {
				TH_LOG("type 0x%x", o->hdr.type);
			}
		}
		ASSERT_HANDLE(server, tr, 1, 1);
		free_message(server, tr);
	}
	__atomic_store_n(&f->stop, true, __ATOMIC_RELAXED);
	ASSERT_LT(0, peer_finish(sibling));
	while (!receive_now(client))
		acknowledge_all(client);
	ASSERT_EQ(2, node_count(client));
	ASSERT_COUNTS(server, 1, 1, 0);
	ASSERT_COUNTS(server, 2, 1, 0);
	ASSERT_NO_HANDLE(server, 3);
	ASSERT_QUIET(server);
	count(client, BC_RELEASE, lent);
	check_last_counts(server, true, 0x5000, 0x5001);
	ASSERT_LT(0, handles + nodes);
}

/* ---- many at a time --------------------------------------------------------- */

#define STORM_ROUNDS 150
#define STORM_NODES 2

struct storm {
	const struct parcel *m;
	/* How often the owner was told, less how often it was told of the end. */
	int weak[STORM_NODES], strong[STORM_NODES];
	int sent, refused, received;
};

/* What the last read returned to one of the owner's threads; commands to answer with follow. */
static long storm_returns(struct peer *p, struct storm *s, const struct binder_write_read *bwr)
{
	size_t at = 0;
	long done = 0;

	p->write_len = 0;
	while (at < bwr->read_consumed) {
		struct binder_ptr_cookie node;
		__u32 cmd;

		memcpy(&cmd, p->read + at, 4);
		memcpy(&node, p->read + at + 4, sizeof(node));
		at += 4 + _IOC_SIZE(cmd);
		switch (cmd) {
		case BR_INCREFS:
		case BR_DECREFS:
			__atomic_add_fetch(&s->weak[node.ptr / 0x1000 - 1],
					   cmd == BR_INCREFS ? 1 : -1, __ATOMIC_RELAXED);
			if (cmd == BR_INCREFS)
				bc_node(p, BC_INCREFS_DONE, node.ptr, node.cookie);
			break;
		case BR_ACQUIRE:
		case BR_RELEASE:
			__atomic_add_fetch(&s->strong[node.ptr / 0x1000 - 1],
					   cmd == BR_ACQUIRE ? 1 : -1, __ATOMIC_RELAXED);
			if (cmd == BR_ACQUIRE)
				bc_node(p, BC_ACQUIRE_DONE, node.ptr, node.cookie);
			break;
		case BR_TRANSACTION_COMPLETE:
			__atomic_add_fetch(&s->sent, 1, __ATOMIC_RELAXED);
			done = 1;
			break;
		case BR_FAILED_REPLY:
		case BR_DEAD_REPLY:
			__atomic_add_fetch(&s->refused, 1, __ATOMIC_RELAXED);
			done = 1;
			break;
		}
	}
	return done;
}

/* Sends the same objects over and over, while other threads do that, too. */
static long do_storm_sender(struct peer *p, void *arg)
{
	struct storm *s = arg;
	long round, done;

	p->write_len = 0;
	for (round = 0; round < STORM_ROUNDS; round++) {
		oneway_with(p, 0, s->m);
		do {
			struct binder_write_read bwr = {
				.write_size = p->write_len,
				.write_buffer = (uintptr_t)p->write,
				.read_size = sizeof(p->read),
				.read_buffer = (uintptr_t)p->read,
			};

			if (ioctl(p->fd, BINDER_WRITE_READ, &bwr))
				return -errno;
			done = storm_returns(p, s, &bwr);
		} while (!done);
	}
	return 0;
}

/* Receives and frees, until a message says that it was the last one. */
static long do_storm_receiver(struct peer *p, void *arg)
{
	struct storm *s = arg;
	struct binder_transaction_data tr = { 0 };
	__u64 buffer = 0;
	__u32 cmd;

	while (tr.code != 999 || buffer) {
		struct binder_write_read bwr = {
			.write_buffer = (uintptr_t)p->write,
			.read_size = tr.code == 999 ? 0 : sizeof(p->read),
			.read_buffer = (uintptr_t)p->read,
		};

		if (buffer) {
			cmd = BC_FREE_BUFFER;
			memcpy(p->write, &cmd, 4);
			memcpy(p->write + 4, &buffer, 8);
			bwr.write_size = 12;
		}
		if (ioctl(p->fd, BINDER_WRITE_READ, &bwr))
			return -errno;
		buffer = 0;
		memcpy(&cmd, p->read + 4, 4);
		if (bwr.read_consumed <= 4)
			continue;
		if (cmd != BR_TRANSACTION)
			return -1000;
		memcpy(&tr, p->read + 8, sizeof(tr));
		buffer = tr.data.ptr.buffer;
		s->received++;
	}
	return 0;
}

static struct storm *start_storm(struct peer *server, struct peer **threads)
{
	struct storm *s = arena_alloc(sizeof(*s));
	struct parcel *m = new_parcel();
	int i;

	memset(s, 0, sizeof(*s));
	add_binder(m, 0x1000, 1);
	add_weak_binder(m, 0x2000, 2);
	add_weak_binder(m, 0x1000, 1);
	s->m = m;
	for (i = 1; i < 3; i++)
		threads[i] = new_thread(threads[0], "sibling");
	peer_start(server, do_storm_receiver, s);
	for (i = 0; i < 3; i++)
		peer_start(threads[i], do_storm_sender, s);
	return s;
}

/* The senders come to an end, and make their last acknowledgements. */
static void end_storm(struct storm *s, struct peer **threads)
{
	struct __test_metadata *_metadata = this_test;
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, peer_finish(threads[i]));
	ASSERT_EQ(3 * STORM_ROUNDS, s->sent + s->refused);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, submit(threads[i]));
}

/* Whatever is still to be told; then it has all come to nothing. */
static void settle_storm(struct storm *s, struct peer **threads)
{
	struct __test_metadata *_metadata = this_test;
	int i;

	ASSERT_TRUE(eventually(({
		for (i = 0; i < 3; i++)
			while (!receive_now(threads[i])) {
				storm_returns(threads[i], s, &threads[i]->bwr);
				ASSERT_EQ(0, submit(threads[i]));
			}
		!node_count(threads[0]);
	})));
	for (i = 0; i < STORM_NODES; i++) {
		EXPECT_EQ(0, s->weak[i]);
		EXPECT_EQ(0, s->strong[i]);
	}
}

/*
 * Three threads send the same nodes while the receiver lets go of them: what
 * the owner was told adds up, whoever was told of what.
 */
TEST_F(ipc, counts_from_many_threads)
{
	struct peer *server = manager("server"), *threads[3] = { member("client") };
	struct storm *s = start_storm(server, threads);

	end_storm(s, threads);
	oneway_with(threads[0], 0, NULL)->tr.code = 999;
	ASSERT_EQ(0, submit(threads[0]));
	ASSERT_EQ(0, peer_finish(server));
	ASSERT_EQ(s->sent + 1, s->received);
	settle_storm(s, threads);
	ASSERT_NO_HANDLE(server, 1);
	ASSERT_EQ(1, offer(threads[0], server, 0x1000, 2));
}

/* The same when the receiver dies in the middle of it. */
TEST_F(ipc, receiver_of_many_dies)
{
	struct peer *server = manager("server"), *threads[3] = { member("client") };
	struct storm *s = start_storm(server, threads);

	ASSERT_TRUE(eventually(__atomic_load_n(&s->received, __ATOMIC_RELAXED) > STORM_ROUNDS));
	kill_process(server);
	end_storm(s, threads);
	settle_storm(s, threads);
	server = manager("next");
	ASSERT_EQ(1, offer(threads[0], server, 0x1000, 2));
}

/* A message of nothing but objects, as large as an area can be. */
TEST_F_TIMEOUT(ipc, as_many_objects_as_fit, 600)
{
	const size_t area = 4UL << 20, count = area / (24 + 8);
	struct peer *server = manager_with("server", area), *client = member("client");
	struct flat_binder_object *objects = arena_alloc(count * sizeof(*objects));
	__u64 *offsets = arena_alloc(count * sizeof(*offsets));
	struct binder_transaction_data *tr;
	struct unaligned_transaction *t;
	size_t i;

	patience_s = 250;
	for (i = 0; i < count; i++) {
		objects[i] = (struct flat_binder_object) {
			.hdr.type = BINDER_TYPE_WEAK_BINDER, .flags = OBJECT_FLAGS,
			.binder = 0x1000, .cookie = 1,
		};
		offsets[i] = i * sizeof(*objects);
	}
	t = call_with(client, 0, NULL);
	t->tr.data_size = count * sizeof(*objects);
	t->tr.offsets_size = count * sizeof(*offsets);
	t->tr.data.ptr.buffer = (uintptr_t)objects;
	t->tr.data.ptr.offsets = (uintptr_t)offsets;
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	for (i = 0; i < count; i += count / 7)
		ASSERT_WEAK_HANDLE(server, tr, i, 1);
	ASSERT_WEAK_HANDLE(server, tr, count - 1, 1);
	/* All of these references are the buffer's, and none is missing. */
	for (i = 0; i < 100; i++)
		bc_u32(server, BC_DECREFS, 1);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(1, node_count(client));
	for (i = 0; i < 100; i++)
		bc_u32(server, BC_INCREFS, 1);
	ASSERT_EQ(0, submit(server));
	answer(server, tr, NULL, 0);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	ASSERT_EQ(0, node_count(client));
	ASSERT_QUIET(client);
}

/* ---- node information ------------------------------------------------------- */

/* All of a process's nodes, in the order of their addresses, with what it knows of each. */
TEST_F(ipc, node_debug_info)
{
	static const __u64 ptrs[] = { 0x3000, 1, ~0ULL, 0x1000, 1ULL << 63, 0x2000 };
	static const __u64 sorted[] = { 1, 0x1000, 0x2000, 0x3000, 1ULL << 63, ~0ULL };
	struct peer *server = manager("server"), *client = member("client");
	struct binder_node_debug_info *info = arena_alloc(sizeof(*info));
	struct parcel *m = new_parcel();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ptrs); i++)
		add_object(m, i % 2 ? BINDER_TYPE_WEAK_BINDER : BINDER_TYPE_BINDER, 0, ptrs[i],
			   ptrs[i] + 1);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	for (i = 0; i < ARRAY_SIZE(ptrs); i++) {
		ASSERT_EQ(0, node_told(client, ptrs[i]));
	}
	ASSERT_EQ(0, receive(client));
	for (i = 0; i < ARRAY_SIZE(ptrs); i++) {
		ASSERT_EQ(i % 2 ? TOLD_WEAK : TOLD_BOTH, node_told(client, ptrs[i]));
	}
	*info = (struct binder_node_debug_info) { 0 };
	for (i = 0; i < ARRAY_SIZE(sorted); i++) {
		ASSERT_EQ(0, peer_ioctl(client, BINDER_GET_NODE_DEBUG_INFO, info));
		EXPECT_EQ(sorted[i], info->ptr);
		EXPECT_EQ(sorted[i] + 1, info->cookie);
	}
	ASSERT_EQ(0, peer_ioctl(client, BINDER_GET_NODE_DEBUG_INFO, info));
	EXPECT_EQ(0, info->ptr);
	EXPECT_EQ(0, info->cookie);
	EXPECT_EQ(0, info->has_strong_ref);
	EXPECT_EQ(0, info->has_weak_ref);
	ASSERT_EQ(0, node_count(server));
}

/* The manager alone learns the counts of the nodes that it has strong handles to. */
TEST_F(ipc, node_info_for_ref)
{
	struct peer *server = manager("server"), *client = member("client");
	struct peer *third = member("third");
	struct counts counts;
	__u32 handle = offer(client, server, 0x1000, 1), thirds;

	ASSERT_COUNTS(server, handle, 1, 0);
	thirds = hand_over(server, third, handle);
	ASSERT_COUNTS(server, handle, 2, 0);
	ASSERT_EQ(-EPERM, node_counts(third, thirds, &counts));
	EXPECT_EQ(0, counts.strong);
	ASSERT_EQ(-EPERM, node_counts(client, 1, &counts));
	/* A process's counts of its handle do not show. */
	bc_u32(server, BC_ACQUIRE, handle);
	bc_u32(server, BC_INCREFS, handle);
	bc_u32(third, BC_ACQUIRE, thirds);
	bc_u32(third, BC_INCREFS, thirds);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, submit(third));
	ASSERT_COUNTS(server, handle, 2, 0);
	ASSERT_EQ(-EINVAL, node_counts(server, handle + 1, &counts));
	ASSERT_EQ(-EINVAL, node_counts(server, 0, &counts));
}

TEST_HARNESS_MAIN
