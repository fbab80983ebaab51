// SPDX-License-Identifier: GPL-2.0

//! Handles: a process's names for other processes' nodes.

use kernel::{prelude::*, sync::Arc, task::Pid};

use super::{death::Death, freeze::Freeze, node::Settled, stats::HandleCount, Node, Thread};
use crate::{
    alloc::table::{self, Entry, Item},
    uapi::Strength,
    watch::trace::{self, Step},
};

/// The handle that names the context manager.
pub(super) const MANAGER: u32 = 0;

/// Slots of a chunk: with its children 512 bytes, and both are powers of two, which is faster.
const SLOTS: usize = 8;
/// Children of a chunk.
const FANOUT: usize = 16;

type Chunk = table::Chunk<Handle, SLOTS, FANOUT>;
kernel::static_assert!(size_of::<Chunk>() == 512);

/// A handle's entry.
struct Handle {
    node: Arc<Node>,
    _count: HandleCount,
    strong: u32,
    weak: u32,
    death: Option<Arc<Death>>,
    freeze: Option<Arc<Freeze>>,
}

/// The handles of a process, by number, and by the address of the node.
///
/// # Invariants
///
/// Each handle has a positive count.
pub(super) struct Table {
    /// Whose table it is.
    tgid: Pid,
    handles: table::Table<Handle, SLOTS, FANOUT>,
}

/// What there is to be seen of a handle. Not to be dropped under a lock: the node is a reference.
pub(super) struct Seen {
    pub(super) number: u32,
    pub(super) node: Arc<Node>,
    pub(super) strong: u32,
    pub(super) weak: u32,
    pub(super) has_death: bool,
    pub(super) has_freeze: bool,
}

/// Memory for more handles, allocated before the table is locked.
pub(super) struct Room(KBox<Chunk>);

impl Room {
    /// May sleep. `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Room(Chunk::new(GFP_KERNEL_ACCOUNT)?))
    }
}

/// What was taken out of a table, to be finished with after unlocking.
#[derive(Default)]
#[must_use = "must outlive the lock"]
pub(super) struct Removed {
    handle: Option<Handle>,
    /// What the node makes of the strong count that went, and of the handle that did.
    strong: Settled,
    weak: Settled,
}

impl Removed {
    /// Forgets what the process asked to be told under the handle.
    ///
    /// No lock may be held.
    pub(super) fn finish(self) {
        self.strong.finish();
        self.weak.finish();
        if let Some(handle) = self.handle {
            if let Some(death) = handle.death {
                death.discard(&handle.node);
            }
            if let Some(freeze) = handle.freeze {
                freeze.discard(&handle.node);
            }
        }
    }
}

impl Handle {
    /// The handle of that number has other counts than before.
    fn trace(&self, tgid: Pid, number: u32) {
        trace::HandleCounts::trace(|| trace::HandleCounts {
            tgid,
            handle: number,
            node_tgid: self.node.owner.tgid,
            node: self.node.number.get(),
            strong: self.strong,
            weak: self.weak,
        });
    }
}

fn key(node: &Arc<Node>) -> usize {
    Arc::as_ptr(node).addr()
}

impl Item for Handle {
    type Key = usize;

    fn key(&self) -> usize {
        key(&self.node)
    }
}

impl Table {
    pub(super) fn new(tgid: Pid) -> Self {
        Table {
            tgid,
            handles: table::Table::new(),
        }
    }

    /// The node that `number` names, if the handle has the strength asked for (any handle is weak).
    pub(super) fn get(&self, number: u32, strength: Strength) -> Option<&Arc<Node>> {
        let handle = self.handles.get(number)?;
        (strength == Strength::Weak || handle.strong > 0).then_some(&handle.node)
    }

    /// Counts one more reference to `node`, under a new handle if it has none yet.
    ///
    /// The context manager's node gets number 0 where that is free, all others the lowest free one
    /// from 1. Returns the number; [`None`] without memory: see [`Table::provide`].
    ///
    /// # Errors
    ///
    /// As [`Table::increment`]. Nothing has changed then.
    pub(super) fn refer_to(
        &mut self,
        node: &Arc<Node>,
        is_manager: bool,
        strength: Strength,
        sender: Option<&Thread>,
    ) -> Option<Result<u32>> {
        let vacancy = match self.handles.entry(key(node), u32::from(!is_manager)) {
            Entry::Free(vacancy) => vacancy,
            Entry::Used(number) => {
                let counted = self.increment(number, strength, is_manager, sender);
                return Some(counted.map(|()| number));
            }
            Entry::Full => return None,
        };
        let number = vacancy.number();
        match strength {
            Strength::Strong => {
                if let Err(error) = node.add_strong_handle(is_manager, sender) {
                    return Some(Err(error));
                }
            }
            Strength::Weak => node.add_weak_handle(sender),
        }
        node.add_handle();
        let handle = Handle {
            node: node.clone(),
            _count: HandleCount::new(),
            strong: u32::from(strength == Strength::Strong),
            weak: u32::from(strength == Strength::Weak),
            death: None,
            freeze: None,
        };
        handle.trace(self.tgid, number);
        // INVARIANT: One count is 1.
        vacancy.fill(handle);
        Some(Ok(number))
    }

    /// Takes memory in for [`Table::refer_to`]. Gives it back if there can be no more handles.
    pub(super) fn provide(&mut self, room: Room) -> Result<(), Room> {
        self.handles.provide(room.0).map_err(Room)
    }

    /// What there is to be seen of the first handle from `from` on, or nothing if that is far; and
    /// where to go on. [`None`] at the end.
    pub(super) fn look(&self, from: u32) -> Option<(u32, Option<Seen>)> {
        let (number, handle) = self.handles.next(from)?;
        let Some(handle) = handle else {
            return Some((number, None));
        };
        let seen = Seen {
            number,
            node: handle.node.clone(),
            strong: handle.strong,
            weak: handle.weak,
            has_death: handle.death.is_some(),
            has_freeze: handle.freeze.is_some(),
        };
        Some((number.saturating_add(1), Some(seen)))
    }

    /// Takes the whole table, to be taken apart without the lock. For the end of the process. (What a
    /// sender that is late makes in the new one, it takes back.)
    pub(super) fn take_all(&mut self) -> Self {
        core::mem::replace(self, Table::new(self.tgid))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.handles.len()
    }

    /// Counts one more reference.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such handle, none with a strong count where one is needed, or the count is at its
    /// end. Nothing has changed then.
    pub(super) fn increment(
        &mut self,
        number: u32,
        strength: Strength,
        is_manager: bool,
        sender: Option<&Thread>,
    ) -> Result {
        let handle = self.handles.get_mut(number).ok_or(EINVAL)?;
        let count = match strength {
            Strength::Strong => &mut handle.strong,
            Strength::Weak => &mut handle.weak,
        };
        let next = count.checked_add(1).ok_or(EINVAL)?;
        if *count == 0 {
            match strength {
                Strength::Strong => handle.node.add_strong_handle(is_manager, sender)?,
                Strength::Weak => handle.node.add_weak_handle(sender),
            }
        }
        *count = next;
        handle.trace(self.tgid, number);
        Ok(())
    }

    /// Counts one reference less. With the last one the handle goes.
    ///
    /// # Errors
    ///
    /// `EINVAL`: no such handle, or its count is 0. Nothing has changed then.
    pub(super) fn decrement(&mut self, number: u32, strength: Strength) -> Result<Removed> {
        let handle = self.handles.get_mut(number).ok_or(EINVAL)?;
        let count = match strength {
            Strength::Strong => &mut handle.strong,
            Strength::Weak => &mut handle.weak,
        };
        *count = count.checked_sub(1).ok_or(EINVAL)?;
        handle.trace(self.tgid, number);
        let mut removed = Removed::default();
        if strength == Strength::Strong && handle.strong == 0 {
            removed.strong = handle.node.remove_handle(Strength::Strong);
        }
        if handle.strong == 0 && handle.weak == 0 {
            removed.weak = handle.node.remove_handle(Strength::Weak);
            removed.handle = self.handles.remove(number);
        }
        Ok(removed)
    }

    /// Attaches a notification to a handle. `None` if there is no such handle or it has one.
    pub(super) fn set_death(&mut self, number: u32, death: &Arc<Death>) -> Option<Arc<Node>> {
        let handle = self.handles.get_mut(number)?;
        if handle.death.is_some() {
            return None;
        }
        handle.death = Some(death.clone());
        death.trace(Step::Requested);
        Some(handle.node.clone())
    }

    /// Detaches the notification of that cookie from a handle.
    pub(super) fn take_death(
        &mut self,
        number: u32,
        cookie: u64,
    ) -> Option<(Arc<Death>, Arc<Node>)> {
        let handle = self.handles.get_mut(number)?;
        let death = handle.death.take_if(|death| death.cookie() == cookie)?;
        Some((death, handle.node.clone()))
    }

    /// Attaches a freeze notification to a handle. `None` if there is no such handle or it has one.
    pub(super) fn set_freeze(&mut self, number: u32, freeze: &Arc<Freeze>) -> Option<Arc<Node>> {
        let handle = self.handles.get_mut(number)?;
        if handle.freeze.is_some() {
            return None;
        }
        handle.freeze = Some(freeze.clone());
        freeze.trace(Step::Requested);
        Some(handle.node.clone())
    }

    /// Detaches the freeze notification of that cookie from a handle.
    pub(super) fn take_freeze(
        &mut self,
        number: u32,
        cookie: u64,
    ) -> Option<(Arc<Freeze>, Arc<Node>)> {
        let handle = self.handles.get_mut(number)?;
        let freeze = handle.freeze.take_if(|freeze| freeze.cookie() == cookie)?;
        Some((freeze, handle.node.clone()))
    }

    /// Takes the first handle from `from` on out, or nothing if that is far; and says where to go on.
    /// [`None`] at the end. For the end of the process.
    pub(super) fn remove_from(&mut self, from: u32) -> Option<(u32, Removed)> {
        let (number, handle) = self.handles.next(from)?;
        let mut removed = Removed::default();
        if handle.is_none() {
            return Some((number, removed));
        }
        let handle = self.handles.get_mut(number)?;
        if handle.strong > 0 {
            removed.strong = handle.node.remove_handle(Strength::Strong);
        }
        (handle.strong, handle.weak) = (0, 0);
        handle.trace(self.tgid, number);
        removed.weak = handle.node.remove_handle(Strength::Weak);
        removed.handle = self.handles.remove(number);
        Some((number.saturating_add(1), removed))
    }
}
