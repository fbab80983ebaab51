// SPDX-License-Identifier: GPL-2.0
/*
 * A program that takes all it can get of something: there is an end to it, or
 * it pays for it itself, with the memory of its control group; and meanwhile
 * others call each other as ever.
 */
#include <sys/resource.h>

#include "files.h"
#include "memory.h"

FIXTURE(exhaust) {
	struct peer *server, *client;		/* the victims */
	struct peer *taker, *keeper;		/* the hostile ones */
	__u32 handle;				/* what the taker calls a node of the keeper's */
	const char *victims, *hostile;		/* their groups */
	long alive, before, victims_before;
	__u64 worst;
	long calls;
};

#define KEEPER_AREA (96UL << 10)
/* The bytes of a range: what a receiver pays for a message in its area, beside that. */
#define RANGE (2048 / 28 + 1)
#define PTR 0x5000
#define COOKIE 0x5001

/* How long the slowest of the victims' calls may take. */
#define BOUND_NS (20 * 1000000000ULL)

/* A group's numbers can be so far behind: the kernel adds up what CPUs have counted now and then. */
static long behind(void)
{
	return sysconf(_SC_NPROCESSORS_CONF) * 64 * (long)PAGE;
}

static long kernel_memory(const char *group)
{
	return group_number(group, "memory.stat", "kernel");
}

static struct peer *member_in(const char *group, const char *name, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *p = new_process(name);

	enter_group(p, group);
	ASSERT_LE(0, open_device(p, 0));
	ASSERT_EQ(0, map_area(p, len));
	settle(p);
	return p;
}

FIXTURE_SETUP(exhaust)
{
	__u32 handle;

	this_test = _metadata;
	require_rust_ipc();
	ASSERT_TRUE(eventually(!objects_alive()));
	self->victims = make_group("victims");
	self->hostile = make_group("hostile");
	self->server = member_in(self->victims, "server", AREA_LEN);
	self->client = member_in(self->victims, "client", AREA_LEN);
	become_manager(self->server, NULL);
	check_unharmed(self->client, self->server);
	self->alive = objects_alive();
	self->victims_before = kernel_memory(self->victims);

	self->taker = member_in(self->hostile, "taker", AREA_LEN);
	self->keeper = member_in(self->hostile, "keeper", KEEPER_AREA);
	handle = offer(self->keeper, self->server, PTR, COOKIE);
	self->handle = hand_over(self->server, self->taker, handle);
	count(self->server, BC_RELEASE, handle);
	self->before = kernel_memory(self->hostile);
	self->worst = self->calls = 0;
}

FIXTURE_TEARDOWN(exhaust)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* One call between the victims, who have nothing to do with it. */
static void call_meanwhile(FIXTURE_DATA(exhaust) *self)
{
	__u8 *scratch = arena.free;
	__u64 start = now_ns(), took;

	round_trip(self->client, self->server);
	took = now_ns() - start;
	if (took > self->worst)
		self->worst = took;
	self->calls++;
	arena.free = scratch;
}

/* P takes, and the victims call each other, during that and after it. The result. */
static long take(FIXTURE_DATA(exhaust) *self, struct peer *p, long (*fn)(struct peer *, void *),
		 void *arg)
{
	__u64 end = now_ns() + patience_s * 1000000000ULL;
	int i;

	peer_start(p, fn, arg);
	while (!peer_done(p) && now_ns() < end)
		call_meanwhile(self);
	peer_finish(p);
	for (i = 0; i < 3; i++)
		call_meanwhile(self);
	return p->result;
}

/*
 * So many things are held, of at least so many bytes each: the hostile group
 * has paid for them, and the victims have not.
 */
static void check_paid(FIXTURE_DATA(exhaust) *self, const char *what, long count, long size)
{
	struct __test_metadata *_metadata = this_test;
	long victims = kernel_memory(self->victims) - self->victims_before, paid;

	EXPECT_TRUE(eventually((paid = kernel_memory(self->hostile) - self->before) >= count * size));
	TH_LOG("%ld %s: %ld KiB, %ld bytes each, the victims' %ld KiB; %ld calls meanwhile, the slowest %llu ms",
	       count, what, paid >> 10, paid / count, victims >> 10, self->calls,
	       self->worst / 1000000);
	EXPECT_GT(behind() + (64 << 10), victims);
	EXPECT_GT(BOUND_NS, self->worst);
}

/* When they end, nothing of it is left. */
static void check_back(FIXTURE_DATA(exhaust) *self)
{
	struct __test_metadata *_metadata = this_test;

	kill_process(self->taker);
	call_meanwhile(self);
	kill_process(self->keeper);
	call_meanwhile(self);
	ASSERT_TRUE(eventually(objects_alive() == self->alive));
	ASSERT_TRUE(eventually(remove_group(self->hostile)));
	check_unharmed(self->client, self->server);
}

/* ---- what takers do: in a peer, by themselves -------------------------------- */

struct taking {
	__u32 handle;
	long count;		/* how many there were */
	struct parcel parcel;
	struct peer *peer;
};

static struct taking *new_taking(FIXTURE_DATA(exhaust) *self)
{
	struct taking *t = arena_alloc(sizeof(*t));

	memset(t, 0, sizeof(*t));
	t->handle = self->handle;
	return t;
}

/* Carries out what was gathered, and reads what there is to read at once. */
static long carry_out(struct peer *p, bool reads)
{
	prepare_io(p, reads);
	return do_write_read(p, &p->bwr);
}

/* The last message of the thread failed with this errno. */
static long own_error(struct peer *p)
{
	struct binder_extended_error error;

	return ioctl(p->fd, BINDER_GET_EXTENDED_ERROR, &error) ? -errno : error.param;
}

/* Sends one-way: 0, or why it failed. */
static long own_oneway(struct peer *p, __u32 handle, const struct parcel *m)
{
	struct binder_transaction_data tr = {
		.target.handle = handle, .flags = TF_ONE_WAY,
		.data_size = m->len, .offsets_size = m->offsets_len,
		.data.ptr = { (uintptr_t)m->data, (uintptr_t)m->offsets },
	};
	__u32 command = BC_TRANSACTION;
	long ret;

	memcpy(p->write, &command, sizeof(command));
	memcpy(p->write + sizeof(command), &tr, sizeof(tr));
	p->write_len = sizeof(command) + sizeof(tr);
	ret = carry_out(p, false) ?: own_error(p);
	/* What is returned is of no interest. */
	return ret ?: carry_out(p, true);
}

/* ---- one thing after another ------------------------------------------------------ */

#define OBJECTS 100

/* Sends nodes, all different, until that is refused. */
static long do_take_nodes(struct peer *p, void *arg)
{
	struct taking *t = arg;
	struct parcel *m = &t->parcel;
	long ret;
	int i;

	for (;;) {
		m->len = OBJECTS * sizeof(struct flat_binder_object);
		m->offsets_len = OBJECTS * sizeof(m->offsets[0]);
		for (i = 0; i < OBJECTS; i++) {
			struct flat_binder_object object = {
				.hdr.type = BINDER_TYPE_BINDER, .flags = OBJECT_FLAGS,
				.binder = 0x10000 + t->count + i,
			};

			m->offsets[i] = i * sizeof(object);
			memcpy(m->data + m->offsets[i], &object, sizeof(object));
		}
		ret = own_oneway(p, t->handle, m);
		if (ret)
			return ret;
		t->count += OBJECTS;
	}
}

/* Keeps all of them, and wants to be told of everything. */
static long do_take_notices(struct peer *p, void *arg)
{
	struct taking *t = arg;
	long wanted = t->count, i;

	for (i = 1; i <= wanted; i++) {
		struct {
			__u32 acquire, handle, death;
			struct binder_handle_cookie death_cookie;
			__u32 freeze;
			struct binder_handle_cookie freeze_cookie;
		} __attribute__((packed)) commands = {
			BC_ACQUIRE, i,
			BC_REQUEST_DEATH_NOTIFICATION, { i, i },
			BC_REQUEST_FREEZE_NOTIFICATION, { i, i },
		};
		long ret;

		memcpy(p->write, &commands, sizeof(commands));
		p->write_len = sizeof(commands);
		ret = carry_out(p, false);
		if (ret)
			return ret;
	}
	return 0;
}

TEST_F_TIMEOUT(exhaust, nodes_and_handles, 300)
{
	struct taking *t = new_taking(self);
	long nodes;

	ASSERT_EQ(-ENOSPC, take(self, self->taker, do_take_nodes, t));
	/* The share of one-way messages, filled with them. */
	nodes = KEEPER_AREA / 2 / (OBJECTS * (sizeof(struct flat_binder_object) + 8)) * OBJECTS;
	ASSERT_EQ(nodes, t->count);
	check_paid(self, "nodes and handles", nodes, 192);

	/* Handles are bounded by what the keeper pays for. */
	self->calls = self->worst = 0;
	self->before = kernel_memory(self->hostile);
	ASSERT_EQ(0, take(self, self->keeper, do_take_notices, t));
	ASSERT_EQ(nodes, read_number(DEBUGFS "/rust_ipc/stats", "death notifications: alive"));
	ASSERT_EQ(nodes, read_number(DEBUGFS "/rust_ipc/stats", "freeze notifications: alive"));
	check_paid(self, "death and freeze notifications", nodes, 256);
	/* All deaths are told of at once. */
	check_back(self);
}

/* Has itself told of the same freeze again and again, and never answers. */
static long do_take_unanswered(struct peer *p, void *arg)
{
	struct taking *t = arg;
	struct binder_handle_cookie cookie = { t->handle, 1 };
	long ret;

	for (t->count = 0; t->count < 2000; t->count++) {
		bc(p, BC_REQUEST_FREEZE_NOTIFICATION);
		put(p, &cookie, sizeof(cookie));
		ret = carry_out(p, true);
		if (ret)
			return ret;
		bc(p, BC_CLEAR_FREEZE_NOTIFICATION);
		put(p, &cookie, sizeof(cookie));
		ret = carry_out(p, false);
		if (ret)
			return ret;
	}
	return 0;
}

TEST_F_TIMEOUT(exhaust, unanswered_notices, 300)
{
	struct taking *t = new_taking(self);

	ASSERT_EQ(0, take(self, self->taker, do_take_unanswered, t));
	check_paid(self, "unanswered freeze notifications", t->count, 64);
	check_back(self);
}

static void *use_once(void *arg)
{
	struct binder_version version;
	struct peer *p = arg;

	return (void *)(long)ioctl(p->fd, BINDER_VERSION, &version);
}

/* Threads that call once and end: their records stay until the file is closed. */
static long do_take_threads(struct peer *p, void *arg)
{
	struct taking *t = arg;

	for (t->count = 0; t->count < 500; t->count++) {
		pthread_t thread;
		void *result;
		int error = pthread_create(&thread, NULL, use_once, p) ?:
			pthread_join(thread, &result);

		if (error || result)
			return error ? -error : (long)result;
	}
	return 0;
}

TEST_F_TIMEOUT(exhaust, threads, 300)
{
	struct taking *t = new_taking(self);

	ASSERT_EQ(0, take(self, self->taker, do_take_threads, t));
	ASSERT_LE(t->count, read_number(DEBUGFS "/rust_ipc/stats", "threads: alive"));
	check_paid(self, "threads that are gone", t->count, 512);
	check_back(self);
}

/* One-way messages, until that is refused. */
static long do_take_oneways(struct peer *p, void *arg)
{
	struct taking *t = arg;
	long ret;

	while (!(ret = own_oneway(p, t->handle, &t->parcel)))
		t->count++;
	return ret;
}

TEST_F_TIMEOUT(exhaust, oneway_messages, 300)
{
	struct taking *t = new_taking(self);

	/* As short as they can be. */
	ASSERT_EQ(-ENOSPC, take(self, self->taker, do_take_oneways, t));
	ASSERT_EQ((long)KEEPER_AREA / 2 / 8, t->count);
	check_paid(self, "one-way messages", t->count, 128);
	check_back(self);
}

/* The same to the victim itself. It has half of its area left, and pays for the ranges alone. */
TEST_F_TIMEOUT(exhaust, oneway_messages_to_victim, 300)
{
	struct taking *t = new_taking(self);
	struct binder_transaction_data *tr;

	/* While it has this one, no other is given to it. */
	oneway_with(self->taker, 0, NULL);
	ASSERT_EQ(0, transact(self->taker));
	tr = take_call(self->server);

	t->handle = 0;
	t->parcel.len = 64;
	ASSERT_EQ(-ENOSPC, take(self, self->taker, do_take_oneways, t));
	ASSERT_EQ((long)AREA_LEN / 2 / 64 - 1, t->count);
	self->victims_before += t->count * RANGE;
	check_paid(self, "one-way messages to the victim", t->count, 128);
	exchange(self->client, self->server, arena_alloc(AREA_LEN / 2), AREA_LEN / 2 - PAGE, 0);

	/* They wait as long as it likes. Then the taker's end does not undo them; freeing does. */
	free_message(self->server, tr);
	while (t->count--) {
		__u8 *scratch = arena.free;

		free_message(self->server, take_call(self->server));
		arena.free = scratch;
	}
	ASSERT_QUIET(self->server);
	check_back(self);
}

/* Calls as large as can be: the area is full as long as the victim does not read. */
TEST_F_TIMEOUT(exhaust, buffers_of_victim, 300)
{
	struct peer *threads[4];
	int i;

	for (i = 0; i < 4; i++)
		threads[i] = i ? new_thread(self->taker, "taker's thread") : self->taker;
	for (i = 0; i < 4; i++) {
		call_at(threads[i], 1, arena_alloc(AREA_LEN / 4), AREA_LEN / 4);
		start_transact(threads[i]);
	}
	/* Refused at once, and nobody waits. */
	call(self->client, 1, "x", 1);
	ASSERT_REFUSED(self->client, BR_FAILED_REPLY, -ENOSPC);
	/* Each thread has one call at a time: what is answered is free again. */
	answer(self->server, take_call(self->server), NULL, 0);
	take_reply(threads[0], NULL, 0);
	call(self->client, 7, "there", 5);
	start_transact(self->client);
	for (i = 1; i < 4; i++) {
		answer(self->server, take_call(self->server), NULL, 0);
		take_reply(threads[i], NULL, 0);
	}
	answer(self->server, take_call(self->server), "back again", 10);
	take_reply(self->client, "back again", 10);
	check_back(self);
}

#define FILES 10

/* Files that are open in messages alone, until that is refused. */
static long do_take_files(struct peer *p, void *arg)
{
	struct rlimit limit = { 64, 64 };
	struct taking *t = arg;
	struct parcel *m = &t->parcel;
	int files[FILES], i;
	long ret;

	if (setrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	do {
		m->len = FILES * sizeof(struct flat_binder_object);
		m->offsets_len = FILES * sizeof(m->offsets[0]);
		for (i = 0; i < FILES; i++) {
			struct flat_binder_object object = { .hdr.type = BINDER_TYPE_FD };

			object.handle = files[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
			if (files[i] < 0)
				return -errno;
			m->offsets[i] = i * sizeof(object);
			memcpy(m->data + m->offsets[i], &object, sizeof(object));
		}
		ret = own_oneway(p, t->handle, m);
		for (i = 0; i < FILES; i++)
			close(files[i]);
		t->count += ret ? 0 : FILES;
	} while (!ret);
	return ret;
}

TEST_F_TIMEOUT(exhaust, files_in_messages, 300)
{
	struct taking *t = new_taking(self);

	/* More than the sender may have open, but no more than the receiver has room for. */
	ASSERT_EQ(-ENOSPC, take(self, self->taker, do_take_files, t));
	ASSERT_LE(t->count, (long)(KEEPER_AREA / 2 / (sizeof(struct flat_binder_object) + 8)));
	ASSERT_LT(1000, t->count);
	check_paid(self, "files in messages", t->count, 192);
	check_back(self);
}

#define OPENED 300

static long do_take_opens(struct peer *p, void *arg)
{
	struct rlimit limit = { OPENED + 100, OPENED + 100 };
	struct taking *t = arg;
	struct binder_version version;

	if (setrlimit(RLIMIT_NOFILE, &limit))
		return -errno;
	for (;;) {
		int fd = open(device_path(), O_RDWR | O_CLOEXEC);

		if (fd < 0)
			return -errno;
		if (mmap(NULL, 4 << 20, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, 0) == MAP_FAILED ||
		    ioctl(fd, BINDER_VERSION, &version))
			return -errno;
		t->count++;
	}
}

TEST_F_TIMEOUT(exhaust, open_files, 300)
{
	struct taking *t = new_taking(self);

	ASSERT_EQ(-EMFILE, take(self, self->taker, do_take_opens, t));
	ASSERT_LT(OPENED, t->count);
	/* The record, a thread's, and memory for queues. Pages and ranges come with messages. */
	check_paid(self, "open files with an area", t->count, 2 << 10);
	check_back(self);
}

/* Answers each call with another one, nested in it: why that ended. */
static long do_nest(struct peer *p, void *arg)
{
	struct taking *t = arg;
	struct binder_transaction_data tr;
	bool calls = t->count;
	long ret;

	for (;;) {
		if (calls)
			bc_message(p, BC_TRANSACTION, 1, 0, NULL, 0)->tr.target.handle = t->handle;
		calls = true;
		ret = own_wait(p, &tr, false);
		if (ret == BR_FAILED_REPLY)
			return own_error(p);
		if (ret != BR_TRANSACTION)
			return ret < 0 ? ret : -EPROTO;
		t->count++;
	}
}

TEST_F_TIMEOUT(exhaust, nested_calls, 300)
{
	struct taking *t = new_taking(self), *k = new_taking(self);
	__u32 handle = offer(self->taker, self->server, PTR, COOKIE);
	long depth;

	k->handle = hand_over(self->server, self->keeper, handle);
	count(self->server, BC_RELEASE, handle);
	self->before = kernel_memory(self->hostile);
	/* The one who begins. */
	t->count = 1;
	peer_start(self->keeper, do_nest, k);
	peer_start(self->taker, do_nest, t);
	while (!peer_done(self->keeper) && !peer_done(self->taker))
		call_meanwhile(self);
	EXPECT_EQ(-E2BIG, peer_done(self->keeper) ? self->keeper->result : self->taker->result);
	depth = t->count + k->count;
	EXPECT_LE(1024, depth);
	EXPECT_GE(1026, depth);
	call_meanwhile(self);
	check_paid(self, "nested calls", depth, 128);
	/* A stack of calls as high as that is taken down, from either end. */
	check_back(self);
}

#define RING 12

/* Each one's file is in an unread message to the next one, and so on round. */
TEST_F_TIMEOUT(exhaust, files_in_a_ring, 300)
{
	struct peer *ring[RING];
	__u32 handles[RING];
	int i;

	for (i = 0; i < RING; i++) {
		ring[i] = member_in(self->hostile, "ring", 32 * PAGE);
		handles[i] = offer(ring[i], self->server, PTR, COOKIE);
	}
	for (i = 0; i < RING; i++) {
		struct peer *next = ring[(i + 1) % RING];
		__u32 handle = hand_over(self->server, ring[i], handles[(i + 1) % RING]);
		long pidfd = peer_syscall(ring[i], SYS_pidfd_open, next->pid, 0);
		long theirs = peer_syscall(ring[i], SYS_pidfd_getfd, pidfd, next->fd, 0);
		struct parcel *m = new_parcel();

		ASSERT_LE(0, theirs);
		add_fd(m, ring[i]->fd);
		add_fd(m, theirs);
		send_oneway(ring[i], handle, m);
		send_oneway(ring[i], handle, m);
		close_fd(ring[i], theirs);
		settle(next);
	}
	for (i = 0; i < RING; i++)
		count(self->server, BC_RELEASE, handles[i]);
	call_meanwhile(self);
	for (i = 0; i < RING; i++) {
		kill_process(ring[i]);
		call_meanwhile(self);
	}
	check_back(self);
}

/* When a process ends, its area's ranges are free again: also while somebody has a handle of its. */
TEST_F_TIMEOUT(exhaust, ranges_of_dead_process, 300)
{
	const char *group = make_group("rich");
	struct peer *rich = member_in(group, "rich", 1 << 20);
	__u32 handle = offer(rich, self->server, PTR, COOKIE);
	struct taking *t = new_taking(self);
	long most = 0, left = 0;

	t->handle = hand_over(self->server, self->taker, handle);
	count(self->server, BC_RELEASE, handle);
	ASSERT_EQ(-ENOSPC, take(self, self->taker, do_take_oneways, t));
	ASSERT_EQ(1L << 16, t->count);
	ASSERT_TRUE(eventually((most = kernel_memory(group)) >= t->count * RANGE - behind()));
	kill_process(rich);
	EXPECT_TRUE(eventually((left = kernel_memory(group)) < behind() + (64 << 10)));
	TH_LOG("%ld KiB, and then %ld KiB", most >> 10, left >> 10);
	check_back(self);
	ASSERT_TRUE(eventually(remove_group(group)));
}

#define DYING 50

/*
 * A process that has ended takes little memory, whoever has a handle to an object of its: no
 * task, no address space.
 */
TEST_F_TIMEOUT(exhaust, dead_processes, 300)
{
	const char *group = make_group("dying");
	__u32 handles[DYING];
	long most, left = 0;
	int i;

	/* What they are made of is charged to where they are made. */
	set_group(group, "cgroup.procs", "0");
	for (i = 0; i < DYING; i++) {
		struct peer *p = member_in(group, "dying", AREA_LEN);

		handles[i] = offer(p, self->server, PTR, COOKIE);
		kill_process(p);
	}
	set_group(CGROUPS, "cgroup.procs", "0");
	most = kernel_memory(group);
	EXPECT_TRUE(eventually((left = kernel_memory(group)) < behind() + DYING * (4L << 10)));
	TH_LOG("%ld KiB, and then %ld KiB", most >> 10, left >> 10);
	for (i = 0; i < DYING; i++)
		count(self->server, BC_RELEASE, handles[i]);
	check_back(self);
	ASSERT_TRUE(eventually(remove_group(group)));
}

TEST_HARNESS_MAIN
