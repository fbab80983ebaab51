// SPDX-License-Identifier: GPL-2.0

//! A script on both drivers, and what differs.

use std::{env, ffi::CString, fmt, path::Path};

use anyhow::{Result, ensure};

use crate::{
    allow::{Allowed, Rule},
    controller::{Controller, Driver, Entry, Side},
    script::Script,
};

/// The two devices.
#[derive(Clone, Debug)]
pub struct Sides {
    /// The C driver's.
    pub c: Side,
    /// Ours.
    pub ours: Side,
}

impl Sides {
    /// `RUST_IPC_DEVICE` and `RUST_IPC_ORACLE_DEVICE` say which they are.
    pub fn from_env() -> Result<Self> {
        let side = |driver, variable: &str, default: &str| -> Result<Side> {
            let path = env::var(variable).unwrap_or_else(|_| default.into());
            ensure!(Path::new(&path).exists(), "there is no {path}");
            Ok(Side {
                driver,
                path: CString::new(path)?,
                broken: None,
            })
        };
        Ok(Self {
            c: side(Driver::C, "RUST_IPC_ORACLE_DEVICE", "/dev/c_binder")?,
            ours: side(Driver::Ours, "RUST_IPC_DEVICE", "/dev/rust_ipc")?,
        })
    }
}

/// All that came of a script.
pub fn transcript(controller: &mut Controller, side: &Side, script: &Script) -> Result<Vec<Entry>> {
    let mut session = controller.session(side, script.memory)?;
    let mut entries = Vec::new();
    for step in &script.steps {
        entries.push(session.step(step)?);
    }
    entries.extend(session.finish()?);
    Ok(entries)
}

/// The first step that did not come out the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The steps before it.
    pub before: Vec<Entry>,
    /// That step, as the C driver has it.
    pub c: Entry,
    /// As ours has it.
    pub ours: Entry,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.before {
            writeln!(f, "  {}", entry.step)?;
            for line in &entry.lines {
                writeln!(f, "          {line}")?;
            }
        }
        writeln!(f, "> {}", self.c.step)?;
        for line in &self.c.lines {
            writeln!(f, "  C:      {line}")?;
        }
        if self.ours.step != self.c.step {
            writeln!(f, "> {}", self.ours.step)?;
        }
        for line in &self.ours.lines {
            writeln!(f, "  here:   {line}")?;
        }
        Ok(())
    }
}

/// Where two transcripts part.
pub fn first_difference(c: Vec<Entry>, ours: Vec<Entry>) -> Option<Difference> {
    let at = c.iter().zip(&ours).position(|(c, ours)| c != ours);
    let at = match at {
        Some(at) => at,
        None if c.len() == ours.len() => return None,
        None => c.len().min(ours.len()),
    };
    let nothing = Entry {
        step: "(the end)".into(),
        lines: Vec::new(),
    };
    Some(Difference {
        before: c[..at].to_vec(),
        c: c.get(at).unwrap_or(&nothing).clone(),
        ours: ours.get(at).unwrap_or(&nothing).clone(),
    })
}

/// How a script ended.
pub enum Verdict<'a> {
    /// Both drivers did the same.
    Same(Vec<Entry>),
    /// They did not, and are not meant to.
    Allowed(&'a Rule),
    /// They did not.
    Different(Box<Difference>),
}

/// Runs a script on both.
pub fn compare<'a>(
    controller: &mut Controller,
    sides: &Sides,
    allowed: &'a Allowed,
    script: &Script,
) -> Result<Verdict<'a>> {
    let c = transcript(controller, &sides.c, script)?;
    let ours = transcript(controller, &sides.ours, script)?;
    Ok(judge(allowed, c, ours))
}

/// What to say of two transcripts of one script.
pub fn judge(allowed: &Allowed, c: Vec<Entry>, ours: Vec<Entry>) -> Verdict<'_> {
    let Some(difference) = first_difference(c.clone(), ours) else {
        return Verdict::Same(c);
    };
    match allowed.rule_for(&difference) {
        Some(rule) => Verdict::Allowed(rule),
        None => Verdict::Different(Box::new(difference)),
    }
}
