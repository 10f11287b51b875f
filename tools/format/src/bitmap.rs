// SPDX-License-Identifier: GPL-2.0

//! The bitmaps.

use crate::{
    Medium,
    Result,
    Volume, //
};

pub(crate) use crate::engine::bitmap::*;
pub use crate::ondisk::bitmap::*;

/// Computes and stores the checksums of a group from what the bitmaps hold, and flushes them: for
/// who has just made or repaired them outside a transaction.
pub fn seal<M: Medium>(volume: &Volume<M>, group: u64) -> Result {
    let word = Bits::read_unverified(volume, group)?.sum(volume, group);
    set_sum(volume, group, word)
}

/// Whether the checksums of a group are right.
///
/// # Errors
/// [`Error::Corrupt`] if they are not.
pub fn verify<M: Medium>(volume: &Volume<M>, group: u64) -> Result {
    Bits::read(volume, group).map(drop)
}
