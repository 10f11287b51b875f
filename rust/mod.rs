// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions that the kernel crate lacks, and all unsafe code of the module.
//!
//! * [`vfs`]: superblocks, inodes, files, extended attributes, iomap; [`dax`] and [`pmem`]: the
//!   memory.
//! * [`hook`]: redirecting and observing functions of the kernel; [`lease`], [`gup`], [`uring`] and
//!   [`proc`]: the hooked functions.
//! * [`lock`]: the VFS's locks and the lock order; [`irq`] and [`work`]: locks for, and work
//!   deferred from, interrupt handlers.
//! * [`identity`] and [`task`]: the caller.
//! * [`trace`] and [`sysfs`]: output for administrators; [`uapi`]: the interface to user space.
//!
//! Differences between kernels are in `compat`. C declarations (`bindings`) do not leave this
//! module. `safe` has the C functions that need no more than arguments of the right types.

mod bindings;
mod compat;
pub(crate) mod dax;
pub(crate) mod gup;
pub(crate) mod hook;
pub(crate) mod identity;
pub(crate) mod irq;
pub(crate) mod lease;
pub(crate) mod lock;
pub(crate) mod pmem;
pub(crate) mod proc;
pub(crate) mod random;
mod safe;
#[forbid(unsafe_code)]
pub(crate) mod small_vec;
pub(crate) mod sysfs;
pub(crate) mod task;
pub(crate) mod trace;
pub(crate) mod uapi;
pub(crate) mod uring;
pub(crate) mod vfs;
pub(crate) mod work;
