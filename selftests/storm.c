// SPDX-License-Identifier: GPL-2.0
/*
 * Processes and threads are killed at any moment, all the time, while they and
 * those who survive talk to each other with everything that a message can have.
 * What the survivors get is right to the last byte, and in the end nothing is
 * left of the dead. Idle pages are reclaimed in between.
 *
 * RUST_IPC_STORM_SECONDS says how long (5), RUST_IPC_STORM_SEED what is done.
 */
#include "files.h"
#include "memory.h"
#include "rust_ipc.h"

#define VICTIMS 6
#define THREADS 3
#define SURVIVORS 2
#define HELD 8
#define LONGEST 6000
/* How deep calls may be nested. */
#define DEPTH 3
#define MESSAGE_ROOM (LONGEST + 512)

/* Codes of messages: ECHO is answered, CARRY has objects, TAKE is to be answered with a handle. */
enum { ECHO = 1, CARRY, TAKE, NEST };

/* Who talks, stops; then who serves. */
enum { STOP_TALKING = 1, STOP_SERVING };

struct tally {
	long answered, refused, oneways, nested, files, deaths, freezes;
};

/* A thread that talks. */
struct citizen {
	struct peer *peer;
	int *stop;
	__u64 random;
	bool only_serves;
	__u32 held[HELD];		/* handles, each counted once for each time it is here */
	long owed;			/* completions of replies that have not been read */
	struct tally tally;
	/* One for each level of nesting. */
	__u8 room[DEPTH + 2][2][MESSAGE_ROOM] __attribute__((aligned(8)));
	__u64 offsets[DEPTH + 2][2][8];
};

static __u32 next_random(struct citizen *c)
{
	c->random = c->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return c->random >> 33;
}

/* ---- messages ------------------------------------------------------------- */

/* A command of its own, that may fail. */
static long try_command(struct citizen *c, __u32 command, const void *bytes, size_t len)
{
	__u8 buffer[64];
	struct binder_write_read bwr = {
		.write_size = 4 + len, .write_buffer = (uintptr_t)buffer,
	};

	memcpy(buffer, &command, 4);
	memcpy(buffer + 4, bytes, len);
	return ioctl(c->peer->fd, BINDER_WRITE_READ, &bwr) ? -errno : 0;
}

/* The address of a node of this thread's. A few are enough, and they come and go. */
static __u64 own_node(struct citizen *c)
{
	return (uintptr_t)c + next_random(c) % 4 * 8;
}

struct draft {
	__u8 *bytes;
	__u64 *offsets;
	size_t len, count;
};

static struct draft new_draft(struct citizen *c, int level, bool is_reply, __u64 seed, __u32 len,
			      __u32 reply_len)
{
	struct draft d = { c->room[level][is_reply], c->offsets[level][is_reply], (len + 7) & ~7, 0 };

	make_pattern((void *)d.bytes, seed, len, reply_len);
	return d;
}

static void draft_object(struct draft *d, __u32 type, __u64 value, __u64 cookie)
{
	struct flat_binder_object object = {
		.hdr.type = type, .flags = OBJECT_FLAGS, .binder = value, .cookie = cookie,
	};

	d->offsets[d->count++] = d->len;
	memcpy(d->bytes + d->len, &object, sizeof(object));
	d->len += sizeof(object);
}

static void gather(struct citizen *c, __u32 command, __u32 handle, __u32 code, __u32 flags,
		   const struct draft *d)
{
	struct binder_transaction_data tr = {
		.target.handle = handle, .code = code, .flags = flags | TF_ACCEPT_FDS,
		.data_size = d->len, .offsets_size = d->count * 8,
		.data.ptr = { (uintptr_t)d->bytes, (uintptr_t)d->offsets },
	};

	bc(c->peer, command);
	put(c->peer, &tr, sizeof(tr));
}

static void keep_handle(struct citizen *c, __u32 handle)
{
	__u32 *slot = &c->held[next_random(c) % HELD];
	struct binder_handle_cookie notice = { handle, handle };

	bc_u32(c->peer, BC_ACQUIRE, handle);
	if (*slot)
		bc_u32(c->peer, BC_RELEASE, *slot);
	*slot = handle;
	switch (next_random(c) % 4) {
	case 0:
		bc(c->peer, BC_REQUEST_DEATH_NOTIFICATION);
		put(c->peer, &notice, sizeof(notice));
		break;
	case 1:
		try_command(c, BC_REQUEST_FREEZE_NOTIFICATION, &notice, sizeof(notice));
		break;
	case 2:
		bc(c->peer, BC_CLEAR_DEATH_NOTIFICATION);
		put(c->peer, &notice, sizeof(notice));
		try_command(c, BC_CLEAR_FREEZE_NOTIFICATION, &notice, sizeof(notice));
		break;
	}
}

/* Looks at a message that has come, and takes what is in it. The pattern, or NULL if it is wrong. */
static const struct pattern *take_message(struct citizen *c, const struct binder_transaction_data *tr,
					  __u32 *back)
{
	const __u8 *bytes = (void *)(uintptr_t)tr->data.ptr.buffer;
	const __u64 *offsets = (void *)(uintptr_t)tr->data.ptr.offsets;
	const struct pattern *pattern = (void *)bytes;
	size_t i;

	if (tr->data_size < sizeof(*pattern) || pattern->len > tr->data_size ||
	    !check_pattern(pattern, pattern->seed, pattern->len))
		return NULL;
	for (i = 0; i < tr->offsets_size / 8; i++) {
		const struct flat_binder_object *object = (void *)(bytes + offsets[i]);
		char zeros[8];

		switch (object->hdr.type) {
		case BINDER_TYPE_HANDLE:
			if (back)
				*back = object->handle;
			if (next_random(c) % 2)
				keep_handle(c, object->handle);
			break;
		case BINDER_TYPE_FD:
			/* Of /dev/zero. */
			memset(zeros, 1, sizeof(zeros));
			if (read(object->handle, zeros, 8) != 8 || memchr(zeros, 1, 8) ||
			    close(object->handle))
				return NULL;
			c->tally.files++;
			break;
		case BINDER_TYPE_WEAK_HANDLE:
		case BINDER_TYPE_BINDER:
		case BINDER_TYPE_WEAK_BINDER:
			break;
		default:
			return NULL;
		}
	}
	return pattern;
}

static long talk(struct citizen *c, int level, __u32 handle, __u32 code, bool is_oneway);

/* Answers a call, or takes a one-way message: 0, or what is wrong. */
static long handle_message(struct citizen *c, int level, const struct binder_transaction_data *tr)
{
	__u32 back = 0, reply_len;
	const struct pattern *question = take_message(c, tr, &back);
	struct draft d;
	__u64 seed;
	long ret;

	if (!question)
		return -EILSEQ;
	seed = question->seed;
	reply_len = question->reply_len;
	if (tr->code == NEST && back && level < DEPTH && !(tr->flags & TF_ONE_WAY)) {
		/* While the buffer is there, the handle is. The caller has a thread for this. */
		ret = talk(c, level + 1, back, next_random(c) % 2 ? NEST : ECHO, false);
		if (ret)
			return ret;
		c->tally.nested++;
	}
	free_buffer(c->peer, tr->data.ptr.buffer);
	if (tr->flags & TF_ONE_WAY)
		return 0;
	d = new_draft(c, level, true, ~seed, reply_len, 0);
	if (tr->code == TAKE && c->held[next_random(c) % HELD])
		draft_object(&d, BINDER_TYPE_HANDLE, c->held[next_random(c) % HELD], 0);
	gather(c, BC_REPLY, 0, 0, 0, &d);
	c->owed++;
	return 0;
}

/*
 * Carries out what was gathered, and whatever comes, until it is known how the
 * thread's own message has fared: a return, or a negative errno. Without a
 * message of its own, returns when it is told to stop, and nothing is left to do.
 */
static long attend(struct citizen *c, int level, bool is_oneway, struct binder_transaction_data *tr)
{
	struct peer *p = c->peer;

	for (;;) {
		long seen = 0, ret = own_io(p);
		struct br br;
		size_t at = 0;

		if (ret)
			return ret;
		while (next_return(p, &at, &br)) {
			switch (br.cmd) {
			case BR_INCREFS:
				bc_node(p, BC_INCREFS_DONE, br.node.ptr, br.node.cookie);
				break;
			case BR_ACQUIRE:
				bc_node(p, BC_ACQUIRE_DONE, br.node.ptr, br.node.cookie);
				break;
			case BR_DEAD_BINDER:
				c->tally.deaths++;
				bc_u64(p, BC_DEAD_BINDER_DONE, br.cookie);
				break;
			case BR_FROZEN_BINDER:
				c->tally.freezes++;
				try_command(c, BC_FREEZE_NOTIFICATION_DONE, &br.frozen.cookie, 8);
				break;
			case BR_TRANSACTION:
				/* The last return of a read, as another read may follow in there. */
				ret = handle_message(c, level, &br.tr);
				if (ret)
					return ret;
				at = sizeof(p->read);
				break;
			case BR_REPLY:
				*tr = br.tr;
				seen = br.cmd;
				break;
			case BR_TRANSACTION_COMPLETE:
			case BR_TRANSACTION_PENDING_FROZEN:
			case BR_ONEWAY_SPAM_SUSPECT:
				if (c->owed)
					c->owed--;
				else if (is_oneway)
					seen = br.cmd;
				break;
			case BR_DEAD_REPLY:
			case BR_FAILED_REPLY:
			case BR_FROZEN_REPLY:
				seen = br.cmd;
				break;
			case BR_NOOP:
			case BR_SPAWN_LOOPER:
			case BR_RELEASE:
			case BR_DECREFS:
			case BR_CLEAR_DEATH_NOTIFICATION_DONE:
			case BR_CLEAR_FREEZE_NOTIFICATION_DONE:
				break;
			default:
				return -EBADMSG;
			}
		}
		if (seen)
			return seen;
		if (c->only_serves && !level && !p->write_len &&
		    __atomic_load_n(c->stop, __ATOMIC_RELAXED) == STOP_SERVING)
			return 0;
	}
}

/* Sends something, and sees what comes of it: 0, or what is wrong. */
static long talk(struct citizen *c, int level, __u32 handle, __u32 code, bool is_oneway)
{
	__u32 room = LONGEST - sizeof(struct pattern), reply_len;
	struct binder_transaction_data tr = {};
	const struct pattern *answer;
	struct draft d;
	int file = -1;
	__u64 seed;
	long ret;

	/* Mostly short, now and then long. */
	reply_len = sizeof(struct pattern) + next_random(c) % (next_random(c) % 8 ? 200 : room);
	seed = (__u64)next_random(c) << 32 | next_random(c);
	d = new_draft(c, level, false, seed,
		      sizeof(struct pattern) + next_random(c) % (next_random(c) % 8 ? 200 : room),
		      reply_len);
	if (code == NEST || code == CARRY)
		draft_object(&d, BINDER_TYPE_BINDER, own_node(c), 0);
	if (code == CARRY) {
		__u32 held = c->held[next_random(c) % HELD];

		draft_object(&d, BINDER_TYPE_WEAK_BINDER, own_node(c), 0);
		if (held) {
			draft_object(&d, BINDER_TYPE_HANDLE, held, 0);
			draft_object(&d, BINDER_TYPE_WEAK_HANDLE, held, 0);
		}
		file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
		if (file < 0)
			return -errno;
		draft_object(&d, BINDER_TYPE_FD, file, 0);
	}
	gather(c, BC_TRANSACTION, handle, code, is_oneway ? TF_ONE_WAY : 0, &d);
	ret = attend(c, level, is_oneway, &tr);
	if (file >= 0)
		close(file);
	if (ret < 0)
		return ret;
	if (ret != BR_REPLY) {
		bool went = is_oneway && ret != BR_DEAD_REPLY && ret != BR_FAILED_REPLY &&
			ret != BR_FROZEN_REPLY;

		c->tally.oneways += went;
		c->tally.refused += !went;
		return 0;
	}
	answer = take_message(c, &tr, NULL);
	if (!answer || answer->seed != ~seed || answer->len != reply_len)
		return -EILSEQ;
	c->tally.answered++;
	free_buffer(c->peer, tr.data.ptr.buffer);
	return 0;
}

/* ---- who talks ---------------------------------------------------------------- */

/* Gives up all handles; RET if that is not 0. */
static long leave(struct citizen *c, long ret)
{
	struct peer *p = c->peer;
	int i;

	for (i = 0; i < HELD; i++)
		if (c->held[i])
			bc_u32(p, BC_RELEASE, c->held[i]);
	prepare_io(p, false);
	return ret ?: do_write_read(p, &p->bwr);
}

/* Talks to whom it knows until it is to stop. 0, or what is wrong. */
static long do_talk(struct peer *p, void *arg)
{
	struct citizen *c = arg;
	long ret = 0;

	c->peer = p;
	while (!ret && !__atomic_load_n(c->stop, __ATOMIC_RELAXED)) {
		__u32 r = next_random(c), handle = r % 3 ? c->held[r / 4 % HELD] : 0;

		ret = talk(c, 0, handle, 1 + r / 64 % 4, r / 1024 % 4 == 0);
	}
	return leave(c, ret);
}

/* Answers until it is to stop. */
static long do_attend(struct peer *p, void *arg)
{
	struct binder_transaction_data tr;
	struct citizen *c = arg;

	c->peer = p;
	c->only_serves = true;
	return leave(c, attend(c, 0, false, &tr));
}

/* ---- who dies ------------------------------------------------------------------- */

struct victim {
	pid_t pid;
	pid_t tids[THREADS];
	long result;			/* what a thread found wrong */
	struct peer peers[THREADS];
	struct citizen citizens[THREADS];
};

static void end_of_thread(int signal_number)
{
	syscall(SYS_exit, 0);
}

struct start {
	struct victim *victim;
	int number;
};

static void *victim_thread(void *arg)
{
	struct start *s = arg;
	struct victim *v = s->victim;
	long ret;

	__atomic_store_n(&v->tids[s->number], gettid(), __ATOMIC_SEQ_CST);
	ret = do_talk(&v->peers[s->number], &v->citizens[s->number]);
	if (ret)
		__atomic_store_n(&v->result, ret, __ATOMIC_SEQ_CST);
	return NULL;
}

static void __attribute__((noreturn)) be_victim(struct victim *v)
{
	struct sigaction action = { .sa_handler = end_of_thread };
	struct start starts[THREADS];
	int fd = open(device_path(), O_RDWR | O_CLOEXEC), i;
	__u8 *area = mmap(NULL, AREA_LEN, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGUSR2, &action, NULL);
	for (i = THREADS - 1; i >= 0; i--) {
		starts[i] = (struct start) { v, i };
		v->peers[i].fd = fd;
		v->peers[i].area = area;
		v->peers[i].area_len = AREA_LEN;
		v->peers[i].read_len = sizeof(v->peers[i].read);
		if (i)
			pthread_create(&thread, NULL, victim_thread, &starts[i]);
	}
	victim_thread(&starts[0]);
	/* Where its threads died, or it is told to stop; it is killed in any case. */
	for (;;)
		pause();
}

static void revive(struct victim *v, int *stop, __u64 seed)
{
	struct __test_metadata *_metadata = this_test;
	pid_t pid;
	int i;

	memset(v, 0, sizeof(*v));
	for (i = 0; i < THREADS; i++) {
		v->citizens[i].stop = stop;
		v->citizens[i].random = seed + i;
	}
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		be_victim(v);
	v->pid = pid;
}

static void kill_victim(struct victim *v)
{
	struct __test_metadata *_metadata = this_test;
	int status;

	ASSERT_EQ(0, kill(v->pid, SIGKILL));
	ASSERT_TRUE(eventually(waitpid(v->pid, &status, WNOHANG) == v->pid));
	/* If all of its threads are gone, so is the process. */
	ASSERT_TRUE(!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
		TH_LOG("a victim has ended by itself: 0x%x", status);
	}
	v->pid = 0;
}

static long setting(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? atol(value) : otherwise;
}

/* Frees all that there is still for P; who has called it is told that nobody is there. */
static void clear_away(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	long ret;
	int i;

	while (!(ret = receive_now(p))) {
		bool is_call = false;

		for (i = 0; i < p->brs; i++) {
			struct br *br = &p->br[i];

			if (br->cmd == BR_INCREFS)
				bc_node(p, BC_INCREFS_DONE, br->node.ptr, br->node.cookie);
			else if (br->cmd == BR_ACQUIRE)
				bc_node(p, BC_ACQUIRE_DONE, br->node.ptr, br->node.cookie);
			else if (br->cmd == BR_DEAD_BINDER)
				bc_u64(p, BC_DEAD_BINDER_DONE, br->cookie);
			else if (br->cmd == BR_TRANSACTION || br->cmd == BR_REPLY)
				free_buffer(p, br->tr.data.ptr.buffer);
			is_call |= br->cmd == BR_TRANSACTION && !(br->tr.flags & TF_ONE_WAY);
		}
		ASSERT_EQ(0, submit(p));
		if (is_call) {
			ASSERT_EQ(0, peer_ioctl(p, BINDER_THREAD_EXIT, NULL));
			settle(p);
		}
	}
	ASSERT_EQ(-EAGAIN, ret);
}

/* Ends a wait of all threads of P, who are not at hand. */
static void rouse(struct peer *by, struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	long pidfd = peer_syscall(by, SYS_pidfd_open, p->pid, 0);
	long fd = peer_syscall(by, SYS_pidfd_getfd, pidfd, p->fd, 0);

	ASSERT_LE(0, fd);
	close_fd(by, fd);
	close_fd(by, pidfd);
}

/* Whether these threads together have seen everything. */
static bool has_all(struct citizen *citizens[THREADS])
{
	struct tally sum = {};
	int i;

	for (i = 0; i < THREADS; i++) {
		struct tally *t = &citizens[i]->tally;

		sum.nested += __atomic_load_n(&t->nested, __ATOMIC_RELAXED);
		sum.files += __atomic_load_n(&t->files, __ATOMIC_RELAXED);
		sum.deaths += __atomic_load_n(&t->deaths, __ATOMIC_RELAXED);
	}
	return sum.nested && sum.files && sum.deaths;
}

TEST_F_TIMEOUT(ipc, storm, 7200)
{
	long seconds = setting("RUST_IPC_STORM_SECONDS", 5), seed = setting("RUST_IPC_STORM_SEED", 1);
	/* The hub lets everybody know each other. The last thread of a survivor serves. */
	struct peer *peers[1 + SURVIVORS][THREADS], *last;
	struct citizen *citizens[1 + SURVIVORS][THREADS], dice = { .random = seed };
	struct flat_binder_object object = { .flags = FLAT_BINDER_FLAG_ACCEPTS_FDS };
	struct victim *victims[VICTIMS];
	long processes = 0, threads = 0, freezes = 0, reclaims = 0;
	struct tally sum = {};
	int *stop, i, j;
	__u8 *whole;
	__u64 end;

	if (!oracle()) {
		ASSERT_TRUE(eventually(!objects_alive()));
	}
	TH_LOG("seed %ld, %ld s", seed, seconds);
	stop = arena_alloc(sizeof(*stop));
	*stop = 0;
	for (i = 0; i <= SURVIVORS; i++)
		for (j = 0; j < THREADS; j++) {
			struct citizen *c = citizens[i][j] = arena_alloc(sizeof(*c));

			memset(c, 0, sizeof(*c));
			c->stop = stop;
			c->random = seed * 1000 + i * 100 + j;
			peers[i][j] = j ? new_thread(peers[i][0], i ? "survivor's thread" : "hub's thread") :
				member_with(i ? "survivor" : "hub", 1 << 20);
		}
	become_manager(peers[0][0], &object);
	last = member("last");
	for (i = 0; i < VICTIMS; i++)
		victims[i] = arena_alloc(sizeof(*victims[i]));

	for (i = 0; i <= SURVIVORS; i++)
		for (j = 0; j < THREADS; j++)
			peer_start(peers[i][j], i && j < THREADS - 1 ? do_talk : do_attend,
				   citizens[i][j]);
	for (i = 0; i < VICTIMS; i++)
		revive(victims[i], stop, seed * 31 + i * 100);

	end = now_ns() + seconds * 1000000000ULL;
	/* On a slow machine it takes longer until everything has happened, but not for ever. */
	while (now_ns() < end || !processes || !threads || !has_all(citizens[0])) {
		struct victim *v = victims[next_random(&dice) % VICTIMS];
		__u32 r = next_random(&dice);
		struct binder_freeze_info info = { v->pid, 1, 0 };
		pid_t tid = __atomic_load_n(&v->tids[r / 16 % THREADS], __ATOMIC_SEQ_CST);
		__u8 *scratch = arena.free;

		ASSERT_GT(end + 2 * patience_s * 1000000000ULL, now_ns());
		switch (r % 9) {
		case 0 ... 3:
			kill_victim(v);
			processes++;
			ASSERT_EQ(0, v->result);
			revive(v, stop, seed * 31 + processes * 1000);
			break;
		case 4 ... 5:
			if (tid && !syscall(SYS_tgkill, v->pid, tid, SIGUSR2))
				threads++;
			break;
		case 6:
			ASSERT_EQ(0, try_drop_caches());
			reclaims++;
			break;
		default:
			/* It may be busy, or not have opened the device yet. */
			if (!peer_ioctl(last, BINDER_FREEZE, arena_copy(&info, sizeof(info))))
				freezes++;
			info.enable = 0;
			peer_ioctl(last, BINDER_FREEZE, arena_copy(&info, sizeof(info)));
			break;
		}
		arena.free = scratch;
		usleep(next_random(&dice) % 8000);
		for (i = 0; i <= SURVIVORS; i++)
			for (j = 0; j < THREADS; j++) {
				ASSERT_FALSE(peer_done(peers[i][j])) {
					TH_LOG("thread %d of %s %d ended with %ld", j,
					       peers[i][0]->name, i, peers[i][j]->result);
				}
			}
		for (i = 0; i < VICTIMS; i++) {
			ASSERT_EQ(0, victims[i]->result);
		}
	}

	/* Nobody waits for the dead. */
	for (i = 0; i < VICTIMS; i++)
		kill_victim(victims[i]);
	__atomic_store_n(stop, STOP_TALKING, __ATOMIC_SEQ_CST);
	for (i = 1; i <= SURVIVORS; i++)
		for (j = 0; j < THREADS - 1; j++) {
			ASSERT_EQ(0, peer_finish(peers[i][j]));
			EXPECT_LT(0, citizens[i][j]->tally.answered);
		}
	__atomic_store_n(stop, STOP_SERVING, __ATOMIC_SEQ_CST);
	/* Once may not do: that can end a wait within a nested call. */
	ASSERT_TRUE(eventually(({
		__u8 *scratch = arena.free;
		int done = 0;

		for (i = 0; i <= SURVIVORS; i++) {
			rouse(last, peers[i][0]);
			for (j = 0; j < THREADS; j++)
				done += peer_done(peers[i][j]);
		}
		arena.free = scratch;
		done == (1 + SURVIVORS) * THREADS;
	})));
	for (i = 0; i <= SURVIVORS; i++)
		for (j = 0; j < THREADS; j++) {
			struct tally *t = &citizens[i][j]->tally;

			ASSERT_EQ(0, peer_finish(peers[i][j])) {
				TH_LOG("thread %d of %s %d: %ld", j, peers[i][0]->name, i,
				       peers[i][j]->result);
			}
			sum.answered += t->answered;
			sum.refused += t->refused;
			sum.oneways += t->oneways;
			sum.nested += t->nested;
			sum.files += t->files;
			sum.deaths += t->deaths;
			sum.freezes += t->freezes;
		}
	TH_LOG("killed %ld processes and %ld threads, froze %ld, reclaimed %ld times; survivors: %ld calls answered, %ld refused,",
	       processes + VICTIMS, threads, freezes, reclaims, sum.answered, sum.refused);
	TH_LOG("%ld one-way messages, %ld nested calls, %ld files, %ld deaths and %ld freezes heard of", sum.oneways,
	       sum.nested, sum.files, sum.deaths, sum.freezes);
	/* What was on its way is read; to free a message may bring another one. Then all areas are free. */
	for (i = 0; i <= SURVIVORS; i++)
		for (j = 0; j < THREADS; j++)
			clear_away(peers[i][j]);
	whole = arena_alloc(1 << 20);
	memset(whole, 0x6d, 1 << 20);
	for (i = 1; i <= SURVIVORS; i++)
		exchange(peers[i][0], peers[0][0], whole, 1 << 20, 1 << 20);
	for (i = 0; i < arena.peer_count; i++)
		kill_process(arena.peers[i]);
	if (!oracle()) {
		ASSERT_TRUE(eventually(!objects_alive()));
	}
}

TEST_HARNESS_MAIN
