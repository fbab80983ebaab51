// SPDX-License-Identifier: GPL-2.0

//! A fuzzer for the ABI: processes that make up what they ask of the driver.
//!
//! What is done next is an [operation](actor), all of which is drawn from one number. So a *program*
//! is a list of numbers, and a seed gives a list. A few processes can carry a program out [in
//! turns](program): that comes to the same each time. Or [many processes](run) of several threads do
//! what they like at once, while some are killed, memory is reclaimed, and allocations fail.
//!
//! Most of what is asked makes some sense: it names handles, buffers and counts that the driver has
//! returned. What a process that minds the rules is given is looked at: every byte of a message
//! follows from the message's code, wherever it was sent from.

#![warn(unreachable_pub)]

mod actor;
mod board;
mod coverage;
mod message;
pub mod program;
mod random;
mod returns;
pub mod run;
mod sys;
