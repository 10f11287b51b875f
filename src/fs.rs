// SPDX-License-Identifier: GPL-2.0

//! The file system: the VFS's traits on the metadata engine of [`crate::engine`].
//!
//! Every change of metadata is one transaction
//! ([`SuperBlock::transact`](crate::rust::vfs::SuperBlock::transact)) and durable when it returns.
//! The VFS's copies in memory (sizes, link counts, times) are set after the transaction has
//! committed, so that a failed one changes nothing.
//!
//! # Locks
//!
//! The engine requires an *inode lock*, shared to read an inode or its tree and exclusive to change
//! them. This is the map lock ([`Data::map`]): the VFS's own `i_rwsem` cannot be it, because page
//! faults and writeback do not hold `i_rwsem`. The engine's *journal lock* is the mutex in
//! [`Super`]. The order of all locks is in [`crate::rust::lock`].

mod dir;
mod export;
mod file;
mod host;
mod inode;
mod ioctl;
mod recovery;
mod rw;
mod state;
mod super_block;
mod txn;
mod xattr;

use kernel::prelude::*;

pub(crate) use self::super_block::Pinfs;
#[expect(unused_imports, reason = "for the documentation above")]
use self::{
    inode::Data,
    super_block::Super, //
};

/// Turns an error of the engine into the errno for user space.
fn errno(err: crate::ondisk::Error) -> Error {
    Error::from_errno(err.errno())
}
