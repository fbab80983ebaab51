// SPDX-License-Identifier: GPL-2.0

//! `rust-ipc-oracle`: see `--help`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use rust_ipc_oracle::{
    allow::Allowed,
    breaks::Break,
    controller::Controller,
    coverage::Coverage,
    library, random,
    run::{self, Sides, Verdict},
    script::Script,
    search::{self, Found},
};

const HELP: &str = "\
rust-ipc-oracle [OPTION]... [FILE]...

Runs the scripts in the files, or all that are built in, on both drivers, and says what differs.

  --only TEXT     scripts whose name or topic has this in it
  --show          all that comes of each script, as the C driver has it
  --seed N        scripts made up at random instead, beginning with this seed
  --count N       how many of them (default: 1)
  --break NAME    with a fault between the other driver and its users
";

fn main() -> Result<ExitCode> {
    let mut sides = Sides::from_env()?;
    let (mut files, mut only, mut show) = (Vec::new(), String::new(), false);
    let (mut seed, mut count) = (None, 1);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("only") => only = parser.value()?.string()?,
            Long("show") => show = true,
            Long("seed") => seed = Some(parser.value()?.parse::<u64>()?),
            Long("count") => count = parser.value()?.parse::<u64>()?,
            Long("break") => {
                let name = parser.value()?.string()?;
                sides.ours.broken = Some(Break::by_name(&name).context("no such fault")?);
            }
            Long("help") => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            Value(file) => files.push(file),
            other => bail!(other.unexpected()),
        }
    }
    let allowed = library::allowed()?;
    if let Some(seed) = seed {
        return at_random(&sides, &allowed, seed, count, show);
    }
    let mut scripts = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        scripts.extend(
            Script::parse_all(&text)?
                .into_iter()
                .map(|script| (String::new(), script)),
        );
    }
    if files.is_empty() {
        scripts.extend(
            library::scripts()?
                .into_iter()
                .map(|(t, s)| (t.to_owned(), s)),
        );
    }
    let mut controller = Controller::new()?;
    let mut status = ExitCode::SUCCESS;
    let start = std::time::Instant::now();
    for (topic, script) in &scripts {
        if !script.name.contains(&only) && !topic.contains(&only) {
            continue;
        }
        match run::compare(&mut controller, &sides, &allowed, script)? {
            Verdict::Same(entries) => {
                println!("same: {} {:?}", script.name, start.elapsed());
                if show {
                    for entry in entries {
                        println!("  {}", entry.step);
                        entry
                            .lines
                            .iter()
                            .for_each(|line| println!("          {line}"));
                    }
                }
            }
            Verdict::Allowed(rule) => println!("allowed ({}): {}", rule.label, script.name),
            Verdict::Different(difference) => {
                println!("DIFFERENT: {}\n{difference}", script.name);
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

fn at_random(
    sides: &Sides,
    allowed: &Allowed,
    first: u64,
    count: u64,
    show: bool,
) -> Result<ExitCode> {
    let mut controller = Controller::new()?;
    let (mut status, mut coverage) = (ExitCode::SUCCESS, Coverage::default());
    for seed in first..first + count {
        if show {
            println!("{}", random::script(&mut controller, sides, seed)?.0);
        }
        match search::try_seed(&mut controller, sides, allowed, &mut coverage, seed)? {
            Found::Same => println!("same: seed {seed}"),
            Found::Allowed(rule) => println!("allowed ({}): seed {seed}", rule.label),
            Found::Unstable(text) => println!("not the same twice: seed {seed}\n{text}"),
            Found::Different(text) => {
                println!("DIFFERENT: seed {seed}\n{text}");
                status = ExitCode::FAILURE;
            }
        }
    }
    print!("{coverage}");
    Ok(status)
}
