// SPDX-License-Identifier: GPL-2.0

//! Interface of leases and pins to the file system of their files.

use crate::rust::vfs::Inode;
use core::ops::Range;
use kernel::prelude::*;

/// A DAX file system whose files can be leased and pinned.
pub(crate) trait Host: 'static {
    /// Returns whether an inode is one of this file system.
    ///
    /// May be called in any context.
    fn owns(inode: &Inode) -> bool;

    /// Returns whether a file can have layout leases.
    ///
    /// May be called in any context.
    fn can_lease(inode: &Inode) -> bool;

    /// Prepares a range of a file (bytes, whole pages) for a long-term pin, before its pages are
    /// pinned.
    ///
    /// A pin for reading needs blocks where the file has holes or unwritten blocks, so that later
    /// writes change the pinned pages. After a pin for writing a device may write without making
    /// page table entries dirty: the range counts as dirty until the pins have ended and the file
    /// was synced.
    ///
    /// May sleep; takes the invalidate lock. The caller may hold the mmap lock.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an inode that [`Host::owns`] returns false for; `ENOSPC`, `EROFS`, `EIO`.
    fn prepare_pin(inode: &Inode, bytes: Range<u64>, write: bool) -> Result;

    /// Marks the file dirty again after pins of pages for writing are on record: a sync between
    /// [`Host::prepare_pin`] and the record may have found no pins.
    ///
    /// The caller holds the pins, so the pages stay those of the file.
    fn pinned_for_writing(inode: &Inode, pages: &Range<u64>);
}
