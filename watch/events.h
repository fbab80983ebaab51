/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints of the driver. watch/trace.rs declares them to Rust: names,
 * order and types of the arguments are the same there.
 *
 * Numbers only: process and thread ids (of the initial pid namespace), numbers
 * of messages, nodes and handles, sizes, offsets in a receive area. No
 * addresses, neither the kernel's nor a process's.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rust_ipc
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH watch
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE events

#if !defined(RUST_IPC_WATCH_EVENTS_H) || defined(TRACE_HEADER_MULTI_READ)
#define RUST_IPC_WATCH_EVENTS_H

#include <linux/tracepoint.h>

/*
 * Commands and returns by their numbers, _IOC_NR(): a code itself is an
 * expression that programs which read the formats of events do not understand.
 * events.c checks them.
 */
#define RUST_IPC_COMMANDS(X)				\
	X(0, BC_TRANSACTION)				\
	X(1, BC_REPLY)					\
	X(3, BC_FREE_BUFFER)				\
	X(4, BC_INCREFS)				\
	X(5, BC_ACQUIRE)				\
	X(6, BC_RELEASE)				\
	X(7, BC_DECREFS)				\
	X(8, BC_INCREFS_DONE)				\
	X(9, BC_ACQUIRE_DONE)				\
	X(11, BC_REGISTER_LOOPER)			\
	X(12, BC_ENTER_LOOPER)				\
	X(13, BC_EXIT_LOOPER)				\
	X(14, BC_REQUEST_DEATH_NOTIFICATION)		\
	X(15, BC_CLEAR_DEATH_NOTIFICATION)		\
	X(16, BC_DEAD_BINDER_DONE)			\
	X(17, BC_TRANSACTION_SG)			\
	X(18, BC_REPLY_SG)				\
	X(19, BC_REQUEST_FREEZE_NOTIFICATION)		\
	X(20, BC_CLEAR_FREEZE_NOTIFICATION)		\
	X(21, BC_FREEZE_NOTIFICATION_DONE)
#define RUST_IPC_RETURNS(X)				\
	X(0, BR_ERROR)					\
	X(2, BR_TRANSACTION)				\
	X(3, BR_REPLY)					\
	X(5, BR_DEAD_REPLY)				\
	X(6, BR_TRANSACTION_COMPLETE)			\
	X(7, BR_INCREFS)				\
	X(8, BR_ACQUIRE)				\
	X(9, BR_RELEASE)				\
	X(10, BR_DECREFS)				\
	X(12, BR_NOOP)					\
	X(13, BR_SPAWN_LOOPER)				\
	X(15, BR_DEAD_BINDER)				\
	X(16, BR_CLEAR_DEATH_NOTIFICATION_DONE)		\
	X(17, BR_FAILED_REPLY)				\
	X(18, BR_FROZEN_REPLY)				\
	X(19, BR_ONEWAY_SPAM_SUSPECT)			\
	X(20, BR_TRANSACTION_PENDING_FROZEN)		\
	X(21, BR_FROZEN_BINDER)				\
	X(22, BR_CLEAR_FREEZE_NOTIFICATION_DONE)
#define RUST_IPC_NAMED(number, name) { number, #name },
#define rust_ipc_print_command(code) \
	__print_symbolic(code & 0xff, RUST_IPC_COMMANDS(RUST_IPC_NAMED) { 0xff, "none" })
#define rust_ipc_print_return(code) \
	__print_symbolic(code & 0xff, RUST_IPC_RETURNS(RUST_IPC_NAMED) { 0xff, "none" })

/* trace::Step */
#define rust_ipc_print_step(step)						\
	__print_symbolic(step, { 0, "requested" }, { 1, "queued" }, { 2, "told" },	\
			 { 3, "acknowledged" }, { 4, "cleared" }, { 5, "ended" },	\
			 { 6, "dropped" })

TRACE_EVENT(rust_ipc_ioctl,
	TP_PROTO(u32 command),
	TP_ARGS(command),
	TP_STRUCT__entry(
		__field(u32, command)
	),
	TP_fast_assign(
		__entry->command = command;
	),
	TP_printk("command=0x%x", __entry->command)
);

TRACE_EVENT(rust_ipc_ioctl_done,
	TP_PROTO(s32 result),
	TP_ARGS(result),
	TP_STRUCT__entry(
		__field(s32, result)
	),
	TP_fast_assign(
		__entry->result = result;
	),
	TP_printk("result=%d", __entry->result)
);

TRACE_EVENT(rust_ipc_command,
	TP_PROTO(u32 code),
	TP_ARGS(code),
	TP_STRUCT__entry(
		__field(u32, code)
	),
	TP_fast_assign(
		__entry->code = code;
	),
	TP_printk("code=%s", rust_ipc_print_command(__entry->code))
);

TRACE_EVENT(rust_ipc_return,
	TP_PROTO(u32 code),
	TP_ARGS(code),
	TP_STRUCT__entry(
		__field(u32, code)
	),
	TP_fast_assign(
		__entry->code = code;
	),
	TP_printk("code=%s", rust_ipc_print_return(__entry->code))
);

TRACE_EVENT(rust_ipc_wait_for_work,
	TP_PROTO(bool for_process, bool for_reply),
	TP_ARGS(for_process, for_reply),
	TP_STRUCT__entry(
		__field(bool, for_process)
		__field(bool, for_reply)
	),
	TP_fast_assign(
		__entry->for_process = for_process;
		__entry->for_reply = for_reply;
	),
	TP_printk("for_process=%d for_reply=%d", __entry->for_process, __entry->for_reply)
);

TRACE_EVENT(rust_ipc_transaction,
	TP_PROTO(s32 from_tgid, u32 id, s32 to_tgid, s32 to_tid, u32 node, bool reply, u32 code,
		 u32 flags, u64 data_size, u64 offsets_size),
	TP_ARGS(from_tgid, id, to_tgid, to_tid, node, reply, code, flags, data_size, offsets_size),
	TP_STRUCT__entry(
		__field(s32, from_tgid)
		__field(u32, id)
		__field(s32, to_tgid)
		__field(s32, to_tid)
		__field(u32, node)
		__field(u32, code)
		__field(u32, flags)
		__field(bool, reply)
		__field(u64, data_size)
		__field(u64, offsets_size)
	),
	TP_fast_assign(
		__entry->from_tgid = from_tgid;
		__entry->id = id;
		__entry->to_tgid = to_tgid;
		__entry->to_tid = to_tid;
		__entry->node = node;
		__entry->code = code;
		__entry->flags = flags;
		__entry->reply = reply;
		__entry->data_size = data_size;
		__entry->offsets_size = offsets_size;
	),
	TP_printk("transaction=%d:%u to=%d:%d node=%u reply=%d code=0x%x flags=0x%x data_size=%llu offsets_size=%llu",
		  __entry->from_tgid, __entry->id, __entry->to_tgid, __entry->to_tid, __entry->node,
		  __entry->reply, __entry->code, __entry->flags, __entry->data_size,
		  __entry->offsets_size)
);

TRACE_EVENT(rust_ipc_transaction_received,
	TP_PROTO(s32 from_tgid, u32 id),
	TP_ARGS(from_tgid, id),
	TP_STRUCT__entry(
		__field(s32, from_tgid)
		__field(u32, id)
	),
	TP_fast_assign(
		__entry->from_tgid = from_tgid;
		__entry->id = id;
	),
	TP_printk("transaction=%d:%u", __entry->from_tgid, __entry->id)
);

TRACE_EVENT(rust_ipc_transaction_failed,
	TP_PROTO(s32 from_tgid, u32 id, s32 to_tgid, u32 handle, bool reply, u32 code, s32 error),
	TP_ARGS(from_tgid, id, to_tgid, handle, reply, code, error),
	TP_STRUCT__entry(
		__field(s32, from_tgid)
		__field(u32, id)
		__field(s32, to_tgid)
		__field(u32, handle)
		__field(u32, code)
		__field(s32, error)
		__field(bool, reply)
	),
	TP_fast_assign(
		__entry->from_tgid = from_tgid;
		__entry->id = id;
		__entry->to_tgid = to_tgid;
		__entry->handle = handle;
		__entry->code = code;
		__entry->error = error;
		__entry->reply = reply;
	),
	TP_printk("transaction=%d:%u to=%d handle=%u reply=%d code=%s error=%d",
		  __entry->from_tgid, __entry->id, __entry->to_tgid, __entry->handle,
		  __entry->reply, rust_ipc_print_return(__entry->code), __entry->error)
);

TRACE_EVENT(rust_ipc_buffer_alloc,
	TP_PROTO(s32 tgid, u64 offset, u64 size),
	TP_ARGS(tgid, offset, size),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u64, offset)
		__field(u64, size)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->offset = offset;
		__entry->size = size;
	),
	TP_printk("process=%d offset=0x%llx size=%llu", __entry->tgid, __entry->offset,
		  __entry->size)
);

TRACE_EVENT(rust_ipc_buffer_free,
	TP_PROTO(s32 tgid, u64 offset),
	TP_ARGS(tgid, offset),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u64, offset)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->offset = offset;
	),
	TP_printk("process=%d offset=0x%llx", __entry->tgid, __entry->offset)
);

TRACE_EVENT(rust_ipc_buffer_failed,
	TP_PROTO(s32 tgid, u64 size, bool one_way, s32 error),
	TP_ARGS(tgid, size, one_way, error),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u64, size)
		__field(bool, one_way)
		__field(s32, error)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->size = size;
		__entry->one_way = one_way;
		__entry->error = error;
	),
	TP_printk("process=%d size=%llu one_way=%d error=%d", __entry->tgid, __entry->size,
		  __entry->one_way, __entry->error)
);

DECLARE_EVENT_CLASS(rust_ipc_node_class,
	TP_PROTO(s32 tgid, u32 node),
	TP_ARGS(tgid, node),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u32, node)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->node = node;
	),
	TP_printk("node=%d:%u", __entry->tgid, __entry->node)
);

DEFINE_EVENT(rust_ipc_node_class, rust_ipc_node_made,
	TP_PROTO(s32 tgid, u32 node),
	TP_ARGS(tgid, node)
);

DEFINE_EVENT(rust_ipc_node_class, rust_ipc_node_gone,
	TP_PROTO(s32 tgid, u32 node),
	TP_ARGS(tgid, node)
);

TRACE_EVENT(rust_ipc_node_told,
	TP_PROTO(s32 tgid, u32 node, bool strong, bool weak),
	TP_ARGS(tgid, node, strong, weak),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u32, node)
		__field(bool, strong)
		__field(bool, weak)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->node = node;
		__entry->strong = strong;
		__entry->weak = weak;
	),
	TP_printk("node=%d:%u strong=%d weak=%d",
		  __entry->tgid, __entry->node, __entry->strong, __entry->weak)
);

TRACE_EVENT(rust_ipc_handle,
	TP_PROTO(s32 tgid, u32 handle, s32 node_tgid, u32 node, u32 strong, u32 weak),
	TP_ARGS(tgid, handle, node_tgid, node, strong, weak),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u32, handle)
		__field(s32, node_tgid)
		__field(u32, node)
		__field(u32, strong)
		__field(u32, weak)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->handle = handle;
		__entry->node_tgid = node_tgid;
		__entry->node = node;
		__entry->strong = strong;
		__entry->weak = weak;
	),
	TP_printk("process=%d handle=%u node=%d:%u strong=%u weak=%u",
		  __entry->tgid, __entry->handle, __entry->node_tgid, __entry->node,
		  __entry->strong, __entry->weak)
);

TRACE_EVENT(rust_ipc_object,
	TP_PROTO(s32 from_tgid, u32 id, s32 node_tgid, u32 node, s64 from_handle, s64 to_handle,
		 bool strong),
	TP_ARGS(from_tgid, id, node_tgid, node, from_handle, to_handle, strong),
	TP_STRUCT__entry(
		__field(s32, from_tgid)
		__field(u32, id)
		__field(s32, node_tgid)
		__field(u32, node)
		__field(s64, from_handle)
		__field(s64, to_handle)
		__field(bool, strong)
	),
	TP_fast_assign(
		__entry->from_tgid = from_tgid;
		__entry->id = id;
		__entry->node_tgid = node_tgid;
		__entry->node = node;
		__entry->from_handle = from_handle;
		__entry->to_handle = to_handle;
		__entry->strong = strong;
	),
	TP_printk("transaction=%d:%u node=%d:%u from_handle=%lld to_handle=%lld strong=%d",
		  __entry->from_tgid, __entry->id, __entry->node_tgid, __entry->node,
		  __entry->from_handle, __entry->to_handle, __entry->strong)
);

DECLARE_EVENT_CLASS(rust_ipc_fd_class,
	TP_PROTO(s32 from_tgid, u32 id, u32 fd, u64 offset),
	TP_ARGS(from_tgid, id, fd, offset),
	TP_STRUCT__entry(
		__field(s32, from_tgid)
		__field(u32, id)
		__field(u32, fd)
		__field(u64, offset)
	),
	TP_fast_assign(
		__entry->from_tgid = from_tgid;
		__entry->id = id;
		__entry->fd = fd;
		__entry->offset = offset;
	),
	TP_printk("transaction=%d:%u fd=%u offset=0x%llx",
		  __entry->from_tgid, __entry->id, __entry->fd, __entry->offset)
);

DEFINE_EVENT(rust_ipc_fd_class, rust_ipc_fd_sent,
	TP_PROTO(s32 from_tgid, u32 id, u32 fd, u64 offset),
	TP_ARGS(from_tgid, id, fd, offset)
);

DEFINE_EVENT(rust_ipc_fd_class, rust_ipc_fd_received,
	TP_PROTO(s32 from_tgid, u32 id, u32 fd, u64 offset),
	TP_ARGS(from_tgid, id, fd, offset)
);

TRACE_EVENT(rust_ipc_transaction_dropped,
	TP_PROTO(s32 from_tgid, u32 id, u32 code),
	TP_ARGS(from_tgid, id, code),
	TP_STRUCT__entry(
		__field(s32, from_tgid)
		__field(u32, id)
		__field(u32, code)
	),
	TP_fast_assign(
		__entry->from_tgid = from_tgid;
		__entry->id = id;
		__entry->code = code;
	),
	TP_printk("transaction=%d:%u code=%s",
		  __entry->from_tgid, __entry->id, rust_ipc_print_return(__entry->code))
);

TRACE_EVENT(rust_ipc_pages_installed,
	TP_PROTO(s32 tgid, u64 offset, u64 size),
	TP_ARGS(tgid, offset, size),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u64, offset)
		__field(u64, size)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->offset = offset;
		__entry->size = size;
	),
	TP_printk("process=%d offset=0x%llx size=%llu",
		  __entry->tgid, __entry->offset, __entry->size)
);

TRACE_EVENT(rust_ipc_page_reclaimed,
	TP_PROTO(s32 tgid, u64 offset),
	TP_ARGS(tgid, offset),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u64, offset)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->offset = offset;
	),
	TP_printk("process=%d offset=0x%llx", __entry->tgid, __entry->offset)
);

TRACE_EVENT(rust_ipc_death_notice,
	TP_PROTO(s32 tgid, u32 handle, u32 step),
	TP_ARGS(tgid, handle, step),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u32, handle)
		__field(u32, step)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->handle = handle;
		__entry->step = step;
	),
	TP_printk("process=%d handle=%u step=%s",
		  __entry->tgid, __entry->handle, rust_ipc_print_step(__entry->step))
);

TRACE_EVENT(rust_ipc_freeze_notice,
	TP_PROTO(s32 tgid, u32 handle, u32 step, bool frozen),
	TP_ARGS(tgid, handle, step, frozen),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(u32, handle)
		__field(u32, step)
		__field(bool, frozen)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->handle = handle;
		__entry->step = step;
		__entry->frozen = frozen;
	),
	TP_printk("process=%d handle=%u step=%s frozen=%d",
		  __entry->tgid, __entry->handle, rust_ipc_print_step(__entry->step),
		  __entry->frozen)
);

TRACE_EVENT(rust_ipc_frozen,
	TP_PROTO(s32 tgid, bool frozen),
	TP_ARGS(tgid, frozen),
	TP_STRUCT__entry(
		__field(s32, tgid)
		__field(bool, frozen)
	),
	TP_fast_assign(
		__entry->tgid = tgid;
		__entry->frozen = frozen;
	),
	TP_printk("process=%d frozen=%d", __entry->tgid, __entry->frozen)
);

#endif /* RUST_IPC_WATCH_EVENTS_H */

#include <trace/define_trace.h>
