// SPDX-License-Identifier: GPL-2.0

//! Areas and the buffers in them.

use core::{marker::PhantomData, ops::Range};

use kernel::{
    alloc::Flags,
    bindings,
    mm::Mm,
    page::{Page, PAGE_MASK, PAGE_SIZE},
    prelude::*,
    sync::{aref::ARef, new_spinlock, Arc, SpinLock, SpinLockGuard},
    task::Pid,
    uaccess::UserPtr,
};

use super::{
    backing::{Backing, Claim, Table, BATCH},
    filled::Filled,
    ops::VmOps,
    page::{self, PageList, Removed},
    table::{Released, Slot, Use},
    VmaDesc,
};
use crate::{
    alloc::ranges::{self, Handle, Kind, Ranges, Taken},
    shrinker::{Lru, Memcg},
    watch::trace,
};

/// Why there is no buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AllocError {
    /// The area is not mapped, or its owner is exiting.
    Unmapped,
    /// The area has no room, or one-way buffers have used up their share.
    NoSpace,
    /// There is no memory for a page, or the memory cgroup of the owner is full.
    NoMemory,
    /// The length is zero or no multiple of 8.
    Invalid,
}

/// The state of an area, for those who look.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Info {
    /// Address of the area; 0 if it is not mapped.
    pub(crate) start: usize,
    /// Length of the usable part of the area, in bytes; 0 if it has never been mapped.
    pub(crate) size_bytes: usize,
    /// Buffers that are being filled, or delivered and not freed.
    pub(crate) live_buffers: usize,
    /// Bytes in these.
    pub(crate) live_bytes: usize,
    /// The most bytes that ever were.
    pub(crate) most_live_bytes: usize,
    /// Pages that a buffer covers some of.
    pub(crate) pages_in_use: usize,
    /// Pages that are kept for the next message.
    pub(crate) pages_idle: usize,
    /// Pages that are not there.
    pub(crate) pages_absent: usize,
    /// What is left of the share of one-way buffers, in bytes.
    pub(crate) oneway_free_bytes: usize,
}

/// Buffers up to this length fall idle, and are freed, with the area locked once.
const AT_ONCE_BYTES: usize = BATCH * PAGE_SIZE;

/// How often room is made for what a buffer needs: others may be faster to take it.
const CHARGE_TRIES: usize = 4;

struct Inner<B> {
    /// [`None`] until the area is used.
    ranges: Option<Ranges<B>>,
    /// Nothing is received any more: pages are not kept.
    is_drained: bool,
}

impl<B> Inner<B> {
    /// Takes the ranges when they are not needed any more, to be dropped without the lock. (Who has a
    /// reference to something of the owner's may keep the area for long.)
    fn take_unneeded(&mut self) -> Option<Ranges<B>> {
        let is_drained = self.is_drained;
        self.ranges
            .take_if(|ranges| is_drained && ranges.live() == 0)
    }
}

/// A receive area: one for each open file. `B` is what a delivered buffer carries until it is freed.
#[pin_data(PinnedDrop)]
pub(crate) struct Area<B: Send + 'static> {
    backing: Arc<Backing<B>>,
    /// The most of a mapping that is used.
    max_bytes: usize,
    #[pin]
    inner: SpinLock<Inner<B>>,
}

/// Says which area a file has.
pub(crate) trait AreaOwner: 'static {
    /// What the area's buffers carry.
    type Payload: Send + 'static;

    /// The area of `file`.
    ///
    /// # Safety
    ///
    /// `file` must be one that [`prepare`] may be called for with this type, and be open and remain
    /// so for the duration of the call.
    unsafe fn area(file: *const bindings::file) -> Arc<Area<Self::Payload>>;

    /// The area of `file` has been unmapped, for good.
    ///
    /// May sleep. The mmap lock is held.
    ///
    /// # Safety
    ///
    /// As for [`AreaOwner::area`].
    unsafe fn unmapped(file: *const bindings::file);
}

/// Prepares a mapping of `area`: to be called by `mmap_prepare`. Changes nothing but `desc`.
///
/// # Safety
///
/// The [`VmaDesc::file`] of `desc` must be one that `O` is for.
///
/// # Errors
///
/// - `EPERM`: the mapping is to be writable.
/// - `EINVAL`: it is in another address space than the area's owner's.
/// - `EBUSY`: the area is, or has been, mapped. (Of two that get past this, one gets it when it is
///   to be claimed.)
pub(crate) unsafe fn prepare<O: AreaOwner>(area: &Area<O::Payload>, desc: &mut VmaDesc) -> Result {
    if !area.backing.is_of(desc.mm()) {
        return Err(EINVAL);
    }
    desc.try_clear_maywrite().map_err(|_| EPERM)?;
    if area.backing.claim.as_ref().is_some() {
        return Err(EBUSY);
    }
    // Pages with a `struct page`, but none that are ours to find by fault: `fault` says SIGBUS.
    desc.set_mixedmap();
    // No merging, no growing.
    desc.set_dontexpand();
    // A child has no business with the messages of its parent.
    desc.set_dontcopy();
    // Messages may be secret (the sender can have them cleared when they are freed), and are not
    // the receiver's to write to a disk when it crashes.
    desc.set_dontdump();
    // SAFETY: All that they ask for is that `O` is for this file, as the caller says.
    unsafe { desc.set_ops::<AreaOps<O>>() };
    Ok(())
}

/// The operations of an area's VMA.
struct AreaOps<O>(PhantomData<O>);

impl<O: AreaOwner> VmOps for AreaOps<O> {
    type Owned = Arc<Backing<O::Payload>>;

    unsafe fn mapped(file: *const bindings::file, addresses: Range<usize>) -> Result<Self::Owned> {
        // SAFETY: The caller vouches for `file`, and `prepare`, which alone sets these operations, has
        // been called for it with this type.
        unsafe { O::area(file) }.claim(addresses)
    }

    unsafe fn close(backing: Self::Owned, file: *const bindings::file) {
        backing.close();
        // SAFETY: As for `mapped`.
        unsafe { O::unmapped(file) };
    }
}

impl<B: Send + 'static> Area<B> {
    /// Creates an area that `owner`, of the thread group `tgid`, may map. Of a mapping, the first
    /// `max_bytes` are used.
    ///
    /// May sleep. `ENOMEM`.
    pub(crate) fn new(
        lru: Arc<Lru<Self>>,
        owner: ARef<Mm>,
        tgid: Pid,
        max_bytes: usize,
    ) -> Result<Arc<Self>> {
        let backing = Backing::new(lru, owner, tgid)?;
        Arc::pin_init(
            pin_init!(Self {
                backing,
                max_bytes,
                inner <- new_spinlock!(
                    Inner { ranges: None, is_drained: false },
                    "Area::inner"
                ),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The area is mapped at `addresses`. Called with the mmap lock held for writing.
    fn claim(&self, addresses: Range<usize>) -> Result<Arc<Backing<B>>> {
        let current = kernel::current!();
        let mm = current.mm().ok_or(EINVAL)?;
        if !self.backing.is_of(mm.as_raw()) {
            return Err(EINVAL);
        }
        if self.backing.claim.as_ref().is_some() {
            return Err(EBUSY);
        }
        let len = addresses.end.saturating_sub(addresses.start);
        let len = len.min(self.max_bytes).min(ranges::MAX_BYTES) & PAGE_MASK;
        if len == 0 {
            return Err(EINVAL);
        }
        let memcg = Memcg::of(mm);
        self.backing.lru.prepare(memcg.as_ref())?;
        // Before anybody can take a page. (Nobody else claims it now: that takes the mmap lock.)
        self.backing.set_memcg(memcg);
        let claim = Claim {
            start: addresses.start,
            len,
        };
        if !self.backing.claim.populate(claim) {
            return Err(EBUSY);
        }
        Ok(self.backing.clone())
    }

    /// Whether the area is mapped now.
    pub(crate) fn is_mapped(&self) -> bool {
        self.backing.mapped().is_some()
    }

    /// Reserves a buffer of `len_bytes`, which is to be filled, installed and delivered.
    ///
    /// With `clear_on_free` its bytes are cleared before others take their place. Also says whether
    /// the sender of this one-way message is sending too many: see [`Ranges::is_spam`]. Called by the
    /// sender. May sleep.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        len_bytes: usize,
        kind: Kind,
        clear_on_free: bool,
    ) -> Result<(Buffer<B>, bool), AllocError> {
        let table = match self.backing.in_use() {
            Some(table) => table,
            None => self.start_using()?,
        };
        let mut is_complete = true;
        let mut is_spam = false;
        let handle = loop {
            let mut inner = self.inner.lock();
            if inner.is_drained {
                return Err(AllocError::Unmapped);
            }
            let ranges = inner.ranges.as_mut().ok_or(AllocError::Unmapped)?;
            match ranges.alloc(len_bytes, kind, clear_on_free) {
                Ok((handle, new_pages)) => {
                    if kind != Kind::TwoWay {
                        is_spam = ranges.is_spam(&handle);
                    }
                    // Pages that others use already, they may still be about to install.
                    let is_alone = new_pages == pages(&handle);
                    // Others may use those at the ends as soon as the area is unlocked. The ones
                    // between can wait, if they are many.
                    if handle.len_bytes() <= AT_ONCE_BYTES {
                        is_complete &= acquire(table, new_pages);
                        drop(inner);
                    } else {
                        let inside = inside(&handle);
                        is_complete &= acquire(table, new_pages.start..inside.start);
                        is_complete &= acquire(table, inside.end..new_pages.end);
                        drop(inner);
                        is_complete &= acquire(table, inside);
                    }
                    is_complete &= is_alone || has_edges(table, &handle);
                    break handle;
                }
                Err(ranges::Error::Invalid) => return Err(AllocError::Invalid),
                Err(ranges::Error::NoSpace) => return Err(AllocError::NoSpace),
                Err(ranges::Error::NeedsMemory) => (),
            }
            drop(inner);
            self.grow()?;
        };
        let pending = if is_complete {
            None
        } else {
            match self.populate(table, &handle) {
                Ok(pending) => pending,
                Err(error) => {
                    self.release(table, handle);
                    return Err(error);
                }
            }
        };
        let buffer = Buffer {
            area: self.clone(),
            handle: Some(handle),
            pending,
        };
        Ok((buffer, is_spam))
    }

    /// Makes sure that all pages of a buffer are there: those that others may cover, too, are
    /// installed, the others are pending. If there are any of these, returns what is noted of them.
    ///
    /// May sleep.
    #[cold]
    fn populate(&self, table: &Table, handle: &Handle) -> Result<Option<KBox<Filled>>, AllocError> {
        let mut pending = None;
        let memcg = self.backing.memcg()?;
        let (pages, inside) = (pages(handle), inside(handle));
        for (index, slot) in pages.clone().zip(table.slots(pages)) {
            if slot.load().page().is_some() {
                continue;
            }
            if !inside.contains(&index) {
                Backing::install_zeroed(&self.backing, table, index)?;
                continue;
            }
            if pending.is_none() {
                let filled = KBox::new(Filled::default(), GFP_KERNEL_ACCOUNT);
                pending = Some(filled.map_err(|_| AllocError::NoMemory)?);
            }
            let page = Backing::alloc(&self.backing, memcg.as_ref(), index, false)?;
            slot.put_pending(page).map_err(|_| AllocError::Invalid)?;
        }
        Ok(pending)
    }

    /// Makes what the first buffer needs, unless another sender was faster. An area that nobody has
    /// sent anything to has neither ranges nor a table.
    ///
    /// May sleep.
    #[cold]
    fn start_using(&self) -> Result<&Table, AllocError> {
        let claim = self.backing.mapped().ok_or(AllocError::Unmapped)?;
        let pages = claim.len / PAGE_SIZE;
        let sizes = [
            size_of::<ranges::Chunk<B>>(),
            pages * size_of::<u32>(),
            pages * size_of::<Slot>(),
        ];
        let (chunk, heads, table) = self.charge(&sizes, |flags| -> Result<_> {
            let chunk = ranges::Chunk::new(flags)?;
            let heads = ranges::new_heads(pages, flags)?;
            Ok((chunk, heads, Table::new(claim.start, pages, flags)?))
        })?;
        let ranges = Ranges::new(claim.len, PAGE_SIZE, chunk, heads);
        let ranges = ranges.map_err(|_| AllocError::Invalid)?;
        let mut inner = self.inner.lock();
        let unused = if inner.ranges.is_none() && !inner.is_drained {
            inner.ranges = Some(ranges);
            self.backing.table.populate(table);
            None
        } else {
            Some((ranges, table))
        };
        // Not with the lock held.
        drop(inner);
        drop(unused);
        self.backing.in_use().ok_or(AllocError::Unmapped)
    }

    /// Allocates with `f` what the area needs for buffers, charged to the owner: `sizes` in bytes.
    ///
    /// Not with reclaim, as nothing would keep that from the OOM killer. If there is no room in the
    /// owner's cgroup, it is made by allocating as many pages, which is different in that. May sleep.
    fn charge<T, E>(
        &self,
        sizes: &[usize],
        f: impl Fn(Flags) -> Result<T, E>,
    ) -> Result<T, AllocError> {
        let memcg = self.backing.memcg()?;
        let account = GFP_KERNEL_ACCOUNT & !GFP_KERNEL;
        let flags = GFP_NOWAIT | account | __GFP_NOWARN;
        for _ in 0..CHARGE_TRIES {
            if let Ok(memory) = Memcg::charge(memcg.as_ref(), || f(flags)) {
                return Ok(memory);
            }
            // All at the same time: what the group has left need not be enough for any but the first,
            // and comes back with it.
            let mut room = PageList::new();
            for size in sizes {
                // An object takes a power of two, and a word to be charged by.
                let taken = size.next_power_of_two() + size_of::<usize>();
                for _ in 0..taken.div_ceil(PAGE_SIZE) {
                    room.push(Backing::alloc(&self.backing, memcg.as_ref(), 0, false)?);
                }
            }
            drop(room);
        }
        Err(AllocError::NoMemory)
    }

    /// Gives the ranges memory for more buffers.
    fn grow(&self) -> Result<(), AllocError> {
        let chunk = self.charge(&[size_of::<ranges::Chunk<B>>()], ranges::Chunk::new)?;
        let mut inner = self.inner.lock();
        let spare = match inner.ranges.as_mut() {
            Some(ranges) if ranges.needs_memory() => {
                ranges.provide(chunk);
                None
            }
            _ => Some(chunk),
        };
        // Not with the lock held.
        drop(inner);
        drop(spare);
        Ok(())
    }

    /// Frees the delivered buffer that starts at the user address `address`, and returns what was
    /// delivered with it. [`None`] if there is none.
    ///
    /// May sleep if the buffer is to be cleared.
    pub(crate) fn take(&self, address: u64) -> Option<B> {
        let table = self.backing.table.as_ref()?;
        let offset = usize::try_from(address).ok()?.checked_sub(table.start)?;
        let mut inner = self.inner.lock();
        let (payload, taken) = inner.ranges.as_mut()?.take(offset, AT_ONCE_BYTES)?;
        self.finish(table, inner, taken);
        Some(payload)
    }

    /// Where in the area the user address `address` is, in bytes.
    pub(crate) fn offset_of(&self, address: u64) -> u64 {
        let claim = self.backing.claim.as_ref();
        claim.map_or(0, |claim| address.wrapping_sub(claim.start as u64))
    }

    /// The buffer that starts `start_bytes` into the area is being freed, and not by its owner's
    /// command.
    fn trace_free(&self, start_bytes: usize) {
        trace::BufferFree::trace(|| trace::BufferFree {
            tgid: self.backing.tgid,
            offset: start_bytes as u64,
        });
    }

    /// Frees everything that has been delivered, calls `f` with what was delivered with it, and
    /// gives back all pages. Buffers that are being filled stay until they are dropped; nothing can
    /// be reserved any more.
    ///
    /// May sleep.
    pub(crate) fn drain(&self, mut f: impl FnMut(B)) {
        // From now on there is no first use, either.
        self.inner.lock().is_drained = true;
        let Some(table) = self.backing.table.as_ref() else {
            return;
        };
        let mut from = 0;
        loop {
            let mut inner = self.inner.lock();
            let taken = inner
                .ranges
                .as_mut()
                .and_then(|ranges| ranges.take_from(from, AT_ONCE_BYTES));
            let Some((start, (payload, taken))) = taken else {
                break;
            };
            from = start;
            self.trace_free(start);
            self.finish(table, inner, taken);
            f(payload);
        }
        self.evict(table, Slot::evict);
        let unneeded = self.inner.lock().take_unneeded();
        drop(unneeded);
    }

    /// The file is closed for good: what there is of its owner's need not stay.
    ///
    /// May sleep.
    pub(crate) fn forget_owner(&self) {
        self.backing.forget_owner();
    }

    /// Completes [`Ranges::take`], and unlocks.
    fn finish(&self, table: &Table, inner: SpinLockGuard<'_, Inner<B>>, taken: Taken) {
        match taken {
            Taken::Free(idle_pages) => {
                // SAFETY: No live range touches these pages, as `take` says, and whatever range
                // did has no `Handle`.
                let unused = unsafe { self.idle(&inner, table.slots(idle_pages).iter()) };
                drop(inner);
                drop(unused);
            }
            Taken::Claimed(handle) => {
                drop(inner);
                if handle.clear_on_free() {
                    clear(table, &handle);
                }
                self.release(table, handle);
            }
        }
    }

    /// Frees the range of a buffer that is not delivered.
    #[cold]
    fn give_back(&self, handle: Handle) {
        let Some(table) = self.backing.table.as_ref() else {
            return;
        };
        self.trace_free(handle.start_bytes());
        if handle.clear_on_free() {
            clear(table, &handle);
        }
        self.release(table, handle);
    }

    /// Frees a range that is reserved or claimed.
    fn release(&self, table: &Table, handle: Handle) {
        // The pages that only this range covers fall idle first, if they are many, so that the area
        // is not locked for long.
        let mut inside = inside(&handle);
        if inside.len() < BATCH {
            inside = 0..0;
        }
        for slots in table.slots(inside.clone()).chunks(BATCH) {
            let inner = self.inner.lock();
            // SAFETY: Only this range covers these pages, and its `Handle` is not used any more.
            let unused = unsafe { self.idle(&inner, slots.iter()) };
            drop(inner);
            drop(unused);
        }
        let mut inner = self.inner.lock();
        let Some(ranges) = inner.ranges.as_mut() else {
            return;
        };
        let idle_pages = ranges.release(handle);
        // SAFETY: No live range touches these pages, as `Ranges::release` says.
        let unused = unsafe { self.idle(&inner, outside(table, &idle_pages, &inside)) };
        let unneeded = inner.take_unneeded();
        drop(inner);
        drop(unused);
        drop(unneeded);
    }

    /// No buffer covers the pages of `slots` any more. Returns those that are not kept, to be dropped
    /// without the lock, which is held for `inner`.
    ///
    /// # Safety
    ///
    /// The slots are of this area, and nobody uses the pages from now on because of a buffer that
    /// covers them.
    unsafe fn idle<'a>(&self, inner: &Inner<B>, slots: impl Iterator<Item = &'a Slot>) -> PageList {
        let keep = !inner.is_drained && !self.backing.is_closed();
        let mut unused = PageList::new();
        for slot in slots {
            // SAFETY: As the caller says.
            match unsafe { slot.release(keep) } {
                Released::Done => (),
                // SAFETY: The slot has the page, and is of this area, which is locked.
                Released::List(page) => unsafe { self.backing.list(page) },
                Released::Free(page) => unused.push(self.backing.unlist(page)),
            }
        }
        unused
    }

    /// Takes out the pages that `take` yields, and frees them.
    fn evict(&self, table: &Table, take: impl Fn(&Slot) -> Option<Removed>) {
        for slots in table.all().chunks(BATCH) {
            let mut unused = PageList::new();
            let inner = self.inner.lock();
            for page in slots.iter().filter_map(&take) {
                unused.push(self.backing.unlist(page));
            }
            drop(inner);
            drop(unused);
        }
    }

    /// The first buffer that starts `start_bytes` or more into the area. Does not sleep.
    pub(crate) fn buffer_from(&self, start_bytes: usize) -> Option<ranges::Seen> {
        self.inner.lock().ranges.as_ref()?.seen_from(start_bytes)
    }

    /// The state of the area. The numbers of pages may change while they are counted.
    ///
    /// Does not sleep.
    pub(crate) fn info(&self) -> Info {
        let Some(claim) = self.backing.claim.as_ref() else {
            return Info::default();
        };
        let mut info = Info {
            size_bytes: claim.len,
            oneway_free_bytes: ranges::one_way_bytes(claim.len),
            ..Info::default()
        };
        if self.is_mapped() {
            info.start = claim.start;
        }
        let Some(table) = self.backing.table.as_ref() else {
            info.pages_absent = claim.len / PAGE_SIZE;
            return info;
        };
        for word in table.all().iter().map(Slot::load) {
            match word.used() {
                Use::Covered | Use::Pending if word.page().is_some() => info.pages_in_use += 1,
                Use::Idle | Use::IdleAgain if word.page().is_some() => info.pages_idle += 1,
                _ => info.pages_absent += 1,
            }
        }
        if let Some(ranges) = self.inner.lock().ranges.as_ref() {
            info.live_buffers = ranges.live();
            info.live_bytes = ranges.used_bytes();
            info.most_live_bytes = ranges.most_used_bytes();
            info.oneway_free_bytes = ranges.one_way_left_bytes();
        }
        info
    }
}

#[pinned_drop]
impl<B: Send + 'static> PinnedDrop for Area<B> {
    fn drop(self: Pin<&mut Self>) {
        // There are no buffers: each has a reference. So no page is in use, but to those of messages
        // that nobody has freed.
        if let Some(table) = self.backing.table.as_ref() {
            // SAFETY: As above: nobody fills or clears one.
            self.evict(table, |slot| match unsafe { slot.release(false) } {
                Released::Free(page) => Some(page),
                Released::Done | Released::List(_) => None,
            });
        }
    }
}

/// A part of an area, reserved for a message.
///
/// Dropping it gives the part back.
pub(crate) struct Buffer<B: Send + 'static> {
    area: Arc<Area<B>>,
    /// [`None`] once it is delivered.
    handle: Option<Handle>,
    /// What has been written to, as long as there are pages that are to be installed. (Apart, as there
    /// seldom are any, and a buffer is moved a few times on its way.)
    pending: Option<KBox<Filled>>,
}

impl<B: Send + 'static> Buffer<B> {
    /// The user address of the buffer in the receiver; that of the area once it is delivered.
    pub(crate) fn address(&self) -> u64 {
        let start = self
            .area
            .backing
            .table
            .as_ref()
            .map_or(0, |table| table.start);
        // Within the area, so within the address space.
        start.wrapping_add(self.offset()) as u64
    }

    /// Where in the area the buffer is, in bytes; 0 once it is delivered.
    pub(crate) fn offset(&self) -> usize {
        self.handle.as_ref().map_or(0, Handle::start_bytes)
    }

    /// Copies `len` bytes from the user address `from` to `offset`. May sleep.
    ///
    /// `EFAULT`; `EINVAL` if the buffer ends before.
    pub(crate) fn copy_from_user(&mut self, offset: usize, from: UserPtr, len: usize) -> Result {
        let mut copied = 0;
        self.fill(offset, len, |page, at, len| {
            let from = from.wrapping_byte_add(copied);
            copied += len;
            // SAFETY: Only who has the buffer writes to its part of the page. Userspace may read it
            // meanwhile, which makes no difference to the kernel.
            unsafe { page::copy_from_user(page, at, from, len) }
        })
    }

    /// Copies `bytes` to `offset`. `EINVAL` if the buffer ends before.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> Result {
        let mut rest = bytes;
        self.fill(offset, bytes.len(), |page, at, len| {
            let (part, after) = rest.split_at_checked(len).ok_or(EINVAL)?;
            rest = after;
            // SAFETY: As in `copy_from_user`; `part` has `len` bytes.
            unsafe { page.write_raw(part.as_ptr(), at, len) }
        })
    }

    /// Makes sure that all pages are there, for the buffer to be delivered. What has not been
    /// written to of a page that never was anybody's is zeroed first. May sleep.
    pub(crate) fn install(&mut self) -> Result<(), AllocError> {
        if let Some(filled) = &self.pending {
            self.install_pending(filled)?;
            self.pending = None;
        }
        Ok(())
    }

    #[cold]
    fn install_pending(&self, filled: &Filled) -> Result<(), AllocError> {
        let handle = self.handle.as_ref().ok_or(AllocError::Invalid)?;
        let backing = &self.area.backing;
        let table = backing.in_use().ok_or(AllocError::Unmapped)?;
        for gap in filled.gaps(handle.len_bytes()) {
            zero_pending(table, handle, gap);
        }
        backing.with_vma(table, |vma| {
            let mut batch = [core::ptr::null_mut(); BATCH];
            let mut pages = pages(handle);
            while let Some(first) = pages.find(|index| pending(table, *index).is_some()) {
                let mut count = 0;
                for (entry, index) in batch.iter_mut().zip(first..pages.end) {
                    let Some(page) = pending(table, index) else {
                        break;
                    };
                    *entry = page;
                    count += 1;
                }
                let batch = batch.get_mut(..count).unwrap_or(&mut []);
                // SAFETY: These are `AreaPage`s of the table, which stay there as long as this
                // buffer, which covers them.
                let (inserted, result) = unsafe { backing.insert(table, vma, first, batch) };
                table
                    .slots(first..first + inserted)
                    .iter()
                    .for_each(Slot::set_mapped);
                result.map_err(|_| AllocError::NoMemory)?;
                pages.start = first + inserted;
            }
            Ok(())
        })
    }

    /// Delivers the buffer: from now on [`Area::take`] may free it.
    ///
    /// It must have been installed, or its receiver may not find all of it. Does not sleep.
    pub(crate) fn deliver(&mut self, payload: B) {
        if let Some(handle) = self.handle.take() {
            if let Some(ranges) = self.area.inner.lock().ranges.as_mut() {
                ranges.deliver(handle, payload);
            }
        }
    }

    /// Has `write` write `len` bytes at `offset`, page by page.
    fn fill(
        &mut self,
        offset: usize,
        len: usize,
        mut write: impl FnMut(&Page, usize, usize) -> Result,
    ) -> Result {
        let bytes = offset..offset.checked_add(len).ok_or(EINVAL)?;
        let table = self.area.backing.table.as_ref().ok_or(EINVAL)?;
        let handle = self.handle.as_ref().ok_or(EINVAL)?;
        let filled = self.pending.as_ref().map(|pending| {
            let (filled, gap) = pending.with(bytes.clone());
            zero_pending(table, handle, gap);
            filled
        });
        each_page(table, handle, bytes, |_, page, at, len| {
            write(page, at, len)
        })?;
        if let (Some(pending), Some(filled)) = (&mut self.pending, filled) {
            **pending = filled;
        }
        Ok(())
    }
}

impl<B: Send + 'static> Drop for Buffer<B> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.area.give_back(handle);
        }
    }
}

/// The pages, by index, that a buffer covers all of. They are its own.
fn inside(handle: &Handle) -> Range<usize> {
    let start = handle.start_bytes();
    let end = start.saturating_add(handle.len_bytes());
    let (first, after) = (start.div_ceil(PAGE_SIZE), end / PAGE_SIZE);
    first..after.max(first)
}

/// Covers `pages`, as [`Slot::acquire`] does. Says whether all are there.
fn acquire(table: &Table, pages: Range<usize>) -> bool {
    let slots = table.slots(pages).iter();
    slots.fold(true, |is_complete, slot| is_complete & slot.acquire())
}

/// The entries of `pages` that are before or after those of `inside`.
fn outside<'a>(
    table: &'a Table,
    pages: &Range<usize>,
    inside: &Range<usize>,
) -> impl Iterator<Item = &'a Slot> {
    let (before, after) = if inside.is_empty() {
        (pages.clone(), 0..0)
    } else {
        (pages.start..inside.start, inside.end..pages.end)
    };
    Iterator::chain(table.slots(before).iter(), table.slots(after))
}

/// The pages, by index, that a buffer covers some of.
fn pages(handle: &Handle) -> Range<usize> {
    let start = handle.start_bytes();
    let end = start.saturating_add(handle.len_bytes());
    start / PAGE_SIZE..end.div_ceil(PAGE_SIZE)
}

/// Whether the first and the last page of a buffer are there.
fn has_edges(table: &Table, handle: &Handle) -> bool {
    let pages = pages(handle);
    let has_page = |index| {
        let slot: Option<&Slot> = table.slot(index);
        slot.is_some_and(|slot| slot.load().page().is_some())
    };
    has_page(pages.start) && has_page(pages.end.saturating_sub(1))
}

/// Page `index`, if it is pending.
fn pending(table: &Table, index: usize) -> Option<*mut bindings::page> {
    let word = table.slot(index)?.load();
    let page = word.page().filter(|_| word.used() == Use::Pending)?;
    Some(page.as_ptr())
}

/// Zeroes `bytes` of a buffer as far as they are in pages that never were anybody's.
fn zero_pending(table: &Table, handle: &Handle, bytes: Range<usize>) {
    // It fails if a page is absent, but all are there.
    let _ = each_page(table, handle, bytes, |used, page, at, len| match used {
        // SAFETY: Nobody but who has the buffer knows the page yet.
        Use::Pending => unsafe { page.fill_zero_raw(at, len) },
        _ => Ok(()),
    });
}

/// Calls `f` for each page that `bytes` of the range of `handle`, which is of the same area as
/// `table`, are in: what it is used for, the page, and offset and length in it.
///
/// `EINVAL` if the range ends before, or a page is absent.
fn each_page(
    table: &Table,
    handle: &Handle,
    bytes: Range<usize>,
    mut f: impl FnMut(Use, &Page, usize, usize) -> Result,
) -> Result {
    if bytes.end > handle.len_bytes() {
        return Err(EINVAL);
    }
    let start = handle.start_bytes().saturating_add(bytes.start);
    let end = handle.start_bytes().saturating_add(bytes.end);
    let mut at = start % PAGE_SIZE;
    let mut left = bytes.len();
    for slot in table.slots(start / PAGE_SIZE..end.div_ceil(PAGE_SIZE)) {
        let word = slot.load();
        let page = word.page().ok_or(EINVAL)?;
        let part = left.min(PAGE_SIZE - at);
        // SAFETY: It is an `AreaPage`, so of order 0. The range of `handle` covers some of it, and is
        // reserved or claimed while that is borrowed, so the page stays in the table.
        let page = unsafe { page::borrow(page) };
        f(word.used(), &page, at, part)?;
        left -= part;
        at = 0;
    }
    Ok(())
}

/// Clears the bytes of a buffer that nobody is to read any more.
fn clear(table: &Table, handle: &Handle) {
    // It fails if a page is absent, but all are there.
    let _ = each_page(table, handle, 0..handle.len_bytes(), |_, page, at, len| {
        // SAFETY: Only who has the handle writes to this part of the page.
        unsafe { page.fill_zero_raw(at, len) }
    });
}
