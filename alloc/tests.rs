// SPDX-License-Identifier: GPL-2.0

//! Tests against models that are too simple to be wrong.

#[cfg(rust_ipc_kunit)]
use kernel::prelude::*;

use super::{queue, ranges, storage::Heap, table};

/// Leaves the function with a message unless the condition holds. (`assert!` is KUnit's in a test
/// function, and a panic elsewhere.)
macro_rules! ensure {
    ($condition:expr) => {
        if !$condition {
            return Err(concat!(line!(), ": ", stringify!($condition)));
        }
    };
}

type Checked = core::result::Result<(), &'static str>;

/// A vector that grows in the kernel and on the host.
#[cfg(rust_ipc_host)]
mod list {
    pub(super) type List<T> = Vec<T>;

    pub(super) fn push<T>(list: &mut List<T>, item: T) {
        list.push(item);
    }
}

/// A vector that grows in the kernel and on the host.
#[cfg(not(rust_ipc_host))]
mod list {
    use kernel::prelude::*;

    pub(super) type List<T> = KVVec<T>;

    /// Without memory the item is lost, which the model notices.
    pub(super) fn push<T>(list: &mut List<T>, item: T) {
        let _ = list.push(item, GFP_KERNEL);
    }
}

use list::{push, List};

#[cfg(rust_ipc_host)]
fn range_chunk<B>() -> Box<ranges::Chunk<B>> {
    ranges::Chunk::new()
}

#[cfg(not(rust_ipc_host))]
fn range_chunk<B>() -> KBox<ranges::Chunk<B>> {
    loop {
        if let Ok(chunk) = ranges::Chunk::new(GFP_KERNEL) {
            return chunk;
        }
    }
}

/// For an area of `len` bytes, unless that is more than any test makes use of.
fn heads(len: usize, page: usize) -> ranges::Heads {
    let pages = len.checked_div(page).unwrap_or(0).min(1 << 10);
    #[cfg(rust_ipc_host)]
    return ranges::new_heads(pages);
    #[cfg(not(rust_ipc_host))]
    loop {
        if let Ok(heads) = ranges::new_heads(pages, GFP_KERNEL) {
            return heads;
        }
    }
}

#[cfg(rust_ipc_host)]
fn queue_chunk<W>() -> Box<queue::Chunk<W>> {
    queue::Chunk::new()
}

#[cfg(not(rust_ipc_host))]
fn queue_chunk<W>() -> KBox<queue::Chunk<W>> {
    loop {
        if let Ok(chunk) = queue::new_chunk(GFP_KERNEL) {
            return chunk;
        }
    }
}

/// Small chunks, for many of them.
type TableChunk = table::Chunk<(u64, u64), 3, 2>;

#[cfg(rust_ipc_host)]
fn table_chunk() -> Box<TableChunk> {
    TableChunk::new()
}

#[cfg(not(rust_ipc_host))]
fn table_chunk() -> KBox<TableChunk> {
    loop {
        if let Ok(chunk) = TableChunk::new(GFP_KERNEL) {
            return chunk;
        }
    }
}

/// Numbers that look random and are the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        #[cfg(rust_ipc_fuzz)]
        if let Some(choice) = crate::choice() {
            return choice as usize % limit;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % limit as u64) as usize
    }
}

mod range_model {
    use super::{
        super::ranges::{Error, Handle, Kind, Ranges, Taken},
        *,
    };

    /// A live range, as the model knows it.
    struct Live {
        start: usize,
        len: usize,
        kind: Kind,
        clear: bool,
        /// [`None`] once it is delivered.
        handle: Option<Handle>,
        payload: u64,
    }

    /// An area and its model: a list of what is live.
    pub(super) struct Model {
        pub(super) ranges: Ranges<u64, Heap>,
        live: List<Live>,
        size: usize,
        page: usize,
        payload: u64,
        /// Buffers up to this length are freed at once.
        at_once: usize,
    }

    impl Model {
        pub(super) fn new(size: usize, page: usize) -> core::result::Result<Self, &'static str> {
            Ok(Self {
                ranges: Ranges::new(size, page, range_chunk(), heads(size, page))
                    .map_err(|_| "new")?,
                live: List::new(),
                size,
                page,
                payload: 0,
                at_once: 2 * page,
            })
        }

        pub(super) fn live(&self) -> usize {
            self.live.len()
        }

        fn touches(&self, page: usize) -> usize {
            let (start, end) = (page * self.page, (page + 1) * self.page);
            self.live
                .iter()
                .filter(|live| live.start < end && live.start + live.len > start)
                .count()
        }

        /// The start of the lowest of the shortest gaps of at least `len`.
        fn best_fit(&self, len: usize) -> Option<usize> {
            let mut best: Option<(usize, usize)> = None;
            let mut at = 0;
            while at < self.size {
                let next = self
                    .live
                    .iter()
                    .filter(|live| live.start >= at)
                    .min_by_key(|live| live.start);
                let (gap_end, after) = match next {
                    Some(next) => (next.start, next.start + next.len),
                    None => (self.size, self.size),
                };
                let gap = gap_end - at;
                if gap >= len && best.is_none_or(|(best, _)| gap < best) && gap > 0 {
                    best = Some((gap, at));
                }
                at = after;
            }
            best.map(|(_, at)| at)
        }

        fn one_way_left(&self) -> usize {
            let used: usize = self
                .live
                .iter()
                .filter(|live| live.kind != Kind::TwoWay)
                .map(|live| live.len)
                .sum();
            self.size / 2 - used
        }

        pub(super) fn alloc(&mut self, len: usize, kind: Kind, clear: bool) -> Checked {
            let expected = if len == 0 || len % 8 != 0 {
                Err(Error::Invalid)
            } else if kind != Kind::TwoWay && len > self.one_way_left() {
                Err(Error::NoSpace)
            } else {
                self.best_fit(len).ok_or(Error::NoSpace)
            };
            let result = match self.ranges.alloc(len, kind, clear) {
                Err(Error::NeedsMemory) => {
                    ensure!(self.ranges.needs_memory());
                    self.check()?;
                    self.ranges.provide(range_chunk());
                    self.ranges.alloc(len, kind, clear)
                }
                result => result,
            };
            let (start, (handle, pages)) = match (expected, result) {
                (Ok(start), Ok(result)) => (start, result),
                (Err(expected), Err(error)) => {
                    ensure!(expected == error);
                    return self.check();
                }
                _ => return Err("one found a range, the other did not"),
            };
            ensure!(handle.start_bytes() == start && handle.len_bytes() == len);
            for page in 0..self.size / self.page {
                let is_touched = start < (page + 1) * self.page && start + len > page * self.page;
                let is_new = is_touched && self.touches(page) == 0;
                ensure!(pages.contains(&page) == is_new);
                ensure!(self.ranges.pages_of(&handle).contains(&page) == is_touched);
            }
            self.payload += 1;
            push(
                &mut self.live,
                Live {
                    start,
                    len,
                    kind,
                    clear,
                    handle: Some(handle),
                    payload: self.payload,
                },
            );
            self.check()
        }

        /// Delivers the `nth` live range if it is reserved; takes it back if it is delivered.
        /// With `cancel`, one that is reserved is released.
        pub(super) fn advance(&mut self, nth: usize, cancel: bool) -> Checked {
            let Some(live) = self.live.get_mut(nth) else {
                return Ok(());
            };
            if let Some(handle) = live.handle.take() {
                // Nobody but the holder of the handle can free it.
                ensure!(self.ranges.take(live.start, self.at_once).is_none());
                if !cancel {
                    ensure!(self.ranges.deliver(handle, live.payload) == live.start);
                    return self.check();
                }
                let pages = self.ranges.release(handle);
                return self.gone(nth, pages);
            }
            ensure!(live.len == 8 || self.ranges.take(live.start + 8, self.at_once).is_none());
            ensure!(self.ranges.take(live.start + 1, self.at_once).is_none());
            let (payload, taken) = self
                .ranges
                .take(live.start, self.at_once)
                .ok_or("not found")?;
            ensure!(payload == live.payload);
            let pages = match taken {
                Taken::Free(idle_pages) => {
                    ensure!(!live.clear && live.len <= self.at_once);
                    idle_pages
                }
                Taken::Claimed(handle) => {
                    ensure!(live.clear || live.len > self.at_once);
                    ensure!(handle.clear_on_free() == live.clear);
                    ensure!(handle.start_bytes() == live.start && handle.len_bytes() == live.len);
                    ensure!(self.ranges.take(live.start, self.at_once).is_none());
                    self.ranges.release(handle)
                }
            };
            self.gone(nth, pages)
        }

        fn gone(&mut self, nth: usize, pages: core::ops::Range<usize>) -> Checked {
            let last = self.live.len() - 1;
            self.live.swap(nth, last);
            let gone = self.live.pop().ok_or("empty")?;
            for page in 0..self.size / self.page {
                let was_touched =
                    gone.start < (page + 1) * self.page && gone.start + gone.len > page * self.page;
                ensure!(pages.contains(&page) == (was_touched && self.touches(page) == 0));
            }
            self.check()
        }

        /// Takes everything back in order, and releases what was reserved.
        pub(super) fn drain(&mut self) -> Checked {
            let mut from = 0;
            while let Some((start, (payload, taken))) = self.ranges.take_from(from, self.at_once) {
                from = start;
                let nth = self
                    .live
                    .iter()
                    .position(|live| live.start == start && live.handle.is_none())
                    .ok_or("drained what is not delivered")?;
                ensure!(self
                    .live
                    .get(nth)
                    .is_some_and(|live| live.payload == payload));
                let pages = match taken {
                    Taken::Free(idle_pages) => idle_pages,
                    Taken::Claimed(handle) => self.ranges.release(handle),
                };
                self.gone(nth, pages)?;
            }
            ensure!(self.live.iter().all(|live| live.handle.is_some()));
            while !self.live.is_empty() {
                self.advance(0, true)?;
            }
            ensure!(self.ranges.live() == 0 && self.ranges.used_bytes() == 0);
            // Everything has coalesced.
            self.alloc(self.size, Kind::TwoWay, false)?;
            self.advance(0, true)
        }

        fn check(&self) -> Checked {
            ensure!(self.ranges.live() == self.live.len());
            ensure!(self.ranges.one_way_left_bytes() == self.one_way_left());
            let used: usize = self.live.iter().map(|live| live.len).sum();
            ensure!(self.ranges.used_bytes() == used);
            ensure!(self.ranges.len_bytes() == self.size);
            let delivered = self.live.iter().filter(|live| live.handle.is_none());
            ensure!(self.ranges.delivered().count() == delivered.count());
            for (start, len, kind, payload) in self.ranges.delivered() {
                ensure!(self.live.iter().any(|live| {
                    live.handle.is_none()
                        && (live.start, live.len, live.kind, &live.payload)
                            == (start, len, kind, payload)
                }));
            }
            self.ranges.check()
        }
    }

    fn kind(one_way: bool) -> Kind {
        if one_way {
            Kind::OneWay { sender: 1 }
        } else {
            Kind::TwoWay
        }
    }

    /// Does what the digits of `number` in base 9 say, on an area of two pages of four granules.
    pub(super) fn sequence(mut number: usize, len: usize) -> Checked {
        let mut model = Model::new(64, 32)?;
        for _ in 0..len {
            match number % 9 {
                0 => model.alloc(8, Kind::TwoWay, false)?,
                1 => model.alloc(16, Kind::OneWay { sender: 1 }, true)?,
                2 => model.alloc(24, Kind::TwoWay, true)?,
                3 => model.alloc(40, Kind::TwoWay, false)?,
                4 => model.advance(0, false)?,
                5 => model.advance(0, true)?,
                6 => model.advance(model.live() / 2, false)?,
                7 => model.advance(model.live() / 2, true)?,
                _ => model.advance(model.live().saturating_sub(1), false)?,
            }
            number /= 9;
        }
        model.drain()
    }

    /// `steps` random operations on `pages` pages of `page` bytes, with buffers of up to `max`.
    pub(super) fn random(
        seed: u64,
        steps: usize,
        pages: usize,
        page: usize,
        max: usize,
    ) -> Checked {
        let mut random = Random(seed);
        let mut model = Model::new(pages * page, page)?;
        for step in 0..steps {
            // Phases in which the area fills and empties.
            let eager = if step / 64 % 2 == 0 { 7 } else { 3 };
            if random.below(10) < eager {
                let mut len = 8 * (1 + random.below(max / 8));
                if random.below(50) == 0 {
                    len = random.below(2 * max);
                }
                model.alloc(len, kind(random.below(3) == 0), random.below(4) == 0)?;
            } else {
                let nth = random.below(model.live().max(1));
                model.advance(nth, random.below(4) == 0)?;
            }
        }
        model.drain()
    }
}

mod queue_model {
    use super::{
        super::queue::{Arena, Position, Queue, Ticket},
        *,
    };

    type Items = List<(u64, Position)>;

    /// Queues as lists of numbers and where they are.
    struct Model {
        arena: Arena<u64, Heap>,
        queues: List<(Queue, Items)>,
        tickets: List<Ticket>,
        stale: List<Position>,
        free: usize,
        number: u64,
    }

    fn remove(items: &mut Items, nth: usize) -> Option<(u64, Position)> {
        items
            .get_mut(nth..)
            .filter(|rest| !rest.is_empty())?
            .rotate_left(1);
        items.pop()
    }

    impl Model {
        fn new_queue(&mut self) -> Checked {
            let queue = self.arena.new_queue().ok_or("full")?;
            push(&mut self.queues, (queue, List::new()));
            self.free -= 1;
            Ok(())
        }

        fn free_queue(&mut self, nth: usize) -> Checked {
            let Some((queue, items)) = self.queues.get(nth) else {
                return Ok(());
            };
            let (queue, is_empty) = (*queue, items.is_empty());
            ensure!(self.arena.free_queue(queue) == is_empty);
            if is_empty {
                let last = self.queues.len() - 1;
                self.queues.swap(nth, last);
                self.queues.pop();
                self.free += 1;
                // It has gone for everybody who still has its name.
                ensure!(!self.arena.free_queue(queue));
                ensure!(self.arena.push_back(queue, 0) == Err(0));
                ensure!(self.arena.is_empty(queue) && self.arena.front(queue).is_none());
                ensure!(self.arena.pop_front(queue).is_none());
                if let Some(ticket) = self.arena.reserve() {
                    let position = self.arena.push_back_with(queue, 7, ticket);
                    ensure!(self.arena.remove(position) == Some(7));
                }
            }
            Ok(())
        }

        fn push(&mut self, nth: usize, how: usize) -> Checked {
            self.number += 1;
            let number = self.number;
            let Some((queue, items)) = self.queues.get_mut(nth) else {
                return Ok(());
            };
            if how == 0 {
                let Some(ticket) = self.tickets.pop() else {
                    return Ok(());
                };
                let position = self.arena.push_back_with(*queue, number, ticket);
                push(items, (number, position));
                return Ok(());
            }
            let pushed = if how == 1 {
                self.arena.push_front(*queue, number)
            } else {
                self.arena.push_back(*queue, number)
            };
            if self.free == 0 {
                ensure!(pushed == Err(number));
                return Ok(());
            }
            push(items, (number, pushed.map_err(|_| "full")?));
            if how == 1 {
                items.rotate_right(1);
            }
            self.free -= 1;
            Ok(())
        }

        fn pop(&mut self, nth: usize) -> Checked {
            let Some((queue, items)) = self.queues.get_mut(nth) else {
                return Ok(());
            };
            let popped = self.arena.pop_front(*queue);
            ensure!(popped == items.first().map(|(number, _)| *number));
            if let Some((_, position)) = remove(items, 0) {
                push(&mut self.stale, position);
                self.free += 1;
            }
            Ok(())
        }

        fn remove(&mut self, nth: usize, random: &mut Random) -> Checked {
            let Some((_, items)) = self.queues.get_mut(nth) else {
                return Ok(());
            };
            if let Some((number, position)) = remove(items, random.below(items.len().max(1))) {
                ensure!(self.arena.get(position) == Some(&number));
                ensure!(self.arena.remove(position) == Some(number));
                push(&mut self.stale, position);
                self.free += 1;
            }
            Ok(())
        }

        fn check(&self) -> Checked {
            ensure!(!self.arena.needs_memory(self.free));
            ensure!(self.arena.needs_memory(self.free + 1));
            let (mut used, mut count) = (0, 0);
            for (queue, items) in self.queues.iter() {
                used += 1 + items.len();
                count += items.len();
                ensure!(self.arena.is_empty(*queue) == items.is_empty());
                ensure!(self.arena.front(*queue) == items.first().map(|(number, _)| number));
                let mut there = self.arena.iter(*queue);
                ensure!(items.iter().all(|(number, _)| there.next() == Some(number)));
                ensure!(there.next().is_none());
                let mut there = self.arena.positions(*queue);
                ensure!(items
                    .iter()
                    .all(|(number, position)| there.next() == Some((*position, number))));
            }
            ensure!(self.arena.used() == used && self.arena.items() == count);
            Ok(())
        }
    }

    /// `steps` random operations.
    pub(super) fn random(seed: u64, steps: usize) -> Checked {
        let mut random = Random(seed);
        let mut model = Model {
            arena: Arena::new(),
            queues: List::new(),
            tickets: List::new(),
            stale: List::new(),
            free: 0,
            number: 0,
        };
        ensure!(model.arena.new_queue().is_none() && model.arena.reserve().is_none());
        for _ in 0..steps {
            if model.free == 0 && random.below(4) == 0 {
                drop(model.arena.provide(queue_chunk()));
                model.free += queue::CHUNK_SLOTS;
            }
            let nth = random.below(model.queues.len().max(1));
            match random.below(15) {
                0 if model.free > 0 => model.new_queue()?,
                1 => model.free_queue(nth)?,
                2 if model.free > 0 => {
                    let ticket = model.arena.reserve().ok_or("full")?;
                    push(&mut model.tickets, ticket);
                    model.free -= 1;
                }
                3 => {
                    if let Some(ticket) = model.tickets.pop() {
                        model.arena.release(ticket);
                        model.free += 1;
                    }
                }
                4..7 => model.pop(nth)?,
                7 => model.remove(nth, &mut random)?,
                8 => {
                    let at = random.below(model.stale.len().max(1));
                    if let Some(position) = model.stale.get(at) {
                        ensure!(model.arena.get(*position).is_none());
                        ensure!(model.arena.remove(*position).is_none());
                    }
                }
                0 | 2 => {}
                how => model.push(nth, how - 9)?,
            }
            model.check()?;
        }
        Ok(())
    }
}

mod table_model {
    use super::{
        super::table::{Entry, Item, Table, Vacancy},
        *,
    };

    impl Item for (u64, u64) {
        type Key = u64;

        fn key(&self) -> u64 {
            self.0
        }
    }

    type Place<'a> = Vacancy<'a, (u64, u64), 3, 2, Heap>;

    /// The entry is to be a free one.
    fn free(
        entry: Entry<'_, (u64, u64), 3, 2, Heap>,
    ) -> core::result::Result<Place<'_>, &'static str> {
        match entry {
            Entry::Free(vacancy) => Ok(vacancy),
            Entry::Used(_) => Err("there is an item with that key"),
            Entry::Full => Err("there is no memory"),
        }
    }

    /// A table and its model: a list of what each number has.
    struct Model {
        table: Table<(u64, u64), 3, 2, Heap>,
        items: List<Option<(u64, u64)>>,
        value: u64,
    }

    impl Model {
        /// Keys are below this.
        const KEYS: usize = 32;

        fn item(&self, number: usize) -> Option<(u64, u64)> {
            self.items.get(number).copied().flatten()
        }

        /// The number and key of the item with the lowest key from `key` on.
        fn lowest(&self, key: u64) -> Option<(u32, u64)> {
            let items = self.items.iter().enumerate();
            items
                .filter_map(|(number, item)| Some((number as u32, (*item)?.0)))
                .filter(|(_, found)| *found >= key)
                .min_by_key(|(_, found)| *found)
        }

        fn insert(&mut self, key: u64, from: usize) -> Checked {
            if let Some((number, _)) = self.lowest(key).filter(|(_, found)| *found == key) {
                let entry = self.table.entry(key, from as u32);
                ensure!(matches!(entry, Entry::Used(found) if found == number));
                return Ok(());
            }
            let mut number = from;
            while self.item(number).is_some() {
                number += 1;
            }
            while matches!(self.table.entry(key, from as u32), Entry::Full) {
                // Not before there is no room for the number.
                ensure!(number >= self.items.len());
                ensure!(self.table.provide(table_chunk()).is_ok());
                for _ in 0..3 {
                    push(&mut self.items, None);
                }
            }
            self.value += 1;
            let vacancy = free(self.table.entry(key, from as u32))?;
            ensure!(vacancy.number() as usize == number);
            vacancy.fill((key, self.value));
            *self.items.get_mut(number).ok_or("no room")? = Some((key, self.value));
            Ok(())
        }

        fn remove(&mut self, number: usize) -> Checked {
            let expected = self.items.get_mut(number).and_then(Option::take);
            ensure!(self.table.remove(number as u32) == expected);
            ensure!(self.table.remove(number as u32).is_none());
            Ok(())
        }

        fn change(&mut self, number: usize) -> Checked {
            self.value += 1;
            let there = self.table.get_mut(number as u32);
            let expected = self.items.get_mut(number).and_then(Option::as_mut);
            ensure!(there.is_some() == expected.is_some());
            if let (Some(there), Some(expected)) = (there, expected) {
                (there.1, expected.1) = (self.value, self.value);
            }
            Ok(())
        }

        fn check(&self) -> Checked {
            let used = self.items.iter().flatten().count();
            ensure!(self.table.len() == used);
            for number in 0..self.items.len() + 2 {
                ensure!(self.table.get(number as u32).copied() == self.item(number));
            }
            for key in 0..=Self::KEYS as u64 {
                let lowest = self.lowest(key);
                let there = self.table.find_from(key);
                ensure!(there.map(Item::key) == lowest.map(|(_, key)| key));
                let exactly = lowest.filter(|(_, found)| *found == key);
                ensure!(self.table.number_of(key) == exactly.map(|(number, _)| number));
                let there = self.table.find(key);
                ensure!(there.map(Item::key) == exactly.map(|(_, key)| key));
            }
            self.in_order()?;
            self.table.check()
        }

        /// All items, and no other, are found by going from number to number.
        fn in_order(&self) -> Checked {
            let mut next = 0;
            while let Some((number, found)) = self.table.next(next) {
                ensure!(number >= next && found.copied() == self.item(number as usize));
                ensure!((next..number).all(|skipped| self.item(skipped as usize).is_none()));
                // Without an item it is where to go on, and so it is further.
                ensure!(found.is_some() || number > next);
                next = number + u32::from(found.is_some());
            }
            ensure!((next as usize..self.items.len()).all(|rest| self.item(rest).is_none()));
            ensure!(self.table.next(u32::MAX).is_none());
            Ok(())
        }
    }

    /// `steps` random operations.
    pub(super) fn random(seed: u64, steps: usize) -> Checked {
        let mut random = Random(seed);
        let mut model = Model {
            table: Table::new(),
            items: List::new(),
            value: 0,
        };
        ensure!(matches!(model.table.entry(0, 0), Entry::Full));
        for step in 0..steps {
            // Phases in which it fills and empties.
            let eager = if step / 64 % 2 == 0 { 6 } else { 3 };
            let number = random.below(model.items.len() + 2);
            match random.below(10) {
                0 => model.change(number)?,
                kind if kind <= eager => {
                    let key = random.below(Model::KEYS) as u64;
                    // Mostly as it is used: number 0 is for one that is special.
                    let from = match random.below(8) {
                        0 => random.below(9),
                        from => usize::from(from > 1),
                    };
                    model.insert(key, from)?;
                }
                _ => model.remove(number)?,
            }
            model.check()?;
        }
        while let Some((number, _)) = model.lowest(0) {
            model.remove(number as usize)?;
            model.check()?;
        }
        Ok(())
    }

    /// A table in which the last of `count` items alone is left: the next one is found in steps that
    /// are bounded.
    pub(super) fn gap(count: usize) -> Checked {
        let mut table: Table<(u64, u64), 3, 2, Heap> = Table::new();
        for key in 0..count as u64 {
            if matches!(table.entry(key, 0), Entry::Full) {
                ensure!(table.provide(table_chunk()).is_ok());
            }
            free(table.entry(key, 0))?.fill((key, 0));
        }
        // From both ends, so that neither tree sees an order.
        for number in 0..count as u32 / 2 {
            ensure!(table.remove(number).is_some());
            let other = count as u32 - 2 - number;
            ensure!(other <= number || table.remove(other).is_some());
        }
        table.check()?;
        ensure!(table.len() == 1 && table.number_of(count as u64 - 1) == Some(count as u32 - 1));
        let (mut next, mut steps) = (0, 0);
        while let Some((number, None)) = table.next(next) {
            ensure!(number > next);
            (next, steps) = (number, steps + 1);
        }
        ensure!(steps == (count - 1) / 1024);
        ensure!(table.next(next) == Some((count as u32 - 1, Some(&(count as u64 - 1, 0)))));
        ensure!(free(table.entry(0, 0))?.number() == 0);
        Ok(())
    }
}

/// For `selftests/host/fuzz.rs`, which makes the choices.
#[cfg(rust_ipc_fuzz)]
pub(crate) fn ranges_by_choice() -> Checked {
    range_model::random(1, 300, 8, 64, 128)
}

/// For `selftests/host/fuzz.rs`, which makes the choices.
#[cfg(rust_ipc_fuzz)]
pub(crate) fn queues_by_choice() -> Checked {
    queue_model::random(1, 300)
}

/// For `selftests/host/fuzz.rs`, which makes the choices.
#[cfg(rust_ipc_fuzz)]
pub(crate) fn table_by_choice() -> Checked {
    table_model::random(1, 150)
}

#[cfg_attr(rust_ipc_kunit, kunit_tests(rust_ipc_alloc))]
mod cases {
    use super::{
        super::{
            queue::{Arena, Queue, CHUNK_SLOTS},
            ranges::{Error, Kind, Ranges, Taken},
        },
        *,
    };

    /// How much the host does for each unit of work that KUnit does.
    const EFFORT: usize = if cfg!(rust_ipc_host) { 20 } else { 1 };

    #[test]
    fn ranges_short_sequences() {
        let len = if cfg!(rust_ipc_host) { 6 } else { 3 };
        for number in 0..9usize.pow(len as u32) {
            assert_eq!(range_model::sequence(number, len), Ok(()));
        }
    }

    #[test]
    fn ranges_random_small_pages() {
        for seed in 0..EFFORT as u64 {
            assert_eq!(range_model::random(seed, 2000, 8, 64, 128), Ok(()));
        }
    }

    #[test]
    fn ranges_random_real_pages() {
        for seed in 0..EFFORT as u64 {
            assert_eq!(range_model::random(seed, 1000, 16, 4096, 9000), Ok(()));
        }
    }

    #[test]
    fn ranges_random_single_granules() {
        for seed in 0..EFFORT as u64 {
            assert_eq!(range_model::random(seed, 500, 16, 8, 24), Ok(()));
        }
    }

    #[test]
    fn ranges_bad_arguments() {
        let invalid = |len, page| {
            matches!(
                Ranges::<u64>::new(len, page, range_chunk(), heads(len, page)),
                Err(Error::Invalid)
            )
        };
        assert!(invalid(0, 4096));
        assert!(invalid(4095, 4096));
        assert!(invalid(4096, 0));
        assert!(invalid(4096, 4));
        assert!(invalid(4096, 24));
        assert!(invalid(8 << 32, 4096));
        let Ok(mut ranges) = Ranges::<u64>::new(8192, 4096, range_chunk(), heads(8192, 4096))
        else {
            assert!(false);
            return;
        };
        for len in [0, 1, 7, 12, 8191] {
            assert!(matches!(
                ranges.alloc(len, Kind::TwoWay, false),
                Err(Error::Invalid)
            ));
        }
        for len in [8200, 8 << 32, usize::MAX - 7] {
            assert!(matches!(
                ranges.alloc(len, Kind::TwoWay, false),
                Err(Error::NoSpace)
            ));
        }
        for start in [0, 1, 8, 8184, 8192, 8 << 32, usize::MAX - 7] {
            assert!(ranges.take(start, usize::MAX).is_none());
        }
        for start in [0, 8192, 8 << 32] {
            assert!(ranges.take_from(start, usize::MAX).is_none());
        }
        assert_eq!(ranges.check(), Ok(()));
    }

    #[test]
    fn ranges_many() {
        // Many live buffers, given back in an order that leaves every other one until last.
        let (count, len) = (if cfg!(rust_ipc_host) { 40_000 } else { 2_000 }, 24);
        let Ok(mut ranges) =
            Ranges::<usize>::new(1 << 20, 4096, range_chunk(), heads(1 << 20, 4096))
        else {
            assert!(false);
            return;
        };
        for number in 0..count {
            if ranges.needs_memory() {
                ranges.provide(range_chunk());
            }
            let Ok((handle, _)) = ranges.alloc(len, Kind::TwoWay, false) else {
                assert!(false);
                return;
            };
            assert_eq!(ranges.deliver(handle, number), number * len);
        }
        assert_eq!(ranges.check(), Ok(()));
        assert_eq!(ranges.live(), count);
        // `chain()` is also what the kernel's initialisers have.
        let odd = (1..count).step_by(2);
        let even = (0..count).rev().step_by(2).filter(|n| n % 2 == 0);
        for number in Iterator::chain(odd, even) {
            let taken = ranges.take(number * len, usize::MAX);
            assert!(matches!(taken, Some((payload, Taken::Free(_))) if payload == number));
        }
        for number in 0..count {
            let taken = ranges.take(number * len, usize::MAX);
            assert!(taken.is_none() || number % 2 == 0);
        }
        assert_eq!(ranges.check(), Ok(()));
        assert_eq!(ranges.live(), 0);
    }

    #[test]
    fn ranges_half_is_for_one_way() {
        let Ok(mut ranges) = Ranges::<u64>::new(8192, 4096, range_chunk(), heads(8192, 4096))
        else {
            assert!(false);
            return;
        };
        assert_eq!(ranges.one_way_left_bytes(), 4096);
        assert!(matches!(
            ranges.alloc(4104, Kind::OneWay { sender: 1 }, false),
            Err(Error::NoSpace)
        ));
        let Ok((first, pages)) = ranges.alloc(4096, Kind::OneWay { sender: 1 }, false) else {
            assert!(false);
            return;
        };
        assert_eq!(pages, 0..1);
        assert!(matches!(
            ranges.alloc(8, Kind::OneWay { sender: 1 }, false),
            Err(Error::NoSpace)
        ));
        let Ok((second, pages)) = ranges.alloc(4096, Kind::TwoWay, false) else {
            assert!(false);
            return;
        };
        assert_eq!(pages, 1..2);
        assert_eq!(ranges.release(first), 0..1);
        assert_eq!(ranges.one_way_left_bytes(), 4096);
        assert_eq!(ranges.release(second), 1..2);
        assert_eq!(ranges.check(), Ok(()));
    }

    /// Reserves a one-way buffer, and asks whether its sender is sending spam.
    fn is_spam(ranges: &mut Ranges<u64>, len: usize, sender: i32) -> Option<bool> {
        if ranges.needs_memory() {
            ranges.provide(range_chunk());
        }
        let (handle, _) = ranges.alloc(len, Kind::OneWay { sender }, false).ok()?;
        let is_spam = ranges.is_spam(&handle);
        ranges.deliver(handle, 0);
        Some(is_spam)
    }

    #[test]
    fn ranges_spam_is_much_or_many_where_little_is_left() {
        // Half is for one-way buffers; a tenth is little, and more than a quarter much.
        let len = 40960;
        let Ok(mut ranges) = Ranges::<u64>::new(len, 4096, range_chunk(), heads(len, 4096)) else {
            assert!(false);
            return;
        };
        assert_eq!(is_spam(&mut ranges, len / 4, 1), Some(false));
        assert_eq!(is_spam(&mut ranges, 8, 1), Some(false));
        // A tenth is left, and then less; but that is not this sender's doing.
        assert_eq!(is_spam(&mut ranges, len / 4 - len / 10 - 8, 2), Some(false));
        assert_eq!(ranges.one_way_left_bytes(), len / 10);
        assert_eq!(is_spam(&mut ranges, 8, 2), Some(false));
        // What the sender has besides counts, once.
        assert_eq!(is_spam(&mut ranges, 8, 1), Some(true));
        assert_eq!(is_spam(&mut ranges, 8, 1), Some(false));

        // Until there is more room again.
        assert!(ranges.take(0, usize::MAX).is_some());
        assert_eq!(is_spam(&mut ranges, 8, 1), Some(false));
        assert_eq!(is_spam(&mut ranges, len / 4, 3), Some(false));
        for _ in 4..51 {
            assert_eq!(is_spam(&mut ranges, 8, 1), Some(false));
        }
        assert_eq!(is_spam(&mut ranges, 8, 1), Some(true));
        assert_eq!(ranges.check(), Ok(()));
    }

    #[test]
    fn ranges_reserved_ones_stay_when_drained() {
        let Ok(mut ranges) = Ranges::<u64>::new(8192, 4096, range_chunk(), heads(8192, 4096))
        else {
            assert!(false);
            return;
        };
        let (Ok((reserved, _)), Ok((delivered, _))) = (
            ranges.alloc(64, Kind::TwoWay, false),
            ranges.alloc(64, Kind::TwoWay, true),
        ) else {
            assert!(false);
            return;
        };
        ranges.deliver(delivered, 1);
        let Some((64, (1, Taken::Claimed(handle)))) = ranges.take_from(0, usize::MAX) else {
            assert!(false);
            return;
        };
        assert!(ranges.take_from(0, usize::MAX).is_none());
        assert_eq!(ranges.live(), 2);
        assert!(ranges.release(handle).is_empty());
        assert_eq!(ranges.release(reserved), 0..1);
        assert_eq!(ranges.live(), 0);
    }

    #[test]
    fn queues_random() {
        for seed in 0..EFFORT as u64 {
            assert_eq!(queue_model::random(seed, 2000), Ok(()));
        }
    }

    #[test]
    fn queues_many() {
        let count = CHUNK_SLOTS * if cfg!(rust_ipc_host) { 10_000 } else { 50 };
        let mut arena = Arena::<usize>::new();
        drop(arena.provide(queue_chunk()));
        let Some(queue) = arena.new_queue() else {
            assert!(false);
            return;
        };
        for number in 0..count {
            if arena.needs_memory(1) {
                drop(arena.provide(queue_chunk()));
            }
            assert!(arena.push_back(queue, number).is_ok());
        }
        for number in 0..count {
            assert_eq!(arena.pop_front(queue), Some(number));
        }
        assert!(arena.is_empty(queue));
    }

    #[test]
    fn nowhere_is_no_queue() {
        let mut arena = Arena::<u64>::new();
        assert!(arena.is_empty(Queue::NOWHERE));
        // More than one, so that there is more than one place to look in.
        for _ in 0..3 {
            drop(arena.provide(queue_chunk()));
        }
        // With an item in another queue, as nobody looks for any where there is none.
        let Some(queue) = arena.new_queue() else {
            assert!(false);
            return;
        };
        assert!(arena.push_back(queue, 1).is_ok());
        assert!(arena.is_empty(Queue::NOWHERE) && arena.front(Queue::NOWHERE).is_none());
        assert_eq!(arena.push_back(Queue::NOWHERE, 1), Err(1));
        assert_eq!(arena.push_front(Queue::NOWHERE, 1), Err(1));
        assert_eq!(arena.pop_front(Queue::NOWHERE), None);
        assert!(!arena.free_queue(Queue::NOWHERE));
        assert_eq!(arena.positions(Queue::NOWHERE).count(), 0);
        assert_eq!((arena.used(), arena.items()), (2, 1));
    }

    #[test]
    fn tickets_keep_their_slots() {
        let mut arena = Arena::<u64>::new();
        assert!(arena.needs_memory(1));
        drop(arena.provide(queue_chunk()));
        let Some(queue) = arena.new_queue() else {
            assert!(false);
            return;
        };
        let Some(ticket) = arena.reserve() else {
            assert!(false);
            return;
        };
        for number in 2..CHUNK_SLOTS as u64 {
            assert!(arena.push_back(queue, number).is_ok());
        }
        assert_eq!(arena.push_back(queue, 99), Err(99));
        assert!(arena.reserve().is_none());
        let position = arena.push_back_with(queue, 100, ticket);
        assert_eq!(arena.get(position), Some(&100));
        assert_eq!(arena.remove(position), Some(100));
        assert_eq!(arena.remove(position), None);
        assert!(arena.push_back(queue, 101).is_ok());
    }

    #[test]
    fn table_random() {
        for seed in 0..EFFORT as u64 {
            assert_eq!(table_model::random(seed, 1000), Ok(()));
        }
    }

    #[test]
    fn table_many() {
        let count = if cfg!(rust_ipc_host) { 50_001 } else { 5_001 };
        assert_eq!(table_model::gap(count), Ok(()));
    }
}
