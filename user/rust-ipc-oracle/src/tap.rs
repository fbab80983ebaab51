// SPDX-License-Identifier: GPL-2.0

//! Results of tests, in the Test Anything Protocol.

use std::process::ExitCode;

/// Prints results as they come.
pub struct Tap {
    planned: usize,
    count: usize,
    failed: usize,
}

impl Tap {
    /// For so many tests.
    pub fn new(planned: usize) -> Self {
        println!("TAP version 13\n1..{planned}");
        Self {
            planned,
            count: 0,
            failed: 0,
        }
    }

    /// A test passed.
    pub fn ok(&mut self, name: &str) {
        self.count += 1;
        println!("ok {} {name}", self.count);
    }

    /// A test failed; the text says how.
    pub fn not_ok(&mut self, name: &str, text: &str) {
        self.count += 1;
        self.failed += 1;
        text.lines().for_each(|line| println!("# {line}"));
        println!("not ok {} {name}", self.count);
    }

    /// A test passed or failed.
    pub fn result(&mut self, name: &str, passed: bool, text: &str) {
        match passed {
            true => self.ok(name),
            false => self.not_ok(name, text),
        }
    }

    /// The program's exit status.
    pub fn end(self) -> ExitCode {
        match self.failed == 0 && self.count == self.planned {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
