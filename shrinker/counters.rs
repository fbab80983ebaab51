// SPDX-License-Identifier: GPL-2.0

//! How often what happened, readable in debugfs.

use kernel::{
    c_str,
    sync::atomic::{Atomic, Relaxed},
};

use crate::watch::debugfs::Directory;

/// A number that only goes up.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    /// Counts one more.
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// Counts `more`.
    pub(crate) fn add(&self, more: u64) {
        self.0.add(more, Relaxed);
    }
}

macro_rules! counters {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// What became of pages. Each has a file in debugfs, of its name.
        pub(crate) struct Counters {
            $($(#[$attribute])* pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(super) const fn new() -> Self {
                Self { $($name: Counter(Atomic::new(0)),)* }
            }

            /// Makes the files. May sleep.
            ///
            /// # Safety
            ///
            /// The counters must stay where they are until the directory has been dropped.
            pub(super) unsafe fn publish(&self, directory: &Directory) {
                $(
                    let name = c_str!(stringify!($name));
                    // SAFETY: The caller keeps the counter, which is atomic.
                    unsafe { directory.number(name, self.$name.0.as_ptr()) };
                )*
            }
        }
    };
}

counters! {
    /// Reclaimed: the area was gone. First row of [`decide`](super::decide).
    gone,
    /// Reclaimed and zapped from the area's VMA. Second row.
    zapped,
    /// Reclaimed: another VMA was at the area's address. Third row.
    impostor,
    /// Left for later: the area's VMA was being changed. Fourth row.
    lost_race,
    /// Left for later: somebody was installing pages in the area, or just took the page.
    contended,
    /// Kept for another round: used again since it was listed.
    rotated,
    /// Off the list: in use. It will be listed when it is idle again.
    in_use,
    /// A page table entry was where a page was to be installed; it was zapped first.
    stale_entry,
}
