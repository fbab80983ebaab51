// SPDX-License-Identifier: GPL-2.0

//! Commands written to the driver and returns read from it, as enums.
//!
//! Nothing here calls the driver. [`Commands`] encodes; [`Returns`] decodes and takes nothing for
//! granted: a truncated or unknown return is an error, never a panic.

use core::{fmt, mem::size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::abi::{
    FrozenStateInfo, HandleCookie, PtrCookie, TransactionData, TransactionDataSecctx,
    TransactionDataSg, bc, br,
};

/// What a process tells the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Call a node, or send it a message (`TF_ONE_WAY`).
    Transaction(TransactionData),
    /// Answer the call that this thread is serving.
    Reply(TransactionData),
    /// Like `Transaction`, with room for scattered buffers.
    TransactionSg(TransactionDataSg),
    /// Like `Reply`, with room for scattered buffers.
    ReplySg(TransactionDataSg),
    /// Give back the delivered buffer that starts at this address.
    FreeBuffer(u64),
    /// Take a weak reference to a handle.
    Increfs(u32),
    /// Take a strong reference to a handle.
    Acquire(u32),
    /// Drop a strong reference to a handle.
    Release(u32),
    /// Drop a weak reference to a handle.
    Decrefs(u32),
    /// Answer to [`Return::Increfs`].
    IncrefsDone(PtrCookie),
    /// Answer to [`Return::Acquire`].
    AcquireDone(PtrCookie),
    /// This thread serves because of [`Return::SpawnLooper`].
    RegisterLooper,
    /// This thread serves.
    EnterLooper,
    /// This thread serves no longer.
    ExitLooper,
    /// Ask for [`Return::DeadBinder`].
    RequestDeathNotification(HandleCookie),
    /// Ask for it no longer.
    ClearDeathNotification(HandleCookie),
    /// Answer to [`Return::DeadBinder`], with its cookie.
    DeadBinderDone(u64),
    /// Ask for [`Return::FrozenBinder`].
    RequestFreezeNotification(HandleCookie),
    /// Ask for it no longer.
    ClearFreezeNotification(HandleCookie),
    /// Answer to [`Return::FrozenBinder`], with its cookie.
    FreezeNotificationDone(u64),
}

/// A sequence of encoded commands. Only whole commands are ever in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Commands {
    bytes: Vec<u8>,
}

impl Commands {
    /// An empty sequence, without memory of its own.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a command.
    pub fn push(&mut self, command: &Command) {
        match command {
            Command::Transaction(data) => self.encode(bc::TRANSACTION, data),
            Command::Reply(data) => self.encode(bc::REPLY, data),
            Command::TransactionSg(data) => self.encode(bc::TRANSACTION_SG, data),
            Command::ReplySg(data) => self.encode(bc::REPLY_SG, data),
            Command::FreeBuffer(address) => self.encode(bc::FREE_BUFFER, address),
            Command::Increfs(handle) => self.encode(bc::INCREFS, handle),
            Command::Acquire(handle) => self.encode(bc::ACQUIRE, handle),
            Command::Release(handle) => self.encode(bc::RELEASE, handle),
            Command::Decrefs(handle) => self.encode(bc::DECREFS, handle),
            Command::IncrefsDone(node) => self.encode(bc::INCREFS_DONE, node),
            Command::AcquireDone(node) => self.encode(bc::ACQUIRE_DONE, node),
            Command::RegisterLooper => self.encode(bc::REGISTER_LOOPER, &()),
            Command::EnterLooper => self.encode(bc::ENTER_LOOPER, &()),
            Command::ExitLooper => self.encode(bc::EXIT_LOOPER, &()),
            Command::RequestDeathNotification(watch) => {
                self.encode(bc::REQUEST_DEATH_NOTIFICATION, watch);
            }
            Command::ClearDeathNotification(watch) => {
                self.encode(bc::CLEAR_DEATH_NOTIFICATION, watch);
            }
            Command::DeadBinderDone(cookie) => self.encode(bc::DEAD_BINDER_DONE, cookie),
            Command::RequestFreezeNotification(watch) => {
                self.encode(bc::REQUEST_FREEZE_NOTIFICATION, watch);
            }
            Command::ClearFreezeNotification(watch) => {
                self.encode(bc::CLEAR_FREEZE_NOTIFICATION, watch);
            }
            Command::FreezeNotificationDone(cookie) => {
                self.encode(bc::FREEZE_NOTIFICATION_DONE, cookie);
            }
        }
    }

    fn encode<T: IntoBytes + Immutable>(&mut self, number: u32, payload: &T) {
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(payload.as_bytes());
    }

    /// The encoded commands.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no command.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Removes all commands and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Removes the first `len_bytes` bytes: what the driver says that it consumed.
    pub fn consume(&mut self, len_bytes: usize) {
        self.bytes.drain(..len_bytes.min(self.bytes.len()));
    }

    /// Removes the first command, if there is one.
    pub fn consume_first(&mut self) {
        if let Ok((number, _)) = u32::read_from_prefix(&self.bytes) {
            self.consume(size_of::<u32>() + payload_bytes(number));
        }
    }

    /// Removes every transaction and reply, and answers whether there was one.
    pub(crate) fn forget_transactions(&mut self) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        let mut kept = Vec::new();
        let mut rest = self.bytes.as_slice();
        while let Ok((number, _)) = u32::read_from_prefix(rest) {
            let len_bytes = size_of::<u32>() + payload_bytes(number);
            let (command, after) = rest.split_at(len_bytes.min(rest.len()));
            if !matches!(
                number,
                bc::TRANSACTION | bc::REPLY | bc::TRANSACTION_SG | bc::REPLY_SG
            ) {
                kept.extend_from_slice(command);
            }
            rest = after;
        }
        let forgotten = kept.len() != self.bytes.len();
        self.bytes = kept;
        forgotten
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commands({} bytes)", self.bytes.len())
    }
}

impl<'a> FromIterator<&'a Command> for Commands {
    fn from_iter<I: IntoIterator<Item = &'a Command>>(commands: I) -> Self {
        let mut encoded = Self::new();
        commands.into_iter().for_each(|c| encoded.push(c));
        encoded
    }
}

/// The size that is part of a command's or return's number, as of any ioctl number.
const fn payload_bytes(number: u32) -> usize {
    ((number >> 16) & 0x3fff) as usize
}

/// What the driver tells a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Return {
    /// An error code.
    Error(i32),
    /// Nothing.
    Ok,
    /// Nothing.
    Noop,
    /// A call or a one-way message.
    Transaction(TransactionData),
    /// A call or a one-way message, with the sender's security context.
    TransactionSecCtx(TransactionDataSecctx),
    /// The answer to this thread's call.
    Reply(TransactionData),
    /// What was sent last is on its way.
    TransactionComplete,
    /// As `TransactionComplete`, and the sender takes much of the target's one-way space.
    OnewaySpamSuspect,
    /// As `TransactionComplete`, and the target is frozen.
    TransactionPendingFrozen,
    /// What was sent last failed: the target is dead.
    DeadReply,
    /// What was sent last failed.
    FailedReply,
    /// What was sent last failed: the target is frozen.
    FrozenReply,
    /// Somebody refers to this node of ours now, weakly.
    Increfs(PtrCookie),
    /// Somebody refers to this node of ours now.
    Acquire(PtrCookie),
    /// Nobody refers to this node of ours any more, except weakly.
    Release(PtrCookie),
    /// Nobody refers to this node of ours any more.
    Decrefs(PtrCookie),
    /// Start another looper.
    SpawnLooper,
    /// The owner of the handle that was watched with this cookie is dead.
    DeadBinder(u64),
    /// The watch with this cookie has ended.
    ClearDeathNotificationDone(u64),
    /// The owner of a watched handle was frozen or thawed.
    FrozenBinder(FrozenStateInfo),
    /// The watch with this cookie has ended.
    ClearFreezeNotificationDone(u64),
}

/// Bytes from the driver that are no return this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedReturn {
    /// The number read, or the bytes left if they are too few for one.
    pub number: u32,
    /// Bytes that followed the number.
    pub bytes_left: usize,
}

impl fmt::Display for MalformedReturn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "malformed return {:#010x} with {} bytes after it",
            self.number, self.bytes_left
        )
    }
}

impl core::error::Error for MalformedReturn {}

/// Iterates over the returns in a filled read buffer. It ends after the first error.
#[derive(Clone, Debug)]
pub struct Returns<'a> {
    bytes: &'a [u8],
}

impl<'a> Returns<'a> {
    /// Starts at the first byte of `bytes`, which are the ones that the driver filled.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn decode(&mut self) -> Result<Return, MalformedReturn> {
        let malformed = |number, rest: &[u8]| MalformedReturn {
            number,
            bytes_left: rest.len(),
        };
        let (number, rest) =
            u32::read_from_prefix(self.bytes).map_err(|_| malformed(0, self.bytes))?;
        let (payload, rest) = rest
            .split_at_checked(payload_bytes(number))
            .ok_or_else(|| malformed(number, rest))?;
        self.bytes = rest;
        // The number holds the payload's size, so for a known number `get` cannot fail.
        let error = malformed(number, payload);
        fn get<T: FromBytes>(payload: &[u8], error: MalformedReturn) -> Result<T, MalformedReturn> {
            T::read_from_bytes(payload).map_err(|_| error)
        }
        Ok(match number {
            br::ERROR => Return::Error(get(payload, error)?),
            br::OK => Return::Ok,
            br::NOOP => Return::Noop,
            br::TRANSACTION => Return::Transaction(get(payload, error)?),
            br::TRANSACTION_SEC_CTX => Return::TransactionSecCtx(get(payload, error)?),
            br::REPLY => Return::Reply(get(payload, error)?),
            br::TRANSACTION_COMPLETE => Return::TransactionComplete,
            br::ONEWAY_SPAM_SUSPECT => Return::OnewaySpamSuspect,
            br::TRANSACTION_PENDING_FROZEN => Return::TransactionPendingFrozen,
            br::DEAD_REPLY => Return::DeadReply,
            br::FAILED_REPLY => Return::FailedReply,
            br::FROZEN_REPLY => Return::FrozenReply,
            br::INCREFS => Return::Increfs(get(payload, error)?),
            br::ACQUIRE => Return::Acquire(get(payload, error)?),
            br::RELEASE => Return::Release(get(payload, error)?),
            br::DECREFS => Return::Decrefs(get(payload, error)?),
            br::SPAWN_LOOPER => Return::SpawnLooper,
            br::DEAD_BINDER => Return::DeadBinder(get(payload, error)?),
            br::CLEAR_DEATH_NOTIFICATION_DONE => {
                Return::ClearDeathNotificationDone(get(payload, error)?)
            }
            br::FROZEN_BINDER => Return::FrozenBinder(get(payload, error)?),
            br::CLEAR_FREEZE_NOTIFICATION_DONE => {
                Return::ClearFreezeNotificationDone(get(payload, error)?)
            }
            _ => return Err(error),
        })
    }
}

impl Iterator for Returns<'_> {
    type Item = Result<Return, MalformedReturn>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let decoded = self.decode();
        if decoded.is_err() {
            self.bytes = &[];
        }
        Some(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> HandleCookie {
        HandleCookie {
            handle: 3,
            cookie: 0x0102_0304_0506_0708,
        }
    }

    /// Every command, with the bytes it must take: 4 for the number and the payload.
    fn every_command() -> Vec<(Command, usize)> {
        let call = TransactionData::for_handle(7);
        let sg = TransactionDataSg {
            transaction_data: call,
            buffers_size: 16,
        };
        let node = PtrCookie { ptr: 1, cookie: 2 };
        vec![
            (Command::Transaction(call), 68),
            (Command::Reply(call), 68),
            (Command::TransactionSg(sg), 76),
            (Command::ReplySg(sg), 76),
            (Command::FreeBuffer(0x7000), 12),
            (Command::Increfs(1), 8),
            (Command::Acquire(1), 8),
            (Command::Release(1), 8),
            (Command::Decrefs(1), 8),
            (Command::IncrefsDone(node), 20),
            (Command::AcquireDone(node), 20),
            (Command::RegisterLooper, 4),
            (Command::EnterLooper, 4),
            (Command::ExitLooper, 4),
            (Command::RequestDeathNotification(watch()), 16),
            (Command::ClearDeathNotification(watch()), 16),
            (Command::DeadBinderDone(9), 12),
            (Command::RequestFreezeNotification(watch()), 16),
            (Command::ClearFreezeNotification(watch()), 16),
            (Command::FreezeNotificationDone(9), 12),
        ]
    }

    #[test]
    fn each_command_takes_the_bytes_its_number_says() {
        for (command, len_bytes) in every_command() {
            let encoded: Commands = [&command].into_iter().collect();
            assert_eq!(encoded.len(), len_bytes, "{command:?}");
            let (number, _) = u32::read_from_prefix(encoded.as_bytes()).unwrap();
            assert_eq!(4 + payload_bytes(number), len_bytes, "{command:?}");
            assert_eq!((number >> 8) & 0xff, u32::from(b'c'), "{command:?}");
        }
    }

    #[test]
    fn a_watch_is_packed() {
        let encoded: Commands = [&Command::RequestDeathNotification(watch())]
            .into_iter()
            .collect();
        let mut expected = bc::REQUEST_DEATH_NOTIFICATION.to_ne_bytes().to_vec();
        expected.extend(3_u32.to_ne_bytes());
        expected.extend(0x0102_0304_0506_0708_u64.to_ne_bytes());
        assert_eq!(encoded.as_bytes(), expected);
    }

    #[test]
    fn commands_are_consumed_from_the_front() {
        let all = every_command();
        let mut encoded: Commands = all.iter().map(|(command, _)| command).collect();
        for (_, len_bytes) in &all {
            let before = encoded.len();
            encoded.consume_first();
            assert_eq!(before - encoded.len(), *len_bytes);
        }
        assert!(encoded.is_empty());
        encoded.consume_first();
        encoded.consume(100);
        assert!(encoded.is_empty());
    }

    #[test]
    fn transactions_are_forgotten_and_the_rest_is_kept() {
        let all = every_command();
        let mut encoded: Commands = all.iter().map(|(command, _)| command).collect();
        let others: Commands = all[4..].iter().map(|(command, _)| command).collect();
        assert!(encoded.forget_transactions());
        assert_eq!(encoded, others);
        assert!(!encoded.forget_transactions());
        assert_eq!(encoded, others);
        assert!(!Commands::new().forget_transactions());
    }

    fn bytes_of(number: u32, payload: &[u8]) -> Vec<u8> {
        [&number.to_ne_bytes(), payload].concat()
    }

    #[test]
    fn returns_follow_one_another() {
        let call = TransactionData {
            target: 0x1111,
            cookie: 0x2222,
            code: 3,
            flags: 4,
            sender_pid: 5,
            sender_euid: 6,
            data_size: 7,
            offsets_size: 8,
            buffer: 9,
            offsets: 10,
        };
        let frozen = FrozenStateInfo {
            cookie: 1,
            is_frozen: 1,
            reserved: 0,
        };
        let node = PtrCookie { ptr: 1, cookie: 2 };
        let mut bytes = bytes_of(br::NOOP, &[]);
        bytes.extend(bytes_of(br::INCREFS, node.as_bytes()));
        bytes.extend(bytes_of(br::ACQUIRE, node.as_bytes()));
        bytes.extend(bytes_of(br::DEAD_BINDER, &77_u64.to_ne_bytes()));
        bytes.extend(bytes_of(br::FROZEN_BINDER, frozen.as_bytes()));
        bytes.extend(bytes_of(br::TRANSACTION_COMPLETE, &[]));
        bytes.extend(bytes_of(br::TRANSACTION, call.as_bytes()));
        let decoded: Result<Vec<_>, _> = Returns::new(&bytes).collect();
        assert_eq!(
            decoded.unwrap(),
            [
                Return::Noop,
                Return::Increfs(node),
                Return::Acquire(node),
                Return::DeadBinder(77),
                Return::FrozenBinder(frozen),
                Return::TransactionComplete,
                Return::Transaction(call),
            ]
        );
    }

    #[test]
    fn the_two_kinds_of_call_are_told_apart() {
        let call = TransactionDataSecctx {
            secctx: 0x4000,
            ..Default::default()
        };
        let bytes = bytes_of(br::TRANSACTION_SEC_CTX, call.as_bytes());
        let mut returns = Returns::new(&bytes);
        assert_eq!(returns.next(), Some(Ok(Return::TransactionSecCtx(call))));
        assert_eq!(returns.next(), None);
    }

    #[test]
    fn nothing_malformed_is_accepted() {
        // A number without its payload, at every length.
        let whole = bytes_of(br::REPLY, TransactionData::default().as_bytes());
        for len_bytes in 1..whole.len() {
            let mut returns = Returns::new(&whole[..len_bytes]);
            assert!(returns.next().unwrap().is_err(), "{len_bytes}");
            assert_eq!(returns.next(), None, "it ends after an error");
        }
        // Unknown numbers, among them a command and BR_REPLY with another size.
        for number in [
            0,
            u32::MAX,
            bc::ENTER_LOOPER,
            br::REPLY & !0x3fff_0000,
            0x720e,
        ] {
            let bytes = bytes_of(number, &[]);
            assert!(Returns::new(&bytes).next().unwrap().is_err(), "{number:#x}");
        }
    }
}
