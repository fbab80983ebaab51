// SPDX-License-Identifier: GPL-2.0

//! Processes: open files of the device.

use core::num::NonZero;

use kernel::{
    alloc::AllocError,
    cred::Credential,
    fs::File,
    mm::Mm,
    new_condvar, new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::{
        aref::ARef, atomic::Relaxed, poll::PollTable, Arc, ArcBorrow, CondVar, SpinLock,
        SpinLockGuard,
    },
    task::Pid,
    uaccess::{UserPtr, UserSlice},
};

use super::{
    death::Death,
    freeze::{self, Freeze, Frozen},
    handle::{self, Room, Table},
    node::{Hold, Nodes, Settled},
    object::Objects,
    registry,
    stats::{ProcessCount, ProcessCounts},
    task::{self, OwnFile, ThreadGroup},
    thread::{ExtendedError, Thread},
    transaction::{self, Blank, Spare},
    work::{Queues, Work},
    Area, Context, Node,
};
use crate::{
    alloc::queue::{self, Queue, Ticket},
    uapi::{self, br, ioctl, FlatObject, Strength, WriteRead},
    vma::uaccess,
    watch::trace,
};

/// Blank message records that a process keeps, so that a warm call allocates none.
const MAX_BLANKS: usize = 8;

/// The blank records of a process.
#[derive(Default)]
pub(super) struct Blanks([Option<Blank>; MAX_BLANKS]);

impl Blanks {
    pub(super) fn pop(&mut self) -> Option<Blank> {
        self.0.iter_mut().find_map(Option::take)
    }

    /// Keeps a record, or gives it back.
    fn push(&mut self, blank: Blank) -> Option<Blank> {
        match self.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => place.replace(blank),
            None => Some(blank),
        }
    }
}

/// How many waiting threads in the queue are counted at the most, as it is done with the process
/// locked.
const MAX_COUNTED: usize = 1000;

/// The state of a thread pool.
pub(super) struct Pool {
    pub(super) max: u32,
    pub(super) requested: u32,
    pub(super) started: u32,
    /// Threads that wait for work of the process, as far as they are counted.
    pub(super) ready: usize,
}

/// Queues of a process's own.
pub(super) const QUEUES: usize = 3;

/// Who is to be woken once nothing is locked.
#[must_use = "somebody has to be woken"]
#[derive(Default)]
pub(super) enum Wake {
    #[default]
    Nobody,
    /// A thread that was given work.
    Thread { thread: Arc<Thread>, sync: bool },
}

impl Wake {
    pub(super) fn notify(self) {
        if let Wake::Thread { thread, sync } = self {
            thread.notify(sync);
        }
    }
}

/// What the `inner` lock of a process guards.
pub(super) struct Inner {
    /// The file is closed, or being closed: nothing is queued any more.
    pub(super) is_dead: bool,
    /// The receive area has been unmapped: no message is queued any more.
    pub(super) is_unmapped: bool,
    pub(super) threads: RBTree<Pid, Arc<Thread>>,
    /// How many there are.
    pub(super) thread_count: usize,
    /// How many of them have been polled.
    pub(super) polled_threads: usize,
    /// The objects that the process offers.
    pub(super) nodes: Nodes,
    /// Memory for them comes with the first thread.
    pub(super) queues: Queues,
    /// Work that any available thread may take.
    pub(super) todo: Queue,
    /// Deaths and freezes that were told of and not acknowledged yet.
    pub(super) delivered: Queue,
    /// The thread that waits for such work and was the last to begin.
    pub(super) last_waiting: Option<Arc<Thread>>,
    /// The others, the latest first.
    pub(super) waiting: Queue,
    pub(super) blanks: Blanks,
    /// What was referred to by a message that is done with: nothing any more.
    pub(super) spare_objects: Option<KBox<Objects>>,
    /// Messages to the process that are not done with: calls until they are answered, others until
    /// they are delivered.
    pub(super) outstanding: usize,
    pub(super) frozen: Frozen,
    /// Who is to be told when that changes.
    pub(super) freeze_listeners: RBTree<freeze::Key, Arc<Freeze>>,
    /// The process wants to be told if it sends too many one-way messages.
    pub(super) detects_spam: bool,
    /// Number of the latest message sent.
    last_message: u32,
    /// Number of the latest node made.
    last_node: u32,
    /// How many threads may be asked for with `BR_SPAWN_LOOPER`.
    max_threads: u32,
    /// Threads asked for that have not registered yet (0 or 1).
    pub(super) requested_threads: u32,
    /// Threads that registered. Never decreases.
    pub(super) started_threads: u32,
}

impl Inner {
    /// What a file that has just been opened has.
    fn new() -> impl Init<Self> {
        init!(Self {
            is_dead: false,
            is_unmapped: false,
            threads: RBTree::new(),
            thread_count: 0,
            polled_threads: 0,
            nodes: Nodes::new(),
            queues: Queues::new(),
            todo: Queue::NOWHERE,
            delivered: Queue::NOWHERE,
            last_waiting: None,
            waiting: Queue::NOWHERE,
            blanks: Blanks::default(),
            spare_objects: None,
            outstanding: 0,
            frozen: Frozen::default(),
            freeze_listeners: RBTree::new(),
            detects_spam: false,
            last_message: 0,
            last_node: 0,
            max_threads: 0,
            requested_threads: 0,
            started_threads: 0,
        })
    }

    /// Why no message is queued here any more, if so.
    pub(super) fn gone(&self) -> Option<transaction::Failure> {
        if self.is_dead {
            Some(transaction::Failure::died())
        } else if self.is_unmapped {
            Some(transaction::Failure::unmapped())
        } else {
            None
        }
    }

    /// Makes the process's own queues, unless it has them. To be called with [`QUEUES`] free places.
    ///
    /// `ENOMEM`.
    pub(super) fn make_queues(&mut self) -> Result {
        for queue in [&mut self.todo, &mut self.delivered, &mut self.waiting] {
            if *queue == Queue::NOWHERE {
                *queue = self.queues.new_queue().ok_or(ENOMEM)?;
            }
        }
        Ok(())
    }

    /// Takes the thread that has waited least.
    pub(super) fn pop_waiting(&mut self) -> Option<Arc<Thread>> {
        if let Some(thread) = self.last_waiting.take() {
            return Some(thread);
        }
        match self.queues.pop_front(self.waiting)? {
            Work::Waiting(thread) => {
                thread.was_taken_off(self);
                Some(thread)
            }
            // Nothing else is ever put there.
            _ => None,
        }
    }

    /// There is work in `todo`: finds a thread for it.
    pub(super) fn wake_for_todo(&mut self, sync: bool) -> Wake {
        if let Some(thread) = self.pop_waiting() {
            return Wake::Thread { thread, sync };
        }
        if self.polled_threads > 0 {
            for thread in self.threads.values() {
                if thread.is_polled() && thread.is_available(self) {
                    thread.notify(sync);
                }
            }
        }
        Wake::Nobody
    }

    /// If there is work in `todo` still, finds a thread for it.
    pub(super) fn wake_for_rest(&mut self) -> Wake {
        if self.queues.is_empty(self.todo) {
            Wake::Nobody
        } else {
            self.wake_for_todo(false)
        }
    }

    /// Puts work that has just been taken off a queue at the end of `todo`.
    pub(super) fn give_to_anyone(&mut self, work: Work) -> Wake {
        let node = match &work {
            Work::Node(node) => Some(node.clone()),
            _ => None,
        };
        let death = match &work {
            Work::Death(death) => Some(death.clone()),
            _ => None,
        };
        // Cannot fail: there is the place that the work was taken from.
        let Ok(position) = self.queues.push_back(self.todo, work) else {
            return Wake::Nobody;
        };
        // These are not the last references: there is the one just queued.
        if let Some(node) = node {
            node.was_moved(self, position);
        }
        if let Some(death) = death {
            death.was_moved(self, position);
        }
        // (A freeze notification is only ever queued here, so it never comes from elsewhere.)
        self.wake_for_todo(false)
    }

    /// Whether there are calls under way, to the process or from it, or other messages to it.
    pub(super) fn has_calls(&self) -> bool {
        self.outstanding > 0 || self.threads.values().any(|thread| thread.has_stack(self))
    }

    /// Keeps a blank record of this process's, or gives it back.
    pub(super) fn keep_blank(&mut self, blank: Blank) -> Option<Blank> {
        if self.is_dead {
            Some(blank)
        } else {
            self.blanks.push(blank)
        }
    }

    /// Numbers a message. The number is what `BINDER_GET_EXTENDED_ERROR` calls its id.
    pub(super) fn next_message(&mut self) -> u32 {
        self.last_message = self.last_message.wrapping_add(1);
        self.last_message
    }

    /// How many messages were sent, as far as the number goes.
    pub(super) fn messages(&self) -> u32 {
        self.last_message
    }

    /// The state of the thread pool.
    pub(super) fn pool(&self) -> Pool {
        Pool {
            max: self.max_threads,
            requested: self.requested_threads,
            started: self.started_threads,
            ready: usize::from(self.last_waiting.is_some())
                + self.queues.iter(self.waiting).take(MAX_COUNTED).count(),
        }
    }

    /// Numbers a node.
    pub(super) fn next_node(&mut self) -> NonZero<u32> {
        let number = NonZero::<u32>::MIN.saturating_add(self.last_node);
        self.last_node = self.last_node.wrapping_add(1);
        number
    }

    /// Whether userspace is to be asked for another thread. If so, it is counted as asked for.
    pub(super) fn request_thread(&mut self) -> bool {
        let wanted = self.requested_threads == 0
            && self.last_waiting.is_none()
            && self.queues.is_empty(self.waiting)
            && self.started_threads < self.max_threads;
        if wanted {
            self.requested_threads += 1;
        }
        wanted
    }

    /// Userspace could not be asked for the thread that was counted.
    pub(super) fn forget_request(&mut self) {
        // One may have registered meanwhile, unasked.
        self.requested_threads = self.requested_threads.saturating_sub(1);
    }
}

/// An open file.
#[pin_data]
pub(crate) struct Process {
    pub(super) context: Arc<Context>,
    _count: ProcessCount,
    pub(super) counts: ProcessCounts,
    pub(super) key: registry::Key,
    /// The opener's thread group.
    pub(super) group: ThreadGroup,
    /// Its number in the initial pid namespace.
    pub(super) tgid: Pid,
    /// The credentials that the file was opened with: what LSMs are asked about.
    pub(super) cred: ARef<Credential>,
    /// Nice value that threads have while they wait for work of the process.
    pub(super) default_nice: i32,
    pub(super) area: Arc<Area>,
    #[pin]
    pub(super) handles: SpinLock<Table>,
    #[pin]
    pub(super) inner: SpinLock<Inner>,
    /// For who freezes the process: there is nothing outstanding any more, or no need to wait.
    #[pin]
    pub(super) drained: CondVar,
}

impl Process {
    /// Opens a file in `context` for the current task.
    ///
    /// May sleep. `EINVAL` for a task without an address space, `ENOMEM`.
    pub(crate) fn open(context: Arc<Context>, file: &File) -> Result<Arc<Self>> {
        let current = kernel::current!();
        let mm: &Mm = current.mm().ok_or(EINVAL)?;
        let tgid = current.tgid();
        let group = ThreadGroup::current()?;
        let area = Area::new(context.lru.clone(), mm.into(), tgid, context.max_area_bytes)?;
        let process = Arc::pin_init(
            pin_init!(Self {
                _count: ProcessCount::new(),
                counts: ProcessCounts::new(),
                key: context.registry.new_key(tgid),
                context,
                group,
                tgid,
                cred: file.cred().into(),
                default_nice: task::nice(),
                area,
                handles <- new_spinlock!(Table::new(*tgid), "Process::handles"),
                inner <- new_spinlock!(Inner::new(), "Process::inner"),
                drained <- new_condvar!("Process::drained"),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        process.context.registry.insert(&process)?;
        Ok(process)
    }

    /// The receive area.
    pub(crate) fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// Whether the current task is of the process that opened the file.
    pub(crate) fn is_current(&self) -> bool {
        kernel::current!().tgid() == self.tgid
    }

    /// Locks `inner` with at least `count` free places in the queues.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn lock_with_entries(
        &self,
        count: usize,
    ) -> Result<SpinLockGuard<'_, Inner>, AllocError> {
        loop {
            let inner = self.inner.lock();
            if !inner.queues.needs_memory(count) {
                return Ok(inner);
            }
            drop(inner);
            let chunk = queue::new_chunk(GFP_KERNEL_ACCOUNT)?;
            let provided = self.inner.lock().queues.provide(chunk);
            provided.map_err(|_| AllocError)?;
        }
    }

    /// Locks `inner`, and finds the node with the lowest address from `from` on.
    pub(super) fn lock_with_node(
        &self,
        from: u64,
    ) -> Option<(SpinLockGuard<'_, Inner>, Arc<Node>)> {
        let inner = self.inner.lock();
        let node = inner.nodes.find_from(from).cloned()?;
        Some((inner, node))
    }

    /// Locks `inner`, with a place set aside in the queues, and at least `others` free places.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn lock_with_ticket(
        &self,
        others: usize,
    ) -> Result<(SpinLockGuard<'_, Inner>, Ticket), AllocError> {
        let mut inner = self.lock_with_entries(1 + others)?;
        let ticket = inner.queues.reserve().ok_or(AllocError)?;
        Ok((inner, ticket))
    }

    /// The record of the current thread, made now if there is none.
    ///
    /// May sleep. `ENOMEM`.
    fn thread(this: ArcBorrow<'_, Self>) -> Result<Arc<Thread>> {
        let id = kernel::current!().pid();
        if let Some(thread) = this.inner.lock().threads.get(&id) {
            return Ok(thread.clone());
        }
        let room = RBTreeNodeReservation::new(GFP_KERNEL_ACCOUNT)?;
        let thread = Thread::create(this.into(), id)?;
        let tree_node = room.into_node(id, thread.clone());
        // No other task has this id, so nothing is replaced.
        let mut inner = this.inner.lock();
        let replaced = inner.threads.insert(tree_node);
        inner.thread_count += 1;
        drop(inner);
        drop(replaced);
        Ok(thread)
    }

    /// Finds the node that a call to `handle` goes to, and holds it.
    ///
    /// # Errors
    ///
    /// The code and errno to return to the caller.
    pub(super) fn target(&self, handle: u32) -> Result<(Hold, Spare), transaction::Failure> {
        use transaction::Failure;

        let target = if handle == handle::MANAGER {
            let node = self.context.manager().ok_or(Failure::dead(EINVAL))?;
            if node.owner.tgid == self.tgid {
                return Err(Failure::failed(EINVAL));
            }
            Hold::new(node)
        } else {
            let table = self.handles.lock();
            let node = table
                .get(handle, Strength::Strong)
                .ok_or(Failure::failed(EINVAL))?;
            Hold::new(node.clone())
        };
        let (hold, spare) = target.ok_or(Failure::dead(EINVAL))?;
        if core::ptr::eq(&*hold.node.owner, self) {
            return Err(Failure::failed(EINVAL));
        }
        Ok((hold, spare))
    }

    /// `BC_FREE_BUFFER`. What is not the address of a delivered buffer changes nothing.
    ///
    /// Returns what the message referred to. May sleep.
    pub(super) fn free_buffer(&self, address: u64) -> Option<KBox<Objects>> {
        let freed = self.area.take(address)?;
        trace::BufferFree::trace(|| trace::BufferFree {
            tgid: self.tgid,
            offset: self.area.offset_of(address),
        });
        // The node's next one-way message need not wait for what closing a file may wait for.
        drop(freed.hold);
        freed.objects
    }

    /// `BC_INCREFS` and `BC_ACQUIRE`.
    ///
    /// What names no handle changes nothing. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the context manager asks for a handle to its own node, `ENOMEM`.
    pub(super) fn increment_handle(&self, number: u32, strength: Strength) -> Result {
        let manager = self.context.manager();
        if let (handle::MANAGER, Some(manager)) = (number, &manager) {
            if core::ptr::eq(&*manager.owner, self) {
                return Err(EINVAL);
            }
            return self.refer_to(manager, strength, None).map(drop);
        }
        let mut table = self.handles.lock();
        // A handle that is not there, or is weak where a strong one is needed, is the caller's
        // mistake and nothing else.
        if table.get(number, strength).is_some() {
            let _ = table.increment(number, strength, false, None);
        }
        Ok(())
    }

    /// Counts one more reference to `node`, under a new handle if the process has none yet.
    ///
    /// `sender` is as in [`Node::add_strong_handle`]. Returns the handle.
    ///
    /// May sleep. `ENOMEM`, or `EINVAL` as there.
    pub(super) fn refer_to(
        &self,
        node: &Arc<Node>,
        strength: Strength,
        sender: Option<&Thread>,
    ) -> Result<u32> {
        let manager = self.context.manager();
        let is_manager = manager.is_some_and(|manager| Arc::ptr_eq(&manager, node));
        loop {
            let mut table = self.handles.lock();
            let counted = table.refer_to(node, is_manager, strength, sender);
            drop(table);
            if let Some(result) = counted {
                return result;
            }
            let room = Room::new()?;
            let provided = self.handles.lock().provide(room);
            provided.map_err(|_| ENOMEM)?;
        }
    }

    /// `BC_RELEASE` and `BC_DECREFS`. What names no handle, or a count of 0, changes nothing.
    pub(super) fn decrement_handle(&self, number: u32, strength: Strength) {
        let removed = self.handles.lock().decrement(number, strength);
        if let Ok(removed) = removed {
            removed.finish();
        }
    }

    /// `BC_REQUEST_DEATH_NOTIFICATION`. For a handle that is not there, or has a notification
    /// already, nothing happens.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn request_death(self: &Arc<Self>, number: u32, cookie: u64) -> Result {
        let (death, room) = Death::new(self, number, cookie)?;
        let mut table = self.handles.lock();
        let Some(node) = table.set_death(number, &death) else {
            drop(table);
            death.abandon();
            return Ok(());
        };
        // With the table locked: who clears the notification finds it with the node.
        let added = node.add_death(room);
        drop(table);
        if let Err(room) = added {
            death.notify();
            drop(room);
        }
        Ok(())
    }

    /// `BC_ACQUIRE_DONE` and `BC_INCREFS_DONE`. What names no node of the process changes nothing.
    pub(super) fn acknowledge(&self, ptr: u64, cookie: u64, strength: Strength) {
        // Locked all the time: nothing else keeps the node in the table, and another one of that
        // address out of it.
        let mut inner = self.inner.lock();
        let Some(node) = inner.nodes.find(ptr).cloned() else {
            return;
        };
        let settled = node.acknowledge(&mut inner, cookie, strength);
        drop(inner);
        settled.into_iter().for_each(Settled::finish);
    }

    /// `poll()`: registers the poller, and says whether the current thread has something to read.
    ///
    /// May sleep. `ENOMEM`.
    pub(crate) fn poll(
        this: ArcBorrow<'_, Self>,
        file: &File,
        table: &PollTable<'_>,
    ) -> Result<bool> {
        let thread = Self::thread(this)?;
        thread.register_poller(file, table)?;
        let inner = this.inner.lock();
        let available = thread.is_available(&inner);
        Ok(thread.has_work(&inner, available))
    }

    /// A descriptor of the file was closed: every read that sleeps returns, and every thread's next
    /// one will.
    pub(crate) fn flush(&self) {
        let inner = self.inner.lock();
        for thread in inner.threads.values() {
            thread.need_return.store(true, Relaxed);
            thread.notify(false);
        }
    }

    /// `ioctl()` by the current thread.
    ///
    /// May sleep. Errors are in Documentation/abi.rst.
    pub(crate) fn ioctl(
        this: ArcBorrow<'_, Self>,
        command: u32,
        argument: usize,
        own: &mut OwnFile<'_>,
    ) -> Result {
        trace::Ioctl::trace(|| trace::Ioctl { command });
        let thread = Self::thread(this)?;
        let process = &thread.process;
        let result = process.ioctl_on(&thread, command, argument, own);
        thread.need_return.store(false, Relaxed);
        trace::IoctlDone::trace(|| trace::IoctlDone {
            result: result.map_or_else(Error::to_errno, |()| 0),
        });
        result
    }

    fn ioctl_on(
        self: &Arc<Self>,
        thread: &Arc<Thread>,
        command: u32,
        argument: usize,
        own: &mut OwnFile<'_>,
    ) -> Result {
        let user = || {
            let pointer = UserPtr::from_addr(argument);
            UserSlice::new(pointer, uapi::ioc_size(command))
        };
        match command {
            ioctl::WRITE_READ => {
                let at = UserPtr::from_addr(argument);
                let mut bytes = [0; WriteRead::SIZE];
                uaccess::read(&mut bytes, at)?;
                let mut request = WriteRead::from_bytes(&bytes);
                let result = thread.write_read(&mut request, own);
                uaccess::write(at, &request.to_bytes())?;
                result
            }
            ioctl::SET_MAX_THREADS => {
                let max_threads = user().reader().read().map_err(|_| EINVAL)?;
                self.inner.lock().max_threads = max_threads;
                Ok(())
            }
            ioctl::SET_CONTEXT_MGR => self.context.register_manager(self, 0, 0, 0),
            ioctl::SET_CONTEXT_MGR_EXT => {
                let mut bytes = [0; FlatObject::SIZE];
                user().reader().read_slice(&mut bytes).map_err(|_| EINVAL)?;
                let object = FlatObject::from_bytes(&bytes);
                self.context
                    .register_manager(self, object.ptr, object.cookie, object.flags)
            }
            ioctl::THREAD_EXIT => {
                thread.release();
                Ok(())
            }
            ioctl::VERSION => user()
                .writer()
                .write(&uapi::PROTOCOL_VERSION)
                .map_err(|_| EINVAL),
            ioctl::FREEZE => {
                let mut bytes = [0; 12];
                user().reader().read_slice(&mut bytes)?;
                let [tgid, enable, timeout_ms] = uapi::u32s_from(&bytes);
                let registry = &self.context.registry;
                freeze::set_frozen(registry, tgid, enable != 0, timeout_ms)
            }
            ioctl::GET_FROZEN_INFO => {
                let (mut reader, mut writer) = user().reader_writer();
                let mut bytes = [0; 12];
                reader.read_slice(&mut bytes)?;
                let [tgid, _, _] = uapi::u32s_from(&bytes);
                let registry = &self.context.registry;
                let [sync, one_way] = freeze::frozen_info(registry, tgid)?;
                uapi::u32s_into(&mut bytes, [tgid, sync, one_way]);
                writer.write_slice(&bytes)
            }
            ioctl::ENABLE_ONEWAY_SPAM_DETECTION => {
                let enable: u32 = user().reader().read()?;
                self.inner.lock().detects_spam = enable != 0;
                Ok(())
            }
            ioctl::GET_NODE_DEBUG_INFO => self.node_debug_info(user()),
            ioctl::GET_NODE_INFO_FOR_REF => self.node_info_for_handle(user()),
            ioctl::GET_EXTENDED_ERROR => {
                let mut inner = self.inner.lock();
                let state = thread.state.access_mut(&mut inner);
                let error = core::mem::replace(&mut state.error, ExtendedError::none(0));
                drop(inner);
                let mut bytes = [0; 12];
                uapi::u32s_into(&mut bytes, [error.id, error.command]);
                if let Some(param) = bytes.last_chunk_mut() {
                    *param = error.param.to_ne_bytes();
                }
                user().writer().write_slice(&bytes)
            }
            ioctl::GET_AREA_INFO => {
                let info = self.area.info();
                let mut bytes = [0; 64];
                uapi::u64s_into(
                    &mut bytes,
                    [
                        if self.area.is_mapped() {
                            info.start as u64
                        } else {
                            0
                        },
                        info.size_bytes as u64,
                        info.pages_in_use as u64,
                        info.pages_idle as u64,
                        info.pages_absent as u64,
                        info.live_buffers as u64,
                        info.oneway_free_bytes as u64,
                        0,
                    ],
                );
                user().writer().write_slice(&bytes)
            }
            _ => Err(EINVAL),
        }
    }

    /// `BINDER_GET_NODE_DEBUG_INFO`: the process's node with the lowest address above the given one.
    fn node_debug_info(&self, user: UserSlice) -> Result {
        let (mut reader, mut writer) = user.reader_writer();
        let mut bytes = [0; 24];
        reader.read_slice(&mut bytes)?;
        let [above, _, _] = uapi::u64s_from(&bytes);
        let mut answer = [0; 3];
        let mut told = [0; 2];
        if let Some(lowest) = above.checked_add(1) {
            let inner = self.inner.lock();
            if let Some(node) = inner.nodes.find_from(lowest) {
                let (strong, weak) = node.told(&inner);
                answer = [node.ptr, node.cookie, 0];
                told = [u32::from(strong), u32::from(weak)];
            }
        }
        uapi::u64s_into(&mut bytes, answer);
        if let Some(tail) = bytes.last_chunk_mut::<8>() {
            uapi::u32s_into(tail, told);
        }
        writer.write_slice(&bytes)
    }

    /// `BINDER_GET_NODE_INFO_FOR_REF`: the counts of the node that a handle names. For the context
    /// manager only.
    fn node_info_for_handle(&self, user: UserSlice) -> Result {
        let (mut reader, mut writer) = user.reader_writer();
        let mut bytes = [0; 24];
        reader.read_slice(&mut bytes)?;
        let [number, zeros @ ..] = uapi::u32s_from::<6>(&bytes);
        if zeros.iter().any(|zero| *zero != 0) {
            return Err(EINVAL);
        }
        match self.context.manager() {
            Some(manager) if core::ptr::eq(&*manager.owner, self) => (),
            _ => return Err(EPERM),
        }
        let node = self.handles.lock().get(number, Strength::Strong).cloned();
        let (strong, weak) = node.ok_or(EINVAL)?.counts();
        uapi::u32s_into(&mut bytes, [number, strong, weak, 0, 0, 0]);
        writer.write_slice(&bytes)
    }

    /// The receive area is unmapped: messages that have not been delivered never will be, and who
    /// waits for an answer gets `BR_DEAD_REPLY`.
    ///
    /// They must not stay. The files that they carry could, directly or through the queues of other
    /// files, keep this file open for ever; but an area that is mapped keeps it open as well, and when
    /// its owner goes, the area is unmapped.
    ///
    /// May sleep.
    pub(crate) fn stop_receiving(&self) {
        self.inner.lock().is_unmapped = true;

        // Before what is in `todo`, where they would go next.
        let mut address = Some(0);
        while let Some(from) = address {
            let Some((mut inner, node)) = self.lock_with_node(from) else {
                break;
            };
            let waiting = node.cancel_one_way(&mut inner);
            drop(inner);
            match waiting {
                Some(Work::Transaction(message)) => transaction::cancel(message, br::DEAD_REPLY),
                _ => address = node.ptr.checked_add(1),
            }
        }
        self.cancel_messages(None);
        let mut id = Some(Pid::MIN);
        while let Some(from) = id {
            let thread = {
                let inner = self.inner.lock();
                let cursor = inner.threads.cursor_lower_bound(&from);
                cursor.map(|cursor| cursor.current().1.clone())
            };
            let Some(thread) = thread else {
                break;
            };
            self.cancel_messages(Some(&thread));
            id = thread.id.checked_add(1);
        }
    }

    /// Throws away the messages among the work of `thread`, or in the process's queue.
    fn cancel_messages(&self, thread: Option<&Thread>) {
        // Where the search goes on, so that nothing is looked at again and again.
        let mut after = None;
        loop {
            let mut inner = self.inner.lock();
            let queue = thread.map_or(inner.todo, |thread| thread.queue(&inner));
            let first = thread.and_then(|thread| thread.take_first_message(&mut inner));
            let message = if let Some(message) = first {
                message
            } else {
                let found = inner
                    .queues
                    .positions_after(queue, after)
                    .map(|(position, work)| (position, matches!(work, Work::Transaction(_))))
                    .inspect(|(position, is_message)| {
                        if !is_message {
                            after = Some(*position);
                        }
                    })
                    .find(|(_, is_message)| *is_message);
                let Some((position, _)) = found else {
                    return;
                };
                let Some(Work::Transaction(message)) = inner.queues.remove(position) else {
                    return;
                };
                message
            };
            let answered = thread.filter(|_| message.is_reply());
            if let Some(thread) = answered {
                thread.set_reply_error(&mut inner, br::DEAD_REPLY);
            }
            drop(inner);
            if let Some(thread) = answered {
                thread.notify(false);
            }
            transaction::cancel(message, br::DEAD_REPLY);
        }
    }

    /// The file is closed for good.
    ///
    /// Everybody who waits for the process is answered `BR_DEAD_REPLY`, all references that it had
    /// are given up, and its receive area is emptied. May sleep.
    pub(crate) fn release(self: &Arc<Self>) {
        self.context.registry.remove(self);
        self.context.unregister_manager(self);

        let mut inner = self.inner.lock();
        inner.is_dead = true;
        inner.frozen.is_frozen = false;
        self.drained.notify_all();
        let blanks = core::mem::take(&mut inner.blanks);
        let objects = inner.spare_objects.take();
        drop(inner);
        drop((blanks, objects));
        // Has been done if there ever was an area: it kept the file until it was unmapped.
        self.stop_receiving();

        loop {
            let thread = self.inner.lock().threads.values().next().cloned();
            match thread {
                Some(thread) => thread.release(),
                None => break,
            }
        }
        self.counts.keep();
        while let Some((mut inner, node)) = self.lock_with_node(0) {
            let removed = node.remove(&mut inner);
            drop(inner);
            drop(removed);
            node.notify_deaths();
        }
        let mut handles = self.handles.lock().take_all();
        let mut from = 0;
        while let Some((next, removed)) = handles.remove_from(from) {
            removed.finish();
            from = next;
        }
        loop {
            let mut inner = self.inner.lock();
            let (todo, delivered) = (inner.todo, inner.delivered);
            let work = inner
                .queues
                .pop_front(todo)
                .or_else(|| inner.queues.pop_front(delivered));
            drop(inner);
            if work.is_none() {
                break;
            }
        }
        loop {
            let mut inner = self.inner.lock();
            let Some(first) = inner.freeze_listeners.cursor_front_mut() else {
                break;
            };
            let (_, listener) = first.remove_current();
            drop(inner);
            drop(listener);
        }
        self.area.drain(drop);
        self.area.forget_owner();

        // Who has a handle to one of its nodes may keep the record for long. That needs little.
        let mut inner = self.inner.lock();
        let queues = core::mem::replace(&mut inner.queues, Queues::new());
        let nodes = core::mem::replace(&mut inner.nodes, Nodes::new());
        drop(inner);
        drop((queues, nodes));
    }
}
