// SPDX-License-Identifier: GPL-2.0

//! Copying a payload, and what it points to, into the receiver's buffer.
//!
//! Each byte of the sender's is read once, and what a decision was based on is not looked at again,
//! neither in the sender nor in the buffer.

use core::ops::Range;

use kernel::{
    alloc::AllocError,
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

use super::{
    gather::{self, Gather, Part, Piece},
    lazy::{LazyVec, USUAL},
    object::Objects,
    thread::Thread,
    transaction::Failure,
    Buffer,
};
use crate::{
    uapi::{self, object, BufferObject, FdArrayObject, FlatObject},
    vma::uaccess,
};

/// Where a payload with objects goes, and what comes of these.
pub(super) struct Transfer<'a> {
    pub(super) sender: &'a Thread,
    pub(super) accepts_files: bool,
    pub(super) objects: KBox<Objects>,
    pub(super) buffer: &'a mut Buffer,
}

/// What the payload points to: see [`gather`].
struct Pieces {
    gather: Gather,
    list: LazyVec<Piece>,
    /// There will not be more, as there are not more objects.
    most: usize,
}

/// A payload on its way into a buffer.
pub(super) struct Payload {
    address: UserPtr,
    size: usize,
    /// How many bytes have been copied, or replaced by what was made of them.
    copied: usize,
}

impl Payload {
    pub(super) fn new(address: UserPtr, size: usize) -> Self {
        Payload {
            address,
            size,
            copied: 0,
        }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Copies as it is what lies before offset `end`.
    pub(super) fn copy_up_to(&mut self, end: usize, buffer: &mut Buffer) -> Result<(), Failure> {
        let len = end
            .checked_sub(self.copied)
            .ok_or(Failure::failed(EFAULT))?;
        if len == 0 {
            return Ok(());
        }
        buffer
            .copy_from_user(
                self.copied,
                self.address.wrapping_byte_add(self.copied),
                len,
            )
            .map_err(Failure::failed)?;
        self.copied = end;
        Ok(())
    }

    /// Copies all of the payload, which has objects where the 64-bit words at `offsets` say, and what
    /// these point to.
    ///
    /// The words go to `words` in the buffer, what the payload points to goes to `room`.
    pub(super) fn copy_with_objects(
        &mut self,
        offsets: UserPtr,
        words: Range<usize>,
        room: Range<usize>,
        transfer: &mut Transfer<'_>,
    ) -> Result<(), Failure> {
        let mut pieces = Pieces {
            gather: Gather::new(room),
            list: LazyVec::new(),
            most: words.len() / 8,
        };
        let mut at = words.start;
        while at < words.end {
            let mut chunk = [0; 8 * 8];
            let len = (words.end - at).min(chunk.len());
            let chunk = chunk.get_mut(..len).ok_or(Failure::failed(EINVAL))?;
            let from = offsets.wrapping_byte_add(at - words.start);
            uaccess::read(chunk, from).map_err(Failure::failed)?;
            transfer.write(at, chunk)?;
            for (offset, number) in chunk.chunks_exact(8).zip((at - words.start) / 8..) {
                let [offset] = uapi::u64s_from(offset);
                self.copy_object(offset, number as u64, &mut pieces, transfer)?;
            }
            at += len;
        }
        self.copy_up_to(self.size, transfer.buffer)?;
        pieces.copy(transfer.buffer)
    }

    /// Copies up to the object at `offset`, and what becomes of the object. It is number `number`.
    fn copy_object(
        &mut self,
        offset: u64,
        number: u64,
        pieces: &mut Pieces,
        transfer: &mut Transfer<'_>,
    ) -> Result<(), Failure> {
        let offset = usize::try_from(offset).map_err(|_| Failure::failed(EFAULT))?;
        if offset > self.size {
            return Err(Failure::failed(EFAULT));
        }
        self.copy_up_to(offset, transfer.buffer)?;
        if offset % 4 != 0 {
            return Err(Failure::failed(EINVAL));
        }
        let wire = FlatObject::from_bytes(&self.take()?);
        match wire.kind {
            object::PTR => {
                let tail = self.take()?;
                let wire_buffer = BufferObject::from_parts(&wire, &tail);
                let piece = pieces.add_buffer(number, offset, &wire_buffer)?;
                let translated = FlatObject {
                    ptr: address_in(transfer.buffer, piece.to()),
                    ..wire
                };
                transfer.write_long(offset, &translated, &tail)
            }
            object::FDA => {
                let tail = self.take()?;
                let array = FdArrayObject::from_parts(&wire, &tail);
                if let Some(files) = pieces.add_files(number, &array)? {
                    transfer.add_files(&files)?;
                }
                transfer.write_long(offset, &wire, &tail)
            }
            _ => {
                let Transfer {
                    sender,
                    accepts_files,
                    ..
                } = *transfer;
                let objects = &mut transfer.objects;
                let translated = objects.translate(sender, wire, offset, accepts_files)?;
                transfer.write(offset, &translated.to_bytes())
            }
        }
    }

    /// Takes `N` bytes of an object, which are not copied.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let invalid = Failure::failed(EINVAL);
        if self.size - self.copied < N {
            return Err(invalid);
        }
        let address = self.address.wrapping_byte_add(self.copied);
        let mut bytes = [0; N];
        uaccess::read(&mut bytes, address).or(Err(invalid))?;
        self.copied += N;
        Ok(bytes)
    }
}

impl Transfer<'_> {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        self.buffer.write(offset, bytes).map_err(Failure::failed)
    }

    /// Writes an object that is longer than a [`FlatObject`].
    fn write_long<const TAIL: usize>(
        &mut self,
        offset: usize,
        head: &FlatObject,
        tail: &[u8; TAIL],
    ) -> Result<(), Failure> {
        let mut bytes = [0; FlatObject::SIZE + BufferObject::TAIL];
        let (first, rest) = bytes.split_at_mut(FlatObject::SIZE);
        first.copy_from_slice(&head.to_bytes());
        if let Some(rest) = rest.first_chunk_mut() {
            *rest = *tail;
        }
        let bytes = bytes.get(..FlatObject::SIZE + TAIL);
        self.write(offset, bytes.ok_or(Failure::failed(EINVAL))?)
    }

    /// Takes the files for descriptors in an array. Their numbers are nowhere but in the sender.
    fn add_files(&mut self, files: &Piece) -> Result<(), Failure> {
        // CAST: `usize` is 64 bits wide wherever this driver runs; see the crate root.
        let from = UserPtr::from_addr(files.from() as usize);
        self.objects
            .expect((files.len() / gather::FD_LEN).min(USUAL))?;
        let mut numbers = UserSlice::new(from, files.len()).reader();
        for offset in (files.to()..files.to() + files.len()).step_by(gather::FD_LEN) {
            let number = numbers.read().or(Err(Failure::failed(EINVAL)))?;
            self.objects
                .add_array_file(self.sender, number, offset, self.accepts_files)?;
        }
        Ok(())
    }
}

impl Pieces {
    /// Makes room for one more.
    fn reserve(&mut self) -> Result<(), AllocError> {
        let count = if self.list.is_empty() {
            self.most.min(USUAL)
        } else {
            1
        };
        self.list.reserve(count)
    }

    fn add_buffer(
        &mut self,
        number: u64,
        offset: usize,
        wire: &BufferObject,
    ) -> Result<Piece, Failure> {
        self.reserve()?;
        let piece = self
            .gather
            .buffer(&mut self.list, number, offset, wire)
            .ok_or(Failure::failed(EINVAL))?;
        self.keep(piece)
    }

    /// [`None`] if the array is empty.
    fn add_files(&mut self, number: u64, wire: &FdArrayObject) -> Result<Option<Piece>, Failure> {
        self.reserve()?;
        self.gather
            .files(&mut self.list, number, wire)
            .ok_or(Failure::failed(EINVAL))?
            .map(|piece| self.keep(piece))
            .transpose()
    }

    /// Keeps what there is room for.
    fn keep(&mut self, piece: Piece) -> Result<Piece, Failure> {
        self.list.push_within_capacity(piece)?;
        Ok(piece)
    }

    /// Copies what the payload points to. `EINVAL`, whatever goes wrong.
    fn copy(&self, buffer: &mut Buffer) -> Result<(), Failure> {
        gather::each_part(&self.list, |part| match part {
            Part::Bytes { from, to, len } => {
                // CAST: `usize` is 64 bits wide; see the crate root.
                buffer.copy_from_user(to, UserPtr::from_addr(from as usize), len)
            }
            // An address is at a multiple of 4.
            Part::Address { to, .. } if to % 4 != 0 => Err(EINVAL),
            Part::Address { of, to } => {
                let address = address_in(buffer, of);
                buffer.write(to, &address.to_ne_bytes())
            }
        })
        .map_err(|_| Failure::failed(EINVAL))
    }
}

/// The receiver's address of what is at `offset` in the buffer.
fn address_in(buffer: &Buffer, offset: usize) -> u64 {
    buffer.address() + offset as u64
}
