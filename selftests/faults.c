// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever can fail, fails: each operation is done with its first allocation or
 * access to user memory failing, then with its second, and so on, until it has
 * fewer than that. Each time everything is new, so that nothing is left from
 * before and need not be allocated. A failure is reported as the documentation
 * has it, and leaves everything as it was.
 *
 * This is done twice: with objects and accesses, and then with pages and accesses.
 * The allocator of objects takes pages now and then, so with all three nobody
 * could say what the n-th one is.
 *
 * It takes a kernel with fault injection.
 */
#include <ctype.h>
#include <sys/mman.h>

#include "freeze.h"
#include "memory.h"
#include "rust_ipc.h"

FIXTURE(faults) {
	struct peer *server, *client;
	__u32 handle;			/* the client's, of a node of the server's */
	struct canary canaries[2];	/* in a message */
	int canary_count;
};

/* ---- failing ------------------------------------------------------------ */

#define FAIL_NTH "/proc/thread-self/fail-nth"

/* What failed. */
enum { NOTHING_FAILED, SLAB, PAGES, COPY, FAULTS };

static const char *const capabilities[FAULTS] = { NULL, "failslab", "fail_page_alloc", "fail_usercopy" };

/* How many of each it may still be; there are never so many. */
#define TIMES 1000000000L

static char *capability_file(int fault, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), DEBUGFS "/%s/%s", capabilities[fault], name);
	return path;
}

/* Higher than that no allocation's order is: none counts. */
#define NO_PAGES "20"

static bool pages_fail;

/* What counts beside accesses to user memory: pages, or objects. */
static bool choose_faults(bool pages)
{
	pages_fail = pages;
	return !write_text(capability_file(SLAB, "ignore-gfp-wait"), pages ? "Y" : "N") &&
		!write_text(capability_file(PAGES, "min-order"), pages ? "0" : NO_PAGES);
}

/* Everything may fail, and the kernel does not say so each time. */
static bool set_faults(void)
{
	char times[16];
	int i;

	snprintf(times, sizeof(times), "%ld", TIMES);
	for (i = SLAB; i < FAULTS; i++)
		if (write_text(capability_file(i, "verbose"), "0") ||
		    write_text(capability_file(i, "times"), times))
			return false;
	return !write_text(capability_file(PAGES, "ignore-gfp-wait"), "N") &&
		!write_text(capability_file(PAGES, "ignore-gfp-highmem"), "N") &&
		choose_faults(false) && !access(FAIL_NTH, W_OK);
}

/*
 * After FAULT, the N-th one: the next one, if there is any. The 0th is none, and
 * pages come after objects.
 */
static bool another(int *nth, int fault)
{
	if (!*nth || fault != NOTHING_FAILED) {
		++*nth;
	} else if (!pages_fail) {
		choose_faults(true);
		*nth = 1;
	} else {
		choose_faults(false);
		return false;
	}
	return true;
}

static long injected[FAULTS];

/* How many faults of each kind there were since the last report. */
static void report(const char *what)
{
	struct __test_metadata *_metadata = this_test;

	TH_LOG("%s: %ld slab, %ld page, %ld copy faults", what, injected[SLAB], injected[PAGES],
	       injected[COPY]);
	memset(injected, 0, sizeof(injected));
}

struct failing {
	long (*fn)(struct peer *p, void *arg);
	void *arg;
	int nth;
	size_t used;	/* of the arena */
	bool hit;	/* there were so many, so one did fail */
};

static long do_failing(struct peer *p, void *arg)
{
	struct failing *f = arg;
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", f->nth);
	int fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	long ret;

	/* What is there already need not be allocated when it is copied. */
	if (madvise(arena.start, f->used, MADV_POPULATE_WRITE))
		return -ENOTRECOVERABLE;
	if (fd < 0 || write(fd, text, len) != len)
		return -ENOTRECOVERABLE;
	ret = f->fn(p, f->arg);
	/* This copies to user memory as well: if that fails, it was not FN's turn. */
	f->hit = pread(fd, text, sizeof(text), 0) > 0 && text[0] == '0';
	len = write(fd, "0", 1);
	close(fd);
	return ret;
}

/* Does it with the NTH thing failing, if NTH is not 0: what failed, and what the result was. */
static int run_failing(struct peer *p, int nth, long (*fn)(struct peer *, void *), void *arg,
		       long *ret)
{
	struct __test_metadata *_metadata = this_test;
	struct failing *f = arena_alloc(sizeof(*f));
	int i, fault = NOTHING_FAILED;
	long left[FAULTS];

	if (!nth) {
		*ret = peer_run(p, fn, arg);
		return NOTHING_FAILED;
	}
	for (i = SLAB; i < FAULTS; i++)
		left[i] = read_number(capability_file(i, "times"), NULL);
	*f = (struct failing) { fn, arg, nth, ((size_t)(arena.free - arena.start) + PAGE) & ~(PAGE - 1) };
	*ret = peer_run(p, do_failing, f);
	ASSERT_NE(-ENOTRECOVERABLE, *ret);
	for (i = SLAB; f->hit && i < FAULTS; i++)
		if (read_number(capability_file(i, "times"), NULL) < left[i])
			fault = i;
	ASSERT_EQ(f->hit, fault != NOTHING_FAILED);
	injected[fault]++;
	return fault;
}

/* What was gathered, carried out with a failure; then READS. */
static int io_failing(struct peer *p, int nth, bool reads, long *ret)
{
	struct __test_metadata *_metadata = this_test;
	int fault;

	prepare_io(p, reads);
	fault = run_failing(p, nth, do_write_read, &p->bwr, ret);
	if (fault == NOTHING_FAILED) {
		ASSERT_EQ(0, *ret);
	}
	if (!*ret)
		parse_returns(p);
	return fault;
}

/* A system call with a failure. */
#define __FAILING_SYSCALL(p, nth, ret, nr, a, b, c, d, e, f, ...) \
	run_failing(p, nth, do_syscall, \
		    syscall_args(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), \
				 (long)(f)), ret)
#define syscall_failing(p, nth, ret, ...) __FAILING_SYSCALL(p, nth, ret, __VA_ARGS__, 0, 0, 0, 0, 0, 0)

/* ---- before and after ------------------------------------------------------ */

/* The name of the peer whose process this is. */
static const char *name_of(long pid)
{
	int i;

	for (i = 0; i < arena.peer_count; i++)
		if (arena.peers[i]->pid == pid)
			return arena.peers[i]->name;
	return NULL;
}

/*
 * All that the driver has of P, with names in the place of process ids, so that
 * it can be compared with that of another time.
 */
static char *description(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	char text[8192], path[64], *at = text, *out = arena_alloc(sizeof(text)), *start = out;

	snprintf(path, sizeof(path), DEBUGFS "/rust_ipc/proc/%d", p->pid);
	ASSERT_LT(0, read_text(path, text, sizeof(text)));
	while (*at) {
		bool is_start = at == text || !isalnum(at[-1]);
		char *end = at;
		long number = isdigit(*at) && is_start ? strtol(at, &end, 10) : 0;
		const char *name = number && !isalnum(*end) ? name_of(number) : NULL;

		ASSERT_LT(out, start + sizeof(text) - 64);
		if (name) {
			out = stpcpy(out, name);
			at = end;
		} else if (!strncmp(at, "elapsed_ms=", 11)) {
			at += strcspn(at, " \n");
		} else if (!strncmp(at, "size=", 5)) {
			/* Such a number could be a process id as well. */
			do
				*out++ = *at++;
			while (*at && *at != ' ' && *at != '\n');
		} else {
			*out++ = *at++;
		}
	}
	*out = 0;
	return start;
}

/* Kills everybody, and nothing is left of them. */
static void sweep(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;
	int i;

	for (i = 0; i < arena.peer_count; i++)
		kill_process(arena.peers[i]);
	arena.peer_count = 0;
	arena.free = arena.start;
	ASSERT_TRUE(eventually(!objects_alive()));
	for (i = 0; i < self->canary_count; i++) {
		ASSERT_GONE(&self->canaries[i]);
		close(self->canaries[i].watch);
	}
	self->canary_count = 0;
}

/* A manager and a client, that have done nothing yet. */
static void renew(FIXTURE_DATA(faults) *self)
{
	sweep(self);
	self->server = files_manager("server");
	self->client = member("client");
}

/* The reasons that a message can have to fail. */
static void check_reason(int fault, int param)
{
	struct __test_metadata *_metadata = this_test;

	/* EINVAL: an object could not be read. */
	if (fault == COPY) {
		ASSERT_TRUE(param == -EFAULT || param == -EINVAL) {
			TH_LOG("extended error %d", param);
		}
	} else {
		ASSERT_EQ(-ENOMEM, param);
	}
}

static struct rust_ipc_area_info area_info(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct rust_ipc_area_info *info = arena_alloc(sizeof(*info));

	ASSERT_EQ(0, peer_ioctl(p, RUST_IPC_GET_AREA_INFO, info));
	return *info;
}

/* Reads all that there is for P; true if BR_ERROR was among it. */
static bool drain(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	bool is_error = false;
	long ret;
	int i;

	while (!(ret = receive_now(p)))
		for (i = 0; i < p->brs; i++)
			is_error |= p->br[i].cmd == BR_ERROR;
	ASSERT_EQ(-EAGAIN, ret);
	return is_error;
}

/* Nothing is in the area, and there is as much room as ever. */
static void check_empty(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct rust_ipc_area_info info = area_info(p);

	ASSERT_EQ(0, info.live_buffers);
	ASSERT_EQ(0, info.pages_in_use);
	ASSERT_EQ(AREA_LEN / 2, info.oneway_free_bytes);
}

FIXTURE_SETUP(faults)
{
	this_test = _metadata;
	self->canary_count = 0;
	require_rust_ipc();
	if (!set_faults())
		SKIP(return, "no " FAIL_NTH ", or no " DEBUGFS "/{failslab,fail_page_alloc,fail_usercopy}");
	ASSERT_TRUE(eventually(!objects_alive()));
}

FIXTURE_TEARDOWN(faults)
{
	if (_metadata->exit_code == KSFT_PASS)
		sweep(self);
	ipc_teardown(_metadata, NULL, NULL);
}

/* ---- messages ------------------------------------------------------------ */

enum { NOTHING, BYTES, BINDER, WEAK_BINDER, HANDLE, WEAK_HANDLE, FILES, TREE, KINDS };

static const char *const kind_names[] = {
	"nothing", "bytes", "a binder", "a weak binder", "a handle", "a weak handle", "files",
	"buffers",
};

#define PTR 0x7000
#define COOKIE 0x7001

#define BUFFER_LEN 64

static int file_of(FIXTURE_DATA(faults) *self, struct peer *from)
{
	struct canary *c = &self->canaries[self->canary_count++];

	*c = new_canary(from);
	return c->fd;
}

/* A buffer beside the payload that points to another, with two files in it. */
static void make_tree(FIXTURE_DATA(faults) *self, struct parcel *m, struct peer *from)
{
	struct binder_buffer_object root = {
		.hdr.type = BINDER_TYPE_PTR, .length = BUFFER_LEN,
		.buffer = (uintptr_t)arena_alloc(BUFFER_LEN),
	}, child = {
		.hdr.type = BINDER_TYPE_PTR, .length = BUFFER_LEN,
		.flags = BINDER_BUFFER_FLAG_HAS_PARENT, .parent_offset = 8,
	};
	struct binder_fd_array_object array = {
		.hdr.type = BINDER_TYPE_FDA, .num_fds = 2, .parent = 1,
	};
	__u32 files[BUFFER_LEN / 4] = { file_of(self, from), file_of(self, from) };

	child.buffer = (uintptr_t)arena_copy(files, sizeof(files));
	/* At the very beginning it could not be a parent. */
	add_bytes(m, "some bytes", 8);
	add_offset(m, m->len);
	add_bytes(m, &root, sizeof(root));
	add_offset(m, m->len);
	add_bytes(m, &child, sizeof(child));
	add_offset(m, m->len);
	add_bytes(m, &array, sizeof(array));
}

/* A message of FROM's, who has a strong handle to the node of somebody else. */
static struct parcel *make(FIXTURE_DATA(faults) *self, int kind, struct peer *from, __u32 handle)
{
	struct parcel *m = new_parcel();

	switch (kind) {
	case BYTES:
		m->len = sizeof(m->data);
		memset(m->data, 0x77, m->len);
		break;
	case BINDER:
		add_binder(m, PTR, COOKIE);
		break;
	case WEAK_BINDER:
		add_weak_binder(m, PTR, COOKIE);
		break;
	case HANDLE:
		add_handle(m, handle);
		break;
	case WEAK_HANDLE:
		add_weak_handle(m, handle);
		break;
	case FILES:
		add_fd(m, file_of(self, from));
		add_fd(m, file_of(self, from));
		break;
	case TREE:
		make_tree(self, m, from);
		break;
	}
	return m;
}

/* Gathers a message of that kind; COMMAND is BC_TRANSACTION or BC_REPLY. */
static void bc_made(struct peer *p, __u32 command, __u32 flags, int kind, const struct parcel *m)
{
	__u64 room = 2 * BUFFER_LEN;

	if (kind != TREE) {
		bc_parcel(p, command, 0, flags, m);
		return;
	}
	bc_parcel(p, command == BC_REPLY ? BC_REPLY_SG : BC_TRANSACTION_SG, 0, flags, m);
	put(p, &room, sizeof(room));
}

/* The message that P has read is this. */
static void check_arrived(struct peer *p, int kind, const struct parcel *m)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr = message(p);
	const struct binder_buffer_object *buffer;
	const __u32 *files;

	ASSERT_EQ(m->len, tr->data_size);
	ASSERT_EQ(m->offsets_len, tr->offsets_size);
	switch (kind) {
	case BYTES:
		ASSERT_PAYLOAD(p, tr, m->data, m->len);
		break;
	case BINDER:
	case HANDLE:
		ASSERT_EQ(BINDER_TYPE_HANDLE, object_of(p, tr, 0)->hdr.type);
		break;
	case WEAK_BINDER:
	case WEAK_HANDLE:
		ASSERT_EQ(BINDER_TYPE_WEAK_HANDLE, object_of(p, tr, 0)->hdr.type);
		break;
	case FILES:
		ASSERT_TRUE(is_open(p, object_of(p, tr, 0)->handle));
		ASSERT_TRUE(is_open(p, object_of(p, tr, 1)->handle));
		break;
	case TREE:
		buffer = peer_memory(p, tr->data.ptr.buffer + m->offsets[1], sizeof(*buffer));
		ASSERT_NE(NULL, buffer);
		ASSERT_EQ(BUFFER_LEN, buffer->length);
		files = peer_memory(p, buffer->buffer, 2 * sizeof(*files));
		ASSERT_NE(NULL, files);
		ASSERT_TRUE(is_open(p, files[0]));
		ASSERT_TRUE(is_open(p, files[1]));
		break;
	}
}

/* A handle of the client's to a node of a third process. */
static __u32 third_party(FIXTURE_DATA(faults) *self)
{
	struct peer *owner = member("owner");
	__u32 handle = offer(owner, self->server, 0x9000, 0x9001), own;

	own = hand_over(self->server, self->client, handle);
	/* For the server it is to be new. */
	count(self->server, BC_RELEASE, handle);
	return own;
}

/* P reads until this comes, or BR_FAILED_REPLY: which. */
static __u32 read_until(struct peer *p, __u32 cmd)
{
	struct __test_metadata *_metadata = this_test;
	__u32 last;

	do {
		ASSERT_EQ(0, receive(p));
		last = p->br[p->brs - 1].cmd;
	} while (last != cmd && last != BR_FAILED_REPLY);
	return last;
}

/* The client sends it, and the N-th thing fails. */
static void send_failing(FIXTURE_DATA(faults) *self, int kind, __u32 flags)
{
	struct __test_metadata *_metadata = this_test;
	__u32 last = flags & TF_ONE_WAY ? BR_TRANSACTION_COMPLETE : BR_REPLY;
	int nth = 0, fault;

	do {
		struct peer *server, *client;
		char *clients, *servers;
		__u32 handle = 0;
		struct parcel *m;
		long ret;

		step("sending %s (flags 0x%x), failure %d", kind_names[kind], flags, nth);
		renew(self);
		server = self->server;
		client = self->client;
		if (kind == HANDLE || kind == WEAK_HANDLE)
			handle = third_party(self);
		m = make(self, kind, client, handle);
		clients = description(client);
		servers = description(server);

		bc_made(client, BC_TRANSACTION, flags, kind, m);
		fault = io_failing(client, nth, false, &ret);
		/* Without memory a message fails, and not the ioctl. */
		ASSERT_TRUE(!ret || (ret == -EFAULT && fault == COPY)) {
			TH_LOG("result %ld", ret);
		}
		if (receive_now(server)) {
			ASSERT_NE(NOTHING_FAILED, fault);
			if (!ret) {
				struct binder_extended_error error;

				ASSERT_EQ(0, receive_now(client));
				ASSERT_BR(client, BR_FAILED_REPLY);
				error = extended_error(client);
				ASSERT_EQ(BR_FAILED_REPLY, error.command);
				check_reason(fault, error.param);
			}
			ASSERT_QUIET(client);
			ASSERT_STREQ(clients, description(client));
			ASSERT_STREQ(servers, description(server));
			check_empty(server);
			check_unharmed(client, server);
			bc_made(client, BC_TRANSACTION, flags, kind, m);
			ASSERT_EQ(0, submit(client));
			ASSERT_EQ(0, receive(server));
		}
		ASSERT_BR(server, BR_TRANSACTION);
		check_arrived(server, kind, m);
		free_buffer(server, message(server)->data.ptr.buffer);
		if (!(flags & TF_ONE_WAY))
			reply(server, "done", 4);
		ASSERT_EQ(0, submit(server));
		ASSERT_EQ(last, read_until(client, last));
	} while (another(&nth, fault));
	report(kind_names[kind]);
}

TEST_F_TIMEOUT(faults, oneway, 900)
{
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		send_failing(self, kind, TF_ONE_WAY);
}

TEST_F_TIMEOUT(faults, call, 900)
{
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		send_failing(self, kind, TF_ACCEPT_FDS);
}

/* The server replies with it, and the N-th thing fails. */
static void reply_failing(FIXTURE_DATA(faults) *self, int kind)
{
	struct __test_metadata *_metadata = this_test;
	int nth = 0, fault;

	do {
		struct peer *server, *client;
		char *clients, *servers;
		__u32 handle = 0;
		struct parcel *m;
		long ret;

		step("replying with %s, failure %d", kind_names[kind], nth);
		renew(self);
		server = self->server;
		client = self->client;
		if (kind == HANDLE || kind == WEAK_HANDLE)
			handle = offer(member("owner"), server, 0x9000, 0x9001);
		m = make(self, kind, server, handle);
		clients = description(client);
		servers = description(server);

		call_with(client, 0, NULL);
		start_transact(client);
		free_message(server, take_call(server));
		bc_made(server, BC_REPLY, 0, kind, m);
		fault = io_failing(server, nth, false, &ret);
		ASSERT_TRUE(!ret || (ret == -EFAULT && fault == COPY)) {
			TH_LOG("result %ld", ret);
		}
		/* The ioctl may have failed before or after that. */
		if (strstr(description(server), "incoming")) {
			ASSERT_EQ(-EFAULT, ret);
			bc_made(server, BC_REPLY, 0, kind, m);
			ASSERT_EQ(0, submit(server));
		}
		while (!receive_now(server))
			;
		ASSERT_EQ(0, finish(client));
		if (client->br[client->brs - 1].cmd == BR_FAILED_REPLY) {
			struct binder_extended_error error = extended_error(client);

			ASSERT_NE(NOTHING_FAILED, fault);
			ASSERT_EQ(BR_FAILED_REPLY, error.command);
			check_reason(fault, error.param);
			ASSERT_STREQ(clients, description(client));
			ASSERT_STREQ(servers, description(server));
			check_empty(client);
			check_unharmed(client, server);
			call_with(client, 0, NULL);
			start_transact(client);
			free_message(server, take_call(server));
			bc_made(server, BC_REPLY, 0, kind, m);
			ASSERT_EQ(0, submit(server));
			ASSERT_EQ(0, finish(client));
		}
		ASSERT_BR(client, BR_TRANSACTION_COMPLETE, BR_REPLY);
		check_arrived(client, kind, m);
	} while (another(&nth, fault));
	report(kind_names[kind]);
}

TEST_F_TIMEOUT(faults, reply, 900)
{
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		reply_failing(self, kind);
}

/*
 * The ioctl failed after it had written a message to the read buffer, and did
 * not say so: takes it from there.
 */
static bool was_delivered(struct peer *p)
{
	if (!strstr(description(p), "delivered"))
		return false;
	p->bwr.read_consumed = 8 + sizeof(struct binder_transaction_data);
	parse_returns(p);
	return true;
}

/* The server reads the client's call, and the N-th thing fails. */
static void receive_failing(FIXTURE_DATA(faults) *self, int kind)
{
	struct __test_metadata *_metadata = this_test;
	int nth = 0, fault;

	do {
		struct peer *server, *client;
		__u32 handle = 0;
		struct parcel *m;
		char *servers;
		int files;
		long ret;

		step("receiving %s, failure %d", kind_names[kind], nth);
		renew(self);
		server = self->server;
		client = self->client;
		if (kind == HANDLE || kind == WEAK_HANDLE)
			handle = third_party(self);
		m = make(self, kind, client, handle);
		servers = description(server);

		bc_made(client, BC_TRANSACTION, TF_ACCEPT_FDS, kind, m);
		ASSERT_EQ(0, submit(client));
		files = open_files(server);
		peer_syscall(server, SYS_fcntl, server->fd, F_SETFL, O_RDWR | O_NONBLOCK);
		fault = io_failing(server, nth, true, &ret);
		peer_syscall(server, SYS_fcntl, server->fd, F_SETFL, O_RDWR);
		/* EAGAIN: it is not to be had any more, and nothing else either. */
		ASSERT_TRUE(!ret || (ret == -EFAULT && fault == COPY) ||
			    (ret == -EAGAIN && fault && (kind == FILES || kind == TREE))) {
			TH_LOG("result %ld after fault %d", ret, fault);
		}
		if (ret && !was_delivered(server) && receive_now(server)) {
			/* It is lost, and the client is told. */
			ASSERT_NE(NOTHING_FAILED, fault);
			ASSERT_EQ(BR_FAILED_REPLY, read_until(client, BR_FAILED_REPLY));
			ASSERT_EQ(files, open_files(server));
			ASSERT_STREQ(servers, description(server));
			check_empty(server);
			bc_made(client, BC_TRANSACTION, TF_ACCEPT_FDS, kind, m);
			ASSERT_EQ(0, submit(client));
			ASSERT_EQ(0, receive(server));
		}
		ASSERT_BR(server, BR_TRANSACTION);
		check_arrived(server, kind, m);
		answer(server, message(server), NULL, 0);
		ASSERT_EQ(BR_REPLY, read_until(client, BR_REPLY));
	} while (another(&nth, fault));
	report(kind_names[kind]);
}

TEST_F_TIMEOUT(faults, receive, 900)
{
	int kind;

	for (kind = 0; kind < KINDS; kind++)
		receive_failing(self, kind);
}

/* ---- files ------------------------------------------------------------------- */

TEST_F_TIMEOUT(faults, open, 300)
{
	int nth = 0, fault;

	do {
		struct peer *p;
		char *path;
		long fd;

		step("failure %d", nth);
		sweep(self);
		path = arena_copy(device_path(), strlen(device_path()) + 1);
		p = new_process("opener");
		fault = syscall_failing(p, nth, &fd, SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
		p->fd = fd;
		if (fd < 0) {
			ASSERT_NE(NOTHING_FAILED, fault);
			ASSERT_EQ(fault == COPY ? -EFAULT : -ENOMEM, fd);
			ASSERT_EQ(0, objects_alive());
			ASSERT_LE(0, open_device(p, 0));
		}
		ASSERT_EQ(0, map_area(p, AREA_LEN));
		become_manager(p, NULL);
		check_unharmed(member("client"), p);
	} while (another(&nth, fault));
	report("open");
}

TEST_F_TIMEOUT(faults, map, 300)
{
	int nth = 0, fault;

	do {
		struct peer *p;
		long at;

		step("failure %d", nth);
		renew(self);
		p = new_process("mapper");
		ASSERT_LE(0, open_device(p, 0));
		fault = syscall_failing(p, nth, &at, SYS_mmap, NULL, AREA_LEN, PROT_READ,
					MAP_PRIVATE | MAP_NORESERVE, p->fd, 0);
		if (at < 0 && at > -4096) {
			ASSERT_NE(NOTHING_FAILED, fault);
			ASSERT_EQ(-ENOMEM, at);
			/* It is not mapped, and was not. */
			ASSERT_EQ(0, area_info(p).start);
			ASSERT_EQ(0, map_area(p, AREA_LEN));
		} else {
			p->area = (void *)at;
			p->area_len = AREA_LEN;
		}
		settle(p);
		check_unharmed(p, self->server);
	} while (another(&nth, fault));
	report("mmap");
}

/*
 * The client has read a message with files and a call, has not read another
 * message, is to be told of the server's death and freezing, and has a handle
 * of the server's node, as the server has of its.
 */
static void entangle(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *server = self->server, *client = self->client;
	__u32 back = offer_with(client, server, 0x200, 0x201, OBJECT_FLAGS);
	struct binder_handle_cookie notice = { .cookie = 0xdead };
	struct parcel *m = make(self, FILES, server, 0);

	notice.handle = lend(server, client, PTR, COOKIE);
	add_binder(m, PTR, COOKIE);
	oneway_with(server, back, m);
	oneway_with(server, back, m);
	ASSERT_EQ(0, submit(server));
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION);
	ASSERT_EQ(0, receive(server));
	ASSERT_BR(server, BR_TRANSACTION_COMPLETE, BR_TRANSACTION_COMPLETE);
	call_with(server, back, NULL);
	start_transact(server);
	ASSERT_EQ(0, receive(client));
	ASSERT_BR(client, BR_TRANSACTION);
	bc(client, BC_REQUEST_DEATH_NOTIFICATION);
	put(client, &notice, sizeof(notice));
	bc(client, BC_REQUEST_FREEZE_NOTIFICATION);
	put(client, &notice, sizeof(notice));
	ASSERT_EQ(0, submit(client));
}

/* The end of a file needs no memory. */
static void release_failing(FIXTURE_DATA(faults) *self, bool unmaps_last)
{
	struct __test_metadata *_metadata = this_test;
	int nth = 0, fault;

	do {
		struct peer *client;
		long ret;

		step("failure %d, by %s", nth, unmaps_last ? "munmap" : "close");
		renew(self);
		client = self->client;
		entangle(self);
		if (unmaps_last) {
			ASSERT_EQ(0, peer_syscall(client, SYS_close, client->fd));
			fault = syscall_failing(client, nth, &ret, SYS_munmap, client->area, AREA_LEN);
			/* The kernel itself may need some. */
			if (fault && ret == -ENOMEM)
				ret = peer_syscall(client, SYS_munmap, client->area, AREA_LEN);
		} else {
			ASSERT_EQ(0, peer_syscall(client, SYS_munmap, client->area, AREA_LEN));
			fault = syscall_failing(client, nth, &ret, SYS_close, client->fd);
		}
		ASSERT_EQ(0, ret);
		ASSERT_EQ(BR_DEAD_REPLY, ({
			ASSERT_EQ(0, finish(self->server));
			self->server->br[self->server->brs - 1].cmd;
		}));
		ASSERT_EQ(0, read_number(DEBUGFS "/rust_ipc/stats", "death notifications: alive"));
		ASSERT_EQ(0, read_number(DEBUGFS "/rust_ipc/stats", "freeze notifications: alive"));
		/* What it is told of its node. */
		drain(self->server);
		check_unharmed(member("other"), self->server);
	} while (another(&nth, fault));
	report(unmaps_last ? "munmap" : "close");
}

TEST_F_TIMEOUT(faults, release, 300)
{
	release_failing(self, false);
	release_failing(self, true);
}

/* ---- ioctls -------------------------------------------------------------------- */

static void fill_nothing(FIXTURE_DATA(faults) *self, void *argument)
{
}

static void fill_handle(FIXTURE_DATA(faults) *self, void *argument)
{
	struct binder_node_info_for_ref *info = argument;

	info->handle = offer(self->client, self->server, PTR, COOKIE);
}

static void fill_freeze(FIXTURE_DATA(faults) *self, void *argument)
{
	*(struct binder_freeze_info *)argument =
		(struct binder_freeze_info) { self->client->pid, 1, 100 };
}

static void fill_frozen(FIXTURE_DATA(faults) *self, void *argument)
{
	((struct binder_frozen_status_info *)argument)->pid = self->client->pid;
}

TEST_F_TIMEOUT(faults, ioctls, 900)
{
	static const struct {
		const char *name;
		__u32 request;
		int error;		/* if the argument cannot be read or written */
		void (*fill)(FIXTURE_DATA(faults) *, void *);
		bool manager;		/* who does it becomes the manager */
	} table[] = {
		{ "VERSION", BINDER_VERSION, -EINVAL, fill_nothing },
		{ "SET_MAX_THREADS", BINDER_SET_MAX_THREADS, -EINVAL, fill_nothing },
		{ "THREAD_EXIT", BINDER_THREAD_EXIT, 0, fill_nothing },
		{ "GET_NODE_DEBUG_INFO", BINDER_GET_NODE_DEBUG_INFO, -EFAULT, fill_nothing },
		{ "GET_NODE_INFO_FOR_REF", BINDER_GET_NODE_INFO_FOR_REF, -EFAULT, fill_handle },
		{ "FREEZE", BINDER_FREEZE, -EFAULT, fill_freeze },
		{ "GET_FROZEN_INFO", BINDER_GET_FROZEN_INFO, -EFAULT, fill_frozen },
		{ "ENABLE_ONEWAY_SPAM_DETECTION", BINDER_ENABLE_ONEWAY_SPAM_DETECTION, -EFAULT,
		  fill_nothing },
		{ "GET_EXTENDED_ERROR", BINDER_GET_EXTENDED_ERROR, -EFAULT, fill_nothing },
		{ "GET_AREA_INFO", RUST_IPC_GET_AREA_INFO, -EFAULT, fill_nothing },
		{ "SET_CONTEXT_MGR", BINDER_SET_CONTEXT_MGR, 0, fill_nothing, true },
		{ "SET_CONTEXT_MGR_EXT", BINDER_SET_CONTEXT_MGR_EXT, -EINVAL, fill_nothing, true },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		int nth = 0, fault;

		do {
			struct peer *thread;
			void *argument;
			long ret;

			step("%s, failure %d", table[i].name, nth);
			renew(self);
			argument = arena_alloc(64);
			memset(argument, 0, 64);
			table[i].fill(self, argument);
			if (table[i].manager) {
				kill_process(self->server);
				await_no_manager(self->client);
				self->server = member("other");
			}
			/* Whose first ioctl it is. */
			thread = new_bare_thread(self->server, "thread");
			fault = syscall_failing(thread, nth, &ret, SYS_ioctl, thread->fd,
						table[i].request, argument);
			if (ret) {
				ASSERT_NE(NOTHING_FAILED, fault);
				ASSERT_EQ(fault == COPY ? table[i].error : -ENOMEM, ret);
				memset(argument, 0, 64);
				if (table[i].fill != fill_handle)
					table[i].fill(self, argument);
				else
					((struct binder_node_info_for_ref *)argument)->handle = 1;
				ASSERT_EQ(0, peer_ioctl(thread, table[i].request, argument));
			}
			if (table[i].request == BINDER_FREEZE) {
				ASSERT_EQ(0, thaw(self->server, self->client));
			}
			check_unharmed(self->client, self->server);
		} while (another(&nth, fault));
		report(table[i].name);
	}
}

TEST_F_TIMEOUT(faults, poll, 300)
{
	int nth = 0, fault;

	do {
		struct pollfd *pollfd;
		struct peer *thread;
		long ret;

		step("failure %d", nth);
		renew(self);
		thread = new_bare_thread(self->client, "thread");
		pollfd = arena_alloc(sizeof(*pollfd));
		*pollfd = (struct pollfd) { .fd = thread->fd, .events = POLLIN };
		fault = syscall_failing(thread, nth, &ret, SYS_poll, pollfd, 1, 0);
		ASSERT_TRUE(ret == 1 || (ret == -EFAULT && fault == COPY) ||
			    (ret == -ENOMEM && fault)) {
			TH_LOG("result %ld", ret);
		}
		/* A new thread's read would return; without a record of the thread nobody knows. */
		if (ret == 1) {
			ASSERT_TRUE(pollfd->revents == POLLIN ||
				    (fault && fault != COPY && pollfd->revents == POLLERR)) {
				TH_LOG("revents 0x%x", pollfd->revents);
			}
		}
		check_unharmed(self->client, self->server);
	} while (another(&nth, fault));
	report("poll");
}

struct reading {
	char path[128];
	char text[8192];	/* here, as a stack may need another page */
};

static long do_read_file(struct peer *p, void *arg)
{
	struct reading *r = arg;

	return read_text(r->path, r->text, sizeof(r->text));
}

/* All that debugfs shows of two processes that have much to do with one another. */
TEST_F_TIMEOUT(faults, debugfs, 900)
{
	static const char *const files[] = {
		"state", "transactions", "stats", "transaction_log", "failed_transaction_log",
		"reclaim/zapped", "proc/%d",
	};
	size_t i;

	/* One for the log of failures. */
	renew(self);
	bc_parcel(self->client, BC_TRANSACTION, 99, 0, NULL);
	ASSERT_REFUSED(self->client, BR_FAILED_REPLY, -EINVAL);
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		int nth = 0, fault;

		do {
			struct reading *r;
			struct peer *reader;
			long ret;

			step("reading %s, failure %d", files[i], nth);
			renew(self);
			entangle(self);
			reader = new_process("reader");
			r = arena_alloc(sizeof(*r));
			strcpy(r->path, DEBUGFS "/rust_ipc/");
			snprintf(r->path + strlen(r->path), 100, files[i], self->server->pid);
			fault = run_failing(reader, nth, do_read_file, r, &ret);
			if (ret <= 0) {
				ASSERT_NE(NOTHING_FAILED, fault);
				ASSERT_TRUE(ret == -ENOMEM || (ret == -EFAULT && fault == COPY)) {
					TH_LOG("result %ld after fault %d", ret, fault);
				}
				ASSERT_LT(0, peer_run(reader, do_read_file, r));
			}
		} while (another(&nth, fault));
		report(files[i]);
	}
}

/* ---- other commands, and other returns --------------------------------------------- */

static struct binder_handle_cookie notice = { .cookie = 0xdead };

static void bc_notice(struct peer *p, __u32 command)
{
	bc(p, command);
	put(p, &notice, sizeof(notice));
}

static void set_up_nothing(FIXTURE_DATA(faults) *self)
{
}

/* The client has a handle of a third process's node, strong once and weak once. */
static void set_up_handle(FIXTURE_DATA(faults) *self)
{
	self->handle = third_party(self);
	count(self->client, BC_INCREFS, self->handle);
	notice.handle = self->handle;
}

static void set_up_death(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;

	set_up_handle(self);
	bc_notice(self->client, BC_REQUEST_DEATH_NOTIFICATION);
	ASSERT_EQ(0, submit(self->client));
}

static void set_up_dead(FIXTURE_DATA(faults) *self)
{
	set_up_death(self);
	/* It is the latest. */
	kill_process(arena.peers[arena.peer_count - 1]);
}

static void set_up_told_dead(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;

	set_up_dead(self);
	ASSERT_EQ(0, receive(self->client));
	ASSERT_BR(self->client, BR_DEAD_BINDER);
}

static void set_up_frozen(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;

	set_up_handle(self);
	bc_notice(self->client, BC_REQUEST_FREEZE_NOTIFICATION);
	ASSERT_EQ(0, submit(self->client));
}

static void set_up_told_frozen(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;

	set_up_frozen(self);
	ASSERT_EQ(0, receive(self->client));
	ASSERT_BR(self->client, BR_FROZEN_BINDER);
}

/* The client has sent a node of its own, and has not been told of the references to it. */
static void set_up_node(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;

	oneway_with(self->client, 0, make(self, BINDER, self->client, 0));
	ASSERT_EQ(0, submit(self->client));
	ASSERT_EQ(0, receive(self->server));
	ASSERT_BR(self->server, BR_TRANSACTION);
}

static void set_up_told_node(FIXTURE_DATA(faults) *self)
{
	struct __test_metadata *_metadata = this_test;

	set_up_node(self);
	ASSERT_EQ(0, receive(self->client));
	ASSERT_BR(self->client, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
}

/* The client has received a message of that kind, as a reply. */
static void set_up_buffer(FIXTURE_DATA(faults) *self, int kind)
{
	struct __test_metadata *_metadata = this_test;

	call_with(self->client, 0, NULL);
	start_transact(self->client);
	free_message(self->server, take_call(self->server));
	bc_made(self->server, BC_REPLY, 0, kind, make(self, kind, self->server, 0));
	ASSERT_EQ(0, submit(self->server));
	ASSERT_EQ(0, finish(self->client));
	ASSERT_BR(self->client, BR_TRANSACTION_COMPLETE, BR_REPLY);
}

static void set_up_reply(FIXTURE_DATA(faults) *self)
{
	set_up_buffer(self, BINDER);
}

static void set_up_array(FIXTURE_DATA(faults) *self)
{
	set_up_buffer(self, TREE);
}

static void free_it(struct peer *p)
{
	/* It is all that there is in the area. */
	free_buffer(p, (uintptr_t)p->area);
}

static void acquire_0(struct peer *p) { bc_u32(p, BC_ACQUIRE, 0); }
static void increfs_0(struct peer *p) { bc_u32(p, BC_INCREFS, 0); }
static void acquire(struct peer *p) { bc_u32(p, BC_ACQUIRE, notice.handle); }
static void increfs(struct peer *p) { bc_u32(p, BC_INCREFS, notice.handle); }
static void release(struct peer *p) { bc_u32(p, BC_RELEASE, notice.handle); }
static void decrefs(struct peer *p) { bc_u32(p, BC_DECREFS, notice.handle); }
static void increfs_done(struct peer *p) { bc_node(p, BC_INCREFS_DONE, PTR, COOKIE); }
static void acquire_done(struct peer *p) { bc_node(p, BC_ACQUIRE_DONE, PTR, COOKIE); }
static void both_done(struct peer *p) { increfs_done(p); acquire_done(p); }
static void enter(struct peer *p) { bc(p, BC_ENTER_LOOPER); }
static void enlist(struct peer *p) { bc(p, BC_REGISTER_LOOPER); }
static void leave(struct peer *p) { bc(p, BC_EXIT_LOOPER); }
static void request_death(struct peer *p) { bc_notice(p, BC_REQUEST_DEATH_NOTIFICATION); }
static void clear_death(struct peer *p) { bc_notice(p, BC_CLEAR_DEATH_NOTIFICATION); }
static void death_done(struct peer *p) { bc_u64(p, BC_DEAD_BINDER_DONE, notice.cookie); }
static void request_freeze(struct peer *p) { bc_notice(p, BC_REQUEST_FREEZE_NOTIFICATION); }
static void clear_freeze(struct peer *p) { bc_notice(p, BC_CLEAR_FREEZE_NOTIFICATION); }
static void freeze_done(struct peer *p) { bc_u64(p, BC_FREEZE_NOTIFICATION_DONE, notice.cookie); }

/* What there is in the end, of the two together. */
static char *outcome(FIXTURE_DATA(faults) *self)
{
	char *text = arena_alloc(16384);

	drain(self->client);
	drain(self->server);
	snprintf(text, 16384, "%s%s%d descriptors\n", description(self->client),
		 description(self->server), open_files(self->client));
	return text;
}

/*
 * The client carries it out, and the N-th thing fails: it is done, or nothing
 * has happened, and it can be done again. In the end all is as without a fault.
 */
static void command_failing(FIXTURE_DATA(faults) *self, const char *name,
			    void (*set_up)(FIXTURE_DATA(faults) *), void (*gather)(struct peer *))
{
	struct __test_metadata *_metadata = this_test;
	static char without[16384];
	int nth = 0, fault;

	do {
		struct peer *client;
		char *before, *end;
		long ret;

		step("%s, failure %d", name, nth);
		renew(self);
		client = self->client;
		set_up(self);
		before = description(client);
		gather(client);
		fault = io_failing(client, nth, false, &ret);
		ASSERT_TRUE(!ret || (ret == -EFAULT && fault == COPY) ||
			    (ret == -ENOMEM && (fault == SLAB || fault == PAGES))) {
			TH_LOG("result %ld after fault %d", ret, fault);
		}
		if (ret == -ENOMEM) {
			ASSERT_STREQ(before, description(client));
			ASSERT_EQ(0, client->bwr.write_consumed);
		}
		/* An ioctl that failed may have carried it out before. */
		if ((ret && !strcmp(before, description(client))) || (!ret && drain(client))) {
			ASSERT_NE(NOTHING_FAILED, fault);
			ASSERT_STREQ(before, description(client));
			gather(client);
			ASSERT_EQ(0, submit(client));
		}
		end = outcome(self);
		if (!nth)
			strcpy(without, end);
		ASSERT_STREQ(without, end);
	} while (another(&nth, fault));
	report(name);
}

TEST_F_TIMEOUT(faults, commands, 900)
{
	static const struct {
		const char *name;
		void (*set_up)(FIXTURE_DATA(faults) *);
		void (*gather)(struct peer *);
	} table[] = {
		{ "INCREFS of 0", set_up_nothing, increfs_0 },
		{ "ACQUIRE of 0", set_up_nothing, acquire_0 },
		{ "INCREFS", set_up_handle, increfs },
		{ "ACQUIRE", set_up_handle, acquire },
		{ "RELEASE", set_up_handle, release },
		{ "DECREFS", set_up_handle, decrefs },
		{ "INCREFS_DONE", set_up_told_node, increfs_done },
		{ "ACQUIRE_DONE", set_up_told_node, acquire_done },
		{ "FREE_BUFFER", set_up_reply, free_it },
		{ "FREE_BUFFER with files", set_up_array, free_it },
		{ "ENTER_LOOPER", set_up_nothing, enter },
		{ "REGISTER_LOOPER", set_up_nothing, enlist },
		{ "EXIT_LOOPER", set_up_nothing, leave },
		{ "REQUEST_DEATH_NOTIFICATION", set_up_handle, request_death },
		{ "CLEAR_DEATH_NOTIFICATION", set_up_death, clear_death },
		{ "DEAD_BINDER_DONE", set_up_told_dead, death_done },
		{ "REQUEST_FREEZE_NOTIFICATION", set_up_handle, request_freeze },
		{ "CLEAR_FREEZE_NOTIFICATION", set_up_told_frozen, clear_freeze },
		{ "FREEZE_NOTIFICATION_DONE", set_up_told_frozen, freeze_done },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		command_failing(self, table[i].name, table[i].set_up, table[i].gather);
}

/*
 * The client reads what it is told, and the N-th thing fails. What was taken for
 * that read may be lost, but can be acknowledged all the same, and in the end
 * all is as without a fault.
 */
TEST_F_TIMEOUT(faults, returns, 900)
{
	static const struct {
		const char *name;
		void (*set_up)(FIXTURE_DATA(faults) *);
		void (*acknowledge)(struct peer *);
	} table[] = {
		{ "news of a node", set_up_node, both_done },
		{ "a death", set_up_dead, death_done },
		{ "a freeze", set_up_frozen, freeze_done },
	};
	static char without[16384];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(table); i++) {
		int nth = 0, fault;

		do {
			struct peer *client;
			char *end;
			long ret;

			step("reading %s, failure %d", table[i].name, nth);
			renew(self);
			client = self->client;
			table[i].set_up(self);
			fault = io_failing(client, nth, true, &ret);
			ASSERT_TRUE(!ret || (ret == -EFAULT && fault == COPY)) {
				TH_LOG("result %ld after fault %d", ret, fault);
			}
			drain(client);
			table[i].acknowledge(client);
			ASSERT_EQ(0, submit(client));
			end = outcome(self);
			if (!nth)
				strcpy(without, end);
			ASSERT_STREQ(without, end);
		} while (another(&nth, fault));
		report(table[i].name);
	}
}

TEST_HARNESS_MAIN
