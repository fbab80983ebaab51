/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages with objects in them: building, sending, looking at what arrives;
 * and what the driver says of the nodes behind them.
 */
#ifndef RUST_IPC_SELFTESTS_OBJECTS_H
#define RUST_IPC_SELFTESTS_OBJECTS_H

#include "ipc.h"

/* As a libbinder has it: no priority of its own, and files are welcome. */
#define OBJECT_FLAGS (0x7f | FLAT_BINDER_FLAG_ACCEPTS_FDS)

/* ---- building ---------------------------------------------------------- */

/* A payload and its offsets. It lies in the arena, and is read by the driver right there. */
struct parcel {
	size_t len;
	size_t count;
	/* What is announced; as a rule 8 * count. */
	size_t offsets_len;
	__u64 offsets[128];
	__u8 data[8192] __attribute__((aligned(8)));
};

static inline struct parcel *new_parcel(void)
{
	struct parcel *m = arena_alloc(sizeof(*m));

	m->len = m->count = m->offsets_len = 0;
	return m;
}

static inline void add_offset(struct parcel *m, __u64 offset)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_LT(m->count, ARRAY_SIZE(m->offsets));
	m->offsets[m->count++] = offset;
	m->offsets_len = m->count * sizeof(m->offsets[0]);
}

static inline void *add_bytes(struct parcel *m, const void *bytes, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	void *at = m->data + m->len;

	ASSERT_LE(m->len + len, sizeof(m->data));
	memcpy(at, bytes, len);
	m->len += len;
	return at;
}

/* An object at the end of the payload so far, which must be at a multiple of 4, and its offset. */
static inline struct flat_binder_object *add_object(struct parcel *m, __u32 type, __u32 flags,
						    __u64 value, __u64 cookie)
{
	struct flat_binder_object object = {
		.hdr.type = type, .flags = flags, .binder = value, .cookie = cookie,
	};

	add_offset(m, m->len);
	return add_bytes(m, &object, sizeof(object));
}

static inline void add_binder(struct parcel *m, __u64 ptr, __u64 cookie)
{
	add_object(m, BINDER_TYPE_BINDER, OBJECT_FLAGS, ptr, cookie);
}

static inline void add_weak_binder(struct parcel *m, __u64 ptr, __u64 cookie)
{
	add_object(m, BINDER_TYPE_WEAK_BINDER, OBJECT_FLAGS, ptr, cookie);
}

static inline void add_handle(struct parcel *m, __u32 handle)
{
	add_object(m, BINDER_TYPE_HANDLE, OBJECT_FLAGS, handle, 0);
}

static inline void add_weak_handle(struct parcel *m, __u32 handle)
{
	add_object(m, BINDER_TYPE_WEAK_HANDLE, OBJECT_FLAGS, handle, 0);
}

static inline void add_fd(struct parcel *m, __u32 fd)
{
	add_object(m, BINDER_TYPE_FD, 0, fd, 0);
}

static inline struct parcel *one_object(__u32 type, __u64 value, __u64 cookie)
{
	struct parcel *m = new_parcel();

	add_object(m, type, OBJECT_FLAGS, value, cookie);
	return m;
}

/* LEN bytes in memory of P, right before an address where there is nothing to be read. */
static inline __u64 before_hole(struct peer *p, const void *bytes, size_t len)
{
	struct __test_metadata *_metadata = this_test;
	size_t size = (len + PAGE) & ~(PAGE - 1);
	long at = peer_mmap(p, NULL, size + PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct copy_args copy = { (void *)(at + size - len), bytes, len };

	ASSERT_LT(0, at);
	ASSERT_EQ(0, peer_syscall(p, SYS_munmap, at + size, PAGE));
	ASSERT_EQ(0, peer_run(p, do_copy, arena_copy(&copy, sizeof(copy))));
	return (uintptr_t)copy.to;
}

/* ---- sending ----------------------------------------------------------- */

static inline struct unaligned_transaction *bc_parcel(struct peer *p, __u32 command, __u32 handle,
						      __u32 flags, const struct parcel *m)
{
	struct unaligned_transaction *t = bc_transaction(p, command, 0, flags, NULL, 0);

	t->tr.target.handle = handle;
	if (m) {
		t->tr.data_size = m->len;
		t->tr.offsets_size = m->offsets_len;
		t->tr.data.ptr.buffer = (uintptr_t)m->data;
		t->tr.data.ptr.offsets = (uintptr_t)m->offsets;
	}
	return t;
}

static inline struct unaligned_transaction *call_with(struct peer *p, __u32 handle,
						      const struct parcel *m)
{
	return bc_parcel(p, BC_TRANSACTION, handle, TF_ACCEPT_FDS, m);
}

static inline struct unaligned_transaction *oneway_with(struct peer *p, __u32 handle,
							const struct parcel *m)
{
	return bc_parcel(p, BC_TRANSACTION, handle, TF_ONE_WAY, m);
}

static inline struct unaligned_transaction *reply_with(struct peer *p, const struct parcel *m)
{
	return bc_parcel(p, BC_REPLY, 0, 0, m);
}

/* ---- receiving --------------------------------------------------------- */

/* The object of this index in a message that P has received. */
static inline const struct flat_binder_object *object_of(struct peer *p,
							 const struct binder_transaction_data *tr,
							 size_t index)
{
	struct __test_metadata *_metadata = this_test;
	const void *object;
	const __u64 *offset;

	ASSERT_LT(index, tr->offsets_size / sizeof(*offset)) {
		TH_LOG("%s has %llu bytes of offsets", p->name, tr->offsets_size);
	}
	offset = peer_memory(p, tr->data.ptr.offsets + index * sizeof(*offset), sizeof(*offset));
	ASSERT_NE(NULL, offset);
	ASSERT_LE(*offset + sizeof(struct flat_binder_object), tr->data_size);
	object = peer_memory(p, tr->data.ptr.buffer + *offset, sizeof(struct flat_binder_object));
	ASSERT_NE(NULL, object);
	return object;
}

static inline bool object_is(struct peer *p, const struct binder_transaction_data *tr,
			     size_t index, __u32 type, __u32 flags, __u64 value, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;
	const struct flat_binder_object *o = object_of(p, tr, index);

	if (o->hdr.type == type && o->flags == flags && o->binder == value && o->cookie == cookie)
		return true;
	TH_LOG("%s, object %zu: type 0x%x flags 0x%x value 0x%llx cookie 0x%llx", p->name, index,
	       o->hdr.type, o->flags, o->binder, o->cookie);
	TH_LOG("should be: type 0x%x flags 0x%x value 0x%llx cookie 0x%llx", type, flags, value,
	       cookie);
	return false;
}

/* All that the receiver gets to see of an object with OBJECT_FLAGS. */
#define ASSERT_OBJECT(p, tr, index, type, value, cookie) \
	ASSERT_TRUE(object_is(p, tr, index, type, OBJECT_FLAGS, value, cookie))
#define ASSERT_HANDLE(p, tr, index, handle) \
	ASSERT_OBJECT(p, tr, index, BINDER_TYPE_HANDLE, handle, 0)
#define ASSERT_WEAK_HANDLE(p, tr, index, handle) \
	ASSERT_OBJECT(p, tr, index, BINDER_TYPE_WEAK_HANDLE, handle, 0)

/* Sees to it that P has read this return about this node, as the return of that index. */
#define ASSERT_NODE_BR(p, index, command, node_ptr, node_cookie) do { \
	int __index = (index); \
	ASSERT_LT(__index, (p)->brs); \
	ASSERT_EQ(command, (p)->br[__index].cmd); \
	ASSERT_EQ(node_ptr, (p)->br[__index].node.ptr); \
	ASSERT_EQ(node_cookie, (p)->br[__index].node.cookie); \
} while (0)

static inline void free_message(struct peer *p, const struct binder_transaction_data *tr)
{
	struct __test_metadata *_metadata = this_test;

	free_buffer(p, tr->data.ptr.buffer);
	ASSERT_EQ(0, submit(p));
}

/* Sends it one-way; nothing else is returned than that this is done. */
static inline void send_oneway(struct peer *p, __u32 handle, const struct parcel *m)
{
	struct __test_metadata *_metadata = this_test;

	oneway_with(p, handle, m);
	ASSERT_EQ(0, transact(p));
	ASSERT_BR(p, BR_TRANSACTION_COMPLETE);
}

static inline void acknowledge(struct peer *p, __u64 ptr, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;

	bc_node(p, BC_INCREFS_DONE, ptr, cookie);
	bc_node(p, BC_ACQUIRE_DONE, ptr, cookie);
	ASSERT_EQ(0, submit(p));
}

static inline void count(struct peer *p, __u32 command, __u32 handle)
{
	struct __test_metadata *_metadata = this_test;

	bc_u32(p, command, handle);
	ASSERT_EQ(0, submit(p));
	ASSERT_EQ(8, p->bwr.write_consumed);
}

/*
 * Reads until there were COUNT returns (NOOPs left out), in as many reads as
 * this takes: after the death of somebody, that is cleaned up after in steps.
 */
static inline bool read_all(struct peer *p, const __u32 *want, int count)
{
	struct __test_metadata *_metadata = this_test;
	__u32 seen[16];
	int n = 0, i;

	while (n < count) {
		ASSERT_EQ(0, receive(p));
		for (i = 0; i < p->brs; i++) {
			if (p->br[i].cmd == BR_NOOP)
				continue;
			ASSERT_LT(n, ARRAY_SIZE(seen));
			seen[n++] = p->br[i].cmd;
		}
	}
	for (i = 0; i < n; i++)
		if (i >= count || seen[i] != want[i]) {
			TH_LOG("%s: return %d is %s", p->name, i, br_name(seen[i]));
			return false;
		}
	return true;
}

#define ASSERT_READS(p, ...) do { \
	const __u32 __want[] = { __VA_ARGS__ }; \
	ASSERT_TRUE(read_all(p, __want, ARRAY_SIZE(__want))); \
} while (0)

/* ---- objects on their way ---------------------------------------------- */

/*
 * OWNER, of whom SERVER (the manager) knows nothing yet, lets it have an object
 * of its: the handle. The server holds it strongly, once; all is acknowledged.
 */
static inline __u32 offer_with(struct peer *owner, struct peer *server, __u64 ptr, __u64 cookie,
			       __u32 flags)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;
	struct parcel *m = new_parcel();
	__u32 handle;

	add_object(m, BINDER_TYPE_BINDER, flags, ptr, cookie);
	oneway_with(owner, 0, m);
	ASSERT_EQ(0, transact(owner));
	ASSERT_BR(owner, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	acknowledge(owner, ptr, cookie);
	tr = take_call(server);
	handle = object_of(server, tr, 0)->handle;
	bc_u32(server, BC_ACQUIRE, handle);
	free_message(server, tr);
	return handle;
}

static inline __u32 offer(struct peer *owner, struct peer *server, __u64 ptr, __u64 cookie)
{
	return offer_with(owner, server, ptr, cookie, OBJECT_FLAGS);
}

/* TAKER asks the manager, which replies with M; the message, to be freed. */
static inline struct binder_transaction_data *ask_for(struct peer *taker, struct peer *server,
						      const struct parcel *m)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;

	call_with(taker, 0, NULL);
	start_transact(taker);
	tr = take_call(server);
	free_buffer(server, tr->data.ptr.buffer);
	reply_with(server, m);
	ASSERT_EQ(0, transact(server));
	ASSERT_EQ(BR_TRANSACTION_COMPLETE, server->br[server->brs - 1].cmd);
	ASSERT_EQ(0, finish(taker));
	ASSERT_BR(taker, BR_TRANSACTION_COMPLETE, BR_REPLY);
	return message(taker);
}

/* TAKER gets what the manager names HANDLE: its own name of it, held strongly, once. */
static inline __u32 hand_over(struct peer *server, struct peer *taker, __u32 handle)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;
	__u32 own;

	tr = ask_for(taker, server, one_object(BINDER_TYPE_HANDLE, handle, 0));
	ASSERT_EQ(BINDER_TYPE_HANDLE, object_of(taker, tr, 0)->hdr.type);
	own = object_of(taker, tr, 0)->handle;
	bc_u32(taker, BC_ACQUIRE, own);
	free_message(taker, tr);
	return own;
}

/* The same with an object of the manager's own. It acknowledges the counts. */
static inline __u32 lend(struct peer *server, struct peer *taker, __u64 ptr, __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;
	__u32 own;

	tr = ask_for(taker, server, one_object(BINDER_TYPE_BINDER, ptr, cookie));
	ASSERT_BR(server, BR_INCREFS, BR_ACQUIRE, BR_TRANSACTION_COMPLETE);
	acknowledge(server, ptr, cookie);
	own = object_of(taker, tr, 0)->handle;
	bc_u32(taker, BC_ACQUIRE, own);
	free_message(taker, tr);
	return own;
}

/* CLIENT's call to HANDLE reaches the node of OWNER, and is answered. */
static inline void reaches(struct peer *client, __u32 handle, struct peer *owner, __u64 ptr,
			   __u64 cookie)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_transaction_data *tr;

	call_with(client, handle, NULL);
	start_transact(client);
	tr = take_call(owner);
	ASSERT_EQ(ptr, tr->target.ptr);
	ASSERT_EQ(cookie, tr->cookie);
	answer(owner, tr, &ptr, sizeof(ptr));
	take_reply(client, &ptr, sizeof(ptr));
}

/* The owner of what HANDLE names is gone, and the driver knows. */
static inline void await_dead_oneway(struct peer *p, __u32 handle)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_TRUE(eventually(({
		oneway_with(p, handle, NULL);
		ASSERT_EQ(0, transact(p));
		p->brs == 2 && p->br[1].cmd == BR_DEAD_REPLY;
	})));
}

/* The same by calls. */
static inline void await_dead(struct peer *p, __u32 handle)
{
	struct __test_metadata *_metadata = this_test;

	ASSERT_TRUE(eventually(({
		call_with(p, handle, NULL);
		ASSERT_EQ(0, transact(p));
		p->brs == 2 && p->br[1].cmd == BR_DEAD_REPLY;
	})));
}

/* ---- what the driver says of nodes -------------------------------------- */

#define NO_NODE (-1)
#define TOLD_STRONG 1
#define TOLD_WEAK 2
#define TOLD_BOTH (TOLD_STRONG | TOLD_WEAK)

/* Which counts the owner knows of: TOLD_*, or NO_NODE. The address must not be 0. */
static inline int node_told(struct peer *owner, __u64 ptr)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_node_debug_info *info = arena_alloc(sizeof(*info));

	*info = (struct binder_node_debug_info) { .ptr = ptr - 1 };
	ASSERT_EQ(0, peer_ioctl(owner, BINDER_GET_NODE_DEBUG_INFO, info));
	if (info->ptr != ptr)
		return NO_NODE;
	ASSERT_LE(info->has_strong_ref, 1);
	ASSERT_LE(info->has_weak_ref, 1);
	return (info->has_strong_ref ? TOLD_STRONG : 0) | (info->has_weak_ref ? TOLD_WEAK : 0);
}

/* How many nodes a process has, that of the address 0 left out. */
static inline int node_count(struct peer *owner)
{
	struct __test_metadata *_metadata = this_test;
	struct binder_node_debug_info *info = arena_alloc(sizeof(*info));
	__u64 last = 0;
	int n = -1;

	memset(info, 0, sizeof(*info));
	do {
		ASSERT_EQ(0, peer_ioctl(owner, BINDER_GET_NODE_DEBUG_INFO, info));
		ASSERT_TRUE(!info->ptr || info->ptr > last);
		last = info->ptr;
		n++;
	} while (last);
	return n;
}

struct counts {
	__u32 strong, weak;
};

/* The counts of a node of which the manager has a strong handle. -errno otherwise. */
static inline long node_counts(struct peer *server, __u32 handle, struct counts *counts)
{
	struct binder_node_info_for_ref *info = arena_alloc(sizeof(*info));
	long ret;

	*info = (struct binder_node_info_for_ref) { .handle = handle };
	ret = peer_ioctl(server, BINDER_GET_NODE_INFO_FOR_REF, info);
	*counts = (struct counts) { info->strong_count, info->weak_count };
	return ret;
}

#define ASSERT_COUNTS(p, handle, strong_count, weak_count) do { \
	struct counts __counts; \
	ASSERT_EQ(0, node_counts(p, handle, &__counts)); \
	ASSERT_EQ(strong_count, __counts.strong); \
	ASSERT_EQ(weak_count, __counts.weak); \
} while (0)

/* The manager has no handle of that number, or no strong one. */
#define ASSERT_NO_HANDLE(p, handle) do { \
	struct counts __counts; \
	ASSERT_EQ(-EINVAL, node_counts(p, handle, &__counts)); \
} while (0)

/*
 * True if P has a handle of that number, of that kind (any handle is a
 * WEAK_HANDLE): then it can be sent, to whatever VIA names, and only what comes
 * behind it is refused. Nothing changes.
 */
static inline bool has_handle(struct peer *p, __u32 via, __u32 type, __u32 handle)
{
	struct __test_metadata *_metadata = this_test;
	struct parcel *m = one_object(type, handle, 0);
	struct binder_extended_error error;

	add_fd(m, -1);
	oneway_with(p, via, m);
	ASSERT_EQ(0, transact(p));
	ASSERT_BR(p, BR_FAILED_REPLY);
	error = extended_error(p);
	if (error.param == -EINVAL)
		return false;
	ASSERT_TRUE(error.param == -EPERM || error.param == -EBADF) {
		TH_LOG("extended error %d", error.param);
	}
	return true;
}

#endif
