// SPDX-License-Identifier: GPL-2.0

//! The parts of the module that need no kernel, driven by choices that are changed until they reach
//! new code. What is checked is what the tests' models check.
//!
//! rustc has LLVM's coverage (`-C passes=sancov-module`), and with it goes a counter for each basic
//! block. Libfuzzer would take a C++ compiler, which the build root lacks, and cargo-fuzz a nightly
//! toolchain; what it takes here is the loop in `main()`.

#![allow(dead_code, unused_imports)]

use std::{
    cell::RefCell,
    env,
    panic::{catch_unwind, AssertUnwindSafe},
    process::ExitCode,
    sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

#[path = "../../alloc/mod.rs"]
mod alloc;

#[path = "../../ipc/gather.rs"]
mod gather;

#[path = "../../uapi/mod.rs"]
mod uapi;

/// Choices are not made of more bytes.
const MOST: usize = 4096;

thread_local! {
    /// The choices that are left, in reverse.
    static CHOICES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The next choice, while there is one.
pub(crate) fn choice() -> Option<u64> {
    CHOICES.with_borrow_mut(|left| {
        let (low, high) = (left.pop()?, left.pop()?);
        Some(u64::from(low) | u64::from(high) << 8)
    })
}

static COUNTERS: AtomicPtr<AtomicU8> = AtomicPtr::new(std::ptr::null_mut());
static COUNTERS_LEN: AtomicUsize = AtomicUsize::new(0);

/// What is compiled calls this before `main()`: here are its counters.
#[no_mangle]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut AtomicU8, end: *mut AtomicU8) {
    COUNTERS.store(start, Relaxed);
    COUNTERS_LEN.store(end as usize - start as usize, Relaxed);
}

fn counters() -> &'static [AtomicU8] {
    // SAFETY: The compiler has made that many counters there, and they stay. They are written to
    // without further ado, but there is one thread.
    unsafe { std::slice::from_raw_parts(COUNTERS.load(Relaxed), COUNTERS_LEN.load(Relaxed)) }
}

/// How often, roughly, as a bit.
fn bucket(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        _ => 128,
    }
}

type Target = (&'static str, fn() -> Result<(), &'static str>);

const TARGETS: [Target; 5] = [
    ("ranges", alloc::tests::ranges_by_choice),
    ("queues", alloc::tests::queues_by_choice),
    ("table", alloc::tests::table_by_choice),
    ("gather", gather::tests::message_by_choice),
    ("wire", wire),
];

/// Commands and objects of any bytes.
fn wire() -> Result<(), &'static str> {
    let mut bytes: Vec<u8> = CHOICES.with_borrow_mut(std::mem::take);
    if let [head, number, len, rest, ..] = bytes.as_mut_slice() {
        // Mostly something that could be a command.
        if *head < 200 {
            (*head, *number, *len, *rest) = (*number % 32, b'c', *len & 0x7f, 0x40);
        }
    }
    if let Ok((_, taken)) = uapi::Command::decode(&bytes) {
        let code = uapi::u32s_from::<1>(&bytes)[0];
        let len = 4 + ((code >> 16) & 0x3fff) as usize;
        if taken != len || taken > bytes.len() {
            return Err("a command takes other bytes than its code says");
        }
        for short in 0..taken {
            if uapi::Command::decode(&bytes[..short]).err() != Some(uapi::DecodeError::Truncated) {
                return Err("a command is decoded that is not all there");
            }
        }
    }
    let Some(bytes) = bytes.first_chunk::<48>() else {
        return Ok(());
    };
    if &uapi::WriteRead::from_bytes(bytes).to_bytes() != bytes {
        return Err("a binder_write_read does not come back");
    }
    let bytes = bytes.first_chunk::<24>().expect("there are more");
    let object = uapi::FlatObject::from_bytes(bytes);
    if &object.to_bytes() != bytes || object.with_number(7).number() != 7 {
        return Err("a flat_binder_object does not come back");
    }
    Ok(())
}

/// Four choices out of 256 each, of which one goes on: nobody gets there but step by step.
fn lock() -> Result<(), &'static str> {
    let next = || choice().map_or(0, |choice| choice as u8);
    if next() == 0x5e && next() == 0xa1 && next() == 0x0c && next() == 0x77 {
        return Err("open");
    }
    Ok(())
}

/// A random change of one of these.
fn changed(random: &mut impl FnMut(usize) -> usize, kept: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = match kept.len() {
        0 => Vec::new(),
        len => kept[random(len)].clone(),
    };
    for _ in 0..1 + random(6) {
        let at = random(bytes.len().max(1));
        let end = at + random(64).min(bytes.len().saturating_sub(at));
        match random(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random(8),
            1 if at < bytes.len() => bytes[at] = random(256) as u8,
            2 if end > at => drop(bytes.drain(at..end)),
            3 if end > at => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 if !kept.is_empty() => {
                let other = &kept[random(kept.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random(other.len().max(1)).min(other.len())..]);
            }
            _ => {
                for _ in 0..1 + random(32) {
                    bytes.push(random(256) as u8);
                }
            }
        }
    }
    bytes.truncate(MOST);
    bytes
}

/// Drives a target for a time. How often, and how many ways of going through it were found; or what
/// is wrong, and with which choices.
fn drive(target: &Target, time: Duration) -> Result<(usize, usize), String> {
    let mut state = 1_u64;
    let mut random = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % end as u64) as usize
    };
    let mut seen = vec![0_u8; counters().len()];
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let (begin, mut runs) = (Instant::now(), 0);
    while begin.elapsed() < time {
        let bytes = changed(&mut random, &kept);
        CHOICES.set(bytes.iter().rev().copied().collect());
        counters().iter().for_each(|count| count.store(0, Relaxed));
        match catch_unwind(AssertUnwindSafe(target.1)) {
            Ok(Ok(())) => {}
            Ok(Err(what)) => return Err(format!("{what}: {bytes:?}")),
            Err(_) => return Err(format!("it panics: {bytes:?}")),
        }
        let mut is_new = false;
        for (seen, count) in seen.iter_mut().zip(counters()) {
            let bit = bucket(count.load(Relaxed));
            is_new |= *seen & bit != bit;
            *seen |= bit;
        }
        if is_new {
            kept.push(bytes);
        }
        runs += 1;
    }
    Ok((runs, kept.len()))
}

fn main() -> ExitCode {
    let seconds = env::var("FUZZ_SECONDS").map_or(Ok(8), |text| text.parse());
    let time =
        Duration::from_secs(seconds.expect("FUZZ_SECONDS is a number")) / TARGETS.len() as u32;
    let mut failed = 0;
    // If coverage guides, it opens that.
    if drive(&("lock", lock), Duration::from_secs(30)).is_ok() {
        failed += 1;
        println!("test lock ... FAILED\nwhat is found has no influence");
    }
    for target in &TARGETS {
        match drive(target, time) {
            Ok((runs, ways)) => println!("test {} ... ok ({runs} runs, {ways} kept)", target.0),
            Err(what) => {
                failed += 1;
                println!("test {} ... FAILED\n{what}", target.0);
            }
        }
    }
    let passed = TARGETS.len() + 1 - failed;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured");
    ExitCode::from(u8::from(failed > 0))
}
