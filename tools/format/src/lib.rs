// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of pinfs for programs: the sources of the kernel module, compiled for the
//! host.

#![no_std]
#![forbid(unsafe_code)]

#[path = "../../../src"]
mod kernel_module {
    pub mod format;
}

pub use kernel_module::format::*;
