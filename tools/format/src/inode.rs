// SPDX-License-Identifier: GPL-2.0

//! Inodes.

pub use crate::{
    engine::ialloc::*,
    ondisk::inode::*, //
};

impl Inode {
    /// Whether there are extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.xattr.get() != 0
    }
}
