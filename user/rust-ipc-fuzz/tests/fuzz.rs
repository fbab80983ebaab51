// SPDX-License-Identifier: GPL-2.0

//! Hostile processes, for a bounded time. Prints TAP.
//!
//! `RUST_IPC_FUZZ_SECONDS` says how long (default: 20, and 30 on a debug kernel),
//! `RUST_IPC_FUZZ_SEED` where the choices come from (default: 1).

use std::{env, fs, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use rust_ipc_fuzz::{
    program,
    run::{self, Options},
};
use rust_ipc_oracle::tap::Tap;

fn main() -> Result<ExitCode> {
    let number =
        |name: &str, default: u64| env::var(name).map_or(Ok(default), |value| value.parse::<u64>());
    // What takes time on the stock kernel takes several times as long there.
    let is_debug = fs::metadata("/sys/kernel/debug/kmemleak").is_ok();
    let seconds = number("RUST_IPC_FUZZ_SECONDS", if is_debug { 30 } else { 20 })?;
    let seed = number("RUST_IPC_FUZZ_SEED", 1)?;
    let mut tap = Tap::new(2);

    let programs = || -> Result<()> {
        for seed in seed..seed + 4 {
            let digests = [
                program::digest(seed, program::LEN)?,
                program::digest(seed, program::LEN)?,
            ];
            println!("# program {seed}: {:016x}", digests[0]);
            ensure!(digests[0] == digests[1], "seed {seed}: {digests:x?}");
        }
        Ok(())
    };
    let result = programs();
    let text = result.as_ref().err().map(|error| format!("{error:#}"));
    tap.result(
        "a program comes to the same each time",
        result.is_ok(),
        &text.unwrap_or_default(),
    );

    let storm = || -> Result<()> {
        let report = run::storm(&Options {
            seed,
            time: Duration::from_secs(seconds),
            ..Options::default()
        })?;
        println!("# {report}");
        ensure!(report.is_enough(), "that was too little");
        Ok(())
    };
    let result = storm();
    let text = result.as_ref().err().map(|error| {
        let again = format!("make fuzz FUZZ_SECONDS={seconds} ARGS=\"--seed {seed}\"");
        let here = "make test TESTS=user-fuzz, with KERNEL_CONFIG for this kernel";
        format!("{error:#}\nsomething like it: {again}, or {here}")
    });
    tap.result(
        "hostile processes do no harm, and leave nothing",
        result.is_ok(),
        &text.unwrap_or_default(),
    );
    Ok(tap.end())
}
