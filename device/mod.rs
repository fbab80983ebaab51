// SPDX-License-Identifier: GPL-2.0

//! What the VFS calls: misc devices and their file operations.
//!
//! Duty: turn each raw pointer that the VFS hands in into a reference, once, and go on in safe code
//! (`ipc` for commands, `vma` for mappings). `kernel::miscdevice` is not used: its trait has neither
//! `mmap_prepare` nor `poll` nor `flush`.
//!
//! # Lock order
//!
//! None of its own. `misc_register()` and `misc_deregister()` take the misc core's mutex, under which
//! `open` is called as well; `mapped` and `close` of the areas are called with the mmap lock held.
//!
//! # Lifetimes
//!
//! An open file owns one reference to its [`Process`], in `private_data`, from `open` to `release`.
//! `fops.owner` keeps the module while a file is open; a mapping keeps its file.

#![allow(unsafe_code)]

pub(crate) mod names;

use core::marker::PhantomPinned;

use kernel::{
    bindings,
    fs::File,
    prelude::*,
    str::CString,
    sync::{poll::PollTable, Arc, ArcBorrow},
    types::{ForeignOwnable, Opaque},
};

use crate::{
    ipc::{Area, Context, OwnFile, Payload, Process},
    vma::{self, AreaOwner, VmaDesc},
};

/// A registered misc device, and the context that its files are opened in.
///
/// # Invariants
///
/// `misc` is registered, `misc.name` points into `name`, and `misc` is the first field.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Device {
    #[pin]
    misc: Opaque<bindings::miscdevice>,
    context: Arc<Context>,
    name: CString,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The misc core serialises registration itself; a device may be deregistered by any thread.
unsafe impl Send for Device {}
// SAFETY: Nothing of a registered device changes; `misc` is only touched by the misc core.
unsafe impl Sync for Device {}

impl Device {
    /// Registers `/dev/<name>`, with a dynamic minor number.
    ///
    /// May sleep. Errors are those of `misc_register()`: `EEXIST` for a name that is taken, `EBUSY`
    /// without a free minor number.
    pub(crate) fn register(name: CString, context: Arc<Context>) -> Result<Pin<KBox<Self>>> {
        KBox::try_pin_init(
            try_pin_init!(Self {
                context,
                name,
                _pin: PhantomPinned,
                misc <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                    let mut misc: bindings::miscdevice = pin_init::zeroed();
                    // CAST: `MISC_DYNAMIC_MINOR` is 255.
                    misc.minor = bindings::MISC_DYNAMIC_MINOR as c_int;
                    misc.name = name.as_char_ptr();
                    misc.fops = &FILE_OPERATIONS.0;
                    // SAFETY: `slot` is valid for writing.
                    unsafe { slot.write(misc) };
                    // SAFETY: `slot` has just been filled in. It stays where it is until `drop`
                    // deregisters it, and so do the name and the operations.
                    // INVARIANT: On success the device is registered.
                    kernel::error::to_result(unsafe { bindings::misc_register(slot) })
                }),
            }? Error),
            GFP_KERNEL,
        )
    }
}

// `open` gets at the device by the pointer to its misc device.
kernel::static_assert!(core::mem::offset_of!(Device, misc) == 0);

#[pinned_drop]
impl PinnedDrop for Device {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type's invariant the device is registered.
        unsafe { bindings::misc_deregister(self.misc.get()) };
    }
}

/// Operations that can be shared: a `struct file_operations` is only ever read.
#[repr(transparent)]
struct FileOperations(bindings::file_operations);

// SAFETY: The pointers in it are to functions and to the module, and nothing writes to them.
unsafe impl Sync for FileOperations {}

static FILE_OPERATIONS: FileOperations = FileOperations(bindings::file_operations {
    owner: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
    open: Some(open),
    release: Some(release),
    flush: Some(flush),
    poll: Some(poll),
    unlocked_ioctl: Some(ioctl),
    #[cfg(CONFIG_COMPAT)]
    compat_ioctl: bindings::compat_ptr_ioctl,
    mmap_prepare: Some(mmap_prepare),
    ..pin_init::zeroed()
});

/// The process of an open file.
///
/// # Safety
///
/// `file` must be a file of [`FILE_OPERATIONS`] that has been opened, and not been released for as
/// long as the result is used.
unsafe fn process_of<'a>(file: *const bindings::file) -> ArcBorrow<'a, Process> {
    // SAFETY: `open` has set `private_data`, and nothing changes it until `release`.
    let private_data = unsafe { (*file).private_data };
    // SAFETY: `private_data` comes from `into_foreign`, and the reference that it stands for is the
    // file's until `release`.
    unsafe { <Arc<Process> as ForeignOwnable>::borrow(private_data) }
}

/// # Safety
///
/// Only for [`FILE_OPERATIONS`].
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `misc_open()` passes on the inode and the file that are being opened.
    let result = unsafe { bindings::nonseekable_open(inode, file) };
    if result != 0 {
        return result;
    }
    // SAFETY: `misc_open()` has set `private_data` to the misc device, the first field of a
    // `Device`. It holds the misc core's mutex, so that the device is not deregistered meanwhile.
    let device = unsafe { &*(*file).private_data.cast::<Device>() };
    // SAFETY: The file is valid for this call, and is not in anybody's file table yet.
    let opened = unsafe { File::from_raw_file(file) };
    match Process::open(device.context.clone(), opened) {
        Ok(process) => {
            // SAFETY: The file is being opened: nobody else looks at it yet.
            unsafe { (*file).private_data = process.into_foreign() };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// # Safety
///
/// Only for [`FILE_OPERATIONS`].
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The file is being released: nothing borrows from `private_data` any more.
    let process = unsafe { <Arc<Process> as ForeignOwnable>::from_foreign((*file).private_data) };
    process.release();
    0
}

/// # Safety
///
/// Only for [`FILE_OPERATIONS`].
unsafe extern "C" fn flush(file: *mut bindings::file, _id: bindings::fl_owner_t) -> c_int {
    // SAFETY: The VFS calls this for an open file, which it holds meanwhile.
    unsafe { process_of(file) }.flush();
    0
}

/// # Safety
///
/// Only for [`FILE_OPERATIONS`].
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: The VFS calls this for an open file, which it holds meanwhile.
    let process = unsafe { process_of(file) };
    // SAFETY: The VFS passes a table, or null, that is valid for this call.
    let table = unsafe { PollTable::from_raw(table) };
    // SAFETY: As above; there is no `fdget_pos` section in a poll.
    let polled = unsafe { File::from_raw_file(file) };
    match Process::poll(process, polled, &table) {
        Ok(true) => bindings::POLLIN,
        Ok(false) => 0,
        Err(_) => bindings::POLLERR,
    }
}

/// # Safety
///
/// Only for [`FILE_OPERATIONS`].
unsafe extern "C" fn ioctl(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // SAFETY: The VFS calls this for an open file. It need not have counted itself as a user of it;
    // but nobody else can close the descriptor then, and who does it here has `own` keep the file.
    let process = unsafe { process_of(file) };
    // SAFETY: As above; there is no `fdget_pos` section in an ioctl.
    let file = unsafe { File::from_raw_file(file) };
    let mut own = OwnFile::new(file);
    match Process::ioctl(process, command, argument, &mut own) {
        Ok(()) => 0,
        // CAST: widens.
        Err(error) => error.to_errno() as c_long,
    }
}

/// # Safety
///
/// Only for [`FILE_OPERATIONS`].
unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
    // SAFETY: The mm core passes a description that is valid, and nobody else's, for this call.
    let desc = unsafe { VmaDesc::from_raw(desc) };
    // SAFETY: The description is of a mapping of an open file of these operations, which the caller
    // of mmap() holds.
    let process = unsafe { process_of(desc.file()) };
    if !process.is_current() {
        return EINVAL.to_errno();
    }
    // SAFETY: As above: the file is one of these operations.
    match unsafe { vma::prepare::<Files>(process.area(), desc) } {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// How `vma` finds the area of a file of [`FILE_OPERATIONS`]. It is for those.
struct Files;

impl AreaOwner for Files {
    type Payload = Payload;

    unsafe fn area(file: *const bindings::file) -> Arc<Area> {
        // SAFETY: The caller vouches for a file that this type is for, one of `FILE_OPERATIONS`, and
        // that it is open during the call.
        unsafe { process_of(file) }.area().clone()
    }

    unsafe fn unmapped(file: *const bindings::file) {
        // SAFETY: As above.
        unsafe { process_of(file) }.stop_receiving();
    }
}
