// SPDX-License-Identifier: GPL-2.0

//! rust_ipc: a Binder-style IPC driver.
//!
//! Processes open a device, map a receive area, and call each other through it. The sender's ioctl
//! copies a message straight into pages of the receiver's area: one copy. The ABI is Binder's
//! (protocol 8, `include/uapi/linux/android/binder.h`); what this driver adds to it is in
//! `uapi/rust_ipc.h`.
//!
//! | room | what it does |
//! |---|---|
//! | [`device`] | what the VFS calls; turns raw pointers into types |
//! | [`ipc`] | the protocol: contexts, processes, threads, nodes, handles, messages |
//! | [`vma`] | the receive area: mapping, pages, copying |
//! | [`shrinker`] | idle pages, and giving them back |
//! | [`alloc`] | ranges, queues, tables; pure |
//! | [`uapi`] | the wire; pure |
//! | [`watch`] | tracepoints, files in debugfs |
//!
//! `device → ipc → {vma → shrinker, alloc, uapi, watch}`. The design is in Documentation/.

#![deny(unsafe_code)]
#![warn(unsafe_op_in_unsafe_fn)]

mod alloc;
mod device;
mod ipc;
mod shrinker;
mod uapi;
mod vma;
mod watch;

use kernel::{page::PAGE_SIZE, prelude::*, str::CString, sync::Arc};

use device::Device;
use ipc::{Area, Context, Dump, FailedLog, Journal, Registry, SentLog};
use shrinker::Shrinker;
use watch::debugfs::{Directory, File};

// Addresses and sizes of the ABI are 64 bits wide, and are used as `usize` as they are.
kernel::static_assert!(usize::BITS == u64::BITS);

module! {
    type: Module,
    name: "rust_ipc",
    authors: ["The rust_ipc developers"],
    description: "Binder-style IPC driver",
    license: "GPL",
    params: {
        max_area_bytes: u64 {
            default: 4 << 20,
            description: "The most of a mapping that is used as receive area, in bytes",
        },
    },
}

/// The largest value of `max_area_bytes`: bounds what one system call does page by page.
const MAX_AREA_BYTES_LIMIT: usize = 64 << 20;

/// The module: what exists while it is loaded.
///
/// Fields are dropped in this order: no file can be opened once the devices are gone, all files are
/// closed by then (an open one keeps the module), and with the last file the last area went off the
/// shrinker's lists.
struct Module {
    _devices: KVec<Pin<KBox<Device>>>,
    _state: File<Dump>,
    _transactions: File<Dump>,
    _stats: File<Dump>,
    _sent_log: File<SentLog>,
    _failed_log: File<FailedLog>,
    _shrinker: Shrinker<Area>,
}

impl Drop for Module {
    fn drop(&mut self) {
        ipc::wait_for_ioctls();
    }
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let directory = Directory::new(c"rust_ipc")?;
        let shrinker = Shrinker::new(c"rust_ipc", &directory)?;
        let max_area_bytes = usize::try_from(module_parameters::max_area_bytes.value())?;
        if max_area_bytes == 0
            || max_area_bytes % PAGE_SIZE != 0
            || max_area_bytes > MAX_AREA_BYTES_LIMIT
        {
            pr_err!(
                "max_area_bytes: the value must be a multiple of {PAGE_SIZE}, at most 64 MiB\n"
            );
            return Err(EINVAL);
        }
        // Everything that can make this fail comes before the first device can be opened: the loader
        // does not wait for open files of a module that fails to load.
        let registry = Registry::new(directory.subdirectory(c"proc")?)?;
        let mut device_names = KVec::new();
        let names = || {
            device::names::value()
                .to_bytes()
                .split(|byte| *byte == b',')
        };
        for (index, name) in names().enumerate() {
            let is_repeated = names().take(index).any(|earlier| earlier == name);
            if name.is_empty() || is_repeated || name.contains(&b'/') {
                pr_err!("devices: a name must not be empty, nor be given twice, nor have a '/'\n");
                return Err(EINVAL);
            }
            let name = core::str::from_utf8(name)?;
            let name = CString::try_from_fmt(fmt!("{name}"))?;
            device_names.push(name, GFP_KERNEL)?;
        }
        let journal = Journal::new(device_names)?;
        let state = Dump::state(&registry)?;
        let transactions = Dump::transactions(&registry)?;
        let stats = Dump::stats(&registry)?;
        let sent_log = Arc::new(SentLog(journal.clone()), GFP_KERNEL)?;
        let failed_log = Arc::new(FailedLog(journal.clone()), GFP_KERNEL)?;
        let mut contexts = KVec::new();
        for (name, number) in journal.names().iter().zip(0..) {
            let registry = registry.clone();
            let lru = shrinker.lru();
            let context = Context::new(registry, journal.clone(), number, lru, max_area_bytes)?;
            contexts.push((CString::try_from(&**name)?, context), GFP_KERNEL)?;
        }
        let mut devices = KVec::with_capacity(contexts.len(), GFP_KERNEL)?;
        for ((name, context), shown) in contexts.into_iter().zip(journal.names()) {
            match Device::register(name, context) {
                // There is room.
                Ok(device) => drop(devices.push_within_capacity(device)),
                Err(error) if devices.is_empty() => return Err(error),
                // Files of the others may be open by now.
                Err(error) => pr_err!("devices: no {}, for {error:?}\n", &**shown),
            }
        }
        Ok(Module {
            _devices: devices,
            _state: directory.file(c"state", state),
            _transactions: directory.file(c"transactions", transactions),
            _stats: directory.file(c"stats", stats),
            _sent_log: directory.file(c"transaction_log", sent_log),
            _failed_log: directory.file(c"failed_transaction_log", failed_log),
            _shrinker: shrinker,
        })
    }
}
