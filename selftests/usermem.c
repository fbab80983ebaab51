// SPDX-License-Identifier: GPL-2.0
/*
 * The memory that a pointer leads to, for each pointer that the driver is given:
 * it is not there, or only its beginning is, it is not for writing, it is there
 * later, or is somewhere else in the middle of an access. An access that fails is
 * reported, and leaves nothing; one that waits keeps nobody else waiting.
 */
#include "freeze.h"
#include "gather.h"
#include "rust_ipc.h"
#include "slow.h"

/* What begins in a good page goes on in one that is so. */
enum { GOOD, READ_ONLY, HOLE, NO_ACCESS, FILE_END, KINDS };

static const char *const kind_names[] = {
	"good", "read-only", "a hole", "without access", "behind the end of a file",
};

/* Not addresses of a user's, or not of anything. */
static const __u64 wild[] = {
	0, 8, 1ULL << 46, (1ULL << 47) - 8, 1ULL << 47, 1ULL << 63, 0xffff888000000000ULL, ~0ULL - 7, ~0ULL,
};

/* A copy in memory of P, with SPLIT of the bytes in a good page, and the rest in one of that kind. */
static __u64 place(struct peer *p, int kind, size_t split, const void *bytes, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	long at, fd = -1;
	struct copy_args copy = { NULL, bytes, kind > READ_ONLY ? split : len };

	if (kind == FILE_END) {
		fd = peer_syscall(p, SYS_memfd_create, arena_copy("file", 5), MFD_CLOEXEC);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, peer_syscall(p, SYS_ftruncate, fd, PAGE));
	}
	at = peer_mmap(p, NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		       fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd);
	ASSERT_LT(0, at);
	copy.to = (void *)(at + PAGE - split);
	ASSERT_EQ(0, peer_run(p, do_copy, arena_copy(&copy, sizeof(copy))));
	switch (kind) {
	case READ_ONLY:
	case NO_ACCESS:
		ASSERT_EQ(0, peer_syscall(p, SYS_mprotect, at + PAGE, PAGE,
					  kind == READ_ONLY ? PROT_READ : PROT_NONE));
		break;
	case HOLE:
		ASSERT_EQ(0, peer_syscall(p, SYS_munmap, at + PAGE, PAGE));
		break;
	case FILE_END:
		close_fd(p, fd);
		break;
	}
	return (uintptr_t)copy.to;
}

static void remove_place(struct peer *p, __u64 at, size_t split)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_EQ(0, peer_syscall(p, SYS_munmap, at + split - PAGE, 2 * PAGE));
}

/* ---- BINDER_WRITE_READ ------------------------------------------------------- */

enum { ARGUMENT, COMMANDS, PAYLOAD, OFFSETS, BUFFER, RETURNS };

FIXTURE(pointer) {
	struct peer *server, *client, *other;
	struct peer *second;		/* another thread of the server's */
	struct peer *who;		/* has the pointer, which is a thread of the server's or client's */
	struct peer *helper;		/* another thread of that process */
	/* A message that is to be sent, and its parts. */
	struct parcel *m;
	__u8 *bytes;
	struct unaligned_transaction *t;
	struct binder_write_read *bwr;
};

FIXTURE_VARIANT(pointer) {
	int which;
};

FIXTURE_VARIANT_ADD(pointer, argument) { ARGUMENT };
FIXTURE_VARIANT_ADD(pointer, commands) { COMMANDS };
FIXTURE_VARIANT_ADD(pointer, payload) { PAYLOAD };
FIXTURE_VARIANT_ADD(pointer, offsets) { OFFSETS };
FIXTURE_VARIANT_ADD(pointer, buffer) { BUFFER };
FIXTURE_VARIANT_ADD(pointer, returns) { RETURNS };

#define BYTES 40
/* BR_NOOP, BR_TRANSACTION, and what that has. */
#define RETURNED (8 + sizeof(struct binder_transaction_data))

FIXTURE_SETUP(pointer)
{
	this_test = _metadata;
	if (variant->which == RETURNS)
		require_rust_ipc();
	self->server = manager("server");
	self->second = new_thread(self->server, "second");
	self->client = member("client");
	self->other = member("other");
	self->who = variant->which == RETURNS ? self->server : self->client;
	self->helper = new_thread(self->who, "helper");
}

FIXTURE_TEARDOWN(pointer)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/*
 * Gets a message ready: the client's, which is a call if the pointer is that of
 * the server's read buffer, and has been sent then.
 */
static void prepare(FIXTURE_DATA(pointer) *self)
{
	struct peer *p = self->client;
	bool is_call = self->who == self->server;

	self->m = new_parcel();
	self->bytes = new_bytes(BYTES);
	add_bytes(self->m, "the head", 8);
	add_root(self->m, self->bytes, BYTES);
	add_bytes(self->m, "the tail", 8);
	self->t = bc_tree(p, BC_TRANSACTION_SG, is_call ? 0 : TF_ONE_WAY, self->m, BYTES);
	if (is_call) {
		start_transact(p);
		p = self->server;
		p->write_len = 0;
	}
	prepare_io(p, is_call);
	self->bwr = &p->bwr;
}

/* What the pointer points to as yet, and how much of it is used. */
static void *target(FIXTURE_DATA(pointer) *self, int which, size_t *len)
{
	switch (which) {
	case ARGUMENT:
		*len = sizeof(*self->bwr);
		return self->bwr;
	case COMMANDS:
		*len = self->bwr->write_size;
		return self->client->write;
	case PAYLOAD:
		*len = self->m->len;
		return self->m->data;
	case OFFSETS:
		*len = self->m->offsets_len;
		return self->m->offsets;
	case BUFFER:
		*len = BYTES;
		return self->bytes;
	default:
		*len = RETURNED;
		return self->server->read;
	}
}

/* Has it point elsewhere. */
static void redirect(FIXTURE_DATA(pointer) *self, int which, __u64 at)
{
	struct binder_buffer_object *object;

	switch (which) {
	case ARGUMENT:
		self->bwr = (void *)(uintptr_t)at;
		break;
	case COMMANDS:
		self->bwr->write_buffer = at;
		break;
	case PAYLOAD:
		self->t->tr.data.ptr.buffer = at;
		break;
	case OFFSETS:
		self->t->tr.data.ptr.offsets = at;
		break;
	case BUFFER:
		object = (void *)(self->m->data + self->m->offsets[0]);
		object->buffer = at;
		break;
	case RETURNS:
		self->bwr->read_buffer = at;
		break;
	}
}

/*
 * The message has not been sent, or not been received, and those concerned know.
 * SPLIT bytes could be accessed.
 */
static void check_failed(FIXTURE_DATA(pointer) *self, int which, size_t split, long ret)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *client = self->client;

	if (which == ARGUMENT || which == COMMANDS) {
		ASSERT_EQ(-EFAULT, ret);
	} else if (which == RETURNS && split < 4) {
		/* That shows with BR_NOOP, before anything is taken. */
		ASSERT_EQ(-EFAULT, ret);
		ASSERT_TRUE(still_waits(client));
		answer(self->server, take_call(self->server), NULL, 0);
		take_reply(client, NULL, 0);
	} else if (which == RETURNS) {
		ASSERT_EQ(-EFAULT, ret);
		ASSERT_EQ(0, finish(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	} else {
		int error;

		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_FAILED_REPLY);
		error = extended_error(client).param;
		/* EINVAL: there is no object, or not what it says. */
		ASSERT_TRUE(error == -EFAULT || (error == -EINVAL && which != OFFSETS)) {
			TH_LOG("extended error %d", error);
		}
	}
	ASSERT_QUIET(self->server);
	ASSERT_QUIET(client);
}

/* The message has arrived, as it was sent. */
static void check_arrived(FIXTURE_DATA(pointer) *self, int which, __u64 at, long ret)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *server = self->server, *client = self->client;
	const struct binder_buffer_object *object;
	struct binder_transaction_data *tr;
	const void *seen;

	ASSERT_EQ(0, ret);
	if (which == RETURNS) {
		ASSERT_EQ(RETURNED, server->bwr.read_consumed);
		seen = peer_memory(server, at, RETURNED);
		ASSERT_NE(NULL, seen);
		memcpy(server->read, seen, RETURNED);
		parse_returns(server);
	} else {
		ASSERT_EQ(0, receive(server));
	}
	ASSERT_BR(server, BR_TRANSACTION);
	tr = message(server);
	ASSERT_EQ(self->m->len, tr->data_size);
	seen = peer_memory(server, tr->data.ptr.buffer, self->m->len);
	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0, memcmp(seen, "the head", 8));
	ASSERT_EQ(0, memcmp(seen + self->m->len - 8, "the tail", 8));
	object = seen + self->m->offsets[0];
	ASSERT_EQ(BYTES, object->length);
	seen = peer_memory(server, object->buffer, BYTES);
	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0, memcmp(seen, self->bytes, BYTES));
	if (which == RETURNS) {
		answer(server, tr, NULL, 0);
		take_reply(client, NULL, 0);
	} else {
		free_message(server, tr);
		ASSERT_EQ(0, receive(client));
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE);
	}
}

/* A message with the pointer leading to memory of that kind. */
static void try_kind(FIXTURE_DATA(pointer) *self, int which, int kind, size_t split)
{
	struct __test_metadata *_metadata = this_test;
	/* The read buffer is written, and so is the argument, when all has been done. */
	bool is_written = which == RETURNS || which == ARGUMENT;
	__u8 *scratch = arena.free;
	void *bytes;
	size_t len;
	__u64 at;
	long ret;

	step("%s, %zu bytes before", kind_names[kind], split);
	prepare(self);
	bytes = target(self, which, &len);
	at = place(self->who, kind, split, bytes, len);
	redirect(self, which, at);
	ret = peer_run(self->who, do_write_read, self->bwr);
	if (kind == READ_ONLY && which == ARGUMENT) {
		ASSERT_EQ(-EFAULT, ret);
		ret = 0;
	}
	if (kind == GOOD || (kind == READ_ONLY && (!is_written || which == ARGUMENT)))
		check_arrived(self, which, at, ret);
	else
		check_failed(self, which, split, ret);
	remove_place(self->who, at, split);
	arena.free = scratch;
}

TEST_F_TIMEOUT(pointer, bad, 120)
{
	size_t len, split, i;

	prepare(self);
	target(self, variant->which, &len);
	if (variant->which == RETURNS) {
		answer(self->server, take_call(self->server), NULL, 0);
		take_reply(self->client, NULL, 0);
	}
	for (i = 0; i < ARRAY_SIZE(wild); i++) {
		/* The C driver finds no commands where they would go past the end of all addresses. */
		if (oracle() && variant->which == COMMANDS && wild[i] > ~0ULL - PAGE)
			continue;
		step("address 0x%llx", wild[i]);
		prepare(self);
		redirect(self, variant->which, wild[i]);
		check_failed(self, variant->which, 0,
			     peer_run(self->who, do_write_read, self->bwr));
	}
	for (split = 0; split < len; split++)
		try_kind(self, variant->which, HOLE, split);
	for (split = 0; split < len; split += 13) {
		try_kind(self, variant->which, NO_ACCESS, split);
		try_kind(self, variant->which, FILE_END, split);
		try_kind(self, variant->which, READ_ONLY, split);
	}
	for (split = 1; split < len; split++)
		try_kind(self, variant->which, GOOD, split);
	check_unharmed(self->client, self->server);
}

/* What becomes of memory that is waited for. */
enum { FILLED, REPLACED, UNMAPPED, MOVED, PROTECTED, WAYS };

static const char *const way_names[] = { "filled", "replaced", "unmapped", "moved", "protected" };

/* P does that to memory whose LEN further bytes are missing. */
static void go_on(struct peer *p, const struct slow *slow, int way, const void *bytes, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct copy_args copy = { (void *)(uintptr_t)slow->page, bytes, len };
	long elsewhere;

	switch (way) {
	case FILLED:
		fill_slow_with(p, slow, bytes, len);
		return;
	case REPLACED:
		ASSERT_EQ((long)slow->page, peer_mmap(p, (void *)(uintptr_t)slow->page, PAGE,
						      PROT_READ | PROT_WRITE,
						      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
		ASSERT_EQ(0, peer_run(p, do_copy, arena_copy(&copy, sizeof(copy))));
		break;
	case UNMAPPED:
		ASSERT_EQ(0, peer_syscall(p, SYS_munmap, slow->page, PAGE));
		break;
	case MOVED:
		elsewhere = peer_mmap(p, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		ASSERT_LT(0, elsewhere);
		ASSERT_EQ(elsewhere, peer_syscall(p, SYS_mremap, slow->page, PAGE, PAGE,
						  MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere));
		break;
	case PROTECTED:
		ASSERT_EQ(0, peer_syscall(p, SYS_mprotect, slow->page, PAGE, PROT_NONE));
		break;
	}
	wake_slow(p, slow);
}

/* The driver waits for the second half; the rest of BYTES, and LEN of that, are to come. */
static struct slow start_slow(FIXTURE_DATA(pointer) *self, int which, const __u8 **bytes,
			      size_t *len)
{
	struct __test_metadata *_metadata = this_test;
	struct slow slow = make_slow(self->who);
	struct copy_args copy;
	size_t split;

	prepare(self);
	*bytes = target(self, which, len);
	split = *len / 2;
	copy = (struct copy_args) { (void *)(uintptr_t)(slow.page - split), *bytes, split };
	ASSERT_EQ(0, peer_run(self->who, do_copy, arena_copy(&copy, sizeof(copy))));
	redirect(self, which, slow.page - split);
	peer_start(self->who, do_write_read, self->bwr);
	ASSERT_TRUE(peer_sleeps(self->who)) {
		TH_LOG("does not wait: %ld", self->who->result);
	}
	*bytes += split;
	*len -= split;
	return slow;
}

TEST_F(pointer, late)
{
	int way;

	for (way = 0; way < WAYS; way++) {
		__u8 *scratch = arena.free;
		const __u8 *bytes;
		struct slow slow;
		size_t len;
		long ret;

		step("%s", way_names[way]);
		slow = start_slow(self, variant->which, &bytes, &len);
		/* No lock is held, neither of the one process nor of the other. */
		round_trip(self->other, self->second);
		if (self->who == self->client)
			round_trip(self->helper, self->second);
		ASSERT_TRUE(still_waits(self->who));
		go_on(self->helper, &slow, way, bytes, len);
		ret = peer_finish(self->who);
		if (way == FILLED || way == REPLACED)
			check_arrived(self, variant->which, slow.page - RETURNED / 2, ret);
		else
			check_failed(self, variant->which, RETURNED / 2, ret);
		close_fd(self->helper, slow.uffd);
		arena.free = scratch;
	}
	check_unharmed(self->client, self->server);
}

TEST_F(pointer, killed_meanwhile)
{
	const __u8 *bytes;
	size_t len;

	start_slow(self, variant->which, &bytes, &len);
	kill_process(self->who);
	if (self->who == self->client) {
		ASSERT_QUIET(self->server);
		check_unharmed(self->other, self->server);
	} else {
		ASSERT_EQ(0, finish(self->client));
		await_no_manager(self->client);
		check_unharmed(self->client, manager("successor"));
	}
}

/* ---- other ioctls ----------------------------------------------------------------- */

/* What each does with its argument: if it cannot, that is the error. */
#define READS 1
#define WRITES 2

static const struct ioctl {
	const char *name;
	__u32 request;
	size_t len;
	int error, does;
	bool is_pid;		/* of the other process, to begin with */
} ioctls[] = {
	{ "SET_CONTEXT_MGR_EXT", BINDER_SET_CONTEXT_MGR_EXT, sizeof(struct flat_binder_object),
	  -EINVAL, READS },
	{ "VERSION", BINDER_VERSION, sizeof(struct binder_version), -EINVAL, WRITES },
	{ "SET_MAX_THREADS", BINDER_SET_MAX_THREADS, sizeof(__u32), -EINVAL, READS },
	{ "GET_NODE_DEBUG_INFO", BINDER_GET_NODE_DEBUG_INFO,
	  sizeof(struct binder_node_debug_info), -EFAULT, READS | WRITES },
	{ "GET_NODE_INFO_FOR_REF", BINDER_GET_NODE_INFO_FOR_REF,
	  sizeof(struct binder_node_info_for_ref), -EFAULT, READS | WRITES },
	/* To thaw who is not frozen. */
	{ "FREEZE", BINDER_FREEZE, sizeof(struct binder_freeze_info), -EFAULT, READS, true },
	{ "GET_FROZEN_INFO", BINDER_GET_FROZEN_INFO, sizeof(struct binder_frozen_status_info),
	  -EFAULT, READS | WRITES, true },
	{ "ENABLE_ONEWAY_SPAM_DETECTION", BINDER_ENABLE_ONEWAY_SPAM_DETECTION, sizeof(__u32),
	  -EFAULT, READS },
	{ "GET_EXTENDED_ERROR", BINDER_GET_EXTENDED_ERROR, sizeof(struct binder_extended_error),
	  -EFAULT, WRITES },
	{ "GET_AREA_INFO", RUST_IPC_GET_AREA_INFO, sizeof(struct rust_ipc_area_info), -EFAULT,
	  WRITES },
};

static void *argument_of(const struct ioctl *ioctl, struct peer *other)
{
	__u32 *argument = arena_alloc(ioctl->len);

	memset(argument, 0, ioctl->len);
	if (ioctl->is_pid)
		*argument = other->pid;
	/* The manager may ask of a handle that it has. */
	if (ioctl->request == BINDER_GET_NODE_INFO_FOR_REF)
		*argument = 1;
	return argument;
}

TEST_F_TIMEOUT(ipc, ioctl_arguments, 120)
{
	struct peer *server, *client, *helper, *second;
	size_t i, j, split;
	int kind, way;

	require_rust_ipc();
	server = member("server");
	client = member("client");
	helper = new_thread(server, "helper");
	second = new_thread(server, "second");
	for (i = 0; i < ARRAY_SIZE(ioctls); i++) {
		const struct ioctl *ioctl = &ioctls[i];
		__u8 *scratch = arena.free, *bytes = argument_of(ioctl, client);

		for (j = 0; j < ARRAY_SIZE(wild); j++) {
			step("%s at 0x%llx", ioctl->name, wild[j]);
			ASSERT_EQ(ioctl->error, peer_ioctl(server, ioctl->request, wild[j]));
		}
		/* What is good comes last: the manager is one then, and has a handle. */
		for (kind = KINDS - 1; kind >= 0; kind--)
			for (split = 0; split < ioctl->len; split++) {
				__u64 at = place(server, kind, split, bytes, ioctl->len);
				bool is_good = kind == GOOD ||
					(kind == READ_ONLY && !(ioctl->does & WRITES));
				long ret = peer_ioctl(server, ioctl->request, at);

				step("%s, %s, %zu bytes before", ioctl->name, kind_names[kind], split);
				/* There is only one manager. */
				if (ioctl->request == BINDER_SET_CONTEXT_MGR_EXT && is_good &&
				    (kind == GOOD || split)) {
					ASSERT_EQ(-EBUSY, ret);
				} else {
					ASSERT_EQ(is_good ? 0 : ioctl->error, ret);
				}
				remove_place(server, at, split);
			}
		if (!i)
			offer(client, server, 0x7000, 0x7001);
		arena.free = scratch;
	}
	for (i = 1; i < ARRAY_SIZE(ioctls); i++)
		for (way = 0; way < WAYS; way++) {
			const struct ioctl *ioctl = &ioctls[i];
			__u8 *scratch = arena.free, *bytes = argument_of(ioctl, client);
			struct slow slow = make_slow(server);
			struct copy_args copy;

			step("%s, %s", ioctl->name, way_names[way]);
			split = ioctl->len / 2;
			copy = (struct copy_args) { (void *)(uintptr_t)(slow.page - split), bytes, split };
			ASSERT_EQ(0, peer_run(server, do_copy, arena_copy(&copy, sizeof(copy))));
			peer_start_syscall(server, SYS_ioctl, server->fd, ioctl->request,
					   slow.page - split);
			ASSERT_TRUE(peer_sleeps(server));
			round_trip(client, second);
			ASSERT_TRUE(still_waits(server));
			go_on(helper, &slow, way, bytes + split, ioctl->len - split);
			ASSERT_EQ(way == FILLED || way == REPLACED ? 0 : ioctl->error,
				  peer_finish(server));
			close_fd(helper, slow.uffd);
			arena.free = scratch;
		}
	check_unharmed(client, server);
}

TEST_HARNESS_MAIN
