// SPDX-License-Identifier: GPL-2.0

//! A device with its receive area, shared by the threads of a process.

use std::{
    collections::HashSet,
    fmt,
    ops::{ControlFlow, Range},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, ThreadId},
};

use crate::{
    area::Area,
    device::Device,
    error::Result,
    payload::Handle,
    thread::{Event, Thread},
};

type SpawnHook = Box<dyn Fn(&Connection) + Send + Sync>;

/// A participant that can receive: a device and its area. Clones are the same participant; the last
/// one to go closes it, together with the [`Thread`]s, [`Received`](crate::Received) buffers and
/// [`Reference`]s that were had from it.
///
/// The driver tells a process's threads apart, so each one that sends or serves does it through a
/// [`Thread`] of its own.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

/// What lives until the last user of the participant is gone.
pub(crate) struct Shared {
    device: Device,
    area: Area,
    threads: Mutex<HashSet<ThreadId>>,
    on_spawn_looper: OnceLock<SpawnHook>,
}

impl Shared {
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn area(&self) -> &Area {
        &self.area
    }

    fn threads(&self) -> MutexGuard<'_, HashSet<ThreadId>> {
        // Insertion and removal leave nothing half-done.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the calling thread was not registered before.
    pub(crate) fn register_current(&self) -> bool {
        self.threads().insert(thread::current().id())
    }

    pub(crate) fn unregister_current(&self) {
        self.threads().remove(&thread::current().id());
    }
}

impl Connection {
    pub(crate) fn new(device: Device, len_bytes: usize) -> Result<Self> {
        let area = Area::map(device.as_fd(), len_bytes)?;
        Ok(Self {
            shared: Arc::new(Shared {
                device,
                area,
                threads: Mutex::default(),
                on_spawn_looper: OnceLock::new(),
            }),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The device, for all that is not done by one thread.
    pub fn device(&self) -> &Device {
        &self.shared.device
    }

    /// The addresses of the receive area, whole pages. The driver may use the beginning of it only:
    /// see [`Device::map`].
    pub fn area(&self) -> Range<u64> {
        self.shared.area.addresses()
    }

    /// Registers the calling thread, so that it can send and serve.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadInUse`](crate::Error::ThreadInUse) while it has a [`Thread`] of this
    /// connection already.
    pub fn thread(&self) -> Result<Thread> {
        Thread::new(self)
    }

    /// Has `hook` called whenever the driver finds that nobody is free to serve, at most as often
    /// as [`Device::set_max_threads`] says. It starts a thread that calls
    /// [`Thread::register_looper`]. It runs on whichever thread hears of it, in the middle of
    /// something else: it should do no more than that.
    ///
    /// Only the first hook counts. [`Connection::serve`] sets its own.
    pub fn on_spawn_looper(&self, hook: impl Fn(&Self) + Send + Sync + 'static) {
        let _ = self.shared.on_spawn_looper.set(Box::new(hook));
    }

    pub(crate) fn spawn_looper(&self) {
        if let Some(hook) = self.shared.on_spawn_looper.get() {
            hook(self);
        }
    }

    /// Serves with the calling thread and with up to `max_threads` more, which are started when the
    /// driver asks for them. `handler` gets every event; a thread for which it answers
    /// [`ControlFlow::Break`] serves no longer, and `serve` returns when that is the calling one.
    ///
    /// # Errors
    ///
    /// Those of [`Thread::receive`] on the calling thread. Other threads end silently.
    pub fn serve<H>(&self, max_threads: u32, handler: H) -> Result<()>
    where
        H: Fn(Event<'_>) -> ControlFlow<()> + Send + Sync + 'static,
    {
        let handler = Arc::new(handler);
        let spawned_handler = handler.clone();
        self.on_spawn_looper(move |connection| {
            let connection = connection.clone();
            let handler = spawned_handler.clone();
            // If there is no thread to be had, those that exist serve on.
            let _ = thread::Builder::new().spawn(move || -> Result<()> {
                let mut thread = connection.thread()?;
                thread.register_looper()?;
                thread.serve(&*handler)
            });
        });
        self.device().set_max_threads(max_threads)?;
        let mut thread = self.thread()?;
        thread.enter_looper()?;
        thread.serve(&*handler)
    }

    /// Takes a strong reference to the node behind `handle`, so that the handle outlives the buffer
    /// that brought it. Call this while that buffer is still held.
    pub fn acquire(&self, handle: Handle) -> Result<Reference> {
        self.device().write_acquire(handle)?;
        Ok(Reference {
            connection: self.clone(),
            handle,
        })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device().as_fd()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("device", self.device())
            .field("area", &format_args!("{:#x?}", self.area()))
            .finish_non_exhaustive()
    }
}

/// A strong reference to another participant's node. Dropping it releases it.
#[derive(Debug)]
pub struct Reference {
    connection: Connection,
    handle: Handle,
}

impl Reference {
    /// The handle, valid for as long as this reference at least.
    pub fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // If it fails, the driver releases it when the participant is closed.
        let _ = self.connection.device().write_release(self.handle);
    }
}
