// SPDX-License-Identifier: GPL-2.0

//! pinfs: a DAX file system that makes long-term page pins safe.
//!
//! A process takes an exclusive layout lease on a file and pins its pages through the kernel's
//! ordinary interfaces. Until the pins end, operations that would free their blocks fail.
//!
//! All code that the compiler cannot check is in `rust/`, behind safe abstractions that the kernel
//! crate lacks. Of the modules here, [`fs`] uses [`layout`], and [`layout`] only knows the file
//! system as a [`Host`](layout::host::Host).
//!
//! # Glossary
//!
//! * *lease*: a layout lease that user space takes with `fcntl(F_SETLEASE)` or
//!   `ioctl(PINFS_IOC_LEASE)`. A *strong* one cannot be broken, and permits pins. In [`layout`] a
//!   *lease record*, which may outlive its descriptor.
//! * *long-term pin*: a reference to pages taken with `FOLL_LONGTERM` (RDMA, io_uring, AF_XDP,
//!   VFIO).
//! * *transient pin*: any other reference (O_DIRECT, vmsplice, ptrace).
//! * *context*: the owner of a long-term pin: an open file, or a process's memory.
//! * *holding*: the pins of one context on one file under one lease.
//! * *subtractive*: property of operations that free, move or un-share blocks of a file.
//! * *quarantine*: the state of the inode of a closed file until the last reference to its pages
//!   ends.

#![crate_name = "pinfs"]

use kernel::{
    prelude::*,
    sync::Arc, //
};
use rust::{
    sysfs,
    vfs, //
};

#[path = "../rust/mod.rs"]
mod rust;

#[forbid(unsafe_code)]
#[expect(
    unreachable_pub,
    reason = "public in the crate of the tools, which has the same files"
)]
mod engine;
#[forbid(unsafe_code)]
mod features;
#[forbid(unsafe_code)]
mod fs;
#[forbid(unsafe_code)]
mod layout;
#[forbid(unsafe_code)]
#[expect(
    unreachable_pub,
    reason = "public in the crate of the tools, which has the same files"
)]
mod ondisk;

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
    sysfs: Arc<sysfs::Directory>,
    layout: layout::Layout<fs::Pinfs>,
}

impl kernel::InPlaceModule for Pinfs {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            layout: layout::Layout::new()?,
            sysfs: Arc::new(sysfs::Directory::new(c"pinfs")?, GFP_KERNEL)?,
            _features: features::Features::new(sysfs, layout)?,
            file_system <- vfs::Registration::new(module, sysfs.clone()),
        })
    }
}
