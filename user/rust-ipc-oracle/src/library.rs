// SPDX-License-Identifier: GPL-2.0

//! What is in `selftests/oracle/`.

use anyhow::{Context, Result};

use crate::{allow::Allowed, script::Script};

macro_rules! topics {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../selftests/oracle/", $name, ".script")))),*]
    };
}

/// The scripts, by topic.
const TOPICS: &[(&str, &str)] = topics![
    "area",
    "calls",
    "commands",
    "death",
    "differences",
    "files",
    "freeze",
    "ioctls",
    "loopers",
    "nested",
    "nice",
    "objects",
    "poll",
    "reading",
    "references",
    "scatter",
    "spam",
];

/// Topics about what this driver does not do yet. A difference in one of these fails no test.
const PENDING: &[&str] = &[];

/// Whether a topic is one of those.
pub fn is_pending(topic: &str) -> bool {
    PENDING.contains(&topic)
}

/// The differences that are meant to be.
pub fn allowed() -> Result<Allowed> {
    Allowed::parse(include_str!("../../../selftests/oracle/allow"))
        .context("selftests/oracle/allow")
}

/// All scripts, each with the name of its topic.
pub fn scripts() -> Result<Vec<(&'static str, Script)>> {
    let mut scripts = Vec::new();
    for &(topic, text) in TOPICS {
        let topic_scripts = Script::parse_all(text).with_context(|| format!("{topic}.script"))?;
        scripts.extend(topic_scripts.into_iter().map(|script| (topic, script)));
    }
    Ok(scripts)
}
