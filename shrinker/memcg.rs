// SPDX-License-Identifier: GPL-2.0

//! Memory cgroups: a reference, and a scope in which allocations are charged to one.
//!
//! C headers: `include/linux/memcontrol.h`, `include/linux/sched/mm.h`.

use core::{marker::PhantomData, ptr::NonNull};

use kernel::{bindings, mm::MmWithUser, sync::rcu, types::NotThreadSafe};

/// A reference to a memory cgroup.
///
/// # Invariants
///
/// The pointer came from `get_mem_cgroup_from_mm()`, and this owns the reference that it took.
pub(crate) struct Memcg(NonNull<bindings::mem_cgroup>);

// SAFETY: The reference count of a cgroup may be changed by any thread.
unsafe impl Send for Memcg {}
// SAFETY: Nothing is done to the cgroup through a shared reference but to name it.
unsafe impl Sync for Memcg {}

impl Memcg {
    /// The memory cgroup that `mm` is in now. [`None`] if there are no memory cgroups.
    pub(crate) fn of(mm: &MmWithUser) -> Option<Self> {
        // SAFETY: `mm` is valid. The function finds a cgroup for an `mm` that has no owner, too.
        let memcg = unsafe { bindings::get_mem_cgroup_from_mm(mm.as_raw()) };
        // INVARIANT: It has taken a reference, which is now ours.
        NonNull::new(memcg).map(Self)
    }

    /// The pointer that C functions know the cgroup by; null for none.
    fn as_ptr(this: Option<&Self>) -> *mut bindings::mem_cgroup {
        this.map_or(core::ptr::null_mut(), |this| this.0.as_ptr())
    }

    /// Charges what the current task allocates with `__GFP_ACCOUNT` to `this`, if there is a
    /// cgroup, until the scope is dropped.
    ///
    /// Scopes nest: they end in the reverse order.
    pub(crate) fn charge(this: Option<&Self>) -> ChargeScope<'_> {
        let memcg = Self::as_ptr(this);
        ChargeScope {
            // INVARIANT: `this` is borrowed for as long as the scope exists.
            outer: set_active(memcg),
            _memcg: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}

/// The memory cgroup that a page is charged to; null for none. What `folio_memcg()` says, which is an
/// inline function in C.
///
/// This, and not a [`Memcg`] that was noted before, is how the list of a page is found: a cgroup that
/// is removed hands its lists and charges on to its parent and loses the number that its lists go by,
/// which the next cgroup may get. A page's charge is handed on after the lists, so it never names a
/// cgroup whose number is lost.
///
/// # Safety
///
/// The caller has a reference to the page, which was allocated with `__GFP_ACCOUNT` and not by a slab
/// allocator.
#[cfg(CONFIG_MEMCG)]
pub(super) unsafe fn charged_to(
    page: NonNull<bindings::page>,
    _rcu: &rcu::Guard,
) -> *mut bindings::mem_cgroup {
    // Flags of `memcg_data`: `OBJEXTS_FLAGS_MASK`.
    const FLAGS: usize = 7;
    // SAFETY: The caller keeps the page, and with it its charge: the field does not change.
    let data = unsafe { (*page.as_ptr()).memcg_data };
    let objcg = (data & !FLAGS) as *mut bindings::obj_cgroup;
    if objcg.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: The page's charge keeps the `obj_cgroup`. Its `memcg` may be changed meanwhile: one
    // aligned load, as `obj_cgroup_memcg()` does. RCU keeps what it points to.
    unsafe { core::ptr::read_volatile(&raw const (*objcg).memcg) }
}

/// See above.
///
/// # Safety
///
/// As above.
#[cfg(not(CONFIG_MEMCG))]
pub(super) unsafe fn charged_to(
    _page: NonNull<bindings::page>,
    _rcu: &rcu::Guard,
) -> *mut bindings::mem_cgroup {
    core::ptr::null_mut()
}

impl Drop for Memcg {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up, which is this one.
        unsafe { put(self.0) };
    }
}

/// A scope in which allocations are charged to a cgroup. See [`Memcg::charge`].
///
/// # Invariants
///
/// The current task's active cgroup has a reference for as long as the scope exists; before the
/// scope it was `outer`, which outlives it.
#[must_use = "the scope ends when it is dropped"]
pub(crate) struct ChargeScope<'a> {
    outer: *mut bindings::mem_cgroup,
    _memcg: PhantomData<&'a Memcg>,
    _not_send: NotThreadSafe,
}

impl Drop for ChargeScope<'_> {
    fn drop(&mut self) {
        set_active(self.outer);
    }
}

/// What `set_active_memcg()` does in a task: an inline function in C.
#[cfg(CONFIG_MEMCG)]
fn set_active(memcg: *mut bindings::mem_cgroup) -> *mut bindings::mem_cgroup {
    let current = kernel::task::Task::current_raw();
    // SAFETY: The current task is valid, and nobody but itself reads or writes this field.
    unsafe { core::ptr::replace(&raw mut (*current).active_memcg, memcg) }
}

#[cfg(not(CONFIG_MEMCG))]
fn set_active(_memcg: *mut bindings::mem_cgroup) -> *mut bindings::mem_cgroup {
    core::ptr::null_mut()
}

/// What `mem_cgroup_put()` does: an inline function in C, on top of `percpu_ref_put()`, for which
/// the kernel crate has no helper. (C header: `include/linux/percpu-refcount.h`.)
///
/// # Safety
///
/// The caller gives up a reference to `memcg`, which is not used afterwards.
#[cfg(CONFIG_MEMCG)]
unsafe fn put(memcg: NonNull<bindings::mem_cgroup>) {
    use kernel::sync::atomic::{Atomic, Full, Relaxed};

    // SAFETY: The caller's reference keeps the cgroup.
    let css = unsafe { &raw mut (*memcg.as_ptr()).css };
    // SAFETY: As above; the flag is set, if ever, before anybody else sees the cgroup.
    if unsafe { (*css).flags } & bindings::CSS_NO_REF != 0 {
        return;
    }
    // The mode of the counter can only be left after a grace period.
    let _rcu = rcu::read_lock();
    // SAFETY: As above.
    let counter = unsafe { &raw mut (*css).refcnt.percpu_count_ptr };
    // SAFETY: The field is only accessed atomically once others see it, and valid as above. `usize`
    // and `unsigned long` are the same.
    let counter = unsafe { Atomic::<usize>::from_ptr(counter.cast()) }.load(Relaxed);
    let not_percpu = (bindings::__PERCPU_REF_ATOMIC | bindings::__PERCPU_REF_DEAD) as usize;
    if counter & not_percpu == 0 {
        // This keeps the task on its CPU; the access itself is atomic because of interrupts.
        let _on_this_cpu = kernel::interrupt::local_interrupt_disable();
        let counter = this_cpu(counter);
        // SAFETY: In this mode there is a counter for each CPU at that offset, which stays at least
        // until the grace period is over. Other CPUs do not access this one's meanwhile.
        unsafe { Atomic::<usize>::from_ptr(counter as *mut usize) }.fetch_sub(1, Relaxed);
        return;
    }
    // SAFETY: The caller's reference keeps the cgroup, and with it the counter's data.
    let data = unsafe { (*css).refcnt.data };
    // SAFETY: As above; `count` is only accessed atomically.
    let count = unsafe { Atomic::<isize>::from_ptr((&raw mut (*data).count.counter).cast()) };
    if count.fetch_sub(1, Full) == 1 {
        // SAFETY: As above.
        if let Some(release) = unsafe { (*data).release } {
            // SAFETY: The counter has reached zero, and it is for whoever made it do so to call
            // this, once.
            unsafe { release(&raw mut (*css).refcnt) };
        }
    }
}

#[cfg(not(CONFIG_MEMCG))]
unsafe fn put(_memcg: NonNull<bindings::mem_cgroup>) {}

/// The address of this CPU's instance of the per-CPU variable at `address`.
#[cfg(all(CONFIG_MEMCG, CONFIG_SMP))]
fn this_cpu(address: usize) -> usize {
    // SAFETY: It is always safe to ask for the number of the CPU.
    let cpu = unsafe { bindings::raw_smp_processor_id() } as usize;
    let offsets = &raw const bindings::__per_cpu_offset;
    // SAFETY: The table has an entry for each CPU, and does not change after boot.
    let offset = unsafe { offsets.cast::<usize>().add(cpu).read() };
    address.wrapping_add(offset)
}

#[cfg(all(CONFIG_MEMCG, not(CONFIG_SMP)))]
fn this_cpu(address: usize) -> usize {
    address
}
