// SPDX-License-Identifier: GPL-2.0

//! `rsbinder-digest serve` offers the service, and does not end; `rsbinder-digest send FILE` has it
//! digest a file, in each of its ways, and shows what happens. `--device PATH` is before that, if
//! the device is not `/dev/rust_ipc`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rsbinder::{BinderResult, Interface, ParcelFileDescriptor, ProcessState, Strong};
use rsbinder_digest::{
    SERVICE, Service,
    aidl::{BnProgress, IDigest, IProgress},
    hex, service_on,
};
use sha2::{Digest, Sha256};

const USAGE: &str = "usage: rsbinder-digest [--device PATH] serve | send FILE";
const PIECE_BYTES: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(30);

enum Job {
    Serve,
    Send(PathBuf),
}

fn parse() -> Result<(String, Job)> {
    use lexopt::prelude::*;

    let mut device = "/dev/rust_ipc".to_owned();
    let mut words = Vec::new();
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("device") => device = args.value()?.string()?,
            Value(word) => words.push(word),
            other => return Err(other.unexpected()).context(USAGE),
        }
    }
    let job = match words.as_slice() {
        [job] if job == "serve" => Job::Serve,
        [job, file] if job == "send" => Job::Send(file.into()),
        _ => bail!(USAGE),
    };
    Ok((device, job))
}

/// The client's end of a stream, which the service calls.
struct Progress {
    len_bytes: Arc<AtomicI64>,
    digests: mpsc::Sender<String>,
}

impl Interface for Progress {}

impl IProgress for Progress {
    fn written(&self, bytes: i64) -> BinderResult<()> {
        self.len_bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn finished(&self, digest: &str) -> BinderResult<()> {
        // Nobody listens any more: so be it.
        let _ = self.digests.send(digest.to_owned());
        Ok(())
    }
}

fn send(digest: &Strong<dyn IDigest>, path: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let expected = hex(Sha256::digest(&bytes));
    let report = |way: &str, start: Instant, answer: &str| {
        ensure!(
            answer == expected,
            "{way}: {answer} came back, not {expected}"
        );
        println!("{:>8.3} s  {way}", start.elapsed().as_secs_f64());
        Ok(())
    };
    println!(
        "{} bytes, SHA-256 {expected}\nThe service says the same of:",
        bytes.len()
    );

    let start = Instant::now();
    let file = ParcelFileDescriptor::new(File::open(path)?);
    let answer = digest.ofFile(&file)?;
    report("a file descriptor, which the service reads", start, &answer)?;

    let start = Instant::now();
    let len_bytes = Arc::new(AtomicI64::new(0));
    let (digests, finished) = mpsc::channel();
    let progress = BnProgress::new_binder(Progress {
        len_bytes: len_bytes.clone(),
        digests,
    });
    let stream = digest.open(&progress)?;
    let mut sent = 0;
    for piece in bytes.chunks(PIECE_BYTES) {
        stream.write(piece)?;
        sent += i64::try_from(piece.len())?;
        ensure!(
            len_bytes.load(Ordering::Relaxed) == sent,
            "a call was not called back"
        );
    }
    let answer = stream.finish(sent)?;
    let told = finished
        .recv_timeout(PATIENCE)
        .context("no word of the end")?;
    ensure!(
        told == answer,
        "the one-way message says {told}, the reply {answer}"
    );
    report(
        "calls with a piece each, and in each a call back",
        start,
        &answer,
    )?;

    let start = Instant::now();
    let stream = digest.open(&progress)?;
    let mut sent = 0;
    for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
        stream.push(piece)?;
        sent += i64::try_from(piece.len())?;
        // One-way messages fill half of the service's area at most.
        if number % 4 == 3 {
            stream.settle(sent)?;
        }
    }
    let answer = stream.finish(sent)?;
    report("one-way messages with a piece each", start, &answer)
}

fn run() -> Result<()> {
    let (device, job) = parse()?;
    match job {
        Job::Serve => {
            let service = Service::new_binder().context("making the service")?;
            rsbinder::serve(service_on(&device, 3)?)?
                .add(SERVICE, service)?
                .run()?;
            bail!("the service ended");
        }
        Job::Send(path) => {
            let digest = rsbinder::connect(service_on(&device, 0)?)?;
            // For what is called one-way while no thread of ours waits in a call.
            ProcessState::start_thread_pool();
            send(&digest, &path).with_context(|| format!("sending {}", path.display()))
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rsbinder-digest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
