// SPDX-License-Identifier: GPL-2.0

//! pinfs: a DAX file system that makes long-term page pins safe.

#![crate_name = "pinfs"]

use kernel::prelude::*;

#[path = "../rust/bindings.rs"]
mod bindings;
#[path = "../rust/dax.rs"]
mod dax;
#[path = "../rust/gup.rs"]
mod gup;
#[path = "../rust/hook.rs"]
mod hook;
#[path = "../rust/identity.rs"]
mod identity;
#[path = "../rust/irq.rs"]
mod irq;
#[path = "../rust/lease.rs"]
mod lease;
#[path = "../rust/lock.rs"]
mod lock;
#[path = "../rust/pmem.rs"]
mod pmem;
#[path = "../rust/proc.rs"]
mod proc;
#[path = "../rust/random.rs"]
mod random;
#[path = "../rust/sysfs.rs"]
mod sysfs;
#[path = "../rust/task.rs"]
mod task;
#[path = "../rust/uapi.rs"]
mod uapi;
#[path = "../rust/vfs/mod.rs"]
mod vfs;
#[path = "../rust/work.rs"]
mod work;

#[forbid(unsafe_code)]
mod features;
#[forbid(unsafe_code)]
#[expect(dead_code, unreachable_pub, reason = "a crate of its own for mkfs")]
mod format;
#[forbid(unsafe_code)]
mod fs;
#[forbid(unsafe_code)]
mod layout;
#[forbid(unsafe_code)]
mod pins;

module! {
    type: Pinfs,
    name: "pinfs",
    authors: ["pinfs authors"],
    description: "DAX file system with safe long-term page pins",
    license: "GPL",
}

#[pin_data]
struct Pinfs {
    #[pin]
    file_system: vfs::Registration<fs::Pinfs>,
    _features: features::Features,
    layout: layout::Layout,
    pins: pins::Pins,
}

impl kernel::InPlaceModule for Pinfs {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            pins: pins::Pins::new()?,
            layout: layout::Layout::new(),
            _features: features::Features::new(layout, pins)?,
            file_system <- vfs::Registration::new(module),
        })
    }
}
