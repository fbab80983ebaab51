// SPDX-License-Identifier: GPL-2.0

//! What a thread can be given to do, in the order in which it will be returned to userspace.

use kernel::sync::Arc;

use super::{death::Death, freeze::Freeze, process, Node, Thread, Transaction};
use crate::{
    alloc::queue::{Arena, Position, Ticket},
    uapi::br,
};

/// An entry of a queue of a process.
pub(super) enum Work {
    /// A call or reply to deliver.
    Transaction(Arc<Transaction>),
    /// The thread's own message is on its way.
    Complete(Sent),
    /// The owner of a node has to be told what references there are.
    Node(Arc<Node>),
    /// Somebody's death, or the end of waiting for it.
    Death(Arc<Death>),
    /// Somebody was frozen or thawed, or the end of waiting for it.
    Freeze(Arc<Freeze>),
    /// The thread's command failed: see `thread::Thread::return_error`.
    ReturnError,
    /// The thread's call failed after it was sent: see `thread::State::reply_error`.
    ReplyError,
    /// A thread that waits for work of its process (the only kind of entry in that queue).
    Waiting(Arc<Thread>),
}

/// What a sender is told of its message.
#[derive(Clone, Copy)]
pub(super) enum Sent {
    /// Nothing remarkable.
    Plainly,
    /// It is one of too many one-way messages.
    AsSpam,
    /// Its receiver is frozen, and will get it when it is thawed.
    ToFrozen,
}

impl Sent {
    /// The code to return, by whether the sender wants to hear of spam.
    pub(super) fn code(self, detects_spam: bool) -> u32 {
        match self {
            Sent::AsSpam if detects_spam => br::ONEWAY_SPAM_SUSPECT,
            Sent::ToFrozen => br::TRANSACTION_PENDING_FROZEN,
            Sent::Plainly | Sent::AsSpam => br::TRANSACTION_COMPLETE,
        }
    }
}

/// All queues of a process.
pub(super) type Queues = Arena<Work>;

/// Something's place in the queues: it can be queued once at a time, and queueing it cannot fail.
pub(super) enum Entry {
    /// Not queued; the place is reserved.
    Reserved(Ticket),
    /// Queued.
    Queued(Position),
    /// Never to be queued again.
    Gone,
}

impl Entry {
    /// Reserves a place. [`Entry::Gone`] if there is none: callers make sure before, or have just
    /// taken an entry off a queue.
    pub(super) fn reserve(queues: &mut Queues) -> Self {
        queues.reserve().map_or(Entry::Gone, Entry::Reserved)
    }

    /// Takes the reserved place, if nothing is queued there.
    pub(super) fn take_reserved(&mut self) -> Option<Ticket> {
        match core::mem::replace(self, Entry::Gone) {
            Entry::Reserved(ticket) => Some(ticket),
            entry => {
                *self = entry;
                None
            }
        }
    }

    /// Gives the place up, and what is queued there back.
    pub(super) fn cancel(self, queues: &mut Queues) -> Option<Work> {
        match self {
            Entry::Reserved(ticket) => {
                queues.release(ticket);
                None
            }
            Entry::Queued(position) => queues.remove(position),
            Entry::Gone => None,
        }
    }
}

impl process::Inner {
    /// Keeps what has just been taken off a queue and returned until userspace acknowledges it. What
    /// comes back is its place.
    pub(super) fn park(&mut self, work: Work) -> Entry {
        let delivered = self.delivered;
        match Entry::reserve(&mut self.queues) {
            Entry::Reserved(ticket) => {
                Entry::Queued(self.queues.push_back_with(delivered, work, ticket))
            }
            entry => entry,
        }
    }

    /// Takes the first that was parked and is what userspace acknowledges.
    pub(super) fn take_parked(&mut self, is_it: impl Fn(&Work) -> bool) -> Option<Work> {
        let (position, _) = self
            .queues
            .positions(self.delivered)
            .find(|(_, work)| is_it(work))?;
        self.queues.remove(position)
    }
}
