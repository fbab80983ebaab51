// SPDX-License-Identifier: GPL-2.0

//! An oracle: the C driver and this project's, given the same script, and what comes back compared.
//!
//! A [script](script) says which thread of which process does what, one step after the other. The
//! [controller](controller) has [workers](worker) carry it out on either device, and [compares](run)
//! what each step came to: errnos, how much was consumed, every return and its arguments, payloads,
//! objects, descriptors, nodes, extended errors, nice values. Whatever differs is a fault, unless it
//! is [meant to](allow).
//!
//! The scripts of the repository are in `selftests/oracle/`. Others are made up [at
//! random](random), and [made shorter](shrink) if they show a difference.

pub mod allow;
pub mod breaks;
pub mod controller;
pub mod coverage;
pub mod library;
pub mod random;
pub mod run;
pub mod script;
pub mod search;
pub mod shrink;
pub mod sys;
pub mod tap;
pub mod wire;
pub mod worker;
