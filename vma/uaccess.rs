// SPDX-License-Identifier: GPL-2.0

//! Copying from and to userspace, where what is in the kernel is known to be as long as it is said
//! to be.
//!
//! [`UserSliceReader`](kernel::uaccess::UserSliceReader) either looks up what kind of object it is to
//! read into, or reads by value.
//!
//! C header: `include/linux/uaccess.h`.

use kernel::{bindings, prelude::*, uaccess::UserPtr};

/// What is short enough to be copied a word at a time, in bytes: nothing where a word may not be at
/// any address. Above, a "rep movsb" is as fast. (And no more than the guard page at the end of
/// userspace: an address beyond is found out by the first access.)
const SHORT: usize = if cfg!(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS) {
    256
} else {
    0
};

/// See `uaccess.c`.
mod extern_c {
    use kernel::ffi::c_void;

    unsafe extern "C" {
        pub(super) fn rust_ipc_read_user(to: *mut c_void, from: *const c_void, len: usize) -> bool;
        pub(super) fn rust_ipc_write_user(to: *mut c_void, from: *const c_void, len: usize)
            -> bool;
        pub(super) fn rust_ipc_put_user(value: u32, to: *mut c_void) -> bool;
    }
}

/// Reads `len` bytes from the user address `from`.
///
/// May sleep. `EFAULT`: then what is at `to` can be anything.
///
/// # Safety
///
/// There must be `len` bytes at `to`, to be written to.
#[inline]
pub(super) unsafe fn read_raw(to: *mut c_void, from: UserPtr, len: usize) -> Result {
    let from = from.as_const_ptr();
    // It does not matter where nothing is.
    let is_read = if len == 0 {
        true
    } else if len <= SHORT {
        // SAFETY: There are `len` bytes to be written to, says the caller. Any address may be read
        // from: the function checks that it is userspace's.
        unsafe { extern_c::rust_ipc_read_user(to, from, len) }
    } else {
        // SAFETY: As above.
        unsafe { bindings::_copy_from_user(to, from, len) == 0 }
    };
    is_read.then_some(()).ok_or(EFAULT)
}

/// Reads as many bytes as there are in `bytes` from the user address `from`.
///
/// May sleep. `EFAULT`.
#[inline]
pub(crate) fn read(bytes: &mut [u8], from: UserPtr) -> Result {
    // SAFETY: These are as many bytes to be written to.
    unsafe { read_raw(bytes.as_mut_ptr().cast(), from, bytes.len()) }
}

/// Writes `bytes` to the user address `to`.
///
/// May sleep. `EFAULT`: then some may have been written.
#[inline]
pub(crate) fn write(to: UserPtr, bytes: &[u8]) -> Result {
    let (to, from, len) = (to.as_mut_ptr(), bytes.as_ptr().cast(), bytes.len());
    let is_written = if len == 0 {
        true
    } else if len <= SHORT {
        // SAFETY: There are `len` bytes to be read. Any address may be written to: the function checks
        // that it is userspace's.
        unsafe { extern_c::rust_ipc_write_user(to, from, len) }
    } else {
        // SAFETY: As above.
        unsafe { bindings::_copy_to_user(to, from, len) == 0 }
    };
    is_written.then_some(()).ok_or(EFAULT)
}

/// Writes a code to the user address `to`.
///
/// May sleep. `EFAULT`.
#[inline]
pub(crate) fn put(to: UserPtr, code: u32) -> Result {
    if SHORT == 0 {
        return write(to, &code.to_ne_bytes());
    }
    // SAFETY: Any address may be written to: the function checks that it is userspace's.
    let is_written = unsafe { extern_c::rust_ipc_put_user(code, to.as_mut_ptr()) };
    is_written.then_some(()).ok_or(EFAULT)
}
