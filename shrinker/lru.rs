// SPDX-License-Identifier: GPL-2.0

//! Safe-to-use wrappers of `struct list_lru` and `struct shrinker`.
//!
//! C headers: `include/linux/list_lru.h`, `include/linux/shrinker.h`.

use core::{cell::Cell, marker::PhantomData, ptr::NonNull};

use kernel::{
    bindings,
    prelude::*,
    sync::{rcu, Arc},
    types::{NotThreadSafe, Opaque},
};

use super::{memcg::charged_to, Counters, Memcg};
use crate::watch::debugfs::Directory;

/// See `helpers.c`.
mod extern_c {
    use kernel::{bindings, ffi::c_int};

    unsafe extern "C" {
        pub(super) safe fn rust_ipc_account_reclaimed_pages(pages: usize);
        pub(super) fn rust_ipc_list_lru_uncount(lru: *mut bindings::list_lru, node: c_int);
    }
}

// Expressions in C, so the bindings do not have them; `helpers.c` checks the values.
const SHRINKER_NUMA_AWARE: c_uint = 1 << 2;
const SHRINKER_MEMCG_AWARE: c_uint = 1 << 3;
/// What a shrinker answers when it has nothing.
const SHRINK_EMPTY: c_ulong = c_ulong::MAX - 1;

/// Something whose idle parts are on an [`Lru`].
pub(crate) trait Reclaim: Sized + 'static {
    /// Looks at an entry of the list, and says what became of it.
    ///
    /// Called with the list's lock held: must not wait for anything. See [`Candidate`].
    fn reclaim(candidate: Candidate<'_, Self>) -> Verdict;
}

/// An entry that a walk has come to.
///
/// The list's lock is held for as long as this exists. Each way of consuming it makes a [`Verdict`]
/// for the walk, in the end.
///
/// # Invariants
///
/// `list` is locked, by this thread, and `item` is on it.
pub(crate) struct Candidate<'a, R: Reclaim> {
    item: NonNull<bindings::list_head>,
    list: NonNull<bindings::list_lru_one>,
    walk: &'a Walk<'a, R>,
}

/// What became of a [`Candidate`], in terms that a walk understands.
///
/// Only a candidate makes one, or the [`Taking`] that one became, and it cannot be left to another
/// thread's walk, so it says the truth about the list's lock.
pub(crate) struct Verdict(bindings::lru_status, NotThreadSafe);

impl<'a, R: Reclaim> Candidate<'a, R> {
    /// The entry: what was given to [`Lru::add`].
    pub(crate) fn item(&self) -> NonNull<bindings::list_head> {
        self.item
    }

    /// The counters of the list.
    pub(crate) fn counters(&self) -> &'a Counters {
        &self.walk.lru.counters
    }

    /// Leaves the entry where it is. A walk starts again from the head of the list each time that an
    /// entry was taken, so this is for what cannot come up again.
    pub(crate) fn skip(self) -> Verdict {
        Verdict(bindings::lru_status::LRU_SKIP, NotThreadSafe)
    }

    /// Moves the entry to the end of the list.
    pub(crate) fn rotate(self) -> Verdict {
        Verdict(bindings::lru_status::LRU_ROTATE, NotThreadSafe)
    }

    /// Takes the entry off the list: it may be added again from now on.
    pub(crate) fn remove(self) -> Verdict {
        self.isolate();
        Verdict(bindings::lru_status::LRU_REMOVED, NotThreadSafe)
    }

    /// Takes the entry off the list, and then others with it.
    pub(crate) fn take(self) -> Taking<'a, R> {
        // SAFETY: By the type invariant the item is on the list, whose lock is held.
        let next = unsafe { (*self.item.as_ptr()).next };
        self.isolate();
        self.walk.count_reclaimed();
        // INVARIANT: It was behind the candidate, which is not there any more.
        Taking {
            list: self.list,
            walk: self.walk,
            next,
        }
    }

    fn isolate(&self) {
        // SAFETY: By the type invariant the item is on this list, whose lock is held.
        unsafe { bindings::list_lru_isolate(self.list.as_ptr(), self.item.as_ptr()) };
    }
}

/// Entries that are being taken off their list: a [`Candidate`], and what was behind it.
///
/// # Invariants
///
/// `list` is locked, by this thread, and `next` is on it, or its head.
#[must_use = "the list stays locked until it is finished"]
pub(crate) struct Taking<'a, R: Reclaim> {
    list: NonNull<bindings::list_lru_one>,
    walk: &'a Walk<'a, R>,
    next: *mut bindings::list_head,
}

impl<R: Reclaim> Taking<'_, R> {
    /// The next entry of the list, if there is one and the shrinker wants more.
    pub(crate) fn next(&self) -> Option<NonNull<bindings::list_head>> {
        // SAFETY: By the type invariant the list is there.
        let head = unsafe { &raw mut (*self.list.as_ptr()).list };
        NonNull::new(self.next).filter(|next| next.as_ptr() != head && self.walk.wanted() > 0)
    }

    /// Takes the next entry off the list, too.
    pub(crate) fn take_next(&mut self) {
        let Some(item) = self.next() else {
            return;
        };
        // SAFETY: By the type invariant the item is on the list, whose lock is held.
        let next = unsafe { (*item.as_ptr()).next };
        // SAFETY: As above.
        unsafe { bindings::list_lru_isolate(self.list.as_ptr(), item.as_ptr()) };
        // INVARIANT: It was behind the item, which is not there any more.
        self.next = next;
        let lru = self.walk.lru.list.inner.get();
        // The walk counts what it has called for, and that alone.
        // SAFETY: The list is initialised. Its entry was of the node that the walk is for.
        unsafe { extern_c::rust_ipc_list_lru_uncount(lru, self.walk.node) };
        self.walk.count_reclaimed();
    }

    /// Drops the list's lock, and has `give_away` give away what the entries are part of, which may
    /// sleep as far as reclaim may.
    pub(crate) fn finish(self, give_away: impl FnOnce()) -> Verdict {
        // SAFETY: By the type invariant the lock is held, by this thread. Nothing of the list is
        // accessed any more: for this verdict the walk starts again from its head.
        unsafe { bindings::spin_unlock(&raw mut (*self.list.as_ptr()).lock) };
        give_away();
        Verdict(bindings::lru_status::LRU_REMOVED_RETRY, NotThreadSafe)
    }
}

/// A walk along the list of one cgroup and node.
struct Walk<'a, R: Reclaim> {
    lru: &'a Lru<R>,
    node: c_int,
    /// How many entries the shrinker is to reclaim.
    target: usize,
    reclaimed: Cell<usize>,
}

impl<R: Reclaim> Walk<'_, R> {
    /// How many entries are still to be reclaimed.
    fn wanted(&self) -> usize {
        self.target.saturating_sub(self.reclaimed.get())
    }

    /// One entry more has been taken, to be reclaimed.
    fn count_reclaimed(&self) {
        self.reclaimed.set(self.reclaimed.get() + 1);
    }
}

/// Lists of idle entries, one for each memory cgroup and NUMA node.
#[pin_data]
pub(crate) struct Lru<R: Reclaim> {
    #[pin]
    list: List,
    counters: Counters,
    cache: Cache,
    _reclaim: PhantomData<fn(R)>,
}

/// A shrinker, which is freed, and unregistered before if need be, when this is dropped.
///
/// # Invariants
///
/// The pointer came from `shrinker_alloc()`, and the shrinker has not been freed.
struct RawShrinker(NonNull<bindings::shrinker>);

// SAFETY: Any thread may free a shrinker; it waits for callbacks that run.
unsafe impl Send for RawShrinker {}
// SAFETY: Nothing is done through a shared reference.
unsafe impl Sync for RawShrinker {}

impl RawShrinker {
    fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: The format has one `%s`, for which there is a string.
        let shrinker = unsafe {
            bindings::shrinker_alloc(
                SHRINKER_NUMA_AWARE | SHRINKER_MEMCG_AWARE,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        };
        // INVARIANT: It has just been allocated.
        Ok(Self(NonNull::new(shrinker).ok_or(ENOMEM)?))
    }
}

impl Drop for RawShrinker {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it has not been freed. It may be registered or not.
        unsafe { bindings::shrinker_free(self.0.as_ptr()) };
    }
}

/// A `list_lru`.
///
/// # Invariants
///
/// `inner` is initialised.
#[pin_data(PinnedDrop)]
struct List {
    #[pin]
    inner: Opaque<bindings::list_lru>,
}

// SAFETY: Any thread may destroy a `list_lru`.
unsafe impl Send for List {}
// SAFETY: A `list_lru` has its own locks, which the C functions take.
unsafe impl Sync for List {}

impl List {
    /// A list for `shrinker`, which is freed before the list is dropped.
    fn new(shrinker: NonNull<bindings::shrinker>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::list_lru| {
                // SAFETY: `slot` is valid for writing. A `list_lru` is made of integers and of
                // pointers that may be null.
                unsafe { slot.write_bytes(0, 1) };
                #[cfg(CONFIG_LOCKDEP)]
                // SAFETY: `slot` is valid for writing. The class is static.
                unsafe {
                    (*slot).key = kernel::static_lock_class!().as_ptr()
                };
                // SAFETY: `slot` has been prepared, and stays where it is; so does the shrinker
                // while this has the use of it.
                kernel::error::to_result(unsafe {
                    bindings::__list_lru_init(slot, true, shrinker.as_ptr())
                })
            }),
        }? Error)
    }
}

#[pinned_drop]
impl PinnedDrop for List {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the list is initialised.
        unsafe { bindings::list_lru_destroy(self.inner.get()) };
    }
}

/// A slab cache of tiny objects.
///
/// # Invariants
///
/// The pointer came from `__kmem_cache_create_args()`, the cache has not been destroyed, and no
/// object of it is allocated when this is dropped.
struct Cache(NonNull<bindings::kmem_cache>);

// SAFETY: Any thread may destroy a cache.
unsafe impl Send for Cache {}
// SAFETY: Any thread may allocate from a cache.
unsafe impl Sync for Cache {}

impl Cache {
    fn new(name: &'static CStr) -> Result<Self> {
        let mut args: bindings::kmem_cache_args = pin_init::zeroed();
        // CAST: it is 8.
        let size = size_of::<usize>() as c_uint;
        // SAFETY: The arguments are valid for the call, the name for ever.
        let cache =
            unsafe { bindings::__kmem_cache_create_args(name.as_char_ptr(), size, &mut args, 0) };
        // INVARIANT: It has just been created.
        Ok(Self(NonNull::new(cache).ok_or(ENOMEM)?))
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the cache is there and empty.
        unsafe { bindings::kmem_cache_destroy(self.0.as_ptr()) };
    }
}

impl<R: Reclaim> Lru<R> {
    fn new(name: &'static CStr, shrinker: &RawShrinker) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                list <- List::new(shrinker.0),
                counters: Counters::new(),
                cache: Cache::new(name)?,
                _reclaim: PhantomData,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The counters of what became of pages.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Makes sure that the lists of `memcg` exist. Without, its entries would be on those of its
    /// nearest ancestor that has them.
    ///
    /// May sleep. The lists stay until the cgroup goes, when its entries move to its parent's.
    pub(crate) fn prepare(&self, memcg: Option<&Memcg>) -> Result {
        // `memcg_list_lru_alloc()` is not for modules, but it is called for each object that is
        // allocated for use on a list. So allocate one.
        let cache = self.cache.0.as_ptr();
        let object = Memcg::charge(memcg, || {
            // SAFETY: Cache and list are there as long as `self` is.
            unsafe {
                bindings::kmem_cache_alloc_lru_noprof(
                    cache,
                    self.list.inner.get(),
                    bindings::GFP_KERNEL_ACCOUNT,
                )
            }
        });
        if object.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The object has just been allocated from this cache, and nobody has it.
        unsafe { bindings::kmem_cache_free(cache, object) };
        Ok(())
    }

    /// Adds the entry of a page, unless it is there, to the list of the page's node and of the cgroup
    /// that it is charged to. Does not sleep; takes the list's lock.
    ///
    /// # Safety
    ///
    /// - `item` is an initialised list head, on a list of this or on none, and `node` is the page's
    ///   NUMA node. Both stay so until [`Lru::remove`] has returned, or a walk takes the entry
    ///   ([`Candidate::take`], [`Taking::take_next`]).
    /// - The caller has a reference to `page` until then; it was allocated with `__GFP_ACCOUNT` in a
    ///   scope of a cgroup that [`Lru::prepare`] was called for.
    /// - `item` is what [`Reclaim::reclaim`] of `R` expects.
    pub(crate) unsafe fn add(
        &self,
        item: NonNull<bindings::list_head>,
        node: c_int,
        page: NonNull<bindings::page>,
    ) {
        let rcu = rcu::read_lock();
        // SAFETY: The caller vouches for the page.
        let memcg = unsafe { charged_to(page, &rcu) };
        // SAFETY: The list is initialised. The caller vouches for the item and the node; RCU keeps
        // the cgroup.
        unsafe { bindings::list_lru_add(self.list.inner.get(), item.as_ptr(), node, memcg) };
    }

    /// Takes the entry of a page off its list, if it is there. Does not sleep; takes the list's lock,
    /// so no walk is looking at the entry when this returns.
    ///
    /// # Safety
    ///
    /// As for [`Lru::add`].
    pub(crate) unsafe fn remove(
        &self,
        item: NonNull<bindings::list_head>,
        node: c_int,
        page: NonNull<bindings::page>,
    ) {
        let rcu = rcu::read_lock();
        // SAFETY: The caller vouches for the page.
        let memcg = unsafe { charged_to(page, &rcu) };
        // SAFETY: As in `add`.
        unsafe { bindings::list_lru_del(self.list.inner.get(), item.as_ptr(), node, memcg) };
    }

    /// # Safety
    ///
    /// Only for the shrinker of an [`Lru`] of this type; `control` must be valid.
    unsafe extern "C" fn count(
        shrinker: *mut bindings::shrinker,
        control: *mut bindings::shrink_control,
    ) -> c_ulong {
        // SAFETY: The shrinker is registered, so by the invariants of `Shrinker` this points to an
        // `Lru`, which stays until the shrinker has been unregistered and this call has been waited
        // for.
        let this = unsafe { &*(*shrinker).private_data.cast::<Self>() };
        // SAFETY: The caller passes what is valid for this call.
        let control = unsafe { &*control };
        // SAFETY: The list is initialised, and the node and the cgroup are the caller's.
        let count = unsafe {
            bindings::list_lru_count_one(this.list.inner.get(), control.nid, control.memcg)
        };
        if count == 0 {
            SHRINK_EMPTY
        } else {
            count
        }
    }

    /// # Safety
    ///
    /// Only for the shrinker of an [`Lru`] of this type; `control` must be valid.
    unsafe extern "C" fn scan(
        shrinker: *mut bindings::shrinker,
        control: *mut bindings::shrink_control,
    ) -> c_ulong {
        // SAFETY: As in `count`.
        let this = unsafe { &*(*shrinker).private_data.cast::<Self>() };
        // SAFETY: The caller passes what is valid, and only this call's, for this call.
        let control = unsafe { &mut *control };
        let walk = Walk {
            lru: this,
            node: control.nid,
            target: control.nr_to_scan,
            reclaimed: Cell::new(0),
        };
        // SAFETY: The list is initialised, and the node and the cgroup are the caller's. The
        // callback is for entries of this list, and is given a walk along it.
        unsafe {
            bindings::list_lru_walk_one(
                this.list.inner.get(),
                control.nid,
                control.memcg,
                Some(Self::visit),
                (&raw const walk).cast_mut().cast(),
                &mut control.nr_to_scan,
            )
        };
        let reclaimed = walk.reclaimed.get();
        // Reclaim expects objects of slabs from a shrinker, and counts pages as those are freed.
        extern_c::rust_ipc_account_reclaimed_pages(reclaimed);
        reclaimed
    }

    /// # Safety
    ///
    /// Only for a walk along the list of an [`Lru`] of this type, with the [`Walk`].
    unsafe extern "C" fn visit(
        item: *mut bindings::list_head,
        list: *mut bindings::list_lru_one,
        walk: *mut c_void,
    ) -> bindings::lru_status {
        // SAFETY: `scan` passes its walk, which it only uses through shared references.
        let walk = unsafe { &*walk.cast::<Walk<'_, R>>() };
        let (Some(item), Some(list)) = (NonNull::new(item), NonNull::new(list)) else {
            return bindings::lru_status::LRU_SKIP;
        };
        if walk.wanted() == 0 {
            // SAFETY: The walk calls this with the list's lock held, and for this verdict expects
            // it not to be any more.
            unsafe { bindings::spin_unlock(&raw mut (*list.as_ptr()).lock) };
            return bindings::lru_status::LRU_STOP;
        }
        // INVARIANT: The walk calls this for an entry of `list`, with its lock held.
        R::reclaim(Candidate { item, list, walk }).0
    }
}

/// The registration of a shrinker, and of its counters in debugfs.
///
/// Dropping it waits for callbacks that run. They may hold references to what is on the lists, and so
/// to the [`Lru`] itself: this is why the registration is not the `Lru`'s. Nothing may be on the
/// lists then.
///
/// # Invariants
///
/// The shrinker is registered, and its `private_data` points to `lru`. (Fields are dropped in this
/// order: first what looks at the lists and counters, then those.)
pub(crate) struct Shrinker<R: Reclaim> {
    _registration: RawShrinker,
    _directory: Arc<Directory>,
    lru: Arc<Lru<R>>,
}

impl<R: Reclaim> Shrinker<R> {
    /// Registers a shrinker of this name, and makes a directory `reclaim` for its counters.
    ///
    /// May sleep. `ENOMEM`.
    pub(crate) fn new(name: &'static CStr, parent: &Arc<Directory>) -> Result<Self> {
        let shrinker = RawShrinker::new(name)?;
        let lru = Lru::new(name, &shrinker)?;
        let directory = parent.subdirectory(c"reclaim")?;
        // SAFETY: The counters are in `lru`, which outlives the directory: it is dropped after it.
        unsafe { lru.counters.publish(&directory) };

        let raw = shrinker.0.as_ptr();
        // SAFETY: The shrinker is there, and not registered: nobody else looks at it.
        let fields = unsafe { &mut *raw };
        fields.count_objects = Some(Lru::<R>::count);
        fields.scan_objects = Some(Lru::<R>::scan);
        fields.private_data = Arc::as_ptr(&lru).cast_mut().cast();
        // SAFETY: The shrinker is complete. It is unregistered before `lru` goes.
        unsafe { bindings::shrinker_register(raw) };
        // INVARIANT: It is registered, with `lru`.
        Ok(Self {
            _registration: shrinker,
            _directory: directory,
            lru,
        })
    }

    /// The lists that the shrinker walks.
    pub(crate) fn lru(&self) -> Arc<Lru<R>> {
        self.lru.clone()
    }
}
