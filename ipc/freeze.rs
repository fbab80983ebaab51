// SPDX-License-Identifier: GPL-2.0

//! Freezing: a process that is about to be stopped takes no calls any more, and whoever asked is told.
//!
//! Calls to a frozen process are refused (`BR_FROZEN_REPLY`), one-way messages are kept for it; both
//! are noted for `BINDER_GET_FROZEN_INFO`. A process can be frozen while no call that was sent to it
//! is unanswered and no message undelivered.
//!
//! A process can ask to be told whenever the owner of a node is frozen or thawed, at most once for a
//! handle. It is told the state at that time (`BR_FROZEN_BINDER`), and of changes. There is one notice
//! at a time: what changes before it is returned is merged into it, what changes before it is
//! acknowledged is told after that. When the notification is cleared,
//! `BR_CLEAR_FREEZE_NOTIFICATION_DONE` is the last that the listener hears of it.

use kernel::{
    prelude::*,
    rbtree::{RBTreeNode, RBTreeNodeReservation},
    sync::{Arc, CondVarTimeoutResult, LockedBy, SpinLockGuard},
    task::Pid,
    time::msecs_to_jiffies,
};

use super::{
    node::Node,
    process::{self, Process, Wake},
    registry::Registry,
    stats::{FreezeCount, Output},
    work::{Entry, Work},
};
use crate::{
    uapi::br,
    watch::trace::{self, Step},
};

/// What a process knows of its own freezing, guarded by its `inner` lock.
#[derive(Default)]
pub(super) struct Frozen {
    /// Calls are refused.
    pub(super) is_frozen: bool,
    /// A call was refused since it was frozen.
    pub(super) refused_call: bool,
    /// A one-way message came since it was frozen.
    pub(super) kept_one_way: bool,
    /// What listeners have been told, or are being told.
    announced: bool,
    /// How many times that has been said.
    round: u64,
}

/// What a listener is to be told of, and when that was so.
#[derive(Clone, Copy)]
pub(super) struct Announcement {
    is_frozen: bool,
    round: u64,
}

/// Guarded by the listener's `inner` lock.
struct State {
    /// Queued while the listener is to be told, and while its acknowledgement is awaited.
    entry: Entry,
    /// The latest that is known. `None` as long as the listener is to hear nothing.
    latest: Option<Announcement>,
    /// The listener has been told, and has not acknowledged it yet.
    is_told: bool,
    /// There is something to be told once it has.
    is_outdated: bool,
    /// The notification was cleared.
    is_cleared: bool,
}

/// A request to be told when the owner of a node is frozen.
pub(super) struct Freeze {
    /// The listener's name for it.
    cookie: u64,
    /// The handle.
    handle: u32,
    listener: Arc<Process>,
    _count: FreezeCount,
    state: LockedBy<State, process::Inner>,
}

/// Where a listener is among those of a process: by node, and by its own address.
pub(super) type Key = (u64, usize);

/// Memory to enter a listener among those of a process.
pub(super) type Room = RBTreeNodeReservation<Key, Arc<Freeze>>;

impl Freeze {
    /// Makes a notification that is not attached to anything yet.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn new(
        listener: &Arc<Process>,
        handle: u32,
        cookie: u64,
    ) -> Result<(Arc<Self>, Room)> {
        let room = Room::new(GFP_KERNEL_ACCOUNT)?;
        let state = State {
            entry: Entry::Gone,
            latest: None,
            is_told: false,
            is_outdated: false,
            is_cleared: false,
        };
        let freeze = Arc::new(
            Freeze {
                cookie,
                handle,
                listener: listener.clone(),
                _count: FreezeCount::new(),
                state: LockedBy::new(&listener.inner, state),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut inner = listener.lock_with_entries(1)?;
        let entry = Entry::reserve(&mut inner.queues);
        freeze.state.access_mut(&mut inner).entry = entry;
        drop(inner);
        Ok((freeze, room))
    }

    pub(super) fn cookie(&self) -> u64 {
        self.cookie
    }

    pub(super) fn trace(&self, step: Step) {
        self.trace_state(step, false);
    }

    /// The same where the listener is told of a state.
    fn trace_state(&self, step: Step, is_frozen: bool) {
        trace::FreezeNotice::trace(|| trace::FreezeNotice {
            tgid: self.listener.tgid,
            handle: self.handle,
            step,
            frozen: is_frozen,
        });
    }

    fn key(&self, node: &Node) -> Key {
        (node.ptr, core::ptr::from_ref(self).addr())
    }

    /// Enters the notification among those of the owner of `node`, and says what the listener is to
    /// be told at once. Gives the room back if the owner is gone: nothing will ever be heard of it.
    pub(super) fn listen(self: &Arc<Self>, node: &Node, room: Room) -> Result<Announcement, Room> {
        let mut inner = node.owner.inner.lock();
        if inner.is_dead {
            drop(inner);
            return Err(room);
        }
        let entry = room.into_node(self.key(node), self.clone());
        let replaced = inner.freeze_listeners.insert(entry);
        let now = inner.frozen.announcement();
        drop(inner);
        drop(replaced);
        Ok(now)
    }

    /// The listener is to be told, unless it has cleared the notification or knows of something newer.
    pub(super) fn notify(self: &Arc<Self>, news: Announcement) {
        let mut inner = self.listener.inner.lock();
        let state = self.state.access_mut(&mut inner);
        let is_new = state.latest.is_none_or(|known| known.round < news.round);
        if state.is_cleared || !is_new {
            return;
        }
        let told = state.latest.replace(news);
        if state.is_told && told.is_some_and(|told| told.is_frozen != news.is_frozen) {
            state.is_outdated = true;
        }
        let wake = self.queue(&mut inner);
        drop(inner);
        wake.notify();
    }

    /// Queues the notification, unless it is queued or awaits an acknowledgement.
    fn queue(self: &Arc<Self>, inner: &mut process::Inner) -> Wake {
        let Some(ticket) = self.state.access_mut(inner).entry.take_reserved() else {
            return Wake::Nobody;
        };
        let todo = inner.todo;
        let work = Work::Freeze(self.clone());
        let position = inner.queues.push_back_with(todo, work, ticket);
        self.state.access_mut(inner).entry = Entry::Queued(position);
        self.trace(Step::Queued);
        inner.wake_for_todo(false)
    }

    /// The listener clears the notification, which no longer is its handle's.
    pub(super) fn clear(self: &Arc<Self>, node: &Node) {
        self.trace(Step::Cleared);
        let removed = self.stop_listening(node);
        let mut inner = self.listener.inner.lock();
        let state = self.state.access_mut(&mut inner);
        state.is_cleared = true;
        state.is_outdated = state.is_told;
        let wake = self.queue(&mut inner);
        drop(inner);
        wake.notify();
        drop(removed);
    }

    fn stop_listening(&self, node: &Node) -> Option<RBTreeNode<Key, Arc<Freeze>>> {
        let mut inner = node.owner.inner.lock();
        inner.freeze_listeners.remove_node(&self.key(node))
    }

    /// The handle is gone, and nothing more is to be heard of the notification.
    pub(super) fn discard(&self, node: &Node) {
        self.trace(Step::Dropped);
        drop(self.stop_listening(node));
        self.abandon();
    }

    /// The notification was not attached to anything after all, or is no longer.
    pub(super) fn abandon(&self) {
        let mut inner = self.listener.inner.lock();
        let state = self.state.access_mut(&mut inner);
        let entry = core::mem::replace(&mut state.entry, Entry::Gone);
        let work = entry.cancel(&mut inner.queues);
        drop(inner);
        drop(work);
    }

    /// Returns the notice just taken off a queue. `true` if it may make userspace do something that
    /// has to be done before more is returned.
    pub(super) fn tell(
        self: &Arc<Self>,
        inner: &mut process::Inner,
        returns: &mut Output<'_>,
    ) -> bool {
        let state = self.state.access_mut(inner);
        if state.is_cleared {
            returns.push_cookie(br::CLEAR_FREEZE_NOTIFICATION_DONE, self.cookie);
            state.entry = Entry::Gone;
            self.trace(Step::Ended);
            return false;
        }
        let is_frozen = state.latest.is_some_and(|latest| latest.is_frozen);
        returns.push_frozen(self.cookie, is_frozen);
        self.trace_state(Step::Told, is_frozen);
        state.is_told = true;
        let entry = inner.park(Work::Freeze(self.clone()));
        self.state.access_mut(inner).entry = entry;
        true
    }
}

impl Frozen {
    /// Calls are refused from now on, or no longer. Nothing has come since.
    fn set(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
        self.refused_call = false;
        self.kept_one_way = false;
    }

    fn announcement(&self) -> Announcement {
        Announcement {
            is_frozen: self.announced,
            round: self.round,
        }
    }
}

impl Process {
    /// `BC_REQUEST_FREEZE_NOTIFICATION`.
    ///
    /// May sleep. `EINVAL` if there is no such handle or it has a notification already, `ENOMEM`.
    pub(super) fn request_freeze(self: &Arc<Self>, number: u32, cookie: u64) -> Result {
        let (freeze, room) = Freeze::new(self, number, cookie)?;
        let mut table = self.handles.lock();
        let Some(node) = table.set_freeze(number, &freeze) else {
            drop(table);
            freeze.abandon();
            return Err(EINVAL);
        };
        let now = freeze.listen(&node, room);
        drop(table);
        if let Ok(now) = now {
            freeze.notify(now);
        }
        Ok(())
    }

    /// `BC_CLEAR_FREEZE_NOTIFICATION`. `EINVAL` if the handle has no notification of that cookie.
    pub(super) fn clear_freeze(&self, number: u32, cookie: u64) -> Result {
        let found = self.handles.lock().take_freeze(number, cookie);
        let (freeze, node) = found.ok_or(EINVAL)?;
        freeze.clear(&node);
        Ok(())
    }

    /// `BC_FREEZE_NOTIFICATION_DONE`. `EINVAL` if nothing was told under that cookie.
    pub(super) fn acknowledge_freeze(&self, cookie: u64) -> Result {
        let mut inner = self.inner.lock();
        let is_it = |work: &Work| matches!(work, Work::Freeze(freeze) if freeze.cookie == cookie);
        let Some(Work::Freeze(freeze)) = inner.take_parked(is_it) else {
            return Err(EINVAL);
        };
        freeze.trace(Step::Acknowledged);
        let entry = Entry::reserve(&mut inner.queues);
        let state = freeze.state.access_mut(&mut inner);
        state.entry = entry;
        state.is_told = false;
        let wake = if core::mem::take(&mut state.is_outdated) {
            freeze.queue(&mut inner)
        } else {
            Wake::Nobody
        };
        drop(inner);
        wake.notify();
        drop(freeze);
        Ok(())
    }

    /// Refuses calls from now on, if all that was sent before is done with in `timeout_ms`.
    ///
    /// May sleep. `EAGAIN` if it is not, or the process was thawed meanwhile; `ERESTARTSYS` for a
    /// signal. Calls are not refused then, also if they were before.
    fn freeze(&self, timeout_ms: u32) -> Result {
        let mut inner = self.inner.lock();
        if inner.is_dead {
            return Ok(());
        }
        inner.frozen.set(true);
        self.trace_frozen(true);
        let mut left = msecs_to_jiffies(timeout_ms);
        let mut is_interrupted = false;
        while left > 0 && !is_interrupted && inner.outstanding > 0 && inner.frozen.is_frozen {
            match self.drained.wait_interruptible_timeout(&mut inner, left) {
                CondVarTimeoutResult::Woken { jiffies } => left = jiffies,
                CondVarTimeoutResult::Timeout => left = 0,
                CondVarTimeoutResult::Signal { .. } => is_interrupted = inner.outstanding > 0,
            }
        }
        if inner.is_dead {
            return Ok(());
        }
        let error = if is_interrupted {
            ERESTARTSYS
        } else if inner.has_calls() || !inner.frozen.is_frozen {
            EAGAIN
        } else {
            self.announce(inner);
            return Ok(());
        };
        self.give_up_freezing(inner);
        Err(error)
    }

    fn trace_frozen(&self, is_frozen: bool) {
        trace::Frozen::trace(|| trace::Frozen {
            tgid: self.tgid,
            frozen: is_frozen,
        });
    }

    /// Takes calls again: the process, or another file of it, could not be frozen.
    fn give_up_freezing(&self, mut inner: SpinLockGuard<'_, process::Inner>) {
        if core::mem::take(&mut inner.frozen.is_frozen) {
            self.trace_frozen(false);
        }
        // Who else waits to freeze the process has failed as well.
        self.drained.notify_all();
        if inner.frozen.announced {
            self.announce(inner);
        }
    }

    /// Takes calls again. Does not sleep.
    fn thaw(&self) {
        let mut inner = self.inner.lock();
        inner.frozen.set(false);
        self.trace_frozen(false);
        self.drained.notify_all();
        self.announce(inner);
    }

    /// Tells all listeners whether the process is frozen.
    fn announce(&self, mut inner: SpinLockGuard<'_, process::Inner>) {
        inner.frozen.announced = inner.frozen.is_frozen;
        inner.frozen.round += 1;
        let news = inner.frozen.announcement();
        drop(inner);
        self.look_nodes_up();
        let mut from = (0, 0);
        loop {
            let inner = self.inner.lock();
            let Some(cursor) = inner.freeze_listeners.cursor_lower_bound(&from) else {
                return;
            };
            let (&(ptr, address), freeze) = cursor.current();
            let freeze = freeze.clone();
            drop(inner);
            freeze.notify(news);
            // Addresses are those of records, so there is always a next one.
            from = (ptr, address.saturating_add(1));
        }
    }

    /// As the C driver does to find listeners, which its process may notice.
    fn look_nodes_up(&self) {
        let mut address = Some(0);
        while let Some(from) = address {
            let Some((mut inner, node)) = self.lock_with_node(from) else {
                return;
            };
            let settled = node.was_looked_up(&mut inner);
            drop(inner);
            settled.finish();
            address = node.ptr.checked_add(1);
        }
    }
}

/// `BINDER_FREEZE`: freezes or thaws the files of a thread group, one after the other.
///
/// May sleep. `EINVAL` without such files; for other errors see [`Process::freeze`]. None of the files
/// is frozen then.
pub(super) fn set_frozen(registry: &Registry, tgid: u32, enable: bool, timeout_ms: u32) -> Result {
    // CAST: what is no pid becomes negative, and nobody's.
    let tgid = tgid as Pid;
    let mut is_known = false;
    for process in registry.of(tgid) {
        is_known = true;
        if !enable {
            process.thaw();
        } else if let Err(error) = process.freeze(timeout_ms) {
            registry
                .of(tgid)
                .for_each(|other| other.give_up_freezing(other.inner.lock()));
            return Err(error);
        }
    }
    if is_known {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// `BINDER_GET_FROZEN_INFO`: for the files of a thread group, taken together, `sync_recv` (bit 0: a
/// call was refused, bit 1: calls are pending) and `async_recv` (a one-way message came).
///
/// May sleep. `EINVAL` without such files.
pub(super) fn frozen_info(registry: &Registry, tgid: u32) -> Result<[u32; 2]> {
    let mut info = None;
    // CAST: what is no pid becomes negative, and nobody's.
    for process in registry.of(tgid as Pid) {
        let inner = process.inner.lock();
        let [calls, one_way] = info.unwrap_or([0; 2]);
        info = Some([
            calls | u32::from(inner.frozen.refused_call) | u32::from(inner.has_calls()) << 1,
            one_way | u32::from(inner.frozen.kept_one_way),
        ]);
    }
    info.ok_or(EINVAL)
}
