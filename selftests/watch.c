// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of the driver from outside: its files in debugfs, and its
 * tracepoints. Needs root.
 */
#include <ctype.h>

#include "freeze.h"
#include "memory.h"
#include "notices.h"

#define FILES DEBUGFS "/rust_ipc/"
#define TRACING "/sys/kernel/tracing"
#define INSTANCE TRACING "/instances/rust_ipc_watch"

/* ---- reading ------------------------------------------------------------ */

/* An address of the kernel's: 16 hexadecimal digits of which the first four are f. */
static const char *find_pointer(const char *text)
{
	int digits = 0;

	for (; *text; text++) {
		digits = isxdigit(*text) ? digits + 1 : 0;
		if (digits == 16 && !isxdigit(text[1]) && !strncmp(text - 15, "ffff", 4))
			return text - 15;
	}
	return NULL;
}

/* All that a file says, in memory of this process; an error is negative. */
static char *read_whole(const char *path, long *result)
{
	static char *text;
	static size_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	*result = -errno;
	if (fd < 0)
		return NULL;
	do {
		if (size - len < 65536) {
			size += 1 << 20;
			text = realloc(text, size);
		}
		n = read(fd, text + len, size - len - 1);
		*result = n < 0 ? -errno : (long)len;
		len += n > 0 ? n : 0;
	} while (n > 0);
	text[len] = 0;
	close(fd);
	return text;
}

/* What one of the driver's files says. It never says an address of the kernel's. */
static const char *look(const char *name)
{
	struct __test_metadata *_metadata = this_test;
	char path[128];
	const char *text;
	long ret;

	snprintf(path, sizeof(path), FILES "%s", name);
	text = read_whole(path, &ret);
	ASSERT_LE(0, ret) {
		TH_LOG("%s: %s", path, strerror(-ret));
	}
	ASSERT_EQ(NULL, find_pointer(text)) {
		TH_LOG("%s: %.80s", path, find_pointer(text));
	}
	return text;
}

/* How many lines of the text begin with what the format makes. */
static int lines(const char *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static int lines(const char *text, const char *format, ...)
{
	char start[512];
	va_list arguments;
	int count = 0;

	va_start(arguments, format);
	vsnprintf(start, sizeof(start), format, arguments);
	va_end(arguments);
	for (; *text; text++) {
		count += !strncmp(text, start, strlen(start));
		text += strcspn(text, "\n");
		if (!*text)
			break;
	}
	return count;
}

#define ASSERT_LINES(count, name, ...) do { \
	const char *__text = look(name); \
	ASSERT_EQ(count, lines(__text, __VA_ARGS__)) { \
		char __line[256]; \
		snprintf(__line, sizeof(__line), __VA_ARGS__); \
		TH_LOG("'%s' in %s:\n%.4000s", __line, name, __text); \
	} \
} while (0)

static const char *file_of(struct peer *p)
{
	static char name[32];

	snprintf(name, sizeof(name), "proc/%d", p->pid);
	return name;
}

/* The number behind "NAME: " or "NAME: alive ", at the beginning of a line; 0 if there is none. */
static long number(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (; *text; text += !!*text) {
		if (!strncmp(text, name, len) && !strncmp(text + len, ": ", 2))
			return atol(text + len + 2 + 6 * !strncmp(text + len + 2, "alive ", 6));
		text += strcspn(text, "\n");
	}
	return 0;
}

/* The context manager, once those of the test before are gone: they would be listed, too. */
static struct peer *only_manager(const char *name, size_t len)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_TRUE(eventually(!number(look("stats"), "processes")));
	return manager_with(name, len);
}

/* ---- messages ------------------------------------------------------------- */

TEST_F(ipc, pending_call)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	struct binder_transaction_data *tr;
	int s = server->pid, c = client->pid;

	call(client, 7, "there", 5);
	ASSERT_EQ(0, submit(client));
	ASSERT_LINES(1, "state", "proc %d context=", s);
	ASSERT_LINES(1, "state", "    outgoing %d:1 call from=%d:%d to=%d node=1 code=0x7 flags=0x0 "
		     "size=5:0 elapsed_ms=", c, c, c, s);
	ASSERT_LINES(1, "state", "    pending completion");
	ASSERT_LINES(1, "state", "  pending %d:1 call from=%d:%d to=%d node=1", c, c, c, s);
	ASSERT_LINES(1, file_of(server), "  buffer offset=0x0 size=8 under_way");
	ASSERT_LINES(0, file_of(server), "    outgoing");
	ASSERT_LINES(1, file_of(server), "proc ");
	ASSERT_LINES(1, "transactions", "    outgoing %d:1 ", c);
	ASSERT_LINES(1, "transactions", "  pending %d:1 ", c);
	ASSERT_LINES(0, "transactions", "  buffer");

	tr = take_call(server);
	ASSERT_LINES(0, "state", "  pending");
	ASSERT_LINES(1, file_of(server), "    incoming %d:1 call from=%d:%d to=%d", c, c, c, s);
	ASSERT_LINES(1, file_of(server), "  buffer offset=0x0 size=8 delivered");
	answer(server, tr, "back", 4);
	ASSERT_LINES(1, file_of(client), "    pending %d:1 reply from=%d:%d to=%d node=0", s, s, s, c);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
	free_message(client, message(client));
	ASSERT_LINES(0, "state", "    ");
	ASSERT_LINES(0, "state", "  buffer");
	ASSERT_LINES(0, "state", "  pending");
}

TEST_F(ipc, nested_calls)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	struct binder_transaction_data *tr;
	__u32 handle = offer(client, server, 0x1000, 0x2000);
	int s = server->pid, c = client->pid;

	call(client, 1, NULL, 0);
	start_transact(client);
	take_call(server);
	call_with(server, handle, NULL);
	start_transact(server);
	ASSERT_EQ(0, finish(client));
	tr = message(client);
	/* The latest first. */
	ASSERT_NE(NULL, strstr(look(file_of(client)), "    incoming"));
	ASSERT_LINES(1, file_of(client), "    incoming %d:1 call from=%d:%d to=%d node=1", s, s, s, c);
	ASSERT_LINES(1, file_of(client), "    outgoing %d:2 call from=%d:%d to=%d node=1", c, c, c, s);
	ASSERT_LT(strstr(look(file_of(client)), "    incoming"),
		  strstr(look(file_of(client)), "    outgoing"));
	ASSERT_LINES(1, file_of(server), "    outgoing %d:1 ", s);
	ASSERT_LINES(1, file_of(server), "    incoming %d:2 ", c);
	answer(client, tr, NULL, 0);
	ASSERT_EQ(0, finish(server));
}

TEST_F(ipc, oneway_queue)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	int s = server->pid, c = client->pid;

	for (int i = 0; i < 3; i++) {
		oneway(client, i, NULL, 0);
		ASSERT_EQ(0, transact(client));
	}
	ASSERT_LINES(1, "transactions", "  pending %d:1 one-way from=%d:%d to=%d node=1 code=0x0 "
		     "flags=0x1 ", c, c, c, s);
	ASSERT_LINES(1, "transactions", "    pending %d:2 one-way from=%d:%d", c, c, c);
	ASSERT_LINES(1, "transactions", "    pending %d:3 one-way ", c);
	ASSERT_LINES(1, file_of(server), "  node 1: ptr=0x0 cookie=0x0 handles=0 strong_handles=0 "
		     "local_strong=4 local_weak=1 owner_has=strong,weak one_way_busy");
	ASSERT_LINES(3, file_of(server), "  buffer offset=0x");
	ASSERT_NE(NULL, strstr(look(file_of(server)), "size=8 one-way under_way"));
}

/* ---- objects ---------------------------------------------------------------- */

TEST_F(ipc, nodes_and_handles)
{
	struct peer *server = only_manager("server", AREA_LEN), *owner = member("owner");
	__u32 handle = offer(owner, server, 0x1000, 0x2000);
	int o = owner->pid;

	ASSERT_LINES(1, file_of(owner), "  node 1: ptr=0x1000 cookie=0x2000 handles=1 "
		     "strong_handles=1 local_strong=0 local_weak=0 owner_has=strong,weak\n");
	ASSERT_LINES(1, file_of(server), "  handle %u: node=%d:1 strong=1 weak=0\n", handle, o);
	bc_u32(server, BC_INCREFS, handle);
	bc_u32(server, BC_ACQUIRE, handle);
	put_handle_cookie(server, BC_REQUEST_DEATH_NOTIFICATION, handle, 5);
	ASSERT_EQ(0, submit(server));
	ASSERT_LINES(1, "state", "  handle %u: node=%d:1 strong=2 weak=1 death_notification\n", handle,
		     o);
	ASSERT_LINES(0, "transactions", "  handle");
	ASSERT_LINES(0, "transactions", "  node");

	kill_process(owner);
	await_dead_oneway(server, handle);
	ASSERT_LINES(1, "state", "  handle %u: node=%d:1 strong=2 weak=1 dead death_notification\n",
		     handle, o);
	ASSERT_LINES(0, "state", "proc %d ", o);
	ASSERT_EQ(0, receive(server));
	ASSERT_LINES(1, "state", "  delivered news of a death, cookie 0x5");
}

/* Of many handles the last is left: it is found, and given up in the end. */
TEST_F(ipc, handles_far_apart)
{
	const unsigned int many = 3000;
	struct peer *server = only_manager("server", 1 << 20), *owner = member("owner");
	struct flat_binder_object *objects = arena_alloc(many * sizeof(*objects));
	__u64 *offsets = arena_alloc(many * sizeof(*offsets));
	struct binder_transaction_data *tr;
	struct unaligned_transaction *t;
	int o = owner->pid;

	for (unsigned int i = 0; i < many; i++) {
		objects[i] = (struct flat_binder_object) {
			.hdr.type = BINDER_TYPE_BINDER, .flags = OBJECT_FLAGS,
			.binder = 0x1000 + i,
		};
		offsets[i] = i * sizeof(*objects);
	}
	t = bc_message(owner, BC_TRANSACTION, 1, TF_ONE_WAY, objects, many * sizeof(*objects));
	t->tr.offsets_size = many * sizeof(*offsets);
	t->tr.data.ptr.offsets = (uintptr_t)offsets;
	ASSERT_EQ(0, submit(owner));
	tr = take_call(server);
	ASSERT_HANDLE(server, tr, many - 1, many);
	ASSERT_EQ(many, lines(look(file_of(server)), "  handle "));
	bc_u32(server, BC_ACQUIRE, many);
	free_message(server, tr);

	ASSERT_LINES(1, file_of(server), "  handle ");
	ASSERT_LINES(1, file_of(server), "  handle %u: node=%d:%u strong=1 weak=0\n", many, o, many);
	ASSERT_LINES(1, file_of(owner), "  node %u: ptr=0x%x ", many, 0x1000 + many - 1);
	ASSERT_EQ(0, receive(owner));
	ASSERT_BR(owner, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	acknowledge(owner, 0x1000 + many - 1, 0);
	ASSERT_EQ(1, offer(owner, server, 0x1000, 0));
	ASSERT_LINES(2, file_of(server), "  handle ");

	kill_process(server);
	ASSERT_READS(owner, BR_RELEASE, BR_DECREFS, BR_RELEASE, BR_DECREFS);
	ASSERT_EQ(0, node_count(owner));
	ASSERT_TRUE(eventually(!number(look("stats"), "handles")));
}

TEST_F(ipc, threads)
{
	struct peer *server = only_manager("server", AREA_LEN), *looper = new_thread(server, "looper");
	struct peer *helper = new_thread(server, "helper");
	int s = server->tid;

	ASSERT_LINES(1, "state", "  thread %d:\n", s);
	bc(looper, BC_ENTER_LOOPER);
	ASSERT_EQ(0, submit(looper));
	start_receive(looper);
	bc(helper, BC_REGISTER_LOOPER);
	ASSERT_EQ(0, submit(helper));
	ASSERT_TRUE(eventually(lines(look("state"), "  thread %d: entered waiting\n", looper->tid)));
	ASSERT_LINES(1, "state", "  thread %d: registered\n", helper->tid);
	ASSERT_LINES(1, "stats", "  threads=3 requested=0 started=0 max=0 ready=1\n");
}

/* ---- logs --------------------------------------------------------------------- */

TEST_F(ipc, log_of_messages)
{
	const char *text, *call, *reply;
	struct peer *server, *client;
	int s, c;

	/* The log is one a CPU, and put together by the tick. */
	use_one_cpu();
	server = only_manager("server", AREA_LEN);
	client = member("client");
	s = server->pid;
	c = client->pid;
	for (int i = 0; i < 40; i++)
		round_trip(client, server);
	text = look("transaction_log");
	ASSERT_EQ(32, lines(text, "%s", ""));
	ASSERT_EQ(16, lines(text, "%d:", c));
	ASSERT_EQ(0, lines(text, "%d:24 ", c));
	ASSERT_EQ(1, lines(text, "%d:40 call from=%d:%d to=%d", c, c, c, s));
	ASSERT_EQ(1, lines(text, "%d:40 reply from=%d:%d to=%d:%d node=0 code=0x0 "
			   "flags=0x0 size=10:0 elapsed_ms=", s, s, s, c, c));
	call = strstr(text, ":40 call ");
	reply = strstr(text, ":40 reply ");
	ASSERT_LT(call, reply);
	ASSERT_NE(NULL, strstr(call, " node=1 code=0x7 flags=0x0 size=5:0 elapsed_ms="));
}

TEST_F(ipc, log_of_failures)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	int s = server->pid, c = client->pid;
	__u8 *bytes = arena_alloc(2 * AREA_LEN);

	call_at(client, 3, bytes, 2 * AREA_LEN);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	ASSERT_LINES(1, "failed_transaction_log",
		     "%d:1 call from=%d:%d to=%d handle=0 code=0x3 flags=0x0 "
		     "size=%lu:0 return=BR_FAILED_REPLY error=-28 elapsed_ms=", c, c, c, s, 2 * AREA_LEN);
	oneway_with(client, 77, NULL);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	ASSERT_LINES(1, "failed_transaction_log",
		     "%d:2 one-way from=%d:%d to=0 handle=77 ", c, c, c);
	reply(client, "?", 1);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EPROTO);
	ASSERT_LINES(1, "failed_transaction_log",
		     "%d:3 reply from=%d:%d to=0 handle=0 code=0x0 flags=0x0 "
		     "size=1:0 return=BR_FAILED_REPLY error=-71 elapsed_ms=", c, c, c);
	/* What failed left nothing. */
	ASSERT_LINES(0, "state", "    ");
	ASSERT_LINES(0, "state", "  buffer");
	ASSERT_LINES(0, "transaction_log", "%d:", c);
	kill_process(server);
	await_no_manager(client);
	ASSERT_NE(NULL, strstr(look("failed_transaction_log"), "return=BR_DEAD_REPLY error=-22 "));

	for (int i = 0; i < 40; i++) {
		oneway_with(client, 100 + i, NULL);
		ASSERT_EQ(0, transact(client));
	}
	ASSERT_EQ(32, lines(look("failed_transaction_log"), "%s", ""));
	ASSERT_NE(NULL, strstr(look("failed_transaction_log"), " handle=139 "));
	ASSERT_EQ(NULL, strstr(look("failed_transaction_log"), " handle=107 "));
}

/* ---- counts ----------------------------------------------------------------------- */

TEST_F(ipc, counts_are_exact)
{
	/* More than fit into a thread's own counters, once or twice. */
	enum { CALLS = 300 };
	static const struct {
		const char *name;
		long count;
	} want[] = {
		{ "BC_TRANSACTION", CALLS }, { "BC_REPLY", CALLS }, { "BC_FREE_BUFFER", 2 * CALLS },
		{ "BC_INCREFS", 0 }, { "BR_TRANSACTION", CALLS }, { "BR_REPLY", CALLS },
		{ "BR_TRANSACTION_COMPLETE", 2 * CALLS }, { "BR_FAILED_REPLY", 0 },
	};
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	char *before = strdup(look("stats")), *after;
	size_t i;

	for (i = 0; i < CALLS; i++)
		round_trip(client, server);
	after = strdup(look("stats"));
	for (i = 0; i < ARRAY_SIZE(want); i++)
		ASSERT_EQ(want[i].count, number(after, want[i].name) - number(before, want[i].name)) {
			TH_LOG("that is the count %zu", i);
		}
	ASSERT_EQ(1, lines(after, "  nodes=0 handles=0 messages_sent=%d\n", CALLS));
	ASSERT_EQ(1, lines(after, "  BC_TRANSACTION: %d\n", CALLS));
	ASSERT_EQ(1, lines(after, "  BR_REPLY: %d\n", CALLS));
	ASSERT_EQ(2, number(after, "processes"));
	ASSERT_EQ(2, number(after, "threads"));

	/* A thread's counts outlive it, and a process's do, too. */
	ASSERT_EQ(0, peer_ioctl(client, BINDER_THREAD_EXIT, NULL));
	ASSERT_LINES(1, "stats", "  BR_REPLY: %d\n", CALLS);
	kill_process(client);
	kill_process(server);
	ASSERT_TRUE(eventually(!number(look("stats"), "processes")));
	after = strdup(look("stats"));
	for (i = 0; i < ARRAY_SIZE(want); i++)
		ASSERT_EQ(want[i].count, number(after, want[i].name) - number(before, want[i].name)) {
			TH_LOG("that is the count %zu", i);
		}
	ASSERT_EQ(0, number(after, "threads"));
	ASSERT_EQ(0, number(after, "nodes"));
}

TEST_F(ipc, objects_are_counted)
{
	struct peer *server = only_manager("server", AREA_LEN), *owner = member("owner");
	__u32 handle;

	ASSERT_EQ(1, number(look("stats"), "nodes"));
	handle = offer(owner, server, 0x1000, 0x2000);
	ASSERT_EQ(2, number(look("stats"), "nodes"));
	ASSERT_EQ(1, number(look("stats"), "handles"));
	put_handle_cookie(server, BC_REQUEST_DEATH_NOTIFICATION, handle, 5);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(1, number(look("stats"), "death notifications"));
	bc_u32(server, BC_RELEASE, handle);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, number(look("stats"), "handles"));
	ASSERT_EQ(0, number(look("stats"), "death notifications"));
	ASSERT_EQ(0, receive(owner));
	ASSERT_EQ(1, number(look("stats"), "nodes"));
}

TEST_F(ipc, area_is_accounted_for)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	struct binder_transaction_data *tr;
	char line[128];

	call_at(client, 1, arena_alloc(3 * PAGE), 3 * PAGE);
	start_transact(client);
	tr = take_call(server);
	snprintf(line, sizeof(line), "  buffers=1 bytes=%zu most_bytes=%zu area_bytes=%lu one_way_free=%lu\n",
		 3 * PAGE, 3 * PAGE, AREA_LEN, AREA_LEN / 2);
	ASSERT_LINES(1, "stats", "%s", line);
	ASSERT_LINES(1, "stats", "  pages in_use=3 idle=0 absent=%lu\n", AREA_LEN / PAGE - 3);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	ASSERT_LINES(1, "stats", "  buffers=0 bytes=0 most_bytes=%zu ", 3 * PAGE);
	ASSERT_LINES(1, "stats", "  pages in_use=0 idle=3 absent=%lu\n", AREA_LEN / PAGE - 3);
}

/* ---- files -------------------------------------------------------------------------- */

TEST_F(ipc, a_file_for_each_process)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	char path[64], byte[16];
	struct stat st;
	int fd, again;

	snprintf(path, sizeof(path), FILES "%s", file_of(client));
	ASSERT_EQ(0, stat(path, &st));
	ASSERT_EQ(0400, st.st_mode & 07777);
	ASSERT_LINES(1, file_of(client), "proc %d ", client->pid);
	ASSERT_LINES(0, file_of(client), "proc %d ", server->pid);
	again = open_path(client, device_path(), O_RDWR);
	ASSERT_LE(0, again);
	ASSERT_LINES(2, file_of(client), "proc %d ", client->pid);
	ASSERT_EQ(0, peer_syscall(client, SYS_close, again));
	ASSERT_TRUE(eventually(lines(look(file_of(client)), "proc ") == 1));

	/* One that is open when its process goes has no more to say. */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(5, read(fd, byte, 5));
	kill_process(client);
	ASSERT_TRUE(eventually(access(path, F_OK)));
	ASSERT_EQ(-1, read(fd, byte, sizeof(byte)));
	ASSERT_EQ(EIO, errno);
	close(fd);
	ASSERT_LINES(0, "state", "proc %d ", client->pid);
}

/* Small reads add up to what one large read says, also from the middle. */
TEST_F(ipc, reads_of_all_sizes)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	char *whole, *part = malloc(1 << 16);
	size_t len = 0, size;
	int fd;

	for (int i = 0; i < 20; i++)
		offer(client, server, 0x1000 * (i + 1), i);
	whole = strdup(look("state"));
	ASSERT_LT(2000, strlen(whole));
	for (size = 1; size < 5000; size = size * 3 + 1) {
		fd = open(FILES "state", O_RDONLY | O_CLOEXEC);
		ASSERT_LE(0, fd);
		for (len = 0;;) {
			ssize_t n = read(fd, part + len, size);

			ASSERT_LE(0, n);
			if (!n)
				break;
			len += n;
		}
		part[len] = 0;
		ASSERT_STREQ(whole, part);
		ASSERT_EQ(100, pread(fd, part, 100, 1000));
		ASSERT_EQ(0, memcmp(whole + 1000, part, 100));
		close(fd);
	}
}

struct churn {
	int *stop;
	long rounds;
};

/* Opens the device, maps, calls nobody, and goes, as often as it can. */
static long do_churn(struct peer *p, void *arg)
{
	struct churn *churn = arg;

	while (!__atomic_load_n(churn->stop, __ATOMIC_RELAXED)) {
		int fd = open(device_path(), O_RDWR | O_CLOEXEC), status;
		pid_t child;

		if (fd < 0)
			return -errno;
		close(fd);
		child = fork();
		if (!child) {
			struct binder_version version;

			fd = open(device_path(), O_RDWR);
			mmap(NULL, AREA_LEN, PROT_READ, MAP_PRIVATE, fd, 0);
			_exit(fd < 0 || ioctl(fd, BINDER_VERSION, &version));
		}
		if (waitpid(child, &status, 0) < 0 || status)
			return -ECHILD;
		churn->rounds++;
	}
	return 0;
}

struct talk {
	int *stop;
	struct pattern *question;
	long calls;
};

/* Calls the manager as often as it can. */
static long do_talk(struct peer *p, void *arg)
{
	struct talk *talk = arg;
	struct pattern *question = talk->question;
	struct binder_transaction_data tr;
	long ret;

	while (!__atomic_load_n(talk->stop, __ATOMIC_RELAXED)) {
		make_pattern(question, talk->calls, sizeof(*question) + 100, sizeof(*question) + 50);
		bc_message(p, BC_TRANSACTION, 1, 0, question, question->len);
		ret = own_wait(p, &tr, false);
		if (ret != BR_REPLY)
			return ret < 0 ? ret : -EPROTO;
		free_buffer(p, tr.data.ptr.buffer);
		talk->calls++;
	}
	return 0;
}

/* The server serves and the talker talks, until *STOP. */
static struct talk *start_talking(struct peer *talker, struct peer *server, int *stop)
{
	struct talk *talk = arena_alloc(sizeof(*talk));

	*talk = (struct talk) { stop, arena_alloc(sizeof(*talk->question) + 200), 0 };
	peer_start(server, do_serve, arena_alloc(PAGE));
	peer_start(talker, do_talk, talk);
	return talk;
}

TEST_F(ipc, reading_beside_traffic)
{
	static const char *const files[] = {
		"state", "transactions", "stats", "transaction_log", "failed_transaction_log",
	};
	struct peer *server = only_manager("server", AREA_LEN), *talker = member("talker");
	struct peer *churner = new_process("churner");
	int *stop = arena_alloc(sizeof(*stop));
	struct talk *talk = start_talking(talker, server, stop);
	struct churn *churn = arena_alloc(sizeof(*churn));
	__u64 end = now_ns() + 4 * 1000000000ULL;
	int rounds;

	churn->stop = stop;
	peer_start(churner, do_churn, churn);
	for (rounds = 0; now_ns() < end || talk->calls < 100 || churn->rounds < 10; rounds++) {
		ASSERT_FALSE(peer_done(server) || peer_done(talker) || peer_done(churner));
		for (size_t i = 0; i < ARRAY_SIZE(files); i++)
			ASSERT_LT(0, strlen(look(files[i])));
		ASSERT_LINES(1, file_of(server), "proc %d ", server->pid);
	}
	ASSERT_LT(3, rounds);
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(talker));
	ASSERT_EQ(0, peer_finish(churner));
}

/* Commands that do nothing but count, until *STOP. */
static long do_count(struct peer *p, void *arg)
{
	int *stop = arg;

	while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		long ret;

		bc_u32(p, BC_DECREFS, 12345);
		bc_u32(p, BC_DECREFS, 12345);
		prepare_io(p, false);
		ret = do_write_read(p, &p->bwr);
		if (ret)
			return ret;
	}
	return 0;
}

/* What a thread passes on to its process is in a sum once, whenever that is made. */
TEST_F(ipc, counts_do_not_fall)
{
	struct peer *process = member("process"), *counter = NULL;
	int *stop = arena_alloc(sizeof(*stop)), i;
	long before = 0, now, falls = 0, reads = 0;
	__u64 end;

	/* The last of many: there is some time between what is read first and that. */
	for (i = 0; i < 20; i++)
		counter = new_thread(process, "thread");
	peer_start(counter, do_count, stop);
	end = now_ns() + 3 * 1000000000ULL;
	while (now_ns() < end || before < 10000) {
		ASSERT_FALSE(peer_done(counter));
		now = number(look("stats"), "BC_DECREFS");
		falls += now < before;
		before = now;
		reads++;
	}
	TH_LOG("%ld counted, %ld reads, %ld falls", before, reads, falls);
	/* A thread that is interrupted while it passes on is seen so. */
	EXPECT_GE(10, falls);
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(counter));
}

#define HANDLES 50000
#define BATCH 500

TEST_F(ipc, huge_process)
{
	struct peer *server = only_manager("server", 4 << 20), *owner = member("owner");
	struct peer *keeper = member_with("keeper", 4 << 20), *talker = member("talker");
	struct flat_binder_object *objects = arena_alloc(BATCH * sizeof(*objects));
	__u64 *offsets = arena_alloc(BATCH * sizeof(*offsets));
	int *stop = arena_alloc(sizeof(*stop));
	struct talk *talk;
	__u32 own = offer(keeper, server, 0x1000, 0), to;
	const char *text;
	long calls;

	to = hand_over(server, owner, own);
	for (int i = 0; i < BATCH; i++)
		offsets[i] = i * sizeof(*objects);
	for (int sent = 0; sent < HANDLES; sent += BATCH) {
		struct unaligned_transaction *t;

		for (int i = 0; i < BATCH; i++)
			objects[i] = (struct flat_binder_object) {
				.hdr.type = BINDER_TYPE_BINDER,
				.binder = 0x10000 + 8 * (sent + i),
			};
		t = bc_message(owner, BC_TRANSACTION, 1, TF_ONE_WAY, objects, BATCH * sizeof(*objects));
		t->tr.target.handle = to;
		t->tr.offsets_size = BATCH * sizeof(*offsets);
		t->tr.data.ptr.offsets = (uintptr_t)offsets;
		/* The owner does not read: it would be told of each node. */
		ASSERT_EQ(0, submit(owner));
	}
	ASSERT_LINES(1, "stats", "  nodes=%d handles=1 ", HANDLES);
	ASSERT_LINES(1, "stats", "  nodes=1 handles=%d ", HANDLES);
	talk = start_talking(talker, server, stop);
	ASSERT_TRUE(eventually(__atomic_load_n(&talk->calls, __ATOMIC_RELAXED) > 0));
	calls = __atomic_load_n(&talk->calls, __ATOMIC_RELAXED);
	text = look("state");
	ASSERT_LT(calls, __atomic_load_n(&talk->calls, __ATOMIC_RELAXED));
	ASSERT_EQ(HANDLES, lines(text, "  node ") - 2);
	ASSERT_EQ(HANDLES, lines(text, "  handle ") - 2);
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(talker));
}

/* ---- tracepoints ---------------------------------------------------------------------- */

static void stop_tracing(void)
{
	write_text(INSTANCE "/events/rust_ipc/enable", "0");
	rmdir(INSTANCE);
}

static void start_tracing(void)
{
	struct __test_metadata *_metadata = this_test;

	at_teardown = stop_tracing;
	ASSERT_TRUE(!mkdir(INSTANCE, 0700) || errno == EEXIST);
	ASSERT_EQ(0, write_text(INSTANCE "/trace", "\n"));
	ASSERT_EQ(0, write_text(INSTANCE "/events/rust_ipc/enable", "1"));
}

/* How many events of the thread TID, or with 0 of any, begin with what the format makes. */
static int events(int tid, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int events(int tid, const char *format, ...)
{
	struct __test_metadata *_metadata = this_test;
	char event[512], task[32];
	const char *text, *at;
	va_list arguments;
	int count = 0;
	long ret;

	va_start(arguments, format);
	vsnprintf(event, sizeof(event), format, arguments);
	va_end(arguments);
	snprintf(task, sizeof(task), tid ? "-%d " : "", tid);
	text = read_whole(INSTANCE "/trace", &ret);
	ASSERT_LT(0, ret);
	ASSERT_EQ(NULL, find_pointer(text));
	for (at = text; (at = strstr(at, event)); at++) {
		const char *start = at;

		while (start > text && start[-1] != '\n')
			start--;
		count += !!memmem(start, at - start, task, strlen(task));
	}
	return count;
}

#define ASSERT_EVENTS(count, tid, ...) \
	ASSERT_EQ(count, events(tid, __VA_ARGS__)) { \
		char __event[256]; \
		long __ret; \
		snprintf(__event, sizeof(__event), __VA_ARGS__); \
		TH_LOG("'%s' of %d in:\n%.6000s", __event, tid, read_whole(INSTANCE "/trace", &__ret)); \
	}

TEST_F(ipc, events_of_a_call)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	int s = server->pid, c = client->pid;

	start_tracing();
	round_trip(client, server);
	ASSERT_EVENTS(1, c, "rust_ipc_command: code=BC_TRANSACTION\n");
	ASSERT_EVENTS(1, c, "rust_ipc_buffer_alloc: process=%d offset=0x0 size=8\n", s);
	ASSERT_EVENTS(1, c, "rust_ipc_transaction: transaction=%d:1 to=%d:0 node=1 reply=0 code=0x7 "
		      "flags=0x0 data_size=5 offsets_size=0\n", c, s);
	ASSERT_EVENTS(1, c, "rust_ipc_wait_for_work: for_process=0 for_reply=1\n");
	ASSERT_EVENTS(1, s, "rust_ipc_transaction_received: transaction=%d:1\n", c);
	ASSERT_EVENTS(1, s, "rust_ipc_return: code=BR_TRANSACTION\n");
	ASSERT_EVENTS(1, s, "rust_ipc_buffer_free: process=%d offset=0x0\n", s);
	ASSERT_EVENTS(1, s, "rust_ipc_command: code=BC_REPLY\n");
	ASSERT_EVENTS(1, s, "rust_ipc_transaction: transaction=%d:1 to=%d:%d node=0 reply=1 code=0x0 "
		      "flags=0x0 data_size=10 offsets_size=0\n", s, c, c);
	ASSERT_EVENTS(1, c, "rust_ipc_transaction_received: transaction=%d:1\n", s);
	ASSERT_EVENTS(1, c, "rust_ipc_return: code=BR_REPLY\n");
	ASSERT_EVENTS(1, s, "rust_ipc_return: code=BR_TRANSACTION_COMPLETE\n");
	ASSERT_NE(0, events(c, "rust_ipc_ioctl: command=0x%x\n", (unsigned int)BINDER_WRITE_READ));
	ASSERT_EQ(events(c, "rust_ipc_ioctl: "), events(c, "rust_ipc_ioctl_done: result=0\n"));
}

TEST_F(ipc, events_of_failures)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	int s = server->pid, c = client->pid;
	__u8 *bytes = arena_alloc(2 * AREA_LEN);

	start_tracing();
	call_at(client, 3, bytes, 2 * AREA_LEN);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
	ASSERT_EVENTS(1, c, "rust_ipc_buffer_failed: process=%d size=%lu one_way=0 error=-28\n", s,
		      2 * AREA_LEN);
	ASSERT_EVENTS(1, c, "rust_ipc_transaction_failed: transaction=%d:1 to=%d handle=0 reply=0 "
		      "code=BR_FAILED_REPLY error=-28\n", c, s);
	ASSERT_EVENTS(0, c, "rust_ipc_transaction: ");
	ASSERT_EQ(-EINVAL, peer_ioctl(client, 0x1234, NULL));
	ASSERT_EVENTS(1, c, "rust_ipc_ioctl: command=0x1234\n");
	ASSERT_EVENTS(1, c, "rust_ipc_ioctl_done: result=-22\n");
	stop_tracing();
	check_unharmed(client, server);
}

TEST_F(ipc, events_of_nodes_and_handles)
{
	struct peer *server = only_manager("server", AREA_LEN), *owner = member("owner");
	struct peer *client = member("client");
	int s = server->pid, o = owner->pid, c = client->pid;
	struct binder_transaction_data *tr;
	__u32 handle, own;

	start_tracing();
	handle = offer(owner, server, 0x1000, 0x2000);
	ASSERT_EVENTS(1, o, "rust_ipc_node_made: node=%d:1\n", o);
	ASSERT_EVENTS(1, o, "rust_ipc_handle: process=%d handle=%u node=%d:1 strong=1 weak=0\n", s,
		      handle, o);
	ASSERT_EVENTS(1, o, "rust_ipc_object: transaction=%d:1 node=%d:1 from_handle=-1 "
		      "to_handle=%u strong=1\n", o, o, handle);
	ASSERT_EVENTS(1, o, "rust_ipc_node_told: node=%d:1 strong=1 weak=1\n", o);
	/* BC_ACQUIRE, and the end of the message. */
	ASSERT_EVENTS(1, s, "rust_ipc_handle: process=%d handle=%u node=%d:1 strong=2 weak=0\n", s,
		      handle, o);
	ASSERT_EVENTS(1, s, "rust_ipc_handle: process=%d handle=%u node=%d:1 strong=1 weak=0\n", s,
		      handle, o);
	count(server, BC_INCREFS, handle);
	ASSERT_EVENTS(1, s, "rust_ipc_handle: process=%d handle=%u node=%d:1 strong=1 weak=1\n", s,
		      handle, o);

	/* From the server to the client, and back to the owner; what does not count is not traced. */
	own = hand_over(server, client, handle);
	ASSERT_EVENTS(1, s, "rust_ipc_object: transaction=%d:1 node=%d:1 from_handle=%u "
		      "to_handle=%u strong=1\n", s, o, handle, own);
	count(client, BC_DECREFS, own);
	count(client, BC_DECREFS, own + 1);
	ASSERT_EVENTS(0, c, "rust_ipc_handle: process=%d handle=%u node=%d:1 strong=1 weak=1", c, own, o);
	ASSERT_EVENTS(0, c, "rust_ipc_handle: process=%d handle=%u ", c, own + 1);
	oneway_with(client, own, one_object(BINDER_TYPE_WEAK_HANDLE, own, 0));
	ASSERT_EQ(0, transact(client));
	tr = take_call(owner);
	ASSERT_EVENTS(1, c, "rust_ipc_object: transaction=%d:2 node=%d:1 from_handle=%u "
		      "to_handle=-1 strong=0\n", c, o, own);
	free_message(owner, tr);

	count(server, BC_DECREFS, handle);
	count(server, BC_RELEASE, handle);
	ASSERT_EVENTS(1, s, "rust_ipc_handle: process=%d handle=%u node=%d:1 strong=0 weak=0\n", s,
		      handle, o);
	ASSERT_EVENTS(0, 0, "rust_ipc_node_gone: ");
	kill_process(client);
	ASSERT_READS(owner, BR_RELEASE, BR_DECREFS);
	ASSERT_EVENTS(1, 0, "rust_ipc_handle: process=%d handle=%u node=%d:1 strong=0 weak=0\n", c,
		      own, o);
	ASSERT_EVENTS(1, o, "rust_ipc_node_told: node=%d:1 strong=0 weak=0\n", o);
	ASSERT_EVENTS(1, o, "rust_ipc_node_gone: node=%d:1\n", o);
	ASSERT_EVENTS(1, 0, "rust_ipc_node_gone: ");
	ASSERT_EVENTS(1, 0, "rust_ipc_node_made: ");
	/* The context manager's goes with its process. */
	kill_process(server);
	await_no_manager(owner);
	ASSERT_TRUE(eventually(events(0, "rust_ipc_node_gone: node=%d:1\n", s) == 1));
}

TEST_F(ipc, events_of_files)
{
	struct peer *server = files_manager("server"), *client = member("client");
	int c = client->pid, fd = new_canary(client).fd;
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u32 number;

	start_tracing();
	add_bytes(m, "12345678", 8);
	add_fd(m, fd);
	call_with(client, 0, m);
	start_transact(client);
	ASSERT_EVENTS(1, c, "rust_ipc_fd_sent: transaction=%d:1 fd=%d offset=0x10\n", c, fd);
	ASSERT_EVENTS(0, 0, "rust_ipc_fd_received: ");
	tr = take_call(server);
	number = object_of(server, tr, 0)->handle;
	ASSERT_EVENTS(1, server->pid, "rust_ipc_fd_received: transaction=%d:1 fd=%u offset=0x10\n", c,
		      number);
	answer(server, tr, NULL, 0);
	take_reply(client, NULL, 0);
	ASSERT_EVENTS(1, 0, "rust_ipc_fd_sent: ");
	ASSERT_EVENTS(1, 0, "rust_ipc_fd_received: ");
	ASSERT_EVENTS(0, 0, "rust_ipc_transaction_dropped: ");
	/* What may not be sent is not. */
	m->data[8 + 8] ^= 0x80;
	call_with(client, 0, m);
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EBADF);
	ASSERT_EVENTS(1, 0, "rust_ipc_fd_sent: ");
}

/* Messages that were queued, and are not delivered: no log has these. */
TEST_F(ipc, events_of_messages_that_are_lost)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct parcel *m = one_object(BINDER_TYPE_FD, new_canary(client).fd, 0);
	int s = server->pid, c = client->pid, next = peer_syscall(server, SYS_dup, 0);

	close_fd(server, next);
	set_file_limit(server, next);
	start_tracing();
	call_with(client, 0, m);
	start_transact(client);
	ASSERT_QUIET(server);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_FAILED_REPLY);
	ASSERT_EVENTS(1, c, "rust_ipc_transaction: transaction=%d:1 ", c);
	ASSERT_EVENTS(1, s, "rust_ipc_transaction_dropped: transaction=%d:1 code=BR_FAILED_REPLY\n", c);
	ASSERT_EVENTS(1, s, "rust_ipc_buffer_free: process=%d offset=0x0\n", s);
	ASSERT_EVENTS(0, 0, "rust_ipc_transaction_received: ");
	ASSERT_EVENTS(0, 0, "rust_ipc_transaction_failed: ");

	call(client, 1, NULL, 0);
	start_transact(client);
	kill_process(server);
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_DEAD_REPLY);
	ASSERT_EVENTS(1, 0, "rust_ipc_transaction_dropped: transaction=%d:2 code=BR_DEAD_REPLY\n", c);
	ASSERT_LINES(0, "failed_transaction_log", "%d:", c);
}

/* Each buffer that is reserved is freed once, whatever becomes of its message. */
TEST_F(ipc, events_of_buffers)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	int s = server->pid, c = client->pid;

	start_tracing();
	call_with(client, 0, one_object(BINDER_TYPE_HANDLE, 99, 0));
	ASSERT_REFUSED(client, BR_FAILED_REPLY, -EINVAL);
	ASSERT_EVENTS(1, c, "rust_ipc_buffer_alloc: process=%d offset=0x0 size=32\n", s);
	ASSERT_EVENTS(1, c, "rust_ipc_buffer_free: process=%d offset=0x0\n", s);
	round_trip(client, server);
	ASSERT_EVENTS(1, s, "rust_ipc_buffer_free: process=%d offset=0x0\n", s);
	ASSERT_EVENTS(1, c, "rust_ipc_buffer_free: process=%d offset=0x0\n", c);
	/* One is delivered, another one is not. */
	oneway(client, 1, NULL, 0);
	oneway(client, 2, NULL, 0);
	ASSERT_EQ(0, submit(client));
	take_call(server);
	ASSERT_EVENTS(5, 0, "rust_ipc_buffer_alloc: ");
	ASSERT_EVENTS(3, 0, "rust_ipc_buffer_free: ");
	kill_process(server);
	ASSERT_TRUE(eventually(events(0, "rust_ipc_buffer_free: ") == 5));
	ASSERT_EVENTS(1, 0, "rust_ipc_buffer_free: process=%d offset=0x8\n", s);
	ASSERT_EVENTS(3, 0, "rust_ipc_buffer_free: process=%d offset=0x0\n", s);
}

TEST_F(ipc, events_of_pages)
{
	struct peer *server = only_manager("server", AREA_LEN), *client = member("client");
	__u8 *bytes = arena_alloc(3 * PAGE);
	int s = server->pid, c = client->pid;

	start_tracing();
	exchange(client, server, bytes, 3 * PAGE, 1);
	ASSERT_EVENTS(1, c, "rust_ipc_pages_installed: process=%d offset=0x0 size=%lu\n", s, 3 * PAGE);
	ASSERT_EVENTS(1, s, "rust_ipc_pages_installed: process=%d offset=0x0 size=%lu\n", c, PAGE);
	exchange(client, server, bytes, 3 * PAGE, 1);
	ASSERT_EVENTS(2, 0, "rust_ipc_pages_installed: ");
	ASSERT_EVENTS(0, 0, "rust_ipc_page_reclaimed: ");
	ASSERT_TRUE(eventually((drop_caches(), events(0, "rust_ipc_page_reclaimed: ") == 4)));
	for (size_t at = 0; at < 3 * PAGE; at += PAGE) {
		ASSERT_EVENTS(1, 0, "rust_ipc_page_reclaimed: process=%d offset=0x%zx\n", s, at);
	}
	ASSERT_EVENTS(1, 0, "rust_ipc_page_reclaimed: process=%d offset=0x0\n", c);
	exchange(client, server, bytes, 2 * PAGE, 1);
	ASSERT_EVENTS(1, c, "rust_ipc_pages_installed: process=%d offset=0x0 size=%lu\n", s, 2 * PAGE);
}

TEST_F(ipc, events_of_a_death)
{
	struct peer *server = only_manager("server", AREA_LEN), *owner = member("owner");
	__u32 handle = offer(owner, server, 0x1000, 0x1001);
	int s = server->pid;

	start_tracing();
	submit_handle_cookie(server, BC_REQUEST_DEATH_NOTIFICATION, handle, COOKIE);
	ASSERT_EVENTS(1, s, "rust_ipc_death_notice: process=%d handle=%u step=requested\n", s, handle);
	ASSERT_EVENTS(1, 0, "rust_ipc_death_notice: ");
	kill_process(owner);
	await_dead_oneway(server, handle);
	ASSERT_EVENTS(1, 0, "rust_ipc_death_notice: process=%d handle=%u step=queued\n", s, handle);
	ASSERT_EVENTS(0, 0, "rust_ipc_death_notice: process=%d handle=%u step=told\n", s, handle);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_DEAD_BINDER);
	ASSERT_EVENTS(1, s, "rust_ipc_death_notice: process=%d handle=%u step=told\n", s, handle);
	submit_cookie(server, BC_DEAD_BINDER_DONE, COOKIE);
	ASSERT_EVENTS(1, s, "rust_ipc_death_notice: process=%d handle=%u step=acknowledged\n", s, handle);
	submit_handle_cookie(server, BC_CLEAR_DEATH_NOTIFICATION, handle, COOKIE);
	ASSERT_EVENTS(1, s, "rust_ipc_death_notice: process=%d handle=%u step=cleared\n", s, handle);
	ASSERT_EVENTS(1, s, "rust_ipc_death_notice: process=%d handle=%u step=queued\n", s, handle);
	ASSERT_EVENTS(0, s, "rust_ipc_death_notice: process=%d handle=%u step=ended\n", s, handle);
	ASSERT_READS(server, BR_CLEAR_DEATH_NOTIFICATION_DONE);
	ASSERT_EVENTS(1, s, "rust_ipc_death_notice: process=%d handle=%u step=ended\n", s, handle);
	ASSERT_EVENTS(7, 0, "rust_ipc_death_notice: ");

	submit_handle_cookie(server, BC_REQUEST_DEATH_NOTIFICATION, handle, COOKIE);
	/* A mistake is none. */
	submit_handle_cookie(server, BC_REQUEST_DEATH_NOTIFICATION, handle, COOKIE);
	ASSERT_EVENTS(2, s, "rust_ipc_death_notice: process=%d handle=%u step=requested\n", s, handle);
	count(server, BC_RELEASE, handle);
	ASSERT_EVENTS(1, s, "rust_ipc_death_notice: process=%d handle=%u step=dropped\n", s, handle);
	ASSERT_QUIET(server);
}

TEST_F(ipc, events_of_freezing)
{
	struct peer *server = only_manager("server", AREA_LEN), *owner = member("owner");
	__u32 handle = offer(owner, server, 0x1000, 0x1001);
	int s = server->pid, o = owner->pid;

	start_tracing();
	submit_handle_cookie(server, BC_REQUEST_FREEZE_NOTIFICATION, handle, COOKIE);
	ASSERT_EVENTS(1, s, "rust_ipc_freeze_notice: process=%d handle=%u step=requested ", s, handle);
	ASSERT_EVENTS(1, s, "rust_ipc_freeze_notice: process=%d handle=%u step=queued ", s, handle);
	ASSERT_EVENTS(0, s, "rust_ipc_freeze_notice: process=%d handle=%u step=told ", s, handle);
	ASSERT_READS(server, BR_FROZEN_BINDER);
	ASSERT_EVENTS(1, s, "rust_ipc_freeze_notice: process=%d handle=%u step=told frozen=0\n", s, handle);
	submit_cookie(server, BC_FREEZE_NOTIFICATION_DONE, COOKIE);
	ASSERT_EVENTS(1, s, "rust_ipc_freeze_notice: process=%d handle=%u step=acknowledged ", s, handle);

	ASSERT_EQ(0, freeze(owner, owner));
	ASSERT_EVENTS(1, o, "rust_ipc_frozen: process=%d frozen=1\n", o);
	ASSERT_EVENTS(1, o, "rust_ipc_freeze_notice: process=%d handle=%u step=queued ", s, handle);
	ASSERT_READS(server, BR_FROZEN_BINDER);
	ASSERT_EVENTS(1, s, "rust_ipc_freeze_notice: process=%d handle=%u step=told frozen=1\n", s, handle);
	ASSERT_EQ(0, thaw(owner, owner));
	ASSERT_EVENTS(1, o, "rust_ipc_frozen: process=%d frozen=0\n", o);
	submit_handle_cookie(server, BC_CLEAR_FREEZE_NOTIFICATION, handle, COOKIE);
	ASSERT_EVENTS(1, s, "rust_ipc_freeze_notice: process=%d handle=%u step=cleared ", s, handle);
	submit_cookie(server, BC_FREEZE_NOTIFICATION_DONE, COOKIE);
	ASSERT_READS(server, BR_CLEAR_FREEZE_NOTIFICATION_DONE);
	ASSERT_EVENTS(1, s, "rust_ipc_freeze_notice: process=%d handle=%u step=ended ", s, handle);

	/* One that comes to nothing. */
	call_with(server, handle, NULL);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(-EAGAIN, freeze(owner, owner));
	ASSERT_EVENTS(2, o, "rust_ipc_frozen: process=%d frozen=1\n", o);
	ASSERT_EVENTS(2, o, "rust_ipc_frozen: process=%d frozen=0\n", o);
}

TEST_HARNESS_MAIN
