// SPDX-License-Identifier: GPL-2.0

//! The on-disk format of pinfs for programs: the sources of the kernel module, compiled for the
//! host, and what programs and tests need around them.
//!
//! [`ondisk`] and [`engine`] are the module's own. Below them, a subject that both know has one name
//! here, and what only programs do with it stands there too.

// As in the kernel, so that nothing from `std` gets into the shared sources.
#![no_std]
#![forbid(unsafe_code)]

extern crate std;

#[path = "../../../src"]
mod kernel_module {
    pub mod engine;
    pub mod ondisk;
}

pub mod bitmap;
pub mod check;
pub mod crash;
pub mod device;
pub mod dir;
pub mod exercise;
pub mod inode;
pub mod memory;
pub mod mkfs;
pub mod mount;
pub mod names;
pub mod orphan;
pub mod signatures;
pub mod space;
pub mod superblock;
pub mod tree;
pub mod volume;
pub mod walk;
pub mod xattr;

pub use kernel_module::{
    engine,
    ondisk, //
};

pub use engine::{
    medium,
    namespace,
    persist,
    tx,
    Journal,
    Medium,
    Space,
    Tx,
    Volume, //
};
pub use ondisk::{
    crc,
    error,
    name,
    offset_of,
    Error,
    Geometry,
    Inode,
    MountError,
    Name,
    Result,
    Time,
    BLOCK_SHIFT,
    BLOCK_SIZE,
    GROUP_BLOCKS,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// Regular files.
pub mod extents {
    pub use crate::{
        engine::extents::*,
        ondisk::extent::*, //
    };
}

/// The journal.
pub mod journal {
    pub use crate::{
        engine::journal::*,
        ondisk::record::*, //
    };
}

/// Symbolic links.
pub mod symlink {
    pub use crate::{
        engine::symlink::*,
        ondisk::symlink::*, //
    };
}
