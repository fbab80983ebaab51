// SPDX-License-Identifier: GPL-2.0

//! The scripts of `selftests/oracle/`, on both drivers. Prints TAP.

use std::{collections::BTreeSet, path::Path, process::ExitCode};

use anyhow::Result;
use rust_ipc_oracle::{
    controller::Controller,
    library,
    run::{self, Sides, Verdict},
    script::Body,
    tap::Tap,
    wire::{COMMANDS, RETURNS},
};

fn main() -> Result<ExitCode> {
    let sides = Sides::from_env()?;
    let allowed = library::allowed()?;
    let scripts = library::scripts()?;
    let mut controller = Controller::new()?;
    let mut tap = Tap::new(scripts.len() + 3);
    let (mut used, mut returns, mut commands) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (topic, script) in &scripts {
        let name = format!("{topic}: {}", script.name);
        for step in &script.steps {
            if let Body::Exchange(items) = &step.body {
                commands.extend(items.iter().filter_map(|item| item[0].word()));
            }
        }
        let c = run::transcript(&mut controller, &sides.c, script)?;
        for line in c.iter().flat_map(|entry| &entry.lines) {
            for (_, name) in RETURNS {
                if line.contains(&format!(" {name}")) {
                    returns.insert(name);
                }
            }
        }
        let ours = run::transcript(&mut controller, &sides.ours, script)?;
        match run::judge(&allowed, c, ours) {
            Verdict::Same(_) => tap.ok(&name),
            Verdict::Allowed(rule) => {
                used.insert(rule.line);
                tap.ok(&name);
            }
            Verdict::Different(difference) => tap.not_ok(&name, &difference.to_string()),
        }
    }

    // What nothing shows any more does not have to be allowed.
    let stale: Vec<_> = allowed
        .rules()
        .iter()
        .filter(|rule| !used.contains(&rule.line))
        .map(|rule| format!("{}, line {}", rule.label, rule.line))
        .collect();
    tap.result(
        "each allowed difference is there",
        stale.is_empty(),
        &stale.join("\n"),
    );
    // BR_OK is never sent, BR_ERROR only if there is no memory. Only a security module that is meant
    // for it has contexts.
    let contexts = Path::new("/sys/fs/selinux").exists();
    let unseen: Vec<_> = RETURNS
        .iter()
        .map(|(_, name)| *name)
        .filter(|name| !returns.contains(name))
        .filter(|name| !matches!(*name, "OK" | "ERROR"))
        .filter(|name| contexts || *name != "TRANSACTION_SEC_CTX")
        .collect();
    tap.result("each return was seen", unseen.is_empty(), &unseen.join(" "));
    let unused: Vec<_> = COMMANDS
        .into_iter()
        .filter(|c| !commands.contains(c))
        .collect();
    tap.result(
        "each command was given",
        unused.is_empty(),
        &unused.join(" "),
    );
    Ok(tap.end())
}
