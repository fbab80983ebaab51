// SPDX-License-Identifier: GPL-2.0

//! What is counted: commands and returns of each thread, and objects that exist.
//!
//! A thread counts its own, and nobody else writes there: no lock, and no line shared with other
//! CPUs. It has eight bits for each; what goes beyond, and what is left when it ends, is added to its
//! process's counts, and those to the module's when the process is gone. Objects are counted when
//! they come and go, which allocates anyway.

// The kernel crate's atomics are calls into C. These are plain loads and stores, and order nothing.
use core::sync::atomic::{AtomicU8, Ordering};

use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{Atomic, Relaxed},
        SetOnce,
    },
};

use super::{thread::Thread, Process, Registry};
use crate::{
    uapi::{br, Delivery, Returns},
    watch::trace,
};

/// Commands are told apart by their numbers, the lowest 8 bits of their codes. As many as there are
/// places for are counted.
const COMMAND_NUMBERS: usize = 22;

/// The same of returns.
const RETURN_NUMBERS: usize = 23;

/// All that are counted.
const NUMBERS: usize = COMMAND_NUMBERS + RETURN_NUMBERS;

/// A counter of each command, and then of each return.
type Counters<T> = [T; NUMBERS];

/// What a command or return is told apart by.
fn number_of(code: u32) -> usize {
    // CAST: masked to 8 bits.
    (code & 0xff) as usize
}

/// Where the counter of a command is.
fn command_index(code: u32) -> Option<usize> {
    Some(number_of(code)).filter(|number| *number < COMMAND_NUMBERS)
}

/// Where the counter of a return is.
fn return_index(code: u32) -> Option<usize> {
    let number = Some(number_of(code)).filter(|number| *number < RETURN_NUMBERS)?;
    Some(COMMAND_NUMBERS + number)
}

/// How often a thread has carried out each command, and been given each return: the lowest eight
/// bits. The rest is in its process's counts.
pub(super) struct Counts(Counters<AtomicU8>);

/// What the threads of a process have counted, but for what they still have themselves. Comes round
/// after 2^32.
pub(super) struct ProcessCounts(SetOnce<KBox<Counters<Atomic<u32>>>>);

/// What processes that are gone have counted.
static PAST: Counters<Atomic<u64>> = [const { Atomic::new(0) }; NUMBERS];

/// How often the counts of a process that counts meanwhile are read.
const TRIES: usize = 8;

/// What a counter of a thread that has come round stands for.
const ROUND: u32 = 1 << u8::BITS;

impl Counts {
    pub(super) const fn new() -> Self {
        Counts([const { AtomicU8::new(0) }; NUMBERS])
    }

    /// The thread whose counts these are, one of that process, carries out a command.
    pub(super) fn command(&self, code: u32, process: &Process) {
        self.add(command_index(code), process);
        trace::Command::trace(|| trace::Command { code });
    }

    /// Something is returned to the thread whose counts these are, one of that process.
    pub(super) fn returned(&self, code: u32, process: &Process) {
        self.add(return_index(code), process);
        trace::Return::trace(|| trace::Return { code });
    }

    fn add(&self, index: Option<usize>, process: &Process) {
        let Some(counter) = index.and_then(|index| self.0.get(index)) else {
            return;
        };
        let (sum, is_round) = counter.load(Ordering::Relaxed).overflowing_add(1);
        counter.store(sum, Ordering::Relaxed);
        if is_round {
            process.counts.add_round(index);
        }
    }
}

impl ProcessCounts {
    /// Counts without memory.
    pub(super) fn new() -> Self {
        ProcessCounts(SetOnce::new())
    }

    /// Makes sure that there is memory, which is to be done before a thread counts.
    ///
    /// May sleep. `ENOMEM`.
    pub(super) fn provide(&self) -> Result {
        if self.0.as_ref().is_none() {
            let counters = KBox::new([const { Atomic::new(0) }; NUMBERS], GFP_KERNEL_ACCOUNT)?;
            // Another thread may have been faster.
            self.0.populate(counters);
        }
        Ok(())
    }

    /// A counter of a thread has come round.
    #[cold]
    fn add_round(&self, index: Option<usize>) {
        let counter = self.0.as_ref().zip(index);
        if let Some(counter) = counter.and_then(|(counters, index)| counters.get(index)) {
            counter.add(ROUND, Relaxed);
        }
    }

    /// All of them, as they are now.
    fn load(&self) -> Counters<u32> {
        match self.0.as_ref() {
            Some(counters) => counters.each_ref().map(|counter| counter.load(Relaxed)),
            None => [0; NUMBERS],
        }
    }

    /// Adds what a thread has counted that does not count any more.
    pub(super) fn add_thread(&self, counts: &Counts) {
        let Some(counters) = self.0.as_ref() else {
            return;
        };
        for (total, counter) in counters.iter().zip(&counts.0) {
            // Most are 0, and adding to what others may add to takes time.
            match counter.load(Ordering::Relaxed) {
                0 => (),
                count => total.add(count.into(), Relaxed),
            }
        }
    }

    /// The process is gone, and its threads are.
    pub(super) fn keep(&self) {
        let Some(counters) = self.0.as_ref() else {
            return;
        };
        for (total, counter) in PAST.iter().zip(counters.iter()) {
            match counter.load(Relaxed) {
                0 => (),
                count => total.add(count.into(), Relaxed),
            }
        }
    }
}

/// Sums of counts.
pub(super) struct Totals(Counters<u64>);

impl Totals {
    /// Of all processes, those that are gone included. May sleep.
    pub(super) fn of_module(registry: &Registry) -> Self {
        let mut totals = Totals(PAST.each_ref().map(|counter| counter.load(Relaxed)));
        let mut next = registry.first();
        while let Some(process) = next {
            totals.add_process(&process);
            next = registry.after(process.key);
        }
        totals
    }

    /// Of a process, its threads that are gone included.
    pub(super) fn of_process(process: &Process) -> Self {
        let mut totals = Totals([0; NUMBERS]);
        totals.add_process(process);
        totals
    }

    /// What a thread passes on to the process while they are read would be missing, or counted
    /// twice. So that is looked for, and then they are read again, as long as that has a point. (A
    /// thread that is between the two steps of passing on is seen 256 short.)
    fn add_process(&mut self, process: &Process) {
        let mut passed_on = process.counts.load();
        for left in (0..TRIES).rev() {
            let mut own: Counters<u32> = [0; NUMBERS];
            let mut from = Some(0);
            while let Some(thread) = from.and_then(|from| process.thread_from(from)) {
                for (sum, counter) in own.iter_mut().zip(&thread.counts.0) {
                    *sum = sum.wrapping_add(counter.load(Ordering::Relaxed).into());
                }
                from = thread.id.checked_add(1);
            }
            let before = core::mem::replace(&mut passed_on, process.counts.load());
            if left == 0 || before == passed_on {
                self.add(&before);
                self.add(&own);
                return;
            }
        }
    }

    fn add(&mut self, counters: &Counters<u32>) {
        for (total, counter) in self.0.iter_mut().zip(counters) {
            *total = total.wrapping_add((*counter).into());
        }
    }

    /// Prints those that are not 0, one a line.
    pub(super) fn print(&self, out: &SeqFile, indent: &'static str) {
        let names = Iterator::chain(COMMANDS.iter(), &RETURNS);
        for (name, total) in names.zip(self.0.iter()) {
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
        self.alive.add(1, Relaxed);
        self.made.add(1, Relaxed);
    }

    fn go(&self) {
        self.alive.add(u64::MAX, Relaxed);
    }
}

/// Prints how many objects there are.
pub(super) fn print_objects(out: &SeqFile) {
    for objects in static_of::ALL {
        let alive = objects.alive.load(Relaxed);
        let made = objects.made.load(Relaxed);
        seq_print!(out, "{}: alive {} made {}\n", objects.name, alive, made);
    }
}

/// Returns on their way to a thread: counted as they are gathered.
pub(super) struct Output<'a> {
    pub(super) bytes: Returns,
    thread: &'a Thread,
}

impl<'a> Output<'a> {
    pub(super) fn new(thread: &'a Thread) -> Self {
        Output {
            bytes: Returns::new(),
            thread,
        }
    }

    /// Counts a return.
    pub(super) fn count(&self, code: u32) {
        self.thread.counts.returned(code, &self.thread.process);
    }

    /// See [`Returns::push_code`].
    pub(super) fn push_code(&mut self, code: u32) {
        self.count(code);
        self.bytes.push_code(code);
    }

    /// See [`Returns::push_node`].
    pub(super) fn push_node(&mut self, code: u32, ptr: u64, cookie: u64) {
        self.count(code);
        self.bytes.push_node(code, ptr, cookie);
    }

    /// See [`Returns::push_cookie`].
    pub(super) fn push_cookie(&mut self, code: u32, cookie: u64) {
        self.count(code);
        self.bytes.push_cookie(code, cookie);
    }

    /// See [`Returns::push_frozen`].
    pub(super) fn push_frozen(&mut self, cookie: u64, is_frozen: bool) {
        self.count(br::FROZEN_BINDER);
        self.bytes.push_frozen(cookie, is_frozen);
    }

    /// See [`Returns::push_delivery`].
    pub(super) fn push_delivery(&mut self, code: u32, delivery: &Delivery) {
        self.count(code);
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
    RETURNS.get(number_of(code)).copied().unwrap_or("")
}
