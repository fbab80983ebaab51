// SPDX-License-Identifier: GPL-2.0

//! What to do with an idle page, by what the shrinker found out about its area.
//!
//! The shrinker may not wait, so all it can do is try to lock the VMA at the area's address.
//! Failure to is ambiguous: there may be no VMA, or somebody changes it just now. Success is, too:
//! the area may be gone and somebody else's mapping be there. Whether the area is mapped tells them
//! apart, because its VMA's `close` comes after all readers of the VMA have let go.

/// What to do with an idle page. `G` is the guard of a VMA's read lock, or stands for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision<G> {
    /// The area is gone, its page table entries with it: reclaim.
    Gone,
    /// It is the area's VMA, and stays while the guard is there: reclaim and zap.
    Ours(G),
    /// The area is gone, and another VMA is at its address, whose lock has been released: reclaim,
    /// and leave that VMA alone.
    Impostor,
    /// The area is mapped, but its VMA is being changed: leave the page for another time.
    LostRace,
}

/// Decides by the VMA that could be locked at the area's address, if any, and whether the area is
/// mapped. The latter must have been found out after the former.
pub(crate) fn decide<G>(vma: Option<G>, is_mapped: bool) -> Decision<G> {
    match (vma, is_mapped) {
        (None, false) => Decision::Gone,
        (Some(vma), true) => Decision::Ours(vma),
        (Some(vma), false) => {
            drop(vma);
            Decision::Impostor
        }
        (None, true) => Decision::LostRace,
    }
}

#[cfg(any(test, rust_ipc_kunit))]
#[cfg_attr(rust_ipc_kunit, kernel::prelude::kunit_tests(rust_ipc_shrinker))]
mod tests {
    use core::cell::Cell;

    use super::{decide, Decision};

    /// Stands for a lock, and counts how often it is released.
    struct Guard<'a>(&'a Cell<u32>);

    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn no_vma_and_not_mapped_is_gone() {
        assert!(matches!(decide(None::<()>, false), Decision::Gone));
    }

    #[test]
    fn vma_and_mapped_is_ours_and_stays_locked() {
        let released = Cell::new(0);
        let decision = decide(Some(Guard(&released)), true);
        assert!(matches!(decision, Decision::Ours(_)));
        assert_eq!(released.get(), 0);
        drop(decision);
        assert_eq!(released.get(), 1);
    }

    #[test]
    fn vma_and_not_mapped_is_an_impostor_and_unlocked() {
        let released = Cell::new(0);
        let decision = decide(Some(Guard(&released)), false);
        assert_eq!(released.get(), 1);
        assert!(matches!(decision, Decision::Impostor));
        drop(decision);
        assert_eq!(released.get(), 1);
    }

    #[test]
    fn no_vma_but_mapped_is_a_lost_race() {
        assert!(matches!(decide(None::<()>, true), Decision::LostRace));
    }
}
