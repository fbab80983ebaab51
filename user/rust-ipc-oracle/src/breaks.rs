// SPDX-License-Identifier: GPL-2.0

//! Faults that a driver might have, put between one driver and its user: a comparison that does
//! not notice them is worth nothing. See `tests/breaks.rs`.

use rust_ipc::abi::{bc, br};

use crate::{
    sys::Outcome,
    wire::{NOWHERE, return_len},
};

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// `BR_TRANSACTION_COMPLETE` does not come.
    LostComplete,
    /// Two returns come in the other order.
    SwappedReturns,
    /// Another errno, where nothing is to be had.
    WrongErrno,
    /// An ioctl that fails says that it did not.
    LostErrno,
    /// A command counts as not carried out.
    Unconsumed,
    /// The caller's pid is another one.
    WrongPid,
    /// The code of a call is another one.
    WrongCode,
    /// The last byte of a message is missing.
    ShortData,
    /// A message lies elsewhere.
    MovedBuffer,
    /// A buffer that is given back stays in use.
    LostFree,
    /// A strong reference that is given up stays.
    LostRelease,
    /// A strong reference is counted as a weak one.
    WeakAcquire,
    /// The answer to `BR_ACQUIRE` is overlooked.
    LostAcquireDone,
    /// The answer to `BR_INCREFS` is overlooked.
    LostIncrefsDone,
    /// A death notification has another cookie.
    WrongCookie,
    /// A death notification is not asked for.
    LostRequest,
    /// The answer to `BR_DEAD_BINDER` is overlooked.
    LostDeadDone,
    /// A failure is taken for a death.
    DeadForFailed,
    /// No further thread is asked for.
    LostSpawn,
    /// A looper is not known as such.
    LostEnter,
    /// The objects of a message are passed on as they are.
    LostObjects,
    /// A reply may not carry files although the call said so.
    LostAcceptFds,
    /// A buffer is not cleared although the sender said so.
    LostClear,
    /// A node is named by another address.
    WrongNode,
    /// A scattered buffer has less room.
    ShortScatter,
    /// A thread's exit is not noticed.
    LostThreadExit,
    /// The thread's error cannot be asked for.
    WrongExtendedError,
    /// A frozen process is said not to be.
    WrongFrozen,
    /// A message to a frozen process seems to have arrived.
    LostPending,
    /// A message does not replace the one before it.
    LostUpdate,
    /// The answer to `BR_FROZEN_BINDER` is overlooked.
    LostFreezeDone,
    /// Who sends too much is not told.
    LostSpam,
}

impl Break {
    /// All of them: name, and the topic whose scripts notice.
    pub const ALL: [(&'static str, &'static str, Self); 32] = [
        ("lost-complete", "calls", Self::LostComplete),
        ("swapped-returns", "references", Self::SwappedReturns),
        ("wrong-errno", "calls", Self::WrongErrno),
        ("lost-errno", "ioctls", Self::LostErrno),
        ("unconsumed", "calls", Self::Unconsumed),
        ("wrong-pid", "calls", Self::WrongPid),
        ("wrong-code", "calls", Self::WrongCode),
        ("short-data", "calls", Self::ShortData),
        ("moved-buffer", "calls", Self::MovedBuffer),
        ("lost-free", "calls", Self::LostFree),
        ("lost-release", "references", Self::LostRelease),
        ("weak-acquire", "references", Self::WeakAcquire),
        ("lost-acquire-done", "references", Self::LostAcquireDone),
        ("lost-increfs-done", "references", Self::LostIncrefsDone),
        ("wrong-cookie", "death", Self::WrongCookie),
        ("lost-request", "death", Self::LostRequest),
        ("lost-dead-done", "death", Self::LostDeadDone),
        ("dead-for-failed", "calls", Self::DeadForFailed),
        ("lost-spawn", "loopers", Self::LostSpawn),
        ("lost-enter", "loopers", Self::LostEnter),
        ("lost-objects", "references", Self::LostObjects),
        ("lost-accept-fds", "files", Self::LostAcceptFds),
        ("lost-clear", "calls", Self::LostClear),
        ("wrong-node", "references", Self::WrongNode),
        ("short-scatter", "scatter", Self::ShortScatter),
        ("lost-thread-exit", "death", Self::LostThreadExit),
        ("wrong-extended-error", "calls", Self::WrongExtendedError),
        ("wrong-frozen", "freeze", Self::WrongFrozen),
        ("lost-pending", "freeze", Self::LostPending),
        ("lost-update", "freeze", Self::LostUpdate),
        ("lost-freeze-done", "freeze", Self::LostFreezeDone),
        ("lost-spam", "spam", Self::LostSpam),
    ];

    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        let (.., found) = Self::ALL.into_iter().find(|&(own, ..)| own == name)?;
        Some(found)
    }

    /// Alters commands on their way to the driver. Their length stays.
    pub fn commands(self, commands: &mut [u8]) {
        let mut at = 0;
        while let Some(code) = word(commands, at) {
            let end = at + 4 + ((code >> 16) & 0x3fff) as usize;
            if end > commands.len() {
                return;
            }
            let arguments = at + 4;
            match (self, code) {
                (Self::LostFree, bc::FREE_BUFFER) => put_long(commands, arguments, NOWHERE),
                (Self::LostRelease, bc::RELEASE) => put(commands, arguments, 9999),
                (Self::WeakAcquire, bc::ACQUIRE) => put(commands, at, bc::INCREFS),
                (Self::LostAcquireDone, bc::ACQUIRE_DONE)
                | (Self::LostIncrefsDone, bc::INCREFS_DONE)
                | (Self::LostDeadDone, bc::DEAD_BINDER_DONE)
                | (Self::LostFreezeDone, bc::FREEZE_NOTIFICATION_DONE) => {
                    put_long(commands, arguments, 0xbad_bad);
                }
                (Self::WrongCookie, bc::REQUEST_DEATH_NOTIFICATION) => {
                    put_long(commands, arguments + 4, 0xbad_bad);
                }
                (Self::LostRequest, bc::REQUEST_DEATH_NOTIFICATION) => {
                    put(commands, arguments, 9999);
                }
                (Self::LostEnter, bc::ENTER_LOOPER) => put(commands, at, bc::EXIT_LOOPER),
                (Self::LostObjects, bc::TRANSACTION | bc::TRANSACTION_SG) => {
                    put_long(commands, arguments + 40, 0);
                }
                (Self::LostAcceptFds, bc::TRANSACTION) => {
                    let flags = word(commands, arguments + 20).unwrap_or(0);
                    put(commands, arguments + 20, flags & !0x10);
                }
                (Self::LostUpdate, bc::TRANSACTION) => {
                    let flags = word(commands, arguments + 20).unwrap_or(0);
                    put(commands, arguments + 20, flags & !0x40);
                }
                (Self::LostClear, bc::TRANSACTION) => {
                    let flags = word(commands, arguments + 20).unwrap_or(0);
                    put(commands, arguments + 20, flags & !0x20);
                }
                (Self::ShortScatter, bc::TRANSACTION_SG) => {
                    let size = long(commands, arguments + 64).unwrap_or(0);
                    put_long(commands, arguments + 64, size.saturating_sub(8));
                }
                _ => {}
            }
            at = end;
        }
    }

    /// Alters what a `BINDER_WRITE_READ` says: its result, how much was written and read, and the
    /// bytes that were read.
    pub fn returns(
        self,
        result: &mut Outcome,
        written: &mut u64,
        filled: &mut u64,
        bytes: &mut [u8],
    ) {
        match self {
            Self::WrongErrno if *result == Err(libc::EAGAIN) => *result = Err(libc::EIO),
            Self::LostErrno if *result == Err(libc::EINVAL) => *result = Ok(0),
            Self::Unconsumed => *written = written.saturating_sub(4),
            _ => {}
        }
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some(code) = word(bytes, at).filter(|_| at < *filled as usize) {
            starts.push((at, code));
            at += 4 + return_len(code);
        }
        for &(at, code) in &starts {
            let arguments = at + 4;
            match (self, code) {
                (Self::LostComplete, br::TRANSACTION_COMPLETE) => put(bytes, at, br::NOOP),
                (Self::DeadForFailed, br::FAILED_REPLY) => put(bytes, at, br::DEAD_REPLY),
                (Self::LostPending, br::TRANSACTION_PENDING_FROZEN)
                | (Self::LostSpam, br::ONEWAY_SPAM_SUSPECT) => {
                    put(bytes, at, br::TRANSACTION_COMPLETE);
                }
                (Self::WrongFrozen, br::FROZEN_BINDER) => put(bytes, arguments + 8, 0),
                (Self::LostSpawn, br::SPAWN_LOOPER) => put(bytes, at, br::NOOP),
                (Self::WrongPid, br::TRANSACTION) => put(bytes, arguments + 24, 1),
                (Self::WrongCode, br::TRANSACTION) => {
                    let code = word(bytes, arguments + 16).unwrap_or(0);
                    put(bytes, arguments + 16, code ^ 1);
                }
                (Self::ShortData, br::TRANSACTION | br::REPLY) => {
                    let size = long(bytes, arguments + 32).unwrap_or(0);
                    put_long(bytes, arguments + 32, size.saturating_sub(1));
                }
                (Self::MovedBuffer, br::TRANSACTION | br::REPLY) => {
                    let address = long(bytes, arguments + 48).unwrap_or(0);
                    put_long(bytes, arguments + 48, address + 8);
                }
                (Self::WrongNode, br::ACQUIRE | br::INCREFS | br::RELEASE | br::DECREFS) => {
                    let address = long(bytes, arguments).unwrap_or(0);
                    put_long(bytes, arguments, address + 1);
                }
                _ => {}
            }
        }
        if self == Self::SwappedReturns {
            // The first two that are not alike, and as long as each other.
            let pair = starts
                .iter()
                .zip(starts.iter().skip(1))
                .find(|((_, one), (_, other))| {
                    one != other && *one != br::NOOP && return_len(*one) == return_len(*other)
                });
            if let Some((&(first, _), &(second, _))) = pair {
                for offset in 0..second - first {
                    bytes.swap(first + offset, second + offset);
                }
            }
        }
    }

    /// Alters what another ioctl says.
    pub fn ioctl(self, request: u32, result: &mut Outcome) {
        use rust_ipc::abi::ioctl;
        match self {
            Self::LostErrno if result.is_err() => *result = Ok(0),
            Self::WrongExtendedError if request == ioctl::GET_EXTENDED_ERROR => {
                *result = Err(libc::EFAULT);
            }
            _ => {}
        }
    }

    /// Whether an ioctl reaches the driver at all.
    pub fn drops(self, request: u32) -> bool {
        self == Self::LostThreadExit && request == rust_ipc::abi::ioctl::THREAD_EXIT
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(room) = bytes.get_mut(at..at + 4) {
        room.copy_from_slice(&value.to_ne_bytes());
    }
}

fn put_long(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(room) = bytes.get_mut(at..at + 8) {
        room.copy_from_slice(&value.to_ne_bytes());
    }
}
