// SPDX-License-Identifier: GPL-2.0
/*
 * The commands of a write buffer: what each does with good and bad input, how
 * much of the buffer counts as consumed, and what is left after a refusal.
 */
#include "ipc.h"

/* Runs the commands of P: ERROR, with the first CONSUMED bytes done, and no read. */
#define ASSERT_STOPS(p, error, consumed) do { \
	ASSERT_EQ(error, transact(p)); \
	ASSERT_EQ(consumed, (p)->bwr.write_consumed); \
	ASSERT_NO_BR(p); \
} while (0)

/* Runs them: all are consumed, and nothing comes of it. */
#define ASSERT_HARMLESS(p) do { \
	ASSERT_EQ(0, submit(p)); \
	ASSERT_EQ((p)->bwr.write_size, (p)->bwr.write_consumed); \
	ASSERT_QUIET(p); \
} while (0)

TEST_F(ipc, unknown)
{
	static const __u32 unknown[] = {
		0, 1, 0xffffffff, 0xdeadbeef,
		BC_ACQUIRE_RESULT, BC_ATTEMPT_ACQUIRE,
		BR_NOOP, BR_TRANSACTION, BR_TRANSACTION_COMPLETE, BR_SPAWN_LOOPER,
		BINDER_WRITE_READ, BINDER_VERSION,
		/* Right but for the number, the size, the direction. */
		_IO('c', 0), _IOW('c', 0, __u64), _IOR('c', 0, struct binder_transaction_data),
		_IOW('c', 0, struct binder_transaction_data_sg),
		_IOW('c', 3, __u32), _IOW('c', 4, __u64), _IOW('c', 11, __u32), _IO('c', 10),
		_IO('c', 14), _IO('c', 15), _IOW('c', 22, __u64), _IO('c', 255),
	};
	struct peer *server = manager("server"), *client = member("client");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		step("command 0x%x", unknown[i]);
		/* What is before it is done, what is after it is not. */
		oneway(client, i, "before", 6);
		bc(client, unknown[i]);
		oneway(client, 1000, "after", 5);
		ASSERT_STOPS(client, -EINVAL, 68);
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
		ASSERT_EQ(0, receive(server));
		ASSERT_BR(server, BR_TRANSACTION);
		ASSERT_EQ(i, message(server)->code);
		free_buffer(server, message(server)->data.ptr.buffer);
		ASSERT_HARMLESS(server);
	}
	round_trip(client, server);
}

/*
 * A command that goes on past the end of the buffer is none. (The C driver
 * reads on behind it.)
 */
TEST_F(ipc, truncated)
{
	struct peer *server = manager("server"), *client = member("client");
	static const __u32 commands[] = {
		BC_TRANSACTION, BC_REPLY, BC_FREE_BUFFER, BC_INCREFS, BC_ACQUIRE, BC_RELEASE,
		BC_DECREFS, BC_INCREFS_DONE, BC_ACQUIRE_DONE, BC_REGISTER_LOOPER,
		BC_ENTER_LOOPER, BC_EXIT_LOOPER, BC_TRANSACTION_SG, BC_REPLY_SG,
	};
	size_t i, len, j;

	require_rust_ipc();
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		size_t whole = 4 + _IOC_SIZE(commands[i]);

		for (len = 1; len < whole; len++) {
			step("%zu bytes of command 0x%x", len, commands[i]);
			bc(client, BC_ENTER_LOOPER);
			oneway(client, 1, NULL, 0);
			/* In place of the BC_TRANSACTION: whole, and cut off by the size alone. */
			memcpy(client->write + 4, &commands[i], 4);
			memset(client->write + 4 + 68, 0, 8);
			client->write_len = 4 + len;
			ASSERT_STOPS(client, -EINVAL, 4);
		}
	}
	/* The same where memory ends with the buffer. */
	j = peer_mmap(client, NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1);
	ASSERT_EQ(0, peer_syscall(client, SYS_munmap, j + PAGE, PAGE));
	for (len = 1; len < 4; len++) {
		struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));

		step("%zu bytes before a hole", len);
		*bwr = (struct binder_write_read) {
			.write_size = len, .write_buffer = j + PAGE - len,
		};
		ASSERT_EQ(-EINVAL, peer_run(client, do_write_read, bwr));
		ASSERT_EQ(0, bwr->write_consumed);
	}
	ASSERT_QUIET(client);
	ASSERT_QUIET(server);
	round_trip(client, server);
}

/* After a transaction that failed at once, the rest waits for the next ioctl. */
TEST_F(ipc, stops_after_failure)
{
	struct peer *server = manager("server"), *client = member("client");

	oneway(client, 1, "first", 5);
	call(client, 2, NULL, 0)->tr.target.handle = 99;
	oneway(client, 3, "third", 5);
	ASSERT_EQ(0, transact(client));
	EXPECT_EQ(2 * 68, client->bwr.write_consumed);
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -EINVAL);

	/* Unread, the failure holds up further commands. */
	call(client, 2, NULL, 0)->tr.target.handle = 99;
	ASSERT_EQ(0, submit(client));
	EXPECT_EQ(68, client->bwr.write_consumed);
	oneway(client, 3, "third", 5);
	ASSERT_EQ(0, submit(client));
	EXPECT_EQ(0, client->bwr.write_consumed);
	oneway(client, 3, "third", 5);
	ASSERT_EQ(0, transact(client));
	EXPECT_EQ(0, client->bwr.write_consumed);
	ASSERT_BR(client, BR_FAILED_REPLY);
	oneway(client, 3, "third", 5);
	ASSERT_EQ(0, transact(client));
	EXPECT_EQ(68, client->bwr.write_consumed);
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);

	ASSERT_PAYLOAD(server, take_call(server), "first", 5);
	free_buffer(server, message(server)->data.ptr.buffer);
	ASSERT_EQ(0, submit(server));
	ASSERT_PAYLOAD(server, take_call(server), "third", 5);
}

/* Counts on handles that are not there: of no consequence, and no error. */
TEST_F(ipc, unknown_handles)
{
	static const __u32 commands[] = { BC_INCREFS, BC_ACQUIRE, BC_RELEASE, BC_DECREFS };
	static const __u32 handles[] = { 1, 2, 1000, 0x7fffffff, 0x80000000, 0xffffffff };
	struct peer *server = manager("server"), *client = member("client");
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		for (j = 0; j < ARRAY_SIZE(handles); j++) {
			bc_u32(client, commands[i], handles[j]);
			bc_u32(server, commands[i], handles[j]);
		}
	ASSERT_HARMLESS(client);
	ASSERT_HARMLESS(server);

	for (j = 0; j < ARRAY_SIZE(handles); j++) {
		call(client, 0, NULL, 0)->tr.target.handle = handles[j];
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
		oneway(client, 0, NULL, 0)->tr.target.handle = handles[j];
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	}
	round_trip(client, server);
}

/* The manager's node has all it needs from the start: no counts reach the manager. */
TEST_F(ipc, handle_zero)
{
	struct peer *server = manager("server"), *client = member("client");
	int i;

	/* Nothing to take away yet. */
	bc_u32(client, BC_RELEASE, 0);
	bc_u32(client, BC_DECREFS, 0);
	ASSERT_HARMLESS(client);
	round_trip(client, server);

	bc_u32(client, BC_INCREFS, 0);
	bc_u32(client, BC_ACQUIRE, 0);
	ASSERT_HARMLESS(client);
	ASSERT_QUIET(server);
	round_trip(client, server);

	bc_u32(client, BC_RELEASE, 0);
	bc_u32(client, BC_DECREFS, 0);
	ASSERT_HARMLESS(client);
	ASSERT_QUIET(server);
	round_trip(client, server);

	/* Further than that they do not go. */
	for (i = 0; i < 5; i++) {
		bc_u32(client, BC_RELEASE, 0);
		bc_u32(client, BC_DECREFS, 0);
	}
	ASSERT_HARMLESS(client);
	ASSERT_QUIET(server);
	round_trip(client, server);

	/* Many, and in any order. */
	for (i = 0; i < 100; i++) {
		bc_u32(client, BC_ACQUIRE, 0);
		bc_u32(client, BC_INCREFS, 0);
		bc_u32(client, BC_ACQUIRE, 0);
		bc_u32(client, BC_DECREFS, 0);
		bc_u32(client, BC_RELEASE, 0);
	}
	ASSERT_HARMLESS(client);
	ASSERT_QUIET(server);
	round_trip(client, server);
	/* 100 strong ones are left, and die with the client. */
	kill_process(client);
	client = member("client 2");
	round_trip(client, server);
	ASSERT_QUIET(server);
}

TEST_F(ipc, handle_zero_without_manager)
{
	struct peer *client = member("client"), *server = manager("server");
	struct peer *next = member("next");

	bc_u32(client, BC_ACQUIRE, 0);
	ASSERT_HARMLESS(client);
	kill_process(server);
	await_no_manager(client);

	/* The count is on the dead manager; it can still be given back. */
	bc_u32(client, BC_RELEASE, 0);
	bc_u32(client, BC_RELEASE, 0);
	bc_u32(client, BC_INCREFS, 0);
	bc_u32(client, BC_ACQUIRE, 0);
	ASSERT_HARMLESS(client);

	become_manager(next, NULL);
	round_trip(client, next);
	bc_u32(client, BC_ACQUIRE, 0);
	bc_u32(client, BC_RELEASE, 0);
	ASSERT_HARMLESS(client);
	round_trip(client, next);
}

/* The manager has no handle to itself. */
TEST_F(ipc, managers_own_handle)
{
	struct peer *server = manager("server"), *client = member("client");

	bc(server, BC_ENTER_LOOPER);
	bc_u32(server, BC_ACQUIRE, 0);
	bc(server, BC_EXIT_LOOPER);
	ASSERT_STOPS(server, -EINVAL, 4);
	bc_u32(server, BC_INCREFS, 0);
	ASSERT_STOPS(server, -EINVAL, 0);
	bc_u32(server, BC_RELEASE, 0);
	bc_u32(server, BC_DECREFS, 0);
	ASSERT_HARMLESS(server);
	round_trip(client, server);
}

/* Acknowledgements that nobody waits for. */
TEST_F(ipc, stray_done)
{
	struct peer *server = member("server"), *client = member("client");
	struct flat_binder_object object = { .binder = 0x1000, .cookie = 0x2000 };

	become_manager(server, &object);
	bc_node(server, BC_INCREFS_DONE, 0x1000, 0x2000);
	bc_node(server, BC_ACQUIRE_DONE, 0x1000, 0x2000);
	bc_node(server, BC_INCREFS_DONE, 0x1000, 0x2001);
	bc_node(server, BC_ACQUIRE_DONE, 0x1000, 0);
	bc_node(server, BC_INCREFS_DONE, 0x1001, 0x2000);
	bc_node(server, BC_ACQUIRE_DONE, 0, 0);
	ASSERT_HARMLESS(server);
	bc_node(client, BC_INCREFS_DONE, 0x1000, 0x2000);
	bc_node(client, BC_ACQUIRE_DONE, 0x1000, 0x2000);
	ASSERT_HARMLESS(client);
	round_trip(client, server);
}

/* Frees only what was delivered, at its very start, once. */
TEST_F(ipc, free_buffer)
{
	struct peer *server = manager_with("server", 2 * PAGE), *client = member("client");
	__u64 area = (uintptr_t)server->area, at;
	struct peer *sibling = new_thread(client, "sibling");
	struct binder_transaction_data *tr;
	char bytes[64];
	size_t i;

	memset(bytes, 0x77, sizeof(bytes));
	call(client, 1, bytes, sizeof(bytes));
	start_transact(client);

	/* Before it is delivered nothing there can be freed, wherever it lies. */
	for (i = 0; i < 2 * PAGE; i += 8) {
		free_buffer(server, area + i);
		if (server->write_len + 12 > sizeof(server->write)) {
			ASSERT_EQ(0, submit(server));
		}
	}
	ASSERT_EQ(0, submit(server));
	tr = take_call(server);
	ASSERT_PAYLOAD(server, tr, bytes, sizeof(bytes));
	at = tr->data.ptr.buffer;

	/* After that only its start. */
	for (i = 0; i < 2 * PAGE; i += 8) {
		if (area + i != at)
			free_buffer(server, area + i);
		if (server->write_len + 12 > sizeof(server->write)) {
			ASSERT_EQ(0, submit(server));
		}
	}
	free_buffer(server, at + 1);
	free_buffer(server, at - 1);
	free_buffer(server, 0);
	free_buffer(server, area - 8);
	free_buffer(server, area + 2 * PAGE);
	free_buffer(server, ~0ULL);
	free_buffer(server, 1ULL << 63);
	ASSERT_EQ(0, submit(server));
	/* Nobody else can do it. */
	free_buffer(sibling, at);
	ASSERT_EQ(0, submit(sibling));
	ASSERT_PAYLOAD(server, tr, bytes, sizeof(bytes));

	/* The call does not end with its buffer. */
	free_buffer(server, at);
	free_buffer(server, at);
	ASSERT_EQ(0, submit(server));
	EXPECT_TRUE(still_waits(client));
	reply(server, NULL, 0);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	take_reply(client, NULL, 0);
	round_trip(client, server);
}

/* While a live buffer is the only one, the area holds that much less; exactly that much. */
TEST_F(ipc, free_buffer_accounting)
{
	struct peer *server = manager_with("server", 16 * PAGE), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	char *bytes = arena_alloc(16 * PAGE);
	struct binder_transaction_data *tr;

	call(client, 1, bytes, 64);
	start_transact(client);
	tr = take_call(server);
	free_buffer(server, tr->data.ptr.buffer + 8);
	ASSERT_EQ(0, submit(server));

	call(sibling, 2, bytes, 16 * PAGE - 56);
	ASSERT_REFUSED(sibling, BR_FAILED_REPLY, -ENOSPC);
	call(sibling, 2, bytes, 16 * PAGE - 64);
	start_transact(sibling);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	answer(server, take_call(server), NULL, 0);
	take_reply(sibling, NULL, 0);

	call(client, 1, bytes, 16 * PAGE);
	start_transact(client);
	answer(server, take_call(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/* Looper commands in every order: none of them keeps a thread from its work. */
TEST_F(ipc, loopers)
{
	static const __u32 commands[] = { BC_REGISTER_LOOPER, BC_ENTER_LOOPER, BC_EXIT_LOOPER };
	struct peer *server = manager("server"), *client = member("client");
	int i, j, k;

	for (i = 0; i < 3; i++)
		for (j = 0; j < 3; j++)
			for (k = 0; k < 3; k++) {
				bc(server, commands[i]);
				bc(server, commands[j]);
				bc(server, commands[k]);
				ASSERT_EQ(0, submit(server));
				ASSERT_EQ(12, server->bwr.write_consumed);
				ASSERT_QUIET(server);
				round_trip(client, server);
				/* A new thread record for the next combination. */
				ASSERT_EQ(0, peer_ioctl(server, BINDER_THREAD_EXIT, NULL));
				settle(server);
			}
}

/* A thread that never said it is a looper takes work of the process all the same. */
TEST_F(ipc, no_looper)
{
	struct peer *server = manager("server"), *client = member("client");

	start_receive(server);
	call(client, 1, "x", 1);
	start_transact(client);
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server, BR_TRANSACTION);
	answer(server, message(server), "y", 1);
	take_reply(client, "y", 1);
}

/* As many commands as fit, and all of them at once. */
TEST_F(ipc, many)
{
	struct peer *server = manager("server"), *client = member("client");
	int i, n;

	for (n = 0; client->write_len + 68 <= sizeof(client->write); n++)
		oneway(client, n, &n, sizeof(n));
	ASSERT_EQ(0, transact(client));
	ASSERT_EQ(client->bwr.write_size, client->bwr.write_consumed);
	ASSERT_EQ(1 + n, client->brs);
	for (i = 1; i <= n; i++) {
		ASSERT_EQ(BR_TRANSACTION_COMPLETE, client->br[i].cmd);
	}
	for (i = 0; i < n; i++) {
		struct binder_transaction_data *tr = take_call(server);

		ASSERT_EQ(i, tr->code);
		ASSERT_PAYLOAD(server, tr, &i, sizeof(i));
		free_buffer(server, tr->data.ptr.buffer);
		ASSERT_EQ(0, submit(server));
	}
	ASSERT_QUIET(server);
}

/* ---- sizes ------------------------------------------------------------ */

#define SIZES_AREA (16 * PAGE)

TEST_F(ipc, sizes)
{
	static const size_t sizes[] = {
		0, 1, 2, 7, 8, 9, 15, 16, 63, 100, PAGE - 8, PAGE - 1, PAGE, PAGE + 1, PAGE + 8,
		2 * PAGE, 3 * PAGE + 5, SIZES_AREA - PAGE, SIZES_AREA - 8, SIZES_AREA - 7,
		SIZES_AREA - 1, SIZES_AREA,
	};
	struct peer *server = manager_with("server", SIZES_AREA);
	struct peer *client = member_with("client", SIZES_AREA);
	__u8 *bytes = arena_alloc(SIZES_AREA + PAGE);
	size_t i;

	for (i = 0; i < SIZES_AREA; i++)
		bytes[i] = i * 7 + i / 251;
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		exchange(client, server, bytes, sizes[i], sizes[i]);
	/* Where the payload lies in the sender makes no difference. */
	for (i = 1; i < 9; i++)
		exchange(client, server, bytes + i, PAGE + i, PAGE + i);
}

/* Refusals, each without leaving anything: after it the whole area is free. */
TEST_F(ipc, sizes_refused)
{
	struct peer *server = manager_with("server", SIZES_AREA);
	struct peer *client = member_with("client", SIZES_AREA);
	__u8 *bytes = arena_alloc(SIZES_AREA + PAGE);
	static const struct {
		__u64 data, offsets;
		int error;
	} cases[] = {
		{ SIZES_AREA + 1, 0, -ENOSPC },
		{ SIZES_AREA + 8, 0, -ENOSPC },
		{ SIZES_AREA + PAGE, 0, -ENOSPC },
		{ SIZES_AREA, 8, -ENOSPC },
		{ SIZES_AREA - 8, 16, -ENOSPC },
		{ 8, SIZES_AREA, -ENOSPC },
		{ 0, SIZES_AREA + 8, -ENOSPC },
		{ 1ULL << 32, 0, -ENOSPC },
		{ (1ULL << 32) + 8, 0, -ENOSPC },
		{ 1ULL << 63, 0, -ENOSPC },
		{ 0, 1ULL << 63, -ENOSPC },
		{ ~0ULL, 0, -EINVAL },
		{ ~0ULL - 6, 0, -EINVAL },
		{ ~0ULL - 7, 0, -ENOSPC },
		{ 0, ~0ULL, -EINVAL },
		{ 8, ~0ULL - 7, -EINVAL },
		{ ~0ULL - 7, 8, -EINVAL },
		{ ~0ULL - 7, ~0ULL - 7, -EINVAL },
		{ 1ULL << 63, 1ULL << 63, -EINVAL },
		/* The size of the offsets has to be a multiple of 8. */
		{ 64, 1, -EINVAL },
		{ 64, 4, -EINVAL },
		{ 64, 7, -EINVAL },
		{ 64, 12, -EINVAL },
		/* Offsets to what is no object. */
		{ 64, 8, -EINVAL },
		{ 64, 64, -EINVAL },
		{ 0, 8, -EINVAL },
		{ 1, 8, -EINVAL },
	};
	size_t i;

	memset(bytes, 0, SIZES_AREA + PAGE);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		int flags;

		for (flags = 0; flags <= TF_ONE_WAY; flags++) {
			struct unaligned_transaction *t = bc_transaction(client, BC_TRANSACTION, 1,
									 flags, NULL, 0);

			step("case %zu, flags %d", i, flags);
			t->tr.data_size = cases[i].data;
			t->tr.offsets_size = cases[i].offsets;
			t->tr.data.ptr.buffer = (uintptr_t)bytes;
			t->tr.data.ptr.offsets = (uintptr_t)bytes;
			ASSERT_REFUSED(client, BR_FAILED_REPLY, cases[i].error);
			ASSERT_QUIET(server);
		}
	}
	exchange(client, server, bytes, SIZES_AREA, SIZES_AREA);
}

/* Payload that cannot be read, wherever that shows. */
TEST_F(ipc, payload_fault)
{
	struct peer *server = manager_with("server", SIZES_AREA);
	struct peer *client = member_with("client", SIZES_AREA);
	__u8 *bytes = arena_alloc(SIZES_AREA);
	__u64 map = peer_mmap(client, NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct { __u64 data; size_t len; __u64 offsets; size_t offsets_len; } cases[] = {
		{ 0, 1, 0, 0 },
		{ 8, 8, 0, 0 },
		{ ~0ULL - 63, 64, 0, 0 },
		{ ~0ULL - 3, 64, 0, 0 },
		{ map + 3 * PAGE, 1, 0, 0 },
		{ map + 3 * PAGE - 1, 2, 0, 0 },
		{ map + 100, 3 * PAGE, 0, 0 },
		{ map + PAGE, SIZES_AREA, 0, 0 },
		{ map, 64, 0, 8 },
		{ map, 64, map + 3 * PAGE - 4, 8 },
		{ map, 64, map + 3 * PAGE - 8, 16 },
		/* That comes before the question whether the size is good. */
		{ map, 64, 0, 4 },
	};
	size_t i, round;

	ASSERT_EQ(0, peer_syscall(client, SYS_munmap, map + 3 * PAGE, PAGE));
	for (round = 0; round < 5; round++)
		for (i = 0; i < ARRAY_SIZE(cases); i++) {
			struct unaligned_transaction *t;

			step("case %zu, round %zu", i, round);
			t = bc_transaction(client, BC_TRANSACTION, 1, round & 1, NULL, 0);
			t->tr.data_size = cases[i].len;
			t->tr.offsets_size = cases[i].offsets_len;
			t->tr.data.ptr.buffer = cases[i].data;
			t->tr.data.ptr.offsets = cases[i].offsets;
			if ((round & 1) && cases[i].len > SIZES_AREA / 2) {
				ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
				continue;
			}
			ASSERT_REFUSED(client, BR_FAILED_REPLY, -EFAULT);
			ASSERT_QUIET(server);
		}
	memset(bytes, 0x3c, SIZES_AREA);
	exchange(client, server, bytes, SIZES_AREA, SIZES_AREA);

	/* Without bytes it does not matter where they are. */
	call(client, 1, NULL, 0)->tr.data.ptr.buffer = ~0ULL;
	start_transact(client);
	answer(server, take_call(server), NULL, 0);
	take_reply(client, NULL, 0);
}

/* The payload is read straight from where it is: also from the sender's own area. */
TEST_F(ipc, payload_in_area)
{
	struct peer *server = manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct unaligned_transaction *t;

	call(client, 1, "question", 8);
	start_transact(client);
	tr = take_call(server);
	/* The server sends the call back as the reply, out of the buffer itself. */
	t = reply(server, NULL, 0);
	t->tr.data.ptr.buffer = tr->data.ptr.buffer;
	t->tr.data_size = tr->data_size;
	free_buffer(server, tr->data.ptr.buffer);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	take_reply(client, "question", 8);
}

/* The variants with room for embedded buffers. */
TEST_F(ipc, scatter_gather)
{
	struct peer *server = manager_with("server", SIZES_AREA), *client = member("client");
	struct binder_transaction_data_sg sg = { .transaction_data = { .code = 5 } };
	static const struct {
		__u64 buffers;
		int error;
	} cases[] = {
		{ 1, -EINVAL }, { 4, -EINVAL }, { 12, -EINVAL },
		{ SIZES_AREA + 8, -ENOSPC }, { SIZES_AREA - 8, -ENOSPC },
		{ 1ULL << 63, -ENOSPC }, { ~0ULL, -EINVAL }, { ~0ULL - 7, -EINVAL },
	};
	struct binder_transaction_data *tr;
	size_t i;

	sg.transaction_data.data.ptr.buffer = (uintptr_t)arena_copy("0123456789", 10);
	sg.transaction_data.data_size = 10;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		step("case %zu", i);
		sg.buffers_size = cases[i].buffers;
		bc(client, BC_TRANSACTION_SG);
		put(client, &sg, sizeof(sg));
		ASSERT_REFUSED(client, BR_FAILED_REPLY, cases[i].error);
	}
	for (i = 0; i < SIZES_AREA - 8; i += SIZES_AREA - 24) {
		sg.buffers_size = i;
		bc(client, BC_TRANSACTION_SG);
		put(client, &sg, sizeof(sg));
		start_transact(client);
		tr = take_call(server);
		ASSERT_PAYLOAD(server, tr, "0123456789", 10);
		ASSERT_EQ(0, tr->offsets_size);

		free_buffer(server, tr->data.ptr.buffer);
		sg.buffers_size = 64;
		bc(server, BC_REPLY_SG);
		put(server, &sg, sizeof(sg));
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		take_reply(client, "0123456789", 10);
	}
}

TEST_HARNESS_MAIN
