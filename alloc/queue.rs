// SPDX-License-Identifier: GPL-2.0

//! Work queues that share an arena.
//!
//! A process has many queues (its own, one a thread, one a node) of which most are empty at any
//! time, and everything that is queued must be queueable where nothing may be allocated. Here all
//! queues of one owner live in one [`Arena`]: a queue is a sentinel slot of it, an item another
//! slot, and both are linked in a ring by index. An item can be taken out of the middle, as its
//! [`Position`] says where it is, and a [`Ticket`] reserves a slot for something that will have to
//! be queued without fail.
//!
//! [`Queue`] and [`Position`] are plain values with a generation: what has gone reads as empty or
//! absent, and never as whatever took its slot. A slot's generation comes round after 2^32 uses of
//! that slot; a `Position` is to be forgotten when its item is taken, the generation is there so
//! that forgetting to is harmless.

// CAST: `usize` is 64 bits wide (see the crate root), and holds any `u32`.

use core::num::NonZeroU32;

use super::{
    slab::{self, Slab, NONE},
    storage::{Heap, Storage},
};

/// Slots of a chunk: 512 bytes for items of 16.
const SLOTS: usize = 14;
/// Children of a chunk.
const FANOUT: usize = 8;

/// Memory for an [`Arena`].
pub(crate) type Chunk<W, S = Heap> = super::Chunk<Slot<W>, S, SLOTS, FANOUT>;

/// Slots that one [`Chunk`] adds.
#[cfg(any(test, rust_ipc_kunit))]
pub(super) const CHUNK_SLOTS: usize = SLOTS;

/// Allocates memory for an [`Arena`].
///
/// May sleep if `flags` say so.
#[cfg(not(rust_ipc_host))]
pub(crate) fn new_chunk<W>(
    flags: kernel::alloc::Flags,
) -> Result<kernel::alloc::KBox<Chunk<W>>, kernel::alloc::AllocError> {
    Chunk::new(flags)
}

/// A queue of an [`Arena`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Queue {
    sentinel: u32,
    generation: NonZeroU32,
}

impl Queue {
    /// None of any [`Arena`]: it is empty, and takes no items.
    pub(crate) const NOWHERE: Self = Self {
        sentinel: NONE,
        generation: NonZeroU32::MAX,
    };
}

/// The place of an item in a queue of an [`Arena`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    index: u32,
    generation: NonZeroU32,
}

/// A slot set aside in one [`Arena`].
///
/// To be given to [`Arena::push_back_with`], [`Arena::new_queue_with`] or [`Arena::release`] of the
/// arena that it is from; one that is dropped instead keeps its slot from being used.
#[must_use = "a ticket that is dropped keeps its slot from being used"]
#[derive(Debug)]
pub(crate) struct Ticket(());

enum Content<W> {
    Vacant,
    Sentinel,
    Item(W),
}

/// A slot of an [`Arena`].
pub(crate) struct Slot<W> {
    content: Content<W>,
    next: u32,
    previous: u32,
    /// Counts the uses of the slot. Not 0, so that an [`Option`] of what has it takes no more memory.
    generation: NonZeroU32,
}

impl<W> Slot<W> {
    fn is_sentinel_of(&self, queue: Queue) -> bool {
        self.generation == queue.generation && matches!(self.content, Content::Sentinel)
    }
}

impl<W> slab::Slot for Slot<W> {
    const VACANT: Self = Self {
        content: Content::Vacant,
        next: NONE,
        previous: NONE,
        generation: NonZeroU32::MIN,
    };
}

impl<W> slab::Chained for Slot<W> {
    fn next_vacant(&self) -> u32 {
        self.next
    }

    fn set_vacant(&mut self, next: u32) {
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        self.next = next;
        self.previous = NONE;
    }
}

/// Queues of `W`s that share memory.
///
/// # Invariants
///
/// - The slots that are in use form rings by `next` and `previous`. A ring has at most one
///   sentinel; one without is a single item (see [`Arena::push_back_with`]).
/// - `reserved` is at most the number of vacant slots.
/// - `items` is the number of items, in all queues and in none.
pub(crate) struct Arena<W, S: Storage = Heap> {
    slots: Slab<Slot<W>, SLOTS, FANOUT, S>,
    reserved: u32,
    items: u32,
}

impl<W, S: Storage> Arena<W, S> {
    /// Creates an arena without queues and without memory.
    pub(crate) const fn new() -> Self {
        Self {
            slots: Slab::new(),
            reserved: 0,
            items: 0,
        }
    }

    /// Whether fewer than `count` slots could be taken (an item, a queue, a ticket take one each).
    pub(crate) fn needs_memory(&self, count: usize) -> bool {
        (self.unreserved() as usize) < count
    }

    /// Adds the slots of a chunk.
    ///
    /// O(1). Gives the chunk back if there can be no more, which takes 2^32 slots.
    pub(crate) fn provide(
        &mut self,
        chunk: S::Box<Chunk<W, S>>,
    ) -> Result<(), S::Box<Chunk<W, S>>> {
        self.slots.provide(chunk)
    }

    /// Creates a queue. [`None`] without a slot for it.
    pub(crate) fn new_queue(&mut self) -> Option<Queue> {
        self.reserve().map(|ticket| self.new_queue_with(ticket))
    }

    /// Creates a queue in a slot set aside.
    pub(crate) fn new_queue_with(&mut self, ticket: Ticket) -> Queue {
        let sentinel = self.take_slot(ticket);
        let Position { generation, .. } =
            self.fill(sentinel, Content::Sentinel, sentinel, sentinel);
        Queue {
            sentinel,
            generation,
        }
    }

    /// Removes a queue. Says whether it did: a queue that is not empty stays.
    pub(crate) fn free_queue(&mut self, queue: Queue) -> bool {
        let is_free = self.sentinel(queue).is_some() && self.is_empty(queue);
        if is_free {
            if let Some(slot) = self.slots.get_mut(queue.sentinel) {
                slot.content = Content::Vacant;
            }
            self.slots.put(queue.sentinel);
        }
        is_free
    }

    /// Sets a slot aside. [`None`] if all are in use or set aside.
    pub(crate) fn reserve(&mut self) -> Option<Ticket> {
        if self.unreserved() == 0 {
            return None;
        }
        self.reserved += 1;
        Some(Ticket(()))
    }

    /// Lets others use the slot set aside.
    pub(crate) fn release(&mut self, ticket: Ticket) {
        let Ticket(()) = ticket;
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Adds an item at the end of `queue`. Gives it back without a slot for it, or if the queue has
    /// been freed.
    pub(crate) fn push_back(&mut self, queue: Queue, item: W) -> Result<Position, W> {
        self.push(queue, item, false)
    }

    /// Adds an item at the front of `queue`. Gives it back without a slot for it, or if the queue
    /// has been freed.
    pub(crate) fn push_front(&mut self, queue: Queue, item: W) -> Result<Position, W> {
        self.push(queue, item, true)
    }

    /// Adds an item at the end of `queue`, in a slot set aside.
    ///
    /// If the queue has been freed, the item is kept in no queue, where [`Arena::remove`] finds it.
    pub(crate) fn push_back_with(&mut self, queue: Queue, item: W, ticket: Ticket) -> Position {
        let index = self.take_slot(ticket);
        let previous = match self.sentinel_mut(queue) {
            Some(sentinel) => core::mem::replace(&mut sentinel.previous, index),
            None => return self.fill(index, Content::Item(item), index, index),
        };
        if let Some(slot) = self.slots.get_mut(previous) {
            slot.next = index;
        }
        self.fill(index, Content::Item(item), previous, queue.sentinel)
    }

    /// Takes the first item of `queue`.
    #[inline]
    pub(crate) fn pop_front(&mut self, queue: Queue) -> Option<W> {
        let index = self.first(queue)?;
        self.take(index)
    }

    /// Takes the item at `position`, wherever it is queued. [`None`] if it has been taken.
    pub(crate) fn remove(&mut self, position: Position) -> Option<W> {
        let slot = self.slots.get(position.index)?;
        if slot.generation != position.generation || !matches!(slot.content, Content::Item(_)) {
            return None;
        }
        self.take(position.index)
    }

    /// The item at `position`. [`None`] if it has been taken.
    #[cfg(any(test, rust_ipc_kunit))]
    pub(super) fn get(&self, position: Position) -> Option<&W> {
        let slot = self.slots.get(position.index)?;
        match &slot.content {
            Content::Item(item) if slot.generation == position.generation => Some(item),
            _ => None,
        }
    }

    /// Whether there is nothing in `queue`, or no such queue.
    #[inline]
    pub(crate) fn is_empty(&self, queue: Queue) -> bool {
        self.first(queue).is_none()
    }

    /// The first item of `queue`.
    pub(crate) fn front(&self, queue: Queue) -> Option<&W> {
        self.iter(queue).next()
    }

    /// The items of `queue`, from the front.
    pub(crate) fn iter(&self, queue: Queue) -> Iter<'_, W, S> {
        Iter {
            arena: self,
            next: self.first(queue).unwrap_or(NONE),
        }
    }

    /// The items of `queue` and where they are, from the front.
    pub(crate) fn positions(
        &self,
        queue: Queue,
    ) -> impl Iterator<Item = (Position, &W)> + use<'_, W, S> {
        self.positions_after(queue, None)
    }

    /// The items of `queue` that are behind the one at `after`, and where they are. From the front if
    /// there is none, or it has been taken.
    pub(crate) fn positions_after(
        &self,
        queue: Queue,
        after: Option<Position>,
    ) -> impl Iterator<Item = (Position, &W)> + use<'_, W, S> {
        let behind = after.and_then(|after| {
            let slot = self.slots.get(after.index)?;
            (slot.generation == after.generation).then_some(slot.next)
        });
        let mut index = behind.or_else(|| self.first(queue)).unwrap_or(NONE);
        core::iter::from_fn(move || {
            let slot = self.slots.get(index)?;
            let Content::Item(item) = &slot.content else {
                return None;
            };
            let position = Position {
                index,
                generation: slot.generation,
            };
            index = slot.next;
            Some((position, item))
        })
    }

    /// The number of slots in use: the queues and the items in all of them.
    pub(crate) fn used(&self) -> usize {
        (self.slots.capacity() - self.slots.free()) as usize
    }

    /// The number of items in all queues, and in none.
    #[cfg(any(test, rust_ipc_kunit))]
    pub(super) fn items(&self) -> usize {
        self.items as usize
    }

    fn unreserved(&self) -> u32 {
        self.slots.free().saturating_sub(self.reserved)
    }

    fn push(&mut self, queue: Queue, item: W, front: bool) -> Result<Position, W> {
        if self.sentinel(queue).is_none() {
            return Err(item);
        }
        let Some(ticket) = self.reserve() else {
            return Err(item);
        };
        if !front {
            return Ok(self.push_back_with(queue, item, ticket));
        }
        let index = self.take_slot(ticket);
        let next = match self.slots.get_mut(queue.sentinel) {
            Some(sentinel) => core::mem::replace(&mut sentinel.next, index),
            None => index,
        };
        if let Some(slot) = self.slots.get_mut(next) {
            slot.previous = index;
        }
        Ok(self.fill(index, Content::Item(item), queue.sentinel, next))
    }

    /// Takes the slot set aside. The caller fills it.
    fn take_slot(&mut self, ticket: Ticket) -> u32 {
        self.release(ticket);
        // By the type invariants there is a vacant slot for each ticket.
        self.slots.take().unwrap_or(NONE)
    }

    /// Fills a vacant slot that is to be between these two.
    fn fill(&mut self, index: u32, content: Content<W>, previous: u32, next: u32) -> Position {
        let mut generation = NonZeroU32::MIN;
        self.items += u32::from(matches!(content, Content::Item(_)));
        if let Some(slot) = self.slots.get_mut(index) {
            slot.content = content;
            slot.previous = previous;
            slot.next = next;
            generation = slot.generation;
        }
        Position { index, generation }
    }

    /// Takes the item out of the slot `index`.
    fn take(&mut self, index: u32) -> Option<W> {
        let slot = self.slots.get_mut(index)?;
        let (next, previous) = (slot.next, slot.previous);
        let content = core::mem::replace(&mut slot.content, Content::Vacant);
        self.slots.put(index);
        // Makes `next` follow `previous`.
        if previous != index {
            if let Some(slot) = self.slots.get_mut(previous) {
                slot.next = next;
            }
            if let Some(slot) = self.slots.get_mut(next) {
                slot.previous = previous;
            }
        }
        match content {
            Content::Item(item) => {
                self.items = self.items.saturating_sub(1);
                Some(item)
            }
            Content::Vacant | Content::Sentinel => None,
        }
    }

    /// The sentinel of `queue`, if that exists.
    #[inline]
    fn sentinel(&self, queue: Queue) -> Option<&Slot<W>> {
        let slot = self.slots.get(queue.sentinel)?;
        slot.is_sentinel_of(queue).then_some(slot)
    }

    /// The sentinel of `queue`, if that exists.
    #[inline]
    fn sentinel_mut(&mut self, queue: Queue) -> Option<&mut Slot<W>> {
        let slot = self.slots.get_mut(queue.sentinel)?;
        slot.is_sentinel_of(queue).then_some(slot)
    }

    /// The index of the first item of `queue`.
    #[inline]
    fn first(&self, queue: Queue) -> Option<u32> {
        // Mostly there is nothing in any.
        if self.items == 0 {
            return None;
        }
        let next = self.sentinel(queue)?.next;
        (next != queue.sentinel).then_some(next)
    }
}

/// The items of a queue, from the front. See [`Arena::iter`].
pub(crate) struct Iter<'a, W, S: Storage = Heap> {
    arena: &'a Arena<W, S>,
    next: u32,
}

impl<'a, W, S: Storage> Iterator for Iter<'a, W, S> {
    type Item = &'a W;

    fn next(&mut self) -> Option<&'a W> {
        let slot = self.arena.slots.get(self.next)?;
        let Content::Item(item) = &slot.content else {
            return None;
        };
        self.next = slot.next;
        Some(item)
    }
}
