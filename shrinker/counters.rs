// SPDX-License-Identifier: GPL-2.0

//! How often what happened, readable in debugfs.

use core::ptr;

use kernel::{
    bindings, c_str,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// A number that only goes up.
pub(crate) struct Counter(Atomic<u64>);

impl Counter {
    /// Counts one more.
    pub(crate) fn count(&self) {
        self.0.add(1, Relaxed);
    }
}

/// A directory in debugfs, removed with all that is in it when this is dropped.
///
/// The files in it have operations of the kernel's own, not of a module: one that is still open when
/// the directory is removed reads as an error from then on, and does not keep the module. (The
/// kernel crate's debugfs files have operations in the module, and nothing keeps those while a file
/// is open.)
///
/// # Invariants
///
/// What `debugfs_create_dir()` returned: a directory, or an error, which the functions of debugfs
/// take for "nothing to do".
pub(super) struct Directory(*mut bindings::dentry);

// SAFETY: Any thread may remove a directory.
unsafe impl Send for Directory {}
// SAFETY: debugfs has its own locks.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes a directory of this name. May sleep.
    pub(super) fn new(name: &CStr) -> Self {
        // SAFETY: The name is a string. Without a parent it goes into the root of debugfs.
        // INVARIANT: As it says.
        Self(unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), ptr::null_mut()) })
    }

    /// Makes a directory in this one, which goes with it. May sleep.
    fn subdirectory(&self, name: &CStr) -> *mut bindings::dentry {
        // SAFETY: The name is a string, and by the type invariant the parent is as it may be.
        unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), self.0) }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is a directory, or nothing to remove. It waits for
        // those who read a file.
        unsafe { bindings::debugfs_remove(self.0) };
    }
}

macro_rules! counters {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// What became of pages. Each has a file in debugfs, of its name, in `reclaim` of the
        /// module's directory.
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
                let parent = directory.subdirectory(c"reclaim");
                $(
                    let name = c_str!(stringify!($name)).as_char_ptr();
                    // SAFETY: The name is a string, the parent a directory or an error, and the
                    // caller keeps the counter. debugfs only ever reads it, as a whole.
                    unsafe {
                        bindings::debugfs_create_u64(name, 0o444, parent, self.$name.0.as_ptr())
                    };
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
