/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Messages that point to buffers, which point to others and have descriptors in
 * them: building and sending.
 */
#ifndef RUST_IPC_SELFTESTS_GATHER_H
#define RUST_IPC_SELFTESTS_GATHER_H

#include "files.h"

static inline struct binder_buffer_object *add_buffer_object(struct parcel *m, __u32 flags,
							     const void *bytes, size_t len,
							     __u64 parent, __u64 offset)
{
	struct binder_buffer_object object = {
		.hdr.type = BINDER_TYPE_PTR, .flags = flags, .buffer = (uintptr_t)bytes,
		.length = len, .parent = parent, .parent_offset = offset,
	};

	add_offset(m, m->len);
	return add_bytes(m, &object, sizeof(object));
}

/* BYTES are in the arena, or wherever the sender can read them. */
static inline struct binder_buffer_object *add_root(struct parcel *m, const void *bytes,
						    size_t len)
{
	return add_buffer_object(m, 0, bytes, len, 0, 0);
}

static inline struct binder_buffer_object *add_child(struct parcel *m, const void *bytes,
						     size_t len, __u64 parent, __u64 offset)
{
	return add_buffer_object(m, BINDER_BUFFER_FLAG_HAS_PARENT, bytes, len, parent, offset);
}

static inline struct binder_fd_array_object *add_array(struct parcel *m, __u64 count,
						       __u64 parent, __u64 offset)
{
	struct binder_fd_array_object object = {
		.hdr.type = BINDER_TYPE_FDA, .num_fds = count, .parent = parent,
		.parent_offset = offset,
	};

	add_offset(m, m->len);
	return add_bytes(m, &object, sizeof(object));
}

/* LEN bytes in the arena that are different each time, and no file descriptors. */
static inline __u8 *new_bytes(size_t len)
{
	static __u64 seed;
	__u8 *bytes = arena_alloc(len);
	size_t i;

	for (i = 0; i < len; i++)
		bytes[i] = 0x80 | pattern_word(seed, i) >> 33;
	seed += len;
	return bytes;
}

/* A buffer that begins with these numbers. */
static inline __u32 *new_numbers(size_t len, int count, const int *numbers)
{
	__u8 *bytes = new_bytes(len);

	memcpy(bytes, numbers, count * sizeof(*numbers));
	return (__u32 *)bytes;
}

/* The room that all buffers of it need. */
static inline size_t room_for(const struct parcel *m)
{
	size_t room = 0, i;

	for (i = 0; i < m->count; i++) {
		const struct binder_buffer_object *o = (const void *)(m->data + m->offsets[i]);

		if (o->hdr.type == BINDER_TYPE_PTR)
			room += (o->length + 7) & ~7ULL;
	}
	return room;
}

/* As bc_parcel(), with the room for buffers. */
static inline struct unaligned_transaction *bc_tree(struct peer *p, __u32 command, __u32 flags,
						    const struct parcel *m, __u64 room)
{
	struct unaligned_transaction *t = bc_parcel(p, command, 0, flags, m);

	put(p, &room, sizeof(room));
	return t;
}

#endif
