// SPDX-License-Identifier: GPL-2.0
/*
 * Short copies from and to userspace, a word at a time. uaccess.rs declares
 * these to Rust, and calls them where words may be at any address.
 *
 * On an x86-64 processor that says it is fast, copy_from_user() and
 * copy_to_user() are a "rep movsb". That is the best there is for pages; for a
 * command, a return or a small message its start takes longer than copying does.
 */
#include <linux/fault-inject-usercopy.h>
#include <linux/uaccess.h>

#define GET(type, to, from, label)						\
	do {									\
		type value;							\
										\
		unsafe_get_user(value, (const type __user *)(from), label);	\
		*(type *)(to) = value;						\
	} while (0)

#define PUT(type, to, from, label)						\
	unsafe_put_user(*(const type *)(from), (type __user *)(to), label)

/* Copies "len" bytes with STEP, which is GET or PUT. */
#define COPY(STEP, to, from, len, label)					\
	do {									\
		size_t at = 0, end = (len);					\
										\
		for (; end - at >= 4 * sizeof(u64); at += 4 * sizeof(u64)) {	\
			STEP(u64, (to) + at, (from) + at, label);		\
			STEP(u64, (to) + at + 8, (from) + at + 8, label);	\
			STEP(u64, (to) + at + 16, (from) + at + 16, label);	\
			STEP(u64, (to) + at + 24, (from) + at + 24, label);	\
		}								\
		for (; end - at >= sizeof(u64); at += sizeof(u64))		\
			STEP(u64, (to) + at, (from) + at, label);		\
		if (end - at >= sizeof(u32)) {					\
			STEP(u32, (to) + at, (from) + at, label);		\
			at += sizeof(u32);					\
		}								\
		for (; at < end; at++)						\
			STEP(u8, (to) + at, (from) + at, label);		\
	} while (0)

bool rust_ipc_read_user(void *to, const void __user *from, size_t len)
{
	might_fault();
	if (should_fail_usercopy())
		return false;
	scoped_user_read_access_size(from, len, fault)
		COPY(GET, to, from, len, fault);
	return true;
fault:
	return false;
}

bool rust_ipc_write_user(void __user *to, const void *from, size_t len)
{
	might_fault();
	if (should_fail_usercopy())
		return false;
	scoped_user_write_access_size(to, len, fault)
		COPY(PUT, to, from, len, fault);
	return true;
fault:
	return false;
}

bool rust_ipc_put_user(u32 value, u32 __user *to)
{
	might_fault();
	if (should_fail_usercopy())
		return false;
	scoped_user_write_access(to, fault)
		unsafe_put_user(value, to, fault);
	return true;
fault:
	return false;
}
