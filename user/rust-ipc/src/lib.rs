// SPDX-License-Identifier: GPL-2.0

//! Typed access to a device that speaks the Binder protocol (version 8): `/dev/rust_ipc`, and just
//! as well the `/dev/binder` of the kernel's own drivers.
//!
//! A participant opens the device and maps its **receive area**, once and read-only. A message is
//! copied once, by the kernel, from the sender's memory into the receiver's area, where the
//! receiver reads it in place and then gives the buffer back. Here that is a [`Received`]: it
//! lends out its bytes, and dropping it gives it back.
//!
//! - [`Device`] is the open file; [`Device::map`] makes it a [`Connection`].
//! - [`Connection::thread`] registers a thread, because the driver tells threads apart.
//! - [`Thread::transact`] calls, [`Thread::transact_oneway`] sends without waiting.
//! - [`Thread::receive`] serves one event, [`Connection::serve`] serves with a pool of threads.
//! - [`Payload`] holds what is sent: bytes, file descriptors, nodes, handles.
//! - [`abi`] and [`wire`] are the protocol itself, for programs with an event loop of their own.
//!
//! ```no_run
//! use rust_ipc::{Device, Event, Handle, Payload};
//!
//! // One process serves …
//! fn server() -> rust_ipc::Result<()> {
//!     let connection = Device::open("/dev/rust_ipc")?.map(1 << 20)?;
//!     connection.device().become_context_manager()?;
//!     let mut thread = connection.thread()?;
//!     thread.enter_looper()?;
//!     loop {
//!         if let Event::Call(call) = thread.receive()? {
//!             println!("{} bytes from {:?}", call.bytes().len(), call.message().sender_pid());
//!             call.reply(&Payload::bytes(b"got it"))?;
//!         }
//!     }
//! }
//!
//! // … and another one calls it.
//! fn client() -> rust_ipc::Result<()> {
//!     let connection = Device::open("/dev/rust_ipc")?.map(1 << 20)?;
//!     let mut thread = connection.thread()?;
//!     let reply = thread.transact(Handle::CONTEXT_MANAGER, 1, &Payload::bytes(b"hello"))?;
//!     assert_eq!(reply.bytes(), b"got it");
//!     Ok(())
//! }
//! ```
//!
//! # What the safety of this crate rests upon
//!
//! The kernel's promise about a delivered buffer: from its delivery until it is given back its
//! pages are present and its bytes do not change. Like a mapped file, it can be broken from
//! outside: by somebody who has a duplicate of the file and gives buffers back with ioctls of his
//! own. After a `fork` the area exists in the parent only, so a child may not touch what it
//! inherited; it opens the device anew.

mod area;
mod connection;
mod device;
mod error;
mod payload;
mod thread;

pub mod abi;
pub mod wire;

pub use area::{Object, Received};
pub use connection::{Connection, Reference};
pub use device::{Device, Exchanged};
pub use error::{ErrnoValue, Error, Result};
pub use payload::{Handle, Payload};
pub use thread::{Call, Event, Message, NodeEvent, Sent, Thread};

/// The example in the README, compiled as documentation tests are.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
