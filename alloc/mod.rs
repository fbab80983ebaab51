// SPDX-License-Identifier: GPL-2.0

//! Bookkeeping in index arenas: the ranges of a receive area, work queues, and numbered items.
//!
//! # Duty
//!
//! Decides and remembers, nothing else: which bytes of an area belong to which buffer
//! ([`ranges::Ranges`]), what waits in which order ([`queue::Arena`]), and what has which number
//! ([`table::Table`]). It knows no pages (only their indices), no processes and no locks, and it
//! needs nothing but [`core`], so the same files are built and tested on the host
//! (`selftests/host/run.sh`), and by KUnit where there is one.
//!
//! # Memory
//!
//! All of it works on values that somebody else keeps under a spinlock, where nothing may be
//! allocated. So memory comes from outside, a fixed-size [`Chunk`] at a time: the owner asks
//! `needs_memory()` under the lock, drops the lock, allocates, and hands the chunk in with
//! `provide()`, which is O(1) and copies nothing. An operation that finds no memory changes nothing
//! and says so.
//!
//! # Locks
//!
//! None. Every operation takes `&mut self` or `&self`, is O(1) or O(log n) or says what bounds it, and
//! neither sleeps nor frees memory.
//!
//! # What it may not do
//!
//! No `unsafe`, no panic: an index that leads nowhere reads as "none". No recursion, except that
//! dropping a tree of chunks is as deep as the tree (at most 8 for 2^32 slots).

pub(crate) mod queue;
pub(crate) mod ranges;
mod slab;
mod storage;
pub(crate) mod table;
mod tree;

pub(crate) use slab::Chunk;

#[cfg(any(test, rust_ipc_kunit))]
pub(crate) mod tests;
