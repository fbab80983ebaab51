// SPDX-License-Identifier: GPL-2.0

//! The table of an area's pages: one word for each.
//!
//! Entries change atomically. Who may do what is in the documentation of each operation; the area's
//! lock excludes users of buffers from each other, the install lock excludes those who put pages in
//! from each other and from the shrinker, and where neither does, whoever changes an entry first
//! wins.

use core::ptr::NonNull;

use kernel::{
    bindings,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
};

use super::page::{AreaPage, Removed};

/// What an entry says: a pointer to a page, or null, and the flags below.
///
/// A `struct page` is aligned to 8 bytes or more, which leaves three bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(usize);

kernel::static_assert!(align_of::<bindings::page>() > Word::FLAGS);

/// What a page is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Nothing. (An absent page that is unused is a word of zero.)
    Idle,
    /// Nothing, but it has been used since it was listed.
    IdleAgain,
    /// A buffer covers some of it.
    Covered,
    /// A buffer covers all of it, and it is not mapped yet.
    Pending,
}

impl Word {
    const USE: usize = 3;
    const LISTED: usize = 4;
    const FLAGS: usize = Self::USE | Self::LISTED;

    fn new(page: Option<NonNull<bindings::page>>, used: Use, listed: bool) -> Self {
        // CAST: an address, which `page` below makes a pointer again.
        let page = page.map_or(0, |page| page.as_ptr() as usize);
        let used = match used {
            Use::Idle => 0,
            Use::IdleAgain => 1,
            Use::Covered => 2,
            Use::Pending => 3,
        };
        Self(page | used | if listed { Self::LISTED } else { 0 })
    }

    /// The page, if there is one.
    pub(super) fn page(self) -> Option<NonNull<bindings::page>> {
        NonNull::new((self.0 & !Self::FLAGS) as *mut bindings::page)
    }

    pub(super) fn used(self) -> Use {
        match self.0 & Self::USE {
            0 => Use::Idle,
            1 => Use::IdleAgain,
            2 => Use::Covered,
            _ => Use::Pending,
        }
    }

    /// Whether the page is on the shrinker's list, or about to be.
    pub(super) fn is_listed(self) -> bool {
        self.0 & Self::LISTED != 0
    }
}

/// What [`Slot::release`] leaves to be done.
pub(super) enum Released {
    /// Nothing.
    Done,
    /// The page is to be put on the shrinker's list.
    List(NonNull<bindings::page>),
    /// The page is not kept.
    Free(Removed),
}

/// An entry of the table.
///
/// # Invariants
///
/// A page that the word points to came from [`AreaPage::into_raw`] and is owned by the entry. (It is
/// not freed with the table: the area takes all pages out before, as they may be listed.)
pub(super) struct Slot(Atomic<usize>);

impl Slot {
    /// An absent page.
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    pub(super) fn load(&self) -> Word {
        Word(self.0.load(Acquire))
    }

    fn exchange(&self, old: Word, new: Word) -> bool {
        self.0.cmpxchg(old.0, new.0, Full).is_ok()
    }

    /// Changes the word to what `f` makes of it. Returns the old word.
    fn update(&self, f: impl Fn(Word) -> Word) -> Word {
        let mut old = self.0.load(Relaxed);
        loop {
            match self.0.cmpxchg(old, f(Word(old)).0, Full) {
                Ok(old) => return Word(old),
                Err(current) => old = current,
            }
        }
    }

    /// A buffer covers the page from now on. Says whether the page is there.
    ///
    /// For the holder of the area's lock; if the buffer covers all of the page, for who has it.
    pub(super) fn acquire(&self) -> bool {
        let old = self.update(|old| Word::new(old.page(), Use::Covered, old.is_listed()));
        old.page().is_some()
    }

    /// No buffer covers the page any more, or the one that covers all of it is being freed: the page
    /// is idle, and kept if `keep` and it is mapped. For the holder of the area's lock.
    ///
    /// # Safety
    ///
    /// Nobody uses the page from now on because of a buffer that covers it.
    pub(super) unsafe fn release(&self, keep: bool) -> Released {
        let is_kept = |old: Word| keep && old.page().is_some() && old.used() != Use::Pending;
        let old = self.update(|old| {
            if !is_kept(old) {
                return Word::new(None, Use::Idle, false);
            }
            let used = if old.is_listed() {
                Use::IdleAgain
            } else {
                Use::Idle
            };
            Word::new(old.page(), used, true)
        });
        match old.page() {
            None => Released::Done,
            // SAFETY: By the type invariant the page is from `into_raw`. The entry has just been
            // emptied of it.
            Some(page) if !is_kept(old) => Released::Free(unsafe { Removed::from_raw(page) }),
            Some(_) if old.is_listed() => Released::Done,
            Some(page) => Released::List(page),
        }
    }

    /// Takes the page away if it is idle. For the holder of the area's lock.
    pub(super) fn evict(&self) -> Option<Removed> {
        let is_idle = |word: Word| matches!(word.used(), Use::Idle | Use::IdleAgain);
        if self.load() == Word(0) {
            return None;
        }
        let old = self.update(|old| {
            if is_idle(old) {
                Word::new(None, Use::Idle, false)
            } else {
                old
            }
        });
        let page = old.page().filter(|_| is_idle(old))?;
        // SAFETY: By the type invariant the page is from `into_raw`. The entry has just been emptied
        // of it.
        Some(unsafe { Removed::from_raw(page) })
    }

    /// Puts a page in that is mapped. For the holder of the install lock.
    ///
    /// Hands the page back unless the one that was here is absent, and in use.
    pub(super) fn put(&self, page: AreaPage) -> Result<(), AreaPage> {
        self.fill(page, Use::Covered)
    }

    /// Puts a page in that is not mapped. For who has the only buffer that covers any of the page.
    ///
    /// Hands the page back unless the one that was here is absent, and in use.
    pub(super) fn put_pending(&self, page: AreaPage) -> Result<(), AreaPage> {
        self.fill(page, Use::Pending)
    }

    fn fill(&self, page: AreaPage, used: Use) -> Result<(), AreaPage> {
        let absent = Word::new(None, Use::Covered, false);
        if !self.exchange(absent, Word::new(Some(page.as_non_null()), used, false)) {
            return Err(page);
        }
        // INVARIANT: The page is the entry's now.
        page.into_raw();
        Ok(())
    }

    /// The pending page is mapped now. For who has the only buffer that covers any of it.
    pub(super) fn set_mapped(&self) {
        self.update(|old| Word::new(old.page(), Use::Covered, old.is_listed()));
    }

    /// Takes the idle page away. Says whether it did: not if the entry is not `old` any more. For
    /// the shrinker, with the install lock and the lock of its list.
    pub(super) fn reclaim(&self, old: Word) -> Option<Removed> {
        let page = old.page()?;
        if old.used() != Use::Idle || !self.exchange(old, Word::new(None, Use::Idle, false)) {
            return None;
        }
        // SAFETY: By the type invariant the page is from `into_raw`. The entry has just been emptied
        // of it.
        Some(unsafe { Removed::from_raw(page) })
    }

    /// Gives an idle page that was used again another round. For the shrinker, with the lock of its
    /// list.
    pub(super) fn forget_use(&self, old: Word) -> bool {
        self.exchange(old, Word::new(old.page(), Use::Idle, old.is_listed()))
    }

    /// Notes that a page in use is not on the list any more. Says whether it did: not if the entry
    /// is not `old` any more. For the shrinker, with the lock of its list, before it takes the page
    /// off.
    pub(super) fn unlist(&self, old: Word) -> bool {
        self.exchange(old, Word::new(old.page(), old.used(), false))
    }
}
