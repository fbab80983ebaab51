// SPDX-License-Identifier: GPL-2.0

//! Handles: a process's names for other processes' nodes.

use kernel::{
    id_pool::IdPool,
    prelude::*,
    rbtree::{RBTree, RBTreeNode, RBTreeNodeReservation},
    sync::Arc,
    task::Pid,
};

use super::{death::Death, freeze::Freeze, node::Settled, stats::HandleCount, Node, Thread};
use crate::{
    uapi::Strength,
    watch::trace::{self, Step},
};

/// The handle that names the context manager.
pub(super) const MANAGER: u32 = 0;

/// A handle's entry.
struct Handle {
    node: Arc<Node>,
    _count: HandleCount,
    strong: u32,
    weak: u32,
    death: Option<Arc<Death>>,
    freeze: Option<Arc<Freeze>>,
}

/// The handles of a process.
///
/// # Invariants
///
/// `by_node` has an entry for each of `by_number`, and an id of `numbers` is taken exactly if it is
/// the number of one of them. Each handle has a positive count.
pub(super) struct Table {
    /// Whose table it is.
    tgid: Pid,
    by_number: RBTree<u32, Handle>,
    /// Numbers by node address.
    by_node: RBTree<usize, u32>,
    numbers: IdPool,
    /// How many handles there are.
    len: usize,
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

/// Memory for one more handle, allocated before the table is locked.
pub(super) struct Room {
    by_number: RBTreeNodeReservation<u32, Handle>,
    by_node: RBTreeNodeReservation<usize, u32>,
}

impl Room {
    /// May sleep. `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Room {
            by_number: RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?,
            by_node: RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?,
        })
    }
}

/// What was taken out of a table, to be finished with after unlocking.
#[derive(Default)]
#[must_use = "must outlive the lock"]
pub(super) struct Removed {
    handle: Option<RBTreeNode<u32, Handle>>,
    number: Option<RBTreeNode<usize, u32>>,
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
        if let Some(entry) = self.handle {
            let (_, handle) = entry.to_key_value();
            if let Some(death) = handle.death {
                death.discard(&handle.node);
            }
            if let Some(freeze) = handle.freeze {
                freeze.discard(&handle.node);
            }
        }
        drop(self.number);
    }
}

impl Handle {
    /// The handle of that number has other counts than before.
    fn trace(&self, tgid: Pid, number: u32) {
        trace::HandleCounts::trace(|| trace::HandleCounts {
            tgid,
            handle: number,
            node_tgid: self.node.owner.tgid,
            node: self.node.number,
            strong: self.strong,
            weak: self.weak,
        });
    }
}

fn key(node: &Arc<Node>) -> usize {
    Arc::as_ptr(node).addr()
}

impl Table {
    pub(super) fn new(tgid: Pid) -> Self {
        Table {
            tgid,
            by_number: RBTree::new(),
            by_node: RBTree::new(),
            numbers: IdPool::new(),
            len: 0,
        }
    }

    /// The node that `number` names, if the handle has the strength asked for (any handle is weak).
    pub(super) fn get(&self, number: u32, strength: Strength) -> Option<&Arc<Node>> {
        let handle = self.by_number.get(&number)?;
        (strength == Strength::Weak || handle.strong > 0).then_some(&handle.node)
    }

    /// Whether the table can name `node` without [`Table::insert`].
    pub(super) fn number_of(&self, node: &Arc<Node>) -> Option<u32> {
        self.by_node.get(&key(node)).copied()
    }

    /// Enters `node`, which is not in the table yet, and counts one reference to it.
    ///
    /// The context manager's node gets number 0 where that is free, all others the lowest free one
    /// from 1. Gives `room` back if the number pool has to grow first: see [`Table::numbers`].
    pub(super) fn insert(
        &mut self,
        node: &Arc<Node>,
        is_manager: bool,
        strength: Strength,
        sender: Option<&Thread>,
        room: Room,
    ) -> Result<Result<u32>, Room> {
        let lowest = usize::from(!is_manager);
        let Some(id) = self.numbers.find_unused_id(lowest) else {
            return Err(room);
        };
        let number = id.as_u32();
        match strength {
            Strength::Strong => {
                if let Err(error) = node.add_strong_handle(is_manager, sender) {
                    return Ok(Err(error));
                }
            }
            Strength::Weak => node.add_weak_handle(sender),
        }
        node.add_handle();
        id.acquire();
        self.len += 1;
        let handle = Handle {
            node: node.clone(),
            _count: HandleCount::new(),
            strong: u32::from(strength == Strength::Strong),
            weak: u32::from(strength == Strength::Weak),
            death: None,
            freeze: None,
        };
        handle.trace(self.tgid, number);
        // INVARIANT: Both trees and the pool get the number; one count is 1. The keys are new, so
        // nothing is replaced.
        let _ = self
            .by_number
            .insert(room.by_number.into_node(number, handle));
        let _ = self
            .by_node
            .insert(room.by_node.into_node(key(node), number));
        Ok(Ok(number))
    }

    /// What there is to be seen of the first handle from `from` on.
    pub(super) fn look(&self, from: u32) -> Option<Seen> {
        let cursor = self.by_number.cursor_lower_bound(&from)?;
        let (number, handle) = cursor.current();
        Some(Seen {
            number: *number,
            node: handle.node.clone(),
            strong: handle.strong,
            weak: handle.weak,
            has_death: handle.death.is_some(),
            has_freeze: handle.freeze.is_some(),
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The pool of numbers, for growing it.
    pub(super) fn numbers(&mut self) -> &mut IdPool {
        &mut self.numbers
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
        let handle = self.by_number.get_mut(&number).ok_or(EINVAL)?;
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
        let handle = self.by_number.get_mut(&number).ok_or(EINVAL)?;
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
            let node = key(&handle.node);
            self.remove(number, node, &mut removed);
        }
        Ok(removed)
    }

    /// Takes a handle out, and the key of its node.
    fn remove(&mut self, number: u32, node: usize, removed: &mut Removed) {
        // INVARIANT: The number leaves all three.
        // CAST: `usize` is 64 bits wide; see the crate root.
        self.numbers.release_id(number as usize);
        self.len = self.len.saturating_sub(1);
        removed.handle = self.by_number.remove_node(&number);
        removed.number = self.by_node.remove_node(&node);
    }

    /// Attaches a notification to a handle. `None` if there is no such handle or it has one.
    pub(super) fn set_death(&mut self, number: u32, death: &Arc<Death>) -> Option<Arc<Node>> {
        let handle = self.by_number.get_mut(&number)?;
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
        let handle = self.by_number.get_mut(&number)?;
        let death = handle.death.take_if(|death| death.cookie() == cookie)?;
        Some((death, handle.node.clone()))
    }

    /// Attaches a freeze notification to a handle. `None` if there is no such handle or it has one.
    pub(super) fn set_freeze(&mut self, number: u32, freeze: &Arc<Freeze>) -> Option<Arc<Node>> {
        let handle = self.by_number.get_mut(&number)?;
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
        let handle = self.by_number.get_mut(&number)?;
        let freeze = handle.freeze.take_if(|freeze| freeze.cookie() == cookie)?;
        Some((freeze, handle.node.clone()))
    }

    /// Takes any one handle out of the table. For the end of the process.
    pub(super) fn remove_any(&mut self) -> Option<Removed> {
        let (&number, handle) = self.by_number.iter_mut().next()?;
        let mut removed = Removed::default();
        if handle.strong > 0 {
            removed.strong = handle.node.remove_handle(Strength::Strong);
        }
        (handle.strong, handle.weak) = (0, 0);
        handle.trace(self.tgid, number);
        removed.weak = handle.node.remove_handle(Strength::Weak);
        let node = key(&handle.node);
        self.remove(number, node, &mut removed);
        Some(removed)
    }
}
