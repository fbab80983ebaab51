// SPDX-License-Identifier: GPL-2.0

//! System calls that the oracle's `sys` has no use for.
//!
//! All `unsafe` code of this crate is in this module.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use libc::{c_int, c_long, c_void, pid_t};
use rust_ipc_oracle::sys::{Outcome, own};

use crate::board::Board;

fn outcome(result: c_long) -> Outcome {
    u64::try_from(result).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// A new board, for this process and those that it starts.
pub(crate) fn board() -> io::Result<&'static Board> {
    // SAFETY: A new mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Board>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The mapping is as long as a board, aligned to a page, never unmapped, and full of
    // zeroes; a board is made of atomic integers alone.
    Ok(unsafe { &*start.cast::<Board>() })
}

/// Waits while the number, which processes share, is this one.
pub(crate) fn wait_while(number: &AtomicU32, value: u32) {
    let no_limit = std::ptr::null::<libc::timespec>();
    // SAFETY: The address of a number that is there for the duration of the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            number.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            no_limit,
        )
    };
}

/// Wakes who waits for a change of the number.
pub(crate) fn wake_all(number: &AtomicU32) {
    // SAFETY: As above.
    unsafe { libc::syscall(libc::SYS_futex, number.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Some memory that is read by the driver while threads change what is there.
pub(crate) struct Commons {
    start: u64,
}

impl Commons {
    pub(crate) const LEN: usize = 256 << 10;

    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: A new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start as u64,
        })
    }

    /// Where it is. Nothing in this program ever looks there.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Maps new memory over some of it.
    pub(crate) fn renew(&self, at: usize, len: usize, prot: c_int) -> Outcome {
        let at = at.min(Self::LEN);
        // SAFETY: The range is within the mapping, which is never referred to.
        let result = unsafe {
            libc::mmap(
                (self.start + at as u64) as *mut c_void,
                len.min(Self::LEN - at).max(1),
                prot,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        outcome(if result == libc::MAP_FAILED { -1 } else { 0 })
    }

    /// Advises on all of it.
    pub(crate) fn advise(&self, advice: c_int) -> Outcome {
        advise(self.start, Self::LEN, advice)
    }
}

/// `madvise()` of a receive area or of [`Commons`].
pub(crate) fn advise(address: u64, len: usize, advice: c_int) -> Outcome {
    // SAFETY: Neither is ever referred to, and what is there matters to nobody.
    outcome(unsafe { libc::madvise(address as *mut c_void, len, advice) }.into())
}

/// Writes to memory of this process in a way that debuggers do.
pub(crate) fn force_write(address: u64, bytes: &[u8]) -> Outcome {
    let local = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: bytes.len(),
    };
    // SAFETY: Callers name addresses of a receive area, where nothing is to be overwritten that this
    // program refers to; the kernel looks whether it can be.
    let result =
        unsafe { libc::process_vm_writev(std::process::id() as pid_t, &local, 1, &remote, 1, 0) };
    outcome(result as c_long)
}

/// Makes `fd` known as `at` too, and closes `fd`.
pub(crate) fn move_fd(fd: RawFd, at: RawFd) -> Outcome {
    // SAFETY: No memory is involved; what is at `at` is closed as by a script.
    let result = outcome(unsafe { libc::dup3(fd, at, libc::O_CLOEXEC) }.into());
    let _ = rust_ipc_oracle::sys::close(fd);
    result
}

/// Opens a file for this program's own purposes: its descriptor is above all that others are meant
/// to see or close.
pub(crate) fn open_own(path: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let fd = rust_ipc_oracle::sys::open(path, libc::O_RDWR);
    let fd = own(fd.map_err(io::Error::from_raw_os_error)?);
    rust_ipc_oracle::sys::dup_above(fd.as_raw_fd(), crate::actor::OWN_FDS + 100).map(own)
}

/// Both ends of a pipe.
pub(crate) fn pipe() -> Outcome<[RawFd; 2]> {
    let mut fds = [0; 2];
    // SAFETY: There is room for two descriptors.
    outcome(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }.into())?;
    Ok(fds)
}

/// Has a child, which has this process's files but no mapping of its area, make an ioctl and end.
pub(crate) fn call_in_child(fd: RawFd, request: u32, address: u64) -> Outcome {
    // SAFETY: The child makes two system calls, and takes no lock that another thread may have.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: The address is of scratch memory, of which the child has a copy.
        unsafe { libc::ioctl(fd, u64::from(request), address) };
        // SAFETY: The process ends here.
        unsafe { libc::_exit(0) };
    }
    outcome(pid.into())?;
    loop {
        // SAFETY: Nobody wants to know the status.
        let result = outcome(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }.into());
        if result != Err(libc::EINTR) {
            return Ok(0);
        }
    }
}

/// A child that has ended, and how: its exit code, or a signal's number, negated.
pub(crate) fn ended_child() -> Option<(pid_t, i32)> {
    let mut status = 0;
    // SAFETY: There is room for a status.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then(|| match libc::WIFSIGNALED(status) {
        true => (pid, -libc::WTERMSIG(status)),
        false => (pid, libc::WEXITSTATUS(status)),
    })
}

/// Ends the process with this code and no clean-up.
pub(crate) fn exit_with(code: i32) -> ! {
    // SAFETY: The process ends here.
    unsafe { libc::_exit(code) }
}

/// A timer that interrupts whatever the thread that made it waits for, again and again.
pub(crate) struct Interrupter(libc::timer_t);

impl Interrupter {
    pub(crate) fn every(millis: i64) -> io::Result<Self> {
        let mut event = std::mem::MaybeUninit::<libc::sigevent>::zeroed();
        // SAFETY: All zeros are a `struct sigevent`.
        let event = unsafe { event.assume_init_mut() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGUSR1;
        event.sigev_notify_thread_id = rust_ipc_oracle::sys::thread_id();
        let mut timer = std::ptr::null_mut();
        // SAFETY: An event, and room for a timer's id.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, event, &mut timer) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let timer = Self(timer);
        let every = libc::timespec {
            tv_sec: 0,
            tv_nsec: millis * 1_000_000,
        };
        let times = libc::itimerspec {
            it_interval: every,
            it_value: every,
        };
        // SAFETY: The timer that was just made, and times.
        if unsafe { libc::timer_settime(timer.0, 0, &times, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(timer)
    }
}

impl Drop for Interrupter {
    fn drop(&mut self) {
        // SAFETY: The timer is the value's own.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// While there is one, the calling thread is not interrupted.
pub(crate) struct Undisturbed(());

impl Undisturbed {
    pub(crate) fn begin() -> Self {
        mask(libc::SIG_BLOCK);
        Self(())
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        mask(libc::SIG_UNBLOCK);
    }
}

fn mask(how: c_int) {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: All zeros are an empty set.
    let set = unsafe { set.assume_init_mut() };
    // SAFETY: A set, and a signal that there is.
    unsafe { libc::sigaddset(set, libc::SIGUSR1) };
    // SAFETY: A set.
    unsafe { libc::pthread_sigmask(how, set, std::ptr::null_mut()) };
}

/// A record of what the calling thread executes of the module (KCOV).
pub(crate) struct Trace {
    _file: OwnedFd,
    words: *mut u64,
}

impl Trace {
    const WORDS: usize = 64 << 10;
    const INIT: u64 = 0x8008_6301;
    const ENABLE: u64 = 0x6364;

    /// Begins one. An error if the kernel has none.
    pub(crate) fn begin() -> io::Result<Self> {
        let file = open_own(c"/sys/kernel/debug/kcov")?;
        // SAFETY: The argument is a number.
        if unsafe { libc::ioctl(file.as_raw_fd(), Self::INIT, Self::WORDS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: A new mapping at an address of the kernel's choice.
        let words = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::WORDS * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if words == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: The argument is a number: program counters are to be recorded.
        if unsafe { libc::ioctl(file.as_raw_fd(), Self::ENABLE, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            _file: file,
            words: words.cast(),
        })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < Self::WORDS);
        // SAFETY: The mapping has that many words.
        let word = unsafe { self.words.add(at) };
        // SAFETY: The word is aligned, and there for as long as the value. The kernel writes to it
        // within system calls of this thread.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// Where the module has been since this was called last.
    pub(crate) fn take(&self) -> impl Iterator<Item = u64> + '_ {
        let len = self.word(0).swap(0, Relaxed) as usize;
        (1..=len.min(Self::WORDS - 1)).map(|at| self.word(at).load(Relaxed))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // SAFETY: The mapping is the value's own, and goes with it. (The thread's record ends when
        // the thread does, or with the file.)
        unsafe { libc::munmap(self.words.cast(), Self::WORDS * 8) };
    }
}
