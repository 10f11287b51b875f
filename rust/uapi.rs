// SPDX-License-Identifier: GPL-2.0

//! The interface to user space: `include/uapi/linux/pinfs.h`, so that Rust and C cannot differ.

use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

pub(crate) use crate::rust::bindings::{
    pinfs_lease as LeaseArg,
    pinfs_lease_op_PINFS_LEASE_GET as PINFS_LEASE_GET,
    pinfs_lease_op_PINFS_LEASE_RELEASE as PINFS_LEASE_RELEASE,
    pinfs_lease_op_PINFS_LEASE_SET as PINFS_LEASE_SET,
    PINFS_LEASE_SIZE_VER0,
    PINFS_SUPER_MAGIC, //
};

/// `PINFS_IOC_LEASE`, whose macro bindgen cannot evaluate.
pub(crate) const PINFS_IOC_LEASE: u32 = crate::rust::bindings::pinfs_ioc_lease;

// Four members of four bytes and three of eight, in this order, leave no gap.
const _: () = assert!(size_of::<LeaseArg>() == 4 * 4 + 3 * 8);

// SAFETY: All members are integers.
unsafe impl FromBytes for LeaseArg {}
// SAFETY: All members are integers, without padding.
unsafe impl AsBytes for LeaseArg {}
