// SPDX-License-Identifier: GPL-2.0
/*
 * What the two drivers are meant to do differently, as far as the scripts of the
 * oracle cannot show it: each test runs on both. It is named after its entry in
 * Documentation/differences.rst.
 */
#include <stddef.h>

#include "gather.h"
#include "memory.h"
#include "rust_ipc.h"
#include "slow.h"

FIXTURE(driver) {
	bool is_c;
};

FIXTURE_VARIANT(driver) {
	const char *device, *oracle;
};

FIXTURE_VARIANT_ADD(driver, c) { "/dev/c_binder", "1" };
FIXTURE_VARIANT_ADD(driver, ours) { "/dev/rust_ipc", "0" };

FIXTURE_SETUP(driver)
{
	this_test = _metadata;
	if (access(variant->device, F_OK))
		SKIP(return, "there is no %s", variant->device);
	setenv("RUST_IPC_DEV", variant->device, 1);
	setenv("RUST_IPC_ORACLE", variant->oracle, 1);
	self->is_c = oracle();
}

FIXTURE_TEARDOWN(driver)
{
	ipc_teardown(_metadata, NULL, NULL);
}

/* The number of a message of P's that fails. */
static __u32 failed_id(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_extended_error error;

	call(p, 1, NULL, 0)->tr.target.handle = 1234;
	ASSERT_EQ(0, transact(p));
	ASSERT_BR(p, BR_FAILED_REPLY);
	error = extended_error(p);
	EXPECT_EQ(-EINVAL, error.param);
	return error.id;
}

/* All processes' messages, or a process's own. */
TEST_F(driver, error_ids)
{
	struct peer *one = member("one"), *other = member("other");
	__u32 ids[4] = { failed_id(one), failed_id(other), failed_id(one), failed_id(other) };

	if (self->is_c) {
		EXPECT_LT(ids[0], ids[1]);
		EXPECT_LT(ids[1], ids[2]);
		EXPECT_LT(ids[2], ids[3]);
	} else {
		EXPECT_EQ(1, ids[0]);
		EXPECT_EQ(1, ids[1]);
		EXPECT_EQ(2, ids[2]);
		EXPECT_EQ(2, ids[3]);
	}
}

/*
 * An array's parent is changed after it was read and before the array is: the
 * array is on a page that is not there yet.
 */
TEST_F(driver, arrays_once)
{
	struct peer *server = files_manager("server"), *client = member("client");
	struct peer *helper = new_thread(client, "helper");
	struct slow slow = make_slow(client);
	struct {
		__u64 text;
		struct binder_buffer_object parent;
		struct binder_fd_array_object array;
	} payload = {
		.parent = { .hdr.type = BINDER_TYPE_PTR, .length = 8 },
		.array = { .hdr.type = BINDER_TYPE_FDA, .num_fds = 1, .parent_offset = 4 },
	};
	const __u64 offsets[] = {
		offsetof(typeof(payload), parent), offsetof(typeof(payload), array),
	};
	const __u64 at = slow.page - offsetof(typeof(payload), array), room = 8;
	struct binder_transaction_data tr = {
		.flags = TF_ONE_WAY,
		.data_size = sizeof(payload),
		.offsets_size = sizeof(offsets),
		.data.ptr.buffer = at,
		.data.ptr.offsets = (uintptr_t)arena_copy(offsets, sizeof(offsets)),
	};
	struct copy_args change = {
		(void *)(uintptr_t)(at + offsets[0] + offsetof(struct binder_buffer_object, buffer)),
		arena_alloc(8), 8,
	};
	struct copy_args begin = { (void *)(uintptr_t)at, NULL, sizeof(payload) - sizeof(payload.array) };
	const struct binder_buffer_object *parent;
	const struct binder_transaction_data *got;
	__u32 *bytes[2];
	int i, fds[2];
	const int *seen;

	for (i = 0; i < 2; i++) {
		fds[i] = peer_syscall(client, SYS_memfd_create, arena_copy("file", 5), 0);
		ASSERT_LE(0, fds[i]);
		bytes[i] = arena_alloc(8);
		bytes[i][0] = i;
		bytes[i][1] = fds[i];
	}
	payload.parent.buffer = (uintptr_t)bytes[0];
	*(__u64 *)change.from = (uintptr_t)bytes[1];
	begin.from = arena_copy(&payload, sizeof(payload));
	ASSERT_EQ(0, peer_run(client, do_copy, arena_copy(&begin, sizeof(begin))));

	bc(client, BC_TRANSACTION_SG);
	put(client, &tr, sizeof(tr));
	put(client, &room, sizeof(room));
	start_transact(client);
	ASSERT_EQ(0, peer_run(helper, do_copy, arena_copy(&change, sizeof(change))));
	fill_slow_with(helper, &slow, &payload.array, sizeof(payload.array));
	ASSERT_EQ(0, finish(client));
	ASSERT_BR(client, BR_TRANSACTION_COMPLETE);

	got = take_call(server);
	parent = peer_memory(server, got->data.ptr.buffer + offsets[0], sizeof(*parent));
	ASSERT_NE(NULL, parent);
	seen = peer_memory(server, parent->buffer, 8);
	ASSERT_NE(NULL, seen);
	/* The buffer is the one that was there first; so is the number, or not. */
	EXPECT_EQ(0, seen[0]);
	EXPECT_TRUE(same_file(client, fds[self->is_c ? 1 : 0], server, seen[1]));
	EXPECT_FALSE(same_file(client, fds[self->is_c ? 0 : 1], server, seen[1]));
}

/* Whoever closes the last file finds, or not, that it is closed. */
TEST_F(driver, release_now)
{
	struct peer *server = manager("server"), *client = member("client");

	round_trip(client, server);
	ASSERT_EQ(0, peer_syscall(server, SYS_close, server->fd));
	ASSERT_EQ(0, peer_syscall(server, SYS_munmap, server->area, AREA_LEN));
	if (self->is_c) {
		await_no_manager(client);
	} else {
		call(client, 1, NULL, 0);
		ASSERT_REFUSED(client, BR_DEAD_REPLY, -EINVAL);
	}
	round_trip(client, manager("successor"));
}

#define BIG (3UL << 20)
#define MIB (1L << 20)
#define AREA (4UL << 20)

/* A manager in a control group of its own, with idle pages for BIG bytes; and somebody else. */
static struct peer *idle_manager(const char *group, struct peer **client)
{
	struct __test_metadata *_metadata = this_test;
	struct peer *server = new_process("server");
	__u8 *bytes = arena_alloc(BIG);

	memset(bytes, 0x2e, BIG);
	enter_group(server, group);
	ASSERT_LE(0, open_device(server, 0));
	ASSERT_EQ(0, map_area(server, AREA));
	settle(server);
	become_manager(server, NULL);
	*client = member("client");
	round_trip(*client, server);
	exchange(*client, server, bytes, BIG, 0);
	return server;
}

/* Idle pages of P's area. */
static long idle_pages(struct peer *p)
{
	struct __test_metadata *_metadata = this_test;
	struct rust_ipc_area_info *info = arena_alloc(sizeof(*info));
	char name[32], text[16384], *at;
	long active, idle;

	if (!oracle()) {
		ASSERT_EQ(0, peer_ioctl(p, RUST_IPC_GET_AREA_INFO, info));
		return info->pages_idle;
	}
	snprintf(name, sizeof(name), "proc %d\n", p->pid);
	ASSERT_LT(0, read_text(DEBUGFS "/binder/stats", text, sizeof(text)));
	at = strstr(text, name);
	ASSERT_NE(NULL, at);
	at = strstr(at, "pages: ");
	ASSERT_NE(NULL, at);
	ASSERT_EQ(2, sscanf(at, "pages: %ld:%ld:", &active, &idle));
	return idle;
}

/* Who pays for the pages of an area. */
TEST_F(driver, area_charge)
{
	const char *group = make_group("receiver");
	struct peer *client, *server = idle_manager(group, &client);
	long usage = group_number(group, "memory.current", NULL);

	ASSERT_LE((long)(BIG / PAGE), idle_pages(server));
	if (self->is_c) {
		EXPECT_GT(BIG - MIB, usage);
	} else {
		EXPECT_LT(BIG, usage);
	}
}

/* Whose memory pressure an area's idle pages are there for. */
TEST_F(driver, reclaim_own)
{
	const char *group = make_group("receiver");
	struct peer *client, *server = idle_manager(group, &client);
	long idle = idle_pages(server);
	int i;

	ASSERT_LE((long)(BIG / PAGE), idle);
	/* An error says that there was less to be had. */
	for (i = 0; i < 3; i++)
		write_text(group_file(group, "memory.reclaim"), "4M");
	EXPECT_EQ(self->is_c ? idle : 0, idle_pages(server));
	/* With everybody's they are reclaimed in either. */
	for (i = 0; i < 3; i++)
		drop_caches();
	EXPECT_EQ(0, idle_pages(server));
}

/* Whether a mapping is part of core dumps: "dd" says no. */
TEST_F(driver, area_dump)
{
	struct peer *server = member("server");
	const char *flags = area_flags(server);

	EXPECT_EQ(self->is_c, !strstr(flags, " dd"));
}

/* The module's name, and a parameter of it in sysfs. */
static const char *parameter(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s",
		 oracle() ? "binder_linux" : "rust_ipc", name);
	return path;
}

TEST_F(driver, no_stop)
{
	EXPECT_EQ(self->is_c, !access(parameter("stop_on_user_error"), F_OK));
}

TEST_F(driver, observability)
{
	EXPECT_EQ(0, access(self->is_c ? DEBUGFS "/binder/state" : DEBUGFS "/rust_ipc/state", F_OK));
	EXPECT_EQ(self->is_c, !access(self->is_c ? DEBUGFS "/binder/state_hashed" :
				      DEBUGFS "/rust_ipc/state_hashed", F_OK));
}

/* The C driver cannot be unloaded although nobody uses it. (For ours see lifecycle.) */
TEST(unload)
{
	if (access("/dev/c_binder", F_OK))
		SKIP(return, "there is no C driver");
	EXPECT_EQ(-1, syscall(SYS_delete_module, "binder_linux", O_NONBLOCK));
	EXPECT_EQ(EBUSY, errno);
}

/* Makes a mistake, and says whether the kernel's log tells of it. */
static bool is_logged(struct peer *p, int log)
{
	struct __test_metadata *_metadata = this_test;
	bool is_said = false;
	char line[8192];
	ssize_t len;

	free_buffer(p, 0x1000);
	ASSERT_EQ(0, submit(p));
	while ((len = read(log, line, sizeof(line) - 1)) > 0) {
		line[len] = 0;
		is_said = is_said || strstr(line, "BC_FREE_BUFFER");
	}
	return is_said;
}

TEST_F(driver, no_log)
{
	struct peer *p = member("member");
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	ASSERT_LE(0, log);
	ASSERT_EQ(0, lseek(log, 0, SEEK_END));
	/* Not everything is said: so many lines in so many seconds. */
	if (self->is_c) {
		EXPECT_TRUE(eventually(is_logged(p, log)));
	} else {
		EXPECT_FALSE(is_logged(p, log));
	}
	close(log);
}

TEST_HARNESS_MAIN
