// SPDX-License-Identifier: GPL-2.0

//! Where chunks live: the kernel's heap, or the host's when this is built for testing.

use core::ops::DerefMut;

/// A kind of heap.
pub(crate) trait Storage {
    /// An owning pointer into that heap.
    type Box<T>: DerefMut<Target = T>;
    /// Owns a number of elements in that heap.
    type Array<T>: DerefMut<Target = [T]>;
}

/// The heap of the environment that this is built for.
pub(crate) struct Heap;

#[cfg(not(rust_ipc_host))]
mod kernel_heap {
    use kernel::{
        alloc::{AllocError, Flags},
        prelude::*,
    };

    use super::{
        super::{slab::Slot, Chunk},
        Heap, Storage,
    };

    impl Storage for Heap {
        type Box<T> = KBox<T>;
        type Array<T> = KVVec<T>;
    }

    impl<T: Slot, const N: usize, const FANOUT: usize> Chunk<T, Heap, N, FANOUT> {
        /// Allocates an empty chunk, ready to be handed in.
        ///
        /// May sleep if `flags` say so.
        pub(crate) fn new(flags: Flags) -> Result<KBox<Self>, AllocError> {
            // In place: a chunk may be too large for the stack.
            KBox::init(
                init!(Self {
                    slots <- pin_init::init_array_from_fn(|_| T::VACANT),
                    children <- pin_init::init_array_from_fn(|_| None),
                }),
                flags,
            )
            .map_err(|_| AllocError)
        }
    }
}

#[cfg(rust_ipc_host)]
mod host_heap {
    use super::{
        super::{slab::Slot, Chunk},
        Heap, Storage,
    };

    impl Storage for Heap {
        type Box<T> = Box<T>;
        type Array<T> = Vec<T>;
    }

    impl<T: Slot, const N: usize, const FANOUT: usize> Chunk<T, Heap, N, FANOUT> {
        /// Allocates an empty chunk, ready to be handed in.
        pub(crate) fn new() -> Box<Self> {
            Box::new(Self {
                slots: core::array::from_fn(|_| T::VACANT),
                children: core::array::from_fn(|_| None),
            })
        }
    }
}
