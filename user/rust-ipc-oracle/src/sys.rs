// SPDX-License-Identifier: GPL-2.0

//! System calls as they are. What a script asks for may well be wrong, and is passed on all the
//! same, so the typed wrappers of `rust-ipc` will not do here.
//!
//! All `unsafe` code of this crate is in this module.

#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::mpsc,
    thread,
};

use libc::{c_int, c_long, c_void, pid_t};

/// 0 and up, or an errno.
pub type Outcome<T = u64> = std::result::Result<T, i32>;

fn outcome(result: c_long) -> Outcome {
    u64::try_from(result).map_err(|_| errno())
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Memory that the driver may read from and write to during an ioctl, whatever the script says: it
/// is shared with nobody else, and no Rust reference to it exists but while it is filled or looked
/// at. The second half cannot be accessed at all, so that what is placed across the middle can be
/// read in part.
pub struct Scratch {
    start: *mut u8,
}

// SAFETY: The mapping belongs to the value, which hands out access to it through `&mut self` only.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Bytes that can be accessed.
    pub const LEN: usize = 8 << 20;
    /// Bytes behind these that cannot.
    pub const HOLE: usize = 1 << 20;

    /// Maps a new one.
    pub fn new() -> io::Result<Self> {
        // SAFETY: A new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LEN + Self::HOLE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: The first part of the mapping just made, of which there are no references.
        let result =
            unsafe { libc::mprotect(start, Self::LEN, libc::PROT_READ | libc::PROT_WRITE) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
        })
    }

    /// Its bytes, to fill or look at while no ioctl is going on.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: The first part of the mapping is readable and writable for as long as `self` is
        // there, was zeroed by the kernel, and is borrowed through `&mut self` alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, Self::LEN) }
    }

    /// The address of a byte of it, or one in the hole behind.
    pub fn address(&self, offset: usize) -> u64 {
        assert!(offset < Self::LEN + Self::HOLE);
        self.start as u64 + offset as u64
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: The mapping is the value's own, and goes with it.
        unsafe { libc::munmap(self.start.cast(), Self::LEN + Self::HOLE) };
    }
}

/// `ioctl(fd, request, address)`.
///
/// The drivers under test write to what the argument says: to the scratch memory of the calling
/// thread, to the area, or nowhere.
pub fn ioctl(fd: RawFd, request: u32, address: u64) -> Outcome {
    // SAFETY: Scripts are written such that every address in them is of a `Scratch`, which holds
    // no Rust object, or is not mapped.
    let result = unsafe { libc::ioctl(fd, u64::from(request), address) };
    outcome(result.into())
}

/// `mmap()` of a device at this address, which must be free.
pub fn map(address: u64, len: usize, prot: c_int, flags: c_int, fd: RawFd) -> Outcome {
    // SAFETY: MAP_FIXED_NOREPLACE does not touch what is mapped already.
    let result = unsafe {
        libc::mmap(
            address as *mut c_void,
            len,
            prot,
            flags | libc::MAP_FIXED_NOREPLACE,
            fd,
            0,
        )
    };
    if result == libc::MAP_FAILED {
        return Err(errno());
    }
    Ok(result as u64)
}

/// `mmap()` of anonymous memory over what is there.
pub fn map_over(address: u64, len: usize) -> Outcome {
    // SAFETY: Scripts cover their receive area alone, which is never referred to.
    let result = unsafe {
        libc::mmap(
            address as *mut c_void,
            len,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    if result == libc::MAP_FAILED {
        return Err(errno());
    }
    Ok(result as u64)
}

/// `munmap()` of (part of) the receive area.
pub fn unmap(address: u64, len: usize) -> Outcome {
    // SAFETY: Receive areas are never referred to, see `read_memory()`.
    outcome(unsafe { libc::munmap(address as *mut c_void, len) }.into())
}

/// `mprotect()` of (part of) the receive area.
pub fn protect(address: u64, len: usize, prot: c_int) -> Outcome {
    // SAFETY: As for `unmap()`.
    outcome(unsafe { libc::mprotect(address as *mut c_void, len, prot) }.into())
}

/// `mremap()` of the receive area.
pub fn remap(address: u64, old_len: usize, len: usize, flags: c_int) -> Outcome {
    // SAFETY: As for `unmap()`.
    let result = unsafe { libc::mremap(address as *mut c_void, old_len, len, flags) };
    if result == libc::MAP_FAILED {
        return Err(errno());
    }
    Ok(result as u64)
}

/// Reads memory of this process that may not be there.
pub fn read_memory(address: u64, len: usize) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0_u8; len];
    if len == 0 {
        return Ok(bytes);
    }
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: len,
    };
    let remote = libc::iovec {
        iov_base: address as *mut c_void,
        iov_len: len,
    };
    // SAFETY: What is written to is the buffer. The kernel looks whether the rest can be read.
    let result = unsafe { libc::process_vm_readv(process_id(), &local, 1, &remote, 1, 0) };
    let read = outcome(result as c_long)?;
    if read as usize != len {
        return Err(libc::EFAULT);
    }
    Ok(bytes)
}

/// `open()`.
pub fn open(path: &CStr, flags: c_int) -> Outcome<RawFd> {
    // SAFETY: The path is a string with an end.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) };
    outcome(fd.into()).map(|_| fd)
}

/// `close()` of a descriptor that nothing in this program owns.
pub fn close(fd: RawFd) -> Outcome {
    // SAFETY: Only descriptors that scripts made are closed, and no value owns these.
    outcome(unsafe { libc::close(fd) }.into())
}

/// `close_range()`, as for `close()`.
pub fn close_range(first: RawFd, last: RawFd) -> Outcome {
    // SAFETY: As for `close()`.
    outcome(unsafe { libc::close_range(first as u32, last as u32, 0) }.into())
}

/// `dup()`.
pub fn dup(fd: RawFd) -> Outcome<RawFd> {
    // SAFETY: No memory is involved.
    let new = unsafe { libc::dup(fd) };
    outcome(new.into()).map(|_| new)
}

/// A duplicate of the descriptor that is `at` or above.
pub fn dup_above(fd: RawFd, at: RawFd) -> io::Result<RawFd> {
    // SAFETY: No memory is involved.
    let new = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, at) };
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(new)
}

/// Takes a descriptor into custody.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: The callers have just made it, or were handed it by their parent.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The flags of the descriptor (`FD_CLOEXEC`), or `EBADF`.
pub fn fd_flags(fd: RawFd) -> Outcome {
    // SAFETY: No memory is involved.
    outcome(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())
}

/// Sets or clears `O_NONBLOCK`; whether it was set.
pub fn set_nonblock(fd: RawFd, on: bool) -> Outcome<bool> {
    // SAFETY: No memory is involved.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    outcome(flags.into())?;
    let new = match on {
        true => flags | libc::O_NONBLOCK,
        false => flags & !libc::O_NONBLOCK,
    };
    // SAFETY: No memory is involved.
    outcome(unsafe { libc::fcntl(fd, libc::F_SETFL, new) }.into())?;
    Ok(flags & libc::O_NONBLOCK != 0)
}

/// What tells one file from another: device, inode, and the device that a special file is.
pub fn identity(fd: RawFd) -> Outcome<(u64, u64, u64)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: There is room for a `struct stat`.
    outcome(unsafe { libc::fstat(fd, stat.as_mut_ptr()) }.into())?;
    // SAFETY: All zeros are a `struct stat`, and so is what the kernel wrote.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_dev, stat.st_ino, stat.st_rdev))
}

/// A new file in memory.
pub fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: The name is a string with an end.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(own(fd))
}

/// `poll()` for all that a device may say.
pub fn poll(fd: RawFd, timeout_ms: c_int) -> Outcome<i16> {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN | libc::POLLOUT | libc::POLLPRI,
        revents: 0,
    };
    // SAFETY: One `struct pollfd`.
    outcome(unsafe { libc::poll(&mut poll, 1, timeout_ms) }.into())?;
    Ok(poll.revents)
}

/// Waits until one of these can be read from, for some microseconds at most.
pub fn wait_readable(fds: &[RawFd], micros: u64) -> io::Result<()> {
    let mut polls: Vec<_> = fds
        .iter()
        .map(|&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    let timeout = libc::timespec {
        tv_sec: (micros / 1_000_000) as i64,
        tv_nsec: (micros % 1_000_000 * 1000) as i64,
    };
    // SAFETY: As many `struct pollfd` as said, and a time.
    let result = unsafe {
        libc::ppoll(
            polls.as_mut_ptr(),
            polls.len() as u64,
            &timeout,
            std::ptr::null(),
        )
    };
    match outcome(result.into()) {
        Err(errno) if errno != libc::EINTR => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

/// Two ends of a connection that keeps messages apart.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: There is room for two descriptors.
    let result = unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((own(fds[0]), own(fds[1])))
}

/// Sends one message.
pub fn send(socket: &OwnedFd, message: &str) -> io::Result<()> {
    // SAFETY: The bytes are those of the string.
    let result = unsafe {
        libc::send(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// No message is longer.
const MESSAGE_LEN: usize = 16 << 10;

/// Receives one message, which is not empty; `None` if there is none yet (`wait` false), or never
/// will be (`wait` true).
pub fn receive(socket: &OwnedFd, wait: bool) -> io::Result<Option<String>> {
    let mut bytes = vec![0_u8; MESSAGE_LEN];
    let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
    loop {
        // SAFETY: The room is that of the buffer.
        let result = unsafe {
            libc::recv(
                socket.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                flags,
            )
        };
        return match outcome(result as c_long) {
            Err(libc::EINTR) => continue,
            Err(libc::EAGAIN) if !wait => Ok(None),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
            Ok(0) if wait => Ok(None),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                bytes.truncate(len as usize);
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
        };
    }
}

/// Runs `body` in a new process, which ends when it returns or its parent goes. Whoever else runs
/// in the caller's memory must be asleep in a system call.
pub fn fork(body: impl FnOnce()) -> io::Result<pid_t> {
    // SAFETY: Nobody else runs in this memory, so that no lock is held by one that the child lacks.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // SAFETY: No memory is involved.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        body();
        exit_now();
    }
    Ok(pid)
}

/// Runs `body` in a new process as [`fork()`] does, but in the memory of this one.
pub fn fork_within(body: impl FnOnce() + Send + 'static) -> io::Result<pid_t> {
    type Body = Box<dyn FnOnce() + Send>;

    extern "C" fn child(body: *mut c_void) -> c_int {
        // SAFETY: No memory is involved.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // SAFETY: `fork_within()` made a box of it, which is for this process alone.
        let body = unsafe { Box::from_raw(body.cast::<Body>()) };
        body();
        exit_now();
    }

    let (sender, receiver) = mpsc::channel();
    let failed = sender.clone();
    let body: Body = Box::new(move || {
        let _ = sender.send(Ok(process_id()));
        body();
    });
    // The new process begins with the thread-local storage of whoever makes it. This thread does
    // that, and leaves its own to the process for good.
    let donor = move || {
        let stack = vec![0_u128; STACK_LEN / size_of::<u128>()].leak();
        let body = Box::into_raw(Box::new(body));
        // SAFETY: The stack and the body are for the new process alone. It runs in this memory,
        // with this thread's storage, which from here on this thread does not use.
        let pid = unsafe {
            libc::clone(
                child,
                stack.as_mut_ptr_range().end.cast(),
                libc::CLONE_VM | libc::SIGCHLD,
                body.cast(),
            )
        };
        if pid > 0 {
            loop {
                // SAFETY: No memory is involved.
                unsafe { libc::syscall(libc::SYS_pause) };
            }
        }
        let _ = failed.send(Err(io::Error::last_os_error()));
    };
    thread::Builder::new().stack_size(STACK_LEN).spawn(donor)?;
    receiver
        .recv()
        .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

/// Bytes of stack of a process's threads, by far enough.
pub const STACK_LEN: usize = 256 << 10;

/// Ends the process with no clean-up.
pub fn exit_now() -> ! {
    // SAFETY: The process ends here.
    unsafe { libc::_exit(0) }
}

/// Sends a signal to a process.
pub fn kill(pid: pid_t, signal: c_int) -> Outcome {
    // SAFETY: The process is a child of this one.
    outcome(unsafe { libc::kill(pid, signal) }.into())
}

/// Sends a signal to a thread.
pub fn kill_thread(pid: pid_t, tid: pid_t, signal: c_int) -> Outcome {
    // SAFETY: The thread is one of a child of this process.
    outcome(unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) })
}

/// Waits for a child to end.
pub fn wait_for(pid: pid_t) -> Outcome {
    // SAFETY: Nobody wants to know the status.
    outcome(unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }.into())
}

/// Makes SIGUSR1 interrupt system calls and do nothing else, here and in all children.
pub fn ignore_interrupts() {
    extern "C" fn nothing(_: c_int) {}
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    let handler: extern "C" fn(c_int) = nothing;
    // SAFETY: All zeros are a `struct sigaction`.
    let action = unsafe { action.assume_init_mut() };
    action.sa_sigaction = handler as usize;
    // SAFETY: The handler does nothing, and so may be called at any point.
    unsafe { libc::sigaction(libc::SIGUSR1, action, std::ptr::null_mut()) };
}

/// Has the calling thread, and those that it starts, run on one CPU.
pub fn run_on_one_cpu() -> Outcome {
    let mut cpus = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: All zeros are an empty set.
    let cpus = unsafe { cpus.assume_init_mut() };
    // SAFETY: CPU 0 is within any set.
    unsafe { libc::CPU_SET(0, cpus) };
    // SAFETY: A set of the size that is said.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(cpus), cpus) };
    outcome(result.into())
}

/// Has a thread (0: the calling one, and those that it starts) run before all others of the CPU and
/// until it sleeps; who is woken first among such runs first.
pub fn run_first(thread: pid_t) -> Outcome {
    schedule(thread, libc::SCHED_FIFO, 1)
}

/// Takes that back.
pub fn run_as_others(thread: pid_t) -> Outcome {
    schedule(thread, libc::SCHED_OTHER, 0)
}

fn schedule(thread: pid_t, policy: c_int, priority: c_int) -> Outcome {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: A `struct sched_param`.
    outcome(unsafe { libc::sched_setscheduler(thread, policy, &parameters) }.into())
}

/// This process.
fn process_id() -> pid_t {
    std::process::id() as pid_t
}

/// The calling thread.
pub fn thread_id() -> pid_t {
    // SAFETY: No memory is involved.
    unsafe { libc::gettid() }
}

/// The nice value of a thread.
pub fn nice(tid: pid_t) -> i32 {
    // SAFETY: No memory is involved.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, tid as u32) }
}

/// Sets the nice value of a thread.
pub fn set_nice(tid: pid_t, nice: i32) -> Outcome {
    // SAFETY: No memory is involved.
    outcome(unsafe { libc::setpriority(libc::PRIO_PROCESS, tid as u32, nice) }.into())
}

/// Calls `f` with this effective user id. Other threads keep theirs.
pub fn with_euid<R>(euid: u32, f: impl FnOnce() -> R) -> Outcome<R> {
    let keep = u32::MAX;
    let set = |euid: u32| {
        // SAFETY: No memory is involved. (The C library's function would set it for all threads.)
        outcome(unsafe { libc::syscall(libc::SYS_setresuid, keep, euid, keep) })
    };
    // SAFETY: No memory is involved.
    let own = unsafe { libc::geteuid() };
    set(euid)?;
    let result = f();
    set(own)?;
    Ok(result)
}

/// Sets how many descriptors this process may have.
pub fn set_fd_limit(count: u64) -> Outcome {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: 4096,
    };
    // SAFETY: A `struct rlimit`.
    outcome(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }.into())
}

/// A duplicate of another process's descriptor.
pub fn fd_of(pid: pid_t, fd: RawFd) -> Outcome<RawFd> {
    // SAFETY: No memory is involved.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = own(outcome(process)? as RawFd);
    // SAFETY: No memory is involved.
    let new = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) };
    outcome(new).map(|fd| fd as RawFd)
}
