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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_that_is_there_can_be_read() {
        assert!(!scripts().unwrap().is_empty());
        assert!(!allowed().unwrap().rules().is_empty());
    }

    #[test]
    fn every_file_is_a_topic() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../selftests/oracle");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".script").map(str::to_owned))
            .collect();
        assert_eq!(
            files,
            TOPICS.iter().map(|(name, _)| name.to_string()).collect()
        );
    }

    #[test]
    fn every_allowed_difference_is_documented() {
        let text = include_str!("../../../Documentation/differences.rst");
        for rule in allowed().unwrap().rules() {
            let label = &rule.label;
            assert!(text.contains(&format!("\n``{label}``\n")), "{label}");
        }
    }
}
