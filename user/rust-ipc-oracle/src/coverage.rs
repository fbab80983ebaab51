// SPDX-License-Identifier: GPL-2.0

//! What scripts had in them, and what came of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    allow::Rule,
    controller::Entry,
    random::VERBS,
    script::{Body, Script, Token},
    wire::{COMMANDS, OBJECTS, RETURNS},
};

/// How often each was seen.
#[derive(Default)]
pub struct Coverage {
    commands: BTreeMap<String, u64>,
    objects: BTreeMap<String, u64>,
    verbs: BTreeMap<String, u64>,
    returns: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    allowed: BTreeMap<String, u64>,
}

impl Coverage {
    /// Counts what is in a script and in what came of it.
    pub fn note(&mut self, script: &Script, entries: &[Entry]) {
        for step in &script.steps {
            match &step.body {
                Body::Verb(words) => {
                    count(&mut self.verbs, words.first().and_then(Token::word));
                }
                Body::Exchange(items) => {
                    for item in items {
                        count(&mut self.commands, item[0].word());
                        let objects = item.iter().filter_map(|part| match part {
                            Token::Form(name, _) => Some(name.as_str()),
                            _ => None,
                        });
                        for name in objects.filter(|name| OBJECTS.contains(name)) {
                            count(&mut self.objects, Some(name));
                        }
                    }
                }
            }
        }
        let lines = entries.iter().flat_map(|entry| &entry.lines);
        for word in lines.flat_map(|line| line.split([' ', '(', ',', ';'])) {
            if RETURNS.iter().any(|(_, name)| *name == word) {
                count(&mut self.returns, Some(word));
            } else if is_error(word.trim_start_matches('-')) {
                count(&mut self.errors, Some(word));
            }
        }
    }

    /// Counts a script after which the drivers differed, as they are meant to.
    pub fn note_allowed(&mut self, rule: &Rule) {
        count(&mut self.allowed, Some(&rule.label));
    }

    /// What there is and was not seen. Of the returns, `BR_OK` is never sent, `BR_ERROR` only if
    /// there is no memory.
    pub fn missing(&self, contexts: bool) -> BTreeSet<&'static str> {
        let returns = RETURNS.iter().map(|(_, name)| *name);
        let returns = returns.filter(|name| {
            !matches!(*name, "OK" | "ERROR") && (contexts || *name != "TRANSACTION_SEC_CTX")
        });
        let mut missing = BTreeSet::new();
        missing.extend(
            COMMANDS
                .into_iter()
                .filter(|name| !self.commands.contains_key(*name)),
        );
        missing.extend(
            OBJECTS
                .into_iter()
                .filter(|name| !self.objects.contains_key(*name)),
        );
        missing.extend(
            VERBS
                .into_iter()
                .filter(|name| !self.verbs.contains_key(*name)),
        );
        missing.extend(returns.filter(|name| !self.returns.contains_key(*name)));
        missing
    }
}

/// Whether it looks like the name of an error: no other word does.
fn is_error(word: &str) -> bool {
    word.len() > 3
        && word.starts_with('E')
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn count(counts: &mut BTreeMap<String, u64>, name: Option<&str>) {
    if let Some(name) = name {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, counts) in [
            ("commands", &self.commands),
            ("objects", &self.objects),
            ("verbs", &self.verbs),
            ("returns", &self.returns),
            ("errors", &self.errors),
            ("allowed", &self.allowed),
        ] {
            write!(f, "{kind}:")?;
            for (name, count) in counts {
                write!(f, " {name} {count}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
