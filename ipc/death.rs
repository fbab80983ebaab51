// SPDX-License-Identifier: GPL-2.0

//! Death notifications: a process asks to be told when the owner of a node goes.
//!
//! There is at most one for a handle. It is told of once (`BR_DEAD_BINDER`), and parked until the
//! listener acknowledges that; after that it stays with the handle, spent, until it is cleared. When
//! it is cleared, `BR_CLEAR_DEATH_NOTIFICATION_DONE` is the last that the listener hears of its
//! cookie: where `BR_DEAD_BINDER` is under way, that and its acknowledgement come first.

use kernel::{
    prelude::*,
    rbtree::RBTreeNode,
    sync::{Arc, LockedBy},
};

use super::{
    node::Node,
    process::{self, Process, Wake},
    stats::{DeathCount, Output},
    thread::Thread,
    work::{Entry, Work},
};
use crate::{
    alloc::queue::Position,
    uapi::br,
    watch::trace::{self, Step},
};

/// What the listener is to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Notice {
    /// `BR_DEAD_BINDER`.
    Dead,
    /// `BR_CLEAR_DEATH_NOTIFICATION_DONE`.
    Cleared,
}

/// Guarded by the listener's `inner` lock.
struct State {
    /// Queued while the listener is to be told, and while its acknowledgement is awaited.
    entry: Entry,
    notice: Notice,
    /// The notification was cleared while [`Notice::Dead`] was under way.
    is_cleared: bool,
}

/// A request to be told of a death.
pub(super) struct Death {
    /// The listener's name for it.
    cookie: u64,
    /// The handle.
    handle: u32,
    listener: Arc<Process>,
    _count: DeathCount,
    state: LockedBy<State, process::Inner>,
}

/// Enters a notification among those of a node.
pub(super) type Room = RBTreeNode<usize, Arc<Death>>;

impl Death {
    /// Makes a notification that is not attached to anything yet.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn new(
        listener: &Arc<Process>,
        handle: u32,
        cookie: u64,
    ) -> Result<(Arc<Self>, Room)> {
        let state = State {
            entry: Entry::Gone,
            notice: Notice::Dead,
            is_cleared: false,
        };
        let death = Arc::new(
            Death {
                cookie,
                handle,
                listener: listener.clone(),
                _count: DeathCount::new(),
                state: LockedBy::new(&listener.inner, state),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let room = RBTreeNode::new(death.key(), death.clone(), GFP_KERNEL_ACCOUNT)?;
        let mut inner = listener.lock_with_entries(1)?;
        let entry = Entry::reserve(&mut inner.queues);
        death.state.access_mut(&mut inner).entry = entry;
        drop(inner);
        Ok((death, room))
    }

    /// The notification was not attached to anything after all.
    pub(super) fn abandon(&self) {
        let mut inner = self.listener.inner.lock();
        let state = self.state.access_mut(&mut inner);
        let entry = core::mem::replace(&mut state.entry, Entry::Gone);
        let work = entry.cancel(&mut inner.queues);
        drop(inner);
        drop(work);
    }

    /// What identifies it among those of a node.
    pub(super) fn key(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    pub(super) fn cookie(&self) -> u64 {
        self.cookie
    }

    pub(super) fn trace(&self, step: Step) {
        trace::DeathNotice::trace(|| trace::DeathNotice {
            tgid: self.listener.tgid,
            handle: self.handle,
            step,
        });
    }

    /// The owner of the node is gone: the listener is to be told, unless it has cleared the
    /// notification meanwhile.
    pub(super) fn notify(self: &Arc<Self>) {
        let mut inner = self.listener.inner.lock();
        let wake = self.queue(&mut inner, Notice::Dead, None);
        drop(inner);
        wake.notify();
    }

    /// Queues a notice, if none is queued: to `thread` if that is a looper, else to anyone.
    fn queue(
        self: &Arc<Self>,
        inner: &mut process::Inner,
        notice: Notice,
        thread: Option<&Thread>,
    ) -> Wake {
        let state = self.state.access_mut(inner);
        let Some(ticket) = state.entry.take_reserved() else {
            return Wake::Nobody;
        };
        state.notice = notice;
        self.trace(Step::Queued);
        let work = Work::Death(self.clone());
        let (position, wake) = match thread {
            Some(thread) if thread.is_looper(inner) => {
                (thread.push_with(inner, work, ticket), Wake::Nobody)
            }
            _ => {
                let todo = inner.todo;
                let position = inner.queues.push_back_with(todo, work, ticket);
                (position, inner.wake_for_todo(false))
            }
        };
        self.state.access_mut(inner).entry = Entry::Queued(position);
        wake
    }

    /// The listener's thread clears the notification, which no longer is its handle's.
    pub(super) fn clear(self: &Arc<Self>, node: &Node, thread: &Thread) {
        self.trace(Step::Cleared);
        let removed = node.remove_death(self);
        let mut inner = self.listener.inner.lock();
        self.state.access_mut(&mut inner).is_cleared = true;
        // If it is queued, it is because of the death: what is to follow is noted.
        let wake = self.queue(&mut inner, Notice::Cleared, Some(thread));
        drop(inner);
        wake.notify();
        drop(removed);
    }

    /// The handle is gone, and nothing more is to be heard of the notification.
    pub(super) fn discard(&self, node: &Node) {
        self.trace(Step::Dropped);
        drop(node.remove_death(self));
        self.abandon();
    }

    /// The notice has been put somewhere else.
    pub(super) fn was_moved(&self, inner: &mut process::Inner, position: Position) {
        self.state.access_mut(inner).entry = Entry::Queued(position);
    }

    /// Returns the notice just taken off a queue. `true` if it may make userspace do something that
    /// has to be done before more is returned.
    pub(super) fn tell(
        self: &Arc<Self>,
        inner: &mut process::Inner,
        returns: &mut Output<'_>,
    ) -> bool {
        let state = self.state.access_mut(inner);
        if state.notice == Notice::Cleared {
            returns.push_cookie(br::CLEAR_DEATH_NOTIFICATION_DONE, self.cookie);
            state.entry = Entry::Gone;
            self.trace(Step::Ended);
            return false;
        }
        returns.push_cookie(br::DEAD_BINDER, self.cookie);
        self.trace(Step::Told);
        let entry = inner.park(Work::Death(self.clone()));
        self.state.access_mut(inner).entry = entry;
        true
    }
}

impl Thread {
    /// `BC_DEAD_BINDER_DONE`. Without a death that was told of under that cookie nothing happens.
    pub(super) fn acknowledge_death(&self, cookie: u64) {
        let mut inner = self.process.inner.lock();
        let is_it = |work: &Work| matches!(work, Work::Death(death) if death.cookie == cookie);
        let Some(Work::Death(death)) = inner.take_parked(is_it) else {
            return;
        };
        death.trace(Step::Acknowledged);
        let entry = Entry::reserve(&mut inner.queues);
        let state = death.state.access_mut(&mut inner);
        state.entry = entry;
        let wake = if state.is_cleared {
            death.queue(&mut inner, Notice::Cleared, Some(self))
        } else {
            Wake::Nobody
        };
        drop(inner);
        wake.notify();
        drop(death);
    }
}
