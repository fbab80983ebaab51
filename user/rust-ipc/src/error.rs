// SPDX-License-Identifier: GPL-2.0

//! What can go wrong.

use core::fmt;
use rustix::io::Errno;

use crate::abi::PROTOCOL_VERSION;
use crate::wire::MalformedReturn;

/// The result of most functions of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// Why an operation did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    Os {
        /// The system call or the ioctl.
        operation: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// The device speaks another version of the protocol than [`PROTOCOL_VERSION`].
    Version(i32),
    /// The target of the transaction is gone, or there is no context manager, or its area is
    /// unmapped. The number is what `BINDER_GET_EXTENDED_ERROR` says, 0 if it says nothing.
    Dead(ErrnoValue),
    /// The transaction failed: no room in the receiver's area (`ENOSPC`), an object that may not
    /// be sent (`EPERM`, `EINVAL`), a call where none is possible (`EPROTO`), ….
    Failed(ErrnoValue),
    /// The target is frozen.
    Frozen,
    /// The other side answered with this status instead of data.
    Status(i32),
    /// This thread of the process has a [`Thread`](crate::Thread) for this connection already.
    ThreadInUse,
    /// The driver returned something that this crate does not understand.
    Malformed(MalformedReturn),
    /// The driver returned a buffer that does not lie within the area.
    OutsideArea {
        /// Where it should be.
        address: u64,
        /// How long it should be, in bytes.
        len_bytes: u64,
    },
}

/// An errno value as the driver reports it: negative, or 0 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrnoValue(pub i32);

impl ErrnoValue {
    /// The errno, if the driver gave one.
    pub fn errno(self) -> Option<Errno> {
        (self.0 < 0).then(|| Errno::from_raw_os_error(-self.0))
    }
}

impl fmt::Display for ErrnoValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno() {
            Some(errno) => write!(f, " ({errno})"),
            None => Ok(()),
        }
    }
}

impl Error {
    pub(crate) fn os(operation: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Os { operation, errno }
    }

    /// The errno, if the error has one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Os { errno, .. } => Some(*errno),
            Self::Dead(value) | Self::Failed(value) => value.errno(),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os { operation, errno } => write!(f, "{operation}: {errno}"),
            Self::Version(found) => write!(
                f,
                "the device speaks protocol {found}, this program {PROTOCOL_VERSION}"
            ),
            Self::Dead(value) => write!(f, "the target is dead{value}"),
            Self::Failed(value) => write!(f, "the transaction failed{value}"),
            Self::Frozen => f.write_str("the target is frozen"),
            Self::Status(status) => write!(f, "the other side answered with status {status}"),
            Self::ThreadInUse => {
                f.write_str("this thread is registered with this connection already")
            }
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::OutsideArea { address, len_bytes } => write!(
                f,
                "the driver names {len_bytes} bytes at {address:#x}, outside of the area"
            ),
        }
    }
}

impl core::error::Error for Error {}

impl From<MalformedReturn> for Error {
    fn from(malformed: MalformedReturn) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Os { errno, .. } => errno.into(),
            other => Self::other(other),
        }
    }
}
