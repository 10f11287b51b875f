// SPDX-License-Identifier: GPL-2.0

//! Interface of the engine to persistent memory.

use core::cmp;

use super::CHUNK;
use crate::ondisk::{
    crc::Checksum,
    Error,
    Result, //
};

/// A range of persistent memory.
///
/// Stores become visible to later reads at once, but they are durable only after [`flush`] of the
/// range and a [`fence`] after it; before that, any subset of the 8-byte words stored may survive
/// a power loss.
///
/// Offsets are in bytes. An access outside the medium fails with [`Error::Io`] and does nothing.
///
/// [`flush`]: Medium::flush
/// [`fence`]: Medium::fence
pub trait Medium: Checksum {
    /// Bytes in the medium.
    fn size(&self) -> u64;

    /// Copies `buf.len()` bytes from `off`. An aligned 8-byte read is a single load.
    fn read(&self, off: u64, buf: &mut [u8]) -> Result;

    /// Stores `data` at `off`. An aligned 8-byte write is a single store.
    fn write(&self, off: u64, data: &[u8]) -> Result;

    /// Stores zeroes. Needs [`Medium::flush`] and [`Medium::fence`] like any store.
    fn zero(&self, off: u64, len: u64) -> Result;

    /// Starts writing back the cache lines that hold the range.
    fn flush(&self, off: u64, len: u64) -> Result;

    /// Stores `data` at `off` and starts writing back the cache lines there.
    fn store(&self, off: u64, data: &[u8]) -> Result {
        self.write(off, data)?;
        self.flush(off, data.len() as u64)
    }

    /// Does the same as [`Medium::store`] for data that will not be read soon: a medium may bypass
    /// the cache.
    fn stream(&self, off: u64, data: &[u8]) -> Result {
        self.store(off, data)
    }

    /// Copies `len` bytes to a place that does not overlap the source, and flushes the copy.
    fn copy(&self, from: u64, to: u64, len: u64) -> Result {
        let mut chunk = [0u8; CHUNK];
        let mut done = 0;
        while done < len {
            let part = cmp::min(len - done, CHUNK as u64);
            let part = chunk.get_mut(..part as usize).ok_or(Error::Io)?;
            self.read(from + done, part)?;
            self.write(to + done, part)?;
            done += part.len() as u64;
        }
        self.flush(to, len)
    }

    /// Waits until everything flushed before is durable.
    fn fence(&self);

    /// Returns whether `block` is known to be good, from [`Medium::set_verified`]. A mounted file
    /// system need not compute a checksum at each read of a block. Like a file system with a page
    /// cache, it detects damage at the first read.
    fn is_verified(&self, _block: u64) -> bool {
        false
    }

    /// Notes that the checksum of the metadata in `block` was right.
    ///
    /// Locks: the inode lock of its owner.
    fn set_verified(&self, _block: u64) {}

    /// Notes that the contents of `len` blocks from `start` on change.
    ///
    /// Locks: those of [`Medium::set_verified`], exclusive.
    fn forget_verified(&self, _start: u64, _len: u64) {}

    /// Returns whether one of `len` blocks from `start` on is known to be metadata
    /// ([`Medium::set_verified`]).
    fn any_verified(&self, _start: u64, _len: u64) -> bool {
        false
    }

    /// Returns whether one of `len` blocks from `start` on is in the mapping of a file: processes
    /// may have it in their page tables. Such a block holds only data of that file.
    fn is_mapped(&self, _start: u64, _len: u64) -> bool {
        false
    }
}

impl<M: Medium + ?Sized> Medium for &M {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        (**self).read(off, buf)
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        (**self).write(off, data)
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        (**self).zero(off, len)
    }

    fn flush(&self, off: u64, len: u64) -> Result {
        (**self).flush(off, len)
    }

    fn store(&self, off: u64, data: &[u8]) -> Result {
        (**self).store(off, data)
    }

    fn stream(&self, off: u64, data: &[u8]) -> Result {
        (**self).stream(off, data)
    }

    fn copy(&self, from: u64, to: u64, len: u64) -> Result {
        (**self).copy(from, to, len)
    }

    fn fence(&self) {
        (**self).fence()
    }

    fn is_verified(&self, block: u64) -> bool {
        (**self).is_verified(block)
    }

    fn set_verified(&self, block: u64) {
        (**self).set_verified(block)
    }

    fn forget_verified(&self, start: u64, len: u64) {
        (**self).forget_verified(start, len)
    }

    fn any_verified(&self, start: u64, len: u64) -> bool {
        (**self).any_verified(start, len)
    }

    fn is_mapped(&self, start: u64, len: u64) -> bool {
        (**self).is_mapped(start, len)
    }
}

impl<M: Medium + ?Sized> Checksum for &M {
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        (**self).crc32c(crc, data)
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        (**self).xxh64(seed, data)
    }
}
