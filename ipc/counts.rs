// SPDX-License-Identifier: GPL-2.0

//! Who refers to a node, what its owner knows of that, and what follows from it.
//!
//! Pure: every step here is taken with the owner's `inner` locked, so an order of such steps is all
//! that there can be. `selftests/host/counts_model.rs` tries all of them.

use crate::uapi::Strength;

/// What the owner knows of one kind of reference.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub(super) struct Told {
    /// It has been told that there are references.
    pub(super) has: bool,
    /// It has not acknowledged that yet.
    pub(super) pending: bool,
}

/// The counts of a node. One that has come to its end stays there, as those of the kernel do: then
/// the node stays as long as its owner.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Hash)]
pub(super) struct Counts {
    /// Handles with a strong count.
    pub(super) strong_handles: u32,
    /// Handles, each an implicit weak reference.
    pub(super) handles: u32,
    /// Strong references that the driver holds: messages, unacknowledged `BR_ACQUIRE`.
    pub(super) local_strong: u32,
    /// Weak references that the driver holds: unacknowledged `BR_INCREFS`.
    pub(super) local_weak: u32,
    pub(super) strong: Told,
    pub(super) weak: Told,
}

fn add(count: &mut u32) {
    *count = count.saturating_add(1);
}

fn subtract(count: &mut u32) {
    if *count < u32::MAX {
        *count -= 1;
    }
}

/// What is left to do after a reference went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing.
    Stays,
    /// The owner has to be told.
    Tell,
    /// The node has served its time.
    Remove,
}

/// What the owner is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct News {
    /// `BR_INCREFS`.
    pub(super) increfs: bool,
    /// `BR_ACQUIRE`.
    pub(super) acquire: bool,
    /// `BR_RELEASE`.
    pub(super) release: bool,
    /// `BR_DECREFS`.
    pub(super) decrefs: bool,
    /// Nobody refers to the node any more.
    pub(super) is_last: bool,
}

impl Counts {
    /// Of a new node: with a weak reference that the driver holds.
    pub(super) fn new() -> Self {
        Counts {
            local_weak: 1,
            ..Counts::default()
        }
    }

    /// The node becomes the context manager's: from now on its owner is not told of references, and
    /// the driver holds one of each kind.
    pub(super) fn become_manager(&mut self) {
        add(&mut self.local_strong);
        add(&mut self.local_weak);
        self.strong.has = true;
        self.weak.has = true;
    }

    pub(super) fn is_strong(&self) -> bool {
        self.strong_handles > 0 || self.local_strong > 0
    }

    pub(super) fn is_weak(&self) -> bool {
        self.handles > 0 || self.local_weak > 0 || self.is_strong()
    }

    /// The driver takes a reference.
    pub(super) fn hold(&mut self, strength: Strength) {
        match strength {
            Strength::Strong => add(&mut self.local_strong),
            Strength::Weak => add(&mut self.local_weak),
        }
    }

    /// The driver gives one back. [`Counts::outcome`] says what follows.
    pub(super) fn let_go(&mut self, strength: Strength) {
        match strength {
            Strength::Strong => subtract(&mut self.local_strong),
            Strength::Weak => subtract(&mut self.local_weak),
        }
    }

    /// A handle came to be.
    pub(super) fn add_handle(&mut self) {
        add(&mut self.handles);
    }

    /// A handle's strong count became positive. Says whether the owner, who has just sent the object
    /// (`is_sent`), has to be told.
    ///
    /// [`None`] if no handle refers to the node strongly, unless it is the context manager's: a weak
    /// reference does not keep the object, so it cannot become a strong one by itself.
    pub(super) fn add_strong_handle(&mut self, is_manager: bool, is_sent: bool) -> Option<bool> {
        let is_known = self.strong.has;
        if !is_sent && self.strong_handles == 0 && !(is_manager && is_known) {
            return None;
        }
        add(&mut self.strong_handles);
        Some(is_sent && !is_known)
    }

    /// A handle's strong count became 0 (`Strong`), or the handle itself is gone (`Weak`).
    /// [`Counts::outcome`] says what follows.
    pub(super) fn remove_handle(&mut self, strength: Strength) {
        match strength {
            Strength::Strong => subtract(&mut self.strong_handles),
            Strength::Weak => subtract(&mut self.handles),
        }
    }

    /// The owner acknowledges `BR_ACQUIRE` or `BR_INCREFS`. Says whether there was one to
    /// acknowledge; [`Counts::outcome`] then says what follows.
    pub(super) fn acknowledge(&mut self, strength: Strength) -> bool {
        let (told, local) = match strength {
            Strength::Strong => (&mut self.strong, &mut self.local_strong),
            Strength::Weak => (&mut self.weak, &mut self.local_weak),
        };
        if !told.pending {
            return false;
        }
        told.pending = false;
        subtract(local);
        true
    }

    /// A reference of a kind went: what follows, while the owner is alive?
    pub(super) fn outcome(&self, strength: Strength) -> Outcome {
        let remains = match strength {
            Strength::Strong => self.is_strong(),
            Strength::Weak => self.handles > 0 || self.local_weak > 0,
        };
        if remains {
            return Outcome::Stays;
        }
        if self.strong.has || self.weak.has {
            return Outcome::Tell;
        }
        if self.is_weak() {
            return Outcome::Stays;
        }
        Outcome::Remove
    }

    /// The owner is told what changed since it was told last.
    pub(super) fn tell(&mut self) -> News {
        let (is_strong, is_weak) = (self.is_strong(), self.is_weak());
        let news = News {
            increfs: is_weak && !self.weak.has,
            acquire: is_strong && !self.strong.has,
            release: !is_strong && self.strong.has,
            decrefs: !is_weak && self.weak.has,
            is_last: !is_weak,
        };
        self.strong.has = is_strong;
        self.weak.has = is_weak;
        if news.increfs {
            self.weak.pending = true;
            add(&mut self.local_weak);
        }
        if news.acquire {
            self.strong.pending = true;
            add(&mut self.local_strong);
        }
        news
    }
}
