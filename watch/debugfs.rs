// SPDX-License-Identifier: GPL-2.0

//! Directories and files in debugfs.
//!
//! `kernel::debugfs` is not used: nothing keeps the module, with the operations of its files in it,
//! while one of them is open. Here a file's operations have an owner: debugfs takes a reference to
//! the module for each open file, and refuses to open one when the module is going.

#[cfg(not(CONFIG_DEBUG_FS))]
compile_error!("rust_ipc shows its state in debugfs: the kernel needs CONFIG_DEBUG_FS");

use core::{marker::PhantomData, ptr};

use kernel::{
    bindings,
    prelude::*,
    seq_file::SeqFile,
    sync::{Arc, ArcBorrow},
};

/// A directory or file, removed when this is dropped. What is in it must be gone by then.
///
/// # Invariants
///
/// What a function of debugfs returned that makes one, or an error, which the functions of debugfs
/// take for "nothing to do".
struct Entry(*mut bindings::dentry);

// SAFETY: debugfs has its own locks, and any thread may remove an entry.
unsafe impl Send for Entry {}
// SAFETY: As above.
unsafe impl Sync for Entry {}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is an entry, or nothing to remove. Nobody else removes it:
        // a directory outlives what is in it, as that has a reference. It waits for those who read a
        // file.
        unsafe { bindings::debugfs_remove(self.0) };
    }
}

/// A directory, removed when the last reference to it goes. What is in it has one.
pub(crate) struct Directory {
    entry: Entry,
    _parent: Option<Arc<Directory>>,
}

impl Directory {
    /// Makes a directory in the root of debugfs.
    ///
    /// May sleep. `ENOMEM`; there is no error if debugfs has one.
    pub(crate) fn new(name: &CStr) -> Result<Arc<Self>> {
        Self::make(name, None)
    }

    /// Makes a directory in this one. As [`Directory::new`].
    pub(crate) fn subdirectory(self: &Arc<Self>, name: &CStr) -> Result<Arc<Self>> {
        Self::make(name, Some(self.clone()))
    }

    fn make(name: &CStr, parent: Option<Arc<Self>>) -> Result<Arc<Self>> {
        let within = parent
            .as_ref()
            .map_or(ptr::null_mut(), |parent| parent.entry.0);
        // SAFETY: The name is a string; the parent is a directory, or none, or an error.
        // INVARIANT: As it says.
        let entry = Entry(unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), within) });
        let directory = Directory {
            entry,
            _parent: parent,
        };
        Ok(Arc::new(directory, GFP_KERNEL)?)
    }

    /// Makes a file, for root to read, that shows a number. It goes with the directory.
    ///
    /// Its operations are the kernel's own: one that is still open then reads as an error.
    ///
    /// # Safety
    ///
    /// The number must stay where it is until the directory has been dropped, and be written to
    /// atomically.
    pub(crate) unsafe fn number(&self, name: &CStr, number: *mut u64) {
        // SAFETY: The name is a string, the parent a directory or an error, and the caller keeps the
        // number, which debugfs only ever reads, as a whole.
        unsafe { bindings::debugfs_create_u64(name.as_char_ptr(), 0o444, self.entry.0, number) };
    }

    /// Makes a file, for root to read, with what `list` says. It is removed when the result is
    /// dropped; who has it open then reads no more of it.
    ///
    /// May sleep. There is no error if debugfs has one.
    pub(crate) fn file<L: List>(self: &Arc<Self>, name: &CStr, list: Arc<L>) -> File<L> {
        // SAFETY: The name is a string, and the parent a directory or an error. The operations are
        // there as long as the module, which has an owner that says so. `open` gets at the list by
        // the pointer; it is kept by the `File` until the file has been removed.
        let entry = unsafe {
            bindings::debugfs_create_file_full(
                name.as_char_ptr(),
                0o400,
                self.entry.0,
                Arc::as_ptr(&list).cast_mut().cast(),
                ptr::null(),
                Operations::<L>::FILE,
            )
        };
        // INVARIANT: As it says.
        File {
            _entry: Entry(entry),
            _list: list,
            _directory: self.clone(),
        }
    }
}

/// A file. (Fields are dropped in this order: nobody opens it any more when the list goes.)
pub(crate) struct File<L: List> {
    _entry: Entry,
    _list: Arc<L>,
    _directory: Arc<Directory>,
}

/// What a file says, item by item, so that it can be long: a reader's buffer takes some items at a
/// time, and between these there is nothing but a [`Place`](List::Place).
pub(crate) trait List: Send + Sync + Sized + 'static {
    /// Where a reader is: an item that is, or was, or may be there.
    type Place: Send;

    /// Where to begin. May sleep. `ENOMEM`.
    fn first(&self) -> Result<Self::Place>;

    /// Prints the item at `place`, or nothing if it is gone, and says where the next one is.
    ///
    /// May sleep. Called again for the same place if there was no room for what it printed.
    fn show(&self, place: &Self::Place, out: &SeqFile) -> Option<Self::Place>;
}

/// A reader of a file.
struct Reader<L: List> {
    list: Arc<L>,
    /// The number of the item at `place`.
    number: i64,
    /// [`None`] at the end.
    place: Option<L::Place>,
    /// What follows `place`, once that has been shown.
    next: Option<L::Place>,
}

/// The operations of a file.
struct Operations<L>(PhantomData<L>);

impl<L: List> Operations<L> {
    // (References, so that the compiler sees that they are for ever.)
    const FILE: &'static bindings::file_operations = &bindings::file_operations {
        owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    const SEQ: &'static bindings::seq_operations = &bindings::seq_operations {
        start: Some(Self::start),
        next: Some(Self::next),
        stop: Some(Self::stop),
        show: Some(Self::show),
    };

    /// # Safety
    ///
    /// Only for `FILE`, in a file made by [`Directory::file`].
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: debugfs has set `i_private` to the list, and does not remove the file meanwhile.
        let list = unsafe { ArcBorrow::from_raw((*inode).i_private.cast::<L>()) };
        let reader = Reader {
            list: list.into(),
            number: 0,
            place: None,
            next: None,
        };
        let Ok(reader) = KBox::new(reader, GFP_KERNEL) else {
            return ENOMEM.to_errno();
        };
        // SAFETY: The file is being opened, and has no private data yet. The operations are there as
        // long as the module, which the file keeps.
        let result = unsafe { bindings::seq_open(file, Self::SEQ) };
        if result != 0 {
            return result;
        }
        // SAFETY: `seq_open()` has set `private_data` to a `struct seq_file`, whose `private` is
        // nobody else's.
        unsafe {
            (*(*file).private_data.cast::<bindings::seq_file>()).private =
                KBox::into_raw(reader).cast()
        };
        0
    }

    /// # Safety
    ///
    /// Only for `FILE`.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` has set both. The file is being released, so nobody reads any more.
        let reader = unsafe {
            KBox::from_raw(
                (*(*file).private_data.cast::<bindings::seq_file>())
                    .private
                    .cast::<Reader<L>>(),
            )
        };
        drop(reader);
        // SAFETY: As above.
        unsafe { bindings::seq_release(inode, file) }
    }

    /// The reader of an open file.
    ///
    /// # Safety
    ///
    /// `seq` must be of a file of these operations, and be locked, for as long as the result is used.
    unsafe fn reader<'a>(seq: *mut bindings::seq_file) -> &'a mut Reader<L> {
        // SAFETY: `open` has set it; it is a `KBox`'s, which `release` drops. The lock of `seq`
        // excludes all others.
        unsafe { &mut *(*seq).private.cast::<Reader<L>>() }
    }

    /// What the functions below answer if there is an item, and if there is none. Nobody looks at it.
    fn token(reader: &Reader<L>, seq: *mut bindings::seq_file) -> *mut c_void {
        if reader.place.is_some() {
            seq.cast()
        } else {
            ptr::null_mut()
        }
    }

    /// # Safety
    ///
    /// Only for `SEQ`.
    unsafe extern "C" fn start(seq: *mut bindings::seq_file, number: *mut i64) -> *mut c_void {
        // SAFETY: The functions of `SEQ` are called with the lock of `seq` held.
        let reader = unsafe { Self::reader(seq) };
        // SAFETY: The number is a field of `seq`.
        let number = unsafe { *number };
        if number == 0 {
            match reader.list.first() {
                Ok(place) => reader.place = Some(place),
                Err(error) => return error.to_ptr(),
            }
        } else if number != reader.number {
            // It goes on where it was, or begins anew.
            reader.place = None;
        }
        reader.number = number;
        Self::token(reader, seq)
    }

    /// # Safety
    ///
    /// Only for `SEQ`.
    unsafe extern "C" fn next(
        seq: *mut bindings::seq_file,
        _token: *mut c_void,
        number: *mut i64,
    ) -> *mut c_void {
        // SAFETY: As in `start`.
        let reader = unsafe { Self::reader(seq) };
        reader.number += 1;
        // SAFETY: As in `start`.
        unsafe { *number = reader.number };
        reader.place = reader.next.take();
        Self::token(reader, seq)
    }

    /// # Safety
    ///
    /// Only for `SEQ`.
    unsafe extern "C" fn stop(_seq: *mut bindings::seq_file, _token: *mut c_void) {}

    /// # Safety
    ///
    /// Only for `SEQ`.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _token: *mut c_void) -> c_int {
        // SAFETY: As in `start`.
        let reader = unsafe { Self::reader(seq) };
        // SAFETY: `seq` is locked by the caller.
        let out = unsafe { SeqFile::from_raw(seq) };
        if let Some(place) = &reader.place {
            reader.next = reader.list.show(place, out);
        }
        0
    }
}
