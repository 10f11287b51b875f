// SPDX-License-Identifier: GPL-2.0

//! The two bitmaps, and the place of their checksums.
//!
//! A group of 512 blocks has 64 bytes in each bitmap, one cache line, and one word in the table of
//! checksums: the CRC-32C of its line in the block bitmap below that of its line in the inode-block
//! bitmap, each seeded with the place of the line.

use super::{
    offset_of,
    Geometry,
    GROUP_BLOCKS, //
};

/// Bits in a word of a bitmap.
pub(crate) const BITS: u64 = u64::BITS as u64;

/// Words of a group in one bitmap.
pub(crate) const WORDS: usize = (GROUP_BLOCKS / BITS) as usize;

/// Bytes of a group in one bitmap.
pub(crate) const LINE: u64 = GROUP_BLOCKS / 8;

/// One of the bitmaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Set: the block is in use.
    Used,
    /// Set: the block holds inodes.
    Inodes,
}

impl Plane {
    /// Returns the offset of the line of `group`.
    pub(crate) fn line(self, geometry: &Geometry, group: u64) -> u64 {
        let start = match self {
            Plane::Used => geometry.bitmap_start,
            Plane::Inodes => geometry.inode_bitmap_start,
        };
        offset_of(start) + group * LINE
    }

    /// Returns the word of checksums with this bitmap's half replaced.
    pub(crate) fn half(self, word: u64, crc: u32) -> u64 {
        let low = u64::from(u32::MAX);
        match self {
            Plane::Used => word & !low | u64::from(crc),
            Plane::Inodes => word & low | u64::from(crc) << 32,
        }
    }
}

/// Returns the offset of the checksums of a group.
pub(crate) fn sum_offset(geometry: &Geometry, group: u64) -> u64 {
    offset_of(geometry.sums_start) + group * 8
}
