// SPDX-License-Identifier: GPL-2.0

//! A thread that makes up what it asks of the driver.

use std::{
    collections::VecDeque,
    io::Write,
    os::{
        fd::{IntoRawFd, RawFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rust_ipc::abi::{bc, br, ioctl, object, tf};
use rust_ipc_oracle::{
    sys::{self, Outcome, Scratch},
    wire::NOWHERE,
};

use crate::{
    board::{Board, Slot},
    message::{self, Known, Places, cookie_of},
    random::Random,
    returns::{self, Return},
    sys::{Commons, Trace},
};

/// Where the area of the first file is mapped; the others follow.
const AREA_BASE: u64 = 0x7000_0000_0000;
const AREA_DISTANCE: u64 = 1 << 30;
/// Files that are sent have these descriptors, and the files of the device those after them. What
/// is received is below.
pub(crate) const OWN_FDS: RawFd = 500;
const SENT: usize = 6;
/// How much of anything is remembered.
const MEMORY: usize = 64;

/// Where in scratch memory things are.
const WRITE_AT: usize = 0;
const ARGUMENT_AT: usize = 1 << 17;
const READ_AT: usize = 1 << 18;
const DATA_AT: usize = 1 << 19;
const GUARD: usize = 128;

const DEVICE: &std::ffi::CStr = c"/dev/rust_ipc";
const DEBUGFS: &str = "/sys/kernel/debug/rust_ipc/";

/// What the threads of a process know of a file of the device.
#[derive(Default)]
struct File {
    is_open: bool,
    /// How often it was opened.
    generation: u32,
    /// Address and length of its area; no length without.
    area: (u64, u64),
    buffers: VecDeque<u64>,
    /// Handles, each as often as it has been acquired.
    handles: Vec<u32>,
    /// Handles that have come with messages, which are not freed yet.
    fresh: VecDeque<u32>,
    acknowledge: VecDeque<(u32, u64, u64)>,
    deaths: VecDeque<u64>,
    freezes: VecDeque<u64>,
}

/// What the threads of a process share.
pub(crate) struct Process {
    board: &'static Board,
    files: Vec<Mutex<File>>,
    sent: [RawFd; SENT],
    commons: Commons,
    /// One of its nodes is the context manager, which it cannot call itself.
    is_manager: AtomicBool,
    /// The rules are not minded, so nothing can be said about what arrives.
    is_wild: bool,
    /// There is nobody else, and nothing may depend on time.
    is_alone: bool,
    /// Its reads wait, until they are interrupted.
    is_waiting: bool,
}

impl Process {
    /// Of so many files, none of which is open yet.
    pub(crate) fn new(
        board: &'static Board,
        files: usize,
        is_wild: bool,
        is_alone: bool,
        is_waiting: bool,
    ) -> anyhow::Result<Self> {
        let kept = |at: usize, fd: RawFd| -> anyhow::Result<RawFd> {
            let to = OWN_FDS + at as RawFd;
            crate::sys::move_fd(fd, to).map_err(std::io::Error::from_raw_os_error)?;
            Ok(to)
        };
        let open = |path| sys::open(path, libc::O_RDWR).map_err(std::io::Error::from_raw_os_error);
        let [end, other] = crate::sys::pipe().map_err(std::io::Error::from_raw_os_error)?;
        let memory = sys::memory_file(c"fuzz")?.into_raw_fd();
        let sent = [
            kept(0, memory)?,
            kept(1, open(c"/dev/null")?)?,
            kept(2, end)?,
            kept(3, other)?,
            // One of the driver's own, that nothing is ever done with, and the first file.
            kept(4, open(DEVICE)?)?,
            OWN_FDS + SENT as RawFd,
        ];
        Ok(Self {
            board,
            files: (0..files).map(|_| Mutex::default()).collect(),
            sent,
            commons: Commons::new()?,
            is_manager: AtomicBool::new(false),
            is_wild,
            is_alone,
            is_waiting,
        })
    }

    fn file(&self, at: usize) -> MutexGuard<'_, File> {
        self.files[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The descriptor of a file, whether it is open or not.
    fn fd(&self, at: usize) -> RawFd {
        OWN_FDS + (SENT + at) as RawFd
    }

    fn area_of(&self, at: usize) -> u64 {
        AREA_BASE + AREA_DISTANCE * at as u64
    }

    /// Opens a file anew, and maps its area as a program would, mostly.
    fn open(&self, at: usize, random: &mut Random) -> u64 {
        let mut file = self.file(at);
        self.close(at, &mut file);
        let nonblock = if self.is_waiting { 0 } else { libc::O_NONBLOCK };
        let fd = match sys::open(DEVICE, libc::O_RDWR | nonblock) {
            Ok(fd) => fd,
            Err(errno) => return errno as u64,
        };
        if crate::sys::move_fd(fd, self.fd(at)).is_err() {
            return 0;
        }
        file.is_open = true;
        let pages = random.of(&[1, 4, 16, 64, 64, 64, 256, 256, 1025]);
        if random.percent(97) {
            file.area = self.map(at, pages * 4096, libc::PROT_READ);
        }
        file.area.1
    }

    fn map(&self, at: usize, len: usize, prot: i32) -> (u64, u64) {
        let base = self.area_of(at);
        match sys::map(base, len, prot, libc::MAP_PRIVATE, self.fd(at)) {
            Ok(start) => (start, len as u64),
            Err(_) => (0, 0),
        }
    }

    fn close(&self, at: usize, file: &mut File) {
        let generation = file.generation + 1;
        if file.is_open {
            let _ = sys::close(self.fd(at));
        }
        let _ = sys::unmap(self.area_of(at), AREA_DISTANCE as usize);
        *file = File {
            generation,
            ..File::default()
        };
    }
}

/// Kinds of operations, for who wants to know what a thread is at.
const KINDS: [&str; 13] = [
    "nothing yet",
    "BINDER_WRITE_READ",
    "another ioctl",
    "poll",
    "open",
    "close",
    "a change of the area",
    "a change of what it sends",
    "fork",
    "a file of debugfs",
    "reclaim",
    "dup and close",
    "writing to the area",
];

/// The name of what [`Slot::doing`] says.
pub(crate) fn kind_name(kind: u32) -> &'static str {
    KINDS.get(kind as usize).copied().unwrap_or("?")
}

/// What a thread is to a file.
#[derive(Clone, Default)]
struct Role {
    /// It has said that it serves.
    has_entered: bool,
    /// It has called and not been answered.
    is_calling: bool,
    /// Calls that it has to answer.
    calls: usize,
}

/// A thread.
pub(crate) struct Actor {
    process: Arc<Process>,
    slot: &'static Slot,
    scratch: Scratch,
    /// What it is to each file.
    roles: Vec<Role>,
    /// Where failures are asked for.
    fail: Option<std::fs::File>,
    /// Not while it may wait: what fails may be the handler of the signal that interrupts it.
    may_fail: bool,
    /// A bit of its commands will be another one.
    is_garbling: bool,
    /// Something is at the end of scratch memory, and nothing else may be put there. See [`Places`].
    end_is_taken: bool,
    pub(crate) trace: Option<Trace>,
}

impl Actor {
    pub(crate) fn new(
        process: Arc<Process>,
        slot: &'static Slot,
        fail: bool,
        trace: bool,
    ) -> anyhow::Result<Self> {
        slot.tid.store(sys::thread_id(), Relaxed);
        let fail = fail
            .then(|| crate::sys::open_own(c"/proc/thread-self/fail-nth"))
            .transpose()?
            .map(std::fs::File::from);
        Ok(Self {
            roles: vec![Role::default(); process.files.len()],
            scratch: Scratch::new()?,
            trace: trace.then(Trace::begin).transpose()?,
            process,
            slot,
            fail,
            may_fail: true,
            is_garbling: false,
            end_is_taken: false,
        })
    }

    /// Something is wrong.
    fn complain(&self, text: &str) {
        self.process.board.complain(&format!(
            "{text}\n(thread {}, at {})",
            sys::thread_id(),
            kind_name(self.slot.doing.load(Relaxed))
        ));
    }

    /// Does what follows from a number. Says what came of it in another one, which is the same
    /// whenever the same is done by one who is alone.
    pub(crate) fn step(&mut self, seed: u64) -> u64 {
        let random = &mut Random::new(seed);
        let process = self.process.clone();
        let at = random.below(process.files.len());
        if !process.file(at).is_open && random.percent(90) {
            self.begin(4);
            return self.open(random, at);
        }
        let result = match random.below(1000) {
            0..=799 => self.exchange(random, at),
            800..=889 => self.other_ioctl(random, at),
            890..=919 => {
                self.begin(3);
                let wait = if process.is_alone { 0 } else { 5 };
                sys::poll(process.fd(at), wait).map_or_else(|e| e as u64, |events| events as u64)
            }
            920..=929 => {
                self.begin(4);
                self.open(random, at)
            }
            930..=934 => {
                self.begin(5);
                process.close(at, &mut process.file(at));
                0
            }
            935..=949 if process.is_wild => self.change_area(random, at),
            935..=959 => {
                self.begin(7);
                let len = random.of(&[1, 4096, 20_000, Commons::LEN]);
                let prot = random.of(&[
                    libc::PROT_NONE,
                    libc::PROT_READ,
                    libc::PROT_READ | libc::PROT_WRITE,
                ]);
                let result = match random.percent(60) {
                    true => process.commons.renew(random.below(64) << 12, len, prot),
                    false => process.commons.advise(libc::MADV_DONTNEED),
                };
                number(result)
            }
            960..=962 => self.in_child(random, at),
            963..=966 => self.debugfs(random),
            967..=968 if process.is_alone => {
                self.begin(10);
                let _ = std::fs::write("/proc/sys/vm/drop_caches", "2");
                0
            }
            967..=979 => {
                self.begin(11);
                let new = sys::dup(process.fd(at));
                new.and_then(sys::close).map_or_else(|e| e as u64, |_| 0)
            }
            _ => {
                self.begin(12);
                let file = process.file(at);
                let (start, len) = file.area;
                let offset = random.below(len as usize) as u64 & !7;
                let result = crate::sys::force_write(start + offset, &[0xee; 8]);
                if len > 0 && result.is_ok() && !process.is_wild {
                    self.complain("an area was written to");
                }
                number(result)
            }
        };
        if (process.is_wild || process.is_alone) && random.percent(2) {
            // What has come and nobody knows of.
            let _ = sys::close_range(3, OWN_FDS - 1);
        }
        result
    }

    /// Opens a file, and perhaps makes it the context manager's.
    fn open(&mut self, random: &mut Random, at: usize) -> u64 {
        self.roles[at] = Role::default();
        let process = self.process.clone();
        let len = process.open(at, random);
        if !random.percent(80) {
            return len;
        }
        number(self.become_manager(random, at))
    }

    fn become_manager(&mut self, random: &mut Random, at: usize) -> Outcome {
        let process = self.process.clone();
        // Type and flags, address, cookie.
        let flags: u64 = if random.percent(10) { 0x1100 } else { 0x17f };
        let kind = u64::from(object::BINDER) | (flags << 32);
        let ptr = random.below(message::NODES as usize) as u64 + 1;
        let words = [kind, ptr, cookie_of(ptr)];
        let request = ioctl::SET_CONTEXT_MGR_EXT;
        let (result, _) = self.with_words(random, process.fd(at), request, words);
        process.is_manager.fetch_or(result.is_ok(), Relaxed);
        result
    }

    fn begin(&self, kind: u32) {
        self.slot.doing.store(kind, Relaxed);
        self.slot.operations.fetch_add(1, Relaxed);
    }

    /// An ioctl, of which a part may fail.
    fn ioctl(&mut self, random: &mut Random, fd: RawFd, request: u32, address: u64) -> Outcome {
        self.slot.calls.fetch_add(1, Relaxed);
        let fails = random.percent(8);
        let most = 1 << random.below(6);
        let nth = 1 + random.below(most);
        let Some(file) = self.fail.as_mut().filter(|_| fails && self.may_fail) else {
            return sys::ioctl(fd, request, address);
        };
        let _undisturbed = crate::sys::Undisturbed::begin();
        let _ = file.write_all(nth.to_string().as_bytes());
        let result = sys::ioctl(fd, request, address);
        // Nothing is left of what has happened. (To read that can be what fails.)
        let mut left = [0; 8];
        if matches!(file.read_at(&mut left, 0), Ok(1..) if left[0] == b'0') {
            self.slot.failures.fetch_add(1, Relaxed);
        }
        // To ask for none can be what fails, so that is asked again.
        let mut writes = 0;
        while file.write_all(b"0").is_err() && writes < 100 {
            writes += 1;
        }
        result
    }

    /// Puts words where the driver finds them, makes an ioctl, and says what became of them.
    fn with_words<const N: usize>(
        &mut self,
        random: &mut Random,
        fd: RawFd,
        request: u32,
        words: [u64; N],
    ) -> (Outcome, [u64; N]) {
        // Now and then at the end of what can be read, or half behind it. What is there must be
        // what was meant: the driver takes any words at all for a context manager's.
        let place = match random.percent(98) || self.end_is_taken {
            true => ARGUMENT_AT,
            false => Scratch::LEN - 8 * random.below(N + 1),
        };
        let room = place..(place + 8 * N).min(Scratch::LEN);
        let bytes = self.scratch.bytes()[room.clone()].chunks_exact_mut(8);
        for (bytes, word) in bytes.zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let result = self.ioctl(random, fd, request, self.scratch.address(place));
        let mut after = words;
        let bytes = self.scratch.bytes()[room].chunks_exact(8);
        for (word, bytes) in after.iter_mut().zip(bytes) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        (result, after)
    }

    fn other_ioctl(&mut self, random: &mut Random, at: usize) -> u64 {
        self.begin(2);
        let process = self.process.clone();
        let fd = process.fd(at);
        let handle = match process.file(at).handles.as_slice() {
            [] => random.below(4) as u32,
            handles => random.of(handles),
        };
        let pid = match random.percent(5) || process.is_alone {
            true => random.below(3) as u64 + std::process::id() as u64,
            false => {
                process.board.pids[random.below(process.board.pids.len())].load(Relaxed) as u64
            }
        };
        let node = random.below(message::NODES as usize + 2) as u64;
        let (request, words): (u32, [u64; 4]) = match random.below(20) {
            18 => (ioctl::VERSION, [0; 4]),
            1..=2 => (ioctl::SET_MAX_THREADS, [random.below(5) as u64, 0, 0, 0]),
            0 => (ioctl::SET_CONTEXT_MGR, [0; 4]),
            3..=5 => return number(self.become_manager(random, at)),
            6..=7 => (ioctl::THREAD_EXIT, [0; 4]),
            8 => (ioctl::GET_NODE_DEBUG_INFO, [node, 0, 0, 0]),
            9 => (ioctl::GET_NODE_INFO_FOR_REF, [handle.into(), 0, 0, 0]),
            10..=13 => {
                let enable = u64::from(random.percent(40));
                let timeout = random.of(&[0, 0, 1, 10, 100]);
                (ioctl::FREEZE, [pid | (enable << 32), timeout, 0, 0])
            }
            14 => (ioctl::GET_FROZEN_INFO, [pid, 0, 0, 0]),
            15 => (
                ioctl::ENABLE_ONEWAY_SPAM_DETECTION,
                [random.below(2) as u64, 0, 0, 0],
            ),
            16 => (ioctl::GET_EXTENDED_ERROR, [0; 4]),
            17 => {
                let (result, _) = self.with_words(random, fd, ioctl::GET_AREA_INFO, [0; 8]);
                return number(result);
            }
            _ => {
                let request = 0x4000_6200 | (random.next() as u32 & 0x8030_ff1f);
                (request, [random.odd_number(), random.odd_number(), 0, 0])
            }
        };
        // What is no struct's size may be one of ours after all: there is room for any.
        if request == ioctl::THREAD_EXIT {
            self.roles[at] = Role::default();
        }
        let (result, after) = self.with_words(random, fd, request, words);
        let is_same = request != ioctl::GET_FROZEN_INFO && request != ioctl::FREEZE;
        if process.is_alone && is_same && result.is_ok() {
            return after
                .iter()
                .fold(1, |digest, word| crate::random::mix(digest, *word));
        }
        number(result)
    }

    fn change_area(&mut self, random: &mut Random, at: usize) -> u64 {
        self.begin(6);
        let process = self.process.clone();
        let base = process.area_of(at);
        let mut file = process.file(at);
        let len = file.area.1 as usize;
        let some = random.below(len / 4096 + 2) * 4096;
        match random.below(40) {
            0 => {
                if !file.is_open {
                    return 0;
                }
                file.area = process.map(at, some.max(4096), libc::PROT_READ);
                file.area.1
            }
            1..=2 => {
                let prot = random.of(&[libc::PROT_READ | libc::PROT_WRITE, libc::PROT_NONE]);
                process.map(at, 4096, prot).1
            }
            3 => number(sys::unmap(base, some)),
            4 => number(sys::unmap(base, len.max(4096))),
            5..=9 => {
                let flags = random.of(&[0, libc::MREMAP_MAYMOVE]);
                number(sys::remap(base, len.max(4096), some, flags).map(|_| 0))
            }
            10..=15 => {
                let prot = random.of(&[
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::PROT_NONE,
                    libc::PROT_READ,
                    libc::PROT_READ | libc::PROT_EXEC,
                ]);
                number(sys::protect(base, some, prot))
            }
            16 => number(sys::map_over(base, some.max(4096))),
            _ => {
                let advice = random.of(&[
                    libc::MADV_DONTNEED,
                    libc::MADV_DONTNEED,
                    libc::MADV_DOFORK,
                    libc::MADV_HUGEPAGE,
                    libc::MADV_COLD,
                    libc::MADV_PAGEOUT,
                    libc::MADV_WILLNEED,
                    libc::MADV_FREE,
                ]);
                number(crate::sys::advise(base, some, advice))
            }
        }
    }

    fn in_child(&mut self, random: &mut Random, at: usize) -> u64 {
        self.begin(8);
        let fd = self.process.fd(at);
        let mut commands = Vec::new();
        push(&mut commands, bc::ENTER_LOOPER);
        push(&mut commands, bc::ACQUIRE);
        push(&mut commands, random.below(3) as u32);
        self.scratch.bytes()[WRITE_AT..WRITE_AT + commands.len()].copy_from_slice(&commands);
        // Without a read: there would be nobody to interrupt it.
        let words = [
            commands.len() as u64,
            0,
            self.scratch.address(WRITE_AT),
            0,
            0,
            0,
        ];
        let room = &mut self.scratch.bytes()[ARGUMENT_AT..ARGUMENT_AT + 48];
        for (bytes, word) in room.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&u64::to_ne_bytes(word));
        }
        let request = random.of(&[
            ioctl::WRITE_READ,
            ioctl::WRITE_READ,
            ioctl::SET_CONTEXT_MGR,
            ioctl::THREAD_EXIT,
            ioctl::GET_AREA_INFO,
        ]);
        let address = self.scratch.address(ARGUMENT_AT);
        number(crate::sys::call_in_child(fd, request, address))
    }

    /// Reads a file of debugfs, or some of it.
    fn debugfs(&mut self, random: &mut Random) -> u64 {
        self.begin(9);
        let name = match random.below(7) {
            0 => "state".into(),
            1 => "stats".into(),
            2 => "transactions".into(),
            3 => "transaction_log".into(),
            4 => "failed_transaction_log".into(),
            5 => "reclaim/zapped".into(),
            _ => {
                let pids = &self.process.board.pids;
                format!("proc/{}", pids[random.below(pids.len())].load(Relaxed))
            }
        };
        let mut room = vec![0; random.of(&[100, 4096, 70_000])];
        if let Ok(mut file) = std::fs::File::open(DEBUGFS.to_owned() + &name) {
            for _ in 0..random.of(&[1, 2, 1000]) {
                match std::io::Read::read(&mut file, &mut room) {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
        0
    }

    /// One `BINDER_WRITE_READ`.
    fn exchange(&mut self, random: &mut Random, at: usize) -> u64 {
        self.begin(1);
        let process = self.process.clone();
        let fd = process.fd(at);
        let mut commands = Vec::new();
        self.is_garbling = process.is_wild && random.percent(10);
        self.end_is_taken = false;
        let generation = {
            let mut file = process.file(at);
            let mut next = DATA_AT;
            for _ in 0..random.of(&[0, 1, 1, 1, 2, 2, 3, 8]) {
                next = self.command(random, &process, at, &mut file, &mut commands, next);
            }
            file.generation
        };
        let mut write_consumed = 0;
        let mut write_size = commands.len();
        if process.is_wild {
            if self.is_garbling && !commands.is_empty() {
                let bit = random.below(commands.len() * 8);
                commands[bit / 8] ^= 1 << (bit % 8);
            }
            if random.percent(3) {
                write_size = random.below(commands.len() + 12);
            }
            if random.percent(2) {
                write_consumed = random.of(&[4, 8, 1 << 40, u64::MAX]);
            }
        }
        let write_at = match random.percent(2) && !self.end_is_taken {
            true => Scratch::LEN - commands.len() / 2,
            false => WRITE_AT,
        };
        self.end_is_taken |= write_at != WRITE_AT;
        let bytes = self.scratch.bytes();
        let end = (write_at + commands.len()).min(bytes.len());
        bytes[write_at..end].copy_from_slice(&commands[..end - write_at]);

        let read_size = match random.below(20) {
            0..=2 => 0,
            3..=15 => 256,
            16 => 1024,
            17 => 4096,
            18 => random.of(&[80, 84, 100]),
            _ => random.of(&[8, 79, 7]),
        };
        let hole = random.percent(2) && !self.end_is_taken;
        self.end_is_taken |= hole;
        let read_at = match hole {
            true => Scratch::LEN - read_size / 2,
            false => READ_AT,
        };
        let end = (read_at + read_size + GUARD).min(bytes.len());
        bytes[read_at..end].fill(0xa5);
        let address = match random.below(200) {
            0 => NOWHERE,
            1 => process.area_of(at),
            2 => 0xffff_8880_0000_0000,
            _ => self.scratch.address(read_at),
        };
        let words = [
            write_size as u64,
            write_consumed,
            self.scratch.address(write_at),
            read_size as u64,
            0,
            address,
        ];
        self.may_fail = read_size == 0 || !process.is_waiting;
        let (result, after) = self.with_words(random, fd, ioctl::WRITE_READ, words);
        self.may_fail = true;
        let (written, read) = (after[1], after[4]);
        if read > read_size as u64 || (written > write_size as u64 && written != write_consumed) {
            self.complain(&format!(
                "{written} of {write_size} bytes were written, {read} of {read_size} read"
            ));
            return 0;
        }
        let mut digest = [number(result), written, read, 0];
        if address == self.scratch.address(read_at) {
            let end = (read_at + read_size + GUARD).min(Scratch::LEN);
            let bytes = self.scratch.bytes()[read_at..end].to_vec();
            let guard = bytes.get(read_size..).unwrap_or_default();
            if guard.iter().any(|&byte| byte != 0xa5) {
                self.complain("behind the room of a read something was written");
            }
            // What fails to be copied may leave less there than is said.
            if !hole && result.is_ok() {
                digest[3] = self.learn(at, generation, &bytes[..read as usize]);
            }
        }
        digest.into_iter().fold(0, crate::random::mix)
    }

    /// Makes a command up. Returns where the next message may be placed.
    fn command(
        &mut self,
        random: &mut Random,
        process: &Process,
        at: usize,
        file: &mut File,
        out: &mut Vec<u8>,
        next: usize,
    ) -> usize {
        // What is to be done comes first.
        let role = &mut self.roles[at];
        if !role.has_entered && random.percent(80) {
            role.has_entered = true;
            push(out, bc::ENTER_LOOPER);
            return next;
        }
        if role.calls > 0 && random.percent(70) {
            role.calls -= 1;
            return self.message(random, process, file, out, next, None);
        }
        if random.percent(80) {
            if let Some(handle) = file.fresh.pop_front() {
                push(out, bc::ACQUIRE);
                push(out, handle);
                file.handles.push(handle);
                return next;
            }
        }
        if file.handles.len() > MEMORY || random.percent(2) && !file.handles.is_empty() {
            let index = random.below(file.handles.len());
            push(out, bc::RELEASE);
            push(out, file.handles.swap_remove(index));
            return next;
        }
        if random.percent(30) {
            if let Some((code, ptr, cookie)) = file.acknowledge.pop_front() {
                push(out, code);
                push_long(out, ptr);
                push_long(out, cookie);
                return next;
            }
        }
        if random.percent(if file.buffers.len() > MEMORY / 2 {
            90
        } else {
            60
        }) {
            if let Some(address) = file.buffers.pop_front() {
                push(out, bc::FREE_BUFFER);
                push_long(out, address);
                return next;
            }
        }
        if random.percent(30) {
            if let Some(cookie) = file.deaths.pop_front() {
                push(out, bc::DEAD_BINDER_DONE);
                push_long(out, cookie);
                return next;
            }
            if let Some(cookie) = file.freezes.pop_front() {
                push(out, bc::FREEZE_NOTIFICATION_DONE);
                push_long(out, cookie);
                return next;
            }
        }
        let is_manager = process.is_manager.load(Relaxed);
        let others = file.handles.iter().filter(|&&h| h > 0 || !is_manager);
        let others: Vec<u32> = others.copied().collect();
        let may_call = !is_manager || !others.is_empty() || random.percent(5);
        let handle = match random.percent(80) && !others.is_empty() {
            true => random.of(&others),
            false => random.of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 1000, u32::MAX]),
        };
        let cookie = 3 + random.below(3) as u64;
        match random.below(50) {
            0..=9 if may_call && (!self.roles[at].is_calling || random.percent(10)) => {
                self.roles[at].is_calling = true;
                return self.message(random, process, file, out, next, Some((handle, 0)));
            }
            0..=21 if may_call => {
                let target = Some((handle, tf::ONE_WAY));
                return self.message(random, process, file, out, next, target);
            }
            0..=29 => {
                let code = random.of(&[bc::ACQUIRE, bc::ACQUIRE, bc::INCREFS, bc::DECREFS]);
                push(out, code);
                push(out, handle);
                if code == bc::ACQUIRE && (handle == 0 || file.handles.contains(&handle)) {
                    file.handles.push(handle);
                }
            }
            30 => {
                push(out, bc::RELEASE);
                push(out, handle);
            }
            31..=39 => {
                let code = random.of(&[
                    bc::REQUEST_DEATH_NOTIFICATION,
                    bc::CLEAR_DEATH_NOTIFICATION,
                    bc::REQUEST_FREEZE_NOTIFICATION,
                    bc::CLEAR_FREEZE_NOTIFICATION,
                ]);
                push(out, code);
                push(out, handle);
                push_long(out, cookie);
            }
            40..=43 => {
                let code = random.of(&[
                    bc::ENTER_LOOPER,
                    bc::ENTER_LOOPER,
                    bc::REGISTER_LOOPER,
                    bc::EXIT_LOOPER,
                ]);
                push(out, code);
            }
            44..=45 => {
                // Not what the driver has asked for.
                let code = random.of(&[bc::ACQUIRE_DONE, bc::INCREFS_DONE]);
                let node = 1 + random.below(message::NODES as usize) as u64;
                push(out, code);
                push_long(out, node);
                push_long(out, cookie_of(node));
            }
            46 => {
                push(out, bc::FREE_BUFFER);
                // No buffer begins there, or (who minds no rules) perhaps one does.
                let offset = random.below(file.area.1.max(1) as usize) as u64;
                let address = file.area.0.wrapping_add(offset);
                push_long(
                    out,
                    if process.is_wild {
                        address & !7
                    } else {
                        address | 1
                    },
                );
            }
            47 => {
                push(
                    out,
                    random.of(&[bc::DEAD_BINDER_DONE, bc::FREEZE_NOTIFICATION_DONE]),
                );
                push_long(out, cookie);
            }
            48 if process.is_wild => {
                push(out, random.next() as u32);
                push_long(out, random.odd_number());
            }
            _ if random.percent(20) => {
                return self.message(random, process, file, out, next, None);
            }
            _ => {}
        }
        next
    }

    /// A message to a handle, with flags, or a reply.
    fn message(
        &mut self,
        random: &mut Random,
        process: &Process,
        file: &File,
        out: &mut Vec<u8>,
        next: usize,
        target: Option<(u32, u32)>,
    ) -> usize {
        let known = Known {
            handles: &file.handles,
            fds: &process.sent,
            is_wild: process.is_wild,
            is_garbled: self.is_garbling,
        };
        let mut places = Places {
            scratch: &mut self.scratch,
            next,
            end_is_taken: self.end_is_taken,
        };
        let mut message = message::make(random, &mut places, &known);
        let next = places.next;
        self.end_is_taken = places.end_is_taken;
        if random.percent(4) {
            // From where others are changing it.
            message.data.code = 0;
            message.data.buffer = process.commons.start();
        }
        if let Some((handle, flags)) = target {
            message.data.target = rust_ipc::abi::word_from_u32(handle);
            message.data.flags = (message.data.flags & !tf::ONE_WAY) | flags;
        }
        let data = &message.data;
        push(
            out,
            match (target, message.scattered) {
                (Some(_), None) => bc::TRANSACTION,
                (Some(_), Some(_)) => bc::TRANSACTION_SG,
                (None, None) => bc::REPLY,
                (None, Some(_)) => bc::REPLY_SG,
            },
        );
        push_long(out, data.target);
        push_long(out, 0);
        push(out, data.code);
        push(out, data.flags);
        push_long(out, 0);
        push_long(out, data.data_size);
        push_long(out, data.offsets_size);
        push_long(out, data.buffer);
        push_long(out, data.offsets);
        if let Some(bytes) = message.scattered {
            push_long(out, bytes);
        }
        next
    }

    /// Takes note of what was returned, and looks whether it can be right.
    fn learn(&mut self, at: usize, generation: u32, bytes: &[u8]) -> u64 {
        let returns = match returns::parse(bytes) {
            Ok(returns) => returns,
            Err(text) => {
                self.complain(&text);
                return 0;
            }
        };
        let process = self.process.clone();
        let mut file = process.file(at);
        if file.generation != generation {
            return 0;
        }
        let mut digest = 0;
        for item in returns {
            digest = crate::random::mix(digest, item.code.into());
            match item.code {
                br::TRANSACTION | br::TRANSACTION_SEC_CTX | br::REPLY => {
                    digest ^= self.arrived(at, &mut file, &item);
                }
                br::INCREFS | br::ACQUIRE | br::RELEASE | br::DECREFS => {
                    let (ptr, cookie) = (item.long(0), item.long(8));
                    digest = crate::random::mix(digest, ptr ^ cookie);
                    if !process.is_wild && !message::is_own_node(ptr, cookie) {
                        self.complain(&format!("not an own node: {ptr:#x}, {cookie:#x}"));
                    }
                    let code = match item.code {
                        br::INCREFS => bc::INCREFS_DONE,
                        br::ACQUIRE => bc::ACQUIRE_DONE,
                        _ => continue,
                    };
                    remember(&mut file.acknowledge, (code, ptr, cookie));
                }
                br::DEAD_REPLY | br::FAILED_REPLY | br::FROZEN_REPLY => {
                    self.roles[at].is_calling = false;
                }
                br::DEAD_BINDER => remember(&mut file.deaths, item.long(0)),
                br::FROZEN_BINDER => remember(&mut file.freezes, item.long(0)),
                _ => {}
            }
        }
        digest
    }

    fn arrived(&mut self, at: usize, file: &mut File, item: &Return<'_>) -> u64 {
        let message = item.message();
        let is_call = item.code != br::REPLY;
        self.roles[at].is_calling &= is_call;
        if is_call && message.flags & tf::ONE_WAY == 0 {
            self.roles[at].calls += 1;
        }
        remember(&mut file.buffers, message.buffer);
        let contents = match message::look(&message, file.area) {
            Ok(contents) => contents,
            Err(_) if self.process.is_wild => return 0,
            Err(text) => {
                self.complain(&text);
                return 0;
            }
        };
        if contents.is_checked {
            self.slot.checked.fetch_add(1, Relaxed);
        }
        for handle in contents.handles {
            remember(&mut file.fresh, handle);
        }
        for fd in contents.fds {
            if fd < OWN_FDS {
                let _ = sys::close(fd);
            }
        }
        contents.digest
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.slot.tid.store(0, Relaxed);
    }
}

fn remember<T>(memory: &mut VecDeque<T>, item: T) {
    if memory.len() == MEMORY {
        memory.pop_front();
    }
    memory.push_back(item);
}

fn number(result: Outcome) -> u64 {
    match result {
        Ok(value) => value,
        Err(errno) => (errno as u64) << 32,
    }
}

fn push(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_ne_bytes());
}

fn push_long(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_ne_bytes());
}
