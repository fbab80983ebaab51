// SPDX-License-Identifier: GPL-2.0

//! The write half of `BINDER_WRITE_READ`: commands, and sending messages.

use kernel::{
    prelude::*,
    security::{self, SecurityCtx},
    sync::{atomic::Relaxed, Arc},
    task::{Kuid, Pid},
    uaccess::UserPtr,
};

use super::{
    copy::{Payload, Transfer},
    journal::{self, Failed},
    node::{Node, Turn},
    object::Objects,
    process::{self, Process, Wake},
    task::{self, OwnFile},
    thread::{ExtendedError, Thread},
    transaction::{
        self, Failure, Message, Name, Parcel, Spare, Target, Transaction, MAX_NESTED_CALLS,
    },
    work::{Sent, Work},
};
use crate::{
    uapi::{self, br, flags, Command, DecodeError, TransactionData, WriteRead},
    vma::{uaccess, Kind},
    watch::trace,
};

/// How much of a write buffer is read at a time, in bytes: any command, and what is usually written
/// at once (`BC_FREE_BUFFER` with `BC_REPLY` or `BC_TRANSACTION`). Each byte costs, as it is zeroed.
const WINDOW_LEN: usize = 80;

/// Takes commands out of a write buffer in userspace. What is decoded, counted and consumed is what
/// was read last.
struct Commands {
    /// User address of the buffer.
    address: usize,
    size: usize,
    /// Bytes of the buffer that have been taken.
    consumed: usize,
    window: [u8; WINDOW_LEN],
    /// The part of `window` that has been read and not taken.
    from: usize,
    to: usize,
}

impl Commands {
    fn new(address: usize, size: usize, consumed: usize) -> Self {
        Commands {
            address,
            size,
            consumed,
            window: [0; WINDOW_LEN],
            from: 0,
            to: 0,
        }
    }

    fn is_at_end(&self) -> bool {
        self.consumed >= self.size
    }

    /// Reads `len` bytes from where the last command ended into the window.
    fn read(&mut self, len: usize) -> Result {
        let address = UserPtr::from_addr(self.address.wrapping_add(self.consumed));
        uaccess::read(self.window.get_mut(..len).ok_or(EINVAL)?, address)?;
        (self.from, self.to) = (0, len);
        Ok(())
    }

    /// Reads on, unless there is a whole command in the window already.
    ///
    /// `EFAULT`.
    fn load(&mut self) -> Result {
        let len = self.code().map_or(4, |code| 4 + uapi::ioc_size(code));
        if self.to - self.from >= len {
            return Ok(());
        }
        let left = self.size.saturating_sub(self.consumed);
        if self.read(left.min(WINDOW_LEN)).is_ok() {
            return Ok(());
        }
        // The buffer is not readable that far: one command, then, if there is one of that length.
        self.read(left.min(4))?;
        match Command::decode(self.available()) {
            Err(DecodeError::Truncated) => {
                let len = self.code().map_or(4, |code| 4 + uapi::ioc_size(code));
                self.read(left.min(len).min(WINDOW_LEN))
            }
            _ => Ok(()),
        }
    }

    /// What has been read and not taken.
    fn available(&self) -> &[u8] {
        self.window.get(self.from..self.to).unwrap_or(&[])
    }

    /// The code of the next command, if it has been read.
    fn code(&self) -> Option<u32> {
        let [code] = uapi::u32s_from(self.available().get(..4)?);
        Some(code)
    }

    /// The command of `len` bytes has been carried out.
    fn done(&mut self, len: usize) {
        self.consumed += len;
        self.from += len;
    }
}

/// Rounds up to a multiple of 8: the parts of a buffer start at such offsets.
fn align(size: u64) -> Option<u64> {
    Some(size.checked_add(7)? & !7)
}

/// The parts of a message's buffer, as offsets in it.
struct Layout {
    offsets: usize,
    buffers: usize,
    security_context: usize,
    len: usize,
}

impl Layout {
    /// `None` if the sizes do not add up to one that a machine can have.
    fn new(data: &TransactionData, security_context_len: usize) -> Option<Self> {
        let offsets = align(data.data_size)?;
        let buffers = offsets.checked_add(align(data.offsets_size)?)?;
        let security_context = buffers.checked_add(align(data.buffers_size)?)?;
        let end = security_context.checked_add(align(security_context_len as u64)?)?;
        Some(Layout {
            offsets: offsets.try_into().ok()?,
            buffers: buffers.try_into().ok()?,
            security_context: security_context.try_into().ok()?,
            len: usize::try_from(end).ok()?.max(8),
        })
    }
}

impl Thread {
    /// `BINDER_WRITE_READ`. What was consumed is in `request` afterwards, also after an error.
    pub(super) fn write_read(
        self: &Arc<Self>,
        request: &mut WriteRead,
        own: &mut OwnFile<'_>,
    ) -> Result {
        if request.write_size > 0 {
            let written = self.write(request, own);
            if written.is_err() {
                request.read_consumed = 0;
                return written;
            }
        }
        if request.read_size > 0 {
            self.read(request, own.is_nonblocking())?;
        }
        Ok(())
    }

    /// Carries commands out, until the end of the buffer or until one fails in a way that is to be
    /// returned to userspace first.
    fn write(self: &Arc<Self>, request: &mut WriteRead, own: &mut OwnFile<'_>) -> Result {
        // CAST: `usize` is 64 bits wide wherever this driver runs; see the crate root.
        let mut commands = Commands::new(
            request.write_buffer as usize,
            request.write_size as usize,
            request.write_consumed as usize,
        );
        let mut stopped = self.has_return_error();
        while !stopped && !commands.is_at_end() {
            commands.load()?;
            // (Not taken apart: a command is large.)
            let decoded = Command::decode(commands.available());
            let Ok((command, len)) = &decoded else {
                return Err(EINVAL);
            };
            let code = commands.code().unwrap_or(0);
            self.counts.command(code, &self.process);
            stopped = self.execute(command, own)?;
            commands.done(*len);
            request.write_consumed = commands.consumed as u64;
        }
        Ok(())
    }

    /// Carries a command out. `true` if it failed, and no other is to be taken before that has been
    /// returned.
    fn execute(self: &Arc<Self>, command: &Command, own: &mut OwnFile<'_>) -> Result<bool> {
        match *command {
            Command::Transaction(ref data) => return Ok(self.send_call(data)),
            Command::Reply(ref data) => return Ok(self.send_reply(data)),
            Command::FreeBuffer(address) => {
                if let Some(objects) = self.process.free_buffer(address) {
                    self.give_up(objects, own);
                }
            }
            Command::Increment(strength, handle) => {
                self.process.increment_handle(handle, strength)?;
            }
            Command::Decrement(strength, handle) => {
                self.process.decrement_handle(handle, strength);
            }
            Command::IncrementDone {
                strength,
                ptr,
                cookie,
            } => self.process.acknowledge(ptr, cookie, strength),
            Command::RequestDeath { handle, cookie } => {
                if self.process.request_death(handle, cookie).is_err() {
                    self.set_return_error(&mut self.process.inner.lock(), br::ERROR);
                    return Ok(true);
                }
            }
            Command::ClearDeath { handle, cookie } => {
                let found = self.process.handles.lock().take_death(handle, cookie);
                if let Some((death, node)) = found {
                    death.clear(&node, self);
                }
            }
            Command::DeathDone(cookie) => self.acknowledge_death(cookie),
            Command::RequestFreeze { handle, cookie } => {
                self.process.request_freeze(handle, cookie)?;
            }
            Command::ClearFreeze { handle, cookie } => self.process.clear_freeze(handle, cookie)?,
            Command::FreezeDone(cookie) => self.process.acknowledge_freeze(cookie)?,
            Command::RegisterLooper => {
                let mut inner = self.process.inner.lock();
                if !self.state.access(&inner).looper.entered && inner.requested_threads > 0 {
                    inner.requested_threads -= 1;
                    inner.started_threads += 1;
                }
                self.state.access_mut(&mut inner).looper.registered = true;
            }
            Command::EnterLooper => {
                let mut inner = self.process.inner.lock();
                self.state.access_mut(&mut inner).looper.entered = true;
            }
            // A thread that says so is still given work.
            Command::ExitLooper => (),
        }
        Ok(false)
    }

    /// Gives up what a buffer referred to that has been freed, and closes its file descriptors.
    fn give_up(&self, mut objects: KBox<Objects>, own: &mut OwnFile<'_>) {
        objects.give_up_references();
        if objects.descriptors().next().is_some() {
            own.close(objects.descriptors());
            // Files are torn down when the task returns to userspace, so it must not wait here.
            self.need_return.store(true, Relaxed);
        }
        Objects::recycle(objects, &self.process);
    }

    /// `BC_TRANSACTION`. `true` if it failed.
    fn send_call(self: &Arc<Self>, data: &TransactionData) -> bool {
        let (id, nested) = self.begin_call();
        let mut to_tgid = 0;
        let Err(failure) = self.try_send_call(data, id, nested, &mut to_tgid) else {
            return false;
        };
        let kind = journal::Kind::new(false, data.flags);
        self.note_failure(id, kind, to_tgid, data, failure);
        let mut inner = self.process.inner.lock();
        self.state.access_mut(&mut inner).error = failure.extended(id);
        self.set_return_error(&mut inner, failure.code);
        true
    }

    /// Begins to send a call or one-way message. Returns its number, and for a call the one that it
    /// would be nested in, or that the thread may make none now.
    fn begin_call(&self) -> (u32, Result<Option<Arc<Transaction>>, Failure>) {
        let mut inner = self.process.inner.lock();
        let id = self.begin_message(&mut inner);
        // First things first: it has been chosen to handle a call, or its last one has been answered,
        // or has not been yet.
        let stack = &self.state.access(&inner).stack;
        let nested = match stack {
            _ if self.has_transaction_next(&inner) => Err(Failure::failed(EPROTO)),
            Some(top) if top.is_from(self) => Err(Failure::failed(EPROTO)),
            top => Ok(top.clone()),
        };
        (id, nested)
    }

    /// Numbers the message, and forgets what went wrong with the one before.
    fn begin_message(&self, inner: &mut process::Inner) -> u32 {
        let id = inner.next_message();
        self.state.access_mut(inner).error = ExtendedError::none(id);
        id
    }

    /// What the thread's message of that number is called.
    fn name_message(&self, id: u32) -> Name {
        Name {
            tgid: self.process.tgid,
            tid: self.id,
            id,
        }
    }

    /// Notes that a message of the thread's could not be sent.
    fn note_failure(
        &self,
        id: u32,
        kind: journal::Kind,
        to_tgid: Pid,
        data: &TransactionData,
        failure: Failure,
    ) {
        let is_reply = kind == journal::Kind::Reply;
        self.process.context.journal.failed(&Failed {
            name: self.name_message(id),
            kind,
            context: self.process.context.number,
            to_tgid,
            handle: if is_reply { 0 } else { data.handle },
            code: data.code,
            flags: data.flags,
            data_size: data.data_size,
            offsets_size: data.offsets_size,
            failure,
        });
    }

    /// Also says whom the message was for, as soon as that is known. `id` and `nested` are what
    /// [`Thread::begin_call`] has returned.
    fn try_send_call(
        self: &Arc<Self>,
        data: &TransactionData,
        id: u32,
        nested: Result<Option<Arc<Transaction>>, Failure>,
        to_tgid: &mut Pid,
    ) -> Result<(), Failure> {
        let (hold, spare) = self.process.target(data.handle)?;
        let node = hold.node.clone();
        let owner = &node.owner;
        *to_tgid = owner.tgid;
        security::binder_transaction(&self.process.cred, &owner.cred)
            .map_err(|_| Failure::failed(EPERM))?;

        let is_one_way = data.flags & flags::ONE_WAY != 0;
        let from_parent = if is_one_way { None } else { nested? };
        let depth = from_parent
            .as_ref()
            .map_or(0, |parent| parent.message().depth + 1);
        if depth > MAX_NESTED_CALLS {
            return Err(Failure::failed(E2BIG));
        }

        let context = if node.wants_security_context() {
            let secid = self.process.cred.get_secid();
            Some(SecurityCtx::from_secid(secid).map_err(Failure::failed)?)
        } else {
            None
        };
        let sender = kernel::current!().tgid();
        let kind = if is_one_way {
            Kind::OneWay { sender }
        } else {
            Kind::TwoWay
        };
        let accepts_files = node.accepts_files();
        let (mut parcel, filled) =
            fill(self, id, owner, data, kind, accepts_files, context.as_ref())?;
        let message = Message {
            name: self.name_message(id),
            sent: task::ticks(),
            from: (!is_one_way).then(|| self.clone()),
            from_parent,
            depth,
            target: Some(Target {
                ptr: node.ptr,
                cookie: node.cookie,
                min_nice: node.min_nice(),
                node: node.number,
            }),
            sender,
            sender_euid: Kuid::current_euid(),
            code: data.code,
            flags: data.flags,
            nice: task::nice(),
            data_size: filled.data_size,
            offsets_size: filled.offsets_size,
            security_context: filled.security_context,
        };
        let transaction = Transaction::new(spare, owner, message)?;
        parcel.hold = Some(hold);
        self.post_call(&node, transaction, parcel, filled.is_spam)
    }

    /// Queues a call or one-way message to its receiver.
    ///
    /// The thread is told of it (`BR_TRANSACTION_COMPLETE`) at once, or together with the reply.
    fn post_call(
        self: &Arc<Self>,
        node: &Node,
        transaction: Arc<Transaction>,
        parcel: Parcel,
        is_spam: bool,
    ) -> Result<(), Failure> {
        let mut inner = self.process.lock_with_entries(1)?;
        let (complete, below) = if transaction.is_call() {
            let complete = self.push_deferred_complete(&mut inner, Sent::Plainly);
            let stack = &mut self.state.access_mut(&mut inner).stack;
            (complete, stack.replace(transaction.clone()))
        } else {
            let sent = if is_spam { Sent::AsSpam } else { Sent::Plainly };
            (self.push_complete(&mut inner, sent), None)
        };
        drop(inner);
        // What was on top is what the transaction calls `from_parent`.
        drop(below);

        let (failure, transaction) = match enqueue(node, transaction, parcel) {
            Ok(Queued {
                wake,
                is_frozen,
                outdated,
            }) => {
                wake.notify();
                if let Some(Work::Transaction(outdated)) = outdated {
                    transaction::cancel(outdated, br::DEAD_REPLY);
                }
                if is_frozen {
                    let mut inner = self.process.inner.lock();
                    self.change_complete(&mut inner, complete, Sent::ToFrozen);
                }
                return Ok(());
            }
            Err(failure) => failure,
        };
        let mut inner = self.process.inner.lock();
        let popped = transaction::pop_call(self, &mut inner, &transaction);
        self.take_back(&mut inner, complete);
        drop(inner);
        drop(popped);
        transaction::recycle(transaction);
        Err(failure)
    }

    /// `BC_REPLY`. `true` if it failed.
    fn send_reply(self: &Arc<Self>, data: &TransactionData) -> bool {
        let mut inner = self.process.inner.lock();
        let id = self.begin_message(&mut inner);
        let state = self.state.access_mut(&mut inner);
        let Some(call) = state.stack.take_if(|top| !top.is_from(self)) else {
            let failure = Failure::failed(EPROTO);
            state.error = failure.extended(id);
            self.set_return_error(&mut inner, failure.code);
            drop(inner);
            self.note_failure(id, journal::Kind::Reply, 0, data, failure);
            return true;
        };
        let (below, saved_nice) = call.take_stacked(&mut inner);
        self.state.access_mut(&mut inner).stack = below;
        drop(inner);
        task::set_nice(saved_nice);

        let Err(failure) = self.try_send_reply(&call, data, id) else {
            transaction::recycle_in(call, &self.process);
            return false;
        };
        let to = call.message().from.as_ref();
        let to_tgid = to.map_or(0, |from| from.process.tgid);
        self.note_failure(id, journal::Kind::Reply, to_tgid, data, failure);
        if let Some(from) = &call.message().from {
            let mut inner = from.process.inner.lock();
            let state = from.state.access_mut(&mut inner);
            if !from.is_dead() && state.error.is_none() {
                state.error = failure.extended(id);
            }
        }
        // The replier has done its part; the error is the caller's.
        let mut inner = self.process.inner.lock();
        call.count_out(&mut inner);
        self.set_return_error(&mut inner, br::TRANSACTION_COMPLETE);
        drop(inner);
        transaction::fail_call(call, failure.code);
        true
    }

    fn try_send_reply(
        self: &Arc<Self>,
        call: &Arc<Transaction>,
        data: &TransactionData,
        id: u32,
    ) -> Result<(), Failure> {
        let from = call.message().from.as_ref().ok_or(Failure::died())?;
        let spare = {
            let mut inner = from.process.inner.lock();
            if from.is_dead() {
                return Err(Failure::died());
            }
            Spare::take(&mut inner)
        };
        // Whether a reply may carry files is up to who asked for it.
        let accepts_files = call.message().flags & flags::ACCEPT_FDS != 0;
        let (parcel, filled) = fill(
            self,
            id,
            &from.process,
            data,
            Kind::TwoWay,
            accepts_files,
            None,
        )?;
        let message = Message {
            name: self.name_message(id),
            sent: task::ticks(),
            from: None,
            from_parent: None,
            depth: 0,
            target: None,
            sender: kernel::current!().tgid(),
            sender_euid: Kuid::current_euid(),
            code: data.code,
            flags: data.flags,
            nice: task::nice(),
            data_size: filled.data_size,
            offsets_size: filled.offsets_size,
            security_context: None,
        };
        let reply = Transaction::new(spare, &from.process, message)?;

        let complete = {
            let mut inner = self.process.lock_with_entries(1)?;
            // Now: who has got the reply finds that the call is done with.
            call.count_out(&mut inner);
            self.push_complete(&mut inner, Sent::Plainly)
        };
        let (failure, reply) = match enqueue_reply(call, from, reply, parcel) {
            Ok(()) => {
                from.notify(true);
                return Ok(());
            }
            Err(failure) => failure,
        };
        self.take_back(&mut self.process.inner.lock(), complete);
        transaction::recycle(reply);
        Err(failure)
    }
}

/// A message that was not queued, and why.
type Unsent = (Failure, Arc<Transaction>);

/// Queues a reply to the thread that waits for it, and takes the call off its stack.
fn enqueue_reply(
    call: &Arc<Transaction>,
    from: &Thread,
    reply: Arc<Transaction>,
    parcel: Parcel,
) -> Result<(), Unsent> {
    let (mut inner, ticket) = match from.process.lock_with_ticket(0) {
        Ok(locked) => locked,
        Err(error) => return Err((error.into(), reply)),
    };
    let gone = if from.is_dead() {
        Some(Failure::died())
    } else {
        inner.gone()
    };
    if let Some(failure) = gone {
        inner.queues.release(ticket);
        drop(inner);
        drop(parcel);
        return Err((failure, reply));
    }
    reply.note_queued(from.id);
    reply.attach(&mut inner, parcel);
    from.push_message(&mut inner, reply, ticket);
    let popped = transaction::pop_call(from, &mut inner, call);
    drop(inner);
    drop(popped);
    Ok(())
}

/// What comes of queueing a message to its receiver, to be seen to once nothing is locked.
struct Queued {
    wake: Wake,
    /// The receiver gets the message when it is thawed.
    is_frozen: bool,
    /// An earlier message that the receiver need not see any more.
    outdated: Option<Work>,
}

/// Queues a call or one-way message to the owner of `node`, and finds a thread to wake.
///
/// The sender keeps no reference but that of its call stack: when the receiver is done with the
/// message, nobody else has it.
fn enqueue(node: &Node, transaction: Arc<Transaction>, parcel: Parcel) -> Result<Queued, Unsent> {
    let is_call = transaction.is_call();
    // A one-way message may be the first that has to wait: then a queue is made for it.
    let (mut inner, ticket) = match node.owner.lock_with_ticket(usize::from(!is_call)) {
        Ok(locked) => locked,
        Err(error) => return Err((error.into(), transaction)),
    };
    let is_frozen = inner.frozen.is_frozen;
    if is_frozen {
        inner.frozen.refused_call |= is_call;
        inner.frozen.kept_one_way |= !is_call;
    }
    let refused = if is_frozen && is_call {
        Some(Failure::frozen())
    } else {
        inner.gone()
    };
    if let Some(failure) = refused {
        inner.queues.release(ticket);
        drop(inner);
        drop(parcel);
        return Err((failure, transaction));
    }
    transaction.attach(&mut inner, parcel);

    let turn = if is_call {
        Turn::Now
    } else {
        node.claim_one_way(&mut inner)
    };
    let mut outdated = None;
    let wake = match turn {
        Turn::Now => {
            if !is_call {
                transaction.set_turn(&mut inner);
            }
            let thread = caller_in(&transaction, &inner).or_else(|| inner.pop_waiting());
            transaction.note_queued(thread.as_ref().map_or(0, |thread| thread.id));
            match thread {
                Some(thread) => {
                    thread.push_message(&mut inner, transaction, ticket);
                    Wake::Thread {
                        thread,
                        sync: is_call,
                    }
                }
                None => {
                    let (todo, work) = (inner.todo, Work::Transaction(transaction));
                    inner.queues.push_back_with(todo, work, ticket);
                    inner.wake_for_todo(is_call)
                }
            }
        }
        Turn::After(queue) => {
            transaction.note_queued(0);
            if is_frozen {
                outdated = node.take_outdated(&mut inner, &transaction);
            }
            let work = Work::Transaction(transaction);
            inner.queues.push_back_with(queue, work, ticket);
            Wake::Nobody
        }
    };
    Ok(Queued {
        wake,
        is_frozen,
        outdated,
    })
}

/// The thread of the receiving process that waits, directly or through others, for the call that
/// this one is nested in: it is the one to handle it.
///
/// That process is locked, so the thread does not end before it is given the call.
fn caller_in(transaction: &Transaction, _to: &process::Inner) -> Option<Arc<Thread>> {
    let message = transaction.message();
    let mut next = message.from_parent.as_ref();
    while let Some(call) = next {
        if let Some(from) = &call.message().from {
            if core::ptr::eq(&*from.process, transaction.to()) && !from.is_dead() {
                return Some(from.clone());
            }
        }
        next = call.message().from_parent.as_ref();
    }
    None
}

/// What has been put into a buffer.
struct Filled {
    /// Bytes of the payload.
    data_size: u32,
    /// Bytes of the offsets behind it.
    offsets_size: u32,
    /// Where in the buffer the security context is, if there is one.
    security_context: Option<u32>,
    is_spam: bool,
}

/// Makes a buffer in the receive area of `to` and fills it with the payload of message `id`.
///
/// May sleep. When it fails, all is as before.
fn fill(
    sender: &Thread,
    id: u32,
    to: &Arc<Process>,
    data: &TransactionData,
    kind: Kind,
    accepts_files: bool,
    security_context: Option<&SecurityCtx>,
) -> Result<(Parcel, Filled), Failure> {
    let invalid = Failure::failed(EINVAL);
    let context_len = security_context.map_or(0, SecurityCtx::len);
    let layout = match Layout::new(data, context_len) {
        Some(layout) => layout,
        None if to.area.is_mapped() => return Err(invalid),
        None => return Err(Failure::dead(ESRCH)),
    };
    let clear_on_free = data.flags & flags::CLEAR_BUF != 0;
    let (mut buffer, is_spam) =
        to.area
            .reserve(layout.len, kind, clear_on_free)
            .map_err(|error| {
                let failure = Failure::from(error);
                trace::BufferFailed::trace(|| trace::BufferFailed {
                    tgid: to.tgid,
                    size: layout.len as u64,
                    one_way: kind != Kind::TwoWay,
                    error: failure.errno(),
                });
                failure
            })?;
    trace::BufferAlloc::trace(|| trace::BufferAlloc {
        tgid: to.tgid,
        offset: buffer.offset() as u64,
        size: layout.len as u64,
    });
    // CAST: `usize` is 64 bits wide wherever this driver runs; see the crate root.
    let user = |address: u64| UserPtr::from_addr(address as usize);
    if data.offsets_size % 8 != 0 || data.buffers_size % 8 != 0 {
        // Unreadable offsets are the more telling error.
        let len = data.offsets_size as usize;
        buffer
            .copy_from_user(layout.offsets, user(data.offsets_address), len)
            .map_err(Failure::failed)?;
        return Err(invalid);
    }
    let mut payload = Payload::new(user(data.data_address), data.data_size as usize);
    let objects = if data.offsets_size > 0 {
        let mut transfer = Transfer {
            sender,
            accepts_files,
            objects: Objects::new(sender.process.tgid, id, to).map_err(Failure::failed)?,
            buffer: &mut buffer,
        };
        let offsets = user(data.offsets_address);
        // CAST: as above. The sum is no more than the layout's, which was checked.
        let words = layout.offsets..layout.offsets + data.offsets_size as usize;
        let room = layout.buffers..layout.security_context;
        payload.copy_with_objects(offsets, words, room, &mut transfer)?;
        Some(transfer.objects)
    } else {
        payload.copy_up_to(payload.size(), &mut buffer)?;
        None
    };

    // CAST: these are no more than the layout's length, of which there is a buffer: an area is at most
    // 64 MiB long (see the crate root).
    let security_context = match security_context {
        Some(context) => {
            buffer
                .write(layout.security_context, context.as_bytes())
                .map_err(Failure::failed)?;
            Some(layout.security_context as u32)
        }
        None => None,
    };
    let filled = Filled {
        data_size: data.data_size as u32,
        offsets_size: data.offsets_size as u32,
        security_context,
        is_spam,
    };
    buffer.install()?;
    let parcel = Parcel {
        buffer,
        objects,
        hold: None,
    };
    Ok((parcel, filled))
}
