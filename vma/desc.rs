// SPDX-License-Identifier: GPL-2.0

//! A VMA to be: the argument of `file_operations.mmap_prepare`.
//!
//! C header: `struct vm_area_desc` in `include/linux/mm_types.h`.

use kernel::{
    bindings,
    error::{code::EINVAL, Result},
    mm::virt::{flags, vm_flags_t},
    types::Opaque,
};

use super::ops::VmOps;

/// A description of a VMA that is about to be created.
///
/// There is no VMA yet, and there may never be one: what is set here takes effect if the mapping
/// succeeds. So an `mmap_prepare` hook must not change anything else.
///
/// # Invariants
///
/// The description is valid, and nobody else accesses it, while a reference to this exists.
#[repr(transparent)]
pub(crate) struct VmaDesc {
    inner: Opaque<bindings::vm_area_desc>,
}

impl VmaDesc {
    /// Access a description given a raw pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `desc` must be the argument of a running `mmap_prepare` hook, and
    /// not be accessed in any other way.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(desc: *mut bindings::vm_area_desc) -> &'a mut Self {
        // SAFETY: The caller ensures that the description is valid and not accessed otherwise for
        // the duration of 'a. Layouts are compatible due to repr(transparent).
        unsafe { &mut *desc.cast() }
    }

    #[inline]
    fn as_ref(&self) -> &bindings::vm_area_desc {
        // SAFETY: By the type invariant the description is valid, and only accessed through this,
        // which is borrowed.
        unsafe { &*self.inner.get() }
    }

    #[inline]
    fn as_mut(&mut self) -> &mut bindings::vm_area_desc {
        // SAFETY: By the type invariant the description is valid, and only accessed through this,
        // which is mutably borrowed.
        unsafe { &mut *self.inner.get() }
    }

    /// Returns the (inclusive) start address of the mapping.
    #[inline]
    #[expect(dead_code)]
    pub(crate) fn start(&self) -> usize {
        self.as_ref().start
    }

    /// Returns the length of the mapping in bytes.
    #[inline]
    #[expect(dead_code)]
    pub(crate) fn len(&self) -> usize {
        let desc = self.as_ref();
        desc.end.saturating_sub(desc.start)
    }

    /// The address space that is mapped into. It may only be compared with.
    #[inline]
    pub(crate) fn mm(&self) -> *const bindings::mm_struct {
        self.as_ref().mm
    }

    /// The file that is mapped. It is open at least until the hook returns.
    #[inline]
    pub(crate) fn file(&self) -> *const bindings::file {
        self.as_ref().file
    }

    /// Returns the flags that the VMA will have.
    ///
    /// The possible flags are a combination of the constants in [`flags`].
    #[inline]
    pub(crate) fn flags(&self) -> vm_flags_t {
        // The first word of the flags is the legacy ones: `vma_flags_to_legacy()`.
        let [first, ..] = self.as_ref().vma_flags.__vma_flags;
        first
    }

    /// Updates the flags.
    ///
    /// # Safety
    ///
    /// This must not be used to set the flags to an invalid value.
    #[inline]
    unsafe fn update_flags(&mut self, set: vm_flags_t, unset: vm_flags_t) {
        let [first, ..] = &mut self.as_mut().vma_flags.__vma_flags;
        *first = (*first | set) & !unset;
    }

    /// Set the `VM_MIXEDMAP` flag.
    ///
    /// This enables the VMA to contain both `struct page` and pure PFN pages.
    #[inline]
    pub(crate) fn set_mixedmap(&mut self) {
        // SAFETY: There is no way to set VM_PFNMAP here, so this cannot put the flags in an invalid
        // state.
        unsafe { self.update_flags(flags::MIXEDMAP, 0) };
    }

    /// Set the `VM_DONTEXPAND` flag.
    ///
    /// This prevents the VMA from being expanded with `mremap()`, and, like `VM_MIXEDMAP`, from
    /// being merged with another.
    #[inline]
    pub(crate) fn set_dontexpand(&mut self) {
        // SAFETY: Setting the VM_DONTEXPAND flag is always okay.
        unsafe { self.update_flags(flags::DONTEXPAND, 0) };
    }

    /// Set the `VM_DONTCOPY` flag.
    ///
    /// This prevents the VMA from being copied on fork. It is permanent if one of the flags of
    /// `VM_SPECIAL` is set (`VM_IO`, `VM_DONTEXPAND`, `VM_PFNMAP`, `VM_MIXEDMAP`).
    #[inline]
    pub(crate) fn set_dontcopy(&mut self) {
        // SAFETY: Setting the VM_DONTCOPY flag is always okay.
        unsafe { self.update_flags(flags::DONTCOPY, 0) };
    }

    /// Set the `VM_DONTDUMP` flag.
    ///
    /// This prevents the VMA from being included in core dumps. It is permanent as `VM_DONTCOPY`
    /// is.
    #[inline]
    pub(crate) fn set_dontdump(&mut self) {
        // SAFETY: Setting the VM_DONTDUMP flag is always okay.
        unsafe { self.update_flags(flags::DONTDUMP, 0) };
    }

    /// Returns whether `VM_WRITE` is set.
    #[inline]
    pub(crate) fn writable(&self) -> bool {
        self.flags() & flags::WRITE != 0
    }

    /// Try to clear the `VM_MAYWRITE` flag, failing if `VM_WRITE` is set.
    ///
    /// Without it the VMA can never be made writable, and a private one is no copy-on-write mapping:
    /// a debugger's write fails, too. It cannot be set again.
    #[inline]
    pub(crate) fn try_clear_maywrite(&mut self) -> Result {
        if self.writable() {
            return Err(EINVAL);
        }
        // SAFETY: Clearing `VM_MAYWRITE` is okay when `VM_WRITE` is not set.
        unsafe { self.update_flags(0, flags::MAYWRITE) };
        Ok(())
    }

    /// Sets the operations of the VMA, and clears its private data, which is for
    /// [`VmOps::mapped`] to set.
    ///
    /// # Safety
    ///
    /// Those of `T` may be called with the [`VmaDesc::file`] of this, while it is open.
    #[inline]
    pub(crate) unsafe fn set_ops<T: VmOps>(&mut self) {
        let desc = self.as_mut();
        desc.vm_ops = super::ops::table::<T>();
        desc.private_data = ::core::ptr::null_mut();
    }
}
