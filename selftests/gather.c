// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers that a payload points to, pointers and file descriptors in them: what
 * arrives, which trees there can be, and what is left of those that fail.
 */

#include "gather.h"
#include "memory.h"
#include "notices.h"
#include "slow.h"

/* ---- building and sending --------------------------------------------------- */

/* A payload with something before its first object: what is at offset 0 is nobody's parent. */
static struct parcel *new_tree(void)
{
	struct parcel *m = new_parcel();

	add_bytes(m, "the head", 8);
	return m;
}

static size_t object_len(const void *object)
{
	switch (((const struct binder_object_header *)object)->type) {
	case BINDER_TYPE_PTR:
		return sizeof(struct binder_buffer_object);
	case BINDER_TYPE_FDA:
		return sizeof(struct binder_fd_array_object);
	default:
		return sizeof(struct flat_binder_object);
	}
}

static void oneway_tree(struct peer *p, const struct parcel *m)
{
	bc_tree(p, BC_TRANSACTION_SG, TF_ONE_WAY, m, room_for(m));
}

static void call_tree(struct peer *p, const struct parcel *m)
{
	bc_tree(p, BC_TRANSACTION_SG, TF_ACCEPT_FDS, m, room_for(m));
}

static void reply_tree(struct peer *p, const struct parcel *m)
{
	bc_tree(p, BC_REPLY_SG, 0, m, room_for(m));
}

/* Sends it one-way, and nothing is wrong: what arrives. */
static struct binder_transaction_data *pass(struct peer *client, struct peer *server,
					    const struct parcel *m)
{
	struct __test_metadata *_metadata = this_test;

	oneway_tree(client, m);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	return take_call(server);
}

#define ASSERT_TREE_REFUSED(p, m, error) do { \
	oneway_tree(p, m); \
	ASSERT_REFUSED(p, BR_FAILED_REPLY, error); \
} while (0)

/* ---- looking at what arrives -------------------------------------------------- */

/* LEN bytes of the object of this index. */
static const void *whole_object(struct peer *p, const struct binder_transaction_data *tr,
				size_t index, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	const __u64 *offset;
	const void *object;

	ASSERT_LT(index, tr->offsets_size / sizeof(*offset));
	offset = peer_memory(p, tr->data.ptr.offsets + index * sizeof(*offset), sizeof(*offset));
	ASSERT_NE(NULL, offset);
	ASSERT_LE(*offset + len, tr->data_size);
	object = peer_memory(p, tr->data.ptr.buffer + *offset, len);
	ASSERT_NE(NULL, object);
	return object;
}

static const struct binder_buffer_object *buffer_object(struct peer *p,
							const struct binder_transaction_data *tr,
							size_t index)
{
	return whole_object(p, tr, index, sizeof(struct binder_buffer_object));
}

/* Where the buffer of this index is. */
static __u64 address_of(struct peer *p, const struct binder_transaction_data *tr, size_t index)
{
	return buffer_object(p, tr, index)->buffer;
}

/* Number NTH of the file descriptors of this index. */
static int number_in(struct peer *p, const struct binder_transaction_data *tr, size_t index,
		     size_t nth)
{
	struct __test_metadata *_metadata = this_test;
	const struct binder_fd_array_object *array = whole_object(p, tr, index, sizeof(*array));
	const int *number;

	ASSERT_EQ(BINDER_TYPE_FDA, array->hdr.type);
	ASSERT_LT(nth, array->num_fds);
	number = peer_memory(p, address_of(p, tr, array->parent) + array->parent_offset + 4 * nth,
			     4);
	ASSERT_NE(NULL, number);
	return *number;
}

/*
 * Looks at every byte of a message that FROM has sent: each buffer is in its
 * place and as it is in the sender, but for addresses, which are those of what
 * has arrived, and descriptors, which are new ones of the same files.
 */
static void check_tree(struct peer *from, struct peer *to,
		       const struct binder_transaction_data *tr, const struct parcel *m)
{
	struct __test_metadata *_metadata = this_test;
	__u64 end = tr->data.ptr.offsets + tr->offsets_size;
	__u8 *payload = arena_copy(m->data, m->len);
	size_t i, j, k;

	ASSERT_EQ(m->len, tr->data_size);
	ASSERT_EQ(m->count * 8, tr->offsets_size);
	ASSERT_EQ(0, memcmp(m->offsets, peer_memory(to, tr->data.ptr.offsets, m->count * 8),
			    m->count * 8));
	for (i = 0; i < m->count; i++) {
		const void *sent = m->data + m->offsets[i];
		size_t len = object_len(sent);

		memcpy(payload + m->offsets[i], whole_object(to, tr, i, len), len);
	}
	ASSERT_PAYLOAD(to, tr, payload, m->len);

	for (i = 0; i < m->count; i++) {
		const struct binder_buffer_object *sent = (const void *)(m->data + m->offsets[i]);
		struct binder_buffer_object expected;
		struct copy_args bytes;

		if (sent->hdr.type == BINDER_TYPE_FDA)
			ASSERT_EQ(0, memcmp(sent, payload + m->offsets[i], object_len(sent)));
		if (sent->hdr.type != BINDER_TYPE_PTR)
			continue;
		expected = *sent;
		expected.buffer = end;
		ASSERT_EQ(0, memcmp(&expected, payload + m->offsets[i], sizeof(expected))) {
			TH_LOG("object %zu is at 0x%llx, not 0x%llx", i,
			       ((struct binder_buffer_object *)(payload + m->offsets[i]))->buffer,
			       end);
		}
		bytes.from = (void *)(uintptr_t)end;
		bytes.to = arena_copy((void *)(uintptr_t)sent->buffer, sent->length);
		bytes.len = sent->length;
		end += (sent->length + 7) & ~7ULL;

		for (j = i + 1; j < m->count; j++) {
			const void *object = m->data + m->offsets[j];
			const struct binder_fd_array_object *array = object;
			const struct binder_buffer_object *child = object;
			__u8 *at = bytes.to;

			if (child->hdr.type == BINDER_TYPE_PTR && child->parent == i &&
			    (child->flags & BINDER_BUFFER_FLAG_HAS_PARENT)) {
				__u64 address = address_of(to, tr, j);

				memcpy(at + child->parent_offset, &address, sizeof(address));
			}
			if (array->hdr.type != BINDER_TYPE_FDA || array->parent != i)
				continue;
			for (k = 0; k < array->num_fds; k++) {
				int number = number_in(to, tr, j, k), own;

				at = (__u8 *)bytes.to + array->parent_offset + 4 * k;
				memcpy(&own, at, 4);
				ASSERT_TRUE(same_file(from, own, to, number)) {
					TH_LOG("object %zu, descriptor %zu: %d, was %d", j, k,
					       number, own);
				}
				ASSERT_EQ(FD_CLOEXEC, peer_syscall(to, SYS_fcntl, number, F_GETFD));
				memcpy(at, &number, 4);
			}
		}
		ASSERT_EQ(0, peer_run(to, do_compare, arena_copy(&bytes, sizeof(bytes)))) {
			TH_LOG("buffer %zu of %llu bytes differs", i, sent->length);
		}
	}
}

/* ---- buffers ------------------------------------------------------------------ */

FIXTURE(way) {
};

FIXTURE_VARIANT(way) {
	bool oneway, reply;
};

FIXTURE_VARIANT_ADD(way, call) { };
FIXTURE_VARIANT_ADD(way, oneway) { .oneway = true };
FIXTURE_VARIANT_ADD(way, reply) { .reply = true };

FIXTURE_SETUP(way)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(way)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* Sends it, checks it at the receiver, and has it freed; what the receiver had of it. */
static void travel(const FIXTURE_VARIANT(way) *way, struct peer *client, struct peer *server,
		   const struct parcel *m)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;

	if (way->oneway) {
		tr = pass(client, server, m);
		check_tree(client, server, tr, m);
		free_message(server, tr);
	} else if (way->reply) {
		call_with(client, 0, NULL);
		start_transact(client);
		free_message(server, take_call(server));
		reply_tree(server, m);
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
		tr = message(client);
		check_tree(server, client, tr, m);
		free_message(client, tr);
	} else {
		call_tree(client, m);
		start_transact(client);
		tr = take_call(server);
		check_tree(client, server, tr, m);
		answer(server, tr, NULL, 0);
		take_reply(client, NULL, 0);
	}
}

/* The sizes of a buffer, up to several pages; each at a multiple of 8. */
TEST_F(way, sizes)
{
	struct peer *server = files_manager("server"), *client = member("client");
	static const size_t sizes[] = { 0, 1, 4, 7, 8, 9, 63, 4095, 4096, 4097, 20000 };
	__u8 *scratch = arena.free;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct parcel *m = new_tree();
		const __u8 *bytes = new_bytes(sizes[i] + 3), *before;

		step("%zu bytes", sizes[i]);
		add_root(m, bytes, sizes[i]);
		/* From anywhere in memory. */
		add_root(m, bytes + 3, sizes[i]);
		before = arena_copy(bytes, sizes[i] + 3);
		travel(variant, client, server, m);
		/* The sender's own is left alone. */
		ASSERT_EQ(0, memcmp(before, bytes, sizes[i] + 3));
		arena.free = scratch;
	}
	check_unharmed(client, server);
}

/* The flags of an object are passed on, as are its other fields. */
TEST_F(way, fields)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct parcel *m = new_parcel();

	add_bytes(m, "four", 4);
	/* Without the flag nobody asks about the parent. */
	add_buffer_object(m, ~BINDER_BUFFER_FLAG_HAS_PARENT, new_bytes(24), 24, -1, -1);
	add_buffer_object(m, ~0, new_bytes(5), 5, 0, 16);
	add_array(m, 0, 0, 24)->pad = 0xdeadbeef;
	add_bytes(m, "xyz", 3);
	travel(variant, client, server, m);
}

/* What the kernel's header gives as an example. */
TEST_F(way, tree)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct parcel *m = new_tree();

	add_root(m, new_bytes(48), 48);
	add_child(m, new_bytes(8), 8, 0, 0);
	add_child(m, new_bytes(16), 16, 0, 16);
	add_child(m, new_bytes(100), 100, 2, 0);
	add_child(m, new_bytes(3), 3, 0, 32);
	/* And another one. */
	add_root(m, new_bytes(20), 20);
	add_child(m, new_bytes(30), 30, 5, 12);
	travel(variant, client, server, m);
	check_unharmed(client, server);
}

/* Each in the one before it. */
TEST_F(way, chain)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct parcel *m = new_tree();
	int i;

	add_root(m, new_bytes(40), 40);
	for (i = 0; i < 100; i++)
		add_child(m, new_bytes(40), 40, i, (i * 4) % 36);
	/* The very first one has room behind that. */
	add_child(m, new_bytes(1), 1, 0, 32);
	travel(variant, client, server, m);
}

/* A pointer at each end of a buffer, pointers without a gap, at multiples of 4. */
TEST_F(way, slots)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct parcel *m = new_tree();

	add_root(m, new_bytes(16), 16);
	add_child(m, new_bytes(8), 8, 0, 0);
	add_child(m, new_bytes(12), 12, 0, 8);
	add_child(m, new_bytes(8), 8, 2, 4);
	add_root(m, new_bytes(31), 31);
	add_child(m, new_bytes(5), 5, 4, 4);
	add_child(m, new_bytes(5), 5, 4, 12);
	add_child(m, NULL, 0, 4, 20);
	travel(variant, client, server, m);
}

/* Buffers, arrays and all other objects in one message. */
TEST_F(way, among_other_objects)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *from = variant->reply ? server : client;
	struct canary canary = new_canary(from);
	const int numbers[] = { canary.fd, 0, canary.fd };
	struct parcel *m = new_tree();

	add_fd(m, canary.fd);
	add_root(m, new_numbers(24, 3, numbers), 24);
	add_binder(m, 0x1000, 1);
	add_array(m, 3, 1, 0);
	add_fd(m, 0);
	add_child(m, new_numbers(12, 2, numbers), 12, 1, 16);
	add_array(m, 2, 5, 0);
	if (variant->oneway) {
		struct binder_transaction_data *tr;
		int before = open_files(server);

		oneway_tree(client, m);
		ASSERT_EQ(0, submit(client));
		tr = take_call(server);
		check_tree(client, server, tr, m);
		ASSERT_HANDLE(server, tr, 2, 1);
		ASSERT_EQ(before + 7, open_files(server));
		free_message(server, tr);
		/* Those that were objects are left. */
		ASSERT_EQ(before + 2, open_files(server));
	} else if (!variant->reply) {
		struct binder_transaction_data *tr;

		call_tree(client, m);
		start_transact(client);
		tr = take_call(server);
		check_tree(client, server, tr, m);
		answer(server, tr, NULL, 0);
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	} else {
		struct binder_transaction_data *tr;

		call_with(client, 0, NULL);
		start_transact(client);
		free_message(server, take_call(server));
		reply_tree(server, m);
		ASSERT_EQ(0, submit(server));
		ASSERT_EQ(0, finish(client));
		tr = message(client);
		check_tree(server, client, tr, m);
		free_message(client, tr);
	}
}

/* A receiver that passes on what it got, out of its area. */
TEST_F(ipc, forwarded_from_the_area)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *third = member("third");
	__u8 *bytes[3] = { new_bytes(32), new_bytes(16), new_bytes(50) };
	struct binder_transaction_data *tr, *passed;
	const struct binder_buffer_object *o;
	struct parcel *m = new_tree();
	const __u64 *word;
	int i;

	add_root(m, bytes[0], 32);
	add_child(m, bytes[1], 16, 0, 8);
	add_child(m, bytes[2], 50, 1, 0);
	tr = pass(client, server, m);
	check_tree(client, server, tr, m);

	/* To the third, who asks for it. */
	call_with(third, 0, NULL);
	start_transact(third);
	free_message(server, take_call(server));
	bc_tree(server, BC_REPLY_SG, 0, NULL, room_for(m))->tr = (struct binder_transaction_data) {
		.data_size = tr->data_size, .offsets_size = tr->offsets_size,
		.data.ptr.buffer = tr->data.ptr.buffer, .data.ptr.offsets = tr->data.ptr.offsets,
	};
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(third));
	passed = message(third);
	for (i = 0; i < 3; i++) {
		o = buffer_object(third, passed, i);
		ASSERT_LE((uintptr_t)third->area, o->buffer);
		ASSERT_LT(o->buffer + o->length, (uintptr_t)third->area + third->area_len);
	}
	word = peer_memory(third, address_of(third, passed, 0), 32);
	EXPECT_EQ(0, memcmp(bytes[0], word, 8));
	EXPECT_EQ(address_of(third, passed, 1), word[1]);
	EXPECT_EQ(0, memcmp(bytes[0] + 16, word + 2, 16));
	word = peer_memory(third, address_of(third, passed, 1), 16);
	EXPECT_EQ(address_of(third, passed, 2), word[0]);
	EXPECT_EQ(0, memcmp(bytes[2], peer_memory(third, word[0], 50), 50));
}

/* As many as there can be: in one another, and all in one. */
TEST_F(ipc, many_buffers)
{
	struct peer *server = manager_with("server", 1 << 20), *client = member("client");
	const int n = 5000;
	/* The objects are behind one word. */
	__u64 *payload = arena_alloc(8 + n * sizeof(struct binder_buffer_object));
	struct binder_buffer_object *objects = (void *)(payload + 1);
	__u64 *offsets = arena_alloc(n * sizeof(*offsets)), *words = arena_alloc(3 * n * 8);
	int shape, i;

	for (shape = 0; shape < 2; shape++) {
		struct binder_transaction_data *tr;
		const struct binder_buffer_object *got;
		struct unaligned_transaction *t;
		const __u64 *area;
		__u64 start;

		step("shape %d", shape);
		for (i = 0; i < n; i++) {
			/* A chain of pairs of words; or one table, and a word for each. */
			bool chain = !shape;

			offsets[i] = 8 + i * sizeof(*objects);
			objects[i] = (struct binder_buffer_object) {
				.hdr.type = BINDER_TYPE_PTR,
				.flags = i ? BINDER_BUFFER_FLAG_HAS_PARENT : 0,
				.buffer = (uintptr_t)(words + (chain ? 2 * i : i ? n + i : 0)),
				.length = chain ? 16 : i ? 8 : 8 * n,
				.parent = chain && i ? i - 1 : 0,
				.parent_offset = chain ? 8 : 8 * i,
			};
		}
		for (i = 0; i < 3 * n; i++)
			words[i] = ~(__u64)i;
		t = bc_message(client, BC_TRANSACTION_SG, 0, 0, payload, 8 + n * sizeof(*objects));
		t->tr.offsets_size = n * sizeof(*offsets);
		t->tr.data.ptr.offsets = (uintptr_t)offsets;
		start = n * 16;
		put(client, &start, sizeof(start));
		start_transact(client);
		tr = take_call(server);
		start = tr->data.ptr.offsets + n * sizeof(*offsets);
		area = peer_memory(server, start, n * 16);
		ASSERT_NE(NULL, area);
		got = peer_memory(server, tr->data.ptr.buffer + 8, n * sizeof(*got));
		for (i = 0; i < n; i++) {
			__u64 at = got[i].buffer - start;

			ASSERT_EQ(!shape ? 16 * i : i ? 8 * n + 8 * (i - 1) : 0, at);
			if (!shape || i) {
				ASSERT_EQ(words[!shape ? 2 * i : n + i], area[at / 8]);
			}
			if (i) {
				ASSERT_EQ(got[i].buffer, area[!shape ? 2 * i - 1 : i]);
			}
		}
		answer(server, tr, NULL, 0);
		take_reply(client, NULL, 0);
	}
	round_trip(client, server);
}

/* What the buffers need has to be announced; it may be more. */
TEST_F(ipc, buffers_size)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct parcel *m = new_tree();
	static const struct {
		__u64 room;
		int error;
	} rooms[] = {
		{ 0, -EINVAL }, { 8, -EINVAL }, { 40, -EINVAL }, { 44, -EINVAL }, { 47, -EINVAL },
		{ 49, -EINVAL }, { 52, -EINVAL }, { 56 }, { 48 }, { 4096 },
		{ -8ULL, -EINVAL }, { -1ULL, -EINVAL }, { 1ULL << 63, -ENOSPC },
	};
	struct binder_transaction_data *tr;
	size_t i;

	add_root(m, new_bytes(17), 17);
	add_root(m, new_bytes(24), 24);
	for (i = 0; i < ARRAY_SIZE(rooms); i++) {
		step("room of %llu", rooms[i].room);
		bc_tree(client, BC_TRANSACTION_SG, TF_ONE_WAY, m, rooms[i].room);
		if (rooms[i].error) {
			ASSERT_REFUSED(client, BR_FAILED_REPLY, rooms[i].error);
			continue;
		}
		ASSERT_EQ(0, transact(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
		tr = take_call(server);
		check_tree(client, server, tr, m);
		free_message(server, tr);
	}
	check_unharmed(client, server);
}

/* Without room for buffers there can be such as have no length. */
TEST_F(ipc, without_sg)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_tree();

	add_root(m, NULL, 0);
	add_array(m, 0, 0, 0);
	send_oneway(client, 0, m);
	tr = take_call(server);
	check_tree(client, server, tr, m);
	free_message(server, tr);
	add_root(m, new_bytes(1), 1);
	oneway_with(client, 0, m);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	m = new_tree();
	add_root(m, NULL, 0);
	/* There is nothing to put an address in. */
	add_child(m, NULL, 0, 0, 0);
	oneway_with(client, 0, m);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	ASSERT_QUIET(server);
}

/*
 * Where the sender put nothing there is nothing: not in front of the buffers,
 * between them, or behind, nor in the place of a descriptor that is still to
 * come. The area has not been used before.
 */
TEST_F(ipc, what_was_left_out)
{
	struct peer *server = files_manager("server"), *client = member("client");
	const int numbers[] = { 0x7fffffff, 0, 0, 0x7fffffff };
	const size_t lens[] = { 3 * PAGE + 5, 1, PAGE + 3, 16 };
	const size_t room = 12 * PAGE;
	struct binder_transaction_data *tr;
	struct parcel *m = new_tree();
	const __u8 *bytes;
	size_t head, at, i;

	for (i = 0; i < 3; i++)
		add_root(m, new_bytes(lens[i]), lens[i]);
	add_root(m, new_numbers(lens[3], 4, numbers), lens[3]);
	add_array(m, 2, 3, 4);
	add_bytes(m, "tail.", 5);
	bc_tree(client, BC_TRANSACTION_SG, TF_ONE_WAY, m, room);
	ASSERT_EQ(0, submit(client));

	/* The first message is at the beginning. It has not been read. */
	head = ((m->len + 7) & ~7UL) + m->offsets_len;
	bytes = peer_memory(server, (uintptr_t)server->area, head + room);
	ASSERT_NE(NULL, bytes);
	ASSERT_EQ(0, memcmp(bytes + m->len, "\0\0\0", 3));
	for (i = 0, at = head; i < 4; i++) {
		for (at += lens[i]; at % 8; at++)
			ASSERT_EQ(0, bytes[at]);
	}
	for (; at < head + room; at++)
		ASSERT_EQ(0, bytes[at]);
	at = head + (3 * PAGE + 8) + 8 + (PAGE + 8);
	EXPECT_EQ(0x7fffffff, *(int *)(bytes + at));
	EXPECT_EQ(0, *(__u64 *)(bytes + at + 4));
	EXPECT_EQ(0x7fffffff, *(int *)(bytes + at + 12));

	tr = take_call(server);
	ASSERT_EQ((uintptr_t)server->area, tr->data.ptr.buffer);
	check_tree(client, server, tr, m);
}

/* A message is seen while it waits: not as it was in the sender. */
TEST_F(ipc, nothing_of_the_sender_shows)
{
	struct peer *server = files_manager("server"), *client = member("client");
	const int numbers[] = { client->fd, client->fd };
	struct binder_buffer_object *o;
	struct binder_transaction_data *tr;
	struct parcel *m = new_tree();
	__u64 *words = (__u64 *)new_bytes(32), seen[4];
	size_t head;

	memcpy(words + 2, numbers, 8);
	o = add_root(m, words, 32);
	add_child(m, new_bytes(8), 8, 0, 8);
	add_array(m, 2, 0, 16);
	oneway_tree(client, m);
	ASSERT_EQ(0, submit(client));
	head = m->len + m->offsets_len;
	memcpy(seen, peer_memory(server, (uintptr_t)server->area + head, 32), 32);
	EXPECT_EQ(words[0], seen[0]);
	EXPECT_EQ((uintptr_t)server->area + head + 32, seen[1]);
	EXPECT_EQ(0, seen[2]);
	EXPECT_EQ(words[3], seen[3]);
	memcpy(seen, peer_memory(server, (uintptr_t)server->area + ((__u8 *)o - m->data) + 8, 8), 8);
	EXPECT_EQ((uintptr_t)server->area + head, seen[0]);
	tr = take_call(server);
	ASSERT_EQ((uintptr_t)server->area, tr->data.ptr.buffer);
	check_tree(client, server, tr, m);
}

/* The sender's security context, where there is one, is behind the buffers. */
TEST_F(ipc, security_context)
{
	struct flat_binder_object object = { .flags = FLAT_BINDER_FLAG_TXN_SECURITY_CTX };
	struct peer *server = member("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_tree();

	add_root(m, new_bytes(17), 17);
	add_child(m, new_bytes(20), 20, 0, 4);
	become_manager(server, &object);
	oneway_with(client, 0, NULL);
	ASSERT_EQ(0, transact(client));
	if (client->br[1].cmd == BR_FAILED_REPLY)
		return;
	ASSERT_EQ(0, receive(server));
	free_message(server, message(server));
	/* Its room is none for buffers. */
	bc_tree(client, BC_TRANSACTION_SG, TF_ONE_WAY, m, room_for(m) - 8);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	oneway_tree(client, m);
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION_SEC_CTX);
	tr = message(server);
	check_tree(client, server, tr, m);
	EXPECT_EQ(tr->data.ptr.offsets + tr->offsets_size + room_for(m),
		  server->br[1].sec.secctx);
	/* It is text. */
	EXPECT_NE(0, *(char *)peer_memory(server, server->br[1].sec.secctx, 1));
}

/* ---- trees that cannot be -------------------------------------------------------- */

#define LARGEST (~0ULL)

struct node {
	enum { END, ROOT, CHILD, ARRAY, NODE } kind;
	__u64 parent, offset, count;	/* of the array */
};

/* All buffers have 32 bytes. */
static const struct tree {
	const char *what;
	struct node nodes[6];
	int error;
} trees[] = {
	{ "its own parent", { { CHILD, 0 } }, -EINVAL },
	{ "nothing to be in", { { ARRAY, 0, 0, 1 } }, -EINVAL },
	{ "nothing to be in, and nothing of it", { { ARRAY, 0, 0, 0 } }, -EINVAL },
	{ "its own parent, later", { { ROOT }, { CHILD, 1 } }, -EINVAL },
	{ "a parent that comes later", { { ROOT }, { CHILD, 2 }, { ROOT } }, -EINVAL },
	{ "no such parent", { { ROOT }, { CHILD, LARGEST } }, -EINVAL },
	{ "no such parent, by 32 bits", { { ROOT }, { CHILD, 1ULL << 32 } }, -EINVAL },
	{ "no such parent, by 61 bits", { { ROOT }, { CHILD, 1ULL << 61 } }, -EINVAL },
	{ "no such parent of an array", { { ROOT }, { ARRAY, 1ULL << 61, 0, 1 } }, -EINVAL },
	{ "a parent that is a node", { { NODE }, { ROOT }, { CHILD, 0 } }, -EINVAL },
	{ "a parent that is an array", { { ROOT }, { ARRAY, 0, 0, 1 }, { CHILD, 1, 8 } }, -EINVAL },
	{ "an array in an array", { { ROOT }, { ARRAY, 0, 0, 1 }, { ARRAY, 1, 8, 1 } }, -EINVAL },
	{ "an earlier root", { { ROOT }, { ROOT }, { CHILD, 0 } }, -EINVAL },
	{ "an array in an earlier root", { { ROOT }, { ROOT }, { ARRAY, 0, 0, 1 } }, -EINVAL },
	{ "a brother", { { ROOT }, { CHILD, 0, 0 }, { CHILD, 0, 8 }, { CHILD, 1, 0 } }, -EINVAL },
	{ "a brother of an array", { { ROOT }, { CHILD, 0, 0 }, { ARRAY, 0, 8, 1 },
				     { CHILD, 1, 0 } }, -EINVAL },
	{ "an uncle", { { ROOT }, { CHILD, 0, 0 }, { CHILD, 0, 8 }, { CHILD, 2, 0 },
			{ CHILD, 1, 0 } }, -EINVAL },
	{ "the same place twice", { { ROOT }, { CHILD, 0, 8 }, { CHILD, 0, 8 } }, -EINVAL },
	{ "backwards", { { ROOT }, { CHILD, 0, 8 }, { CHILD, 0, 0 } }, -EINVAL },
	{ "half over it", { { ROOT }, { CHILD, 0, 0 }, { CHILD, 0, 4 } }, -EINVAL },
	{ "half over an array", { { ROOT }, { ARRAY, 0, 4, 2 }, { CHILD, 0, 8 } }, -EINVAL },
	{ "an array over it", { { ROOT }, { CHILD, 0, 0 }, { ARRAY, 0, 4, 1 } }, -EINVAL },
	{ "an array over an array", { { ROOT }, { ARRAY, 0, 0, 2 }, { ARRAY, 0, 4, 1 } }, -EINVAL },
	{ "backwards, after going down", { { ROOT }, { CHILD, 0, 8 }, { CHILD, 1, 0 },
					   { CHILD, 0, 8 } }, -EINVAL },
	{ "backwards, before nothing", { { ROOT }, { CHILD, 0, 8 }, { ARRAY, 0, 0, 0 } }, -EINVAL },
	{ "before nothing", { { ROOT }, { ARRAY, 0, 16, 0 }, { CHILD, 0, 8 } }, -EINVAL },
	{ "before nothing far away", { { ROOT }, { ARRAY, 0, LARGEST, 0 }, { CHILD, 0, 0 } },
	  -EINVAL },
	{ "beyond the end", { { ROOT }, { CHILD, 0, 32 } }, -EINVAL },
	{ "half beyond the end", { { ROOT }, { CHILD, 0, 28 } }, -EINVAL },
	{ "a byte beyond the end", { { ROOT }, { CHILD, 0, 25 } }, -EINVAL },
	{ "far beyond the end", { { ROOT }, { CHILD, 0, LARGEST } }, -EINVAL },
	{ "far beyond the end, and back", { { ROOT }, { CHILD, 0, -8ULL } }, -EINVAL },
	{ "an array beyond the end", { { ROOT }, { ARRAY, 0, 32, 1 } }, -EINVAL },
	{ "an array half beyond the end", { { ROOT }, { ARRAY, 0, 28, 2 } }, -EINVAL },
	{ "an array that is too long", { { ROOT }, { ARRAY, 0, 0, 9 } }, -EINVAL },
	{ "an array far beyond the end", { { ROOT }, { ARRAY, 0, -4ULL, 1 } }, -EINVAL },
	{ "an array around memory", { { ROOT }, { ARRAY, 0, -4ULL, 2 } }, -EINVAL },
	{ "as many as there are numbers", { { ROOT }, { ARRAY, 0, 0, LARGEST } }, -EINVAL },
	{ "as many as overflow to 0", { { ROOT }, { ARRAY, 0, 0, 1ULL << 62 } }, -EINVAL },
	{ "as many as overflow to 4", { { ROOT }, { ARRAY, 0, 0, (1ULL << 62) + 1 } }, -EINVAL },
	{ "as many as overflow to 8", { { ROOT }, { ARRAY, 0, 0, (1ULL << 63) + 2 } }, -EINVAL },
	{ "not at a multiple of 4", { { ROOT }, { CHILD, 0, 2 } }, -EINVAL },
	{ "not at a multiple of 2", { { ROOT }, { CHILD, 0, 7 } }, -EINVAL },
	{ "an array not at a multiple of 4", { { ROOT }, { ARRAY, 0, 2, 1 } }, -EINVAL },
	{ "at a multiple of 4", { { ROOT }, { CHILD, 0, 4 } } },
	{ "at the end", { { ROOT }, { CHILD, 0, 24 } } },
	{ "an array at the end", { { ROOT }, { ARRAY, 0, 28, 1 } } },
	{ "an array of all of it", { { ROOT }, { ARRAY, 0, 0, 8 } } },
	{ "nothing at the end", { { ROOT }, { ARRAY, 0, 32, 0 } } },
	{ "nothing far away", { { ROOT }, { ARRAY, 0, LARGEST, 0 } } },
	{ "nothing not at a multiple of 4", { { ROOT }, { ARRAY, 0, 3, 0 }, { CHILD, 0, 4 } } },
	{ "nothing between", { { ROOT }, { CHILD, 0, 0 }, { ARRAY, 0, 8, 0 }, { CHILD, 0, 8 } } },
	{ "nothing behind", { { ROOT }, { ARRAY, 0, 0, 8 }, { ARRAY, 0, 32, 0 } } },
	{ "side by side", { { ROOT }, { ARRAY, 0, 0, 2 }, { CHILD, 0, 8 }, { ARRAY, 0, 16, 4 } } },
	{ "back up", { { ROOT }, { CHILD, 0, 0 }, { CHILD, 1, 0 }, { ARRAY, 2, 0, 1 },
		       { CHILD, 1, 8 }, { CHILD, 0, 8 } } },
	{ "behind a node", { { ROOT }, { CHILD, 0, 0 }, { NODE }, { CHILD, 1, 0 } } },
};

/* One that cannot be is refused, and nothing is left of it; one that can be arrives. */
TEST_F(ipc, trees)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	int before = open_files(server);
	__u8 *scratch = arena.free;
	size_t i, j;
	int k;

	for (i = 0; i < ARRAY_SIZE(trees); i++) {
		struct parcel *m = new_tree();
		bool has_node = false;

		step("%s", trees[i].what);
		for (j = 0; j < ARRAY_SIZE(trees[i].nodes); j++) {
			const struct node *node = &trees[i].nodes[j];
			int numbers[8];

			for (k = 0; k < 8; k++)
				numbers[k] = canary.fd;
			if (node->kind == ROOT)
				add_root(m, new_numbers(32, 8, numbers), 32);
			else if (node->kind == CHILD)
				add_child(m, new_numbers(32, 8, numbers), 32, node->parent,
					  node->offset);
			else if (node->kind == ARRAY)
				add_array(m, node->count, node->parent, node->offset);
			else if (node->kind == NODE)
				add_binder(m, 0x1000, 1);
			has_node |= node->kind == NODE;
		}
		if (trees[i].error) {
			oneway_tree(client, m);
			ASSERT_EQ(0, submit(client));
			ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, trees[i].error);
			ASSERT_EQ(0, receive(client));
			ASSERT_EQ(BR_FAILED_REPLY, client->br[client->brs - 1].cmd);
			ASSERT_EQ(0, node_count(client));
		} else {
			struct binder_transaction_data *tr;

			oneway_tree(client, m);
			ASSERT_EQ(0, transact(client));
			if (has_node) {
				ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
				acknowledge(client, 0x1000, 1);
			} else {
				ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
			}
			tr = take_call(server);
			check_tree(client, server, tr, m);
			free_message(server, tr);
			if (has_node)
				ASSERT_READS(client, BR_RELEASE, BR_DECREFS);
		}
		ASSERT_EQ(before, open_files(server));
		arena.free = scratch;
	}
	close_fd(client, canary.fd);
	ASSERT_GONE(&canary);
	check_unharmed(client, server);
}

/* A buffer at offset 0 of the payload arrives, but is nobody's parent. */
TEST_F(ipc, parent_at_offset_zero)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct parcel *m = new_parcel();

	add_root(m, new_bytes(16), 16);
	check_tree(client, server, pass(client, server, m), m);
	add_child(m, new_bytes(16), 16, 0, 0);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
	m = new_parcel();
	add_root(m, new_bytes(16), 16);
	add_array(m, 0, 0, 0);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
	/* That there is another one makes no difference. */
	m = new_parcel();
	add_root(m, new_bytes(16), 16);
	add_root(m, new_bytes(16), 16);
	add_child(m, new_bytes(16), 16, 0, 0);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
}

/* An array must be at a multiple of 4 in the sender, too. */
TEST_F(ipc, alignment_in_the_sender)
{
	struct peer *server = files_manager("server"), *client = member("client");
	__u8 *bytes = new_bytes(32);
	int i;

	for (i = 0; i < 4; i++) {
		struct parcel *m = new_tree();
		int zero = 0;

		step("%d bytes off", i);
		memcpy(bytes + i + 4, &zero, 4);
		add_root(m, bytes + i, 16);
		add_array(m, 1, 0, 4);
		if (i) {
			ASSERT_TREE_REFUSED(client, m, -EINVAL);
		} else {
			check_tree(client, server, pass(client, server, m), m);
		}
	}
}

/* Numbers that look random and are the same every time. */
static __u64 random_state;

static __u64 below(__u64 limit)
{
	random_state += 0x9e3779b97f4a7c15ULL;
	return (pattern_word(random_state, 0) >> 20) % limit;
}

/* The rules once more, as they are described. Whether the message is one. */
static bool is_tree(const struct parcel *m, size_t room)
{
	__u64 end[ARRAY_SIZE(m->offsets)] = { 0 };
	bool aligned = true;
	int current = -1, at;
	size_t i, used = 0;

	for (i = 0; i < m->count; i++) {
		const void *object = m->data + m->offsets[i];
		const struct binder_fd_array_object *array = object;
		const struct binder_buffer_object *buffer = object, *parent;
		bool is_array = array->hdr.type == BINDER_TYPE_FDA;
		__u64 number, offset, len;

		if (!is_array) {
			if (buffer->length > room - used)
				return false;
			used += (buffer->length + 7) & ~7ULL;
			if (!(buffer->flags & BINDER_BUFFER_FLAG_HAS_PARENT)) {
				current = i;
				continue;
			}
		}
		number = is_array ? array->parent : buffer->parent;
		offset = is_array ? array->parent_offset : buffer->parent_offset;
		len = is_array ? array->num_fds * 4 : 8;
		for (at = current; at >= 0 && at != number; ) {
			parent = (const void *)(m->data + m->offsets[at]);
			at = parent->flags & BINDER_BUFFER_FLAG_HAS_PARENT ? (int)parent->parent : -1;
		}
		if (at < 0 || offset < end[at])
			return false;
		parent = (const void *)(m->data + m->offsets[at]);
		if (len && (len > parent->length || offset > parent->length - len))
			return false;
		if (is_array && len && (offset % 4 || (parent->buffer + offset) % 4))
			return false;
		aligned &= is_array || offset % 4 == 0;
		end[at] = offset + len;
		current = is_array ? at : (int)i;
	}
	return aligned;
}

/* Random ones are accepted or refused by these rules, and those accepted arrive. */
TEST_F(ipc, random_trees)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int before = open_files(server), accepted = 0, refused = 0, round;
	struct canary canary = new_canary(client);
	__u8 *scratch = arena.free;

	random_state = 1;
	for (round = 0; round < 600; round++) {
		struct parcel *m = new_tree();
		int n = 1 + below(8), i, k;
		size_t room;

		for (i = 0; i < n; i++) {
			/* Mostly the one before, or one of its parents; mostly behind the others. */
			__u64 parent = below(8) && i ? i - 1 - below(below(4) ? 1 : i) : below(n);
			__u64 offset = below(4) ? 4 * (i + below(8)) : below(72);
			__u64 len = 8 * below(8) + (below(4) ? 40 : below(8));
			__u32 *bytes;

			if (!i && below(16))
				parent = LARGEST;
			if (below(3) == 0 && i) {
				add_array(m, below(4), parent, offset);
				continue;
			}
			bytes = (__u32 *)(new_bytes(len + 1) + (below(16) == 0));
			/* Whatever is in it may be taken for descriptors. */
			for (k = 0; k < len / 4; k++)
				memcpy(bytes + k, &canary.fd, 4);
			if (parent == LARGEST || below(6) == 0)
				add_root(m, bytes, len);
			else
				add_child(m, bytes, len, parent, offset);
		}
		room = room_for(m);
		if (below(16) == 0 && room)
			room -= 8;
		step("message %d", round);
		bc_tree(client, BC_TRANSACTION_SG, TF_ONE_WAY, m, room);
		if (is_tree(m, room)) {
			struct binder_transaction_data *tr;

			ASSERT_EQ(0, transact(client));
			ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
			tr = take_call(server);
			check_tree(client, server, tr, m);
			free_message(server, tr);
			accepted++;
		} else {
			ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
			refused++;
		}
		ASSERT_EQ(before, open_files(server));
		arena.free = scratch;
	}
	TH_LOG("%d accepted, %d refused", accepted, refused);
	ASSERT_LT(100, accepted);
	ASSERT_LT(100, refused);
	close_fd(client, canary.fd);
	ASSERT_GONE(&canary);
	check_unharmed(client, server);
}

/* ---- memory that cannot be read ---------------------------------------------------- */

/* What is not copied is not read, either. */
TEST_F(ipc, unreadable)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct unaligned_transaction *t;
	struct parcel *m = new_tree();
	__u8 *bytes = new_bytes(16);
	__u64 hole;

	/* A buffer of which the last byte is not there. */
	hole = before_hole(client, bytes, 16);
	add_root(m, (void *)(uintptr_t)hole, 17);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
	/* One that is nowhere at all. */
	m = new_tree();
	add_root(m, NULL, 1);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
	m = new_tree();
	add_root(m, (void *)-8L, 16);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
	/* None of a length of 0 is looked at. */
	m = new_tree();
	add_root(m, (void *)-8L, 0);
	free_message(server, pass(client, server, m));

	/* The payload's end comes before what it points to. */
	m = new_tree();
	add_root(m, NULL, 8);
	add_bytes(m, "the tail", 8);
	oneway_tree(client, m);
	t = (void *)(client->write + client->write_len - sizeof(__u64) - sizeof(*t));
	t->tr.data.ptr.buffer = before_hole(client, m->data, m->len - 1);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EFAULT);

	/* An address goes where there is nothing in the sender. */
	m = new_tree();
	add_root(m, (void *)(uintptr_t)hole, 24);
	add_child(m, bytes, 16, 0, 16);
	tr = pass(client, server, m);
	EXPECT_EQ(0, memcmp(bytes, peer_memory(server, address_of(server, tr, 0), 16), 16));
	EXPECT_EQ(address_of(server, tr, 1),
		  *(__u64 *)peer_memory(server, address_of(server, tr, 0) + 16, 8));
	EXPECT_EQ(0, memcmp(bytes, peer_memory(server, address_of(server, tr, 1), 16), 16));
	free_message(server, tr);

	/* Numbers of which the last is not there; and all of them. */
	memset(bytes, 0, 16);
	hole = before_hole(client, bytes, 16);
	m = new_tree();
	add_root(m, (void *)(uintptr_t)hole, 20);
	add_array(m, 5, 0, 0);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
	m = new_tree();
	add_root(m, (void *)(uintptr_t)hole, 20);
	add_array(m, 1, 0, 16);
	ASSERT_TREE_REFUSED(client, m, -EINVAL);
	/* The first one is told of. */
	*(int *)bytes = -1;
	m = new_tree();
	add_root(m, (void *)(uintptr_t)before_hole(client, bytes, 16), 20);
	add_array(m, 5, 0, 0);
	ASSERT_TREE_REFUSED(client, m, -EBADF);
	check_unharmed(client, server);
}

/* ---- file descriptors ------------------------------------------------------------------ */

static struct parcel *one_array(int count, const int *numbers)
{
	struct parcel *m = new_tree();

	add_root(m, new_numbers(4 * count, count, numbers), 4 * count);
	add_array(m, count, 0, 0);
	return m;
}

static struct parcel *one_number(int number)
{
	return one_array(1, &number);
}

/* Those in arrays are closed with the buffer, those that are objects are not. */
TEST_F(way, closed_with_the_buffer)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *from = variant->reply ? server : client;
	struct peer *to = variant->reply ? client : server;
	struct canary canaries[6], kept = new_canary(from);
	struct parcel *m = new_tree();
	int before = open_files(to), numbers[6], i;

	for (i = 0; i < 6; i++) {
		canaries[i] = new_canary(from);
		numbers[i] = canaries[i].fd;
	}
	/* Two in one buffer, one in another. */
	add_root(m, new_numbers(24, 4, numbers), 24);
	add_array(m, 1, 0, 0);
	add_fd(m, kept.fd);
	add_array(m, 3, 0, 4);
	add_child(m, new_numbers(8, 2, numbers + 4), 8, 0, 16);
	add_array(m, 2, 4, 0);
	travel(variant, client, server, m);
	ASSERT_EQ(before + 1, open_files(to));
	close_fd(from, kept.fd);
	ASSERT_ALIVE(&kept);
	for (i = 0; i < 6; i++) {
		ASSERT_ALIVE(&canaries[i]);
		close_fd(from, canaries[i].fd);
		ASSERT_GONE(&canaries[i]);
	}
	check_unharmed(client, server);
}

/* New descriptors come in the order of the objects, and of the numbers in them. */
TEST_F(ipc, order_of_descriptors)
{
	struct peer *server = files_manager("server"), *client = member("client");
	static const int zeros[4];
	struct binder_transaction_data *tr;
	struct parcel *m = new_tree();
	int next = peer_syscall(server, SYS_dup, 0);

	close_fd(server, next);
	add_fd(m, 0);
	add_root(m, new_numbers(16, 4, zeros), 16);
	add_array(m, 2, 1, 4);
	add_fd(m, 0);
	add_array(m, 1, 1, 12);
	tr = pass(client, server, m);
	check_tree(client, server, tr, m);
	EXPECT_EQ(next, object_of(server, tr, 0)->handle);
	EXPECT_EQ(next + 1, number_in(server, tr, 2, 0));
	EXPECT_EQ(next + 2, number_in(server, tr, 2, 1));
	EXPECT_EQ(next + 3, object_of(server, tr, 3)->handle);
	EXPECT_EQ(next + 4, number_in(server, tr, 4, 0));
}

/* The files are held from when they are sent. */
TEST_F(ipc, sender_dies)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;

	oneway_tree(client, one_number(canary.fd));
	ASSERT_EQ(0, submit(client));
	kill_process(client);
	ASSERT_ALIVE(&canary);
	tr = take_call(server);
	ASSERT_TRUE(is_open(server, number_in(server, tr, 1, 0)));
	ASSERT_ALIVE(&canary);
	free_message(server, tr);
	ASSERT_GONE(&canary);
}

/* What else is cleared with the buffer is cleared later. */
TEST_F(ipc, cleared_buffer)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;
	struct parcel *m = one_number(canary.fd);

	bc_tree(client, BC_TRANSACTION_SG, TF_ONE_WAY | TF_CLEAR_BUF, m, room_for(m));
	ASSERT_EQ(0, submit(client));
	close_fd(client, canary.fd);
	tr = take_call(server);
	ASSERT_ALIVE(&canary);
	free_message(server, tr);
	ASSERT_GONE(&canary);
	EXPECT_EQ(0, *(__u32 *)peer_memory(server, tr->data.ptr.buffer, 4));
	EXPECT_EQ(0, *(__u64 *)peer_memory(server, tr->data.ptr.offsets + 16, 8));
}

/* Who takes no files takes no arrays, but empty ones. */
TEST_F(ipc, permission)
{
	struct peer *server = manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct parcel *empty = new_tree();
	struct binder_transaction_data *tr;
	int i;

	/* There need not even be such a file. */
	ASSERT_TREE_REFUSED(client, one_number(canary.fd), -EPERM);
	ASSERT_TREE_REFUSED(client, one_number(-1), -EPERM);
	call_tree(client, one_number(canary.fd));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPERM);
	add_root(empty, new_bytes(8), 8);
	add_array(empty, 0, 0, 8);
	tr = pass(client, server, empty);
	check_tree(client, server, tr, empty);
	free_message(server, tr);

	/* In a reply it is up to the caller. */
	for (i = 0; i < 3; i++) {
		bc_parcel(client, BC_TRANSACTION, 0, i == 2 ? TF_ACCEPT_FDS : 0, NULL);
		start_transact(client);
		free_message(server, take_call(server));
		reply_tree(server, i ? one_number(-1) : empty);
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		ASSERT_EQ(0, finish(client));
		if (!i) {
			ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
			check_tree(server, client, message(client), empty);
			continue;
		}
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
		ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, i == 1 ? -EPERM : -EBADF);
	}
	close_fd(client, canary.fd);
	ASSERT_GONE(&canary);
}

/*
 * An empty array is no array: at the end of its parent, as the last object, and
 * where there is nothing else.
 */
TEST_F(way, empty_arrays)
{
	struct peer *server = files_manager("server"), *client = member("client");
	static const __u64 offsets[] = { 0, 8, 15, 16, 17, 20, 4096, LARGEST };
	int i, child;

	for (i = 0; i < 2 * ARRAY_SIZE(offsets); i++) {
		struct parcel *m = new_tree();

		child = i % 2;
		step("at %llu%s", offsets[i / 2], child ? ", of a child" : "");
		add_root(m, new_bytes(16), 16);
		if (child)
			add_child(m, new_bytes(16), 16, 0, 0);
		add_array(m, 0, child, offsets[i / 2]);
		travel(variant, client, server, m);
	}
	check_unharmed(client, server);
}

/* The reader has no room for all of them: then it gets none, and nothing of the message. */
TEST_F(ipc, not_enough_descriptors)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int before = open_files(server), room, i;

	for (room = 0; room < 4; room++) {
		int next = peer_syscall(server, SYS_dup, 0), numbers[3];
		struct canary canaries[3];
		struct parcel *m;

		step("room for %d", room);
		for (i = 0; i < 3; i++) {
			canaries[i] = new_canary(client);
			numbers[i] = canaries[i].fd;
		}
		m = one_array(2, numbers);
		add_fd(m, numbers[2]);
		close_fd(server, next);
		set_file_limit(server, next + room);
		call_tree(client, m);
		if (room < 3) {
			start_receive(server);
			ASSERT_EQ(0, transact(client));
			ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
			ASSERT_EXTENDED_ERROR(client, BR_OK, 0);
			ASSERT_TRUE(peer_sleeps(server));
			ASSERT_EQ(0, kill(server->pid, SIGUSR1));
			ASSERT_EQ(-EINTR, finish(server));
			ASSERT_EQ(before, open_files(server));
		} else {
			start_transact(client);
			free_message(server, take_call(server));
			ASSERT_EQ(before + 1, open_files(server));
		}
		set_file_limit(server, 100);
	}
}

/* The receiver's buffer cannot be written: nothing is left open, nothing is closed. */
TEST_F(ipc, read_fault)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	struct peer *sibling = new_thread(client, "sibling");
	struct canary canary = new_canary(client);
	int before = open_files(server);

	/* The C driver leaves them open there, and nobody knows their numbers. */
	require_rust_ipc();
	call_tree(client, one_number(canary.fd));
	start_transact(client);
	close_fd(sibling, canary.fd);
	*bwr = (struct binder_write_read) {
		.read_size = 256, .read_buffer = before_hole(server, "room", 4),
	};
	ASSERT_EQ(-EFAULT, peer_run(server, do_write_read, bwr));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EQ(before, open_files(server));
	ASSERT_GONE(&canary);
	check_unharmed(client, server);
}

/* It is the number that is closed, whatever the receiver has made of it. */
TEST_F(ipc, numbers_that_have_changed)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client), other = new_canary(server);
	struct binder_transaction_data *tr = pass(client, server, one_number(canary.fd));
	int number = number_in(server, tr, 1, 0), before;

	close_fd(client, canary.fd);
	/* Closed already. */
	close_fd(server, number);
	ASSERT_GONE(&canary);
	before = open_files(server);
	free_message(server, tr);
	ASSERT_EQ(before, open_files(server));

	/* Another file. */
	canary = new_canary(client);
	tr = pass(client, server, one_number(canary.fd));
	number = number_in(server, tr, 1, 0);
	close_fd(client, canary.fd);
	ASSERT_EQ(number, peer_syscall(server, SYS_dup2, other.fd, number));
	ASSERT_GONE(&canary);
	close_fd(server, other.fd);
	ASSERT_ALIVE(&other);
	free_message(server, tr);
	ASSERT_GONE(&other);

	/* Moved out of the way: kept. */
	canary = new_canary(client);
	tr = pass(client, server, one_number(canary.fd));
	close_fd(client, canary.fd);
	number = peer_syscall(server, SYS_dup, number_in(server, tr, 1, 0));
	free_message(server, tr);
	ASSERT_ALIVE(&canary);
	close_fd(server, number);
	ASSERT_GONE(&canary);
}

/* They are closed where the buffer is freed: in that thread's table. */
TEST_F(ipc, freed_by_another_thread)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *sibling = new_thread(server, "sibling");
	struct peer *apart = new_thread(server, "apart");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;
	int number;

	tr = pass(client, server, one_number(canary.fd));
	free_message(sibling, tr);
	tr = pass(client, server, one_number(canary.fd));
	close_fd(client, canary.fd);
	number = number_in(server, tr, 1, 0);
	/* This one has a table of its own, with copies of all. */
	ASSERT_EQ(0, peer_syscall(apart, SYS_unshare, CLONE_FILES));
	free_message(apart, tr);
	ASSERT_FALSE(is_open(apart, number));
	ASSERT_TRUE(is_open(server, number));
	ASSERT_ALIVE(&canary);
	close_fd(server, number);
	ASSERT_GONE(&canary);
}

/* A thread that closes them in passing comes back for it. */
TEST_F(ipc, read_behind_closing)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr = pass(client, server, one_number(canary.fd));
	struct parcel *empty = new_tree();

	close_fd(client, canary.fd);
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server);
	ASSERT_GONE(&canary);
	ASSERT_QUIET(server);
	/* Not for ones that were not there. */
	add_root(empty, new_bytes(8), 8);
	add_array(empty, 0, 0, 0);
	tr = pass(client, server, empty);
	free_buffer(server, tr->data.ptr.buffer);
	start_transact(server);
	/* Nor for a later read. */
	oneway_tree(client, one_number(0));
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(0, finish(server));
	free_message(server, message(server));
	start_receive(server);
}

/* The device is closed, the process stays: nobody closes its descriptors for it. */
TEST_F(ipc, device_closed)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr = pass(client, server, one_number(canary.fd));
	int number = number_in(server, tr, 1, 0);

	close_fd(client, canary.fd);
	close_fd(server, server->fd);
	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, server->area, server->area_len));
	await_no_manager(client);
	ASSERT_TRUE(is_open(server, number));
	ASSERT_ALIVE(&canary);
	close_fd(server, number);
	ASSERT_GONE(&canary);
}

/* All ends with the process, whether it has read the message or not. */
TEST_F(ipc, receiver_dies)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary read = new_canary(client), unread = new_canary(client);

	pass(client, server, one_number(read.fd));
	oneway_tree(client, one_number(unread.fd));
	ASSERT_EQ(0, submit(client));
	close_fd(client, read.fd);
	close_fd(client, unread.fd);
	ASSERT_ALIVE(&read);
	ASSERT_ALIVE(&unread);
	kill_process(server);
	ASSERT_GONE(&read);
	ASSERT_GONE(&unread);
}

/* ---- the device in its own messages ---------------------------------------------------- */

/* The server's device, as a descriptor of the client's. */
static int servers_device(struct peer *client, struct peer *server)
{
	struct parcel *m = new_parcel();
	struct binder_transaction_data *tr;
	int own;

	add_fd(m, server->fd);
	tr = ask_for(client, server, m);
	own = object_of(client, tr, 0)->handle;
	free_message(client, tr);
	return own;
}

FIXTURE(own_device) {
};

FIXTURE_VARIANT(own_device) {
	bool threads, reads;
};

FIXTURE_VARIANT_ADD(own_device, alone) { };
FIXTURE_VARIANT_ADD(own_device, alone_reads) { .reads = true };
FIXTURE_VARIANT_ADD(own_device, with_threads) { .threads = true };
FIXTURE_VARIANT_ADD(own_device, with_threads_reads) { .threads = true, .reads = true };

FIXTURE_SETUP(own_device)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(own_device)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/*
 * Freeing a buffer closes the very descriptor that this is done with, and it is
 * the last one of the file. (With a single thread the system call has no
 * reference to it.)
 */
TEST_F(own_device, closed_while_used)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *sibling = variant->threads ? new_thread(server, "sibling") : NULL;
	int clients = servers_device(client, server), own;
	struct binder_transaction_data *tr;

	tr = pass(client, server, one_number(clients));
	close_fd(client, clients);
	own = number_in(server, tr, 1, 0);
	ASSERT_TRUE(same_file(server, server->fd, server, own));
	close_fd(server, server->fd);
	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, server->area, server->area_len));
	server->fd = own;
	if (sibling) {
		sibling->fd = own;
		settle(sibling);
		start_receive(sibling);
	}
	free_buffer(server, tr->data.ptr.buffer);
	bc(server, BC_ENTER_LOOPER);
	if (variant->reads) {
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server);
	} else {
		ASSERT_EQ(0, submit(server));
	}
	/* What came behind it was carried out. */
	ASSERT_EQ(16, server->bwr.write_consumed);
	ASSERT_FALSE(is_open(server, own));
	if (sibling) {
		/* Closing is told to who waits. */
		ASSERT_EQ(0, finish(sibling));
		ASSERT_BR(sibling);
		ASSERT_EQ(-EBADF, receive(sibling));
	}
	await_no_manager(client);
	/* The process goes on, and can begin again. */
	ASSERT_LE(0, open_device(server, 0));
	ASSERT_EQ(0, map_area(server, AREA_LEN));
	settle(server);
	become_manager(server, NULL);
	round_trip(client, server);
}

FIXTURE(kept_elsewhere) {
	long alive;
	struct peer *server, *client;
	/* Descriptors of the client's device: its own, out of an array, and the server's. */
	int own, servers;
	struct slow slow;
};

FIXTURE_VARIANT(kept_elsewhere) {
	bool message;
};

FIXTURE_VARIANT_ADD(kept_elsewhere, message) { .message = true };
FIXTURE_VARIANT_ADD(kept_elsewhere, handle) { };

FIXTURE_SETUP(kept_elsewhere)
{
	this_test = _metadata;
	if (!oracle()) {
		ASSERT_TRUE(eventually(!objects_alive()));
	}
	self->server = files_manager("server");
	self->alive = oracle() ? 0 : objects_alive();
	self->client = member("client");
	self->servers = take_fd(self->server, self->client, self->client->fd);
	/* Not filled by a thread of the client's: with one, the system call has a reference. */
	self->slow = make_slow(self->client);
	self->slow.uffd = take_fd(self->server, self->client, self->slow.uffd);
}

FIXTURE_TEARDOWN(kept_elsewhere)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* The client goes on with the last descriptor of its device, which goes with the buffer. */
static __u64 descriptor_in_buffer(FIXTURE_DATA(kept_elsewhere) *self)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *server = self->server, *client = self->client;
	struct binder_transaction_data *tr;

	call_with(client, 0, NULL);
	start_transact(client);
	free_message(server, take_call(server));
	reply_tree(server, one_number(self->servers));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	tr = message(client);
	self->own = number_in(client, tr, 1, 0);
	ASSERT_TRUE(same_file(client, client->fd, client, self->own));
	close_fd(client, client->fd);
	ASSERT_EQ(0, peer_syscall(client, SYS_munmap, client->area, client->area_len));
	client->fd = self->own;
	return tr->data.ptr.buffer;
}

/*
 * Freeing a buffer closes the very descriptor that this is done with, but not
 * the last one of the file; somebody else closes that one before the system
 * call has come to an end. The file stays until then.
 */
TEST_F(kept_elsewhere, closed_while_used)
{
	struct peer *server = self->server, *client = self->client;
	struct copy_args before_slow = { NULL, client->write, 80 };
	struct binder_transaction_data *tr;
	size_t len;

	free_buffer(client, descriptor_in_buffer(self));
	/* As much as rust_ipc reads at a time: what comes behind it is read afterwards. */
	while (client->write_len < before_slow.len)
		bc(client, BC_ENTER_LOOPER);
	if (variant->message) {
		oneway_with(client, 0, one_object(BINDER_TYPE_BINDER, 0x1000, 1));
	} else {
		bc_u32(client, BC_ACQUIRE, 0);
		put_handle_cookie(client, BC_REQUEST_DEATH_NOTIFICATION, 0, COOKIE);
	}
	len = client->write_len;
	before_slow.to = (void *)(uintptr_t)(self->slow.page - before_slow.len);
	ASSERT_EQ(0, peer_run(client, do_copy, arena_copy(&before_slow, sizeof(before_slow))));
	prepare_io(client, false);
	client->bwr.write_buffer = self->slow.page - before_slow.len;
	peer_start(client, do_write_read, &client->bwr);
	ASSERT_TRUE(peer_sleeps(client));
	ASSERT_FALSE(same_file(server, self->servers, client, self->own));
	close_fd(server, self->servers);
	ASSERT_TRUE(still_waits(client));
	fill_slow_with(server, &self->slow, client->write + before_slow.len,
		       len - before_slow.len);
	ASSERT_EQ(0, finish(client));
	/* What came behind it was carried out. */
	ASSERT_EQ(len, client->bwr.write_consumed);
	if (variant->message) {
		tr = take_call(server);
		await_dead_oneway(server, object_of(server, tr, 0)->handle);
		free_message(server, tr);
	}
	if (!oracle()) {
		ASSERT_TRUE(eventually(objects_alive() == self->alive));
	}
	/* The process goes on, and can begin again. */
	ASSERT_LE(0, open_device(client, 0));
	ASSERT_EQ(0, map_area(client, AREA_LEN));
	settle(client);
	check_unharmed(client, server);
}

/* The sender's device in a message that nobody reads goes when the message does. */
TEST_F(ipc, device_in_unread_message)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *third = member("third");
	__u32 handle = offer(client, server, 0x1000, 1), thirds;

	thirds = hand_over(server, third, handle);
	oneway_tree(client, one_number(client->fd));
	ASSERT_EQ(0, submit(client));
	kill_process(client);
	await_dead(third, thirds);
	ASSERT_EXTENDED_ERROR(third, BR_DEAD_REPLY, -ESRCH);
	kill_process(server);
	ASSERT_TRUE(eventually(({
		call_with(third, thirds, NULL);
		ASSERT_EQ(0, transact(third));
		ASSERT_BR(third, BR_DEAD_REPLY);
		extended_error(third).param == -EINVAL;
	})));
}

/* ---- failures ------------------------------------------------------------------------------ */

/* Object number I of a message that has all kinds of them. */
static void add_nth(struct parcel *m, int i, struct canary *canaries)
{
	const int numbers[] = { canaries[0].fd, canaries[1].fd };

	switch (i) {
	case 0: add_root(m, new_numbers(64, 2, numbers), 64); break;
	case 1: add_array(m, 2, 0, 0); break;
	case 2: add_binder(m, 0x1000, 1); break;
	case 3: add_child(m, new_numbers(16, 1, &canaries[2].fd), 16, 0, 8); break;
	case 4: add_array(m, 1, 3, 0); break;
	case 5: add_fd(m, canaries[3].fd); break;
	case 6: add_child(m, new_bytes(24), 24, 3, 8); break;
	case 7: add_array(m, 0, 3, 16); break;
	}
}

/* Whatever fails, at whichever object: what was done for those before it is undone. */
TEST_F(ipc, undo)
{
	struct peer *server = files_manager("server"), *client = member("client");
	static const int errors[] = { -EBADF, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EFAULT };
	int servers = open_files(server), clients = open_files(client), failure, k, i;
	__u8 *scratch = arena.free;

	for (failure = 0; failure < ARRAY_SIZE(errors); failure++)
		for (k = 0; k <= 8; k++) {
			const int numbers[] = { 0, -1, 0 };
			struct canary canaries[4];
			struct parcel *m = new_tree();
			size_t room;

			step("failure %d behind %d objects", failure, k);
			for (i = 0; i < 4; i++)
				canaries[i] = new_canary(client);
			for (i = 0; i < k; i++)
				add_nth(m, i, canaries);
			room = room_for(m);
			switch (failure) {
			case 0:
				/* In the middle of an array. */
				add_root(m, new_numbers(16, 3, numbers), 16);
				room += 16;
				add_array(m, 3, k, 0);
				break;
			case 1:
				add_root(m, new_bytes(8), 8);
				break;
			case 2:
				add_child(m, NULL, 0, k, 0);
				break;
			case 3:
				/* Not before all else is done. */
				add_root(m, NULL, 8);
				room += 8;
				break;
			case 4:
				add_handle(m, 4711);
				break;
			case 5:
				m->offsets[m->count++] = m->len + 1;
				m->offsets_len += 8;
				break;
			}
			bc_tree(client, BC_TRANSACTION_SG, k % 2 ? TF_ONE_WAY : 0, m, room);
			ASSERT_EQ(0, submit(client));
			ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, errors[failure]);
			ASSERT_EQ(0, receive(client));
			ASSERT_EQ(BR_FAILED_REPLY, client->br[client->brs - 1].cmd);
			for (i = 0; i < 4; i++) {
				ASSERT_ALIVE(&canaries[i]);
				close_fd(client, canaries[i].fd);
				ASSERT_GONE(&canaries[i]);
				close(canaries[i].watch);
			}
			ASSERT_EQ(0, node_count(client));
			ASSERT_NO_HANDLE(server, 1);
			ASSERT_EQ(servers, open_files(server));
			ASSERT_EQ(clients, open_files(client));
			arena.free = scratch;
		}
	ASSERT_QUIET(server);
	check_unharmed(client, server);
}

/* ---- while the sender's memory changes ------------------------------------------------------- */

#define FLICKER_ROUNDS 300
#define FLICKER_LEN 512

/* One message, and two buffers that it may point to. In each are two numbers, of one file. */
struct flicker {
	struct binder_buffer_object *parent;
	struct binder_fd_array_object *array;
	__u8 *bytes[2];
	int fds[2];
	bool stop;
};

static void linger(void)
{
	volatile int i;

	for (i = 0; i < 100; i++)
		;
}

static long do_flicker(struct peer *p, void *arg)
{
	struct flicker *f = arg;
	volatile struct binder_fd_array_object *array = f->array;
	volatile struct binder_buffer_object *parent = f->parent;
	long n;

	for (n = 0; !__atomic_load_n(&f->stop, __ATOMIC_RELAXED); n++) {
		/* The other one; and, through its own pages, other files in this one. */
		parent->buffer = (uintptr_t)f->bytes[n % 2];
		linger();
		if (n % 8 == 0) {
			array->num_fds = 1ULL << 40;
			linger();
			array->num_fds = 2;
			array->parent_offset = FLICKER_LEN - 4;
			linger();
			array->parent_offset = 8;
		} else if (n % 8 == 3) {
			parent->length = 4 * FLICKER_LEN;
			linger();
			parent->length = 9;
			linger();
			parent->length = FLICKER_LEN;
		} else if (n % 8 == 6) {
			array->num_fds = 1;
			linger();
			array->num_fds = 2;
		}
		linger();
	}
	return n;
}

/*
 * Whatever a thread does to it while another one sends it, a message that
 * arrives is of a piece: numbers, if any, of one buffer, and the rest of the same
 * one. (The C driver reads the parent once more for the numbers.)
 */
TEST_F(ipc, payload_changes_while_sent)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *sibling = new_bare_thread(client, "sibling");
	struct flicker *f = arena_alloc(sizeof(*f));
	int before = open_files(server), round, i, arrived = 0, refused = 0;
	struct parcel *m = new_tree();
	__u8 *scratch, *both = arena_alloc(2 * PAGE);

	/* The kernel may read byte by byte: their addresses differ in one byte. */
	both += -(uintptr_t)both & (PAGE - 1);
	for (i = 0; i < 2; i++) {
		f->bytes[i] = both + i * 4 * FLICKER_LEN;
		memset(f->bytes[i], 0xa0 + i, 4 * FLICKER_LEN);
		f->fds[i] = peer_syscall(client, SYS_memfd_create, "file", 0);
		ASSERT_LE(0, f->fds[i]);
		memcpy(f->bytes[i] + 8, (int[]) { f->fds[i], f->fds[i] }, 8);
		memcpy(f->bytes[i] + 4, &f->fds[i], 4);
	}
	f->parent = add_root(m, f->bytes[0], FLICKER_LEN);
	f->array = add_array(m, 2, 0, 8);
	f->stop = false;
	peer_start(sibling, do_flicker, f);
	scratch = arena.free;
	for (round = 0; round < FLICKER_ROUNDS; round++) {
		const struct binder_fd_array_object *array;
		const struct binder_buffer_object *parent;
		struct binder_transaction_data *tr;
		const __u8 *bytes;
		size_t k;

		arena.free = scratch;
		bc_tree(client, BC_TRANSACTION_SG, TF_ONE_WAY, m, FLICKER_LEN);
		ASSERT_EQ(0, transact(client));
		ASSERT_EQ(2, client->brs);
		if (client->br[1].cmd == BR_FAILED_REPLY) {
			struct binder_extended_error error = extended_error(client);

			ASSERT_TRUE(error.param == -EINVAL || error.param == -EBADF) {
				TH_LOG("extended error %d", error.param);
			}
			refused++;
			continue;
		}
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
		arrived++;
		tr = take_call(server);
		parent = buffer_object(server, tr, 0);
		array = whole_object(server, tr, 1, sizeof(*array));
		ASSERT_LE(parent->length, FLICKER_LEN);
		ASSERT_LE(array->num_fds, 2);
		ASSERT_LE(array->parent_offset + 4 * array->num_fds, parent->length);
		ASSERT_EQ(tr->data.ptr.offsets + 16, parent->buffer);
		bytes = peer_memory(server, parent->buffer, parent->length);
		ASSERT_EQ(before + array->num_fds, open_files(server));
		for (k = 0; k < array->num_fds; k++) {
			int number = number_in(server, tr, 1, k);

			ASSERT_TRUE(is_open(server, number));
			/* The very first byte says which one it is. */
			ASSERT_TRUE(oracle() ||
				    same_file(client, f->fds[bytes[0] - 0xa0], server, number));
		}
		for (k = 0; k < parent->length; k++) {
			bool is_number = k >= array->parent_offset &&
					 k < array->parent_offset + 4 * array->num_fds;

			if (k >= 4 && k < 16)
				continue;
			ASSERT_TRUE(is_number || bytes[k] == bytes[0]) {
				TH_LOG("byte %zu is 0x%x, not 0x%x", k, bytes[k], bytes[0]);
			}
		}
		free_message(server, tr);
		ASSERT_EQ(before, open_files(server));
	}
	f->stop = true;
	ASSERT_LT(0, peer_finish(sibling));
	TH_LOG("%d arrived, %d refused", arrived, refused);
	ASSERT_LT(0, arrived);
	check_unharmed(client, server);
}

TEST_HARNESS_MAIN
