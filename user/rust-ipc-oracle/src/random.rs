// SPDX-License-Identifier: GPL-2.0

//! Scripts made up at random: each step is chosen while the C driver carries out those before it,
//! by what it has returned so far. So most of a script makes sense: calls get answered, buffers
//! freed, counts acknowledged; the rest does not. A seed always gives the same scripts.
//!
//! What is never made up, because the drivers are meant to differ, or because no order of things is
//! promised:
//!
//! - commands that the buffer ends in the middle of, buffers that cannot be accessed
//!   (`write-truncated`, `read-fault`);
//! - a thread's exit with work left that it can read (`exit-oneway`, `exit-node-work`,
//!   `undelivered-buffers`): it reads first;
//! - `poll()` that waits (`flush-now`);
//! - an area that is unmapped while the file is open (`area-unread`);
//! - a second descriptor closed while several threads of the process wait: which of them runs
//!   first, and is asked to start another one, is up to the scheduler.

use std::{collections::BTreeSet, fmt::Write};

use anyhow::Result;

use crate::{
    controller::{Controller, Entry, Session},
    run::Sides,
    script::{Body, Memory, Script, Step, Token, Who},
};

/// The verbs that are made up.
pub const VERBS: [&str; 25] = [
    "close",
    "end-thread",
    "error",
    "exit",
    "fd-limit",
    "fds",
    "flush",
    "freeze",
    "frozen",
    "info",
    "ioctl",
    "kill",
    "leave",
    "manager",
    "max-threads",
    "nice",
    "node",
    "nodes",
    "nonblock",
    "poll",
    "signal",
    "spam",
    "thread-exit",
    "up",
    "version",
];

/// Numbers that look random (SplitMix64).
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True so many times of a hundred.
    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What a thread has been told and has not dealt with.
#[derive(Default)]
struct Thread {
    /// Calls that it has to answer.
    calls: usize,
}

/// What a process has been told and has not dealt with.
#[derive(Default)]
struct Process {
    handles: BTreeSet<u64>,
    buffers: Vec<usize>,
    delivered: usize,
    acknowledge: Vec<String>,
    deaths: Vec<u64>,
    freezes: Vec<u64>,
    /// Notifications that it has asked for: handle and cookie.
    asked_deaths: Vec<(u64, u64)>,
    asked_freezes: Vec<(u64, u64)>,
}

/// What the script knows of itself.
struct Author {
    random: Random,
    /// Whether a process can end.
    memory: Memory,
    cast: Vec<Who>,
    threads: Vec<Thread>,
    processes: Vec<Process>,
}

/// Makes a script up while the C driver carries it out: the script, and what came of it there.
pub fn script(
    controller: &mut Controller,
    sides: &Sides,
    seed: u64,
) -> Result<(Script, Vec<Entry>)> {
    let mut random = Random::new(seed);
    let memory = match random.percent(10) {
        true => Memory::Own,
        false => Memory::Shared,
    };
    let mut author = Author {
        random,
        memory,
        cast: Vec::new(),
        threads: Vec::new(),
        processes: Vec::new(),
    };
    let mut session = controller.session(&sides.c, memory)?;
    let mut script = Script {
        name: format!("seed {seed}"),
        memory,
        steps: Vec::new(),
    };
    let mut entries = Vec::new();
    let mut planned = author.opening();
    let mut left = 5 + author.random.below(20);
    while left > 0 || !planned.is_empty() {
        if planned.is_empty() {
            left -= 1;
            planned = author.steps(&session);
            planned.reverse();
            continue;
        }
        let Some(text) = planned.pop() else { break };
        let step = Step::parse(&text)?;
        if session.is_gone(step.who) {
            continue;
        }
        let entry = session.step(&step)?;
        author.learn(&entry);
        // Without something left to read a thread may go.
        if step.text.ends_with("read now")
            && planned
                .last()
                .is_some_and(|next| next.ends_with("thread-exit"))
            && !entry.lines[0].contains("EAGAIN")
        {
            planned.pop();
        }
        script.steps.push(step);
        entries.push(entry);
    }
    entries.extend(session.finish()?);
    Ok((script, entries))
}

impl Author {
    /// Who takes part. The steps are in the opposite order.
    fn opening(&mut self) -> Vec<String> {
        let processes = 2 + self.random.below(2);
        let mut steps = Vec::new();
        for process in 0..processes {
            self.processes.push(Process::default());
            let threads = 1 + self.random.below(2);
            for thread in 0..threads {
                self.cast.push(Who { process, thread });
                self.threads.push(Thread::default());
            }
            let size = self.random.of(&["", "", " 8192", " 131072"]);
            let letter = Who::letter(process);
            let manager = if process == 0 && self.random.percent(40) {
                " manager"
            } else {
                ""
            };
            steps.push(format!("{letter} up{size}{manager}"));
            if process == 0 && manager.is_empty() {
                let flags = self
                    .random
                    .of(&["0", "0x100", "0x100", "0x1100", "0x1000", "0x105"]);
                let node = self.random.of(&[0, 0, 0, 1, 2]);
                steps.push(format!("A manager {node} {node} {flags}"));
            }
            if self.random.percent(20) {
                steps.push(format!("{letter} max-threads {}", self.random.below(3)));
            }
            if self.random.percent(20) {
                steps.push(format!("{letter} spam 1"));
            }
            for thread in 0..threads {
                if self.random.percent(85) {
                    steps.push(format!("{}: enter", Who { process, thread }));
                }
            }
            if process > 0 {
                if self.random.percent(50) {
                    steps.push(format!("{letter}: acquire 0"));
                }
                self.processes[process].handles.insert(0);
            }
        }
        // The manager gets to know some of them, and some of them each other.
        let mut known = 0;
        for process in 1..processes {
            if self.random.percent(60) {
                known += 1;
                let letter = Who::letter(process);
                steps.push(format!(
                    "{letter}: oneway 0 binder({known},{known}); read now"
                ));
                steps.push("A: read now".into());
                steps.push(format!("A: acquire {known}; free b{known}"));
            }
        }
        if known > 1 && self.random.percent(60) {
            steps.push("A: oneway 1 handle(2); read now".into());
            steps.push("B: read now".into());
            steps.push("B: acquire 1; free b1".into());
        }
        steps.reverse();
        steps
    }

    /// One step, or a few that belong together.
    fn steps(&mut self, session: &Session<'_>) -> Vec<String> {
        let cast: Vec<usize> = (0..self.cast.len())
            .filter(|&at| !session.is_gone(self.cast[at]))
            .collect();
        if cast.is_empty() {
            return Vec::new();
        }
        let at = self.random.of(&cast);
        let who = self.cast[at];
        if session.is_busy(who) {
            // Who waits is left alone, mostly.
            return match self.random.percent(10) {
                true => vec![format!("{who} signal")],
                false => Vec::new(),
            };
        }
        if !session.is_open(who.process) {
            return match self.random.percent(15) {
                true => vec![format!("{who} up")],
                false => Vec::new(),
            };
        }
        if self.memory == Memory::Own && self.random.percent(4) {
            // There are few scripts in which that is possible.
            let verb = match who.thread {
                0 => self.random.of(&["kill", "exit"]),
                _ => "end-thread",
            };
            return vec![format!("{who} {verb}")];
        }
        if self.random.percent(82) {
            return vec![self.exchange(at)];
        }
        if self.random.percent(10) {
            // Too much, if nobody reads it.
            let handle = self.handle(who);
            let size = self.random.of(&[300, 700, 1000]);
            let one = format!("oneway {handle} fill({size})");
            let burst = format!("{who}: {one}; {one}; {one}; read");
            let mut steps = vec![format!("{who} spam 1"), burst.clone(), burst];
            steps.truncate(2 + self.random.below(2));
            return steps;
        }
        let other = Who::letter(self.random.below(self.processes.len()));
        let waiting = (0..3)
            .filter(|&thread| session.is_busy(Who { thread, ..who }))
            .count();
        vec![match self.random.below(28) {
            0..=2 => format!("{who} poll"),
            3..=4 => format!("{who} error"),
            5..=6 => format!("{who} nodes"),
            7..=9 => format!("{who} freeze {other} {}", self.random.below(2)),
            10 => format!("{who} frozen {other}"),
            11 => format!("{who} info {}", self.handle(who)),
            12 if waiting < 2 => format!("{who} flush"),
            13 => format!("{who} max-threads {}", self.random.below(4)),
            14 => format!("{who} spam {}", self.random.below(2)),
            15 => format!("{who} fds"),
            16 => return vec![format!("{who}: read now"), format!("{who} thread-exit")],
            17 => format!("{who} leave"),
            18 => format!("{who} close"),
            19 => format!("{who} nice {}", self.random.below(6)),
            20 => format!("{who} manager"),
            21 => format!("{who} node {}", self.random.below(5)),
            22 => {
                // Those that are there no longer, and one that never was.
                let request = self.random.of(&["0x40046206", "0x40086203", "0x4008627f"]);
                format!("{who} ioctl {request}")
            }
            23 => format!("{who} nonblock{}", self.random.of(&["", " off"])),
            24 => format!("{who} fd-limit {}", self.random.of(&[5, 6, 1024])),
            25 => {
                let verb = self.random.of(&[
                    "version nowhere",
                    "error nowhere",
                    "node 0 nowhere",
                    "max-threads nowhere",
                    "manager nowhere",
                    "spam nowhere",
                    "freeze nobody",
                    "frozen nobody",
                    "info 0 dirt=1",
                ]);
                format!("{who} {verb}")
            }
            26 => {
                let node = self.random.below(4);
                format!("{who} manager {node} {}", node + self.random.below(2))
            }
            _ => format!("{who} version"),
        }]
    }

    fn exchange(&mut self, at: usize) -> String {
        let who = self.cast[at];
        let mut text = format!("{who}:");
        for _ in 0..self.random.of(&[0, 1, 1, 1, 2, 2, 3]) {
            let command = self.command(at);
            let _ = write!(text, " {command};");
        }
        match self.random.below(10) {
            0..=4 => text.push_str(" read"),
            5..=7 => text.push_str(" read now"),
            8 => {
                let size = self.random.of(&[4, 8, 76, 79, 80, 100, 120]);
                let _ = write!(text, " read now size={size}");
            }
            _ => {}
        }
        text
    }

    /// A handle that the process has, mostly.
    fn handle(&mut self, who: Who) -> u64 {
        let handles: Vec<u64> = self.processes[who.process]
            .handles
            .iter()
            .copied()
            .collect();
        match self.random.percent(93) && !handles.is_empty() {
            true => self.random.of(&handles),
            false => self.random.below(4) as u64,
        }
    }

    fn command(&mut self, at: usize) -> String {
        let who = self.cast[at];
        // What is to be done comes first.
        if self.threads[at].calls > 0 && self.random.percent(45) {
            self.threads[at].calls -= 1;
            return self.message(who, "reply".into());
        }
        let random = &mut self.random;
        let process = &mut self.processes[who.process];
        if !process.acknowledge.is_empty() && random.percent(40) {
            return process.acknowledge.remove(0);
        }
        if !process.buffers.is_empty() && random.percent(35) {
            let at = random.below(process.buffers.len());
            return format!("free b{}", process.buffers.remove(at));
        }
        if !process.deaths.is_empty() && random.percent(40) {
            return format!("dead-done {}", process.deaths.remove(0));
        }
        if !process.freezes.is_empty() && random.percent(40) {
            return format!("freeze-done {}", process.freezes.remove(0));
        }
        let cookie = random.below(3);
        match random.below(35) {
            0..=5 => {
                let handle = self.handle(who);
                self.message(who, format!("call {handle}"))
            }
            6..=14 => {
                let handle = self.handle(who);
                self.message(who, format!("oneway {handle}"))
            }
            15..=17 => format!("acquire {}", self.handle(who)),
            18 => format!("increfs {}", self.handle(who)),
            19..=20 => format!("release {}", self.handle(who)),
            21 => format!("decrefs {}", self.handle(who)),
            22..=23 => {
                let handle = self.handle(who);
                let asked = &mut self.processes[who.process].asked_deaths;
                asked.push((handle, cookie as u64));
                format!("request-death {handle} {cookie}")
            }
            24 => {
                let (handle, cookie) = match process.asked_deaths.pop() {
                    Some(asked) => asked,
                    None => (self.handle(who), cookie as u64),
                };
                format!("clear-death {handle} {cookie}")
            }
            25..=26 => {
                let handle = self.handle(who);
                let asked = &mut self.processes[who.process].asked_freezes;
                asked.push((handle, cookie as u64));
                format!("request-freeze {handle} {cookie}")
            }
            27 => {
                let (handle, cookie) = match process.asked_freezes.pop() {
                    Some(asked) => asked,
                    None => (self.handle(who), cookie as u64),
                };
                format!("clear-freeze {handle} {cookie}")
            }
            28 => format!("dead-done {cookie}"),
            29 => format!("freeze-done {cookie}"),
            30 => self.random.of(&["enter", "register", "leave"]).into(),
            31 => format!("free b{}", 1 + self.random.below(4)),
            33 if self.random.percent(40) => {
                let command =
                    self.random
                        .of(&["attempt-acquire 1 1", "acquire-result 1", "raw 0x12345678"]);
                command.into()
            }
            32 => {
                let kind = self.random.of(&["acquire-done", "increfs-done"]);
                let node = 1 + self.random.below(4);
                format!("{kind} {node} {node}")
            }
            _ => self.message(who, "reply".into()),
        }
    }

    fn message(&mut self, who: Who, mut text: String) -> String {
        let code = self.random.below(3);
        if code > 0 {
            let _ = write!(text, " code={code}");
        }
        if self.random.percent(25) {
            let flags = self.random.of(&[
                "accept-fds",
                "clear",
                "update",
                "status",
                "accept-fds|clear",
            ]);
            let _ = write!(text, " flags={flags}");
        }
        let mut objects = 0;
        let mut buffers = Vec::new();
        if self.random.percent(40) {
            // A parent at the very beginning is none.
            text.push_str(" \"head\"");
        }
        for _ in 0..self.random.of(&[0, 0, 1, 1, 1, 2, 2, 3, 5]) {
            let node = self.random.of(&[0, 1, 1, 2, 2, 3, 4]);
            let part = match self.random.below(60) {
                0..=15 => format!("binder({node},{node})"),
                16..=19 => format!("weak-binder({node},{node})"),
                20..=27 => format!("handle({})", self.handle(who)),
                28..=29 => format!("weak-handle({})", self.handle(who)),
                30..=33 => format!("fd(f{})", 1 + self.random.below(3)),
                34 => format!(
                    "binder({node},{},{:#x})",
                    node + 1,
                    self.random.below(0x2000)
                ),
                35..=42 => {
                    let size = self.random.of(&[0, 1, 8, 16, 24, 24, 32]);
                    format!("ptr(fill({size}))")
                }
                43..=48 if !buffers.is_empty() => {
                    let (parent, at) = (
                        self.random.of(&buffers),
                        self.random.of(&[0, 0, 8, 8, 16, 4]),
                    );
                    format!("ptr(fill(8),parent={parent},at={at})")
                }
                49..=50 => "ptr(u32(f1,f2))".into(),
                51..=54 if !buffers.is_empty() => {
                    let (parent, count) = (self.random.of(&buffers), self.random.below(3));
                    let at = self.random.of(&[0, 0, 0, 4]);
                    format!("fda({count},parent={parent},at={at})")
                }
                55 => format!("object(0x12345678,0,{node},0)"),
                _ => {
                    let size = self.random.of(&[1, 4, 8, 100, 1000, 3000, 9000]);
                    let _ = write!(text, " fill({size})");
                    continue;
                }
            };
            if part.starts_with("ptr") {
                buffers.push(objects);
            }
            objects += 1;
            let _ = write!(text, " {part}");
        }
        if self.random.percent(4) {
            let wrong = self.random.of(&[
                "data-size=7",
                "data-size=30",
                "offsets=[0]",
                "offsets=[8,0]",
                "offsets=[2]",
                "offsets-size=4",
                "buffers-size=8",
                "buffers-size=20",
                "buffers-size=0",
            ]);
            let _ = write!(text, " {wrong}");
        }
        text
    }

    /// A buffer that is given back does not have to be any more.
    fn forget(&mut self, step: &str) {
        let Ok(step) = Step::parse(step) else { return };
        let Body::Exchange(items) = &step.body else {
            return;
        };
        for item in items.iter().filter(|item| item[0].is("free")) {
            let number = item.get(1).and_then(Token::word);
            let number = number.and_then(|word| word.strip_prefix('b')?.parse().ok());
            let buffers = &mut self.processes[step.who.process].buffers;
            buffers.retain(|own| Some(*own) != number);
        }
    }

    /// Takes note of what was returned to whom.
    fn learn(&mut self, entry: &Entry) {
        self.forget(&entry.step);
        for line in &entry.lines {
            let Some(end) = line.find([' ', ':']) else {
                continue;
            };
            let Ok(who) = Who::parse(&line[..end]) else {
                continue;
            };
            let Some(at) = self.cast.iter().position(|own| *own == who) else {
                continue;
            };
            let process = &mut self.processes[who.process];
            for word in line.split(' ') {
                let Some((name, rest)) = word.split_once(['(', '=']) else {
                    continue;
                };
                let arguments: Vec<u64> = rest
                    .trim_end_matches(')')
                    .split([',', ')'])
                    .map_while(|text| crate::script::parse_number(text).ok())
                    .collect();
                match (name, arguments.as_slice()) {
                    ("ACQUIRE", [ptr, cookie]) => {
                        process
                            .acknowledge
                            .push(format!("acquire-done {ptr} {cookie}"));
                    }
                    ("INCREFS", [ptr, cookie]) => {
                        process
                            .acknowledge
                            .push(format!("increfs-done {ptr} {cookie}"));
                    }
                    ("DEAD_BINDER", [cookie]) => process.deaths.push(*cookie),
                    ("FROZEN_BINDER", [cookie, ..]) => process.freezes.push(*cookie),
                    ("handle" | "weak-handle", [handle, ..]) => {
                        process.handles.insert(*handle);
                    }
                    _ => {}
                }
                if let Some(number) = name.strip_prefix('b').and_then(|n| n.parse().ok()) {
                    if number > process.delivered {
                        process.delivered = number;
                        process.buffers.push(number);
                    }
                }
            }
            if line.contains(" TRANSACTION") && !line.contains("from=0 ") && line.contains("(to=") {
                self.threads[at].calls += 1;
            }
        }
    }
}
