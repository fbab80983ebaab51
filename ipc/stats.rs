// SPDX-License-Identifier: GPL-2.0

//! What is counted: commands and returns of each thread, and objects that exist.
//!
//! A thread counts its own, and nobody else writes there: no lock, and no line shared with other
//! CPUs. What a thread has counted goes to its process when it ends, and from there to the module.
//! Objects are counted when they come and go, which allocates anyway.

// The kernel crate's atomics are calls into C. These are plain loads and stores, and order nothing.
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use kernel::{
    seq_file::SeqFile,
    seq_print,
    sync::{self, atomic::Atomic},
};

use super::{Process, Registry};
use crate::{
    uapi::{br, Delivery, Returns},
    watch::trace,
};

/// Commands are told apart by their numbers, the lowest 8 bits of their codes. As many as there are
/// places for are counted.
const COMMAND_NUMBERS: usize = 22;

/// The same of returns.
const RETURN_NUMBERS: usize = 23;

/// How often each command was carried out, and each return given. Comes round after 2^32.
pub(super) struct Counts {
    commands: [AtomicU32; COMMAND_NUMBERS],
    returns: [AtomicU32; RETURN_NUMBERS],
}

/// Adds to a counter that nobody else writes to.
fn add(counters: &[AtomicU32], code: u32, count: u32) {
    // CAST: masked to 8 bits.
    if let Some(counter) = counters.get((code & 0xff) as usize) {
        counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
    }
}

impl Counts {
    pub(super) const fn new() -> Self {
        Counts {
            commands: [const { AtomicU32::new(0) }; COMMAND_NUMBERS],
            returns: [const { AtomicU32::new(0) }; RETURN_NUMBERS],
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

impl Counts {
    /// Adds what others have counted who do not any more. Called with the process locked.
    pub(super) fn add(&self, past: &Counts) {
        for (code, counter) in (0..).zip(&past.commands) {
            add(&self.commands, code, counter.load(Relaxed));
        }
        for (code, counter) in (0..).zip(&past.returns) {
            add(&self.returns, code, counter.load(Relaxed));
        }
    }
}

/// What processes that are gone have counted.
static PAST: SharedCounts = SharedCounts {
    commands: [const { Atomic::new(0) }; COMMAND_NUMBERS],
    returns: [const { Atomic::new(0) }; RETURN_NUMBERS],
};

struct SharedCounts {
    commands: [Atomic<u64>; COMMAND_NUMBERS],
    returns: [Atomic<u64>; RETURN_NUMBERS],
}

/// A process is gone, whose threads have counted this.
pub(super) fn keep(past: &Counts) {
    for (shared, counter) in PAST.commands.iter().zip(&past.commands) {
        shared.add(counter.load(Relaxed).into(), sync::atomic::Relaxed);
    }
    for (shared, counter) in PAST.returns.iter().zip(&past.returns) {
        shared.add(counter.load(Relaxed).into(), sync::atomic::Relaxed);
    }
}

/// Sums of counts.
pub(super) struct Totals {
    commands: [u64; COMMAND_NUMBERS],
    returns: [u64; RETURN_NUMBERS],
}

impl Totals {
    /// Of all processes, those that are gone included. May sleep.
    pub(super) fn of_module(registry: &Registry) -> Self {
        let mut totals = Totals {
            commands: PAST
                .commands
                .each_ref()
                .map(|count| count.load(sync::atomic::Relaxed)),
            returns: PAST
                .returns
                .each_ref()
                .map(|count| count.load(sync::atomic::Relaxed)),
        };
        let mut next = registry.first();
        while let Some(process) = next {
            totals.add_process(&process);
            next = registry.after(process.key);
        }
        totals
    }

    /// Of a process, its threads that are gone included.
    pub(super) fn of_process(process: &Process) -> Self {
        let mut totals = Totals {
            commands: [0; COMMAND_NUMBERS],
            returns: [0; RETURN_NUMBERS],
        };
        totals.add_process(process);
        totals
    }

    fn add_process(&mut self, process: &Process) {
        let past = process.inner.lock().past_counts.clone();
        if let Some(past) = past {
            self.add(&past);
        }
        let mut from = Some(0);
        while let Some(thread) = from.and_then(|from| process.thread_from(from)) {
            self.add(&thread.counts);
            from = thread.id.checked_add(1);
        }
    }

    fn add(&mut self, counts: &Counts) {
        for (total, counter) in self.commands.iter_mut().zip(&counts.commands) {
            *total = total.wrapping_add(counter.load(Relaxed).into());
        }
        for (total, counter) in self.returns.iter_mut().zip(&counts.returns) {
            *total = total.wrapping_add(counter.load(Relaxed).into());
        }
    }

    /// Prints those that are not 0, one a line.
    pub(super) fn print(&self, out: &SeqFile, indent: &'static str) {
        let commands = COMMANDS.iter().zip(&self.commands);
        let returns = RETURNS.iter().zip(&self.returns);
        for (name, total) in Iterator::chain(commands, returns) {
            if *total != 0 {
                seq_print!(out, "{}{}: {}\n", indent, *name, *total);
            }
        }
    }
}

/// Objects of a kind, those that there are and all that there have been.
pub(super) struct Objects {
    name: &'static str,
    alive: Atomic<u64>,
    made: Atomic<u64>,
}

macro_rules! objects {
    ($($(#[$attribute:meta])* $kind:ident: $name:literal,)*) => {
        $(
            $(#[$attribute])*
            pub(super) struct $kind(());

            impl $kind {
                pub(super) fn new() -> Self {
                    static_of::$kind.come();
                    $kind(())
                }
            }

            impl Drop for $kind {
                fn drop(&mut self) {
                    static_of::$kind.go();
                }
            }
        )*

        #[allow(non_upper_case_globals)]
        mod static_of {
            use super::Objects;

            $(pub(super) static $kind: Objects = Objects::new($name);)*
            pub(super) static ALL: &[&Objects] = &[$(&$kind),*];
        }
    };
}

objects! {
    /// Counts the process that it is a part of. The others likewise.
    ProcessCount: "processes",
    ThreadCount: "threads",
    NodeCount: "nodes",
    HandleCount: "handles",
    DeathCount: "death notifications",
    FreezeCount: "freeze notifications",
}

impl Objects {
    const fn new(name: &'static str) -> Self {
        Objects {
            name,
            alive: Atomic::new(0),
            made: Atomic::new(0),
        }
    }

    fn come(&self) {
        self.alive.add(1, sync::atomic::Relaxed);
        self.made.add(1, sync::atomic::Relaxed);
    }

    fn go(&self) {
        self.alive.add(u64::MAX, sync::atomic::Relaxed);
    }
}

/// Prints how many objects there are.
pub(super) fn print_objects(out: &SeqFile) {
    for objects in static_of::ALL {
        let alive = objects.alive.load(sync::atomic::Relaxed);
        let made = objects.made.load(sync::atomic::Relaxed);
        seq_print!(out, "{}: alive {} made {}\n", objects.name, alive, made);
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

/// Names of the commands, by their numbers.
const COMMANDS: [&str; COMMAND_NUMBERS] = [
    "BC_TRANSACTION",
    "BC_REPLY",
    "",
    "BC_FREE_BUFFER",
    "BC_INCREFS",
    "BC_ACQUIRE",
    "BC_RELEASE",
    "BC_DECREFS",
    "BC_INCREFS_DONE",
    "BC_ACQUIRE_DONE",
    "",
    "BC_REGISTER_LOOPER",
    "BC_ENTER_LOOPER",
    "BC_EXIT_LOOPER",
    "BC_REQUEST_DEATH_NOTIFICATION",
    "BC_CLEAR_DEATH_NOTIFICATION",
    "BC_DEAD_BINDER_DONE",
    "BC_TRANSACTION_SG",
    "BC_REPLY_SG",
    "BC_REQUEST_FREEZE_NOTIFICATION",
    "BC_CLEAR_FREEZE_NOTIFICATION",
    "BC_FREEZE_NOTIFICATION_DONE",
];

/// Names of the returns, by their numbers. (`BR_TRANSACTION_SEC_CTX` has that of `BR_TRANSACTION`.)
const RETURNS: [&str; RETURN_NUMBERS] = [
    "BR_ERROR",
    "",
    "BR_TRANSACTION",
    "BR_REPLY",
    "",
    "BR_DEAD_REPLY",
    "BR_TRANSACTION_COMPLETE",
    "BR_INCREFS",
    "BR_ACQUIRE",
    "BR_RELEASE",
    "BR_DECREFS",
    "",
    "BR_NOOP",
    "BR_SPAWN_LOOPER",
    "",
    "BR_DEAD_BINDER",
    "BR_CLEAR_DEATH_NOTIFICATION_DONE",
    "BR_FAILED_REPLY",
    "BR_FROZEN_REPLY",
    "BR_ONEWAY_SPAM_SUSPECT",
    "BR_TRANSACTION_PENDING_FROZEN",
    "BR_FROZEN_BINDER",
    "BR_CLEAR_FREEZE_NOTIFICATION_DONE",
];

/// The name of a return.
pub(super) fn return_name(code: u32) -> &'static str {
    // CAST: masked to 8 bits.
    RETURNS.get((code & 0xff) as usize).copied().unwrap_or("")
}
