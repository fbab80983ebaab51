// SPDX-License-Identifier: GPL-2.0

//! Looks for differences in scripts made up at random.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    allow::{Allowed, Rule},
    controller::Controller,
    coverage::Coverage,
    random,
    run::{self, Sides, Verdict},
    script::Script,
    shrink,
};

/// How often a difference must be seen before it counts: what the scheduler decides differs once.
const REPEATS: usize = 3;

/// How long it may take to make a script shorter.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of a seed.
pub enum Found<'a> {
    /// Both drivers did the same.
    Same,
    /// They did not, and are not meant to.
    Allowed(&'a Rule),
    /// They did not, but then they did. The text has the first time.
    Unstable(String),
    /// They did not. The text has the shortest script that shows it, and what it shows.
    Different(String),
}

/// Makes up the script of this seed, and has both carry it out. What it covers is counted.
pub fn try_seed<'a>(
    controller: &mut Controller,
    sides: &Sides,
    allowed: &'a Allowed,
    coverage: &mut Coverage,
    seed: u64,
) -> Result<Found<'a>> {
    let (script, c) = random::script(controller, sides, seed)?;
    coverage.note(&script, &c);
    let ours = run::transcript(controller, &sides.ours, &script)?;
    let first = match run::judge(allowed, c, ours) {
        Verdict::Same(_) => return Ok(Found::Same),
        Verdict::Allowed(rule) => {
            coverage.note_allowed(rule);
            return Ok(Found::Allowed(rule));
        }
        Verdict::Different(difference) => difference.to_string(),
    };
    let mut differs = |script: &Script, repeats: usize| -> Result<bool> {
        for _ in 0..repeats {
            let verdict = run::compare(controller, sides, allowed, script)?;
            if !matches!(verdict, Verdict::Different(_)) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if !differs(&script, REPEATS)? {
        return Ok(Found::Unstable(first));
    }
    let end = Instant::now() + PATIENCE;
    let script = shrink::shrink(&script, |script| {
        Ok(Instant::now() < end && differs(script, 1)?)
    })?;
    // Once more, for the text. It may be gone if time plays a part after all.
    for _ in 0..REPEATS {
        if let Verdict::Different(difference) = run::compare(controller, sides, allowed, &script)? {
            return Ok(Found::Different(format!("{script}\n{difference}")));
        }
    }
    Ok(Found::Unstable(first))
}
