// SPDX-License-Identifier: GPL-2.0

//! The other side of each case: a context manager that does as the code of a call says.

use std::{
    fs::File,
    io::Write,
    ops::ControlFlow,
    os::fd::AsFd,
    path::Path,
    sync::{Condvar, Mutex},
    thread,
    time::Duration,
};

use anyhow::Result;
use rust_ipc::{Call, Event, Handle, Message, Object, Payload, Reference};

use crate::{PATIENCE, context_manager};

/// Replies with the payload.
pub const ECHO: u32 = 1;
/// Replies with the caller's pid and euid, as the driver tells them.
pub const WHO: u32 = 2;
/// Replies with the status that the payload is.
pub const STATUS: u32 = 3;
/// Does not reply.
pub const SILENCE: u32 = 4;
/// Takes the first descriptor, writes "ping" to it, and replies with /dev/zero.
pub const FD: u32 = 5;
/// Replies with the number of open descriptors.
pub const COUNT_FDS: u32 = 6;
/// Calls the handle in the payload, and replies with what that replied.
pub const CALL_BACK: u32 = 7;
/// Keeps the handle in the payload.
pub const KEEP_HANDLE: u32 = 8;
/// Drops what was kept by `KEEP_HANDLE`.
pub const DROP_HANDLE: u32 = 9;
/// Keeps the one-way message, if it is one; otherwise replies with how many are kept.
pub const HOLD: u32 = 10;
/// Drops what was kept by `HOLD`; replies with the payloads, one after another.
pub const RELEASE: u32 = 11;
/// Replies when as many calls as the payload says (a byte) are here at the same time.
pub const RENDEZVOUS: u32 = 12;
/// The thread that gets it ends without a reply.
pub const END_THREAD: u32 = 13;
/// The process ends without a reply.
pub const END: u32 = 14;

/// How many threads the driver may ask for.
pub const MAX_THREADS: u32 = 3;

static KEPT: Mutex<Vec<Reference>> = Mutex::new(Vec::new());
static HELD: Mutex<Vec<Message>> = Mutex::new(Vec::new());
static ARRIVED: (Mutex<u8>, Condvar) = (Mutex::new(0), Condvar::new());

pub fn run(device: &Path) -> Result<()> {
    let connection = context_manager(device)?;
    println!("ready");
    std::io::stdout().flush()?;
    connection.serve(MAX_THREADS, |event| match event {
        Event::Call(call) if call.message().code() == END_THREAD => ControlFlow::Break(()),
        Event::Call(call) => {
            // The caller sees what went wrong.
            let _ = serve(call);
            ControlFlow::Continue(())
        }
        Event::Oneway(message) => {
            if message.code() == HOLD {
                HELD.lock().expect("nothing panics").push(message);
            }
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Continue(()),
    })?;
    // END_THREAD on the first thread: the others serve on.
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

fn serve(mut call: Call<'_>) -> rust_ipc::Result<()> {
    match call.message().code() {
        ECHO => call.reply_with(|bytes| Payload::bytes(bytes)),
        WHO => {
            let pid = call.message().sender_pid().unwrap_or(0);
            let euid = call.message().sender_euid();
            call.reply(&Payload::bytes(
                &[pid.to_ne_bytes(), euid.to_ne_bytes()].concat(),
            ))
        }
        STATUS => {
            let status = call.bytes().first_chunk().copied().unwrap_or_default();
            call.reply_status(i32::from_ne_bytes(status))
        }
        FD => {
            let descriptor = call.take_fd();
            let zero = File::open("/dev/zero").ok();
            match (descriptor, zero) {
                (Some(descriptor), Some(zero)) => {
                    let _ = File::from(descriptor).write_all(b"ping");
                    let mut payload = Payload::EMPTY;
                    payload.push_fd(zero.as_fd());
                    call.reply(&payload)
                }
                _ => call.reply_status(-1),
            }
        }
        COUNT_FDS => {
            let count = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
            call.reply(&Payload::bytes(&[count as u8]))
        }
        CALL_BACK => {
            let Some(handle) = handle_in(&call) else {
                return call.reply_status(-1);
            };
            let answer =
                call.thread()
                    .transact(handle, ECHO, &Payload::bytes(b"are you there?"))?;
            call.reply(&Payload::bytes(answer.bytes()))
        }
        KEEP_HANDLE => {
            let Some(handle) = handle_in(&call) else {
                return call.reply_status(-1);
            };
            let reference = call.thread().connection().acquire(handle)?;
            KEPT.lock().expect("nothing panics").push(reference);
            call.reply(&Payload::EMPTY)
        }
        DROP_HANDLE => {
            KEPT.lock().expect("nothing panics").clear();
            call.reply(&Payload::EMPTY)
        }
        HOLD => {
            let held = HELD.lock().expect("nothing panics").len();
            call.reply(&Payload::bytes(&[held as u8]))
        }
        RELEASE => {
            let held = std::mem::take(&mut *HELD.lock().expect("nothing panics"));
            let together: Vec<u8> = held.iter().flat_map(|m| m.bytes()).copied().collect();
            drop(held);
            call.reply(&Payload::bytes(&together))
        }
        RENDEZVOUS => {
            let wanted = call.bytes().first().copied().unwrap_or(1);
            let (arrived, changed) = &ARRIVED;
            let mut arrived = arrived.lock().expect("nothing panics");
            *arrived += 1;
            changed.notify_all();
            let (arrived, _) = changed
                .wait_timeout_while(arrived, PATIENCE, |arrived| *arrived < wanted)
                .expect("nothing panics");
            let count = *arrived;
            drop(arrived);
            call.reply(&Payload::bytes(&[count]))
        }
        END => std::process::exit(0),
        // SILENCE and what is unknown: dropping the call answers it.
        _ => Ok(()),
    }
}

fn handle_in(call: &Call<'_>) -> Option<Handle> {
    call.message()
        .objects()
        .find_map(|(_, object)| match object {
            Object::Handle(handle) => Some(handle),
            _ => None,
        })
}
