// SPDX-License-Identifier: GPL-2.0

//! Stands for the little of the kernel crate that `vma/table.rs` needs, with atomics whose every
//! access is a point where loom may go on with another thread.

/// What C has.
#[allow(non_camel_case_types, reason = "the names are C's")]
pub mod bindings {
    /// `struct page`: a number to know it by.
    #[repr(C, align(64))]
    pub struct page {
        /// The number.
        pub number: usize,
    }
}

/// Checks a condition when this is compiled.
#[macro_export]
macro_rules! static_assert {
    ($condition:expr) => {
        const _: () = assert!($condition);
    };
}

/// Synchronisation.
pub mod sync {
    /// Atomic types.
    pub mod atomic {
        use std::sync::OnceLock;

        use loom::sync::atomic::{AtomicUsize, Ordering};

        /// An order of accesses.
        pub trait Order {
            /// What it is elsewhere.
            const ORDERING: Ordering;
        }

        macro_rules! orders {
            ($($(#[$doc:meta])* $name:ident: $ordering:ident,)*) => {
                $(
                    $(#[$doc])*
                    pub struct $name;

                    impl Order for $name {
                        const ORDERING: Ordering = Ordering::$ordering;
                    }
                )*
            };
        }

        orders! {
            /// None.
            Relaxed: Relaxed,
            /// Before what follows.
            Acquire: Acquire,
            /// Before what follows, after what was before.
            Full: SeqCst,
        }

        /// An atomic value. It comes to be when it is first used, as one of loom's cannot be a
        /// constant.
        pub struct Atomic<T>(T, OnceLock<AtomicUsize>);

        impl Atomic<usize> {
            /// With this value.
            pub const fn new(value: usize) -> Self {
                Self(value, OnceLock::new())
            }

            fn get(&self) -> &AtomicUsize {
                self.1.get_or_init(|| AtomicUsize::new(self.0))
            }

            /// The value.
            pub fn load<O: Order>(&self, _: O) -> usize {
                self.get().load(O::ORDERING)
            }

            /// Changes the value if it is `old`. The error is what it is.
            pub fn cmpxchg<O: Order>(&self, old: usize, new: usize, _: O) -> Result<usize, usize> {
                self.get()
                    .compare_exchange(old, new, O::ORDERING, Ordering::Relaxed)
            }
        }
    }
}
