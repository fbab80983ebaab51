// SPDX-License-Identifier: GPL-2.0

//! The service itself.

use std::{
    collections::HashSet,
    env,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::AsRawFd,
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use rsbinder::{
    BinderResult, DeathRecipient, ExceptionCode, Interface, ParcelFileDescriptor, SIBinder, Status,
    Strong, WIBinder,
};
use sha2::{Digest, Sha256};

use crate::{
    aidl::{BnDigest, BnStream, IDigest, IProgress, IStream},
    hex,
};

const READ_BYTES: usize = 64 << 10;

/// How long a call waits for what others have to send first.
const PATIENCE: Duration = Duration::from_secs(30);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn illegal_state(why: &str) -> Status {
    (ExceptionCode::IllegalState, why).into()
}

/// A line for each digest, in a file without a name.
struct Journal(Mutex<File>);

impl Journal {
    fn note(&self, of: &str, digest: String) -> BinderResult<String> {
        writeln!(lock(&self.0), "{digest} {of}")?;
        Ok(digest)
    }
}

/// Who has joined.
#[derive(Default)]
struct Clients(Mutex<Vec<SIBinder>>);

impl DeathRecipient for Clients {
    fn binder_died(&self, who: &WIBinder) {
        lock(&self.0).retain(|client| who != client);
    }
}

/// Who is in [`IDigest::gather`].
#[derive(Default)]
struct Gathering {
    callers: i32,
    threads: HashSet<ThreadId>,
}

/// The service: register what [`Service::new_binder`] makes.
pub struct Service {
    journal: Arc<Journal>,
    clients: Arc<Clients>,
    gathering: Mutex<Gathering>,
    arrival: Condvar,
}

impl Service {
    /// A service as a binder object.
    pub fn new_binder() -> io::Result<Strong<dyn IDigest>> {
        let path = env::temp_dir().join(format!("rust_ipc.digest.{}", process::id()));
        let journal = File::create_new(&path)?;
        fs::remove_file(path)?;
        Ok(BnDigest::new_binder(Self {
            journal: Arc::new(Journal(Mutex::new(journal))),
            clients: Arc::default(),
            gathering: Mutex::default(),
            arrival: Condvar::new(),
        }))
    }
}

impl Interface for Service {}

impl IDigest for Service {
    fn ofText(&self, text: &str) -> BinderResult<String> {
        self.journal.note("a text", hex(Sha256::digest(text)))
    }

    fn ofBytes(&self, bytes: &[u8]) -> BinderResult<String> {
        self.journal.note("bytes", hex(Sha256::digest(bytes)))
    }

    fn ofFile(&self, file: &ParcelFileDescriptor) -> BinderResult<String> {
        let mut hash = Sha256::new();
        let mut piece = vec![0; READ_BYTES];
        let mut file = file;
        loop {
            match file.read(&mut piece)? {
                0 => return self.journal.note("a file", hex(hash.finalize())),
                len => hash.update(&piece[..len]),
            }
        }
    }

    fn open(&self, progress: &Strong<dyn IProgress>) -> BinderResult<Strong<dyn IStream>> {
        Ok(BnStream::new_binder(Stream {
            journal: self.journal.clone(),
            progress: progress.clone(),
            open: Mutex::new(Some(Open::default())),
            growth: Condvar::new(),
        }))
    }

    fn journal(&self) -> BinderResult<ParcelFileDescriptor> {
        // An open file of its own, which starts at the beginning.
        let path = format!("/proc/self/fd/{}", lock(&self.journal.0).as_raw_fd());
        Ok(ParcelFileDescriptor::new(File::open(path)?))
    }

    fn gather(&self, callers: i32) -> BinderResult<i32> {
        let mut gathering = lock(&self.gathering);
        gathering.callers += 1;
        gathering.threads.insert(thread::current().id());
        self.arrival.notify_all();
        let (gathering, timeout) = self
            .arrival
            .wait_timeout_while(gathering, PATIENCE, |now| now.callers < callers)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(illegal_state("the other callers did not come"));
        }
        Ok(gathering.threads.len().try_into().unwrap_or(i32::MAX))
    }

    fn join(&self, client: &SIBinder) -> BinderResult<()> {
        let mut clients = lock(&self.clients.0);
        // Who is dead already is refused here.
        client.link_to_death_arc(&self.clients)?;
        clients.push(client.clone());
        Ok(())
    }

    fn present(&self) -> BinderResult<i32> {
        Ok(lock(&self.clients.0).len().try_into().unwrap_or(i32::MAX))
    }
}

#[derive(Default)]
struct Open {
    hash: Sha256,
    len_bytes: i64,
}

struct Stream {
    journal: Arc<Journal>,
    progress: Strong<dyn IProgress>,
    /// Nothing once it is finished.
    open: Mutex<Option<Open>>,
    growth: Condvar,
}

impl Stream {
    fn add(&self, bytes: &[u8]) -> BinderResult<i64> {
        let mut open = lock(&self.open);
        let open = open
            .as_mut()
            .ok_or_else(|| illegal_state("the stream is finished"))?;
        open.hash.update(bytes);
        open.len_bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.growth.notify_all();
        Ok(open.len_bytes)
    }

    /// Waits for so many bytes.
    fn grown(&self, bytes: i64) -> BinderResult<MutexGuard<'_, Option<Open>>> {
        let (open, timeout) = self
            .growth
            .wait_timeout_while(lock(&self.open), PATIENCE, |open| {
                open.as_ref().is_some_and(|open| open.len_bytes < bytes)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(illegal_state("so many bytes did not come"));
        }
        Ok(open)
    }
}

impl Interface for Stream {}

impl IStream for Stream {
    fn write(&self, bytes: &[u8]) -> BinderResult<()> {
        let len_bytes = self.add(bytes)?;
        self.progress.written(len_bytes)
    }

    fn push(&self, bytes: &[u8]) -> BinderResult<()> {
        self.add(bytes).map(drop)
    }

    fn settle(&self, bytes: i64) -> BinderResult<()> {
        self.grown(bytes).map(drop)
    }

    fn finish(&self, bytes: i64) -> BinderResult<String> {
        let open = self
            .grown(bytes)?
            .take()
            .ok_or_else(|| illegal_state("the stream is finished"))?;
        let digest = self.journal.note("a stream", hex(open.hash.finalize()))?;
        self.progress.finished(&digest)?;
        Ok(digest)
    }
}
