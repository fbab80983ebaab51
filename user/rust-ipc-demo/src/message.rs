// SPDX-License-Identifier: GPL-2.0

//! What clients and server say to each other.
//!
//! A file travels as a *stream*: `Open`, then messages whose payload is nothing but bytes of the
//! file, then `Close` and `Result`. The code of a message says what it is and to which stream it
//! belongs.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, bail};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Is there anybody?
    Hello = 1,
    /// A stream begins: [`StreamHeader`].
    Open = 2,
    /// Bytes of it.
    Data = 3,
    /// Bytes of it, to be sent back.
    Echo = 4,
    /// It ends: [`Report`]. Comes the way the data came, so it comes after them.
    Close = 5,
    /// What was received of the stream? Answered when it has ended: [`Report`].
    Result = 6,
    /// How is your area? [`rust_ipc::abi::AreaInfo`], or nothing.
    Area = 7,
    /// What have you received? [`Record`]s.
    Records = 8,
    /// End.
    Stop = 9,
}

impl Op {
    const ALL: [Self; 9] = [
        Self::Hello,
        Self::Open,
        Self::Data,
        Self::Echo,
        Self::Close,
        Self::Result,
        Self::Area,
        Self::Records,
        Self::Stop,
    ];

    /// The code of a message of this kind that belongs to `stream`.
    pub fn code(self, stream: u32) -> u32 {
        (stream << 8) | self as u32
    }

    /// The kind and the stream of a message with this code.
    pub fn parse(code: u32) -> Option<(Self, u32)> {
        let op = Self::ALL.into_iter().find(|op| *op as u32 == code & 0xff)?;
        Some((op, code >> 8))
    }
}

/// How a stream travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Calls: the sender waits for an answer to each message.
    Call = 0,
    /// One-way messages: the sender does not wait.
    Post = 1,
    /// Calls whose answer brings the bytes back.
    Echo = 2,
}

impl Way {
    const ALL: [(Self, &str); 3] = [
        (Self::Call, "two-way"),
        (Self::Post, "one-way"),
        (Self::Echo, "echo"),
    ];

    /// The name of the way with this number.
    pub fn name(number: u64) -> &'static str {
        Self::ALL
            .iter()
            .find(|(way, _)| *way as u64 == number)
            .map_or("?", |(_, name)| name)
    }
}

/// What a client is to send.
#[derive(Clone, Copy, Debug)]
pub struct StreamSpec {
    /// Its number.
    pub id: u32,
    /// How it travels.
    pub way: Way,
    /// Bytes of the file in each message but the last.
    pub message_bytes: u64,
    /// Bytes together. If they are more than the file has, it is sent again and again.
    pub total_bytes: u64,
}

impl fmt::Display for StreamSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            way,
            message_bytes,
            total_bytes,
        } = self;
        write!(
            f,
            "{id}:{}:{message_bytes}:{total_bytes}",
            Way::name(*way as u64)
        )
    }
}

impl FromStr for StreamSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let fields: Vec<_> = text.split(':').collect();
        let [id, way, message_bytes, total_bytes] = fields[..] else {
            bail!("{text} is no stream");
        };
        let (way, _) = Way::ALL
            .into_iter()
            .find(|(_, name)| *name == way)
            .context("no such way")?;
        Ok(Self {
            id: id.parse()?,
            way,
            message_bytes: message_bytes.parse()?,
            total_bytes: total_bytes.parse()?,
        })
    }
}

/// Opens a stream.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StreamHeader {
    /// A [`Way`].
    pub way: u64,
    /// As in [`StreamSpec`].
    pub message_bytes: u64,
}

/// What was sent, or received.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Report {
    /// Of all the bytes.
    pub sha256: [u8; 32],
    /// How many they were.
    pub bytes: u64,
    /// In how many messages.
    pub messages: u64,
    /// How long it took, in nanoseconds (0 from the receiver).
    pub elapsed_ns: u64,
}

impl Report {
    /// Whether this was received when `sent` was sent.
    pub fn matches(&self, sent: &Self) -> bool {
        (self.sha256, self.bytes, self.messages) == (sent.sha256, sent.bytes, sent.messages)
    }
}

/// A stream that has ended.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// A [`Way`].
    pub way: u64,
    /// As in [`StreamSpec`].
    pub message_bytes: u64,
    /// What the client says.
    pub sent: Report,
    /// What the server found.
    pub received: Report,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_streams_survive() {
        for op in Op::ALL {
            assert_eq!(Op::parse(op.code(77)), Some((op, 77)));
        }
        assert_eq!(Op::parse(0), None);
        let spec = StreamSpec {
            id: 3,
            way: Way::Post,
            message_bytes: 4,
            total_bytes: 5,
        };
        let parsed: StreamSpec = spec.to_string().parse().unwrap();
        assert_eq!(parsed.to_string(), spec.to_string());
        assert!("1:2".parse::<StreamSpec>().is_err());
    }
}
