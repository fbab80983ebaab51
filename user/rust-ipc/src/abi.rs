// SPDX-License-Identifier: GPL-2.0

//! The wire, as it is: the structures, numbers and flags of `linux/android/binder.h` (protocol 8)
//! and of `rust_ipc.h`, for 64-bit userspace.
//!
//! Every layout is asserted when the crate is compiled. All multi-byte fields are in the byte
//! order of the machine.

use core::mem::{offset_of, size_of};
use rustix::ioctl::{Opcode, opcode};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The protocol version this crate speaks, as answered by `BINDER_VERSION`.
pub const PROTOCOL_VERSION: i32 = 8;

/// An area has no more than this, in bytes, unless the driver was told otherwise when it was loaded
/// (`max_area_bytes=`): of a longer mapping only the beginning is used.
pub const MAX_AREA_BYTES: usize = 4 << 20;

/// The least room, in bytes, that a read must offer: one `BR_NOOP` and the largest item.
pub const MIN_READ_BYTES: usize = 4 + 4 + size_of::<TransactionDataSecctx>();

macro_rules! wire {
    ($(#[$doc:meta])* $name:ident, $bytes:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: $ty,)*
        }

        const _: () = assert!(size_of::<$name>() == $bytes);
    };
}

wire! {
    /// `struct binder_write_read`: sizes in bytes, buffers as user addresses.
    WriteRead, 48 {
        /// Bytes of commands to write.
        write_size: u64,
        /// Bytes of them that were consumed.
        write_consumed: u64,
        /// Address of the commands.
        write_buffer: u64,
        /// Bytes of room for returns.
        read_size: u64,
        /// Bytes of them that were filled.
        read_consumed: u64,
        /// Address of the room.
        read_buffer: u64,
    }
}

wire! {
    /// `struct binder_version`.
    Version, 4 {
        /// See [`PROTOCOL_VERSION`].
        protocol_version: i32,
    }
}

wire! {
    /// `struct binder_transaction_data`.
    TransactionData, 64 {
        /// `target`, a union of a `u32` handle (sent) and a `u64` node pointer (received).
        /// [`TransactionData::for_handle`] writes the handle.
        target: u64,
        /// The target node's cookie (received).
        cookie: u64,
        /// The method called, of no meaning to the driver.
        code: u32,
        /// `TF_*`.
        flags: u32,
        /// Process id of the caller, in the receiver's pid namespace; 0 if one-way.
        sender_pid: i32,
        /// Effective user id of the caller, in the receiver's user namespace.
        sender_euid: u32,
        /// Bytes of data.
        data_size: u64,
        /// Bytes of offsets: 8 for each object.
        offsets_size: u64,
        /// `data.ptr.buffer`: user address of the data.
        buffer: u64,
        /// `data.ptr.offsets`: user address of the offsets.
        offsets: u64,
    }
}

wire! {
    /// `struct binder_transaction_data_secctx`.
    TransactionDataSecctx, 72 {
        /// The call.
        transaction_data: TransactionData,
        /// User address of the caller's security context, within the receiver's area.
        secctx: u64,
    }
}

wire! {
    /// `struct binder_transaction_data_sg`.
    TransactionDataSg, 72 {
        /// The call.
        transaction_data: TransactionData,
        /// Bytes that the scattered buffers need in the receiver's area: a multiple of 8.
        buffers_size: u64,
    }
}

wire! {
    /// `struct flat_binder_object`.
    FlatObject, 24 {
        /// `BINDER_TYPE_*`.
        kind: u32,
        /// `FLAT_BINDER_FLAG_*`.
        flags: u32,
        /// A union of the `u64` node pointer and the `u32` handle or file descriptor: see
        /// [`word_from_u32`] and [`word_to_u32`].
        word: u64,
        /// The node's cookie.
        cookie: u64,
    }
}

wire! {
    /// `struct binder_ptr_cookie`.
    PtrCookie, 16 {
        /// The node, as its owner named it.
        ptr: u64,
        /// The node's cookie.
        cookie: u64,
    }
}

/// `struct binder_handle_cookie`, which is packed: 12 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, packed)]
pub struct HandleCookie {
    /// The handle that is watched.
    pub handle: u32,
    /// The number that comes back with the notification.
    pub cookie: u64,
}

const _: () = assert!(size_of::<HandleCookie>() == 12);
const _: () = assert!(offset_of!(HandleCookie, cookie) == 4);

wire! {
    /// `struct binder_frozen_state_info`.
    FrozenStateInfo, 16 {
        /// The number given with the request.
        cookie: u64,
        /// 1 if the node's owner is frozen now, else 0.
        is_frozen: u32,
        /// 0.
        reserved: u32,
    }
}

wire! {
    /// `struct binder_freeze_info`.
    FreezeInfo, 12 {
        /// The process to freeze or thaw, in the initial pid namespace.
        pid: u32,
        /// 1 to freeze, 0 to thaw.
        enable: u32,
        /// How long to wait for transactions in progress, in milliseconds.
        timeout_ms: u32,
    }
}

wire! {
    /// `struct binder_frozen_status_info`.
    FrozenStatusInfo, 12 {
        /// The process asked about.
        pid: u32,
        /// Bit 0: a two-way call came while frozen. Bit 1: two-way calls are in progress.
        sync_recv: u32,
        /// Non-zero if a one-way message came while frozen.
        async_recv: u32,
    }
}

wire! {
    /// `struct binder_extended_error`.
    ExtendedError, 12 {
        /// The driver's number of the failed transaction.
        id: u32,
        /// The return command that reported it.
        command: u32,
        /// A negative errno value.
        param: i32,
    }
}

wire! {
    /// `struct binder_node_debug_info`.
    NodeDebugInfo, 24 {
        /// In: the node after which to look. Out: the node found, 0 for none.
        ptr: u64,
        /// The node's cookie.
        cookie: u64,
        /// 1 if somebody holds a strong reference.
        has_strong_ref: u32,
        /// 1 if somebody holds a weak reference.
        has_weak_ref: u32,
    }
}

wire! {
    /// `struct binder_node_info_for_ref`.
    NodeInfoForRef, 24 {
        /// In: the handle.
        handle: u32,
        /// Out: strong references to the node.
        strong_count: u32,
        /// Out: weak references to the node.
        weak_count: u32,
        /// 0.
        reserved1: u32,
        /// 0.
        reserved2: u32,
        /// 0.
        reserved3: u32,
    }
}

wire! {
    /// `struct rust_ipc_area_info`: the state of a receive area. Pages are of the machine's page
    /// size, and `pages_in_use + pages_idle + pages_absent` is the whole area.
    AreaInfo, 64 {
        /// User address of the area, 0 if it is not mapped.
        start: u64,
        /// Usable bytes.
        size_bytes: u64,
        /// Pages touched by a live buffer.
        pages_in_use: u64,
        /// Pages that are present with no live buffer on them: the kernel takes them when memory
        /// gets tight.
        pages_idle: u64,
        /// Pages that do not exist.
        pages_absent: u64,
        /// Buffers that are allocated.
        live_buffers: u64,
        /// Bytes that one-way messages may still use.
        oneway_free_bytes: u64,
        /// 0.
        reserved: u64,
    }
}

const _: () = {
    assert!(offset_of!(TransactionData, flags) == 20);
    assert!(offset_of!(TransactionData, data_size) == 32);
    assert!(offset_of!(TransactionData, buffer) == 48);
    assert!(offset_of!(FlatObject, word) == 8);
    assert!(MIN_READ_BYTES == 80);
};

impl TransactionData {
    /// A call to `handle`, everything else 0.
    pub fn for_handle(handle: u32) -> Self {
        Self {
            target: word_from_u32(handle),
            ..Self::default()
        }
    }
}

/// A `u32` as it lies in a union with a `u64`: in the first four bytes, the others 0.
pub fn word_from_u32(value: u32) -> u64 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// The `u32` that lies in a union with a `u64`.
pub fn word_to_u32(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// The ioctls.
pub mod ioctl {
    use super::*;

    /// Write commands, then read returns.
    pub const WRITE_READ: Opcode = opcode::read_write::<WriteRead>(b'b', 1);
    /// How many looper threads the driver may ask for.
    pub const SET_MAX_THREADS: Opcode = opcode::write::<u32>(b'b', 5);
    /// Become the context manager.
    pub const SET_CONTEXT_MGR: Opcode = opcode::write::<i32>(b'b', 7);
    /// Forget the calling thread.
    pub const THREAD_EXIT: Opcode = opcode::write::<i32>(b'b', 8);
    /// The protocol version.
    pub const VERSION: Opcode = opcode::read_write::<Version>(b'b', 9);
    /// The next one of the caller's nodes.
    pub const GET_NODE_DEBUG_INFO: Opcode = opcode::read_write::<NodeDebugInfo>(b'b', 11);
    /// Reference counts of a node (context manager only).
    pub const GET_NODE_INFO_FOR_REF: Opcode = opcode::read_write::<NodeInfoForRef>(b'b', 12);
    /// Become the context manager with a node of one's own choice.
    pub const SET_CONTEXT_MGR_EXT: Opcode = opcode::write::<FlatObject>(b'b', 13);
    /// Freeze or thaw a process.
    pub const FREEZE: Opcode = opcode::write::<FreezeInfo>(b'b', 14);
    /// What came in while a process was frozen.
    pub const GET_FROZEN_INFO: Opcode = opcode::read_write::<FrozenStatusInfo>(b'b', 15);
    /// Have the driver point out senders of too many one-way messages.
    pub const ENABLE_ONEWAY_SPAM_DETECTION: Opcode = opcode::write::<u32>(b'b', 16);
    /// The last failure of the calling thread.
    pub const GET_EXTENDED_ERROR: Opcode = opcode::read_write::<ExtendedError>(b'b', 17);
    /// The state of the receive area (rust_ipc only).
    pub const GET_AREA_INFO: Opcode = opcode::read::<AreaInfo>(b'R', 0x40);
}

/// Commands, `BC_*`.
pub mod bc {
    use super::*;

    /// Send a call.
    pub const TRANSACTION: u32 = opcode::write::<TransactionData>(b'c', 0) as u32;
    /// Answer a call.
    pub const REPLY: u32 = opcode::write::<TransactionData>(b'c', 1) as u32;
    /// Give a delivered buffer back.
    pub const FREE_BUFFER: u32 = opcode::write::<u64>(b'c', 3) as u32;
    /// Take a weak reference.
    pub const INCREFS: u32 = opcode::write::<u32>(b'c', 4) as u32;
    /// Take a strong reference.
    pub const ACQUIRE: u32 = opcode::write::<u32>(b'c', 5) as u32;
    /// Drop a strong reference.
    pub const RELEASE: u32 = opcode::write::<u32>(b'c', 6) as u32;
    /// Drop a weak reference.
    pub const DECREFS: u32 = opcode::write::<u32>(b'c', 7) as u32;
    /// Answer to `BR_INCREFS`.
    pub const INCREFS_DONE: u32 = opcode::write::<PtrCookie>(b'c', 8) as u32;
    /// Answer to `BR_ACQUIRE`.
    pub const ACQUIRE_DONE: u32 = opcode::write::<PtrCookie>(b'c', 9) as u32;
    /// This thread serves, and the driver asked for it.
    pub const REGISTER_LOOPER: u32 = opcode::none(b'c', 11) as u32;
    /// This thread serves, of its own accord.
    pub const ENTER_LOOPER: u32 = opcode::none(b'c', 12) as u32;
    /// This thread serves no longer.
    pub const EXIT_LOOPER: u32 = opcode::none(b'c', 13) as u32;
    /// Watch for the death of a handle's owner.
    pub const REQUEST_DEATH_NOTIFICATION: u32 = opcode::write::<HandleCookie>(b'c', 14) as u32;
    /// Stop watching.
    pub const CLEAR_DEATH_NOTIFICATION: u32 = opcode::write::<HandleCookie>(b'c', 15) as u32;
    /// Answer to `BR_DEAD_BINDER`.
    pub const DEAD_BINDER_DONE: u32 = opcode::write::<u64>(b'c', 16) as u32;
    /// Send a call with scattered buffers.
    pub const TRANSACTION_SG: u32 = opcode::write::<TransactionDataSg>(b'c', 17) as u32;
    /// Answer a call with scattered buffers.
    pub const REPLY_SG: u32 = opcode::write::<TransactionDataSg>(b'c', 18) as u32;
    /// Watch whether a handle's owner is frozen.
    pub const REQUEST_FREEZE_NOTIFICATION: u32 = opcode::write::<HandleCookie>(b'c', 19) as u32;
    /// Stop watching.
    pub const CLEAR_FREEZE_NOTIFICATION: u32 = opcode::write::<HandleCookie>(b'c', 20) as u32;
    /// Answer to `BR_FROZEN_BINDER`.
    pub const FREEZE_NOTIFICATION_DONE: u32 = opcode::write::<u64>(b'c', 21) as u32;
}

/// Returns, `BR_*`.
pub mod br {
    use super::*;

    /// An error code (an `i32`) for want of anything better.
    pub const ERROR: u32 = opcode::read::<i32>(b'r', 0) as u32;
    /// Nothing to say.
    pub const OK: u32 = opcode::none(b'r', 1) as u32;
    /// A call, with the caller's security context.
    pub const TRANSACTION_SEC_CTX: u32 = opcode::read::<TransactionDataSecctx>(b'r', 2) as u32;
    /// A call.
    pub const TRANSACTION: u32 = opcode::read::<TransactionData>(b'r', 2) as u32;
    /// The answer to this thread's call.
    pub const REPLY: u32 = opcode::read::<TransactionData>(b'r', 3) as u32;
    /// The target is dead.
    pub const DEAD_REPLY: u32 = opcode::none(b'r', 5) as u32;
    /// The driver took what was sent.
    pub const TRANSACTION_COMPLETE: u32 = opcode::none(b'r', 6) as u32;
    /// A first weak reference to an own node exists.
    pub const INCREFS: u32 = opcode::read::<PtrCookie>(b'r', 7) as u32;
    /// A first strong reference to an own node exists.
    pub const ACQUIRE: u32 = opcode::read::<PtrCookie>(b'r', 8) as u32;
    /// The last strong reference to an own node is gone.
    pub const RELEASE: u32 = opcode::read::<PtrCookie>(b'r', 9) as u32;
    /// The last weak reference to an own node is gone.
    pub const DECREFS: u32 = opcode::read::<PtrCookie>(b'r', 10) as u32;
    /// Nothing to do.
    pub const NOOP: u32 = opcode::none(b'r', 12) as u32;
    /// Nobody is free to serve: start a thread.
    pub const SPAWN_LOOPER: u32 = opcode::none(b'r', 13) as u32;
    /// A watched handle's owner died.
    pub const DEAD_BINDER: u32 = opcode::read::<u64>(b'r', 15) as u32;
    /// The death is watched for no longer.
    pub const CLEAR_DEATH_NOTIFICATION_DONE: u32 = opcode::read::<u64>(b'r', 16) as u32;
    /// What was sent failed.
    pub const FAILED_REPLY: u32 = opcode::none(b'r', 17) as u32;
    /// The target is frozen.
    pub const FROZEN_REPLY: u32 = opcode::none(b'r', 18) as u32;
    /// Sent, but the caller uses much of the target's one-way space.
    pub const ONEWAY_SPAM_SUSPECT: u32 = opcode::none(b'r', 19) as u32;
    /// Sent, but the target is frozen and will see it when it thaws.
    pub const TRANSACTION_PENDING_FROZEN: u32 = opcode::none(b'r', 20) as u32;
    /// A watched handle's owner was frozen or thawed.
    pub const FROZEN_BINDER: u32 = opcode::read::<FrozenStateInfo>(b'r', 21) as u32;
    /// The freezing is watched for no longer.
    pub const CLEAR_FREEZE_NOTIFICATION_DONE: u32 = opcode::read::<u64>(b'r', 22) as u32;
}

/// Flags of a transaction, `TF_*`.
pub mod tf {
    /// No answer is wanted.
    pub const ONE_WAY: u32 = 0x01;
    /// The payload is a 32-bit status.
    pub const STATUS_CODE: u32 = 0x08;
    /// The answer may carry file descriptors.
    pub const ACCEPT_FDS: u32 = 0x10;
    /// Clear the buffer when it is freed.
    pub const CLEAR_BUF: u32 = 0x20;
    /// Replaces a pending one-way message of the same kind to a frozen target.
    pub const UPDATE_TXN: u32 = 0x40;
}

/// Types of objects, `BINDER_TYPE_*`.
pub mod object {
    const fn kind(a: u8, b: u8, c: u8) -> u32 {
        u32::from_be_bytes([a, b, c, 0x85])
    }

    /// A node of the sender.
    pub const BINDER: u32 = kind(b's', b'b', b'*');
    /// A node of the sender, weakly.
    pub const WEAK_BINDER: u32 = kind(b'w', b'b', b'*');
    /// A handle of the sender.
    pub const HANDLE: u32 = kind(b's', b'h', b'*');
    /// A handle of the sender, weakly.
    pub const WEAK_HANDLE: u32 = kind(b'w', b'h', b'*');
    /// A file descriptor.
    pub const FD: u32 = kind(b'f', b'd', b'*');
    /// An array of file descriptors within a scattered buffer.
    pub const FDA: u32 = kind(b'f', b'd', b'a');
    /// A scattered buffer.
    pub const PTR: u32 = kind(b'p', b't', b'*');
}

/// Flags of a node, `FLAT_BINDER_FLAG_*`.
pub mod node_flag {
    /// The node takes file descriptors.
    pub const ACCEPTS_FDS: u32 = 0x100;
    /// Calls to the node carry the caller's security context.
    pub const TXN_SECURITY_CTX: u32 = 0x1000;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers computed by a C compiler from the kernel's header.
    #[test]
    fn numbers_are_those_of_the_header() {
        assert_eq!(ioctl::WRITE_READ, 0xc030_6201);
        assert_eq!(ioctl::SET_MAX_THREADS, 0x4004_6205);
        assert_eq!(ioctl::SET_CONTEXT_MGR_EXT, 0x4018_620d);
        assert_eq!(ioctl::GET_EXTENDED_ERROR, 0xc00c_6211);
        assert_eq!(ioctl::GET_AREA_INFO, 0x8040_5240);
        assert_eq!(bc::TRANSACTION, 0x4040_6300);
        assert_eq!(bc::FREE_BUFFER, 0x4008_6303);
        assert_eq!(bc::ENTER_LOOPER, 0x0000_630c);
        assert_eq!(bc::REQUEST_DEATH_NOTIFICATION, 0x400c_630e);
        assert_eq!(bc::TRANSACTION_SG, 0x4048_6311);
        assert_eq!(br::TRANSACTION, 0x8040_7202);
        assert_eq!(br::TRANSACTION_SEC_CTX, 0x8048_7202);
        assert_eq!(br::NOOP, 0x0000_720c);
        assert_eq!(br::FROZEN_BINDER, 0x8010_7215);
        assert_eq!(object::BINDER, 0x7362_2a85);
        assert_eq!(object::FDA, 0x6664_6185);
    }

    #[test]
    fn a_handle_lies_in_the_first_four_bytes() {
        let word = word_from_u32(0x1234_5678);
        assert_eq!(word.to_ne_bytes()[..4], 0x1234_5678_u32.to_ne_bytes());
        assert_eq!(word_to_u32(word), 0x1234_5678);
    }
}
