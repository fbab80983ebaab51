// SPDX-License-Identifier: GPL-2.0

//! What the current task has, and the kernel crate has no safe way to, or none as fast: its nice
//! value, its memory, its files, the time in ticks.

#![allow(unsafe_code)]

use kernel::{
    bindings,
    fs::{File, LocalFile},
    prelude::*,
    sync::aref::ARef,
    task::Task,
    uaccess::UserPtr,
};

/// Nice value of a task with `static_prio` 0, negated: `DEFAULT_PRIO` of
/// `include/linux/sched/prio.h`.
const DEFAULT_PRIO: i32 = 120;

/// Largest nice value: `MAX_NICE` of `include/linux/sched/prio.h`.
const MAX_NICE: i32 = 19;

/// The current task's nice value, −20 to 19.
pub(super) fn nice() -> i32 {
    let current = Task::current_raw();
    // SAFETY: The current task is valid while it runs this. `static_prio` is an `int` that
    // `set_user_nice()` in another task may store to at the same time; like the C side's
    // `task_nice()` this is a single aligned load, and either value will do.
    let static_prio = unsafe { core::ptr::read_volatile(&raw const (*current).static_prio) };
    static_prio - DEFAULT_PRIO
}

/// Sets the current task's nice value, or the lowest that `RLIMIT_NICE` lets it have.
///
/// May sleep.
pub(super) fn set_nice(value: i32) {
    if value == nice() {
        return;
    }
    let current = Task::current_raw();
    // SAFETY: The current task is valid while it runs this, and `can_nice()` takes any value.
    if unsafe { bindings::can_nice(current, value) } != 0 {
        // SAFETY: As above; `set_user_nice()` ignores values that are none.
        // CAST: widens.
        unsafe { bindings::set_user_nice(current, value as c_long) };
        return;
    }
    // SAFETY: A running task has a signal struct, and `rlim` an entry for each `RLIMIT_*`. Limits may
    // be changed by another task meanwhile: one aligned load, as `rlimit()` does.
    let limit = unsafe {
        core::ptr::read_volatile(
            &raw const (*(*current).signal).rlim[bindings::RLIMIT_NICE as usize].rlim_cur,
        )
    };
    // `rlimit_to_nice()`: 1 stands for nice 19, 40 for −20, and 0 for no right at all.
    let lowest = MAX_NICE + 1 - i32::try_from(limit).unwrap_or(MAX_NICE);
    // SAFETY: As above.
    // CAST: widens.
    unsafe { bindings::set_user_nice(current, lowest as c_long) };
}

/// The time in ticks, as far as 32 bits go.
pub(super) fn ticks() -> u32 {
    // SAFETY: The tick stores to it at any time, whole; any of the values will do.
    let jiffies = unsafe { core::ptr::read_volatile(&raw const bindings::jiffies) };
    // CAST: truncates.
    jiffies as u32
}

/// How long ago [`ticks`] said so, in milliseconds: at most as long as 32 bits go.
pub(super) fn elapsed_ms(since: u32) -> u64 {
    // SAFETY: Any number of ticks has a length.
    unsafe { bindings::jiffies64_to_msecs(ticks().wrapping_sub(since).into()) }
}

/// Reads as many bytes as there are in `bytes` from the user address `from`.
///
/// Where they are to be, and without looking up what kind of object `bytes` is in, as
/// [`UserSliceReader`](kernel::uaccess::UserSliceReader) does. May sleep. `EFAULT`.
pub(super) fn read_user(bytes: &mut [u8], from: UserPtr) -> Result {
    // CAST: widens.
    let len = bytes.len() as c_ulong;
    // SAFETY: There are `len` bytes to be written to, and any address may be read from: the function
    // checks that it is userspace's.
    let left =
        unsafe { bindings::_copy_from_user(bytes.as_mut_ptr().cast(), from.as_const_ptr(), len) };
    if left == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// Writes `bytes` to the user address `to`, like [`read_user`].
///
/// May sleep. `EFAULT`.
pub(super) fn write_user(to: UserPtr, bytes: &[u8]) -> Result {
    // CAST: widens.
    let len = bytes.len() as c_ulong;
    // SAFETY: There are `len` bytes to be read, and any address may be written to: the function
    // checks that it is userspace's.
    let left = unsafe { bindings::_copy_to_user(to.as_mut_ptr(), bytes.as_ptr().cast(), len) };
    if left == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// The file behind a descriptor of the current process.
///
/// `EBADF`. Called in ioctls of this driver only.
pub(super) fn file(fd: u32) -> Result<ARef<File>> {
    let file = LocalFile::fget(fd)?;
    // SAFETY: An ioctl looks its own file up with `fdget()`; an `fdget_pos()` section is only ever
    // entered for system calls that use a file position, and this task is not in one.
    Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
}

/// Closes a descriptor of the current process, if there is one of that number.
///
/// May sleep. No lock may be held: it can be the last descriptor of a file of this driver, and even
/// the one that the current ioctl was called on.
pub(super) fn close(fd: u32) {
    // SAFETY: Any number will do. If it is the current ioctl's own file, `fdget()` need not have
    // counted the system call as a user of it. But the file does not go here, also if this drops its
    // last reference: tearing it down is left to task work, which the current task, being no kernel
    // thread, does on its way to userspace. Until then this module does not count it again.
    unsafe { bindings::close_fd(fd) };
}
