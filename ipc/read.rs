// SPDX-License-Identifier: GPL-2.0

//! The read half of `BINDER_WRITE_READ`: waiting for work, and returning it.

use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc, SpinLockGuard},
    uaccess::UserPtr,
};

use super::{
    object::Descriptors,
    process::{self, Wake},
    stats::Output,
    task,
    thread::Thread,
    transaction::{self, Parcel, Transaction},
    work::Work,
    Payload,
};
use crate::{
    uapi::{br, flags, Delivery, Returns, WriteRead},
    vma::uaccess,
    watch::trace,
};

/// The part of a read buffer that has not been written yet.
struct ReadBuffer<'a> {
    /// User address of the buffer.
    address: usize,
    size: usize,
    /// Bytes that have been written, in this read or an earlier one.
    consumed: usize,
    /// What is to be written next.
    returns: Output<'a>,
}

impl ReadBuffer<'_> {
    /// Whether any item fits, both in userspace's buffer and in ours.
    fn has_room(&self) -> bool {
        self.size.saturating_sub(self.written()) >= Returns::MAX_ITEM_LEN
    }

    /// Bytes written and to be written. (What userspace says was written before can be anything.)
    fn written(&self) -> usize {
        self.consumed.saturating_add(self.returns.bytes.len())
    }

    /// Whether there is more in the buffer than a `BR_NOOP`. As in the C driver, what was there before
    /// the read counts by its length.
    fn has_returns(&self) -> bool {
        self.written() != 4
    }

    /// Copies out what has been gathered.
    fn flush(&mut self) -> Result {
        let address = self.address.wrapping_add(self.consumed);
        let returns = &mut self.returns.bytes;
        if returns.len() == 0 {
            return Ok(());
        }
        uaccess::write(UserPtr::from_addr(address), returns.as_slice())?;
        self.consumed += returns.len();
        returns.clear();
        Ok(())
    }

    /// Puts `code`, which has no arguments, where the first return is.
    fn put_first(&self, code: u32) -> Result {
        self.returns.count(code);
        uaccess::put(UserPtr::from_addr(self.address), code)
    }
}

/// A message taken off a queue, to be returned. (A parcel is large: it stays here until it is done
/// with.)
#[derive(Default)]
struct Taken {
    transaction: Option<Arc<Transaction>>,
    parcel: Option<Parcel>,
}

/// What is left to do once nothing is locked.
struct Ending {
    /// Userspace is to be asked for another thread.
    wants_thread: bool,
    /// Somebody for the work that this thread leaves.
    wake: Wake,
}

impl Thread {
    /// Waits for work and returns it.
    ///
    /// # Errors
    ///
    /// `EFAULT`, `EINTR`, `EAGAIN` for a nonblocking read without work, and `EINVAL` for a buffer
    /// without room for a single code.
    pub(super) fn read(self: &Arc<Self>, request: &mut WriteRead, nonblocking: bool) -> Result {
        // CAST: `usize` is 64 bits wide wherever this driver runs; see the crate root.
        let mut buffer = ReadBuffer {
            address: request.read_buffer as usize,
            size: request.read_size as usize,
            consumed: request.read_consumed as usize,
            returns: Output::new(self),
        };
        if buffer.size < 4 {
            return Err(EINVAL);
        }
        if buffer.consumed == 0 {
            // At once: a buffer that cannot be written is found out before anything is lost.
            buffer.put_first(br::NOOP)?;
            buffer.consumed = 4;
        }
        loop {
            let mut taken = Taken::default();
            let ending = match self.gather(&mut buffer, nonblocking, &mut taken) {
                Ok(ending) => ending,
                Err(error) => {
                    self.pass_on();
                    return Err(error);
                }
            };
            ending.wake.notify();
            let wants_thread = ending.wants_thread;
            let result = self.hand_out(&mut buffer, request, wants_thread, &mut taken);
            if wants_thread && result.is_err() {
                self.process.inner.lock().forget_request();
            }
            if result? {
                return Ok(());
            }
        }
    }

    /// Copies out what [`Thread::gather`] has gathered and taken. `false` if the read is to go on.
    fn hand_out(
        self: &Arc<Self>,
        buffer: &mut ReadBuffer<'_>,
        request: &mut WriteRead,
        wants_thread: bool,
        taken: &mut Taken,
    ) -> Result<bool> {
        // A message that could not be returned does not end the read, unless there is something
        // else to return.
        let is_done = match taken.transaction.take() {
            Some(transaction) => {
                let is_delivered = self.deliver(buffer, transaction, &mut taken.parcel)?;
                is_delivered || wants_thread || buffer.has_returns()
            }
            None => true,
        };
        if is_done {
            buffer.flush()?;
            request.read_consumed = buffer.consumed as u64;
        }
        if wants_thread {
            buffer.put_first(br::SPAWN_LOOPER)?;
        }
        Ok(is_done)
    }

    /// Sleeps until there is something to return. With it comes whether that may be work of the
    /// process.
    fn wait(
        self: &Arc<Self>,
        nonblocking: bool,
    ) -> Result<(SpinLockGuard<'_, process::Inner>, bool)> {
        let process = &self.process;
        let mut inner = process.inner.lock();
        if task::nice() != process.default_nice && self.is_available(&inner) {
            drop(inner);
            task::set_nice(process.default_nice);
            inner = process.inner.lock();
        }
        let for_process = self.is_available(&inner);
        while !self.has_work(&inner, for_process) {
            if nonblocking {
                return Err(EAGAIN);
            }
            trace::WaitForWork::trace(|| trace::WaitForWork {
                for_process,
                for_reply: self.waits_for_reply(&inner),
            });
            if for_process {
                self.start_waiting(&mut inner);
            }
            let signalled = self.wakeup.wait_interruptible_freezable(&mut inner);
            self.stop_waiting(&mut inner);
            if signalled {
                return Err(EINTR);
            }
        }
        Ok((inner, for_process))
    }

    /// Takes work off the queues, up to and including a message, which goes to `taken`.
    fn gather(
        self: &Arc<Self>,
        buffer: &mut ReadBuffer<'_>,
        nonblocking: bool,
        taken: &mut Taken,
    ) -> Result<Ending> {
        let mut inner = 'wait: loop {
            let (mut inner, for_process) = self.wait(nonblocking)?;
            loop {
                let todo = inner.todo;
                let is_own = self.has_own_work(&inner);
                let is_processes = for_process && !inner.queues.is_empty(todo);
                if !is_own && !is_processes {
                    if buffer.has_returns() || self.need_return.load(Relaxed) {
                        break 'wait inner;
                    }
                    // What was there needed no return after all.
                    continue 'wait;
                }
                if !buffer.has_room() {
                    break 'wait inner;
                }
                if !buffer.returns.bytes.has_room() {
                    drop(inner);
                    buffer.flush()?;
                    inner = self.process.inner.lock();
                    continue;
                }
                let work = if is_own {
                    self.pop(&mut inner)
                } else {
                    inner.queues.pop_front(todo)
                };
                match work {
                    Some(Work::Transaction(transaction)) => {
                        self.take(&mut inner, transaction, taken);
                        break 'wait inner;
                    }
                    Some(Work::Complete(sent)) => {
                        buffer.returns.push_code(sent.code(inner.detects_spam));
                    }
                    Some(Work::ReturnError) => {
                        if let Some(code) = self.take_return_error(&mut inner) {
                            buffer.returns.push_code(code);
                        }
                    }
                    Some(Work::ReplyError) => {
                        if let Some(code) = self.take_reply_error(&mut inner) {
                            buffer.returns.push_code(code);
                        }
                    }
                    Some(Work::Node(node)) => {
                        let removed = node.tell(&mut inner, &mut buffer.returns);
                        drop(inner);
                        drop((removed, node));
                        inner = self.process.inner.lock();
                    }
                    Some(Work::Death(death)) => {
                        let is_last = death.tell(&mut inner, &mut buffer.returns);
                        drop(inner);
                        drop(death);
                        inner = self.process.inner.lock();
                        if is_last {
                            break 'wait inner;
                        }
                    }
                    Some(Work::Freeze(freeze)) => {
                        let is_last = freeze.tell(&mut inner, &mut buffer.returns);
                        drop(inner);
                        drop(freeze);
                        inner = self.process.inner.lock();
                        if is_last {
                            break 'wait inner;
                        }
                    }
                    Some(Work::Waiting(_)) | None => (),
                }
            }
        };
        let wants_thread = self.is_looper(&inner) && inner.request_thread();
        let wake = inner.wake_for_rest();
        Ok(Ending { wants_thread, wake })
    }

    /// A read failed: if it was this thread that was woken for work of the process, another one is to
    /// do it.
    fn pass_on(&self) {
        let wake = self.process.inner.lock().wake_for_rest();
        wake.notify();
    }

    /// A message has been taken off its queue: a call goes on the thread's stack.
    fn take(&self, inner: &mut process::Inner, transaction: Arc<Transaction>, taken: &mut Taken) {
        taken.parcel = transaction.detach(inner);
        if transaction.is_call() {
            let stack = &mut self.state.access_mut(inner).stack;
            let below = stack.replace(transaction.clone());
            transaction.set_stacked(inner, below, task::nice());
        }
        taken.transaction = Some(transaction);
    }

    /// Returns a message, after what has been gathered before it.
    ///
    /// If userspace's buffer cannot be written, or its files cannot become descriptors, the message is
    /// lost, and who waits for an answer gets `BR_FAILED_REPLY`. `false` if the thread is none the
    /// wiser for it, and has to wait for something else.
    fn deliver(
        self: &Arc<Self>,
        buffer: &mut ReadBuffer<'_>,
        transaction: Arc<Transaction>,
        place: &mut Option<Parcel>,
    ) -> Result<bool> {
        let Some(parcel) = place else {
            return Ok(false);
        };
        let mut descriptors = Descriptors::new();
        if let Some(objects) = &mut parcel.objects {
            let made = objects.make_descriptors(&mut parcel.buffer, &mut descriptors);
            if made.is_err() {
                drop(descriptors);
                *place = None;
                let is_reply = transaction.is_reply();
                if is_reply {
                    buffer.returns.push_code(br::FAILED_REPLY);
                }
                self.unstack(&transaction);
                transaction::give_up(transaction, br::FAILED_REPLY);
                return Ok(is_reply);
            }
        }
        let message = transaction.message();
        trace::TransactionReceived::trace(|| trace::TransactionReceived {
            from_tgid: message.name.tgid,
            id: message.name.id,
        });
        let address = parcel.buffer.address();
        let data_size = u64::from(message.data_size);
        let mut delivery = Delivery {
            code: message.code,
            flags: message.flags,
            sender_euid: message.sender_euid.into_uid_in_current_ns(),
            data_size,
            offsets_size: message.offsets_size.into(),
            data_address: address,
            offsets_address: address + (data_size + 7 & !7),
            security_context: message.security_context.map(|at| address + u64::from(at)),
            ..Default::default()
        };
        let mut code = br::REPLY;
        let saved_nice = task::nice();
        if let Some(target) = &message.target {
            (delivery.ptr, delivery.cookie) = (target.ptr, target.cookie);
            code = if message.security_context.is_some() {
                br::TRANSACTION_SEC_CTX
            } else {
                br::TRANSACTION
            };
            let is_one_way = message.flags & flags::ONE_WAY != 0;
            if !is_one_way && message.nice < target.min_nice {
                task::set_nice(message.nice);
            } else if !is_one_way || saved_nice > target.min_nice {
                task::set_nice(target.min_nice);
            }
        }
        // Nobody waits for the answer to a call whose sender is gone.
        if let Some(from) = message.from.as_ref().filter(|from| !from.is_dead()) {
            delivery.sender_pid = from.process.group.number();
        }
        buffer.returns.push_delivery(code, &delivery);

        if let Err(error) = buffer.flush() {
            drop(descriptors);
            *place = None;
            task::set_nice(saved_nice);
            self.unstack(&transaction);
            transaction::give_up(transaction, br::FAILED_REPLY);
            return Err(error);
        }
        descriptors.install();
        parcel.buffer.deliver(Payload {
            hold: parcel.hold.take(),
            objects: parcel.objects.take(),
        });
        transaction::recycle_in(transaction, &self.process);
        Ok(true)
    }

    /// Takes a call that was not returned off the stack.
    fn unstack(&self, transaction: &Arc<Transaction>) {
        let mut inner = self.process.inner.lock();
        let state = self.state.access_mut(&mut inner);
        let top = state.stack.take_if(|top| Arc::ptr_eq(top, transaction));
        if top.is_some() {
            let (below, _) = transaction.take_stacked(&mut inner);
            self.state.access_mut(&mut inner).stack = below;
        }
        drop(inner);
        drop(top);
    }
}
