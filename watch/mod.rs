// SPDX-License-Identifier: GPL-2.0

//! What can be seen of the driver from outside: tracepoints, and files in debugfs.
//!
//! # Duty
//!
//! Turns the kernel's ways of looking into a driver into safe ones. It knows neither processes nor
//! messages: what an event or a line says is up to who has something to say.
//!
//! - [`trace`]: the tracepoints of `events.h`. One that is off costs an instruction that does nothing.
//! - [`debugfs`]: directories, and files that are read item by item.
//!
//! # Locks
//!
//! None of its own. Files are read with the mutex of the kernel's `struct seq_file` held, and with
//! nothing else.
//!
//! # What it may not do
//!
//! Print an address, or know a protocol.

#![allow(unsafe_code)]

pub(crate) mod debugfs;
pub(crate) mod trace;
