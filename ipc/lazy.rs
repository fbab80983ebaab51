// SPDX-License-Identifier: GPL-2.0

//! Vectors that mostly stay empty, and lists that mostly have a single element.

use core::ops::{Deref, DerefMut};

use kernel::{alloc::AllocError, prelude::*};

/// Memory for so many is taken at once, where as many are to come.
pub(super) const USUAL: usize = 32;

/// A vector that is made when something is put into it. (Dropping a [`KVVec`] calls the allocator,
/// even if it has no memory.)
pub(super) struct LazyVec<T>(Option<KVVec<T>>);

impl<T> LazyVec<T> {
    pub(super) const fn new() -> Self {
        LazyVec(None)
    }

    /// Makes room for so many more. May sleep. `ENOMEM`.
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), AllocError> {
        self.0
            .get_or_insert_with(KVVec::new)
            .reserve(count, GFP_KERNEL_ACCOUNT)
    }

    /// Adds `value` if there is room, and drops it if there is none.
    pub(super) fn push_within_capacity(&mut self, value: T) -> Result<(), AllocError> {
        let list = self.0.as_mut().ok_or(AllocError)?;
        list.push_within_capacity(value).map_err(|_| AllocError)
    }

    /// Drops those that `keep` says no to.
    fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        if let Some(list) = &mut self.0 {
            list.retain(keep);
        }
    }

    /// The vector, if anything was ever put into it.
    pub(super) fn into_inner(self) -> Option<KVVec<T>> {
        self.0
    }
}

impl<T> Deref for LazyVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<T> DerefMut for LazyVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

/// A list, in order. A single element takes no memory of its own.
pub(super) struct List<T> {
    first: Option<T>,
    rest: LazyVec<T>,
}

impl<T> List<T> {
    pub(super) const fn new() -> Self {
        List {
            first: None,
            rest: LazyVec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for so many more. May sleep. `ENOMEM`.
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), AllocError> {
        if count <= 1 && self.is_empty() {
            Ok(())
        } else {
            self.rest.reserve(count)
        }
    }

    /// Adds `value` if there is room, and drops it if there is none.
    pub(super) fn push_within_capacity(&mut self, value: T) -> Result<(), AllocError> {
        if self.is_empty() {
            self.first = Some(value);
            return Ok(());
        }
        self.rest.push_within_capacity(value)
    }

    /// Adds `value`. May sleep. `ENOMEM`.
    pub(super) fn push(&mut self, value: T) -> Result<(), AllocError> {
        self.reserve(1)?;
        self.push_within_capacity(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        Iterator::chain(self.first.iter(), &*self.rest)
    }

    /// Drops those that `keep` says no to.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.first.take_if(|value| !keep(value));
        self.rest.retain(|value| keep(value));
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        Iterator::chain(self.first.iter_mut(), &mut *self.rest)
    }

    /// Everything in it.
    pub(super) fn into_elements(self) -> impl Iterator<Item = T> {
        let rest = self.rest.into_inner().into_iter().flatten();
        Iterator::chain(self.first.into_iter(), rest)
    }
}
