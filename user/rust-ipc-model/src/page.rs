// SPDX-License-Identifier: GPL-2.0

//! Pages. They are never really freed, so that it can be told when one is used that should have been.

use std::{cell::Cell, ptr::NonNull};

use kernel::bindings;

/// Pages of one execution, at most.
const MOST: usize = 12;

static PAGES: [bindings::page; MOST] = {
    let mut pages = [const { bindings::page { number: 0 } }; MOST];
    let mut at = 0;
    while at < MOST {
        pages[at].number = at;
        at += 1;
    }
    pages
};

/// What has become of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Unborn,
    Alive,
    Freed,
}

thread_local! {
    // All threads of an execution are one thread of the host's.
    static WRONG: Cell<Option<&'static str>> = const { Cell::new(None) };
    static FATES: Cell<[Fate; MOST]> = const { Cell::new([Fate::Unborn; MOST]) };
}

/// A new execution begins.
pub(crate) fn begin() {
    FATES.set([Fate::Unborn; MOST]);
    WRONG.set(None);
}

/// Takes note if something is not as it has to be. (To panic at once would be to do so with locks
/// held, which loom does not survive.)
pub(crate) fn require(is_right: bool, otherwise: &'static str) {
    if !is_right {
        WRONG.set(WRONG.get().or(Some(otherwise)));
    }
}

/// What was wrong first.
pub(crate) fn wrong() -> Option<&'static str> {
    WRONG.get()
}

fn set(number: usize, fate: Fate) {
    let mut fates = FATES.get();
    fates[number] = fate;
    FATES.set(fates);
}

/// Whether a page has been allocated and not been freed.
pub(crate) fn is_alive(number: usize) -> bool {
    FATES.get()[number] == Fate::Alive
}

/// How many have been allocated and not been freed.
pub(crate) fn alive() -> usize {
    FATES
        .get()
        .iter()
        .filter(|&&fate| fate == Fate::Alive)
        .count()
}

/// A page that is owned.
pub(crate) struct AreaPage(NonNull<bindings::page>);

impl AreaPage {
    pub(crate) fn alloc() -> Self {
        let number = FATES.get().iter().position(|&fate| fate == Fate::Unborn);
        let number = number.expect("there are not enough pages");
        set(number, Fate::Alive);
        Self(NonNull::from(&PAGES[number]))
    }

    pub(crate) fn into_raw(self) -> NonNull<bindings::page> {
        let page = self.0;
        std::mem::forget(self);
        page
    }

    pub(crate) fn as_non_null(&self) -> NonNull<bindings::page> {
        self.0
    }

    pub(crate) fn number(&self) -> usize {
        number(self.0)
    }
}

impl Drop for AreaPage {
    fn drop(&mut self) {
        require(is_alive(self.number()), "a page is freed twice");
        set(self.number(), Fate::Freed);
    }
}

/// A page that was taken out of the table, and may still be on the list.
pub(crate) struct Removed(NonNull<bindings::page>);

impl Removed {
    #[allow(unsafe_code, reason = "the real one is")]
    pub(crate) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        Self(page)
    }

    pub(crate) fn number(&self) -> usize {
        number(self.0)
    }

    /// The page, to be freed.
    pub(crate) fn into_unlisted(self) -> AreaPage {
        AreaPage(self.0)
    }
}

/// Which page it is.
pub(crate) fn number(page: NonNull<bindings::page>) -> usize {
    let offset = page.as_ptr() as usize - PAGES.as_ptr() as usize;
    offset / size_of::<bindings::page>()
}

/// The page of that number.
pub(crate) fn numbered(number: usize) -> NonNull<bindings::page> {
    NonNull::from(&PAGES[number])
}
