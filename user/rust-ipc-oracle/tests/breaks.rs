// SPDX-License-Identifier: GPL-2.0

//! Each fault that is put between the driver under test and its users must be noticed by a script.
//! Prints TAP.

use std::process::ExitCode;

use anyhow::Result;
use rust_ipc_oracle::{
    breaks::Break,
    controller::Controller,
    library,
    run::{self, Sides, Verdict},
    tap::Tap,
};

fn main() -> Result<ExitCode> {
    let mut sides = Sides::from_env()?;
    let allowed = library::allowed()?;
    let mut scripts: Vec<_> = library::scripts()?
        .into_iter()
        .map(|(topic, script)| (topic, script, None))
        .collect();
    let mut controller = Controller::new()?;
    let mut tap = Tap::new(Break::ALL.len());
    for (name, topic, broken) in Break::ALL {
        sides.ours.broken = Some(broken);
        let mut noticed = None;
        for (_, script, c) in scripts.iter_mut().filter(|(own, ..)| *own == topic) {
            let c = match c {
                Some(c) => c,
                None => c.insert(run::transcript(&mut controller, &sides.c, script)?),
            };
            let ours = run::transcript(&mut controller, &sides.ours, script)?;
            if let Verdict::Different(_) = run::judge(&allowed, c.clone(), ours) {
                noticed = Some(&script.name);
                break;
            }
        }
        match noticed {
            Some(script) => tap.ok(&format!("{name}: noticed by \"{script}\"")),
            None => tap.not_ok(name, &format!("no script in {topic}.script notices")),
        }
    }
    Ok(tap.end())
}
