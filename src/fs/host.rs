// SPDX-License-Identifier: GPL-2.0

//! Callbacks of the lease and pin code.

use super::{
    file,
    super_block::Pinfs, //
};
use crate::{
    layout::host::Host,
    rust::vfs::{
        FsInode,
        Inode, //
    }, //
};
use core::ops::Range;
use kernel::prelude::*;

impl Host for Pinfs {
    fn owns(inode: &Inode) -> bool {
        FsInode::<Pinfs>::try_from(inode).is_some()
    }

    fn can_lease(inode: &Inode) -> bool {
        Self::owns(inode) && inode.is_regular()
    }

    fn prepare_pin(inode: &Inode, bytes: Range<u64>, write: bool) -> Result {
        let inode = FsInode::<Pinfs>::try_from(inode).ok_or(EINVAL)?;
        if write {
            // The fault that makes the page writable allocates.
            file::expect_device_writes(inode, &bytes);
            Ok(())
        } else {
            // A page of a hole or of unwritten blocks would be the kernel's zero page, and would
            // not become the file's page at a later write.
            file::allocate_for_pin(inode, bytes)
        }
    }

    fn pinned_for_writing(inode: &Inode, pages: &Range<u64>) {
        if let Some(inode) = FsInode::<Pinfs>::try_from(inode) {
            inode.tag_dirty(pages);
            inode.mark_data_dirty();
        }
    }
}
