// SPDX-License-Identifier: GPL-2.0
/*
 * The module comes and goes: with work in between, refused while it is used,
 * and without leaving anything. Needs root, and the module's file: that is
 * RUST_IPC_MODULE, or /lib/rust_ipc.ko, or where modinfo finds it. The module
 * is loaded when this ends, without parameters or with RUST_IPC_PARAMS.
 */
#include "freeze.h"
#include "memory.h"

static const char *module_path(void)
{
	static char path[512];
	FILE *modinfo;
	size_t len;

	if (getenv("RUST_IPC_MODULE"))
		return getenv("RUST_IPC_MODULE");
	if (!access("/lib/rust_ipc.ko", R_OK))
		return "/lib/rust_ipc.ko";
	modinfo = popen("modinfo -n rust_ipc 2>/dev/null", "r");
	len = modinfo ? fread(path, 1, sizeof(path) - 1, modinfo) : 0;
	if (modinfo)
		pclose(modinfo);
	path[strcspn(path, "\n")] = 0;
	return len ? path : "rust_ipc.ko";
}

static long load(const char *parameters)
{
	int fd = open(module_path(), O_RDONLY | O_CLOEXEC);
	const char *end = strrchr(module_path(), '.');
	long ret;

	if (fd < 0)
		return -errno;
	/* Compressed, the kernel unpacks it itself (MODULE_INIT_COMPRESSED_FILE). */
	ret = syscall(SYS_finit_module, fd, parameters, end && strcmp(end, ".ko") ? 4 : 0);
	ret = ret ? -errno : 0;
	close(fd);
	return ret;
}

static long unload(void)
{
	return syscall(SYS_delete_module, "rust_ipc", O_NONBLOCK) ? -errno : 0;
}

static bool is_loaded(void)
{
	return !access("/sys/module/rust_ipc", F_OK);
}

/* Nobody uses it any more, once the last file is really closed. */
static void unload_soon(void)
{
	struct __test_metadata *_metadata = this_test;
	long ret;

	ASSERT_TRUE(eventually((ret = unload()) != -EAGAIN));
	ASSERT_EQ(0, ret);
}

static bool file_has(const char *path, const char *word)
{
	char *text = malloc(1 << 20);
	bool has = text && read_text(path, text, 1 << 20) > 0 && strstr(text, word);

	free(text);
	return has;
}

/* No trace of the module, nor of devices named NAME. */
static void check_nothing_left(const char *name)
{
	struct __test_metadata *_metadata = this_test;
	char path[128];

	snprintf(path, sizeof(path), "/sys/class/misc/%s", name);
	EXPECT_NE(0, access(path, F_OK));
	snprintf(path, sizeof(path), "/dev/%s", name);
	EXPECT_NE(0, access(path, F_OK));
	EXPECT_NE(0, access(DEBUGFS "/rust_ipc", F_OK));
	EXPECT_EQ(NULL, shrinker_file("scan"));
	EXPECT_FALSE(is_loaded());
	EXPECT_FALSE(file_has("/proc/slabinfo", "rust_ipc"));
	EXPECT_FALSE(file_has("/proc/modules", "rust_ipc"));
	EXPECT_FALSE(file_has("/proc/misc", name));
}

/* Starts over with peers and their memory. */
static void forget_peers(void)
{
	struct __test_metadata *_metadata = this_test;
	int i;

	for (i = 0; i < arena.peer_count; i++)
		kill_process(arena.peers[i]);
	ASSERT_EQ(0, madvise(arena.start, ARENA_LEN, MADV_REMOVE));
	arena.peer_count = 0;
	arena.free = arena.start;
}

static void reload(void)
{
	if (!is_loaded())
		load(getenv("RUST_IPC_PARAMS") ?: "");
}

FIXTURE(lifecycle) {
};

FIXTURE_SETUP(lifecycle)
{
	this_test = _metadata;
	require_rust_ipc();
	at_teardown = reload;
	if (is_loaded())
		unload_soon();
	check_nothing_left("rust_ipc");
}

FIXTURE_TEARDOWN(lifecycle)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* A manager and a client that talk, die, and leave it to others to clean up. */
static void work(size_t len)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *server = manager_with("server", 4 << 20), *client = member("client");
	__u8 *bytes = arena_alloc(len);

	memset(bytes, 0x61, len);
	round_trip(client, server);
	exchange(client, server, bytes, len, AREA_LEN < len ? AREA_LEN : len);
	/* What is unread, unfreed and unanswered goes with them. */
	bc_message(client, BC_TRANSACTION, 1, TF_ONE_WAY, bytes, len / 2);
	bc_message(client, BC_TRANSACTION, 2, TF_ONE_WAY, bytes, len / 4);
	ASSERT_EQ(0, transact(client));
	take_call(server);
	call(client, 3, "unanswered", 10);
	start_transact(client);
	take_call(server);
}

/* Pages that are free, and that each CPU keeps for itself. */
static long pages_kept(void)
{
	char *text = malloc(1 << 20), *at = text;
	long pages = 0;

	if (text && read_text("/proc/zoneinfo", text, 1 << 20) > 0)
		while ((at = strstr(at, "count:")))
			pages += strtol(at += 6, NULL, 10);
	free(text);
	return pages;
}

/* KiB that are not to be had any more. */
static long memory_used(void)
{
	drop_caches();
	return read_number("/proc/meminfo", "MemTotal:") - read_number("/proc/meminfo", "MemFree:") -
	       read_number("/proc/meminfo", "Buffers:") - read_number("/proc/meminfo", "Cached:") -
	       pages_kept() * 4;
}

#define ROUNDS 100

/* So many rounds, or fewer where each takes long. */
static bool goes_on(int round, int rounds, __u64 since)
{
	return round < rounds && (round < 5 || now_ns() - since < 50 * 1000000000ULL);
}

static void load_and_unload(int round)
{
	struct __test_metadata *_metadata = this_test;

	step("round %d", round);
	ASSERT_EQ(0, load(""));
	ASSERT_EQ(0, access("/sys/class/misc/rust_ipc", F_OK));
	work(1 << 20);
	ASSERT_EQ(-EAGAIN, unload());
	forget_peers();
	unload_soon();
	check_nothing_left("rust_ipc");
}

TEST_F_TIMEOUT(lifecycle, hundred_times, 200)
{
	long slab, used, vmalloc, percpu;
	__u64 since = now_ns();
	int rounds, round;

	for (rounds = 0; goes_on(rounds, ROUNDS / 2, since); rounds++)
		load_and_unload(rounds);
	/* After the first rounds all that is made once has been made. */
	used = memory_used();
	slab = read_number("/proc/meminfo", "Slab:");
	vmalloc = read_number("/proc/meminfo", "VmallocUsed:");
	percpu = read_number("/proc/meminfo", "Percpu:");
	for (round = 0; round < rounds; round++)
		load_and_unload(rounds + round);
	used = memory_used() - used;
	slab = read_number("/proc/meminfo", "Slab:") - slab;
	vmalloc = read_number("/proc/meminfo", "VmallocUsed:") - vmalloc;
	percpu = read_number("/proc/meminfo", "Percpu:") - percpu;
	TH_LOG("more used after %d rounds: %ld KiB, slab %ld KiB, vmalloc %ld KiB, percpu %ld KiB",
	       rounds, used, slab, vmalloc, percpu);
	/*
	 * A page a round would be 200. The kernel takes memory for modules in
	 * pieces of 4 MiB, which it keeps. One that watches memory keeps notes, and
	 * what was freed, in slabs; but it counts what Rust code has.
	 */
	if (access("/proc/allocinfo", F_OK)) {
		EXPECT_GT(400, slab);
	} else {
		used -= slab;
	}
	EXPECT_GT(200, vmalloc);
	EXPECT_GE(64, percpu);
	EXPECT_GT((4 << 10) + 200, used);
}

/* It cannot be unloaded while a file is open, or only mapped. */
TEST_F(lifecycle, busy)
{
	struct peer *p;

	ASSERT_EQ(0, load(""));
	p = member("process");
	EXPECT_EQ(-EAGAIN, unload());
	ASSERT_EQ(0, peer_syscall(p, SYS_close, p->fd));
	EXPECT_EQ(-EAGAIN, unload());
	ASSERT_EQ(0, peer_syscall(p, SYS_munmap, p->area, AREA_LEN));
	unload_soon();
	check_nothing_left("rust_ipc");

	/* Nor while somebody waits in it. */
	ASSERT_EQ(0, load(""));
	EXPECT_EQ(-EEXIST, load(""));
	p = manager("server");
	start_receive(p);
	EXPECT_EQ(-EAGAIN, unload());
	kill_process(p);
	unload_soon();
	check_nothing_left("rust_ipc");
}

/* Each device is a world of its own; but processes are frozen on all of them. */
TEST_F(lifecycle, devices)
{
	static const char *const paths[] = { "/dev/rust_ipc_a", "/dev/rust_ipc_b", "/dev/rust_ipc_c" };
	struct peer *servers[3], *clients[3];
	__u32 handle;
	int i;

	ASSERT_EQ(0, load("devices=rust_ipc_a,rust_ipc_b,rust_ipc_c"));
	EXPECT_NE(0, access("/dev/rust_ipc", F_OK));
	for (i = 0; i < 3; i++) {
		servers[i] = new_process("server");
		ASSERT_TRUE(eventually(open_path(servers[i], paths[i], 0) >= 0));
		ASSERT_EQ(0, map_area(servers[i], AREA_LEN));
		settle(servers[i]);
		clients[i] = new_process("client");
		ASSERT_LE(0, open_path(clients[i], paths[i], 0));
		ASSERT_EQ(0, map_area(clients[i], AREA_LEN));
		settle(clients[i]);
		call(clients[i], 0, NULL, 0);
		ASSERT_REFUSED(clients[i], BR_DEAD_REPLY, -EINVAL);
	}
	become_manager(servers[0], NULL);
	become_manager(servers[2], NULL);
	call(clients[1], 0, NULL, 0);
	ASSERT_REFUSED(clients[1], BR_DEAD_REPLY, -EINVAL);
	become_manager(servers[1], NULL);
	for (i = 0; i < 3; i++)
		round_trip(clients[i], servers[i]);
	/* Even the manager of one is nobody in another. */
	ASSERT_LE(0, open_path(servers[0], paths[1], 0));
	ASSERT_EQ(0, map_area(servers[0], AREA_LEN));
	settle(servers[0]);
	round_trip(servers[0], servers[1]);
	EXPECT_EQ(-EBUSY, peer_ioctl(servers[0], BINDER_SET_CONTEXT_MGR, NULL));
	handle = offer(servers[0], servers[1], 0x1000, 0x1001);
	ASSERT_EQ(0, freeze(clients[2], servers[0]));
	call(clients[0], 0, NULL, 0);
	ASSERT_REFUSED(clients[0], BR_FROZEN_REPLY, 0);
	ASSERT_FROZEN_INFO(clients[2], servers[0], REFUSED, 0);
	call_with(servers[1], handle, NULL);
	ASSERT_REFUSED(servers[1], BR_FROZEN_REPLY, 0);
	ASSERT_EQ(0, thaw(clients[1], servers[0]));
	reaches(servers[1], handle, servers[0], 0x1000, 0x1001);
	kill_process(servers[1]);
	await_no_manager(clients[1]);
	round_trip(clients[2], servers[2]);
	forget_peers();
	unload_soon();
	for (i = 0; i < 3; i++)
		check_nothing_left(paths[i] + 5);
}

TEST_F(lifecycle, max_area)
{
	static const struct {
		const char *parameter;
		size_t usable;
	} cases[] = {
		{ "max_area_bytes=4096", PAGE },
		{ "max_area_bytes=1048576", 1 << 20 },
		{ "max_area_bytes=67108864", 8 << 20 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		struct peer *server, *client;
		__u8 *bytes = arena_alloc((8 << 20) + 8);

		step("%s", cases[i].parameter);
		ASSERT_EQ(0, load(cases[i].parameter));
		server = manager_with("server", 8 << 20);
		client = member("client");
		call_at(client, 1, bytes, cases[i].usable + 8);
		ASSERT_REFUSED(client, BR_FAILED_REPLY, -ENOSPC);
		exchange(client, server, bytes, cases[i].usable, 0);
		forget_peers();
		unload_soon();
	}
}

/* Parameters that make no sense keep the module out, and nothing of it stays. */
TEST_F(lifecycle, bad_parameters)
{
	static const struct {
		const char *parameters;
		int error;
	} cases[] = {
		{ "max_area_bytes=0", -EINVAL },
		{ "max_area_bytes=4095", -EINVAL },
		{ "max_area_bytes=4097", -EINVAL },
		{ "max_area_bytes=-1", -EINVAL },
		{ "max_area_bytes=67112960", -EINVAL },
		{ "max_area_bytes=18446744073709547520", -EINVAL },
		{ "max_area_bytes=nonsense", -EINVAL },
		{ "devices=", -EINVAL },
		{ "devices=rust_ipc,", -EINVAL },
		{ "devices=,rust_ipc", -EINVAL },
		{ "devices=rust_ipc,rust_ipc", -EINVAL },
		{ "devices=rust_ipc,a/b", -EINVAL },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		step("%s", cases[i].parameters);
		EXPECT_EQ(cases[i].error, load(cases[i].parameters)) {
			TH_LOG("%s", cases[i].parameters);
		}
		check_nothing_left("rust_ipc");
	}
	/* What it does not know, the kernel mentions, and goes on. */
	ASSERT_EQ(0, load(""));
	work(64 << 10);
	forget_peers();
	unload_soon();
}

/* Unloaded as soon as that is possible, when files, areas and threads are just being cleaned up. */
TEST_F_TIMEOUT(lifecycle, unload_after_deaths, 400)
{
	int round, i;

	for (round = 0; round < 15; round++) {
		struct peer *server, *clients[6];

		step("round %d", round);
		ASSERT_EQ(0, load(""));
		server = manager_with("server", 1 << 20);
		for (i = 0; i < 6; i++) {
			clients[i] = member("client");
			call(clients[i], 1, "x", 1);
			start_transact(clients[i]);
		}
		for (i = 0; i < arena.peer_count; i++)
			kill(arena.peers[i]->pid, SIGKILL);
		/* Not waiting for their end. */
		while (unload() == -EAGAIN)
			sched_yield();
		EXPECT_FALSE(is_loaded());
		for (i = 0; i < arena.peer_count; i++)
			await_exit(arena.peers[i]);
		forget_peers();
		ASSERT_NE(NULL, server);
	}
	check_nothing_left("rust_ipc");
}

/* A counter's file outlives the counter. */
TEST_F(lifecycle, debugfs_held)
{
	char text[64];
	int fd;

	ASSERT_EQ(0, load(""));
	fd = open(DEBUGFS "/rust_ipc/reclaim/zapped", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_LT(0, read(fd, text, sizeof(text)));
	/* It may keep the module, or lose its counter; nothing else. */
	while (unload() == -EAGAIN && fd >= 0) {
		close(fd);
		fd = -1;
	}
	if (fd >= 0) {
		EXPECT_EQ(-1, pread(fd, text, sizeof(text), 0));
		close(fd);
	}
	EXPECT_TRUE(eventually(!is_loaded() || !unload()));
	check_nothing_left("rust_ipc");
}

struct busybody {
	int stop;
	long done;
	char path[64];
};

/* Opens and maps the device whenever it is there. */
static long do_open_close(struct peer *p, void *arg)
{
	struct busybody *b = arg;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		int fd = open(b->path, O_RDWR | O_CLOEXEC);
		void *area;

		if (fd < 0) {
			if (errno != ENOENT && errno != ENODEV && errno != ENXIO)
				return -errno;
			continue;
		}
		area = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
		if (area == MAP_FAILED || ioctl(fd, BINDER_SET_CONTEXT_MGR, NULL) ||
		    munmap(area, PAGE) || close(fd))
			return -errno;
		b->done++;
	}
	return 0;
}

static long do_drop_caches(struct peer *p, void *arg)
{
	struct busybody *b = arg;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		long ret = try_drop_caches();

		if (ret)
			return ret;
		b->done++;
	}
	return 0;
}

/* Loads and unloads while B's work goes on, and has it done some of that meanwhile. */
static void reload_beside(long (*fn)(struct peer *p, void *arg), bool works)
{
	struct __test_metadata *_metadata = this_test;
	struct busybody *b = arena_alloc(sizeof(*b));
	struct peer *p = new_process("busybody");
	__u64 since = now_ns();
	int round;

	*b = (struct busybody) { .path = "/dev/rust_ipc" };
	peer_start(p, fn, b);
	for (round = 0; goes_on(round, 20, since); round++) {
		__u8 *scratch = arena.free;
		long done = b->done;

		step("round %d", round);
		ASSERT_EQ(0, load(""));
		if (works) {
			work(256 << 10);
			while (arena.peer_count > 1)
				kill_process(arena.peers[--arena.peer_count]);
			arena.free = scratch;
		}
		ASSERT_TRUE(eventually(b->done > done));
		unload_soon();
		ASSERT_FALSE(peer_done(p));
	}
	__atomic_store_n(&b->stop, 1, __ATOMIC_RELAXED);
	ASSERT_EQ(0, peer_finish(p));
	check_nothing_left("rust_ipc");
}

/* A file of debugfs that is open keeps the module, and can be read on. */
TEST_F(lifecycle, reader_keeps_the_module)
{
	static const char *const files[] = {
		"state", "stats", "transactions", "transaction_log", "failed_transaction_log",
	};
	struct peer *p;
	char path[64], byte;
	size_t i;
	int fd;

	ASSERT_EQ(0, load(""));
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		p = manager("somebody");
		call(p, 1, NULL, 0);
		ASSERT_EQ(0, transact(p));
		snprintf(path, sizeof(path), DEBUGFS "/rust_ipc/%s", files[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		ASSERT_LE(0, fd);
		ASSERT_NE(-1, read(fd, &byte, 1));
		forget_peers();
		/* Until the last file of the device is closed, it would be refused anyway. */
		ASSERT_TRUE(eventually(!file_has(DEBUGFS "/rust_ipc/state", "proc ")));
		ASSERT_EQ(-EAGAIN, unload());
		ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
		ASSERT_NE(-1, read(fd, &byte, 1));
		ASSERT_EQ(-EAGAIN, unload());
		close(fd);
	}
	unload_soon();
	check_nothing_left("rust_ipc");
}

TEST_F_TIMEOUT(lifecycle, unload_beside_opener, 100)
{
	reload_beside(do_open_close, false);
}

TEST_F_TIMEOUT(lifecycle, unload_beside_reclaim, 100)
{
	reload_beside(do_drop_caches, true);
}

TEST_HARNESS_MAIN
