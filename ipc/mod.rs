// SPDX-License-Identifier: GPL-2.0

//! The protocol: contexts, processes, threads, nodes, handles and the messages between them.
//!
//! Duty: everything that Binder's ABI says about who may call whom, who runs a call, in which order
//! things are returned and what is told to whom when somebody dies. Payload bytes are `vma`'s, the
//! bytes of commands and returns are `uapi`'s, the VFS is `device`'s.
//!
//! # Who owns what
//!
//! An open file is a [`Process`]. It owns its [`Thread`]s, its [`Node`]s (the objects it offers), its
//! table of handles (references to other processes' nodes), its queues and its receive area. A
//! [`Transaction`] is a message under way; it always belongs to the process it is addressed to, and
//! owns the buffer until the message is delivered. From then on the buffer belongs to the receiver's
//! area, until userspace frees it.
//!
//! # Lock order
//!
//! `Context::manager_uid`, then `Context::manager` or `Process::inner`; `Process::handles`, then
//! `Process::inner`. Two locks of one class are never held together. `Registry::processes`, a mutex,
//! is held with none of these.
//!
//! `Process::inner` guards the process's threads, nodes, queues and call stacks, all of them. Nothing
//! in `vma` is called with one of these locks held, and no [`Transaction`], [`Node`] or [`Thread`]
//! reference is dropped under one: functions that run under a lock hand such references out to their
//! caller instead. See Documentation/locking.rst.

mod context;
mod copy;
mod counts;
mod death;
mod dump;
mod freeze;
mod gather;
mod handle;
mod journal;
mod lazy;
mod node;
mod object;
mod process;
mod read;
mod registry;
mod stats;
mod task;
mod thread;
mod transaction;
mod work;
mod write;

pub(crate) use context::Context;
pub(crate) use dump::Dump;
pub(crate) use journal::{FailedLog, Journal, SentLog};
pub(crate) use process::Process;
pub(crate) use registry::Registry;
pub(crate) use task::{wait_for_ioctls, OwnFile};

use node::{Hold, Node};
use object::Objects;
use thread::Thread;
use transaction::Transaction;

use kernel::prelude::*;

use crate::vma;

/// What a delivered buffer carries until userspace frees it.
pub(crate) struct Payload {
    /// The hold on the node that the message was sent to. None in a reply.
    hold: Option<Hold>,
    /// What the message refers to.
    objects: Option<KBox<Objects>>,
}

// What a receive area's memory for buffers is allocated by: one more byte would take up twice that.
kernel::static_assert!(size_of::<crate::alloc::ranges::Chunk<Payload>>() == 2048);

/// A receive area whose buffers carry a [`Payload`].
pub(crate) type Area = vma::Area<Payload>;

/// A buffer in an [`Area`].
type Buffer = vma::Buffer<Payload>;
