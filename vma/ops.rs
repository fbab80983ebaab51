// SPDX-License-Identifier: GPL-2.0

//! Operations of a VMA that has an owner.
//!
//! C header: `struct vm_operations_struct` in `include/linux/mm.h`.
//!
//! Such a VMA is one piece from `mmap()` to `munmap()`: it cannot be split or moved, and a copy of
//! it, should there ever be one, owns nothing. What tells an owner is the VMA's private data, which
//! is null in all others: in a VMA whose claim was refused (the mm core unmaps and closes that,
//! too), and in a copy.

use core::{marker::PhantomData, ops::Range};

use kernel::{
    bindings,
    error::{code::EINVAL, Result},
    prelude::*,
    types::ForeignOwnable,
};

/// Operations of a VMA.
pub(crate) trait VmOps: Sized + 'static {
    /// What the VMA owns.
    type Owned: ForeignOwnable + Send + Sync;

    /// Called when the VMA exists, at `addresses`, of `file`: claims what it owns. If it fails, the
    /// VMA is unmapped.
    ///
    /// May sleep. The mmap lock is held for writing.
    ///
    /// # Safety
    ///
    /// `file` must be open and for the duration of the call remain so, and
    /// [`VmaDesc::set_ops`](super::VmaDesc::set_ops) have been called, with this type, for a mapping
    /// of it.
    unsafe fn mapped(file: *const bindings::file, addresses: Range<usize>) -> Result<Self::Owned>;

    /// Called when the VMA that [`VmOps::mapped`] succeeded for, of `file`, is unmapped: nothing is
    /// mapped in it any more.
    ///
    /// May sleep. The mmap lock is held, for writing or, when it has been downgraded, for reading;
    /// nothing else is mapped at these addresses before this returns.
    ///
    /// # Safety
    ///
    /// As for [`VmOps::mapped`].
    unsafe fn close(owned: Self::Owned, file: *const bindings::file);
}

/// The C operations that call those of `T`.
pub(super) fn table<T: VmOps>() -> &'static bindings::vm_operations_struct {
    &Table::<T>::TABLE
}

struct Table<T>(PhantomData<T>);

impl<T: VmOps> Table<T> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        mapped: Some(Self::mapped),
        may_split: Some(Self::may_split),
        mremap: Some(Self::mremap),
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// For the mm core, as `vm_ops->mapped`.
    unsafe extern "C" fn mapped(
        start: c_ulong,
        end: c_ulong,
        _pgoff: c_ulong,
        file: *const bindings::file,
        private_data: *mut *mut c_void,
    ) -> c_int {
        // SAFETY: The mm core calls this for a VMA, which holds `file`, whose operations are these:
        // those that were set in its description.
        let owned = match unsafe { T::mapped(file, start..end) } {
            Ok(owned) => owned,
            Err(error) => return error.to_errno(),
        };
        // SAFETY: The mm core passes a place for the VMA's private data.
        unsafe { private_data.write(owned.into_foreign()) };
        0
    }

    /// # Safety
    ///
    /// For the mm core, as `vm_ops->close`.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The VMA is valid, and being closed: nobody else accesses the field.
        let private_data = unsafe { &mut (*vma).vm_private_data };
        let owned = ::core::mem::replace(private_data, ::core::ptr::null_mut());
        if owned.is_null() {
            return;
        }
        // SAFETY: It is not null, so it came from `into_foreign` in `mapped`, for this VMA: it is
        // null in every copy, and here from now on.
        let owned = unsafe { T::Owned::from_foreign(owned) };
        // SAFETY: The VMA holds the file that it was made for until this returns.
        unsafe { T::close(owned, (*vma).vm_file) };
    }

    /// # Safety
    ///
    /// For the mm core, as `vm_ops->open`.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The VMA is valid, a copy, and not in use yet. What it was copied from owns.
        unsafe { (*vma).vm_private_data = ::core::ptr::null_mut() };
    }

    /// # Safety
    ///
    /// For the mm core, as `vm_ops->may_split`.
    unsafe extern "C" fn may_split(
        _vma: *mut bindings::vm_area_struct,
        _address: c_ulong,
    ) -> c_int {
        EINVAL.to_errno()
    }

    /// # Safety
    ///
    /// For the mm core, as `vm_ops->mremap`.
    unsafe extern "C" fn mremap(_vma: *mut bindings::vm_area_struct) -> c_int {
        EINVAL.to_errno()
    }

    /// # Safety
    ///
    /// For the mm core, as `vm_ops->fault`.
    unsafe extern "C" fn fault(_fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        bindings::vm_fault_reason_VM_FAULT_SIGBUS
    }
}
