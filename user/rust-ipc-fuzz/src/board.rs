// SPDX-License-Identifier: GPL-2.0

//! Memory that all processes share: who does what, and what went wrong first.

use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

/// Processes at a time, at most.
pub(crate) const PROCESSES: usize = 16;
/// Threads of a process, at most.
pub(crate) const THREADS: usize = 8;
const COMPLAINT_BYTES: usize = 2048;

/// What a thread does.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) tid: AtomicI32,
    /// The kind of its latest operation.
    pub(crate) doing: AtomicU32,
    /// Operations so far, of all that have been in this place.
    pub(crate) operations: AtomicU64,
    /// ioctls among them.
    pub(crate) calls: AtomicU64,
    /// Messages whose bytes were found to be right.
    pub(crate) checked: AtomicU64,
    /// Failures that were injected and met.
    pub(crate) failures: AtomicU64,
}

/// All of it. Zeroes are a board that nobody has written to.
#[repr(C)]
pub(crate) struct Board {
    pub(crate) stop: AtomicBool,
    pub(crate) pids: [AtomicI32; PROCESSES],
    pub(crate) slots: [[Slot; THREADS]; PROCESSES],
    /// Which step of a program is next.
    pub(crate) turn: AtomicU32,
    /// What came of the steps so far.
    pub(crate) digest: AtomicU64,
    complaints: AtomicUsize,
    complaint_len: AtomicUsize,
    complaint: [AtomicU8; COMPLAINT_BYTES],
    /// One for each byte of the module's code.
    pub(crate) covered: [AtomicU8; crate::coverage::SPAN],
}

impl Board {
    /// Something is wrong. The first text is kept.
    pub(crate) fn complain(&self, text: &str) {
        if self.complaints.fetch_add(1, Relaxed) > 0 {
            return;
        }
        for (to, from) in self.complaint.iter().zip(text.bytes()) {
            to.store(from, Relaxed);
        }
        let len = text.len().min(COMPLAINT_BYTES);
        self.complaint_len.store(len, Release);
        self.stop.store(true, Relaxed);
    }

    /// What was wrong first.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.complaints.load(Relaxed) == 0 {
            return None;
        }
        let len = self.complaint_len.load(Acquire);
        let bytes: Vec<u8> = self.complaint[..len]
            .iter()
            .map(|byte| byte.load(Relaxed))
            .collect();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Waits until this step is next.
    pub(crate) fn wait_for_turn(&self, turn: u32) {
        loop {
            let now = self.turn.load(Acquire);
            if now == turn {
                return;
            }
            crate::sys::wait_while(&self.turn, now);
        }
    }

    /// The step is done.
    pub(crate) fn next_turn(&self) {
        self.turn.fetch_add(1, Release);
        crate::sys::wake_all(&self.turn);
    }

    /// Operations of all that have been in this place.
    pub(crate) fn done_by(&self, process: usize) -> u64 {
        self.slots[process]
            .iter()
            .map(|slot| slot.operations.load(Relaxed))
            .sum()
    }

    pub(crate) fn sum(&self, what: impl Fn(&Slot) -> &AtomicU64) -> u64 {
        self.slots
            .iter()
            .flatten()
            .map(|slot| what(slot).load(Relaxed))
            .sum()
    }
}
