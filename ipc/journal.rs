// SPDX-License-Identifier: GPL-2.0

//! The latest messages: those sent, and those that failed.
//!
//! What is sent is noted for each CPU apart, without a lock: a sender writes to a line of memory that
//! no other CPU writes to. Time is told in ticks, which costs nothing; of two messages that were sent
//! on different CPUs within one tick it is not known which came first. What fails is rare, and noted
//! under one lock.

// The kernel crate's atomics are calls into C. These are plain loads and stores.
use core::sync::atomic::{fence, AtomicU32, Ordering};

use kernel::{
    cpu::{nr_cpu_ids, CpuId},
    new_spinlock,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CString,
    sync::{Arc, SpinLock},
    task::Pid,
};

use super::{
    task,
    transaction::{Failure, Message, Name},
    Process,
};
use crate::{
    uapi::flags,
    watch::{debugfs::List, trace},
};

/// How many messages are kept: of each CPU, of those that failed, and shown.
const LEN: usize = 32;

/// What kind of message it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    OneWay,
    Reply,
}

impl Kind {
    pub(super) fn new(is_reply: bool, message_flags: u32) -> Self {
        if is_reply {
            Kind::Reply
        } else if message_flags & flags::ONE_WAY != 0 {
            Kind::OneWay
        } else {
            Kind::Call
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Call => "call",
            Kind::OneWay => "one-way",
            Kind::Reply => "reply",
        }
    }
}

/// A message that was sent.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    name: Name,
    context: u32,
    to_tgid: Pid,
    to_tid: Pid,
    /// 0 in replies.
    node: u32,
    code: u32,
    flags: u32,
    at: u32,
    data_size: u32,
    offsets_size: u32,
}

impl Sent {
    /// What there is to be seen of a message that is queued to the thread `to_tid`, or to no one.
    #[inline(always)]
    pub(super) fn new(message: &Message, to: &Process, to_tid: Pid) -> Self {
        Sent {
            name: message.name,
            context: to.context.number,
            to_tgid: to.tgid,
            to_tid,
            node: message.target.map_or(0, |target| target.node.get()),
            code: message.code,
            flags: message.flags,
            at: message.sent,
            data_size: message.data_size,
            offsets_size: message.offsets_size,
        }
    }

    /// Prints what the log and the state of a process have in common.
    pub(super) fn print(&self, out: &SeqFile) {
        let Name { tgid, tid, id } = self.name;
        seq_print!(
            out,
            "{}:{} {} from={}:{} to={}",
            tgid,
            id,
            Kind::new(self.node == 0, self.flags).as_str(),
            tgid,
            tid,
            self.to_tgid,
        );
        if self.to_tid != 0 {
            seq_print!(out, ":{}", self.to_tid);
        }
        seq_print!(
            out,
            " node={} code=0x{:x} flags=0x{:x} size={}:{} elapsed_ms={}",
            self.node,
            self.code,
            self.flags,
            self.data_size,
            self.offsets_size,
            task::elapsed_ms(self.at),
        );
    }
}

/// A [`Sent`] in memory that is read while it is written: a cache line.
#[repr(align(64))]
struct Line([AtomicU32; 16]);

impl Line {
    const fn new() -> Self {
        Line([const { AtomicU32::new(0) }; 16])
    }

    /// Stores a message. `version` is what no other in the line has, and not 0.
    #[inline(always)]
    fn write(&self, version: u32, sent: &Sent) {
        let [now, words @ ..] = &self.0;
        // Meanwhile it is 0.
        now.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        // CAST: ids, which are not negative.
        let values = [
            sent.name.tgid as u32,
            sent.name.tid as u32,
            sent.name.id,
            sent.context,
            sent.to_tgid as u32,
            sent.to_tid as u32,
            sent.node,
            sent.code,
            sent.flags,
            sent.at,
            sent.data_size,
            sent.offsets_size,
        ];
        for (word, value) in words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        now.store(version, Ordering::Release);
    }

    /// What is there, unless it is just being replaced.
    fn read(&self) -> Option<Sent> {
        let [now, words @ ..] = &self.0;
        let version = now.load(Ordering::Acquire);
        let values = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if version == 0 || now.load(Ordering::Relaxed) != version {
            return None;
        }
        let [tgid, tid, id, context, to_tgid, to_tid, node, code, flags, at, data_size, offsets_size, ..] =
            values;
        // CAST: they were ids.
        Some(Sent {
            name: Name {
                tgid: tgid as Pid,
                tid: tid as Pid,
                id,
            },
            context,
            to_tgid: to_tgid as Pid,
            to_tid: to_tid as Pid,
            node,
            code,
            flags,
            at,
            data_size,
            offsets_size,
        })
    }
}

/// The latest messages that were sent on a CPU.
#[repr(align(64))]
struct Ring {
    /// How many there have been.
    count: AtomicU32,
    lines: [Line; LEN],
}

impl Ring {
    const fn new() -> Self {
        Ring {
            count: AtomicU32::new(0),
            lines: [const { Line::new() }; LEN],
        }
    }

    /// Only the CPU whose ring it is writes here, with a spinlock held. (Where a spinlock does not
    /// keep other tasks away, two of them can garble what the log says of their messages.)
    #[inline(always)]
    fn push(&self, sent: &Sent) {
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count.wrapping_add(1), Ordering::Relaxed);
        // CAST: `usize` is 64 bits wide; see the crate root. Below likewise.
        if let Some(line) = self.lines.get(count as usize % LEN) {
            // A multiple of `LEN` apart from any other in the line, and odd.
            line.write(count << 1 | 1, sent);
        }
    }
}

impl Ring {
    fn oldest_first(&self) -> impl Iterator<Item = Sent> + '_ {
        let count = self.count.load(Ordering::Relaxed);
        let (newer, older) = self.lines.split_at(count as usize % LEN);
        let lines = Iterator::chain(older.iter(), newer);
        lines.filter_map(Line::read)
    }
}

/// A message that was not sent, or not delivered.
#[derive(Clone, Copy)]
pub(crate) struct Failed {
    pub(super) name: Name,
    pub(super) kind: Kind,
    pub(super) context: u32,
    /// 0 if there is none.
    pub(super) to_tgid: Pid,
    /// The sender's handle; 0 in replies.
    pub(super) handle: u32,
    pub(super) code: u32,
    pub(super) flags: u32,
    pub(super) data_size: u64,
    pub(super) offsets_size: u64,
    pub(super) failure: Failure,
}

/// The latest that failed.
struct Failures {
    /// How many there have been.
    count: usize,
    /// Each with the time.
    entries: [Option<(u32, Failed)>; LEN],
}

/// What is noted of the messages of all devices, and the names of these.
#[pin_data]
pub(crate) struct Journal {
    names: KVec<CString>,
    rings: KVec<KBox<Ring>>,
    #[pin]
    failures: SpinLock<Failures>,
}

impl Journal {
    /// `names` are those of the devices. May sleep. `ENOMEM`.
    pub(crate) fn new(names: KVec<CString>) -> Result<Arc<Self>> {
        let mut rings = KVec::new();
        for _ in 0..nr_cpu_ids() {
            rings.push(KBox::new(Ring::new(), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                names,
                rings,
                failures <- new_spinlock!(
                    Failures { count: 0, entries: [None; LEN] },
                    "Journal::failures"
                ),
            }),
            GFP_KERNEL,
        )
    }

    /// The names of the devices.
    pub(crate) fn names(&self) -> &[CString] {
        &self.names
    }

    /// The name of a device, by its number.
    pub(super) fn name(&self, context: u32) -> &CStr {
        self.names.get(context as usize).map_or(c"", |name| name)
    }

    /// A message is being queued, to the thread `to_tid` or, with 0, to no one yet. Called with the
    /// receiver locked.
    #[inline(always)]
    pub(super) fn sent(&self, message: &Message, to: &Process, to_tid: Pid) {
        // CAST: `usize` is 64 bits wide; see the crate root.
        if let Some(ring) = self.rings.get(CpuId::current().as_u32() as usize) {
            ring.push(&Sent::new(message, to, to_tid));
        }
    }

    /// A message failed. Takes a lock of its own.
    pub(super) fn failed(&self, failed: &Failed) {
        trace::TransactionFailed::trace(|| trace::TransactionFailed {
            from_tgid: failed.name.tgid,
            id: failed.name.id,
            to_tgid: failed.to_tgid,
            handle: failed.handle,
            reply: failed.kind == Kind::Reply,
            code: failed.failure.code,
            error: failed.failure.errno(),
        });
        let mut failures = self.failures.lock();
        let number = failures.count;
        failures.count = number.wrapping_add(1);
        if let Some(entry) = failures.entries.get_mut(number % LEN) {
            *entry = Some((task::ticks(), *failed));
        }
    }
}

/// `transaction_log`: the latest messages sent, the oldest of them first.
pub(crate) struct SentLog(pub(crate) Arc<Journal>);

/// A copy of a log, and how much of it has been printed.
pub(crate) struct Printed<T> {
    entries: Arc<KVec<T>>,
    count: usize,
}

impl<T> Printed<T> {
    fn new(entries: KVec<T>) -> Result<Self> {
        Ok(Printed {
            entries: Arc::new(entries, GFP_KERNEL)?,
            count: 0,
        })
    }

    fn next(&self) -> Option<Self> {
        let count = self.count + 1;
        (count < self.entries.len()).then(|| Printed {
            entries: self.entries.clone(),
            count,
        })
    }
}

impl List for SentLog {
    type Place = Printed<Sent>;

    fn first(&self) -> Result<Self::Place> {
        let mut latest: KVec<Sent> = KVec::with_capacity(LEN, GFP_KERNEL)?;
        let now = task::ticks();
        let age = |sent: &Sent| now.wrapping_sub(sent.at);
        for ring in &self.0.rings {
            for sent in ring.oldest_first() {
                // Behind all that are not younger.
                let older = latest.iter().rposition(|other| age(other) >= age(&sent));
                let mut index = older.map_or(0, |older| older + 1);
                if latest.len() == LEN {
                    if index == 0 {
                        continue;
                    }
                    latest.remove(0)?;
                    index -= 1;
                }
                // There is room.
                let _ = latest.insert_within_capacity(index, sent);
            }
        }
        Printed::new(latest)
    }

    fn show(&self, place: &Self::Place, out: &SeqFile) -> Option<Self::Place> {
        let sent = place.entries.get(place.count)?;
        sent.print(out);
        seq_print!(out, " context={}\n", self.0.name(sent.context));
        place.next()
    }
}

/// `failed_transaction_log`: the latest messages that failed, the oldest of them first.
pub(crate) struct FailedLog(pub(crate) Arc<Journal>);

impl List for FailedLog {
    type Place = Printed<(u32, Failed)>;

    fn first(&self) -> Result<Self::Place> {
        let mut entries = KVec::with_capacity(LEN, GFP_KERNEL)?;
        let failures = self.0.failures.lock();
        for index in failures.count..failures.count.saturating_add(LEN) {
            if let Some(Some(entry)) = failures.entries.get(index % LEN) {
                // There is room.
                let _ = entries.push_within_capacity(*entry);
            }
        }
        drop(failures);
        Printed::new(entries)
    }

    fn show(&self, place: &Self::Place, out: &SeqFile) -> Option<Self::Place> {
        let (at, failed) = place.entries.get(place.count)?;
        let Name { tgid, tid, id } = failed.name;
        seq_print!(
            out,
            "{}:{} {} from={}:{} to={} handle={} code=0x{:x} flags=0x{:x} size={}:{} return={} \
             error={} elapsed_ms={} context={}\n",
            tgid,
            id,
            failed.kind.as_str(),
            tgid,
            tid,
            failed.to_tgid,
            failed.handle,
            failed.code,
            failed.flags,
            failed.data_size,
            failed.offsets_size,
            super::stats::return_name(failed.failure.code),
            failed.failure.errno(),
            task::elapsed_ms(*at),
            self.0.name(failed.context),
        );
        place.next()
    }
}
