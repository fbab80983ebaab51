// SPDX-License-Identifier: GPL-2.0

//! Generates the Rust side of the interfaces in `aidl/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match rsbinder_aidl::Builder::new()
        .source("aidl")
        .output("rust_ipc.rs")
        .generate()
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
