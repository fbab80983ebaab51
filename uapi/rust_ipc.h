/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * rust_ipc: what the driver adds to the Binder ABI of <linux/android/binder.h>.
 */
#ifndef _UAPI_LINUX_RUST_IPC_H
#define _UAPI_LINUX_RUST_IPC_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct rust_ipc_area_info - the receive area of an open file
 * @start: user address of the area, 0 if it is not mapped
 * @size_bytes: bytes of the mapping that are used, 0 if there never was one
 * @pages_in_use: pages that hold bytes of a live buffer
 * @pages_idle: pages that are present, and kept for the next message until memory gets tight
 * @pages_absent: pages that are not there; touching them is SIGBUS
 * @live_buffers: messages that are being sent, wait to be read, or were read and not freed
 * @oneway_free_bytes: how many more bytes one-way messages may take up
 * @reserved: 0
 *
 * @pages_in_use, @pages_idle and @pages_absent add up to @size_bytes; they may change while they are
 * counted. What is there when the area is unmapped is told of until the file is closed.
 */
struct rust_ipc_area_info {
	__u64 start;
	__u64 size_bytes;
	__u64 pages_in_use;
	__u64 pages_idle;
	__u64 pages_absent;
	__u64 live_buffers;
	__u64 oneway_free_bytes;
	__u64 reserved;
};

/*
 * Tells about the receive area of the file. Errors: EFAULT (the argument cannot be written).
 * Works in every state, from any process that has the file.
 */
#define RUST_IPC_GET_AREA_INFO	_IOR('R', 0x40, struct rust_ipc_area_info)

#endif /* _UAPI_LINUX_RUST_IPC_H */
