// SPDX-License-Identifier: GPL-2.0

//! Nodes: the objects that a process offers to others.
//!
//! A node is referred to by handles of other processes, by messages that are under way to it or not
//! yet freed ([`Hold`]), and by its owner, which is told by `BR_INCREFS`, `BR_ACQUIRE`, `BR_RELEASE`
//! and `BR_DECREFS` whether anybody still refers to it.

use kernel::{
    prelude::*,
    rbtree::{RBTree, RBTreeNode},
    sync::{Arc, LockedBy},
};

use super::{
    counts::{Counts, Outcome},
    death::{self, Death},
    process::{self, Process, Wake},
    stats::{NodeCount, Output},
    thread::Thread,
    transaction::{Spare, Transaction},
    work::{Entry, Work},
};
use crate::{
    alloc::queue::{Position, Queue},
    uapi::{br, node_flags, Strength},
    watch::trace,
};

/// How many waiting one-way messages are looked at for one that is outdated.
const MAX_OUTDATED_SCAN: usize = 4096;

/// The state of a node, guarded by its owner's `inner` lock.
struct State {
    counts: Counts,
    /// The node's place in its owner's queues.
    entry: Entry,
    /// A one-way message to the node is queued to its owner, or delivered and not yet freed.
    one_way_busy: bool,
    /// One-way messages that wait for their turn, while the node is its owner's.
    one_way: Option<Queue>,
    /// Who is to be told when the owner goes, by [`Death::key`].
    deaths: RBTree<usize, Arc<Death>>,
}

impl State {
    /// The state of a new node, which is in no queue yet.
    fn new() -> Self {
        State {
            counts: Counts::new(),
            entry: Entry::Gone,
            one_way_busy: false,
            one_way: None,
            deaths: RBTree::new(),
        }
    }
}

/// What there is to be seen of a node.
pub(super) struct Seen {
    pub(super) counts: Counts,
    pub(super) is_one_way_busy: bool,
}

/// An object of a process.
pub(crate) struct Node {
    /// The address that identifies the object in its owner.
    pub(super) ptr: u64,
    /// A value of the owner's choice.
    pub(super) cookie: u64,
    /// Number of the node among all that its owner ever had, from 1.
    pub(super) number: u32,
    /// `flat_binder_object.flags` at creation.
    flags: u32,
    pub(super) owner: Arc<Process>,
    _count: NodeCount,
    state: LockedBy<State, process::Inner>,
}

/// References to be dropped once nothing is locked.
#[must_use = "must outlive the lock"]
#[derive(Default)]
pub(super) struct Removed {
    _entry: Option<RBTreeNode<u64, Arc<Node>>>,
    _work: Option<Work>,
}

/// What is left to do, once nothing is locked, after a reference to a node went.
#[must_use = "must outlive the lock"]
#[derive(Default)]
pub(super) struct Settled {
    removed: Removed,
    wake: Wake,
}

impl Settled {
    /// No lock may be held.
    pub(super) fn finish(self) {
        self.wake.notify();
        drop(self.removed);
    }
}

impl Node {
    /// Creates a node, with a weak reference that keeps it, and enters it among its owner's.
    ///
    /// May sleep. `EINVAL` if the owner has a node of that address already or is gone, `ENOMEM`.
    fn create(owner: &Arc<Process>, ptr: u64, cookie: u64, flags: u32) -> Result<Arc<Node>> {
        let number = owner.inner.lock().next_node();
        let node = Arc::new(
            Node {
                ptr,
                cookie,
                number,
                flags,
                owner: owner.clone(),
                _count: NodeCount::new(),
                state: LockedBy::new(&owner.inner, State::new()),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let tree_node = RBTreeNode::new(ptr, node.clone(), GFP_KERNEL_ACCOUNT)?;

        let mut inner = owner.lock_with_entries(2)?;
        if inner.is_dead || inner.nodes.get(&ptr).is_some() {
            drop(inner);
            return Err(EINVAL);
        }
        let queue = inner.queues.new_queue();
        let entry = Entry::reserve(&mut inner.queues);
        let state = node.state.access_mut(&mut inner);
        state.one_way = queue;
        state.entry = entry;
        let replaced = inner.nodes.insert(tree_node);
        inner.node_count += 1;
        trace::NodeMade::trace(|| trace::NodeMade {
            tgid: owner.tgid,
            node: number,
        });
        drop(inner);
        drop(replaced);
        Ok(node)
    }

    /// Takes the node out of its owner's tree and queues. Its own queue must be empty.
    pub(super) fn remove(&self, inner: &mut process::Inner) -> Removed {
        let state = self.state.access_mut(inner);
        let entry = core::mem::replace(&mut state.entry, Entry::Gone);
        let queue = state.one_way.take();
        let work = entry.cancel(&mut inner.queues);
        if let Some(queue) = queue {
            inner.queues.free_queue(queue);
        }
        // Another node of that address may have come after this one went.
        let is_there = |node: &Arc<Node>| core::ptr::eq(&**node, self);
        let mut entry = None;
        if inner.nodes.get(&self.ptr).is_some_and(is_there) {
            entry = inner.nodes.remove_node(&self.ptr);
            inner.node_count -= 1;
            trace::NodeGone::trace(|| trace::NodeGone {
                tgid: self.owner.tgid,
                node: self.number,
            });
        }
        Removed {
            _entry: entry,
            _work: work,
        }
    }

    /// Takes a one-way message that waits for its turn, and that `new` says anew. It is looked for
    /// among the next [`MAX_OUTDATED_SCAN`], which bounds how long the owner is locked.
    pub(super) fn take_outdated(
        &self,
        inner: &mut process::Inner,
        new: &Transaction,
    ) -> Option<Work> {
        let queue = self.state.access(inner).one_way?;
        let (position, _) =
            inner.queues.positions(queue).take(MAX_OUTDATED_SCAN).find(
                |(_, work)| matches!(work, Work::Transaction(earlier) if new.updates(earlier)),
            )?;
        inner.queues.remove(position)
    }

    /// Takes the next one-way message that still waits for its turn.
    ///
    /// Nothing is queued to the node any more once its owner has stopped receiving, so calling this
    /// until it answers `None` empties the queue then.
    pub(super) fn cancel_one_way(&self, inner: &mut process::Inner) -> Option<Work> {
        let queue = self.state.access(inner).one_way?;
        inner.queues.pop_front(queue)
    }

    /// The nice value that calls to the node run at, at the most. Values above 19 mean none.
    pub(super) fn min_nice(&self) -> i32 {
        // CAST: masked to 8 bits.
        (self.flags & node_flags::PRIORITY_MASK) as i32
    }

    /// Whether calls to the node carry the sender's security context.
    pub(super) fn wants_security_context(&self) -> bool {
        self.flags & node_flags::TXN_SECURITY_CTX != 0
    }

    /// What `BINDER_GET_NODE_DEBUG_INFO` says: whether the owner knows of strong and of weak
    /// references.
    pub(super) fn told(&self, inner: &process::Inner) -> (bool, bool) {
        let counts = &self.state.access(inner).counts;
        (counts.strong.has, counts.weak.has)
    }

    /// What `BINDER_GET_NODE_INFO_FOR_REF` says: all strong references, and the driver's weak ones.
    /// The driver has none any more for an owner that is gone.
    pub(super) fn counts(&self) -> (usize, usize) {
        let inner = self.owner.inner.lock();
        let counts = &self.state.access(&inner).counts;
        if inner.is_dead {
            return (counts.strong_handles, 0);
        }
        (
            counts.local_strong + counts.strong_handles,
            counts.local_weak,
        )
    }

    /// The node of `owner` at `ptr`, made now if there is none, with a weak reference that keeps it.
    ///
    /// May sleep. `EINVAL` if there is one with another cookie, `ENOMEM`.
    pub(super) fn of_owner(
        owner: &Arc<Process>,
        ptr: u64,
        cookie: u64,
        flags: u32,
    ) -> Result<LocalReference> {
        let reference = Self::at(owner, ptr, cookie, flags)?;
        if reference.node.cookie == cookie {
            Ok(reference)
        } else {
            Err(EINVAL)
        }
    }

    /// The context manager's node: that of `owner` at `ptr`, whatever its cookie and flags, made now
    /// if there is none. From now on its owner is not told of references to it: the driver holds one
    /// of each kind until the owner goes.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn of_manager(
        owner: &Arc<Process>,
        ptr: u64,
        cookie: u64,
        flags: u32,
    ) -> Result<Arc<Node>> {
        let reference = Self::at(owner, ptr, cookie, flags)?;
        let mut inner = owner.inner.lock();
        let state = reference.node.state.access_mut(&mut inner);
        state.counts.become_manager();
        drop(inner);
        Ok(reference.node.clone())
    }

    /// As [`Node::of_owner`], whatever the cookie.
    fn at(owner: &Arc<Process>, ptr: u64, cookie: u64, flags: u32) -> Result<LocalReference> {
        loop {
            let mut inner = owner.inner.lock();
            if let Some(node) = inner.nodes.get(&ptr).cloned() {
                let state = node.state.access_mut(&mut inner);
                state.counts.hold(Strength::Weak);
                drop(inner);
                return Ok(LocalReference {
                    node,
                    strength: Strength::Weak,
                });
            }
            drop(inner);
            match Self::create(owner, ptr, cookie, flags) {
                Ok(node) => {
                    return Ok(LocalReference {
                        node,
                        strength: Strength::Weak,
                    })
                }
                // Another thread was faster.
                Err(error) if error == EINVAL => (),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether messages to the node may carry files.
    pub(super) fn accepts_files(&self) -> bool {
        self.flags & node_flags::ACCEPTS_FDS != 0
    }

    /// What there is to be seen of the node.
    pub(super) fn look(&self, inner: &process::Inner) -> Seen {
        let state = self.state.access(inner);
        Seen {
            counts: state.counts,
            is_one_way_busy: state.one_way_busy,
        }
    }

    /// The queue of one-way messages that wait for their turn.
    pub(super) fn queue(&self, inner: &process::Inner) -> Option<Queue> {
        self.state.access(inner).one_way
    }

    /// Somebody wants to be told when the owner goes. Gives the entry back if it is gone.
    pub(super) fn add_death(&self, room: death::Room) -> Result<(), death::Room> {
        let mut inner = self.owner.inner.lock();
        if inner.is_dead {
            drop(inner);
            return Err(room);
        }
        let replaced = self.state.access_mut(&mut inner).deaths.insert(room);
        drop(inner);
        drop(replaced);
        Ok(())
    }

    /// Takes that back. `None` if the owner is gone, and the listener told or about to be.
    pub(super) fn remove_death(&self, death: &Death) -> Option<death::Room> {
        let mut inner = self.owner.inner.lock();
        let deaths = &mut self.state.access_mut(&mut inner).deaths;
        deaths.remove_node(&death.key())
    }

    /// The owner is gone: tells everybody who wants to know.
    pub(super) fn notify_deaths(&self) {
        loop {
            let mut inner = self.owner.inner.lock();
            let deaths = &mut self.state.access_mut(&mut inner).deaths;
            let Some(first) = deaths.cursor_front_mut() else {
                return;
            };
            let (_, entry) = first.remove_current();
            drop(inner);
            let (_, death) = entry.to_key_value();
            death.notify();
        }
    }

    /// A handle to the node came to be. Called with the handle's table locked.
    pub(super) fn add_handle(&self) {
        let mut inner = self.owner.inner.lock();
        self.state.access_mut(&mut inner).counts.add_handle();
    }

    /// A handle's strong count became positive. Called with the handle's table locked.
    ///
    /// # Errors
    ///
    /// `EINVAL` if no handle refers to the node strongly, unless it is the context manager's: a weak
    /// reference does not keep the object, so it cannot become a strong one by itself.
    ///
    /// With `sender`, the owner's thread that has just sent the object itself, the object is there
    /// for certain; the thread is the one that is told of the new reference.
    pub(super) fn add_strong_handle(&self, is_manager: bool, sender: Option<&Thread>) -> Result {
        let mut inner = self.owner.inner.lock();
        let state = self.state.access_mut(&mut inner);
        let tell = state
            .counts
            .add_strong_handle(is_manager, sender.is_some())
            .ok_or(EINVAL)?;
        if let (Some(sender), true) = (sender, tell) {
            self.queue_to_sender(&mut inner, sender);
        }
        Ok(())
    }

    /// A handle's weak count became positive. Called with the handle's table locked.
    pub(super) fn add_weak_handle(&self, sender: Option<&Thread>) {
        let mut inner = self.owner.inner.lock();
        let state = self.state.access(&inner);
        let is_known = state.counts.weak.has;
        if let (Some(sender), false, Entry::Reserved(_)) = (sender, is_known, &state.entry) {
            self.queue_to_sender(&mut inner, sender);
        }
    }

    /// Queues the node to the thread of its owner that sent it, before the message's completion.
    fn queue_to_sender(&self, inner: &mut process::Inner, sender: &Thread) {
        let Some(node) = inner.nodes.get(&self.ptr).cloned() else {
            return;
        };
        let entry = core::mem::replace(&mut self.state.access_mut(inner).entry, Entry::Gone);
        // A reference to this node at most, and not the last: the tree has one.
        drop(entry.cancel(&mut inner.queues));
        let entry = match Entry::reserve(&mut inner.queues) {
            Entry::Reserved(ticket) => {
                Entry::Queued(sender.push_deferred_with(inner, Work::Node(node), ticket))
            }
            entry => entry,
        };
        self.state.access_mut(inner).entry = entry;
    }

    /// A handle's strong count became 0 (`Strong`), or the handle itself is gone (`Weak`). Called
    /// with the handle's table locked; what is returned is to be finished with after unlocking.
    pub(super) fn remove_handle(&self, strength: Strength) -> Settled {
        let mut inner = self.owner.inner.lock();
        let state = self.state.access_mut(&mut inner);
        state.counts.remove_handle(strength);
        self.settle(&mut inner, strength)
    }

    /// The owner acknowledges `BR_ACQUIRE` or `BR_INCREFS`. Without one to acknowledge, or with
    /// another cookie, no count changes.
    ///
    /// What is returned is to be finished with after unlocking.
    pub(super) fn acknowledge(
        &self,
        inner: &mut process::Inner,
        cookie: u64,
        strength: Strength,
    ) -> [Settled; 2] {
        let state = self.state.access_mut(inner);
        let mut settled = Settled::default();
        if self.cookie == cookie && state.counts.acknowledge(strength) {
            settled = self.settle(inner, strength);
        }
        [settled, self.was_looked_up(inner)]
    }

    /// The node was looked up by its address, which to the C driver is a weak reference that goes now:
    /// the owner may find something to read, if only that nothing is new. What is returned is to be
    /// finished with after unlocking.
    pub(super) fn was_looked_up(&self, inner: &mut process::Inner) -> Settled {
        self.settle(inner, Strength::Weak)
    }

    /// A reference of a kind went: does the owner have to be told, or has the node served its time?
    fn settle(&self, inner: &mut process::Inner, strength: Strength) -> Settled {
        if inner.is_dead {
            return Settled::default();
        }
        match self.state.access(inner).counts.outcome(strength) {
            Outcome::Stays => Settled::default(),
            Outcome::Tell => Settled {
                wake: self.queue_to_owner(inner),
                ..Settled::default()
            },
            Outcome::Remove => Settled {
                removed: self.remove(inner),
                ..Settled::default()
            },
        }
    }

    /// Queues the node to its owner, unless it is queued already.
    fn queue_to_owner(&self, inner: &mut process::Inner) -> Wake {
        let entry = core::mem::replace(&mut self.state.access_mut(inner).entry, Entry::Gone);
        let (entry, wake) = match (entry, inner.nodes.get(&self.ptr).cloned()) {
            (Entry::Reserved(ticket), Some(node)) => {
                let todo = inner.todo;
                let position = inner.queues.push_back_with(todo, Work::Node(node), ticket);
                (Entry::Queued(position), inner.wake_for_todo(false))
            }
            // The reference that was looked up is not the last one: the tree has it.
            (entry, _) => (entry, Wake::Nobody),
        };
        self.state.access_mut(inner).entry = entry;
        wake
    }

    /// The node's entry has been put somewhere else.
    pub(super) fn was_moved(&self, inner: &mut process::Inner, position: Position) {
        self.state.access_mut(inner).entry = Entry::Queued(position);
    }

    /// Returns to the owner what changed since it was told last. The node's entry has just been
    /// taken off its queue.
    pub(super) fn tell(&self, inner: &mut process::Inner, returns: &mut Output<'_>) -> Removed {
        let entry = Entry::reserve(&mut inner.queues);
        let state = self.state.access_mut(inner);
        state.entry = entry;
        let news = state.counts.tell();
        let (strong, weak) = (state.counts.strong.has, state.counts.weak.has);
        trace::NodeTold::trace(|| trace::NodeTold {
            tgid: self.owner.tgid,
            node: self.number,
            strong,
            weak,
        });
        for (is_told, code) in [
            (news.increfs, br::INCREFS),
            (news.acquire, br::ACQUIRE),
            (news.release, br::RELEASE),
            (news.decrefs, br::DECREFS),
        ] {
            if is_told {
                returns.push_node(code, self.ptr, self.cookie);
            }
        }
        if news.is_last {
            self.remove(inner)
        } else {
            Removed::default()
        }
    }

    /// A one-way message to the node is to be queued: now, or after others?
    pub(super) fn claim_one_way(&self, inner: &mut process::Inner) -> Turn {
        let state = self.state.access_mut(inner);
        match state.one_way {
            Some(queue) if state.one_way_busy => Turn::After(queue),
            _ => {
                state.one_way_busy = true;
                Turn::Now
            }
        }
    }
}

/// When a one-way message may be given to the owner of its node. There is one at a time.
pub(super) enum Turn {
    Now,
    /// When all others in this queue, and the one that the owner has, are freed.
    After(Queue),
}

/// A reference that the driver holds on behalf of a message.
///
/// Dropping takes the owner's `inner` lock.
pub(super) struct LocalReference {
    pub(super) node: Arc<Node>,
    strength: Strength,
}

impl LocalReference {
    /// A reference to the node that a handle of `process` names. `None` if there is no handle of
    /// that strength.
    pub(super) fn to_handle(process: &Process, number: u32, strength: Strength) -> Option<Self> {
        let table = process.handles.lock();
        let node = table.get(number, strength)?.clone();
        let mut inner = node.owner.inner.lock();
        let state = node.state.access_mut(&mut inner);
        state.counts.hold(strength);
        drop(inner);
        drop(table);
        Some(LocalReference { node, strength })
    }
}

impl Drop for LocalReference {
    fn drop(&mut self) {
        let node = &self.node;
        let mut inner = node.owner.inner.lock();
        let state = node.state.access_mut(&mut inner);
        state.counts.let_go(self.strength);
        let settled = node.settle(&mut inner, self.strength);
        let looked_up = match self.strength {
            Strength::Strong => node.was_looked_up(&mut inner),
            Strength::Weak => Settled::default(),
        };
        drop(inner);
        settled.finish();
        looked_up.finish();
    }
}

/// A strong reference to a node, for the time of a message to it: until the message is refused, or
/// its buffer is freed by the receiver.
///
/// For a one-way message that the owner was given it also is the node's turn: when it goes, the next
/// one-way message is given to the owner.
///
/// Dropping takes the owner's `inner` lock.
pub(crate) struct Hold {
    pub(super) node: Arc<Node>,
    /// Whether the node's one-way turn is this hold's.
    has_turn: bool,
}

impl Hold {
    /// Takes a hold, and a blank record for the message where the owner has one to spare.
    ///
    /// `None` if the owner is gone.
    pub(super) fn new(node: Arc<Node>) -> Option<(Hold, Spare)> {
        let mut inner = node.owner.inner.lock();
        if inner.is_dead {
            drop(inner);
            return None;
        }
        let state = node.state.access_mut(&mut inner);
        state.counts.hold(Strength::Strong);
        let spare = Spare::take(&mut inner);
        drop(inner);
        let hold = Hold {
            node,
            has_turn: false,
        };
        Some((hold, spare))
    }

    /// The hold's message is the one-way message whose turn it is.
    pub(super) fn set_turn(&mut self) {
        self.has_turn = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let node = &self.node;
        let mut inner = node.owner.inner.lock();
        let mut next_wake = Wake::Nobody;
        if self.has_turn {
            match node.cancel_one_way(&mut inner) {
                Some(work) => {
                    if let Work::Transaction(transaction) = &work {
                        transaction.set_turn(&mut inner);
                    }
                    next_wake = inner.give_to_anyone(work);
                }
                None => node.state.access_mut(&mut inner).one_way_busy = false,
            }
        }
        let state = node.state.access_mut(&mut inner);
        state.counts.let_go(Strength::Strong);
        let settled = node.settle(&mut inner, Strength::Strong);
        drop(inner);
        next_wake.notify();
        settled.finish();
    }
}
