// SPDX-License-Identifier: GPL-2.0

//! The state of all processes, for those who look: `state`, `transactions`, `stats`, `proc/<tgid>`.
//!
//! A process is printed line by line, each from what is found under one short hold of its lock. So a
//! reader never stops anybody for long, however much there is; and each line is right for its
//! moment, but not all of them are of the same one.

use kernel::{prelude::*, seq_file::SeqFile, seq_print, sync::Arc, task::Pid};

use super::{
    journal::Sent,
    process::{self, Process},
    registry::{Key, Registry},
    stats::{self, Totals},
    thread::Thread,
    work::Work,
};
use crate::{
    alloc::queue::{Position, Queue},
    watch::debugfs::List,
};

/// What of a process is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Everything.
    State,
    /// Messages, and whose they are.
    Transactions,
    /// Counts.
    Stats,
}

/// A file about all processes, or one thread group.
pub(crate) struct Dump {
    registry: Arc<Registry>,
    what: What,
    tgid: Option<Pid>,
}

/// Where a reader of a [`Dump`] is.
pub(crate) struct Place {
    /// The process, and what of it; `None` for the beginning of the file.
    process: Option<(Arc<Process>, Line)>,
}

/// A line about a process. A number or address is that of the first item that may be next.
#[derive(Clone, Copy)]
enum Line {
    Process,
    Thread(Pid),
    /// How many entries of the thread's call stack precede.
    Stack(Pid, usize),
    /// What comes before its queue.
    FirstWork(Pid),
    ThreadWork(Pid, InQueue),
    Node(u64),
    NodeWork(u64, InQueue),
    Handle(u32),
    Buffer(usize),
    Work(InQueue),
    Delivered(InQueue),
}

/// A place in a queue.
#[derive(Clone, Copy)]
struct InQueue {
    /// The item before, if that is still there; else it is the first one.
    after: Option<Position>,
    /// How many to print at the most: queues that move while they are printed come to an end, too.
    left: usize,
}

impl InQueue {
    /// The beginning of any queue of a process.
    fn new(inner: &process::Inner) -> Self {
        InQueue {
            after: None,
            left: inner.queues.used(),
        }
    }
}

/// What a queue has, as far as it is printed.
enum Item {
    Transaction(Sent),
    Other(&'static str, u64),
}

impl Item {
    const COMPLETION: Self = Item::Other("completion", 0);

    /// Prints the item, if it is a message, or `all` are to be printed.
    fn print(&self, prefix: &'static str, all: bool, out: &SeqFile) {
        match self {
            Item::Transaction(sent) => {
                seq_print!(out, "{} ", prefix);
                sent.print(out);
                seq_print!(out, "\n");
            }
            Item::Other(text, 0) if all => seq_print!(out, "{} {}\n", prefix, text),
            Item::Other(text, number) if all => {
                seq_print!(out, "{} {} 0x{:x}\n", prefix, text, number);
            }
            Item::Other(..) => (),
        }
    }
}

impl Dump {
    fn new(registry: &Arc<Registry>, what: What, tgid: Option<Pid>) -> Result<Arc<Self>> {
        let dump = Dump {
            registry: registry.clone(),
            what,
            tgid,
        };
        Ok(Arc::new(dump, GFP_KERNEL_ACCOUNT)?)
    }

    /// `state`. May sleep. `ENOMEM`.
    pub(crate) fn state(registry: &Arc<Registry>) -> Result<Arc<Self>> {
        Self::new(registry, What::State, None)
    }

    /// `transactions`. As [`Dump::state`].
    pub(crate) fn transactions(registry: &Arc<Registry>) -> Result<Arc<Self>> {
        Self::new(registry, What::Transactions, None)
    }

    /// `stats`. As [`Dump::state`].
    pub(crate) fn stats(registry: &Arc<Registry>) -> Result<Arc<Self>> {
        Self::new(registry, What::Stats, None)
    }

    /// `proc/<tgid>`. As [`Dump::state`].
    pub(super) fn process(registry: &Arc<Registry>, tgid: Pid) -> Result<Arc<Self>> {
        Self::new(registry, What::State, Some(tgid))
    }

    /// The process after `key`, or the first one.
    fn next_process(&self, key: Option<Key>) -> Option<Place> {
        let process = match (key, self.tgid) {
            (None, None) => self.registry.first(),
            (None, Some(tgid)) => self.registry.of(tgid).next(),
            (Some(key), _) => self.registry.after(key),
        };
        let process =
            process.filter(|process| self.tgid.is_none_or(|tgid| tgid == process.tgid))?;
        Some(Place {
            process: Some((process, Line::Process)),
        })
    }
}

impl List for Dump {
    type Place = Place;

    fn first(&self) -> Result<Place> {
        Ok(Place { process: None })
    }

    fn show(&self, place: &Place, out: &SeqFile) -> Option<Place> {
        let Some((process, line)) = &place.process else {
            if self.what == What::Stats {
                Totals::of_module(&self.registry).print(out, "");
                stats::print_objects(out);
            }
            return self.next_process(None);
        };
        let next = match self.what {
            What::Stats => {
                process.print_summary(out);
                process.print_stats(out);
                None
            }
            what => process.print_line(*line, what == What::State, out),
        };
        match next {
            Some(line) => Some(Place {
                process: Some((process.clone(), line)),
            }),
            None => self.next_process(Some(process.key)),
        }
    }
}

/// What waits to be returned, of a thread or node.
const PENDING: &str = "    pending";

/// `" name"` if it is so.
fn mark(is_so: bool, name: &'static str) -> &'static str {
    if is_so {
        name
    } else {
        ""
    }
}

impl Process {
    /// Prints a line, and says which is next. Without `all` it is messages alone.
    fn print_line(&self, line: Line, all: bool, out: &SeqFile) -> Option<Line> {
        match line {
            Line::Process => {
                self.print_summary(out);
                Some(Line::Thread(0))
            }
            Line::Thread(from) => self.print_thread(from, out),
            Line::Stack(id, depth) => self.print_stack(id, depth, out),
            Line::FirstWork(id) => Some(self.print_first_work(id, all, out)),
            Line::ThreadWork(id, at) => {
                let queue = |inner: &process::Inner| {
                    let thread = inner.threads.get(&id)?;
                    Some(thread.queue(inner))
                };
                let next = self.print_work(PENDING, at, queue, all, out);
                Some(match next {
                    Some(at) => Line::ThreadWork(id, at),
                    None => Line::Thread(id.saturating_add(1)),
                })
            }
            Line::Node(from) => self.print_node(from, all, out),
            Line::NodeWork(ptr, at) => {
                let queue = |inner: &process::Inner| inner.nodes.find(ptr)?.queue(inner);
                let next = self.print_work(PENDING, at, queue, all, out);
                match next {
                    Some(at) => Some(Line::NodeWork(ptr, at)),
                    None => Some(Line::Node(ptr.checked_add(1)?)),
                }
            }
            Line::Handle(from) => Some(self.print_handle(from, out)),
            Line::Buffer(from) => Some(self.print_buffer(from, out)),
            Line::Work(at) => {
                let queue = |inner: &process::Inner| Some(inner.todo);
                let next = self.print_work("  pending", at, queue, all, out);
                Some(match next {
                    Some(at) => Line::Work(at),
                    None => Line::Delivered(InQueue::new(&self.inner.lock())),
                })
            }
            Line::Delivered(at) => {
                let queue = |inner: &process::Inner| Some(inner.delivered);
                self.print_work("  delivered", at, queue, all, out)
                    .map(Line::Delivered)
            }
        }
    }

    fn print_summary(&self, out: &SeqFile) {
        let inner = self.inner.lock();
        let is_frozen = inner.frozen.is_frozen;
        drop(inner);
        seq_print!(
            out,
            "proc {} context={}{}\n",
            self.tgid,
            self.context.journal.name(self.context.number),
            mark(is_frozen, " frozen"),
        );
    }

    /// The first thread from `from` on.
    fn print_thread(&self, from: Pid, out: &SeqFile) -> Option<Line> {
        let inner = self.inner.lock();
        let Some(cursor) = inner.threads.cursor_lower_bound(&from) else {
            drop(inner);
            return Some(Line::Node(0));
        };
        let (id, thread) = (*cursor.current().0, cursor.current().1);
        let seen = thread.look(&inner);
        drop(inner);
        seq_print!(
            out,
            "  thread {}:{}{}{}{}{}",
            id,
            mark(seen.looper.registered, " registered"),
            mark(seen.looper.entered, " entered"),
            mark(seen.is_waiting, " waiting"),
            mark(seen.is_polled, " polled"),
            mark(seen.need_return, " need_return"),
        );
        if let Some(code) = seen.return_error {
            seq_print!(out, " return_error={}", stats::return_name(code));
        }
        if let Some(code) = seen.reply_error {
            seq_print!(out, " reply_error={}", stats::return_name(code));
        }
        seq_print!(out, "\n");
        Some(Line::Stack(id, 0))
    }

    /// An entry of a thread's call stack.
    fn print_stack(&self, id: Pid, depth: usize, out: &SeqFile) -> Option<Line> {
        let inner = self.inner.lock();
        let Some(thread) = inner.threads.get(&id) else {
            drop(inner);
            return Some(Line::Thread(id.saturating_add(1)));
        };
        let entry = thread.stack_entry(&inner, depth);
        drop(inner);
        let Some((sent, is_outgoing)) = entry else {
            return Some(Line::FirstWork(id));
        };
        let prefix = if is_outgoing {
            "    outgoing"
        } else {
            "    incoming"
        };
        seq_print!(out, "{} ", prefix);
        sent.print(out);
        seq_print!(out, "\n");
        Some(Line::Stack(id, depth + 1))
    }

    /// What of a thread's work is in no queue.
    fn print_first_work(&self, id: Pid, all: bool, out: &SeqFile) -> Line {
        let inner = self.inner.lock();
        let Some(thread) = inner.threads.get(&id) else {
            drop(inner);
            return Line::Thread(id.saturating_add(1));
        };
        let (has_completion, message) = thread.first_work(&inner);
        let work = InQueue::new(&inner);
        drop(inner);
        if has_completion {
            Item::COMPLETION.print(PENDING, all, out);
        }
        if let Some(sent) = message {
            Item::Transaction(sent).print(PENDING, all, out);
        }
        Line::ThreadWork(id, work)
    }

    /// An item of a queue. `None` if there are no more.
    fn print_work(
        &self,
        prefix: &'static str,
        at: InQueue,
        queue: impl Fn(&process::Inner) -> Option<Queue>,
        all: bool,
        out: &SeqFile,
    ) -> Option<InQueue> {
        let left = at.left.checked_sub(1)?;
        let inner = self.inner.lock();
        let queue = queue(&inner)?;
        let (position, work) = inner.queues.positions_after(queue, at.after).next()?;
        let item = match work {
            Work::Transaction(transaction) => Item::Transaction(transaction.look()),
            Work::Complete(_) => Item::COMPLETION,
            Work::Node(node) => Item::Other("news of node", node.number.get().into()),
            Work::Death(death) => Item::Other("news of a death, cookie", death.cookie()),
            Work::Freeze(freeze) => Item::Other("news of a freeze, cookie", freeze.cookie()),
            Work::ReturnError => Item::Other("return_error", 0),
            Work::ReplyError => Item::Other("reply_error", 0),
            Work::Waiting(_) => Item::Other("thread", 0),
        };
        drop(inner);
        item.print(prefix, all, out);
        Some(InQueue {
            after: Some(position),
            left,
        })
    }

    /// The first node from the address `from` on.
    fn print_node(&self, from: u64, all: bool, out: &SeqFile) -> Option<Line> {
        let inner = self.inner.lock();
        let Some(node) = inner.nodes.find_from(from) else {
            let work = InQueue::new(&inner);
            drop(inner);
            return Some(if all {
                Line::Handle(0)
            } else {
                Line::Work(work)
            });
        };
        let seen = node.look(&inner);
        let counts = &seen.counts;
        let (ptr, cookie, number) = (node.ptr, node.cookie, node.number.get());
        let work = InQueue::new(&inner);
        drop(inner);
        if all {
            seq_print!(
                out,
                "  node {}: ptr=0x{:x} cookie=0x{:x} handles={} strong_handles={} local_strong={} \
                 local_weak={} owner_has={}{}{}{}{}\n",
                number,
                ptr,
                cookie,
                counts.handles,
                counts.strong_handles,
                counts.local_strong,
                counts.local_weak,
                mark(counts.strong.has, "strong,"),
                mark(counts.weak.has, "weak"),
                mark(!counts.strong.has && !counts.weak.has, "nothing"),
                mark(
                    counts.strong.pending || counts.weak.pending,
                    " unacknowledged"
                ),
                mark(seen.is_one_way_busy, " one_way_busy"),
            );
        }
        Some(Line::NodeWork(ptr, work))
    }

    /// The first handle from `from` on.
    fn print_handle(&self, from: u32, out: &SeqFile) -> Line {
        let step = self.handles.lock().look(from);
        let Some((next, seen)) = step else {
            return Line::Buffer(0);
        };
        let Some(seen) = seen else {
            return Line::Handle(next);
        };
        let is_dead = seen.node.owner.inner.lock().is_dead;
        seq_print!(
            out,
            "  handle {}: node={}:{} strong={} weak={}{}{}{}\n",
            seen.number,
            seen.node.owner.tgid,
            seen.node.number.get(),
            seen.strong,
            seen.weak,
            mark(is_dead, " dead"),
            mark(seen.has_death, " death_notification"),
            mark(seen.has_freeze, " freeze_notification"),
        );
        Line::Handle(next)
    }

    /// The first buffer from the offset `from` on.
    fn print_buffer(&self, from: usize, out: &SeqFile) -> Line {
        let Some(seen) = self.area.buffer_from(from) else {
            return Line::Work(InQueue::new(&self.inner.lock()));
        };
        seq_print!(
            out,
            "  buffer offset=0x{:x} size={}{}{}\n",
            seen.start_bytes,
            seen.len_bytes,
            mark(seen.is_one_way, " one-way"),
            if seen.is_delivered {
                " delivered"
            } else {
                " under_way"
            },
        );
        Line::Buffer(seen.start_bytes.saturating_add(1))
    }

    /// Counts of the process.
    fn print_stats(&self, out: &SeqFile) {
        let inner = self.inner.lock();
        let pool = inner.pool();
        let (threads, nodes) = (inner.thread_count, inner.nodes.len());
        let messages = inner.messages();
        drop(inner);
        let handles = self.handles.lock().len();
        let area = self.area.info();
        seq_print!(
            out,
            "  threads={} requested={} started={} max={} ready={}\n",
            threads,
            pool.requested,
            pool.started,
            pool.max,
            pool.ready,
        );
        seq_print!(
            out,
            "  nodes={} handles={} messages_sent={}\n",
            nodes,
            handles,
            messages,
        );
        seq_print!(
            out,
            "  buffers={} bytes={} most_bytes={} area_bytes={} one_way_free={}\n",
            area.live_buffers,
            area.live_bytes,
            area.most_live_bytes,
            area.size_bytes,
            area.oneway_free_bytes,
        );
        seq_print!(
            out,
            "  pages in_use={} idle={} absent={}\n",
            area.pages_in_use,
            area.pages_idle,
            area.pages_absent,
        );
        Totals::of_process(self).print(out, "  ");
    }

    /// The first thread from the id `from` on.
    pub(super) fn thread_from(&self, from: Pid) -> Option<Arc<Thread>> {
        let inner = self.inner.lock();
        let cursor = inner.threads.cursor_lower_bound(&from)?;
        Some(cursor.current().1.clone())
    }
}
