// SPDX-License-Identifier: GPL-2.0

//! Scripts made up at random, on both drivers. Prints TAP.
//!
//! `RUST_IPC_ORACLE_SCRIPTS` says how many (default 3000), `RUST_IPC_ORACLE_SECONDS` how long it goes
//! on at most (default 200), `RUST_IPC_ORACLE_SEED` with which seed it begins (default 1).

use std::{
    env,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use rust_ipc_oracle::{
    controller::Controller,
    coverage::Coverage,
    library,
    run::Sides,
    search::{self, Found},
    tap::Tap,
};

/// Fewer scripts than this say nothing.
const AT_LEAST: u64 = 50;
/// As many scripts have everything in them.
const ALL_AT: u64 = 1000;
/// More differences than this are not looked for: making scripts shorter takes time.
const AT_MOST: usize = 2;

fn main() -> Result<ExitCode> {
    let number =
        |name: &str, default: u64| env::var(name).map_or(Ok(default), |value| value.parse::<u64>());
    let end = Instant::now() + Duration::from_secs(number("RUST_IPC_ORACLE_SECONDS", 200)?);
    let scripts = number("RUST_IPC_ORACLE_SCRIPTS", 3000)?;
    let first = number("RUST_IPC_ORACLE_SEED", 1)?;
    let sides = Sides::from_env()?;
    let allowed = library::allowed()?;
    let mut controller = Controller::new()?;
    let mut tap = Tap::new(3);
    let mut coverage = Coverage::default();
    let (mut seed, mut unstable, mut differences) = (first, 0, Vec::new());
    while seed < first + scripts && Instant::now() < end && differences.len() < AT_MOST {
        match search::try_seed(&mut controller, &sides, &allowed, &mut coverage, seed)? {
            Found::Same | Found::Allowed(_) => {}
            Found::Unstable(_) => unstable += 1,
            Found::Different(text) => differences.push(text),
        }
        seed += 1;
    }
    let count = seed - first;
    println!(
        "# {count} scripts, seeds {first} to {}, {unstable} not the same twice",
        seed - 1
    );
    coverage
        .to_string()
        .lines()
        .for_each(|line| println!("# {line}"));
    tap.result(
        "both drivers did the same",
        differences.is_empty(),
        &differences.join("\n"),
    );
    let enough = count >= AT_LEAST && unstable * 20 <= count;
    tap.result(
        "enough scripts could be compared",
        enough,
        &format!("{count}, {unstable} unstable"),
    );
    // There are security contexts only with a module that is meant for them.
    let missing = coverage.missing(Path::new("/sys/fs/selinux").exists());
    let missing: Vec<&str> = missing.into_iter().collect();
    tap.result(
        "the scripts had everything in them, if there were enough",
        missing.is_empty() || count < ALL_AT,
        &missing.join(" "),
    );
    Ok(tap.end())
}
