// SPDX-License-Identifier: GPL-2.0
/*
 * Files in messages: who may send them and get them, which descriptors they
 * become, and that none is left open anywhere when something goes wrong.
 */
#include <linux/udmabuf.h>
#include <sys/socket.h>

#include "files.h"

/* P can open so many files more, and not one beyond that. */
static void leave_room_for(struct peer *p, int files)
{
	struct __test_metadata *_metadata = this_test;
	int next = peer_syscall(p, SYS_dup, 0), i;

	ASSERT_LE(0, next);
	close_fd(p, next);
	for (i = 0; i < files; i++)
		ASSERT_FALSE(is_open(p, next + i));
	set_file_limit(p, next + files);
}

/* The descriptor in a message, which must be this object, given the sender's other fields. */
static int received_fd(struct peer *p, const struct binder_transaction_data *tr, size_t index)
{
	struct __test_metadata *_metadata = this_test;
	const struct flat_binder_object *o = object_of(p, tr, index);

	ASSERT_EQ(BINDER_TYPE_FD, o->hdr.type);
	/* Nothing is above the number. */
	ASSERT_LT(o->binder, 1 << 20);
	ASSERT_TRUE(is_open(p, o->handle)) {
		TH_LOG("%s: %u is not open", p->name, o->handle);
	}
	return o->handle;
}

static struct parcel *one_fd(__u32 fd)
{
	struct parcel *m = new_parcel();

	add_fd(m, fd);
	return m;
}

/* ---- what arrives --------------------------------------------------------- */

/* The object: a number of the receiver's, and the sender's other fields. */
TEST_F(ipc, delivered_object)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	int fd;

	add_bytes(m, "four", 4);
	/* The number is 32 bits wide; what is above it means nothing, and does not get through. */
	add_object(m, BINDER_TYPE_FD, 0x89abcdef, 0xdeadbeef00000000 | canary.fd,
		   0xfedcba9876543210);
	call_with(client, 0, m);
	start_transact(client);
	tr = take_call(server);
	EXPECT_EQ(28, tr->data_size);
	EXPECT_EQ(8, tr->offsets_size);
	fd = received_fd(server, tr, 0);
	ASSERT_TRUE(object_is(server, tr, 0, BINDER_TYPE_FD, 0x89abcdef, fd, 0xfedcba9876543210));
	EXPECT_TRUE(same_file(client, canary.fd, server, fd));
	EXPECT_EQ(FD_CLOEXEC, peer_syscall(server, SYS_fcntl, fd, F_GETFD));
	/* It does not close with the message. */
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	EXPECT_TRUE(same_file(client, canary.fd, server, fd));
	close_fd(client, canary.fd);
	ASSERT_ALIVE(&canary);
	close_fd(server, fd);
	ASSERT_GONE(&canary);
}

/* The same one-way, and in a reply. */
TEST_F(ipc, delivered_oneway)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;
	int fd;

	send_oneway(client, 0, one_fd(canary.fd));
	tr = take_call(server);
	fd = received_fd(server, tr, 0);
	EXPECT_TRUE(same_file(client, canary.fd, server, fd));
	EXPECT_EQ(FD_CLOEXEC, peer_syscall(server, SYS_fcntl, fd, F_GETFD));
	free_message(server, tr);
	EXPECT_TRUE(same_file(client, canary.fd, server, fd));
}

TEST_F(ipc, delivered_reply)
{
	struct peer *server = manager("server"), *client = member("client");
	struct canary canary = new_canary(server);
	struct binder_transaction_data *tr;
	int fd;

	tr = ask_for(client, server, one_fd(canary.fd));
	fd = received_fd(client, tr, 0);
	EXPECT_TRUE(same_file(server, canary.fd, client, fd));
	EXPECT_EQ(FD_CLOEXEC, peer_syscall(client, SYS_fcntl, fd, F_GETFD));
	close_fd(server, canary.fd);
	free_message(client, tr);
	ASSERT_ALIVE(&canary);
	kill_process(client);
	ASSERT_GONE(&canary);
}

/* It is the open file that is passed: its offset and flags are shared. */
TEST_F(ipc, shared_offset)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int sent = peer_syscall(client, SYS_memfd_create, "shared", 0), fd;
	long there;
	char *bytes = arena_alloc(32);

	ASSERT_LE(0, sent);
	memcpy(bytes, "0123456789", 10);
	ASSERT_EQ(10, peer_syscall(client, SYS_write, sent, bytes, 10));
	ASSERT_EQ(4, peer_syscall(client, SYS_lseek, sent, 4, SEEK_SET));
	ASSERT_EQ(0, peer_syscall(client, SYS_fcntl, sent, F_SETFL, O_APPEND));
	send_oneway(client, 0, one_fd(sent));
	fd = received_fd(server, take_call(server), 0);
	/* The sender's own descriptor is as it was. */
	EXPECT_EQ(0, peer_syscall(client, SYS_fcntl, sent, F_GETFD));
	EXPECT_EQ(O_APPEND, peer_syscall(server, SYS_fcntl, fd, F_GETFL) & O_APPEND);
	memset(bytes, 0, 32);
	ASSERT_EQ(3, peer_syscall(server, SYS_read, fd, bytes, 3));
	EXPECT_EQ(0, memcmp(bytes, "456", 3));
	EXPECT_EQ(7, peer_syscall(client, SYS_lseek, sent, 0, SEEK_CUR));
	ASSERT_EQ(0, peer_syscall(client, SYS_lseek, sent, 0, SEEK_SET));
	ASSERT_EQ(10, peer_syscall(server, SYS_read, fd, bytes, 32));
	/* Memory, too. */
	ASSERT_EQ(0, peer_syscall(client, SYS_fcntl, sent, F_SETFL, 0));
	there = peer_mmap(server, NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_LT(0, there);
	ASSERT_EQ(0, peer_scribble(server, there + 2));
	ASSERT_EQ(10, peer_syscall(client, SYS_pread64, sent, bytes, 32, 0));
	EXPECT_EQ(0, memcmp(bytes, "01\x5a" "3456789", 10));
}

/* A pipe ends when its last writer goes, wherever the descriptor has been. */
TEST_F(ipc, pipe_ends)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int *ends = arena_alloc(2 * sizeof(int)), fd;
	char *bytes = arena_alloc(8);

	ASSERT_EQ(0, peer_syscall(client, SYS_pipe2, ends, 0));
	send_oneway(client, 0, one_fd(ends[1]));
	close_fd(client, ends[1]);
	peer_start_syscall(client, SYS_read, ends[0], bytes, 8);
	ASSERT_TRUE(peer_sleeps(client));
	fd = received_fd(server, take_call(server), 0);
	ASSERT_EQ(5, peer_syscall(server, SYS_write, fd, "hello", 5));
	ASSERT_EQ(5, peer_finish(client));
	EXPECT_EQ(0, memcmp(bytes, "hello", 5));
	peer_start_syscall(client, SYS_read, ends[0], bytes, 8);
	ASSERT_TRUE(peer_sleeps(client));
	close_fd(server, fd);
	ASSERT_EQ(0, peer_finish(client));
}

/* Files of every kind. */
TEST_F(ipc, kinds_of_files)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int *pair = arena_alloc(2 * sizeof(int)), *ends = arena_alloc(2 * sizeof(int)), before;
	long fds[] = {
		peer_syscall(client, SYS_openat, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY),
		peer_syscall(client, SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY),
		peer_syscall(client, SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY),
		peer_syscall(client, SYS_openat, AT_FDCWD, "/tmp", O_RDWR | O_TMPFILE, 0600),
		peer_syscall(client, SYS_memfd_create, "memory", MFD_CLOEXEC),
		peer_syscall(client, SYS_eventfd2, 1, 0),
		peer_syscall(client, SYS_epoll_create1, 0),
		peer_syscall(client, SYS_timerfd_create, CLOCK_MONOTONIC, 0),
		peer_syscall(client, SYS_pidfd_open, client->pid, 0),
		0, 1, 2, 3, 4, client->fd,
	};
	const size_t at = 9;
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	size_t i;

	ASSERT_EQ(0, peer_syscall(client, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, peer_syscall(client, SYS_pipe2, ends, 0));
	fds[at] = pair[0];
	fds[at + 1] = pair[1];
	fds[at + 2] = ends[0];
	fds[at + 3] = ends[1];
	fds[at + 4] = 0;
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		step("file %zu", i);
		ASSERT_LE(0, fds[i]);
		add_fd(m, fds[i]);
	}
	before = open_files(server);
	send_oneway(client, 0, m);
	tr = take_call(server);
	ASSERT_EQ(before + ARRAY_SIZE(fds), open_files(server));
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		int fd = received_fd(server, tr, i);

		step("file %zu", i);
		ASSERT_TRUE(same_file(client, fds[i], server, fd));
		close_fd(server, fd);
	}
	ASSERT_EQ(before, open_files(server));
	free_message(server, tr);
}

/* The lowest numbers that are free, in the order of the objects. */
TEST_F(ipc, lowest_descriptors)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	int first = peer_syscall(server, SYS_dup, 0), i;
	static const int gaps[] = { 1, 3, 4, 7 };

	for (i = 1; i < 10; i++)
		ASSERT_EQ(first + i, peer_syscall(server, SYS_dup, 0));
	for (i = 0; i < ARRAY_SIZE(gaps); i++)
		close_fd(server, first + gaps[i]);
	for (i = 0; i < 6; i++)
		add_fd(m, i % 2 ? client->fd : 0);
	send_oneway(client, 0, m);
	tr = take_call(server);
	for (i = 0; i < 6; i++) {
		int fd = received_fd(server, tr, i);

		ASSERT_EQ(first + (i < 4 ? gaps[i] : 6 + i), fd);
		ASSERT_TRUE(same_file(client, i % 2 ? client->fd : 0, server, fd));
	}
}

/* Many at once, of one file; and no more is left of them than was sent. */
TEST_F(ipc, many_files)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	int before = open_files(server), i;

	for (i = 0; i < 100; i++)
		add_fd(m, canary.fd);
	send_oneway(client, 0, m);
	close_fd(client, canary.fd);
	ASSERT_ALIVE(&canary);
	ASSERT_EQ(before, open_files(server));
	tr = take_call(server);
	ASSERT_EQ(before + 100, open_files(server));
	for (i = 0; i < 100; i++) {
		ASSERT_ALIVE(&canary);
		close_fd(server, received_fd(server, tr, i));
	}
	ASSERT_EQ(before, open_files(server));
	ASSERT_GONE(&canary);
}

/* Files between objects of other kinds. */
TEST_F(ipc, among_other_objects)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u32 lent = lend(server, client, 0x5000, 0x5001);

	add_binder(m, 0x1000, 1);
	add_fd(m, canary.fd);
	add_handle(m, lent);
	add_fd(m, canary.fd);
	add_weak_binder(m, 0x2000, 2);
	oneway_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, 0, 1);
	ASSERT_OBJECT(server, tr, 2, BINDER_TYPE_BINDER, 0x5000, 0x5001);
	ASSERT_WEAK_HANDLE(server, tr, 4, 2);
	EXPECT_TRUE(same_file(client, canary.fd, server, received_fd(server, tr, 1)));
	EXPECT_TRUE(same_file(client, canary.fd, server, received_fd(server, tr, 3)));
	EXPECT_NE(object_of(server, tr, 1)->handle, object_of(server, tr, 3)->handle);
	free_message(server, tr);
	ASSERT_EQ(0, node_count(client));
	close_fd(client, canary.fd);
	ASSERT_ALIVE(&canary);
}

/* ---- whose descriptors ------------------------------------------------------ */

/* The file is held from when it is sent: what becomes of the sender's descriptor is no matter. */
TEST_F(ipc, sender_closes)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	struct canary canary = new_canary(client);
	int fd;

	call_with(client, 0, one_fd(canary.fd));
	start_transact(client);
	/* Now the number means another file. */
	ASSERT_EQ(canary.fd, peer_syscall(sibling, SYS_dup3, 0, canary.fd, O_CLOEXEC));
	ASSERT_ALIVE(&canary);
	fd = received_fd(server, take_call(server), 0);
	EXPECT_FALSE(same_file(sibling, canary.fd, server, fd));
	ASSERT_ALIVE(&canary);
	close_fd(server, fd);
	ASSERT_GONE(&canary);
}

/* The same for the whole sender. */
TEST_F(ipc, sender_dies)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	int fd;

	oneway_with(client, 0, one_fd(canary.fd));
	ASSERT_EQ(0, submit(client));
	kill_process(client);
	ASSERT_ALIVE(&canary);
	fd = received_fd(server, take_call(server), 0);
	ASSERT_ALIVE(&canary);
	close_fd(server, fd);
	ASSERT_GONE(&canary);
}

/* Threads may have descriptors of their own: the sending and the reading thread's count. */
TEST_F(ipc, unshared_descriptors)
{
	struct peer *server = files_manager("server"), *reader = new_thread(server, "reader");
	struct peer *client = member("client"), *sender = new_thread(client, "sender");
	struct binder_transaction_data *tr;
	int fd, received, servers;

	ASSERT_EQ(0, peer_syscall(reader, SYS_unshare, CLONE_FILES));
	ASSERT_EQ(0, peer_syscall(sender, SYS_unshare, CLONE_FILES));
	servers = open_files(server);
	ASSERT_EQ(servers, open_files(reader));

	/* Only the sender has it. */
	fd = peer_syscall(sender, SYS_memfd_create, "sender's", 0);
	ASSERT_LE(0, fd);
	ASSERT_FALSE(is_open(client, fd));
	oneway_with(client, 0, one_fd(fd));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EBADF);
	send_oneway(sender, 0, one_fd(fd));
	tr = take_call(reader);
	received = received_fd(reader, tr, 0);
	EXPECT_TRUE(same_file(sender, fd, reader, received));
	EXPECT_EQ(servers + 1, open_files(reader));
	EXPECT_EQ(servers, open_files(server));
	free_message(reader, tr);
}

/* ---- permission ---------------------------------------------------------------- */

/* A call's files depend on what the node was made with, and on nothing else. */
TEST_F(ipc, node_decides)
{
	struct peer *server = manager("server"), *owner = member("owner");
	struct peer *client = member("client");
	struct canary canary = new_canary(client);
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u32 takes, refuses;
	int before = open_files(owner);

	/* The manager's node is one that does not. */
	bc_parcel(client, BC_TRANSACTION, 0, TF_ACCEPT_FDS, one_fd(canary.fd));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPERM);
	oneway_with(client, 0, one_fd(canary.fd));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPERM);
	/* That comes before the question whether there is such a file. */
	oneway_with(client, 0, one_fd(-1));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPERM);
	ASSERT_QUIET(server);

	takes = offer_with(owner, server, 0x1000, 1, FLAT_BINDER_FLAG_ACCEPTS_FDS);
	takes = hand_over(server, client, takes);
	refuses = offer_with(owner, server, 0x2000, 2, (__u32)~FLAT_BINDER_FLAG_ACCEPTS_FDS &
			     ~FLAT_BINDER_FLAG_TXN_SECURITY_CTX);
	refuses = hand_over(server, client, refuses);
	oneway_with(client, refuses, one_fd(canary.fd));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPERM);
	send_oneway(client, takes, one_fd(canary.fd));
	tr = take_call(owner);
	close_fd(owner, received_fd(owner, tr, 0));
	free_message(owner, tr);

	/* Other flags, later on, change nothing. */
	add_object(m, BINDER_TYPE_BINDER, FLAT_BINDER_FLAG_ACCEPTS_FDS, 0x2000, 2);
	add_object(m, BINDER_TYPE_BINDER, 0, 0x1000, 1);
	send_oneway(owner, 0, m);
	free_message(server, take_call(server));
	oneway_with(client, refuses, one_fd(canary.fd));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPERM);
	send_oneway(client, takes, one_fd(canary.fd));
	close_fd(owner, received_fd(owner, take_call(owner), 0));
	ASSERT_EQ(before, open_files(owner));
	close_fd(client, canary.fd);
	ASSERT_GONE(&canary);
}

/* A reply's files depend on what the call says. */
TEST_F(ipc, caller_decides)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(server);
	int before = open_files(client), i;

	/* There need not even be such a file. */
	for (i = 0; i < 2; i++) {
		bc_parcel(client, BC_TRANSACTION, 0, 0, NULL);
		start_transact(client);
		free_message(server, take_call(server));
		reply_with(server, one_fd(i ? -1U : canary.fd))->tr.flags = TF_ACCEPT_FDS;
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		ASSERT_EXTENDED_ERROR(server, BR_OK, 0);
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
		ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -EPERM);
	}
	/* With leave, but without a file. */
	call_with(client, 0, NULL);
	start_transact(client);
	free_message(server, take_call(server));
	reply_with(server, one_fd(-1));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -EBADF);
	ASSERT_EQ(before, open_files(client));
	close_fd(server, canary.fd);
	ASSERT_GONE(&canary);
	round_trip(client, server);
}

/* Numbers behind which there is no file. */
TEST_F(ipc, no_such_file)
{
	struct peer *server = files_manager("server"), *client = member("client");
	long closed = peer_syscall(client, SYS_dup, 0);
	/* A descriptor that is only a place is no file to be passed. */
	long place = peer_syscall(client, SYS_openat, AT_FDCWD, "/", O_PATH);
	__u32 fds[] = { -1U, -2U, 0x7fffffff, 0x80000000, AT_FDCWD, 1000000, closed, place };
	int before = open_files(server);
	size_t i;

	ASSERT_LE(0, place);
	close_fd(client, closed);
	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		step("descriptor %d", fds[i]);
		oneway_with(client, 0, one_fd(fds[i]));
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EBADF);
		call_with(client, 0, one_fd(fds[i]));
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -EBADF);
	}
	ASSERT_QUIET(server);
	ASSERT_EQ(before, open_files(server));
	round_trip(client, server);
}

/* ---- failures ------------------------------------------------------------------ */

/* A message that fails behind some of its files lets go of them. */
TEST_F(ipc, failure_behind_files)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int servers = open_files(server), clients = open_files(client), kind, i;

	for (kind = 0; kind < 4; kind++) {
		struct canary canaries[3];
		struct parcel *m = new_parcel();
		struct unaligned_transaction *t;
		int error;

		step("failure %d", kind);
		for (i = 0; i < 3; i++) {
			canaries[i] = new_canary(client);
			add_fd(m, canaries[i].fd);
		}
		switch (kind) {
		case 0:
			add_fd(m, -1);
			error = -EBADF;
			break;
		case 1:
			add_handle(m, 4711);
			error = -EINVAL;
			break;
		case 2:
			add_object(m, 0, 0, 0, 0);
			error = -EINVAL;
			break;
		default:
			add_bytes(m, "some bytes more.", 16);
			error = -EFAULT;
		}
		t = oneway_with(client, 0, m);
		if (kind == 3) {
			t->tr.data.ptr.buffer = before_hole(client, m->data, m->len);
			t->tr.data_size++;
		}
		ASSERT_REFUSED(client, BR_FAILED_REPLY, error);
		for (i = 0; i < 3; i++) {
			ASSERT_ALIVE(&canaries[i]);
			close_fd(client, canaries[i].fd);
			ASSERT_GONE(&canaries[i]);
			close(canaries[i].watch);
		}
		ASSERT_EQ(servers, open_files(server));
		ASSERT_EQ(clients, open_files(client));
		ASSERT_QUIET(server);
	}
}

/* The receiver has no room for another file: the caller is told, the receiver is not. */
TEST_F(ipc, no_descriptor_for_call)
{
	struct peer *server = files_manager_with("server", 4 * PAGE), *client = member("client");
	struct canary canary = new_canary(client);
	struct peer *sibling = new_thread(client, "sibling");
	int before = open_files(server);
	void *bytes = arena_alloc(4 * PAGE);

	leave_room_for(server, 0);
	start_receive(server);
	call_with(client, 0, one_fd(canary.fd));
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	/* The call itself was good. */
	ASSERT_EXTENDED_ERROR(client, BR_OK, 0);
	ASSERT_TRUE(peer_sleeps(server));
	ASSERT_EQ(before, open_files(server));
	close_fd(sibling, canary.fd);
	ASSERT_GONE(&canary);

	/* As often as that happens. */
	call_with(client, 0, one_fd(0));
	ASSERT_EQ(0, transact(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_TRUE(peer_sleeps(server));
	/* Calls without files are as ever, and the whole area is free for them. */
	call_at(client, 5, bytes, 4 * PAGE);
	start_transact(client);
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server, BR_TRANSACTION);
	answer(server, message(server), NULL, 0);
	take_reply(client, NULL, 0);

	set_file_limit(server, 100);
	call_with(client, 0, one_fd(0));
	start_transact(client);
	received_fd(server, take_call(server), 0);
}

TEST_F(ipc, no_descriptor_for_queued_call)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *other = member("other");

	leave_room_for(server, 0);
	call_with(client, 0, one_fd(0));
	start_transact(client);
	ASSERT_QUIET(server);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	reply(server, NULL, 0);
	ASSERT_REFUSED(server, BR_FAILED_REPLY, -EPROTO);

	/* The one behind it is read in its place. */
	call_with(client, 0, one_fd(0));
	start_transact(client);
	call(other, 7, NULL, 0);
	start_transact(other);
	ASSERT_EQ(7, take_call(server)->code);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	answer(server, message(server), NULL, 0);
	take_reply(other, NULL, 0);
}

/* One-way, nobody is told; the next in turn is read. */
TEST_F(ipc, no_descriptor_for_oneway)
{
	struct peer *server = files_manager_with("server", 4 * PAGE), *client = member("client");
	struct canary canary = new_canary(client);
	int before = open_files(server);

	leave_room_for(server, 0);
	send_oneway(client, 0, one_fd(canary.fd));
	send_oneway(client, 0, one_fd(canary.fd));
	oneway_with(client, 0, NULL)->tr.code = 9;
	ASSERT_EQ(0, transact(client));
	close_fd(client, canary.fd);
	ASSERT_ALIVE(&canary);
	ASSERT_EQ(9, take_call(server)->code);
	ASSERT_GONE(&canary);
	ASSERT_EQ(before, open_files(server));
	free_message(server, message(server));
	ASSERT_QUIET(server);
	ASSERT_QUIET(client);

	/* Their half of the area is free again. */
	oneway(client, 10, arena_alloc(2 * PAGE), 2 * PAGE);
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(10, take_call(server)->code);
}

/* A thread that waits is not disturbed by what it cannot have. */
TEST_F(ipc, no_descriptor_for_waiting_thread)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);

	leave_room_for(server, 0);
	start_receive(server);
	send_oneway(client, 0, one_fd(canary.fd));
	close_fd(client, canary.fd);
	ASSERT_TRUE(peer_sleeps(server));
	oneway_with(client, 0, NULL)->tr.code = 3;
	ASSERT_EQ(0, submit(client));
	ASSERT_EQ(0, finish(server));
	ASSERT_BR(server, BR_TRANSACTION);
	EXPECT_EQ(3, message(server)->code);
	ASSERT_GONE(&canary);
}

/* What was there to be read before it is read, whatever becomes of the message behind. */
TEST_F(ipc, no_descriptor_behind_other_work)
{
	struct peer *server = files_manager("server"), *client = member("client");
	__u32 lent = lend(server, client, 0x5000, 0x5001);

	leave_room_for(server, 0);
	bc_u32(client, BC_RELEASE, lent);
	call_with(client, 0, one_fd(0));
	start_transact(client);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	round_trip(client, server);
}

/* A reply that cannot be read is one that failed. */
TEST_F(ipc, no_descriptor_for_reply)
{
	struct peer *server = manager("server"), *client = member("client");
	struct canary canary = new_canary(server);
	int before = open_files(client);

	leave_room_for(client, 0);
	call_with(client, 0, NULL);
	start_transact(client);
	free_message(server, take_call(server));
	reply_with(server, one_fd(canary.fd));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EQ(before, open_files(client));
	close_fd(server, canary.fd);
	ASSERT_GONE(&canary);
	ASSERT_QUIET(client);
	ASSERT_QUIET(server);
	round_trip(client, server);
	set_file_limit(client, 100);
	free_message(client, ask_for(client, server, one_fd(0)));
}

/* Room for some of the files is room for none. The other objects go with them. */
TEST_F(ipc, not_enough_descriptors)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int before = open_files(server), room, i;
	__u32 lent = lend(server, client, 0x5000, 0x5001);
	struct parcel *enough;

	for (room = 0; room < 3; room++) {
		struct parcel *m = new_parcel();
		struct canary canaries[3];

		step("room for %d", room);
		add_binder(m, 0x1000, 1);
		add_handle(m, lent);
		for (i = 0; i < 3; i++) {
			canaries[i] = new_canary(client);
			add_fd(m, canaries[i].fd);
		}
		add_weak_binder(m, 0x2000, 2);
		leave_room_for(server, room);
		oneway_with(client, 0, m);
		ASSERT_EQ(0, transact(client));
		ASSERT_BR(client, BR_INCREFS, BR_ACQUIRE, BR_INCREFS, BR_TRANSACTION_COMPLETE);
		acknowledge(client, 0x1000, 1);
		bc_node(client, BC_INCREFS_DONE, 0x2000, 2);
		ASSERT_EQ(0, submit(client));
		for (i = 0; i < 3; i++)
			close_fd(client, canaries[i].fd);
		ASSERT_QUIET(server);
		ASSERT_EQ(before, open_files(server));
		for (i = 0; i < 3; i++) {
			ASSERT_GONE(&canaries[i]);
			close(canaries[i].watch);
		}
		ASSERT_READS(client, BR_RELEASE, BR_DECREFS, BR_DECREFS);
		ASSERT_EQ(0, node_count(client));
		ASSERT_NO_HANDLE(server, 1);
		set_file_limit(server, 100);
	}
	/* What was reserved can be had. */
	leave_room_for(server, 3);
	enough = new_parcel();
	for (i = 0; i < 3; i++)
		add_fd(enough, 0);
	send_oneway(client, 0, enough);
	take_call(server);
	ASSERT_EQ(before + 3, open_files(server));
	count(client, BC_RELEASE, lent);
	ASSERT_READS(server, BR_RELEASE, BR_DECREFS);
}

/*
 * The receiver's buffer cannot be written when its files are ready: then it has
 * not received them. (The C driver leaves them open there, and nobody knows
 * their numbers.)
 */
TEST_F(ipc, read_fault)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary canary = new_canary(client);
	struct peer *sibling = new_thread(client, "sibling");
	struct binder_write_read *bwr = arena_alloc(sizeof(*bwr));
	int before = open_files(server);

	require_rust_ipc();
	call_with(client, 0, one_fd(canary.fd));
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
	ASSERT_QUIET(server);
	round_trip(client, server);
}

/* ---- death ---------------------------------------------------------------------- */

FIXTURE(undelivered) {
};

FIXTURE_VARIANT(undelivered) {
	bool oneway, two, delivered;
};

FIXTURE_VARIANT_ADD(undelivered, call) { };
FIXTURE_VARIANT_ADD(undelivered, oneway) { .oneway = true };
FIXTURE_VARIANT_ADD(undelivered, waiting_oneway) { .oneway = true, .two = true };
FIXTURE_VARIANT_ADD(undelivered, waiting_behind_delivered) {
	.oneway = true, .two = true, .delivered = true,
};

FIXTURE_SETUP(undelivered)
{
	this_test = _metadata;
}

FIXTURE_TEARDOWN(undelivered)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* Files that never arrived are let go when the receiver dies. */
TEST_F(undelivered, receiver_dies)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *sibling = new_thread(client, "sibling");
	struct canary canary = new_canary(client);

	if (variant->two)
		send_oneway(client, 0, NULL);
	bc_parcel(client, BC_TRANSACTION, 0, variant->oneway ? TF_ONE_WAY : 0, one_fd(canary.fd));
	ASSERT_EQ(0, submit(client));
	close_fd(sibling, canary.fd);
	if (variant->delivered)
		take_call(server);
	ASSERT_ALIVE(&canary);
	kill_process(server);
	ASSERT_GONE(&canary);
	ASSERT_EQ(0, receive(client));
	if (variant->oneway) {
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	} else {
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	}
}

/* It has the message in its hands, and never looks at it: its descriptors close as all do. */
TEST_F(ipc, receiver_dies_with_descriptors)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct canary one = new_canary(client), two = new_canary(client);
	struct parcel *m = new_parcel();

	add_fd(m, one.fd);
	add_fd(m, two.fd);
	call_with(client, 0, m);
	ASSERT_EQ(0, submit(client));
	close_fd(client, one.fd);
	close_fd(client, two.fd);
	take_call(server);
	kill_process(server);
	ASSERT_GONE(&one);
	ASSERT_GONE(&two);
}

/* A reply that the caller does not live to read. */
TEST_F(ipc, caller_dies)
{
	struct peer *server = manager("server"), *client = member("client");
	struct canary canary = new_canary(server);

	call_with(client, 0, NULL);
	ASSERT_EQ(0, submit(client));
	free_message(server, take_call(server));
	reply_with(server, one_fd(canary.fd));
	ASSERT_EQ(0, transact(server));
	close_fd(server, canary.fd);
	ASSERT_ALIVE(&canary);
	kill_process(client);
	ASSERT_GONE(&canary);
}

/* The same where it is only the thread that leaves. */
TEST_F(ipc, calling_thread_leaves)
{
	struct peer *server = manager("server"), *client = member("client");
	struct canary canary = new_canary(server);

	call_with(client, 0, NULL);
	ASSERT_EQ(0, submit(client));
	free_message(server, take_call(server));
	reply_with(server, one_fd(canary.fd));
	ASSERT_EQ(0, transact(server));
	close_fd(server, canary.fd);
	ASSERT_ALIVE(&canary);
	ASSERT_EQ(0, peer_ioctl(client, BINDER_THREAD_EXIT, NULL));
	ASSERT_GONE(&canary);
	settle(client);
	round_trip(client, server);
}

/* The caller is gone when the reply is made: its files are not even looked at. */
TEST_F(ipc, reply_to_the_dead)
{
	struct peer *server = manager("server"), *client = member("client");
	struct canary canary = new_canary(server);
	__u32 handle = offer(client, server, 0x1000, 1);

	call_with(client, 0, NULL);
	start_transact(client);
	free_message(server, take_call(server));
	kill_process(client);
	await_dead_oneway(server, handle);
	reply_with(server, one_fd(canary.fd));
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	close_fd(server, canary.fd);
	ASSERT_GONE(&canary);
}

/* ---- files of the driver -------------------------------------------------------- */

/* The device is a file like others. */
TEST_F(ipc, devices_own_file)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct binder_version *version = arena_alloc(sizeof(*version));
	struct peer *third = member("third");
	int fd;
	__u32 handle = offer(client, server, 0x1000, 1), thirds;

	thirds = hand_over(server, third, handle);
	call_with(client, 0, one_fd(client->fd));
	start_transact(client);
	fd = received_fd(server, take_call(server), 0);
	EXPECT_TRUE(same_file(client, client->fd, server, fd));
	memset(version, 0, sizeof(*version));
	ASSERT_EQ(0, peer_syscall(server, SYS_ioctl, fd, BINDER_VERSION, version));
	EXPECT_EQ(8, version->protocol_version);
	/* Its area is not for others. */
	ASSERT_EQ(-EINVAL, peer_mmap(server, NULL, PAGE, PROT_READ, MAP_PRIVATE, fd));

	/*
	 * The opener dies. As long as the file is open, it is not what one
	 * calls dead; but it has nowhere to put a message any more.
	 */
	kill_process(client);
	answer(server, message(server), NULL, 0);
	await_dead(third, thirds);
	ASSERT_EXTENDED_ERROR(third, BR_DEAD_REPLY, -ESRCH);
	close_fd(server, fd);
	ASSERT_TRUE(eventually(({
		call_with(third, thirds, NULL);
		ASSERT_EQ(0, transact(third));
		ASSERT_BR(third, BR_DEAD_REPLY);
		extended_error(third).param == -EINVAL;
	})));
}

/* Sent through itself, and received: one more descriptor of it, that is all. */
TEST_F(ipc, device_through_itself)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct binder_transaction_data *tr;
	int before = open_files(server), clients, own;

	/* From the server, to the client, to the server. */
	tr = ask_for(client, server, one_fd(server->fd));
	clients = received_fd(client, tr, 0);
	free_message(client, tr);
	call_with(client, 0, one_fd(clients));
	start_transact(client);
	tr = take_call(server);
	own = received_fd(server, tr, 0);
	EXPECT_NE(server->fd, own);
	EXPECT_TRUE(same_file(server, server->fd, server, own));
	ASSERT_EQ(before + 1, open_files(server));

	/* It is as good as the first. */
	server->fd = own;
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	close_fd(client, clients);
	round_trip(client, server);
	/* The last one closes the device. */
	kill_process(server);
	await_no_manager(client);
	server = manager("next");
	round_trip(client, server);
}

/* The sender's own device in a message that nobody reads: it goes when the message does. */
TEST_F(ipc, device_in_unread_message)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *third = member("third");
	__u32 handle = offer(client, server, 0x1000, 1), thirds;

	thirds = hand_over(server, third, handle);
	oneway_with(client, 0, one_fd(client->fd));
	ASSERT_EQ(0, submit(client));
	kill_process(client);
	await_dead(third, thirds);
	ASSERT_EXTENDED_ERROR(third, BR_DEAD_REPLY, -ESRCH);
	ASSERT_COUNTS(server, handle, 2, 0);
	kill_process(server);
	ASSERT_TRUE(eventually(({
		call_with(third, thirds, NULL);
		ASSERT_EQ(0, transact(third));
		ASSERT_BR(third, BR_DEAD_REPLY);
		extended_error(third).param == -EINVAL;
	})));
}

/*
 * The receiver's own device in a message that it does not read: it goes when the
 * receiver does. (With the C driver it stays for ever, with all that it has.)
 */
TEST_F(ipc, own_device_in_unread_message)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *waiting = member("waiting");
	int fd = take_fd(client, server, server->fd), i;

	require_rust_ipc();
	/* One that waits for a reader, and one that waits for the other. */
	for (i = 0; i < 2; i++)
		send_oneway(client, 0, one_fd(fd));
	call_with(waiting, 0, NULL);
	start_transact(waiting);
	close_fd(client, fd);
	kill_process(server);
	ASSERT_EQ(0, finish(waiting));
	ASSERT_BR(waiting, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	await_no_manager(client);
	round_trip(client, manager("next"));
}

/* The same by way of another process. */
TEST_F(ipc, devices_in_each_others_messages)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *other = member("other"), *third = member("third");
	__u32 handle = offer(other, server, 0x1000, 1), thirds;
	int servers = take_fd(client, server, server->fd);
	int others = take_fd(client, other, other->fd);

	require_rust_ipc();
	thirds = hand_over(server, third, handle);
	handle = hand_over(server, client, handle);
	send_oneway(client, 0, one_fd(others));
	send_oneway(client, handle, one_fd(servers));
	close_fd(client, servers);
	close_fd(client, others);
	kill_process(other);
	await_dead(third, thirds);
	kill_process(server);
	await_no_manager(client);
	ASSERT_TRUE(eventually(({
		call_with(third, thirds, NULL);
		ASSERT_EQ(0, transact(third));
		ASSERT_BR(third, BR_DEAD_REPLY);
		extended_error(third).param == -EINVAL;
	})));
	round_trip(client, manager("next"));
}

/* Two processes hand their devices to each other, read, and die one after the other. */
TEST_F(ipc, devices_exchanged)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct binder_transaction_data *tr;

	call_with(client, 0, one_fd(client->fd));
	start_transact(client);
	tr = take_call(server);
	received_fd(server, tr, 0);
	free_buffer(server, tr->data.ptr.buffer);
	reply_with(server, one_fd(server->fd));
	ASSERT_EQ(0, transact(server));
	ASSERT_EQ(0, finish(client));
	received_fd(client, message(client), 0);
	kill_process(server);
	/* The manager's file is still open, in the client; but it has nowhere to put a message. */
	call(client, 1, NULL, 0);
	ASSERT_REFUSED(client, BR_DEAD_REPLY, -ESRCH);
	kill_process(client);
	/* Now it is closed, and there can be another. */
	client = member("another");
	server = manager("next");
	round_trip(client, server);
}

/* ---- dma-buf --------------------------------------------------------------------- */

/* Memory that devices share is passed as a file, and is the same memory there. */
TEST_F(ipc, dma_buf)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct udmabuf_create *create = arena_alloc(sizeof(*create));
	long device = peer_syscall(client, SYS_openat, AT_FDCWD, "/dev/udmabuf", O_RDWR | O_CLOEXEC);
	long memory, buffer, fd, map;
	struct binder_transaction_data *tr;
	char *bytes = arena_alloc(2 * PAGE);

	if (device == -ENOENT || device == -ENODEV || device == -ENXIO)
		SKIP(return, "there is no /dev/udmabuf");
	ASSERT_LE(0, device);
	memset(bytes, 'x', 2 * PAGE);
	memcpy(bytes + PAGE, "second page", 11);
	memory = peer_syscall(client, SYS_memfd_create, "pages", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_LE(0, memory);
	ASSERT_EQ(2 * PAGE, peer_syscall(client, SYS_write, memory, bytes, 2 * PAGE));
	ASSERT_EQ(0, peer_syscall(client, SYS_fcntl, memory, F_ADD_SEALS, F_SEAL_SHRINK));
	*create = (struct udmabuf_create) {
		.memfd = memory, .flags = UDMABUF_FLAGS_CLOEXEC, .offset = 0, .size = 2 * PAGE,
	};
	buffer = peer_syscall(client, SYS_ioctl, device, UDMABUF_CREATE, create);
	ASSERT_LE(0, buffer);

	call_with(client, 0, one_fd(buffer));
	start_transact(client);
	tr = take_call(server);
	fd = received_fd(server, tr, 0);
	EXPECT_TRUE(same_file(client, buffer, server, fd));
	EXPECT_EQ(2 * PAGE, peer_syscall(server, SYS_lseek, fd, 0, SEEK_END));
	map = peer_mmap(server, NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	ASSERT_LT(0, map);
	ASSERT_EQ(0, memcmp("second page", peer_memory(server, map + PAGE, 11), 11));
	ASSERT_EQ(0, peer_scribble(server, map + 1));
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	ASSERT_EQ(2 * PAGE, peer_syscall(client, SYS_pread64, memory, bytes, 2 * PAGE, 0));
	EXPECT_EQ(0, memcmp("x\x5ax", bytes, 3));

	/* It outlives who made it. */
	kill_process(client);
	EXPECT_EQ(0, memcmp("second page", peer_memory(server, map + PAGE, 11), 11));
}

TEST_HARNESS_MAIN
