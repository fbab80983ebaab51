// SPDX-License-Identifier: GPL-2.0

//! Transactions: messages under way, and calls that wait for their reply.

use core::num::NonZero;

use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::{Arc, LockedBy, UniqueArc},
    task::{Kuid, Pid},
};

use super::{
    journal::Sent,
    node::Hold,
    object::Objects,
    process::{self, Process},
    thread::{ExtendedError, Thread},
    Buffer,
};
use crate::{
    uapi::{br, flags},
    vma,
    watch::trace,
};

/// The most calls that may be nested in one another. Each waits for the next, so that all of them
/// stay in memory.
pub(super) const MAX_NESTED_CALLS: u32 = 1024;

/// Why a message was not sent: what the sender is told.
#[derive(Clone, Copy)]
pub(super) struct Failure {
    /// `BR_DEAD_REPLY`, `BR_FAILED_REPLY` or `BR_FROZEN_REPLY`.
    pub(super) code: u32,
    /// For `BINDER_GET_EXTENDED_ERROR`.
    pub(super) error: Option<Error>,
}

impl Failure {
    /// There is nobody to receive it.
    pub(super) fn dead(error: Error) -> Self {
        Failure {
            code: br::DEAD_REPLY,
            error: Some(error),
        }
    }

    /// The message, or its sender, is not as it has to be.
    pub(super) fn failed(error: Error) -> Self {
        Failure {
            code: br::FAILED_REPLY,
            error: Some(error),
        }
    }

    /// The receiver went while the message was on its way.
    pub(super) fn died() -> Self {
        Failure {
            code: br::DEAD_REPLY,
            error: None,
        }
    }

    /// The receiver has no area, or no longer.
    pub(super) fn unmapped() -> Self {
        Failure::dead(ESRCH)
    }

    /// The receiver takes no calls now.
    pub(super) fn frozen() -> Self {
        Failure {
            code: br::FROZEN_REPLY,
            error: None,
        }
    }

    /// What `BINDER_GET_EXTENDED_ERROR` says of it.
    pub(super) fn extended(&self, id: u32) -> ExtendedError {
        ExtendedError {
            id,
            command: self.code,
            param: self.errno(),
        }
    }

    /// A negative errno, or 0.
    pub(super) fn errno(&self) -> i32 {
        self.error.map_or(0, Error::to_errno)
    }
}

impl From<vma::AllocError> for Failure {
    fn from(error: vma::AllocError) -> Self {
        match error {
            vma::AllocError::Unmapped => Failure::unmapped(),
            vma::AllocError::NoSpace => Failure::failed(ENOSPC),
            vma::AllocError::NoMemory => Failure::failed(ENOMEM),
            vma::AllocError::Invalid => Failure::failed(EINVAL),
        }
    }
}

impl From<AllocError> for Failure {
    fn from(_: AllocError) -> Self {
        Failure::failed(ENOMEM)
    }
}

/// The node that a message is for.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) ptr: u64,
    pub(super) cookie: u64,
    /// Nice value of the node. See [`super::Node::min_nice`].
    pub(super) min_nice: i32,
    /// Number of the node.
    pub(super) node: NonZero<u32>,
}

/// What a message is called: its sender, and its number among those of that process.
#[derive(Clone, Copy)]
pub(super) struct Name {
    /// The thread group that opened the file it was sent on, and the thread that sent it.
    pub(super) tgid: Pid,
    pub(super) tid: Pid,
    /// What `BINDER_GET_EXTENDED_ERROR` calls the id.
    pub(super) id: u32,
}

/// What is known of a message when it is sent, and does not change.
pub(super) struct Message {
    pub(super) name: Name,
    /// When it was sent: see [`task::ticks`](super::task::ticks).
    pub(super) sent: u32,
    /// The thread that waits for the reply. `None` in replies and one-way messages.
    pub(super) from: Option<Arc<Thread>>,
    /// The call that `from` was handling or waiting for when it sent this one.
    pub(super) from_parent: Option<Arc<Transaction>>,
    /// How many calls this one is nested in.
    pub(super) depth: u32,
    /// `None` in replies.
    pub(super) target: Option<Target>,
    /// The thread group that sent it, in the initial pid namespace.
    pub(super) sender: Pid,
    pub(super) sender_euid: Kuid,
    pub(super) code: u32,
    pub(super) flags: u32,
    /// Nice value of the sending thread.
    pub(super) nice: i32,
    /// Bytes of the payload.
    pub(super) data_size: u32,
    /// Bytes of the offsets behind it.
    pub(super) offsets_size: u32,
    /// Where in the buffer the sender's security context is, if the node asks for one.
    pub(super) security_context: Option<u32>,
}

/// The bytes of a message that has not been delivered yet.
pub(super) struct Parcel {
    pub(super) buffer: Buffer,
    pub(super) objects: Option<KBox<Objects>>,
    pub(super) hold: Option<Hold>,
}

/// What changes on the way, guarded by the `inner` lock of the process that the message is for.
#[derive(Default)]
struct State {
    /// Until the message is delivered.
    parcel: Option<Parcel>,
    /// While the call is on the stack of the thread that handles it: the call below.
    to_parent: Option<Arc<Transaction>>,
    /// Nice value of the thread that handles the call, to be restored with its reply.
    saved_nice: i32,
    /// Whether it is one of the receiver's `outstanding` ones.
    is_outstanding: bool,
}

/// A message.
pub(crate) struct Transaction {
    /// The process that the message is for. It owns the record.
    to: Arc<Process>,
    message: Message,
    state: LockedBy<State, process::Inner>,
}

// With its reference count at most what `kmalloc()` has in 192 bytes.
kernel::static_assert!(size_of::<Transaction>() <= 184);

/// A record to be filled in: without parcel, stack, or sender.
pub(super) type Blank = UniqueArc<Transaction>;

/// A blank record taken from the process that a message is for. It goes back there if the message is
/// not sent after all; no lock may be held then.
pub(super) struct Spare(Option<Blank>);

impl Spare {
    /// Takes a record of the process whose `inner` lock is held, if there is one.
    pub(super) fn take(to: &mut process::Inner) -> Self {
        Spare(to.blanks.pop())
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(blank) = self.0.take() {
            let to = blank.to.clone();
            give_back(blank, &to);
        }
    }
}

/// Gives a blank record back to the process `to` that it is of.
fn give_back(blank: Blank, to: &Process) {
    let mut inner = to.inner.lock();
    blank.count_out(&mut inner);
    let surplus = inner.keep_blank(blank);
    drop(inner);
    drop(surplus);
}

impl Transaction {
    /// Makes a record for a message to the process that `spare` was taken from.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn new(
        mut spare: Spare,
        to: &Arc<Process>,
        message: Message,
    ) -> Result<Arc<Self>, AllocError> {
        if let Some(mut blank) = spare.0.take() {
            blank.message = message;
            return Ok(blank.into());
        }
        Arc::init(
            init!(Transaction {
                to: to.clone(),
                message,
                state: LockedBy::new(&to.inner, State::default()),
            }),
            GFP_KERNEL_ACCOUNT,
        )
        .map_err(|_| AllocError)
    }

    /// The process that the message is for.
    pub(super) fn to(&self) -> &Process {
        &self.to
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// Whether somebody waits for a reply.
    pub(super) fn is_call(&self) -> bool {
        self.message.from.is_some()
    }

    /// Whether this is a reply.
    pub(super) fn is_reply(&self) -> bool {
        self.message.target.is_none()
    }

    /// What there is to be seen of the message.
    pub(super) fn look(&self) -> Sent {
        Sent::new(&self.message, &self.to, 0)
    }

    /// Whether `thread` sent the call. On the stack of a thread, all other calls are for it.
    pub(super) fn is_from(&self, thread: &Thread) -> bool {
        matches!(&self.message.from, Some(from) if core::ptr::eq(&**from, thread))
    }

    /// Notes that the message is being queued, to the thread `to_tid` or, with 0, to no one yet. Called
    /// with the receiver locked.
    pub(super) fn note_queued(&self, to_tid: Pid) {
        let journal = &self.to.context.journal;
        journal.sent(&self.message, &self.to, to_tid);
        trace::Transaction::trace(|| self.queued(to_tid));
    }

    /// What is traced of it. (Not part of its caller, which would have more registers to save.)
    #[cold]
    #[inline(never)]
    fn queued(&self, to_tid: Pid) -> trace::Transaction {
        let message = &self.message;
        trace::Transaction {
            from_tgid: message.name.tgid,
            id: message.name.id,
            to_tgid: self.to.tgid,
            to_tid,
            node: message.target.map_or(0, |target| target.node.get()),
            reply: self.is_reply(),
            code: message.code,
            flags: message.flags,
            data_size: message.data_size.into(),
            offsets_size: message.offsets_size.into(),
        }
    }

    /// Attaches the bytes. Called before the message is queued.
    pub(super) fn attach(&self, to: &mut process::Inner, parcel: Parcel) {
        let state = self.state.access_mut(to);
        state.parcel = Some(parcel);
        state.is_outstanding = true;
        to.outstanding += 1;
    }

    /// The receiver is done with the message, if it was not before.
    pub(super) fn count_out(&self, to: &mut process::Inner) {
        if core::mem::take(&mut self.state.access_mut(to).is_outstanding) {
            to.outstanding -= 1;
            if to.outstanding == 0 && to.frozen.is_frozen {
                self.to.drained.notify_all();
            }
        }
    }

    /// Whether this one-way message says what an `earlier` one to the same node said, and anew.
    pub(super) fn updates(&self, earlier: &Transaction) -> bool {
        let (new, old) = (&self.message, &earlier.message);
        new.flags & flags::UPDATE_TXN != 0
            && (new.flags, new.code, new.sender) == (old.flags, old.code, old.sender)
    }

    /// The message's hold on its node becomes the node's one-way turn.
    pub(super) fn set_turn(&self, to: &mut process::Inner) {
        if let Some(hold) = self
            .state
            .access_mut(to)
            .parcel
            .as_mut()
            .and_then(|parcel| parcel.hold.as_mut())
        {
            hold.set_turn();
        }
    }

    /// Detaches the bytes: the message is being delivered, or thrown away.
    pub(super) fn detach(&self, to: &mut process::Inner) -> Option<Parcel> {
        self.state.access_mut(to).parcel.take()
    }

    /// Notes what is needed when the receiving thread is done with the call.
    pub(super) fn set_stacked(
        &self,
        to: &mut process::Inner,
        below: Option<Arc<Transaction>>,
        saved_nice: i32,
    ) {
        let state = self.state.access_mut(to);
        state.to_parent = below;
        state.saved_nice = saved_nice;
    }

    /// Takes what [`Transaction::set_stacked`] noted.
    pub(super) fn take_stacked(&self, to: &mut process::Inner) -> (Option<Arc<Transaction>>, i32) {
        let state = self.state.access_mut(to);
        (state.to_parent.take(), state.saved_nice)
    }

    /// What is below the call on the stack of `thread`, whose process is locked.
    pub(super) fn below<'a>(
        &'a self,
        thread: &Thread,
        process: &'a process::Inner,
    ) -> Option<&'a Arc<Transaction>> {
        if self.is_from(thread) {
            self.message.from_parent.as_ref()
        } else {
            self.state.access(process).to_parent.as_ref()
        }
    }

    /// What is below the call on the stack of `thread`, which is being taken apart.
    pub(super) fn unstack(&self, thread: &Thread) -> Option<Arc<Transaction>> {
        if self.is_from(thread) {
            self.message.from_parent.clone()
        } else {
            let mut inner = self.to.inner.lock();
            self.count_out(&mut inner);
            self.take_stacked(&mut inner).0
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Nested calls form a chain; without this loop dropping it would nest, too.
        let mut next = self.message.from_parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_unique_or_drop) {
            next = parent.as_mut().get_mut().message.from_parent.take();
        }
    }
}

/// Ends the use of a record. If it was the last one, the record goes back to its process, which is
/// done with the message.
///
/// No lock may be held.
pub(super) fn recycle(transaction: Arc<Transaction>) {
    let to = transaction.to.clone();
    recycle_in(transaction, &to);
}

/// Like [`recycle`], where the process that the message is for is at hand.
pub(super) fn recycle_in(transaction: Arc<Transaction>, to: &Process) {
    let Some(unique) = Arc::into_unique_or_drop(transaction) else {
        return;
    };
    let mut blank = Pin::into_inner(unique);
    let from = blank.message.from.take();
    let from_parent = blank.message.from_parent.take();
    give_back(blank, to);
    drop(from);
    drop(from_parent);
}

/// Answers a call with an error: whoever waits for it gets `code`.
///
/// If that thread is gone, the one that waits for *it* gets the code, and so on.
///
/// No lock may be held.
pub(super) fn fail_call(transaction: Arc<Transaction>, code: u32) {
    let mut next = Some(transaction);
    while let Some(call) = next {
        let Some(from) = call.message.from.clone() else {
            recycle(call);
            return;
        };
        let mut inner = from.process.inner.lock();
        if from.is_dead() {
            drop(inner);
            next = call.message.from_parent.clone();
            recycle(call);
            continue;
        }
        let popped = pop_call(&from, &mut inner, &call);
        from.set_reply_error(&mut inner, code);
        drop(inner);
        from.notify(false);
        drop(popped);
        recycle(call);
        return;
    }
}

/// Takes `call` off the stack of the thread that waits for its reply, if it is on top. The reference
/// is to be dropped after unlocking.
pub(super) fn pop_call(
    from: &Thread,
    inner: &mut process::Inner,
    call: &Arc<Transaction>,
) -> Option<Arc<Transaction>> {
    let state = from.state.access_mut(inner);
    if state
        .stack
        .as_ref()
        .is_some_and(|top| Arc::ptr_eq(top, call))
    {
        core::mem::replace(&mut state.stack, call.message.from_parent.clone())
    } else {
        None
    }
}

/// Throws away a message that cannot be delivered. Who waits for an answer gets `code`.
///
/// No lock may be held.
pub(super) fn cancel(transaction: Arc<Transaction>, code: u32) {
    let parcel = transaction.detach(&mut transaction.to.inner.lock());
    drop(parcel);
    give_up(transaction, code);
}

/// Ends a message whose bytes are gone. Who waits for an answer gets `code`.
///
/// No lock may be held.
pub(super) fn give_up(transaction: Arc<Transaction>, code: u32) {
    trace::TransactionDropped::trace(|| trace::TransactionDropped {
        from_tgid: transaction.message.name.tgid,
        id: transaction.message.name.id,
        code,
    });
    if transaction.is_call() {
        fail_call(transaction, code);
    } else {
        recycle(transaction);
    }
}
