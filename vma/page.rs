// SPDX-License-Identifier: GPL-2.0

//! Pages of areas.

use core::{
    mem::{offset_of, ManuallyDrop},
    ptr::NonNull,
};

use kernel::{
    bindings,
    ffi::c_int,
    page::{BorrowedPage, Page, PAGE_SIZE},
    prelude::*,
    uaccess::UserPtr,
};

use super::uaccess;

/// How pages are allocated: charged to the active memory cgroup (the receiver's), and without a
/// warning and without the OOM killer if that is full.
const FLAGS: bindings::gfp_t = bindings::GFP_KERNEL_ACCOUNT
    | bindings::__GFP_HIGHMEM
    | bindings::__GFP_NOWARN
    | 1 << bindings::___GFP_RETRY_MAYFAIL_BIT;

const LRU: usize = offset_of!(
    bindings::page,
    __bindgen_anon_1.__bindgen_anon_1.__bindgen_anon_1.lru
);
const INDEX: usize = offset_of!(
    bindings::page,
    __bindgen_anon_1
        .__bindgen_anon_1
        .__bindgen_anon_2
        .__folio_index
);
const PRIVATE: usize = offset_of!(bindings::page, __bindgen_anon_1.__bindgen_anon_1.private);

// What follows the flags in `struct page`: two words for a list, the mapping, the index.
kernel::static_assert!(INDEX == LRU + 3 * size_of::<usize>());
kernel::static_assert!(PRIVATE == INDEX + size_of::<usize>());

/// A page of an area, owned by it.
///
/// The page's own fields say where it belongs: `private` to which area, `__folio_index` which of
/// its pages it is, and `lru` is its place in a list of the shrinker. Nothing else uses these fields
/// of such a page: it is of order 0, neither anonymous nor in a page cache (`mapping` stays null),
/// and has no flags like `PG_lru` or `PG_private`, so reclaim, migration and compaction leave it
/// alone; `vm_insert_pages()`, zapping and `get_user_pages()` only count it and its mappings.
///
/// # Invariants
///
/// - Points to a page of order 0, to which this owns one reference.
/// - `lru` is an initialised list head, and on no list; `private` and `__folio_index` are as
///   [`AreaPage::alloc`] set them.
#[repr(transparent)]
pub(super) struct AreaPage(NonNull<bindings::page>);

// SAFETY: Pages belong to no thread.
unsafe impl Send for AreaPage {}

impl AreaPage {
    /// Allocates page `index` of `owner`. [`None`] if there is no memory, or the active memory
    /// cgroup is full. May sleep.
    pub(super) fn alloc<T>(owner: *const T, index: usize, zeroed: bool) -> Option<Self> {
        let zero = if zeroed { bindings::__GFP_ZERO } else { 0 };
        // SAFETY: It is always safe to call this where sleeping is allowed.
        let page = NonNull::new(unsafe { bindings::alloc_pages(FLAGS | zero, 0) })?;
        let item = item(page).as_ptr();
        let head = bindings::list_head {
            next: item,
            prev: item,
        };
        // SAFETY: The page has just been allocated: nobody else accesses this field.
        unsafe { item.write(head) };
        // SAFETY: As above.
        unsafe { field::<*const T>(page, PRIVATE).write(owner) };
        // SAFETY: As above.
        unsafe { field::<usize>(page, INDEX).write(index) };
        // INVARIANT: The page is of order 0, the fields are set, and the reference is new.
        Some(Self(page))
    }

    /// The page.
    pub(super) fn as_non_null(&self) -> NonNull<bindings::page> {
        self.0
    }

    /// The page, as C functions want it.
    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.0.as_ptr()
    }

    /// Gives the page up as a pointer.
    pub(super) fn into_raw(self) -> NonNull<bindings::page> {
        ManuallyDrop::new(self).0
    }

    /// Takes back a page that was given up as a pointer.
    ///
    /// # Safety
    ///
    /// `page` must come from [`AreaPage::into_raw`], be on no list, and is given up by whoever had
    /// it.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: As it was when the page was given up.
        Self(page)
    }
}

impl Drop for AreaPage {
    fn drop(&mut self) {
        let nowhere = bindings::list_head {
            next: core::ptr::null_mut(),
            prev: core::ptr::null_mut(),
        };
        // Somebody may have got hold of the page through `get_user_pages()`. Then it is theirs from
        // here on, and goes when they let go, so nothing of ours may stay in it.
        // SAFETY: By the type invariant the page is ours, and it is on no list.
        unsafe { item(self.0).as_ptr().write(nowhere) };
        // SAFETY: By the type invariant the page is ours.
        unsafe { field::<usize>(self.0, PRIVATE).write(0) };
        // SAFETY: As above.
        unsafe { field::<usize>(self.0, INDEX).write(0) };
        // SAFETY: By the type invariant there is a reference to give up, to a page of order 0.
        unsafe { bindings::__free_pages(self.0.as_ptr(), 0) };
    }
}

/// A page that was taken out of a table, and may still be on a list of the shrinker.
///
/// # Invariants
///
/// Points to an [`AreaPage`] given up as a pointer that this owns, except that it may be listed.
#[must_use = "the page is leaked unless it is taken off the list"]
pub(super) struct Removed(NonNull<bindings::page>);

impl Removed {
    /// Takes over a page that was in a table.
    ///
    /// # Safety
    ///
    /// `page` must come from [`AreaPage::into_raw`], and is given up by whoever had it.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: As the caller says.
        Self(page)
    }

    /// The page.
    pub(super) fn as_non_null(&self) -> NonNull<bindings::page> {
        self.0
    }

    /// The page, to be freed.
    ///
    /// # Safety
    ///
    /// It must be on no list now, and nobody may be about to put it on one.
    pub(super) unsafe fn into_unlisted(self) -> AreaPage {
        // SAFETY: By the type invariant the page is ours, and it is on no list, says the caller.
        unsafe { AreaPage::from_raw(self.0) }
    }
}

/// Pages to be freed later, chained through their own list heads.
///
/// # Invariants
///
/// `first` is null, or an [`AreaPage`] given up as a pointer that this owns; so is each page's `next`
/// (which points to the page's list head).
pub(super) struct PageList {
    first: *mut bindings::list_head,
}

impl PageList {
    pub(super) const fn new() -> Self {
        Self {
            first: core::ptr::null_mut(),
        }
    }

    /// Adds a page. Does not sleep.
    pub(super) fn push(&mut self, page: AreaPage) {
        let item = item(page.into_raw()).as_ptr();
        // SAFETY: The page is ours now, and on no other list.
        unsafe { (*item).next = self.first };
        // INVARIANT: The page has been given up to this, and `next` is what was first.
        self.first = item;
    }
}

impl Drop for PageList {
    fn drop(&mut self) {
        while let Some(item) = NonNull::new(self.first) {
            // SAFETY: By the type invariant this is in a page of ours.
            self.first = unsafe { (*item.as_ptr()).next };
            // SAFETY: As above.
            let page = unsafe { page_of(item) };
            // SAFETY: By the type invariant the page was given up to this, which now forgets it. It
            // has been chained with the others since, by `next`, and is on no other list.
            drop(unsafe { AreaPage::from_raw(page) });
        }
    }
}

/// The page that `item` is the list head of.
///
/// # Safety
///
/// There must be one.
unsafe fn page_of(item: NonNull<bindings::list_head>) -> NonNull<bindings::page> {
    // SAFETY: The list head is in a page, at this offset.
    unsafe { item.cast::<u8>().sub(LRU) }.cast()
}

/// What the fields of a listed page say: its owner, its index, and itself.
///
/// # Safety
///
/// `item` must be the list head of an [`AreaPage`] of a `T` that is not dropped meanwhile.
pub(super) unsafe fn listed<T>(
    item: NonNull<bindings::list_head>,
) -> (*const T, usize, NonNull<bindings::page>) {
    // SAFETY: The list head is that of a page, says the caller.
    let page = unsafe { page_of(item) };
    // SAFETY: The field does not change while the page exists.
    let owner = unsafe { field::<*const T>(page, PRIVATE).read() };
    // SAFETY: As above.
    let index = unsafe { field::<usize>(page, INDEX).read() };
    (owner, index, page)
}

/// Lets `page` be written to.
///
/// # Safety
///
/// `page` must be of order 0 and not freed for the duration of `'a`.
pub(super) unsafe fn borrow<'a>(page: NonNull<bindings::page>) -> BorrowedPage<'a> {
    // SAFETY: The caller's requirements are those of this function.
    unsafe { BorrowedPage::from_raw(page) }
}

/// Copies `len` bytes from the user address `from` to `offset` in `page`.
///
/// `EFAULT`; `EINVAL`, and nothing is copied, unless that is within the page. May sleep.
///
/// # Safety
///
/// Nobody else in the kernel may access that part of the page meanwhile.
pub(super) unsafe fn copy_from_user(
    page: &Page,
    offset: usize,
    from: UserPtr,
    len: usize,
) -> Result {
    if offset > PAGE_SIZE || len > PAGE_SIZE - offset {
        return Err(EINVAL);
    }
    // SAFETY: The page is there while it is borrowed.
    let address = unsafe { bindings::kmap_local_page(page.as_ptr()) };
    // SAFETY: There are `len` bytes, which the caller may write to.
    let result = unsafe { uaccess::read_raw(address.wrapping_byte_add(offset), from, len) };
    // SAFETY: It is what has been mapped last.
    unsafe { bindings::kunmap_local(address) };
    result
}

/// The place of `page` in a list of the shrinker.
pub(super) fn item(page: NonNull<bindings::page>) -> NonNull<bindings::list_head> {
    let item = field::<bindings::list_head>(page, LRU);
    // A page does not end at the end of the address space.
    NonNull::new(item).unwrap_or(NonNull::dangling())
}

/// The NUMA node that `page` is on.
///
/// # Safety
///
/// `page` must not be freed meanwhile.
pub(super) unsafe fn node(page: NonNull<bindings::page>) -> c_int {
    // SAFETY: The page is there, says the caller.
    unsafe { bindings::page_to_nid(page.as_ptr()) }
}

/// Points to what is `offset` bytes into `page`.
fn field<T>(page: NonNull<bindings::page>, offset: usize) -> *mut T {
    page.as_ptr().wrapping_byte_add(offset).cast()
}
