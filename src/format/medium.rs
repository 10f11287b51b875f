// SPDX-License-Identifier: GPL-2.0

//! What the engine needs from persistent memory.

use super::{
    crc,
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
/// [`Error::Io`]: super::Error::Io
pub trait Medium {
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

    /// Waits until everything flushed before is durable.
    fn fence(&self);

    /// Continues a CRC-32C over `data`: the plain polynomial step, without inversion before or
    /// after, as the kernel's `crc32c()`. Here so that a medium can bring a faster one.
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        crc::update(crc, data)
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

    fn fence(&self) {
        (**self).fence()
    }

    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        (**self).crc32c(crc, data)
    }
}
