// SPDX-License-Identifier: GPL-2.0

//! Idle pages, and giving them back.
//!
//! # Duty
//!
//! Keeps the pages that hold no message on a `list_lru`, registers the shrinker that walks it, and
//! decides what to do with a page ([`decide`]). It knows neither areas nor VMAs: what a list entry
//! is, and how to take it away, is behind [`Reclaim`].
//!
//! Both are aware of memory cgroups and NUMA nodes: the pages of an area are on the list of the
//! cgroup that they are charged to, so a cgroup that reaches its limit reclaims its own areas.
//!
//! # Lock order
//!
//! A list's spinlock is taken with the lock of an area held (`list_lru_add()`, `list_lru_del()`).
//! A walk starts out with the list's lock and so may only *try* any other. It never waits: neither
//! for the area nor for its VMA. An entry is taken off its list before the lock is dropped.
//!
//! # What it may not do
//!
//! Wait, allocate, or look at an entry after it has been taken off its list and given away.

#![allow(unsafe_code)]

mod counters;
mod decision;
mod lru;
mod memcg;

pub(crate) use counters::Counters;
pub(crate) use decision::{decide, Decision};
pub(crate) use lru::{Candidate, Lru, Reclaim, Shrinker, Taking, Verdict};
pub(crate) use memcg::Memcg;
