// SPDX-License-Identifier: GPL-2.0

//! The parts of the module that need no kernel, built for the host with their tests.

#![allow(dead_code)]

#[path = "../../alloc/mod.rs"]
mod alloc;

#[path = "../../shrinker/decision.rs"]
mod decision;

#[path = "../../vma/filled.rs"]
mod filled;

#[path = "../../ipc/counts.rs"]
mod counts;

#[cfg(test)]
mod counts_model;

#[path = "../../ipc/gather.rs"]
mod gather;

#[path = "../../uapi/mod.rs"]
mod uapi;
