// SPDX-License-Identifier: GPL-2.0

//! Threads: those that have called into the driver on an open file.

use core::num::NonZero;

use kernel::{
    fs::File,
    new_condvar,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        poll::{PollCondVarBox, PollTable},
        Arc, CondVar, LockedBy, SetOnce, UniqueArc,
    },
    task::Pid,
};

use super::{
    journal::Sent,
    process::{self, Process},
    stats::{Counts, ThreadCount},
    transaction::{self, Transaction},
    work::{Queues, Sent as Outcome, Work},
};
use crate::{
    alloc::queue::{Position, Queue, Ticket},
    uapi::br,
};

/// What a thread has said of itself.
#[derive(Clone, Copy, Default)]
pub(super) struct Looper {
    /// `BC_REGISTER_LOOPER`: started because of `BR_SPAWN_LOOPER`.
    pub(super) registered: bool,
    /// `BC_ENTER_LOOPER`: a looper of its own accord.
    pub(super) entered: bool,
}

impl Looper {
    pub(super) fn is_looper(self) -> bool {
        self.registered || self.entered
    }
}

/// What `BINDER_GET_EXTENDED_ERROR` says.
#[derive(Clone, Copy)]
pub(super) struct ExtendedError {
    /// Number of the message in the process that sent it.
    pub(super) id: u32,
    /// A `BR_*` code.
    pub(super) command: u32,
    /// A negative errno, or 0.
    pub(super) param: i32,
}

impl ExtendedError {
    pub(super) const fn none(id: u32) -> Self {
        ExtendedError {
            id,
            command: br::OK,
            param: 0,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.command == br::OK
    }
}

/// A thread's own work, in the order in which it is returned. Most threads never have more than what
/// takes up no place in a queue.
struct Todo {
    /// What became of the thread's own message, if there was no other work then.
    complete: Option<Outcome>,
    /// A message, if there was no other work then but that. It has a place, for when it is given to
    /// another thread.
    message: Option<(Arc<Transaction>, Ticket)>,
    /// Everything else.
    queue: Queue,
}

impl Todo {
    /// Whether there is nothing in it but, at the most, `complete`.
    #[inline]
    fn is_settled(&self, queues: &Queues) -> bool {
        self.message.is_none() && queues.is_empty(self.queue)
    }

    #[inline]
    fn is_empty(&self, queues: &Queues) -> bool {
        self.complete.is_none() && self.is_settled(queues)
    }
}

/// The state of a thread, guarded by its process's `inner` lock.
pub(super) struct State {
    pub(super) looper: Looper,
    /// Something in `todo` is to be returned at once. What else is there waits for it: the
    /// `BR_TRANSACTION_COMPLETE` of a call comes with the reply.
    is_urgent: bool,
    todo: Todo,
    /// Top of the call stack: calls that the thread handles, and calls whose reply it waits for.
    pub(super) stack: Option<Arc<Transaction>>,
    /// The place of [`Work::ReturnError`] or [`Work::Waiting`], unless one of them is queued: who has
    /// an error to return does not wait for work of the process, and who waits runs no command.
    own_ticket: Option<Ticket>,
    /// Code to return for a call that failed after it was sent.
    reply_error: Option<NonZero<u32>>,
    /// The place of [`Work::ReplyError`], unless that is queued.
    reply_ticket: Option<Ticket>,
    /// Place in the queue of the process's waiting threads.
    waiting: Option<Position>,
    pub(super) error: ExtendedError,
}

/// What there is to be seen of a thread.
pub(super) struct Seen {
    pub(super) looper: Looper,
    /// It sleeps until there is work for its process.
    pub(super) is_waiting: bool,
    pub(super) is_polled: bool,
    pub(super) need_return: bool,
    pub(super) return_error: Option<u32>,
    pub(super) reply_error: Option<u32>,
}

/// A thread on an open file.
#[pin_data]
pub(crate) struct Thread {
    pub(super) process: Arc<Process>,
    /// Thread id in the initial pid namespace.
    pub(super) id: Pid,
    pub(super) state: LockedBy<State, process::Inner>,
    /// The thread is gone (`BINDER_THREAD_EXIT`, or its file was closed). Set with the process's
    /// `inner` locked: who has that locked can rely on the answer.
    is_dead: Atomic<bool>,
    /// The thread's next read returns although there is no work: the thread is new, or a descriptor
    /// of its file was closed.
    pub(super) need_return: Atomic<bool>,
    /// Code to return for a command that failed, or 0. While there is one, no further command is
    /// taken. Nobody but the thread itself writes it.
    return_error: Atomic<u32>,
    /// What it has done and been told.
    pub(super) counts: Counts,
    _count: ThreadCount,
    /// What the thread sleeps on.
    #[pin]
    pub(super) wakeup: CondVar,
    /// What its pollers sleep on, once it has been polled.
    poll: SetOnce<PollCondVarBox>,
}

// With its reference count at most what `kmalloc()` has in 192 bytes, where the lock in `wakeup`
// takes as much as it mostly does: nothing, or more, on other kernels.
kernel::static_assert!(size_of::<Thread>() <= 160 + size_of::<CondVar>());

/// Places that a thread takes up in its process's queues.
const ENTRIES: usize = 3;

impl Thread {
    /// Creates a record for the thread `id` of `process`.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn create(process: Arc<Process>, id: Pid) -> Result<Arc<Self>> {
        let memory = UniqueArc::new_uninit(GFP_KERNEL_ACCOUNT)?;
        process.counts.provide()?;
        let has_queues = process.inner.lock().todo != Queue::NOWHERE;
        let others = if has_queues { 0 } else { process::QUEUES };
        let mut inner = process.lock_with_entries(ENTRIES + others)?;
        inner.make_queues()?;
        let queues = &mut inner.queues;
        let Some(queue) = queues.new_queue() else {
            return Err(ENOMEM);
        };
        let state = State {
            looper: Looper::default(),
            is_urgent: false,
            todo: Todo {
                complete: None,
                message: None,
                queue,
            },
            stack: None,
            own_ticket: queues.reserve(),
            reply_error: None,
            reply_ticket: queues.reserve(),
            waiting: None,
            error: ExtendedError::none(0),
        };
        drop(inner);
        let thread = memory.pin_init_with(pin_init!(Self {
            id,
            state: LockedBy::new(&process.inner, state),
            process,
            is_dead: Atomic::new(false),
            need_return: Atomic::new(true),
            return_error: Atomic::new(0),
            counts: Counts::new(),
            _count: ThreadCount::new(),
            wakeup <- new_condvar!("Thread::wakeup"),
            poll: SetOnce::new(),
        }));
        match thread {
            Ok(thread) => Ok(thread.into()),
            Err(never) => match never {},
        }
    }

    /// What there is to be seen of the thread.
    pub(super) fn look(&self, inner: &process::Inner) -> Seen {
        let state = self.state.access(inner);
        Seen {
            looper: state.looper,
            is_waiting: state.waiting.is_some() || self.is_last_waiting(inner),
            is_polled: self.is_polled(),
            need_return: self.need_return.load(Relaxed),
            return_error: self.return_error(),
            reply_error: state.reply_error.map(NonZero::get),
        }
    }

    /// What is `depth` entries below the top of the call stack, and whether the thread sent it.
    pub(super) fn stack_entry(&self, inner: &process::Inner, depth: usize) -> Option<(Sent, bool)> {
        let mut entry = self.state.access(inner).stack.as_ref()?;
        for _ in 0..depth {
            entry = entry.below(self, inner)?;
        }
        Some((entry.look(), entry.is_from(self)))
    }

    /// Wakes the thread, or its pollers. With `sync` the waker is about to sleep.
    pub(super) fn notify(&self, sync: bool) {
        if sync {
            self.wakeup.notify_sync();
        } else {
            self.wakeup.notify_one();
        }
        if let Some(poll) = self.poll.as_ref() {
            poll.notify_all();
        }
    }

    /// Whether the thread is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Relaxed)
    }

    /// Whether the thread has ever been polled.
    pub(super) fn is_polled(&self) -> bool {
        self.poll.as_ref().is_some()
    }

    /// Registers a poller of the thread.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn register_poller(&self, file: &File, table: &PollTable<'_>) -> Result {
        if self.poll.as_ref().is_none() {
            let poll = PollCondVarBox::new(c"Thread::poll", kernel::static_lock_class!())?;
            if self.poll.populate(poll) {
                self.process.inner.lock().polled_threads += 1;
            }
        }
        if let Some(poll) = self.poll.as_ref() {
            table.register_wait(file, poll);
        }
        Ok(())
    }

    /// Whether the thread may take work of its process: it handles no call and has no work itself.
    #[inline]
    pub(super) fn is_available(&self, inner: &process::Inner) -> bool {
        let state = self.state.access(inner);
        state.stack.is_none() && state.todo.is_empty(&inner.queues)
    }

    /// Whether the thread handles a call, or waits for a reply.
    pub(super) fn has_stack(&self, inner: &process::Inner) -> bool {
        self.state.access(inner).stack.is_some()
    }

    /// Whether the thread has made a call that has not been answered.
    pub(super) fn waits_for_reply(&self, inner: &process::Inner) -> bool {
        let stack = &self.state.access(inner).stack;
        stack.as_ref().is_some_and(|top| top.is_from(self))
    }

    /// The queue of the thread's own work. There may be more: see [`Thread::first_work`].
    pub(super) fn queue(&self, inner: &process::Inner) -> Queue {
        self.state.access(inner).todo.queue
    }

    /// What comes before the work in the thread's queue: a completion, and a message.
    pub(super) fn first_work(&self, inner: &process::Inner) -> (bool, Option<Sent>) {
        let todo = &self.state.access(inner).todo;
        let message = todo.message.as_ref().map(|(message, _)| message.look());
        (todo.complete.is_some(), message)
    }

    /// Takes the message that is not in the thread's queue.
    pub(super) fn take_first_message(
        &self,
        inner: &mut process::Inner,
    ) -> Option<Arc<Transaction>> {
        let (message, ticket) = self.state.access_mut(inner).todo.message.take()?;
        inner.queues.release(ticket);
        Some(message)
    }

    /// Whether the thread has work of its own.
    #[inline]
    pub(super) fn has_own_work(&self, inner: &process::Inner) -> bool {
        !self.state.access(inner).todo.is_empty(&inner.queues)
    }

    /// Whether a read would return; with `for_process` also because of the process's work.
    #[inline]
    pub(super) fn has_work(&self, inner: &process::Inner, for_process: bool) -> bool {
        let state = self.state.access(inner);
        (state.is_urgent && !state.todo.is_empty(&inner.queues))
            || self.need_return.load(Relaxed)
            || (for_process && !inner.queues.is_empty(inner.todo))
    }

    /// Whether the next thing that the thread has to take is a call or a reply.
    pub(super) fn has_transaction_next(&self, inner: &process::Inner) -> bool {
        let todo = &self.state.access(inner).todo;
        todo.complete.is_none()
            && (todo.message.is_some()
                || matches!(inner.queues.front(todo.queue), Some(Work::Transaction(_))))
    }

    /// The thread is to be told of its own message, at once.
    ///
    /// A place must have been made sure of with [`Process::lock_with_entries`]. What comes back is for
    /// [`Thread::take_back`].
    pub(super) fn push_complete(
        &self,
        inner: &mut process::Inner,
        outcome: Outcome,
    ) -> Option<Position> {
        let position = self.push_deferred_complete(inner, outcome);
        self.set_urgent(inner);
        position
    }

    /// Like [`Thread::push_complete`], but it waits for something that is to be returned at once.
    pub(super) fn push_deferred_complete(
        &self,
        inner: &mut process::Inner,
        outcome: Outcome,
    ) -> Option<Position> {
        let todo = &self.state.access(inner).todo;
        if todo.is_empty(&inner.queues) {
            self.state.access_mut(inner).todo.complete = Some(outcome);
            return None;
        }
        let queue = todo.queue;
        // Does not fail: there is a place, and a thread that sends has its queue.
        inner.queues.push_back(queue, Work::Complete(outcome)).ok()
    }

    /// The thread is not to be told of its message after all, about which nothing has been returned.
    pub(super) fn take_back(&self, inner: &mut process::Inner, complete: Option<Position>) {
        match complete {
            // A completion carries no reference.
            Some(position) => drop(inner.queues.remove(position)),
            None => self.state.access_mut(inner).todo.complete = None,
        }
    }

    /// The thread is to be told at once that it was something else that became of its message.
    pub(super) fn change_complete(
        &self,
        inner: &mut process::Inner,
        complete: Option<Position>,
        outcome: Outcome,
    ) {
        if complete.is_none() {
            self.state.access_mut(inner).todo.complete = Some(outcome);
        } else {
            // There is the place that this leaves.
            self.take_back(inner, complete);
            self.push_complete(inner, outcome);
        }
    }

    /// Gives the thread a message.
    pub(super) fn push_message(
        &self,
        inner: &mut process::Inner,
        message: Arc<Transaction>,
        ticket: Ticket,
    ) {
        if self.state.access(inner).todo.is_settled(&inner.queues) {
            // Nothing was there that could be dropped.
            self.state.access_mut(inner).todo.message = Some((message, ticket));
            self.set_urgent(inner);
        } else {
            self.push_with(inner, Work::Transaction(message), ticket);
        }
    }

    /// Gives the thread work that waits for something that is to be returned at once.
    pub(super) fn push_deferred_with(
        &self,
        inner: &mut process::Inner,
        work: Work,
        ticket: Ticket,
    ) -> Position {
        let queue = self.queue(inner);
        inner.queues.push_back_with(queue, work, ticket)
    }

    /// Gives the thread work that is to be returned at once.
    pub(super) fn push_with(
        &self,
        inner: &mut process::Inner,
        work: Work,
        ticket: Ticket,
    ) -> Position {
        let position = self.push_deferred_with(inner, work, ticket);
        self.set_urgent(inner);
        position
    }

    /// Whether the thread has said that it waits for work of its process.
    pub(super) fn is_looper(&self, inner: &process::Inner) -> bool {
        self.state.access(inner).looper.is_looper()
    }

    fn set_urgent(&self, inner: &mut process::Inner) {
        let state = self.state.access_mut(inner);
        let was_urgent = core::mem::replace(&mut state.is_urgent, true);
        // A thread that gives work to itself may be waited for in poll().
        if !was_urgent {
            if let Some(poll) = self.poll.as_ref() {
                poll.notify_all();
            }
        }
    }

    /// Takes the next piece of the thread's own work.
    pub(super) fn pop(&self, inner: &mut process::Inner) -> Option<Work> {
        let todo = &mut self.state.access_mut(inner).todo;
        let queue = todo.queue;
        let work = if let Some(outcome) = todo.complete.take() {
            Work::Complete(outcome)
        } else if let Some(message) = self.take_first_message(inner) {
            Work::Transaction(message)
        } else {
            inner.queues.pop_front(queue)?
        };
        let is_urgent = self.has_own_work(inner);
        self.state.access_mut(inner).is_urgent &= is_urgent;
        Some(work)
    }

    /// Queues `code` as the answer to a command of the thread's that failed. For the thread itself
    /// only: one that sleeps may have given its place to [`Work::Waiting`].
    pub(super) fn set_return_error(&self, inner: &mut process::Inner, code: u32) {
        self.return_error.store(code, Relaxed);
        if let Some(ticket) = self.state.access_mut(inner).own_ticket.take() {
            self.push_deferred_with(inner, Work::ReturnError, ticket);
        }
        self.set_urgent(inner);
    }

    /// Whether a failed command's answer has not been returned yet.
    pub(super) fn has_return_error(&self) -> bool {
        self.return_error().is_some()
    }

    fn return_error(&self) -> Option<u32> {
        Some(self.return_error.load(Relaxed)).filter(|code| *code != 0)
    }

    /// Takes the code of the [`Work::ReturnError`] just popped.
    pub(super) fn take_return_error(&self, inner: &mut process::Inner) -> Option<u32> {
        let ticket = inner.queues.reserve();
        self.state.access_mut(inner).own_ticket = ticket;
        let code = self.return_error();
        self.return_error.store(0, Relaxed);
        code
    }

    /// Queues `code` as the answer to a call of the thread's. There is one slot: while it is taken,
    /// further errors are lost, as each call waits for its answer.
    pub(super) fn set_reply_error(&self, inner: &mut process::Inner, code: u32) {
        let state = self.state.access_mut(inner);
        if state.reply_error.is_some() {
            return;
        }
        state.reply_error = NonZero::new(code);
        if let Some(ticket) = state.reply_ticket.take() {
            self.push_deferred_with(inner, Work::ReplyError, ticket);
        }
        self.set_urgent(inner);
    }

    /// Takes the code of the [`Work::ReplyError`] just popped.
    pub(super) fn take_reply_error(&self, inner: &mut process::Inner) -> Option<u32> {
        let ticket = inner.queues.reserve();
        let state = self.state.access_mut(inner);
        state.reply_ticket = ticket;
        state.reply_error.take().map(NonZero::get)
    }

    /// Whether the thread was the last to begin to wait.
    fn is_last_waiting(&self, inner: &process::Inner) -> bool {
        matches!(&inner.last_waiting, Some(thread) if core::ptr::eq(&**thread, self))
    }

    /// Makes the thread the first of the waiting ones: the one that slept least is woken first.
    pub(super) fn start_waiting(self: &Arc<Self>, inner: &mut process::Inner) {
        if let Some(thread) = inner.last_waiting.replace(self.clone()) {
            thread.wait_in_queue(inner);
        }
    }

    /// Another thread is the last to have begun to wait.
    #[cold]
    fn wait_in_queue(self: &Arc<Self>, inner: &mut process::Inner) {
        let waiting = inner.waiting;
        let state = self.state.access_mut(inner);
        if let Some(ticket) = state.own_ticket.take() {
            inner.queues.release(ticket);
            let work = Work::Waiting(self.clone());
            // The place just released is there. (And the reference is not the thread's last.)
            let position = inner.queues.push_front(waiting, work).ok();
            self.state.access_mut(inner).waiting = position;
        }
    }

    /// Takes the thread off the waiting ones, if it still is one.
    pub(super) fn stop_waiting(&self, inner: &mut process::Inner) {
        if self.is_last_waiting(inner) {
            // Not the last reference to the thread: the caller has one.
            inner.last_waiting = None;
        } else if let Some(position) = self.state.access(inner).waiting {
            // Not the last reference to the thread: the caller has one.
            drop(inner.queues.remove(position));
            self.was_taken_off(inner);
        }
    }

    /// The thread has been taken off the queue of waiting ones.
    pub(super) fn was_taken_off(&self, inner: &mut process::Inner) {
        let ticket = inner.queues.reserve();
        let state = self.state.access_mut(inner);
        state.waiting = None;
        state.own_ticket = ticket;
    }

    /// Ends the thread: whoever waits for it is told, and what it has not done is given to others.
    ///
    /// The sender of the call that it handles gets `BR_DEAD_REPLY` at once, as do the senders of
    /// calls that were given to it and not returned yet. Who waits for a call further down its stack
    /// learns of it when the calls above are answered. One-way messages and node work go back to the
    /// process.
    ///
    /// May sleep.
    pub(super) fn release(self: &Arc<Self>) {
        let mut inner = self.process.inner.lock();
        // Keeps the removed entry, and all that is taken below, beyond the unlocking.
        let tree_node = inner.threads.remove_node(&self.id);
        if tree_node.is_some() {
            inner.thread_count -= 1;
            self.process.counts.add_thread(&self.counts);
        }
        self.stop_waiting(&mut inner);
        if self.is_polled() {
            inner.polled_threads -= 1;
        }
        let state = self.state.access_mut(&mut inner);
        let mut stack = state.stack.take();
        self.is_dead.store(true, Relaxed);
        drop(inner);
        drop(tree_node);
        self.notify(false);

        let mut is_top = true;
        while let Some(transaction) = stack {
            stack = transaction.unstack(self);
            let is_incoming = !transaction.is_from(self);
            if is_top && is_incoming {
                transaction::fail_call(transaction, br::DEAD_REPLY);
            } else {
                transaction::recycle(transaction);
            }
            is_top = false;
        }

        let mut inner = self.process.inner.lock();
        while let Some(work) = self.pop(&mut inner) {
            let (unwanted, wake) = match work {
                Work::Transaction(transaction) if transaction.is_call() => {
                    (Some(transaction), Default::default())
                }
                Work::Transaction(transaction) if transaction.is_reply() || inner.is_unmapped => {
                    (Some(transaction), Default::default())
                }
                // One-way messages, node work and notices are anybody's.
                work
                @ (Work::Transaction(_) | Work::Node(_) | Work::Death(_) | Work::Freeze(_)) => {
                    (None, inner.give_to_anyone(work))
                }
                Work::Complete(_) | Work::ReturnError | Work::ReplyError | Work::Waiting(_) => {
                    continue;
                }
            };
            drop(inner);
            wake.notify();
            if let Some(transaction) = unwanted {
                transaction::cancel(transaction, br::DEAD_REPLY);
            }
            inner = self.process.inner.lock();
        }
        let state = self.state.access_mut(&mut inner);
        let queue = state.todo.queue;
        let tickets = [state.own_ticket.take(), state.reply_ticket.take()];
        for ticket in tickets.into_iter().flatten() {
            inner.queues.release(ticket);
        }
        inner.queues.free_queue(queue);
    }
}
