// SPDX-License-Identifier: GPL-2.0

//! Nodes: the objects that a process offers to others.
//!
//! A node is referred to by handles of other processes, by messages that are under way to it or not
//! yet freed ([`Hold`]), and by its owner, which is told by `BR_INCREFS`, `BR_ACQUIRE`, `BR_RELEASE`
//! and `BR_DECREFS` whether anybody still refers to it.

use core::num::NonZero;

use kernel::{
    prelude::*,
    rbtree::RBTree,
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
    alloc::{
        queue::{Position, Queue},
        table::{self, Item, Table},
    },
    uapi::{br, node_flags, Strength},
    watch::trace,
};

/// How many waiting one-way messages are looked at for one that is outdated.
const MAX_OUTDATED_SCAN: usize = 4096;

/// Slots of a chunk: with its children 512 bytes, and both are powers of two, which is faster.
const SLOTS: usize = 16;
/// Children of a chunk.
const FANOUT: usize = 16;

/// The nodes of a process, by address.
pub(super) type Nodes = Table<Arc<Node>, SLOTS, FANOUT>;
type Chunk = table::Chunk<Arc<Node>, SLOTS, FANOUT>;
kernel::static_assert!(size_of::<Chunk>() == 512);

impl Item for Arc<Node> {
    type Key = u64;

    fn key(&self) -> u64 {
        self.ptr
    }
}

/// The state of a node, guarded by its owner's `inner` lock.
struct State {
    counts: Counts,
    /// The node's place in its owner's queues.
    entry: Entry,
    /// There if a one-way message to the node is queued to its owner, or delivered and not yet freed:
    /// others wait here for their turn. It takes memory, so it is [`Queue::NOWHERE`] until the first
    /// one has to wait.
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
    pub(super) number: NonZero<u32>,
    /// `flat_binder_object.flags` at creation.
    flags: u32,
    pub(super) owner: Arc<Process>,
    _count: NodeCount,
    state: LockedBy<State, process::Inner>,
}

// With its reference count what `kmalloc()` has in 96 bytes.
kernel::static_assert!(size_of::<Node>() == 88);

/// References to be dropped once nothing is locked.
#[must_use = "must outlive the lock"]
#[derive(Default)]
pub(super) struct Removed {
    _node: Option<Arc<Node>>,
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
    /// May sleep. `EEXIST` if the owner has a node of that address already, `ESRCH` if it is gone,
    /// `ENOMEM`.
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

        loop {
            let mut inner = owner.lock_with_entries(1)?;
            if inner.is_dead {
                drop(inner);
                return Err(ESRCH);
            }
            match inner.nodes.entry(ptr, 0) {
                table::Entry::Free(vacancy) => vacancy.fill(node.clone()),
                table::Entry::Used(_) => {
                    drop(inner);
                    return Err(EEXIST);
                }
                table::Entry::Full => {
                    drop(inner);
                    let chunk = Chunk::new(GFP_KERNEL_ACCOUNT)?;
                    let provided = owner.inner.lock().nodes.provide(chunk);
                    provided.map_err(|_| ENOMEM)?;
                    continue;
                }
            }
            let entry = Entry::reserve(&mut inner.queues);
            node.state.access_mut(&mut inner).entry = entry;
            trace::NodeMade::trace(|| trace::NodeMade {
                tgid: owner.tgid,
                node: number.get(),
            });
            drop(inner);
            return Ok(node);
        }
    }

    /// Takes the node out of its owner's table and queues. Its own queue must be empty.
    pub(super) fn remove(&self, inner: &mut process::Inner) -> Removed {
        let entry = core::mem::replace(&mut self.state.access_mut(inner).entry, Entry::Gone);
        let work = entry.cancel(&mut inner.queues);
        self.end_turns(inner);
        // Another node of that address may have come after this one went.
        let nodes = &mut inner.nodes;
        let is_it = |number: &u32| {
            let found = nodes.get(*number);
            found.is_some_and(|node| core::ptr::eq(&**node, self))
        };
        let number = nodes.number_of(self.ptr).filter(is_it);
        let node = number.and_then(|number| nodes.remove(number));
        if node.is_some() {
            trace::NodeGone::trace(|| trace::NodeGone {
                tgid: self.owner.tgid,
                node: self.number.get(),
            });
        }
        Removed {
            _node: node,
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
    pub(super) fn counts(&self) -> (u32, u32) {
        let inner = self.owner.inner.lock();
        let counts = &self.state.access(&inner).counts;
        if inner.is_dead {
            return (counts.strong_handles, 0);
        }
        (
            counts.local_strong.saturating_add(counts.strong_handles),
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
            if let Some(node) = inner.nodes.find(ptr).cloned() {
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
                Err(error) if error == EEXIST => (),
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
            is_one_way_busy: state.one_way.is_some(),
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
    pub(super) fn add_strong_handle(
        self: &Arc<Self>,
        is_manager: bool,
        sender: Option<&Thread>,
    ) -> Result {
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
    pub(super) fn add_weak_handle(self: &Arc<Self>, sender: Option<&Thread>) {
        let mut inner = self.owner.inner.lock();
        let state = self.state.access(&inner);
        let is_known = state.counts.weak.has;
        if let (Some(sender), false, Entry::Reserved(_)) = (sender, is_known, &state.entry) {
            self.queue_to_sender(&mut inner, sender);
        }
    }

    /// Queues the node to the thread of its owner that sent it, before the message's completion.
    fn queue_to_sender(self: &Arc<Self>, inner: &mut process::Inner, sender: &Thread) {
        let entry = core::mem::replace(&mut self.state.access_mut(inner).entry, Entry::Gone);
        if matches!(entry, Entry::Gone) {
            return;
        }
        // A reference to this node at most, and not the last: the table has one.
        drop(entry.cancel(&mut inner.queues));
        let entry = match Entry::reserve(&mut inner.queues) {
            Entry::Reserved(ticket) => {
                let work = Work::Node(self.clone());
                Entry::Queued(sender.push_deferred_with(inner, work, ticket))
            }
            entry => entry,
        };
        self.state.access_mut(inner).entry = entry;
    }

    /// A handle's strong count became 0 (`Strong`), or the handle itself is gone (`Weak`). Called
    /// with the handle's table locked, or by its only owner; what is returned is to be finished with
    /// after unlocking.
    pub(super) fn remove_handle(self: &Arc<Self>, strength: Strength) -> Settled {
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
        self: &Arc<Self>,
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
    pub(super) fn was_looked_up(self: &Arc<Self>, inner: &mut process::Inner) -> Settled {
        self.settle(inner, Strength::Weak)
    }

    /// A reference of a kind went: does the owner have to be told, or has the node served its time?
    fn settle(self: &Arc<Self>, inner: &mut process::Inner, strength: Strength) -> Settled {
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
    fn queue_to_owner(self: &Arc<Self>, inner: &mut process::Inner) -> Wake {
        let entry = core::mem::replace(&mut self.state.access_mut(inner).entry, Entry::Gone);
        let (entry, wake) = match entry {
            Entry::Reserved(ticket) => {
                let (todo, work) = (inner.todo, Work::Node(self.clone()));
                let position = inner.queues.push_back_with(todo, work, ticket);
                (Entry::Queued(position), inner.wake_for_todo(false))
            }
            entry => (entry, Wake::Nobody),
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
            node: self.number.get(),
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

    /// A one-way message to the node is to be queued: now, or after others? The caller has made sure
    /// of a free place in the owner's queues for that of those others.
    pub(super) fn claim_one_way(&self, inner: &mut process::Inner) -> Turn {
        let queue = match self.state.access(inner).one_way {
            None => Queue::NOWHERE,
            Some(Queue::NOWHERE) => inner.queues.new_queue().unwrap_or(Queue::NOWHERE),
            Some(queue) => return Turn::After(queue),
        };
        self.state.access_mut(inner).one_way = Some(queue);
        if queue == Queue::NOWHERE {
            Turn::Now
        } else {
            Turn::After(queue)
        }
    }

    /// The owner has no one-way message to the node, and none waits.
    fn end_turns(&self, inner: &mut process::Inner) {
        if let Some(queue) = self.state.access_mut(inner).one_way.take() {
            inner.queues.free_queue(queue);
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
                None => node.end_turns(&mut inner),
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
