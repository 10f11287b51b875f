// SPDX-License-Identifier: GPL-2.0

//! What user space includes: `include/uapi/linux/pinfs.h`, so that Rust and C cannot drift.

pub(crate) use crate::bindings::PINFS_SUPER_MAGIC;
