// SPDX-License-Identifier: GPL-2.0
/*
 * Eight processes of four threads each talk as fast as they can, in messages
 * of all sizes, while memory is being reclaimed all the time, the receiver
 * forks, and somebody else reads its area. Every byte of every message is
 * looked at, those of a held message twice.
 */
#include <sys/uio.h>

#include "memory.h"

#define PROCESSES 8
#define THREADS 4
#define SECONDS 10
#define LONGEST 30000
#define HELD 3

struct talker {
	int *stop;
	__u64 random;
	struct pattern *question;
	long calls, oneways, refused;
};

static __u32 next_random(struct talker *t)
{
	t->random = t->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return t->random >> 33;
}

/* Mostly small, now and then large. */
static __u32 random_len(struct talker *t)
{
	__u32 r = next_random(t);

	return sizeof(struct pattern) + r / 8 % (r % 8 ? 300 : LONGEST - sizeof(struct pattern));
}

/* Calls, keeps some of the replies for a while, and says what it found wrong. */
static long do_talk(struct peer *p, void *arg)
{
	struct talker *t = arg;
	struct {
		__u64 address, seed;
		__u32 len;
	} held[HELD] = {};
	struct binder_transaction_data tr = {};
	__u64 n;
	int slot;

	for (n = 0; !__atomic_load_n(t->stop, __ATOMIC_RELAXED); n++) {
		bool is_oneway = next_random(t) % 4 == 0;
		__u32 reply_len = random_len(t);
		long ret;

		make_pattern(t->question, (__u64)p->tid << 32 | n, random_len(t), reply_len);
		bc_message(p, BC_TRANSACTION, 1, is_oneway ? TF_ONE_WAY : 0, t->question,
			   t->question->len);
		ret = own_wait(p, &tr, is_oneway);
		if (ret == BR_FAILED_REPLY) {
			/* The receiver's area was full; what is held may be why. */
			t->refused++;
			reply_len = 0;
		} else if (ret == BR_TRANSACTION_COMPLETE && is_oneway) {
			t->oneways++;
			continue;
		} else if (ret != BR_REPLY) {
			return ret < 0 ? ret : -EPROTO;
		}
		slot = n % HELD;
		if (held[slot].address) {
			if (!check_pattern((void *)(uintptr_t)held[slot].address, held[slot].seed,
					   held[slot].len))
				return -EILSEQ;
			free_buffer(p, held[slot].address);
			held[slot].address = 0;
		}
		if (!reply_len)
			continue;
		t->calls++;
		held[slot].address = tr.data.ptr.buffer;
		held[slot].seed = ~t->question->seed;
		held[slot].len = reply_len;
		if (tr.data_size != reply_len ||
		    !check_pattern((void *)(uintptr_t)tr.data.ptr.buffer, ~t->question->seed,
				   reply_len))
			return -EILSEQ;
	}
	for (slot = 0; slot < HELD; slot++)
		if (held[slot].address)
			free_buffer(p, held[slot].address);
	/* The last buffers, and a word to the servers that this was all. */
	return own_submit(p);
}

struct bystander {
	int *stop;
	pid_t pid;
	__u8 *area;
	size_t len;
	long done;
	__u8 bytes[64 << 10];
};

/* Reads another process's area from outside, page by page as it finds them. */
static long do_look(struct peer *p, void *arg)
{
	struct bystander *b = arg;
	size_t at = 0;

	while (!__atomic_load_n(b->stop, __ATOMIC_RELAXED)) {
		struct iovec local = { b->bytes, sizeof(b->bytes) };
		struct iovec remote = { b->area + at, sizeof(b->bytes) };

		if (process_vm_readv(b->pid, &local, 1, &remote, 1, 0) > 0)
			b->done++;
		at += PAGE * 5;
		if (at + sizeof(b->bytes) > b->len)
			at = 0;
	}
	return 0;
}

/* Forks: all of the process's mappings are write-locked for that time. */
static long do_fork(struct peer *p, void *arg)
{
	struct bystander *b = arg;

	while (!__atomic_load_n(b->stop, __ATOMIC_RELAXED)) {
		/* With the files shared, as the end of a copy of them would be a flush. */
		pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

		if (!child)
			_exit(0);
		if (child < 0 || waitpid(child, NULL, 0) != child)
			return -errno;
		b->done++;
		usleep(2000);
	}
	return 0;
}

TEST_F_TIMEOUT(ipc, under_reclaim, 600)
{
	struct peer *peers[PROCESSES][THREADS], *last;
	struct peer *looking = new_process("looking"), *forking;
	struct talker *talkers[PROCESSES * THREADS];
	struct bystander *look = arena_alloc(sizeof(*look)), *fork = arena_alloc(sizeof(*fork));
	const char *group = make_group("traffic"), *scan;
	long calls = 0, oneways = 0, refused = 0, zapped = counter("zapped"), least = -1, rounds = 0;
	int *stop = arena_alloc(sizeof(*stop)), i, j;
	__u8 *whole;
	__u64 end;

	*stop = 0;
	for (i = 0; i < PROCESSES; i++) {
		peers[i][0] = i ? member_with("client", 1 << 20) : new_process("server");
		if (!i) {
			/* The servers' memory is also squeezed group-wise. */
			enter_group(peers[0][0], group);
			ASSERT_LE(0, open_device(peers[0][0], 0));
			ASSERT_EQ(0, map_area(peers[0][0], 4 << 20));
			become_manager(peers[0][0], NULL);
		}
		for (j = 1; j < THREADS; j++)
			peers[i][j] = new_thread(peers[i][0], i ? "client's thread" : "server's thread");
	}
	forking = new_bare_thread(peers[0][0], "forking");
	look->stop = fork->stop = stop;
	look->done = fork->done = 0;
	look->pid = peers[0][0]->pid;
	look->area = peers[0][0]->area;
	look->len = 4 << 20;
	peer_start(looking, do_look, look);
	peer_start(forking, do_fork, fork);
	for (i = 0; i < PROCESSES; i++)
		for (j = 0; j < THREADS; j++) {
			struct talker *t = talkers[i * THREADS + j] = arena_alloc(sizeof(*t));
			void *room = arena_alloc(LONGEST);

			*t = (struct talker) { stop, i * THREADS + j, room };
			if (i)
				peer_start(peers[i][j], do_talk, t);
			else
				peer_start(peers[i][j], do_serve, room);
		}

	end = now_ns() + SECONDS * 1000000000ULL;
	while (now_ns() < end) {
		rounds++;
		drop_caches();
		/* EAGAIN: not as much as that could be reclaimed. */
		write_text(group_file(group, "memory.reclaim"), "1M");
		scan = shrinker_file("scan");
		if (scan)
			write_text(scan, "0 0 100");
		for (i = 0; i < PROCESSES; i++)
			for (j = 0; j < THREADS; j++) {
				ASSERT_FALSE(peer_done(peers[i][j])) {
					TH_LOG("thread %d of process %d ended with %ld", j, i,
					       peers[i][j]->result);
				}
			}
	}
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
	for (i = THREADS; i < PROCESSES * THREADS; i++) {
		struct talker *t = talkers[i];

		ASSERT_EQ(0, peer_finish(peers[i / THREADS][i % THREADS]));
		calls += t->calls;
		oneways += t->oneways;
		refused += t->refused;
		if (least < 0 || t->calls < least)
			least = t->calls;
	}
	ASSERT_EQ(0, peer_finish(looking));
	ASSERT_EQ(0, peer_finish(forking));
	EXPECT_LT(0, look->done);
	EXPECT_LT(0, fork->done);
	TH_LOG("%ld calls (%ld of the slowest thread), %ld one-way messages, %ld refused; %ld rounds of reclaim",
	       calls, least, oneways, refused, rounds);
	EXPECT_LT(0, least);
	EXPECT_LT(0, oneways);

	/* The servers, one by one; then the last of them takes what is left. */
	last = member("last");
	for (j = 0; j < THREADS; j++) {
		make_pattern(talkers[4]->question, 1, 100, 100);
		call_at(last, STOP, talkers[4]->question, 100);
		ASSERT_EQ(0, transact(last));
		ASSERT_BR(last, BR_TRANSACTION_COMPLETE, BR_REPLY);
		free_buffer(last, message(last)->data.ptr.buffer);
		ASSERT_EQ(0, submit(last));
	}
	for (j = 0; j < THREADS; j++) {
		ASSERT_EQ(0, peer_finish(peers[0][j]));
	}
	while (!receive_now(peers[0][0])) {
		if (peers[0][0]->brs < 2)
			continue;
		ASSERT_BR(peers[0][0], BR_TRANSACTION);
		free_buffer(peers[0][0], message(peers[0][0])->data.ptr.buffer);
		ASSERT_EQ(0, submit(peers[0][0]));
	}
	/* All of everybody's area is free. */
	whole = arena_alloc(4 << 20);
	memset(whole, 0x3d, 4 << 20);
	for (i = 1; i < PROCESSES; i++) {
		ASSERT_EQ(0, submit(peers[i][0]));
		exchange(peers[i][0], peers[0][0], whole, 4 << 20, 1 << 20);
	}
	if (!oracle()) {
		EXPECT_LT(zapped, counter("zapped"));
	}
}

TEST_HARNESS_MAIN
