// SPDX-License-Identifier: GPL-2.0

//! A process of a script. Its threads take one step after the other from the controller, carry it
//! out, and say in words what came of it.

use std::{
    ffi::CString,
    os::fd::{OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use rust_ipc::abi::ioctl;

use crate::{
    breaks::Break,
    script::{Body, Step, Token, Who, take_option, take_word},
    sys::{self, Scratch},
    wire::{self, Encoder, NOWHERE, OWN_FDS, State, error_name, escaped, file_text},
};

/// Where the area of the first process is mapped; the next ones follow at distances of
/// [`AREA_DISTANCE`]. It is the same for both drivers, so that addresses can be compared.
const AREA_BASE: u64 = 0x7000_0000_0000;
const AREA_DISTANCE: u64 = 1 << 30;
/// Bytes of an area, unless the script says otherwise.
const AREA_BYTES: u64 = 64 << 10;
/// Where arguments of ioctls are in scratch memory.
const ARGUMENT_AT: usize = 3 << 18;

/// What the threads of a process share.
struct Process {
    index: usize,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    path: CString,
    fd: Option<RawFd>,
    wire: State,
    broken: Option<Break>,
    tids: Vec<i32>,
}

impl Process {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn area(&self) -> u64 {
        area(self.index)
    }
}

/// Where the area of a process is.
fn area(index: usize) -> u64 {
    AREA_BASE + AREA_DISTANCE * index as u64
}

/// Unmaps the area of a process that has ended, and whose memory has not.
pub fn unmap_area(index: usize) {
    let _ = sys::unmap(area(index), AREA_DISTANCE as usize);
}

/// What the process is from the controller's fork to its end: the first socket is for the process,
/// the others are for a thread each.
pub fn run(index: usize, sockets: &[RawFd], files: &[RawFd]) -> Result<()> {
    sys::run_first(0).map_err(std::io::Error::from_raw_os_error)?;
    // What the parent has open is not for scripts to see: all that is kept moves above OWN_FDS, at
    // places that are the same in every process.
    let mut kept = Vec::new();
    for &fd in files.iter().chain(sockets) {
        // Above all others first, so as not to be in the way of what is to come.
        kept.push(sys::dup_above(fd, OWN_FDS + 100)?);
    }
    let _ = sys::close_range(3, OWN_FDS + 99);
    let mut own = Vec::new();
    for &fd in &kept {
        own.push(sys::dup_above(fd, OWN_FDS)?);
    }
    let _ = sys::close_range(OWN_FDS + own.len() as RawFd, RawFd::MAX);
    let mut state = Shared::default();
    for &fd in &own[..files.len()] {
        state.wire.files.push(sys::identity(fd).unwrap_or_default());
    }
    let process = Arc::new(Process {
        index,
        shared: Mutex::new(state),
    });

    let mut sockets = own[files.len()..].iter().map(|&fd| sys::own(fd));
    let control = sockets.next().context("no socket")?;
    for socket in sockets {
        let process = process.clone();
        thread::Builder::new()
            .stack_size(sys::STACK_LEN)
            .spawn(move || Thread::new(process, socket).and_then(Thread::serve))?;
    }
    while let Some(message) = sys::receive(&control, true)? {
        let mut words = message.split_whitespace();
        match words.next() {
            Some("begin") => begin(&process, words.collect())?,
            _ => end(&process),
        }
        sys::send(&control, "ok")?;
    }
    Ok(())
}

fn begin(process: &Process, words: Vec<&str>) -> Result<()> {
    let [path, broken, pids @ ..] = words.as_slice() else {
        bail!("begin what?");
    };
    let mut shared = process.shared();
    shared.path = CString::new(*path)?;
    shared.broken = Break::by_name(broken);
    shared.wire.pids = pids
        .iter()
        .map(|pid| pid.parse())
        .collect::<Result<_, _>>()?;
    shared.wire.buffers.clear();
    shared.wire.area = (0, 0);
    Ok(())
}

/// Leaves nothing for the next script. No thread is in the driver any more.
fn end(process: &Process) {
    let mut shared = process.shared();
    // What is there, whoever mapped or covered it.
    let _ = sys::unmap(process.area(), AREA_DISTANCE as usize);
    let _ = sys::set_fd_limit(1024);
    let _ = sys::close_range(3, OWN_FDS - 1);
    shared.fd = None;
    for &tid in &shared.tids {
        let _ = sys::set_nice(tid, 0);
    }
}

struct Thread {
    process: Arc<Process>,
    socket: OwnedFd,
    scratch: Scratch,
}

/// How a step ends if not by words.
enum Outcome {
    Text(String),
    /// The thread has ended.
    Gone,
}

impl Thread {
    fn new(process: Arc<Process>, socket: OwnedFd) -> Result<Self> {
        let tid = sys::thread_id();
        process.shared().tids.push(tid);
        sys::send(&socket, &tid.to_string())?;
        Ok(Self {
            process,
            socket,
            scratch: Scratch::new()?,
        })
    }

    fn serve(mut self) -> Result<()> {
        while let Some(text) = sys::receive(&self.socket, true)? {
            let outcome = Step::parse(&text).and_then(|step| match &step.body {
                Body::Exchange(items) => self.exchange(items).map(Outcome::Text),
                Body::Verb(words) => self.verb(words.clone()),
            });
            let mut text = match outcome {
                Ok(Outcome::Text(text)) => text,
                Ok(Outcome::Gone) => return Ok(()),
                Err(error) => format!("SCRIPT ERROR {error:#}"),
            };
            let nice = sys::nice(0);
            if nice != 0 {
                text.push_str(&format!(" [nice {nice}]"));
            }
            sys::send(&self.socket, &text)?;
        }
        Ok(())
    }

    fn fd(&self) -> RawFd {
        self.process.shared().fd.unwrap_or(-1)
    }

    /// One `BINDER_WRITE_READ`.
    fn exchange(&mut self, items: &[Vec<Token>]) -> Result<String> {
        let (fd, broken, exchange) = {
            let mut shared = self.process.shared();
            let mut exchange = Encoder::exchange(&mut self.scratch, &mut shared.wire, items)?;
            if let Some(broken) = shared.broken {
                broken.commands(&mut exchange.commands);
                let at = exchange.write_address.wrapping_sub(self.scratch.address(0)) as usize;
                let bytes = self
                    .scratch
                    .bytes()
                    .get_mut(at..at + exchange.commands.len());
                if let Some(bytes) = bytes {
                    bytes.copy_from_slice(&exchange.commands);
                }
            }
            (shared.fd.unwrap_or(-1), shared.broken, exchange)
        };
        let (read_size, read_consumed, read_address) = exchange
            .read
            .as_ref()
            .map_or((0, 0, 0), |read| (read.size, read.consumed, read.address));
        let fields = [
            exchange.write_size,
            exchange.write_consumed,
            exchange.write_address,
            read_size,
            read_consumed,
            read_address,
        ];
        let now = exchange.read.as_ref().is_some_and(|read| read.now);
        let was = now.then(|| sys::set_nonblock(fd, true).unwrap_or(true));
        let (result, fields) = self.with_argument(&fields, |address| {
            let call = || sys::ioctl(fd, ioctl::WRITE_READ, address);
            match exchange.euid {
                Some(euid) => sys::with_euid(euid, call)?,
                None => call(),
            }
        });
        if was == Some(false) {
            let _ = sys::set_nonblock(fd, false);
        }
        let mut result = result;
        let (mut written, mut filled) = (fields[1], fields[4]);

        let mut text = String::new();
        let mut bytes = Vec::new();
        if let Some(read) = &exchange.read {
            if !read.nowhere {
                bytes = wire::read_bytes(&mut self.scratch, read);
            }
        }
        if let Some(broken) = broken {
            broken.returns(&mut result, &mut written, &mut filled, &mut bytes);
        }
        if let Some(read) = &exchange.read {
            let mut shared = self.process.shared();
            let from = read.consumed as usize;
            if from > 0 && bytes.len() >= 4 && bytes[..4] != [0xa5; 4] {
                // BR_SPAWN_LOOPER is written to where the buffer begins.
                text.push_str(" first:");
                text.push_str(&wire::decode(&mut shared.wire, &bytes, 0, 4));
            }
            text.push_str(&wire::decode(
                &mut shared.wire,
                &bytes,
                from,
                filled as usize,
            ));
            let guard = bytes.get(read.size as usize..).unwrap_or_default();
            if guard.iter().any(|&byte| byte != 0xa5) {
                text.push_str(" (written beyond the buffer)");
            }
        }
        let mut head = status(&result);
        if !exchange.commands.is_empty() {
            head.push_str(&format!(" wrote {written}/{}", exchange.write_size));
        }
        if exchange.read.is_some() {
            head.push_str(&format!(" read {filled}:"));
        }
        head.push_str(&text);
        Ok(head)
    }

    /// Calls with the address of these words; what it says, and the words afterwards.
    fn with_argument<const N: usize>(
        &mut self,
        words: &[u64; N],
        call: impl FnOnce(u64) -> sys::Outcome,
    ) -> (sys::Outcome, [u64; N]) {
        let room = &mut self.scratch.bytes()[ARGUMENT_AT..ARGUMENT_AT + 8 * N];
        for (bytes, word) in room.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        let result = call(self.scratch.address(ARGUMENT_AT));
        let mut after = [0; N];
        let room = &self.scratch.bytes()[ARGUMENT_AT..ARGUMENT_AT + 8 * N];
        for (word, bytes) in after.iter_mut().zip(room.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        (result, after)
    }

    /// An ioctl with these words as its argument, or (`nowhere`) without one; what it says, and
    /// the argument afterwards if all went well.
    fn ioctl<const N: usize>(
        &mut self,
        nowhere: bool,
        request: u32,
        argument: [u64; N],
    ) -> (String, Option<[u64; N]>) {
        let fd = self.fd();
        let broken = self.process.shared().broken;
        let (mut result, after) = self.with_argument(&argument, |address| match broken {
            Some(broken) if broken.drops(request) => Ok(0),
            _ => sys::ioctl(fd, request, if nowhere { NOWHERE } else { address }),
        });
        if let Some(broken) = broken {
            broken.ioctl(request, &mut result);
        }
        (status(&result), result.is_ok().then_some(after))
    }

    fn verb(&mut self, mut words: Vec<Token>) -> Result<Outcome> {
        let Some(Token::Word(verb)) = words.first().cloned() else {
            bail!("what is to be done?");
        };
        words.remove(0);
        let nowhere = take_word(&mut words, "nowhere");
        let number = |words: &[Token], at: usize, default: u64| -> Result<u64> {
            words.get(at).map_or(Ok(default), Token::number)
        };
        let fd = self.fd();
        let base = self.process.area();
        let area = self.process.shared().wire.area;
        Ok(Outcome::Text(match verb.as_str() {
            "open" => self.open(take_word(&mut words, "nonblock"))?,
            "up" => {
                // open and mmap, in one word.
                let opened = self.open(take_word(&mut words, "nonblock"))?;
                let manager = take_word(&mut words, "manager");
                let mut text = format!("{opened}, {}", self.map(&mut words)?);
                if manager {
                    let (status, _) = self.ioctl(nowhere, ioctl::SET_CONTEXT_MGR, [0]);
                    text.push_str(&format!(", {status}"));
                }
                text
            }
            "mmap" => self.map(&mut words)?,
            "munmap" => {
                let (at, len) = (number(&words, 0, 0)?, number(&words, 1, area.1)?);
                let result = sys::unmap(base + at, len as usize);
                if result.is_ok() && words.is_empty() {
                    self.process.shared().wire.area = (0, 0);
                }
                status(&result)
            }
            "cover" => status(&sys::map_over(
                base + number(&words, 0, 0)?,
                number(&words, 1, 4096)? as usize,
            )),
            "mprotect" => status(&sys::protect(
                base + number(&words, 1, 0)?,
                number(&words, 2, area.1)? as usize,
                number(&words, 0, 1)? as i32,
            )),
            "mremap" => {
                let len = number(&words, 0, area.1)? as usize;
                status(&sys::remap(
                    base,
                    area.1 as usize,
                    len,
                    number(&words, 1, 0)? as i32,
                ))
            }
            "close" => {
                self.process.shared().fd = None;
                status(&sys::close(fd))
            }
            // All that is open, and the area.
            "leave" => {
                self.process.shared().fd = None;
                let closed = status(&sys::close(fd));
                let unmapped = sys::unmap(area.0, area.1 as usize);
                self.process.shared().wire.area = (0, 0);
                format!("{closed}, {}", status(&unmapped))
            }
            // Closes a duplicate of the descriptor.
            "flush" => match sys::dup(fd) {
                Ok(copy) => status(&sys::close(copy)),
                Err(errno) => error_name(errno),
            },
            // Another process's file.
            "use" => {
                let Some(Token::Word(whose)) = words.first() else {
                    bail!("whose file?");
                };
                let pid = self.pid_of(whose)?;
                match sys::fd_of(pid, 3) {
                    Ok(fd) => {
                        self.process.shared().fd = Some(fd);
                        format!("ok {fd}")
                    }
                    Err(errno) => error_name(errno),
                }
            }
            "poll" => {
                let timeout = if take_word(&mut words, "wait") { -1 } else { 0 };
                match sys::poll(fd, timeout) {
                    Ok(events) => format!("ok {events:#x}"),
                    Err(errno) => error_name(errno),
                }
            }
            "nonblock" => match sys::set_nonblock(fd, !take_word(&mut words, "off")) {
                Ok(_) => "ok".into(),
                Err(errno) => error_name(errno),
            },
            "nice" => status(&sys::set_nice(0, number(&words, 0, 0)? as i32)),
            "fd-limit" => status(&sys::set_fd_limit(number(&words, 0, 1024)?)),
            "fds" => {
                let shared = self.process.shared();
                let open: Vec<String> = (3..24)
                    .map(|fd| (fd, file_text(&shared.wire, fd)))
                    .filter(|(_, file)| file != "closed")
                    .map(|(fd, file)| format!("{fd}={file}"))
                    .collect();
                open.join(" ")
            }
            "close-fd" => status(&sys::close(number(&words, 0, 1023)? as RawFd)),
            // What a delivered buffer holds now: its number, length, and where to begin.
            "peek" => {
                let index = number(&words, 0, 1)? as usize;
                let buffer = self
                    .process
                    .shared()
                    .wire
                    .buffers
                    .get(index.wrapping_sub(1))
                    .copied();
                match buffer {
                    Some((address, _)) => {
                        let at = address + number(&words, 2, 0)?;
                        match sys::read_memory(at, number(&words, 1, 8)? as usize) {
                            Ok(bytes) => escaped(&bytes),
                            Err(errno) => error_name(errno),
                        }
                    }
                    None => "no buffer".into(),
                }
            }
            // All that can be asked for.
            "state" => {
                let mut parts = Vec::new();
                for verb in ["error", "nodes", "fds"] {
                    if let Outcome::Text(part) = self.verb(vec![Token::Word(verb.into())])? {
                        parts.push(part);
                    }
                }
                parts.join(", ")
            }
            "end-thread" => return Ok(Outcome::Gone),
            "exit" => sys::exit_now(),

            "version" => match self.ioctl(nowhere, ioctl::VERSION, [u64::MAX]) {
                (status, Some([version])) => format!("{status} {}", version as u32),
                (status, None) => status,
            },
            "max-threads" => {
                let count = number(&words, 0, 0)?;
                self.ioctl(nowhere, ioctl::SET_MAX_THREADS, [count]).0
            }
            "manager" => {
                let euid = take_option(&mut words, "euid")
                    .map(|euid| euid.number())
                    .transpose()?;
                if let Some(euid) = euid {
                    // Another user, for this time.
                    let (status, _) = self.with_argument(&[0], |address| {
                        sys::with_euid(euid as u32, || {
                            sys::ioctl(fd, ioctl::SET_CONTEXT_MGR, address)
                        })?
                    });
                    return Ok(Outcome::Text(self::status(&status)));
                }
                let extended = nowhere || !words.is_empty();
                let object = [
                    number(&words, 2, 0)? << 32,
                    number(&words, 0, 0)?,
                    number(&words, 1, 0)?,
                ];
                match extended {
                    true => self.ioctl(nowhere, ioctl::SET_CONTEXT_MGR_EXT, object).0,
                    false => self.ioctl(nowhere, ioctl::SET_CONTEXT_MGR, [0]).0,
                }
            }
            "thread-exit" => self.ioctl(nowhere, ioctl::THREAD_EXIT, [0]).0,
            "node" => {
                let after = number(&words, 0, 0)?;
                match self.node_after(nowhere, after) {
                    (status, Some(node)) => format!("{status} {node}"),
                    (status, None) => status,
                }
            }
            "nodes" => {
                let mut text = String::from("nodes:");
                let mut after = 0;
                for _ in 0..64 {
                    let argument = [after, 0, 0];
                    let (status, found) = self.ioctl(false, ioctl::GET_NODE_DEBUG_INFO, argument);
                    match found {
                        Some([0, 0, 0]) => break,
                        Some([ptr, cookie, has]) => {
                            text.push_str(&node_text(ptr, cookie, has));
                            after = ptr;
                        }
                        None => {
                            text.push_str(&status);
                            break;
                        }
                    }
                }
                text
            }
            "info" => {
                let handle = number(&words, 0, 0)?;
                let dirt = match take_option(&mut words, "dirt") {
                    Some(at) => at.number()?,
                    None => 0,
                };
                let mut argument = [handle & 0xffff_ffff, 0, 0];
                if dirt > 0 {
                    ensure!(dirt < 6, "dirt=1..5");
                    argument[dirt as usize / 2] |= 1 << (dirt % 2 * 32);
                }
                match self.ioctl(nowhere, ioctl::GET_NODE_INFO_FOR_REF, argument) {
                    (status, Some([a, b, c])) => format!(
                        "{status} handle {} strong {} weak {} {} {c}",
                        a as u32,
                        a >> 32,
                        b as u32,
                        b >> 32
                    ),
                    (status, None) => status,
                }
            }
            "error" => match self.ioctl(nowhere, ioctl::GET_EXTENDED_ERROR, [u64::MAX, 0]) {
                (status, Some([a, b])) => {
                    // The number itself is the driver's own affair.
                    let id = if a as u32 == 0 { "0" } else { "set" };
                    let param = b as u32 as i32;
                    let param = match param {
                        0 => "0".into(),
                        param => format!("-{}", error_name(-param)),
                    };
                    format!(
                        "{status} id {id} {} {param}",
                        wire::return_name((a >> 32) as u32)
                    )
                }
                (status, None) => status,
            },
            // Freezes or thaws: whom, 1 or 0, how long to wait in milliseconds.
            "freeze" => {
                let Some(Token::Word(whom)) = words.first().cloned() else {
                    bail!("freeze whom?");
                };
                let pid = self.pid_of(&whom)? as u64;
                let argument = [pid | (number(&words, 1, 1)? << 32), number(&words, 2, 0)?];
                self.ioctl(nowhere, ioctl::FREEZE, argument).0
            }
            "frozen" => {
                let Some(Token::Word(whom)) = words.first().cloned() else {
                    bail!("who is frozen?");
                };
                let pid = self.pid_of(&whom)? as u64;
                match self.ioctl(nowhere, ioctl::GET_FROZEN_INFO, [pid, 0]) {
                    (status, Some([a, b])) => {
                        format!("{status} sync {} async {}", a >> 32, b as u32)
                    }
                    (status, None) => status,
                }
            }
            "spam" => {
                let on = number(&words, 0, 1)?;
                self.ioctl(nowhere, ioctl::ENABLE_ONEWAY_SPAM_DETECTION, [on])
                    .0
            }
            // Any ioctl, with an argument of zeros.
            "ioctl" => {
                let request = number(&words, 0, 0)?;
                self.ioctl(nowhere, request as u32, [0; 8]).0
            }
            _ => bail!("'{verb}' is no verb"),
        }))
    }

    fn node_after(&mut self, nowhere: bool, after: u64) -> (String, Option<String>) {
        // What is in the fields that are written only must not matter.
        let argument = [after, 0xdead, u64::MAX];
        let (status, found) = self.ioctl(nowhere, ioctl::GET_NODE_DEBUG_INFO, argument);
        (
            status,
            found.map(|[ptr, cookie, has]| node_text(ptr, cookie, has)),
        )
    }

    fn pid_of(&self, whom: &str) -> Result<i32> {
        if whom == "nobody" {
            // Above what the kernel gives to anybody.
            return Ok(0x7fff_fff0);
        }
        let who = Who::parse(whom)?;
        self.process
            .shared()
            .wire
            .pids
            .get(who.process)
            .copied()
            .context("no such process")
    }

    fn open(&mut self, nonblock: bool) -> Result<String> {
        let flags = libc::O_RDWR | if nonblock { libc::O_NONBLOCK } else { 0 };
        let mut shared = self.process.shared();
        Ok(match sys::open(&shared.path, flags) {
            Ok(fd) => {
                shared.fd = Some(fd);
                format!("ok {fd}")
            }
            Err(errno) => error_name(errno),
        })
    }

    fn map(&mut self, words: &mut Vec<Token>) -> Result<String> {
        let prot = match take_word(words, "writable") {
            true => libc::PROT_READ | libc::PROT_WRITE,
            false => libc::PROT_READ,
        };
        let flags = match take_word(words, "shared") {
            true => libc::MAP_SHARED,
            false => libc::MAP_PRIVATE,
        };
        let at = take_option(words, "at").map_or(Ok(0), |at| at.number())?;
        let len = match words.first() {
            Some(word) if !word.is("manager") => word.number()?,
            _ => AREA_BYTES,
        };
        ensure!(len < AREA_DISTANCE, "too long an area");
        ensure!(at < AREA_DISTANCE - len, "too far away");
        let base = self.process.area() + at;
        let mut shared = self.process.shared();
        let result = sys::map(base, len as usize, prot, flags, shared.fd.unwrap_or(-1));
        if result.is_ok() {
            shared.wire.area = (base, len);
        }
        Ok(status(&result.map(|_| 0)))
    }
}

fn node_text(ptr: u64, cookie: u64, has: u64) -> String {
    format!(
        " ({ptr:#x},{cookie:#x} strong {} weak {})",
        has as u32,
        has >> 32
    )
}

fn status(result: &sys::Outcome) -> String {
    match result {
        Ok(0) => "ok".into(),
        Ok(value) => format!("ok {value}"),
        Err(errno) => error_name(*errno),
    }
}
