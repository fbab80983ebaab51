// SPDX-License-Identifier: GPL-2.0

//! Memory cgroups: a reference, and charging allocations to one.
//!
//! C headers: `include/linux/memcontrol.h`, `include/linux/sched/mm.h`.

use core::ptr::NonNull;

use kernel::{bindings, mm::MmWithUser, sync::rcu};

/// Inline functions of the kernel, see `helpers.c`.
// The layout of their arguments is the bindings' business.
#[allow(improper_ctypes)]
mod extern_c {
    use kernel::bindings::{mem_cgroup, mm_struct, page};

    unsafe extern "C" {
        pub(super) fn rust_ipc_get_mem_cgroup_from_mm(mm: *mut mm_struct) -> *mut mem_cgroup;
        pub(super) fn rust_ipc_mem_cgroup_tryget(memcg: *mut mem_cgroup) -> bool;
        pub(super) fn rust_ipc_mem_cgroup_put(memcg: *mut mem_cgroup);
        pub(super) fn rust_ipc_set_active_memcg(memcg: *mut mem_cgroup) -> *mut mem_cgroup;
        pub(super) fn rust_ipc_page_memcg(page: *mut page) -> *mut mem_cgroup;
    }
}

/// A reference to a memory cgroup.
///
/// # Invariants
///
/// The pointer came from `get_mem_cgroup_from_mm()`, and this owns a reference.
pub(crate) struct Memcg(NonNull<bindings::mem_cgroup>);

// SAFETY: The reference count of a cgroup may be changed by any thread.
unsafe impl Send for Memcg {}
// SAFETY: Nothing is done to the cgroup through a shared reference but to name it.
unsafe impl Sync for Memcg {}

impl Memcg {
    /// The memory cgroup that `mm` is in now. [`None`] if there are no memory cgroups.
    pub(crate) fn of(mm: &MmWithUser) -> Option<Self> {
        // SAFETY: `mm` is valid. The function finds a cgroup for an `mm` that has no owner, too.
        let memcg = unsafe { extern_c::rust_ipc_get_mem_cgroup_from_mm(mm.as_raw()) };
        // INVARIANT: It has taken a reference, which is now ours.
        NonNull::new(memcg).map(Self)
    }

    /// Another reference, which can be had as long as there is this one.
    pub(crate) fn another(&self) -> Option<Self> {
        // SAFETY: By the type invariant there is a reference: this one.
        let is_taken = unsafe { extern_c::rust_ipc_mem_cgroup_tryget(self.0.as_ptr()) };
        // INVARIANT: It has taken another reference, which is that one's.
        is_taken.then(|| Self(self.0))
    }

    /// Charges what `allocate` allocates with `__GFP_ACCOUNT` to `this`; if there is no cgroup, to
    /// whatever it would be charged to anyway.
    pub(crate) fn charge<R>(this: Option<&Self>, allocate: impl FnOnce() -> R) -> R {
        let memcg = this.map_or(core::ptr::null_mut(), |this| this.0.as_ptr());
        // SAFETY: The cgroup is borrowed until after the next call, which ends this. (There is no
        // unwinding in the kernel, and calls return in the reverse order, so that scopes nest.)
        let outer = unsafe { extern_c::rust_ipc_set_active_memcg(memcg) };
        let result = allocate();
        // SAFETY: This task had it before, in a scope that has not ended.
        unsafe { extern_c::rust_ipc_set_active_memcg(outer) };
        result
    }
}

impl Drop for Memcg {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up, which is this one.
        unsafe { extern_c::rust_ipc_mem_cgroup_put(self.0.as_ptr()) };
    }
}

/// The memory cgroup that a page is charged to, which stays at least as long as `_rcu`; null for
/// none.
///
/// This, and not a [`Memcg`] that was noted before, is how the list of a page is found: a cgroup that
/// is removed hands its lists and charges on to its parent and loses the number that its lists go by,
/// which the next cgroup may get. A page's charge is handed on after the lists, so it never names a
/// cgroup whose number is lost.
///
/// # Safety
///
/// The caller has a reference to the page, which no slab allocator has allocated.
pub(super) unsafe fn charged_to(
    page: NonNull<bindings::page>,
    _rcu: &rcu::Guard,
) -> *mut bindings::mem_cgroup {
    // SAFETY: The caller keeps the page, and with it what it is charged to: that is only forgotten
    // when the page is freed. It may be a cgroup that is going, which RCU keeps.
    unsafe { extern_c::rust_ipc_page_memcg(page.as_ptr()) }
}
