// SPDX-License-Identifier: GPL-2.0

//! The receive area and the buffers in it.
//!
//! The kernel writes into the area while other processes send; this process can only read. Most of
//! its pages do not exist most of the time: touching one is SIGBUS. What is certain is this, and
//! every slice handed out rests upon it: **from its delivery until it is given back with
//! `BC_FREE_BUFFER`, a buffer's pages are present and its bytes do not change.** So slices are made
//! only within a delivered buffer, they borrow from the [`Received`] that stands for it, and only
//! dropping that gives the buffer back.
#![allow(unsafe_code)]

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::Arc,
};

use rustix::{
    io::Errno,
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};
use zerocopy::FromBytes;

use crate::{
    abi::{FlatObject, PtrCookie, TransactionData, object, word_to_u32},
    connection::Shared,
    error::{Error, Result},
    payload::Handle,
    wire::Command,
};

/// The mapping.
///
/// # Invariants
///
/// `start` is the beginning of a mapping of the device, of `len_bytes` bytes (whole pages), that is
/// unmapped when this is dropped and not before.
pub(crate) struct Area {
    start: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: The mapping belongs to the process, not to a thread. Nothing in this type is tied to the
// thread that made it.
unsafe impl Send for Area {}

// SAFETY: All that can be done with a shared `Area` is to read from it.
unsafe impl Sync for Area {}

impl Area {
    pub(crate) fn map(device: BorrowedFd<'_>, len_bytes: usize) -> Result<Self> {
        let len_bytes = len_bytes
            .checked_next_multiple_of(page_size())
            .ok_or(Error::Os {
                operation: "mmap",
                errno: Errno::NOMEM,
            })?;
        // SAFETY: The kernel chooses an address where nothing is mapped.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                len_bytes,
                ProtFlags::READ,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
                device,
                0,
            )
        }
        .map_err(Error::os("mmap"))?;
        let start = NonNull::new(start.cast()).ok_or(Error::Os {
            operation: "mmap",
            errno: Errno::NOMEM,
        })?;
        Ok(Self { start, len_bytes })
    }

    /// The addresses of the mapping.
    pub(crate) fn addresses(&self) -> Range<u64> {
        let start = self.start.as_ptr() as u64;
        start..start + self.len_bytes as u64
    }

    /// The `len_bytes` at `address`, if they lie within the area.
    fn locate(&self, address: u64, len_bytes: u64) -> Result<NonNull<[u8]>> {
        let outside = Error::OutsideArea { address, len_bytes };
        let area = self.addresses();
        let end = address.checked_add(len_bytes).ok_or(outside)?;
        if address < area.start || end > area.end {
            return Err(outside);
        }
        // Both fit in the area, so they fit in a `usize`.
        let offset = (address - area.start) as usize;
        // SAFETY: The offset is within the mapping, as was just checked.
        let start = unsafe { self.start.add(offset) };
        Ok(NonNull::slice_from_raw_parts(start, len_bytes as usize))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: By the invariants this is our mapping. Slices of it borrow from a `Received`,
        // which keeps the `Area` alive.
        // An error would mean that somebody else unmapped it: nothing is left to do then.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len_bytes) };
    }
}

/// A buffer in this process's receive area, as delivered. Dropping it gives it back to the driver,
/// with the file descriptors in it that were not taken out.
///
/// It may be sent to other threads; any of them may drop it.
///
/// # Invariants
///
/// `data` and `offsets` lie within one delivered buffer of `shared`'s area, which starts where
/// `data` starts. It is live: nothing but this value gives it back.
pub struct Received {
    shared: Arc<Shared>,
    data: NonNull<[u8]>,
    offsets: NonNull<[u8]>,
    fds: VecDeque<OwnedFd>,
    /// Somebody else has the duty to give the buffer back, and this value is being dropped.
    given_back: bool,
}

// SAFETY: The buffer is in memory of the whole process, and it may be given back by any thread.
unsafe impl Send for Received {}

// SAFETY: All that can be done with a shared `Received` is to read from it.
unsafe impl Sync for Received {}

impl Received {
    /// Takes charge of the buffer that a `BR_TRANSACTION` or `BR_REPLY` names.
    ///
    /// # Safety
    ///
    /// `delivered` was read from the driver, through the file of `shared`, and this function is
    /// called once for it.
    pub(crate) unsafe fn new(shared: &Arc<Shared>, delivered: &TransactionData) -> Result<Self> {
        let area = shared.area();
        let data = area.locate(delivered.buffer, delivered.data_size)?;
        let offsets = match delivered.offsets_size {
            // Without objects the address may be anything.
            0 => NonNull::slice_from_raw_parts(data.cast(), 0),
            len_bytes => area.locate(delivered.offsets, len_bytes)?,
        };
        let mut received = Self {
            shared: shared.clone(),
            data,
            offsets,
            fds: VecDeque::new(),
            given_back: false,
        };
        let fds = received
            .raw_objects()
            .filter(|(_, object)| object.kind == object::FD)
            .filter_map(|(_, object)| i32::try_from(word_to_u32(object.word)).ok())
            // SAFETY: The driver translated this object (objects that it does not translate are
            // refused when they are sent): the descriptor is a new one, installed for this
            // delivery, and nobody else in this process knows of it.
            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
            .collect();
        received.fds = fds;
        Ok(received)
    }

    /// The payload, where the driver put it: in the receive area.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: By the invariants the bytes are in a live buffer, so they are readable and do not
        // change. It stays live while `self` is borrowed.
        unsafe { self.data.as_ref() }
    }

    /// The address of the buffer, within the receive area.
    pub fn address(&self) -> u64 {
        self.data.cast::<u8>().as_ptr() as u64
    }

    /// Its distance from the beginning of the area, in bytes.
    pub fn area_offset_bytes(&self) -> u64 {
        self.address() - self.shared.area().addresses().start
    }

    /// The objects in the payload, each with its offset from the beginning of it in bytes.
    pub fn objects(&self) -> impl Iterator<Item = (usize, Object)> + '_ {
        self.raw_objects().map(|(offset, raw)| {
            let node = PtrCookie {
                ptr: raw.word,
                cookie: raw.cookie,
            };
            let handle = Handle(word_to_u32(raw.word));
            let object = match raw.kind {
                object::BINDER => Object::Node(node),
                object::WEAK_BINDER => Object::WeakNode(node),
                object::HANDLE => Object::Handle(handle),
                object::WEAK_HANDLE => Object::WeakHandle(handle),
                object::FD => Object::Fd,
                other => Object::Other(other),
            };
            (offset, object)
        })
    }

    fn raw_objects(&self) -> impl Iterator<Item = (usize, FlatObject)> + '_ {
        // SAFETY: As in `bytes`.
        let offsets: &[u8] = unsafe { self.offsets.as_ref() };
        offsets.chunks_exact(8).filter_map(|bytes| {
            let offset = u64::read_from_bytes(bytes).ok()?.try_into().ok()?;
            let (object, _) = FlatObject::read_from_prefix(self.bytes().get(offset..)?).ok()?;
            Some((offset, object))
        })
    }

    /// The file descriptors in the payload that have not been taken out.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd)
    }

    /// Takes the next file descriptor out of the payload. Those that remain are closed together
    /// with the buffer.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    /// Closes the file descriptors that were not taken out.
    pub(crate) fn close_fds(&mut self) {
        self.fds.clear();
    }

    /// Gives the buffer up without giving it back: the returned command does that. The descriptors
    /// that were not taken out are closed.
    pub(crate) fn into_free_command(mut self) -> Command {
        self.given_back = true;
        Command::FreeBuffer(self.address())
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.given_back {
            // SAFETY: No slice of the buffer is left, since each borrows from `self`.
            // If it fails, the driver frees the buffer when the participant is closed.
            let _ = unsafe { self.shared.device().write_free_buffer(self.address()) };
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("address", &format_args!("{:#x}", self.address()))
            .field("len_bytes", &self.data.len())
            .field("fds", &self.fds)
            .finish()
    }
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// An object in a received payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Object {
    /// A node of the receiver's own came home.
    Node(PtrCookie),
    /// Likewise, weakly.
    WeakNode(PtrCookie),
    /// A handle, which lasts as long as the buffer: to keep it,
    /// [`Connection::acquire`](crate::Connection::acquire) it before.
    Handle(Handle),
    /// Likewise, weakly.
    WeakHandle(Handle),
    /// A file descriptor: see [`Received::take_fd`].
    Fd,
    /// Something else, of this `BINDER_TYPE_*`.
    Other(u32),
}
