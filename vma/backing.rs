// SPDX-License-Identifier: GPL-2.0

//! The part of an area that its VMA, and the pages on the shrinker's list, refer to.

use core::{marker::PhantomData, ops::Range, ptr::NonNull};

use kernel::{
    alloc::Flags,
    bindings,
    mm::{
        virt::{VmaMixedMap, VmaRef},
        Mm, MmWithUser, MmWithUserAsync,
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Acquire, Atomic, Release},
        barrier::{self, smp_mb},
        new_mutex, new_spinlock, Arc, ArcBorrow, Mutex, SetOnce, SpinLock,
    },
    task::Pid,
};

use super::{
    area::{AllocError, Area},
    page::{self, AreaPage, PageList, Removed},
    table::{Slot, Use},
};
use crate::{
    shrinker::{decide, Candidate, Decision, Lru, Memcg, Reclaim, Taking, Verdict},
    watch::trace,
};

/// Pages that are inserted at a time: their pointers are on the stack.
pub(super) const BATCH: usize = 64;

/// What an area is once it is mapped.
pub(super) struct Claim {
    /// Address of the first byte.
    pub(super) start: usize,
    /// How much of the mapping is used, in bytes.
    pub(super) len: usize,
}

/// Whose area it is, until the file is closed. (Somebody may have a reference to the area for longer:
/// nothing large is to stay because of it.)
#[derive(Default)]
struct Owner {
    mm: Option<ARef<Mm>>,
    /// What the pages are charged to: the memory cgroup that `mm` was in when it mapped the area.
    memcg: Option<Memcg>,
}

/// The pages of an area.
pub(super) struct Table {
    /// Address of the first page.
    pub(super) start: usize,
    slots: KVVec<Slot>,
}

impl Table {
    /// Creates the table of `count` pages that are absent.
    ///
    /// May sleep if `flags` say so. `ENOMEM`.
    pub(super) fn new(start: usize, count: usize, flags: Flags) -> Result<Self> {
        let mut slots = KVVec::with_capacity(count, flags)?;
        for _ in 0..count {
            slots.push(Slot::new(), flags)?;
        }
        Ok(Self { start, slots })
    }

    /// The address of page `index`.
    pub(super) fn address(&self, index: usize) -> usize {
        // The table is no longer than the address space after `start`.
        self.start.wrapping_add(index.wrapping_mul(PAGE_SIZE))
    }

    /// The entry of page `index`.
    pub(super) fn slot(&self, index: usize) -> Option<&Slot> {
        self.slots.get(index)
    }

    /// The entries of the pages from `pages.start` to before `pages.end`.
    pub(super) fn slots(&self, pages: Range<usize>) -> &[Slot] {
        self.slots.get(pages).unwrap_or(&[])
    }

    /// All entries.
    pub(super) fn all(&self) -> &[Slot] {
        &self.slots
    }
}

/// What an area's VMA owns a reference to, and each listed page points to.
///
/// An [`Area`] has it from beginning to end, and takes all pages off the list before it lets go. So
/// who finds a page on the list, and has the list's lock, can take a reference.
#[pin_data]
pub(super) struct Backing<B: Send + 'static> {
    pub(super) lru: Arc<Lru<Area<B>>>,
    /// Nothing else is locked by who has this locked.
    #[pin]
    owner: SpinLock<Owner>,
    /// The owner's thread group, in the initial pid namespace.
    pub(super) tgid: Pid,
    /// Set once, when the area is mapped.
    pub(super) claim: SetOnce<Claim>,
    /// Set once, when the area is used first, with it locked. Before that it has no pages.
    pub(super) table: SetOnce<Table>,
    /// The VMA is gone.
    is_closed: Atomic<bool>,
    /// Who holds this may install pages, or take them away from where they are installed.
    #[pin]
    install: Mutex<()>,
    _payload: PhantomData<fn(B)>,
}

impl<B: Send + 'static> Backing<B> {
    pub(super) fn new(lru: Arc<Lru<Area<B>>>, mm: ARef<Mm>, tgid: Pid) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                lru,
                owner <- new_spinlock!(Owner { mm: Some(mm), memcg: None }, "Backing::owner"),
                tgid,
                claim: SetOnce::new(),
                table: SetOnce::new(),
                is_closed: Atomic::new(false),
                install <- new_mutex!((), "Backing::install"),
                _payload: PhantomData,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Whether `mm` is the owner's address space. Not any more once that is forgotten.
    pub(super) fn is_of(&self, mm: *const bindings::mm_struct) -> bool {
        let owner = self.owner.lock();
        owner
            .mm
            .as_ref()
            .is_some_and(|own| own.as_raw().cast_const() == mm)
    }

    /// Notes what pages are to be charged to. For the area's claim, when the file is open.
    pub(super) fn set_memcg(&self, memcg: Option<Memcg>) {
        let mut owner = self.owner.lock();
        let before = core::mem::replace(&mut owner.memcg, memcg);
        drop(owner);
        drop(before);
    }

    /// What pages are charged to; [`None`] if there are no memory cgroups.
    ///
    /// [`AllocError::Unmapped`] if the file is closed. (They must not be charged to anybody else then:
    /// see [`Backing::list`].)
    pub(super) fn memcg(&self) -> Result<Option<Memcg>, AllocError> {
        let owner = self.owner.lock();
        if owner.mm.is_none() {
            return Err(AllocError::Unmapped);
        }
        Ok(owner.memcg.as_ref().and_then(Memcg::another))
    }

    /// The file is closed: gives up the references to the owner's address space and cgroup.
    ///
    /// May sleep.
    pub(super) fn forget_owner(&self) {
        let owner = core::mem::take(&mut *self.owner.lock());
        drop(owner);
    }

    /// What the area is, while it is mapped.
    pub(super) fn mapped(&self) -> Option<&Claim> {
        let claim = self.claim.as_ref()?;
        (!self.is_closed()).then_some(claim)
    }

    /// The area's pages, while it is mapped and once it has been used.
    pub(super) fn in_use(&self) -> Option<&Table> {
        let table = self.table.as_ref()?;
        (!self.is_closed()).then_some(table)
    }

    /// Whether the area has been mapped, and is no more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Acquire)
    }

    /// The VMA is gone.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Release);
    }

    /// Takes the install lock, locks the VMA, and calls `f` with it.
    ///
    /// May sleep. [`AllocError::Unmapped`] if there is no VMA.
    pub(super) fn with_vma<R>(
        &self,
        table: &Table,
        f: impl FnOnce(&VmaMixedMap) -> Result<R, AllocError>,
    ) -> Result<R, AllocError> {
        let mm = self.users().ok_or(AllocError::Unmapped)?;
        let _install = self.install.lock();
        if let Some(vma) = mm.lock_vma_under_rcu(table.start) {
            return f(self.own(&vma)?);
        }
        // A writer is there, or there is no VMA. Waiting for the former tells.
        let mmap = mm.mmap_read_lock();
        let vma = mmap.vma_lookup(table.start).ok_or(AllocError::Unmapped)?;
        f(self.own(vma)?)
    }

    /// Takes a reference to the address space, unless it is being torn down. To drop it does not
    /// tear it down: that is left to a worker.
    fn users(&self) -> Option<ARef<MmWithUserAsync>> {
        let owner = self.owner.lock();
        let mm = owner.mm.as_ref()?.mmget_not_zero()?;
        Some(MmWithUser::into_mmput_async(mm))
    }

    /// The VMA at the area's address is the area's, if that is still mapped: `close` comes before
    /// anything else can be there, and after whoever has locked the VMA has let go of it.
    fn own<'a>(&self, vma: &'a VmaRef) -> Result<&'a VmaMixedMap, AllocError> {
        if self.is_closed() {
            return Err(AllocError::Unmapped);
        }
        vma.as_mixedmap_vma().ok_or(AllocError::Unmapped)
    }

    /// Inserts pages, from page `index` on. Returns how many were inserted; if that is not all, also
    /// why.
    ///
    /// For the holder of the install lock. May sleep.
    ///
    /// # Safety
    ///
    /// `pages` must be pages of order 0 that nobody frees before this returns.
    pub(super) unsafe fn insert(
        &self,
        table: &Table,
        vma: &VmaMixedMap,
        index: usize,
        pages: &mut [*mut bindings::page],
    ) -> (usize, Result) {
        // SAFETY: The pages are as this needs them, says the caller.
        let (inserted, result) = unsafe { insert(vma, table.address(index), pages) };
        self.trace_installed(index, inserted);
        if result != Err(EBUSY) {
            return (inserted, result);
        }
        // There is a page table entry where the table has no page. It may refer to a page that was
        // reclaimed from here, and must not be taken for the one that is to be inserted.
        self.lru.counters().stale_entry.count();
        let rest = pages.get_mut(inserted..).unwrap_or(&mut []);
        let address = table.address(index.wrapping_add(inserted));
        vma.zap_vma_range(address, rest.len().wrapping_mul(PAGE_SIZE));
        // SAFETY: As above.
        let (more, result) = unsafe { insert(vma, address, rest) };
        self.trace_installed(index.wrapping_add(inserted), more);
        (inserted.wrapping_add(more), result)
    }

    /// `count` pages have been inserted, from page `index` on.
    fn trace_installed(&self, index: usize, count: usize) {
        if count > 0 {
            trace::PagesInstalled::trace(|| trace::PagesInstalled {
                tgid: self.tgid,
                offset: index.wrapping_mul(PAGE_SIZE) as u64,
                size: count.wrapping_mul(PAGE_SIZE) as u64,
            });
        }
    }

    /// Makes sure that page `index` is there and mapped. If it was not, it is all zeroes.
    ///
    /// For who has a buffer that covers some of the page. May sleep.
    pub(super) fn install_zeroed(
        this: &Arc<Self>,
        table: &Table,
        index: usize,
    ) -> Result<(), AllocError> {
        let slot = table.slot(index).ok_or(AllocError::Invalid)?;
        let page = Self::alloc(this, this.memcg()?.as_ref(), index, true)?;
        this.with_vma(table, |vma| {
            // A buffer beside ours may have been faster.
            if slot.load().page().is_some() {
                return Ok(Some(page));
            }
            let mut pages = [page.as_ptr()];
            // SAFETY: It is an `AreaPage`, and ours.
            let (_, result) = unsafe { this.insert(table, vma, index, &mut pages) };
            result.map_err(|_| AllocError::NoMemory)?;
            Ok(slot.put(page).err())
        })
        // What is not needed is freed without the locks.
        .map(drop)
    }

    /// Allocates page `index`, charged to `memcg`, which [`Backing::memcg`] returned. May sleep.
    pub(super) fn alloc(
        this: &Arc<Self>,
        memcg: Option<&Memcg>,
        index: usize,
        zeroed: bool,
    ) -> Result<AreaPage, AllocError> {
        Memcg::charge(memcg, || AreaPage::alloc(Arc::as_ptr(this), index, zeroed))
            .ok_or(AllocError::NoMemory)
    }

    /// Puts an idle page on the shrinker's list. For the holder of the area's lock.
    ///
    /// # Safety
    ///
    /// The area's table must have the page, and have it until the area is unlocked, unless the
    /// shrinker takes it from there.
    pub(super) unsafe fn list(&self, page: NonNull<bindings::page>) {
        // SAFETY: The table has the page: the area is locked, and the shrinker cannot find the page
        // before it is on the list.
        let node = unsafe { page::node(page) };
        // SAFETY:
        // - The page is an `AreaPage`, so its list head is initialised, and it was allocated by
        //   `alloc`, for whose cgroup `prepare` was called when the area was claimed. It is only ever
        //   on a list of this.
        // - Whoever takes the page out of the table has a `Removed`, which does not become a page to
        //   be freed before it is off the list.
        // - Its fields say which page it is of which `Backing<B>`, as `Area::<B>::reclaim` expects.
        unsafe { self.lru.add(page::item(page), node, page) };
    }

    /// Takes a page of this area's table off the shrinker's list, if it is there. For the holder of
    /// the area's lock.
    pub(super) fn unlist(&self, page: Removed) -> AreaPage {
        let raw = page.as_non_null();
        // SAFETY: `page` owns it.
        let node = unsafe { page::node(raw) };
        // SAFETY: As in `list`.
        unsafe { self.lru.remove(page::item(raw), node, raw) };
        // SAFETY: It has just been taken off, and only who finds it in the table puts it on.
        unsafe { page.into_unlisted() }
    }
}

/// `vm_insert_pages()`. Returns how many were inserted, and the result.
///
/// # Safety
///
/// `pages` must be pages of order 0 that nobody frees before this returns.
unsafe fn insert(
    vma: &VmaMixedMap,
    address: usize,
    pages: &mut [*mut bindings::page],
) -> (usize, Result) {
    let mut left = pages.len();
    // What has been written to the pages is there before the pages are.
    smp_mb(barrier::Write);
    // SAFETY: The VMA is locked for reading and has `VM_MIXEDMAP`, by the type's invariant; the
    // function checks the addresses. `left` is how many pages there are, which are as it needs them,
    // says the caller.
    let result =
        unsafe { bindings::vm_insert_pages(vma.as_ptr(), address, pages.as_mut_ptr(), &mut left) };
    (
        pages.len().saturating_sub(left),
        kernel::error::to_result(result),
    )
}

impl<B: Send + 'static> Reclaim for Area<B> {
    fn reclaim(candidate: Candidate<'_, Self>) -> Verdict {
        // SAFETY: What is on this list is pages of areas with this payload. This one is not freed:
        // who wants to has to take it off the list first, and `candidate` has the list's lock.
        let (backing, index, page) = unsafe { page::listed::<Backing<B>>(candidate.item()) };
        // SAFETY: The pointer is from `Arc::as_ptr`. An area has a reference until it has taken all
        // pages off the list, which it cannot now, as above.
        let backing = unsafe { ArcBorrow::from_raw(backing) };
        let counters = candidate.counters();
        let Some((table, slot)) = backing
            .table
            .as_ref()
            .and_then(|table| Some((table, table.slot(index)?)))
        else {
            return candidate.skip();
        };

        let word = slot.load();
        let is_same = word.page() == Some(page);
        match word.used() {
            Use::Covered if is_same && slot.unlist(word) => {
                counters.in_use.count();
                return candidate.remove();
            }
            Use::IdleAgain if is_same && slot.forget_use(word) => {
                counters.rotated.count();
                return candidate.rotate();
            }
            Use::Idle if is_same => (),
            // The area is taking the page, or just took it into use.
            _ => {
                counters.contended.count();
                return candidate.rotate();
            }
        }

        // Keeps the locks below where they are, also when the area goes meanwhile.
        let backing: Arc<Backing<B>> = backing.into();
        let Some(install) = backing.install.try_lock() else {
            counters.contended.count();
            return candidate.rotate();
        };
        // With the address space, the page tables go. (Nor are there any when the file is closed.)
        let mm = backing.users();
        let vma = mm
            .as_ref()
            .and_then(|mm| mm.lock_vma_under_rcu(table.start));
        let is_mapped = mm.is_some() && !backing.is_closed();
        let decision = decide(vma, is_mapped);
        if matches!(decision, Decision::LostRace) {
            counters.lost_race.count();
            return candidate.rotate();
        }
        let Some(page) = slot.reclaim(word) else {
            counters.contended.count();
            return candidate.rotate();
        };
        let mut pages = PageList::new();
        let mut taking = candidate.take();
        // SAFETY: It has been taken off its list, and it is not in the table any more.
        pages.push(unsafe { page.into_unlisted() });
        // What is behind it both on the list and in the area goes with it: zapping a page takes
        // longer than all the rest here, and zapping many at a time little longer than one.
        let mut end = index.wrapping_add(1);
        while end - index < BATCH {
            let Some(page) = take_next(&mut taking, &backing, table, end) else {
                break;
            };
            pages.push(page);
            end += 1;
        }
        taking.finish(|| {
            for index in index..end {
                trace::PageReclaimed::trace(|| trace::PageReclaimed {
                    tgid: backing.tgid,
                    offset: index.wrapping_mul(PAGE_SIZE) as u64,
                });
            }
            let counter = match decision {
                Decision::Ours(vma) => {
                    let len = (end - index).wrapping_mul(PAGE_SIZE);
                    vma.zap_vma_range(table.address(index), len);
                    &counters.zapped
                }
                Decision::Impostor => &counters.impostor,
                Decision::Gone | Decision::LostRace => &counters.gone,
            };
            counter.add((end - index) as u64);
            drop(install);
            drop(pages);
        })
    }
}

/// Takes page `index` off the shrinker's list and out of the table of `backing`, if it is idle, and
/// what is next on that list.
fn take_next<B: Send + 'static>(
    taking: &mut Taking<'_, Area<B>>,
    backing: &Arc<Backing<B>>,
    table: &Table,
    index: usize,
) -> Option<AreaPage> {
    // SAFETY: On this list there are pages of areas with this payload. This one is not freed: who
    // wants to has to take it off the list first, whose lock `taking` has.
    let (owner, at, page) = unsafe { page::listed::<Backing<B>>(taking.next()?) };
    if owner != Arc::as_ptr(backing) || at != index {
        return None;
    }
    let slot = table.slot(index)?;
    let word = slot.load();
    if word.page() != Some(page) {
        return None;
    }
    let page = slot.reclaim(word)?;
    taking.take_next();
    // SAFETY: It has been taken off its list, and it is not in the table any more.
    Some(unsafe { page.into_unlisted() })
}
