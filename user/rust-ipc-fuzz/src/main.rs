// SPDX-License-Identifier: GPL-2.0

//! `rust-ipc-fuzz`: see `--help`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use lexopt::prelude::*;
use rust_ipc_fuzz::{
    program,
    run::{self, Options},
};

const HELP: &str = "\
rust-ipc-fuzz [OPTION]...

Lets processes loose on /dev/rust_ipc that make up what they ask of it.

  --seconds N     how long (default: 10)
  --seed N        where all choices come from (default: 1)
  --processes N   at a time (default: 4)
  --threads N     of each (default: 3)
  --no-failures   do not have allocations and copies fail
  --kinds         say how often each command and return there was
  --coverage      say how much of the module's code was reached (takes KCOV)
  --functions     the same for each function

Processes that take turns, whose every step has the same result each time:

  --program       carry out the program of the seed, and print a number that depends on
                  everything that came of it
  --steps N       how long a program is (default: 300)
";

fn main() -> Result<ExitCode> {
    let mut options = Options::default();
    let (mut is_program, mut kinds, mut functions) = (false, false, false);
    let mut steps = program::LEN;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seconds") => options.time = Duration::from_secs(parser.value()?.parse()?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("processes") => options.processes = parser.value()?.parse()?,
            Long("threads") => options.threads = parser.value()?.parse()?,
            Long("no-failures") => options.failures = false,
            Long("kinds") => kinds = true,
            Long("coverage") => options.coverage = true,
            Long("functions") => {
                options.coverage = true;
                functions = true;
            }
            Long("program") => is_program = true,
            Long("steps") => steps = parser.value()?.parse()?,
            Long("help") => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => bail!(other.unexpected()),
        }
    }
    if is_program {
        let digest = program::digest(options.seed, steps)?;
        println!("seed {}, {steps} steps: {digest:016x}", options.seed);
    } else {
        let report = run::storm(&options)?;
        println!("{report}");
        if kinds {
            print!("{}", report.by_kind());
        }
        if let Some((.., by_function)) = report.coverage.filter(|_| functions) {
            print!("{by_function}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
