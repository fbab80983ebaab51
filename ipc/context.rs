// SPDX-License-Identifier: GPL-2.0

//! A context: the processes that opened one device, and the node that handle 0 names there.

use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    security,
    sync::{Arc, Mutex, SpinLock},
    task::Kuid,
};

use super::{Area, Journal, Node, Process, Registry};
use crate::shrinker::Lru;

/// One device's context.
#[pin_data]
pub(crate) struct Context {
    /// The context manager's node, while there is one.
    #[pin]
    manager: SpinLock<Option<Arc<Node>>>,
    /// Serialises registrations, and keeps the user that the first manager ran as: only that user
    /// may register again, also after the manager is gone.
    #[pin]
    manager_uid: Mutex<Option<Kuid>>,
    /// All open files, those of other contexts too.
    pub(crate) registry: Arc<Registry>,
    /// What is noted of messages, those of other contexts too.
    pub(crate) journal: Arc<Journal>,
    /// The context's number there.
    pub(crate) number: u32,
    /// Where the idle pages of all areas are listed.
    pub(crate) lru: Arc<Lru<Area>>,
    /// The most of a mapping that is used as receive area, in bytes.
    pub(crate) max_area_bytes: usize,
}

impl Context {
    pub(crate) fn new(
        registry: Arc<Registry>,
        journal: Arc<Journal>,
        number: u32,
        lru: Arc<Lru<Area>>,
        max_area_bytes: usize,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                manager <- new_spinlock!(None, "Context::manager"),
                manager_uid <- new_mutex!(None, "Context::manager_uid"),
                registry,
                journal,
                number,
                lru,
                max_area_bytes,
            }),
            GFP_KERNEL,
        )
    }

    /// The context manager's node.
    pub(super) fn manager(&self) -> Option<Arc<Node>> {
        self.manager.lock().clone()
    }

    /// Makes `process` the context manager, with its node of the given identity.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// In the order in which they are looked for: `EBUSY` (there is a manager), an LSM's error,
    /// `EPERM` (the first manager ran as another user), `ENOMEM`. Nothing has changed then.
    pub(super) fn register_manager(
        &self,
        process: &Arc<Process>,
        ptr: u64,
        cookie: u64,
        flags: u32,
    ) -> Result {
        let euid = Kuid::current_euid();
        let mut uid = self.manager_uid.lock();
        if self.manager.lock().is_some() {
            return Err(EBUSY);
        }
        security::binder_set_context_mgr(&process.cred)?;
        if uid.as_ref().is_some_and(|uid| *uid != euid) {
            return Err(EPERM);
        }
        let node = Node::of_manager(process, ptr, cookie, flags)?;
        *uid = Some(euid);
        *self.manager.lock() = Some(node);
        Ok(())
    }

    /// Takes back what [`Context::register_manager`] did, if `process` is the manager.
    pub(super) fn unregister_manager(&self, process: &Process) {
        let mut manager = self.manager.lock();
        let node = manager.take_if(|node| core::ptr::eq(&*node.owner, process));
        drop(manager);
        drop(node);
    }
}
