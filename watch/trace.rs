// SPDX-License-Identifier: GPL-2.0

//! The tracepoints.
//!
//! They are C's (`TRACE_EVENT`, in `events.h`): that is where events get their place in tracefs, and
//! `perf` and `trace-cmd` their formats. Each is a type here, with the arguments as its fields.
//! `Type::trace(|| Type { … })` makes the values only if somebody listens; until then the call is one
//! instruction that does nothing, which the kernel turns into a jump when the event is switched on.

use kernel::task::Pid;

/// No handle, as the node is the process's own.
pub(crate) const OWN: i64 = -1;

/// What becomes of a notification. `events.h` has the names.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Step {
    /// A process asks for it.
    Requested = 0,
    /// There is something that the process is to be told.
    Queued = 1,
    /// It is told.
    Told = 2,
    /// It has acknowledged that.
    Acknowledged = 3,
    /// It does not want to be told any more.
    Cleared = 4,
    /// It is told that nothing will come.
    Ended = 5,
    /// Its handle is gone, and the notification with it.
    Dropped = 6,
}

macro_rules! events {
    ($(
        $(#[$attribute:meta])*
        struct $event:ident = $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty,)* }
    )*) => {
        $(
            $(#[$attribute])*
            pub(crate) struct $event {
                $($(#[$doc])* pub(crate) $field: $type,)*
            }

            impl $event {
                /// Traces the event that `fields` makes, if somebody listens.
                ///
                /// Does not sleep, and takes no lock; may be called with spinlocks held.
                #[inline(always)]
                pub(crate) fn trace(fields: impl FnOnce() -> Self) {
                    #[cfg(CONFIG_TRACEPOINTS)]
                    {
                        kernel::macros::paste! {
                            // SAFETY: `events.c` defines the tracepoint, which has a static key.
                            let is_on = unsafe {
                                kernel::jump_label::static_branch_unlikely!(
                                    extern_c::[<__tracepoint_ $name>],
                                    kernel::bindings::tracepoint,
                                    key
                                )
                            };
                            if is_on {
                                let Self { $($field),* } = fields();
                                // SAFETY: `events.c` defines the function, for these arguments, and
                                // any values of them will do.
                                unsafe { extern_c::[<rust_do_trace_ $name>]($($field),*) };
                            }
                        }
                    }
                    #[cfg(not(CONFIG_TRACEPOINTS))]
                    let _ = || {
                        let Self { $($field),* } = fields();
                        let _ = ($($field,)*);
                    };
                }
            }
        )*

        /// What `events.c` defines: names, and order and types of arguments, are those of `events.h`.
        #[cfg(CONFIG_TRACEPOINTS)]
        // A tracepoint's layout is the bindings' business.
        #[allow(improper_ctypes)]
        mod extern_c {
            use super::{Pid, Step};
            use kernel::bindings::tracepoint;

            kernel::macros::paste! {
                unsafe extern "C" {
                    $(
                        pub(super) static [<__tracepoint_ $name>]: tracepoint;
                        pub(super) fn [<rust_do_trace_ $name>]($($field: $type),*);
                    )*
                }
            }
        }
    };
}

events! {
    /// An ioctl of the driver begins.
    struct Ioctl = rust_ipc_ioctl {
        command: u32,
    }

    /// It ends.
    struct IoctlDone = rust_ipc_ioctl_done {
        /// 0, or a negative errno.
        result: i32,
    }

    /// A command is carried out.
    struct Command = rust_ipc_command {
        /// `BC_*`.
        code: u32,
    }

    /// Something is returned.
    struct Return = rust_ipc_return {
        /// `BR_*`.
        code: u32,
    }

    /// A thread is about to sleep until there is something to return.
    struct WaitForWork = rust_ipc_wait_for_work {
        /// It may take work of its process.
        for_process: bool,
        /// It waits for the reply to a call.
        for_reply: bool,
    }

    /// A message has been queued to its receiver. The current thread has sent it.
    struct Transaction = rust_ipc_transaction {
        from_tgid: Pid,
        /// Number of the message in the process that sent it.
        id: u32,
        to_tgid: Pid,
        /// The thread that it was given to; 0 if the first one to come takes it.
        to_tid: Pid,
        /// The receiver's node; 0 in a reply.
        node: u32,
        reply: bool,
        code: u32,
        flags: u32,
        data_size: u64,
        offsets_size: u64,
    }

    /// A message is returned to the current thread.
    struct TransactionReceived = rust_ipc_transaction_received {
        from_tgid: Pid,
        id: u32,
    }

    /// A message could not be sent.
    struct TransactionFailed = rust_ipc_transaction_failed {
        from_tgid: Pid,
        id: u32,
        /// 0 if it is not known.
        to_tgid: Pid,
        /// The sender's handle; 0 in a reply.
        handle: u32,
        reply: bool,
        /// `BR_*`.
        code: u32,
        /// A negative errno, or 0.
        error: i32,
    }

    /// A buffer has been reserved in a process's area.
    struct BufferAlloc = rust_ipc_buffer_alloc {
        tgid: Pid,
        offset: u64,
        size: u64,
    }

    /// A buffer is free again: its process has freed it, or what it was reserved for has come to
    /// nothing.
    struct BufferFree = rust_ipc_buffer_free {
        tgid: Pid,
        offset: u64,
    }

    /// No buffer could be reserved in a process's area.
    struct BufferFailed = rust_ipc_buffer_failed {
        tgid: Pid,
        size: u64,
        one_way: bool,
        /// A negative errno.
        error: i32,
    }

    /// A process has a new node.
    struct NodeMade = rust_ipc_node_made {
        tgid: Pid,
        /// Number of the node in its process.
        node: u32,
    }

    /// A node is gone: nobody refers to it any more, or its process is gone.
    struct NodeGone = rust_ipc_node_gone {
        tgid: Pid,
        node: u32,
    }

    /// The process of a node is told whether it is referred to.
    struct NodeTold = rust_ipc_node_told {
        tgid: Pid,
        node: u32,
        strong: bool,
        weak: bool,
    }

    /// A handle has other counts than before. With none it is gone.
    struct HandleCounts = rust_ipc_handle {
        /// Whose handle it is.
        tgid: Pid,
        handle: u32,
        /// Whose node it names.
        node_tgid: Pid,
        node: u32,
        strong: u32,
        weak: u32,
    }

    /// The current thread sends a node or handle.
    struct ObjectSent = rust_ipc_object {
        from_tgid: Pid,
        /// Number of the message in the process that sends it.
        id: u32,
        node_tgid: Pid,
        node: u32,
        /// What the sender names it, and the receiver: [`OWN`] if it is theirs.
        from_handle: i64,
        to_handle: i64,
        strong: bool,
    }

    /// The current thread sends a file.
    struct FdSent = rust_ipc_fd_sent {
        from_tgid: Pid,
        id: u32,
        /// The sender's.
        fd: u32,
        /// Where in the buffer its number is.
        offset: u64,
    }

    /// A file that was sent gets a descriptor of the current process.
    struct FdReceived = rust_ipc_fd_received {
        from_tgid: Pid,
        id: u32,
        fd: u32,
        offset: u64,
    }

    /// A message that had been queued will not be delivered.
    struct TransactionDropped = rust_ipc_transaction_dropped {
        from_tgid: Pid,
        id: u32,
        /// `BR_*`: what is returned to who waits for an answer.
        code: u32,
    }

    /// Pages have been added to a process's area.
    struct PagesInstalled = rust_ipc_pages_installed {
        tgid: Pid,
        offset: u64,
        size: u64,
    }

    /// The kernel takes an idle page of a process's area.
    struct PageReclaimed = rust_ipc_page_reclaimed {
        tgid: Pid,
        offset: u64,
    }

    /// A notification of a death.
    struct DeathNotice = rust_ipc_death_notice {
        /// Who is to be told, and what it names the node.
        tgid: Pid,
        handle: u32,
        step: Step,
    }

    /// A notification of freezing.
    struct FreezeNotice = rust_ipc_freeze_notice {
        tgid: Pid,
        handle: u32,
        step: Step,
        /// The latest that is known.
        frozen: bool,
    }

    /// An open file of a process is frozen or thawed.
    struct Frozen = rust_ipc_frozen {
        tgid: Pid,
        frozen: bool,
    }
}
