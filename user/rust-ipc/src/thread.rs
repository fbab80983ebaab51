// SPDX-License-Identifier: GPL-2.0

//! A thread of a participant: it sends, waits for replies, and serves.
//!
//! The unsafe code is in two functions: `exchange`, which calls the driver, and `message`, which
//! takes charge of a buffer that the driver delivered.
#![allow(unsafe_code)]

use std::{
    collections::VecDeque,
    fmt,
    marker::PhantomData,
    mem,
    ops::{ControlFlow, Deref},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{
    abi::{HandleCookie, MIN_READ_BYTES, PtrCookie, TransactionData, tf},
    area::Received,
    connection::Connection,
    error::{ErrnoValue, Error, Result},
    payload::{Handle, Payload},
    wire::{Command, Commands, Return, Returns},
};

/// Room for the returns of one read.
const READ_BYTES: usize = 1024;

/// The calling thread, as far as one [`Connection`] is concerned.
///
/// The driver knows threads by their id and keeps a stack of the calls that each one makes and
/// serves. Therefore this type stays on its thread, and dropping it has the driver forget the
/// thread: whoever waits for an answer from it gets an error.
pub struct Thread {
    connection: Connection,
    /// Answers that the driver waits for; they go with the next write.
    answers: Commands,
    /// What was read and nobody has looked at yet.
    inbox: VecDeque<Item>,
    /// What came while this thread waited for something else, for [`Thread::receive`].
    events: VecDeque<Queued>,
    room: Box<[u8]>,
    looper: bool,
    stays_on_its_thread: PhantomData<*mut ()>,
}

/// What was read, without what is dealt with at once.
enum Item {
    Sent(Sent),
    Failed(Failure),
    Reply(Message),
    Event(Queued),
}

/// An [`Event`] that has not been handed out.
enum Queued {
    Message(Message),
    Node(NodeEvent),
    Dead(u64),
    DeathWatchEnded(u64),
    Frozen { cookie: u64, is_frozen: bool },
    FreezeWatchEnded(u64),
}

/// How an exchange with the driver went.
struct Exchange {
    result: Result<()>,
    /// A transaction or reply was not sent.
    forgotten: bool,
}

#[derive(Clone, Copy)]
enum Failure {
    Dead,
    Failed,
    Frozen,
    Code(i32),
}

/// What became of a one-way message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Queued,
    /// It is on its way, and this process takes a suspicious share of the receiver's one-way
    /// space. Reported once, and only after [`detect_oneway_spam`](crate::Device::detect_oneway_spam).
    SpamSuspect,
    /// The receiver is frozen and will see it when it thaws.
    PendingFrozen,
}

/// What a thread receives while it serves.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'t> {
    /// Somebody called and waits for the answer.
    Call(Call<'t>),
    /// Somebody sent a one-way message. While it is held, the driver delivers no other one-way
    /// message for the same node: they arrive one by one, in order.
    Oneway(Message),
    /// The references to a node of ours changed.
    Node(NodeEvent),
    /// The owner of the handle watched with this cookie is dead.
    Dead(u64),
    /// The watch for a death, with this cookie, has ended as asked.
    DeathWatchEnded(u64),
    /// The owner of the handle watched with this cookie was frozen or thawed.
    Frozen {
        /// The number given with the request.
        cookie: u64,
        /// Whether it is frozen now.
        is_frozen: bool,
    },
    /// The watch for freezing, with this cookie, has ended as asked.
    FreezeWatchEnded(u64),
}

/// How the references that others have to a node of ours changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeEvent {
    /// There is a first weak one.
    Increfs(PtrCookie),
    /// There is a first strong one.
    Acquire(PtrCookie),
    /// There is no strong one any more.
    Release(PtrCookie),
    /// There is none any more.
    Decrefs(PtrCookie),
}

/// A received payload and what came with it.
#[derive(Debug)]
pub struct Message {
    received: Received,
    header: TransactionData,
}

impl Message {
    /// What the sender asks for: a number agreed between the two.
    pub fn code(&self) -> u32 {
        self.header.code
    }

    /// The flags, [`tf`].
    pub fn flags(&self) -> u32 {
        self.header.flags
    }

    /// Whether no answer is wanted.
    pub fn is_oneway(&self) -> bool {
        self.header.flags & tf::ONE_WAY != 0
    }

    /// The node of ours that was called. For the context manager's, see
    /// [`become_context_manager`](crate::Device::become_context_manager).
    pub fn node(&self) -> PtrCookie {
        PtrCookie {
            ptr: self.header.target,
            cookie: self.header.cookie,
        }
    }

    /// The caller's process, in this process's pid namespace. None for a one-way message, and for
    /// a caller that is not in this namespace.
    pub fn sender_pid(&self) -> Option<u32> {
        u32::try_from(self.header.sender_pid)
            .ok()
            .filter(|pid| *pid != 0)
    }

    /// The caller's effective user id, in this process's user namespace.
    pub fn sender_euid(&self) -> u32 {
        self.header.sender_euid
    }

    /// Takes the next file descriptor out of the payload: see [`Received::take_fd`].
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.received.take_fd()
    }

    /// Keeps the buffer only.
    pub fn into_received(self) -> Received {
        self.received
    }

    /// The payload as a status, if that is what it is.
    fn status(&self) -> Option<i32> {
        let bytes = self.bytes().first_chunk()?;
        (self.flags() & tf::STATUS_CODE != 0).then(|| i32::from_ne_bytes(*bytes))
    }
}

impl Deref for Message {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
    }
}

/// A call that this thread is serving. The caller waits until it is answered; dropping it
/// unanswered tells the caller so, with the status `-ECANCELED`.
#[derive(Debug)]
pub struct Call<'t> {
    thread: &'t mut Thread,
    /// Taken by the answer.
    message: Option<Message>,
}

impl Call<'_> {
    /// What was received.
    #[allow(clippy::missing_panics_doc)]
    pub fn message(&self) -> &Message {
        // Only functions that consume or drop the call take it away.
        self.message.as_ref().expect("unanswered")
    }

    /// The payload.
    pub fn bytes(&self) -> &[u8] {
        self.message().bytes()
    }

    /// Takes the next file descriptor out of the payload: see [`Received::take_fd`].
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.message.as_mut()?.received.take_fd()
    }

    /// The thread that serves the call: through it further calls can be made. Answers go in the
    /// opposite order of calls, so the thread serves nothing else before this is answered.
    pub fn thread(&mut self) -> &mut Thread {
        self.thread
    }

    /// Answers, and gives the buffer back.
    ///
    /// # Errors
    ///
    /// [`Error::Dead`] if the caller is gone, [`Error::Failed`] if the answer is wrong in itself
    /// (if it does not fit in the caller's area, it is the caller who hears of it).
    pub fn reply(self, payload: &Payload<'_>) -> Result<()> {
        self.answer(payload, 0)
    }

    /// As [`Call::reply`], with a payload that may be made of the call's own bytes.
    pub fn reply_with(
        mut self,
        payload: impl for<'b> FnOnce(&'b [u8]) -> Payload<'b>,
    ) -> Result<()> {
        let Some(mut message) = self.message.take() else {
            return Ok(());
        };
        // As with any answer, the caller finds them closed.
        message.received.close_fds();
        let reply = payload(message.received.bytes());
        let data = reply.transaction(Handle(0), 0, 0);
        let free = Command::FreeBuffer(message.received.address());
        let sent = self.thread.send(&[Command::Reply(data), free], &reply);
        // The driver has read the reply by now, and `free` is written or queued.
        drop(reply);
        let _ = message.received.into_free_command();
        sent.map(drop)
    }

    /// Answers with a status instead of data: the caller gets [`Error::Status`].
    pub fn reply_status(self, status: i32) -> Result<()> {
        self.answer(&Payload::bytes(&status.to_ne_bytes()), tf::STATUS_CODE)
    }

    fn answer(mut self, payload: &Payload<'_>, flags: u32) -> Result<()> {
        self.answer_once(payload, flags)
    }

    fn answer_once(&mut self, payload: &Payload<'_>, flags: u32) -> Result<()> {
        let Some(message) = self.message.take() else {
            return Ok(());
        };
        let reply = Command::Reply(payload.transaction(Handle(0), 0, flags));
        let free = message.received.into_free_command();
        self.thread.send(&[reply, free], payload).map(drop)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let status = -Errno::CANCELED.raw_os_error();
        // If the caller is gone it needs no answer.
        let _ = self.answer_once(&Payload::bytes(&status.to_ne_bytes()), tf::STATUS_CODE);
    }
}

impl Thread {
    pub(crate) fn new(connection: &Connection) -> Result<Self> {
        if !connection.shared().register_current() {
            return Err(Error::ThreadInUse);
        }
        Ok(Self {
            connection: connection.clone(),
            answers: Commands::new(),
            inbox: VecDeque::new(),
            events: VecDeque::new(),
            room: vec![0; READ_BYTES].into(),
            looper: false,
            stays_on_its_thread: PhantomData,
        })
    }

    /// The connection that this thread belongs to.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Tells the driver that this thread serves, of its own accord.
    pub fn enter_looper(&mut self) -> Result<()> {
        self.looper = true;
        self.write(Command::EnterLooper)
    }

    /// Tells the driver that this thread serves because the driver asked for one: see
    /// [`Connection::on_spawn_looper`].
    pub fn register_looper(&mut self) -> Result<()> {
        self.looper = true;
        self.write(Command::RegisterLooper)
    }

    /// Calls the node behind `target` and waits for the answer. Should the other side call back in
    /// the meantime, it is told that nobody answers here: see [`Thread::transact_serving`].
    ///
    /// # Errors
    ///
    /// [`Error::Dead`], [`Error::Failed`], [`Error::Frozen`], [`Error::Status`]. After any of them
    /// nothing is left of the call.
    pub fn transact(
        &mut self,
        target: Handle,
        code: u32,
        payload: &Payload<'_>,
    ) -> Result<Received> {
        self.transact_serving(target, code, payload, |_| ())
    }

    /// As [`Thread::transact`]; calls that the other side makes to this thread meanwhile, because
    /// it needs something in order to answer, go to `serve`.
    pub fn transact_serving(
        &mut self,
        target: Handle,
        code: u32,
        payload: &Payload<'_>,
        mut serve: impl FnMut(Call<'_>),
    ) -> Result<Received> {
        let call = Command::Transaction(payload.transaction(target, code, tf::ACCEPT_FDS));
        self.post(&[call], payload, READ_BYTES)?;
        loop {
            while let Some(item) = self.inbox.pop_front() {
                match item {
                    Item::Sent(_) => {}
                    Item::Reply(reply) => {
                        return match reply.status() {
                            Some(status) => Err(Error::Status(status)),
                            None => Ok(reply.into_received()),
                        };
                    }
                    Item::Failed(failure) => return Err(self.error(failure)),
                    Item::Event(Queued::Message(message)) if !message.is_oneway() => serve(Call {
                        thread: self,
                        message: Some(message),
                    }),
                    Item::Event(event) => self.events.push_back(event),
                }
            }
            self.wait(READ_BYTES)?;
        }
    }

    /// Sends a message to the node behind `target` and does not wait for it to be received.
    ///
    /// # Errors
    ///
    /// [`Error::Dead`]; [`Error::Failed`], with `ENOSPC` when the receiver has not given enough
    /// earlier messages back: one-way messages may fill half of its area.
    pub fn transact_oneway(
        &mut self,
        target: Handle,
        code: u32,
        payload: &Payload<'_>,
    ) -> Result<Sent> {
        let message = Command::Transaction(payload.transaction(target, code, tf::ONE_WAY));
        self.send(&[message], payload)
    }

    /// Waits for the next thing that happens to this participant, or takes the next one that
    /// happened.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EINTR` after a signal, and with `EAGAIN` if the file is non-blocking and
    /// there is nothing.
    pub fn receive(&mut self) -> Result<Event<'_>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(self.hand_out(event));
            }
            match self.inbox.pop_front() {
                Some(Item::Event(event)) => self.events.push_back(event),
                Some(Item::Failed(failure)) => return Err(self.error(failure)),
                // Nobody waits for these any more.
                Some(Item::Sent(_) | Item::Reply(_)) => {}
                None => self.exchange(&[], READ_BYTES).result?,
            }
        }
    }

    /// Serves until `handler` says [`ControlFlow::Break`]. Signals do not end it.
    ///
    /// # Errors
    ///
    /// As [`Thread::receive`], except `EINTR`.
    pub fn serve(&mut self, handler: impl Fn(Event<'_>) -> ControlFlow<()>) -> Result<()> {
        loop {
            match self.receive() {
                Ok(event) => {
                    if handler(event).is_break() {
                        return Ok(());
                    }
                }
                Err(error) if error.errno() == Some(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn hand_out(&mut self, event: Queued) -> Event<'_> {
        match event {
            Queued::Message(message) if message.is_oneway() => Event::Oneway(message),
            Queued::Message(message) => Event::Call(Call {
                thread: self,
                message: Some(message),
            }),
            Queued::Node(event) => Event::Node(event),
            Queued::Dead(cookie) => Event::Dead(cookie),
            Queued::DeathWatchEnded(cookie) => Event::DeathWatchEnded(cookie),
            Queued::Frozen { cookie, is_frozen } => Event::Frozen { cookie, is_frozen },
            Queued::FreezeWatchEnded(cookie) => Event::FreezeWatchEnded(cookie),
        }
    }

    /// Waits until there is something to [`receive`](Thread::receive), for at most `timeout` if
    /// there is one. Answers whether there is.
    ///
    /// A program that waits for other files as well calls this with a `timeout` of zero before it
    /// does: events that were read already do not make the file readable.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with `EINTR` after a signal.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<bool> {
        if !self.events.is_empty() || !self.inbox.is_empty() {
            return Ok(true);
        }
        if !self.answers.is_empty() {
            // The driver may hold the next event back until it has the answer to the last one.
            self.exchange(&[], 0).result?;
        }
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut fds = [PollFd::from_borrowed_fd(
            self.connection.as_fd(),
            PollFlags::IN,
        )];
        match poll(&mut fds, timeout.as_ref()).map_err(Error::os("poll"))? {
            0 => Ok(false),
            _ => Ok(true),
        }
    }

    /// Asks for [`Event::Dead`] with `cookie` when the owner of `handle` dies.
    pub fn watch_death(&mut self, handle: Handle, cookie: u64) -> Result<()> {
        self.write(Command::RequestDeathNotification(HandleCookie {
            handle: handle.0,
            cookie,
        }))
    }

    /// Asks for it no longer. [`Event::DeathWatchEnded`] follows.
    pub fn unwatch_death(&mut self, handle: Handle, cookie: u64) -> Result<()> {
        self.write(Command::ClearDeathNotification(HandleCookie {
            handle: handle.0,
            cookie,
        }))
    }

    /// Asks for [`Event::Frozen`] with `cookie` whenever the owner of `handle` is frozen or thawed,
    /// and once now.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` for an unknown handle, if it is watched already, or if the driver
    /// cannot freeze.
    pub fn watch_freezing(&mut self, handle: Handle, cookie: u64) -> Result<()> {
        self.write(Command::RequestFreezeNotification(HandleCookie {
            handle: handle.0,
            cookie,
        }))
    }

    /// Asks for it no longer. [`Event::FreezeWatchEnded`] follows.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` if it was not watched.
    pub fn unwatch_freezing(&mut self, handle: Handle, cookie: u64) -> Result<()> {
        self.write(Command::ClearFreezeNotification(HandleCookie {
            handle: handle.0,
            cookie,
        }))
    }

    /// Writes a command that has no payload and gets no return.
    fn write(&mut self, command: Command) -> Result<()> {
        self.exchange(&[command], 0).result
    }

    /// Sends `payload` by `commands`, which point to it, and waits until the driver took it.
    fn send(&mut self, commands: &[Command], payload: &Payload<'_>) -> Result<Sent> {
        // With room for one item only, the driver does not give this thread new work now.
        self.post(commands, payload, MIN_READ_BYTES)?;
        loop {
            while let Some(item) = self.inbox.pop_front() {
                match item {
                    Item::Sent(sent) => return Ok(sent),
                    Item::Failed(failure) => return Err(self.error(failure)),
                    Item::Event(event) => self.events.push_back(event),
                    // Nobody waits for a reply: the driver sends none.
                    Item::Reply(_) => {}
                }
            }
            self.wait(MIN_READ_BYTES)?;
        }
    }

    /// Writes `commands`, which point to `_payload`. Afterwards they are consumed or forgotten, so
    /// the payload is needed no longer. An error means that nothing was sent.
    fn post(
        &mut self,
        commands: &[Command],
        _payload: &Payload<'_>,
        read_bytes: usize,
    ) -> Result<()> {
        let exchange = self.exchange(commands, read_bytes);
        if exchange.forgotten {
            // The driver consumes nothing while an earlier failure is unread. It was read now.
            return exchange.result.and(Err(Error::Failed(ErrnoValue(0))));
        }
        match exchange.result {
            // The write was done and the read was not: the outcome is still to come.
            Err(error) if matches!(error.errno(), Some(Errno::INTR | Errno::AGAIN)) => Ok(()),
            other => other,
        }
    }

    /// Reads, in spite of signals and of the file being non-blocking.
    fn wait(&mut self, read_bytes: usize) -> Result<()> {
        match self.exchange(&[], read_bytes).result {
            Err(error) if error.errno() == Some(Errno::INTR) => Ok(()),
            Err(error) if error.errno() == Some(Errno::AGAIN) => match self.poll(None) {
                Err(error) if error.errno() != Some(Errno::INTR) => Err(error),
                _ => Ok(()),
            },
            other => other,
        }
    }

    /// One `BINDER_WRITE_READ`: writes the answers that are due and `commands`, reads up to
    /// `read_bytes`, and files what was read.
    ///
    /// A transaction or reply that the driver did not consume is forgotten. Other commands are
    /// written again with the next exchange, except for one that the driver refused.
    fn exchange(&mut self, commands: &[Command], read_bytes: usize) -> Exchange {
        for command in commands {
            self.answers.push(command);
        }
        // Taken out, because filing what is in it needs all of `self`.
        let mut room = mem::take(&mut self.room);
        // SAFETY: A transaction or reply comes from `post`, whose payload is borrowed until it
        // returns, and is not kept for longer than this function. Buffers are given back by
        // `Received` alone, when no reference to them is left.
        let exchanged = unsafe {
            self.connection
                .device()
                .write_read(&self.answers, &mut room[..read_bytes])
        };
        self.answers.consume(exchanged.consumed_bytes);
        if exchanged.result.is_err_and(|errno| errno != Errno::INTR) {
            self.answers.consume_first();
        }
        let forgotten = self.answers.forget_transactions();
        let result = exchanged
            .result
            .map_err(Error::os("BINDER_WRITE_READ"))
            .and_then(|()| {
                Returns::new(&room[..exchanged.filled_bytes])
                    .try_for_each(|returned| self.file(returned?))
            });
        self.room = room;
        Exchange { result, forgotten }
    }

    /// Answers a return, or puts it where somebody looks for it.
    fn file(&mut self, returned: Return) -> Result<()> {
        let item = match returned {
            Return::Ok | Return::Noop => return Ok(()),
            Return::SpawnLooper => {
                self.connection.spawn_looper();
                return Ok(());
            }
            Return::Error(code) => Item::Failed(Failure::Code(code)),
            Return::DeadReply => Item::Failed(Failure::Dead),
            Return::FailedReply => Item::Failed(Failure::Failed),
            Return::FrozenReply => Item::Failed(Failure::Frozen),
            Return::TransactionComplete => Item::Sent(Sent::Queued),
            Return::OnewaySpamSuspect => Item::Sent(Sent::SpamSuspect),
            Return::TransactionPendingFrozen => Item::Sent(Sent::PendingFrozen),
            Return::Reply(data) => Item::Reply(self.message(data)?),
            Return::Transaction(data) => Item::Event(Queued::Message(self.message(data)?)),
            Return::TransactionSecCtx(data) => {
                Item::Event(Queued::Message(self.message(data.transaction_data)?))
            }
            Return::Increfs(node) => {
                self.answers.push(&Command::IncrefsDone(node));
                Item::Event(Queued::Node(NodeEvent::Increfs(node)))
            }
            Return::Acquire(node) => {
                self.answers.push(&Command::AcquireDone(node));
                Item::Event(Queued::Node(NodeEvent::Acquire(node)))
            }
            Return::Release(node) => Item::Event(Queued::Node(NodeEvent::Release(node))),
            Return::Decrefs(node) => Item::Event(Queued::Node(NodeEvent::Decrefs(node))),
            Return::DeadBinder(cookie) => {
                self.answers.push(&Command::DeadBinderDone(cookie));
                Item::Event(Queued::Dead(cookie))
            }
            Return::ClearDeathNotificationDone(cookie) => {
                Item::Event(Queued::DeathWatchEnded(cookie))
            }
            Return::FrozenBinder(info) => {
                self.answers
                    .push(&Command::FreezeNotificationDone(info.cookie));
                Item::Event(Queued::Frozen {
                    cookie: info.cookie,
                    is_frozen: info.is_frozen != 0,
                })
            }
            Return::ClearFreezeNotificationDone(cookie) => {
                Item::Event(Queued::FreezeWatchEnded(cookie))
            }
        };
        self.inbox.push_back(item);
        Ok(())
    }

    fn message(&self, header: TransactionData) -> Result<Message> {
        // SAFETY: `header` was read from the driver just now, by `exchange`, and comes here once.
        let received = unsafe { Received::new(self.connection.shared(), &header) }?;
        Ok(Message { received, header })
    }

    /// The error for a failure that the driver just reported to this thread.
    fn error(&self, failure: Failure) -> Error {
        let detail = || {
            let param = self.connection.device().extended_error();
            ErrnoValue(param.map_or(0, |error| error.param))
        };
        match failure {
            Failure::Dead => Error::Dead(detail()),
            Failure::Failed => Error::Failed(detail()),
            Failure::Frozen => Error::Frozen,
            Failure::Code(code) => Error::Failed(ErrnoValue(code)),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // Buffers first: the driver should hear of them from a thread that it still knows.
        self.inbox.clear();
        self.events.clear();
        if self.looper || !self.answers.is_empty() {
            let _ = self.exchange(
                if self.looper {
                    &[Command::ExitLooper]
                } else {
                    &[]
                },
                0,
            );
        }
        let _ = self.connection.device().thread_exit();
        self.connection.shared().unregister_current();
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("connection", &self.connection)
            .field("looper", &self.looper)
            .finish_non_exhaustive()
    }
}
