// SPDX-License-Identifier: GPL-2.0

//! The differences that are meant to be, each by its entry in `Documentation/differences.rst`.

use anyhow::{Context, Result, bail};

use crate::run::Difference;

/// In place of a pattern: the words are those of the C driver, but the ones that are named after
/// this are in another order or at another place.
const REORDERED: &str = "reordered: ";

/// The same, and there are more of these: what the C driver returns later.
const EARLIER: &str = "earlier: ";

/// One kind of difference. Texts are patterns, in which `*` stands for anything.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Its entry.
    pub label: String,
    /// Where it begins in the file.
    pub line: usize,
    /// Steps that came before, in any order, with what came of them in both: `STEP => RESULT`.
    after: Vec<String>,
    /// The step itself.
    step: String,
    /// What comes of it in the C driver.
    c: String,
    /// And here.
    here: Here,
}

/// What comes of a step here, where it is not what comes of it in the C driver.
#[derive(Clone, Debug)]
enum Here {
    /// This.
    Is(String),
    /// The same words, but those of these names elsewhere.
    Reordered(Vec<String>),
    /// The same, and more of those.
    Earlier(Vec<String>),
}

impl Default for Here {
    fn default() -> Self {
        Self::Is(String::new())
    }
}

impl Here {
    fn matches(&self, c: &str, ours: &str) -> bool {
        let (names, with_more) = match self {
            Self::Is(pattern) => return matches(pattern, ours),
            Self::Reordered(names) => (names, false),
            Self::Earlier(names) => (names, true),
        };
        let split = |text: &str| -> (Vec<String>, Vec<String>) {
            let name_of = |word: &str| word.split('(').next().unwrap_or_default().to_owned();
            let words = text.split(' ').map(str::to_owned);
            words.partition(|word| names.contains(&name_of(word)))
        };
        let ((moved, mut rest), (mut ours_moved, mut ours_rest)) = (split(c), split(ours));
        for word in &moved {
            match ours_moved.iter().position(|own| own == word) {
                Some(at) => ours_moved.remove(at),
                None => return false,
            };
        }
        if with_more {
            // What is read is longer then.
            for words in [&mut rest, &mut ours_rest] {
                if let Some(at) = words.iter().position(|word| word == "read") {
                    let _ = words.splice(at..words.len().min(at + 2), []);
                }
            }
        }
        ours_moved.is_empty() != with_more && rest == ours_rest
    }
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
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.starts_with(char::is_whitespace) {
                rules.push(Rule {
                    label: line.trim().into(),
                    line: index + 1,
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
                "here" => {
                    let names = |text: &str| text.split(' ').map(Into::into).collect();
                    rule.here = if let Some(text) = pattern.strip_prefix(REORDERED) {
                        Here::Reordered(names(text))
                    } else if let Some(text) = pattern.strip_prefix(EARLIER) {
                        Here::Earlier(names(text))
                    } else {
                        Here::Is(pattern)
                    }
                }
                _ => bail!("'{field}' is no field"),
            }
        }
        Ok(Self { rules })
    }

    /// All rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule by which a difference is meant to be.
    pub fn rule_for(&self, difference: &Difference) -> Option<&Rule> {
        let (c, ours) = (
            difference.c.lines.join(" | "),
            difference.ours.lines.join(" | "),
        );
        self.rules.iter().find(|rule| {
            matches(&rule.step, &difference.c.step)
                && matches(&rule.c, &c)
                && rule.here.matches(&c, &ours)
                && rule.after.iter().all(|pattern| {
                    difference.before.iter().any(|entry| {
                        let came = format!("{} => {}", entry.step, entry.lines.join(" | "));
                        matches(pattern, &came)
                    })
                })
        })
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

    fn entry(step: &str, line: &str) -> Entry {
        Entry {
            step: step.into(),
            lines: vec![line.into()],
        }
    }

    /// Whether a rule with this as `here` lets such a difference pass.
    fn allows(here: &str, c: &str, ours: &str) -> bool {
        let text = format!("label\n  step *\n  C *\n  here {here}\n");
        let difference = Difference {
            before: Vec::new(),
            c: entry("A", c),
            ours: entry("A", ours),
        };
        let allowed = Allowed::parse(&text).unwrap();
        allowed.rule_for(&difference).is_some()
    }

    #[test]
    fn another_order() {
        let is_allowed = |c, ours| allows("reordered: B C", c, ours);
        assert!(is_allowed("A(1) B(1) C(1)", "A(1) C(1) B(1)"));
        assert!(is_allowed("A(1) D B(1) B(2)", "A(1) B(2) D B(1)"));
        assert!(!is_allowed("A(1) D B(1)", "D A(1) B(1)"));
        assert!(!is_allowed("B(1) B(2)", "B(1) B(1)"));
        assert!(!is_allowed("B(1) B(2)", "B(1)"));
    }

    #[test]
    fn more_of_a_kind() {
        let is_allowed = |c, ours| allows("earlier: B C", c, ours);
        assert!(is_allowed("read 4: A(1)", "read 8: B(1) A(1)"));
        assert!(is_allowed("read 4: C(1) A(1)", "read 8: B(1) C(1) A(1)"));
        assert!(!is_allowed("read 4: C(1) A(1)", "read 8: B(1) C(2) A(1)"));
        assert!(!is_allowed("read 4: A(1)", "read 8: D(1) A(1)"));
        assert!(!is_allowed("read 8: A(1) B(1)", "read 4: A(1)"));
        assert!(!is_allowed("read 8: A(1) B(1)", "read 8: B(1) A(1)"));
    }

    #[test]
    fn a_rule_is_narrow() {
        let allowed =
            Allowed::parse("# no\nlabel\n  after A x* => 7\n  step B*\n  C *1\n  here *2\n")
                .unwrap();
        let line_of = |difference: &Difference| allowed.rule_for(difference).map(|rule| rule.line);
        let mut difference = Difference {
            before: vec![entry("A x y", "7")],
            c: entry("B", "1"),
            ours: entry("B", "2"),
        };
        assert_eq!(line_of(&difference), Some(2));
        difference.ours = entry("B", "3");
        assert_eq!(line_of(&difference), None);
        difference.ours = entry("B", "2");
        difference.before.clear();
        assert_eq!(line_of(&difference), None);
        assert_eq!(allowed.rules()[0].label, "label");
    }
}
