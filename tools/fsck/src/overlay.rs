// SPDX-License-Identifier: GPL-2.0

//! A medium whose changes stay in memory until they are wanted.

use std::{
    cell::RefCell,
    collections::BTreeMap, //
};

use pinfs_format::{
    offset_of,
    superblock::STATUS_BLOCK,
    Error,
    Medium,
    Result,
    BLOCK_SIZE, //
};

type Block = [u8; BLOCK_SIZE as usize];

/// What `below` holds, with changes over it.
pub struct Overlay<M> {
    below: M,
    changed: RefCell<BTreeMap<u64, Box<Block>>>,
    /// The block read last: structures are read in small pieces.
    last: RefCell<(u64, Box<Block>)>,
}

impl<M: Medium> Overlay<M> {
    /// No changes yet.
    pub fn new(below: M) -> Self {
        Overlay {
            below,
            changed: RefCell::new(BTreeMap::new()),
            last: RefCell::new((u64::MAX, Box::new([0; BLOCK_SIZE as usize]))),
        }
    }

    /// What is under the changes.
    pub fn below(&self) -> &M {
        &self.below
    }

    /// The number of blocks that differ from what is below.
    pub fn changes(&self) -> Result<usize> {
        let changed = self.changed.borrow();
        let mut count = 0;
        for (&block, new) in changed.iter() {
            count += usize::from(self.differs(block, new)?);
        }
        Ok(count)
    }

    fn differs(&self, block: u64, new: &Block) -> Result<bool> {
        let mut old = [0; BLOCK_SIZE as usize];
        self.below.read(offset_of(block), &mut old)?;
        Ok(old != *new)
    }

    /// Writes what has changed, the status block last: until then the file system is marked as
    /// in use, if the caller has seen to that, so that a run that is cut short is repeated.
    pub fn commit(&self) -> Result {
        let changed = self.changed.borrow();
        let status = |block: &u64| *block == STATUS_BLOCK;
        for last in [false, true] {
            for (&block, new) in changed.iter().filter(|(block, _)| status(block) == last) {
                if self.differs(block, new)? {
                    self.below.write(offset_of(block), &new[..])?;
                    self.below.flush(offset_of(block), BLOCK_SIZE)?;
                }
            }
            self.below.fence();
        }
        Ok(())
    }

    fn load(&self, block: u64) -> Result<Box<Block>> {
        let mut bytes = Box::new([0; BLOCK_SIZE as usize]);
        self.below.read(offset_of(block), &mut bytes[..])?;
        Ok(bytes)
    }

    /// Calls `f` with each block in the range, the part of it, and where that stands in the range.
    fn parts(
        &self,
        off: u64,
        len: u64,
        mut f: impl FnMut(u64, std::ops::Range<usize>, usize) -> Result,
    ) -> Result {
        let end = off.checked_add(len).ok_or(Error::Io)?;
        if end > self.size() {
            return Err(Error::Io);
        }
        let mut at = off;
        while at < end {
            let block = at / BLOCK_SIZE;
            let stop = end.min(offset_of(block + 1));
            let start = (at % BLOCK_SIZE) as usize;
            f(
                block,
                start..start + (stop - at) as usize,
                (at - off) as usize,
            )?;
            at = stop;
        }
        Ok(())
    }
}

impl<M: Medium> Medium for Overlay<M> {
    fn size(&self) -> u64 {
        // Whole blocks only: nothing of a file system stands behind them.
        self.below.size() / BLOCK_SIZE * BLOCK_SIZE
    }

    fn read(&self, off: u64, buf: &mut [u8]) -> Result {
        self.parts(off, buf.len() as u64, |block, part, at| {
            let to = &mut buf[at..at + part.len()];
            if let Some(bytes) = self.changed.borrow().get(&block) {
                to.copy_from_slice(&bytes[part]);
                return Ok(());
            }
            let mut last = self.last.borrow_mut();
            if last.0 != block {
                *last = (block, self.load(block)?);
            }
            to.copy_from_slice(&last.1[part]);
            Ok(())
        })
    }

    fn write(&self, off: u64, data: &[u8]) -> Result {
        self.parts(off, data.len() as u64, |block, part, at| {
            let mut changed = self.changed.borrow_mut();
            let bytes = match changed.entry(block) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(self.load(block)?)
                }
            };
            let new = &data[at..at + part.len()];
            bytes[part].copy_from_slice(new);
            Ok(())
        })
    }

    fn zero(&self, off: u64, len: u64) -> Result {
        let zeroes = [0; BLOCK_SIZE as usize];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(BLOCK_SIZE);
            self.write(off + done, &zeroes[..part as usize])?;
            done += part;
        }
        Ok(())
    }

    fn flush(&self, _off: u64, _len: u64) -> Result {
        Ok(())
    }

    fn fence(&self) {}

    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        self.below.crc32c(crc, data)
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        self.below.xxh64(seed, data)
    }
}
