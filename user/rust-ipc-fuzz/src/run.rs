// SPDX-License-Identifier: GPL-2.0

//! Many processes at once, and who watches them.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    fs,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rust_ipc_oracle::sys;

use crate::{
    actor::{Actor, Process, kind_name},
    board::{self, Board},
    coverage::Code,
    random::{Random, mix},
    sys::Interrupter,
};

/// How it is to be.
pub struct Options {
    /// Where all choices come from.
    pub seed: u64,
    /// How long it goes on.
    pub time: Duration,
    /// Processes at a time.
    pub processes: usize,
    /// Threads of each.
    pub threads: usize,
    /// Have allocations and copies fail, where the kernel can.
    pub failures: bool,
    /// Look what code is reached, where the kernel can.
    pub coverage: bool,
    /// A thread that does nothing new for so long hangs.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            time: Duration::from_secs(10),
            processes: 4,
            threads: 3,
            failures: true,
            coverage: false,
            patience: Duration::from_secs(60),
        }
    }
}

/// What was done.
pub struct Report {
    seed: u64,
    operations: u64,
    calls: u64,
    checked: u64,
    failures: u64,
    kills: u64,
    time: Duration,
    /// How many commands the driver has carried out, and how many returns it has made, by name.
    counts: BTreeMap<String, u64>,
    /// Calls of KCOV's that were reached, all of them, and each function's.
    pub coverage: Option<(usize, usize, String)>,
}

impl Report {
    /// Whether enough was done to say anything. A slow machine with a debug kernel does that in a few
    /// seconds.
    pub fn is_enough(&self) -> bool {
        let reached = self.reached("BC_") + self.reached("BR_");
        self.calls > 100 && self.checked > 0 && 2 * reached > NAMES.len()
    }

    /// How many kinds there were, of those whose names begin so.
    fn reached(&self, prefix: &str) -> usize {
        let names = NAMES.iter().filter(|name| name.starts_with(prefix));
        names
            .filter(|&&name| self.counts.contains_key(name))
            .count()
    }

    /// How many there were of each command and return.
    pub fn by_kind(&self) -> String {
        NAMES.iter().fold(String::new(), |mut text, name| {
            let count = self.counts.get(*name).unwrap_or(&0);
            let _ = writeln!(text, "{count:7} {name}");
            text
        })
    }
}

/// Commands and returns, as the driver's statistics name them.
const NAMES: [&str; 39] = [
    "BC_TRANSACTION",
    "BC_REPLY",
    "BC_FREE_BUFFER",
    "BC_INCREFS",
    "BC_ACQUIRE",
    "BC_RELEASE",
    "BC_DECREFS",
    "BC_INCREFS_DONE",
    "BC_ACQUIRE_DONE",
    "BC_REGISTER_LOOPER",
    "BC_ENTER_LOOPER",
    "BC_EXIT_LOOPER",
    "BC_REQUEST_DEATH_NOTIFICATION",
    "BC_CLEAR_DEATH_NOTIFICATION",
    "BC_DEAD_BINDER_DONE",
    "BC_TRANSACTION_SG",
    "BC_REPLY_SG",
    "BC_REQUEST_FREEZE_NOTIFICATION",
    "BC_CLEAR_FREEZE_NOTIFICATION",
    "BC_FREEZE_NOTIFICATION_DONE",
    "BR_ERROR",
    "BR_TRANSACTION",
    "BR_REPLY",
    "BR_DEAD_REPLY",
    "BR_TRANSACTION_COMPLETE",
    "BR_INCREFS",
    "BR_ACQUIRE",
    "BR_RELEASE",
    "BR_DECREFS",
    "BR_NOOP",
    "BR_SPAWN_LOOPER",
    "BR_DEAD_BINDER",
    "BR_CLEAR_DEATH_NOTIFICATION_DONE",
    "BR_FAILED_REPLY",
    "BR_FROZEN_REPLY",
    "BR_ONEWAY_SPAM_SUSPECT",
    "BR_TRANSACTION_PENDING_FROZEN",
    "BR_FROZEN_BINDER",
    "BR_CLEAR_FREEZE_NOTIFICATION_DONE",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} operations in {:.1} s ({:.0} a second), {} of them ioctls, {} messages \
             compared, {} failures injected, {} kills, {} of 20 commands and {} of 19 returns",
            self.seed,
            self.operations,
            self.time.as_secs_f64(),
            self.operations as f64 / self.time.as_secs_f64(),
            self.calls,
            self.checked,
            self.failures,
            self.kills,
            self.reached("BC_"),
            self.reached("BR_")
        )?;
        if let Some((covered, all, _)) = self.coverage {
            let share = 100.0 * covered as f64 / all as f64;
            write!(f, ", {covered} of {all} blocks ({share:.1} %)")?;
        }
        Ok(())
    }
}

/// Threads last so many operations, on average.
const THREAD_LIFE: usize = 500;
/// Processes are killed after so many, on average.
const PROCESS_LIFE: usize = 3000;
/// Whoever waits is interrupted so often, in milliseconds.
const INTERRUPT_EVERY: i64 = 25;

/// Lets processes loose on the driver. An error says what went wrong, which includes a thread that
/// hangs, and objects of the driver's that are left in the end.
pub fn storm(options: &Options) -> Result<Report> {
    let board = crate::sys::board()?;
    ensure!(
        options.processes <= board::PROCESSES && options.threads <= board::THREADS,
        "too many"
    );
    let (before, done_before) = (alive()?, counts()?);
    let failures = options.failures && allow_failures()?;
    let code = match options.coverage {
        true => Some(Code::of_module()?.context("the kernel has no KCOV")?),
        false => None,
    };
    sys::ignore_interrupts();
    let janitor = sys::fork(|| janitor(board))?;
    let begin = Instant::now();
    let mut storm = Storm {
        options,
        board,
        code: code.as_ref(),
        failures,
        random: Random::new(options.seed),
        generations: 0,
        kills: 0,
        ends: [u64::MAX; board::PROCESSES],
        seen: BTreeMap::new(),
    };
    let result = storm.last(begin);
    board.stop.store(true, Relaxed);
    let kills = storm.kills;
    let mut pids: Vec<i32> = board.pids.iter().map(|pid| pid.load(Relaxed)).collect();
    pids.push(janitor);
    for pid in pids.into_iter().filter(|&pid| pid > 0) {
        let _ = sys::kill(pid, libc::SIGKILL);
    }
    result?;
    storm.wait_for_all()?;
    if let Some(text) = board.complaint() {
        bail!("{text}");
    }
    is_as_before(&before)?;
    let mut counts = counts()?;
    for (name, count) in &mut counts {
        *count -= done_before.get(name).unwrap_or(&0);
    }
    counts.retain(|_, count| *count > 0);
    Ok(Report {
        seed: options.seed,
        operations: board.sum(|slot| &slot.operations),
        calls: board.sum(|slot| &slot.calls),
        checked: board.sum(|slot| &slot.checked),
        failures: board.sum(|slot| &slot.failures),
        kills,
        time: begin.elapsed(),
        counts,
        coverage: code.map(|code| {
            let (covered, all) = code.share(board);
            (covered, all, code.by_function(board))
        }),
    })
}

struct Storm<'a> {
    options: &'a Options,
    board: &'static Board,
    code: Option<&'a Code>,
    failures: bool,
    random: Random,
    generations: u64,
    kills: u64,
    /// After how many operations of its place each process is killed.
    ends: [u64; board::PROCESSES],
    /// How many operations a place had done when it was looked at, and since when it has.
    seen: BTreeMap<(usize, usize), (u64, Instant)>,
}

impl Storm<'_> {
    fn last(&mut self, begin: Instant) -> Result<()> {
        while begin.elapsed() < self.options.time {
            for index in 0..self.options.processes {
                if self.board.pids[index].load(Relaxed) == 0 {
                    self.start(index)?;
                }
            }
            thread::sleep(Duration::from_millis(10));
            self.reap()?;
            self.look_for_hangs()?;
            if let Some(text) = self.board.complaint() {
                bail!("{text}");
            }
            self.kill();
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<()> {
        self.generations += 1;
        let life = 1 + self.random.below(2 * PROCESS_LIFE) as u64;
        self.ends[index] = self.board.done_by(index) + life;
        let seed = mix(self.options.seed, self.generations);
        let (board, threads) = (self.board, self.options.threads);
        let (failures, code) = (self.failures, self.code);
        let pid = sys::fork(|| {
            if let Err(error) = worker(board, index, seed, threads, failures, code) {
                // Without memory or descriptors, by its own doing or by failures, it just ends.
                let _ = error;
                crate::sys::exit_with(1);
            }
        })?;
        self.board.pids[index].store(pid, Relaxed);
        Ok(())
    }

    /// Kills who has lived long enough.
    fn kill(&mut self) {
        for index in 0..self.options.processes {
            let pid = self.board.pids[index].load(Relaxed);
            let done = self.board.done_by(index);
            if pid > 0 && done >= self.ends[index] && sys::kill(pid, libc::SIGKILL).is_ok() {
                self.kills += 1;
                self.ends[index] = u64::MAX;
            }
        }
    }

    /// Takes note of processes that have ended: killed, or with nothing more to do.
    fn reap(&mut self) -> Result<()> {
        while let Some((pid, status)) = crate::sys::ended_child() {
            let index = self
                .board
                .pids
                .iter()
                .position(|own| own.load(Relaxed) == pid);
            ensure!(
                status == 0 || status == 1 || status == -libc::SIGKILL,
                "process {pid} ended with {status}, which nobody asked for"
            );
            if let Some(index) = index {
                self.board.pids[index].store(0, Relaxed);
                self.seen.retain(|&(process, _), _| process != index);
            }
        }
        Ok(())
    }

    fn look_for_hangs(&mut self) -> Result<()> {
        for process in 0..self.options.processes {
            for thread in 0..self.options.threads {
                let done = self.board.slots[process][thread].operations.load(Relaxed);
                let now = Instant::now();
                let seen = self.seen.entry((process, thread)).or_insert((done, now));
                if seen.0 != done {
                    *seen = (done, now);
                }
                if seen.1.elapsed() > self.options.patience {
                    bail!(
                        "a thread hangs: nothing new for {} s\n{}",
                        self.options.patience.as_secs(),
                        at_end(self.board, process)
                    );
                }
            }
        }
        Ok(())
    }

    /// Waits until nobody is left.
    fn wait_for_all(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            self.reap()?;
            let left = (0..self.options.processes)
                .find(|&index| self.board.pids[index].load(Relaxed) != 0);
            let Some(left) = left else {
                return Ok(());
            };
            ensure!(
                begin.elapsed() < self.options.patience,
                "a process that was killed does not end\n{}",
                at_end(self.board, left)
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What the threads of a process are at, as far as the kernel says.
pub(crate) fn at_end(board: &Board, process: usize) -> String {
    let mut text = String::new();
    let pid = board.pids[process].load(Relaxed);
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return format!("process {pid} is gone\n");
    };
    for task in tasks.flatten() {
        let tid = task.file_name().to_string_lossy().into_owned();
        let slot = board.slots[process]
            .iter()
            .find(|slot| slot.tid.load(Relaxed).to_string() == tid);
        let doing = slot.map_or("nothing", |slot| kind_name(slot.doing.load(Relaxed)));
        let _ = writeln!(text, "thread {pid}:{tid}, at {doing}");
        for name in ["wchan", "syscall", "stack"] {
            if let Ok(content) = fs::read_to_string(task.path().join(name)) {
                let _ = writeln!(text, "{name}: {content}");
            }
        }
    }
    text
}

/// A process, until it is killed or told to stop.
fn worker(
    board: &'static Board,
    index: usize,
    seed: u64,
    threads: usize,
    failures: bool,
    code: Option<&Code>,
) -> Result<()> {
    let random = &mut Random::new(seed);
    let _ = sys::set_fd_limit(1024);
    let files = 1 + random.below(3);
    let is_wild = random.percent(40);
    let is_waiting = random.percent(50);
    let process = Arc::new(Process::new(board, files, is_wild, false, is_waiting)?);
    thread::scope(|scope| -> Result<()> {
        let mut running: Vec<Option<thread::ScopedJoinHandle<'_, Result<()>>>> =
            (0..threads).map(|_| None).collect();
        let mut started = 0;
        while !board.stop.load(Relaxed) {
            for (at, place) in running.iter_mut().enumerate() {
                if place.as_ref().is_some_and(|thread| !thread.is_finished()) {
                    continue;
                }
                started += 1;
                let (process, seed) = (process.clone(), mix(seed, started));
                let life = move || -> Result<()> {
                    let slot = &board.slots[index][at];
                    let _interrupter = Interrupter::every(INTERRUPT_EVERY)?;
                    let mut actor = Actor::new(process, slot, failures, code.is_some())?;
                    let mut random = Random::new(seed);
                    for _ in 0..1 + random.below(2 * THREAD_LIFE) {
                        if board.stop.load(Relaxed) {
                            break;
                        }
                        actor.step(random.next());
                        if let (Some(code), Some(trace)) = (code, &actor.trace) {
                            code.note(board, trace);
                        }
                    }
                    Ok(())
                };
                let new = thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn_scoped(scope, life)?;
                if let Some(old) = place.replace(new) {
                    // A panic would have ended the process.
                    let _ = old.join();
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    })
}

/// Has the kernel take memory back, again and again.
fn janitor(board: &Board) {
    while !board.stop.load(Relaxed) {
        let begin = Instant::now();
        let _ = fs::write("/proc/sys/vm/drop_caches", "2");
        thread::sleep(Duration::from_millis(100) + 9 * begin.elapsed());
    }
}

/// Has allocations fail when a thread asks for that, and nothing be printed of it. Whether the
/// kernel can.
fn allow_failures() -> Result<bool> {
    let settings = [
        ("failslab/ignore-gfp-wait", "N"),
        ("failslab/verbose", "0"),
        ("fail_page_alloc/ignore-gfp-wait", "N"),
        ("fail_page_alloc/min-order", "0"),
        ("fail_page_alloc/verbose", "0"),
        ("fail_usercopy/verbose", "0"),
    ];
    if fs::metadata("/proc/thread-self/fail-nth").is_err() {
        return Ok(false);
    }
    for (file, value) in settings {
        let path = format!("/sys/kernel/debug/{file}");
        fs::write(&path, value).with_context(|| path)?;
    }
    Ok(true)
}

const STATISTICS: &str = "/sys/kernel/debug/rust_ipc/stats";

/// How many commands the driver has carried out since it is there, and how many returns it has made.
/// It names none that there were none of.
fn counts() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(STATISTICS)?;
    let counts = text
        .lines()
        .filter_map(|line| {
            let (name, count) = line.split_once(": ")?;
            let is_one = name.starts_with("BC_") || name.starts_with("BR_");
            Some((name.to_owned(), count.parse().ok().filter(|_| is_one)?))
        })
        .collect();
    Ok(counts)
}

/// How many objects of each kind the driver has.
fn alive() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string(STATISTICS)?;
    let counts: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(": alive ")?;
            let (count, _) = rest.split_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        })
        .collect();
    ensure!(!counts.is_empty(), "the driver does not say what it has");
    Ok(counts)
}

/// Waits until the driver has no more objects than before.
fn is_as_before(before: &BTreeMap<String, u64>) -> Result<()> {
    let begin = Instant::now();
    loop {
        let now = alive()?;
        if now == *before {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < Duration::from_secs(20),
            "nobody is left, and the driver has {now:?}; before, it had {before:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}
