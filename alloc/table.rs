// SPDX-License-Identifier: GPL-2.0

//! Items that are found by a number, and by a key of their own.
//!
//! The number of an item is the index of its slot, so finding it takes no search, and a new item
//! gets the lowest that is free. The links of the tree by key are in the same slot. Slots that have
//! been given up are in another tree, by number: the lowest is found as fast as any key.
//!
//! Memory that a table was given stays in use until the table goes, like the slots of a
//! [`Slab`](super::slab::Slab).

use super::{
    slab::{self, Chunks, NONE},
    storage::{Heap, Storage},
    tree::{Node, Nodes, Tree},
};

/// How many numbers are looked at for one in use: bounds how long a table is locked.
const MAX_SCAN: u32 = 1024;

/// What a [`Table`] can keep.
pub(crate) trait Item {
    /// What items are told apart by.
    type Key: Copy + Ord;

    /// The item's key. It does not change while the item is in a table.
    fn key(&self) -> Self::Key;
}

/// Memory for a [`Table`].
pub(crate) type Chunk<T, const N: usize, const FANOUT: usize, S = Heap> =
    super::Chunk<Slot<T>, S, N, FANOUT>;

/// A slot of a [`Table`].
pub(crate) struct Slot<T> {
    item: Option<T>,
    node: Node,
}

impl<T> slab::Slot for Slot<T> {
    const VACANT: Self = Self {
        item: None,
        node: Node::NONE,
    };
}

type Slots<T, const N: usize, const FANOUT: usize, S> = Chunks<Slot<T>, N, FANOUT, S>;

impl<T, const N: usize, const FANOUT: usize, S: Storage> Nodes for Slots<T, N, FANOUT, S> {
    #[inline]
    fn node(&self, index: u32) -> Option<&Node> {
        self.get(index).map(|slot| &slot.node)
    }

    #[inline]
    fn node_mut(&mut self, index: u32) -> Option<&mut Node> {
        self.get_mut(index).map(|slot| &mut slot.node)
    }
}

/// Numbered items, in chunks of `N`.
///
/// # Invariants
///
/// - The slots with an item are in `used`, by key, and there are `len`.
/// - The slots without one are in `vacant`, by number, if they are below `fresh`, and in no tree
///   otherwise.
pub(crate) struct Table<T, const N: usize, const FANOUT: usize, S: Storage = Heap> {
    slots: Slots<T, N, FANOUT, S>,
    used: Tree,
    vacant: Tree,
    fresh: u32,
    len: u32,
}

impl<T: Item, const N: usize, const FANOUT: usize, S: Storage> Table<T, N, FANOUT, S> {
    /// Creates a table without items and without memory.
    pub(crate) const fn new() -> Self {
        Self {
            slots: Chunks::new(),
            used: Tree::new(),
            vacant: Tree::new(),
            fresh: 0,
            len: 0,
        }
    }

    /// Takes memory in. Gives it back if there can be no more. O(1).
    pub(crate) fn provide(
        &mut self,
        chunk: S::Box<Chunk<T, N, FANOUT, S>>,
    ) -> Result<(), S::Box<Chunk<T, N, FANOUT, S>>> {
        self.slots.provide(chunk)
    }

    /// The number of items.
    pub(crate) fn len(&self) -> usize {
        // CAST: `usize` is 64 bits wide; see the crate root.
        self.len as usize
    }

    /// The item of that number.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number)?.item.as_ref()
    }

    /// The item of that number, to change it, but for its key.
    #[inline]
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number)?.item.as_mut()
    }

    /// The item with that key. O(log n).
    pub(crate) fn find(&self, key: T::Key) -> Option<&T> {
        self.get(self.search(key).ok()?)
    }

    /// The number of the item with that key. O(log n).
    pub(crate) fn number_of(&self, key: T::Key) -> Option<u32> {
        self.search(key).ok()
    }

    /// The item with the lowest key from `key` on. O(log n).
    pub(crate) fn find_from(&self, key: T::Key) -> Option<&T> {
        let mut best = None;
        let mut at = self.used.root();
        while let Some(slot) = self.slots.get(at) {
            let item = slot.item.as_ref()?;
            let is_enough = item.key() >= key;
            if is_enough {
                best = Some(item);
            }
            at = slot.node.child(!is_enough);
        }
        best
    }

    /// The item with the lowest number from `from` on, and that number. If none of the next
    /// [`MAX_SCAN`] is in use it is a number to look on from, without an item. [`None`] at the end.
    pub(crate) fn next(&self, from: u32) -> Option<(u32, Option<&T>)> {
        if from >= self.fresh {
            return None;
        }
        let end = self.fresh.min(from.saturating_add(MAX_SCAN));
        let found = (from..end).find_map(|number| Some((number, Some(self.get(number)?))));
        Some(found.unwrap_or((end, None)))
    }

    /// The number of the item with that key; or if there is none, the lowest free one from `from` on.
    ///
    /// O(log n), and O(`from`) the first time that a number is that high.
    pub(crate) fn entry(&mut self, key: T::Key, from: u32) -> Entry<'_, T, N, FANOUT, S> {
        let (parent, right) = match self.search(key) {
            Ok(number) => return Entry::Used(number),
            Err(place) => place,
        };
        let mut number = self.fresh.max(from);
        let mut at = self.vacant.root();
        while let Some(slot) = self.slots.get(at) {
            let is_enough = at >= from;
            if is_enough {
                number = at;
            }
            at = slot.node.child(!is_enough);
        }
        if number >= self.slots.capacity() {
            return Entry::Full;
        }
        Entry::Free(Vacancy {
            table: self,
            number,
            parent,
            right,
        })
    }

    /// Takes an item out. O(log n).
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let item = self.slots.get_mut(number)?.item.take()?;
        self.used.remove(&mut self.slots, number);
        self.len = self.len.saturating_sub(1);
        if number.saturating_add(1) == self.fresh {
            self.fresh = number;
        } else {
            self.add_vacant(number);
        }
        Some(item)
    }

    fn add_vacant(&mut self, number: u32) {
        self.vacant
            .insert(&mut self.slots, number, |_, other| other < number);
    }

    /// The number of the item with that key, or where in the tree it would be: below which slot, and
    /// whether on the right.
    fn search(&self, key: T::Key) -> Result<u32, (u32, bool)> {
        let (mut parent, mut right) = (NONE, false);
        let mut at = self.used.root();
        while let Some(slot) = self.slots.get(at) {
            let Some(item) = &slot.item else {
                break;
            };
            let found = item.key();
            if found == key {
                return Ok(at);
            }
            right = found < key;
            parent = at;
            at = slot.node.child(right);
        }
        Err((parent, right))
    }

    /// Checks the type invariants.
    #[cfg(any(test, rust_ipc_kunit))]
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let key = |number| self.get(number).map(Item::key);
        if self.used.check(&self.slots, |a, b| key(a) < key(b))? != self.len {
            return Err("the tree by key has the wrong size");
        }
        let vacant = self.vacant.check(&self.slots, |a, b| a < b)?;
        let is_used = |number: &u32| self.get(*number).is_some();
        let capacity = self.slots.capacity();
        if (0..capacity).filter(is_used).count() != self.len() {
            return Err("an item is in no tree");
        }
        if (self.fresh..capacity).any(|number| is_used(&number)) {
            return Err("a fresh slot is in use");
        }
        if self.len + vacant != self.fresh {
            return Err("a slot is lost");
        }
        Ok(())
    }
}

/// What a [`Table`] has under a key.
pub(crate) enum Entry<'a, T, const N: usize, const FANOUT: usize, S: Storage = Heap> {
    /// The item of that number.
    Used(u32),
    /// Nothing: a place for it.
    Free(Vacancy<'a, T, N, FANOUT, S>),
    /// Nothing, and no memory: [`Table::provide`] some and try again.
    Full,
}

/// A free number of a [`Table`], for an item with the key that was asked for.
pub(crate) struct Vacancy<'a, T, const N: usize, const FANOUT: usize, S: Storage = Heap> {
    table: &'a mut Table<T, N, FANOUT, S>,
    number: u32,
    /// Where in the tree by key.
    parent: u32,
    right: bool,
}

impl<T: Item, const N: usize, const FANOUT: usize, S: Storage> Vacancy<'_, T, N, FANOUT, S> {
    /// The number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Enters the item.
    pub(crate) fn fill(self, item: T) {
        let Vacancy {
            table,
            number,
            parent,
            right,
        } = self;
        if number < table.fresh {
            table.vacant.remove(&mut table.slots, number);
        } else {
            while table.fresh < number {
                table.add_vacant(table.fresh);
                table.fresh += 1;
            }
            table.fresh += 1;
        }
        if let Some(slot) = table.slots.get_mut(number) {
            slot.item = Some(item);
        }
        table.used.attach(&mut table.slots, number, parent, right);
        table.len += 1;
    }
}
