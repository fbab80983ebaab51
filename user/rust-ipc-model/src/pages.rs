// SPDX-License-Identifier: GPL-2.0

//! Senders, the shrinker and the end of the mapping, over an area of two pages.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use loom::{
    model::Builder,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard,
    },
    thread,
};

use crate::{
    decision::{decide, Decision},
    page::{self, require, AreaPage, Removed},
    table::{Released, Slot, Use},
};

/// Pages of the area.
const PAGES: usize = 2;
/// What a page table entry of another mapping says.
const FOREIGN: usize = 1000;

/// What is mapped at the area's address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Vma {
    Ours,
    None,
    Other,
}

/// What a driver does wrong that has this fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// The shrinker takes a VMA that it cannot lock for none.
    LostRaceIsGone,
    /// The shrinker asks whether the area is mapped before it locks the VMA.
    AsksBeforeItLocks,
    /// The shrinker lets others install pages before it zaps.
    ZapsUnlocked,
    /// The shrinker frees the page without zapping.
    DoesNotZap,
    /// A sender puts its page in without looking whether there is one by now.
    InstallsTwice,
    /// A page that is not kept stays on the shrinker's list.
    StaysListed,
    /// A buffer is freed, and its pages stay as they are.
    NeverIdle,
}

/// `Area` and `Backing`.
struct Area {
    fault: Fault,
    slots: [Slot; PAGES],
    /// `Area::inner`: how many buffers cover each page, which is what `Ranges` say.
    inner: Mutex<[usize; PAGES]>,
    /// `Backing::install`.
    install: Mutex<()>,
    /// `Backing::is_closed`.
    is_closed: AtomicBool,
    /// The shrinker's list, by its lock: page indices and numbers.
    list: Mutex<Vec<(usize, usize)>>,
    /// The VMA's lock.
    vma: RwLock<Vma>,
    /// The page tables, by their lock: numbers of pages.
    entries: Mutex<[Option<usize>; PAGES]>,
}

/// `AllocError::Unmapped`.
#[derive(Debug)]
struct Unmapped;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}

impl Area {
    fn new(fault: Fault) -> Arc<Self> {
        page::begin();
        Arc::new(Self {
            fault,
            slots: [const { Slot::new() }; PAGES],
            inner: Mutex::new([0; PAGES]),
            install: Mutex::new(()),
            is_closed: AtomicBool::new(false),
            list: Mutex::new(Vec::new()),
            vma: RwLock::new(Vma::Ours),
            entries: Mutex::new([None; PAGES]),
        })
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// A sender: `Area::reserve()`, `Buffer::install()`, delivery, `Area::release()`. `edges` are the
    /// pages that it shares, `whole` those that it covers all of.
    fn message(&self, edges: Range<usize>, whole: Range<usize>) {
        if self.reserve(edges.clone(), whole.clone()).is_ok() {
            self.look(edges.start.min(whole.start)..edges.end.max(whole.end));
        }
        self.release(edges, whole);
    }

    /// `Area::reserve()`, `Buffer::populate()`, `Buffer::install()`.
    fn reserve(&self, edges: Range<usize>, whole: Range<usize>) -> Result<(), Unmapped> {
        let mut inner = locked(&self.inner);
        edges
            .clone()
            .chain(whole.clone())
            .for_each(|at| inner[at] += 1);
        edges.clone().for_each(|at| {
            self.slots[at].acquire();
        });
        drop(inner);
        whole.clone().for_each(|at| {
            self.slots[at].acquire();
        });
        for at in edges {
            if self.slots[at].load().page().is_none() {
                self.install_zeroed(at)?;
            }
        }
        for at in whole.clone() {
            if self.slots[at].load().page().is_none() {
                let left = self.slots[at].put_pending(AreaPage::alloc());
                require(left.is_ok(), "a whole page is another's");
            }
        }
        let is_pending = |at: &usize| self.slots[*at].load().used() == Use::Pending;
        if whole.clone().any(|at| is_pending(&at)) {
            self.with_vma(|| {
                for at in whole.filter(is_pending) {
                    if let Some(page) = self.slots[at].load().page() {
                        self.insert(at, page::number(page));
                    }
                    self.slots[at].set_mapped();
                }
            })?;
        }
        Ok(())
    }

    /// `Backing::install_zeroed()`.
    fn install_zeroed(&self, at: usize) -> Result<(), Unmapped> {
        let new = AreaPage::alloc();
        let left = self.with_vma(|| {
            if self.slots[at].load().page().is_some() && self.fault != Fault::InstallsTwice {
                return Some(new);
            }
            self.insert(at, new.number());
            self.slots[at].put(new).err()
        })?;
        drop(left);
        Ok(())
    }

    /// `Backing::with_vma()` and `own()`. (Whoever may sleep waits for writers, and both of its ways
    /// to lock the VMA come to the same here.)
    fn with_vma<R>(&self, f: impl FnOnce() -> R) -> Result<R, Unmapped> {
        let _install = locked(&self.install);
        let _vma = self.vma.read().expect("nobody panics with it");
        if self.is_closed() {
            return Err(Unmapped);
        }
        Ok(f())
    }

    /// `Backing::insert()`.
    fn insert(&self, at: usize, number: usize) {
        let mut entries = locked(&self.entries);
        // Nothing but `madvise()` by the receiver leaves an entry behind.
        require(entries[at].is_none(), "a page is put where there is one");
        entries[at] = Some(number);
    }

    /// What the receiver finds while it has the buffer.
    fn look(&self, pages: Range<usize>) {
        let vma = self.vma.read().expect("nobody panics with it");
        for at in pages {
            let page = self.slots[at].load().page();
            let Some(number) = page.map(page::number) else {
                require(false, "a page that is in use is gone");
                continue;
            };
            require(page::is_alive(number), "a page that is in use is freed");
            if *vma == Vma::Ours && !self.is_closed() {
                let entry = locked(&self.entries)[at];
                require(entry == Some(number), "the receiver sees another page");
            }
        }
    }

    /// `Area::release()` and `idle()`.
    fn release(&self, edges: Range<usize>, whole: Range<usize>) {
        let mut unused = Vec::new();
        let mut inner = locked(&self.inner);
        let keep = !self.is_closed();
        for at in edges.chain(whole) {
            inner[at] -= 1;
            if inner[at] > 0 || self.fault == Fault::NeverIdle {
                continue;
            }
            #[allow(unsafe_code, reason = "the real one is")]
            // SAFETY: The buffer is given up.
            match unsafe { self.slots[at].release(keep) } {
                Released::Done => {}
                Released::List(page) => locked(&self.list).push((at, page::number(page))),
                Released::Free(page) => unused.push(self.unlist(page)),
            }
        }
        drop(inner);
        drop(unused);
    }

    /// `Backing::unlist()`.
    fn unlist(&self, page: Removed) -> AreaPage {
        if self.fault != Fault::StaysListed {
            locked(&self.list).retain(|&(_, number)| number != page.number());
        }
        page.into_unlisted()
    }

    /// A walk along the list: `Reclaim::reclaim()` for the first entry.
    fn shrink(&self) {
        let mut list = locked(&self.list);
        let Some(&(at, number)) = list.first() else {
            return;
        };
        require(
            page::is_alive(number),
            "a page that is freed is on the list",
        );
        let slot = &self.slots[at];
        let word = slot.load();
        let is_same = word.page() == Some(page::numbered(number));
        match word.used() {
            Use::Covered if is_same && slot.unlist(word) => {
                list.remove(0);
                return;
            }
            Use::IdleAgain if is_same && slot.forget_use(word) => return list.rotate_left(1),
            Use::Idle if is_same => {}
            _ => return list.rotate_left(1),
        }
        let Ok(install) = self.install.try_lock() else {
            return list.rotate_left(1);
        };
        let early = !self.is_closed();
        let vma = self.lock_vma();
        let is_mapped = match self.fault {
            Fault::AsksBeforeItLocks => early,
            _ => !self.is_closed(),
        };
        let mut decision = decide(vma, is_mapped);
        if matches!(decision, Decision::LostRace) {
            if self.fault != Fault::LostRaceIsGone {
                return list.rotate_left(1);
            }
            decision = Decision::Gone;
        }
        let Some(page) = slot.reclaim(word) else {
            return list.rotate_left(1);
        };
        list.remove(0);
        drop(list);
        let install = match self.fault {
            Fault::ZapsUnlocked => {
                drop(install);
                None
            }
            _ => Some(install),
        };
        if let Decision::Ours(vma) = decision {
            let is_ours = *vma == Vma::Ours;
            let mut entries = locked(&self.entries);
            if self.fault != Fault::DoesNotZap {
                entries[at] = None;
            }
            require(is_ours, "another's mapping is zapped");
        }
        drop(install);
        self.is_mapped_nowhere(&page.into_unlisted(), at);
    }

    /// `lock_vma_under_rcu()`: `None` without a VMA, or while there is a writer.
    fn lock_vma(&self) -> Option<RwLockReadGuard<'_, Vma>> {
        let vma = self.vma.try_read().ok()?;
        (*vma != Vma::None).then_some(vma)
    }

    /// Looked at by who is about to free a page.
    fn is_mapped_nowhere(&self, page: &AreaPage, at: usize) {
        // While the VMA goes, its entries may be there for a moment longer.
        let _vma = self.vma.read().expect("nobody panics with it");
        let entry = locked(&self.entries)[at];
        require(
            entry != Some(page.number()),
            "a page that is freed is mapped",
        );
    }

    /// `munmap()`, by the core: entries go, then `close()` is called, and all of it with the VMA
    /// locked. Then another mapping takes the place.
    fn unmap(&self) {
        let mut vma = self.vma.write().expect("nobody panics with it");
        *locked(&self.entries) = [None; PAGES];
        self.is_closed.store(true, Ordering::Release);
        *vma = Vma::None;
        drop(vma);
        let mut vma = self.vma.write().expect("nobody panics with it");
        *vma = Vma::Other;
        *locked(&self.entries) = [Some(FOREIGN); PAGES];
    }

    /// `mprotect()` and the like: the VMA is changed and stays.
    fn change(&self) {
        let vma = self.vma.write().expect("nobody panics with it");
        thread::yield_now();
        drop(vma);
    }

    /// The file is closed, and nobody uses the area any more: `Area::drain()`.
    fn drain(&self) {
        for slot in &self.slots {
            drop(slot.evict().map(|page| self.unlist(page)));
        }
        require(locked(&self.list).is_empty(), "a page stays on the list");
        require(page::alive() == 0, "a page is never freed");
        if self.is_closed() {
            let entries = *locked(&self.entries);
            let is_whole = entries == [Some(FOREIGN); PAGES];
            require(is_whole, "another's mapping was changed");
        }
    }
}

/// Tries all orders of these with at most so many preemptions, after two messages whose pages are
/// idle and listed. How many orders there are.
fn try_all(fault: Fault, preemptions: usize, threads: &'static [fn(&Area)]) -> usize {
    // One of loom's would be a step.
    let orders = std::sync::Arc::new(AtomicUsize::new(0));
    let tried = orders.clone();
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        tried.fetch_add(1, Relaxed);
        let area = Area::new(fault);
        area.message(0..1, 1..2);
        let running: Vec<_> = threads
            .iter()
            .map(|run| {
                let area = area.clone();
                thread::spawn(move || run(&area))
            })
            .collect();
        for thread in running {
            thread.join().expect("it has not panicked");
        }
        area.drain();
        drop(area);
        assert_eq!(page::wrong(), None);
    });
    orders.load(Relaxed)
}

/// Shares page 0.
fn small(area: &Area) {
    area.message(0..1, 0..0);
}

/// Shares page 0, has page 1 for itself.
fn large(area: &Area) {
    area.message(0..1, 1..2);
}

/// Reclaims what it can.
fn shrinker(area: &Area) {
    area.shrink();
    area.shrink();
}

fn unmapper(area: &Area) {
    area.unmap();
}

fn changer(area: &Area) {
    area.change();
}

/// The driver as it is passes. `least` says how many orders there are at least: of fewer, something
/// that they depend on is missing.
fn passes(preemptions: usize, least: usize, threads: &'static [fn(&Area)]) {
    let orders = try_all(Fault::None, preemptions, threads);
    println!("{orders} orders, with at most {preemptions} preemptions");
    assert!(orders >= least);
}

#[test]
fn messages_and_reclaim() {
    passes(5, 10_000, &[large, shrinker]);
}

#[test]
fn two_senders_and_reclaim() {
    passes(3, 50_000, &[small, small, shrinker]);
}

#[test]
fn messages_and_the_end() {
    passes(5, 150, &[large, unmapper]);
}

#[test]
fn messages_reclaim_and_the_end() {
    passes(3, 50_000, &[small, shrinker, unmapper]);
}

#[test]
fn messages_reclaim_and_a_change() {
    passes(3, 15_000, &[small, shrinker, changer]);
}

#[test]
fn each_fault_is_found() {
    for (fault, threads) in [
        (Fault::LostRaceIsGone, &[shrinker as fn(&Area), changer][..]),
        (Fault::AsksBeforeItLocks, &[shrinker as fn(&Area), unmapper]),
        (Fault::ZapsUnlocked, &[small as fn(&Area), shrinker]),
        (Fault::DoesNotZap, &[shrinker as fn(&Area), small]),
        (Fault::InstallsTwice, &[small as fn(&Area), small, shrinker]),
        (Fault::StaysListed, &[small as fn(&Area), unmapper]),
        (Fault::NeverIdle, &[small as fn(&Area), unmapper]),
    ] {
        let found = std::panic::catch_unwind(|| try_all(fault, 2, threads));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}
