// SPDX-License-Identifier: GPL-2.0

//! `rsbinder [CASE...]`: rsbinder, its service manager and the service of this crate on a device,
//! `RUST_IPC_DEVICE` (default: `/dev/rust_ipc`; any Binder device will do). Prints TAP.
//!
//! `rsb_hub`, the service manager, looks for a device of any name in `/dev/binderfs`, which may be
//! an ordinary folder with symbolic links.

mod cases;

use std::{
    env, fs,
    io::{BufRead, BufReader, ErrorKind},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rsbinder::{ProcessState, Strong, hub};
use rsbinder_digest::{SERVICE, aidl::IDigest, service_on};

const PATIENCE: Duration = Duration::from_secs(30);

/// A program that ends with this.
struct Peer(Child);

impl Peer {
    fn spawn(command: &mut Command) -> Result<Self> {
        let child = command
            .env("RUST_LOG", "error")
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self(child))
    }

    /// Ends it in the way that gives it no chance to say good-bye.
    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

/// What a case has: a service of its own.
struct Fixture {
    device: String,
    server: Peer,
    digest: Strong<dyn IDigest>,
}

impl Fixture {
    fn new(device: &str) -> Result<Self> {
        // The one before it is gone when the service manager has heard so. Until then, it gives away
        // a dead object, which is an error.
        until("the service manager to forget the last service", || {
            Ok(matches!(hub::try_get_service(SERVICE), Ok(None)))
        })?;
        let server =
            Peer::spawn(Command::new("rsbinder-digest").args(["--device", device, "serve"]))?;
        Ok(Self {
            device: device.to_owned(),
            server,
            digest: hub::wait_for_interface(SERVICE)?,
        })
    }

    /// A client in a process of its own: it has joined when this returns.
    fn client(&self) -> Result<Peer> {
        let mut client = Peer::spawn(
            Command::new("/proc/self/exe")
                .args(["--client", &self.device])
                .stdout(Stdio::piped()),
        )?;
        let stdout = client.0.stdout.take().context("no standard output")?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready)?;
        ensure!(ready == "ready\n", "the client says {ready:?}");
        Ok(client)
    }
}

fn until(what: &str, mut check: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !check()? {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The other program that this is: a client, until it is killed.
fn client(device: &str) -> Result<()> {
    let digest: Strong<dyn IDigest> = rsbinder::connect(service_on(device, 0)?)?;
    let (progress, _told) = cases::Progress::new_binder();
    digest.join(&progress.as_binder())?;
    println!("ready");
    loop {
        thread::park();
    }
}

/// Starts the service manager, and makes this process a client.
fn set_up(device: &str) -> Result<Peer> {
    let name = Path::new(device)
        .file_name()
        .and_then(|name| name.to_str())
        .context("the device has no name")?;
    // Here rsbinder looks whether the driver tells of freezing.
    fs::create_dir_all("/dev/binderfs/features")?;
    fs::write("/dev/binderfs/features/freeze_notification", "1\n")?;
    match symlink(device, Path::new("/dev/binderfs").join(name)) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => bail!(error),
        _ => (),
    }
    let hub = Peer::spawn(
        Command::new("rsb_hub")
            .args(["--insecure-allow-all", "-d", name])
            .stderr(Stdio::null()),
    )?;
    ProcessState::init(device, cases::THREADS)
        .map_err(|error| anyhow::anyhow!("opening {device}: {error}"))?;
    ProcessState::start_thread_pool();
    until("the service manager", || Ok(hub::default().is_ok()))?;
    Ok(hub)
}

fn main() -> ExitCode {
    let mut args: Vec<String> = env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--client") {
        return match client(args.get(1).map_or("", |arg| arg)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    // Options are for the usual test harness.
    args.retain(|arg| !arg.starts_with('-'));
    let device = env::var("RUST_IPC_DEVICE").unwrap_or_else(|_| "/dev/rust_ipc".to_owned());
    if !Path::new(&device).exists() {
        println!("TAP version 13\n1..0 # SKIP there is no {device}");
        return ExitCode::SUCCESS;
    }
    let _hub = match set_up(&device) {
        Ok(hub) => hub,
        Err(error) => {
            println!("Bail out! {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let cases: Vec<_> = cases::ALL
        .iter()
        .filter(|(name, _)| args.is_empty() || args.iter().any(|arg| arg == name))
        .collect();
    println!("TAP version 13\n1..{}", cases.len());
    let mut failed = 0;
    for (number, (name, case)) in cases.iter().enumerate() {
        let number = number + 1;
        match Fixture::new(&device).and_then(|mut fixture| case(&mut fixture)) {
            Ok(()) => println!("ok {number} {name}"),
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
