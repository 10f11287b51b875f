// SPDX-License-Identifier: GPL-2.0

//! A medium whose changes stay in memory until they are wanted.
//!
//! # How the changes are written
//!
//! [`Overlay::commit`] is atomic: whenever it is cut short, by power loss or a signal, and whatever
//! order stores take between two fences, the next check ends where this one would have ended.
//!
//! 1. The superblock gets a mark, in one store of a word: from now on the kernel refuses the file
//!    system, and a check does not believe that it is clean.
//! 2. What was cut short before is completed: a repair ([`redo::resume`]), the kernel's last
//!    commit ([`journal::recover`]).
//! 3. New blocks are written, and what stands behind the superblock in its block. Nobody refers to
//!    them yet.
//! 4. All else goes into a redo log, whose head is written last. Then the repair is decided.
//! 5. The log is applied, and erased.
//! 6. The superblock loses the mark.
//!
//! There is a fence behind each step, and one before the head. Until the head is there, a check
//! finds what this one has found: it depends on the blocks that it reads, and on those that hold the
//! contents of files. New are only blocks of which neither was true ([`Overlay::is_kept`]); the log
//! stands in such blocks and in the journal. Nothing depends on what the superblock's copy says of
//! the mark: if the first one is torn where it was damaged anyway, it is restored from the copy, and
//! nothing else has changed.
//!
//! What says which blocks are in use and the checksums of that are the one thing that may need a log
//! that there is no room for, on a large device that is full. They go into as many logs as it takes,
//! the first of which has all else. After that every inode in use has its right checksum, so that a
//! check needs nothing that the others say.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::Range, //
};

use pinfs_format::{
    crc::Checksum,
    journal,
    offset_of,
    superblock::Superblock,
    Error,
    Geometry,
    Medium,
    MountError,
    Result,
    Volume,
    BLOCK_SIZE, //
};

use crate::redo::{
    self,
    Entries,
    ROOM, //
};

type Block = [u8; BLOCK_SIZE as usize];

const BITS: u64 = u64::BITS as u64;

/// What `below` holds, with changes over it.
pub struct Overlay<M> {
    below: M,
    changed: RefCell<BTreeMap<u64, Box<Block>>>,
    /// The block read last: structures are read in small pieces.
    last: RefCell<(u64, Box<Block>)>,
    /// A bit for each block that must stay as it is until the changes are decided.
    kept: RefCell<Vec<u64>>,
}

/// What [`Overlay::commit`] writes.
struct Plan {
    /// Blocks that nobody can miss.
    new: Vec<u64>,
    /// One log, or more if there is no room for one.
    logs: Vec<Entries>,
    /// Blocks for a log.
    places: Vec<u64>,
}

impl<M: Medium> Overlay<M> {
    /// No changes yet.
    pub fn new(below: M) -> Self {
        let blocks = below.size() / BLOCK_SIZE;
        Overlay {
            below,
            kept: RefCell::new(vec![0; blocks.div_ceil(BITS) as usize]),
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

    /// Says that `blocks` hold what must not be overwritten until the changes are decided.
    pub fn keep(&self, blocks: Range<u64>) {
        let mut kept = self.kept.borrow_mut();
        for block in blocks {
            if let Some(word) = kept.get_mut((block / BITS) as usize) {
                *word |= 1 << (block % BITS);
            }
        }
    }

    /// Says so of all blocks that have changed so far, by what was cut short and is completed: that
    /// is what the next check will find below.
    pub fn keep_changed(&self) {
        for &block in self.changed.borrow().keys() {
            self.keep(block..block + 1);
        }
    }

    /// Whether `block` has been read from below, or been named to [`Overlay::keep`].
    pub fn is_kept(&self, block: u64) -> bool {
        let word = self.kept.borrow().get((block / BITS) as usize).copied();
        word.is_some_and(|word| word >> (block % BITS) & 1 != 0)
    }

    /// Writes what has changed, so that it can be cut short anywhere.
    ///
    /// # Errors
    /// [`Error::NoSpace`] if there is no room for the log: then nothing is written.
    pub fn commit(&self) -> Result {
        // Who has checked has made the superblock good.
        let (superblock, _) = Superblock::read(self).map_err(|_| Error::Io)?;
        let volume = Volume::open(self).map_err(|_| Error::Io)?;
        let plan = self.plan(&volume)?;

        let below = volume.through(&self.below);
        self.mark(&superblock)?;
        settle(&below)?;
        let changed = self.changed.borrow();
        for block in &plan.new {
            if let Some(new) = changed.get(block) {
                self.below.store(offset_of(*block), &new[..])?;
            }
        }
        // What others have left beside the superblock.
        let behind = size_of::<Superblock>();
        if let Some(rest) = changed.get(&0).and_then(|new| new.get(behind..)) {
            self.below.store(behind as u64, rest)?;
        }
        for entries in &plan.logs {
            redo::write(&below, entries, &plan.places)?;
            redo::apply(&below, entries)?;
            journal::erase(&below)?;
        }
        if plan.logs.is_empty() {
            // Of a record that no commit can have written.
            journal::erase(&below)?;
        }
        superblock.write_at(&self.below, 0)
    }

    /// Marks the superblock: a good one by a store that cannot be torn, and else as it will be.
    fn mark(&self, superblock: &Superblock) -> Result {
        let mut marked = match Superblock::read(&self.below) {
            Ok((superblock, _)) => superblock,
            // It may be seen before it is durable.
            Err(MountError::Repairing) => {
                Superblock::read_repairing(&self.below)
                    .map_err(|_| Error::Io)?
                    .0
            }
            Err(MountError::Io) => return Err(Error::Io),
            Err(_) => superblock.clone(),
        };
        marked.set_repairing(&self.below, true);
        marked.write_at(&self.below, 0)
    }

    /// Finds out what is to be written, without writing anything.
    fn plan(&self, volume: &Volume<&Self>) -> Result<Plan> {
        let geometry = *volume.geometry();
        // What will be there once what was cut short is completed.
        let settled = Overlay::new(&self.below);
        settle(&volume.through(&settled))?;
        let journal = geometry.journal_start..geometry.journal_start + geometry.journal_blocks;
        let bitmap = geometry.bitmap_start..geometry.inode_bitmap_start;
        let sums = geometry.sums_start..geometry.data_start;

        let mut new_blocks = Vec::new();
        let mut first = Entries::default();
        let mut marks = Entries::default();
        for (&block, new) in self.changed.borrow().iter() {
            // These have steps of their own.
            if block == 0 || journal.contains(&block) {
                continue;
            }
            let mut old = [0; BLOCK_SIZE as usize];
            settled.read(offset_of(block), &mut old)?;
            if geometry.in_data(block, 1) && !self.is_kept(block) {
                if old != **new {
                    new_blocks.push(block);
                }
            } else if bitmap.contains(&block) || sums.contains(&block) {
                marks.add_differences(offset_of(block), &old, &new[..]);
            } else {
                first.add_differences(offset_of(block), &old, &new[..]);
            }
        }
        let places = self.places(volume, first.len() + marks.len())?;
        let room = places.len() * ROOM;
        let logs = if first.len() + marks.len() <= room {
            first.append(&marks);
            vec![first]
        } else if !places.is_empty() && first.len() <= room {
            let mut logs = vec![first];
            logs.extend(marks.divide(room));
            logs
        } else {
            return Err(Error::NoSpace);
        };
        Ok(Plan {
            new: new_blocks,
            logs: logs.into_iter().filter(|log| !log.is_empty()).collect(),
            places,
        })
    }

    /// Blocks for a log of `len` bytes, or as many as there are: those of the journal behind the head,
    /// and others that nobody has used and that nobody is to use.
    fn places(&self, volume: &Volume<&Self>, len: usize) -> Result<Vec<u64>> {
        let geometry: &Geometry = volume.geometry();
        let changed = self.changed.borrow();
        let count = len.div_ceil(ROOM);
        let journal = geometry.journal_start + 1..geometry.journal_start + geometry.journal_blocks;
        let mut places: Vec<u64> = journal.take(count).collect();
        let used = offset_of(geometry.bitmap_start);
        for block in geometry.data_start..geometry.data_end {
            if places.len() == count {
                break;
            }
            let word = volume.word(used + block / BITS * 8)?;
            let free = word >> (block % BITS) & 1 == 0;
            if free && !self.is_kept(block) && !changed.contains_key(&block) {
                places.push(block);
            }
        }
        Ok(places)
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

/// Completes what was cut short: a repair, and before that the kernel's last commit. A record that no
/// commit can have written is for the caller to erase.
fn settle<M: Medium>(volume: &Volume<M>) -> Result {
    redo::resume(volume)?;
    match journal::recover(volume) {
        Err(Error::Io) => Err(Error::Io),
        _ => Ok(()),
    }
}

impl<M: Medium> Checksum for Overlay<M> {
    fn crc32c(&self, crc: u32, data: &[u8]) -> u32 {
        self.below.crc32c(crc, data)
    }

    fn xxh64(&self, seed: u64, data: &[u8]) -> u64 {
        self.below.xxh64(seed, data)
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
            self.keep(block..block + 1);
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
                    if part.len() as u64 != BLOCK_SIZE {
                        // The rest of it is to stay as it is.
                        self.keep(block..block + 1);
                    }
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
}
