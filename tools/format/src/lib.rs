// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of pinfs for programs: the sources of the kernel module, compiled for the
//! host, and what programs and tests need around them.

// As in the kernel, so that nothing from `std` gets into the shared sources.
#![no_std]
#![forbid(unsafe_code)]

extern crate std;

#[path = "../../../src"]
mod kernel_module {
    pub mod engine;
}

pub mod check;
pub mod crash;
pub mod device;
pub mod exercise;
pub mod memory;
pub mod names;
pub mod signatures;

pub use kernel_module::engine::*;
