// SPDX-License-Identifier: GPL-2.0

//! Scatter-gather: the buffers that a payload points to, and what in them is not copied as it is.
//! Pure.
//!
//! A sender lists buffers (`BINDER_TYPE_PTR`) among the objects of its payload. They are copied into
//! the message's own buffer, one behind the other. The address of one may be in another, its parent;
//! so may be file descriptors (`BINDER_TYPE_FDA`). Such places are left out of the copy, so that the
//! receiver never sees an address or a number of the sender's, and so all of them have to be known
//! before the first buffer is copied.
//!
//! What is said of a buffer here is kept on the kernel's side from the one time that the object was
//! read.

// CAST: `usize` is 64 bits wide (see the crate root), and holds any `u32`.

use crate::uapi::{BufferObject, FdArrayObject, Place};

/// Bytes of an address in a buffer.
const POINTER_LEN: usize = 8;

/// Bytes of a file descriptor in a buffer.
pub(super) const FD_LEN: usize = 4;

/// What a [`Piece`] is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A buffer. If it has a parent, its address is there.
    Buffer,
    /// File descriptors in their parent.
    Files,
}

/// A buffer, or file descriptors in one. Others are referred to by their place in the list of all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    kind: Kind,
    /// Its number in the table of offsets.
    object: u64,
    /// User address in the sender.
    from: u64,
    /// Offset in the message's buffer.
    to: usize,
    /// In bytes.
    len: usize,
    /// The buffer that it is in, or that its address is in.
    parent: Option<u32>,
    /// Where in `parent`, in bytes.
    offset: usize,
    /// The first and the last piece whose parent this is.
    children: Option<(u32, u32)>,
    /// The one after this whose parent is the same.
    next: Option<u32>,
}

impl Piece {
    /// User address in the sender.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// Offset in the message's buffer.
    pub(super) fn to(&self) -> usize {
        self.to
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Where in its parent it ends.
    fn end(&self) -> usize {
        let len = match self.kind {
            Kind::Buffer => POINTER_LEN,
            Kind::Files => self.len,
        };
        self.offset + len
    }

    /// Where `place` is in this buffer, if `len` bytes from there on are in it.
    fn offset_of(&self, place: Place, len: usize) -> Option<usize> {
        let offset = usize::try_from(place.offset).ok()?;
        (offset <= self.len.checked_sub(len)?).then_some(offset)
    }

    /// What is from `start` to before `end`.
    fn bytes(&self, start: usize, end: usize) -> Part {
        Part::Bytes {
            from: self.from.wrapping_add(start as u64),
            to: self.to + start,
            len: end - start,
        }
    }
}

/// What a part of the message's buffer is filled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// `len` bytes from the sender's address `from` go to offset `to`.
    Bytes { from: u64, to: usize, len: usize },
    /// The receiver's address of what is at offset `of` goes to offset `to`.
    Address { of: usize, to: usize },
}

/// Says which pieces may follow one another.
///
/// Whoever has it keeps the list of pieces, too, and appends to it what [`Gather::buffer`] and
/// [`Gather::files`] return, before the next one is asked for.
///
/// A parent must be the buffer that came last, or its parent, or its parent's, and so on; and places
/// in a parent must come in the order of their offsets, and not overlap. So whatever has a parent
/// ends the use of all buffers below that parent: finding parents takes O(1), amortised.
pub(super) struct Gather {
    /// Offset in the message's buffer: room for buffers begins here, and ends there.
    room: core::ops::Range<usize>,
    /// The last buffer that was looked at.
    last: Option<u32>,
    /// Where in that buffer the next place may be, in bytes.
    min_offset: u64,
}

impl Gather {
    /// `room` is where in the message's buffer the pieces go. Both ends are multiples of 8.
    pub(super) fn new(room: core::ops::Range<usize>) -> Self {
        Gather {
            room,
            last: None,
            min_offset: 0,
        }
    }

    /// Object number `object`, which is at `offset` in the payload, is a buffer. [`None`] if it has no
    /// room or cannot have that parent.
    pub(super) fn buffer(
        &mut self,
        pieces: &mut [Piece],
        object: u64,
        offset: usize,
        wire: &BufferObject,
    ) -> Option<Piece> {
        let len = usize::try_from(wire.len).ok()?;
        if len > self.room.len() {
            return None;
        }
        let mut piece = Piece {
            kind: Kind::Buffer,
            object,
            from: wire.address,
            to: self.room.start,
            len,
            parent: None,
            offset: 0,
            children: None,
            next: None,
        };
        // There is room up to a multiple of 8.
        self.room.start = len
            .checked_next_multiple_of(8)
            .and_then(|len| self.room.start.checked_add(len))?;
        let number = u32::try_from(pieces.len()).ok()?;
        if let Some(place) = wire.pointer {
            let parent = self.find(pieces, place)?;
            piece.offset = pieces.get(parent as usize)?.offset_of(place, POINTER_LEN)?;
            piece.parent = Some(parent);
            adopt(pieces, parent, number)?;
        }
        // As in the C driver, to which an offset of 0 is "none", what is at the very beginning of the
        // payload is nobody's parent.
        self.last = (offset > 0).then_some(number);
        self.min_offset = 0;
        Some(piece)
    }

    /// Object number `object` is file descriptors. [`None`] if they cannot be where they are said to
    /// be; `Some(None)` if there is not a single one.
    pub(super) fn files(
        &mut self,
        pieces: &mut [Piece],
        object: u64,
        wire: &FdArrayObject,
    ) -> Option<Option<Piece>> {
        let parent = self.find(pieces, wire.place)?;
        let mut piece = None;
        self.min_offset = wire.place.offset;
        if wire.count > 0 {
            let len = usize::try_from(wire.count).ok()?.checked_mul(FD_LEN)?;
            let number = u32::try_from(pieces.len()).ok()?;
            let buffer = pieces.get(parent as usize)?;
            let offset = buffer.offset_of(wire.place, len)?;
            let from = buffer.from.wrapping_add(wire.place.offset);
            let to = buffer.to + offset;
            if from % FD_LEN as u64 != 0 || to % FD_LEN != 0 {
                return None;
            }
            self.min_offset += len as u64;
            piece = Some(Piece {
                kind: Kind::Files,
                object,
                from,
                to,
                len,
                parent: Some(parent),
                offset,
                children: None,
                next: None,
            });
            adopt(pieces, parent, number)?;
        }
        self.last = Some(parent);
        Some(piece)
    }

    /// The parent that `place` names, if it may be one and nothing comes behind that place already.
    fn find(&self, pieces: &[Piece], place: Place) -> Option<u32> {
        let mut number = self.last?;
        let mut min_offset = self.min_offset;
        loop {
            let piece = pieces.get(number as usize)?;
            if piece.object == place.parent {
                return (place.offset >= min_offset).then_some(number);
            }
            (number, min_offset) = (piece.parent?, piece.end() as u64);
        }
    }
}

/// Appends piece `child`, which is about to be appended to `pieces`, to those of `parent`.
fn adopt(pieces: &mut [Piece], parent: u32, child: u32) -> Option<()> {
    let parent = pieces.get_mut(parent as usize)?;
    let (first, last) = parent.children.unwrap_or((child, child));
    parent.children = Some((first, child));
    if last != child {
        pieces.get_mut(last as usize)?.next = Some(child);
    }
    Some(())
}

/// Calls `f` for each part of the message's buffer that `pieces` fill, in the order of their offsets.
/// Left out are file descriptors, and what no piece covers.
pub(super) fn each_part<E>(
    pieces: &[Piece],
    mut f: impl FnMut(Part) -> Result<(), E>,
) -> Result<(), E> {
    let get = |number: u32| pieces.get(number as usize);
    for buffer in pieces.iter().filter(|piece| piece.kind == Kind::Buffer) {
        let mut done = 0;
        let mut next = buffer.children.and_then(|(first, _)| get(first));
        while let Some(child) = next {
            f(buffer.bytes(done, child.offset))?;
            if child.kind == Kind::Buffer {
                f(Part::Address {
                    of: child.to,
                    to: buffer.to + child.offset,
                })?;
            }
            done = child.end();
            next = child.next.and_then(get);
        }
        f(buffer.bytes(done, buffer.len))?;
    }
    Ok(())
}

#[cfg(any(test, rust_ipc_kunit))]
#[cfg_attr(rust_ipc_kunit, kernel::prelude::kunit_tests(rust_ipc_gather))]
pub(crate) mod tests {
    #[cfg(rust_ipc_kunit)]
    use kernel::prelude::*;

    use super::{each_part, Gather, Part, Piece, FD_LEN, POINTER_LEN};
    use crate::uapi::{BufferObject, FdArrayObject, Place};

    /// Where in the message's buffer the room for pieces is.
    const START: usize = 64;
    const ROOM: usize = 480;
    /// The most objects in a message.
    const OBJECTS: usize = 12;

    /// Leaves the function with a message unless the condition holds. (`assert!` is KUnit's in a
    /// test function, and a panic elsewhere.)
    macro_rules! ensure {
        ($condition:expr) => {
            if !$condition {
                return Err(concat!(line!(), ": ", stringify!($condition)));
            }
        };
    }

    /// A few pieces, without a heap.
    struct Pieces {
        list: [Piece; OBJECTS],
        len: usize,
    }

    impl Pieces {
        fn new() -> Self {
            let wire = BufferObject::default();
            let mut gather = Gather::new(0..0);
            // Any piece will do where none is yet.
            let blank = gather.buffer(&mut [], 0, 0, &wire);
            Pieces {
                list: core::array::from_fn(|_| blank.expect("a buffer of no length")),
                len: 0,
            }
        }

        fn slice(&mut self) -> &mut [Piece] {
            &mut self.list[..self.len]
        }

        fn push(&mut self, piece: Piece) {
            self.list[self.len] = piece;
            self.len += 1;
        }
    }

    /// What the model says of one byte.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Byte {
        /// Nothing is copied there.
        Untouched,
        /// It is from this address of the sender's.
        From(u64),
        /// It is this byte of the address of what is at this offset.
        Address(usize, usize),
    }

    /// A buffer, as the model knows it.
    #[derive(Clone, Copy)]
    struct Known {
        from: u64,
        to: usize,
        len: usize,
        parent: Option<usize>,
        /// At the very beginning of the payload.
        is_first_byte: bool,
        /// Where the last place in it ends.
        end: u64,
    }

    /// The rules, and the result byte by byte.
    struct Model {
        /// By number of the object.
        known: [Known; OBJECTS],
        count: usize,
        /// The buffer that was added or had files added to it last.
        current: Option<usize>,
        used: usize,
        bytes: [Byte; ROOM],
    }

    impl Model {
        fn new() -> Self {
            let nothing = Known {
                from: 0,
                to: 0,
                len: 0,
                parent: None,
                is_first_byte: false,
                end: 0,
            };
            Model {
                known: [nothing; OBJECTS],
                count: 0,
                current: None,
                used: 0,
                bytes: [Byte::Untouched; ROOM],
            }
        }

        /// Whether there may be `len` bytes at `place`. The parent, if they may.
        fn may_have(&self, place: Place, len: u64, must_fit: bool) -> Option<usize> {
            let mut next = self.current;
            let parent = loop {
                let number = next?;
                if number as u64 == place.parent {
                    break number;
                }
                next = self.known[number].parent;
            };
            let known = &self.known[parent];
            let fits = place
                .offset
                .checked_add(len)
                .is_some_and(|end| end <= known.len as u64);
            let may = !known.is_first_byte && place.offset >= known.end && (fits || !must_fit);
            may.then_some(parent)
        }

        fn buffer(&mut self, offset: usize, wire: &BufferObject) -> bool {
            if wire.len > (ROOM - self.used) as u64 {
                return false;
            }
            let (len, to) = (wire.len as usize, self.used);
            let mut parent = None;
            if let Some(place) = wire.pointer {
                parent = self.may_have(place, POINTER_LEN as u64, true);
                let Some(parent) = parent else {
                    return false;
                };
                let at = self.known[parent].to + place.offset as usize;
                for byte in 0..POINTER_LEN {
                    self.bytes[at + byte] = Byte::Address(START + to, byte);
                }
                self.known[parent].end = place.offset + POINTER_LEN as u64;
            }
            for byte in 0..len {
                self.bytes[to + byte] = Byte::From(wire.address.wrapping_add(byte as u64));
            }
            self.used += (len + 7) / 8 * 8;
            self.known[self.count] = Known {
                from: wire.address,
                to,
                len,
                parent,
                is_first_byte: offset == 0,
                end: 0,
            };
            self.current = Some(self.count);
            self.count += 1;
            true
        }

        fn files(&mut self, wire: &FdArrayObject) -> bool {
            let Some(len) = wire.count.checked_mul(FD_LEN as u64) else {
                return false;
            };
            let Some(parent) = self.may_have(wire.place, len, len > 0) else {
                return false;
            };
            let known = &mut self.known[parent];
            let sum = known.from.wrapping_add(wire.place.offset);
            if len > 0 && (sum % 4 != 0 || wire.place.offset % 4 != 0) {
                return false;
            }
            for byte in 0..len as usize {
                self.bytes[known.to + wire.place.offset as usize + byte] = Byte::Untouched;
            }
            known.end = wire.place.offset + len;
            self.current = Some(parent);
            self.count += 1;
            true
        }
    }

    /// Numbers that look random and are the same every time (SplitMix64).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            #[cfg(rust_ipc_fuzz)]
            if let Some(choice) = crate::choice() {
                return choice;
            }
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = self.0;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit
        }

        /// Mostly small, now and then so large that sums overflow.
        fn size(&mut self, limit: u64) -> u64 {
            match self.below(64) {
                0 => self.next() | 1 << 63,
                1 => u64::MAX - self.below(16),
                2 => u64::MAX / 4 + self.below(3),
                _ => self.below(limit),
            }
        }

        /// Mostly a place that there is.
        fn place(&mut self, model: &Model) -> Place {
            let mut parent = model.current.unwrap_or(0);
            while self.below(3) == 0 {
                parent = model.known[parent].parent.unwrap_or(parent);
            }
            let behind = model.known[parent].end.wrapping_add(self.below(3) * 4);
            match self.below(16) {
                0 => Place {
                    parent: self.size(model.count as u64 + 1),
                    offset: behind,
                },
                1 => Place {
                    parent: parent as u64,
                    offset: self.size(48),
                },
                _ => Place {
                    parent: parent as u64,
                    offset: behind,
                },
            }
        }
    }

    /// Compares what `pieces` fill with what the model says.
    fn compare(pieces: &[Piece], model: &Model) -> Result<(), &'static str> {
        let mut bytes = [Byte::Untouched; ROOM];
        let mut done = START;
        each_part(pieces, |part| {
            let (to, len) = match part {
                Part::Bytes { to, len, .. } => (to, len),
                Part::Address { to, .. } => (to, POINTER_LEN),
            };
            // In order: so no byte is filled twice.
            ensure!(to >= done && to + len <= START + ROOM);
            done = to + len;
            for byte in 0..len {
                bytes[to - START + byte] = match part {
                    Part::Bytes { from, .. } => Byte::From(from.wrapping_add(byte as u64)),
                    Part::Address { of, .. } => Byte::Address(of, byte),
                };
            }
            Ok(())
        })?;
        ensure!(bytes == model.bytes);
        Ok(())
    }

    /// One message. Returns how many of its objects were accepted, and whether one was not.
    fn message(random: &mut Random) -> Result<(usize, bool), &'static str> {
        let mut gather = Gather::new(START..START + ROOM);
        let mut pieces = Pieces::new();
        let mut model = Model::new();
        let first = random.below(16).min(1) as usize * 24;
        while model.count < OBJECTS {
            let number = model.count as u64;
            // Without a parent there is mostly none wanted.
            let has_place = model.current.is_some() || random.below(16) == 0;
            let accepted = match random.below(3) {
                0 if has_place => {
                    let wire = FdArrayObject {
                        count: random.size(4),
                        place: random.place(&model),
                    };
                    let files = gather.files(pieces.slice(), number, &wire);
                    if let Some(Some(piece)) = files {
                        ensure!(piece.len() as u64 == wire.count * FD_LEN as u64);
                        let from = piece.from() as usize - piece.to();
                        let parent = &model.known[wire.place.parent as usize];
                        ensure!(from == (parent.from as usize).wrapping_sub(parent.to + START));
                        pieces.push(piece);
                    }
                    ensure!(files.is_some() == model.files(&wire));
                    files.is_some()
                }
                _ => {
                    let wire = BufferObject {
                        address: 0x1_0000 * (1 + number) + random.below(16) / 15 * random.below(4),
                        len: random.size(64),
                        pointer: (has_place && random.below(4) > 0).then(|| random.place(&model)),
                    };
                    let offset = first + model.count * 40;
                    let piece = gather.buffer(pieces.slice(), number, offset, &wire);
                    if let Some(piece) = piece {
                        pieces.push(piece);
                    }
                    ensure!(piece.is_some() == model.buffer(offset, &wire));
                    piece.is_some()
                }
            };
            if !accepted {
                // It ends the message.
                return Ok((model.count, true));
            }
            compare(pieces.slice(), &model)?;
        }
        Ok((model.count, false))
    }

    /// For `selftests/host/fuzz.rs`, which makes the choices.
    #[cfg(rust_ipc_fuzz)]
    pub(crate) fn message_by_choice() -> Result<(), &'static str> {
        message(&mut Random(1)).map(drop)
    }

    #[test]
    fn random_messages_are_as_the_model_says() {
        let mut random = Random(1);
        let (mut accepted, mut refused, mut whole) = (0, 0, 0);
        for _ in 0..100_000 {
            match message(&mut random) {
                Ok((count, is_refused)) => {
                    accepted += count;
                    refused += usize::from(is_refused);
                    whole += usize::from(!is_refused);
                }
                Err(what) => assert_eq!(what, ""),
            }
        }
        // All of it has been tried.
        assert!(accepted > 300_000);
        assert!(refused > 30_000);
        assert!(whole > 1_000);
    }

    #[test]
    fn a_long_chain_ends_at_its_first_buffer() {
        // Each is in the one before; then the first one gets another child.
        let mut gather = Gather::new(START..START + ROOM);
        let mut pieces = Pieces::new();
        let pointer = |parent, offset| Some(Place { parent, offset });
        let mut add = |number: u64, pointer| {
            let wire = BufferObject {
                address: 0,
                len: 16,
                pointer,
            };
            let piece = gather.buffer(pieces.slice(), number, 40, &wire);
            piece.map(|piece| pieces.push(piece)).is_some()
        };
        assert!(add(0, None));
        for number in 1..8 {
            assert!(add(number, pointer(number - 1, 0)));
        }
        assert!(!add(8, pointer(0, 4)));
        assert!(add(8, pointer(0, 8)));
        // The chain is not below it.
        assert!(!add(9, pointer(7, 8)));
    }
}
