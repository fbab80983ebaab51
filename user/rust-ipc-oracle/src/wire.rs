// SPDX-License-Identifier: GPL-2.0

//! From words to the bytes that a driver is given, and from the bytes that it gave to words.

use std::{fmt::Write, os::fd::RawFd};

use anyhow::{Context, Result, bail, ensure};
use rust_ipc::abi::{bc, br, object, tf};

use crate::{
    script::{Token, parse_number, take_option, take_word},
    sys::{self, Scratch},
};

/// An address at which there is nothing.
pub const NOWHERE: u64 = 0x10;

/// Descriptors below this are a script's; the program's own are above.
pub const OWN_FDS: RawFd = 500;

/// Where in the scratch memory things are.
const WRITE_AT: usize = 0;
const READ_AT: usize = 1 << 18;
const DATA_AT: usize = 1 << 20;
/// Behind the room of a read, to see that nothing is written there.
const GUARD: usize = 128;
/// Zeros behind what is placed, for a size that goes beyond it.
const BEHIND: usize = 64;
/// More of a payload than this is told by its hash.
const SHOWN: usize = 192;

/// Commands without memory of their own: their codes, and how many arguments of 32 bits they have,
/// and of 64.
const SIMPLE: [(&str, u32, usize, usize); 17] = [
    ("increfs", bc::INCREFS, 1, 0),
    ("acquire", bc::ACQUIRE, 1, 0),
    ("release", bc::RELEASE, 1, 0),
    ("decrefs", bc::DECREFS, 1, 0),
    ("increfs-done", bc::INCREFS_DONE, 0, 2),
    ("acquire-done", bc::ACQUIRE_DONE, 0, 2),
    ("register", bc::REGISTER_LOOPER, 0, 0),
    ("enter", bc::ENTER_LOOPER, 0, 0),
    ("leave", bc::EXIT_LOOPER, 0, 0),
    ("request-death", bc::REQUEST_DEATH_NOTIFICATION, 1, 1),
    ("clear-death", bc::CLEAR_DEATH_NOTIFICATION, 1, 1),
    ("dead-done", bc::DEAD_BINDER_DONE, 0, 1),
    ("request-freeze", bc::REQUEST_FREEZE_NOTIFICATION, 1, 1),
    ("clear-freeze", bc::CLEAR_FREEZE_NOTIFICATION, 1, 1),
    ("freeze-done", bc::FREEZE_NOTIFICATION_DONE, 0, 1),
    ("attempt-acquire", 0x4008_630a, 2, 0),
    ("acquire-result", 0x4004_6302, 1, 0),
];

/// All commands that can be given by name.
pub const COMMANDS: [&str; 21] = {
    let mut names = [""; 21];
    (names[0], names[1], names[2], names[3]) = ("call", "oneway", "reply", "free");
    let mut at = 0;
    while at < SIMPLE.len() {
        names[at + 4] = SIMPLE[at].0;
        at += 1;
    }
    names
};

/// All objects that a message can have.
pub const OBJECTS: [&str; 8] = [
    "binder",
    "weak-binder",
    "handle",
    "weak-handle",
    "fd",
    "ptr",
    "fda",
    "object",
];

/// What of a process encoding and decoding depend on.
#[derive(Default)]
pub struct State {
    /// Addresses of the buffers that were delivered, and whether they were freed since.
    pub buffers: Vec<(u64, bool)>,
    /// The area: address and length, 0 without one.
    pub area: (u64, u64),
    /// Process ids, by letter.
    pub pids: Vec<i32>,
    /// Files by identity; they have the descriptors from [`OWN_FDS`] on.
    pub files: Vec<(u64, u64, u64)>,
}

/// One `BINDER_WRITE_READ`, ready to be made.
pub struct Exchange {
    /// The commands.
    pub commands: Vec<u8>,
    /// How much of them the driver is told of.
    pub write_size: u64,
    /// Where in them it is to begin.
    pub write_consumed: u64,
    /// Where they are.
    pub write_address: u64,
    /// The effective user id to have meanwhile; `None`: the thread's own.
    pub euid: Option<u32>,
    /// `None`: no read.
    pub read: Option<Read>,
}

/// The read of an [`Exchange`].
pub struct Read {
    /// Room, in bytes.
    pub size: u64,
    /// Where in it to begin.
    pub consumed: u64,
    /// Where it is.
    pub address: u64,
    /// That is nowhere.
    pub nowhere: bool,
    /// How many of its last bytes cannot be written to.
    pub hole: Option<u64>,
    /// Without waiting.
    pub now: bool,
}

/// Writes commands into scratch memory as the words say.
pub struct Encoder<'a> {
    scratch: &'a mut Scratch,
    state: &'a mut State,
    bump: usize,
    commands: Vec<u8>,
}

impl<'a> Encoder<'a> {
    /// All of an exchange.
    pub fn exchange(
        scratch: &'a mut Scratch,
        state: &'a mut State,
        items: &[Vec<Token>],
    ) -> Result<Exchange> {
        let mut encoder = Encoder {
            scratch,
            state,
            bump: DATA_AT,
            commands: Vec::new(),
        };
        let (mut cut, mut hole, mut consumed, mut bad) = (0, None, 0, false);
        let (mut euid, mut read) = (None, None);
        for item in items {
            ensure!(read.is_none(), "nothing can come after a read");
            let mut words = item[1..].to_vec();
            match &item[0] {
                Token::Word(word) if word == "read" => read = Some(read_of(words)?),
                // Options of the write.
                Token::Word(word) if word == "cut" => cut = one_number(&words)?,
                Token::Word(word) if word == "hole" => hole = Some(one_number(&words)?),
                Token::Word(word) if word == "skip" => consumed = one_number(&words)?,
                Token::Word(word) if word == "nowhere" => bad = true,
                Token::Word(word) if word == "euid" => euid = Some(one_number(&words)? as u32),
                Token::Word(word) => encoder.command(word, &mut words)?,
                other => bail!("'{other:?}' is no command"),
            }
        }
        let commands = std::mem::take(&mut encoder.commands);
        let len = commands.len();
        ensure!(len + GUARD <= READ_AT, "too many commands");
        let at = match hole {
            // The last so many bytes cannot be read.
            Some(hole) => Scratch::LEN - len + hole as usize,
            None => WRITE_AT,
        };
        let bytes = encoder.scratch.bytes();
        let end = (at + len + GUARD).min(Scratch::LEN);
        bytes[at..end].fill(0);
        bytes[at..end][..len.min(end - at)].copy_from_slice(&commands[..len.min(end - at)]);
        let write_address = if bad {
            NOWHERE
        } else {
            encoder.scratch.address(at)
        };
        if let Some(read) = &mut read {
            let at = match read.hole {
                Some(hole) => Scratch::LEN - (read.size - hole) as usize,
                None => READ_AT,
            };
            let end = (at + read.size as usize + GUARD).min(Scratch::LEN);
            encoder.scratch.bytes()[at..end].fill(0xa5);
            read.address = match read.nowhere {
                true => NOWHERE,
                false => encoder.scratch.address(at),
            };
        }
        Ok(Exchange {
            write_size: (len as u64).saturating_sub(cut),
            commands,
            write_consumed: consumed,
            write_address,
            euid,
            read,
        })
    }

    fn u32(&mut self, value: u64) {
        self.commands
            .extend_from_slice(&(value as u32).to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.commands.extend_from_slice(&value.to_ne_bytes());
    }

    fn command(&mut self, word: &str, words: &mut Vec<Token>) -> Result<()> {
        let simple = SIMPLE.iter().find(|(name, ..)| *name == word);
        if let Some(&(_, code, short, long)) = simple {
            ensure!(words.len() == short + long, "{word} has other arguments");
            self.u32(code.into());
            for (index, word) in words.iter().enumerate() {
                match word.number()? {
                    value if index < short => self.u32(value),
                    value => self.u64(value),
                }
            }
            return Ok(());
        }
        match word {
            "call" | "oneway" | "reply" => self.message(word, words)?,
            "free" => {
                self.u32(bc::FREE_BUFFER.into());
                let address = self.buffer(words.first().context("free which?")?)?;
                self.u64(address);
            }
            "free-all" => {
                let live: Vec<u64> = self
                    .state
                    .buffers
                    .iter_mut()
                    .filter(|(_, freed)| !freed)
                    .map(|(address, freed)| {
                        *freed = true;
                        *address
                    })
                    .collect();
                for address in live {
                    self.u32(bc::FREE_BUFFER.into());
                    self.u64(address);
                }
            }
            // 32-bit words as they are.
            "raw" => {
                for word in words.iter() {
                    let value = word.number()?;
                    self.u32(value);
                }
            }
            _ => bail!("'{word}' is no command"),
        }
        Ok(())
    }

    /// `b3`: the third buffer that was delivered to the process; `b3+8`; or an address.
    fn buffer(&mut self, token: &Token) -> Result<u64> {
        let Token::Word(word) = token else {
            bail!("which buffer is {token:?}?");
        };
        let Some(rest) = word.strip_prefix('b') else {
            return parse_number(word);
        };
        let (number, offset) = rest.split_once('+').unwrap_or((rest, "0"));
        let index = number
            .parse::<usize>()?
            .checked_sub(1)
            .context("from b1 on")?;
        let offset = parse_number(offset)?;
        match self.state.buffers.get_mut(index) {
            Some((address, freed)) => {
                *freed |= offset == 0;
                Ok(address.wrapping_add(offset))
            }
            // There is none: an address that is no buffer's.
            None => Ok(NOWHERE + index as u64),
        }
    }

    /// Puts bytes where the driver can read them, the last `hole` of them excepted.
    fn place(&mut self, bytes: &[u8], hole: Option<u64>) -> Result<u64> {
        let at = match hole {
            Some(hole) => Scratch::LEN - bytes.len() + hole as usize,
            None => {
                let at = self.bump;
                self.bump += ((bytes.len() + 7) & !7) + BEHIND;
                ensure!(self.bump < Scratch::LEN - (1 << 20), "too long a payload");
                self.scratch.bytes()[at + bytes.len()..self.bump].fill(0);
                at
            }
        };
        let len = bytes.len().min(Scratch::LEN.saturating_sub(at));
        if len > 0 {
            self.scratch.bytes()[at..][..len].copy_from_slice(&bytes[..len]);
        }
        Ok(self.scratch.address(at))
    }

    fn message(&mut self, word: &str, words: &mut Vec<Token>) -> Result<()> {
        let number = |words: &mut Vec<Token>, name: &str| -> Result<Option<u64>> {
            take_option(words, name)
                .map(|token| token.number())
                .transpose()
        };
        let code = number(words, "code")?.unwrap_or(0);
        let mut flags = match take_option(words, "flags") {
            Some(Token::Word(names)) => message_flags(&names)?,
            Some(other) => bail!("flags={other:?}"),
            None => 0,
        };
        if word == "oneway" {
            flags |= tf::ONE_WAY;
        }
        let data_size = number(words, "data-size")?;
        let offsets_size = number(words, "offsets-size")?;
        let buffers_size = number(words, "buffers-size")?;
        let given_offsets = take_option(words, "offsets");
        let data_hole = number(words, "data-hole")?;
        let offsets_hole = number(words, "offsets-hole")?;
        let data_nowhere = take_word(words, "data-nowhere");
        let offsets_nowhere = take_word(words, "offsets-nowhere");
        let mut scattered = take_word(words, "sg") || buffers_size.is_some();
        let target = match word {
            "reply" => 0,
            _ if words.is_empty() => bail!("{word} whom?"),
            _ => words.remove(0).number()?,
        };

        let (mut data, mut offsets, mut sg_size) = (Vec::new(), Vec::new(), 0);
        for part in words.iter() {
            let object = match part {
                Token::Form(name, _) => !matches!(name.as_str(), "zeros" | "fill" | "u32" | "u64"),
                _ => false,
            };
            if object {
                data.resize((data.len() + 7) & !7, 0);
                offsets.push(data.len() as u64);
                let bytes = self.object(part, &mut sg_size, &mut scattered)?;
                data.extend_from_slice(&bytes);
            } else {
                data.extend_from_slice(&plain(part)?);
            }
        }
        let offsets: Vec<u8> = match given_offsets {
            Some(Token::Form(name, list)) if name.is_empty() => {
                offsets = list.iter().map(Token::number).collect::<Result<_>>()?;
                offsets.into_iter().flat_map(u64::to_ne_bytes).collect()
            }
            Some(other) => plain(&other)?,
            None => offsets.into_iter().flat_map(u64::to_ne_bytes).collect(),
        };
        let buffer = match data_nowhere {
            true => NOWHERE,
            false => self.place(&data, data_hole)?,
        };
        let table = match offsets_nowhere {
            true => NOWHERE,
            false => self.place(&offsets, offsets_hole)?,
        };
        self.u32(u64::from(match (word, scattered) {
            ("reply", false) => bc::REPLY,
            ("reply", true) => bc::REPLY_SG,
            (_, false) => bc::TRANSACTION,
            (_, true) => bc::TRANSACTION_SG,
        }));
        // The upper half of the target, the cookie and the sender are not looked at.
        self.u32(target);
        self.u32(0xdead_0001);
        self.u64(0xdead_0002_dead_0003);
        self.u32(code);
        self.u32(flags.into());
        self.u64(0xdead_0004_dead_0005);
        self.u64(data_size.unwrap_or(data.len() as u64));
        self.u64(offsets_size.unwrap_or(offsets.len() as u64));
        self.u64(buffer);
        self.u64(table);
        if scattered {
            self.u64(buffers_size.unwrap_or(sg_size));
        }
        Ok(())
    }

    fn object(&mut self, part: &Token, sg_size: &mut u64, scattered: &mut bool) -> Result<Vec<u8>> {
        let Token::Form(name, arguments) = part else {
            bail!("{part:?} is no object");
        };
        let mut arguments = arguments.clone();
        let number = |at: usize, default: u64| -> Result<u64> {
            arguments.get(at).map_or(Ok(default), Token::number)
        };
        let flat = |kind: u32, flags: u64, word: u64, cookie: u64| {
            let mut bytes = Vec::with_capacity(24);
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&(flags as u32).to_ne_bytes());
            bytes.extend_from_slice(&word.to_ne_bytes());
            bytes.extend_from_slice(&cookie.to_ne_bytes());
            bytes
        };
        // What lies in the upper half of a word of 32 bits is not looked at.
        let junk = 0xdead_beef_0000_0000;
        Ok(match name.as_str() {
            "binder" => flat(
                object::BINDER,
                number(2, 0x17f)?,
                number(0, 0)?,
                number(1, 0)?,
            ),
            "weak-binder" => flat(
                object::WEAK_BINDER,
                number(2, 0x17f)?,
                number(0, 0)?,
                number(1, 0)?,
            ),
            "handle" => flat(object::HANDLE, number(1, 0)?, junk | number(0, 0)?, 0xc00c),
            "weak-handle" => flat(
                object::WEAK_HANDLE,
                number(1, 0)?,
                junk | number(0, 0)?,
                0xc00c,
            ),
            "fd" => {
                let fd = descriptor(arguments.first().context("fd of what?")?)?;
                flat(object::FD, number(2, 0)?, junk | fd, number(1, 0)?)
            }
            // type, flags, word, cookie
            "object" => flat(
                number(0, 0)? as u32,
                number(1, 0)?,
                number(2, 0)?,
                number(3, 0)?,
            ),
            "ptr" => {
                *scattered = true;
                let parent = take_option(&mut arguments, "parent");
                let at = take_option(&mut arguments, "at");
                let len = take_option(&mut arguments, "len");
                let flags = take_option(&mut arguments, "flags");
                let hole = take_option(&mut arguments, "hole");
                let nowhere = take_word(&mut arguments, "nowhere");
                let mut content = Vec::new();
                for part in &arguments {
                    content.extend_from_slice(&plain(part)?);
                }
                let hole = hole.map(|hole| hole.number()).transpose()?;
                let buffer = match nowhere {
                    true => NOWHERE,
                    false => self.place(&content, hole)?,
                };
                let len = len.map_or(Ok(content.len() as u64), |len| len.number())?;
                *sg_size += len.saturating_add(7) & !7;
                let flags = match flags {
                    Some(flags) => flags.number()?,
                    None => u64::from(parent.is_some()),
                };
                let mut bytes = flat(object::PTR, flags, buffer, len);
                bytes.extend_from_slice(&parent.map_or(Ok(0), |p| p.number())?.to_ne_bytes());
                bytes.extend_from_slice(&at.map_or(Ok(0), |at| at.number())?.to_ne_bytes());
                bytes
            }
            "fda" => {
                *scattered = true;
                let parent = take_option(&mut arguments, "parent").context("parent=")?;
                let at = take_option(&mut arguments, "at");
                let count = arguments.first().context("how many?")?.number()?;
                let mut bytes = Vec::with_capacity(32);
                bytes.extend_from_slice(&object::FDA.to_ne_bytes());
                bytes.extend_from_slice(&0_u32.to_ne_bytes());
                bytes.extend_from_slice(&count.to_ne_bytes());
                bytes.extend_from_slice(&parent.number()?.to_ne_bytes());
                bytes.extend_from_slice(&at.map_or(Ok(0), |at| at.number())?.to_ne_bytes());
                bytes
            }
            _ => bail!("'{name}' is no object"),
        })
    }
}

fn one_number(words: &[Token]) -> Result<u64> {
    words.first().context("a number is missing")?.number()
}

fn read_of(mut words: Vec<Token>) -> Result<Read> {
    let now = take_word(&mut words, "now");
    let nowhere = take_word(&mut words, "nowhere");
    let number = |words: &mut Vec<Token>, name: &str| {
        take_option(words, name)
            .map(|value| value.number())
            .transpose()
    };
    let size = number(&mut words, "size")?.unwrap_or(512);
    let consumed = number(&mut words, "skip")?.unwrap_or(0);
    let hole = number(&mut words, "hole")?;
    ensure!(words.is_empty(), "what is {words:?} of a read?");
    ensure!(
        size <= 4096 && hole.unwrap_or(0) <= size,
        "too large a read"
    );
    Ok(Read {
        size,
        consumed,
        address: NOWHERE,
        nowhere,
        hole,
        now,
    })
}

/// `f1` is the first of the program's files.
fn descriptor(token: &Token) -> Result<u64> {
    match token {
        Token::Word(word) if word.starts_with('f') => {
            let number = word[1..]
                .parse::<u64>()?
                .checked_sub(1)
                .context("from f1 on")?;
            Ok(OWN_FDS as u64 + number)
        }
        Token::Word(word) if word == "device" => Ok(3),
        other => other.number(),
    }
}

fn message_flags(names: &str) -> Result<u32> {
    names.split('|').try_fold(0, |flags, name| {
        Ok(flags
            | match name {
                "oneway" => tf::ONE_WAY,
                "status" => tf::STATUS_CODE,
                "accept-fds" => tf::ACCEPT_FDS,
                "clear" => tf::CLEAR_BUF,
                "update" => tf::UPDATE_TXN,
                number => parse_number(number)? as u32,
            })
    })
}

/// Bytes of a payload that are no object.
fn plain(part: &Token) -> Result<Vec<u8>> {
    Ok(match part {
        Token::Text(bytes) => bytes.clone(),
        Token::Form(name, arguments) => match name.as_str() {
            "zeros" => vec![0; one_number(arguments)? as usize],
            "fill" => {
                let len = one_number(arguments)? as u32;
                (0..len)
                    .map(|at| (at.wrapping_mul(2654435761) >> 13) as u8)
                    .collect()
            }
            "u32" => {
                let values = arguments
                    .iter()
                    .map(descriptor)
                    .collect::<Result<Vec<_>>>()?;
                values
                    .into_iter()
                    .flat_map(|value| (value as u32).to_ne_bytes())
                    .collect()
            }
            "u64" => {
                let values = arguments
                    .iter()
                    .map(Token::number)
                    .collect::<Result<Vec<_>>>()?;
                values.into_iter().flat_map(u64::to_ne_bytes).collect()
            }
            _ => bail!("what is '{name}' doing there?"),
        },
        other => bail!("what is {other:?} in a payload?"),
    })
}

/// A name for an errno.
pub fn error_name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::ESRCH => "ESRCH",
        libc::EINTR => "EINTR",
        libc::E2BIG => "E2BIG",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EFAULT => "EFAULT",
        libc::EBUSY => "EBUSY",
        libc::EEXIST => "EEXIST",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENOTTY => "ENOTTY",
        libc::ENOSPC => "ENOSPC",
        libc::EPROTO => "EPROTO",
        libc::EOVERFLOW => "EOVERFLOW",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::ENODEV => "ENODEV",
        _ => return format!("errno {errno}"),
    };
    name.into()
}

/// The returns of a read: code and name. Those without a size in their code have no arguments.
pub const RETURNS: [(u32, &str); 21] = [
    (br::ERROR, "ERROR"),
    (br::OK, "OK"),
    (br::TRANSACTION_SEC_CTX, "TRANSACTION_SEC_CTX"),
    (br::TRANSACTION, "TRANSACTION"),
    (br::REPLY, "REPLY"),
    (br::DEAD_REPLY, "DEAD_REPLY"),
    (br::TRANSACTION_COMPLETE, "COMPLETE"),
    (br::INCREFS, "INCREFS"),
    (br::ACQUIRE, "ACQUIRE"),
    (br::RELEASE, "RELEASE"),
    (br::DECREFS, "DECREFS"),
    (br::NOOP, "NOOP"),
    (br::SPAWN_LOOPER, "SPAWN_LOOPER"),
    (br::DEAD_BINDER, "DEAD_BINDER"),
    (br::CLEAR_DEATH_NOTIFICATION_DONE, "CLEAR_DEATH_DONE"),
    (br::FAILED_REPLY, "FAILED_REPLY"),
    (br::FROZEN_REPLY, "FROZEN_REPLY"),
    (br::ONEWAY_SPAM_SUSPECT, "SPAM_SUSPECT"),
    (br::TRANSACTION_PENDING_FROZEN, "PENDING_FROZEN"),
    (br::FROZEN_BINDER, "FROZEN_BINDER"),
    (br::CLEAR_FREEZE_NOTIFICATION_DONE, "CLEAR_FREEZE_DONE"),
];

/// How the return is called here.
pub fn return_name(code: u32) -> String {
    RETURNS
        .iter()
        .find(|&&(own, _)| own == code)
        .map_or_else(|| format!("{code:#x}"), |&(_, name)| name.into())
}

/// Argument bytes of a return. BR_ERROR comes without the one that its code speaks of.
pub fn return_len(code: u32) -> usize {
    match code {
        br::ERROR => 0,
        _ => ((code >> 16) & 0x3fff) as usize,
    }
}

/// The bytes of a read as the driver left them, guard included.
pub fn read_bytes(scratch: &mut Scratch, read: &Read) -> Vec<u8> {
    let at = (read.address - scratch.address(0)) as usize;
    let end = (at + read.size as usize + GUARD).min(Scratch::LEN);
    scratch.bytes()[at..end].to_vec()
}

/// Tells what was read. Buffers that were delivered are taken note of.
pub fn decode(state: &mut State, bytes: &[u8], from: usize, to: usize) -> String {
    let mut text = String::new();
    let mut at = from;
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let long = |at: usize| -> Option<u64> {
        Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    while at < to {
        let Some(code) = word(at) else {
            text.push_str(" (cut)");
            break;
        };
        let len = return_len(code);
        if at + 4 + len > to {
            let _ = write!(text, " {}(cut)", return_name(code));
            break;
        }
        let name = return_name(code);
        let argument = at + 4;
        let _ = write!(text, " {name}");
        match code {
            br::TRANSACTION | br::TRANSACTION_SEC_CTX | br::REPLY => {
                text.push_str(&message_text(state, &bytes[argument..argument + len]));
            }
            br::INCREFS | br::ACQUIRE | br::RELEASE | br::DECREFS => {
                let (ptr, cookie) = (long(argument).unwrap_or(0), long(argument + 8).unwrap_or(0));
                let _ = write!(text, "({ptr:#x},{cookie:#x})");
            }
            br::FROZEN_BINDER => {
                let _ = write!(
                    text,
                    "({:#x},{},{})",
                    long(argument).unwrap_or(0),
                    word(argument + 8).unwrap_or(0),
                    word(argument + 12).unwrap_or(0)
                );
            }
            _ if len == 8 => {
                let _ = write!(text, "({:#x})", long(argument).unwrap_or(0));
            }
            _ => {}
        }
        at += 4 + len;
    }
    text
}

/// An address, as an offset in the area if it is in there.
fn place_text(state: &State, address: u64) -> String {
    let (start, len) = state.area;
    match address.checked_sub(start) {
        Some(offset) if len > 0 && offset <= len => format!("@{offset:#x}"),
        _ => format!("{address:#x}"),
    }
}

fn message_text(state: &mut State, bytes: &[u8]) -> String {
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
    let (target, cookie, code, flags) = (long(0), long(8), word(16), word(20));
    let (pid, euid) = (word(24) as i32, word(28));
    let (data_size, offsets_size, buffer, offsets) = (long(32), long(40), long(48), long(56));
    state.buffers.push((buffer, false));
    let pid = match state.pids.iter().position(|&own| own == pid) {
        Some(process) => crate::script::Who::letter(process).to_string(),
        None => pid.to_string(),
    };
    let mut text = format!(
        "(to={target:#x},{cookie:#x} code={code} flags={flags:#x} from={pid} euid={euid} b{}={}+{data_size} \
         offsets={}+{offsets_size}",
        state.buffers.len(),
        place_text(state, buffer),
        place_text(state, offsets),
    );
    if bytes.len() > 64 {
        let secctx = sys::read_memory(long(64), 32).unwrap_or_default();
        let end = secctx.iter().position(|&b| b == 0).unwrap_or(secctx.len());
        let _ = write!(
            text,
            " secctx={} {}",
            place_text(state, long(64)),
            escaped(&secctx[..end])
        );
    }
    text.push_str(&payload_text(
        state,
        buffer,
        data_size,
        offsets,
        offsets_size,
    ));
    text.push(')');
    text
}

fn payload_text(state: &State, buffer: u64, size: u64, table: u64, table_size: u64) -> String {
    if size > 64 << 20 || table_size > 1 << 20 {
        return " (too long)".into();
    }
    let (Ok(data), Ok(table)) = (
        sys::read_memory(buffer, size as usize),
        sys::read_memory(table, table_size as usize),
    ) else {
        return " (cannot be read)".into();
    };
    let mut text = String::new();
    let mut at = 0;
    for offset in table.chunks_exact(8) {
        let offset = u64::from_ne_bytes(offset.try_into().unwrap_or_default()) as usize;
        if offset < at || offset + 24 > data.len() {
            let _ = write!(text, " (object at {offset:#x}?)");
            break;
        }
        if offset > at {
            let _ = write!(text, " {}", escaped(&data[at..offset]));
        }
        let (len, object) = object_text(state, &data[offset..]);
        let _ = write!(text, " {object}");
        at = offset + len;
    }
    if at < data.len() {
        let _ = write!(text, " {}", escaped(&data[at..]));
    }
    text
}

fn object_text(state: &State, bytes: &[u8]) -> (usize, String) {
    let word = |at: usize| {
        bytes
            .get(at..at + 4)
            .map_or(0, |b| u32::from_ne_bytes(b.try_into().unwrap_or_default()))
    };
    let long = |at: usize| {
        bytes
            .get(at..at + 8)
            .map_or(0, |b| u64::from_ne_bytes(b.try_into().unwrap_or_default()))
    };
    let (kind, flags, value, cookie) = (word(0), word(4), long(8), long(16));
    match kind {
        object::BINDER => (24, format!("binder({value:#x},{cookie:#x},{flags:#x})")),
        object::WEAK_BINDER => (
            24,
            format!("weak-binder({value:#x},{cookie:#x},{flags:#x})"),
        ),
        object::HANDLE => (24, format!("handle({value:#x},{cookie:#x},{flags:#x})")),
        object::WEAK_HANDLE => (
            24,
            format!("weak-handle({value:#x},{cookie:#x},{flags:#x})"),
        ),
        object::FD => (
            24,
            format!(
                "fd({},{cookie:#x},{flags:#x}={})",
                value as i64,
                file_text(state, value as u32 as RawFd)
            ),
        ),
        object::PTR => {
            let content = match sys::read_memory(value, cookie.min(1 << 20) as usize) {
                Ok(content) => escaped(&content),
                Err(_) => "(cannot be read)".into(),
            };
            (
                40,
                format!(
                    "ptr({}+{cookie},{flags:#x},parent={},at={} {content})",
                    place_text(state, value),
                    long(24),
                    long(32)
                ),
            )
        }
        object::FDA => (
            32,
            format!("fda({value},{flags:#x},parent={cookie},at={})", long(24)),
        ),
        _ => (
            24,
            format!("object({kind:#x},{flags:#x},{value:#x},{cookie:#x})"),
        ),
    }
}

/// Which file a descriptor is of.
pub fn file_text(state: &State, fd: RawFd) -> String {
    let (Ok(identity), Ok(flags)) = (sys::identity(fd), sys::fd_flags(fd)) else {
        return "closed".into();
    };
    let close = if flags & libc::FD_CLOEXEC as u64 != 0 {
        ""
    } else {
        ",no cloexec"
    };
    match state.files.iter().position(|own| *own == identity) {
        Some(index) => format!("f{}{close}", index + 1),
        None if identity.2 != 0 => format!("device{close}"),
        None => format!("other{close}"),
    }
}

/// Bytes between quotes; long ones by their length and hash.
pub fn escaped(bytes: &[u8]) -> String {
    if bytes.len() > SHOWN {
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        return format!("\"{} bytes, hash {hash:016x}\"", bytes.len());
    }
    let mut text = String::from("\"");
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(byte.into());
            }
            b' '..=b'~' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}
