// SPDX-License-Identifier: GPL-2.0

//! The device and its ioctls.
//!
//! This is the one place that calls `ioctl`.
#![allow(unsafe_code)]

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::{
    io::Errno,
    ioctl::{Opcode, Setter, Updater},
};

use crate::{
    abi::{
        self, AreaInfo, ExtendedError, FlatObject, FreezeInfo, FrozenStatusInfo, MIN_READ_BYTES,
        NodeDebugInfo, NodeInfoForRef, PROTOCOL_VERSION, PtrCookie, Version, WriteRead, ioctl,
    },
    connection::Connection,
    error::{Error, Result},
    payload::Handle,
    wire::{Command, Commands},
};

/// An open device: one participant, as the driver sees it, that cannot receive anything yet.
///
/// [`Device::map`] turns it into a [`Connection`]. What needs no receive area works without.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
}

/// How far one `BINDER_WRITE_READ` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the driver may not have consumed every command"]
pub struct Exchanged {
    /// Bytes of commands that were consumed. Commands after a failed transaction are not.
    pub consumed_bytes: usize,
    /// Bytes of returns that were filled in.
    pub filled_bytes: usize,
    /// The ioctl's own error. The counts hold nevertheless.
    pub result: core::result::Result<(), Errno>,
}

impl Device {
    /// Opens the device node at `path`, close-on-exec, and asks for its version.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] with the errno of `open` (`ENOENT`: no such device; `EACCES`: not allowed),
    /// or of the version ioctl if this is no such device; [`Error::Version`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|error| Error::Os {
                operation: "open",
                errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
            })?;
        let device = Self { fd: file.into() };
        match device.version()? {
            PROTOCOL_VERSION => Ok(device),
            other => Err(Error::Version(other)),
        }
    }

    /// Maps the receive area, read-only: `len_bytes`, rounded up to pages, of which the driver
    /// uses no more than its limit, usually [`abi::MAX_AREA_BYTES`].
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` if this process did not open the device (it came through a fork or
    /// an exec), `EBUSY` if it was mapped before, `ENOMEM`.
    pub fn map(self, len_bytes: usize) -> Result<Connection> {
        Connection::new(self, len_bytes)
    }

    /// The protocol version that the device speaks.
    pub fn version(&self) -> Result<i32> {
        let mut version = Version::default();
        // SAFETY: BINDER_VERSION takes a `struct binder_version`, which `Version` is.
        unsafe { self.update::<{ ioctl::VERSION }, _>("BINDER_VERSION", &mut version) }?;
        Ok(version.protocol_version)
    }

    /// Makes reads on this file fail with `EAGAIN` instead of blocking, or block again.
    /// [`Thread::transact`](crate::Thread::transact) waits for its reply all the same.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        rustix::io::ioctl_fionbio(&self.fd, nonblocking).map_err(Error::os("FIONBIO"))
    }

    /// Becomes the context manager, the owner of handle 0, with the node (0, 0), which takes file
    /// descriptors.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EBUSY` if there is one; `EPERM` if a security module says no, or if another
    /// user was the device's context manager before.
    pub fn become_context_manager(&self) -> Result<()> {
        self.become_context_manager_as(PtrCookie::default(), abi::node_flag::ACCEPTS_FDS)
    }

    /// Becomes the context manager with a node of one's own choice: calls to it carry `node`.
    /// `flags` are [`abi::node_flag`]s.
    ///
    /// # Errors
    ///
    /// As [`Device::become_context_manager`].
    pub fn become_context_manager_as(&self, node: PtrCookie, flags: u32) -> Result<()> {
        let object = FlatObject {
            kind: abi::object::BINDER,
            flags,
            word: node.ptr,
            cookie: node.cookie,
        };
        // SAFETY: BINDER_SET_CONTEXT_MGR_EXT takes a `struct flat_binder_object`.
        unsafe {
            self.set::<{ ioctl::SET_CONTEXT_MGR_EXT }, _>("BINDER_SET_CONTEXT_MGR_EXT", object)
        }
    }

    /// Sets how many looper threads the driver may ask for, beyond those that enter by themselves.
    pub fn set_max_threads(&self, threads: u32) -> Result<()> {
        // SAFETY: BINDER_SET_MAX_THREADS takes a `__u32`.
        unsafe { self.set::<{ ioctl::SET_MAX_THREADS }, _>("BINDER_SET_MAX_THREADS", threads) }
    }

    /// Has the driver point out one-way messages that take too much of their target's space: see
    /// [`Sent::SpamSuspect`](crate::Sent::SpamSuspect).
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` if the driver has no such detection.
    pub fn detect_oneway_spam(&self, enable: bool) -> Result<()> {
        // SAFETY: BINDER_ENABLE_ONEWAY_SPAM_DETECTION takes a `__u32`.
        unsafe {
            self.set::<{ ioctl::ENABLE_ONEWAY_SPAM_DETECTION }, _>(
                "BINDER_ENABLE_ONEWAY_SPAM_DETECTION",
                u32::from(enable),
            )
        }
    }

    /// Freezes every participant of process `pid`, after waiting up to `timeout` (which is rounded
    /// down to milliseconds) for its transactions in progress to end.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` if the process has not opened the device or the driver cannot freeze,
    /// `EAGAIN` if transactions were in progress for longer.
    pub fn freeze(&self, pid: u32, timeout: Duration) -> Result<()> {
        self.set_frozen(pid, true, timeout)
    }

    /// Thaws every participant of process `pid`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` if the process has not opened the device.
    pub fn thaw(&self, pid: u32) -> Result<()> {
        self.set_frozen(pid, false, Duration::ZERO)
    }

    fn set_frozen(&self, pid: u32, enable: bool, timeout: Duration) -> Result<()> {
        let info = FreezeInfo {
            pid,
            enable: enable.into(),
            timeout_ms: timeout.as_millis().try_into().unwrap_or(u32::MAX),
        };
        // SAFETY: BINDER_FREEZE takes a `struct binder_freeze_info`.
        unsafe { self.set::<{ ioctl::FREEZE }, _>("BINDER_FREEZE", info) }
    }

    /// What came in for process `pid` since it was frozen.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` if the process has not opened the device.
    pub fn frozen_info(&self, pid: u32) -> Result<FrozenStatusInfo> {
        let mut info = FrozenStatusInfo {
            pid,
            ..Default::default()
        };
        // SAFETY: BINDER_GET_FROZEN_INFO takes a `struct binder_frozen_status_info`.
        unsafe {
            self.update::<{ ioctl::GET_FROZEN_INFO }, _>("BINDER_GET_FROZEN_INFO", &mut info)
        }?;
        Ok(info)
    }

    /// The state of this file's receive area.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EINVAL` or `ENOTTY` if the driver is not rust_ipc.
    pub fn area_info(&self) -> Result<AreaInfo> {
        let mut info = AreaInfo::default();
        // SAFETY: RUST_IPC_GET_AREA_INFO takes a `struct rust_ipc_area_info`.
        unsafe { self.update::<{ ioctl::GET_AREA_INFO }, _>("RUST_IPC_GET_AREA_INFO", &mut info) }?;
        Ok(info)
    }

    /// The nodes of this file's own that the driver knows.
    pub fn nodes(&self) -> Result<Vec<NodeDebugInfo>> {
        let mut nodes = Vec::new();
        let mut info = NodeDebugInfo::default();
        loop {
            // SAFETY: BINDER_GET_NODE_DEBUG_INFO takes a `struct binder_node_debug_info`.
            unsafe {
                self.update::<{ ioctl::GET_NODE_DEBUG_INFO }, _>(
                    "BINDER_GET_NODE_DEBUG_INFO",
                    &mut info,
                )
            }?;
            if info.ptr == 0 {
                return Ok(nodes);
            }
            nodes.push(info);
        }
    }

    /// How many references exist to the node behind `handle`.
    ///
    /// # Errors
    ///
    /// [`Error::Os`]: `EPERM` unless this file is the context manager, `EINVAL` for an unknown
    /// handle.
    pub fn reference_counts(&self, handle: Handle) -> Result<NodeInfoForRef> {
        let mut info = NodeInfoForRef {
            handle: handle.0,
            ..Default::default()
        };
        // SAFETY: BINDER_GET_NODE_INFO_FOR_REF takes a `struct binder_node_info_for_ref`.
        unsafe {
            self.update::<{ ioctl::GET_NODE_INFO_FOR_REF }, _>(
                "BINDER_GET_NODE_INFO_FOR_REF",
                &mut info,
            )
        }?;
        Ok(info)
    }

    /// The last failure of the calling thread. Asking resets it.
    pub fn extended_error(&self) -> Result<ExtendedError> {
        let mut error = ExtendedError::default();
        // SAFETY: BINDER_GET_EXTENDED_ERROR takes a `struct binder_extended_error`.
        unsafe {
            self.update::<{ ioctl::GET_EXTENDED_ERROR }, _>("BINDER_GET_EXTENDED_ERROR", &mut error)
        }?;
        Ok(error)
    }

    /// Has the driver forget the calling thread. Whoever waits for its answer gets an error.
    pub(crate) fn thread_exit(&self) -> Result<()> {
        // SAFETY: BINDER_THREAD_EXIT ignores its argument, for which an `__s32` is declared.
        unsafe { self.set::<{ ioctl::THREAD_EXIT }, _>("BINDER_THREAD_EXIT", 0_i32) }
    }

    /// Takes a strong reference.
    pub(crate) fn write_acquire(&self, handle: Handle) -> Result<()> {
        // SAFETY: There is no address in this command.
        unsafe { self.write(&Command::Acquire(handle.0)) }
    }

    /// Drops a strong reference.
    pub(crate) fn write_release(&self, handle: Handle) -> Result<()> {
        // SAFETY: There is no address in this command.
        unsafe { self.write(&Command::Release(handle.0)) }
    }

    /// Gives a buffer back.
    ///
    /// # Safety
    ///
    /// The buffer that starts at `address` is not used any more.
    pub(crate) unsafe fn write_free_buffer(&self, address: u64) -> Result<()> {
        // SAFETY: By this function's own contract.
        unsafe { self.write(&Command::FreeBuffer(address)) }
    }

    /// Writes one command in the name of the calling thread, and reads nothing.
    ///
    /// # Safety
    ///
    /// As [`Device::write_read`].
    unsafe fn write(&self, command: &Command) -> Result<()> {
        let commands = [command].into_iter().collect();
        // SAFETY: By this function's own contract.
        let exchanged = unsafe { self.write_read(&commands, &mut []) };
        exchanged.result.map_err(Error::os("BINDER_WRITE_READ"))
    }

    /// Writes `commands`, then reads returns into `room`: one `BINDER_WRITE_READ`. If `room` is
    /// empty nothing is read, and the call does not block; otherwise it blocks until there is
    /// something to return.
    ///
    /// This is the driver's own interface, for those who bring their own event loop. All else in
    /// this crate is built upon it. `EINVAL` without a call is the answer to a `room` that is
    /// neither empty nor of [`abi::MIN_READ_BYTES`] at least.
    ///
    /// # Safety
    ///
    /// - The addresses in a transaction or reply among `commands` are those of initialised memory
    ///   that nobody writes to during the call, with the lengths given beside them. The same is
    ///   true of each scattered buffer named by an object in it, and each file descriptor so named
    ///   is one that may be passed on.
    /// - A buffer given back with `BC_FREE_BUFFER` is not used any more: neither through a
    ///   [`Received`](crate::Received) nor otherwise.
    pub unsafe fn write_read(&self, commands: &Commands, room: &mut [u8]) -> Exchanged {
        let mut exchange = WriteRead {
            write_size: commands.len() as u64,
            write_buffer: commands.as_bytes().as_ptr() as u64,
            read_size: room.len() as u64,
            read_buffer: room.as_mut_ptr() as u64,
            ..Default::default()
        };
        let result = if (1..MIN_READ_BYTES).contains(&room.len()) {
            // The C driver writes past the end of a very small buffer.
            Err(Errno::INVAL)
        } else {
            // SAFETY: BINDER_WRITE_READ takes a `struct binder_write_read`.
            let updater = unsafe { Updater::<{ ioctl::WRITE_READ }, _>::new(&mut exchange) };
            // SAFETY: The two buffers are those of `commands`, which holds whole commands only so
            // that the driver reads no further, and of `room`, which is borrowed exclusively and
            // may hold any bytes. The caller answers for what the commands point to.
            unsafe { rustix::ioctl::ioctl(&self.fd, updater) }
        };
        Exchanged {
            // A count is never larger than the size it belongs to.
            consumed_bytes: (exchange.write_consumed as usize).min(commands.len()),
            filled_bytes: (exchange.read_consumed as usize).min(room.len()),
            result,
        }
    }

    /// # Safety
    ///
    /// `T` is the type that the driver reads and writes for `OPCODE`, and it holds no addresses.
    unsafe fn update<const OPCODE: Opcode, T>(
        &self,
        operation: &'static str,
        value: &mut T,
    ) -> Result<()> {
        // SAFETY: By this function's own contract.
        let updater = unsafe { Updater::<OPCODE, T>::new(value) };
        // SAFETY: The driver touches nothing but the value, which is borrowed exclusively.
        unsafe { rustix::ioctl::ioctl(&self.fd, updater) }.map_err(Error::os(operation))
    }

    /// # Safety
    ///
    /// `T` is the type that the driver reads for `OPCODE`, and it holds no addresses.
    unsafe fn set<const OPCODE: Opcode, T>(&self, operation: &'static str, value: T) -> Result<()> {
        // SAFETY: By this function's own contract.
        let setter = unsafe { Setter::<OPCODE, T>::new(value) };
        // SAFETY: The driver reads nothing but the value, which the setter owns.
        unsafe { rustix::ioctl::ioctl(&self.fd, setter) }.map_err(Error::os(operation))
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
