// SPDX-License-Identifier: GPL-2.0

//! A service written with rsbinder that says the SHA-256 of what it is given, and what its clients
//! share with it. `aidl/` has its interface.

mod service;

use anyhow::{Context, Result};
use rsbinder::Uri;

pub use service::Service;

/// What `rsbinder-aidl` makes of `aidl/`.
#[allow(missing_docs, reason = "generated")]
pub mod aidl {
    rsbinder::include_aidl!("rust_ipc", self::rust_ipc::{IDigest::*, IProgress::*, IStream::*});
}

/// The name that the service manager has for the service.
pub const SERVICE: &str = "rust_ipc.digest";

/// The service on a device, as [`rsbinder::serve`] and [`rsbinder::connect`] want to hear of it. In a
/// process that does either, the driver asks for `threads` threads at most, beside the first.
pub fn service_on(device: &str, threads: u32) -> Result<Uri> {
    let uri = format!("binder://{SERVICE}?driver={device}&threads={threads}");
    Uri::parse(&uri).with_context(|| format!("making {uri}"))
}

/// A digest as text.
pub fn hex(digest: impl AsRef<[u8]>) -> String {
    let digest = digest.as_ref();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
