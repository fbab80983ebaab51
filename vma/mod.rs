// SPDX-License-Identifier: GPL-2.0

//! The receive area: a read-only mapping that senders put messages into.
//!
//! # Duty
//!
//! - [`VmaDesc`] and [`ops::VmOps`]: safe `mmap_prepare` and VMA operations.
//! - [`Area`]: claims one VMA per open file, hands out [`Buffer`]s in it, copies messages straight
//!   into its pages, installs those pages in the receiver's page tables, and lists the idle ones
//!   for the shrinker.
//!
//! # States
//!
//! An area is unmapped, then mapped, then closed, and never goes back: `mmap_prepare` changes
//! nothing, `mapped` claims the area for the VMA, `close` of that VMA (and of no other, see [`ops`])
//! ends it. Buffers of a closed area stay valid; their pages just are nowhere mapped.
//!
//! A page is absent, or in the area's table of pages and
//!
//! - *in use*: a buffer covers some of it. It stays until no buffer does.
//! - *pending*: in use, but not yet in the page tables of the receiver, because its whole contents
//!   is still to be written by the one sender whose buffer it is part of.
//! - *idle*: kept for the next message, and on the shrinker's list.
//!
//! Pages become in use or idle with the area locked, but for those that nobody else's buffer covers.
//! Only the holder of `Backing::install` maps pages, or takes pages away by the shrinker. An entry
//! of the table changes atomically, as these do not exclude each other: whichever is first to change
//! the entry of an idle page has it.
//!
//! # Lock order
//!
//! ```text
//! mm reference -> Backing::install (mutex) -> VMA read lock, or mmap read lock
//!              -> Area::inner (spinlock) -> lock of a list of the shrinker (spinlock)
//! ```
//!
//! - `mapped` and `close` are called with the mmap lock held. They take none of these, but `close` calls
//!   [`AreaOwner::unmapped`], which may take locks of its own.
//! - The shrinker starts with the lock of a list, so it only tries `Backing::install` and the VMA's
//!   lock, and never takes `Area::inner` nor the mmap lock. It keeps `Backing::install` and the VMA's
//!   lock until it has zapped, so a page cannot be installed at that address before.
//! - Nothing is allocated, freed or copied with a spinlock held.
//!
//! A sender that needs no new page takes `Area::inner` once to reserve and once to deliver, and a
//! receiver once to free; no other lock.
//!
//! # What it may not do
//!
//! Read anything back from a page for a decision: the receiver could have made a second, writable
//! way to it. Give a page to another area: whoever has got hold of a page through
//! `get_user_pages()` may keep it, and then only sees what is sent to the same receiver, or what
//! was in the page before.

#![allow(unsafe_code)]

#[cfg(not(CONFIG_PER_VMA_LOCK))]
compile_error!(
    "rust_ipc reclaims pages under the per-VMA lock: the kernel needs CONFIG_PER_VMA_LOCK"
);

mod area;
mod backing;

mod desc;
mod filled;
pub(crate) mod ops;
mod page;
mod table;
pub(crate) mod uaccess;

pub(crate) use self::{
    area::{prepare, AllocError, Area, AreaOwner, Buffer},
    desc::VmaDesc,
};
pub(crate) use crate::alloc::ranges::Kind;
