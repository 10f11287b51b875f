// SPDX-License-Identifier: GPL-2.0

//! Looks at everything that a power loss may leave of a pinfs file system.
//!
//! A guest runs a workload while a QEMU plugin records what reaches its persistent memory
//! (`tests/powerloss/plugin`, `qemu/vm run --trace`). From that [`trace`] this
//! 1. goes through the stores, write-backs and fences in their order, and at each fence and each
//!    mark makes up the images that the memory may hold if the power fails there ([`memory`]);
//! 2. does to each that it has not seen before what the next mount does, with the module's own code
//!    ([`recover`]), and lets the power fail again in the midst of that;
//! 3. demands that `fsck.pinfs` finds nothing, and that the tree of files is the one before or the one
//!    after the system call that was going on, as the workload has seen them ([`tree`],
//!    [`oracle`]).
//!
//! The proof that it would find something: [`plant`] changes a trace as if a write-back or a fence were
//! missing from the module's code, or two updates were in the wrong order.

#![forbid(unsafe_code)]

pub mod explore;
pub mod memory;
pub mod oracle;
pub mod plant;
pub mod recover;
pub mod reproducer;
pub mod trace;
pub mod tree;
