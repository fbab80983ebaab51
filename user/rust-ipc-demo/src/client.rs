// SPDX-License-Identifier: GPL-2.0

//! A client: sends streams of a file and compares what arrived.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rust_ipc::{Connection, Device, Error, Handle, Payload, Received, Thread};
use rustix::{io::Errno, thread::gettid};
use sha2::{Digest, Sha256};
use zerocopy::FromBytes;

use crate::{
    Options,
    message::{Op, Report, StreamHeader, StreamSpec, Way},
    payload,
    show::{Bytes, line, say},
};

/// Room for the answers.
const AREA_BYTES: usize = 1 << 20;
/// A stream that takes long says so this often.
const PROGRESS: Duration = Duration::from_secs(2);
/// How long to wait for a receiver that has no room.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends the streams. Whether all of them arrived as sent.
pub fn run(options: &Options) -> Result<bool> {
    let connection = Device::open(&options.device)?.map(AREA_BYTES)?;
    let file = File::open(&options.file)?;
    let send = |spec: &StreamSpec| Sender::new(&connection, &file, spec)?.run();
    if !options.at_once {
        let mut right = true;
        for spec in &options.streams {
            right &= send(spec)?;
        }
        return Ok(right);
    }
    say!(
        "client",
        "sends {} streams at once, a thread each",
        options.streams.len()
    );
    thread::scope(|scope| {
        let threads: Vec<_> = options
            .streams
            .iter()
            .map(|spec| scope.spawn(|| send(spec)))
            .collect();
        let mut right = true;
        for thread in threads {
            right &= thread.join().expect("a sender does not panic")?;
        }
        Ok(right)
    })
}

struct Sender<'a> {
    thread: Thread,
    file: &'a File,
    file_bytes: u64,
    spec: &'a StreamSpec,
    /// How often the receiver had no room.
    waits: u64,
}

impl<'a> Sender<'a> {
    fn new(connection: &Connection, file: &'a File, spec: &'a StreamSpec) -> Result<Self> {
        Ok(Self {
            thread: connection.thread()?,
            file,
            file_bytes: file.metadata()?.len(),
            spec,
            waits: 0,
        })
    }

    fn run(&mut self) -> Result<bool> {
        let &StreamSpec {
            id,
            way,
            message_bytes,
            total_bytes,
        } = self.spec;
        let mut buffer = vec![0; message_bytes as usize];
        let tid = gettid().as_raw_nonzero();
        line(
            format_args!("client {tid}"),
            format_args!(
                "stream {id}: sends {} in {} of {}, from {:p}",
                Bytes(total_bytes),
                match way {
                    Way::Call => "calls",
                    Way::Post => "one-way messages",
                    Way::Echo => "echoed calls",
                },
                Bytes(message_bytes),
                buffer.as_ptr(),
            ),
        );
        let header = StreamHeader {
            way: way as u64,
            message_bytes,
        };
        self.call(Op::Open, &payload(&header))?;

        let start = Instant::now();
        let mut shown = start;
        let mut digest = Sha256::new();
        let mut came_back = Sha256::new();
        let mut sent = Report::default();
        // An empty file is one empty message.
        while sent.bytes < total_bytes || sent.messages == 0 {
            let len = self.read(&mut buffer, sent.bytes)?;
            let bytes = &buffer[..len];
            match way {
                Way::Call => drop(self.call(Op::Data, &Payload::bytes(bytes))?),
                Way::Post => self.post(Op::Data, &Payload::bytes(bytes))?,
                Way::Echo => {
                    let reply = self.call(Op::Echo, &Payload::bytes(bytes))?;
                    came_back.update(reply.bytes());
                }
            }
            digest.update(bytes);
            sent.bytes += len as u64;
            sent.messages += 1;
            if shown.elapsed() >= PROGRESS && sent.bytes < total_bytes {
                shown = Instant::now();
                let percent = sent.bytes * 100 / total_bytes;
                say!(
                    "client",
                    "stream {id}: {percent} %, {} of {}",
                    Bytes(sent.bytes),
                    Bytes(total_bytes)
                );
            }
        }
        sent.sha256 = digest.finalize().into();
        sent.elapsed_ns = start.elapsed().as_nanos() as u64;

        // What follows one-way messages goes the same way: they arrive in order.
        match way {
            Way::Post => self.post(Op::Close, &payload(&sent))?,
            Way::Call | Way::Echo => drop(self.call(Op::Close, &payload(&sent))?),
        }
        let reply = self.call(Op::Result, &Payload::EMPTY)?;
        let received = Report::read_from_bytes(reply.bytes())
            .map_err(|_| anyhow::anyhow!("a malformed answer"))?;
        if self.waits > 0 {
            say!(
                "client",
                "stream {id}: the half of the area that one-way messages may take was full {} times, so it waited",
                self.waits
            );
        }
        let mut right = received.matches(&sent);
        if way == Way::Echo {
            right &= <[u8; 32]>::from(came_back.finalize()) == sent.sha256;
            say!(
                "client",
                "stream {id}: what came back {} what was sent",
                if right { "is" } else { "IS NOT" }
            );
        }
        Ok(right)
    }

    /// Reads bytes for the next message, which begins `position` bytes into the stream.
    fn read(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        if self.file_bytes == 0 {
            return Ok(0);
        }
        let start = position % self.file_bytes;
        let left = (self.file_bytes - start).min(self.spec.total_bytes - position);
        let len = left.min(buffer.len() as u64) as usize;
        self.file
            .read_exact_at(&mut buffer[..len], start)
            .context("reading the file")?;
        Ok(len)
    }

    fn call(&mut self, op: Op, payload: &Payload<'_>) -> Result<Received> {
        self.patiently(
            |thread, code| thread.transact(Handle::CONTEXT_MANAGER, code, payload),
            op,
        )
    }

    fn post(&mut self, op: Op, payload: &Payload<'_>) -> Result<()> {
        self.patiently(
            |thread, code| thread.transact_oneway(Handle::CONTEXT_MANAGER, code, payload),
            op,
        )
        .map(drop)
    }

    /// Sends until there is room.
    fn patiently<T>(
        &mut self,
        mut send: impl FnMut(&mut Thread, u32) -> rust_ipc::Result<T>,
        op: Op,
    ) -> Result<T> {
        let code = op.code(self.spec.id);
        let mut since = None;
        loop {
            match send(&mut self.thread, code) {
                Err(error @ Error::Failed(_)) if error.errno() == Some(Errno::NOSPC) => {
                    let since = *since.get_or_insert_with(Instant::now);
                    ensure!(
                        since.elapsed() < PATIENCE,
                        "the server has no room any more"
                    );
                    self.waits += 1;
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => bail!("{op:?}: {error}"),
                Ok(sent) => return Ok(sent),
            }
        }
    }
}
