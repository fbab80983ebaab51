// SPDX-License-Identifier: GPL-2.0
/*
 * Idle pages of receive areas: that they are given back when memory is wanted,
 * in each of the four situations the shrinker can find, and whose memory they
 * are. None of this is so with the C driver, whose pages are nobody's.
 */
#include <sys/mount.h>
#include <sys/swap.h>

#include "memory.h"
#include "objects.h"
#include "rust_ipc.h"

FIXTURE(reclaim) {
	struct peer *server, *client;
	__u8 *bytes;			/* LEN of them */
};

#define AREA (4UL << 20)
#define LEN (32 * PAGE)
#define LEN_PAGES 32L

FIXTURE_SETUP(reclaim)
{
	this_test = _metadata;
	require_rust_ipc();
	self->bytes = arena_alloc(AREA);
	memset(self->bytes, 0x2e, AREA);
}

FIXTURE_TEARDOWN(reclaim)
{
	ipc_teardown(_metadata, NULL, NULL);
}

static struct rust_ipc_area_info area_info(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct rust_ipc_area_info *info = arena_alloc(sizeof(*info));

	memset(info, 0xcc, sizeof(*info));
	ASSERT_EQ(0, peer_ioctl(p, RUST_IPC_GET_AREA_INFO, info));
	return *info;
}

/* A manager and a client, and LEN bytes' worth of idle pages in the manager's area. */
static void make_idle(FIXTURE_DATA(reclaim) *self)
{
	struct __test_metadata *_metadata = this_test;

	self->server = manager_with("server", AREA);
	self->client = member("client");
	exchange(self->client, self->server, self->bytes, LEN, 0);
	ASSERT_EQ(LEN_PAGES, area_info(self->server).pages_idle);
	/* The client's page, of the empty reply, is not to be counted with them. */
	kill_process(self->client);
	self->client = member("client");
}

/* Reclaims until NAME has counted so many more than BEFORE; a page may get another round first. */
static bool reclaim_until(const char *name, long before, long more)
{
	int i;

	for (i = 0; i < 10 && counter(name) < before + more; i++)
		drop_caches();
	return counter(name) >= before + more;
}

/* ---- the area's description -------------------------------------------------- */

TEST_F(reclaim, area_info)
{
	struct peer *server = new_process("server"), *client = member("client");
	struct rust_ipc_area_info info;
	struct binder_transaction_data *tr;
	long read_only;

	ASSERT_LE(0, open_device(server, 0));
	info = area_info(server);
	EXPECT_EQ(0, info.start);
	EXPECT_EQ(0, info.size_bytes);
	EXPECT_EQ(0, info.pages_in_use + info.pages_idle + info.pages_absent);
	EXPECT_EQ(0, info.live_buffers);
	EXPECT_EQ(0, info.reserved);

	ASSERT_EQ(0, map_area(server, 16 * PAGE));
	become_manager(server, NULL);
	info = area_info(server);
	EXPECT_EQ((uintptr_t)server->area, info.start);
	EXPECT_EQ(16 * PAGE, info.size_bytes);
	EXPECT_EQ(16, info.pages_absent);
	EXPECT_EQ(0, info.pages_in_use);
	EXPECT_EQ(0, info.pages_idle);
	EXPECT_EQ(0, info.live_buffers);
	EXPECT_EQ(8 * PAGE, info.oneway_free_bytes);

	call(client, 1, self->bytes, 2 * PAGE + 8);
	start_transact(client);
	info = area_info(server);
	EXPECT_EQ(3, info.pages_in_use);
	EXPECT_EQ(13, info.pages_absent);
	EXPECT_EQ(1, info.live_buffers);
	EXPECT_EQ(8 * PAGE, info.oneway_free_bytes);
	tr = take_call(server);
	info = area_info(server);
	EXPECT_EQ(1, info.live_buffers);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	info = area_info(server);
	EXPECT_EQ(0, info.pages_in_use);
	EXPECT_EQ(3, info.pages_idle);
	EXPECT_EQ(13, info.pages_absent);
	EXPECT_EQ(0, info.live_buffers);

	oneway(client, 1, self->bytes, 100);
	ASSERT_EQ(0, transact(client));
	info = area_info(server);
	EXPECT_EQ(8 * PAGE - 104, info.oneway_free_bytes);
	EXPECT_EQ(1, info.live_buffers);

	EXPECT_EQ(-EFAULT, peer_ioctl(server, RUST_IPC_GET_AREA_INFO, NULL));
	read_only = peer_mmap(server, NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	EXPECT_EQ(-EFAULT, peer_ioctl(server, RUST_IPC_GET_AREA_INFO, read_only));
	/* Size and direction are part of the number. */
	EXPECT_EQ(-EINVAL, peer_ioctl(server, _IOWR('R', 0x40, struct rust_ipc_area_info),
				      self->bytes));
	EXPECT_EQ(-EINVAL, peer_ioctl(server, _IOR('R', 0x40, __u64), self->bytes));
	EXPECT_EQ(-EINVAL, peer_ioctl(server, _IOR('R', 0x41, struct rust_ipc_area_info),
				      self->bytes));
}

/* A warm area takes messages without another page. */
TEST_F(reclaim, idle_pages_are_used_again)
{
	int i;

	make_idle(self);
	for (i = 0; i < 5; i++) {
		exchange(self->client, self->server, self->bytes, LEN, 0);
		ASSERT_EQ(LEN_PAGES, area_info(self->server).pages_idle);
	}
}

/* ---- the four situations ------------------------------------------------------- */

/* The area is mapped: its idle pages go, and their page table entries with them. */
TEST_F(reclaim, mapped)
{
	struct rust_ipc_area_info info;
	long before = counter("zapped");
	int round;

	make_idle(self);
	for (round = 0; round < 5; round++) {
		__u64 address = area_info(self->server).start;

		EXPECT_EQ(0, peer_touch(self->server, address));
		/* From the second round on, the client's page is another one. */
		ASSERT_TRUE(reclaim_until("zapped", before, LEN_PAGES + !!round));
		before += LEN_PAGES + !!round;
		ASSERT_EQ(before, counter("zapped"));
		info = area_info(self->server);
		ASSERT_EQ(0, info.pages_idle);
		ASSERT_EQ(0, info.pages_in_use);
		ASSERT_EQ((long)(AREA / PAGE), info.pages_absent);
		EXPECT_EQ(SIGBUS, peer_touch(self->server, address));
		/* There is nothing left for another time. */
		drop_caches();
		ASSERT_EQ(before, counter("zapped"));

		/* And they come again, for a message with other bytes. */
		memset(self->bytes, round, LEN);
		exchange(self->client, self->server, self->bytes, LEN, 0);
		ASSERT_EQ(LEN_PAGES, area_info(self->server).pages_idle);
	}
	ASSERT_EQ(0, counter("stale_entry"));
}

/* Pages that a message is in stay; their neighbours do not. */
TEST_F(reclaim, in_use)
{
	struct binder_transaction_data *tr, *read;
	struct rust_ipc_area_info info;
	long before;
	int i;

	make_idle(self);
	before = counter("zapped");
	/* One that was read, and one that was not. */
	memset(self->bytes, 0x71, LEN);
	call_at(self->client, 1, self->bytes, 5 * PAGE);
	start_transact(self->client);
	read = take_call(self->server);
	self->client = member("another client");
	bc_message(self->client, BC_TRANSACTION, 2, TF_ONE_WAY, self->bytes, 3 * PAGE);
	ASSERT_EQ(0, transact(self->client));
	for (i = 0; i < 5; i++)
		drop_caches();
	info = area_info(self->server);
	ASSERT_EQ(8, info.pages_in_use);
	ASSERT_EQ(0, info.pages_idle);
	ASSERT_EQ(before + LEN_PAGES - 8, counter("zapped"));
	ASSERT_PAYLOAD(self->server, read, self->bytes, 5 * PAGE);

	/* The thread that has a call gets no other message; another one does. */
	tr = take_call(new_thread(self->server, "second"));
	ASSERT_PAYLOAD(self->server, tr, self->bytes, 3 * PAGE);
	free_buffer(self->server, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(self->server));
	ASSERT_TRUE(reclaim_until("zapped", before, LEN_PAGES - 5));
	ASSERT_PAYLOAD(self->server, read, self->bytes, 5 * PAGE);
	free_buffer(self->server, read->data.ptr.buffer);
	ASSERT_EQ(0, submit(self->server));
	ASSERT_TRUE(reclaim_until("zapped", before, LEN_PAGES));
}

/* The area is unmapped, and nothing else is there. */
TEST_F(reclaim, gone)
{
	long before = counter("gone"), zapped = counter("zapped");

	make_idle(self);
	ASSERT_EQ(0, peer_syscall(self->server, SYS_munmap, self->server->area, AREA));
	ASSERT_TRUE(reclaim_until("gone", before, LEN_PAGES));
	ASSERT_EQ(before + LEN_PAGES, counter("gone"));
	ASSERT_EQ(zapped, counter("zapped"));
}

/* The process is dead; somebody else keeps its file open. */
TEST_F(reclaim, gone_with_process)
{
	struct peer *heir = new_process("heir");
	struct rust_ipc_area_info info;
	long before = counter("gone"), pidfd;

	make_idle(self);
	pidfd = peer_syscall(heir, SYS_pidfd_open, self->server->pid, 0);
	heir->fd = peer_syscall(heir, SYS_pidfd_getfd, pidfd, self->server->fd, 0);
	ASSERT_LE(0, heir->fd);
	kill_process(self->server);
	ASSERT_TRUE(reclaim_until("gone", before, LEN_PAGES));
	info = area_info(heir);
	EXPECT_EQ(0, info.pages_idle);
	EXPECT_EQ(0, info.pages_in_use);
	/* It still is the manager, which nothing can be sent to. */
	call(self->client, 1, NULL, 0);
	ASSERT_REFUSED(self->client, BR_DEAD_REPLY, -ESRCH);
	ASSERT_EQ(0, peer_syscall(heir, SYS_close, heir->fd));
	await_no_manager(self->client);
}

/* Somebody else's mapping is where the area was: it stays as it is, and is not left locked. */
TEST_F(reclaim, impostor)
{
	long before = counter("impostor"), zapped = counter("zapped");
	__u8 *area;
	const __u8 *seen;
	size_t i;

	make_idle(self);
	area = self->server->area;
	ASSERT_EQ((long)area, peer_mmap(self->server, area, AREA, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1));
	for (i = 0; i < LEN_PAGES; i++) {
		ASSERT_EQ(0, peer_scribble(self->server, (uintptr_t)area + i * PAGE + 17));
	}
	ASSERT_TRUE(reclaim_until("impostor", before, LEN_PAGES));
	ASSERT_EQ(before + LEN_PAGES, counter("impostor"));
	ASSERT_EQ(zapped, counter("zapped"));
	seen = peer_memory(self->server, (uintptr_t)area, LEN);
	ASSERT_NE(NULL, seen);
	for (i = 0; i < LEN; i++) {
		ASSERT_EQ(i % PAGE == 17 ? 0x5a : 0, seen[i]);
	}
	/* Writers get at it. */
	ASSERT_EQ(0, peer_syscall(self->server, SYS_mprotect, area, AREA, PROT_READ));
	ASSERT_EQ(0, peer_syscall(self->server, SYS_mprotect, area + PAGE, PAGE,
				  PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, peer_syscall(self->server, SYS_munmap, area, AREA));
}

/* The impostor is another file's area, with messages in it. */
TEST_F(reclaim, impostor_area)
{
	struct peer *server, *second;
	long before = counter("impostor");
	__u8 *area;

	make_idle(self);
	server = self->server;
	area = server->area;
	second = new_bare_thread(server, "second");
	ASSERT_LE(0, open_device(second, 0));
	ASSERT_EQ((long)area, peer_mmap(second, area, AREA, PROT_READ, MAP_PRIVATE | MAP_FIXED,
					second->fd));
	second->area = area;
	second->area_len = AREA;
	settle(second);
	/* Of its own it has as many pages, some with a message in them. */
	ASSERT_EQ(0, area_info(second).pages_idle);
	ASSERT_EQ(LEN_PAGES, area_info(server).pages_idle);
	ASSERT_TRUE(reclaim_until("impostor", before, LEN_PAGES));
	ASSERT_EQ((long)(AREA / PAGE), area_info(second).pages_absent);
	ASSERT_EQ(0, area_info(server).pages_idle);
}

struct hammer {
	int stop;
	long rounds;
};

/* Changes the area's VMA all the time, so that it is hard to lock. */
static long do_hammer(struct peer *p, void *arg)
{
	struct hammer *hammer = arg;

	while (!__atomic_load_n(&hammer->stop, __ATOMIC_RELAXED)) {
		if (mprotect(p->area, p->area_len, PROT_NONE) ||
		    mprotect(p->area, p->area_len, PROT_READ))
			return -errno;
		hammer->rounds++;
	}
	return 0;
}

/* The area's VMA cannot be locked at that moment: its pages wait for another time. */
TEST_F(reclaim, lost_race)
{
	long before = counter("lost_race"), zapped;
	struct hammer *hammer = arena_alloc(sizeof(*hammer));
	struct peer *thread;
	__u64 end = now_ns() + patience_s * 1000000000ULL;

	memset(hammer, 0, sizeof(*hammer));
	make_idle(self);
	thread = new_thread(self->server, "hammer");
	peer_start(thread, do_hammer, hammer);
	while (counter("lost_race") == before && now_ns() < end) {
		drop_caches();
		/* More idle pages; the contents cannot be looked at meanwhile. */
		call_at(self->client, 1, self->bytes, LEN);
		start_transact(self->client);
		answer(self->server, take_call(self->server), NULL, 0);
		take_reply(self->client, NULL, 0);
		ASSERT_FALSE(peer_done(thread));
	}
	__atomic_store_n(&hammer->stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(thread));
	EXPECT_LT(before, counter("lost_race"));
	/* Now is the other time. */
	exchange(self->client, self->server, self->bytes, LEN, 0);
	zapped = counter("zapped");
	ASSERT_TRUE(reclaim_until("zapped", zapped, LEN_PAGES));
	ASSERT_EQ(0, area_info(self->server).pages_idle);
	exchange(self->client, self->server, self->bytes, LEN, 0);
	ASSERT_EQ(0, counter("stale_entry"));
}

/* A page was used since it was listed: it has another round. */
TEST_F(reclaim, second_chance)
{
	long before = counter("rotated");
	int i;

	make_idle(self);
	for (i = 0; i < 3; i++)
		exchange(self->client, self->server, self->bytes, LEN, 0);
	for (i = 0; i < 5; i++)
		drop_caches();
	EXPECT_LT(before, counter("rotated"));
	EXPECT_EQ(0, area_info(self->server).pages_idle);
}

/* Pages that are neighbours on the list, or in the area, but not both. */
TEST_F(reclaim, any_order)
{
	static const int order[] = { 2, 0, 3, 1 };
	struct binder_transaction_data *tr[4];
	struct peer *server, *threads[4], *clients[4];
	long before = counter("zapped");
	int round, i;

	self->server = server = manager_with("server", AREA);
	for (i = 0; i < 4; i++)
		threads[i] = new_thread(server, "server's thread");
	for (round = 0; round < 2; round++) {
		memset(self->bytes, 0x50 + round, LEN);
		for (i = 0; i < 4; i++) {
			clients[i] = member("client");
			call_at(clients[i], 1, self->bytes, 8 * PAGE);
			start_transact(clients[i]);
			tr[i] = take_call(threads[i]);
		}
		for (i = 0; i < 4; i++) {
			free_buffer(threads[order[i]], tr[order[i]]->data.ptr.buffer);
			ASSERT_EQ(0, submit(threads[order[i]]));
			if (round == 0)
				continue;
			/* What has been freed goes, and nothing else. */
			ASSERT_TRUE(reclaim_until("zapped", before, 8));
			before += 8;
			ASSERT_EQ(before, counter("zapped"));
			ASSERT_EQ(8 * (3 - i), area_info(server).pages_in_use);
			for (int kept = i + 1; kept < 4; kept++)
				ASSERT_PAYLOAD(server, tr[order[kept]], self->bytes, 8 * PAGE);
		}
		if (round == 0) {
			ASSERT_EQ(LEN_PAGES, area_info(server).pages_idle);
			ASSERT_TRUE(reclaim_until("zapped", before, LEN_PAGES));
			before += LEN_PAGES;
			ASSERT_EQ(before, counter("zapped"));
		}
		ASSERT_EQ(0, area_info(server).pages_idle);
		for (i = 0; i < 4; i++)
			EXPECT_EQ(SIGBUS, peer_touch(server, tr[i]->data.ptr.buffer + 7 * PAGE));
		for (i = 0; i < 4; i++) {
			reply(threads[i], NULL, 0);
			ASSERT_EQ(0, transact(threads[i]));
			ASSERT_BR(threads[i], BR_TRANSACTION_COMPLETE);
			kill_process(clients[i]);
		}
	}
	ASSERT_EQ(0, counter("stale_entry"));
}

/* The shrinker takes as many as it is asked for, and counts the rest. */
TEST_F(reclaim, as_many_as_wanted)
{
	static const long wanted[] = { 1, 10, 1, 15, 100 };
	const char *counts = shrinker_file("count");
	long before, left = LEN_PAGES;
	char path[512], text[4096], command[64], *line;
	unsigned long group = 0;
	long pages = 0;
	unsigned int i;

	if (!counts)
		SKIP(return, "the kernel cannot run a single shrinker");
	snprintf(path, sizeof(path), "%s", counts);
	drop_caches();
	make_idle(self);
	before = counter("zapped");
	ASSERT_LT(0, read_text(path, text, sizeof(text)));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "%lu %ld", &group, &pages) == 2 && pages == left)
			break;
	ASSERT_EQ(left, pages);

	snprintf(path, sizeof(path), "%s", shrinker_file("scan"));
	for (i = 0; i < ARRAY_SIZE(wanted); i++) {
		long expected = wanted[i] < left ? wanted[i] : left;

		snprintf(command, sizeof(command), "%lu 0 %ld", group, wanted[i]);
		ASSERT_EQ(0, write_text(path, command));
		left -= expected;
		before += expected;
		ASSERT_EQ(before, counter("zapped"));
		ASSERT_EQ(left, area_info(self->server).pages_idle);
	}
}

/* The process has thrown its page table entries away itself: reclaim does not mind. */
TEST_F(reclaim, dontneed)
{
	long before = counter("zapped");

	make_idle(self);
	ASSERT_EQ(0, peer_syscall(self->server, SYS_madvise, self->server->area, AREA,
				  MADV_DONTNEED));
	ASSERT_TRUE(reclaim_until("zapped", before, LEN_PAGES));
	exchange(self->client, self->server, self->bytes, LEN, 0);
}

/* ---- whose memory it is ------------------------------------------------------------ */

#define BIG (3UL << 20)
#define MIB (1L << 20)

/* A process in a group of its own. */
static struct peer *member_in(const char *group, const char *name)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *p = new_process(name);

	enter_group(p, group);
	ASSERT_LE(0, open_device(p, 0));
	ASSERT_EQ(0, map_area(p, AREA));
	settle(p);
	return p;
}

static long usage(const char *group)
{
	return group_number(group, "memory.current", NULL);
}

/*
 * The usage once all has been given back that can be: idle pages, what the
 * kernel has charged ahead, and what it frees later. Nobody of the group may be
 * at work.
 */
static long least_usage(const char *group)
{
	long least, before = -1;
	int same = 0;

	while (same < 3) {
		set_group(group, "memory.high", "0");
		set_group(group, "memory.high", "max");
		least = usage(group);
		same = least == before ? same + 1 : 0;
		before = least;
		usleep(5000);
	}
	return least;
}

/* The pages of a message are the receiver's, and so is their reclaim. */
TEST_F(reclaim, charged_to_receiver)
{
	const char *receivers = make_group("receiver"), *senders = make_group("sender");
	struct peer *server = member_in(receivers, "server"), *client = member_in(senders, "client");
	long receiver_before, sender_before, events;
	char limit[32];

	become_manager(server, NULL);
	round_trip(client, server);
	receiver_before = usage(receivers);
	sender_before = usage(senders);
	/* The sender may have no memory to speak of: it needs none. */
	snprintf(limit, sizeof(limit), "%ld", sender_before + MIB / 2);
	set_group(senders, "memory.max", limit);
	exchange(client, server, self->bytes, BIG, 0);
	EXPECT_LT(receiver_before + (long)BIG - MIB / 2, usage(receivers));
	EXPECT_GT(sender_before + MIB / 2, usage(senders));

	/* Pressure on the sender's group has nothing to do with them; on the receiver's, it has. */
	write_text(group_file(senders, "memory.reclaim"), "4M");
	EXPECT_EQ((long)(BIG / PAGE), area_info(server).pages_idle);
	write_text(group_file(receivers, "memory.reclaim"), "4M");
	write_text(group_file(receivers, "memory.reclaim"), "4M");
	EXPECT_EQ(0, area_info(server).pages_idle);
	EXPECT_GT(receiver_before + MIB / 2, usage(receivers));
	events = group_number(senders, "memory.events", "oom_kill");
	EXPECT_EQ(0, events);
	round_trip(client, server);
}

/* A full group fails the send, says so, and kills nobody. */
TEST_F(reclaim, full_group)
{
	const char *receivers = make_group("receiver");
	struct peer *server = member_in(receivers, "server"), *client = member("client");
	char limit[32];
	int i;

	become_manager(server, NULL);
	round_trip(client, server);
	snprintf(limit, sizeof(limit), "%ld", least_usage(receivers) + MIB);
	set_group(receivers, "memory.max", limit);
	for (i = 0; i < 5; i++) {
		bc_message(client, BC_TRANSACTION, 1, 0, self->bytes, BIG);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOMEM);
		bc_message(client, BC_TRANSACTION, 1, TF_ONE_WAY, self->bytes, AREA / 2);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOMEM);
	}
	EXPECT_EQ(0, group_number(receivers, "memory.events", "oom_kill"));
	EXPECT_EQ(0, group_number(receivers, "memory.events", "oom"));
	EXPECT_EQ(0, area_info(server).live_buffers);
	ASSERT_QUIET(server);

	/* What fits still arrives. */
	exchange(client, server, self->bytes, MIB / 4, 0);
	round_trip(client, server);
	set_group(receivers, "memory.max", "max");
	exchange(client, server, self->bytes, BIG, 0);
	exchange(client, server, self->bytes, AREA, 0);
}

/* Memory runs out at each page of a message in turn: it arrives whole or not at all. */
TEST_F_TIMEOUT(reclaim, full_group_at_every_page, 600)
{
	const char *receivers = make_group("receiver");
	int pages, arrived = 0, refused = 0;
	struct peer *server, *client;
	char limit[32];

	/* What the kernel has charged ahead for another one comes back late. */
	use_one_cpu();
	server = member_in(receivers, "server");
	client = member("client");
	become_manager(server, NULL);
	exchange(client, server, self->bytes, LEN, 0);
	for (pages = 0; pages < LEN_PAGES + 10; pages++) {
		__u8 *scratch = arena.free;
		struct rust_ipc_area_info info;

		step("%d pages", pages);
		snprintf(limit, sizeof(limit), "%ld", least_usage(receivers) + pages * (long)PAGE);
		ASSERT_EQ(0, area_info(server).pages_idle);
		set_group(receivers, "memory.max", limit);
		memset(self->bytes, pages, LEN);
		call_at(client, pages, self->bytes + 100, LEN - 200);
		start_io(client, true);
		if (peer_sleeps(client)) {
			struct binder_transaction_data *tr = take_call(server);

			ASSERT_PAYLOAD(server, tr, self->bytes + 100, LEN - 200);
			answer(server, tr, NULL, 0);
			take_reply(client, NULL, 0);
			arrived++;
		} else {
			ASSERT_EQ(0, finish(client));
			ASSERT_BR(client, BR_FAILED_REPLY);
			ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -ENOMEM);
			ASSERT_QUIET(server);
			refused++;
		}
		info = area_info(server);
		ASSERT_EQ(0, info.live_buffers);
		ASSERT_EQ(0, info.pages_in_use);
		set_group(receivers, "memory.max", "max");
		exchange(client, server, self->bytes, LEN, 0);
		arena.free = scratch;
	}
	EXPECT_LT(0, arrived);
	/* What else the group has may get less meanwhile; mostly it does not. */
	EXPECT_LT(LEN_PAGES / 2, refused);
	EXPECT_EQ(0, group_number(receivers, "memory.events", "oom_kill"));
	exchange(client, server, self->bytes, AREA, 0);
}

/* The first message to an area takes more memory than others: of many, the sender pays for none. */
TEST_F(reclaim, full_group_of_many)
{
	const char *receivers = make_group("receiver"), *senders = make_group("sender");
	struct peer *server, *many[60];
	int handles[ARRAY_SIZE(many)];
	unsigned int i, refused = 0;
	char limit[32];
	long before;

	use_one_cpu();
	server = member_in(senders, "server");
	become_manager(server, NULL);
	for (i = 0; i < ARRAY_SIZE(many); i++) {
		many[i] = member_in(receivers, "one of many");
		handles[i] = offer(many[i], server, 0x1000, i);
	}
	before = usage(senders);
	snprintf(limit, sizeof(limit), "%ld", least_usage(receivers));
	set_group(receivers, "memory.max", limit);
	for (i = 0; i < ARRAY_SIZE(many); i++) {
		oneway_with(server, handles[i], NULL);
		ASSERT_EQ(0, transact(server));
		if (server->br[server->brs - 1].cmd == BR_FAILED_REPLY) {
			ASSERT_EXTENDED_ERROR(server, BR_FAILED_REPLY, -ENOMEM);
			refused++;
		} else {
			ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
			free_message(many[i], take_call(many[i]));
		}
	}
	EXPECT_LT(ARRAY_SIZE(many) / 2, refused);
	/* What the kernel charges ahead is 256 KiB; tables alone would be 480. */
	EXPECT_GT(before + 384 * 1024, usage(senders));
	EXPECT_EQ(0, group_number(receivers, "memory.events", "oom_kill"));

	/* None is the worse for it. */
	set_group(receivers, "memory.max", "max");
	for (i = 0; i < ARRAY_SIZE(many); i++) {
		struct rust_ipc_area_info info;

		oneway_with(server, handles[i], NULL);
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		info = area_info(many[i]);
		ASSERT_EQ(1, info.live_buffers);
		free_message(many[i], take_call(many[i]));
	}
}

/* Where room can be made for a first message, it is, however much of that was there before. */
TEST_F(reclaim, full_group_makes_room)
{
	const char *group = make_group("group");
	struct peer *server = manager("server"), *rich, *poor[10];
	int rich_handle, handles[ARRAY_SIZE(poor)];
	char limit[32];
	unsigned int i;

	use_one_cpu();
	rich = member_in(group, "rich");
	rich_handle = offer(rich, server, 0x1000, 1);
	for (i = 0; i < ARRAY_SIZE(poor); i++) {
		poor[i] = member_in(group, "poor");
		handles[i] = offer(poor[i], server, 0x1000, 1);
	}
	for (i = 0; i < ARRAY_SIZE(poor); i++) {
		/* What can be had: idle pages of another area in the group. */
		bc_message(server, BC_TRANSACTION, 0, TF_ONE_WAY, self->bytes,
			   AREA / 4)->tr.target.handle = rich_handle;
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		free_message(rich, take_call(rich));
		ASSERT_LE((long)(AREA / 4 / PAGE), area_info(rich).pages_idle);

		step("%u pages", i);
		snprintf(limit, sizeof(limit), "%ld", usage(group) + i * (long)PAGE);
		set_group(group, "memory.max", limit);
		oneway_with(server, handles[i], NULL);
		ASSERT_EQ(0, transact(server));
		ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
		free_message(poor[i], take_call(poor[i]));
		set_group(group, "memory.max", "max");
	}
	EXPECT_EQ(0, group_number(group, "memory.events", "oom_kill"));
}

/* The same for a reply: its receiver is the caller. */
TEST_F(reclaim, full_group_of_caller)
{
	const char *callers = make_group("caller");
	struct peer *server = manager("server"), *client = member_in(callers, "client");
	char limit[32];

	round_trip(client, server);
	snprintf(limit, sizeof(limit), "%ld", least_usage(callers) + MIB);
	set_group(callers, "memory.max", limit);
	call(client, 1, NULL, 0);
	start_transact(client);
	free_buffer(server, take_call(server)->data.ptr.buffer);
	bc_message(server, BC_REPLY, 0, 0, self->bytes, BIG);
	ASSERT_EQ(0, transact(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EXTENDED_ERROR(client, BR_FAILED_REPLY, -ENOMEM);
	EXPECT_EQ(0, group_number(callers, "memory.events", "oom_kill"));
	round_trip(client, server);
}

/* Before that, the group's own idle pages are used up: those of another area in it. */
TEST_F(reclaim, full_group_reclaims_its_own)
{
	const char *group = make_group("group");
	struct peer *server = member_in(group, "server"), *client = member_in(group, "client");
	struct peer *sibling = new_thread(client, "sibling");
	char limit[32];

	become_manager(server, NULL);
	/* Idle in the client's area. */
	exchange(client, server, self->bytes, BIG, BIG);
	ASSERT_EQ((long)(BIG / PAGE), area_info(client).pages_idle);
	ASSERT_EQ((long)(BIG / PAGE), area_info(server).pages_idle);
	snprintf(limit, sizeof(limit), "%ld", usage(group));
	set_group(group, "memory.max", limit);
	/* The server needs another MiB; there is that much to be had from the client, who waits. */
	call_at(client, 1, self->bytes, AREA);
	start_transact(client);
	ASSERT_PAYLOAD(server, take_call(server), self->bytes, AREA);
	EXPECT_GE((long)(2 * BIG - AREA) / (long)PAGE + 64, (long)area_info(sibling).pages_idle);
	EXPECT_EQ(0, group_number(group, "memory.events", "oom_kill"));
	answer(server, message(server), NULL, 0);
}

/* Memory is back when the process is gone, and with it all that belonged to the group. */
TEST_F(reclaim, back_after_death)
{
	const char *outer = make_group("outer"), *inner;
	char path[160];
	long before, round;

	set_group(outer, "cgroup.subtree_control", "+memory");
	before = usage(outer);
	self->client = member("client");
	for (round = 0; round < 10; round++) {
		struct peer *server;

		snprintf(path, sizeof(path), "%s/inner", outer);
		ASSERT_EQ(0, mkdir(path, 0755));
		inner = path;
		server = member_in(inner, "server");
		become_manager(server, NULL);
		exchange(self->client, server, self->bytes, AREA, 0);
		/* It dies with a message that it has not read, one that it has, and idle pages. */
		exchange(self->client, server, self->bytes, BIG, 0);
		bc_message(self->client, BC_TRANSACTION, 1, TF_ONE_WAY, self->bytes, MIB);
		ASSERT_EQ(0, transact(self->client));
		if (round % 2)
			take_call(server);
		kill_process(server);
		await_no_manager(self->client);
		ASSERT_TRUE(eventually(!rmdir(path)));
	}
	/* They had 40 MiB; the kernel has a few KiB for groups, and 256 KiB ahead for each CPU. */
	EXPECT_TRUE(eventually(usage(outer) < before + 3 * MIB / 4)) {
		TH_LOG("%ld bytes are left of what ten processes had", usage(outer) - before);
	}
}

/* Closing the file, with the process alive, is enough. */
TEST_F(reclaim, back_after_close)
{
	const char *group = make_group("group");
	struct peer *server = member_in(group, "server");
	long before = usage(group);

	self->client = member("client");
	become_manager(server, NULL);
	exchange(self->client, server, self->bytes, AREA, 0);
	EXPECT_LT(before + 3 * MIB, usage(group));
	ASSERT_EQ(0, peer_syscall(server, SYS_close, server->fd));
	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, server->area, AREA));
	await_no_manager(self->client);
	EXPECT_TRUE(eventually(usage(group) < before + MIB / 2));
}

/* ---- a machine with little memory ---------------------------------------------------- */

#define MIN_FREE "/proc/sys/vm/min_free_kbytes"
#define SCALE "/proc/sys/vm/watermark_scale_factor"
#define SWAP "/dev/zram0"
#define SWAP_BYTES (256 * MIB)

static long min_free_before, scale_before;

static void set_watermarks(long min_free, long scale)
{
	struct __test_metadata *_metadata = this_test;
	char text[32];

	snprintf(text, sizeof(text), "%ld", min_free);
	ASSERT_EQ(0, write_text(MIN_FREE, text));
	snprintf(text, sizeof(text), "%ld", scale);
	ASSERT_EQ(0, write_text(SCALE, text));
}

static void have_memory_again(void)
{
	struct __test_metadata *_metadata = this_test;

	if (min_free_before)
		set_watermarks(min_free_before, scale_before);
	ASSERT_TRUE(eventually(!swapoff(SWAP) || errno == EINVAL));
	ASSERT_EQ(0, write_text("/sys/block/zram0/reset", "1"));
}

/*
 * Somewhere for memory to go to. With nothing to be gained anywhere, the kernel
 * does not look for long.
 */
static bool make_swap(void)
{
	struct __test_metadata *_metadata = this_test;
	static union {
		__u8 page[PAGE];
		struct {
			__u8 boot[1024];
			__u32 version, last_page;
		};
	} head = { .version = 1, .last_page = SWAP_BYTES / PAGE - 1 };
	char size[32];
	int fd;

	snprintf(size, sizeof(size), "%lu", SWAP_BYTES);
	if (system("modprobe zram 2>/dev/null") || write_text("/sys/block/zram0/disksize", size))
		return false;
	at_teardown = have_memory_again;
	memcpy(head.page + PAGE - 10, "SWAPSPACE2", 10);
	fd = open(SWAP, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(PAGE, write(fd, &head, PAGE));
	ASSERT_EQ(0, fsync(fd));
	close(fd);
	ASSERT_EQ(0, swapon(SWAP, 0));
	return true;
}

#define HOG_BYTES (64 * MIB)

/* Goes round in memory of its own. */
static long do_hog(struct peer *p, void *arg)
{
	volatile int *stop = arg;
	__u8 *bytes = mmap(NULL, HOG_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	size_t at;

	if (bytes == MAP_FAILED)
		return -errno;
	for (at = 0; !*stop; at = (at + PAGE) % HOG_BYTES)
		*(volatile __u8 *)(bytes + at) = 1;
	return munmap(bytes, HOG_BYTES) ? -errno : 0;
}

/*
 * Little is free, and the kernel looks for more all the time: idle pages go, with
 * nobody's help, and messages arrive.
 */
TEST_F_TIMEOUT(reclaim, little_memory, 240)
{
	struct peer *server = manager_with("server", AREA), *client = member_with("client", AREA);
	long total = read_number("/proc/meminfo", "MemTotal:"), zapped = counter("zapped");
	struct peer *hog = member("hog");
	long idle = BIG / PAGE;
	int i, *stop = arena_alloc(sizeof(*stop));

	if (!make_swap())
		SKIP(return, "the machine has no zram");
	scale_before = read_number(SCALE, NULL);
	min_free_before = read_number(MIN_FREE, NULL);
	exchange(client, server, self->bytes, BIG, 0);
	ASSERT_EQ(idle, area_info(server).pages_idle);
	/* It begins to look 30 % of all memory above the least, which is 15 % below what is free. */
	set_watermarks(read_number("/proc/meminfo", "MemFree:") - total * 15 / 100, 3000);
	*stop = 0;
	peer_start(hog, do_hog, stop);
	/* A call takes a page, which may have another round. */
	ASSERT_TRUE(eventually(({
		__u8 *scratch = arena.free;

		round_trip(client, server);
		idle = area_info(server).pages_idle;
		arena.free = scratch;
		idle <= 1;
	}))) {
		TH_LOG("%ld idle pages are left", idle);
	}
	EXPECT_LE(zapped + (long)(BIG / PAGE) - 1, counter("zapped"));
	for (i = 0; i < 20; i++) {
		memset(self->bytes, i, LEN);
		exchange(client, server, self->bytes, LEN, LEN);
	}
	*stop = 1;
	ASSERT_EQ(0, peer_finish(hog));
}

/* ---- all at once ------------------------------------------------------------------- */

/* Gets a reply into its area, of another size each time, and frees it. */
static long get_reply(struct peer *p, struct pattern *question, long round)
{
	struct binder_transaction_data tr = {};
	__u32 reply_len = 16 + round * 5003 % (20 * PAGE);
	long ret;

	make_pattern(question, round, 100, reply_len);
	bc_message(p, BC_TRANSACTION, 1, 0, question, 100);
	ret = own_wait(p, &tr, false);
	if (ret != BR_REPLY)
		return ret < 0 ? ret : -EPROTO;
	if (!check_pattern((void *)(uintptr_t)tr.data.ptr.buffer, ~question->seed, reply_len))
		return -EILSEQ;
	free_buffer(p, tr.data.ptr.buffer);
	return own_submit(p);
}

struct churn {
	int stop, server_stop;
	long rounds;
	__u8 *room;
	char path[128];
};

/* Opens, maps, gets a reply, unmaps, and puts something else there; over and over. */
static long do_churn(struct peer *p, void *arg)
{
	struct churn *churn = arg;
	const size_t len = 32 * PAGE;

	while (!__atomic_load_n(&churn->stop, __ATOMIC_RELAXED)) {
		__u8 *other;
		size_t i;
		long ret;

		p->fd = open(churn->path, O_RDWR | O_CLOEXEC);
		p->area = mmap(NULL, len, PROT_READ, MAP_PRIVATE, p->fd, 0);
		if (p->fd < 0 || p->area == MAP_FAILED)
			return -errno;
		ret = get_reply(p, (void *)churn->room, churn->rounds);
		if (ret)
			return ret;
		other = mmap(p->area, len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		if (other != p->area)
			return -errno;
		for (i = 0; i < len; i += PAGE)
			other[i] = 0x42;
		/* Its idle pages are still there until the file is closed, or reclaim comes. */
		sched_yield();
		for (i = 0; i < len; i++)
			if (other[i] != (i % PAGE ? 0 : 0x42))
				return -EUCLEAN;
		if (munmap(other, len) || close(p->fd))
			return -errno;
		churn->rounds++;
	}
	return 0;
}

/* Areas come and go under reclaim, in several processes, with something else in their places. */
TEST_F(reclaim, churn)
{
	struct peer *server = manager("server"), *peers[4], *last = member("last");
	struct churn *churns[4];
	long rounds = 0;
	__u64 end;
	int i;

	peer_start(server, do_serve, arena_alloc(32 * PAGE));
	for (i = 0; i < 4; i++) {
		churns[i] = arena_alloc(sizeof(*churns[i]));
		memset(churns[i], 0, sizeof(*churns[i]));
		churns[i]->room = arena_alloc(PAGE);
		snprintf(churns[i]->path, sizeof(churns[i]->path), "%s", device_path());
		peers[i] = new_process("churn");
		peer_start(peers[i], do_churn, churns[i]);
	}
	end = now_ns() + 5 * 1000000000ULL;
	while (now_ns() < end) {
		drop_caches();
		for (i = 0; i < 4; i++) {
			ASSERT_FALSE(peer_done(peers[i])) {
				TH_LOG("peer %d: %ld", i, peers[i]->result);
			}
		}
	}
	for (i = 0; i < 4; i++) {
		__atomic_store_n(&churns[i]->stop, 1, __ATOMIC_RELAXED);
		ASSERT_EQ(0, peer_finish(peers[i]));
		rounds += churns[i]->rounds;
	}
	TH_LOG("%ld areas", rounds);
	make_pattern((void *)self->bytes, 1, 100, 100);
	call_at(last, STOP, self->bytes, 100);
	ASSERT_EQ(0, transact(last));
	ASSERT_BR(last, BR_TRANSACTION_COMPLETE, BR_REPLY);
	ASSERT_EQ(0, peer_finish(server));
}

struct asker {
	int stop;
	long rounds;
	struct pattern *question;
};

/* Gets replies, over and over. */
static long do_ask(struct peer *p, void *arg)
{
	struct asker *asker = arg;

	while (!__atomic_load_n(&asker->stop, __ATOMIC_RELAXED)) {
		long ret = get_reply(p, asker->question, asker->rounds);

		if (ret)
			return ret;
		asker->rounds++;
	}
	return 0;
}

/* The group of an area goes while it is in use: its idle pages are those of the group above. */
TEST_F(reclaim, group_goes_in_traffic)
{
	const char *above = make_group("above");
	struct peer *server = manager("server"), *peers[3];
	struct asker *askers[3];
	char below[3][200];
	char pid[16];
	int i, round, tries;

	set_group(above, "cgroup.subtree_control", "+memory");
	peer_start(server, do_serve, arena_alloc(32 * PAGE));
	for (round = 0; round < 4; round++) {
		__u64 end;

		for (i = 0; i < 3; i++) {
			snprintf(below[i], sizeof(below[i]), "%s/below-%d", above, i);
			ASSERT_EQ(0, mkdir(below[i], 0755));
			peers[i] = member_in(below[i], "asker");
			askers[i] = arena_alloc(sizeof(*askers[i]));
			memset(askers[i], 0, sizeof(*askers[i]));
			askers[i]->question = arena_alloc(PAGE);
			peer_start(peers[i], do_ask, askers[i]);
		}
		for (i = 0; i < 3; i++)
			ASSERT_TRUE(eventually(__atomic_load_n(&askers[i]->rounds,
							       __ATOMIC_RELAXED) > 3));
		for (i = 0; i < 3; i++) {
			long before;

			snprintf(pid, sizeof(pid), "%d", peers[i]->pid);
			ASSERT_EQ(0, write_text(CGROUPS "/cgroup.procs", pid));
			drop_caches();
			ASSERT_EQ(0, rmdir(below[i]));
			end = now_ns() + 300000000ULL;
			before = __atomic_load_n(&askers[i]->rounds, __ATOMIC_RELAXED);
			while (now_ns() < end ||
			       __atomic_load_n(&askers[i]->rounds, __ATOMIC_RELAXED) < before + 3) {
				write_text(group_file(above, "memory.reclaim"), "1M");
				drop_caches();
				ASSERT_FALSE(peer_done(peers[i])) {
					TH_LOG("peer %d: %ld", i, peers[i]->result);
				}
			}
		}
		for (i = 0; i < 3; i++) {
			__atomic_store_n(&askers[i]->stop, 1, __ATOMIC_RELAXED);
			ASSERT_EQ(0, peer_finish(peers[i]));
			ASSERT_EQ(0, area_info(peers[i]).live_buffers);
			for (tries = 0; tries < 10 && area_info(peers[i]).pages_idle; tries++)
				write_text(group_file(above, "memory.reclaim"), "1M");
			EXPECT_EQ(0, area_info(peers[i]).pages_idle);
			kill_process(peers[i]);
		}
	}
	EXPECT_GT(MIB / 4, least_usage(above));
}

TEST_HARNESS_MAIN
