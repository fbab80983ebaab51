// SPDX-License-Identifier: GPL-2.0

//! Messages: how they are made up, and how what arrives is looked at.

use std::os::fd::RawFd;

use rust_ipc::abi::{TransactionData, node_flag, object, tf, word_from_u32};
use rust_ipc_oracle::sys::{self, Scratch};

use crate::random::Random;

/// The upper half of the code of a message whose bytes follow from the lower half.
const TRUE: u32 = 0x5eaf_0000;
const HAS_PARENT: u64 = 1;

/// The byte that is at this place of a message, or of the buffer of object `part - 1`.
fn byte(seed: u32, part: usize, at: usize) -> u8 {
    let x = (seed ^ ((part as u32) << 20))
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(at as u32);
    (x.wrapping_mul(0x85eb_ca6b) >> 24) as u8
}

/// The cookie of an own node.
pub(crate) fn cookie_of(ptr: u64) -> u64 {
    ptr.wrapping_mul(3).wrapping_add(1)
}

/// Whether a node that the driver names can be an own one. The context manager's may be 0.
pub(crate) fn is_own_node(ptr: u64, cookie: u64) -> bool {
    (ptr, cookie) == (0, 0) || (1..=NODES).contains(&ptr) && cookie == cookie_of(ptr)
}

/// Own nodes are numbered from 1.
pub(crate) const NODES: u64 = 6;

/// What a message may speak of.
pub(crate) struct Known<'a> {
    pub(crate) handles: &'a [u32],
    pub(crate) fds: &'a [RawFd],
    /// The rules are not minded.
    pub(crate) is_wild: bool,
    /// It will be changed before it is sent.
    pub(crate) is_garbled: bool,
}

/// Where in scratch memory the next thing goes.
pub(crate) struct Places<'a> {
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) next: usize,
    /// Something is at the very end, and nothing else may be put there: if an object were changed by
    /// that, its node would be one that is not known here.
    pub(crate) end_is_taken: bool,
}

impl Places<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<u64> {
        let at = self.next;
        let room = self.scratch.bytes().get_mut(at..at + bytes.len())?;
        room.copy_from_slice(bytes);
        self.next += (bytes.len() + 15) & !7;
        Some(self.scratch.address(at))
    }

    /// Puts bytes where the last few of them cannot be read.
    fn put_across(&mut self, bytes: &[u8], missing: usize) -> u64 {
        let start = Scratch::LEN - bytes.len() + missing.min(bytes.len());
        let there = Scratch::LEN - start;
        self.end_is_taken = true;
        self.scratch.bytes()[start..].copy_from_slice(&bytes[..there]);
        self.scratch.address(start)
    }
}

/// A message to be sent: its head, and bytes for scattered buffers if it has any.
pub(crate) struct Message {
    pub(crate) data: TransactionData,
    pub(crate) scattered: Option<u64>,
}

enum Part {
    Flat(u32, u32, u64, u64),
    Buffer(Vec<u8>, Option<(u64, u64)>),
    Files(u64, u64, u64),
    Odd(Vec<u8>),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Flat(..) => 24,
            Part::Buffer(..) => 40,
            Part::Files(..) => 32,
            Part::Odd(bytes) => bytes.len(),
        }
    }
}

/// Makes up a message.
pub(crate) fn make(random: &mut Random, places: &mut Places<'_>, known: &Known<'_>) -> Message {
    let seed = random.below(1 << 16) as u32;
    // Places of objects, and the objects.
    let mut parts: Vec<(usize, Part)> = Vec::new();
    let mut len = random.of(&[0, 0, 8, 16, 100]);
    for _ in 0..random.of(&[0, 0, 0, 1, 1, 2, 3, 6, 20]) {
        len = (len + 7) & !7;
        let part = part(random, &mut parts, known, seed);
        let size = part.len();
        parts.push((len, part));
        len += size + random.of(&[0, 0, 0, 8, 8, 12, 300]);
    }
    len += random.of(&[0, 0, 0, 4, 8, 100, 1000, 4000, 4096, 5000]);
    len += match random.below(1000) {
        0..=19 => 20_000,
        20..=24 => 300_000,
        25 => 3 << 20,
        _ => 0,
    };

    let mut data: Vec<u8> = (0..len).map(|at| byte(seed, 0, at)).collect();
    let mut scattered_bytes = 0;
    let mut is_true = !known.is_garbled;
    let mut has_parts = false;
    for (at, part) in &parts {
        let bytes = match part {
            Part::Flat(kind, flags, word, cookie) => {
                words([u64::from(*kind) | (u64::from(*flags) << 32), *word, *cookie])
            }
            Part::Buffer(content, parent) => {
                has_parts = true;
                scattered_bytes += (content.len() as u64 + 7) & !7;
                let Some(address) = places.put(content) else {
                    is_true = false;
                    continue;
                };
                let flags = if parent.is_some() { HAS_PARENT } else { 0 };
                let (parent, offset) = parent.unwrap_or_default();
                words([
                    u64::from(object::PTR) | (flags << 32),
                    address,
                    content.len() as u64,
                    parent,
                    offset,
                ])
            }
            Part::Files(count, parent, offset) => {
                has_parts = true;
                words([u64::from(object::FDA), *count, *parent, *offset])
            }
            Part::Odd(bytes) => {
                is_true = false;
                bytes.clone()
            }
        };
        data[*at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let mut offsets: Vec<u64> = parts.iter().map(|(at, _)| *at as u64).collect();

    let (mut data_size, mut offsets_size) = (len as u64, 8 * offsets.len() as u64);
    if known.is_wild && random.percent(15) {
        is_true = false;
        match random.below(4) {
            0 => data_size = random.odd_number(),
            1 => offsets_size = random.odd_number(),
            2 => scattered_bytes = random.odd_number(),
            _ if !offsets.is_empty() => {
                let at = random.below(offsets.len());
                offsets[at] = random.odd_number();
            }
            _ => {}
        }
    }
    let across = random.percent(3).then(|| random.below(5000));
    let buffer = match across {
        Some(missing) if len > 0 && !places.end_is_taken => {
            is_true = false;
            places.put_across(&data, missing)
        }
        _ => places.put(&data).unwrap_or(16),
    };
    let table: Vec<u8> = offsets.into_iter().flat_map(u64::to_ne_bytes).collect();
    let table = places.put(&table).unwrap_or(16);
    let mut flags = 0;
    for (flag, percent) in [
        (tf::ACCEPT_FDS, 60),
        (tf::CLEAR_BUF, 10),
        (tf::UPDATE_TXN, 10),
        (tf::STATUS_CODE, 2),
    ] {
        if random.percent(percent) {
            flags |= flag;
        }
    }
    if known.is_wild && random.percent(5) {
        flags = random.next() as u32;
    }
    Message {
        data: TransactionData {
            code: if is_true { TRUE | seed } else { 0 },
            flags,
            data_size,
            offsets_size,
            buffer,
            offsets: table,
            ..TransactionData::default()
        },
        scattered: (has_parts || random.percent(3)).then_some(scattered_bytes),
    }
}

fn words<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_ne_bytes).collect()
}

/// Makes up an object, the next one after these.
fn part(random: &mut Random, parts: &mut [(usize, Part)], known: &Known<'_>, seed: u32) -> Part {
    let handle = |random: &mut Random| match random.percent(99) && !known.handles.is_empty() {
        true => u64::from(random.of(known.handles)),
        false => random.below(8) as u64,
    };
    let has_handle = !known.handles.is_empty() || random.percent(5);
    let index = parts.len();
    let last = parts
        .iter()
        .rposition(|(_, part)| matches!(part, Part::Buffer(..)));
    match random.below(28) {
        0..=6 => {
            let ptr = 1 + random.below(NODES as usize) as u64;
            let kind = match random.percent(85) {
                true => object::BINDER,
                false => object::WEAK_BINDER,
            };
            // Security contexts are there for few kernels: without, each call fails.
            let flags = match random.below(20) {
                0 => node_flag::ACCEPTS_FDS | node_flag::TXN_SECURITY_CTX,
                1..=2 => 0,
                3..=5 => node_flag::ACCEPTS_FDS | 5,
                _ => node_flag::ACCEPTS_FDS | 0x7f,
            };
            Part::Flat(kind, flags, ptr, cookie_of(ptr))
        }
        7..=12 if has_handle => {
            let kind = match random.percent(85) {
                true => object::HANDLE,
                false => object::WEAK_HANDLE,
            };
            Part::Flat(kind, 0, handle(random), 0)
        }
        13..=15 => {
            let fd = match random.percent(99) {
                true => random.of(known.fds),
                false => random.below(1000) as RawFd,
            };
            Part::Flat(object::FD, 0, word_from_u32(fd as u32), 0)
        }
        16..=20 => Part::Buffer(content(random, seed, index), None),
        21..=23 => {
            // Mostly behind what the parent has already.
            let parent = last.and_then(|parent| {
                let used = 8 * parts[parent + 1..].len();
                let at = random.of(&[used, used, used, used, used, 0, 8, 4]);
                let has_room =
                    matches!(&parts[parent].1, Part::Buffer(content, _) if content.len() >= at + 8);
                (has_room || random.percent(5)).then_some((parent as u64, at as u64))
            });
            Part::Buffer(content(random, seed, index), parent)
        }
        24..=25 if last.is_some() || random.percent(5) => {
            let count = random.below(4);
            if let Some(parent) = last {
                if let Part::Buffer(content, _) = &mut parts[parent].1 {
                    let fds: Vec<u8> = (0..count)
                        .flat_map(|_| random.of(known.fds).to_ne_bytes())
                        .collect();
                    // At its end, where no child of it is by chance.
                    if let Some(at) = content.len().checked_sub(fds.len()).map(|at| at & !3) {
                        content[at..at + fds.len()].copy_from_slice(&fds);
                        return Part::Files(count as u64, parent as u64, at as u64);
                    }
                }
            }
            Part::Files(count as u64, index as u64, 0)
        }
        26 if known.is_wild => Part::Odd((0..24).map(|_| random.next() as u8).collect()),
        _ => {
            let node = 1 + random.below(NODES as usize) as u64;
            match has_handle && random.percent(50) {
                true => Part::Flat(object::HANDLE, 0, handle(random), 0),
                false => Part::Flat(object::BINDER, 0x17f, node, cookie_of(node)),
            }
        }
    }
}

fn content(random: &mut Random, seed: u32, index: usize) -> Vec<u8> {
    let len = random.of(&[0, 8, 16, 24, 64, 64, 100, 4096, 10_000]);
    (0..len).map(|at| byte(seed, index + 1, at)).collect()
}

/// What has arrived.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) handles: Vec<u32>,
    /// Descriptors to be closed.
    pub(crate) fds: Vec<RawFd>,
    /// Its bytes have been compared.
    pub(crate) is_checked: bool,
    /// A number that depends on all of it.
    pub(crate) digest: u64,
}

/// An object that has arrived.
struct Arrived {
    at: usize,
    kind: u32,
    flags: u32,
    words: [u64; 4],
}

/// Looks at a message that has arrived in the area, whose address and length are given. An error
/// says what is wrong with it.
pub(crate) fn look(message: &TransactionData, area: (u64, u64)) -> Result<Contents, String> {
    let within = |address: u64, len: u64| {
        address
            .checked_sub(area.0)
            .and_then(|offset| offset.checked_add(len))
            .is_some_and(|end| end <= area.1)
    };
    if !within(message.buffer, message.data_size) || !within(message.offsets, message.offsets_size)
    {
        return Err(format!("a message is outside of the area: {message:x?}"));
    }
    let read = |address: u64, len: u64| {
        sys::read_memory(address, len as usize)
            .map_err(|errno| format!("errno {errno}: reading {address:#x} of {message:x?}"))
    };
    let data = read(message.buffer, message.data_size)?;
    let table = read(message.offsets, message.offsets_size)?;
    let mut contents = Contents {
        digest: hash(&data),
        ..Contents::default()
    };
    let mut objects: Vec<Arrived> = Vec::new();
    let mut end = 0;
    for offset in table.chunks_exact(8) {
        let at = u64::from_ne_bytes(offset.try_into().unwrap_or_default()) as usize;
        let Some(object) = arrived(&data, at).filter(|_| at >= end) else {
            return Err(format!("no object at {at}: {message:x?}"));
        };
        end = at + object.len();
        match object.kind {
            object::HANDLE | object::WEAK_HANDLE => contents.handles.push(object.words[0] as u32),
            object::FD => contents.fds.push(object.words[0] as u32 as RawFd),
            _ => {}
        }
        objects.push(object);
    }
    if message.code & 0xffff_0000 != TRUE {
        return Ok(contents);
    }
    let seed = message.code & 0xffff;
    compare(seed, 0, &data, objects.iter().map(|o| (o.at, o.len()))).map_err(|text| {
        let objects: Vec<_> = objects.iter().map(|o| (o.at, o.kind, o.words)).collect();
        format!("{text}: {message:x?} {objects:x?}")
    })?;
    for (index, object) in objects.iter().enumerate() {
        match object.kind {
            object::BINDER | object::WEAK_BINDER => {
                if !is_own_node(object.words[0], object.words[1]) {
                    return Err(format!("not an own node: {:x?}", object.words));
                }
            }
            object::FD if sys::fd_flags(object.words[0] as u32 as RawFd).is_err() => {
                return Err(format!("not open: descriptor {}", object.words[0]));
            }
            object::PTR => {
                let [address, len, ..] = object.words;
                if !within(address, len) {
                    return Err(format!(
                        "a buffer is outside of the area: {address:#x}+{len}"
                    ));
                }
                let bytes = read(address, len)?;
                let gaps = gaps_of(index as u64, &objects);
                for &(at, child) in &gaps {
                    let Some(gap) = bytes.get(at..at + child.gap()) else {
                        return Err(format!("a gap at {at} of {len} bytes"));
                    };
                    child.is_right(gap)?;
                }
                let gaps = gaps.iter().map(|&(at, child)| (at, child.gap()));
                compare(seed, index + 1, &bytes, gaps)?;
            }
            _ => {}
        }
    }
    contents.is_checked = true;
    Ok(contents)
}

impl Arrived {
    fn len(&self) -> usize {
        match self.kind {
            object::PTR => 40,
            object::FDA => 32,
            _ => 24,
        }
    }

    /// The parent and where in it, of a buffer or an array of files.
    fn parent(&self) -> Option<(u64, u64)> {
        match self.kind {
            object::PTR if u64::from(self.flags) & HAS_PARENT != 0 => {
                Some((self.words[2], self.words[3]))
            }
            object::FDA => Some((self.words[1], self.words[2])),
            _ => None,
        }
    }

    /// How much of its parent the driver writes.
    fn gap(&self) -> usize {
        match self.kind {
            object::PTR => 8,
            _ => 4 * self.words[0].min(1 << 20) as usize,
        }
    }

    /// Whether that is what it should be.
    fn is_right(&self, gap: &[u8]) -> Result<(), String> {
        if self.kind == object::PTR {
            if gap == self.words[0].to_ne_bytes() {
                return Ok(());
            }
            return Err(format!("{gap:x?} is not the address {:#x}", self.words[0]));
        }
        for fd in gap.chunks_exact(4) {
            let fd = RawFd::from_ne_bytes(fd.try_into().unwrap_or_default());
            sys::fd_flags(fd).map_err(|_| format!("not open: descriptor {fd} of an array"))?;
        }
        Ok(())
    }
}

fn gaps_of(index: u64, objects: &[Arrived]) -> Vec<(usize, &Arrived)> {
    let mut gaps: Vec<_> = objects
        .iter()
        .filter_map(|child| {
            let (parent, at) = child.parent()?;
            (parent == index).then_some((at as usize, child))
        })
        .collect();
    gaps.sort_by_key(|&(at, _)| at);
    gaps
}

fn arrived(data: &[u8], at: usize) -> Option<Arrived> {
    let word = |n: usize| {
        let bytes = data.get(at.checked_add(8 * n)?..)?.get(..8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    let head = word(0)?;
    let object = Arrived {
        at,
        kind: head as u32,
        flags: (head >> 32) as u32,
        words: [
            word(1)?,
            word(2)?,
            word(3).unwrap_or(0),
            word(4).unwrap_or(0),
        ],
    };
    data.get(at..at + object.len())?;
    Some(object)
}

/// Compares bytes with what they should be, but for these places.
fn compare(
    seed: u32,
    part: usize,
    bytes: &[u8],
    gaps: impl Iterator<Item = (usize, usize)>,
) -> Result<(), String> {
    let mut from = 0;
    for (at, len) in gaps.chain([(bytes.len(), 0)]) {
        for index in from..at {
            let right = byte(seed, part, index);
            if bytes[index] != right {
                return Err(format!(
                    "byte {index} of {}, part {part}, seed {seed}: {:#x}, not {right:#x}",
                    bytes.len(),
                    bytes[index]
                ));
            }
        }
        from = at + len;
    }
    Ok(())
}

/// FNV-1a.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that is right, in memory that stands for an area, and a look at it.
    fn looked(change: impl FnOnce(&mut Vec<u8>)) -> Result<Contents, String> {
        let mut bytes: Vec<u8> = (0..64).map(|at| byte(7, 0, at)).collect();
        let object = words([u64::from(object::BINDER), 2, cookie_of(2)]);
        bytes[8..32].copy_from_slice(&object);
        change(&mut bytes);
        bytes.extend_from_slice(&8_u64.to_ne_bytes());
        let start = bytes.as_ptr() as u64;
        let message = TransactionData {
            code: TRUE | 7,
            data_size: 64,
            offsets_size: 8,
            buffer: start,
            offsets: start + 64,
            ..TransactionData::default()
        };
        look(&message, (start, bytes.len() as u64))
    }

    #[test]
    fn what_is_right_passes() {
        assert!(looked(|_| ()).is_ok_and(|contents| contents.is_checked));
    }

    #[test]
    fn one_wrong_byte_is_found() {
        for at in (0..8).chain(32..64) {
            assert!(looked(|bytes| bytes[at] ^= 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn another_node_is_found() {
        assert!(looked(|bytes| bytes[16] ^= 1).is_err());
        assert!(looked(|bytes| bytes[24] ^= 1).is_err());
    }
}
