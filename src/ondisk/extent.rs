// SPDX-License-Identifier: GPL-2.0

//! Extents of regular files.

use core::cmp;

use super::{
    node::Entry,
    Error,
    Geometry,
    Result,
    BLOCK_SHIFT, //
};

/// Blocks in the largest file: sizes are signed 64-bit numbers of bytes.
pub const MAX_BLOCKS: u64 = 1 << (63 - BLOCK_SHIFT);

/// [`Entry::flags`]: the blocks are allocated and read as zeroes.
pub const UNWRITTEN: u32 = 1 << 0;

/// A part of a file that is contiguous on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block of the file.
    pub lblock: u64,
    /// First block of the device.
    pub block: u64,
    /// Blocks.
    pub len: u64,
    /// Whether it reads as zeroes, whatever the contents of the blocks.
    pub unwritten: bool,
}

impl Extent {
    /// Returns the extent of a tree entry, if it is valid.
    pub fn from_entry(entry: Entry, geometry: &Geometry) -> Result<Self> {
        let len = u64::from(entry.len);
        let ends = entry
            .key
            .checked_add(len)
            .is_some_and(|end| end <= MAX_BLOCKS);
        if len == 0 || !ends || !geometry.in_data(entry.value, len) {
            return Err(Error::Corrupt("extent outside the file system"));
        }
        Ok(Extent {
            lblock: entry.key,
            block: entry.value,
            len,
            unwritten: entry.flags & UNWRITTEN != 0,
        })
    }

    /// Returns the tree entry of the extent.
    pub fn entry(&self) -> Result<Entry> {
        Ok(Entry {
            key: self.lblock,
            value: self.block,
            len: u32::try_from(self.len).map_err(|_| Error::Overflow)?,
            flags: if self.unwritten { UNWRITTEN } else { 0 },
        })
    }

    /// Returns the first file block after the extent.
    pub fn end(&self) -> u64 {
        self.lblock + self.len
    }

    /// Returns the part from file block `lblock` on, if the extent contains it.
    pub fn from(&self, lblock: u64) -> Option<Self> {
        (self.lblock..self.end())
            .contains(&lblock)
            .then(|| self.clip(lblock, u64::MAX))
    }

    /// Returns the part in `from..to`, which must overlap the extent.
    pub(crate) fn clip(&self, from: u64, to: u64) -> Self {
        let start = cmp::max(self.lblock, from);
        Extent {
            lblock: start,
            block: self.block + (start - self.lblock),
            len: cmp::min(self.end(), to) - start,
            unwritten: self.unwritten,
        }
    }

    /// Returns both as one, if `next` continues this one in file and device.
    pub fn join(&self, next: &Extent) -> Option<Self> {
        let joined = Extent {
            len: self.len + next.len,
            ..*self
        };
        let continues = self.end() == next.lblock
            && self.block + self.len == next.block
            && self.unwritten == next.unwritten
            && joined.len <= u64::from(u32::MAX);
        continues.then_some(joined)
    }
}
