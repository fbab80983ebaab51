// SPDX-License-Identifier: GPL-2.0

//! The controller: it starts the processes of a script, hands out one step at a time, and goes on
//! when everybody is done or asleep in the driver. So the order of things is the script's, and
//! nothing depends on how fast anybody is.

use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::fs::FileExt,
    },
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    breaks::Break,
    script::{Memory, PROCESSES, Step, THREADS, Who},
    sys, worker,
};

/// Nothing takes this long, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// Nor does anything have to be looked at so often.
const LOOKS: usize = 2000;
/// Files that scripts can send: f1, f2, …
const FILES: usize = 4;
/// What the C driver tells of itself.
const C_STATS: &str = "/sys/kernel/debug/binder/stats";
/// Settings of the machine while there are scripts.
const SETTINGS: [(&str, &str); 3] = [
    // The mistakes of programs, of which scripts are full, do not have to be in the log.
    ("/sys/module/binder_linux/parameters/debug_mask", "0"),
    ("/sys/module/binder_linux/parameters/alloc_debug_mask", "0"),
    // The C driver waits for others when a thread ends that has polled.
    ("/sys/kernel/rcu_expedited", "1"),
];

/// Which driver a device belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// The C driver.
    C,
    /// The one under test.
    Ours,
}

/// How long to wait. The clock of a virtual machine may leap ahead, so it is not enough that time
/// has passed.
struct Patience {
    end: Instant,
    looks: usize,
}

impl Patience {
    fn new(time: Duration) -> Self {
        Self {
            end: Instant::now() + time,
            looks: 0,
        }
    }

    /// Counts one more look, and says whether there have been enough.
    fn is_over(&mut self) -> bool {
        self.looks += 1;
        self.looks > LOOKS && Instant::now() > self.end
    }
}

/// A driver's device.
#[derive(Clone, Debug)]
pub struct Side {
    /// Whose it is.
    pub driver: Driver,
    /// Where it is.
    pub path: CString,
    /// A fault between it and its users.
    pub broken: Option<Break>,
}

struct Thread {
    socket: OwnedFd,
    tid: i32,
    stat: File,
    syscall: File,
    busy: bool,
    gone: bool,
    used: bool,
}

struct Process {
    pid: i32,
    control: OwnedFd,
    threads: Vec<Thread>,
    gone: bool,
    /// It knows of the script.
    begun: bool,
}

/// One step and what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The step's text.
    pub step: String,
    /// Its own result first, then those of threads that it woke.
    pub lines: Vec<String>,
}

/// Processes that are used for one script after another; who was killed is started anew.
struct Cast {
    memory: Memory,
    processes: Vec<Process>,
}

/// All processes.
pub struct Controller {
    files: Vec<OwnedFd>,
    casts: [Cast; 2],
    settings: Vec<(&'static str, String)>,
    hands: Hands,
}

/// The kernel's threads in which the C driver does what is to be done when a file is closed. They
/// take their turn with everybody else who runs here, so that who waits sees all of it at once.
#[derive(Default)]
struct Hands {
    pids: BTreeSet<i32>,
    sessions: usize,
}

impl Hands {
    /// There may be new ones now and then.
    fn look(&mut self) -> Result<()> {
        self.sessions += 1;
        if self.sessions % 64 != 1 {
            return Ok(());
        }
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let is_hand = !self.pids.contains(&pid)
                && std::fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.starts_with("kworker/0:"));
            if is_hand && sys::run_first(pid).is_ok() {
                self.pids.insert(pid);
            }
        }
        Ok(())
    }
}

impl Controller {
    /// Starts what is needed. The caller must have no thread but its own.
    pub fn new() -> Result<Self> {
        sys::ignore_interrupts();
        sys::run_on_one_cpu().map_err(std::io::Error::from_raw_os_error)?;
        let files = (0..FILES)
            .map(|_| sys::memory_file(c"oracle"))
            .collect::<Result<_, _>>()?;
        let mut controller = Self {
            files,
            casts: [Memory::Own, Memory::Shared].map(|memory| Cast {
                memory,
                processes: Vec::new(),
            }),
            settings: Vec::new(),
            hands: Hands::default(),
        };
        for (path, value) in SETTINGS {
            if let Ok(old) = std::fs::read_to_string(path) {
                std::fs::write(path, value)?;
                controller.settings.push((path, old));
            }
        }
        Ok(controller)
    }

    /// Begins a script.
    pub fn session<'a>(&'a mut self, side: &'a Side, memory: Memory) -> Result<Session<'a>> {
        self.hands.look()?;
        let cast = match memory {
            Memory::Own => &mut self.casts[0],
            Memory::Shared => &mut self.casts[1],
        };
        cast.complete(&self.files)?;
        let pids: Vec<String> = cast
            .processes
            .iter()
            .map(|process| process.pid.to_string())
            .collect();
        let broken = Break::ALL
            .iter()
            .find(|(.., own)| Some(*own) == side.broken);
        let message = format!(
            "begin {} {} {}",
            side.path.to_string_lossy(),
            broken.map_or("-", |(name, ..)| name),
            pids.join(" ")
        );
        for process in &mut cast.processes {
            process.begun = false;
            process
                .threads
                .iter_mut()
                .for_each(|thread| thread.used = false);
        }
        Ok(Session {
            baseline: match side.driver {
                Driver::C => c_processes()?,
                Driver::Ours => 0,
            },
            cast,
            side,
            message,
            fds: [None; PROCESSES],
            maps: [None; PROCESSES],
            opened: 0,
        })
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        for cast in &mut self.casts {
            (0..cast.processes.len()).for_each(|index| cast.end(index));
        }
        for (path, old) in &self.settings {
            let _ = std::fs::write(path, old);
        }
        for &pid in &self.hands.pids {
            let _ = sys::run_as_others(pid);
        }
    }
}

impl Cast {
    /// Starts who is not there.
    fn complete(&mut self, files: &[OwnedFd]) -> Result<()> {
        for index in 0..PROCESSES {
            if let Some(process) = self.processes.get(index) {
                if !process.gone && process.threads.iter().all(|thread| !thread.gone) {
                    continue;
                }
                self.end(index);
            }
            let process = self.start(index, files)?;
            match self.processes.get_mut(index) {
                Some(place) => *place = process,
                None => self.processes.push(process),
            }
        }
        Ok(())
    }

    fn start(&self, index: usize, files: &[OwnedFd]) -> Result<Process> {
        let mut ours = Vec::new();
        let mut theirs: Vec<OwnedFd> = Vec::new();
        for _ in 0..=THREADS {
            let (one, other) = sys::message_pair()?;
            ours.push(one);
            theirs.push(other);
        }
        let raw = |fds: &[OwnedFd]| fds.iter().map(AsRawFd::as_raw_fd).collect::<Vec<RawFd>>();
        let (sockets, files) = (raw(&theirs), raw(files));
        let body = move || {
            if let Err(error) = worker::run(index, &sockets, &files) {
                eprintln!("{}: {error:#}", Who::letter(index));
            }
        };
        let pid = match self.memory {
            Memory::Own => sys::fork(body),
            Memory::Shared => sys::fork_within(body),
        }?;
        drop(theirs);
        let mut ours = ours.into_iter();
        let control = ours.next().context("a socket")?;
        let threads = ours
            .map(|socket| {
                let tid = sys::receive(&socket, true)?.context("a thread did not start")?;
                let tid: i32 = tid.parse()?;
                let open = |name| File::open(format!("/proc/{pid}/task/{tid}/{name}"));
                Ok(Thread {
                    stat: open("stat")?,
                    syscall: open("syscall")?,
                    socket,
                    tid,
                    busy: false,
                    gone: false,
                    used: false,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Process {
            pid,
            control,
            threads,
            gone: false,
            begun: false,
        })
    }

    fn end(&mut self, index: usize) {
        end_process(&mut self.processes[index]);
        if self.memory == Memory::Shared {
            worker::unmap_area(index);
        }
    }
}

fn end_process(process: &mut Process) {
    if process.gone {
        return;
    }
    let _ = sys::kill(process.pid, libc::SIGKILL);
    let _ = sys::wait_for(process.pid);
    process.gone = true;
    process
        .threads
        .iter_mut()
        .for_each(|thread| thread.busy = false);
}

fn control(process: &mut Process, message: &str) -> Result<()> {
    sys::send(&process.control, message)?;
    sys::receive(&process.control, true)?.context("a process ended")?;
    Ok(())
}

/// Open files of the C driver that have not been released entirely.
fn c_processes() -> Result<u64> {
    let stats = std::fs::read_to_string(C_STATS)
        .with_context(|| format!("{C_STATS}: debugfs must be mounted, and the C driver loaded"))?;
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("proc: active "));
    let count = line.and_then(|line| line.split(' ').next()).unwrap_or("0");
    Ok(count.parse()?)
}

impl Thread {
    /// Whether it sleeps in an ioctl or poll, interruptibly.
    fn sleeps(&self) -> bool {
        let mut bytes = [0; 512];
        let mut read = |file: &File| -> Option<String> {
            let len = file.read_at(&mut bytes, 0).ok()?;
            Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
        };
        let sleeps = read(&self.stat).is_some_and(|stat| {
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" S"))
        });
        // "running" if it does not stay asleep while one looks.
        sleeps
            && read(&self.syscall).is_some_and(|syscall| {
                let number = syscall
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse::<i64>().ok());
                matches!(number, Some(libc::SYS_ioctl | libc::SYS_poll))
            })
    }
}

/// One script on one device.
pub struct Session<'a> {
    cast: &'a mut Cast,
    side: &'a Side,
    /// What a process is told before its first step.
    message: String,
    /// What the C driver had before.
    baseline: u64,
    /// Which open file each process has, and which it has mapped.
    fds: [Option<usize>; PROCESSES],
    maps: [Option<usize>; PROCESSES],
    opened: usize,
}

type Results = Vec<(Who, String)>;

impl Session<'_> {
    fn thread(&mut self, who: Who) -> &mut Thread {
        &mut self.cast.processes[who.process].threads[who.thread]
    }

    fn everybody() -> impl Iterator<Item = Who> {
        (0..PROCESSES).flat_map(|process| (0..THREADS).map(move |thread| Who { process, thread }))
    }

    /// Whether the thread waits in the driver.
    pub fn is_busy(&self, who: Who) -> bool {
        self.cast.processes[who.process].threads[who.thread].busy
    }

    /// Whether the process, or just that thread, has ended.
    pub fn is_gone(&self, who: Who) -> bool {
        let process = &self.cast.processes[who.process];
        process.gone || process.threads[who.thread].gone
    }

    /// Whether the process has the device open.
    pub fn is_open(&self, process: usize) -> bool {
        self.fds[process].is_some() && !self.cast.processes[process].gone
    }

    /// Takes one step, and says what came of it.
    pub fn step(&mut self, step: &Step) -> Result<Entry> {
        let who = step.who;
        let verb = step.verb().unwrap_or("");
        let entry = |lines: Vec<String>| Entry {
            step: step.text.clone(),
            lines,
        };
        if self.is_gone(who) {
            return Ok(entry(vec![format!("{who} is gone")]));
        }
        let process = &mut self.cast.processes[who.process];
        if !process.begun {
            control(process, &self.message)?;
            process.begun = true;
        }
        let files = self.files();
        let mut results = Results::new();
        let mut own = None;
        match verb {
            "kill" => {
                self.cast.end(who.process);
                own = Some("killed".into());
            }
            "signal" => {
                let (pid, busy) = (self.cast.processes[who.process].pid, self.is_busy(who));
                let tid = self.thread(who).tid;
                if busy {
                    let _ = sys::kill_thread(pid, tid, libc::SIGUSR1);
                    self.await_done(&[who], &mut results)?;
                }
                own = Some("signalled".into());
            }
            "wait" => self.await_done(&[who], &mut results)?,
            _ if self.is_busy(who) => return Ok(entry(vec![format!("{who} is busy")])),
            "exit" => {
                let process = &mut self.cast.processes[who.process];
                sys::send(&process.threads[who.thread].socket, &step.text)?;
                let _ = sys::wait_for(process.pid);
                process.gone = true;
                process
                    .threads
                    .iter_mut()
                    .for_each(|thread| thread.busy = false);
                own = Some("exited".into());
            }
            "end-thread" => {
                let process = &mut self.cast.processes[who.process];
                let path = format!(
                    "/proc/{}/task/{}",
                    process.pid, process.threads[who.thread].tid
                );
                sys::send(&process.threads[who.thread].socket, &step.text)?;
                process.threads[who.thread].gone = true;
                let mut patience = Patience::new(DEADLINE);
                while Path::new(&path).exists() {
                    ensure!(!patience.is_over(), "{who} does not end");
                    std::thread::sleep(Duration::from_micros(200));
                }
                own = Some("ended".into());
            }
            _ => {
                let thread = self.thread(who);
                thread.busy = true;
                thread.used = true;
                sys::send(&thread.socket, &step.text)?;
            }
        }
        self.settle(&mut results)?;
        self.note(step, &results);
        self.await_c_work(who, verb, files, &mut results)?;

        let own_at = results.iter().position(|(other, _)| *other == who);
        let own = match (own, own_at) {
            (Some(own), _) => own,
            (None, Some(at)) => results.remove(at).1,
            (None, None) => "sleeps".into(),
        };
        if own.starts_with("SCRIPT ERROR") {
            bail!("{}: {own}", step.text);
        }
        results.sort();
        let mut lines = vec![format!("{who}: {own}")];
        lines.extend(
            results
                .into_iter()
                .map(|(who, text)| format!("{who} wakes: {text}")),
        );
        Ok(entry(lines))
    }

    /// Takes from everybody who is done what came of it.
    fn collect(&mut self, results: &mut Results) -> Result<bool> {
        let mut any = false;
        for who in Self::everybody() {
            let thread = self.thread(who);
            if !thread.busy {
                continue;
            }
            match sys::receive(&thread.socket, false) {
                Ok(None) => continue,
                Ok(Some(text)) => results.push((who, text)),
                Err(_) => {
                    // It did not end because a step said so.
                    self.cast.end(who.process);
                    results.push((who, "DIED".into()));
                }
            }
            self.thread(who).busy = false;
            any = true;
        }
        Ok(any)
    }

    fn busy(&mut self) -> Vec<Who> {
        Self::everybody().filter(|&who| self.is_busy(who)).collect()
    }

    /// Waits until everybody is done or asleep.
    fn settle(&mut self, results: &mut Results) -> Result<()> {
        let mut patience = Patience::new(DEADLINE);
        loop {
            self.collect(results)?;
            let busy = self.busy();
            // Who can run does so before this goes on. Left are those who sleep, and those who
            // wait for somebody elsewhere in the kernel.
            if busy.iter().all(|&who| self.thread(who).sleeps()) {
                return Ok(());
            }
            self.wait_for_any(&busy, 100)?;
            ensure!(!patience.is_over(), "{} does not settle", busy[0]);
        }
    }

    fn wait_for_any(&mut self, busy: &[Who], micros: u64) -> Result<()> {
        let sockets: Vec<RawFd> = busy
            .iter()
            .map(|&who| self.thread(who).socket.as_raw_fd())
            .collect();
        Ok(sys::wait_readable(&sockets, micros)?)
    }

    /// Waits for threads that will be done, or time will run out.
    fn await_done(&mut self, whom: &[Who], results: &mut Results) -> Result<()> {
        let mut patience = Patience::new(Duration::from_secs(3));
        loop {
            self.collect(results)?;
            let left: Vec<Who> = whom
                .iter()
                .copied()
                .filter(|&who| self.is_busy(who))
                .collect();
            if left.is_empty() || patience.is_over() {
                return Ok(());
            }
            self.wait_for_any(&left, 1000)?;
        }
    }

    /// Keeps track of which files are open.
    fn note(&mut self, step: &Step, results: &Results) {
        let process = step.who.process;
        let result = results.iter().find(|(who, _)| *who == step.who);
        let result = result.map_or("", |(_, text)| text.as_str());
        let ok = result.starts_with("ok");
        match step.verb().unwrap_or("") {
            "open" | "up" if ok => {
                self.opened += 1;
                self.fds[process] = Some(self.opened);
                if result.contains(", ok") {
                    self.maps[process] = self.fds[process];
                }
            }
            "mmap" if ok => self.maps[process] = self.fds[process],
            "close" => self.fds[process] = None,
            "leave" => (self.fds[process], self.maps[process]) = (None, None),
            "munmap" if ok && step.text.split_whitespace().count() == 2 => {
                self.maps[process] = None;
            }
            _ => {}
        }
        for process in 0..PROCESSES {
            if self.cast.processes[process].gone {
                (self.fds[process], self.maps[process]) = (None, None);
            }
        }
    }

    fn files(&self) -> u64 {
        let mut files: Vec<usize> = self
            .fds
            .iter()
            .chain(&self.maps)
            .flatten()
            .copied()
            .collect();
        files.sort_unstable();
        files.dedup();
        files.len() as u64
    }

    /// The C driver puts off what is to be done when descriptors are closed. Waits for that.
    fn await_c_work(
        &mut self,
        who: Who,
        verb: &str,
        files_before: u64,
        results: &mut Results,
    ) -> Result<()> {
        let files = self.files();
        if self.side.driver != Driver::C {
            return Ok(());
        }
        if files < files_before {
            self.await_c_release(files)?;
        } else if matches!(verb, "flush" | "close" | "leave") {
            let readers: Vec<Who> = (0..THREADS)
                .map(|thread| Who { thread, ..who })
                .filter(|&who| self.is_busy(who) && !self.polls(who))
                .collect();
            self.await_done(&readers, results)?;
            // There is one queue for all of this: what is put there last is done after what is
            // being done.
            for _ in 0..2 {
                let fd = sys::open(&self.side.path, libc::O_RDWR);
                let fd = fd.map_err(std::io::Error::from_raw_os_error)?;
                let _ = sys::close(fd);
                self.await_c_release(files)?;
            }
        } else {
            return Ok(());
        }
        self.settle(results)
    }

    fn polls(&mut self, who: Who) -> bool {
        let mut bytes = [0; 8];
        let thread = self.thread(who);
        thread.syscall.read_at(&mut bytes, 0).is_ok() && bytes.starts_with(b"7 ")
    }

    fn await_c_release(&mut self, files: u64) -> Result<()> {
        // A file that lies in an undelivered message is not released.
        let mut patience = Patience::new(Duration::from_millis(500));
        while c_processes()? > self.baseline + files && !patience.is_over() {
            match patience.looks < 20 {
                true => std::thread::yield_now(),
                false => std::thread::sleep(Duration::from_micros(100)),
            }
        }
        Ok(())
    }

    /// What is left at the end: everybody's work, nodes and errors; then all leave, one after
    /// the other, and the others see that.
    pub fn finish(mut self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for who in self.busy() {
            entries.push(self.step(&Step::parse(&format!("{who} signal"))?)?);
        }
        let used: Vec<Who> = Self::everybody()
            .filter(|&who| self.thread(who).used && !self.is_gone(who))
            .collect();
        for _ in 0..6 {
            let mut any = false;
            for &who in used
                .iter()
                .filter(|who| self.is_open(who.process))
                .collect::<Vec<_>>()
            {
                let entry = self.step(&Step::parse(&format!("{who}: free-all; read now"))?)?;
                any |= entry.lines.len() > 1
                    || entry.lines[0].contains("read 4:")
                    || entry.lines[0].starts_with(&format!("{who}: ok"));
                entries.push(entry);
            }
            if !any {
                break;
            }
        }
        let mut processes: Vec<usize> = used.iter().map(|who| who.process).collect();
        processes.dedup();
        for &who in &used {
            let first = used.iter().find(|other| other.process == who.process) == Some(&who);
            let verb = if first { "state" } else { "error" };
            entries.push(self.step(&Step::parse(&format!("{who} {verb}"))?)?);
        }
        for (at, &process) in processes.iter().enumerate() {
            let who = used.iter().find(|who| who.process == process);
            let who = who.copied().unwrap_or(Who { process, thread: 0 });
            if !self.is_open(process) || self.is_gone(who) {
                continue;
            }
            entries.push(self.step(&Step::parse(&format!("{who} leave"))?)?);
            for &other in used
                .iter()
                .filter(|who| processes[at + 1..].contains(&who.process))
            {
                for _ in 0..3 {
                    if !self.is_open(other.process) {
                        break;
                    }
                    let entry = self.step(&Step::parse(&format!("{other}: read now"))?)?;
                    let over = entry.lines[0].contains("EAGAIN");
                    entries.push(entry);
                    if over {
                        break;
                    }
                }
            }
        }
        Ok(entries)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Nobody is in the driver any more when the next script begins.
        let mut ignored = Results::new();
        let busy = self.busy();
        for &who in &busy {
            let (pid, tid) = (self.cast.processes[who.process].pid, self.thread(who).tid);
            let _ = sys::kill_thread(pid, tid, libc::SIGUSR1);
        }
        let _ = self.await_done(&busy, &mut ignored);
        for index in 0..PROCESSES {
            let process = &mut self.cast.processes[index];
            let stuck = process.threads.iter().any(|thread| thread.busy);
            if stuck || (!process.gone && process.begun && control(process, "end").is_err()) {
                self.cast.end(index);
            }
        }
        if self.side.driver == Driver::C {
            let _ = self.await_c_release(0);
        }
    }
}
