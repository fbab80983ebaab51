// SPDX-License-Identifier: GPL-2.0

//! What the current task has, and the kernel crate has no safe way to, or none as fast: its nice
//! value, its thread group, its memory, its files, the time in ticks.

#![allow(unsafe_code)]

use core::ptr::NonNull;

use kernel::{
    bindings,
    fs::{file, File, LocalFile},
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
    },
    task::{Pid, Task},
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

/// A thread group: its numbers. (Not a task: that would stay, with much besides, as long as this.)
///
/// # Invariants
///
/// It has a reference to the `struct pid` of a thread group.
pub(super) struct ThreadGroup(NonNull<bindings::pid>);

// SAFETY: Any thread may count references, and look at the numbers, which do not change.
unsafe impl Send for ThreadGroup {}
// SAFETY: As above.
unsafe impl Sync for ThreadGroup {}

impl ThreadGroup {
    /// The current task's.
    pub(super) fn current() -> Result<Self> {
        // SAFETY: The current task is valid while it runs this.
        let pid =
            unsafe { bindings::get_task_pid(Task::current_raw(), bindings::pid_type_PIDTYPE_TGID) };
        // INVARIANT: The reference is ours. (A task that runs has a thread group.)
        NonNull::new(pid).map(Self).ok_or(ESRCH)
    }

    /// Its number where the current task lives; 0 if it has none there, or all of it is gone.
    pub(super) fn number(&self) -> Pid {
        let pid = self.0.as_ptr();
        // CAST: `PIDTYPE_TGID` is 1.
        // SAFETY: By the type invariant it is there. The pointer is stored to as a whole when the group
        // comes, executes another program, and goes; it is only compared.
        let first = unsafe {
            core::ptr::read_volatile(
                &raw const (*pid).tasks[bindings::pid_type_PIDTYPE_TGID as usize].first,
            )
        };
        if first.is_null() {
            return 0;
        }
        // SAFETY: As above.
        unsafe { bindings::pid_vnr(pid) }
    }
}

impl Drop for ThreadGroup {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up, which is this one.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
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

/// The file behind a descriptor of the current process.
///
/// `EBADF`. Called in ioctls of this driver only.
pub(super) fn fget(fd: u32) -> Result<ARef<File>> {
    let file = LocalFile::fget(fd)?;
    // SAFETY: An ioctl looks its own file up with `fdget()`; an `fdget_pos()` section is only ever
    // entered for system calls that use a file position, and this task is not in one.
    Ok(unsafe { LocalFile::assume_no_fdget_pos(file) })
}

/// Closes a descriptor of the current process, if there is one of that number.
///
/// May sleep. No lock may be held: it can be the last descriptor of a file of this driver. It can be
/// the one that the current ioctl was called on: see [`OwnFile`].
fn close(fd: u32) {
    // SAFETY: Any number will do. A file that goes with this is torn down by task work, which the
    // current task, being no kernel thread, does on its way to userspace.
    unsafe { bindings::close_fd(fd) };
}

/// Whether an ioctl ever kept its file.
static HAS_KEPT: Atomic<bool> = Atomic::new(false);

/// The file that the current ioctl is on.
///
/// The system call need not have a reference of its own to it, but use that of its descriptor: no
/// other task can close that then (`fdget()`). The ioctl itself can.
pub(crate) struct OwnFile<'a> {
    file: &'a File,
    kept: Option<ARef<File>>,
}

impl<'a> OwnFile<'a> {
    /// `file` is the current ioctl's. To be dropped when nothing is left to do.
    pub(crate) fn new(file: &'a File) -> Self {
        OwnFile { file, kept: None }
    }

    /// Whether the file was opened, or has been set, not to wait.
    pub(super) fn is_nonblocking(&self) -> bool {
        self.file.flags() & file::flags::O_NONBLOCK != 0
    }

    /// Closes descriptors of the current process; the file stays until `self` is dropped. If that
    /// drops the last reference, it goes on the way to userspace.
    ///
    /// May sleep. No lock may be held.
    pub(super) fn close(&mut self, descriptors: impl Iterator<Item = u32>) {
        if self.kept.is_none() {
            HAS_KEPT.store(true, Relaxed);
            self.kept = Some(self.file.into());
        }
        for descriptor in descriptors {
            close(descriptor);
        }
    }
}

#[cfg(all(CONFIG_PREEMPTION, not(CONFIG_TASKS_RCU)))]
compile_error!("a preemptible kernel without CONFIG_TASKS_RCU (any of tracing, kprobes and BPF selects it): this module could not be unloaded safely");

/// Waits until no ioctl is in this module any more.
///
/// It is unloaded when it has no open files, which wait for their ioctls, but for one that kept its
/// file: when it has let go, somebody else may close that, while it is still on its way out of here.
///
/// May sleep.
pub(crate) fn wait_for_ioctls() {
    if HAS_KEPT.load(Relaxed) {
        // SAFETY: It may be called wherever sleeping is allowed. It waits for each task to sleep on
        // its own account, or be in userspace, where none is that is on its way there.
        #[cfg(CONFIG_TASKS_RCU)]
        unsafe {
            bindings::synchronize_rcu_tasks()
        };
        // SAFETY: As above. Where no task is preempted, this waits for all that run.
        #[cfg(not(CONFIG_TASKS_RCU))]
        unsafe {
            bindings::synchronize_rcu()
        };
    }
}
