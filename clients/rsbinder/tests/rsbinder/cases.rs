// SPDX-License-Identifier: GPL-2.0

//! The cases.

use std::{
    io::{Read, Seek, Write},
    sync::{Arc, Mutex, mpsc},
    thread::{self, ThreadId},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rsbinder::{
    BinderResult, DeathRecipient, ExceptionCode, FrozenState, FrozenStateChangeCallback, Interface,
    ParcelFileDescriptor, ProcessState, StatusCode, Strong, WIBinder, hub,
};
use rsbinder_digest::{
    SERVICE,
    aidl::{BnProgress, IProgress},
    hex,
};
use sha2::{Digest, Sha256};

use crate::{Fixture, PATIENCE, until};

/// What the driver may ask of this process, beside the thread that it starts itself.
pub const THREADS: u32 = 3;

pub type Case = fn(&mut Fixture) -> Result<()>;

macro_rules! cases {
    ($($name:ident,)*) => { pub const ALL: &[(&str, Case)] = &[$((stringify!($name), $name),)*]; };
}

cases! {
    service_manager_knows_the_service,
    payloads_arrive_whole,
    too_large_a_payload_is_refused,
    exception_is_not_a_failure,
    descriptors_travel_both_ways,
    service_calls_back_the_waiting_thread,
    one_way_messages_come_in_order,
    one_way_call_reaches_the_thread_pool,
    object_goes_with_its_last_reference,
    each_caller_has_a_thread,
    death_of_the_service_is_told,
    death_of_a_client_is_told,
    frozen_service_is_noticed,
}

fn pattern(len_bytes: usize) -> Vec<u8> {
    (0..len_bytes).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// What a stream says to its client.
#[derive(Debug, PartialEq)]
pub enum Told {
    Written(i64, ThreadId),
    Finished(String, ThreadId),
}

/// The client's end of a stream.
pub struct Progress(Mutex<mpsc::Sender<Told>>);

impl Progress {
    pub fn new_binder() -> (Strong<dyn IProgress>, mpsc::Receiver<Told>) {
        let (sender, told) = mpsc::channel();
        (BnProgress::new_binder(Self(Mutex::new(sender))), told)
    }

    fn tell(&self, told: Told) {
        // A case that has seen enough does not listen any more.
        if let Ok(sender) = self.0.lock() {
            let _ = sender.send(told);
        }
    }
}

impl Interface for Progress {}

impl IProgress for Progress {
    fn written(&self, bytes: i64) -> BinderResult<()> {
        self.tell(Told::Written(bytes, thread::current().id()));
        Ok(())
    }

    fn finished(&self, digest: &str) -> BinderResult<()> {
        self.tell(Told::Finished(digest.to_owned(), thread::current().id()));
        Ok(())
    }
}

/// Passes on whose death it was told of.
struct Mourner(Mutex<mpsc::Sender<WIBinder>>);

impl DeathRecipient for Mourner {
    fn binder_died(&self, who: &WIBinder) {
        if let Ok(sender) = self.0.lock() {
            let _ = sender.send(who.clone());
        }
    }
}

/// Passes on what it was told of freezing.
struct Observer(Mutex<mpsc::Sender<FrozenState>>);

impl FrozenStateChangeCallback for Observer {
    fn on_state_changed(&self, _: &WIBinder, state: FrozenState) {
        if let Ok(sender) = self.0.lock() {
            let _ = sender.send(state);
        }
    }
}

fn service_manager_knows_the_service(fixture: &mut Fixture) -> Result<()> {
    let names = hub::list_services(hub::DUMP_FLAG_PRIORITY_ALL);
    ensure!(names.iter().any(|name| name == SERVICE), "{names:?}");
    let found = hub::try_get_service(SERVICE)?.context("it is listed only")?;
    ensure!(
        found == fixture.digest.as_binder(),
        "one object, two proxies"
    );
    ensure!(found.ping_binder().is_ok(), "it does not answer a ping");
    ensure!(hub::try_get_service("rust_ipc.nothing")?.is_none());
    let infos = hub::get_service_debug_info()?;
    let info = infos.iter().find(|info| info.name == SERVICE);
    let pid = info
        .context("the service manager has no process of it")?
        .debugPid;
    ensure!(
        u32::try_from(pid)? == fixture.server.0.id(),
        "its process is {pid}"
    );
    Ok(())
}

fn payloads_arrive_whole(fixture: &mut Fixture) -> Result<()> {
    for len_bytes in [0, 1, 3, 4, 4095, 4096, 4097, 65_536, 500_001, 1_000_000] {
        let bytes = pattern(len_bytes);
        let digest = fixture.digest.ofBytes(&bytes)?;
        ensure!(digest == sha256(&bytes), "of {len_bytes} bytes: {digest}");
    }
    // The wire has text in UTF-16.
    let text = "Grüße, 世界 \u{1f980}";
    ensure!(fixture.digest.ofText(text)? == sha256(text.as_bytes()));
    Ok(())
}

fn too_large_a_payload_is_refused(fixture: &mut Fixture) -> Result<()> {
    // A service of rsbinder's has an area of 1 MiB less two pages.
    for _ in 0..3 {
        let error = fixture.digest.ofBytes(&pattern(1 << 20)).err();
        let error = error.context("it was taken")?.transaction_error();
        ensure!(error == StatusCode::FailedTransaction, "{error}");
    }
    let bytes = pattern(1_000_000);
    ensure!(fixture.digest.ofBytes(&bytes)? == sha256(&bytes));
    Ok(())
}

fn exception_is_not_a_failure(fixture: &mut Fixture) -> Result<()> {
    let (progress, _told) = Progress::new_binder();
    let stream = fixture.digest.open(&progress)?;
    stream.finish(0)?;
    let status = stream.finish(0).err().context("it was finished twice")?;
    ensure!(
        status.exception_code() == ExceptionCode::IllegalState,
        "{status}"
    );
    ensure!(
        status.message() == Some("the stream is finished"),
        "{status}"
    );
    Ok(())
}

fn descriptors_travel_both_ways(fixture: &mut Fixture) -> Result<()> {
    let bytes = pattern(300_000);
    let (reader, mut writer) = ParcelFileDescriptor::pipe()?;
    let digest = thread::scope(|scope| {
        let feeder = scope.spawn(move || writer.write_all(&bytes[..]).map(|()| sha256(&bytes)));
        let digest = fixture.digest.ofFile(&reader)?;
        let expected = feeder.join().expect("the feeder panicked")?;
        ensure!(digest == expected, "{digest}, not {expected}");
        Ok(digest)
    })?;

    let mut journal = std::fs::File::from(std::os::fd::OwnedFd::from(fixture.digest.journal()?));
    let mut lines = String::new();
    journal.read_to_string(&mut lines)?;
    ensure!(lines == format!("{digest} a file\n"), "{lines:?}");
    // The service's file, not a copy: what it writes now is seen here.
    let other = fixture.digest.ofText("other")?;
    lines.clear();
    ensure!(journal.stream_position()? > 0);
    journal.read_to_string(&mut lines)?;
    ensure!(lines == format!("{other} a text\n"), "{lines:?}");
    Ok(())
}

fn service_calls_back_the_waiting_thread(fixture: &mut Fixture) -> Result<()> {
    let (progress, told) = Progress::new_binder();
    let stream = fixture.digest.open(&progress)?;
    let me = thread::current().id();
    for round in 1..=20 {
        stream.write(&pattern(1000))?;
        // It was told before the call returned.
        let now = told.try_recv();
        ensure!(now == Ok(Told::Written(1000 * round, me)), "{now:?}");
    }
    Ok(())
}

fn one_way_messages_come_in_order(fixture: &mut Fixture) -> Result<()> {
    let (progress, _told) = Progress::new_binder();
    let stream = fixture.digest.open(&progress)?;
    let bytes = pattern(2_000_000);
    let mut sent = 0;
    for (number, piece) in bytes.chunks(3_001).enumerate() {
        stream.push(piece)?;
        sent += i64::try_from(piece.len())?;
        // They fill half of the service's area at most.
        if number % 100 == 99 {
            stream.settle(sent)?;
        }
    }
    ensure!(stream.finish(sent)? == sha256(&bytes));
    Ok(())
}

fn one_way_call_reaches_the_thread_pool(fixture: &mut Fixture) -> Result<()> {
    let (progress, told) = Progress::new_binder();
    let digest = fixture.digest.open(&progress)?.finish(0)?;
    match told.recv_timeout(PATIENCE)? {
        Told::Finished(told, thread) => {
            ensure!(told == digest, "{told}, not {digest}");
            ensure!(thread != thread::current().id());
        }
        other => anyhow::bail!("{other:?}"),
    }
    Ok(())
}

fn object_goes_with_its_last_reference(fixture: &mut Fixture) -> Result<()> {
    let (progress, told) = Progress::new_binder();
    let stream = fixture.digest.open(&progress)?;
    stream.write(b"something")?;
    told.try_recv()?;
    // The service alone holds it now, and through it the sender of the channel.
    drop(progress);
    stream.write(b"more")?;
    told.try_recv()?;
    drop(stream);
    let end = told.recv_timeout(PATIENCE);
    ensure!(end == Err(mpsc::RecvTimeoutError::Disconnected), "{end:?}");
    Ok(())
}

fn each_caller_has_a_thread(fixture: &mut Fixture) -> Result<()> {
    // The service's main thread, its pool's first, and those the driver asked for.
    let callers = 5;
    thread::scope(|scope| {
        let callers: Vec<_> = (0..callers)
            .map(|_| scope.spawn(|| fixture.digest.gather(callers)))
            .collect();
        for caller in callers {
            let threads = caller.join().expect("a caller panicked")?;
            ensure!(threads == 5, "{threads} threads took 5 calls at once");
        }
        Ok(())
    })
}

fn death_of_the_service_is_told(fixture: &mut Fixture) -> Result<()> {
    let (sender, told) = mpsc::channel();
    let mourner = Arc::new(Mourner(Mutex::new(sender)));
    let binder = fixture.digest.as_binder();
    binder.link_to_death_arc(&mourner)?;
    ensure!(told.try_recv().is_err(), "it was told too early");
    fixture.server.kill()?;
    let who = told.recv_timeout(PATIENCE).context("it was not told")?;
    ensure!(who == binder, "of someone else's death");
    let error = fixture.digest.ofText("").err().context("it answers")?;
    let error = error.transaction_error();
    ensure!(error == StatusCode::DeadObject, "{error}");
    ensure!(binder.ping_binder().is_err(), "it answers a ping");
    Ok(())
}

fn death_of_a_client_is_told(fixture: &mut Fixture) -> Result<()> {
    let mut clients = [fixture.client()?, fixture.client()?];
    ensure!(fixture.digest.present()? == 2);
    for (client, left) in clients.iter_mut().zip([1, 0]) {
        client.kill()?;
        until("the service to hear of it", || {
            Ok(fixture.digest.present()? == left)
        })?;
    }
    Ok(())
}

fn frozen_service_is_noticed(fixture: &mut Fixture) -> Result<()> {
    let (sender, told) = mpsc::channel();
    let observer = Arc::new(Observer(Mutex::new(sender)));
    let binder = fixture.digest.as_binder();
    let process = ProcessState::as_self();
    let pid = i32::try_from(fixture.server.0.id())?;
    let (progress, _told) = Progress::new_binder();
    let stream = fixture.digest.open(&progress)?;

    binder.add_frozen_state_change_callback_arc(&observer)?;
    ensure!(told.recv_timeout(PATIENCE)? == FrozenState::Unfrozen);
    process.freeze_process(pid, true, PATIENCE)?;
    ensure!(told.recv_timeout(PATIENCE)? == FrozenState::Frozen);

    // A call is refused, a one-way message is not. (The service's threads still run here.)
    let error = fixture.digest.ofText("").err().context("it answers")?;
    let error = error.transaction_error();
    ensure!(error == StatusCode::FailedTransaction, "{error}");
    stream.push(b"later")?;
    let info = process.process_freeze_info(pid)?;
    ensure!(info.sync_received && info.async_received, "{info:?}");

    process.freeze_process(pid, false, Duration::ZERO)?;
    ensure!(told.recv_timeout(PATIENCE)? == FrozenState::Unfrozen);
    ensure!(stream.finish(5)? == sha256(b"later"));
    binder.remove_frozen_state_change_callback_arc(&observer)?;
    Ok(())
}
