// SPDX-License-Identifier: GPL-2.0

//! pinfs: a DAX file system that makes long-term page pins safe.

#![crate_name = "pinfs"]

use kernel::prelude::*;

#[path = "../rust/bindings.rs"]
mod bindings;
#[path = "../rust/dax.rs"]
mod dax;
#[path = "../rust/hook.rs"]
mod hook;
#[path = "../rust/irq.rs"]
mod irq;
#[path = "../rust/lock.rs"]
mod lock;
#[path = "../rust/pmem.rs"]
mod pmem;
#[path = "../rust/vfs/mod.rs"]
mod vfs;

module! {
    type: Pinfs,
    name: "pinfs",
    authors: ["pinfs authors"],
    description: "DAX file system with safe long-term page pins",
    license: "GPL",
}

struct Pinfs;

impl kernel::Module for Pinfs {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("hello\n");
        Ok(Self)
    }
}
