// SPDX-License-Identifier: GPL-2.0

//! The tracepoints.
//!
//! They are C's (`TRACE_EVENT`, in `events.h`): that is where events get their place in tracefs, and
//! `perf` and `trace-cmd` their formats. Each is a type here, with the arguments as its fields.
//! `Type::trace(|| Type { … })` makes the values only if somebody listens; until then the call is one
//! instruction that does nothing, which the kernel turns into a jump when the event is switched on.

use kernel::task::Pid;

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
                        let Self { $($field: _),* } = fields();
                    };
                }
            }
        )*

        /// What `events.c` defines: names, and order and types of arguments, are those of `events.h`.
        #[cfg(CONFIG_TRACEPOINTS)]
        // A tracepoint's layout is the bindings' business.
        #[allow(improper_ctypes)]
        mod extern_c {
            use super::Pid;
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

    /// A message could not be sent or delivered.
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

    /// A process frees a buffer.
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
}
