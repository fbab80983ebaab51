// SPDX-License-Identifier: GPL-2.0

//! What is sent: bytes, and objects that the driver translates on the way.

use std::{
    borrow::Cow,
    marker::PhantomData,
    os::fd::{AsRawFd, BorrowedFd},
};
use zerocopy::IntoBytes;

use crate::abi::{FlatObject, PtrCookie, TransactionData, object, word_from_u32};

/// A number by which a connection refers to a node of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u32);

impl Handle {
    /// The context manager's node, to which everybody may send without having been given it.
    pub const CONTEXT_MANAGER: Self = Self(0);
}

/// The payload of a message, sent without being copied first.
///
/// Bytes are borrowed. Only when an object is added does the payload become a copy of its own,
/// because objects lie among the bytes.
///
/// ```
/// # use rust_ipc::Payload;
/// # use std::os::fd::AsFd;
/// let stdin = std::io::stdin();
/// let mut payload = Payload::bytes(b"here is a file: ");
/// payload.push_fd(stdin.as_fd());
/// assert_eq!(payload.len(), 16 + 24);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Payload<'a> {
    data: Cow<'a, [u8]>,
    /// Where the objects are. Private, so that every object in it was put there by this module.
    offsets: Vec<u64>,
    /// The descriptors named in `data` are open for as long as this payload.
    fds: PhantomData<BorrowedFd<'a>>,
}

impl<'a> Payload<'a> {
    /// No bytes at all.
    pub const EMPTY: Self = Self::bytes(&[]);

    /// These bytes.
    pub const fn bytes(data: &'a [u8]) -> Self {
        Self {
            data: Cow::Borrowed(data),
            offsets: Vec::new(),
            fds: PhantomData,
        }
    }

    /// Length in bytes, objects included.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Adds bytes at the end.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.data.to_mut().extend_from_slice(bytes);
        self
    }

    /// Adds a file descriptor. The receiver gets its own for the same open file, if the target
    /// node takes file descriptors.
    pub fn push_fd(&mut self, fd: BorrowedFd<'a>) -> &mut Self {
        // A borrowed descriptor is never negative.
        self.push_object(object::FD, 0, word_from_u32(fd.as_raw_fd() as u32), 0)
    }

    /// Adds a node of the sender's own, which the receiver may call from then on. The numbers are
    /// of the sender's choice and come back with each call. `flags`
    /// ([`node_flag`](crate::abi::node_flag)) count when a node is sent for the first time.
    pub fn push_node(&mut self, node: PtrCookie, flags: u32) -> &mut Self {
        self.push_object(object::BINDER, flags, node.ptr, node.cookie)
    }

    /// Adds a handle. It arrives as the receiver's handle for the same node, or as the node itself
    /// if it is the receiver's own.
    pub fn push_handle(&mut self, handle: Handle) -> &mut Self {
        self.push_object(object::HANDLE, 0, word_from_u32(handle.0), 0)
    }

    fn push_object(&mut self, kind: u32, flags: u32, word: u64, cookie: u64) -> &mut Self {
        let data = self.data.to_mut();
        // The driver wants objects 4-aligned; 8 keeps their words aligned, too.
        data.resize(data.len().next_multiple_of(8), 0);
        self.offsets.push(data.len() as u64);
        let object = FlatObject {
            kind,
            flags,
            word,
            cookie,
        };
        data.extend_from_slice(object.as_bytes());
        self
    }

    /// The transaction that sends this payload, valid for as long as the payload is borrowed.
    pub(crate) fn transaction(&self, handle: Handle, code: u32, flags: u32) -> TransactionData {
        TransactionData {
            code,
            flags,
            data_size: self.data.len() as u64,
            offsets_size: size_of_val(self.offsets.as_slice()) as u64,
            buffer: self.data.as_ptr() as u64,
            offsets: self.offsets.as_ptr() as u64,
            ..TransactionData::for_handle(handle.0)
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_not_copied() {
        let bytes = [1, 2, 3];
        let payload = Payload::bytes(&bytes);
        let sent = payload.transaction(Handle(5), 6, 7);
        assert_eq!(sent.buffer, bytes.as_ptr() as u64);
        assert_eq!((sent.data_size, sent.offsets_size), (3, 0));
        assert_eq!((sent.code, sent.flags), (6, 7));
        assert_eq!(crate::abi::word_to_u32(sent.target), 5);
    }

    #[test]
    fn objects_are_aligned_and_listed() {
        let mut payload = Payload::bytes(b"abc");
        payload
            .push_node(PtrCookie { ptr: 1, cookie: 2 }, 0x100)
            .push_bytes(b"d")
            .push_handle(Handle(9));
        assert_eq!(payload.offsets, [8, 40]);
        assert_eq!(payload.len(), 64);
        assert_eq!(&payload.data[..8], b"abc\0\0\0\0\0");
        assert_eq!(payload.data[8..12], object::BINDER.to_ne_bytes());
        assert_eq!(payload.data[48..52], 9_u32.to_ne_bytes());
        assert_eq!(
            payload.transaction(Handle(0), 0, 0).offsets_size,
            16,
            "8 bytes an object"
        );
    }
}
