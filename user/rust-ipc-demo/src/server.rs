// SPDX-License-Identifier: GPL-2.0

//! The server: receives streams, hashes them where they lie, and tells what it sees.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use rust_ipc::{
    Call, Connection, Device, Event, Message, Payload,
    abi::{AreaInfo, MAX_AREA_BYTES},
};
use rustix::{io::Errno, thread::gettid};
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    Options, machine,
    message::{Op, Record, Report, StreamHeader},
    payload,
    show::{Bytes, Hex, Pages, line, say},
};

/// How many looper threads the driver may ask for.
const MAX_THREADS: u32 = 15;

/// Of each stream, this many messages are shown.
const SHOWN_MESSAGES: u64 = 2;

struct Server {
    connection: Connection,
    streams: Mutex<HashMap<u32, Arc<Stream>>>,
    records: Mutex<Vec<Record>>,
}

struct Stream {
    header: StreamHeader,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    digest: Sha256,
    bytes: u64,
    messages: u64,
    /// What was found, as soon as the stream has ended.
    found: Option<Report>,
}

/// A panic of another thread is no reason for one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn run(options: &Options) -> Result<()> {
    if let Some(cgroup) = &options.cgroup {
        machine::Cgroup::enter(cgroup)?;
    }
    let device = Device::open(&options.device)
        .with_context(|| format!("cannot open {}", options.device.display()))?;
    say!(
        "server",
        "opened {}, protocol {}",
        options.device.display(),
        device.version()?
    );
    let connection = device.map(MAX_AREA_BYTES)?;
    let area = connection.area();
    say!(
        "server",
        "mapped its receive area, read-only: {:#x}-{:#x}, {}",
        area.start,
        area.end,
        Bytes(area.end - area.start)
    );
    let server = Arc::new(Server {
        connection: connection.clone(),
        streams: Mutex::default(),
        records: Mutex::default(),
    });
    if let Some(info) = server.area_info() {
        say!("server", "no message yet: {}", Pages(&info));
    }
    match connection.device().become_context_manager() {
        Err(error) if error.errno() == Some(Errno::BUSY) => {
            anyhow::bail!("{} has a context manager already", options.device.display());
        }
        other => other?,
    }
    say!(
        "server",
        "is the context manager now: everybody may send to handle 0"
    );
    connection.serve(MAX_THREADS, move |event| {
        match event {
            Event::Call(call) => server.call(call),
            Event::Oneway(message) => server.take(&message),
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

impl Server {
    fn area_info(&self) -> Option<AreaInfo> {
        self.connection.device().area_info().ok()
    }

    fn stream(&self, id: u32) -> Option<Arc<Stream>> {
        lock(&self.streams).get(&id).cloned()
    }

    /// Serves a call. If the caller is gone by the time of the answer, nobody needs it.
    fn call(&self, call: Call<'_>) {
        let Some((op, id)) = Op::parse(call.message().code()) else {
            return;
        };
        let _ = match op {
            Op::Hello => call.reply(&Payload::EMPTY),
            Op::Open | Op::Data | Op::Close => {
                self.take(call.message());
                call.reply(&Payload::EMPTY)
            }
            Op::Echo => {
                self.take(call.message());
                call.reply_with(|bytes| Payload::bytes(bytes))
            }
            Op::Result => match self.stream(id) {
                Some(stream) => call.reply(&payload(&stream.wait())),
                None => call.reply_status(-Errno::NOENT.raw_os_error()),
            },
            Op::Area => match self.area_info() {
                Some(info) => call.reply(&payload(&info)),
                None => call.reply(&Payload::EMPTY),
            },
            Op::Records => {
                let records = lock(&self.records).clone();
                call.reply(&Payload::bytes(records.as_bytes()))
            }
            Op::Stop => std::process::exit(0),
        };
    }

    /// Takes what belongs to a stream, whichever way it came.
    fn take(&self, message: &Message) {
        let Some((op, id)) = Op::parse(message.code()) else {
            return;
        };
        if op == Op::Open {
            if let Ok(header) = StreamHeader::read_from_bytes(message.bytes()) {
                let stream = Stream {
                    header,
                    state: Mutex::default(),
                    ended: Condvar::new(),
                };
                lock(&self.streams).insert(id, Arc::new(stream));
            }
            return;
        }
        let Some(stream) = self.stream(id) else {
            return;
        };
        match op {
            Op::Data | Op::Echo => {
                let number = stream.add(message.bytes());
                if number <= SHOWN_MESSAGES {
                    self.show(id, number, message);
                }
            }
            Op::Close => {
                if let Ok(sent) = Report::read_from_bytes(message.bytes()) {
                    self.end(id, &stream, sent);
                }
            }
            _ => {}
        }
    }

    fn show(&self, id: u32, number: u64, message: &Message) {
        let what = match message.sender_pid() {
            Some(pid) => format!("call {number} from {pid}"),
            None => format!("message {number}"),
        };
        let pages = match self.area_info() {
            Some(info) => format!("; {}", Pages(&info)),
            None => String::new(),
        };
        let tid = gettid().as_raw_nonzero();
        line(
            format_args!("server {tid}"),
            format_args!(
                "stream {id}: {what}: {} at {:#x} = area + {:#x}{pages}",
                Bytes(message.bytes().len() as u64),
                message.address(),
                message.area_offset_bytes(),
            ),
        );
    }

    fn end(&self, id: u32, stream: &Stream, sent: Report) {
        let mut state = lock(&stream.state);
        let received = Report {
            sha256: state.digest.clone().finalize().into(),
            bytes: state.bytes,
            messages: state.messages,
            elapsed_ns: 0,
        };
        lock(&self.records).push(Record {
            way: stream.header.way,
            message_bytes: stream.header.message_bytes,
            sent,
            received,
        });
        say!(
            "server",
            "stream {id}: {} messages, {}, SHA-256 {}… {}",
            received.messages,
            Bytes(received.bytes),
            Hex(&received.sha256[..8]),
            if received.matches(&sent) {
                "as sent"
            } else {
                "NOT AS SENT"
            },
        );
        state.found = Some(received);
        stream.ended.notify_all();
    }
}

impl Stream {
    /// Hashes a message. Its number, from 1.
    fn add(&self, bytes: &[u8]) -> u64 {
        let mut state = lock(&self.state);
        state.digest.update(bytes);
        state.bytes += bytes.len() as u64;
        state.messages += 1;
        state.messages
    }

    /// Waits for the end of the stream.
    fn wait(&self) -> Report {
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = state.found {
                return found;
            }
            state = self
                .ended
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
