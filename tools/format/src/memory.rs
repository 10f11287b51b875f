// SPDX-License-Identifier: GPL-2.0

//! A medium in ordinary memory.

use std::{
    cell::RefCell,
    ops::Range,
    vec,
    vec::Vec, //
};

use xxhash_rust::xxh64::xxh64;

use crate::{
    crc::Checksum,
    Error,
    Medium,
    Result, //
};

/// A medium in ordinary memory, which never loses anything.
pub struct Memory {
    bytes: RefCell<Vec<u8>>,
    /// Every checksum is the same. So a damaged structure passes, and what is behind the checksums
    /// can be tested.
    blind: bool,
}

impl Memory {
    /// A medium that holds `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Memory {
            bytes: RefCell::new(bytes),
            blind: false,
        }
    }

    /// A medium on which checksums say nothing.
    pub fn blind(bytes: Vec<u8>) -> Self {
        Memory {
            bytes: RefCell::new(bytes),
            blind: true,
        }
    }

    /// What it holds.
    pub fn image(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }
}

/// The range of indices for an access, if it lies in a medium of `size` bytes.
pub(crate) fn range(size: usize, off: u64, len: u64) -> Result<Range<usize>> {
    let end = off.checked_add(len).ok_or(Error::Io)?;
    if end > size as u64 {
        return Err(Error::Io);
    }
    Ok(off as usize..end as usize)
}

impl Checksum for Memory {
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        if self.blind {
            0
        } else {
            crate::crc::update(crc, data)
        }
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        if self.blind {
            0
        } else {
            xxh64(data, seed)
        }
    }
}

impl Medium for Memory {
    fn size(&self) -> u64 {
        self.bytes.borrow().len() as u64
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        let bytes = self.bytes.borrow();
        buf.copy_from_slice(&bytes[range(bytes.len(), off, buf.len() as u64)?]);
        Ok(())
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        let mut bytes = self.bytes.borrow_mut();
        let range = range(bytes.len(), off, data.len() as u64)?;
        bytes[range].copy_from_slice(data);
        Ok(())
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        range(self.bytes.borrow().len(), off, len)?;
        self.write(off, &vec![0; len as usize])
    }

    fn flush(&self, off: u64, len: u64) -> Result {
        range(self.bytes.borrow().len(), off, len).map(drop)
    }

    fn fence(&self) {}
}
