// SPDX-License-Identifier: GPL-2.0

//! The differences that are meant to be, each by its entry in `Documentation/differences.rst`.

use anyhow::{Context, Result, bail};

use crate::run::Difference;

/// One kind of difference. Texts are patterns, in which `*` stands for anything.
#[derive(Clone, Debug, Default)]
struct Rule {
    label: String,
    /// Steps that came before, in any order, with what came of them in both: `STEP => RESULT`.
    after: Vec<String>,
    /// The step itself.
    step: String,
    /// What comes of it in the C driver.
    c: String,
    /// And here.
    here: String,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Allowed {
    rules: Vec<Rule>,
}

impl Allowed {
    /// Reads the file: a label, then indented lines that begin with `after`, `step`, `C` or `here`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut rules: Vec<Rule> = Vec::new();
        for line in text.lines() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.starts_with(char::is_whitespace) {
                rules.push(Rule {
                    label: line.trim().into(),
                    step: "*".into(),
                    ..Rule::default()
                });
                continue;
            }
            let rule = rules.last_mut().context("a label comes first")?;
            let (field, pattern) = line
                .trim()
                .split_once(' ')
                .context("a field and a pattern")?;
            let pattern = pattern.trim().to_owned();
            match field {
                "after" => rule.after.push(pattern),
                "step" => rule.step = pattern,
                "C" => rule.c = pattern,
                "here" => rule.here = pattern,
                _ => bail!("'{field}' is no field"),
            }
        }
        Ok(Self { rules })
    }

    /// Every label once, in order.
    pub fn labels(&self) -> Vec<&str> {
        let mut labels: Vec<&str> = self.rules.iter().map(|rule| rule.label.as_str()).collect();
        labels.dedup();
        labels
    }

    /// The label of a difference that is meant to be.
    pub fn label_of(&self, difference: &Difference) -> Option<&str> {
        let (c, ours) = (
            difference.c.lines.join(" | "),
            difference.ours.lines.join(" | "),
        );
        let rule = self.rules.iter().find(|rule| {
            matches(&rule.step, &difference.c.step)
                && matches(&rule.c, &c)
                && matches(&rule.here, &ours)
                && rule.after.iter().all(|pattern| {
                    difference.before.iter().any(|entry| {
                        let came = format!("{} => {}", entry.step, entry.lines.join(" | "));
                        matches(pattern, &came)
                    })
                })
        });
        rule.map(|rule| rule.label.as_str())
    }
}

/// Whether the text is as the pattern says.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(last) => rest.ends_with(last),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Entry;

    #[test]
    fn patterns() {
        for (pattern, text, result) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a*b*b", "ab", false),
            ("a*b*b", "abb", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, text), result, "{pattern} {text}");
        }
    }

    #[test]
    fn a_rule_is_narrow() {
        let allowed =
            Allowed::parse("# no\nlabel\n  after A x* => 7\n  step B*\n  C *1\n  here *2\n")
                .unwrap();
        let entry = |step: &str, line: &str| Entry {
            step: step.into(),
            lines: vec![line.into()],
        };
        let mut difference = Difference {
            before: vec![entry("A x y", "7")],
            c: entry("B", "1"),
            ours: entry("B", "2"),
        };
        assert_eq!(allowed.label_of(&difference), Some("label"));
        difference.ours = entry("B", "3");
        assert_eq!(allowed.label_of(&difference), None);
        difference.ours = entry("B", "2");
        difference.before.clear();
        assert_eq!(allowed.label_of(&difference), None);
        assert_eq!(allowed.labels(), ["label"]);
    }
}
