// SPDX-License-Identifier: GPL-2.0

//! `driver [CASE...]`: tests the crate against a driver, and prints TAP. `RUST_IPC_DEVICE` names the
//! device (default: `/dev/rust_ipc`; any Binder device will do). Without it everything is skipped.
//!
//! The cases are in `cases.rs`. Each of them talks to a fresh server (`server.rs`), which is this
//! program once more, in a process of its own.

mod cases;
mod server;

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rust_ipc::{Connection, Device};
use rustix::io::Errno;

const AREA_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// What a case has: the device and a server on it.
struct Fixture {
    device: PathBuf,
    server: Child,
}

impl Fixture {
    fn new(device: &Path) -> Result<Self> {
        let mut server = Command::new("/proc/self/exe")
            .arg("--server")
            .arg(device)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the server")?;
        let stdout = server.stdout.take().context("no standard output")?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        if ready != "ready\n" {
            let _ = server.wait();
            bail!("the server did not start");
        }
        Ok(Self {
            device: device.into(),
            server,
        })
    }

    fn connect(&self) -> Result<Connection> {
        Ok(Device::open(&self.device)?.map(AREA_BYTES)?)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Opens the device as its context manager. A manager that just ended may take a moment to go.
fn context_manager(path: &Path) -> Result<Connection> {
    let connection = Device::open(path)?.map(AREA_BYTES)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.device().become_context_manager() {
            Err(error) if error.errno() == Some(Errno::BUSY) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            other => {
                other?;
                return Ok(connection);
            }
        }
    }
}

fn main() -> ExitCode {
    let mut args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--server") {
        return match server::run(Path::new(args.get(1).map_or("", |arg| arg))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let device: PathBuf = env::var_os("RUST_IPC_DEVICE")
        .unwrap_or_else(|| "/dev/rust_ipc".into())
        .into();
    // Options are for the usual test harness.
    args.retain(|arg| !arg.starts_with('-'));
    if !device.exists() {
        println!(
            "TAP version 13\n1..0 # SKIP there is no {}",
            device.display()
        );
        return ExitCode::SUCCESS;
    }
    let cases: Vec<_> = cases::ALL
        .iter()
        .filter(|(name, _)| args.is_empty() || args.iter().any(|arg| arg == name))
        .collect();
    println!("TAP version 13\n1..{}", cases.len());
    let mut failed = 0;
    for (number, (name, case)) in cases.iter().enumerate() {
        let number = number + 1;
        match Fixture::new(&device).and_then(|mut fixture| case(&mut fixture)) {
            Ok(cases::Verdict::Passed) => println!("ok {number} {name}"),
            Ok(cases::Verdict::Skipped(why)) => println!("ok {number} {name} # SKIP {why}"),
            Err(error) => {
                failed += 1;
                println!("# {error:?}");
                println!("not ok {number} {name}");
            }
        }
    }
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
