// SPDX-License-Identifier: GPL-2.0

//! `rust-ipc-demo --file FILE [--device NODE]`: sends a real file through the driver, between
//! processes, and shows what happens on the way.
//!
//! The program is all the processes: it starts itself once more as the server and for each client
//! (`/proc/self/exe --role …`), because a receive area belongs to the process that opened the
//! device. This file has the options and the story; `server.rs` and `client.rs` have the two sides,
//! and `message.rs` has what they say to each other.

mod client;
mod machine;
mod message;
mod server;
mod show;

use std::{
    fs::File,
    io::Read,
    path::PathBuf,
    process::{Child, Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::*;
use rust_ipc::{
    Connection, Device, Error, Handle, Payload, Thread,
    abi::{AreaInfo, MAX_AREA_BYTES},
};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use zerocopy::{FromBytes, IntoBytes};

use message::{Op, Record, Report, StreamSpec, Way};
use show::{Bytes, Hex, Pages, Throughput, say};

const USAGE: &str = "\
Sends a file through the driver, between processes, and shows what happens.

rust-ipc-demo --file FILE [OPTION]...

  --file FILE       the file to send
  --device NODE     the device (default: /dev/rust_ipc; any Binder device will do)
  --whole           send the whole file in every size, not just in the largest
  --keep-module     do not unload the module at the end
  --help            this text

It ends with status 0 if every byte arrived, 1 if not, 2 if it could not be tried.
Squeezing memory and unloading the module take root; without, they are left out.
";

/// The sizes of messages, in bytes. Two-way, one after another; the last one takes the whole file.
const CALL_BYTES: [u64; 4] = [128, 4 << 10, 64 << 10, 512 << 10];
const POST_BYTES: [u64; 2] = [4 << 10, 64 << 10];
/// Unless it is the whole file, a stream has no more than this.
const MAX_MESSAGES: u64 = 1024;
const MAX_BYTES: u64 = 32 << 20;
/// What is sent while memory is squeezed; a small file is repeated.
const SQUEEZED_BYTES: u64 = 24 << 20;

/// How this program was started.
#[derive(Debug, Default)]
pub struct Options {
    role: Role,
    file: PathBuf,
    device: PathBuf,
    whole: bool,
    keep_module: bool,
    /// The moment from which times count, in nanoseconds of CLOCK_MONOTONIC.
    since_ns: u64,
    /// For the server: the control group to enter.
    cgroup: Option<PathBuf>,
    /// For a client: what to send, one after another or at once.
    streams: Vec<StreamSpec>,
    at_once: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Role {
    #[default]
    Main,
    Server,
    Client,
}

impl Options {
    fn parse() -> Result<Option<Self>> {
        let mut options = Self {
            device: "/dev/rust_ipc".into(),
            since_ns: show::now_ns(),
            ..Self::default()
        };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Long("file") => options.file = args.value()?.into(),
                Long("device") => options.device = args.value()?.into(),
                Long("whole") => options.whole = true,
                Long("keep-module") => options.keep_module = true,
                Long("role") => {
                    options.role = match args.value()?.string()?.as_str() {
                        "server" => Role::Server,
                        "client" => Role::Client,
                        other => bail!("there is no role {other}"),
                    }
                }
                Long("since") => options.since_ns = args.value()?.parse()?,
                Long("cgroup") => options.cgroup = Some(args.value()?.into()),
                Long("stream") => options.streams.push(args.value()?.parse()?),
                Long("at-once") => options.at_once = true,
                Long("help") | Short('h') => {
                    print!("{USAGE}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        ensure!(
            !options.file.as_os_str().is_empty() || matches!(options.role, Role::Server),
            "say which file to send: --file FILE"
        );
        Ok(Some(options))
    }

    /// This program once more, in another role.
    fn command(&self, role: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--role", role, "--since", &self.since_ns.to_string()])
            .arg("--device")
            .arg(&self.device)
            .arg("--file")
            .arg(&self.file);
        command
    }
}

fn main() -> ExitCode {
    let result = Options::parse().and_then(|options| match options {
        None => Ok(true),
        Some(options) => {
            show::set_start(options.since_ns);
            match options.role {
                Role::Main => run(&options),
                Role::Server => server::run(&options).map(|()| true),
                Role::Client => client::run(&options),
            }
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("rust-ipc-demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A server process, ended with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already if all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the story needs at each point.
struct Demo<'o> {
    options: &'o Options,
    file_bytes: u64,
    streams: u32,
}

fn run(options: &Options) -> Result<bool> {
    let file = File::open(&options.file)
        .with_context(|| format!("cannot open {}", options.file.display()))?;
    let (file_bytes, digest) = hash(file)?;
    show::header(&options.file, file_bytes, &digest, &options.device);
    let mut demo = Demo {
        options,
        file_bytes,
        streams: 0,
    };

    show::chapter(
        "A receiver and its area",
        &[
            "A process maps its receive area once, read-only. What others send is copied there by the",
            "kernel, in the sender's system call: one copy, into pages that are the receiver's own.",
        ],
    );
    let cgroup = machine::Cgroup::create();
    if let Err(error) = &cgroup {
        say!("main", "no control group for the server ({error:#})");
    }
    let cgroup = cgroup.ok();
    let mut server = demo.start_server(cgroup.as_ref())?;
    let connection = Device::open(&options.device)?.map(64 << 10)?;
    let mut thread = connection.thread()?;
    wait_for(&mut thread, &mut server)?;
    let tells_pages = area_info(&mut thread)?.is_some();
    if !tells_pages {
        say!(
            "main",
            "this driver does not tell about its areas: page counts are left out"
        );
    }

    show::chapter(
        "Calls: the client waits for each answer",
        &[
            "The server hashes each message where the kernel put it, and gives the buffer back with its",
            "answer. Pages without a message stay for the next one, idle.",
        ],
    );
    demo.send_calls()?;
    show::chapter(
        "One-way messages: the client does not wait",
        &[
            "They arrive one by one, in order, and may fill half of the area. Then the client has to wait.",
        ],
    );
    demo.send_posts()?;
    show::chapter(
        "Several processes and threads at once",
        &["When all its threads are busy, the driver asks the server for another one."],
    );
    demo.send_at_once()?;

    show::chapter(
        "Memory gets tight: idle pages go",
        &[
            "One page is in use all the time: it holds the question that asks for these numbers. Of the",
            "driver's own counters, zapped is what was taken from the area, rotated what was spared for",
            "a round because it was used lately, and in_use what was met with a message in it.",
        ],
    );
    demo.squeeze(&mut thread, cgroup.as_ref())?;

    let records = records(&mut thread)?;
    show::chapter(
        "The module goes",
        &["An open file pins it. Without one it can be unloaded."],
    );
    drop(thread);
    demo.end(connection, server, tells_pages)?;
    drop(cgroup);

    show::chapter("Summary", &[]);
    Ok(summary(&records, demo.streams, &digest, file_bytes))
}

impl Demo<'_> {
    fn start_server(&self, cgroup: Option<&machine::Cgroup>) -> Result<Server> {
        let mut command = self.options.command("server");
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup.path());
        }
        Ok(Server(command.spawn().context("starting the server")?))
    }

    /// A stream of the file: all of it, or as much as is sensible for this size of messages.
    fn stream(&mut self, way: Way, message_bytes: u64, whole: bool) -> StreamSpec {
        let limit = if whole || self.options.whole {
            u64::MAX
        } else {
            MAX_BYTES.min(message_bytes * MAX_MESSAGES)
        };
        self.stream_of(way, message_bytes, self.file_bytes.min(limit))
    }

    fn stream_of(&mut self, way: Way, message_bytes: u64, total_bytes: u64) -> StreamSpec {
        self.streams += 1;
        StreamSpec {
            id: self.streams,
            way,
            message_bytes,
            total_bytes,
        }
    }

    fn start_client(&self, streams: &[StreamSpec], at_once: bool) -> Result<Child> {
        let mut command = self.options.command("client");
        for stream in streams {
            command.arg("--stream").arg(stream.to_string());
        }
        if at_once {
            command.arg("--at-once");
        }
        command.spawn().context("starting a client")
    }

    fn run_client(&self, streams: &[StreamSpec]) -> Result<()> {
        check(self.start_client(streams, false)?)
    }

    fn send_calls(&mut self) -> Result<()> {
        let mut streams: Vec<_> = CALL_BYTES
            .iter()
            .map(|&bytes| self.stream(Way::Call, bytes, CALL_BYTES.last() == Some(&bytes)))
            .collect();
        streams.push(self.stream(Way::Echo, 64 << 10, false));
        self.run_client(&streams)
    }

    fn send_posts(&mut self) -> Result<()> {
        let streams = POST_BYTES.map(|bytes| self.stream(Way::Post, bytes, false));
        self.run_client(&streams)
    }

    /// Three clients of two threads each.
    fn send_at_once(&mut self) -> Result<()> {
        let clients: Vec<_> = [
            [(Way::Call, 1000), (Way::Call, 96 << 10)],
            [(Way::Call, 10_000), (Way::Post, 32 << 10)],
            [(Way::Echo, 20_000), (Way::Call, 256 << 10)],
        ]
        .iter()
        .map(|pair| {
            let streams = pair.map(|(way, bytes)| self.stream(way, bytes, false));
            self.start_client(&streams, true)
        })
        .collect::<Result<_>>()?;
        clients.into_iter().try_for_each(check)
    }

    fn squeeze(&mut self, thread: &mut Thread, cgroup: Option<&machine::Cgroup>) -> Result<()> {
        let before = area_info(thread)?;
        self.state("nobody sends", before, cgroup);
        if let Err(error) = machine::drop_caches() {
            say!("main", "memory cannot be squeezed here ({error:#})");
            return Ok(());
        }
        say!(
            "main",
            "echo 2 > /proc/sys/vm/drop_caches: the kernel asks its shrinkers for all they have"
        );
        // A page that was used lately is spared in the first round.
        machine::drop_caches()?;
        self.state("after two rounds", area_info(thread)?, cgroup);
        show::reclaim_counters();

        let total_bytes = self.repeated(SQUEEZED_BYTES, 64 << 10);
        let stream = self.stream_of(Way::Call, 64 << 10, total_bytes);
        say!(
            "main",
            "the same again and again, while a client sends {}:",
            Bytes(total_bytes)
        );
        let mut client = self.start_client(&[stream], false)?;
        let mut rounds = 0_u32;
        while client.try_wait()?.is_none() {
            machine::drop_caches()?;
            rounds += 1;
            if rounds.is_power_of_two() {
                self.state(&format!("round {rounds}"), area_info(thread)?, None);
            }
            thread::sleep(Duration::from_millis(5));
        }
        check(client)?;
        say!(
            "main",
            "{rounds} rounds, and every byte was right: pages of live buffers are never taken"
        );
        show::reclaim_counters();

        if let Some(cgroup) = cgroup {
            let total_bytes = self.repeated(1 << 20, 512 << 10);
            let stream = self.stream_of(Way::Call, 512 << 10, total_bytes);
            self.run_client(&[stream])?;
            self.state("pages are back", area_info(thread)?, Some(cgroup));
            match cgroup
                .reclaim(MAX_AREA_BYTES as u64)
                .and_then(|()| cgroup.reclaim(MAX_AREA_BYTES as u64))
            {
                Ok(()) => say!(
                    "main",
                    "echo 4M > memory.reclaim of the server's control group: it alone has to give"
                ),
                Err(error) => say!(
                    "main",
                    "the control group cannot be asked to reclaim ({error:#})"
                ),
            }
            self.state("afterwards", area_info(thread)?, Some(cgroup));
        }
        Ok(())
    }

    /// How much to send so that it is about `wanted_bytes`, in at most 1024 messages even if the
    /// file is tiny.
    fn repeated(&self, wanted_bytes: u64, message_bytes: u64) -> u64 {
        wanted_bytes.min(1024 * message_bytes.min(self.file_bytes))
    }

    fn state(&self, when: &str, info: Option<AreaInfo>, cgroup: Option<&machine::Cgroup>) {
        let pages = info.map_or(String::new(), |info| format!(": {}", Pages(&info)));
        let charged = match cgroup.map(machine::Cgroup::charged_bytes) {
            Some(Ok(bytes)) => format!("; its control group is charged {}", Bytes(bytes)),
            _ => String::new(),
        };
        say!("main", "server's area, {when}{pages}{charged}");
    }

    fn end(&self, connection: Connection, mut server: Server, ours: bool) -> Result<()> {
        let module = "rust_ipc";
        let unload = ours && !self.options.keep_module;
        if unload {
            match machine::unload(module) {
                Err(Errno::PERM) => say!("main", "this user may not unload modules"),
                Err(_) => say!(
                    "main",
                    "rmmod {module}: refused, for files of the device are open"
                ),
                Ok(()) => bail!("the module was unloaded while the device was open"),
            }
        }
        let mut thread = connection.thread()?;
        // The server ends instead of answering.
        let _ = thread.transact(Handle::CONTEXT_MANAGER, Op::Stop.code(0), &Payload::EMPTY);
        drop(thread);
        server.0.wait()?;
        drop((server, connection));
        say!("main", "the server has ended, and all files are closed");
        if !unload {
            say!(
                "main",
                "{}",
                if ours {
                    "the module stays, as was asked for"
                } else {
                    "this driver stays: it is not rust_ipc"
                }
            );
            return Ok(());
        }
        // Closed files are put away by a worker of the kernel.
        let deadline = Instant::now() + Duration::from_secs(5);
        let result = loop {
            match machine::unload(module) {
                Err(Errno::AGAIN | Errno::BUSY) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                other => break other,
            }
        };
        match result {
            Err(Errno::PERM) => return Ok(()),
            other => other.with_context(|| format!("unloading {module}"))?,
        }
        say!("main", "rmmod {module}: done");
        ensure!(
            !machine::is_loaded(module)?,
            "/proc/modules still lists {module}"
        );
        ensure!(
            !self.options.device.exists(),
            "{} is still there",
            self.options.device.display()
        );
        say!(
            "main",
            "/proc/modules does not list it, {} is gone",
            self.options.device.display()
        );
        Ok(())
    }
}

fn check(mut client: Child) -> Result<()> {
    let status = client.wait()?;
    // A mismatch shows in the summary as well: go on and show all of it.
    ensure!(
        status.code().is_some_and(|code| code < 2),
        "a client failed ({status})"
    );
    Ok(())
}

/// Waits until the server is the context manager.
fn wait_for(thread: &mut Thread, server: &mut Server) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match thread.transact(Handle::CONTEXT_MANAGER, Op::Hello.code(0), &Payload::EMPTY) {
            Err(Error::Dead(_)) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(2));
            }
            other => return other.map(drop).context("greeting the server"),
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("the server ended ({status})");
        }
    }
}

/// The state of the server's area, asked of the server. None if the driver does not tell.
fn area_info(thread: &mut Thread) -> Result<Option<AreaInfo>> {
    let reply = thread.transact(Handle::CONTEXT_MANAGER, Op::Area.code(0), &Payload::EMPTY)?;
    Ok(AreaInfo::read_from_bytes(reply.bytes()).ok())
}

/// What the server received.
fn records(thread: &mut Thread) -> Result<Vec<Record>> {
    let reply = thread.transact(
        Handle::CONTEXT_MANAGER,
        Op::Records.code(0),
        &Payload::EMPTY,
    )?;
    let records = <[Record]>::ref_from_bytes(reply.bytes());
    Ok(records
        .map_err(|_| anyhow::anyhow!("a malformed answer"))?
        .to_vec())
}

/// Bytes and SHA-256 of a file, read piece by piece.
fn hash(mut file: File) -> Result<(u64, [u8; 32])> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut piece).context("reading the file")? {
            0 => return Ok((bytes, digest.finalize().into())),
            len => {
                digest.update(&piece[..len]);
                bytes += len as u64;
            }
        }
    }
}

/// Prints the table. Whether all is well.
fn summary(records: &[Record], expected: u32, digest: &[u8; 32], file_bytes: u64) -> bool {
    println!(
        "{:>9}  {:<8} {:>9} {:>10} {:>8} {:>12}  SHA-256 at the receiver",
        "message", "way", "messages", "sent", "time", "rate"
    );
    let mut whole = 0;
    let mut wrong = 0;
    for record in records {
        let Report {
            sha256, elapsed_ns, ..
        } = record.sent;
        let elapsed = Duration::from_nanos(elapsed_ns);
        let right = record.received.matches(&record.sent);
        wrong += u32::from(!right);
        let file = record.sent.bytes == file_bytes && sha256 == *digest;
        whole += u32::from(file && right);
        println!(
            "{:>9}  {:<8} {:>9} {:>10} {:>6.2} s {:>12}  {}… {}{}",
            Bytes(record.message_bytes).to_string(),
            Way::name(record.way),
            record.received.messages,
            Bytes(record.received.bytes).to_string(),
            elapsed.as_secs_f64(),
            Throughput(record.received.bytes, elapsed).to_string(),
            Hex(&record.received.sha256[..4]),
            if right { "as sent" } else { "NOT AS SENT" },
            if file { ", the whole file" } else { "" },
        );
    }
    let bytes = records.iter().map(|r| r.received.bytes).sum();
    let messages: u64 = records.iter().map(|r| r.received.messages).sum();
    println!(
        "{:>9}  {:<8} {messages:>9} {:>10}",
        "all",
        "",
        Bytes(bytes).to_string()
    );
    println!("(wall time; reading the file and hashing at both ends included)");
    println!();
    let missing = expected.saturating_sub(records.len() as u32);
    if wrong + missing == 0 && whole > 0 {
        println!("All {expected} streams arrived as sent, {whole} of them the whole file:");
        println!("SHA-256 {}", Hex(digest));
        true
    } else {
        println!(
            "FAILED: of {expected} streams {wrong} arrived damaged, {missing} not at all, and {whole} were the whole file."
        );
        false
    }
}

/// Bytes of a value, for sending.
fn payload<T: IntoBytes + zerocopy::Immutable>(value: &T) -> Payload<'_> {
    Payload::bytes(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_bad_if_anything_is() {
        let sent = Report {
            sha256: [1; 32],
            bytes: 10,
            messages: 1,
            elapsed_ns: 5,
        };
        let record = Record {
            way: 0,
            message_bytes: 128,
            sent,
            received: Report {
                elapsed_ns: 0,
                ..sent
            },
        };
        let verdict = |records: &[Record], expected| summary(records, expected, &[1; 32], 10);
        assert!(verdict(&[record, record], 2));
        assert!(!verdict(&[record], 2), "one did not arrive");
        assert!(!verdict(&[], 0), "nothing was sent");
        for damaged in [
            Report {
                sha256: [2; 32],
                ..sent
            },
            Report { bytes: 9, ..sent },
            Report {
                messages: 2,
                ..sent
            },
        ] {
            let damaged = Record {
                received: damaged,
                ..record
            };
            assert!(!verdict(&[record, damaged], 2));
        }
        assert!(!summary(&[record], 1, &[3; 32], 10), "another file");
    }
}
