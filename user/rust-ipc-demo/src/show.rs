// SPDX-License-Identifier: GPL-2.0

//! How things look on the screen.

use std::{
    fmt,
    path::Path,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use rust_ipc::abi::AreaInfo;
use rustix::time::{ClockId, clock_gettime};

use crate::machine;

static START_NS: AtomicU64 = AtomicU64::new(0);
static CHAPTER: AtomicUsize = AtomicUsize::new(0);

/// CLOCK_MONOTONIC, which is the same for all processes.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The machine has been up for less than 292 years.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sets the moment from which times count.
pub fn set_start(ns: u64) {
    START_NS.store(ns, Relaxed);
}

/// Prints one line: the time, who says it, what.
pub fn line(who: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
    let seconds = now_ns().saturating_sub(START_NS.load(Relaxed)) as f64 / 1e9;
    // One string, so that lines of several processes do not mix.
    println!(
        "{}",
        format_args!("{seconds:8.3}  {:<14} {what}", who.to_string())
    );
}

/// `say!("role", "…")`: a line that names the role and the process.
macro_rules! say {
    ($role:literal, $($what:tt)*) => {
        $crate::show::line(
            format_args!("{} {}", $role, std::process::id()),
            format_args!($($what)*),
        )
    };
}
pub(crate) use say;

/// A heading, and what there is to see.
pub fn chapter(title: &str, text: &[&str]) {
    let number = CHAPTER.fetch_add(1, Relaxed) + 1;
    println!("\n{number}. {title}\n");
    for line in text {
        println!("   {line}");
    }
    if !text.is_empty() {
        println!();
    }
}

/// The first lines.
pub fn header(file: &Path, bytes: u64, digest: &[u8; 32], device: &Path) {
    let uname = rustix::system::uname();
    println!("device   {}", device.display());
    println!("kernel   {}", uname.release().to_string_lossy());
    println!("file     {}, {bytes} bytes", file.display());
    println!("SHA-256  {}", Hex(digest));
    println!();
    println!("Lines begin with seconds since the start, a role, and a process or thread id.");
}

/// The driver's counters of what its shrinker did, if it has any.
pub fn reclaim_counters() {
    let counters: Vec<_> = machine::reclaim_counters()
        .into_iter()
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    if !counters.is_empty() {
        say!(
            "main",
            "/sys/kernel/debug/rust_ipc/reclaim: {}",
            counters.join(", ")
        );
    }
}

/// A number of bytes, in the unit that suits it.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            bytes if bytes < 1 << 10 => format!("{bytes} B"),
            bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
            bytes if bytes < 1 << 20 && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
            bytes if bytes < 1 << 20 => format!("{:.1} KiB", bytes as f64 / 1024.0),
            bytes => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        };
        f.pad(&text)
    }
}

/// Bytes a second.
pub struct Throughput(pub u64, pub Duration);

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.1.as_secs_f64();
        if self.0 == 0 || seconds == 0.0 {
            return f.pad("-");
        }
        // More than enough precision for display.
        f.pad(&format!("{}/s", Bytes((self.0 as f64 / seconds) as u64)))
    }
}

/// Bytes in hexadecimal.
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The pages of an area.
pub struct Pages<'a>(pub &'a AreaInfo);

impl fmt::Display for Pages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AreaInfo {
            pages_in_use,
            pages_idle,
            pages_absent,
            ..
        } = self.0;
        write!(
            f,
            "pages {pages_in_use} in use, {pages_idle} idle, {pages_absent} absent"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_the_unit_that_suits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (4096, "4 KiB"),
            (1500, "1.5 KiB"),
            (512 << 10, "512 KiB"),
            (4 << 20, "4 MiB"),
            (1_500_000, "1.4 MiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(Hex(&[0, 171]).to_string(), "00ab");
    }
}
