// SPDX-License-Identifier: GPL-2.0

//! Slots with stable indices, in chunks of one size.
//!
//! Chunks form a tree: chunk 0 is the root, and the way to chunk `c > 0` is given by the digits of
//! `c` in the bijective numeral system with base `FANOUT`, least significant first. Taking the most
//! significant digit away gives a smaller number, so every chunk's parent comes before it, and
//! chunks can be added one by one: no directory has to grow, nothing is copied. The first chunk,
//! all that most owners ever need, is reached directly.

// CAST: `usize` is 64 bits wide (see the crate root), and holds any `u32`.

use super::storage::{Heap, Storage};

/// An index that no slot has.
pub(super) const NONE: u32 = u32::MAX;

/// What chunks are made of.
pub(crate) trait Slot: Sized {
    /// A slot that is not in use.
    const VACANT: Self;
}

/// What a [`Slab`] is made of.
pub(super) trait Chained: Slot {
    /// The index that [`Chained::set_vacant`] stored.
    fn next_vacant(&self) -> u32;

    /// Empties the slot, and stores the index of another vacant one (or [`NONE`]) in it.
    ///
    /// Must drop nothing: what the slot held has been taken out before.
    fn set_vacant(&mut self, next: u32);
}

/// Memory for `N` slots and up to `FANOUT` more chunks.
///
/// All slots of a chunk that is not part of a set are vacant: it can only be made so, and once
/// handed in it does not come out again.
pub(crate) struct Chunk<T, S: Storage, const N: usize, const FANOUT: usize> {
    pub(super) slots: [T; N],
    pub(super) children: [Option<S::Box<Self>>; FANOUT],
}

/// Slots that are found by their indices.
///
/// # Invariants
///
/// `capacity` is `N` times the number of chunks, which have the numbers from 0 up.
pub(super) struct Chunks<T, const N: usize, const FANOUT: usize, S: Storage = Heap> {
    root: Option<S::Box<Chunk<T, S, N, FANOUT>>>,
    capacity: u32,
}

impl<T, const N: usize, const FANOUT: usize, S: Storage> Chunks<T, N, FANOUT, S> {
    /// Slots of a chunk.
    // CAST: chunks have a few dozen slots.
    const SLOTS: u32 = N as u32;
    /// Children of a chunk.
    // CAST: chunks have a few dozen children.
    const CHILDREN: u32 = FANOUT as u32;

    /// Creates a set without slots.
    pub(super) const fn new() -> Self {
        Self {
            root: None,
            capacity: 0,
        }
    }

    /// The number of slots.
    #[inline]
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Takes a chunk in. Gives it back if there can be no more.
    pub(super) fn provide(
        &mut self,
        chunk: S::Box<Chunk<T, S, N, FANOUT>>,
    ) -> Result<(), S::Box<Chunk<T, S, N, FANOUT>>> {
        // `NONE` stays out of reach.
        let Some(capacity) = self
            .capacity
            .checked_add(Self::SLOTS)
            .filter(|capacity| *capacity < NONE)
        else {
            return Err(chunk);
        };
        let mut number = self.capacity / Self::SLOTS;
        let mut place = &mut self.root;
        while number > 0 {
            number -= 1;
            let Some(parent) = place else {
                return Err(chunk);
            };
            let Some(child) = parent.children.get_mut((number % Self::CHILDREN) as usize) else {
                return Err(chunk);
            };
            place = child;
            number /= Self::CHILDREN;
        }
        *place = Some(chunk);
        self.capacity = capacity;
        Ok(())
    }

    /// The slot with this index.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let root = self.root.as_deref()?;
        match root.slots.get(index as usize) {
            None if index != NONE => Self::find(root, index),
            slot => slot,
        }
    }

    /// A slot that is not in the first chunk.
    #[inline(never)]
    fn find(mut chunk: &Chunk<T, S, N, FANOUT>, index: u32) -> Option<&T> {
        let (mut number, place) = (index / Self::SLOTS, index % Self::SLOTS);
        while number > 0 {
            number -= 1;
            let child = chunk.children.get((number % Self::CHILDREN) as usize)?;
            chunk = child.as_deref()?;
            number /= Self::CHILDREN;
        }
        chunk.slots.get(place as usize)
    }

    /// The slot with this index, to change it.
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let root = self.root.as_deref_mut()?;
        if (index as usize) < N {
            root.slots.get_mut(index as usize)
        } else if index != NONE {
            Self::find_mut(root, index)
        } else {
            None
        }
    }

    /// Like [`Chunks::find`].
    #[inline(never)]
    fn find_mut(mut chunk: &mut Chunk<T, S, N, FANOUT>, index: u32) -> Option<&mut T> {
        let (mut number, place) = (index / Self::SLOTS, index % Self::SLOTS);
        while number > 0 {
            number -= 1;
            let child = chunk.children.get_mut((number % Self::CHILDREN) as usize)?;
            chunk = child.as_deref_mut()?;
            number /= Self::CHILDREN;
        }
        chunk.slots.get_mut(place as usize)
    }
}

/// A growing set of slots, of which any vacant one is given out.
///
/// # Invariants
///
/// - Slots from `fresh` up have never been used; those below it are in use, or vacant and on the
///   chain that starts at `vacant`.
/// - `free` counts the vacant slots, the fresh ones included.
pub(super) struct Slab<T, const N: usize, const FANOUT: usize, S: Storage = Heap> {
    chunks: Chunks<T, N, FANOUT, S>,
    fresh: u32,
    vacant: u32,
    free: u32,
}

impl<T: Chained, const N: usize, const FANOUT: usize, S: Storage> Slab<T, N, FANOUT, S> {
    /// Creates a slab without memory.
    pub(super) const fn new() -> Self {
        Self {
            chunks: Chunks::new(),
            fresh: 0,
            vacant: NONE,
            free: 0,
        }
    }

    /// The number of vacant slots.
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    /// The number of slots.
    pub(super) fn capacity(&self) -> u32 {
        self.chunks.capacity()
    }

    /// Takes a chunk in. Gives it back if there can be no more.
    pub(super) fn provide(
        &mut self,
        chunk: S::Box<Chunk<T, S, N, FANOUT>>,
    ) -> Result<(), S::Box<Chunk<T, S, N, FANOUT>>> {
        self.chunks.provide(chunk)?;
        self.free += Chunks::<T, N, FANOUT, S>::SLOTS;
        Ok(())
    }

    /// The slot with this index.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index)
    }

    /// The slot with this index, to change it.
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks.get_mut(index)
    }

    /// Takes a vacant slot. The caller fills it.
    pub(super) fn take(&mut self) -> Option<u32> {
        let index = if self.vacant != NONE {
            let index = self.vacant;
            self.vacant = self.get(index).map_or(NONE, Chained::next_vacant);
            index
        } else if self.fresh < self.capacity() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.free = self.free.saturating_sub(1);
        Some(index)
    }

    /// Gives a slot back that [`Slab::take`] returned.
    pub(super) fn put(&mut self, index: u32) {
        let next = self.vacant;
        if let Some(slot) = self.get_mut(index) {
            slot.set_vacant(next);
            self.vacant = index;
            self.free += 1;
        }
    }
}
