// SPDX-License-Identifier: GPL-2.0

//! Scripts: the text format, taken apart into words. What the words mean is known to the worker,
//! which carries them out.
//!
//! ```text
//! == A call and its reply
//! A up manager                        # a process opens, maps, becomes context manager
//! B up
//! A: enter; read
//! B: call 0 code=7 "there"; read      # one BINDER_WRITE_READ: commands, then a read
//! A: free b1; reply "back"; read
//! ```
//!
//! A line is a step: who does it, then a verb with its arguments, or after a colon the commands of
//! one `BINDER_WRITE_READ`. `A` and `A2` are threads of one process.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};

/// Processes of a script, and threads in each.
pub const PROCESSES: usize = 4;
/// See [`PROCESSES`].
pub const THREADS: usize = 3;

/// A thread of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Who {
    /// From 0: `A`, `B`, …
    pub process: usize,
    /// From 0: `A`, `A2`, …
    pub thread: usize,
}

impl Who {
    /// Reads `B` or `B2`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut chars = text.chars();
        let process = match chars.next() {
            Some(letter @ 'A'..='Z') => letter as usize - 'A' as usize,
            _ => bail!("'{text}' is no thread: A, B, A2, …"),
        };
        let thread = match chars.as_str() {
            "" => 0,
            number => number.parse::<usize>()?.checked_sub(1).context("A is A1")?,
        };
        ensure!(
            process < PROCESSES && thread < THREADS,
            "'{text}': there are {PROCESSES} processes of {THREADS} threads"
        );
        Ok(Self { process, thread })
    }

    /// The letter of a process.
    pub fn letter(process: usize) -> char {
        char::from(b'A' + process as u8)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Self::letter(self.process))?;
        match self.thread {
            0 => Ok(()),
            thread => write!(f, "{}", thread + 1),
        }
    }
}

/// A word of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// `read`, `0x10`.
    Word(String),
    /// `"bytes\x00"`.
    Text(Vec<u8>),
    /// `binder(0x10, 0x11)`; `[0, 24]` has no name.
    Form(String, Vec<Token>),
    /// `size=80`.
    Option(String, Box<Token>),
}

impl Token {
    /// The number that this is.
    pub fn number(&self) -> Result<u64> {
        let Self::Word(word) = self else {
            bail!("a number was expected, not {self:?}");
        };
        parse_number(word)
    }

    /// The word that this is.
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Whether it is this word.
    pub fn is(&self, word: &str) -> bool {
        self.word() == Some(word)
    }
}

/// A number: decimal, hexadecimal, or negative.
pub fn parse_number(word: &str) -> Result<u64> {
    let number = match (word.strip_prefix("0x"), word.strip_prefix('-')) {
        (Some(hex), _) => u64::from_str_radix(hex, 16),
        (_, Some(rest)) => rest.parse::<u64>().map(u64::wrapping_neg),
        _ => word.parse(),
    };
    number.with_context(|| format!("'{word}' is no number"))
}

/// The value of an option among these, and that option no longer.
pub fn take_option(tokens: &mut Vec<Token>, name: &str) -> Option<Token> {
    let at = tokens
        .iter()
        .position(|token| matches!(token, Token::Option(own, _) if own == name))?;
    match tokens.remove(at) {
        Token::Option(_, value) => Some(*value),
        _ => None,
    }
}

/// Whether the word is among these; it is no longer.
pub fn take_word(tokens: &mut Vec<Token>, word: &str) -> bool {
    let at = tokens.iter().position(|token| token.is(word));
    at.map(|at| tokens.remove(at)).is_some()
}

/// What a thread does in one step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A verb and its arguments.
    Verb(Vec<Token>),
    /// Commands, perhaps a read: one `BINDER_WRITE_READ`.
    Exchange(Vec<Vec<Token>>),
}

/// One line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Who does it.
    pub who: Who,
    /// What is done.
    pub body: Body,
    /// As it was written.
    pub text: String,
}

impl Step {
    /// Reads a line, which has no comment any more.
    pub fn parse(line: &str) -> Result<Self> {
        let line = line.trim();
        let end = line
            .find(|c: char| c == ':' || c.is_whitespace())
            .with_context(|| format!("'{line}': a step has a thread and what it does"))?;
        let who = Who::parse(&line[..end])?;
        let rest = &line[end..];
        let body = match rest.strip_prefix(':') {
            Some(items) => {
                let items = split(items, ';')
                    .into_iter()
                    .filter(|item| !item.trim().is_empty())
                    .map(tokens)
                    .collect::<Result<Vec<_>>>()?;
                Body::Exchange(items)
            }
            None => Body::Verb(tokens(rest)?),
        };
        Ok(Self {
            who,
            body,
            text: line.into(),
        })
    }

    /// The verb, if it is none of those after a colon.
    pub fn verb(&self) -> Option<&str> {
        match &self.body {
            Body::Verb(words) => words.first().and_then(Token::word),
            Body::Exchange(_) => None,
        }
    }

    /// The same step with fewer commands, for each command that it can do without.
    pub fn simpler(&self) -> Vec<Self> {
        let Some((who, items)) = self.text.split_once(':') else {
            return Vec::new();
        };
        let items = split(items, ';');
        if items.len() < 2 {
            return Vec::new();
        }
        (0..items.len())
            .filter_map(|out| {
                let left: Vec<&str> = items
                    .iter()
                    .enumerate()
                    .filter(|&(index, _)| index != out)
                    .map(|(_, item)| item.trim())
                    .collect();
                Self::parse(&format!("{who}: {}", left.join("; "))).ok()
            })
            .collect()
    }
}

/// What memory the processes of a script have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Each its own.
    Own,
    /// All the same. Steps are several times faster then, as QEMU empties its caches when it goes
    /// from one to another. No process can end without the others.
    Shared,
}

/// A script: what it shows, and how.
#[derive(Clone, Debug)]
pub struct Script {
    /// One line of text.
    pub name: String,
    /// Its processes' memory.
    pub memory: Memory,
    /// The steps.
    pub steps: Vec<Step>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== {}", self.name)?;
        self.steps
            .iter()
            .try_for_each(|step| writeln!(f, "{}", step.text))
    }
}

impl Script {
    /// Reads a file of them. Each begins with `== NAME`; `#` begins a comment. What is between
    /// `repeat N` and `end` is there so many times.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        let mut scripts: Vec<Self> = Vec::new();
        let mut repeat = None;
        for (index, line) in text.lines().enumerate() {
            let line = split(line, '#')[0].trim();
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix("==") {
                scripts.push(Self {
                    name: name.trim().into(),
                    memory: Memory::Own,
                    steps: Vec::new(),
                });
                continue;
            }
            let script = scripts.last_mut().context("steps before the first '=='")?;
            if let Some(count) = line.strip_prefix("repeat ") {
                repeat = Some((script.steps.len(), count.parse::<usize>()?));
                continue;
            }
            if line == "end" {
                let (start, count) = repeat.take().context("'end' of what?")?;
                let steps = script.steps.split_off(start);
                script.steps.extend((0..count).flat_map(|_| steps.clone()));
                continue;
            }
            let step = Step::parse(line).with_context(|| format!("line {}", index + 1))?;
            script.steps.push(step);
        }
        Ok(scripts)
    }
}

/// Splits where the character is not within quotes or brackets.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_i32);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ if c == at && depth <= 0 => {
                parts.push(&text[start..index]);
                start = index + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Takes a text apart into words.
fn tokens(text: &str) -> Result<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    let tokens = tokens_until(&chars, &mut at, None)?;
    Ok(tokens)
}

fn tokens_until(chars: &[char], at: &mut usize, end: Option<char>) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    loop {
        while chars
            .get(*at)
            .is_some_and(|c| c.is_whitespace() || *c == ',')
        {
            *at += 1;
        }
        match (chars.get(*at), end) {
            (None, None) => return Ok(tokens),
            (None, Some(end)) => bail!("there is no '{end}'"),
            (Some(&c), Some(end)) if c == end => {
                *at += 1;
                return Ok(tokens);
            }
            _ => tokens.push(token(chars, at)?),
        }
    }
}

fn token(chars: &[char], at: &mut usize) -> Result<Token> {
    if chars[*at] == '"' {
        *at += 1;
        return Ok(Token::Text(quoted(chars, at)?));
    }
    let start = *at;
    while chars
        .get(*at)
        .is_some_and(|c| c.is_ascii_alphanumeric() || "-_+|.".contains(*c))
    {
        *at += 1;
    }
    let word: String = chars[start..*at].iter().collect();
    match chars.get(*at) {
        Some(&open @ ('(' | '[')) => {
            *at += 1;
            let close = if open == '(' { ')' } else { ']' };
            Ok(Token::Form(word, tokens_until(chars, at, Some(close))?))
        }
        Some('=') if !word.is_empty() => {
            *at += 1;
            ensure!(*at < chars.len(), "'{word}=' has no value");
            Ok(Token::Option(word, Box::new(token(chars, at)?)))
        }
        Some(&c) if word.is_empty() => bail!("what is '{c}' doing here?"),
        _ => Ok(Token::Word(word)),
    }
}

fn quoted(chars: &[char], at: &mut usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let c = *chars.get(*at).context("a '\"' is missing")?;
        *at += 1;
        match c {
            '"' => return Ok(bytes),
            '\\' => {
                let c = *chars.get(*at).context("a '\"' is missing")?;
                *at += 1;
                if c != 'x' {
                    bytes.push(c as u8);
                    continue;
                }
                let digits: String = chars[*at..].iter().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).context("\\xNN")?);
                *at += 2;
            }
            c => bytes.push(u8::try_from(c).context("only single bytes in a text")?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read() {
        let scripts = Script::parse_all(
            "# what\n== one; two\n\nA up # and so on\nB2: call 0 code=0x7 \"a # ;\\\"\\x01\" \
             binder(1, 2); read\n== next\n",
        )
        .unwrap();
        assert_eq!(scripts.len(), 2);
        assert_eq!(scripts[0].name, "one; two");
        let steps = &scripts[0].steps;
        assert_eq!(steps[0].verb(), Some("up"));
        assert_eq!(steps[1].who.to_string(), "B2");
        let Body::Exchange(items) = &steps[1].body else {
            panic!("no exchange");
        };
        assert_eq!(items.len(), 2);
        assert_eq!(items[0][3], Token::Text(b"a # ;\"\x01".to_vec()));
        let Token::Form(name, arguments) = &items[0][4] else {
            panic!("no form");
        };
        assert_eq!((name.as_str(), arguments.len()), ("binder", 2));
        assert_eq!(steps[1].simpler().len(), 2);
        assert_eq!(steps[1].simpler()[0].text, "B2: read");
    }

    #[test]
    fn steps_are_repeated() {
        let scripts = Script::parse_all("== x\nA up\nrepeat 3\nA: read\nB: read\nend\nB up\n");
        let scripts = scripts.unwrap();
        let steps: Vec<&str> = scripts[0].steps.iter().map(|s| s.text.as_str()).collect();
        assert_eq!(steps.len(), 8);
        assert_eq!(steps[..3], ["A up", "A: read", "B: read"]);
        assert_eq!(steps[6..], ["B: read", "B up"]);
    }

    #[test]
    fn what_is_no_script_is_refused() {
        for text in [
            "A up",
            "== x\nA",
            "== x\nZ up",
            "== x\nA: f(",
            "== x\nA: \"",
            "== x\nA4 up",
            "== x\nend",
        ] {
            assert!(Script::parse_all(text).is_err(), "{text}");
        }
    }
}
