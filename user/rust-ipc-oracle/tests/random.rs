// SPDX-License-Identifier: GPL-2.0

//! Scripts made up at random, on both drivers. Prints TAP.
//!
//! `RUST_IPC_ORACLE_SCRIPTS` says how many (default 3000), `RUST_IPC_ORACLE_SECONDS` after how long no
//! more are begun (default 200) than must be ([`AT_LEAST`]), `RUST_IPC_ORACLE_SEED` with which seed it
//! begins (default 1).

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

/// As many scripts have everything in them, and are carried out however long that takes.
const AT_LEAST: u64 = 500;
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
    let has_time = |seed: u64| seed < first + AT_LEAST || Instant::now() < end;
    while seed < first + scripts && has_time(seed) && differences.len() < AT_MOST {
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
    let enough = count >= AT_LEAST.min(scripts) && unstable * 20 <= count;
    tap.result(
        "enough scripts could be compared",
        enough,
        &format!("{count}, {unstable} unstable"),
    );
    // There are security contexts only with a module that is meant for them.
    let missing = coverage.missing(Path::new("/sys/fs/selinux").exists());
    let missing: Vec<&str> = missing.into_iter().collect();
    tap.result(
        "the scripts had everything in them, unless fewer were asked for",
        missing.is_empty() || scripts < AT_LEAST,
        &missing.join(" "),
    );
    Ok(tap.end())
}
