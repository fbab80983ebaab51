// SPDX-License-Identifier: GPL-2.0

//! The wire: what crosses between userspace and this driver, as bytes and as types.
//!
//! Duty: name every ioctl, command (`BC_*`) and return (`BR_*`) of Binder protocol 8, turn the bytes
//! of a command stream into [`Command`]s and returns into bytes. It knows no kernel object, takes no
//! lock, allocates nothing and touches no user memory: its input and output are slices, so that the
//! same file is built and tested on the host.
//!
//! Source of the layout: `include/uapi/linux/android/binder.h`. That header is the authority; the
//! crate root asserts at build time that the numbers here are the ones of the kernel's own bindings.

/// Protocol version reported by `BINDER_VERSION`.
pub(crate) const PROTOCOL_VERSION: i32 = 8;

const IOC_WRITE: u32 = 1;
const IOC_READ: u32 = 2;

/// `_IOC()` of `include/uapi/asm-generic/ioctl.h`.
const fn ioc(direction: u32, kind: u8, number: u32, size_bytes: u32) -> u32 {
    (direction << 30) | (size_bytes << 16) | ((kind as u32) << 8) | number
}

/// Size of the argument that an ioctl or command number carries, in bytes.
pub(crate) const fn ioc_size(code: u32) -> usize {
    // CAST: a 14-bit field.
    ((code >> 16) & 0x3fff) as usize
}

/// The ioctls of `binder.h`, and those of `uapi/rust_ipc.h`.
pub(crate) mod ioctl {
    use super::{ioc, IOC_READ, IOC_WRITE};

    pub(crate) const WRITE_READ: u32 = ioc(IOC_READ | IOC_WRITE, b'b', 1, 48);
    pub(crate) const SET_MAX_THREADS: u32 = ioc(IOC_WRITE, b'b', 5, 4);
    pub(crate) const SET_CONTEXT_MGR: u32 = ioc(IOC_WRITE, b'b', 7, 4);
    pub(crate) const THREAD_EXIT: u32 = ioc(IOC_WRITE, b'b', 8, 4);
    pub(crate) const VERSION: u32 = ioc(IOC_READ | IOC_WRITE, b'b', 9, 4);
    pub(crate) const GET_NODE_DEBUG_INFO: u32 = ioc(IOC_READ | IOC_WRITE, b'b', 11, 24);
    pub(crate) const GET_NODE_INFO_FOR_REF: u32 = ioc(IOC_READ | IOC_WRITE, b'b', 12, 24);
    pub(crate) const SET_CONTEXT_MGR_EXT: u32 = ioc(IOC_WRITE, b'b', 13, 24);
    pub(crate) const FREEZE: u32 = ioc(IOC_WRITE, b'b', 14, 12);
    pub(crate) const GET_FROZEN_INFO: u32 = ioc(IOC_READ | IOC_WRITE, b'b', 15, 12);
    pub(crate) const ENABLE_ONEWAY_SPAM_DETECTION: u32 = ioc(IOC_WRITE, b'b', 16, 4);
    pub(crate) const GET_EXTENDED_ERROR: u32 = ioc(IOC_READ | IOC_WRITE, b'b', 17, 12);
    /// `RUST_IPC_GET_AREA_INFO` of `uapi/rust_ipc.h`.
    pub(crate) const GET_AREA_INFO: u32 = ioc(IOC_READ, b'R', 0x40, 64);
}

/// Commands: userspace to driver.
pub(crate) mod bc {
    use super::{ioc, IOC_WRITE};

    pub(crate) const TRANSACTION: u32 = ioc(IOC_WRITE, b'c', 0, 64);
    pub(crate) const REPLY: u32 = ioc(IOC_WRITE, b'c', 1, 64);
    pub(crate) const FREE_BUFFER: u32 = ioc(IOC_WRITE, b'c', 3, 8);
    pub(crate) const INCREFS: u32 = ioc(IOC_WRITE, b'c', 4, 4);
    pub(crate) const ACQUIRE: u32 = ioc(IOC_WRITE, b'c', 5, 4);
    pub(crate) const RELEASE: u32 = ioc(IOC_WRITE, b'c', 6, 4);
    pub(crate) const DECREFS: u32 = ioc(IOC_WRITE, b'c', 7, 4);
    pub(crate) const INCREFS_DONE: u32 = ioc(IOC_WRITE, b'c', 8, 16);
    pub(crate) const ACQUIRE_DONE: u32 = ioc(IOC_WRITE, b'c', 9, 16);
    pub(crate) const REGISTER_LOOPER: u32 = ioc(0, b'c', 11, 0);
    pub(crate) const ENTER_LOOPER: u32 = ioc(0, b'c', 12, 0);
    pub(crate) const EXIT_LOOPER: u32 = ioc(0, b'c', 13, 0);
    pub(crate) const REQUEST_DEATH_NOTIFICATION: u32 = ioc(IOC_WRITE, b'c', 14, 12);
    pub(crate) const CLEAR_DEATH_NOTIFICATION: u32 = ioc(IOC_WRITE, b'c', 15, 12);
    pub(crate) const DEAD_BINDER_DONE: u32 = ioc(IOC_WRITE, b'c', 16, 8);
    pub(crate) const TRANSACTION_SG: u32 = ioc(IOC_WRITE, b'c', 17, 72);
    pub(crate) const REPLY_SG: u32 = ioc(IOC_WRITE, b'c', 18, 72);
    pub(crate) const REQUEST_FREEZE_NOTIFICATION: u32 = ioc(IOC_WRITE, b'c', 19, 12);
    pub(crate) const CLEAR_FREEZE_NOTIFICATION: u32 = ioc(IOC_WRITE, b'c', 20, 12);
    pub(crate) const FREEZE_NOTIFICATION_DONE: u32 = ioc(IOC_WRITE, b'c', 21, 8);
}

/// Returns: driver to userspace.
pub(crate) mod br {
    use super::{ioc, IOC_READ};

    /// Sent without its argument, as the C driver does.
    pub(crate) const ERROR: u32 = ioc(IOC_READ, b'r', 0, 4);
    pub(crate) const OK: u32 = ioc(0, b'r', 1, 0);
    pub(crate) const TRANSACTION_SEC_CTX: u32 = ioc(IOC_READ, b'r', 2, 72);
    pub(crate) const TRANSACTION: u32 = ioc(IOC_READ, b'r', 2, 64);
    pub(crate) const REPLY: u32 = ioc(IOC_READ, b'r', 3, 64);
    pub(crate) const DEAD_REPLY: u32 = ioc(0, b'r', 5, 0);
    pub(crate) const TRANSACTION_COMPLETE: u32 = ioc(0, b'r', 6, 0);
    pub(crate) const INCREFS: u32 = ioc(IOC_READ, b'r', 7, 16);
    pub(crate) const ACQUIRE: u32 = ioc(IOC_READ, b'r', 8, 16);
    pub(crate) const RELEASE: u32 = ioc(IOC_READ, b'r', 9, 16);
    pub(crate) const DECREFS: u32 = ioc(IOC_READ, b'r', 10, 16);
    pub(crate) const NOOP: u32 = ioc(0, b'r', 12, 0);
    pub(crate) const SPAWN_LOOPER: u32 = ioc(0, b'r', 13, 0);
    pub(crate) const DEAD_BINDER: u32 = ioc(IOC_READ, b'r', 15, 8);
    pub(crate) const CLEAR_DEATH_NOTIFICATION_DONE: u32 = ioc(IOC_READ, b'r', 16, 8);
    pub(crate) const FAILED_REPLY: u32 = ioc(0, b'r', 17, 0);
    pub(crate) const FROZEN_REPLY: u32 = ioc(0, b'r', 18, 0);
    pub(crate) const ONEWAY_SPAM_SUSPECT: u32 = ioc(0, b'r', 19, 0);
    pub(crate) const TRANSACTION_PENDING_FROZEN: u32 = ioc(0, b'r', 20, 0);
    pub(crate) const FROZEN_BINDER: u32 = ioc(IOC_READ, b'r', 21, 16);
    pub(crate) const CLEAR_FREEZE_NOTIFICATION_DONE: u32 = ioc(IOC_READ, b'r', 22, 8);
}

/// Bits of `binder_transaction_data.flags`.
pub(crate) mod flags {
    /// The message has no reply.
    pub(crate) const ONE_WAY: u32 = 0x01;
    /// The reply may carry files.
    pub(crate) const ACCEPT_FDS: u32 = 0x10;
    /// Zero the buffer when it is freed.
    pub(crate) const CLEAR_BUF: u32 = 0x20;
    /// A one-way message to a frozen receiver takes the place of an earlier one like it.
    pub(crate) const UPDATE_TXN: u32 = 0x40;
}

/// Bits of `flat_binder_object.flags`, as they are kept for a node.
pub(crate) mod node_flags {
    /// The nice value that calls to the node run at, at the most: 0 to 255, above 19 none.
    pub(crate) const PRIORITY_MASK: u32 = 0xff;
    /// Messages may carry files.
    pub(crate) const ACCEPTS_FDS: u32 = 0x100;
    /// Calls carry the sender's security context.
    pub(crate) const TXN_SECURITY_CTX: u32 = 0x1000;
}

/// A command did not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// No such command (`EINVAL`).
    Unknown,
    /// The bytes end before the command does (`EINVAL`).
    Truncated,
}

/// Which count of a handle a command changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    Strong,
    Weak,
}

/// `struct binder_transaction_data`, as a sender fills it in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransactionData {
    /// Target; ignored in a reply.
    pub(crate) handle: u32,
    /// The method, opaque to the driver.
    pub(crate) code: u32,
    /// [`flags`].
    pub(crate) flags: u32,
    /// Payload bytes at `data_address`.
    pub(crate) data_size: u64,
    /// Bytes of the table of object offsets at `offsets_address`.
    pub(crate) offsets_size: u64,
    /// User address in the sender.
    pub(crate) data_address: u64,
    /// User address in the sender.
    pub(crate) offsets_address: u64,
    /// Bytes for the scatter-gather area (`BC_*_SG` only, else 0).
    pub(crate) buffers_size: u64,
}

/// One command of a write buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Transaction(TransactionData),
    Reply(TransactionData),
    /// Address of a delivered buffer.
    FreeBuffer(u64),
    /// `BC_INCREFS`, `BC_ACQUIRE`: one more reference to a handle.
    Increment(Strength, u32),
    /// `BC_DECREFS`, `BC_RELEASE`: one less.
    Decrement(Strength, u32),
    /// `BC_INCREFS_DONE`, `BC_ACQUIRE_DONE`: the owner has taken note of `BR_INCREFS`, `BR_ACQUIRE`.
    IncrementDone {
        strength: Strength,
        ptr: u64,
        cookie: u64,
    },
    RequestDeath {
        handle: u32,
        cookie: u64,
    },
    ClearDeath {
        handle: u32,
        cookie: u64,
    },
    /// The death that was told of under this cookie has been noted.
    DeathDone(u64),
    RequestFreeze {
        handle: u32,
        cookie: u64,
    },
    ClearFreeze {
        handle: u32,
        cookie: u64,
    },
    /// The freeze that was told of under this cookie has been noted.
    FreezeDone(u64),
    RegisterLooper,
    EnterLooper,
    ExitLooper,
}

/// Takes fixed-size values off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_ne_bytes)
    }

    /// `struct binder_transaction_data`; `buffers_size` stays 0.
    fn transaction(&mut self) -> Result<TransactionData, DecodeError> {
        let bytes = self.take::<64>()?;
        // The target is a union of a 32-bit handle and a 64-bit pointer.
        let [handle, _, _, _, code, flags, _sender_pid, _sender_euid, ..] = u32s_from::<16>(&bytes);
        let [_, _, _, _, data_size, offsets_size, data_address, offsets_address] =
            u64s_from(&bytes);
        Ok(TransactionData {
            handle,
            code,
            flags,
            data_size,
            offsets_size,
            data_address,
            offsets_address,
            buffers_size: 0,
        })
    }

    /// `struct binder_transaction_data_sg`.
    fn transaction_sg(&mut self) -> Result<TransactionData, DecodeError> {
        let data = self.transaction()?;
        Ok(TransactionData {
            buffers_size: self.u64()?,
            ..data
        })
    }
}

/// Bytes of the longest command, its code included.
#[cfg(any(test, rust_ipc_kunit))]
pub(crate) const MAX_COMMAND_LEN: usize = 4 + 72;

impl Command {
    /// Decodes the command at the front of `bytes` and says how many bytes it takes up.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Unknown`]: the code is none of `BC_*`, or one that no driver implements.
    /// - [`DecodeError::Truncated`]: `bytes` is shorter than the command. With `MAX_COMMAND_LEN`
    ///   bytes at hand this cannot happen.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Command, usize), DecodeError> {
        let mut fields = Fields(bytes);
        let code = fields.u32()?;
        let command = match code {
            bc::TRANSACTION => Command::Transaction(fields.transaction()?),
            bc::REPLY => Command::Reply(fields.transaction()?),
            bc::TRANSACTION_SG => Command::Transaction(fields.transaction_sg()?),
            bc::REPLY_SG => Command::Reply(fields.transaction_sg()?),
            bc::FREE_BUFFER => Command::FreeBuffer(fields.u64()?),
            bc::INCREFS => Command::Increment(Strength::Weak, fields.u32()?),
            bc::ACQUIRE => Command::Increment(Strength::Strong, fields.u32()?),
            bc::RELEASE => Command::Decrement(Strength::Strong, fields.u32()?),
            bc::DECREFS => Command::Decrement(Strength::Weak, fields.u32()?),
            bc::INCREFS_DONE | bc::ACQUIRE_DONE => Command::IncrementDone {
                strength: if code == bc::ACQUIRE_DONE {
                    Strength::Strong
                } else {
                    Strength::Weak
                },
                ptr: fields.u64()?,
                cookie: fields.u64()?,
            },
            bc::REQUEST_DEATH_NOTIFICATION => Command::RequestDeath {
                handle: fields.u32()?,
                cookie: fields.u64()?,
            },
            bc::CLEAR_DEATH_NOTIFICATION => Command::ClearDeath {
                handle: fields.u32()?,
                cookie: fields.u64()?,
            },
            bc::DEAD_BINDER_DONE => Command::DeathDone(fields.u64()?),
            bc::REQUEST_FREEZE_NOTIFICATION => Command::RequestFreeze {
                handle: fields.u32()?,
                cookie: fields.u64()?,
            },
            bc::CLEAR_FREEZE_NOTIFICATION => Command::ClearFreeze {
                handle: fields.u32()?,
                cookie: fields.u64()?,
            },
            bc::FREEZE_NOTIFICATION_DONE => Command::FreezeDone(fields.u64()?),
            bc::REGISTER_LOOPER => Command::RegisterLooper,
            bc::ENTER_LOOPER => Command::EnterLooper,
            bc::EXIT_LOOPER => Command::ExitLooper,
            _ => return Err(DecodeError::Unknown),
        };
        Ok((command, 4 + ioc_size(code)))
    }
}

/// A delivered call or reply: `struct binder_transaction_data_secctx` without what it never says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The node's address in the receiver (0 in a reply).
    pub(crate) ptr: u64,
    /// The node's cookie (0 in a reply).
    pub(crate) cookie: u64,
    pub(crate) code: u32,
    pub(crate) flags: u32,
    /// The sender's tgid in the receiver's pid namespace; 0 for one-way messages and replies.
    pub(crate) sender_pid: i32,
    /// The sender's effective uid in the receiver's user namespace.
    pub(crate) sender_euid: u32,
    pub(crate) data_size: u64,
    pub(crate) offsets_size: u64,
    /// Address of the payload in the receiver's area.
    pub(crate) data_address: u64,
    /// Address of the offsets, also when there are none.
    pub(crate) offsets_address: u64,
    /// Address of the sender's security context, for nodes that asked for it.
    pub(crate) security_context: Option<u64>,
}

/// Bytes of returns, gathered to be copied out at once.
///
/// # Invariants
///
/// `len <= CAPACITY`, and the first `len` bytes of `bytes` have been pushed.
pub(crate) struct Returns {
    bytes: [u8; Returns::CAPACITY],
    len: usize,
}

impl Returns {
    /// Any item, behind a `BR_TRANSACTION_COMPLETE`. Each byte costs, as it is zeroed.
    const CAPACITY: usize = 4 + Self::MAX_ITEM_LEN;

    /// Bytes that the longest single item needs: `BR_TRANSACTION_SEC_CTX`.
    pub(crate) const MAX_ITEM_LEN: usize = 4 + 72;

    pub(crate) fn new() -> Self {
        Returns {
            bytes: [0; Self::CAPACITY],
            len: 0,
        }
    }

    /// What has been gathered.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// How many bytes have been gathered.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether another item of any kind fits.
    pub(crate) fn has_room(&self) -> bool {
        Self::CAPACITY - self.len >= Self::MAX_ITEM_LEN
    }

    /// Forgets what has been gathered (it was copied out).
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends bytes. Callers ask [`Returns::has_room`] before each item, so that it always fits.
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            // INVARIANT: `get_mut` has checked the bound, and the bytes have just been written.
            self.len += bytes.len();
        }
    }

    /// A return without arguments.
    pub(crate) fn push_code(&mut self, code: u32) {
        self.push(&code.to_ne_bytes());
    }

    /// A return that names a node: `BR_INCREFS` and its like.
    pub(crate) fn push_node(&mut self, code: u32, ptr: u64, cookie: u64) {
        self.push_code(code);
        self.push(&ptr.to_ne_bytes());
        self.push(&cookie.to_ne_bytes());
    }

    /// A return that names a notification.
    pub(crate) fn push_cookie(&mut self, code: u32, cookie: u64) {
        self.push_code(code);
        self.push(&cookie.to_ne_bytes());
    }

    /// `BR_FROZEN_BINDER`.
    pub(crate) fn push_frozen(&mut self, cookie: u64, is_frozen: bool) {
        self.push_code(br::FROZEN_BINDER);
        self.push(&cookie.to_ne_bytes());
        self.push(&u64_of(u32::from(is_frozen), 0).to_ne_bytes());
    }

    /// `BR_TRANSACTION`, `BR_TRANSACTION_SEC_CTX` or `BR_REPLY`.
    pub(crate) fn push_delivery(&mut self, code: u32, delivery: &Delivery) {
        let mut bytes = [0; 4 + 64];
        let (head, words) = bytes.split_at_mut(4);
        head.copy_from_slice(&code.to_ne_bytes());
        u64s_into(
            words,
            [
                delivery.ptr,
                delivery.cookie,
                u64_of(delivery.code, delivery.flags),
                // CAST: keeps the bits.
                u64_of(delivery.sender_pid as u32, delivery.sender_euid),
                delivery.data_size,
                delivery.offsets_size,
                delivery.data_address,
                delivery.offsets_address,
            ],
        );
        self.push(&bytes);
        if let Some(address) = delivery.security_context {
            self.push(&address.to_ne_bytes());
        }
    }
}

/// `struct binder_write_read`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteRead {
    pub(crate) write_size: u64,
    pub(crate) write_consumed: u64,
    pub(crate) write_buffer: u64,
    pub(crate) read_size: u64,
    pub(crate) read_consumed: u64,
    pub(crate) read_buffer: u64,
}

impl WriteRead {
    pub(crate) const SIZE: usize = 48;

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let [write_size, write_consumed, write_buffer, read_size, read_consumed, read_buffer] =
            u64s_from(bytes);
        WriteRead {
            write_size,
            write_consumed,
            write_buffer,
            read_size,
            read_consumed,
            read_buffer,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        u64s_into(
            &mut bytes,
            [
                self.write_size,
                self.write_consumed,
                self.write_buffer,
                self.read_size,
                self.read_consumed,
                self.read_buffer,
            ],
        );
        bytes
    }
}

/// `struct flat_binder_object`: an object in a payload, or the argument of
/// `BINDER_SET_CONTEXT_MGR_EXT`. `struct binder_fd_object` has the same shape, and the other objects
/// begin like this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlatObject {
    /// [`object`].
    pub(crate) kind: u32,
    /// [`node_flags`].
    pub(crate) flags: u32,
    /// Address of the object in its process; or, in the lower half, a handle or file descriptor.
    pub(crate) ptr: u64,
    pub(crate) cookie: u64,
}

/// Kinds of objects.
pub(crate) mod object {
    const fn kind(first: u8, second: u8, third: u8) -> u32 {
        u32::from_be_bytes([first, second, third, 0x85])
    }

    pub(crate) const BINDER: u32 = kind(b's', b'b', b'*');
    pub(crate) const WEAK_BINDER: u32 = kind(b'w', b'b', b'*');
    pub(crate) const HANDLE: u32 = kind(b's', b'h', b'*');
    pub(crate) const WEAK_HANDLE: u32 = kind(b'w', b'h', b'*');
    pub(crate) const FD: u32 = kind(b'f', b'd', b'*');
    pub(crate) const FDA: u32 = kind(b'f', b'd', b'a');
    pub(crate) const PTR: u32 = kind(b'p', b't', b'*');
}

impl FlatObject {
    pub(crate) const SIZE: usize = 24;

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let [head, ptr, cookie] = u64s_from(bytes);
        let [kind, flags] = u32s_from(&head.to_ne_bytes());
        FlatObject {
            kind,
            flags,
            ptr,
            cookie,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        u32s_into(&mut bytes, [self.kind, self.flags]);
        if let Some(tail) = bytes.last_chunk_mut::<16>() {
            u64s_into(tail, [self.ptr, self.cookie]);
        }
        bytes
    }

    /// The handle or file descriptor.
    pub(crate) fn number(&self) -> u32 {
        let [number, _] = u32s_from(&self.ptr.to_ne_bytes());
        number
    }

    /// Makes `number` the handle or file descriptor, and clears the other half.
    pub(crate) fn with_number(self, number: u32) -> Self {
        let mut bytes = [0; 8];
        u32s_into(&mut bytes, [number, 0]);
        FlatObject {
            ptr: u64::from_ne_bytes(bytes),
            ..self
        }
    }
}

/// A place in a buffer that the payload points to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which object the buffer is: its number in the table of offsets.
    pub(crate) parent: u64,
    /// In bytes.
    pub(crate) offset: u64,
}

/// `struct binder_buffer_object`: a buffer that the payload points to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BufferObject {
    /// User address in the sender.
    pub(crate) address: u64,
    /// In bytes.
    pub(crate) len: u64,
    /// Where the address has to be.
    pub(crate) pointer: Option<Place>,
}

impl BufferObject {
    /// Bytes behind those that are as in a [`FlatObject`].
    pub(crate) const TAIL: usize = 16;

    /// `BINDER_BUFFER_FLAG_HAS_PARENT`
    const HAS_PARENT: u32 = 1;

    pub(crate) fn from_parts(head: &FlatObject, tail: &[u8; Self::TAIL]) -> Self {
        let [parent, offset] = u64s_from(tail);
        let has_parent = head.flags & Self::HAS_PARENT != 0;
        BufferObject {
            address: head.ptr,
            len: head.cookie,
            pointer: has_parent.then_some(Place { parent, offset }),
        }
    }
}

/// `struct binder_fd_array_object`: file descriptors in a buffer that the payload points to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FdArrayObject {
    /// How many they are.
    pub(crate) count: u64,
    /// Where the first one is.
    pub(crate) place: Place,
}

impl FdArrayObject {
    /// Bytes behind those that are as in a [`FlatObject`].
    pub(crate) const TAIL: usize = 8;

    pub(crate) fn from_parts(head: &FlatObject, tail: &[u8; Self::TAIL]) -> Self {
        FdArrayObject {
            count: head.ptr,
            place: Place {
                parent: head.cookie,
                offset: u64::from_ne_bytes(*tail),
            },
        }
    }
}

/// Two halves that lie one after the other, as one word.
fn u64_of(first: u32, second: u32) -> u64 {
    let (low, high) = if cfg!(target_endian = "little") {
        (first, second)
    } else {
        (second, first)
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Lays `words` out one after the other, as far as there is room.
pub(crate) fn u64s_into<const N: usize>(bytes: &mut [u8], words: [u64; N]) {
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
}

/// Lays `words` out one after the other, as far as there is room.
pub(crate) fn u32s_into<const N: usize>(bytes: &mut [u8], words: [u32; N]) {
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
}

/// Takes words that lie one after the other; what is not there is 0.
pub(crate) fn u64s_from<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        if let Some(chunk) = chunk.first_chunk() {
            *word = u64::from_ne_bytes(*chunk);
        }
    }
    words
}

/// Takes words that lie one after the other; what is not there is 0.
pub(crate) fn u32s_from<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        if let Some(chunk) = chunk.first_chunk() {
            *word = u32::from_ne_bytes(*chunk);
        }
    }
    words
}

#[cfg(not(rust_ipc_host))]
mod check {
    //! The numbers above are those of the kernel's header, as its bindings have them.

    use core::mem::size_of;

    use kernel::uapi as header;

    use super::{
        bc, br, flags, ioctl, node_flags, object, BufferObject, FdArrayObject, FlatObject,
        WriteRead, PROTOCOL_VERSION,
    };

    macro_rules! same {
        ($($ours:expr, $theirs:ident;)*) => { $( kernel::static_assert!($ours == header::$theirs); )* };
    }

    same! {
        ioctl::WRITE_READ, BINDER_WRITE_READ;
        ioctl::SET_MAX_THREADS, BINDER_SET_MAX_THREADS;
        ioctl::SET_CONTEXT_MGR, BINDER_SET_CONTEXT_MGR;
        ioctl::THREAD_EXIT, BINDER_THREAD_EXIT;
        ioctl::VERSION, BINDER_VERSION;
        ioctl::GET_NODE_DEBUG_INFO, BINDER_GET_NODE_DEBUG_INFO;
        ioctl::GET_NODE_INFO_FOR_REF, BINDER_GET_NODE_INFO_FOR_REF;
        ioctl::SET_CONTEXT_MGR_EXT, BINDER_SET_CONTEXT_MGR_EXT;
        ioctl::FREEZE, BINDER_FREEZE;
        ioctl::GET_FROZEN_INFO, BINDER_GET_FROZEN_INFO;
        ioctl::ENABLE_ONEWAY_SPAM_DETECTION, BINDER_ENABLE_ONEWAY_SPAM_DETECTION;
        ioctl::GET_EXTENDED_ERROR, BINDER_GET_EXTENDED_ERROR;
        bc::TRANSACTION, binder_driver_command_protocol_BC_TRANSACTION;
        bc::REPLY, binder_driver_command_protocol_BC_REPLY;
        bc::FREE_BUFFER, binder_driver_command_protocol_BC_FREE_BUFFER;
        bc::INCREFS, binder_driver_command_protocol_BC_INCREFS;
        bc::ACQUIRE, binder_driver_command_protocol_BC_ACQUIRE;
        bc::RELEASE, binder_driver_command_protocol_BC_RELEASE;
        bc::DECREFS, binder_driver_command_protocol_BC_DECREFS;
        bc::INCREFS_DONE, binder_driver_command_protocol_BC_INCREFS_DONE;
        bc::ACQUIRE_DONE, binder_driver_command_protocol_BC_ACQUIRE_DONE;
        bc::REGISTER_LOOPER, binder_driver_command_protocol_BC_REGISTER_LOOPER;
        bc::ENTER_LOOPER, binder_driver_command_protocol_BC_ENTER_LOOPER;
        bc::EXIT_LOOPER, binder_driver_command_protocol_BC_EXIT_LOOPER;
        bc::TRANSACTION_SG, binder_driver_command_protocol_BC_TRANSACTION_SG;
        bc::REPLY_SG, binder_driver_command_protocol_BC_REPLY_SG;
        bc::REQUEST_DEATH_NOTIFICATION, binder_driver_command_protocol_BC_REQUEST_DEATH_NOTIFICATION;
        bc::CLEAR_DEATH_NOTIFICATION, binder_driver_command_protocol_BC_CLEAR_DEATH_NOTIFICATION;
        bc::DEAD_BINDER_DONE, binder_driver_command_protocol_BC_DEAD_BINDER_DONE;
        bc::REQUEST_FREEZE_NOTIFICATION, binder_driver_command_protocol_BC_REQUEST_FREEZE_NOTIFICATION;
        bc::CLEAR_FREEZE_NOTIFICATION, binder_driver_command_protocol_BC_CLEAR_FREEZE_NOTIFICATION;
        bc::FREEZE_NOTIFICATION_DONE, binder_driver_command_protocol_BC_FREEZE_NOTIFICATION_DONE;
        br::FROZEN_REPLY, binder_driver_return_protocol_BR_FROZEN_REPLY;
        br::ONEWAY_SPAM_SUSPECT, binder_driver_return_protocol_BR_ONEWAY_SPAM_SUSPECT;
        br::TRANSACTION_PENDING_FROZEN, binder_driver_return_protocol_BR_TRANSACTION_PENDING_FROZEN;
        br::FROZEN_BINDER, binder_driver_return_protocol_BR_FROZEN_BINDER;
        br::CLEAR_FREEZE_NOTIFICATION_DONE, binder_driver_return_protocol_BR_CLEAR_FREEZE_NOTIFICATION_DONE;
        br::ERROR, binder_driver_return_protocol_BR_ERROR;
        br::DEAD_BINDER, binder_driver_return_protocol_BR_DEAD_BINDER;
        br::CLEAR_DEATH_NOTIFICATION_DONE, binder_driver_return_protocol_BR_CLEAR_DEATH_NOTIFICATION_DONE;
        br::OK, binder_driver_return_protocol_BR_OK;
        br::TRANSACTION_SEC_CTX, binder_driver_return_protocol_BR_TRANSACTION_SEC_CTX;
        br::TRANSACTION, binder_driver_return_protocol_BR_TRANSACTION;
        br::REPLY, binder_driver_return_protocol_BR_REPLY;
        br::DEAD_REPLY, binder_driver_return_protocol_BR_DEAD_REPLY;
        br::TRANSACTION_COMPLETE, binder_driver_return_protocol_BR_TRANSACTION_COMPLETE;
        br::INCREFS, binder_driver_return_protocol_BR_INCREFS;
        br::ACQUIRE, binder_driver_return_protocol_BR_ACQUIRE;
        br::RELEASE, binder_driver_return_protocol_BR_RELEASE;
        br::DECREFS, binder_driver_return_protocol_BR_DECREFS;
        br::NOOP, binder_driver_return_protocol_BR_NOOP;
        br::SPAWN_LOOPER, binder_driver_return_protocol_BR_SPAWN_LOOPER;
        br::FAILED_REPLY, binder_driver_return_protocol_BR_FAILED_REPLY;
        flags::ONE_WAY, transaction_flags_TF_ONE_WAY;
        flags::ACCEPT_FDS, transaction_flags_TF_ACCEPT_FDS;
        object::BINDER, BINDER_TYPE_BINDER;
        object::WEAK_BINDER, BINDER_TYPE_WEAK_BINDER;
        object::HANDLE, BINDER_TYPE_HANDLE;
        object::WEAK_HANDLE, BINDER_TYPE_WEAK_HANDLE;
        object::FD, BINDER_TYPE_FD;
        object::FDA, BINDER_TYPE_FDA;
        object::PTR, BINDER_TYPE_PTR;
        BufferObject::HAS_PARENT, BINDER_BUFFER_FLAG_HAS_PARENT;
        node_flags::ACCEPTS_FDS, flat_binder_object_flags_FLAT_BINDER_FLAG_ACCEPTS_FDS;
        flags::CLEAR_BUF, transaction_flags_TF_CLEAR_BUF;
        flags::UPDATE_TXN, transaction_flags_TF_UPDATE_TXN;
        node_flags::PRIORITY_MASK, flat_binder_object_flags_FLAT_BINDER_FLAG_PRIORITY_MASK;
        node_flags::TXN_SECURITY_CTX, flat_binder_object_flags_FLAT_BINDER_FLAG_TXN_SECURITY_CTX;
    }
    kernel::static_assert!(header::BINDER_CURRENT_PROTOCOL_VERSION == 8 && PROTOCOL_VERSION == 8);
    kernel::static_assert!(WriteRead::SIZE == size_of::<header::binder_write_read>());
    kernel::static_assert!(FlatObject::SIZE == size_of::<header::flat_binder_object>());
    kernel::static_assert!(
        FlatObject::SIZE + BufferObject::TAIL == size_of::<header::binder_buffer_object>()
    );
    kernel::static_assert!(
        FlatObject::SIZE + FdArrayObject::TAIL == size_of::<header::binder_fd_array_object>()
    );
    kernel::static_assert!(size_of::<header::binder_transaction_data>() == 64);
    kernel::static_assert!(size_of::<header::binder_transaction_data_sg>() == 72);
    kernel::static_assert!(size_of::<header::binder_transaction_data_secctx>() == 72);
}

#[cfg(any(test, rust_ipc_kunit))]
mod tests;
