// SPDX-License-Identifier: GPL-2.0

//! Copying a payload, and what it points to, into the receiver's buffer.
//!
//! Each byte of the sender's is read once, and what a decision was based on is not looked at again,
//! neither in the sender nor in the buffer.

use core::ops::Range;

use kernel::{
    prelude::*,
    uaccess::{UserPtr, UserSlice, UserSliceReader},
};

use super::{
    gather::{self, Gather, Part, Piece},
    object::Objects,
    thread::Thread,
    transaction::Failure,
    Buffer,
};
use crate::uapi::{self, object, BufferObject, FdArrayObject, FlatObject};

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
    list: KVVec<Piece>,
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

    /// Copies all of the payload, which has objects at `offsets`, and what these point to.
    ///
    /// The offsets go to `offsets_at` in the buffer, what the payload points to goes to `room`.
    pub(super) fn copy_with_objects(
        &mut self,
        mut offsets: UserSliceReader,
        offsets_at: usize,
        room: Range<usize>,
        transfer: &mut Transfer<'_>,
    ) -> Result<(), Failure> {
        let mut pieces = Pieces {
            gather: Gather::new(room),
            list: KVVec::new(),
        };
        let mut at = offsets_at;
        while !offsets.is_empty() {
            let mut chunk = [0; 8 * 16];
            let len = offsets.len().min(chunk.len());
            let chunk = chunk.get_mut(..len).ok_or(Failure::failed(EINVAL))?;
            offsets.read_slice(chunk).map_err(Failure::failed)?;
            transfer.buffer.write(at, chunk).map_err(Failure::failed)?;
            for (offset, number) in chunk.chunks_exact(8).zip((at - offsets_at) / 8..) {
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
                transfer.write(offset, &translated.to_bytes())?;
                transfer.write(offset + FlatObject::SIZE, &tail)
            }
            object::FDA => {
                let tail = self.take()?;
                let array = FdArrayObject::from_parts(&wire, &tail);
                if let Some(files) = pieces.add_files(number, &array)? {
                    transfer.add_files(&files)?;
                }
                transfer.write(offset, &wire.to_bytes())?;
                transfer.write(offset + FlatObject::SIZE, &tail)
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
        let bytes = UserSlice::new(address, N)
            .reader()
            .read()
            .or(Err(invalid))?;
        self.copied += N;
        Ok(bytes)
    }
}

impl Transfer<'_> {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        self.buffer.write(offset, bytes).map_err(Failure::failed)
    }

    /// Takes the files for descriptors in an array. Their numbers are nowhere but in the sender.
    fn add_files(&mut self, files: &Piece) -> Result<(), Failure> {
        // CAST: `usize` is 64 bits wide wherever this driver runs; see the crate root.
        let from = UserPtr::from_addr(files.from() as usize);
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
    fn add_buffer(
        &mut self,
        number: u64,
        offset: usize,
        wire: &BufferObject,
    ) -> Result<Piece, Failure> {
        self.list.reserve(1, GFP_KERNEL_ACCOUNT)?;
        let piece = self
            .gather
            .buffer(&mut self.list, number, offset, wire)
            .ok_or(Failure::failed(EINVAL))?;
        self.keep(piece)
    }

    /// [`None`] if the array is empty.
    fn add_files(&mut self, number: u64, wire: &FdArrayObject) -> Result<Option<Piece>, Failure> {
        self.list.reserve(1, GFP_KERNEL_ACCOUNT)?;
        self.gather
            .files(&mut self.list, number, wire)
            .ok_or(Failure::failed(EINVAL))?
            .map(|piece| self.keep(piece))
            .transpose()
    }

    /// Keeps what there is room for.
    fn keep(&mut self, piece: Piece) -> Result<Piece, Failure> {
        self.list
            .push_within_capacity(piece)
            .map_err(|_| Failure::failed(ENOMEM))?;
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
