// SPDX-License-Identifier: GPL-2.0

//! What is counted: commands and returns of each thread, and objects that exist.
//!
//! A thread counts its own, and nobody else writes there: no lock, and no line shared with other
//! CPUs. What a thread has counted goes to its process when it ends, and from there to the module.
//! Objects are counted when they come and go, which allocates anyway.

// The kernel crate's atomics are calls into C. These are plain loads and stores, and order nothing.
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    uapi::{br, Delivery, Returns},
    watch::trace,
};

/// Commands and returns are told apart by their numbers, the lowest 8 bits of their codes. As many
/// as there are places for are counted.
const NUMBERS: usize = 24;

/// How often each command was carried out, and each return given.
pub(super) struct Counts {
    commands: [AtomicU64; NUMBERS],
    returns: [AtomicU64; NUMBERS],
}

/// Adds to a counter that nobody else writes to.
fn add(counters: &[AtomicU64; NUMBERS], code: u32, count: u64) {
    // CAST: masked to 8 bits.
    if let Some(counter) = counters.get((code & 0xff) as usize) {
        counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
    }
}

impl Counts {
    pub(super) const fn new() -> Self {
        Counts {
            commands: [const { AtomicU64::new(0) }; NUMBERS],
            returns: [const { AtomicU64::new(0) }; NUMBERS],
        }
    }

    /// The thread whose counts these are carries out a command.
    pub(super) fn command(&self, code: u32) {
        add(&self.commands, code, 1);
        trace::Command::trace(|| trace::Command { code });
    }

    /// Something is returned to the thread whose counts these are.
    pub(super) fn returned(&self, code: u32) {
        add(&self.returns, code, 1);
        trace::Return::trace(|| trace::Return { code });
    }
}

/// Returns on their way to a thread: counted as they are gathered.
pub(super) struct Output<'a> {
    pub(super) bytes: Returns,
    pub(super) counts: &'a Counts,
}

impl<'a> Output<'a> {
    pub(super) fn new(counts: &'a Counts) -> Self {
        Output {
            bytes: Returns::new(),
            counts,
        }
    }

    /// See [`Returns::push_code`].
    pub(super) fn push_code(&mut self, code: u32) {
        self.counts.returned(code);
        self.bytes.push_code(code);
    }

    /// See [`Returns::push_node`].
    pub(super) fn push_node(&mut self, code: u32, ptr: u64, cookie: u64) {
        self.counts.returned(code);
        self.bytes.push_node(code, ptr, cookie);
    }

    /// See [`Returns::push_cookie`].
    pub(super) fn push_cookie(&mut self, code: u32, cookie: u64) {
        self.counts.returned(code);
        self.bytes.push_cookie(code, cookie);
    }

    /// See [`Returns::push_frozen`].
    pub(super) fn push_frozen(&mut self, cookie: u64, is_frozen: bool) {
        self.counts.returned(br::FROZEN_BINDER);
        self.bytes.push_frozen(cookie, is_frozen);
    }

    /// See [`Returns::push_delivery`].
    pub(super) fn push_delivery(&mut self, code: u32, delivery: &Delivery) {
        self.counts.returned(code);
        self.bytes.push_delivery(code, delivery);
    }
}
