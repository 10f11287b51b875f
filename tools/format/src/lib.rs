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

pub mod check;
pub mod crash;
pub mod device;
pub mod exercise;
pub mod memory;
pub mod names;
pub mod signatures;

pub use kernel_module::{
    engine,
    ondisk, //
};

pub use engine::{
    medium,
    mkfs,
    namespace,
    orphan,
    persist,
    planted,
    tx,
    walk,
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
    Name,
    Refusal,
    Result,
    Time,
    BLOCK_SHIFT,
    BLOCK_SIZE,
    GROUP_BLOCKS,
    INODE_SIZE,
    INODE_SLOTS, //
};

/// The bitmaps.
pub mod bitmap {
    pub use crate::{
        engine::bitmap::*,
        ondisk::bitmap::*, //
    };
}

/// Directories.
pub mod dir {
    pub use crate::{
        engine::dir::*,
        ondisk::leaf::*, //
    };
}

/// Regular files.
pub mod extents {
    pub use crate::{
        engine::extents::*,
        ondisk::extent::*, //
    };
}

/// Inodes.
pub mod inode {
    pub use crate::{
        engine::ialloc::*,
        ondisk::inode::*, //
    };
}

/// The journal.
pub mod journal {
    pub use crate::{
        engine::journal::*,
        ondisk::record::*, //
    };
}

/// What changes for the file system as a whole.
pub mod mount {
    pub use crate::{
        engine::mount::*,
        ondisk::status::*, //
    };
}

/// Free space.
pub mod space {
    pub use crate::engine::{
        run::*,
        space::*, //
    };
}

/// The superblock.
pub mod superblock {
    pub use crate::ondisk::superblock::*;
}

/// Symbolic links.
pub mod symlink {
    pub use crate::{
        engine::symlink::*,
        ondisk::symlink::*, //
    };
}

/// The B+tree of an inode.
pub mod tree {
    pub use crate::ondisk::node::*;
}

/// Reading, with every checksum verified.
pub mod volume {
    pub use crate::{
        engine::volume::*,
        ondisk::{
            header::*,
            inode_offset, //
        }, //
    };
}

/// Extended attributes.
pub mod xattr {
    pub use crate::{
        engine::xattr::*,
        ondisk::xattr::*, //
    };
}
