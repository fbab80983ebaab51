// SPDX-License-Identifier: GPL-2.0

//! How much of the module's code has been executed, by KCOV: a call is compiled into each basic
//! block, and the kernel notes where it was called from. Which calls there are is in the module's
//! file.
//!
//! Not counted are blocks that do nothing but tell of a fault: those of the sanitizers, which come
//! with every access to memory, and panics. No input reaches them while there is no bug.

use std::{collections::BTreeMap, fmt::Write, fs, sync::atomic::Ordering::Relaxed};

use anyhow::{Context, Result, ensure};

use crate::{board::Board, sys::Trace};

/// Bytes of code, at most.
pub(crate) const SPAN: usize = 4 << 20;
const MODULE: &str = "/lib/rust_ipc.ko";
const SECTIONS: &str = "/sys/module/rust_ipc/sections/";
const CALLED: &[u8] = b"__sanitizer_cov_trace_pc";

/// The module's code, as it is loaded.
pub(crate) struct Code {
    start: u64,
    /// Where the calls return to, from the start on; and the functions that they are in.
    sites: BTreeMap<u64, String>,
}

/// How far behind its beginning a block that tells of a fault does so.
const SOON: u64 = 24;

/// What tells of a fault.
fn is_alarm(function: &str) -> bool {
    let beginnings = ["__asan_report", "__asan_handle_no_return", "__ubsan_handle"];
    beginnings.iter().any(|name| function.starts_with(name)) || function.contains("9panicking")
}

impl Code {
    /// Of the module that is loaded. `None` if it has no such calls, or the kernel no KCOV.
    pub(crate) fn of_module() -> Result<Option<Self>> {
        if fs::metadata("/sys/kernel/debug/kcov").is_err() {
            return Ok(None);
        }
        let bytes = fs::read(MODULE)?;
        let mut code = Self {
            start: u64::MAX,
            sites: BTreeMap::new(),
        };
        let calls = calls(&bytes).context("the module's file is none that can be read")?;
        let mut starts: BTreeMap<&str, u64> = BTreeMap::new();
        for (section, ..) in &calls {
            if !starts.contains_key(section.as_str()) && section.starts_with(".text") {
                let text = fs::read_to_string(SECTIONS.to_owned() + section)?;
                let start = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16)?;
                ensure!(start > 0, "the module's addresses are hidden");
                starts.insert(section, start);
            }
        }
        code.start = starts.values().copied().min().unwrap_or(0);
        for (section, offset, function) in &calls {
            // What is elsewhere is called once, when the module comes or goes.
            if section.starts_with(".text") {
                let address = starts[section.as_str()] + offset - code.start;
                ensure!((address as usize) < SPAN, "the module has too much code");
                code.sites.insert(address, function.clone());
            }
        }
        Ok((!code.sites.is_empty()).then_some(code))
    }

    /// Takes note of what a thread has executed.
    pub(crate) fn note(&self, board: &Board, trace: &Trace) {
        for address in trace.take() {
            let covered = address
                .checked_sub(self.start)
                .and_then(|offset| board.covered.get(offset as usize));
            if let Some(covered) = covered {
                covered.store(1, Relaxed);
            }
        }
    }

    fn is_covered(board: &Board, offset: u64) -> bool {
        board.covered[offset as usize].load(Relaxed) != 0
    }

    /// How much has been executed, and how much there is.
    pub(crate) fn share(&self, board: &Board) -> (usize, usize) {
        let covered = self.sites.keys().filter(|&&at| Self::is_covered(board, at));
        (covered.count(), self.sites.len())
    }

    /// Each function's share.
    pub(crate) fn by_function(&self, board: &Board) -> String {
        let mut functions: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (&at, function) in &self.sites {
            let (covered, all) = functions.entry(function).or_default();
            *covered += usize::from(Self::is_covered(board, at));
            *all += 1;
        }
        let mut text = String::new();
        for (function, (covered, all)) in functions {
            let _ = writeln!(text, "{covered:5} {all:5} {function}");
        }
        text
    }
}

/// All calls in an ELF file but for those of alarms: section, the offset in it of what follows the
/// call, function.
fn calls(file: &[u8]) -> Option<Vec<(String, u64, String)>> {
    let number = |at: usize, len: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(file.get(at..)?.get(..len)?);
        Some(u64::from_le_bytes(bytes))
    };
    let text = |at: u64| -> Option<&[u8]> {
        let rest = file.get(at as usize..)?;
        rest.split(|&byte| byte == 0).next()
    };
    struct Section {
        name: u64,
        kind: u64,
        offset: u64,
        size: u64,
        link: u64,
        info: u64,
    }
    let (table, count) = (number(40, 8)? as usize, number(60, 2)?);
    let sections: Vec<Section> = (0..count as usize)
        .map(|index| {
            let at = table + 64 * index;
            Some(Section {
                name: number(at, 4)?,
                kind: number(at + 4, 4)?,
                offset: number(at + 24, 8)?,
                size: number(at + 32, 8)?,
                link: number(at + 40, 4)?,
                info: number(at + 44, 4)?,
            })
        })
        .collect::<Option<_>>()?;
    let names = sections.get(number(62, 2)? as usize)?;
    let symbols = sections.iter().find(|section| section.kind == 2)?;
    let strings = sections.get(symbols.link as usize)?;
    let mut called = None;
    // Functions by section and start.
    let mut functions: BTreeMap<(u64, u64), String> = BTreeMap::new();
    for index in 0..symbols.size / 24 {
        let at = (symbols.offset + 24 * index) as usize;
        let name = text(strings.offset + number(at, 4)?)?;
        if name == CALLED {
            called = Some(index);
        }
        if number(at + 4, 1)? & 15 == 2 {
            let place = (number(at + 6, 2)?, number(at + 8, 8)?);
            functions.insert(place, String::from_utf8_lossy(name).into_owned());
        }
    }
    let called = called?;
    let mut calls = Vec::new();
    for section in sections.iter().filter(|section| section.kind == 4) {
        let target = sections.get(section.info as usize)?;
        let name = String::from_utf8_lossy(text(names.offset + target.name)?).into_owned();
        // What is relocated, and to which symbol.
        let mut places: Vec<(u64, u64)> = (0..section.size / 24)
            .map(|index| {
                let at = (section.offset + 24 * index) as usize;
                Some((number(at, 8)?, number(at + 8, 8)? >> 32))
            })
            .collect::<Option<_>>()?;
        places.sort_unstable();
        for (index, &(at, symbol)) in places.iter().enumerate() {
            if symbol != called {
                continue;
            }
            // The call's operand is what is relocated.
            let after = at + 4;
            let next = places.get(index + 1).filter(|&&(at, _)| at < after + SOON);
            if let Some(&(_, next)) = next {
                let at = (symbols.offset + 24 * next) as usize;
                let name = text(strings.offset + number(at, 4)?)?;
                if is_alarm(&String::from_utf8_lossy(name)) {
                    continue;
                }
            }
            let place = (section.info, after);
            let function = functions.range(..place).next_back();
            let function = function.map_or_else(String::new, |(_, name)| name.clone());
            calls.push((name.clone(), after, function));
        }
    }
    Some(calls)
}
