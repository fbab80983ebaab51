// SPDX-License-Identifier: GPL-2.0

//! Which bytes of a receive area belong to which buffer.
//!
//! The area is cut into ranges without gaps. A free range never has a free neighbour. Ranges are
//! linked with their neighbours; free ones are also in a tree by length (the best fit is the
//! shortest that is long enough, the lowest of those). What starts at an address is found by the
//! page that it is in: for each there is the first range that starts there, and a page of 4 KiB has
//! at most 512. Everything is counted in granules of 8 bytes, so that 32 bits do for areas of up to
//! 32 GiB.
//!
//! A live range goes from reserved (a sender fills it) to delivered (with a payload, and its owner
//! may free it by its address) and back to free, by way of claimed if it must be cleared first.
//! Only a [`Handle`] refers to a range that is reserved or claimed, and there is one a range, so
//! nobody else can free it meanwhile.
//!
//! One-way buffers may take up half of the area: a receiver that does not keep up with one-way
//! messages can still be called.

// CAST: `usize` is 64 bits wide (see the crate root), and holds any `u32`.

use core::ops::Range;

use super::{
    slab::{self, Slab, NONE},
    storage::{Heap, Storage},
    tree::{Node, Nodes, Tree},
};

/// Buffers start at a multiple of this, and their length is one. In bytes.
pub(crate) const GRANULE: usize = 8;
const GRANULE_SHIFT: u32 = GRANULE.trailing_zeros();

/// The most that [`Ranges`] can have, but for less than a page, in bytes.
// CAST: widens.
pub(crate) const MAX_BYTES: usize = (NONE as usize - 1) * GRANULE;

/// How many ranges are looked at for spam: bounds how long an area is locked.
const MAX_SPAM_SCAN: usize = 4096;

/// Slots of a chunk: with its children two KiB, and no byte more, for the payload of messages.
const SLOTS: usize = 28;
/// Children of a chunk.
const FANOUT: usize = 32;

/// Memory for the ranges that pages begin with: see [`new_heads`].
pub(crate) type Heads<S = Heap> = <S as Storage>::Array<u32>;

/// Allocates what [`Ranges`] of `pages` pages find ranges by.
///
/// May sleep if `flags` say so.
#[cfg(not(rust_ipc_host))]
pub(crate) fn new_heads(
    pages: usize,
    flags: kernel::alloc::Flags,
) -> Result<Heads, kernel::alloc::AllocError> {
    kernel::alloc::KVVec::from_elem(NONE, pages, flags)
}

/// Allocates what [`Ranges`] of `pages` pages find ranges by.
#[cfg(rust_ipc_host)]
pub(crate) fn new_heads(pages: usize) -> Heads {
    vec![NONE; pages]
}

/// Memory for [`Ranges`].
pub(crate) type Chunk<B, S = Heap> = super::Chunk<Slot<B>, S, SLOTS, FANOUT>;

/// Whether a buffer counts against the one-way budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// For a call or a reply.
    TwoWay,
    /// For a message without a reply.
    OneWay {
        /// Who sent it: see [`Ranges::is_spam`].
        sender: i32,
    },
}

/// Why there is no range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// The length is zero or no multiple of [`GRANULE`].
    Invalid,
    /// No free range is long enough, or the one-way budget is not.
    NoSpace,
    /// [`Ranges::provide`] memory and try again.
    NeedsMemory,
}

/// A range that is reserved or claimed: the right to decide what becomes of it.
///
/// To be given to a method of the [`Ranges`] that it is from; the range of one that is dropped
/// instead stays as it is.
#[must_use = "the range stays as it is until its handle is given back"]
#[derive(Debug)]
pub(crate) struct Handle {
    index: u32,
    start: u32,
    len: u32,
    clear: bool,
}

impl Handle {
    /// Offset in the area, in bytes.
    pub(crate) fn start_bytes(&self) -> usize {
        bytes(self.start)
    }

    /// Length in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        bytes(self.len)
    }

    /// Whether the range must be cleared before it is released.
    pub(crate) fn clear_on_free(&self) -> bool {
        self.clear
    }
}

/// What became of the range of a delivered buffer that was taken back.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is free. No live range touches these pages, by index, any more.
    Free(Range<usize>),
    /// It is claimed: to be cleared, if its handle says so, and released.
    Claimed(Handle),
}

/// What there is to be seen of a live range.
pub(crate) struct Seen {
    pub(crate) start_bytes: usize,
    pub(crate) len_bytes: usize,
    pub(crate) is_one_way: bool,
    /// Its owner has it; otherwise it is being filled, or cleared.
    pub(crate) is_delivered: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Vacant,
    Free,
    /// Delivered if there is a payload, and otherwise reserved or claimed.
    Live,
}

/// A range of [`Ranges`].
pub(crate) struct Slot<B> {
    /// Of a delivered range.
    payload: Option<B>,
    /// In granules.
    start: u32,
    /// In granules.
    len: u32,
    /// The range that starts where this one ends.
    next: u32,
    /// The range that ends where this one starts.
    previous: u32,
    node: Node,
    state: State,
    /// Of one-way messages.
    sender: i32,
    is_one_way: bool,
    clear: bool,
}

impl<B> Slot<B> {
    fn is_free(&self) -> bool {
        self.state == State::Free
    }

    fn is_delivered_at(&self, start: u32) -> bool {
        self.start == start && self.payload.is_some()
    }

    fn end(&self) -> u32 {
        self.start.saturating_add(self.len)
    }
}

impl<B> slab::Slot for Slot<B> {
    const VACANT: Self = Self {
        payload: None,
        start: 0,
        len: 0,
        next: NONE,
        previous: NONE,
        node: Node::NONE,
        state: State::Vacant,
        sender: 0,
        is_one_way: false,
        clear: false,
    };
}

impl<B> slab::Chained for Slot<B> {
    fn next_vacant(&self) -> u32 {
        self.next
    }

    fn set_vacant(&mut self, next: u32) {
        self.state = State::Vacant;
        self.next = next;
    }
}

type Slots<B, S> = Slab<Slot<B>, SLOTS, FANOUT, S>;

impl<B, S: Storage> Nodes for Slots<B, S> {
    #[inline]
    fn node(&self, index: u32) -> Option<&Node> {
        self.get(index).map(|slot| &slot.node)
    }

    #[inline]
    fn node_mut(&mut self, index: u32) -> Option<&mut Node> {
        self.get_mut(index).map(|slot| &mut slot.node)
    }
}

/// The ranges of an area. `B` is what a delivered buffer carries.
///
/// # Invariants
///
/// - The slots that are in use are the ranges of the area: linked by `next` and `previous` in the
///   order of their addresses, from 0 to `len` without gaps; none is empty, and of two neighbours
///   at most one is free.
/// - The free ones are in `free`, by length and start.
/// - Only live ranges have a payload.
/// - `heads` has for each page the range that starts first in it, or [`NONE`].
/// - `one_way_left` and the lengths of the one-way ranges add up to half of `len`.
pub(crate) struct Ranges<B, S: Storage = Heap> {
    slots: Slots<B, S>,
    free: Tree,
    heads: Heads<S>,
    /// In granules.
    len: u32,
    /// In granules.
    one_way_left: u32,
    /// In granules.
    used: u32,
    /// The most that ever was used, in granules.
    most_used: u32,
    live_count: u32,
    /// The slot of the range that was delivered last. It may have been put to other use since.
    newest: u32,
    /// Granules of a page, as a power of two.
    page_shift: u8,
    /// Somebody has been found to send spam, and there is as little room still.
    has_spam: bool,
}

/// What one-way buffers may use of an area of `len_bytes`, in bytes.
pub(crate) fn one_way_bytes(len_bytes: usize) -> usize {
    granules(len_bytes).map_or(0, |len| bytes(len / 2))
}

impl<B, S: Storage> Ranges<B, S> {
    /// Creates the ranges of an area of `len_bytes` with pages of `page_bytes`, all of it free.
    ///
    /// [`Error::Invalid`] unless `page_bytes` is a power of two of at least [`GRANULE`], and
    /// `len_bytes` a multiple of it, not zero, and less than 32 GiB; and `heads` is new, of as many
    /// pages.
    pub(crate) fn new(
        len_bytes: usize,
        page_bytes: usize,
        chunk: S::Box<Chunk<B, S>>,
        heads: Heads<S>,
    ) -> Result<Self, Error> {
        if !page_bytes.is_power_of_two()
            || page_bytes < GRANULE
            || len_bytes == 0
            || len_bytes % page_bytes != 0
        {
            return Err(Error::Invalid);
        }
        let len = granules(len_bytes).ok_or(Error::Invalid)?;
        if heads.len() != len_bytes / page_bytes {
            return Err(Error::Invalid);
        }
        let mut slots = Slab::new();
        slots.provide(chunk).map_err(|_| Error::Invalid)?;
        let mut ranges = Self {
            slots,
            free: Tree::new(),
            heads,
            len,
            // CAST: less than 64.
            page_shift: page_bytes.trailing_zeros().saturating_sub(GRANULE_SHIFT) as u8,
            one_way_left: len / 2,
            used: 0,
            most_used: 0,
            live_count: 0,
            newest: NONE,
            has_spam: false,
        };
        let index = ranges.slots.take().ok_or(Error::NeedsMemory)?;
        if let Some(slot) = ranges.slots.get_mut(index) {
            *slot = Slot {
                state: State::Free,
                len,
                ..slab::Slot::VACANT
            };
        }
        ranges.insert_free(index);
        ranges.set_head(0, index);
        Ok(ranges)
    }

    /// Whether [`Ranges::alloc`] could need memory.
    pub(crate) fn needs_memory(&self) -> bool {
        self.slots.free() == 0
    }

    /// Takes memory in. O(1).
    pub(crate) fn provide(&mut self, chunk: S::Box<Chunk<B, S>>) {
        // An area has fewer granules than a slab can have slots: this does not fail.
        drop(self.slots.provide(chunk));
    }

    /// Reserves `len_bytes`, and says which pages (by index) are touched by the range and were by
    /// no live one before. With `clear` the range is to be cleared when it is taken back.
    ///
    /// O(log n). Changes nothing when it fails.
    pub(crate) fn alloc(
        &mut self,
        len_bytes: usize,
        kind: Kind,
        clear: bool,
    ) -> Result<(Handle, Range<usize>), Error> {
        if len_bytes == 0 || len_bytes % GRANULE != 0 {
            return Err(Error::Invalid);
        }
        let len = granules(len_bytes).ok_or(Error::NoSpace)?;
        let (is_one_way, sender) = match kind {
            Kind::OneWay { sender } => (true, sender),
            Kind::TwoWay => (false, 0),
        };
        if is_one_way && len > self.one_way_left {
            return Err(Error::NoSpace);
        }
        let (found, slot) = self.best_fit(len).ok_or(Error::NoSpace)?;
        let (start, found_len, previous, next) = (slot.start, slot.len, slot.previous, slot.next);

        let is_whole = found_len == len;
        let index = if is_whole {
            self.free.remove(&mut self.slots, found);
            found
        } else {
            // The front goes to the buffer, and the rest stays free.
            let index = self.slots.take().ok_or(Error::NeedsMemory)?;
            self.resize_free(found, start.saturating_add(len), found_len - len, index);
            self.set_next(previous, index);
            index
        };
        if let Some(slot) = self.slots.get_mut(index) {
            slot.state = State::Live;
            slot.start = start;
            slot.len = len;
            slot.previous = previous;
            slot.next = if is_whole { next } else { found };
            slot.sender = sender;
            slot.is_one_way = is_one_way;
            slot.clear = clear;
        }
        if !is_whole {
            self.rename_head(start, found, index);
            let rest = start.saturating_add(len);
            if self.page(rest) != self.page(start) {
                self.set_head(rest, found);
            }
        }
        if is_one_way {
            self.one_way_left -= len;
        }
        self.used += len;
        self.most_used = self.most_used.max(self.used);
        self.live_count += 1;

        let handle = Handle {
            index,
            start,
            len,
            clear,
        };
        let pages = self.pages_alone(
            start,
            start.saturating_add(len),
            start,
            start.saturating_add(found_len),
        );
        Ok((handle, pages))
    }

    /// Whether the sender of a one-way buffer that has just been reserved is sending spam.
    ///
    /// It is if one-way buffers are left less than a tenth of the area, and those of the sender, this
    /// one apart, are more than 50 or take up more than a quarter of the area. That is said once,
    /// until there is more room again.
    ///
    /// O(n) in the number of live ranges when there is little room, but at most
    /// [`MAX_SPAM_SCAN`] are looked at: the lowest.
    pub(crate) fn is_spam(&mut self, handle: &Handle) -> bool {
        if self.one_way_left_bytes() >= self.len_bytes() / 10 {
            self.has_spam = false;
            return false;
        }
        let Some(sender) = self.slots.get(handle.index).map(|slot| slot.sender) else {
            return false;
        };
        let (mut count, mut len) = (0_u32, 0_u32);
        let mut next = if self.has_spam {
            NONE
        } else {
            self.live_from(0).unwrap_or(NONE)
        };
        for _ in 0..MAX_SPAM_SCAN {
            let Some(slot) = self.slots.get(next) else {
                break;
            };
            if slot.is_one_way && !slot.is_free() && slot.sender == sender && next != handle.index {
                count += 1;
                len = len.saturating_add(slot.len);
                if count > 50 || bytes(len) > self.len_bytes() / 4 {
                    self.has_spam = true;
                    return true;
                }
            }
            next = slot.next;
        }
        false
    }

    /// Attaches `payload` to a reserved range: from now on it can be taken. Returns its offset in
    /// the area, in bytes. O(1).
    pub(crate) fn deliver(&mut self, handle: Handle, payload: B) -> usize {
        if let Some(slot) = self.slots.get_mut(handle.index) {
            slot.payload = Some(payload);
            self.newest = handle.index;
        }
        handle.start_bytes()
    }

    /// Frees a reserved or claimed range. Returns the pages, by index, that no live range touches
    /// any more. O(log n).
    pub(crate) fn release(&mut self, handle: Handle) -> Range<usize> {
        self.release_index(handle.index)
    }

    /// Takes back the delivered buffer that starts `start_bytes` into the area. It is freed at once
    /// unless it is to be cleared, or longer than `at_once_bytes`. Also returns its payload.
    ///
    /// [`None`] if none starts exactly there, or it is reserved or claimed. O(log n) in the number of
    /// free ranges, and O(n) in that of ranges that start in the same page before.
    pub(crate) fn take(&mut self, start_bytes: usize, at_once_bytes: usize) -> Option<(B, Taken)> {
        if start_bytes % GRANULE != 0 {
            return None;
        }
        let start = granules(start_bytes)?;
        let is_there = |index: &u32| {
            let slot = self.slots.get(*index);
            slot.is_some_and(|slot| slot.is_delivered_at(start))
        };
        // A receiver that answers one message at a time frees what was delivered last.
        let index = Some(self.newest)
            .filter(is_there)
            .or_else(|| self.delivered_at(start))?;
        self.take_index(index, at_once_bytes)
    }

    /// Takes back the first delivered buffer that starts `start_bytes` or more into the area, like
    /// [`Ranges::take`]. Says where it started.
    ///
    /// O(log n) in the number of free ranges, and O(n) in that of pages and ranges that are between.
    pub(crate) fn take_from(
        &mut self,
        start_bytes: usize,
        at_once_bytes: usize,
    ) -> Option<(usize, (B, Taken))> {
        let mut index = self.live_from(granules(start_bytes.next_multiple_of(GRANULE))?)?;
        loop {
            let slot = self.slots.get(index)?;
            if slot.payload.is_some() {
                let start_bytes = bytes(slot.start);
                return Some((start_bytes, self.take_index(index, at_once_bytes)?));
            }
            index = slot.next;
            if index == NONE {
                return None;
            }
        }
    }

    /// The delivered buffers in order: offset and length in bytes, kind, and payload.
    #[cfg(any(test, rust_ipc_kunit))]
    pub(super) fn delivered(&self) -> impl Iterator<Item = (usize, usize, Kind, &B)> {
        let mut next = self.live_from(0).unwrap_or(NONE);
        core::iter::from_fn(move || loop {
            if next == NONE {
                return None;
            }
            let slot = self.slots.get(next)?;
            next = slot.next;
            if let Some(payload) = &slot.payload {
                let kind = if slot.is_one_way {
                    Kind::OneWay {
                        sender: slot.sender,
                    }
                } else {
                    Kind::TwoWay
                };
                return Some((bytes(slot.start), bytes(slot.len), kind, payload));
            }
        })
    }

    /// The first live range that starts `start_bytes` or more into the area. O(n) in the number of
    /// pages and ranges that are between.
    pub(crate) fn seen_from(&self, start_bytes: usize) -> Option<Seen> {
        let index = self.live_from(granules(start_bytes.next_multiple_of(GRANULE))?)?;
        let slot = self.slots.get(index)?;
        Some(Seen {
            start_bytes: bytes(slot.start),
            len_bytes: bytes(slot.len),
            is_one_way: slot.is_one_way,
            is_delivered: slot.payload.is_some(),
        })
    }

    /// Size of the area, in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        bytes(self.len)
    }

    /// Bytes in live ranges.
    pub(crate) fn used_bytes(&self) -> usize {
        bytes(self.used)
    }

    /// The most bytes that ever were in live ranges.
    pub(crate) fn most_used_bytes(&self) -> usize {
        bytes(self.most_used)
    }

    /// Bytes that one-way buffers may still take, if there is a free range for them.
    pub(crate) fn one_way_left_bytes(&self) -> usize {
        bytes(self.one_way_left)
    }

    /// Ranges that are reserved, delivered or claimed.
    pub(crate) fn live(&self) -> usize {
        self.live_count as usize
    }

    /// The pages, by index, that a live range touches.
    #[cfg(any(test, rust_ipc_kunit))]
    pub(super) fn pages_of(&self, handle: &Handle) -> Range<usize> {
        self.pages(handle.start, handle.start.saturating_add(handle.len))
    }

    /// The pages that `start..end` touches. The range is not empty.
    fn pages(&self, start: u32, end: u32) -> Range<usize> {
        self.page(start)..self.page(end.saturating_sub(1)) + 1
    }

    /// The pages that `start..end` touches and no live range beside it does: the one before ends at
    /// `before_end` (0 if there is none), the one after starts at `after_start` (or that is the end
    /// of the area).
    fn pages_alone(&self, start: u32, end: u32, before_end: u32, after_start: u32) -> Range<usize> {
        let mut pages = self.pages(start, end);
        if before_end > 0 && self.page(before_end - 1) == self.page(start) {
            pages.start += 1;
        }
        if after_start < self.len && self.page(after_start) == self.page(end.saturating_sub(1)) {
            pages.end -= 1;
        }
        // Both neighbours may be in the same page.
        pages.end = pages.end.max(pages.start);
        pages
    }

    fn take_index(&mut self, index: u32, at_once_bytes: usize) -> Option<(B, Taken)> {
        let slot = self.slots.get_mut(index)?;
        let payload = slot.payload.take()?;
        if slot.clear || bytes(slot.len) > at_once_bytes {
            let handle = Handle {
                index,
                start: slot.start,
                len: slot.len,
                clear: slot.clear,
            };
            return Some((payload, Taken::Claimed(handle)));
        }
        Some((payload, Taken::Free(self.release_index(index))))
    }

    fn release_index(&mut self, index: u32) -> Range<usize> {
        let Some(slot) = self.slots.get_mut(index) else {
            return 0..0;
        };
        if slot.state != State::Live || slot.payload.is_some() {
            return 0..0;
        }
        slot.state = State::Free;
        let (start, len, end) = (slot.start, slot.len, slot.end());
        let (previous, next) = (slot.previous, slot.next);
        if slot.is_one_way {
            self.one_way_left += len;
        }
        self.used -= len;
        self.live_count -= 1;

        let free = |index| self.slots.get(index).filter(|slot| slot.is_free());
        let before = free(previous).map(|slot| (slot.start, slot.previous));
        let after = free(next).map(|slot| (slot.end(), slot.next));
        let (free_start, before_previous) = before.unwrap_or((start, previous));
        let (free_end, beyond) = after.unwrap_or((end, next));
        let free_len = free_end.saturating_sub(free_start);
        match (before, after) {
            (None, None) => self.insert_free(index),
            (None, Some(_)) => {
                self.slots.put(index);
                self.set_next(previous, next);
                self.resize_free(next, free_start, free_len, previous);
                self.rename_head(start, index, next);
                // If it started in the same page, it was not the first there.
                if self.page(end) != self.page(start) {
                    self.replace_head(end, next, beyond);
                }
            }
            (Some(_), _) => {
                self.replace_head(start, index, beyond);
                self.slots.put(index);
                if after.is_some() {
                    self.replace_head(end, next, beyond);
                    self.free.remove(&mut self.slots, next);
                    self.slots.put(next);
                }
                self.set_previous(beyond, previous);
                self.set_next(previous, beyond);
                self.resize_free(previous, free_start, free_len, before_previous);
            }
        }
        self.pages_alone(start, end, free_start, free_end)
    }

    /// The lowest of the shortest free ranges that have at least `len` granules.
    fn best_fit(&self, len: u32) -> Option<(u32, &Slot<B>)> {
        let mut best = None;
        let mut at = self.free.root();
        while at != NONE {
            let slot = self.slots.get(at)?;
            let is_long_enough = slot.len >= len;
            if is_long_enough {
                best = Some((at, slot));
            }
            at = slot.node.child(!is_long_enough);
        }
        best
    }

    /// The page, by index, that `start` is in.
    fn page(&self, start: u32) -> usize {
        // An area has fewer than 2^32 granules, and so has a page.
        start.wrapping_shr(self.page_shift.into()) as usize
    }

    /// The range `index` is the first that starts in the page that `start` is in; with [`NONE`], none is.
    fn set_head(&mut self, start: u32, index: u32) {
        let page = self.page(start);
        if let Some(head) = self.heads.get_mut(page) {
            *head = index;
        }
    }

    /// The range `new` starts at `start` now, in the place of `old`.
    fn rename_head(&mut self, start: u32, old: u32, new: u32) {
        let page = self.page(start);
        if let Some(head) = self.heads.get_mut(page).filter(|head| **head == old) {
            *head = new;
        }
    }

    /// The range `old`, which started at `start`, starts there no more, and `new` is what now follows
    /// the one before it: if `old` was the first of its page, `new` is, or none.
    ///
    /// `new` has its place by now.
    fn replace_head(&mut self, start: u32, old: u32, new: u32) {
        let page = self.page(start);
        if self.heads.get(page) != Some(&old) {
            return;
        }
        let is_there = new != NONE
            && self
                .slots
                .get(new)
                .is_some_and(|slot| self.page(slot.start) == page);
        self.set_head(start, if is_there { new } else { NONE });
    }

    /// The delivered range that starts at `start`.
    fn delivered_at(&self, start: u32) -> Option<u32> {
        let mut index = *self.heads.get(self.page(start))?;
        loop {
            let slot = self.slots.get(index)?;
            if slot.start >= start {
                return slot.is_delivered_at(start).then_some(index);
            }
            index = slot.next;
        }
    }

    /// The first live range that starts at `start` or later.
    fn live_from(&self, start: u32) -> Option<u32> {
        let heads = self.heads.get(self.page(start)..)?;
        let mut index = *heads.iter().find(|head| **head != NONE)?;
        loop {
            let slot = self.slots.get(index)?;
            if slot.start >= start && !slot.is_free() {
                return Some(index);
            }
            index = slot.next;
        }
    }

    fn free_key(&self, index: u32) -> (u32, u32) {
        self.slots
            .get(index)
            .map_or((0, 0), |slot| (slot.len, slot.start))
    }

    fn insert_free(&mut self, index: u32) {
        let key = self.free_key(index);
        self.free.insert(&mut self.slots, index, |slots, other| {
            slots
                .get(other)
                .is_some_and(|other| (other.len, other.start) < key)
        });
    }

    /// Gives a free range new bounds, and another neighbour before it.
    fn resize_free(&mut self, index: u32, start: u32, len: u32, previous: u32) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        slot.start = start;
        slot.len = len;
        slot.previous = previous;
        if !self.free.is_only(index, &slot.node) {
            self.reinsert_free(index);
        }
    }

    /// Puts a free range that has another length or start now where it belongs. (Not part of its
    /// callers: few areas have a second free range.)
    #[inline(never)]
    fn reinsert_free(&mut self, index: u32) {
        self.free.remove(&mut self.slots, index);
        self.insert_free(index);
    }

    fn set_next(&mut self, index: u32, next: u32) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.next = next;
        }
    }

    fn set_previous(&mut self, index: u32, previous: u32) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.previous = previous;
        }
    }

    /// Checks the type invariants.
    #[cfg(any(test, rust_ipc_kunit))]
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let (mut at, mut previous, mut was_free) = (0, NONE, false);
        let (mut free, mut live, mut used, mut one_way) = (0, 0, 0, 0);
        let (mut heads, mut head_count) = (0, 0);
        let mut index = (0..self.slots.capacity())
            .find(|index| {
                self.slots
                    .get(*index)
                    .is_some_and(|slot| slot.state != State::Vacant && slot.previous == NONE)
            })
            .ok_or("there is no first range")?;
        while index != NONE {
            let slot = self.slots.get(index).ok_or("a link leads nowhere")?;
            if slot.start != at || slot.len == 0 || slot.previous != previous {
                return Err("a gap, an empty range, or a wrong link");
            }
            if slot.is_free() {
                if slot.payload.is_some() {
                    return Err("a free range has a payload");
                }
                if was_free {
                    return Err("free neighbours");
                }
                free += 1;
            } else {
                if self.live_from(slot.start) != Some(index) {
                    return Err("a live range cannot be found");
                }
                live += 1;
                used += slot.len;
                one_way += if slot.is_one_way { slot.len } else { 0 };
            }
            if self.page(slot.start) >= heads {
                heads = self.page(slot.start) + 1;
                if self.heads.get(heads - 1) != Some(&index) {
                    return Err("the first range of a page cannot be found");
                }
                head_count += 1;
            }
            was_free = slot.is_free();
            at = slot.end();
            previous = index;
            index = slot.next;
        }
        if at != self.len || (live, used) != (self.live_count, self.used) {
            return Err("the sums are wrong");
        }
        if one_way + self.one_way_left != self.len / 2 {
            return Err("the one-way budget is wrong");
        }
        if free + live != self.slots.capacity() - self.slots.free() {
            return Err("a slot is lost");
        }
        if self.heads.iter().filter(|head| **head != NONE).count() != head_count {
            return Err("a page has a first range that is none of its");
        }
        let by_len = |a: u32, b: u32| self.free_key(a) < self.free_key(b);
        if self.free.check(&self.slots, by_len)? != free {
            return Err("a tree has the wrong size");
        }
        Ok(())
    }
}

fn granules(len_bytes: usize) -> Option<u32> {
    u32::try_from(len_bytes / GRANULE)
        .ok()
        .filter(|granules| *granules < NONE)
}

fn bytes(granules: u32) -> usize {
    granules as usize * GRANULE
}
