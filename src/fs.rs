// SPDX-License-Identifier: GPL-2.0

//! The file system: the VFS's traits on the metadata engine of [`crate::format`].
//!
//! Every change of metadata is one transaction ([`SuperBlock::transact`](crate::vfs::SuperBlock::transact)) and durable when it returns.
//! What the VFS keeps in memory besides (sizes, link counts, times) is set after the transaction
//! has committed, so that a failed one changes nothing anywhere.
//!
//! # Locks
//!
//! The engine wants an *inode lock*, shared to read an inode or its tree and exclusive to change
//! them. That is the map lock ([`Data::map`]): the VFS's own `i_rwsem` cannot be it, because page
//! faults and writeback come without `i_rwsem`. The engine's *journal lock* is the mutex in
//! [`Super`]. The order of all locks is at the head of [`crate::lock`].

mod copy;
mod dir;
mod export;
mod file;
mod health;
mod inode;
mod ioctl;
mod recovery;
mod super_block;
mod xattr;

use crate::vfs::{
    INode,
    Inode, //
};
use core::ops::Range;
use kernel::prelude::*;

pub(crate) use self::super_block::Pinfs;
#[expect(unused_imports, reason = "for the documentation above")]
use self::{
    inode::Data,
    super_block::Super, //
};

/// Says whether an inode is one of pinfs.
pub(crate) fn is_pinfs(inode: &Inode) -> bool {
    INode::<Pinfs>::try_from(inode).is_some()
}

/// Gives a range of a file (bytes) blocks of its own where it has none or unwritten ones, so that
/// a pin of it pins what later writes change.
///
/// May sleep; takes the invalidate lock. The caller may hold the mmap lock.
///
/// # Errors
///
/// `EINVAL` for an inode that is not a regular file of pinfs, `ENOSPC`, `EROFS`.
pub(crate) fn allocate_for_pin(inode: &Inode, range: Range<u64>) -> Result {
    file::allocate_for_pin(INode::<Pinfs>::try_from(inode).ok_or(EINVAL)?, range)
}

/// Notes, before pages of a file are pinned for writing, that a device may write to them behind the
/// back of the page tables: they count as dirty until the pins have ended and the file was synced.
/// To be followed by [`pinned_for_writing`].
///
/// # Errors
///
/// `EINVAL` for a file that is not on pinfs.
pub(crate) fn expect_device_writes(inode: &Inode, range: Range<u64>) -> Result {
    file::expect_device_writes(INode::<Pinfs>::try_from(inode).ok_or(EINVAL)?, &range);
    Ok(())
}

/// Has the file flushed by whoever syncs the file system, after pins of pages for writing came on
/// record: who did so between the note and the record may have found nothing pinned.
///
/// The caller still has the pins, which keep the pages those of the file.
pub(crate) fn pinned_for_writing(inode: &Inode, pages: &Range<u64>) {
    if let Some(inode) = INode::<Pinfs>::try_from(inode) {
        inode.tag_dirty(pages);
        inode.mark_data_dirty();
    }
}

/// Turns an error of the engine into the errno that the user sees.
fn errno(err: crate::format::Error) -> Error {
    Error::from_errno(err.errno())
}
