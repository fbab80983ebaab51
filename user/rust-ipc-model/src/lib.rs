// SPDX-License-Identifier: GPL-2.0

//! Pages of a receive area, from being installed to being reclaimed, in every order of the steps
//! that threads can take (loom tries them).
//!
//! The table of pages is the driver's own `vma/table.rs`, each atomic access of which is a step, and
//! so is the shrinker's decision, `shrinker/decision.rs`. What stands around it follows `vma/area.rs`
//! and `vma/backing.rs` step by step, under the same names; locks are loom's.

#[cfg(test)]
#[path = "../../../shrinker/decision.rs"]
mod decision;
#[cfg(test)]
mod page;
#[cfg(test)]
#[path = "../../../vma/table.rs"]
#[allow(unsafe_code, reason = "the driver's own, as it is")]
mod table;

#[cfg(test)]
mod pages;
