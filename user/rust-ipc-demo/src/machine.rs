// SPDX-License-Identifier: GPL-2.0

//! What the demo asks of the machine: memory pressure, a control group, the module.

use std::{
    ffi::CString,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::io::Errno;

/// Has the kernel call all its shrinkers.
///
/// # Errors
///
/// Without root.
pub fn drop_caches() -> Result<()> {
    // 2: what shrinkers hold, but not the page cache.
    fs::write("/proc/sys/vm/drop_caches", "2").context("writing drop_caches")
}

/// A control group of the demo's own, removed with this value.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes the group below the root of the unified hierarchy.
    pub fn create() -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        // It may be on already, or there may be no memory controller: the next lines tell.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        let path = root.join("rust-ipc-demo");
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        let cgroup = Self(path);
        cgroup
            .charged_bytes()
            .context("no memory controller there")?;
        Ok(cgroup)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts the calling process into the group at `path`.
    pub fn enter(path: &Path) -> Result<()> {
        fs::write(path.join("cgroup.procs"), "0").context("entering the control group")
    }

    /// What the group is charged with now.
    pub fn charged_bytes(&self) -> Result<u64> {
        let text = fs::read_to_string(self.0.join("memory.current"))?;
        Ok(text.trim().parse()?)
    }

    /// Has the kernel take up to `bytes` from the group.
    pub fn reclaim(&self, bytes: u64) -> Result<()> {
        match fs::write(self.0.join("memory.reclaim"), bytes.to_string()) {
            // It had less than that.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::AGAIN) => Ok(()),
            other => other.context("writing memory.reclaim"),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may still be in it.
        for _ in 0..50 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The counters in debugfs, by name; none if the driver has none or they cannot be read.
pub fn reclaim_counters() -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir("/sys/kernel/debug/rust_ipc/reclaim") else {
        return Vec::new();
    };
    let mut counters: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let value = fs::read_to_string(entry.path()).ok()?.trim().parse().ok()?;
            Some((entry.file_name().into_string().ok()?, value))
        })
        .collect();
    counters.sort();
    counters
}

/// Whether `/proc/modules` lists the module.
pub fn is_loaded(module: &str) -> Result<bool> {
    let modules = fs::read_to_string("/proc/modules")?;
    Ok(modules
        .lines()
        .any(|line| line.split(' ').next() == Some(module)))
}

/// Unloads the module, as `rmmod` does.
pub fn unload(module: &str) -> rustix::io::Result<()> {
    // A name without a NUL in it.
    let name = CString::new(module).map_err(|_| Errno::INVAL)?;
    const O_NONBLOCK: i32 = 0o4000;
    rustix::system::delete_module(&name, O_NONBLOCK)
}
